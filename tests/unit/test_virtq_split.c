/* SPDX-License-Identifier: BSD-2-Clause */
/* The split virtqueue against a driver that is honest, and against one that is not. */
#include "tests/unit/virtq_model.h"

#include <errno.h>

struct rig {
	struct drv d;
	struct virtq q;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

static const struct virtq_features all = {.event_idx = true, .indirect = true};
static const struct virtq_features none = {.event_idx = false};

static void setup(struct rig *r, unsigned size, struct virtq_features f)
{
	struct virtq_config config;

	drv_init(&r->d, false, size, f.event_idx);
	config = drv_config(&r->d);
	assert_int_equal(virtq_start(&r->q, &config, f, 0, &r->d.mem, NULL), 0);
}

static int pop(struct rig *r)
{
	return virtq_pop(&r->q, &r->chain, r->iov, VIRTQ_CHAIN_MAX);
}

/* The queue is broken, says why, and stays so. */
static void expect_broken(struct rig *r, const char *why)
{
	assert_int_equal(pop(r), -EPROTO);
	assert_string_equal(r->q.broken, why);
	assert_int_equal(pop(r), -EPROTO);
	assert_int_equal(le16toh(drv_used(&r->d)->idx), 0);
	drv_destroy(&r->d);
}

static void test_random(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 256};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		model_run_all(false, sizes[i], 4000);
}

/* The indexes run over 65536. */
static void test_random_wrap(void **state)
{
	(void)state;
	model_run_all(false, 256, 70000);
	model_run_all(false, 32768, 140000);
}

static void expect_start_error(const struct virtq_config *config, virtq_base_t base,
                               const struct memory *mem, const char *text)
{
	struct virtq q;
	struct err err = {0};

	assert_int_equal(virtq_start(&q, config, none, base, mem, &err), -EINVAL);
	if (!strstr(err.msg, text))
		fail_msg("\"%s\" is not in \"%s\"", text, err.msg);
}

static void test_start_size(void **state)
{
	static const uint16_t bad[] = {0, 3, 255, 257, 32767};
	struct drv d;
	struct virtq_config c;
	struct virtq q;

	(void)state;
	drv_init(&d, false, 256, false);
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		c = drv_config(&d);
		c.size = bad[i];
		expect_start_error(&c, 0, &d.mem, bad[i] ? "power of two" : "size 0");
	}
	c = drv_config(&d);
	c.size_max = 128;
	expect_start_error(&c, 0, &d.mem, "256 is not in 1..128");
	c.size_max = 256;
	assert_int_equal(virtq_start(&q, &c, none, 0, &d.mem, NULL), 0);
	expect_start_error(&c, 0x10000, &d.mem, "base 0x10000");
	assert_int_equal(virtq_start(&q, &c, none, 0xffff, &d.mem, NULL), 0);
	assert_int_equal(virtq_base(&q), 0xffff);
	drv_destroy(&d);
}

static void test_start_place(void **state)
{
	const uint64_t desc_len = 16 * 256, avail_len = 6 + 2 * 256, used_len = 6 + 8 * 256;
	struct drv d;
	struct virtq_config c;
	struct virtq q;

	(void)state;
	drv_init(&d, false, 256, false);
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t len[] = {desc_len, avail_len, used_len};
		const uint64_t align[] = {16, 2, 4};
		uint64_t last = align_down(DRV_RAM_END - len[i], align[i]);
		uint64_t bad[] = {
			DRV_RAM - align[i],        /* begins outside */
			last + align[i],           /* ends outside */
			DRV_RAM + align[i] / 2,    /* misaligned */
			UINT64_MAX - align[i] + 1, /* wraps */
			UINT64_MAX - len[i] + 1,   /* ends at 2^64 */
			DRV_RAM_END,
			0,
		};

		for (unsigned k = 0; k <= ARRAY_SIZE(bad); k++) {
			uint64_t *at[3] = {&c.desc, &c.driver, &c.device};

			c = drv_config(&d);
			*at[i] = k < ARRAY_SIZE(bad) ? bad[k] : last;
			if (k < ARRAY_SIZE(bad))
				expect_start_error(&c, 0, &d.mem, "misaligned or not in guest");
			else
				assert_int_equal(virtq_start(&q, &c, none, 0, &d.mem, NULL), 0);
		}
	}
	drv_destroy(&d);
}

