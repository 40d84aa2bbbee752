/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trace: the turning points of a packet's way, as probes and as events.
 *
 * TRACE() at a turning point is two things. It is a USDT probe, provider "trivm", for perf and
 * bpftrace (docs/probes.md): a nop, and a note in the binary that says where its arguments are.
 * (Without <sys/sdt.h>, Debian's systemtap-sdt-dev, it is left out.) And while a trace is armed,
 * which the control socket does for `trivm trace`, it records an event: when, on which thread, in
 * which function, and the arguments. Not armed, it costs the look at a flag that nobody writes.
 *
 * Where others can react to what happens - the driver to a used index, a thread to an eventfd - the
 * probe fires right before it; else right behind it, with its result.
 *
 * One trace at a time in a process. It is bounded in events and time, and ends by itself if nobody
 * asks for its events any more (trace_read()).
 */
#ifndef TRIVM_VMM_TRACE_H
#define TRIVM_VMM_TRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What a point means for the packet, in the order of its way. NOTE: nothing that it waits for.
 * CALL: the decision on an interrupt; CARRY: what the VMM does to deliver one.
 */
enum trace_stage {
	TRACE_NOTE,
	TRACE_KICK, /* the driver made buffers available, or notified */
	TRACE_WAKE,
	TRACE_TAKE,
	TRACE_MOVE, /* to or from the port: counts as a packet */
	TRACE_GIVE,
	TRACE_SHOW, /* the used ring moved */
	TRACE_CALL,
	TRACE_CARRY,
};
#define TRACE_STAGES (TRACE_CARRY + 1)

/* All points, in the order of a packet's way: the probe's name, its stage. docs/probes.md has their arguments. */
#define TRACE_POINTS(X)       \
	X(ring_avail, KICK)   \
	X(kick_exit, KICK)    \
	X(kick_seen, WAKE)    \
	X(port_seen, WAKE)    \
	X(chain_pop, TAKE)    \
	X(chain_unpop, NOTE)  \
	X(port_write, MOVE)   \
	X(port_read, MOVE)    \
	X(port_full, NOTE)    \
	X(frame_hold, NOTE)   \
	X(frame_drop, MOVE)   \
	X(frame_refuse, NOTE) \
	X(chain_push, GIVE)   \
	X(used_show, SHOW)    \
	X(ring_used, SHOW)    \
	X(irq_spared, CALL)   \
	X(irq_call, CALL)     \
	X(irq_ioctl, CALL)    \
	X(call_seen, CARRY)   \
	X(irq_deliver, CARRY) \
	X(msi_send, CARRY)    \
	X(msi_held, CARRY)    \
	X(line_raise, CARRY)  \
	X(kicks_off, NOTE)    \
	X(kicks_on, NOTE)

enum trace_point {
#define X(name, stage) TRACE_POINT_##name,
	TRACE_POINTS(X)
#undef X
};

#define TRACE_ARGS 4

/* A place in the source. */
struct trace_site {
	enum trace_point point;
	int line;
	const char *text; /* for people: %d and %x stand for the next argument */
	const char *func, *file;
};

/* In a cache line of its own: everybody reads it at every point. */
struct trace_gate {
	_Alignas(64) _Atomic bool armed;
	char rest[63];
};
extern struct trace_gate trace_gate;

void trace_record(const struct trace_site *site, const char *dev, unsigned ring,
                  const int64_t args[TRACE_ARGS]) __attribute__((cold, noinline));

static inline bool trace_armed(void)
{
	return __builtin_expect(atomic_load_explicit(&trace_gate.armed, memory_order_relaxed), 0);
}

#if __has_include(<sys/sdt.h>)
#define SDT_USE_VARIADIC
#include <sys/sdt.h>
#define TRACE_PROBES               1
#define TRACE_USDT(name, dev, ...) STAP_PROBEV(trivm, name, dev, __VA_ARGS__)
#else
#define TRACE_PROBES 0
#define TRACE_USDT(name, dev, ...) \
	do {                       \
	} while (0)
#endif

/*
 * TRACE(point, dev, ring, text, argument...): at most TRACE_ARGS integers. @dev: the device's name,
 * always the same pointer for the same device; NULL: what happens is on behalf of the ring that
 * trace_enter() named. A point in several places has the same arguments in all, also by their types:
 * perf insists. Any thread; no locks, no system call but the first time on a thread.
 */
#define TRACE(point_, dev_, ring_, text_, ...)                                               \
	do {                                                                                 \
		static const struct trace_site trace_site_ = {.point = TRACE_POINT_##point_, \
		                                              .line = __LINE__,              \
		                                              .text = (text_),               \
		                                              .func = __func__,              \
		                                              .file = __FILE__};             \
		TRACE_USDT(point_, dev_, ring_, ##__VA_ARGS__);                              \
		if (trace_armed())                                                           \
			trace_record(&trace_site_, dev_, ring_,                              \
			             (const int64_t[TRACE_ARGS]){__VA_ARGS__});              \
	} while (0)

/* On this thread, until trace_leave(): points without a device of their own are @dev's. */
void trace_enter(const char *dev, unsigned ring);
void trace_leave(void);

/* --- A trace. Main thread. --- */

#define TRACE_EVENTS_MAX  8192
#define TRACE_PACKETS_MAX 1000
#define TRACE_LIMIT_MS    60000
#define TRACE_LEASE_MS    3000 /* it ends if nobody has asked for so long */
#define TRACE_GRACE_MS    10   /* what belongs to the last packet comes within that */

struct trace_request {
	const char *dev; /* compared as a pointer, never followed */
	uint64_t rings;  /* bit n: ring n */
	/* Of receive rings (even) and of transmit rings (odd) together; 1..TRACE_PACKETS_MAX. */
	unsigned packets;
	uint64_t limit_ms; /* 1..TRACE_LIMIT_MS */
};

enum trace_state {
	TRACE_IDLE,
	TRACE_RUNNING,
	TRACE_DONE, /* all packets */
	TRACE_LATE, /* the time was over before */
	TRACE_FULL, /* more events than there is room for */
};

/* 0; -EBUSY: there is one; -EINVAL; -ENOMEM. The events of the one before are gone. */
int trace_arm(const struct trace_request *request);
void trace_disarm(void); /* idempotent; the events stay */

/* Any thread. */
enum trace_state trace_state(void);
bool trace_running(void);

struct trace_event {
	uint64_t ns; /* CLOCK_MONOTONIC */
	const struct trace_site *site;
	int64_t args[TRACE_ARGS];
	unsigned ring;
	int tid;
	char thread[16];
};

/*
 * Copy the events from number @from on, in the order in which they were recorded (which is not
 * quite that of their times): how many of at most @n. It is how a client shows that it is there.
 */
size_t trace_read(size_t from, struct trace_event *events, size_t n);

const char *trace_point_name(enum trace_point point);
enum trace_stage trace_point_stage(enum trace_point point);
const char *trace_stage_name(enum trace_stage stage);
/* The site's text with the arguments in it. */
void trace_text(const struct trace_event *event, char *buf, size_t size);

#endif
