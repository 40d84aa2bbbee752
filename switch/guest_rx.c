/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames into a guest's receive ring. Buffers for all frames of the batch are
 * popped first and fetched for writing; then one copy from the sender's buffers into the
 * receiver's. A frame takes as many chains as it needs (VIRTIO_NET_F_MRG_RXBUF) or exactly one.
 * Buffers that no frame needed are put back.
 *
 * Waiting for buffers. If the fabric allows it, a batch that does not fit stops at the first frame
 * without room: the receiver is asked to kick, and the sender's remaining chains are put back.
 * Otherwise receive rings' kicks are off.
 *
 * Offloads pass through as they are to a receiver that negotiated them. One that did not gets the
 * frame finished by offload.c: checksum computed, segments made, as long as there are buffers.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "switch/guest_ring.h"
#include "switch/sw.h"
#include "vmm/endian.h"
#include "vmm/util.h"

/* Make room behind the last chain by moving all to the front. */
static void stash_compact(struct stash *s)
{
	unsigned nr_iov = 0;

	memmove(s->chain, s->chain + s->first, s->nr * sizeof(s->chain[0]));
	for (unsigned i = 0; i < s->nr; i++) {
		struct virtq_chain *c = &s->chain[i];

		memmove(s->iov + nr_iov, c->iov, c->nr_in * sizeof(c->iov[0]));
		c->iov = s->iov + nr_iov;
		nr_iov += c->nr_in;
	}
	s->nr_iov = nr_iov;
	s->first = 0;
}

/*
 * Pop buffers until there are @want chains. 0; -EAGAIN: there are no more to be had; -EMSGSIZE:
 * nobody needs that many; -EPROTO: the ring is broken.
 */
static int stash_fill(struct stash *s, struct guest_ring *r, unsigned want)
{
	while (s->nr < want) {
		struct virtq_chain *c;
		int rc;

		if (unlikely(s->first + s->nr == STASH_CHAINS ||
		             s->nr_iov + VIRTQ_CHAIN_MAX > STASH_IOV)) {
			stash_compact(s);
			if (s->nr == STASH_CHAINS || s->nr_iov + VIRTQ_CHAIN_MAX > STASH_IOV)
				return -EMSGSIZE;
		}
		c = &s->chain[s->first + s->nr];
		rc = virtq_pop(&r->q, c, s->iov + s->nr_iov, VIRTQ_CHAIN_MAX);
		if (rc <= 0)
			return rc ? rc : -EAGAIN;
		prefetch_write(c->iov[0].iov_base);
		prefetch_write((uint8_t *)c->iov[0].iov_base + CACHE_LINE);
		s->nr_iov += c->nr_out + c->nr_in;
		s->nr++;
		if (unlikely(c->nr_out)) {
			r->q.broken = "a receive buffer that is readable";
			return -EPROTO;
		}
	}
	return 0;
}

/* Put back what was not used, the newest first. */
static void stash_return(struct stash *s, struct guest_ring *r)
{
	while (s->nr)
		virtq_unpop(&r->q, &s->chain[s->first + --s->nr]);
	s->first = s->nr_iov = 0;
}

/* Copy a frame behind the header into @dst, of which @skip bytes are taken. */
static void copy_frame(const struct iovec *dst, unsigned nr_dst, size_t skip,
                       const struct sw_frame *f)
{
	size_t offset = skip, left = f->len;
	unsigned d = 0;

	for (unsigned i = 0; i < f->nr && left; i++) {
		const uint8_t *from = f->iov[i].iov_base;
		size_t len = min_u64(f->iov[i].iov_len, left);

		left -= len;
		while (len && d < nr_dst) {
			size_t part = min_u64(len, dst[d].iov_len - offset);

			memcpy((uint8_t *)dst[d].iov_base + offset, from, part);
			from += part;
			len -= part;
			offset += part;
			if (offset == dst[d].iov_len) {
				offset = 0;
				d++;
			}
		}
	}
}

/*
 * The header in front of a frame. Put together in registers: one that was stored piece by piece and
 * loaded as a whole would have to wait for these stores, and they for all stores before them, which
 * are those to the buffers of other frames, in another processor's cache.
 */
static inline void put_header(uint8_t *to, const struct sw_frame *f, unsigned k, uint32_t hdr_len)
{
	uint64_t head = 0;
	uint32_t tail = k << 16;

	_Static_assert(offsetof(struct virtio_net_hdr_v1, num_buffers) == 10, "behind csum_offset");
	if (unlikely(f->offload)) {
		memcpy(&head, &f->hdr, sizeof(head));
		tail |= le16toh(f->hdr.csum_offset);
	}
	tail = htole32(tail);
	memcpy(to, &head, sizeof(head));
	if (likely(hdr_len == SW_HDR))
		memcpy(to + sizeof(head), &tail, sizeof(tail));
	else
		memcpy(to + sizeof(head), &tail, hdr_len - sizeof(head));
}

