/* SPDX-License-Identifier: BSD-2-Clause */
#include "tests/unit/fakes.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

static struct fake_irq *fake_of(struct irq_controller *ctl)
{
	return container_of(ctl, struct fake_irq, ctl);
}

static void set_line(struct irq_controller *ctl, uint32_t gsi, bool asserted)
{
	struct fake_irq *irq = fake_of(ctl);
	struct fake_gsi *g;

	assert_true(gsi < FAKE_IRQ_GSIS);
	g = &irq->gsi[gsi];
	pthread_mutex_lock(&irq->lock);
	g->sets++;
	g->rises += asserted && !g->asserted;
	g->asserted = asserted;
	pthread_mutex_unlock(&irq->lock);
}

static int send_msi(struct irq_controller *ctl, const struct msi_message *msg)
{
	struct fake_irq *irq = fake_of(ctl);
	int rc;

	pthread_mutex_lock(&irq->lock);
	rc = irq->send_error ? irq->send_error : !irq->refuse;
	if (rc > 0) {
		if (irq->nr_msi < FAKE_IRQ_MSIS)
			irq->msi[irq->nr_msi] = *msg;
		irq->nr_msi++;
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static int route_alloc(struct irq_controller *ctl, uint32_t *gsi)
{
	struct fake_irq *irq = fake_of(ctl);
	int rc = -ENOSPC;

	pthread_mutex_lock(&irq->lock);
	for (uint32_t i = 0; i < FAKE_IRQ_GSIS && rc < 0; i++) {
		if (irq->gsi[i].allocated)
			continue;
		irq->gsi[i].allocated = true;
		*gsi = i;
		rc = 0;
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static void route_free(struct irq_controller *ctl, uint32_t gsi)
{
	struct fake_irq *irq = fake_of(ctl);

	assert_true(gsi < FAKE_IRQ_GSIS);
	pthread_mutex_lock(&irq->lock);
	irq->gsi[gsi] = (struct fake_gsi){.irqfd = -1};
	pthread_mutex_unlock(&irq->lock);
}

static int route_set(struct irq_controller *ctl, uint32_t gsi, const struct msi_message *msg)
{
	struct fake_irq *irq = fake_of(ctl);
	struct fake_gsi *g;
	int rc;

	assert_true(gsi < FAKE_IRQ_GSIS);
	g = &irq->gsi[gsi];
	pthread_mutex_lock(&irq->lock);
	rc = irq->route_error;
	g->route_sets++;
	if (rc == 0) {
		g->routed = msg != NULL;
		if (msg)
			g->route = *msg;
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

/* Where @fd is attached, or NULL. irq->lock is held. */
static struct fake_irqfd *find_irqfd(struct fake_irq *irq, int fd)
{
	for (unsigned i = 0; i < irq->nr_irqfds; i++)
		if (irq->irqfds[i].fd == fd)
			return &irq->irqfds[i];
	return NULL;
}

static int attach_irqfd(struct fake_irq *irq, uint32_t gsi, int fd)
{
	if (find_irqfd(irq, fd))
		return -EBUSY;
	assert_true(irq->nr_irqfds < FAKE_IRQFDS);
	irq->irqfds[irq->nr_irqfds++] = (struct fake_irqfd){.gsi = gsi, .fd = fd};
	irq->gsi[gsi].irqfd = fd;
	return 0;
}

static int detach_irqfd(struct fake_irq *irq, uint32_t gsi, int fd)
{
	struct fake_irqfd *at = find_irqfd(irq, fd);

	if (at && at->gsi == gsi)
		*at = irq->irqfds[--irq->nr_irqfds];
	irq->gsi[gsi].irqfd = -1;
	return 0;
}

static int irqfd(struct irq_controller *ctl, uint32_t gsi, int fd, bool assign)
{
	struct fake_irq *irq = fake_of(ctl);
	int rc;

	assert_true(gsi < FAKE_IRQ_GSIS);
	pthread_mutex_lock(&irq->lock);
	rc = irq->irqfd_error;
	if (rc == 0)
		rc = assign ? attach_irqfd(irq, gsi, fd) : detach_irqfd(irq, gsi, fd);
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

bool fake_irq_has_irqfd(struct fake_irq *irq, uint32_t gsi, int fd)
{
	struct fake_irqfd *at = find_irqfd(irq, fd);

	return at && at->gsi == gsi;
}

unsigned fake_irq_kernel(struct fake_irq *irq)
{
	unsigned events = 0;

	for (unsigned i = 0; i < irq->nr_irqfds; i++) {
		struct fake_gsi *g = &irq->gsi[irq->irqfds[i].gsi];

		if (!fd_drain(irq->irqfds[i].fd))
			continue;
		events++;
		if (irq->irqfds[i].gsi < irq->pins)
			g->rises++;
		else if (g->routed)
			irq_send_msi(&irq->ctl, &g->route);
	}
	return events;
}

static const struct irq_controller_ops fake_irq_ops = {
	.set_line = set_line,
	.send_msi = send_msi,
	.route_alloc = route_alloc,
	.route_free = route_free,
	.route_set = route_set,
	.irqfd = irqfd,
};

void fake_irq_init(struct fake_irq *irq, unsigned pins)
{
	memset(irq, 0, sizeof(*irq));
	irq->ctl.ops = &fake_irq_ops;
	irq->pins = pins;
	pthread_mutex_init(&irq->lock, NULL);
	for (unsigned i = 0; i < FAKE_IRQ_GSIS; i++)
		irq->gsi[i] = (struct fake_gsi){.irqfd = -1, .allocated = i < pins};
}

struct irq_line fake_irq_line(struct fake_irq *irq, uint32_t gsi)
{
	return (struct irq_line){.ctl = &irq->ctl, .gsi = gsi};
}

static void raise_event(void *opaque, enum guest_event event)
{
	struct fake_events *events = opaque;

	assert_true(event < FAKE_EVENTS);
	events->raised[event]++;
}

void fake_events_init(struct fake_events *events)
{
	memset(events, 0, sizeof(*events));
	events->sink = (struct guest_event_sink){.raise = raise_event, .opaque = events};
}

unsigned fake_events_total(const struct fake_events *events)
{
	unsigned total = 0;

	for (unsigned i = 0; i < FAKE_EVENTS; i++)
		total += events->raised[i];
	return total;
}

uint64_t fake_read(struct bus *bus, uint64_t addr, unsigned size)
{
	le64 data = {0};

	assert_true(bus_read(bus, addr, &data, size));
	return le64_get(data);
}

void fake_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value)
{
	le64 data = le64_of(value);

	assert_true(bus_write(bus, addr, &data, size));
}
