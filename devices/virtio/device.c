/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what the driver may do when is in device.h. Here is how it is kept true
 * while vCPUs, the device's own threads and the main loop all have their hands in.
 *
 * Everything that a driver writes is under dev->lock, and what follows from it (start, stop) is
 * done before the lock is let go, so that two vCPUs that write the status at once get one after the
 * other, and a register that reads 0 after a reset means that the reset is over.
 *
 * A device whose work cannot be interrupted has not let go when ops->stop() returns. A vCPU must not
 * wait for it, so the reset stays pending: the status reads NEEDS_RESET and nothing else (2.4.1: the
 * driver waits for 0, and one that does not wait finds no FEATURES_OK), what the driver writes is
 * ignored, and virtio_device_let_go() ends the reset. A queue that is being reset reads 1 in
 * queue_reset meanwhile (2.6.1).
 *
 * The status word is also read without the lock, and the owner of a queue, who must not take it,
 * can add NEEDS_RESET. So it is atomic and only changed by read-modify-write, but for the store of
 * 0 at the end of a reset: by then no owner is left (ops->stop() has returned), so what it clears
 * cannot be newer than the reset. A report that comes later still, from another thread of the
 * device, finds status 0 and is dropped: nobody is there to be told.
 *
 * The config generation follows the specification's own advice (4.1.4.3.1): a change only leaves a
 * mark, and the next read of the configuration makes a new generation. So two generations differ
 * whenever what was read between them does, however many changes there were and however few bits
 * the transport has for the number.
 *
 * Barriers: config_newer is set with release after the change, and taken with acquire before the
 * read: a reader that finds the mark sees the change. dev->lock orders everything else.
 */
#include "devices/virtio/device.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET 40
#endif

/* What a driver can set one by one. NEEDS_RESET is ours, FEATURES_OK and DRIVER_OK have conditions.
 */
#define STATUS_PLAIN (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED)

uint64_t virtio_ring_features(bool packed)
{
	return VIRTIO_FEATURE(VIRTIO_F_VERSION_1) | VIRTIO_FEATURE(VIRTIO_RING_F_EVENT_IDX) |
	       VIRTIO_FEATURE(VIRTIO_RING_F_INDIRECT_DESC) | VIRTIO_FEATURE(VIRTIO_F_RING_RESET) |
	       (packed ? VIRTIO_FEATURE(VIRTIO_F_RING_PACKED) : 0);
}

/* --- Towards the driver: any thread. --- */

void virtio_queue_interrupt(struct virtio_device *dev, unsigned index)
{
	int fd = dev->queues[index].events.call_fd;

	if (fd >= 0) {
		TRACE(irq_call, dev->name, index, "interrupt: the call eventfd is written");
		if (atomic_load_explicit(&dev->queues[index].lent, memory_order_relaxed))
			fd_signal_shared(fd);
		else
			fd_signal(fd);
	} else if (dev->transport) {
		TRACE(irq_ioctl, dev->name, index, "interrupt: by the VMM itself");
		dev->transport_ops->queue_interrupt(dev->transport, index);
	}
}

void virtio_queue_wake(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];

	if (q->events.kick_fd >= 0)
		virtio_kicks_signal(&q->kicks, q->events.kick_fd, false);
}

int virtio_queue_renew(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];
	int rc = 0;

	if (q->lent && dev->transport && dev->transport_ops->renew)
		rc = dev->transport_ops->renew(dev->transport, index);
	if (rc == 0)
		q->lent = false;
	return rc;
}

struct virtio_ways virtio_queue_ways(struct virtio_device *dev, unsigned index)
{
	struct virtio_ways ways = {.ioeventfd = false};

	if (index < dev->nr_queues && dev->transport && dev->transport_ops->ways)
		dev->transport_ops->ways(dev->transport, index, &ways);
	return ways;
}

static void config_interrupt(struct virtio_device *dev)
{
	if (dev->transport)
		dev->transport_ops->config_interrupt(dev->transport);
}

