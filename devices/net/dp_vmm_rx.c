/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames from the port to the guest.
 *
 * The length of the next frame is not known before it is read, so buffers are popped in advance:
 * the stash holds chains, oldest first, whose buffers are laid out one behind the other in one
 * iovec array. A frame is read into the front of it and uses up as many chains as it needed
 * (VIRTIO_NET_F_MRG_RXBUF; without it a frame gets exactly one chain). What is left serves the next
 * frame, and is put back when the ring stops, so that its base is exact. When it is refilled, it is
 * by some more than that: looking at descriptors that the guest's CPU wrote waits for their cache
 * lines, and such waits overlap. The first line of each buffer, which the guest's CPU has from
 * reading the last header there, is asked for at that time, long before it is written.
 *
 * The kernel looks at every iovec that it is given, used or not. So readv() gets only as many
 * buffers as the next frame is expected to need - most are short, but in a bulk transfer with
 * segmentation offload most are 64 KiB - and behind them the spill area. Only if the guess was too
 * low the rest of the frame is copied from there into the next buffers. Buffers that are adjacent
 * in memory are one iovec, for drivers take them from larger blocks; `run` keeps how far that goes
 * from the front of the stash, so that nobody has to look at all of them for each frame.
 *
 * A frame for which the driver has not enough buffers at the moment is held in the spill area until
 * it has added some: dropping it would cost a TCP stream 40 segments whenever the guest is a little
 * slow. A driver that never has as many gives us no sign of that; HOLD_US later the frame is
 * dropped. If the ring stops meanwhile the port keeps the frame, for the datapath that starts the
 * ring again or for the next one on this port (a switch that fails, a switch from "vmm" to "vmm"). A
 * datapath of another kind cannot be handed a frame: then it is dropped, and counted, when ours is
 * torn down.
 */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "devices/net/dp_vmm_priv.h"
#include "devices/net/pcap.h"
#include "vmm/clock.h"
#include "vmm/endian.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define STASH_GOAL (FRAME_MAX + KIB(32)) /* bytes of buffers to pop, once there are too few */
#define HOLD_US    100000
#define EXPECT_MIN 2048 /* bytes: a frame of a usual MTU and its header */
#define SMALL_RUN  64   /* so many small frames, and small ones are expected */

/* --- The stash --- */

static struct stash_entry *stash_at(struct stash *s, unsigned i)
{
	return &s->entries[(s->first + i) % STASH_CHAINS];
}

/* Where the next chain's iovecs can go; those before it move to the front if need be. */
static struct iovec *stash_room(struct stash *s)
{
	if (s->iov_first + s->iov_nr + STASH_CHAIN_IOV > STASH_IOV) {
		memmove(s->iov, s->iov + s->iov_first, s->iov_nr * sizeof(s->iov[0]));
		for (unsigned i = 0; i < s->nr; i++)
			stash_at(s, i)->chain.iov -= s->iov_first;
		s->iov_first = 0;
	}
	return s->iov + s->iov_first + s->iov_nr;
}

/*
 * No more chains can be popped, however little they hold: with the spill area there are never more
 * iovecs than one readv() takes (IOV_MAX, VIRTQ_CHAIN_MAX here).
 */
static bool stash_full(const struct pair *p)
{
	const struct stash *s = &p->stash;

	if (!p->dp->mrg_rxbuf)
		return s->nr > 0;
	return s->nr == STASH_CHAINS || s->iov_nr + STASH_CHAIN_IOV >= VIRTQ_CHAIN_MAX;
}

static bool adjacent(const struct iovec *a, const struct iovec *b)
{
	return (uint8_t *)a->iov_base + a->iov_len == b->iov_base;
}

/* The run at the front reaches as far as it can. */
static void extend_run(struct stash *s)
{
	const struct iovec *iov = s->iov + s->iov_first;

	while (s->run_nr < s->iov_nr &&
	       (s->run_nr == 0 || adjacent(&iov[s->run_nr - 1], &iov[s->run_nr])))
		s->run += iov[s->run_nr++].iov_len;
}

