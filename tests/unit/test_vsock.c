/* SPDX-License-Identifier: BSD-2-Clause */
/* The socket device: what its driver finds, and when the kernel gets which of its rings. */
#include <linux/virtio_ids.h>

#include "devices/vsock/vsock.h"
#include "tests/unit/vhost_rig.h"
#include "vmm/endian.h"
#include "vmm/loop.h"

#define ACK    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER VIRTIO_CONFIG_S_DRIVER
#define F_OK   VIRTIO_CONFIG_S_FEATURES_OK
#define D_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define BROKEN VIRTIO_CONFIG_S_NEEDS_RESET

struct vsock_rig {
	struct rig_memory m;
	struct loop loop;
	struct vsock v;
	int kick[3], call[3];
};

static struct vsock_rig *rig_open(void)
{
	struct vsock_rig *r = calloc(1, sizeof(*r));

	rig_reset();
	rig.offered = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
	              BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(1) |
	              BIT64(VIRTIO_F_ACCESS_PLATFORM);
	rig_memory_init(&r->m);
	assert_int_equal(loop_init(&r->loop), 0);
	assert_int_equal(vsock_init(&r->v, "vsock", 0x12345678, &r->m.mem, &r->loop, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		r->kick[i] = fd_eventfd();
		r->call[i] = fd_eventfd();
		r->v.dev.queues[i].events =
			(struct virtio_queue_events){r->kick[i], -1, r->call[i]};
	}
	return r;
}

static void rig_close(struct vsock_rig *r)
{
	vsock_destroy(&r->v);
	vsock_destroy(&r->v);
	loop_destroy(&r->loop);
	for (unsigned i = 0; i < 3; i++) {
		fd_close(&r->kick[i]);
		fd_close(&r->call[i]);
	}
	free(r->m.host);
	free(r);
}

static void set_addr(struct virtio_device *dev, unsigned q, enum virtio_queue_field low,
                     uint64_t addr)
{
	virtio_queue_set(dev, q, low, (uint32_t)addr);
	virtio_queue_set(dev, q, low + 1, (uint32_t)(addr >> 32));
}

/* What a driver does up to DRIVER_OK. @enable: a bit for each queue. */
static void drive(struct vsock_rig *r, unsigned enable)
{
	struct virtio_device *dev = &r->v.dev;

	virtio_set_status(dev, ACK | DRIVER);
	virtio_set_driver_features(dev, 0, BIT(VIRTIO_RING_F_EVENT_IDX));
	virtio_set_driver_features(dev, 1, 1); /* VERSION_1 */
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	for (unsigned i = 0; i < 3; i++) {
		struct virtq_config c = rig_config(i);

		virtio_queue_set(dev, i, VIRTIO_QUEUE_SIZE, c.size);
		set_addr(dev, i, VIRTIO_QUEUE_DESC_LOW, c.desc);
		set_addr(dev, i, VIRTIO_QUEUE_DRIVER_LOW, c.driver);
		set_addr(dev, i, VIRTIO_QUEUE_DEVICE_LOW, c.device);
		if (enable & BIT(i))
			virtio_queue_set(dev, i, VIRTIO_QUEUE_ENABLE, 1);
	}
	virtio_set_status(dev, ACK | DRIVER | F_OK | D_OK);
}

static void assert_kernel_has_nothing(void)
{
	assert_false(rig.devs[0].running);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig.devs[0].rings[i].kick, -1);
		assert_int_equal(rig.devs[0].rings[i].call, -1);
		assert_int_equal(rig.devs[0].rings[i].err, -1);
	}
}

static void test_what_a_driver_finds(void **state)
{
	struct vsock_rig *r = rig_open();
	uint8_t config[8] = {0};

	(void)state;
	assert_int_equal(r->v.dev.type, VIRTIO_ID_VSOCK);
	assert_int_equal(r->v.dev.offered, rig.offered & ~BIT64(VIRTIO_F_ACCESS_PLATFORM));
	virtio_config_read(&r->v.dev, 0, config, 8);
	assert_int_equal(load_le64(config), 0x12345678);
	virtio_config_read(&r->v.dev, 2, config, 2);
	assert_int_equal(load_le16(config), 0x1234);
	assert_int_equal(rig.devs[0].cid, 0x12345678);
	rig_close(r);
}

