/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver's side of virtqueues (virtio 1.2, 2.7 split, 2.8 packed), polled.
 *
 * Interrupts are suppressed, unless one is asked for: by the flag, by an event index that stays
 * just behind what the device has used, or by the event structure. Notifications are sent only
 * where the device asks for them, as from CPL3 each costs an exit.
 *
 * On x86 stores are seen in their order, and so are loads: a compiler barrier is all that is
 * needed, but between a store and a load behind it (publishing, then reading what the device
 * wants).
 */
#include "virtio.h"

#define DESC_NEXT     1
#define DESC_WRITE    2
#define DESC_INDIRECT 4

/* Split (2.7): u16 flags, u16 idx, then the ring, then the event index. */
#define RING_FLAGS         0
#define RING_IDX           1
#define RING_ENTRIES       2
#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

/* Packed (2.8): bits in the descriptor's flags, and the event structure's two words. */
#define DESC_AVAIL    0x0080
#define DESC_USED     0x8000
#define EVENT_OFF     0
#define EVENT_FLAGS   1
#define EVENT_ENABLE  0
#define EVENT_DISABLE 1
#define EVENT_DESC    2
#define EVENT_WRAP    0x8000

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	union {
		struct {
			uint16_t flags, next;
		} split;
		struct {
			uint16_t id, flags;
		} packed;
	};
};

struct used_elem {
	uint32_t id, len;
};

#define compiler_barrier() __asm__ volatile("" : : : "memory")

/* Device memory of a ring is read and written once, when it is said. */
static uint16_t load(const uint16_t *p)
{
	return *(const volatile uint16_t *)p;
}

static void store(uint16_t *p, uint16_t v)
{
	*(volatile uint16_t *)p = v;
}

/* 2.7.10.1: was @event passed on the way from @old to @new? */
static bool passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

void virtq_kick(struct virtq *q)
{
	q->kicks++;
	if (q->kick_wide)
		write32(q->kick_at, q->index);
	else
		write16(q->kick_at, q->index);
}

/* ---- split ---- */

static void split_add(struct virtq *q, uint16_t id, uint64_t addr, uint32_t len, uint16_t flags)
{
	q->desc[id].addr = addr;
	q->desc[id].len = len;
	q->desc[id].split.flags = flags;
	q->driver[RING_ENTRIES + (q->avail++ & (q->size - 1))] = id;
}

static bool split_publish(struct virtq *q)
{
	uint16_t old = q->published;

	compiler_barrier();
	store(&q->driver[RING_IDX], q->avail);
	q->published = q->avail;
	barrier();
	if (!q->event_idx)
		return !(load(&q->device[RING_FLAGS]) & USED_NO_NOTIFY);
	/* avail_event lies behind the used ring: 4 bytes, then 8 an entry. */
	return passed(load(&q->device[2 + 4 * q->size]), q->avail, old);
}

static int split_get(struct virtq *q, uint32_t *len)
{
	const struct used_elem *e;

	if (load(&q->device[RING_IDX]) == q->used)
		return -1;
	compiler_barrier();
	e = (const struct used_elem *)&q->device[2] + (q->used & (q->size - 1));
	q->used++;
	if (q->event_idx)
		store(&q->driver[RING_ENTRIES + q->size], (uint16_t)(q->used - 1));
	*len = e->len;
	return (int)e->id;
}

/* ---- packed ---- */

static void packed_next(const struct virtq *q, uint16_t *position, bool *wrap)
{
	if (++*position == q->size) {
		*position = 0;
		*wrap = !*wrap;
	}
}

static void packed_add(struct virtq *q, uint16_t id, uint64_t addr, uint32_t len, uint16_t flags)
{
	struct virtq_desc *d = &q->desc[q->avail];

	d->addr = addr;
	d->len = len;
	d->packed.id = id;
	compiler_barrier();
	store(&d->packed.flags, (uint16_t)(flags | (q->wrap ? DESC_AVAIL : DESC_USED)));
	packed_next(q, &q->avail, &q->wrap);
	q->added++;
}

