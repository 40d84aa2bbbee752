/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * metrics: the numbers of a sample, each with its place and its name (docs/compare.md, "results").
 * One that could not be had is NAN.
 */
#ifndef TRIVM_COMPARE_METRICS_H
#define TRIVM_COMPARE_METRICS_H

#include <stddef.h>

/* The work done. */
enum metric {
	M_SECONDS,
	M_THROUGHPUT,
	M_LOSS,
	M_P50,
	M_P99,
	M_P999,
	M_PACKETS,
	M_TO_GUEST,
	M_FROM_GUEST,
	M_BYTES,
	M_DROPPED,
	NR_WORK,
};

/* What is counted: each as it is, per packet and per second. */
enum count {
	C_EXITS,
	C_EXITS_USER,
	C_EXITS_MMIO,
	C_EXITS_PIO,
	C_EXITS_OTHER,
	C_HALTS,
	C_KICKS,
	C_INTERRUPTS,
	C_INJECTIONS,
	C_SWITCHES,
	NR_COUNTS,
};

/* Who spends processor time: each per packet and in percent of a processor. */
enum who {
	WHO_VCPU_GUEST,
	WHO_VCPU_HOST,
	WHO_DATAPATH,
	WHO_VHOST,
	WHO_BACKEND,
	WHO_OTHER,
	NR_WHO,
};

#define M_COUNT(c)            (NR_WORK + 3u * (unsigned)(c))
#define M_COUNT_PER_PACKET(c) (M_COUNT(c) + 1)
#define M_COUNT_PER_S(c)      (M_COUNT(c) + 2)
#define M_CPU_PER_PACKET      (NR_WORK + 3u * NR_COUNTS) /* the sum */
#define M_CPU_PERCENT         (M_CPU_PER_PACKET + 1)
#define M_WHO_PER_PACKET(w)   (M_CPU_PERCENT + 1 + 2u * (unsigned)(w))
#define M_WHO_PERCENT(w)      (M_WHO_PER_PACKET(w) + 1)
#define M_HOST_PERCENT        (M_CPU_PERCENT + 1 + 2u * NR_WHO)
#define NR_METRICS            (M_HOST_PERCENT + 1)

#define METRIC_NAME_MAX 48

/* The name of metric @m, in @buf, which is returned. */
const char *metric_name(unsigned m, char buf[METRIC_NAME_MAX]);

/* Of @n numbers, those that are NAN left out. n 0: there is none. */
struct metric_summary {
	unsigned n;
	double median, min, max;
};
struct metric_summary metric_summarize(const double *values, size_t n);

/*
 * The value below which @fraction (0 to 1) of the @n sorted values lie: the smallest one that has
 * at least that many at or below it. NAN: n is 0.
 */
double metric_percentile(const double *sorted, size_t n, double fraction);

/* For qsort(): doubles upwards. */
int metric_compare(const void *a, const void *b);

#endif
