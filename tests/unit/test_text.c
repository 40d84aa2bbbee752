/* SPDX-License-Identifier: BSD-2-Clause */
/* Strings that others have chosen: what is UTF-8 stays, what is not is replaced, nothing is cut within a character. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/json_text.h"
#include "vmm/text.h"
#include "vmm/util.h"

#define FFFD "\xef\xbf\xbd"

static const struct {
	const char *in, *out;
} cases[] = {
	{"", ""},
	{"plain /a/b", "plain /a/b"},
	{"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80"},
	{"Latin-1: \xe4", "Latin-1: " FFFD},
	{"\xe4\xf6x", FFFD FFFD "x"},
	{"\x80", FFFD},
	{"\xc0\xaf", FFFD FFFD},          /* overlong '/' */
	{"\xe0\x80\xaf", FFFD FFFD FFFD}, /* the same in three */
	{"\xf0\x80\x80\xaf", FFFD FFFD FFFD FFFD},
	{"\xed\xa0\x80", FFFD FFFD FFFD},          /* a surrogate */
	{"\xf4\x90\x80\x80", FFFD FFFD FFFD FFFD}, /* above U+10FFFF */
	{"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"},
	{"\xff\xfe", FFFD FFFD},
	{"cut \xe2\x82", "cut " FFFD FFFD},
	{"\xe2(\xa1", FFFD "(" FFFD},
};

static void bytes_that_are_not_utf8_are_replaced(void **state)
{
	char out[64];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(text_utf8(out, sizeof(out), cases[i].in), strlen(cases[i].out));
		assert_string_equal(out, cases[i].out);
		assert_int_equal(text_is_utf8(cases[i].in), !strcmp(cases[i].in, cases[i].out));
		assert_true(text_is_utf8(out));
	}
}

static void nothing_is_cut_within_a_character(void **state)
{
	(void)state;
	for (size_t size = 1; size < 12; size++) {
		char *out = malloc(size);

		assert_non_null(out);
		assert_int_equal(text_utf8(out, size, "a\xe2\x82\xac\xf0\x9f\x98\x80z"),
		                 size < 5   ? min_u64(size - 1, 1)
		                 : size < 9 ? 4
		                            : min_u64(size - 1, 9));
		assert_true(text_is_utf8(out));
		free(out);
	}
}

static void control_characters_are_not_printed(void **state)
{
	char out[64];

	(void)state;
	text_printable(out, sizeof(out),
	               "a\x1b[2Jb\r\n\tc\x7f\xc2\x9b"
	               "d\xc2\xa0\x9b");
	assert_string_equal(out, "a?[2Jb???c??d\xc2\xa0" FFFD);
	/* JSON escapes them itself. */
	text_utf8(out, sizeof(out), "a\x1b\n");
	assert_string_equal(out, "a\x1b\n");
}

static void json_gets_every_string(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *json = json_text(cases[i].in);

		assert_string_equal(json_string_value(json), cases[i].out);
		json_decref(json);
	}
	assert_null(json_text(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_that_are_not_utf8_are_replaced),
		cmocka_unit_test(nothing_is_cut_within_a_character),
		cmocka_unit_test(control_characters_are_not_printed),
		cmocka_unit_test(json_gets_every_string),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
