/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: frames from the host are read one by one into buffers of our own, since
 * nobody knows whose they are before they are read; a batch of them goes through the fabric.
 * Frames to the host are written straight from the sender's memory.
 *
 * Waiting goes both ways: when the host takes no more its descriptor is watched for becoming
 * writable, and when a guest is full nothing is read until the batch at hand has been delivered.
 *
 * With a virtio-net header (tap) offloads pass in both directions; without (user-mode network)
 * frames are finished first (offload.h).
 */
#include "switch/uplink.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include "switch/offload.h"
#include "switch/sw.h"
#include "vmm/endian.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* What the fabric passes on, and offload.c can undo. */
#define GUEST_OFFLOADS                                                     \
	(BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4) | \
	 BIT64(VIRTIO_NET_F_GUEST_TSO6) | BIT64(VIRTIO_NET_F_GUEST_ECN))
#define SLOT   (SW_HDR + SW_FRAME_MAX)
#define IOV_MX (VIRTQ_CHAIN_MAX + 1)

struct uplink {
	struct sw_port port;
	struct sw *sw;
	struct port *host;
	struct loop_source source;
	/* Frames from the host: first .. nr-1 have still to be forwarded. */
	unsigned first, nr;
	unsigned resume; /* of fabric_forward() */
	uint64_t since;  /* they wait for a full port since then (sw_waited()) */
	uint8_t *slots;  /* SW_BATCH of SLOT bytes */
	struct iovec iov[SW_BATCH];
	struct sw_frame frames[SW_BATCH];
};

/* --- To the host --- */

/* 0: dealt with; -EAGAIN: the host takes no more, and nothing was counted. */
static int write_frame(struct uplink *u, const struct sw_frame *f)
{
	struct sw_counters *c = &u->port.counters;
	struct virtio_net_hdr_v1 hdr = f->hdr;
	struct iovec iov[IOV_MX];
	unsigned n = 0;
	ssize_t rc;

	if (f->nr >= IOV_MX) {
		c->tx_size++;
		return 0;
	}
	hdr.num_buffers = 0;
	if (u->host->vnet_hdr)
		iov[n++] = (struct iovec){&hdr, SW_HDR};
	memcpy(iov + n, f->iov, f->nr * sizeof(iov[0]));
	do
		rc = writev(u->host->fds[0], iov, (int)(n + f->nr));
	while (rc < 0 && errno == EINTR);
	if (rc < 0 && (errno == EAGAIN || errno == ENOBUFS))
		return -EAGAIN;
	if (rc < 0) {
		c->tx_down++;
		return 0;
	}
	u->port.stuck = false;
	c->tx_packets++;
	c->tx_bytes += f->len;
	return 0;
}

static bool emit(void *opaque, const struct sw_frame *f)
{
	struct uplink *u = opaque;

	return write_frame(u, f) == 0;
}

static bool takes_offload(const struct uplink *u, const struct sw_frame *f)
{
	uint64_t need = BIT64(VIRTIO_NET_F_CSUM);

	switch (f->hdr.gso_type & ~VIRTIO_NET_HDR_GSO_ECN) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		need |= BIT64(VIRTIO_NET_F_HOST_TSO4);
		break;
	case VIRTIO_NET_HDR_GSO_TCPV6:
		need |= BIT64(VIRTIO_NET_F_HOST_TSO6);
		break;
	}
	return u->host->vnet_hdr && (u->host->host_offloads & need) == need;
}

/* What epoll is to watch. */
static void watch(struct uplink *u, bool full)
{
	loop_change(&u->source, (u->nr ? 0 : (uint32_t)EPOLLIN) | (full ? (uint32_t)EPOLLOUT : 0));
}

static unsigned uplink_deliver(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
                               bool may_wait)
{
	struct uplink *u = container_of(port, struct uplink, port);

	for (unsigned i = 0; i < n; i++) {
		const struct sw_frame *f = frames[i];

		if (f->offload && !takes_offload(u, f)) {
			int left = offload_finish(&u->sw->offload, f, emit, u);

			if (left < 0)
				port->counters.tx_offload++;
			else
				port->counters.tx_full += (unsigned)left;
			continue;
		}
		if (write_frame(u, f) == 0)
			continue;
		if (may_wait) {
			watch(u, true);
			return i;
		}
		port->counters.tx_full++;
	}
	return n;
}

static const struct sw_port_ops uplink_ops = {
	.deliver = uplink_deliver,
};

/* --- From the host --- */

