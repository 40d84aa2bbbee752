/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost.h with the kernel's ioctls behind it: the steps, what they carry, and what a failure
 * leaves. */
#include "tests/unit/vhost_rig.h"

#define WIRE   77 /* never used as a file */
#define WANTED (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_EVENT_IDX))

struct rigged {
	struct rig_memory m;
	struct vhost_kernel k;
	int kick, call, err;
};

static struct rigged *open_rig(bool wire_has_header, unsigned poll_us)
{
	struct rigged *r = calloc(1, sizeof(*r));

	rig_reset();
	rig_memory_init(&r->m);
	r->kick = fd_eventfd();
	r->call = fd_eventfd();
	r->err = fd_eventfd();
	assert_int_equal(vhost_net_open(&r->k, "net0", WIRE, wire_has_header, poll_us, NULL), 0);
	return r;
}

static void close_rig(struct rigged *r)
{
	vhost_kernel_close(&r->k);
	vhost_kernel_close(&r->k);
	fd_close(&r->kick);
	fd_close(&r->call);
	fd_close(&r->err);
	free(r->m.host);
	free(r);
}

static struct vhost_ring ring_of(const struct rigged *r, unsigned index, virtq_base_t base)
{
	return (struct vhost_ring){.config = rig_config(index),
	                           .base = base,
	                           .kick_fd = r->kick,
	                           .call_fd = r->call,
	                           .err_fd = r->err};
}

static void set_up(struct rigged *r)
{
	assert_int_equal(vhost_setup(&r->k.vhost, WANTED, &r->m.mem, NULL), 0);
}

static void test_open_errors(void **state)
{
	static const struct {
		int rc;
		const char *net, *vsock;
	} cases[] = {
		{-ENOENT, "sudo modprobe vhost_net", "sudo modprobe vhost_vsock"},
		{-ENODEV, "sudo modprobe vhost_net", "sudo modprobe vhost_vsock"},
		{-EACCES, "no permission to open /dev/vhost-net",
	         "no permission to open /dev/vhost-vsock"},
	};
	struct vhost_kernel k;

	(void)state;
	rig_reset();
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct err err = {0};

		rig.open_error = cases[i].rc;
		assert_int_equal(vhost_net_open(&k, "net0", WIRE, true, 0, &err), cases[i].rc);
		assert_non_null(strstr(err.msg, cases[i].net));
		assert_int_equal(k.fd, -1);
		assert_int_equal(vhost_vsock_open(&k, "vsock0", 3, &err), cases[i].rc);
		assert_non_null(strstr(err.msg, cases[i].vsock));
	}
	/* One that cannot become ours is closed. */
	rig.open_error = 0;
	rig.fail_request = VHOST_SET_OWNER;
	rig.fail_code = -ENOMEM;
	assert_int_equal(vhost_net_open(&k, "net0", WIRE, true, 0, NULL), -ENOMEM);
	assert_int_equal(k.fd, -1);
}

/* Logging, an IOMMU, legacy layouts: what the kernel can do beyond rings is not for the driver. */
static void test_features(void **state)
{
	struct rigged *r = open_rig(true, 0);
	struct err err = {0};
	uint64_t f;

	(void)state;
	assert_int_equal(vhost_features(&r->k.vhost, &f, NULL), 0);
	assert_int_equal(f, WANTED | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
	                            BIT64(VIRTIO_NET_F_MRG_RXBUF));
	set_up(r);
	assert_int_equal(rig.devs[0].features, WANTED);
	assert_int_equal(
		vhost_setup(&r->k.vhost, WANTED | BIT64(VIRTIO_F_RING_PACKED), &r->m.mem, &err),
		-EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "0x400000000"));
	close_rig(r);

	/* The tap has no header: the kernel makes it. */
	r = open_rig(false, 0);
	set_up(r);
	assert_int_equal(rig.devs[0].features, WANTED | BIT64(VHOST_NET_F_VIRTIO_NET_HDR));
	close_rig(r);
}

static void test_memory_table(void **state)
{
	struct rigged *r = open_rig(true, 0);
	const struct rig_dev *d = &rig.devs[0];

	(void)state;
	set_up(r);
	assert_int_equal(d->nregions, 1);
	assert_int_equal(d->regions[0].guest_phys_addr, RIG_RAM);
	assert_int_equal(d->regions[0].memory_size, RIG_SIZE);
	assert_int_equal(d->regions[0].userspace_addr, (uintptr_t)r->m.host);
	assert_int_equal(d->regions[0].flags_padding, 0);
	close_rig(r);
}

