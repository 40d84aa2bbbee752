/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The datapath "vmm" between a hostile driver's rings and a wire with any frames. Its thread's work
 * is done here, step by step, so that an input gives the same run each time: pthread_create() and
 * pthread_join() are replaced where they are called.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

static int no_thread(pthread_t *thread, const void *attr, void *(*fn)(void *), void *arg)
{
	(void)attr;
	(void)fn;
	(void)arg;
	*thread = pthread_self();
	return 0;
}

static int no_join(pthread_t thread, void **result)
{
	(void)thread;
	(void)result;
	return 0;
}

#define pthread_create no_thread
#define pthread_join   no_join
#include "devices/net/dp_vmm.c"
#undef pthread_create
#undef pthread_join

#include "tests/fuzz/virtq.h"

struct fixture {
	struct guest_ram ram;
	struct port port;
	struct datapath *dp;
	struct pair *pair;
	int wire, kick[2];
	bool broken[2];
	struct fuzz_virtq drv[2]; /* only what a driver has: settings and position */
};

static void on_interrupt(void *opaque, unsigned ring)
{
	(void)opaque;
	fuzz_check(ring < 2);
}

static void on_broken(void *opaque, unsigned ring, const char *why)
{
	struct fixture *f = opaque;

	fuzz_check(ring < 2 && why);
	f->broken[ring] = true;
}

static bool on_accept(void *opaque, const uint8_t *head, size_t len)
{
	(void)opaque;
	fuzz_check(len >= FRAME_MIN);
	return head[0] != 0xee;
}

static void close_port(struct port *port)
{
	fd_close(&port->fds[0]);
}

static const struct port_ops port_ops = {.close = close_port};

static void start(struct fixture *f, unsigned ring, virtq_base_t base)
{
	struct datapath_ring r = {.config = f->drv[ring].config,
	                          .base = base,
	                          .kick_fd = f->kick[ring],
	                          .call_fd = -1};
	struct err err = {0};

	if (f->dp->ops->ring_start(f->dp, ring, &r, &err) == 0)
		f->broken[ring] = false;
	else
		fuzz_check(err.msg[0]);
}

static void fixture_init(struct fixture *f, struct fuzz_in *in)
{
	uint8_t bits = fuzz_u8(in);
	struct datapath_vmm_config config = {.port = &f->port, .pairs = 1, .packed = true};
	const struct datapath_host host = {
		.interrupt = on_interrupt, .broken = on_broken, .accept = on_accept, .opaque = f};
	uint64_t features = bits & 2 ? BIT64(VIRTIO_NET_F_MRG_RXBUF) : 0;
	int sv[2];

	guest_ram_init(&f->ram);
	fuzz_check(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, sv) == 0);
	f->port =
		(struct port){.ops = &port_ops, .kind = "fuzz", .queues = 1, .vnet_hdr = bits & 4};
	f->port.fds[0] = sv[0];
	f->wire = sv[1];
	fuzz_check(datapath_vmm_create(&f->dp, &config, NULL) == 0);
	f->pair = dp_of(f->dp)->pairs;
	for (unsigned i = 0; i < 2; i++) {
		f->drv[i].ram = &f->ram;
		f->kick[i] = fd_eventfd();
		fuzz_check(f->kick[i] >= 0);
		fuzz_virtq_settings(&f->drv[i], in, bits & 1);
	}
	/* The receive ring is where the settings put it; the other one has its own place. */
	if (f->drv[1].config.desc == f->drv[0].config.desc) {
		f->drv[1].config.desc = RAM_BASE;
		f->drv[1].config.driver = RAM_BASE + 0x1000;
		f->drv[1].config.device = RAM_BASE + 0x2000;
	}
	if (f->drv[0].f.event_idx)
		features |= BIT64(VIRTIO_RING_F_EVENT_IDX);
	features |= BIT64(VIRTIO_RING_F_INDIRECT_DESC);
	features |= bits & 1 ? BIT64(VIRTIO_F_RING_PACKED) : 0;
	fuzz_check(f->dp->ops->setup(f->dp, features, &f->ram.mem, &host, NULL) == 0);
	for (unsigned i = 0; i < 2; i++)
		start(f, i, virtq_base_new(bits & 1));
}

