/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PVH: the structures that ebx points to at a PVH entry.
 *
 * xen/include/public/arch-x86/hvm/start_info.h, version 1. start_info, the list of modules (one:
 * the initrd) and the memory map share the page at LAYOUT_PVH_START_INFO.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"

#define PVH_MAGIC   0x336ec578
#define PVH_VERSION 1

struct pvh_start_info {
	le32 magic;
	le32 version;
	le32 flags;
	le32 nr_modules;
	le64 modlist_paddr;
	le64 cmdline_paddr;
	le64 rsdp_paddr;
	le64 memmap_paddr;
	le32 memmap_entries;
	le32 reserved;
};

struct pvh_module {
	le64 paddr;
	le64 size;
	le64 cmdline_paddr;
	le64 reserved;
};

struct pvh_memmap_entry {
	le64 addr;
	le64 size;
	le32 type; /* e820's types */
	le32 reserved;
};

struct pvh_page {
	struct pvh_start_info info;
	struct pvh_module initrd;
	struct pvh_memmap_entry memmap[E820_MAX];
};

_Static_assert(sizeof(struct pvh_start_info) == 56, "start_info.h");
_Static_assert(sizeof(struct pvh_module) == 32, "start_info.h");
_Static_assert(sizeof(struct pvh_memmap_entry) == 24, "start_info.h");
_Static_assert(LAYOUT_PVH_START_INFO + sizeof(struct pvh_page) <= LAYOUT_ZERO_PAGE, "layout.h");

int pvh_write(const struct boot_request *req, const struct boot_placed *at,
              const struct memory *mem, struct boot_entry *entry, struct err *err)
{
	struct e820_range map[E820_MAX];
	struct pvh_page page;
	unsigned n = e820_build(req->platform, map);

	memset(&page, 0, sizeof(page));
	page.info.magic = le32_of(PVH_MAGIC);
	page.info.version = le32_of(PVH_VERSION);
	page.info.cmdline_paddr = le64_of(LAYOUT_CMDLINE);
	page.info.rsdp_paddr = le64_of(at->rsdp);
	if (at->initrd_size) {
		page.info.nr_modules = le32_of(1);
		page.info.modlist_paddr =
			le64_of(LAYOUT_PVH_START_INFO + offsetof(struct pvh_page, initrd));
		page.initrd.paddr = le64_of(at->initrd_addr);
		page.initrd.size = le64_of(at->initrd_size);
	}
	page.info.memmap_paddr = le64_of(LAYOUT_PVH_START_INFO + offsetof(struct pvh_page, memmap));
	page.info.memmap_entries = le32_of(n);
	for (unsigned i = 0; i < n; i++) {
		page.memmap[i].addr = le64_of(map[i].addr);
		page.memmap[i].size = le64_of(map[i].size);
		page.memmap[i].type = le32_of(map[i].type);
	}
	if (memory_write(mem, gpa(LAYOUT_PVH_START_INFO), &page, sizeof(page)) < 0)
		return err_set(err, -ENOMEM, "no guest memory for start_info: use a larger -m");
	entry->param = LAYOUT_PVH_START_INFO;
	return 0;
}
