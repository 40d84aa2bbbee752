/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * The NIC is what the driver negotiates with; the datapath is what carries its packets. What is
 * offered is what the datapath can do, and what this file does by itself: MAC, MTU, link status,
 * announcements, and the control queue with its filters and the number of queue pairs.
 *
 * net->lock guards the datapath's control side: rings start and stop from virtio's state machine
 * (on a vCPU thread, dev->lock held), the control queue is served on the main loop (which must not
 * take dev->lock: a reset holds it while it waits for us). Order: dev->lock, then net->lock.
 *
 * The receive filter is read by datapath threads for every frame: a sequence counter tells them
 * that they have read it while it was being changed, and have to read it again. After reset
 * everything is let in, as a driver without VIRTIO_NET_F_CTRL_RX expects.
 *
 * RSS is not offered: which queue a frame comes in on is decided by the port, before we see it. A
 * tap steers by the flow's hash and remembers the queue on which the guest answered, which serves
 * the same purpose; another rule could only be had by loading a BPF program into the host's kernel.
 */
#include "devices/net/net.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define CTRL_MAX \
	4096 /* bytes of a command that are looked at: a MAC table of that size is an overflow */

static struct net *net_of(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

int net_parse_mac(const char *text, uint8_t mac[NET_MAC_LEN])
{
	unsigned b[NET_MAC_LEN];
	int end = 0;

	if (sscanf(text, "%2x:%2x:%2x:%2x:%2x:%2x%n", &b[0], &b[1], &b[2], &b[3], &b[4], &b[5],
	           &end) != 6 ||
	    text[end] || (b[0] & 1))
		return -EINVAL;
	for (unsigned i = 0; i < NET_MAC_LEN; i++)
		mac[i] = (uint8_t)b[i];
	return 0;
}

/* --- The receive filter --- */

/* Changes of the filter stand between these two. net->lock is held. */
static void filter_begin(struct net_filter *f)
{
	atomic_fetch_add(&f->sequence, 1);
}

static void filter_end(struct net_filter *f)
{
	atomic_fetch_add(&f->sequence, 1);
}

static void filter_reset(struct net *net)
{
	struct net_filter *f = &net->filter;

	filter_begin(f);
	memset(&f->promisc, 0, sizeof(*f) - offsetof(struct net_filter, promisc));
	f->promisc = true;
	f->vlan_filter = virtio_has(&net->dev, VIRTIO_NET_F_CTRL_VLAN);
	memcpy(f->mac, net->config.mac, NET_MAC_LEN);
	filter_end(f);
}

static bool in_table(const struct net_filter *f, unsigned from, unsigned n, const uint8_t *mac)
{
	for (unsigned i = from; i < from + n && i < NET_FILTER_MACS; i++)
		if (memcmp(f->macs[i], mac, NET_MAC_LEN) == 0)
			return true;
	return false;
}

static bool vlan_passes(const struct net_filter *f, const uint8_t *head, size_t len)
{
	unsigned id;

	if (!f->vlan_filter || len < 18 || head[12] != 0x81 || head[13] != 0x00)
		return true;
	id = (unsigned)(head[14] & 0x0f) << 8 | head[15];
	return f->vlans[id / 32] & BIT(id % 32);
}

static bool filter_passes(const struct net_filter *f, const uint8_t *head, size_t len)
{
	static const uint8_t broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (f->promisc)
		return true;
	if (len < 14 || !vlan_passes(f, head, len))
		return false;
	if (memcmp(head, broadcast, NET_MAC_LEN) == 0)
		return !f->nobcast;
	if (head[0] & 1) {
		if (f->nomulti)
			return false;
		return f->allmulti || f->overflow_multicast ||
		       in_table(f, f->unicast, f->multicast, head);
	}
	if (f->nouni)
		return false;
	return f->alluni || f->overflow_unicast || memcmp(head, f->mac, NET_MAC_LEN) == 0 ||
	       in_table(f, 0, f->unicast, head);
}

/* A datapath_host callback: datapath threads. */
static bool on_accept(void *opaque, const uint8_t *head, size_t len)
{
	struct net_filter *f = &((struct net *)opaque)->filter;
	unsigned before;
	bool passes;

	do {
		/* Acquire: pairs with filter_end(). The second read, behind a fence, with
		 * filter_begin(). */
		before = atomic_load_explicit(&f->sequence, memory_order_acquire);
		passes = filter_passes(f, head, len);
		atomic_thread_fence(memory_order_acquire);
	} while ((before & 1) ||
	         before != atomic_load_explicit(&f->sequence, memory_order_relaxed));
	return passes;
}

/* --- The control queue --- */

static int ctrl_rx(struct net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	struct net_filter *f = &net->filter;
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &f->promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &f->allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &f->alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &f->nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &f->nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &f->nobcast,
	};

	if (cmd >= ARRAY_SIZE(modes) || len < 1)
		return -EINVAL;
	filter_begin(f);
	*modes[cmd] = data[0] != 0;
	filter_end(f);
	return 0;
}

