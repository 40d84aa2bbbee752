/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames over a stream socket, each behind its length (32 bits, big endian),
 * as other monitors have it.
 *
 *	datapath <-> socket pair of datagrams <-> our thread <-> stream <-> peer
 *
 * The thread cuts the stream into frames and puts frames into the stream, through one buffer in
 * each direction. A read or write of the stream moves as much as it can: the beginning of a frame
 * stays in its buffer until the rest comes, the end of one until the peer takes it.
 *
 * Flow. The wire does not lose frames while there is a peer: a direction whose far end is full is
 * not read at its near end, so that what is too much waits with whoever sends it. The one direction
 * never waits for the other. Without a peer, frames from the guest are dropped, as on a cable that
 * leads nowhere.
 *
 * The peer is not trusted: a length above the longest frame ends the connection, since from there
 * on nobody knows where frames begin; a frame shorter than an Ethernet header is left out. It may
 * go and come back. A server listens all the time, and lets one peer in at a time: the next waits
 * in the backlog. A client tries again, after 10 ms, then more, once a second in the end. With a new
 * connection both buffers start empty: half a frame of the old one would be garbage. Whole frames
 * that a peer sent before it left are still delivered, before the next one is let in.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/net/port_priv.h"
#include "devices/net/port_socket.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/log.h"

#define LEN_SIZE       4
#define BUFFER         KIB(256)
#define BATCH          256 /* frames from the guest before everything else has its turn */
#define RETRY_FIRST_MS 10
#define RETRY_MAX_MS   1000

_Static_assert(BUFFER >= 2 * (LEN_SIZE + PORT_FRAME_MAX), "a frame fits behind the end of another");

enum {
	POLL_STOP,
	POLL_PAIR,
	POLL_PEER,
	POLL_LISTEN,
	POLLS
};

struct buffer {
	uint8_t *bytes; /* BUFFER of them */
	size_t len;
};

struct stream_port {
	struct port port;
	struct sockaddr_un addr;
	bool server;
	struct stat bound; /* server: the file that stands for the name */
	int stop_fd, listen_fd;
	pthread_t thread;
	bool started;

	/* The thread's, and before it starts the opener's. */
	int pair;          /* our end */
	int peer;          /* -1: none */
	int retry_ms;      /* client without a peer: how long to wait ... */
	uint64_t retry_at; /* ... and until when (clock_ms()) */
	struct buffer in;  /* from the peer: whole frames that the guest did not take, and a part */
	bool in_full;      /* the pair is: the first frame of @in waits */
	struct buffer out; /* to the peer; room for one frame at least, or the pair is not read */
	struct log_limit limit;
};

/* --- The connection --- */

static void connected(struct stream_port *s, int fd)
{
	s->peer = fd;
	s->in.len = 0; /* all that was whole has been delivered */
	port_big_buffer(fd);
	log_limited(&s->limit, LOG_INFO, "port=socket:%s: connected", s->addr.sun_path);
}

static void disconnect(struct stream_port *s, const char *why)
{
	fd_close(&s->peer);
	s->out.len = 0;
	s->retry_at = clock_ms() + (unsigned)s->retry_ms;
	log_limited(&s->limit, LOG_WARN, "port=socket:%s: disconnected (%s); waiting for the peer",
	            s->addr.sun_path, why);
}

/* 0 or a negative errno. */
static int try_connect(struct stream_port *s)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -errno : socket_connect(fd, &s->addr);

	if (rc == 0) {
		connected(s, fd);
		return 0;
	}
	fd_close(&fd);
	s->retry_at = clock_ms() + (unsigned)s->retry_ms;
	s->retry_ms = 2 * s->retry_ms < RETRY_MAX_MS ? 2 * s->retry_ms : RETRY_MAX_MS;
	return rc;
}

static void try_accept(struct stream_port *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	struct pollfd stop = {.fd = s->stop_fd, .events = POLLIN};

	if (fd >= 0)
		connected(s, fd);
	else if (errno != EAGAIN && errno != ECONNABORTED)
		poll(&stop, 1, RETRY_MAX_MS); /* out of files, say: do not spin */
}

/* --- From the peer to the guest --- */

