/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the connection of the datapath "vhost-user", and the thread that looks after
 * it. The thread sleeps in its own loop on the connection, the back-end's requests, the rings' err
 * eventfds, and on what brings the next back-end: the listening socket, or a timer after which it
 * connects again, soon at first and then once a second. It alone closes the connection: whoever
 * finds a back-end wanting (a vCPU, in the middle of a call) shuts it down, which wakes the thread.
 *
 * It is a thread of its own, and not the main loop, because agreeing with a back-end means waiting
 * for it, with limits, but for seconds if it is hostile; consoles and other NICs do not wait along.
 *
 * A readable connection is usually nothing: the answer that the caller on another thread waits for,
 * and has read by the time that d->lock is ours.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/net/dp_vhost_user_priv.h"
#include "devices/net/port_socket.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define RETRY_FIRST_MS 20
#define RETRY_MAX_MS   1000
/* After one that will not do, as it is: it will hardly be better at once. */
#define RETRY_BAD_MS 1000
#define PART_POLL_MS 100
#define SLICE_MS     100 /* how soon a signal is noticed while waiting for the first */

static void on_conn(struct loop_source *src, uint32_t events);
static void on_req(struct loop_source *src, uint32_t events);
static void on_listen(struct loop_source *src, uint32_t events);

/* Tell the NIC, if it has changed. No lock is held. */
static void report(struct dp_user *d)
{
	bool up;

	pthread_mutex_lock(&d->report_lock);
	pthread_mutex_lock(&d->lock);
	up = vhost_user_on(&d->user) && d->far_link;
	pthread_mutex_unlock(&d->lock);
	if (up != d->reported && d->watcher.carrier)
		d->watcher.carrier(d->watcher.opaque, up);
	d->reported = up;
	pthread_mutex_unlock(&d->report_lock);
}

/* --- Waiting for the next one --- */

void dp_user_look_for_another(struct dp_user *d, unsigned at_least_ms)
{
	if (d->config.server) {
		/* Its own pace: it connects when it likes. */
		loop_remove(&d->listen);
		loop_add(&d->loop, &d->listen, d->listen_fd, EPOLLIN, on_listen);
		return;
	}
	if (d->retry_ms < at_least_ms)
		d->retry_ms = at_least_ms;
	loop_timer_set(d->retry_fd, d->retry_ms);
	d->retry_ms = (unsigned)min_u64(2 * (uint64_t)d->retry_ms, RETRY_MAX_MS);
}

/* The connection is over. d->lock is held. */
static void hang_up(struct dp_user *d)
{
	dp_user_drop(d);
	loop_remove(&d->conn);
	loop_remove(&d->req);
	if (d->part.held)
		dp_user_part_begin(d);
	vhost_user_detach(&d->user);
	d->far_link = true;
}

void dp_user_wake(struct dp_user *d)
{
	if (d->retry_fd >= 0)
		loop_timer_set(d->retry_fd, 1);
}

static int watch_connection(struct dp_user *d)
{
	int rc = loop_add(&d->loop, &d->conn, d->user.fd, EPOLLIN | EPOLLRDHUP, on_conn);

	if (rc == 0 && d->user.req_fd >= 0)
		rc = loop_add(&d->loop, &d->req, d->user.req_fd, EPOLLIN | EPOLLRDHUP, on_req);
	return rc;
}

/* The connection on which an answer is awaited without d->lock: dp_user_close() ends the wait. */
static void set_asking(struct dp_user *d, int fd)
{
	pthread_mutex_lock(&d->lock);
	d->asking = fd;
	pthread_mutex_unlock(&d->lock);
}

