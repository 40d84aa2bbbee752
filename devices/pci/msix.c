/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * After every change of anything that matters - table, masks, enable, bus master, attach - the
 * vector is brought to the state that follows from the whole of it (vector_update()). There is no
 * other code that arms an irqfd, sends a waiting message, or sets a route, so there is no order of
 * events to get wrong.
 *
 * Masking with irqfds. While KVM has an eventfd it consumes each event and interrupts, and asks
 * nobody. So to mask a vector its eventfds are taken away from KVM; the writers do not notice, and
 * since nobody reads the eventfd its own counter is the pending bit: poll() tells it without a race
 * and without consuming it. (The other way, giving the writer another eventfd while masked, needs
 * every datapath's help, and a message to a vhost-user peer for every mask bit.)
 *
 * To unmask: read the counter to zero, give the eventfd to KVM, read the counter again, and if
 * either was not zero send one message. The events of the first read would else be lost or stay
 * behind as a false pending bit: KVM does look at the counter when it gets an eventfd, and
 * interrupts, but it leaves the counter as it is. The second read collects an event that fell
 * between the first and KVM's look; that one may interrupt twice, which MSI-X drivers must bear (an
 * edge says "look", not "once"). Taking it away from KVM waits until the last event's interrupt was
 * delivered (KVM_IRQFD_FLAG_DEASSIGN): when the guest's write of the mask bit is done, nothing
 * comes any more.
 *
 * The lock is held over the calls of the interrupt controller, messages included: otherwise one
 * could be sent after the guest's mask was set, or two routes be set in the wrong order.
 */
#include "devices/pci/msix.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/trace.h"
#include "vmm/util.h"

static bool vector_open(const struct msix *msix, const struct msix_vector *v)
{
	return msix->enabled && !msix->function_masked && msix->bus_master && !v->masked;
}

