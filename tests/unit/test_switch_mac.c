/* SPDX-License-Identifier: BSD-2-Clause */
/* mac_table: learning, moving, ageing, and what one port can do to the others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "switch/mac_table.h"

static mac_key_t station(uint32_t n, unsigned vlan)
{
	uint8_t mac[6] = {2,         0, (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8),
	                  (uint8_t)n};

	return mac_key(mac, vlan);
}

static void begin(struct mac_table *t)
{
	assert_int_equal(mac_table_init(t, 300, 0x9e3779b97f4a7c15), 0);
	t->now = 1000;
}

static void a_station_is_found_where_it_was_heard(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	assert_int_equal(mac_table_find(&t, station(1, 0)), MAC_TABLE_NONE);
	mac_table_learn(&t, station(1, 0), 3);
	mac_table_learn(&t, station(2, 0), 4);
	assert_int_equal(mac_table_find(&t, station(1, 0)), 3);
	assert_int_equal(mac_table_find(&t, station(2, 0)), 4);
	assert_int_equal(t.count[3], 1);
	mac_table_destroy(&t);
	mac_table_destroy(&t);
}

static void vlans_are_apart(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	mac_table_learn(&t, station(1, 10), 3);
	assert_int_equal(mac_table_find(&t, station(1, 11)), MAC_TABLE_NONE);
	mac_table_learn(&t, station(1, 11), 4);
	assert_int_equal(mac_table_find(&t, station(1, 10)), 3);
	assert_int_equal(mac_table_find(&t, station(1, 11)), 4);
	mac_table_destroy(&t);
}

static void a_station_moves(void **state)
{
	struct mac_table t;
	uint32_t generation;

	(void)state;
	begin(&t);
	mac_table_learn(&t, station(1, 0), 3);
	generation = t.generation;
	mac_table_learn(&t, station(1, 0), 4);
	assert_int_equal(mac_table_find(&t, station(1, 0)), 4);
	assert_int_equal(t.count[3], 0);
	assert_int_equal(t.count[4], 1);
	assert_int_equal(t.moves, 1);
	assert_int_not_equal(t.generation, generation);
	/* Hearing it again there is no change. */
	generation = t.generation;
	mac_table_learn(&t, station(1, 0), 4);
	assert_int_equal(t.generation, generation);
	mac_table_destroy(&t);
}

static void a_silent_station_is_forgotten(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	mac_table_learn(&t, station(1, 0), 3);
	t.now += 200;
	mac_table_learn(&t, station(1, 0), 3);
	t.now += 300;
	assert_int_equal(mac_table_find(&t, station(1, 0)), 3);
	t.now += 1;
	assert_int_equal(mac_table_find(&t, station(1, 0)), MAC_TABLE_NONE);
	mac_table_learn(&t, station(1, 0), 5);
	assert_int_equal(mac_table_find(&t, station(1, 0)), 5);
	assert_int_equal(t.moves, 0);
	mac_table_destroy(&t);
}

static void a_port_that_is_gone_is_forgotten(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	for (uint32_t i = 0; i < 100; i++)
		mac_table_learn(&t, station(i, 0), i & 1);
	mac_table_forget(&t, 1);
	assert_int_equal(t.count[0], 50);
	assert_int_equal(t.count[1], 0);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(mac_table_find(&t, station(i, 0)), i & 1 ? MAC_TABLE_NONE : 0);
	mac_table_destroy(&t);
}

static void a_flood_of_addresses_hurts_its_own_port_only(void **state)
{
	struct mac_table t;
	unsigned found = 0;

	(void)state;
	begin(&t);
	for (uint32_t i = 0; i < 200; i++)
		mac_table_learn(&t, station(i, 0), 1);
	assert_int_equal(t.count[1], 200);
	for (uint32_t i = 1000; i < 1000000; i++)
		mac_table_learn(&t, station(i, 0), 2);
	assert_true(t.count[2] <= t.limit[2]);
	assert_true(t.refused > 0);
	for (uint32_t i = 0; i < 200; i++)
		assert_int_equal(mac_table_find(&t, station(i, 0)), 1);
	/* And a third port still learns: nearly all of what an ordinary guest needs. */
	for (uint32_t i = 0; i < 200; i++)
		mac_table_learn(&t, station(5000000 + i, 0), 3);
	for (uint32_t i = 0; i < 200; i++)
		found += mac_table_find(&t, station(5000000 + i, 0)) == 3;
	assert_true(found >= 190);
	mac_table_destroy(&t);
}

static void expired_entries_make_room(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	for (uint32_t i = 0; i < MAC_TABLE_ENTRIES; i++)
		mac_table_learn(&t, station(i, 0), 1 + i % 4);
	t.now += 301;
	for (uint32_t i = 0; i < 1000; i++)
		mac_table_learn(&t, station(100000 + i, 0), 9);
	assert_true(t.count[9] >= 990);
	mac_table_destroy(&t);
}

static void the_clock_may_wrap(void **state)
{
	struct mac_table t;

	(void)state;
	begin(&t);
	t.now = UINT32_MAX - 10;
	mac_table_learn(&t, station(1, 0), 3);
	t.now += 100;
	assert_int_equal(mac_table_find(&t, station(1, 0)), 3);
	t.now += 300;
	assert_int_equal(mac_table_find(&t, station(1, 0)), MAC_TABLE_NONE);
	mac_table_destroy(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_station_is_found_where_it_was_heard),
		cmocka_unit_test(vlans_are_apart),
		cmocka_unit_test(a_station_moves),
		cmocka_unit_test(a_silent_station_is_forgotten),
		cmocka_unit_test(a_port_that_is_gone_is_forgotten),
		cmocka_unit_test(a_flood_of_addresses_hurts_its_own_port_only),
		cmocka_unit_test(expired_entries_make_room),
		cmocka_unit_test(the_clock_may_wrap),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
