/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory: guest-physical memory as the VMM sees it.
 *
 * The only module that turns a guest address into a pointer. An address and a length are always
 * translated together: a range that is unmapped, wraps, or leaves its region comes back as an error
 * and never as a pointer. Regions are files (memfd) mapped shared, from the first moment, so that
 * another process (vhost-user) or the kernel (vhost-net) can be given the same memory.
 *
 * Life: memory_init, memory_add..., memory_freeze, then only lookups, from any thread without a
 * lock.
 */
#ifndef TRIVM_VMM_MEMORY_H
#define TRIVM_VMM_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/err.h"

/* A guest-physical address: a struct, so that it never mixes with a host address or an offset. */
typedef struct {
	uint64_t v;
} gpa_t;

static inline gpa_t gpa(uint64_t v)
{
	return (gpa_t){v};
}

#define MEMORY_REGIONS_MAX 64

struct mem_region {
	uint64_t gpa;  /* first guest-physical address */
	uint64_t size; /* bytes; gpa + size does not wrap */
	uint8_t *host; /* where it is mapped here */
	int fd;        /* the file behind it (owned by whoever added the region) */
	uint64_t fd_offset;
};

struct memory {
	unsigned nr;
	bool frozen;
	struct mem_region regions[MEMORY_REGIONS_MAX]; /* sorted by gpa, not overlapping */
};

void memory_init(struct memory *mem);

/*
 * Describe a range that the caller has mapped. The caller keeps ownership of mapping and fd, which
 * outlive @mem. -EEXIST: overlaps a region; -EINVAL: empty or wraps; -ENOSPC: too many; -EBUSY:
 * frozen.
 */
int memory_add(struct memory *mem, const struct mem_region *region);

/* No region is added from here on; only now may other threads look things up. */
void memory_freeze(struct memory *mem);

/*
 * The host address of [@addr, @addr + @len), or NULL unless every byte lies in one region.
 * @len may be 0 (the address itself has to be mapped then, too). Any thread.
 */
static inline void *memory_at(const struct memory *mem, gpa_t addr, uint64_t len)
{
	for (unsigned i = 0; i < mem->nr; i++) {
		const struct mem_region *r = &mem->regions[i];
		uint64_t offset = addr.v - r->gpa; /* wraps to something huge below the region */

		if (offset < r->size && len <= r->size - offset)
			return r->host + offset;
	}
	return NULL;
}

/* Copy out of or into guest memory; the range may span adjacent regions. 0 or -EFAULT (nothing
 * copied). */
int memory_read(const struct memory *mem, gpa_t addr, void *buf, uint64_t len);
int memory_write(const struct memory *mem, gpa_t addr, const void *buf, uint64_t len);

#endif
