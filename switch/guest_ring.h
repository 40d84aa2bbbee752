/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_ring: what both directions do to a running ring. Private to guest_ring.c, guest_tx.c and
 * guest_rx.c. Main thread.
 */
#ifndef TRIVM_SWITCH_GUEST_RING_H
#define TRIVM_SWITCH_GUEST_RING_H

#include "switch/guest.h"

#define CACHE_LINE  64
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* The driver broke the ring's rules: the ring is stopped until the front-end starts it anew. */
void guest_ring_break(struct guest_ring *r);

/* Give a chain back. */
static inline void guest_ring_push(struct guest_ring *r, const struct virtq_chain *c,
                                   uint32_t written)
{
	if (unlikely(r->inflight))
		guest_inflight_note(r);
	virtq_push(&r->q, c, written);
}

static inline bool guest_ring_flush(struct guest_ring *r)
{
	bool wanted;

	if (likely(!r->inflight))
		return virtq_flush(&r->q);
	guest_inflight_before_flush(r);
	wanted = virtq_flush(&r->q);
	guest_inflight_after_flush(r);
	return wanted;
}

static inline void guest_ring_call(struct guest_ring *r)
{
	if (r->call_fd >= 0) {
		r->guest->port.counters.calls++;
		guest_signal(r->guest, r->call_fd);
	}
}

#endif
