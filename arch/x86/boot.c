/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loading a kernel.
 *
 * Theory of operation. boot_open() finds out what kind of file it is and lets the reader for that
 * kind (bzimage.c, elf.c, multiboot.c) turn it into a list of segments, an entry and limits, without any guest
 * memory. boot_load() is then the same for all kinds: segments from the file straight into guest
 * memory, the initrd as high as the kernel lets it be, the command line, the tables, and at last
 * what the protocol (linux64.c, pvh.c, multiboot.c) hands over. Nothing is kept between two loads: a reset loads
 * again.
 */
#include "arch/x86/boot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "devices/legacy/acpi_pm_regs.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define SETUP_DATA_HEADER 16 /* next, type, len */
#define SETUP_DTB         2
#define PAGE              4096

/*
 * Open @path for reading; @what ("kernel") is for messages. The descriptor, or a negative errno.
 * Without O_NONBLOCK a FIFO would make us wait for ever.
 */
static int open_regular(const char *what, const char *path, uint64_t *size, struct err *err)
{
	struct stat st;
	int fd, rc;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return err_errno(err, -errno, "%s '%s': cannot be opened", what, path);
	if (fstat(fd, &st) < 0)
		rc = err_errno(err, -errno, "%s '%s': cannot be examined", what, path);
	else if (S_ISDIR(st.st_mode))
		rc = err_set(err, -EISDIR, "%s '%s': is a directory, not a file", what, path);
	else if (!S_ISREG(st.st_mode))
		rc = err_set(err, -EINVAL, "%s '%s': is not a regular file", what, path);
	else if (st.st_size == 0)
		rc = err_set(err, -ENOEXEC, "%s '%s': the file is empty", what, path);
	else
		rc = 0;
	if (rc < 0) {
		fd_close(&fd);
		return rc;
	}
	*size = (uint64_t)st.st_size;
	return fd;
}

static bool is_text(const uint8_t *head, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (head[i] < '\b' || (head[i] > '\r' && head[i] < ' ' && head[i] != '\033'))
			return false;
	return true;
}

/* Neither ELF, bzImage nor Multiboot: say what it looks like instead. */
static int not_a_kernel(const struct boot_image *img, const uint8_t *head, size_t len,
                        struct err *err)
{
	static const struct {
		const char *magic;
		size_t len;
		const char *what;
	} kinds[] = {
		{"\x1f\x8b", 2, "is compressed (gzip): unpack it first"},
		{"\3757zXZ", 5, "is compressed (xz): unpack it first"},
		{"\x28\xb5\x2f\xfd", 4, "is compressed (zstd): unpack it first"},
		{"07070", 5, "is a cpio archive (an initrd, for -i?)"},
		{"MZ", 2, "is an EFI program, or a bzImage that is truncated within its header"},
		{"QFI\xfb", 4, "is a qcow2 disk image"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (len >= kinds[i].len && !memcmp(head, kinds[i].magic, kinds[i].len))
			return err_set(err, -ENOEXEC, "kernel '%s': %s; %s", img->path,
			               kinds[i].what, BOOT_WHAT_KERNELS);
	if (multiboot2_is(head, len))
		return err_set(err, -ENOEXEC, "kernel '%s': is a Multiboot2 kernel; %s", img->path,
		               BOOT_WHAT_KERNELS);
	return err_set(err, -ENOEXEC, "kernel '%s': is %s, not a kernel; %s", img->path,
	               is_text(head, len) ? "a text file" : "of no known format",
	               BOOT_WHAT_KERNELS);
}

int boot_open(struct boot_image *img, const char *path, enum boot_protocol protocol,
              struct err *err)
{
	uint8_t head[BOOT_HEAD_SIZE] = {0};
	struct multiboot_header mb;
	size_t len;
	int rc;

	*img = (struct boot_image){.path = path, .fd = -1};
	rc = open_regular("kernel", path, &img->size, err);
	if (rc < 0)
		return rc;
	img->fd = rc;
	len = min_u64(img->size, sizeof(head));
	rc = fd_pread_full(img->fd, head, len, 0);
	if (rc < 0)
		rc = err_errno(err, rc, "kernel '%s': cannot be read", path);
	else if (len >= SELFMAG && !memcmp(head, ELFMAG, SELFMAG))
		rc = elf_probe(img, head, len, protocol, err);
	else if (load_le16(head + 0x1fe) == 0xaa55 && !memcmp(head + 0x202, "HdrS", 4))
		rc = bzimage_probe(img, head, len, protocol, err);
	else if (multiboot_find(head, len, &mb))
		rc = multiboot_probe(img, &mb, protocol, err);
	else
		rc = not_a_kernel(img, head, len, err);
	if (rc < 0)
		boot_close(img);
	return rc;
}

void boot_close(struct boot_image *img)
{
	fd_close(&img->fd);
}

static unsigned long long mib_up(uint64_t bytes)
{
	return (bytes + MIB(1) - 1) >> 20;
}

static unsigned long long mib_down(uint64_t bytes)
{
	return bytes >> 20;
}

/* The address behind the last byte that the kernel needs before it looks at the memory map. */
static uint64_t kernel_end(const struct boot_image *img)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < img->nr_segments; i++)
		end = max_u64(end, img->segments[i].paddr + img->segments[i].memsz);
	return end;
}

