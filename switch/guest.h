/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest: a port of the switch whose other end is a vhost-user front-end: trivm, QEMU, DPDK.
 *
 *   guest.c        life of a port and of a session
 *   guest_conn.c   the socket: listen or connect, again and again
 *   guest_proto.c  the protocol's messages
 *   guest_ring.c   rings: starting and stopping
 *   guest_tx.c     frames out of them
 *   guest_rx.c     frames into them
 *
 * A port exists as long as the switch; a session as long as one connection. What a front-end says
 * wrongly ends its session, what its guest's driver does wrongly stops the ring; either way the
 * port can be used again, and other ports notice nothing.
 *
 * A ring is stopped until the front-end has sent VU_SET_VRING_KICK and everything before it, and
 * stopped again by VU_GET_VRING_BASE (vhost-user.rst, "Ring states"). No chain stays out of its
 * ring between two turns of the main loop, so a ring can be stopped at any point of it, and its
 * base is exact.
 */
#ifndef TRIVM_SWITCH_GUEST_H
#define TRIVM_SWITCH_GUEST_H

#include <sys/stat.h>

#include "devices/vhost/user_wire.h"
#include "devices/virtio/queue.h"
#include "switch/fabric.h"
#include "switch/guest_memory.h"
#include "vmm/listener.h"
#include "vmm/log.h"
#include "vmm/loop.h"

#define GUEST_PAIRS_MAX  32
#define GUEST_HDR_LEGACY offsetof(struct virtio_net_hdr_v1, num_buffers)
#define GUEST_RINGS_MAX  (2 * GUEST_PAIRS_MAX)
/* Descriptors of a front-end that hang in close(); more end its session. */
#define GUEST_FOREIGN_MAX 64

struct sw;
struct guest;

struct guest_ring {
	struct guest *guest;
	unsigned index; /* even: the guest receives; odd: it transmits */

	/* The session's: what the front-end said last. */
	uint32_t num;
	virtq_base_t base;
	uint64_t desc, avail, used; /* user addresses */
	bool addr_set;
	bool kicked;       /* VU_SET_VRING_KICK came: to run as soon as the rest is there */
	bool told, wanted; /* VU_SET_VRING_ENABLE came, and what it said */
	bool enabled;      /* what follows (guest_rings_enable()) */
	int kick_fd, call_fd, err_fd;

	bool running;
	bool broken; /* by the driver; until it is stopped */
	struct virtq q;
	void *inflight; /* its part of the inflight region; NULL: none */
	uint16_t noted; /* packed: descriptors noted there since the last flush */
	struct loop_source kick;
	bool blocked; /* its frames wait for a full port, until the next turn of the loop */
	uint64_t blocked_since; /* monotonic microseconds; 0: they do not wait */
	unsigned resume;        /* of fabric_forward(): a flood stopped between two receivers */
	int active;             /* place in guest->tx.rings, or -1 */
};

/*
 * The port's transmit rings that have something to do, and what the port may cost before others
 * have their turn (sw.c).
 */
struct guest_turns {
	struct guest_ring *rings[GUEST_PAIRS_MAX];
	unsigned nr, blocked; /* rings; those of them that wait for a full port */
	unsigned next;        /* ring, in turn */
	int64_t credit;       /* of costs as struct fabric has them; negative: a debt */
	uint64_t idle_since;  /* monotonic nanoseconds: it has a debt and no active ring */
	int place;            /* in sw->busy, or -1 */
};

/* Chains popped from a receive ring for the frames of one batch. */
#define STASH_CHAINS        512
#define GUEST_UNFLUSHED_MAX STASH_CHAINS /* chains that are pushed before a flush */
#define STASH_IOV           (STASH_CHAINS + VIRTQ_CHAIN_MAX)

struct stash {
	unsigned first, nr, nr_iov;
	struct virtq_chain chain[STASH_CHAINS];
	struct iovec iov[STASH_IOV] __attribute__((aligned(16))); /* none in two cache lines */
};

/* Time that a front-end's messages may take, in nanoseconds; and when that was reckoned last. */
struct guest_talk {
	int64_t credit;
	uint64_t at;
};

struct guest_config {
	const char *path;
	bool server;
	const char *id;
	uint16_t vlan;
	bool isolated;
};

struct guest {
	struct sw_port port;
	struct sw *sw;
	struct guest_config config;

	/* guest_conn.c */
	struct stat bound; /* the file of listen_fd */
	int listen_fd, fd, timer_fd;
	struct listener listen;
	struct loop_source socket, timer;
	unsigned retry_ms;
	unsigned penalty_ms; /* the last one; 0: none yet */
	uint64_t penalty_at; /* monotonic milliseconds */
	struct guest_talk talk;
	struct vu_rx rx;
	int reply_fd; /* goes with the answer; -1: none */
	struct log_limit limit;
	bool blocking;      /* the front-end has made an eventfd blocking again */
	const char *doomed; /* why the session is to be ended at the next turn; NULL: it is not */

