/* SPDX-License-Identifier: BSD-2-Clause */
/* The client of the control socket: requests, answers of all kinds, and how results are shown. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/control_path.h"
#include "vmm/ctl_client.h"
#include "vmm/ctl_sample.h"
#include "vmm/fd.h"

struct fixture {
	char dir[64], path[CONTROL_PATH_MAX];
	struct control_listener listener;
	struct ctl_client client;
	int server;
};

static void setup(struct fixture *f)
{
	struct err err;

	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/test_ctl.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/s", f->dir);
	assert_int_equal(control_listen(&f->listener, f->path, &err), 0);
	assert_int_equal(ctl_connect(&f->client, f->path, 1, &err), 0);
	f->server = accept(f->listener.fd, NULL, NULL);
	assert_true(f->server >= 0);
}

static void teardown(struct fixture *f)
{
	ctl_close(&f->client);
	ctl_close(&f->client);
	fd_close(&f->server);
	control_unlisten(&f->listener);
	rmdir(f->dir);
}

/* The answer is there before it is asked for: one thread is enough. */
static void answer(struct fixture *f, const char *text)
{
	assert_int_equal(fd_write_full(f->server, text, strlen(text)), 0);
}

static void a_call(void **state)
{
	char request[256] = "";
	struct fixture f;
	json_t *result;
	struct err err;

	(void)state;
	setup(&f);
	answer(&f,
	       "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{}}\n"
	       "{\"jsonrpc\":\"2.0\",\"result\":{\"a\":7},\"id\":1}\n"
	       "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32001,\"message\":\"none such\"},\"id\":"
	       "1}\n");
	assert_int_equal(ctl_call(&f.client, "x.y", json_pack("{s:s}", "id", "n"), &result, &err),
	                 0);
	assert_int_equal(json_integer_value(json_object_get(result, "a")), 7);
	json_decref(result);
	assert_true(recv(f.server, request, sizeof(request) - 1, 0) > 0);
	assert_non_null(strstr(request, "\"method\":\"x.y\""));
	assert_non_null(strstr(request, "\"params\":{\"id\":\"n\"}}\n"));
	assert_int_equal(ctl_call(&f.client, "x.y", NULL, &result, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "none such");
	teardown(&f);
}

static void a_long_answer(void **state)
{
	const size_t len = 300000;
	char *text = malloc(len + 128);
	struct fixture f;
	json_t *result;
	struct err err;
	int room = 1 << 20, n;

	(void)state;
	setup(&f);
	setsockopt(f.server, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	n = sprintf(text, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":\"");
	memset(text + n, 'x', 100000);
	strcpy(text + n + 100000, "\"}\n");
	answer(&f, text);
	assert_int_equal(ctl_call(&f.client, "m", NULL, &result, &err), 0);
	assert_int_equal(json_string_length(result), 100000);
	json_decref(result);
	free(text);
	teardown(&f);
}

static void bad_answers(void **state)
{
	static const struct {
		const char *text;
		int rc;
	} cases[] = {
		{"not json\n", -EPROTO},
		{"{\"jsonrpc\":\"2.0\"", -ENODATA}, /* cut */
		{"", -ENODATA},
		{"{\"jsonrpc\":\"2.0\",\"error\":{},\"id\":null}\n", -EREMOTEIO},
		{"{\"jsonrpc\":\"2.0\",\"error\":7,\"id\":1}\n", -EREMOTEIO},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fixture f;
		json_t *result = NULL;
		struct err err = {.msg = ""};

		setup(&f);
		answer(&f, cases[i].text);
		shutdown(f.server, SHUT_WR);
		assert_int_equal(ctl_call(&f.client, "m", NULL, &result, &err), cases[i].rc);
		assert_true(err.msg[0]);
		assert_null(result);
		teardown(&f);
	}
}

/* Refused before it was asked: the reason is read although the request cannot be sent. */
static void a_refusal(void **state)
{
	struct fixture f;
	json_t *result;
	struct err err;

	(void)state;
	setup(&f);
	answer(&f,
	       "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32004,\"message\":\"too many\"},\"id\":"
	       "null}\n");
	fd_close(&f.server);
	assert_int_equal(ctl_call(&f.client, "m", NULL, &result, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "too many");
	teardown(&f);
}

static void nobody_answers(void **state)
{
	struct ctl_client c;
	struct fixture f;
	json_t *result;
	struct err err;

	(void)state;
	setup(&f);
	assert_int_equal(ctl_call(&f.client, "m", NULL, &result, &err), -ETIMEDOUT);
	teardown(&f);
	assert_int_equal(ctl_connect(&c, f.path, 1, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "trivm list"));
	assert_int_equal(c.fd, -1);
}

static void events(void **state)
{
	struct fixture f;
	json_t *params;
	struct err err;

	(void)state;
	setup(&f);
	answer(&f, "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":3}\n"
	           "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":\"link\"}}\n");
	fd_close(&f.server);
	ctl_wait_forever(&f.client);
	assert_int_equal(ctl_event(&f.client, &params, &err), 0);
	assert_string_equal(json_string_value(json_object_get(params, "event")), "link");
	json_decref(params);
	assert_int_equal(ctl_event(&f.client, &params, &err), -ENODATA);
	teardown(&f);
}

/* All counts: what the VM refuses is left out, what is cut is an error. */
static void a_sample(void **state)
{
	static const char status[] = "{\"jsonrpc\":\"2.0\",\"result\":{\"name\":\"v\"},\"id\":1}\n";
	static const char refusal[] = "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32003,"
				      "\"message\":\"no\"},\"id\":1}\n";
	static const char cards[] = "{\"jsonrpc\":\"2.0\",\"result\":[{\"id\":\"a\"},"
				    "{\"id\":\"b\"}],\"id\":1}\n";
	static const char counts[] = "{\"jsonrpc\":\"2.0\",\"result\":{\"rings\":[]},\"id\":1}\n";
	char requests[1024] = "";
	json_t *sample = NULL, *list;
	struct fixture f;
	struct err err;

	(void)state;
	setup(&f);
	answer(&f, status);
	answer(&f, refusal);
	answer(&f, cards);
	answer(&f, counts);
	answer(&f, refusal);
	assert_int_equal(ctl_sample(&f.client, &sample, &err), 0);
	assert_true(recv(f.server, requests, sizeof(requests) - 1, 0) > 0);
	assert_non_null(
		strstr(requests, "\"method\":\"net.stats\",\"id\":1,\"params\":{\"id\":\"b\"}"));
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(sample, "status"), "name")), "v");
	assert_null(json_object_get(sample, "stats"));
	list = json_object_get(sample, "cards");
	assert_int_equal(json_array_size(list), 2);
	assert_non_null(json_object_get(json_array_get(list, 0), "stats"));
	assert_null(json_object_get(json_array_get(list, 1), "stats"));
	json_decref(sample);
	answer(&f, status);
	answer(&f, "{\"jsonrpc\":");
	fd_close(&f.server);
	assert_true(ctl_sample(&f.client, &sample, &err) < 0);
	teardown(&f);
}

