/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket's methods net.trace*: the events of a few packets (trace.h). A client arms a
 * trace and then asks for its events until it is over. None of these waits: a trace that nobody
 * asks for ends by itself.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/observe.h"
#include "vmm/control_priv.h"
#include "vmm/json_text.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define EVENTS_MAX      1000 /* in one reply: well below CONTROL_REPLY_MAX */
#define PACKETS_DEFAULT 1
#define SECONDS_DEFAULT 10

/* Which trace is the current one; 0: there has been none. */
static json_int_t current;

static const char *const states[] = {
	[TRACE_IDLE] = "done",    [TRACE_RUNNING] = "running", [TRACE_DONE] = "done",
	[TRACE_LATE] = "timeout", [TRACE_FULL] = "full",
};

static json_int_t number(const struct jsonrpc_call *call, const char *name, json_int_t otherwise)
{
	const json_t *v = json_object_get(call->params, name);

	return v ? json_integer_value(v) : otherwise;
}

/* The rings that are asked for, as bits. */
static int choose_rings(struct jsonrpc_call *call, const struct nic *nic, uint64_t *rings)
{
	const char *direction = json_string_value(json_object_get(call->params, "direction"));
	unsigned nr = 2 * nic->net.config.pairs;
	json_int_t ring = number(call, "ring", -1);

	if (ring >= (json_int_t)nr || (ring < 0 && json_object_get(call->params, "ring")))
		return err_set(&call->err, -ENOENT, "%s: its rings are 0 to %u", nic->name, nr - 1);
	if (direction && strcmp(direction, "rx") != 0 && strcmp(direction, "tx") != 0)
		return err_set(&call->err, -EINVAL,
		               "net.trace direction: %s: expected one of: rx, tx", direction);
	*rings = 0;
	for (unsigned i = 0; i < nr; i++)
		if ((ring < 0 || ring == (json_int_t)i) &&
		    (!direction || (direction[0] == 't') == (i & 1)))
			*rings |= BIT64(i);
	if (!*rings)
		return err_set(&call->err, -EINVAL, "net.trace: ring %d is not of that direction",
		               (int)ring);
	return 0;
}

/* How each of @rings is notified and interrupts, as it is now. */
static json_t *describe_rings(struct nic *nic, uint64_t rings)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < 64; i++) {
		struct virtio_ways ways;

		if (!(rings & BIT64(i)))
			continue;
		ways = virtio_queue_ways(&nic->net.dev, i);
		json_array_append_new(
			list, json_pack("{s:i, s:s, s:s, s:s}", "ring", (int)i, "direction",
		                        i & 1 ? "tx" : "rx", "notify",
		                        ways.ioeventfd ? "ioeventfd" : "exit", "interrupt",
		                        ways.irqfd                                  ? "irqfd"
		                        : nic->net.dev.queues[i].events.call_fd < 0 ? "ioctl"
		                                                                    : "forwarded"));
	}
	return list;
}

/* Nobody observes for a trace that is over. */
static void end_observers(struct machine *m)
{
	for (unsigned i = 0; i < m->nr_nics; i++)
		observer_stop(&m->nics[i].observer);
}

static int arm(struct jsonrpc_call *call, const struct nic *nic, uint64_t rings)
{
	json_int_t packets = number(call, "packets", PACKETS_DEFAULT);
	json_int_t seconds = number(call, "seconds", SECONDS_DEFAULT);
	struct trace_request request = {.dev = nic->net.dev.name, .rings = rings};
	int rc;

	if (packets < 1 || packets > TRACE_PACKETS_MAX)
		return err_set(&call->err, -EINVAL, "net.trace packets: not in 1..%d",
		               TRACE_PACKETS_MAX);
	if (seconds < 1 || seconds > TRACE_LIMIT_MS / 1000)
		return err_set(&call->err, -EINVAL, "net.trace seconds: not in 1..%d",
		               TRACE_LIMIT_MS / 1000);
	request.packets = (unsigned)packets;
	request.limit_ms = (uint64_t)seconds * 1000;
	rc = trace_arm(&request);
	return rc < 0 ? err_errno(&call->err, rc, "net.trace: another trace runs") : 0;
}

int control_net_trace(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	const json_t *observe = json_object_get(call->params, "observe");
	struct nic *nic = control_find_nic(vm, call);
	struct net_status s;
	uint64_t rings;
	int rc;

	if (!nic)
		return -ENOENT;
	rc = choose_rings(call, nic, &rings);
	if (rc < 0)
		return rc;
	if (trace_running())
		return err_set(&call->err, -EBUSY, "net.trace: another trace runs");
	end_observers(vm->machine);
	rc = arm(call, nic, rings);
	if (rc < 0)
		return rc;
	net_status(&nic->net, &s);
	/* What the datapath vmm gives back it says itself. */
	if (!json_is_false(observe))
		rc = observer_start(&nic->observer, &nic->net.dev, rings,
		                    strcmp(s.datapath, "vmm") != 0, &call->err);
	if (rc < 0) {
		trace_disarm();
		return rc;
	}
	call->result = json_pack("{s:I, s:s, s:s, s:o, s:b, s:b, s:o}", "trace", ++current, "id",
	                         nic->name, "datapath", s.datapath, "port", json_text(nic->wire),
	                         "driver", s.driver, "observer", nic->observer != NULL, "rings",
	                         describe_rings(nic, rings));
	return 0;
}

static json_t *event(const struct trace_event *e)
{
	enum trace_point point = e->site->point;
	char text[192];

	trace_text(e, text, sizeof(text));
	return json_pack("{s:I, s:i, s:o, s:i, s:s, s:s, s:o, s:[IIII], s:s, s:s, s:i}", "ns",
	                 (json_int_t)e->ns, "ring", (int)e->ring, "thread", json_text(e->thread),
	                 "tid", e->tid, "point", trace_point_name(point), "stage",
	                 trace_stage_name(trace_point_stage(point)), "text", json_text(text),
	                 "args", (json_int_t)e->args[0], (json_int_t)e->args[1],
	                 (json_int_t)e->args[2], (json_int_t)e->args[3], "func", e->site->func,
	                 "file", e->site->file, "line", e->site->line);
}

/* Is the trace that is meant the current one? */
static int check_current(struct jsonrpc_call *call)
{
	json_int_t which = number(call, "trace", 0);

	if (which == current && current)
		return 0;
	return err_set(&call->err, -ENOENT, "net.trace: trace %lld is over, another was begun",
	               (long long)which);
}

int control_net_trace_read(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	json_int_t from = number(call, "from", 0);
	struct trace_event *events;
	enum trace_state state;
	json_t *list;
	size_t n;

	if (check_current(call) < 0)
		return -ENOENT;
	if (from < 0 || from > TRACE_EVENTS_MAX)
		return err_set(&call->err, -EINVAL, "net.trace.read from: not in 0..%d",
		               TRACE_EVENTS_MAX);
	events = calloc(EVENTS_MAX, sizeof(events[0]));
	if (!events)
		return -ENOMEM;
	/* The state first: what is not read then is still to come. */
	state = trace_state();
	if (state != TRACE_RUNNING)
		end_observers(vm->machine);
	n = trace_read((size_t)from, events, EVENTS_MAX);
	list = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, event(&events[i]));
	free(events);
	call->result =
		json_pack("{s:s, s:I, s:o}", "state", n == EVENTS_MAX ? "running" : states[state],
	                  "next", from + (json_int_t)n, "events", list);
	return 0;
}

int control_net_trace_stop(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	if (check_current(call) < 0)
		return -ENOENT;
	trace_disarm();
	end_observers(vm->machine);
	return 0;
}
