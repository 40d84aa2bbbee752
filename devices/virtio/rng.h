/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rng: the virtio entropy device (virtio 1.2, 5.4): the driver queues buffers, and gets them back
 * with random bytes of the host's in them. The simplest device there is: read it before writing
 * one.
 */
#ifndef TRIVM_DEVICES_VIRTIO_RNG_H
#define TRIVM_DEVICES_VIRTIO_RNG_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"
#include "vmm/memory.h"

#define RNG_QUEUE_SIZE  64
#define RNG_REQUEST_MAX 4096 /* bytes given for one request: its buffer's rest is left alone */
#define RNG_ROUND_MAX   16   /* requests served before others on the main loop have their turn */

struct rng {
	struct virtio_device dev; /* to be given to a transport */

	/* The main loop serves the queue under it, so that start and stop can wait for that. */
	pthread_mutex_t lock;
	bool running;
	struct virtq queue;
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

/* @name (for logs) and @mem are kept by the caller. Main thread. */
void rng_init(struct rng *rng, const char *name, const struct memory *mem);
void rng_destroy(struct rng *rng); /* idempotent; main thread, vCPUs stopped */

#endif
