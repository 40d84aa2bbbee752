/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: SO_PEERPIDFD (Linux 6.5) names the process itself. Before that SO_PEERCRED
 * names its number, and a pidfd made of it at once is as good unless the number was used again in
 * between. On kernels without pidfds the number is asked for with kill(): one that was used again
 * makes a process seem to live that has ended, which delays, and harms nothing.
 */
#include "devices/vhost/user_peer.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/fd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

void vu_peer_find(struct vu_peer *peer, int fd)
{
	struct ucred cred = {.pid = 0};
	socklen_t len = sizeof(cred);
	int pidfd = -1;

	*peer = (struct vu_peer){.pidfd = -1};
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0)
		return;
	peer->pid = cred.pid;
	len = sizeof(pidfd);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) < 0) {
		peer->ended = errno == ESRCH;
		if (!peer->ended && peer->pid > 0)
			pidfd = (int)syscall(SYS_pidfd_open, peer->pid, 0);
		peer->ended |= pidfd < 0 && errno == ESRCH;
	}
	peer->pidfd = pidfd < 0 ? -1 : pidfd;
}

void vu_peer_forget(struct vu_peer *peer)
{
	fd_close(&peer->pidfd);
	*peer = (struct vu_peer){.pidfd = -1};
}

bool vu_peer_gone(const struct vu_peer *peer)
{
	struct pollfd p = {.fd = peer->pidfd, .events = POLLIN};

	if (peer->ended)
		return true;
	if (peer->pidfd >= 0)
		return poll(&p, 1, 0) == 1;
	return peer->pid <= 0 || (kill(peer->pid, 0) < 0 && errno == ESRCH);
}

bool vu_peer_same(const struct vu_peer *a, const struct vu_peer *b)
{
	return a->pid > 0 && a->pid == b->pid && !vu_peer_gone(a);
}