	/* The session's. */
	uint64_t features, protocol; /* acknowledged */
	uint64_t status;
	uint64_t mtu;
	bool said_unshared; /* that there is no memory, though a ring is enabled */
	struct guest_memory mem;
	struct guest_ring rings[GUEST_RINGS_MAX];
	uint16_t inflight_queues, inflight_size; /* of mem.inflight */
	bool inflight_packed;

	struct guest_turns tx; /* outlives the session, so that reconnecting pays no debt */

	/* From features, for the datapath. */
	uint32_t hdr_len; /* 12, or 10 for a driver without VERSION_1 and MRG_RXBUF */
	bool mrg_rxbuf;
	uint64_t offloads;   /* VIRTIO_NET_F_GUEST_* that may be delivered, HOST_* that may come */
	unsigned nr_receive; /* receive rings that run and are enabled ... */
	struct guest_ring *receive[GUEST_PAIRS_MAX]; /* ... and these are they */
};

/* --- guest.c. Main thread, as all of it. --- */

/* A port by @config, added to the fabric; its socket is opened by guest_open(). */
int guest_create(struct guest **g, struct sw *sw, const struct guest_config *config,
                 struct err *err);
void guest_destroy(struct guest *g); /* NULL: nothing */

/* A session begins and ends; the second is idempotent. @why NULL: no message. */
void guest_session_begin(struct guest *g);
void guest_session_end(struct guest *g, const char *why);

/* End the session at the main loop's next turn, from wherever it was found out. */
void guest_doom(struct guest *g, const char *why);

/* Add 1 to one of its eventfds; -1: none. A front-end that tries to make it block loses the session.
 */
void guest_signal(struct guest *g, int eventfd);

/* --- guest_conn.c --- */

/* The port's timer, idle. 0 or a negative errno. */
int guest_timer_create(struct guest *g);
/* Listen, or begin to connect. Errors name the socket and say what to do. */
int guest_open(struct guest *g, struct err *err);
void guest_close(struct guest *g); /* idempotent */
/* @fd is a new connection: the guest's from here on, unless a negative errno comes back. */
int guest_attach(struct guest *g, int fd);
/* End the session of a doomed guest. */
void guest_conn_lost(struct guest *g);

/* --- guest_proto.c --- */

/* What is offered: virtio feature bits with VU_F_PROTOCOL_FEATURES, and protocol features. */
uint64_t guest_features(void);
uint64_t guest_protocol_features(void);

/*
 * One whole message of the front-end in g->rx: do it, and answer on g->fd if it has to be answered.
 * 0, or a negative errno with a reason in @err: the session is to be ended.
 */
int guest_message(struct guest *g, struct err *err);

/* --- guest_inflight.c --- */

/* VU_GET_INFLIGHT_FD and VU_SET_INFLIGHT_FD; as a handler of guest_proto.c returns. */
int guest_get_inflight(struct guest *g, struct err *err);
int guest_set_inflight(struct guest *g, struct err *err);

/*
 * r->q was started from r->base: begin to note in the ring's part of the region, if there is one.
 * 1: the region knows better where the ring stands, *@base; to be started again from there. 0: go
 * on. -EINVAL: the region is too small for the ring.
 */
int guest_inflight_start(struct guest_ring *r, virtq_base_t *base, struct err *err);
/* The front-end has been told the base: what the region says does not count any more. */
void guest_inflight_end(struct guest_ring *r);
/* Before each virtq_push(), and around virtq_flush(). Only if r->inflight. */
void guest_inflight_note(struct guest_ring *r);
void guest_inflight_before_flush(struct guest_ring *r);
void guest_inflight_after_flush(struct guest_ring *r);

/* --- guest_ring.c --- */

/* Start all rings that have everything and do not run. The first error, and @err; others run. */
int guest_rings_start(struct guest *g, struct err *err);
/* Stop one ring; its base is exact then. Idempotent. */
void guest_ring_stop(struct guest_ring *r);
void guest_rings_stop(struct guest *g);
/*
 * Which rings are enabled, after features or VU_SET_VRING_ENABLE: what the front-end said; until it
 * has said something, all of them unless VU_F_PROTOCOL_FEATURES is acknowledged ("Ring states").
 */
void guest_rings_enable(struct guest *g);
/* After rings, or their enabling, have changed: whom to deliver to. */
void guest_receivers(struct guest *g);

/* --- guest_tx.c --- */

/*
 * A turn of a transmit ring: at most SW_BATCH chains and SW_COST_MAX. 0: it was empty, or its first
 * frame has to wait for a full port, which r->blocked_since says. *@cost: what it cost.
 */
unsigned guest_ring_poll(struct guest_ring *r, uint32_t *cost);
/* Ask for kicks. True: there is work already, and none were asked for. */
bool guest_ring_arm(struct guest_ring *r);

/* --- guest_rx.c --- */

extern const struct sw_port_ops guest_port_ops;

#endif
