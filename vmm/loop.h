/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * loop: one thread's epoll loop. File descriptors call back when they are ready; a timer is a
 * descriptor too (timerfd). The main thread has one for signals, terminal and slow devices; each
 * datapath thread has its own.
 */
#ifndef TRIVM_VMM_LOOP_H
#define TRIVM_VMM_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_source;

/* @events: EPOLLIN ... as epoll_wait() gave them. Runs on the loop's thread. */
typedef void loop_fn(struct loop_source *src, uint32_t events);

/* Embedded in its owner. Zero is a valid "not in a loop". */
struct loop_source {
	int fd;
	loop_fn *fn;
	uint32_t events; /* what is waited for; 0 while not in a loop */
	struct loop *loop;
};

struct loop {
	int epfd;
	int wakefd; /* an eventfd that ends a wait: loop_stop() from any thread or signal handler */
	_Atomic bool stopping;
	void *batch; /* the epoll_events being worked on, or NULL */
	int batch_nr;
};

int loop_init(struct loop *loop); /* 0 or a negative errno */
void loop_destroy(struct loop *loop);

/*
 * Watch @fd (not owned). Level-triggered unless @events has EPOLLET. All four: only on the loop's
 * thread, or before loop_run(). loop_remove() may be called from any callback, also for another
 * source whose event is already waiting: it will not be called any more. Twice is harmless.
 */
int loop_add(struct loop *loop, struct loop_source *src, int fd, uint32_t events, loop_fn *fn);
int loop_change(struct loop_source *src, uint32_t events);
void loop_remove(struct loop_source *src);

/*
 * fd_renew() the source's descriptor, an eventfd, and watch the new one. 0 or a negative errno, and
 * then nothing has changed. Any thread; an event of the old one may still be reported.
 */
int loop_renew(struct loop_source *src);

/* Wait at most @timeout_ms (-1: for ever) and run what is ready. Number of callbacks or a negative
 * errno. */
int loop_once(struct loop *loop, int timeout_ms);

/* loop_once() until loop_stop(). 0 or a negative errno. */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

/* A timerfd that is not armed; -errno. loop_timer_set(): once, @ms from now (0: disarm). */
int loop_timer_create(void);
void loop_timer_set(int timerfd, uint64_t ms);

#endif