/* One frame into the @k oldest chains of the stash, which hold it; give them to the driver. */
static void put_frame(const struct guest *g, struct guest_ring *r, struct stash *s,
                      const struct sw_frame *f, unsigned k)
{
	struct virtq_chain *c = &s->chain[s->first];
	uint32_t need = g->hdr_len + f->len;

	if (likely(c->iov[0].iov_len >= need && f->nr == 1)) {
		uint8_t *to = c->iov[0].iov_base;

		put_header(to, f, k, g->hdr_len);
		memcpy(to + g->hdr_len, f->iov[0].iov_base, f->len);
		guest_ring_push(r, c, need);
	} else {
		/* The chains' iovecs follow each other in the stash. */
		const struct iovec *dst = c->iov;
		unsigned nr_dst = (unsigned)(s->chain[s->first + k - 1].iov +
		                             s->chain[s->first + k - 1].nr_in - dst);
		size_t skip = g->hdr_len;
		uint8_t hdr[SW_HDR];

		put_header(hdr, f, k, g->hdr_len);
		iov_copy_in(dst, nr_dst, 0, hdr, g->hdr_len);
		while (nr_dst && skip >= dst->iov_len) {
			skip -= dst->iov_len;
			dst++;
			nr_dst--;
		}
		copy_frame(dst, nr_dst, skip, f);
		for (unsigned i = 0; i < k; i++) {
			uint32_t part = (uint32_t)min_u64(need, c[i].in_len);

			guest_ring_push(r, &c[i], part);
			need -= part;
		}
	}
	s->first += k;
	s->nr -= k;
}

/* How many of the oldest chains @need bytes take; or stash_fill()'s errors. */
static int chains_for(const struct guest *g, struct guest_ring *r, struct stash *s, uint32_t need)
{
	uint64_t room = 0;
	unsigned k = 0;

	while (room < need) {
		int rc = k && !g->mrg_rxbuf ? -EMSGSIZE : stash_fill(s, r, k + 1);

		if (rc < 0)
			return rc;
		room += s->chain[s->first + k++].in_len;
	}
	/* The header's number of buffers has to be in the first one. */
	if (s->chain[s->first].in_len < g->hdr_len) {
		r->q.broken = "a receive buffer too short for a header";
		return -EPROTO;
	}
	return (int)k;
}

