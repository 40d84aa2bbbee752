/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what a switch that was killed leaves behind (vhost-user.rst, "Inflight I/O
 * tracking"). The front-end keeps a piece of shared memory for us, which outlives this process;
 * the next one finds in it where the rings stood.
 *
 * The switch finishes chains in order and keeps none from one turn to the next. So there is little
 * to note: what was taken and not given back is what lies behind the used position, and is simply
 * taken again. A frame may thereby be delivered twice; no chain is lost or given back twice.
 *
 * Split: the used position is used.idx, in the ring itself. It counts from there on, whatever base
 * the front-end supposes.
 *
 * Packed: the used position is nowhere but here. And since a used descriptor overwrites the
 * available one, a batch that was half written, but not shown yet, has to be undone: before each
 * overwriting the descriptor is noted in the next entry of desc[] (free_head counts them; `last`
 * is its position in the ring). After a kill there are two cases:
 *
 *   - The first descriptor of the batch is available still, as it was: the driver has seen nothing.
 *     What was noted is written back, and the position is the old one.
 *   - It is used, or available again a lap later: the driver has seen the whole batch. The position
 *     is the new one.
 *
 * The order of our writes is the program's: a process is killed between two instructions, so only
 * the compiler must not reorder, and a barrier for it is enough.
 *
 * Only the head of a queue's part is written when its ring starts, and no more entries are believed
 * than a batch can have: a front-end may restart 64 rings of 32768 with each message, and the work
 * for that is bounded. The entries are zero as they came, which is what they are to be.
 *
 * A ring that was stopped by GET_VRING_BASE has told its base; its part of the region is blanked
 * (version 0), so that it counts from what the front-end says when it starts again.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "switch/guest.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define ALIGNMENT 64 /* of each queue's part: as other back-ends lay it out */

#define compiler_barrier() __asm__ volatile("" ::: "memory")

static uint64_t part_size(bool packed, uint32_t queue_size)
{
	uint64_t size = packed ? sizeof(struct vu_inflight_packed) +
	                                 sizeof(struct vu_inflight_packed_desc) * queue_size
	                       : sizeof(struct vu_inflight_split) +
	                                 sizeof(struct vu_inflight_split_desc) * queue_size;

	return align_up(size, ALIGNMENT);
}

static bool is_packed(const struct guest *g)
{
	return g->features & BIT64(VIRTIO_F_RING_PACKED);
}

static int check(const struct vu_inflight *i, struct err *err)
{
	if (i->nr_queues == 0 || i->nr_queues > GUEST_RINGS_MAX || i->queue_size == 0 ||
	    i->queue_size > VIRTQ_SIZE_MAX)
		return err_set(err, -EINVAL, "%u queues of %u", i->nr_queues, i->queue_size);
	return 0;
}

int guest_get_inflight(struct guest *g, struct err *err)
{
	struct vu_inflight i = g->rx.msg.p.inflight;
	int rc = check(&i, err);
	int fd;

	if (rc < 0)
		return rc;
	i.mmap_size = part_size(is_packed(g), i.queue_size) * i.nr_queues;
	i.mmap_offset = 0;
	fd = fd_shared_memory("trivm-switch-inflight", i.mmap_size, 0);
	if (fd < 0)
		return err_errno(err, fd, "a memfd of %llu bytes", (unsigned long long)i.mmap_size);
	fd_close(&g->reply_fd);
	g->reply_fd = fd;
	g->rx.msg.p.inflight = i;
	return 1; /* answered by the message itself */
}

int guest_set_inflight(struct guest *g, struct err *err)
{
	struct vu_inflight i = g->rx.msg.p.inflight;
	int rc = check(&i, err);

	if (rc < 0)
		return rc;
	if (i.mmap_size / i.nr_queues < part_size(is_packed(g), i.queue_size))
		return err_set(err, -EINVAL, "%llu bytes are too few for %u queues of %u",
		               (unsigned long long)i.mmap_size, i.nr_queues, i.queue_size);
	if (i.mmap_offset % ALIGNMENT)
		return err_set(err, -EINVAL, "an offset that is not a multiple of %u", ALIGNMENT);
	guest_rings_stop(g);
	for (unsigned r = 0; r < GUEST_RINGS_MAX; r++)
		g->rings[r].inflight = NULL; /* they point into the one before */
	rc = guest_memory_inflight(&g->mem, g->rx.fds[0], i.mmap_offset, i.mmap_size, err);
	if (rc < 0)
		return rc;
	g->inflight_queues = i.nr_queues;
	g->inflight_size = i.queue_size;
	g->inflight_packed = is_packed(g);
	return guest_rings_start(g, err);
}

/* --- A ring --- */

/* @position of @wrap in the form of a base whose available and used positions are the same. */
static virtq_base_t packed_base_of(uint16_t position, bool wrap)
{
	uint32_t half = (position & 0x7fffu) | (wrap ? 0x8000u : 0);

	return half | half << 16;
}

/*
 * @q was started from the front-end's base. Is there a later state, or one to be undone? True:
 * *@base is where the ring really stands.
 */
static bool recover_packed(struct virtq *q, struct vu_inflight_packed *p, virtq_base_t *base)
{
	struct vu_inflight_packed was = *p; /* once: the front-end can write to it */
	unsigned noted = was.free_head;

	if (was.version != VU_INFLIGHT_VERSION || was.old_used_idx >= q->size ||
	    was.used_idx >= q->size || noted > q->size || noted > GUEST_UNFLUSHED_MAX)
		return false;
	if (noted && virtq_is_available(q, was.old_used_idx, was.old_used_wrap & 1)) {
		for (unsigned i = 0; i < noted; i++) {
			struct vu_inflight_packed_desc d = p->desc[i];
			struct virtq_slot slot = {
				.position = d.last, .id = d.id, .flags = d.flags, .len = d.len};

			virtq_slot_write(q, &slot);
		}
		p->used_idx = was.used_idx = was.old_used_idx;
		p->used_wrap = was.used_wrap = was.old_used_wrap;
	}
	/* With nothing noted only used_idx counts; it changes only while something is. */
	compiler_barrier();
	p->free_head = 0;
	compiler_barrier();
	p->old_used_idx = was.used_idx;
	p->old_used_wrap = was.used_wrap;
	*base = packed_base_of(was.used_idx, was.used_wrap & 1);
	return true;
}

static void begin_packed(const struct virtq *q, struct vu_inflight_packed *p)
{
	p->version = 0;
	compiler_barrier();
	p->features = 0;
	p->desc_num = q->size;
	p->free_head = p->old_free_head = 0;
	p->used_idx = p->old_used_idx = q->packed.used;
	p->used_wrap = p->old_used_wrap = q->packed.used_wrap;
	compiler_barrier();
	p->version = VU_INFLIGHT_VERSION;
}

static void begin_split(const struct virtq *q, struct vu_inflight_split *s)
{
	s->version = 0;
	compiler_barrier();
	s->features = 0;
	s->desc_num = q->size;
	s->last_batch_head = 0;
	s->used_idx = q->split.next_used;
	compiler_barrier();
	s->version = VU_INFLIGHT_VERSION;
}

int guest_inflight_start(struct guest_ring *r, virtq_base_t *base, struct err *err)
{
	struct guest *g = r->guest;
	bool again = false;
	uint8_t *part;

	r->inflight = NULL;
	r->noted = 0;
	if (!g->mem.inflight.host || r->index >= g->inflight_queues)
		return 0;
	if (r->num > g->inflight_size || g->inflight_packed != is_packed(g))
		return err_set(err, -EINVAL,
		               "ring %u has %u descriptors, its inflight region is for %u %s ones",
		               r->index, r->num, g->inflight_size,
		               g->inflight_packed ? "packed" : "split");
	part = g->mem.inflight.host + part_size(g->inflight_packed, g->inflight_size) * r->index;
	r->inflight = part;
	if (g->inflight_packed) {
		again = recover_packed(&r->q, (struct vu_inflight_packed *)part, base);
	} else if (((struct vu_inflight_split *)part)->version == VU_INFLIGHT_VERSION) {
		*base = r->q.split.next_used;
		again = true;
	}
	if (!again && g->inflight_packed)
		begin_packed(&r->q, r->inflight);
	else if (!again)
		begin_split(&r->q, r->inflight);
	return again;
}

void guest_inflight_end(struct guest_ring *r)
{
	uint16_t *version;

	if (!r->inflight)
		return;
	version = r->q.f.packed ? &((struct vu_inflight_packed *)r->inflight)->version
	                        : &((struct vu_inflight_split *)r->inflight)->version;
	*version = 0;
}

void guest_inflight_note(struct guest_ring *r)
{
	struct vu_inflight_packed *p = r->inflight;
	struct virtq_slot slot;
	uint16_t at;

	if (!r->q.f.packed)
		return;
	/* How many were noted is our own number: the front-end can change the region's. */
	at = r->noted;
	if (at >= r->q.size)
		return;
	virtq_slot_read(&r->q, &slot);
	p->desc[at].last = slot.position;
	p->desc[at].id = slot.id;
	p->desc[at].flags = slot.flags;
	p->desc[at].len = slot.len;
	p->desc[at].inflight = 1;
	compiler_barrier();
	r->noted = ++at;
	p->free_head = at;
	compiler_barrier();
}

void guest_inflight_before_flush(struct guest_ring *r)
{
	struct vu_inflight_packed *p = r->inflight;

	if (!r->q.f.packed)
		return;
	p->used_idx = r->q.packed.used;
	p->used_wrap = r->q.packed.used_wrap;
	compiler_barrier();
}

void guest_inflight_after_flush(struct guest_ring *r)
{
	struct vu_inflight_packed *p = r->inflight;

	compiler_barrier();
	if (!r->q.f.packed) {
		((struct vu_inflight_split *)r->inflight)->used_idx = r->q.split.next_used;
		return;
	}
	/* One write makes the batch history: then position and wrap may differ for a moment. */
	p->free_head = 0;
	compiler_barrier();
	p->old_used_idx = p->used_idx;
	p->old_used_wrap = p->used_wrap;
	for (unsigned i = 0; i < r->noted && i < r->q.size; i++)
		p->desc[i].inflight = 0;
	r->noted = 0;
}
