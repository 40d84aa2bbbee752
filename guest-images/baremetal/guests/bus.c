/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O ports and memory where no device is, at every width, and accesses that cross from one thing
 * to the next: all ones, no effect, and the machine goes on.
 */
#include "bm.h"

#define NO_PORT    0x0300
#define NO_MMIO    0xd0000000ul
#define LAST_PORTS 0xfffe

static void check_ports(void)
{
	outb(NO_PORT, 0);
	outw(NO_PORT, 0);
	outl(NO_PORT, 0);
	check(inb(NO_PORT) == 0xff, "inb %x", inb(NO_PORT));
	check(inw(NO_PORT) == 0xffff, "inw %x", inw(NO_PORT));
	check(inl(NO_PORT) == 0xffffffff, "inl %x", inl(NO_PORT));
	check(inw(LAST_PORTS) == 0xffff, "the last two ports: %x", inw(LAST_PORTS));
	check(inl(LAYOUT_COM1 + 6) == 0xffffffff, "four ports, two of them the UART's: %x",
	      inl(LAYOUT_COM1 + 6));
	check(inw(LAYOUT_COM1 - 1) == 0xffff, "two ports, one the UART's: %x",
	      inw(LAYOUT_COM1 - 1));
	outl(LAYOUT_COM1 + 6, 0);
	outl(LAYOUT_ACPI_PM + 6, 0xffffffff);
}

static bool all_ones(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] != 0xff)
			return false;
	return true;
}

static void check_strings(void)
{
	static uint8_t buf[64];
	static const char text[] = "string output\n";

	insb(NO_PORT, buf, 7);
	check(all_ones(buf, 7) && !buf[7], "rep insb");
	memset(buf, 0, sizeof(buf));
	insw(NO_PORT, buf, 8);
	check(all_ones(buf, 16) && !buf[16], "rep insw");
	memset(buf, 0, sizeof(buf));
	insl(NO_PORT, buf, 8);
	check(all_ones(buf, 32) && !buf[32], "rep insl");
	outsw(NO_PORT, buf, 8);
	outsl(NO_PORT, buf, 8);
	print_flush();
	outsb(LAYOUT_COM1, text, sizeof(text) - 1);
	/* A string into a device whose register changes by itself: each byte is its own access. */
	outb(LAYOUT_COM1 + 7, 0x3c);
	insb(LAYOUT_COM1 + 7, buf, 4);
	check(buf[0] == 0x3c && buf[3] == 0x3c, "rep insb from the scratch register: %x %x", buf[0],
	      buf[3]);
}

static void check_mmio(void)
{
	uint64_t v = 0;

	write8(NO_MMIO, 0);
	write64(NO_MMIO, 0);
	check(read8(NO_MMIO) == 0xff, "8 bits: %x", read8(NO_MMIO));
	check(read16(NO_MMIO) == 0xffff, "16 bits: %x", read16(NO_MMIO));
	check(read32(NO_MMIO) == 0xffffffff, "32 bits: %x", read32(NO_MMIO));
	check(read64(NO_MMIO) == UINT64_MAX, "64 bits: %lx", read64(NO_MMIO));
	check(read32(NO_MMIO + 1) == 0xffffffff, "unaligned");
	check(read64(NO_MMIO + 0xffc) == UINT64_MAX, "across pages: %lx", read64(NO_MMIO + 0xffc));
	write64(NO_MMIO + 0xffd, 0);
	/* Read, modify, write: the processor does both halves. */
	__asm__ volatile("lock; addl $1, (%0)" : : "r"(NO_MMIO) : "memory");
	__asm__ volatile("xchgq %0, (%1)" : "+r"(v) : "r"(NO_MMIO) : "memory");
	check(v == UINT64_MAX, "xchg gave %lx", v);
	memcpy(&v, (void *)NO_MMIO, 3);
	check((v & 0xffffff) == 0xffffff, "rep movsb gave %lx", v);
}

static uint64_t low_ram_end(void)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < boot.nr_ranges; i++)
		if (boot.ranges[i].type == 1 && boot.ranges[i].addr < 0x100000000)
			end = boot.ranges[i].addr + boot.ranges[i].size;
	return end;
}

/* Half RAM, half nothing. */
static void check_straddle(void)
{
	uint64_t end = low_ram_end();

	write32(end - 4, 0x12345678);
	check(read64(end - 4) == 0xffffffff12345678ul, "read across the end of RAM: %lx",
	      read64(end - 4));
	write64(end - 4, 0x0badcafe87654321ul);
	check(read32(end - 4) == 0x87654321, "write across the end of RAM: %x", read32(end - 4));
}

/* Devices with 32-bit registers, at widths that they do not have. */
static void check_odd_widths(void)
{
	for (unsigned i = 0; i < 8; i++) {
		read8(LAYOUT_IOAPIC + i);
		read16(LAYOUT_IOAPIC + i);
		read64(LAYOUT_IOAPIC + i);
		read64(LAYOUT_ECAM + i);
		write16(LAYOUT_IOAPIC + 0x10 + i, 0);
		write64(LAYOUT_ECAM + 0x1000ul * i + 0xffc, 0);
	}
	check((ioapic_read(1) & 0xff) >= 0x11, "the I/O APIC's version is %x", ioapic_read(1));
	check(read32(LAYOUT_ECAM) == pci_read(0, 0, 4), "ECAM and port 0xcf8 differ");
}

int guest_main(void)
{
	check_ports();
	check_strings();
	check_mmio();
	check_straddle();
	check_odd_widths();
	return check_status();
}
