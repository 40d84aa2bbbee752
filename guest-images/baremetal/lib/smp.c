/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting the other processors: INIT, SIPI, and a second SIPI for who has not come. SDM volume
 * 3, 9.4. */
#include "bm.h"

volatile uint32_t ap_next_index = 1; /* ap_entry.S takes from it */
volatile uint32_t ap_done;
static volatile uint32_t arrived;
static void (*work)(unsigned);

extern const char ap_trampoline[], ap_trampoline_end[];
void ap_main(unsigned index);

static uint32_t ids[AP_MAX];

void ap_main(unsigned index)
{
	trap_load();
	apic_init();
	__atomic_fetch_add(&arrived, 1, __ATOMIC_SEQ_CST);
	if (work)
		work(index);
	__atomic_fetch_add(&ap_done, 1, __ATOMIC_SEQ_CST);
}

static bool wait_for(unsigned n, uint32_t us)
{
	uint64_t start = 0;

	while (arrived < n)
		if (timed_out(&start, us))
			return false;
	return true;
}

static void send_all(unsigned n, uint32_t icr)
{
	uint32_t self = apic_id();

	for (unsigned i = 0; i < n; i++)
		if (ids[i] != self)
			apic_send_ipi(ids[i], icr);
}

unsigned smp_start(void (*fn)(unsigned index))
{
	unsigned n = acpi_cpus(ids, AP_MAX);

	work = fn;
	memcpy((void *)AP_TRAMPOLINE, ap_trampoline, (size_t)(ap_trampoline_end - ap_trampoline));
	apic_init();
	send_all(n, ICR_INIT);
	delay_us(10000);
	send_all(n, ICR_SIPI | AP_TRAMPOLINE >> 12);
	if (n && !wait_for(n - 1, 2000000)) {
		send_all(n, ICR_SIPI | AP_TRAMPOLINE >> 12);
		wait_for(n - 1, 10000000);
	}
	return arrived;
}
