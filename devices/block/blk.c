/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: each queue has a few worker threads; a request is served by one of them from
 * beginning to end, with plain blocking system calls (backing.c). So a slow disk stops neither a
 * vCPU nor the main loop, and as many requests are under way as there are workers.
 *
 * Why not io_uring: on many hosts it is switched off (a sysctl, or a container's system-call
 * filter), so that threads would be needed all the same; they also do what a ring does not do
 * better (fallocate() and fdatasync() run on kernel threads there). Why not one thread that takes
 * requests and hands them to others: each request would wait for one more thread to wake up.
 *
 * The workers take turns (leader and followers). One of them watches the queue's kick eventfd. When
 * it has taken a request, it calls the next one to look for more, and serves its own meanwhile:
 *
 *	look:	a request?	call another, serve it, give it back, look again
 *		none, watched?	idle until called
 *		none:		turn kicks on, look once more, watch: wait for a kick, look again
 *
 * Kicks are off only while some worker is going to look at the queue before it goes to rest: that
 * is why nothing is forgotten. Workers are made when one is called and none is idle; a disk that
 * does one thing at a time has two. The virtq belongs to whoever holds the queue's lock.
 *
 * Flushes. A flush covers the writes that were completed before the driver sent it: their data was
 * in the backing before its fdatasync() began, whichever worker or queue they came by. It does not
 * wait for others, nor they for it: the specification promises no order between requests that are
 * under way together (5.2.6.2).
 *
 * Stopping: no worker takes another request; those that are being served are finished and given
 * back. That may take as long as the host's storage takes, or for ever, and a vCPU must not wait for
 * it: after BLK_STOP_MS the queue counts as not let go (virtio/device.h), and the last worker that
 * leaves it reports that it has. Workers are detached threads: nobody ever joins one that is stuck.
 */
#include "devices/block/blk.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/clock.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

/* Up to the fields of features that are not offered; they differ between kernel headers. */
#define CONFIG_SIZE offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define CONFIG_WCE  offsetof(struct virtio_blk_config, wce)

static struct blk *blk_of(struct virtio_device *dev)
{
	return container_of(dev, struct blk, dev);
}

/* --- Workers. q->lock is held in all of these. --- */

static void *worker_thread(void *opaque);

static int worker_make(struct blk_queue *q)
{
	struct blk_worker *w = calloc(1, sizeof(*w));
	sigset_t all, old;
	pthread_t thread;
	int rc;

	if (!w)
		return -ENOMEM;
	w->queue = q;
	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&thread, NULL, worker_thread, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc < 0) {
		free(w);
		return rc;
	}
	pthread_detach(thread);
	q->nr_workers++;
	q->nr_threads++;
	return 0;
}

/* The caller is busy from here on: is there another one who looks at the queue? */
static void call_another(struct blk_queue *q)
{
	q->nr_busy++;
	if (q->watched || q->called || q->stopping || q->nr_workers > q->nr_idle + q->nr_busy)
		return;
	if (q->nr_idle) {
		pthread_cond_signal(&q->idle);
		q->called = true;
	} else if (q->nr_workers < BLK_WORKERS_MAX) {
		/* Without one more, the queue is served by those that there are. */
		worker_make(q);
	}
}

static void queue_broken(struct blk_queue *q, const char *why)
{
	if (q->broken)
		return;
	q->broken = true;
	virtio_device_broken(&q->blk->dev, why);
}

/* Serve @chain; the lock is let go meanwhile. */
static void work(struct blk_queue *q, struct blk_worker *w, const struct virtq_chain *chain)
{
	int64_t written;
	bool interrupt;

	call_another(q);
	pthread_mutex_unlock(&q->lock);
	written = blk_serve(q->blk, chain, w->data);
	pthread_mutex_lock(&q->lock);
	q->nr_busy--;
	if (written < 0)
		queue_broken(q, "a request without room for its header or its status");
	if (q->broken)
		return;
	virtq_push(&q->vq, chain, (uint32_t)written);
	interrupt = virtq_flush(&q->vq);
	if (!interrupt)
		return;
	pthread_mutex_unlock(&q->lock);
	virtio_queue_interrupt(&q->blk->dev, q->index);
	pthread_mutex_lock(&q->lock);
}

