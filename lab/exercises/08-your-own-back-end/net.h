/* SPDX-License-Identifier: BSD-2-Clause */
/* What answers pings: ARP for 10.8.0.1, and ICMP echo. Nothing in it is about virtio. */
#ifndef NET_H
#define NET_H

#include <stdint.h>
#include <string.h>

#define NET_MAC "\x52\x54\x00\x08\x08\x08"
#define NET_IP  "\x0a\x08\x00\x01"

static uint16_t net_checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Make the answer to the frame @f of @len bytes in its place. Its length; 0: no answer. */
static size_t net_answer(uint8_t *f, size_t len)
{
	size_t header, total;
	uint16_t sum;

	if (len < 42)
		return 0;
	if (!memcmp(f + 12, "\x08\x06", 2) && !memcmp(f + 20, "\0\1", 2) &&
	    !memcmp(f + 38, NET_IP, 4)) {
		memcpy(f + 32, f + 22, 10); /* who asked is who is told */
		memcpy(f + 22, NET_MAC NET_IP, 10);
		f[21] = 2;
	} else if (!memcmp(f + 12, "\x08\x00", 2) && f[23] == 1 && !memcmp(f + 30, NET_IP, 4)) {
		header = 4 * (f[14] & 15);
		total = (size_t)f[16] << 8 | f[17];
		if (header < 20 || total < header + 8 || 14 + total > len || f[14 + header] != 8)
			return 0;
		memcpy(f + 30, f + 26, 4);
		memcpy(f + 26, NET_IP, 4);
		f[14 + header] = 0; /* echo reply */
		f[16 + header] = f[17 + header] = 0;
		sum = net_checksum(f + 14 + header, total - header);
		f[16 + header] = (uint8_t)(sum >> 8);
		f[17 + header] = (uint8_t)sum;
	} else {
		return 0;
	}
	memcpy(f, f + 6, 6);
	memcpy(f + 6, NET_MAC, 6);
	return len;
}

#endif