/* Pop buffers for the next frame, and then for some more. 0 or -EPROTO: the queue is broken. */
static int stash_fill(struct pair *p)
{
	struct stash *s = &p->stash;

	if (s->bytes >= FRAME_MAX)
		return 0;
	while (s->bytes < STASH_GOAL && !stash_full(p)) {
		struct stash_entry *e = stash_at(s, s->nr);
		int rc = virtq_pop(&p->rx.q, &e->chain, stash_room(s), STASH_CHAIN_IOV);

		if (rc <= 0)
			return rc;
		if (e->chain.nr_out || e->chain.in_len < PAIR_HDR) {
			p->rx.q.broken =
				"a receive buffer that is readable, or too short for a header";
			return -EPROTO;
		}
		prefetch_write(e->chain.iov->iov_base);
		e->nr = e->chain.nr_in;
		s->nr++;
		s->bytes += e->chain.in_len;
		s->iov_nr += e->nr;
		extend_run(s);
	}
	return 0;
}

/* The oldest chain holds @written bytes of a frame: give it to the driver. */
static void stash_push(struct pair *p, uint32_t written)
{
	struct stash *s = &p->stash;
	struct stash_entry *e = stash_at(s, 0);

	virtq_push(&p->rx.q, &e->chain, written);
	s->first = (s->first + 1) % STASH_CHAINS;
	s->nr--;
	s->bytes -= e->chain.in_len;
	s->iov_first += e->nr;
	s->iov_nr -= e->nr;
	if (s->run_nr >= e->nr) {
		s->run_nr -= e->nr;
		s->run -= e->chain.in_len;
	} else {
		s->run_nr = 0;
		s->run = 0;
	}
	extend_run(s);
}

void pair_receive_settle(struct pair *p)
{
	struct stash *s = &p->stash;

	while (s->nr)
		virtq_unpop(&p->rx.q, &stash_at(s, --s->nr)->chain);
	s->bytes = s->run = 0;
	s->iov_first = s->iov_nr = s->run_nr = 0;
}

/* --- One frame --- */

static void learn(struct pair *p, size_t len)
{
	p->small = len <= EXPECT_MIN ? p->small + 1 : 0;
	p->bulk = p->small == 0 || (p->bulk && p->small < SMALL_RUN);
}

/* A frame of @len bytes lies in the first @covered bytes of the buffers and behind that in spill.
 * It does not fit: hold all of it there. */
static void hold(struct pair *p, size_t covered, size_t len)
{
	iov_copy_out(p->stash.iov + p->stash.iov_first, p->stash.iov_nr, 0, p->spill, covered);
	TRACE(frame_hold, p->rx.q.dev, p->rx.index,
	      "%d bytes do not fit into %d bytes of buffers: held", len, p->stash.bytes);
	p->held = len;
	p->held_until = clock_us() + HOLD_US;
}

/*
 * What to read the next frame into: as many buffers as it is expected to need, those that are
 * adjacent as one, and the spill area unless these hold any frame. The number of iovecs; *@covered:
 * bytes in buffers.
 */
static unsigned gather(struct pair *p, struct iovec *vec, size_t *covered)
{
	const struct stash *s = &p->stash;
	const struct iovec *iov = s->iov + s->iov_first;
	size_t want = p->bulk ? FRAME_MAX : EXPECT_MIN;
	unsigned n = 1;

	vec[0] = (struct iovec){.iov_base = iov->iov_base, .iov_len = s->run};
	*covered = s->run;
	for (unsigned i = s->run_nr; i < s->iov_nr && *covered < want; i++) {
		if (adjacent(&vec[n - 1], &iov[i]))
			vec[n - 1].iov_len += iov[i].iov_len;
		else
			vec[n++] = iov[i];
		*covered += iov[i].iov_len;
	}
	if (*covered <= FRAME_MAX)
		vec[n++] = (struct iovec){.iov_base = p->spill + *covered, .iov_len = FRAME_MAX};
	return n;
}

