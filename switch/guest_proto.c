/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the back-end's side of vhost-user (QEMU's docs/interop/vhost-user.rst).
 *
 * A table has a handler for each request. A handler does what is asked and returns 0, or puts its
 * answer into g->rx.msg and returns REPLY; a negative errno is a refusal. With REPLY_ACK a
 * front-end that asks for it gets the refusal as an answer; one that did not ask would go on as if
 * nothing had happened, so its session is ended. A message that is malformed ends the session in
 * either case.
 *
 * Messages come in any order that a front-end likes, also while rings run. Whatever a running
 * ring depends on (memory, features, its addresses) stops it first; it is started again when it
 * still has everything, from where it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "switch/guest.h"
#include "switch/sw.h"
#include "switch/uplink.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define REPLY 1

/* Offers to the driver. Those in between are about the control queue, which the front-end has. */
#define OFFLOADS                                                           \
	(BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM) |       \
	 BIT64(VIRTIO_NET_F_GUEST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO6) | \
	 BIT64(VIRTIO_NET_F_GUEST_ECN) | BIT64(VIRTIO_NET_F_HOST_TSO4) |   \
	 BIT64(VIRTIO_NET_F_HOST_TSO6) | BIT64(VIRTIO_NET_F_HOST_ECN))
#define PASSIVE                                                                                   \
	(BIT64(VIRTIO_NET_F_STATUS) | BIT64(VIRTIO_NET_F_CTRL_VQ) | BIT64(VIRTIO_NET_F_CTRL_RX) | \
	 BIT64(VIRTIO_NET_F_CTRL_VLAN) | BIT64(VIRTIO_NET_F_CTRL_MAC_ADDR) |                      \
	 BIT64(VIRTIO_NET_F_GUEST_ANNOUNCE) | BIT64(VIRTIO_NET_F_MAC) |                           \
	 BIT64(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
#define MTU_MIN 68
#define MTU_MAX 65535

uint64_t guest_features(void)
{
	return BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_F_RING_PACKED) | BIT64(VIRTIO_F_IN_ORDER) |
	       BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
	       BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_NET_F_MQ) | BIT64(VIRTIO_NET_F_MTU) |
	       OFFLOADS | PASSIVE | BIT64(VU_F_PROTOCOL_FEATURES);
}

uint64_t guest_protocol_features(void)
{
	return BIT64(VU_PROTOCOL_MQ) | BIT64(VU_PROTOCOL_REPLY_ACK) | BIT64(VU_PROTOCOL_MTU) |
	       BIT64(VU_PROTOCOL_INFLIGHT_SHMFD) | BIT64(VU_PROTOCOL_RESET_DEVICE) |
	       BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS) | BIT64(VU_PROTOCOL_STATUS);
}

static int reply_u64(struct guest *g, uint64_t value)
{
	g->rx.msg.p.u64 = value;
	g->rx.msg.size = sizeof(uint64_t);
	return REPLY;
}

static struct guest_ring *ring_at(struct guest *g, uint64_t index, struct err *err)
{
	if (index >= GUEST_RINGS_MAX) {
		err_set(err, -EINVAL, "ring %llu: there are %u", (unsigned long long)index,
		        GUEST_RINGS_MAX);
		return NULL;
	}
	return &g->rings[index];
}

/* --- Features --- */

static int get_features(struct guest *g, struct err *err)
{
	(void)err;
	return reply_u64(g, guest_features());
}

static int set_features(struct guest *g, struct err *err)
{
	uint64_t f = g->rx.msg.p.u64;
	bool modern = f & BIT64(VIRTIO_F_VERSION_1);

	if (f & ~guest_features())
		return err_set(err, -EINVAL, "features 0x%llx were not offered",
		               (unsigned long long)(f & ~guest_features()));
	if (f & BIT64(VIRTIO_F_RING_PACKED) && !modern)
		return err_set(err, -EINVAL, "a packed ring without VIRTIO_F_VERSION_1");
	if (f != g->features)
		guest_rings_stop(g);
	g->features = f;
	g->mrg_rxbuf = f & BIT64(VIRTIO_NET_F_MRG_RXBUF);
	/* 5.1.6.1: without either the header has no number of buffers. */
	g->hdr_len = modern || g->mrg_rxbuf ? SW_HDR : GUEST_HDR_LEGACY;
	g->offloads = f & OFFLOADS;
	guest_rings_enable(g);
	return guest_rings_start(g, err);
}

static int get_protocol_features(struct guest *g, struct err *err)
{
	(void)err;
	return reply_u64(g, guest_protocol_features());
}

