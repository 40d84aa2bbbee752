/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames from the guest to the port.
 *
 * Ring and frames were written by another CPU, and each first look at a cache line of theirs waits
 * for it. Chains are therefore popped AHEAD at a time, so that the waits for the ring overlap, and
 * the beginnings of their frames are on the way while the first ones are written. What the port has
 * no room for goes back into the ring, the newest first.
 */
#include <errno.h>
#include <unistd.h>

#include "devices/net/dp_vmm_priv.h"
#include "devices/net/pcap.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define SHOW_LATER_BYTES 8192 /* of frames that were sent; who sends more may wait for these */

#define AHEAD      16
#define CACHE_LINE 64

/* A single buffer is the usual case, and costs the kernel less as one. */
static ssize_t write_frame(int fd, const struct iovec *iov, unsigned n)
{
	ssize_t rc;

	do
		rc = n == 1 ? write(fd, iov->iov_base, iov->iov_len) : writev(fd, iov, (int)n);
	while (rc < 0 && errno == EINTR);
	return rc;
}

/* Write one frame. 0: gone, one way or the other; -EAGAIN: the port is full. */
static int transmit_frame(struct pair *p, struct virtq_chain *c)
{
	struct datapath_stats *s = &p->tx.stats;
	struct dp_vmm *dp = p->dp;
	struct iovec *iov = c->iov;
	unsigned n = c->nr_out;
	ssize_t rc;

	if (c->out_len < PAIR_HDR + FRAME_MIN || c->out_len > FRAME_MAX) {
		counter_add(&s->drop_size, 1);
		TRACE(frame_drop, p->tx.q.dev, p->tx.index, "dropped: a frame of %d bytes",
		      c->out_len);
		return 0;
	}
	if (p->port_fd < 0 || !atomic_load_explicit(&dp->link_up, memory_order_relaxed)) {
		counter_add(&s->drop_link, 1);
		TRACE(frame_drop, p->tx.q.dev, p->tx.index,
		      "dropped, %d bytes: link down, or a port that leads nowhere", c->out_len);
		return 0;
	}
	if (!dp->port->vnet_hdr)
		n = pair_skip_header(&iov, n);
	rc = write_frame(p->port_fd, iov, n);
	if (rc < 0 && (errno == EAGAIN || errno == ENOBUFS)) {
		TRACE(port_full, p->tx.q.dev, p->tx.index,
		      "the port is full: the frame stays in the ring");
		return -EAGAIN;
	}
	/* What was not sent either: a record of what the guest wanted. */
	if (dp->config.pcap)
		pcap_frame(dp->config.pcap, iov, n, dp->port->vnet_hdr ? PAIR_HDR : 0,
		           c->out_len - PAIR_HDR);
	TRACE(port_write, p->tx.q.dev, p->tx.index, "%d bytes in %d parts written to the port: %d",
	      c->out_len, n, rc < 0 ? -errno : rc);
	if (rc < 0) {
		counter_add(&s->drop_port, 1);
		return 0;
	}
	counter_add(&s->packets, 1);
	counter_add(&s->bytes, c->out_len - PAIR_HDR);
	return 0;
}

/* Chains taken off the ring together, and their iovecs. */
struct ahead {
	struct virtq_chain chains[AHEAD];
	struct iovec iov[2 * VIRTQ_CHAIN_MAX];
};

/* Pop at most @max chains; their number. There is always room for one of the longest kind. */
static unsigned take(struct pair *p, struct ahead *a, unsigned max)
{
	unsigned n = 0, used = 0;

	while (n < max && used <= VIRTQ_CHAIN_MAX) {
		struct virtq_chain *c = &a->chains[n];

		if (virtq_pop(&p->tx.q, c, a->iov + used, VIRTQ_CHAIN_MAX) != 1)
			break;
		prefetch_read(c->iov->iov_base);
		prefetch_read((uint8_t *)c->iov->iov_base + CACHE_LINE);
		used += c->nr_out + c->nr_in;
		n++;
	}
	return n;
}

/* Write @n chains. How many are done; the others are back in the ring, and the port is full. */
static unsigned transmit_chains(struct pair *p, struct virtq_chain *chains, unsigned n)
{
	unsigned i = 0;

	for (; i < n; i++) {
		if (transmit_frame(p, &chains[i]) < 0) {
			p->tx_blocked = true;
			break;
		}
		virtq_push(&p->tx.q, &chains[i], 0);
		pair_pushed(p, &p->tx, 1);
	}
	for (unsigned left = n; left > i; left--)
		virtq_unpop(&p->tx.q, &chains[left - 1]);
	return i;
}

bool pair_transmit(struct pair *p)
{
	struct virtq *q = &p->tx.q;
	unsigned done = 0, n;
	struct ahead a;

	if (!p->tx.on || p->tx_blocked || q->broken)
		return false;
	while (done < PAIR_BATCH && !p->tx_blocked &&
	       (n = take(p, &a, (unsigned)min_u64(AHEAD, PAIR_BATCH - done))))
		done += transmit_chains(p, a.chains, n);
	if (p->tx.unflushed && !(p->pace.show_later && !p->tx_blocked &&
	                         p->tx.stats.bytes - p->tx.flushed_bytes < SHOW_LATER_BYTES))
		pair_flush(p, &p->tx);
	if (q->broken)
		pair_broken(p, &p->tx);
	if (done == PAIR_BATCH)
		p->more = true;
	return done != 0;
}
