/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-pci as a guest's driver sees it, and the ways that its interrupts go. */
#include "tests/unit/pci_rig.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>

#include "devices/virtio/pci.h"
#include "tests/unit/virtio_rig.h"

#define SLOT      5
#define NO_VECTOR 0xffff
#define VECTORS   (TDEV_QUEUES + 1)
#define Q_RESET   58
#define FIRST_MSI 0x40 /* data of vector 0's message */

struct fixture {
	struct pci_rig rig;
	struct loop loop;
	struct fake_ioeventfds kernel;
	struct tdev t;
	struct virtio_pci p;
	uint64_t regs, msix;
};

struct options {
	uint16_t type;
	uint32_t config_size;
	bool served, notify_exit, inject_ioctl;
};

static const struct options plain = {.type = VIRTIO_ID_NET, .config_size = TDEV_CONFIG};

static uint32_t cfg(struct fixture *f, unsigned reg, unsigned size)
{
	return rig_read(&f->rig, SLOT, reg, size);
}

static void enable_decoding(struct fixture *f)
{
	rig_write(&f->rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void setup(struct fixture *f, const struct options *o)
{
	struct virtio_pci_config c = {.slot = SLOT,
	                              .loop = &f->loop,
	                              .notify_exit = o->notify_exit,
	                              .inject_ioctl = o->inject_ioctl};
	struct err err = {0};

	memset(f, 0, sizeof(*f));
	rig_init(&f->rig);
	assert_int_equal(loop_init(&f->loop), 0);
	bus_set_eventfd_backend(&f->rig.mmio, fake_ioeventfd, &f->kernel);
	tdev_init(&f->t, o->type, o->config_size, o->served);
	if (virtio_pci_init(&f->p, &f->t.dev, &f->rig.host, &c, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(pci_host_assign(&f->rig.host, &err), 0);
	bus_freeze(&f->rig.mmio);
	enable_decoding(f);
	f->regs = cfg(f, PCI_BASE_ADDRESS_0, 4) & ~0xfu;
	f->msix = cfg(f, PCI_BASE_ADDRESS_1, 4) & ~0xfu;
}

static void teardown(struct fixture *f)
{
	virtio_pci_destroy(&f->p);
	virtio_pci_destroy(&f->p);
	virtio_device_destroy(&f->t.dev);
	assert_int_equal(f->kernel.nr, 0);
	assert_int_equal(f->rig.irq.nr_irqfds, 0);
	for (unsigned i = 0; i < TDEV_QUEUES; i++)
		assert_int_equal(f->t.dev.queues[i].events.kick_fd, -1);
	loop_destroy(&f->loop);
	rig_destroy(&f->rig);
}

static uint32_t common(struct fixture *f, unsigned reg, unsigned size)
{
	return (uint32_t)fake_read(&f->rig.mmio, f->regs + VIRTIO_PCI_COMMON + reg, size);
}

static void set_common(struct fixture *f, unsigned reg, unsigned size, uint32_t value)
{
	fake_write(&f->rig.mmio, f->regs + VIRTIO_PCI_COMMON + reg, size, value);
}

static uint8_t status(struct fixture *f)
{
	return (uint8_t)common(f, VIRTIO_PCI_COMMON_STATUS, 1);
}

static void set_status(struct fixture *f, uint8_t value)
{
	set_common(f, VIRTIO_PCI_COMMON_STATUS, 1, value);
}

static void set_vector(struct fixture *f, unsigned queue, uint16_t vector)
{
	set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	set_common(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, vector);
}

static uint16_t get_vector(struct fixture *f, unsigned queue)
{
	set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	return (uint16_t)common(f, VIRTIO_PCI_COMMON_Q_MSIX, 2);
}

static void msix_flags(struct fixture *f, uint16_t flags)
{
	rig_write(&f->rig, SLOT, rig_find_cap(&f->rig, SLOT, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2,
	          flags);
}

/* Vector v sends FIRST_MSI + v. */
static void msix_on(struct fixture *f)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		fake_write(&f->rig.mmio, f->msix + 16 * v, 8, 0xfee00000);
		fake_write(&f->rig.mmio, f->msix + 16 * v + 8, 8, FIRST_MSI + v);
	}
	msix_flags(f, PCI_MSIX_FLAGS_ENABLE);
}

static void mask(struct fixture *f, unsigned vector, bool masked)
{
	fake_write(&f->rig.mmio, f->msix + 16 * vector + 12, 4, masked);
}

static void negotiate(struct fixture *f)
{
	set_status(f, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		set_common(f, VIRTIO_PCI_COMMON_DFSELECT, 4, i);
		set_common(f, VIRTIO_PCI_COMMON_GFSELECT, 4, i);
		set_common(f, VIRTIO_PCI_COMMON_GF, 4, common(f, VIRTIO_PCI_COMMON_DF, 4));
	}
	set_status(f, ACK | DRIVER | F_OK);
	assert_int_equal(status(f), ACK | DRIVER | F_OK);
}

/* The device runs, with its first @queues queues. */
static void go(struct fixture *f, unsigned queues)
{
	negotiate(f);
	for (unsigned i = 0; i < queues; i++) {
		set_common(f, VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		set_common(f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	set_status(f, LIVE);
	assert_int_equal(status(f), LIVE);
}

/* With MSI-X, and a vector for each: queue i has vector i. */
static void go_msix(struct fixture *f, unsigned queues)
{
	msix_on(f);
	for (unsigned i = 0; i < queues; i++)
		set_vector(f, i, (uint16_t)i);
	go(f, queues);
}

static int call_fd(struct fixture *f, unsigned queue)
{
	return f->t.dev.queues[queue].events.call_fd;
}

/* The kernel has queue @queue's events. */
static bool is_direct(struct fixture *f, unsigned queue)
{
	for (unsigned i = 0; i < f->rig.irq.nr_irqfds; i++)
		if (f->rig.irq.irqfds[i].fd == f->t.dev.queues[queue].events.peer_call_fd)
			return true;
	return false;
}

/* Exactly the messages in @data (ended by 0) were sent since the last time. */
static void expect_msi(struct fixture *f, const char *data)
{
	struct fake_irq *irq = &f->rig.irq;

	assert_int_equal(irq->nr_msi, strlen(data));
	for (unsigned i = 0; i < irq->nr_msi; i++)
		assert_int_equal(irq->msi[i].data, data[i]);
	irq->nr_msi = 0;
}

/* Everybody does his work: the kernel, then the main loop. */
static void settle(struct fixture *f)
{
	fake_irq_kernel(&f->rig.irq);
	run_loop(&f->loop);
}

static struct fake_gsi *intx(struct fixture *f)
{
	return &f->rig.irq.gsi[cfg(f, PCI_INTERRUPT_LINE, 1)];
}

static uint8_t isr(struct fixture *f)
{
	return (uint8_t)fake_read(&f->rig.mmio, f->regs + VIRTIO_PCI_ISR_STATUS, 1);
}

/* --- What it is --- */

static void test_identity(void **state)
{
	static const struct {
		uint16_t type;
		uint32_t class_code;
	} types[] = {
		{VIRTIO_ID_NET, 0x020000},     {VIRTIO_ID_BLOCK, 0x018000},
		{VIRTIO_ID_CONSOLE, 0x078000}, {VIRTIO_ID_VSOCK, 0x078000},
		{VIRTIO_ID_RNG, 0xff0000},
	};
	struct fixture f;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
		struct options o = {.type = types[i].type};

		setup(&f, &o);
		assert_int_equal(cfg(&f, PCI_VENDOR_ID, 2), 0x1af4);
		assert_int_equal(cfg(&f, PCI_DEVICE_ID, 2), 0x1040 + types[i].type);
		assert_int_equal(cfg(&f, PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
		assert_true(cfg(&f, PCI_SUBSYSTEM_ID, 2) >= 0x40);
		assert_int_equal(cfg(&f, PCI_CLASS_REVISION, 4), types[i].class_code << 8 | 1);
		assert_int_equal(cfg(&f, PCI_INTERRUPT_PIN, 1), 1);
		teardown(&f);
	}
}

struct found {
	unsigned at, len, bar;
	uint32_t offset, length;
};

/* The virtio capability of @type; at 0: none. Fails if there are two. */
static struct found find(struct fixture *f, unsigned type)
{
	struct found found = {0};

	for (unsigned at = cfg(f, PCI_CAPABILITY_LIST, 1); at;
	     at = cfg(f, at + PCI_CAP_LIST_NEXT, 1)) {
		if (cfg(f, at, 1) != PCI_CAP_ID_VNDR || cfg(f, at + 3, 1) != type)
			continue;
		assert_int_equal(found.at, 0);
		found = (struct found){at, cfg(f, at + 2, 1), cfg(f, at + 4, 1), cfg(f, at + 8, 4),
		                       cfg(f, at + 12, 4)};
	}
	return found;
}

static void test_capabilities(void **state)
{
	struct fixture f;
	struct found c;

	(void)state;
	setup(&f, &plain);
	c = find(&f, VIRTIO_PCI_CAP_COMMON_CFG);
	assert_true(c.at && c.len == 16 && c.bar == 0 && c.offset == 0 && c.length >= 60);
	c = find(&f, VIRTIO_PCI_CAP_ISR_CFG);
	assert_true(c.at && c.len == 16 && c.bar == 0 && c.offset == 0x1000 && c.length == 1);
	c = find(&f, VIRTIO_PCI_CAP_DEVICE_CFG);
	assert_true(c.at && c.len == 16 && c.bar == 0 && c.offset == 0x2000);
	assert_int_equal(c.length, TDEV_CONFIG);
	c = find(&f, VIRTIO_PCI_CAP_NOTIFY_CFG);
	assert_true(c.at && c.len == 20 && c.bar == 0 && c.offset == 0x3000);
	assert_int_equal(c.length, 4 * TDEV_QUEUES);
	assert_int_equal(cfg(&f, c.at + 16, 4), 4);
	c = find(&f, VIRTIO_PCI_CAP_PCI_CFG);
	assert_true(c.at && c.len == 20);
	/* Registers that have effects when read are not prefetchable. */
	assert_int_equal(cfg(&f, PCI_BASE_ADDRESS_0, 4) & 0xf, 0);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, UINT32_MAX);
	assert_int_equal(cfg(&f, PCI_BASE_ADDRESS_0, 4), ~(KIB(16) - 1) & UINT32_MAX);
	assert_int_equal(cfg(&f, rig_find_cap(&f.rig, SLOT, PCI_CAP_ID_MSIX) + 2, 2) & 0x7ff,
	                 VECTORS - 1);
	teardown(&f);
	/* No configuration, no capability for it. */
	setup(&f, &(struct options){.type = VIRTIO_ID_RNG});
	assert_int_equal(find(&f, VIRTIO_PCI_CAP_DEVICE_CFG).at, 0);
	teardown(&f);
}

/* --- The common configuration --- */

static void test_widths(void **state)
{
	/* Offset and width of every field; what is not listed is not there. */
	static const uint8_t width[64] = {
		[0] = 4,  [4] = 4,  [8] = 4,  [12] = 4, [16] = 2, [18] = 2, [20] = 1,
		[21] = 1, [22] = 2, [24] = 2, [26] = 2, [28] = 2, [30] = 2, [32] = 4,
		[36] = 4, [40] = 4, [44] = 4, [48] = 4, [52] = 4, [56] = 2, [58] = 2,
	};
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	for (unsigned reg = 0; reg < 64; reg++) {
		for (unsigned size = 1; size <= 8; size *= 2) {
			uint64_t ones = size == 8 ? UINT64_MAX : BIT64(8 * size) - 1;
			uint64_t value = fake_read(&f.rig.mmio, f.regs + reg, size);

			if (size != width[reg])
				assert_true(value == ones);
			else if (reg != 16 && reg != 26) /* vectors: none */
				assert_true(value != ones);
		}
	}
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 4, 2);
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 1, 3);
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT + 1, 1, 3);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2), 1);
	teardown(&f);
}

static void test_queue_registers(void **state)
{
	static const unsigned regs[] = {
		VIRTIO_PCI_COMMON_Q_DESCLO,  VIRTIO_PCI_COMMON_Q_DESCHI,
		VIRTIO_PCI_COMMON_Q_AVAILLO, VIRTIO_PCI_COMMON_Q_AVAILHI,
		VIRTIO_PCI_COMMON_Q_USEDLO,  VIRTIO_PCI_COMMON_Q_USEDHI,
	};
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_NUMQ, 2), TDEV_QUEUES);
	for (unsigned q = 0; q < TDEV_QUEUES; q++) {
		set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_NOFF, 2), q);
		assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), TDEV_SIZE);
		set_common(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2, 4u << q);
		for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
			set_common(&f, regs[i], 4, 0x100 * q + i);
	}
	for (unsigned q = 0; q < TDEV_QUEUES; q++) {
		const struct virtq_config *c = &f.t.dev.queues[q].config;

		set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, q);
		assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 4u << q);
		for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
			assert_int_equal(common(&f, regs[i], 4), 0x100 * q + i);
		assert_true(c->desc == ((uint64_t)(0x100 * q + 1) << 32 | (0x100 * q)));
		assert_true(c->driver == ((uint64_t)(0x100 * q + 3) << 32 | (0x100 * q + 2)));
		assert_true(c->device == ((uint64_t)(0x100 * q + 5) << 32 | (0x100 * q + 4)));
	}
	/* A queue that is not there. */
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, TDEV_QUEUES);
	set_common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	set_common(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2, 1);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_NOFF, 2), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_MSIX, 2), NO_VECTOR);
	teardown(&f);
}

