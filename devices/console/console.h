/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * console: the virtio console device (virtio 1.2, 5.3) with one port: hvc0 in a Linux guest. The
 * host's end is a chardev, as for a serial port, but bytes come by the buffer and not one by one.
 *
 * The console's size is offered if the host's end is a terminal. Not offered: more ports, emergency
 * writes.
 */
#ifndef TRIVM_DEVICES_CONSOLE_CONSOLE_H
#define TRIVM_DEVICES_CONSOLE_CONSOLE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "devices/virtio/device.h"
#include "vmm/chardev.h"
#include "vmm/loop.h"
#include "vmm/memory.h"

#define CONSOLE_QUEUE_SIZE  64
#define CONSOLE_CONFIG_SIZE 4
/* Buffers and bytes sent before others on the main loop have their turn. */
#define CONSOLE_ROUND_MAX 16
#define CONSOLE_BYTES_MAX (256 * 1024)
/* A host that takes nothing for so long is deaf, and output is dropped until it takes some again.
 */
#define CONSOLE_PATIENCE_MS 1000

enum {
	CONSOLE_RX, /* 5.3.2: receiveq(port0) */
	CONSOLE_TX, /* transmitq(port0) */
	CONSOLE_QUEUES
};

/* A queue, and the chain of it that is being worked on. */
struct console_queue {
	bool running;
	struct virtq q;
	bool held; /* chain was popped, and not pushed yet */
	struct virtq_chain chain;
	size_t done; /* bytes of the chain that the host has taken (transmit) */
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

struct console {
	struct virtio_device dev; /* to be given to a transport */
	struct chardev *chr;
	uint16_t cols, rows; /* dev.lock */

	/* The main loop serves the queues under it, so that start and stop can wait for that. */
	pthread_mutex_t lock;
	struct console_queue queues[CONSOLE_QUEUES];
	bool deaf;
	bool waiting; /* a transmit buffer waits for the host, and the timer runs */
	int timer_fd;
	struct loop_source timer;
};

/*
 * @chr's client from now on. @name, @chr and @mem are kept by the caller, @chr until the console is
 * destroyed. 0 or a negative errno, and then nothing is left. Main thread, whose loop @loop is,
 * before the guest runs.
 */
int console_init(struct console *con, const char *name, struct chardev *chr,
                 const struct memory *mem, struct loop *loop);
void console_destroy(struct console *con); /* idempotent; main thread, vCPUs stopped */

#endif
