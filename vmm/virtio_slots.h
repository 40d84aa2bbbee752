/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_slots: where virtio devices are put: a slot of the PCI bus, or a page for virtio-mmio with
 * an interrupt of its own, which ACPI and the device tree then describe.
 */
#ifndef TRIVM_VMM_VIRTIO_SLOTS_H
#define TRIVM_VMM_VIRTIO_SLOTS_H

#include <stdbool.h>

#include "arch/x86/layout.h"
#include "arch/x86/platform.h"
#include "devices/pci/pci.h"
#include "devices/virtio/device.h"
#include "devices/virtio/mmio.h"
#include "devices/virtio/pci.h"
#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/event.h"
#include "vmm/irq.h"
#include "vmm/loop.h"
#include "vmm/virtio_options.h"

struct virtio_transport;

/* Borrowed: pci to events. */
struct virtio_slots {
	struct pci_host *pci;
	struct bus *mmio;
	struct irq_controller *irq;
	struct loop *loop;
	const struct event_sink *events; /* NULL: nobody watches */
	bool split_irqchip;              /* it has a pin for each slot; KVM's own leaves a dozen */

	unsigned nr_mmio;
	struct platform_slot mmio_slots[LAYOUT_VIRTIO_MMIO_MAX]; /* the first nr_mmio are taken */
	struct virtio_transport *first, *last; /* the devices, in the order in which they came */
};

/* A device's transport, of either kind. Zero: none. */
struct virtio_transport {
	bool is_mmio, is_pci;
	struct virtio_device *dev;
	struct virtio_slots *slots;
	struct virtio_transport *next; /* in slots */
	union {
		struct virtio_mmio mmio;
		struct virtio_pci pci;
	};
};

/*
 * Take the next virtio-mmio slot. -ENOSPC: none left, or no interrupt. For those who build their
 * transport themselves.
 */
int virtio_slots_take_mmio(struct virtio_slots *slots, struct platform_slot *slot, struct err *err);

/*
 * Give @dev a transport as @options say. Both are kept by the caller until
 * virtio_transport_remove(), before or after the device was destroyed. Main thread, before the
 * guest runs; removal: vCPUs stopped, idempotent.
 */
int virtio_transport_add(struct virtio_transport *t, struct virtio_device *dev,
                         const struct virtio_options *options, struct virtio_slots *slots,
                         struct err *err);
void virtio_transport_remove(struct virtio_transport *t);

/* Its eventfds and what is counted of them; NULL: there is no transport. */
struct virtio_events *virtio_transport_events(struct virtio_transport *t);

#endif
