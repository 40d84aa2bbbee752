/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux's 64-bit boot protocol: boot_params (the "zero page") and identity page tables.
 *
 * Documentation/arch/x86/boot.rst, "64-bit Boot Protocol", and zero-page.rst of Linux: boot_params
 * is zero but for the setup header, which is the image's own with our answers in it, and the fields
 * that a boot loader owns. A vmlinux has no setup header, so it gets the least that a kernel looks
 * at.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"
#include "vmm/util.h"

enum {
	BP_SIZE = 4096,
	BP_ACPI_RSDP_ADDR = 0x070,
	BP_EXT_RAMDISK_IMAGE = 0x0c0,
	BP_EXT_RAMDISK_SIZE = 0x0c4,
	BP_EXT_CMD_LINE_PTR = 0x0c8,
	BP_E820_ENTRIES = 0x1e8,
	BP_SETUP_HEADER = 0x1f1,
	BP_VID_MODE = 0x1fa,
	BP_BOOT_FLAG = 0x1fe,
	BP_HEADER = 0x202,
	BP_VERSION = 0x206,
	BP_TYPE_OF_LOADER = 0x210,
	BP_LOADFLAGS = 0x211,
	BP_CODE32_START = 0x214,
	BP_RAMDISK_IMAGE = 0x218,
	BP_RAMDISK_SIZE = 0x21c,
	BP_CMD_LINE_PTR = 0x228,
	BP_KERNEL_ALIGNMENT = 0x230,
	BP_XLOADFLAGS = 0x236,
	BP_SETUP_DATA = 0x250,
	BP_E820_TABLE = 0x2d0,
	BP_E820_ENTRY_SIZE = 20,
};

#define LOADER_UNDEFINED 0xff
#define VID_MODE_NORMAL  0xffff
#define LOADED_HIGH      BIT(0)
#define XLF_KERNEL_64    BIT(0)

#define PTE_PRESENT BIT64(0)
#define PTE_WRITE   BIT64(1)
#define PTE_LARGE   BIT64(7)
#define PT_SIZE     4096

/* The first 4 GiB onto themselves, in pages of 2 MiB: everything that we load lies there. */
static int write_page_tables(const struct memory *mem, struct err *err)
{
	uint8_t *pml4 = memory_at(mem, gpa(LAYOUT_PAGE_TABLES), 6 * PT_SIZE);
	uint8_t *pdpt, *pd;

	if (!pml4)
		return err_set(err, -ENOMEM, "no guest memory for page tables: use a larger -m");
	pdpt = pml4 + PT_SIZE;
	pd = pdpt + PT_SIZE;
	memset(pml4, 0, 2 * PT_SIZE);
	store_le64(pml4, (LAYOUT_PAGE_TABLES + PT_SIZE) | PTE_PRESENT | PTE_WRITE);
	for (uint64_t i = 0; i < 4; i++)
		store_le64(pdpt + i * 8,
		           (LAYOUT_PAGE_TABLES + (2 + i) * PT_SIZE) | PTE_PRESENT | PTE_WRITE);
	for (uint64_t i = 0; i < 4 * 512; i++)
		store_le64(pd + i * 8, MIB(2) * i | PTE_PRESENT | PTE_WRITE | PTE_LARGE);
	return 0;
}

static void write_setup_header(uint8_t *bp, const struct boot_image *img)
{
	if (img->setup_header_len) {
		memcpy(bp + BP_SETUP_HEADER, img->setup_header, img->setup_header_len);
	} else {
		store_le16(bp + BP_BOOT_FLAG, 0xaa55);
		memcpy(bp + BP_HEADER, "HdrS", 4);
		store_le16(bp + BP_VERSION, 0x020c);
		bp[BP_LOADFLAGS] = LOADED_HIGH;
		store_le32(bp + BP_KERNEL_ALIGNMENT, MIB(2));
		store_le16(bp + BP_XLOADFLAGS, XLF_KERNEL_64);
	}
	store_le16(bp + BP_VID_MODE, VID_MODE_NORMAL);
	bp[BP_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	store_le32(bp + BP_CODE32_START, (uint32_t)img->segments[0].paddr);
}

static void write_e820(uint8_t *bp, const struct platform *p)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(p, map);

	bp[BP_E820_ENTRIES] = (uint8_t)n;
	for (unsigned i = 0; i < n; i++) {
		uint8_t *e = bp + BP_E820_TABLE + i * BP_E820_ENTRY_SIZE;

		store_le64(e, map[i].addr);
		store_le64(e + 8, map[i].size);
		store_le32(e + 16, map[i].type);
	}
}

int linux64_write(const struct boot_image *img, const struct boot_request *req,
                  const struct boot_placed *at, const struct memory *mem, struct boot_entry *entry,
                  struct err *err)
{
	uint8_t *bp = memory_at(mem, gpa(LAYOUT_ZERO_PAGE), BP_SIZE);

	if (!bp)
		return err_set(err, -ENOMEM, "no guest memory for boot_params: use a larger -m");
	memset(bp, 0, BP_SIZE);
	write_setup_header(bp, img);
	store_le32(bp + BP_RAMDISK_IMAGE, (uint32_t)at->initrd_addr);
	store_le32(bp + BP_EXT_RAMDISK_IMAGE, (uint32_t)(at->initrd_addr >> 32));
	store_le32(bp + BP_RAMDISK_SIZE, (uint32_t)at->initrd_size);
	store_le32(bp + BP_EXT_RAMDISK_SIZE, (uint32_t)(at->initrd_size >> 32));
	store_le32(bp + BP_CMD_LINE_PTR, LAYOUT_CMDLINE);
	store_le32(bp + BP_EXT_CMD_LINE_PTR, 0);
	store_le64(bp + BP_SETUP_DATA, at->setup_data);
	store_le64(bp + BP_ACPI_RSDP_ADDR, at->rsdp);
	write_e820(bp, req->platform);
	entry->param = LAYOUT_ZERO_PAGE;
	return write_page_tables(mem, err);
}
