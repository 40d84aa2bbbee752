/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio device's state machine, between a driver, a device and a transport of the test's own.
 */
#include "tests/unit/virtq_driver.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <pthread.h>
#include <stdio.h>

#include "devices/virtio/device.h"
#include "vmm/fd.h"

#define ACK       VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER    VIRTIO_CONFIG_S_DRIVER
#define F_OK      VIRTIO_CONFIG_S_FEATURES_OK
#define D_OK      VIRTIO_CONFIG_S_DRIVER_OK
#define BROKEN    VIRTIO_CONFIG_S_NEEDS_RESET
#define FAILED    VIRTIO_CONFIG_S_FAILED
#define LIVE      (ACK | DRIVER | F_OK | D_OK)
#define OWN_BIT   5
#define RING_BITS (virtio_ring_features(true))
#define QUEUES    3
#define CONFIG    12

struct fixture {
	struct virtio_device dev;
	struct memory mem;
	uint8_t *ram;
	char log[512]; /* what was called, in order */
	int start_rc, queue_start_rc;
	uint8_t status_in_stop;
	uint8_t config[CONFIG];
	struct virtio_device_ops ops;
};

static struct fixture *fixture_of(struct virtio_device *dev)
{
	return container_of(dev, struct fixture, dev);
}

static void note(struct fixture *f, const char *fmt, ...)
{
	size_t len = strlen(f->log);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->log + len, sizeof(f->log) - len, fmt, ap);
	va_end(ap);
}

/* What was called since the last time. */
static void expect(struct fixture *f, const char *what)
{
	assert_string_equal(f->log, what);
	f->log[0] = '\0';
}

static int on_start(struct virtio_device *dev, struct err *err)
{
	struct fixture *f = fixture_of(dev);

	assert_true(virtio_status(dev) & D_OK);
	note(f, "start ");
	return f->start_rc ? err_set(err, f->start_rc, "no start") : 0;
}

static void on_stop(struct virtio_device *dev)
{
	struct fixture *f = fixture_of(dev);

	f->status_in_stop = virtio_status(dev);
	note(f, "stop ");
}

static int on_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	struct fixture *f = fixture_of(dev);

	note(f, "start%u ", index);
	return f->queue_start_rc ? err_set(err, f->queue_start_rc, "no queue") : 0;
}

static void on_queue_stop(struct virtio_device *dev, unsigned index)
{
	assert_true(dev->queues[index].running);
	note(fixture_of(dev), "stop%u ", index);
}

static void on_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	assert_true(offset <= CONFIG && len <= CONFIG - offset);
	memcpy(buf, fixture_of(dev)->config + offset, len);
}

static void on_config_write(struct virtio_device *dev, uint32_t offset, const void *buf,
                            uint32_t len)
{
	assert_true(offset <= CONFIG && len <= CONFIG - offset);
	memcpy(fixture_of(dev)->config + offset, buf, len);
}

static void on_queue_interrupt(void *transport, unsigned index)
{
	note(transport, "irq%u ", index);
}

static void on_config_interrupt(void *transport)
{
	note(transport, "config-irq ");
}

/* Which queues run: as digits. */
static void on_running(void *transport, bool running)
{
	struct fixture *f = transport;

	note(f, running ? "on:" : "off:");
	for (unsigned i = 0; i < f->dev.nr_queues; i++)
		if (f->dev.queues[i].running)
			note(f, "%u", i);
	note(f, " ");
}

static void on_reset(void *transport, int index)
{
	struct fixture *f = transport;

	for (unsigned i = 0; i < f->dev.nr_queues; i++)
		assert_false((index < 0 || (int)i == index) && f->dev.queues[i].running);
	if (index < 0)
		note(f, "reset ");
	else
		note(f, "reset%d ", index);
}

static const struct virtio_transport_ops transport_ops = {
	.queue_interrupt = on_queue_interrupt,
	.config_interrupt = on_config_interrupt,
	.running = on_running,
	.reset = on_reset,
};