static int load_kernel(const struct boot_image *img, const struct platform *p,
                       const struct memory *mem, struct err *err)
{
	if (kernel_end(img) > p->ram_low)
		return err_set(err, -ENOMEM,
		               "kernel '%s': does not fit into %llu MiB: use -m %lluM or more",
		               img->path, mib_up(p->ram_low + p->ram_high),
		               mib_up(kernel_end(img)));
	for (unsigned i = 0; i < img->nr_segments; i++) {
		const struct boot_segment *seg = &img->segments[i];
		uint8_t *to = memory_at(mem, gpa(seg->paddr), seg->memsz);
		int rc;

		if (!to)
			return err_set(err, -EFAULT, "kernel '%s': no guest memory at %#llx",
			               img->path, (unsigned long long)seg->paddr);
		rc = fd_pread_full(img->fd, to, seg->filesz, (off_t)seg->offset);
		if (rc < 0)
			return err_errno(err, rc, "kernel '%s': cannot be read", img->path);
		if (seg->clear)
			memset(to + seg->filesz, 0, seg->memsz - seg->filesz);
	}
	return 0;
}

static int load_cmdline(const struct boot_image *img, const char *cmdline, const struct memory *mem,
                        struct err *err)
{
	/* By Multiboot the kernel's name comes first. */
	const char *name = img->protocol == BOOT_MULTIBOOT ? img->path : "";
	const char *space = *name && *cmdline ? " " : "";
	size_t before = strlen(name) + strlen(space), len = strlen(cmdline);
	size_t max = min_u64(img->cmdline_max, LAYOUT_CMDLINE_MAX - 1);

	max = max > before ? max - before : 0;

	if (len > max)
		return err_set(
			err, -E2BIG,
			"kernel command line (-p): has %zu characters, '%s' takes at most %zu", len,
			img->path, max);
	if (memory_write(mem, gpa(LAYOUT_CMDLINE), name, strlen(name)) < 0 ||
	    memory_write(mem, gpa(LAYOUT_CMDLINE + strlen(name)), space, strlen(space)) < 0 ||
	    memory_write(mem, gpa(LAYOUT_CMDLINE + before), cmdline, len + 1) < 0)
		return err_set(err, -ENOMEM,
		               "no guest memory for the command line: use a larger -m");
	return 0;
}

struct initrd_files {
	int fd[BOOT_INITRD_MAX];
	uint64_t size[BOOT_INITRD_MAX];
	uint64_t at[BOOT_INITRD_MAX]; /* where each part begins, from the first one's start */
	uint64_t total;
};

static const char *initrd_name(const struct boot_initrd_part *part)
{
	return part->path ? part->path : "(built in)";
}

