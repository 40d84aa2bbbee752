/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's clock page (KVM_FEATURE_CLOCKSOURCE2, Linux's msr.rst): waits until the host notes in
 * it that the guest was stopped, which is what keeps Linux's watchdogs quiet after a pause. Prints
 * "ready", then "stopped" each time, "count=N" times (1).
 */
#include "bm.h"

#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01
#define ENABLED                 1
#define GUEST_STOPPED           (1u << 1)

struct time_info {
	uint32_t version, pad0;
	uint64_t tsc, system_time;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad[2];
};

static volatile struct time_info page __attribute__((aligned(64)));

int guest_main(void)
{
	unsigned count = (unsigned)arg_num("count", 1);

	check(cpuid(0x40000001, 0).a & (1u << 3), "no clock source");
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uintptr_t)&page | ENABLED);
	print("ready\n");
	for (unsigned i = 0; i < count; i++) {
		while (!(page.flags & GUEST_STOPPED))
			delay_us(1000);
		page.flags &= (uint8_t)~GUEST_STOPPED;
		print("stopped\n");
	}
	return check_status();
}
