/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offloads: the features of a virtio NIC that let a frame be left unfinished (virtio 1.2, 5.1.3):
 * its checksum not filled in, or several segments in one. As masks of feature bits.
 */
#ifndef TRIVM_DEVICES_NET_OFFLOADS_H
#define TRIVM_DEVICES_NET_OFFLOADS_H

#include <linux/virtio_net.h>

#include "vmm/util.h"

/* virtio 1.2 has no UDP segmentation yet (5.1.3 of 1.3), and headers before Linux 6.2 neither. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#define VIRTIO_NET_F_GUEST_USO6 55
#define VIRTIO_NET_F_HOST_USO   56
#endif

#define NET_GUEST_TSO                                                      \
	(BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6) | \
	 BIT64(VIRTIO_NET_F_GUEST_ECN))
#define NET_GUEST_USO (BIT64(VIRTIO_NET_F_GUEST_USO4) | BIT64(VIRTIO_NET_F_GUEST_USO6))
#define NET_HOST_TSO                                                     \
	(BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_HOST_TSO6) | \
	 BIT64(VIRTIO_NET_F_HOST_ECN))

/* What the driver may be handed unfinished. */
#define NET_GUEST_OFFLOADS                                                                \
	(BIT64(VIRTIO_NET_F_GUEST_CSUM) | NET_GUEST_TSO | BIT64(VIRTIO_NET_F_GUEST_UFO) | \
	 NET_GUEST_USO)

/* What it may hand out unfinished. */
#define NET_HOST_OFFLOADS                                                         \
	(BIT64(VIRTIO_NET_F_CSUM) | NET_HOST_TSO | BIT64(VIRTIO_NET_F_HOST_UFO) | \
	 BIT64(VIRTIO_NET_F_HOST_USO))

#endif
