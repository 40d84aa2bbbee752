/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost: virtqueues served by somebody else: the host kernel, or another process.
 *
 * The steps that hand a ring over are the same for every kind of vhost, and written once, here:
 *
 *	features -> memory table -> per ring { num, base, addresses, call, err, kick } -> start
 *	... -> stop -> per ring { base }
 *
 * A kind is a table of a few calls: ioctls (kernel.h) or messages (vhost-user). A driver's settings
 * are validated before any of them, and only then turned into addresses: of this process, since
 * that is what both kinds take.
 *
 *   NEW	 vhost_features()
 *   SET UP	 vhost_setup() fixed features and memory; may be repeated while no ring runs
 *   RUNNING	 vhost_ring_start() ... vhost_ring_stop() for each ring, in any order
 *
 * Threads: none of its own. Calls for one struct vhost come one at a time (the device's lock); they
 * may wait for the other side, which a kind bounds in time.
 */
#ifndef TRIVM_DEVICES_VHOST_VHOST_H
#define TRIVM_DEVICES_VHOST_VHOST_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/queue.h"
#include "vmm/err.h"
#include "vmm/memory.h"

#define VHOST_RINGS_MAX 64

struct vhost;

/*
 * One kind. All return 0 or a negative errno (the caller says which step failed), never call back,
 * and never block for good. @index: the ring's number, as the kind counts (below v->nr_rings).
 */
struct vhost_ops {
	const char *name; /* "vhost-net", for messages */
	/* What the other side can do, virtio's and its own device's feature bits only. */
	int (*get_features)(struct vhost *v, uint64_t *features);
	/*
	 * @features: what was negotiated, a subset. The kind adds bits of its own (backend and
	 * protocol features) by itself.
	 */
	int (*set_features)(struct vhost *v, uint64_t features);
	/* All of guest memory: mem->regions has address, size, host pointer, fd and its offset. */
	int (*set_mem_table)(struct vhost *v, const struct memory *mem);

	int (*vring_num)(struct vhost *v, unsigned index, uint16_t num);
	int (*vring_base)(struct vhost *v, unsigned index, virtq_base_t base);
	int (*vring_addr)(struct vhost *v, unsigned index, const struct virtq_areas *areas);
	int (*vring_call)(struct vhost *v, unsigned index, int fd);
	/* NULL: the kind has no such thing. Not called for a ring without an err_fd. */
	int (*vring_err)(struct vhost *v, unsigned index, int fd);
	int (*vring_kick)(struct vhost *v, unsigned index, int fd);

	/* Everything is there: begin. */
	int (*vring_start)(struct vhost *v, unsigned index);
	/*
	 * When it returns 0 the other side neither touches the ring nor the buffers in it, has
	 * dropped kick and call, and *@base is where it stands. On an error @base is not set: the
	 * other side is gone, or may still be at it (and then has to be closed). Also called for a
	 * ring whose start failed half-way.
	 */
	int (*vring_stop)(struct vhost *v, unsigned index, virtq_base_t *base);
	/* Where a ring that runs stands, and it runs on. NULL: the kind cannot say. */
	int (*vring_peek)(struct vhost *v, unsigned index, virtq_base_t *base);
};

/* Embedded in the kind's own struct; the kind fills in the first three. */
struct vhost {
	const struct vhost_ops *ops;
	const char *name;  /* of the device, for messages and logs: "net0" */
	unsigned nr_rings; /* at most VHOST_RINGS_MAX */

	uint64_t features; /* as set up */
	const struct memory *mem;
	uint64_t running;               /* a bit for each ring */
	uint16_t size[VHOST_RINGS_MAX]; /* of those that run */
};

/* One ring that is handed over. The eventfds stay the caller's, and open until the ring stops. */
struct vhost_ring {
	struct virtq_config config;
	virtq_base_t base;
	int kick_fd, call_fd; /* both are eventfds */
	int err_fd;           /* written when the ring is broken; -1: none */
};

/* What the other side offers. 0 or a negative errno with @err. */
int vhost_features(struct vhost *v, uint64_t *features, struct err *err);

/*
 * Fix features and memory. @mem outlives it. -EBUSY: a ring runs; -EOPNOTSUPP: @negotiated has what
 * the other side does not offer; or what the kind returned.
 */
int vhost_setup(struct vhost *v, uint64_t negotiated, const struct memory *mem, struct err *err);

/*
 * Validate the driver's settings and hand the ring over. It is looked at once at the start, kick or
 * no kick. -EINVAL: settings or base are wrong, or the ring runs; others: the other side refuses.
 * Nothing runs then, unless it failed at the last, and the other side does not answer any more:
 * vhost_ring_runs(), since it may have begun.
 */
int vhost_ring_start(struct vhost *v, unsigned index, const struct vhost_ring *ring,
                     struct err *err);

/*
 * Take the ring back. Returns when the other side has let go of it; *@base is where it stands, and
 * valid for the ring. -EINVAL: it does not run; -EPROTO: it came back with a base that it cannot
 * have; others: the other side did not answer. The ring counts as stopped in any case; after an
 * error the caller decides about the base (split: the used index in the ring, virtq_used_base()).
 */
int vhost_ring_stop(struct vhost *v, unsigned index, virtq_base_t *base);

static inline bool vhost_ring_runs(const struct vhost *v, unsigned index)
{
	return index < v->nr_rings && (v->running >> index & 1);
}

#endif
