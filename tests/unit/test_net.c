/* SPDX-License-Identifier: BSD-2-Clause */
/* The virtio-net device without packets: features, configuration, control queue, filter, link. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "devices/net/mac.h"
#include "devices/net/net.h"
#include "devices/net/net_switch.h"
#include "tests/unit/virtq_driver.h"
#include "vmm/fd.h"

#define DP_FEATURES                                                  \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MRG_RXBUF) | \
	 BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4))
#define LIVE                                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK)

/* A datapath that writes down what it is told. */
struct fake_dp {
	struct datapath dp;
	struct datapath_host host;
	struct datapath_host watcher;
	bool is_setup, started[VIRTIO_QUEUES_MAX], link, far_side_away;
	uint64_t negotiated, offloads;
	unsigned pairs;
	virtq_base_t base[VIRTIO_QUEUES_MAX];
	uint64_t lacks;  /* features */
	bool absent;     /* no far side */
	int refuse;      /* what starting and set_pairs return */
	int refuse_ring; /* and only for the last ring */
	unsigned destroyed;
};

static struct fake_dp *fake(struct datapath *dp)
{
	return container_of(dp, struct fake_dp, dp);
}

static uint64_t dp_features(const struct datapath *dp)
{
	return DP_FEATURES & ~container_of(dp, const struct fake_dp, dp)->lacks;
}

static int dp_setup(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
                    const struct datapath_host *host, struct err *err)
{
	(void)err;
	assert_non_null(mem);
	fake(dp)->is_setup = true;
	fake(dp)->negotiated = negotiated;
	fake(dp)->host = *host;
	return 0;
}

static void dp_teardown(struct datapath *dp)
{
	fake(dp)->is_setup = false;
	memset(fake(dp)->started, 0, sizeof(fake(dp)->started));
}

static int dp_ring_start(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
                         struct err *err)
{
	assert_true(fake(dp)->is_setup && !fake(dp)->started[index]);
	assert_true(ring->config.enabled);
	if (fake(dp)->refuse)
		return err_set(err, fake(dp)->refuse, "refused");
	if (fake(dp)->refuse_ring && index == 1)
		return err_set(err, fake(dp)->refuse_ring, "refused");
	fake(dp)->started[index] = true;
	fake(dp)->base[index] = ring->base;
	return 0;
}

static int dp_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	if (!fake(dp)->started[index])
		return -EINVAL;
	fake(dp)->started[index] = false;
	*base = fake(dp)->base[index] + 5; /* so many were served */
	return 0;
}

static int dp_set_offloads(struct datapath *dp, uint64_t offloads)
{
	fake(dp)->offloads = offloads;
	return 0;
}

static int dp_set_pairs(struct datapath *dp, unsigned pairs)
{
	if (fake(dp)->refuse)
		return fake(dp)->refuse;
	fake(dp)->pairs = pairs;
	return 0;
}

static void dp_set_link(struct datapath *dp, bool up)
{
	fake(dp)->link = up;
}

static void dp_watch(struct datapath *dp, const struct datapath_host *host)
{
	fake(dp)->watcher = host ? *host : (struct datapath_host){0};
	if (host)
		host->carrier(host->opaque, !fake(dp)->far_side_away);
}

static bool dp_ready(struct datapath *dp)
{
	return !fake(dp)->absent;
}

static void dp_stats(const struct datapath *dp, unsigned ring, struct datapath_stats *stats)
{
	(void)dp;
	*stats = (struct datapath_stats){.packets = 10 + ring};
}

static void dp_destroy(struct datapath *dp)
{
	assert_false(fake(dp)->is_setup);
	fake(dp)->destroyed++;
}

static const struct datapath_ops dp_ops = {
	.name = "fake",
	.features = dp_features,
	.setup = dp_setup,
	.teardown = dp_teardown,
	.ring_start = dp_ring_start,
	.ring_stop = dp_ring_stop,
	.set_offloads = dp_set_offloads,
	.set_pairs = dp_set_pairs,
	.watch = dp_watch,
	.ready = dp_ready,
	.stats = dp_stats,
	.set_link = dp_set_link,
	.destroy = dp_destroy,
};

struct fixture {
	struct net net;
	struct fake_dp dp;
	struct drv drv; /* the control queue's */
	unsigned interrupts, config_interrupts;
};

static void on_queue_interrupt(void *transport, unsigned index)
{
	(void)index;
	((struct fixture *)transport)->interrupts++;
}

