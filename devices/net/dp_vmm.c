/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the datapath "vmm".
 *
 * A thread for each queue pair sleeps in epoll_wait() on the two kick eventfds and the port's fd.
 * Frames move by one readv() or writev() straight between the guest's buffers and the port. The
 * thread belongs to the pair's rings while it runs: starting or stopping a ring stops the thread,
 * changes what it works on, and starts it again.
 *
 * Transmit (dp_vmm_tx.c). Pop a chain, writev() it, push it; show the driver a batch at a time.
 * While the thread is at work kicks are off; when the queue looks empty they are turned on again,
 * and it looks once more, since a chain may have come in between. A port that is full (EAGAIN)
 * keeps its frame in the queue: the chain is put back and the thread waits until the port is
 * writable.
 *
 * Receive (dp_vmm_rx.c). With no buffers left the port is not watched: frames wait there, until the
 * driver's kick.
 *
 * Batches. What was used is shown to the driver at the end of a turn, or before that when it is a
 * quarter of the ring: so the driver refills while we go on, and neither waits for the other. A
 * ring of 256 buffers of 4 KiB holds 15 segments of 64 KiB, far less than a turn.
 *
 * Fairness. Either direction works on at most PAIR_BATCH frames before the other has its turn; a
 * direction that has more to do says so, and the loop then looks at its fds without sleeping.
 *
 * When to sleep, and for whom to make way: dp_vmm_pace.c.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "devices/net/dp_features.h"
#include "devices/net/dp_vmm_priv.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/trace.h"
#include "vmm/util.h"

static struct dp_vmm *dp_of(struct datapath *dp)
{
	return container_of(dp, struct dp_vmm, dp);
}

void pair_flush(struct pair *p, struct pair_ring *r)
{
	unsigned size = 31 - (unsigned)__builtin_clz(r->unflushed | 1);

	if (size >= DATAPATH_BATCH_SIZES)
		size = DATAPATH_BATCH_SIZES - 1;
	counter_add(&r->stats.batch_sizes[size], 1);
	r->unflushed = 0;
	r->flushed_bytes = r->stats.bytes;
	counter_add(&r->stats.batches, 1);
	if (!virtq_flush(&r->q))
		return;
	if (r->ring.call_fd >= 0) {
		TRACE(irq_call, r->q.dev, r->index, "interrupt: the call eventfd is written");
		fd_signal(r->ring.call_fd);
	} else {
		p->dp->host.interrupt(p->dp->host.opaque, r->index);
	}
}

void pair_pushed(struct pair *p, struct pair_ring *r, unsigned chains)
{
	r->unflushed += chains;
	if (r->unflushed >= r->q.size / 4)
		pair_flush(p, r);
}

void pair_broken(struct pair *p, struct pair_ring *r)
{
	p->dp->host.broken(p->dp->host.opaque, r->index, r->q.broken);
}

unsigned pair_skip_header(struct iovec **iov, unsigned n)
{
	size_t skip = PAIR_HDR;

	for (; n && (*iov)->iov_len <= skip; n--, (*iov)++)
		skip -= (*iov)->iov_len;
	if (n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + skip;
		(*iov)->iov_len -= skip;
	}
	return n;
}

/* --- The thread --- */

void pair_watch_port(struct pair *p)
{
	bool in = p->rx.on && !p->rx_starved && !p->rx.q.broken &&
	          atomic_load_explicit(&p->dp->link_up, memory_order_relaxed);

	if (p->port_fd >= 0 && !p->port_gone)
		loop_change(&p->port, (in ? (uint32_t)EPOLLIN : 0) |
		                              (p->tx_blocked ? (uint32_t)EPOLLOUT : 0));
}

static void on_rx_kick(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, rx_kick);

	(void)events;
	TRACE(kick_seen, p->rx.q.dev, p->rx.index, "woken by the kick eventfd");
	pair_woken(p, PAIR_RX_KICK);
	counter_add(&p->rx.stats.wakeups, 1);
	pair_receive_kicked(p);
}

static void on_tx_kick(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, tx_kick);

	(void)events;
	TRACE(kick_seen, p->tx.q.dev, p->tx.index, "woken by the kick eventfd");
	pair_woken(p, PAIR_TX_KICK);
	counter_add(&p->tx.stats.wakeups, 1);
	pair_transmit(p);
}

/* An error that is reported once (a datagram socket's peer was away) goes by being asked for. What
 * stays would make the loop spin: an interface that was deleted, the other end closed. */
