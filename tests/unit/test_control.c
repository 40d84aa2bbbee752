/* SPDX-License-Identifier: BSD-2-Clause */
/* control: connections, lines and notifications, and what it takes from those who misbehave. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/control.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

struct fixture {
	char dir[64], path[CONTROL_PATH_MAX];
	struct loop loop;
	struct control *control;
	struct jsonrpc rpc;
	unsigned calls, slow_calls;
};

static int ping(void *opaque, struct jsonrpc_call *call)
{
	struct fixture *f = opaque;

	f->calls++;
	call->result = json_integer(f->calls);
	return 0;
}

static int large(void *opaque, struct jsonrpc_call *call)
{
	size_t n = (size_t)json_integer_value(json_object_get(call->params, "bytes"));
	char *text = malloc(n + 1);

	(void)opaque;
	memset(text, 'x', n);
	text[n] = '\0';
	call->result = json_string(text);
	free(text);
	return 0;
}

static int slow(void *opaque, struct jsonrpc_call *call)
{
	struct fixture *f = opaque;

	(void)call;
	usleep(5000);
	f->slow_calls++;
	return 0;
}

static int subscribe(void *opaque, struct jsonrpc_call *call)
{
	struct fixture *f = opaque;

	return control_subscribe(f->control, call->client, true, &call->err);
}

static int unsubscribe(void *opaque, struct jsonrpc_call *call)
{
	struct fixture *f = opaque;

	return control_subscribe(f->control, call->client, false, &call->err);
}

static const struct jsonrpc_method methods[] = {
	{"ping", "", ping},
	{"slow", "", slow},
	{"large", "bytes:integer", large},
	{"subscribe", "", subscribe},
	{"unsubscribe", "", unsubscribe},
};

static const char *const slow_methods[] = {"slow", NULL};

static void setup(struct fixture *f)
{
	struct err err;

	memset(f, 0, sizeof(*f));
	strcpy(f->dir, "/tmp/test_control.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/x.sock", f->dir);
	f->rpc = (struct jsonrpc){.methods = methods,
	                          .nr_methods = ARRAY_SIZE(methods),
	                          .slow = slow_methods,
	                          .opaque = f};
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(control_open(&f->control, &f->loop, f->path, &f->rpc, &err), 0);
}

static void teardown(struct fixture *f)
{
	control_close(f->control);
	assert_int_equal(access(f->path, F_OK), -1);
	loop_destroy(&f->loop);
	assert_int_equal(rmdir(f->dir), 0); /* nothing was left in it */
}

