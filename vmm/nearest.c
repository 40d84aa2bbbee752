/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the number of letters that are missing, superfluous, wrong or exchanged with
 * their neighbour ("optimal string alignment"), which may be a third of the word's length. The
 * beginning of a known word is as near as one wrong letter.
 */
#include "vmm/nearest.h"

#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned ab = a < b ? a : b;

	return ab < c ? ab : c;
}

static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned rows[3][NEAREST_WORD_MAX + 1]; /* of the table: two before, one before, this one */

	for (unsigned j = 0; j <= b_len; j++)
		rows[1][j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned *before = rows[i % 3], *now = rows[(i + 1) % 3];
		const unsigned *two_before = rows[(i + 2) % 3];

		now[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			now[j] = least(before[j] + 1, now[j - 1] + 1,
			               before[j - 1] + (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    two_before[j - 2] + 1 < now[j])
				now[j] = two_before[j - 2] + 1;
		}
	}
	return rows[(a_len + 1) % 3][b_len];
}

struct nearest nearest_to(const char *typed)
{
	return (struct nearest){.typed = typed};
}

void nearest_try(struct nearest *n, const char *known)
{
	size_t len = strlen(n->typed), known_len = strlen(known);
	unsigned d;

	if (len < 2 || len > NEAREST_WORD_MAX || known_len > NEAREST_WORD_MAX)
		return;
	d = strncmp(known, n->typed, len) == 0 ? 1 : distance(n->typed, len, known, known_len);
	if (d > 1 && d > max_u64(len, known_len) / 3)
		return;
	if (n->best && n->distance <= d)
		return;
	n->best = known;
	n->distance = d;
}

const char *nearest_hint(const struct nearest *n, char buf[NEAREST_HINT_MAX])
{
	buf[0] = '\0';
	if (n->best)
		snprintf(buf, NEAREST_HINT_MAX, " (did you mean %s?)", n->best);
	return buf;
}
