/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a queue of ranges, and a thread that unmaps them piece by piece. While
 * munmap() runs, mmap() of the main thread waits for the lock of the address space; between two
 * pieces it gets it. The pages themselves are freed with the last piece, when the file behind them
 * goes, and by then the lock is free.
 */
#include "switch/reaper.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/mman.h>

#include "vmm/util.h"

#define PIECE  MIB(32)
#define RANGES 4096 /* the regions of 64 ports, twice */

struct range {
	uint8_t *map;
	uint64_t len, page;
};

static struct {
	pthread_mutex_t lock;
	pthread_cond_t more;
	pthread_t thread;
	bool runs, stopping; /* lock */
	unsigned first, nr;  /* lock */
	struct range ranges[RANGES];
} reaper = {.lock = PTHREAD_MUTEX_INITIALIZER, .more = PTHREAD_COND_INITIALIZER};

static void unmap(const struct range *r)
{
	uint64_t piece = max_u64(PIECE, r->page);

	for (uint64_t at = 0; at < r->len; at += piece)
		munmap(r->map + at, min_u64(piece, r->len - at));
}

static void *reaper_thread(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&reaper.lock);
	reaper.runs = true;
	pthread_cond_signal(&reaper.more);
	while (!reaper.stopping) {
		struct range r;

		if (!reaper.nr) {
			pthread_cond_wait(&reaper.more, &reaper.lock);
			continue;
		}
		r = reaper.ranges[reaper.first];
		reaper.first = (reaper.first + 1) % RANGES;
		reaper.nr--;
		pthread_mutex_unlock(&reaper.lock);
		unmap(&r);
		pthread_mutex_lock(&reaper.lock);
	}
	pthread_mutex_unlock(&reaper.lock);
	return NULL;
}

int reaper_start(void)
{
	sigset_t all, before;
	int rc;

	/* Signals are for the main thread, which one of them is to interrupt (watchdog.h). */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	rc = pthread_create(&reaper.thread, NULL, reaper_thread, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	/* What the C library does at a thread's start is not in the system call filter. */
	pthread_mutex_lock(&reaper.lock);
	while (rc == 0 && !reaper.runs)
		pthread_cond_wait(&reaper.more, &reaper.lock);
	pthread_mutex_unlock(&reaper.lock);
	return -rc;
}

void reaper_stop(void)
{
	if (!reaper.runs)
		return;
	pthread_mutex_lock(&reaper.lock);
	reaper.stopping = true;
	pthread_cond_signal(&reaper.more);
	pthread_mutex_unlock(&reaper.lock);
	pthread_join(reaper.thread, NULL);
	reaper.runs = reaper.stopping = false;
}

void reaper_unmap(void *map, uint64_t len, uint64_t page)
{
	struct range r = {map, len, page};
	bool taken = false;

	if (reaper.runs) {
		pthread_mutex_lock(&reaper.lock);
		if (reaper.nr < RANGES) {
			reaper.ranges[(reaper.first + reaper.nr++) % RANGES] = r;
			taken = true;
			pthread_cond_signal(&reaper.more);
		}
		pthread_mutex_unlock(&reaper.lock);
	}
	if (!taken)
		unmap(&r);
}