static int set_protocol_features(struct guest *g, struct err *err)
{
	uint64_t f = g->rx.msg.p.u64;

	if (f & ~guest_protocol_features())
		return err_set(err, -EINVAL, "protocol features 0x%llx were not offered",
		               (unsigned long long)(f & ~guest_protocol_features()));
	g->protocol = f;
	return 0;
}

static int get_queue_num(struct guest *g, struct err *err)
{
	(void)err;
	/* Of pairs, as front-ends of network devices understand it. */
	return reply_u64(g, GUEST_PAIRS_MAX);
}

static int nothing(struct guest *g, struct err *err)
{
	(void)g;
	(void)err;
	return 0;
}

/* --- Memory --- */

/* A ring that is not in memory any more stays stopped: the front-end may be about to move it. */
static int rings_resume(struct guest *g)
{
	guest_rings_start(g, NULL);
	return 0;
}

static int set_mem_table(struct guest *g, struct err *err)
{
	struct vu_rx *rx = &g->rx;
	struct vu_memory m = rx->msg.p.memory;
	int rc = 0;

	guest_rings_stop(g);
	guest_memory_clear(&g->mem);
	for (unsigned i = 0; i < m.nr && rc == 0; i++)
		rc = guest_memory_add(&g->mem, &m.regions[i], rx->fds[i], err);
	if (rc < 0)
		guest_memory_clear(&g->mem);
	return rc < 0 ? rc : rings_resume(g);
}

static int get_max_mem_slots(struct guest *g, struct err *err)
{
	(void)err;
	return reply_u64(g, GUEST_REGIONS_MAX);
}

static int add_mem_reg(struct guest *g, struct err *err)
{
	struct vu_region r = g->rx.msg.p.region.region;
	int rc;

	guest_rings_stop(g);
	rc = guest_memory_add(&g->mem, &r, g->rx.fds[0], err);
	return rc < 0 ? rc : rings_resume(g);
}

static int rem_mem_reg(struct guest *g, struct err *err)
{
	struct vu_region r = g->rx.msg.p.region.region;
	int rc;

	guest_rings_stop(g);
	rc = guest_memory_remove(&g->mem, &r);
	if (rc < 0)
		return err_errno(err, rc, "a region at 0x%llx", (unsigned long long)r.gpa);
	return rings_resume(g);
}

/* --- Rings --- */

static int set_vring_num(struct guest *g, struct err *err)
{
	struct vu_state s = g->rx.msg.p.state;
	struct guest_ring *r = ring_at(g, s.index, err);

	if (!r)
		return -EINVAL;
	if (s.num == 0 || s.num > VIRTQ_SIZE_MAX)
		return err_set(err, -EINVAL, "ring %u: size %u is not in 1..%u", s.index, s.num,
		               VIRTQ_SIZE_MAX);
	guest_ring_stop(r);
	r->num = s.num;
	return guest_rings_start(g, err);
}

static int set_vring_addr(struct guest *g, struct err *err)
{
	struct vu_addr a = g->rx.msg.p.addr;
	struct guest_ring *r = ring_at(g, a.index, err);

	if (!r)
		return -EINVAL;
	if (a.flags)
		return err_set(err, -EINVAL, "ring %u: logging was not offered", a.index);
	guest_ring_stop(r);
	r->desc = a.desc;
	r->avail = a.avail;
	r->used = a.used;
	r->addr_set = true;
	return guest_rings_start(g, err);
}

static int set_vring_base(struct guest *g, struct err *err)
{
	struct vu_state s = g->rx.msg.p.state;
	struct guest_ring *r = ring_at(g, s.index, err);

	if (!r)
		return -EINVAL;
	guest_ring_stop(r);
	r->base = s.num;
	/*
	 * Packed: some front-ends send only the next available position. Nothing is in flight in
	 * our rings, so that is the used one as well.
	 */
	if (g->features & BIT64(VIRTIO_F_RING_PACKED) && s.num >> 16 == 0)
		r->base |= s.num << 16;
	return guest_rings_start(g, err);
}

static int get_vring_base(struct guest *g, struct err *err)
{
	struct vu_state s = g->rx.msg.p.state;
	struct guest_ring *r = ring_at(g, s.index, err);

	if (!r)
		return -EINVAL;
	guest_ring_stop(r);
	guest_inflight_end(r);
	r->kicked = false;
	guest_receivers(g);
	g->rx.msg.p.state = (struct vu_state){.index = s.index, .num = r->base};
	return REPLY;
}

/*
 * Some front-ends (QEMU, which adds region by region) leave memory that they do not share out of the
 * table, say nothing, and start their rings. Without the ring no frame passes, so this says why.
 */
