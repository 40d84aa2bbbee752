/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * inspect: what a queue looks like at the moment, for people. Reads only, by copies, and works
 * beside whoever serves the ring, in this process or outside of it.
 */
#ifndef TRIVM_DEVICES_VIRTIO_INSPECT_H
#define TRIVM_DEVICES_VIRTIO_INSPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/device.h"
#include "devices/virtio/queue.h"
#include "vmm/err.h"

/* How a side of a packed ring wants to be notified (virtio 1.2, 2.8.10). */
enum virtq_notify {
	VIRTQ_NOTIFY_ALWAYS,
	VIRTQ_NOTIFY_NEVER,
	VIRTQ_NOTIFY_AT, /* when a position is passed */
	VIRTQ_NOTIFY_RESERVED,
};

struct virtq_event_view {
	enum virtq_notify how;
	uint16_t position; /* VIRTQ_NOTIFY_AT */
	bool wrap;
};

/* Each field is one read; all together they are not of one moment while the ring is in use. */
struct virtq_view {
	struct virtq_config config;
	struct virtq_features features;
	bool running;
	/* Where its server stands, as virtq_base_t says; unknown if the server is elsewhere. */
	bool has_base;
	virtq_base_t base;
	/*
	 * Split: the driver's and the device's index, flags, and (EVENT_IDX) the index at which
	 * each wants to be notified: used_event is the driver's wish.
	 */
	uint16_t avail_idx, avail_flags, used_event;
	uint16_t used_idx, used_flags, avail_event;
	/* Packed: the driver's wish for interrupts, the device's for notifications. */
	struct virtq_event_view driver_event, device_event;
	/* Packed: descriptors whose flags say that the device has not given them back. */
	unsigned available;
};

/* One descriptor. */
struct virtq_desc_view {
	uint16_t index;
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split: the next descriptor, if flags say so. Packed: the buffer's id */
};

/*
 * Look at the queue with these settings, and at up to @nr of its descriptors from the first on that
 * are not all zero; *@got says how many were written. @descs may be NULL. -EINVAL with @err: the
 * settings are not valid. Any thread.
 */
int virtq_inspect(const struct virtq_config *config, struct virtq_features features,
                  const struct memory *mem, struct virtq_view *view, struct virtq_desc_view *descs,
                  unsigned nr, unsigned *got, struct err *err);

/*
 * The same for queue @index of @dev. -ENOENT: no such queue; -EBUSY: its driver is starting or
 * stopping it just now, try again; -EINVAL: not set up, or its settings are not valid: then
 * view->config and view->running are there all the same. Any thread but an owner of its queues.
 */
int virtio_inspect(struct virtio_device *dev, unsigned index, struct virtq_view *view,
                   struct virtq_desc_view *descs, unsigned nr, unsigned *got, struct err *err);

/*
 * A queue that is looked at again and again: what has moved in it since the last time? By its
 * driver: entries of the available ring, or descriptors (packed). By whoever serves it: used
 * entries, or used descriptors (packed: one for each chain).
 */
struct virtq_watch {
	struct virtq_areas areas;
	bool packed;
	uint16_t size;
	uint16_t avail, used; /* split: the indexes when they were last read */
	uint16_t *flags;      /* packed: each descriptor's, at that time */
};

/* @config as in virtq_inspect(). 0, -EINVAL or -ENOMEM; then virtq_watch_end(). Any thread. */
int virtq_watch_begin(struct virtq_watch *w, const struct virtq_config *config,
                      struct virtq_features features, const struct memory *mem, struct err *err);
void virtq_watch_end(struct virtq_watch *w); /* idempotent; zero is valid */

/* Neither is above the queue's size, whatever a driver writes there. */
void virtq_watch_look(struct virtq_watch *w, unsigned *available, unsigned *used);

#endif