static bool fd_waiting(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

/* msix->lock is held in all of the static functions from here on. */

static void complain(const struct msix *msix, const char *what, int rc)
{
	static struct log_limit limit;

	log_limited(&limit, LOG_WARN, "%s: MSI-X: %s: %s", msix->dev->name, what, strerror(-rc));
}

static void irqfd_disarm(struct msix *msix, const struct msix_vector *v, struct msix_irqfd *q)
{
	int rc;

	if (!q->armed)
		return;
	rc = irq_irqfd(msix->ctl, v->gsi, q->fd, false);
	if (rc < 0)
		complain(msix, "taking an irqfd away", rc);
	q->armed = false;
}

/* Give @q to KVM. *@waited: there was an event in it. 0 or a negative errno. */
static int irqfd_arm(struct msix *msix, const struct msix_vector *v, struct msix_irqfd *q,
                     bool *waited)
{
	uint64_t count = fd_drain(q->fd);
	int rc = irq_irqfd(msix->ctl, v->gsi, q->fd, true);

	if (rc < 0) {
		/* Back to where they were: still pending. */
		if (count)
			fd_signal_shared(q->fd);
		return rc;
	}
	q->armed = true;
	count |= fd_drain(q->fd);
	*waited |= count != 0;
	return 0;
}

static bool same_message(const struct msi_message *a, const struct msi_message *b)
{
	return a->addr == b->addr && a->data == b->data;
}

/* Make KVM deliver the vector's message for its GSI. 0 or a negative errno. */
static int vector_route(struct msix *msix, struct msix_vector *v)
{
	int rc;

	if (v->has_route && same_message(&v->routed, &v->msg))
		return 0;
	rc = irq_route_set(msix->ctl, v->gsi, &v->msg);
	/* A message that KVM refuses must not stay in the table: it holds every device's routes. */
	if (rc < 0)
		irq_route_set(msix->ctl, v->gsi, NULL);
	v->has_route = rc == 0;
	v->routed = v->msg;
	return rc;
}

static void vector_disarm(struct msix *msix, struct msix_vector *v)
{
	for (struct msix_irqfd *q = v->irqfds; q; q = q->next)
		irqfd_disarm(msix, v, q);
}

/* Bring the open vector's irqfds to KVM. 0, or the last error: what it is about stays disarmed. */
static int vector_arm(struct msix *msix, struct msix_vector *v, bool *waited)
{
	int rc, first_rc;

	if (!v->irqfds)
		return 0;
	first_rc = vector_route(msix, v);
	if (first_rc < 0) {
		/* A message that KVM does not take. It must not deliver the one before instead. */
		vector_disarm(msix, v);
		return first_rc;
	}
	for (struct msix_irqfd *q = v->irqfds; q; q = q->next) {
		if (q->armed)
			continue;
		rc = irqfd_arm(msix, v, q, waited);
		if (rc < 0)
			first_rc = rc;
	}
	return first_rc;
}

static void send(struct msix *msix, const struct msix_vector *v)
{
	/* An error: nobody has that address. A message on a real bus would be lost as quietly. */
	irq_send_msi(msix->ctl, &v->msg);
}

/* Do what the vector's state asks for. 0, or why an irqfd could not be brought to KVM. */
static int vector_update(struct msix *msix, struct msix_vector *v)
{
	bool fire = false;
	int rc;

	if (!vector_open(msix, v)) {
		vector_disarm(msix, v);
		return 0;
	}
	rc = vector_arm(msix, v, &fire);
	if (fire || v->pending)
		send(msix, v);
	v->pending = false;
	return rc;
}

static void vector_update_logged(struct msix *msix, struct msix_vector *v)
{
	int rc = vector_update(msix, v);

	if (rc < 0)
		complain(msix, "interrupts of a queue are held back", rc);
}

static void update_all(struct msix *msix)
{
	for (unsigned i = 0; i < msix->nr; i++)
		vector_update_logged(msix, &msix->vectors[i]);
}

static bool vector_pending(const struct msix_vector *v)
{
	if (v->pending)
		return true;
	/* What is in an armed one is on its way through KVM, not pending. */
	for (const struct msix_irqfd *q = v->irqfds; q; q = q->next)
		if (!q->armed && fd_waiting(q->fd))
			return true;
	return false;
}

static void vector_clear(struct msix_vector *v)
{
	v->pending = false;
	for (struct msix_irqfd *q = v->irqfds; q; q = q->next)
		if (!q->armed)
			fd_drain(q->fd);
}

/* --- The BAR --- */

static uint32_t entry_dword(const struct msix_vector *v, unsigned reg)
{
	switch (reg) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return (uint32_t)v->msg.addr;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return (uint32_t)(v->msg.addr >> 32);
	case PCI_MSIX_ENTRY_DATA:
		return v->msg.data;
	default:
		return v->masked ? PCI_MSIX_ENTRY_CTRL_MASKBIT : 0;
	}
}

static void entry_set_dword(struct msix_vector *v, unsigned reg, uint32_t value)
{
	switch (reg) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		v->msg.addr = (v->msg.addr & ~UINT64_C(0xffffffff)) | (value & ~3u);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		v->msg.addr = (v->msg.addr & 0xffffffff) | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		v->msg.data = value;
		break;
	default:
		v->masked = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		break;
	}
}

/* Eight vectors' bits a byte. */
static uint64_t pba_read(const struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned bit = 0; bit < 8 * size; bit++) {
		uint64_t i = 8 * offset + bit;

		if (i < msix->nr && vector_pending(&msix->vectors[i]))
			value |= BIT64(bit);
	}
	return value;
}

/* Table and pending bits are accessed by aligned dwords and qwords (PCI 3.0, 6.8.2.6). */
static bool access_ok(uint64_t offset, unsigned size)
{
	return (size == 4 || size == 8) && offset % size == 0;
}

