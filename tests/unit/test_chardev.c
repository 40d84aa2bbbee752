/* SPDX-License-Identifier: BSD-2-Clause */
/* chardev: bytes to and from the host, with readers and writers that are slow, gone, or odd. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/chardev.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* A device: takes as much input as it is told to, and keeps it. */
struct device {
	size_t room;
	bool keeps_room; /* room does not shrink: it reads at once */
	char got[1 << 18];
	size_t len;
	unsigned inputs, writables;
	bool too_much;
};

static size_t device_room(void *opaque)
{
	return ((struct device *)opaque)->room;
}

static void device_input(void *opaque, const uint8_t *buf, size_t len)
{
	struct device *d = opaque;

	d->inputs++;
	if (len > d->room || d->len + len > sizeof(d->got)) {
		d->too_much = true;
		return;
	}
	memcpy(d->got + d->len, buf, len);
	d->len += len;
	if (!d->keeps_room)
		d->room -= len;
}

static void device_writable(void *opaque)
{
	((struct device *)opaque)->writables++;
}

/* What every test starts from: a loop, and a chardev between @in and @out (-1: none). */
struct setup {
	struct loop loop;
	struct chardev chr;
	struct device dev;
};

static struct setup s;

static void begin(int in, int out)
{
	const struct chardev_client client = {
		.room = device_room,
		.input = device_input,
		.writable = device_writable,
		.opaque = &s.dev,
	};

	memset(&s.dev, 0, sizeof(s.dev));
	assert_int_equal(loop_init(&s.loop), 0);
	assert_int_equal(chardev_init(&s.chr, &s.loop, in, out), 0);
	chardev_attach(&s.chr, &client);
}

static void end(void)
{
	assert_false(s.dev.too_much);
	chardev_destroy(&s.chr);
	chardev_destroy(&s.chr);
	loop_destroy(&s.loop);
}

/* Run the loop until there is nothing to do; the callbacks that took. A loop that spins fails. */
static unsigned settle(void)
{
	unsigned calls = 0;

	for (unsigned i = 0; i < 20000; i++) {
		int n = loop_once(&s.loop, 0);

		assert_true(n >= 0);
		if (n == 0)
			return calls;
		calls += (unsigned)n;
	}
	fail_msg("the loop spins");
	return 0;
}

static void give_room(size_t room)
{
	s.dev.room = room;
	chardev_accept_input(&s.chr);
	settle();
}

static int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* A byte stream that is not periodic in any size that a buffer has. */
static uint8_t stream(size_t i)
{
	return (uint8_t)(i * 7 + i / 251 + i / 65521);
}

static size_t pipe_bytes(int fd)
{
	int n = 0;

	ioctl(fd, FIONREAD, &n);
	return (size_t)n;
}

/* ---- output ---- */

static void output_does_not_wait_for_the_loop(void **state)
{
	char buf[8] = "";
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	settle();
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"abc", 3), 3);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"d", 1), 1);
	assert_int_equal(read(p[0], buf, sizeof(buf)), 4);
	assert_string_equal(buf, "abcd");
	assert_int_equal(settle(), 0); /* and the loop has heard nothing of it */
	end();
	close(p[0]);
	close(p[1]);
}

/*
 * Write @total bytes of the stream in odd pieces, and read them in other odd pieces whenever the
 * device is told to wait or just so. Every byte has to come, in order.
 */
