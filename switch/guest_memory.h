/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_memory: the memory of one front-end, mapped here (vhost-user.rst, "Memory access").
 *
 * A front-end sends descriptors and says what is behind them; it may lie in every number, and
 * change the file later. A range is mapped only if the file is memory (memfd, tmpfs, hugetlbfs) and
 * has it at this moment. If it is cut short afterwards, touching it would end the process by
 * SIGBUS: the handler that guest_memory_guard() installs puts empty memory in the place instead and
 * marks the mapping as faulted, which its owner looks at after each batch.
 *
 * Main thread, as everything in the switch. A mapping is not added or removed while a ring runs in
 * it.
 */
#ifndef TRIVM_SWITCH_GUEST_MEMORY_H
#define TRIVM_SWITCH_GUEST_MEMORY_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost/user_wire.h"
#include "vmm/err.h"
#include "vmm/memory.h"

#define GUEST_REGIONS_MAX 32 /* what we say in VU_GET_MAX_MEM_SLOTS */

struct guest_mapping {
	struct vu_region region; /* as the front-end described it; checked */
	uint8_t *host;           /* where it begins here */
	uint8_t *map;            /* what is mapped: the region and the rest of its pages; or NULL */
	uint64_t map_len, page;
};

struct guest_memory {
	unsigned nr;
	struct guest_mapping mappings[GUEST_REGIONS_MAX];
	struct memory mem;             /* the same regions, for translation */
	struct guest_mapping inflight; /* the inflight region, which is not guest memory */
	uint64_t mapped;               /* bytes of address space */
	volatile sig_atomic_t faulted;
};

/* Some mapping has faulted since the owner of the loop last set this to 0. */
extern volatile sig_atomic_t guest_memory_faults;

/* Install the handler of SIGBUS, once in a process. 0 or a negative errno. */
int guest_memory_guard(void);

/* Empty; known to the handler from here to guest_memory_clear(). -ENOSPC: too many. */
int guest_memory_init(struct guest_memory *m);

/*
 * Map @region from @fd, which stays the caller's and can be closed afterwards. -EINVAL: not
 * memory, empty, wraps, beyond the file's end; -EEXIST: overlaps; -ENOSPC; others from mmap().
 */
int guest_memory_add(struct guest_memory *m, const struct vu_region *region, int fd,
                     struct err *err);

/* Unmap the region with these addresses and this size. -ENOENT: there is none. */
int guest_memory_remove(struct guest_memory *m, const struct vu_region *region);

/* Unmap all. */
void guest_memory_clear(struct guest_memory *m);
void guest_memory_destroy(struct guest_memory *m); /* idempotent */

/*
 * The guest address of a ring's part at the front-end's address @user. 0; -EFAULT: it is in no
 * region; -EINVAL: it is not at a multiple of @align here, because the region is mapped from such
 * an offset.
 */
int guest_memory_ring(const struct guest_memory *m, uint64_t user, uint64_t align, uint64_t *addr);

/* A front-end may map so many bytes of address space: 1 TiB, unless this was called before. */
void guest_memory_limit(uint64_t bytes);

/*
 * Map the inflight region: @len bytes from @offset of @fd, in the place of the one before. The same
 * checks; -EINVAL and others. Where it is: m->inflight.host.
 */
int guest_memory_inflight(struct guest_memory *m, int fd, uint64_t offset, uint64_t len,
                          struct err *err);
void guest_memory_no_inflight(struct guest_memory *m); /* unmap it; idempotent */

#endif
