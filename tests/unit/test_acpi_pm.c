/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "devices/legacy/acpi_pm.h"
#include "tests/unit/fakes.h"

#define BASE 0x600
#define GSI  9
#define S5   (ACPI_PM_SLP_TYP_S5 << ACPI_PM_SLP_TYP_SHIFT)

struct fixture {
	struct bus pio;
	struct fake_irq irq;
	struct fake_events events;
	struct acpi_pm pm;
};

static int setup(void **state)
{
	static struct fixture f;

	bus_init(&f.pio, BUS_PIO);
	fake_irq_init(&f.irq, 24);
	fake_events_init(&f.events);
	acpi_pm_init(&f.pm, fake_irq_line(&f.irq, GSI), &f.events.sink);
	assert_int_equal(acpi_pm_add(&f.pm, &f.pio, BASE), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	acpi_pm_destroy(&f->pm);
	acpi_pm_destroy(&f->pm);
	bus_destroy(&f->pio);
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return fake_in8(&f->pio, BASE + reg);
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
	fake_out8(&f->pio, BASE + reg, value);
}

/* The numbers that the ACPI tables are built with are part of the guest's world. */
static void test_constants(void **state)
{
	(void)state;
	assert_int_equal(ACPI_PM_SLEEP_CONTROL, 0);
	assert_int_equal(ACPI_PM_SLEEP_STATUS, 1);
	assert_int_equal(ACPI_PM_RESET, 2);
	assert_int_equal(ACPI_PM_EXIT_STATUS, 3);
	assert_int_equal(ACPI_PM_EVENT_STATUS, 4);
	assert_true(ACPI_PM_SLP_TYP_S5 < 8);
}

/* The write that Linux powers off with: type and enable in one byte. */
static void test_power_off(void **state)
{
	struct fixture *f = *state;

	out(f, ACPI_PM_SLEEP_CONTROL, S5);
	assert_int_equal(fake_events_total(&f->events), 0); /* SLP_EN is missing */
	assert_int_equal(in(f, ACPI_PM_SLEEP_CONTROL), S5);
	out(f, ACPI_PM_SLEEP_CONTROL, S5 | 0x20);
	assert_int_equal(f->events.raised[GUEST_POWEROFF], 1);
	assert_int_equal(fake_events_total(&f->events), 1);
	assert_int_equal(in(f, ACPI_PM_SLEEP_CONTROL), S5); /* SLP_EN reads 0 */
}

/* A guest that went to a sleep that does not exist polls WAK_STS: it has to wake up. */
static void test_other_sleep_types(void **state)
{
	struct fixture *f = *state;

	for (uint8_t type = 0; type < 8; type++) {
		if (type == ACPI_PM_SLP_TYP_S5)
			continue;
		out(f, ACPI_PM_SLEEP_STATUS, ACPI_PM_WAK_STS);
		assert_int_equal(in(f, ACPI_PM_SLEEP_STATUS), 0);
		out(f, ACPI_PM_SLEEP_CONTROL, (uint8_t)(type << ACPI_PM_SLP_TYP_SHIFT | 0x20));
		assert_int_equal(in(f, ACPI_PM_SLEEP_STATUS), ACPI_PM_WAK_STS);
	}
	/* Only writing the status clears it. */
	out(f, ACPI_PM_SLEEP_CONTROL, 0xdf & ~ACPI_PM_SLP_EN);
	assert_int_equal(in(f, ACPI_PM_SLEEP_CONTROL), ACPI_PM_SLP_TYP_MASK);
	assert_int_equal(in(f, ACPI_PM_SLEEP_STATUS), ACPI_PM_WAK_STS);
	assert_int_equal(fake_events_total(&f->events), 0);
}

static void test_reset_register(void **state)
{
	struct fixture *f = *state;

	out(f, ACPI_PM_RESET, 0);
	assert_int_equal(f->events.raised[GUEST_RESET], 1);
	out(f, ACPI_PM_RESET, ACPI_PM_RESET_VALUE);
	assert_int_equal(f->events.raised[GUEST_RESET], 2);
	assert_int_equal(fake_events_total(&f->events), 2);
	assert_int_equal(in(f, ACPI_PM_RESET), 0);
}

static void test_exit_status(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(acpi_pm_exit_status(&f->pm), 0);
	out(f, ACPI_PM_EXIT_STATUS, 7);
	assert_int_equal(acpi_pm_exit_status(&f->pm), 7);
	assert_int_equal(in(f, ACPI_PM_EXIT_STATUS), 7);
	out(f, ACPI_PM_EXIT_STATUS, 255);
	assert_int_equal(acpi_pm_exit_status(&f->pm), 255);
	/* Powering off, with every other bit set, does not touch it. */
	out(f, ACPI_PM_SLEEP_STATUS, 0xfe);
	out(f, ACPI_PM_EVENT_STATUS, 0x12);
	assert_int_equal(acpi_pm_exit_status(&f->pm), 255);
	assert_int_equal(fake_events_total(&f->events), 0);
}

static void test_power_button(void **state)
{
	struct fixture *f = *state;
	const struct fake_gsi *gsi = &f->irq.gsi[GSI];

	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), 0);
	acpi_pm_press_power_button(&f->pm);
	assert_int_equal(gsi->rises, 1);
	assert_false(gsi->asserted);
	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), ACPI_PM_EVENT_POWER_BUTTON);
	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), 0); /* reading clears */
	/* Every press is an edge, whether the guest saw the one before or not. */
	acpi_pm_press_power_button(&f->pm);
	acpi_pm_press_power_button(&f->pm);
	assert_int_equal(gsi->rises, 3);
	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), ACPI_PM_EVENT_POWER_BUTTON);
	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), 0);
	assert_int_equal(fake_events_total(&f->events), 0);
}

