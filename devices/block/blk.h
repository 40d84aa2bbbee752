/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * blk: the virtio block device (virtio 1.2, 5.2): requests of the driver's, served from a backing.
 *
 * Features: SIZE_MAX, SEG_MAX, BLK_SIZE, TOPOLOGY, FLUSH, CONFIG_WCE, and MQ, RO, DISCARD,
 * WRITE_ZEROES as configured. Not offered: GEOMETRY (nobody boots by cylinders here), LIFETIME,
 * SECURE_ERASE and ZONED (a file has none of these).
 */
#ifndef TRIVM_DEVICES_BLOCK_BLK_H
#define TRIVM_DEVICES_BLOCK_BLK_H

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/block/backing.h"
#include "devices/virtio/device.h"
#include "vmm/err.h"
#include "vmm/log.h"
#include "vmm/memory.h"

#define BLK_QUEUES_MAX     32
#define BLK_QUEUE_SIZE_MIN 4 /* a header, data, a status */
#define BLK_QUEUE_SIZE_MAX VIRTQ_CHAIN_MAX
#define BLK_WORKERS_MAX    16  /* requests of one queue that are being served at once */
#define BLK_STOP_MS        100 /* a vCPU that resets the disk waits so long for its requests */

/* A request that keeps to both SIZE_MAX and SEG_MAX has less than the 4 GiB that a chain can have.
 */
#define BLK_SIZE_MAX         (UINT32_C(4) << 20)
#define BLK_DISCARD_SECTORS  (UINT32_C(4) << 20) /* 2 GiB */
#define BLK_DISCARD_SEGMENTS 32
#define BLK_ZERO_SECTORS     (UINT32_C(128) << 10) /* 64 MiB: the host may have to write them */
#define BLK_ZERO_SEGMENTS    1

struct blk_config {
	const char *name;    /* for logs: "disk0"; kept by the caller */
	const char *serial;  /* what GET_ID answers, at most VIRTIO_BLK_ID_BYTES bytes */
	unsigned queues;     /* 1..BLK_QUEUES_MAX */
	uint16_t queue_size; /* a power of two in BLK_QUEUE_SIZE_MIN..BLK_QUEUE_SIZE_MAX */
	bool packed;         /* offer packed rings */
	bool discard;        /* offer DISCARD and WRITE_ZEROES; never for a read-only backing */
};

struct blk_queue;

/* A thread that takes requests off a queue and serves them; exists while the queue runs. */
struct blk_worker {
	struct blk_queue *queue;
	struct iovec chain[VIRTQ_CHAIN_MAX]; /* the request's buffers */
	struct iovec data[VIRTQ_CHAIN_MAX];  /* those of its data; the backing's scratch */
};

struct blk_queue {
	struct blk *blk;
	unsigned index;
	bool running; /* dev->lock */
	int stop_fd;  /* an eventfd that ends a wait for a kick */

	/* The workers share the queue under it: whoever holds it is the virtq's owner. */
	pthread_mutex_t lock;
	pthread_cond_t idle;
	pthread_cond_t left; /* a worker has left the queue, or its thread has ended */
	struct virtq vq;
	bool stopping;
	bool awaited; /* the worker that leaves last reports it to the device */
	bool broken;  /* the driver broke the rules: nothing is done with vq any more */
	bool watched; /* a worker waits for kicks */
	bool called;  /* an idle worker was woken and has not looked yet */
	unsigned nr_idle;
	unsigned nr_busy; /* with a request; who is neither that nor idle will look at the queue */
	unsigned nr_workers; /* that own the queue together */
	unsigned nr_threads; /* of workers; one that has left the queue ends in a moment */
};

struct blk {
	struct virtio_device dev; /* to be given to a transport */
	struct backing *backing;  /* borrowed */
	char serial[VIRTIO_BLK_ID_BYTES];
	struct virtio_blk_config
		config; /* constant, but for wce, which is below, and capacity, the backing's */
	_Atomic bool writeback; /* as the driver last set it; see blk_writeback() */
	unsigned nr_queues;
	struct blk_queue *queues;
	struct log_limit limit;
};

/*
 * @backing, open, and @mem are kept by the caller until blk_destroy(). -ENOMEM, or 0. Main thread,
 * as blk_destroy(), which is idempotent; vCPUs are stopped then.
 */
int blk_init(struct blk *blk, const struct blk_config *config, struct backing *backing,
             const struct memory *mem, struct err *err);
void blk_destroy(struct blk *blk);

/*
 * The backing, @path in messages, may have grown: take its new size and tell the driver, which is
 * interrupted for that. 0, also if it is as large as before; an error of backing_resize(). Main
 * thread.
 */
int blk_resize(struct blk *blk, const char *path, struct err *err);

/* --- Between blk.c and blk_request.c --- */

/*
 * Whether the cache is a write-back one: a write is stable only after a flush. If not, it is when
 * it completes (5.2.6.2). The device runs.
 */
bool blk_writeback(const struct blk *blk);

/*
 * Serve the request in @chain, which may block as long as the storage does; its status is in guest
 * memory afterwards. The bytes written to its device-writable part. -EPROTO: no request, it has no
 * room for header or status. @scratch: VIRTQ_CHAIN_MAX. Any thread.
 */
int64_t blk_serve(struct blk *blk, const struct virtq_chain *chain, struct iovec *scratch);

#endif
