/* SPDX-License-Identifier: BSD-2-Clause */
/* dp_vmm_tx: frames from the guest to the port. See dp_vmm.c. */
#include <errno.h>
#include <sys/epoll.h>

#include "devices/net/dp_vmm_priv.h"
#include "vmm/util.h"

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
		return 0;
	}
	if (p->port_fd < 0 || !atomic_load_explicit(&dp->link_up, memory_order_relaxed)) {
		counter_add(&s->drop_link, 1);
		return 0;
	}
	if (dp->config.pcap)
		pcap_frame(dp->config.pcap, iov, n, PAIR_HDR, c->out_len - PAIR_HDR);
	if (!dp->port->vnet_hdr)
		n = pair_skip_header(&iov, n);
	do
		rc = writev(p->port_fd, iov, (int)n);
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return -EAGAIN;
	if (rc < 0) {
		counter_add(&s->drop_port, 1);
		return 0;
	}
	counter_add(&s->packets, 1);
	counter_add(&s->bytes, c->out_len - PAIR_HDR);
	return 0;
}

bool pair_transmit(struct pair *p)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq *q = &p->tx.q;
	struct virtq_chain c;
	unsigned done = 0;
	int rc = 0;

	if (!p->tx.on || p->tx_blocked || q->broken)
		return false;
	while (done < PAIR_BATCH && (rc = virtq_pop(q, &c, iov, VIRTQ_CHAIN_MAX)) == 1) {
		if (transmit_frame(p, &c) < 0) {
			virtq_unpop(q, &c);
			p->tx_blocked = true;
			break;
		}
		virtq_push(q, &c, 0);
		done++;
	}
	if (done)
		pair_flush(p, &p->tx);
	if (rc < 0)
		pair_broken(p, &p->tx);
	if (done == PAIR_BATCH)
		p->more = true;
	return done != 0;
}
