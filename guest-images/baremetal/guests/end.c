/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ends the VM in the way that "how=" names. With "status=N" the exit status register is written
 * first: it is to count for power off only. If the VM goes on all the same, that is said, and the
 * status is 99.
 */
#include "bm.h"
#include "devices/legacy/acpi_pm_regs.h"

static void with_acpi_reset(void)
{
	outb(LAYOUT_ACPI_PM + ACPI_PM_RESET, ACPI_PM_RESET_VALUE);
}

static void with_keyboard(void)
{
	outb(0x64, 0xfe);
}

static void with_cf9(void)
{
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
}

/* No IDT: the first exception cannot be delivered, nor the double fault that follows. */
static void with_triple_fault(void)
{
	static const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none;

	__asm__ volatile("lidt %0\n\tmovl %%eax, (%1)"
	                 :
	                 : "m"(none), "r"(0xffff800000000000ul)
	                 : "memory");
}

static void with_panic(void)
{
	print("about to panic\n");
	outb(LAYOUT_PVPANIC, 1);
}

/* Code where no memory is. */
static void with_wild_jump(void)
{
	((void (*)(void))0xd0000000ul)();
}

/* INIT to the first processor: on a PC it starts anew at the reset vector. */
static void with_init(void)
{
	apic_init();
	apic_send_ipi(apic_id(), ICR_INIT);
}

static volatile uint32_t first;

static void send_init(unsigned index)
{
	(void)index;
	apic_send_ipi(first, ICR_INIT);
}

/* The same from the second processor, as a kdump kernel does that starts there. */
static void with_init_by_other(void)
{
	apic_init();
	first = apic_id();
	smp_start(send_init);
}

static void with_halt(void)
{
	print("halting\n");
	guest_halt();
}

static void with_spin(void)
{
	print("spinning\n");
	for (;;)
		cpu_relax();
}

static const struct {
	const char *name;
	void (*fn)(void);
} ways[] = {
	{"poweroff", power_off},
	{"reset", with_acpi_reset},
	{"keyboard", with_keyboard},
	{"cf9", with_cf9},
	{"panic", with_panic},
	{"triple", with_triple_fault},
	{"wild-jump", with_wild_jump},
	{"halt", with_halt},
	{"spin", with_spin},
	{"init", with_init},
	{"init-by-other", with_init_by_other},
};

int guest_main(void)
{
	char how[32];

	arg_str("how", how, sizeof(how));
	outb(LAYOUT_ACPI_PM + ACPI_PM_EXIT_STATUS, (uint8_t)arg_num("status", 0));
	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++) {
		if (strcmp(how, ways[i].name))
			continue;
		print("ending by %s\n", how);
		ways[i].fn();
		delay_us(100000);
		print("still here\n");
		return 99;
	}
	print("how=%s is not known\n", how);
	return 98;
}
