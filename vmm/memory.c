/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/memory.h"

#include <errno.h>
#include <string.h>

#include "vmm/util.h"

void memory_init(struct memory *mem)
{
	memset(mem, 0, sizeof(*mem));
}

int memory_add(struct memory *mem, const struct mem_region *region)
{
	unsigned at;

	if (mem->frozen)
		return -EBUSY;
	if (region->size == 0 || region->gpa + (region->size - 1) < region->gpa)
		return -EINVAL;
	if (mem->nr == MEMORY_REGIONS_MAX)
		return -ENOSPC;

	for (at = 0; at < mem->nr && mem->regions[at].gpa < region->gpa; at++)
		;
	if (at > 0 && region->gpa - mem->regions[at - 1].gpa < mem->regions[at - 1].size)
		return -EEXIST;
	if (at < mem->nr && mem->regions[at].gpa - region->gpa < region->size)
		return -EEXIST;

	memmove(&mem->regions[at + 1], &mem->regions[at], (mem->nr - at) * sizeof(mem->regions[0]));
	mem->regions[at] = *region;
	mem->nr++;
	return 0;
}

void memory_freeze(struct memory *mem)
{
	mem->frozen = true;
}

/* Bytes from @addr to the end of its region, at most @len; 0 if it is in none. */
static uint64_t contiguous(const struct memory *mem, gpa_t addr, uint64_t len)
{
	for (unsigned i = 0; i < mem->nr; i++) {
		uint64_t offset = addr.v - mem->regions[i].gpa;

		if (offset < mem->regions[i].size)
			return min_u64(len, mem->regions[i].size - offset);
	}
	return 0;
}

/* Whether all of the range is mapped: checked before the first byte is copied. */
static bool mapped(const struct memory *mem, gpa_t addr, uint64_t len)
{
	while (len) {
		uint64_t part = contiguous(mem, addr, len);

		if (!part)
			return false;
		addr.v += part; /* may become 0 at the very end of the address space */
		len -= part;
		if (len && addr.v == 0)
			return false;
	}
	return true;
}

int memory_read(const struct memory *mem, gpa_t addr, void *buf, uint64_t len)
{
	uint8_t *at = buf;

	if (!mapped(mem, addr, len))
		return -EFAULT;
	while (len) {
		uint64_t part = contiguous(mem, addr, len);

		memcpy(at, memory_at(mem, addr, part), part);
		at += part;
		addr.v += part;
		len -= part;
	}
	return 0;
}

int memory_write(const struct memory *mem, gpa_t addr, const void *buf, uint64_t len)
{
	const uint8_t *at = buf;

	if (!mapped(mem, addr, len))
		return -EFAULT;
	while (len) {
		uint64_t part = contiguous(mem, addr, len);

		memcpy(memory_at(mem, addr, part), at, part);
		at += part;
		addr.v += part;
		len -= part;
	}
	return 0;
}