static void transfer(int in, size_t total)
{
	static uint8_t piece[9000];
	size_t sent = 0, seen = 0;
	unsigned rng = 1, refused = 0;

	while (seen < total) {
		size_t want, n;
		ssize_t got;

		rng = rng * 1103515245 + 12345;
		want = min_u64((rng >> 16) % sizeof(piece), total - sent);
		for (size_t i = 0; i < want; i++)
			piece[i] = stream(sent + i);
		n = chardev_write(&s.chr, piece, want);
		assert_true(n <= want);
		sent += n;
		if (n == want && sent < total && (rng >> 8) % 8)
			continue;
		refused += n < want;
		rng = rng * 1103515245 + 12345;
		got = recv(in, piece, 1 + (rng >> 16) % sizeof(piece), MSG_DONTWAIT);
		if (got < 0 && errno == ENOTSOCK)
			got = read(in, piece, 1 + (rng >> 16) % sizeof(piece));
		for (ssize_t i = 0; i < got; i++)
			assert_int_equal(piece[i], stream(seen + (size_t)i));
		seen += got > 0 ? (size_t)got : 0;
		loop_once(&s.loop, 0);
	}
	assert_int_equal(seen, total);
	assert_true(refused > 3); /* the ring was full again and again */
	settle();
	assert_true(s.dev.writables > 0);
	assert_int_equal(s.chr.used, 0);
}

static void a_slow_reader_on_a_pipe(void **state)
{
	int p[2], fds = open_fds();

	(void)state;
	assert_int_equal(pipe(p), 0);
	fcntl(p[0], F_SETFL, O_NONBLOCK);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	transfer(p[0], 12 * CHARDEV_BUFFER + 77);
	end();
	close(p[0]);
	close(p[1]);
	assert_int_equal(open_fds(), fds);
}

static void a_slow_reader_on_a_socket(void **state)
{
	int p[2], small = 2048;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	setsockopt(p[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	begin(-1, p[1]);
	transfer(p[0], 4 * CHARDEV_BUFFER + 77);
	end();
	close(p[0]);
	close(p[1]);
}

/* A full ring: the device is refused, told once when there is room again, and not before. */
static void flow_control(void **state)
{
	static uint8_t big[2 * CHARDEV_BUFFER];
	size_t taken, more;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	settle();
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = stream(i);
	taken = chardev_write(&s.chr, big, sizeof(big));
	assert_int_equal(taken, 4096 + CHARDEV_BUFFER);
	assert_int_equal(chardev_write(&s.chr, big + taken, 1), 0);
	settle(); /* nobody reads: nothing to tell, and no spinning */
	assert_int_equal(s.dev.writables, 0);

	assert_int_equal(read(p[0], big, 4096), 4096);
	settle();
	assert_int_equal(s.dev.writables, 1);
	more = chardev_write(&s.chr, big + taken, sizeof(big) - taken);
	assert_int_equal(more, 4096);
	for (size_t at = 4096; at < taken + more; at += 4096) {
		static uint8_t buf[4096];

		assert_int_equal(read(p[0], buf, 4096), 4096);
		assert_memory_equal(buf, big + at, 4096);
		settle();
	}
	assert_int_equal(s.dev.writables, 2);
	/* Empty again: straight to the host, and the loop has nothing to watch. */
	assert_int_equal(chardev_write(&s.chr, big, 100), 100);
	assert_int_equal(pipe_bytes(p[0]), 100);
	assert_int_equal(settle(), 0);
	assert_int_equal(s.dev.writables, 2);
	end();
	close(p[0]);
	close(p[1]);
}

/* While something is in the ring, nothing may overtake it, though the host has room again. */
static void nothing_overtakes(void **state)
{
	static uint8_t buf[8192];
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	memset(buf, 'a', sizeof(buf));
	assert_int_equal(chardev_write(&s.chr, buf, 5000), 5000);
	assert_int_equal(read(p[0], buf, 4096), 4096);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"Z", 1), 1);
	assert_int_equal(pipe_bytes(p[0]), 0);
	settle();
	assert_int_equal(read(p[0], buf, sizeof(buf)), 5000 - 4096 + 1);
	assert_int_equal(buf[5000 - 4096 - 1], 'a');
	assert_int_equal(buf[5000 - 4096], 'Z');
	end();
	close(p[0]);
	close(p[1]);
}

