/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-console, through virtio-mmio's registers: bytes to and from the host, nothing lost where
 * one side is slow. */
#include "tests/unit/virtq_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/virtio_console.h>

#include "devices/console/console.h"
#include "devices/virtio/mmio.h"
#include "tests/unit/virtio_rig.h"

#define BASE 0x1000
#define GSI  5

struct fixture {
	struct bus bus;
	struct fake_irq irq;
	struct loop loop;
	struct fake_ioeventfds kernel;
	struct drv d; /* of one of the queues: the other one is not enabled */
	unsigned index;
	int to_guest[2], to_host[2]; /* pipes: [0] is read */
	struct chardev chr;
	struct console con;
	struct virtio_mmio m;
};

static void go(struct fixture *f)
{
	struct virtio_device *dev = &f->con.dev;
	uint64_t features = virtio_ring_features(f->d.packed);

	virtio_set_status(dev, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++)
		virtio_set_driver_features(dev, i, (uint32_t)(features >> 32 * i));
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	virtio_queue_set(dev, f->index, VIRTIO_QUEUE_SIZE, f->d.size);
	virtio_queue_set(dev, f->index, VIRTIO_QUEUE_DESC_LOW, DRV_DESC);
	virtio_queue_set(dev, f->index, VIRTIO_QUEUE_DRIVER_LOW, DRV_DRIVER);
	virtio_queue_set(dev, f->index, VIRTIO_QUEUE_DEVICE_LOW, DRV_DEVICE);
	virtio_queue_set(dev, f->index, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(dev, LIVE);
	assert_int_equal(virtio_status(dev), LIVE);
}

static struct fixture *setup(bool packed, unsigned index)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtio_mmio_config c;

	f->index = index;
	bus_init(&f->bus, BUS_MMIO);
	bus_set_eventfd_backend(&f->bus, fake_ioeventfd, &f->kernel);
	fake_irq_init(&f->irq, 24);
	assert_int_equal(loop_init(&f->loop), 0);
	drv_init(&f->d, packed, CONSOLE_QUEUE_SIZE, true);
	assert_int_equal(pipe2(f->to_guest, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(pipe2(f->to_host, O_NONBLOCK | O_CLOEXEC), 0);
	assert_int_equal(chardev_init(&f->chr, &f->loop, f->to_guest[0], f->to_host[1]), 0);
	assert_int_equal(console_init(&f->con, "console", &f->chr, &f->d.mem, &f->loop), 0);
	c = (struct virtio_mmio_config){.bus = &f->bus,
	                                .base = BASE,
	                                .line = fake_irq_line(&f->irq, GSI),
	                                .loop = &f->loop};
	assert_int_equal(virtio_mmio_init(&f->m, &f->con.dev, &c, NULL), 0);
	return f;
}

static void teardown(struct fixture *f)
{
	console_destroy(&f->con);
	console_destroy(&f->con);
	run_loop(&f->loop); /* a chardev without a device */
	virtio_mmio_destroy(&f->m);
	chardev_destroy(&f->chr);
	for (unsigned i = 0; i < 2; i++) {
		fd_close(&f->to_guest[i]);
		fd_close(&f->to_host[i]);
	}
	loop_destroy(&f->loop);
	bus_destroy(&f->bus);
	drv_destroy(&f->d);
	free(f);
}

static void kick(struct fixture *f)
{
	drv_interrupt_at(&f->d, 0);
	if (drv_kick_wanted(&f->d))
		assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, f->index));
}

/* Interrupts, after the main loop has done all there was to do. */
static unsigned settle(struct fixture *f)
{
	unsigned before = f->irq.gsi[GSI].rises;

	run_loop(&f->loop);
	fake_irq_kernel(&f->irq);
	return f->irq.gsi[GSI].rises - before;
}

static void host_says(struct fixture *f, const char *text, size_t len)
{
	assert_int_equal(write(f->to_guest[1], text, len), len);
}

/* The guest prints @nr_out parts' bytes, which count up from *@next. False: its queue is full. */
static bool guest_prints(struct fixture *f, unsigned nr_out, uint8_t *next)
{
	int id;

	if (f->d.nr_free < nr_out)
		return false;
	id = drv_add(&f->d, nr_out, 0, false);
	assert_true(id >= 0);
	for (unsigned p = 0; p < nr_out; p++)
		for (unsigned i = 0; i < DRV_PART_SIZE; i++)
			*((uint8_t *)drv_at(&f->d, drv_part((uint16_t)id, p)) + i) = (*next)++;
	return true;
}

