/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the datapath "vmm".
 *
 * A thread for each queue pair sleeps in epoll_wait() on the two kick eventfds and the port's fd.
 * Frames move by one readv() or writev() straight between the guest's buffers and the port; they
 * are never copied in here. The thread belongs to the pair's rings while it runs: starting or
 * stopping a ring stops the thread, changes what it works on, and starts it again.
 *
 * Transmit. Pop a chain, writev() it, push it; show the driver a batch at a time. While the thread
 * is at work kicks are off; when the queue looks empty they are turned on again, and it looks once
 * more, since a chain may have come in between. A port that is full (EAGAIN) keeps its frame in the
 * queue: the chain is put back and the thread waits until the port is writable.
 *
 * Receive. The length of the next frame is not known before it is read, so buffers are popped in
 * advance: `stash` holds chains, oldest first, whose buffers are laid out one behind the other in
 * one iovec array. A frame is read into the front of it and uses up as many chains as it needed
 * (VIRTIO_NET_F_MRG_RXBUF; without it a frame gets exactly one chain). What is left serves the next
 * frame, and is put back when the ring stops, so that its base is exact. Behind the last buffer is
 * a scratch area of our own: a frame that reaches it did not fit and is dropped, instead of
 * arriving cut short. With no buffers left the port is not watched: frames wait there, until the
 * driver's kick.
 *
 * Fairness. Either direction works on at most BATCH frames before the other has its turn; a
 * direction that has more to do says so, and the loop then looks at its fds without sleeping.
 *
 * Busy polling (poll_us). After the last work the thread goes on looking at queue and port for that
 * long, with kicks still off, before it sleeps: the kick and the wake-up are saved, a CPU is spent.
 */
#include "devices/net/datapath.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/port.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/loop.h"
#include "vmm/util.h"

#define BATCH 64 /* frames of one direction before the other one's turn */
#define HDR                                                                                   \
	PORT_VNET_HDR /* in front of each frame in the ring: VERSION_1 has always num_buffers \
	               */
#define FRAME_MAX    (65536 + HDR) /* the largest segmentation offload, with its Ethernet header */
#define FRAME_MIN    14            /* an Ethernet header */
#define STASH_CHAINS 256
#define STASH_IOV    (2 * VIRTQ_CHAIN_MAX)

struct stash_entry {
	struct virtq_chain chain;
	unsigned nr; /* iovecs */
};

struct dp_vmm;

struct pair {
	struct dp_vmm *dp;
	unsigned index;
	int port_fd;
	pthread_t thread;
	bool runs; /* the thread exists */
	struct loop loop;
	struct loop_source rx_kick, tx_kick, port;

	/* The thread's while it runs, the caller's otherwise. */
	bool rx_on, tx_on; /* the ring was started */
	struct datapath_ring rx_ring, tx_ring;
	struct virtq rx, tx;
	bool rx_starved; /* no buffers: the port is not watched, a kick is waited for */
	bool tx_blocked; /* the port is full */
	bool more;       /* a direction stopped for fairness only */
	struct datapath_stats rx_stats, tx_stats;

	/* Buffers popped for receiving. */
	struct stash_entry stash[STASH_CHAINS];
	unsigned stash_first, stash_nr;
	size_t stash_bytes;
	struct iovec iov[STASH_IOV];
	unsigned iov_first, iov_nr;
	uint8_t *scratch; /* FRAME_MAX bytes: the end of frames that are too long */
};

struct dp_vmm {
	struct datapath dp;
	struct datapath_vmm_config config;
	struct port *port;
	bool is_setup;
	bool mrg_rxbuf;
	uint64_t negotiated;
	const struct memory *mem;
	struct datapath_host host;
	atomic_bool link_up;
	struct pair *pairs;
};

static struct dp_vmm *dp_of(struct datapath *dp)
{
	return container_of(dp, struct dp_vmm, dp);
}

