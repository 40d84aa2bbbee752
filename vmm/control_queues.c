/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's method device.stats: on which ways a device's queues are notified and interrupt. */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "vmm/control_priv.h"
#include "vmm/util.h"

static json_t *known(bool is, uint64_t value)
{
	return is ? json_integer((json_int_t)value) : json_null();
}

void control_add_ways(json_t *out, struct virtio_device *dev, const struct virtio_events *events,
                      unsigned queue, struct virtio_call_counts *calls)
{
	struct virtio_queue *q = &dev->queues[queue];
	struct virtio_kick_counts k = {0};
	/* A driver that is being served just now: not known. The main loop must not wait for it. */
	bool got = pthread_mutex_trylock(&dev->lock) == 0;

	if (got) {
		virtio_kicks_read(&q->kicks, q->events.kick_fd, &k);
		pthread_mutex_unlock(&dev->lock);
	}
	*calls = (struct virtio_call_counts){0};
	if (events)
		counters_read(calls, &events->pairs[queue].calls, sizeof(*calls));
	json_object_set_new(out, "kicks_exit", known(got, k.exits));
	json_object_set_new(out, "kicks_ioeventfd", known(got && k.direct_known, k.direct));
	json_object_set_new(out, "interrupts_ioctl", known(events, calls->by_vmm));
	json_object_set_new(out, "interrupts_carried", known(events, calls->carried));
}

struct virtio_transport *control_find_device(struct control_vm *vm, struct jsonrpc_call *call)
{
	const char *id = json_string_value(json_object_get(call->params, "id"));

	for (struct virtio_transport *t = vm->machine->virtio.first; t; t = t->next)
		if (strcmp(t->dev->name, id) == 0)
			return t;
	err_set(&call->err, -ENOENT,
	        "%s: there is no such virtio device; `trivm ctl NAME devices` (device.list) lists "
	        "them",
	        id);
	return NULL;
}

int control_device_stats(void *opaque, struct jsonrpc_call *call)
{
	struct virtio_transport *t = control_find_device(opaque, call);
	struct virtio_call_counts calls;
	json_t *queues;

	if (!t)
		return -ENOENT;
	queues = json_array();
	for (unsigned i = 0; i < t->dev->nr_queues; i++) {
		json_t *q = json_pack("{s:i}", "queue", (int)i);

		control_add_ways(q, t->dev, virtio_transport_events(t), i, &calls);
		json_array_append_new(queues, q);
	}
	call->result = json_pack("{s:s, s:o}", "id", t->dev->name, "queues", queues);
	return 0;
}
