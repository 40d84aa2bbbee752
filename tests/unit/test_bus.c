/* SPDX-License-Identifier: BSD-2-Clause */
/* bus: who answers where, moves, and ioeventfds that follow. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/bus.h"
#include "vmm/util.h"

/* A device that answers with its own letter and the offset, and remembers the last write. */
struct dev {
	struct bus_region region;
	uint8_t letter;
	unsigned reads, writes;
	uint64_t offset, value;
	unsigned size;
};

static uint64_t answer(uint8_t letter, uint64_t offset)
{
	return (uint64_t)letter << 56 | UINT64_C(0x00ddccbbaa000000) | (offset & 0xffff) << 8 |
	       letter;
}

static uint64_t dev_read(void *opaque, uint64_t offset, unsigned size)
{
	struct dev *d = opaque;

	assert_true(offset < d->region.size && size <= d->region.size - offset);
	d->reads++;
	return answer(d->letter, offset);
}

static void dev_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct dev *d = opaque;

	assert_true(offset < d->region.size && size <= d->region.size - offset);
	d->writes++;
	d->offset = offset;
	d->size = size;
	d->value = value;
}

static const struct bus_ops dev_ops = {.read = dev_read, .write = dev_write};

static void dev_init(struct dev *d, uint8_t letter, uint64_t size)
{
	*d = (struct dev){
		.letter = letter,
		.region = {.name = "dev", .size = size, .ops = &dev_ops, .opaque = d},
	};
}

/* The letter that answers a byte read at @addr, '?' for nobody. */
static int who(struct bus *bus, uint64_t addr)
{
	uint8_t b = 0;

	if (bus_read(bus, addr, &b, 1))
		return b;
	assert_int_equal(b, 0xff);
	return '?';
}

static void values_are_little_endian_in_all_sizes(void **state)
{
	static const unsigned sizes[] = {1, 2, 4, 8};
	const uint64_t bytes = UINT64_C(0x8877665544332211);
	struct bus bus;
	struct dev d;

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&d, 'a', 0x100);
	assert_int_equal(bus_add(&bus, &d.region, 0x1000), 0);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		unsigned size = sizes[i];
		uint64_t mask = size == 8 ? UINT64_MAX : (UINT64_C(1) << size * 8) - 1;
		uint8_t data[16], want[16];

		/* The answer is cut to the size, and not a byte more is stored. */
		memset(data, 0x5a, sizeof(data));
		memset(want, 0x5a, sizeof(want));
		for (unsigned b = 0; b < size; b++)
			want[b] = (uint8_t)(answer('a', 0x10) >> 8 * b);
		assert_true(bus_read(&bus, 0x1010, data, size));
		assert_memory_equal(data, want, sizeof(data));

		assert_true(bus_write(&bus, 0x1020, &bytes, size));
		assert_int_equal(d.offset, 0x20);
		assert_int_equal(d.size, size);
		assert_true(d.value == (bytes & mask));
	}
	bus_destroy(&bus);
}

static void nobody_answers_all_ones(void **state)
{
	uint8_t data[10];
	struct bus bus;

	(void)state;
	bus_init(&bus, BUS_PIO);
	for (unsigned size = 1; size <= 8; size *= 2) {
		memset(data, 0, sizeof(data));
		assert_false(bus_read(&bus, 0x3f8, data, size));
		for (unsigned i = 0; i < sizeof(data); i++)
			assert_int_equal(data[i], i < size ? 0xff : 0);
		assert_false(bus_write(&bus, 0x3f8, data, size));
	}
	bus_destroy(&bus);
}

/* An access that leaves its region is no one's, whoever is behind it. */
static void straddling_accesses(void **state)
{
	struct dev a, b;
	struct bus bus;
	uint64_t data;

	(void)state;
	bus_init(&bus, BUS_PIO);
	dev_init(&a, 'a', 7); /* an odd size */
	dev_init(&b, 'b', 8);
	assert_int_equal(bus_add(&bus, &a.region, 0x60), 0);
	assert_int_equal(bus_add(&bus, &b.region, 0x67), 0);

	assert_true(bus_read(&bus, 0x64, &data, 2));
	assert_true(bus_read(&bus, 0x66, &data, 1));
	assert_int_equal(a.reads, 2);
	assert_false(bus_read(&bus, 0x66, &data, 2));
	assert_false(bus_read(&bus, 0x64, &data, 4));
	assert_false(bus_read(&bus, 0x60, &data, 8));
	assert_false(bus_write(&bus, 0x66, &data, 2));
	assert_false(bus_write(&bus, 0x60, &data, 8));
	assert_false(bus_read(&bus, 0x5f, &data, 2)); /* comes from below */
	assert_int_equal(a.reads, 2);
	assert_int_equal(a.writes, 0);
	assert_int_equal(b.reads, 0);
	assert_true(bus_read(&bus, 0x67, &data, 8));
	assert_false(bus_read(&bus, 0x68, &data, 8));
	assert_int_equal(who(&bus, 0x6f), '?');
	bus_destroy(&bus);
}