static void check_shared(struct guest *g)
{
	if (g->mem.nr || g->said_unshared)
		return;
	g->said_unshared = true;
	log_warn("port %s: the front-end enables a ring, but has shared no memory of the guest's: "
	         "no "
	         "frame can pass; QEMU needs -object memory-backend-memfd,id=m,size=SIZE,share=on "
	         "-machine memory-backend=m",
	         g->port.name);
}

static int set_vring_enable(struct guest *g, struct err *err)
{
	struct vu_state s = g->rx.msg.p.state;
	struct guest_ring *r = ring_at(g, s.index, err);

	if (!r)
		return -EINVAL;
	if (s.num > 1)
		return err_set(err, -EINVAL, "ring %u: enable %u", s.index, s.num);
	r->told = true;
	r->wanted = s.num;
	guest_rings_enable(g);
	if (r->enabled && r->kicked && r->addr_set)
		check_shared(g);
	return 0;
}

/*
 * An eventfd comes with the message, or none. Writing to something else could block, and so could
 * polling it, or asking it what it is.
 */
static int take_eventfd(struct guest *g, int *fd, struct err *err)
{
	int rc;

	fd_close(fd);
	if (g->rx.msg.p.u64 & VU_VRING_NO_FD)
		return 0;
	rc = fd_is_eventfd(g->rx.fds[0]);
	if (rc < 0)
		return err_set(err, rc,
		               "whether it is an eventfd cannot be seen: mount /proc, or run a "
		               "kernel with asynchronous I/O (CONFIG_AIO)");
	if (rc == 0)
		return err_set(err, -EINVAL, "a descriptor that is not an eventfd");
	/* Nobody reads its count, and a full one must not stop us. */
	*fd = vu_rx_take_fd(&g->rx, 0);
	if (fcntl(*fd, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_errno(err, -errno, "an eventfd");
	return 0;
}

static struct guest_ring *event_ring(struct guest *g, struct err *err)
{
	return ring_at(g, g->rx.msg.p.u64 & VU_VRING_INDEX, err);
}

static int set_vring_kick(struct guest *g, struct err *err)
{
	struct guest_ring *r = event_ring(g, err);
	int rc;

	if (!r)
		return -EINVAL;
	guest_ring_stop(r);
	rc = take_eventfd(g, &r->kick_fd, err);
	if (rc < 0)
		return rc;
	r->kicked = true;
	return guest_rings_start(g, err);
}

static int set_vring_call(struct guest *g, struct err *err)
{
	struct guest_ring *r = event_ring(g, err);
	int rc;

	if (!r)
		return -EINVAL;
	rc = take_eventfd(g, &r->call_fd, err);
	/* What the one before would have said may be lost: say it again. */
	if (rc == 0 && r->running)
		guest_signal(g, r->call_fd);
	return rc;
}

static int set_vring_err(struct guest *g, struct err *err)
{
	struct guest_ring *r = event_ring(g, err);

	return r ? take_eventfd(g, &r->err_fd, err) : -EINVAL;
}

/* --- Device --- */

/* A longer frame than the host's interface takes is lost there, and nobody counts it. */
static void check_mtu(struct guest *g)
{
	for (unsigned i = 0; i < g->sw->nr_uplinks; i++) {
		const struct uplink *u = g->sw->uplinks[i];

		if (uplink_mtu(u) && g->mtu > uplink_mtu(u))
			log_limited(
				&g->limit, LOG_WARN,
				"port %s: its MTU is %llu, that of uplink %s is %u: longer "
				"frames may be lost there: use mtu=%llu on the uplink, or lower "
				"the guest's",
				g->port.name, (unsigned long long)g->mtu, uplink_name(u),
				uplink_mtu(u), (unsigned long long)g->mtu);
	}
}

static int net_set_mtu(struct guest *g, struct err *err)
{
	uint64_t mtu = g->rx.msg.p.u64;

	if (mtu < MTU_MIN || mtu > MTU_MAX)
		return err_set(err, -EINVAL, "MTU %llu is not in %u..%u", (unsigned long long)mtu,
		               MTU_MIN, MTU_MAX);
	g->mtu = mtu;
	check_mtu(g);
	return 0;
}

static int reset_device(struct guest *g, struct err *err)
{
	(void)err;
	guest_rings_stop(g);
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++) {
		g->rings[i].kicked = g->rings[i].told = g->rings[i].addr_set = false;
		g->rings[i].base = 0;
	}
	guest_rings_enable(g);
	g->status = 0;
	return 0;
}

static int set_status(struct guest *g, struct err *err)
{
	if (g->rx.msg.p.u64 > 0xff)
		return err_set(err, -EINVAL, "status 0x%llx", (unsigned long long)g->rx.msg.p.u64);
	g->status = g->rx.msg.p.u64;
	/* 0 is a reset of the device. Most front-ends have stopped the rings before. */
	if (g->status == 0) {
		guest_rings_stop(g);
		for (unsigned i = 0; i < GUEST_RINGS_MAX; i++)
			g->rings[i].kicked = false;
	}
	return 0;
}

static int get_status(struct guest *g, struct err *err)
{
	(void)err;
	return reply_u64(g, g->status);
}

/* --- Dispatch --- */

struct handler {
	int (*fn)(struct guest *g, struct err *err);
	uint64_t needs; /* protocol features without which it is not to be sent */
};

static const struct handler handlers[] = {
	[VU_GET_FEATURES] = {get_features, 0},
	[VU_SET_FEATURES] = {set_features, 0},
	[VU_SET_OWNER] = {nothing, 0},
	[VU_RESET_OWNER] = {nothing, 0},
	[VU_SET_MEM_TABLE] = {set_mem_table, 0},
	[VU_SET_VRING_NUM] = {set_vring_num, 0},
	[VU_SET_VRING_ADDR] = {set_vring_addr, 0},
	[VU_SET_VRING_BASE] = {set_vring_base, 0},
	[VU_GET_VRING_BASE] = {get_vring_base, 0},
	[VU_SET_VRING_KICK] = {set_vring_kick, 0},
	[VU_SET_VRING_CALL] = {set_vring_call, 0},
	[VU_SET_VRING_ERR] = {set_vring_err, 0},
	[VU_GET_PROTOCOL_FEATURES] = {get_protocol_features, 0},
	[VU_SET_PROTOCOL_FEATURES] = {set_protocol_features, 0},
	[VU_GET_QUEUE_NUM] = {get_queue_num, 0},
	[VU_SET_VRING_ENABLE] = {set_vring_enable, 0},
	[VU_NET_SET_MTU] = {net_set_mtu, BIT64(VU_PROTOCOL_MTU)},
	[VU_GET_INFLIGHT_FD] = {guest_get_inflight, BIT64(VU_PROTOCOL_INFLIGHT_SHMFD)},
	[VU_SET_INFLIGHT_FD] = {guest_set_inflight, BIT64(VU_PROTOCOL_INFLIGHT_SHMFD)},
	[VU_RESET_DEVICE] = {reset_device, BIT64(VU_PROTOCOL_RESET_DEVICE)},
	[VU_GET_MAX_MEM_SLOTS] = {get_max_mem_slots, BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS)},
	[VU_ADD_MEM_REG] = {add_mem_reg, BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS)},
	[VU_REM_MEM_REG] = {rem_mem_reg, BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS)},
	[VU_SET_STATUS] = {set_status, BIT64(VU_PROTOCOL_STATUS)},
	[VU_GET_STATUS] = {get_status, BIT64(VU_PROTOCOL_STATUS)},
};

