/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fakes: what a device under test is given in place of KVM and the machine. They record what the
 * device did, for the test to look at, and do nothing else. Any thread.
 */
#ifndef TRIVM_TESTS_FAKES_H
#define TRIVM_TESTS_FAKES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/guest_event.h"
#include "vmm/irq.h"

#define FAKE_IRQ_GSIS 256
#define FAKE_IRQ_MSIS 64

struct fake_gsi {
	/* The line: its level, how often it rose, and how often it was set at all. */
	bool asserted;
	unsigned rises, sets;
	/* The message route: irq_route_alloc() and irq_route_set(); the last irqfd or -1. */
	bool allocated;
	bool routed;
	struct msi_message route;
	unsigned route_sets;
	int irqfd;
};

#define FAKE_IRQFDS 128

struct fake_irqfd {
	uint32_t gsi;
	int fd;
};

struct fake_irq {
	struct irq_controller ctl; /* what the device under test is given */
	pthread_mutex_t lock;
	unsigned pins;
	struct fake_gsi gsi[FAKE_IRQ_GSIS];
	unsigned nr_msi; /* messages sent; the first FAKE_IRQ_MSIS are kept */
	struct msi_message msi[FAKE_IRQ_MSIS];
	unsigned nr_irqfds; /* attached now; as with KVM, each fd once */
	struct fake_irqfd irqfds[FAKE_IRQFDS];
	/* Negative: what the next calls answer, until the test sets them back to 0. */
	int send_error, route_error, irqfd_error;
	bool refuse; /* the local APICs refuse messages: irq_send_msi() returns 0 */
};

/* GSIs below @pins are lines, irq_route_alloc() hands out those from @pins on. */
void fake_irq_init(struct fake_irq *irq, unsigned pins);
struct irq_line fake_irq_line(struct fake_irq *irq, uint32_t gsi);

/*
 * What KVM does on its own: take the events out of the attached eventfds and deliver what the GSI
 * stands for: its message, if it has a route, or a pulse of the line. How many fds had events.
 */
unsigned fake_irq_kernel(struct fake_irq *irq);
bool fake_irq_has_irqfd(struct fake_irq *irq, uint32_t gsi, int fd);

#define FAKE_EVENTS (GUEST_CRASH + 1)

struct fake_events {
	struct guest_event_sink sink; /* what the device under test is given */
	_Atomic unsigned raised[FAKE_EVENTS];
};

void fake_events_init(struct fake_events *events);
unsigned fake_events_total(const struct fake_events *events);

/* The guest's IN and OUT, or its load and store. Fails the test if no device answers. */
uint64_t fake_read(struct bus *bus, uint64_t addr, unsigned size);
void fake_write(struct bus *bus, uint64_t addr, unsigned size, uint64_t value);

static inline uint8_t fake_in8(struct bus *bus, uint64_t port)
{
	return (uint8_t)fake_read(bus, port, 1);
}
static inline void fake_out8(struct bus *bus, uint64_t port, uint8_t value)
{
	fake_write(bus, port, 1, value);
}

#endif