static void a_reader_that_goes_away(void **state)
{
	static uint8_t big[2 * CHARDEV_BUFFER];
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	close(p[0]);
	assert_int_equal(chardev_write(&s.chr, big, 10), 10); /* taken, and dropped */
	assert_int_equal(chardev_write(&s.chr, big, sizeof(big)), sizeof(big));
	assert_true(s.chr.out_broken);
	settle();
	end();
	close(p[1]);

	/* The same with a full ring and a device that waits: it must not wait for ever. */
	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	assert_true(chardev_write(&s.chr, big, sizeof(big)) < sizeof(big));
	settle();
	close(p[0]);
	settle();
	assert_int_equal(s.dev.writables, 1);
	assert_int_equal(s.chr.used, 0);
	assert_int_equal(chardev_write(&s.chr, big, 1), 1);
	end();
	close(p[1]);

	/* A socket says so in another way. */
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	begin(-1, p[1]);
	close(p[0]);
	assert_int_equal(chardev_write(&s.chr, big, 10), 10);
	assert_true(s.chr.out_broken);
	end();
	close(p[1]);
}

static void a_file_and_nothing_as_output(void **state)
{
	static uint8_t big[3 * CHARDEV_BUFFER], back[3 * CHARDEV_BUFFER];
	int fd = memfd_create("out", MFD_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = stream(i);
	begin(-1, fd);
	assert_int_equal(chardev_write(&s.chr, big, sizeof(big)), sizeof(big));
	settle();
	assert_int_equal(pread(fd, back, sizeof(back), 0), sizeof(back));
	assert_memory_equal(big, back, sizeof(big));
	end();
	close(fd);

	begin(-1, -1);
	assert_int_equal(chardev_write(&s.chr, big, sizeof(big)), sizeof(big));
	settle();
	end();

	fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	begin(-1, fd);
	assert_int_equal(chardev_write(&s.chr, big, sizeof(big)), sizeof(big));
	assert_true(s.chr.out_broken);
	settle();
	end();
	close(fd);
}

/* O_NONBLOCK belongs to the open file, which the shell that started us has, too. */
static void flags_of_the_originals_stay(void **state)
{
	static uint8_t big[4096];
	int kinds[][2] = {{-1, -1}, {-1, -1}, {-1, -1}};

	(void)state;
	assert_int_equal(pipe(kinds[0]), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, kinds[1]), 0);
	kinds[2][0] = posix_openpt(O_RDWR | O_NOCTTY);
	assert_int_equal(grantpt(kinds[2][0]) | unlockpt(kinds[2][0]), 0);
	kinds[2][1] = open(ptsname(kinds[2][0]), O_RDWR | O_NOCTTY);
	assert_true(kinds[2][1] >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		int flags = fcntl(kinds[i][1], F_GETFL), in = fcntl(kinds[i][0], F_GETFL);

		begin(kinds[i][0], kinds[i][1]);
		give_room(10);
		assert_int_equal(chardev_write(&s.chr, big, 10), 10);
		settle();
		assert_int_equal(fcntl(kinds[i][1], F_GETFL), flags);
		assert_int_equal(fcntl(kinds[i][0], F_GETFL), in);
		/* ... and still no write blocks: more than any of them holds. */
		for (unsigned n = 0; n < 64; n++)
			chardev_write(&s.chr, big, sizeof(big));
		end();
		assert_int_equal(fcntl(kinds[i][1], F_GETFL), flags);
		close(kinds[i][0]);
		close(kinds[i][1]);
	}
}

struct reader {
	int fd;
	size_t got;
	bool bad;
};

