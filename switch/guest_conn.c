/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a port's Unix socket. As a server it listens for as long as the switch
 * lives and has one connection at a time; as a client it connects, and when that fails or the
 * connection ends it tries again, at first soon and then less often. Nothing in here waits: a
 * front-end that sends half a message, or does not read its answers, costs nobody else anything.
 *
 * Messages cost time: mapping memory, starting 64 rings. A port has TALK_SHARE of the time for
 * them, with SW_TALK_BURST_NS in hand; a front-end that has spent it is not listened to until it has
 * been paid back.
 *
 * A front-end that breaks the protocol loses its connection, and may have done damage until then.
 * So the port accepts no other for a time that doubles with each such end. The port's timer is for
 * listening again to a front-end, or for connecting again: its state tells which.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "switch/closer.h"
#include "switch/guest.h"
#include "switch/sw.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/socket_file.h"
#include "vmm/util.h"

#define MESSAGES_A_TURN 16 /* of one front-end, before others have their turn */
#define REFUSED_MS      20 /* between two connections that are refused */
#define RETRY_MIN_MS    50
#define RETRY_MAX_MS    2000

#define PENALTY_MIN_MS    100 /* after an end by the front-end's fault, doubled each time ... */
#define PENALTY_MAX_MS    10000
#define PENALTY_FORGET_MS 60000 /* ... unless there was none for so long */

#define TALK_SHARE   8      /* one part in so many */
#define TALK_TURN_NS 200000 /* messages in one turn, before others have theirs */
#define TALK_DEBT_NS 250000000

static void on_socket(struct loop_source *src, uint32_t events);

static void retry_later(struct guest *g, unsigned at_least_ms)
{
	loop_timer_set(g->timer_fd, max_u64(g->retry_ms, at_least_ms));
	g->retry_ms = (unsigned)min_u64(2 * (uint64_t)g->retry_ms, RETRY_MAX_MS);
}

/* It ended by the front-end's fault. Until when no other is accepted, in milliseconds from now. */
static unsigned penalty(struct guest *g)
{
	uint64_t now = clock_ms();

	if (!g->penalty_ms || now - g->penalty_at > PENALTY_FORGET_MS)
		g->penalty_ms = PENALTY_MIN_MS;
	else
		g->penalty_ms = (unsigned)min_u64(2 * (uint64_t)g->penalty_ms, PENALTY_MAX_MS);
	g->penalty_at = now;
	return g->penalty_ms;
}

/* The connection is gone or to be closed, and the session with it. @why: by whose fault, or NULL */
static void disconnect(struct guest *g, const char *why)
{
	unsigned wait_ms = why ? penalty(g) : 0;

	loop_remove(&g->socket);
	/* The peer sees the end at once. With the socket the kernel closes descriptors in its queue. */
	shutdown(g->fd, SHUT_RDWR);
	closer_close(g->port.index, &g->fd);
	guest_session_end(g, why);
	if (!g->config.server) {
		retry_later(g, wait_ms);
	} else if (wait_ms) {
		listener_pause(&g->listen, wait_ms);
	}
}

void guest_conn_lost(struct guest *g)
{
	const char *why = g->doomed;

	if (g->fd >= 0)
		disconnect(g, why);
	g->doomed = NULL;
}

/* Of this thread's own: what the kernel gave to others meanwhile was not the front-end's doing. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* The front-end's messages took @spent nanoseconds. It may not be listened to for a while then. */
static void pay_for_talk(struct guest *g, uint64_t spent)
{
	struct guest_talk *t = &g->talk;
	int64_t burst = g->sw->talk_burst_ns;
	uint64_t now = clock_ns();

	t->credit += (int64_t)min_u64((now - t->at) / TALK_SHARE, (uint64_t)burst + TALK_DEBT_NS);
	t->at = now;
	if (t->credit > burst)
		t->credit = burst;
	t->credit -= (int64_t)min_u64(spent, TALK_DEBT_NS);
	if (t->credit >= 0)
		return;
	loop_remove(&g->socket);
	loop_timer_set(g->timer_fd, (uint64_t)-t->credit * TALK_SHARE / 1000000 + 1);
}

static void on_socket(struct loop_source *src, uint32_t events)
{
	struct guest *g = container_of(src, struct guest, socket);
	uint64_t begin = cpu_ns(), now = begin;
	struct err err = {""};
	int rc = 0;

	(void)events;
	for (unsigned i = 0; i < MESSAGES_A_TURN && now - begin < TALK_TURN_NS; i++) {
		rc = vu_rx_step(&g->rx, g->fd);
		if (rc <= 0)
			break;
		rc = guest_message(g, &err);
		vu_rx_reset(&g->rx);
		if (rc < 0)
			break;
		now = cpu_ns();
	}
	if (rc == -ENODATA) {
		log_info("port %s: disconnected", g->port.name);
		disconnect(g, NULL);
	} else if (rc < 0) {
		if (!err.msg[0])
			err_errno(&err, rc, "reading a message");
		disconnect(g, err.msg);
	} else {
		pay_for_talk(g, now - begin);
	}
}

static int try_connect(struct guest *g);

/*
 * Descriptors of its front-end whose close() hangs keep a port from accepting the next one: their
 * number is bounded.
 */
