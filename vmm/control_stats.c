/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's method stats: what the host's kernel counts (stats.h). */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/control_priv.h"
#include "vmm/fd.h"
#include "vmm/stats.h"

#define VCPUS_MAX   64   /* shown one by one; of more only the sum, unless one is asked for */
#define THREADS_MAX 1024 /* shown */

/* A stats_kvm() callback: adds to what is there, so that it makes sums, too. */
static void add(void *opaque, const char *name, uint64_t value)
{
	json_t *o = opaque, *old = json_object_get(o, name);

	if (old)
		json_integer_set(old, json_integer_value(old) + (json_int_t)value);
	else
		json_object_set_new(o, name, json_integer((json_int_t)value));
}

static void thread(void *opaque, const struct stats_thread *t)
{
	json_array_append_new(opaque, json_pack("{s:i, s:s, s:I, s:I, s:I}", "tid", (int)t->tid,
	                                        "name", t->name, "cpu_us", (json_int_t)t->cpu_us,
	                                        "voluntary", (json_int_t)t->voluntary,
	                                        "involuntary", (json_int_t)t->involuntary));
}

/*
 * Have KVM's descriptors at hand. Only the first time takes a pause of the guest, of the time that
 * the vCPUs need to leave KVM_RUN; who never asks for stats never has one.
 */
static int open_stats(struct vm *vm, struct err *err)
{
	bool runs = vm->state == VM_RUNNING;
	int rc = 0;

	if (vm->vcpus[vm->nr_vcpus - 1].stats_fd >= 0)
		return 0;
	vm_pause(vm);
	for (unsigned i = 0; i < vm->nr_vcpus && rc >= 0; i++)
		rc = vcpu_stats_fd(&vm->vcpus[i]);
	if (runs)
		vm_resume(vm);
	return rc < 0 ? err_errno(err, rc, "stats: KVM_GET_STATS_FD") : 0;
}

/* The VM's own counts. */
static json_t *vm_counts(struct vm *vm)
{
	int fd = kvm_ioctl(vm->kvm.vm_fd, KVM_GET_STATS_FD, NULL);
	json_t *counts = json_object();

	if (fd >= 0)
		stats_kvm(fd, add, counts);
	fd_close(&fd);
	return counts;
}

/* The counts of vCPUs @first to @last, one by one if @each; NULL if KVM has none. */
static json_t *vcpus(struct vm *vm, unsigned first, unsigned last, bool each, struct err *err)
{
	json_t *list = json_array(), *o = NULL;
	int rc = 0;

	for (unsigned i = first; i <= last && rc == 0; i++) {
		if (!o || each) {
			o = json_object();
			if (each)
				json_object_set_new(o, "vcpu", json_integer((json_int_t)i));
			json_array_append_new(list, o);
		}
		rc = stats_kvm(vm->vcpus[i].stats_fd, add, o);
	}
	if (rc == 0)
		return list;
	json_decref(list);
	err_errno(err, rc, "stats");
	return NULL;
}

int control_stats(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *c = opaque;
	struct vm *vm = &c->machine->vm;
	const json_t *which = json_object_get(call->params, "vcpu");
	unsigned first = 0, last = vm->nr_vcpus - 1;
	json_t *cpus, *threads;
	int rc;

	if (which) {
		json_int_t n = json_integer_value(which);

		if (n < 0 || n > (json_int_t)last)
			return err_set(&call->err, -ENOENT, "stats: vCPUs are 0 to %u", last);
		first = last = (unsigned)n;
	}
	rc = open_stats(vm, &call->err);
	if (rc < 0)
		return rc == -ENOTTY ? -ENOTSUP : rc;
	cpus = vcpus(vm, first, last, last - first < VCPUS_MAX, &call->err);
	if (!cpus)
		return -EIO;
	threads = json_array();
	stats_threads(thread, threads, THREADS_MAX);
	call->result = json_pack("{s:o, s:o, s:o}", "vcpus", cpus, "vm", vm_counts(vm), "threads",
	                         threads);
	return 0;
}
