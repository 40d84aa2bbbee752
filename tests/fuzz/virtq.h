/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtq: what the targets of both ring formats do. The input is the driver: it chooses the queue's
 * settings and then writes descriptors, makes them available, writes anywhere in memory, and says
 * when the device does what. So memory changes between any two calls of the device's.
 */
#ifndef TRIVM_TESTS_FUZZ_VIRTQ_H
#define TRIVM_TESTS_FUZZ_VIRTQ_H

#include <errno.h>
#include <linux/virtio_ring.h>
#include <sanitizer/asan_interface.h>

#include "devices/virtio/queue.h"
#include "tests/fuzz/guest_ram.h"
#include "vmm/endian.h"

#define CHAINS_MAX 64 /* popped and not pushed */
#define IOV_MAX_   48 /* less than VIRTQ_CHAIN_MAX: the end is reached more often */

struct fuzz_virtq {
	struct guest_ram *ram;
	struct virtq_config config;
	struct virtq_features f;
	struct virtq q;
	bool started;
	/* The driver's position; packed: with its wrap counter. */
	uint16_t avail;
	bool wrap;
	unsigned nr;
	bool can_unpop; /* the newest chain was popped by the last pop */
	struct virtq_chain chains[CHAINS_MAX];
	struct iovec iov[CHAINS_MAX][IOV_MAX_];
};

static inline void fuzz_virtq_settings(struct fuzz_virtq *v, struct fuzz_in *in, bool packed)
{
	uint8_t bits = fuzz_u8(in);

	v->f = (struct virtq_features){
		.packed = packed,
		.event_idx = bits & 1,
		.indirect = bits & 2,
		.in_order = bits & 4,
	};
	v->config = (struct virtq_config){
		.size_max = 256,
		.size = (uint16_t)(1u << (bits >> 4 & 7)),
		.enabled = true,
	};
	/* Each ends where its memory ends. */
	v->config.desc = RAM_END3 - 16u * v->config.size;
	v->config.driver = RAM_END1 - (packed ? 4 : 6 + 2u * v->config.size);
	v->config.device = RAM_END2 - (packed ? 4 : 8 + 8u * v->config.size);
	if (bits & 8) {
		v->config.size_max = VIRTQ_SIZE_MAX;
		v->config.size = fuzz_u16(in);
		v->config.desc = guest_ram_addr(in);
		v->config.driver = guest_ram_addr(in);
		v->config.device = guest_ram_addr(in);
	}
	v->wrap = true;
}

static inline void fuzz_virtq_start(struct fuzz_virtq *v, virtq_base_t base)
{
	struct err err = {0};

	v->started = virtq_start(&v->q, &v->config, v->f, base, &v->ram->mem, &err) == 0;
	fuzz_check(v->started || err.msg[0]);
	v->nr = 0;
	v->can_unpop = false;
}

/* A descriptor as the input has it: the split table's entry, or the next of the packed ring. */
static inline void fuzz_virtq_desc(struct fuzz_virtq *v, struct fuzz_in *in)
{
	uint8_t e[16], at = fuzz_u8(in);
	uint8_t bits = fuzz_u8(in); /* NEXT, WRITE, INDIRECT; wild flags; long */
	uint64_t addr = guest_ram_addr(in);
	uint16_t id = fuzz_u8(in), flags = bits & 7;
	uint32_t len = bits & 0x10 ? fuzz_u32(in) : fuzz_u8(in) * 16u;
	void *host;

	if (bits & 8)
		flags = fuzz_u16(in);
	if (v->f.packed) {
		if (!(bits & 8))
			flags |= v->wrap ? BIT(VRING_PACKED_DESC_F_AVAIL)
			                 : BIT(VRING_PACKED_DESC_F_USED);
		at = (uint8_t)v->avail;
		if (++v->avail >= v->config.size) {
			v->avail = 0;
			v->wrap = !v->wrap;
		}
	}
	store_le64(e, addr);
	store_le32(e + 8, len);
	store_le16(e + 12, v->f.packed ? id : flags);
	store_le16(e + 14, v->f.packed ? flags : id);
	/* With bit 7 not the queue's own table, but where indirect ones may be. */
	addr = bits & 0x80 ? RAM_END0 - 16u * (1 + at % 32) : v->config.desc + 16u * at;
	host = memory_at(&v->ram->mem, gpa(addr), 16);
	if (host)
		memcpy(host, e, sizeof(e));
}