void virtio_config_changed(struct virtio_device *dev)
{
	atomic_store_explicit(&dev->config_newer, true, memory_order_release);
	/* Before that the driver reads the configuration anyway. */
	if (atomic_load(&dev->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		config_interrupt(dev);
}

void virtio_device_broken(struct virtio_device *dev, const char *why)
{
	uint8_t status = atomic_load(&dev->status);

	do {
		if (status == 0 || (status & VIRTIO_CONFIG_S_NEEDS_RESET))
			return;
	} while (!atomic_compare_exchange_weak(&dev->status, &status,
	                                       status | VIRTIO_CONFIG_S_NEEDS_RESET));
	log_limited(&dev->limit, LOG_WARN, "%s: %s; it waits for its driver to reset it", dev->name,
	            why);
	event_post(dev->events, "device-broken", dev->name, why);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		config_interrupt(dev);
}

/* --- Starting and stopping. dev->lock is held in all of these. --- */

static bool status_has(const struct virtio_device *dev, uint8_t bit)
{
	return atomic_load(&dev->status) & bit;
}

static void transport_running(struct virtio_device *dev)
{
	if (dev->transport)
		dev->transport_ops->running(dev->transport, dev->running);
}

static void transport_reset(struct virtio_device *dev, int index)
{
	if (dev->transport)
		dev->transport_ops->reset(dev->transport, index);
}

static bool is_packed(const struct virtio_device *dev)
{
	return virtio_has(dev, VIRTIO_F_RING_PACKED);
}

/* The owner on the main loop has not looked yet, and the driver need not kick for what is there. */
static void first_look(struct virtio_device *dev, unsigned index)
{
	if (dev->queues[index].on_loop)
		virtio_queue_wake(dev, index);
}

static bool has_let_go(struct virtio_device *dev, int index)
{
	return !dev->ops->let_go || dev->ops->let_go(dev, index);
}

static void device_start(struct virtio_device *dev)
{
	struct err err = {.msg = "it cannot start"};

	/* First, so that owners who find their ring broken at once also tell the driver. */
	atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_DRIVER_OK);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queues[i].running = dev->queues[i].config.enabled;
	dev->running = true;
	transport_running(dev);
	if (dev->ops->start(dev, &err) == 0) {
		for (unsigned i = 0; i < dev->nr_queues; i++)
			if (dev->queues[i].running)
				first_look(dev, i);
		return;
	}
	/* A part of it may have started, and be busy. */
	dev->stopping = !has_let_go(dev, -1);
	dev->running = dev->stopping;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queues[i].running = false;
	transport_running(dev);
	virtio_device_broken(dev, err.msg);
}

/* True: it has stopped. False: it is stopping. */
static bool device_stop(struct virtio_device *dev)
{
	if (!dev->running)
		return true;
	if (!dev->stopping)
		dev->ops->stop(dev);
	dev->stopping = !has_let_go(dev, -1);
	if (dev->stopping)
		return false;
	dev->running = false;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queues[i].running = dev->queues[i].stopping = dev->queues[i].resetting = false;
	transport_running(dev);
	return true;
}

static void queue_defaults(struct virtio_device *dev, struct virtio_queue *q)
{
	q->config = (struct virtq_config){
		.size_max = q->config.size_max,
		.size = q->config.size_max,
	};
	q->base = virtq_base_new(is_packed(dev));
}

static void device_reset(struct virtio_device *dev)
{
	dev->resetting = !device_stop(dev);
	if (dev->resetting) {
		atomic_store(&dev->status, VIRTIO_CONFIG_S_NEEDS_RESET);
		return;
	}
	dev->driver_features = 0;
	for (unsigned i = 0; i < dev->nr_queues; i++)
		queue_defaults(dev, &dev->queues[i]);
	transport_reset(dev, -1);
	/* Last: who reads 0 finds a device that is reset. */
	atomic_store(&dev->status, 0);
	pthread_cond_broadcast(&dev->settled);
}

static void queue_start(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];
	struct err err = {.msg = "a queue cannot start"};

	q->running = true;
	transport_running(dev);
	if (dev->ops->queue_start(dev, index, &err) == 0) {
		first_look(dev, index);
		return;
	}
	q->running = false;
	transport_running(dev);
	virtio_device_broken(dev, err.msg);
}