static void setup_with(struct fixture *f, uint64_t offered)
{
	static const uint16_t sizes[QUEUES] = {256, 64, 0};
	struct mem_region r = {.gpa = 0x10000, .size = 0x10000, .fd = -1};

	f->ram = calloc(1, r.size);
	r.host = f->ram;
	memory_init(&f->mem);
	memory_add(&f->mem, &r);
	memory_freeze(&f->mem);
	virtio_device_init(&f->dev, "test", 42, &f->ops, offered, CONFIG, sizes, QUEUES, &f->mem);
	f->dev.transport_ops = &transport_ops;
	f->dev.transport = f;
}

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	f->ops = (struct virtio_device_ops){
		.start = on_start,
		.stop = on_stop,
		.queue_start = on_queue_start,
		.queue_stop = on_queue_stop,
		.config_read = on_config_read,
		.config_write = on_config_write,
	};
	setup_with(f, RING_BITS | VIRTIO_FEATURE(OWN_BIT));
}

static void teardown(struct fixture *f)
{
	virtio_device_destroy(&f->dev);
	virtio_device_destroy(&f->dev);
	free(f->ram);
}

static void accept_features(struct fixture *f, uint64_t features)
{
	virtio_set_driver_features(&f->dev, 0, (uint32_t)features);
	virtio_set_driver_features(&f->dev, 1, (uint32_t)(features >> 32));
}

static void negotiate(struct fixture *f, uint64_t features)
{
	virtio_set_status(&f->dev, ACK);
	virtio_set_status(&f->dev, ACK | DRIVER);
	accept_features(f, features);
	virtio_set_status(&f->dev, ACK | DRIVER | F_OK);
	assert_int_equal(virtio_status(&f->dev), ACK | DRIVER | F_OK);
}

static void place(struct fixture *f, unsigned index)
{
	uint32_t at = 0x10000 + 0x4000 * index;

	virtio_queue_set(&f->dev, index, VIRTIO_QUEUE_DESC_LOW, at);
	virtio_queue_set(&f->dev, index, VIRTIO_QUEUE_DRIVER_LOW, at + 0x2000);
	virtio_queue_set(&f->dev, index, VIRTIO_QUEUE_DEVICE_LOW, at + 0x3000);
}

static uint32_t get(struct fixture *f, unsigned index, enum virtio_queue_field field)
{
	return virtio_queue_get(&f->dev, index, field);
}

/* A device with queue 0 that runs. */
static void bring_up(struct fixture *f, uint64_t features)
{
	negotiate(f, features);
	place(f, 0);
	virtio_queue_set(&f->dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(&f->dev, LIVE);
	assert_int_equal(virtio_status(&f->dev), LIVE);
	expect(f, "on:0 start ");
}

static void test_feature_windows(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(virtio_features_window(&f.dev, 0),
	                 (uint32_t)RING_BITS | VIRTIO_FEATURE(OWN_BIT));
	assert_int_equal(virtio_features_window(&f.dev, 1), RING_BITS >> 32);
	assert_int_equal(virtio_features_window(&f.dev, 2), 0);
	assert_int_equal(virtio_features_window(&f.dev, UINT32_MAX), 0);
	accept_features(&f, UINT64_C(0x1122334455667788));
	virtio_set_driver_features(&f.dev, 2, UINT32_MAX);
	virtio_set_driver_features(&f.dev, UINT32_MAX, UINT32_MAX);
	assert_int_equal(virtio_driver_features_window(&f.dev, 0), 0x55667788);
	assert_int_equal(virtio_driver_features_window(&f.dev, 1), 0x11223344);
	assert_int_equal(virtio_driver_features_window(&f.dev, 2), 0);
	teardown(&f);
}

static void test_ring_features(void **state)
{
	struct fixture f;

	(void)state;
	assert_true(virtio_ring_features(false) == (VIRTIO_FEATURE(32) | VIRTIO_FEATURE(29) |
	                                            VIRTIO_FEATURE(28) | VIRTIO_FEATURE(40)));
	assert_true(virtio_ring_features(true) ==
	            (virtio_ring_features(false) | VIRTIO_FEATURE(34)));
	/* Who cannot stop a queue does not offer to reset it. */
	memset(&f, 0, sizeof(f));
	f.ops = (struct virtio_device_ops){.start = on_start, .stop = on_stop};
	setup_with(&f, RING_BITS);
	assert_true(f.dev.offered == (RING_BITS & ~VIRTIO_FEATURE(40)));
	teardown(&f);
}

static void test_features_ok(void **state)
{
	static const struct {
		uint64_t features;
		bool ok;
	} cases[] = {
		{VIRTIO_FEATURE(32), true},
		{VIRTIO_FEATURE(32) | VIRTIO_FEATURE(OWN_BIT) | VIRTIO_FEATURE(34), true},
		{0, false},
		{VIRTIO_FEATURE(OWN_BIT), false}, /* no VERSION_1 */
		{VIRTIO_FEATURE(32) | VIRTIO_FEATURE(OWN_BIT + 1), false},
		{VIRTIO_FEATURE(32) | VIRTIO_FEATURE(63), false},
		{UINT64_MAX, false},
	};
	struct fixture f;

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		virtio_set_status(&f.dev, 0);
		virtio_set_status(&f.dev, ACK | DRIVER);
		accept_features(&f, cases[i].features);
		virtio_set_status(&f.dev, ACK | DRIVER | F_OK);
		assert_int_equal(virtio_status(&f.dev), ACK | DRIVER | (cases[i].ok ? F_OK : 0));
		/* Frozen, or still to be changed. */
		accept_features(&f, VIRTIO_FEATURE(32));
		virtio_set_status(&f.dev, ACK | DRIVER | F_OK);
		assert_int_equal(virtio_status(&f.dev), ACK | DRIVER | F_OK);
		assert_true(f.dev.driver_features ==
		            (cases[i].ok ? cases[i].features : VIRTIO_FEATURE(32)));
	}
	teardown(&f);
}

