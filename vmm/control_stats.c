/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's method stats: what the host's kernel counts (stats.h). */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/control_priv.h"
#include "vmm/json_text.h"
#include "vmm/fd.h"
#include "vmm/stats.h"
#include "vmm/util.h"

#define VCPUS_MAX   64   /* shown one by one; of more only the sum, unless one is asked for */
#define THREADS_MAX 1024 /* shown, but for the kernel's */

/* A stats_kvm() callback: adds to what is there, so that it makes sums, too. */
static void add(void *opaque, const char *name, uint64_t value)
{
	json_t *o = opaque, *old = json_object_get(o, name);

	if (old)
		json_integer_set(old, json_integer_value(old) + (json_int_t)value);
	else
		json_object_set_new(o, name, json_integer((json_int_t)value));
}

struct threads {
	json_t *list;
	unsigned own_workers; /* the kernel's vhost workers that are threads of this process */
};

static void thread(void *opaque, const struct stats_thread *t)
{
	struct threads *all = opaque;

	all->own_workers += t->role == STATS_VHOST_WORKER && t->pid == getpid();
	json_array_append_new(all->list, json_pack("{s:i, s:o, s:s, s:i, s:I, s:I, s:I}", "tid",
	                                           (int)t->tid, "name", json_text(t->name), "role",
	                                           stats_role_name(t->role), "pid", (int)t->pid,
	                                           "cpu_us", (json_int_t)t->cpu_us, "voluntary",
	                                           (json_int_t)t->voluntary, "involuntary",
	                                           (json_int_t)t->involuntary));
}

/*
 * Have KVM's descriptors at hand. Only the first time takes a pause of the guest, of the time that
 * the vCPUs need to leave KVM_RUN; who never asks for stats never has one. A vCPU thread that is not
 * parked in time serves an exit, so KVM answers for its vCPU as well.
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

/* Its exits to user space, as this process saw them. */
static void add_exits(const struct vcpu *vcpu, json_t *o)
{
	for (unsigned i = 0; i < VCPU_EXITS; i++) {
		char name[32];

		snprintf(name, sizeof(name), "user_%s", vcpu_exit_name((enum vcpu_exit)i));
		add(o, name, __atomic_load_n(&vcpu->exits[i], __ATOMIC_RELAXED));
	}
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
		add_exits(&vm->vcpus[i], o);
	}
	if (rc == 0)
		return list;
	json_decref(list);
	err_errno(err, rc, "stats");
	return NULL;
}

/* This process' threads, the kernel's vhost workers for it, and the back-ends of vhost-user. */
static json_t *threads(struct control_vm *c)
{
	struct machine *m = c->machine;
	unsigned workers = m->in.config->vsock_cid != 0;
	struct threads all = {.list = json_array()};
	pid_t seen[CONFIG_NICS_MAX];
	unsigned nr_seen = 0;

	stats_threads(thread, &all, THREADS_MAX);
	for (unsigned i = 0; i < m->nr_nics; i++) {
		struct net_status s;
		unsigned k = 0;

		net_status(&m->nics[i].net, &s);
		if (m->nics[i].options.datapath == NET_DATAPATH_VHOST_NET)
			workers += s.pairs;
		while (k < nr_seen && seen[k] != s.backend)
			k++;
		if (k < nr_seen || s.backend <= 0 || s.backend == getpid())
			continue;
		seen[nr_seen++] = s.backend;
		stats_threads_of(s.backend, thread, &all,
		                 THREADS_MAX - (unsigned)json_array_size(all.list));
	}
	workers -= (unsigned)min_u64(workers, all.own_workers);
	stats_workers(&c->workers, workers, thread, &all);
	return all.list;
}

int control_stats(void *opaque, struct jsonrpc_call *call)
{
	struct control_vm *c = opaque;
	struct vm *vm = &c->machine->vm;
	const json_t *which = json_object_get(call->params, "vcpu");
	unsigned first = 0, last = vm->nr_vcpus - 1;
	json_t *cpus;
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
	call->result = json_pack("{s:o, s:o, s:o}", "vcpus", cpus, "vm", vm_counts(vm), "threads",
	                         threads(c));
	return 0;
}
