/* SPDX-License-Identifier: BSD-2-Clause */
/* top_view: two samples of running VMs become lines of rates. Knows neither sockets nor terminals. */
#ifndef TRIVM_VMM_TOP_VIEW_H
#define TRIVM_VMM_TOP_VIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* What is known of one VM. Samples are ctl_sample()'s; NULL: there is none. */
struct top_samples {
	const char *name;
	json_t *before, *now;
	uint64_t before_us, now_us; /* CLOCK_MONOTONIC when they were taken */
	bool silent;                /* it did not answer the last time */
};

#define TOP_LINE_MAX 256 /* bytes, with the NUL; what is longer is cut */

struct top_line {
	char text[TOP_LINE_MAX];
	enum top_style {
		TOP_PLAIN,
		TOP_VM,   /* a VM begins */
		TOP_HEAD, /* names of columns */
	} style;
};

/* Zero: none. */
struct top_lines {
	struct top_line *lines;
	unsigned nr, size;
};

/* Add the lines of @vm. What cannot be known is "-". */
void top_view(struct top_lines *out, const struct top_samples *vm);

/* Add a line; no memory: it is left out. Control characters become question marks. */
void top_line(struct top_lines *out, enum top_style style, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

void top_lines_free(struct top_lines *lines); /* idempotent */

#endif