static void test_status_bits(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	/* NEEDS_RESET is not the driver's; bits stay once they are set. */
	virtio_set_status(&f.dev, BROKEN | ACK);
	assert_int_equal(virtio_status(&f.dev), ACK);
	virtio_set_status(&f.dev, DRIVER);
	assert_int_equal(virtio_status(&f.dev), ACK | DRIVER);
	/* Nothing runs without FEATURES_OK. */
	virtio_set_status(&f.dev, ACK | DRIVER | D_OK);
	assert_int_equal(virtio_status(&f.dev), ACK | DRIVER);
	/* Both together are taken in their order. */
	accept_features(&f, VIRTIO_FEATURE(32));
	virtio_set_status(&f.dev, LIVE);
	assert_int_equal(virtio_status(&f.dev), LIVE);
	expect(&f, "on: start ");
	virtio_set_status(&f.dev, LIVE);
	virtio_set_status(&f.dev, ACK);
	assert_int_equal(virtio_status(&f.dev), LIVE);
	expect(&f, "");
	/* Unknown bits are not kept. */
	virtio_set_status(&f.dev, 0x30 | LIVE);
	assert_int_equal(virtio_status(&f.dev), LIVE);
	teardown(&f);
}

static void test_failed_does_not_start(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	negotiate(&f, VIRTIO_FEATURE(32));
	virtio_set_status(&f.dev, ACK | DRIVER | F_OK | FAILED);
	virtio_set_status(&f.dev, LIVE | FAILED);
	assert_int_equal(virtio_status(&f.dev), ACK | DRIVER | F_OK | FAILED);
	expect(&f, "");
	virtio_set_status(&f.dev, 0);
	assert_int_equal(virtio_status(&f.dev), 0);
	teardown(&f);
}

static void test_start_and_reset(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	bring_up(&f, RING_BITS);
	assert_true(f.dev.queues[0].running && !f.dev.queues[1].running);
	virtio_set_status(&f.dev, 0);
	/* First the owners leave, then the routes go, and 0 is to be read last. */
	expect(&f, "stop off: reset ");
	assert_int_equal(f.status_in_stop, LIVE);
	assert_int_equal(virtio_status(&f.dev), 0);
	assert_false(f.dev.queues[0].running);
	assert_true(f.dev.driver_features == 0);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_ENABLE), 0);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_DESC_LOW), 0);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_SIZE), 256);
	/* Again, and from the states in between. */
	virtio_set_status(&f.dev, 0);
	expect(&f, "reset ");
	negotiate(&f, RING_BITS);
	virtio_set_status(&f.dev, 0);
	expect(&f, "reset ");
	bring_up(&f, RING_BITS);
	teardown(&f);
	expect(&f, "stop off: reset ");
}

