/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "devices/legacy/pvpanic.h"
#include "tests/unit/fakes.h"

#define PORT 0x505

struct fixture {
	struct bus pio;
	struct fake_events events;
	struct pvpanic pvpanic;
};

static int setup(void **state)
{
	static struct fixture f;

	bus_init(&f.pio, BUS_PIO);
	fake_events_init(&f.events);
	pvpanic_init(&f.pvpanic, &f.events.sink);
	assert_int_equal(pvpanic_add(&f.pvpanic, &f.pio, PORT), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	bus_destroy(&f->pio);
	return 0;
}

static void test_supported_events(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_in8(&f->pio, PORT), 0x03);
	assert_int_equal(fake_events_total(&f->events), 0);
}

static void test_panic(void **state)
{
	struct fixture *f = *state;

	fake_out8(&f->pio, PORT, 0x01);
	assert_int_equal(f->events.raised[GUEST_PANIC], 1);
	assert_int_equal(fake_events_total(&f->events), 1);
}

/* The guest handles its panic itself, or sets bits that do not exist: nothing for the machine to
 * do. */
static void test_not_for_us(void **state)
{
	struct fixture *f = *state;

	fake_out8(&f->pio, PORT, 0x02);
	fake_out8(&f->pio, PORT, 0xfc);
	fake_out8(&f->pio, PORT, 0x00);
	assert_int_equal(fake_events_total(&f->events), 0);
}

static void test_one_port_only(void **state)
{
	struct fixture *f = *state;
	uint16_t data = 0x0101;

	assert_false(bus_write(&f->pio, PORT, &data, 2));
	assert_false(bus_write(&f->pio, PORT - 1, &data, 1));
	assert_false(bus_write(&f->pio, PORT + 1, &data, 1));
	assert_int_equal(fake_events_total(&f->events), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_supported_events, setup, teardown),
		cmocka_unit_test_setup_teardown(test_panic, setup, teardown),
		cmocka_unit_test_setup_teardown(test_not_for_us, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_port_only, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
