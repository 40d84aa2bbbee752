/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * intx: the four shared, level-triggered interrupt lines of the PCI bus (PCI 3.0, 2.2.6).
 *
 * A line is a wired or: it is asserted while at least one device pulls it. The host bridge connects
 * pin INTA..INTD (1..4) of the device in a slot to one of four GSIs, turned by the slot, so that
 * single-pin devices spread over all four. The ACPI _PRT, the FDT's interrupt-map and the MP table
 * say the same: the formula is pci_intx_index().
 */
#ifndef TRIVM_DEVICES_PCI_INTX_H
#define TRIVM_DEVICES_PCI_INTX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/irq.h"

#define PCI_INTX_LINES 4

/* Which of the four lines: @pin is 1 (INTA) to 4 (INTD), as in the config space. */
static inline unsigned pci_intx_index(unsigned slot, unsigned pin)
{
	return (slot + pin - 1) % PCI_INTX_LINES;
}

struct pci_intx {
	struct irq_controller *ctl;
	uint32_t gsi[PCI_INTX_LINES];

	pthread_mutex_t lock; /* the counts, every source's fields, and the order of line changes */
	unsigned drivers[PCI_INTX_LINES]; /* sources that pull this line now */
};

/* A device's end. Zero is a device without a pin: everything below is then a no-op. */
struct pci_intx_source {
	struct pci_intx *intx;
	unsigned line;
	bool level;   /* the device has a cause to interrupt: the status register's bit */
	bool blocked; /* command register's INTx disable, or MSI-X is in use */
	bool driving; /* counted in intx->drivers */
};

/* @gsi: PCI_INTX_LINES of them. Main thread, before the guest runs. */
void pci_intx_init(struct pci_intx *intx, struct irq_controller *ctl, const uint32_t *gsi);
void pci_intx_destroy(struct pci_intx *intx);

/* Connect a source to a line; before the guest runs. */
void pci_intx_connect(struct pci_intx_source *src, struct pci_intx *intx, unsigned line);

/* Any thread, whatever locks of the device's own are held. */
void pci_intx_set(struct pci_intx_source *src, bool level);
void pci_intx_block(struct pci_intx_source *src, bool blocked);
bool pci_intx_level(struct pci_intx_source *src);

#endif