static void test_start_stop(void **state)
{
	struct rigged *r = open_rig(true, 50);
	struct rig_ring *k = &rig.devs[0].rings[1];
	struct vhost_ring ring = ring_of(r, 1, 0xfffe);
	virtq_base_t base = 0;

	(void)state;
	set_up(r);
	assert_int_equal(vhost_ring_start(&r->k.vhost, 1, &ring, NULL), 0);
	assert_true(vhost_ring_runs(&r->k.vhost, 1));
	assert_false(vhost_ring_runs(&r->k.vhost, 0));
	assert_int_equal(k->num, 64);
	assert_int_equal(k->base, 0xfffe);
	assert_int_equal(k->addr.desc_user_addr, (uintptr_t)r->m.host + 0x2000);
	assert_int_equal(k->addr.avail_user_addr, (uintptr_t)r->m.host + 0x2800);
	assert_int_equal(k->addr.used_user_addr, (uintptr_t)r->m.host + 0x3000);
	assert_int_equal(k->kick, r->kick);
	assert_int_equal(k->call, r->call);
	assert_int_equal(k->err, r->err);
	assert_int_equal(k->backend, WIRE);
	assert_int_equal(k->poll_us, 50);
	assert_int_equal(rig.devs[0].rings[0].backend, -1);
	/* One look at what was there before. */
	assert_int_equal(fd_drain(r->kick), 1);

	/* Running: not again, and memory and features stay. */
	assert_int_equal(vhost_ring_start(&r->k.vhost, 1, &ring, NULL), -EINVAL);
	assert_int_equal(vhost_setup(&r->k.vhost, WANTED, &r->m.mem, NULL), -EBUSY);

	k->base = 3; /* the worker went on */
	assert_int_equal(vhost_ring_stop(&r->k.vhost, 1, &base), 0);
	assert_int_equal(base, 3);
	assert_int_equal(k->backend, -1);
	assert_int_equal(k->kick, -1);
	assert_int_equal(k->call, -1);
	assert_int_equal(k->err, -1);
	assert_int_equal(vhost_ring_stop(&r->k.vhost, 1, &base), -EINVAL);

	/* And from there on again. */
	ring.base = base;
	assert_int_equal(vhost_ring_start(&r->k.vhost, 1, &ring, NULL), 0);
	assert_int_equal(k->base, 3);
	close_rig(r);
}

static void test_not_set_up(void **state)
{
	struct rigged *r = open_rig(true, 0);
	struct vhost_ring ring = ring_of(r, 0, 0);

	(void)state;
	assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, NULL), -EINVAL);
	set_up(r);
	assert_int_equal(vhost_ring_start(&r->k.vhost, 2, &ring, NULL), -EINVAL);
	close_rig(r);
}

/* What a driver got wrong never reaches the kernel. */
static void test_bad_settings(void **state)
{
	struct rigged *r = open_rig(true, 0);
	struct vhost_ring good = ring_of(r, 0, 0), bad[7];
	unsigned calls;

	(void)state;
	set_up(r);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].config.size = 0;
	bad[1].config.size = 48;
	bad[2].config.size = 512;
	bad[3].config.desc += 8;
	bad[4].config.device = RIG_RAM + RIG_SIZE - 64;
	bad[5].config.driver = RIG_RAM - 2;
	bad[6].base = 0x10000;
	calls = rig.calls;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err err = {0};

		assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &bad[i], &err), -EINVAL);
		assert_true(err.msg[0]);
	}
	assert_int_equal(rig.calls, calls);
	assert_int_equal(fd_drain(r->kick), 0);
	close_rig(r);
}

/* Whichever step the kernel refuses: it is named, and the kernel keeps nothing of the ring. */
static void test_each_step_fails(void **state)
{
	static const struct {
		unsigned long request;
		const char *step;
	} steps[] = {
		{VHOST_SET_VRING_NUM, "(size)"},
		{VHOST_SET_VRING_BASE, "(base)"},
		{VHOST_SET_VRING_ADDR, "(addresses)"},
		{VHOST_SET_VRING_CALL, "(call eventfd)"},
		{VHOST_SET_VRING_ERR, "(error eventfd)"},
		{VHOST_SET_VRING_KICK, "(kick eventfd)"},
		{VHOST_SET_VRING_BUSYLOOP_TIMEOUT, "(start)"},
		{VHOST_NET_SET_BACKEND, "(start)"},
	};
	struct rigged *r = open_rig(true, 50);
	struct vhost_ring ring = ring_of(r, 0, 0);
	struct rig_ring *k = &rig.devs[0].rings[0];

	(void)state;
	set_up(r);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		struct err err = {0};
		virtq_base_t base;

		rig.fail_request = steps[i].request;
		rig.fail_code = -ENOMEM;
		assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, &err), -ENOMEM);
		assert_non_null(strstr(err.msg, steps[i].step));
		assert_non_null(strstr(err.msg, "net0: vhost-net"));
		assert_false(vhost_ring_runs(&r->k.vhost, 0));
		assert_int_equal(k->kick, -1);
		assert_int_equal(k->call, -1);
		assert_int_equal(k->err, -1);
		assert_int_equal(k->backend, -1);
		assert_int_equal(fd_drain(r->kick), 0);
		assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, NULL), 0);
		assert_int_equal(vhost_ring_stop(&r->k.vhost, 0, &base), 0);
		fd_drain(r->kick);
	}
	close_rig(r);
}

