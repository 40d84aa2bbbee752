/* SPDX-License-Identifier: BSD-2-Clause */
/* The UART's registers and interrupts against the PC16550D data sheet. Needs no input. */
#include "bm.h"

#define UART LAYOUT_COM1
enum {
	RBR,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR
};
#define FCR      IIR
#define LCR_DLAB 0x80
#define MCR_RTS  0x02
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define LSR_DR   0x01
#define LSR_OE   0x02
#define VECTOR   0x44
#define QUIET_US 10000

static volatile unsigned interrupts;
static volatile uint8_t last_iir;

static void on_serial(struct trap *t)
{
	(void)t;
	interrupts++;
	last_iir = inb(UART + IIR);
	apic_eoi();
}

static uint8_t reg(unsigned r)
{
	return inb((uint16_t)(UART + r));
}

static void set(unsigned r, uint8_t v)
{
	outb((uint16_t)(UART + r), v);
}

static void check_registers(void)
{
	check(reg(IER) == 0, "IER %x after reset", reg(IER));
	check((reg(IIR) & 0x0f) == 1, "IIR %x without an interrupt", reg(IIR));
	check((reg(LSR) & 0x61) == 0x60, "LSR %x when idle", reg(LSR));
	set(SCR, 0x5a);
	check(reg(SCR) == 0x5a, "SCR %x", reg(SCR));
	set(LCR, LCR_DLAB | 3);
	set(0, 0x01);
	set(1, 0x02);
	check(reg(0) == 1 && reg(1) == 2, "divisor %x %x", reg(0), reg(1));
	set(LCR, 3);
	check(reg(LCR) == 3 && reg(IER) == 0, "LCR %x, IER %x after the divisor", reg(LCR),
	      reg(IER));
	set(FCR, 0x07);
	check((reg(IIR) & 0xc0) == 0xc0, "IIR %x with FIFOs on", reg(IIR));
}

static void check_loopback(void)
{
	static const uint8_t bytes[17] = "0123456789abcdefX";
	unsigned wrong = 0;

	set(MCR, MCR_LOOP | 0x0f);
	check((reg(MSR) & 0xf0) == 0xf0, "MSR %x in loopback, all MCR bits set", reg(MSR));
	set(MCR, MCR_LOOP | MCR_RTS);
	check((reg(MSR) & 0xf0) == 0x10, "MSR %x in loopback, RTS set", reg(MSR));
	set(FCR, 0x07);
	for (unsigned i = 0; i < 16; i++)
		set(RBR, bytes[i]);
	check((reg(LSR) & (LSR_DR | LSR_OE)) == LSR_DR, "LSR %x after 16 bytes", reg(LSR));
	set(RBR, bytes[16]);
	check(reg(LSR) & LSR_OE, "no overrun with a 17th byte");
	check(!(reg(LSR) & LSR_OE), "reading LSR did not clear the overrun");
	for (unsigned i = 0; i < 16; i++)
		wrong += reg(RBR) != bytes[i];
	check(!wrong, "%u of 16 bytes came back wrong", wrong);
	check(!(reg(LSR) & LSR_DR), "LSR %x when all is read", reg(LSR));
	set(MCR, 0);
}

static unsigned interrupts_in_window(void)
{
	unsigned before = interrupts;

	if (irq_wait_change(&interrupts, before, QUIET_US))
		irq_wait_change(&interrupts, before + 1, QUIET_US / 4);
	return interrupts - before;
}

static void check_interrupts(void)
{
	set(FCR, 0x07);
	set(MCR, 0x03);
	set(IER, 0x02);
	check(!interrupts_in_window(), "an interrupt without OUT2");
	set(IER, 0);
	reg(IIR);
	set(MCR, 0x03 | MCR_OUT2);
	check(!interrupts_in_window(), "an interrupt with IER 0");
	set(IER, 0x02);
	check(interrupts_in_window() == 1 && (last_iir & 0x0f) == 0x02,
	      "THRE enabled: %u interrupts, IIR %x", interrupts, last_iir);
	check((reg(IIR) & 0x0f) == 1, "IIR %x after it was read", reg(IIR));
	set(RBR, '.');
	check(interrupts_in_window() == 1 && (last_iir & 0x0f) == 0x02,
	      "a byte sent: %u interrupts, IIR %x", interrupts, last_iir);
	set(IER, 0);
	set(RBR, '\n');
	check(!interrupts_in_window(), "an interrupt after IER was cleared");
}

int guest_main(void)
{
	check_registers();
	check_loopback();
	apic_init();
	trap_set(VECTOR, on_serial);
	ioapic_route(LAYOUT_GSI_COM1, VECTOR, 0);
	check_interrupts();
	return check_status();
}
