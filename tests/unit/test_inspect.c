/* SPDX-License-Identifier: BSD-2-Clause */
/* inspect: a queue in use, seen from outside, in both formats; and settings that cannot be. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/virtio/inspect.h"
#include "tests/unit/virtq_driver.h"

#define SIZE 8

struct rig {
	struct drv d;
	struct virtq q;
	struct virtq_config config;
	struct iovec iov[16];
	struct virtq_chain chains[4];
};

static struct virtq_features features(bool packed, bool event_idx)
{
	return (struct virtq_features){.packed = packed, .event_idx = event_idx, .indirect = true};
}

/* Four chains out there (two descriptors each), three taken, one given back and shown. */
static void in_use(struct rig *r, bool packed, bool event_idx)
{
	drv_init(&r->d, packed, SIZE, event_idx);
	r->config = drv_config(&r->d);
	assert_int_equal(virtq_start(&r->q, &r->config, features(packed, event_idx),
	                             virtq_base_new(packed), &r->d.mem, NULL),
	                 0);
	for (unsigned i = 0; i < 4; i++)
		assert_true(drv_add(&r->d, 1, 1, false) >= 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(virtq_pop(&r->q, &r->chains[i], r->iov, 16), 1);
	virtq_push(&r->q, &r->chains[0], 5);
	virtq_flush(&r->q);
	virtq_kick_enable(&r->q);
}

static void a_split_ring(void **state)
{
	struct virtq_desc_view descs[SIZE];
	struct virtq_view v;
	struct rig r;
	unsigned got;

	(void)state;
	in_use(&r, false, true);
	drv_interrupt_at(&r.d, 0);
	assert_int_equal(virtq_inspect(&r.config, features(false, true), &r.d.mem, &v, descs, SIZE,
	                               &got, NULL),
	                 0);
	assert_int_equal(v.avail_idx, 4);
	assert_int_equal(v.used_idx, 1);
	assert_int_equal(v.avail_event, 3);
	assert_int_equal(v.used_event, le16toh(drv_avail(&r.d)->ring[SIZE]));
	assert_int_equal(virtq_peek(&r.q), 3);
	assert_int_equal(v.config.size, SIZE);
	assert_false(v.has_base);
	assert_int_equal(got, 8);
	for (unsigned i = 0; i < got; i++) {
		const struct vring_desc *d = drv_desc(&r.d) + descs[i].index;

		assert_int_equal(descs[i].addr, le64toh(d->addr));
		assert_int_equal(descs[i].len, le32toh(d->len));
		assert_int_equal(descs[i].flags, le16toh(d->flags));
		assert_int_equal(descs[i].next, le16toh(d->next));
	}
	drv_destroy(&r.d);

	in_use(&r, false, false);
	drv_interrupt_off(&r.d);
	virtq_kick_disable(&r.q);
	assert_int_equal(
		virtq_inspect(&r.config, features(false, false), &r.d.mem, &v, NULL, 0, NULL, NULL),
		0);
	assert_int_equal(v.avail_flags, VRING_AVAIL_F_NO_INTERRUPT);
	assert_int_equal(v.used_flags, VRING_USED_F_NO_NOTIFY);
	drv_destroy(&r.d);
}

static void a_packed_ring(void **state)
{
	struct virtq_desc_view descs[SIZE];
	struct virtq_view v;
	struct rig r;
	unsigned got;

	(void)state;
	in_use(&r, true, true);
	drv_interrupt_off(&r.d);
	assert_int_equal(
		virtq_inspect(&r.config, features(true, true), &r.d.mem, &v, descs, 3, &got, NULL),
		0);
	assert_int_equal(got, 3); /* as many as there was room for */
	assert_int_equal(descs[1].addr, le64toh(drv_ring(&r.d)[1].addr));
	assert_int_equal(v.driver_event.how, VIRTQ_NOTIFY_NEVER);
	assert_int_equal(v.device_event.how, VIRTQ_NOTIFY_AT);
	assert_int_equal(v.device_event.position, 6); /* behind three chains of two */
	assert_true(v.device_event.wrap);
	/* Of eight one is used: the head of the chain that came back. */
	assert_int_equal(v.available, 7);
	/* The device: next to take 6, next to give 2, both in the first round. */
	assert_int_equal(virtq_peek(&r.q), 6 | 1u << 15 | 2u << 16 | 1u << 31);
	virtq_kick_disable(&r.q);
	drv_interrupt_at(&r.d, 0);
	assert_int_equal(
		virtq_inspect(&r.config, features(true, true), &r.d.mem, &v, NULL, 0, NULL, NULL),
		0);
	assert_int_equal(v.driver_event.how, VIRTQ_NOTIFY_AT);
	assert_int_equal(v.device_event.how, VIRTQ_NOTIFY_NEVER);
	drv_destroy(&r.d);
}

static void settings_that_cannot_be(void **state)
{
	struct virtq_config bad;
	struct virtq_view v;
	struct err err;
	struct rig r;
	unsigned got = 7;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		in_use(&r, packed, true);
		for (unsigned i = 0; i < 4; i++) {
			struct virtq_desc_view one;

			bad = r.config;
			*(i == 0   ? &bad.desc
			  : i == 1 ? &bad.driver
			           : &bad.device) = i == 3 ? UINT64_MAX - 63 : DRV_RAM_END;
			assert_int_equal(virtq_inspect(&bad, features(packed, true), &r.d.mem, &v,
			                               &one, 1, &got, &err),
			                 -EINVAL);
			assert_int_equal(got, 0);
			assert_int_equal(v.config.desc, bad.desc);
		}
		bad = r.config;
		bad.size = 0;
		assert_int_equal(virtq_inspect(&bad, features(packed, true), &r.d.mem, &v, NULL, 0,
		                               NULL, &err),
		                 -EINVAL);
		drv_destroy(&r.d);
	}
}

