/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * turns: keeps work that takes milliseconds to half of the main loop's time, however many ask for it.
 * After a piece of such work the next one waits as long as the last one took; then a timer grants it.
 * Main thread only.
 */
#ifndef TRIVM_VMM_TURNS_H
#define TRIVM_VMM_TURNS_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/loop.h"

struct turns {
	struct loop *loop;
	struct loop_source src;
	int timer; /* -1: nobody had to wait yet */
	uint64_t until_us;
	/* Let one of those that wait begin. Returns true if others still wait. */
	bool (*grant)(void *opaque);
	void *opaque;
};

void turns_init(struct turns *t, struct loop *loop, bool (*grant)(void *opaque), void *opaque);
void turns_close(struct turns *t); /* idempotent */

/* Whether work that has not waited may begin now. */
bool turns_free(const struct turns *t);

/* Somebody waits: grant() will be called. Returns false if there is no timer to be had: then the
 * caller begins at once. */
bool turns_wait(struct turns *t);

/* Work that began at @began_us (clock_us()) has ended. */
void turns_used(struct turns *t, uint64_t began_us);

#endif
