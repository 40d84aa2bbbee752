/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-rng, through virtio-mmio's registers, both ring formats, with a driver's queue in memory.
 */
#include "tests/unit/virtq_driver.h"

#include <errno.h>
#include <linux/virtio_ids.h>

#include "devices/virtio/mmio.h"
#include "devices/virtio/rng.h"
#include "tests/unit/virtio_rig.h"

#define BASE 0x1000
#define GSI  5

struct fixture {
	struct bus bus;
	struct fake_irq irq;
	struct loop loop;
	struct fake_ioeventfds kernel;
	struct drv d;
	struct rng rng;
	struct virtio_mmio m;
};

static void go(struct fixture *f)
{
	struct virtio_device *dev = &f->rng.dev;
	uint64_t features = virtio_ring_features(f->d.packed);

	virtio_set_status(dev, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++)
		virtio_set_driver_features(dev, i, (uint32_t)(features >> 32 * i));
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_SIZE, f->d.size);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC_LOW, DRV_DESC);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DRIVER_LOW, DRV_DRIVER);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DEVICE_LOW, DRV_DEVICE);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(dev, LIVE);
	assert_int_equal(virtio_status(dev), LIVE);
}

static void setup(struct fixture *f, bool packed)
{
	struct virtio_mmio_config c;

	memset(f, 0, sizeof(*f));
	bus_init(&f->bus, BUS_MMIO);
	bus_set_eventfd_backend(&f->bus, fake_ioeventfd, &f->kernel);
	fake_irq_init(&f->irq, 24);
	assert_int_equal(loop_init(&f->loop), 0);
	drv_init(&f->d, packed, RNG_QUEUE_SIZE, true);
	rng_init(&f->rng, "rng", &f->d.mem);
	c = (struct virtio_mmio_config){.bus = &f->bus,
	                                .base = BASE,
	                                .line = fake_irq_line(&f->irq, GSI),
	                                .loop = &f->loop};
	assert_int_equal(virtio_mmio_init(&f->m, &f->rng.dev, &c, NULL), 0);
}

static void teardown(struct fixture *f)
{
	rng_destroy(&f->rng);
	rng_destroy(&f->rng);
	virtio_mmio_destroy(&f->m);
	loop_destroy(&f->loop);
	bus_destroy(&f->bus);
	drv_destroy(&f->d);
}

/* Interrupts, after the main loop has done all there was to do. */
static unsigned settle(struct fixture *f)
{
	unsigned before = f->irq.gsi[GSI].rises;

	run_loop(&f->loop);
	fake_irq_kernel(&f->irq);
	return f->irq.gsi[GSI].rises - before;
}

static void kick(struct fixture *f)
{
	if (drv_kick_wanted(&f->d))
		assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, 0));
}

static bool is_zero(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (at[i])
			return false;
	return true;
}

static void test_identity(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	assert_int_equal(fake_read(&f.bus, BASE + 8, 4), VIRTIO_ID_RNG);
	assert_int_equal(fake_read(&f.bus, BASE + 0x100, 4), 0);
	assert_int_equal(virtio_queue_size_max(&f.rng.dev, 1), 0);
	teardown(&f);
}

static void requests(bool packed)
{
	struct fixture f;
	uint32_t written;
	int id;

	setup(&f, packed);
	/* Some wait already when the device starts, without a kick. */
	for (unsigned i = 0; i < 5; i++)
		drv_add(&f.d, 0, 2, i & 1);
	go(&f);
	assert_int_equal(settle(&f), 1);
	for (unsigned i = 0; i < 5; i++) {
		id = drv_take(&f.d, &written);
		assert_true(id >= 0);
		assert_int_equal(written, 2 * DRV_PART_SIZE);
		assert_false(is_zero(drv_at(&f.d, drv_part((uint16_t)id, 0)), DRV_PART_SIZE));
		assert_false(is_zero(drv_at(&f.d, drv_part((uint16_t)id, 1)), DRV_PART_SIZE));
		assert_true(is_zero(drv_at(&f.d, drv_part((uint16_t)id, 2)), DRV_PART_SIZE));
	}
	drv_interrupt_at(&f.d, 0);
	/* A lap and more of the ring, one by one. */
	for (unsigned i = 0; i < 2 * RNG_QUEUE_SIZE; i++) {
		drv_add(&f.d, 0, 1, false);
		kick(&f);
		assert_int_equal(settle(&f), 1);
		assert_true(drv_take(&f.d, &written) >= 0);
		assert_int_equal(written, DRV_PART_SIZE);
		drv_interrupt_at(&f.d, 0);
	}
	/* Readable buffers have no business here, and are left alone. */
	id = drv_add(&f.d, 1, 1, false);
	kick(&f);
	settle(&f);
	assert_int_equal(drv_take(&f.d, &written), id);
	assert_int_equal(written, DRV_PART_SIZE);
	for (unsigned i = 0; i < DRV_PART_SIZE; i++)
		assert_int_equal(*(uint8_t *)drv_at(&f.d, drv_part((uint16_t)id, 0) + i),
		                 drv_pattern((uint16_t)id, 0, i));
	assert_false(is_zero(drv_at(&f.d, drv_part((uint16_t)id, 1)), DRV_PART_SIZE));
	assert_int_equal(virtio_status(&f.rng.dev), LIVE);
	teardown(&f);
}

