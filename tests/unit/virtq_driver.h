/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtq_driver: the driver's side of a virtqueue, of both formats, over a piece of memory that
 * stands for the guest's. It is written from the specification and knows nothing of the device's
 * code. One thread: driver and device take turns.
 *
 * Next to the honest driver (drv_add ...) there are the bare ring entries (drv_desc ...) for tests
 * that write what no honest driver would.
 */
#ifndef TRIVM_TESTS_VIRTQ_DRIVER_H
#define TRIVM_TESTS_VIRTQ_DRIVER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include <linux/virtio_ring.h>

#include "devices/virtio/queue.h"
#include "vmm/endian.h"
#include "vmm/util.h"

/* Where things are in the guest's memory. */
#define DRV_RAM      UINT64_C(0x100000)
#define DRV_RAM_SIZE MIB(32)
#define DRV_RAM_END  (DRV_RAM + DRV_RAM_SIZE)
#define DRV_DESC     DRV_RAM
#define DRV_DRIVER   (DRV_RAM + MIB(1))
#define DRV_DEVICE   (DRV_RAM + MIB(2))
#define DRV_TABLES   (DRV_RAM + MIB(4)) /* a chain's indirect table */
#define DRV_DATA     (DRV_RAM + MIB(16))

#define DRV_PARTS      8 /* buffers of a chain, at most */
#define DRV_PART_SIZE  32
#define DRV_TABLE_STEP 256
#define DRV_DATA_STEP  (DRV_PARTS * DRV_PART_SIZE)

struct drv_chain {
	bool out_there;
	unsigned nr_out, nr_in, nr_desc;
	uint32_t out_len, in_len;
	uint16_t desc[DRV_PARTS]; /* split: which descriptors it takes */
};

struct drv {
	struct memory mem;
	uint8_t *ram;
	bool packed, event_idx;
	unsigned size;

	unsigned nr_free; /* descriptors (split: those in free[]) */
	unsigned nr_ids;  /* packed: ids in free[] */
	uint16_t *free;
	struct drv_chain *chains; /* by id */
	unsigned nr_out_there;

	uint16_t avail, avail_kicked; /* split: free-running; packed: position */
	bool wrap;
	unsigned added; /* packed: positions since the last question for a kick */
	uint16_t used;  /* as avail */
	bool used_wrap;
};

static inline void *drv_at(const struct drv *d, uint64_t addr)
{
	assert_true(addr >= DRV_RAM && addr < DRV_RAM_END);
	return d->ram + (addr - DRV_RAM);
}

/* --- The bare rings. --- */

static inline struct vring_desc *drv_desc(const struct drv *d)
{
	return drv_at(d, DRV_DESC);
}
static inline struct vring_avail *drv_avail(const struct drv *d)
{
	return drv_at(d, DRV_DRIVER);
}
static inline struct vring_used *drv_used(const struct drv *d)
{
	return drv_at(d, DRV_DEVICE);
}
static inline struct vring_packed_desc *drv_ring(const struct drv *d)
{
	return drv_at(d, DRV_DESC);
}
static inline struct vring_packed_desc_event *drv_driver_event(const struct drv *d)
{
	return drv_at(d, DRV_DRIVER);
}
static inline struct vring_packed_desc_event *drv_device_event(const struct drv *d)
{
	return drv_at(d, DRV_DEVICE);
}

static inline void drv_set(struct vring_desc *e, uint64_t addr, uint32_t len, uint16_t flags,
                           uint16_t next)
{
	struct vring_desc v = {htole64(addr), htole32(len), htole16(flags), htole16(next)};

	memcpy(e, &v, sizeof(v)); /* a table can be at an odd place */
}

/* Split: make the chain at @head available. */
static inline void drv_publish(struct drv *d, uint16_t head)
{
	struct vring_avail *a = drv_avail(d);

	a->ring[d->avail & (d->size - 1)] = htole16(head);
	a->idx = htole16(++d->avail);
}

/* Packed: AVAIL and USED as they are for position @at, which may be a lap ahead. */
static inline uint16_t drv_avail_flags(const struct drv *d, unsigned at)
{
	bool wrap = at < d->size ? d->wrap : !d->wrap;

	return wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) : BIT(VRING_PACKED_DESC_F_USED);
}

static inline void drv_pset(struct vring_packed_desc *e, uint64_t addr, uint32_t len, uint16_t id,
                            uint16_t flags)
{
	struct vring_packed_desc v = {htole64(addr), htole32(len), htole16(id), htole16(flags)};

	memcpy(e, &v, sizeof(v));
}

/* Packed: put a descriptor of a chain at the driver's position and go on. */
static inline void drv_pput(struct drv *d, uint64_t addr, uint32_t len, uint16_t id, uint16_t flags)
{
	drv_pset(&drv_ring(d)[d->avail], addr, len, id, flags | drv_avail_flags(d, d->avail));
	d->added++;
	if (++d->avail == d->size) {
		d->avail = 0;
		d->wrap = !d->wrap;
	}
}

/* --- The honest driver. --- */

