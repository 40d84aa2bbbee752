/* SPDX-License-Identifier: BSD-2-Clause */
/* The boot loader: ELF kernels, their notes, and what PVH hands over. */
#include "tests/unit/boot_rig.h"

static void test_elf_pvh(void **state)
{
	struct fixture *f = *state;
	uint64_t info = LAYOUT_PVH_START_INFO, memmap;
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(&f->platform, map);

	make_elf64(f);
	make_note(f, "GNU", 3, "0123456789abcdefghij", 20); /* others come before */
	make_pvh_note(f, ELF_PADDR + 0x40, 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.format, BOOT_FORMAT_ELF64);
	assert_int_equal(f->img.protocol, BOOT_PVH);
	assert_false(f->img.is_linux);
	assert_int_equal(f->img.cmdline_max, LAYOUT_CMDLINE_MAX - 1);

	memset(f->ram + ELF_PADDR, 0x55, ELF_CODE + ELF_BSS + 1);
	f->req.cmdline = "hello";
	load_ok(f);
	assert_int_equal(f->entry.protocol, BOOT_PVH);
	assert_int_equal(f->entry.rip, ELF_PADDR + 0x40);
	assert_int_equal(f->entry.param, info);
	assert_true(filled(f->ram + ELF_PADDR, ELF_CODE));
	for (size_t i = ELF_CODE; i < ELF_CODE + ELF_BSS; i++)
		assert_int_equal(f->ram[ELF_PADDR + i], 0);
	assert_int_equal(f->ram[ELF_PADDR + ELF_CODE + ELF_BSS], 0x55);

	assert_int_equal(ram32(f, info), 0x336ec578);
	assert_int_equal(ram32(f, info + 4), 1);
	assert_int_equal(ram32(f, info + 8), 0);
	assert_int_equal(ram32(f, info + 12), 0); /* no module */
	assert_string_equal((char *)f->ram + ram64(f, info + 24), "hello");
	assert_int_equal(ram64(f, info + 32), LAYOUT_ACPI);
	memmap = ram64(f, info + 40);
	assert_int_equal(ram32(f, info + 48), n);
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(ram64(f, memmap + i * 24), map[i].addr);
		assert_int_equal(ram64(f, memmap + i * 24 + 8), map[i].size);
		assert_int_equal(ram32(f, memmap + i * 24 + 16), map[i].type);
		assert_int_equal(ram32(f, memmap + i * 24 + 20), 0);
	}
	assert_int_equal(ram64(f, LAYOUT_GDT + BOOT_CS), 0x00cf9b000000ffff); /* 32-bit code */
}

static void test_elf_pvh_note_of_8_bytes(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	make_pvh_note(f, ELF_PADDR + 0x80, 8);
	assert_int_equal(open_image(f, BOOT_PVH), 0);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x80);

	make_elf64(f);
	make_pvh_note(f, GIB(4) + ELF_PADDR, 8);
	refused(f, BOOT_AUTO, "in no segment");
	make_elf64(f);
	make_pvh_note(f, ELF_PADDR + ELF_CODE, 4); /* in the bss: nothing to run there */
	refused(f, BOOT_AUTO, "in no segment");
	make_elf64(f);
	make_pvh_note(f, ELF_PADDR, 2); /* no such note */
	refused(f, BOOT_PVH, "no PVH note");
}

static void test_elf_pvh_module(void **state)
{
	struct fixture *f = *state;
	static const char data[] = "0123456789";
	struct boot_initrd_part part = {.data = data, .len = 10};
	uint64_t info = LAYOUT_PVH_START_INFO, list;

	make_elf64(f);
	make_pvh_note(f, ELF_PADDR, 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	f->req.initrd = &part;
	f->req.nr_initrd = 1;
	load_ok(f);
	assert_int_equal(ram32(f, info + 12), 1);
	list = ram64(f, info + 16);
	assert_int_equal(ram64(f, list), RAM - 4096);
	assert_int_equal(ram64(f, list + 8), 10); /* its very bytes */
	assert_int_equal(ram64(f, list + 16), 0);
	assert_memory_equal(f->ram + RAM - 4096, data, 10);
}

static void test_elf_linux64(void **state)
{
	struct fixture *f = *state;
	const uint8_t *bp = f->ram + LAYOUT_ZERO_PAGE;

	make_elf64(f);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.protocol, BOOT_LINUX64);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x10);
	assert_int_equal(f->img.cmdline_max, 2047);
	load_ok(f);
	assert_int_equal(f->entry.rip, ELF_PADDR + 0x10);
	assert_memory_equal(bp + 0x202, "HdrS", 4);
	assert_int_equal(load_le16(bp + 0x1fe), 0xaa55);
	assert_true(load_le16(bp + 0x206) >= 0x020c);
	assert_int_equal(bp[0x210], 0xff);
	assert_int_equal(load_le32(bp + 0x228), LAYOUT_CMDLINE);

	/* The entry may be a virtual address. */
	ehdr(f)->e_entry = ELF_VADDR + 0x20;
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x20);
	ehdr(f)->e_entry = ELF_VADDR + ELF_CODE;
	refused(f, BOOT_AUTO, "in no segment");

	/* A PVH note does not keep one from asking for this entry. */
	make_elf64(f);
	make_pvh_note(f, ELF_PADDR, 4);
	assert_int_equal(open_image(f, BOOT_LINUX64), 0);
	assert_int_equal(f->img.protocol, BOOT_LINUX64);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x10);
}