/* What the host has to read now counts up from *@next, too. Bytes. */
static size_t host_reads(struct fixture *f, uint8_t *next)
{
	uint8_t buf[4096];
	size_t total = 0;
	ssize_t n;

	while ((n = read(f->to_host[0], buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(buf[i], (*next)++);
		total += (size_t)n;
	}
	return total;
}

static void test_identity(void **state)
{
	struct fixture *f = setup(false, CONSOLE_RX);

	(void)state;
	assert_int_equal(fake_read(&f->bus, BASE + 8, 4), VIRTIO_ID_CONSOLE);
	assert_int_equal(f->con.dev.offered, virtio_ring_features(true));
	assert_int_equal(virtio_queue_size_max(&f->con.dev, 2), 0);
	teardown(f);
}

static void output(bool packed)
{
	struct fixture *f = setup(packed, CONSOLE_TX);
	uint8_t in = 0, out = 0;
	uint32_t written;
	unsigned n = 0;

	go(f);
	/* More than one round's. */
	for (unsigned i = 0; i < CONSOLE_ROUND_MAX + 4; i++)
		assert_true(guest_prints(f, 3, &in));
	kick(f);
	assert_true(settle(f) > 0);
	assert_int_equal(host_reads(f, &out), (CONSOLE_ROUND_MAX + 4) * 3 * DRV_PART_SIZE);
	while (drv_take(&f->d, &written) >= 0) {
		assert_int_equal(written, 0);
		n++;
	}
	assert_int_equal(n, CONSOLE_ROUND_MAX + 4);
	/* And again: it is notified of the next one. */
	assert_true(guest_prints(f, 1, &in));
	assert_true(drv_kick_wanted(&f->d));
	assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, f->index));
	settle(f);
	assert_int_equal(host_reads(f, &out), DRV_PART_SIZE);
	teardown(f);
}

static void test_output(void **state)
{
	(void)state;
	output(false);
	output(true);
}

/* A host that does not read: the driver's buffers wait, and everything comes in the end. */
static void slow_host(bool packed)
{
	struct fixture *f = setup(packed, CONSOLE_TX);
	uint8_t in = 0, out = 0;
	size_t printed = 0, got = 0;
	uint32_t written;

	assert_true(fcntl(f->to_host[1], F_SETPIPE_SZ, 4096) >= 4096);
	go(f);
	for (;;) {
		while (drv_take(&f->d, &written) >= 0)
			;
		if (!guest_prints(f, DRV_PARTS, &in))
			break;
		printed += DRV_PARTS * DRV_PART_SIZE;
		kick(f);
		settle(f);
		assert_true(printed < MIB(1)); /* there is an end to what is taken */
	}
	assert_true(printed > CHARDEV_BUFFER);
	for (unsigned i = 0; i < 1000 && got < printed; i++) {
		got += host_reads(f, &out);
		settle(f);
		while (drv_take(&f->d, &written) >= 0)
			;
	}
	assert_int_equal(got, printed);
	assert_int_equal(f->d.nr_free, f->d.size);
	teardown(f);
}

static void test_slow_host(void **state)
{
	(void)state;
	slow_host(false);
	slow_host(true);
}

/* A host that never reads does not stop a guest that prints, and is heard again when it does. */
static void test_deaf_host(void **state)
{
	struct fixture *f = setup(false, CONSOLE_TX);
	uint8_t in = 0, out = 0, ignored[4096];
	uint32_t written;

	(void)state;
	assert_true(fcntl(f->to_host[1], F_SETPIPE_SZ, 4096) >= 4096);
	go(f);
	while (guest_prints(f, DRV_PARTS, &in)) {
		kick(f);
		settle(f);
		while (drv_take(&f->d, &written) >= 0)
			;
	}
	/* It waits, and then no more. */
	assert_true(f->con.waiting);
	assert_int_equal(drv_take(&f->d, &written), -1);
	assert_int_equal(loop_once(&f->loop, 10 * CONSOLE_PATIENCE_MS), 1);
	settle(f);
	while (drv_take(&f->d, &written) >= 0)
		;
	assert_int_equal(f->d.nr_free, f->d.size);
	assert_true(f->con.deaf);
	for (unsigned i = 0; i < 1000; i++) {
		assert_true(guest_prints(f, DRV_PARTS, &in));
		kick(f);
		settle(f);
		assert_true(drv_take(&f->d, &written) >= 0);
	}
	/* What was kept, then what is said from then on. */
	for (unsigned i = 0; i < 100; i++) {
		while (read(f->to_host[0], ignored, sizeof(ignored)) > 0)
			;
		settle(f);
	}
	assert_false(f->con.deaf);
	out = in;
	assert_true(guest_prints(f, 1, &in));
	kick(f);
	settle(f);
	assert_int_equal(host_reads(f, &out), DRV_PART_SIZE);
	teardown(f);
}

