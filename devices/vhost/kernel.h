/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kernel: vhost in the host's kernel: /dev/vhost-net and /dev/vhost-vsock, by ioctls
 * (include/uapi/linux/vhost.h). The kernel's worker thread reads and writes this process' memory,
 * where guest memory is mapped.
 *
 * vhost-net serves one queue pair: ring 0 receives, ring 1 transmits, the wire is the socket behind
 * a tap or macvtap file. A NIC of several pairs opens it several times. vhost-vsock has the rings
 * of a socket device that carry data (5.10.2): 0 receives, 1 transmits.
 */
#ifndef TRIVM_DEVICES_VHOST_KERNEL_H
#define TRIVM_DEVICES_VHOST_KERNEL_H

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost/vhost.h"
#include "vmm/err.h"
#include "vmm/util.h"

#define VHOST_KERNEL_RINGS 2

struct vhost_kernel {
	struct vhost vhost; /* for vhost_setup(), vhost_ring_start() ... */
	int fd;
	int wire;         /* vhost-net: the tap; borrowed */
	bool adds_header; /* vhost-net: it, and not the tap, has to do with virtio-net headers */
	bool attached;    /* vhost-net: the cable is plugged in */
	unsigned poll_us; /* look for work this long before sleeping; 0: sleep at once */
};

/*
 * Open /dev/vhost-net for one queue pair whose wire is the tap @wire, which outlives it.
 * @wire_has_header: its frames begin with a virtio-net header of 12 bytes; if not, the kernel adds
 * and strips them. @name is borrowed. 0 or a negative errno with cause and remedy; nothing is left
 * then. Main thread.
 */
int vhost_net_open(struct vhost_kernel *k, const char *name, int wire, bool wire_has_header,
                   unsigned poll_us, struct err *err);

/*
 * Unplugged: nothing is received, and what is transmitted stays in the ring. The rings go on from
 * there when it is plugged in again, running or not. 0 or a negative errno.
 */
int vhost_net_plug(struct vhost_kernel *k, bool plugged);

/* Open /dev/vhost-vsock for the guest with the context id @cid. Otherwise as vhost_net_open(). */
int vhost_vsock_open(struct vhost_kernel *k, const char *name, uint32_t cid, struct err *err);

/*
 * Both rings of a vhost-vsock are started: begin. Or end, before they are stopped. The kernel looks
 * at a ring when it is notified: the caller does that once. 0 or a negative errno.
 */
int vhost_vsock_run(struct vhost_kernel *k, bool run);

void vhost_kernel_close(struct vhost_kernel *k); /* idempotent; the kernel lets go of everything */

/* The kernel itself, in a file of its own so that tests can stand in for it. Result or -errno. */
int vhost_dev_open(const char *path);
int vhost_ioctl(int fd, unsigned long request, void *arg);

#endif