static int initrd_open(const struct boot_request *req, uint64_t align, struct initrd_files *f,
                       struct err *err)
{
	if (req->nr_initrd > BOOT_INITRD_MAX)
		return err_set(err, -E2BIG, "%u initrds (-i): at most %d can be joined",
		               req->nr_initrd, BOOT_INITRD_MAX);
	for (unsigned i = 0; i < req->nr_initrd; i++) {
		const struct boot_initrd_part *part = &req->initrd[i];

		f->size[i] = part->len;
		if (part->path) {
			int fd = open_regular("initrd", part->path, &f->size[i], err);

			if (fd < 0)
				return fd;
			f->fd[i] = fd;
		}
		f->at[i] = align_up(f->total, align);
		f->total = f->at[i] + f->size[i];
	}
	return 0;
}

/* As high as kernel and RAM allow, so that the kernel has room to unfold below. */
static int initrd_place(const struct boot_image *img, const struct boot_request *req,
                        uint64_t total, uint64_t *addr, struct err *err)
{
	const char *name = initrd_name(&req->initrd[0]);
	uint64_t floor = align_up(kernel_end(img), PAGE);
	uint64_t limit = min_u64(img->initrd_max + 1, LAYOUT_HOLE_START);
	uint64_t top = min_u64(limit, req->platform->ram_low);
	uint64_t room = top > floor ? align_down(top, PAGE) - floor : 0;

	if (align_up(total, PAGE) <= room) {
		*addr = align_down(top - total, PAGE);
		return 0;
	}
	if (limit < floor || align_up(total, PAGE) > limit - floor)
		return err_set(
			err, -EFBIG,
			"initrd '%s': has %llu MiB, the kernel '%s' can take %llu MiB at most",
			name, mib_up(total), img->path,
			mib_down(limit > floor ? limit - floor : 0));
	return err_set(err, -ENOMEM,
	               "initrd '%s': has %llu MiB, above the kernel there are %llu MiB: use -m "
	               "%lluM or more",
	               name, mib_up(total), mib_down(room), mib_up(floor + align_up(total, PAGE)));
}

static int initrd_copy(const struct boot_request *req, const struct initrd_files *f, uint8_t *to,
                       struct err *err)
{
	for (unsigned i = 0; i < req->nr_initrd; i++) {
		const struct boot_initrd_part *part = &req->initrd[i];
		uint64_t end = f->at[i] + f->size[i];
		int rc = 0;

		if (part->path)
			rc = fd_pread_full(f->fd[i], to + f->at[i], f->size[i], 0);
		else if (part->len)
			memcpy(to + f->at[i], part->data, part->len);
		if (rc < 0)
			return err_errno(err, rc, "initrd '%s': cannot be read", part->path);
		if (i + 1 < req->nr_initrd)
			memset(to + end, 0, f->at[i + 1] - end);
	}
	return 0;
}

static int load_initrd(const struct boot_image *img, const struct boot_request *req,
                       const struct memory *mem, struct boot_placed *at, struct err *err)
{
	struct initrd_files f = {.total = 0};
	uint8_t *to;
	int rc;

	for (unsigned i = 0; i < BOOT_INITRD_MAX; i++)
		f.fd[i] = -1;
	rc = initrd_open(req, img->protocol == BOOT_MULTIBOOT ? PAGE : 4, &f, err);
	if (!rc && f.total)
		rc = initrd_place(img, req, f.total, &at->initrd_addr, err);
	if (!rc && f.total) {
		to = memory_at(mem, gpa(at->initrd_addr), f.total);
		rc = to ? initrd_copy(req, &f, to, err)
		        : err_set(err, -EFAULT, "initrd '%s': no guest memory at %#llx",
		                  initrd_name(&req->initrd[0]),
		                  (unsigned long long)at->initrd_addr);
		at->initrd_size = f.total;
	}
	for (unsigned i = 0; !rc && i < req->nr_initrd; i++) {
		at->part_addr[i] = at->initrd_addr + f.at[i];
		at->part_size[i] = f.size[i];
	}
	for (unsigned i = 0; i < BOOT_INITRD_MAX; i++)
		fd_close(&f.fd[i]);
	return rc;
}

