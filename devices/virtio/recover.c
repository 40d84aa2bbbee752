/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: where does a queue stand whose server was killed? It has to be read out of
 * the rings, for a server that uses chains in the order in which it took them, as those that move
 * packets do. (One that does not keeps an inflight region, and its successor knows from there.)
 *
 * Split: the used index. What was taken behind it is taken again.
 *
 * Packed: there is no index, but each descriptor's AVAIL flag says in which round of the ring it
 * was made available, so the one place where the flag changes is the driver's next position. From
 * there back to the last used descriptor all is available. Two things stand in the way:
 *
 *   - Servers write the first used descriptor of a batch last (packed.c says why), and may be
 *     killed before they do. The driver waits for that one for ever, while those behind it are used
 *     already, and their lengths lost: they cannot be done again. So what the server was about to
 *     write is written here. A packet may be lost by that, which packets may be.
 *   - A chain of several descriptors is used by writing its first one; the others still look
 *     available. Where the ring has traces of such chains, they are told from the next chain by the
 *     id, which a chain has in its last descriptor. This is a guess if short and long chains are
 *     mixed, as the driver uses ids again; drivers that have VIRTIO_F_INDIRECT_DESC do not do that.
 *
 * The traces of long chains are taken for unfinished batches, too, and written. That is harmless:
 * the driver has been there, or jumps over it.
 *
 * A driver that plays tricks with its ring gets a position that is in the ring, and what it
 * deserves.
 */
#include <linux/virtio_ring.h>

#include "devices/virtio/queue_priv.h"
#include "vmm/util.h"

#define DESC_AVAIL BIT(VRING_PACKED_DESC_F_AVAIL)
#define DESC_USED  BIT(VRING_PACKED_DESC_F_USED)

/* A place in a packed ring, with the wrap counter that belongs to it. */
struct place {
	struct vring_packed_desc *ring;
	uint16_t size, at;
	bool wrap;
};

static void forward(struct place *p)
{
	if (++p->at == p->size) {
		p->at = 0;
		p->wrap = !p->wrap;
	}
}

static void back(struct place *p)
{
	if (p->at == 0) {
		p->at = p->size;
		p->wrap = !p->wrap;
	}
	p->at--;
}

static uint16_t flags_at(const struct place *p)
{
	return le16toh(READ_GUEST(p->ring[p->at].flags));
}

static bool available(const struct place *p)
{
	uint16_t flags = flags_at(p);

	return !!(flags & DESC_AVAIL) == p->wrap && !!(flags & DESC_USED) != p->wrap;
}

/* The driver's next position: where the round changes. */
static struct place driver_position(struct vring_packed_desc *ring, uint16_t size)
{
	struct place p = {.ring = ring, .size = size, .at = 0};
	bool round = flags_at(&p) & DESC_AVAIL;

	while (p.at < size && !!(flags_at(&p) & DESC_AVAIL) == round)
		p.at++;
	p.wrap = round;
	if (p.at == size) { /* at the ring's end, or nothing was ever written: then the flag is 0 */
		p.at = 0;
		p.wrap = !round;
	}
	return p;
}

/* Behind the chain that begins at @p, which has at most @max descriptors; *@id is its id. */
static struct place chain_end(struct place p, unsigned max, uint16_t *id, unsigned *len)
{
	bool next = true;

	for (*len = 0; next && *len < max; ++*len) {
		next = flags_at(&p) & VRING_DESC_F_NEXT;
		*id = le16toh(READ_GUEST(p.ring[p.at].id));
		forward(&p);
	}
	return p;
}

/* Behind the rest of the chain whose first, used descriptor is before @p, if its id says so. */
static struct place skip_rest(struct place p, unsigned available_nr)
{
	struct place before = p, end;
	uint16_t id = 0;
	unsigned len;

	back(&before);
	end = chain_end(p, available_nr, &id, &len);
	return len && id == le16toh(READ_GUEST(p.ring[before.at].id)) ? end : p;
}

/* Write the used descriptor that the server did not come to write. */
static void use(const struct place *p, uint16_t id)
{
	struct vring_packed_desc *d = &p->ring[p->at];
	uint16_t flags = p->wrap ? DESC_AVAIL | DESC_USED : 0;

	/* What the device has written: its length is there already. */
	if (flags_at(p) & VRING_DESC_F_WRITE)
		flags |= VRING_DESC_F_WRITE;
	else
		WRITE_GUEST(d->len, 0);
	WRITE_GUEST(d->id, htole16(id));
	/* Release: pairs with the driver's read barrier after it has seen the flags. */
	__atomic_store_n(&d->flags, htole16(flags), __ATOMIC_RELEASE);
}

/* @n descriptors from @p on look available and have used ones on both sides. */
static void close_gap(struct place p, unsigned n)
{
	while (n) {
		uint16_t id = 0;
		unsigned len;
		struct place end = chain_end(p, n, &id, &len);

		use(&p, id);
		p = end;
		n -= len;
	}
}

/* Back over the @n descriptors before @p, the last of which is used, closing gaps if they are to be
 * @complete. Their number. */
static unsigned close_gaps(struct place p, unsigned n, bool complete)
{
	unsigned gaps = 0, gap = 0;

	for (; n; n--) {
		struct place behind = p;

		back(&p);
		if (available(&p)) {
			gap++;
			behind = p;
		}
		/* The oldest one may be where the ring was full. */
		if (gap && (!available(&p) || n == 1)) {
			if (complete)
				close_gap(behind, gap);
			gaps++;
			gap = 0;
		}
	}
	return gaps;
}

static virtq_base_t packed_recover(struct vring_packed_desc *ring, uint16_t size, bool complete)
{
	struct place p = driver_position(ring, size), before = p;
	unsigned n = 0;
	virtq_base_t at;

	for (back(&before); n < size && available(&before); n++) {
		p = before;
		back(&before);
	}
	/* One may be a batch; more are chains of several descriptors. */
	if (close_gaps(p, size - n, complete) > 1)
		p = skip_rest(p, n);
	at = p.at | (uint32_t)p.wrap << 15;
	return at | at << 16;
}

int virtq_recover(const struct virtq_config *config, bool packed, bool complete,
                  const struct memory *mem, virtq_base_t *base)
{
	struct virtq_areas areas;
	int rc = virtq_translate(config, packed, mem, &areas, NULL);

	if (rc == 0)
		*base = packed ? packed_recover(areas.desc, config->size, complete)
		               : split_used_index(&areas);
	return rc;
}

static unsigned packed_waiting(struct vring_packed_desc *ring, uint16_t size, virtq_base_t base)
{
	struct place p = {ring, size, base & 0x7fff, base >> 15 & 1};
	unsigned chains = 0;

	for (unsigned n = 0; n < size && available(&p); n++) {
		chains += !(flags_at(&p) & VRING_DESC_F_NEXT);
		forward(&p);
	}
	return chains;
}

unsigned virtq_waiting(const struct virtq_config *config, bool packed, virtq_base_t base,
                       const struct memory *mem)
{
	struct virtq_areas areas;
	const struct vring_avail *avail;
	uint16_t n;

	if (virtq_translate(config, packed, mem, &areas, NULL) < 0 ||
	    !virtq_base_valid(base, packed, config->size))
		return 0;
	if (packed)
		return packed_waiting(areas.desc, config->size, base);
	avail = areas.driver;
	n = (uint16_t)(le16toh(READ_GUEST(avail->idx)) - (uint16_t)base);
	return n <= config->size ? n : 0;
}
