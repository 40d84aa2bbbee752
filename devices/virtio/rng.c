/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: requests are few and short, so the main loop serves them (ops->kicked), and
 * bounded, so that a driver that wants nothing but random bytes stops nobody else: some bytes for a
 * request (5.4.6.1 lets us give less than asked for), some requests for a turn. If more are waiting
 * then, the device kicks itself.
 *
 * getrandom() waits if the host's pool was never seeded, as early in its boot; a VMM comes later.
 */
#include "devices/virtio/rng.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/random.h>

#include "vmm/fd.h"
#include "vmm/util.h"

static struct rng *rng_of(struct virtio_device *dev)
{
	return container_of(dev, struct rng, dev);
}

/* Up to @len random bytes; fewer on an error. */
static size_t fill(void *buf, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = getrandom((uint8_t *)buf + done, len - done, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

/* Fill the chain's writable buffers, straight in guest memory. Bytes written. */
static uint32_t serve(const struct virtq_chain *chain)
{
	const struct iovec *iov = chain->iov + chain->nr_out;
	uint32_t done = 0;

	for (unsigned i = 0; i < chain->nr_in && done < RNG_REQUEST_MAX; i++) {
		size_t want = min_u64(iov[i].iov_len, RNG_REQUEST_MAX - done);
		size_t got = fill(iov[i].iov_base, want);

		done += (uint32_t)got;
		if (got < want)
			break;
	}
	return done;
}

/* One turn. True: there may be more to do. rng->lock is held. */
static bool serve_round(struct rng *rng)
{
	struct virtq *q = &rng->queue;
	struct virtq_chain chain;
	unsigned n;
	int rc = 1;

	for (n = 0; n < RNG_ROUND_MAX; n++) {
		rc = virtq_pop(q, &chain, rng->iov, VIRTQ_CHAIN_MAX);
		if (rc != 1)
			break;
		virtq_push(q, &chain, serve(&chain));
	}
	if (virtq_flush(q))
		virtio_queue_interrupt(&rng->dev, 0);
	if (rc < 0) {
		rng->running = false;
		virtio_device_broken(&rng->dev, q->broken);
		return false;
	}
	return n == RNG_ROUND_MAX || virtq_kick_enable(q);
}

static void rng_kicked(struct virtio_device *dev, unsigned index)
{
	struct rng *rng = rng_of(dev);

	pthread_mutex_lock(&rng->lock);
	if (rng->running && serve_round(rng))
		virtio_queue_wake(dev, index);
	pthread_mutex_unlock(&rng->lock);
}

static int rng_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	struct rng *rng = rng_of(dev);
	int rc;

	pthread_mutex_lock(&rng->lock);
	rc = virtio_queue_take(dev, index, &rng->queue, err);
	rng->running = rc == 0;
	pthread_mutex_unlock(&rng->lock);
	return rc;
}

static void rng_queue_stop(struct virtio_device *dev, unsigned index)
{
	struct rng *rng = rng_of(dev);

	pthread_mutex_lock(&rng->lock);
	if (rng->running)
		dev->queues[index].base = virtq_base(&rng->queue);
	rng->running = false;
	pthread_mutex_unlock(&rng->lock);
}

static int rng_start(struct virtio_device *dev, struct err *err)
{
	return dev->queues[0].config.enabled ? rng_queue_start(dev, 0, err) : 0;
}

static void rng_stop(struct virtio_device *dev)
{
	rng_queue_stop(dev, 0);
}

static const struct virtio_device_ops rng_ops = {
	.start = rng_start,
	.stop = rng_stop,
	.queue_start = rng_queue_start,
	.queue_stop = rng_queue_stop,
	.kicked = rng_kicked,
};

void rng_init(struct rng *rng, const char *name, const struct memory *mem)
{
	static const uint16_t sizes[] = {RNG_QUEUE_SIZE};

	memset(rng, 0, sizeof(*rng));
	pthread_mutex_init(&rng->lock, NULL);
	virtio_device_init(&rng->dev, name, VIRTIO_ID_RNG, &rng_ops, virtio_ring_features(true), 0,
	                   sizes, ARRAY_SIZE(sizes), mem);
}

void rng_destroy(struct rng *rng)
{
	if (!rng->dev.ops)
		return;
	virtio_device_destroy(&rng->dev);
	pthread_mutex_destroy(&rng->lock);
}
