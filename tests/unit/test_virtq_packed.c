/* SPDX-License-Identifier: BSD-2-Clause */
/* The packed virtqueue against a driver that is honest, and against one that is not. */
#include "tests/unit/virtq_model.h"

#include <errno.h>

struct rig {
	struct drv d;
	struct virtq q;
	struct virtq_chain chain;
	struct iovec iov[VIRTQ_CHAIN_MAX];
};

static const struct virtq_features all = {.packed = true, .event_idx = true, .indirect = true};
static const struct virtq_features none = {.packed = true};

#define START 0x80008000u /* position 0, both wrap counters 1 */

static void setup(struct rig *r, unsigned size, struct virtq_features f)
{
	struct virtq_config config;

	drv_init(&r->d, true, size, f.event_idx);
	config = drv_config(&r->d);
	assert_int_equal(virtq_base_new(true), START);
	assert_int_equal(virtq_start(&r->q, &config, f, START, &r->d.mem, NULL), 0);
}

static int pop(struct rig *r)
{
	return virtq_pop(&r->q, &r->chain, r->iov, VIRTQ_CHAIN_MAX);
}

static void expect_broken(struct rig *r, const char *why)
{
	assert_int_equal(pop(r), -EPROTO);
	assert_string_equal(r->q.broken, why);
	assert_int_equal(pop(r), -EPROTO);
	assert_false(drv_has_used(&r->d));
	drv_destroy(&r->d);
}

static void test_random(void **state)
{
	static const unsigned sizes[] = {1, 2, 3, 7, 256, 1000};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++)
		model_run_all(true, sizes[i], 4000);
}

static void test_random_largest(void **state)
{
	(void)state;
	model_run_all(true, 32768, 100000);
	model_run_all(true, 32767, 100000);
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

static void test_start_size_and_base(void **state)
{
	static const virtq_base_t good[] = {START, 0, 0x8002, 0x80020001, 0x00028002};
	static const virtq_base_t bad[] = {3, 0x8003, 0x80038000, 0x7fff, 0xffffffff};
	struct drv d;
	struct virtq_config c;
	struct virtq q;

	(void)state;
	drv_init(&d, true, 3, false);
	c = drv_config(&d);
	for (unsigned i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(virtq_start(&q, &c, none, good[i], &d.mem, NULL), 0);
		assert_int_equal(virtq_base(&q), good[i]);
	}
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		expect_start_error(&c, bad[i], &d.mem, "outside a queue of 3");
	c.size = 0;
	expect_start_error(&c, START, &d.mem, "size 0");
	c.size = c.size_max = 32769;
	expect_start_error(&c, START, &d.mem, "above 32768");
	c.size = 7;
	c.size_max = 6;
	expect_start_error(&c, START, &d.mem, "7 is not in 1..6");
	drv_destroy(&d);
}

static void test_start_place(void **state)
{
	struct drv d;
	struct virtq_config c;
	struct virtq q;

	(void)state;
	drv_init(&d, true, 7, false);
	for (unsigned i = 0; i < 3; i++) {
		const uint64_t len[] = {16 * 7, 4, 4}, align[] = {16, 4, 4};
		uint64_t last = align_down(DRV_RAM_END - len[i], align[i]);
		uint64_t bad[] = {
			DRV_RAM - align[i],        last + align[i], DRV_RAM + align[i] / 2,
			UINT64_MAX - align[i] + 1, DRV_RAM_END,     0,
		};

		for (unsigned k = 0; k <= ARRAY_SIZE(bad); k++) {
			uint64_t *at[3] = {&c.desc, &c.driver, &c.device};

			c = drv_config(&d);
			*at[i] = k < ARRAY_SIZE(bad) ? bad[k] : last;
			if (k < ARRAY_SIZE(bad))
				expect_start_error(&c, START, &d.mem, "misaligned or not in guest");
			else
				assert_int_equal(virtq_start(&q, &c, none, START, &d.mem, NULL), 0);
		}
	}
	drv_destroy(&d);
}

/* Zeroed descriptors are neither available nor used, in the first lap. */
static void test_empty(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 3, none);
	assert_int_equal(pop(&r), 0);
	assert_false(virtq_more(&r.q));
	assert_false(virtq_flush(&r.q));
	assert_false(drv_has_used(&r.d));
	assert_int_equal(virtq_base(&r.q), START);
	drv_destroy(&r.d);
}

