/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "devices/legacy/rtc.h"
#include "tests/unit/fakes.h"
#include "vmm/util.h"

#define BASE 0x70
#define GSI  8

enum {
	SEC,
	SEC_ALARM,
	MIN,
	MIN_ALARM,
	HOUR,
	HOUR_ALARM,
	WDAY,
	DAY,
	MON,
	YEAR,
	A,
	B,
	C,
	D
};

#define UIP    0x80
#define SET    0x80
#define PIE    0x40
#define AIE    0x20
#define UIE    0x10
#define BINARY 0x04
#define H24    0x02

/* What the guest's host shows, in crystal ticks: 2026-02-28 23:58:09 and a quarter, a Saturday. */
#define START_SECONDS INT64_C(1772323089)
static int64_t host_time, host_step;

/* A step makes it run by itself, at every look. */
static int64_t host_clock(void)
{
	return host_time += host_step;
}

struct fixture {
	struct bus pio;
	struct loop loop;
	struct fake_irq irq;
	struct rtc rtc;
};

static int setup(void **state)
{
	static struct fixture f;

	host_time = START_SECONDS * RTC_HZ + RTC_HZ / 4;
	host_step = 0;
	bus_init(&f.pio, BUS_PIO);
	assert_int_equal(loop_init(&f.loop), 0);
	fake_irq_init(&f.irq, 24);
	assert_int_equal(rtc_init(&f.rtc, fake_irq_line(&f.irq, GSI), &f.loop), 0);
	f.rtc.clock = host_clock;
	f.rtc.seen = host_time;
	assert_int_equal(rtc_add(&f.rtc, &f.pio, BASE), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rtc_destroy(&f->rtc);
	rtc_destroy(&f->rtc);
	loop_destroy(&f->loop);
	bus_destroy(&f->pio);
	return 0;
}

static uint8_t get(struct fixture *f, unsigned reg)
{
	fake_out8(&f->pio, BASE, (uint8_t)reg);
	return fake_in8(&f->pio, BASE + 1);
}

static void set(struct fixture *f, unsigned reg, uint8_t value)
{
	fake_out8(&f->pio, BASE, (uint8_t)reg);
	fake_out8(&f->pio, BASE + 1, value);
}

static void pass_ms(unsigned ms)
{
	host_time += (int64_t)ms * RTC_HZ / 1000;
}

static void pass_seconds(int64_t seconds)
{
	host_time += seconds * RTC_HZ;
}

/* The next callback of the main loop, if one comes within two seconds of real time. */
static void run_timer(struct fixture *f)
{
	assert_int_equal(loop_once(&f->loop, 2000), 1);
}

static void assert_date(struct fixture *f, unsigned century, unsigned year, unsigned mon,
                        unsigned day)
{
	assert_int_equal(get(f, RTC_CENTURY), century);
	assert_int_equal(get(f, YEAR), year);
	assert_int_equal(get(f, MON), mon);
	assert_int_equal(get(f, DAY), day);
}

static void assert_time(struct fixture *f, unsigned hour, unsigned min, unsigned sec)
{
	assert_int_equal(get(f, HOUR), hour);
	assert_int_equal(get(f, MIN), min);
	assert_int_equal(get(f, SEC), sec);
}

/* What Linux's rtc_cmos looks at before it believes in the chip. */
static void test_initial(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, A), 0x26);
	assert_int_equal(get(f, B), H24);
	assert_int_equal(get(f, C), 0);
	assert_int_equal(get(f, D), 0x80);
	assert_int_equal(fake_in8(&f->pio, BASE), 0xff);
	set(f, D, 0);
	set(f, C, 0xff);
	assert_int_equal(get(f, D), 0x80);
	assert_int_equal(get(f, C), 0);
	assert_int_equal(f->irq.gsi[GSI].sets, 0);
}

static void test_time_bcd(void **state)
{
	struct fixture *f = *state;

	assert_date(f, 0x20, 0x26, 0x02, 0x28);
	assert_time(f, 0x23, 0x58, 0x09);
	assert_int_equal(get(f, WDAY), 7);
	pass_seconds(111); /* midnight: the next month, too */
	assert_date(f, 0x20, 0x26, 0x03, 0x01);
	assert_time(f, 0x00, 0x00, 0x00);
	assert_int_equal(get(f, WDAY), 1);
}