static ssize_t read_port(int fd, const struct iovec *iov, unsigned n)
{
	ssize_t len;

	do
		len = n == 1 ? read(fd, iov->iov_base, iov->iov_len) : readv(fd, iov, (int)n);
	while (len < 0 && errno == EINTR);
	return len;
}

/*
 * Read one frame into the stash. Bytes with the header, 0: none there, -EMSGSIZE: it never fits,
 * -ENOSPC: it was held. A port without headers reads behind the place of one, which is cleared.
 */
static ssize_t read_frame(struct pair *p)
{
	static const uint8_t no_header[PAIR_HDR];
	struct iovec vec[VIRTQ_CHAIN_MAX], *first = vec;
	struct stash *s = &p->stash;
	const struct iovec *iov = s->iov + s->iov_first;
	size_t covered;
	unsigned n = gather(p, vec, &covered);
	ssize_t len;

	if (!p->dp->port->vnet_hdr) {
		iov_copy_in(iov, s->iov_nr, 0, no_header, PAIR_HDR);
		n = pair_skip_header(&first, n);
	}
	len = read_port(p->port_fd, first, n);
	if (len <= 0)
		return 0;
	TRACE(port_read, p->rx.q.dev, p->rx.index, "%d bytes read from the port into %d parts", len,
	      n);
	if (!p->dp->port->vnet_hdr)
		len += PAIR_HDR;
	if (len > FRAME_MAX)
		return -EMSGSIZE;
	learn(p, (size_t)len);
	if ((size_t)len > s->bytes) {
		if (stash_full(p))
			return -EMSGSIZE;
		hold(p, covered, (size_t)len);
		return -ENOSPC;
	}
	if ((size_t)len > covered)
		iov_copy_in(iov, s->iov_nr, covered, p->spill + covered, (size_t)len - covered);
	return len;
}

/* The held frame, now that there are more buffers. Its length, -ENOSPC or -EMSGSIZE. */
static ssize_t take_held(struct pair *p)
{
	size_t len = p->held;

	if (p->stash.bytes < len && !stash_full(p))
		return -ENOSPC;
	p->held = 0;
	if (p->stash.bytes < len)
		return -EMSGSIZE;
	iov_copy_in(p->stash.iov + p->stash.iov_first, p->stash.iov_nr, 0, p->spill, len);
	return (ssize_t)len;
}

/* Is the frame at the front of the stash for this NIC? */
static bool accepted(struct pair *p, size_t len)
{
	const struct datapath_host *host = &p->dp->host;
	uint8_t head[FRAME_MIN + 4];
	size_t n;

	if (!host->accept)
		return true;
	n = iov_copy_out(p->stash.iov + p->stash.iov_first, p->stash.iov_nr, PAIR_HDR, head,
	                 min_u64(sizeof(head), len - PAIR_HDR));
	return host->accept(host->opaque, head, n);
}

/* A frame of @len bytes (header included) is in the stash: give its chains to the driver. */
static void deliver(struct pair *p, size_t len)
{
	struct virtq_chain *head = &stash_at(&p->stash, 0)->chain;
	uint32_t left = (uint32_t)len;
	uint16_t chains = 0;
	le16 num_buffers;

	for (uint32_t n = left; n; chains++)
		n -= (uint32_t)min_u64(n, stash_at(&p->stash, chains)->chain.in_len);
	/* 5.1.6.4: without MRG_RXBUF it is 1, too. */
	num_buffers = le16_of(chains);
	iov_copy_in(head->iov, head->nr_in, offsetof(struct virtio_net_hdr_v1, num_buffers),
	            &num_buffers, sizeof(num_buffers));
	while (left) {
		uint32_t part = (uint32_t)min_u64(left, stash_at(&p->stash, 0)->chain.in_len);

		stash_push(p, part);
		left -= part;
	}
	counter_add(&p->rx.stats.packets, 1);
	counter_add(&p->rx.stats.bytes, len - PAIR_HDR);
	/* Never a part of a frame: its buffers are used together (5.1.6.4). */
	pair_pushed(p, &p->rx, chains);
}

