/* SPDX-License-Identifier: BSD-2-Clause */
/* boot_image: between boot.c and the readers and protocols beside it; no one else's. */
#ifndef TRIVM_ARCH_X86_BOOT_IMAGE_H
#define TRIVM_ARCH_X86_BOOT_IMAGE_H

#include "arch/x86/boot.h"

/* As much of a file as decides what it is. */
#define BOOT_HEAD_SIZE 4096

/* What every complaint about what is no kernel ends with. */
#define BOOT_WHAT_KERNELS "-k takes a bzImage or an ELF kernel for x86-64"

/*
 * Fill @img (entry, segments, limits, protocol) from a file that begins with @head. @want is what
 * the user asked for. 0, or a negative errno with @err set.
 */
int bzimage_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
                  struct err *err);
int elf_probe(struct boot_image *img, const uint8_t *head, size_t len, enum boot_protocol want,
              struct err *err);

/* Where boot_load() has put things. */
struct boot_placed {
	uint64_t initrd_addr, initrd_size; /* size 0: none */
	uint64_t rsdp;
	uint64_t setup_data; /* address of the first node; 0: none */
};

/* Write what the protocol hands to the kernel; @entry gets param. */
int linux64_write(const struct boot_image *img, const struct boot_request *req,
                  const struct boot_placed *at, const struct memory *mem, struct boot_entry *entry,
                  struct err *err);
int pvh_write(const struct boot_request *req, const struct boot_placed *at,
              const struct memory *mem, struct boot_entry *entry, struct err *err);

#endif
