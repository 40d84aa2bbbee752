/* SPDX-License-Identifier: BSD-2-Clause */
/* Local APIC (x2APIC where there is one, else xAPIC) and I/O APIC. Intel SDM volume 3, chapter 11.
 */
#include "bm.h"

#define MSR_APIC_BASE  0x1b
#define APIC_BASE_X2   0x400
#define APIC_BASE_EN   0x800
#define MSR_X2APIC     0x800 /* + register / 16 */
#define APIC_ID        0x20
#define APIC_TPR       0x80
#define APIC_EOI       0xb0
#define APIC_SVR       0xf0
#define APIC_ISR       0x100 /* eight of them */
#define APIC_ICR       0x300
#define APIC_ICR_HIGH  0x310
#define SVR_ENABLE     0x100
#define SPURIOUS       0xff
#define CPUID_1_X2APIC (1u << 21)

static bool x2;

static void apic_write(unsigned reg, uint32_t v)
{
	if (x2)
		wrmsr(MSR_X2APIC + (reg >> 4), v);
	else
		write32(LAYOUT_LAPIC + reg, v);
}

bool apic_is_x2(void)
{
	return x2;
}

static void spurious(struct trap *t)
{
	(void)t;
}

void apic_init(void)
{
	uint64_t base = rdmsr(MSR_APIC_BASE);

	x2 = cpuid(1, 0).c & CPUID_1_X2APIC;
	if (x2 && !(base & APIC_BASE_X2))
		wrmsr(MSR_APIC_BASE, base | APIC_BASE_EN | APIC_BASE_X2);
	if (base & 0x100) { /* the boot processor */
		outb(0x21, 0xff);
		outb(0xa1, 0xff);
		trap_set(SPURIOUS, spurious);
	}
	apic_write(APIC_TPR, 0);
	apic_write(APIC_SVR, SVR_ENABLE | SPURIOUS);
}

uint32_t apic_id(void)
{
	if (x2)
		return (uint32_t)rdmsr(MSR_X2APIC + (APIC_ID >> 4));
	return read32(LAYOUT_LAPIC + APIC_ID) >> 24;
}

void apic_eoi(void)
{
	apic_write(APIC_EOI, 0);
}

bool apic_in_service(unsigned vector)
{
	unsigned reg = APIC_ISR + (vector >> 5) * 16;
	uint32_t isr = x2 ? (uint32_t)rdmsr(MSR_X2APIC + (reg >> 4)) : read32(LAYOUT_LAPIC + reg);

	return isr >> (vector & 31) & 1;
}

void apic_send_ipi(uint32_t dest, uint32_t icr_low)
{
	if (x2) {
		wrmsr(MSR_X2APIC + (APIC_ICR >> 4), (uint64_t)dest << 32 | icr_low);
		return;
	}
	write32(LAYOUT_LAPIC + APIC_ICR_HIGH, dest << 24);
	write32(LAYOUT_LAPIC + APIC_ICR, icr_low);
}

/* ---- I/O APIC ---- */

#define IOREGSEL       0x00
#define IOWIN          0x10
#define IOAPIC_VERSION 1
#define IOAPIC_REDIR   0x10

uint32_t ioapic_read(unsigned reg)
{
	write32(LAYOUT_IOAPIC + IOREGSEL, reg);
	return read32(LAYOUT_IOAPIC + IOWIN);
}

void ioapic_write(unsigned reg, uint32_t v)
{
	write32(LAYOUT_IOAPIC + IOREGSEL, reg);
	write32(LAYOUT_IOAPIC + IOWIN, v);
}

unsigned ioapic_pins(void)
{
	return (ioapic_read(IOAPIC_VERSION) >> 16 & 0xff) + 1;
}

void ioapic_route(unsigned pin, unsigned vector, uint32_t flags)
{
	ioapic_write(IOAPIC_REDIR + pin * 2, IOAPIC_MASKED);
	ioapic_write(IOAPIC_REDIR + pin * 2 + 1, apic_id() << 24);
	ioapic_write(IOAPIC_REDIR + pin * 2, vector | flags);
}

void ioapic_mask(unsigned pin)
{
	ioapic_write(IOAPIC_REDIR + pin * 2, ioapic_read(IOAPIC_REDIR + pin * 2) | IOAPIC_MASKED);
}
