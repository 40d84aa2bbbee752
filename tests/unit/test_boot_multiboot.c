/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot kernels: which headers count, what is loaded where, what the kernel gets. Offsets are
 * written out again from the Multiboot Specification 0.6.96.
 */
#include "tests/unit/boot_rig.h"

#define MAGIC 0x1badb002u
#define LOAD  MIB(2)

static void put_header(uint8_t *at, uint32_t flags)
{
	store_le32(at, MAGIC);
	store_le32(at + 4, flags);
	store_le32(at + 8, 0u - MAGIC - flags);
}

/* An ELF64 file without notes, and a header in its code. */
static void make_elf_multiboot(struct fixture *f, uint32_t flags)
{
	make_elf64(f);
	put_header(f->file + 4096 + 64, flags);
}

/* A file of 8192 bytes whose header, at @offset, has the addresses. */
static void make_flat(struct fixture *f, uint32_t offset)
{
	memset(f->file, 0, FILE_MAX);
	f->len = 8192;
	fill(f->file, f->len);
	put_header(f->file + offset, 0x10003);
	store_le32(f->file + offset + 12, LOAD + 64); /* header_addr */
	store_le32(f->file + offset + 16, LOAD);
	store_le32(f->file + offset + 20, LOAD + 4096);      /* load_end_addr */
	store_le32(f->file + offset + 24, LOAD + 4096 + 32); /* bss_end_addr */
	store_le32(f->file + offset + 28, LOAD + 0x40);      /* entry_addr */
}

static void elf_is_entered_at_e_entry(void **state)
{
	struct fixture *f = *state;

	make_elf_multiboot(f, 3);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.protocol, BOOT_MULTIBOOT);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x10);
	assert_false(f->img.guessed || f->img.is_linux);
	load_ok(f);
	assert_int_equal(f->entry.protocol, BOOT_MULTIBOOT);
	assert_int_equal(f->entry.rip, ELF_PADDR + 0x10);
	assert_int_equal(ram64(f, LAYOUT_GDT + BOOT_CS), 0x00cf9b000000ffff); /* 32-bit code */
	assert_int_equal(open_image(f, BOOT_MULTIBOOT), 0);
	assert_int_equal(open_image(f, BOOT_LINUX64), 0);
	assert_int_equal(f->img.protocol, BOOT_LINUX64);
	refused(f, BOOT_PVH, "use --boot multiboot");

	/* A PVH note counts more, unless the user says otherwise. */
	make_pvh_note(f, ELF_PADDR, 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.protocol, BOOT_PVH);
	assert_int_equal(open_image(f, BOOT_MULTIBOOT), 0);
	assert_int_equal(f->img.protocol, BOOT_MULTIBOOT);
}

static void information(void **state)
{
	struct fixture *f = *state;
	struct boot_initrd_part parts[] = {{.data = "first", .len = 5}, {.path = f->path2}};
	uint32_t mbi, mods, map;
	char want[256];

	make_elf_multiboot(f, 0);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	write_file(f->path2, "second", 6);
	f->req.cmdline = "a  b";
	f->req.initrd = parts;
	f->req.nr_initrd = 2;
	load_ok(f);
	mbi = (uint32_t)f->entry.param;
	assert_int_equal(ram32(f, mbi) & 0x24d, 0x24d);
	assert_int_equal(ram32(f, mbi + 4), 639);
	assert_int_equal(ram32(f, mbi + 8), RAM / 1024 - 1024);
	snprintf(want, sizeof(want), "%s a  b", f->path);
	assert_string_equal((char *)f->ram + ram32(f, mbi + 16), want);
	assert_string_equal((char *)f->ram + ram32(f, mbi + 64), "trivm");

	assert_int_equal(ram32(f, mbi + 20), 2);
	mods = ram32(f, mbi + 24);
	assert_int_equal(ram32(f, mods + 4) - ram32(f, mods), 5);
	assert_int_equal(ram32(f, mods) % 4096, 0);
	assert_memory_equal(f->ram + ram32(f, mods), "first\0", 6);
	assert_int_equal(ram32(f, mods + 16) % 4096, 0);
	assert_memory_equal(f->ram + ram32(f, mods + 16), "second", 6);
	assert_string_equal((char *)f->ram + ram32(f, mods + 16 + 8), f->path2);

	map = ram32(f, mbi + 48);
	assert_int_equal(ram32(f, mbi + 44) % 24, 0);
	assert_int_equal(ram32(f, map), 20);
	assert_int_equal(ram64(f, map + 4), 0);
	assert_int_equal(ram64(f, map + 12), 0x9fc00);
	assert_int_equal(ram32(f, map + 20), 1);

	f->req.nr_initrd = 0;
	f->req.cmdline = "";
	load_ok(f);
	assert_int_equal(ram32(f, mbi + 20), 0);
	assert_string_equal((char *)f->ram + ram32(f, mbi + 16), f->path);
}

