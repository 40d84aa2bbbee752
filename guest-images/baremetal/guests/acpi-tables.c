/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI tables: where they lie, their checksums, and that what they say is what is there.
 * "cpus=N" and "ecam=0|1": what the MADT and the MCFG should say. Ends through the FADT's sleep
 * register.
 */
#include "bm.h"

#define FADT_DSDT       40
#define FADT_FLAGS      112
#define FADT_RESET_REG  116
#define FADT_X_DSDT     140
#define FADT_SLEEP_CTL  244
#define FADT_SLEEP_STS  256
#define FLAG_RESET_REG  (1u << 10)
#define FLAG_HW_REDUCED (1u << 20)
#define GAS_SPACE_IO    1

static bool in_reserved_range(uint64_t addr, uint64_t size)
{
	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (addr >= r->addr && addr - r->addr + size <= r->size)
			return r->type == 3 || r->type == 2;
	}
	return false;
}

static void check_table(const struct acpi_header *h)
{
	print("table %c%c%c%c at %lx, %u bytes\n", h->signature[0], h->signature[1],
	      h->signature[2], h->signature[3], (uint64_t)h, h->length);
	check(in_reserved_range((uint64_t)h, h->length), "lies in RAM that the guest may use");
	check(acpi_checksum_ok(h, h->length), "checksum");
	check(h->length >= sizeof(*h), "length %u", h->length);
}

static uint64_t at64(const struct acpi_header *h, unsigned offset)
{
	uint64_t v;

	memcpy(&v, (const uint8_t *)h + offset, sizeof(v));
	return v;
}

static uint32_t at32(const struct acpi_header *h, unsigned offset)
{
	return (uint32_t)at64(h, offset);
}

/* A Generic Address Structure for one byte of I/O space: its port. */
static uint16_t io_register(const struct acpi_header *h, unsigned offset, const char *name)
{
	const uint8_t *gas = (const uint8_t *)h + offset;

	check(gas[0] == GAS_SPACE_IO && gas[1] == 8, "%s: space %u, %u bits", name, gas[0], gas[1]);
	return (uint16_t)at64(h, offset + 4);
}

static void check_fadt(const struct acpi_header *fadt)
{
	const struct acpi_header *dsdt;
	uint32_t flags;

	if (!check(fadt && fadt->length >= 268, "no FADT, or a short one"))
		return;
	flags = at32(fadt, FADT_FLAGS);
	check(flags & FLAG_HW_REDUCED, "FADT flags %x: not hardware-reduced", flags);
	check(flags & FLAG_RESET_REG, "FADT flags %x: no reset register", flags);
	check(io_register(fadt, FADT_RESET_REG, "reset") == 0x602, "reset register");
	check(io_register(fadt, FADT_SLEEP_CTL, "sleep control") == 0x600, "sleep control");
	check(io_register(fadt, FADT_SLEEP_STS, "sleep status") == 0x601, "sleep status");
	dsdt = (const struct acpi_header *)at64(fadt, FADT_X_DSDT);
	if (!dsdt)
		dsdt = (const struct acpi_header *)(uint64_t)at32(fadt, FADT_DSDT);
	if (check(dsdt && !memcmp(dsdt->signature, "DSDT", 4), "no DSDT"))
		check_table(dsdt);
}

static void check_madt(const struct acpi_header *madt)
{
	const uint8_t *p, *end;
	unsigned cpus = 0, ioapics = 0;

	if (!check(madt, "no MADT"))
		return;
	check(at32(madt, 36) == LAYOUT_LAPIC, "local APIC at %x", at32(madt, 36));
	end = (const uint8_t *)madt + madt->length;
	for (p = (const uint8_t *)madt + 44; p < end; p += p[1]) {
		if (!check(p[1] >= 2 && p + p[1] <= end, "entry of type %u with length %u", p[0],
		           p[1]))
			return;
		cpus += p[0] == 0 || p[0] == 9;
		if (p[0] != 1)
			continue;
		ioapics++;
		check((uint32_t)(p[4] | p[5] << 8 | p[6] << 16 | (uint32_t)p[7] << 24) ==
		              LAYOUT_IOAPIC,
		      "I/O APIC elsewhere");
	}
	check(cpus == arg_num("cpus", 1), "%u processors", cpus);
	check(ioapics == 1, "%u I/O APICs", ioapics);
}

int guest_main(void)
{
	const uint8_t *rsdp = (const uint8_t *)boot.rsdp;

	if (!check(rsdp && !memcmp(rsdp, "RSD PTR ", 8), "no RSDP at %lx", boot.rsdp))
		return check_status();
	check(acpi_checksum_ok(rsdp, 20), "RSDP's first checksum");
	check(acpi_checksum_ok(rsdp, 36), "RSDP's second checksum");
	check(rsdp[15] >= 2, "RSDP revision %u", rsdp[15]);
	acpi_each(check_table);
	check_fadt(acpi_find("FACP"));
	check_madt(acpi_find("APIC"));
	check(acpi_ecam() == LAYOUT_ECAM, "MCFG: ECAM at %lx", acpi_ecam());
	check(read32(LAYOUT_ECAM) == pci_read(0, 0, 4), "ECAM shows %x", read32(LAYOUT_ECAM));
	return check_status();
}
