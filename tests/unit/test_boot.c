/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot loader: bzImages, what is no kernel, and what is loaded beside any kernel. */
#include "tests/unit/boot_rig.h"

static void test_bzimage_open(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.format, BOOT_FORMAT_BZIMAGE);
	assert_int_equal(f->img.protocol, BOOT_LINUX64);
	assert_true(f->img.is_linux);
	assert_int_equal(f->img.entry, PREF + 0x200);
	assert_int_equal(f->img.cmdline_max, 2047);
	assert_int_equal(f->img.initrd_max, 0x7fffffff);
	assert_int_equal(open_image(f, BOOT_LINUX64), 0);

	f->file[0x1f1] = 0; /* means 4 */
	f->len = 5 * 512 + CODE;
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.segments[0].offset, 5 * 512);
}

static void test_bzimage_load(void **state)
{
	struct fixture *f = *state;
	const uint8_t *bp = f->ram + LAYOUT_ZERO_PAGE;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	memset(f->ram, 0xaa, MIB(1)); /* as a guest that ran before may have left it */
	f->req.cmdline = "console=ttyS0 quiet";
	load_ok(f);

	assert_int_equal(f->entry.protocol, BOOT_LINUX64);
	assert_int_equal(f->entry.rip, PREF + 0x200);
	assert_int_equal(f->entry.param, LAYOUT_ZERO_PAGE);
	assert_true(filled(f->ram + PREF, CODE));
	assert_string_equal((char *)f->ram + LAYOUT_CMDLINE, "console=ttyS0 quiet");

	/* The header as in the file, but for what is ours. */
	assert_memory_equal(bp + 0x1f1, f->file + 0x1f1, 0x1fa - 0x1f1);
	assert_memory_equal(bp + 0x1fe, f->file + 0x1fe, 0x210 - 0x1fe);
	assert_memory_equal(bp + 0x22c, f->file + 0x22c, 0x250 - 0x22c);
	assert_memory_equal(bp + 0x258, f->file + 0x258, 0x26c - 0x258);
	assert_int_equal(bp[0x210], 0xff);
	assert_int_equal(bp[0x211] & 1, 1);
	assert_int_equal(load_le32(bp + 0x214), PREF);
	assert_int_equal(load_le32(bp + 0x228), LAYOUT_CMDLINE);
	assert_int_equal(load_le32(bp + 0x0c8), 0);
	assert_int_equal(load_le64(bp + 0x070), LAYOUT_ACPI);
	assert_int_equal(load_le64(bp + 0x250), 0);
	assert_int_equal(load_le32(bp + 0x218), 0);
	assert_int_equal(load_le32(bp + 0x21c), 0);
	assert_memory_equal(f->ram + LAYOUT_ACPI, "RSD PTR ", 8);
	/* mov $0x602, %dx; mov $1, %al; out %al, %dx */
	assert_memory_equal(f->ram + LAYOUT_RESET_VECTOR, "\xba\x02\x06\xb0\x01\xee", 6);

	/* Nothing else of the file, and no dirt. */
	assert_int_equal(bp[0x1ef], 0);
	for (size_t i = 0; i < 0x70; i++)
		assert_int_equal(bp[i], 0);
	for (size_t i = 0x26c; i < 0x2d0; i++)
		assert_int_equal(bp[i], 0);
}

static void test_bzimage_e820(void **state)
{
	struct fixture *f = *state;
	const uint8_t *bp = f->ram + LAYOUT_ZERO_PAGE;
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(&f->platform, map);

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	load_ok(f);
	assert_int_equal(bp[0x1e8], n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(load_le64(bp + 0x2d0 + i * 20), map[i].addr);
		assert_int_equal(load_le64(bp + 0x2d0 + i * 20 + 8), map[i].size);
		assert_int_equal(load_le32(bp + 0x2d0 + i * 20 + 16), map[i].type);
	}
	assert_int_equal(load_le64(bp + 0x2d0 + n * 20 + 8), 0);
}

