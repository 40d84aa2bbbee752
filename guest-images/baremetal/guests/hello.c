/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Says what the loader handed over, checks it, and exits with the status that "status=" asks for.
 * "initrd=CHARACTER" says that an initrd is to be there that consists of this character.
 */
#include "bm.h"

static const char *type_name(uint32_t type)
{
	return type == 1 ? "ram" : type == 2 ? "reserved" : type == 3 ? "acpi" : "other";
}

static void check_boot_params(void)
{
	uint64_t bp = boot.param;

	check(read16(bp + 0x1fe) == 0xaa55, "boot_flag %x", read16(bp + 0x1fe));
	check(read32(bp + 0x202) == 0x53726448, "header %x", read32(bp + 0x202));
	check(read8(bp + 0x210) != 0, "type_of_loader is 0");
	check(boot.entry_cs == 0x10, "cs %x, the boot protocol says __BOOT_CS", boot.entry_cs);
	check(boot.entry_ds == 0x18, "ds %x, the boot protocol says __BOOT_DS", boot.entry_ds);
}

/* No protocol promises it; some kernels cannot do without. */
static void check_stack(void)
{
	print("stack %lx\n", boot.entry_sp);
	check(boot.entry_sp > 0x4000 && boot.entry_sp < boot.param + 1 && boot.entry_sp % 16 == 0,
	      "no room for a stack at %lx", boot.entry_sp);
}

static void check_map(void)
{
	uint64_t ram = 0, last_end = 0;

	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		print("map %012lx + %012lx %s\n", r->addr, r->size, type_name(r->type));
		check(r->size && r->addr >= last_end, "range %u is empty, unsorted or overlaps", i);
		last_end = r->addr + r->size;
		if (r->type == 1)
			ram += r->size;
	}
	print("ram %lu KiB\n", ram >> 10);
	check(ram >= 1 << 20, "no RAM in the map");
}

/* One string instruction, which is cheap even where instructions are emulated. */
static bool all_are(uint64_t addr, uint64_t n, char c)
{
	bool same;

	__asm__ volatile("repe scasb\n\tsete %2"
	                 : "+D"(addr), "+c"(n), "=qm"(same)
	                 : "a"(c)
	                 : "memory", "cc");
	return same;
}

static void check_initrd(void)
{
	char want[2];
	bool in_ram = false;

	if (!arg_str("initrd", want, sizeof(want))) {
		check(!boot.initrd_size, "an initrd of %lu bytes that no one asked for",
		      boot.initrd_size);
		return;
	}
	print("initrd %lx + %lu\n", boot.initrd, boot.initrd_size);
	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		in_ram |= r->type == 1 && boot.initrd >= r->addr &&
		          boot.initrd - r->addr + boot.initrd_size <= r->size;
	}
	check(in_ram && boot.initrd_size, "the initrd is not in RAM");
	if (in_ram)
		check(all_are(boot.initrd, boot.initrd_size, want[0]),
		      "the initrd's bytes are wrong");
}

/* A long one only by its length: each character printed is an exit. */
static void print_cmdline(void)
{
	size_t n = strlen(boot.cmdline);

	if (n < 200)
		print("cmdline: %s\n", boot.cmdline);
	else
		print("cmdline of %lu bytes\n", n);
}

int guest_main(void)
{
	uint64_t status = arg_num("status", 0);

	print("hello from %s\n", boot.protocol == BOOT_PVH         ? "pvh"
	                         : boot.protocol == BOOT_MULTIBOOT ? "multiboot"
	                                                           : "linux64");
	print_cmdline();
	print("rsdp %lx\n", boot.rsdp);
	if (boot.protocol == BOOT_LINUX64)
		check_boot_params();
	else
		check_stack();
	check_map();
	check_initrd();
	return check_status() ? 1 : (int)status;
}
