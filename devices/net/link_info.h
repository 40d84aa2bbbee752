/* SPDX-License-Identifier: BSD-2-Clause */
/* link_info: what the kernel says of one of the host's network interfaces (rtnetlink(7)). */
#ifndef TRIVM_DEVICES_NET_LINK_INFO_H
#define TRIVM_DEVICES_NET_LINK_INFO_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

#define LINK_NOBODY UINT32_MAX

struct link_info {
	unsigned index;
	unsigned flags;  /* IFF_UP ... */
	unsigned master; /* index of the bridge it is on, or 0 */
	unsigned mtu;    /* bytes behind the Ethernet header */
	char kind[32];   /* "tun", "bridge", "macvtap" ...; "" : hardware or loopback */

	unsigned char address[6];
	bool counted; /* the next line is true */
	uint64_t rx_packets, rx_bytes, rx_dropped, tx_packets, tx_bytes, tx_dropped;

	/* Of a "tun", where the kernel tells (Linux 4.18 and later). */
	bool tun_known;
	uint8_t tun_type; /* IFF_TUN or IFF_TAP */
	bool tun_multi_queue;
	uint32_t tun_owner, tun_group; /* LINK_NOBODY: none */
	unsigned tun_queues;           /* that programs have open, in use or detached */
};

/*
 * @name in the network namespace of the calling thread. 0, -ENODEV: there is no such interface, or
 * another negative errno. Needs no privilege and no /sys. Any thread.
 */
int link_info_get(const char *name, struct link_info *info);

#endif