static const struct handler *handler_of(const struct guest *g, uint32_t request)
{
	const struct handler *h = request < ARRAY_SIZE(handlers) ? &handlers[request] : NULL;

	return h && h->fn && (h->needs & ~g->protocol) == 0 ? h : NULL;
}

static int answer(struct guest *g, struct err *err)
{
	struct vu_rx *rx = &g->rx;
	int rc;

	rx->msg.flags = VU_VERSION | VU_REPLY;
	/* An answer is small. A front-end that does not read it is not worth waiting for. */
	rc = vu_send(g->fd, &rx->msg, &g->reply_fd, g->reply_fd >= 0, 0);
	fd_close(&g->reply_fd);
	return rc < 0 ? err_errno(err, rc, "answering %s", vu_request_name(rx->msg.request)) : 0;
}

int guest_message(struct guest *g, struct err *err)
{
	struct vu_msg *msg = &g->rx.msg;
	uint32_t request = msg->request;
	bool wants_ack = msg->flags & VU_NEED_REPLY && g->protocol & BIT64(VU_PROTOCOL_REPLY_ACK);
	int rc = vu_request_check(msg, g->rx.nr_fds);
	const struct handler *h = handler_of(g, request);

	if (rc == -EPROTO)
		return err_set(err, rc, "%s is malformed (%u bytes, %u descriptors)",
		               vu_request_name(request), msg->size, g->rx.nr_fds);
	rc = h ? h->fn(g, err) : err_set(err, -EOPNOTSUPP, "not supported, or not negotiated");
	if (rc == REPLY)
		return answer(g, err);
	if (rc < 0) {
		err_prefix(err, rc, "%s (%u)", vu_request_name(request), request);
		if (!wants_ack)
			return rc;
		log_limited(&g->limit, LOG_WARN, "port %s: %s", g->port.name, err->msg);
	}
	if (!wants_ack)
		return 0;
	reply_u64(g, rc < 0);
	return answer(g, err);
}