/* True: afterwards nobody looks at the queue, whatever the device can do. False: it is stopping. */
static bool queue_stop(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];

	if (!q->running)
		return true;
	if (!dev->ops->queue_stop) {
		device_stop(dev);
		virtio_device_broken(dev, "its driver stopped a queue, which it has no means for");
		return true;
	}
	if (!q->stopping)
		dev->ops->queue_stop(dev, index);
	q->stopping = !has_let_go(dev, (int)index);
	if (q->stopping)
		return false;
	q->running = false;
	transport_running(dev);
	return true;
}

static void queue_reset(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];

	q->resetting = !queue_stop(dev, index);
	if (q->resetting)
		return;
	queue_defaults(dev, q);
	transport_reset(dev, (int)index);
}

void virtio_device_let_go(struct virtio_device *dev)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->resetting)
		device_reset(dev);
	else if (dev->stopping)
		device_stop(dev);
	for (unsigned i = 0; i < dev->nr_queues; i++) {
		if (dev->queues[i].resetting)
			queue_reset(dev, i);
		else if (dev->queues[i].stopping)
			queue_stop(dev, i);
	}
	pthread_mutex_unlock(&dev->lock);
}

bool virtio_device_settle(struct virtio_device *dev, unsigned ms)
{
	struct timespec until = clock_deadline(ms);
	bool settled;

	virtio_set_status(dev, 0);
	pthread_mutex_lock(&dev->lock);
	while (dev->resetting &&
	       pthread_cond_clockwait(&dev->settled, &dev->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	settled = !dev->resetting;
	pthread_mutex_unlock(&dev->lock);
	return settled;
}

/* --- Status and features --- */

uint8_t virtio_status(const struct virtio_device *dev)
{
	return atomic_load(&dev->status);
}

/* 2.2.2, 6.1: nothing that was not offered, and the interface that there is. */
static bool features_acceptable(const struct virtio_device *dev)
{
	return !(dev->driver_features & ~dev->offered) && virtio_has(dev, VIRTIO_F_VERSION_1);
}

static void set_features_ok(struct virtio_device *dev)
{
	if (!features_acceptable(dev)) {
		log_debug("%s: its driver wants features 0x%llx of 0x%llx: refused", dev->name,
		          (unsigned long long)dev->driver_features,
		          (unsigned long long)dev->offered);
		return;
	}
	atomic_fetch_or(&dev->status, VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned i = 0; i < dev->nr_queues; i++)
		dev->queues[i].base = virtq_base_new(is_packed(dev));
}

static void set_status_bits(struct virtio_device *dev, uint8_t status)
{
	uint8_t set = status & (uint8_t)~atomic_load(&dev->status);

	atomic_fetch_or(&dev->status, set & STATUS_PLAIN);
	if (status_has(dev, VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED))
		return;
	if (set & VIRTIO_CONFIG_S_FEATURES_OK)
		set_features_ok(dev);
	if ((set & VIRTIO_CONFIG_S_DRIVER_OK) && status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK))
		device_start(dev);
}

void virtio_set_status(struct virtio_device *dev, uint8_t status)
{
	pthread_mutex_lock(&dev->lock);
	if (dev->resetting)
		; /* it goes on */
	else if (status == 0)
		device_reset(dev);
	else
		set_status_bits(dev, status);
	pthread_mutex_unlock(&dev->lock);
}

uint32_t virtio_features_window(const struct virtio_device *dev, uint32_t select)
{
	return select < 2 ? (uint32_t)(dev->offered >> 32 * select) : 0;
}

uint32_t virtio_driver_features_window(struct virtio_device *dev, uint32_t select)
{
	uint64_t features;

	pthread_mutex_lock(&dev->lock);
	features = dev->driver_features;
	pthread_mutex_unlock(&dev->lock);
	return select < 2 ? (uint32_t)(features >> 32 * select) : 0;
}

void virtio_set_driver_features(struct virtio_device *dev, uint32_t select, uint32_t value)
{
	unsigned shift = 32 * (select & 1);

	/* No feature has a bit above 63 here: what is never offered may be ignored (4.1.4.3.1). */
	if (select > 1)
		return;
	pthread_mutex_lock(&dev->lock);
	if (!dev->stopping && !status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK))
		dev->driver_features = (dev->driver_features & ~(UINT64_C(0xffffffff) << shift)) |
		                       (uint64_t)value << shift;
	pthread_mutex_unlock(&dev->lock);
}