static void test_empty(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 256, none);
	assert_int_equal(pop(&r), 0);
	assert_false(virtq_more(&r.q));
	assert_false(virtq_flush(&r.q));
	assert_null(r.q.broken);
	assert_int_equal(virtq_base(&r.q), 0);
	drv_destroy(&r.d);
}

/* What a driver did before the device looked: exactly as many as the ring has. */
static void test_full(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	for (unsigned i = 0; i < 4; i++)
		assert_true(drv_add(&r.d, 1, 0, false) >= 0);
	assert_int_equal(drv_add(&r.d, 1, 0, false), -1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pop(&r), 1);
	assert_int_equal(pop(&r), 0);
	assert_int_equal(r.q.inflight, 4);
	assert_null(r.q.broken);
	drv_destroy(&r.d);
}

static void test_batch_is_seen_at_once(void **state)
{
	struct rig r;
	struct virtq_chain chains[3];
	struct iovec iov[3][2];
	uint32_t written;

	(void)state;
	setup(&r, 8, none);
	for (unsigned i = 0; i < 3; i++) {
		drv_add(&r.d, 0, 2, false);
		assert_int_equal(virtq_pop(&r.q, &chains[i], iov[i], 2), 1);
	}
	virtq_push(&r.q, &chains[2], 3);
	virtq_push(&r.q, &chains[0], 1);
	assert_false(drv_has_used(&r.d));
	assert_true(virtq_flush(&r.q));
	assert_int_equal(le16toh(drv_used(&r.d)->idx), 2);
	assert_int_equal(drv_take(&r.d, &written), chains[2].id);
	assert_int_equal(written, 3);
	assert_int_equal(drv_take(&r.d, &written), chains[0].id);
	assert_int_equal(written, 1);
	assert_int_equal(drv_take(&r.d, &written), -1);
	assert_false(virtq_flush(&r.q));
	drv_destroy(&r.d);
}

/* An interrupt that is asked for after 65536 chains without one. */
static void test_interrupt_after_a_long_silence(void **state)
{
	struct rig r;
	uint32_t written;

	(void)state;
	setup(&r, 2, all);
	drv_interrupt_at(&r.d, 0);
	for (unsigned i = 0; i < 65536; i++) {
		drv_add(&r.d, 0, 1, false);
		assert_int_equal(pop(&r), 1);
		virtq_push(&r.q, &r.chain, 0);
		assert_int_equal(virtq_flush(&r.q), i == 0);
		drv_take(&r.d, &written);
	}
	drv_interrupt_at(&r.d, 0);
	drv_add(&r.d, 0, 1, false);
	assert_int_equal(pop(&r), 1);
	virtq_push(&r.q, &r.chain, 0);
	assert_true(virtq_flush(&r.q));
	drv_destroy(&r.d);
}

/* Base in the middle of the ring, with the used index where the last owner left it. */
static void test_base(void **state)
{
	struct rig r;
	struct virtq_config config;
	uint32_t written;

	(void)state;
	setup(&r, 4, all);
	config = drv_config(&r.d);
	for (unsigned i = 0; i < 7; i++) {
		assert_true(drv_add(&r.d, 1, 1, i & 1) >= 0);
		assert_int_equal(pop(&r), 1);
		virtq_push(&r.q, &r.chain, i);
		virtq_flush(&r.q);
		assert_true(drv_take(&r.d, &written) >= 0);
	}
	/* One was made available and not taken; one was taken and put back. */
	drv_add(&r.d, 1, 0, false);
	drv_add(&r.d, 0, 1, false);
	assert_int_equal(pop(&r), 1);
	virtq_unpop(&r.q, &r.chain);
	assert_int_equal(r.q.inflight, 0);
	assert_int_equal(r.q.stats.chains, 7);
	assert_int_equal(virtq_base(&r.q), 7);
	assert_int_equal(virtq_start(&r.q, &config, all, 7, &r.d.mem, NULL), 0);
	assert_true(virtq_more(&r.q));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(pop(&r), 1);
		assert_int_equal(r.chain.nr_out, i == 0);
		virtq_push(&r.q, &r.chain, 0);
	}
	assert_int_equal(pop(&r), 0);
	virtq_flush(&r.q);
	assert_int_equal(le16toh(drv_used(&r.d)->idx), 9);
	assert_true(drv_take(&r.d, &written) >= 0 && drv_take(&r.d, &written) >= 0);
	assert_int_equal(r.d.nr_out_there, 0);
	drv_destroy(&r.d);
}

