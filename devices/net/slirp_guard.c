/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: only what libslirp itself takes for TCP matters. It knows no VLAN tags. Of
 * IPv4 it reads the protocol and the header's length as they are here, and puts fragments together.
 * Of IPv6 it reads the first "next header"; fragments are refused all the same, as later versions
 * may know them.
 */
#include "devices/net/slirp_guard.h"

#include <linux/if_ether.h>
#include <netinet/in.h>

#define IPV6_HDR     40
#define TCP_HDR      20
#define TCP_FLAGS    13
#define TCP_URG      0x20
#define IP_FRAGMENTS 0x3fff /* more fragments, and the offset */

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static bool tcp_passes(const uint8_t *tcp, size_t len)
{
	return len >= TCP_HDR && !(tcp[TCP_FLAGS] & TCP_URG);
}

bool slirp_guard_passes(const uint8_t *frame, size_t len)
{
	const uint8_t *ip = frame + ETH_HLEN;
	size_t left = len - ETH_HLEN, header;

	if (len < ETH_HLEN)
		return false;
	switch (get16(frame + 12)) {
	case ETH_P_IP:
		if (left < 20)
			return true; /* libslirp drops it: too short for a header */
		header = (ip[0] & 15) * 4u;
		if (ip[9] != IPPROTO_TCP)
			return true;
		return header >= 20 && header <= left && !(get16(ip + 6) & IP_FRAGMENTS) &&
		       tcp_passes(ip + header, left - header);
	case ETH_P_IPV6:
		if (left < IPV6_HDR)
			return true;
		if (ip[6] == IPPROTO_FRAGMENT)
			return left > IPV6_HDR && ip[IPV6_HDR] != IPPROTO_TCP;
		return ip[6] != IPPROTO_TCP || tcp_passes(ip + IPV6_HDR, left - IPV6_HDR);
	default:
		return true;
	}
}
