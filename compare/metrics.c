/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/metrics.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const work[NR_WORK] = {
	[M_SECONDS] = "seconds",
	[M_THROUGHPUT] = "throughput",
	[M_LOSS] = "loss_percent",
	[M_P50] = "latency_p50_us",
	[M_P99] = "latency_p99_us",
	[M_P999] = "latency_p999_us",
	[M_PACKETS] = "packets",
	[M_TO_GUEST] = "packets_to_guest",
	[M_FROM_GUEST] = "packets_from_guest",
	[M_BYTES] = "bytes",
	[M_DROPPED] = "packets_dropped",
};

static const char *const counts[NR_COUNTS] = {
	[C_EXITS] = "exits",         [C_EXITS_USER] = "exits_user",   [C_EXITS_MMIO] = "exits_mmio",
	[C_EXITS_PIO] = "exits_pio", [C_EXITS_OTHER] = "exits_other", [C_HALTS] = "halts",
	[C_KICKS] = "kicks",         [C_INTERRUPTS] = "interrupts",   [C_INJECTIONS] = "injections",
	[C_SWITCHES] = "switches",
};

static const char *const who[NR_WHO] = {
	[WHO_VCPU_GUEST] = "vcpu_guest", [WHO_VCPU_HOST] = "vcpu_host", [WHO_DATAPATH] = "datapath",
	[WHO_VHOST] = "vhost",           [WHO_BACKEND] = "backend",     [WHO_OTHER] = "other",
};

const char *metric_name(unsigned m, char buf[METRIC_NAME_MAX])
{
	static const char *const forms[] = {"", "_per_packet", "_per_s"};
	unsigned i;

	if (m < NR_WORK) {
		snprintf(buf, METRIC_NAME_MAX, "%s", work[m]);
	} else if (m < M_CPU_PER_PACKET) {
		i = m - NR_WORK;
		snprintf(buf, METRIC_NAME_MAX, "%s%s", counts[i / 3], forms[i % 3]);
	} else if (m <= M_CPU_PERCENT) {
		snprintf(buf, METRIC_NAME_MAX, "cpu_%s",
		         m == M_CPU_PERCENT ? "percent" : "us_per_packet");
	} else if (m < M_HOST_PERCENT) {
		i = m - M_CPU_PERCENT - 1;
		snprintf(buf, METRIC_NAME_MAX, "cpu_%s_%s", who[i / 2],
		         i % 2 ? "percent" : "us_per_packet");
	} else {
		snprintf(buf, METRIC_NAME_MAX, "cpu_host_percent");
	}
	return buf;
}

int metric_compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct metric_summary metric_summarize(const double *values, size_t n)
{
	struct metric_summary s = {0};
	double *sorted = calloc(n ? n : 1, sizeof(*sorted));

	for (size_t i = 0; sorted && i < n; i++)
		if (!isnan(values[i]))
			sorted[s.n++] = values[i];
	if (s.n) {
		qsort(sorted, s.n, sizeof(*sorted), metric_compare);
		s.min = sorted[0];
		s.max = sorted[s.n - 1];
		s.median = s.n % 2 ? sorted[s.n / 2] : (sorted[s.n / 2 - 1] + sorted[s.n / 2]) / 2;
	}
	free(sorted);
	return s;
}

double metric_percentile(const double *sorted, size_t n, double fraction)
{
	double exact = fraction * (double)n - 1e-6; /* 0.99 of 100 are 99, whatever doubles say */
	size_t i = exact > 0 ? (size_t)exact : 0;   /* from 0: the rank is rounded up, less one */

	if (!n)
		return (double)NAN;
	return sorted[i < n ? i : n - 1];
}
