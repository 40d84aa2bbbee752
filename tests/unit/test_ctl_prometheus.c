/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prometheus' text format (0.0.4): every line is read by its grammar, no series is there twice, and
 * values are those of the sample.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/ctl_sample.h"
#include "vmm/util.h"

static const char sample_text[] =
	"{\"status\":{\"name\":\"a\\\\b\\\"c\\nd\",\"uptime\":1.5,\"boots\":2,"
	"\"cpus\":2,\"memory\":268435456},"
	"\"stats\":{\"vcpus\":[{\"vcpu\":0,\"exits\":100,\"io_exits\":40,"
	"\"user_pio_out\":39},{\"vcpu\":1,\"exits\":5}],\"vm\":{},"
	"\"threads\":[{\"tid\":7,\"name\":\"x\\\"y\",\"role\":\"vcpu\","
	"\"pid\":6,\"cpu_us\":2500000,\"voluntary\":3,\"involuntary\":4}]},"
	"\"cards\":[{\"id\":\"net0\",\"link\":\"up\",\"datapath\":\"vmm\","
	"\"stats\":{\"rings\":[{\"ring\":0,\"direction\":\"rx\","
	"\"packets\":9007199254740993,\"chains\":9,\"batch_sizes\":[4,1,1],"
	"\"kicks_exit\":0,\"kicks_ioeventfd\":null},"
	"{\"ring\":1,\"direction\":\"tx\",\"packets\":null,"
	"\"batch_sizes\":null,\"kicks_exit\":8}],"
	"\"interface\":{\"name\":\"tap0\",\"to_guest_packets\":77}}},"
	"{\"id\":\"net1\",\"link\":\"down\",\"datapath\":\"vhost-user\"}]}";

static char *written(const char *json)
{
	json_t *sample = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(sample);
	ctl_prometheus(out, sample);
	fclose(out);
	json_decref(sample);
	return text;
}

static size_t name_length(const char *s)
{
	size_t n = 0;

	assert_true(isalpha((unsigned char)*s) || *s == '_' || *s == ':');
	while (isalnum((unsigned char)s[n]) || s[n] == '_' || s[n] == ':')
		n++;
	return n;
}

/* {name="value",...}; what is behind it. */
static const char *read_labels(const char *s)
{
	assert_int_equal(*s, '{');
	do {
		s++;
		s += name_length(s);
		assert_int_equal(strncmp(s, "=\"", 2), 0);
		for (s += 2; *s != '"'; s++) {
			assert_true(*s && *s != '\n');
			if (*s == '\\') {
				s++;
				assert_true(*s == '\\' || *s == '"' || *s == 'n');
			}
		}
		s++;
	} while (*s == ',');
	assert_int_equal(*s, '}');
	return s + 1;
}

/* The metric that a sample line belongs to: of a histogram there are three kinds of lines. */
static bool belongs(const char *line, size_t len, const char *metric, const char *type)
{
	static const char *const ends[] = {"_bucket", "_sum", "_count"};
	size_t n = strlen(metric);

	if (strncmp(line, metric, n) != 0)
		return false;
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(type, "histogram") == 0 && len == n + strlen(ends[i]) &&
		    strncmp(line + n, ends[i], strlen(ends[i])) == 0)
			return true;
	return strcmp(type, "histogram") != 0 && len == n;
}

static void each_line_by_the_grammar(void **state)
{
	char *text = written(sample_text), *save, *lines[512];
	char metric[128] = "", type[32] = "", helped[128] = "";
	char names[64][128];
	unsigned nr_names = 0, nr = 0;

	(void)state;
	assert_int_equal(text[strlen(text) - 1], '\n');
	for (char *l = strtok_r(text, "\n", &save); l; l = strtok_r(NULL, "\n", &save)) {
		const char *at;
		char *end;

		if (sscanf(l, "# HELP %127s %*s", helped) == 1) {
			for (unsigned i = 0; i < nr_names; i++) /* all of a metric together */
				assert_string_not_equal(names[i], helped);
			strcpy(names[nr_names++], helped);
			continue;
		}
		if (sscanf(l, "# TYPE %127s %31s", metric, type) == 2) {
			assert_string_equal(metric, helped);
			assert_int_equal(strncmp(metric, "trivm_", 6), 0);
			end = metric + strlen(metric) - strlen("_total");
			assert_int_equal(strcmp(type, "counter") == 0, strcmp(end, "_total") == 0);
			continue;
		}
		assert_true(belongs(l, name_length(l), metric, type));
		at = read_labels(l + name_length(l));
		assert_int_equal(*at, ' ');
		strtod(at + 1, &end);
		assert_true(end > at + 1 && !*end);
		/* A series is there once. */
		for (unsigned i = 0; i < nr; i++)
			assert_true(strncmp(lines[i], l, (size_t)(at - l)) != 0);
		assert_true(nr < ARRAY_SIZE(lines));
		lines[nr++] = l;
	}
	assert_true(nr > 20 && nr_names > 20);
	free(text);
}

static void values_are_those_of_the_sample(void **state)
{
	static const char *const wanted[] = {
		"trivm_vm_uptime_seconds{vm=\"a\\\\b\\\"c\\nd\"} 1.5\n",
		",vcpu=\"1\"} 5\n",
		"trivm_vcpu_kvm_exits_total{vm=\"a\\\\b\\\"c\\nd\",vcpu=\"0\",kind=\"io\"} 40\n",
		",role=\"vcpu\",name=\"x\\\"y\",pid=\"6\",tid=\"7\"} 2.500000\n",
		",nic=\"net0\",datapath=\"vmm\"} 1\n",
		",nic=\"net1\",datapath=\"vhost-user\"} 0\n",
		/* More than a double holds. */
		",queue=\"0\",direction=\"rx\"} 9007199254740993\n",
		",queue=\"0\",direction=\"rx\",way=\"exit\"} 0\n",
		",queue=\"1\",direction=\"tx\",way=\"exit\"} 8\n",
		",direction=\"rx\",le=\"1\"} 4\n",
		",direction=\"rx\",le=\"3\"} 5\n",
		",direction=\"rx\",le=\"+Inf\"} 6\n",
		("trivm_queue_batch_size_count{vm=\"a\\\\b\\\"c\\nd\",nic=\"net0\",queue=\"0\","
	         "direction=\"rx\"} 6\n"),
		",nic=\"net0\",interface=\"tap0\",direction=\"to_guest\"} 77\n",
	};
	char *text = written(sample_text);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (!strstr(text, wanted[i]))
			fail_msg("%s is not in:\n%s", wanted[i], text);
	/* What is not known is not 0. */
	assert_null(strstr(text, "way=\"ioeventfd\""));
	assert_null(strstr(text, "trivm_queue_packets_total{vm=\"a\\\\b\\\"c\\nd\",nic=\"net0\","
	                         "queue=\"1\""));
	assert_null(strstr(text, "null"));
	free(text);
}

/* A VM that tells nonsense, or nothing. */
static void odd_samples(void **state)
{
	char json[8192] = "{\"status\":{\"name\":\"", *text;

	(void)state;
	free(written("{}"));
	free(written("{\"status\":7,\"stats\":[],\"cards\":{\"a\":1}}"));
	strcpy(json, "{\"status\":{\"name\":\"");
	for (unsigned i = 0; i < 1000; i++)
		strcat(json, "\\\"");
	strcat(json, "\",\"boots\":1}}");
	text = written(json);
	assert_non_null(strstr(text, "\\\"\"} 1\n"));
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_line_by_the_grammar),
		cmocka_unit_test(values_are_those_of_the_sample),
		cmocka_unit_test(odd_samples),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