/* Nothing to do: be idle, or watch the queue. The lock is let go meanwhile. */
static void rest(struct blk_queue *q)
{
	struct pollfd fds[] = {
		{.fd = q->blk->dev.queues[q->index].events.kick_fd, .events = POLLIN},
		{.fd = q->stop_fd, .events = POLLIN},
	};

	if (q->watched || q->broken) {
		q->nr_idle++;
		pthread_cond_wait(&q->idle, &q->lock);
		q->nr_idle--;
		q->called = false;
		return;
	}
	if (virtq_kick_enable(&q->vq))
		return;
	q->watched = true;
	pthread_mutex_unlock(&q->lock);
	/* Drained before the queue is looked at: a kick that comes later is seen next time. */
	if (poll(fds, ARRAY_SIZE(fds), -1) > 0 && fds[0].revents)
		fd_drain(fds[0].fd);
	pthread_mutex_lock(&q->lock);
	q->watched = false;
	virtq_kick_disable(&q->vq);
}

/* A worker has let go of the stopping queue. The lock is let go if it was the last one. */
static void leave(struct blk_queue *q)
{
	bool report = --q->nr_workers == 0 && q->awaited;

	pthread_cond_broadcast(&q->left);
	if (!report)
		return;
	pthread_mutex_unlock(&q->lock);
	virtio_device_let_go(&q->blk->dev);
	pthread_mutex_lock(&q->lock);
}

static void *worker_thread(void *opaque)
{
	struct blk_worker *w = opaque;
	struct blk_queue *q = w->queue;
	struct virtq_chain chain;
	char name[16];

	snprintf(name, sizeof(name), "%.8s-q%u", q->blk->dev.name, q->index);
	pthread_setname_np(pthread_self(), name);
	pthread_mutex_lock(&q->lock);
	while (!q->stopping) {
		int rc = q->broken ? 0 : virtq_pop(&q->vq, &chain, w->chain, VIRTQ_CHAIN_MAX);

		if (rc < 0)
			queue_broken(q, q->vq.broken);
		if (rc == 1)
			work(q, w, &chain);
		else
			rest(q);
	}
	leave(q);
	free(w);
	/* Last: whoever waits for it may free the queue. */
	q->nr_threads--;
	pthread_cond_broadcast(&q->left);
	pthread_mutex_unlock(&q->lock);
	return NULL;
}

/* --- The device: dev->lock is held. --- */

/* Ask the workers to leave, without waiting. */
static void ask_to_leave(struct blk_queue *q)
{
	if (!q->running || q->stopping)
		return;
	pthread_mutex_lock(&q->lock);
	q->stopping = true;
	pthread_cond_broadcast(&q->idle);
	pthread_mutex_unlock(&q->lock);
	fd_signal(q->stop_fd);
}

/* Wait until they have, at most until @until. */
static void wait_for_leave(struct blk_queue *q, const struct timespec *until)
{
	pthread_mutex_lock(&q->lock);
	while (q->nr_workers &&
	       pthread_cond_clockwait(&q->left, &q->lock, CLOCK_MONOTONIC, until) == 0)
		;
	pthread_mutex_unlock(&q->lock);
}

static bool queue_let_go(struct blk *blk, unsigned index)
{
	struct blk_queue *q = &blk->queues[index];

	if (!q->running)
		return true;
	pthread_mutex_lock(&q->lock);
	q->awaited = q->nr_workers != 0;
	pthread_mutex_unlock(&q->lock);
	if (q->awaited)
		return false;
	fd_close(&q->stop_fd);
	blk->dev.queues[index].base = virtq_base(&q->vq);
	q->running = false;
	return true;
}

static bool blk_let_go(struct virtio_device *dev, int index)
{
	struct blk *blk = blk_of(dev);
	bool all = true;

	if (index >= 0)
		return queue_let_go(blk, (unsigned)index);
	for (unsigned i = 0; i < blk->nr_queues; i++)
		all = queue_let_go(blk, i) && all;
	return all;
}

