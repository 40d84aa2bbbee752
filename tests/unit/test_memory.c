/* SPDX-License-Identifier: BSD-2-Clause */
/* memory: guest addresses to pointers, and never to a wrong one. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/memory.h"
#include "vmm/util.h"

/* Exactly as many bytes as the region has, from malloc(): the sanitizer sees one too many. */
static int add(struct memory *mem, uint64_t at, uint64_t size, uint8_t *host)
{
	struct mem_region r = {.gpa = at, .size = size, .host = host, .fd = -1};

	return memory_add(mem, &r);
}

#define P 0x1000

static void one_region_and_its_edges(void **state)
{
	uint8_t *host = malloc(P);
	struct memory mem;

	(void)state;
	memory_init(&mem);
	assert_null(memory_at(&mem, gpa(0), 0));
	assert_int_equal(add(&mem, P, P, host), 0);
	memory_freeze(&mem);

	assert_ptr_equal(memory_at(&mem, gpa(P), 1), host);
	assert_ptr_equal(memory_at(&mem, gpa(P), P), host);
	assert_ptr_equal(memory_at(&mem, gpa(P + 17), 1), host + 17);
	assert_ptr_equal(memory_at(&mem, gpa(2 * P - 1), 1), host + P - 1);
	assert_ptr_equal(memory_at(&mem, gpa(P + 17), P - 17), host + 17);

	assert_null(memory_at(&mem, gpa(P - 1), 1));
	assert_null(memory_at(&mem, gpa(P - 1), 2)); /* straddles the beginning */
	assert_null(memory_at(&mem, gpa(2 * P), 1));
	assert_null(memory_at(&mem, gpa(2 * P - 1), 2)); /* and the end */
	assert_null(memory_at(&mem, gpa(P), P + 1));
	assert_null(memory_at(&mem, gpa(P + 17), P - 16));
	assert_null(memory_at(&mem, gpa(0), 1));
	free(host);
}

static void zero_length(void **state)
{
	uint8_t *host = malloc(P);
	struct memory mem;
	uint8_t b = 0;

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, P, P, host), 0);
	assert_ptr_equal(memory_at(&mem, gpa(P), 0), host);
	assert_ptr_equal(memory_at(&mem, gpa(2 * P - 1), 0), host + P - 1);
	assert_null(memory_at(&mem, gpa(2 * P), 0)); /* the address itself must be mapped */
	assert_null(memory_at(&mem, gpa(P - 1), 0));
	assert_int_equal(memory_read(&mem, gpa(P), &b, 0), 0);
	assert_int_equal(memory_write(&mem, gpa(P), &b, 0), 0);
	free(host);
}

static void lengths_that_wrap(void **state)
{
	uint8_t *host = malloc(P);
	struct memory mem;
	uint8_t b[16];

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, P, P, host), 0);
	assert_null(memory_at(&mem, gpa(P), UINT64_MAX));
	assert_null(memory_at(&mem, gpa(P + 1), UINT64_MAX));     /* end: P, by wrapping */
	assert_null(memory_at(&mem, gpa(P + 1), UINT64_MAX - 1)); /* end: P - 1 */
	assert_null(memory_at(&mem, gpa(P + 8), -(uint64_t)P));   /* end: 8 */
	assert_null(memory_at(&mem, gpa(UINT64_MAX), 2));
	assert_null(memory_at(&mem, gpa(UINT64_MAX - 7), 16));
	assert_int_equal(memory_read(&mem, gpa(P), b, UINT64_MAX), -EFAULT);
	assert_int_equal(memory_write(&mem, gpa(P + 1), b, UINT64_MAX), -EFAULT);
	assert_int_equal(memory_read(&mem, gpa(UINT64_MAX - 7), b, 16), -EFAULT);
	free(host);
}

/* A region may end at the last address there is; nothing comes after it, not even address 0. */
static void the_end_of_the_address_space(void **state)
{
	uint8_t *last = malloc(P), *first = malloc(P);
	const uint64_t top = -(uint64_t)P;
	struct memory mem;
	uint8_t b[2 * P];

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, top, P, last), 0);
	assert_int_equal(add(&mem, 0, P, first), 0);
	assert_int_equal(mem.nr, 2);

	assert_ptr_equal(memory_at(&mem, gpa(top), P), last);
	assert_ptr_equal(memory_at(&mem, gpa(UINT64_MAX), 1), last + P - 1);
	assert_null(memory_at(&mem, gpa(UINT64_MAX), 2));
	assert_null(memory_at(&mem, gpa(top), P + 1));
	assert_ptr_equal(memory_at(&mem, gpa(0), 1), first);

	memset(last, 1, P);
	memset(first, 2, P);
	assert_int_equal(memory_read(&mem, gpa(top), b, P), 0);
	/* Both halves of this are mapped, but they are not neighbours. */
	assert_int_equal(memory_read(&mem, gpa(top), b, P + 1), -EFAULT);
	assert_int_equal(memory_read(&mem, gpa(UINT64_MAX), b, 2), -EFAULT);
	assert_int_equal(memory_write(&mem, gpa(UINT64_MAX), b, 2), -EFAULT);
	assert_int_equal(last[P - 1], 1);
	free(last);
	free(first);
}

