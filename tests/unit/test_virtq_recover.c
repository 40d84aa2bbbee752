/* SPDX-License-Identifier: BSD-2-Clause */
/* A queue whose server was killed: where the next one goes on. */
#include "tests/unit/virtq_driver.h"

#include <errno.h>
#include <unistd.h>

struct rig {
	struct drv d;
	struct virtq q;
	struct virtq_features f;
	struct virtq_config config;
	unsigned seed;
	unsigned parts; /* descriptors of each chain */
	bool in;        /* device-writable */
	unsigned added, taken;
};

static unsigned rnd(struct rig *r, unsigned below)
{
	r->seed = r->seed * 1103515245 + 12345;
	return (r->seed >> 16) % below;
}

static void begin(struct rig *r, bool packed, unsigned size, unsigned parts, bool in)
{
	memset(r, 0, sizeof(*r));
	r->parts = parts;
	r->in = in;
	r->f = (struct virtq_features){.packed = packed, .in_order = true};
	drv_init(&r->d, packed, size, false);
	r->config = drv_config(&r->d);
	assert_int_equal(
		virtq_start(&r->q, &r->config, r->f, virtq_base_new(packed), &r->d.mem, NULL), 0);
}

static void add(struct rig *r, unsigned n)
{
	while (n--)
		if (drv_add(&r->d, r->in ? 0 : r->parts, r->in ? r->parts : 0, false) >= 0)
			r->added++;
}

/* drv_take() fails the test if a chain comes back that is not out there. */
static void take_all(struct rig *r)
{
	uint32_t written;

	while (drv_take(&r->d, &written) >= 0) {
		assert_int_equal(written, r->in ? r->parts * DRV_PART_SIZE : 0);
		r->taken++;
	}
}

/* Serve up to @n chains and do not flush. */
static unsigned serve(struct rig *r, unsigned n)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_chain c;
	unsigned done = 0;

	while (done < n && virtq_pop(&r->q, &c, iov, VIRTQ_CHAIN_MAX) == 1) {
		virtq_push(&r->q, &c, c.in_len);
		done++;
	}
	assert_null(r->q.broken);
	return done;
}

/* The server is killed: all that is left of it is what is in memory. */
static void restart(struct rig *r)
{
	virtq_base_t base = 0xffffffff;

	assert_int_equal(virtq_recover(&r->config, r->d.packed, true, &r->d.mem, &base), 0);
	memset(&r->q, 0x5a, sizeof(r->q));
	assert_int_equal(virtq_start(&r->q, &r->config, r->f, base, &r->d.mem, NULL), 0);
}

/* Everything comes back, once each. */
static void finish(struct rig *r)
{
	do {
		take_all(r);
		serve(r, r->d.size);
	} while (virtq_flush(&r->q) || drv_has_used(&r->d));
	take_all(r);
	assert_int_equal(r->taken, r->added);
	assert_int_equal(r->d.nr_out_there, 0);
}

static void killed_at_random(struct rig *r)
{
	struct iovec iov[VIRTQ_CHAIN_MAX];
	struct virtq_chain c;

	for (unsigned i = 0; i < 3000; i++) {
		add(r, rnd(r, r->d.size + 2));
		serve(r, rnd(r, r->d.size + 2));
		if (rnd(r, 4))
			virtq_flush(&r->q);
		if (rnd(r, 3))
			take_all(r);
		if (rnd(r, 3) == 0) {
			/* Taken and not given back, or given back and not shown. */
			if (rnd(r, 2))
				serve(r, rnd(r, 5));
			if (rnd(r, 2))
				virtq_pop(&r->q, &c, iov, VIRTQ_CHAIN_MAX);
			restart(r);
		}
	}
	finish(r);
	drv_destroy(&r->d);
}

static void no_chain_is_lost_or_used_twice(void **state)
{
	static const unsigned sizes[] = {2, 4, 8, 256};

	(void)state;
	for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++)
		for (unsigned packed = 0; packed < 2; packed++)
			for (unsigned in = 0; in < 2; in++) {
				struct rig r;

				/* An unfinished batch of a split queue is done again. */
				begin(&r, packed, sizes[s], 1, in);
				killed_at_random(&r);
			}
}

static void chains_of_several_descriptors(void **state)
{
	(void)state;
	for (unsigned parts = 2; parts <= 4; parts++) {
		struct rig r;

		begin(&r, true, 64, parts, false);
		/* Enough of them, so that it shows. */
		for (unsigned i = 0; i < 10; i++) {
			add(&r, 4);
			serve(&r, 4);
			virtq_flush(&r.q);
			take_all(&r);
		}
		for (unsigned i = 0; i < 200; i++) {
			add(&r, rnd(&r, 10));
			serve(&r, rnd(&r, 10));
			virtq_flush(&r.q);
			restart(&r);
			take_all(&r);
		}
		finish(&r);
		drv_destroy(&r.d);
	}
}

