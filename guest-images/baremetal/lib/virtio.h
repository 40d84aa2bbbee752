/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio: a driver's view of a virtio 1.2 device for bare-metal guests: both transports (virtio.c)
 * and both ring formats (virtq.c). Polled, unless an interrupt is asked for.
 *
 * The functions of the rings need no privilege: they are meant for code at CPL3 (user_run()). Those
 * of the device go through registers, each access an exit, and are called from either side.
 */
#ifndef BM_VIRTIO_H
#define BM_VIRTIO_H

#include "bm.h"

#define VIRTIO_ID_NET     1
#define VIRTIO_ID_BLOCK   2
#define VIRTIO_ID_CONSOLE 3
#define VIRTIO_ID_RNG     4

#define VIRTIO_F_INDIRECT    28
#define VIRTIO_F_EVENT_IDX   29
#define VIRTIO_F_VERSION_1   32
#define VIRTIO_F_RING_PACKED 34

#define VIRTIO_BIT(n) (1ul << (n))

struct virtio_dev {
	bool mmio;
	uint16_t type;
	uint8_t devfn;         /* pci */
	unsigned window;       /* pci: the configuration access capability, or 0 */
	bool msix;             /* interrupts were set up */
	uint64_t base;         /* mmio: its registers */
	uint64_t common;       /* pci: the common configuration */
	uint64_t notify;       /* pci: the notification area */
	uint32_t notify_scale; /* pci: bytes from one queue's place in it to the next one's */
	uint64_t config;       /* the device's own configuration; 0: it has none */
	uint64_t features;     /* negotiated */
};

enum virtio_where {
	VIRTIO_ANYWHERE,
	VIRTIO_PCI,
	VIRTIO_MMIO,
};

/* The first device of this type. On PCI: bus 0; by memory: the places where trivm and QEMU's
 * microvm have theirs. */
bool virtio_find(struct virtio_dev *d, uint16_t type, enum virtio_where where);

/* The device of any type at this place, if there is one. */
bool virtio_probe_pci(struct virtio_dev *d, uint8_t devfn);
bool virtio_probe_mmio(struct virtio_dev *d, uint64_t addr);

/*
 * Reset, then negotiate what the device offers of @wanted. False: it lacks VIRTIO_F_VERSION_1 or
 * does not accept the choice (2.2.2, 3.1.1).
 */
bool virtio_negotiate(struct virtio_dev *d, uint64_t wanted);
/* Interrupts of all queues as @vector to this processor, before any queue is set up. On PCI only.
 */
bool virtio_interrupts(struct virtio_dev *d, uint8_t vector);
void virtio_driver_ok(struct virtio_dev *d);
/* Begin a reset, which is over when the status reads 0. */
void virtio_reset(const struct virtio_dev *d);
uint8_t virtio_status(const struct virtio_dev *d);

#define VIRTIO_STATUS_DRIVER_OK   4
#define VIRTIO_STATUS_NEEDS_RESET 64

/* A virtqueue of chains with one buffer each. The ids are the user's, below the size. */
struct virtq {
	bool packed, event_idx;
	uint16_t size, index;
	uint64_t kick_at; /* where a notification is written */
	bool kick_wide;   /* 32 bits of it */
	uint64_t kicks;   /* how many were */

	struct virtq_desc *desc;   /* split: the table; packed: the ring */
	uint16_t *driver, *device; /* available and used ring; packed: the event structures */

	uint16_t avail;       /* split: free-running index; packed: position */
	uint16_t published;   /* split: what the device was shown */
	uint16_t added;       /* positions since then */
	uint16_t used;        /* as avail */
	bool wrap, used_wrap; /* packed */
};

/* Enable queue @index with at most @size entries. False: there is no such queue. */
bool virtio_queue(struct virtio_dev *d, struct virtq *q, uint16_t index, uint16_t size);
/* What it does to *@q: rings of @size entries, on pages of their own. */
void virtq_init(struct virtq *q, uint16_t size, uint64_t features);

/* Give the device one buffer under @id; it writes into it if @writable. At most `size` at a time.
 */
void virtq_add(struct virtq *q, uint16_t id, const void *buf, uint32_t len, bool writable);
struct virtq_buf {
	const void *at;
	uint32_t len;
	bool writable;
};

/*
 * Several buffers under one @id, as an indirect table (VIRTIO_F_INDIRECT) in @table, which has 16
 * bytes for each and belongs to the device until it is done.
 */
void virtq_add_chain(struct virtq *q, uint16_t id, void *table, const struct virtq_buf *bufs,
                     unsigned n);
/* Show the device what was added, and notify it if it wants that. */
void virtq_publish(struct virtq *q);
/* Have the device interrupt when it is done with the next buffer. Once. */
void virtq_want_interrupt(struct virtq *q);
/* Notify the device, whether it wants that or not. */
void virtq_kick(struct virtq *q);
/* A buffer that the device is done with: its id, *@len bytes were written. -1: none. */
int virtq_get(struct virtq *q, uint32_t *len);

#endif