/* --- A device --- */

static int start(struct virtio_device *dev, struct err *err)
{
	(void)dev;
	(void)err;
	return 0;
}

static void stop(struct virtio_device *dev)
{
	(void)dev;
}

static int position(struct virtio_device *dev, unsigned index, virtq_base_t *base)
{
	(void)dev;
	*base = 77;
	return index == 0 ? 0 : -ENOTSUP;
}

static void a_devices_queues(void **state)
{
	const struct virtio_device_ops ops = {.start = start, .stop = stop, .position = position};
	static const uint16_t sizes[] = {SIZE, SIZE, SIZE};
	struct virtio_device dev;
	struct virtq_view v;
	struct err err;
	struct drv d;

	(void)state;
	drv_init(&d, false, SIZE, true);
	virtio_device_init(&dev, "x0", 1, &ops, virtio_ring_features(false), 0, sizes, 3, &d.mem);
	assert_int_equal(virtio_inspect(&dev, 3, &v, NULL, 0, NULL, &err), -ENOENT);
	assert_int_equal(virtio_inspect(&dev, 0, &v, NULL, 0, NULL, &err), -EINVAL);
	assert_false(v.config.enabled);
	virtio_set_driver_features(&dev, 0, (uint32_t)dev.offered);
	virtio_set_driver_features(&dev, 1, (uint32_t)(dev.offered >> 32));
	virtio_set_status(&dev, 0xb);
	for (unsigned i = 0; i < 2; i++) {
		virtio_queue_set(&dev, i, VIRTIO_QUEUE_DESC_LOW, i ? 8 : (uint32_t)DRV_DESC);
		virtio_queue_set(&dev, i, VIRTIO_QUEUE_DRIVER_LOW, (uint32_t)DRV_DRIVER);
		virtio_queue_set(&dev, i, VIRTIO_QUEUE_DEVICE_LOW, (uint32_t)DRV_DEVICE);
		virtio_queue_set(&dev, i, VIRTIO_QUEUE_ENABLE, 1);
	}
	assert_int_equal(virtio_inspect(&dev, 0, &v, NULL, 0, NULL, &err), 0);
	assert_false(v.running);
	assert_false(v.has_base);
	virtio_set_status(&dev, 0xf);
	assert_int_equal(virtio_inspect(&dev, 0, &v, NULL, 0, NULL, &err), 0);
	assert_true(v.running && v.has_base && v.features.event_idx);
	assert_int_equal(v.base, 77);
	/* Misaligned, and of unknown position. */
	assert_int_equal(virtio_inspect(&dev, 1, &v, NULL, 0, NULL, &err), -EINVAL);
	assert_true(v.running && v.config.enabled && !v.has_base);
	assert_non_null(strstr(err.msg, "misaligned"));
	pthread_mutex_lock(&dev.lock);
	assert_int_equal(virtio_inspect(&dev, 0, &v, NULL, 0, NULL, &err), -EBUSY);
	pthread_mutex_unlock(&dev.lock);
	virtio_device_destroy(&dev);
	drv_destroy(&d);
}

