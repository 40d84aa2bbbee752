/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bm: the runtime of the bare-metal test guests. Long mode, memory one to one, one stack,
 * interrupts off until a guest turns them on. A guest is a file with `int guest_main(void)`; what
 * it returns becomes the VM's exit status.
 *
 * Written for a KVM that emulates each instruction of CPL0 in software: no SSE, no
 * fences (mfence and lfence are not emulated; barrier() is a locked instruction), short loops.
 */
#ifndef BM_H
#define BM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/layout.h"
#include "bm_asm.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- instructions ---- */

static inline void outb(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outw(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline void outl(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port) : "memory");
}
static inline uint8_t inb(uint16_t port)
{
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline uint16_t inw(uint16_t port)
{
	uint16_t v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline uint32_t inl(uint16_t port)
{
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}
static inline void outsb(uint16_t port, const void *buf, size_t n)
{
	__asm__ volatile("rep outsb" : "+S"(buf), "+c"(n) : "d"(port) : "memory");
}
static inline void insb(uint16_t port, void *buf, size_t n)
{
	__asm__ volatile("rep insb" : "+D"(buf), "+c"(n) : "d"(port) : "memory");
}
static inline void outsw(uint16_t port, const void *buf, size_t n)
{
	__asm__ volatile("rep outsw" : "+S"(buf), "+c"(n) : "d"(port) : "memory");
}
static inline void insw(uint16_t port, void *buf, size_t n)
{
	__asm__ volatile("rep insw" : "+D"(buf), "+c"(n) : "d"(port) : "memory");
}
static inline void outsl(uint16_t port, const void *buf, size_t n)
{
	__asm__ volatile("rep outsl" : "+S"(buf), "+c"(n) : "d"(port) : "memory");
}
static inline void insl(uint16_t port, void *buf, size_t n)
{
	__asm__ volatile("rep insl" : "+D"(buf), "+c"(n) : "d"(port) : "memory");
}

/* Memory-mapped registers: one access of exactly this size. */
static inline uint8_t read8(uint64_t addr)
{
	return *(volatile uint8_t *)addr;
}
static inline uint16_t read16(uint64_t addr)
{
	return *(volatile uint16_t *)addr;
}
static inline uint32_t read32(uint64_t addr)
{
	return *(volatile uint32_t *)addr;
}
static inline uint64_t read64(uint64_t addr)
{
	return *(volatile uint64_t *)addr;
}
static inline void write8(uint64_t addr, uint8_t v)
{
	*(volatile uint8_t *)addr = v;
}
static inline void write16(uint64_t addr, uint16_t v)
{
	*(volatile uint16_t *)addr = v;
}
static inline void write32(uint64_t addr, uint32_t v)
{
	*(volatile uint32_t *)addr = v;
}
static inline void write64(uint64_t addr, uint64_t v)
{
	*(volatile uint64_t *)addr = v;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
	return lo | (uint64_t)hi << 32;
}
static inline void wrmsr(uint32_t msr, uint64_t v)
{
	__asm__ volatile("wrmsr"
	                 :
	                 : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32))
	                 : "memory");
}
static inline uint64_t rdtsc(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return lo | (uint64_t)hi << 32;
}

struct cpuid {
	uint32_t a, b, c, d;
};
static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid r;
	__asm__ volatile("cpuid"
	                 : "=a"(r.a), "=b"(r.b), "=c"(r.c), "=d"(r.d)
	                 : "a"(leaf), "c"(subleaf));
	return r;
}

static inline void irq_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}
static inline void irq_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}
/* Wait for an interrupt without the race between looking and sleeping; interrupts are off again
 * after. */
static inline void irq_wait(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}
static inline void cpu_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}
static inline void barrier(void)
{
	__asm__ volatile("lock; addl $0, -8(%%rsp)" : : : "memory", "cc");
}

/* ---- string.c, what a compiler may call ---- */

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int c, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/* ---- console.c: COM1, polled ---- */

/* %s %c %d %u %x %lu %ld %lx %%, with an optional 0 and width. The text is sent when a line ends.
 */
void print(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void print_flush(void);

/*
 * Count a check, print one that fails, go on. Use: check(x == 3, "x is %u", x). A guest that
 * returns check_status() ends with 0 if all of at least one held, else with 1.
 */
#define check(ok, ...) check_at((ok), __FILE__, __LINE__, #ok, __VA_ARGS__)
bool check_at(bool ok, const char *file, int line, const char *what, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));
int check_status(void);

/* ---- boot.c: what the loader handed over ---- */

struct boot_range {
	uint64_t addr, size;
	uint32_t type; /* e820: 1 is RAM */
};
#define BOOT_RANGES_MAX 64

struct boot_info {
	unsigned protocol;           /* BOOT_PVH, BOOT_LINUX64 or BOOT_MULTIBOOT */
	uint64_t param;              /* start_info, boot_params or the Multiboot information */
	uint16_t entry_cs, entry_ds; /* BOOT_LINUX64 */
	uint64_t entry_sp;           /* BOOT_PVH and BOOT_MULTIBOOT: as the loader left it */
	const char *cmdline;
	uint64_t rsdp;
	uint64_t initrd, initrd_size;
	unsigned nr_ranges;
	struct boot_range ranges[BOOT_RANGES_MAX];
};
extern struct boot_info boot;

