/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ELF kernels: vmlinux as it comes out of Linux's build, and bare-metal guests.
 *
 * Theory of operation. PT_LOAD segments go to their physical addresses. Where to start is said by a
 * note of the owner "Xen", type PHYS32_ENTRY: the PVH entry, in 32-bit mode; or by a Multiboot
 * header (multiboot.c): e_entry, in 32-bit mode. Without either a 64-bit image is entered in 64-bit
 * mode at e_entry, as Linux's own startup_64 expects it. If it has no notes of Linux's that is a
 * guess, which @guessed records for whoever has to explain a guest that dies at once.
 *
 * System V gABI, chapters 4 and 5; xen/include/public/elfnote.h for the note. The file is little
 * endian, as is every host that this is built for, so elf.h's structs are used as they are.
 */
#include <elf.h>
#include <errno.h>
#include <string.h>

#include "arch/x86/boot_image.h"
#include "arch/x86/layout.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define PHDRS_MAX     64
#define NOTES_MAX     KIB(64) /* of a PT_NOTE segment; nothing behind that is looked at */
#define NOTE_NAME_MAX 8       /* of names that we know */
#define NOTE_DESC_MAX 8

#define NOTE_XEN_GUEST_OS     6
#define NOTE_XEN_PHYS32_ENTRY 18
#define NOTE_LINUX_BUILD_SALT 0x100
#define NOTE_LINUX_LTO_INFO   0x101
/* COMMAND_LINE_SIZE of x86, which an ELF image does not tell. */
#define LINUX_COMMAND_LINE_MAX 2047
#define LINUX_INITRD_ADDR_MAX  0x7fffffff

/* What both classes have in common. */
struct elf_header {
	bool is64;
	unsigned machine, type, phnum, phentsize;
	uint64_t entry, phoff;
};

struct elf_notes {
	bool pvh, linux_notes;
	bool interp; /* it asks for a dynamic linker, as a program does (and FreeBSD's kernel) */
	uint64_t pvh_entry;
};

static int elf_header_read(const struct boot_image *img, const uint8_t *head, size_t len,
                           struct elf_header *h, struct err *err)
{
	size_t need = head[EI_CLASS] == ELFCLASS64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr);

	if (len < need)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': the file is truncated: it ends within the ELF header",
		               img->path);
	if (head[EI_DATA] != ELFDATA2LSB ||
	    (head[EI_CLASS] != ELFCLASS32 && head[EI_CLASS] != ELFCLASS64))
		return err_set(err, -ENOEXEC, "kernel '%s': is an ELF file, but not for x86; %s",
		               img->path, BOOT_WHAT_KERNELS);
	h->is64 = head[EI_CLASS] == ELFCLASS64;
	if (h->is64) {
		Elf64_Ehdr e;

		memcpy(&e, head, sizeof(e));
		*h = (struct elf_header){true,          e.e_machine, e.e_type, e.e_phnum,
		                         e.e_phentsize, e.e_entry,   e.e_phoff};
	} else {
		Elf32_Ehdr e;

		memcpy(&e, head, sizeof(e));
		*h = (struct elf_header){false,         e.e_machine, e.e_type, e.e_phnum,
		                         e.e_phentsize, e.e_entry,   e.e_phoff};
	}
	return 0;
}

static const char *machine_name(unsigned machine)
{
	switch (machine) {
	case EM_ARM:
		return "Arm (32 bit)";
	case EM_AARCH64:
		return "Arm (64 bit)";
	case EM_RISCV:
		return "RISC-V";
	case EM_PPC64:
		return "PowerPC";
	case EM_S390:
		return "s390";
	case EM_MIPS:
		return "MIPS";
	default:
		return "another processor";
	}
}

static int elf_header_check(const struct boot_image *img, const struct elf_header *h,
                            struct err *err)
{
	size_t phentsize = h->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);

	if (h->machine != EM_X86_64 && h->machine != EM_386)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': is an ELF image for %s (machine %u), not for x86; %s",
		               img->path, machine_name(h->machine), h->machine, BOOT_WHAT_KERNELS);
	/* The other way round is sound: objcopy -O elf32-x86-64 makes it for 32-bit loaders. */
	if (h->is64 && h->machine != EM_X86_64)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': ELF class and machine do not fit together", img->path);
	if (h->type != ET_EXEC && h->type != ET_DYN)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': is an ELF file, but no executable (type %u)",
		               img->path, h->type);
	if (!h->phnum || h->phnum > PHDRS_MAX || h->phentsize != phentsize)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': %u ELF program headers of %u bytes make no sense",
		               img->path, h->phnum, h->phentsize);
	return 0;
}

