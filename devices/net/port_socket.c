/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames over a Unix socket, from one VM to another or to a program.
 *
 * Datagrams. Each is a frame, so the socket itself is the port's descriptor. It is bound to our own
 * address and connected to the peer's, which is one more thing than sendto() would need, but makes
 * write() work, keeps others out, and lifts the limit of ten on the queue once the peer does the
 * same. A peer that is not there yet, or comes back, has bound a new socket, to which ours has to
 * be connected again: a small thread sleeps until a file of that name appears (inotify), connects,
 * and sleeps again. Meanwhile the datapath's writes fail and count as dropped.
 *
 * Streams (port_stream.c) have a thread that moves frames.
 *
 * What is in the way of a socket's name: a socket that nobody answers on is what a program left
 * behind that was killed, and is replaced; one that is answered, or any other file, is an error.
 */
#include "devices/net/port_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/net/port_priv.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/socket_file.h"

#define RETRY_FIRST_MS 10
#define RETRY_MAX_MS   1000

/* --- Names --- */

int socket_address(const char *path, struct sockaddr_un *addr, struct err *err)
{
	size_t len = strlen(path);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (len == 0 || len >= sizeof(addr->sun_path))
		return err_set(err, -ENAMETOOLONG,
		               "socket %s: the path of a socket has 1 to %zu bytes", path,
		               sizeof(addr->sun_path) - 1);
	memcpy(addr->sun_path, path, len);
	return 0;
}

int socket_connect(int fd, const struct sockaddr_un *addr)
{
	return connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno : 0;
}

int socket_bind(int fd, int type, const char *path, struct stat *bound, struct err *err)
{
	struct sockaddr_un addr;
	int rc = socket_address(path, &addr, err);

	if (rc < 0)
		return rc;
	switch (rc = socket_file_bind(fd, type, &addr, bound)) {
	case 0:
		return 0;
	case -EEXIST:
		return err_set(err, rc,
		               "socket %s: there is a file of another kind, which is not touched: "
		               "name another path",
		               path);
	case -EADDRINUSE:
		return err_set(
			err, rc,
			"socket %s: another program listens there (ss -xlp): end it, connect "
			"to it, or name another path",
			path);
	default:
		return err_errno(err, rc, "socket %s: cannot make a socket there", path);
	}
}

void socket_unlink(const char *path, const struct stat *bound)
{
	socket_file_unlink(path, bound);
}

int socket_peer_error(const char *path, int rc, struct err *err)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	struct stat st;
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	switch (rc) {
	case -ENOENT:
		if (stat(slash ? dir : ".", &st) == 0)
			return 0;
		return err_set(err, rc, "socket %s: there is no directory %s", path, dir);
	case -ECONNREFUSED:
		if (stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
			return err_set(err, -ENOTSOCK,
			               "socket %s: it is a file of another kind, not a socket",
			               path);
		return 0;
	case -EAGAIN:
	case -EPERM: /* it is still connected to the one that we come back as, or to another */
		return 0;
	case -EACCES:
		return err_set(err, rc,
		               "socket %s: no permission: it takes write permission for the "
		               "socket and search permission for its directory (ls -l %s)",
		               path, path);
	case -EPROTOTYPE:
		return err_set(err, rc,
		               "socket %s: the socket there is of the other type: with "
		               "local=PATH we send datagrams, without a stream",
		               path);
	}
	return err_errno(err, rc, "socket %s: cannot connect", path);
}

/* --- Datagrams --- */

struct dgram_port {
	struct port port;
	struct sockaddr_un peer;
	char *local;       /* our address, or NULL while it is not bound */
	struct stat bound; /* the file that stands for it */
	int stop_fd, inotify;
	int again; /* the same socket, for the thread: the other number is the datapath's alone */
	pthread_t thread;
	bool started;
};

/* Did a file of the peer's name appear? Whatever else happened in the directory is read away. */
static bool peer_appeared(const struct dgram_port *d)
{
	const char *slash = strrchr(d->peer.sun_path, '/');
	const char *base = slash ? slash + 1 : d->peer.sun_path;
	union {
		struct inotify_event event;
		char bytes[4096];
	} buf;
	bool found = false;
	ssize_t n;

	while ((n = read(d->inotify, &buf, sizeof(buf))) > 0) {
		for (char *at = buf.bytes; at < buf.bytes + n;) {
			const struct inotify_event *e = (const struct inotify_event *)at;

			if (e->mask & IN_Q_OVERFLOW || (e->len && strcmp(e->name, base) == 0))
				found = true;
			at += sizeof(*e) + e->len;
		}
	}
	return found;
}

