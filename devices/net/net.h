/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * net: the virtio network device (virtio 1.2, 5.1) without its datapath: features, configuration,
 * control queue, link. Queues 2i and 2i + 1 are handed to a datapath (datapath.h); the control
 * queue is served here.
 */
#ifndef TRIVM_DEVICES_NET_NET_H
#define TRIVM_DEVICES_NET_NET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/net/datapath.h"
#include "devices/net/filter.h"
#include "devices/net/offloads.h"
#include "devices/virtio/device.h"
#include "vmm/memory.h"

#define NET_QUEUE_MAX  1024 /* the largest queue size */
#define NET_CTRL_QUEUE 64

struct net_config {
	const char *name; /* "net0"; borrowed */
	uint8_t mac[NET_MAC_LEN];
	uint16_t mtu;        /* 0: not said to the driver */
	unsigned pairs;      /* queue pairs, 1..32 */
	uint16_t queue_size; /* the largest that the driver may choose */
	uint64_t masked;     /* features not to offer, though the datapath could */
};

struct net {
	struct virtio_device dev;
	struct net_config config;
	struct datapath *dp; /* owned */
	struct datapath_host host;

	/* dev->lock is taken first where both are. The datapath is called with it held. */
	pthread_mutex_t lock;
	bool dp_setup;
	bool moving; /* rings go from one datapath to another: net_switch.c */
	bool ctrl_on;
	unsigned ctrl_index;
	struct virtq ctrl;
	unsigned pairs_used;
	uint64_t offloads; /* what the driver may be handed at the moment (NET_GUEST_OFFLOADS) */
	struct datapath_stats past[VIRTIO_QUEUES_MAX]; /* of datapaths that it had before */
	uint16_t status;                               /* VIRTIO_NET_S_* */
	/* The link is up if both are: */
	bool plugged; /* net_set_link() */
	bool carrier; /* the datapath has a far side, or there is a cover for that */
	void (*cover)(void *opaque, bool up); /* net_cover() */
	void *cover_opaque;
	bool uncovered; /* the cover could not help: until there is a carrier again */
	struct net_filter filter;
};

/* @dp becomes the NIC's. Main thread; then give net->dev to a transport. */
void net_init(struct net *net, const struct net_config *config, struct datapath *dp,
              const struct memory *mem);
void net_destroy(struct net *net); /* idempotent; main thread, vCPUs stopped */

/*
 * Plug the cable in or pull it out. The driver is told. False: it was so. Any thread but the
 * datapath's own. net_link(): what the driver sees, which is also down while the datapath has no
 * far side.
 */
bool net_set_link(struct net *net, bool up);
bool net_link(struct net *net);
bool net_has_carrier(struct net *net); /* has the datapath a far side? */

/*
 * While there is a @cover the driver is not told when the datapath loses its far side: @cover is,
 * on whatever thread noticed it, and sees to it that another datapath is found, or uncovers.
 * It is told when the far side is back, too. It must not take a lock. NULL: none, from the moment
 * that this returns. Main thread.
 */
void net_cover(struct net *net, void (*cover)(void *opaque, bool up), void *opaque);

/*
 * The cover cannot help for now: until there is a far side again, the driver sees the link as it is.
 * False: it sees that already, or there is a far side. Main thread.
 */
bool net_uncover(struct net *net);

/*
 * Has a vhost-user back-end that is not spoken with any more rings of the NIC's? Then no other
 * datapath can have them, and @err says what to do. Any thread but the datapath's own.
 */
bool net_held(struct net *net, struct err *err);

/*
 * The user wants the driver to reset the device: DEVICE_NEEDS_RESET. Rings that a back-end has not
 * given back count as given up, whatever that process still does to guest memory: the rings that the
 * driver sets up then are others, with other eventfds. 0 or a negative errno. Main thread.
 */
int net_reset(struct net *net, struct err *err);

/* What it is at the moment, for people. Any thread but the datapath's own. */
struct net_status {
	const char *datapath;
	uint8_t mac[NET_MAC_LEN]; /* the configured one */
	bool link;                /* up for the driver: both of the next */
	bool plugged;             /* net_set_link() */
	bool carrier;             /* the datapath has a far side */
	bool driver;              /* a driver runs it */
	unsigned pairs, pairs_used;
	pid_t backend; /* the process that has the rings, if another one has; 0 */
	/* A process that is not spoken with any more has rings; held_by: which, 0: not known. */
	bool held;
	pid_t held_by;
};
void net_status(struct net *net, struct net_status *status);

/*
 * Counts of ring @index. -ENOTSUP: the datapath that it has now does not count; they are those of
 * the ones before it. -EINVAL: no such ring. As above.
 */
int net_stats(struct net *net, unsigned index, struct datapath_stats *stats);

#endif