/* As the CPU walks them: every address below 4 GiB comes out as itself, the next one not at all. */
static bool translate(struct fixture *f, uint64_t va, uint64_t *pa)
{
	uint64_t pml4e = ram64(f, LAYOUT_PAGE_TABLES + (va >> 39 & 511) * 8);
	uint64_t pdpte, pde;

	if (!(pml4e & 1))
		return false;
	pdpte = ram64(f, (pml4e & ~0xfffULL) + (va >> 30 & 511) * 8);
	if (!(pdpte & 1))
		return false;
	assert_int_equal(pdpte & 0x80, 0);
	pde = ram64(f, (pdpte & ~0xfffULL) + (va >> 21 & 511) * 8);
	assert_int_equal(pde & 0x83, 0x83);
	*pa = (pde & ~0x1fffffULL) + (va & 0x1fffff);
	return true;
}

static void test_page_tables_and_gdt(void **state)
{
	struct fixture *f = *state;
	uint64_t pa;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	memset(f->ram, 0xff, MIB(1));
	load_ok(f);
	for (uint64_t va = 0; va < GIB(4); va += MIB(2) - 1) {
		assert_true(translate(f, va, &pa));
		assert_int_equal(pa, va);
	}
	assert_false(translate(f, GIB(4), &pa));
	assert_false(translate(f, GIB(512), &pa));
	assert_false(translate(f, UINT64_MAX, &pa));

	assert_int_equal(ram64(f, LAYOUT_GDT), 0);
	assert_int_equal(ram64(f, LAYOUT_GDT + BOOT_CS), 0x00af9b000000ffff); /* L, present, code */
	assert_int_equal(ram64(f, LAYOUT_GDT + BOOT_DS), 0x00cf93000000ffff);
}

/* syssize counts 16 bytes, rounded up: a file may end up to 15 bytes before what it says. */
static void test_bzimage_syssize_rounded_up(void **state)
{
	struct fixture *f = *state;

	for (size_t missing = 1; missing < 16; missing++) {
		make_bzimage(f);
		f->len -= missing;
		assert_int_equal(open_image(f, BOOT_AUTO), 0);
		load_ok(f);
		assert_true(filled(f->ram + PREF, CODE - missing));
	}
	make_bzimage(f);
	store_le32(f->file + 0x1f4, UINT32_MAX);
	refused(f, BOOT_AUTO, "truncated");
}

static void test_bzimage_refused(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	refused(f, BOOT_PVH, "no PVH entry");
	f->len -= 16;
	refused(f, BOOT_AUTO, "truncated");
	f->len = SETUP;
	refused(f, BOOT_AUTO, "truncated");
	f->len = 0x210;
	refused(f, BOOT_AUTO, "truncated");

	make_bzimage(f);
	store_le16(f->file + 0x236, 0x7e);
	refused(f, BOOT_AUTO, "no 64-bit entry");
	make_bzimage(f);
	store_le16(f->file + 0x206, 0x020b);
	refused(f, BOOT_AUTO, "no 64-bit entry");
	make_bzimage(f);
	f->file[0x211] = 0;
	refused(f, BOOT_AUTO, "zImage");
	make_bzimage(f);
	f->file[0x201] = 0x61; /* ends before init_size */
	refused(f, BOOT_AUTO, "corrupt (length)");
	f->file[0x201] = 0x8f; /* ends behind boot_params' room */
	refused(f, BOOT_AUTO, "corrupt (length)");
	make_bzimage(f);
	store_le64(f->file + 0x258, 0x10000);
	refused(f, BOOT_AUTO, "corrupt (pref_address)");
	store_le64(f->file + 0x258, GIB(8));
	refused(f, BOOT_AUTO, "corrupt (pref_address)");
	make_bzimage(f);
	store_le32(f->file + 0x260, 0xf0000000);
	refused(f, BOOT_AUTO, "corrupt (init_size)");
	make_bzimage(f);
	store_le32(f->file + 0x230, 3);
	refused(f, BOOT_AUTO, "corrupt (kernel_alignment)");
	make_bzimage(f);
	store_le32(f->file + 0x1f4, 0);
	refused(f, BOOT_AUTO, "corrupt (syssize)");
}