/* Split: one more entry of the available ring. */
static inline void fuzz_virtq_publish(struct fuzz_virtq *v, struct fuzz_in *in)
{
	uint64_t size = sizeof(struct vring_avail) + 2ul * v->config.size;
	struct vring_avail *a = memory_at(&v->ram->mem, gpa(v->config.driver), size);

	if (v->f.packed || !a || v->config.driver % 2)
		return;
	a->ring[v->avail & (v->config.size - 1)] = htole16(fuzz_u8(in));
	a->idx = htole16(++v->avail);
}

/* The ring's entry @e, at the driver's position, and made available. */
static inline void fuzz_virtq_put(struct fuzz_virtq *v, const uint8_t e[16])
{
	uint64_t at = v->config.desc + 16u * (v->avail % v->config.size);
	uint8_t zero = (uint8_t)(v->avail % v->config.size);
	struct fuzz_in head = {.at = &zero, .end = &zero + 1};
	void *host = memory_at(&v->ram->mem, gpa(at), 16);

	if (!host)
		return;
	memcpy(host, e, 16);
	if (!v->f.packed) {
		fuzz_virtq_publish(v, &head);
	} else if (++v->avail >= v->config.size) {
		v->avail = 0;
		v->wrap = !v->wrap;
	}
}

/* A long indirect table, all of whose entries are alike, and what leads to it. */
static inline void fuzz_virtq_table(struct fuzz_virtq *v, struct fuzz_in *in)
{
	unsigned n = 1 + fuzz_u16(in) % 1100;
	uint16_t flags = fuzz_u8(in) & VRING_DESC_F_WRITE;
	uint64_t at = RAM_END0 - 16u * n, addr = guest_ram_addr(in);
	uint32_t len = fuzz_u8(in);
	uint8_t *table = memory_at(&v->ram->mem, gpa(at), 16u * n), e[16];

	for (unsigned i = 0; i < n; i++) {
		store_le64(table + 16 * i, addr);
		store_le32(table + 16 * i + 8, len);
		store_le16(table + 16 * i + 12, flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		store_le16(table + 16 * i + 14, v->f.packed ? flags : (uint16_t)(i + 1));
	}
	flags = VRING_DESC_F_INDIRECT;
	if (v->f.packed)
		flags |= v->wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) : BIT(VRING_PACKED_DESC_F_USED);
	store_le64(e, at);
	store_le32(e + 8, 16 * n);
	store_le16(e + 12, v->f.packed ? 0 : flags);
	store_le16(e + 14, v->f.packed ? flags : 0);
	fuzz_virtq_put(v, e);
}

static inline void fuzz_virtq_chain_ok(const struct fuzz_virtq *v, const struct virtq_chain *c)
{
	uint64_t out = 0, in = 0;

	fuzz_check(c->nr_out + c->nr_in <= IOV_MAX_);
	for (unsigned i = 0; i < c->nr_out + c->nr_in; i++) {
		fuzz_check(!__asan_region_is_poisoned(c->iov[i].iov_base, c->iov[i].iov_len));
		*(i < c->nr_out ? &out : &in) += c->iov[i].iov_len;
	}
	fuzz_check(out == c->out_len && in == c->in_len && out + in <= UINT32_MAX);
	if (v->f.packed)
		fuzz_check(c->nr_desc >= 1 && c->nr_desc <= v->q.size);
	else
		fuzz_check(c->id < v->q.size);
}