static void test_setup_errors(void **state)
{
	static const unsigned long requests[] = {VHOST_GET_FEATURES, VHOST_SET_FEATURES,
	                                         VHOST_SET_MEM_TABLE};
	struct rigged *r = open_rig(true, 0);

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		struct vhost_ring ring = ring_of(r, 0, 0);

		rig.fail_request = requests[i];
		rig.fail_code = -EFAULT;
		assert_int_equal(vhost_setup(&r->k.vhost, WANTED, &r->m.mem, NULL), -EFAULT);
		assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, NULL), -EINVAL);
	}
	close_rig(r);
}

static void test_stop_errors(void **state)
{
	struct rigged *r = open_rig(true, 0);
	struct vhost_ring ring = ring_of(r, 0, 0);
	virtq_base_t base = 0x1234;

	(void)state;
	set_up(r);
	/* The kernel cannot detach: said, and the ring counts as stopped; its eventfds are taken.
	 */
	assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, NULL), 0);
	rig.fail_request = VHOST_NET_SET_BACKEND;
	rig.fail_code = -EIO;
	assert_int_equal(vhost_ring_stop(&r->k.vhost, 0, &base), -EIO);
	assert_false(vhost_ring_runs(&r->k.vhost, 0));
	assert_int_equal(rig.devs[0].rings[0].kick, -1);
	rig.devs[0].rings[0].backend = -1;
	/* A base that it cannot have is not passed on. */
	assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &ring, NULL), 0);
	rig.devs[0].rings[0].base = 0x10000;
	assert_int_equal(vhost_ring_stop(&r->k.vhost, 0, &base), -EPROTO);
	assert_int_equal(base, 0x1234);
	close_rig(r);
}

static void test_plug(void **state)
{
	struct rigged *r = open_rig(true, 0);
	struct vhost_ring rings[2] = {ring_of(r, 0, 0), ring_of(r, 1, 0)};
	struct rig_ring *k = rig.devs[0].rings;

	(void)state;
	set_up(r);
	assert_int_equal(vhost_ring_start(&r->k.vhost, 0, &rings[0], NULL), 0);
	assert_int_equal(vhost_net_plug(&r->k, false), 0);
	assert_int_equal(k[0].backend, -1);
	/* One that starts while the cable is out has none either, until it is in. */
	assert_int_equal(vhost_ring_start(&r->k.vhost, 1, &rings[1], NULL), 0);
	assert_int_equal(k[1].backend, -1);
	assert_int_equal(vhost_net_plug(&r->k, true), 0);
	assert_int_equal(k[0].backend, WIRE);
	assert_int_equal(k[1].backend, WIRE);
	close_rig(r);
}

static void test_vsock(void **state)
{
	struct rig_memory m;
	struct vhost_kernel k;
	struct vhost_ring ring;
	struct err err = {0};
	int kick = fd_eventfd(), call = fd_eventfd();
	virtq_base_t base;
	uint64_t f;

	(void)state;
	rig_reset();
	rig.offered = WANTED | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(1) | BIT64(33);
	rig_memory_init(&m);
	rig.cid_used = 5;
	assert_int_equal(vhost_vsock_open(&k, "vsock0", 5, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another guest has this context id"));
	assert_int_equal(k.fd, -1);
	assert_int_equal(vhost_vsock_open(&k, "vsock0", 7, NULL), 0);
	assert_int_equal(rig.devs[1].cid, 7);
	assert_string_equal(rig.devs[1].path, "/dev/vhost-vsock");
	assert_int_equal(vhost_features(&k.vhost, &f, NULL), 0);
	assert_int_equal(f, rig.offered & ~BIT64(33));
	assert_int_equal(vhost_setup(&k.vhost, WANTED, &m.mem, NULL), 0);
	for (unsigned i = 0; i < 2; i++) {
		ring = (struct vhost_ring){
			.config = rig_config(i), .kick_fd = kick, .call_fd = call, .err_fd = -1};
		assert_int_equal(vhost_ring_start(&k.vhost, i, &ring, NULL), 0);
	}
	assert_int_equal(vhost_vsock_run(&k, true), 0);
	assert_true(rig.devs[1].running);
	assert_int_equal(vhost_vsock_run(&k, false), 0);
	assert_int_equal(vhost_ring_stop(&k.vhost, 0, &base), 0);
	assert_int_equal(rig.devs[1].rings[0].kick, -1);
	vhost_kernel_close(&k);
	fd_close(&kick);
	fd_close(&call);
	free(m.host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open_errors),     cmocka_unit_test(test_features),
		cmocka_unit_test(test_memory_table),    cmocka_unit_test(test_start_stop),
		cmocka_unit_test(test_not_set_up),      cmocka_unit_test(test_bad_settings),
		cmocka_unit_test(test_each_step_fails), cmocka_unit_test(test_setup_errors),
		cmocka_unit_test(test_stop_errors),     cmocka_unit_test(test_plug),
		cmocka_unit_test(test_vsock),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
