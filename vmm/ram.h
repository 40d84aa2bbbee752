/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ram: the guest's RAM: one shared memfd, mapped once. The part below the PCI hole and the part
 * above 4 GiB are two regions of it.
 */
#ifndef TRIVM_VMM_RAM_H
#define TRIVM_VMM_RAM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/err.h"
#include "vmm/memory.h"

struct ram_config {
	uint64_t size;       /* bytes, a multiple of the page size */
	uint64_t hole_start; /* RAM from 0 to here at most ... */
	uint64_t hole_end;   /* ... and the rest from here */
	bool hugepages;      /* from hugetlbfs, 2 MiB pages */
	bool prealloc;       /* touch every page now, so that the guest never waits for one */
};

struct ram {
	int fd;
	uint8_t *host;
	uint64_t size;
	uint64_t low, high; /* bytes below and above the hole */
};

/* Create the memfd, map it and add its regions to @mem. Main thread. Errors name the option that
 * asked. */
int ram_create(struct ram *ram, const struct ram_config *config, struct memory *mem,
               struct err *err);
void ram_destroy(struct ram *ram); /* idempotent; after everything that looks into @mem is gone */

#endif
