/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/net/feature_names.h"

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>

#include "devices/net/offloads.h"

const char *net_feature_names(uint64_t mask, char *buf, size_t size)
{
	static const char *const names[64] = {
		[VIRTIO_NET_F_CSUM] = "CSUM",
		[VIRTIO_NET_F_GUEST_CSUM] = "GUEST_CSUM",
		[VIRTIO_NET_F_MTU] = "MTU",
		[VIRTIO_NET_F_MAC] = "MAC",
		[VIRTIO_NET_F_STATUS] = "STATUS",
		[VIRTIO_NET_F_CTRL_VQ] = "CTRL_VQ",
		[VIRTIO_NET_F_CTRL_RX] = "CTRL_RX",
		[VIRTIO_NET_F_CTRL_VLAN] = "CTRL_VLAN",
		[VIRTIO_NET_F_CTRL_RX_EXTRA] = "CTRL_RX_EXTRA",
		[VIRTIO_NET_F_GUEST_ANNOUNCE] = "GUEST_ANNOUNCE",
		[VIRTIO_NET_F_MQ] = "MQ",
		[VIRTIO_NET_F_CTRL_MAC_ADDR] = "CTRL_MAC_ADDR",
		[VIRTIO_F_RING_RESET] = "RING_RESET",
		[VIRTIO_NET_F_SPEED_DUPLEX] = "SPEED_DUPLEX",
		[VIRTIO_NET_F_GUEST_TSO4] = "GUEST_TSO4",
		[VIRTIO_NET_F_GUEST_TSO6] = "GUEST_TSO6",
		[VIRTIO_NET_F_GUEST_ECN] = "GUEST_ECN",
		[VIRTIO_NET_F_GUEST_UFO] = "GUEST_UFO",
		[VIRTIO_NET_F_HOST_TSO4] = "HOST_TSO4",
		[VIRTIO_NET_F_HOST_TSO6] = "HOST_TSO6",
		[VIRTIO_NET_F_HOST_ECN] = "HOST_ECN",
		[VIRTIO_NET_F_HOST_UFO] = "HOST_UFO",
		[VIRTIO_NET_F_MRG_RXBUF] = "MRG_RXBUF",
		[VIRTIO_RING_F_INDIRECT_DESC] = "INDIRECT_DESC",
		[VIRTIO_RING_F_EVENT_IDX] = "EVENT_IDX",
		[VIRTIO_F_VERSION_1] = "VERSION_1",
		[VIRTIO_F_RING_PACKED] = "RING_PACKED",
		[VIRTIO_NET_F_CTRL_GUEST_OFFLOADS] = "CTRL_GUEST_OFFLOADS",
		[VIRTIO_F_IN_ORDER] = "IN_ORDER",
		[VIRTIO_NET_F_GUEST_USO4] = "GUEST_USO4",
		[VIRTIO_NET_F_GUEST_USO6] = "GUEST_USO6",
		[VIRTIO_NET_F_HOST_USO] = "HOST_USO",
	};
	size_t at = 0;

	buf[0] = '\0';
	for (unsigned i = 0; i < 64; i++)
		if ((mask >> i & 1) && names[i] && at < size)
			at += (size_t)snprintf(buf + at, size - at, "%s%s", at ? ", " : "",
			                       names[i]);
	return buf;
}