static void adjacent_regions(void **state)
{
	uint8_t *a = malloc(P), *b = malloc(P), *c = malloc(P);
	uint8_t in[3 * P], out[3 * P];
	struct memory mem;

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, 3 * P, P, c), 0); /* not in order */
	assert_int_equal(add(&mem, P, P, a), 0);
	assert_int_equal(add(&mem, 2 * P, P, b), 0);
	for (unsigned i = 1; i < mem.nr; i++)
		assert_true(mem.regions[i - 1].gpa < mem.regions[i].gpa);

	/* No pointer goes over the seam, a copy does. */
	assert_null(memory_at(&mem, gpa(2 * P - 1), 2));
	assert_ptr_equal(memory_at(&mem, gpa(2 * P), P), b);
	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 31 + i / P);
	assert_int_equal(memory_write(&mem, gpa(P), in, sizeof(in)), 0);
	assert_memory_equal(a, in, P);
	assert_memory_equal(b, in + P, P);
	assert_memory_equal(c, in + 2 * P, P);
	memset(out, 0, sizeof(out));
	assert_int_equal(memory_read(&mem, gpa(P), out, sizeof(out)), 0);
	assert_memory_equal(out, in, sizeof(in));
	memset(out, 0, sizeof(out));
	assert_int_equal(memory_read(&mem, gpa(2 * P - 3), out, P + 6), 0);
	assert_memory_equal(out, in + P - 3, P + 6);
	assert_int_equal(out[P + 6], 0);
	free(a);
	free(b);
	free(c);
}

/* Nothing is copied unless all of it can be. */
static void copies_are_all_or_nothing(void **state)
{
	uint8_t *a = calloc(1, P), *b = calloc(1, P), *zero = calloc(1, P);
	uint8_t buf[4 * P];
	struct memory mem;

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, 0, P, a), 0);
	assert_int_equal(add(&mem, 2 * P, P, b), 0); /* a hole of one page */
	memset(buf, 0xaa, sizeof(buf));
	assert_int_equal(memory_write(&mem, gpa(P - 4), buf, 8), -EFAULT);
	assert_int_equal(memory_write(&mem, gpa(0), buf, 3 * P), -EFAULT);
	assert_int_equal(memory_write(&mem, gpa(3 * P - 4), buf, 8), -EFAULT);
	assert_memory_equal(a, zero, P);
	assert_memory_equal(b, zero, P);
	assert_int_equal(memory_read(&mem, gpa(P - 4), buf, 8), -EFAULT);
	assert_int_equal(memory_read(&mem, gpa(2 * P - 1), buf, 2), -EFAULT);
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], 0xaa);
	free(a);
	free(b);
	free(zero);
}

static void overlaps_are_refused(void **state)
{
	uint8_t host[1];
	struct memory mem;

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, 4 * P, 2 * P, host), 0);
	assert_int_equal(add(&mem, 4 * P, 2 * P, host), -EEXIST);  /* the same */
	assert_int_equal(add(&mem, 4 * P, 1, host), -EEXIST);      /* its first byte */
	assert_int_equal(add(&mem, 6 * P - 1, 1, host), -EEXIST);  /* its last */
	assert_int_equal(add(&mem, 3 * P, P + 1, host), -EEXIST);  /* into it from below */
	assert_int_equal(add(&mem, 6 * P - 1, P, host), -EEXIST);  /* out of it */
	assert_int_equal(add(&mem, 3 * P, 4 * P, host), -EEXIST);  /* around it */
	assert_int_equal(add(&mem, 0, UINT64_MAX, host), -EEXIST); /* everything */
	assert_int_equal(add(&mem, 4 * P + 1, 1, host), -EEXIST);  /* inside */
	assert_int_equal(mem.nr, 1);
	assert_int_equal(add(&mem, 3 * P, P, host), 0); /* neighbours are not overlaps */
	assert_int_equal(add(&mem, 6 * P, P, host), 0);
	assert_int_equal(add(&mem, 0, UINT64_MAX, host), -EEXIST);
}

static void regions_that_cannot_be(void **state)
{
	uint8_t host[1];
	struct memory mem;

	(void)state;
	memory_init(&mem);
	assert_int_equal(add(&mem, P, 0, host), -EINVAL);
	assert_int_equal(add(&mem, UINT64_MAX, 2, host), -EINVAL);
	assert_int_equal(add(&mem, P, UINT64_MAX, host), -EINVAL);
	assert_int_equal(add(&mem, P, -(uint64_t)P + 1, host), -EINVAL); /* one byte too far */
	assert_int_equal(mem.nr, 0);
	assert_int_equal(add(&mem, P, -(uint64_t)P, host), 0); /* just to the end */
}

static void too_many_and_too_late(void **state)
{
	uint8_t host[1];
	struct memory mem;

	(void)state;
	memory_init(&mem);
	for (unsigned i = 0; i < MEMORY_REGIONS_MAX; i++)
		assert_int_equal(add(&mem, (MEMORY_REGIONS_MAX - i) * 2 * P, P, host), 0);
	assert_int_equal(add(&mem, 0, P, host), -ENOSPC);
	assert_int_equal(mem.nr, MEMORY_REGIONS_MAX);
	for (unsigned i = 1; i < mem.nr; i++)
		assert_true(mem.regions[i - 1].gpa < mem.regions[i].gpa);

	memory_init(&mem);
	memory_freeze(&mem);
	assert_int_equal(add(&mem, 0, P, host), -EBUSY);
	assert_int_equal(mem.nr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_region_and_its_edges),
		cmocka_unit_test(zero_length),
		cmocka_unit_test(lengths_that_wrap),
		cmocka_unit_test(the_end_of_the_address_space),
		cmocka_unit_test(adjacent_regions),
		cmocka_unit_test(copies_are_all_or_nothing),
		cmocka_unit_test(overlaps_are_refused),
		cmocka_unit_test(regions_that_cannot_be),
		cmocka_unit_test(too_many_and_too_late),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