static void test_bring_up(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go(&f, 2);
	assert_int_equal(f.t.starts, 1);
	assert_true(f.t.dev.driver_features == virtio_ring_features(true));
	assert_true(f.t.dev.queues[1].running && !f.t.dev.queues[2].running);
	/* 0 is not for the driver to write here. */
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set_common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
	set_common(&f, Q_RESET, 2, 1);
	assert_int_equal(common(&f, Q_RESET, 2), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	assert_false(f.t.dev.queues[1].running);
	set_status(&f, 0);
	assert_int_equal(status(&f), 0);
	assert_int_equal(f.t.stops, 1);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_DFSELECT, 4), 0);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_GF, 4), 0);
	go(&f, 1);
	teardown(&f);
	assert_int_equal(f.t.stops, 2);
}

static void test_device_config(void **state)
{
	struct fixture f;
	uint64_t at;
	uint32_t before;

	(void)state;
	setup(&f, &plain);
	at = f.regs + VIRTIO_PCI_DEVICE;
	assert_int_equal(fake_read(&f.rig.mmio, at + 3, 1), 0xc3);
	assert_int_equal(fake_read(&f.rig.mmio, at + 2, 2), 0xc3c2);
	assert_int_equal(fake_read(&f.rig.mmio, at + 16, 4), 0xd3d2d1d0);
	assert_true(fake_read(&f.rig.mmio, at + 8, 8) == UINT64_C(0xcfcecdcccbcac9c8));
	assert_int_equal(fake_read(&f.rig.mmio, at + 18, 4), 0);
	assert_int_equal(fake_read(&f.rig.mmio, at + 0xffc, 4), 0);
	fake_write(&f.rig.mmio, at + 4, 2, 0x1234);
	assert_int_equal(f.t.config[4], 0x34);
	assert_int_equal(f.t.config[5], 0x12);
	assert_int_equal(f.t.config[6], 0xc6);
	before = common(&f, VIRTIO_PCI_COMMON_CFGGENERATION, 1);
	virtio_config_changed(&f.t.dev);
	fake_read(&f.rig.mmio, at, 1);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_CFGGENERATION, 1), (uint8_t)(before + 1));
	teardown(&f);
}