static void test_time_binary(void **state)
{
	struct fixture *f = *state;

	set(f, B, H24 | BINARY);
	assert_date(f, 20, 26, 2, 28);
	assert_time(f, 23, 58, 9);
}

static void test_12_hours(void **state)
{
	struct fixture *f = *state;
	static const struct {
		unsigned hour;
		uint8_t bcd, binary;
	} cases[] = {
		{0, 0x12, 12},         {1, 0x01, 1},         {11, 0x11, 11},
		{12, 0x92, 0x80 | 12}, {13, 0x81, 0x80 | 1}, {23, 0x91, 0x80 | 11},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		host_time = (START_SECONDS / 86400 * 86400 + cases[i].hour * 3600) * RTC_HZ;
		set(f, B, 0);
		assert_int_equal(get(f, HOUR), cases[i].bcd);
		set(f, B, BINARY);
		assert_int_equal(get(f, HOUR), cases[i].binary);
		/* And back: written as it was read, the time has not changed. The other registers
		 * keep their bytes while the clock is held, so the mode is chosen before. */
		set(f, B, 0);
		set(f, B, SET);
		set(f, HOUR, cases[i].bcd);
		set(f, B, 0);
		set(f, B, H24 | BINARY);
		assert_int_equal(get(f, HOUR), cases[i].hour);
		assert_date(f, 20, 26, 2, 28);
	}
}

/* The sequence of Linux's mc146818_set_time(): hold, set, let go, half a second to the next update.
 */
static void test_set_time(void **state)
{
	struct fixture *f = *state;

	set(f, B, H24 | SET);
	set(f, A, 0x76);
	pass_seconds(3); /* the clock stands still */
	set(f, YEAR, 0x99);
	set(f, MON, 0x12);
	set(f, DAY, 0x31);
	set(f, HOUR, 0x23);
	set(f, MIN, 0x59);
	set(f, SEC, 0x59);
	set(f, RTC_CENTURY, 0x19);
	pass_seconds(3);
	assert_date(f, 0x19, 0x99, 0x12, 0x31);
	assert_time(f, 0x23, 0x59, 0x59);
	set(f, B, H24);
	pass_seconds(3); /* the divider is still held */
	assert_time(f, 0x23, 0x59, 0x59);
	set(f, A, 0x26);
	pass_ms(495);
	assert_time(f, 0x23, 0x59, 0x59);
	pass_ms(10);
	assert_time(f, 0x00, 0x00, 0x00);
	assert_date(f, 0x20, 0x00, 0x01, 0x01);
	/* The host's clock goes on to be what drives it. */
	pass_seconds(86400);
	assert_date(f, 0x20, 0x00, 0x01, 0x02);
}

/* SET alone keeps the position within the second. */
static void test_set_keeps_phase(void **state)
{
	struct fixture *f = *state;

	set(f, B, H24 | SET); /* at :09.25 */
	pass_ms(600);
	set(f, SEC, 0x30);
	set(f, B, H24);
	assert_int_equal(get(f, SEC), 0x30);
	pass_ms(745);
	assert_int_equal(get(f, SEC), 0x30);
	pass_ms(10);
	assert_int_equal(get(f, SEC), 0x31);
}

/* Without SET a register is changed on the run. */
static void test_write_while_running(void **state)
{
	struct fixture *f = *state;

	set(f, HOUR, 0x07);
	set(f, YEAR, 0x31);
	assert_time(f, 0x07, 0x58, 0x09);
	assert_date(f, 0x20, 0x31, 0x02, 0x28);
	/* It keeps its place within the second. */
	pass_ms(745);
	assert_time(f, 0x07, 0x58, 0x09);
	pass_ms(10);
	assert_time(f, 0x07, 0x58, 0x10);
}