static void test_start_and_reset(void **state)
{
	struct vsock_rig *r = rig_open();

	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		drive(r, 7);
		assert_false(virtio_is_broken(&r->v.dev));
		assert_true(rig.devs[0].running);
		assert_int_equal(rig.devs[0].features,
		                 BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX));
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(rig.devs[0].rings[i].kick, r->kick[i]);
			assert_int_equal(rig.devs[0].rings[i].call, r->call[i]);
			/* Once by vhost.h, and once more when it runs. */
			assert_int_equal(fd_drain(r->kick[i]), 2);
		}
		virtio_set_status(&r->v.dev, 0);
		assert_kernel_has_nothing();
	}
	rig_close(r);
}

/* Without its data queues, or with rings that are nowhere, it needs a reset, and can be reset. */
static void test_refused(void **state)
{
	struct vsock_rig *r = rig_open();

	(void)state;
	drive(r, 1);
	assert_true(virtio_is_broken(&r->v.dev));
	assert_kernel_has_nothing();
	virtio_set_status(&r->v.dev, 0);

	rig.fail_request = VHOST_VSOCK_SET_RUNNING;
	rig.fail_code = -EFAULT;
	drive(r, 3);
	assert_true(virtio_is_broken(&r->v.dev));
	assert_kernel_has_nothing();
	virtio_set_status(&r->v.dev, 0);

	drive(r, 3); /* a driver that wants no events */
	assert_false(virtio_is_broken(&r->v.dev));
	rig_close(r);
}

static void test_bad_event_queue(void **state)
{
	struct vsock_rig *r = rig_open();

	(void)state;
	virtio_set_status(&r->v.dev, ACK | DRIVER);
	virtio_set_driver_features(&r->v.dev, 1, 1);
	virtio_set_status(&r->v.dev, ACK | DRIVER | F_OK);
	virtio_queue_set(&r->v.dev, 2, VIRTIO_QUEUE_ENABLE, 1); /* at address 0 */
	drive(r, 3);
	assert_true(virtio_is_broken(&r->v.dev));
	assert_kernel_has_nothing();
	rig_close(r);
}

static void test_broken_ring(void **state)
{
	struct vsock_rig *r = rig_open();

	(void)state;
	drive(r, 7);
	fd_signal(rig.devs[0].rings[1].err);
	assert_int_equal(loop_once(&r->loop, 0), 1);
	assert_true(virtio_is_broken(&r->v.dev));
	/* After a reset an old word does not count. */
	fd_signal(r->v.err_fd);
	virtio_set_status(&r->v.dev, 0);
	drive(r, 7);
	loop_once(&r->loop, 0);
	assert_false(virtio_is_broken(&r->v.dev));
	rig_close(r);
}

static void test_init_errors(void **state)
{
	struct rig_memory m;
	struct loop loop;
	struct vsock v;

	(void)state;
	rig_reset();
	rig_memory_init(&m);
	assert_int_equal(loop_init(&loop), 0);
	rig.open_error = -EACCES;
	assert_int_equal(vsock_init(&v, "vsock", 3, &m.mem, &loop, NULL), -EACCES);
	vsock_destroy(&v);
	rig.open_error = 0;
	rig.fail_request = VHOST_GET_FEATURES;
	rig.fail_code = -EIO;
	assert_int_equal(vsock_init(&v, "vsock", 3, &m.mem, &loop, NULL), -EIO);
	assert_int_equal(v.kernel.fd, -1);
	vsock_destroy(&v);
	loop_destroy(&loop);
	free(m.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_a_driver_finds),
		cmocka_unit_test(test_start_and_reset),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_event_queue),
		cmocka_unit_test(test_broken_ring),
		cmocka_unit_test(test_init_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
