/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * Recording. An event's place is claimed by adding to one counter, filled, and marked as ready:
 * no lock, and no wait for anybody. All places are there from arming on. When they are used up, the
 * packets are complete or the time is over, the trace is disarmed by whoever notices.
 *
 * Arming anew uses the places again, so nobody may still be writing to one. `writers` counts who
 * is inside; with any inside trace_arm() gives up (-EBUSY) instead of waiting. Who enters adds
 * himself first and looks at the gate then, who arms looks at the count while the gate is closed:
 * both sequentially consistent, so that one sees the other.
 *
 * A trace begins in the midst of other packets: what comes before something that can be the
 * beginning of a packet's way is left out.
 *
 * Complete. Receive and transmit rings are two directions, each with its own count. When a
 * direction has its packets, no more are wanted, but what belongs to the last one is: later points
 * of its way, each behind the last (`floor`), for TRACE_GRACE_MS, since some of them happen on
 * other threads. A direction that is not asked for is complete from the beginning.
 */
#include "vmm/trace.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/util.h"

#define MS UINT64_C(1000000)

struct slot {
	_Atomic bool ready;
	struct trace_event event;
};

/* Even rings, odd rings. */
struct direction {
	_Atomic bool begun; /* no more are left out because their packet's beginning was missed */
	_Atomic unsigned packets;
	_Atomic uint64_t done; /* when they were complete, ns; 0: not yet */
	_Atomic int floor;     /* since then: the last point that was recorded */
};

struct trace_gate trace_gate;

static struct {
	_Atomic unsigned writers;
	_Atomic int state; /* enum trace_state */
	_Atomic uint64_t lease;
	_Atomic size_t next; /* place; may run beyond the end */
	struct direction directions[2];
	/* Written while nobody is inside and the gate is closed. */
	struct trace_request request;
	uint64_t end;
	struct slot *slots; /* TRACE_EVENTS_MAX; never freed: whoever is late may still write */
} trace;

static __thread const char *scope_dev;
static __thread unsigned scope_ring;
static __thread int thread_id;
static __thread char thread_name[16];

static const struct {
	const char *name;
	enum trace_stage stage;
} points[] = {
#define X(name, stage) {#name, TRACE_##stage},
	TRACE_POINTS(X)
#undef X
};

void trace_enter(const char *dev, unsigned ring)
{
	scope_dev = dev;
	scope_ring = ring;
}

void trace_leave(void)
{
	scope_dev = NULL;
}

static void end(enum trace_state state)
{
	int running = TRACE_RUNNING;

	atomic_compare_exchange_strong(&trace.state, &running, (int)state);
	atomic_store(&trace_gate.armed, false);
}

/* Is it over by now? Ends it. */
static bool over(uint64_t now)
{
	uint64_t last = 0;

	for (unsigned i = 0; i < 2; i++) {
		uint64_t done = atomic_load(&trace.directions[i].done);

		if (!done)
			last = UINT64_MAX - TRACE_GRACE_MS * MS;
		last = max_u64(last, done);
	}
	if (now >= last + TRACE_GRACE_MS * MS)
		end(TRACE_DONE);
	else if (now >= trace.end || now >= atomic_load(&trace.lease))
		end(TRACE_LATE);
	else
		return false;
	return true;
}

/* Can a packet's way begin with that, as far as it is seen? */
static bool can_begin(const struct trace_site *site, enum trace_stage stage, bool sent)
{
	return site->point == TRACE_POINT_ring_used ||
	       (stage != TRACE_NOTE && stage <= (sent ? TRACE_TAKE : TRACE_MOVE));
}

/* Is the event one of those that are wanted? Counts packets. */
static bool wanted(struct direction *d, const struct trace_site *site, const int64_t *args,
                   uint64_t now)
{
	enum trace_stage stage = trace_point_stage(site->point);
	unsigned more = 0;

	if (!atomic_load(&d->begun)) {
		if (!can_begin(site, stage, d == &trace.directions[1]))
			return false;
		atomic_store(&d->begun, true);
	}
	if (atomic_load(&d->done)) {
		enum trace_point floor = (enum trace_point)atomic_load(&d->floor);

		if (stage < TRACE_GIVE || site->point < floor ||
		    (site->point == floor && stage != TRACE_GIVE))
			return false;
		atomic_store(&d->floor, (int)site->point);
		return true;
	}
	/* Who sees only the ring does not see the port: there a chain is a packet. */
	if (stage == TRACE_MOVE)
		more = 1;
	else if (site->point == TRACE_POINT_ring_used)
		more = (unsigned)args[0];
	if (more && atomic_fetch_add(&d->packets, more) + more >= trace.request.packets) {
		atomic_store(&d->floor, (int)site->point);
		atomic_store(&d->done, now);
	}
	return true;
}