/* --- what is no kernel --------------------------------------------------------------------- */

static void contents(struct fixture *f, const char *data, size_t len)
{
	memset(f->file, 0, FILE_MAX);
	memcpy(f->file, data, len);
	f->len = len;
}

static void test_not_a_kernel(void **state)
{
	struct fixture *f = *state;

	contents(f, "", 0);
	refused(f, BOOT_AUTO, "empty");
	contents(f, "#!/bin/sh\necho hello\n", 21);
	refused(f, BOOT_AUTO, "text file");
	contents(f, "x", 1);
	refused(f, BOOT_AUTO, "text file");
	contents(f, "\x1f\x8b\x08", 3);
	refused(f, BOOT_AUTO, "gzip");
	contents(f, "\3757zXZ", 6);
	refused(f, BOOT_AUTO, "(xz)");
	contents(f, "070701aa", 8);
	refused(f, BOOT_AUTO, "cpio");
	contents(f, "MZ\0\0", 4);
	refused(f, BOOT_AUTO, "EFI");
	contents(f, "\0\1\2\3", 4);
	refused(f, BOOT_AUTO, "no known format");
	contents(f,
	         "\x7f"
	         "ELF",
	         4);
	refused(f, BOOT_AUTO, "truncated");

	assert_int_equal(boot_open(&f->img, f->dir, BOOT_AUTO, &f->err), -EISDIR);
	check_message(f, f->dir, "directory");
	unlink(f->path);
	assert_int_equal(boot_open(&f->img, f->path, BOOT_AUTO, &f->err), -ENOENT);
	check_message(f, f->path, "No such file");
	assert_int_equal(mkfifo(f->path, 0600), 0);
	assert_int_equal(boot_open(&f->img, f->path, BOOT_AUTO, &f->err), -EINVAL);
	check_message(f, f->path, "regular file");
}

/* --- loading ------------------------------------------------------------------------------- */

static void set_ram(struct fixture *f, uint64_t size)
{
	f->platform.ram_low = size;
	f->mem.regions[0].size = size;
}

/* The number N of "use -m NM" in the message. */
static unsigned long long remedy(struct fixture *f)
{
	const char *at = strstr(f->err.msg, "use -m ");

	if (!at)
		fail_msg("no remedy in '%s'", f->err.msg);
	return strtoull(at + strlen("use -m "), NULL, 10);
}

static void test_kernel_too_big_for_ram(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	set_ram(f, MIB(20));
	assert_int_equal(load(f), -ENOMEM);
	check_message(f, f->path, "does not fit into 20 MiB");
	assert_int_equal(remedy(f), 24);
	set_ram(f, MIB(24) - 4096);
	assert_int_equal(load(f), -ENOMEM);
	set_ram(f, MIB(24)); /* what it said is enough */
	load_ok(f);
}

