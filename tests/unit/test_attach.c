/* SPDX-License-Identifier: BSD-2-Clause */
/* attach: output is always taken and the last of it kept; who attaches types to the guest. */
#include <errno.h>
#include <fcntl.h>
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

#include "vmm/attach.h"
#include "vmm/control_path.h"
#include "vmm/util.h"

struct fixture {
	char dir[64], path[CONTROL_PATH_MAX];
	struct loop loop;
	struct attach *console;
	int guest; /* the guest's end */
};

static void setup(struct fixture *f)
{
	struct err err;
	int fds[2];

	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/test_console.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/x.console", f->dir);
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(attach_open(&f->console, &f->loop, f->path, fds, &err), 0);
	f->guest = fds[0];
}

static void teardown(struct fixture *f)
{
	attach_close(f->console);
	loop_destroy(&f->loop);
	assert_int_equal(rmdir(f->dir), 0);
}

static int join(struct fixture *f)
{
	int fd = control_connect(f->path);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static bool settle(struct fixture *f)
{
	for (unsigned i = 0; i < 20000; i++)
		if (loop_once(&f->loop, 0) == 0)
			return true;
	return false;
}

static void print(struct fixture *f, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(f->guest, text, len, MSG_DONTWAIT);

		if (n < 0)
			assert_int_equal(errno, EAGAIN);
		else {
			text += n;
			len -= (size_t)n;
		}
		assert_true(settle(f));
	}
}

static size_t hear(int fd, char *buf, size_t size, bool *ended)
{
	size_t have = 0;
	ssize_t n = -1;

	while (have < size - 1 && (n = recv(fd, buf + have, size - 1 - have, 0)) > 0)
		have += (size_t)n;
	*ended = have < size - 1 && n == 0;
	buf[have] = '\0';
	return have;
}

static void who_attaches_sees_what_was_last(void **state)
{
	static char buf[ATTACH_KEPT], text[ATTACH_KEPT + 1000];
	struct fixture f;
	bool ended;
	int a, b;

	(void)state;
	setup(&f);
	print(&f, "early\n", 6);
	a = join(&f);
	assert_true(settle(&f));
	hear(a, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "early\n");
	print(&f, "later\n", 6);
	hear(a, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "later\n");
	close(a);
	/* Nobody is there: more than is kept is taken all the same. */
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)('a' + i % 26);
	print(&f, text, sizeof(text));
	b = join(&f);
	assert_true(settle(&f));
	assert_int_equal(hear(b, buf, sizeof(buf), &ended), ATTACH_SHOWN);
	assert_memory_equal(buf, text + sizeof(text) - ATTACH_SHOWN, ATTACH_SHOWN);
	/* The last words are delivered even if the loop does not run any more. */
	assert_int_equal(send(f.guest, "bye\n", 4, 0), 4);
	teardown(&f);
	hear(b, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "bye\n");
	assert_true(ended);
	close(b);
}

static void what_is_typed_reaches_the_guest(void **state)
{
	struct fixture f;
	size_t sent = 0, got = 0;
	char buf[512];
	bool ended;
	int a, b;

	(void)state;
	setup(&f);
	a = join(&f);
	b = join(&f);
	assert_int_equal(send(a, "x", 1, 0), 1);
	assert_true(settle(&f));
	assert_int_equal(send(b, "y", 1, 0), 1);
	assert_true(settle(&f));
	hear(f.guest, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "xy");
	/* A guest that takes nothing: the typist waits, the loop sleeps, the others go on. */
	memset(buf, 'z', sizeof(buf));
	for (;;) {
		ssize_t n = send(a, buf, sizeof(buf), 0);

		if (n < 0)
			break;
		sent += (size_t)n;
		assert_true(settle(&f));
	}
	print(&f, "still here\n", 11);
	hear(b, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "still here\n");
	/* It takes it after all, and nothing is lost. */
	while (got < sent) {
		size_t n = hear(f.guest, buf, sizeof(buf), &ended);

		for (size_t i = 0; i < n; i++)
			assert_int_equal(buf[i], 'z');
		got += n;
		assert_true(settle(&f));
	}
	assert_int_equal(got, sent);
	/* Who hangs up in the middle of that is gone, and not called for ever. */
	while (send(a, "zzzzzzzz", 8, 0) > 0)
		;
	settle(&f);
	while (send(a, "zzzzzzzz", 8, 0) > 0)
		settle(&f);
	close(a);
	assert_true(settle(&f));
	close(b);
	assert_true(settle(&f));
	teardown(&f);
}

static void a_slow_reader_misses_something_and_is_told(void **state)
{
	static char text[4096], buf[ATTACH_KEPT * 2];
	size_t have, all = 0;
	unsigned long long left = 0;
	unsigned notes = 0;
	struct fixture f;
	bool ended;
	char *note;
	int fd;

	(void)state;
	setup(&f);
	fd = join(&f);
	assert_true(settle(&f));
	memset(text, 'o', sizeof(text));
	for (unsigned i = 0; i < 200; i++)
		print(&f, text, sizeof(text));
	while ((have = hear(fd, buf, sizeof(buf), &ended))) {
		for (note = buf; (note = strstr(note, "[trivm: ")); notes++) {
			note += strlen("[trivm: ");
			left += strtoull(note, NULL, 10);
		}
		for (size_t i = 0; i < have; i++)
			all += buf[i] == 'o';
		assert_true(settle(&f));
	}
	assert_false(ended);
	assert_true(left > 0);
	/* "out" is in the note, too. */
	assert_int_equal(all + left, 200 * sizeof(text) + notes);
	close(fd);
	assert_true(settle(&f));
	teardown(&f);
}

static void not_more_than_there_is_room_for(void **state)
{
	int fds[ATTACH_CLIENTS_MAX + 1];
	struct fixture f;
	char buf[512];
	bool ended;

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = join(&f);
		assert_true(settle(&f));
	}
	hear(fds[ATTACH_CLIENTS_MAX], buf, sizeof(buf), &ended);
	assert_true(ended);
	assert_non_null(strstr(buf, "too many"));
	close(fds[0]);
	assert_true(settle(&f));
	fds[0] = join(&f);
	assert_true(settle(&f));
	print(&f, "all\n", 4);
	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++) {
		hear(fds[i], buf, sizeof(buf), &ended);
		assert_string_equal(buf, "all\n");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	assert_true(settle(&f));
	teardown(&f);
	attach_pump(NULL);
	attach_close(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_attaches_sees_what_was_last),
		cmocka_unit_test(what_is_typed_reaches_the_guest),
		cmocka_unit_test(a_slow_reader_misses_something_and_is_told),
		cmocka_unit_test(not_more_than_there_is_room_for),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