static void test_kicks_without_event_idx(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	virtq_kick_disable(&r.q);
	drv_add(&r.d, 1, 0, false);
	assert_false(drv_kick_wanted(&r.d));
	/* It came in between: the device must not sleep. */
	assert_true(virtq_kick_enable(&r.q));
	assert_int_equal(pop(&r), 1);
	assert_false(virtq_kick_enable(&r.q));
	drv_add(&r.d, 1, 0, false);
	assert_true(drv_kick_wanted(&r.d));
	assert_int_equal(r.q.stats.kicks_off, 1);
	drv_destroy(&r.d);
}

static void test_kicks_with_event_idx(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, all);
	assert_false(virtq_kick_enable(&r.q));
	drv_add(&r.d, 1, 0, false);
	assert_true(drv_kick_wanted(&r.d));
	/* Not told again until the device has looked. */
	drv_add(&r.d, 1, 0, false);
	assert_false(drv_kick_wanted(&r.d));
	assert_true(virtq_kick_enable(&r.q));
	assert_int_equal(pop(&r), 1);
	assert_int_equal(pop(&r), 1);
	assert_false(virtq_kick_enable(&r.q));
	drv_add(&r.d, 1, 0, false);
	assert_true(drv_kick_wanted(&r.d));
	drv_destroy(&r.d);
}

/* The flag is not looked at when event indexes are negotiated, and the other way round. */
static void test_the_other_suppression_is_ignored(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, all);
	drv_avail(&r.d)->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	drv_add(&r.d, 1, 0, false);
	pop(&r);
	virtq_push(&r.q, &r.chain, 0);
	assert_true(virtq_flush(&r.q));
	drv_destroy(&r.d);
	setup(&r, 4, none);
	for (unsigned i = 0; i < 2; i++) {
		drv_avail(&r.d)->ring[4] = htole16(77);
		drv_add(&r.d, 1, 0, false);
		pop(&r);
		virtq_push(&r.q, &r.chain, 0);
		assert_true(virtq_flush(&r.q));
	}
	drv_destroy(&r.d);
}

/* --- Chains of all shapes. --- */

/* 2.7.5.3.2: direct descriptors, then one that leads to a table. */
static void test_direct_then_indirect(void **state)
{
	struct rig r;
	struct vring_desc *table;

	(void)state;
	setup(&r, 4, all);
	/* At an odd place: nothing aligns it. */
	table = drv_at(&r.d, DRV_TABLES + 7);
	drv_set(&drv_desc(&r.d)[2], DRV_DATA, 10, VRING_DESC_F_NEXT, 0);
	/* WRITE is ignored here. */
	drv_set(&drv_desc(&r.d)[0], DRV_TABLES + 7, 64, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE,
	        0);
	drv_set(&table[0], DRV_DATA + 10, 20, VRING_DESC_F_NEXT, 3);
	drv_set(&table[3], DRV_DATA + 30, 30, VRING_DESC_F_WRITE, 9);
	drv_publish(&r.d, 2);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.id, 2);
	assert_int_equal(r.chain.nr_out, 2);
	assert_int_equal(r.chain.nr_in, 1);
	assert_int_equal(r.chain.out_len, 30);
	assert_int_equal(r.chain.in_len, 30);
	assert_ptr_equal(r.iov[2].iov_base, drv_at(&r.d, DRV_DATA + 30));
	drv_destroy(&r.d);
}

