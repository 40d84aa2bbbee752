/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dp_vmm_priv: what the files of the datapath "vmm" share. dp_vmm.c has its theory of operation.
 */
#ifndef TRIVM_DEVICES_NET_DP_VMM_PRIV_H
#define TRIVM_DEVICES_NET_DP_VMM_PRIV_H

#include <linux/virtio_net.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "devices/net/datapath.h"
#include "devices/net/port.h"
#include "devices/virtio/queue.h"
#include "vmm/loop.h"

#define PAIR_BATCH 64 /* frames of one direction before the other one's turn */

/* In front of each frame in a ring: with VERSION_1 it has num_buffers always (5.1.6.1). */
#define PAIR_HDR  PORT_VNET_HDR
#define FRAME_MIN 14 /* an Ethernet header */
/* The largest segmentation offload behind an Ethernet header with a VLAN tag; and its own header.
 */
#define FRAME_MAX (65536 + 18 + PAIR_HDR)

#define STASH_CHAINS    256
#define STASH_CHAIN_IOV (VIRTQ_CHAIN_MAX / 2) /* of one receive buffer, at most */
#define STASH_IOV       (2 * VIRTQ_CHAIN_MAX)

struct stash_entry {
	struct virtq_chain chain;
	unsigned nr; /* iovecs */
};

/* Receive buffers that were popped in advance, oldest first. Their iovecs lie one behind the other.
 */
struct stash {
	struct stash_entry entries[STASH_CHAINS];
	unsigned first, nr;
	size_t bytes; /* in all of them */
	struct iovec iov[STASH_IOV];
	unsigned iov_first, iov_nr;
	/* Of these the first that lie one behind the other in memory, too, and their bytes. */
	unsigned run_nr;
	size_t run;
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

/* One direction of a pair. The thread's while it runs, the caller's otherwise. */
struct pair_ring {
	unsigned index; /* the datapath's number of it */
	bool on;        /* started */
	struct datapath_ring ring;
	struct virtq q;
	unsigned unflushed;          /* chains pushed since the last flush */
	uint64_t flushed_bytes;      /* stats.bytes at the last one */
	struct datapath_stats stats; /* counters: the thread writes, anybody reads */
};

/* Who woke the thread, as bits; 0: nobody, but the time that it wanted to sleep at most was over. */
enum pair_waker {
	PAIR_RX_KICK = 1,
	PAIR_TX_KICK = 2,
	PAIR_PORT = 4
};

/* dp_vmm_pace.c's. Times in CLOCK_MONOTONIC, us. */
struct pace {
	bool asleep;
	unsigned wakers; /* enum pair_waker: since it slept */

	/* Lingering. */
	uint64_t woke_at, idle_since; /* the last work began, ended */
	uint64_t pause;               /* how long short pauses were, in the middle */
	unsigned quick;               /* short pauses, less long ones */
	bool show_later;              /* pair_transmit() need not flush what is little */
	uint64_t shown_at;            /* by lingering, not later */

	/* Giving way. */
	bool may_give_way; /* nobody else chose the thread's scheduling policy */
	bool gives_way;
	unsigned wakes,
		by_tx; /* since counted_at: all, and those by the driver's kick for tx alone */
	uint64_t counted_at;
};

struct pair {
	struct dp_vmm *dp;
	unsigned index;
	int port_fd;
	pthread_t thread;
	bool runs; /* the thread exists */
	struct loop loop;
	struct loop_source rx_kick, tx_kick, port;
	bool port_gone; /* its other end is: it is not watched any more */

	/* The rest as struct pair_ring. */
	struct pair_ring rx, tx;
	bool tx_blocked; /* the port is full */
	bool more;       /* a direction stopped for fairness only */
	struct pace pace;

	bool rx_starved; /* no buffers: the port is not watched, a kick is waited for */
	struct stash stash;
	uint8_t *spill;      /* 2 * FRAME_MAX bytes, behind the buffers that a frame is read into */
	bool bulk;           /* frames of up to FRAME_MAX are expected */
	unsigned small;      /* frames in a row that were short */
	size_t held;         /* bytes of a frame in spill that waits for buffers; 0: none */
	uint64_t held_until; /* CLOCK_MONOTONIC, us: then it is dropped */
};

/*
 * A frame's @chains were pushed, all of them. Shows them to the driver once they are as many as the
 * driver should go on with.
 */
void pair_pushed(struct pair *p, struct pair_ring *r, unsigned chains);
/* Show the driver what was pushed, and interrupt it if it wants that. */
void pair_flush(struct pair *p, struct pair_ring *r);
/* The ring is broken: tell the NIC. */
void pair_broken(struct pair *p, struct pair_ring *r);

/*
 * Leave out the virtio-net header at the front of the @n iovecs at *@iov, in place. The number
 * left;
 * *@iov is the first of them.
 */
unsigned pair_skip_header(struct iovec **iov, unsigned n);

/* Watch the port for what can be used now. */
void pair_watch_port(struct pair *p);

/* --- dp_vmm_pace.c --- */

/* The thread begins. */
void pair_pace_start(struct pair *p);
/* The thread is about to wait for events; one came, by @waker: kicks for tx are off then; they were
 * served, or the time was over without one. */
void pair_sleeps(struct pair *p);
void pair_woken(struct pair *p, enum pair_waker waker);
void pair_slept(struct pair *p);
/* Look for work without sleeping until there has been none for poll_us. */
void pair_busy_poll(struct pair *p);
/* Before sleeping, while frames come in quick succession: wait for some. True: they came. */
bool pair_linger(struct pair *p);
/* Show what was transmitted and has not been shown. */
void pair_show(struct pair *p);

/* --- dp_vmm_tx.c, dp_vmm_rx.c --- */

/* Move at most PAIR_BATCH frames. True: there was something to do. */
bool pair_transmit(struct pair *p);
bool pair_receive(struct pair *p);

/* The driver notified the receive ring. */
void pair_receive_kicked(struct pair *p);
/* Drop the held frame, if there is one and held_until has come. */
void pair_receive_expire(struct pair *p);
/*
 * The ring starts: the frame that was held when its last owner stopped is held again. And it has
 * stopped, the thread is gone: deliver a held frame if the driver has added buffers, or leave it with
 * the port.
 */
void pair_receive_begin(struct pair *p);
void pair_receive_keep(struct pair *p); /* only that: the ring did not start */
void pair_receive_end(struct pair *p);
/* Put the buffers that were popped in advance back into the ring, whose base is then exact. */
void pair_receive_settle(struct pair *p);

#endif
