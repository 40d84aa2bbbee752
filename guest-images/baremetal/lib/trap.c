/* SPDX-License-Identifier: BSD-2-Clause */
/* The IDT: gates are made when someone wants the vector, for building 256 takes a millisecond here.
 */
#include "bm.h"

struct gate {
	uint16_t offset0, selector;
	uint8_t ist, type;
	uint16_t offset1;
	uint32_t offset2, reserved;
} __attribute__((packed));

static struct gate idt[256];
static trap_fn *handlers[256];

static const struct {
	uint16_t limit;
	struct gate *base;
} __attribute__((packed)) idt_ptr = {sizeof(idt) - 1, idt};

extern const char trap_stubs[];
void trap_dispatch(struct trap *t);

#define GATE_INTERRUPT 0x8e
#define EXCEPTIONS     32

static void gate_set(unsigned vector)
{
	uint64_t addr = (uint64_t)trap_stubs + vector * 16;

	idt[vector] = (struct gate){
		.offset0 = (uint16_t)addr,
		.selector = SEL_CODE64,
		.type = GATE_INTERRUPT,
		.offset1 = (uint16_t)(addr >> 16),
		.offset2 = (uint32_t)(addr >> 32),
	};
}

void trap_load(void)
{
	__asm__ volatile("lidt %0" : : "m"(idt_ptr));
}

void trap_init(void)
{
	for (unsigned v = 0; v < EXCEPTIONS; v++)
		gate_set(v);
	trap_load();
}

void trap_set(unsigned vector, trap_fn *fn)
{
	gate_set(vector);
	handlers[vector] = fn;
}

volatile unsigned trap_faults;
static volatile uint64_t fixup; /* where to go on after a fault; 0: faults are fatal */

void trap_dispatch(struct trap *t)
{
	if (t->vector < EXCEPTIONS && fixup) {
		trap_faults++;
		t->rip = fixup;
		fixup = 0;
		return;
	}
	if (handlers[t->vector]) {
		handlers[t->vector](t);
		return;
	}
	print("\nFAIL unexpected trap %lu, error %lx, rip %lx cs %lx rflags %lx rsp %lx\n",
	      t->vector, t->error, t->rip, t->cs, t->rflags, t->rsp);
	print("rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx\n", t->rax, t->rbx, t->rcx, t->rdx,
	      t->rsi, t->rdi);
	guest_exit(1);
}

bool rdmsr_safe(uint32_t msr, uint64_t *v)
{
	unsigned before = trap_faults;
	uint32_t lo = 0, hi = 0;

	__asm__ volatile("movq $1f, %3\n\trdmsr\n1:"
	                 : "+a"(lo), "+d"(hi)
	                 : "c"(msr), "m"(fixup)
	                 : "memory");
	fixup = 0;
	*v = lo | (uint64_t)hi << 32;
	return trap_faults == before;
}

bool wrmsr_safe(uint32_t msr, uint64_t v)
{
	unsigned before = trap_faults;

	__asm__ volatile("movq $1f, %3\n\twrmsr\n1:"
	                 :
	                 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)), "m"(fixup)
	                 : "memory");
	fixup = 0;
	return trap_faults == before;
}