static void addresses_in_the_header(void **state)
{
	struct fixture *f = *state;

	make_flat(f, 512 + 64);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.entry, LOAD + 0x40);
	memset(f->ram + LOAD, 0xcc, 8192);
	load_ok(f);
	assert_memory_equal(f->ram + LOAD, f->file + 512, 4096);
	assert_memory_equal(f->ram + LOAD + 4096, "\0\0\0\0\0\0\0\0", 8); /* bss */
	assert_int_equal(f->ram[LOAD + 4096 + 32], 0xcc);

	/* Neither end: all of the file, no bss. */
	store_le32(f->file + 576 + 20, 0);
	store_le32(f->file + 576 + 24, 0);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.segments[0].filesz, 8192 - 512);

	/* They count more than the ELF header. */
	make_elf_multiboot(f, 0x10000);
	store_le32(f->file + 4096 + 64 + 12, MIB(4) + 64);
	store_le32(f->file + 4096 + 64 + 16, MIB(4));
	store_le32(f->file + 4096 + 64 + 20, 0);
	store_le32(f->file + 4096 + 64 + 24, 0);
	store_le32(f->file + 4096 + 64 + 28, MIB(4) + 8);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.entry, MIB(4) + 8);
	assert_int_equal(f->img.nr_segments, 1);
}

static void wrong_addresses(void **state)
{
	static const struct {
		unsigned field;
		uint32_t value;
		const char *said;
	} wrong[] = {
		{12, LOAD - 4, "header_addr"},
		{12, LOAD + 4096, "header_addr"}, /* before the file's first byte */
		{16, 0x1000, "load_addr"},
		{20, LOAD, "load_end_addr"},
		{20, LOAD + 8192, "truncated"},
		{24, LOAD + 4095, "bss_end_addr"},
		{24, 0xf0000000, "load_addr"},
		{28, LOAD - 1, "entry_addr"},
		{28, LOAD + 4096, "entry_addr"},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		make_flat(f, 512 + 64);
		if (wrong[i].field == 16)
			store_le32(f->file + 576 + 12, wrong[i].value + 64);
		store_le32(f->file + 576 + wrong[i].field, wrong[i].value);
		refused(f, BOOT_AUTO, wrong[i].said);
	}
}

static void what_there_is_not_is_refused(void **state)
{
	struct fixture *f = *state;

	make_elf_multiboot(f, 4);
	refused(f, BOOT_AUTO, "wants a video mode");
	make_elf_multiboot(f, 0x0103);
	refused(f, BOOT_AUTO, "bits 0x100");
	make_flat(f, 64);
	put_header(f->file + 64, 3);
	refused(f, BOOT_AUTO, "says no addresses");
	make_flat(f, 64);
	f->len = 64 + 20;
	refused(f, BOOT_AUTO, "truncated");
	make_flat(f, 64);
	refused(f, BOOT_LINUX64, "--boot multiboot");
	make_elf64(f);
	refused(f, BOOT_MULTIBOOT, "no Multiboot header");
	make_bzimage(f);
	refused(f, BOOT_MULTIBOOT, "no Multiboot entry");
}

static void which_headers_count(void **state)
{
	struct fixture *f = *state;

	/* The last place; one further on; not at 4 bytes; a sum that is wrong. */
	make_flat(f, 8192 - 32);
	store_le32(f->file + 8192 - 32 + 12, LOAD + 8192 - 32);
	store_le32(f->file + 8192 - 32 + 20, 0);
	store_le32(f->file + 8192 - 32 + 24, 0);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	make_flat(f, 8192);
	f->len = 16384;
	refused(f, BOOT_AUTO, "not a kernel");
	make_flat(f, 66);
	refused(f, BOOT_AUTO, "not a kernel");
	make_flat(f, 64);
	f->file[64 + 8]++;
	refused(f, BOOT_AUTO, "not a kernel");
}

static void others_that_nothing_says_how_to_start(void **state)
{
	struct fixture *f = *state;
	uint8_t *mb2;

	make_elf64(f);
	mb2 = f->file + 4096 + 8;
	store_le32(mb2, 0xe85250d6);
	store_le32(mb2 + 4, 0);
	store_le32(mb2 + 8, 16);
	store_le32(mb2 + 12, 0u - 0xe85250d6u - 16);
	refused(f, BOOT_AUTO, "is a Multiboot2 kernel");
	assert_int_equal(open_image(f, BOOT_LINUX64), 0);
	assert_false(f->img.guessed);

	make_elf64(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_true(f->img.guessed);
	make_note(f, "Linux", 0x100, "\0", 1);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_false(f->img.guessed);

	/* FreeBSD's kernel names a dynamic linker, and has the PVH note. */
	make_elf64(f);
	make_pvh_note(f, ELF_PADDR, 4);
	ehdr(f)->e_phnum = 3;
	*phdr(f, 2) = (Elf64_Phdr){.p_type = PT_INTERP};
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.protocol, BOOT_PVH);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(elf_is_entered_at_e_entry),
		TEST(information),
		TEST(addresses_in_the_header),
		TEST(wrong_addresses),
		TEST(what_there_is_not_is_refused),
		TEST(which_headers_count),
		TEST(others_that_nothing_says_how_to_start),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
