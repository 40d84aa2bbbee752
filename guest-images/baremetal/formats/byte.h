/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bench guests' instructions. Only 8-bit operands, so that the same bytes run in real mode (firmware
 * of QEMU, the bare KVM program) and in protected mode (PVH); 14 bytes, so that they fit between the reset
 * vector and the end of the ROM.
 */
.macro write_byte
	movb	$0xf8, %dl
	movb	$0x03, %dh
	movb	$0x41, %al
	outb	%al, %dx
.endm

.macro wrap_start
#ifdef FLAT
	.code16
	.text
	.org	0xfff0
#else
	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	start
	.section .note.GNU-stack, "", @progbits
	.text
	.code32
#endif
	.globl	start
start:
.endm

.macro wrap_end
#ifdef FLAT
	.org	0x10000
#endif
.endm
