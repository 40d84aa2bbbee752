/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods for network cards: net.* */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/control_priv.h"
#include "vmm/json_text.h"
#include "vmm/util.h"

struct nic *control_find_nic(struct control_vm *vm, struct jsonrpc_call *call)
{
	const char *id = json_string_value(json_object_get(call->params, "id"));
	struct machine *m = vm->machine;

	for (unsigned i = 0; i < m->nr_nics; i++)
		if (strcmp(m->nics[i].name, id) == 0)
			return &m->nics[i];
	err_set(&call->err, -ENOENT,
	        "%s: there is no such network card; `trivm ctl NAME net` (net.list) lists them",
	        id);
	return NULL;
}

static json_t *describe(struct nic *nic)
{
	struct net_status s;
	char mac[18];
	json_t *out;

	net_status(&nic->net, &s);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", s.mac[0], s.mac[1], s.mac[2],
	         s.mac[3], s.mac[4], s.mac[5]);
	out = json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:o, s:b, s:i, s:i}", "id", nic->name,
	                "mac", mac, "link", s.link ? "up" : "down", "plugged", s.plugged, "carrier",
	                s.carrier, "datapath", s.datapath, "port", json_text(nic->wire), "driver",
	                s.driver, "pairs", (int)s.pairs, "pairs_used", (int)s.pairs_used);
	if (s.held)
		json_object_set_new(out, "rings_held_by", json_integer(s.held_by));
	return out;
}

int control_net_list(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	struct nic *one = NULL;

	if (json_object_get(call->params, "id")) {
		one = control_find_nic(vm, call);
		if (!one)
			return -ENOENT;
	}
	call->result = json_array();
	for (unsigned i = 0; i < vm->machine->nr_nics; i++)
		if (!one || one == &vm->machine->nics[i])
			json_array_append_new(call->result, describe(&vm->machine->nics[i]));
	return 0;
}

int control_net_link(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	bool up = json_is_true(json_object_get(call->params, "up"));
	struct nic *nic = control_find_nic(vm, call);

	if (!nic)
		return -ENOENT;
	if (net_set_link(&nic->net, up))
		control_notify(
			vm->control, "link",
			json_pack("{s:s, s:s}", "device", nic->name, "link", up ? "up" : "down"));
	call->result = describe(nic);
	return 0;
}

int control_net_reset(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	struct nic *nic = control_find_nic(vm, call);
	int rc = nic ? net_reset(&nic->net, &call->err) : -ENOENT;

	if (rc == 0)
		call->result = describe(nic);
	return rc;
}

int control_net_datapath(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	const char *spec = json_string_value(json_object_get(call->params, "spec"));
	struct nic *nic = control_find_nic(vm, call);
	struct net_switch_report report;
	struct net_status s;
	json_t *event;
	int rc;

	if (!nic)
		return -ENOENT;
	rc = nic_switch(nic, spec, &report, &call->err);
	if (rc < 0)
		return rc;
	net_status(&nic->net, &s);
	call->result = json_pack("{s:s, s:s, s:o, s:b, s:i, s:i, s:I}", "id", nic->name, "datapath",
	                         s.datapath, "port", json_text(nic->wire), "driver", report.running,
	                         "rings", (int)report.rings, "frames", (int)report.frames, "gap_us",
	                         (json_int_t)report.gap_us);
	if (report.warning[0])
		json_object_set_new(call->result, "warning", json_text(report.warning));
	event = json_copy(call->result);
	json_object_del(event, "id");
	json_object_set_new(event, "device", json_string(nic->name));
	control_notify(vm->control, "datapath", event);
	return 0;
}

/* What struct datapath_stats has, by name. @nr: it is a list of so many; 1: a number. */
#define COUNTER(name, member)                                    \
	{                                                        \
		name, offsetof(struct datapath_stats, member), 1 \
	}
