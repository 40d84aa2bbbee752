/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Input by interrupts (I/O APIC pin 4, edge). Lines come back as "echo: LINE" until
 *	quit		power off
 *	reset		reset
 *	break?		how many breaks have come
 *	sum N		read N more bytes and print their sum
 *	flood N		print N bytes in lines that count
 */
#include "bm.h"
#include "devices/legacy/acpi_pm_regs.h"

#define UART   LAYOUT_COM1
#define RBR    0
#define IER    1
#define FCR    2
#define MCR    4
#define LSR    5
#define LSR_DR 0x01
#define LSR_BI 0x10
#define VECTOR 0x44

static uint8_t ring[65536]; /* more than any test types ahead */
static volatile unsigned put, got, breaks;

static void on_serial(struct trap *t)
{
	uint8_t lsr;

	(void)t;
	while ((lsr = inb(UART + LSR)) & LSR_DR) {
		uint8_t c = inb(UART + RBR);

		if (lsr & LSR_BI)
			breaks++;
		else if (put - got < sizeof(ring))
			ring[put++ % sizeof(ring)] = c;
	}
	inb(UART + 2);
	apic_eoi();
}

static uint8_t next_byte(void)
{
	while (put == got)
		irq_wait();
	return ring[got++ % sizeof(ring)];
}

static void read_line(char *line, size_t size)
{
	size_t n = 0;

	for (;;) {
		char c = (char)next_byte();

		if (c == '\n' || c == '\r')
			break;
		if (n < size - 1)
			line[n++] = c;
	}
	line[n] = '\0';
}

static unsigned number(const char *s)
{
	unsigned v = 0;

	for (; *s >= '0' && *s <= '9'; s++)
		v = v * 10 + (unsigned)(*s - '0');
	return v;
}

static void sum(unsigned n)
{
	uint32_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total = total * 31 + next_byte();
	print("sum of %u bytes: %08x\n", n, total);
}

/* Lines of 64 bytes: a number that counts and a filling that costs no instructions. */
static void flood(unsigned n)
{
	static char line[64] = "00000000 ..................................................... \n";

	for (unsigned i = 0; i < n / sizeof(line); i++) {
		for (unsigned d = 0, v = i; d < 8; d++, v /= 10)
			line[7 - d] = (char)('0' + v % 10);
		for (unsigned at = 0; at < sizeof(line); at += 16) {
			while (!(inb(UART + LSR) & 0x20))
				cpu_relax();
			outsb(UART, line + at, 16);
		}
	}
	print("flood over\n");
}

int guest_main(void)
{
	char line[256];

	apic_init();
	trap_set(VECTOR, on_serial);
	ioapic_route(LAYOUT_GSI_COM1, VECTOR, 0);
	print("ready\n");
	outb(UART + FCR, 0x01);
	outb(UART + IER, 0x01);
	outb(UART + MCR, 0x0b);
	for (;;) {
		read_line(line, sizeof(line));
		if (!strcmp(line, "quit"))
			return (int)arg_num("status", 0);
		if (!strcmp(line, "reset"))
			outb(LAYOUT_ACPI_PM + ACPI_PM_RESET, ACPI_PM_RESET_VALUE);
		else if (!strcmp(line, "break?"))
			print("breaks: %u\n", breaks);
		else if (!strncmp(line, "sum ", 4))
			sum(number(line + 4));
		else if (!strncmp(line, "flood ", 6))
			flood(number(line + 6));
		else
			print("echo: %s\n", line);
	}
}
