/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * All of RAM is there, once; nothing is where none is. Touches one word each 64 MiB, so that 5 GiB
 * cost little. "ram=MIB": how much there should be.
 */
#include "bm.h"

#define STEP        0x4000000ul
#define IMAGE_START 0x100000ul
#define MARK(addr)  ((addr) ^ 0x5aa55aa500c0ffeeul)

extern const char image_end[];

static bool used_by_us(uint64_t addr)
{
	return addr < 0x100000 || (addr >= IMAGE_START && addr < HEAP_START + 0x100000);
}

static bool is_ram(uint64_t addr, uint64_t size)
{
	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type == 1 && addr >= r->addr && addr - r->addr + size <= r->size)
			return true;
	}
	return false;
}

/* First, last and every STEP; @fn sees only what is not ours. */
static void each_word(const struct boot_range *r, void (*fn)(uint64_t addr))
{
	uint64_t last = r->addr + r->size - 8;

	for (uint64_t a = r->addr; a < last; a += STEP)
		if (!used_by_us(a))
			fn(a);
	if (!used_by_us(last))
		fn(last);
}

static unsigned words, wrong;

static void mark(uint64_t addr)
{
	map_page(addr);
	words++;
	wrong += read64(addr) != 0;
	write64(addr, MARK(addr));
}

static void verify(uint64_t addr)
{
	wrong += read64(addr) != MARK(addr);
}

static void check_ram(void)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type != 1)
			continue;
		total += r->size;
		each_word(r, mark);
	}
	check(!wrong, "%u of %u words were not 0 at first", wrong, words);
	wrong = 0;
	for (unsigned i = 0; i < boot.nr_ranges; i++)
		if (boot.ranges[i].type == 1)
			each_word(&boot.ranges[i], verify);
	check(!wrong, "%u of %u words did not keep what was written", wrong, words);
	/* Less than a MiB goes to what lies below 1 MiB. */
	check(total >> 20 == arg_num("ram", 0) - 1, "%lu MiB of RAM", total >> 20);
	print("%lu MiB of RAM, %u words\n", total >> 20, words);
}

static void check_hole(uint64_t addr)
{
	if (is_ram(addr, 8))
		return;
	map_page(addr);
	check(read64(addr) == UINT64_MAX, "%lx reads %lx", addr, read64(addr));
	write64(addr, 0);
	check(read64(addr) == UINT64_MAX, "%lx holds what was written", addr);
}

int guest_main(void)
{
	uint64_t top = 0;

	check_ram();
	for (unsigned i = 0; i < boot.nr_ranges; i++) {
		const struct boot_range *r = &boot.ranges[i];

		if (r->type != 1)
			continue;
		if (r->addr >= 0x100000)
			check_hole(r->addr + r->size);
		if (r->addr + r->size > top)
			top = r->addr + r->size;
	}
	check_hole(0xd8000000);
	check_hole(top < 0x100000000 ? 0x100000000 : top + 0x200000);
	return check_status();
}