static void adding(void **state)
{
	static struct dev many[BUS_REGIONS_MAX + 1];
	struct dev a, b;
	struct bus bus;

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&a, 'a', 0x10);
	dev_init(&b, 'b', 0x10);
	assert_int_equal(bus_add(&bus, &a.region, 0x1000), 0);
	assert_int_equal(bus_add(&bus, &b.region, 0x1000), -EEXIST);
	assert_int_equal(bus_add(&bus, &b.region, 0xff1), -EEXIST);
	assert_int_equal(bus_add(&bus, &b.region, 0x100f), -EEXIST);
	assert_int_equal(bus_add(&bus, &b.region, UINT64_MAX - 14), -EINVAL); /* wraps */
	assert_int_equal(bus_add(&bus, &b.region, 0xff0), 0);                 /* touches it */
	dev_init(&b, 'b', 0);
	assert_int_equal(bus_add(&bus, &b.region, 0x2000), -EINVAL);
	dev_init(&b, 'b', UINT64_MAX);
	assert_int_equal(bus_add(&bus, &b.region, 0), -EEXIST); /* around everything */

	bus_freeze(&bus);
	dev_init(&b, 'b', 1);
	assert_int_equal(bus_add(&bus, &b.region, 0x2000), -EBUSY);
	bus_destroy(&bus);

	bus_init(&bus, BUS_MMIO);
	for (unsigned i = 0; i <= BUS_REGIONS_MAX; i++) {
		dev_init(&many[i], 'm', 1);
		assert_int_equal(bus_add(&bus, &many[i].region, i),
		                 i < BUS_REGIONS_MAX ? 0 : -ENOSPC);
	}
	assert_int_equal(who(&bus, BUS_REGIONS_MAX - 1), 'm');
	assert_int_equal(who(&bus, BUS_REGIONS_MAX), '?');
	bus_destroy(&bus);
}

static void the_last_address(void **state)
{
	struct dev a, hidden;
	struct bus bus;
	uint64_t data;

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&a, 'a', 8);
	dev_init(&hidden, 'h', 8);
	/* Out of decode is the address UINT64_MAX in disguise: it must not answer there. */
	assert_int_equal(bus_add(&bus, &hidden.region, BUS_UNMAPPED), 0);
	assert_int_equal(who(&bus, UINT64_MAX), '?');
	assert_int_equal(who(&bus, 0), '?');
	assert_int_equal(bus_add(&bus, &a.region, UINT64_MAX - 7), 0);
	assert_int_equal(who(&bus, UINT64_MAX), 'a');
	assert_true(bus_read(&bus, UINT64_MAX - 7, &data, 8));
	assert_false(bus_read(&bus, UINT64_MAX - 6, &data, 8));
	assert_int_equal(hidden.reads, 0);
	bus_destroy(&bus);
}

static void the_first_added_wins_where_they_overlap(void **state)
{
	struct dev fixed, bar, bar2;
	struct bus bus;
	uint64_t data;

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&fixed, 'f', 0x10);
	dev_init(&bar, 'b', 0x40);
	dev_init(&bar2, 'c', 0x40);
	assert_int_equal(bus_add(&bus, &fixed.region, 0x1010), 0);
	assert_int_equal(bus_add(&bus, &bar.region, BUS_UNMAPPED), 0);
	assert_int_equal(bus_add(&bus, &bar2.region, BUS_UNMAPPED), 0);
	bus_freeze(&bus);

	bus_move(&bus, &bar.region, 0x1000); /* around the fixed one */
	assert_int_equal(who(&bus, 0x100f), 'b');
	assert_int_equal(who(&bus, 0x1010), 'f');
	assert_int_equal(who(&bus, 0x101f), 'f');
	assert_int_equal(who(&bus, 0x1020), 'b');
	bus_move(&bus, &bar2.region, 0x1000);
	assert_int_equal(who(&bus, 0x1000), 'b');
	bus_move(&bus, &bar.region, BUS_UNMAPPED);
	assert_int_equal(who(&bus, 0x1000), 'c');
	assert_int_equal(who(&bus, 0x1010), 'f');
	/* Out of the fixed one's end is nobody's, even with another one behind it. */
	assert_false(bus_read(&bus, 0x101e, &data, 4));
	bus_destroy(&bus);
}