static void *read_slowly(void *arg)
{
	struct reader *r = arg;
	uint8_t buf[3000];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			r->bad |= buf[i] != stream(r->got + (size_t)i);
		r->got += (size_t)n;
		usleep(200);
	}
	return NULL;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void flush(void **state)
{
	static uint8_t big[CHARDEV_BUFFER];
	struct reader r = {0};
	pthread_t t;
	int64_t start;
	int p[2];

	(void)state;
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = stream(i);
	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	chardev_flush(&s.chr, 1000); /* nothing to do */
	assert_int_equal(chardev_write(&s.chr, big, sizeof(big)), sizeof(big));

	/* Nobody reads: it gives up when its time is over. */
	start = now_ms();
	chardev_flush(&s.chr, 50);
	assert_in_range(now_ms() - start, 49, 30000);
	assert_true(s.chr.used > 0);

	r.fd = p[0];
	pthread_create(&t, NULL, read_slowly, &r);
	chardev_flush(&s.chr, 20000);
	assert_int_equal(s.chr.used, 0);
	end();
	close(p[1]);
	pthread_join(t, NULL);
	assert_int_equal(r.got, sizeof(big));
	assert_false(r.bad);
	close(p[0]);

	/* The reader leaves: no waiting for the rest of the time. */
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	while (s.chr.used < 1000)
		chardev_write(&s.chr, big, 1000);
	close(p[0]);
	start = now_ms();
	chardev_flush(&s.chr, 20000);
	assert_true(now_ms() - start < 15000);
	end();
	close(p[1]);
}

/* Two vCPUs write, the loop drains, a thread reads: each writer's bytes stay in order. */
#define THREAD_BYTES 100000

static void *write_tagged(void *arg)
{
	uint8_t tag = *(uint8_t *)arg;

	for (unsigned i = 0; i < THREAD_BYTES;) {
		uint8_t byte = tag | (i & 0x7f);

		if (chardev_write(&s.chr, &byte, 1) == 1)
			i++;
		else
			usleep(100);
	}
	return NULL;
}

static void *read_tagged(void *arg)
{
	unsigned next[2] = {0, 0};
	struct reader *r = arg;
	uint8_t buf[3000];
	ssize_t n;

	while ((n = read(r->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			r->bad |= (buf[i] & 0x7f) != (next[buf[i] >> 7]++ & 0x7f);
		r->got += (size_t)n;
	}
	return NULL;
}

static void several_threads_write(void **state)
{
	uint8_t tags[] = {0x00, 0x80};
	pthread_t writers[2], reading;
	struct reader r = {0};
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	fcntl(p[1], F_SETPIPE_SZ, 4096);
	begin(-1, p[1]);
	r.fd = p[0];
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&writers[i], NULL, write_tagged, &tags[i]);
	usleep(20000); /* the ring fills before anybody reads */
	pthread_create(&reading, NULL, read_tagged, &r);
	for (unsigned i = 0; i < 2; i++) {
		while (pthread_tryjoin_np(writers[i], NULL) == EBUSY)
			loop_once(&s.loop, 5);
	}
	chardev_flush(&s.chr, 10000);
	end();
	close(p[1]);
	pthread_join(reading, NULL);
	assert_int_equal(r.got, 2 * THREAD_BYTES);
	assert_false(r.bad);
	close(p[0]);
}

static void destroyed_with_bytes_in_the_ring(void **state)
{
	static uint8_t big[CHARDEV_BUFFER];
	int p[2], fds = open_fds();

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	while (s.chr.used == 0)
		chardev_write(&s.chr, big, 1000);
	loop_once(&s.loop, 0);
	end();
	close(p[0]);
	close(p[1]);
	assert_int_equal(open_fds(), fds);
}

/* ---- input ---- */

static void input_comes_as_there_is_room(void **state)
{
	char text[300];
	int p[2];

	(void)state;
	memset(text, 'x', sizeof(text));
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)stream(i);
	assert_int_equal(pipe(p), 0);
	begin(p[0], -1);
	settle();
	assert_int_equal(write(p[1], text, sizeof(text)), sizeof(text));

	/* No room: what is not taken waits in the host, all but a handful, and nothing spins. */
	settle();
	assert_int_equal(s.dev.len, 0);
	assert_true(pipe_bytes(p[0]) >= sizeof(text) - CHARDEV_READ);

	give_room(1);
	assert_int_equal(s.dev.len, 1);
	give_room(16);
	assert_int_equal(s.dev.len, 17);
	assert_int_equal(s.dev.room, 0);
	assert_true(pipe_bytes(p[0]) >= sizeof(text) - 17 - CHARDEV_READ);
	give_room(1000);
	assert_int_equal(s.dev.len, sizeof(text));
	assert_memory_equal(s.dev.got, text, sizeof(text));

	/* There is room: what comes now comes at once, without being asked for. */
	assert_int_equal(write(p[1], "later", 5), 5);
	settle();
	assert_int_equal(s.dev.len, sizeof(text) + 5);
	end();
	close(p[0]);
	close(p[1]);
}

