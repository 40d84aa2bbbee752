/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: how an interrupt gets to the guest. A queue's owner writes its call fd,
 * whoever the owner is - a thread of ours, the host's kernel, another process - and never knows
 * which way it goes from there:
 *
 *   - Direct: the call fd is attached to the queue's MSI-X vector (msix_irqfd_attach()): KVM takes
 *     the event and sends the vector's message. While masked it stays pending in the fd.
 *   - Forwarded: the main loop reads the call fd and does what the driver's settings ask for. That
 *     is INTx and the ISR status while MSI-X is off; nothing for a queue without a vector; and,
 * with inject=ioctl or if KVM has no route left, a message by msix_notify().
 *
 * virtio_pci_route() is the one place that chooses. It looks at all that matters - the queue runs,
 * MSI-X is on, the vector, the option - and is called after each change of any of them. When it
 * takes a call fd away from the kernel it reads what is left in it, as events.c asks for; when it
 * gives it to the kernel, msix.c does. So no event is lost in between, and one can at most come
 * twice.
 *
 * With inject=ioctl, owners within the VMM have no call fd and come by the transport's
 * queue_interrupt, on their own thread; the others' call fd is forwarded. INTx has no direct way:
 * the line is level-triggered and shared, and the ISR status must be set before it rises.
 *
 * The ISR status: its queue bit belongs to INTx; the configuration bit is set with MSI-X as well
 * (4.1.4.5.1). The line follows "some bit is set and MSI-X is off", computed after each change of
 * either.
 *
 * Notifications: each queue has its own address, so an ioeventfd needs no look at the value and
 * takes a write of any width (32 bits with VIRTIO_F_NOTIFICATION_DATA). It is there while the queue
 * runs. A write that reaches us nevertheless - notify=exit, or no ioeventfd left - signals the same
 * kick fd.
 */
#include "devices/virtio/pci_route.h"

#include <errno.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "vmm/fd.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define ISR_QUEUE  BIT(0)
#define ISR_CONFIG BIT(1)

/* --- Interrupts. p->lock is held in all of the static functions. --- */

static void update_intx(struct virtio_pci *p)
{
	pci_set_intx(&p->pci, p->isr && !msix_enabled(&p->msix));
}

static void raise_isr(struct virtio_pci *p, uint8_t bit)
{
	p->isr |= bit;
	update_intx(p);
}

/* An interrupt for queue @index, by our own hand. */
static void queue_deliver(struct virtio_pci *p, unsigned index)
{
	const struct virtio_pci_queue *q = &p->queues[index];

	if (!q->active)
		return;
	TRACE(irq_deliver, p->dev->name, index, "interrupt: MSI-X %d, vector %d",
	      msix_enabled(&p->msix), q->vector);
	trace_enter(p->dev->name, index);
	if (!msix_enabled(&p->msix))
		raise_isr(p, ISR_QUEUE);
	else if (q->vector != VIRTIO_MSI_NO_VECTOR)
		msix_notify(&p->msix, q->vector);
	trace_leave();
	if (!msix_enabled(&p->msix) || q->vector != VIRTIO_MSI_NO_VECTOR)
		counter_add(&p->events.pairs[index].calls.by_vmm, 1);
}

/* If the call fd is ours to read: do. One that does not run keeps its events for the next start. */
static void queue_forward(struct virtio_pci *p, unsigned index)
{
	const struct virtio_pci_queue *q = &p->queues[index];

	if (q->active && !q->irqfd.msix && virtio_events_take_call(&p->events, index)) {
		TRACE(call_seen, p->dev->name, index, "the call eventfd is read: no irqfd has it");
		queue_deliver(p, index);
	}
}

void virtio_pci_route(struct virtio_pci *p, unsigned index)
{
	struct virtio_pci_queue *q = &p->queues[index];
	bool direct = q->active && !p->cfg.inject_ioctl && q->vector != VIRTIO_MSI_NO_VECTOR &&
	              msix_enabled(&p->msix);

	if (q->irqfd.msix && (!direct || q->irqfd.vector != q->vector))
		msix_irqfd_detach(&q->irqfd);
	if (direct && !q->irqfd.msix) {
		int rc = msix_irqfd_attach(&p->msix, &q->irqfd, q->vector,
		                           p->events.pairs[index].call_fd);

		if (rc < 0)
			log_limited(&p->dev->limit, LOG_WARN,
			            "%s: queue %u: no direct interrupts: %s", p->dev->name, index,
			            strerror(-rc));
	}
	queue_forward(p, index);
}

void virtio_pci_routes_update(struct virtio_pci *p)
{
	pthread_mutex_lock(&p->lock);
	for (unsigned i = 0; i < p->events.nr; i++)
		virtio_pci_route(p, i);
	update_intx(p);
	pthread_mutex_unlock(&p->lock);
}

void virtio_pci_called(struct virtio_events *events, unsigned index)
{
	struct virtio_pci *p = container_of(events, struct virtio_pci, events);

	pthread_mutex_lock(&p->lock);
	queue_forward(p, index);
	pthread_mutex_unlock(&p->lock);
}

