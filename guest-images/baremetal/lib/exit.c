/* SPDX-License-Identifier: BSD-2-Clause */
/* Ways out, and time. */
#include "bm.h"

#define PM_SLEEP       (LAYOUT_ACPI_PM + 0)
#define PM_EXIT_STATUS (LAYOUT_ACPI_PM + 3)
#define SLP_EN         0x20
#define SLP_TYP_S5     (5 << 2)

void guest_halt(void)
{
	for (;;)
		__asm__ volatile("cli; hlt");
}

void power_off(void)
{
	print_flush();
	outb(PM_SLEEP, SLP_TYP_S5 | SLP_EN);
}

void guest_exit(int status)
{
	print_flush();
	outb(PM_EXIT_STATUS, (uint8_t)status);
	power_off();
	guest_halt();
}

#define TSC_PER_US 5000u

bool timed_out(uint64_t *start, uint32_t us)
{
	uint64_t now = rdtsc();

	if (!*start)
		*start = now;
	return now - *start > (uint64_t)us * TSC_PER_US;
}

void delay_us(uint32_t us)
{
	uint64_t start = 0;

	while (!timed_out(&start, us))
		cpu_relax();
}

bool irq_wait_change(const volatile unsigned *count, unsigned was, uint32_t us)
{
	uint64_t start = 0;

	irq_on();
	while (*count == was && !timed_out(&start, us))
		cpu_relax();
	irq_off();
	return *count != was;
}
