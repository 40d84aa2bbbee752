/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The boot loader, on images that are made here byte by byte. Offsets of the setup header and of
 * boot_params are written out again from Linux's documentation, so that a wrong one in the loader
 * does not hide behind itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/boot.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define RAM       MIB(64)
#define FILE_MAX  MIB(2)
#define SETUP     (3 * 512)  /* two sectors and the boot sector */
#define CODE      (5 * 4096) /* of the bzImage, a multiple of 16 */
#define PREF      MIB(16)
#define INIT_SIZE MIB(8)

struct fixture {
	char dir[64], path[96], path2[96];
	uint8_t *file; /* the image being made */
	size_t len;
	uint8_t *ram;
	struct memory mem;
	struct platform platform;
	struct boot_request req;
	struct boot_image img;
	struct boot_entry entry;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_region region = {.size = RAM, .fd = -1};

	assert_non_null(f);
	strcpy(f->dir, "/tmp/trivm-test-boot-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/kernel", f->dir);
	snprintf(f->path2, sizeof(f->path2), "%s/initrd", f->dir);
	f->file = calloc(1, FILE_MAX);
	assert_non_null(f->file);
	f->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(f->ram != MAP_FAILED);
	region.host = f->ram;
	memory_init(&f->mem);
	assert_int_equal(memory_add(&f->mem, &region), 0);
	f->platform = (struct platform){.cpus = 1, .ram_low = RAM, .ioapic_pins = 24};
	f->req = (struct boot_request){.platform = &f->platform, .cmdline = ""};
	f->img.fd = -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	boot_close(&f->img);
	boot_close(&f->img);
	unlink(f->path);
	unlink(f->path2);
	rmdir(f->dir);
	munmap(f->ram, RAM);
	free(f->file);
	free(f);
	return 0;
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, data, len), 0);
	close(fd);
}

static int open_image(struct fixture *f, enum boot_protocol protocol)
{
	write_file(f->path, f->file, f->len);
	boot_close(&f->img);
	f->err.msg[0] = '\0';
	return boot_open(&f->img, f->path, protocol, &f->err);
}

/* The one line that a user gets names @path and has @part in it. */
static void check_message(struct fixture *f, const char *path, const char *part)
{
	if (!strstr(f->err.msg, part) || !strstr(f->err.msg, path) || strchr(f->err.msg, '\n'))
		fail_msg("message '%s': expected '%s' about '%s'", f->err.msg, part, path);
}

static void refused(struct fixture *f, enum boot_protocol protocol, const char *part)
{
	assert_true(open_image(f, protocol) < 0);
	check_message(f, f->path, part);
	assert_int_equal(f->img.fd, -1);
}

static int load(struct fixture *f)
{
	f->err.msg[0] = '\0';
	return boot_load(&f->img, &f->req, &f->mem, &f->entry, &f->err);
}

static void load_ok(struct fixture *f)
{
	int rc = load(f);

	if (rc < 0)
		fail_msg("boot_load: %d, %s", rc, f->err.msg);
}

static uint32_t ram32(struct fixture *f, uint64_t addr)
{
	return load_le32(f->ram + addr);
}

static uint64_t ram64(struct fixture *f, uint64_t addr)
{
	return load_le64(f->ram + addr);
}

/* Bytes that differ from place to place. */
static uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + (i >> 8) * 17 + 7);
}

static void fill(uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = pattern(i);
}

static bool filled(const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (from[i] != pattern(i))
			return false;
	return true;
}

/* --- bzImage ------------------------------------------------------------------------------- */

static void make_bzimage(struct fixture *f)
{
	uint8_t *h = f->file;

	memset(h, 0, FILE_MAX);
	h[0x1ef] = 0xff;                  /* sentinel: must not reach boot_params */
	h[0x1f1] = 2;                     /* setup_sects */
	store_le32(h + 0x1f4, CODE / 16); /* syssize */
	store_le16(h + 0x1fe, 0xaa55);    /* boot_flag */
	h[0x200] = 0xeb;                  /* jump */
	h[0x201] = 0x6a;                  /* header ends at 0x26c */
	memcpy(h + 0x202, "HdrS", 4);
	store_le16(h + 0x206, 0x020f);          /* version */
	h[0x211] = 0x01;                        /* loadflags: LOADED_HIGH */
	store_le32(h + 0x22c, 0x7fffffff);      /* initrd_addr_max */
	store_le32(h + 0x230, 0x200000);        /* kernel_alignment */
	h[0x234] = 1;                           /* relocatable_kernel */
	store_le16(h + 0x236, 0x7f);            /* xloadflags */
	store_le32(h + 0x238, 2047);            /* cmdline_size */
	store_le64(h + 0x258, PREF);            /* pref_address */
	store_le32(h + 0x260, INIT_SIZE);       /* init_size */
	store_le32(h + 0x268, 0x12345678);      /* kernel_info_offset */
	memset(h + 0x26c, 0xee, SETUP - 0x26c); /* setup code: must not reach boot_params */
	fill(h + SETUP, CODE);
	f->len = SETUP + CODE;
}

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