/* One of the two tables of VIRTIO_NET_CTRL_MAC_TABLE_SET: a count, then addresses. Bytes used, or
 * -EINVAL. */
static int take_macs(struct net_filter *f, const uint8_t *data, size_t len, unsigned at,
                     unsigned *n, bool *overflow)
{
	uint32_t count;

	if (len < 4)
		return -EINVAL;
	count = load_le32(data);
	if (count > (len - 4) / NET_MAC_LEN)
		return -EINVAL;
	*overflow = count > NET_FILTER_MACS - at;
	*n = *overflow ? 0 : count;
	for (unsigned i = 0; i < *n; i++)
		memcpy(f->macs[at + i], data + 4 + (size_t)i * NET_MAC_LEN, NET_MAC_LEN);
	return (int)(4 + count * NET_MAC_LEN);
}

static int ctrl_mac_table(struct net *net, const uint8_t *data, size_t len)
{
	struct net_filter next = {.unicast = 0};
	struct net_filter *f = &net->filter;
	int used;

	used = take_macs(&next, data, len, 0, &next.unicast, &next.overflow_unicast);
	if (used < 0)
		return used;
	used = take_macs(&next, data + used, len - (size_t)used, next.unicast, &next.multicast,
	                 &next.overflow_multicast);
	if (used < 0)
		return used;
	filter_begin(f);
	memcpy(f->macs, next.macs, sizeof(f->macs));
	f->unicast = next.unicast;
	f->multicast = next.multicast;
	f->overflow_unicast = next.overflow_unicast;
	f->overflow_multicast = next.overflow_multicast;
	filter_end(f);
	return 0;
}

static int ctrl_mac(struct net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	struct net_filter *f = &net->filter;

	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET)
		return ctrl_mac_table(net, data, len);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || len < NET_MAC_LEN)
		return -EINVAL;
	filter_begin(f);
	memcpy(f->mac, data, NET_MAC_LEN);
	filter_end(f);
	return 0;
}

static int ctrl_vlan(struct net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	struct net_filter *f = &net->filter;
	uint16_t id;

	if (len < 2)
		return -EINVAL;
	id = load_le16(data);
	if (id > 4095 || cmd > VIRTIO_NET_CTRL_VLAN_DEL)
		return -EINVAL;
	filter_begin(f);
	if (cmd == VIRTIO_NET_CTRL_VLAN_ADD)
		f->vlans[id / 32] |= BIT(id % 32);
	else
		f->vlans[id / 32] &= ~BIT(id % 32);
	filter_end(f);
	return 0;
}

static int ctrl_announce(struct net *net, uint8_t cmd)
{
	if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
		return -EINVAL;
	net->status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
	return 0;
}

static int ctrl_mq(struct net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	uint16_t pairs;
	int rc;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || len < 2)
		return -EINVAL;
	pairs = load_le16(data);
	if (pairs < 1 || pairs > net->config.pairs)
		return -EINVAL;
	rc = net->dp->ops->set_pairs(net->dp, pairs);
	if (rc == 0)
		net->pairs_used = pairs;
	return rc;
}

