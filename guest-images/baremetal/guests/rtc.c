/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock: time against "now=SECONDS SINCE 1970" (within two minutes), CMOS RAM, periodic
 * interrupts. */
#include "bm.h"

#define VECTOR      0x48
#define REG_A       0x0a
#define REG_B       0x0b
#define REG_C       0x0c
#define REG_D       0x0d
#define REG_CENTURY 0x32
#define B_24H       0x02
#define B_BINARY    0x04
#define B_PIE       0x40
#define RATE_64HZ   0x2a

static volatile unsigned interrupts, flags;

static uint8_t cmos(uint8_t index)
{
	outb(LAYOUT_RTC, index);
	return inb(LAYOUT_RTC + 1);
}

static void cmos_set(uint8_t index, uint8_t v)
{
	outb(LAYOUT_RTC, index);
	outb(LAYOUT_RTC + 1, v);
}

static void on_rtc(struct trap *t)
{
	(void)t;
	interrupts++;
	flags |= cmos(REG_C);
	apic_eoi();
}

static unsigned field(uint8_t index)
{
	unsigned v = cmos(index);

	return cmos(REG_B) & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

/* Days since 1970 of a Gregorian date. */
static uint64_t days(unsigned y, unsigned m, unsigned d)
{
	static const uint16_t before[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	bool leap = (y % 4 == 0 && y % 100) || y % 400 == 0;

	return (y - 1970) * 365ul + (y - 1969) / 4 - (y - 1901) / 100 + (y - 1601) / 400 +
	       before[(m - 1) % 12] + (leap && m > 2) + d - 1;
}

static void check_time(void)
{
	unsigned y = field(REG_CENTURY) * 100 + field(9), mon = field(8), d = field(7);
	unsigned h = field(4), min = field(2), s = field(0);
	uint64_t t = days(y, mon, d) * 86400 + h * 3600ul + min * 60ul + s;
	uint64_t now = arg_num("now", t);

	check(cmos(REG_B) & B_24H, "register B is %x: not 24 hours", cmos(REG_B));
	check(cmos(REG_D) & 0x80, "register D is %x: no power", cmos(REG_D));
	print("%u-%02u-%02u %02u:%02u:%02u\n", y, mon, d, h, min, s);
	check(t + 120 > now && t < now + 120, "the clock says %lu, the host %lu", t, now);
}

static void check_ram(void)
{
	cmos_set(0x40, 0xa5);
	cmos_set(0x41, 0x5a);
	check(cmos(0x40) == 0xa5 && cmos(0x41) == 0x5a, "CMOS RAM: %x %x", cmos(0x40), cmos(0x41));
	check(cmos(0x80 | 0x40) == 0xa5, "the NMI mask bit is part of the index");
}

static void check_interrupts(void)
{
	unsigned n;

	trap_set(VECTOR, on_rtc);
	ioapic_route(LAYOUT_GSI_RTC, VECTOR, 0);
	cmos(REG_C);
	cmos_set(REG_A, RATE_64HZ);
	cmos_set(REG_B, cmos(REG_B) | B_PIE);
	do
		n = interrupts;
	while (n < 5 && irq_wait_change(&interrupts, n, 1000000));
	check(interrupts >= 5, "%u periodic interrupts in a second, 64 expected", interrupts);
	check((flags & 0xc0) == 0xc0, "register C was %x", flags);
	cmos_set(REG_B, cmos(REG_B) & (uint8_t)~B_PIE);
	cmos(REG_C);
	interrupts = 0;
	irq_wait_change(&interrupts, 1, 50000);
	check(interrupts <= 1, "%u interrupts after they were turned off", interrupts);
}

int guest_main(void)
{
	check_time();
	check_ram();
	apic_init();
	check_interrupts();
	return check_status();
}
