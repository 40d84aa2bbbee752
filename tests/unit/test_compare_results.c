/* SPDX-License-Identifier: BSD-2-Clause */
/* compare: the document, as docs/compare.md has it; its checks; the table and the CSV made of it. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "compare/child.h"
#include "compare/options.h"
#include "compare/results.h"
#include "compare/road.h"
#include "compare/workload.h"
#include "vmm/clock.h"
#include "vmm/util.h"

#define SAMPLE "tests/unit/data/compare.json"

static struct compare_options options;
static struct road_common common;
static struct results results;

static void sample(enum workload_id w, unsigned road, unsigned round, double throughput)
{
	struct sample *s = results_add(&results);

	memset(s, 0, sizeof(*s));
	s->workload = w;
	s->road = road;
	s->round = round;
	for (unsigned i = 0; i < NR_METRICS; i++)
		s->values[i] = (double)NAN;
	s->before.when_us = 1;
	s->after.when_us = 2000001;
	s->after.tap.rx_packets = 1000;
	s->after.guest.rx_packets = road ? 900 : 1005;
	s->after.process_us = 1000000;
	s->after.cpu_us[WHO_OTHER] = 1010000;
	s->after.kvm = (struct sample_kvm){.known = true, .io = 2, .user_known = true};
	s->after.kvm.user_pio = road ? 2 : 1;
	s->values[M_THROUGHPUT] = throughput;
	sample_compute(s);
}

/* Two roads, two workloads, two rounds; one sample failed. */
static void make_results(void)
{
	compare_options_default(&options);
	options.workloads = BIT(WORK_TCP_IN) | BIT(WORK_IDLE);
	options.rounds = 2;
	common = (struct road_common){.options = &options, .dir = "/tmp"};
	results = (struct results){.options = &options,
	                           .common = &common,
	                           .nr_guests = 2,
	                           .skipped = json_pack("[{s:s, s:s, s:n}]", "road", "vhost-user",
	                                                "reason", "why, \"so\"", "remedy"),
	                           .command = json_pack("[s, s]", "trivm", "compare"),
	                           .when = 1764000000,
	                           .start_us = clock_us() - 2500000,
	                           .complete = true};
	for (unsigned i = 0; i < 2; i++)
		results.guests[i] =
			(struct road_guest){.road = road_at(i ? ROAD_VHOST_NET : ROAD_VMM),
		                            .common = &common,
		                            .index = i,
		                            .info = {.release = "6.1.0",
		                                     .features = 0x100010001,
		                                     .queue_size = 256,
		                                     .pairs = 1}};
	for (unsigned round = 1; round <= 2; round++)
		for (unsigned road = 0; road < 2; road++) {
			sample(WORK_TCP_IN, road, round, 100 * round + road);
			sample(WORK_IDLE, road, round, (double)NAN);
		}
	snprintf(results.samples[4].error, sizeof(results.samples[4].error), "iperf3: no, \"it\"");
}

static json_t *make_document(void)
{
	json_t *doc;

	make_results();
	doc = results_document(&results);
	assert_non_null(doc);
	return doc;
}

static json_t *load(const char *path)
{
	json_error_t e;
	json_t *doc = json_load_file(path, 0, &e);

	if (!doc)
		fail_msg("%s: %s", path, e.text);
	return doc;
}

static char *text_of(void (*write)(FILE *out, const json_t *doc), const json_t *doc)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	write(out, doc);
	fclose(out);
	return text;
}

/* The same members, of the same types (or null), all the way down; of lists their first ones. */
static void same_shape(const json_t *a, const json_t *b, const char *where)
{
	const char *key;
	json_t *value;
	char path[256];

	if (json_is_null(a) || json_is_null(b))
		return;
	if (json_is_number(a) && json_is_number(b))
		return;
	if (json_is_boolean(a) && json_is_boolean(b))
		return;
	if (json_typeof(a) != json_typeof(b))
		fail_msg("%s: other types", where);
	if (json_is_array(a) && json_array_size(a) && json_array_size(b))
		same_shape(json_array_get(a, 0), json_array_get(b, 0), where);
	if (!json_is_object(a))
		return;
	json_object_foreach ((json_t *)a, key, value) {
		snprintf(path, sizeof(path), "%.200s.%.40s", where, key);
		if (!json_object_get(b, key))
			fail_msg("%s is in one only", path);
		same_shape(value, json_object_get(b, key), path);
	}
}