static void test_full(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 3, none);
	for (unsigned lap = 0; lap < 3; lap++) {
		uint32_t written;
		struct virtq_chain c[3];
		struct iovec iov[3];

		for (unsigned i = 0; i < 3; i++)
			assert_true(drv_add(&r.d, 0, 1, false) >= 0);
		for (unsigned i = 0; i < 3; i++)
			assert_int_equal(virtq_pop(&r.q, &c[i], &iov[i], 1), 1);
		assert_int_equal(pop(&r), 0);
		assert_null(r.q.broken);
		for (unsigned i = 0; i < 3; i++)
			virtq_push(&r.q, &c[2 - i], i);
		assert_true(virtq_flush(&r.q));
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(drv_take(&r.d, &written), c[2 - i].id);
			assert_int_equal(written, i);
		}
	}
	drv_destroy(&r.d);
}

/* Of several chains given back together the first one shows last. */
static void test_batch_is_seen_at_once(void **state)
{
	struct rig r;
	struct virtq_chain c[3];
	struct iovec iov[3][2];
	uint32_t written;

	(void)state;
	setup(&r, 5, none);
	/* Begin in the middle, so that the batch goes over the ring's end. */
	drv_add(&r.d, 3, 0, false);
	assert_int_equal(pop(&r), 1);
	virtq_push(&r.q, &r.chain, 0);
	virtq_flush(&r.q);
	assert_true(drv_take(&r.d, &written) >= 0);
	for (unsigned i = 0; i < 3; i++) {
		drv_add(&r.d, 0, i == 0 ? 2 : 1, false);
		assert_int_equal(virtq_pop(&r.q, &c[i], iov[i], 2), 1);
	}
	for (unsigned i = 0; i < 3; i++) {
		virtq_push(&r.q, &c[i], i + 1);
		assert_false(drv_has_used(&r.d));
	}
	assert_true(virtq_flush(&r.q));
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(drv_take(&r.d, &written), c[i].id);
		assert_int_equal(written, i + 1);
	}
	assert_int_equal(drv_take(&r.d, &written), -1);
	drv_destroy(&r.d);
}

static void test_base(void **state)
{
	struct rig r;
	struct virtq_config config;
	struct virtq_chain held;
	struct iovec held_iov[2];
	uint32_t written;

	(void)state;
	setup(&r, 5, all);
	config = drv_config(&r.d);
	/* Three positions used, the chain behind them over the end of the ring put back. */
	drv_add(&r.d, 1, 2, false);
	assert_int_equal(pop(&r), 1);
	virtq_push(&r.q, &r.chain, 1);
	virtq_flush(&r.q);
	drv_take(&r.d, &written);
	drv_add(&r.d, 2, 1, false);
	assert_int_equal(virtq_base(&r.q), 0x80038003);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(virtq_base(&r.q), 0x80030001);
	virtq_unpop(&r.q, &r.chain);
	assert_int_equal(virtq_base(&r.q), 0x80038003);
	assert_int_equal(r.q.inflight, 0);
	assert_int_equal(virtq_start(&r.q, &config, all, 0x80038003, &r.d.mem, NULL), 0);
	assert_true(virtq_more(&r.q));
	assert_int_equal(virtq_pop(&r.q, &held, r.iov, 3), 1);
	assert_int_equal(held.nr_out, 2);
	/* Two in flight: the base says both positions. */
	drv_add(&r.d, 0, 1, true);
	assert_int_equal(virtq_pop(&r.q, &r.chain, held_iov, 2), 1);
	assert_int_equal(virtq_base(&r.q), 0x80030002);
	virtq_push(&r.q, &r.chain, 32);
	virtq_push(&r.q, &held, 0);
	virtq_flush(&r.q);
	assert_int_equal(virtq_base(&r.q), 0x00020002);
	assert_int_equal(drv_take(&r.d, &written), r.chain.id);
	assert_int_equal(written, 32);
	assert_int_equal(drv_take(&r.d, &written), held.id);
	assert_int_equal(r.d.nr_out_there, 0);
	drv_destroy(&r.d);
}