static uint64_t bar_read(void *opaque, uint64_t offset, unsigned size)
{
	struct msix *msix = opaque;
	uint64_t index = offset / PCI_MSIX_ENTRY_SIZE, value = 0;
	unsigned reg = offset % PCI_MSIX_ENTRY_SIZE;

	if (!access_ok(offset, size))
		return UINT64_MAX;
	pthread_mutex_lock(&msix->lock);
	if (offset >= msix->pba) {
		value = pba_read(msix, offset - msix->pba, size);
	} else if (index < msix->nr) {
		value = entry_dword(&msix->vectors[index], reg);
		if (size == 8)
			value |= (uint64_t)entry_dword(&msix->vectors[index], reg + 4) << 32;
	}
	pthread_mutex_unlock(&msix->lock);
	return value;
}

static void bar_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct msix *msix = opaque;
	uint64_t index = offset / PCI_MSIX_ENTRY_SIZE;
	unsigned reg = offset % PCI_MSIX_ENTRY_SIZE;

	if (!access_ok(offset, size) || index >= msix->nr)
		return;
	pthread_mutex_lock(&msix->lock);
	entry_set_dword(&msix->vectors[index], reg, (uint32_t)value);
	if (size == 8)
		entry_set_dword(&msix->vectors[index], reg + 4, (uint32_t)(value >> 32));
	vector_update_logged(msix, &msix->vectors[index]);
	pthread_mutex_unlock(&msix->lock);
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* --- For devices --- */

static void vectors_clear(struct msix *msix)
{
	for (unsigned i = 0; i < msix->nr; i++) {
		struct msix_vector *v = &msix->vectors[i];

		v->msg = (struct msi_message){0};
		v->masked = true;
		vector_clear(v);
	}
}

