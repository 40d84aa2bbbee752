/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the packed virtqueue (virtio 1.2, 2.8), the device's side.
 *
 * One ring of descriptors, written by both. A descriptor is available when its AVAIL flag is the
 * device's wrap counter and its USED flag is not; it is used when both are. The wrap counters flip
 * each time their owner passes the ring's end. A chain takes consecutive positions and is given
 * back by one used descriptor, which carries the chain's id; the next one is written as many
 * positions further as the chain had.
 *
 * Several chains given back together become visible at once: everything is written but the flags of
 * the first used descriptor of the batch, and those go last, with a release. The driver reads used
 * descriptors in order and stops at the first that is not used, so it sees none or all of them.
 *
 * Barriers, and whom they pair with in the driver:
 *
 *   - acquire, reading a head's flags: its write barrier before it sets them
 *   - release, writing a batch's first used flags: its read barrier after it has seen them
 *   - full, between those and reading driver_event: its full barrier between writing driver_event
 *     and looking for used descriptors
 *   - full, between writing device_event and looking for available descriptors: its full barrier
 *     between making them available and reading device_event
 */
#include <linux/virtio_ring.h>

#include "devices/virtio/queue_priv.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define DESC_AVAIL BIT(VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  BIT(VRING_PACKED_DESC_F_USED)

#define EVENT_ENABLE  VRING_PACKED_EVENT_FLAG_ENABLE
#define EVENT_DISABLE VRING_PACKED_EVENT_FLAG_DISABLE
#define EVENT_DESC    VRING_PACKED_EVENT_FLAG_DESC
#define EVENT_WRAP    BIT(VRING_PACKED_EVENT_F_WRAP_CTR)

int packed_translate(const struct virtq_config *config, const struct memory *mem,
                     struct virtq_areas *areas, struct err *err)
{
	const uint64_t event_len = sizeof(struct vring_packed_desc_event);
	const uint64_t ring_len = sizeof(struct vring_packed_desc) * (uint64_t)config->size;

	if (config->size > VIRTQ_SIZE_MAX)
		return err_set(err, -EINVAL, "size %u of a packed queue is above %u", config->size,
		               VIRTQ_SIZE_MAX);
	areas->desc = virtq_area(mem, config->desc, ring_len, 16);
	areas->driver = virtq_area(mem, config->driver, event_len, 4);
	areas->device = virtq_area(mem, config->device, event_len, 4);
	if (!areas->desc || !areas->driver || !areas->device)
		return err_set(err, -EINVAL,
		               "a ring is misaligned or not in guest memory (descriptors 0x%llx, "
		               "driver 0x%llx, device 0x%llx, size %u)",
		               (unsigned long long)config->desc, (unsigned long long)config->driver,
		               (unsigned long long)config->device, config->size);
	return 0;
}

bool packed_base_valid(virtq_base_t base, uint16_t size)
{
	return (base & 0x7fff) < size && (base >> 16 & 0x7fff) < size;
}

void packed_start(struct virtq *q, const struct virtq_areas *areas, virtq_base_t base)
{
	struct virtq_packed *p = &q->packed;

	p->ring = areas->desc;
	p->driver_event = areas->driver;
	p->device_event = areas->device;
	p->avail = base & 0x7fff;
	p->avail_wrap = base & BIT(15);
	p->used = base >> 16 & 0x7fff;
	p->used_wrap = base & BIT(31);
}

virtq_base_t packed_base(const struct virtq *q)
{
	const struct virtq_packed *p = &q->packed;

	return p->avail | (uint32_t)p->avail_wrap << 15 | (uint32_t)p->used << 16 |
	       (uint32_t)p->used_wrap << 31;
}

/* Move a position @n further, flipping its wrap counter at the end of the ring. */
static void advance(const struct virtq *q, uint16_t *position, bool *wrap, uint16_t n)
{
	uint32_t next = (uint32_t)*position + n;

	if (next >= q->size) {
		next -= q->size;
		*wrap = !*wrap;
	}
	*position = (uint16_t)next;
}

