/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-mmio: a virtio device as a page of registers and one interrupt (virtio 1.2, 4.2 "Virtio
 * Over MMIO"), version 2. A guest cannot find it by itself: ACPI (LNRO0005), the device tree
 * ("virtio,mmio") or its command line tell where it is.
 */
#ifndef TRIVM_DEVICES_VIRTIO_MMIO_H
#define TRIVM_DEVICES_VIRTIO_MMIO_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"
#include "devices/virtio/events.h"
#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/irq.h"
#include "vmm/loop.h"

#define VIRTIO_MMIO_SIZE 0x1000 /* registers, and from 0x100 on the device's configuration */

struct virtio_mmio_config {
	struct bus *bus;      /* of memory */
	uint64_t base;        /* VIRTIO_MMIO_SIZE bytes from here */
	struct irq_line line; /* of its own, edge-triggered */
	struct loop *loop;    /* the main loop: what the kernel cannot carry goes through it */
	bool notify_exit;     /* notifications by an exit to the VMM instead of ioeventfd */
	bool inject_ioctl;    /* interrupts by the VMM instead of irqfd */
};

struct virtio_mmio_queue {
	bool active; /* it runs: its interrupts are to be delivered */
	bool ioeventfd;
	bool irqfd; /* the kernel has its call fd */
};

struct virtio_mmio {
	struct bus_region region;
	struct virtio_device *dev;
	struct virtio_mmio_config cfg;
	struct virtio_events events;

	pthread_mutex_t lock; /* all below. Taken after dev->lock */
	uint32_t device_features_select, driver_features_select;
	uint32_t queue_select;
	uint32_t interrupt_status;
	unsigned direct; /* queues whose call fd the kernel has */
	bool live;       /* the driver may be interrupted: from the first start on, until reset */
	struct virtio_mmio_queue queues[VIRTIO_QUEUES_MAX];
};

/*
 * Put @dev's registers on the bus. All are kept by the caller for as long as the bus. 0 or a
 * negative errno. Main thread, before bus_freeze().
 */
int virtio_mmio_init(struct virtio_mmio *m, struct virtio_device *dev,
                     const struct virtio_mmio_config *cfg, struct err *err);

/* Resets the device, unless it was destroyed before. vCPUs stopped. Main thread. Idempotent. */
void virtio_mmio_destroy(struct virtio_mmio *m);

#endif
