/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * queue: the device's side of a virtqueue (virtio 1.2, 2.6 "Virtqueues", 2.7 split, 2.8 packed).
 *
 * Two types, so that what a driver wrote can never be taken for what was checked:
 *
 *   - struct virtq_config: the driver's settings, as its registers hold them. Not to be trusted.
 *   - struct virtq: a running queue, settings validated and rings translated. virtq_start() makes
 *     the one from the other, virtq_base() says where it stands.
 *
 * A running queue has exactly one owner: one thread, which alone calls the functions below. It
 * takes chains of buffers off the queue (virtq_pop), uses them, gives them back (virtq_push) and
 * makes what it gave back visible to the driver (virtq_flush), as often as it likes in between.
 *
 * The driver can write to all of it at any time. Each descriptor is read once into a local,
 * checked, and used from there; every index and length is bounded; a loop cannot be longer than the
 * queue. A queue that breaks these rules is broken: virtq_pop() says so, and nothing more is done
 * with it.
 */
#ifndef TRIVM_DEVICES_VIRTIO_QUEUE_H
#define TRIVM_DEVICES_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/err.h"
#include "vmm/memory.h"

#define VIRTQ_SIZE_MAX 32768 /* 2.6; a split queue's size is a power of two */
/* A longer chain is refused: more than any driver sends, and what one readv() or writev() takes. */
#define VIRTQ_CHAIN_MAX 1024

/* What the driver chose for one queue. */
struct virtq_config {
	uint16_t size_max; /* what the device offers; 0: there is no such queue */
	uint16_t size;     /* queue_size */
	bool enabled;      /* queue_enable (QueueReady) */
	uint64_t desc;     /* descriptor area: table, or descriptor ring */
	uint64_t driver;   /* driver area: available ring, or driver event suppression */
	uint64_t device;   /* device area: used ring, or device event suppression */
};

/* The negotiated features that change how a queue works. */
struct virtq_features {
	bool packed;    /* VIRTIO_F_RING_PACKED */
	bool event_idx; /* VIRTIO_F_EVENT_IDX */
	bool indirect;  /* VIRTIO_F_INDIRECT_DESC */
	bool in_order; /* VIRTIO_F_IN_ORDER: the owner pushes chains in the order in which it popped
	                  them */
};

struct virtq_features virtq_features(uint64_t negotiated);

/*
 * Where a queue stands, in the form that vhost uses (VHOST_SET_VRING_BASE; vhost-user.rst, "Ring
 * states"): split: the next available index. Packed: bits 0-14 the next available position, bit 15
 * its wrap counter, bits 16-30 the next used position, bit 31 its wrap counter. A new queue:
 * virtq_base_new().
 */
typedef uint32_t virtq_base_t;

static inline virtq_base_t virtq_base_new(bool packed)
{
	return packed ? 0x80008000u : 0;
}

/* Can a queue of @size stand there? A base that comes from outside is asked this first. */
bool virtq_base_valid(virtq_base_t base, bool packed, uint16_t size);

/* Where the areas of a validated queue are in this process. */
struct virtq_areas {
	void *desc, *driver, *device; /* as in struct virtq_config */
};

/*
 * Validate the driver's settings and translate them, for whoever is going to serve the ring.
 * -EINVAL with a reason in @err: size not in 1..size_max or (split) no power of two; an area that
 * is misaligned or not in guest memory. Any thread.
 */
int virtq_translate(const struct virtq_config *config, bool packed, const struct memory *mem,
                    struct virtq_areas *areas, struct err *err);

/*
 * Nobody serves the queue: bring what its last server told the driver about notifications to what a
 * server that has not begun expects, that the driver notifies for the next chain behind @base. A
 * back-end that never suppresses notifications never writes there, and would not get one if its
 * predecessor had suppressed them.
 */
void virtq_notify_again(const struct virtq_areas *areas, uint16_t size, struct virtq_features f,
                        virtq_base_t base);

/*
 * Where a split queue stands whose server went away without saying: everything behind the used
 * index, as if what it had taken since had not been taken. 0 or -EINVAL (as above). Nobody serves
 * it.
 */
int virtq_used_base(const struct virtq_config *config, const struct memory *mem,
                    virtq_base_t *base);

/*
 * The same for both formats, if the server used chains in the order in which it took them. In a
 * packed ring, with @complete, a batch that it was killed in the middle of giving back is given
 * back: the driver may then be owed an interrupt. (Without, for a successor who knows more.)
 * recover.c.
 */
int virtq_recover(const struct virtq_config *config, bool packed, bool complete,
                  const struct memory *mem, virtq_base_t *base);

/*
 * How many chains the driver has made available that a server which stands at @base has not taken;
 * 0 also if the settings are not valid. Nobody serves it. recover.c.
 */
