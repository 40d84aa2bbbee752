/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netplain: the limit: what a program reaches that does nothing but read from or write to the tap.
 *
 *	netplain tx|rx SIZE WARM_MS MS
 *
 * One system call a frame, as the tap wants it, from and into as many buffers as a virtqueue of 256
 * has. Prints what the guest prints (guest-images/baremetal/guests/net.c), with nanoseconds for
 * ticks.
 */
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "nettap.h"

#define QUEUE     256
#define RX_MEMORY (QUEUE * 4096u) /* of all receive buffers, with long segments */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct plain {
	int fd;
	bool transmits;
	unsigned size, stride, buffers, next;
	uint8_t *memory;
	uint64_t packets;
};

/* One frame. 0: none came in some time. */
static int move(struct plain *p)
{
	uint8_t *buf = p->memory + (size_t)p->next * p->stride;
	struct pollfd poll_fd = {.fd = p->fd, .events = POLLIN};
	ssize_t n;

	if (p->transmits)
		n = write(p->fd, buf, NETTAP_HDR + p->size);
	else
		n = read(p->fd, buf, p->stride);
	if (n < 0 && errno == EAGAIN)
		return poll(&poll_fd, 1, 10) < 0 ? -1 : 0;
	if (n != (ssize_t)(NETTAP_HDR + p->size))
		return n < 0 ? -1 : 0; /* what the kernel itself sends */
	p->packets++;
	if (++p->next == p->buffers)
		p->next = 0;
	return 1;
}

static int run(struct plain *p, uint64_t warm_ns, uint64_t ns)
{
	uint64_t begin = now_ns(), started = 0, now = begin, before = 0;

	while (!started || now - started < ns) {
		for (int i = 0; i < 64; i++) {
			int rc = move(p);

			if (rc < 0) {
				perror("netplain: tap");
				return 1;
			}
			if (!rc)
				break;
		}
		now = now_ns();
		if (!started && now - begin >= warm_ns) {
			started = now;
			before = p->packets;
		}
	}
	p->packets -= before;
	printf("%s packets %llu bytes %llu ticks %llu\n", p->transmits ? "tx" : "rx",
	       (unsigned long long)p->packets, (unsigned long long)p->packets * p->size,
	       (unsigned long long)(now - started));
	return 0;
}

int main(int argc, char **argv)
{
	struct plain p = {.buffers = QUEUE};

	if (argc != 5) {
		fprintf(stderr, "usage: netplain tx|rx SIZE WARM_MS MS\n");
		return 2;
	}
	p.transmits = !strcmp(argv[1], "tx");
	p.size = (unsigned)strtoul(argv[2], NULL, 10);
	p.stride = (p.size + NETTAP_HDR + 2047) & ~2047u;
	if (!p.transmits && p.stride * QUEUE > RX_MEMORY)
		p.buffers = RX_MEMORY / p.stride;
	p.memory = aligned_alloc(4096, ((size_t)p.buffers * p.stride + 4095) & ~4095ul);
	p.fd = nettap_open(p.size > NETTAP_LONG);
	if (p.fd < 0 || !p.memory) {
		perror("netplain: " NETTAP_NAME);
		return 1;
	}
	for (unsigned i = 0; i < p.buffers; i++)
		nettap_frame(p.memory + (size_t)i * p.stride, p.size);
	printf("ready\n");
	fflush(stdout);
	return run(&p, strtoul(argv[3], NULL, 10) * 1000000, strtoul(argv[4], NULL, 10) * 1000000);
}