static void test_bare_metal_in_2_mib(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	phdr(f, 0)->p_paddr = MIB(1);
	make_pvh_note(f, MIB(1), 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	set_ram(f, MIB(2));
	load_ok(f);
	assert_true(filled(f->ram + MIB(1), ELF_CODE));
}

static void test_cmdline_limit(void **state)
{
	struct fixture *f = *state;
	char text[2100];

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	memset(text, 'a', sizeof(text));
	text[2047] = '\0';
	f->req.cmdline = text;
	load_ok(f);
	assert_string_equal((char *)f->ram + LAYOUT_CMDLINE, text);
	text[2047] = 'a';
	text[2048] = '\0';
	assert_int_equal(load(f), -E2BIG);
	check_message(f, f->path, "has 2048 characters");
	check_message(f, f->path, "at most 2047");
}

static void test_cmdline_limit_is_also_ours(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(LAYOUT_CMDLINE_MAX + 1);

	assert_non_null(text);
	make_bzimage(f);
	store_le32(f->file + 0x238, UINT32_MAX);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	memset(text, 'a', LAYOUT_CMDLINE_MAX);
	text[LAYOUT_CMDLINE_MAX] = '\0';
	f->req.cmdline = text;
	assert_int_equal(load(f), -E2BIG);
	text[LAYOUT_CMDLINE_MAX - 1] = '\0';
	load_ok(f);
	assert_int_equal(f->ram[LAYOUT_CMDLINE + LAYOUT_CMDLINE_MAX - 1], 0);
	free(text);
}

static void test_initrd_parts(void **state)
{
	struct fixture *f = *state;
	const uint8_t *bp = f->ram + LAYOUT_ZERO_PAGE;
	uint8_t data[4097];
	struct boot_initrd_part parts[] = {{.path = f->path2}, {.data = "xyz", .len = 3}};

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	fill(data, sizeof(data));
	write_file(f->path2, data, sizeof(data));
	memset(f->ram + RAM - 8192, 0xcc, 8192);
	f->req.initrd = parts;
	f->req.nr_initrd = 2;
	load_ok(f);
	assert_int_equal(load_le32(bp + 0x218), RAM - 8192); /* 4100 + 3 bytes, a page's boundary */
	assert_int_equal(load_le32(bp + 0x21c), 4103);
	assert_int_equal(load_le32(bp + 0x0c0), 0);
	assert_int_equal(load_le32(bp + 0x0c4), 0);
	assert_true(filled(f->ram + RAM - 8192, 4097));
	assert_memory_equal(f->ram + RAM - 8192 + 4097, "\0\0\0xyz\xcc\xcc", 8);
}

static void test_initrd_below_what_the_kernel_says(void **state)
{
	struct fixture *f = *state;
	static const uint8_t page[4096];
	struct boot_initrd_part part = {.data = page, .len = sizeof(page)}; /* to the last byte */

	make_bzimage(f);
	store_le32(f->file + 0x22c, MIB(32) - 1);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	f->req.initrd = &part;
	f->req.nr_initrd = 1;
	load_ok(f);
	assert_int_equal(ram32(f, LAYOUT_ZERO_PAGE + 0x218), MIB(32) - 4096);
}

static void test_initrd_too_big(void **state)
{
	struct fixture *f = *state;
	struct boot_initrd_part part = {.path = f->path2};

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	write_file(f->path2, "a", 1);
	f->req.initrd = &part;
	f->req.nr_initrd = 1;

	assert_int_equal(truncate(f->path2, MIB(40)), 0); /* PREF + INIT_SIZE + 40 MiB = RAM */
	load_ok(f);
	assert_int_equal(ram32(f, LAYOUT_ZERO_PAGE + 0x218), PREF + INIT_SIZE);
	assert_int_equal(truncate(f->path2, MIB(40) + 1), 0);
	assert_int_equal(load(f), -ENOMEM);
	check_message(f, f->path2, "has 41 MiB, above the kernel there are 40 MiB");
	assert_int_equal(remedy(f), 65);
	assert_int_equal(truncate(f->path2, GIB(2)), 0); /* more than initrd_addr_max allows */
	assert_int_equal(load(f), -EFBIG);
	check_message(f, f->path2, "at most");
}

static void test_initrd_bad_files(void **state)
{
	struct fixture *f = *state;
	struct boot_initrd_part parts[BOOT_INITRD_MAX + 1] = {{.path = f->path2}};

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	f->req.initrd = parts;
	f->req.nr_initrd = 1;
	assert_int_equal(load(f), -ENOENT);
	check_message(f, f->path2, "initrd '");
	write_file(f->path2, "", 0);
	assert_true(load(f) < 0);
	check_message(f, f->path2, "empty");
	parts[0].path = f->dir;
	assert_int_equal(load(f), -EISDIR);
	f->req.nr_initrd = BOOT_INITRD_MAX + 1;
	assert_int_equal(load(f), -E2BIG);
}

static void test_fdt_by_setup_data(void **state)
{
	struct fixture *f = *state;
	uint64_t node;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	f->req.fdt = true;
	load_ok(f);
	node = ram64(f, LAYOUT_ZERO_PAGE + 0x250);
	assert_int_equal(node, LAYOUT_FDT);
	assert_int_equal(ram64(f, node), 0);     /* the last */
	assert_int_equal(ram32(f, node + 8), 2); /* SETUP_DTB */
	assert_int_equal(be32toh(ram32(f, node + 16)), 0xd00dfeed);
	assert_int_equal(be32toh(ram32(f, node + 20)), ram32(f, node + 12));

	make_elf64(f);
	make_pvh_note(f, ELF_PADDR, 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(load(f), -EINVAL);
	check_message(f, f->path, "--boot linux64");
}

/* After a reset: the same memory as the first time, whatever the guest did to it. */
static void test_load_twice(void **state)
{
	struct fixture *f = *state;
	static uint8_t first[MIB(1)];

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	f->req.cmdline = "a b c";
	load_ok(f);
	memcpy(first, f->ram, MIB(1));
	memset(f->ram + LAYOUT_ZERO_PAGE, 0x99, LAYOUT_CMDLINE - LAYOUT_ZERO_PAGE);
	memset(f->ram + PREF, 0x99, CODE);
	memset(f->ram + LAYOUT_ACPI, 0x99, 0x400);
	load_ok(f);
	assert_memory_equal(f->ram, first, LAYOUT_ZERO_PAGE + 4096);
	assert_memory_equal(f->ram + LAYOUT_PAGE_TABLES, first + LAYOUT_PAGE_TABLES, 6 * 4096);
	assert_memory_equal(f->ram + LAYOUT_CMDLINE, first + LAYOUT_CMDLINE, 6);
	assert_memory_equal(f->ram + LAYOUT_ACPI, first + LAYOUT_ACPI, 0x20);
	assert_memory_equal(f->ram + LAYOUT_ACPI_TABLES, first + LAYOUT_ACPI_TABLES, 0x200);
	assert_true(filled(f->ram + PREF, CODE));
}

static void test_file_shrinks_after_open(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(truncate(f->path, SETUP + 100), 0);
	assert_true(load(f) < 0);
	check_message(f, f->path, "cannot be read");
}

/* Any one byte of the header changed: opened or refused, loaded or not, but nothing else happens.
 */
static void test_damaged_headers(void **state)
{
	struct fixture *f = *state;
	uint32_t x = 12345;

	for (unsigned i = 0; i < 1000; i++) {
		size_t at;

		if (i & 1)
			make_bzimage(f);
		else
			make_elf64(f);
		if (!(i & 1)) {
			make_note(f, "GNU", 3, "0123", 4);
			make_pvh_note(f, ELF_PADDR, 4);
		}
		for (unsigned k = 0; k <= i % 3; k++) {
			x = x * 1664525 + 1013904223;
			at = i & 1    ? 0x1f1 + (x >> 8) % 0x7b
			     : k == 1 ? 1024 + (x >> 8) % 40
			              : (x >> 8) % (sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Phdr));
			f->file[at] = (uint8_t)(x >> 24);
		}
		if (open_image(f, BOOT_AUTO) == 0)
			(void)load(f);
		else
			assert_int_not_equal(f->err.msg[0], '\0');
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_bzimage_open),
		TEST(test_bzimage_load),
		TEST(test_bzimage_e820),
		TEST(test_page_tables_and_gdt),
		TEST(test_bzimage_syssize_rounded_up),
		TEST(test_bzimage_refused),
		TEST(test_not_a_kernel),
		TEST(test_kernel_too_big_for_ram),
		TEST(test_bare_metal_in_2_mib),
		TEST(test_cmdline_limit),
		TEST(test_cmdline_limit_is_also_ours),
		TEST(test_initrd_parts),
		TEST(test_initrd_below_what_the_kernel_says),
		TEST(test_initrd_too_big),
		TEST(test_initrd_bad_files),
		TEST(test_fdt_by_setup_data),
		TEST(test_load_twice),
		TEST(test_file_shrinks_after_open),
		TEST(test_damaged_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
