/* SPDX-License-Identifier: BSD-2-Clause */
/* vcpu: one virtual CPU: its KVM fd and the thread that runs it. */
#ifndef TRIVM_VMM_VCPU_H
#define TRIVM_VMM_VCPU_H

#include <pthread.h>
#include <stdbool.h>

#include "vmm/err.h"

struct vm;
struct kvm_run;

struct vcpu {
	struct vm *vm;
	unsigned id;
	int fd;
	int stats_fd;        /* -1 until somebody asks (vcpu_stats_fd()) */
	struct kvm_run *run; /* shared with KVM; the vCPU's thread only */
	pthread_t thread;
	bool started;
};

/* Create vCPU @id of @vm (its KVM fd and kvm_run). Main thread, VM state NEW. Idempotent destroy.
 */
int vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned id, struct err *err);
void vcpu_destroy(struct vcpu *vcpu);

/*
 * A descriptor of KVM's counts of this vCPU (stats.h), kept until it is destroyed; or a negative
 * errno. The VM is paused when this is called for the first time: KVM waits for the end of KVM_RUN.
 * Main thread.
 */
int vcpu_stats_fd(struct vcpu *vcpu);

/* Start its thread; it runs, parks and ends as vm.h's request says. */
int vcpu_start(struct vcpu *vcpu, struct err *err);
void vcpu_join(struct vcpu *vcpu);

/* Make it look at vm->request soon, whether it is in KVM_RUN or about to enter it. Any thread. */
void vcpu_kick(struct vcpu *vcpu);

#endif
