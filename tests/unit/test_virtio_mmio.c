/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-mmio as a guest's driver sees it, and the ways that its interrupt goes. */
#include "tests/unit/virtio_rig.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mmio.h>

#include "devices/virtio/mmio.h"

#define BASE    UINT64_C(0xfeb00000)
#define GSI     24
#define PINS    56
#define Q_RESET 0x0c0

struct fixture {
	struct bus bus;
	struct fake_irq irq;
	struct loop loop;
	struct fake_ioeventfds kernel;
	struct tdev t;
	struct virtio_mmio m;
};

struct options {
	bool served, notify_exit, inject_ioctl;
};

static const struct options plain = {.served = false};

static void setup(struct fixture *f, const struct options *o)
{
	struct virtio_mmio_config c;
	struct err err = {0};

	memset(f, 0, sizeof(*f));
	bus_init(&f->bus, BUS_MMIO);
	bus_set_eventfd_backend(&f->bus, fake_ioeventfd, &f->kernel);
	fake_irq_init(&f->irq, PINS);
	assert_int_equal(loop_init(&f->loop), 0);
	tdev_init(&f->t, VIRTIO_ID_BLOCK, TDEV_CONFIG, o->served);
	c = (struct virtio_mmio_config){.bus = &f->bus,
	                                .base = BASE,
	                                .line = fake_irq_line(&f->irq, GSI),
	                                .loop = &f->loop,
	                                .notify_exit = o->notify_exit,
	                                .inject_ioctl = o->inject_ioctl};
	if (virtio_mmio_init(&f->m, &f->t.dev, &c, &err) < 0)
		fail_msg("%s", err.msg);
	bus_freeze(&f->bus);
}

static void teardown(struct fixture *f)
{
	virtio_mmio_destroy(&f->m);
	virtio_mmio_destroy(&f->m);
	virtio_device_destroy(&f->t.dev);
	assert_int_equal(f->kernel.nr, 0);
	assert_int_equal(f->irq.nr_irqfds, 0);
	assert_false(f->irq.gsi[GSI].asserted);
	loop_destroy(&f->loop);
	bus_destroy(&f->bus);
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	return (uint32_t)fake_read(&f->bus, BASE + reg, 4);
}

static void set(struct fixture *f, unsigned reg, uint32_t value)
{
	fake_write(&f->bus, BASE + reg, 4, value);
}

static void negotiate(struct fixture *f)
{
	set(f, VIRTIO_MMIO_STATUS, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		set(f, VIRTIO_MMIO_DEVICE_FEATURES_SEL, i);
		set(f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, i);
		set(f, VIRTIO_MMIO_DRIVER_FEATURES, get(f, VIRTIO_MMIO_DEVICE_FEATURES));
	}
	set(f, VIRTIO_MMIO_STATUS, ACK | DRIVER | F_OK);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), ACK | DRIVER | F_OK);
}

static void go(struct fixture *f, unsigned queues)
{
	negotiate(f);
	for (unsigned i = 0; i < queues; i++) {
		set(f, VIRTIO_MMIO_QUEUE_SEL, i);
		assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 0);
		set(f, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(get(f, VIRTIO_MMIO_QUEUE_READY), 1);
	}
	set(f, VIRTIO_MMIO_STATUS, LIVE);
	assert_int_equal(get(f, VIRTIO_MMIO_STATUS), LIVE);
}

/* Interrupts since the last time. */
static unsigned interrupts(struct fixture *f)
{
	unsigned n = f->irq.gsi[GSI].rises;

	f->irq.gsi[GSI].rises = 0;
	return n;
}

static void settle(struct fixture *f)
{
	fake_irq_kernel(&f->irq);
	run_loop(&f->loop);
}

static int call_fd(struct fixture *f, unsigned queue)
{
	return f->t.dev.queues[queue].events.call_fd;
}

static int kick_fd(struct fixture *f, unsigned queue)
{
	return f->t.dev.queues[queue].events.kick_fd;
}

/* --- Registers --- */

static void test_identity(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(get(&f, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(get(&f, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(get(&f, VIRTIO_MMIO_DEVICE_ID), VIRTIO_ID_BLOCK);
	assert_int_equal(get(&f, VIRTIO_MMIO_VENDOR_ID), 0x4d565254);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(get(&f, VIRTIO_MMIO_SHM_LEN_LOW + 4 * i), UINT32_MAX);
	/* Write-only, and none. */
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM), 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_DESC_LOW), 0);
	assert_int_equal(get(&f, 0x0f8), 0);
	set(&f, VIRTIO_MMIO_VERSION, 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_VERSION), 2);
	teardown(&f);
}

