/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * back-end SOCKET: a vhost-user back-end for one network card, which answers pings to 10.8.0.1. This
 * is the part that is complete; the six of back-end.c are yours.
 *
 * Theory of operation: the front-end (trivm) connects to our socket and tells, message by message,
 * where the guest's memory is (descriptors to map), where in it the two rings are, and by which
 * eventfds to be notified (kick) and to interrupt (call). Then packets need no messages any more:
 * the thread sleeps in poll() on the socket and on the kick of ring 1, into which the guest puts
 * what it sends. A reply goes into a buffer of ring 0.
 *
 * The front-end and the guest are not trusted: every address is checked when it is translated,
 * every index is bounded, and what is wrong ends this program, not more.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "back-end.h"
#include "net.h"

struct memory memory[REGIONS_MAX];
unsigned nr_memory;
static struct ring rings[2] = {{.kick = -1, .call = -1}, {.kick = -1, .call = -1}};

void bad(const char *what)
{
	fprintf(stderr, "back-end: %s\n", what);
	exit(1);
}

void missing(int part, const char *what)
{
	fprintf(stderr, "back-end: part %d is missing: %s\n", part, what);
	exit(1);
}

/* --- Memory --- */

void *guest(uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < nr_memory; i++) {
		const struct region *r = &memory[i].region;

		if (addr >= r->guest_addr && addr - r->guest_addr < r->size &&
		    len <= r->size - (addr - r->guest_addr))
			return memory[i].at + (addr - r->guest_addr);
	}
	return NULL;
}

void *user(uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < nr_memory; i++) {
		const struct region *r = &memory[i].region;

		if (addr >= r->user_addr && addr - r->user_addr < r->size)
			return guest(addr - r->user_addr + r->guest_addr, len);
	}
	return NULL;
}

/* --- Packets --- */

#define FRAME_MAX 65536
/* A struct virtio_net_hdr_v1 stands before each frame; all zero: nothing special. */
#define NET_HDR 12

static void deliver(const uint8_t *frame, size_t len)
{
	static const uint8_t header[NET_HDR] = {[10] = 1}; /* num_buffers */
	struct iovec iov[CHAIN_MAX];
	size_t done = 0, total = NET_HDR + len;
	uint16_t head;
	bool writable;
	unsigned n;

	if (rings[0].kick < 0 || !(n = take(&rings[0], iov, &head, &writable)))
		return; /* no buffer: the frame is lost, as on any wire */
	if (!writable)
		bad("a buffer for receiving that may not be written");
	for (unsigned i = 0; i < n; i++)
		for (size_t k = 0; k < iov[i].iov_len && done < total; k++, done++)
			((uint8_t *)iov[i].iov_base)[k] =
				done < NET_HDR ? header[done] : frame[done - NET_HDR];
	give_back(&rings[0], head, done == total ? (uint32_t)done : 0);
}

static void transmit(void)
{
	static uint8_t packet[FRAME_MAX];
	struct iovec iov[CHAIN_MAX];
	uint16_t head;
	bool writable;
	unsigned n;

	while (rings[1].kick >= 0 && (n = take(&rings[1], iov, &head, &writable))) {
		size_t len = 0;

		if (writable)
			bad("a buffer for sending that is to be written");
		for (unsigned i = 0; i < n; i++) {
			if (iov[i].iov_len > sizeof(packet) - len)
				bad("a frame that is too long");
			memcpy(packet + len, iov[i].iov_base, iov[i].iov_len);
			len += iov[i].iov_len;
		}
		give_back(&rings[1], head, 0);
		if (len > NET_HDR) {
			len = net_answer(packet + NET_HDR, len - NET_HDR);
			if (len)
				deliver(packet + NET_HDR, len);
		}
	}
}

/* --- Messages --- */

static void reply(int fd, struct message *m, uint32_t size)
{
	m->flags = FLAG_VERSION | FLAG_REPLY;
	m->size = size;
	if (write(fd, m, HEADER + size) != (ssize_t)(HEADER + size))
		bad("the front-end does not read");
}

