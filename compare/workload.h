/* SPDX-License-Identifier: BSD-2-Clause */
/* workload: what a guest is made to do while it is measured: a table, one entry each. */
#ifndef TRIVM_COMPARE_WORKLOAD_H
#define TRIVM_COMPARE_WORKLOAD_H

#include <stdbool.h>

#include "compare/metrics.h"
#include "compare/road.h"
#include "vmm/err.h"

enum workload_id {
	WORK_TCP_IN,
	WORK_TCP_OUT,
	WORK_UDP_IN,
	WORK_UDP_OUT,
	WORK_LATENCY,
	WORK_IDLE,
	NR_WORKLOADS,
};

struct workload {
	const char *name, *title;
	const char *unit;   /* of the throughput; NULL: it has none */
	const char *better; /* "more", "less" */
	bool iperf, udp, from_guest;
};

const struct workload *workload_at(enum workload_id id);
int workload_find(const char *name); /* an enum workload_id, or -1 */

/*
 * Do it for @seconds, and put what was achieved in its places of @values. 0, -EINTR (compare is to
 * stop), -EBUSY (once more, please), or another errno with the error set.
 */
int workload_run(enum workload_id id, const struct road_guest *g, unsigned seconds, double *values,
                 struct err *err);

#endif
