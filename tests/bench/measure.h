/* SPDX-License-Identifier: BSD-2-Clause */
/* measure: run a command once and say what it cost. Single-threaded. */
#ifndef TRIVM_TESTS_BENCH_MEASURE_H
#define TRIVM_TESTS_BENCH_MEASURE_H

#include <stdint.h>

#define MEASURE_TIMEOUT_S 20 /* then the command is killed and has failed */

struct measured {
	double first_byte_us; /* from just before the spawn to the first byte on its stdout */
	double wall_us;       /* ... until it was reaped */
	double cpu_us;        /* user and system time, all threads */
	long max_rss_kib;     /* ru_maxrss: with the guest memory that was touched */
	int status;           /* exit status, or 256 + signal */
	uint8_t byte;         /* what came first */
};

/* stdin is /dev/null, stderr goes to the file @stderr_path. 0, or -1 with a line on stderr. */
int measure_run(char *const argv[], const char *stderr_path, struct measured *m);

struct measured_memory {
	long peak_kib;   /* VmHWM, or the sum over smaps if that is more (VmHWM lags some pages
	                    behind) */
	long guest_kib;  /* Rss of the mappings that are at least half as big as guest memory */
	long beyond_kib; /* peak - guest */
};

/* Of a command that writes a byte and then stays; it is killed. @guest_bytes: its guest memory. */
int measure_memory(char *const argv[], const char *stderr_path, uint64_t guest_bytes,
                   struct measured_memory *m);

/* System calls of all its threads and children, from its execve on. -1: could not be traced. */
long measure_syscalls(char *const argv[], const char *stderr_path);

#endif
