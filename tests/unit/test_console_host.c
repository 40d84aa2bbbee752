/* SPDX-License-Identifier: BSD-2-Clause */
/* console_host: each kind of place is opened, carries bytes both ways, and says what is wrong. */
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
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/console_host.h"
#include "vmm/fd.h"

/* The device: takes everything. */
struct device {
	char got[256];
	size_t len;
};

static size_t room(void *opaque)
{
	struct device *d = opaque;

	return sizeof(d->got) - d->len;
}

static void input(void *opaque, const uint8_t *buf, size_t len)
{
	struct device *d = opaque;

	memcpy(d->got + d->len, buf, len);
	d->len += len;
}

static void nothing(void *opaque)
{
	(void)opaque;
}

struct rig {
	struct loop loop;
	struct console_host host;
	struct device dev;
	char dir[32], path[64];
};

static void setup(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	assert_int_equal(loop_init(&r->loop), 0);
	strcpy(r->dir, "/tmp/console.XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/x", r->dir);
}

static void teardown(struct rig *r)
{
	console_host_close(&r->host);
	console_host_close(&r->host);
	loop_destroy(&r->loop);
	unlink(r->path);
	assert_int_equal(rmdir(r->dir), 0);
}

static int open_it(struct rig *r, const char *text, struct err *err)
{
	const struct chardev_client client = {.room = room,
	                                      .input = input,
	                                      .line_break = nothing,
	                                      .writable = nothing,
	                                      .opaque = &r->dev};
	struct console_options o;
	int rc;

	assert_int_equal(console_options_parse(&o, text, NULL), 0);
	rc = console_host_open(&r->host, &o, &r->loop, err);
	if (rc == 0)
		chardev_attach(&r->host.chr, &client);
	return rc;
}

static void run(struct rig *r)
{
	for (unsigned i = 0; i < 20; i++)
		loop_once(&r->loop, 1);
}

static void says(struct rig *r, const char *text)
{
	assert_int_equal(chardev_write(&r->host.chr, (const uint8_t *)text, strlen(text)),
	                 strlen(text));
	run(r);
}

static void expect_read(int fd, const char *text)
{
	char buf[64] = "";

	assert_int_equal(read(fd, buf, sizeof(buf) - 1), strlen(text));
	assert_string_equal(buf, text);
}

static void expect_got(struct rig *r, const char *text)
{
	run(r);
	assert_int_equal(r->dev.len, strlen(text));
	assert_memory_equal(r->dev.got, text, r->dev.len);
	r->dev.len = 0;
}

/* A terminal program comes, goes and comes again. Nothing is echoed, no line is waited for. */
static void test_pty(void **state)
{
	int saved = dup(STDERR_FILENO), said[2];
	char text[128] = "", *name;
	struct rig r;

	(void)state;
	setup(&r);
	assert_int_equal(pipe(said), 0);
	dup2(said[1], STDERR_FILENO);
	assert_int_equal(open_it(&r, NULL, NULL), 0);
	dup2(saved, STDERR_FILENO);
	assert_true(read(said[0], text, sizeof(text) - 1) > 0);
	name = strstr(text, "/dev/pts/");
	assert_non_null(name);
	name[strcspn(name, "\n")] = '\0';

	says(&r, "before\n");
	for (unsigned i = 0; i < 2; i++) {
		int fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);

		assert_true(fd >= 0);
		if (i == 0)
			expect_read(fd, "before\n");
		assert_int_equal(write(fd, "a\rb\n\x03", 5), 5);
		expect_got(&r, "a\rb\n\x03");
		says(&r, "out\n");
		expect_read(fd, "out\n");
		assert_int_equal(read(fd, text, sizeof(text)), -1);
		fd_close(&fd);
		run(&r);
	}
	assert_int_equal(r.dev.len, 0);
	fd_close(&saved);
	fd_close(&said[0]);
	fd_close(&said[1]);
	teardown(&r);
}

static void test_file(void **state)
{
	char text[80];
	struct err err;
	struct rig r;
	int fd;

	(void)state;
	setup(&r);
	fd = open(r.path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "old old old", 11), 11);
	fd_close(&fd);
	snprintf(text, sizeof(text), "file:%s", r.path);
	assert_int_equal(open_it(&r, text, NULL), 0);
	says(&r, "new");
	fd = open(r.path, O_RDONLY);
	expect_read(fd, "new");
	fd_close(&fd);
	console_host_close(&r.host);
	assert_int_equal(open_it(&r, "file:/nowhere/x", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "--console file:/nowhere/x: "));
	teardown(&r);
}

static void test_socket(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), peer;
	struct err err;
	char text[80];
	struct rig r;

	(void)state;
	setup(&r);
	snprintf(text, sizeof(text), "socket:%s", r.path);
	assert_int_equal(open_it(&r, text, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "nobody listens there"));
	strcpy(addr.sun_path, r.path);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr)), 0);
	assert_int_equal(open_it(&r, text, &err), -ECONNREFUSED);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(open_it(&r, text, NULL), 0);
	peer = accept(listener, NULL, NULL);
	says(&r, "to the peer");
	expect_read(peer, "to the peer");
	assert_int_equal(write(peer, "to the guest", 12), 12);
	expect_got(&r, "to the guest");
	/* The peer leaves: nothing but silence. */
	fd_close(&peer);
	run(&r);
	says(&r, "?");
	fd_close(&listener);
	teardown(&r);
}

/* Output that the other side takes later, while input is watched on the same file. */
static void test_fd_full(void **state)
{
	char text[16], buf[4096];
	static const char chunk[1024];
	size_t sent = 0, got = 0;
	int pair[2];
	struct err err;
	struct rig r;
	ssize_t n;

	(void)state;
	setup(&r);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	snprintf(text, sizeof(text), "fd:%d", pair[0]);
	assert_int_equal(open_it(&r, text, NULL), 0);
	for (; sent < 1024 * 1024; sent += sizeof(chunk))
		if (chardev_write(&r.host.chr, (const uint8_t *)chunk, sizeof(chunk)) !=
		    sizeof(chunk))
			break;
	assert_true(r.host.chr.used > 0);
	fcntl(pair[1], F_SETFL, O_NONBLOCK);
	for (unsigned i = 0; i < 100; i++) {
		while ((n = read(pair[1], buf, sizeof(buf))) > 0)
			got += (size_t)n;
		run(&r);
	}
	assert_true(got >= sent);
	assert_int_equal(r.host.chr.used, 0);
	fd_close(&pair[1]);
	console_host_close(&r.host);
	assert_int_equal(open_it(&r, "fd:999", &err), -EINVAL);
	assert_non_null(strstr(err.msg, "not open"));
	teardown(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pty),
		cmocka_unit_test(test_file),
		cmocka_unit_test(test_socket),
		cmocka_unit_test(test_fd_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