static void fill(struct trace_event *e, const struct trace_site *site, unsigned ring,
                 const int64_t *args, uint64_t now)
{
	if (!thread_id) {
		thread_id = gettid();
		if (pthread_getname_np(pthread_self(), thread_name, sizeof(thread_name)))
			thread_name[0] = '\0';
	}
	e->ns = now;
	e->site = site;
	e->ring = ring;
	e->tid = thread_id;
	memcpy(e->thread, thread_name, sizeof(e->thread));
	memcpy(e->args, args, sizeof(e->args));
}

static void record(const struct trace_site *site, const char *dev, unsigned ring,
                   const int64_t *args)
{
	uint64_t now = clock_ns();
	size_t at;

	if (over(now) || dev != trace.request.dev || ring >= 64 ||
	    !(trace.request.rings & BIT64(ring)) ||
	    !wanted(&trace.directions[ring & 1], site, args, now))
		return;
	at = atomic_fetch_add(&trace.next, 1);
	if (at >= TRACE_EVENTS_MAX) {
		end(TRACE_FULL);
		return;
	}
	fill(&trace.slots[at].event, site, ring, args, now);
	atomic_store_explicit(&trace.slots[at].ready, true, memory_order_release);
}

void trace_record(const struct trace_site *site, const char *dev, unsigned ring,
                  const int64_t args[TRACE_ARGS])
{
	if (!dev) {
		dev = scope_dev;
		ring = scope_ring;
	}
	atomic_fetch_add(&trace.writers, 1);
	if (dev && atomic_load(&trace_gate.armed))
		record(site, dev, ring, args);
	atomic_fetch_sub(&trace.writers, 1);
}

int trace_arm(const struct trace_request *request)
{
	const uint64_t receive = UINT64_C(0x5555555555555555);
	uint64_t now = clock_ns();

	if (!request->dev || !request->rings || !request->packets ||
	    request->packets > TRACE_PACKETS_MAX || !request->limit_ms ||
	    request->limit_ms > TRACE_LIMIT_MS)
		return -EINVAL;
	if (trace_running() || atomic_load(&trace.writers))
		return -EBUSY;
	if (!trace.slots)
		trace.slots = calloc(TRACE_EVENTS_MAX, sizeof(trace.slots[0]));
	if (!trace.slots)
		return -ENOMEM;
	for (size_t i = 0; i < TRACE_EVENTS_MAX; i++)
		atomic_store_explicit(&trace.slots[i].ready, false, memory_order_relaxed);
	trace.request = *request;
	trace.end = now + request->limit_ms * MS;
	atomic_store(&trace.lease, now + TRACE_LEASE_MS * MS);
	atomic_store(&trace.next, 0);
	for (unsigned i = 0; i < 2; i++) {
		bool asked = request->rings & (i ? ~receive : receive);

		atomic_store(&trace.directions[i].begun, false);
		atomic_store(&trace.directions[i].packets, 0);
		atomic_store(&trace.directions[i].done, asked ? 0 : 1);
	}
	atomic_store(&trace.state, TRACE_RUNNING);
	atomic_store(&trace_gate.armed, true);
	return 0;
}

void trace_disarm(void)
{
	end(TRACE_LATE);
}

enum trace_state trace_state(void)
{
	if (atomic_load(&trace.state) == TRACE_RUNNING)
		over(clock_ns());
	return (enum trace_state)atomic_load(&trace.state);
}

bool trace_running(void)
{
	return trace_state() == TRACE_RUNNING;
}

size_t trace_read(size_t from, struct trace_event *events, size_t n)
{
	size_t got = 0;

	atomic_store(&trace.lease, clock_ns() + TRACE_LEASE_MS * MS);
	if (!trace.slots)
		return 0;
	for (; got < n && from + got < TRACE_EVENTS_MAX; got++) {
		struct slot *s = &trace.slots[from + got];

		if (!atomic_load_explicit(&s->ready, memory_order_acquire))
			break;
		events[got] = s->event;
	}
	return got;
}

const char *trace_point_name(enum trace_point point)
{
	return points[point].name;
}

enum trace_stage trace_point_stage(enum trace_point point)
{
	return points[point].stage;
}

const char *trace_stage_name(enum trace_stage stage)
{
	static const char *const names[TRACE_STAGES] = {"note", "kick", "wake", "take", "move",
	                                                "give", "show", "call", "carry"};

	return names[stage];
}

void trace_text(const struct trace_event *event, char *buf, size_t size)
{
	size_t at = 0;
	unsigned n = 0;

	for (const char *t = event->site->text; *t && at + 1 < size; t++) {
		if (*t == '%' && (t[1] == 'd' || t[1] == 'x') && n < TRACE_ARGS) {
			int len = snprintf(buf + at, size - at, *++t == 'd' ? "%lld" : "%#llx",
			                   (long long)event->args[n++]);

			at = min_u64(at + (unsigned)len, size - 1);
		} else {
			buf[at++] = *t;
		}
	}
	if (size)
		buf[at] = '\0';
}
