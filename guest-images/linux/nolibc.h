/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the guest's own small programs need, without a C library: a static one would be most of a
 * megabyte in every guest's memory, and a dynamic one costs milliseconds to load where every
 * instruction is emulated twice. One source file is one program; it includes this and has a run().
 */
#ifndef TRIVM_GUEST_NOLIBC_H
#define TRIVM_GUEST_NOLIBC_H

#include <asm/unistd.h>

static inline long syscall4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10");
	long ret;

	r10 = d; /* not where it is declared: cppcheck 2.17 takes that for an error */
	__asm__ volatile("syscall"
	                 : "=a"(ret)
	                 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
	                 : "rcx", "r11", "memory");
	return ret;
}

static inline long syscall3(long nr, long a, long b, long c)
{
	return syscall4(nr, a, b, c, 0);
}

static inline int same(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

/* To standard error. Returns 1, an exit status. */
static inline int complain(const char *text)
{
	long len = 0;

	while (text[len])
		len++;
	syscall3(__NR_write, 2, (long)text, len);
	return 1;
}

/* A decimal number of 0 to @max, or -1. */
static inline long number(const char *text, long max)
{
	long value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

/* The program: its result is the exit status. */
static int run(long argc, char **argv);

/* At entry the stack holds argc, then the argv pointers. */
__attribute__((used)) static void start(long *stack)
{
	syscall3(__NR_exit_group, run(stack[0], (char **)(stack + 1)), 0, 0);
}

__asm__(".globl _start\n"
        "_start:\n"
        "	mov %rsp, %rdi\n"
        "	and $-16, %rsp\n"
        "	call start\n");

#endif
