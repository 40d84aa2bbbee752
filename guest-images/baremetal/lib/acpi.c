/* SPDX-License-Identifier: BSD-2-Clause */
/* As much of ACPI as a test needs: RSDP, XSDT, MADT, MCFG. */
#include "bm.h"

bool acpi_checksum_ok(const void *p, size_t n)
{
	const uint8_t *b = p;
	uint8_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum = (uint8_t)(sum + b[i]);
	return !sum;
}

static uint64_t load64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static const struct acpi_header *xsdt(void)
{
	if (!boot.rsdp || memcmp((void *)boot.rsdp, "RSD PTR ", 8))
		return NULL;
	return (const struct acpi_header *)load64((const uint8_t *)boot.rsdp + 24);
}

static const struct acpi_header *entry(const struct acpi_header *x, unsigned i)
{
	return (const struct acpi_header *)load64((const uint8_t *)(x + 1) + i * 8ul);
}

void acpi_each(void (*fn)(const struct acpi_header *h))
{
	const struct acpi_header *x = xsdt();

	for (unsigned i = 0; x && i < (x->length - sizeof(*x)) / 8; i++)
		fn(entry(x, i));
}

const struct acpi_header *acpi_find(const char *signature)
{
	const struct acpi_header *x = xsdt();

	for (unsigned i = 0; x && i < (x->length - sizeof(*x)) / 8; i++)
		if (!memcmp(entry(x, i)->signature, signature, 4))
			return entry(x, i);
	return NULL;
}

#define MADT_ENTRIES 44
#define MADT_LAPIC   0
#define MADT_X2APIC  9

unsigned acpi_cpus(uint32_t *ids, unsigned max)
{
	const struct acpi_header *madt = acpi_find("APIC");
	const uint8_t *p, *end;
	unsigned n = 0;

	if (!madt)
		return 0;
	end = (const uint8_t *)madt + madt->length;
	for (p = (const uint8_t *)madt + MADT_ENTRIES; p + 2 <= end && p[1] >= 2; p += p[1]) {
		uint32_t id, enabled;

		if (p[0] == MADT_LAPIC) {
			id = p[3];
			enabled = p[4] & 1;
		} else if (p[0] == MADT_X2APIC) {
			id = (uint32_t)load64(p + 4);
			enabled = p[8] & 1;
		} else {
			continue;
		}
		if (enabled && n < max)
			ids[n] = id;
		n += enabled;
	}
	return n;
}

uint64_t acpi_ecam(void)
{
	const struct acpi_header *mcfg = acpi_find("MCFG");

	return mcfg && mcfg->length >= 60 ? load64((const uint8_t *)mcfg + 44) : 0;
}