/* Only dwords reach the registers. */
static void test_widths(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(fake_read(&f.bus, BASE, 1), 0xff);
	assert_int_equal(fake_read(&f.bus, BASE, 2), 0xffff);
	assert_true(fake_read(&f.bus, BASE, 8) == UINT64_MAX);
	assert_int_equal(fake_read(&f.bus, BASE + 2, 4), UINT32_MAX);
	fake_write(&f.bus, BASE + VIRTIO_MMIO_STATUS, 1, ACK);
	fake_write(&f.bus, BASE + VIRTIO_MMIO_STATUS, 8, ACK);
	assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), 0);
	set(&f, VIRTIO_MMIO_STATUS, ACK);
	/* Not zero, so no reset. */
	set(&f, VIRTIO_MMIO_STATUS, 0x100);
	assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), ACK);
	teardown(&f);
}

static void test_queue_registers(void **state)
{
	static const unsigned regs[] = {
		VIRTIO_MMIO_QUEUE_DESC_LOW,  VIRTIO_MMIO_QUEUE_DESC_HIGH,
		VIRTIO_MMIO_QUEUE_AVAIL_LOW, VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		VIRTIO_MMIO_QUEUE_USED_LOW,  VIRTIO_MMIO_QUEUE_USED_HIGH,
	};
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	for (unsigned q = 0; q < TDEV_QUEUES; q++) {
		const struct virtq_config *c = &f.t.dev.queues[q].config;

		set(&f, VIRTIO_MMIO_QUEUE_SEL, q);
		assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM_MAX), TDEV_SIZE);
		set(&f, VIRTIO_MMIO_QUEUE_NUM, 2u << q);
		for (unsigned i = 0; i < ARRAY_SIZE(regs); i++)
			set(&f, regs[i], 0x100 * q + i);
		assert_int_equal(c->size, 2u << q);
		assert_true(c->desc == ((uint64_t)(0x100 * q + 1) << 32 | (0x100 * q)));
		assert_true(c->driver == ((uint64_t)(0x100 * q + 3) << 32 | (0x100 * q + 2)));
		assert_true(c->device == ((uint64_t)(0x100 * q + 5) << 32 | (0x100 * q + 4)));
	}
	set(&f, VIRTIO_MMIO_QUEUE_SEL, TDEV_QUEUES);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	set(&f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
	set(&f, VIRTIO_MMIO_QUEUE_SEL, 0x10000);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
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
	/* A driver that stops using a queue writes 0. */
	set(&f, VIRTIO_MMIO_QUEUE_SEL, 1);
	set(&f, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
	assert_false(f.t.dev.queues[1].running);
	set(&f, VIRTIO_MMIO_QUEUE_SEL, 0);
	set(&f, Q_RESET, 1);
	assert_int_equal(get(&f, Q_RESET), 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_QUEUE_READY), 0);
	set(&f, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_true(f.t.dev.queues[0].running);
	set(&f, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), 0);
	assert_int_equal(f.t.stops, 1);
	go(&f, 1);
	teardown(&f);
	assert_int_equal(f.t.stops, 2);
}

static void test_device_config(void **state)
{
	struct fixture f;
	uint64_t at = BASE + VIRTIO_MMIO_CONFIG;
	uint32_t before;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(fake_read(&f.bus, at + 3, 1), 0xc3);
	assert_int_equal(fake_read(&f.bus, at + 2, 2), 0xc3c2);
	assert_int_equal(fake_read(&f.bus, at + 16, 4), 0xd3d2d1d0);
	assert_int_equal(fake_read(&f.bus, at + TDEV_CONFIG, 1), 0);
	assert_int_equal(fake_read(&f.bus, BASE + 0xffc, 4), 0);
	fake_write(&f.bus, at + 4, 1, 0x34);
	assert_int_equal(f.t.config[4], 0x34);
	assert_int_equal(f.t.config[5], 0xc5);
	before = get(&f, VIRTIO_MMIO_CONFIG_GENERATION);
	virtio_config_changed(&f.t.dev);
	fake_read(&f.bus, at, 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_CONFIG_GENERATION), before + 1);
	teardown(&f);
}

/* --- Interrupts --- */

static void test_direct(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go(&f, 2);
	assert_int_equal(f.irq.nr_irqfds, 2);
	assert_true(fake_irq_has_irqfd(&f.irq, GSI, call_fd(&f, 0)));
	assert_true(fake_irq_has_irqfd(&f.irq, GSI, call_fd(&f, 1)));
	virtio_queue_interrupt(&f.t.dev, 1);
	assert_int_equal(interrupts(&f), 0);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	/* Nobody told us; the driver has to look all the same. Acknowledging changes nothing. */
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	/* The other bit is true. */
	virtio_config_changed(&f.t.dev);
	assert_int_equal(interrupts(&f), 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS),
	                 VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS),
	                 VIRTIO_MMIO_INT_VRING | VIRTIO_MMIO_INT_CONFIG);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	virtio_queue_interrupt(&f.t.dev, 0);
	virtio_config_changed(&f.t.dev);
	set(&f, VIRTIO_MMIO_STATUS, 0);
	interrupts(&f);
	settle(&f);
	assert_int_equal(interrupts(&f), 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	assert_int_equal(f.irq.nr_irqfds, 0);
	teardown(&f);
}

