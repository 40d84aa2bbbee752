/* SPDX-License-Identifier: BSD-2-Clause */
/* nearest: which known word a mistyped one was meant to be. */
#ifndef TRIVM_VMM_NEAREST_H
#define TRIVM_VMM_NEAREST_H

#include <stddef.h>

#define NEAREST_WORD_MAX 32 /* bytes; longer words are never near */
#define NEAREST_HINT_MAX (NEAREST_WORD_MAX + 24)

struct nearest {
	const char *typed; /* borrowed, as are the candidates */
	const char *best;  /* NULL: none is near enough */
	unsigned distance; /* of @best */
};

struct nearest nearest_to(const char *typed);

/* @known is one of the words that there are. Of two that are equally near the first one counts. */
void nearest_try(struct nearest *n, const char *known);

/* " (did you mean WORD?)" for the end of a sentence, or "". @buf is returned. */
const char *nearest_hint(const struct nearest *n, char buf[NEAREST_HINT_MAX]);

#endif