/* Program header @i as the 64-bit kind. */
static int elf_phdr_read(const struct boot_image *img, const struct elf_header *h, unsigned i,
                         Elf64_Phdr *ph, struct err *err)
{
	uint64_t offset = h->phoff + (uint64_t)i * h->phentsize;
	Elf32_Phdr p;
	int rc;

	/* An offset that wraps or that off_t does not hold is beyond any file. */
	rc = h->phoff >= img->size || offset >= img->size ? -ENODATA
	     : h->is64 ? fd_pread_full(img->fd, ph, sizeof(*ph), (off_t)offset)
	               : fd_pread_full(img->fd, &p, sizeof(p), (off_t)offset);
	if (rc == -ENODATA)
		return err_set(
			err, -ENOEXEC,
			"kernel '%s': the file is truncated: it ends within the program headers",
			img->path);
	if (rc < 0)
		return err_errno(err, rc, "kernel '%s': cannot be read", img->path);
	if (!h->is64)
		*ph = (Elf64_Phdr){.p_type = p.p_type,
		                   .p_flags = p.p_flags,
		                   .p_offset = p.p_offset,
		                   .p_vaddr = p.p_vaddr,
		                   .p_paddr = p.p_paddr,
		                   .p_filesz = p.p_filesz,
		                   .p_memsz = p.p_memsz,
		                   .p_align = p.p_align};
	if (ph->p_type != PT_LOAD && ph->p_type != PT_NOTE)
		return 0;
	if (ph->p_offset > img->size || ph->p_filesz > img->size - ph->p_offset)
		return err_set(
			err, -ENOEXEC,
			"kernel '%s': the file is truncated: it has %llu bytes, a segment has %llu "
			"from %llu",
			img->path, (unsigned long long)img->size, (unsigned long long)ph->p_filesz,
			(unsigned long long)ph->p_offset);
	return 0;
}

static int elf_add_segment(struct boot_image *img, const Elf64_Phdr *ph, struct err *err)
{
	if (!ph->p_memsz)
		return 0;
	if (ph->p_filesz > ph->p_memsz)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': a segment is larger in the file than in memory",
		               img->path);
	if (ph->p_paddr < LAYOUT_HIGH_RAM || ph->p_paddr >= LAYOUT_HOLE_START ||
	    ph->p_memsz > LAYOUT_HOLE_START - ph->p_paddr)
		return err_set(err, -ENOEXEC,
		               "kernel '%s': a segment of %llu bytes at address %#llx; a kernel "
		               "has to lie "
		               "between 1 MiB and %llu MiB",
		               img->path, (unsigned long long)ph->p_memsz,
		               (unsigned long long)ph->p_paddr,
		               (unsigned long long)(LAYOUT_HOLE_START >> 20));
	if (img->nr_segments == BOOT_SEGMENTS_MAX)
		return err_set(err, -ENOEXEC, "kernel '%s': has more than %d segments to load",
		               img->path, BOOT_SEGMENTS_MAX);
	img->segments[img->nr_segments++] = (struct boot_segment){
		.offset = ph->p_offset,
		.filesz = ph->p_filesz,
		.paddr = ph->p_paddr,
		.memsz = ph->p_memsz,
		.clear = true,
	};
	return 0;
}

static void elf_note(struct elf_notes *notes, const char *name, uint32_t type, const uint8_t *desc,
                     uint32_t descsz)
{
	if (!strcmp(name, "Xen") && type == NOTE_XEN_PHYS32_ENTRY && (descsz == 4 || descsz == 8)) {
		notes->pvh = true;
		notes->pvh_entry = descsz == 8 ? load_le64(desc) : load_le32(desc);
	}
	if (!strcmp(name, "Xen") && type == NOTE_XEN_GUEST_OS && descsz >= 5 &&
	    descsz <= NOTE_DESC_MAX && !memcmp(desc, "linux", 5))
		notes->linux_notes = true;
	if (!strcmp(name, "Linux") &&
	    (type == NOTE_LINUX_BUILD_SALT || type == NOTE_LINUX_LTO_INFO))
		notes->linux_notes = true;
}

