/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * e820: the memory map that both boot protocols hand over.
 *
 * What is not listed is free for devices, so the ranges that a guest must not put a BAR into (ECAM,
 * KVM's own pages) are listed as reserved although there is no RAM. The map describes layout.h.
 */
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/util.h"

#define KVM_PAGES_SIZE 0x4000 /* identity map page and the three of the TSS */

unsigned e820_build(const struct platform *p, struct e820_range *map)
{
	unsigned n = 0;

	map[n++] = (struct e820_range){0, min_u64(p->ram_low, LAYOUT_LOW_RAM_END), E820_RAM};
	map[n++] = (struct e820_range){LAYOUT_MPTABLE, 0xa0000 - LAYOUT_MPTABLE, E820_RESERVED};
	map[n++] = (struct e820_range){LAYOUT_ACPI, LAYOUT_ACPI_END - LAYOUT_ACPI, E820_ACPI};
	if (p->ram_low > LAYOUT_HIGH_RAM)
		map[n++] = (struct e820_range){LAYOUT_HIGH_RAM, p->ram_low - LAYOUT_HIGH_RAM,
		                               E820_RAM};
	map[n++] = (struct e820_range){LAYOUT_ECAM, LAYOUT_ECAM_SIZE, E820_RESERVED};
	map[n++] = (struct e820_range){LAYOUT_KVM_IDENTITY_MAP, KVM_PAGES_SIZE, E820_RESERVED};
	if (p->ram_high)
		map[n++] = (struct e820_range){LAYOUT_HOLE_END, p->ram_high, E820_RAM};
	return n;
}
