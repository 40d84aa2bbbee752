/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/typed.h"

#include <stdlib.h>
#include <string.h>

#include "vmm/log.h"
#include "vmm/util.h"

void typed_free(struct typed *t)
{
	free(t->ring);
	memset(t, 0, sizeof(*t));
}

size_t typed_peek(const struct typed *t, const uint8_t **bytes)
{
	*bytes = t->ring ? t->ring + t->head : NULL;
	return min_u64(t->used, TYPED_MAX - t->head);
}

void typed_taken(struct typed *t, size_t n)
{
	if (!n)
		return;
	t->head = (t->head + n) % TYPED_MAX;
	t->used -= n;
	t->full_since = 0;
	if (!t->used)
		t->head = 0; /* few keys at a time: always the same page */
}

void typed_put(struct typed *t, const uint8_t *bytes, size_t len)
{
	size_t kept, tail, run;

	if (!t->ring)
		t->ring = malloc(TYPED_MAX);
	kept = t->ring ? min_u64(len, TYPED_MAX - t->used) : 0;
	tail = (t->head + t->used) % TYPED_MAX;
	run = min_u64(kept, TYPED_MAX - tail);
	if (kept) {
		memcpy(t->ring + tail, bytes, run);
		memcpy(t->ring, bytes + run, kept - run);
	}
	t->used += kept;
	if (kept < len && !t->warned) {
		t->warned = true;
		log_warn("console input: the guest does not take it; what is typed or pasted is "
		         "dropped until it does");
	}
}

bool typed_may_read(struct typed *t, uint64_t now_ms, uint64_t *again_ms)
{
	if (TYPED_MAX - t->used >= TYPED_READ)
		return true;
	if (!t->full_since)
		t->full_since = now_ms ? now_ms : 1;
	if (now_ms - t->full_since >= TYPED_STUCK_MS)
		return true;
	*again_ms = t->full_since + TYPED_STUCK_MS - now_ms;
	return false;
}
