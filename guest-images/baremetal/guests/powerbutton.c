/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waits for the power button, by "mode=poll" (the event register) or "mode=irq" (the Generic Event
 * Device's interrupt, I/O APIC pin 9, edge), and powers off. "mode=ignore" says what came and
 * stays.
 */
#include "bm.h"
#include "devices/legacy/acpi_pm_regs.h"

#define VECTOR 0x49

static volatile uint8_t events;

static void on_event(struct trap *t)
{
	(void)t;
	events |= inb(LAYOUT_ACPI_PM + ACPI_PM_EVENT_STATUS);
	apic_eoi();
}

int guest_main(void)
{
	char mode[16];

	arg_str("mode", mode, sizeof(mode));
	check(inb(LAYOUT_ACPI_PM + ACPI_PM_EVENT_STATUS) == 0, "an event before there was one");
	apic_init();
	trap_set(VECTOR, on_event);
	if (strcmp(mode, "poll"))
		ioapic_route(LAYOUT_GSI_GED, VECTOR, 0);
	print("waiting\n");
	while (!events) {
		if (strcmp(mode, "poll")) {
			irq_wait();
		} else {
			events = inb(LAYOUT_ACPI_PM + ACPI_PM_EVENT_STATUS);
			delay_us(1000);
		}
	}
	check(events == ACPI_PM_EVENT_POWER_BUTTON, "events %x", events);
	check(inb(LAYOUT_ACPI_PM + ACPI_PM_EVENT_STATUS) == 0, "reading did not clear the event");
	print("power button\n");
	if (!strcmp(mode, "ignore"))
		guest_halt();
	return check_status();
}