/* A counter with one writer that others may read at any time. */
static void count(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static void interrupt(struct pair *p, unsigned ring, const struct datapath_ring *r)
{
	if (r->call_fd >= 0)
		fd_signal(r->call_fd);
	else
		p->dp->host.interrupt(p->dp->host.opaque, ring);
}

static void flush(struct pair *p, bool transmit)
{
	struct virtq *q = transmit ? &p->tx : &p->rx;
	struct datapath_stats *s = transmit ? &p->tx_stats : &p->rx_stats;

	count(&s->batches, 1);
	if (virtq_flush(q))
		interrupt(p, 2 * p->index + transmit, transmit ? &p->tx_ring : &p->rx_ring);
}

/* --- Transmit --- */

/* The frame's parts in @c behind the virtio-net header, in place. Returns their number. */
static unsigned skip_header(struct virtq_chain *c, struct iovec **first)
{
	struct iovec *iov = c->iov;
	unsigned n = c->nr_out;
	size_t skip = HDR;

	while (n && iov->iov_len <= skip) {
		skip -= iov->iov_len;
		iov++;
		n--;
	}
	if (n) {
		iov->iov_base = (uint8_t *)iov->iov_base + skip;
		iov->iov_len -= skip;
	}
	*first = iov;
	return n;
}

/* Write one frame. 0: gone, one way or the other; -EAGAIN: the port is full. */
static int transmit_frame(struct pair *p, struct virtq_chain *c)
{
	struct dp_vmm *dp = p->dp;
	struct datapath_stats *s = &p->tx_stats;
	struct iovec *iov = c->iov;
	unsigned n = c->nr_out;
	ssize_t rc;

	if (c->out_len < HDR + FRAME_MIN || c->out_len > FRAME_MAX + FRAME_MIN) {
		count(&s->drop_size, 1);
		return 0;
	}
	if (p->port_fd < 0 || !atomic_load_explicit(&dp->link_up, memory_order_relaxed)) {
		count(&s->drop_link, 1);
		return 0;
	}
	if (dp->config.pcap)
		pcap_frame(dp->config.pcap, iov, n, HDR, c->out_len - HDR);
	if (!dp->port->vnet_hdr)
		n = skip_header(c, &iov);
	do
		rc = writev(p->port_fd, iov, (int)n);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return -EAGAIN;
	if (rc < 0) {
		count(&s->drop_port, 1);
		return 0;
	}
	count(&s->packets, 1);
	count(&s->bytes, c->out_len - HDR);
	return 0;
}

/* At most BATCH frames. True: there was something to do. */
static bool transmit(struct pair *p)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_chain c;
	unsigned done = 0;
	int rc = 0;

	if (!p->tx_on || p->tx_blocked || p->tx.broken)
		return false;
	while (done < BATCH && (rc = virtq_pop(&p->tx, &c, iov, VIRTQ_CHAIN_MAX)) == 1) {
		if (transmit_frame(p, &c) < 0) {
			virtq_unpop(&p->tx, &c);
			p->tx_blocked = true;
			loop_change(&p->port, p->port.events | EPOLLOUT);
			break;
		}
		virtq_push(&p->tx, &c, 0);
		done++;
	}
	if (done)
		flush(p, true);
	if (rc < 0)
		p->dp->host.broken(p->dp->host.opaque, 2 * p->index + 1, p->tx.broken);
	if (done == BATCH)
		p->more = true;
	return done != 0;
}

/* --- Receive --- */

/* Where the next chain's iovecs can go: behind the others, after moving these to the front if need
 * be. */
static struct iovec *stash_room(struct pair *p)
{
	if (p->iov_first + p->iov_nr + VIRTQ_CHAIN_MAX / 2 > STASH_IOV) {
		memmove(p->iov, p->iov + p->iov_first, p->iov_nr * sizeof(p->iov[0]));
		for (unsigned i = 0; i < p->stash_nr; i++)
			p->stash[(p->stash_first + i) % STASH_CHAINS].chain.iov -= p->iov_first;
		p->iov_first = 0;
	}
	return p->iov + p->iov_first + p->iov_nr;
}

static struct stash_entry *stash_at(struct pair *p, unsigned i)
{
	return &p->stash[(p->stash_first + i) % STASH_CHAINS];
}

/* Is one more chain worth popping before the next frame is read? */
static bool stash_wants(const struct pair *p)
{
	if (!p->dp->mrg_rxbuf)
		return p->stash_nr == 0;
	return p->stash_bytes < FRAME_MAX && p->stash_nr < STASH_CHAINS &&
	       p->iov_nr + VIRTQ_CHAIN_MAX / 2 <= VIRTQ_CHAIN_MAX;
}