/* --- Vectors --- */

static void test_vectors(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	for (unsigned q = 0; q < TDEV_QUEUES; q++) {
		assert_int_equal(get_vector(&f, q), NO_VECTOR);
		set_vector(&f, q, VECTORS - 1);
		assert_int_equal(get_vector(&f, q), VECTORS - 1);
		set_vector(&f, q, VECTORS);
		assert_int_equal(get_vector(&f, q), NO_VECTOR);
		set_vector(&f, q, (uint16_t)q);
	}
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, VECTORS - 1);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_MSIX, 2), VECTORS - 1);
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, 0x7ff);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, 0);
	/* A queue's reset forgets its own, a device's all. */
	go(&f, 2);
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set_common(&f, Q_RESET, 2, 1);
	assert_int_equal(get_vector(&f, 1), NO_VECTOR);
	assert_int_equal(get_vector(&f, 0), 0);
	set_status(&f, 0);
	for (unsigned q = 0; q < TDEV_QUEUES; q++)
		assert_int_equal(get_vector(&f, q), NO_VECTOR);
	assert_int_equal(common(&f, VIRTIO_PCI_COMMON_MSIX, 2), NO_VECTOR);
	teardown(&f);
}

/* --- Direct --- */

static void test_direct(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 2);
	assert_true(is_direct(&f, 0) && is_direct(&f, 1) && !is_direct(&f, 2));
	virtio_queue_interrupt(&f.t.dev, 1);
	/* Not by our own hand. */
	expect_msi(&f, "");
	settle(&f);
	expect_msi(&f, "\x41");
	fd_signal(call_fd(&f, 0));
	settle(&f);
	expect_msi(&f, "\x40");
	/* While it runs: another vector, shared with another queue. */
	set_vector(&f, 1, 0);
	virtio_queue_interrupt(&f.t.dev, 0);
	virtio_queue_interrupt(&f.t.dev, 1);
	settle(&f);
	expect_msi(&f, "\x40\x40");
	set_vector(&f, 0, 3);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "\x43");
	/* After a reset nothing comes, and nothing is left for the next start. */
	virtio_queue_interrupt(&f.t.dev, 1);
	set_status(&f, 0);
	settle(&f);
	expect_msi(&f, "");
	assert_false(is_direct(&f, 0) || is_direct(&f, 1));
	set_vector(&f, 0, 0);
	go(&f, 1);
	settle(&f);
	expect_msi(&f, "");
	assert_int_equal(isr(&f), 0);
	teardown(&f);
}