/* A back-end has come, on @fd. */
static void welcome(struct dp_user *d, int fd)
{
	struct err err = {0};
	bool held;
	int rc;

	loop_remove(&d->listen);
	if (!dp_user_part_accepts(d, fd)) {
		fd_close(&fd);
		dp_user_look_for_another(d, RETRY_BAD_MS);
		return;
	}
	/* One that hangs accepts connections, too. For this answer nobody else waits: whoever has
	 * the lock may be waited for by a vCPU, or the main loop. */
	set_asking(d, fd);
	rc = vhost_user_answers(fd);
	set_asking(d, -1);
	if (rc < 0) {
		log_limited(&d->limit, LOG_WARN, "%s: a vhost-user back-end has come, but %s",
		            d->config.name,
		            rc == -ETIMEDOUT ? "it does not answer" : "it closes the connection");
		fd_close(&fd);
		dp_user_look_for_another(d, 0);
		return;
	}
	pthread_mutex_lock(&d->lock);
	dp_user_part_end(d);
	rc = vhost_user_attach(&d->user, fd, &err);
	if (rc == 0)
		rc = dp_user_resume(d, &err);
	if (rc == 0)
		rc = watch_connection(d);
	if (rc < 0) {
		hang_up(d);
		if (rc != -EPIPE) /* that was said where it was noticed */
			log_limited(&d->limit, LOG_WARN, "%s", err.msg);
	} else {
		d->retry_ms = RETRY_FIRST_MS;
		log_limited(&d->limit, LOG_INFO, "%s: vhost-user back-end connected",
		            d->config.name);
	}
	held = d->part.held;
	pthread_mutex_unlock(&d->lock);
	if (rc < 0 && !held)
		dp_user_look_for_another(d, rc == -EPIPE ? 0 : RETRY_BAD_MS);
	else if (rc < 0)
		dp_user_part_look(d);
	report(d);
	dp_user_part_report(d);
}

static void unlock_and_see(struct dp_user *d);

static void unlock_and_see_if_failed(struct dp_user *d)
{
	if (vhost_user_on(&d->user))
		pthread_mutex_unlock(&d->lock);
	else
		unlock_and_see(d);
}

static int try_connect(struct dp_user *d)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -errno : socket_connect(fd, &d->addr);

	if (rc == 0)
		return fd;
	fd_close(&fd);
	return rc;
}

static void on_retry(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, retry);
	int fd;

	(void)events;
	fd_drain(d->retry_fd);
	if (d->user.fd >= 0) { /* dp_user_wake(), or the timer is an old one */
		pthread_mutex_lock(&d->lock);
		unlock_and_see_if_failed(d);
		return;
	}
	dp_user_part_look(d);
	/* Without a pidfd the end of the process is no event. */
	if (d->part.going && d->part.peer.pidfd < 0)
		loop_timer_set(d->retry_fd, PART_POLL_MS);
	if (d->config.server || (d->part.going && !d->part.eof))
		return;
	fd = try_connect(d);
	if (fd >= 0)
		welcome(d, fd);
	else
		dp_user_look_for_another(d, 0);
}

static void on_listen(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, listen);
	int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd >= 0)
		welcome(d, fd);
	else
		poll(NULL, 0, SLICE_MS); /* out of descriptors, say: it stays readable */
}

/* --- While it is there --- */

/* After something that may have been its end. d->lock is held, and let go. */
static void unlock_and_see(struct dp_user *d)
{
	bool gone = !vhost_user_on(&d->user), held;

	if (gone)
		hang_up(d);
	held = d->part.held;
	pthread_mutex_unlock(&d->lock);
	if (gone && !held)
		dp_user_look_for_another(d, 0);
	else if (gone)
		dp_user_part_look(d);
	report(d);
	dp_user_part_report(d);
}

static void on_conn(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, conn);

	(void)events;
	pthread_mutex_lock(&d->lock);
	vhost_user_look(&d->user);
	unlock_and_see(d);
}

static void on_req(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, req);

	(void)events;
	pthread_mutex_lock(&d->lock);
	if (vhost_user_request(&d->user) == 1)
		vhost_user_link(&d->user, &d->far_link);
	unlock_and_see(d);
}

static void on_err(struct loop_source *src, uint32_t events)
{
	struct dp_user_ring *r = container_of(src, struct dp_user_ring, err);
	struct dp_user *d = r->d;
	unsigned index = (unsigned)(r - d->rings);

	(void)events;
	pthread_mutex_lock(&d->lock);
	if (fd_drain(r->err_fd) && vhost_ring_runs(&d->user.vhost, index))
		d->host.broken(d->host.opaque, index,
		               "the vhost-user back-end found something wrong with a ring");
	pthread_mutex_unlock(&d->lock);
}

static void *look_after(void *arg)
{
	struct dp_user *d = arg;

	pthread_setname_np(pthread_self(), "vhost-user");
	loop_run(&d->loop);
	return NULL;
}

/* --- The first one --- */

static int listen_at(struct dp_user *d, struct err *err)
{
	int rc;

	d->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->listen_fd < 0)
		return err_errno(err, -errno, "%s: socket", d->config.name);
	rc = socket_bind(d->listen_fd, SOCK_STREAM, d->config.path, &d->bound, err);
	if (rc < 0) {
		fd_close(&d->listen_fd); /* what is at that name is not ours */
		return rc;
	}
	if (listen(d->listen_fd, 1) < 0)
		return err_errno(err, -errno, "%s: listen", d->config.name);
	return 0;
}

