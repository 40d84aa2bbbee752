/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a guest's rings.
 *
 * Out of a transmit ring. Up to SW_BATCH chains are popped, their first bytes are fetched into the
 * cache while the next ones are popped, then each header is read once and checked, and the frames
 * go through the fabric. When it returns they have been copied wherever they go; the chains are
 * given back in order, in one update of the ring. While the ring is active its driver is told not
 * to kick.
 *
 * Into a receive ring. Buffers for all frames of the batch are popped first and fetched for
 * writing; then one copy from the sender's buffers into the receiver's. A frame takes as many
 * chains as it needs (VIRTIO_NET_F_MRG_RXBUF) or exactly one. What is left over is put back.
 *
 * Waiting for buffers. If the fabric allows it, a batch that does not fit stops at the first frame
 * without room: the receiver is asked to kick, and the sender's remaining chains are put back as if
 * they had not been popped, to be tried again later. Otherwise receive rings' kicks are off.
 *
 * Offloads pass through as they are to a receiver that negotiated them. One that did not gets the
 * frame finished by offload.c: checksum computed, segments made.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "switch/guest.h"
#include "switch/sw.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define CACHE_LINE  64
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* --- Starting and stopping --- */

/* User addresses to guest addresses. virtq_start() checks what is behind them. */
static int ring_config(const struct guest_ring *r, struct virtq_config *c)
{
	const struct guest_memory *m = &r->guest->mem;

	*c = (struct virtq_config){.size_max = VIRTQ_SIZE_MAX,
	                           .size = (uint16_t)min_u64(r->num, UINT16_MAX),
	                           .enabled = true};
	if (guest_memory_user(m, r->desc, 1, &c->desc) < 0 ||
	    guest_memory_user(m, r->avail, 1, &c->driver) < 0 ||
	    guest_memory_user(m, r->used, 1, &c->device) < 0)
		return -EFAULT;
	return 0;
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct guest_ring *r = container_of(src, struct guest_ring, kick);

	if (events & (EPOLLERR | EPOLLHUP)) {
		guest_doom(r->guest, "its kick descriptor failed");
		return;
	}
	r->guest->port.counters.wakeups++;
	virtq_kick_disable(&r->q);
	/* Of a receive ring: who waits for its buffers is asked again in the next turn. */
	if (r->index & 1)
		sw_activate(r->guest->sw, r);
}

static int ring_start(struct guest_ring *r, struct err *err)
{
	struct guest *g = r->guest;
	struct virtq_config config;
	virtq_base_t base = r->base;
	int rc;

	if (ring_config(r, &config) < 0)
		return err_set(err, -EFAULT, "ring %u is not in the memory regions", r->index);
	rc = virtq_start(&r->q, &config, virtq_features(g->features), r->base, &g->mem.mem, err);
	if (rc < 0)
		return err_prefix(err, rc, "ring %u", r->index);
	rc = guest_inflight_start(r, &base, err);
	if (rc == 1)
		rc = virtq_start(&r->q, &config, virtq_features(g->features), base, &g->mem.mem,
		                 err);
	if (rc < 0)
		return rc;
	r->q.dev = g->port.name;
	r->q.ring = r->index;
	if (r->kick_fd >= 0) {
		/* Edge-triggered: each notification is one event, and nobody reads the eventfd. */
		rc = loop_add(&g->sw->loop, &r->kick, r->kick_fd, EPOLLIN | EPOLLET, on_kick);
		if (rc < 0)
			return err_errno(err, rc, "ring %u: its kick descriptor", r->index);
	}
	r->running = true;
	r->broken = false;
	r->blocked_since = 0;
	virtq_kick_disable(&r->q);
	/* It may hold chains from before. */
	if (r->index & 1)
		sw_activate(g->sw, r);
	return 0;
}

int guest_rings_start(struct guest *g, struct err *err)
{
	int first = 0;

	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++) {
		struct guest_ring *r = &g->rings[i];
		int rc;

		if (r->running || r->broken || !r->kicked || !r->addr_set || !r->num || !g->mem.nr)
			continue;
		rc = ring_start(r, first ? NULL : err);
		if (rc < 0 && !first)
			first = rc;
	}
	guest_receivers(g);
	return first;
}

void guest_ring_stop(struct guest_ring *r)
{
	if (r->running) {
		loop_remove(&r->kick);
		sw_deactivate(r->guest->sw, r);
		r->base = virtq_base(&r->q);
		r->running = false;
	}
	r->broken = false;
}

void guest_rings_stop(struct guest *g)
{
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++)
		guest_ring_stop(&g->rings[i]);
	guest_receivers(g);
}

void guest_receivers(struct guest *g)
{
	bool was = g->port.up;

	g->nr_receive = 0;
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i += 2) {
		struct guest_ring *r = &g->rings[i];

		if (r->running && r->enabled)
			g->receive[g->nr_receive++] = r;
	}
	g->port.up = g->nr_receive != 0;
	if (was && !g->port.up)
		fabric_port_down(&g->sw->fabric, &g->port);
}