static void test_masked(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 2);
	mask(&f, 1, true);
	virtio_queue_interrupt(&f.t.dev, 1);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "\x40");
	assert_int_equal(fake_read(&f.rig.mmio, f.msix + KIB(2), 8), BIT(1));
	/* The event keeps while the main loop looks and the vector changes. */
	run_loop(&f.loop);
	mask(&f, 1, false);
	settle(&f);
	expect_msi(&f, "\x41");
	assert_int_equal(fake_read(&f.rig.mmio, f.msix + KIB(2), 8), 0);
	/* What waits moves with the queue to its new vector. */
	mask(&f, 1, true);
	virtio_queue_interrupt(&f.t.dev, 1);
	set_vector(&f, 1, 2);
	settle(&f);
	expect_msi(&f, "\x42");
	/* The whole function. */
	msix_flags(&f, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "");
	msix_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	settle(&f);
	expect_msi(&f, "\x40");
	/* Pending at a reset, by an event and by our own hand: forgotten. */
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, 4);
	mask(&f, 0, true);
	mask(&f, 4, true);
	virtio_queue_interrupt(&f.t.dev, 0);
	virtio_config_changed(&f.t.dev);
	assert_int_equal(fake_read(&f.rig.mmio, f.msix + KIB(2), 8), BIT(0) | BIT(4));
	set_status(&f, 0);
	mask(&f, 0, false);
	mask(&f, 4, false);
	settle(&f);
	expect_msi(&f, "");
	assert_int_equal(fake_read(&f.rig.mmio, f.msix + KIB(2), 8), 0);
	teardown(&f);
}

