/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a look at a split ring is two reads of memory, so the thread looks without
 * sleeping, and gives way to whoever else wants its processor between any two looks. How long ago
 * the look before was is part of what it records: what it saw happened in that time.
 *
 * Whether a queue runs, and where, is asked now and then only (RENEW_US), since that takes the
 * device's lock - tries to: a driver that is just starting or stopping the device is not made to
 * wait. In between, a queue that was stopped is still looked at. That is harmless: only reads, and
 * only of guest memory, which stays where it is as long as the device does.
 */
#include "devices/virtio/observe.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/inspect.h"
#include "vmm/clock.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define RENEW_US 2000

struct watched {
	bool on;
	struct virtq_config config;
	struct virtq_watch watch;
	uint64_t looked_ns;
};

struct observer {
	struct virtio_device *dev;
	uint64_t rings;
	bool used;
	_Atomic bool stop;
	pthread_t thread;
	struct watched queues[VIRTIO_QUEUES_MAX];
};

static bool same_place(const struct virtq_config *a, const struct virtq_config *b)
{
	return a->desc == b->desc && a->driver == b->driver && a->device == b->device &&
	       a->size == b->size;
}

/* Does queue @i run, and where? */
static void renew(struct observer *o, unsigned i)
{
	struct watched *q = &o->queues[i];
	struct virtq_view v = {.running = false};
	int rc = virtio_inspect(o->dev, i, &v, NULL, 0, NULL, NULL);

	if (rc == -EBUSY || (rc == 0 && v.running && q->on && same_place(&v.config, &q->config) &&
	                     v.features.packed == q->watch.packed))
		return;
	virtq_watch_end(&q->watch);
	q->config = v.config;
	q->on = rc == 0 && v.running &&
	        virtq_watch_begin(&q->watch, &v.config, v.features, o->dev->mem, NULL) == 0;
	q->looked_ns = clock_ns();
}

static void look(struct observer *o, unsigned i)
{
	struct watched *q = &o->queues[i];
	unsigned available, used;
	uint64_t now = clock_ns();

	virtq_watch_look(&q->watch, &available, &used);
	if (available)
		TRACE(ring_avail, o->dev->name, i,
		      "the driver has made %d available, at most %d ns before this", available,
		      now - q->looked_ns);
	if (used && o->used)
		TRACE(ring_used, o->dev->name, i,
		      "%d used by whoever serves the ring, at most %d ns before this", used,
		      now - q->looked_ns);
	q->looked_ns = now;
}

static void *observer_thread(void *arg)
{
	struct observer *o = arg;
	uint64_t renewed = 0;

	pthread_setname_np(pthread_self(), "observer");
	while (!o->stop && trace_running()) {
		bool again = clock_us() - renewed >= RENEW_US;

		for (unsigned i = 0; i < 64; i++) {
			if (!(o->rings & BIT64(i)))
				continue;
			if (again)
				renew(o, i);
			if (o->queues[i].on)
				look(o, i);
		}
		if (again)
			renewed = clock_us();
		sched_yield();
	}
	return NULL;
}

int observer_start(struct observer **observer, struct virtio_device *dev, uint64_t rings, bool used,
                   struct err *err)
{
	struct observer *o = calloc(1, sizeof(*o));
	int rc;

	if (!o)
		return err_errno(err, -ENOMEM, "%s: observer", dev->name);
	o->dev = dev;
	o->rings = dev->nr_queues < 64 ? rings & (BIT64(dev->nr_queues) - 1) : rings;
	o->used = used;
	rc = -pthread_create(&o->thread, NULL, observer_thread, o);
	if (rc < 0) {
		free(o);
		return err_errno(err, rc, "%s: the observer's thread", dev->name);
	}
	*observer = o;
	return 0;
}

void observer_stop(struct observer **observer)
{
	struct observer *o = *observer;

	if (!o)
		return;
	o->stop = true;
	pthread_join(o->thread, NULL);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		virtq_watch_end(&o->queues[i].watch);
	free(o);
	*observer = NULL;
}
