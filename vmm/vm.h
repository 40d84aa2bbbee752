/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vm: the virtual machine without its devices: KVM, memory, buses, interrupts, vCPUs.
 *
 *   NEW      being put together: memory, regions, devices may be added
 *
 *   BUILT    memory and buses are frozen, vCPUs exist and have their first registers; no thread runs
 *
 *   RUNNING  every vCPU's thread is in KVM_RUN or serves an exit
 *
 *   PAUSING  every vCPU's thread was asked to wait, and at least one still serves an exit
 *
 *   PAUSED   every vCPU's thread waits outside KVM_RUN; others may read and write vCPU state
 *
 *   STOPPED  no vCPU thread is left; only vm_destroy() may follow
 *
 *   NEW -vm_freeze-> BUILT -vm_start-> RUNNING -vm_pause-> PAUSING -vm_pause-> PAUSED -vm_resume->
 *   RUNNING; PAUSING -vm_resume-> RUNNING; any -vm_stop-> STOPPED
 */
#ifndef TRIVM_VMM_VM_H
#define TRIVM_VMM_VM_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arch/x86/cpu.h"
#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/event.h"
#include "vmm/guest_event.h"
#include "vmm/kvm.h"
#include "vmm/kvm_irq.h"
#include "vmm/memory.h"
#include "vmm/ram.h"
#include "vmm/vcpu.h"

enum vm_state {
	VM_NEW,
	VM_BUILT,
	VM_RUNNING,
	VM_PAUSING,
	VM_PAUSED,
	VM_STOPPED,
};

/* What vCPU threads are asked to do. */
enum vm_request {
	VM_REQUEST_RUN,
	VM_REQUEST_PAUSE,
	VM_REQUEST_STOP,
};

struct vm_config {
	const char *kvm_path;
	unsigned cpus;
	enum irqchip irqchip;
	bool nested;
	struct ram_config ram;
};

struct vm {
	enum vm_state state; /* main thread */
	struct kvm kvm;
	struct memory mem;
	struct ram ram;
	struct bus pio, mmio;
	struct kvm_irq irq;
	struct cpu_model model;
	unsigned nr_vcpus;
	struct vcpu *vcpus;

	/* Split irqchip: the guest's EOI of a level-triggered vector. Any vCPU thread. */
	void (*eoi)(void *opaque, uint8_t vector);
	void *eoi_opaque;

	/* What ends the guest from within: triple faults, KVM errors. */
	struct guest_event_sink sink;

	_Atomic int request; /* enum vm_request; vCPU threads look at it before each KVM_RUN */
	pthread_mutex_t park_lock; /* parked, and changes of request */
	pthread_cond_t park_cond;
	unsigned parked;    /* vCPU threads that wait or have ended; in wait: which */
	bool pause_overdue; /* vm_pause() has returned before all were parked */
	struct event_sink
		*events; /* "paused" is posted here when an overdue pause is complete; or NULL */
};

/* KVM, RAM, interrupt controller, buses, in a zeroed @vm. On an error nothing is left behind. Main
 * thread, as all here. */
int vm_create(struct vm *vm, const struct vm_config *config, struct err *err);

/* NEW -> BUILT: freeze memory and buses, make the vCPUs, put the first at @entry. */
int vm_freeze(struct vm *vm, const struct boot_entry *entry, struct err *err);

int vm_start(struct vm *vm, struct err *err); /* BUILT -> RUNNING */
void vm_resume(struct vm *vm);                /* PAUSED, PAUSING -> RUNNING */
void vm_stop(struct vm *vm);                  /* any -> STOPPED, threads are joined. Idempotent */
void vm_destroy(struct vm *vm);               /* idempotent */

/*
 * RUNNING -> PAUSING -> PAUSED: asks every vCPU thread to wait, and waits at most VM_PAUSE_MS until
 * they do: the caller is the main loop, and a vCPU thread may be held up by a device. Returns true
 * if the VM is PAUSED. Another call looks (and waits) again.
 */
#define VM_PAUSE_MS 100
bool vm_pause(struct vm *vm);

/* The same without asking or waiting: PAUSING becomes PAUSED when it is. Returns true if PAUSED. */
bool vm_is_paused(struct vm *vm);

/* For vCPU threads: wait while paused. False: end the thread. */
bool vm_park(struct vm *vm);

/* For a vCPU thread that cannot run any more: wait until something else than RUN is asked. */
void vm_wait_request(struct vm *vm);

#endif