static void on_config_interrupt(void *transport)
{
	((struct fixture *)transport)->config_interrupts++;
}

static void on_running(void *transport, bool running)
{
	(void)transport;
	(void)running;
}

static void on_reset(void *transport, int index)
{
	(void)transport;
	(void)index;
}

static const struct virtio_transport_ops transport_ops = {
	.queue_interrupt = on_queue_interrupt,
	.config_interrupt = on_config_interrupt,
	.running = on_running,
	.reset = on_reset,
};

static const uint8_t mac[] = {0x52, 0x54, 0, 1, 2, 3};

static void make(struct fixture *f, unsigned pairs, unsigned mtu, uint64_t masked)
{
	struct net_config c = {.name = "net0",
	                       .mtu = (uint16_t)mtu,
	                       .pairs = pairs,
	                       .queue_size = 256,
	                       .masked = masked};

	memset(f, 0, sizeof(*f));
	memcpy(c.mac, mac, sizeof(mac));
	f->dp.dp.ops = &dp_ops;
	drv_init(&f->drv, false, 16, false);
	net_init(&f->net, &c, &f->dp.dp, &f->drv.mem);
	f->net.dev.transport_ops = &transport_ops;
	f->net.dev.transport = f;
}

static void set_queue(struct fixture *f, unsigned index, unsigned size)
{
	struct virtio_device *dev = &f->net.dev;

	virtio_queue_set(dev, index, VIRTIO_QUEUE_SIZE, size);
	virtio_queue_set(dev, index, VIRTIO_QUEUE_DESC_LOW, (uint32_t)DRV_DESC);
	virtio_queue_set(dev, index, VIRTIO_QUEUE_DRIVER_LOW, (uint32_t)DRV_DRIVER);
	virtio_queue_set(dev, index, VIRTIO_QUEUE_DEVICE_LOW, (uint32_t)DRV_DEVICE);
	virtio_queue_set(dev, index, VIRTIO_QUEUE_ENABLE, 1);
}

/* As a driver does; it takes @features of those offered, and enables 2 * pairs queues and @ctrl. */
static void drive(struct fixture *f, uint64_t features, unsigned pairs, unsigned ctrl)
{
	struct virtio_device *dev = &f->net.dev;

	features |= BIT64(VIRTIO_F_VERSION_1);
	virtio_set_status(dev, 3);
	virtio_set_driver_features(dev, 0, (uint32_t)features);
	virtio_set_driver_features(dev, 1, (uint32_t)(features >> 32));
	virtio_set_status(dev, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	assert_true(virtio_status(dev) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < 2 * pairs; i++)
		set_queue(f, i, 16);
	if (ctrl)
		set_queue(f, ctrl, 16);
	virtio_set_status(dev, LIVE);
	assert_int_equal(virtio_status(dev), LIVE);
}

static void finish(struct fixture *f)
{
	net_destroy(&f->net);
	net_destroy(&f->net);
	drv_destroy(&f->drv);
}

static uint64_t offered(struct fixture *f)
{
	return virtio_features_window(&f->net.dev, 0) |
	       (uint64_t)virtio_features_window(&f->net.dev, 1) << 32;
}

/* One command; the answer's byte. 0xaa: none was written. @index: the queue that is kicked. */
static uint8_t command(struct fixture *f, unsigned index, uint8_t class, uint8_t cmd,
                       const void *data, size_t len)
{
	/* Three buffers of 32 bytes would do for most, a table needs more: all parts of a chain lie
	 * one behind the other, the last is the answer. */
	unsigned out = (unsigned)((2 + len + DRV_PART_SIZE - 1) / DRV_PART_SIZE);
	int id = drv_add(&f->drv, out, 1, false);
	uint8_t *at = drv_at(&f->drv, drv_part((uint16_t)id, 0));
	uint32_t written;

	assert_true(out < DRV_PARTS);
	memset(at, 0, out * DRV_PART_SIZE);
	at[0] = class;
	at[1] = cmd;
	memcpy(at + 2, data, len);
	at[out * DRV_PART_SIZE] = 0xaa;
	f->net.dev.ops->kicked(&f->net.dev, index);
	if (drv_take(&f->drv, &written) != id)
		return 0xaa;
	assert_int_equal(written, 1);
	return at[out * DRV_PART_SIZE];
}

static bool passes(struct fixture *f, const char *frame, size_t len)
{
	uint8_t head[18] = {0};

	memcpy(head, frame, len);
	return f->dp.host.accept(f->dp.host.opaque, head, sizeof(head));
}

#define to(address) passes(&f, address, 6)

/* --- Tests --- */

static void features_are_the_datapaths_and_its_own(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	assert_true((offered(&f) & DP_FEATURES) == DP_FEATURES);
	assert_true(offered(&f) & BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS));
	assert_false(offered(&f) & BIT64(VIRTIO_NET_F_MTU));
	assert_false(offered(&f) & BIT64(VIRTIO_NET_F_MQ));
	finish(&f);
	make(&f, 2, 9000, BIT64(VIRTIO_NET_F_GUEST_TSO4));
	assert_true(offered(&f) & BIT64(VIRTIO_NET_F_MTU));
	assert_true(offered(&f) & BIT64(VIRTIO_NET_F_MQ));
	assert_false(offered(&f) & BIT64(VIRTIO_NET_F_GUEST_TSO4));
	finish(&f);
}

