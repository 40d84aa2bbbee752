/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An instruction of CPL0 that a KVM without hardware virtualization does not emulate: the VM has to
 * end with a report of the registers. On other hosts it simply works.
 */
#include "bm.h"

int guest_main(void)
{
	uint64_t v = 0xf0f0, n;

	print("popcnt next\n");
	__asm__ volatile("popcnt %1, %0" : "=r"(n) : "r"(v), "a"(0xfeedc0de12345678ul));
	print("popcnt works: %lu\n", n);
	return n == 8 ? 0 : 1;
}
