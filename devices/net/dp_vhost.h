/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dp_vhost: the datapaths that somebody else runs, on top of vhost (devices/vhost/vhost.h).
 *
 *	NIC (net.h) -> struct datapath -> struct dp_vhost -> one or more struct vhost -> a kind
 *
 * What they have in common is in dp_vhost.c: rings to vhost rings, eventfds, errors, stopping. What
 * differs - where the vhost devices come from, features, offloads, the link - is a table of a few
 * calls, struct dp_vhost_kind.
 */
#ifndef TRIVM_DEVICES_NET_DP_VHOST_H
#define TRIVM_DEVICES_NET_DP_VHOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/net/datapath.h"
#include "devices/net/port.h"
#include "devices/vhost/vhost.h"
#include "vmm/err.h"
#include "vmm/log.h"
#include "vmm/loop.h"

#define DP_VHOST_RINGS_MAX (2 * PORT_QUEUES_MAX)

struct dp_vhost;

/* As the datapath_ops of the same name. Those that say so may be NULL. */
struct dp_vhost_kind {
	const char *name;
	uint64_t (*features)(const struct dp_vhost *d);
	int (*set_offloads)(struct dp_vhost *d, uint64_t guest_offloads); /* NULL: not possible */
	int (*set_pairs)(struct dp_vhost *d, unsigned pairs);             /* NULL: nothing to do */
	void (*set_link)(struct dp_vhost *d, bool up);
	/* Close what the kind opened and free what it allocated, @d too. No ring runs. */
	void (*destroy)(struct dp_vhost *d);
};

struct dp_vhost_ring {
	struct dp_vhost *d;
	bool runs;                  /* d->lock */
	struct virtq_config config; /* of the ring that runs */
	int err_fd;                 /* -1: nobody can tell us */
	struct loop_source err;
};

/* Embedded in the kind's own struct. */
struct dp_vhost {
	struct datapath dp;
	/* Constant after dp_vhost_init(). */
	const struct dp_vhost_kind *kind;
	const char *name; /* the NIC's */
	unsigned pairs;
	/* Ring i of the NIC is ring i % n of device i / n, where n is what each of them has. */
	unsigned nr_devices;
	struct vhost *devices[PORT_QUEUES_MAX];
	uint64_t passed_on; /* negotiated features that the vhost devices are told */

	bool is_setup;
	uint64_t negotiated;
	const struct memory *mem;
	struct datapath_host host;
	struct log_limit limit;

	pthread_mutex_t lock; /* innermost: whether rings run, for the main loop's reports */
	struct dp_vhost_ring rings[DP_VHOST_RINGS_MAX];
};

/*
 * Begin: @d is zero but for what the kind filled in (kind, name, pairs, devices, passed_on).
 * @watch: the main loop, which then hears of broken rings; NULL: the kind has no err eventfds. 0 or
 * a negative errno, and then only dp_vhost_exit() is left to do. Main thread.
 */
int dp_vhost_init(struct dp_vhost *d, struct loop *watch, struct err *err);
/* The end of what dp_vhost_init() began. Main thread; idempotent. */
void dp_vhost_exit(struct dp_vhost *d);

/* The vhost ring that serves @ring of the NIC. */
struct vhost *dp_vhost_ring_of(struct dp_vhost *d, unsigned ring, unsigned *index);

/* --- "vhost-net": the host's kernel, to a tap. --- */

struct datapath_vhost_net_config {
	const char *name;  /* the NIC's; borrowed */
	struct port *port; /* a tap; borrowed */
	struct loop *loop; /* the main loop */
	unsigned pairs;
	unsigned poll_us; /* how long the kernel looks for work before it sleeps */
	bool packed;      /* the user wants packed rings: an error if the kernel has none */
};

/* 0 or a negative errno with cause and remedy. Main thread. */
int datapath_vhost_net_create(struct datapath **dp, const struct datapath_vhost_net_config *config,
                              struct err *err);

/*
 * Which of the table's ring features (dp_features.h) this host's vhost-net has, without a tap. 0 or
 * a negative errno: the kernel has no /dev/vhost-net, or we may not open it. Main thread.
 */
int datapath_vhost_net_ask(uint64_t *features);

#endif
