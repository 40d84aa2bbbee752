/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * rtc: the MC146818 clock of a PC with 128 bytes of CMOS RAM (ports 0x70 index, 0x71 data), the
 * century in byte 0x32 as the FADT says.
 *
 * It shows the host's UTC. What the guest sets is kept as a difference to that, so the guest's
 * clock follows the host's when that is set, too. The difference does not outlive the process.
 *
 * What differs from the chip: an update takes no time, UIP is only the announcement of one (the
 * last 244 us of each second); interrupts come from a timer with a resolution of 1 ms, so that
 * periodic rates above 1 kHz run together (the flag in register C is exact); no square wave, no
 * daylight saving, and the weekday follows from the date.
 */
#ifndef TRIVM_DEVICES_LEGACY_RTC_H
#define TRIVM_DEVICES_LEGACY_RTC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/loop.h"

#define RTC_HZ      32768 /* the crystal; all times here are in its ticks since 1970 */
#define RTC_CENTURY 0x32  /* for the FADT */

struct rtc {
	struct bus_region region;
	struct irq_line irq;
	int64_t (*clock)(
		void); /* UTC now; the host's, or a unit test's own. Set before the guest runs */
	int timerfd;   /* -1: no interrupts */
	struct loop_source timer;

	pthread_mutex_t lock; /* the fields below */
	uint8_t index;
	uint8_t ram[128];  /* the time's registers are only right while the clock is stopped */
	int64_t offset;    /* the guest's time is clock() + offset */
	int64_t subsecond; /* while stopped: ticks into its second at which the clock goes on */
	int64_t seen;      /* the guest's time up to which events are flagged in register C */
	bool asserted;     /* what irq was last set to */
	bool armed;        /* the timer runs */
};

/*
 * @irq is edge-triggered (GSI 8). @loop (NULL: no interrupts) runs the timer. 0 or a negative
 * errno. Main thread.
 */
int rtc_init(struct rtc *r, struct irq_line irq, struct loop *loop);

/* 0 or bus_add()'s negative errno. Main thread, before the guest runs. */
int rtc_add(struct rtc *r, struct bus *pio, uint16_t base);

/* The machine's reset: interrupts off; time and RAM run on a battery. Any thread. */
void rtc_reset(struct rtc *r);

/* On the loop's thread, the vCPUs are stopped. */
void rtc_destroy(struct rtc *r);

#endif
