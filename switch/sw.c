/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the main loop.
 *
 * Ports have their turns by deficit round robin. In each round a port is given credit for
 * SW_QUANTUM bytes, and its transmit rings, one batch from each, are served until the credit is
 * spent; what a batch cost above it is a debt, for which the port sits out the next rounds while
 * others have work. So two ports that both have work share the switch by halves, however many
 * queues one of them has and whatever its frames cost: copies for a flood, segments made, pages
 * that are touched for the first time. A port keeps its debt when its rings are empty, and when its
 * front-end reconnects; it is then paid by the time that passes.
 *
 * Costs are counted in bytes, as fabric_forward() estimates them. That a batch took longer than its
 * bytes explain is found by the clock and charged, too.
 *
 * A ring becomes active by a kick, and stops being so when it is empty and its driver has been
 * asked to kick again. While any is active its driver's kicks are off and epoll is only looked at
 * after SW_LOOK_NS or SW_LOOK_ROUNDS, without waiting: that is where messages, uplinks and new
 * kicks come from. With none the loop sleeps.
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
#include "vmm/util.h"

/* Between two looks at epoll, which cost some microseconds each. */
#define SW_LOOK_NS     100000
#define SW_LOOK_ROUNDS 32
/* Rounds without work between two looks, when polling: a look costs as much as some hundred. */
#define IDLE_ROUNDS_A_LOOK 64

/* What a port may cost in a round: a batch of full-sized frames, or many of small ones. */
#define SW_QUANTUM (64 << 10)
/* Time of a batch above SW_BATCH_NS is charged as so many bytes a nanosecond. */
#define SW_BYTES_PER_NS 4
/* No debt is larger: the clock also counts what the kernel gave to other processes meanwhile. */
#define SW_DEBT_MAX (16 << 20)

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
	sw->batch_ns = SW_BATCH_NS;
	sw->talk_burst_ns = SW_TALK_BURST_NS;
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

/* A debt is paid by the time since the port had work last. */
static void pay_by_time(struct guest_turns *t)
{
	uint64_t paid = (clock_ns() - t->idle_since) * SW_BYTES_PER_NS;

	t->credit = paid >= (uint64_t)-t->credit ? 0 : t->credit + (int64_t)paid;
}

void sw_activate(struct sw *sw, struct guest_ring *r)
{
	struct guest_turns *t = &r->guest->tx;

	if (r->active >= 0)
		return;
	if (t->nr == 0) {
		if (t->credit < 0)
			pay_by_time(t);
		t->place = (int)sw->nr_busy;
		sw->busy[sw->nr_busy++] = r->guest;
	}
	r->active = (int)t->nr;
	t->rings[t->nr++] = r;
	sw->nr_active++;
}