/* Look through a PT_NOTE segment, whose range elf_phdr_read() has checked. */
static int elf_notes_read(const struct boot_image *img, const Elf64_Phdr *ph,
                          struct elf_notes *notes, struct err *err)
{
	uint64_t align = ph->p_align == 8 ? 8 : 4;
	uint64_t size = min_u64(ph->p_filesz, NOTES_MAX);
	uint64_t at = 0;

	while (size - at >= sizeof(Elf64_Nhdr)) {
		char name[NOTE_NAME_MAX + 1] = "";
		uint8_t desc[NOTE_DESC_MAX] = {0};
		uint64_t name_at = at + sizeof(Elf64_Nhdr), desc_at, next;
		Elf64_Nhdr nh;
		int rc;

		rc = fd_pread_full(img->fd, &nh, sizeof(nh), (off_t)(ph->p_offset + at));
		desc_at = align_up(name_at + nh.n_namesz, align);
		next = align_up(desc_at + nh.n_descsz, align);
		if (!rc && desc_at + nh.n_descsz > size)
			break;
		if (!rc && nh.n_namesz <= NOTE_NAME_MAX)
			rc = fd_pread_full(img->fd, name, nh.n_namesz,
			                   (off_t)(ph->p_offset + name_at));
		if (!rc)
			rc = fd_pread_full(img->fd, desc, min_u64(nh.n_descsz, sizeof(desc)),
			                   (off_t)(ph->p_offset + desc_at));
		if (rc < 0)
			return err_errno(err, rc, "kernel '%s': cannot be read", img->path);
		elf_note(notes, name, nh.n_type, desc, nh.n_descsz);
		if (next >= size)
			break;
		at = next;
	}
	return 0;
}

/* e_entry is a physical address in vmlinux; elsewhere it may be a virtual one. */
static bool elf_entry_physical(const struct boot_image *img, const struct elf_header *h,
                               uint64_t *entry)
{
	struct err ignored;

	for (unsigned i = 0; i < img->nr_segments; i++)
		if (h->entry - img->segments[i].paddr < img->segments[i].filesz) {
			*entry = h->entry;
			return true;
		}
	for (unsigned i = 0; i < h->phnum; i++) {
		Elf64_Phdr ph;

		if (elf_phdr_read(img, h, i, &ph, &ignored) < 0 || ph.p_type != PT_LOAD)
			continue;
		if (h->entry - ph.p_vaddr < ph.p_filesz) {
			*entry = h->entry - ph.p_vaddr + ph.p_paddr;
			return true;
		}
	}
	return false;
}

static int enter_pvh(struct boot_image *img, const struct elf_notes *notes, struct err *err)
{
	img->protocol = BOOT_PVH;
	img->entry = notes->pvh_entry;
	for (unsigned i = 0; i < img->nr_segments; i++)
		if (img->entry - img->segments[i].paddr < img->segments[i].filesz)
			return 0;
	return err_set(err, -ENOEXEC, "kernel '%s': the PVH entry %#llx is in no segment",
	               img->path, (unsigned long long)img->entry);
}

static int enter_at_e_entry(struct boot_image *img, const struct elf_header *h,
                            enum boot_protocol protocol, struct err *err)
{
	img->protocol = protocol;
	if (elf_entry_physical(img, h, &img->entry))
		return 0;
	return err_set(err, -ENOEXEC, "kernel '%s': the entry %#llx is in no segment", img->path,
	               (unsigned long long)h->entry);
}

static int enter_multiboot(struct boot_image *img, const struct elf_header *h,
                           const struct multiboot_header *mb, struct err *err)
{
	int rc = multiboot_check(img, mb, err);

	if (rc < 0)
		return rc;
	img->protocol = BOOT_MULTIBOOT;
	return mb->has_addrs ? multiboot_addresses(img, mb, err)
	                     : enter_at_e_entry(img, h, BOOT_MULTIBOOT, err);
}