static bool is_available(uint16_t flags, bool wrap)
{
	return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

bool packed_more(struct virtq *q)
{
	struct virtq_packed *p = &q->packed;
	uint16_t flags = le16toh(READ_GUEST(p->ring[p->avail].flags));

	return is_available(flags, p->avail_wrap);
}

bool virtq_is_available(const struct virtq *q, uint16_t position, bool wrap)
{
	return position < q->size &&
	       is_available(le16toh(READ_GUEST(q->packed.ring[position].flags)), wrap);
}

void virtq_slot_read(const struct virtq *q, struct virtq_slot *slot)
{
	const struct vring_packed_desc *e = &q->packed.ring[q->packed.used];

	*slot = (struct virtq_slot){
		.position = q->packed.used,
		.id = le16toh(READ_GUEST(e->id)),
		.flags = le16toh(READ_GUEST(e->flags)),
		.len = le32toh(READ_GUEST(e->len)),
	};
}

void virtq_slot_write(struct virtq *q, const struct virtq_slot *slot)
{
	struct vring_packed_desc *e;

	if (slot->position >= q->size)
		return;
	e = &q->packed.ring[slot->position];
	WRITE_GUEST(e->id, htole16(slot->id));
	WRITE_GUEST(e->len, htole32(slot->len));
	WRITE_GUEST(e->flags, htole16(slot->flags));
}

static struct virtq_desc read_desc(const struct vring_packed_desc *e, uint16_t flags)
{
	return (struct virtq_desc){
		.addr = le64toh(READ_GUEST(e->addr)),
		.len = le32toh(READ_GUEST(e->len)),
		.flags = flags,
	};
}

/*
 * 2.8.8: all of the table's descriptors are the chain. In it, WRITE is the only flag with a
 * meaning; the others, and the id, are ignored. The table can be at any address.
 */
static int walk_indirect(struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d,
                         unsigned iov_max)
{
	uint32_t n = d->len / sizeof(struct vring_packed_desc);
	const uint8_t *at;

	if (!q->f.indirect)
		return virtq_break(q, "an indirect table that was not negotiated");
	if (n == 0 || d->len % sizeof(struct vring_packed_desc))
		return virtq_break(q, "an indirect table of a wrong length");
	at = memory_at(q->mem, gpa(d->addr), d->len);
	if (!at)
		return virtq_break(q, "an indirect table that is not in guest memory");
	for (; n; n--, at += sizeof(struct vring_packed_desc)) {
		struct virtq_desc part = {
			.addr = guest_le64(at + offsetof(struct vring_packed_desc, addr)),
			.len = guest_le32(at + offsetof(struct vring_packed_desc, len)),
			.flags = guest_le16(at + offsetof(struct vring_packed_desc, flags)),
		};
		int rc = chain_add(q, chain, &part, iov_max);

		if (rc < 0)
			return rc;
	}
	return 0;
}

int packed_pop(struct virtq *q, struct virtq_chain *chain, unsigned iov_max)
{
	struct virtq_packed *p = &q->packed;
	uint16_t at = p->avail;
	bool wrap = p->avail_wrap;
	/* Acquire: pairs with the driver's write barrier before it sets the flags of the head. */
	uint16_t flags = le16toh(__atomic_load_n(&p->ring[at].flags, __ATOMIC_ACQUIRE));

	if (!is_available(flags, wrap))
		return 0;
	/* It will be overwritten: have the line for this processor alone by then. */
	prefetch_write(&p->ring[at]);
	for (;;) {
		struct virtq_desc d = read_desc(&p->ring[at], flags);
		int rc;

		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (chain->nr_desc || (d.flags & VRING_DESC_F_NEXT))
				return virtq_break(q, "an indirect table that is part of a chain");
			rc = walk_indirect(q, chain, &d, iov_max);
		} else {
			rc = chain_add(q, chain, &d, iov_max);
		}
		if (rc < 0)
			return rc;
		/* The id is that of the chain's last descriptor (2.8.6). */
		chain->id = le16toh(READ_GUEST(p->ring[at].id));
		chain->nr_desc++;
		advance(q, &at, &wrap, 1);
		if (!(d.flags & VRING_DESC_F_NEXT))
			break;
		if (chain->nr_desc >= q->size)
			return virtq_break(q, "a chain longer than the queue");
		/* The head was available, and the driver sets its flags last: the rest is there. */
		flags = le16toh(READ_GUEST(p->ring[at].flags));
	}
	MOVE_TO(p->avail, at);
	MOVE_TO(p->avail_wrap, wrap);
	return 1;
}

void packed_unpop(struct virtq *q, uint16_t nr_desc)
{
	struct virtq_packed *p = &q->packed;

	if (p->avail < nr_desc) {
		MOVE_TO(p->avail, (uint16_t)(p->avail + q->size - nr_desc));
		MOVE_TO(p->avail_wrap, !p->avail_wrap);
	} else {
		MOVE_TO(p->avail, (uint16_t)(p->avail - nr_desc));
	}
}

