/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a ring starts when the front-end has said all that it needs, and stops when
 * something changes on which it depends (guest_proto.c). No chain stays out of its ring between two
 * turns of the main loop, so its base is exact whenever it stops. guest_tx.c and guest_rx.c move
 * the frames.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <sys/epoll.h>

#include "switch/guest_ring.h"
#include "switch/sw.h"
#include "vmm/util.h"

/* User addresses to guest addresses. virtq_start() checks what is behind them. */
static int ring_config(const struct guest_ring *r, struct virtq_config *c)
{
	const struct guest_memory *m = &r->guest->mem;
	int rc;

	*c = (struct virtq_config){.size_max = VIRTQ_SIZE_MAX,
	                           .size = (uint16_t)min_u64(r->num, UINT16_MAX),
	                           .enabled = true};
	/* 2.7 and 2.8.10.1: the alignment of the parts; both formats have structures of 4 bytes. */
	rc = guest_memory_ring(m, r->desc, 16, &c->desc);
	if (rc == 0)
		rc = guest_memory_ring(m, r->avail, 4, &c->driver);
	if (rc == 0)
		rc = guest_memory_ring(m, r->used, 4, &c->device);
	return rc;
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct guest_ring *r = container_of(src, struct guest_ring, kick);

	if (events & (EPOLLERR | EPOLLHUP)) {
		guest_doom(r->guest, "its kick descriptor failed");
		return;
	}
	r->guest->port.counters.wakeups++;
	virtq_kick_disable(&r->q);
	/* Of a receive ring: who waits for its buffers is asked again in the next turn. */
	if (r->index & 1)
		sw_activate(r->guest->sw, r);
}

static int ring_start(struct guest_ring *r, struct err *err)
{
	struct guest *g = r->guest;
	struct virtq_config config;
	virtq_base_t base = r->base;
	int rc;

	rc = ring_config(r, &config);
	if (rc < 0)
		return err_set(err, rc,
		               rc == -EFAULT
		                       ? "ring %u is not in the memory regions"
		                       : "ring %u is misaligned in the file behind its region",
		               r->index);
	rc = virtq_start(&r->q, &config, virtq_features(g->features), r->base, &g->mem.mem, err);
	if (rc < 0)
		return err_prefix(err, rc, "ring %u", r->index);
	rc = guest_inflight_start(r, &base, err);
	if (rc == 1)
		rc = virtq_start(&r->q, &config, virtq_features(g->features), base, &g->mem.mem,
		                 err);
	if (rc < 0)
		return rc;
	r->q.dev = g->port.name;
	r->q.ring = r->index;
	if (r->kick_fd >= 0) {
		/* Edge-triggered: each notification is one event, and nobody reads the eventfd. */
		rc = loop_add(&g->sw->loop, &r->kick, r->kick_fd, EPOLLIN | EPOLLET, on_kick);
		if (rc < 0)
			return err_errno(err, rc, "ring %u: its kick descriptor", r->index);
	}
	r->running = true;
	r->broken = false;
	r->blocked_since = 0;
	r->resume = 0;
	virtq_kick_disable(&r->q);
	/* It may hold chains from before. */
	if (r->index & 1)
		sw_activate(g->sw, r);
	return 0;
}

int guest_rings_start(struct guest *g, struct err *err)
{
	int first = 0;

	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++) {
		struct guest_ring *r = &g->rings[i];
		int rc;

		if (r->running || r->broken || !r->kicked || !r->addr_set || !r->num || !g->mem.nr)
			continue;
		rc = ring_start(r, first ? NULL : err);
		if (rc < 0 && !first)
			first = rc;
	}
	guest_receivers(g);
	return first;
}

void guest_ring_stop(struct guest_ring *r)
{
	if (r->running) {
		loop_remove(&r->kick);
		sw_deactivate(r->guest->sw, r);
		r->base = virtq_base(&r->q);
		r->running = false;
	}
	r->broken = false;
}

void guest_rings_stop(struct guest *g)
{
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++)
		guest_ring_stop(&g->rings[i]);
	guest_receivers(g);
}

void guest_rings_enable(struct guest *g)
{
	bool at_first = !(g->features & BIT64(VU_F_PROTOCOL_FEATURES));

	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++) {
		struct guest_ring *r = &g->rings[i];

		r->enabled = r->told ? r->wanted : at_first;
	}
	guest_receivers(g);
}

void guest_receivers(struct guest *g)
{
	bool was = g->port.up;

	g->nr_receive = 0;
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i += 2) {
		struct guest_ring *r = &g->rings[i];

		if (r->running && r->enabled)
			g->receive[g->nr_receive++] = r;
	}
	g->port.up = g->nr_receive != 0;
	if (was && !g->port.up)
		fabric_port_down(&g->sw->fabric, &g->port);
}

/* The driver broke the ring's rules: it is left alone until the driver starts anew. */
void guest_ring_break(struct guest_ring *r)
{
	struct guest *g = r->guest;
	const char *why = r->q.broken;

	log_limited(&g->limit, LOG_WARN, "port %s: the driver broke ring %u: %s", g->port.name,
	            r->index, why);
	guest_ring_stop(r);
	r->broken = true;
	guest_receivers(g);
	guest_signal(g, r->err_fd);
}
