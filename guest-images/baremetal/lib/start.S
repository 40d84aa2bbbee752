/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first instructions of a bare-metal guest, up to bm_start() in C.
 *
 * One image, several ways in:
 *   PVH          32-bit, paging off, ebx = start_info; found through the ELF note below
 *   Multiboot    the same, ebx = its information structure; only with -DMULTIBOOT=FLAGS
 *   Linux, ELF   64-bit, rsi = boot_params, at the ELF header's entry
 *   Linux, bz    the same at image + 0x200 (Documentation/arch/x86/boot.rst); image + 0 is the 32-bit
 *                entry, which we do not serve
 * Each ends in long mode on our own GDT, page tables and stack. Page tables are data and not code
 * because a KVM without hardware virtualization emulates each of our instructions (about 0.3 us): filling
 * 2048 entries would take longer than most tests.
 */
#include "bm_asm.h"

	.section .head, "ax"
	.code32
	.globl	image_start
image_start:
	hlt
	jmp	image_start
	.org	0x200
	.code64
	.globl	entry64
entry64:
	jmp	linux64_start

#ifdef MULTIBOOT
/*
 * Multiboot Specification 0.6.96, 3.1: in the first 8 KiB of the file. Flags: page-aligned modules, memory
 * information, and, for the flat binary, bit 16: the addresses.
 */
#define MB_MAGIC 0x1badb002
	.section .head, "ax"
	.balign	4
multiboot_header:
	.long	MB_MAGIC, MULTIBOOT, -(MB_MAGIC + MULTIBOOT)
	.long	multiboot_header, image_start, image_data_end, image_end, multiboot_start

	.section .text.start, "ax"
	.code32
	.globl	multiboot_start
multiboot_start:
	cmpl	$0x2badb002, %eax
	jne	0f
	movl	$BOOT_MULTIBOOT, %edi
	jmp	start32
0:	hlt
	jmp	0b
#endif

#ifndef NO_PVH_NOTE
/* Xen's ELF note 18, XEN_ELFNOTE_PHYS32_ENTRY: the address of the 32-bit entry. */
	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 8, 18
	.asciz	"Xen"
	.quad	pvh_start
#endif

	.section .text.start, "ax"
	.code32
	.globl	pvh_start
pvh_start:
	movl	$BOOT_PVH, %edi
start32:
	movl	%esp, %esi		/* the loader's stack, if it has given one */
	cli
	cld
	movl	$boot_stack_end, %esp
	movl	%ebx, %ebp
	lgdt	gdt_ptr
	movl	$CR4_PAE, %eax
	movl	%eax, %cr4
	movl	$pml4, %eax
	movl	%eax, %cr3
	movl	$MSR_EFER, %ecx
	rdmsr
	orl	$EFER_LME, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$(CR0_PG | CR0_PE), %eax
	movl	%eax, %cr0
	ljmp	$SEL_CODE64, $1f
	.code64
1:	movl	%ebp, %ebp		/* clears the upper half */
	movl	%edi, %ebx
	movl	%esi, %r8d
	jmp	common_start

linux64_start:
	cli
	cld
	movq	%rsi, %rbp
	movl	%cs, %r12d		/* what the boot protocol promises: hello checks it */
	movl	%ds, %r13d
	movl	$boot_stack_end, %esp
	lgdt	gdt_ptr
	movl	$pml4, %eax
	movq	%rax, %cr3
	pushq	$SEL_CODE64
	pushq	$1f
	lretq
1:	movl	$BOOT_LINUX64, %ebx
	xorl	%r8d, %r8d

common_start:
	movl	$SEL_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	$__bss_start, %edi	/* a bzImage's loader leaves bss to us */
	movl	$__bss_end, %ecx
	subl	%edi, %ecx
	shrl	$3, %ecx
	rep stosq
	movl	%ebx, %edi
	movq	%rbp, %rsi
	movl	%r12d, %edx
	movl	%r13d, %ecx
	xorl	%ebp, %ebp
	call	bm_start
0:	hlt
	jmp	0b

	.section .data.tables, "aw"
	.balign	8
	.globl	gdt, gdt_ptr
gdt:
	.quad	0
	.quad	0x00af9b000000ffff	/* SEL_CODE64 */
	.quad	0x00cf93000000ffff	/* SEL_DATA */
	.quad	0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad	0x00cff3000000ffff	/* SEL_USER_DATA */
	.quad	0x00affb000000ffff	/* SEL_USER_CODE */
	.quad	0, 0			/* SEL_TSS, filled by user_init() */
gdt_end:
gdt_ptr:
	.word	gdt_end - gdt - 1
	.quad	gdt

/* The first 4 GiB one to one in 2 MiB pages, open to CPL3; map_page() adds what lies above. */
#define PTE_P_RW_US	0x7
#define PTE_PS		0x80
	.balign	4096
	.globl	pml4, pdpt
pml4:	.quad	pdpt + PTE_P_RW_US
	.fill	511, 8, 0
pdpt:	.quad	pd + PTE_P_RW_US
	.quad	pd + 0x1000 + PTE_P_RW_US
	.quad	pd + 0x2000 + PTE_P_RW_US
	.quad	pd + 0x3000 + PTE_P_RW_US
	.fill	508, 8, 0
pd:	.set	addr, 0
	.rept	2048
	.quad	addr + PTE_P_RW_US + PTE_PS
	.set	addr, addr + 0x200000
	.endr

	.section .bss.noinit, "aw", @nobits
	.balign	16
	.fill	16384
	.globl	boot_stack_end
boot_stack_end:

	.section .note.GNU-stack, "", @progbits
