/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the NIC serves its control queue (virtio 1.2, 5.1.6.5) itself, on the main
 * loop and with net->lock held. The main loop must not take dev->lock: a reset on a vCPU thread holds
 * dev->lock while it waits for net->lock.
 *
 * A command is a header, its data, and a byte for the answer. The data of every command but one is
 * short. A MAC table (5.1.6.5.2) may have any length: read_list() copies the counts, and only as many
 * addresses as the filter keeps.
 */
#include <errno.h>
#include <linux/virtio_net.h>

#include "devices/net/net_priv.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define DATA_MAX 64 /* bytes of data that any command but a MAC table has a use for */

struct command {
	const struct virtq_chain *chain;
	struct virtio_net_ctrl_hdr hdr;
	uint8_t data[DATA_MAX]; /* the first @len bytes of the data */
	size_t len;
};

static int announce(struct net *net, const struct command *c)
{
	if (c->hdr.cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK)
		return -EINVAL;
	net->status &= (uint16_t)~VIRTIO_NET_S_ANNOUNCE;
	return 0;
}

static int mq(struct net *net, const struct command *c)
{
	uint16_t pairs;
	int rc;

	if (c->hdr.cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || c->len < 2)
		return -EINVAL;
	pairs = load_le16(c->data);
	if (pairs < 1 || pairs > net->config.pairs)
		return -EINVAL;
	rc = net->dp->ops->set_pairs(net->dp, pairs);
	if (rc == 0)
		net->pairs_used = pairs;
	return rc;
}

static int guest_offloads(struct net *net, const struct command *c)
{
	uint64_t offloads;
	int rc;

	if (c->hdr.cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->len < 8)
		return -EINVAL;
	offloads = load_le64(c->data);
	if (offloads & ~(net->dev.driver_features & NET_GUEST_OFFLOADS))
		return -EINVAL;
	rc = net->dp->ops->set_offloads(net->dp, offloads);
	if (rc == 0)
		net->offloads = offloads;
	return rc;
}

static int rx_mode(struct net *net, const struct command *c)
{
	return net_filter_rx(&net->filter, c->hdr.cmd, c->data, c->len);
}

static int vlan(struct net *net, const struct command *c)
{
	return net_filter_vlan(&net->filter, c->hdr.cmd, c->data, c->len);
}

/* One of the two lists of a MAC table, at *@offset of the command; *@offset moves behind it. */
static int read_list(const struct virtq_chain *chain, size_t *offset, struct net_mac_list *list)
{
	const struct iovec *iov = chain->iov;
	uint8_t count[4];

	if (iov_copy_out(iov, chain->nr_out, *offset, count, sizeof(count)) != sizeof(count))
		return -EINVAL;
	*offset += sizeof(count);
	list->count = load_le32(count);
	if (list->count > (chain->out_len - *offset) / NET_MAC_LEN)
		return -EINVAL;
	iov_copy_out(iov, chain->nr_out, *offset, list->macs, sizeof(list->macs));
	*offset += (size_t)list->count * NET_MAC_LEN;
	return 0;
}

static int mac_table(struct net *net, const struct virtq_chain *chain)
{
	size_t offset = sizeof(struct virtio_net_ctrl_hdr);
	struct net_mac_list unicast, multicast;

	if (read_list(chain, &offset, &unicast) < 0 || read_list(chain, &offset, &multicast) < 0)
		return -EINVAL;
	net_filter_table(&net->filter, &unicast, &multicast);
	return 0;
}

/* The two commands of this class have a feature each. */
static int mac(struct net *net, const struct command *c)
{
	switch (c->hdr.cmd) {
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		return virtio_has(&net->dev, VIRTIO_NET_F_CTRL_RX) ? mac_table(net, c->chain)
		                                                   : -EINVAL;
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		return virtio_has(&net->dev, VIRTIO_NET_F_CTRL_MAC_ADDR)
		               ? net_filter_address(&net->filter, c->data, c->len)
		               : -EINVAL;
	default:
		return -EINVAL;
	}
}

/* Each class of commands needs its feature (5.1.6.5). */
static int execute(struct net *net, const struct command *c)
{
	static const struct {
		uint8_t class;
		unsigned feature;
		int (*fn)(struct net *net, const struct command *c);
	} classes[] = {
		{VIRTIO_NET_CTRL_RX, VIRTIO_NET_F_CTRL_RX, rx_mode},
		{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_F_CTRL_VQ, mac},
		{VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_F_CTRL_VLAN, vlan},
		{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_F_GUEST_ANNOUNCE, announce},
		{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_F_MQ, mq},
		{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, guest_offloads},
	};

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		if (classes[i].class == c->hdr.class && virtio_has(&net->dev, classes[i].feature))
			return classes[i].fn(net, c);
	return -EINVAL;
}

/* Execute the command of @chain and write the answer's byte, if the driver has left room for it. */
static void serve(struct net *net, const struct virtq_chain *chain)
{
	struct command c = {.chain = chain};
	uint8_t ack = VIRTIO_NET_ERR;

	c.len = iov_copy_out(chain->iov, chain->nr_out, sizeof(c.hdr), c.data, sizeof(c.data));
	if (iov_copy_out(chain->iov, chain->nr_out, 0, &c.hdr, sizeof(c.hdr)) == sizeof(c.hdr) &&
	    execute(net, &c) == 0)
		ack = VIRTIO_NET_OK;
	iov_copy_in(chain->iov + chain->nr_out, chain->nr_in, 0, &ack, sizeof(ack));
}

/* At most one queue full: the next kick shows the commands of a driver that refills for ever. */
static void serve_queue(struct net *net)
{
	struct virtio_device *dev = &net->dev;
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_chain c;
	int rc = 0;

	for (unsigned n = 0; n < net->ctrl.size; n++) {
		rc = virtq_pop(&net->ctrl, &c, iov, VIRTQ_CHAIN_MAX);
		if (rc != 1)
			break;
		serve(net, &c);
		virtq_push(&net->ctrl, &c, c.in_len ? 1 : 0);
	}
	if (virtq_flush(&net->ctrl))
		virtio_queue_interrupt(dev, net->ctrl_index);
	if (rc < 0) {
		net->ctrl_on = false;
		virtio_device_broken(dev, net->ctrl.broken);
	} else if (virtq_kick_enable(&net->ctrl)) {
		virtio_queue_wake(dev, net->ctrl_index);
	}
}

void net_ctrl_kicked(struct virtio_device *dev, unsigned index)
{
	struct net *net = container_of(dev, struct net, dev);

	pthread_mutex_lock(&net->lock);
	if (net->ctrl_on && index == net->ctrl_index)
		serve_queue(net);
	pthread_mutex_unlock(&net->lock);
}