/* --- Queues --- */

uint16_t virtio_queue_size_max(const struct virtio_device *dev, uint32_t index)
{
	return index < dev->nr_queues ? dev->queues[index].config.size_max : 0;
}

uint32_t virtio_queue_get(struct virtio_device *dev, uint32_t index, enum virtio_queue_field field)
{
	struct virtq_config c;
	bool resetting;

	if (index >= dev->nr_queues)
		return 0;
	pthread_mutex_lock(&dev->lock);
	c = dev->queues[index].config;
	resetting = dev->queues[index].resetting;
	pthread_mutex_unlock(&dev->lock);
	switch (field) {
	case VIRTIO_QUEUE_SIZE:
		return c.size;
	case VIRTIO_QUEUE_DESC_LOW:
		return (uint32_t)c.desc;
	case VIRTIO_QUEUE_DESC_HIGH:
		return (uint32_t)(c.desc >> 32);
	case VIRTIO_QUEUE_DRIVER_LOW:
		return (uint32_t)c.driver;
	case VIRTIO_QUEUE_DRIVER_HIGH:
		return (uint32_t)(c.driver >> 32);
	case VIRTIO_QUEUE_DEVICE_LOW:
		return (uint32_t)c.device;
	case VIRTIO_QUEUE_DEVICE_HIGH:
		return (uint32_t)(c.device >> 32);
	case VIRTIO_QUEUE_ENABLE:
		return c.enabled;
	case VIRTIO_QUEUE_RESET:
		return resetting;
	}
	return 0;
}

