/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/nic.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "devices/net/dp_vhost.h"
#include "vmm/util.h"

/* What offloads=off keeps from the driver. */
#define OFFLOADS                                                        \
	(BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_HOST_TSO4) |     \
	 BIT64(VIRTIO_NET_F_HOST_TSO6) | BIT64(VIRTIO_NET_F_HOST_ECN) | \
	 BIT64(VIRTIO_NET_F_HOST_UFO) | BIT64(56) /* HOST_USO */ | NET_GUEST_OFFLOADS)

static int open_port(const struct net_options *o, struct port **port, struct err *err)
{
	struct port_tap_config tap = {
		.name = o->where[0] ? o->where : NULL,
		.bridge = o->bridge[0] ? o->bridge : NULL,
		.fd = -1,
		.queues = o->queues,
		.vnet_hdr = o->offloads,
	};
	struct port_socket_config sock = {
		.path = o->where,
		.server = o->server,
		.datagram = o->datagram,
		.local = o->local,
	};

	switch (o->port) {
	case NET_PORT_USER:
		return port_user_open(port, &o->user, err);
	case NET_PORT_FD:
		tap.fd = o->fd;
		tap.name = NULL;
		return port_tap_open(port, &tap, err);
	case NET_PORT_TAP:
		return port_tap_open(port, &tap, err);
	case NET_PORT_SOCKET:
		return port_socket_open(port, &sock, err);
	case NET_PORT_NONE:
		return port_none_open(port, o->queues, err);
	}
	return err_set(err, -EINVAL, "--net: no such port");
}

/* @port is the datapath's, also on an error. */
static int open_vmm(const struct net_options *o, struct port *port, struct datapath **dp,
                    struct err *err)
{
	struct datapath_vmm_config c = {
		.port = port,
		.pairs = o->queues,
		.poll_us = o->poll_us,
		.packed = o->packed,
	};
	int rc = o->pcap[0] ? pcap_open(&c.pcap, o->pcap, err) : 0;

	if (rc < 0) {
		port_close(port);
		return rc;
	}
	return datapath_vmm_create(dp, &c, err);
}

static int open_vhost_net(const struct nic *nic, const struct net_options *o, struct port *port,
                          struct loop *loop, struct datapath **dp, struct err *err)
{
	const struct datapath_vhost_net_config c = {
		.name = nic->name,
		.port = port,
		.loop = loop,
		.pairs = o->queues,
		.poll_us = o->poll_us,
		.packed = o->packed,
	};

	return datapath_vhost_net_create(dp, &c, err);
}

static int open_vhost_user(const struct nic *nic, const struct net_options *o, struct datapath **dp,
                           struct err *err)
{
	const struct datapath_vhost_user_config c = {
		.name = nic->name,
		.path = o->vhost_socket,
		.server = o->server,
		.wait_s = o->wait_s,
		.pairs = o->queues,
		.queue_size = o->queue_size,
		.mtu = (uint16_t)o->mtu,
		.packed = o->packed,
	};

	return datapath_vhost_user_create(dp, &c, err);
}

static int open_datapath(struct nic *nic, const struct net_options *o, struct loop *loop,
                         struct datapath **dp, struct err *err)
{
	struct port *port;
	int rc;

	if (o->datapath == NET_DATAPATH_VHOST_USER) {
		snprintf(nic->port, sizeof(nic->port), "%s", o->vhost_socket);
		return open_vhost_user(nic, o, dp, err);
	}
	rc = open_port(o, &port, err);
	if (rc < 0)
		return rc;
	port->ops->describe(port, nic->port, sizeof(nic->port));
	switch (o->datapath) {
	case NET_DATAPATH_VMM:
		return open_vmm(o, port, dp, err);
	case NET_DATAPATH_VHOST_NET:
		return open_vhost_net(nic, o, port, loop, dp, err);
	case NET_DATAPATH_VHOST_USER:
		break;
	}
	port_close(port);
	return err_set(err, -EINVAL, "--net: no such datapath");
}

static int build_net(struct nic *nic, const struct net_options *o, const struct memory *mem,
                     struct loop *loop, struct err *err)
{
	struct net_config c = {
		.name = nic->name,
		.mtu = (uint16_t)o->mtu,
		.pairs = o->queues,
		.queue_size = o->queue_size,
		.masked = o->offloads ? 0 : OFFLOADS,
	};
	struct datapath *dp;
	int rc;

	memcpy(c.mac, o->mac, sizeof(c.mac));
	if (!o->has_mac) {
		/* Any: two guests on one bridge must not meet. Local, not a group's (IEEE 802, U/L
		 * and I/G). */
		if (getrandom(c.mac, sizeof(c.mac), 0) != sizeof(c.mac))
			return err_errno(err, -errno, "--net mac: getrandom");
		c.mac[0] = (uint8_t)((c.mac[0] & ~1u) | 2);
	}
	rc = open_datapath(nic, o, loop, &dp, err);
	if (rc < 0)
		return rc;
	net_init(&nic->net, &c, dp, mem);
	nic->has_net = true;
	return 0;
}

int nic_build(struct nic *nic, const struct net_options *options, unsigned index,
              struct virtio_slots *slots, const struct memory *mem, struct err *err)
{
	const struct virtio_options where = {
		.mmio = options->mmio,
		.notify_exit = options->notify_exit,
		.inject_ioctl = options->inject_ioctl,
	};
	int rc;

	memset(nic, 0, sizeof(*nic));
	if (options->id[0])
		snprintf(nic->name, sizeof(nic->name), "%s", options->id);
	else
		snprintf(nic->name, sizeof(nic->name), "net%u", index);
	rc = build_net(nic, options, mem, slots->loop, err);
	if (rc == 0)
		rc = virtio_transport_add(&nic->transport, &nic->net.dev, &where, slots, err);
	if (rc < 0)
		nic_destroy(nic);
	return rc;
}

/* The device first: it lets go of the transport's eventfds. */
void nic_destroy(struct nic *nic)
{
	if (nic->has_net)
		net_destroy(&nic->net);
	nic->has_net = false;
	virtio_transport_remove(&nic->transport);
}