static void test_long_chains(void **state)
{
	struct rig r;
	struct vring_desc *table;

	(void)state;
	/* As long as the queue. */
	setup(&r, 256, none);
	for (unsigned i = 0; i < 256; i++)
		drv_set(&drv_desc(&r.d)[i], DRV_DATA + i, 1,
		        (uint16_t)((i < 255 ? VRING_DESC_F_NEXT : 0) |
		                   (i >= 100 ? VRING_DESC_F_WRITE : 0)),
		        (uint16_t)(i + 1));
	drv_publish(&r.d, 0);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.nr_out, 100);
	assert_int_equal(r.chain.nr_in, 156);
	drv_destroy(&r.d);
	/* A table that is longer than the queue, as long as the device takes. */
	setup(&r, 2, all);
	table = drv_at(&r.d, DRV_TABLES);
	for (unsigned i = 0; i < VIRTQ_CHAIN_MAX; i++)
		drv_set(&table[i], DRV_DATA + i, 1, i + 1 < VIRTQ_CHAIN_MAX ? VRING_DESC_F_NEXT : 0,
		        (uint16_t)(i + 1));
	drv_set(drv_desc(&r.d), DRV_TABLES, 16 * VIRTQ_CHAIN_MAX, VRING_DESC_F_INDIRECT, 0);
	drv_publish(&r.d, 0);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.nr_out, VIRTQ_CHAIN_MAX);
	drv_destroy(&r.d);
}

/* Buffers of length zero are strange, but a place in memory; the end of memory counts as outside.
 */
static void test_empty_buffers(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_set(&drv_desc(&r.d)[0], DRV_DATA, 0, VRING_DESC_F_NEXT, 1);
	drv_set(&drv_desc(&r.d)[1], DRV_DATA, 0, VRING_DESC_F_WRITE, 0);
	drv_publish(&r.d, 0);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.nr_out + r.chain.nr_in, 2);
	assert_int_equal(r.chain.out_len + r.chain.in_len, 0);
	drv_set(&drv_desc(&r.d)[2], DRV_RAM_END, 0, 0, 0);
	drv_publish(&r.d, 2);
	expect_broken(&r, "a buffer that is not in guest memory");
}

static void test_up_to_the_end_of_memory(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, all);
	drv_set(drv_desc(&r.d), DRV_RAM_END - 16, 16, VRING_DESC_F_INDIRECT, 0);
	drv_set(drv_at(&r.d, DRV_RAM_END - 16), DRV_RAM_END - 1, 1, 0, 0);
	drv_publish(&r.d, 0);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.out_len, 1);
	drv_destroy(&r.d);
}

/* --- What no honest driver writes. --- */

static void test_avail_index_too_far(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_avail(&r.d)->idx = htole16(5);
	assert_true(virtq_more(&r.q));
	assert_true(virtq_kick_enable(&r.q));
	expect_broken(&r, "an available index too far ahead");
	setup(&r, 4, none);
	drv_avail(&r.d)->idx = htole16(0xffff); /* backwards */
	expect_broken(&r, "an available index too far ahead");
}

static void test_head_outside(void **state)
{
	static const uint16_t bad[] = {4, 5, 0x8000, 0xffff};
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(&r, 4, none);
		drv_publish(&r.d, bad[i]);
		expect_broken(&r, "an available entry outside the descriptor table");
	}
}

static void test_next_outside(void **state)
{
	static const uint16_t bad[] = {4, 0xffff};
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(&r, 4, none);
		drv_set(&drv_desc(&r.d)[3], DRV_DATA, 8, VRING_DESC_F_NEXT, bad[i]);
		drv_publish(&r.d, 3);
		expect_broken(&r, "a next descriptor outside the table");
	}
	/* In an indirect table it is that table's size which counts. */
	setup(&r, 4, all);
	drv_set(drv_desc(&r.d), DRV_TABLES, 32, VRING_DESC_F_INDIRECT, 0);
	drv_set(drv_at(&r.d, DRV_TABLES), DRV_DATA, 8, VRING_DESC_F_NEXT, 2);
	drv_publish(&r.d, 0);
	expect_broken(&r, "a next descriptor outside the table");
}