/* "name=value" on the command line. arg_str() gives false and "" where there is none; numbers: 0x,
 * decimal. */
bool arg_str(const char *name, char *buf, size_t size);
uint64_t arg_num(const char *name, uint64_t if_absent);

int guest_main(void);

/* Zeroed 4 KiB pages, never freed. */
void *page_alloc(void);
/* Make the 2 MiB around @addr, anywhere below 512 GiB, reachable one to one. */
void map_page(uint64_t addr);

/* ---- exit.c ---- */

__attribute__((noreturn)) void guest_exit(int status); /* status byte, then S5 */
__attribute__((noreturn)) void guest_halt(void);       /* for ever, interrupts off */
void power_off(void);                                  /* only S5 */

/* Wait at least @us microseconds, assuming that no TSC runs faster than 5 GHz. */
void delay_us(uint32_t us);
/*
 * Interrupts on, until *@count is no longer @was (true) or @us have passed (false); then off. There
 * is no shorter window on purpose: KVM that emulates CPL0 does not look for interrupts at each
 * instruction, so that `sti; nop; cli` takes one only now and then.
 */
bool irq_wait_change(const volatile unsigned *count, unsigned was, uint32_t us);
/* For loops that must end: true once @us have surely passed since *start (0 at first). */
bool timed_out(uint64_t *start, uint32_t us);

/* ---- trap.c: exceptions and interrupts ---- */

struct trap {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};
typedef void trap_fn(struct trap *t);

/* Vectors 32 and up for interrupts: the handler does its EOI itself (apic_eoi()). */
void trap_set(unsigned vector, trap_fn *fn);
void trap_init(void);
void trap_load(void); /* on each further processor */

/* Instructions that may fault: true if they did not. */
bool rdmsr_safe(uint32_t msr, uint64_t *v);
bool wrmsr_safe(uint32_t msr, uint64_t v);
extern volatile unsigned trap_faults; /* exceptions taken by the _safe functions */

/* ---- apic.c ---- */

void apic_init(void); /* on each processor: x2APIC if there is one; masks the 8259s */
uint32_t apic_id(void);
void apic_eoi(void);
bool apic_in_service(unsigned vector);
void apic_send_ipi(uint32_t dest, uint32_t icr_low);
bool apic_is_x2(void);

#define ICR_INIT  0x4500u
#define ICR_SIPI  0x4600u
#define ICR_FIXED 0x4000u

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
unsigned ioapic_pins(void);
#define IOAPIC_LEVEL     0x8000u
#define IOAPIC_ACTIVELOW 0x2000u
#define IOAPIC_MASKED    0x10000u
#define IOAPIC_REMOTEIRR 0x4000u
/* Route @pin as @vector to this processor. */
void ioapic_route(unsigned pin, unsigned vector, uint32_t flags);
void ioapic_mask(unsigned pin);

/* ---- acpi.c ---- */

struct acpi_header {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} __attribute__((packed));

const struct acpi_header *acpi_find(const char *signature);
/* Calls @fn with each table of the XSDT. */
void acpi_each(void (*fn)(const struct acpi_header *h));
bool acpi_checksum_ok(const void *p, size_t n);
/* The MADT's enabled processors: fills ids, returns how many there are (may be more than @max). */
unsigned acpi_cpus(uint32_t *ids, unsigned max);
uint64_t acpi_ecam(void); /* 0: no MCFG */

/* ---- smp.c ---- */

/*
 * Start every other processor of the MADT; each runs @fn(index from 1) on its own 4 KiB stack, then
 * halts. Returns how many arrived within the time (about 20 s at the most).
 */
unsigned smp_start(void (*fn)(unsigned index));
extern volatile uint32_t ap_done; /* how many have returned from fn */

/* ---- pci.c: bus 0 ---- */

#define PCI_DEVFN(dev, fn) ((uint8_t)((dev) << 3 | (fn)))
/* By ports 0xcf8 and 0xcfc; @size 1, 2, 4. */
uint32_t pci_read(uint8_t devfn, unsigned reg, unsigned size);
void pci_write(uint8_t devfn, unsigned reg, unsigned size, uint32_t v);
/* The first function with this id; -1: none. */
int pci_find(uint16_t vendor, uint16_t device);
/* Offset of a capability; 0: none. */
unsigned pci_cap(uint8_t devfn, uint8_t id);
struct pci_bar {
	bool present, io, is64, prefetch;
	uint64_t base, size;
};
/* Size BAR @index with decode off, put back what was there. */
struct pci_bar pci_bar_probe(uint8_t devfn, unsigned index);
void pci_bar_set(uint8_t devfn, unsigned index, uint64_t base);

/* ---- user.c: code at CPL3, which runs at full speed where CPL0 is emulated ---- */

/*
 * Run fn(arg) at CPL3 with every I/O port open; returns its result. Faults inside end the guest
 * with their registers. fn must not call anything that needs CPL0 (print() is fine: it only does
 * port I/O).
 */
uint64_t user_run(uint64_t (*fn)(uint64_t), uint64_t arg);
void user_init(void);

#endif