void packed_push(struct virtq *q, uint16_t id, uint16_t nr_desc, uint32_t written)
{
	struct virtq_packed *p = &q->packed;
	uint16_t used = p->used;
	bool wrap = p->used_wrap;
	struct vring_packed_desc *e = &p->ring[used];
	uint16_t flags = wrap ? DESC_AVAIL | DESC_USED : 0;

	if (written)
		flags |= VRING_DESC_F_WRITE;
	WRITE_GUEST(e->id, htole16(id));
	WRITE_GUEST(e->len, htole32(written));
	if (p->batch++ == 0) {
		p->batch_first = used;
		p->batch_flags = flags;
		p->batch_positions = 0;
	} else {
		/* Not seen before the first one is; still, its id and length have to be there
		 * first. */
		__atomic_store_n(&e->flags, htole16(flags), __ATOMIC_RELEASE);
	}
	p->batch_positions = (uint16_t)(p->batch_positions + nr_desc);
	advance(q, &used, &wrap, nr_desc);
	MOVE_TO(p->used, used);
	MOVE_TO(p->used_wrap, wrap);
}

/* 2.8.14, and the same question as for split rings: did the batch pass the position the driver
 * named? */
static bool event_crossed(const struct virtq *q, uint16_t off_wrap)
{
	const struct virtq_packed *p = &q->packed;
	uint16_t new = p->used;
	uint16_t old = (uint16_t)(new - p->batch_positions);
	uint16_t event = off_wrap & (uint16_t)~EVENT_WRAP;

	if (!!(off_wrap & EVENT_WRAP) != p->used_wrap)
		event = (uint16_t)(event - q->size);
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

static bool interrupt_wanted(const struct virtq *q)
{
	const struct vring_packed_desc_event *e = q->packed.driver_event;
	uint16_t flags = le16toh(READ_GUEST(e->flags)) & 3;

	if (flags == EVENT_DISABLE)
		return false;
	if (flags != EVENT_DESC || !q->f.event_idx)
		return true;
	/* Acquire: off_wrap was written before the flags (2.8.10). */
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	/* The first time the owner before may have stopped short of its interrupt. */
	return !q->packed.flushed_once || event_crossed(q, le16toh(READ_GUEST(e->off_wrap)));
}

bool packed_flush(struct virtq *q)
{
	struct virtq_packed *p = &q->packed;
	bool wanted;

	if (p->batch == 0)
		return false;
	TRACE(used_show, q->dev, q->ring,
	      "used descriptors at %d, %d positions: the driver can see them", p->batch_first,
	      p->batch_positions);
	/* Release: pairs with the driver's read barrier after it has seen these flags. */
	__atomic_store_n(&p->ring[p->batch_first].flags, htole16(p->batch_flags), __ATOMIC_RELEASE);
	/* Full: pairs with the driver's between writing its event structure and looking for used.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	wanted = interrupt_wanted(q);
	p->flushed_once = true;
	p->batch = 0;
	if (wanted) {
		counter_add(&q->stats.interrupts, 1);
	} else {
		counter_add(&q->stats.interrupts_spared, 1);
		TRACE(irq_spared, q->dev, q->ring,
		      "no interrupt: event index %d, the driver waits for %x (position, wrap "
		      "counter); its flags %d",
		      q->f.event_idx, le16toh(READ_GUEST(p->driver_event->off_wrap)),
		      le16toh(READ_GUEST(p->driver_event->flags)));
	}
	return wanted;
}

void packed_kick_disable(struct virtq *q)
{
	WRITE_GUEST(q->packed.device_event->flags, htole16(EVENT_DISABLE));
}

bool packed_kick_enable(struct virtq *q)
{
	struct virtq_packed *p = &q->packed;
	uint16_t flags = EVENT_ENABLE;

	if (q->f.event_idx) {
		uint16_t off_wrap = (uint16_t)(p->avail | (p->avail_wrap ? EVENT_WRAP : 0));

		WRITE_GUEST(p->device_event->off_wrap, htole16(off_wrap));
		flags = EVENT_DESC;
	}
	/* Release: off_wrap before the flags that make it count (2.8.10). */
	__atomic_store_n(&p->device_event->flags, htole16(flags), __ATOMIC_RELEASE);
	/* Full: pairs with the driver's between making available and reading this structure. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return packed_more(q);
}
