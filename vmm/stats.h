/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stats: counts that the host's kernel keeps of a VM, read when somebody asks: KVM's own of a VM or
 * a vCPU (api.rst 4.133, KVM_GET_STATS_FD), and of the threads of this process (proc(5)).
 */
#ifndef TRIVM_VMM_STATS_H
#define TRIVM_VMM_STATS_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Call @fn for each count that is one number (not a histogram). @fd is what KVM_GET_STATS_FD gave
 * for a VM or a vCPU. 0 or a negative errno.
 */
int stats_kvm(int fd, void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque);

enum stats_role {
	STATS_MAIN,
	STATS_VCPU,
	STATS_DATAPATH, /* moves packets: the datapath's own, and those of ports that need one */
	STATS_VHOST_WORKER, /* of the host's kernel, for this VM */
	STATS_BACKEND,      /* of the process at the other end of vhost-user */
	STATS_OTHER
};
const char *stats_role_name(enum stats_role role); /* "vhost-worker" */

struct stats_thread {
	pid_t pid, tid;
	enum stats_role role;
	char name[16];
	uint64_t cpu_us;                 /* on a processor, user and system */
	uint64_t voluntary, involuntary; /* context switches */
};
typedef void stats_thread_fn(void *opaque, const struct stats_thread *t);

/*
 * Call @fn for up to @max threads of this process; how many there were, or a negative errno. Also
 * the kernel's vhost workers are among them, since Linux 6.4.
 */
int stats_threads(stats_thread_fn *fn, void *opaque, unsigned max);

/* The same for another process: what can be read of it, which may be nothing. All: STATS_BACKEND.
 */
int stats_threads_of(pid_t pid, stats_thread_fn *fn, void *opaque, unsigned max);

#define STATS_WORKERS_MAX 64

/* Where the workers were found. Zero: not looked for. */
struct stats_workers {
	unsigned nr;
	pid_t tids[STATS_WORKERS_MAX];
	unsigned expected;  /* when that was */
	uint64_t looked_ms; /* CLOCK_MONOTONIC */
};

/*
 * Before Linux 6.4 a vhost worker is a kernel thread named after the process that opened the device
 * ("vhost-PID"). Call @fn for those of this process. They are looked for in all of /proc, if
 * @expected - how many there should be - has changed, or fewer are there and STATS_LOOK_MS have
 * passed. (In a PID namespace there are none to be seen.)
 */
#define STATS_LOOK_MS 10000
void stats_workers(struct stats_workers *w, unsigned expected, stats_thread_fn *fn, void *opaque);

#endif