static void moving(void **state)
{
	struct dev d;
	struct bus bus;

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&d, 'd', 0x10);
	assert_int_equal(bus_add(&bus, &d.region, BUS_UNMAPPED), 0);
	bus_freeze(&bus);
	assert_true(bus_region_base(&d.region) == BUS_UNMAPPED);

	bus_move(&bus, &d.region, 0x2000);
	assert_true(bus_region_base(&d.region) == 0x2000);
	assert_int_equal(who(&bus, 0x2000), 'd');
	bus_move(&bus, &d.region, 0x2008); /* onto a part of itself */
	assert_int_equal(who(&bus, 0x2007), '?');
	assert_int_equal(who(&bus, 0x2017), 'd');
	bus_move(&bus, &d.region, UINT64_MAX - 3); /* a guest may write this into a BAR */
	assert_true(bus_region_base(&d.region) == BUS_UNMAPPED);
	assert_int_equal(who(&bus, UINT64_MAX - 3), '?');
	assert_int_equal(who(&bus, 3), '?');
	bus_move(&bus, &d.region, 0);
	assert_int_equal(who(&bus, 0), 'd');
	bus_destroy(&bus);
}

/* In place of KVM: what is registered now. Complains where KVM would. */
#define REGISTERED_MAX (BUS_EVENTFD_MAX + 8)

struct kernel {
	unsigned nr, calls;
	int fail_next; /* errno of the next assign */
	enum bus_space space;
	struct {
		uint64_t addr;
		int fd;
		unsigned size;
		uint64_t match;
	} at[REGISTERED_MAX];
};

static int fake_ioeventfd(void *opaque, enum bus_space space, uint64_t addr,
                          const struct bus_eventfd *e, bool assign)
{
	struct kernel *k = opaque;

	k->calls++;
	k->space = space;
	if (assign && k->fail_next) {
		int rc = -k->fail_next;

		k->fail_next = 0;
		return rc;
	}
	for (unsigned i = 0; i < k->nr; i++) {
		if (k->at[i].addr != addr || k->at[i].fd != e->fd)
			continue;
		if (assign)
			return -EEXIST;
		assert_int_equal(k->at[i].size, e->size);
		assert_true(k->at[i].match == e->match);
		k->at[i] = k->at[--k->nr];
		return 0;
	}
	if (!assign)
		return -ENOENT;
	assert_true(k->nr < REGISTERED_MAX);
	k->at[k->nr].addr = addr;
	k->at[k->nr].fd = e->fd;
	k->at[k->nr].size = e->size;
	k->at[k->nr].match = e->match;
	k->nr++;
	return 0;
}

static bool registered(const struct kernel *k, uint64_t addr, int fd)
{
	for (unsigned i = 0; i < k->nr; i++)
		if (k->at[i].addr == addr && k->at[i].fd == fd)
			return true;
	return false;
}

static void eventfds_need_a_backend(void **state)
{
	struct bus bus;
	struct dev d;
	struct bus_eventfd e = {.region = &d.region, .fd = 5};

	(void)state;
	bus_init(&bus, BUS_MMIO);
	dev_init(&d, 'd', 0x10);
	assert_int_equal(bus_add(&bus, &d.region, 0x1000), 0);
	assert_int_equal(bus_eventfd_add(&bus, &e), -EOPNOTSUPP);
	bus_eventfd_remove(&bus, &d.region, 5);
	bus_move(&bus, &d.region, 0x2000);
	bus_destroy(&bus);
}