/* Does the driver take the frame with its offloads as they are? */
static bool takes_offload(const struct guest *g, const struct sw_frame *f)
{
	uint64_t need = BIT64(VIRTIO_NET_F_GUEST_CSUM);

	switch (f->hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		need |= BIT64(VIRTIO_NET_F_GUEST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		need |= BIT64(VIRTIO_NET_F_GUEST_TSO6);
		break;
	}
	if (f->hdr.gso_type & VIRTIO_NET_HDR_GSO_ECN)
		need |= BIT64(VIRTIO_NET_F_GUEST_ECN);
	return (g->offloads & need) == need;
}

/* Where a frame that is being finished goes. */
struct target {
	struct guest *g;
	struct guest_ring *r;
	struct stash *s;
	bool may_wait;
	bool may_stop;           /* the caller counts what does not fit */
	uint64_t packets, bytes; /* put; counted once a batch */
};

/*
 * One frame. 0: dealt with; -EAGAIN, if it may wait: there are not enough buffers, and the driver
 * kicks when it adds some; -EAGAIN or -EPROTO, if it may stop: no further frame has room.
 */
static int put(struct target *t, const struct sw_frame *f)
{
	struct sw_counters *c = &t->g->port.counters;
	int k;

	for (;;) {
		k = chains_for(t->g, t->r, t->s, t->g->hdr_len + f->len);
		if (likely(k > 0))
			break;
		if (k == -EAGAIN && t->may_wait) {
			/* All are popped now, so that any further one makes the driver kick. */
			if (t->g->sw->poll_us == SW_POLL_FOREVER || !virtq_kick_enable(&t->r->q))
				return -EAGAIN;
			virtq_kick_disable(&t->r->q);
			continue;
		}
		if (t->may_stop && k != -EMSGSIZE)
			return k;
		if (k == -EMSGSIZE)
			c->tx_size++;
		else if (k == -EAGAIN)
			c->tx_full++;
		else
			c->tx_down++; /* the driver broke the ring */
		return 0;
	}
	put_frame(t->g, t->r, t->s, f, (unsigned)k);
	t->packets++;
	t->bytes += f->len;
	return 0;
}

/* Segments of a frame: there is no waiting between them, and none is made that has no room. */
static bool put_finished(void *opaque, const struct sw_frame *f)
{
	struct target *t = opaque;

	return put(t, f) == 0;
}

/* A frame whose offloads the driver does not take. What does not fit is dropped and counted. */
static void put_offload(struct target *t, const struct sw_frame *f)
{
	int left;

	t->may_stop = true;
	left = offload_finish(&t->g->sw->offload, f, put_finished, t);
	t->may_stop = false;
	if (left < 0)
		t->g->port.counters.tx_offload++;
	else
		t->g->port.counters.tx_full += (unsigned)left;
}

static unsigned deliver_all(struct target *t, struct sw_frame *const *frames, unsigned n,
                            bool may_wait)
{
	for (unsigned i = 0; i < n; i++) {
		if (likely(!frames[i]->offload) || takes_offload(t->g, frames[i])) {
			t->may_wait = may_wait;
			if (unlikely(put(t, frames[i]) < 0))
				return i;
			continue;
		}
		t->may_wait = false;
		put_offload(t, frames[i]);
	}
	return n;
}

/* --- Which queue --- */

static uint32_t read32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/*
 * The same number for all frames of a flow, in both directions: addresses and ports as far as there
 * are some. A flow's frames then stay in order whatever queues their sender takes, and the flows of
 * one sender are spread over the receiver's processors.
 */
static uint32_t flow_hash(const struct sw_frame *f)
{
	uint8_t h[64] = {0};
	uint32_t a = 0;
	unsigned l4 = 0;

	iov_copy_out(f->iov, f->nr, 0, h, f->len < sizeof(h) ? f->len : sizeof(h));
	if (h[12] == 0x08 && h[13] == 0x00 && h[14] >> 4 == 4) {
		a = read32(h + 26) ^ read32(h + 30);
		/* Only a fragment's first one has ports. */
		if ((h[23] == 6 || h[23] == 17) && !((h[20] & 0x3f) | h[21]))
			l4 = 14 + (h[14] & 15) * 4u;
	} else if (h[12] == 0x86 && h[13] == 0xdd) {
		for (unsigned i = 22; i < 54; i += 4)
			a ^= read32(h + i);
		if (h[20] == 6 || h[20] == 17)
			l4 = 54;
	} else {
		for (unsigned i = 0; i < 12; i += 2)
			a ^= (uint32_t)(h[i] << 8 | h[i + 1]);
	}
	if (l4 && l4 + 4 <= sizeof(h))
		a ^= (uint32_t)(h[l4] << 8 | h[l4 + 1]) ^ (uint32_t)(h[l4 + 2] << 8 | h[l4 + 3]);
	a *= 0x9e3779b1u;
	return a >> 16;
}

/* Deliver frames into @r, as struct sw_port_ops says. */
static unsigned deliver_into(struct guest *g, struct guest_ring *r, struct sw_frame *const *frames,
                             unsigned n, bool may_wait)
{
	struct target t = {.g = g, .r = r, .s = &g->sw->stash};
	struct sw_port *port = &g->port;
	struct stash *s = t.s;
	unsigned done;

	stash_fill(s, r, n);
	done = deliver_all(&t, frames, n, may_wait);
	if (unlikely(r->q.broken)) {
		s->first = s->nr = s->nr_iov = 0;
		port->counters.tx_down += t.packets; /* the driver is not shown them any more */
		guest_ring_break(r);
		return n;
	}
	port->counters.tx_packets += t.packets;
	port->counters.tx_bytes += t.bytes;
	if (t.packets)
		port->stuck = false;
	stash_return(s, r);
	if (guest_ring_flush(r))
		guest_ring_call(r);
	return done;
}

static unsigned guest_deliver(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
                              bool may_wait)
{
	struct guest *g = container_of(port, struct guest, port);
	unsigned done = 0;

	if (g->nr_receive == 1)
		return deliver_into(g, g->receive[0], frames, n, may_wait);
	/* Frames that follow each other and go to one queue, together. A ring may break. */
	while (done < n && g->nr_receive) {
		unsigned queue = flow_hash(frames[done]) % g->nr_receive, k = 1, got;

		while (done + k < n && flow_hash(frames[done + k]) % g->nr_receive == queue)
			k++;
		got = deliver_into(g, g->receive[queue], frames + done, k, may_wait);
		done += got;
		if (got < k)
			return done;
	}
	port->counters.tx_down += n - done;
	return n;
}

const struct sw_port_ops guest_port_ops = {
	.deliver = guest_deliver,
};