static void test_start_fails(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	f.start_rc = -EINVAL;
	negotiate(&f, RING_BITS);
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(&f.dev, LIVE);
	assert_int_equal(virtio_status(&f.dev), LIVE | BROKEN);
	expect(&f, "on:0 start off: config-irq ");
	assert_false(f.dev.queues[0].running);
	/* What did not start is not stopped. */
	virtio_set_status(&f.dev, 0);
	expect(&f, "reset ");
	f.start_rc = 0;
	bring_up(&f, RING_BITS);
	teardown(&f);
}

static void test_queue_settings(void **state)
{
	static const enum virtio_queue_field low[] = {
		VIRTIO_QUEUE_DESC_LOW, VIRTIO_QUEUE_DRIVER_LOW, VIRTIO_QUEUE_DEVICE_LOW};
	struct fixture f;
	const struct virtq_config *c = &f.dev.queues[1].config;

	(void)state;
	setup(&f);
	assert_int_equal(virtio_queue_size_max(&f.dev, 0), 256);
	assert_int_equal(virtio_queue_size_max(&f.dev, 1), 64);
	assert_int_equal(virtio_queue_size_max(&f.dev, 3), 0);
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_SIZE), 64);
	for (unsigned i = 0; i < ARRAY_SIZE(low); i++) {
		virtio_queue_set(&f.dev, 1, low[i], 0x1000 + i);
		virtio_queue_set(&f.dev, 1, low[i] + 1, 0x2000 + i);
		assert_int_equal(get(&f, 1, low[i]), 0x1000 + i);
		assert_int_equal(get(&f, 1, low[i] + 1), 0x2000 + i);
	}
	assert_true(c->desc == UINT64_C(0x200000001000));
	assert_true(c->driver == UINT64_C(0x200100001001));
	assert_true(c->device == UINT64_C(0x200200001002));
	/* One half at a time. */
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_DESC_HIGH, 7);
	assert_true(c->desc == UINT64_C(0x700001000));
	/* Nobody there. */
	for (unsigned field = 0; field <= VIRTIO_QUEUE_RESET; field++) {
		virtio_queue_set(&f.dev, QUEUES, field, 1);
		virtio_queue_set(&f.dev, UINT32_MAX, field, 1);
		assert_int_equal(get(&f, QUEUES, field), 0);
		assert_int_equal(get(&f, UINT32_MAX, field), 0);
	}
	/* A queue of size 0 cannot be enabled. */
	virtio_queue_set(&f.dev, 2, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(get(&f, 2, VIRTIO_QUEUE_ENABLE), 0);
	/* Only 1 enables; then nothing can be changed. */
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 2);
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_ENABLE), 0);
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_ENABLE), 1);
	for (unsigned field = 0; field < VIRTIO_QUEUE_ENABLE; field++)
		virtio_queue_set(&f.dev, 1, field, 16);
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_SIZE), 64);
	assert_true(c->desc == UINT64_C(0x700001000));
	expect(&f, "");
	teardown(&f);
}

static void test_queue_sizes(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (unsigned packed = 0; packed < 2; packed++) {
		virtio_set_status(&f.dev, 0);
		negotiate(&f, packed ? RING_BITS : RING_BITS & ~VIRTIO_FEATURE(34));
		for (unsigned size = 1; size < 66; size++) {
			bool power = (size & (size - 1)) == 0;
			unsigned before = get(&f, 1, VIRTIO_QUEUE_SIZE);

			virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_SIZE, size);
			assert_int_equal(get(&f, 1, VIRTIO_QUEUE_SIZE),
			                 size <= 64 && (power || packed) ? size : before);
		}
		virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_SIZE, 0);
		virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_SIZE, 0x10002);
		virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_SIZE, UINT32_MAX);
		assert_int_equal(get(&f, 1, VIRTIO_QUEUE_SIZE), 64);
	}
	teardown(&f);
}

