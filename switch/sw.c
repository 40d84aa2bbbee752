/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the main loop.
 *
 * A turn gives each active ring one batch, then looks at epoll. A ring becomes active by a kick,
 * and stops being so when it is empty and its driver has been told to kick again. While any is
 * active the driver's kicks are off and epoll is only looked at now and then, without waiting: that
 * is where messages, uplinks and new kicks come from. With none it sleeps.
 *
 * A ring whose frames wait for a full port is active but blocked: it is left out until the next
 * look at epoll, which is woken by the full port's driver when it adds buffers (or by an uplink
 * that is writable), and after wait_ms in any case. Then the port counts as stuck, and what is
 * for it is dropped at once, until it takes a frame.
 *
 * Polling is the same without the last step: an empty ring stays active for poll_us after the last
 * work, or for ever.
 */
#include "switch/sw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "switch/uplink.h"
#include "vmm/clock.h"

#define TURNS_A_LOOK 32 /* busy turns between two looks at epoll */
/* Turns without work between two looks, when polling: a look costs as much as some hundred. */
#define IDLE_TURNS_A_LOOK 64

/* Seconds, for the ages of addresses: as cheap as can be, since each turn asks. */
static uint32_t coarse_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint32_t)ts.tv_sec;
}

int sw_init(struct sw *sw, uint32_t age, uint32_t poll_us)
{
	int rc;

	memset(sw, 0, sizeof(*sw));
	sw->poll_us = poll_us;
	sw->wait_ms = SW_WAIT_MS;
	rc = loop_init(&sw->loop);
	if (rc < 0)
		return rc;
	rc = fabric_init(&sw->fabric, age);
	if (rc < 0)
		loop_destroy(&sw->loop);
	return rc;
}

void sw_destroy(struct sw *sw)
{
	for (unsigned i = 0; i < sw->nr_guests; i++)
		guest_destroy(sw->guests[i]);
	for (unsigned i = 0; i < sw->nr_uplinks; i++)
		uplink_destroy(sw->uplinks[i]);
	sw->nr_guests = sw->nr_uplinks = 0;
	fabric_destroy(&sw->fabric);
	loop_destroy(&sw->loop);
}

void sw_activate(struct sw *sw, struct guest_ring *r)
{
	if (r->active >= 0)
		return;
	r->active = (int)sw->nr_active;
	sw->active[sw->nr_active++] = r;
}

void sw_deactivate(struct sw *sw, struct guest_ring *r)
{
	struct guest_ring *last;

	if (r->active < 0)
		return;
	if (r->blocked)
		sw->nr_blocked--;
	r->blocked = false;
	last = sw->active[--sw->nr_active];
	sw->active[r->active] = last;
	last->active = r->active;
	r->active = -1;
}

bool sw_waited(struct sw *sw, uint64_t *since)
{
	uint64_t now = clock_us();

	if (!sw->wait_ms) {
		sw->fabric.full->stuck = true;
		return true;
	}
	if (!*since) {
		*since = now;
	} else if (now - *since >= sw->wait_ms * UINT64_C(1000)) {
		sw->fabric.full->stuck = true;
		*since = 0;
		return true;
	}
	return false;
}

static void unblock(struct sw *sw)
{
	for (unsigned i = 0; i < sw->nr_active && sw->nr_blocked; i++) {
		if (sw->active[i]->blocked) {
			sw->active[i]->blocked = false;
			sw->nr_blocked--;
		}
	}
}

/* Each active ring has its turn. Chains that there were. */
static unsigned poll_rings(struct sw *sw, bool keep)
{
	unsigned total = 0;

	for (unsigned i = 0; i < sw->nr_active;) {
		struct guest_ring *r = sw->active[i];
		unsigned n;

		if (r->blocked) {
			i++;
			continue;
		}
		n = guest_ring_poll(r);
		total += n;
		if (r->active == (int)i && r->blocked_since && !keep) {
			r->blocked = true;
			sw->nr_blocked++;
			i++;
			continue;
		}
		/* A ring that broke took itself off the list; another is in its place. */
		if (r->active == (int)i && n == 0 && !keep && !guest_ring_arm(r))
			sw_deactivate(sw, r);
		if (i < sw->nr_active && sw->active[i] == r)
			i++;
	}
	return total;
}

static void end_doomed(struct sw *sw)
{
	sw->doomed = false;
	guest_memory_faults = 0;
	for (unsigned i = 0; i < sw->nr_guests; i++) {
		struct guest *g = sw->guests[i];

		if (g->mem.faulted && !g->doomed)
			g->doomed = "the file behind its memory was cut short";
		if (g->doomed)
			guest_conn_lost(g);
	}
}

/* Busy turns, until there is nothing to do or it is time to look at epoll. Was there work? */
static bool work(struct sw *sw, bool keep)
{
	unsigned busy = 0, idle = 0;

	while (sw->nr_active > sw->nr_blocked && busy < TURNS_A_LOOK && !guest_memory_faults &&
	       !sw->doomed) {
		if (poll_rings(sw, keep)) {
			busy++;
			idle = 0;
			continue;
		}
		if (!keep || ++idle == IDLE_TURNS_A_LOOK)
			break;
		__builtin_ia32_pause();
	}
	return busy != 0;
}

static bool uplinks_wait(const struct sw *sw)
{
	for (unsigned i = 0; i < sw->nr_uplinks; i++)
		if (uplink_waits(sw->uplinks[i]))
			return true;
	return false;
}

int sw_turn(struct sw *sw, bool may_sleep)
{
	bool polls = sw->poll_us != SW_POLL_NEVER;
	bool keep = polls;
	int wait_ms = -1, rc;

	fabric_tick(&sw->fabric, coarse_seconds());
	if (polls && sw->poll_us != SW_POLL_FOREVER)
		keep = clock_us() - sw->last_work < sw->poll_us;
	if (work(sw, keep) && polls)
		sw->last_work = clock_us();
	if (sw->doomed || guest_memory_faults)
		end_doomed(sw);
	if (sw->nr_active > sw->nr_blocked || !may_sleep)
		wait_ms = 0;
	else if (sw->nr_blocked || uplinks_wait(sw))
		wait_ms = (int)sw->wait_ms;
	rc = loop_once(&sw->loop, wait_ms);
	unblock(sw);
	for (unsigned i = 0; i < sw->nr_uplinks; i++)
		uplink_retry(sw->uplinks[i]);
	if (rc > 0 && polls)
		sw->last_work = clock_us();
	return rc;
}

int sw_run(struct sw *sw)
{
	while (!sw->loop.stopping) {
		int rc = sw_turn(sw, true);

		if (rc < 0)
			return rc;
	}
	return 0;
}
