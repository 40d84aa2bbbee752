/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one table of methods, with what each takes; jsonrpc.c holds callers to it.
 * The methods run on the main loop between two of its callbacks, so the machine is whole whenever
 * one runs. None waits for the guest or for a client; pausing waits VM_PAUSE_MS at most for the vCPU
 * threads to leave KVM_RUN, and goes on behind the reply if one of them still serves an exit.
 */
#include "vmm/control_vm.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/control_priv.h"
#include "vmm/json_text.h"
#include "vmm/log.h"
#include "vmm/util.h"

static const char *state_name(struct machine *m)
{
	if (machine_end(m) != MACHINE_RUNS)
		return "ending";
	if (vm_is_paused(&m->vm))
		return "paused";
	return m->vm.state == VM_PAUSING ? "pausing" : "running";
}

static int status(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	const struct config *c = vm->config;

	call->result = json_pack(
		"{s:s, s:i, s:s, s:s, s:f, s:i, s:i, s:I, s:s, s:o}", "name", vm->name, "pid",
		(int)getpid(), "version", TRIVM_VERSION, "state", state_name(vm->machine), "uptime",
		(double)(clock_ms() - vm->since_ms) / 1000, "boots", (int)vm->boots, "cpus",
		(int)c->cpus, "memory", (json_int_t)c->memory, "irqchip",
		c->irqchip == IRQCHIP_SPLIT ? "split" : "kernel", "kernel",
		json_text(vm->machine->in.kernel->path));
	if (call->result && vm->console)
		json_object_set_new(call->result, "console", json_text(vm->console));
	return call->result ? 0 : -ENOMEM;
}

static int state_reply(struct control_vm *vm, struct jsonrpc_call *call)
{
	call->result = json_pack("{s:s}", "state", state_name(vm->machine));
	return 0;
}

static int pause_vm(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	bool was_running = vm->machine->vm.state == VM_RUNNING;

	/* A pause that is complete later is announced by the vCPU thread that parks last. */
	if (vm_pause(&vm->machine->vm) && was_running)
		control_notify(vm->control, "paused", NULL);
	return state_reply(vm, call);
}

static int resume_vm(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	if (vm->machine->vm.state == VM_PAUSED || vm->machine->vm.state == VM_PAUSING) {
		vm_resume(&vm->machine->vm);
		control_notify(vm->control, "resumed", NULL);
	}
	return state_reply(vm, call);
}

static int powerdown(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	machine_power_button(vm->machine);
	return state_reply(vm, call);
}

static int reset(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	vm->reset = true;
	machine_stop(vm->machine, MACHINE_RESET);
	return state_reply(vm, call);
}

static int quit(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	machine_stop(vm->machine, MACHINE_QUIT);
	return state_reply(vm, call);
}

static int console_break(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;
	const struct chardev_client *dev = &vm->machine->in.com1->client;

	(void)call;
	dev->line_break(dev->opaque);
	return 0;
}

/* --- device.list --- */

/* Virtio 1.2, 2.1. */
static const struct {
	uint8_t bit;
	const char *name;
} status_bits[] = {
	{VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE"}, {VIRTIO_CONFIG_S_DRIVER, "DRIVER"},
	{VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK"}, {VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK"},
	{VIRTIO_CONFIG_S_NEEDS_RESET, "NEEDS_RESET"}, {VIRTIO_CONFIG_S_FAILED, "FAILED"},
};

static json_t *status_words(uint8_t bits)
{
	json_t *words = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(status_bits); i++)
		if (bits & status_bits[i].bit)
			json_array_append_new(words, json_string(status_bits[i].name));
	return words;
}

