/* SPDX-License-Identifier: BSD-2-Clause */
/* The test device, as a guest's driver uses it: everything of PCI in one device. */
#include "tests/unit/pci_rig.h"

#include <errno.h>

#include "devices/pci/testdev.h"
#include "vmm/fd.h"

#define SLOT 4

struct fixture {
	struct pci_rig rig;
	struct testdev dev;
	uint64_t regs, io, ram, msix;
};

static uint64_t bar(struct fixture *f, unsigned n)
{
	uint32_t low = rig_read(&f->rig, SLOT, PCI_BASE_ADDRESS_0 + 4 * n, 4);

	if (low & PCI_BASE_ADDRESS_SPACE_IO)
		return low & ~3u;
	if (low & PCI_BASE_ADDRESS_MEM_TYPE_64)
		return (uint64_t)rig_read(&f->rig, SLOT, PCI_BASE_ADDRESS_1 + 4 * n, 4) << 32 |
		       (low & ~0xfu);
	return low & ~0xfu;
}

static void setup(struct fixture *f, uint64_t prefetch_size)
{
	struct testdev_config cfg = {
		.pio = &f->rig.pio,
		.mmio = &f->rig.mmio,
		.irq = &f->rig.irq.ctl,
		.prefetch_size = prefetch_size,
	};
	struct err err = {0};

	memset(f, 0, sizeof(*f));
	rig_init(&f->rig);
	assert_int_equal(testdev_init(&f->dev, &cfg, &err), 0);
	assert_int_equal(pci_host_add(&f->rig.host, SLOT, &f->dev.pci, &err), 0);
	assert_int_equal(pci_host_assign(&f->rig.host, &err), 0);
	bus_freeze(&f->rig.pio);
	bus_freeze(&f->rig.mmio);
	rig_write(&f->rig, SLOT, PCI_COMMAND, 2,
	          PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	f->regs = bar(f, 0);
	f->io = bar(f, 1);
	f->ram = bar(f, 2);
	f->msix = bar(f, 4);
}

static void teardown(struct fixture *f)
{
	testdev_destroy(&f->dev);
	testdev_destroy(&f->dev);
	rig_destroy(&f->rig);
}

static void reg_write(struct fixture *f, enum testdev_reg reg, uint32_t value)
{
	fake_write(&f->rig.mmio, f->regs + reg, 4, value);
}

static uint32_t reg_read(struct fixture *f, enum testdev_reg reg)
{
	return (uint32_t)fake_read(&f->rig.mmio, f->regs + reg, 4);
}

static void test_registers(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 0);
	assert_int_equal(rig_read(&f.rig, SLOT, 0, 4), 0x7e571234);
	assert_int_equal(reg_read(&f, TESTDEV_ID), TESTDEV_ID_VALUE);
	reg_write(&f, TESTDEV_ID, 0);
	assert_int_equal(reg_read(&f, TESTDEV_ID), TESTDEV_ID_VALUE);
	reg_write(&f, TESTDEV_SCRATCH, 0x12345678);
	assert_int_equal(fake_read(&f.rig.pio, f.io + TESTDEV_SCRATCH, 4), 0x12345678);
	fake_write(&f.rig.pio, f.io + TESTDEV_SCRATCH, 4, 0x55aa55aa);
	assert_int_equal(reg_read(&f, TESTDEV_SCRATCH), 0x55aa55aa);
	/* Only dwords. */
	fake_write(&f.rig.mmio, f.regs + TESTDEV_SCRATCH, 1, 0);
	fake_write(&f.rig.mmio, f.regs + TESTDEV_SCRATCH + 2, 4, 0);
	fake_write(&f.rig.mmio, f.regs + TESTDEV_SCRATCH, 8, 0);
	assert_int_equal(reg_read(&f, TESTDEV_SCRATCH), 0x55aa55aa);
	assert_int_equal(fake_read(&f.rig.mmio, f.regs + TESTDEV_SCRATCH, 2), 0xffff);
	assert_int_equal(fake_read(&f.rig.mmio, f.regs + 0xffc, 4), 0);
	pci_device_reset(&f.dev.pci);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)f.regs);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(reg_read(&f, TESTDEV_SCRATCH), 0);
	teardown(&f);
}

static void test_ram(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, GIB(4));
	assert_true(f.ram >= RIG_MMIO64);
	fake_write(&f.rig.mmio, f.ram + 0x11, 8, UINT64_C(0x8877665544332211));
	assert_int_equal(fake_read(&f.rig.mmio, f.ram + 0x12, 2), 0x3322);
	assert_int_equal(fake_read(&f.rig.mmio, f.ram + GIB(4) - KIB(4) + 0x18, 1), 0x88);
	fake_write(&f.rig.mmio, f.ram + 0xffc, 8, UINT64_MAX);
	assert_int_equal(fake_read(&f.rig.mmio, f.ram, 4), UINT32_MAX);
	teardown(&f);
}

static void test_bad_size(void **state)
{
	struct fixture f;
	struct testdev_config cfg = {.pio = &f.rig.pio, .mmio = &f.rig.mmio, .irq = &f.rig.irq.ctl};
	struct err err = {0};

	(void)state;
	setup(&f, 0);
	teardown(&f);
	rig_init(&f.rig);
	cfg.prefetch_size = 2048;
	assert_int_equal(testdev_init(&f.dev, &cfg, &err), -EINVAL);
	cfg.prefetch_size = 5000;
	assert_int_equal(testdev_init(&f.dev, &cfg, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "test device"));
	rig_destroy(&f.rig);
}