/* An event that waits when the kernel gets the fd is one interrupt, and does not stay behind. */
static void test_event_before_the_start(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	fd_signal(call_fd(&f, 0));
	settle(&f);
	assert_int_equal(interrupts(&f), 0);
	go(&f, 1);
	assert_int_equal(interrupts(&f), 1);
	settle(&f);
	assert_int_equal(interrupts(&f), 0);
	teardown(&f);
}

static void test_inject_ioctl(void **state)
{
	struct options o = {.inject_ioctl = true};
	struct fixture f;

	(void)state;
	setup(&f, &o);
	assert_int_equal(call_fd(&f, 0), -1);
	go(&f, 2);
	assert_int_equal(f.irq.nr_irqfds, 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	virtio_queue_interrupt(&f.t.dev, 1);
	assert_int_equal(interrupts(&f), 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	/* Each one is an edge, acknowledged or not. */
	virtio_queue_interrupt(&f.t.dev, 0);
	assert_int_equal(interrupts(&f), 1);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	virtio_config_changed(&f.t.dev);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, UINT32_MAX);
	interrupts(&f);
	/* A queue that does not run. */
	virtio_queue_interrupt(&f.t.dev, 3);
	assert_int_equal(interrupts(&f), 0);
	/* Somebody outside. */
	fd_signal(f.t.dev.queues[0].events.peer_call_fd);
	assert_int_equal(interrupts(&f), 0);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	set(&f, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	teardown(&f);
}

/* KVM refuses the irqfd: the main loop carries the interrupts, and the status is true. */
static void test_no_irqfd(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	f.irq.irqfd_error = -ENOSPC;
	fd_signal(call_fd(&f, 0));
	go(&f, 1);
	assert_int_equal(interrupts(&f), 1);
	set(&f, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	virtio_queue_interrupt(&f.t.dev, 0);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	f.irq.irqfd_error = 0;
	teardown(&f);
}

static void test_config_interrupt(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	negotiate(&f);
	virtio_config_changed(&f.t.dev);
	assert_int_equal(interrupts(&f), 0);
	set(&f, VIRTIO_MMIO_STATUS, LIVE);
	/* No queue runs: the bit of the queues is not set. */
	virtio_device_broken(&f.t.dev, "for the test");
	assert_int_equal(interrupts(&f), 1);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(get(&f, VIRTIO_MMIO_STATUS), LIVE | BROKEN);
	set(&f, VIRTIO_MMIO_STATUS, 0);
	/* Late for the device's life. */
	f.t.dev.transport_ops->config_interrupt(f.t.dev.transport);
	f.t.dev.transport_ops->queue_interrupt(f.t.dev.transport, 0);
	assert_int_equal(interrupts(&f), 0);
	assert_int_equal(get(&f, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
	teardown(&f);
}

/* --- Notifications --- */

static bool notify(struct fixture *f, uint32_t value)
{
	return guest_write(&f->kernel, &f->bus, BASE + VIRTIO_MMIO_QUEUE_NOTIFY, 4, value);
}

static void test_ioeventfds(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	assert_int_equal(f.kernel.nr, 0);
	go(&f, 2);
	assert_int_equal(f.kernel.nr, 2);
	assert_true(notify(&f, 1));
	assert_int_equal(fd_drain(kick_fd(&f, 0)), 0);
	assert_int_equal(fd_drain(kick_fd(&f, 1)), 1);
	/* No queue of that number runs, or is. */
	assert_false(notify(&f, 2));
	assert_int_equal(fd_drain(kick_fd(&f, 2)), 1);
	assert_false(notify(&f, TDEV_QUEUES));
	assert_false(notify(&f, UINT32_MAX));
	set(&f, VIRTIO_MMIO_QUEUE_SEL, 1);
	set(&f, VIRTIO_MMIO_QUEUE_READY, 0);
	assert_int_equal(f.kernel.nr, 1);
	set(&f, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(f.kernel.nr, 0);
	teardown(&f);
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
	go(&f, 2);
	kick = dup(f.t.dev.queues[1].events.kick_fd);
	call = dup(call_fd(&f, 1));
	assert_int_equal(virtio_queue_renew(&f.t.dev, 1), 0); /* nobody had them */
	fd_signal(call);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	f.t.dev.queues[1].lent = true;
	assert_int_equal(virtio_queue_renew(&f.t.dev, 1), 0);
	assert_false(f.t.dev.queues[1].lent);
	fd_signal(call);
	settle(&f);
	assert_int_equal(interrupts(&f), 0);
	virtio_queue_interrupt(&f.t.dev, 1);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	fd_drain(f.t.dev.queues[1].events.kick_fd);
	assert_true(notify(&f, 1));
	assert_int_equal(fd_drain(kick), 0);
	assert_int_equal(fd_drain(f.t.dev.queues[1].events.kick_fd), 1);
	/* One that does not run. */
	f.t.dev.queues[3].lent = true;
	assert_int_equal(virtio_queue_renew(&f.t.dev, 3), 0);
	assert_int_equal(f.irq.nr_irqfds, 2);
	assert_int_equal(f.kernel.nr, 2);
	fd_close(&kick);
	fd_close(&call);
	teardown(&f);
}

static void test_notify_by_exit(void **state)
{
	struct options o = {.notify_exit = true, .served = true};
	struct fixture f;

	(void)state;
	setup(&f, &o);
	go(&f, 2);
	assert_int_equal(f.kernel.nr, 0);
	settle(&f);
	assert_int_equal(f.t.kicked[1], 1);
	assert_false(notify(&f, 1));
	settle(&f);
	assert_int_equal(f.t.kicked[1], 2);
	assert_int_equal(f.t.kicked[0], 1);
	teardown(&f);
}

/* --- Life --- */

static void test_place_taken(void **state)
{
	struct virtio_mmio m;
	struct tdev t;
	struct fixture f;
	struct virtio_mmio_config c;
	struct err err = {0};

	(void)state;
	setup(&f, &plain);
	c = f.m.cfg;
	f.bus.frozen = false;
	tdev_init(&t, VIRTIO_ID_RNG, 0, false);
	assert_int_equal(virtio_mmio_init(&m, &t.dev, &c, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "virtio-mmio at 0xfeb00000"));
	assert_int_equal(t.dev.queues[0].events.kick_fd, -1);
	virtio_mmio_destroy(&m);
	virtio_device_destroy(&t.dev);
	teardown(&f);
}

static void test_device_goes_first(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, &plain);
	go(&f, 2);
	virtio_device_destroy(&f.t.dev);
	assert_int_equal(f.t.stops, 1);
	assert_int_equal(f.irq.nr_irqfds, 0);
	teardown(&f);
}

static uint32_t random32(uint64_t *x)
{
	*x = *x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*x >> 32);
}

static void test_hostile(void **state)
{
	struct fixture f;
	uint64_t x = 2;

	(void)state;
	setup(&f, &plain);
	for (unsigned i = 0; i < 60000; i++) {
		unsigned reg = random32(&x) % 0x130, size = random32(&x) % 4 ? 4 : 1u << reg % 4;
		uint32_t value = random32(&x) % 3 ? random32(&x) % 16 : random32(&x);

		if (size == 4 && random32(&x) % 8)
			reg &= ~3u;
		switch (random32(&x) % 16) {
		case 0:
			set(&f, VIRTIO_MMIO_STATUS, 0);
			break;
		case 1:
			set(&f, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 1);
			set(&f, VIRTIO_MMIO_DRIVER_FEATURES, 1);
			set(&f, VIRTIO_MMIO_STATUS, LIVE);
			break;
		case 2:
			fd_signal(call_fd(&f, random32(&x) % TDEV_QUEUES));
			virtio_config_changed(&f.t.dev);
			settle(&f);
			break;
		case 3:
			fake_read(&f.bus, BASE + reg, size);
			break;
		default:
			guest_write(&f.kernel, &f.bus, BASE + reg, size, value);
		}
	}
	set(&f, VIRTIO_MMIO_STATUS, 0);
	go(&f, 2);
	settle(&f);
	interrupts(&f);
	virtio_queue_interrupt(&f.t.dev, 1);
	settle(&f);
	assert_int_equal(interrupts(&f), 1);
	assert_true(f.t.starts > 100);
	assert_int_equal(f.t.starts, f.t.stops + 1);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_queue_registers),
		cmocka_unit_test(test_bring_up),
		cmocka_unit_test(test_device_config),
		cmocka_unit_test(test_direct),
		cmocka_unit_test(test_event_before_the_start),
		cmocka_unit_test(test_inject_ioctl),
		cmocka_unit_test(test_no_irqfd),
		cmocka_unit_test(test_renewed_eventfds),
		cmocka_unit_test(test_config_interrupt),
		cmocka_unit_test(test_ioeventfds),
		cmocka_unit_test(test_notify_by_exit),
		cmocka_unit_test(test_place_taken),
		cmocka_unit_test(test_device_goes_first),
		cmocka_unit_test(test_hostile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
