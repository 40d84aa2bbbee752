/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/virtio/kicks.h"

#include "vmm/fd.h"

static int64_t known(const struct virtio_kicks *k)
{
	return (int64_t)(__atomic_load_n(&k->exits, __ATOMIC_RELAXED) +
	                 __atomic_load_n(&k->own, __ATOMIC_RELAXED));
}

/*
 * How many by ioeventfd in this period, whose fd has come to @count. A back-end that had the fd
 * once can go on reading it, and an exit is counted a moment before it is signalled: never below 0.
 */
static uint64_t direct(const struct virtio_kicks *k, uint64_t count)
{
	int64_t n = (int64_t)count - known(k) - k->mark;

	return n > 0 && !k->hidden ? (uint64_t)n : 0;
}

/* A period ends when the fd has come to @count, and the next one begins with it at @next. */
static void turn(struct virtio_kicks *k, uint64_t count, uint64_t next)
{
	k->direct += direct(k, count);
	k->mark = (int64_t)next - known(k);
}

void virtio_kicks_signal(struct virtio_kicks *k, int kick_fd, bool exit)
{
	__atomic_fetch_add(exit ? &k->exits : &k->own, 1, __ATOMIC_RELAXED);
	if (__atomic_load_n(&k->hidden, __ATOMIC_RELAXED))
		fd_signal_shared(kick_fd);
	else
		fd_signal(kick_fd);
}

void virtio_kicks_owner(struct virtio_kicks *k, int kick_fd, bool reads, unsigned signals)
{
	uint64_t count = 0;

	if (reads != k->hidden && fd_peek(kick_fd, &count) == 0)
		turn(k, count, count);
	__atomic_store_n(&k->hidden, reads, __ATOMIC_RELAXED);
	__atomic_fetch_add(&k->own, signals, __ATOMIC_RELAXED);
}

void virtio_kicks_drain(struct virtio_kicks *k, int kick_fd)
{
	turn(k, fd_drain(kick_fd), 0);
}

void virtio_kicks_renewed(struct virtio_kicks *k)
{
	turn(k, 0, 0);
}

void virtio_kicks_read(const struct virtio_kicks *k, int kick_fd, struct virtio_kick_counts *counts)
{
	uint64_t count = 0;

	counts->exits = __atomic_load_n(&k->exits, __ATOMIC_RELAXED);
	counts->direct_known = !k->hidden && fd_peek(kick_fd, &count) == 0;
	counts->direct = k->direct + (counts->direct_known ? direct(k, count) : 0);
}