static int ctrl_offloads(struct net *net, uint8_t cmd, const uint8_t *data, size_t len)
{
	uint64_t offloads;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || len < 8)
		return -EINVAL;
	offloads = load_le64(data);
	if (offloads & ~(net->dev.driver_features & NET_GUEST_OFFLOADS))
		return -EINVAL;
	return net->dp->ops->set_offloads(net->dp, offloads);
}

/* Each class of commands needs its feature (5.1.6.5). */
static int ctrl_command(struct net *net, uint8_t class, uint8_t cmd, const uint8_t *data,
                        size_t len)
{
	const struct virtio_device *dev = &net->dev;

	switch (class) {
	case VIRTIO_NET_CTRL_RX:
		return virtio_has(dev, VIRTIO_NET_F_CTRL_RX) ? ctrl_rx(net, cmd, data, len)
		                                             : -EINVAL;
	case VIRTIO_NET_CTRL_MAC:
		return virtio_has(dev, cmd == VIRTIO_NET_CTRL_MAC_ADDR_SET
		                               ? VIRTIO_NET_F_CTRL_MAC_ADDR
		                               : VIRTIO_NET_F_CTRL_RX)
		               ? ctrl_mac(net, cmd, data, len)
		               : -EINVAL;
	case VIRTIO_NET_CTRL_VLAN:
		return virtio_has(dev, VIRTIO_NET_F_CTRL_VLAN) ? ctrl_vlan(net, cmd, data, len)
		                                               : -EINVAL;
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) ? ctrl_announce(net, cmd)
		                                                    : -EINVAL;
	case VIRTIO_NET_CTRL_MQ:
		return virtio_has(dev, VIRTIO_NET_F_MQ) ? ctrl_mq(net, cmd, data, len) : -EINVAL;
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return virtio_has(dev, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS)
		               ? ctrl_offloads(net, cmd, data, len)
		               : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* One command: class, command, data; the answer is one byte. */
static void ctrl_serve(struct net *net, const struct virtq_chain *c)
{
	const struct virtio_net_ctrl_hdr *hdr;
	uint8_t buf[CTRL_MAX];
	size_t len = iov_copy_out(c->iov, c->nr_out, 0, buf, sizeof(buf));
	uint8_t ack = VIRTIO_NET_ERR;

	hdr = (const struct virtio_net_ctrl_hdr *)buf;
	if (len >= sizeof(*hdr) &&
	    ctrl_command(net, hdr->class, hdr->cmd, buf + sizeof(*hdr), len - sizeof(*hdr)) == 0)
		ack = VIRTIO_NET_OK;
	iov_copy_in(c->iov + c->nr_out, c->nr_in, 0, &ack, sizeof(ack));
}

/* Main loop. The kick may be an old one: the queue may have stopped since. */
static void on_ctrl_kick(struct loop_source *src, uint32_t events)
{
	struct net *net = container_of(src, struct net, ctrl_kick);
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_chain c;
	int rc = 0;

	(void)events;
	fd_drain(src->fd);
	pthread_mutex_lock(&net->lock);
	if (net->ctrl_on) {
		/* At most one queue full: a driver that refills for ever is seen again by its next
		 * kick. */
		for (unsigned n = 0; n < net->ctrl.size; n++) {
			rc = virtq_pop(&net->ctrl, &c, iov, VIRTQ_CHAIN_MAX);
			if (rc != 1)
				break;
			ctrl_serve(net, &c);
			virtq_push(&net->ctrl, &c, c.in_len ? 1 : 0);
		}
		if (virtq_flush(&net->ctrl))
			virtio_queue_interrupt(&net->dev, net->ctrl_index);
		if (rc < 0)
			virtio_device_broken(&net->dev, net->ctrl.broken);
		else if (virtq_kick_enable(&net->ctrl))
			fd_signal(src->fd);
	}
	pthread_mutex_unlock(&net->lock);
}

/* --- virtio's calls: dev->lock is held --- */

static unsigned ctrl_queue_index(const struct net *net)
{
	/* 5.1.2: behind the last pair that may be used; without MQ that is the first. */
	return virtio_has(&net->dev, VIRTIO_NET_F_MQ) ? 2 * net->config.pairs : 2;
}

static bool has_ctrl(const struct net *net)
{
	return virtio_has(&net->dev, VIRTIO_NET_F_CTRL_VQ);
}

/* Start queue @index. net->lock is held. */
static int start_queue(struct net *net, unsigned index, struct err *err)
{
	const struct virtio_queue *vq = &net->dev.queues[index];
	struct datapath_ring ring = {
		.config = vq->config,
		.base = vq->base,
		.kick_fd = vq->events.kick_fd,
		.call_fd = vq->events.call_fd,
	};

	if (has_ctrl(net) && index == net->ctrl_index) {
		int rc = virtio_queue_take(&net->dev, index, &net->ctrl, err);

		net->ctrl_on = rc == 0;
		if (rc == 0)
			fd_signal(vq->events.kick_fd); /* commands may wait already */
		return rc;
	}
	return net->dp->ops->ring_start(net->dp, index, &ring, err);
}

static void stop_queue(struct net *net, unsigned index)
{
	struct virtio_queue *vq = &net->dev.queues[index];

	if (has_ctrl(net) && index == net->ctrl_index)
		net->ctrl_on = false;
	else
		net->dp->ops->ring_stop(net->dp, index, &vq->base);
}

static void stop_all(struct net *net)
{
	net->ctrl_on = false;
	if (net->dp_setup)
		net->dp->ops->teardown(net->dp);
	net->dp_setup = false;
}

static int start_all(struct net *net, struct err *err)
{
	const struct datapath_ops *ops = net->dp->ops;
	uint64_t negotiated = net->dev.driver_features;
	int rc = ops->setup(net->dp, negotiated, net->dev.mem, &net->host, err);

	if (rc < 0)
		return rc;
	net->dp_setup = true;
	net->ctrl_index = ctrl_queue_index(net);
	net->pairs_used = 1;
	filter_reset(net);
	rc = ops->set_offloads(net->dp, negotiated & NET_GUEST_OFFLOADS);
	if (rc == 0)
		rc = ops->set_pairs(net->dp, 1);
	if (rc < 0)
		return err_errno(err, rc, "%s: the port refuses offloads or queues",
		                 net->config.name);
	for (unsigned i = 0; i < net->dev.nr_queues && rc == 0; i++)
		if (net->dev.queues[i].config.enabled)
			rc = start_queue(net, i, err);
	return rc;
}

static int net_start(struct virtio_device *dev, struct err *err)
{
	struct net *net = net_of(dev);
	int rc;

	pthread_mutex_lock(&net->lock);
	rc = start_all(net, err);
	if (rc < 0)
		stop_all(net);
	pthread_mutex_unlock(&net->lock);
	return rc;
}

static void net_stop(struct virtio_device *dev)
{
	struct net *net = net_of(dev);

	pthread_mutex_lock(&net->lock);
	stop_all(net);
	pthread_mutex_unlock(&net->lock);
}

static int net_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	struct net *net = net_of(dev);
	int rc;

	pthread_mutex_lock(&net->lock);
	rc = start_queue(net, index, err);
	pthread_mutex_unlock(&net->lock);
	return rc;
}

