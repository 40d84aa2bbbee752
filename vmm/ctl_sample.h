/* SPDX-License-Identifier: BSD-2-Clause */
/* ctl_sample: all that a running VM counts, asked for over its control socket. */
#ifndef TRIVM_VMM_CTL_SAMPLE_H
#define TRIVM_VMM_CTL_SAMPLE_H

#include <jansson.h>
#include <stdio.h>

#include "vmm/ctl_client.h"
#include "vmm/err.h"

/*
 * *@sample, the caller's to release:
 *
 *	status	the result of `status`
 *	stats	that of `stats`; not there if the host's KVM counts nothing
 *	cards	a list: each as `net.list` has it, and its result of `net.stats` as the member stats
 *
 * 0 or a negative errno of ctl_call().
 */
int ctl_sample(struct ctl_client *c, json_t **sample, struct err *err);

/*
 * Such a sample in Prometheus' text format (version 0.0.4), metrics trivm_*. What is null in it is
 * left out.
 */
void ctl_prometheus(FILE *out, const json_t *sample);

#endif
