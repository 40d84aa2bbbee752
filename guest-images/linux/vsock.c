/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Standard input and output over a socket between guest and host (AF_VSOCK), as nc is for TCP:
 *
 *   vsock connect CID PORT   the host is CID 2
 *   vsock listen PORT        one connection, from anybody
 *
 * The end of input ends that direction only; the program ends when the other side has ended its
 * own.
 */
#include <linux/poll.h>
#include <linux/vm_sockets.h>
#include <sys/socket.h>

#include "nolibc.h"

#define MAX_32 0xffffffffL

static void address(struct sockaddr_vm *a, long cid, long port)
{
	for (unsigned i = 0; i < sizeof(*a); i++)
		((volatile char *)a)[i] = 0;
	a->svm_family = AF_VSOCK;
	a->svm_cid = (unsigned)cid;
	a->svm_port = (unsigned)port;
}

static long connect_to(long cid, long port)
{
	long fd = syscall3(__NR_socket, AF_VSOCK, SOCK_STREAM, 0);
	struct sockaddr_vm a;

	address(&a, cid, port);
	return fd < 0 ? fd : syscall3(__NR_connect, fd, (long)&a, sizeof(a)) < 0 ? -1 : fd;
}

static long accept_on(long port)
{
	long fd = syscall3(__NR_socket, AF_VSOCK, SOCK_STREAM, 0);
	struct sockaddr_vm a;

	address(&a, VMADDR_CID_ANY, port);
	if (fd < 0 || syscall3(__NR_bind, fd, (long)&a, sizeof(a)) < 0 ||
	    syscall3(__NR_listen, fd, 1, 0) < 0)
		return -1;
	return syscall3(__NR_accept, fd, 0, 0);
}

/* One read() and the write()s for it. 0: the end of input. */
static long move(long from, long to)
{
	static char buf[65536];
	long n = syscall3(__NR_read, from, (long)buf, sizeof(buf));

	for (long done = 0; done < n;) {
		long w = syscall3(__NR_write, to, (long)(buf + done), n - done);

		if (w <= 0)
			return -1;
		done += w;
	}
	return n;
}

static int relay(long sock)
{
	struct pollfd p[2] = {{.fd = (int)sock, .events = POLLIN}, {.fd = 0, .events = POLLIN}};

	for (;;) {
		if (syscall3(__NR_poll, (long)p, 2, -1) < 0)
			return complain("vsock: poll failed\n");
		if (p[0].revents) {
			long n = move(sock, 1);

			if (n <= 0)
				return n < 0 ? complain("vsock: the connection broke\n") : 0;
		}
		if (p[1].revents && move(0, sock) <= 0) {
			p[1].fd = -1;
			p[1].revents = 0;
			syscall3(__NR_shutdown, sock, SHUT_WR, 0);
		}
	}
}

static int run(long argc, char **argv)
{
	long sock;

	if (argc == 4 && same(argv[1], "connect") && number(argv[2], MAX_32) >= 0 &&
	    number(argv[3], MAX_32) >= 0)
		sock = connect_to(number(argv[2], MAX_32), number(argv[3], MAX_32));
	else if (argc == 3 && same(argv[1], "listen") && number(argv[2], MAX_32) >= 0)
		sock = accept_on(number(argv[2], MAX_32));
	else
		return complain("usage: vsock connect CID PORT | vsock listen PORT\n") + 1;
	return sock < 0 ? complain("vsock: no connection\n") : relay(sock);
}
