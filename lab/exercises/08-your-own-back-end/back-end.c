/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * back-end SOCKET: a vhost-user back-end for one network card, which answers pings to 10.8.0.1. Six
 * parts are missing, each at a call of missing(); README.md says what belongs there.
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
#include <endian.h>
#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include "net.h"

/* --- The protocol: a message is a header, a payload, and descriptors beside it --- */

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
};

#define FLAG_VERSION 1
#define FLAG_REPLY   4
#define REGIONS_MAX  8
#define NO_FD        0x100 /* in the number of SET_VRING_KICK, CALL, ERR: no descriptor comes with it */

struct region {
	uint64_t guest_addr; /* guest-physical: what descriptors hold */
	uint64_t size;
	uint64_t user_addr;   /* the front-end's: what SET_VRING_ADDR holds */
	uint64_t mmap_offset; /* in the descriptor that came with it */
};

struct message {
	uint32_t request, flags, size; /* size: of what follows */
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state; /* NUM, BASE */
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t nr, padding;
			struct region regions[REGIONS_MAX];
		} memory;
	};
} __attribute__((packed));

#define HEADER 12

/* --- What we know --- */

struct memory {
	struct region region;
	uint8_t *at; /* where region.guest_addr is in this process; NULL: not mapped */
};

struct ring {
	unsigned num; /* its size */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail; /* the next entry of avail to look at: the base */
	int kick, call;      /* -1: none */
};

static struct memory memory[REGIONS_MAX];
static unsigned nr_memory;
static struct ring rings[2] = {{.kick = -1, .call = -1}, {.kick = -1, .call = -1}};

static void missing(int part, const char *what)
{
	fprintf(stderr, "back-end: part %d is missing: %s\n", part, what);
	exit(1);
}

static void bad(const char *what)
{
	fprintf(stderr, "back-end: %s\n", what);
	exit(1);
}

/* --- Memory --- */

/* @len bytes at guest-physical @addr, or NULL if they are not all in one region. */
static void *guest(uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < nr_memory; i++) {
		const struct region *r = &memory[i].region;

		if (memory[i].at && addr >= r->guest_addr && addr - r->guest_addr < r->size &&
		    len <= r->size - (addr - r->guest_addr))
			return memory[i].at + (addr - r->guest_addr);
	}
	return NULL;
}

/* The same for an address of the front-end. */
static void *user(uint64_t addr, uint64_t len)
{
	for (unsigned i = 0; i < nr_memory; i++) {
		const struct region *r = &memory[i].region;

		if (addr >= r->user_addr && addr - r->user_addr < r->size)
			return guest(addr - r->user_addr + r->guest_addr, len);
	}
	return NULL;
}

static void set_mem_table(const struct message *m, const int *fds, unsigned nr_fds)
{
	if (m->memory.nr > REGIONS_MAX || m->memory.nr != nr_fds)
		bad("a memory table without its descriptors");
	/* 2: map each region, and close its descriptor; what was mapped before is unmapped. */
	missing(2, "SET_MEM_TABLE");
}

/* --- The rings --- */

#define CHAIN_MAX 64

/*
 * 5: take the next chain out of ring @r. Its buffers become iov[0 .. returned number), *@head is
 * the number by which it is given back, *@writable says for which direction it is. 0: the ring is
 * empty.
 *
 * Read avail->idx with __atomic_load_n(..., __ATOMIC_ACQUIRE): the driver wrote the entry before
 * it.
 */
static unsigned take(struct ring *r, struct iovec iov[CHAIN_MAX], uint16_t *head, bool *writable)
{
	(void)r;
	(void)iov;
	(void)head;
	(void)writable;
	missing(5, "take a chain out of a ring");
	return 0;
}

/*
 * 6: give chain @head of ring @r back, with @written bytes in it, and interrupt the driver, unless
 * it does not want that (avail->flags) or there is no call eventfd.
 *
 * Write used->idx with __atomic_store_n(..., __ATOMIC_RELEASE): the driver reads the element after
 * it.
 */
static void give_back(struct ring *r, uint16_t head, uint32_t written)
{
	(void)r;
	(void)head;
	(void)written;
	missing(6, "give a chain back");
}

/* --- Packets --- */

#define FRAME_MAX 65536
#define NET_HDR \
	12 /* struct virtio_net_hdr_v1 stands before each frame; all zero: nothing special */

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

static void set_fd(int *which, int fd)
{
	if (*which >= 0)
		close(*which);
	*which = fd;
}

static void handle(int conn, struct message *m, const int *fds, unsigned nr_fds)
{
	switch (m->request) {
	case GET_FEATURES:
		/* 1: reply with the features: VIRTIO_F_VERSION_1 and no others. */
		missing(1, "GET_FEATURES");
		break;
	case SET_FEATURES:
	case SET_OWNER:
	case RESET_OWNER:
		break;
	case SET_MEM_TABLE:
		set_mem_table(m, fds, nr_fds);
		break;
	case SET_VRING_NUM:
	case SET_VRING_BASE:
	case SET_VRING_ADDR:
		/* 3: note these three for ring(m->state.index) or ring(m->addr.index). */
		missing(3, "SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR");
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
		/* 4: stop the ring (no kick any more), and reply with the position where the next
		 * one has to go on. */
		missing(4, "GET_VRING_BASE");
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
