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

struct stats_thread {
	pid_t tid;
	char name[16];
	uint64_t cpu_us;                 /* on a processor, user and system */
	uint64_t voluntary, involuntary; /* context switches */
};

/* Call @fn for up to @max threads of this process; how many there were, or a negative errno. */
int stats_threads(void (*fn)(void *opaque, const struct stats_thread *t), void *opaque,
                  unsigned max);

#endif
