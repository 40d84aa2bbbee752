/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot (version 1): the header by which a kernel says that it is started so, and the structure
 * that it gets.
 *
 * Theory of operation. The header lies anywhere in the first 8 KiB of the file. Its flags say what
 * the kernel cannot do without (bits 0 to 15: a loader that does not know one has to refuse) and
 * whether the header itself says what is loaded where (bit 16, "a.out kludge"; it then counts more
 * than the ELF header, and the file need not be ELF). multiboot_probe() turns that into segments
 * and an entry, as elf.c does with program headers.
 *
 * The kernel is entered in 32-bit protected mode, paging off, EAX = MULTIBOOT_MAGIC and EBX = the
 * information structure; cpu.c does that. Each initrd (-i) is a module. The command line begins
 * with the kernel's file name, as GRUB and QEMU have it. Not handed over: symbols, drives, APM and
 * a video mode, for none of which there is a BIOS to ask.
 *
 * Multiboot Specification 0.6.96, chapters 3.1 (header), 3.2 (machine state), 3.3 (information).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define HEADER_MAGIC  0x1badb002
#define HEADER_SEARCH 8192
#define HEADER_SIZE   12
#define ADDRS_SIZE    32 /* with the addresses of bit 16 */

#define MB2_MAGIC  0xe85250d6
#define MB2_SEARCH 32768
#define MB2_SIZE   16

/* Flags of the header. */
#define WANT_PAGE_ALIGN BIT(0) /* modules; they always are */
#define WANT_MEMORY     BIT(1) /* mem_* and mmap_*; always given */
#define WANT_VIDEO      BIT(2)
#define MANDATORY       0xffffu
#define HAS_ADDRS       BIT(16)

/* Flags of the information structure. */
#define INFO_MEMORY  BIT(0)
#define INFO_CMDLINE BIT(2)
#define INFO_MODS    BIT(3)
#define INFO_MMAP    BIT(6)
#define INFO_LOADER  BIT(9)

struct mb_info {
	le32 flags;
	le32 mem_lower, mem_upper; /* KiB from 0 and from 1 MiB */
	le32 boot_device;
	le32 cmdline;
	le32 mods_count, mods_addr;
	le32 syms[4];
	le32 mmap_length, mmap_addr;
	le32 drives_length, drives_addr;
	le32 config_table;
	le32 boot_loader_name;
	le32 apm_table;
	le32 vbe[4];
};

struct mb_module {
	le32 start, end; /* @end: behind the last byte */
	le32 string;
	le32 reserved;
};

/* @size does not count itself. */
struct mb_range {
	le32 size;
	le32 addr[2], length[2];
	le32 type; /* e820's types */
};

struct mb_page {
	struct mb_info info;
	struct mb_module modules[BOOT_INITRD_MAX];
	struct mb_range map[E820_MAX];
	char loader[16];
	char names[BOOT_INITRD_MAX][256];
};

_Static_assert(sizeof(struct mb_info) == 88, "3.3");
_Static_assert(sizeof(struct mb_module) == 16, "3.3");
_Static_assert(sizeof(struct mb_range) == 24, "3.3");
_Static_assert(LAYOUT_PVH_START_INFO + sizeof(struct mb_page) <= LAYOUT_ZERO_PAGE, "layout.h");

bool multiboot_find(const uint8_t *head, size_t len, struct multiboot_header *h)
{
	size_t end = min_u64(len, HEADER_SEARCH);

	for (size_t at = 0; at + HEADER_SIZE <= end; at += 4) {
		uint32_t flags = load_le32(head + at + 4);

		if (load_le32(head + at) != HEADER_MAGIC ||
		    HEADER_MAGIC + flags + load_le32(head + at + 8) != 0)
			continue;
		*h = (struct multiboot_header){.offset = at, .flags = flags};
		h->has_addrs = (flags & HAS_ADDRS) && at + ADDRS_SIZE <= end;
		if (h->has_addrs) {
			h->header_addr = load_le32(head + at + 12);
			h->load_addr = load_le32(head + at + 16);
			h->load_end_addr = load_le32(head + at + 20);
			h->bss_end_addr = load_le32(head + at + 24);
			h->entry_addr = load_le32(head + at + 28);
		}
		return true;
	}
	return false;
}

