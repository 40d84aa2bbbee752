/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between CPL0 and CPL3. Down by iretq; back up by an exception, since neither SYSCALL nor INT n raises
 * the privilege on a KVM that emulates CPL0 (exceptions do): user_end is a ud2.
 */
#include "bm_asm.h"

	.section .text.user, "ax"
	.code64
/* uint64_t user_enter(fn, arg, user_stack) */
	.globl	user_enter
user_enter:
	pushq	%rbx
	pushq	%rbp
	pushq	%r12
	pushq	%r13
	pushq	%r14
	pushq	%r15
	movq	%rsp, user_saved_rsp
	pushq	$SEL_USER_DATA
	pushq	%rdx
	pushq	$0x2			/* rflags: IF 0, IOPL 0: the I/O bitmap decides */
	pushq	$SEL_USER_CODE
	pushq	$user_start
	movl	$SEL_USER_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	iretq

user_start:
	movq	%rdi, %rax
	movq	%rsi, %rdi
	call	*%rax
	.globl	user_end
user_end:
	ud2

/* void user_leave(result): from the exception's handler, makes user_enter return */
	.globl	user_leave
user_leave:
	movq	user_saved_rsp, %rsp
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movq	%rdi, %rax
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbp
	popq	%rbx
	ret

	.section .bss
	.balign	8
user_saved_rsp:
	.quad	0

	.section .note.GNU-stack, "", @progbits
