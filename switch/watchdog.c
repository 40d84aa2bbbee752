/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a timer sends SIGALRM, whose handler does nothing but keep the timer going
 * as long as somebody has written since the last time. It has no SA_RESTART, so that a blocked
 * write() returns EINTR; one that does not block never does. An idle process has no timer.
 */
#include "switch/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static timer_t timer;
static volatile sig_atomic_t exists, armed, used;

static void set(bool on)
{
	struct itimerspec its = {.it_value.tv_nsec = 0};

	if (on)
		its.it_interval.tv_nsec = its.it_value.tv_nsec = WATCHDOG_MS * 1000000l;
	timer_settime(timer, 0, &its, NULL);
}

static void on_alarm(int sig)
{
	int saved = errno;

	(void)sig;
	if (!used) {
		armed = 0;
		set(false);
	}
	used = 0;
	errno = saved;
}

int watchdog_init(void)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};

	if (exists)
		return 0;
	sigemptyset(&action.sa_mask);
	if (sigaction(SIGALRM, &action, NULL) < 0 ||
	    timer_create(CLOCK_MONOTONIC, &event, &timer) < 0)
		return -errno;
	exists = 1;
	return 0;
}

int watchdog_signal(int eventfd)
{
	uint64_t one = 1;
	int flags, made_blocking;

	used = 1;
	if (!armed && exists) {
		armed = 1;
		set(true);
	}
	flags = fcntl(eventfd, F_GETFL);
	made_blocking = flags >= 0 && !(flags & O_NONBLOCK);
	if (made_blocking && fcntl(eventfd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -EINTR;
	/* EAGAIN: the count is full, so the reader is woken all the same. */
	return write(eventfd, &one, sizeof(one)) < 0 && errno == EINTR ? -EINTR : made_blocking;
}
