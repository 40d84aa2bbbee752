/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * irq: how a device reaches the guest's interrupt controllers without knowing them.
 *
 * Two kinds, as on the hardware:
 *   - a line (pin of the I/O APIC, named by its GSI): asserted and deasserted;
 *   - a message (MSI): a write of `data` to `addr`, seen by the local APICs.
 * And the kernel's short way for both: an irqfd. Writing to an eventfd that is attached to a GSI
 * makes KVM do what the GSI's route says, without the VMM. Routes to messages have GSIs of their
 * own, above the I/O APIC's pins.
 *
 * The machine gives each device a `struct irq_line` or the `struct irq_controller *`; behind it is
 * KVM (kvm_irq.c), or a test's own table. Every call: any thread, does not block on guests.
 */
#ifndef TRIVM_VMM_IRQ_H
#define TRIVM_VMM_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct msi_message {
	uint64_t addr;
	uint32_t data;
};

struct irq_controller;

struct irq_controller_ops {
	void (*set_line)(struct irq_controller *ctl, uint32_t gsi, bool asserted);
	int (*send_msi)(struct irq_controller *ctl, const struct msi_message *msg);
	int (*route_alloc)(struct irq_controller *ctl, uint32_t *gsi);
	void (*route_free)(struct irq_controller *ctl, uint32_t gsi);
	int (*route_set)(struct irq_controller *ctl, uint32_t gsi, const struct msi_message *msg);
	int (*irqfd)(struct irq_controller *ctl, uint32_t gsi, int fd, bool assign);
};

/* Embedded in the implementer. */
struct irq_controller {
	const struct irq_controller_ops *ops;
};

/* One pin of the I/O APIC. A device that shares its pin shares a wired-or (see pci/intx.h). */
struct irq_line {
	struct irq_controller *ctl;
	uint32_t gsi;
};

static inline void irq_line_set(const struct irq_line *line, bool asserted)
{
	line->ctl->ops->set_line(line->ctl, line->gsi, asserted);
}

/* Edge-triggered pins: one interrupt. */
static inline void irq_line_pulse(const struct irq_line *line)
{
	irq_line_set(line, true);
	irq_line_set(line, false);
}

/*
 * Deliver a message now (KVM_SIGNAL_MSI). Returns 1 if a local APIC accepted it, 0 if each addressed
 * one refused it (software-disabled, say: the guest's own choice), or a negative errno.
 */
static inline int irq_send_msi(struct irq_controller *ctl, const struct msi_message *msg)
{
	return ctl->ops->send_msi(ctl, msg);
}

/* A GSI for a message route, with no route yet (its irqfd does nothing). -ENOSPC: none left. */
static inline int irq_route_alloc(struct irq_controller *ctl, uint32_t *gsi)
{
	return ctl->ops->route_alloc(ctl, gsi);
}
static inline void irq_route_free(struct irq_controller *ctl, uint32_t gsi)
{
	ctl->ops->route_free(ctl, gsi);
}

/* What @gsi's irqfd delivers from now on; @msg NULL: nothing (masked). A negative errno from KVM.
 */
static inline int irq_route_set(struct irq_controller *ctl, uint32_t gsi,
                                const struct msi_message *msg)
{
	return ctl->ops->route_set(ctl, gsi, msg);
}

/* Attach eventfd @fd to @gsi, or detach it. KVM keeps its own reference to the eventfd. */
static inline int irq_irqfd(struct irq_controller *ctl, uint32_t gsi, int fd, bool assign)
{
	return ctl->ops->irqfd(ctl, gsi, fd, assign);
}

#endif
