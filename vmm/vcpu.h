/* SPDX-License-Identifier: BSD-2-Clause */
/* vcpu: one virtual CPU: its KVM fd and the thread that runs it. */
#ifndef TRIVM_VMM_VCPU_H
#define TRIVM_VMM_VCPU_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/err.h"

struct vm;
struct kvm_run;

/* Returns of KVM_RUN, by what KVM wanted. Each exit is one, however many bytes it moves. */
enum vcpu_exit {
	VCPU_EXIT_PIO_IN,
	VCPU_EXIT_PIO_OUT,
	VCPU_EXIT_MMIO_READ,
	VCPU_EXIT_MMIO_WRITE,
	VCPU_EXIT_EOI,         /* of a level-triggered interrupt of the split I/O APIC */
	VCPU_EXIT_INTERRUPTED, /* by a signal: to be paused, to end; or KVM wanted nothing */
	VCPU_EXIT_OTHER,
	VCPU_EXITS
};
#define VCPU_CACHE_LINE 64

struct vcpu {
	struct vm *vm;
	unsigned id;
	int fd;
	int stats_fd;        /* -1 until somebody asks (vcpu_stats_fd()) */
	struct kvm_run *run; /* shared with KVM; the vCPU's thread only */
	pthread_t thread;
	bool started;
	/* The vCPU's thread adds (counter_add()), anybody reads. A line of its own: nobody waits.
	 */
	uint64_t exits[VCPU_EXITS] __attribute__((aligned(VCPU_CACHE_LINE)));
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

/* "pio_in": the name of a kind of exit. */
const char *vcpu_exit_name(enum vcpu_exit kind);

/* Start its thread; it runs, parks and ends as vm.h's request says. */
int vcpu_start(struct vcpu *vcpu, struct err *err);
void vcpu_join(struct vcpu *vcpu);

/* Make it look at vm->request soon, whether it is in KVM_RUN or about to enter it. Any thread. */
void vcpu_kick(struct vcpu *vcpu);

#endif