static void test_kicks(void **state)
{
	struct rig r;

	(void)state;
	for (unsigned event = 0; event < 2; event++) {
		setup(&r, 3, event ? all : none);
		virtq_kick_disable(&r.q);
		drv_add(&r.d, 1, 0, false);
		assert_false(drv_kick_wanted(&r.d));
		assert_true(virtq_kick_enable(&r.q));
		assert_int_equal(pop(&r), 1);
		assert_false(virtq_kick_enable(&r.q));
		drv_add(&r.d, 1, 0, false);
		assert_true(drv_kick_wanted(&r.d));
		drv_add(&r.d, 1, 0, false);
		assert_int_equal(drv_kick_wanted(&r.d), !event);
		drv_destroy(&r.d);
	}
}

static bool one_round(struct rig *r)
{
	uint32_t written;
	bool wanted;

	assert_true(drv_add(&r->d, 0, 1, false) >= 0);
	assert_int_equal(pop(r), 1);
	virtq_push(&r->q, &r->chain, 0);
	wanted = virtq_flush(&r->q);
	assert_true(drv_take(&r->d, &written) >= 0);
	return wanted;
}

static void test_interrupts(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 3, none);
	/* Without event indexes DESC and the reserved value mean enabled. */
	for (uint16_t flags = 0; flags < 8; flags++) {
		drv_driver_event(&r.d)->flags = htole16(flags);
		drv_driver_event(&r.d)->off_wrap = htole16(0x1234);
		assert_int_equal(one_round(&r), (flags & 3) != VRING_PACKED_EVENT_FLAG_DISABLE);
	}
	drv_destroy(&r.d);
	setup(&r, 3, all);
	/* After a start always: the owner before may have been killed short of its interrupt. */
	drv_interrupt_at(&r.d, 2);
	assert_true(one_round(&r));
	/* Two laps ahead of every position: never but there. */
	for (unsigned round = 0; round < 12; round++) {
		drv_interrupt_at(&r.d, 2);
		assert_false(one_round(&r));
		assert_false(one_round(&r));
		assert_true(one_round(&r));
		assert_false(one_round(&r));
	}
	drv_destroy(&r.d);
}

/* --- Chains of all shapes. --- */

static void test_id_of_the_last(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_pput(&r.d, DRV_DATA, 1, 11, VRING_DESC_F_NEXT);
	drv_pput(&r.d, DRV_DATA, 2, 22, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE);
	drv_pput(&r.d, DRV_DATA, 4, 0xffff, VRING_DESC_F_WRITE);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.id, 0xffff);
	assert_int_equal(r.chain.nr_desc, 3);
	assert_int_equal(r.chain.out_len, 1);
	assert_int_equal(r.chain.in_len, 6);
	drv_destroy(&r.d);
}

/* In a table only WRITE counts; the rest, an indirect flag too, is ignored. At any address. */
static void test_indirect(void **state)
{
	struct rig r;
	uint64_t at = DRV_TABLES + 5;

	(void)state;
	setup(&r, 4, all);
	drv_pset(drv_at(&r.d, at), DRV_DATA, 1, 9, 0);
	drv_pset(drv_at(&r.d, at + 16), DRV_DATA, 2, 9, VRING_DESC_F_INDIRECT);
	drv_pset(drv_at(&r.d, at + 32), DRV_DATA, 4, 9, 0xffff);
	drv_pput(&r.d, at, 48, 3, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.id, 3);
	assert_int_equal(r.chain.nr_desc, 1);
	assert_int_equal(r.chain.nr_out, 2);
	assert_int_equal(r.chain.out_len, 3);
	assert_int_equal(r.chain.in_len, 4);
	drv_destroy(&r.d);
}

