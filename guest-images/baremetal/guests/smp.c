/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts every processor that the MADT lists and checks that each came once, with the APIC id that
 * the table gives it. "cpus=N": how many there should be. The last one is then sent an interrupt,
 * which for ids above 255 needs x2APIC and 32-bit destinations.
 */
#include "bm.h"

#define IPI_VECTOR 0x50

static uint32_t ids[AP_MAX];
static volatile uint32_t seen[AP_MAX]; /* by the order of arrival: APIC id + 1 */
static volatile uint32_t ipi_from;
static volatile uint32_t target;

static void on_ipi(struct trap *t)
{
	(void)t;
	ipi_from = apic_id() + 1;
	apic_eoi();
}

static void ap(unsigned index)
{
	uint32_t id = apic_id();

	seen[index] = id + 1;
	if (id != target)
		return;
	irq_wait_change(&ipi_from, 0, 10000000);
}

static unsigned times_seen(uint32_t id, unsigned n)
{
	unsigned times = 0;

	for (unsigned i = 1; i < n; i++)
		times += seen[i] == id + 1;
	return times;
}

static void ping(uint32_t id)
{
	uint64_t start = 0;

	while (ipi_from != id + 1 && !timed_out(&start, 1000000)) {
		apic_send_ipi(id, ICR_FIXED | IPI_VECTOR);
		delay_us(1000);
	}
	check(ipi_from == id + 1, "no interrupt reached APIC id %u (answer %u)", id, ipi_from - 1);
}

int guest_main(void)
{
	unsigned n = acpi_cpus(ids, AP_MAX), bad = 0;
	uint64_t start = 0;

	apic_init();
	check(n == arg_num("cpus", 1), "the MADT lists %u processors", n);
	target = n > 1 ? ids[n - 1] : UINT32_MAX;
	trap_set(IPI_VECTOR, on_ipi);
	check(smp_start(ap) == n - 1, "of %u others %u started", n - 1, ap_done);
	if (n > 1)
		ping(target);
	while (ap_done < n - 1 && !timed_out(&start, 5000000))
		cpu_relax();
	check(ap_done == n - 1, "%u of %u finished", ap_done, n - 1);
	for (unsigned i = 0; i < n;
	     i++) /* the quadratic search costs time where each step is emulated */
		if (ids[i] != apic_id() && (n <= 16 || i % 37 == 0 || i == n - 1))
			bad += times_seen(ids[i], n) != 1;
	check(!bad, "%u APIC ids did not come exactly once", bad);
	print("%u processors, last APIC id %u, %s\n", n, ids[n - 1],
	      apic_is_x2() ? "x2apic" : "xapic");
	return check_status();
}
