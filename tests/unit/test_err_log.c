/* SPDX-License-Identifier: BSD-2-Clause */
/* err and log: the sentences that people get. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/err.h"
#include "vmm/log.h"

static void err_set_keeps_message_and_code(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_set(&err, -EINVAL, "-c %d: no", 0), -EINVAL);
	assert_string_equal(err.msg, "-c 0: no");
	assert_int_equal(err_set(&err, 0, "%s", ""), 0);
	assert_string_equal(err.msg, "");
}

static void err_may_be_null(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, -EINVAL, "x"), -EINVAL);
	assert_int_equal(err_errno(NULL, -ENOENT, "x"), -ENOENT);
	assert_int_equal(err_prefix(NULL, -EIO, "x"), -EIO);
}

static void err_errno_says_what_it_means(void **state)
{
	struct err err;

	(void)state;
	assert_int_equal(err_errno(&err, -ENOENT, "%s", "kernel"), -ENOENT);
	assert_string_equal(err.msg, "kernel: No such file or directory");
}

static void err_prefix_comes_first(void **state)
{
	struct err err;

	(void)state;
	err_set(&err, -EIO, "inner");
	assert_int_equal(err_prefix(&err, -EIO, "outer %d", 1), -EIO);
	assert_string_equal(err.msg, "outer 1: inner");
	assert_int_equal(err_prefix(&err, -EIO, "most"), -EIO);
	assert_string_equal(err.msg, "most: outer 1: inner");
}

/* Each of the three, with more than there is room for: cut, terminated, nothing behind it. */
static void err_is_cut_at_its_end(void **state)
{
	struct {
		struct err err;
		char canary[8];
	} b;
	char longer[2 * ERR_MSG_MAX];

	(void)state;
	memset(longer, 'a', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	memset(&b, 'C', sizeof(b));

	err_set(&b.err, -EIO, "%s", longer);
	assert_int_equal(strlen(b.err.msg), ERR_MSG_MAX - 1);
	err_errno(&b.err, -EIO, "%s", longer);
	assert_int_equal(strlen(b.err.msg), ERR_MSG_MAX - 1);
	err_prefix(&b.err, -EIO, "%s", longer);
	assert_int_equal(strlen(b.err.msg), ERR_MSG_MAX - 1);

	/* The prefix fits, what it precedes does not. */
	err_prefix(&b.err, -EIO, "front");
	assert_int_equal(strlen(b.err.msg), ERR_MSG_MAX - 1);
	assert_memory_equal(b.err.msg, "front: aaa", 10);
	/* One byte is left for ": ...". */
	longer[ERR_MSG_MAX - 2] = '\0';
	err_errno(&b.err, -EIO, "%s", longer);
	assert_int_equal(strlen(b.err.msg), ERR_MSG_MAX - 1);
	assert_int_equal(b.err.msg[ERR_MSG_MAX - 2], ':');
	assert_memory_equal(b.canary, "CCCCCCCC", 8);
}

/*
 * stderr becomes a datagram socket for the time of a test: each write() is one datagram, so a line
 * that came in two pieces would be seen as two.
 */
struct capture {
	int old, ends[2];
};

static int capture_begin(void **state)
{
	static struct capture c;

	fflush(stderr);
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, c.ends) < 0)
		return -1;
	c.old = dup(STDERR_FILENO);
	dup2(c.ends[1], STDERR_FILENO);
	*state = &c;
	return 0;
}

static int capture_end(void **state)
{
	struct capture *c = *state;

	log_set_level(LOG_WARN);
	dup2(c->old, STDERR_FILENO);
	close(c->old);
	close(c->ends[0]);
	close(c->ends[1]);
	return 0;
}

/* The next write(), or "" if there was none. */
static const char *next(struct capture *c)
{
	static char buf[4096];
	ssize_t n = recv(c->ends[0], buf, sizeof(buf) - 1, MSG_DONTWAIT);

	buf[n > 0 ? n : 0] = '\0';
	return buf;
}

static void log_shows_warnings_at_start(void **state)
{
	struct capture *c = *state;

	assert_true(log_enabled(LOG_ERROR));
	assert_true(log_enabled(LOG_WARN));
	assert_false(log_enabled(LOG_INFO));
	assert_false(log_enabled(LOG_DEBUG));
	log_error("a %d", 1);
	log_warn("b");
	log_info("c");
	log_debug("d");
	assert_string_equal(next(c), "trivm: error: a 1\n");
	assert_string_equal(next(c), "trivm: warning: b\n");
	assert_string_equal(next(c), "");
}

