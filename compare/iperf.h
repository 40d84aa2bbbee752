/* SPDX-License-Identifier: BSD-2-Clause */
/* iperf: what `iperf3 -J` says of a test. */
#ifndef TRIVM_COMPARE_IPERF_H
#define TRIVM_COMPARE_IPERF_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

struct iperf_result {
	double mbit_per_s;    /* TCP: what arrived */
	double packets_per_s; /* UDP: what arrived */
	double loss_percent;  /* UDP: of what was sent */
};

/*
 * The result in @text, of a TCP or a UDP test with one stream. -EBUSY: the server has another
 * client; -EIO: iperf3 failed, and the error says how; -EPROTO: not what we know.
 */
int iperf_parse(const char *text, bool udp, struct iperf_result *result, struct err *err);

#endif
