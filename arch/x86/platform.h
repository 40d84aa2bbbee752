/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * platform: what the machine consists of, as the tables (e820, ACPI, FDT, MP) describe it to the
 * guest. Filled by vmm/machine.c from what it really built; everything else about the address map
 * is in layout.h.
 */
#ifndef TRIVM_ARCH_X86_PLATFORM_H
#define TRIVM_ARCH_X86_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

struct platform_slot {
	uint64_t addr; /* of a virtio-mmio register page */
	uint32_t gsi;  /* edge-triggered */
};

struct platform {
	unsigned cpus;       /* APIC ids are 0 .. cpus - 1 */
	uint64_t ram_low;    /* bytes of RAM from address 0, at most LAYOUT_HOLE_START */
	uint64_t ram_high;   /* bytes of RAM from LAYOUT_HOLE_END */
	uint64_t pci64_base; /* 64-bit PCI window; size 0: none */
	uint64_t pci64_size;
	unsigned ioapic_pins; /* GSIs 0 .. ioapic_pins - 1 */
	bool com2;            /* COM1 is always there */
	unsigned nr_virtio_mmio;
	const struct platform_slot *virtio_mmio;
};

#endif