static void configuration_is_readable(void **state)
{
	struct virtio_net_config c;
	struct fixture f;

	(void)state;
	make(&f, 4, 1400, 0);
	virtio_config_read(&f.net.dev, 0, &c, sizeof(c));
	assert_memory_equal(c.mac, mac, 6);
	assert_int_equal(load_le16(&c.status), VIRTIO_NET_S_LINK_UP);
	assert_int_equal(load_le16(&c.max_virtqueue_pairs), 4);
	assert_int_equal(load_le16(&c.mtu), 1400);
	finish(&f);
}

static void rings_go_to_the_datapath(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, DP_FEATURES | BIT64(VIRTIO_F_RING_RESET), 1, 0);
	assert_true(f.dp.is_setup && f.dp.started[0] && f.dp.started[1]);
	assert_true(f.dp.negotiated & BIT64(VIRTIO_NET_F_MRG_RXBUF));
	assert_true(f.dp.offloads ==
	            (BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4)));
	assert_int_equal(f.dp.pairs, 1);
	virtio_queue_set(&f.net.dev, 1, VIRTIO_QUEUE_RESET, 1);
	assert_true(f.dp.started[0] && !f.dp.started[1]);
	set_queue(&f, 1, 16);
	assert_true(f.dp.started[1]);
	virtio_set_status(&f.net.dev, 0);
	assert_false(f.dp.is_setup);
	finish(&f);
}

static void a_datapath_that_refuses_breaks_the_device(void **state)
{
	struct fixture f;
	struct virtio_device *dev = &f.net.dev;

	(void)state;
	make(&f, 1, 0, 0);
	f.dp.refuse = -EIO;
	virtio_set_status(dev, 3);
	virtio_set_driver_features(dev, 1, 1);
	virtio_set_status(dev, 3 | VIRTIO_CONFIG_S_FEATURES_OK);
	set_queue(&f, 0, 16);
	virtio_set_status(dev, LIVE);
	assert_true(virtio_is_broken(dev));
	assert_false(f.dp.is_setup);
	f.dp.refuse = 0;
	virtio_set_status(dev, 0);
	drive(&f, 0, 1, 0);
	assert_true(f.dp.started[0]);
	finish(&f);
}

/* With MQ it is behind the last pair; a driver without MQ looks for it behind the first (5.1.2). */
static void the_control_queue_is_where_mq_says(void **state)
{
	uint8_t pairs[2] = {2, 0};
	struct fixture f;

	(void)state;
	make(&f, 2, 0, 0);
	drive(&f, BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_MQ), 2, 4);
	assert_int_equal(command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), VIRTIO_NET_OK);
	assert_int_equal(f.dp.pairs, 2);
	assert_true(f.interrupts > 0);
	pairs[0] = 3;
	assert_int_equal(command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), VIRTIO_NET_ERR);
	pairs[0] = 0;
	assert_int_equal(command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), VIRTIO_NET_ERR);
	pairs[0] = 1;
	f.dp.refuse = -EIO;
	assert_int_equal(command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), VIRTIO_NET_ERR);
	f.dp.refuse = 0;
	assert_int_equal(f.dp.pairs, 2);
	/* A notification of the other place means nothing. */
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), 0xaa);
	finish(&f);

	make(&f, 2, 0, 0);
	assert_true(f.net.dev.queues[2].on_loop && f.net.dev.queues[4].on_loop);
	assert_false(f.net.dev.queues[0].on_loop || f.net.dev.queues[3].on_loop);
	drive(&f, BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_CTRL_RX), 1, 2);
	assert_false(f.dp.started[2]);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 0, "\1", 1), VIRTIO_NET_OK);
	/* MQ was not taken: its commands are none. */
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MQ, 0, pairs, 2), VIRTIO_NET_ERR);
	finish(&f);
}