static void *dgram_thread(void *arg)
{
	struct dgram_port *d = arg;
	struct pollfd p[] = {
		{.fd = d->stop_fd, .events = POLLIN},
		{.fd = d->inotify, .events = POLLIN},
	};
	int wait = RETRY_FIRST_MS;
	bool connected = false;

	for (;;) {
		if (!connected)
			connected = socket_connect(d->again, &d->peer) == 0;
		/* Without inotify there is no other way to hear of a peer that came back. */
		poll(p, 2, connected && d->inotify >= 0 ? -1 : wait);
		if (p[0].revents)
			return NULL;
		wait = wait * 2 < RETRY_MAX_MS ? wait * 2 : RETRY_MAX_MS;
		if (d->inotify < 0)
			connected = false;
		if (d->inotify >= 0 && p[1].revents && peer_appeared(d)) {
			/* The file is there a moment before its socket answers. */
			connected = false;
			wait = RETRY_FIRST_MS;
		}
	}
}

static void dgram_describe(const struct port *port, char *buf, size_t len)
{
	const struct dgram_port *d = container_of(port, const struct dgram_port, port);

	snprintf(buf, len, "datagrams from %s to %s", d->local, d->peer.sun_path);
}

static void dgram_close(struct port *port)
{
	struct dgram_port *d = container_of(port, struct dgram_port, port);

	if (d->started) {
		fd_signal(d->stop_fd);
		pthread_join(d->thread, NULL);
	}
	fd_close(&port->fds[0]);
	fd_close(&d->again);
	fd_close(&d->stop_fd);
	fd_close(&d->inotify);
	if (d->local)
		socket_unlink(d->local, &d->bound);
	free(d->local);
	free(d);
}

static const struct port_ops dgram_ops = {
	.describe = dgram_describe,
	.close = dgram_close,
};

/* -1 if there is none to be had: then the peer is looked for from time to time. */
static int watch_directory(const char *path)
{
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	char *slash;

	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = '\0';
	if (fd >= 0 && inotify_add_watch(fd, slash ? dir : ".", IN_CREATE | IN_MOVED_TO) < 0)
		fd_close(&fd);
	return fd;
}

static int dgram_set_up(struct dgram_port *d, const struct port_socket_config *config,
                        struct err *err)
{
	int rc = socket_address(config->path, &d->peer, err);
	int fd;

	if (rc < 0)
		return rc;
	if (!config->local)
		return err_set(err, -EINVAL,
		               "port=socket:%s: datagrams need local=PATH as well, our own address "
		               "for the peer to send to",
		               config->path);
	fd = d->port.fds[0] = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(err, -errno, "port=socket:%s", config->path);
	port_big_buffer(fd);
	rc = socket_bind(fd, SOCK_DGRAM, config->local, &d->bound, err);
	if (rc < 0)
		return rc;
	d->local = strdup(config->local);
	if (!d->local) {
		socket_unlink(config->local, &d->bound);
		return err_errno(err, -ENOMEM, "port=socket:%s", config->path);
	}
	/* Before the first attempt, so that a peer that comes right after it is not missed. */
	d->inotify = watch_directory(config->path);
	rc = socket_connect(fd, &d->peer);
	if (rc < 0) {
		rc = socket_peer_error(config->path, rc, err);
		if (rc < 0)
			return rc;
		log_info("port=socket:%s: nobody is there yet; waiting for the peer", config->path);
	}
	d->again = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	rc = d->stop_fd = d->again < 0 ? -errno : fd_eventfd();
	if (rc >= 0)
		rc = port_thread(&d->thread, "net-socket", dgram_thread, d);
	if (rc < 0)
		return err_errno(err, rc, "port=socket:%s: its thread", config->path);
	d->started = true;
	return 0;
}

static int dgram_open(struct port **port, const struct port_socket_config *config, struct err *err)
{
	struct dgram_port *d = calloc(1, sizeof(*d));
	int rc;

	if (!d)
		return err_errno(err, -ENOMEM, "port=socket:%s", config->path);
	d->port.ops = &dgram_ops;
	d->port.kind = "socket";
	d->port.queues = 1;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		d->port.fds[i] = -1;
	d->stop_fd = d->inotify = d->again = -1;
	rc = dgram_set_up(d, config, err);
	if (rc < 0) {
		dgram_close(&d->port);
		return rc;
	}
	*port = &d->port;
	return 0;
}

int port_socket_open(struct port **port, const struct port_socket_config *config, struct err *err)
{
	if (config->datagram)
		return dgram_open(port, config, err);
	return port_stream_open(port, config, err);
}