unsigned virtq_waiting(const struct virtq_config *config, bool packed, virtq_base_t base,
                       const struct memory *mem);

/* Counters; the owner's, others read them by counters_read(). */
struct virtq_stats {
	uint64_t chains;            /* popped */
	uint64_t interrupts;        /* virtq_flush() said true */
	uint64_t interrupts_spared; /* it had something to flush and said false */
	uint64_t kicks_off;         /* virtq_kick_disable() */
};

struct virtq_split {
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail; /* the next available entry to take, free-running */
	uint16_t avail_seen; /* the driver's index when it was last read */
	uint16_t next_used;  /* the next used entry to fill, free-running */
	uint16_t flushed;    /* used index that the driver can see */
	bool flushed_once;   /* since virtq_start() */
};

struct virtq_packed {
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver_event, *device_event;
	uint16_t avail; /* the next position to take */
	bool avail_wrap;
	uint16_t used; /* the next position to fill */
	bool used_wrap;
	/* Filled since the last flush: the first one's flags are written last. */
	uint16_t batch, batch_first;
	uint16_t batch_flags;     /* of the first one */
	uint16_t batch_positions; /* ring positions that the batch spans */
	bool flushed_once;        /* since virtq_start() */
};

struct virtq {
	const struct memory *mem;
	struct virtq_features f;
	uint16_t size;
	uint16_t inflight;  /* popped and not pushed; never above size */
	const char *broken; /* NULL, or what the driver did wrong */
	/* Whose it is, and which, for vmm/trace.h: the owner's to set; NULL: nobody's. */
	const char *dev;
	unsigned ring;
	union {
		struct virtq_split split;
		struct virtq_packed packed;
	};
	struct virtq_stats stats;
};

/*
 * Validate @config (virtq_translate()) and set up *@q to go on from @base. The memory behind @mem
 * outlives the running queue. -EINVAL with a reason in @err: settings, or base out of range. Any
 * thread; the caller becomes the owner.
 */
int virtq_start(struct virtq *q, const struct virtq_config *config, struct virtq_features features,
                virtq_base_t base, const struct memory *mem, struct err *err);

/*
 * Where it stands: everything flushed and pushed; chains that are still in flight are the caller's
 * to account for (it pushes them first, or hands them over).
 */
virtq_base_t virtq_base(const struct virtq *q);

/* The same for others than its owner, at any moment while it runs: for people to look at. */
virtq_base_t virtq_peek(const struct virtq *q);

/* One chain of buffers. iov[0 .. nr_out-1] is the driver's to read, the nr_in behind them ours to
 * fill. */
struct virtq_chain {
	uint16_t id;      /* what the driver knows it by */
	uint16_t nr_desc; /* ring positions it takes (packed) */
	unsigned nr_out, nr_in;
	uint32_t out_len, in_len; /* bytes; the sum fits 32 bits */
	struct iovec *iov;        /* the caller's array */
};

/*
 * The next chain, its buffers translated into @iov (room for @iov_max; a chain that needs more
 * breaks the queue). 1: there is one; 0: none available; -EPROTO: the queue is broken, q->broken
 * says why.
 */
int virtq_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov, unsigned iov_max);

/*
 * Put back the chain that was popped last, as if it had never been taken; then the one before it,
 * and so on.
 */
void virtq_unpop(struct virtq *q, const struct virtq_chain *chain);

/*
 * Give a chain back with @written bytes in its device-writable part. Not visible to the driver
 * before virtq_flush(). Chains may come back in any order unless in_order is set.
 */
void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written);

/* Show the driver everything pushed since the last time. True: it wants an interrupt for that. */
bool virtq_flush(struct virtq *q);

/*
 * Tell the driver that it need not notify us, because we are looking anyway; and that it has to
 * again. virtq_kick_enable() looks once more afterwards: true means that something is available
 * already, and the owner must not go to sleep.
 */
void virtq_kick_disable(struct virtq *q);
bool virtq_kick_enable(struct virtq *q);

/* Is a chain available? Does not take it. */
bool virtq_more(struct virtq *q);

/*
 * Packed queues only: the descriptor that the next virtq_push() overwrites, so that an owner can
 * note it where it outlives the process, and undo a batch that it did not live to flush.
 */
struct virtq_slot {
	uint16_t position, id, flags;
	uint32_t len;
};
void virtq_slot_read(const struct virtq *q, struct virtq_slot *slot);
/* Write it back. A position outside the ring is ignored. */
void virtq_slot_write(struct virtq *q, const struct virtq_slot *slot);
/* Is the descriptor at @position available to a device whose wrap counter is @wrap? */
bool virtq_is_available(const struct virtq *q, uint16_t position, bool wrap);

/* --- Buffers: copying between a chain's part and one piece of memory. Bytes copied. --- */
size_t iov_copy_out(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len);
size_t iov_copy_in(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t len);

#endif
