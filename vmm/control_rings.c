/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's method device.rings: queues as they are in guest memory (inspect.h). */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/virtio/inspect.h"
#include "vmm/control_priv.h"
#include "vmm/json_text.h"
#include "vmm/util.h"

#define DESCRIPTORS_MAX 1024 /* shown of one ring */

static json_t *hex(uint64_t v)
{
	char buf[20];

	snprintf(buf, sizeof(buf), "0x%llx", (unsigned long long)v);
	return json_string(buf);
}

static void set_number(json_t *o, const char *key, unsigned value)
{
	json_object_set_new(o, key, json_integer((json_int_t)value));
}

static void add_split(json_t *o, const struct virtq_view *v)
{
	set_number(o, "avail_idx", v->avail_idx);
	if (v->has_base)
		set_number(o, "last_seen", v->base);
	set_number(o, "used_idx", v->used_idx);
	if (v->features.event_idx) {
		set_number(o, "used_event", v->used_event);
		set_number(o, "avail_event", v->avail_event);
	} else {
		json_object_set_new(o, "no_interrupt",
		                    json_boolean(v->avail_flags & VRING_AVAIL_F_NO_INTERRUPT));
		json_object_set_new(o, "no_notify",
		                    json_boolean(v->used_flags & VRING_USED_F_NO_NOTIFY));
	}
}

static json_t *position(unsigned at, bool wrap)
{
	char buf[24];

	snprintf(buf, sizeof(buf), "%u/%u", at, wrap);
	return json_string(buf);
}

static json_t *event(const struct virtq_event_view *e)
{
	switch (e->how) {
	case VIRTQ_NOTIFY_ALWAYS:
		return json_string("always");
	case VIRTQ_NOTIFY_NEVER:
		return json_string("never");
	case VIRTQ_NOTIFY_AT:
		return position(e->position, e->wrap);
	default:
		return json_string("reserved");
	}
}

static void add_packed(json_t *o, const struct virtq_view *v)
{
	set_number(o, "available", v->available);
	if (v->has_base) {
		json_object_set_new(o, "last_seen", position(v->base & 0x7fff, v->base >> 15 & 1));
		json_object_set_new(o, "next_used",
		                    position(v->base >> 16 & 0x7fff, v->base >> 31));
	}
	json_object_set_new(o, "interrupt_at", event(&v->driver_event));
	json_object_set_new(o, "notify_at", event(&v->device_event));
}

static json_t *flag_words(uint16_t flags, bool packed)
{
	static const struct {
		uint16_t bit;
		bool packed;
		const char *name;
	} names[] = {
		{VRING_DESC_F_NEXT, false, "NEXT"},
		{VRING_DESC_F_WRITE, false, "WRITE"},
		{VRING_DESC_F_INDIRECT, false, "INDIRECT"},
		{BIT(VRING_PACKED_DESC_F_AVAIL), true, "AVAIL"},
		{BIT(VRING_PACKED_DESC_F_USED), true, "USED"},
	};
	json_t *words = json_array();

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if ((flags & names[i].bit) && (packed || !names[i].packed))
			json_array_append_new(words, json_string(names[i].name));
	return words;
}

static json_t *descriptors(const struct virtq_desc_view *d, unsigned n, bool packed)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *o = json_object();

		set_number(o, "index", d[i].index);
		json_object_set_new(o, "addr", hex(d[i].addr));
		set_number(o, "len", d[i].len);
		json_object_set_new(o, "flags", flag_words(d[i].flags, packed));
		set_number(o, packed ? "id" : "next", d[i].next);
		json_array_append_new(list, o);
	}
	return list;
}

/* One ring. @descs: room for DESCRIPTORS_MAX, or NULL. NULL with the sentence in @err: -EBUSY. */
static json_t *ring(struct virtio_device *dev, unsigned index, struct virtq_desc_view *descs,
                    struct err *err)
{
	struct virtq_view v;
	unsigned got;
	int rc = virtio_inspect(dev, index, &v, descs, descs ? DESCRIPTORS_MAX : 0, &got, err);
	json_t *o;

	if (rc < 0 && rc != -EINVAL)
		return NULL;
	o = json_object();
	set_number(o, "ring", index);
	json_object_set_new(o, "state",
	                    json_string(v.running          ? "running"
	                                : v.config.enabled ? "enabled"
	                                                   : "off"));
	if (!v.config.enabled)
		return o;
	json_object_set_new(o, "format", json_string(v.features.packed ? "packed" : "split"));
	set_number(o, "size", v.config.size);
	json_object_set_new(o, "desc", hex(v.config.desc));
	json_object_set_new(o, "driver", hex(v.config.driver));
	json_object_set_new(o, "device", hex(v.config.device));
	if (rc < 0) {
		json_object_set_new(o, "invalid", json_text(err->msg));
		return o;
	}
	if (v.features.packed)
		add_packed(o, &v);
	else
		add_split(o, &v);
	if (descs)
		json_object_set_new(o, "descriptors", descriptors(descs, got, v.features.packed));
	return o;
}

int control_device_rings(void *opaque, struct jsonrpc_call *call)
{
	const json_t *which = json_object_get(call->params, "ring");
	const struct virtio_transport *t = control_find_device(opaque, call);
	struct virtq_desc_view *descs = NULL;
	struct virtio_device *dev;
	unsigned first = 0, last;
	int rc = 0;

	if (!t)
		return -ENOENT;
	dev = t->dev;
	last = dev->nr_queues - 1;
	if (which) {
		json_int_t n = json_integer_value(which);

		if (n < 0 || n > (json_int_t)last)
			return err_set(&call->err, -ENOENT, "%s: its rings are 0 to %u", dev->name,
			               last);
		first = last = (unsigned)n;
	}
	if (json_is_true(json_object_get(call->params, "descriptors"))) {
		descs = calloc(DESCRIPTORS_MAX, sizeof(descs[0]));
		if (!descs)
			return -ENOMEM;
	}
	call->result = json_array();
	for (unsigned i = first; i <= last && rc == 0; i++) {
		json_t *one = ring(dev, i, descs, &call->err);

		if (!one)
			rc = -EBUSY;
		else
			json_array_append_new(call->result, one);
	}
	free(descs);
	return rc;
}