/* Whatever bytes a guest writes: some valid date comes out, and nothing overflows. */
static void test_any_bytes(void **state)
{
	struct fixture *f = *state;
	static const uint8_t regs[] = {SEC, MIN, HOUR, WDAY, DAY, MON, YEAR, RTC_CENTURY};
	static const uint8_t modes[] = {0, H24, BINARY, H24 | BINARY};

	for (unsigned mode = 0; mode < ARRAY_SIZE(modes); mode++) {
		for (unsigned byte = 0; byte < 256; byte++) {
			set(f, B, modes[mode] | SET);
			for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
				set(f, regs[i], (uint8_t)byte);
				assert_int_equal(get(f, regs[i]), byte);
			}
			set(f, B, modes[mode] | AIE | UIE | PIE);
			pass_seconds(1);
			set(f, B, H24 | BINARY);
			assert_true(get(f, SEC) < 60 && get(f, MIN) < 60 && get(f, HOUR) < 24);
			assert_true(get(f, DAY) >= 1 && get(f, DAY) <= 31);
			assert_true(get(f, MON) >= 1 && get(f, MON) <= 12);
			assert_true(get(f, YEAR) < 100 && get(f, RTC_CENTURY) < 100);
		}
	}
}

static void test_update_in_progress(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, A) & UIP, 0);
	host_time += RTC_HZ * 3 / 4 - 9;
	assert_int_equal(get(f, A) & UIP, 0);
	host_time += 1; /* 8 ticks, 244 us, to go */
	assert_int_equal(get(f, A) & UIP, UIP);
	assert_int_equal(get(f, SEC), 0x09);
	host_time += 7;
	assert_int_equal(get(f, A) & UIP, UIP);
	assert_int_equal(get(f, SEC), 0x09);
	host_time += 1;
	assert_int_equal(get(f, A) & UIP, 0);
	assert_int_equal(get(f, SEC), 0x10);
	/* A clock that is held does not update; and UIP is not to be written. */
	host_time += RTC_HZ - 4;
	set(f, B, H24 | SET);
	assert_int_equal(get(f, A) & UIP, 0);
	set(f, A, 0xa6);
	assert_int_equal(get(f, A), 0x26);
}

static void test_ram(void **state)
{
	struct fixture *f = *state;

	for (unsigned reg = D + 1; reg < 128; reg++)
		if (reg != RTC_CENTURY)
			set(f, reg, (uint8_t)(reg ^ 0x5a));
	for (unsigned reg = D + 1; reg < 128; reg++)
		if (reg != RTC_CENTURY)
			assert_int_equal(get(f, reg), reg ^ 0x5a);
	/* Bit 7 of the index is the NMI mask. */
	assert_int_equal(get(f, 0x80 | 0x0f), 0x0f ^ 0x5a);
	/* One 16-bit write is index and data. */
	fake_write(&f->pio, BASE, 2, 0x5540);
	assert_int_equal(get(f, 0x40), 0x55);
	rtc_reset(&f->rtc);
	assert_int_equal(get(f, 0x40), 0x55);
}

/* Register C: flags come with time whether enabled or not, and reading clears them. */
static void test_flags(void **state)
{
	struct fixture *f = *state;

	set(f, HOUR_ALARM, 0x23);
	set(f, MIN_ALARM, 0x58);
	set(f, SEC_ALARM, 0x11);
	get(f, C);
	pass_ms(2); /* two periods of 1024 Hz */
	assert_int_equal(get(f, C), PIE);
	assert_int_equal(get(f, C), 0);
	pass_seconds(1);
	assert_int_equal(get(f, C), PIE | UIE);
	pass_seconds(1);
	assert_int_equal(get(f, C), PIE | UIE | AIE);
	pass_seconds(1);
	assert_int_equal(get(f, C), PIE | UIE);
	assert_int_equal(f->irq.gsi[GSI].sets, 0);
}

/* What happened before a register was written is judged by what was in it then. */
static void test_flags_before_a_change(void **state)
{
	struct fixture *f = *state;

	pass_ms(2);
	set(f, A, 0x20); /* no periodic interrupt any more */
	assert_int_equal(get(f, C), PIE);
	pass_seconds(1);
	set(f, MIN, 0x10);
	assert_int_equal(get(f, C), UIE);
	set(f, HOUR_ALARM, 0xff);
	set(f, MIN_ALARM, 0xff);
	set(f, SEC_ALARM, 0x11);
	pass_seconds(1);
	set(f, SEC_ALARM, 0x40);
	assert_int_equal(get(f, C), UIE | AIE);
}