static void a_new_queue_begins_at_the_beginning(void **state)
{
	struct rig r;
	virtq_base_t base;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&r, packed, 16, 1, true);
		assert_int_equal(virtq_recover(&r.config, packed, true, &r.d.mem, &base), 0);
		assert_int_equal(base, virtq_base_new(packed));
		add(&r, 16); /* the whole ring, and none used */
		assert_int_equal(virtq_recover(&r.config, packed, true, &r.d.mem, &base), 0);
		assert_int_equal(base, virtq_base_new(packed));
		drv_destroy(&r.d);
	}
}

/* For a successor who knows better nothing is written. */
static void a_ring_is_only_read(void **state)
{
	struct vring_packed_desc before[16];
	struct rig r;
	virtq_base_t base;

	(void)state;
	begin(&r, true, 16, 1, false);
	add(&r, 10);
	serve(&r, 5); /* a batch whose first one is not written */
	memcpy(before, drv_ring(&r.d), sizeof(before));
	assert_int_equal(virtq_recover(&r.config, true, false, &r.d.mem, &base), 0);
	assert_memory_equal(before, drv_ring(&r.d), sizeof(before));
	assert_false(drv_has_used(&r.d));
	assert_int_equal(virtq_recover(&r.config, true, true, &r.d.mem, &base), 0);
	take_all(&r);
	assert_int_equal(r.taken, 5);
	drv_destroy(&r.d);
}

/* Whatever the ring contains, the position is in it, and nothing outside is touched. */
static void any_ring_has_a_position(void **state)
{
	struct rig r;

	(void)state;
	begin(&r, true, 7, 1, false);
	for (unsigned i = 0; i < 20000; i++) {
		uint8_t *ring = (uint8_t *)drv_ring(&r.d);
		virtq_base_t base;

		for (unsigned b = 0; b < 7 * 16; b++)
			ring[b] = (uint8_t)rnd(&r, 256);
		ring[7 * 16] = 0x77;
		assert_int_equal(virtq_recover(&r.config, true, true, &r.d.mem, &base), 0);
		assert_true(virtq_base_valid(base, true, 7));
		assert_int_equal(ring[7 * 16], 0x77);
	}
	drv_destroy(&r.d);
}

static void wrong_settings_are_refused(void **state)
{
	struct rig r;
	virtq_base_t base;

	(void)state;
	begin(&r, true, 16, 1, false);
	r.config.desc = DRV_RAM_END - 16;
	assert_int_equal(virtq_recover(&r.config, true, true, &r.d.mem, &base), -EINVAL);
	assert_int_equal(virtq_recover(&r.config, false, true, &r.d.mem, &base), -EINVAL);
	drv_destroy(&r.d);
}

static void what_waits_is_counted(void **state)
{
	(void)state;
	for (unsigned packed = 0; packed < 2; packed++)
		for (unsigned parts = 1; parts <= 3; parts++) {
			struct rig r;

			begin(&r, packed, 8, parts, false);
			/* All around the ring several times. */
			for (unsigned i = 0; i < 40; i++) {
				unsigned n = r.added, served;

				add(&r, i % 4);
				n = r.added - n;
				assert_int_equal(virtq_waiting(&r.config, packed, virtq_base(&r.q),
				                               &r.d.mem),
				                 n);
				served = serve(&r, i % 4);
				virtq_flush(&r.q);
				assert_int_equal(served, n);
				assert_int_equal(virtq_waiting(&r.config, packed, virtq_base(&r.q),
				                               &r.d.mem),
				                 0);
				take_all(&r);
			}
			/* Settings that cannot be. */
			r.config.desc = DRV_RAM_END - 16;
			assert_int_equal(
				virtq_waiting(&r.config, packed, virtq_base(&r.q), &r.d.mem), 0);
			drv_destroy(&r.d);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_chain_is_lost_or_used_twice),
		cmocka_unit_test(chains_of_several_descriptors),
		cmocka_unit_test(a_new_queue_begins_at_the_beginning),
		cmocka_unit_test(a_ring_is_only_read),
		cmocka_unit_test(any_ring_has_a_position),
		cmocka_unit_test(wrong_settings_are_refused),
		cmocka_unit_test(what_waits_is_counted),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