/* The one node of the setup_data chain: boot.rst, "setup_data". */
static int load_fdt(const struct boot_request *req, const struct memory *mem,
                    struct boot_placed *at, struct err *err)
{
	struct fdt_chosen chosen = {req->cmdline, at->initrd_addr,
	                            at->initrd_addr + at->initrd_size};
	uint8_t *node = memory_at(mem, gpa(LAYOUT_FDT), LAYOUT_FDT_MAX);
	size_t len;
	int rc;

	if (!node)
		return err_set(err, -ENOMEM,
		               "no guest memory for the device tree: use a larger -m");
	rc = fdt_build(req->platform, &chosen, node + SETUP_DATA_HEADER,
	               LAYOUT_FDT_MAX - SETUP_DATA_HEADER, &len, err);
	if (rc < 0)
		return rc;
	store_le64(node, 0);
	store_le32(node + 8, SETUP_DTB);
	store_le32(node + 12, (uint32_t)len);
	at->setup_data = LAYOUT_FDT;
	return 0;
}

/* Flat segments of 4 GiB at BOOT_CS and BOOT_DS: accessed, so that no CPU writes to them. */
static int load_gdt(enum boot_protocol protocol, const struct memory *mem, struct err *err)
{
	uint8_t gdt[BOOT_GDT_SIZE] = {0};

	store_le64(gdt + BOOT_CS,
	           protocol == BOOT_LINUX64 ? 0x00af9b000000ffff : 0x00cf9b000000ffff);
	store_le64(gdt + BOOT_DS, 0x00cf93000000ffff);
	if (memory_write(mem, gpa(LAYOUT_GDT), gdt, sizeof(gdt)) < 0)
		return err_set(err, -ENOMEM, "no guest memory for the GDT: use a larger -m");
	return 0;
}

/*
 * There is no firmware, but some kernels go back to it in order to reboot: in real mode, to the
 * reset vector below 1 MiB. Linux does when ACPI is hardware-reduced and there is no EFI. What it
 * finds there writes the reset register:
 *
 *	mov $reset_register, %dx;  mov $value, %al;  out %al, %dx;  1: hlt;  jmp 1b
 */
static int load_reset_vector(const struct memory *mem)
{
	const uint16_t port = LAYOUT_ACPI_PM + ACPI_PM_RESET;
	const uint8_t code[] = {
		0xba, port & 0xff, port >> 8, 0xb0, ACPI_PM_RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd,
	};

	return memory_write(mem, gpa(LAYOUT_RESET_VECTOR), code, sizeof(code));
}

static int write_protocol(const struct boot_image *img, const struct boot_request *req,
                          const struct boot_placed *at, const struct memory *mem,
                          struct boot_entry *entry, struct err *err)
{
	switch (img->protocol) {
	case BOOT_PVH:
		return pvh_write(req, at, mem, entry, err);
	case BOOT_MULTIBOOT:
		return multiboot_write(req, at, mem, entry, err);
	default:
		return linux64_write(img, req, at, mem, entry, err);
	}
}

int boot_load(const struct boot_image *img, const struct boot_request *req,
              const struct memory *mem, struct boot_entry *entry, struct err *err)
{
	struct boot_placed at = {0};
	int rc;

	*entry = (struct boot_entry){.protocol = img->protocol, .rip = img->entry};
	if (req->fdt && img->protocol != BOOT_LINUX64)
		return err_set(
			err, -EINVAL,
			"kernel '%s': a device tree can only be handed over with --boot linux64",
			img->path);
	rc = load_kernel(img, req->platform, mem, err);
	if (!rc)
		rc = load_cmdline(img, req->cmdline, mem, err);
	if (!rc && req->nr_initrd)
		rc = load_initrd(img, req, mem, &at, err);
	if (!rc)
		rc = acpi_build(req->platform, mem, &at.rsdp, err);
	if (!rc)
		rc = mptable_build(req->platform, mem, err);
	if (!rc)
		rc = load_reset_vector(mem);
	if (!rc && req->fdt)
		rc = load_fdt(req, mem, &at, err);
	if (!rc)
		rc = load_gdt(img->protocol, mem, err);
	if (!rc)
		rc = write_protocol(img, req, &at, mem, entry, err);
	return rc;
}
