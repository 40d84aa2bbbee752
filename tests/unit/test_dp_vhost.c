/* SPDX-License-Identifier: BSD-2-Clause */
/* The datapath "vhost-net": a NIC's rings on the kernel's vhost devices, and a tap's queues. */
#include <dirent.h>

#include "devices/net/dp_vhost.h"
#include "devices/net/net.h"
#include "tests/unit/vhost_rig.h"
#include "vmm/loop.h"

#define PAIRS 3
#define WIRE  70 /* and the next ones: never used as files */
#define NEGOTIATED                                                                               \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_NET_F_MAC) |   \
	 BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_MQ) | BIT64(VIRTIO_NET_F_GUEST_CSUM) | \
	 BIT64(VIRTIO_NET_F_STATUS))

/* --- A port that remembers --- */

static struct fake_port {
	struct port port;
	uint64_t offloads;
	unsigned queues, closed;
} wire;

static int port_offloads(struct port *port, uint64_t offloads)
{
	(void)port;
	wire.offloads = offloads;
	return 0;
}

static int port_queues(struct port *port, unsigned n)
{
	(void)port;
	wire.queues = n;
	return n > PAIRS ? -EINVAL : 0;
}

static void wire_close(struct port *port)
{
	(void)port;
	wire.closed++;
}

static const struct port_ops wire_ops = {
	.set_offloads = port_offloads, .set_queues = port_queues, .close = wire_close};

static struct port *wire_open(const char *kind)
{
	wire = (struct fake_port){.port = {.ops = &wire_ops,
	                                   .kind = kind,
	                                   .queues = PAIRS,
	                                   .vnet_hdr = true,
	                                   .host_offloads = BIT64(VIRTIO_NET_F_CSUM),
	                                   .guest_offloads = BIT64(VIRTIO_NET_F_GUEST_CSUM)}};
	for (unsigned i = 0; i < PAIRS; i++)
		wire.port.fds[i] = WIRE + (int)i;
	return &wire.port;
}

/* --- The NIC --- */

struct nic_rig {
	struct rig_memory m;
	struct loop loop;
	struct datapath *dp;
	struct datapath_host host;
	int kick[2 * PAIRS], call[2 * PAIRS];
	unsigned broken[2 * PAIRS];
};

static void on_broken(void *opaque, unsigned ring, const char *why)
{
	struct nic_rig *n = opaque;

	assert_non_null(why);
	n->broken[ring]++;
}

static struct datapath_vhost_net_config config_of(struct nic_rig *n, struct port *port)
{
	return (struct datapath_vhost_net_config){
		.name = "net0", .port = port, .loop = &n->loop, .pairs = PAIRS};
}

static struct nic_rig *nic_open(void)
{
	struct nic_rig *n = calloc(1, sizeof(*n));
	struct datapath_vhost_net_config c = config_of(n, wire_open("tap"));

	rig_reset();
	rig_memory_init(&n->m);
	assert_int_equal(loop_init(&n->loop), 0);
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		n->kick[i] = fd_eventfd();
		n->call[i] = fd_eventfd();
	}
	n->host = (struct datapath_host){.broken = on_broken, .opaque = n};
	assert_int_equal(datapath_vhost_net_create(&n->dp, &c, NULL), 0);
	return n;
}

static void nic_close(struct nic_rig *n)
{
	if (n->dp)
		n->dp->ops->destroy(n->dp);
	loop_destroy(&n->loop);
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		fd_close(&n->kick[i]);
		fd_close(&n->call[i]);
	}
	free(n->m.host);
	free(n);
}

static void nic_setup(struct nic_rig *n)
{
	assert_int_equal(n->dp->ops->setup(n->dp, NEGOTIATED, &n->m.mem, &n->host, NULL), 0);
}

static int nic_start(struct nic_rig *n, unsigned ring, virtq_base_t base)
{
	const struct datapath_ring r = {
		.config = rig_config(ring),
		.base = base,
		.kick_fd = n->kick[ring % (2 * PAIRS)],
		.call_fd = -1, /* inject=ioctl: only the other one is for others */
		.peer_call_fd = n->call[ring % (2 * PAIRS)],
	};

	return n->dp->ops->ring_start(n->dp, ring, &r, NULL);
}

static struct rig_ring *kernel_ring(unsigned ring)
{
	return &rig.devs[ring / 2].rings[ring % 2];
}

static unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* --- The tests --- */

