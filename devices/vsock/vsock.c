/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: of the device's three queues (5.10.2) the kernel has the receive and the
 * transmit queue, both or none, from the driver's DRIVER_OK until its reset.
 *
 * The third one, for events, is nobody's: there is one event (5.10.6.7), which tells a driver that
 * the guest was moved to where its connections do not lead any more. Its buffers are taken when
 * that is to be said, and lie there until then. So the queue's settings are only validated.
 *
 * One queue cannot come or go while the others run: the kernel starts and stops its two together.
 * Hence no VIRTIO_F_RING_RESET.
 */
#include "devices/vsock/vsock.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define EVENT_QUEUE 2

static struct vsock *vsock_of(struct virtio_device *dev)
{
	return container_of(dev, struct vsock, dev);
}

/* Main loop. */
static void on_err(struct loop_source *src, uint32_t events)
{
	struct vsock *v = container_of(src, struct vsock, err);

	(void)events;
	pthread_mutex_lock(&v->lock);
	if (fd_drain(v->err_fd) && v->running)
		virtio_device_broken(&v->dev, "vhost-vsock found something wrong with a ring");
	pthread_mutex_unlock(&v->lock);
}

/* Also forgets what is said about the rings as they were before. */
static void set_running(struct vsock *v, bool running)
{
	pthread_mutex_lock(&v->lock);
	fd_drain(v->err_fd);
	v->running = running;
	pthread_mutex_unlock(&v->lock);
}

/* dev->lock is held in the following. */

static void vsock_stop(struct virtio_device *dev)
{
	struct vsock *v = vsock_of(dev);
	virtq_base_t base;

	vhost_vsock_run(&v->kernel, false);
	for (unsigned i = 0; i < VHOST_KERNEL_RINGS; i++)
		if (vhost_ring_runs(&v->kernel.vhost, i))
			vhost_ring_stop(&v->kernel.vhost, i, &base);
	set_running(v, false);
}

static int start_ring(struct vsock *v, unsigned index, struct err *err)
{
	struct virtio_queue *q = &v->dev.queues[index];
	struct vhost_ring ring = {
		.config = q->config,
		.base = q->base,
		.kick_fd = q->events.kick_fd,
		.call_fd = q->events.peer_call_fd,
		.err_fd = v->err_fd,
	};

	if (!q->config.enabled)
		return err_set(err, -EINVAL, "queue %u is not enabled", index);
	q->outside = true;
	virtio_kicks_owner(&q->kicks, ring.kick_fd, false, 1);
	return vhost_ring_start(&v->kernel.vhost, index, &ring, err);
}

static int start_rings(struct vsock *v, struct err *err)
{
	struct virtio_device *dev = &v->dev;
	struct virtq events;
	int rc = vhost_setup(&v->kernel.vhost, dev->driver_features, dev->mem, err);

	if (rc == 0 && dev->queues[EVENT_QUEUE].config.enabled)
		rc = virtio_queue_take(dev, EVENT_QUEUE, &events, err);
	for (unsigned i = 0; i < VHOST_KERNEL_RINGS && rc == 0; i++)
		rc = start_ring(v, i, err);
	if (rc < 0)
		return rc;
	rc = vhost_vsock_run(&v->kernel, true);
	if (rc < 0)
		return err_errno(err, rc, "vhost-vsock does not start");
	/* It looked at nothing before it ran. */
	for (unsigned i = 0; i < VHOST_KERNEL_RINGS; i++)
		virtio_queue_wake(dev, i);
	return 0;
}

static int vsock_start(struct virtio_device *dev, struct err *err)
{
	struct vsock *v = vsock_of(dev);
	int rc;

	set_running(v, true);
	rc = start_rings(v, err);
	if (rc < 0)
		vsock_stop(dev);
	return rc;
}

static void vsock_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	uint8_t guest_cid[8]; /* 5.10.4: all there is */

	store_le64(guest_cid, vsock_of(dev)->cid);
	memcpy(buf, guest_cid + offset, len);
}

static const struct virtio_device_ops vsock_ops = {
	.start = vsock_start,
	.stop = vsock_stop,
	.config_read = vsock_config_read,
};

int vsock_init(struct vsock *v, const char *name, uint32_t cid, const struct memory *mem,
               struct loop *loop, struct err *err)
{
	static const uint16_t sizes[] = {VSOCK_QUEUE_SIZE, VSOCK_QUEUE_SIZE, VSOCK_QUEUE_SIZE};
	uint64_t features;
	int rc;

	memset(v, 0, sizeof(*v));
	v->err_fd = -1;
	v->cid = cid;
	rc = vhost_vsock_open(&v->kernel, name, cid, err);
	if (rc < 0)
		return rc;
	rc = vhost_features(&v->kernel.vhost, &features, err);
	if (rc == 0) {
		rc = v->err_fd = fd_eventfd();
		if (rc >= 0)
			rc = loop_add(loop, &v->err, v->err_fd, EPOLLIN, on_err);
		if (rc < 0)
			err_errno(err, rc, "--vsock %u", cid);
	}
	if (rc < 0) {
		fd_close(&v->err_fd);
		vhost_kernel_close(&v->kernel);
		return rc;
	}
	pthread_mutex_init(&v->lock, NULL);
	virtio_device_init(&v->dev, name, VIRTIO_ID_VSOCK, &vsock_ops, features, sizeof(uint64_t),
	                   sizes, ARRAY_SIZE(sizes), mem);
	return 0;
}

void vsock_destroy(struct vsock *v)
{
	if (!v->dev.ops)
		return;
	virtio_device_destroy(&v->dev);
	loop_remove(&v->err);
	fd_close(&v->err_fd);
	vhost_kernel_close(&v->kernel);
	pthread_mutex_destroy(&v->lock);
}
