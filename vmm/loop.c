/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: level-triggered epoll with the source's address as its cookie. One
 * epoll_wait() may return events for a source that an earlier callback of the same batch removes
 * (and whose memory it may free); loop_remove() therefore also blanks the source in the batch that
 * is being worked on.
 *
 * loop_stop() sets the flag before it makes wakefd readable, and while the flag is set nobody reads
 * it: a thread that calls loop_once() several times between two looks at the flag cannot swallow
 * the one wake-up and sleep on. A stop that was for an earlier run is read at the next one's first
 * wait.
 */
#include "vmm/loop.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/fd.h"

#define LOOP_BATCH 32

int loop_init(struct loop *loop)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL}; /* NULL: wakefd */

	memset(loop, 0, sizeof(*loop));
	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	loop->wakefd = loop->epfd < 0 ? -1 : fd_eventfd();
	if (loop->epfd < 0 || loop->wakefd < 0 ||
	    epoll_ctl(loop->epfd, EPOLL_CTL_ADD, loop->wakefd, &ev) < 0) {
		int rc = -errno;

		loop_destroy(loop);
		return rc;
	}
	return 0;
}

void loop_destroy(struct loop *loop)
{
	fd_close(&loop->wakefd);
	fd_close(&loop->epfd);
}

int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events, loop_fn *fn)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev) < 0)
		return -errno;
	*src = (struct loop_source){.fd = fd, .fn = fn, .events = events, .loop = loop};
	return 0;
}

int loop_change(struct loop_source *src, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = src};

	if (!src->loop)
		return -EINVAL;
	if (src->events == events)
		return 0;
	if (epoll_ctl(src->loop->epfd, EPOLL_CTL_MOD, src->fd, &ev) < 0)
		return -errno;
	src->events = events;
	return 0;
}

void loop_remove(struct loop_source *src)
{
	struct loop *loop = src->loop;
	struct epoll_event *batch;

	if (!loop)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, src->fd, NULL);
	batch = loop->batch;
	for (int i = 0; i < loop->batch_nr; i++)
		if (batch[i].data.ptr == src)
			batch[i].events = 0;
	src->loop = NULL;
	src->events = 0;
}

/*
 * epoll knows the old file for as long as another process has it open, so it is taken out while its
 * number still names it. The kernel orders this against an epoll_wait() on another thread; nothing
 * of the loop itself changes.
 */
int loop_renew(struct loop_source *src)
{
	struct epoll_event ev = {.events = src->events, .data.ptr = src};
	int rc;

	if (epoll_ctl(src->loop->epfd, EPOLL_CTL_DEL, src->fd, NULL) < 0)
		return -errno;
	rc = fd_renew(src->fd);
	if (epoll_ctl(src->loop->epfd, EPOLL_CTL_ADD, src->fd, &ev) < 0 && rc == 0)
		rc = -errno;
	return rc;
}

int loop_once(struct loop *loop, int timeout_ms)
{
	struct epoll_event batch[LOOP_BATCH];
	int n = epoll_wait(loop->epfd, batch, LOOP_BATCH, timeout_ms);
	int ran = 0;

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	/* cppcheck-suppress autoVariables ; cleared below, before @batch ends */
	loop->batch = batch;
	loop->batch_nr = n;
	for (int i = 0; i < n; i++) {
		struct loop_source *src = batch[i].data.ptr;

		if (!batch[i].events)
			continue; /* removed by a callback before this one */
		if (!src) {
			/* Once it stops no wait sleeps any more, whoever waits before he looks. */
			if (!loop->stopping)
				fd_drain(loop->wakefd);
			continue;
		}
		src->fn(src, batch[i].events);
		ran++;
	}
	loop->batch = NULL;
	loop->batch_nr = 0;
	return ran;
}

int loop_run(struct loop *loop)
{
	while (!loop->stopping) {
		int rc = loop_once(loop, -1);

		if (rc < 0)
			return rc;
	}
	return 0;
}

void loop_stop(struct loop *loop)
{
	loop->stopping = true;
	fd_signal(loop->wakefd);
}

int loop_timer_create(void)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void loop_timer_set(int timerfd, uint64_t ms)
{
	struct itimerspec its = {
		.it_value = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000},
	};

	timerfd_settime(timerfd, 0, &its, NULL);
}
