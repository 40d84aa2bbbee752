/* SPDX-License-Identifier: BSD-2-Clause */
/* An ELF64 file that nothing says how to start, and that is no Linux: it dies at its first instruction. */
	.text
	.globl	start
start:
	ud2
	.section .note.GNU-stack, "", @progbits
