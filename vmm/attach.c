/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 *	serial port - chardev - socket pair - ring of the last 64 KiB - sockets of clients
 *
 * Output: the pair is read whenever it has something, into a ring that overwrites its oldest bytes.
 * `end` counts all bytes that ever came; each client has a place on that line, and is sent from
 * there whenever it takes something. One that was overtaken by the ring's tail jumps there.
 *
 * Input: a client is read only while the pair takes bytes, a piece at a time. Several clients may
 * type at once, as at two keyboards.
 */
#include "vmm/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/control_path.h"
#include "vmm/fd.h"
#include "vmm/listener.h"
#include "vmm/util.h"

#define PIECE 4096

struct client {
	struct attach *console; /* NULL: not in use */
	struct loop_source src;
	int fd;
	uint64_t at;       /* the next byte of output to send */
	uint64_t left_out; /* bytes that nobody has told it of */
	char note[64];     /* sent before the next byte: what was left out */
	size_t note_len;   /* of it not sent yet, at its end */
	char typed[256];   /* read, but the guest's end has no room */
	size_t typed_len;
};

struct attach {
	struct loop *loop;
	struct control_listener listener;
	struct listener accepting;
	struct loop_source pair_src;
	int pair[2]; /* the guest's end, ours */
	int guest;   /* the guest's end once more: its loop takes each descriptor once */
	uint64_t end;
	struct client clients[ATTACH_CLIENTS_MAX];
	char ring[ATTACH_KEPT];
};

static void client_close(struct client *c)
{
	loop_remove(&c->src);
	fd_close(&c->fd);
	c->console = NULL;
}

static uint64_t tail(const struct attach *con)
{
	return con->end > ATTACH_KEPT ? con->end - ATTACH_KEPT : 0;
}

/* Overtaken: go on at the oldest byte there is, and say so first. */
static void catch_up(struct client *c)
{
	uint64_t oldest = tail(c->console);
	int n;

	if (c->at < oldest) {
		c->left_out += oldest - c->at;
		c->at = oldest;
	}
	if (!c->left_out || c->note_len)
		return;
	n = snprintf(c->note, sizeof(c->note), "\r\n[trivm: %llu bytes left out]\r\n",
	             (unsigned long long)c->left_out);
	c->note_len = n > 0 ? (size_t)n : 0;
	c->left_out = 0;
	memmove(c->note + sizeof(c->note) - c->note_len, c->note, c->note_len);
}

/* The next bytes for @c. */
static size_t next_piece(const struct client *c, const char **from)
{
	const struct attach *con = c->console;
	size_t start = c->at % ATTACH_KEPT;

	if (c->note_len) {
		*from = c->note + sizeof(c->note) - c->note_len;
		return c->note_len;
	}
	*from = con->ring + start;
	return min_u64(con->end - c->at, ATTACH_KEPT - start);
}

static void watch(struct client *c)
{
	bool behind = c->note_len || c->left_out || c->at < c->console->end;

	loop_change(&c->src, (c->typed_len ? 0 : EPOLLIN) | (behind ? EPOLLOUT : 0));
}

/* As much as it takes now. False: it is gone. */
static bool send_output(struct client *c)
{
	const char *from;
	size_t len;

	for (;;) {
		ssize_t n;

		catch_up(c);
		len = next_piece(c, &from);
		if (!len)
			return true;
		n = send(c->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		if (c->note_len)
			c->note_len -= (size_t)n;
		else
			c->at += (size_t)n;
	}
}

static void send_all(struct attach *con)
{
	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++) {
		struct client *c = &con->clients[i];

		if (!c->console)
			continue;
		if (!send_output(c))
			client_close(c);
		else
			watch(c);
	}
}

/* Hand what @c typed to the guest's end; what does not fit stays. */
static void forward(struct client *c)
{
	ssize_t n = send(c->console->pair[1], c->typed, c->typed_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0) {
		c->typed_len -= (size_t)n;
		memmove(c->typed, c->typed + n, c->typed_len);
	}
}

/* Writability of the pair matters while somebody waits for it. */
static void watch_pair(struct attach *con)
{
	bool waits = false;

	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++)
		waits = waits || (con->clients[i].console && con->clients[i].typed_len);
	loop_change(&con->pair_src, EPOLLIN | (waits ? EPOLLOUT : 0));
}

