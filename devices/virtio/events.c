/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a call fd is in the main loop for as long as it exists, whether an irqfd has
 * it or not, because routes change on vCPU threads and a loop's sources only on its own. Two
 * properties make that work:
 *
 *   - While an irqfd has the eventfd, KVM is the first in its queue of waiters, takes the count and
 *     ends the wake-up there (Linux 5.12 and later): the loop is not woken. On an older host it is
 *     woken for nothing.
 *   - The source is edge-triggered: an event that is to wait in the eventfd (a masked MSI-X
 * vector's pending bit, see devices/pci/msix.c) wakes the loop once and not for ever.
 *
 * So a wake-up says no more than "look". Whoever looks takes the transport's lock, finds out
 * whether the eventfd is his to read now, and leaves it alone if it is not; and who takes an
 * eventfd away from the kernel looks into it himself, as no edge will come for what is in it.
 *
 * Kick fds are edge-triggered as well, and never read: each notification is an edge for everybody
 * who watches. So the main loop can listen for a queue that may turn out to be another thread's.
 */
#include "devices/virtio/events.h"

#include <string.h>
#include <sys/epoll.h>

#include "vmm/fd.h"
#include "vmm/trace.h"
#include "vmm/util.h"

static unsigned index_of(const struct virtio_event_pair *pair)
{
	return (unsigned)(pair - pair->events->pairs);
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct virtio_event_pair *pair = container_of(src, struct virtio_event_pair, kick);
	struct virtio_device *dev = pair->events->dev;

	(void)events;
	dev->ops->kicked(dev, index_of(pair));
}

static void on_call(struct loop_source *src, uint32_t events)
{
	struct virtio_event_pair *pair = container_of(src, struct virtio_event_pair, call);

	(void)events;
	pair->events->called(pair->events, index_of(pair));
}

static int pair_init(struct virtio_event_pair *pair, struct loop *loop, bool on_loop)
{
	int rc = fd_eventfd();

	if (rc < 0)
		return rc;
	pair->kick_fd = rc;
	rc = fd_eventfd();
	if (rc < 0)
		return rc;
	pair->call_fd = rc;
	rc = loop_add(loop, &pair->call, pair->call_fd, EPOLLIN | EPOLLET, on_call);
	if (rc == 0 && on_loop)
		rc = loop_add(loop, &pair->kick, pair->kick_fd, EPOLLIN | EPOLLET, on_kick);
	return rc;
}

int virtio_events_init(struct virtio_events *events, struct virtio_device *dev, struct loop *loop,
                       bool inject_ioctl,
                       void (*called)(struct virtio_events *events, unsigned index))
{
	int rc = 0;

	memset(events, 0, sizeof(*events));
	events->dev = dev;
	events->called = called;
	for (events->nr = 0; events->nr < dev->nr_queues && rc == 0; events->nr++) {
		struct virtio_event_pair *pair = &events->pairs[events->nr];

		pair->events = events;
		pair->kick_fd = pair->call_fd = -1;
		rc = pair_init(pair, loop, dev->queues[events->nr].on_loop);
		dev->queues[events->nr].events = (struct virtio_queue_events){
			.kick_fd = pair->kick_fd,
			.call_fd = inject_ioctl ? -1 : pair->call_fd,
			.peer_call_fd = pair->call_fd,
		};
	}
	if (rc < 0)
		virtio_events_destroy(events);
	return rc;
}

void virtio_events_destroy(struct virtio_events *events)
{
	while (events->nr) {
		struct virtio_event_pair *pair = &events->pairs[--events->nr];

		events->dev->queues[events->nr].events = (struct virtio_queue_events){-1, -1, -1};
		loop_remove(&pair->kick);
		loop_remove(&pair->call);
		fd_close(&pair->kick_fd);
		fd_close(&pair->call_fd);
	}
}

void virtio_events_kick(struct virtio_events *events, unsigned index)
{
	if (index >= events->nr)
		return;
	TRACE(kick_exit, events->dev->name, index,
	      "the driver's kick was an exit: the kick eventfd is written");
	virtio_kicks_signal(&events->dev->queues[index].kicks, events->pairs[index].kick_fd, true);
}

bool virtio_events_take_call(struct virtio_events *events, unsigned index)
{
	struct virtio_event_pair *pair = &events->pairs[index];
	uint64_t n = fd_drain(pair->call_fd);

	if (!n)
		return false;
	counter_add(&pair->calls.carried, 1);
	if (!atomic_load_explicit(&events->dev->queues[index].outside, memory_order_relaxed))
		counter_add(&pair->calls.own_calls, n);
	return true;
}

void virtio_events_drain(struct virtio_events *events, unsigned index)
{
	virtio_kicks_drain(&events->dev->queues[index].kicks, events->pairs[index].kick_fd);
	fd_drain(events->pairs[index].call_fd);
}

int virtio_events_renew(struct virtio_events *events, unsigned index)
{
	struct virtio_event_pair *pair = &events->pairs[index];
	int rc = loop_renew(&pair->call);

	/* The kick fd of a queue that has another owner is not in the loop. */
	if (rc == 0)
		rc = pair->kick.loop ? loop_renew(&pair->kick) : fd_renew(pair->kick_fd);
	if (rc == 0)
		virtio_kicks_renewed(&events->dev->queues[index].kicks);
	return rc;
}