static void test_refusals(void **state)
{
	struct nic_rig *n = nic_open();
	struct datapath_vhost_net_config c;
	struct datapath *dp;
	struct err err = {0};

	(void)state;
	c = config_of(n, wire_open("socket"));
	assert_int_equal(datapath_vhost_net_create(&dp, &c, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "the kernel serves a tap only"));
	assert_int_equal(wire.closed, 0); /* borrowed */

	c = config_of(n, wire_open("tap"));
	c.packed = true;
	assert_int_equal(datapath_vhost_net_create(&dp, &c, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "vhost-net has split rings only"));
	assert_int_equal(wire.closed, 0); /* borrowed */

	c = config_of(n, wire_open("tap"));
	rig.nr = 1;
	rig.offered &= ~BIT64(VIRTIO_F_VERSION_1);
	assert_int_equal(datapath_vhost_net_create(&dp, &c, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "datapath=vmm"));

	c = config_of(n, wire_open("tap"));
	rig.open_error = -ENOENT;
	assert_int_equal(datapath_vhost_net_create(&dp, &c, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "sudo modprobe vhost_net"));
	assert_int_equal(wire.closed, 0); /* borrowed */
	nic_close(n);
}

/* A kernel that fails half-way through the pairs: all that was opened is closed. */
static void test_create_undone(void **state)
{
	struct nic_rig *n = nic_open();
	struct datapath_vhost_net_config c = config_of(n, wire_open("tap"));
	unsigned before = open_fds();
	struct datapath *dp;

	(void)state;
	rig.nr = 1;
	rig.fail_request = VHOST_GET_FEATURES;
	rig.fail_code = -EIO;
	assert_int_equal(datapath_vhost_net_create(&dp, &c, NULL), -EIO);
	assert_int_equal(wire.closed, 0); /* borrowed */
	assert_int_equal(open_fds(), before);
	nic_close(n);
}

static void test_features(void **state)
{
	struct nic_rig *n = nic_open();

	(void)state;
	/* What the kernel can do with rings, and what the tap can do with frames. */
	assert_int_equal(n->dp->ops->features(n->dp),
	                 BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
	                         BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_NET_F_MRG_RXBUF) |
	                         BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM));
	nic_setup(n);
	for (unsigned i = 0; i < PAIRS; i++)
		assert_int_equal(rig.devs[i].features,
		                 BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MRG_RXBUF));
	nic_close(n);
}

/* A kernel that learns packed rings: offered only where they are asked for. */
static void test_packed_one_day(void **state)
{
	struct nic_rig *n = nic_open();
	struct datapath_vhost_net_config c = config_of(n, wire_open("tap"));
	struct datapath *dp;

	(void)state;
	rig.offered |= BIT64(VIRTIO_F_RING_PACKED) | BIT64(VIRTIO_F_IN_ORDER);
	assert_int_equal(datapath_vhost_net_create(&dp, &c, NULL), 0);
	assert_false(dp->ops->features(dp) & BIT64(VIRTIO_F_RING_PACKED));
	dp->ops->destroy(dp);
	wire_open("tap");
	rig.nr = PAIRS;
	c.packed = true;
	assert_int_equal(datapath_vhost_net_create(&dp, &c, NULL), 0);
	/* A newer kernel offers it; no other datapath has it, and a driver cannot be made to forget. */
	assert_false(dp->ops->features(dp) & BIT64(VIRTIO_F_IN_ORDER));
	assert_true(dp->ops->features(dp) & BIT64(VIRTIO_F_RING_PACKED));
	dp->ops->destroy(dp);
	nic_close(n);
}

static void test_rings(void **state)
{
	struct nic_rig *n = nic_open();
	virtq_base_t base = 0;

	(void)state;
	assert_int_equal(nic_start(n, 0, 0), -EINVAL); /* not set up */
	nic_setup(n);
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		assert_int_equal(nic_start(n, i, 10 * i), 0);
		assert_int_equal(kernel_ring(i)->base, 10 * i);
		assert_int_equal(kernel_ring(i)->kick, n->kick[i]);
		assert_int_equal(kernel_ring(i)->call, n->call[i]);
		assert_int_equal(kernel_ring(i)->backend, WIRE + (int)i / 2);
		assert_int_equal(kernel_ring(i)->addr.desc_user_addr,
		                 (uintptr_t)n->m.host + i * 0x2000);
	}
	assert_int_equal(nic_start(n, 2 * PAIRS, 0), -EINVAL);

	kernel_ring(3)->base = 99;
	assert_int_equal(n->dp->ops->position(n->dp, 3, &base), 0);
	assert_int_equal(base, 99);
	assert_int_equal(kernel_ring(3)->backend, WIRE + 1); /* it runs on */
	base = 0;
	assert_int_equal(n->dp->ops->ring_stop(n->dp, 3, &base), 0);
	assert_int_equal(base, 99);
	assert_int_equal(kernel_ring(3)->backend, -1);
	assert_int_equal(kernel_ring(2)->backend, WIRE + 1);
	assert_int_equal(n->dp->ops->ring_stop(n->dp, 3, &base), -EINVAL);
	assert_int_equal(n->dp->ops->position(n->dp, 3, &base), -EINVAL);
	assert_int_equal(n->dp->ops->position(n->dp, 2 * PAIRS, &base), -EINVAL);
	assert_int_equal(n->dp->ops->ring_stop(n->dp, 2 * PAIRS, &base), -EINVAL);

	/* The reset of a driver: everything stops, and can be set up anew. */
	n->dp->ops->teardown(n->dp);
	for (unsigned i = 0; i < 2 * PAIRS; i++) {
		assert_int_equal(kernel_ring(i)->backend, -1);
		assert_int_equal(kernel_ring(i)->kick, -1);
	}
	nic_setup(n);
	assert_int_equal(nic_start(n, 0, 0), 0);
	nic_close(n);
	assert_int_equal(wire.closed, 0); /* borrowed */
}