static void test_intx(void **state)
{
	struct fixture f;
	struct fake_gsi *gsi;

	(void)state;
	setup(&f, 0);
	gsi = &f.rig.irq.gsi[rig_read(&f.rig, SLOT, PCI_INTERRUPT_LINE, 1)];
	reg_write(&f, TESTDEV_INTX, UINT32_MAX);
	assert_int_equal(reg_read(&f, TESTDEV_INTX), 1);
	assert_true(gsi->asserted);
	reg_write(&f, TESTDEV_INTX, 0);
	assert_false(gsi->asserted);
	reg_write(&f, TESTDEV_INTX, 1);
	pci_device_reset(&f.dev.pci);
	assert_false(gsi->asserted);
	teardown(&f);
}

static void test_interrupts(void **state)
{
	struct fixture f;
	unsigned flags;

	(void)state;
	setup(&f, 0);
	flags = rig_find_cap(&f.rig, SLOT, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
	rig_write(&f.rig, SLOT, flags, 2, PCI_MSIX_FLAGS_ENABLE);
	for (unsigned v = 0; v < TESTDEV_VECTORS; v++) {
		fake_write(&f.rig.mmio, f.msix + 16 * v, 8, 0xfee00000);
		fake_write(&f.rig.mmio, f.msix + 16 * v + 8, 8, 0x40 + v);
	}
	reg_write(&f, TESTDEV_NOTIFY, 3);
	reg_write(&f, TESTDEV_NOTIFY, 4);
	assert_int_equal(f.rig.irq.nr_msi, 1);
	assert_int_equal(f.rig.irq.msi[0].data, 0x43);
	/* The fake does not consume events, so they can be seen where they went. */
	for (unsigned v = 0; v < TESTDEV_VECTORS; v++) {
		struct fake_gsi *gsi = &f.rig.irq.gsi[LAYOUT_KVM_IOAPIC_PINS + v];

		assert_true(gsi->routed && gsi->route.data == 0x40 + v);
		assert_int_equal(gsi->irqfd, f.dev.signal_fd[v]);
		reg_write(&f, TESTDEV_SIGNAL, v);
		assert_true(fd_drain(gsi->irqfd) == 1);
	}
	reg_write(&f, TESTDEV_SIGNAL, 4);
	reg_write(&f, TESTDEV_SIGNAL, UINT32_MAX);
	teardown(&f);
}

static int doorbell_backend(void *opaque, enum bus_space space, uint64_t addr,
                            const struct bus_eventfd *e, bool assign)
{
	uint64_t *at = opaque;

	(void)e;
	at[space] = assign ? addr : 0;
	return 0;
}

static void test_doorbell(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 0);
	/* Without ioeventfds: exits. */
	reg_write(&f, TESTDEV_DOORBELL, 1);
	fake_write(&f.rig.pio, f.io + TESTDEV_DOORBELL, 2, 1);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELL_EXITS), 2);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELLS), 0);
	/* What KVM would do. */
	fd_signal(f.dev.doorbell_fd);
	fd_signal(f.dev.doorbell_fd);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELLS), 2);
	fd_signal(f.dev.doorbell_fd);
	assert_int_equal(fake_read(&f.rig.pio, f.io + TESTDEV_DOORBELLS, 4), 3);
	reg_write(&f, TESTDEV_DOORBELLS, 0);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELLS), 0);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELL_EXITS), 0);
	/* A reset forgets also what was not counted yet. */
	reg_write(&f, TESTDEV_DOORBELL, 1);
	fd_signal(f.dev.doorbell_fd);
	pci_device_reset(&f.dev.pci);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0, 4, (uint32_t)f.regs);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELLS), 0);
	assert_int_equal(reg_read(&f, TESTDEV_DOORBELL_EXITS), 0);
	teardown(&f);
}

static void test_doorbell_ioeventfd(void **state)
{
	struct fixture f;
	struct testdev_config cfg = {.pio = &f.rig.pio, .mmio = &f.rig.mmio, .irq = &f.rig.irq.ctl};
	uint64_t at[2] = {0};

	(void)state;
	memset(&f, 0, sizeof(f));
	rig_init(&f.rig);
	bus_set_eventfd_backend(&f.rig.pio, doorbell_backend, at);
	bus_set_eventfd_backend(&f.rig.mmio, doorbell_backend, at);
	assert_int_equal(testdev_init(&f.dev, &cfg, NULL), 0);
	assert_int_equal(pci_host_add(&f.rig.host, SLOT, &f.dev.pci, NULL), 0);
	assert_int_equal(pci_host_assign(&f.rig.host, NULL), 0);
	assert_true(at[BUS_PIO] == 0 && at[BUS_MMIO] == 0);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	assert_true(at[BUS_PIO] == bar(&f, 1) + TESTDEV_DOORBELL);
	assert_true(at[BUS_MMIO] == bar(&f, 0) + TESTDEV_DOORBELL);
	testdev_destroy(&f.dev);
	assert_true(at[BUS_PIO] == 0 && at[BUS_MMIO] == 0);
	rig_destroy(&f.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_registers),          cmocka_unit_test(test_ram),
		cmocka_unit_test(test_bad_size),           cmocka_unit_test(test_intx),
		cmocka_unit_test(test_interrupts),         cmocka_unit_test(test_doorbell),
		cmocka_unit_test(test_doorbell_ioeventfd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
