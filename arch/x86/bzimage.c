/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bzImage: Linux as it is installed, booted through its 64-bit entry.
 *
 * Theory of operation. The file is a boot sector and real-mode setup code, of which only the setup
 * header (from 0x1f1) is of use to us, and behind them the protected-mode code: a decompressor with
 * the kernel in its belly. We put the latter at pref_address, where the kernel is going to run, so
 * that it need not move itself. It decompresses in place and wants init_size bytes of RAM there.
 *
 * Documentation/arch/x86/boot.rst of Linux; offsets below are those of its tables.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "vmm/endian.h"
#include "vmm/util.h"

enum {
	HDR_START = 0x1f1,
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_JUMP_LENGTH = 0x201,
	HDR_VERSION = 0x206,
	HDR_LOADFLAGS = 0x211,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260,
	HDR_END_MIN = 0x264, /* protocol 2.12, the first with a 64-bit entry */
	HDR_END_MAX = HDR_START + BOOT_SETUP_HEADER_MAX,
};

#define LOADED_HIGH    BIT(0)
#define XLF_KERNEL_64  BIT(0)
#define VERSION_64BIT  0x020c
#define ENTRY64_OFFSET 0x200
/* boot.rst, "syssize": a linker may round up to it without padding the file (memtest86+ does). */
#define SYSSIZE_UNIT 16

static int corrupt(const struct boot_image *img, const char *field, struct err *err)
{
	return err_set(err, -ENOEXEC, "kernel '%s': the bzImage's header is corrupt (%s)",
	               img->path, field);
}

/* Where the protected-mode code goes and how much RAM it needs from there. */
static int place(struct boot_image *img, const uint8_t *head, struct boot_segment *seg,
                 struct err *err)
{
	uint64_t load = load_le64(head + HDR_PREF_ADDRESS);
	uint64_t align = load_le32(head + HDR_KERNEL_ALIGNMENT);
	uint64_t start;

	if (!load)
		load = LAYOUT_HIGH_RAM;
	if (load < LAYOUT_HIGH_RAM || load >= LAYOUT_HOLE_START)
		return corrupt(img, "pref_address", err);
	start = load;
	if (head[HDR_RELOCATABLE]) {
		if (!align || (align & (align - 1)))
			return corrupt(img, "kernel_alignment", err);
		start = align_up(load, align);
	}
	seg->paddr = load;
	seg->memsz = max_u64(start - load + load_le32(head + HDR_INIT_SIZE), seg->filesz);
	if (seg->memsz > LAYOUT_HOLE_START - load)
		return corrupt(img, "init_size", err);
	img->entry = load + ENTRY64_OFFSET;
	return 0;
}

static int check_bootable(const struct boot_image *img, const uint8_t *head, size_t len,
                          enum boot_protocol want, struct err *err)
{
	unsigned version;

	if (len < HDR_END_MIN)
		return err_set(
			err, -ENOEXEC,
			"kernel '%s': the file is truncated: it ends within the bzImage's header",
			img->path);
	version = load_le16(head + HDR_VERSION);
	if (!(head[HDR_LOADFLAGS] & LOADED_HIGH))
		return err_set(err, -ENOEXEC, "kernel '%s': is a zImage, not a bzImage; %s",
		               img->path, BOOT_WHAT_KERNELS);
	if (version < VERSION_64BIT || !(load_le16(head + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return err_set(
			err, -ENOEXEC,
			"kernel '%s': has no 64-bit entry (boot protocol %u.%02u), as 32-bit "
			"kernels, those before Linux 3.8 and boot programs like iPXE; %s",
			img->path, version >> 8, version & 0xff, BOOT_WHAT_KERNELS);
	if (want != BOOT_AUTO && want != BOOT_LINUX64)
		return err_set(err, -EINVAL,
		               "kernel '%s': a bzImage has no %s entry; use --boot linux64, or the "
		               "ELF vmlinux",
		               img->path, want == BOOT_PVH ? "PVH" : "Multiboot");
	return 0;
}

int bzimage_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
                  struct err *err)
{
	struct boot_segment *seg = &img->segments[0];
	unsigned header_end;
	uint64_t end;
	int rc;

	rc = check_bootable(img, head, len, want, err);
	if (rc < 0)
		return rc;

	header_end = 0x202u + head[HDR_JUMP_LENGTH];
	if (header_end < HDR_END_MIN || header_end > HDR_END_MAX || header_end > len)
		return corrupt(img, "length", err);

	seg->offset = ((head[HDR_SETUP_SECTS] ? head[HDR_SETUP_SECTS] : 4u) + 1u) * 512u;
	seg->filesz = (uint64_t)load_le32(head + HDR_SYSSIZE) * SYSSIZE_UNIT;
	end = seg->offset + seg->filesz;
	if (seg->filesz <= ENTRY64_OFFSET)
		return corrupt(img, "syssize", err);
	if (end >= img->size + SYSSIZE_UNIT)
		return err_set(
			err, -ENOEXEC,
			"kernel '%s': the file is truncated: it has %llu bytes, its header says "
			"%llu",
			img->path, (unsigned long long)img->size, (unsigned long long)end);
	if (end > img->size)
		seg->filesz = img->size - seg->offset;
	rc = place(img, head, seg, err);
	if (rc < 0)
		return rc;

	img->nr_segments = 1;
	img->format = BOOT_FORMAT_BZIMAGE;
	img->protocol = BOOT_LINUX64;
	img->is_linux = true;
	img->cmdline_max = load_le32(head + HDR_CMDLINE_SIZE);
	img->initrd_max = load_le32(head + HDR_INITRD_ADDR_MAX);
	img->setup_header_len = header_end - HDR_START;
	memcpy(img->setup_header, head + HDR_START, img->setup_header_len);
	return 0;
}