static void blk_queue_stop(struct virtio_device *dev, unsigned index)
{
	struct blk_queue *q = &blk_of(dev)->queues[index];
	struct timespec until = clock_deadline(BLK_STOP_MS);

	ask_to_leave(q);
	wait_for_leave(q, &until);
}

static int blk_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	struct blk_queue *q = &blk_of(dev)->queues[index];
	int rc = virtio_queue_take(dev, index, &q->vq, err);

	if (rc < 0)
		return rc;
	q->stop_fd = fd_eventfd();
	if (q->stop_fd < 0)
		return err_errno(err, q->stop_fd, "queue %u: an eventfd", index);
	pthread_mutex_lock(&q->lock);
	q->stopping = q->broken = q->watched = q->called = q->awaited = false;
	rc = worker_make(q);
	pthread_mutex_unlock(&q->lock);
	q->running = rc == 0;
	if (rc < 0) {
		fd_close(&q->stop_fd);
		return err_errno(err, rc, "queue %u: a thread", index);
	}
	return 0;
}

static void blk_stop(struct virtio_device *dev)
{
	struct blk *blk = blk_of(dev);
	struct timespec until = clock_deadline(BLK_STOP_MS);

	for (unsigned i = 0; i < blk->nr_queues; i++)
		ask_to_leave(&blk->queues[i]);
	for (unsigned i = 0; i < blk->nr_queues; i++)
		wait_for_leave(&blk->queues[i], &until);
	atomic_store(&blk->writeback, true);
}

static int blk_start(struct virtio_device *dev, struct err *err)
{
	struct blk *blk = blk_of(dev);
	int rc = 0;

	for (unsigned i = 0; i < blk->nr_queues && rc == 0; i++)
		if (dev->queues[i].config.enabled)
			rc = blk_queue_start(dev, i, err);
	if (rc < 0) {
		blk_stop(dev);
		blk_let_go(dev, -1);
	}
	return rc;
}

/* --- Configuration --- */

/*
 * 5.2.5: without FLUSH there can be nothing to flush, whatever was written to the field; without
 * CONFIG_WCE it is a write-back cache exactly if the driver can flush.
 */
bool blk_writeback(const struct blk *blk)
{
	if (!virtio_has(&blk->dev, VIRTIO_BLK_F_FLUSH))
		return false;
	return !virtio_has(&blk->dev, VIRTIO_BLK_F_CONFIG_WCE) || atomic_load(&blk->writeback);
}

static void blk_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	struct blk *blk = blk_of(dev);
	struct virtio_blk_config c = blk->config;

	c.capacity = htole64(backing_size(blk->backing) / BACKING_SECTOR);
	c.wce = blk_writeback(blk);
	memcpy(buf, (const uint8_t *)&c + offset, len);
}