static void test_vector_given_late(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	msix_on(&f);
	go(&f, 1);
	/* Without a vector: no interrupt, then or later. */
	assert_false(is_direct(&f, 0));
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	assert_int_equal(isr(&f), 0);
	set_vector(&f, 0, 1);
	settle(&f);
	expect_msi(&f, "");
	assert_true(is_direct(&f, 0));
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "\x41");
	set_vector(&f, 0, NO_VECTOR);
	assert_false(is_direct(&f, 0));
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "");
	teardown(&f);
}

/* --- Forwarded --- */

static void test_intx(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go(&f, 2);
	virtio_queue_interrupt(&f.t.dev, 1);
	assert_false(intx(&f)->asserted);
	settle(&f);
	assert_true(intx(&f)->asserted);
	assert_true(cfg(&f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	assert_int_equal(isr(&f), 1);
	assert_false(intx(&f)->asserted);
	assert_int_equal(isr(&f), 0);
	virtio_config_changed(&f.t.dev);
	assert_true(intx(&f)->asserted);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	assert_int_equal(isr(&f), 3);
	assert_false(intx(&f)->asserted);
	/* Reading next to it is harmless; a reset lowers the line. */
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	fake_read(&f.rig.mmio, f.regs + VIRTIO_PCI_ISR_STATUS + 1, 1);
	assert_true(intx(&f)->asserted);
	set_status(&f, 0);
	assert_false(intx(&f)->asserted);
	assert_int_equal(isr(&f), 0);
	expect_msi(&f, "");
	teardown(&f);
}

/* The driver changes its mind while the device runs; nothing is lost on the way. */
static void test_between_msix_and_intx(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 1);
	mask(&f, 0, true);
	virtio_queue_interrupt(&f.t.dev, 0);
	run_loop(&f.loop);
	msix_flags(&f, 0);
	assert_true(intx(&f)->asserted);
	assert_false(is_direct(&f, 0));
	assert_int_equal(isr(&f), 1);
	virtio_queue_interrupt(&f.t.dev, 0);
	msix_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	mask(&f, 0, false);
	settle(&f);
	expect_msi(&f, "\x40");
	assert_false(intx(&f)->asserted);
	/* An ISR status that was not read shows again. */
	virtio_config_changed(&f.t.dev);
	assert_false(intx(&f)->asserted);
	assert_false(cfg(&f, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	msix_flags(&f, 0);
	assert_true(intx(&f)->asserted);
	msix_flags(&f, PCI_MSIX_FLAGS_ENABLE);
	assert_false(intx(&f)->asserted);
	assert_int_equal(isr(&f), 2);
	teardown(&f);
}

static void test_no_route_left(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	f.rig.irq.irqfd_error = -ENOSPC;
	go_msix(&f, 1);
	f.rig.irq.irqfd_error = 0;
	assert_false(is_direct(&f, 0));
	assert_int_equal(get_vector(&f, 0), 0);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "\x40");
	mask(&f, 0, true);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "");
	mask(&f, 0, false);
	expect_msi(&f, "\x40");
	teardown(&f);
}

static void test_inject_ioctl(void **state)
{
	struct options o = plain;
	struct fixture f;

	(void)state;
	o.inject_ioctl = true;
	setup(&f, &o);
	assert_int_equal(call_fd(&f, 0), -1);
	assert_true(f.t.dev.queues[0].events.peer_call_fd >= 0);
	go_msix(&f, 2);
	assert_false(is_direct(&f, 0));
	/* At once, on the caller's thread. */
	virtio_queue_interrupt(&f.t.dev, 1);
	expect_msi(&f, "\x41");
	mask(&f, 1, true);
	virtio_queue_interrupt(&f.t.dev, 1);
	expect_msi(&f, "");
	mask(&f, 1, false);
	expect_msi(&f, "\x41");
	/* A queue that does not run, and one without a vector. */
	virtio_queue_interrupt(&f.t.dev, 2);
	set_vector(&f, 0, NO_VECTOR);
	virtio_queue_interrupt(&f.t.dev, 0);
	expect_msi(&f, "");
	/* Somebody outside. */
	fd_signal(f.t.dev.queues[1].events.peer_call_fd);
	expect_msi(&f, "");
	settle(&f);
	expect_msi(&f, "\x41");
	set_status(&f, 0);
	msix_flags(&f, 0);
	go(&f, 1);
	virtio_queue_interrupt(&f.t.dev, 1);
	assert_false(intx(&f)->asserted);
	virtio_queue_interrupt(&f.t.dev, 0);
	assert_true(intx(&f)->asserted);
	assert_int_equal(isr(&f), 1);
	teardown(&f);
}

static void test_config_interrupt(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	msix_on(&f);
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, 4);
	negotiate(&f);
	virtio_config_changed(&f.t.dev);
	expect_msi(&f, "");
	set_status(&f, LIVE);
	virtio_config_changed(&f.t.dev);
	expect_msi(&f, "\x44");
	assert_int_equal(isr(&f), 2);
	virtio_device_broken(&f.t.dev, "for the test");
	expect_msi(&f, "\x44");
	assert_int_equal(status(&f), LIVE | BROKEN);
	set_common(&f, VIRTIO_PCI_COMMON_MSIX, 2, NO_VECTOR);
	virtio_config_changed(&f.t.dev);
	expect_msi(&f, "");
	assert_int_equal(isr(&f), 2);
	assert_false(intx(&f)->asserted);
	/* One that is late for the device's life. */
	set_status(&f, 0);
	f.t.dev.transport_ops->config_interrupt(f.t.dev.transport);
	f.t.dev.transport_ops->queue_interrupt(f.t.dev.transport, 0);
	assert_int_equal(isr(&f), 0);
	teardown(&f);
}