/* What moves between two looks is seen, once; in both formats. */
static void a_watch_sees_what_moves(bool packed)
{
	unsigned available, used;
	uint32_t written;
	struct virtq_watch w;
	struct rig r;

	drv_init(&r.d, packed, SIZE, true);
	r.config = drv_config(&r.d);
	assert_int_equal(virtq_start(&r.q, &r.config, features(packed, true),
	                             virtq_base_new(packed), &r.d.mem, NULL),
	                 0);
	assert_int_equal(virtq_watch_begin(&w, &r.config, features(packed, true), &r.d.mem, NULL),
	                 0);
	/* Twice around the ring, and the observer is too slow for the middle. */
	for (unsigned i = 0; i < 2 * SIZE + 3; i++) {
		virtq_watch_look(&w, &available, &used);
		assert_int_equal(available + used, 0);
		assert_true(drv_add(&r.d, 1, 0, false) >= 0);
		if (i % 3) {
			virtq_watch_look(&w, &available, &used);
			assert_int_equal(available, 1);
			assert_int_equal(used, 0);
		}
		assert_int_equal(virtq_pop(&r.q, &r.chains[0], r.iov, 16), 1);
		virtq_push(&r.q, &r.chains[0], 0);
		virtq_flush(&r.q);
		virtq_watch_look(&w, &available, &used);
		assert_int_equal(available, i % 3 ? 0 : 1);
		assert_int_equal(used, 1);
		assert_true(drv_take(&r.d, &written) >= 0);
	}
	virtq_watch_end(&w);
	virtq_watch_end(&w);
	drv_destroy(&r.d);
}

static void a_split_ring_is_watched(void **state)
{
	(void)state;
	a_watch_sees_what_moves(false);
}

static void a_packed_ring_is_watched(void **state)
{
	(void)state;
	a_watch_sees_what_moves(true);
}

/* A driver that writes anything has moved no more than there is room for. */
static void a_watch_is_bounded(void **state)
{
	unsigned available, used;
	struct virtq_watch w;
	struct rig r;

	(void)state;
	in_use(&r, false, true);
	assert_int_equal(virtq_watch_begin(&w, &r.config, features(false, true), &r.d.mem, NULL),
	                 0);
	drv_avail(&r.d)->idx = htole16(40000);
	virtq_watch_look(&w, &available, &used);
	assert_int_equal(available, SIZE);
	assert_int_equal(used, 0);
	virtq_watch_end(&w);
	r.config.desc = 1;
	assert_int_equal(virtq_watch_begin(&w, &r.config, features(false, true), &r.d.mem, NULL),
	                 -EINVAL);
	drv_destroy(&r.d);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_split_ring),
		cmocka_unit_test(a_packed_ring),
		cmocka_unit_test(settings_that_cannot_be),
		cmocka_unit_test(a_devices_queues),
		cmocka_unit_test(a_split_ring_is_watched),
		cmocka_unit_test(a_packed_ring_is_watched),
		cmocka_unit_test(a_watch_is_bounded),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
