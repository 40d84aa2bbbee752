/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * The NIC is what the driver negotiates with; the datapath is what carries its packets. What is
 * offered is what the datapath can do, and what the NIC does by itself: MAC, MTU, link status,
 * announcements, and the control queue (net_ctrl.c).
 *
 * net->lock guards the datapath's control side: rings start and stop from virtio's state machine
 * (on a vCPU thread, dev->lock held), the control queue is served on the main loop. Order: dev->lock,
 * then net->lock.
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

#include "devices/net/net_priv.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

static struct net *net_of(struct virtio_device *dev)
{
	return container_of(dev, struct net, dev);
}

static void reset_filter(struct net *net)
{
	net_filter_reset(&net->filter, net->config.mac,
	                 virtio_has(&net->dev, VIRTIO_NET_F_CTRL_VLAN));
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

int net_ring_start(struct net *net, struct datapath *dp, unsigned index, struct err *err)
{
	struct virtio_queue *vq = &net->dev.queues[index];
	struct datapath_ring ring = {
		.dev = net->dev.name,
		.config = vq->config,
		.base = vq->base,
		.moved = net->moving,
		.kick_fd = vq->events.kick_fd,
		.call_fd = vq->events.call_fd,
		.peer_call_fd = vq->events.peer_call_fd,
	};

	vq->outside = dp->ops->outside;
	vq->lent |= dp->ops->reads_kicks;
	virtio_kicks_owner(&vq->kicks, ring.kick_fd, dp->ops->reads_kicks, dp->ops->kicks_at_start);
	return dp->ops->ring_start(dp, index, &ring, err);
}

/* Start queue @index. net->lock is held. */
static int start_queue(struct net *net, unsigned index, struct err *err)
{
	int rc;

	if (!has_ctrl(net) || index != net->ctrl_index)
		return net_ring_start(net, net->dp, index, err);
	rc = virtio_queue_take(&net->dev, index, &net->ctrl, err);
	net->ctrl_on = rc == 0;
	return rc;
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
	reset_filter(net);
	net->offloads = negotiated & NET_GUEST_OFFLOADS;
	rc = ops->set_offloads(net->dp, net->offloads);
	if (rc == 0)
		rc = ops->set_pairs(net->dp, 1);
	if (rc < 0)
		return err_errno(err, rc, "the port refuses offloads or queues");
	for (unsigned i = 0; i < net->dev.nr_queues && rc == 0; i++)
		if (net->dev.queues[i].config.enabled)
			rc = start_queue(net, i, err);
	if (rc == 0 && ops->started)
		ops->started(net->dp);
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
	reset_filter(net); /* the address in the configuration space is our own again */
	net->status &=
		(uint16_t)~VIRTIO_NET_S_ANNOUNCE; /* 5.1.4: a request to the driver that is gone */
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

	net_filter_own(&net->filter, c.mac);
	pthread_mutex_lock(&net->lock);
	store_le16(&c.status, net->status);
	pthread_mutex_unlock(&net->lock);
	store_le16(&c.max_virtqueue_pairs, (uint16_t)net->config.pairs);
	store_le16(&c.mtu, net->config.mtu);
	memcpy(buf, (uint8_t *)&c + offset, len);
}

static int net_position(struct virtio_device *dev, unsigned index, virtq_base_t *base)
{
	struct net *net = net_of(dev);
	int rc = -ENOTSUP;

	pthread_mutex_lock(&net->lock);
	if (net->ctrl_on && index == net->ctrl_index) {
		*base = virtq_peek(&net->ctrl);
		rc = 0;
	} else if (net->dp_setup && index < 2 * net->config.pairs && net->dp->ops->position) {
		rc = net->dp->ops->position(net->dp, index, base);
	}
	pthread_mutex_unlock(&net->lock);
	return rc;
}

/* A back-end that has not given rings back still touches guest memory, perhaps. */
static bool net_let_go(struct virtio_device *dev, int index)
{
	struct net *net = net_of(dev);
	bool held;
	pid_t by;

	(void)index;
	pthread_mutex_lock(&net->lock);
	held = net->dp->ops->held && net->dp->ops->held(net->dp, &by);
	pthread_mutex_unlock(&net->lock);
	return !held;
}

static const struct virtio_device_ops net_ops = {
	.let_go = net_let_go,
	.start = net_start,
	.stop = net_stop,
	.queue_start = net_queue_start,
	.queue_stop = net_queue_stop,
	.config_read = net_config_read,
	.kicked = net_ctrl_kicked,
	.position = net_position,
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

static bool on_accept(void *opaque, const uint8_t *head, size_t len)
{
	return net_filter_passes(&((struct net *)opaque)->filter, head, len);
}

/* VIRTIO_NET_S_LINK_UP as it has to be. True: it has changed. net->lock is held. */
static bool update_link(struct net *net)
{
	uint16_t before = net->status;

	net->uncovered = net->uncovered && !net->carrier;
	net->status &= (uint16_t)~VIRTIO_NET_S_LINK_UP;
	if (net->plugged && (net->carrier || (net->cover && !net->uncovered)))
		net->status |= VIRTIO_NET_S_LINK_UP;
	return net->status != before;
}

static void on_carrier(void *opaque, bool up)
{
	struct net *net = opaque;
	bool changed, news;

	pthread_mutex_lock(&net->lock);
	news = net->carrier != up;
	net->carrier = up;
	changed = update_link(net);
	if (news && net->cover)
		net->cover(net->cover_opaque, up);
	pthread_mutex_unlock(&net->lock);
	if (news)
		event_post(net->dev.events, up ? "backend-back" : "backend-lost", net->config.name,
		           NULL);
	if (changed)
		virtio_config_changed(&net->dev);
}

/* On the datapath's thread: see datapath_host. */
static void on_held(void *opaque, bool held)
{
	struct net *net = opaque;

	event_post(net->dev.events, held ? "rings-held" : "rings-free", net->config.name,
	           held ? "a back-end that does not answer has not given the rings back" : NULL);
	if (held)
		return;
	virtio_device_let_go(&net->dev);
	/* A fallback can be taken now. */
	pthread_mutex_lock(&net->lock);
	if (net->cover && !net->carrier)
		net->cover(net->cover_opaque, false);
	pthread_mutex_unlock(&net->lock);
}

int net_reset(struct net *net, struct err *err)
{
	const struct datapath_ops *ops;
	pid_t by;
	int rc = 0;

	pthread_mutex_lock(&net->dev.lock);
	pthread_mutex_lock(&net->lock);
	ops = net->dp->ops;
	if (ops->held && ops->held(net->dp, &by)) {
		ops->abandon(net->dp);
		/* The process keeps the eventfds that it got; no ring is served at the moment. */
		for (unsigned i = 0; i < 2 * net->config.pairs && rc == 0; i++)
			rc = virtio_queue_renew(&net->dev, i);
	}
	pthread_mutex_unlock(&net->lock);
	pthread_mutex_unlock(&net->dev.lock);
	if (rc < 0)
		err_errno(err, rc, "%s: new eventfds for its rings", net->config.name);
	virtio_device_broken(&net->dev, "the user wants it reset");
	virtio_device_let_go(&net->dev);
	return rc;
}

void net_cover(struct net *net, void (*cover)(void *opaque, bool up), void *opaque)
{
	bool changed;

	pthread_mutex_lock(&net->lock);
	net->cover = cover;
	net->cover_opaque = opaque;
	net->uncovered = false;
	changed = update_link(net);
	pthread_mutex_unlock(&net->lock);
	if (changed)
		virtio_config_changed(&net->dev);
}

bool net_uncover(struct net *net)
{
	bool first, changed;

	pthread_mutex_lock(&net->lock);
	first = !net->uncovered && !net->carrier;
	net->uncovered = true; /* update_link() knows better if there is a carrier */
	changed = update_link(net);
	pthread_mutex_unlock(&net->lock);
	if (changed)
		virtio_config_changed(&net->dev);
	return first;
}

bool net_has_carrier(struct net *net)
{
	bool up;

	pthread_mutex_lock(&net->lock);
	up = net->carrier;
	pthread_mutex_unlock(&net->lock);
	return up;
}

/* --- Life --- */

uint64_t net_own_features(const struct net *net)
{
	const struct net_config *config = &net->config;
	uint64_t f = BIT64(VIRTIO_NET_F_MAC) | BIT64(VIRTIO_NET_F_STATUS) |
	             BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_CTRL_RX) |
	             BIT64(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT64(VIRTIO_NET_F_CTRL_VLAN) |
	             BIT64(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE) |
	             BIT64(VIRTIO_F_RING_RESET) | BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);

	if (config->mtu)
		f |= BIT64(VIRTIO_NET_F_MTU);
	if (config->pairs > 1)
		f |= BIT64(VIRTIO_NET_F_MQ);
	return f;
}

void net_init(struct net *net, const struct net_config *config, struct datapath *dp,
              const struct memory *mem)
{
	uint64_t from_dp = dp->ops->features(dp), own;
	uint16_t sizes[VIRTIO_QUEUES_MAX];
	unsigned queues = 2 * config->pairs + 1;

	memset(net, 0, sizeof(*net));
	net->config = *config;
	net->dp = dp;
	net->plugged = net->carrier = true;
	own = net_own_features(net);
	net->host = (struct datapath_host){.interrupt = on_interrupt,
	                                   .broken = on_broken,
	                                   .accept = on_accept,
	                                   .carrier = on_carrier,
	                                   .held = on_held,
	                                   .opaque = net};
	pthread_mutex_init(&net->lock, NULL);
	for (unsigned i = 0; i < queues - 1; i++)
		sizes[i] = config->queue_size;
	sizes[queues - 1] = NET_CTRL_QUEUE;
	if (!(from_dp & ~config->masked & NET_GUEST_OFFLOADS)) /* nothing to turn off */
		own &= ~BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	virtio_device_init(&net->dev, config->name, VIRTIO_ID_NET, &net_ops,
	                   own | (from_dp & ~config->masked), sizeof(struct virtio_net_config),
	                   sizes, queues, mem);
	/* The driver says by MQ whether the control queue is the last one or queue 2. */
	for (unsigned i = 0; i < queues; i++)
		net->dev.queues[i].on_loop = i == 2 || i == queues - 1;
	reset_filter(net);
	update_link(net);
	net_watch(net, NULL);
}

void net_watch(struct net *net, struct datapath *before)
{
	bool changed;

	if (before && before->ops->watch)
		before->ops->watch(before, NULL);
	if (net->dp->ops->watch) {
		net->dp->ops->watch(net->dp, &net->host);
		return;
	}
	/* It has one by nature; that is no news of the other's. */
	pthread_mutex_lock(&net->lock);
	net->carrier = true;
	changed = update_link(net);
	pthread_mutex_unlock(&net->lock);
	if (changed)
		virtio_config_changed(&net->dev);
}

void net_destroy(struct net *net)
{
	if (!net->dp)
		return;
	if (net->dp->ops->watch)
		net->dp->ops->watch(net->dp, NULL);
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

void net_status(struct net *net, struct net_status *status)
{
	const struct datapath_ops *ops;

	pthread_mutex_lock(&net->lock);
	ops = net->dp->ops;
	*status = (struct net_status){
		.datapath = ops->kind ? ops->kind(net->dp) : ops->name,
		.link = net->status & VIRTIO_NET_S_LINK_UP,
		.plugged = net->plugged,
		.carrier = net->carrier,
		.driver = net->dp_setup,
		.pairs = net->config.pairs,
		.pairs_used = net->dp_setup ? net->pairs_used : 0,
		.backend = ops->backend ? ops->backend(net->dp) : 0,
	};
	status->held = ops->held && ops->held(net->dp, &status->held_by);
	memcpy(status->mac, net->config.mac, NET_MAC_LEN);
	pthread_mutex_unlock(&net->lock);
}

int net_stats(struct net *net, unsigned index, struct datapath_stats *stats)
{
	int rc = 0;

	if (index >= 2 * net->config.pairs)
		return -EINVAL;
	memset(stats, 0, sizeof(*stats));
	pthread_mutex_lock(&net->lock);
	if (net->dp->ops->stats)
		net->dp->ops->stats(net->dp, index, stats);
	else
		rc = -ENOTSUP;
	for (size_t i = 0; i < sizeof(*stats) / sizeof(uint64_t); i++)
		((uint64_t *)stats)[i] += ((const uint64_t *)&net->past[index])[i];
	pthread_mutex_unlock(&net->lock);
	return rc;
}

bool net_set_link(struct net *net, bool up)
{
	bool changed, moved;

	pthread_mutex_lock(&net->lock);
	moved = net->plugged != up;
	if (moved)
		net->dp->ops->set_link(net->dp, up);
	net->plugged = up;
	changed = update_link(net);
	pthread_mutex_unlock(&net->lock);
	if (changed)
		virtio_config_changed(&net->dev);
	return moved;
}
