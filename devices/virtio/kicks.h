/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kicks: how often a queue was notified, and on which way, without anybody counting what the kernel
 * does.
 *
 * A notification by ioeventfd adds 1 to the queue's kick fd within KVM. All owners but one kind
 * watch that fd by its edges and never read it (events.c; the kernel's vhost does the same), so its
 * count is the number of notifications since the queue was started. What the VMM itself added is
 * known and subtracted. A vhost-user back-end reads the fd: while it has the queue nobody knows.
 */
#ifndef TRIVM_DEVICES_VIRTIO_KICKS_H
#define TRIVM_DEVICES_VIRTIO_KICKS_H

#include <stdbool.h>
#include <stdint.h>

/* Of one queue; zero is valid. */
struct virtio_kicks {
	/*
	 * Notifications that were exits to the VMM, and other writes of ours to the kick fd. Added
	 * to by any thread, atomically: either is a system call, beside which that is nothing.
	 */
	uint64_t exits, own;
	/* The rest: dev->lock. */
	uint64_t direct; /* by ioeventfd, in periods that have ended */
	/* The period that runs began when the kick fd's count was so much above exits + own. */
	int64_t mark;
	/* In this period its owner, another process, reads the kick fd. Read by any thread. */
	bool hidden;
};

/* Our own write to @kick_fd. @exit: for a notification that came as an exit. Any thread. */
void virtio_kicks_signal(struct virtio_kicks *k, int kick_fd, bool exit);

/*
 * A new owner: does it read the kick fd? @signals: how often it writes to it when it starts. The
 * queue is not served at the moment, or is by an owner of the same kind.
 */
void virtio_kicks_owner(struct virtio_kicks *k, int kick_fd, bool reads, unsigned signals);

/* The queue has stopped: empty its kick fd. */
void virtio_kicks_drain(struct virtio_kicks *k, int kick_fd);

/* The kick fd, which the owner read, has become a new one. */
void virtio_kicks_renewed(struct virtio_kicks *k);

struct virtio_kick_counts {
	uint64_t exits;
	uint64_t direct;   /* by ioeventfd, as far as they could be seen */
	bool direct_known; /* they can be seen at present */
};
/* dev->lock is held. A few microseconds; exact when nothing is under way. */
void virtio_kicks_read(const struct virtio_kicks *k, int kick_fd,
                       struct virtio_kick_counts *counts);

#endif