static inline void drv_init(struct drv *d, bool packed, unsigned size, bool event_idx)
{
	struct mem_region r = {.gpa = DRV_RAM, .size = DRV_RAM_SIZE, .fd = -1};

	memset(d, 0, sizeof(*d));
	d->ram = mmap(NULL, DRV_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
	              0);
	assert_true(d->ram != MAP_FAILED);
	r.host = d->ram;
	memory_init(&d->mem);
	assert_int_equal(memory_add(&d->mem, &r), 0);
	memory_freeze(&d->mem);
	d->packed = packed;
	d->event_idx = event_idx;
	d->size = d->nr_free = d->nr_ids = size;
	d->wrap = d->used_wrap = true;
	d->free = calloc(size, sizeof(d->free[0]));
	d->chains = calloc(size, sizeof(d->chains[0]));
	assert_true(d->free && d->chains);
	for (unsigned i = 0; i < size; i++)
		d->free[i] = (uint16_t)(size - 1 - i);
}

static inline void drv_destroy(struct drv *d)
{
	munmap(d->ram, DRV_RAM_SIZE);
	free(d->free);
	free(d->chains);
}

static inline struct virtq_config drv_config(const struct drv *d)
{
	return (struct virtq_config){
		.size_max = VIRTQ_SIZE_MAX,
		.size = (uint16_t)d->size,
		.enabled = true,
		.desc = DRV_DESC,
		.driver = DRV_DRIVER,
		.device = DRV_DEVICE,
	};
}

static inline uint64_t drv_part(uint16_t id, unsigned part)
{
	return DRV_DATA + (uint64_t)id * DRV_DATA_STEP + part * DRV_PART_SIZE;
}

/* What a byte of a device-readable buffer is. */
static inline uint8_t drv_pattern(uint16_t id, unsigned part, unsigned i)
{
	return (uint8_t)(id * 7u + part * 31u + i);
}

static inline void drv_fill(struct drv *d, uint16_t id)
{
	for (unsigned p = 0; p < d->chains[id].nr_out; p++) {
		uint8_t *at = drv_at(d, drv_part(id, p));

		for (unsigned i = 0; i < DRV_PART_SIZE; i++)
			at[i] = drv_pattern(id, p, i);
	}
}

