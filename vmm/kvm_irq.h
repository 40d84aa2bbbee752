/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvm_irq: the irq service (irq.h) on KVM: message routes, irqfds, KVM_SIGNAL_MSI, and the lines of
 * either of the two interrupt controllers:
 *
 *   split   local APICs in KVM, the I/O APIC is a device of ours (devices/legacy/ioapic.h). The
 * default. kernel  local APICs, I/O APIC and 8259s in KVM (KVM_CREATE_IRQCHIP).
 */
#ifndef TRIVM_VMM_KVM_IRQ_H
#define TRIVM_VMM_KVM_IRQ_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/err.h"
#include "vmm/irq.h"
#include "vmm/kvm.h"

#define KVM_IRQ_GSIS 1024

enum irqchip {
	IRQCHIP_SPLIT,
	IRQCHIP_KERNEL
};

struct kvm_route {
	bool used;      /* a pin of the split I/O APIC, or allocated */
	bool valid;     /* msg is set */
	bool installed; /* part of the table that KVM has */
	unsigned irqfds;
	struct msi_message msg;
};

struct kvm_irq {
	struct irq_controller ctl; /* what devices are given */
	struct kvm *kvm;
	enum irqchip kind;
	unsigned pins; /* GSIs below this are lines */

	/* Split: who drives the pins. Set once by the machine, before the guest runs. */
	void (*pin)(void *opaque, uint32_t gsi, bool asserted);
	void *pin_opaque;

	pthread_mutex_t lock;     /* routes, stale */
	bool stale;               /* KVM refused the last table: try again with the next change */
	struct kvm_route *routes; /* KVM_IRQ_GSIS of them */
};

/*
 * Create the interrupt controller of the VM. @pins: of the split I/O APIC; KVM's own always has 24.
 * Right after kvm_create_vm() and before memory slots (creating it later is far slower). Main
 * thread.
 */
int kvm_irq_init(struct kvm_irq *irq, struct kvm *kvm, enum irqchip kind, unsigned pins,
                 struct err *err);
void kvm_irq_destroy(struct kvm_irq *irq);

#endif