static void test_longest_chain(void **state)
{
	struct rig r;
	uint32_t written;

	(void)state;
	setup(&r, 7, none);
	for (unsigned lap = 0; lap < 3; lap++) {
		assert_true(drv_add(&r.d, 3, 4, false) >= 0);
		assert_int_equal(pop(&r), 1);
		assert_int_equal(r.chain.nr_desc, 7);
		virtq_push(&r.q, &r.chain, 100);
		assert_int_equal(pop(&r), 0);
		virtq_flush(&r.q);
		assert_true(drv_take(&r.d, &written) >= 0);
		assert_int_equal(written, 100);
	}
	drv_destroy(&r.d);
}

static void test_empty_buffers(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, none);
	drv_pput(&r.d, DRV_DATA, 0, 0, VRING_DESC_F_WRITE);
	assert_int_equal(pop(&r), 1);
	assert_int_equal(r.chain.nr_in, 1);
	assert_int_equal(r.chain.in_len, 0);
	drv_pput(&r.d, DRV_RAM_END, 0, 0, VRING_DESC_F_WRITE);
	expect_broken(&r, "a buffer that is not in guest memory");
}

/* --- What no honest driver writes. --- */

static void test_chain_longer_than_the_queue(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 3, none);
	/* NEXT all around: the last one leads to the first. */
	for (unsigned i = 0; i < 3; i++)
		drv_pput(&r.d, DRV_DATA, 8, 0, VRING_DESC_F_NEXT);
	expect_broken(&r, "a chain longer than the queue");
	setup(&r, 1, none);
	drv_pput(&r.d, DRV_DATA, 8, 0, VRING_DESC_F_NEXT);
	expect_broken(&r, "a chain longer than the queue");
	setup(&r, 32768, none);
	for (unsigned i = 0; i < 32768; i++)
		drv_pput(&r.d, DRV_DATA, 8, 0, VRING_DESC_F_NEXT);
	expect_broken(&r, "a chain of too many buffers");
}

static void test_too_many_buffers(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 8, all);
	drv_add(&r.d, 3, 2, true);
	assert_int_equal(virtq_pop(&r.q, &r.chain, r.iov, 4), -EPROTO);
	assert_string_equal(r.q.broken, "a chain of too many buffers");
	drv_destroy(&r.d);
	setup(&r, 8, all);
	drv_add(&r.d, 3, 2, false);
	assert_int_equal(virtq_pop(&r.q, &r.chain, r.iov, 5), 1);
	drv_destroy(&r.d);
}

static void test_readable_behind_writable(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 4, all);
	drv_pput(&r.d, DRV_DATA, 8, 0, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT);
	drv_pput(&r.d, DRV_DATA, 8, 0, 0);
	expect_broken(&r, "a readable buffer behind a writable one");
	setup(&r, 4, all);
	drv_pset(drv_at(&r.d, DRV_TABLES), DRV_DATA, 8, 0, VRING_DESC_F_WRITE);
	drv_pset(drv_at(&r.d, DRV_TABLES + 16), DRV_DATA, 8, 0, 0);
	drv_pput(&r.d, DRV_TABLES, 32, 0, VRING_DESC_F_INDIRECT);
	expect_broken(&r, "a readable buffer behind a writable one");
}

static void test_unmapped_buffers(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
		{0, 1},
		{DRV_RAM - 1, 2},
		{DRV_RAM_END, 1},
		{DRV_RAM_END - 1, 2},
		{UINT64_MAX - 7, 16},
		{DRV_RAM, UINT32_MAX},
	};
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		setup(&r, 4, none);
		drv_pput(&r.d, bad[i].addr, bad[i].len, 0, VRING_DESC_F_WRITE);
		expect_broken(&r, "a buffer that is not in guest memory");
	}
}

