/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * typed: the bytes of a terminal that the guest has not taken yet, behind the filter of the escape keys.
 *
 * The terminal has to be read even while the guest takes nothing, since the escape keys come the
 * same way. So what is typed or pasted is kept here. Once TYPED_MAX bytes wait, the terminal is
 * not read, and what is pasted waits in the host. But when the guest then takes nothing for
 * TYPED_STUCK_MS, the terminal is read again, only for its keys: the other bytes are dropped, and
 * the user is warned once.
 *
 * One thread. A zeroed struct is empty.
 */
#ifndef TRIVM_VMM_TYPED_H
#define TRIVM_VMM_TYPED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TYPED_MAX      ((size_t)1 << 20)
#define TYPED_STUCK_MS 1000
#define TYPED_READ     64 /* bytes that a caller reads at a time; typed_may_read() answers for these */

struct typed {
	uint8_t *ring; /* TYPED_MAX bytes, made when first needed; only touched pages cost memory */
	size_t head, used;
	uint64_t full_since; /* ms (clock.h); 0: it was not full, or the guest took something */
	bool warned;
};

void typed_free(struct typed *t);

/* The oldest bytes, as many as lie in one piece; 0: none. typed_taken() removes @n of them. */
size_t typed_peek(const struct typed *t, const uint8_t **bytes);
void typed_taken(struct typed *t, size_t n);

/* Append; warns when not all fit. */
void typed_put(struct typed *t, const uint8_t *bytes, size_t len);

/* May the terminal be read now, at @now_ms? False: ask again in *@again_ms, or after typed_taken(). */
bool typed_may_read(struct typed *t, uint64_t now_ms, uint64_t *again_ms);

#endif
