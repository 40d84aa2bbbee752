/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * acpi_pm_regs: the registers of the ACPI block, each 8 bits wide at LAYOUT_ACPI_PM plus its
 * number. Only #defines: the ASL source of the DSDT is run through the C preprocessor with this
 * file.
 */
#ifndef TRIVM_DEVICES_LEGACY_ACPI_PM_REGS_H
#define TRIVM_DEVICES_LEGACY_ACPI_PM_REGS_H

/* Sleep control and status registers of hardware-reduced ACPI (ACPI 6.4, 4.8.3.7). */
#define ACPI_PM_SLEEP_CONTROL 0 /* read/write; SLP_EN reads 0 */
#define ACPI_PM_SLEEP_STATUS  1 /* WAK_STS: write 1 to clear */
#define ACPI_PM_SLP_TYP_SHIFT 2
#define ACPI_PM_SLP_TYP_MASK  0x1c
#define ACPI_PM_SLP_EN        0x20
#define ACPI_PM_WAK_STS       0x80
#define ACPI_PM_SLP_TYP_S5    5 /* the DSDT's \_S5 package; there is no other sleep state */

/* FADT RESET_REG; any value resets, this is the one that the FADT names as RESET_VALUE. */
#define ACPI_PM_RESET       2
#define ACPI_PM_RESET_VALUE 1

/* read/write: the status that `trivm run` exits with once the guest has powered off */
#define ACPI_PM_EXIT_STATUS 3

/* What the Generic Event Device's interrupt (edge-triggered) is about. Reading clears all. */
#define ACPI_PM_EVENT_STATUS       4
#define ACPI_PM_EVENT_POWER_BUTTON 0x01

#endif