static void port_trouble(struct pair *p, uint32_t events)
{
	socklen_t len = sizeof(int);
	int error;

	if (!(events & EPOLLHUP) && getsockopt(p->port_fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0)
		return;
	log_warn("%s: its other end is gone for good", p->dp->port->kind);
	p->port_gone = true;
	p->tx_blocked = false; /* what is written now fails, and is counted */
	loop_remove(&p->port);
}

static void on_port(struct loop_source *src, uint32_t events)
{
	struct pair *p = container_of(src, struct pair, port);

	TRACE(port_seen, p->rx.q.dev, events & EPOLLIN ? p->rx.index : p->tx.index,
	      "woken by the port: epoll events %x", events);
	pair_woken(p, PAIR_PORT);
	if (events & EPOLLOUT) {
		p->tx_blocked = false;
		pair_transmit(p);
	}
	if (events & EPOLLIN) {
		counter_add(&p->rx.stats.wakeups, 1);
		pair_receive(p);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		port_trouble(p, events);
	}
}

/* Before sleeping: have the driver kick again. True: something came in between. */
static bool arm(struct pair *p)
{
	if (p->tx.on && !p->tx_blocked && !p->tx.q.broken && virtq_kick_enable(&p->tx.q)) {
		virtq_kick_disable(&p->tx.q);
		pair_transmit(p);
		return true;
	}
	return false;
}

/* Sleep until there is something to do, and do it. False: the thread cannot go on. */
static bool sleep_and_serve(struct pair *p)
{
	int timeout = -1;

	if (p->held) {
		uint64_t now = clock_us();

		timeout = now < p->held_until ? (int)((p->held_until - now) / 1000) + 1 : 0;
	}
	pair_sleeps(p);
	if (loop_once(&p->loop, timeout) < 0)
		return false;
	pair_slept(p);
	return true;
}

static void *pair_thread(void *arg)
{
	struct pair *p = arg;
	char name[16];

	snprintf(name, sizeof(name), "net-pair%u", p->index);
	pthread_setname_np(pthread_self(), name);
	pair_pace_start(p);
	/* The rings may hold chains from before we started. */
	p->more = true;
	while (!p->loop.stopping) {
		bool more = p->more;

		pair_receive_expire(p);
		p->more = false;
		if (more) {
			pair_transmit(p);
			pair_receive(p);
		} else if (p->dp->config.poll_us) {
			pair_busy_poll(p);
		}
		pair_watch_port(p);
		if (p->more) {
			loop_once(&p->loop, 0);
		} else if (pair_linger(p)) {
			/* The end of starving is only told by an event. */
			if (p->rx_starved)
				loop_once(&p->loop, 0);
		} else if (arm(p) || p->more) {
			loop_once(&p->loop, 0);
		} else if (!sleep_and_serve(p)) {
			break;
		}
	}
	pair_show(p);
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
	if (p->rx.on)
		pair_receive_settle(p);
}

/* Kicks are edge-triggered: every notification is one event, and nobody has to read the eventfd. */
static int pair_start(struct pair *p, struct err *err)
{
	int rc;

	if (!p->rx.on && !p->tx.on)
		return 0;
	rc = loop_init(&p->loop);
	if (rc < 0)
		return err_errno(err, rc, "queue pair %u", p->index);
	if (p->rx.on)
		rc = loop_add(&p->loop, &p->rx_kick, p->rx.ring.kick_fd, EPOLLIN | EPOLLET,
		              on_rx_kick);
	if (rc == 0 && p->tx.on)
		rc = loop_add(&p->loop, &p->tx_kick, p->tx.ring.kick_fd, EPOLLIN | EPOLLET,
		              on_tx_kick);
	if (rc == 0 && p->port_fd >= 0 && !p->port_gone)
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

/* After a change to one ring, or to the port. The driver cannot be refused that. */
static void pair_restart(struct pair *p)
{
	struct err err = {0};

	if (pair_start(p, &err) < 0)
		p->dp->host.broken(p->dp->host.opaque, (p->rx.on ? &p->rx : &p->tx)->index,
		                   err.msg);
}

/* --- The datapath --- */

static uint64_t vmm_features(const struct datapath *dp)
{
	const struct dp_vmm *d = container_of(dp, const struct dp_vmm, dp);
	const struct net_datapath_features *can = &net_datapath_features[NET_DATAPATH_VMM];
	uint64_t of_port = d->port->host_offloads | d->port->guest_offloads;
	uint64_t f = can->rings | (of_port & can->offloads);

	return d->config.packed ? f : f & ~BIT64(VIRTIO_F_RING_PACKED);
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

/* NULL: there is no such ring. */
static struct pair_ring *ring_of(struct dp_vmm *d, unsigned index, struct pair **pair)
{
	if (index / 2 >= d->config.pairs)
		return NULL;
	*pair = &d->pairs[index / 2];
	return index & 1 ? &(*pair)->tx : &(*pair)->rx;
}

static int vmm_ring_start(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
                          struct err *err)
{
	struct dp_vmm *d = dp_of(dp);
	struct pair *p;
	struct pair_ring *r = ring_of(d, index, &p);
	struct virtq q;
	int rc;

	if (!d->is_setup || !r)
		return err_set(err, -EINVAL, "there is no ring %u", index);
	rc = virtq_start(&q, &ring->config, virtq_features(d->negotiated), ring->base, d->mem, err);
	if (rc < 0)
		return rc;
	pair_stop(p);
	virtq_kick_disable(&q);
	q.stats = r->q.stats; /* they are the NIC's, and go on */
	r->q = q;
	r->q.dev = ring->dev;
	r->q.ring = index;
	r->ring = *ring;
	r->on = true;
	if (r == &p->rx)
		pair_receive_begin(p);
	rc = pair_start(p, err);
	if (rc < 0 && r == &p->rx)
		pair_receive_keep(p);
	if (rc < 0)
		r->on = false;
	return rc;
}

static int vmm_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	struct dp_vmm *d = dp_of(dp);
	struct pair *p;
	struct pair_ring *r = ring_of(d, index, &p);

	if (!r || !r->on)
		return -EINVAL;
	pair_stop(p);
	if (r == &p->rx)
		pair_receive_end(p);
	r->on = false;
	*base = virtq_base(&r->q);
	pair_restart(p);
	return 0;
}

static void vmm_teardown(struct datapath *dp)
{
	struct dp_vmm *d = dp_of(dp);
	virtq_base_t base;

	for (unsigned i = 0; i < 2 * d->config.pairs; i++)
		vmm_ring_stop(dp, i, &base);
	/* In a switch the next one has taken it by now, if that reads this port. */
	for (unsigned i = 0; d->is_setup && i < d->config.pairs; i++)
		if (port_take_kept(d->port, i, NULL))
			counter_add(&d->pairs[i].rx.stats.drop_size, 1);
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

	if (atomic_exchange_explicit(&d->link_up, up, memory_order_relaxed) == up)
		return;
	/* Threads look at the link before they sleep: restart them, so that the port is watched
	 * again. */
	for (unsigned i = 0; i < d->config.pairs; i++) {
		pair_stop(&d->pairs[i]);
		pair_restart(&d->pairs[i]);
	}
}

static void vmm_stats(const struct datapath *dp, unsigned ring, struct datapath_stats *stats)
{
	const struct dp_vmm *d = container_of(dp, const struct dp_vmm, dp);
	const struct pair *p = &d->pairs[ring / 2];
	const struct pair_ring *r = ring & 1 ? &p->tx : &p->rx;

	counters_read(stats, &r->stats, sizeof(*stats));
	counters_read(&stats->queue, &r->q.stats, sizeof(stats->queue));
}

static int vmm_position(const struct datapath *dp, unsigned ring, virtq_base_t *base)
{
	const struct dp_vmm *d = container_of(dp, const struct dp_vmm, dp);
	const struct pair *p = &d->pairs[ring / 2];

	*base = virtq_peek(ring & 1 ? &p->tx.q : &p->rx.q);
	return 0;
}

static void vmm_destroy(struct datapath *dp)
{
	struct dp_vmm *d = dp_of(dp);

	vmm_teardown(dp);
	for (unsigned i = 0; d->pairs && i < d->config.pairs; i++)
		free(d->pairs[i].spill);
	free(d->pairs);
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
	.position = vmm_position,
	.destroy = vmm_destroy,
};

int datapath_vmm_create(struct datapath **dp, const struct datapath_vmm_config *config,
                        struct err *err)
{
	struct dp_vmm *d = calloc(1, sizeof(*d));
	bool whole = d != NULL;

	if (!d)
		return err_errno(err, -ENOMEM, "datapath");
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
		p->rx.index = 2 * i;
		p->tx.index = 2 * i + 1;
		p->spill = malloc(2 * (size_t)FRAME_MAX);
		whole = whole && p->spill;
	}
	if (!d->pairs || !whole) {
		vmm_destroy(&d->dp);
		return err_errno(err, -ENOMEM, "datapath");
	}
	*dp = &d->dp;
	return 0;
}