static uint32_t frame_length(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Hand all whole frames to the datapath, until it is full. */
static void deliver(struct stream_port *s)
{
	size_t at = 0;

	s->in_full = false;
	while (s->in.len - at >= LEN_SIZE) {
		const uint8_t *frame = s->in.bytes + at + LEN_SIZE;
		uint32_t len = frame_length(s->in.bytes + at);

		if (len > PORT_FRAME_MAX) {
			disconnect(s, "a frame of a length that cannot be");
			return;
		}
		if (s->in.len - at - LEN_SIZE < len)
			break;
		if (len >= PORT_FRAME_MIN && send(s->pair, frame, len, MSG_NOSIGNAL) < 0 &&
		    errno == EAGAIN) {
			s->in_full = true;
			break;
		}
		at += LEN_SIZE + len;
	}
	s->in.len -= at;
	memmove(s->in.bytes, s->in.bytes + at, s->in.len);
}

static void from_peer(struct stream_port *s)
{
	/* There is room: a part of a frame is all that stays when the pair is not full. */
	ssize_t n = recv(s->peer, s->in.bytes + s->in.len, BUFFER - s->in.len, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		disconnect(s, n == 0 ? "closed by the peer" : strerror(errno));
		return;
	}
	s->in.len += (size_t)n;
	s->retry_ms = RETRY_FIRST_MS; /* it is a real one */
	deliver(s);
}

/* --- From the guest to the peer --- */

static bool out_has_room(const struct stream_port *s)
{
	return BUFFER - s->out.len >= LEN_SIZE + PORT_FRAME_MAX;
}

static void to_peer(struct stream_port *s)
{
	ssize_t n = send(s->peer, s->out.bytes, s->out.len, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			disconnect(s, strerror(errno));
		return;
	}
	s->out.len -= (size_t)n;
	memmove(s->out.bytes, s->out.bytes + n, s->out.len);
}

/* A batch of frames, or as many as fit; without a peer they are dropped. */
static void from_guest(struct stream_port *s)
{
	for (unsigned i = 0; i < BATCH && out_has_room(s); i++) {
		uint8_t *at = s->out.bytes + s->out.len;
		ssize_t n = recv(s->pair, at + LEN_SIZE, PORT_FRAME_MAX, MSG_TRUNC);

		if (n < 0)
			break;
		if (s->peer < 0 || n < PORT_FRAME_MIN || n > PORT_FRAME_MAX)
			continue;
		at[0] = (uint8_t)(n >> 24);
		at[1] = (uint8_t)(n >> 16);
		at[2] = (uint8_t)(n >> 8);
		at[3] = (uint8_t)n;
		s->out.len += LEN_SIZE + (size_t)n;
	}
	if (s->out.len)
		to_peer(s);
}

/* --- The thread --- */

/* There is none, and the guest has all that the last one sent. */
static bool ready_for_peer(const struct stream_port *s)
{
	return s->peer < 0 && !s->in_full;
}

static void prepare(const struct stream_port *s, struct pollfd p[POLLS])
{
	short pair = 0, peer = 0;

	if (out_has_room(s))
		pair |= POLLIN;
	if (s->in_full)
		pair |= POLLOUT;
	else
		peer |= POLLIN;
	if (s->out.len)
		peer |= POLLOUT;
	p[POLL_STOP] = (struct pollfd){.fd = s->stop_fd, .events = POLLIN};
	p[POLL_PAIR] = (struct pollfd){.fd = s->pair, .events = pair};
	/* A hang-up is reported whether asked for or not: if nothing is wanted, look away. */
	p[POLL_PEER] = (struct pollfd){.fd = peer ? s->peer : -1, .events = peer};
	p[POLL_LISTEN] =
		(struct pollfd){.fd = ready_for_peer(s) ? s->listen_fd : -1, .events = POLLIN};
}

/* Wait for at most @wait ms (-1: for ever), and do what there is to do. False: the port is closed.
 */
static bool turn(struct stream_port *s, int wait)
{
	struct pollfd p[POLLS];

	prepare(s, p);
	poll(p, POLLS, wait);
	if (p[POLL_STOP].revents)
		return false;
	if (p[POLL_LISTEN].revents)
		try_accept(s);
	if (p[POLL_PAIR].revents & POLLOUT)
		deliver(s);
	if (s->peer >= 0 && p[POLL_PEER].revents & ~POLLOUT && !s->in_full)
		from_peer(s);
	if (s->peer >= 0 && p[POLL_PEER].revents && s->out.len)
		to_peer(s);
	if (p[POLL_PAIR].revents & POLLIN)
		from_guest(s);
	return true;
}

static void *stream_thread(void *arg)
{
	struct stream_port *s = arg;
	int wait;

	do {
		wait = -1;
		if (!s->server && ready_for_peer(s)) {
			if (clock_ms() >= s->retry_at)
				try_connect(s);
			wait = s->peer < 0 ? s->retry_ms : -1;
		}
	} while (turn(s, wait));
	return NULL;
}

/* --- The port --- */

static void stream_describe(const struct port *port, char *buf, size_t len)
{
	const struct stream_port *s = container_of(port, const struct stream_port, port);

	snprintf(buf, len, "%s %s", s->server ? "listening on" : "connecting to", s->addr.sun_path);
}

static void stream_close(struct port *port)
{
	struct stream_port *s = container_of(port, struct stream_port, port);

	if (s->started) {
		fd_signal(s->stop_fd);
		pthread_join(s->thread, NULL);
	}
	if (s->listen_fd >= 0)
		socket_unlink(s->addr.sun_path, &s->bound);
	fd_close(&s->listen_fd);
	fd_close(&s->peer);
	fd_close(&s->pair);
	fd_close(&s->stop_fd);
	fd_close(&port->fds[0]);
	free(s->in.bytes);
	free(s->out.bytes);
	free(s);
}

static const struct port_ops stream_ops = {
	.describe = stream_describe,
	.close = stream_close,
};

static int start_listening(struct stream_port *s, struct err *err)
{
	const char *path = s->addr.sun_path;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return err_errno(err, -errno, "port=socket:%s", path);
	rc = socket_bind(fd, SOCK_STREAM, path, &s->bound, err);
	if (rc < 0) {
		fd_close(&fd);
		return rc;
	}
	s->listen_fd = fd;
	if (listen(fd, 1) < 0)
		return err_errno(err, -errno, "port=socket:%s: listen", path);
	return 0;
}

static int first_connect(struct stream_port *s, struct err *err)
{
	int rc = try_connect(s);

	if (rc == 0)
		return 0;
	rc = socket_peer_error(s->addr.sun_path, rc, err);
	if (rc == 0)
		log_warn("port=socket:%s: nobody listens there yet; waiting for the peer",
		         s->addr.sun_path);
	return rc;
}

static int set_up(struct stream_port *s, const struct port_socket_config *config, struct err *err)
{
	int rc = socket_address(config->path, &s->addr, err), fds[2];

	if (rc < 0)
		return rc;
	s->in.bytes = malloc(BUFFER);
	s->out.bytes = malloc(BUFFER);
	if (!s->in.bytes || !s->out.bytes)
		return err_errno(err, -ENOMEM, "port=socket:%s", config->path);
	rc = port_pair(fds);
	if (rc < 0)
		return err_errno(err, rc, "port=socket:%s: socketpair", config->path);
	s->port.fds[0] = fds[0];
	s->pair = fds[1];
	rc = config->server ? start_listening(s, err) : first_connect(s, err);
	if (rc < 0)
		return rc;
	rc = s->stop_fd = fd_eventfd();
	if (rc >= 0)
		rc = port_thread(&s->thread, "net-socket", stream_thread, s);
	if (rc < 0)
		return err_errno(err, rc, "port=socket:%s: its thread", config->path);
	s->started = true;
	return 0;
}

int port_stream_open(struct port **port, const struct port_socket_config *config, struct err *err)
{
	struct stream_port *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_errno(err, -ENOMEM, "port=socket:%s", config->path);
	s->port.ops = &stream_ops;
	s->port.kind = "socket";
	s->port.queues = 1;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		s->port.fds[i] = -1;
	s->stop_fd = s->listen_fd = s->pair = s->peer = -1;
	s->server = config->server;
	s->retry_ms = RETRY_FIRST_MS;
	rc = set_up(s, config, err);
	if (rc < 0) {
		stream_close(&s->port);
		return rc;
	}
	*port = &s->port;
	return 0;
}