static inline void fuzz_virtq_pop(struct fuzz_virtq *v)
{
	struct virtq_chain *c = &v->chains[v->nr];
	int rc;

	if (v->nr == CHAINS_MAX)
		return;
	rc = virtq_pop(&v->q, c, v->iov[v->nr], IOV_MAX_);
	v->can_unpop = false;
	fuzz_check(rc == 1 || rc == 0 || rc == -EPROTO);
	fuzz_check((rc == -EPROTO) == (v->q.broken != NULL));
	if (rc == 1) {
		fuzz_virtq_chain_ok(v, c);
		v->nr++;
		v->can_unpop = true;
	}
	fuzz_check(v->q.inflight == v->nr && v->q.inflight <= v->q.size);
}

/* Use a chain's buffers, rings and all. */
static inline void fuzz_virtq_use(struct fuzz_virtq *v, struct fuzz_in *in)
{
	uint8_t buf[256] = {0};
	const struct virtq_chain *c;
	size_t len, offset;

	if (v->nr == 0)
		return;
	c = &v->chains[v->nr - 1];
	offset = fuzz_u8(in) * 16u;
	len = fuzz_u8(in);
	fuzz_check(iov_copy_out(c->iov, c->nr_out, offset, buf, len) <= len);
	len = fuzz_bytes(in, buf, len);
	fuzz_check(iov_copy_in(c->iov + c->nr_out, c->nr_in, offset, buf, len) <= len);
}

static inline void fuzz_virtq_push(struct fuzz_virtq *v, struct fuzz_in *in)
{
	unsigned which = v->nr && !v->f.in_order ? fuzz_u8(in) % v->nr : 0;

	if (v->nr == 0)
		return;
	virtq_push(&v->q, &v->chains[which], v->chains[which].in_len);
	v->can_unpop = false;
	v->nr--;
	/* Their order is that in which they were popped. */
	for (unsigned i = which; i < v->nr; i++) {
		v->chains[i] = v->chains[i + 1];
		memcpy(v->iov[i], v->iov[i + 1], sizeof(v->iov[i]));
		v->chains[i].iov = v->iov[i];
	}
}

static inline void fuzz_virtq_unpop(struct fuzz_virtq *v)
{
	if (!v->can_unpop)
		return;
	virtq_unpop(&v->q, &v->chains[--v->nr]);
	v->can_unpop = false;
}

static inline void fuzz_virtq_step(struct fuzz_virtq *v, struct fuzz_in *in)
{
	switch (fuzz_u8(in) % 13) {
	case 0:
	case 1:
		fuzz_virtq_desc(v, in);
		break;
	case 2:
		fuzz_virtq_publish(v, in);
		break;
	case 3: {
		uint64_t addr = guest_ram_addr(in);

		guest_ram_poke(v->ram, in, addr, 1 + fuzz_u8(in) % 16);
		break;
	}
	case 4:
	case 5:
		fuzz_virtq_pop(v);
		break;
	case 6:
		fuzz_virtq_use(v, in);
		break;
	case 7:
		fuzz_virtq_push(v, in);
		break;
	case 8:
		fuzz_virtq_unpop(v);
		break;
	case 9:
		virtq_flush(&v->q);
		break;
	case 10:
		virtq_kick_disable(&v->q);
		if (fuzz_u8(in) & 1)
			virtq_kick_enable(&v->q);
		virtq_more(&v->q);
		break;
	case 11: {
		virtq_base_t base = virtq_base(&v->q);

		fuzz_virtq_start(v, fuzz_u8(in) & 1 ? fuzz_u32(in) : base);
		break;
	}
	case 12:
		fuzz_virtq_table(v, in);
		break;
	}
}

static inline void fuzz_virtq(const uint8_t *data, size_t len, bool packed)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fuzz_virtq *v = calloc(1, sizeof(*v));
	struct guest_ram ram;

	fuzz_check(v);
	guest_ram_init(&ram);
	v->ram = &ram;
	fuzz_virtq_settings(v, &in, packed);
	fuzz_virtq_start(v, virtq_base_new(packed));
	while (v->started && fuzz_left(&in))
		fuzz_virtq_step(v, &in);
	guest_ram_destroy(&ram);
	free(v);
}

#endif
