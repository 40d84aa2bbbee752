/* SPDX-License-Identifier: BSD-2-Clause */
/* jsonrpc: what is a request, what is refused and how, parameters against descriptions. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/jsonrpc.h"
#include "vmm/util.h"

static unsigned calls;

static int echo(void *opaque, struct jsonrpc_call *call)
{
	assert_string_equal(opaque, "opaque");
	assert_string_equal(call->client, "client");
	calls++;
	call->result = json_deep_copy(call->params);
	return 0;
}

static int fails(void *opaque, struct jsonrpc_call *call)
{
	int rc = -(int)json_integer_value(json_object_get(call->params, "errno"));

	(void)opaque;
	calls++;
	call->result = json_array(); /* what a method that fails halfway leaves */
	return json_object_get(call->params, "text")
	               ? err_set(&call->err, rc, "%s",
	                         json_string_value(json_object_get(call->params, "text")))
	               : rc;
}

static int nothing(void *opaque, struct jsonrpc_call *call)
{
	(void)opaque;
	(void)call;
	calls++;
	return 0;
}

static const struct jsonrpc_method methods[] = {
	{"echo", "id:string up:boolean [n:integer] [list:array] [more:object]", echo},
	{"fails", "errno:integer [text:string]", fails},
	{"nothing", "", nothing},
};

static char *serve(const char *text, size_t len)
{
	static char opaque[] = "opaque", client[] = "client";
	const struct jsonrpc rpc = {
		.methods = methods, .nr_methods = ARRAY_SIZE(methods), .opaque = opaque};
	char *exact = malloc(len ? len : 1);
	char *reply;

	memcpy(exact, text, len);
	calls = 0;
	reply = jsonrpc_serve(&rpc, client, exact, len);
	free(exact);
	if (reply)
		assert_null(strchr(reply, '\n'));
	return reply;
}

/* @text gets @want, word for word. */
static void expect(const char *text, const char *want)
{
	char *reply = serve(text, strlen(text));

	assert_non_null(reply);
	assert_string_equal(reply, want);
	free(reply);
}

/* @text gets an error with @code; whose id is @id (JSON). */
static void expect_error(const char *text, int code, const char *id)
{
	char *reply = serve(text, strlen(text));
	json_t *r, *want = json_loads(id, JSON_DECODE_ANY, NULL);

	assert_non_null(reply);
	r = json_loads(reply, 0, NULL);
	assert_non_null(r);
	assert_string_equal(json_string_value(json_object_get(r, "jsonrpc")), "2.0");
	assert_int_equal(json_integer_value(json_object_get(json_object_get(r, "error"), "code")),
	                 code);
	assert_true(json_string_length(json_object_get(json_object_get(r, "error"), "message")));
	assert_null(json_object_get(r, "result"));
	assert_true(json_equal(json_object_get(r, "id"), want));
	json_decref(r);
	json_decref(want);
	free(reply);
}

#define CALL(method, params) \
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\",\"params\":" params "}"

static void a_call_gets_its_result(void **state)
{
	(void)state;
	expect(CALL("echo", "{\"id\":\"a\",\"up\":true}"),
	       "{\"jsonrpc\":\"2.0\",\"result\":{\"id\":\"a\",\"up\":true},\"id\":1}");
	assert_int_equal(calls, 1);
	expect("{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"nothing\"}",
	       "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":\"x\"}");
	expect("{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"nothing\",\"params\":{}}",
	       "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":null}");
	expect("{\"jsonrpc\":\"2.0\",\"id\":1.5,\"method\":\"nothing\"}",
	       "{\"jsonrpc\":\"2.0\",\"result\":{},\"id\":1.5}");
}

static void a_notification_is_served_and_not_answered(void **state)
{
	const char *const texts[] = {
		"{\"jsonrpc\":\"2.0\",\"method\":\"nothing\"}",
		"{\"jsonrpc\":\"2.0\",\"method\":\"fails\",\"params\":{\"errno\":5}}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_null(serve(texts[i], strlen(texts[i])));
		assert_int_equal(calls, 1);
	}
	assert_null(serve("{\"jsonrpc\":\"2.0\",\"method\":\"none\"}",
	                  strlen("{\"jsonrpc\":\"2.0\",\"method\":\"none\"}")));
}

static void what_is_no_request(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *id;
	} cases[] = {
		{"", JSONRPC_PARSE, "null"},
		{"{", JSONRPC_PARSE, "null"},
		{"hello", JSONRPC_PARSE, "null"},
		{"7", JSONRPC_PARSE, "null"},
		{"{\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\"}", JSONRPC_PARSE, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"} x", JSONRPC_PARSE, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\xff\"}", JSONRPC_PARSE, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":99999999999999999999,\"method\":\"nothing\"}",
	         JSONRPC_PARSE, "null"},
		{"{}", JSONRPC_REQUEST, "null"},
		{"[]", JSONRPC_REQUEST, "null"},
		{"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothing\"}]", JSONRPC_REQUEST,
	         "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"nothing\"}", JSONRPC_REQUEST, "null"},
		{"{\"jsonrpc\":\"2.0\",\"id\":true,\"method\":\"nothing\"}", JSONRPC_REQUEST,
	         "null"},
		{"{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"nothing\"}", JSONRPC_REQUEST, "1"},
		{"{\"jsonrpc\":2.0,\"id\":1,\"method\":\"nothing\"}", JSONRPC_REQUEST, "1"},
		{"{\"id\":1,\"method\":\"nothing\"}", JSONRPC_REQUEST, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1}", JSONRPC_REQUEST, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":[]}", JSONRPC_REQUEST, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"none\"}", JSONRPC_METHOD, "\"q\""},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"nothin\"}", JSONRPC_METHOD, "1"},
		{"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"\"}", JSONRPC_METHOD, "1"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		expect_error(cases[i].text, cases[i].code, cases[i].id);
		assert_int_equal(calls, 0);
	}
}