/* Pop buffers for the next frame. 0 or -EPROTO: the queue is broken. */
static int stash_fill(struct pair *p)
{
	while (stash_wants(p)) {
		struct stash_entry *e = stash_at(p, p->stash_nr);
		int rc = virtq_pop(&p->rx, &e->chain, stash_room(p), VIRTQ_CHAIN_MAX / 2);

		if (rc <= 0)
			return rc;
		if (e->chain.nr_out || e->chain.in_len < HDR) {
			p->rx.broken =
				"a receive buffer that is readable, or too short for a header";
			return -EPROTO;
		}
		e->nr = e->chain.nr_in;
		p->stash_nr++;
		p->stash_bytes += e->chain.in_len;
		p->iov_nr += e->nr;
	}
	return 0;
}

/* Give all unused buffers back to the queue, the newest first. */
static void stash_return(struct pair *p)
{
	while (p->stash_nr) {
		struct stash_entry *e = stash_at(p, --p->stash_nr);

		virtq_unpop(&p->rx, &e->chain);
	}
	p->stash_bytes = 0;
	p->iov_first = p->iov_nr = 0;
}

/* The oldest chain holds @written bytes of a frame: give it to the driver. */
static void stash_push(struct pair *p, uint32_t written)
{
	struct stash_entry *e = stash_at(p, 0);

	virtq_push(&p->rx, &e->chain, written);
	p->stash_first = (p->stash_first + 1) % STASH_CHAINS;
	p->stash_nr--;
	p->stash_bytes -= e->chain.in_len;
	p->iov_first += e->nr;
	p->iov_nr -= e->nr;
}

/*
 * Read one frame into the stash. Bytes with the header, 0: none there, -EMSGSIZE: it did not fit.
 * A port without headers gets the place behind one, which is cleared.
 */
static ssize_t read_frame(struct pair *p)
{
	struct iovec vec[VIRTQ_CHAIN_MAX + 1];
	size_t room = p->dp->mrg_rxbuf ? p->stash_bytes : stash_at(p, 0)->chain.in_len;
	unsigned n = p->dp->mrg_rxbuf ? p->iov_nr : stash_at(p, 0)->nr;
	static const uint8_t zero[HDR];
	struct iovec *first = vec;
	ssize_t len;

	memcpy(vec, p->iov + p->iov_first, n * sizeof(vec[0]));
	vec[n] = (struct iovec){.iov_base = p->scratch, .iov_len = FRAME_MAX};
	if (!p->dp->port->vnet_hdr) {
		struct virtq_chain c = {.iov = vec, .nr_out = n + 1};

		iov_copy_in(vec, n, 0, zero, HDR);
		n = skip_header(&c, &first) - 1;
		room -= HDR;
	}
	do
		len = readv(p->port_fd, first, (int)n + 1);
	while (len < 0 && errno == EINTR);
	if (len <= 0)
		return 0;
	if ((size_t)len > room)
		return -EMSGSIZE;
	return p->dp->port->vnet_hdr ? len : len + HDR;
}

/* Is the frame at the front of the stash for this NIC? */
static bool accepted(struct pair *p, size_t len)
{
	const struct datapath_host *host = &p->dp->host;
	uint8_t head[FRAME_MIN + 4];
	size_t n;

	if (!host->accept)
		return true;
	n = iov_copy_out(p->iov + p->iov_first, p->iov_nr, HDR, head,
	                 min_u64(sizeof(head), len - HDR));
	return host->accept(host->opaque, head, n);
}

/* A frame of @len bytes (header included) is in the stash: give its chains to the driver. */
static void deliver(struct pair *p, size_t len)
{
	struct virtq_chain *head = &stash_at(p, 0)->chain;
	uint32_t left = (uint32_t)len;
	uint16_t chains = 0;
	le16 num_buffers;

	for (uint32_t n = left; n; chains++)
		n -= (uint32_t)min_u64(n, stash_at(p, chains)->chain.in_len);
	/* 5.1.6.4: without MRG_RXBUF it is 1, too. */
	num_buffers = le16_of(chains);
	iov_copy_in(head->iov, head->nr_in, offsetof(struct virtio_net_hdr_v1, num_buffers),
	            &num_buffers, sizeof(num_buffers));
	while (left) {
		uint32_t part = (uint32_t)min_u64(left, stash_at(p, 0)->chain.in_len);

		stash_push(p, part);
		left -= part;
	}
	count(&p->rx_stats.packets, 1);
	count(&p->rx_stats.bytes, len - HDR);
}

