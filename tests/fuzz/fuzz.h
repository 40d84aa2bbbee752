/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz: what the fuzz targets share: an input that is eaten from the front, and the rule that is
 * checked. An input that is used up gives zeros, so every prefix of an input is an input.
 */
#ifndef TRIVM_TESTS_FUZZ_H
#define TRIVM_TESTS_FUZZ_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/log.h"
#include "vmm/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What has to hold whatever the input is. Unlike assert() it is always there. */
#define fuzz_check(cond)                                                                   \
	do {                                                                               \
		if (!(cond)) {                                                             \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
			abort();                                                           \
		}                                                                          \
	} while (0)

struct fuzz_in {
	const uint8_t *at, *end;
};

/* To begin with. Complaints about what the input does are not shown. */
static inline struct fuzz_in fuzz_begin(const uint8_t *data, size_t len)
{
	log_set_level(LOG_ERROR);
	return (struct fuzz_in){.at = data, .end = data + len};
}

static inline size_t fuzz_left(const struct fuzz_in *in)
{
	return (size_t)(in->end - in->at);
}

/* Little endian, @size bytes. */
static inline uint64_t fuzz_value(struct fuzz_in *in, unsigned size)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < size && in->at < in->end; i++)
		v |= (uint64_t)*in->at++ << 8 * i;
	return v;
}

static inline uint8_t fuzz_u8(struct fuzz_in *in)
{
	return (uint8_t)fuzz_value(in, 1);
}
static inline uint16_t fuzz_u16(struct fuzz_in *in)
{
	return (uint16_t)fuzz_value(in, 2);
}
static inline uint32_t fuzz_u32(struct fuzz_in *in)
{
	return (uint32_t)fuzz_value(in, 4);
}
static inline uint64_t fuzz_u64(struct fuzz_in *in)
{
	return fuzz_value(in, 8);
}

/* The next @len bytes, or as many as there are: their number. */
static inline size_t fuzz_bytes(struct fuzz_in *in, void *to, size_t len)
{
	size_t n = min_u64(len, fuzz_left(in));

	memcpy(to, in->at, n);
	in->at += n;
	return n;
}

/* The rest of the input as text, in memory of its own and exact size; to be freed. */
static inline char *fuzz_text(struct fuzz_in *in)
{
	size_t len = fuzz_left(in);
	char *text = malloc(len + 1);

	fuzz_check(text);
	fuzz_bytes(in, text, len);
	text[len] = '\0';
	return text;
}

#endif