static void test_bzimage_refused(void **state)
{
	struct fixture *f = *state;

	make_bzimage(f);
	refused(f, BOOT_PVH, "no PVH entry");
	f->len--;
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

/* --- ELF ----------------------------------------------------------------------------------- */

#define ELF_CODE  4096
#define ELF_BSS   8192
#define ELF_PADDR MIB(2)
#define ELF_VADDR 0xffffffff81000000

static size_t add_note(uint8_t *at, const char *name, uint32_t type, const void *desc,
                       uint32_t descsz)
{
	uint32_t namesz = (uint32_t)strlen(name) + 1;

	store_le32(at, namesz);
	store_le32(at + 4, descsz);
	store_le32(at + 8, type);
	memcpy(at + 12, name, namesz);
	memcpy(at + 12 + align_up(namesz, 4), desc, descsz);
	return 12 + align_up(namesz, 4) + align_up(descsz, 4);
}

static Elf64_Ehdr *ehdr(struct fixture *f)
{
	return (Elf64_Ehdr *)f->file;
}

static Elf64_Phdr *phdr(struct fixture *f, unsigned i)
{
	return (Elf64_Phdr *)(f->file + sizeof(Elf64_Ehdr)) + i;
}

/* A code segment with bss at ELF_PADDR, a note segment; notes are added by make_note(). */
static void make_elf64(struct fixture *f)
{
	memset(f->file, 0, FILE_MAX);
	*ehdr(f) = (Elf64_Ehdr){.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
	                        .e_type = ET_EXEC,
	                        .e_machine = EM_X86_64,
	                        .e_version = 1,
	                        .e_entry = ELF_PADDR + 0x10,
	                        .e_phoff = sizeof(Elf64_Ehdr),
	                        .e_ehsize = sizeof(Elf64_Ehdr),
	                        .e_phentsize = sizeof(Elf64_Phdr),
	                        .e_phnum = 2};
	*phdr(f, 0) = (Elf64_Phdr){.p_type = PT_LOAD,
	                           .p_offset = 4096,
	                           .p_vaddr = ELF_VADDR,
	                           .p_paddr = ELF_PADDR,
	                           .p_filesz = ELF_CODE,
	                           .p_memsz = ELF_CODE + ELF_BSS};
	*phdr(f, 1) = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 1024, .p_align = 4};
	fill(f->file + 4096, ELF_CODE);
	f->len = 4096 + ELF_CODE;
}

static void make_note(struct fixture *f, const char *name, uint32_t type, const void *desc,
                      uint32_t descsz)
{
	Elf64_Phdr *ph = phdr(f, 1);

	ph->p_filesz += add_note(f->file + ph->p_offset + ph->p_filesz, name, type, desc, descsz);
}

static void make_pvh_note(struct fixture *f, uint64_t entry, uint32_t size)
{
	uint64_t le = htole64(entry);

	make_note(f, "Xen", 18, &le, size);
}

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
	assert_int_equal(ram64(f, list + 8), 12);
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
	assert_int_equal(load_le32(bp + 0x218), RAM - 8192); /* 4100 + 4 bytes, a page's boundary */
	assert_int_equal(load_le32(bp + 0x21c), 4104);
	assert_int_equal(load_le32(bp + 0x0c0), 0);
	assert_int_equal(load_le32(bp + 0x0c4), 0);
	assert_true(filled(f->ram + RAM - 8192, 4097));
	assert_memory_equal(f->ram + RAM - 8192 + 4097, "\0\0\0xyz\0\xcc", 8);
}

static void test_initrd_below_what_the_kernel_says(void **state)
{
	struct fixture *f = *state;
	struct boot_initrd_part part = {.data = "abcd", .len = 4};

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
		TEST(test_bzimage_refused),
		TEST(test_elf_pvh),
		TEST(test_elf_pvh_note_of_8_bytes),
		TEST(test_elf_pvh_module),
		TEST(test_elf_linux64),
		TEST(test_elf_is_linux),
		TEST(test_elf32),
		TEST(test_elf_refused),
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
