/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one rule for all results, so that a new method needs nothing here. An object
 * is a line for each of its members; a list of objects is a table, whose columns are the members of
 * its first; a table that is wider than a terminal is turned, so that its rows become columns.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "vmm/ctl_client.h"
#include "vmm/text.h"
#include "vmm/util.h"

#define TEXT_MAX  128
#define WIDTH_MAX 110

/* What is printed has no control characters: some of it others chose. */
static void clean(char buf[TEXT_MAX])
{
	char as_it_was[TEXT_MAX];

	snprintf(as_it_was, sizeof(as_it_was), "%s", buf);
	text_printable(buf, TEXT_MAX, as_it_was);
}

/* A value in one line. */
static void text(const json_t *v, char buf[TEXT_MAX])
{
	size_t at = 0, i;
	json_t *item;

	switch (v ? (int)json_typeof(v) : JSON_NULL) {
	case JSON_STRING:
		snprintf(buf, TEXT_MAX, "%s", json_string_value(v));
		break;
	case JSON_INTEGER:
		snprintf(buf, TEXT_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
		break;
	case JSON_REAL:
		snprintf(buf, TEXT_MAX, "%.3f", json_real_value(v));
		break;
	case JSON_TRUE:
	case JSON_FALSE:
		snprintf(buf, TEXT_MAX, "%s", json_is_true(v) ? "yes" : "no");
		break;
	case JSON_ARRAY:
		buf[0] = '\0';
		json_array_foreach (v, i, item) {
			char one[TEXT_MAX];
			int n;

			text(item, one);
			n = snprintf(buf + at, TEXT_MAX - at, "%s%s", i ? " " : "", one);
			if (n < 0 || (size_t)n >= TEXT_MAX - at)
				break;
			at += (size_t)n;
		}
		break;
	default:
		snprintf(buf, TEXT_MAX, "-");
		break;
	}
	clean(buf);
}

static bool is_table(const json_t *v)
{
	size_t i;
	json_t *item;

	if (!json_is_array(v) || !json_array_size(v))
		return false;
	json_array_foreach (v, i, item) {
		if (!json_is_object(item))
			return false;
	}
	return true;
}

/* Cell (row, column), where row 0 has the names. */
static void cell(const json_t *rows, size_t row, size_t column, char buf[TEXT_MAX])
{
	void *it = json_object_iter(json_array_get(rows, 0));
	const char *key;

	while (it && column--)
		it = json_object_iter_next(json_array_get(rows, 0), it);
	key = it ? json_object_iter_key(it) : "";
	if (row == 0) {
		snprintf(buf, TEXT_MAX, "%s", key);
		clean(buf);
	} else {
		text(json_object_get(json_array_get(rows, row - 1), key), buf);
	}
}

static int column_width(const json_t *rows, size_t column, size_t nr_rows, bool turned)
{
	char buf[TEXT_MAX];
	size_t width = 0;

	for (size_t r = 0; r < nr_rows; r++) {
		if (turned)
			cell(rows, column, r, buf);
		else
			cell(rows, r, column, buf);
		width = max_u64(width, strlen(buf));
	}
	return (int)width;
}

static void show_table(FILE *out, const json_t *v, const char *indent)
{
	size_t nr_rows = json_array_size(v) + 1;
	size_t nr_columns = json_object_size(json_array_get(v, 0));
	bool turned = false;
	int width = 0;

	for (size_t c = 0; c < nr_columns; c++)
		width += column_width(v, c, nr_rows, false) + 2;
	if (width > WIDTH_MAX && nr_rows < nr_columns) {
		size_t n = nr_rows;

		turned = true;
		nr_rows = nr_columns;
		nr_columns = n;
	}
	for (size_t r = 0; r < nr_rows; r++) {
		fputs(indent, out);
		for (size_t c = 0; c < nr_columns; c++) {
			char buf[TEXT_MAX];

			if (turned)
				cell(v, c, r, buf);
			else
				cell(v, r, c, buf);
			fprintf(out, "%-*s",
			        c + 1 < nr_columns ? column_width(v, c, nr_rows, turned) + 2 : 0,
			        buf);
		}
		fputc('\n', out);
	}
}

static void show_object(FILE *out, const json_t *v, const char *indent)
{
	const char *key;
	size_t width = 0;
	json_t *item;

	json_object_foreach ((json_t *)v, key, item) {
		width = max_u64(width, strlen(key));
	}
	json_object_foreach ((json_t *)v, key, item) {
		char buf[TEXT_MAX];

		if (is_table(item)) {
			fprintf(out, "%s%s:\n", indent, key);
			show_table(out, item, "  ");
		} else if (json_is_object(item)) {
			fprintf(out, "%s%s:\n", indent, key);
			show_object(out, item, "  ");
		} else {
			text(item, buf);
			fprintf(out, "%s%-*s  %s\n", indent, (int)width, key, buf);
		}
	}
}

/* Has a row a table of its own? Then it is a list of objects to be shown one by one. */
static bool is_nested(const json_t *rows)
{
	const char *key;
	json_t *row, *item;
	size_t i;

	json_array_foreach (rows, i, row) {
		json_object_foreach (row, key, item) {
			if (is_table(item))
				return true;
		}
	}
	return false;
}

void ctl_show(FILE *out, const json_t *v)
{
	char buf[TEXT_MAX];
	json_t *row;
	size_t i;

	if (is_table(v) && is_nested(v)) {
		json_array_foreach (v, i, row) {
			if (i)
				fputc('\n', out);
			show_object(out, row, "");
		}
	} else if (is_table(v)) {
		show_table(out, v, "");
	} else if (json_is_object(v)) {
		show_object(out, v, "");
	} else if (!json_is_array(v) || json_array_size(v)) {
		text(v, buf);
		fprintf(out, "%s\n", buf);
	}
}

void ctl_show_event(FILE *out, const json_t *params)
{
	double at = json_number_value(json_object_get(params, "time"));
	time_t seconds = (time_t)at;
	const char *key;
	char when[16], buf[TEXT_MAX];
	struct tm tm;
	json_t *item;

	localtime_r(&seconds, &tm);
	strftime(when, sizeof(when), "%H:%M:%S", &tm);
	text(json_object_get(params, "event"), buf);
	fprintf(out, "%s.%03d %s", when, (int)((at - (double)seconds) * 1000), buf);
	json_object_foreach ((json_t *)params, key, item) {
		if (strcmp(key, "event") == 0 || strcmp(key, "time") == 0)
			continue;
		text(item, buf);
		fprintf(out, " %s=%s", key, buf);
	}
	fputc('\n', out);
}
