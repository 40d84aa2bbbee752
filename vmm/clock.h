/* SPDX-License-Identifier: BSD-2-Clause */
/* clock: how late it is, by the clock that never jumps (CLOCK_MONOTONIC). Any thread. */
#ifndef TRIVM_VMM_CLOCK_H
#define TRIVM_VMM_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static inline uint64_t clock_us(void)
{
	return clock_ns() / 1000;
}

static inline uint64_t clock_ms(void)
{
	return clock_us() / 1000;
}

/* The moment @ms from now, for waits that take one (pthread_cond_clockwait()). */
static inline struct timespec clock_deadline(unsigned ms)
{
	uint64_t ns = clock_ns() + (uint64_t)ms * 1000000;

	return (struct timespec){.tv_sec = (time_t)(ns / 1000000000),
	                         .tv_nsec = (long)(ns % 1000000000)};
}

#endif
