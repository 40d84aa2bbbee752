/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * boot: kernel images, and the state in which a kernel expects the machine at its first
 * instruction.
 *
 *   bzImage          the 64-bit boot protocol (Linux, Documentation/arch/x86/boot.rst)
 *   ELF, PVH note    the PVH entry: 32-bit, paging off, ebx = start_info
 *                    (xen/include/public/arch-x86/hvm/start_info.h)
 *   Multiboot header ELF, or any file with addresses in the header: 32-bit, paging off, ebx = the
 *                    information structure (Multiboot Specification 0.6.96)
 *   other ELF64      taken for a vmlinux: e_entry with boot_params, as the 64-bit boot protocol
 *
 * In two steps: boot_open() reads and judges the files before anything is built, so that a wrong
 * kernel is refused at once; boot_load() writes guest memory, and may be called again for each
 * reset.
 */
#ifndef TRIVM_ARCH_X86_BOOT_H
#define TRIVM_ARCH_X86_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/platform.h"
#include "vmm/err.h"
#include "vmm/memory.h"

/*
 * What the user asked for with --boot. AUTO takes PVH if the image has the note, as the kernel
 * advises, then Multiboot if it has that header, then Linux's.
 */
enum boot_protocol {
	BOOT_AUTO,
	BOOT_LINUX64,
	BOOT_PVH,
	BOOT_MULTIBOOT
};

enum boot_format {
	BOOT_FORMAT_BZIMAGE,
	BOOT_FORMAT_ELF64,
	BOOT_FORMAT_ELF32,
	BOOT_FORMAT_MULTIBOOT /* neither; the header has the addresses */
};

/* A piece of the file that goes to guest memory. */
struct boot_segment {
	uint64_t offset, filesz; /* in the file; checked to lie within it */
	uint64_t paddr,
		memsz; /* in the guest; memsz >= filesz, within [1 MiB, LAYOUT_HOLE_START) */
	bool clear;    /* zero what lies behind filesz (ELF); a bzImage only needs it free */
};
#define BOOT_SEGMENTS_MAX 16

/* boot_params.hdr: from offset 0x1f1 to at most 0x290. */
#define BOOT_SETUP_HEADER_MAX (0x290 - 0x1f1)

struct boot_image {
	const char *path; /* borrowed, for messages */
	int fd;           /* -1: not open */
	uint64_t size;
	enum boot_format format;
	enum boot_protocol protocol; /* never BOOT_AUTO once open */
	uint64_t entry;              /* guest-physical address of the first instruction */
	bool is_linux;       /* needs what a real CPU (or good emulation) gives: see doctor */
	bool guessed;        /* nothing in the file says that it is entered by @protocol */
	size_t cmdline_max;  /* bytes without the NUL */
	uint64_t initrd_max; /* highest address an initrd may reach */

	/* For boot_load(). */
	unsigned nr_segments;
	struct boot_segment segments[BOOT_SEGMENTS_MAX];
	uint8_t setup_header[BOOT_SETUP_HEADER_MAX]; /* BOOT_LINUX64 */
	size_t setup_header_len;
};

/*
 * Open and check a kernel image. Errors say what is wrong with which file: missing, empty,
 * truncated, not a kernel, not x86-64, 32-bit only without a PVH note or Multiboot header, no
 * 64-bit entry. Also -EINVAL where @protocol is not one that the image has. boot_close() may be called on whatever boot_open() left.
 */
int boot_open(struct boot_image *img, const char *path, enum boot_protocol protocol,
              struct err *err);
void boot_close(struct boot_image *img);

/*
 * One file, or several that are handed over back to back as one initrd (the kernel unpacks each
 * archive); by Multiboot each is a module, and begins at a page.
 */
struct boot_initrd_part {
	const char *path; /* NULL: from memory */
	const void *data; /* borrowed */
	size_t len;       /* of data */
};

#define BOOT_INITRD_MAX 8

struct boot_request {
	const struct platform *platform;
	const char *cmdline; /* its length is checked against what the kernel takes */
	const struct boot_initrd_part *initrd;
	unsigned nr_initrd; /* 0: none; at most BOOT_INITRD_MAX; each begins at 4 bytes */
	bool fdt;           /* hand over a device tree by setup_data (only BOOT_LINUX64) */
};

/* Where to start: what arch_vcpu_enter() needs. */
struct boot_entry {
	enum boot_protocol protocol;
	uint64_t rip;
	uint64_t param; /* boot_params (rsi), start_info (ebx) or the Multiboot information (ebx) */
};

/*
 * Load kernel, initrd and command line into @mem, write the GDT (BOOT_CS is a code segment of the
 * mode that the protocol starts in) and for BOOT_LINUX64 the identity page tables, build e820 / PVH
 * memory map, ACPI tables (rsdp handed over), MP tables and FDT. Errors say which file or option is
 * too big, and for what. Main thread; no vCPU runs.
 */
int boot_load(const struct boot_image *img, const struct boot_request *req,
              const struct memory *mem, struct boot_entry *entry, struct err *err);

#endif
