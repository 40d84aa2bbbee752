/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * Nothing ticks. The time is computed when the guest reads it: the host's clock plus an offset.
 * While the guest holds the clock still (register B's SET, or the divider chain in reset) the
 * registers are plain bytes; when it lets go they are read back as a date, and a new offset comes
 * out. As on the chip, a divider that comes out of reset makes its first second half a second
 * later: drivers count on it when they set the time.
 *
 * Register C's flags are computed the same way: `seen` is the time up to which events have been
 * counted, and every access that could notice looks at what happened since. Only interrupts need a
 * timer. It is armed for the next event that the guest has enabled, and not at all while an
 * interrupt waits to be acknowledged by reading register C, so a guest that does not cannot keep us
 * busy.
 */
#include "devices/legacy/rtc.h"

#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#include "devices/legacy/bytes.h"
#include "vmm/fd.h"
#include "vmm/util.h"

enum {
	PORT_INDEX,
	PORT_DATA
};

#define REG_SECOND       0x00
#define REG_SECOND_ALARM 0x01
#define REG_MINUTE       0x02
#define REG_MINUTE_ALARM 0x03
#define REG_HOUR         0x04
#define REG_HOUR_ALARM   0x05
#define REG_WEEKDAY      0x06
#define REG_DAY          0x07
#define REG_MONTH        0x08
#define REG_YEAR         0x09
#define REG_A            0x0a
#define REG_B            0x0b
#define REG_C            0x0c
#define REG_D            0x0d

#define A_UIP          BIT(7)
#define A_DIVIDER_MASK 0x60 /* both bits set: held in reset */
#define A_RATE         0x0f
#define A_DEFAULT      0x26 /* 32768 Hz crystal, 1024 Hz periodic */

#define B_SET     BIT(7)
#define B_ENABLES 0x70 /* PIE, AIE, UIE: the same bits as their flags in register C */
#define B_SQWE    BIT(3)
#define B_BINARY  BIT(2)
#define B_24H     BIT(1)

#define C_IRQ      BIT(7)
#define C_PERIODIC BIT(6)
#define C_ALARM    BIT(5)
#define C_UPDATE   BIT(4)

#define D_VALID BIT(7)

#define HOUR_PM     0x80  /* in 12-hour mode */
#define ALARM_ANY   0xc0  /* an alarm byte with both bits set matches every value */
#define UIP_TICKS   8     /* 244 us */
#define ARM_MAX_MS  60000 /* look again then: the host's clock may have been set meanwhile */
#define NEVER       INT64_MAX
#define DAY_SECONDS 86400

static int64_t host_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return ts.tv_sec * (int64_t)RTC_HZ + ts.tv_nsec * (int64_t)RTC_HZ / 1000000000;
}

static int64_t now_of(const struct rtc *r)
{
	return r->clock() + r->offset;
}

static bool divider_runs(const struct rtc *r)
{
	return (r->ram[REG_A] & A_DIVIDER_MASK) != A_DIVIDER_MASK;
}

static bool clock_runs(const struct rtc *r)
{
	return divider_runs(r) && !(r->ram[REG_B] & B_SET);
}

/* Whole seconds, rounded down for times before 1970 as well (>> of a negative number is
 * arithmetic). */
static int64_t seconds_of(int64_t ticks)
{
	return ticks >> 15;
}

static int64_t subsecond_of(int64_t ticks)
{
	return ticks & (RTC_HZ - 1);
}

/* Registers to numbers and back, in the mode that register B is in now. */

