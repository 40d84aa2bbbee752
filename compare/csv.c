/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "compare/results.h"

/* RFC 4180: quotes where they must be. */
static void put_text(FILE *out, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void put(FILE *out, const json_t *value)
{
	if (json_is_string(value))
		put_text(out, json_string_value(value));
	else if (json_is_integer(value))
		fprintf(out, "%lld", (long long)json_integer_value(value));
	else if (json_is_real(value))
		fprintf(out, "%.6g", json_real_value(value));
}

void results_csv(FILE *out, const json_t *doc)
{
	const json_t *result, *sample;
	char name[METRIC_NAME_MAX];
	size_t i, k;

	fputs("workload,road,round,error", out);
	for (unsigned m = 0; m < NR_METRICS; m++)
		fprintf(out, ",%s", metric_name(m, name));
	fputc('\n', out);
	json_array_foreach (json_object_get(doc, "results"), i, result) {
		json_array_foreach (json_object_get(result, "samples"), k, sample) {
			put(out, json_object_get(result, "workload"));
			fputc(',', out);
			put(out, json_object_get(result, "road"));
			fputc(',', out);
			put(out, json_object_get(sample, "round"));
			fputc(',', out);
			put(out, json_object_get(sample, "error"));
			for (unsigned m = 0; m < NR_METRICS; m++) {
				fputc(',', out);
				put(out, json_object_get(sample, metric_name(m, name)));
			}
			fputc('\n', out);
		}
	}
}
