/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fabric: the switch between its ports: who gets a frame. It knows nothing of sockets, rings and
 * memory: a port hands in a batch of frames, and ports are handed theirs. One thread.
 *
 * Frames are not copied in here. They point to where they are, in the sender's guest memory, and
 * are valid until fabric_forward() returns. That memory can change at any time, so what the switch
 * decides on is read once; what the receiver gets may be something else by then, which is no worse
 * than if the sender had sent that.
 */
#ifndef TRIVM_SWITCH_FABRIC_H
#define TRIVM_SWITCH_FABRIC_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "switch/mac_table.h"

#define SW_BATCH     32           /* frames that travel together */
#define SW_PORTS_MAX 128          /* below MAC_TABLE_PORTS */
#define SW_FRAME_MIN 14           /* an Ethernet header */
#define SW_FRAME_MAX (65535 + 18) /* the largest segmentation offload behind two headers */
#define SW_HDR       sizeof(struct virtio_net_hdr_v1)

/*
 * What one call of fabric_forward() may cost, in bytes copied or their equivalent: some 100
 * microseconds. A frame costs its length and SW_COST_FRAME for each receiver, and as much again for
 * its contents and its segments if they may have to be finished.
 */
#define SW_COST_MAX   (256 << 10)
#define SW_COST_FRAME 256

/* What the fabric decided. */
enum sw_fate {
	SW_MALFORMED,
	SW_FILTERED,
	SW_FORWARDED,
	SW_FLOODED,
	SW_FATES
};

/* One frame, Ethernet header first. */
struct sw_frame {
	const struct iovec *iov;
	unsigned nr;
	uint32_t len;
	unsigned queue; /* of the sender's: frames of one queue stay in order */
	enum sw_fate fate;
	/* Our own, checked copy; all zero for a frame that is complete. num_buffers is not used. */
	bool offload;
	struct virtio_net_hdr_v1 hdr;
};

/* Counted from the switch's side: rx came in from the port, tx went out to it. */
struct sw_counters {
	uint64_t rx_packets, rx_bytes;
	uint64_t rx_malformed; /* too short or long, a wrong header, a source that is a group */
	uint64_t rx_disabled;  /* from a ring that is not enabled */
	uint64_t rx_filtered;  /* led back to where it came from, or to nobody it may reach */
	uint64_t rx_flooded;   /* group addresses, and stations that are not known */
	uint64_t tx_packets, tx_bytes;
	uint64_t tx_full;    /* no buffers there */
	uint64_t tx_size;    /* buffers too small for the frame */
	uint64_t tx_offload; /* an offload that the receiver does not take and we cannot undo */
	uint64_t tx_down;    /* nobody there */
	uint64_t wakeups;    /* kicks, or readiness of an uplink */
	uint64_t calls;      /* notifications sent */
};

struct sw_port;

struct sw_port_ops {
	/*
	 * Deliver @n frames (1 to SW_BATCH) in order. What does not fit is dropped and counted,
	 * but if @may_wait the port can ask to be offered the rest again: it returns how many it
	 * has dealt with, and sees to it that epoll wakes when there is room.
	 */
	unsigned (*deliver)(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
	                    bool may_wait);
};

/* Embedded in whoever implements a port. */
struct sw_port {
	const struct sw_port_ops *ops;
	char name[64];
	unsigned index; /* in the fabric */
	uint16_t vlan;  /* 0: none */
	bool isolated;  /* reaches only ports that are not */
	bool up;        /* somebody is there to deliver to */
	bool stuck;     /* full for so long that nobody waits for it, until it takes a frame */
	struct sw_counters counters;

	/* The fabric's. The last decision, which holds while table and clock stay the same. */
	mac_key_t last_src, last_dst;
	int last_port;
	uint32_t last_generation, last_now;
	unsigned nr_out; /* frames of the running batch that go here */
	struct sw_frame *out[SW_BATCH];
};

struct fabric {
	struct mac_table table;
	unsigned nr_ports;
	struct sw_port *ports[SW_PORTS_MAX];
	/* Ports with nr_out != 0. */
	unsigned nr_touched;
	struct sw_port *touched[SW_PORTS_MAX];
	/* Of the last fabric_forward(): the port that asked to wait, or NULL, and what it cost. */
	struct sw_port *full;
	uint32_t cost;
};

/* @age: seconds until a station that is silent is forgotten. 0 or a negative errno. */
int fabric_init(struct fabric *f, uint32_t age);
void fabric_destroy(struct fabric *f);

/* -ENOSPC: SW_PORTS_MAX are there. The port's ops, name, vlan and isolated are set by the caller.
 */
int fabric_add(struct fabric *f, struct sw_port *port);

/* The port's peer is gone: forget its stations. */
void fabric_port_down(struct fabric *f, struct sw_port *port);

/*
 * @n frames (at most SW_BATCH), each with len >= SW_FRAME_MIN, came in from @from. Returns how many
 * were dealt with. The caller brings the others again. There are two reasons for less than @n:
 *
 * - f->full: they were all for that port, which has no buffers. If that goes on for too long, the
 *   caller declares the port stuck.
 * - f->full is NULL: the call cost SW_COST_MAX, and other ports are to have their turn. A flood may
 *   stop between two receivers: *@resume, 0 at first, is where it goes on when the caller brings
 *   the same frame again. The caller keeps one for each of its queues.
 */
unsigned fabric_forward(struct fabric *f, struct sw_port *from, struct sw_frame *frames, unsigned n,
                        unsigned *resume);

/* The table's clock: seconds, monotonic. */
static inline void fabric_tick(struct fabric *f, uint32_t now)
{
	f->table.now = now;
}

#endif