/* Read one frame and deal with it. 1: did; 0: nothing there, or no buffers; negative: broken. */
static int receive_frame(struct pair *p)
{
	struct datapath_stats *s = &p->rx_stats;
	ssize_t len;
	int rc = stash_fill(p);

	if (rc < 0)
		return rc;
	if (!p->stash_nr) {
		p->rx_starved = true;
		return 0;
	}
	len = read_frame(p);
	if (len == 0)
		return 0;
	if (len == -EMSGSIZE || len < HDR + FRAME_MIN) {
		/* With fewer buffers than a frame may need, it may fit once the driver adds some.
		 */
		count(&s->drop_size, 1);
		return 1;
	}
	if (!accepted(p, (size_t)len)) {
		count(&s->drop_filter, 1);
		return 1;
	}
	if (p->dp->config.pcap)
		pcap_frame(p->dp->config.pcap, p->iov + p->iov_first, p->iov_nr, HDR,
		           (size_t)len - HDR);
	deliver(p, (size_t)len);
	return 1;
}

/* At most BATCH frames. True: there was something to do. */
static bool receive(struct pair *p)
{
	uint64_t before = p->rx_stats.packets;
	unsigned done = 0;
	int rc = 0;

	if (!p->rx_on || p->rx_starved || p->rx.broken || p->port_fd < 0 ||
	    !atomic_load_explicit(&p->dp->link_up, memory_order_relaxed))
		return false;
	while (done < BATCH && (rc = receive_frame(p)) == 1)
		done++;
	if (p->rx_stats.packets != before)
		flush(p, false);
	if (rc < 0)
		p->dp->host.broken(p->dp->host.opaque, 2 * p->index, p->rx.broken);
	/* Out of buffers: only the driver's kick helps. It may have added some while we looked. */
	if (p->rx_starved && virtq_kick_enable(&p->rx)) {
		virtq_kick_disable(&p->rx);
		p->rx_starved = false;
		p->more = true;
	}
	if (done == BATCH)
		p->more = true;
	return done != 0;
}

/* --- The thread --- */

/* Watch the port for what can be used now. */
static void watch_port(struct pair *p)
{
	bool in = p->rx_on && !p->rx_starved && !p->rx.broken &&
	          atomic_load_explicit(&p->dp->link_up, memory_order_relaxed);

	if (p->port_fd >= 0)
		loop_change(&p->port, (in ? (uint32_t)EPOLLIN : 0) |
		                              (p->tx_blocked ? (uint32_t)EPOLLOUT : 0));
}

static void on_rx_kick(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, rx_kick);

	(void)events;
	count(&p->rx_stats.wakeups, 1);
	if (p->rx_starved) {
		virtq_kick_disable(&p->rx);
		p->rx_starved = false;
	}
	receive(p);
}

static void on_tx_kick(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, tx_kick);

	(void)events;
	count(&p->tx_stats.wakeups, 1);
	transmit(p);
}

static void on_port(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, port);

	if (events & EPOLLOUT) {
		p->tx_blocked = false;
		transmit(p);
	}
	if (events & EPOLLIN) {
		count(&p->rx_stats.wakeups, 1);
		receive(p);
	}
	if ((events & (EPOLLERR | EPOLLHUP)) && !(events & EPOLLIN))
		loop_remove(&p->port); /* the other end is gone for good; it would spin */
}

static uint64_t now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

/* Look for work without sleeping until there has been none for poll_us. */
static void busy_poll(struct pair *p)
{
	uint64_t last = now_us();

	while (!p->loop.stopping) {
		bool worked = transmit(p);

		worked |= receive(p);
		if (worked)
			last = now_us();
		else if (now_us() - last >= p->dp->config.poll_us)
			return;
	}
}

/* Before sleeping: have the driver kick again. True: something came in between. */
static bool arm(struct pair *p)
{
	if (p->tx_on && !p->tx_blocked && !p->tx.broken && virtq_kick_enable(&p->tx)) {
		virtq_kick_disable(&p->tx);
		transmit(p);
		return true;
	}
	return false;
}

