/* SPDX-License-Identifier: BSD-2-Clause */
/* What assembler and C both need to know. */
#ifndef BM_ASM_H
#define BM_ASM_H

/* GDT, see start.S. User selectors carry RPL 3. */
#define SEL_CODE64    0x08
#define SEL_DATA      0x10
#define SEL_CODE32    0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS       0x30

#define BOOT_PVH       1
#define BOOT_LINUX64   2
#define BOOT_MULTIBOOT 3

#define CR0_PE   0x1
#define CR0_PG   0x80000000
#define CR4_PAE  0x20
#define MSR_EFER 0xc0000080
#define EFER_LME 0x100

/* Where start-up code for the other processors is copied: free RAM below 1 MiB, and a SIPI's
 * vector. */
#define AP_TRAMPOLINE 0x10000

/* First address of page_alloc() and of the stacks of the other processors. */
#define HEAP_START    0x01000000
#define AP_STACKS     0x00800000
#define AP_STACK_SIZE 0x1000
#define AP_MAX        1024

#endif
