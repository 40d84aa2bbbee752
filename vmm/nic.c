/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/nic.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "devices/net/dp_vhost.h"
#include "devices/net/pcap.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* @mtu: of an interface or a network that exists for this NIC only; 0: the usual one. */
static int open_wire(const struct net_options *o, unsigned mtu, struct port **port, struct err *err)
{
	struct port_tap_config tap = {
		.name = o->where[0] ? o->where : NULL,
		.bridge = o->bridge[0] ? o->bridge : NULL,
		.fd = -1,
		.queues = o->queues,
		.vnet_hdr = o->offloads,
	};
	struct port_user_config user = o->user;
	struct port_socket_config sock = {
		.path = o->where,
		.server = o->server,
		.datagram = o->datagram,
		.local = o->local,
	};

	switch (o->port) {
	case NET_PORT_USER:
		user.mtu = mtu;
		return port_user_open(port, &user, err);
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

static int open_port(const struct nic *nic, const struct net_options *o, struct port **port,
                     struct err *err)
{
	unsigned mtu = nic_mtu_of_new_port(nic, o);
	int rc = open_wire(o, mtu, port, err);

	if (rc == 0)
		nic_mtu_apply(nic, o, *port, mtu);
	return rc;
}

static int open_vmm(const struct nic *nic, const struct net_options *o, struct port *port,
                    struct datapath **dp, struct err *err)
{
	const struct datapath_vmm_config c = {
		.port = port,
		.pcap = nic->pcap,
		.pairs = o->queues,
		.poll_us = o->poll_us,
		.packed = o->packed,
	};

	return datapath_vmm_create(dp, &c, err);
}

static int open_vhost_net(const struct nic *nic, const struct net_options *o, struct port *port,
                          struct datapath **dp, struct err *err)
{
	const struct datapath_vhost_net_config c = {
		.name = nic->name,
		.port = port,
		.loop = nic->loop,
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
		.mtu = nic->has_net ? nic->net.config.mtu : nic_mtu(o, NULL),
		.packed = o->packed,
	};

	return datapath_vhost_user_create(dp, &c, err);
}

static int open_datapath(const struct nic *nic, const struct net_options *o, struct port *port,
                         struct datapath **dp, struct err *err)
{
	switch (o->datapath) {
	case NET_DATAPATH_VMM:
		return open_vmm(nic, o, port, dp, err);
	case NET_DATAPATH_VHOST_NET:
		return open_vhost_net(nic, o, port, dp, err);
	case NET_DATAPATH_VHOST_USER:
		return open_vhost_user(nic, o, dp, err);
	}
	return err_set(err, -EINVAL, "--net: no such datapath");
}

static bool needs_port(const struct net_options *o)
{
	return o->datapath != NET_DATAPATH_VHOST_USER;
}

static void describe_wire(struct nic *nic)
{
	if (needs_port(&nic->options))
		nic->port->ops->describe(nic->port, nic->wire, sizeof(nic->wire));
	else
		snprintf(nic->wire, sizeof(nic->wire), "%s", nic->options.vhost_socket);
}

static int build_net(struct nic *nic, const struct memory *mem, struct err *err)
{
	const struct net_options *o = &nic->options;
	struct net_config c = {
		.name = nic->name,
		.pairs = o->queues,
		.queue_size = o->queue_size,
	};
	char warning[320];
	struct datapath *dp;
	int rc = nic_features_masked(o, &c.masked, err);

	if (rc < 0)
		return rc;
	memcpy(c.mac, o->mac, sizeof(c.mac));
	if (!o->has_mac) {
		/* Any: two guests on one bridge must not meet. Local, not a group's (IEEE 802, U/L
		 * and I/G). */
		if (getrandom(c.mac, sizeof(c.mac), 0) != sizeof(c.mac))
			return err_errno(err, -errno, "--net mac: getrandom");
		c.mac[0] = (uint8_t)((c.mac[0] & ~1u) | 2);
	}
	rc = needs_port(o) ? open_port(nic, o, &nic->port, err) : 0;
	if (rc == 0 && o->pcap[0])
		rc = pcap_open(&nic->pcap, o->pcap, err);
	if (rc == 0)
		rc = open_datapath(nic, o, nic->port, &dp, err);
	if (rc < 0)
		return rc;
	describe_wire(nic);
	c.mtu = nic_mtu(o, nic->port);
	net_init(&nic->net, &c, dp, mem);
	nic->has_net = true;
	nic_mtu_check(nic, warning, sizeof(warning));
	return 0;
}

int nic_build(struct nic *nic, const struct net_options *options, unsigned index,
              struct virtio_slots *slots, const struct memory *mem, struct err *err)
{
	int rc;

	memset(nic, 0, sizeof(*nic));
	nic->options = *options;
	nic->loop = slots->loop;
	nic->failover_fd = nic->retry_fd = -1;
	if (options->id[0])
		snprintf(nic->name, sizeof(nic->name), "%s", options->id);
	else
		snprintf(nic->name, sizeof(nic->name), "net%u", index);
	rc = build_net(nic, mem, err);
	if (rc == 0)
		rc = virtio_transport_add(&nic->transport, &nic->net.dev, &nic->options.virtio,
		                          slots, err);
	if (rc == 0)
		rc = nic_failover_begin(nic, err);
	if (rc < 0)
		nic_destroy(nic);
	return rc;
}

static void close_port(struct nic *nic)
{
	port_close(nic->port);
	nic->port = NULL;
}

void nic_became(struct nic *nic, const struct net_options *next)
{
	nic->options = *next;
	describe_wire(nic);
}

/*
 * While a back-end has the packets the port stays open. A tap that nobody holds has no carrier, and
 * when it is opened again a bridge drops frames until it has noticed; the user network would lose
 * its connections.
 */
int nic_move(struct nic *nic, const struct net_options *next, struct datapath **keep,
             struct net_switch_report *report, struct err *err)
{
	struct port *port = nic->port;
	struct datapath *dp = NULL;
	bool same_port = port && net_options_same_port(next, &nic->options);
	bool own_port = needs_port(next) && !same_port;
	int rc = 0;

	if (own_port)
		rc = open_port(nic, next, &port, err);
	else if (needs_port(next) && !needs_port(&nic->options))
		port_drain(port); /* what came while nobody listened is old */
	if (rc < 0)
		return rc;
	rc = open_datapath(nic, next, port, &dp, err);
	if (rc == 0)
		rc = net_switch(&nic->net, &dp, report, err);
	if (rc == 0 && keep)
		*keep = dp;
	else if (dp)
		dp->ops->destroy(dp);
	if (rc == 0 && own_port) {
		close_port(nic);
		nic->port = port;
	} else if (own_port) {
		port_close(port);
	} else if (rc == 0 && !same_port) {
		close_port(nic); /* the next one that needs a port needs another */
	}
	if (rc < 0)
		return rc;
	nic_became(nic, next);
	nic_mtu_check(nic, report->warning, sizeof(report->warning));
	return 0;
}

int nic_switch(struct nic *nic, const char *spec, struct net_switch_report *report, struct err *err)
{
	struct net_options next = nic->options;
	int rc = net_options_switch(&next, spec, err);

	if (rc == 0)
		rc = nic_features_check_fallback(nic, &next, err);
	if (rc == 0)
		rc = nic_move(nic, &next, NULL, report, err);
	if (rc < 0)
		return rc;
	/* From here on, what the user said. */
	nic_failover_end(nic);
	if (nic_failover_begin(nic, err) < 0)
		log_warn("%s: no fallback: %s", nic->name, err->msg);
	return 0;
}

/* The device first: it lets go of the transport's eventfds. */
void nic_destroy(struct nic *nic)
{
	observer_stop(&nic->observer);
	nic_failover_end(nic);
	if (nic->has_net)
		net_destroy(&nic->net);
	nic->has_net = false;
	close_port(nic);
	pcap_close(nic->pcap);
	nic->pcap = NULL;
	virtio_transport_remove(&nic->transport);
}
