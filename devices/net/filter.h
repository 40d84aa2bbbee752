/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * filter: what the driver wants to receive (virtio 1.2, 5.1.6.5.1 to 5.1.6.5.3): promiscuous and
 * other modes, its address, tables of more addresses, VLAN ids.
 *
 * One thread at a time changes it (the NIC's lock); any number of datapath threads ask it for every
 * frame, without a lock.
 */
#ifndef TRIVM_DEVICES_NET_FILTER_H
#define TRIVM_DEVICES_NET_FILTER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_MAC_LEN     6
#define NET_FILTER_MACS 64 /* in both tables together; a longer table lets all of its kind in */
#define NET_VLANS       4096

/* All behind the counter is only read and written as single relaxed atomics. */
struct net_filter {
	atomic_uint sequence;           /* odd while it is being changed */
	atomic_uint modes;              /* BIT(enum net_filter_mode) */
	atomic_uint unicast, multicast; /* in macs: first the one, then the other */
	_Atomic uint64_t mac;           /* as a number, the first byte lowest */
	_Atomic uint64_t macs[NET_FILTER_MACS];
	atomic_uint vlans[NET_VLANS / 32];
};

/* Everything is let in, as a driver without VIRTIO_NET_F_CTRL_RX expects. @vlans: only ids that
 * net_filter_vlan() adds (VIRTIO_NET_F_CTRL_VLAN was negotiated). */
void net_filter_reset(struct net_filter *f, const uint8_t mac[NET_MAC_LEN], bool vlans);

/*
 * The driver's commands, without their headers; @data of @len bytes are a copy, whose content the
 * driver chose. Returns 0, or -EINVAL with nothing changed.
 */
int net_filter_rx(struct net_filter *f, uint8_t cmd, const uint8_t *data, size_t len);
int net_filter_address(struct net_filter *f, const uint8_t *data, size_t len);
int net_filter_vlan(struct net_filter *f, uint8_t cmd, const uint8_t *data, size_t len);

/* A list of VIRTIO_NET_CTRL_MAC_TABLE_SET: how many addresses the driver listed, and the first of
 * them, as many as a filter keeps. */
struct net_mac_list {
	uint32_t count;
	uint8_t macs[NET_FILTER_MACS * NET_MAC_LEN];
};

/* Replace both lists. If one does not fit, every address of its kind passes (5.1.6.5.2). */
void net_filter_table(struct net_filter *f, const struct net_mac_list *unicast,
                      const struct net_mac_list *multicast);

/* The address that net_filter_reset() or the driver (VIRTIO_NET_CTRL_MAC_ADDR_SET) has set. */
void net_filter_own(struct net_filter *f, uint8_t mac[NET_MAC_LEN]);

/* Is the frame that begins with these bytes (18 are enough) for this NIC? */
bool net_filter_passes(struct net_filter *f, const uint8_t *head, size_t len);

#endif
