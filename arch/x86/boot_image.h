/* SPDX-License-Identifier: BSD-2-Clause */
/* boot_image: between boot.c and the readers and protocols beside it; no one else's. */
#ifndef TRIVM_ARCH_X86_BOOT_IMAGE_H
#define TRIVM_ARCH_X86_BOOT_IMAGE_H

#include "arch/x86/boot.h"

/* As much of a file as decides what it is. */
#define BOOT_HEAD_SIZE 32768

/* What every complaint about what is no kernel ends with. */
#define BOOT_WHAT_KERNELS \
	"-k takes a bzImage, an ELF kernel for x86-64 (PVH or Linux) or a Multiboot kernel"

/*
 * Fill @img (entry, segments, limits, protocol) from a file that begins with @head. @want is what
 * the user asked for. 0, or a negative errno with @err set.
 */
int bzimage_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
                  struct err *err);
int elf_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
              struct err *err);

struct multiboot_header {
	size_t offset; /* in the file */
	uint32_t flags;
	bool has_addrs; /* the header says what is loaded where; without it those are 0: */
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

/* Is there a Multiboot header in the file that begins with @head? */
bool multiboot_find(const uint8_t *head, size_t len, struct multiboot_header *h);
bool multiboot2_is(const uint8_t *head, size_t len); /* the same of version 2 */

/* Refuse a header that wants what there is not, by name. */
int multiboot_check(const struct boot_image *img, const struct multiboot_header *h,
                    struct err *err);

/* As the functions above, for a file that is not ELF. */
int multiboot_probe(struct boot_image *img, const struct multiboot_header *h,
                    enum boot_protocol want, struct err *err);

/* Its parts, for ELF files: the segment and the entry that a header with addresses gives, instead
 * of those that @img has; the limits of @img. */
int multiboot_addresses(struct boot_image *img, const struct multiboot_header *h, struct err *err);
void multiboot_limits(struct boot_image *img);

/* Where boot_load() has put things. */
struct boot_placed {
	uint64_t initrd_addr, initrd_size; /* all parts; size 0: none */
	uint64_t part_addr[BOOT_INITRD_MAX], part_size[BOOT_INITRD_MAX]; /* each of them */
	uint64_t rsdp;
	uint64_t setup_data; /* address of the first node; 0: none */
};

/* Write what the protocol hands to the kernel; @entry gets param. */
int linux64_write(const struct boot_image *img, const struct boot_request *req,
                  const struct boot_placed *at, const struct memory *mem, struct boot_entry *entry,
                  struct err *err);
int multiboot_write(const struct boot_request *req, const struct boot_placed *at,
                    const struct memory *mem, struct boot_entry *entry, struct err *err);
int pvh_write(const struct boot_request *req, const struct boot_placed *at,
              const struct memory *mem, struct boot_entry *entry, struct err *err);

#endif