static void net_queue_stop(struct virtio_device *dev, unsigned index)
{
	struct net *net = net_of(dev);

	pthread_mutex_lock(&net->lock);
	stop_queue(net, index);
	pthread_mutex_unlock(&net->lock);
}

static void net_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct net *net = net_of(dev);
	struct virtio_net_config c = {0};

	memcpy(c.mac, net->config.mac, NET_MAC_LEN);
	pthread_mutex_lock(&net->lock);
	store_le16(&c.status, net->status);
	pthread_mutex_unlock(&net->lock);
	store_le16(&c.max_virtqueue_pairs, (uint16_t)net->config.pairs);
	store_le16(&c.mtu, net->config.mtu);
	memcpy(buf, (uint8_t *)&c + offset, len);
}

static const struct virtio_device_ops net_ops = {
	.start = net_start,
	.stop = net_stop,
	.queue_start = net_queue_start,
	.queue_stop = net_queue_stop,
	.config_read = net_config_read,
};

/* --- The datapath's words --- */

static void on_interrupt(void *opaque, unsigned ring)
{
	struct net *net = opaque;

	virtio_queue_interrupt(&net->dev, ring);
}

static void on_broken(void *opaque, unsigned ring, const char *why)
{
	struct net *net = opaque;

	(void)ring;
	virtio_device_broken(&net->dev, why);
}

