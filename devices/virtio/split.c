/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the split virtqueue (virtio 1.2, 2.7), the device's side.
 *
 *	driver:  desc[] <- buffers;  avail.ring[idx] <- head;  barrier;  avail.idx++
 *	device:  avail.idx; barrier; avail.ring[last_avail] -> head -> desc[] -> buffers
 *	device:  used.ring[next_used] <- {head, written};  barrier;  used.idx++
 *
 * All indexes run freely and wrap at 65536; a position in a ring is the index modulo the size.
 *
 * Barriers, and whom they pair with in the driver:
 *
 *   - acquire, reading avail.idx: its write barrier before it moves avail.idx
 *   - release, writing used.idx: its read barrier after it reads used.idx
 *   - full, between writing used.idx and reading used_event or avail.flags: its full barrier
 *     between writing used_event (or flags) and reading used.idx
 *   - full, between writing avail_event (or used.flags) and reading avail.idx: its full barrier
 *     between writing avail.idx and reading avail_event
 *
 * The last two make notification suppression safe: of the two sides at least one sees the other's
 * write, so an interrupt or a kick is never lost.
 */
#include <linux/virtio_ring.h>

#include "devices/virtio/queue_priv.h"
#include "vmm/trace.h"
#include "vmm/util.h"

/* The event indexes lie behind the other side's ring (2.7.7, 2.7.10). */
static __virtio16 *used_event(const struct virtq *q)
{
	return &q->split.avail->ring[q->size];
}

static __virtio16 *avail_event(const struct virtq *q)
{
	return (__virtio16 *)&q->split.used->ring[q->size];
}

int split_translate(const struct virtq_config *config, const struct memory *mem,
                    struct virtq_areas *areas, struct err *err)
{
	uint64_t size = config->size;
	/* The event index is there whether negotiated or not: 2.7 counts it into the sizes. */
	uint64_t avail_len = sizeof(struct vring_avail) + sizeof(__virtio16) * (size + 1);
	uint64_t used_len = sizeof(struct vring_used) + sizeof(struct vring_used_elem) * size +
	                    sizeof(__virtio16);

	if (size & (size - 1))
		return err_set(err, -EINVAL, "size %u of a split queue is no power of two",
		               config->size);
	areas->desc = virtq_area(mem, config->desc, sizeof(struct vring_desc) * size, 16);
	areas->driver = virtq_area(mem, config->driver, avail_len, 2);
	areas->device = virtq_area(mem, config->device, used_len, 4);
	if (!areas->desc || !areas->driver || !areas->device)
		return err_set(err, -EINVAL,
		               "a ring is misaligned or not in guest memory (descriptors 0x%llx, "
		               "available 0x%llx, used 0x%llx, size %u)",
		               (unsigned long long)config->desc, (unsigned long long)config->driver,
		               (unsigned long long)config->device, config->size);
	return 0;
}

uint16_t split_used_index(const struct virtq_areas *areas)
{
	const struct vring_used *used = areas->device;

	return le16toh(READ_GUEST(used->idx));
}

void split_start(struct virtq *q, const struct virtq_areas *areas, virtq_base_t base)
{
	struct virtq_split *s = &q->split;

	s->desc = areas->desc;
	s->avail = areas->driver;
	s->used = areas->device;
	s->last_avail = s->avail_seen = (uint16_t)base;
	/* The used index is where the last owner left it, in the ring itself (as vhost has it). */
	s->next_used = s->flushed = split_used_index(areas);
}

/* Read descriptor @i of @table, once. An indirect table can be at any address. */
static struct virtq_desc read_desc(const uint8_t *table, uint16_t i)
{
	const uint8_t *d = table + sizeof(struct vring_desc) * i;

	return (struct virtq_desc){
		.addr = guest_le64(d + offsetof(struct vring_desc, addr)),
		.len = guest_le32(d + offsetof(struct vring_desc, len)),
		.flags = guest_le16(d + offsetof(struct vring_desc, flags)),
		.next = guest_le16(d + offsetof(struct vring_desc, next)),
	};
}

static int walk_indirect(struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d,
                         unsigned iov_max);

/*
 * Follow a list of descriptors in a table of @size, from @head. At most @size of them: no loops. In
 * the queue's own table (@may_indirect) the last one may lead to an indirect table (2.7.5.3.2).
 */
static int walk(struct virtq *q, struct virtq_chain *chain, const uint8_t *table, uint32_t size,
                uint16_t head, bool may_indirect, unsigned iov_max)
{
	uint16_t i = head;

	for (uint32_t n = 0; n < size; n++) {
		struct virtq_desc d = read_desc(table, i);
		int rc;

		if (d.flags & VRING_DESC_F_INDIRECT)
			return may_indirect
			               ? walk_indirect(q, chain, &d, iov_max)
			               : virtq_break(q, "an indirect table in an indirect table");
		rc = chain_add(q, chain, &d, iov_max);
		if (rc < 0)
			return rc;
		if (!(d.flags & VRING_DESC_F_NEXT))
			return 0;
		if (d.next >= size)
			return virtq_break(q, "a next descriptor outside the table");
		i = d.next;
	}
	return virtq_break(q, "a loop of descriptors");
}

