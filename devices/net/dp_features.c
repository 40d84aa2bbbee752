/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/net/dp_features.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

/* Every kernel and every back-end that can serve a NIC of virtio 1.x has these. */
#define RINGS                                                             \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | \
	 BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_NET_F_MRG_RXBUF))
#define PACKED BIT64(VIRTIO_F_RING_PACKED)

/* The offloads of the first two are their port's: each port says what it has. */
const struct net_datapath_features net_datapath_features[NET_DATAPATHS] = {
	[NET_DATAPATH_VMM] = {.rings = RINGS | PACKED,
                              .offloads = NET_OFFLOADS,
                              .promised = RINGS | PACKED | NET_OFFLOADS},
	/* No kernel up to 6.18 has packed rings. */
	[NET_DATAPATH_VHOST_NET] = {.rings = RINGS | PACKED,
                                    .offloads = NET_OFFLOADS,
                                    .promised = RINGS | NET_OFFLOADS},
	/* Few back-ends know how to segment UDP. */
	[NET_DATAPATH_VHOST_USER] = {.rings = RINGS | PACKED,
                                     .offloads = NET_OFFLOADS,
                                     .promised = RINGS | PACKED | NET_OFFLOADS_USUAL},
};

const uint64_t net_features_of_absent_backend = RINGS | PACKED;