static void test_queue_take(void **state)
{
	struct fixture f;
	struct virtq q;
	struct err err = {0};

	(void)state;
	setup(&f);
	for (unsigned packed = 0; packed < 2; packed++) {
		virtio_set_status(&f.dev, 0);
		negotiate(&f, packed ? RING_BITS : RING_BITS & ~VIRTIO_FEATURE(34));
		assert_int_equal(virtio_queue_take(&f.dev, 0, &q, &err), -EINVAL);
		assert_string_equal(err.msg, "queue 0 is not enabled");
		place(&f, 0);
		virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_SIZE, 16);
		virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
		assert_int_equal(virtio_queue_take(&f.dev, 0, &q, &err), 0);
		assert_true(q.size == 16 && q.f.packed == packed && q.f.event_idx);
		assert_int_equal(virtq_base(&q), virtq_base_new(packed));
		virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_DESC_LOW, 0x123);
		virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
		assert_int_equal(virtio_queue_take(&f.dev, 1, &q, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "queue 1: a ring is misaligned"));
		/* Where an owner left it. */
		f.dev.queues[0].base = 5;
		assert_int_equal(virtio_queue_take(&f.dev, 0, &q, &err), 0);
		assert_int_equal(virtq_base(&q), 5);
	}
	teardown(&f);
}

static void test_late_queue(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	bring_up(&f, RING_BITS);
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "on:01 start1 ");
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "");
	virtio_set_status(&f.dev, 0);
	expect(&f, "stop off: reset ");

	bring_up(&f, RING_BITS);
	f.queue_start_rc = -EINVAL;
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "on:01 start1 on:0 config-irq ");
	assert_int_equal(virtio_status(&f.dev), LIVE | BROKEN);
	/* No more starts in a broken device. */
	f.queue_start_rc = 0;
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 0);
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "");
	teardown(&f);
}

static void test_late_queue_impossible(void **state)
{
	struct fixture f;

	(void)state;
	memset(&f, 0, sizeof(f));
	f.ops = (struct virtio_device_ops){.start = on_start, .stop = on_stop};
	setup_with(&f, RING_BITS);
	bring_up(&f, RING_BITS & ~VIRTIO_FEATURE(40));
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_ENABLE), 0);
	/* Stopping one queue: nobody may look at it any more, so all stop. */
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 0);
	expect(&f, "stop off: config-irq ");
	assert_int_equal(virtio_status(&f.dev), LIVE | BROKEN);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_ENABLE), 0);
	virtio_set_status(&f.dev, 0);
	expect(&f, "reset ");
	teardown(&f);
}

static void test_queue_disable(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	bring_up(&f, RING_BITS);
	f.dev.queues[0].base = 0x12345;
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 0);
	expect(&f, "stop0 on: ");
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 0);
	expect(&f, "");
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_ENABLE), 0);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_DESC_LOW), 0x10000);
	/* Enabled again it begins anew. */
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "on:0 start0 ");
	assert_int_equal(f.dev.queues[0].base, virtq_base_new(true));
	teardown(&f);
}

static void test_ring_reset(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	/* Not negotiated (yet): nothing. */
	place(&f, 0);
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_RESET, 1);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_DESC_LOW), 0x10000);
	bring_up(&f, RING_BITS & ~VIRTIO_FEATURE(40));
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_RESET, 1);
	expect(&f, "");
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_ENABLE), 1);
	virtio_set_status(&f.dev, 0);
	expect(&f, "stop off: reset ");

	bring_up(&f, RING_BITS);
	f.dev.queues[0].base = 77;
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_RESET, 2);
	expect(&f, "");
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_RESET, 1);
	expect(&f, "stop0 on: reset0 ");
	for (unsigned field = 0; field <= VIRTIO_QUEUE_RESET; field++)
		assert_int_equal(get(&f, 0, field), field == VIRTIO_QUEUE_SIZE ? 256 : 0);
	assert_int_equal(f.dev.queues[0].base, virtq_base_new(true));
	assert_int_equal(virtio_status(&f.dev), LIVE);
	/* And back, with other settings. */
	place(&f, 0);
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_SIZE, 3);
	virtio_queue_set(&f.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	expect(&f, "on:0 start0 ");
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_SIZE), 3);
	assert_int_equal(get(&f, 0, VIRTIO_QUEUE_RESET), 0);
	/* One that does not run. */
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_SIZE, 8);
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_RESET, 1);
	expect(&f, "reset1 ");
	assert_int_equal(get(&f, 1, VIRTIO_QUEUE_SIZE), 64);
	teardown(&f);
}

