/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * events: the eventfds of a virtio device's queues, as both transports need them.
 *
 * Each queue has two: one that is readable when the driver has notified the queue, one that is
 * written to interrupt the driver. They exist as long as the transport. The kernel's short ways
 * (ioeventfd, irqfd) are the transport's to attach; what is left to do in the VMM is done here, on
 * the main loop: telling a device that has no thread of its own of a notification, and carrying an
 * interrupt where the kernel cannot.
 */
#ifndef TRIVM_DEVICES_VIRTIO_EVENTS_H
#define TRIVM_DEVICES_VIRTIO_EVENTS_H

#include <stdbool.h>

#include "devices/virtio/device.h"
#include "vmm/loop.h"

struct virtio_events;

/* Interrupts of one queue that went through the VMM. The transport's lock guards writing. */
struct virtio_call_counts {
	uint64_t by_vmm;  /* raised by the VMM: KVM_SIGNAL_MSI, or the interrupt's pin */
	uint64_t carried; /* of these, for somebody who wrote the call fd, by the main loop */
	/* Times that an owner of this process had written the call fd for those carried. */
	uint64_t own_calls;
};

struct virtio_event_pair {
	struct virtio_events *events;
	struct loop_source kick, call;
	int kick_fd, call_fd;
	struct virtio_call_counts calls;
};

/* Embedded in a transport. Constant after virtio_events_init(). */
struct virtio_events {
	struct virtio_device *dev;
	/*
	 * Something was written to queue @index's call fd. On the main thread. It may have been
	 * consumed since: an irqfd may have it.
	 */
	void (*called)(struct virtio_events *events, unsigned index);
	unsigned nr;
	struct virtio_event_pair pairs[VIRTIO_QUEUES_MAX];
};

/*
 * Make the eventfds, put them into dev->queues[].events (call_fd stays -1 if @inject_ioctl), and
 * watch them on @loop. 0 or a negative errno, and then nothing is left. Main thread, before the
 * guest runs.
 */
int virtio_events_init(struct virtio_events *events, struct virtio_device *dev, struct loop *loop,
                       bool inject_ioctl,
                       void (*called)(struct virtio_events *events, unsigned index));

/* The device does not run any more. Main thread. Idempotent; zero is valid. */
void virtio_events_destroy(struct virtio_events *events);

/* The driver notified queue @index and it came here as an exit. Any thread. */
void virtio_events_kick(struct virtio_events *events, unsigned index);

/* Read queue @index's call fd: is there an interrupt to carry? The transport's lock is held. */
bool virtio_events_take_call(struct virtio_events *events, unsigned index);

/*
 * New eventfds behind the descriptors of queue @index, with a count of 0. The transport has detached
 * both from the kernel and attaches them again. 0 or a negative errno, and then nothing has changed.
 * dev->lock is held. Any thread.
 */
int virtio_events_renew(struct virtio_events *events, unsigned index);

/* Forget notifications and interrupts that queue @index has not taken. dev->lock is held. */
void virtio_events_drain(struct virtio_events *events, unsigned index);

#endif