static void log_levels(void **state)
{
	struct capture *c = *state;
	int evaluated = 0;

	log_set_level(LOG_DEBUG);
	log_info("c");
	log_debug("d %d", ++evaluated);
	assert_string_equal(next(c), "trivm: c\n");
	assert_string_equal(next(c), "trivm: debug: d 1\n");

	log_set_level(LOG_ERROR);
	log_warn("b");
	log_debug("d %d", ++evaluated);
	log_error("a");
	assert_string_equal(next(c), "trivm: error: a\n");
	assert_string_equal(next(c), "");
	assert_int_equal(evaluated, 1); /* what is not shown costs nothing */
}

static void log_cuts_a_long_line(void **state)
{
	struct capture *c = *state;
	char longer[3000];
	const char *got;
	size_t len;

	memset(longer, 'x', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	log_error("%s", longer);
	got = next(c);
	len = strlen(got);
	assert_in_range(len, 900, 1024);
	assert_int_equal(got[len - 1], '\n');
	assert_int_equal(got[len - 2], 'x');
	assert_string_equal(next(c), "");
}

#define LINES 200

static void *complain(void *arg)
{
	for (int i = 0; i < LINES; i++)
		log_error("thread %s says something that takes its time", (const char *)arg);
	return NULL;
}

static void *collect(void *arg)
{
	struct capture *c = arg;
	unsigned long bad = 0;

	for (int i = 0; i < 2 * LINES; i++) {
		char buf[256];
		ssize_t n = recv(c->ends[0], buf, sizeof(buf) - 1, 0);

		buf[n > 0 ? n : 0] = '\0';
		bad += strcmp(buf, "trivm: error: thread A says something that takes its time\n") &&
		       strcmp(buf, "trivm: error: thread B says something that takes its time\n");
	}
	return (void *)bad;
}

static void log_lines_of_threads_do_not_mix(void **state)
{
	pthread_t a, b, reader;
	void *bad;

	pthread_create(&reader, NULL, collect, *state);
	pthread_create(&a, NULL, complain, "A");
	pthread_create(&b, NULL, complain, "B");
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	pthread_join(reader, &bad);
	assert_null(bad);
}

static void limit_shows_a_burst_and_counts_the_rest(void **state)
{
	struct log_limit limit = {0}, other = {0};
	struct capture *c = *state;
	char want[64];

	for (int i = 0; i < LOG_LIMIT_BURST + 3; i++)
		log_limited(&limit, LOG_WARN, "line %d", i);
	for (int i = 0; i < LOG_LIMIT_BURST; i++) {
		snprintf(want, sizeof(want), "trivm: warning: line %d\n", i);
		assert_string_equal(next(c), want);
	}
	assert_string_equal(next(c), "");

	/* Another place that complains has its own. */
	log_limited(&other, LOG_WARN, "other");
	assert_string_equal(next(c), "trivm: warning: other\n");

	/* The window is over: the first line says what was left out, once. */
	limit.window -= LOG_LIMIT_SECONDS;
	log_limited(&limit, LOG_WARN, "again");
	assert_string_equal(next(c), "trivm: warning: (3 lines like the next one were left out)\n");
	assert_string_equal(next(c), "trivm: warning: again\n");
	log_limited(&limit, LOG_WARN, "and again");
	assert_string_equal(next(c), "trivm: warning: and again\n");
	assert_string_equal(next(c), "");
}

static void limit_ignores_lines_below_the_level(void **state)
{
	struct log_limit limit = {0};
	struct capture *c = *state;

	for (int i = 0; i < 3 * LOG_LIMIT_BURST; i++)
		log_limited(&limit, LOG_DEBUG, "hidden");
	log_set_level(LOG_DEBUG);
	log_limited(&limit, LOG_DEBUG, "seen");
	assert_string_equal(next(c), "trivm: debug: seen\n");
}

/* File names, and what guests and peers have sent, are in messages. */
static void log_shows_no_control_characters(void **state)
{
	struct capture *c = *state;

	log_error("kernel '%s': no", "\x1b[2J\r\n\xc2\x9b"
	                             "caf\xe9 \xc3\xa9");
	assert_string_equal(next(c),
	                    "trivm: error: kernel '?[2J???caf\xef\xbf\xbd \xc3\xa9': no\n");
}

#define CAPTURED(test) cmocka_unit_test_setup_teardown(test, capture_begin, capture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CAPTURED(log_shows_warnings_at_start), /* first: it is about the start */
		CAPTURED(log_levels),
		CAPTURED(log_cuts_a_long_line),
		CAPTURED(log_shows_no_control_characters),
		CAPTURED(log_lines_of_threads_do_not_mix),
		CAPTURED(limit_shows_a_burst_and_counts_the_rest),
		CAPTURED(limit_ignores_lines_below_the_level),
		cmocka_unit_test(err_set_keeps_message_and_code),
		cmocka_unit_test(err_may_be_null),
		cmocka_unit_test(err_errno_says_what_it_means),
		cmocka_unit_test(err_prefix_comes_first),
		cmocka_unit_test(err_is_cut_at_its_end),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