uint8_t virtio_pci_isr_read(struct virtio_pci *p)
{
	uint8_t isr;

	pthread_mutex_lock(&p->lock);
	isr = p->isr;
	p->isr = 0;
	update_intx(p);
	pthread_mutex_unlock(&p->lock);
	return isr;
}

/* --- Notifications --- */

static void ioeventfd_attach(struct virtio_pci *p, unsigned index)
{
	struct virtio_pci_queue *q = &p->queues[index];
	struct bus_eventfd e = {
		.region = &p->pci.bars[VIRTIO_PCI_BAR_REGS].region,
		.offset = VIRTIO_PCI_NOTIFY + (uint64_t)index * VIRTIO_PCI_NOTIFY_STEP,
		.fd = p->events.pairs[index].kick_fd,
	};
	int rc;

	if (p->cfg.notify_exit || q->ioeventfd)
		return;
	rc = bus_eventfd_add(p->host->cfg.mmio, &e);
	q->ioeventfd = rc == 0;
	if (rc < 0 && rc != -EOPNOTSUPP)
		log_limited(&p->dev->limit, LOG_WARN,
		            "%s: queue %u: notifications will be exits: ioeventfd: %s",
		            p->dev->name, index, strerror(-rc));
}

static void ioeventfd_detach(struct virtio_pci *p, unsigned index)
{
	struct virtio_pci_queue *q = &p->queues[index];

	if (q->ioeventfd)
		bus_eventfd_remove(p->host->cfg.mmio, &p->pci.bars[VIRTIO_PCI_BAR_REGS].region,
		                   p->events.pairs[index].kick_fd);
	q->ioeventfd = false;
}

/* --- What device.h calls --- */

static void transport_queue_interrupt(void *transport, unsigned index)
{
	struct virtio_pci *p = transport;

	pthread_mutex_lock(&p->lock);
	queue_deliver(p, index);
	pthread_mutex_unlock(&p->lock);
}

static void transport_config_interrupt(void *transport)
{
	struct virtio_pci *p = transport;

	pthread_mutex_lock(&p->lock);
	if (p->live) {
		raise_isr(p, ISR_CONFIG);
		if (msix_enabled(&p->msix) && p->config_vector != VIRTIO_MSI_NO_VECTOR)
			msix_notify(&p->msix, p->config_vector);
	}
	pthread_mutex_unlock(&p->lock);
}

static void queue_running(struct virtio_pci *p, unsigned index, bool running)
{
	struct virtio_pci_queue *q = &p->queues[index];

	if (q->active == running)
		return;
	q->active = running;
	if (running)
		ioeventfd_attach(p, index);
	else
		ioeventfd_detach(p, index);
	virtio_pci_route(p, index);
	if (!running)
		virtio_events_drain(&p->events, index);
}

static void transport_running(void *transport, bool running)
{
	struct virtio_pci *p = transport;

	pthread_mutex_lock(&p->lock);
	p->live |= running;
	for (unsigned i = 0; i < p->events.nr; i++)
		queue_running(p, i, p->dev->queues[i].running);
	pthread_mutex_unlock(&p->lock);
}

static void transport_reset(void *transport, int index)
{
	struct virtio_pci *p = transport;

	pthread_mutex_lock(&p->lock);
	if (index >= 0) {
		p->queues[index].vector = VIRTIO_MSI_NO_VECTOR;
	} else {
		for (unsigned i = 0; i < p->events.nr; i++)
			p->queues[i].vector = VIRTIO_MSI_NO_VECTOR;
		for (unsigned i = 0; i < p->msix.nr; i++)
			msix_clear_pending(&p->msix, i);
		p->config_vector = VIRTIO_MSI_NO_VECTOR;
		p->device_features_select = p->driver_features_select = p->queue_select = 0;
		p->live = false;
		p->isr = 0;
		update_intx(p);
	}
	pthread_mutex_unlock(&p->lock);
}

static int transport_renew(void *transport, unsigned index)
{
	struct virtio_pci *p = transport;
	struct virtio_pci_queue *q = &p->queues[index];
	bool active;
	int rc;

	pthread_mutex_lock(&p->lock);
	active = q->active;
	ioeventfd_detach(p, index);
	q->active = false;
	virtio_pci_route(p, index);
	rc = virtio_events_renew(&p->events, index);
	q->active = active;
	if (active)
		ioeventfd_attach(p, index);
	virtio_pci_route(p, index);
	pthread_mutex_unlock(&p->lock);
	return rc;
}

static void transport_ways(void *transport, unsigned index, struct virtio_ways *ways)
{
	struct virtio_pci *p = transport;
	const struct virtio_pci_queue *q = &p->queues[index];

	pthread_mutex_lock(&p->lock);
	ways->ioeventfd = q->ioeventfd;
	ways->irqfd = q->irqfd.msix != NULL;
	pthread_mutex_unlock(&p->lock);
}

const struct virtio_transport_ops virtio_pci_transport_ops = {
	.renew = transport_renew,
	.ways = transport_ways,
	.queue_interrupt = transport_queue_interrupt,
	.config_interrupt = transport_config_interrupt,
	.running = transport_running,
	.reset = transport_reset,
};
