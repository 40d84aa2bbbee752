/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user_peer: which process is at the other end of a Unix socket, and whether it is gone for good.
 * A closed connection alone does not say so: a process that was stopped, or one that closes the
 * socket and goes on, still writes to the memory that it has mapped.
 */
#ifndef TRIVM_DEVICES_VHOST_USER_PEER_H
#define TRIVM_DEVICES_VHOST_USER_PEER_H

#include <stdbool.h>
#include <sys/types.h>

struct vu_peer {
	pid_t pid;  /* 0: not known (it is in another PID namespace, on Linux before 6.5) */
	int pidfd;  /* readable when it has ended; -1: the kernel has none (Linux before 5.3) */
	bool ended; /* it had ended already */
};

/*
 * Whoever connected @fd, or, if we did, whoever called listen() on it. Owns peer->pidfd until
 * vu_peer_forget(). Any thread, never blocks.
 */
void vu_peer_find(struct vu_peer *peer, int fd);
void vu_peer_forget(struct vu_peer *peer); /* idempotent */

/* Has the process ended? Also true for one that is not known: then nothing more can be learned. */
bool vu_peer_gone(const struct vu_peer *peer);

/* Are both the same process, which lives? */
bool vu_peer_same(const struct vu_peer *a, const struct vu_peer *b);

#endif
