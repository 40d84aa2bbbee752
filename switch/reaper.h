/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reaper: a thread that unmaps memory of front-ends. If the switch's mapping is the last reference
 * to it, because the front-end is dead, the kernel frees all its pages then: a fifth of a second
 * for 4 GiB, in which no port would be served. One for the whole program; main thread.
 */
#ifndef TRIVM_SWITCH_REAPER_H
#define TRIVM_SWITCH_REAPER_H

#include <stddef.h>
#include <stdint.h>

int reaper_start(void); /* 0 or a negative errno; to be called before the system call filter */
/* What is not unmapped yet stays mapped. Idempotent. */
void reaper_stop(void);

/*
 * Unmap [@map, @map + @len), a whole number of pages of @page bytes, which nobody uses any more.
 * Later, on the thread; now, if there is no thread or it has too much to do.
 */
void reaper_unmap(void *map, uint64_t len, uint64_t page);

#endif
