/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port_socket: streams against a peer that is a plain socket here (and not always a polite one),
 * streams and datagrams between two ports, peers that come and go, names that are taken.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/port.h"
#include "devices/net/port_priv.h"
#include "vmm/fd.h"
#include "vmm/log.h"

#define PATIENCE 5000 /* ms; what takes so long does not come */

static char dir[64], path[96], path2[96];

/* --- What the tests are made of --- */

static struct port *open_socket(const struct port_socket_config *c)
{
	struct port *port = NULL;
	struct err err = {0};

	if (port_socket_open(&port, c, &err) < 0)
		fail_msg("%s", err.msg);
	assert_string_equal(port->kind, "socket");
	assert_int_equal(port->queues, 1);
	assert_false(port->vnet_hdr);
	assert_true(fcntl(port->fds[0], F_GETFL) & O_NONBLOCK);
	return port;
}

static struct port *open_stream(bool server)
{
	return open_socket(&(struct port_socket_config){.path = path, .server = server});
}

static void refused(const struct port_socket_config *c, int code, const char *why)
{
	struct port *port = NULL;
	struct err err = {0};
	int rc = port_socket_open(&port, c, &err);

	if (rc == 0)
		port_close(port);
	if (rc != code)
		fail_msg("%d instead of %d (%s)", rc, code, err.msg);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static struct sockaddr_un address(const char *name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", name);
	return a;
}

static int plain_listen(void)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	unlink(path);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 5), 0);
	return fd;
}

static bool ready(int fd, short events, int ms)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, ms) == 1;
}

static int plain_accept(int listener)
{
	if (!ready(listener, POLLIN, PATIENCE))
		fail_msg("nobody connects");
	return accept4(listener, NULL, NULL, SOCK_CLOEXEC);
}