bool multiboot2_is(const uint8_t *head, size_t len)
{
	size_t end = min_u64(len, MB2_SEARCH);

	for (size_t at = 0; at + MB2_SIZE <= end; at += 8)
		if (load_le32(head + at) == MB2_MAGIC &&
		    MB2_MAGIC + load_le32(head + at + 4) + load_le32(head + at + 8) +
		                    load_le32(head + at + 12) ==
		            0)
			return true;
	return false;
}

int multiboot_check(const struct boot_image *img, const struct multiboot_header *h, struct err *err)
{
	uint32_t unknown = h->flags & MANDATORY & ~(WANT_PAGE_ALIGN | WANT_MEMORY);

	if (unknown & WANT_VIDEO)
		return err_set(err, -ENOTSUP,
		               "kernel '%s': its Multiboot header wants a video mode (flags "
		               "%#x), and this machine has no display: build it without",
		               img->path, h->flags);
	if (unknown)
		return err_set(err, -ENOTSUP,
		               "kernel '%s': its Multiboot header wants what trivm does not know "
		               "(flags %#x, bits %#x): build it without",
		               img->path, h->flags, unknown);
	if ((h->flags & HAS_ADDRS) && !h->has_addrs)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': the file is truncated: it ends within its Multiboot "
		               "header",
		               img->path);
	return 0;
}

static int bad_addresses(const struct boot_image *img, const char *what, uint32_t addr,
                         struct err *err)
{
	return err_set(err, -ENOEXEC,
	               "kernel '%s': %s of its Multiboot header (%#x) makes no sense", img->path,
	               what, addr);
}

/* 3.1.3: one segment, from the file's byte that belongs at load_addr on. */
int multiboot_addresses(struct boot_image *img, const struct multiboot_header *h, struct err *err)
{
	uint64_t before = (uint64_t)h->header_addr - h->load_addr;
	struct boot_segment *seg = &img->segments[0];

	if (h->header_addr < h->load_addr || before > h->offset)
		return bad_addresses(img, "header_addr", h->header_addr, err);
	if (h->load_addr < LAYOUT_HIGH_RAM || h->load_addr >= LAYOUT_HOLE_START)
		return bad_addresses(img, "load_addr", h->load_addr, err);
	*seg = (struct boot_segment){
		.offset = h->offset - before, .paddr = h->load_addr, .clear = true};
	seg->filesz = img->size - seg->offset;
	if (h->load_end_addr) {
		if (h->load_end_addr <= h->load_addr)
			return bad_addresses(img, "load_end_addr", h->load_end_addr, err);
		if (h->load_end_addr - h->load_addr > seg->filesz)
			return err_set(err, -ENOEXEC,
			               "kernel '%s': the file is truncated: it has %llu bytes "
			               "from %llu, its Multiboot header says %u",
			               img->path, (unsigned long long)seg->filesz,
			               (unsigned long long)seg->offset,
			               h->load_end_addr - h->load_addr);
		seg->filesz = h->load_end_addr - h->load_addr;
	}
	seg->memsz = seg->filesz;
	if (h->bss_end_addr) {
		if (h->bss_end_addr < h->load_addr + seg->filesz)
			return bad_addresses(img, "bss_end_addr", h->bss_end_addr, err);
		seg->memsz = h->bss_end_addr - h->load_addr;
	}
	if (seg->memsz > LAYOUT_HOLE_START - seg->paddr)
		return bad_addresses(img, "load_addr", h->load_addr, err);
	if (h->entry_addr < h->load_addr || h->entry_addr - h->load_addr >= seg->filesz)
		return bad_addresses(img, "entry_addr", h->entry_addr, err);
	img->nr_segments = 1;
	img->entry = h->entry_addr;
	return 0;
}