static void test_elf_is_linux(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	make_note(f, "Linux", 0x100, "\0", 1);
	make_pvh_note(f, ELF_PADDR, 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_true(f->img.is_linux);
	assert_int_equal(f->img.cmdline_max, 2047);

	make_elf64(f);
	make_note(f, "Linux", 0x101, "\0\0\0\0", 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_true(f->img.is_linux);

	make_elf64(f);
	make_note(f, "Xen", 6, "linux", 6);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_true(f->img.is_linux);

	make_elf64(f);
	make_note(f, "Xen", 6, "netbsd", 7);
	make_note(f, "Linux", 0, "\0\0\0\0", 4);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_false(f->img.is_linux);
}

static void make_elf32(struct fixture *f, bool note)
{
	uint32_t entry = htole32(ELF_PADDR + 0x30);
	Elf32_Phdr *ph;

	memset(f->file, 0, FILE_MAX);
	*(Elf32_Ehdr *)f->file =
		(Elf32_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS32, ELFDATA2LSB, 1},
	                     .e_type = ET_EXEC,
	                     .e_machine = EM_386,
	                     .e_version = 1,
	                     .e_entry = ELF_PADDR,
	                     .e_phoff = sizeof(Elf32_Ehdr),
	                     .e_ehsize = sizeof(Elf32_Ehdr),
	                     .e_phentsize = sizeof(Elf32_Phdr),
	                     .e_phnum = 2};
	ph = (Elf32_Phdr *)(f->file + sizeof(Elf32_Ehdr));
	ph[0] = (Elf32_Phdr){.p_type = PT_LOAD,
	                     .p_offset = 4096,
	                     .p_vaddr = ELF_PADDR,
	                     .p_paddr = ELF_PADDR,
	                     .p_filesz = ELF_CODE,
	                     .p_memsz = ELF_CODE};
	ph[1] = (Elf32_Phdr){.p_type = PT_NOTE, .p_offset = 1024, .p_align = 4};
	if (note)
		ph[1].p_filesz = (uint32_t)add_note(f->file + 1024, "Xen", 18, &entry, 4);
	fill(f->file + 4096, ELF_CODE);
	f->len = 4096 + ELF_CODE;
}

static void test_elf32(void **state)
{
	struct fixture *f = *state;

	make_elf32(f, true);
	assert_int_equal(open_image(f, BOOT_AUTO), 0);
	assert_int_equal(f->img.format, BOOT_FORMAT_ELF32);
	assert_int_equal(f->img.protocol, BOOT_PVH);
	assert_int_equal(f->img.entry, ELF_PADDR + 0x30);
	load_ok(f);
	assert_true(filled(f->ram + ELF_PADDR, ELF_CODE));
	refused(f, BOOT_LINUX64, "--boot pvh");
	make_elf32(f, false);
	refused(f, BOOT_AUTO, "32-bit");
}

static void test_elf_refused(void **state)
{
	struct fixture *f = *state;

	make_elf64(f);
	ehdr(f)->e_machine = EM_AARCH64;
	refused(f, BOOT_AUTO, "Arm (64 bit)");
	make_elf64(f);
	ehdr(f)->e_ident[EI_DATA] = ELFDATA2MSB;
	refused(f, BOOT_AUTO, "not for x86");
	make_elf64(f);
	ehdr(f)->e_machine = EM_386;
	refused(f, BOOT_AUTO, "class and machine");
	make_elf64(f);
	ehdr(f)->e_type = ET_REL;
	refused(f, BOOT_AUTO, "no executable");
	make_elf64(f);
	refused(f, BOOT_PVH, "no PVH note");
	ehdr(f)->e_phnum = 0;
	refused(f, BOOT_AUTO, "program headers");
	make_elf64(f);
	ehdr(f)->e_phoff = UINT64_MAX - 8;
	refused(f, BOOT_AUTO, "truncated");
	make_elf64(f);
	f->len = 40;
	refused(f, BOOT_AUTO, "truncated");
	make_elf64(f);
	f->len--;
	refused(f, BOOT_AUTO, "truncated");
	make_elf64(f);
	phdr(f, 0)->p_offset = UINT64_MAX - 100;
	refused(f, BOOT_AUTO, "truncated");
	make_elf64(f);
	phdr(f, 0)->p_memsz = ELF_CODE - 1;
	refused(f, BOOT_AUTO, "larger in the file");
	make_elf64(f);
	phdr(f, 0)->p_paddr = MIB(1) - 4096;
	refused(f, BOOT_AUTO, "between 1 MiB and");
	phdr(f, 0)->p_paddr = UINT64_MAX - 4096;
	refused(f, BOOT_AUTO, "between 1 MiB and");
	phdr(f, 0)->p_paddr = LAYOUT_HOLE_START - 4096;
	refused(f, BOOT_AUTO, "between 1 MiB and");
	make_elf64(f);
	phdr(f, 1)->p_type = PT_INTERP;
	refused(f, BOOT_AUTO, "is a program");
	make_elf64(f);
	phdr(f, 0)->p_type = PT_NULL;
	refused(f, BOOT_AUTO, "nothing to load");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_elf_pvh),        TEST(test_elf_pvh_note_of_8_bytes),
		TEST(test_elf_pvh_module), TEST(test_elf_linux64),
		TEST(test_elf_is_linux),   TEST(test_elf32),
		TEST(test_elf_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
