/* SPDX-License-Identifier: BSD-2-Clause */
/* tables: the machine described to the guest, three ways. Main thread. */
#ifndef TRIVM_ARCH_X86_TABLES_H
#define TRIVM_ARCH_X86_TABLES_H

#include <stddef.h>
#include <stdint.h>

#include "arch/x86/platform.h"
#include "vmm/err.h"
#include "vmm/memory.h"

/* One range of the guest-physical map. Types are e820's, which the PVH memory map shares. */
enum e820_type {
	E820_RAM = 1,
	E820_RESERVED = 2,
	E820_ACPI = 3
};

struct e820_range {
	uint64_t addr, size;
	enum e820_type type;
};
#define E820_MAX 16

/* Fill @map (E820_MAX entries), sorted; the number of entries. */
unsigned e820_build(const struct platform *p, struct e820_range *map);

/*
 * ACPI 6.x, hardware-reduced: RSDP, XSDT, FADT, MADT, MCFG, DSDT (from dsdt.asl) and the parameter
 * block that the DSDT reads, at LAYOUT_ACPI. @rsdp gets the RSDP's address. -ENOSPC: does not fit.
 */
int acpi_build(const struct platform *p, const struct memory *mem, uint64_t *rsdp, struct err *err);

struct fdt_chosen {
	const char *cmdline;               /* NULL: none */
	uint64_t initrd_start, initrd_end; /* equal: none */
};

/*
 * A flattened device tree (libfdt) in @buf; *@len gets its size. For kernels with CONFIG_OF, and
 * for
 * --dump-fdt. -ENOSPC: @size is too small.
 */
int fdt_build(const struct platform *p, const struct fdt_chosen *chosen, void *buf, size_t size,
              size_t *len, struct err *err);

/*
 * MP tables (Intel MultiProcessor Specification 1.4) for acpi=off: the floating pointer at
 * LAYOUT_MPTABLE, the configuration table at LAYOUT_MPCONFIG. CPUs whose APIC id does not fit
 * into 8 bits are left out.
 */
int mptable_build(const struct platform *p, const struct memory *mem, struct err *err);

#endif
