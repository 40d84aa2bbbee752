/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: when a queue pair's thread sleeps, and for whom it makes way.
 *
 * Lingering. A wake-up for each frame is the dearest way of moving frames: the driver leaves to the
 * host for each kick, and gets an interrupt for each. So when the last pauses were short - short
 * beside the work between them, so that the rule is the same on a fast and on a slow host - the
 * thread does not sleep at once but looks for work about as long as these pauses were, with kicks
 * off. What it has transmitted meanwhile it shows later, some frames together: a driver that is
 * shown each one has few outstanding, so it wants an interrupt for each of the next, and handles
 * interrupts instead of sending. It has no other use for them, unless they are many or long.
 *
 * Giving way. Where no processor is free the kick wakes the thread in the place of the vCPU that
 * kicked: it has used less time, so the scheduler prefers it. It finds the one frame that it was
 * kicked for, sleeps, and the vCPU goes on to the next frame and the next kick: two changes of
 * context and an exit for each, and never two frames together. So while the wake-ups are nearly all
 * such kicks, and many, the thread is a SCHED_BATCH one (sched(7)), which does not preempt: the
 * vCPU goes on until it halts or its turn is over, with kicks off after the first. For
 * frames from the port it is not: they come from somebody else's queue, which would run over. Nor
 * for a frame out for each frame in, a dialogue, where a turn of somebody else's would be added to
 * each answer. A free processor makes all that void: whoever wakes up has it at once.
 *
 * Busy polling (poll_us). After the last work the thread goes on looking at queue and port for that
 * long, with kicks still off, before it sleeps: the kick and the wake-up are saved, a CPU is spent.
 */
#include <sched.h>

#include "devices/net/dp_vmm_priv.h"
#include "vmm/clock.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* A pause is short if it takes at most this many times as long as the work before it, and not more
 * than so many microseconds. */
#define LINGER_SHARE  4
#define LINGER_MAX_US 500
/* A short pause counts one up, a long one more than one down; from LINGER_QUICK on the thread
 * lingers. The maximum is how soon it forgets. */
#define LINGER_QUICK     4
#define LINGER_QUICK_MAX 10
#define LINGER_LONG      2
/* While lingering, used buffers are shown after this time at the latest. */
#define SHOW_LATER_US 1000

/* Of so many wake-ups, within so long, this many by kicks: give way; fewer than that many: no more. */
#define WAY_WAKES     64
#define WAY_WITHIN_US 500000
#define WAY_BEGIN     56
#define WAY_END       48

/* --- Giving way --- */

static void give_way(struct pair *p, bool on)
{
	struct sched_param param = {.sched_priority = 0};

	if (on == p->pace.gives_way || !p->pace.may_give_way)
		return;
	if (sched_setscheduler(0, on ? SCHED_BATCH : SCHED_OTHER, &param) < 0)
		p->pace.may_give_way = false;
	else
		p->pace.gives_way = on;
	log_debug("queue pair %u %s", p->index, on ? "gives way" : "gives way no more");
}

static void count_wake(struct pair *p)
{
	struct pace *pace = &p->pace;
	uint64_t now;

	pace->by_tx += pace->wakers == PAIR_TX_KICK;
	if (++pace->wakes < WAY_WAKES)
		return;
	now = clock_us();
	give_way(p, now - pace->counted_at <= WAY_WITHIN_US &&
	                    pace->by_tx >= (pace->gives_way ? WAY_END : WAY_BEGIN));
	pace->wakes = pace->by_tx = 0;
	pace->counted_at = now;
}

void pair_pace_start(struct pair *p)
{
	p->pace = (struct pace){.may_give_way = sched_getscheduler(0) == SCHED_OTHER};
	p->pace.counted_at = clock_us();
}

/* --- Lingering --- */

/* The pause since the last work is over: was it short? */
static void end_pause(struct pace *pace)
{
	uint64_t now = clock_us(), pause = now - pace->idle_since;

	if (pause <= LINGER_SHARE * (pace->idle_since - pace->woke_at) && pause <= LINGER_MAX_US) {
		pace->quick += pace->quick < LINGER_QUICK_MAX;
		pace->pause = (3 * pace->pause + pause) / 4;
	} else {
		pace->quick -= (unsigned)min_u64(pace->quick, LINGER_LONG);
	}
	pace->woke_at = now;
}

void pair_show(struct pair *p)
{
	if (p->tx.unflushed)
		pair_flush(p, &p->tx);
	p->pace.shown_at = p->pace.idle_since;
}

/* Look for work about as long as the last pauses were. A full port is only noticed by epoll. */
static bool look(struct pair *p)
{
	uint64_t until = p->pace.idle_since + 2 * p->pace.pause + 1;

	do {
		sched_yield();
		if ((p->tx.on && !p->tx.q.broken && virtq_more(&p->tx.q)) || pair_receive(p)) {
			end_pause(&p->pace);
			p->pace.show_later = true;
			pair_transmit(p);
			p->pace.show_later = false;
			return true;
		}
	} while (!p->loop.stopping && clock_us() < until);
	return false;
}

bool pair_linger(struct pair *p)
{
	struct pace *pace = &p->pace;
	bool found;

	pace->idle_since = clock_us();
	found = pace->quick >= LINGER_QUICK && !p->tx_blocked && look(p);
	if (!found || pace->idle_since - pace->shown_at > SHOW_LATER_US)
		pair_show(p);
	return found;
}

/* --- Sleeping --- */

static void wake(struct pair *p)
{
	if (!p->pace.asleep)
		return;
	p->pace.asleep = false;
	if (p->tx.on)
		virtq_kick_disable(&p->tx.q);
	end_pause(&p->pace);
}

void pair_sleeps(struct pair *p)
{
	p->pace.asleep = true;
	p->pace.wakers = 0;
}

void pair_woken(struct pair *p, enum pair_waker waker)
{
	p->pace.wakers |= waker;
	wake(p);
}

void pair_slept(struct pair *p)
{
	wake(p);
	count_wake(p);
}

/* --- Busy polling --- */

void pair_busy_poll(struct pair *p)
{
	uint64_t last = clock_us();

	while (!p->loop.stopping) {
		bool worked = pair_transmit(p);

		pair_receive_expire(p);
		worked |= pair_receive(p);
		/* The end of these is only told by an event, however busy the other direction is.
		 */
		if (p->rx_starved || p->tx_blocked) {
			pair_watch_port(p);
			if (loop_once(&p->loop, 0) < 0)
				return;
		}
		if (worked)
			last = clock_us();
		else if (clock_us() - last >= p->dp->config.poll_us)
			return;
	}
}