/* One huge buffer is sent in several turns of the main loop. */
static void test_turns(void **state)
{
	struct fixture *f = setup(false, CONSOLE_TX);
	int file = memfd_create("out", MFD_CLOEXEC), turns = 0;

	(void)state;
	assert_int_equal(dup2(file, f->to_host[1]), f->to_host[1]);
	fd_close(&f->chr.nonblock_fd);
	go(f);
	run_loop(&f->loop);
	drv_set(drv_desc(&f->d), DRV_DATA, MIB(1), 0, 0);
	drv_publish(&f->d, 0);
	assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, f->index));
	for (off_t before = 0, now; (now = lseek(file, 0, SEEK_END)) < (off_t)MIB(1);
	     before = now, turns++) {
		assert_true(now - before <= CONSOLE_BYTES_MAX);
		assert_true(loop_once(&f->loop, 1000) > 0);
	}
	assert_true(turns >= 4);
	assert_int_equal(drv_used(&f->d)->idx, 1);
	fd_close(&file);
	teardown(f);
}

static void input(bool packed)
{
	struct fixture *f = setup(packed, CONSOLE_RX);
	uint32_t written;
	char text[50];
	int a, b;

	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)('A' + i);
	host_says(f, text, sizeof(text)); /* before there is a driver */
	settle(f);
	go(f);
	a = drv_add(&f->d, 0, 1, false);
	kick(f);
	assert_int_equal(settle(f), 1);
	assert_int_equal(drv_take(&f->d, &written), a);
	assert_int_equal(written, DRV_PART_SIZE);
	assert_memory_equal(drv_at(&f->d, drv_part((uint16_t)a, 0)), text, DRV_PART_SIZE);
	assert_int_equal(drv_take(&f->d, &written), -1);
	/* The rest waits for a buffer; one byte more for the next one. */
	b = drv_add(&f->d, 0, 2, false);
	kick(f);
	assert_int_equal(settle(f), 1);
	assert_int_equal(drv_take(&f->d, &written), b);
	assert_int_equal(written, sizeof(text) - DRV_PART_SIZE);
	assert_memory_equal(drv_at(&f->d, drv_part((uint16_t)b, 0)), text + DRV_PART_SIZE, written);
	a = drv_add(&f->d, 0, 1, false);
	kick(f);
	assert_int_equal(settle(f), 0);
	host_says(f, "!", 1);
	assert_int_equal(settle(f), 1);
	assert_int_equal(drv_take(&f->d, &written), a);
	assert_int_equal(written, 1);
	teardown(f);
}

static void test_input(void **state)
{
	(void)state;
	input(false);
	input(true);
}

/* A buffer that waits for input is not lost when its queue stops, nor used twice. */
static void stopped(bool packed)
{
	struct fixture *f = setup(packed, CONSOLE_RX);
	struct virtio_device *dev = &f->con.dev;
	uint32_t written;
	int id;

	go(f);
	id = drv_add(&f->d, 0, 1, false);
	kick(f);
	settle(f);
	assert_true(f->con.queues[CONSOLE_RX].held);
	virtio_queue_set(dev, CONSOLE_RX, VIRTIO_QUEUE_ENABLE, 0);
	assert_int_equal(dev->queues[CONSOLE_RX].base, virtq_base_new(packed));
	host_says(f, "x", 1);
	settle(f);
	assert_int_equal(drv_take(&f->d, &written), -1);
	virtio_queue_set(dev, CONSOLE_RX, VIRTIO_QUEUE_ENABLE, 1);
	settle(f);
	assert_int_equal(drv_take(&f->d, &written), id);
	assert_int_equal(written, 1);
	teardown(f);
}

static void test_stopped(void **state)
{
	(void)state;
	stopped(false);
	stopped(true);
}

