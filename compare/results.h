/* SPDX-License-Identifier: BSD-2-Clause */
/* results: all samples of a run, and the document that is made of them (docs/compare.md). */
#ifndef TRIVM_COMPARE_RESULTS_H
#define TRIVM_COMPARE_RESULTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "compare/road.h"
#include "compare/sample.h"

#define RESULTS_FORMAT  "trivm-compare"
#define RESULTS_VERSION 1

struct results {
	const struct compare_options *options;
	const struct road_common *common;
	struct road_guest guests[NR_ROADS]; /* those that run */
	unsigned nr_guests;
	json_t *skipped; /* list */
	json_t *command; /* list of words */
	time_t when;
	uint64_t start_us;
	unsigned warmup_s;
	bool kvm_hardware;
	bool complete;
	struct sample *samples;
	size_t nr_samples, room;
};

/* A place for one more sample; NULL: no memory. Valid until the next call. */
struct sample *results_add(struct results *r);
void results_free(struct results *r); /* idempotent; the guests are the caller's */

/* The document, or NULL: no memory. */
json_t *results_document(const struct results *r);

/* checks.c: its member "checks". */
json_t *results_checks(const struct results *r);

/* --- Of a document, whoever made it. --- */

/* table.c: for people. */
void results_table(FILE *out, const json_t *doc);
/* csv.c */
void results_csv(FILE *out, const json_t *doc);

/* The result of @workload on @road, or NULL. */
const json_t *results_find(const json_t *doc, const char *workload, const char *road);

#endif
