/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi_params: the block at LAYOUT_ACPI_PARAMS through which the DSDT, which is compiled once,
 * learns what this machine has. Byte offsets; acpi.c writes it and dsdt.asl reads it (so: only
 * macros here).
 */
#ifndef TRIVM_ARCH_X86_ACPI_PARAMS_H
#define TRIVM_ARCH_X86_ACPI_PARAMS_H

#define ACPI_PARAMS_PCI64_BASE 0x00 /* 64 bits */
#define ACPI_PARAMS_PCI64_SIZE 0x08 /* 64 bits; 0: no such window */
#define ACPI_PARAMS_SLOTS      0x10 /* 32 bits: which virtio-mmio slots have a device */
#define ACPI_PARAMS_COM2       0x14 /* 8 bits: 1 if there is one */
#define ACPI_PARAMS_GSIS       0x20 /* a byte for each virtio-mmio slot: its GSI */
#define ACPI_PARAMS_SIZE       0x40

#endif
