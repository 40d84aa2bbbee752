/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what does not depend on the ring's format: validating settings, turning
 * descriptors into iovecs, and choosing between split.c and packed.c. The choice is one predictable
 * branch a call; a table of functions would hide the calls from the compiler and from the reader.
 */
#include "devices/virtio/queue.h"

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "devices/virtio/queue_priv.h"
#include "vmm/trace.h"
#include "vmm/util.h"

struct virtq_features virtq_features(uint64_t negotiated)
{
	return (struct virtq_features){
		.packed = negotiated & BIT64(VIRTIO_F_RING_PACKED),
		.event_idx = negotiated & BIT64(VIRTIO_RING_F_EVENT_IDX),
		.indirect = negotiated & BIT64(VIRTIO_RING_F_INDIRECT_DESC),
		.in_order = negotiated & BIT64(VIRTIO_F_IN_ORDER),
	};
}

void *virtq_area(const struct memory *mem, uint64_t addr, uint64_t len, uint64_t align)
{
	return addr % align ? NULL : memory_at(mem, gpa(addr), len);
}

int virtq_translate(const struct virtq_config *config, bool packed, const struct memory *mem,
                    struct virtq_areas *areas, struct err *err)
{
	if (config->size == 0 || config->size > config->size_max)
		return err_set(err, -EINVAL, "queue size %u is not in 1..%u", config->size,
		               config->size_max);
	return packed ? packed_translate(config, mem, areas, err)
	              : split_translate(config, mem, areas, err);
}

bool virtq_base_valid(virtq_base_t base, bool packed, uint16_t size)
{
	return packed ? packed_base_valid(base, size) : base <= UINT16_MAX;
}

int virtq_used_base(const struct virtq_config *config, const struct memory *mem, virtq_base_t *base)
{
	struct virtq_areas areas;
	int rc = virtq_translate(config, false, mem, &areas, NULL);

	if (rc == 0)
		*base = split_used_index(&areas);
	return rc;
}

void virtq_notify_again(const struct virtq_areas *areas, uint16_t size, struct virtq_features f,
                        virtq_base_t base)
{
	struct vring_packed_desc_event *event = areas->device;
	struct vring_used *used = areas->device;
	__virtio16 *avail_event = (void *)&used->ring[size]; /* behind the ring (2.7.10) */

	if (f.packed) {
		WRITE_GUEST(event->off_wrap, 0);
		WRITE_GUEST(event->flags, htole16(VRING_PACKED_EVENT_FLAG_ENABLE));
	} else {
		/* Both: a server may have served it without event indexes before. */
		WRITE_GUEST(used->flags, 0);
		if (f.event_idx)
			WRITE_GUEST(*avail_event, htole16((uint16_t)base));
	}
	/* Full: before the new server looks at the ring for the first time. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

int virtq_start(struct virtq *q, const struct virtq_config *config, struct virtq_features features,
                virtq_base_t base, const struct memory *mem, struct err *err)
{
	struct virtq_areas areas;
	int rc = virtq_translate(config, features.packed, mem, &areas, err);

	if (rc < 0)
		return rc;
	if (!virtq_base_valid(base, features.packed, config->size))
		return err_set(err, -EINVAL, "base 0x%x is outside a queue of %u", base,
		               config->size);
	memset(q, 0, sizeof(*q));
	q->mem = mem;
	q->f = features;
	q->size = config->size;
	if (features.packed)
		packed_start(q, &areas, base);
	else
		split_start(q, &areas, base);
	return 0;
}

virtq_base_t virtq_base(const struct virtq *q)
{
	return q->f.packed ? packed_base(q) : q->split.last_avail;
}

virtq_base_t virtq_peek(const struct virtq *q)
{
	const struct virtq_packed *p = &q->packed;

	if (!q->f.packed)
		return __atomic_load_n(&q->split.last_avail, __ATOMIC_RELAXED);
	/* Position and wrap counter may be of two moments. */
	return __atomic_load_n(&p->avail, __ATOMIC_RELAXED) |
	       (uint32_t)__atomic_load_n(&p->avail_wrap, __ATOMIC_RELAXED) << 15 |
	       (uint32_t)__atomic_load_n(&p->used, __ATOMIC_RELAXED) << 16 |
	       (uint32_t)__atomic_load_n(&p->used_wrap, __ATOMIC_RELAXED) << 31;
}

