/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vsock: the virtio socket device (virtio 1.2, 5.10): sockets between guest and host, addressed by
 * context id and port instead of by network address. Sockets are the host kernel's (AF_VSOCK), and
 * so is the datapath: /dev/vhost-vsock serves the two queues that carry data.
 */
#ifndef TRIVM_DEVICES_VSOCK_VSOCK_H
#define TRIVM_DEVICES_VSOCK_VSOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost/kernel.h"
#include "devices/virtio/device.h"
#include "vmm/err.h"
#include "vmm/loop.h"
#include "vmm/memory.h"

#define VSOCK_CID_MIN    3 /* 0 and 1 are reserved, 2 is the host */
#define VSOCK_CID_MAX    0xfffffffe
#define VSOCK_QUEUE_SIZE 128

struct vsock {
	struct virtio_device dev; /* to be given to a transport */
	uint32_t cid;
	struct vhost_kernel kernel;
	int err_fd; /* the kernel found something wrong with a ring */
	struct loop_source err;

	pthread_mutex_t lock; /* innermost; between the main loop and starts and stops */
	bool running;
};

/*
 * @cid: the guest's, which no other guest of this host may have. @name (for logs) and @mem are kept
 * by the caller. 0 or a negative errno with cause and remedy; nothing is left then. Main thread,
 * whose loop @loop is.
 */
int vsock_init(struct vsock *vsock, const char *name, uint32_t cid, const struct memory *mem,
               struct loop *loop, struct err *err);
void vsock_destroy(struct vsock *vsock); /* idempotent; main thread, vCPUs stopped */

#endif