static void the_end_does_not_spin(void **state)
{
	int p[2];

	(void)state;
	/* With room, without, and with bytes before the end. */
	for (unsigned i = 0; i < 3; i++) {
		unsigned calls;

		assert_int_equal(pipe(p), 0);
		begin(p[0], -1);
		s.dev.room = i == 1 ? 0 : 100;
		settle();
		if (i == 2)
			assert_int_equal(write(p[1], "end", 3), 3);
		close(p[1]);
		calls = settle();
		calls += settle();
		assert_true(calls <= 3);
		assert_int_equal(s.dev.len, i == 2 ? 3 : 0);
		give_room(100);
		assert_int_equal(settle(), 0);
		assert_false(s.chr.in_open);
		give_room(100); /* asking again after the end is harmless */
		end();
		close(p[0]);
	}
}

/* `echo something long | trivm run`: the writer is gone long before the guest has read it. */
static void a_writer_that_has_gone_leaves_its_bytes(void **state)
{
	char text[1000];
	int p[2];

	(void)state;
	for (unsigned i = 0; i < sizeof(text); i++)
		text[i] = (char)stream(i);
	assert_int_equal(pipe(p), 0);
	begin(p[0], -1);
	assert_int_equal(write(p[1], text, sizeof(text)), sizeof(text));
	settle();
	give_room(16);
	close(p[1]);
	settle();
	while (s.dev.len < sizeof(text)) {
		size_t before = s.dev.len;

		give_room(16);
		if (s.dev.len == before)
			break;
	}
	assert_int_equal(s.dev.len, sizeof(text));
	assert_memory_equal(s.dev.got, text, sizeof(text));
	give_room(16);
	assert_false(s.chr.in_open);
	assert_int_equal(settle(), 0);
	end();
	close(p[0]);
}

static void a_socket_as_input(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, p), 0);
	begin(p[0], -1);
	assert_int_equal(write(p[1], "hello socket", 12), 12);
	give_room(5);
	close(p[1]);
	settle();
	give_room(100);
	assert_int_equal(s.dev.len, 12);
	assert_memory_equal(s.dev.got, "hello socket", 12);
	assert_false(s.chr.in_open);
	assert_int_equal(settle(), 0);
	end();
	close(p[0]);
}

static void a_file_as_input(void **state)
{
	int fd = memfd_create("in", MFD_CLOEXEC);
	static uint8_t text[20000];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = stream(i);
	assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
	lseek(fd, 0, SEEK_SET);
	begin(fd, -1);
	settle();
	assert_int_equal(s.dev.len, 0);
	for (unsigned i = 0; i < 100; i++) {
		give_room(100);
		assert_int_equal(s.dev.len, (i + 1) * 100);
	}
	s.dev.keeps_room = true;
	give_room(16);
	assert_int_equal(s.dev.len, sizeof(text));
	assert_memory_equal(s.dev.got, text, sizeof(text));
	assert_false(s.chr.in_open);
	assert_int_equal(settle(), 0);
	end();
	close(fd);
}

