/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi_pm: what is left of power management hardware in hardware-reduced ACPI: power off, reset,
 * and an event register with an interrupt for the Generic Event Device (the power button). One
 * register is our own: the exit status that a guest leaves before it powers off.
 *
 * The registers are in acpi_pm_regs.h, which the DSDT's source includes as well.
 */
#ifndef TRIVM_DEVICES_LEGACY_ACPI_PM_H
#define TRIVM_DEVICES_LEGACY_ACPI_PM_H

#include <pthread.h>
#include <stdint.h>

#include "devices/legacy/acpi_pm_regs.h"
#include "vmm/bus.h"
#include "vmm/guest_event.h"
#include "vmm/irq.h"

#define ACPI_PM_SIZE 8 /* bytes of the register block; those without a name read 0 */

struct acpi_pm {
	struct bus_region region;
	struct irq_line irq;
	struct guest_event_sink sink;

	pthread_mutex_t lock; /* the fields below */
	uint8_t sleep_type;   /* SLP_TYP bits as last written */
	uint8_t sleep_status;
	uint8_t exit_status;
	uint8_t events;
};

/* @irq: the Generic Event Device's, edge-triggered. */
void acpi_pm_init(struct acpi_pm *pm, struct irq_line irq, const struct guest_event_sink *sink);

/* 0 or bus_add()'s negative errno. Main thread, before the guest runs. */
int acpi_pm_add(struct acpi_pm *pm, struct bus *pio, uint16_t base);
void acpi_pm_reset(struct acpi_pm *pm);
void acpi_pm_destroy(struct acpi_pm *pm);

/*
 * The user wants an orderly shutdown. Every press is one interrupt, so that a later one still
 * reaches a guest whose driver was not there yet for the first. Any thread.
 */
void acpi_pm_press_power_button(struct acpi_pm *pm);

/* The byte the guest left, 0 if it left none. Any thread. */
uint8_t acpi_pm_exit_status(struct acpi_pm *pm);

#endif
