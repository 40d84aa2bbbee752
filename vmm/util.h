/* SPDX-License-Identifier: BSD-2-Clause */
/* Small things that everything uses. */
#ifndef TRIVM_VMM_UTIL_H
#define TRIVM_VMM_UTIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define BIT(n)        (1u << (n))
#define BIT64(n)      (UINT64_C(1) << (n))

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* @align is a power of two. Callers bound @v first: neither wraps for v <= UINT64_MAX - align. */
static inline uint64_t align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}
static inline uint64_t align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}
static inline uint64_t max_u64(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* A cache line that is going to be read; one that is going to be written, by whomever. */
static inline void prefetch_read(const void *p)
{
	__builtin_prefetch(p);
}
static inline void prefetch_write(const void *p)
{
#ifdef __x86_64__
	/* The builtin does not take the line away from others unless built for newer processors;
	 * older ones take this for a no-op. */
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1);
#endif
}

/* A counter with one writer, which others may read at any moment. */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}
/* Copy a structure that consists of such counters. */
static inline void counters_read(void *to, const void *from, size_t size)
{
	for (size_t i = 0; i < size / sizeof(uint64_t); i++)
		((uint64_t *)to)[i] = __atomic_load_n((const uint64_t *)from + i, __ATOMIC_RELAXED);
}

#endif