/* --- Life --- */

static uint64_t own_features(const struct net_config *config)
{
	uint64_t f = BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS) |
	             BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_CTRL_RX) |
	             BIT64(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT64(VIRTIO_NET_F_CTRL_VLAN) |
	             BIT64(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE);

	if (config->mtu)
		f |= BIT64(VIRTIO_NET_F_MTU);
	if (config->pairs > 1)
		f |= BIT64(VIRTIO_NET_F_MQ);
	return f;
}

int net_init(struct net *net, const struct net_config *config, struct datapath *dp,
             const struct memory *mem, struct loop *loop, struct err *err)
{
	uint64_t from_dp = dp->ops->features(dp);
	uint16_t sizes[VIRTIO_QUEUES_MAX];
	unsigned queues = 2 * config->pairs + 1;

	(void)err;
	memset(net, 0, sizeof(*net));
	net->config = *config;
	net->dp = dp;
	net->loop = loop;
	net->status = VIRTIO_NET_S_LINK_UP;
	net->host = (struct datapath_host){
		.interrupt = on_interrupt, .broken = on_broken, .accept = on_accept, .opaque = net};
	pthread_mutex_init(&net->lock, NULL);
	for (unsigned i = 0; i < queues - 1; i++)
		sizes[i] = config->queue_size;
	sizes[queues - 1] = NET_CTRL_QUEUE;
	if (from_dp & NET_GUEST_OFFLOADS)
		from_dp |= BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	virtio_device_init(&net->dev, config->name, VIRTIO_ID_NET, &net_ops,
	                   (own_features(config) | from_dp | BIT64(VIRTIO_F_RING_RESET)) &
	                           ~config->masked,
	                   sizeof(struct virtio_net_config), sizes, queues, mem);
	filter_reset(net);
	return 0;
}

int net_ready(struct net *net, struct err *err)
{
	/* Which queue it is depends on MQ: without it queue 2, which exists in either case. */
	unsigned index = 2 * net->config.pairs;
	int rc = loop_add(net->loop, &net->ctrl_kick, net->dev.queues[index].events.kick_fd,
	                  EPOLLIN, on_ctrl_kick);

	return rc < 0 ? err_errno(err, rc, "%s: control queue", net->config.name) : 0;
}

void net_destroy(struct net *net)
{
	if (!net->dp)
		return;
	loop_remove(&net->ctrl_kick);
	virtio_device_destroy(&net->dev);
	net->dp->ops->destroy(net->dp);
	net->dp = NULL;
	pthread_mutex_destroy(&net->lock);
}

bool net_link(struct net *net)
{
	bool up;

	pthread_mutex_lock(&net->lock);
	up = net->status & VIRTIO_NET_S_LINK_UP;
	pthread_mutex_unlock(&net->lock);
	return up;
}

void net_set_link(struct net *net, bool up)
{
	bool changed;

	pthread_mutex_lock(&net->lock);
	changed = !!(net->status & VIRTIO_NET_S_LINK_UP) != up;
	net->status ^= changed ? VIRTIO_NET_S_LINK_UP : 0;
	if (changed)
		net->dp->ops->set_link(net->dp, up);
	pthread_mutex_unlock(&net->lock);
	if (changed)
		virtio_config_changed(&net->dev);
}