/* One attempt, of at most @ms. A descriptor, -EAGAIN: nobody yet, or -errno: it is of no use to
 * wait. */
static int next_fd(struct dp_user *d, int ms, struct err *err)
{
	struct pollfd p = {.fd = d->listen_fd, .events = POLLIN};
	int fd, rc;

	if (d->config.server) {
		if (poll(&p, 1, ms) <= 0)
			return -EAGAIN;
		fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		return fd < 0 ? -EAGAIN : fd;
	}
	fd = try_connect(d);
	if (fd >= 0)
		return fd;
	rc = socket_peer_error(d->config.path, fd, err);
	if (rc == 0)
		poll(NULL, 0, ms);
	return rc < 0 ? rc : -EAGAIN;
}

/* Has the user asked us to end? Signals are blocked and read by the main loop, which we keep from
 * it. */
static bool interrupted(void)
{
	sigset_t set;

	return sigpending(&set) == 0 && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) ||
	                                 sigismember(&set, SIGHUP));
}

static int wait_for_first(struct dp_user *d, struct err *err)
{
	uint32_t wait_s = d->config.wait_s;
	int64_t until = vu_deadline(wait_s == VHOST_USER_WAIT_FOREVER ? 0 : wait_s * 1000);
	bool said = false;

	for (;;) {
		int fd = next_fd(d, said ? SLICE_MS : 1, err);

		if (fd >= 0 || fd != -EAGAIN)
			return fd;
		if (wait_s == 0)
			return -EAGAIN;
		if (wait_s != VHOST_USER_WAIT_FOREVER && vu_deadline(0) >= until)
			return err_set(err, -ETIMEDOUT,
			               "--net socket=%s: no vhost-user back-end within %u s: start "
			               "it first, or wait=on, or wait=off to begin with the link "
			               "down",
			               d->config.path, wait_s);
		if (interrupted())
			return err_set(err, -EINTR,
			               "interrupted while waiting for a vhost-user back-end at %s",
			               d->config.path);
		if (!said)
			log_warn("%s: waiting for a vhost-user back-end at %s", d->config.name,
			         d->config.path);
		said = true;
	}
}

int dp_user_open(struct dp_user *d, struct err *err)
{
	int rc = socket_address(d->config.path, &d->addr, err), fd;

	if (rc == 0 && d->config.server)
		rc = listen_at(d, err);
	if (rc < 0)
		return rc;
	fd = wait_for_first(d, err);
	if (fd == -EAGAIN) {
		log_warn("%s: no vhost-user back-end at %s yet: the link is down", d->config.name,
		         d->config.path);
		return 0;
	}
	if (fd < 0)
		return fd;
	rc = vhost_user_attach(&d->user, fd, err);
	return rc == 0 ? dp_user_resume(d, err) : rc;
}

int dp_user_run(struct dp_user *d, struct err *err)
{
	int rc = loop_init(&d->loop);

	if (rc < 0)
		return err_errno(err, rc, "%s: epoll", d->config.name);
	d->retry_ms = RETRY_FIRST_MS;
	d->retry_fd = loop_timer_create();
	rc = d->retry_fd < 0 ? d->retry_fd
	                     : loop_add(&d->loop, &d->retry, d->retry_fd, EPOLLIN, on_retry);
	for (unsigned i = 0; i < 2 * d->config.pairs && rc == 0; i++)
		rc = loop_add(&d->loop, &d->rings[i].err, d->rings[i].err_fd, EPOLLIN, on_err);
	if (rc == 0 && vhost_user_on(&d->user))
		rc = watch_connection(d);
	else if (rc == 0)
		dp_user_look_for_another(d, 0);
	if (rc == 0)
		rc = -pthread_create(&d->thread, NULL, look_after, d);
	d->thread_started = rc == 0;
	return rc < 0 ? err_errno(err, rc, "%s: its thread", d->config.name) : 0;
}

void dp_user_close(struct dp_user *d)
{
	if (d->thread_started) {
		loop_stop(&d->loop);
		pthread_mutex_lock(&d->lock);
		if (d->asking >= 0)
			shutdown(d->asking, SHUT_RDWR);
		pthread_mutex_unlock(&d->lock);
		pthread_join(d->thread, NULL);
		d->thread_started = false;
	}
	dp_user_part_end(d);
	loop_destroy(&d->loop);
	fd_close(&d->retry_fd);
	if (d->listen_fd >= 0)
		socket_unlink(d->config.path, &d->bound);
	fd_close(&d->listen_fd);
}
