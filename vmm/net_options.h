/* SPDX-License-Identifier: BSD-2-Clause */
/* net_options: what stands behind `--net`. Strings are copied. */
#ifndef TRIVM_VMM_NET_OPTIONS_H
#define TRIVM_VMM_NET_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/net/dp_features.h"
#include "devices/net/dp_vhost_user.h"
#include "devices/net/net.h"
#include "devices/net/port.h"
#include "vmm/err.h"
#include "vmm/virtio_options.h"

enum net_port {
	NET_PORT_USER,
	NET_PORT_TAP,
	NET_PORT_FD,
	NET_PORT_SOCKET,
	NET_PORT_NONE,
};

struct net_options {
	enum net_port port;
	enum net_datapath datapath;
	char where[108]; /* tap: its name, "" for a new one; socket: its path */
	char bridge[16]; /* for a new tap */
	int fd;
	char vhost_socket[108]; /* datapath=vhost-user: there is no port then */
	bool has_port;
	bool has_wait;
	uint32_t wait_s;   /* for a vhost-user back-end; VHOST_USER_WAIT_FOREVER */
	bool has_fallback; /* another datapath while the back-end is away */
	enum net_datapath fallback;
	bool failback;         /* and the back-end again when it is there again */
	bool server, datagram; /* either socket */
	char local[108];       /* datagram socket: our own address */
	bool packed;
	unsigned switchable; /* BIT(enum net_datapath): where a switch may lead */
	bool has_switchable; /* the user has named them */
	bool offloads;
	struct virtio_options virtio; /* where it is found, how it is notified */
	unsigned queues;              /* pairs */
	uint16_t queue_size;
	unsigned mtu, poll_us;
	bool has_mac;
	uint8_t mac[NET_MAC_LEN];
	char id[32]; /* "" : net0, net1 ... */
	char pcap[256];
	struct port_user_config user;
};

/*
 * "user", "tap:tap0,queues=2,..." or "port=user,...": a port first, then key=value words. -EINVAL
 * with the word, its value and what was expected.
 */
int net_options_parse(struct net_options *o, const char *text, struct err *err);

/*
 * What @o becomes by a switch: "vmm", "vhost-net", "vhost-user,socket=PATH", and optionally words
 * for the new datapath and its port (port, bridge, hostfwd, socket, server, wait, local, poll-us).
 * The port stays what it was unless it is said. -EINVAL as above, and then *@o is as before.
 */
int net_options_switch(struct net_options *o, const char *spec, struct err *err);

/* "vmm", "vhost-net", "vhost-user". */
const char *net_datapath_name(enum net_datapath datapath);

/* Do both name the same wire? */
bool net_options_same_port(const struct net_options *a, const struct net_options *b);

#endif