void sw_deactivate(struct sw *sw, struct guest_ring *r)
{
	struct guest_turns *t = &r->guest->tx;
	struct guest_ring *last;

	if (r->active < 0)
		return;
	if (r->blocked) {
		sw->nr_blocked--;
		t->blocked--;
	}
	r->blocked = false;
	last = t->rings[--t->nr];
	t->rings[r->active] = last;
	last->active = r->active;
	r->active = -1;
	sw->nr_active--;
	if (t->nr == 0) {
		if (t->credit > 0)
			t->credit = 0;
		else if (t->credit < 0)
			t->idle_since = clock_ns();
		/* The order of the others stays. */
		sw->nr_busy--;
		for (unsigned i = (unsigned)t->place; i < sw->nr_busy; i++) {
			sw->busy[i] = sw->busy[i + 1];
			sw->busy[i]->tx.place = (int)i;
		}
		t->place = -1;
	}
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

static void block(struct sw *sw, struct guest_ring *r)
{
	r->blocked = true;
	r->guest->tx.blocked++;
	sw->nr_blocked++;
}

static void unblock(struct sw *sw)
{
	for (unsigned i = 0; i < sw->nr_busy && sw->nr_blocked; i++) {
		struct guest_turns *t = &sw->busy[i]->tx;

		for (unsigned k = 0; k < t->nr && t->blocked; k++) {
			if (t->rings[k]->blocked) {
				t->rings[k]->blocked = false;
				t->blocked--;
				sw->nr_blocked--;
			}
		}
	}
}

/* Charge the port for a batch of @cost bytes that took @ns. */
static void charge(const struct sw *sw, struct guest_turns *t, uint32_t cost, uint64_t ns)
{
	t->credit -= cost;
	if (ns > sw->batch_ns) {
		uint64_t over = (ns - sw->batch_ns) * SW_BYTES_PER_NS;

		t->credit -= (int64_t)min_u64(over, SW_DEBT_MAX);
	}
	if (t->credit < -SW_DEBT_MAX)
		t->credit = -SW_DEBT_MAX;
}

/* One batch from @r; @keep: it stays active when it is empty. Was there any? */
static bool serve_ring(struct sw *sw, struct guest_ring *r, bool keep, uint64_t *now)
{
	struct guest_turns *t = &r->guest->tx;
	uint64_t begin = *now;
	uint32_t cost;
	unsigned n = guest_ring_poll(r, &cost);

	/* A ring that broke took itself off the list. */
	if (r->active >= 0 && r->blocked_since && !keep)
		block(sw, r);
	else if (r->active >= 0 && n == 0 && !keep && !guest_ring_arm(r))
		sw_deactivate(sw, r);
	if (n == 0 && cost == 0)
		return false;
	*now = clock_ns();
	charge(sw, t, cost, *now - begin);
	return n != 0;
}

/* The port's turn in a round. Was there work? */
static bool serve(struct sw *sw, struct guest_turns *t, bool keep, uint64_t *now)
{
	unsigned empty = 0;
	bool busy = false;

	t->credit = t->credit > 0 ? SW_QUANTUM : t->credit + SW_QUANTUM;
	while (t->credit > 0 && t->nr > t->blocked && empty < t->nr) {
		struct guest_ring *r = t->rings[t->next++ % t->nr];

		if (!r->blocked && serve_ring(sw, r, keep, now)) {
			busy = true;
			empty = 0;
		} else {
			empty++;
		}
	}
	return busy;
}

/*
 * Only ports with debts have work: so much is remitted to all of them that one has its turn. True
 * if there is such a port.
 */
static bool remit(struct sw *sw)
{
	int64_t least = -SW_DEBT_MAX - 1;

	for (unsigned i = 0; i < sw->nr_busy; i++) {
		const struct guest_turns *t = &sw->busy[i]->tx;

		if (t->credit <= 0 && t->nr > t->blocked && t->credit > least)
			least = t->credit;
	}
	if (least < -SW_DEBT_MAX)
		return false;
	for (unsigned i = 0; i < sw->nr_busy; i++) {
		struct guest_turns *t = &sw->busy[i]->tx;

		if (t->credit <= 0)
			t->credit -= least;
	}
	return true;
}

/* Each busy port has its turn. Was there work? */
static bool serve_ports(struct sw *sw, bool keep, uint64_t *now)
{
	bool busy = false;

	for (unsigned i = 0; i < sw->nr_busy;) {
		struct guest *g = sw->busy[i];

		busy |= serve(sw, &g->tx, keep, now);
		if (i < sw->nr_busy && sw->busy[i] == g)
			i++;
	}
	return busy || remit(sw);
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

/* Rounds, until there is nothing to do or it is time to look at epoll. Was there work? */
static bool work(struct sw *sw, bool keep)
{
	unsigned busy = 0, idle = 0;
	uint64_t begin = clock_ns(), now = begin;

	while (sw->nr_active > sw->nr_blocked && busy < SW_LOOK_ROUNDS &&
	       now - begin < SW_LOOK_NS && !guest_memory_faults && !sw->doomed) {
		if (serve_ports(sw, keep, &now)) {
			busy++;
			idle = 0;
			continue;
		}
		if (!keep || ++idle == IDLE_ROUNDS_A_LOOK)
			break;
		__builtin_ia32_pause();
	}
	return busy != 0;
}

static bool any_uplink(const struct sw *sw, bool (*is_so)(const struct uplink *u))
{
	for (unsigned i = 0; i < sw->nr_uplinks; i++)
		if (is_so(sw->uplinks[i]))
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
	if (sw->nr_active > sw->nr_blocked || !may_sleep || any_uplink(sw, uplink_has_work))
		wait_ms = 0;
	else if (sw->nr_blocked || any_uplink(sw, uplink_waits))
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
