/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * backing: the raw file or block device behind a disk. It knows nothing of virtio: offsets and
 * lengths in bytes, within backing_size() and multiples of backing->block, which the caller has
 * checked.
 *
 * All calls but opening and closing: any thread, several at once. They may block for as long as the
 * host's storage does.
 */
#ifndef TRIVM_DEVICES_BLOCK_BACKING_H
#define TRIVM_DEVICES_BLOCK_BACKING_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/err.h"

#define BACKING_SECTOR 512 /* bytes: the size of a backing is a multiple of it */

struct backing_config {
	const char *path;
	bool ro;     /* opened for reading only */
	bool direct; /* O_DIRECT: past the host's page cache */
};

struct backing {
	/* Constant between open and close, but for size, which backing_resize() makes larger. */
	int fd; /* -1: not open */
	bool ro, direct, is_block;
	_Atomic uint64_t size; /* bytes; backing_size() */
	uint32_t block;        /* what offsets and lengths have to be multiples of; 512 or more */
	uint32_t physical;     /* the smallest write that the host need not complete by reading */
	uint32_t optimal;      /* the preferred size of an I/O; 0: unknown */
	uint32_t mem_align;    /* of buffers, if direct; others are copied */

	_Atomic bool no_discard, no_punch, no_zero_range; /* the host said that it cannot */
	pthread_mutex_t sync_lock;
	bool sync_failed; /* sync_lock; see backing_flush() */
};

/*
 * Open and lock @config->path (borrowed for the call): exclusively, or shared if ro. Errors, with
 * the remedy in @err: missing, no permission, a directory, locked by another, empty, not a multiple
 * of 512 bytes, ... Main thread. On an error nothing is left.
 */
int backing_open(struct backing *b, const struct backing_config *config, struct err *err);

/* Bytes. Any thread. */
static inline uint64_t backing_size(const struct backing *b)
{
	return atomic_load_explicit(&b->size, memory_order_relaxed);
}

/*
 * Look at the file or block device again: it may have grown. 0, also if it has not; -EINVAL with
 * @err: it is smaller, or its size is no multiple of backing->block, and nothing has changed.
 * @path is for messages. Main thread; requests may be under way.
 */
int backing_resize(struct backing *b, const char *path, struct err *err);

/*
 * Is what @path names, by whatever path or link, the file or block device that is open in @b?
 * False also if @path names nothing. Main thread.
 */
bool backing_is(const struct backing *b, const char *path);
void backing_close(struct backing *b); /* idempotent; zero is not valid, fd -1 is */

/*
 * Fill @iov from, or write it to, @offset on: all of it, over short transfers and signals. @iov is
 * the caller's scratch: its content afterwards is undefined. 0 or a negative errno, and then any
 * part may have been done. Reading beyond the end (a file that got shorter) is -EIO.
 */
int backing_read(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset);
int backing_write(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset);

/*
 * Everything that was written before is on stable storage when this returns 0. After it failed
 * once it fails for ever: the host drops what it could not write, and nobody knows what that was.
 */
int backing_flush(struct backing *b);

/* The range's content is not needed any more; what is read there afterwards is undefined. A host
 * that has no means for it is no error. */
int backing_discard(struct backing *b, uint64_t offset, uint64_t len);

/* The range reads as zeroes afterwards; @unmap: its storage may be given up. */
int backing_zero(struct backing *b, uint64_t offset, uint64_t len, bool unmap);

#endif