static void set_half(uint64_t *addr, bool high, uint32_t value)
{
	unsigned shift = high ? 32 : 0;

	*addr = (*addr & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
}

/* Without packed rings no size that is not a power of two may ever be read back (4.1.4.3.1). */
static bool size_possible(const struct virtio_device *dev, const struct virtq_config *c,
                          uint32_t size)
{
	return size && size <= c->size_max && (is_packed(dev) || !(size & (size - 1)));
}

static void queue_set_place(struct virtio_device *dev, struct virtq_config *c,
                            enum virtio_queue_field field, uint32_t value)
{
	switch (field) {
	case VIRTIO_QUEUE_SIZE:
		if (size_possible(dev, c, value))
			c->size = (uint16_t)value;
		break;
	case VIRTIO_QUEUE_DESC_LOW:
	case VIRTIO_QUEUE_DESC_HIGH:
		set_half(&c->desc, field == VIRTIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_QUEUE_DRIVER_LOW:
	case VIRTIO_QUEUE_DRIVER_HIGH:
		set_half(&c->driver, field == VIRTIO_QUEUE_DRIVER_HIGH, value);
		break;
	case VIRTIO_QUEUE_DEVICE_LOW:
	case VIRTIO_QUEUE_DEVICE_HIGH:
		set_half(&c->device, field == VIRTIO_QUEUE_DEVICE_HIGH, value);
		break;
	default:
		break;
	}
}

static void queue_enable(struct virtio_device *dev, unsigned index)
{
	struct virtio_queue *q = &dev->queues[index];

	if (q->config.enabled || (dev->running && !dev->ops->queue_start))
		return;
	q->config.enabled = true;
	q->base = virtq_base_new(is_packed(dev));
	if (dev->running && !virtio_is_broken(dev))
		queue_start(dev, index);
}

static bool may_reset_queues(const struct virtio_device *dev)
{
	return status_has(dev, VIRTIO_CONFIG_S_FEATURES_OK) && virtio_has(dev, VIRTIO_F_RING_RESET);
}

void virtio_queue_set(struct virtio_device *dev, uint32_t index, enum virtio_queue_field field,
                      uint32_t value)
{
	struct virtio_queue *q;

	if (index >= dev->nr_queues)
		return;
	q = &dev->queues[index];
	pthread_mutex_lock(&dev->lock);
	if (dev->stopping || q->stopping) {
		; /* the reset goes on */
	} else if (field == VIRTIO_QUEUE_ENABLE && value == 1 && q->config.size_max) {
		queue_enable(dev, index);
	} else if (field == VIRTIO_QUEUE_ENABLE && value == 0) {
		queue_stop(dev, index);
		q->config.enabled = false;
	} else if (field == VIRTIO_QUEUE_RESET && value == 1) {
		if (may_reset_queues(dev))
			queue_reset(dev, index);
	} else if (!q->config.enabled) {
		queue_set_place(dev, &q->config, field, value);
	}
	pthread_mutex_unlock(&dev->lock);
}

int virtio_queue_take(struct virtio_device *dev, unsigned index, struct virtq *q, struct err *err)
{
	const struct virtio_queue *vq = &dev->queues[index];
	int rc;

	if (!vq->config.enabled)
		return err_set(err, -EINVAL, "queue %u is not enabled", index);
	rc = virtq_start(q, &vq->config, virtq_features(dev->driver_features), vq->base, dev->mem,
	                 err);
	q->dev = dev->name;
	q->ring = index;
	return rc < 0 ? err_prefix(err, rc, "queue %u", index) : 0;
}

/* --- The device-specific configuration --- */

static bool in_config(const struct virtio_device *dev, uint32_t offset, uint32_t len)
{
	return offset < dev->config_size && len <= dev->config_size - offset;
}

uint32_t virtio_config_generation(struct virtio_device *dev)
{
	uint32_t generation;

	pthread_mutex_lock(&dev->lock);
	generation = dev->config_generation;
	pthread_mutex_unlock(&dev->lock);
	return generation;
}

void virtio_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	if (!in_config(dev, offset, len)) {
		memset(buf, 0, len);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	if (atomic_exchange_explicit(&dev->config_newer, false, memory_order_acquire))
		dev->config_generation++;
	dev->ops->config_read(dev, offset, buf, len);
	pthread_mutex_unlock(&dev->lock);
}

void virtio_config_write(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len)
{
	if (!in_config(dev, offset, len) || !dev->ops->config_write)
		return;
	pthread_mutex_lock(&dev->lock);
	dev->ops->config_write(dev, offset, buf, len);
	pthread_mutex_unlock(&dev->lock);
}

/* --- Life --- */

void virtio_device_init(struct virtio_device *dev, const char *name, uint16_t type,
                        const struct virtio_device_ops *ops, uint64_t offered, uint32_t config_size,
                        const uint16_t *queue_sizes, unsigned nr_queues, const struct memory *mem)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->type = type;
	dev->ops = ops;
	dev->mem = mem;
	dev->offered = offered;
	if (!ops->queue_start || !ops->queue_stop)
		dev->offered &= ~VIRTIO_FEATURE(VIRTIO_F_RING_RESET);
	dev->config_size = config_size;
	dev->nr_queues = nr_queues;
	pthread_mutex_init(&dev->lock, NULL);
	pthread_cond_init(&dev->settled, NULL);
	for (unsigned i = 0; i < nr_queues; i++) {
		dev->queues[i].config.size_max = queue_sizes[i];
		dev->queues[i].on_loop = ops->kicked != NULL;
		queue_defaults(dev, &dev->queues[i]);
	}
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		dev->queues[i].events = (struct virtio_queue_events){-1, -1, -1};
}

void virtio_device_destroy(struct virtio_device *dev)
{
	if (!dev->ops)
		return;
	while (!virtio_device_settle(dev, 1000))
		;
	dev->transport = NULL;
	dev->transport_ops = NULL;
	dev->ops = NULL;
	pthread_cond_destroy(&dev->settled);
	pthread_mutex_destroy(&dev->lock);
}