/* --- Showing --- */

static void expect_shown(const char *json, const char *want)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_non_null(value);
	ctl_show(out, value);
	fclose(out);
	assert_string_equal(text, want);
	free(text);
	json_decref(value);
}

static void results_for_people(void **state)
{
	(void)state;
	expect_shown("{\"a\":1,\"long\":\"x\",\"list\":[1,\"b\",true],\"none\":null}",
	             "a     1\nlong  x\nlist  1 b yes\nnone  -\n");
	expect_shown("[{\"id\":\"n0\",\"up\":true},{\"id\":\"net11\",\"up\":false},{\"id\":\"x\"}]",
	             "id     up\nn0     yes\nnet11  no\nx      -\n");
	expect_shown("{\"name\":\"v\",\"rows\":[{\"a\":1},{\"a\":22}],\"o\":{\"k\":0.5}}",
	             "name  v\nrows:\n  a\n  1\n  22\no:\n  k  0.500\n");
	expect_shown("[{\"a\":1,\"t\":[{\"b\":2}]},{\"a\":3,\"t\":[{\"b\":4}]}]",
	             "a  1\nt:\n  b\n  2\n\na  3\nt:\n  b\n  4\n");
	expect_shown("[]", "");
	expect_shown("{}", "");
	expect_shown("\"two\\u001b[31m\\nlines\"", "two?[31m?lines\n");
}

/* A table that does not fit a terminal is turned. */
static void wide_results(void **state)
{
	char json[2048] = "[{", want[2048] = "";
	size_t at = 2;

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		at += (size_t)sprintf(json + at, "%s\"column_%02u\":%u", i ? "," : "", i, i);
	strcpy(json + at, "}]");
	for (unsigned i = 0; i < 12; i++)
		sprintf(want + strlen(want), "column_%02u  %u\n", i, i);
	expect_shown(json, want);
}

static void events_for_people(void **state)
{
	json_t *params =
		json_loads("{\"device\":\"net0\",\"event\":\"link\",\"time\":86399.25,\"link\":"
	                   "\"down\"}",
	                   0, NULL);
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	setenv("TZ", "UTC", 1);
	ctl_show_event(out, params);
	fclose(out);
	assert_string_equal(text, "23:59:59.250 link device=net0 link=down\n");
	free(text);
	json_decref(params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call),         cmocka_unit_test(a_long_answer),
		cmocka_unit_test(bad_answers),    cmocka_unit_test(a_refusal),
		cmocka_unit_test(nobody_answers), cmocka_unit_test(events),
		cmocka_unit_test(a_sample),       cmocka_unit_test(results_for_people),
		cmocka_unit_test(wide_results),   cmocka_unit_test(events_for_people),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