/* The event register cannot be written: a guest does not press its own button. */
static void test_read_only(void **state)
{
	struct fixture *f = *state;

	out(f, ACPI_PM_EVENT_STATUS, 0xff);
	assert_int_equal(in(f, ACPI_PM_EVENT_STATUS), 0);
	for (unsigned reg = ACPI_PM_EVENT_STATUS + 1; reg < ACPI_PM_SIZE; reg++) {
		out(f, reg, 0xff);
		assert_int_equal(in(f, reg), 0);
	}
	assert_int_equal(fake_events_total(&f->events), 0);
}

/* A wide access is several narrow ones. */
static void test_wide(void **state)
{
	struct fixture *f = *state;

	acpi_pm_press_power_button(&f->pm);
	out(f, ACPI_PM_EXIT_STATUS, 0x5a);
	assert_int_equal(fake_read(&f->pio, BASE + ACPI_PM_EXIT_STATUS, 2), 0x015a);
	fake_write(&f->pio, BASE, 2, ACPI_PM_WAK_STS << 8 | S5 | 0x20);
	assert_int_equal(f->events.raised[GUEST_POWEROFF], 1);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	acpi_pm_press_power_button(&f->pm);
	out(f, ACPI_PM_EXIT_STATUS, 7);
	out(f, ACPI_PM_SLEEP_CONTROL, 3 << ACPI_PM_SLP_TYP_SHIFT | 0x20);
	acpi_pm_reset(&f->pm);
	for (unsigned reg = 0; reg < ACPI_PM_SIZE; reg++)
		assert_int_equal(in(f, reg), 0);
	assert_int_equal(acpi_pm_exit_status(&f->pm), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_constants),
		cmocka_unit_test_setup_teardown(test_power_off, setup, teardown),
		cmocka_unit_test_setup_teardown(test_other_sleep_types, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset_register, setup, teardown),
		cmocka_unit_test_setup_teardown(test_exit_status, setup, teardown),
		cmocka_unit_test_setup_teardown(test_power_button, setup, teardown),
		cmocka_unit_test_setup_teardown(test_read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(test_wide, setup, teardown),
		cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
