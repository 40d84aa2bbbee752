/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dp_features: the datapaths that there are, and which virtio features each of them has. This table
 * is the only place that says so: what a datapath offers and is told, what a NIC offers that may be
 * switched, and what a fallback is judged by all come from it. The features that are not in it are
 * the NIC's own (net_own_features()) or not known here. VIRTIO_F_IN_ORDER, which newer kernels'
 * vhost-net and some back-ends have, is in no row: a driver that had negotiated it could go nowhere
 * else.
 */
#ifndef TRIVM_DEVICES_NET_DP_FEATURES_H
#define TRIVM_DEVICES_NET_DP_FEATURES_H

#include <stdint.h>

#include "devices/net/offloads.h"

enum net_datapath {
	NET_DATAPATH_VMM,
	NET_DATAPATH_VHOST_NET,
	NET_DATAPATH_VHOST_USER
};
#define NET_DATAPATHS (NET_DATAPATH_VHOST_USER + 1)

#define NET_OFFLOADS (NET_GUEST_OFFLOADS | NET_HOST_OFFLOADS)
/* Offloads that every kernel's tap has had since 2.6.27, and every usual back-end. */
#define NET_OFFLOADS_USUAL \
	(BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM) | NET_GUEST_TSO | NET_HOST_TSO)

struct net_datapath_features {
	/* How rings and headers look: whoever moves the packets has to know. */
	uint64_t rings;
	/* Those of its port, or of its back-end, that can be used through it. */
	uint64_t offloads;
	/*
	 * Of both: those that a NIC may count on which is switched there later, though nobody can
	 * ask the kernel or the back-end at the NIC's start.
	 */
	uint64_t promised;
};

/* Constant; by enum net_datapath. */
extern const struct net_datapath_features net_datapath_features[NET_DATAPATHS];

/*
 * What a NIC offers that begins with a vhost-user back-end that has not come: no offloads, for Open
 * vSwitch has none unless its user configures them. RING_PACKED is in it: the caller knows whether
 * the user wants it.
 */
extern const uint64_t net_features_of_absent_backend;

#endif
