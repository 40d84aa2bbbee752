/* SPDX-License-Identifier: BSD-2-Clause */
/* loop: callbacks, their removal in awkward moments, timers, stopping. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/fd.h"
#include "vmm/loop.h"
#include "vmm/util.h"

/* A source on an eventfd of its own. */
struct probe {
	struct loop_source src;
	int fd;
	unsigned calls;
	uint32_t events;
	struct probe *victim; /* what its callback removes and frees */
};

static struct probe *probe_of(struct loop_source *src)
{
	return container_of(src, struct probe, src);
}

static struct probe *probe_new(struct loop *loop, loop_fn *fn)
{
	struct probe *p = calloc(1, sizeof(*p));

	p->fd = fd_eventfd();
	assert_true(p->fd >= 0);
	assert_int_equal(loop_add(loop, &p->src, p->fd, EPOLLIN, fn), 0);
	return p;
}

static void probe_free(struct probe *p)
{
	loop_remove(&p->src);
	fd_close(&p->fd);
	free(p);
}

static void count(struct loop_source *src, uint32_t events)
{
	probe_of(src)->calls++;
	probe_of(src)->events = events;
}

static void count_and_drain(struct loop_source *src, uint32_t events)
{
	count(src, events);
	fd_drain(src->fd);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void ready_descriptors_call_back(void **state)
{
	struct probe *a, *b;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	a = probe_new(&loop, count);
	b = probe_new(&loop, count_and_drain);
	assert_int_equal(loop_once(&loop, 0), 0);

	fd_signal(a->fd);
	fd_signal(b->fd);
	assert_int_equal(loop_once(&loop, 1000), 2);
	assert_int_equal(a->events, EPOLLIN);
	/* Level-triggered: who does not read is called again. */
	assert_int_equal(loop_once(&loop, 1000), 1);
	assert_int_equal(a->calls, 2);
	assert_int_equal(b->calls, 1);

	/* Not wanted for now, then wanted again. */
	assert_int_equal(loop_change(&a->src, 0), 0);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(loop_change(&a->src, EPOLLIN | EPOLLET), 0);
	assert_int_equal(loop_once(&loop, 1000), 1);
	assert_int_equal(loop_once(&loop, 0), 0); /* edge: once */
	assert_int_equal(a->calls, 3);

	probe_free(a);
	probe_free(b);
	loop_destroy(&loop);
	loop_destroy(&loop);
}

static void what_cannot_be_watched(void **state)
{
	int file = memfd_create("file", MFD_CLOEXEC);
	struct loop_source src = {0};
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_remove(&src); /* never added */
	assert_int_equal(loop_change(&src, EPOLLIN), -EINVAL);
	assert_int_equal(loop_add(&loop, &src, file, EPOLLIN, count), -EPERM);
	assert_int_equal(loop_add(&loop, &src, -1, EPOLLIN, count), -EBADF);
	assert_null(src.loop);
	assert_int_equal(loop_once(&loop, 0), 0);
	loop_destroy(&loop);
	close(file);
}

static void removed_sources_are_not_called(void **state)
{
	struct probe *a;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	a = probe_new(&loop, count);
	fd_signal(a->fd);
	loop_remove(&a->src);
	loop_remove(&a->src);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(loop_change(&a->src, EPOLLIN), -EINVAL);
	assert_int_equal(loop_add(&loop, &a->src, a->fd, EPOLLIN, count), 0);
	assert_int_equal(loop_once(&loop, 1000), 1);
	probe_free(a);
	loop_destroy(&loop);
}

static unsigned murders;

static void kill_the_other(struct loop_source *src, uint32_t events)
{
	struct probe *p = probe_of(src);

	count_and_drain(src, events);
	if (p->victim) {
		probe_free(p->victim); /* the sanitizer sees a call that still comes */
		p->victim = NULL;
		murders++;
	}
}

/* Both are in one batch; whichever comes first frees the other. */
static void removal_of_another_in_the_same_batch(void **state)
{
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	for (unsigned order = 0; order < 2; order++) {
		struct probe *a = probe_new(&loop, kill_the_other);
		struct probe *b = probe_new(&loop, kill_the_other);
		struct probe *survivor = order ? b : a; /* ready in the order of the signals */

		a->victim = b;
		b->victim = a;
		fd_signal(order ? b->fd : a->fd);
		fd_signal(order ? a->fd : b->fd);
		murders = 0;
		assert_int_equal(loop_once(&loop, 1000), 1);
		assert_int_equal(murders, 1);
		assert_int_equal(survivor->calls, 1);
		assert_int_equal(loop_once(&loop, 0), 0);
		probe_free(survivor);
	}
	loop_destroy(&loop);
}

static void suicide(struct loop_source *src, uint32_t events)
{
	(void)events;
	murders++;
	probe_free(probe_of(src));
}

static void removal_of_itself(void **state)
{
	struct loop loop;
	struct probe *a;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	a = probe_new(&loop, suicide);
	murders = 0;
	fd_signal(a->fd);
	assert_int_equal(loop_once(&loop, 1000), 1);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(murders, 1);
	loop_destroy(&loop);
}

static void replace_the_other(struct loop_source *src, uint32_t events)
{
	struct probe *p = probe_of(src);

	count_and_drain(src, events);
	if (p->victim) {
		loop_remove(&p->victim->src);
		loop_add(src->loop, &p->victim->src, p->victim->fd, EPOLLIN, count_and_drain);
	}
}

/* Removed and added again while its event waits: the old event is void, the new one comes later. */
static void replacement_in_the_same_batch(void **state)
{
	struct probe *a, *b;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	a = probe_new(&loop, replace_the_other);
	b = probe_new(&loop, count_and_drain);
	a->victim = b;
	fd_signal(a->fd);
	fd_signal(b->fd);
	assert_int_equal(loop_once(&loop, 1000), 1);
	assert_int_equal(a->calls, 1);
	assert_int_equal(b->calls, 0);
	assert_int_equal(loop_once(&loop, 1000), 1);
	assert_int_equal(b->calls, 1);
	probe_free(a);
	probe_free(b);
	loop_destroy(&loop);
}

/* More than one epoll_wait() takes: all of them get their turn. */
static void a_crowd(void **state)
{
	struct probe *p[100];
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
		p[i] = probe_new(&loop, count); /* never drained */
		fd_signal(p[i]->fd);
	}
	for (unsigned i = 0; i < 10; i++)
		assert_true(loop_once(&loop, 1000) > 0);
	for (unsigned i = 0; i < ARRAY_SIZE(p); i++) {
		assert_true(p[i]->calls > 0);
		probe_free(p[i]);
	}
	loop_destroy(&loop);
}

