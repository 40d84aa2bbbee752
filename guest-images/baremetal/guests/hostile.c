/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random accesses to everything that the VMM answers, from "seed=", "ops=" of them on each
 * processor. What the guest does to itself does not matter; trivm must end by itself with one of
 * its documented statuses, or go on.
 *
 * Registers that end the VM at once are left out, as nothing would follow them; "wild=1" uses those
 * as well.
 */
#include "bm.h"

/* xorshift64* (Vigna 2016) */
static uint32_t rnd(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (uint32_t)(*state * 0x2545f4914f6cdd1dul >> 32);
}

static const struct {
	uint16_t base, mask;
} ports[] = {
	{LAYOUT_COM1, 7},      {LAYOUT_COM2, 7},       {LAYOUT_RTC, 1},
	{LAYOUT_I8042, 7},     {LAYOUT_ACPI_PM, 7},    {LAYOUT_PVPANIC & ~3u, 3},
	{LAYOUT_PCI_CONF1, 7}, {LAYOUT_PCI_IO, 0xfff}, {0xe000, 0xff},
	{0, 0xffff},           {LAYOUT_PCI_CONF1, 7},  {LAYOUT_COM1, 7},
};

static const struct {
	uint64_t base;
	uint32_t mask;
} memory[] = {
	{LAYOUT_PCI_MMIO32, 0x7fff}, {LAYOUT_ECAM, 0xffff},
	{LAYOUT_ECAM, 0xfffff},      {LAYOUT_VIRTIO_MMIO, 0x1fff},
	{LAYOUT_IOAPIC, 0x1f},       {LAYOUT_IOAPIC, 0xfff},
	{0xd0000000, 0xfffffff},     {LAYOUT_KVM_IDENTITY_MAP, 0x3fff},
};

static bool wild;

/* Would one byte or more at @port end the VM? */
static bool deadly(uint16_t port, unsigned size)
{
	static const uint16_t ends[] = {0x600, 0x602, 0x64, 0xcf9, LAYOUT_PVPANIC};

	for (unsigned i = 0; i < ARRAY_SIZE(ends); i++)
		if (ends[i] >= port && ends[i] < port + size)
			return true;
	return false;
}

static void port_op(uint64_t *state, uint32_t r)
{
	unsigned which = r % ARRAY_SIZE(ports), size = 1u << (r >> 8 & 3), n = r >> 10 & 15;
	uint16_t port = (uint16_t)(ports[which].base + (rnd(state) & ports[which].mask));
	uint32_t v = r >> 14 & 1 ? rnd(state) : rnd(state) & 0xff;
	uint32_t buf[16];

	if (size == 8)
		size = 1;
	if (r >> 16 & 1 && !wild && deadly(port, size))
		return;
	switch (r >> 16 & 7) {
	case 0:
	case 2:
		size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
		break;
	case 4:
		size == 1   ? insb(port, buf, n)
		: size == 2 ? insw(port, buf, n)
			    : insl(port, buf, n);
		break;
	case 1:
		buf[n] = v;
		size == 1   ? outsb(port, buf, n)
		: size == 2 ? outsw(port, buf, n)
			    : outsl(port, buf, n);
		break;
	case 3:
	case 5:
	case 7:
		size == 1   ? outb(port, (uint8_t)v)
		: size == 2 ? outw(port, (uint16_t)v)
			    : outl(port, v);
		break;
	default:
		pci_write((uint8_t)(rnd(state) & 0x1f), rnd(state) & 0xff, 4, v);
	}
}

static uint64_t keep_reads;

/* An I/O APIC entry that delivers INIT or NMI ends the guest; masked it still goes through all
 * code. */
static uint32_t tamed(uint64_t addr, uint32_t v)
{
	return !wild && addr >> 12 == LAYOUT_IOAPIC >> 12 ? v | IOAPIC_MASKED : v;
}

static void memory_op(uint64_t *state, uint32_t r)
{
	unsigned which = r % ARRAY_SIZE(memory);
	uint64_t addr = memory[which].base + (rnd(state) & memory[which].mask);
	uint32_t v = tamed(addr, rnd(state));

	if (!wild && addr >> 12 == LAYOUT_IOAPIC >> 12)
		addr &= ~3ul;
	switch (r >> 8 & 7) {
	case 0:
		keep_reads += read8(addr);
		break;
	case 1:
		keep_reads += read16(addr);
		break;
	case 2:
		keep_reads += read32(addr);
		break;
	case 3:
		keep_reads += read64(addr);
		break;
	case 4:
		write8(addr, (uint8_t)v);
		break;
	case 5:
		write16(addr, (uint16_t)v);
		break;
	case 6:
		write32(addr & ~3ul, v);
		break;
	default:
		write64(addr, v | (uint64_t)v << 32);
	}
}

static void attack(unsigned cpu)
{
	uint64_t state = (arg_num("seed", 1) + cpu * 1000) * 0x9e3779b97f4a7c15ul + 1;

	for (uint64_t i = arg_num("ops", 2000); i; i--) {
		uint32_t r = rnd(&state);

		if (r >> 31)
			port_op(&state, r);
		else
			memory_op(&state, r);
	}
}

int guest_main(void)
{
	unsigned others;

	wild = arg_num("wild", 0);
	print("start\n");
	others = smp_start(attack);
	attack(0);
	while (ap_done < others)
		cpu_relax();
	outb(LAYOUT_COM1 + 3, 3);
	outb(LAYOUT_COM1 + 4, 3);
	outb(LAYOUT_COM1 + 1, 0);
	print("\ndone\n");
	return 0;
}
