/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_ram: a small guest's memory for fuzz targets. Two regions that touch and two with gaps
 * before them, each its own piece of exact size, so that the address sanitizer sees the first byte
 * beyond.
 */
#ifndef TRIVM_TESTS_FUZZ_GUEST_RAM_H
#define TRIVM_TESTS_FUZZ_GUEST_RAM_H

#include "tests/fuzz/fuzz.h"
#include "vmm/memory.h"

#define RAM_BASE    UINT64_C(0x10000)
#define RAM_REGIONS 4
/* Where they end: what is put right before these places cannot be overrun unseen. */
#define RAM_END0 UINT64_C(0x18000)
#define RAM_END1 UINT64_C(0x1c000)
#define RAM_END2 UINT64_C(0x1e000)
#define RAM_END3 UINT64_C(0x20000)

struct guest_ram {
	struct memory mem;
	uint8_t *pieces[RAM_REGIONS];
};

static inline void guest_ram_init(struct guest_ram *ram)
{
	static const struct {
		uint64_t gpa, size;
	} at[RAM_REGIONS] = {
		{RAM_BASE, RAM_END0 - RAM_BASE},
		{RAM_END0, RAM_END1 - RAM_END0},
		{RAM_END2 - KIB(4), KIB(4)},
		{RAM_END3 - KIB(4), KIB(4)},
	};

	memory_init(&ram->mem);
	for (unsigned i = 0; i < RAM_REGIONS; i++) {
		struct mem_region r = {.gpa = at[i].gpa, .size = at[i].size, .fd = -1};

		ram->pieces[i] = r.host = aligned_alloc(KIB(4), at[i].size);
		fuzz_check(r.host);
		memset(r.host, 0, at[i].size);
		fuzz_check(memory_add(&ram->mem, &r) == 0);
	}
	memory_freeze(&ram->mem);
}

static inline void guest_ram_destroy(struct guest_ram *ram)
{
	for (unsigned i = 0; i < RAM_REGIONS; i++)
		free(ram->pieces[i]);
}

/* An address, most often one that is mapped: the input's word counts from the first region. */
static inline uint64_t guest_ram_addr(struct fuzz_in *in)
{
	uint16_t v = fuzz_u16(in);

	/* Rarely anything at all. */
	return v == 0xffff ? fuzz_u64(in) : RAM_BASE + v;
}

/* Write @len bytes of the input at @addr, if that is memory. */
static inline void guest_ram_poke(struct guest_ram *ram, struct fuzz_in *in, uint64_t addr,
                                  unsigned len)
{
	void *host = memory_at(&ram->mem, gpa(addr), len);

	if (host)
		fuzz_bytes(in, host, len);
}

#endif
