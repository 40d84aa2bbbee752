/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sw: what all ports share, and the main loop. One thread does everything: it looks at the rings
 * that have something to do in turn, and sleeps in epoll when none has.
 */
#ifndef TRIVM_SWITCH_SW_H
#define TRIVM_SWITCH_SW_H

#include "devices/virtio/queue.h"
#include "switch/fabric.h"
#include "switch/guest.h"
#include "switch/offload.h"
#include "vmm/loop.h"

#define SW_POLL_NEVER   0
#define SW_POLL_FOREVER UINT32_MAX

/* So long frames wait for a port that is full, unless the user says otherwise. */
#define SW_WAIT_MS 10

/* For so long a front-end's messages may keep the switch at once (guest_conn.c). */
#define SW_TALK_BURST_NS 2000000
/* A batch of SW_COST_MAX may take so long. */
#define SW_BATCH_NS 100000

/* Room for the iovecs of a batch: one more chain of any length always fits when it is not full. */
#define SW_BATCH_IOV (SW_BATCH * 20 + VIRTQ_CHAIN_MAX)

struct uplink;

struct sw {
	struct loop loop;
	struct fabric fabric;
	uint32_t poll_us;      /* look for work this long before sleeping */
	uint64_t batch_ns;     /* SW_BATCH_NS */
	int64_t talk_burst_ns; /* SW_TALK_BURST_NS */
	uint32_t wait_ms;      /* so long frames wait for a full port; SW_WAIT_MS */

	/* Transmit rings to look at, and those of them that wait for a full port ... */
	unsigned nr_active, nr_blocked;
	/* ... and the ports that have any, in the order of their turns. */
	unsigned nr_busy;
	struct guest *busy[SW_PORTS_MAX];

	unsigned nr_guests, nr_uplinks;
	struct guest *guests[SW_PORTS_MAX];
	struct uplink *uplinks[SW_PORTS_MAX];
	bool doomed;        /* a guest is */
	uint64_t last_work; /* monotonic microseconds, when polling */

	/* What a turn works on. */
	struct virtq_chain chains[SW_BATCH];
	struct sw_frame frames[SW_BATCH];
	uint8_t chain_of[SW_BATCH]; /* frames[i] is chains[chain_of[i]] */
	struct iovec iov[SW_BATCH_IOV] __attribute__((aligned(16))); /* none in two cache lines */
	struct stash stash;
	struct offload offload;
};

int sw_init(struct sw *sw, uint32_t age, uint32_t poll_us); /* 0 or a negative errno */
void sw_destroy(struct sw *sw);                             /* ports too */

/*
 * Frames of somebody's wait for sw->fabric.full, as they did before if *@since. True: for too long;
 * the port is declared stuck, and the frames are to be brought again at once. Otherwise *@since is
 * set.
 */
bool sw_waited(struct sw *sw, uint64_t *since);

void sw_activate(struct sw *sw, struct guest_ring *r);   /* idempotent */
void sw_deactivate(struct sw *sw, struct guest_ring *r); /* idempotent */

/* One turn: the active rings, and what epoll has. Callbacks that ran, or a negative errno. */
int sw_turn(struct sw *sw, bool may_sleep);

/* Turns until loop_stop(). 0 or a negative errno. */
int sw_run(struct sw *sw);

#endif