static void dev_null_as_input(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)state;
	begin(fd, fd);
	give_room(100);
	assert_int_equal(s.dev.len, 0);
	assert_false(s.chr.in_open);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"x", 1), 1);
	assert_int_equal(settle(), 0);
	end();
	close(fd);
}

/* Drops the letter x, counts what it saw. */
static size_t drop_x(void *opaque, uint8_t *buf, size_t len)
{
	size_t out = 0;

	*(size_t *)opaque += len;
	for (size_t i = 0; i < len; i++)
		if (buf[i] != 'x')
			buf[out++] = buf[i];
	return out;
}

/* The filter sees every byte once, however slowly the device takes them. */
static void filtered_input(void **state)
{
	static const char text[] = "axbxcxdxexfxgxhxixjxkxlxmxnxoxpxqxrxsxtxuxvxwxyxzx"
				   "AxBxCxDxExFxGxHxIxJxKxLxMxNxOxPxQxRxSxTxUxVxWxYxZx";
	static const char want[] = "abcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWYZ";
	static const char all_x[] =
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
	size_t seen = 0;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(p[0], -1);
	s.chr.filter = drop_x;
	s.chr.filter_opaque = &seen;
	assert_int_equal(write(p[1], text, strlen(text)), strlen(text));
	for (unsigned i = 0; i < 2 * strlen(want); i++)
		give_room(1);
	assert_int_equal(s.dev.len, strlen(want));
	assert_memory_equal(s.dev.got, want, strlen(want));
	assert_int_equal(seen, strlen(text));

	/* Nothing is left of this, and what comes after it still comes. */
	assert_int_equal(write(p[1], all_x, strlen(all_x)), strlen(all_x));
	assert_int_equal(write(p[1], "!", 1), 1);
	give_room(10);
	assert_int_equal(s.dev.len, strlen(want) + 1);
	end();
	close(p[0]);
	close(p[1]);
}

/* A terminal whose user pastes: @total bytes of the stream into @fd, as far as it takes them. */
static size_t paste(int fd, size_t from, size_t total)
{
	size_t done = from;

	while (done < total) {
		char piece[999];
		size_t len = min_u64(sizeof(piece), total - done);
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			piece[i] = (char)stream(done + i);
		n = write(fd, piece, len);
		if (n < 0)
			break;
		done += (size_t)n;
		settle();
	}
	return done;
}

static size_t count_only(void *opaque, uint8_t *buf, size_t len)
{
	(void)buf;
	*(size_t *)opaque += len;
	return len;
}

/* Pasted: more than we keep, into a guest that takes it slowly. Nothing is lost. */
static void a_paste_arrives_whole(void **state)
{
	const size_t total = TYPED_MAX + 200000;
	size_t seen = 0, sent = 0, taken = 0;
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	begin(p[0], -1);
	s.chr.filter = count_only;
	s.chr.filter_opaque = &seen;
	while (taken < total) {
		sent = paste(p[1], sent, total);
		assert_true(seen <= taken + TYPED_MAX);
		s.dev.len = 0;
		give_room(s.chr.pending.used % 997 + 10000);
		assert_true(s.dev.len > 0);
		for (size_t i = 0; i < s.dev.len; i++)
			if (s.dev.got[i] != (char)stream(taken + i))
				fail_msg("byte %zu", taken + i);
		taken += s.dev.len;
	}
	assert_int_equal(seen, total);
	end();
	close(p[0]);
	close(p[1]);
}

/* A guest that takes nothing can still be quit: after a second the filter sees whatever is typed,
 * and what was there before is still kept. */