/* Events of a time when the queue does not run. */
static void test_events_out_of_time(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	msix_on(&f);
	set_vector(&f, 0, 0);
	fd_signal(call_fd(&f, 0));
	settle(&f);
	expect_msi(&f, "");
	/* An owner may be quicker than its start's end. */
	go(&f, 1);
	settle(&f);
	expect_msi(&f, "\x40");
	set_status(&f, 0);
	fd_signal(call_fd(&f, 0));
	settle(&f);
	expect_msi(&f, "");
	assert_int_equal(isr(&f), 0);
	teardown(&f);
}

/* --- Notifications --- */

static bool notify(struct fixture *f, unsigned queue, unsigned size)
{
	return guest_write(&f->kernel, &f->rig.mmio, f->regs + VIRTIO_PCI_NOTIFY + 4 * queue, size,
	                   queue);
}

/*
 * Another process had the eventfds: after a renewal it has no part in notifications and interrupts,
 * and they travel as before.
 */
static void test_renewed_eventfds(void **state)
{
	struct fixture f;
	int kick, call;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 2);
	kick = dup(f.t.dev.queues[1].events.kick_fd);
	call = dup(call_fd(&f, 1));
	assert_int_equal(virtio_queue_renew(&f.t.dev, 1), 0); /* nobody had them */
	fd_signal(call);
	settle(&f);
	expect_msi(&f, "\x41");
	f.t.dev.queues[1].lent = true;
	assert_int_equal(virtio_queue_renew(&f.t.dev, 1), 0);
	assert_false(f.t.dev.queues[1].lent);
	fd_signal(call);
	settle(&f);
	expect_msi(&f, "");
	virtio_queue_interrupt(&f.t.dev, 1);
	settle(&f);
	expect_msi(&f, "\x41");
	fd_drain(f.t.dev.queues[1].events.kick_fd);
	assert_true(notify(&f, 1, 2));
	assert_int_equal(fd_drain(kick), 0);
	assert_int_equal(fd_drain(f.t.dev.queues[1].events.kick_fd), 1);
	/* One that does not run. */
	f.t.dev.queues[3].lent = true;
	assert_int_equal(virtio_queue_renew(&f.t.dev, 3), 0);
	assert_int_equal(f.rig.irq.nr_irqfds, 2);
	assert_int_equal(f.kernel.nr, 2);
	fd_close(&kick);
	fd_close(&call);
	teardown(&f);
}

static int kick_fd(struct fixture *f, unsigned queue)
{
	return f->t.dev.queues[queue].events.kick_fd;
}

static void test_ioeventfds(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(f.kernel.nr, 0);
	go(&f, 2);
	assert_int_equal(f.kernel.nr, 2);
	for (unsigned q = 0; q < 2; q++) {
		assert_true(notify(&f, q, 2));
		assert_true(notify(&f, q, 4));
		assert_int_equal(fd_drain(kick_fd(&f, q)), 2);
	}
	/* They follow the BAR. */
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, LAYOUT_PCI_MMIO32 + 0x100000);
	f.regs = LAYOUT_PCI_MMIO32 + 0x100000;
	assert_true(notify(&f, 1, 2));
	assert_int_equal(fd_drain(kick_fd(&f, 1)), 1);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, 0);
	assert_int_equal(f.kernel.nr, 0);
	enable_decoding(&f);
	assert_int_equal(f.kernel.nr, 2);
	/* One queue goes, another comes. */
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 0);
	notify(&f, 0, 2);
	set_common(&f, Q_RESET, 2, 1);
	assert_int_equal(f.kernel.nr, 1);
	assert_int_equal(fd_drain(kick_fd(&f, 0)), 0);
	set_common(&f, VIRTIO_PCI_COMMON_Q_SELECT, 2, 3);
	set_common(&f, VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	assert_int_equal(f.kernel.nr, 2);
	assert_true(notify(&f, 3, 2));
	set_status(&f, 0);
	assert_int_equal(f.kernel.nr, 0);
	assert_int_equal(fd_drain(kick_fd(&f, 3)), 0);
	teardown(&f);
}