static void wrong_commands_are_answered(void **state)
{
	struct fixture f;
	uint8_t zero[32] = {0};

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	assert_int_equal(command(&f, 2, 99, 0, zero, 8), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 6, zero, 1), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_VLAN, 0, "\0\x10", 2), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_VLAN, 2, zero, 2), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MAC, 2, zero, 6), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MAC, 0, "\5\0\0\0", 4), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_ANNOUNCE, 1, zero, 0), VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, "\0\xff\0\0\0\0\0\0", 8),
	                 VIRTIO_NET_ERR);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, "\2\0\0\0\0\0\0\0", 8),
	                 VIRTIO_NET_OK);
	assert_true(f.dp.offloads == BIT64(VIRTIO_NET_F_GUEST_CSUM));
	assert_false(virtio_is_broken(&f.net.dev));
	/* A command without room for the answer: nowhere to say it; the queue goes on. */
	drv_add(&f.drv, 1, 0, false);
	f.net.dev.ops->kicked(&f.net.dev, 2);
	assert_true(drv_has_used(&f.drv));
	finish(&f);
}

static void the_filter_lets_in_what_was_asked_for(void **state)
{
	/* One unicast address, one of a group. */
	static const uint8_t tables[] = "\1\0\0\0\x52\x54\0\7\7\7\1\0\0\0\1\0\x5e\0\0\1";
	struct fixture f;
	uint8_t own[6];

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	assert_true(to("\x52\x54\0\x99\0\0")); /* promiscuous at first */
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 0, "\0", 1), VIRTIO_NET_OK);
	assert_false(to("\x52\x54\0\x99\0\0"));
	assert_true(to("\x52\x54\0\1\2\3"));
	assert_true(to("\xff\xff\xff\xff\xff\xff"));
	assert_false(to("\1\0\x5e\0\0\1"));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MAC, 0, tables, 20), VIRTIO_NET_OK);
	assert_true(to("\1\0\x5e\0\0\1"));
	assert_true(to("\x52\x54\0\7\7\7"));
	assert_false(to("\1\0\x5e\0\0\2"));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 1, "\1", 1), VIRTIO_NET_OK);
	assert_true(to("\1\0\x5e\0\0\2"));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 5, "\1", 1), VIRTIO_NET_OK);
	assert_false(to("\xff\xff\xff\xff\xff\xff"));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 3, "\1", 1), VIRTIO_NET_OK);
	assert_false(to("\1\0\x5e\0\0\1"));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_MAC, 1, "\x52\x54\0\x99\0\0", 6),
	                 VIRTIO_NET_OK);
	assert_true(to("\x52\x54\0\x99\0\0"));
	assert_false(to("\x52\x54\0\1\2\3"));
	/* It is in the configuration space (5.1.6.5.2), until a reset. */
	virtio_config_read(&f.net.dev, 0, own, 6);
	assert_memory_equal(own, "\x52\x54\0\x99\0\0", 6);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 4, "\1", 1), VIRTIO_NET_OK);
	assert_false(to("\x52\x54\0\x99\0\0"));
	virtio_set_status(&f.net.dev, 0);
	virtio_config_read(&f.net.dev, 0, own, 6);
	assert_memory_equal(own, mac, 6);
	finish(&f);
}

static void vlans_pass_when_they_were_added(void **state)
{
	struct fixture f;
#define TAGGED "\x52\x54\0\1\2\3\6\6\6\6\6\6\x81\0\x01\x02"

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	command(&f, 2, VIRTIO_NET_CTRL_RX, 0, "\0", 1);
	assert_false(passes(&f, TAGGED, 16));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_VLAN, 0, "\2\1", 2), VIRTIO_NET_OK);
	assert_true(passes(&f, TAGGED, 16));
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_VLAN, 1, "\2\1", 2), VIRTIO_NET_OK);
	assert_false(passes(&f, TAGGED, 16));
	finish(&f);
}