static void filtered_without_room(void **state)
{
	const size_t total = 2 * TYPED_MAX;
	size_t seen = 0, sent = 0;
	int p[2];

	(void)state;
	assert_int_equal(pipe2(p, O_NONBLOCK), 0);
	begin(p[0], -1);
	s.chr.filter = count_only;
	s.chr.filter_opaque = &seen;
	while (sent < total) {
		sent = paste(p[1], sent, total);
		if (sent < total)
			assert_true(loop_once(&s.loop, 60000) > 0);
	}
	while (seen < total)
		assert_true(loop_once(&s.loop, 60000) > 0);
	assert_int_equal(s.dev.len, 0);
	for (size_t taken = 0; taken < TYPED_MAX; taken += s.dev.len) {
		s.dev.len = 0;
		give_room(sizeof(s.dev.got));
		assert_true(s.dev.len > 0);
		assert_int_equal((uint8_t)s.dev.got[0], stream(taken));
	}
	s.dev.len = 0;
	give_room(100);
	assert_int_equal(s.dev.len, 0);
	end();
	close(p[0]);
	close(p[1]);
}

/* A guest that reboots: another device takes over, with what the first one had not read. */
static void another_device_takes_over(void **state)
{
	static struct device second;
	const struct chardev_client client = {
		.room = device_room, .input = device_input, .opaque = &second};
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(p[0], -1);
	assert_int_equal(write(p[1], "firstsecond", 11), 11);
	give_room(5);
	assert_memory_equal(s.dev.got, "first", 5);
	second.room = 100;
	chardev_attach(&s.chr, &client);
	settle();
	assert_int_equal(second.len, 6);
	assert_memory_equal(second.got, "second", 6);
	end();
	close(p[0]);
	close(p[1]);
}

/* ---- reports, kept output, a terminal in the background ---- */

static unsigned broken_calls;
static int broken_error;

static void on_broken(void *opaque, int error)
{
	assert_ptr_equal(opaque, &s);
	broken_calls++;
	broken_error = error;
}

/* On the main loop and once, whoever wrote: a vCPU thread that writes must not end the machine. */
static void broken_output_is_reported_once(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	s.chr.on_broken = on_broken;
	s.chr.on_broken_opaque = &s;
	broken_calls = 0;
	close(p[0]);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"ab", 2), 2);
	assert_int_equal(broken_calls, 0);
	settle();
	assert_int_equal(broken_calls, 1);
	assert_int_equal(broken_error, EPIPE);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"cd", 2), 2);
	settle();
	chardev_flush(&s.chr, 100);
	assert_int_equal(broken_calls, 1);
	end();
	close(p[1]);
}

/* What breaks during the last flush, when no loop runs any more, is reported as well. */
static void broken_while_flushing(void **state)
{
	static uint8_t much[CHARDEV_BUFFER];
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(-1, p[1]);
	s.chr.on_broken = on_broken;
	s.chr.on_broken_opaque = &s;
	broken_calls = 0;
	for (unsigned i = 0; i < 2; i++)
		chardev_write(&s.chr, much, sizeof(much));
	close(p[0]);
	chardev_flush(&s.chr, 1000);
	assert_int_equal(broken_calls, 1);
	assert_int_equal(broken_error, EPIPE);
	end();
	close(p[1]);
}

/* A file that may not grow (ulimit -f): EFBIG, not a death by SIGXFSZ. */
static void beyond_the_limit_on_file_sizes(void **state)
{
	struct rlimit old, small = {.rlim_cur = 4, .rlim_max = RLIM_INFINITY};
	int fd = memfd_create("out", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small.rlim_max = old.rlim_max;
	begin(-1, fd);
	s.chr.on_broken = on_broken;
	s.chr.on_broken_opaque = &s;
	broken_calls = 0;
	signal(SIGXFSZ, SIG_IGN); /* as process_start() has it */
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"123456", 6), 6);
	settle();
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	signal(SIGXFSZ, SIG_DFL);
	assert_int_equal(broken_calls, 1);
	assert_int_equal(broken_error, EFBIG);
	assert_int_equal(lseek(fd, 0, SEEK_END), 4);
	end();
	close(fd);
}