static void test_notify_by_exit(void **state)
{
	struct options o = plain;
	struct fixture f;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		o.notify_exit = i == 0;
		setup(&f, &o);
		f.kernel.error = i ? -ENOSPC : 0;
		go(&f, 2);
		assert_int_equal(f.kernel.nr, 0);
		assert_false(notify(&f, 1, 2));
		assert_int_equal(fd_drain(kick_fd(&f, 1)), 1);
		assert_int_equal(fd_drain(kick_fd(&f, 0)), 0);
		/* Beside the mark, and behind the last. */
		fake_write(&f.rig.mmio, f.regs + VIRTIO_PCI_NOTIFY + 2, 2, 0);
		fake_write(&f.rig.mmio, f.regs + VIRTIO_PCI_NOTIFY + 4 * TDEV_QUEUES, 2, 0);
		fake_write(&f.rig.mmio, f.regs + VIRTIO_PCI_NOTIFY + 0xffc, 4, 0);
		for (unsigned q = 0; q < TDEV_QUEUES; q++)
			assert_int_equal(fd_drain(kick_fd(&f, q)), 0);
		f.kernel.error = 0;
		teardown(&f);
	}
}

static void test_served_by_the_main_loop(void **state)
{
	struct options o = plain;
	struct fixture f;

	(void)state;
	o.served = true;
	setup(&f, &o);
	go(&f, 2);
	settle(&f);
	assert_int_equal(f.t.kicked[0], 1); /* the first look */
	assert_int_equal(f.t.kicked[1], 1);
	assert_true(notify(&f, 1, 2));
	settle(&f);
	assert_int_equal(f.t.kicked[0], 1);
	assert_int_equal(f.t.kicked[1], 2);
	settle(&f);
	assert_int_equal(f.t.kicked[1], 2);
	teardown(&f);
}

/* --- The PCI configuration access capability --- */

static void aim(struct fixture *f, unsigned at, unsigned bar, uint32_t offset, uint32_t length)
{
	rig_write(&f->rig, SLOT, at + 4, 1, bar);
	rig_write(&f->rig, SLOT, at + 8, 4, offset);
	rig_write(&f->rig, SLOT, at + 12, 4, length);
}

static void test_cfg_access(void **state)
{
	struct fixture f;
	unsigned at, data;

	(void)state;
	setup(&f, &plain);
	/* It does not need decoding. */
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	at = find(&f, VIRTIO_PCI_CAP_PCI_CFG).at;
	data = at + 16;
	aim(&f, at, 0, VIRTIO_PCI_COMMON_STATUS, 1);
	rig_write(&f.rig, SLOT, data, 1, ACK);
	assert_int_equal(virtio_status(&f.t.dev), ACK);
	assert_int_equal(cfg(&f, data, 1), ACK);
	aim(&f, at, 0, VIRTIO_PCI_COMMON_NUMQ, 2);
	assert_int_equal(cfg(&f, data, 2), TDEV_QUEUES);
	aim(&f, at, 0, VIRTIO_PCI_DEVICE + 4, 4);
	assert_int_equal(cfg(&f, data, 4), 0xc7c6c5c4);
	assert_int_equal(cfg(&f, data + 1, 1), 0xc5);
	rig_write(&f.rig, SLOT, data, 4, 0x44332211);
	assert_memory_equal(f.t.config + 4, "\x11\x22\x33\x44\xc8", 5);
	/* A whole driver can do with it. */
	aim(&f, at, 0, VIRTIO_PCI_NOTIFY + 4, 2);
	rig_write(&f.rig, SLOT, data, 2, 1);
	assert_int_equal(fd_drain(kick_fd(&f, 1)), 1);
	aim(&f, at, VIRTIO_PCI_BAR_MSIX, 8, 4);
	rig_write(&f.rig, SLOT, data, 4, 0x1234);
	assert_int_equal(cfg(&f, data, 4), 0x1234);
	/* What it cannot reach: the data stays as it was. */
	rig_write(&f.rig, SLOT, data, 4, 0x5678);
	for (unsigned i = 0; i < 7; i++) {
		static const struct {
			unsigned bar;
			uint32_t offset, length;
		} bad[] = {{0, 0, 0},      {0, 0, 3}, {0, 0, 8},         {0, 1, 4},
		           {0, 0x4000, 4}, {7, 0, 4}, {0, 0xfffffffc, 4}};

		aim(&f, at, bad[i].bar, bad[i].offset, bad[i].length);
		assert_int_equal(cfg(&f, data, 4), 0x5678);
		rig_write(&f.rig, SLOT, data, 4, 0x5678);
	}
	teardown(&f);
}

/* --- Life --- */

static void test_power_on_reset(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 2);
	pci_device_reset(&f.p.pci);
	assert_int_equal(f.t.stops, 1);
	assert_int_equal(virtio_status(&f.t.dev), 0);
	assert_int_equal(f.kernel.nr, 0);
	assert_int_equal(f.rig.irq.nr_irqfds, 0);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)f.regs);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_1, 4, (uint32_t)f.msix);
	enable_decoding(&f);
	go_msix(&f, 1);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	expect_msi(&f, "\x40");
	teardown(&f);
}

