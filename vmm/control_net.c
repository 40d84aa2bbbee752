/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods for network cards: net.* */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/control_priv.h"
#include "vmm/util.h"

/* The card that parameter "id" names, or NULL with the sentence in call->err. */
static struct nic *find(struct control_vm *vm, struct jsonrpc_call *call)
{
	const char *id = json_string_value(json_object_get(call->params, "id"));
	struct machine *m = vm->machine;

	for (unsigned i = 0; i < m->nr_nics; i++)
		if (strcmp(m->nics[i].name, id) == 0)
			return &m->nics[i];
	err_set(&call->err, -ENOENT, "%s: there is no such network card; `net.list` has them", id);
	return NULL;
}

static json_t *describe(struct nic *nic)
{
	struct net_status s;
	char mac[18];

	net_status(&nic->net, &s);
	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", s.mac[0], s.mac[1], s.mac[2],
	         s.mac[3], s.mac[4], s.mac[5]);
	return json_pack("{s:s, s:s, s:s, s:b, s:b, s:s, s:s, s:b, s:i, s:i}", "id", nic->name,
	                 "mac", mac, "link", s.link ? "up" : "down", "plugged", s.plugged,
	                 "carrier", s.carrier, "datapath", s.datapath, "port", nic->wire, "driver",
	                 s.driver, "pairs", (int)s.pairs, "pairs_used", (int)s.pairs_used);
}

int control_net_list(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	struct nic *one = NULL;

	if (json_object_get(call->params, "id")) {
		one = find(vm, call);
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
	struct nic *nic = find(vm, call);

	if (!nic)
		return -ENOENT;
	if (net_set_link(&nic->net, up))
		control_notify(
			vm->control, "link",
			json_pack("{s:s, s:s}", "device", nic->name, "link", up ? "up" : "down"));
	call->result = describe(nic);
	return 0;
}

int control_net_datapath(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	const char *spec = json_string_value(json_object_get(call->params, "spec"));
	struct nic *nic = find(vm, call);
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
	call->result = json_pack("{s:s, s:s, s:s, s:b, s:i, s:i, s:I}", "id", nic->name, "datapath",
	                         s.datapath, "port", nic->wire, "driver", report.running, "rings",
	                         (int)report.rings, "frames", (int)report.frames, "gap_us",
	                         (json_int_t)report.gap_us);
	event = json_copy(call->result);
	json_object_del(event, "id");
	json_object_set_new(event, "device", json_string(nic->name));
	control_notify(vm->control, "datapath", event);
	return 0;
}

/* What struct datapath_stats has, by name. */
static const struct {
	const char *name;
	size_t offset;
} counters[] = {
	{"packets", offsetof(struct datapath_stats, packets)},
	{"bytes", offsetof(struct datapath_stats, bytes)},
	{"batches", offsetof(struct datapath_stats, batches)},
	{"wakeups", offsetof(struct datapath_stats, wakeups)},
	{"drop_link", offsetof(struct datapath_stats, drop_link)},
	{"drop_port", offsetof(struct datapath_stats, drop_port)},
	{"drop_size", offsetof(struct datapath_stats, drop_size)},
	{"drop_filter", offsetof(struct datapath_stats, drop_filter)},
	{"chains", offsetof(struct datapath_stats, queue.chains)},
	{"interrupts", offsetof(struct datapath_stats, queue.interrupts)},
	{"interrupts_spared", offsetof(struct datapath_stats, queue.interrupts_spared)},
	{"kicks_off", offsetof(struct datapath_stats, queue.kicks_off)},
};
_Static_assert(sizeof(struct datapath_stats) == ARRAY_SIZE(counters) * sizeof(uint64_t),
               "a counter without a name");

static json_t *counts(struct net *net, unsigned ring)
{
	json_t *out =
		json_pack("{s:i, s:s}", "ring", (int)ring, "direction", ring & 1 ? "tx" : "rx");
	struct datapath_stats s;

	net_stats(net, ring, &s);
	for (size_t i = 0; i < ARRAY_SIZE(counters); i++) {
		uint64_t value;

		memcpy(&value, (const char *)&s + counters[i].offset, sizeof(value));
		json_object_set_new(out, counters[i].name, json_integer((json_int_t)value));
	}
	return out;
}

int control_net_stats(void *opaque, struct jsonrpc_call *call)
{
	struct nic *nic = find(opaque, call);
	json_t *rings;

	if (!nic)
		return -ENOENT;
	rings = json_array();
	for (unsigned i = 0; i < 2 * nic->net.config.pairs; i++)
		json_array_append_new(rings, counts(&nic->net, i));
	call->result = json_pack("{s:s, s:o}", "id", nic->name, "rings", rings);
	return 0;
}