void chain_begin(struct virtq_chain *chain, struct iovec *iov)
{
	*chain = (struct virtq_chain){.iov = iov};
}

int chain_add(struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d,
              unsigned iov_max)
{
	bool in = d->flags & VRING_DESC_F_WRITE;
	unsigned nr = chain->nr_out + chain->nr_in;
	void *host;

	if (nr >= iov_max)
		return virtq_break(q, "a chain of too many buffers");
	if (!in && chain->nr_in)
		return virtq_break(q, "a readable buffer behind a writable one");
	if (d->len > UINT32_MAX - chain->out_len - chain->in_len)
		return virtq_break(q, "a chain of more than 4 GiB");
	host = memory_at(q->mem, gpa(d->addr), d->len);
	if (!host)
		return virtq_break(q, "a buffer that is not in guest memory");

	chain->iov[nr] = (struct iovec){.iov_base = host, .iov_len = d->len};
	if (in) {
		chain->nr_in++;
		chain->in_len += d->len;
	} else {
		chain->nr_out++;
		chain->out_len += d->len;
	}
	return 0;
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain, struct iovec *iov, unsigned iov_max)
{
	int rc;

	if (q->broken)
		return -EPROTO;
	/* An honest driver waits for its descriptors to come back. Owners size their tables by it.
	 */
	if (q->inflight >= q->size)
		return virtq_more(q) ? virtq_break(q, "more in flight than the queue holds") : 0;
	chain_begin(chain, iov);
	rc = q->f.packed ? packed_pop(q, chain, iov_max) : split_pop(q, chain, iov_max);
	if (rc == 1) {
		q->inflight++;
		counter_add(&q->stats.chains, 1);
		TRACE(chain_pop, q->dev, q->ring,
		      "chain %d taken from the ring: %d bytes to read, %d to fill", chain->id,
		      chain->out_len, chain->in_len);
	}
	return rc;
}

void virtq_unpop(struct virtq *q, const struct virtq_chain *chain)
{
	q->inflight--;
	counter_add(&q->stats.chains, (uint64_t)-1);
	TRACE(chain_unpop, q->dev, q->ring, "chain %d put back", chain->id);
	if (q->f.packed)
		packed_unpop(q, chain->nr_desc);
	else
		split_unpop(q);
}

void virtq_push(struct virtq *q, const struct virtq_chain *chain, uint32_t written)
{
	q->inflight--;
	TRACE(chain_push, q->dev, q->ring,
	      "chain %d given back, %d bytes filled: the used ring is written", chain->id, written);
	if (q->f.packed)
		packed_push(q, chain->id, chain->nr_desc, written);
	else
		split_push(q, chain->id, written);
}

bool virtq_flush(struct virtq *q)
{
	return q->f.packed ? packed_flush(q) : split_flush(q);
}

void virtq_kick_disable(struct virtq *q)
{
	counter_add(&q->stats.kicks_off, 1);
	TRACE(kicks_off, q->dev, q->ring, "the driver need not kick");
	if (q->f.packed)
		packed_kick_disable(q);
	else
		split_kick_disable(q);
}

bool virtq_kick_enable(struct virtq *q)
{
	TRACE(kicks_on, q->dev, q->ring, "the driver is to kick again");
	return q->f.packed ? packed_kick_enable(q) : split_kick_enable(q);
}

bool virtq_more(struct virtq *q)
{
	return q->f.packed ? packed_more(q) : split_more(q);
}

/* Copy between @buf and the bytes from @offset on in @iov; @in: into the iov. */
static size_t iov_copy(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len,
                       bool in)
{
	size_t done = 0;

	for (unsigned i = 0; i < n && done < len; i++) {
		uint8_t *base = iov[i].iov_base;
		size_t part;

		if (offset >= iov[i].iov_len) {
			offset -= iov[i].iov_len;
			continue;
		}
		part = min_u64(iov[i].iov_len - offset, len - done);
		if (in)
			memcpy(base + offset, (uint8_t *)buf + done, part);
		else
			memcpy((uint8_t *)buf + done, base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t iov_copy_out(const struct iovec *iov, unsigned n, size_t offset, void *buf, size_t len)
{
	return iov_copy(iov, n, offset, buf, len, false);
}

size_t iov_copy_in(const struct iovec *iov, unsigned n, size_t offset, const void *buf, size_t len)
{
	return iov_copy(iov, n, offset, (void *)buf, len, true);
}
