/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID and MSRs as a kernel will look at them. "cpus=N": the number of processors. Also the local
 * APIC's timer, both ways that Linux drives it.
 */
#include "bm.h"

#define LEAF_KVM         0x40000000
#define CPUID_1_TSCDL    (1u << 24)
#define CPUID_1_HV       (1u << 31)
#define CPUID_1_APIC     (1u << 9)
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_NONE         0x12345678
#define X2_LVT_TIMER     0x832
#define X2_INITIAL       0x838
#define X2_DIVIDE        0x83e
#define LVT_DEADLINE     0x40000
#define VECTOR           0x60

static volatile unsigned ticks;

static void on_timer(struct trap *t)
{
	(void)t;
	ticks++;
	apic_eoi();
}

static void check_hypervisor(void)
{
	struct cpuid c = cpuid(LEAF_KVM, 0);

	check(cpuid(1, 0).c & CPUID_1_HV, "the hypervisor bit is not set");
	check(c.b == 0x4b4d564b && c.c == 0x564b4d56 && c.d == 0x4d, "signature %x %x %x", c.b, c.c,
	      c.d);
	check(c.a >= LEAF_KVM + 1, "highest hypervisor leaf %x", c.a);
	print("kvm features %x, hints %x\n", cpuid(LEAF_KVM + 1, 0).a, cpuid(LEAF_KVM + 1, 0).d);
}

/* Leaf 0xb: the number of processors at the highest level, and our x2APIC id. */
static void check_topology(void)
{
	unsigned cpus = (unsigned)arg_num("cpus", 1), level, top = 0;

	check(cpuid(1, 0).d & CPUID_1_APIC, "no local APIC");
	check(cpuid(1, 0).b >> 24 == (apic_id() & 0xff), "leaf 1 says APIC id %u",
	      cpuid(1, 0).b >> 24);
	if (cpuid(0, 0).a < 0xb)
		return;
	for (level = 0; level < 8; level++) {
		struct cpuid c = cpuid(0xb, level);

		if (!(c.c >> 8 & 0xff))
			break;
		check(c.d == apic_id(), "level %u: x2APIC id %u", level, c.d);
		top = c.b & 0xffff;
	}
	check(level >= 2, "%u levels of topology", level);
	check(top == cpus, "%u processors in the package, %u in the machine", top, cpus);
}

static void check_msrs(void)
{
	uint64_t v = 0;

	check(rdmsr_safe(0x1b, &v) && (v & 0x900) == 0x900, "APIC base %lx", v);
	check(rdmsr_safe(0x10, &v), "TSC MSR");
	check(rdmsr_safe(0x277, &v) && v, "PAT %lx", v);
	check(rdmsr_safe(0xfe, &v), "MTRRcap");
	check(!rdmsr_safe(MSR_NONE, &v), "an MSR that no processor has reads %lx", v);
	check(!wrmsr_safe(MSR_NONE, 0), "an MSR that no processor has takes a write");
}

static void wait_for_tick(const char *what)
{
	irq_wait_change(&ticks, 0, 1000000);
	check(ticks == 1, "%s: %u ticks", what, ticks);
	ticks = 0;
}

static void check_timer(void)
{
	if (!apic_is_x2()) {
		print("no x2apic: its timer is not tried\n");
		return;
	}
	trap_set(VECTOR, on_timer);
	wrmsr(X2_DIVIDE, 0x0b);
	wrmsr(X2_LVT_TIMER, VECTOR);
	wrmsr(X2_INITIAL, 1000);
	wait_for_tick("one shot");
	if (!check(cpuid(1, 0).c & CPUID_1_TSCDL, "no TSC deadline timer"))
		return;
	wrmsr(X2_LVT_TIMER, VECTOR | LVT_DEADLINE);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + 100000);
	wait_for_tick("TSC deadline");
}

int guest_main(void)
{
	apic_init();
	check_hypervisor();
	check_topology();
	check_msrs();
	check_timer();
	return check_status();
}