/* One of which the host has a part is used up; what follows it is not repeated. */
static void test_stopped_halfway(void **state)
{
	struct fixture *f = setup(false, CONSOLE_TX);
	uint8_t in = 0, out = 0;
	uint32_t written;

	(void)state;
	assert_true(fcntl(f->to_host[1], F_SETPIPE_SZ, 4096) >= 4096);
	go(f);
	while (guest_prints(f, DRV_PARTS - 1, &in)) {
		kick(f);
		settle(f);
		while (drv_take(&f->d, &written) >= 0)
			;
	}
	assert_true(f->con.queues[CONSOLE_TX].held);
	assert_true(f->con.queues[CONSOLE_TX].done > 0);
	virtio_queue_set(&f->con.dev, CONSOLE_TX, VIRTIO_QUEUE_ENABLE, 0);
	assert_true(drv_take(&f->d, &written) >= 0);
	assert_int_equal(f->con.dev.queues[CONSOLE_TX].base, drv_used(&f->d)->idx);
	host_reads(f, &out); /* in order, as far as it goes */
	settle(f);
	host_reads(f, &out);
	teardown(f);
}

static void broken(unsigned index, unsigned nr_out, unsigned nr_in)
{
	struct fixture *f = setup(false, index);

	go(f);
	drv_add(&f->d, nr_out, nr_in, false);
	kick(f);
	host_says(f, "x", 1);
	settle(f);
	assert_true(virtio_is_broken(&f->con.dev));
	virtio_set_status(&f->con.dev, 0);
	teardown(f);
}

static void test_broken(void **state)
{
	(void)state;
	broken(CONSOLE_TX, 1, 1);
	broken(CONSOLE_TX, 0, 1);
	broken(CONSOLE_RX, 1, 1);
	broken(CONSOLE_RX, 1, 0);
}

/* A descriptor outside of memory. */
static void test_broken_ring(void **state)
{
	struct fixture *f = setup(false, CONSOLE_TX);

	(void)state;
	go(f);
	drv_set(drv_desc(&f->d), DRV_RAM_END, 1, 0, 0);
	drv_publish(&f->d, 0);
	assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, f->index));
	settle(f);
	assert_true(virtio_is_broken(&f->con.dev));
	teardown(f);
}

/* 5.3.4: a new size is a new generation of the configuration, and an interrupt. */
static void the_terminals_size(void **state)
{
	struct fixture *f = setup(false, CONSOLE_TX);
	uint8_t c[4];
	unsigned rises;
	uint32_t generation;

	(void)state;
	assert_false(f->con.dev.offered & VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE)); /* a pipe */
	console_destroy(&f->con);
	chardev_set_size(&f->chr, 80, 24);
	virtio_mmio_destroy(&f->m);
	bus_destroy(&f->bus);
	bus_init(&f->bus, BUS_MMIO);
	bus_set_eventfd_backend(&f->bus, fake_ioeventfd, &f->kernel);
	assert_int_equal(console_init(&f->con, "console", &f->chr, &f->d.mem, &f->loop), 0);
	assert_int_equal(
		virtio_mmio_init(&f->m, &f->con.dev,
	                         &(struct virtio_mmio_config){.bus = &f->bus,
	                                                      .base = BASE,
	                                                      .line = fake_irq_line(&f->irq, GSI),
	                                                      .loop = &f->loop},
	                         NULL),
		0);
	assert_true(f->con.dev.offered & VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE));
	go(f);
	virtio_config_read(&f->con.dev, 0, c, 4);
	assert_memory_equal(c, "\x50\0\x18\0", 4);
	generation = virtio_config_generation(&f->con.dev);
	rises = f->irq.gsi[GSI].rises;
	chardev_set_size(&f->chr, 80, 24);
	assert_int_equal(f->irq.gsi[GSI].rises, rises);
	chardev_set_size(&f->chr, 300, 50);
	assert_int_equal(f->irq.gsi[GSI].rises, rises + 1);
	virtio_config_read(&f->con.dev, 2, c, 2);
	assert_memory_equal(c, "\x32\0", 2);
	virtio_config_read(&f->con.dev, 0, c, 4);
	assert_memory_equal(c, "\x2c\x01\x32\0", 4);
	assert_int_not_equal(virtio_config_generation(&f->con.dev), generation);
	teardown(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),      cmocka_unit_test(test_output),
		cmocka_unit_test(test_slow_host),     cmocka_unit_test(test_deaf_host),
		cmocka_unit_test(test_turns),         cmocka_unit_test(test_input),
		cmocka_unit_test(test_stopped),       cmocka_unit_test(test_stopped_halfway),
		cmocka_unit_test(test_broken),        cmocka_unit_test(test_broken_ring),
		cmocka_unit_test(the_terminals_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
