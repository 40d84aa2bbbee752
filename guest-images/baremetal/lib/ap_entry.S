/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a processor goes that got INIT and SIPI: real mode at AP_TRAMPOLINE (smp_start() copied it there),
 * then straight to long mode on the boot processor's tables, with a stack of its own.
 */
#include "bm_asm.h"

	.section .text.ap, "ax"
	.code16
	.globl	ap_trampoline, ap_trampoline_end
ap_trampoline:
	cli
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	ap_gdt_ptr - ap_trampoline
	movl	$CR0_PE, %eax
	movl	%eax, %cr0
	ljmpl	$SEL_CODE32, $ap_start32
	.balign	4
ap_gdt_ptr:
	.word	8 * 4 - 1
	.long	gdt
ap_trampoline_end:

	.code32
ap_start32:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$CR0_PG, %eax
	movl	%eax, %cr0
	ljmp	$SEL_CODE64, $1f
	.code64
1:	lgdt	gdt_ptr
	movl	$1, %edi
	lock xaddl %edi, ap_next_index
	cmpl	$AP_MAX, %edi
	jae	2f
	movl	%edi, %eax
	incl	%eax
	imull	$AP_STACK_SIZE, %eax, %eax
	leaq	AP_STACKS(%rax), %rsp
	xorl	%ebp, %ebp
	call	ap_main
2:	cli
	hlt
	jmp	2b

	.section .note.GNU-stack, "", @progbits