static void test_more_than_4_gib(void **state)
{
	const unsigned n = (unsigned)(GIB(4) / DRV_RAM_SIZE);
	struct rig r;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		setup(&r, 256, none);
		for (unsigned k = 0; k < n; k++)
			drv_pput(&r.d, DRV_RAM, (uint32_t)(DRV_RAM_SIZE - (i == 0 && k == 0)), 0,
			         k + 1 < n ? VRING_DESC_F_NEXT : 0);
		if (i == 0) {
			assert_int_equal(pop(&r), 1);
			assert_int_equal(r.chain.out_len, UINT32_MAX);
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
	drv_pset(drv_at(&r.d, DRV_TABLES), DRV_DATA, 8, 0, 0);
	drv_pput(&r.d, addr, len, 0, VRING_DESC_F_INDIRECT | flags);
	drv_pput(&r.d, DRV_DATA, 8, 0, 0);
	expect_broken(&r, why);
}

static void test_bad_indirect(void **state)
{
	static const char wrong[] = "an indirect table of a wrong length",
			  outside[] = "an indirect table that is not in guest memory",
			  part[] = "an indirect table that is part of a chain";
	struct rig r;

	(void)state;
	indirect_case(DRV_TABLES, 16, 0, none, "an indirect table that was not negotiated");
	indirect_case(DRV_TABLES, 16, VRING_DESC_F_NEXT, all, part);
	indirect_case(DRV_TABLES, 0, 0, all, wrong);
	indirect_case(DRV_TABLES, 15, 0, all, wrong);
	indirect_case(DRV_TABLES, 17, 0, all, wrong);
	indirect_case(DRV_RAM_END - 15, 16, 0, all, outside);
	indirect_case(DRV_RAM_END, 16, 0, all, outside);
	indirect_case(0, 16, 0, all, outside);
	indirect_case(DRV_TABLES, 0xfffffff0, 0, all, outside);
	indirect_case(UINT64_MAX - 15, 16, 0, all, outside);
	/* Behind a direct one (2.8.8: a list has one kind only). */
	setup(&r, 4, all);
	drv_pput(&r.d, DRV_DATA, 8, 0, VRING_DESC_F_NEXT);
	drv_pput(&r.d, DRV_TABLES, 16, 0, VRING_DESC_F_INDIRECT);
	expect_broken(&r, part);
}

/* All made available again before any came back. */
static void test_too_many_in_flight(void **state)
{
	struct rig r;

	(void)state;
	setup(&r, 3, none);
	for (unsigned i = 0; i < 3; i++) {
		drv_pput(&r.d, DRV_DATA, 8, 0, 0);
		assert_int_equal(pop(&r), 1);
	}
	assert_int_equal(pop(&r), 0);
	drv_pput(&r.d, DRV_DATA, 8, 0, 0);
	expect_broken(&r, "more in flight than the queue holds");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_random_largest),
		cmocka_unit_test(test_start_size_and_base),
		cmocka_unit_test(test_start_place),
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_batch_is_seen_at_once),
		cmocka_unit_test(test_base),
		cmocka_unit_test(test_kicks),
		cmocka_unit_test(test_interrupts),
		cmocka_unit_test(test_id_of_the_last),
		cmocka_unit_test(test_indirect),
		cmocka_unit_test(test_longest_chain),
		cmocka_unit_test(test_empty_buffers),
		cmocka_unit_test(test_chain_longer_than_the_queue),
		cmocka_unit_test(test_too_many_buffers),
		cmocka_unit_test(test_readable_behind_writable),
		cmocka_unit_test(test_unmapped_buffers),
		cmocka_unit_test(test_more_than_4_gib),
		cmocka_unit_test(test_bad_indirect),
		cmocka_unit_test(test_too_many_in_flight),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
