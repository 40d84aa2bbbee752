/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two ring formats share: only queue.c, split.c, packed.c and inspect.c include
 * this. */
#ifndef TRIVM_DEVICES_VIRTIO_QUEUE_PRIV_H
#define TRIVM_DEVICES_VIRTIO_QUEUE_PRIV_H

#include <errno.h>

#include "devices/virtio/queue.h"
#include "vmm/endian.h"

/* One descriptor, read once. Both formats have these fields. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* The queue is not to be used any more, and why. -EPROTO. */
static inline int virtq_break(struct virtq *q, const char *why)
{
	q->broken = why;
	return -EPROTO;
}

/* An area of @len bytes at @addr, if it is where the specification lets it be; else NULL. */
void *virtq_area(const struct memory *mem, uint64_t addr, uint64_t len, uint64_t align);

/* Begin @chain with @iov as the array that it fills. */
void chain_begin(struct virtq_chain *chain, struct iovec *iov);

/* Append what @d describes: bounds, direction, address. 0 or virtq_break()'s result. */
int chain_add(struct virtq *q, struct virtq_chain *chain, const struct virtq_desc *d,
              unsigned iov_max);

uint16_t split_used_index(const struct virtq_areas *areas);
int split_translate(const struct virtq_config *config, const struct memory *mem,
                    struct virtq_areas *areas, struct err *err);
void split_start(struct virtq *q, const struct virtq_areas *areas, virtq_base_t base);
int split_pop(struct virtq *q, struct virtq_chain *chain, unsigned iov_max);
void split_unpop(struct virtq *q);
void split_push(struct virtq *q, uint16_t id, uint32_t written);
bool split_flush(struct virtq *q);
void split_kick_disable(struct virtq *q);
bool split_kick_enable(struct virtq *q);
bool split_more(struct virtq *q);

int packed_translate(const struct virtq_config *config, const struct memory *mem,
                     struct virtq_areas *areas, struct err *err);
void packed_start(struct virtq *q, const struct virtq_areas *areas, virtq_base_t base);
bool packed_base_valid(virtq_base_t base, uint16_t size);
int packed_pop(struct virtq *q, struct virtq_chain *chain, unsigned iov_max);
void packed_unpop(struct virtq *q, uint16_t nr_desc);
void packed_push(struct virtq *q, uint16_t id, uint16_t nr_desc, uint32_t written);
bool packed_flush(struct virtq *q);
void packed_kick_disable(struct virtq *q);
bool packed_kick_enable(struct virtq *q);
bool packed_more(struct virtq *q);
virtq_base_t packed_base(const struct virtq *q);

/* Guest memory is read and written through these: once each, never torn, never by the compiler's
 * choice. */
#define READ_GUEST(lvalue)         __atomic_load_n(&(lvalue), __ATOMIC_RELAXED)
#define WRITE_GUEST(lvalue, value) __atomic_store_n(&(lvalue), (value), __ATOMIC_RELAXED)

/* Where the owner stands: it alone writes that, but virtq_peek() may look from another thread. */
#define MOVE_TO(lvalue, value) __atomic_store_n(&(lvalue), (value), __ATOMIC_RELAXED)

/*
 * READ_GUEST for fields of an indirect table, which the driver may put at any address: nothing in
 * the specification aligns it.
 */
typedef uint16_t __attribute__((aligned(1), may_alias)) any_u16;
typedef uint32_t __attribute__((aligned(1), may_alias)) any_u32;
typedef uint64_t __attribute__((aligned(1), may_alias)) any_u64;

static inline uint16_t guest_le16(const uint8_t *p)
{
	return le16toh(*(const volatile any_u16 *)p);
}
static inline uint32_t guest_le32(const uint8_t *p)
{
	return le32toh(*(const volatile any_u32 *)p);
}
static inline uint64_t guest_le64(const uint8_t *p)
{
	return le64toh(*(const volatile any_u64 *)p);
}

#endif
