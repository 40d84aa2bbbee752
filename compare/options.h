/* SPDX-License-Identifier: BSD-2-Clause */
/* options: what `trivm compare` was asked for. Strings are borrowed from argv. */
#ifndef TRIVM_COMPARE_OPTIONS_H
#define TRIVM_COMPARE_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "vmm/err.h"

#define COMPARE_ROUNDS_MAX  100
#define COMPARE_SECONDS_MAX 600
#define COMPARE_LIMIT_MAX   86400
#define COMPARE_CPUS_MAX    64

struct compare_options {
	unsigned roads;     /* BIT(enum road_id), in road.h */
	unsigned workloads; /* BIT(enum workload_id), in workload.h */
	unsigned rounds;    /* 0: as the host is */
	unsigned seconds;   /* of one workload */
	unsigned limit_s;   /* no round is begun that would not end before; 0: none */
	unsigned cpus;      /* of the guest */
	bool mmio, packed;
	const char *kernel, *initrd; /* NULL: the default guest's */
	const char *out;             /* folder for the files; NULL: none are written */
	bool help;
};

void compare_options_default(struct compare_options *o);

/* -EINVAL: the error names the option, its value and what was expected. */
int compare_options_parse(struct compare_options *o, int argc, char **argv, struct err *err);

/* The list of options, for --help; and for completion, as config_print_words() has it. */
void compare_options_print(FILE *out);
void compare_options_words(FILE *out);

#endif