static uint8_t encode(const struct rtc *r, int v)
{
	return (uint8_t)((r->ram[REG_B] & B_BINARY) ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return (r->ram[REG_B] & B_BINARY) ? v : (v >> 4) * 10 + (v & 0x0f);
}

static uint8_t encode_hour(const struct rtc *r, int hour)
{
	if (r->ram[REG_B] & B_24H)
		return encode(r, hour);
	return encode(r, hour % 12 ? hour % 12 : 12) | (hour < 12 ? 0 : HOUR_PM);
}

static int decode_hour(const struct rtc *r, uint8_t v)
{
	if (r->ram[REG_B] & B_24H)
		return decode(r, v);
	return decode(r, v & (uint8_t)~HOUR_PM) % 12 + (v & HOUR_PM ? 12 : 0);
}

static bool is_time_register(unsigned reg)
{
	switch (reg) {
	case REG_SECOND:
	case REG_MINUTE:
	case REG_HOUR:
	case REG_WEEKDAY:
	case REG_DAY:
	case REG_MONTH:
	case REG_YEAR:
	case RTC_CENTURY:
		return true;
	default:
		return false;
	}
}

/* Write @ticks into the time's registers. */
static void store_time(struct rtc *r, int64_t ticks)
{
	time_t t = seconds_of(ticks);
	struct tm tm;
	int year;

	gmtime_r(&t, &tm);
	year = tm.tm_year + 1900 < 0 ? 0 : (tm.tm_year + 1900) % 10000;
	r->ram[REG_SECOND] = encode(r, tm.tm_sec);
	r->ram[REG_MINUTE] = encode(r, tm.tm_min);
	r->ram[REG_HOUR] = encode_hour(r, tm.tm_hour);
	r->ram[REG_WEEKDAY] = encode(r, tm.tm_wday + 1);
	r->ram[REG_DAY] = encode(r, tm.tm_mday);
	r->ram[REG_MONTH] = encode(r, tm.tm_mon + 1);
	r->ram[REG_YEAR] = encode(r, year % 100);
	r->ram[RTC_CENTURY] = encode(r, year / 100);
}

/*
 * The time that the registers say, at the start of its second. Any bytes make a date: timegm()
 * takes the 30th of February for the 1st or 2nd of March, and the largest year (25755) is far from
 * overflow.
 */
static int64_t load_time(const struct rtc *r)
{
	struct tm tm = {
		.tm_sec = decode(r, r->ram[REG_SECOND]),
		.tm_min = decode(r, r->ram[REG_MINUTE]),
		.tm_hour = decode_hour(r, r->ram[REG_HOUR]),
		.tm_mday = decode(r, r->ram[REG_DAY]),
		.tm_mon = decode(r, r->ram[REG_MONTH]) - 1,
		.tm_year =
			decode(r, r->ram[RTC_CENTURY]) * 100 + decode(r, r->ram[REG_YEAR]) - 1900,
	};

	return timegm(&tm) * (int64_t)RTC_HZ;
}

/* Start the clock at the registers' time. */
static void start_clock(struct rtc *r)
{
	r->seen = load_time(r) + r->subsecond;
	r->offset = r->seen - r->clock();
}

/* Shift that turns ticks into periods of the periodic interrupt, or -1: off. */
static int periodic_shift(const struct rtc *r)
{
	int rate = r->ram[REG_A] & A_RATE;

	if (rate == 0 || !divider_runs(r))
		return -1;
	return rate < 3 ? rate + 6 : rate - 1; /* the first two are 256 and 128 Hz once more */
}

struct alarm {
	int second, minute, hour; /* -1: any */
};

/* False if the alarm's registers hold what no time ever equals. */
static bool load_alarm(const struct rtc *r, struct alarm *a)
{
	uint8_t second = r->ram[REG_SECOND_ALARM];
	uint8_t minute = r->ram[REG_MINUTE_ALARM];
	uint8_t hour = r->ram[REG_HOUR_ALARM];

	a->second = (second & ALARM_ANY) == ALARM_ANY ? -1 : decode(r, second);
	a->minute = (minute & ALARM_ANY) == ALARM_ANY ? -1 : decode(r, minute);
	a->hour = (hour & ALARM_ANY) == ALARM_ANY ? -1 : decode_hour(r, hour);
	return a->second < 60 && a->minute < 60 && a->hour < 24;
}

static bool alarm_field(int field, int value)
{
	return field < 0 || field == value;
}

/* Seconds from @start (a time of day) to the alarm, 0 to a day. -1: never */
static int alarm_distance(const struct alarm *a, int start)
{
	/* The hour of @start comes up twice: its rest today and its beginning tomorrow. */
	for (int hour = start / 3600; hour <= start / 3600 + 24; hour++) {
		int s = hour * 3600 > start ? hour * 3600 : start;

		if (!alarm_field(a->hour, hour % 24))
			continue;
		while (s < (hour + 1) * 3600) {
			if (!alarm_field(a->minute, s / 60 % 60))
				s = (s / 60 + 1) * 60;
			else if (!alarm_field(a->second, s % 60))
				s++;
			else
				return s - start;
		}
	}
	return -1;
}

/* The first alarm after @ticks. */
static int64_t next_alarm(const struct rtc *r, int64_t ticks)
{
	int64_t second = seconds_of(ticks) + 1;
	int64_t in_day = second % DAY_SECONDS;
	struct alarm a;
	int distance;

	if (!load_alarm(r, &a))
		return NEVER;
	distance = alarm_distance(&a, (int)(in_day < 0 ? in_day + DAY_SECONDS : in_day));
	return distance < 0 ? NEVER : (second + distance) * RTC_HZ;
}

/* Flag in register C what happened from r->seen to @now. */
static void catch_up(struct rtc *r, int64_t now)
{
	int shift = periodic_shift(r);
	int64_t from = r->seen;
	unsigned c = r->ram[REG_C];

	r->seen = now;
	if (now <= from) /* the host's clock was set back */
		return;
	if (shift >= 0 && now >> shift != from >> shift)
		c |= C_PERIODIC;
	if (clock_runs(r) && seconds_of(now) != seconds_of(from)) {
		c |= C_UPDATE;
		if (next_alarm(r, from) <= now)
			c |= C_ALARM;
	}
	r->ram[REG_C] = (uint8_t)c;
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* When the guest next wants an interrupt. */
static int64_t next_event(const struct rtc *r, int64_t now)
{
	unsigned enabled = r->ram[REG_B] & B_ENABLES;
	int shift = periodic_shift(r);
	int64_t next = NEVER;

	if ((enabled & C_PERIODIC) && shift >= 0)
		next = ((now >> shift) + 1) * ((int64_t)1 << shift);
	if (!clock_runs(r))
		return next;
	if (enabled & C_UPDATE)
		next = earlier(next, (seconds_of(now) + 1) * RTC_HZ);
	if (enabled & C_ALARM)
		next = earlier(next, next_alarm(r, now));
	return next;
}

static void arm(struct rtc *r, int64_t now)
{
	int64_t next = (r->ram[REG_C] & C_IRQ) ? NEVER : next_event(r, now);
	uint64_t ms;

	if (r->timerfd < 0 || (next == NEVER && !r->armed))
		return;
	r->armed = next != NEVER;
	ms = r->armed ? ((uint64_t)(next - now) * 1000 + RTC_HZ - 1) / RTC_HZ : 0;
	loop_timer_set(r->timerfd, min_u64(ms, ARM_MAX_MS));
}

static void set_irq(struct rtc *r, bool asserted)
{
	if (asserted == r->asserted)
		return;
	r->asserted = asserted;
	irq_line_set(&r->irq, asserted);
}

/* Bring flags, interrupt line and timer up to date. */
static void update(struct rtc *r)
{
	int64_t now = now_of(r);

	catch_up(r, now);
	r->ram[REG_C] &= (uint8_t)~C_IRQ;
	if (r->ram[REG_B] & r->ram[REG_C] & B_ENABLES)
		r->ram[REG_C] |= C_IRQ;
	set_irq(r, r->ram[REG_C] & C_IRQ);
	arm(r, now);
}

static uint8_t read_a(struct rtc *r)
{
	bool announced = clock_runs(r) && subsecond_of(now_of(r)) >= RTC_HZ - UIP_TICKS;

	return r->ram[REG_A] | (announced ? A_UIP : 0);
}

static uint8_t read_c(struct rtc *r)
{
	uint8_t flags;

	update(r);
	flags = r->ram[REG_C];
	r->ram[REG_C] = 0;
	set_irq(r, false); /* an event from here on, however soon, is a new edge */
	update(r);
	return flags;
}

static uint8_t read_data(struct rtc *r)
{
	unsigned reg = r->index;

	if (reg == REG_A)
		return read_a(r);
	if (reg == REG_C)
		return read_c(r);
	if (is_time_register(reg) && clock_runs(r))
		store_time(r, now_of(r));
	return r->ram[reg];
}

/* Register A or B: stopping the clock leaves its time in the registers, starting takes it from
 * there. */
static void write_control(struct rtc *r, unsigned reg, uint8_t value)
{
	bool ran = clock_runs(r);

	update(r);
	if (ran) {
		int64_t now = now_of(r);

		store_time(r, now);
		r->subsecond = subsecond_of(now);
	}
	if (reg == REG_A)
		r->ram[REG_A] = value & (uint8_t)~A_UIP;
	else if (value & ~r->ram[REG_B] & B_SET)
		r->ram[REG_B] = value & (uint8_t)~C_UPDATE; /* as the chip does */
	else
		r->ram[REG_B] = value;
	if (!divider_runs(r))
		r->subsecond = RTC_HZ / 2;
	if (!ran && clock_runs(r))
		start_clock(r);
}

static void write_data(struct rtc *r, uint8_t value)
{
	unsigned reg = r->index;

	if (reg == REG_A || reg == REG_B) {
		write_control(r, reg, value);
	} else if (is_time_register(reg) && clock_runs(r)) {
		update(r);
		store_time(r, r->seen);
		r->subsecond = subsecond_of(r->seen);
		r->ram[reg] = value;
		start_clock(r);
	} else if (reg != REG_C && reg != REG_D) {
		update(r); /* up to now the old alarm counts */
		r->ram[reg] = value;
	}
	update(r);
}

static uint8_t read8(void *opaque, uint64_t offset)
{
	struct rtc *r = opaque;
	uint8_t value;

	if (offset == PORT_INDEX)
		return 0xff; /* write-only on a PC */
	pthread_mutex_lock(&r->lock);
	value = read_data(r);
	pthread_mutex_unlock(&r->lock);
	return value;
}

static void write8(void *opaque, uint64_t offset, uint8_t value)
{
	struct rtc *r = opaque;

	pthread_mutex_lock(&r->lock);
	if (offset == PORT_INDEX)
		r->index = value & 0x7f; /* bit 7 masks NMIs on a PC */
	else
		write_data(r, value);
	pthread_mutex_unlock(&r->lock);
}

static uint64_t rtc_read(void *opaque, uint64_t offset, unsigned size)
{
	return bytes_read(read8, opaque, offset, size);
}

static void rtc_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	bytes_write(write8, opaque, offset, size, value);
}

static const struct bus_ops rtc_ops = {
	.read = rtc_read,
	.write = rtc_write,
};

static void on_timer(struct loop_source *src, uint32_t events)
{
	struct rtc *r = container_of(src, struct rtc, timer);

	(void)events;
	fd_drain(r->timerfd);
	pthread_mutex_lock(&r->lock);
	update(r);
	pthread_mutex_unlock(&r->lock);
}

int rtc_init(struct rtc *r, struct irq_line irq, struct loop *loop)
{
	int rc;

	memset(r, 0, sizeof(*r));
	r->region.name = "rtc";
	r->region.size = 2;
	r->region.ops = &rtc_ops;
	r->region.opaque = r;
	r->irq = irq;
	r->clock = host_clock;
	r->timerfd = -1;
	r->ram[REG_A] = A_DEFAULT;
	r->ram[REG_B] = B_24H;
	r->ram[REG_D] = D_VALID;
	r->seen = now_of(r);
	pthread_mutex_init(&r->lock, NULL);
	if (!loop)
		return 0;
	r->timerfd = loop_timer_create();
	rc = r->timerfd < 0 ? r->timerfd : loop_add(loop, &r->timer, r->timerfd, EPOLLIN, on_timer);
	if (rc < 0)
		rtc_destroy(r);
	return rc;
}

int rtc_add(struct rtc *r, struct bus *pio, uint16_t base)
{
	return bus_add(pio, &r->region, base);
}

void rtc_reset(struct rtc *r)
{
	pthread_mutex_lock(&r->lock);
	r->index = 0;
	r->ram[REG_B] &= (uint8_t) ~(B_ENABLES | B_SQWE);
	update(r);
	r->ram[REG_C] = 0;
	pthread_mutex_unlock(&r->lock);
}

void rtc_destroy(struct rtc *r)
{
	if (!r->irq.ctl)
		return;
	loop_remove(&r->timer);
	fd_close(&r->timerfd);
	pthread_mutex_destroy(&r->lock);
	r->irq.ctl = NULL;
}
