/* SPDX-License-Identifier: BSD-2-Clause */
/* listener: connections for which there is no descriptor are waited with, without a spinning loop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/listener.h"
#include "vmm/log.h"
#include "vmm/util.h"

struct fixture {
	struct loop loop;
	struct listener listener;
	struct sockaddr_un addr;
	int fd;
	int got[32];
	unsigned nr;
};

static void on_connection(struct listener *l, int fd)
{
	struct fixture *f = container_of(l, struct fixture, listener);

	assert_true(f->nr < ARRAY_SIZE(f->got));
	f->got[f->nr++] = fd;
}

static void setup(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	f->addr.sun_family = AF_UNIX;
	/* In the abstract name space: nothing to delete. */
	snprintf(f->addr.sun_path + 1, sizeof(f->addr.sun_path) - 1, "trivm-listener-%d", getpid());
	assert_int_equal(bind(f->fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	assert_int_equal(listen(f->fd, 16), 0);
	assert_int_equal(listener_start(&f->listener, &f->loop, f->fd, "test", on_connection), 0);
}

static void teardown(struct fixture *f)
{
	listener_stop(&f->listener);
	listener_stop(&f->listener);
	while (f->nr)
		fd_close(&f->got[--f->nr]);
	fd_close(&f->fd);
	loop_destroy(&f->loop);
}

static int join(struct fixture *f)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&f->addr, sizeof(f->addr)), 0);
	return fd;
}

static void connections_without_a_descriptor_wait(void **state)
{
	struct rlimit before, none;
	struct fixture f;
	int a, b, lines[2], saved;
	char text[1024];
	ssize_t n;

	(void)state;
	setup(&f);
	a = join(&f);
	b = join(&f);
	assert_int_equal(pipe(lines), 0);
	saved = dup(STDERR_FILENO);
	dup2(lines[1], STDERR_FILENO);
	close(lines[1]);
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 1;
	setrlimit(RLIMIT_NOFILE, &none);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(loop_once(&f.loop, 0), 1);
		/* It does not look again, though two wait. */
		assert_int_equal(loop_once(&f.loop, 0), 0);
		assert_false(listener_listens(&f.listener));
		listener_resume(&f.listener);
	}
	assert_int_equal(loop_once(&f.loop, 0), 1);
	setrlimit(RLIMIT_NOFILE, &before);
	dup2(saved, STDERR_FILENO);
	close(saved);
	/* Said once. */
	n = read(lines[0], text, sizeof(text) - 1);
	assert_true(n > 0);
	text[n] = '\0';
	assert_non_null(strstr(text, "test: a connection has to wait"));
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	close(lines[0]);
	/* After a while they are accepted without further ado. */
	while (f.nr < 2)
		assert_true(loop_once(&f.loop, 10000) > 0);
	close(a);
	close(b);
	teardown(&f);
}

static void a_pause_ends_by_itself(void **state)
{
	struct fixture f;
	int a;

	(void)state;
	setup(&f);
	listener_pause(&f.listener, 20);
	a = join(&f);
	assert_int_equal(loop_once(&f.loop, 0), 0);
	while (f.nr < 1)
		assert_true(loop_once(&f.loop, 10000) >= 0);
	close(a);
	teardown(&f);
}

static void the_soft_limit_of_descriptors_is_raised(void **state)
{
	struct rlimit before, r;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &before);
	r = before;
	r.rlim_cur = 100;
	setrlimit(RLIMIT_NOFILE, &r);
	fd_raise_limit();
	getrlimit(RLIMIT_NOFILE, &r);
	assert_true(r.rlim_cur == r.rlim_max);
	setrlimit(RLIMIT_NOFILE, &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(connections_without_a_descriptor_wait),
		cmocka_unit_test(a_pause_ends_by_itself),
		cmocka_unit_test(the_soft_limit_of_descriptors_is_raised),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
