/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames out of a guest's transmit ring. Up to SW_BATCH chains are popped,
 * their first bytes are fetched into the cache while the next ones are popped, then each header is
 * read once and checked, and the frames go through the fabric. When it returns they have been
 * copied wherever they go; the chains are given back in order, in one update of the ring. While the
 * ring is active its driver is asked not to kick.
 *
 * The fabric may deal with fewer frames than there are: because their receiver is full, or because
 * other ports are to have their turn. The remaining chains are put back as if they had not been
 * popped, and popped again in a later turn.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <string.h>

#include "switch/guest_ring.h"
#include "switch/sw.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define SW_COST_CHAIN 16 /* of a chain and of each of its buffers, as SW_COST_MAX */

/* What a driver may leave to us, and only if it negotiated it (5.1.6.2). The copy is judged. */
static bool header_ok(const struct guest *g, struct sw_frame *f)
{
	const struct virtio_net_hdr_v1 *h = &f->hdr;
	uint16_t start = le16toh(h->csum_start);

	if (h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!(g->offloads & BIT64(VIRTIO_NET_F_CSUM)) || start < SW_FRAME_MIN ||
		    start + (uint32_t)le16toh(h->csum_offset) + 2 > f->len)
			return false;
	}
	switch (h->gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_NONE:
		return !(h->gso_type & VIRTIO_NET_HDR_GSO_ECN);
	case VIRTIO_NET_HDR_GSO_TCPV4:
		if (!(g->offloads & BIT64(VIRTIO_NET_F_HOST_TSO4)))
			return false;
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		if (!(g->offloads & BIT64(VIRTIO_NET_F_HOST_TSO6)))
			return false;
		break;
	default:
		return false;
	}
	return h->gso_size != 0 && le16toh(h->hdr_len) <= f->len &&
	       h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

/* Read the header in front of @c and make @f the frame behind it. False: drop it. */
static bool frame_of(const struct guest *g, struct virtq_chain *c, struct sw_frame *f)
{
	uint32_t skip = g->hdr_len;
	struct iovec *iov = c->iov;
	uint64_t head;

	if (unlikely(c->nr_in || c->out_len < skip + SW_FRAME_MIN ||
	             c->out_len > skip + SW_FRAME_MAX))
		return false;
	f->len = c->out_len - skip;
	f->nr = c->nr_out;
	if (likely(iov[0].iov_len > skip)) {
		memcpy(&head, iov[0].iov_base, sizeof(head));
		f->hdr.csum_offset = 0;
		if (head)
			memcpy(&f->hdr.csum_offset, (uint8_t *)iov[0].iov_base + 8, 2);
	} else {
		uint8_t buf[10];

		iov_copy_out(iov, c->nr_out, 0, buf, sizeof(buf));
		memcpy(&head, buf, sizeof(head));
		memcpy(&f->hdr.csum_offset, buf + 8, 2);
		while (f->nr && iov->iov_len <= skip) {
			skip -= (uint32_t)iov->iov_len;
			iov++;
			f->nr--;
		}
	}
	memcpy(&f->hdr, &head, sizeof(head));
	/* Behind the last part with bytes there may be only empty ones. */
	iov->iov_base = (uint8_t *)iov->iov_base + skip;
	iov->iov_len -= skip;
	f->iov = iov;
	/* flags and gso_type; the rest has no meaning without them. */
	f->offload = head & 0xffff;
	if (likely(!f->offload)) {
		f->hdr = (struct virtio_net_hdr_v1){0};
		return true;
	}
	f->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	return header_ok(g, f);
}

/* Make frames of the @n chains of the batch; sw->chain_of[] says which. How many. */
static unsigned frames_of(struct guest_ring *r, unsigned n)
{
	struct guest *g = r->guest;
	struct sw *sw = g->sw;
	unsigned frames = 0;

	for (unsigned i = 0; i < n; i++) {
		struct sw_frame *f = &sw->frames[frames];

		if (unlikely(!frame_of(g, &sw->chains[i], f))) {
			g->port.counters.rx_malformed++;
			continue;
		}
		f->queue = r->index / 2;
		sw->chain_of[frames++] = (uint8_t)i;
	}
	return frames;
}

/* Forward the batch of @n chains and add to *@cost. How many of them were dealt with. */
static unsigned forward(struct guest_ring *r, unsigned n, uint32_t *cost)
{
	struct guest *g = r->guest;
	struct sw *sw = g->sw;
	unsigned frames = frames_of(r, n), done = 0;

	while (done < frames) {
		unsigned k = fabric_forward(&sw->fabric, &g->port, sw->frames + done, frames - done,
		                            &r->resume);

		*cost += sw->fabric.cost;
		done += k;
		if (k || r->resume)
			r->blocked_since = 0;
		if (likely(done == frames))
			break;
		if (!sw->fabric.full || !sw_waited(sw, &r->blocked_since))
			return sw->chain_of[done];
	}
	r->blocked_since = 0;
	return n;
}

unsigned guest_ring_poll(struct guest_ring *r, uint32_t *cost)
{
	struct sw *sw = r->guest->sw;
	struct virtq *q = &r->q;
	unsigned n = 0, nr_iov = 0, done;
	int rc = 0;

	*cost = 0;
	while (n < SW_BATCH && nr_iov + VIRTQ_CHAIN_MAX <= SW_BATCH_IOV) {
		struct virtq_chain *c = &sw->chains[n];

		rc = virtq_pop(q, c, sw->iov + nr_iov, VIRTQ_CHAIN_MAX);
		if (rc <= 0)
			break;
		prefetch_read(c->iov[0].iov_base);
		prefetch_read((uint8_t *)c->iov[0].iov_base + CACHE_LINE);
		nr_iov += c->nr_out + c->nr_in;
		n++;
	}
	/* A disabled ring is emptied without effect ("Ring states"). */
	if (unlikely(!r->enabled))
		r->guest->port.counters.rx_disabled += n;
	done = r->enabled && n ? forward(r, n, cost) : n;
	for (unsigned i = n; i > done; i--)
		virtq_unpop(q, &sw->chains[i - 1]);
	for (unsigned i = 0; i < done; i++)
		guest_ring_push(r, &sw->chains[i], 0);
	if (done && guest_ring_flush(r))
		guest_ring_call(r);
	/* What popping costs: frames that nobody gets are not free. */
	*cost += (n + nr_iov) * SW_COST_CHAIN;
	if (unlikely(rc < 0))
		guest_ring_break(r);
	return done || !r->resume ? done : 1;
}

bool guest_ring_arm(struct guest_ring *r)
{
	if (!virtq_kick_enable(&r->q))
		return false;
	virtq_kick_disable(&r->q);
	return true;
}
