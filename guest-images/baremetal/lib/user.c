/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest code at CPL3. Where KVM emulates CPL0, CPL3 still runs natively: a polled driver written as
 * a function for user_run() works at full speed. All memory is open to CPL3 (start.S) and all I/O
 * ports are (the TSS's I/O permission bitmap), so only privileged instructions have to stay
 * outside.
 */
#include "bm.h"

#define IOPB_BYTES 8192

static struct {
	uint32_t reserved0;
	uint64_t rsp[3], reserved1, ist[7], reserved2;
	uint16_t reserved3, iopb_offset;
	uint8_t iopb[IOPB_BYTES];
	uint8_t iopb_end; /* all ones: SDM volume 1, 18.5.2 */
} __attribute__((packed)) tss;

#define TSS_AVAILABLE 0x89ul
#define VECTOR_UD     6

extern uint64_t gdt[];
extern const char user_end[];

uint64_t user_enter(uint64_t (*fn)(uint64_t), uint64_t arg, uint64_t stack);
__attribute__((noreturn)) void user_leave(uint64_t result);

static uint8_t user_stack[16384] __attribute__((aligned(16), section(".bss.noinit")));
static uint8_t trap_stack[8192] __attribute__((aligned(16), section(".bss.noinit")));

static void invalid_opcode(struct trap *t)
{
	if ((t->cs & 3) == 3 && t->rip == (uint64_t)user_end)
		user_leave(t->rax);
	print("\nFAIL invalid opcode at rip %lx cs %lx\n", t->rip, t->cs);
	guest_exit(1);
}

void user_init(void)
{
	uint64_t base = (uint64_t)&tss, limit = sizeof(tss) - 1;

	tss.rsp[0] = (uint64_t)(trap_stack + sizeof(trap_stack));
	tss.iopb_offset = offsetof(typeof(tss), iopb);
	tss.iopb_end = 0xff;
	gdt[SEL_TSS / 8] = (limit & 0xffff) | (base & 0xffffff) << 16 | TSS_AVAILABLE << 40 |
	                   (limit >> 16) << 48 | (base >> 24 & 0xff) << 56;
	gdt[SEL_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("ltr %w0" : : "r"(SEL_TSS) : "memory");
	trap_set(VECTOR_UD, invalid_opcode);
}

uint64_t user_run(uint64_t (*fn)(uint64_t), uint64_t arg)
{
	if (!tss.iopb_end)
		user_init();
	return user_enter(fn, arg, (uint64_t)(user_stack + sizeof(user_stack)));
}
