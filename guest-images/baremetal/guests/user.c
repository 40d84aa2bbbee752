/* SPDX-License-Identifier: BSD-2-Clause */
/* Code at CPL3: it runs, reaches memory and I/O ports, takes faults, and is faster where CPL0 is
 * emulated. */
#include "bm.h"

#define LOOPS 20000

static uint64_t fibonacci(uint64_t n)
{
	uint64_t a = 0, b = 1;

	while (n--) {
		uint64_t sum = a + b;

		a = b;
		b = sum;
	}
	return a;
}

static uint64_t with_ports(uint64_t arg)
{
	print("from CPL3: %lu\n", arg);
	outb(LAYOUT_COM1 + 7, 0x77);
	return inb(LAYOUT_COM1 + 7);
}

static uint64_t cpl(uint64_t unused)
{
	uint64_t cs;

	(void)unused;
	__asm__("movq %%cs, %0" : "=r"(cs));
	return cs & 3;
}

int guest_main(void)
{
	volatile uint64_t sink; /* the loop at CPL0 is to be run, not optimized away */
	uint64_t start, slow, fast;

	check(user_run(fibonacci, 50) == 12586269025ul, "fibonacci at CPL3");
	check(user_run(cpl, 0) == 3, "CPL %lu", user_run(cpl, 0));
	check(user_run(with_ports, 42) == 0x77, "ports at CPL3");
	start = rdtsc();
	sink = fibonacci(LOOPS / 100);
	slow = (rdtsc() - start) * 100 / LOOPS;
	start = rdtsc();
	sink = user_run(fibonacci, LOOPS);
	fast = (rdtsc() - start) / LOOPS;
	(void)sink;
	print("TSC ticks a loop: CPL0 %lu, CPL3 %lu\n", slow, fast);
	return check_status();
}
