/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stream socket's framing between any guest and any peer, who may come and go. The thread's
 * turns are taken here, one by one.
 */
#include "devices/net/port_stream.c"

#include "tests/fuzz/fuzz.h"

struct fixture {
	struct stream_port s;
	int guest, peer; /* the far ends; -1: no peer */
	/* What the peer is in the middle of reading. */
	uint8_t head[LEN_SIZE];
	size_t head_len, frame_left;
};

static void fixture_init(struct fixture *f)
{
	int fds[2];

	fuzz_check(port_pair(fds) == 0);
	f->guest = fds[0];
	f->s = (struct stream_port){.server = true,
	                            .stop_fd = -1,
	                            .listen_fd = -1,
	                            .pair = fds[1],
	                            .peer = -1,
	                            .retry_ms = RETRY_FIRST_MS};
	f->s.in.bytes = malloc(BUFFER);
	f->s.out.bytes = malloc(BUFFER);
	fuzz_check(f->s.in.bytes && f->s.out.bytes);
	f->peer = -1;
}

static void fixture_destroy(struct fixture *f)
{
	fd_close(&f->guest);
	fd_close(&f->peer);
	fd_close(&f->s.pair);
	fd_close(&f->s.peer);
	free(f->s.in.bytes);
	free(f->s.out.bytes);
}

/* The next peer, if the port would let one in. */
static void peer_comes(struct fixture *f)
{
	int fds[2];

	if (!ready_for_peer(&f->s))
		return;
	fd_close(&f->peer);
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	f->peer = fds[1];
	f->head_len = f->frame_left = 0;
	connected(&f->s, fds[0]);
}

/* A frame whose length is right, or any bytes. */
static void peer_sends(struct fixture *f, struct fuzz_in *in)
{
	static uint8_t buf[LEN_SIZE + PORT_FRAME_MAX + 8];
	uint8_t bits = fuzz_u8(in);
	uint32_t len =
		bits & 1 ? fuzz_u8(in) : (uint32_t)fuzz_value(in, 3) % (sizeof(buf) - LEN_SIZE + 1);

	if (f->peer < 0)
		return;
	memset(buf, 0, 64);
	for (unsigned i = 0; i < LEN_SIZE; i++)
		buf[i] = (uint8_t)(len >> (24 - 8 * i));
	if (bits & 2)
		fuzz_bytes(in, buf, bits >> 2 & 15);
	len += LEN_SIZE;
	if (bits & 0x80)
		len = len / 2 + 1;
	if (send(f->peer, buf, len, MSG_NOSIGNAL) < 0)
		fuzz_check(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
}

/* What comes out has to be frames, one behind the other. */
static void peer_reads(struct fixture *f, size_t want)
{
	uint8_t buf[4096];
	ssize_t n = f->peer < 0 ? -1 : recv(f->peer, buf, min_u64(want, sizeof(buf)), 0);

	for (ssize_t i = 0; i < n;) {
		size_t part = min_u64(f->frame_left, (size_t)(n - i));

		f->frame_left -= part;
		i += (ssize_t)part;
		if (i == n || f->frame_left)
			continue;
		f->head[f->head_len++] = buf[i++];
		if (f->head_len < LEN_SIZE)
			continue;
		f->frame_left = frame_length(f->head);
		f->head_len = 0;
		fuzz_check(f->frame_left >= PORT_FRAME_MIN && f->frame_left <= PORT_FRAME_MAX);
	}
}

static void guest_sends(struct fixture *f, size_t len)
{
	static const uint8_t frame[PORT_FRAME_MAX + 100];

	if (send(f->guest, frame, min_u64(len, sizeof(frame)), MSG_NOSIGNAL) < 0)
		fuzz_check(errno == EAGAIN || errno == EMSGSIZE || errno == ENOBUFS);
}

static void guest_reads(struct fixture *f)
{
	uint8_t byte;
	ssize_t n = recv(f->guest, &byte, 1, MSG_TRUNC);

	fuzz_check(n < 0 || (n >= PORT_FRAME_MIN && n <= PORT_FRAME_MAX));
}

static void step(struct fixture *f, struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);

	switch (op % 8) {
	case 0:
		peer_comes(f);
		break;
	case 1:
	case 2:
		peer_sends(f, in);
		break;
	case 3:
		peer_reads(f, 1 + fuzz_u8(in) * 16u);
		break;
	case 4:
		fd_close(&f->peer);
		break;
	case 5:
		guest_sends(f, fuzz_value(in, 3) % (PORT_FRAME_MAX + 100));
		break;
	case 6:
		guest_reads(f);
		break;
	case 7:
		fuzz_check(turn(&f->s, 0));
		break;
	}
	fuzz_check(f->s.in.len <= BUFFER && f->s.out.len <= BUFFER);
}

/* With nobody else doing anything there is soon nothing to do: it would spin otherwise. */
static void check_rest(struct fixture *f)
{
	struct pollfd p[POLLS];
	unsigned turns = 0;

	for (;;) {
		prepare(&f->s, p);
		if (poll(p, POLLS, 0) == 0)
			return;
		fuzz_check(turns++ < 1000 && turn(&f->s, 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fixture *f = calloc(1, sizeof(*f));

	fuzz_check(f);
	fixture_init(f);
	while (fuzz_left(&in))
		step(f, &in);
	check_rest(f);
	fixture_destroy(f);
	free(f);
	return 0;
}
