/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/listener.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define ACCEPTS_A_TURN 16 /* others on the loop have their turn, too */

static void on_ready(struct loop_source *src, uint32_t events)
{
	struct listener *l = container_of(src, struct listener, ready);

	(void)events;
	for (unsigned i = 0; i < ACCEPTS_A_TURN && l->ready.events; i++) {
		int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			l->short_of_fds = false;
			l->fn(l, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			if (!l->short_of_fds)
				log_warn("%s: a connection has to wait: %s (ulimit -n sets how "
				         "many there may be)",
				         l->what, strerror(errno));
			l->short_of_fds = true;
			listener_pause(l, LISTENER_RETRY_MS);
		}
		return;
	}
}

static void on_timer(struct loop_source *src, uint32_t events)
{
	struct listener *l = container_of(src, struct listener, timer);

	(void)events;
	fd_drain(l->timer_fd);
	listener_resume(l);
}

int listener_start(struct listener *l, struct loop *loop, int fd, const char *what, listener_fn *fn)
{
	int rc;

	*l = (struct listener){.fd = fd, .fn = fn, .what = what};
	/* Made now: when it is needed there may be no descriptor for it. */
	rc = l->timer_fd = loop_timer_create();
	if (rc < 0)
		return rc;
	rc = loop_add(loop, &l->timer, l->timer_fd, EPOLLIN, on_timer);
	if (rc == 0)
		rc = loop_add(loop, &l->ready, fd, EPOLLIN, on_ready);
	if (rc < 0)
		listener_stop(l);
	return rc;
}

void listener_pause(struct listener *l, unsigned ms)
{
	if (!l->fn)
		return;
	loop_remove(&l->ready);
	loop_timer_set(l->timer_fd, ms);
}

void listener_resume(struct listener *l)
{
	if (!l->fn || l->ready.events)
		return;
	/* Without memory for it: later. */
	if (loop_add(l->timer.loop, &l->ready, l->fd, EPOLLIN, on_ready) < 0)
		loop_timer_set(l->timer_fd, LISTENER_RETRY_MS);
}

void listener_stop(struct listener *l)
{
	if (!l->fn)
		return;
	loop_remove(&l->ready);
	loop_remove(&l->timer);
	fd_close(&l->timer_fd);
	l->fn = NULL;
}

bool listener_listens(const struct listener *l)
{
	return l->fn && l->ready.events;
}
