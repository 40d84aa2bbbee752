/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-pci: a virtio device as a PCI function (virtio 1.2, 4.1 "Virtio Over PCI Bus"), without
 * the legacy interface.
 *
 *	1af4:1040 + type, revision 1, INTA
 *	BAR 0	memory, 32 bits, 16 KiB, a page each: common configuration, ISR status, device
 *		configuration, notifications (4 bytes a queue)
 *	BAR 1	MSI-X: a vector for each queue and one for configuration changes
 *
 * Not prefetchable, as reading the ISR status has an effect. A page each, so that a guest can hand
 * the notifications alone to a program of its own.
 */
#ifndef TRIVM_DEVICES_VIRTIO_PCI_H
#define TRIVM_DEVICES_VIRTIO_PCI_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "devices/virtio/device.h"
#include "devices/virtio/events.h"
#include "vmm/err.h"
#include "vmm/loop.h"

enum virtio_pci_bar {
	VIRTIO_PCI_BAR_REGS = 0,
	VIRTIO_PCI_BAR_MSIX = 1,
};

/* In VIRTIO_PCI_BAR_REGS. */
enum virtio_pci_region {
	VIRTIO_PCI_COMMON = 0x0000,
	VIRTIO_PCI_ISR_STATUS = 0x1000,
	VIRTIO_PCI_DEVICE = 0x2000,
	VIRTIO_PCI_NOTIFY = 0x3000,
	VIRTIO_PCI_REGION_SIZE = 0x1000,
};

struct virtio_pci_config {
	int slot;          /* -1: the next free one */
	struct loop *loop; /* the main loop: what the kernel cannot carry goes through it */
	bool notify_exit;  /* notifications by an exit to the VMM instead of ioeventfd */
	bool inject_ioctl; /* interrupts by the VMM instead of irqfd */
};

struct virtio_pci_queue {
	uint16_t vector; /* or VIRTIO_MSI_NO_VECTOR */
	bool active;     /* it runs: its interrupts are to be delivered */
	bool ioeventfd;
	struct msix_irqfd irqfd; /* attached: the kernel carries its interrupts */
};

struct virtio_pci {
	struct pci_device pci;
	struct msix msix;
	struct virtio_device *dev;
	struct pci_host *host;
	struct virtio_pci_config cfg;
	struct virtio_events events;
	uint8_t cfg_cap; /* where the PCI configuration access capability is */

	pthread_mutex_t lock; /* all below. Taken after dev->lock, before msix->lock */
	uint32_t device_features_select, driver_features_select;
	uint16_t queue_select;
	uint16_t config_vector;
	uint8_t isr;
	bool live; /* the driver may be interrupted: from the first start on, until reset */
	struct virtio_pci_queue queues[VIRTIO_QUEUES_MAX];
};

/*
 * Make @dev a function on @host's bus. All are kept by the caller for as long as the host. 0 or a
 * negative errno, and then nothing is left but what the host's error says. Main thread, before
 * bus_freeze().
 */
int virtio_pci_init(struct virtio_pci *p, struct virtio_device *dev, struct pci_host *host,
                    const struct virtio_pci_config *cfg, struct err *err);

/* Resets the device, unless it was destroyed before. vCPUs stopped. Main thread. Idempotent. */
void virtio_pci_destroy(struct virtio_pci *p);

#endif