/* Read one frame and deal with it. 1: did; 0: nothing there, or no buffers; negative: broken. */
static int receive_frame(struct pair *p)
{
	struct datapath_stats *s = &p->rx.stats;
	ssize_t len;
	int rc = stash_fill(p);

	if (rc < 0)
		return rc;
	if (!p->stash.nr) {
		p->rx_starved = true;
		return 0;
	}
	len = p->held ? take_held(p) : read_frame(p);
	if (len == 0)
		return 0;
	if (len == -ENOSPC) {
		p->rx_starved = true;
		return 0;
	}
	if (len < PAIR_HDR + FRAME_MIN) { /* and -EMSGSIZE */
		counter_add(&s->drop_size, 1);
		TRACE(frame_refuse, p->rx.q.dev, p->rx.index,
		      "not given to the guest: too short, or longer than the buffers: %d", len);
		return 1;
	}
	if (!accepted(p, (size_t)len)) {
		counter_add(&s->drop_filter, 1);
		TRACE(frame_refuse, p->rx.q.dev, p->rx.index,
		      "not given to the guest: not for this NIC, %d bytes", len);
		return 1;
	}
	if (p->dp->config.pcap)
		pcap_frame(p->dp->config.pcap, p->stash.iov + p->stash.iov_first, p->stash.iov_nr,
		           PAIR_HDR, (size_t)len - PAIR_HDR);
	deliver(p, (size_t)len);
	return 1;
}

bool pair_receive(struct pair *p)
{
	unsigned done = 0;
	int rc = 0;

	if (!p->rx.on || p->rx_starved || p->rx.q.broken || p->port_fd < 0 ||
	    !atomic_load_explicit(&p->dp->link_up, memory_order_relaxed))
		return false;
	while (done < PAIR_BATCH && (rc = receive_frame(p)) == 1)
		done++;
	if (p->rx.unflushed)
		pair_flush(p, &p->rx);
	if (rc < 0)
		pair_broken(p, &p->rx);
	/* Out of buffers: only the driver's kick helps. It may have added some while we looked. */
	if (p->rx_starved && virtq_kick_enable(&p->rx.q)) {
		virtq_kick_disable(&p->rx.q);
		p->rx_starved = false;
		p->more = true;
	}
	if (done == PAIR_BATCH)
		p->more = true;
	return done != 0;
}

void pair_receive_kicked(struct pair *p)
{
	if (p->rx_starved) {
		virtq_kick_disable(&p->rx.q);
		p->rx_starved = false;
	}
	pair_receive(p);
}

void pair_receive_begin(struct pair *p)
{
	p->held = port_take_kept(p->dp->port, p->index, p->spill);
	/* While the ring stood still the driver had no time. */
	p->held_until = clock_us() + HOLD_US;
}

void pair_receive_keep(struct pair *p)
{
	if (p->held && !port_keep(p->dp->port, p->index, p->spill, p->held))
		counter_add(&p->rx.stats.drop_size, 1);
	p->held = 0;
}

void pair_receive_end(struct pair *p)
{
	int rc = 0;

	if (!p->held)
		return;
	/* The thread may not have come to the driver's last kick. */
	if (!p->rx.q.broken && atomic_load_explicit(&p->dp->link_up, memory_order_relaxed))
		rc = receive_frame(p);
	if (p->rx.unflushed)
		pair_flush(p, &p->rx);
	if (rc < 0)
		pair_broken(p, &p->rx);
	pair_receive_settle(p);
	pair_receive_keep(p);
}

void pair_receive_expire(struct pair *p)
{
	if (!p->held || clock_us() < p->held_until)
		return;
	/* It may have got them, and we have not come to it. */
	pair_receive_kicked(p);
	if (!p->held || clock_us() < p->held_until)
		return;
	p->held = 0;
	counter_add(&p->rx.stats.drop_size, 1);
	if (p->stash.nr)
		pair_receive_kicked(p);
}
