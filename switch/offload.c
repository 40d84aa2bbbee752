/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the frame is copied out of the sender's memory, so that it stands still.
 *
 * Checksum only (5.1.6.2): the field at csum_start + csum_offset holds the sum of the pseudo
 * header; the sum from csum_start to the end, complemented, replaces it.
 *
 * Segments: csum_start is where TCP begins. Each segment has the frame's headers with its own
 * lengths, IPv4 id, sequence number and checksums; FIN and PSH stay with the last one, CWR with the
 * first (as a NIC does it). Headers are rebuilt in one buffer, payload is pointed to.
 */
#include "switch/offload.h"

#include <endian.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <string.h>

#include "devices/virtio/queue.h"

#define IPV6_HDR    40
#define TCP_HDR_MIN 20
#define PROTO_TCP   6

#define TCP_FIN 0x01
#define TCP_PSH 0x08
#define TCP_CWR 0x80

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v);
}

/* RFC 1071: the sum of 16-bit words, in network order, not folded. @len at most 64 KiB and some. */
static uint64_t sum(const uint8_t *p, size_t len)
{
	uint64_t s = 0;

	for (; len >= 4; p += 4, len -= 4) {
		uint32_t v;

		memcpy(&v, p, sizeof(v));
		s += be32toh(v); /* two words at once: 2^16 is 1 in this arithmetic */
	}
	if (len >= 2) {
		s += get16(p);
		p += 2;
		len -= 2;
	}
	return len ? s + (uint64_t)(*p << 8) : s;
}

static uint16_t fold(uint64_t s)
{
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return (uint16_t)s;
}

static bool emit_iov(const struct iovec *iov, unsigned nr, uint32_t len, unsigned queue,
                     offload_fn *emit, void *opaque)
{
	struct sw_frame f = {.iov = iov, .nr = nr, .len = len, .queue = queue};

	return emit(opaque, &f);
}

static int checksum(struct offload *o, const struct sw_frame *f, offload_fn *emit, void *opaque)
{
	uint32_t start = le16toh(f->hdr.csum_start);
	uint32_t at = start + le16toh(f->hdr.csum_offset);
	struct iovec iov = {o->frame, f->len};
	uint16_t value;

	if (at + 2 > f->len)
		return -EINVAL;
	value = (uint16_t)~fold(sum(o->frame + start, f->len - start));
	/* 0 would mean "none" to UDP, and is the same number as this to all others. */
	put16(o->frame + at, value ? value : 0xffff);
	return emit_iov(&iov, 1, f->len, f->queue, emit, opaque) ? 0 : 1;
}

/* Where things are in a frame to be cut. */
struct layout {
	bool v6;
	uint32_t l3, l4, payload;
	uint32_t mss;
	uint64_t pseudo; /* sum of the pseudo header but for the length */
};

static int find_layout(const struct offload *o, const struct sw_frame *f, struct layout *l)
{
	const uint8_t *p = o->frame;
	uint32_t type_at = 12;
	uint32_t doff;

	*l = (struct layout){
		.v6 = (f->hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) == VIRTIO_NET_HDR_GSO_TCPV6,
		.l4 = le16toh(f->hdr.csum_start),
		.mss = le16toh(f->hdr.gso_size),
	};
	while (type_at <= 16 &&
	       (get16(p + type_at) == ETH_P_8021Q || get16(p + type_at) == ETH_P_8021AD))
		type_at += 4;
	l->l3 = type_at + 2;
	if (l->mss == 0 || l->l4 < l->l3 + 20 || l->l4 + TCP_HDR_MIN > f->len ||
	    get16(p + type_at) != (l->v6 ? ETH_P_IPV6 : ETH_P_IP))
		return -EINVAL;
	if (l->v6) {
		if (l->l4 < l->l3 + IPV6_HDR || p[l->l3] >> 4 != 6)
			return -EINVAL;
		l->pseudo = sum(p + l->l3 + 8, 32);
	} else {
		if (p[l->l3] >> 4 != 4 || l->l3 + (p[l->l3] & 15) * 4u != l->l4 ||
		    p[l->l3 + 9] != PROTO_TCP)
			return -EINVAL;
		l->pseudo = sum(p + l->l3 + 12, 8);
	}
	l->pseudo += PROTO_TCP;
	doff = (p[l->l4 + 12] >> 4) * 4u;
	l->payload = l->l4 + doff;
	if (doff < TCP_HDR_MIN || l->payload > f->len || l->payload > OFFLOAD_HEADERS_MAX)
		return -EINVAL;
	return 0;
}

/* Make o->headers those of the segment with @len bytes from @offset of the payload. */
static void segment_headers(struct offload *o, const struct layout *l, uint32_t offset,
                            uint32_t len, bool last, unsigned nr)
{
	const uint8_t *payload = o->frame + l->payload + offset;
	uint8_t *h = o->headers, *ip = h + l->l3, *tcp = h + l->l4;
	uint32_t tcp_len = l->payload - l->l4 + len;
	uint64_t s;

	memcpy(h, o->frame, l->payload);
	if (l->v6) {
		put16(ip + 4, l->payload - l->l3 - IPV6_HDR + len);
	} else {
		put16(ip + 2, l->payload - l->l3 + len);
		put16(ip + 4, get16(ip + 4) + nr);
		put16(ip + 10, 0);
		put16(ip + 10, (uint16_t)~fold(sum(ip, l->l4 - l->l3)));
	}
	put32(tcp + 4, get32(tcp + 4) + offset);
	if (!last)
		tcp[13] &= (uint8_t) ~(TCP_FIN | TCP_PSH);
	if (nr)
		tcp[13] &= (uint8_t)~TCP_CWR;
	put16(tcp + 16, 0);
	s = l->pseudo + tcp_len + sum(tcp, l->payload - l->l4) + sum(payload, len);
	put16(tcp + 16, (uint16_t)~fold(s));
}

static int segments(struct offload *o, const struct sw_frame *f, offload_fn *emit, void *opaque)
{
	uint32_t offset = 0, total;
	struct layout l;
	unsigned nr = 0, all;

	if (find_layout(o, f, &l) < 0)
		return -EINVAL;
	total = f->len - l.payload;
	if (total / l.mss >= OFFLOAD_SEGMENTS_MAX)
		return -EINVAL;
	all = total ? (total + l.mss - 1) / l.mss : 1;
	do {
		uint32_t len = total - offset < l.mss ? total - offset : l.mss;
		struct iovec iov[2] = {{o->headers, l.payload},
		                       {o->frame + l.payload + offset, len}};

		segment_headers(o, &l, offset, len, offset + len == total, nr++);
		if (!emit_iov(iov, len ? 2 : 1, l.payload + len, f->queue, emit, opaque))
			return (int)(all - nr + 1);
		offset += len;
	} while (offset < total);
	return 0;
}

int offload_finish(struct offload *o, const struct sw_frame *f, offload_fn *emit, void *opaque)
{
	if (f->len > sizeof(o->frame) || iov_copy_out(f->iov, f->nr, 0, o->frame, f->len) != f->len)
		return -EINVAL;
	if (f->hdr.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return segments(o, f, emit, opaque);
	if (f->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		return checksum(o, f, emit, opaque);
	return -EINVAL;
}
