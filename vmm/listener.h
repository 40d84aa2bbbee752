/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * listener: accepts the connections of a listening socket on an event loop. When the process has no
 * descriptor left for one, the connection stays in the socket's queue, which would make the loop
 * spin: so the listener looks away, says so once, and tries again every LISTENER_RETRY_MS.
 */
#ifndef TRIVM_VMM_LISTENER_H
#define TRIVM_VMM_LISTENER_H

#include "vmm/loop.h"

#define LISTENER_RETRY_MS 1000

struct listener;

/* @fd is a new connection, non-blocking and CLOEXEC, which is the function's. On the loop's thread. */
typedef void listener_fn(struct listener *l, int fd);

/* Embedded in its owner. Zero is a valid "not listening". */
struct listener {
	int fd; /* listening; the owner's */
	listener_fn *fn;
	const char *what; /* for messages; a string that stays */
	struct loop_source ready, timer;
	int timer_fd;
	bool short_of_fds; /* and has said so */
};

/* Accept on @fd from now on. All four: on the loop's thread. 0 or a negative errno. */
int listener_start(struct listener *l, struct loop *loop, int fd, const char *what,
                   listener_fn *fn);
/* Accept nobody for @ms (at least 1), or until listener_resume(). */
void listener_pause(struct listener *l, unsigned ms);
void listener_resume(struct listener *l); /* idempotent; also when a descriptor was closed */
void listener_stop(struct listener *l);   /* idempotent */
/* Does it accept? */
bool listener_listens(const struct listener *l);

#endif