/* An event while register C is read: the line has to fall and rise, or its edge would be lost. */
static void test_event_during_acknowledge(void **state)
{
	struct fixture *f = *state;

	set(f, B, H24 | PIE);
	host_step = 64; /* two periods at every look at the clock */
	for (unsigned i = 1; i < 10; i++) {
		get(f, C);
		assert_true(f->irq.gsi[GSI].asserted);
		assert_int_equal(f->irq.gsi[GSI].rises, i + 1);
	}
}

/* Bits 0-3 of register A: none, 256 Hz, 128 Hz, then 8192 Hz halved 12 times. */
static void test_periodic_rates(void **state)
{
	struct fixture *f = *state;
	static const unsigned ticks[] = {0,   128, 256, 4,    8,    16,   32,   64,
	                                 128, 256, 512, 1024, 2048, 4096, 8192, 16384};

	host_time = START_SECONDS * RTC_HZ;
	for (unsigned rate = 0; rate < 16; rate++) {
		set(f, A, (uint8_t)(0x20 | rate));
		get(f, C);
		host_time += rate ? ticks[rate] - 1 : RTC_HZ;
		assert_int_equal(get(f, C) & PIE, 0);
		host_time += 1;
		assert_int_equal(get(f, C) & PIE, rate ? PIE : 0);
		host_time = (host_time / RTC_HZ + 1) * RTC_HZ;
	}
	/* Not while the divider is held in reset. */
	set(f, A, 0x76);
	get(f, C);
	pass_seconds(5);
	assert_int_equal(get(f, C), 0);
}

static void test_update_interrupt(void **state)
{
	struct fixture *f = *state;
	const struct fake_gsi *gsi = &f->irq.gsi[GSI];

	pass_ms(740); /* 10 ms to the next second */
	set(f, B, H24 | UIE);
	assert_int_equal(gsi->rises, 0);
	pass_ms(11);
	run_timer(f);
	assert_int_equal(gsi->rises, 1);
	assert_true(gsi->asserted);
	/* Until it is acknowledged nothing more comes, and the timer rests. */
	pass_seconds(1);
	assert_int_equal(loop_once(&f->loop, 20), 0);
	assert_int_equal(gsi->rises, 1);
	assert_int_equal(get(f, C) & (UIE | 0x80), UIE | 0x80);
	assert_false(gsi->asserted);
	pass_ms(995);
	assert_int_equal(get(f, C) & (UIE | 0x80), 0);
	pass_ms(10);
	run_timer(f);
	assert_int_equal(gsi->rises, 2);
}

static void test_alarm_interrupt(void **state)
{
	struct fixture *f = *state;
	const struct fake_gsi *gsi = &f->irq.gsi[GSI];

	set(f, HOUR_ALARM, 0x23);
	set(f, MIN_ALARM, 0x58);
	set(f, SEC_ALARM, 0x12);
	pass_ms(2740); /* 10 ms before */
	set(f, B, H24 | AIE);
	assert_int_equal(gsi->rises, 0);
	pass_ms(11);
	run_timer(f);
	assert_int_equal(gsi->rises, 1);
	assert_int_equal(get(f, C) & (AIE | 0x80), AIE | 0x80);
	assert_false(gsi->asserted);
	/* Once a day. */
	pass_seconds(86399);
	assert_int_equal(get(f, C) & AIE, 0);
	pass_seconds(1);
	assert_int_equal(get(f, C) & AIE, AIE);
}

/* A timer that is early (the host's clock was set back) is armed once more and nothing else. */
static void test_early_timer(void **state)
{
	struct fixture *f = *state;

	pass_ms(740);
	set(f, B, H24 | UIE);
	run_timer(f); /* our clock did not move */
	assert_int_equal(f->irq.gsi[GSI].rises, 0);
	pass_ms(11);
	run_timer(f);
	assert_int_equal(f->irq.gsi[GSI].rises, 1);
}

static void test_periodic_interrupt(void **state)
{
	struct fixture *f = *state;
	const struct fake_gsi *gsi = &f->irq.gsi[GSI];

	set(f, B, H24 | PIE);
	for (unsigned i = 1; i <= 3; i++) {
		pass_ms(2);
		run_timer(f);
		assert_int_equal(gsi->rises, i);
		assert_int_equal(get(f, C) & (PIE | 0x80), PIE | 0x80);
	}
	set(f, B, H24);
	get(f, C);
	pass_ms(2);
	assert_int_equal(loop_once(&f->loop, 20), 0);
	assert_int_equal(gsi->rises, 3);
}

