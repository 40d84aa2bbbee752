/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot_rig: what the tests of the boot loader share: guest memory, and images that are made byte by
 * byte. Offsets of the setup header and of boot_params are written out again from Linux's
 * documentation, so that a wrong one in the loader does not hide behind itself.
 */
#ifndef TRIVM_TESTS_BOOT_RIG_H
#define TRIVM_TESTS_BOOT_RIG_H

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

static inline int setup(void **state)
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

static inline int teardown(void **state)
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

static inline void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, data, len), 0);
	close(fd);
}

static inline int open_image(struct fixture *f, enum boot_protocol protocol)
{
	write_file(f->path, f->file, f->len);
	boot_close(&f->img);
	f->err.msg[0] = '\0';
	return boot_open(&f->img, f->path, protocol, &f->err);
}

/* The one line that a user gets names @path and has @part in it. */
static inline void check_message(struct fixture *f, const char *path, const char *part)
{
	if (!strstr(f->err.msg, part) || !strstr(f->err.msg, path) || strchr(f->err.msg, '\n'))
		fail_msg("message '%s': expected '%s' about '%s'", f->err.msg, part, path);
}

static inline void refused(struct fixture *f, enum boot_protocol protocol, const char *part)
{
	assert_true(open_image(f, protocol) < 0);
	check_message(f, f->path, part);
	assert_int_equal(f->img.fd, -1);
}

static inline int load(struct fixture *f)
{
	f->err.msg[0] = '\0';
	return boot_load(&f->img, &f->req, &f->mem, &f->entry, &f->err);
}

static inline void load_ok(struct fixture *f)
{
	int rc = load(f);

	if (rc < 0)
		fail_msg("boot_load: %d, %s", rc, f->err.msg);
}

static inline uint32_t ram32(struct fixture *f, uint64_t addr)
{
	return load_le32(f->ram + addr);
}

static inline uint64_t ram64(struct fixture *f, uint64_t addr)
{
	return load_le64(f->ram + addr);
}

/* Bytes that differ from place to place. */
static inline uint8_t pattern(size_t i)
{
	return (uint8_t)(i * 131 + (i >> 8) * 17 + 7);
}

static inline void fill(uint8_t *to, size_t len)
{
	for (size_t i = 0; i < len; i++)
		to[i] = pattern(i);
}

static inline bool filled(const uint8_t *from, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (from[i] != pattern(i))
			return false;
	return true;
}

static inline void make_bzimage(struct fixture *f)
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

#define ELF_CODE  4096
#define ELF_BSS   8192
#define ELF_PADDR MIB(2)
#define ELF_VADDR 0xffffffff81000000

static inline size_t add_note(uint8_t *at, const char *name, uint32_t type, const void *desc,
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

static inline Elf64_Ehdr *ehdr(struct fixture *f)
{
	return (Elf64_Ehdr *)f->file;
}

static inline Elf64_Phdr *phdr(struct fixture *f, unsigned i)
{
	return (Elf64_Phdr *)(f->file + sizeof(Elf64_Ehdr)) + i;
}

/* A code segment with bss at ELF_PADDR, a note segment; notes are added by make_note(). */
static inline void make_elf64(struct fixture *f)
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

static inline void make_note(struct fixture *f, const char *name, uint32_t type, const void *desc,
                             uint32_t descsz)
{
	Elf64_Phdr *ph = phdr(f, 1);

	ph->p_filesz += add_note(f->file + ph->p_offset + ph->p_filesz, name, type, desc, descsz);
}

static inline void make_pvh_note(struct fixture *f, uint64_t entry, uint32_t size)
{
	uint64_t le = htole64(entry);

	make_note(f, "Xen", 18, &le, size);
}

#endif