static struct ring *ring(uint32_t index)
{
	if (index > 1)
		bad("a ring that is not there");
	return &rings[index];
}

void set_fd(int *which, int fd)
{
	if (*which >= 0)
		close(*which);
	*which = fd;
}

static void handle(int conn, struct message *m, const int *fds, unsigned nr_fds)
{
	switch (m->request) {
	case GET_FEATURES:
		m->u64 = features();
		reply(conn, m, sizeof(m->u64));
		break;
	case SET_FEATURES:
	case SET_OWNER:
	case RESET_OWNER:
		break;
	case SET_MEM_TABLE:
		if (m->memory.nr > REGIONS_MAX || m->memory.nr != nr_fds)
			bad("a memory table without its descriptors");
		set_mem_table(m, fds);
		break;
	case SET_VRING_NUM:
		set_vring_num(ring(m->state.index), m->state.num);
		break;
	case SET_VRING_BASE:
		set_vring_base(ring(m->state.index), m->state.num);
		break;
	case SET_VRING_ADDR:
		set_vring_addr(ring(m->addr.index), m->addr.desc, m->addr.avail, m->addr.used);
		break;
	case SET_VRING_KICK:
	case SET_VRING_CALL: {
		struct ring *r = ring(m->u64 & 0xff);
		int fd = m->u64 & NO_FD || !nr_fds ? -1 : fds[0];

		set_fd(m->request == SET_VRING_KICK ? &r->kick : &r->call, fd);
		if (m->request == SET_VRING_KICK)
			transmit(); /* something may be there already */
		break;
	}
	case SET_VRING_ERR:
		if (nr_fds)
			close(fds[0]);
		break;
	case GET_VRING_BASE:
		m->state.num = get_vring_base(ring(m->state.index));
		reply(conn, m, sizeof(m->state));
		break;
	default:
		fprintf(stderr, "back-end: request %u is not known\n", m->request);
		exit(1);
	}
}

/* Receive one message with its descriptors. False: the front-end has gone. */
static bool receive(int conn)
{
	struct message m;
	char control[CMSG_SPACE(sizeof(int) * REGIONS_MAX)];
	struct iovec iov = {&m, HEADER};
	struct msghdr hdr = {.msg_iov = &iov,
	                     .msg_iovlen = 1,
	                     .msg_control = control,
	                     .msg_controllen = sizeof(control)};
	int fds[REGIONS_MAX];
	unsigned nr_fds = 0;
	ssize_t n = recvmsg(conn, &hdr, MSG_CMSG_CLOEXEC | MSG_WAITALL);

	if (n == 0)
		return false;
	if (n != HEADER || m.size > sizeof(m) - HEADER ||
	    (m.size && recv(conn, &m.u64, m.size, MSG_WAITALL) != (ssize_t)m.size))
		bad("that is no message");
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&hdr); c; c = CMSG_NXTHDR(&hdr, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			nr_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), nr_fds * sizeof(int));
		}
	handle(conn, &m, fds, nr_fds);
	return true;
}

static void serve(int conn)
{
	for (;;) {
		struct pollfd p[2] = {{.fd = conn, .events = POLLIN},
		                      {.fd = rings[1].kick, .events = POLLIN}};
		uint64_t count;

		if (poll(p, 2, -1) < 0)
			bad("poll");
		if (p[1].revents & POLLIN) {
			if (read(rings[1].kick, &count, sizeof(count)) < 0 && errno != EAGAIN)
				bad("the kick eventfd");
			transmit();
		}
		if (p[0].revents && !receive(conn))
			return;
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path))
		bad("usage: back-end SOCKET");
	strcpy(addr.sun_path, argv[1]);
	unlink(argv[1]);
	if (bind(listener, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(listener, 1) < 0)
		bad("the socket cannot be made");
	/* One front-end after the other; each begins anew. */
	for (;;) {
		int conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (conn < 0)
			bad("accept");
		serve(conn);
		close(conn);
		for (unsigned i = 0; i < 2; i++) {
			set_fd(&rings[i].kick, -1);
			set_fd(&rings[i].call, -1);
		}
	}
}