static inline void drv_add_split(struct drv *d, uint16_t id, bool indirect)
{
	struct drv_chain *c = &d->chains[id];
	unsigned n = c->nr_out + c->nr_in;
	uint64_t addr = DRV_TABLES + (uint64_t)id * DRV_TABLE_STEP;

	for (unsigned i = 0; i < n; i++) {
		struct vring_desc *e = indirect ? (struct vring_desc *)drv_at(d, addr) + i
		                                : &drv_desc(d)[c->desc[i]];
		uint16_t next = i + 1 == n ? 0 : indirect ? (uint16_t)(i + 1) : c->desc[i + 1];

		drv_set(e, drv_part(id, i), DRV_PART_SIZE,
		        (uint16_t)((i >= c->nr_out ? VRING_DESC_F_WRITE : 0) |
		                   (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
		        next);
	}
	if (indirect)
		drv_set(&drv_desc(d)[id], addr, n * 16, VRING_DESC_F_INDIRECT, 0);
	drv_publish(d, id);
}

static inline void drv_add_packed(struct drv *d, uint16_t id, bool indirect)
{
	struct drv_chain *c = &d->chains[id];
	unsigned n = c->nr_out + c->nr_in;
	uint64_t addr = DRV_TABLES + (uint64_t)id * DRV_TABLE_STEP;

	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = i >= c->nr_out ? VRING_DESC_F_WRITE : 0;

		if (indirect) {
			drv_pset((struct vring_packed_desc *)drv_at(d, addr) + i, drv_part(id, i),
			         DRV_PART_SIZE, 0, flags);
			continue;
		}
		if (i + 1 < n)
			flags |= VRING_DESC_F_NEXT;
		/* The id counts in the last descriptor only. */
		drv_pput(d, drv_part(id, i), DRV_PART_SIZE, i + 1 < n ? 0xdead : id, flags);
	}
	if (indirect)
		drv_pput(d, addr, n * 16, id, VRING_DESC_F_INDIRECT);
}

/* Make a chain available. Its id, or -1: no room. */
static inline int drv_add(struct drv *d, unsigned nr_out, unsigned nr_in, bool indirect)
{
	unsigned n = nr_out + nr_in, need = indirect ? 1 : n;
	struct drv_chain *c;
	uint16_t id;

	assert_true(n > 0 && n <= DRV_PARTS);
	if (need > d->nr_free)
		return -1;
	id = d->free[(d->packed ? d->nr_ids : d->nr_free) - 1];
	c = &d->chains[id];
	assert_false(c->out_there);
	*c = (struct drv_chain){.out_there = true,
	                        .nr_out = nr_out,
	                        .nr_in = nr_in,
	                        .nr_desc = need,
	                        .out_len = nr_out * DRV_PART_SIZE,
	                        .in_len = nr_in * DRV_PART_SIZE};
	for (unsigned i = 0; i < need && !d->packed; i++)
		c->desc[i] = d->free[d->nr_free - 1 - i];
	d->nr_free -= need;
	d->nr_ids--;
	d->nr_out_there++;
	drv_fill(d, id);
	if (d->packed)
		drv_add_packed(d, id, indirect);
	else
		drv_add_split(d, id, indirect);
	return id;
}

/* vring_need_event() of the specification: did the way from @old to @new pass @event? */
static inline bool drv_passed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* Does the device want to be told of what was added since this was last asked? */
static inline bool drv_kick_wanted(struct drv *d)
{
	bool wanted;

	if (!d->packed) {
		uint16_t event, old = d->avail_kicked;

		memcpy(&event, &drv_used(d)->ring[d->size], sizeof(event));
		d->avail_kicked = d->avail;
		if (d->event_idx)
			return drv_passed(le16toh(event), d->avail, old);
		return !(le16toh(drv_used(d)->flags) & VRING_USED_F_NO_NOTIFY);
	}
	switch (le16toh(drv_device_event(d)->flags)) {
	case VRING_PACKED_EVENT_FLAG_ENABLE:
		wanted = true;
		break;
	case VRING_PACKED_EVENT_FLAG_DESC: {
		uint16_t off_wrap = le16toh(drv_device_event(d)->off_wrap);
		uint16_t event = off_wrap & 0x7fff;

		assert_true(d->event_idx && event < d->size);
		if (!!(off_wrap & 0x8000) != d->wrap)
			event = (uint16_t)(event - d->size);
		wanted = drv_passed(event, d->avail, (uint16_t)(d->avail - d->added));
		break;
	}
	default:
		assert_int_equal(le16toh(drv_device_event(d)->flags),
		                 VRING_PACKED_EVENT_FLAG_DISABLE);
		wanted = false;
	}
	d->added = 0;
	return wanted;
}

static inline bool drv_has_used(const struct drv *d)
{
	uint16_t flags;

	if (!d->packed)
		return le16toh(drv_used(d)->idx) != d->used;
	flags = le16toh(drv_ring(d)[d->used].flags);
	return !!(flags & BIT(VRING_PACKED_DESC_F_AVAIL)) == d->used_wrap &&
	       !!(flags & BIT(VRING_PACKED_DESC_F_USED)) == d->used_wrap;
}

static inline void drv_free(struct drv *d, uint16_t id)
{
	struct drv_chain *c = &d->chains[id];

	assert_true(id < d->size);
	assert_true(c->out_there); /* given back twice, or never given */
	c->out_there = false;
	d->nr_out_there--;
	if (d->packed)
		d->free[d->nr_ids] = id;
	for (unsigned i = 0; i < c->nr_desc && !d->packed; i++)
		d->free[d->nr_free + i] = c->desc[i];
	d->nr_free += c->nr_desc;
	d->nr_ids++;
}

/* Take a used chain: its id, and how much the device says it wrote. -1: none. */
static inline int drv_take(struct drv *d, uint32_t *written)
{
	uint32_t id;

	if (!drv_has_used(d))
		return -1;
	if (d->packed) {
		const struct vring_packed_desc *e = &drv_ring(d)[d->used];
		unsigned next;

		id = le16toh(e->id);
		*written = le16toh(e->flags) & VRING_DESC_F_WRITE ? le32toh(e->len) : 0;
		assert_true(id < d->size);
		next = d->used + d->chains[id].nr_desc;
		if (next >= d->size) {
			next -= d->size;
			d->used_wrap = !d->used_wrap;
		}
		d->used = (uint16_t)next;
	} else {
		const struct vring_used_elem *e = &drv_used(d)->ring[d->used & (d->size - 1)];

		id = le32toh(e->id);
		*written = le32toh(e->len);
		d->used++;
		assert_true(id < d->size);
	}
	drv_free(d, (uint16_t)id);
	return (int)id;
}

/* Ask for an interrupt when the device has given back @ahead more than were taken (split: chains;
 * packed: positions). */
static inline void drv_interrupt_at(struct drv *d, unsigned ahead)
{
	if (!d->packed) {
		drv_avail(d)->flags = 0;
		drv_avail(d)->ring[d->size] = htole16((uint16_t)(d->used + ahead));
		return;
	}
	if (d->event_idx) {
		unsigned at = d->used + ahead;
		bool wrap = at >= d->size ? !d->used_wrap : d->used_wrap;

		drv_driver_event(d)->off_wrap =
			htole16((uint16_t)(at % d->size | (wrap ? 0x8000 : 0)));
	}
	drv_driver_event(d)->flags = htole16(d->event_idx ? VRING_PACKED_EVENT_FLAG_DESC
	                                                  : VRING_PACKED_EVENT_FLAG_ENABLE);
}

/* No interrupts; with split rings and event indexes there is no way to say so for good. */
static inline void drv_interrupt_off(struct drv *d)
{
	if (d->packed)
		drv_driver_event(d)->flags = htole16(VRING_PACKED_EVENT_FLAG_DISABLE);
	else if (!d->event_idx)
		drv_avail(d)->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
}

#endif