/* A command of @len bytes that the driver has written at LONG_COMMAND; the answer's byte. */
#define LONG_COMMAND (DRV_DATA + MIB(8))
static uint8_t long_command(struct fixture *f, uint32_t len)
{
	int id = drv_add(&f->drv, 1, 1, false);
	struct vring_desc *desc = &drv_desc(&f->drv)[f->drv.chains[id].desc[0]];
	uint8_t *ack = drv_at(&f->drv, drv_part((uint16_t)id, 1));
	uint32_t written;

	desc->addr = htole64(LONG_COMMAND);
	desc->len = htole32(len);
	*ack = 0xaa;
	f->net.dev.ops->kicked(&f->net.dev, 2);
	assert_int_equal(drv_take(&f->drv, &written), id);
	return *ack;
}

/* VIRTIO_NET_CTRL_MAC_TABLE_SET with so many addresses (02:00:00:00:00:00 and 03:...), of which only
 * the first of each kind differs from the others. @less: bytes that the driver leaves out. */
static uint8_t set_table(struct fixture *f, uint32_t unicast, uint32_t multicast, uint32_t less)
{
	uint8_t *at = drv_at(&f->drv, LONG_COMMAND);
	uint32_t len = 2 + 4 + 6 * unicast + 4 + 6 * multicast;

	memset(at, 0, len);
	at[0] = VIRTIO_NET_CTRL_MAC;
	store_le32(at + 2, unicast);
	for (uint32_t i = 0; i < unicast; i++)
		memcpy(at + 6 + 6 * (size_t)i, i ? "\2\0\0\0\0\0" : "\2\1\1\1\1\1", 6);
	at += 6 + 6 * (size_t)unicast;
	store_le32(at, multicast);
	for (uint32_t i = 0; i < multicast; i++)
		memcpy(at + 4 + 6 * (size_t)i, i ? "\3\0\0\0\0\0" : "\3\1\1\1\1\1", 6);
	return long_command(f, len - less);
}