static void timers(void **state)
{
	int fd = loop_timer_create();
	struct probe t = {.fd = fd};
	struct loop loop;
	uint64_t start;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(loop_add(&loop, &t.src, fd, EPOLLIN, count_and_drain), 0);
	assert_int_equal(loop_once(&loop, 20), 0); /* not armed */

	start = now_ms();
	loop_timer_set(fd, 30);
	while (t.calls == 0 && now_ms() - start < 30000)
		loop_once(&loop, 5000);
	assert_in_range(now_ms() - start, 29, 30000);
	assert_int_equal(t.calls, 1);
	assert_int_equal(loop_once(&loop, 80), 0); /* once */

	loop_timer_set(fd, 20);
	loop_timer_set(fd, 0); /* disarmed */
	assert_int_equal(loop_once(&loop, 60), 0);

	loop_timer_set(fd, 3600000);
	loop_timer_set(fd, 1); /* the last word counts, also of more than a second */
	assert_int_equal(loop_once(&loop, 5000), 1);
	loop_remove(&t.src);
	fd_close(&fd);
	loop_destroy(&loop);
}

static void a_wait_ends_in_time(void **state)
{
	struct loop loop;
	uint64_t start = now_ms();

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(loop_once(&loop, 40), 0);
	assert_in_range(now_ms() - start, 39, 30000);
	loop_destroy(&loop);
}

static void *stop_soon(void *arg)
{
	usleep(20000);
	loop_stop(arg);
	return NULL;
}

static void stop_from_another_thread(void **state)
{
	struct loop loop;
	pthread_t t;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	pthread_create(&t, NULL, stop_soon, &loop);
	assert_int_equal(loop_run(&loop), 0);
	pthread_join(t, NULL);

	/* Asked for before it runs: it does not even wait. */
	assert_int_equal(loop_run(&loop), 0);
	loop.stopping = false;
	pthread_create(&t, NULL, stop_soon, &loop); /* and it can be run again */
	assert_int_equal(loop_run(&loop), 0);
	pthread_join(t, NULL);
	loop_destroy(&loop);
}

static void a_loop_that_stops_never_sleeps(void **state)
{
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_stop(&loop);
	assert_int_equal(loop_once(&loop, 0), 0);
	assert_int_equal(loop_once(&loop, -1), 0); /* the alarm is for one that does */
	loop.stopping = false;
	assert_int_equal(loop_once(&loop, -1), 0); /* the stop before */
	assert_int_equal(loop_once(&loop, 0), 0);
	loop_destroy(&loop);
}

static void stop_here(struct loop_source *src, uint32_t events)
{
	count(src, events);
	loop_stop(src->loop);
}

static void stop_from_a_callback(void **state)
{
	struct probe *a;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	a = probe_new(&loop, stop_here);
	fd_signal(a->fd);
	assert_int_equal(loop_run(&loop), 0);
	assert_int_equal(a->calls, 1);
	probe_free(a);
	loop_destroy(&loop);
}

static struct loop *signalled_loop;

static void on_alarm(int sig)
{
	(void)sig;
	if (signalled_loop)
		loop_stop(signalled_loop);
}

static void signals(void **state)
{
	struct itimerval soon = {.it_value = {.tv_usec = 20000}};
	struct sigaction sa = {.sa_handler = on_alarm};
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	sigaction(SIGALRM, &sa, NULL);

	/* A signal alone ends a wait early, and is no error. */
	signalled_loop = NULL;
	setitimer(ITIMER_REAL, &soon, NULL);
	assert_int_equal(loop_once(&loop, 10000), 0);

	/* From a handler: the loop ends. */
	signalled_loop = &loop;
	setitimer(ITIMER_REAL, &soon, NULL);
	assert_int_equal(loop_run(&loop), 0);
	signal(SIGALRM, SIG_DFL);
	alarm(60);
	loop_destroy(&loop);
}

static void failure_is_clean(void **state)
{
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	loop_destroy(&loop);
	assert_int_equal(loop_once(&loop, 0), -EBADF);
	assert_int_equal(loop_run(&loop), -EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ready_descriptors_call_back),
		cmocka_unit_test(what_cannot_be_watched),
		cmocka_unit_test(removed_sources_are_not_called),
		cmocka_unit_test(removal_of_another_in_the_same_batch),
		cmocka_unit_test(removal_of_itself),
		cmocka_unit_test(replacement_in_the_same_batch),
		cmocka_unit_test(a_crowd),
		cmocka_unit_test(timers),
		cmocka_unit_test(a_wait_ends_in_time),
		cmocka_unit_test(stop_from_another_thread),
		cmocka_unit_test(stop_from_a_callback),
		cmocka_unit_test(a_loop_that_stops_never_sleeps),
		cmocka_unit_test(signals),
		cmocka_unit_test(failure_is_clean),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