static void test_loops(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_set(&drv_desc(&r.d)[1], DRV_DATA, 8, VRING_DESC_F_NEXT, 1);
	drv_publish(&r.d, 1);
	expect_broken(&r, "a loop of descriptors");
	setup(&r, 4, none);
	for (uint16_t i = 0; i < 4; i++)
		drv_set(&drv_desc(&r.d)[i], DRV_DATA, 8, VRING_DESC_F_NEXT, (i + 1) & 3);
	drv_publish(&r.d, 2);
	expect_broken(&r, "a loop of descriptors");
	setup(&r, 4, all);
	drv_set(drv_desc(&r.d), DRV_TABLES, 32, VRING_DESC_F_INDIRECT, 0);
	drv_set(drv_at(&r.d, DRV_TABLES), DRV_DATA, 8, VRING_DESC_F_NEXT, 1);
	drv_set(drv_at(&r.d, DRV_TABLES + 16), DRV_DATA, 8, VRING_DESC_F_NEXT, 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, "a loop of descriptors");
	/* One that is longer than a chain may be. */
	setup(&r, 32768, none);
	drv_set(drv_desc(&r.d), DRV_DATA, 0, VRING_DESC_F_NEXT, 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, "a chain of too many buffers");
}

static void test_too_many_buffers(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 8, none);
	drv_add(&r.d, 3, 2, false);
	assert_int_equal(virtq_pop(&r.q, &r.chain, r.iov, 4), -EPROTO);
	assert_string_equal(r.q.broken, "a chain of too many buffers");
	drv_destroy(&r.d);
	setup(&r, 8, none);
	drv_add(&r.d, 3, 2, false);
	assert_int_equal(virtq_pop(&r.q, &r.chain, r.iov, 5), 1);
	drv_destroy(&r.d);
}

static void test_readable_behind_writable(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_set(&drv_desc(&r.d)[0], DRV_DATA, 8, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	drv_set(&drv_desc(&r.d)[1], DRV_DATA, 8, 0, 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, "a readable buffer behind a writable one");
}

static void test_unmapped_buffers(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{0, 1},
		{DRV_RAM - 1, 1},
		{DRV_RAM - 1, 2},
		{DRV_RAM_END, 1},
		{DRV_RAM_END - 1, 2},
		{DRV_RAM, (uint32_t)DRV_RAM_SIZE + 1},
		{UINT64_MAX, 1},
		{UINT64_MAX - 7, 16}, /* wraps */
		{DRV_RAM, UINT32_MAX},
	};
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(&r, 4, none);
		drv_set(drv_desc(&r.d), bad[i].addr, bad[i].len, VRING_DESC_F_WRITE, 0);
		drv_publish(&r.d, 0);
		expect_broken(&r, "a buffer that is not in guest memory");
	}
}

/* 2^32 bytes in all, from one buffer that is there many times. */
static void test_more_than_4_gib(void **state)
{
	const unsigned n = (unsigned)(GIB(4) / DRV_RAM_SIZE);
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		setup(&r, 256, none);
		for (unsigned k = 0; k < n; k++)
			drv_set(&drv_desc(&r.d)[k], DRV_RAM, (uint32_t)DRV_RAM_SIZE,
			        (uint16_t)((k > n / 2 ? VRING_DESC_F_WRITE : 0) |
			                   (k + 1 < n ? VRING_DESC_F_NEXT : 0)),
			        (uint16_t)(k + 1));
		if (i == 0)
			drv_desc(&r.d)[0].len = htole32((uint32_t)DRV_RAM_SIZE - 1);
		drv_publish(&r.d, 0);
		if (i == 0) {
			assert_int_equal(pop(&r), 1);
			assert_int_equal(r.chain.out_len + r.chain.in_len, UINT32_MAX);
			drv_destroy(&r.d);
		} else {
			expect_broken(&r, "a chain of more than 4 GiB");
		}
	}
}

static void indirect_case(uint64_t addr, uint32_t len, uint16_t flags, struct virtq_features f,
                          const char *why)
{
	struct rig r;

	setup(&r, 4, f);
	drv_set(drv_desc(&r.d), addr, len, VRING_DESC_F_INDIRECT | flags, 1);
	drv_set(&drv_desc(&r.d)[1], DRV_DATA, 8, 0, 0);
	drv_set(drv_at(&r.d, DRV_TABLES), DRV_DATA, 8, 0, 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, why);
}

