/* SPDX-License-Identifier: BSD-2-Clause */
/* From the loader's hand-over (start_info or boot_params) to guest_main(); memory beyond the image.
 */
#include "bm.h"

struct boot_info boot;

void bm_start(unsigned protocol, uint64_t param, unsigned cs, unsigned ds, uint64_t sp);

/* xen/include/public/arch-x86/hvm/start_info.h, version 1 */
struct start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};
struct start_info_module {
	uint64_t addr, size, cmdline, reserved;
};
struct start_info_range {
	uint64_t addr, size;
	uint32_t type, reserved;
};
#define START_INFO_MAGIC 0x336ec578

static void from_start_info(void)
{
	const struct start_info *si = (void *)boot.param;
	const struct start_info_range *map = (void *)si->memmap;
	const struct start_info_module *mod = (void *)si->modlist;

	if (!check(si->magic == START_INFO_MAGIC && si->version >= 1, "start_info at %lx: %x v%u",
	           boot.param, si->magic, si->version))
		guest_exit(1);
	boot.cmdline = si->cmdline ? (const char *)si->cmdline : "";
	boot.rsdp = si->rsdp;
	if (si->nr_modules) {
		boot.initrd = mod->addr;
		boot.initrd_size = mod->size;
	}
	for (unsigned i = 0; i < si->memmap_entries && i < BOOT_RANGES_MAX; i++)
		boot.ranges[boot.nr_ranges++] =
			(struct boot_range){map[i].addr, map[i].size, map[i].type};
}

/* Multiboot Specification 0.6.96, 3.3; offsets in the information structure. */
#define MBI_FLAGS      0
#define MBI_MEM_LOWER  4
#define MBI_MEM_UPPER  8
#define MBI_CMDLINE    16
#define MBI_MODS_COUNT 20
#define MBI_MODS_ADDR  24
#define MBI_MMAP_LEN   44
#define MBI_MMAP_ADDR  48
#define MBI_LOADER     64
#define MBI_WANTED     (1u << 0 | 1u << 2 | 1u << 3 | 1u << 6 | 1u << 9)

static void from_multiboot(void)
{
	uint64_t mbi = boot.param, at = read32(mbi + MBI_MMAP_ADDR);
	uint64_t end = at + read32(mbi + MBI_MMAP_LEN);

	check((read32(mbi + MBI_FLAGS) & MBI_WANTED) == MBI_WANTED, "Multiboot flags %x",
	      read32(mbi + MBI_FLAGS));
	check(!strcmp((const char *)(uint64_t)read32(mbi + MBI_LOADER), "trivm"), "loader's name");
	check(read32(mbi + MBI_MEM_LOWER) == 639, "mem_lower %u", read32(mbi + MBI_MEM_LOWER));
	boot.cmdline = (const char *)(uint64_t)read32(mbi + MBI_CMDLINE);
	if (read32(mbi + MBI_MODS_COUNT)) {
		uint64_t mod = read32(mbi + MBI_MODS_ADDR);

		boot.initrd = read32(mod);
		boot.initrd_size = read32(mod + 4) - boot.initrd;
		check(!(boot.initrd & 4095), "the module is not at a page: %lx", boot.initrd);
	}
	for (; at < end && boot.nr_ranges < BOOT_RANGES_MAX; at += read32(at) + 4)
		boot.ranges[boot.nr_ranges++] =
			(struct boot_range){read64(at + 4), read64(at + 12), read32(at + 20)};
}

/* Documentation/arch/x86/zero-page.rst and boot.rst; offsets in boot_params. */
#define BP_ACPI_RSDP  0x070
#define BP_EXT_IMAGE  0x0c0
#define BP_EXT_SIZE   0x0c4
#define BP_EXT_CMD    0x0c8
#define BP_E820_NR    0x1e8
#define BP_RAMDISK    0x218
#define BP_RAMDISK_SZ 0x21c
#define BP_CMDLINE    0x228
#define BP_E820       0x2d0
#define E820_SIZE     20

static uint64_t bp_split(unsigned low, unsigned high)
{
	return read32(boot.param + low) | (uint64_t)read32(boot.param + high) << 32;
}

static void from_boot_params(void)
{
	uint64_t cmdline = bp_split(BP_CMDLINE, BP_EXT_CMD);

	boot.cmdline = cmdline ? (const char *)cmdline : "";
	boot.rsdp = read64(boot.param + BP_ACPI_RSDP);
	boot.initrd = bp_split(BP_RAMDISK, BP_EXT_IMAGE);
	boot.initrd_size = bp_split(BP_RAMDISK_SZ, BP_EXT_SIZE);
	for (unsigned i = 0; i < read8(boot.param + BP_E820_NR) && i < BOOT_RANGES_MAX; i++) {
		uint64_t e = boot.param + BP_E820 + i * E820_SIZE;

		boot.ranges[boot.nr_ranges++] =
			(struct boot_range){read64(e), read64(e + 8), read32(e + 16)};
	}
}

void bm_start(unsigned protocol, uint64_t param, unsigned cs, unsigned ds, uint64_t sp)
{
	trap_init();
	boot.protocol = protocol;
	boot.param = param;
	boot.entry_cs = (uint16_t)cs;
	boot.entry_ds = (uint16_t)ds;
	boot.entry_sp = sp;
	if (protocol == BOOT_PVH)
		from_start_info();
	else if (protocol == BOOT_MULTIBOOT)
		from_multiboot();
	else
		from_boot_params();
	guest_exit(guest_main());
}

/* ---- command line ---- */

static const char *arg_find(const char *name)
{
	size_t n = strlen(name);
	const char *p = boot.cmdline;

	while (*p) {
		while (*p == ' ')
			p++;
		if (!strncmp(p, name, n) && p[n] == '=')
			return p + n + 1;
		while (*p && *p != ' ')
			p++;
	}
	return NULL;
}

bool arg_str(const char *name, char *buf, size_t size)
{
	const char *p = arg_find(name);
	size_t n = 0;

	while (p && p[n] && p[n] != ' ' && n < size - 1) {
		buf[n] = p[n];
		n++;
	}
	buf[n] = '\0';
	return p;
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return 99;
}

uint64_t arg_num(const char *name, uint64_t if_absent)
{
	const char *p = arg_find(name);
	uint64_t v = 0;
	int base = 10;

	if (!p)
		return if_absent;
	if (p[0] == '0' && p[1] == 'x') {
		base = 16;
		p += 2;
	}
	for (; digit(*p) < base; p++)
		v = v * (uint64_t)base + (uint64_t)digit(*p);
	return v;
}

/* ---- memory ---- */

void *page_alloc(void)
{
	static uint64_t next = HEAP_START;
	uint64_t page = next, n = 512;
	uint64_t d = page;

	next += 4096;
	__asm__ volatile("rep stosq" : "+D"(d), "+c"(n) : "a"(0ul) : "memory");
	return (void *)page;
}

extern uint64_t pdpt[];

#define PTE_P_RW_US 0x7ul
#define PTE_PS      0x80ul
#define PTE_ADDR    0x000ffffffffff000ul

void map_page(uint64_t addr)
{
	uint64_t *pd, *e = &pdpt[addr >> 30 & 511];

	if (!*e)
		*e = (uint64_t)page_alloc() | PTE_P_RW_US;
	pd = (uint64_t *)(*e & PTE_ADDR);
	pd[addr >> 21 & 511] = (addr & ~0x1ffffful) | PTE_P_RW_US | PTE_PS;
	__asm__ volatile("invlpg (%0)" : : "r"(addr) : "memory");
}