/* The capability's registers (PCI 3.0, 6.8.2.3 - 6.8.2.5). */
static int add_capability(struct msix *msix, unsigned bar)
{
	struct pci_device *dev = msix->dev;
	int rc = pci_add_capability(dev, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, &msix->cap);

	if (rc < 0)
		return rc;
	pci_config_define(dev, msix->cap + PCI_MSIX_FLAGS, 2, msix->nr - 1,
	                  PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_config_define(dev, msix->cap + PCI_MSIX_TABLE, 4, bar, 0);
	pci_config_define(dev, msix->cap + PCI_MSIX_PBA, 4, (uint32_t)msix->pba | bar, 0);
	return 0;
}

int msix_init(struct msix *msix, struct pci_device *dev, unsigned bar, unsigned nr,
              struct irq_controller *ctl)
{
	uint64_t table = KIB(2); /* its half of the BAR */
	int rc;

	memset(msix, 0, sizeof(*msix));
	if (nr == 0 || nr > MSIX_VECTORS_MAX)
		return -EINVAL;
	while (table < nr * PCI_MSIX_ENTRY_SIZE)
		table *= 2;
	msix->dev = dev;
	msix->ctl = ctl;
	msix->nr = nr;
	msix->pba = table;
	rc = pci_bar_init(dev, bar, PCI_BAR_MEM32, 2 * table, &bar_ops, msix);
	if (rc == 0)
		rc = add_capability(msix, bar);
	if (rc < 0)
		return rc;
	msix->vectors = calloc(nr, sizeof(*msix->vectors));
	if (!msix->vectors)
		return -ENOMEM;
	pthread_mutex_init(&msix->lock, NULL);
	vectors_clear(msix);
	dev->msix = msix;
	return 0;
}

void msix_destroy(struct msix *msix)
{
	if (!msix->vectors)
		return;
	for (unsigned i = 0; i < msix->nr; i++) {
		struct msix_vector *v = &msix->vectors[i];

		while (v->irqfds)
			msix_irqfd_detach(v->irqfds);
		if (v->has_gsi)
			irq_route_free(msix->ctl, v->gsi);
	}
	msix->dev->msix = NULL;
	pthread_mutex_destroy(&msix->lock);
	free(msix->vectors);
	msix->vectors = NULL;
}

bool msix_enabled(struct msix *msix)
{
	bool enabled;

	pthread_mutex_lock(&msix->lock);
	enabled = msix->enabled;
	pthread_mutex_unlock(&msix->lock);
	return enabled;
}

void msix_notify(struct msix *msix, unsigned vector)
{
	struct msix_vector *v;

	if (vector >= msix->nr)
		return;
	v = &msix->vectors[vector];
	pthread_mutex_lock(&msix->lock);
	if (vector_open(msix, v)) {
		send(msix, v);
	} else {
		TRACE(msi_held, NULL, 0, "vector %d is masked: pending", vector);
		v->pending = true;
	}
	pthread_mutex_unlock(&msix->lock);
}

/* Put @q on its vector's list. */
static int irqfd_link(struct msix *msix, struct msix_irqfd *q, unsigned vector, int fd)
{
	struct msix_vector *v = &msix->vectors[vector];

	if (!v->has_gsi) {
		int rc = irq_route_alloc(msix->ctl, &v->gsi);

		if (rc < 0)
			return rc;
		v->has_gsi = true;
	}
	*q = (struct msix_irqfd){.msix = msix, .fd = fd, .vector = vector, .next = v->irqfds};
	v->irqfds = q;
	return 0;
}

static void irqfd_unlink(struct msix_irqfd *q)
{
	struct msix_irqfd **link = &q->msix->vectors[q->vector].irqfds;

	while (*link != q)
		link = &(*link)->next;
	*link = q->next;
	*q = (struct msix_irqfd){.fd = -1};
}

int msix_irqfd_attach(struct msix *msix, struct msix_irqfd *q, unsigned vector, int fd)
{
	int rc;

	if (vector >= msix->nr)
		return -EINVAL;
	if (q->msix)
		return -EBUSY;
	pthread_mutex_lock(&msix->lock);
	rc = irqfd_link(msix, q, vector, fd);
	if (rc == 0) {
		rc = vector_update(msix, &msix->vectors[vector]);
		/* An error may be about another fd of the vector; this one is in only if armed. */
		if (rc < 0 && q->armed)
			rc = 0;
		if (rc < 0)
			irqfd_unlink(q);
	}
	pthread_mutex_unlock(&msix->lock);
	return rc;
}

void msix_irqfd_detach(struct msix_irqfd *q)
{
	struct msix *msix = q->msix;

	if (!msix)
		return;
	pthread_mutex_lock(&msix->lock);
	irqfd_disarm(msix, &msix->vectors[q->vector], q);
	irqfd_unlink(q);
	pthread_mutex_unlock(&msix->lock);
}

bool msix_pending(struct msix *msix, unsigned vector)
{
	bool pending;

	if (vector >= msix->nr)
		return false;
	pthread_mutex_lock(&msix->lock);
	pending = vector_pending(&msix->vectors[vector]);
	pthread_mutex_unlock(&msix->lock);
	return pending;
}

void msix_clear_pending(struct msix *msix, unsigned vector)
{
	if (vector >= msix->nr)
		return;
	pthread_mutex_lock(&msix->lock);
	vector_clear(&msix->vectors[vector]);
	pthread_mutex_unlock(&msix->lock);
}

/* --- For pci --- */

void msix_configure(struct msix *msix, bool enabled, bool function_masked, bool bus_master)
{
	pthread_mutex_lock(&msix->lock);
	if (enabled != msix->enabled || function_masked != msix->function_masked ||
	    bus_master != msix->bus_master) {
		msix->enabled = enabled;
		msix->function_masked = function_masked;
		msix->bus_master = bus_master;
		update_all(msix);
	}
	pthread_mutex_unlock(&msix->lock);
}

void msix_reset(struct msix *msix)
{
	pthread_mutex_lock(&msix->lock);
	msix->enabled = msix->function_masked = msix->bus_master = false;
	update_all(msix);
	vectors_clear(msix);
	pthread_mutex_unlock(&msix->lock);
}