static void test_bad_indirect(void **state)
{
	static const char wrong[] = "an indirect table of a wrong length",
			  outside[] = "an indirect table that is not in guest memory";

	(void)state;
	indirect_case(DRV_TABLES, 16, 0, none, "an indirect table that was not negotiated");
	indirect_case(DRV_TABLES, 16, VRING_DESC_F_NEXT, all,
	              "an indirect table with a next descriptor");
	indirect_case(DRV_TABLES, 0, 0, all, wrong);
	indirect_case(DRV_TABLES, 15, 0, all, wrong);
	indirect_case(DRV_TABLES, 17, 0, all, wrong);
	indirect_case(DRV_RAM_END - 15, 16, 0, all, outside);
	indirect_case(DRV_RAM_END, 16, 0, all, outside);
	indirect_case(0, 16, 0, all, outside);
	indirect_case(DRV_TABLES, 0xfffffff0, 0, all, outside);
	indirect_case(UINT64_MAX - 15, 16, 0, all, outside);
}

static void test_indirect_in_indirect(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, all);
	drv_set(drv_desc(&r.d), DRV_TABLES, 16, VRING_DESC_F_INDIRECT, 0);
	drv_set(drv_at(&r.d, DRV_TABLES), DRV_TABLES, 16, VRING_DESC_F_INDIRECT, 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, "an indirect table in an indirect table");
}

/* The same descriptors again before they came back: the owner's tables must not run over. */
static void test_too_many_in_flight(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_set(drv_desc(&r.d), DRV_DATA, 8, 0, 0);
	for (unsigned i = 0; i < 4; i++) {
		drv_publish(&r.d, 0);
		assert_int_equal(pop(&r), 1);
	}
	assert_int_equal(pop(&r), 0);
	drv_publish(&r.d, 0);
	expect_broken(&r, "more in flight than the queue holds");
}

/* The driver changes the index while a batch is being worked on. */
static void test_index_moves_back(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_add(&r.d, 1, 0, false);
	drv_add(&r.d, 1, 0, false);
	assert_int_equal(pop(&r), 1);
	drv_avail(&r.d)->idx = 0;
	assert_int_equal(pop(&r), 1); /* it was available when the device looked */
	expect_broken(&r, "an available index too far ahead");
}

static void test_iov_copy(void **state)
{
	char a[3] = "abc", b[4] = "defg", out[8] = "";
	struct iovec iov[] = {{a, 3}, {NULL, 0}, {b, 4}};

	(void)state;
	assert_int_equal(iov_copy_out(iov, 3, 0, out, 8), 7);
	assert_memory_equal(out, "abcdefg", 7);
	assert_int_equal(iov_copy_out(iov, 3, 2, out, 3), 3);
	assert_memory_equal(out, "cde", 3);
	assert_int_equal(iov_copy_out(iov, 3, 3, out, 8), 4);
	assert_int_equal(iov_copy_out(iov, 3, 7, out, 1), 0);
	assert_int_equal(iov_copy_out(iov, 3, SIZE_MAX, out, 1), 0);
	assert_int_equal(iov_copy_in(iov, 3, 2, "XYZ", 3), 3);
	assert_memory_equal(a, "abX", 3);
	assert_memory_equal(b, "YZfg", 4);
	assert_int_equal(iov_copy_in(iov, 3, 6, "123", 3), 1);
	assert_memory_equal(b, "YZf1", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_wrap),
		cmocka_unit_test(test_start_size),
		cmocka_unit_test(test_start_place),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_batch_is_seen_at_once),
		cmocka_unit_test(test_interrupt_after_a_long_silence),
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_kicks_without_event_idx),
		cmocka_unit_test(test_kicks_with_event_idx),
		cmocka_unit_test(test_the_other_suppression_is_ignored),
		cmocka_unit_test(test_direct_then_indirect),
		cmocka_unit_test(test_long_chains),
		cmocka_unit_test(test_empty_buffers),
		cmocka_unit_test(test_up_to_the_end_of_memory),
		cmocka_unit_test(test_avail_index_too_far),
		cmocka_unit_test(test_head_outside),
		cmocka_unit_test(test_next_outside),
		cmocka_unit_test(test_loops),
		cmocka_unit_test(test_too_many_buffers),
		cmocka_unit_test(test_readable_behind_writable),
		cmocka_unit_test(test_unmapped_buffers),
		cmocka_unit_test(test_more_than_4_gib),
		cmocka_unit_test(test_bad_indirect),
		cmocka_unit_test(test_indirect_in_indirect),
		cmocka_unit_test(test_too_many_in_flight),
		cmocka_unit_test(test_index_moves_back),
		cmocka_unit_test(test_iov_copy),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
