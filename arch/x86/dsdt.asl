/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DSDT: the machine's devices as an ACPI guest finds them.
 *
 * Theory of operation. This source goes through the C preprocessor (addresses come from layout.h) and
 * iasl when trivm is built, and the same bytes are given to every guest. What differs between machines is
 * in the parameter block (acpi_params.h), which PARM reads: the devices' _STA and _CRS depend on it.
 *
 * Hardware-reduced ACPI (ACPI 6.3, 4.1): no SCI, no fixed events. The power button comes through a
 * Generic Event Device; sleep and reset registers are in the FADT.
 */
#include "arch/x86/acpi_params.h"
#include "arch/x86/layout.h"

/* Of devices/legacy/acpi_pm_regs.h, which only devices include; test_acpi.c compares. */
#define PM_EVENT_STATUS	    4
#define PM_EVENT_POWER	    1
#define PM_SLP_TYP_S5	    5

/* INTA..INTD of PCI device 0xNN: the four GSIs, turned by one with each device. */
#define PRT_PIN(slot, pin, turn) \
	Package () { 0x##slot##FFFF, pin, 0, LAYOUT_GSI_INTX + turn }
#define PRT_SLOT(slot, a, b, c, d) \
	PRT_PIN(slot, 0, a), PRT_PIN(slot, 1, b), PRT_PIN(slot, 2, c), PRT_PIN(slot, 3, d)
#define PRT_FOUR_SLOTS(s0, s1, s2, s3)                                     \
	PRT_SLOT(s0, 0, 1, 2, 3), PRT_SLOT(s1, 1, 2, 3, 0),                \
	PRT_SLOT(s2, 2, 3, 0, 1), PRT_SLOT(s3, 3, 0, 1, 2)

/* A virtio-mmio transport; @name is the slot's number in decimal, two digits. */
#define VIRTIO(name, slot)                                                 \
	Device (VR##name) {                                                \
		Name (_HID, "LNRO0005")                                    \
		Name (_UID, slot)                                          \
		Name (_CCA, 1)                                             \
		Method (_STA, 0, NotSerialized) { Return (VSTA (slot)) }   \
		Method (_CRS, 0, NotSerialized) { Return (VCRS (slot)) }   \
	}

DefinitionBlock ("", "DSDT", 2, "TRIVM ", "TRIVM   ", 1)
{
	/* SLP_TYPx; only the first counts without fixed hardware. */
	Name (\_S5, Package () { PM_SLP_TYP_S5, 0, 0, 0 })

	Scope (\_SB) {
		OperationRegion (PARM, SystemMemory, LAYOUT_ACPI_PARAMS, ACPI_PARAMS_SIZE)
		Field (PARM, DWordAcc, NoLock, Preserve) {
			Offset (ACPI_PARAMS_PCI64_BASE), P64B, 64,
			Offset (ACPI_PARAMS_PCI64_SIZE), P64S, 64,
			Offset (ACPI_PARAMS_SLOTS), SLTS, 32,
			Offset (ACPI_PARAMS_COM2), COM2, 8,
			Offset (ACPI_PARAMS_GSIS), GSIS, 256
		}

		/* Bits of _STA: present, enabled, shown, working. */
		Method (VSTA, 1, NotSerialized) {
			If ((SLTS >> Arg0) & 1) {
				Return (0x0F)
			}
			Return (0)
		}

		Name (VREG, ResourceTemplate () {
			Memory32Fixed (ReadWrite, LAYOUT_VIRTIO_MMIO, LAYOUT_VIRTIO_MMIO_STEP, REGS)
		})
		Name (VIRQ, ResourceTemplate () {
			Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive, , , IRQ) { 0 }
		})

		/* Serialized: the templates are shared; what is returned is a copy. */
		Method (VCRS, 1, Serialized) {
			CreateDWordField (VREG, ^REGS._BAS, BASE)
			CreateDWordField (VIRQ, ^IRQ._INT, GSI)
			BASE = LAYOUT_VIRTIO_MMIO + Arg0 * LAYOUT_VIRTIO_MMIO_STEP
			GSI = DerefOf (GSIS [Arg0])
			Return (ConcatenateResTemplate (VREG, VIRQ))
		}

		Device (PCI0) {
			Name (_HID, EisaId ("PNP0A08")) /* PCI Express host bridge */
			Name (_CID, EisaId ("PNP0A03"))
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (_UID, 0)

			Name (WIN, ResourceTemplate () {
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, LAYOUT_PCI_CONF1, LAYOUT_PCI_CONF1, 1, 8)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, LAYOUT_PCI_IO, LAYOUT_PCI_IO_LAST,
					0, LAYOUT_PCI_IO_SIZE)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite, 0, LAYOUT_PCI_MMIO32,
					LAYOUT_PCI_MMIO32_LAST,
					0, LAYOUT_PCI_MMIO32_SIZE)
			})

			/* These numbers only satisfy the compiler. */
			Name (WI64, ResourceTemplate () {
				QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					Cacheable, ReadWrite, 0, 0x100000000, 0x1FFFFFFFF,
					0, 0x100000000, , , W64)
			})

			Method (_CRS, 0, Serialized) {
				If (P64S == 0) {
					Return (WIN)
				}
				CreateQWordField (WI64, ^W64._MIN, WMIN)
				CreateQWordField (WI64, ^W64._MAX, WMAX)
				CreateQWordField (WI64, ^W64._LEN, WLEN)
				WMIN = P64B
				WMAX = P64B + P64S - 1
				WLEN = P64S
				Return (ConcatenateResTemplate (WIN, WI64))
			}

			/* Hard-wired GSIs: level-triggered, active low, as PCI has it. */
			Name (_PRT, Package () {
				PRT_FOUR_SLOTS (0000, 0001, 0002, 0003),
				PRT_FOUR_SLOTS (0004, 0005, 0006, 0007),
				PRT_FOUR_SLOTS (0008, 0009, 000A, 000B),
				PRT_FOUR_SLOTS (000C, 000D, 000E, 000F),
				PRT_FOUR_SLOTS (0010, 0011, 0012, 0013),
				PRT_FOUR_SLOTS (0014, 0015, 0016, 0017),
				PRT_FOUR_SLOTS (0018, 0019, 001A, 001B),
				PRT_FOUR_SLOTS (001C, 001D, 001E, 001F)
			})

			/*
			 * PCI Firmware Specification 3.2, 4.5: the guest may have control of
			 * everything that it asks for, as there is no firmware to keep it.
			 */
			Method (_OSC, 4, NotSerialized) {
				CreateDWordField (Arg3, 0, STAT)
				If (Arg0 != ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766")) {
					STAT |= 0x04 /* unknown UUID */
				} ElseIf (Arg1 != 1) {
					STAT |= 0x08 /* unknown revision */
				}
				Return (Arg3)
			}
		}

		/* What no driver owns but nobody else may use: ECAM, and the registers in the FADT. */
		Device (MBRD) {
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, LAYOUT_ECAM, LAYOUT_ECAM_SIZE)
				IO (Decode16, LAYOUT_ACPI_PM, LAYOUT_ACPI_PM, 1, LAYOUT_ACPI_PM_SIZE)
			})
		}

		Device (UAR1) {
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, LAYOUT_COM1, LAYOUT_COM1, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { LAYOUT_GSI_COM1 }
			})
		}

		Device (UAR2) {
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 2)
			Method (_STA, 0, NotSerialized) {
				If (COM2 == 0) {
					Return (0)
				}
				Return (0x0F)
			}
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, LAYOUT_COM2, LAYOUT_COM2, 1, 8)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { LAYOUT_GSI_COM2 }
			})
		}

		Device (RTC) {
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, LAYOUT_RTC, LAYOUT_RTC, 1, 2)
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { LAYOUT_GSI_RTC }
			})
		}

		/* pvpanic: a guest kernel that panics tells it here. */
		Device (PVPN) {
			Name (_HID, "QEMU0001")
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, LAYOUT_PVPANIC, LAYOUT_PVPANIC, 1, 1)
			})
		}

		Device (PWRB) {
			Name (_HID, EisaId ("PNP0C0C"))
			Name (_UID, 0)
		}

		/* Reading the status clears it. */
		Device (GED) {
			Name (_HID, "ACPI0013")
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate () {
				Interrupt (ResourceConsumer, Edge, ActiveHigh, Exclusive) { LAYOUT_GSI_GED }
			})
			OperationRegion (EVRG, SystemIO, LAYOUT_ACPI_PM + PM_EVENT_STATUS, 1)
			Field (EVRG, ByteAcc, NoLock, Preserve) { EVST, 8 }
			Method (_EVT, 1, Serialized) {
				Local0 = EVST
				If (Local0 & PM_EVENT_POWER) {
					Notify (PWRB, 0x80)
				}
			}
		}

		VIRTIO (00, 0) VIRTIO (01, 1) VIRTIO (02, 2) VIRTIO (03, 3)
		VIRTIO (04, 4) VIRTIO (05, 5) VIRTIO (06, 6) VIRTIO (07, 7)
		VIRTIO (08, 8) VIRTIO (09, 9) VIRTIO (10, 10) VIRTIO (11, 11)
		VIRTIO (12, 12) VIRTIO (13, 13) VIRTIO (14, 14) VIRTIO (15, 15)
		VIRTIO (16, 16) VIRTIO (17, 17) VIRTIO (18, 18) VIRTIO (19, 19)
		VIRTIO (20, 20) VIRTIO (21, 21) VIRTIO (22, 22) VIRTIO (23, 23)
		VIRTIO (24, 24) VIRTIO (25, 25) VIRTIO (26, 26) VIRTIO (27, 27)
		VIRTIO (28, 28) VIRTIO (29, 29) VIRTIO (30, 30) VIRTIO (31, 31)
	}
}