static void *pair_thread(void *arg)
{
	struct pair *p = arg;
	char name[16];

	snprintf(name, sizeof(name), "net-pair%u", p->index);
	pthread_setname_np(pthread_self(), name);
	/* The rings may hold chains from before we started. */
	p->more = true;
	while (!p->loop.stopping) {
		bool more = p->more;

		p->more = false;
		if (more) {
			transmit(p);
			receive(p);
		} else if (p->dp->config.poll_us) {
			busy_poll(p);
		}
		watch_port(p);
		if (!p->more && !arm(p)) {
			if (loop_once(&p->loop, -1) < 0)
				break;
			if (p->tx_on)
				virtq_kick_disable(&p->tx);
		} else {
			loop_once(&p->loop, 0);
		}
	}
	return NULL;
}

static void pair_stop(struct pair *p)
{
	if (!p->runs)
		return;
	loop_stop(&p->loop);
	pthread_join(p->thread, NULL);
	p->runs = false;
	loop_remove(&p->rx_kick);
	loop_remove(&p->tx_kick);
	loop_remove(&p->port);
	loop_destroy(&p->loop);
	if (p->rx_on)
		stash_return(p);
}

/* Kicks are edge-triggered: every notification is one event, and nobody has to read the eventfd. */
static int pair_start(struct pair *p, struct err *err)
{
	int rc;

	if (!p->rx_on && !p->tx_on)
		return 0;
	rc = loop_init(&p->loop);
	if (rc < 0)
		return err_errno(err, rc, "queue pair %u", p->index);
	if (p->rx_on)
		rc = loop_add(&p->loop, &p->rx_kick, p->rx_ring.kick_fd, EPOLLIN | EPOLLET,
		              on_rx_kick);
	if (rc == 0 && p->tx_on)
		rc = loop_add(&p->loop, &p->tx_kick, p->tx_ring.kick_fd, EPOLLIN | EPOLLET,
		              on_tx_kick);
	if (rc == 0 && p->port_fd >= 0)
		rc = loop_add(&p->loop, &p->port, p->port_fd, 0, on_port);
	p->rx_starved = p->tx_blocked = false;
	if (rc == 0)
		rc = -pthread_create(&p->thread, NULL, pair_thread, p);
	p->runs = rc == 0;
	if (rc < 0) {
		loop_destroy(&p->loop);
		p->rx_kick.loop = p->tx_kick.loop = p->port.loop = NULL;
		return err_errno(err, rc, "queue pair %u: its thread", p->index);
	}
	return 0;
}

/* --- The datapath --- */

static uint64_t vmm_features(const struct datapath *dp)
{
	const struct dp_vmm *d = container_of(dp, const struct dp_vmm, dp);
	uint64_t f = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |
	             BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_NET_F_MRG_RXBUF);

	if (d->config.packed)
		f |= BIT64(VIRTIO_F_RING_PACKED);
	return f | d->port->host_offloads | d->port->guest_offloads;
}

static int vmm_setup(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
                     const struct datapath_host *host, struct err *err)
{
	struct dp_vmm *d = dp_of(dp);

	(void)err;
	d->negotiated = negotiated;
	d->mrg_rxbuf = negotiated & BIT64(VIRTIO_NET_F_MRG_RXBUF);
	d->mem = mem;
	d->host = *host;
	d->is_setup = true;
	return 0;
}

static int vmm_ring_start(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
                          struct err *err)
{
	struct dp_vmm *d = dp_of(dp);
	bool transmits = index & 1;
	struct pair *p;
	struct virtq q;
	int rc;

	if (!d->is_setup || index / 2 >= d->config.pairs)
		return err_set(err, -EINVAL, "there is no ring %u", index);
	p = &d->pairs[index / 2];
	rc = virtq_start(&q, &ring->config, virtq_features(d->negotiated), ring->base, d->mem, err);
	if (rc < 0)
		return rc;
	pair_stop(p);
	virtq_kick_disable(&q);
	if (transmits) {
		p->tx = q;
		p->tx_ring = *ring;
		p->tx_on = true;
	} else {
		p->rx = q;
		p->rx_ring = *ring;
		p->rx_on = true;
	}
	rc = pair_start(p, err);
	if (rc < 0)
		*(transmits ? &p->tx_on : &p->rx_on) = false;
	return rc;
}