static void eventfds_follow_their_region(void **state)
{
	struct kernel k = {0};
	struct bus bus;
	struct dev d, other;
	struct bus_eventfd e4 = {.region = &d.region, .offset = 4, .size = 4, .fd = 14};
	struct bus_eventfd e8 = {.region = &d.region,
	                         .offset = 8,
	                         .size = 2,
	                         .match_value = true,
	                         .match = 1,
	                         .fd = 18};
	struct bus_eventfd eo = {.region = &other.region, .offset = 4, .fd = 24};

	(void)state;
	bus_init(&bus, BUS_PIO);
	bus_set_eventfd_backend(&bus, fake_ioeventfd, &k);
	dev_init(&d, 'd', 0x10);
	dev_init(&other, 'o', 0x10);
	assert_int_equal(bus_add(&bus, &d.region, 0x100), 0);
	assert_int_equal(bus_add(&bus, &other.region, BUS_UNMAPPED), 0);
	bus_freeze(&bus);

	assert_int_equal(bus_eventfd_add(&bus, &e4), 0);
	assert_int_equal(bus_eventfd_add(&bus, &e8), 0);
	assert_int_equal(bus_eventfd_add(&bus, &eo), 0); /* its region is nowhere yet */
	assert_int_equal(k.nr, 2);
	assert_int_equal(k.space, BUS_PIO);
	assert_true(registered(&k, 0x104, 14));
	assert_true(registered(&k, 0x108, 18));

	bus_move(&bus, &other.region, 0x300);
	assert_true(registered(&k, 0x304, 24));
	bus_move(&bus, &d.region, 0x200);
	assert_int_equal(k.nr, 3);
	assert_true(registered(&k, 0x204, 14));
	assert_true(registered(&k, 0x208, 18));
	assert_true(registered(&k, 0x304, 24));

	/* To where it is already: KVM is left alone. */
	k.calls = 0;
	bus_move(&bus, &d.region, 0x200);
	assert_int_equal(k.calls, 0);

	bus_move(&bus, &d.region, BUS_UNMAPPED);
	assert_int_equal(k.nr, 1);
	bus_eventfd_remove(&bus, &d.region, 14); /* while it is nowhere */
	bus_eventfd_remove(&bus, &d.region, 14); /* twice */
	bus_eventfd_remove(&bus, &d.region, 24); /* the other's */
	bus_move(&bus, &d.region, 0x400);
	assert_int_equal(k.nr, 2);
	assert_true(registered(&k, 0x408, 18));
	assert_true(registered(&k, 0x304, 24));
	bus_eventfd_remove(&bus, &d.region, 18);
	bus_eventfd_remove(&bus, &other.region, 24);
	assert_int_equal(k.nr, 0);
	assert_int_equal(bus.nr_eventfds, 0);
	bus_destroy(&bus);
}

static void eventfds_that_fail(void **state)
{
	static struct kernel k;
	struct bus bus;
	struct dev d;
	struct bus_eventfd e = {.region = &d.region, .size = 1, .fd = 7};

	(void)state;
	bus_init(&bus, BUS_MMIO);
	bus_set_eventfd_backend(&bus, fake_ioeventfd, &k);
	dev_init(&d, 'd', 0x1000);
	assert_int_equal(bus_add(&bus, &d.region, 0x1000), 0);

	k.fail_next = EBADF;
	assert_int_equal(bus_eventfd_add(&bus, &e), -EBADF);
	assert_int_equal(bus.nr_eventfds, 0);
	assert_int_equal(bus_eventfd_add(&bus, &e), 0);

	/* A move that KVM does not follow is a move all the same; the next one mends it. */
	k.fail_next = ENOSPC;
	bus_move(&bus, &d.region, 0x8000);
	assert_int_equal(who(&bus, 0x8000), 'd');
	assert_int_equal(who(&bus, 0x1000), '?');
	assert_int_equal(k.nr, 0);
	bus_move(&bus, &d.region, 0x4000);
	assert_true(registered(&k, 0x4000, 7));
	bus_eventfd_remove(&bus, &d.region, 7);

	for (unsigned i = 0; i < BUS_EVENTFD_MAX; i++) {
		e.offset = i;
		e.fd = (int)(100 + i);
		assert_int_equal(bus_eventfd_add(&bus, &e), 0);
	}
	e.fd = 99;
	assert_int_equal(bus_eventfd_add(&bus, &e), -ENOSPC);
	assert_int_equal(k.nr, BUS_EVENTFD_MAX);
	assert_false(registered(&k, 0x4000 + e.offset, 99));
	bus_destroy(&bus);
}

