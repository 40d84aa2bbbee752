/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netrun: one run of one candidate of the net bench under one load. In the namespace of nettap.h.
 * Single-threaded but for the generator.
 */
#ifndef TRIVM_TESTS_BENCH_NETRUN_H
#define TRIVM_TESTS_BENCH_NETRUN_H

#include <stdbool.h>

#define NETRUN_QEMU "/usr/bin/qemu-system-x86_64"

enum netrun_kind {
	NETRUN_PLAIN,
	NETRUN_TRIVM,
	NETRUN_QEMU_VM,
};

struct netrun_candidate {
	const char *name;
	enum netrun_kind kind;
	bool mmio, packed;
	const char *options; /* trivm: further words of --net, with a comma in front; or NULL */
};

struct netrun_load {
	const char *name;
	const char *mode; /* the guest's word */
	unsigned size;
	bool tap; /* false: trivm's port "none" */
};

struct netrun_sample {
	bool ok;
	double pps;    /* frames a second */
	double cpu_ns; /* a frame, of all threads but the vCPU's */
};

/* Calibrates the TSC. @dir: where everything was built. */
void netrun_init(const char *dir);

/*
 * Sends or receives for @window_ms, after a time to warm up. False: it failed, and stderr has why.
 */
bool netrun(const struct netrun_candidate *cand, const struct netrun_load *load, unsigned window_ms,
            struct netrun_sample *s);

/* What the guest's modes kick and ping say: microseconds for each of @count; negative: it failed.
 */
double netrun_each_us(const struct netrun_candidate *cand, const char *mode, unsigned count);

/* An idle guest with its NIC up: CPU time of the whole process, in percent; negative: it failed. */
double netrun_idle(const struct netrun_candidate *cand);

#endif