static int plain_connect(void)
{
	struct sockaddr_un a = address(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

/* A frame that tells its number and length; every byte follows from them. */
static void make_frame(uint8_t *buf, uint32_t number, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(number * 31 + i * 7 + len);
	memcpy(buf, &number, 4);
}

static size_t frame_len(uint32_t number)
{
	return 14 + number * 2654435761u % 3000;
}

static void check_frame(const uint8_t *buf, uint32_t number, size_t len)
{
	static uint8_t want[PORT_FRAME_MAX];

	make_frame(want, number, len);
	assert_memory_equal(buf, want, len);
}

static ssize_t read_frame(const struct port *port, uint8_t *buf, size_t size)
{
	if (!ready(port->fds[0], POLLIN, PATIENCE))
		fail_msg("no frame comes");
	return read(port->fds[0], buf, size);
}

static void expect_frame(const struct port *port, uint32_t number, size_t len)
{
	static uint8_t buf[PORT_FRAME_MAX + 100];

	assert_int_equal(read_frame(port, buf, sizeof(buf)), len);
	check_frame(buf, number, len);
}

static void write_frame(const struct port *port, uint32_t number, size_t len)
{
	static uint8_t buf[PORT_FRAME_MAX];

	make_frame(buf, number, len);
	while (write(port->fds[0], buf, len) != (ssize_t)len) {
		assert_int_equal(errno, EAGAIN);
		if (!ready(port->fds[0], POLLOUT, PATIENCE))
			fail_msg("the port stays full");
	}
}

/* Its length, and the frame, as they are on the stream. */
static size_t put_on_wire(uint8_t *buf, uint32_t number, size_t len)
{
	uint32_t be = htonl((uint32_t)len);

	memcpy(buf, &be, 4);
	make_frame(buf + 4, number, len);
	return 4 + len;
}

static void send_on_wire(int fd, uint32_t number, size_t len)
{
	static uint8_t buf[4 + PORT_FRAME_MAX];
	size_t n = put_on_wire(buf, number, len);

	assert_int_equal(fd_write_full(fd, buf, n), 0);
}

static void expect_on_wire(int fd, uint32_t number, size_t len)
{
	static uint8_t buf[PORT_FRAME_MAX];
	uint32_t be;

	if (!ready(fd, POLLIN, PATIENCE))
		fail_msg("frame %u does not come", number);
	assert_int_equal(fd_read_full(fd, &be, 4), 0);
	assert_int_equal(ntohl(be), len);
	assert_int_equal(fd_read_full(fd, buf, len), 0);
	check_frame(buf, number, len);
}

static void expect_hang_up(int fd)
{
	uint8_t byte;
	ssize_t n;

	if (!ready(fd, POLLIN, PATIENCE))
		fail_msg("the connection stays");
	n = read(fd, &byte, 1);
	assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
}

/* The port has seen its peer: frames before that are dropped. */
static void until_connected(const struct port *port, int peer)
{
	uint8_t frame[64] = {0}, got[68];

	for (int i = 0; i < PATIENCE / 10; i++) {
		assert_int_equal(write(port->fds[0], frame, sizeof(frame)), sizeof(frame));
		if (!ready(peer, POLLIN, 10))
			continue;
		do {
			assert_int_equal(fd_read_full(peer, got, sizeof(got)), 0);
			assert_memory_equal(got, "\0\0\0\x40", 4);
		} while (ready(peer, POLLIN, 50));
		return;
	}
	fail_msg("the port does not see its peer");
}

/* Nothing happens, so nobody works. */
static void expect_idle(void)
{
	struct timespec a, b;
	int64_t used_ms;

	usleep(20000); /* what was going on may end */
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	usleep(200000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	used_ms = (b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000;
	if (used_ms > 10)
		fail_msg("%d ms of CPU time in 200 ms of silence", (int)used_ms);
}

/* --- Streams --- */

static void frames_have_their_length_in_front(void **state)
{
	struct port *port = open_stream(true);
	int peer = plain_connect();

	(void)state;
	send_on_wire(peer, 1, 60);
	expect_frame(port, 1, 60);
	write_frame(port, 2, 1514);
	expect_on_wire(peer, 2, 1514);
	/* The longest and the shortest. */
	send_on_wire(peer, 3, PORT_FRAME_MAX);
	expect_frame(port, 3, PORT_FRAME_MAX);
	write_frame(port, 4, PORT_FRAME_MAX);
	expect_on_wire(peer, 4, PORT_FRAME_MAX);
	send_on_wire(peer, 5, PORT_FRAME_MIN);
	expect_frame(port, 5, PORT_FRAME_MIN);
	write_frame(port, 6, PORT_FRAME_MIN);
	expect_on_wire(peer, 6, PORT_FRAME_MIN);
	port_close(port);
	expect_hang_up(peer);
	close(peer);
	assert_int_equal(access(path, F_OK), -1); /* cleaned up */
}

static void pieces_are_put_together(void **state)
{
	static uint8_t wire[200 * 4096];
	struct port *port = open_stream(true);
	int peer = plain_connect();
	size_t len = 0;

	(void)state;
	/* Byte by byte. */
	len = put_on_wire(wire, 1, 20);
	for (size_t i = 0; i < len; i++) {
		assert_int_equal(write(peer, wire + i, 1), 1);
		usleep(200);
	}
	expect_frame(port, 1, 20);
	/* Many at once, cut anywhere. */
	len = 0;
	for (uint32_t n = 0; n < 200; n++)
		len += put_on_wire(wire + len, n, frame_len(n));
	for (size_t at = 0, step = 1; at < len; at += step, step = step * 3 % 10007) {
		if (step > len - at)
			step = len - at;
		assert_int_equal(fd_write_full(peer, wire + at, step), 0);
	}
	for (uint32_t n = 0; n < 200; n++)
		expect_frame(port, n, frame_len(n));
	port_close(port);
	close(peer);
}

static void hostile_lengths_end_the_connection(void **state)
{
	static const uint32_t lengths[] = {PORT_FRAME_MAX + 1, 1u << 20,   0x7fffffff,
	                                   0x80000000,         0xfffffffc, 0xffffffff};
	struct port *port = open_stream(true);
	int peer;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint32_t be = htonl(lengths[i]);

		peer = plain_connect();
		send_on_wire(peer, i, 100);
		assert_int_equal(fd_write_full(peer, &be, 4), 0);
		expect_frame(port, i, 100); /* what was right before it counts */
		expect_hang_up(peer);
		close(peer);
	}
	/* No frames at all, but nothing to be confused by. */
	peer = plain_connect();
	send_on_wire(peer, 1, 100);
	for (size_t len = 4; len < PORT_FRAME_MIN; len++)
		send_on_wire(peer, 2, len);
	assert_int_equal(fd_write_full(peer, "\0\0\0", 4), 0);
	send_on_wire(peer, 3, 100);
	expect_frame(port, 1, 100);
	expect_frame(port, 3, 100);
	close(peer);
	port_close(port);
}

static void next_peer_starts_afresh(void **state)
{
	static uint8_t wire[4096];
	struct port *port = open_stream(true);
	int peer = plain_connect(), next;

	(void)state;
	/* Half a frame, and then somebody else. */
	put_on_wire(wire, 1, 1000);
	assert_int_equal(fd_write_full(peer, wire, 500), 0);
	next = plain_connect(); /* waits until the first one has gone */
	send_on_wire(next, 2, 1000);
	assert_false(ready(port->fds[0], POLLIN, 100));
	close(peer);
	expect_frame(port, 2, 1000);
	until_connected(port, next);
	write_frame(port, 3, 100);
	expect_on_wire(next, 3, 100);

	/* The same on the way out: the peer goes with half a frame taken. */
	for (uint32_t n = 0; n < 3000 && ready(port->fds[0], POLLOUT, 50); n++)
		write_frame(port, n, 1514);
	assert_int_equal(fd_read_full(next, wire, 1000), 0);
	close(next);
	expect_idle();
	peer = plain_connect();
	usleep(50000);
	while (ready(peer, POLLIN, 100)) {
		uint32_t be;

		/* What waited in the port comes, but whole. */
		assert_int_equal(fd_read_full(peer, &be, 4), 0);
		assert_int_equal(ntohl(be), 1514);
		assert_int_equal(fd_read_full(peer, wire, 1514), 0);
		check_frame(wire, *(uint32_t *)wire, 1514);
	}
	write_frame(port, 7, 200);
	expect_on_wire(peer, 7, 200);
	close(peer);
	port_close(port);
}

static void slow_peer_loses_nothing(void **state)
{
	struct port *port = open_stream(true);
	int peer = plain_connect();
	uint8_t buf[3100];
	uint32_t sent = 0;

	(void)state;
	until_connected(port, peer);
	for (;; sent++) {
		make_frame(buf, sent, frame_len(sent));
		if (write(port->fds[0], buf, frame_len(sent)) < 0) {
			assert_int_equal(errno, EAGAIN);
			if (!ready(port->fds[0], POLLOUT, 200))
				break; /* full for good, as it should be */
			sent--;
		}
		if (sent > 100000)
			fail_msg("there is no end to what it takes");
	}
	/* The other direction does not care. */
	send_on_wire(peer, 9, 90);
	expect_frame(port, 9, 90);
	for (uint32_t n = 0; n < sent; n++)
		expect_on_wire(peer, n, frame_len(n));
	assert_false(ready(peer, POLLIN, 50));
	assert_true(ready(port->fds[0], POLLOUT, PATIENCE));
	close(peer);
	port_close(port);
}

static void slow_guest_loses_nothing(void **state)
{
	struct port *port = open_stream(true);
	int peer = plain_connect();
	static uint8_t wire[3100];
	uint32_t sent = 0;

	(void)state;
	fcntl(peer, F_SETFL, O_NONBLOCK);
	for (;; sent++) {
		size_t len = put_on_wire(wire, sent, frame_len(sent)), at = 0;

		while (at < len) {
			ssize_t n = send(peer, wire + at, len - at, MSG_NOSIGNAL);

			if (n > 0)
				at += (size_t)n;
			else if (!ready(peer, POLLOUT, 200))
				break;
		}
		if (at < len)
			break; /* within a frame, most likely */
		if (sent > 100000)
			fail_msg("there is no end to what it takes");
	}
	fcntl(peer, F_SETFL, 0);
	write_frame(port, 8, 80);
	expect_on_wire(peer, 8, 80);
	/* A peer that goes while its frames wait: they are not lost, nor mixed with the next's. */
	close(peer);
	expect_idle();
	peer = plain_connect();
	send_on_wire(peer, sent, frame_len(sent));
	for (uint32_t n = 0; n <= sent; n++)
		expect_frame(port, n, frame_len(n));
	expect_idle();
	close(peer);
	expect_idle();
	port_close(port);
}

static void frames_of_a_peer_that_left_arrive(void **state)
{
	struct port *port = open_stream(true);
	int peer = plain_connect();

	(void)state;
	for (uint32_t n = 0; n < 50; n++)
		send_on_wire(peer, n, 1500);
	close(peer);
	for (uint32_t n = 0; n < 50; n++)
		expect_frame(port, n, 1500);
	port_close(port);
}

static void without_a_peer_frames_are_dropped(void **state)
{
	struct port *port = open_stream(true);
	int peer;

	(void)state;
	for (uint32_t n = 0; n < 5000; n++)
		write_frame(port, n, 1514);
	for (int queued = 1; queued; usleep(1000))
		assert_int_equal(ioctl(port->fds[0], SIOCOUTQ, &queued), 0);
	peer = plain_connect();
	until_connected(port, peer); /* nothing old among what it reads */
	close(peer);
	port_close(port);
}

static void client_waits_and_comes_back(void **state)
{
	struct port *port = open_stream(false); /* nobody is there yet */
	int listener, peer;

	(void)state;
	listener = plain_listen();
	for (unsigned i = 0; i < 3; i++) {
		peer = plain_accept(listener);
		until_connected(port, peer);
		send_on_wire(peer, i, 100);
		expect_frame(port, i, 100);
		close(peer);
	}
	close(listener);
	/* Gone altogether, while the guest never stops sending. */
	for (uint32_t n = 0; n < 500; n++) {
		write_frame(port, n, 100);
		usleep(200);
	}
	listener = plain_listen();
	for (uint32_t n = 0; !ready(listener, POLLIN, 0); n++) {
		write_frame(port, n, 100);
		usleep(500);
		if (n > 6000)
			fail_msg("a busy client does not connect again");
	}
	peer = plain_accept(listener);
	close(peer);
	close(listener);
	port_close(port);
}

/* Until the first one arrives; the ports may still have to find each other. */
static void reach(const struct port *from, const struct port *to)
{
	uint8_t buf[100];

	for (uint32_t n = 0; n < PATIENCE / 10; n++) {
		make_frame(buf, n, sizeof(buf));
		if (write(from->fds[0], buf, sizeof(buf)) < 0)
			assert_true(errno == ENOTCONN || errno == ECONNREFUSED);
		if (!ready(to->fds[0], POLLIN, 10))
			continue;
		while (ready(to->fds[0], POLLIN, 50)) {
			assert_int_equal(read(to->fds[0], buf, sizeof(buf)), sizeof(buf));
			check_frame(buf, *(uint32_t *)buf, sizeof(buf));
		}
		return;
	}
	fail_msg("nothing arrives");
}

static void expect_waiting(const struct port *port, uint32_t *next)
{
	uint8_t buf[3100];
	ssize_t n;

	while ((n = read(port->fds[0], buf, sizeof(buf))) > 0) {
		assert_int_equal(n, frame_len(*next));
		check_frame(buf, *next, frame_len(*next));
		++*next;
	}
}

static void two_ports_meet(void **state)
{
	struct port *server = open_stream(true), *client = open_stream(false);
	uint32_t at_server = 0, at_client = 0;
	char text[160];

	(void)state;
	reach(server, client);
	reach(client, server);
	/* Both ways at once, as fast as they take it. */
	for (uint32_t n = 0; n < 3000; n++) {
		write_frame(server, n, frame_len(n));
		write_frame(client, n, frame_len(n));
		if (n % 10 == 0) {
			expect_waiting(server, &at_server);
			expect_waiting(client, &at_client);
		}
	}
	while (at_server < 3000 && ready(server->fds[0], POLLIN, PATIENCE))
		expect_waiting(server, &at_server);
	while (at_client < 3000 && ready(client->fds[0], POLLIN, PATIENCE))
		expect_waiting(client, &at_client);
	assert_int_equal(at_server, 3000);
	assert_int_equal(at_client, 3000);
	server->ops->describe(server, text, sizeof(text));
	assert_non_null(strstr(text, "listening on"));
	assert_non_null(strstr(text, path));
	client->ops->describe(client, text, sizeof(text));
	assert_non_null(strstr(text, "connecting to"));
	port_close(server);
	port_close(client);
}

/* --- Names --- */

static void touch(const char *name)
{
	close(open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
}

static void names_that_are_taken(void **state)
{
	struct port_socket_config server = {.path = path, .server = true};
	struct port *port;
	struct stat st;
	int fd;

	(void)state;
	/* A file of the user's is not touched. */
	touch(path);
	refused(&server, -EEXIST, "file of another kind");
	refused(&(struct port_socket_config){.path = path}, -ENOTSOCK, "not a socket");
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	unlink(path);
	/* Somebody listens. */
	fd = plain_listen();
	refused(&server, -EADDRINUSE, "another program listens");
	refused(&(struct port_socket_config){.path = path, .datagram = true, .local = path2},
	        -EPROTOTYPE, "other type");
	/* What a killed program left behind is replaced. */
	close(fd);
	assert_int_equal(access(path, F_OK), 0);
	port = open_stream(true);
	close(plain_connect());
	refused(&server, -EADDRINUSE, "another program listens");
	close(plain_connect()); /* it still works */
	/* The name is another's by now: not removed. */
	unlink(path);
	touch(path);
	port_close(port);
	assert_int_equal(unlink(path), 0);
}

static void names_that_cannot_be(void **state)
{
	char long_path[200], missing[128];

	(void)state;
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	snprintf(missing, sizeof(missing), "%s/none/socket", dir);
	for (unsigned server = 0; server < 2; server++) {
		refused(&(struct port_socket_config){.path = long_path, .server = server},
		        -ENAMETOOLONG, "1 to 107 bytes");
		refused(&(struct port_socket_config){.path = "", .server = server}, -ENAMETOOLONG,
		        "1 to 107 bytes");
		refused(&(struct port_socket_config){.path = missing, .server = server}, -ENOENT,
		        "none");
	}
	refused(&(struct port_socket_config){.path = missing, .datagram = true, .local = path2},
	        -ENOENT, "there is no directory");
	assert_int_equal(access(path2, F_OK), -1); /* nothing is left */
	refused(&(struct port_socket_config){.path = path, .datagram = true}, -EINVAL, "local=");
	if (geteuid() != 0)
		return;
	chmod(dir, 0700);
	assert_int_equal(seteuid(65534), 0);
	refused(&(struct port_socket_config){.path = path}, -EACCES, "no permission");
	assert_int_equal(seteuid(0), 0);
}

/* --- Datagrams --- */

static struct port *open_dgram(const char *local, const char *peer)
{
	return open_socket(
		&(struct port_socket_config){.path = peer, .datagram = true, .local = local});
}

static void datagrams_find_each_other(void **state)
{
	struct port *a, *b;
	uint8_t buf[100] = {0};
	char elsewhere[128];
	char text[240];
	struct sockaddr_un to = address(path);
	int third;

	(void)state;
	a = open_dgram(path, path2); /* its peer comes later */
	b = open_dgram(path2, path);
	reach(a, b);
	reach(b, a);
	/* Longest frame, and more than ten of them under way. */
	write_frame(a, 1, PORT_FRAME_MAX);
	expect_frame(b, 1, PORT_FRAME_MAX);
	for (uint32_t n = 0; n < 50; n++)
		write_frame(a, n, 1514);
	for (uint32_t n = 0; n < 50; n++)
		expect_frame(b, n, 1514);
	/* Nobody else gets a word in. */
	third = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(sendto(third, buf, sizeof(buf), 0, (struct sockaddr *)&to, sizeof(to)),
	                 -1);
	assert_int_equal(errno, EPERM);
	close(third);

	/* The peer goes and comes back, more than once. */
	for (unsigned i = 0; i < 4; i++) {
		port_close(b);
		assert_int_equal(access(path2, F_OK), -1);
		/* Whether our guest has noticed or not. */
		if (i % 2)
			assert_int_equal(write(a->fds[0], buf, sizeof(buf)), -1);
		b = open_dgram(path2, path);
		reach(a, b);
		reach(b, a);
	}
	a->ops->describe(a, text, sizeof(text));
	assert_non_null(strstr(text, path));
	assert_non_null(strstr(text, path2));
	refused(&(struct port_socket_config){.path = path2, .datagram = true, .local = path},
	        -EADDRINUSE, "another program");
	expect_idle();

	/* A name that appears, but does not answer at once. */
	port_close(b);
	snprintf(elsewhere, sizeof(elsewhere), "%s.other", dir);
	assert_int_equal(symlink(elsewhere, path2), 0);
	usleep(50000);
	b = open_dgram(elsewhere, path);
	reach(a, b);
	unlink(path2);
	port_close(a);
	port_close(b);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_have_their_length_in_front),
		cmocka_unit_test(pieces_are_put_together),
		cmocka_unit_test(hostile_lengths_end_the_connection),
		cmocka_unit_test(next_peer_starts_afresh),
		cmocka_unit_test(slow_peer_loses_nothing),
		cmocka_unit_test(slow_guest_loses_nothing),
		cmocka_unit_test(frames_of_a_peer_that_left_arrive),
		cmocka_unit_test(without_a_peer_frames_are_dropped),
		cmocka_unit_test(client_waits_and_comes_back),
		cmocka_unit_test(two_ports_meet),
		cmocka_unit_test(names_that_are_taken),
		cmocka_unit_test(names_that_cannot_be),
		cmocka_unit_test(datagrams_find_each_other),
	};
	int rc;

	alarm(100);
	log_set_level(LOG_ERROR); /* peers come and go all the time */
	snprintf(dir, sizeof(dir), "/tmp/trivm-test-socket-%d", (int)getpid());
	snprintf(path, sizeof(path), "%s/a", dir);
	snprintf(path2, sizeof(path2), "%s/b", dir);
	mkdir(dir, 0700);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	unlink(path2);
	rmdir(dir);
	return rc;
}