static void test_requests_split(void **state)
{
	(void)state;
	requests(false);
}

static void test_requests_packed(void **state)
{
	(void)state;
	requests(true);
}

/* A full queue takes several turns of the loop, and needs no further kick. */
static void test_bounded_turns(void **state)
{
	struct fixture f;
	uint32_t written;
	unsigned done = 0, turns = 0;

	(void)state;
	setup(&f, false);
	go(&f);
	settle(&f);
	while (drv_add(&f.d, 0, 1, false) >= 0)
		;
	kick(&f);
	while (done < RNG_QUEUE_SIZE) {
		unsigned now = 0;

		assert_true(loop_once(&f.loop, 0) > 0);
		while (drv_take(&f.d, &written) >= 0)
			now++;
		assert_true(now <= RNG_ROUND_MAX);
		done += now;
		assert_true(turns++ < RNG_QUEUE_SIZE);
	}
	assert_true(turns >= RNG_QUEUE_SIZE / RNG_ROUND_MAX);
	/* Then it rests, and is to be kicked. */
	settle(&f);
	assert_int_equal(run_loop(&f.loop), 0);
	drv_add(&f.d, 0, 1, false);
	assert_true(drv_kick_wanted(&f.d));
	teardown(&f);
}

static void test_bounded_request(void **state)
{
	struct fixture f;
	uint32_t written;

	(void)state;
	setup(&f, false);
	drv_set(drv_desc(&f.d), DRV_DATA, 3000, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	drv_set(drv_desc(&f.d) + 1, DRV_DATA + 3000, (uint32_t)MIB(1), VRING_DESC_F_WRITE, 0);
	drv_publish(&f.d, 0);
	f.d.chains[0].out_there = true;
	go(&f);
	settle(&f);
	assert_int_equal(drv_take(&f.d, &written), 0);
	assert_int_equal(written, RNG_REQUEST_MAX);
	assert_false(is_zero(drv_at(&f.d, DRV_DATA + RNG_REQUEST_MAX - 16), 16));
	assert_true(is_zero(drv_at(&f.d, DRV_DATA + RNG_REQUEST_MAX), 4096));
	teardown(&f);
}

static void test_broken_ring(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false);
	go(&f);
	settle(&f);
	drv_publish(&f.d, RNG_QUEUE_SIZE);
	kick(&f);
	assert_true(settle(&f) >= 1);
	assert_int_equal(virtio_status(&f.rng.dev), LIVE | BROKEN);
	assert_int_equal(fake_read(&f.bus, BASE + 0x60, 4) & 2, 2);
	/* More kicks do nothing; a reset mends it. */
	guest_write(&f.kernel, &f.bus, BASE + 0x50, 4, 0);
	assert_int_equal(settle(&f), 0);
	virtio_set_status(&f.rng.dev, 0);
	drv_destroy(&f.d);
	drv_init(&f.d, false, RNG_QUEUE_SIZE, true);
	drv_add(&f.d, 0, 1, false);
	go(&f);
	assert_int_equal(settle(&f), 1);
	assert_true(drv_has_used(&f.d));
	teardown(&f);
}

static void test_bad_settings(void **state)
{
	struct fixture f;
	struct virtio_device *dev = &f.rng.dev;

	(void)state;
	setup(&f, false);
	virtio_set_status(dev, ACK | DRIVER);
	virtio_set_driver_features(dev, 1, 1);
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_DESC_LOW, 0x10);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(dev, LIVE);
	assert_int_equal(virtio_status(dev), LIVE | BROKEN);
	virtio_set_status(dev, 0);
	/* Without its queue it runs, and does nothing. */
	virtio_set_status(dev, ACK | DRIVER);
	virtio_set_driver_features(dev, 1, 1);
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	virtio_set_status(dev, LIVE);
	assert_int_equal(virtio_status(dev), LIVE);
	virtio_events_kick(&f.m.events, 0);
	settle(&f);
	teardown(&f);
}

static void test_ring_reset(void **state)
{
	struct fixture f;
	uint32_t written;

	(void)state;
	setup(&f, true);
	go(&f);
	drv_add(&f.d, 0, 1, false);
	kick(&f);
	settle(&f);
	assert_true(drv_take(&f.d, &written) >= 0);
	drv_add(&f.d, 0, 1, false);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_RESET, 1);
	/* It is not looked at any more. */
	virtio_events_kick(&f.m.events, 0);
	settle(&f);
	assert_false(drv_has_used(&f.d));
	drv_destroy(&f.d);
	drv_init(&f.d, true, 7, true);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_SIZE, 7);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_DESC_LOW, DRV_DESC);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_DRIVER_LOW, DRV_DRIVER);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_DEVICE_LOW, DRV_DEVICE);
	drv_add(&f.d, 0, 1, false);
	virtio_queue_set(&f.rng.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	assert_int_equal(settle(&f), 1);
	assert_true(drv_take(&f.d, &written) >= 0);
	assert_int_equal(virtio_status(&f.rng.dev), LIVE);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),        cmocka_unit_test(test_requests_split),
		cmocka_unit_test(test_requests_packed), cmocka_unit_test(test_bounded_turns),
		cmocka_unit_test(test_bounded_request), cmocka_unit_test(test_broken_ring),
		cmocka_unit_test(test_bad_settings),    cmocka_unit_test(test_ring_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