/* Enabling an interrupt whose flag is already set asserts it at once; disabling takes it back. */
static void test_enable_pending(void **state)
{
	struct fixture *f = *state;
	const struct fake_gsi *gsi = &f->irq.gsi[GSI];

	pass_seconds(1);
	set(f, B, H24 | UIE);
	assert_true(gsi->asserted);
	set(f, B, H24);
	assert_false(gsi->asserted);
	assert_int_equal(get(f, C) & (UIE | 0x80), UIE);
	/* SET clears UIE. */
	set(f, B, H24 | UIE);
	set(f, B, H24 | UIE | SET);
	assert_int_equal(get(f, B), H24 | SET);
}

/* When in a day an alarm of the given bytes comes, as seconds from midnight; -1: not within a day.
 */
static int alarm_after_midnight(struct fixture *f, uint8_t hour, uint8_t min, uint8_t sec)
{
	int64_t midnight = START_SECONDS / 86400 * 86400;
	int64_t low = 0, high = 86400;

	set(f, HOUR_ALARM, hour);
	set(f, MIN_ALARM, min);
	set(f, SEC_ALARM, sec);
	/* The flag after a leap from before midnight to second n: n is at or behind the alarm. */
	while (low < high) {
		int64_t middle = (low + high) / 2;

		host_time = midnight * RTC_HZ - 1;
		get(f, C);
		host_time = (midnight + middle) * RTC_HZ;
		if (get(f, C) & AIE)
			high = middle;
		else
			low = middle + 1;
	}
	return low < 86400 ? (int)low : -1;
}

static void test_alarm_matching(void **state)
{
	struct fixture *f = *state;

	/* The first access at an earlier time than the last one only takes the step back. */
	assert_int_equal(alarm_after_midnight(f, 0x00, 0x00, 0x00), 0);
	assert_int_equal(alarm_after_midnight(f, 0x23, 0x59, 0x59), 86399);
	assert_int_equal(alarm_after_midnight(f, 0x07, 0x08, 0x09), 7 * 3600 + 8 * 60 + 9);
	/* "Any" */
	assert_int_equal(alarm_after_midnight(f, 0xff, 0xff, 0xff), 0);
	assert_int_equal(alarm_after_midnight(f, 0xc0, 0xff, 0x30), 30);
	assert_int_equal(alarm_after_midnight(f, 0xff, 0x10, 0x20), 620);
	assert_int_equal(alarm_after_midnight(f, 0xff, 0x10, 0xff), 600);
	assert_int_equal(alarm_after_midnight(f, 0x12, 0xff, 0xff), 12 * 3600);
	/* Never */
	assert_int_equal(alarm_after_midnight(f, 0x24, 0x00, 0x00), -1);
	assert_int_equal(alarm_after_midnight(f, 0xff, 0x60, 0x00), -1);
	assert_int_equal(alarm_after_midnight(f, 0xff, 0xff, 0x60), -1);
	/* Begun in the middle of the day: 0 is not "any", and the hour does not run into the next.
	 */
	alarm_after_midnight(f, 0x00, 0x00, 0x00);
	host_time = (START_SECONDS / 86400 * 86400 + 7 * 3600 + 1830) * RTC_HZ;
	get(f, C);
	pass_seconds(3600);
	assert_int_equal(get(f, C) & AIE, 0);
	set(f, HOUR_ALARM, 0x08);
	pass_seconds(3600); /* 09:30:30 */
	assert_int_equal(get(f, C) & AIE, 0);
	/* Half past eleven in the evening. */
	set(f, B, 0);
	assert_int_equal(alarm_after_midnight(f, 0x91, 0x30, 0x00), 23 * 3600 + 1800);
	assert_int_equal(alarm_after_midnight(f, 0x12, 0x30, 0x00), 1800);
	set(f, B, H24 | BINARY);
	assert_int_equal(alarm_after_midnight(f, 23, 30, 59), 23 * 3600 + 1859);
}