/*
 * Threads. One region is moved between two places and out of decode all the time, while two others
 * access both places and a fixed region: every answer is the right device's with the right offset,
 * or nobody's. The device must never see an offset outside of itself (dev_read would say so, but
 * cmocka's asserts are for the main thread: this one counts).
 */
#define PLACE_A 0x10000
#define PLACE_B 0x20008 /* another offset within the low bits */
#define FIXED   0x30000

struct crowd {
	struct bus bus;
	struct bus_region moved, fixed;
	atomic_bool stop;
	_Atomic unsigned bad, hits, misses;
};

static uint64_t moved_read(void *opaque, uint64_t offset, unsigned size)
{
	struct crowd *c = opaque;

	if (offset >= 0x100 || size > 0x100 - offset)
		c->bad++;
	return 0xab00 | offset;
}

static uint64_t fixed_read(void *opaque, uint64_t offset, unsigned size)
{
	(void)opaque;
	(void)offset;
	(void)size;
	return 0xf1f1;
}

static const struct bus_ops moved_ops = {.read = moved_read};
static const struct bus_ops fixed_ops = {.read = fixed_read};

static void *visit(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; !c->stop; i++) {
		uint16_t data = 0;
		uint64_t offset = i % 0xff;
		bool hit = bus_read(&c->bus, (i & 1 ? PLACE_A : PLACE_B) + offset, &data, 2);

		if (hit)
			c->hits++;
		else
			c->misses++;
		if (data != (hit ? 0xab00 | offset : 0xffff))
			c->bad++;
		if (!bus_read(&c->bus, FIXED + offset, &data, 2) || data != 0xf1f1)
			c->bad++;
	}
	return NULL;
}

static void *move(void *arg)
{
	struct crowd *c = arg;

	for (unsigned i = 0; !c->stop; i++)
		bus_move(&c->bus, &c->moved,
		         i % 3 == 0   ? PLACE_A
		         : i % 3 == 1 ? PLACE_B
		                      : BUS_UNMAPPED);
	return NULL;
}

static void moves_and_accesses_at_the_same_time(void **state)
{
	static struct crowd c;
	struct kernel k = {0};
	struct bus_eventfd e = {.region = &c.moved, .offset = 0xf0, .fd = 3};
	pthread_t visitors[2], movers[2];

	(void)state;
	bus_init(&c.bus, BUS_MMIO);
	bus_set_eventfd_backend(&c.bus, fake_ioeventfd, &k);
	c.moved = (struct bus_region){.size = 0x100, .ops = &moved_ops, .opaque = &c};
	c.fixed = (struct bus_region){.size = 0x100, .ops = &fixed_ops, .opaque = &c};
	assert_int_equal(bus_add(&c.bus, &c.moved, PLACE_A), 0);
	assert_int_equal(bus_add(&c.bus, &c.fixed, FIXED), 0);
	bus_freeze(&c.bus);
	assert_int_equal(bus_eventfd_add(&c.bus, &e), 0);

	for (unsigned i = 0; i < 2; i++) {
		pthread_create(&visitors[i], NULL, visit, &c);
		pthread_create(&movers[i], NULL, move, &c);
	}
	for (unsigned ms = 0; ms < 10000 && (c.hits < 10000 || c.misses < 10000 || ms < 200); ms++)
		usleep(1000);
	c.stop = true;
	for (unsigned i = 0; i < 2; i++) {
		pthread_join(visitors[i], NULL);
		pthread_join(movers[i], NULL);
	}
	assert_int_equal(c.bad, 0);
	assert_true(c.hits >= 10000 && c.misses >= 10000); /* it was a test */

	/* The ioeventfd is exactly where the region is. */
	bus_move(&c.bus, &c.moved, PLACE_B);
	assert_int_equal(k.nr, 1);
	assert_true(registered(&k, PLACE_B + 0xf0, 3));
	bus_destroy(&c.bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_little_endian_in_all_sizes),
		cmocka_unit_test(nobody_answers_all_ones),
		cmocka_unit_test(straddling_accesses),
		cmocka_unit_test(adding),
		cmocka_unit_test(the_last_address),
		cmocka_unit_test(the_first_added_wins_where_they_overlap),
		cmocka_unit_test(moving),
		cmocka_unit_test(eventfds_need_a_backend),
		cmocka_unit_test(eventfds_follow_their_region),
		cmocka_unit_test(eventfds_that_fail),
		cmocka_unit_test(moves_and_accesses_at_the_same_time),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