static void blk_config_write(struct virtio_device *dev, uint32_t offset, const void *buf,
                             uint32_t len)
{
	if (offset == CONFIG_WCE && len == 1 && virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		atomic_store(&blk_of(dev)->writeback, *(const uint8_t *)buf != 0);
}

int blk_resize(struct blk *blk, const char *path, struct err *err)
{
	uint64_t before = backing_size(blk->backing);
	int rc = backing_resize(blk->backing, path, err);

	/* Requests to the new part are served from here on, before the driver knows of it. */
	if (rc == 0 && backing_size(blk->backing) != before)
		virtio_config_changed(&blk->dev);
	return rc;
}

static const struct virtio_device_ops blk_ops = {
	.start = blk_start,
	.stop = blk_stop,
	.queue_start = blk_queue_start,
	.queue_stop = blk_queue_stop,
	.let_go = blk_let_go,
	.config_read = blk_config_read,
	.config_write = blk_config_write,
};

/* The power of two that @n is. */
static uint8_t log2_of(uint32_t n)
{
	return (uint8_t)__builtin_ctz(n);
}

static void fill_config(struct blk *blk, const struct blk_config *config)
{
	const struct backing *b = blk->backing;
	uint32_t physical = b->physical / b->block;

	blk->config = (struct virtio_blk_config){
		.size_max = htole32(BLK_SIZE_MAX),
		/* A chain cannot be longer than the queue (2.7.5.3.1); two are header and status.
	         */
		.seg_max = htole32(config->queue_size - 2u),
		.blk_size = htole32(b->block),
		.physical_block_exp = log2_of(physical),
		.min_io_size = htole16((uint16_t)physical),
		.opt_io_size = htole32(b->optimal / b->block),
		.num_queues = htole16((uint16_t)config->queues),
	};
	if (!config->discard || b->ro)
		return;
	blk->config.max_discard_sectors = htole32(BLK_DISCARD_SECTORS);
	blk->config.max_discard_seg = htole32(BLK_DISCARD_SEGMENTS);
	blk->config.discard_sector_alignment = htole32(b->physical / BACKING_SECTOR);
	blk->config.max_write_zeroes_sectors = htole32(BLK_ZERO_SECTORS);
	blk->config.max_write_zeroes_seg = htole32(BLK_ZERO_SEGMENTS);
	blk->config.write_zeroes_may_unmap = 1;
}

static uint64_t features(const struct blk_config *config, const struct backing *b)
{
	uint64_t f = virtio_ring_features(config->packed) | VIRTIO_FEATURE(VIRTIO_BLK_F_SIZE_MAX) |
	             VIRTIO_FEATURE(VIRTIO_BLK_F_SEG_MAX) | VIRTIO_FEATURE(VIRTIO_BLK_F_BLK_SIZE) |
	             VIRTIO_FEATURE(VIRTIO_BLK_F_TOPOLOGY) | VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH) |
	             VIRTIO_FEATURE(VIRTIO_BLK_F_CONFIG_WCE);

	if (config->queues > 1)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_MQ);
	if (b->ro)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_RO);
	else if (config->discard)
		f |= VIRTIO_FEATURE(VIRTIO_BLK_F_DISCARD) |
		     VIRTIO_FEATURE(VIRTIO_BLK_F_WRITE_ZEROES);
	return f;
}

int blk_init(struct blk *blk, const struct blk_config *config, struct backing *backing,
             const struct memory *mem, struct err *err)
{
	uint16_t sizes[BLK_QUEUES_MAX];

	memset(blk, 0, sizeof(*blk));
	blk->queues = calloc(config->queues, sizeof(blk->queues[0]));
	if (!blk->queues)
		return err_errno(err, -ENOMEM, "%s", config->name);
	blk->nr_queues = config->queues;
	blk->backing = backing;
	/* Not a string: 20 bytes of it have no NUL (5.2.6). */
	memcpy(blk->serial, config->serial, strnlen(config->serial, sizeof(blk->serial)));
	atomic_store(&blk->writeback, true);
	fill_config(blk, config);
	for (unsigned i = 0; i < config->queues; i++) {
		struct blk_queue *q = &blk->queues[i];

		q->blk = blk;
		q->index = i;
		q->stop_fd = -1;
		pthread_mutex_init(&q->lock, NULL);
		pthread_cond_init(&q->idle, NULL);
		pthread_cond_init(&q->left, NULL);
		sizes[i] = config->queue_size;
	}
	virtio_device_init(&blk->dev, config->name, VIRTIO_ID_BLOCK, &blk_ops,
	                   features(config, backing), CONFIG_SIZE, sizes, config->queues, mem);
	return 0;
}

void blk_destroy(struct blk *blk)
{
	if (!blk->dev.ops)
		return;
	virtio_device_destroy(&blk->dev);
	for (unsigned i = 0; i < blk->nr_queues; i++) {
		struct blk_queue *q = &blk->queues[i];

		/* The workers have let go: their threads end in a moment. */
		pthread_mutex_lock(&q->lock);
		while (q->nr_threads)
			pthread_cond_wait(&q->left, &q->lock);
		pthread_mutex_unlock(&q->lock);
		pthread_mutex_destroy(&q->lock);
		pthread_cond_destroy(&q->idle);
		pthread_cond_destroy(&q->left);
	}
	free(blk->queues);
	blk->queues = NULL;
	blk->nr_queues = 0;
}