static void on_client(struct loop_source *src, uint32_t events)
{
	struct client *c = container_of(src, struct client, src);
	struct attach *con = c->console;
	bool ok = !(events & EPOLLERR);

	if (ok && !c->typed_len && (events & (EPOLLIN | EPOLLHUP))) {
		ssize_t n = recv(c->fd, c->typed, sizeof(c->typed), MSG_DONTWAIT);

		ok = n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
		if (n > 0) {
			c->typed_len = (size_t)n;
			forward(c);
		}
	} else if (events & EPOLLHUP) {
		ok = false; /* what it typed last has nobody to take it, nor it anything to read */
	}
	if (!ok || !send_output(c))
		client_close(c);
	else
		watch(c);
	watch_pair(con);
}

static void on_accept(struct listener *l, int fd)
{
	static const char full[] = "trivm: too many are attached already\r\n";
	struct attach *con = container_of(l, struct attach, accepting);
	uint64_t shown = con->end > ATTACH_SHOWN ? con->end - ATTACH_SHOWN : 0;

	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++) {
		struct client *c = &con->clients[i];

		if (c->console)
			continue;
		*c = (struct client){.fd = fd, .at = shown};
		if (loop_add(con->loop, &c->src, fd, EPOLLIN, on_client) < 0)
			break;
		c->console = con;
		if (!send_output(c))
			client_close(c);
		else
			watch(c);
		return;
	}
	if (send(fd, full, sizeof(full) - 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
		/* It sees the end all the same. */
	}
	fd_close(&fd);
}

/* Once from the guest into the ring. False: there was nothing. */
static bool take(struct attach *con)
{
	char buf[PIECE];
	ssize_t n = recv(con->pair[1], buf, sizeof(buf), MSG_DONTWAIT);

	for (ssize_t i = 0; i < n; i++)
		con->ring[con->end++ % ATTACH_KEPT] = buf[i];
	return n > 0;
}

static void on_pair(struct loop_source *src, uint32_t events)
{
	struct attach *con = container_of(src, struct attach, pair_src);

	if (events & EPOLLIN)
		take(con);
	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++)
		if (con->clients[i].console && con->clients[i].typed_len)
			forward(&con->clients[i]);
	send_all(con);
	watch_pair(con);
}

void attach_pump(struct attach *con)
{
	if (!con)
		return;
	while (take(con))
		;
	send_all(con);
}

int attach_open(struct attach **out, struct loop *loop, const char *path, int fds[2],
                struct err *err)
{
	struct attach *con = calloc(1, sizeof(*con));
	int rc;

	if (!con)
		return err_errno(err, -ENOMEM, "console");
	con->loop = loop;
	con->listener.fd = con->pair[0] = con->pair[1] = con->guest = -1;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, con->pair) == 0)
		con->guest = fcntl(con->pair[0], F_DUPFD_CLOEXEC, 0);
	if (con->guest < 0)
		rc = err_errno(err, -errno, "console");
	else
		rc = control_listen(&con->listener, path, err);
	if (rc == 0) {
		rc = listener_start(&con->accepting, loop, con->listener.fd, "console socket",
		                    on_accept);
		if (rc == 0)
			rc = loop_add(loop, &con->pair_src, con->pair[1], EPOLLIN, on_pair);
		if (rc < 0)
			err_errno(err, rc, "console");
	}
	if (rc < 0) {
		attach_close(con);
		return rc;
	}
	*out = con;
	fds[0] = con->pair[0];
	fds[1] = con->guest;
	return 0;
}

void attach_close(struct attach *con)
{
	if (!con)
		return;
	attach_pump(con);
	for (unsigned i = 0; i < ATTACH_CLIENTS_MAX; i++)
		if (con->clients[i].console)
			client_close(&con->clients[i]);
	listener_stop(&con->accepting);
	loop_remove(&con->pair_src);
	control_unlisten(&con->listener);
	fd_close(&con->guest);
	fd_close(&con->pair[0]);
	fd_close(&con->pair[1]);
	free(con);
}
