/* SPDX-License-Identifier: BSD-2-Clause */
/* pci_route: how notifications and interrupts of a virtio-pci device travel. For pci.c only. */
#ifndef TRIVM_DEVICES_VIRTIO_PCI_ROUTE_H
#define TRIVM_DEVICES_VIRTIO_PCI_ROUTE_H

#include "devices/virtio/pci.h"

#define VIRTIO_PCI_NOTIFY_STEP 4 /* bytes from one queue's notification address to the next */

extern const struct virtio_transport_ops virtio_pci_transport_ops;

/* Bring queue @index's call fd to where it belongs now. p->lock is held. */
void virtio_pci_route(struct virtio_pci *p, unsigned index);

/* The same for all queues, and the INTx line. Takes p->lock. */
void virtio_pci_routes_update(struct virtio_pci *p);

/* For virtio_events_init(). */
void virtio_pci_called(struct virtio_events *events, unsigned index);

/* Reading the ISR status clears it and lowers the line. Takes p->lock. */
uint8_t virtio_pci_isr_read(struct virtio_pci *p);

#endif
