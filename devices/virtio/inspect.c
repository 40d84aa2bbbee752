/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a ring's whole state but one number is in guest memory: how far its server
 * has come in taking. So it can be looked at from the driver's settings alone, whoever serves it.
 * The one number comes from the device (ops->position), if it knows.
 *
 * dev->lock is only tried: a reset may hold it for as long as a disk takes, and we run on the main
 * loop.
 */
#include "devices/virtio/inspect.h"

#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/queue_priv.h"
#include "vmm/util.h"

static uint16_t get16(const uint16_t *at)
{
	return le16toh(READ_GUEST(*at));
}

static void inspect_split(struct virtq_view *v, const struct virtq_areas *areas)
{
	const struct vring_avail *avail = areas->driver;
	const struct vring_used *used = areas->device;

	v->avail_flags = get16(&avail->flags);
	v->avail_idx = get16(&avail->idx);
	v->used_event = get16(&avail->ring[v->config.size]);
	v->used_flags = get16(&used->flags);
	v->used_idx = get16(&used->idx);
	v->avail_event = get16((const uint16_t *)&used->ring[v->config.size]);
}

static struct virtq_event_view event(const struct vring_packed_desc_event *e)
{
	uint16_t at = get16(&e->off_wrap);

	return (struct virtq_event_view){
		.how = (enum virtq_notify)(get16(&e->flags) & 3),
		.position = at & 0x7fff,
		.wrap = at >> 15,
	};
}

/* Equal flags: the device's last word, or the ring's beginning. */
static bool is_used(uint16_t flags)
{
	return (flags >> VRING_PACKED_DESC_F_AVAIL & 1) == (flags >> VRING_PACKED_DESC_F_USED & 1);
}

static void inspect_packed(struct virtq_view *v, const struct virtq_areas *areas)
{
	const struct vring_packed_desc *ring = areas->desc;

	v->driver_event = event(areas->driver);
	v->device_event = event(areas->device);
	for (unsigned i = 0; i < v->config.size; i++)
		v->available += !is_used(get16(&ring[i].flags));
}

static struct virtq_desc_view read_desc(const struct virtq_areas *areas, bool packed, unsigned i)
{
	if (packed) {
		const struct vring_packed_desc *d =
			(const struct vring_packed_desc *)areas->desc + i;

		return (struct virtq_desc_view){(uint16_t)i, le64toh(READ_GUEST(d->addr)),
		                                le32toh(READ_GUEST(d->len)), get16(&d->flags),
		                                get16(&d->id)};
	} else {
		const struct vring_desc *d = (const struct vring_desc *)areas->desc + i;

		return (struct virtq_desc_view){(uint16_t)i, le64toh(READ_GUEST(d->addr)),
		                                le32toh(READ_GUEST(d->len)), get16(&d->flags),
		                                get16(&d->next)};
	}
}

int virtq_inspect(const struct virtq_config *config, struct virtq_features features,
                  const struct memory *mem, struct virtq_view *view, struct virtq_desc_view *descs,
                  unsigned nr, unsigned *got, struct err *err)
{
	struct virtq_areas areas;
	unsigned n = 0;
	int rc;

	*view = (struct virtq_view){.config = *config, .features = features};
	if (got)
		*got = 0;
	rc = virtq_translate(config, features.packed, mem, &areas, err);
	if (rc < 0)
		return rc;
	if (features.packed)
		inspect_packed(view, &areas);
	else
		inspect_split(view, &areas);
	for (unsigned i = 0; descs && i < config->size && n < nr; i++) {
		struct virtq_desc_view d = read_desc(&areas, features.packed, i);

		if (d.addr || d.len || d.flags)
			descs[n++] = d;
	}
	if (got)
		*got = n;
	return 0;
}

int virtio_inspect(struct virtio_device *dev, unsigned index, struct virtq_view *view,
                   struct virtq_desc_view *descs, unsigned nr, unsigned *got, struct err *err)
{
	struct virtq_view v = {.running = false};
	int rc;

	if (index >= dev->nr_queues)
		return err_set(err, -ENOENT, "%s: there is no queue %u", dev->name, index);
	if (pthread_mutex_trylock(&dev->lock))
		return err_set(err, -EBUSY, "%s: its driver starts or stops it just now; try again",
		               dev->name);
	v.config = dev->queues[index].config;
	v.running = dev->queues[index].running;
	v.features = virtq_features(dev->driver_features);
	v.has_base =
		v.running && dev->ops->position && dev->ops->position(dev, index, &v.base) == 0;
	pthread_mutex_unlock(&dev->lock);

	*view = v;
	if (got)
		*got = 0;
	if (!v.config.enabled)
		return err_set(err, -EINVAL, "%s: queue %u is not set up", dev->name, index);
	rc = virtq_inspect(&v.config, v.features, dev->mem, view, descs, nr, got, err);
	view->running = v.running;
	view->has_base = v.has_base;
	view->base = v.base;
	return rc;
}

/* --- Watching --- */

static void watch_split(struct virtq_watch *w, unsigned *available, unsigned *used)
{
	const struct vring_avail *a = w->areas.driver;
	const struct vring_used *u = w->areas.device;
	uint16_t avail_idx = get16(&a->idx), used_idx = get16(&u->idx);

	*available = (unsigned)min_u64((uint16_t)(avail_idx - w->avail), w->size);
	*used = (unsigned)min_u64((uint16_t)(used_idx - w->used), w->size);
	w->avail = avail_idx;
	w->used = used_idx;
}

/*
 * What both sides do to a descriptor is to change its two flags (2.8.1). From one pair of equal ones
 * to the other it has been both, made available and used, since the last look.
 */
static void watch_packed(struct virtq_watch *w, unsigned *available, unsigned *used)
{
	const struct vring_packed_desc *ring = w->areas.desc;
	const uint16_t mask = BIT(VRING_PACKED_DESC_F_AVAIL) | BIT(VRING_PACKED_DESC_F_USED);

	*available = *used = 0;
	for (unsigned i = 0; i < w->size; i++) {
		uint16_t flags = get16(&ring[i].flags) & mask;

		if (flags == w->flags[i])
			continue;
		*used += is_used(flags);
		*available += !is_used(flags) || is_used(w->flags[i]);
		w->flags[i] = flags;
	}
}

void virtq_watch_look(struct virtq_watch *w, unsigned *available, unsigned *used)
{
	if (w->packed)
		watch_packed(w, available, used);
	else
		watch_split(w, available, used);
}

int virtq_watch_begin(struct virtq_watch *w, const struct virtq_config *config,
                      struct virtq_features features, const struct memory *mem, struct err *err)
{
	unsigned available, used;
	int rc;

	*w = (struct virtq_watch){.packed = features.packed, .size = config->size};
	rc = virtq_translate(config, features.packed, mem, &w->areas, err);
	if (rc < 0)
		return rc;
	if (w->packed)
		w->flags = calloc(w->size, sizeof(w->flags[0]));
	if (w->packed && !w->flags)
		return err_errno(err, -ENOMEM, "a queue's watch");
	virtq_watch_look(w, &available, &used);
	return 0;
}

void virtq_watch_end(struct virtq_watch *w)
{
	free(w->flags);
	w->flags = NULL;
}
