// SPDX-License-Identifier: BSD-2-Clause
/* compare_page(): results into the page, whatever is in them. What a browser makes of it is tests/page's. */
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

#include "compare/page.h"

static const char opening[] = "<script type=\"application/json\" id=\"results\">";

struct page {
	char *text;
	size_t size;
	char *json; /* what is between the tags of the results' element */
};

/* The page of @results, which it consumes. */
static void make(struct page *page, json_t *results)
{
	FILE *out = open_memstream(&page->text, &page->size);
	char *from, *to;

	assert_non_null(results);
	assert_non_null(out);
	assert_int_equal(compare_page(out, results), 0);
	fclose(out);
	json_decref(results);
	assert_int_equal(strlen(page->text), page->size);
	from = strstr(page->text, opening);
	assert_non_null(from);
	from += strlen(opening);
	to = strstr(from, "</script>");
	assert_non_null(to);
	page->json = strndup(from, to - from);
}

static void drop(struct page *page)
{
	free(page->text);
	free(page->json);
}

static void holds_the_results_as_they_are(void **state)
{
	json_t *in = json_load_file("tests/unit/data/compare.json", 0, NULL), *out;
	struct page page;

	(void)state;
	make(&page, json_incref(in));
	out = json_loads(page.json, 0, NULL);
	assert_true(json_equal(in, out));
	json_decref(in);
	json_decref(out);
	drop(&page);
}

static void is_a_whole_page_of_modest_size(void **state)
{
	struct page page;

	(void)state;
	make(&page, json_pack("{}"));
	assert_memory_equal(page.text, "<!DOCTYPE html>", 15);
	assert_string_equal(page.text + page.size - 8, "</html>\n");
	assert_true(page.size > 20000 && page.size < 120000);
	/* Every mark was replaced, and nothing is fetched from anywhere. */
	assert_null(strstr(page.text, "@STYLE@"));
	assert_null(strstr(page.text, "@SCRIPT@"));
	assert_null(strstr(page.text, "@RESULTS@"));
	assert_null(strstr(page.text, " src="));
	assert_null(strstr(page.text, "<link"));
	assert_null(strstr(page.text, "url("));
	assert_non_null(strstr(page.text, "default-src 'none'"));
	drop(&page);
}

static void hostile_text_cannot_leave_its_element(void **state)
{
	static const char *const texts[] = {
		"</script><script>alert(1)</script>",
		"<!-- <script>",
		"</SCRIPT >",
		"]]>&amp;&lt;",
		"\"'\\\n\t\b\x01\x7f",
		"\xe2\x80\xa8\xe2\x80\xa9 \xc3\xa9 \xf0\x9f\x9a\xa6",
		"@RESULTS@ @SCRIPT@",
		"<",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		json_t *in = json_pack("{s:s, s:[s]}", texts[i], texts[i], "list", texts[i]), *out;
		struct page page;

		make(&page, json_incref(in));
		assert_null(strpbrk(page.json, "<>&"));
		out = json_loads(page.json, 0, NULL);
		assert_true(json_equal(in, out));
		json_decref(in);
		json_decref(out);
		drop(&page);
	}
}

static void takes_text_that_is_longer_than_any_buffer(void **state)
{
	size_t len = 3000000;
	char *text = malloc(len + 1);
	struct page page;
	json_t *out;

	(void)state;
	for (size_t i = 0; i < len; i++)
		text[i] = i % 7 ? 'a' : '<';
	text[len] = 0;
	make(&page, json_pack("{s:s}", "x", text));
	out = json_loads(page.json, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(out, "x")), text);
	json_decref(out);
	free(text);
	drop(&page);
}

static void refuses_what_is_no_result(void **state)
{
	FILE *out = tmpfile();
	json_t *number = json_integer(1);

	(void)state;
	assert_int_equal(compare_page(out, NULL), -EINVAL);
	assert_int_equal(compare_page(out, number), -EINVAL);
	assert_int_equal(ftell(out), 0);
	json_decref(number);
	fclose(out);
}

static void says_that_the_file_did_not_take_all(void **state)
{
	FILE *out = fopen("/dev/full", "w");
	json_t *results = json_object();

	(void)state;
	assert_non_null(out);
	assert_int_equal(compare_page(out, results), -EIO);
	json_decref(results);
	fclose(out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holds_the_results_as_they_are),
		cmocka_unit_test(is_a_whole_page_of_modest_size),
		cmocka_unit_test(hostile_text_cannot_leave_its_element),
		cmocka_unit_test(takes_text_that_is_longer_than_any_buffer),
		cmocka_unit_test(refuses_what_is_no_result),
		cmocka_unit_test(says_that_the_file_did_not_take_all),
	};

	alarm(60);
	return cmocka_run_group_tests_name("compare_page", tests, NULL, NULL);
}