static int vmm_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	struct dp_vmm *d = dp_of(dp);
	bool transmits = index & 1;
	struct pair *p;
	bool *on;

	if (index / 2 >= d->config.pairs)
		return -EINVAL;
	p = &d->pairs[index / 2];
	on = transmits ? &p->tx_on : &p->rx_on;
	if (!*on)
		return -EINVAL;
	pair_stop(p);
	*on = false;
	*base = virtq_base(transmits ? &p->tx : &p->rx);
	return pair_start(p, NULL);
}

static void vmm_teardown(struct datapath *dp)
{
	struct dp_vmm *d = dp_of(dp);
	virtq_base_t base;

	for (unsigned i = 0; i < 2 * d->config.pairs; i++)
		vmm_ring_stop(dp, i, &base);
	d->is_setup = false;
}

static int vmm_set_offloads(struct datapath *dp, uint64_t guest_offloads)
{
	struct port *port = dp_of(dp)->port;

	return port->ops->set_offloads ? port->ops->set_offloads(port, guest_offloads) : 0;
}

static int vmm_set_pairs(struct datapath *dp, unsigned pairs)
{
	struct port *port = dp_of(dp)->port;

	return port->ops->set_queues ? port->ops->set_queues(port, pairs) : 0;
}

static void vmm_set_link(struct datapath *dp, bool up)
{
	struct dp_vmm *d = dp_of(dp);

	atomic_store_explicit(&d->link_up, up, memory_order_relaxed);
	/* Threads look at the link before they sleep: restart them, so that the port is watched
	 * again. */
	for (unsigned i = 0; i < d->config.pairs; i++) {
		pair_stop(&d->pairs[i]);
		pair_start(&d->pairs[i], NULL);
	}
}

static void vmm_stats(const struct datapath *dp, unsigned ring, struct datapath_stats *stats)
{
	const struct dp_vmm *d = container_of(dp, const struct dp_vmm, dp);
	const struct pair *p = &d->pairs[ring / 2];

	*stats = ring & 1 ? p->tx_stats : p->rx_stats;
	stats->queue = ring & 1 ? p->tx.stats : p->rx.stats;
}

static void vmm_destroy(struct datapath *dp)
{
	struct dp_vmm *d = dp_of(dp);

	vmm_teardown(dp);
	for (unsigned i = 0; d->pairs && i < d->config.pairs; i++)
		free(d->pairs[i].scratch);
	free(d->pairs);
	port_close(d->port);
	pcap_close(d->config.pcap);
	free(d);
}

static const struct datapath_ops vmm_ops = {
	.name = "vmm",
	.features = vmm_features,
	.setup = vmm_setup,
	.teardown = vmm_teardown,
	.ring_start = vmm_ring_start,
	.ring_stop = vmm_ring_stop,
	.set_offloads = vmm_set_offloads,
	.set_pairs = vmm_set_pairs,
	.set_link = vmm_set_link,
	.stats = vmm_stats,
	.destroy = vmm_destroy,
};

int datapath_vmm_create(struct datapath **dp, const struct datapath_vmm_config *config,
                        struct err *err)
{
	struct dp_vmm *d = calloc(1, sizeof(*d));
	bool whole = d != NULL;

	if (!d) {
		port_close(config->port);
		pcap_close(config->pcap);
		return err_errno(err, -ENOMEM, "datapath");
	}
	d->dp.ops = &vmm_ops;
	d->config = *config;
	d->port = config->port;
	atomic_init(&d->link_up, true);
	d->pairs = calloc(config->pairs, sizeof(d->pairs[0]));
	for (unsigned i = 0; d->pairs && i < config->pairs; i++) {
		struct pair *p = &d->pairs[i];

		p->dp = d;
		p->index = i;
		p->port_fd = i < d->port->queues ? d->port->fds[i] : -1;
		p->scratch = malloc(FRAME_MAX);
		whole = whole && p->scratch;
	}
	if (!d->pairs || !whole) {
		vmm_destroy(&d->dp);
		return err_errno(err, -ENOMEM, "datapath");
	}
	*dp = &d->dp;
	return 0;
}