static void the_sample_is_what_is_written(void **state)
{
	json_t *doc = make_document(), *other = load(SAMPLE);

	(void)state;
	same_shape(doc, other, "ours");
	same_shape(other, doc, "sample");
	json_decref(doc);
	json_decref(other);
	results_free(&results);
}

/* Is `name` in the page, in any of the forms that the page explains once for all? */
static bool documented(const char *page, const char *name)
{
	static const char *const forms[] = {"_per_packet", "_per_s", "_us_per_packet", "_percent"};
	char word[80];

	snprintf(word, sizeof(word), "`%s`", name);
	if (strstr(page, word))
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		size_t len = strlen(name), end = strlen(forms[i]);
		const char *begin = strncmp(name, "cpu_", 4) == 0 ? name + 4 : name;

		if (len <= end || strcmp(name + len - end, forms[i]) != 0)
			continue;
		snprintf(word, sizeof(word), "`%.*s`", (int)(name + len - end - begin), begin);
		if (strstr(page, word))
			return true;
	}
	return false;
}

static void everything_is_documented(const char *page, const json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	json_array_foreach (value, i, member)
		everything_is_documented(page, member);
	if (!json_is_object(value))
		return;
	json_object_foreach ((json_t *)value, key, member) {
		char quoted[80];

		snprintf(quoted, sizeof(quoted), "\"%s\"", key);
		if (!documented(page, key) && !strstr(page, quoted) && strcmp(key, "source") != 0 &&
		    strcmp(key, "value") != 0)
			fail_msg("%s is not in docs/compare.md", key);
		everything_is_documented(page, member);
	}
}

static void all_members_are_documented(void **state)
{
	json_t *doc = make_document();
	char *page = child_output("docs/compare.md");

	(void)state;
	assert_non_null(page);
	everything_is_documented(page, doc);
	assert_false(documented(page, "cpu_nobody_percent"));
	free(page);
	json_decref(doc);
	results_free(&results);
}

static const json_t *metric(const json_t *doc, const char *workload, const char *road,
                            const char *name)
{
	const json_t *r = results_find(doc, workload, road);

	assert_non_null(r);
	return json_object_get(json_object_get(r, "metrics"), name);
}

static double number(const json_t *o, const char *name)
{
	assert_true(json_is_number(json_object_get(o, name)));
	return json_number_value(json_object_get(o, name));
}

static void medians_are_of_good_samples(void **state)
{
	json_t *doc = make_document();
	const json_t *m = metric(doc, "tcp-in", "vhost-net", "throughput");
	const json_t *failed;

	(void)state;
	assert_true(number(m, "median") == 151 && number(m, "min") == 101 &&
	            number(m, "max") == 201);
	assert_true(number(m, "n") == 2);
	m = metric(doc, "tcp-in", "vmm", "throughput");
	assert_true(number(m, "median") == 100 && number(m, "n") == 1);
	/* Not known is null, in the sample and over all of them. */
	assert_true(json_is_null(metric(doc, "idle", "vmm", "throughput")));
	assert_true(json_is_null(metric(doc, "tcp-in", "vmm", "kicks")));
	failed = json_array_get(json_object_get(results_find(doc, "tcp-in", "vmm"), "samples"), 1);
	assert_string_equal(json_string_value(json_object_get(failed, "error")),
	                    "iperf3: no, \"it\"");
	assert_int_equal(json_object_size(failed), 2);
	assert_null(results_find(doc, "tcp-in", "qemu"));
	assert_string_equal(json_string_value(json_object_get(doc, "when")),
	                    "2025-11-24T16:00:00Z");
	assert_true(number(doc, "duration_s") >= 2.5 && number(doc, "duration_s") < 30);
	json_decref(doc);
	results_free(&results);
}

static const json_t *check(const json_t *doc, const char *what, const char *road)
{
	const json_t *c;
	size_t i;

	json_array_foreach (json_object_get(doc, "checks"), i, c)
		if (strcmp(json_string_value(json_object_get(c, "what")), what) == 0 &&
		    strcmp(json_string_value(json_object_get(c, "road")), road) == 0)
			return c;
	fail_msg("no check of %s on %s", what, road);
	return NULL;
}