void multiboot_limits(struct boot_image *img)
{
	img->protocol = BOOT_MULTIBOOT;
	img->cmdline_max = LAYOUT_CMDLINE_MAX - 1;
	img->initrd_max = LAYOUT_HOLE_START - 1;
}

int multiboot_probe(struct boot_image *img, const struct multiboot_header *h,
                    enum boot_protocol want, struct err *err)
{
	int rc;

	if (want != BOOT_AUTO && want != BOOT_MULTIBOOT)
		return err_set(err, -EINVAL,
		               "kernel '%s': is a Multiboot kernel; use --boot multiboot",
		               img->path);
	rc = multiboot_check(img, h, err);
	if (rc == 0 && !h->has_addrs)
		rc = err_set(
			err, -ENOEXEC,
			"kernel '%s': its Multiboot header says no addresses, and it is not an "
			"ELF file; %s",
			img->path, BOOT_WHAT_KERNELS);
	if (rc == 0)
		rc = multiboot_addresses(img, h, err);
	if (rc < 0)
		return rc;
	img->format = BOOT_FORMAT_MULTIBOOT;
	multiboot_limits(img);
	return 0;
}

static uint32_t address(size_t offset)
{
	return LAYOUT_PVH_START_INFO + (uint32_t)offset;
}

static void write_modules(const struct boot_request *req, const struct boot_placed *at,
                          struct mb_page *page)
{
	for (unsigned i = 0; i < req->nr_initrd; i++) {
		const char *name = req->initrd[i].path ? req->initrd[i].path : "";

		snprintf(page->names[i], sizeof(page->names[i]), "%s", name);
		page->modules[i].start = le32_of((uint32_t)at->part_addr[i]);
		page->modules[i].end = le32_of((uint32_t)(at->part_addr[i] + at->part_size[i]));
		page->modules[i].string = le32_of(address(offsetof(struct mb_page, names)) +
		                                  i * (uint32_t)sizeof(page->names[0]));
	}
	page->info.mods_count = le32_of(req->nr_initrd);
	page->info.mods_addr = le32_of(address(offsetof(struct mb_page, modules)));
}

static void write_map(const struct platform *p, struct mb_page *page)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(p, map);

	for (unsigned i = 0; i < n; i++) {
		struct mb_range *r = &page->map[i];

		r->size = le32_of(sizeof(*r) - sizeof(r->size));
		r->addr[0] = le32_of((uint32_t)map[i].addr);
		r->addr[1] = le32_of((uint32_t)(map[i].addr >> 32));
		r->length[0] = le32_of((uint32_t)map[i].size);
		r->length[1] = le32_of((uint32_t)(map[i].size >> 32));
		r->type = le32_of(map[i].type);
	}
	page->info.mmap_length = le32_of(n * (uint32_t)sizeof(page->map[0]));
	page->info.mmap_addr = le32_of(address(offsetof(struct mb_page, map)));
	page->info.mem_lower = le32_of((uint32_t)min_u64(p->ram_low, LAYOUT_LOW_RAM_END) >> 10);
	page->info.mem_upper = le32_of((uint32_t)((p->ram_low - LAYOUT_HIGH_RAM) >> 10));
}

int multiboot_write(const struct boot_request *req, const struct boot_placed *at,
                    const struct memory *mem, struct boot_entry *entry, struct err *err)
{
	struct mb_page page;

	memset(&page, 0, sizeof(page));
	page.info.flags = le32_of(INFO_MEMORY | INFO_CMDLINE | INFO_MODS | INFO_MMAP | INFO_LOADER);
	page.info.cmdline = le32_of(LAYOUT_CMDLINE);
	write_modules(req, at, &page);
	write_map(req->platform, &page);
	snprintf(page.loader, sizeof(page.loader), "trivm");
	page.info.boot_loader_name = le32_of(address(offsetof(struct mb_page, loader)));
	if (memory_write(mem, gpa(LAYOUT_PVH_START_INFO), &page, sizeof(page)) < 0)
		return err_set(err, -ENOMEM,
		               "no guest memory for the Multiboot information: use a larger -m");
	entry->param = LAYOUT_PVH_START_INFO;
	return 0;
}