static bool packed_publish(struct virtq *q)
{
	uint16_t added = q->added, flags, off, event;

	q->added = 0;
	barrier();
	flags = load(&q->device[EVENT_FLAGS]) & 3;
	if (flags != EVENT_DESC)
		return flags == EVENT_ENABLE;
	compiler_barrier();
	off = load(&q->device[EVENT_OFF]);
	event = off & (EVENT_WRAP - 1);
	if (!!(off & EVENT_WRAP) != q->wrap)
		event = (uint16_t)(event - q->size);
	return passed(event, q->avail, (uint16_t)(q->avail - added));
}

static int packed_get(struct virtq *q, uint32_t *len)
{
	struct virtq_desc *d = &q->desc[q->used];
	uint16_t flags = load(&d->packed.flags);
	int id;

	if (!!(flags & DESC_AVAIL) != q->used_wrap || !!(flags & DESC_USED) != q->used_wrap)
		return -1;
	compiler_barrier();
	id = d->packed.id;
	*len = d->len;
	packed_next(q, &q->used, &q->used_wrap);
	return id;
}

/* ---- either ---- */

void virtq_add(struct virtq *q, uint16_t id, const void *buf, uint32_t len, bool writable)
{
	uint16_t flags = writable ? DESC_WRITE : 0;

	if (q->packed)
		packed_add(q, id, (uint64_t)buf, len, flags);
	else
		split_add(q, id, (uint64_t)buf, len, flags);
}

void virtq_add_chain(struct virtq *q, uint16_t id, void *table, const struct virtq_buf *bufs,
                     unsigned n)
{
	struct virtq_desc *d = table;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = bufs[i].writable ? DESC_WRITE : 0;

		d[i].addr = (uint64_t)bufs[i].at;
		d[i].len = bufs[i].len;
		if (q->packed) { /* 2.8.7: no NEXT, the id does not count */
			d[i].packed.id = 0;
			d[i].packed.flags = flags;
		} else {
			d[i].split.next = (uint16_t)(i + 1);
			d[i].split.flags = (uint16_t)(flags | (i + 1 < n ? DESC_NEXT : 0));
		}
	}
	if (q->packed)
		packed_add(q, id, (uint64_t)d, n * 16, DESC_INDIRECT);
	else
		split_add(q, id, (uint64_t)d, n * 16, DESC_INDIRECT);
}

void virtq_publish(struct virtq *q)
{
	if (q->packed ? packed_publish(q) : split_publish(q))
		virtq_kick(q);
}

int virtq_get(struct virtq *q, uint32_t *len)
{
	return q->packed ? packed_get(q, len) : split_get(q, len);
}

void virtq_want_interrupt(struct virtq *q)
{
	if (q->packed)
		store(&q->driver[EVENT_FLAGS], EVENT_ENABLE);
	else if (q->event_idx)
		store(&q->driver[RING_ENTRIES + q->size], q->used);
	else
		store(&q->driver[RING_FLAGS], 0);
	barrier();
}

/* @n bytes of zeroed memory from a page's start. */
static void *pages(uint64_t n)
{
	uint8_t *first = page_alloc();

	while (n > 4096) {
		page_alloc(); /* they come one behind the other */
		n -= 4096;
	}
	return first;
}

void virtq_init(struct virtq *q, uint16_t size, uint64_t features)
{
	*q = (struct virtq){
		.packed = features & VIRTIO_BIT(VIRTIO_F_RING_PACKED),
		.event_idx = features & VIRTIO_BIT(VIRTIO_F_EVENT_IDX),
		.size = size,
		.wrap = true,
		.used_wrap = true,
	};
	q->desc = pages(16ul * size);
	q->driver = pages(6 + 2ul * size);
	q->device = pages(6 + 8ul * size);
	if (q->packed)
		q->driver[EVENT_FLAGS] = EVENT_DISABLE;
	else if (q->event_idx)
		q->driver[RING_ENTRIES + size] = UINT16_MAX;
	else
		q->driver[RING_FLAGS] = AVAIL_NO_INTERRUPT;
}
