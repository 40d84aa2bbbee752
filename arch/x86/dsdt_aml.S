/* SPDX-License-Identifier: BSD-2-Clause */
/* The compiled DSDT as bytes: see acpi.mk, which says where it is. */
	.section .rodata
	.globl	dsdt_aml
	.globl	dsdt_aml_size
	.type	dsdt_aml, @object
	.type	dsdt_aml_size, @object
	.balign	8
dsdt_aml:
	.incbin	DSDT_AML
0:
	.size	dsdt_aml, 0b - dsdt_aml
	.balign	4
dsdt_aml_size:
	.long	0b - dsdt_aml
	.size	dsdt_aml_size, 4
	.section .note.GNU-stack, "", @progbits