static json_t *device(const struct virtio_transport *t)
{
	/* Virtio 1.2, 5. */
	static const char *const types[] = {
		[1] = "net",  [2] = "block",  [3] = "console", [4] = "rng", [5] = "balloon",
		[8] = "scsi", [18] = "input", [19] = "vsock",  [26] = "fs",
	};
	struct virtio_device *dev = t->dev;
	const char *type = dev->type < ARRAY_SIZE(types) ? types[dev->type] : NULL;
	char where[24], offered[20], features[20];

	if (t->is_mmio)
		snprintf(where, sizeof(where), "mmio");
	else
		snprintf(where, sizeof(where), "pci 00:%02x.0", t->pci.pci.slot);
	snprintf(offered, sizeof(offered), "0x%llx", (unsigned long long)dev->offered);
	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)virtio_accepted(dev));
	return json_pack("{s:s, s:s, s:s, s:o, s:i, s:s, s:s}", "id", dev->name, "type",
	                 type ? type : "other", "where", where, "status",
	                 status_words(virtio_status(dev)), "queues", (int)dev->nr_queues,
	                 "features_offered", offered, "features_accepted", features);
}

static int device_list(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	call->result = json_array();
	for (const struct virtio_transport *t = vm->machine->virtio.first; t; t = t->next)
		json_array_append_new(call->result, device(t));
	return 0;
}

/* --- The log, and events --- */

static int log_level_method(void *opaque, struct jsonrpc_call *call)
{
	static const char *const names[] = {"error", "warning", "info", "debug"};
	const char *want = json_string_value(json_object_get(call->params, "level"));
	size_t i;

	(void)opaque;
	for (i = 0; want && i < ARRAY_SIZE(names); i++)
		if (strcmp(want, names[i]) == 0)
			break;
	if (want && i == ARRAY_SIZE(names))
		return err_set(&call->err, -EINVAL,
		               "log.level %s: expected one of: error, warning, info, debug", want);
	if (want)
		log_set_level((enum log_level)i);
	call->result = json_pack("{s:s}", "level", names[log_level()]);
	return 0;
}

static int subscribe(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	return control_subscribe(vm->control, call->client, true, &call->err);
}

static int unsubscribe(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *vm = opaque;

	return control_subscribe(vm->control, call->client, false, &call->err);
}

/* --- The table --- */

static int list_methods(void *opaque, struct jsonrpc_call *call);

static const struct jsonrpc_method methods[] = {
	{"methods", "", list_methods},
	{"status", "", status},
	{"pause", "", pause_vm},
	{"resume", "", resume_vm},
	{"powerdown", "", powerdown},
	{"reset", "", reset},
	{"quit", "", quit},
	{"console.break", "", console_break},
	{"device.list", "", device_list},
	{"device.rings", "id:string [ring:integer] [descriptors:boolean]", control_device_rings},
	{"device.stats", "id:string", control_device_stats},
	{"disk.list", "[id:string]", control_disk_list},
	{"disk.resize", "id:string", control_disk_resize},
	{"net.list", "[id:string]", control_net_list},
	{"net.link", "id:string up:boolean", control_net_link},
	{"net.reset", "id:string", control_net_reset},
	{"net.datapath", "id:string spec:string", control_net_datapath},
	{"net.stats", "id:string", control_net_stats},
	{"net.trace",
         "id:string [ring:integer] [direction:string] [packets:integer] [seconds:integer] "
         "[observe:boolean]",
         control_net_trace},
	{"net.trace.read", "trace:integer [from:integer]", control_net_trace_read},
	{"net.trace.stop", "trace:integer", control_net_trace_stop},
	{"stats", "[vcpu:integer]", control_stats},
	{"log.level", "[level:string]", log_level_method},
	{"events.subscribe", "", subscribe},
	{"events.unsubscribe", "", unsubscribe},
};

static int list_methods(void *opaque, struct jsonrpc_call *call)
{
	(void)opaque;
	call->result = json_array();
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		json_array_append_new(call->result, json_pack("{s:s, s:s}", "name", methods[i].name,
		                                              "params", methods[i].params));
	return 0;
}

struct jsonrpc control_vm_methods(struct control_vm *vm)
{
	static const char *const slow[] = {"device.rings", "net.trace.read", NULL};

	return (struct jsonrpc){
		.methods = methods, .nr_methods = ARRAY_SIZE(methods), .slow = slow, .opaque = vm};
}

void control_vm_started(struct control_vm *vm)
{
	if (!vm->boots)
		vm->since_ms = clock_ms();
	vm->boots++;
	/* The first JSON object is the one that costs: a seed from /dev/urandom. */
	if (control_heard(vm->control))
		control_notify(vm->control, "started", json_pack("{s:i}", "boots", (int)vm->boots));
}