/* Nothing says how to start it, and what it is says that Linux's way is wrong. */
static int refuse_unknown(const struct boot_image *img, const struct elf_header *h,
                          const struct elf_notes *notes, bool multiboot2, struct err *err)
{
	const char *kind = NULL;

	if (multiboot2)
		kind = "is a Multiboot2 kernel";
	else if (notes->interp)
		kind = "is a program, not a kernel";
	else if (!h->is64)
		kind = "is a 32-bit ELF image without a PVH note or a Multiboot header: nothing "
		       "says how to start it";
	return kind ? err_set(err, -ENOEXEC, "kernel '%s': %s; %s", img->path, kind,
	                      BOOT_WHAT_KERNELS)
	            : 0;
}

/* What the user asked for has to be there. */
static int check_wanted(const struct boot_image *img, const struct elf_header *h,
                        const struct elf_notes *notes, bool multiboot, enum boot_protocol want,
                        struct err *err)
{
	if (want == BOOT_PVH && !notes->pvh)
		return err_set(err, -EINVAL,
		               "kernel '%s': has no PVH note; use --boot %s or build it with "
		               "CONFIG_PVH",
		               img->path, multiboot ? "multiboot" : "linux64");
	if (want == BOOT_MULTIBOOT && !multiboot)
		return err_set(err, -EINVAL,
		               "kernel '%s': has no Multiboot header in its first 8 KiB; use "
		               "--boot %s",
		               img->path, notes->pvh ? "pvh" : "linux64");
	if (want == BOOT_LINUX64 && !h->is64)
		return err_set(err, -EINVAL, "kernel '%s': is a 32-bit image; use --boot %s",
		               img->path, multiboot && !notes->pvh ? "multiboot" : "pvh");
	return 0;
}

static int elf_choose_entry(struct boot_image *img, const struct elf_header *h,
                            const struct elf_notes *notes, const uint8_t *head, size_t len,
                            enum boot_protocol want, struct err *err)
{
	struct multiboot_header mb;
	bool multiboot = multiboot_find(head, len, &mb);
	int rc = check_wanted(img, h, notes, multiboot, want, err);

	if (rc < 0)
		return rc;
	if (want == BOOT_PVH || (want == BOOT_AUTO && notes->pvh))
		return enter_pvh(img, notes, err);
	if (want == BOOT_MULTIBOOT || (want == BOOT_AUTO && multiboot))
		return enter_multiboot(img, h, &mb, err);
	if (want == BOOT_AUTO && !(notes->linux_notes && h->is64)) {
		rc = refuse_unknown(img, h, notes, multiboot2_is(head, len), err);
		img->guessed = true;
	}
	return rc < 0 ? rc : enter_at_e_entry(img, h, BOOT_LINUX64, err);
}

int elf_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
              struct err *err)
{
	struct elf_notes notes = {0};
	struct elf_header h = {0};
	int rc;

	rc = elf_header_read(img, head, len, &h, err);
	if (!rc)
		rc = elf_header_check(img, &h, err);
	for (unsigned i = 0; !rc && i < h.phnum; i++) {
		Elf64_Phdr ph;

		rc = elf_phdr_read(img, &h, i, &ph, err);
		if (rc < 0)
			break;
		notes.interp |= ph.p_type == PT_INTERP;
		if (ph.p_type == PT_LOAD)
			rc = elf_add_segment(img, &ph, err);
		else if (ph.p_type == PT_NOTE)
			rc = elf_notes_read(img, &ph, &notes, err);
	}
	if (rc < 0)
		return rc;
	if (!img->nr_segments)
		return err_set(err, -ENOEXEC, "kernel '%s': an ELF file with nothing to load",
		               img->path);

	rc = elf_choose_entry(img, &h, &notes, head, len, want, err);
	if (rc < 0)
		return rc;
	img->format = h.is64 ? BOOT_FORMAT_ELF64 : BOOT_FORMAT_ELF32;
	img->is_linux = notes.linux_notes;
	if (img->protocol == BOOT_MULTIBOOT) {
		multiboot_limits(img);
	} else if (img->is_linux || img->protocol == BOOT_LINUX64) {
		img->cmdline_max = LINUX_COMMAND_LINE_MAX;
		img->initrd_max = LINUX_INITRD_ADDR_MAX;
	} else {
		img->cmdline_max = LAYOUT_CMDLINE_MAX - 1;
		img->initrd_max = LAYOUT_HOLE_START - 1;
	}
	return 0;
}