static const struct {
	const char *name;
	size_t offset;
	unsigned nr;
} counters[] = {
	COUNTER("packets", packets),
	COUNTER("bytes", bytes),
	COUNTER("batches", batches),
	{"batch_sizes", offsetof(struct datapath_stats, batch_sizes), DATAPATH_BATCH_SIZES},
	COUNTER("wakeups", wakeups),
	COUNTER("drop_link", drop_link),
	COUNTER("drop_port", drop_port),
	COUNTER("drop_size", drop_size),
	COUNTER("drop_filter", drop_filter),
	COUNTER("chains", queue.chains),
	COUNTER("interrupts", queue.interrupts),
	COUNTER("interrupts_spared", queue.interrupts_spared),
	COUNTER("kicks_off", queue.kicks_off),
};
_Static_assert(sizeof(struct datapath_stats) ==
                       (ARRAY_SIZE(counters) - 1 + DATAPATH_BATCH_SIZES) * sizeof(uint64_t),
               "a counter without a name");

static json_t *counter(const struct datapath_stats *s, size_t i)
{
	uint64_t values[DATAPATH_BATCH_SIZES];
	unsigned nr = counters[i].nr;
	json_t *list;

	memcpy(values, (const char *)s + counters[i].offset, nr * sizeof(values[0]));
	if (nr == 1)
		return json_integer((json_int_t)values[0]);
	list = json_array();
	for (unsigned k = 0; k < nr; k++)
		json_array_append_new(list, json_integer((json_int_t)values[k]));
	return list;
}

/*
 * How many interrupts went by irqfd. The owner of a ring, if it is of this process, writes the call
 * fd for each; what the main loop has not carried of that, KVM took. @s NULL: somebody else writes
 * it, and what KVM takes nobody counts.
 */
static json_t *by_irqfd(const struct nic *nic, const struct datapath_stats *s,
                        const struct virtio_call_counts *c)
{
	if (nic->options.virtio.inject_ioctl)
		return json_integer(0);
	if (!s)
		return json_null();
	return json_integer(s->queue.interrupts > c->own_calls
	                            ? (json_int_t)(s->queue.interrupts - c->own_calls)
	                            : 0);
}

static json_t *counts(struct nic *nic, unsigned ring)
{
	json_t *out =
		json_pack("{s:i, s:s}", "ring", (int)ring, "direction", ring & 1 ? "tx" : "rx");
	struct virtio_events *events = virtio_transport_events(&nic->transport);
	struct virtio_call_counts calls;
	struct datapath_stats s;
	bool counted = net_stats(&nic->net, ring, &s) == 0;

	for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
		json_object_set_new(out, counters[i].name, counted ? counter(&s, i) : json_null());
	control_add_ways(out, &nic->net.dev, events, ring, &calls);
	json_object_set_new(out, "interrupts_irqfd",
	                    events ? by_irqfd(nic, counted ? &s : NULL, &calls) : json_null());
	return out;
}

/* What the host's kernel counts of the card's interface; NULL: there is none. */
static json_t *interface(const struct nic *nic)
{
	const struct port *port =
		nic->options.datapath == NET_DATAPATH_VHOST_USER ? NULL : nic->port;
	struct port_counts c = {0};

	if (!port || !port->ops->counts || port->ops->counts(port, &c) < 0)
		return NULL;
	return json_pack("{s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "name", json_text(c.interface),
	                 "to_guest_packets", (json_int_t)c.to_guest_packets, "to_guest_bytes",
	                 (json_int_t)c.to_guest_bytes, "to_guest_dropped",
	                 (json_int_t)c.to_guest_dropped, "from_guest_packets",
	                 (json_int_t)c.from_guest_packets, "from_guest_bytes",
	                 (json_int_t)c.from_guest_bytes, "from_guest_dropped",
	                 (json_int_t)c.from_guest_dropped);
}

int control_net_stats(void *opaque, struct jsonrpc_call *call)
{
	struct nic *nic = control_find_nic(opaque, call);
	json_t *rings, *wire;

	if (!nic)
		return -ENOENT;
	rings = json_array();
	for (unsigned i = 0; i < 2 * nic->net.config.pairs; i++)
		json_array_append_new(rings, counts(nic, i));
	call->result = json_pack("{s:s, s:o}", "id", nic->name, "rings", rings);
	wire = interface(nic);
	if (wire)
		json_object_set_new(call->result, "interface", wire);
	return 0;
}
