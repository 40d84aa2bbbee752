/* SPDX-License-Identifier: BSD-2-Clause */
/* "Did you mean": which words are near, and which are not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/nearest.h"
#include "vmm/util.h"

static const char *const words[] = {"kernel", "memory", "net",  "vhost-net", "vhost-user", "vmm",
                                    "up",     "down",   "ring", "rings",     "transport"};

static const char *best(const char *typed)
{
	struct nearest n = nearest_to(typed);

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		nearest_try(&n, words[i]);
	return n.best ? n.best : "";
}

static void near_words(void **state)
{
	(void)state;
	assert_string_equal(best("kernle"), "kernel"); /* exchanged */
	assert_string_equal(best("memry"), "memory");  /* missing */
	assert_string_equal(best("nett"), "net");      /* superfluous */
	assert_string_equal(best("vhost_net"), "vhost-net");
	assert_string_equal(best("vhostuser"), "vhost-user");
	assert_string_equal(best("dwn"), "down");
	assert_string_equal(best("mem"), "memory"); /* the beginning */
	assert_string_equal(best("ringz"), "ring"); /* the first of two */
	assert_string_equal(best("rigns"), "rings");
}

static void words_that_are_not_near(void **state)
{
	char buf[NEAREST_HINT_MAX];
	struct nearest n = nearest_to("frobnicate");

	(void)state;
	assert_string_equal(best("frobnicate"), "");
	assert_string_equal(best(""), "");
	assert_string_equal(best("x"), "");
	assert_string_equal(best("user"), "");
	assert_string_equal(best("0123456789012345678901234567890123456789"), "");
	nearest_try(&n, "run");
	assert_string_equal(nearest_hint(&n, buf), "");
	n = nearest_to("rnu");
	nearest_try(&n, "run");
	assert_string_equal(nearest_hint(&n, buf), " (did you mean run?)");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(near_words),
		cmocka_unit_test(words_that_are_not_near),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
