/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * datapath: who moves packets between a NIC's virtqueues and the wire.
 *
 * The virtio-net device (net.h) stays in the VMM whatever happens to its packets; the datapath is
 * an object that can be replaced. Its interface is the vocabulary of the vhost protocol, since that
 * is what the other implementers speak natively:
 *
 *	features offered -> memory table -> per ring { size, addresses, base, kick fd, call fd }
 *	-> packets -> per ring { base }
 *
 * Implementers: "vmm" (dp_vmm.c) moves packets on threads of this process, through a port;
 * "vhost-net" (dp_vhost.h) has the host's kernel do it, "vhost-user" (dp_vhost_user.h) another
 * process.
 *
 *   NEW	 features() may be asked
 *   SET UP	 setup() fixed features, memory and whom to tell; no ring runs
 *   RUNNING	 some rings run: ring_start() / ring_stop() each; everything else stays allowed
 *   back to NEW by teardown(), when all rings are stopped
 *
 * Rings are numbered as virtio-net numbers its queues (5.1.2): 2i receives, 2i + 1 transmits.
 *
 * Calls come from one thread at a time (the NIC's lock is held). They may wait for the datapath's
 * own threads; these never wait for the caller.
 */
#ifndef TRIVM_DEVICES_NET_DATAPATH_H
#define TRIVM_DEVICES_NET_DATAPATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/virtio/queue.h"
#include "vmm/err.h"
#include "vmm/memory.h"

struct datapath;

/* One ring, lent to the datapath while it runs. The eventfds are the transport's. */
struct datapath_ring {
	const char *dev; /* the NIC's name, for vmm/trace.h */
	struct virtq_config config;
	virtq_base_t base;
	bool moved; /* from another datapath: frames may wait in it already */
	int kick_fd;
	int call_fd;      /* -1: call host->interrupt() instead */
	int peer_call_fd; /* for a datapath outside of this process: always an eventfd */
};

/* What the datapath tells the NIC. Any thread, never blocks. */
struct datapath_host {
	void (*interrupt)(void *opaque, unsigned ring);
	void (*broken)(void *opaque, unsigned ring, const char *why);
	/* Should this frame (its first bytes, Ethernet header first) be received? */
	bool (*accept)(void *opaque, const uint8_t *head, size_t len);
	/* As ops->watch() says. The NIC's lock is taken: not from within another call. */
	void (*carrier)(void *opaque, bool up);
	/*
	 * Another process has rings that it does not give back (ops->held()); or, @held false: it has
	 * none any more. From watch() on, as above. NULL: ignored.
	 */
	void (*held)(void *opaque, bool held);
	void *opaque;
};

#define DATAPATH_BATCH_SIZES 10

/* Counts since the start, of one ring. Torn reads are possible and harmless. */
struct datapath_stats {
	uint64_t packets, bytes; /* that passed; bytes without the virtio-net header */
	uint64_t batches;        /* times the used ring was published */
	uint64_t wakeups;        /* by a kick or by the port */
	uint64_t drop_link;      /* link down, or a port that leads nowhere */
	uint64_t drop_port;      /* the port refused it: malformed, interface down */
	uint64_t drop_size;      /* too short, or longer than the buffers */
	uint64_t drop_filter;    /* not for this NIC */
	/*
	 * Of the batches, how many were of 1 chain, of 2 or 3, of 4 to 7 ..., the last: of that and
	 * more. Behind what each packet adds to, which is then in one cache line: among it they cost
	 * 2 % of 33 million packets a second.
	 */
	uint64_t batch_sizes[DATAPATH_BATCH_SIZES];
	struct virtq_stats queue;
};

struct datapath_ops {
	const char *name;
	/*
	 * How it treats the eventfds, for those who count notifications and interrupts: it is
	 * outside of this process; it reads kick fds; ring_start() signals a kick fd once.
	 */
	bool outside, reads_kicks, kicks_at_start;
	/* What kind exactly, for people: "vhost-net". NULL: the name. */
	const char *(*kind)(const struct datapath *dp);
	/* The virtio features (ring format, offloads ...) that this datapath can do. */
	uint64_t (*features)(const struct datapath *dp);
	int (*setup)(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
	             const struct datapath_host *host, struct err *err);
	void (*teardown)(struct datapath *dp);

	/* -EINVAL: the driver's settings are wrong; others: the datapath could not. Nothing runs
	 * then. */
	int (*ring_start)(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
	                  struct err *err);
	/*
	 * After setup(): the rings that the driver has enabled so far were started. Some other
	 * sides look only then how many there are. NULL: nothing to do.
	 */
	void (*started)(struct datapath *dp);
	/*
	 * When it returns 0 nobody touches the ring any more; *@base is where it stands. A ring that
	 * does not run: -EINVAL. -EBUSY: it has stopped here, but another process may still touch
	 * it, see held(); *@base is not set.
	 */
	int (*ring_stop)(struct datapath *dp, unsigned index, virtq_base_t *base);

	/* What the driver accepts now (VIRTIO_NET_CTRL_GUEST_OFFLOADS): mask of 1 <<
	 * VIRTIO_NET_F_GUEST_*. */
	int (*set_offloads)(struct datapath *dp, uint64_t guest_offloads);
	/* How many pairs the driver uses (VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET). */
	int (*set_pairs)(struct datapath *dp, unsigned pairs);
	/*
	 * Is there a far side that packets could go to? @host->carrier() is told at once, and from
	 * then on of every change. @host NULL: no more; nobody is being told when it returns. The
	 * NIC's lock is not held. NULL: it is always there.
	 */
	void (*watch)(struct datapath *dp, const struct datapath_host *host);
	/* Is there a far side now? As watch() would say. NULL: always. */
	bool (*ready)(struct datapath *dp);
	/*
	 * Down: nothing is received, what is transmitted is dropped. Not by vhost-net: the kernel
	 * can only be kept from the ring, where frames wait until the link is up.
	 */
	void (*set_link)(struct datapath *dp, bool up);
	/* The process that has the rings; 0: not known, or there is none now. NULL: none ever. */
	pid_t (*backend)(struct datapath *dp);
	/*
	 * Is there a process that was given rings (before teardown(), too), has not given them back,
	 * and is not known to be dead? *@by: which; 0: not known. NULL: never.
	 */
	bool (*held)(struct datapath *dp, pid_t *by);
	/*
	 * The user's order: such a process counts as gone, though it is not known to be. Its rings do
	 * not run any more; their driver has to reset the device. NULL if held() is.
	 */
	void (*abandon)(struct datapath *dp);
	/* NULL: it does not count. */
	void (*stats)(const struct datapath *dp, unsigned ring, struct datapath_stats *stats);
	/* Where a ring that runs stands, without stopping it. -ENOTSUP: not known. NULL: never. */
	int (*position)(const struct datapath *dp, unsigned ring, virtq_base_t *base);
	void (*destroy)(struct datapath *dp); /* after teardown(); frees @dp */
};

/* Embedded in the implementer. */
struct datapath {
	const struct datapath_ops *ops;
};

/* --- "vmm": a thread of this process for each queue pair. --- */

struct port;
struct pcap_writer;

struct datapath_vmm_config {
	/* Borrowed: both outlive the datapath, and can serve the next one after teardown(). */
	struct port *port;
	struct pcap_writer *pcap; /* NULL: no capture */
	unsigned pairs;
	unsigned poll_us; /* look for work this long before sleeping; 0: sleep at once */
	bool packed;      /* offer VIRTIO_F_RING_PACKED */
};

/* 0 or a negative errno. Main thread. */
int datapath_vmm_create(struct datapath **dp, const struct datapath_vmm_config *config,
                        struct err *err);

#endif