static size_t last(size_t size, char *text)
{
	uint8_t *buf = malloc(size); /* its exact size, for the sanitizer */
	size_t n = chardev_last(&s.chr, buf);

	assert_true(n <= size);
	memcpy(text, buf, n);
	text[n] = '\0';
	free(buf);
	return n;
}

static void the_last_lines_are_kept(void **state)
{
	char text[64];

	(void)state;
	begin(-1, -1);
	assert_int_equal(chardev_keep_last(&s.chr, 16), 0);
	assert_int_equal(last(16, text), 0);
	chardev_write(&s.chr, (const uint8_t *)"one\n", 4);
	last(16, text);
	assert_string_equal(text, "one\n");
	chardev_write(&s.chr, (const uint8_t *)"two two\nthree", 13);
	last(16, text); /* 17 bytes came: the first line is not whole */
	assert_string_equal(text, "two two\nthree");
	for (unsigned i = 0; i < 10000; i++)
		assert_int_equal(chardev_write(&s.chr, (const uint8_t *)"0123456", 7), 7);
	assert_int_equal(last(16, text), 16); /* one long line: what there is of it */
	chardev_write(&s.chr, (const uint8_t *)"\nend\n", 5);
	last(16, text);
	assert_string_equal(text, "end\n");
	end();
}

static bool foreground;
static unsigned asked;

static bool may_read(void *opaque)
{
	(void)opaque;
	asked++;
	return foreground;
}

/* In the background the terminal is not read, and the loop does not spin on what others type. */
static void input_waits_for_the_foreground(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	begin(p[0], -1);
	s.chr.may_read = may_read;
	foreground = true;
	give_room(100);
	settle();
	assert_int_equal(write(p[1], "ab", 2), 2);
	settle();
	assert_int_equal(s.dev.len, 2);
	foreground = false;
	assert_int_equal(write(p[1], "cd", 2), 2);
	settle();
	assert_int_equal(s.dev.len, 2);
	asked = 0;
	assert_int_equal(settle(), 0);
	assert_int_equal(asked, 0);
	foreground = true;
	chardev_accept_input(&s.chr);
	settle();
	assert_int_equal(s.dev.len, 4);
	assert_memory_equal(s.dev.got, "abcd", 4);
	end();
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(output_does_not_wait_for_the_loop),
		cmocka_unit_test(a_slow_reader_on_a_pipe),
		cmocka_unit_test(a_slow_reader_on_a_socket),
		cmocka_unit_test(flow_control),
		cmocka_unit_test(nothing_overtakes),
		cmocka_unit_test(a_reader_that_goes_away),
		cmocka_unit_test(a_file_and_nothing_as_output),
		cmocka_unit_test(flags_of_the_originals_stay),
		cmocka_unit_test(flush),
		cmocka_unit_test(several_threads_write),
		cmocka_unit_test(destroyed_with_bytes_in_the_ring),
		cmocka_unit_test(input_comes_as_there_is_room),
		cmocka_unit_test(the_end_does_not_spin),
		cmocka_unit_test(a_writer_that_has_gone_leaves_its_bytes),
		cmocka_unit_test(a_socket_as_input),
		cmocka_unit_test(a_file_as_input),
		cmocka_unit_test(dev_null_as_input),
		cmocka_unit_test(filtered_input),
		cmocka_unit_test(a_paste_arrives_whole),
		cmocka_unit_test(filtered_without_room),
		cmocka_unit_test(another_device_takes_over),
		cmocka_unit_test(broken_output_is_reported_once),
		cmocka_unit_test(broken_while_flushing),
		cmocka_unit_test(beyond_the_limit_on_file_sizes),
		cmocka_unit_test(the_last_lines_are_kept),
		cmocka_unit_test(input_waits_for_the_foreground),
	};

	alarm(60);
	signal(SIGPIPE, SIG_IGN); /* as run.c has it */
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