static void checks(void **state)
{
	json_t *doc = make_document();
	const json_t *c = check(doc, "packets", "vmm");

	(void)state;
	/* Three good samples: 3015 and 3000; the other road has four, and a tenth is missing. */
	assert_true(json_is_true(json_object_get(c, "ok")));
	assert_true(number(json_object_get(c, "ours"), "value") == 3015);
	assert_true(number(c, "difference_percent") == 0.5);
	assert_null(json_object_get(c, "reason"));
	c = check(doc, "packets", "vhost-net");
	assert_true(json_is_false(json_object_get(c, "ok")));
	assert_true(number(c, "difference_percent") == -10);
	c = check(doc, "cpu", "vmm");
	assert_true(json_is_true(json_object_get(c, "ok")));
	assert_true(number(c, "difference_percent") == 1);
	/* 3 of 6: half is missing; 8 of 8. */
	assert_true(json_is_false(json_object_get(check(doc, "exits", "vmm"), "ok")));
	assert_true(json_is_true(json_object_get(check(doc, "exits", "vhost-net"), "ok")));
	c = check(doc, "kicks", "vmm");
	assert_true(json_is_null(json_object_get(c, "ok")));
	assert_true(json_is_string(json_object_get(c, "reason")));
	json_decref(doc);
	results_free(&results);
}

static unsigned fields(const char *line)
{
	unsigned n = 1;
	bool quoted = false;

	for (; *line && *line != '\n'; line++) {
		quoted ^= *line == '"';
		n += *line == ',' && !quoted;
	}
	return n;
}

static void csv(void **state)
{
	json_t *doc = make_document();
	char *text = text_of(results_csv, doc);
	unsigned lines = 0;

	(void)state;
	assert_int_equal(strncmp(text, "workload,road,round,error,seconds,throughput,", 45), 0);
	for (const char *line = text; *line; line = strchr(line, '\n') + 1, lines++)
		assert_int_equal(fields(line), 4 + NR_METRICS);
	assert_int_equal(lines, 1 + 8);
	assert_non_null(strstr(text, "\ntcp-in,vmm,1,,2,100,"));
	assert_non_null(strstr(text, "\ntcp-in,vmm,2,\"iperf3: no, \"\"it\"\"\",,"));
	free(text);
	json_decref(doc);
	results_free(&results);
}

static void table(void **state)
{
	json_t *doc = load(SAMPLE), *part = load("tests/unit/data/compare-skipped.json");
	char *text = text_of(results_table, doc);

	(void)state;
	assert_non_null(strstr(text, "Linux 6.1.0-41-cloud-amd64"));
	assert_non_null(strstr(text, "\nudp-in") ?: strstr(text, "(udp-in)"));
	assert_non_null(strstr(text, "VERSION_1"));
	assert_non_null(strstr(text, "ok        vmm+exit     kicks"));
	assert_null(strstr(text, "nan"));
	assert_null(strstr(text, "Interrupted"));
	free(text);
	json_object_set_new(part, "complete", json_false());
	text = text_of(results_table, part);
	assert_non_null(strstr(text, "vhost-net    skipped: /dev/vhost-net: No such file"));
	assert_non_null(strstr(text, "(sudo modprobe vhost_net)"));
	assert_non_null(strstr(text, "Interrupted"));
	free(text);
	json_decref(doc);
	json_decref(part);
}

/* Whatever the document is: nothing crashes. */
static void odd_documents(void **state)
{
	static const char *const texts[] = {
		"{}", "[]", "{\"results\": 1, \"roads\": [1, {}]}",
		("{\"roads\": [{}], \"workloads\": [{}], \"checks\": [{}], "
	         "\"results\": [{\"samples\": [{}]}]}")};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		json_t *doc = json_loads(texts[i], 0, NULL);

		free(text_of(results_table, doc));
		free(text_of(results_csv, doc));
		json_decref(doc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_sample_is_what_is_written),
		cmocka_unit_test(all_members_are_documented),
		cmocka_unit_test(medians_are_of_good_samples),
		cmocka_unit_test(checks),
		cmocka_unit_test(csv),
		cmocka_unit_test(table),
		cmocka_unit_test(odd_documents),
	};

	alarm(60);
	child_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