/* The driver broke the ring's rules: it is left alone until the driver starts anew. */
static void ring_break(struct guest_ring *r)
{
	struct guest *g = r->guest;
	const char *why = r->q.broken;

	log_limited(&g->limit, LOG_WARN, "port %s: the driver broke ring %u: %s", g->port.name,
	            r->index, why);
	guest_ring_stop(r);
	r->broken = true;
	guest_receivers(g);
	guest_signal(g, r->err_fd);
}

/* Give a chain back. */
static inline void ring_push(struct guest_ring *r, const struct virtq_chain *c, uint32_t written)
{
	if (unlikely(r->inflight))
		guest_inflight_note(r);
	virtq_push(&r->q, c, written);
}

static inline bool ring_flush(struct guest_ring *r)
{
	bool wanted;

	if (likely(!r->inflight))
		return virtq_flush(&r->q);
	guest_inflight_before_flush(r);
	wanted = virtq_flush(&r->q);
	guest_inflight_after_flush(r);
	return wanted;
}

static void ring_call(struct guest_ring *r)
{
	if (r->call_fd >= 0) {
		r->guest->port.counters.calls++;
		guest_signal(r->guest, r->call_fd);
	}
}

/* --- From the guest --- */

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

/* Forward the batch of @n chains. How many of them were dealt with. */
static unsigned forward(struct guest_ring *r, unsigned n)
{
	struct guest *g = r->guest;
	struct sw *sw = g->sw;
	unsigned frames = frames_of(r, n), done = 0;

	while (done < frames) {
		unsigned k =
			fabric_forward(&sw->fabric, &g->port, sw->frames + done, frames - done);

		done += k;
		if (k)
			r->blocked_since = 0;
		if (unlikely(done < frames) && !sw_waited(sw, &r->blocked_since))
			return sw->chain_of[done];
	}
	r->blocked_since = 0;
	return n;
}

unsigned guest_ring_poll(struct guest_ring *r)
{
	struct sw *sw = r->guest->sw;
	struct virtq *q = &r->q;
	unsigned n = 0, nr_iov = 0, done;
	int rc = 0;

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
	done = r->enabled && n ? forward(r, n) : n;
	for (unsigned i = n; i > done; i--)
		virtq_unpop(q, &sw->chains[i - 1]);
	for (unsigned i = 0; i < done; i++)
		ring_push(r, &sw->chains[i], 0);
	if (done && ring_flush(r))
		ring_call(r);
	if (unlikely(rc < 0))
		ring_break(r);
	return done;
}

bool guest_ring_arm(struct guest_ring *r)
{
	if (!virtq_kick_enable(&r->q))
		return false;
	virtq_kick_disable(&r->q);
	return true;
}

/* --- To the guest --- */

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
		ring_push(r, c, need);
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

			ring_push(r, &c[i], part);
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
	uint64_t packets, bytes; /* put; counted once a batch */
};

/*
 * One frame. 0: dealt with; -EAGAIN, if it may wait: there are not enough buffers, and the driver
 * kicks when it adds some.
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
		if (k == -EMSGSIZE)
			c->tx_size++;
		else if (k == -EAGAIN)
			c->tx_full++;
		return 0;
	}
	put_frame(t->g, t->r, t->s, f, (unsigned)k);
	t->packets++;
	t->bytes += f->len;
	return 0;
}

/* Segments of a frame: there is no waiting between them. */
static void put_finished(void *opaque, const struct sw_frame *f)
{
	put(opaque, f);
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
		if (offload_finish(&t->g->sw->offload, frames[i], put_finished, t) < 0)
			t->g->port.counters.tx_offload++;
	}
	return n;
}

static unsigned guest_deliver(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
                              bool may_wait)
{
	struct guest *g = container_of(port, struct guest, port);
	struct stash *s = &g->sw->stash;
	struct guest_ring *r;
	struct target t;
	unsigned done;

	if (!g->nr_receive) {
		port->counters.tx_down += n;
		return n;
	}
	/* Frames of a batch come from one queue. 5.1.6.5.5: a guest's queues go in pairs. */
	r = g->receive[frames[0]->queue % g->nr_receive];
	t = (struct target){.g = g, .r = r, .s = s};
	stash_fill(s, r, n);
	done = deliver_all(&t, frames, n, may_wait);
	port->counters.tx_packets += t.packets;
	port->counters.tx_bytes += t.bytes;
	if (t.packets)
		port->stuck = false;
	if (unlikely(r->q.broken)) {
		s->first = s->nr = s->nr_iov = 0;
		ring_break(r);
		return n;
	}
	stash_return(s, r);
	if (ring_flush(r))
		ring_call(r);
	return done;
}

const struct sw_port_ops guest_port_ops = {
	.deliver = guest_deliver,
};