/* 2.7.5.3: the chain, or the rest of it, is in a table of its own. */
static int walk_indirect(struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d,
                         unsigned iov_max)
{
	uint32_t n = d->len / sizeof(struct vring_desc);
	const uint8_t *table;

	if (!q->f.indirect)
		return virtq_break(q, "an indirect table that was not negotiated");
	if (d->flags & VRING_DESC_F_NEXT)
		return virtq_break(q, "an indirect table with a next descriptor");
	if (n == 0 || d->len % sizeof(struct vring_desc))
		return virtq_break(q, "an indirect table of a wrong length");
	table = memory_at(q->mem, gpa(d->addr), d->len);
	if (!table)
		return virtq_break(q, "an indirect table that is not in guest memory");
	/* `next` has 16 bits, so no more than 65536 can be reached. */
	return walk(q, chain, table, n > 65536 ? 65536 : n, 0, false, iov_max);
}

/* Look at the driver's index. False, and not taken over, if it moved further than the ring is long.
 */
static bool look(struct virtq *q)
{
	struct virtq_split *s = &q->split;
	/* Acquire: pairs with the driver's write barrier before it moves the index. */
	uint16_t idx = le16toh(__atomic_load_n(&s->avail->idx, __ATOMIC_ACQUIRE));

	if ((uint16_t)(idx - s->last_avail) > q->size)
		return false;
	s->avail_seen = idx;
	return true;
}

bool split_more(struct virtq *q)
{
	/* Too far ahead counts as something: virtq_pop() then says what is wrong. */
	return q->split.last_avail != q->split.avail_seen || !look(q) ||
	       q->split.last_avail != q->split.avail_seen;
}

int split_pop(struct virtq *q, struct virtq_chain *chain, unsigned iov_max)
{
	struct virtq_split *s = &q->split;
	uint16_t head;
	int rc;

	if (s->last_avail == s->avail_seen) {
		if (!look(q))
			return virtq_break(q, "an available index too far ahead");
		if (s->last_avail == s->avail_seen)
			return 0;
	}
	head = le16toh(READ_GUEST(s->avail->ring[s->last_avail & (q->size - 1)]));
	if (head >= q->size)
		return virtq_break(q, "an available entry outside the descriptor table");
	chain->id = head;
	rc = walk(q, chain, (const uint8_t *)s->desc, q->size, head, true, iov_max);
	if (rc < 0)
		return rc;
	MOVE_TO(s->last_avail, (uint16_t)(s->last_avail + 1));
	return 1;
}

void split_unpop(struct virtq *q)
{
	struct virtq_split *s = &q->split;

	MOVE_TO(s->last_avail, (uint16_t)(s->last_avail - 1));
}

void split_push(struct virtq *q, uint16_t id, uint32_t written)
{
	struct virtq_split *s = &q->split;
	struct vring_used_elem *e = &s->used->ring[s->next_used & (q->size - 1)];

	WRITE_GUEST(e->id, htole32(id));
	WRITE_GUEST(e->len, htole32(written));
	s->next_used++;
}

/* 2.7.7.2: is @event in the half-open range (old, new]? */
static bool crossed(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

bool split_flush(struct virtq *q)
{
	struct virtq_split *s = &q->split;
	uint16_t old = s->flushed;
	bool wanted;

	if (s->flushed == s->next_used)
		return false;
	TRACE(used_show, q->dev, q->ring, "used.idx moves from %d to %d: the driver can see it",
	      old, s->next_used);
	/* Release: pairs with the driver's barrier after it reads used.idx. */
	__atomic_store_n(&s->used->idx, htole16(s->next_used), __ATOMIC_RELEASE);
	s->flushed = s->next_used;

	/* Full: pairs with the driver's between writing used_event or flags and reading used.idx.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!q->f.event_idx)
		wanted = !(le16toh(READ_GUEST(s->avail->flags)) & VRING_AVAIL_F_NO_INTERRUPT);
	else
		/* The first time the owner before may have stopped short of its interrupt. */
		wanted = !s->flushed_once ||
		         crossed(le16toh(READ_GUEST(*used_event(q))), s->flushed, old);
	s->flushed_once = true;
	if (wanted) {
		counter_add(&q->stats.interrupts, 1);
	} else {
		counter_add(&q->stats.interrupts_spared, 1);
		TRACE(irq_spared, q->dev, q->ring,
		      "no interrupt: event index %d, the driver waits for used entry %d; "
		      "avail.flags %d",
		      q->f.event_idx,
		      (uint16_t)(q->f.event_idx ? le16toh(READ_GUEST(*used_event(q))) : 0),
		      le16toh(READ_GUEST(s->avail->flags)));
	}
	return wanted;
}

void split_kick_disable(struct virtq *q)
{
	/* With event indexes there is nothing to write: the driver notifies when it passes
	 * avail_event. */
	if (!q->f.event_idx)
		WRITE_GUEST(q->split.used->flags, htole16(VRING_USED_F_NO_NOTIFY));
}

bool split_kick_enable(struct virtq *q)
{
	struct virtq_split *s = &q->split;

	if (q->f.event_idx)
		WRITE_GUEST(*avail_event(q), htole16(s->last_avail));
	else
		WRITE_GUEST(s->used->flags, 0);
	/* Full: pairs with the driver's between writing avail.idx and reading avail_event or flags.
	 */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return split_more(q);
}
