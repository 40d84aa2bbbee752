/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * layout: the guest's address map, in one place. Everything that describes it to the guest (e820,
 * ACPI, FDT) and everything that lives at these addresses takes the numbers from here; the ASL
 * source is run through the C preprocessor with this file.
 *
 *   0x0000_1000  GDT for the 64-bit entry                   \
 *   0x0000_6000  end of the stack that the guest starts with | written before the first
 *                PVH start_info or Multiboot information,    | 
 *   0x0000_7000  boot_params ("zero page")                   | instruction, free for the
 *   0x0000_9000  page tables of the 64-bit entry             | guest afterwards
 *   0x0002_0000  command line                                |
 *   0x0004_0000  FDT as a setup_data node                   /
 *   0x0009_fc00  MP table (acpi=off)                        reserved in e820
 *   0x000e_0000  ACPI: RSDP, then the tables                ACPI data in e820
 *   0x000f_fff0  real-mode code that resets the machine     the same
 *   0x000f_e000  MP configuration table (acpi=off)          the same
 *   0x0010_0000  the kernel and, below the end of low RAM, the initrd
 *   0xc000_0000  end of low RAM; 32-bit PCI window
 *   0xe000_0000  PCI ECAM
 *   0xfeb0_0000  virtio-mmio, one page a device
 *   0xfec0_0000  I/O APIC          0xfee0_0000  local APIC
 *   0xfffb_c000  KVM's identity map page and TSS (Intel without unrestricted guest)
 *   0x1_0000_0000  high RAM, then the 64-bit PCI window
 */
#ifndef TRIVM_ARCH_X86_LAYOUT_H
#define TRIVM_ARCH_X86_LAYOUT_H

/* The GDT at LAYOUT_GDT: flat code and data where the 64-bit boot protocol wants them. */
#define BOOT_CS       0x10
#define BOOT_DS       0x18
#define BOOT_GDT_SIZE 0x20

/* Low memory, for boot. */
#define LAYOUT_GDT            0x00001000
#define LAYOUT_BOOT_STACK     0x00006000 /* its end; it may grow down to LAYOUT_GDT's page */
#define LAYOUT_PVH_START_INFO 0x00006000
#define LAYOUT_ZERO_PAGE      0x00007000
#define LAYOUT_PAGE_TABLES    0x00009000 /* PML4, PDPT, four page directories */
#define LAYOUT_CMDLINE        0x00020000
#define LAYOUT_CMDLINE_MAX    0x00010000
#define LAYOUT_FDT            0x00040000
#define LAYOUT_FDT_MAX        0x00050000
#define LAYOUT_MPTABLE        0x0009fc00
#define LAYOUT_LOW_RAM_END    0x0009fc00 /* end of conventional memory */
#define LAYOUT_ACPI           0x000e0000
#define LAYOUT_ACPI_PARAMS    0x000e0100 /* what the DSDT reads, see dsdt.asl */
#define LAYOUT_ACPI_TABLES    0x000e0200
#define LAYOUT_MPCONFIG       0x000fe000 /* MP configuration table: ACPI tables end here */
#define LAYOUT_RESET_VECTOR   0x000ffff0 /* where a PC's firmware is entered: see boot.c */
#define LAYOUT_ACPI_END       0x00100000
#define LAYOUT_HIGH_RAM       0x00100000

/* The hole below 4 GiB. */
#define LAYOUT_HOLE_START       0xc0000000
#define LAYOUT_PCI_MMIO32       0xc0000000
#define LAYOUT_PCI_MMIO32_SIZE  0x20000000
#define LAYOUT_PCI_MMIO32_LAST  0xdfffffff /* for dsdt.asl: iasl does not compute it */
#define LAYOUT_ECAM             0xe0000000
#define LAYOUT_ECAM_SIZE        0x00100000 /* bus 0 only */
#define LAYOUT_VIRTIO_MMIO      0xfeb00000
#define LAYOUT_VIRTIO_MMIO_STEP 0x00001000
#define LAYOUT_VIRTIO_MMIO_MAX  32
#define LAYOUT_IOAPIC           0xfec00000
#define LAYOUT_IOAPIC_SIZE      0x00001000
#define LAYOUT_LAPIC            0xfee00000
#define LAYOUT_KVM_IDENTITY_MAP 0xfffbc000
#define LAYOUT_KVM_TSS          0xfffbd000
#define LAYOUT_HOLE_END         0x100000000
#define LAYOUT_PCI_MMIO64_MAX   0x4000000000 /* the 64-bit window is at most 256 GiB */

/* I/O ports. */
#define LAYOUT_COM1         0x03f8
#define LAYOUT_COM2         0x02f8
#define LAYOUT_RTC          0x0070
#define LAYOUT_I8042        0x0060
#define LAYOUT_PVPANIC      0x0505
#define LAYOUT_ACPI_PM      0x0600 /* the block of devices/legacy/acpi_pm.h */
#define LAYOUT_ACPI_PM_SIZE 0x0008
#define LAYOUT_PCI_CONF1    0x0cf8
#define LAYOUT_PCI_IO       0x1000 /* I/O BARs */
#define LAYOUT_PCI_IO_SIZE  0xf000
#define LAYOUT_PCI_IO_LAST  0xffff

/* GSIs: pins of the I/O APIC. */
#define LAYOUT_GSI_COM2        3
#define LAYOUT_GSI_COM1        4
#define LAYOUT_GSI_RTC         8
#define LAYOUT_GSI_GED         9
#define LAYOUT_GSI_INTX        16 /* four: INTA..INTD after swizzling */
#define LAYOUT_GSI_VIRTIO_MMIO 24 /* with the split irqchip: one a device */
#define LAYOUT_IOAPIC_PINS     56 /* split irqchip; KVM's own I/O APIC has 24 */
#define LAYOUT_KVM_IOAPIC_PINS 24

#endif