static void test_driver_error(void **state)
{
	struct nic_rig *n = nic_open();
	struct datapath_ring r = {.config = rig_config(0), .kick_fd = n->kick[0], .call_fd = -1};
	struct err err = {0};

	(void)state;
	nic_setup(n);
	r.config.desc = RIG_RAM - 0x1000;
	assert_int_equal(n->dp->ops->ring_start(n->dp, 0, &r, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "not in guest memory"));
	assert_int_equal(nic_start(n, 0, 0), 0);
	nic_close(n);
}

/* What the kernel says about a ring reaches the NIC, unless it is from before. */
static void test_broken(void **state)
{
	struct nic_rig *n = nic_open();
	virtq_base_t base;
	int err_fd;

	(void)state;
	nic_setup(n);
	assert_int_equal(nic_start(n, 4, 0), 0);
	err_fd = kernel_ring(4)->err;
	assert_true(err_fd >= 0);
	fd_signal(err_fd);
	assert_int_equal(loop_once(&n->loop, 0), 1);
	assert_int_equal(n->broken[4], 1);
	assert_int_equal(loop_once(&n->loop, 0), 0);

	/* Not yet looked at when the ring stops: nobody's any more. */
	fd_signal(err_fd);
	assert_int_equal(n->dp->ops->ring_stop(n->dp, 4, &base), 0);
	loop_once(&n->loop, 0);
	assert_int_equal(n->broken[4], 1);
	fd_signal(err_fd); /* the kernel's last word came late */
	assert_int_equal(loop_once(&n->loop, 0), 1);
	assert_int_equal(n->broken[4], 1);
	fd_signal(err_fd);
	assert_int_equal(nic_start(n, 4, 0), 0);
	loop_once(&n->loop, 0);
	assert_int_equal(n->broken[4], 1);
	nic_close(n);
}

/* The kernel does not give a ring back: it stands where its used index is. */
static void test_stop_error(void **state)
{
	struct nic_rig *n = nic_open();
	struct vring_used *used;
	virtq_base_t base = 0;

	(void)state;
	nic_setup(n);
	assert_int_equal(nic_start(n, 1, 0), 0);
	used = (struct vring_used *)(n->m.host + 0x2000 + 0x1000);
	used->idx = 0x4321;
	rig.fail_request = VHOST_GET_VRING_BASE;
	rig.fail_code = -EIO;
	assert_int_equal(n->dp->ops->ring_stop(n->dp, 1, &base), 0);
	assert_int_equal(base, 0x4321);
	nic_close(n);
}

static void test_port(void **state)
{
	struct nic_rig *n = nic_open();

	(void)state;
	nic_setup(n);
	assert_int_equal(n->dp->ops->set_offloads(n->dp, BIT64(VIRTIO_NET_F_GUEST_CSUM)), 0);
	assert_int_equal(wire.offloads, BIT64(VIRTIO_NET_F_GUEST_CSUM));
	assert_int_equal(n->dp->ops->set_pairs(n->dp, 2), 0);
	assert_int_equal(wire.queues, 2);
	assert_int_equal(n->dp->ops->set_pairs(n->dp, PAIRS + 1), -EINVAL);
	nic_close(n);
}

static void test_link(void **state)
{
	struct nic_rig *n = nic_open();

	(void)state;
	nic_setup(n);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(nic_start(n, i, 0), 0);
	n->dp->ops->set_link(n->dp, false);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(kernel_ring(i)->backend, -1);
		assert_int_equal(kernel_ring(i)->kick, n->kick[i]);
	}
	n->dp->ops->set_link(n->dp, true);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(kernel_ring(i)->backend, WIRE + (int)i / 2);
	assert_int_equal(kernel_ring(4)->backend, -1); /* does not run */
	nic_close(n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals), cmocka_unit_test(test_create_undone),
		cmocka_unit_test(test_features), cmocka_unit_test(test_packed_one_day),
		cmocka_unit_test(test_rings),    cmocka_unit_test(test_driver_error),
		cmocka_unit_test(test_broken),   cmocka_unit_test(test_stop_error),
		cmocka_unit_test(test_port),     cmocka_unit_test(test_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
