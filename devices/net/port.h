/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port: the wire that a NIC is plugged into, on the host's side.
 *
 * Whatever it is, a running port is one file descriptor for each queue pair, on which one read() is
 * one Ethernet frame that comes in and one write() is one frame that goes out; both non-blocking,
 * both pollable. That is what a tap is by nature. What is not (user-mode network, stream sockets)
 * has a thread of its own behind a socket pair of datagrams, which ends when the port is closed.
 *
 *	tap	a tap interface: existing, made by us, or handed over as an open fd; multi-queue
 *	user	libslirp: NAT, DHCP, DNS, IPv6, forwarded ports; no privileges
 *	socket	a Unix socket: datagrams are frames; on a stream each frame has its length (32 bits,
 *		big endian) in front, as other monitors have it
 *	none	everything is dropped and counted
 *
 * With vnet_hdr each frame begins with a struct virtio_net_hdr_v1 (12 bytes), through which
 * checksums and segmentation are left to the other side (tap's IFF_VNET_HDR); without it frames are
 * complete.
 */
#ifndef TRIVM_DEVICES_NET_PORT_H
#define TRIVM_DEVICES_NET_PORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "vmm/err.h"

#define PORT_QUEUES_MAX 32
#define PORT_VNET_HDR   12 /* bytes: struct virtio_net_hdr_v1 */

struct port;

/* Frames between the guest and a network interface of the host, since that exists. */
struct port_counts {
	char interface[16];
	uint64_t to_guest_packets, to_guest_bytes, to_guest_dropped;
	uint64_t from_guest_packets, from_guest_bytes, from_guest_dropped;
};

struct port_ops {
	/*
	 * The driver is ready for these segmentation and checksum kinds: a mask of 1 <<
	 * VIRTIO_NET_F_GUEST_* bits, a subset of port->guest_offloads. NULL where there are none. 0
	 * or a negative errno.
	 */
	int (*set_offloads)(struct port *port, uint64_t guest_offloads);
	/* Use the first @n of the queues (tap: attach and detach). NULL: one queue only. */
	int (*set_queues)(struct port *port, unsigned n);
	/* A line for people: "tap0", "user network 10.0.2.0/24". */
	void (*describe)(const struct port *port, char *buf, size_t len);
	/*
	 * What the host's kernel counts at the other end of this wire. NULL, or a negative errno:
	 * it does not. Main thread.
	 */
	int (*counts)(const struct port *port, struct port_counts *counts);
	/*
	 * Give the host's interface this MTU; port->mtu follows. -EPERM: the caller lacks
	 * CAP_NET_ADMIN; -ENODEV: the interface is in another network namespace; or what the kernel
	 * answers. NULL: the port's MTU is fixed when the port is opened. Main thread.
	 */
	int (*set_mtu)(struct port *port, unsigned mtu);
	/* The host's interface, by its name. NULL: there is none. */
	const char *(*interface)(const struct port *port);
	/* Threads joined, descriptors closed, memory freed, @port too. */
	void (*close)(struct port *port);
};

struct port_kept;

/* Embedded in the implementer; constant after the open call, but for mtu, kept and the counters. */
struct port {
	const struct port_ops *ops;
	const char *kind;         /* "tap" ... */
	unsigned queues;          /* fds that there are */
	int fds[PORT_QUEUES_MAX]; /* the port's own; -1 with "none": write nowhere, nothing comes */
	bool vnet_hdr;
	unsigned mtu; /* bytes behind the Ethernet header that pass; 0: no limit is known */
	bool own;     /* the interface exists only for this port: nobody else has set it up */
	uint64_t host_offloads;  /* VIRTIO_NET_F_CSUM, HOST_*: what may be written to it */
	uint64_t guest_offloads; /* VIRTIO_NET_F_GUEST_*: what it may hand us if asked */
	/* Frames that the port itself dropped, behind its descriptors: those of the guest's that it
	   does not take, and those for the guest that had no room. Any thread. */
	_Atomic uint64_t refused, lost;
	struct port_kept *kept[PORT_QUEUES_MAX]; /* port_keep()'s */
};

/* --- Opening. Main thread. On an error nothing is left and @err says cause and remedy. --- */

struct port_tap_config {
	const char *name; /* NULL: make one, the kernel names it */
	const char
		*bridge; /* NULL: none; else the interface is put on it (only one that we make) */
	int fd;          /* -1, or an open tap handed over; name and bridge are NULL then */
	unsigned queues;
	bool vnet_hdr; /* ask for offloads */
};
int port_tap_open(struct port **port, const struct port_tap_config *config, struct err *err);

#define PORT_FORWARDS_MAX 32
#define PORT_USER_MTU     1500  /* unless the user says */
#define PORT_USER_MTU_MAX 65520 /* libslirp takes no more */

/* hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22 */
struct port_forward {
	bool udp;
	char host_addr[46], guest_addr[46]; /* text; "" : any, the guest's first */
	uint16_t host_port, guest_port;
};

struct port_user_config {
	unsigned nr_forwards;
	struct port_forward forwards[PORT_FORWARDS_MAX];
	bool restricted; /* the guest reaches nobody but the forwards' peers */
	unsigned mtu;    /* 0: PORT_USER_MTU; at most PORT_USER_MTU_MAX */
};
int port_user_open(struct port **port, const struct port_user_config *config, struct err *err);

struct port_socket_config {
	const char *path;
	bool server;   /* wait for the peer; it may come and go */
	bool datagram; /* SOCK_DGRAM, with @local as our own address */
	const char *local;
};
int port_socket_open(struct port **port, const struct port_socket_config *config, struct err *err);

int port_none_open(struct port **port, unsigned queues, struct err *err);

void port_close(struct port *port); /* NULL: nothing */

/* The name of the host's interface that @port is, or "". */
const char *port_interface(const struct port *port);

/*
 * A frame of @len bytes that was read from @queue and not delivered: the port keeps a copy for the
 * next who reads that queue, one for each. False: no memory. The calls for one queue come from one
 * thread at a time.
 */
bool port_keep(struct port *port, unsigned queue, const void *frame, size_t len);
/* Take it, once: its length, or 0. @frame has room for any that was kept; NULL: it is thrown away. */
size_t port_take_kept(struct port *port, unsigned queue, void *frame);

/* Throw away the frames that wait in @port, as far as there are some now. No datapath uses it. */
void port_drain(const struct port *port);

/* "tcp:HOSTADDR:PORT-GUESTADDR:PORT", addresses may be empty. -EINVAL with what was expected. */
int port_parse_forward(const char *text, struct port_forward *forward, struct err *err);

#endif