static void test_broken(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	/* Nobody is there. */
	virtio_device_broken(&f.dev, "early");
	assert_int_equal(virtio_status(&f.dev), 0);
	virtio_set_status(&f.dev, ACK);
	virtio_device_broken(&f.dev, "before the driver runs");
	assert_int_equal(virtio_status(&f.dev), ACK | BROKEN);
	assert_true(virtio_is_broken(&f.dev));
	expect(&f, "");
	/* It has to be reset first. */
	accept_features(&f, RING_BITS);
	virtio_set_status(&f.dev, LIVE);
	assert_int_equal(virtio_status(&f.dev), ACK | DRIVER | BROKEN);
	virtio_set_status(&f.dev, 0);
	expect(&f, "reset ");

	bring_up(&f, RING_BITS);
	virtio_device_broken(&f.dev, "while it runs");
	virtio_device_broken(&f.dev, "once is enough");
	assert_int_equal(virtio_status(&f.dev), LIVE | BROKEN);
	expect(&f, "config-irq ");
	virtio_set_status(&f.dev, 0);
	expect(&f, "stop off: reset ");
	assert_false(virtio_is_broken(&f.dev));
	teardown(&f);
}

static void test_config_access(void **state)
{
	struct fixture f;
	uint8_t buf[8];

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < CONFIG; i++)
		f.config[i] = (uint8_t)(0x10 + i);
	/* Before any negotiation. */
	virtio_config_read(&f.dev, 4, buf, 8);
	assert_memory_equal(buf, f.config + 4, 8);
	virtio_config_write(&f.dev, 10, "\x55\xaa", 2);
	assert_int_equal(f.config[10], 0x55);
	/* Over the end, and far from it. */
	for (unsigned i = 0; i < 4; i++) {
		static const uint32_t offsets[] = {CONFIG - 1, CONFIG, UINT32_MAX, UINT32_MAX - 1};

		memset(buf, 0xee, sizeof(buf));
		virtio_config_read(&f.dev, offsets[i], buf, 2);
		assert_memory_equal(buf, "\0\0\xee", 3);
		virtio_config_write(&f.dev, offsets[i], "\x99\x99", 2);
		assert_int_equal(f.config[CONFIG - 1], 0xaa);
	}
	f.ops.config_write = NULL;
	virtio_config_write(&f.dev, 0, "\x99", 1);
	assert_int_equal(f.config[0], 0x10);
	teardown(&f);
}

static void test_config_generation(void **state)
{
	struct fixture f;
	uint32_t before;
	uint8_t byte;

	(void)state;
	setup(&f);
	before = virtio_config_generation(&f.dev);
	virtio_config_read(&f.dev, 0, &byte, 1);
	virtio_config_read(&f.dev, 0, &byte, 1);
	assert_int_equal(virtio_config_generation(&f.dev), before);
	/* As many changes as would bring eight bits back to where they were. */
	for (unsigned i = 0; i < 256; i++)
		virtio_config_changed(&f.dev);
	expect(&f, "");
	assert_int_equal(virtio_config_generation(&f.dev), before);
	virtio_config_read(&f.dev, 0, &byte, 1);
	assert_int_equal(virtio_config_generation(&f.dev), before + 1);
	virtio_config_read(&f.dev, 0, &byte, 1);
	assert_int_equal(virtio_config_generation(&f.dev), before + 1);
	bring_up(&f, RING_BITS);
	virtio_config_changed(&f.dev);
	expect(&f, "config-irq ");
	/* A read of nothing is none. */
	virtio_config_read(&f.dev, CONFIG, &byte, 1);
	assert_int_equal(virtio_config_generation(&f.dev), before + 1);
	teardown(&f);
}

static void test_queue_interrupt(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	bring_up(&f, RING_BITS);
	virtio_queue_interrupt(&f.dev, 0);
	expect(&f, "irq0 ");
	f.dev.queues[1].events.call_fd = fd_eventfd();
	virtio_queue_interrupt(&f.dev, 1);
	expect(&f, "");
	assert_int_equal(fd_drain(f.dev.queues[1].events.call_fd), 1);
	fd_close(&f.dev.queues[1].events.call_fd);
	/* Without a transport nothing happens. */
	f.dev.transport = NULL;
	virtio_queue_interrupt(&f.dev, 0);
	virtio_config_changed(&f.dev);
	teardown(&f);
}