/* One frame into slot @i. 1: it is u->frames[i]; 0: there is none; -EAGAIN: one that is no good. */
static int read_frame(struct uplink *u, unsigned i)
{
	struct sw_frame *f = &u->frames[i];
	uint8_t *slot = u->slots + i * SLOT;
	size_t skip = u->host->vnet_hdr ? SW_HDR : 0;
	ssize_t len = read(u->host->fds[0], slot, SLOT);

	if (len <= 0)
		return 0;
	if ((size_t)len < skip + SW_FRAME_MIN || (size_t)len - skip > SW_FRAME_MAX)
		return -EAGAIN;
	u->iov[i] = (struct iovec){slot + skip, (size_t)len - skip};
	*f = (struct sw_frame){.iov = &u->iov[i], .nr = 1, .len = (uint32_t)((size_t)len - skip)};
	if (skip)
		memcpy(&f->hdr, slot, sizeof(f->hdr));
	f->hdr.num_buffers = 0;
	f->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	f->offload = f->hdr.flags || f->hdr.gso_type;
	return 1;
}

/* Forward what was read, until it is time for others. */
static void forward(struct uplink *u)
{
	struct fabric *f = &u->sw->fabric;

	while (u->first < u->nr) {
		unsigned n = fabric_forward(f, &u->port, u->frames + u->first, u->nr - u->first,
		                            &u->resume);

		u->first += n;
		if (n || u->resume)
			u->since = 0;
		if (u->first < u->nr && (!f->full || !sw_waited(u->sw, &u->since)))
			return;
	}
	u->first = u->nr = 0;
	u->since = 0;
}

bool uplink_waits(const struct uplink *u)
{
	return u->nr && u->since;
}

bool uplink_has_work(const struct uplink *u)
{
	return u->nr && !u->since;
}

void uplink_retry(struct uplink *u)
{
	if (!u->nr)
		return;
	forward(u);
	if (!u->nr)
		watch(u, u->source.events & EPOLLOUT);
}

static void on_host(struct loop_source *src, uint32_t events)
{
	struct uplink *u = container_of(src, struct uplink, source);
	unsigned n = 0;

	u->port.counters.wakeups++;
	if (events & EPOLLOUT)
		watch(u, false); /* who waits is asked again in the next turn */
	if (u->nr)
		return;
	while (u->nr < SW_BATCH && n++ < 2 * SW_BATCH) {
		int rc = read_frame(u, u->nr);

		if (rc == 0)
			break;
		if (rc < 0)
			u->port.counters.rx_malformed++;
		else
			u->nr++;
	}
	if (u->nr) {
		forward(u);
		watch(u, u->source.events & EPOLLOUT);
	} else if (events & (EPOLLERR | EPOLLHUP)) {
		/* It would be ready for ever. */
		log_warn("uplink %s: the host's side is gone", u->port.name);
		loop_remove(&u->source);
		fabric_port_down(&u->sw->fabric, &u->port);
	}
}

int uplink_create(struct uplink **out, struct sw *sw, const struct uplink_config *config,
                  struct err *err)
{
	struct uplink *u = calloc(1, sizeof(*u));
	int rc = u ? 0 : -ENOMEM;

	if (u) {
		u->slots = malloc(SW_BATCH * SLOT);
		if (!u->slots)
			rc = -ENOMEM;
	}
	if (rc == 0 && config->port->vnet_hdr && config->port->ops->set_offloads)
		rc = config->port->ops->set_offloads(config->port,
		                                     config->port->guest_offloads & GUEST_OFFLOADS);
	if (rc == 0) {
		u->sw = sw;
		u->host = config->port;
		u->port.ops = &uplink_ops;
		u->port.vlan = config->vlan;
		u->port.isolated = config->isolated;
		u->port.up = true;
		snprintf(u->port.name, sizeof(u->port.name), "%s", config->id);
		rc = fabric_add(&sw->fabric, &u->port);
	}
	if (rc == 0)
		rc = loop_add(&sw->loop, &u->source, config->port->fds[0], EPOLLIN, on_host);
	if (rc < 0) {
		port_close(config->port);
		if (u)
			free(u->slots);
		free(u);
		return err_errno(err, rc, "--uplink %s", config->id);
	}
	sw->uplinks[sw->nr_uplinks++] = u;
	*out = u;
	return 0;
}

void uplink_destroy(struct uplink *u)
{
	if (!u)
		return;
	loop_remove(&u->source);
	port_close(u->host);
	free(u->slots);
	free(u);
}

void uplink_print(const struct uplink *u, FILE *out)
{
	fprintf(out, "port %s tx_refused %" PRIu64 "\nport %s rx_lost %" PRIu64 "\n", u->port.name,
	        atomic_load(&u->host->refused), u->port.name, atomic_load(&u->host->lost));
}

void uplink_describe(const struct uplink *u, char *buf, size_t len)
{
	u->host->ops->describe(u->host, buf, len);
}

struct sw_port *uplink_port(struct uplink *u)
{
	return &u->port;
}

unsigned uplink_mtu(const struct uplink *u)
{
	return u->host->mtu;
}

const char *uplink_name(const struct uplink *u)
{
	return u->port.name;
}
