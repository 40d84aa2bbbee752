/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * observe: a thread that watches rings in guest memory while a trace runs (vmm/trace.h), and
 * records what it sees there. It is the only way of seeing something of a ring that the host's
 * kernel or another process serves, or of the instant at which a driver kicks an ioeventfd. It
 * costs a processor's time for that long.
 */
#ifndef TRIVM_DEVICES_VIRTIO_OBSERVE_H
#define TRIVM_DEVICES_VIRTIO_OBSERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"
#include "vmm/err.h"

struct observer;

/*
 * Watch @dev's queues @rings (bit n: queue n) until the trace that is armed ends: points ring_avail
 * and, with @used, ring_used. Queues may start, stop and change meanwhile. 0 or a negative errno.
 * Main thread.
 */
int observer_start(struct observer **observer, struct virtio_device *dev, uint64_t rings, bool used,
                   struct err *err);

/* The thread is gone when it returns, and *@observer is NULL. Idempotent. Main thread. */
void observer_stop(struct observer **observer);

#endif