static bool must_wait(struct guest *g)
{
	if (closer_pending(g->port.index) <= GUEST_FOREIGN_MAX)
		return false;
	log_limited(&g->limit, LOG_WARN,
	            "port %s: the file system behind %u descriptors of its last front-end does "
	            "not answer: no other is accepted until they are closed",
	            g->port.name, closer_pending(g->port.index));
	return true;
}

/* A wait is over: for the front-end to be listened to, or to be connected to. */
static void on_timer(struct loop_source *src, uint32_t events)
{
	struct guest *g = container_of(src, struct guest, timer);
	int rc = 0;

	(void)events;
	fd_drain(g->timer_fd);
	if (g->fd >= 0 && !g->socket.events) {
		rc = loop_add(&g->sw->loop, &g->socket, g->fd, EPOLLIN, on_socket);
		if (rc < 0)
			disconnect(g, "its socket cannot be watched");
	} else if (g->fd < 0 && !g->config.server && (must_wait(g) || try_connect(g) < 0)) {
		retry_later(g, 0);
	}
}

int guest_timer_create(struct guest *g)
{
	int rc = g->timer_fd = loop_timer_create();

	return rc < 0 ? rc : loop_add(&g->sw->loop, &g->timer, g->timer_fd, EPOLLIN, on_timer);
}

int guest_attach(struct guest *g, int fd)
{
	int rc = loop_add(&g->sw->loop, &g->socket, fd, EPOLLIN, on_socket);

	if (rc < 0)
		return rc;
	g->fd = fd;
	loop_timer_set(g->timer_fd, 0); /* it waited for this */
	g->retry_ms = RETRY_MIN_MS;
	guest_session_begin(g);
	return 0;
}

/* --- Server --- */

/* Has the peer closed the connection, though epoll has not come to say so? */
static bool is_gone(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void on_listen(struct listener *l, int fd)
{
	struct guest *g = container_of(l, struct guest, listen);

	if (g->fd >= 0 && is_gone(g->fd))
		disconnect(g, NULL);
	if (g->fd < 0 && must_wait(g)) {
		closer_close(g->port.index, &fd);
		listener_pause(l, PENALTY_MAX_MS);
		return;
	}
	if (g->fd >= 0) {
		log_limited(&g->limit, LOG_WARN,
		            "port %s: a second connection was refused, there is one already",
		            g->port.name);
		closer_close(g->port.index, &fd);
		listener_pause(l, REFUSED_MS);
	} else if (guest_attach(g, fd) < 0) {
		closer_close(g->port.index, &fd);
	}
}

static int address(struct sockaddr_un *a, const char *path, struct err *err)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a->sun_path))
		return err_set(err, -ENAMETOOLONG,
		               "--port %s: a socket's path has at most %zu bytes", path,
		               sizeof(a->sun_path) - 1);
	memcpy(a->sun_path, path, strlen(path) + 1);
	return 0;
}

static int listen_at(struct guest *g, struct err *err)
{
	struct sockaddr_un a;
	int rc = address(&a, g->config.path, err);

	if (rc < 0)
		return rc;
	g->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->listen_fd < 0)
		return err_errno(err, -errno, "--port %s", g->config.path);
	rc = socket_file_bind(g->listen_fd, SOCK_STREAM, &a, &g->bound);
	if (rc < 0) {
		fd_close(&g->listen_fd);
		return rc == -EADDRINUSE || rc == -EEXIST
		               ? err_set(err, rc,
		                         "--port %s: the path is taken: another switch listens "
		                         "there, or it is no socket; give another path or add "
		                         "\",client\"",
		                         g->config.path)
		               : err_errno(err, rc, "--port %s: listening", g->config.path);
	}
	rc = listener_start(&g->listen, &g->sw->loop, g->listen_fd, g->port.name, on_listen);
	return rc < 0 ? err_errno(err, rc, "--port %s", g->config.path) : 0;
}

/* --- Client --- */

static int try_connect(struct guest *g)
{
	struct sockaddr_un a;
	int rc = address(&a, g->config.path, NULL);
	int fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A Unix socket connects at once or not at all (EAGAIN: its backlog is full). */
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		rc = -errno;
	else
		rc = guest_attach(g, fd);
	if (rc < 0)
		fd_close(&fd);
	return rc;
}

static int connect_to(struct guest *g, struct err *err)
{
	struct sockaddr_un a;
	int rc = address(&a, g->config.path, err);

	if (rc < 0)
		return rc;
	g->retry_ms = RETRY_MIN_MS;
	rc = try_connect(g);
	if (rc < 0) {
		log_info("port %s: %s is not there yet (%s); trying again", g->port.name,
		         g->config.path, strerror(-rc));
		retry_later(g, 0);
	}
	return 0;
}

int guest_open(struct guest *g, struct err *err)
{
	return g->config.server ? listen_at(g, err) : connect_to(g, err);
}

void guest_close(struct guest *g)
{
	if (g->fd >= 0)
		disconnect(g, NULL);
	listener_stop(&g->listen);
	/* Not a successor's, which took the path after somebody had removed ours. */
	if (g->listen_fd >= 0)
		socket_file_unlink(g->config.path, &g->bound);
	fd_close(&g->listen_fd);
	loop_remove(&g->timer);
	fd_close(&g->timer_fd);
}