static void a_nul_byte_is_no_json(void **state)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\0\"method\":\"nothing\"}";
	char *reply = serve(text, sizeof(text) - 1);

	(void)state;
	assert_int_equal(calls, 0);
	assert_non_null(strstr(reply, "-32700"));
	free(reply);
}

static void parameters_are_held_to_their_description(void **state)
{
	static const char *const bad[] = {
		CALL("echo", "{}"),
		CALL("echo", "{\"id\":\"a\"}"),
		CALL("echo", "{\"id\":7,\"up\":true}"),
		CALL("echo", "{\"id\":\"a\",\"up\":1}"),
		CALL("echo", "{\"id\":\"a\",\"up\":null}"),
		CALL("echo", "{\"id\":\"a\",\"up\":true,\"n\":1.5}"),
		CALL("echo", "{\"id\":\"a\",\"up\":true,\"n\":\"1\"}"),
		CALL("echo", "{\"id\":\"a\",\"up\":true,\"list\":{}}"),
		CALL("echo", "{\"id\":\"a\",\"up\":true,\"more\":[]}"),
		CALL("echo", "{\"id\":\"a\",\"up\":true,\"other\":1}"),
		CALL("nothing", "{\"a\":1}"),
		CALL("nothing", "[]"),
		CALL("nothing", "7"),
		CALL("nothing", "null"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_error(bad[i], JSONRPC_PARAMS, "1");
		assert_int_equal(calls, 0);
	}
	expect(CALL("echo", "{\"id\":\"\",\"up\":false,\"n\":-3,\"list\":[],\"more\":{\"x\":1}}"),
	       "{\"jsonrpc\":\"2.0\",\"result\":{\"id\":\"\",\"up\":false,\"n\":-3,\"list\":[],"
	       "\"more\":{\"x\":1}},\"id\":1}");
}

static void failures_become_codes(void **state)
{
	static const struct {
		const char *text;
		int code;
	} cases[] = {
		{CALL("fails", "{\"errno\":22}"), JSONRPC_PARAMS},
		{CALL("fails", "{\"errno\":2}"), JSONRPC_NO_SUCH},
		{CALL("fails", "{\"errno\":16}"), JSONRPC_STATE},
		{CALL("fails", "{\"errno\":95}"), JSONRPC_UNSUPPORTED},
		{CALL("fails", "{\"errno\":5}"), JSONRPC_FAILED},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_error(cases[i].text, cases[i].code, "1");
	expect(CALL("fails", "{\"errno\":16,\"text\":\"not now\"}"),
	       "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32002,\"message\":\"not "
	       "now\"},\"id\":1}");
}

/* @n brackets around nothing, within the parameters. */
static char *nested(unsigned n)
{
	char *text = malloc(256 + 2 * (size_t)n), *at = text;

	at += sprintf(at, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"id\":"
	                  "\"[[{{\\\"[\",\"up\":true,\"list\":");
	memset(at, '[', n);
	memset(at + n, ']', n);
	strcpy(at + 2 * n, "}}");
	return text;
}

static void nesting_is_bounded(void **state)
{
	char *ok = nested(JSONRPC_DEPTH_MAX - 2), *deep = nested(JSONRPC_DEPTH_MAX - 1);
	char *abyss = malloc(65536), *reply;

	(void)state;
	reply = serve(ok, strlen(ok));
	assert_int_equal(calls, 1);
	free(reply);
	expect_error(deep, JSONRPC_PARSE, "null");
	memset(abyss, '[', 65536);
	reply = serve(abyss, 65536);
	assert_non_null(strstr(reply, "nested"));
	free(reply);
	free(abyss);
	free(ok);
	free(deep);
}

/* Whatever is cut or changed in a request, there is an answer, or it was still one. */
static void every_damage_is_answered(void **state)
{
	static const char good[] = CALL("echo", "{\"id\":\"a\\u00e9\",\"up\":true,\"n\":12}");
	char text[sizeof(good)];

	(void)state;
	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char *reply = serve(good, i);

		assert_non_null(reply);
		free(reply);
		for (unsigned b = 0; b < 256; b++) {
			memcpy(text, good, sizeof(good));
			text[i] = (char)b;
			free(serve(text, sizeof(good) - 1));
		}
	}
}

static void messages_of_our_own(void **state)
{
	char *line = jsonrpc_error_line(JSONRPC_TOO_MANY, "too many");

	(void)state;
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32004,\"message\":"
	                          "\"too many\"},\"id\":null}");
	free(line);
	line = jsonrpc_error_line(JSONRPC_FAILED, "cut within \xc3");
	assert_non_null(line);
	free(line);
	line = jsonrpc_notification("event", json_pack("{s:i}", "a", 1));
	assert_string_equal(line,
	                    "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"a\":1}}");
	free(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_gets_its_result),
		cmocka_unit_test(a_notification_is_served_and_not_answered),
		cmocka_unit_test(what_is_no_request),
		cmocka_unit_test(a_nul_byte_is_no_json),
		cmocka_unit_test(parameters_are_held_to_their_description),
		cmocka_unit_test(failures_become_codes),
		cmocka_unit_test(nesting_is_bounded),
		cmocka_unit_test(every_damage_is_answered),
		cmocka_unit_test(messages_of_our_own),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