/* A leap over hours, and one back, change the time and break nothing. */
static void test_host_clock_leaps(void **state)
{
	struct fixture *f = *state;

	pass_seconds(-3600);
	assert_int_equal(get(f, C), 0);
	assert_time(f, 0x22, 0x58, 0x09);
	pass_seconds(3601);
	assert_time(f, 0x23, 0x58, 0x10);
	assert_int_equal(get(f, C) & UIE, UIE);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	pass_seconds(1);
	set(f, HOUR, 0x07);
	set(f, B, H24 | BINARY | UIE | AIE | PIE);
	pass_seconds(1);
	set(f, B, H24 | BINARY | UIE | AIE | PIE);
	assert_true(f->irq.gsi[GSI].asserted);
	rtc_reset(&f->rtc);
	assert_false(f->irq.gsi[GSI].asserted);
	assert_int_equal(get(f, B), H24 | BINARY);
	assert_int_equal(get(f, C), 0);
	assert_int_equal(get(f, HOUR), 7);
	assert_int_equal(loop_once(&f->loop, 20), 0);
	fake_out8(&f->pio, BASE, D);
	rtc_reset(&f->rtc);
	assert_int_equal(fake_in8(&f->pio, BASE + 1), 11); /* the index is back at the seconds */
}

/* The real clock, without a loop: the host's time within two seconds, twice to miss no midnight. */
static void test_host_clock(void **state)
{
	static struct fixture f;
	time_t before, after;
	struct tm tm = {0};

	(void)state;
	bus_init(&f.pio, BUS_PIO);
	fake_irq_init(&f.irq, 24);
	assert_int_equal(rtc_init(&f.rtc, fake_irq_line(&f.irq, GSI), NULL), 0);
	assert_int_equal(rtc_add(&f.rtc, &f.pio, BASE), 0);
	assert_int_equal(get(&f, C) & AIE, 0); /* the past does not count */
	set(&f, B, H24 | BINARY | UIE);
	before = time(NULL);
	set(&f, B, H24 | BINARY | SET); /* hold it: the registers belong together */
	tm.tm_sec = get(&f, SEC);
	tm.tm_min = get(&f, MIN);
	tm.tm_hour = get(&f, HOUR);
	tm.tm_mday = get(&f, DAY);
	tm.tm_mon = get(&f, MON) - 1;
	tm.tm_year = get(&f, RTC_CENTURY) * 100 + get(&f, YEAR) - 1900;
	after = time(NULL);
	assert_in_range(timegm(&tm), before, after);
	rtc_destroy(&f.rtc);
	bus_destroy(&f.pio);
}

static void *storm(void *opaque)
{
	struct fixture *f = opaque;

	for (unsigned i = 0; i < 20000; i++) {
		fake_out8(&f->pio, BASE, (uint8_t)i);
		fake_in8(&f->pio, BASE + 1);
		fake_out8(&f->pio, BASE + 1, (uint8_t)(i >> 3));
	}
	return NULL;
}

/* Two vCPUs that write anything anywhere, while the main loop runs the timer. */
static void test_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[2];

	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm, f), 0);
	for (unsigned i = 0; i < 50; i++)
		assert_true(loop_once(&f->loop, 1) >= 0);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	set(f, B, H24);
	set(f, A, 0x26);
	get(f, C);
	assert_false(f->irq.gsi[GSI].asserted);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_initial),
		TEST(test_time_bcd),
		TEST(test_time_binary),
		TEST(test_12_hours),
		TEST(test_set_time),
		TEST(test_set_keeps_phase),
		TEST(test_write_while_running),
		TEST(test_any_bytes),
		TEST(test_update_in_progress),
		TEST(test_ram),
		TEST(test_flags),
		TEST(test_flags_before_a_change),
		TEST(test_event_during_acknowledge),
		TEST(test_periodic_rates),
		TEST(test_update_interrupt),
		TEST(test_alarm_interrupt),
		TEST(test_early_timer),
		TEST(test_periodic_interrupt),
		TEST(test_enable_pending),
		TEST(test_alarm_matching),
		TEST(test_host_clock_leaps),
		TEST(test_reset),
		cmocka_unit_test(test_host_clock),
		TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