static void test_device_goes_first(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go_msix(&f, 2);
	virtio_device_destroy(&f.t.dev);
	assert_int_equal(f.t.stops, 1);
	assert_int_equal(f.rig.irq.nr_irqfds, 0);
	teardown(&f);
	assert_int_equal(f.t.stops, 1);
}

static void test_slot_taken(void **state)
{
	struct virtio_pci_config c = {.slot = SLOT};
	struct virtio_pci p;
	struct tdev t;
	struct fixture f;
	struct err err = {0};

	(void)state;
	setup(&f, &plain);
	c.loop = &f.loop;
	tdev_init(&t, VIRTIO_ID_RNG, 0, false);
	assert_int_equal(virtio_pci_init(&p, &t.dev, &f.rig.host, &c, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "slot 5 is taken by tdev"));
	assert_int_equal(t.dev.queues[0].events.kick_fd, -1);
	virtio_pci_destroy(&p);
	virtio_device_destroy(&t.dev);
	teardown(&f);
}

/* --- A guest that writes whatever wherever --- */

static uint32_t random32(uint64_t *x)
{
	*x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*x >> 32);
}

static void hostile_step(struct fixture *f, uint64_t *x)
{
	unsigned size = 1u << random32(x) % 4;
	uint64_t value = random32(x) % 3 ? random32(x) % 16 : random32(x);
	uint64_t page = random32(x) % 4 * 0x1000;
	uint64_t addr = f->regs + page + random32(x) % 64;

	switch (random32(x) % 16) {
	case 0:
		rig_write(&f->rig, SLOT, random32(x) % 252 & ~3u, 4, random32(x));
		break;
	case 1:
		guest_write(&f->kernel, &f->rig.mmio, f->msix + random32(x) % 0x1000 / 8 * 8, 8,
		            random32(x));
		break;
	case 2:
		rig_write(&f->rig, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)f->regs);
		rig_write(&f->rig, SLOT, PCI_BASE_ADDRESS_1, 4, (uint32_t)f->msix);
		enable_decoding(f);
		break;
	case 3:
		set_status(f, 0);
		break;
	case 4:
		set_common(f, VIRTIO_PCI_COMMON_GFSELECT, 4, 1);
		set_common(f, VIRTIO_PCI_COMMON_GF, 4, 1);
		set_status(f, LIVE);
		break;
	case 5:
		fd_signal(f->t.dev.queues[random32(x) % TDEV_QUEUES].events.call_fd);
		virtio_config_changed(&f->t.dev);
		settle(f);
		break;
	default:
		addr &= ~(uint64_t)(size - 1);
		if (random32(x) % 4)
			guest_write(&f->kernel, &f->rig.mmio, addr, size, value);
		else
			fake_read(&f->rig.mmio, addr, size);
	}
}

/* The BARs may be anywhere or nowhere, so a write that nobody takes must not fail the test. */
static void test_hostile(void **state)
{
	struct fixture f;
	uint64_t x = 1;

	(void)state;
	setup(&f, &plain);
	for (unsigned i = 0; i < 60000; i++) {
		if (bus_region_base(&f.p.pci.bars[0].region) != f.regs ||
		    bus_region_base(&f.p.pci.bars[1].region) != f.msix) {
			rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)f.regs);
			rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_1, 4, (uint32_t)f.msix);
			enable_decoding(&f);
		}
		hostile_step(&f, &x);
	}
	/* And it can still be used. */
	set_status(&f, 0);
	f.rig.irq.nr_msi = 0;
	msix_flags(&f, 0);
	go_msix(&f, 2);
	settle(&f);
	f.rig.irq.nr_msi = 0;
	virtio_queue_interrupt(&f.t.dev, 1);
	settle(&f);
	expect_msi(&f, "\x41");
	assert_true(f.t.starts > 100);
	assert_int_equal(f.t.starts, f.t.stops + 1);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_bring_up),
		cmocka_unit_test(test_device_config),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_renewed_eventfds),
		cmocka_unit_test(test_masked),
		cmocka_unit_test(test_vector_given_late),
		cmocka_unit_test(test_intx),
		cmocka_unit_test(test_between_msix_and_intx),
		cmocka_unit_test(test_no_route_left),
		cmocka_unit_test(test_inject_ioctl),
		cmocka_unit_test(test_config_interrupt),
		cmocka_unit_test(test_events_out_of_time),
		cmocka_unit_test(test_ioeventfds),
		cmocka_unit_test(test_notify_by_exit),
		cmocka_unit_test(test_served_by_the_main_loop),
		cmocka_unit_test(test_cfg_access),
		cmocka_unit_test(test_power_on_reset),
		cmocka_unit_test(test_device_goes_first),
		cmocka_unit_test(test_slot_taken),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