/* 5.1.6.5.2: a list with more addresses than the filter keeps lets every address of its kind in. */
static void a_list_that_does_not_fit_lets_all_in(void **state)
{
	static const uint32_t too_many[] = {NET_FILTER_MACS + 1, 681, 682, 700, 100000};
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	assert_int_equal(command(&f, 2, VIRTIO_NET_CTRL_RX, 0, "\0", 1), VIRTIO_NET_OK);
	for (unsigned i = 0; i < ARRAY_SIZE(too_many); i++) {
		assert_int_equal(set_table(&f, too_many[i], 1, 0), VIRTIO_NET_OK);
		assert_true(to("\2\x99\0\0\0\0"));
		assert_true(to("\3\1\1\1\1\1"));
		assert_false(to("\3\x99\0\0\0\0"));
		assert_int_equal(set_table(&f, 1, too_many[i], 0), VIRTIO_NET_OK);
		assert_true(to("\2\1\1\1\1\1"));
		assert_false(to("\2\x99\0\0\0\0"));
		assert_true(to("\3\x99\0\0\0\0"));
	}
	assert_int_equal(set_table(&f, NET_FILTER_MACS - 1, 1, 0), VIRTIO_NET_OK);
	assert_false(to("\2\x99\0\0\0\0"));
	assert_false(to("\3\x99\0\0\0\0"));
	/* A table that is not whole changes nothing. */
	assert_int_equal(set_table(&f, 700, 1, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_table(&f, 700, 0, 1), VIRTIO_NET_ERR);
	assert_int_equal(set_table(&f, 1, 0, 8), VIRTIO_NET_ERR);
	assert_false(to("\2\x99\0\0\0\0"));
	store_le32((uint8_t *)drv_at(&f.drv, LONG_COMMAND) + 2, 0xffffffff);
	assert_int_equal(long_command(&f, 4096), VIRTIO_NET_ERR);
	assert_false(to("\2\x99\0\0\0\0"));
	finish(&f);
}

static void the_driver_hears_of_the_link(void **state)
{
	struct fixture f;
	uint8_t status[2];

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	net_set_link(&f.net, false);
	net_set_link(&f.net, false);
	assert_int_equal(f.config_interrupts, 1);
	assert_false(f.dp.link);
	assert_false(net_link(&f.net));
	virtio_config_read(&f.net.dev, offsetof(struct virtio_net_config, status), status, 2);
	assert_int_equal(load_le16(status), 0);
	net_set_link(&f.net, true);
	assert_int_equal(f.config_interrupts, 2);
	assert_true(f.dp.link && net_link(&f.net));
	finish(&f);
}

static void note_event(void *opaque, const char *event, const char *device, const char *detail)
{
	strcat(strcat(strcat(strcat(opaque, event), " "), device), " ");
	assert_null(detail);
}

/* The link is up if it is plugged in here and somebody is there. */
static void the_link_needs_a_far_side(void **state)
{
	const struct net_config config = {.name = "net0", .pairs = 1, .queue_size = 256};
	char events[128] = "";
	const struct event_sink sink = {note_event, events};
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	f.net.dev.events = &sink;
	drive(&f, offered(&f), 1, 2);
	assert_true(net_link(&f.net));
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	assert_int_equal(f.config_interrupts, 1);
	assert_false(net_link(&f.net));
	assert_true(net_set_link(&f.net, false));
	assert_false(net_set_link(&f.net, false));
	f.dp.watcher.carrier(f.dp.watcher.opaque, true);
	assert_string_equal(events, "backend-lost net0 backend-back net0 ");
	assert_false(net_link(&f.net));
	assert_int_equal(f.config_interrupts, 1);
	net_set_link(&f.net, true);
	assert_true(net_link(&f.net));
	assert_int_equal(f.config_interrupts, 2);
	finish(&f);
	assert_null(f.dp.watcher.carrier); /* nobody calls a NIC that is gone */

	f.dp.far_side_away = true; /* from the beginning */
	f.dp.dp.ops = &dp_ops;
	drv_init(&f.drv, false, 16, false);
	net_init(&f.net, &config, &f.dp.dp, &f.drv.mem);
	assert_false(net_link(&f.net));
	finish(&f);
}

static void note_cover(void *opaque, bool up)
{
	strcat(opaque, up ? "up " : "down ");
}

/* Somebody finds another datapath: the driver sees nothing, unless that cannot be done. */
static void a_cover_hides_the_far_side(void **state)
{
	struct fixture f;
	char told[64] = "";

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	net_cover(&f.net, note_cover, told);
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	assert_string_equal(told, "down ");
	assert_true(net_link(&f.net) && !net_has_carrier(&f.net));
	assert_int_equal(f.config_interrupts, 0);
	assert_true(net_uncover(&f.net));
	assert_false(net_link(&f.net));
	assert_int_equal(f.config_interrupts, 1);
	assert_false(net_uncover(&f.net)); /* once more without success: no news */
	assert_int_equal(f.config_interrupts, 1);
	f.dp.watcher.carrier(f.dp.watcher.opaque, true);
	assert_string_equal(told, "down up ");
	assert_true(net_link(&f.net));
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	assert_true(net_link(&f.net)); /* it is covered again */
	assert_int_equal(f.config_interrupts, 2);
	f.dp.watcher.carrier(f.dp.watcher.opaque, true);
	assert_false(net_uncover(&f.net)); /* it has come back meanwhile */
	assert_true(net_link(&f.net));
	net_cover(&f.net, NULL, NULL);
	f.dp.watcher.carrier(f.dp.watcher.opaque, false);
	assert_string_equal(told, "down up down up ");
	assert_false(net_link(&f.net));
	finish(&f);
}

static void a_ring_that_the_datapath_finds_broken_breaks_the_device(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	f.dp.host.broken(f.dp.host.opaque, 0, "a test");
	assert_true(virtio_is_broken(&f.net.dev));
	assert_int_equal(f.config_interrupts, 1);
	virtio_set_status(&f.net.dev, 0);
	assert_int_equal(virtio_status(&f.net.dev), 0);
	finish(&f);
}

static void a_broken_control_queue_breaks_the_device(void **state)
{
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	drv_publish(&f.drv, 999);
	f.net.dev.ops->kicked(&f.net.dev, 2);
	assert_true(virtio_is_broken(&f.net.dev));
	f.net.dev.ops->kicked(&f.net.dev, 2);
	finish(&f);
}

/* --- Switching --- */

static void a_switch_carries_the_rings_over(void **state)
{
	struct fake_dp next = {.dp = {.ops = &dp_ops}};
	struct datapath *dp = &next.dp;
	struct net_switch_report report;
	struct datapath_stats stats;
	struct fixture f;
	int kick = fd_eventfd();

	(void)state;
	make(&f, 2, 0, 0);
	drive(&f, offered(&f), 2, 4);
	command(&f, 4, VIRTIO_NET_CTRL_MQ, 0, "\2\0", 2);
	command(&f, 4, VIRTIO_NET_CTRL_GUEST_OFFLOADS, 0, "\2\0\0\0\0\0\0\0", 8);
	f.net.dev.queues[1].events.kick_fd = kick;
	f.interrupts = f.config_interrupts = 0;
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	assert_ptr_equal(dp, &f.dp.dp);
	assert_false(f.dp.is_setup);
	assert_true(next.is_setup && next.started[0] && next.started[3] && !next.started[4]);
	assert_int_equal(next.base[0], 5);
	assert_int_equal(next.base[3], 5);
	/* What the driver has set through the control queue, too. */
	assert_int_equal(next.pairs, 2);
	assert_true(next.offloads == BIT64(VIRTIO_NET_F_GUEST_CSUM));
	assert_true(report.running);
	assert_int_equal(report.rings, 4);
	/* Nobody sleeps, and switches learn. */
	assert_int_equal(fd_drain(kick), 1);
	assert_int_equal(f.interrupts, 4);
	assert_int_equal(f.config_interrupts, 1);
	assert_true(f.net.status & VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(command(&f, 4, VIRTIO_NET_CTRL_ANNOUNCE, 0, "", 0), VIRTIO_NET_OK);
	assert_false(f.net.status & VIRTIO_NET_S_ANNOUNCE);
	/* The device goes on counting. */
	net_stats(&f.net, 1, &stats);
	assert_int_equal(stats.packets, 22);
	/* And back. */
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	assert_int_equal(f.dp.base[0], 10);
	f.net.dev.queues[1].events.kick_fd = -1;
	fd_close(&kick);
	/* A driver that has not answered the request is reset: the next one has no request (5.1.4). */
	assert_true(f.net.status & VIRTIO_NET_S_ANNOUNCE);
	virtio_set_status(&f.net.dev, 0);
	assert_false(f.net.status & VIRTIO_NET_S_ANNOUNCE);
	finish(&f);
}

static void assert_refused(struct fixture *f, struct fake_dp *next, int code, const char *why)
{
	struct datapath *dp = &next->dp;
	struct net_switch_report report;
	struct err err = {0};

	assert_int_equal(net_switch(&f->net, &dp, &report, &err), code);
	if (!strstr(err.msg, why))
		fail_msg("not in '%s': %s", err.msg, why);
	assert_ptr_equal(dp, &next->dp);
	assert_ptr_equal(f->net.dp, &f->dp.dp);
	assert_false(next->is_setup || next->started[0]);
}

static void a_datapath_that_was_kept_is_told_of_the_cable(void **state)
{
	struct fake_dp next = {.dp.ops = &dp_ops, .link = false}; /* as it was left */
	struct datapath *dp = &next.dp;
	struct net_switch_report report;
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	assert_true(next.link);
	net_set_link(&f.net, false);
	assert_ptr_equal(dp, &f.dp.dp);
	f.dp.link = true;
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	assert_false(f.dp.link);
	finish(&f);
}

static void a_switch_that_is_refused_changes_nothing(void **state)
{
	struct fake_dp next = {.dp = {.ops = &dp_ops}, .lacks = BIT64(VIRTIO_NET_F_MRG_RXBUF)};
	struct datapath *dp = &next.dp;
	struct net_switch_report report;
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	/* Without a driver it counts what the next one is offered. */
	assert_refused(&f, &next, -EOPNOTSUPP, "MRG_RXBUF");
	drive(&f, 0, 1, 0);
	next.absent = true;
	assert_refused(&f, &next, -ENOTCONN, "not there");
	virtio_set_status(&f.net.dev, 0);
	drive(&f, offered(&f), 1, 2);
	f.interrupts = 0;
	assert_refused(&f, &next, -EOPNOTSUPP, "the guest's driver uses: MRG_RXBUF");
	next.lacks = 0;
	assert_refused(&f, &next, -ENOTCONN, "not there");
	assert_int_equal(f.interrupts, 0);
	assert_true(f.dp.is_setup && f.dp.started[0] && f.dp.base[0] == 0);
	virtio_device_broken(&f.net.dev, "a test");
	assert_refused(&f, &next, -EIO, "waits for its driver");
	/* A driver that did not take what is lacking does not mind. */
	virtio_set_status(&f.net.dev, 0);
	next.absent = false;
	next.lacks = BIT64(VIRTIO_NET_F_MRG_RXBUF);
	drive(&f, 0, 1, 0);
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	assert_int_equal(net_switch(&f.net, &dp, &report, NULL), 0);
	finish(&f);
}

static void a_switch_that_fails_halfway_is_undone(void **state)
{
	struct fake_dp next = {.dp = {.ops = &dp_ops}, .refuse_ring = -EIO};
	struct fixture f;

	(void)state;
	make(&f, 1, 0, 0);
	drive(&f, offered(&f), 1, 2);
	/* What can be known before is: then the old one's rings are not even stopped. */
	next.refuse = -EBUSY;
	assert_refused(&f, &next, -EBUSY, "the port refuses");
	assert_int_equal(f.dp.base[0], 0);
	next.refuse = 0;
	assert_refused(&f, &next, -EIO, "refused");
	/* The first ring was with the new one for a moment, the second never. */
	assert_true(f.dp.is_setup && f.dp.started[0] && f.dp.started[1]);
	assert_int_equal(f.dp.base[0], 10);
	assert_int_equal(f.dp.base[1], 5);
	assert_false(virtio_is_broken(&f.net.dev));
	/* If the old one does not take them back either, the driver has to begin again. */
	f.dp.refuse_ring = -EIO;
	assert_refused(&f, &next, -EIO, "refused");
	assert_true(virtio_is_broken(&f.net.dev));
	f.dp.refuse_ring = 0;
	virtio_set_status(&f.net.dev, 0);
	drive(&f, 0, 1, 0);
	finish(&f);
}

static void addresses_are_parsed(void **state)
{
	uint8_t m[6];

	(void)state;
	assert_int_equal(net_parse_mac("52:54:00:12:34:56", m), 0);
	assert_memory_equal(m, "\x52\x54\0\x12\x34\x56", 6);
	assert_int_equal(net_parse_mac("53:54:00:12:34:56", m), -EINVAL);
	assert_int_equal(net_parse_mac("52:54:00:12:34", m), -EINVAL);
	assert_int_equal(net_parse_mac("52:54:00:12:34:56:", m), -EINVAL);
	assert_int_equal(net_parse_mac("", m), -EINVAL);
	assert_int_equal(net_parse_mac("52:54:00:12:34:5g", m), -EINVAL);
	assert_int_equal(net_parse_mac(" 2:54:00:12:34:56", m), -EINVAL);
	assert_int_equal(net_parse_mac("52:+4:00:12:34:56", m), -EINVAL);
	assert_int_equal(net_parse_mac("52:0x:00:12:34:56", m), -EINVAL);
	assert_int_equal(net_parse_mac("152:54:00:12:34:56", m), -EINVAL);
	assert_int_equal(net_parse_mac("2:0:a:B:0f:F0", m), 0);
	assert_memory_equal(m, "\x02\0\x0a\x0b\x0f\xf0", 6);
}

static void addresses_that_no_driver_takes_are_refused(void **state)
{
	uint8_t m[6] = "before";

	(void)state;
	assert_int_equal(net_parse_mac("00:00:00:00:00:00", m), -EINVAL);
	assert_int_equal(net_parse_mac("0:0:0:0:0:0", m), -EINVAL);
	assert_int_equal(net_parse_mac("ff:ff:ff:ff:ff:ff", m), -EINVAL);
	assert_int_equal(net_parse_mac("01:00:5e:00:00:01", m), -EINVAL);
	assert_int_equal(net_parse_mac("33:33:00:00:00:01", m), -EINVAL);
	assert_memory_equal(m, "before", 6);
	assert_int_equal(net_parse_mac("00:00:00:00:00:01", m), 0);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(features_are_the_datapaths_and_its_own),
		TEST(configuration_is_readable),
		TEST(rings_go_to_the_datapath),
		TEST(a_datapath_that_refuses_breaks_the_device),
		TEST(the_control_queue_is_where_mq_says),
		TEST(wrong_commands_are_answered),
		TEST(the_filter_lets_in_what_was_asked_for),
		TEST(vlans_pass_when_they_were_added),
		TEST(a_list_that_does_not_fit_lets_all_in),
		TEST(the_driver_hears_of_the_link),
		TEST(the_link_needs_a_far_side),
		TEST(a_cover_hides_the_far_side),
		TEST(a_datapath_that_was_kept_is_told_of_the_cable),
		TEST(a_ring_that_the_datapath_finds_broken_breaks_the_device),
		TEST(a_broken_control_queue_breaks_the_device),
		TEST(a_switch_carries_the_rings_over),
		TEST(a_switch_that_is_refused_changes_nothing),
		TEST(a_switch_that_fails_halfway_is_undone),
		TEST(addresses_are_parsed),
		TEST(addresses_that_no_driver_takes_are_refused),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