/* A frame from the wire. */
static void frame(struct fixture *f, struct fuzz_in *in)
{
	static uint8_t buf[70000];
	uint16_t bits = fuzz_u16(in);
	size_t len = bits & 0x8000 ? min_u64(bits * 2u, sizeof(buf)) : 1u + bits % 3000u;

	memset(buf, 0x55, 64);
	fuzz_bytes(in, buf, min_u64(len, 20));
	if (send(f->wire, buf, len, 0) < 0)
		fuzz_check(errno == EAGAIN || errno == EMSGSIZE || errno == ENOBUFS);
}

/* What the guest sends is read, or the port stays full. */
static void drain(struct fixture *f)
{
	uint8_t byte;
	ssize_t n;

	while ((n = recv(f->wire, &byte, 1, MSG_TRUNC)) >= 0)
		fuzz_check(n >= FRAME_MIN && (size_t)n <= FRAME_MAX);
}

static bool waiting(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

/* A turn of the thread: whatever is left undone has to have a reason, or it would spin. */
static void turn(struct fixture *f)
{
	struct pair *p = f->pair;

	if (!p->runs)
		return;
	p->more = false;
	pair_transmit(p);
	pair_receive(p);
	fuzz_check(!p->rx.q.broken == !f->broken[0] && !p->tx.q.broken == !f->broken[1]);
	fuzz_check(p->stash.nr <= STASH_CHAINS && p->stash.iov_nr <= STASH_IOV);
	fuzz_check(p->stash.nr <= p->rx.q.inflight || p->rx.q.broken);
	if (p->rx.on && !p->rx.q.broken && !p->more && !p->rx_starved &&
	    atomic_load(&dp_of(f->dp)->link_up))
		fuzz_check(!waiting(p->port_fd));
}

static void step(struct fixture *f, struct fuzz_in *in)
{
	uint8_t op = fuzz_u8(in);
	unsigned ring = op >> 7;
	struct fuzz_virtq *d = &f->drv[ring];
	virtq_base_t base;

	if (d->config.size == 0) /* such a ring never starts */
		op = 7;
	switch (op % 12) {
	case 0:
	case 1:
		fuzz_virtq_desc(d, in);
		break;
	case 2:
		fuzz_virtq_publish(d, in);
		break;
	case 3:
		fuzz_virtq_table(d, in);
		break;
	case 4: {
		uint64_t addr = guest_ram_addr(in);

		guest_ram_poke(&f->ram, in, addr, 1 + fuzz_u8(in) % 16);
		break;
	}
	case 5:
		frame(f, in);
		break;
	case 6:
		drain(f);
		f->pair->tx_blocked = false; /* as EPOLLOUT says */
		break;
	case 7:
		turn(f);
		break;
	case 8:
		if (f->pair->runs)
			pair_receive_kicked(f->pair);
		break;
	case 9:
		if (f->dp->ops->ring_stop(f->dp, ring, &base) == 0)
			start(f, ring, base);
		break;
	case 10:
		if (f->pair->runs) {
			f->pair->held_until = 0; /* if a frame is held, its time is over */
			pair_receive_expire(f->pair);
		}
		break;
	case 11:
		f->dp->ops->set_link(f->dp, ring);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fixture *f = calloc(1, sizeof(*f));

	fuzz_check(f);
	fixture_init(f, &in);
	while (fuzz_left(&in))
		step(f, &in);
	f->dp->ops->teardown(f->dp);
	fuzz_check(!f->pair->rx.on && !f->pair->tx.on && !f->pair->runs);
	f->dp->ops->destroy(f->dp);
	port_close(&f->port);
	close(f->wire);
	close(f->kick[0]);
	close(f->kick[1]);
	guest_ram_destroy(&f->ram);
	free(f);
	return 0;
}
