/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "devices/legacy/i8042.h"
#include "tests/unit/fakes.h"

#define DATA    0x60
#define COMMAND 0x64

struct fixture {
	struct bus pio;
	struct fake_events events;
	struct i8042 i8042;
};

static int setup(void **state)
{
	static struct fixture f;

	bus_init(&f.pio, BUS_PIO);
	fake_events_init(&f.events);
	i8042_init(&f.i8042, &f.events.sink);
	assert_int_equal(i8042_add(&f.i8042, &f.pio, DATA), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	i8042_destroy(&f->i8042);
	i8042_destroy(&f->i8042);
	bus_destroy(&f->pio);
	return 0;
}

/* Code that waits for "input buffer empty" before it resets must not wait at all. */
static void test_status(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(fake_in8(&f->pio, COMMAND), 0);
	fake_out8(&f->pio, COMMAND, 0x20);
	assert_int_equal(fake_in8(&f->pio, COMMAND), 0);
	assert_int_equal(fake_in8(&f->pio, DATA), 0xff);
}

static void test_pulse(void **state)
{
	struct fixture *f = *state;

	fake_out8(&f->pio, COMMAND, 0xfe);
	assert_int_equal(f->events.raised[GUEST_RESET], 1);
	fake_out8(&f->pio, COMMAND, 0xf0);
	assert_int_equal(f->events.raised[GUEST_RESET], 2);
	assert_int_equal(fake_events_total(&f->events), 2);
}

static void test_pulse_of_other_lines(void **state)
{
	struct fixture *f = *state;

	fake_out8(&f->pio, COMMAND, 0xff);
	fake_out8(&f->pio, COMMAND, 0xfd);
	fake_out8(&f->pio, COMMAND, 0xee);
	assert_int_equal(fake_events_total(&f->events), 0);
}

static void test_output_port(void **state)
{
	struct fixture *f = *state;

	/* Bit 0 high: only the A20 gate. */
	fake_out8(&f->pio, COMMAND, 0xd1);
	fake_out8(&f->pio, DATA, 0xdf);
	assert_int_equal(fake_events_total(&f->events), 0);
	/* Without a command before it data goes to the keyboard. */
	fake_out8(&f->pio, DATA, 0xfe);
	assert_int_equal(fake_events_total(&f->events), 0);

	fake_out8(&f->pio, COMMAND, 0xd1);
	fake_out8(&f->pio, DATA, 0xfe);
	assert_int_equal(f->events.raised[GUEST_RESET], 1);
	assert_int_equal(fake_events_total(&f->events), 1);
}

static void test_output_port_forgotten(void **state)
{
	struct fixture *f = *state;

	/* Another command, or a reset, takes the place of the one before. */
	fake_out8(&f->pio, COMMAND, 0xd1);
	fake_out8(&f->pio, COMMAND, 0x20);
	fake_out8(&f->pio, DATA, 0xfe);
	fake_out8(&f->pio, COMMAND, 0xd1);
	i8042_reset(&f->i8042);
	fake_out8(&f->pio, DATA, 0xfe);
	assert_int_equal(fake_events_total(&f->events), 0);
}

/* Port 0x61 is the speaker's and the NMI status': not ours. */
static void test_ports_between(void **state)
{
	struct fixture *f = *state;
	uint8_t data;

	for (unsigned port = DATA + 1; port < COMMAND; port++)
		assert_false(bus_read(&f->pio, port, &data, 1));
	assert_false(bus_read(&f->pio, COMMAND + 1, &data, 1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pulse, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pulse_of_other_lines, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_port, setup, teardown),
		cmocka_unit_test_setup_teardown(test_output_port_forgotten, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ports_between, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