static int join(struct fixture *f)
{
	int fd = control_connect(f->path);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

/* Until nothing is left to do; false if there is no end to it. */
static bool settle(struct fixture *f)
{
	for (unsigned i = 0; i < 20000; i++)
		if (loop_once(&f->loop, 0) == 0)
			return true;
	return false;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* What has come, as one string; ended says that the connection is closed. */
static size_t hear(int fd, char *buf, size_t size, bool *ended)
{
	size_t have = 0;

	*ended = false;
	for (;;) {
		ssize_t n = recv(fd, buf + have, size - 1 - have, 0);

		if (n <= 0) {
			*ended = n == 0 || errno != EAGAIN;
			break;
		}
		have += (size_t)n;
		if (have == size - 1)
			break;
	}
	buf[have] = '\0';
	return have;
}

static unsigned lines(const char *text)
{
	unsigned n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

#define PING      "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n"
#define SUBSCRIBE "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"subscribe\"}\n"

static void the_socket_is_ours_alone(void **state)
{
	struct fixture f;
	struct stat st;

	(void)state;
	setup(&f);
	assert_int_equal(lstat(f.path, &st), 0);
	assert_true(S_ISSOCK(st.st_mode));
	assert_int_equal(st.st_mode & 0777, 0600);
	teardown(&f);
	control_close(NULL);
}

static void lines_come_in_any_pieces(void **state)
{
	static const char two[] = PING "\r\n\n" PING;
	struct fixture f;
	char buf[4096];
	bool ended;
	int fd;

	(void)state;
	setup(&f);
	fd = join(&f);
	for (const char *at = two; *at; at++) {
		assert_int_equal(send(fd, at, 1, 0), 1);
		assert_true(settle(&f));
	}
	hear(fd, buf, sizeof(buf), &ended);
	assert_string_equal(buf, "{\"jsonrpc\":\"2.0\",\"result\":1,\"id\":1}\n"
	                         "{\"jsonrpc\":\"2.0\",\"result\":2,\"id\":1}\n");
	assert_false(ended);
	/* Garbage is answered, and what follows it too. */
	say(fd, "garbage\n" PING);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	assert_non_null(strstr(buf, "-32700"));
	assert_non_null(strstr(buf, "\"result\":3"));
	close(fd);
	assert_true(settle(&f));
	teardown(&f);
}

static void one_request_a_round(void **state)
{
	struct fixture f;
	int a, b;

	(void)state;
	setup(&f);
	a = join(&f);
	b = join(&f);
	assert_true(settle(&f));
	for (unsigned i = 0; i < 50; i++)
		say(a, PING);
	loop_once(&f.loop, 0);
	assert_int_equal(f.calls, 1);
	say(b, PING);
	loop_once(&f.loop, 0);
	assert_int_equal(f.calls, 3); /* one of each */
	assert_true(settle(&f));
	assert_int_equal(f.calls, 51);
	close(a);
	close(b);
	assert_true(settle(&f));
	teardown(&f);
}

#define SLOW "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"slow\"}\n"

/* Slow requests of many clients: a request that is not slow waits for one of them, or two; and all
 * are served, but those of a client that is gone. */
static void slow_requests_take_turns(void **state)
{
	unsigned before, rounds = 0;
	struct fixture f;
	char buf[4096];
	int fds[20], fd;
	bool ended;

	(void)state;
	setup(&f);
	fd = join(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = join(&f);
		say(fds[i], SLOW SLOW SLOW);
	}
	/* The first one is served, the others have to wait. */
	while (f.slow_calls < 3)
		assert_true(loop_once(&f.loop, 1000) >= 0);
	for (unsigned i = 0; i < 5; i++) {
		before = f.slow_calls;
		say(fd, PING);
		while (!hear(fd, buf, sizeof(buf), &ended))
			assert_true(loop_once(&f.loop, 1000) >= 0);
		assert_true(f.slow_calls - before <= 2);
	}
	/* Gone while it waits: the loop neither spins nor calls its methods. */
	close(fds[7]);
	close(fds[11]);
	while (f.slow_calls < 3 * (ARRAY_SIZE(fds) - 2)) {
		assert_true(loop_once(&f.loop, 1000) >= 0);
		rounds++;
	}
	assert_true(rounds < 5000);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		if (i == 7 || i == 11)
			continue;
		assert_true(settle(&f));
		hear(fds[i], buf, sizeof(buf), &ended);
		assert_int_equal(lines(buf), 3);
		close(fds[i]);
	}
	close(fd);
	assert_true(settle(&f));
	teardown(&f);
}

static void who_hangs_up_is_still_served(void **state)
{
	struct fixture f;
	char buf[4096];
	bool ended;
	int fd;

	(void)state;
	setup(&f);
	fd = join(&f);
	say(fd, PING PING);
	close(fd); /* before it was even accepted */
	assert_true(settle(&f));
	assert_int_equal(f.calls, 1); /* the second has nobody to be answered to */

	fd = join(&f);
	say(fd, PING "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}"); /* without its end */
	shutdown(fd, SHUT_WR);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	assert_int_equal(lines(buf), 2);
	assert_true(ended);
	close(fd);
	teardown(&f);
}

static void a_line_has_an_end(void **state)
{
	struct fixture f;
	char *buf = malloc(CONTROL_LINE_MAX + 4096);
	size_t sent = 0;
	bool ended;
	int fd;

	(void)state;
	setup(&f);
	/* One that just fits: spaces, then a request. */
	fd = join(&f);
	memset(buf, ' ', CONTROL_LINE_MAX);
	memcpy(buf + CONTROL_LINE_MAX - strlen(PING), PING, strlen(PING));
	while (sent < CONTROL_LINE_MAX) {
		ssize_t n = send(fd, buf + sent, CONTROL_LINE_MAX - sent, 0);

		if (n > 0)
			sent += (size_t)n;
		settle(&f);
	}
	assert_true(settle(&f));
	assert_int_equal(f.calls, 1);
	hear(fd, buf, 4096, &ended);
	assert_false(ended);
	/* One that does not end. */
	memset(buf, '[', CONTROL_LINE_MAX);
	for (sent = 0; sent < CONTROL_LINE_MAX;) {
		ssize_t n = send(fd, buf + sent, CONTROL_LINE_MAX - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += (size_t)n;
		settle(&f);
	}
	assert_true(settle(&f));
	hear(fd, buf, 4096, &ended);
	assert_true(ended);
	assert_non_null(strstr(buf, "-32004"));
	close(fd);
	free(buf);
	teardown(&f);
}

static void who_does_not_read_is_not_served(void **state)
{
	struct fixture f;
	size_t size = CONTROL_REPLY_MAX + 65536, have;
	char *buf = malloc(size);
	bool ended;
	int fd;

	(void)state;
	setup(&f);
	fd = join(&f);
	for (unsigned i = 0; i < 20; i++)
		say(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"large\",\"params\":{\"bytes\":"
		        "900000}}\n");
	say(fd, PING);
	assert_true(settle(&f)); /* and the loop sleeps meanwhile */
	assert_int_equal(f.calls, 0);
	/* It goes on where it stopped. */
	for (have = 0; f.calls == 0;) {
		size_t n = hear(fd, buf, size, &ended);

		have += n;
		assert_false(ended);
		assert_true(settle(&f));
	}
	assert_true(have > 19 * 900000);
	hear(fd, buf, size, &ended);
	/* A reply that is too large is an error instead. */
	say(fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"large\",\"params\":{\"bytes\":"
	        "2000000}}\n");
	assert_true(settle(&f));
	hear(fd, buf, size, &ended);
	assert_non_null(strstr(buf, "-32004"));
	close(fd);
	assert_true(settle(&f));
	free(buf);
	teardown(&f);
}

static void connections_are_bounded(void **state)
{
	struct fixture f;
	int fds[CONTROL_CLIENTS_MAX + 8];
	char buf[4096];
	bool ended;
	int late;

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = join(&f);
		assert_true(settle(&f));
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		hear(fds[i], buf, sizeof(buf), &ended);
		assert_int_equal(ended, i >= CONTROL_CLIENTS_MAX);
		if (ended)
			assert_non_null(strstr(buf, "too many"));
	}
	/* The ones that were silent for longest make room, but not those that wait for events. */
	say(fds[0], SUBSCRIBE);
	assert_true(settle(&f));
	usleep((CONTROL_IDLE_MS + 50) * 1000);
	for (unsigned i = 2; i < CONTROL_CLIENTS_MAX; i++)
		say(fds[i], PING);
	assert_true(settle(&f));
	late = join(&f);
	say(late, PING);
	assert_true(settle(&f));
	hear(late, buf, sizeof(buf), &ended);
	assert_false(ended);
	assert_int_equal(lines(buf), 1);
	for (unsigned i = 0; i < 3; i++) {
		hear(fds[i], buf, sizeof(buf), &ended);
		assert_int_equal(ended, i == 1);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	close(late);
	assert_true(settle(&f));
	teardown(&f);
}

static void no_descriptors_left(void **state)
{
	struct rlimit before, none;
	struct fixture f;
	char buf[4096];
	struct pollfd last;
	bool ended;
	int a, b;

	(void)state;
	setup(&f);
	a = join(&f);
	b = join(&f);
	last = (struct pollfd){.fd = b, .events = POLLIN};
	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = (rlim_t)b + 1;
	setrlimit(RLIMIT_NOFILE, &none);
	log_set_level(LOG_ERROR);
	assert_true(settle(&f)); /* the loop sleeps, though two wait to be accepted */
	setrlimit(RLIMIT_NOFILE, &before);
	log_set_level(LOG_WARN);
	say(a, PING);
	say(b, PING);
	/* They are accepted when it is tried again. */
	while (poll(&last, 1, 0) == 0)
		assert_true(loop_once(&f.loop, 10000) >= 0);
	assert_true(settle(&f));
	hear(a, buf, sizeof(buf), &ended);
	assert_int_equal(lines(buf), 1);
	hear(b, buf, sizeof(buf), &ended);
	assert_int_equal(lines(buf), 1);
	close(a);
	close(b);
	assert_true(settle(&f));
	teardown(&f);
}

static void subscribers_are_told(void **state)
{
	struct fixture f;
	char buf[4096];
	bool ended;
	int a, b;

	(void)state;
	setup(&f);
	a = join(&f);
	b = join(&f);
	say(a, SUBSCRIBE);
	say(b, PING);
	assert_true(settle(&f));
	hear(a, buf, sizeof(buf), &ended);
	hear(b, buf, sizeof(buf), &ended);
	control_notify(f.control, "link", json_pack("{s:s}", "device", "net0"));
	assert_true(settle(&f));
	hear(a, buf, sizeof(buf), &ended);
	assert_non_null(strstr(buf, "\"method\":\"event\""));
	assert_non_null(strstr(buf, "\"device\":\"net0\""));
	assert_non_null(strstr(buf, "\"event\":\"link\""));
	assert_null(strstr(buf, "\"id\""));
	assert_int_equal(lines(buf), 1);
	assert_int_equal(hear(b, buf, sizeof(buf), &ended), 0);
	say(a, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"unsubscribe\"}\n");
	assert_true(settle(&f));
	hear(a, buf, sizeof(buf), &ended);
	control_notify(f.control, "link", NULL);
	control_notify(NULL, "link", json_object());
	assert_true(settle(&f));
	assert_int_equal(hear(a, buf, sizeof(buf), &ended), 0);
	close(a);
	close(b);
	assert_true(settle(&f));
	teardown(&f);
}

static void subscriptions_are_bounded(void **state)
{
	struct fixture f;
	int fds[CONTROL_SUBSCRIBERS_MAX + 1];
	char buf[4096];
	bool ended;

	(void)state;
	setup(&f);
	for (unsigned i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = join(&f);
		say(fds[i], SUBSCRIBE SUBSCRIBE);
		assert_true(settle(&f));
		hear(fds[i], buf, sizeof(buf), &ended);
		assert_int_equal(strstr(buf, "-32002") != NULL, i == CONTROL_SUBSCRIBERS_MAX);
	}
	close(fds[0]); /* that makes room for the last */
	assert_true(settle(&f));
	say(fds[CONTROL_SUBSCRIBERS_MAX], SUBSCRIBE);
	assert_true(settle(&f));
	hear(fds[CONTROL_SUBSCRIBERS_MAX], buf, sizeof(buf), &ended);
	assert_null(strstr(buf, "-32002"));
	for (unsigned i = 1; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	assert_true(settle(&f));
	teardown(&f);
}

static void *other_thread(void *opaque)
{
	const struct event_sink *sink = opaque;

	for (unsigned i = 0; i < 100; i++)
		event_post(sink, "device-broken", "net0", "a ring is misaligned");
	event_post(sink, "guest-reset", NULL, NULL);
	return NULL;
}

static void events_of_other_threads(void **state)
{
	struct event_sink sink, nobody = {0};
	static char buf[65536];
	struct fixture f;
	pthread_t thread;
	bool ended;
	int fd;

	(void)state;
	event_post(NULL, "x", NULL, NULL);
	event_post(&nobody, "x", NULL, NULL);
	nobody = control_sink(NULL);
	event_post(&nobody, "x", NULL, NULL);
	setup(&f);
	sink = control_sink(f.control);
	event_post(&sink, "before", NULL, NULL); /* nobody watches yet */
	fd = join(&f);
	say(fd, SUBSCRIBE);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	event_post(&sink, "guest-panic", NULL, NULL);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	assert_int_equal(lines(buf), 1);
	assert_non_null(strstr(buf, "guest-panic"));
	assert_null(strstr(buf, "before"));
	/* More at once than are kept: the rest is counted. */
	pthread_create(&thread, NULL, other_thread, &sink);
	pthread_join(thread, NULL);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	assert_non_null(strstr(buf, "\"detail\":\"a ring is misaligned\""));
	assert_non_null(strstr(buf, "\"event\":\"lost\""));
	assert_non_null(strstr(buf, "\"count\":37"));
	assert_int_equal(lines(buf), 65);
	/* The last ones are told even if the loop does not run any more. */
	event_post(&sink, "guest-poweroff", NULL, NULL);
	teardown(&f);
	hear(fd, buf, sizeof(buf), &ended);
	assert_non_null(strstr(buf, "guest-poweroff"));
	assert_true(ended);
	close(fd);
}

/* One notification of 8 KiB. */
static void notify_large(struct fixture *f)
{
	static char text[8192];

	memset(text, 'x', sizeof(text) - 1);
	control_notify(f->control, "tick", json_pack("{s:s}", "text", text));
	assert_true(settle(f));
}

static unsigned count_of(const char *text, const char *what)
{
	unsigned n = 0;

	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

static void slow_readers_lose_notifications_and_are_told(void **state)
{
	static char buf[1 << 20];
	unsigned sent, told;
	struct fixture f;
	char *lost;
	bool ended;
	int fd;

	(void)state;
	setup(&f);
	fd = join(&f);
	say(fd, SUBSCRIBE);
	assert_true(settle(&f));
	hear(fd, buf, sizeof(buf), &ended);
	/* More than the kernel and we keep together: the rest is left out. */
	for (sent = 0; sent < 100; sent++)
		notify_large(&f);
	for (told = 0; hear(fd, buf, sizeof(buf), &ended); told += count_of(buf, "tick"))
		assert_true(settle(&f));
	assert_false(ended);
	assert_true(told > 8 && told < 100);
	/* The next one says how many. */
	notify_large(&f);
	hear(fd, buf, sizeof(buf), &ended);
	lost = strstr(buf, "\"count\":");
	assert_non_null(lost);
	assert_int_equal(strtoul(lost + strlen("\"count\":"), NULL, 10), sent - told);
	assert_int_equal(count_of(buf, "tick"), 1);
	assert_true(strstr(buf, "tick") > lost);
	/* Who never reads is let go in the end. */
	for (sent = 0; sent < CONTROL_LOST_MAX + 100; sent++)
		notify_large(&f);
	while (hear(fd, buf, sizeof(buf), &ended))
		;
	assert_true(ended);
	close(fd);
	assert_true(settle(&f));
	teardown(&f);
}

/* --- Names and places --- */

static void note_name(void *opaque, const char *name, const char *path)
{
	char *names = opaque;

	assert_non_null(strstr(path, name));
	strcat(strcat(names, name), " ");
}

static void a_place_is_taken_once(void **state)
{
	struct control_listener a, b;
	char dir[] = "/tmp/test_control.XXXXXX", path[CONTROL_PATH_MAX], names[256] = "";
	char runtime[CONTROL_PATH_MAX];
	struct stat st;
	struct err err;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	setenv("XDG_RUNTIME_DIR", dir, 1);
	assert_int_equal(control_each(note_name, names, &err), 0);
	assert_int_equal(control_path(path, "vm", "sock", false, &err), -ENOENT);
	assert_int_equal(control_path(path, "vm", "sock", true, &err), 0);
	assert_int_equal(control_listen(&a, path, &err), 0);
	assert_int_equal(control_listen(&b, path, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another"));
	assert_int_equal(b.fd, -1);
	control_unlisten(&b);

	/* What a crashed one left is removed by who lists, and replaced by who needs the place. */
	close(a.fd);
	a.fd = -1;
	assert_int_equal(control_connect(path), -ECONNREFUSED);
	assert_int_equal(control_listen(&b, path, &err), 0);
	assert_int_equal(control_each(note_name, names, &err), 0);
	assert_string_equal(names, "vm ");
	close(b.fd);
	b.fd = -1;
	names[0] = '\0';
	assert_int_equal(control_each(note_name, names, &err), 0);
	assert_string_equal(names, "");
	assert_int_equal(lstat(path, &st), -1);

	/* Somebody removed ours, and another took the place: it is not ours to remove. */
	assert_int_equal(control_listen(&a, path, &err), 0);
	unlink(path);
	assert_int_equal(control_listen(&b, path, &err), 0);
	control_unlisten(&a);
	fd = control_connect(path);
	assert_true(fd >= 0);
	close(fd);
	control_unlisten(&b);
	control_unlisten(&b);
	assert_int_equal(lstat(path, &st), -1);

	/* A file is nobody's socket. */
	close(open(path, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(control_listen(&a, path, &err), -EEXIST);
	assert_int_equal(control_each(note_name, names, &err), 0);
	assert_int_equal(lstat(path, &st), 0);
	unlink(path);

	/* A directory that others can enter is not used. */
	snprintf(runtime, sizeof(runtime), "%s/trivm", dir);
	chmod(runtime, 0755);
	assert_int_equal(control_path(path, "vm", "sock", true, &err), -EACCES);
	assert_int_equal(control_each(note_name, names, &err), -EACCES);
	assert_int_equal(rmdir(runtime), 0); /* empty: no name aside was left */
	assert_int_equal(symlink("/tmp", runtime), 0);
	assert_int_equal(control_path(path, "vm", "sock", true, &err), -EACCES);
	unlink(runtime);
	rmdir(dir);
	unsetenv("XDG_RUNTIME_DIR");
}

static void names(void **state)
{
	char long_name[CONTROL_NAME_MAX + 2];

	(void)state;
	memset(long_name, 'x', sizeof(long_name));
	long_name[CONTROL_NAME_MAX + 1] = '\0';
	assert_false(control_name_valid(long_name));
	assert_true(control_name_valid(long_name + 1));
	assert_true(control_name_valid("web 1.b"));
	assert_false(control_name_valid(""));
	assert_false(control_name_valid(".x"));
	assert_false(control_name_valid("-x"));
	assert_false(control_name_valid("a/b"));
	assert_false(control_name_valid("a\nb"));
}

static void a_path_that_is_too_long(void **state)
{
	char path[200];
	struct control_listener l;
	struct err err;

	(void)state;
	memset(path, 'x', sizeof(path));
	memcpy(path, "/tmp/", 5);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(control_listen(&l, path, &err), -ENAMETOOLONG);
	assert_int_equal(control_connect(path), -ENAMETOOLONG);
	path[107] = '\0'; /* the longest there can be */
	assert_int_equal(control_listen(&l, path, &err), 0);
	control_unlisten(&l);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_socket_is_ours_alone),
		cmocka_unit_test(lines_come_in_any_pieces),
		cmocka_unit_test(one_request_a_round),
		cmocka_unit_test(slow_requests_take_turns),
		cmocka_unit_test(who_hangs_up_is_still_served),
		cmocka_unit_test(a_line_has_an_end),
		cmocka_unit_test(who_does_not_read_is_not_served),
		cmocka_unit_test(connections_are_bounded),
		cmocka_unit_test(no_descriptors_left),
		cmocka_unit_test(subscribers_are_told),
		cmocka_unit_test(subscriptions_are_bounded),
		cmocka_unit_test(events_of_other_threads),
		cmocka_unit_test(slow_readers_lose_notifications_and_are_told),
		cmocka_unit_test(a_place_is_taken_once),
		cmocka_unit_test(names),
		cmocka_unit_test(a_path_that_is_too_long),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