static void on_kicked(struct virtio_device *dev, unsigned index)
{
	note(fixture_of(dev), "kicked%u ", index);
}

/* A device that the main loop serves is made to look once when a queue starts. */
static void test_first_look(void **state)
{
	struct fixture f;
	int kick[2] = {fd_eventfd(), fd_eventfd()};

	(void)state;
	setup(&f);
	f.ops.kicked = on_kicked;
	f.dev.queues[0].on_loop = f.dev.queues[1].on_loop = true;
	f.dev.queues[0].events.kick_fd = kick[0];
	f.dev.queues[1].events.kick_fd = kick[1];
	bring_up(&f, RING_BITS);
	assert_int_equal(fd_drain(kick[0]), 1);
	assert_int_equal(fd_drain(kick[1]), 0);
	virtio_queue_set(&f.dev, 1, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(fd_drain(kick[0]), 0);
	assert_int_equal(fd_drain(kick[1]), 1);
	teardown(&f);
	fd_close(&kick[0]);
	fd_close(&kick[1]);
}

/* --- An owner who finds its ring broken while the driver resets the device. --- */

struct race {
	struct fixture f;
	pthread_t owner;
	_Atomic bool leave;
};

static void *owner(void *arg)
{
	struct race *r = arg;

	while (!r->leave) {
		virtio_device_broken(&r->f.dev, "the owner says so");
		virtio_config_changed(&r->f.dev);
	}
	return NULL;
}

static int race_start(struct virtio_device *dev, struct err *err)
{
	struct race *r = container_of(fixture_of(dev), struct race, f);

	(void)err;
	r->leave = false;
	return -pthread_create(&r->owner, NULL, owner, r);
}

static void race_stop(struct virtio_device *dev)
{
	struct race *r = container_of(fixture_of(dev), struct race, f);

	r->leave = true;
	pthread_join(r->owner, NULL);
}

static void quiet(void *transport)
{
	(void)transport;
}

static void quiet_running(void *transport, bool running)
{
	(void)transport;
	(void)running;
}

static void quiet_reset(void *transport, int index)
{
	(void)transport;
	(void)index;
}

static void test_reset_while_the_owner_complains(void **state)
{
	static const struct virtio_transport_ops quiet_ops = {
		.config_interrupt = quiet, .running = quiet_running, .reset = quiet_reset};
	struct race r;

	(void)state;
	memset(&r, 0, sizeof(r));
	r.f.ops = (struct virtio_device_ops){
		.start = race_start, .stop = race_stop, .config_read = on_config_read};
	setup_with(&r.f, RING_BITS);
	r.f.dev.transport_ops = &quiet_ops;
	/* Its one line is enough. */
	for (unsigned i = 0; i < LOG_LIMIT_BURST; i++)
		log_limited(&r.f.dev.limit, LOG_DEBUG, "used up");
	for (unsigned i = 0; i < 300; i++) {
		negotiate(&r.f, VIRTIO_FEATURE(32));
		virtio_set_status(&r.f.dev, LIVE);
		assert_int_equal(virtio_status(&r.f.dev) & (uint8_t)~BROKEN, LIVE);
		virtio_set_status(&r.f.dev, 0);
		assert_int_equal(virtio_status(&r.f.dev), 0);
	}
	teardown(&r.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_feature_windows),
		cmocka_unit_test(test_ring_features),
		cmocka_unit_test(test_features_ok),
		cmocka_unit_test(test_status_bits),
		cmocka_unit_test(test_failed_does_not_start),
		cmocka_unit_test(test_start_and_reset),
		cmocka_unit_test(test_start_fails),
		cmocka_unit_test(test_queue_settings),
		cmocka_unit_test(test_queue_sizes),
		cmocka_unit_test(test_queue_take),
		cmocka_unit_test(test_late_queue),
		cmocka_unit_test(test_late_queue_impossible),
		cmocka_unit_test(test_queue_disable),
		cmocka_unit_test(test_ring_reset),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_config_access),
		cmocka_unit_test(test_config_generation),
		cmocka_unit_test(test_queue_interrupt),
		cmocka_unit_test(test_first_look),
		cmocka_unit_test(test_reset_while_the_owner_complains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
