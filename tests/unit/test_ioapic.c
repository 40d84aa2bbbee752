/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "devices/legacy/ioapic.h"
#include "tests/unit/fakes.h"
#include "vmm/util.h"

#define BASE   0xfec00000
#define SELECT (BASE + 0x00)
#define WINDOW (BASE + 0x10)
#define EOI    (BASE + 0x40)
#define PINS   56

/* Redirection entries. */
#define LEVEL      BIT64(15)
#define MASKED     BIT64(16)
#define REMOTE_IRR BIT64(14)
#define LOGICAL    BIT64(11)
#define MODE(m)    ((uint64_t)(m) << 8)
#define DEST(d)    ((uint64_t)(d) << 56)

struct fixture {
	struct bus mmio;
	struct fake_irq irq;
	struct ioapic ioapic;
};

static void init(struct fixture *f, unsigned pins)
{
	bus_init(&f->mmio, BUS_MMIO);
	fake_irq_init(&f->irq, pins);
	ioapic_init(&f->ioapic, pins, &f->irq.ctl);
	assert_int_equal(ioapic_add(&f->ioapic, &f->mmio, BASE), 0);
}

static int setup(void **state)
{
	static struct fixture f;

	init(&f, PINS);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	ioapic_destroy(&f->ioapic);
	ioapic_destroy(&f->ioapic);
	bus_destroy(&f->mmio);
	return 0;
}

static uint32_t get(struct fixture *f, unsigned reg)
{
	fake_write(&f->mmio, SELECT, 4, reg);
	return (uint32_t)fake_read(&f->mmio, WINDOW, 4);
}

static void set(struct fixture *f, unsigned reg, uint32_t value)
{
	fake_write(&f->mmio, SELECT, 4, reg);
	fake_write(&f->mmio, WINDOW, 4, value);
}

static uint64_t get_entry(struct fixture *f, unsigned pin)
{
	return get(f, 0x10 + 2 * pin) | (uint64_t)get(f, 0x11 + 2 * pin) << 32;
}

/* As operating systems do: the upper half first, so that the lower one unmasks a complete entry. */
static void set_entry(struct fixture *f, unsigned pin, uint64_t entry)
{
	set(f, 0x11 + 2 * pin, (uint32_t)(entry >> 32));
	set(f, 0x10 + 2 * pin, (uint32_t)entry);
}

static void line(struct fixture *f, unsigned pin, bool asserted)
{
	ioapic_set_line(&f->ioapic, pin, asserted);
}

static void assert_message(const struct msi_message *msg, uint64_t addr, uint32_t data)
{
	assert_int_equal(msg->addr, addr);
	assert_int_equal(msg->data, data);
}

static void test_identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 1), (PINS - 1) << 16 | 0x20);
	assert_int_equal(get(f, 0), 0);
	set(f, 0, 0xffffffff);
	assert_int_equal(get(f, 0), 0x0f000000);
	assert_int_equal(get(f, 2), 0x0f000000); /* arbitration id follows */
	set(f, 1, 0);
	set(f, 2, 0);
	assert_int_equal(get(f, 1), (PINS - 1) << 16 | 0x20);
	assert_int_equal(get(f, 2), 0x0f000000);
	assert_int_equal(fake_read(&f->mmio, SELECT, 4), 2);
}

static void test_registers_that_are_not_there(void **state)
{
	struct fixture *f = *state;

	set(f, 3, 0xffffffff);
	assert_int_equal(get(f, 3), 0);
	set(f, 0x10 + 2 * PINS, 0x31);
	assert_int_equal(get(f, 0x10 + 2 * PINS), 0);
	assert_int_equal(get(f, 0x1ff), 0);
	fake_write(&f->mmio, BASE + 0x20, 4, 0x1234);
	assert_int_equal(fake_read(&f->mmio, BASE + 0x20, 4), 0);
	assert_int_equal(fake_read(&f->mmio, BASE + IOAPIC_SIZE - 8, 8), 0);
	fake_write(&f->mmio, BASE + 4, 8, UINT64_MAX);
	line(f, PINS, true);
	line(f, UINT32_MAX, true);
	assert_int_equal(f->irq.nr_msi, 0);
}

/* All 240 pins can be reached: IOREGSEL has nine bits. */
static void test_most_pins(void **state)
{
	static struct fixture big;
	unsigned last = IOAPIC_PINS_MAX - 1;

	(void)state;
	init(&big, 1000);
	assert_int_equal(get(&big, 1), last << 16 | 0x20);
	set_entry(&big, last, DEST(3) | 0x77);
	assert_int_equal(get_entry(&big, last), DEST(3) | 0x77);
	assert_int_equal(get_entry(&big, last - 0x80), MASKED);
	line(&big, last, true);
	assert_int_equal(big.irq.nr_msi, 1);
	assert_message(&big.irq.msi[0], 0xfee03000, 0x77);
	ioapic_destroy(&big.ioapic);
	bus_destroy(&big.mmio);
}

static void test_entry_bits(void **state)
{
	struct fixture *f = *state;

	for (unsigned pin = 0; pin < PINS; pin++)
		assert_int_equal(get_entry(f, pin), MASKED);
	/* Delivery status (12), Remote IRR (14) and what is reserved (17-48) do not take writes. */
	set_entry(f, 5, UINT64_MAX);
	assert_int_equal(get_entry(f, 5), UINT64_C(0xfffe00000001afff));
	assert_int_equal(get_entry(f, 4), MASKED);
	assert_int_equal(get_entry(f, 6), MASKED);
	set_entry(f, 5, 0);
	assert_int_equal(get_entry(f, 5), 0);
	assert_int_equal(f->irq.nr_msi, 0);
}

static void test_edge(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 4, DEST(2) | 0x31);
	assert_int_equal(f->irq.nr_msi, 0);
	line(f, 4, true);
	assert_int_equal(f->irq.nr_msi, 1);
	assert_message(&f->irq.msi[0], 0xfee02000, 0x31);
	line(f, 4, true); /* no edge */
	assert_int_equal(f->irq.nr_msi, 1);
	line(f, 4, false);
	assert_int_equal(f->irq.nr_msi, 1);
	line(f, 4, true);
	assert_int_equal(f->irq.nr_msi, 2);
	/* Edges have no EOI and no Remote IRR. */
	assert_int_equal(get_entry(f, 4), DEST(2) | 0x31);
	ioapic_eoi(&f->ioapic, 0x31);
	assert_int_equal(f->irq.nr_msi, 2);
}

/* As the data sheet and KVM's own I/O APIC have it: an edge on a masked pin is lost. */
static void test_masked_edge_is_lost(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 4, MASKED | 0x31);
	line(f, 4, true);
	assert_int_equal(f->irq.nr_msi, 0);
	set_entry(f, 4, 0x31);
	assert_int_equal(f->irq.nr_msi, 0);
	line(f, 4, true); /* still up: not an edge */
	assert_int_equal(f->irq.nr_msi, 0);
	line(f, 4, false);
	line(f, 4, true);
	assert_int_equal(f->irq.nr_msi, 1);
}

static void test_level(void **state)
{
	struct fixture *f = *state;
	const uint64_t entry = LEVEL | DEST(1) | 0x42;

	set_entry(f, 16, entry);
	line(f, 16, true);
	assert_int_equal(f->irq.nr_msi, 1);
	assert_message(&f->irq.msi[0], 0xfee01000, 0xc042);
	assert_int_equal(get_entry(f, 16), entry | REMOTE_IRR);
	/* Nothing more until the EOI, whatever the line does. */
	line(f, 16, true);
	line(f, 16, false);
	line(f, 16, true);
	assert_int_equal(f->irq.nr_msi, 1);
	/* Another vector's EOI is not ours. */
	ioapic_eoi(&f->ioapic, 0x43);
	assert_int_equal(get_entry(f, 16), entry | REMOTE_IRR);
	/* Still asserted: again. */
	ioapic_eoi(&f->ioapic, 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
	assert_int_equal(get_entry(f, 16), entry | REMOTE_IRR);
	line(f, 16, false);
	ioapic_eoi(&f->ioapic, 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
	assert_int_equal(get_entry(f, 16), entry);
	/* Remote IRR does not take writes. */
	set_entry(f, 16, entry | REMOTE_IRR);
	assert_int_equal(get_entry(f, 16), entry);
	line(f, 16, true);
	set_entry(f, 16, entry);
	assert_int_equal(get_entry(f, 16), entry | REMOTE_IRR);
	assert_int_equal(f->irq.nr_msi, 3);
}

static void test_eoi_register(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 16, LEVEL | 0x42);
	line(f, 16, true);
	fake_write(&f->mmio, EOI, 4, 0x41);
	assert_int_equal(f->irq.nr_msi, 1);
	fake_write(&f->mmio, EOI, 4, 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
	assert_int_equal(fake_read(&f->mmio, EOI, 4), 0);
}

/* Pins that share a vector share its EOI. */
static void test_shared_vector(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 16, LEVEL | 0x42);
	set_entry(f, 17, LEVEL | 0x42);
	line(f, 16, true);
	line(f, 17, true);
	line(f, 16, false);
	assert_int_equal(f->irq.nr_msi, 2);
	ioapic_eoi(&f->ioapic, 0x42);
	assert_int_equal(f->irq.nr_msi, 3);
	assert_int_equal(get_entry(f, 16), LEVEL | 0x42);
	assert_int_equal(get_entry(f, 17), LEVEL | REMOTE_IRR | 0x42);
}

static void test_masked_level(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 16, MASKED | LEVEL | 0x42);
	line(f, 16, true);
	assert_int_equal(f->irq.nr_msi, 0);
	set_entry(f, 16, LEVEL | 0x42); /* pending all the time: comes when unmasked */
	assert_int_equal(f->irq.nr_msi, 1);
	/* Masked by the handler, ended while masked: comes again when unmasked. */
	set_entry(f, 16, MASKED | LEVEL | 0x42);
	ioapic_eoi(&f->ioapic, 0x42);
	assert_int_equal(f->irq.nr_msi, 1);
	assert_int_equal(get_entry(f, 16), MASKED | LEVEL | 0x42);
	set_entry(f, 16, LEVEL | 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
	/* The device is served before the unmasking: nothing left. */
	set_entry(f, 16, MASKED | LEVEL | 0x42);
	line(f, 16, false);
	ioapic_eoi(&f->ioapic, 0x42);
	set_entry(f, 16, LEVEL | 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
}

/* Masking, going through edge and back is how an EOI is made without an EOI register. */
static void test_eoi_by_trigger_mode(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 16, LEVEL | 0x42);
	line(f, 16, true);
	assert_int_equal(get_entry(f, 16), LEVEL | REMOTE_IRR | 0x42);
	set_entry(f, 16, MASKED | 0x42);
	assert_int_equal(get_entry(f, 16), MASKED | 0x42);
	assert_int_equal(f->irq.nr_msi, 1);
	set_entry(f, 16, LEVEL | 0x42);
	assert_int_equal(f->irq.nr_msi, 2);
}

/* If no local APIC takes a message there will be no EOI: waiting for one would be for ever. */
static void test_level_not_accepted(void **state)
{
	struct fixture *f = *state;

	set_entry(f, 16, LEVEL | 0x42);
	f->irq.send_error = -EPERM;
	line(f, 16, true);
	assert_int_equal(get_entry(f, 16), LEVEL | 0x42);
	f->irq.send_error = 0;
	line(f, 16, true);
	assert_int_equal(f->irq.nr_msi, 1);
	assert_int_equal(get_entry(f, 16), LEVEL | REMOTE_IRR | 0x42);
}

static void test_messages(void **state)
{
	struct fixture *f = *state;
	static const struct {
		uint64_t entry, addr;
		uint32_t data;
	} cases[] = {
		{DEST(0xff) | 0xfe, 0xfeeff000, 0xfe},
		{DEST(0x0f) | LOGICAL | MODE(1) | 0x61, 0xfee0f004, 0x161},
		{DEST(1) | MODE(2), 0xfee01000, 0x200},
		{DEST(1) | MODE(4), 0xfee01000, 0x400},
		{DEST(1) | MODE(5), 0xfee01000, 0x500},
		/* An NMI is an edge even if programmed as level. */
		{DEST(1) | LEVEL | MODE(4), 0xfee01000, 0x400},
		/* Active low means nothing here. */
		{DEST(1) | BIT64(13) | 0x33, 0xfee01000, 0x33},
		/* APIC id 0x7f05: bits 8-14 in bits 49-55 of the entry and 5-11 of the address. */
		{DEST(0x05) | UINT64_C(0x7f) << 49 | 0x33, 0xfee05fe0, 0x33},
		{DEST(0x80) | UINT64_C(0x01) << 49 | 0x33, 0xfee80020, 0x33},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		set_entry(f, 10, cases[i].entry);
		f->irq.nr_msi = 0;
		line(f, 10, true);
		line(f, 10, false);
		assert_int_equal(f->irq.nr_msi, 1);
		assert_message(&f->irq.msi[0], cases[i].addr, cases[i].data);
		assert_true(f->irq.gsi[10].routed);
		assert_message(&f->irq.gsi[10].route, cases[i].addr, cases[i].data);
		assert_int_equal(get_entry(f, 10) & REMOTE_IRR, 0);
	}
}

static void test_no_message(void **state)
{
	struct fixture *f = *state;
	static const unsigned modes[] = {3, 6, 7}; /* two reserved, ExtINT */

	for (unsigned i = 0; i < ARRAY_SIZE(modes); i++) {
		set_entry(f, 10, MODE(modes[i]) | LEVEL | 0x33);
		line(f, 10, true);
		line(f, 10, false);
		assert_int_equal(f->irq.nr_msi, 0);
		assert_false(f->irq.gsi[10].routed);
		assert_int_equal(get_entry(f, 10) & REMOTE_IRR, 0);
	}
}

static void test_routes(void **state)
{
	struct fixture *f = *state;
	struct fake_gsi *gsi = &f->irq.gsi[24];

	/* Nothing is told that is not news: a route may cost a system call. */
	for (unsigned i = 0; i < PINS; i++)
		assert_int_equal(f->irq.gsi[i].route_sets, 0);
	set_entry(f, 24, MASKED | DEST(1) | 0x51);
	assert_int_equal(gsi->route_sets, 0);
	set_entry(f, 24, DEST(1) | 0x51);
	assert_int_equal(gsi->route_sets, 1);
	assert_true(gsi->routed);
	assert_message(&gsi->route, 0xfee01000, 0x51);
	set_entry(f, 24, DEST(1) | 0x51);
	line(f, 24, true);
	line(f, 24, false);
	assert_int_equal(gsi->route_sets, 1);
	set_entry(f, 24, DEST(2) | 0x51);
	assert_int_equal(gsi->route_sets, 2);
	assert_message(&gsi->route, 0xfee02000, 0x51);
	set_entry(f, 24, DEST(2) | LEVEL | 0x51);
	assert_int_equal(gsi->route_sets, 3);
	assert_message(&gsi->route, 0xfee02000, 0xc051);
	set_entry(f, 24, DEST(2) | LEVEL | MASKED | 0x51);
	assert_int_equal(gsi->route_sets, 4);
	assert_false(gsi->routed);
}

/*
 * KVM reports EOIs only for vectors of level-triggered routes. A handler that masks the pin before
 * it ends the interrupt needs that report as well.
 */
static void test_route_lasts_until_eoi(void **state)
{
	struct fixture *f = *state;
	struct fake_gsi *gsi = &f->irq.gsi[16];

	set_entry(f, 16, LEVEL | 0x42);
	line(f, 16, true);
	set_entry(f, 16, LEVEL | MASKED | 0x42);
	assert_true(gsi->routed);
	assert_message(&gsi->route, 0xfee00000, 0xc042);
	ioapic_eoi(&f->ioapic, 0x42);
	assert_false(gsi->routed);
	set_entry(f, 16, LEVEL | 0x42);
	assert_true(gsi->routed);
}

/* The route is there before the message: the EOI could come before it otherwise. */
static struct fake_irq *watched;
static bool routed_at_send;

static int watch_send(struct irq_controller *ctl, const struct msi_message *msg)
{
	(void)ctl, (void)msg;
	routed_at_send = watched->gsi[16].routed;
	return 1;
}

static void test_route_before_message(void **state)
{
	struct fixture *f = *state;
	struct irq_controller_ops ops = *f->irq.ctl.ops;

	ops.send_msi = watch_send;
	watched = &f->irq;
	f->irq.ctl.ops = &ops;
	routed_at_send = false;
	line(f, 16, true);
	set_entry(f, 16, LEVEL | 0x42);
	assert_true(routed_at_send);
}

/* A local APIC that is software-disabled refuses a message, so no EOI will end it: the pin must not
 * wait for one, and sends the message again once the guest has changed its mind. */
static void test_refused_message(void **state)
{
	struct fixture *f = *state;
	const uint64_t entry = LEVEL | 0x42;

	f->irq.refuse = true;
	set_entry(f, 16, entry);
	line(f, 16, true);
	assert_int_equal(get_entry(f, 16), entry);
	f->irq.refuse = false;
	line(f, 16, true); /* the device sets its line again */
	assert_int_equal(f->irq.nr_msi, 1);
	assert_int_equal(get_entry(f, 16), entry | REMOTE_IRR);
	line(f, 16, false);
	ioapic_eoi(&f->ioapic, 0x42);

	f->irq.refuse = true;
	line(f, 16, true);
	set_entry(f, 16, MASKED | entry); /* a kernel that starts masks each pin */
	f->irq.refuse = false;
	set_entry(f, 16, entry);
	assert_int_equal(f->irq.nr_msi, 2);
}

/* A route that could not be set is tried again at the pin's next change. */
static void test_route_fails(void **state)
{
	struct fixture *f = *state;
	struct fake_gsi *gsi = &f->irq.gsi[16];

	f->irq.route_error = -ENOMEM;
	set_entry(f, 16, LEVEL | 0x42);
	assert_false(gsi->routed);
	f->irq.route_error = 0;
	set_entry(f, 16, LEVEL | 0x42);
	assert_true(gsi->routed);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	set(f, 0, 0x05000000);
	set_entry(f, 16, LEVEL | 0x42);
	line(f, 16, true);
	ioapic_reset(&f->ioapic);
	assert_false(f->irq.gsi[16].routed);
	assert_int_equal(fake_read(&f->mmio, SELECT, 4), 0);
	assert_int_equal(get(f, 0), 0);
	assert_int_equal(get_entry(f, 16), MASKED);
	/* The device still holds its line. */
	f->irq.nr_msi = 0;
	set_entry(f, 16, LEVEL | 0x43);
	assert_int_equal(f->irq.nr_msi, 1);
}

static void *storm(void *opaque)
{
	struct fixture *f = opaque;

	for (unsigned i = 0; i < 20000; i++) {
		ioapic_set_line(&f->ioapic, 16, i & 1);
		ioapic_eoi(&f->ioapic, 0x42);
		set_entry(f, 17, (i & 2 ? MASKED : 0) | LEVEL | 0x43);
	}
	return NULL;
}

/* Devices, vCPUs' registers and EOIs from several threads: no interrupt is stuck afterwards. */
static void test_threads(void **state)
{
	struct fixture *f = *state;
	pthread_t threads[3];
	unsigned before;

	set_entry(f, 16, LEVEL | 0x42);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, storm, f), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	line(f, 16, false);
	ioapic_eoi(&f->ioapic, 0x42);
	assert_int_equal(get_entry(f, 16), LEVEL | 0x42);
	before = f->irq.nr_msi;
	line(f, 16, true);
	assert_int_equal(f->irq.nr_msi, before + 1);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_identity),
		TEST(test_registers_that_are_not_there),
		cmocka_unit_test(test_most_pins),
		TEST(test_entry_bits),
		TEST(test_edge),
		TEST(test_masked_edge_is_lost),
		TEST(test_level),
		TEST(test_eoi_register),
		TEST(test_shared_vector),
		TEST(test_masked_level),
		TEST(test_eoi_by_trigger_mode),
		TEST(test_level_not_accepted),
		TEST(test_messages),
		TEST(test_no_message),
		TEST(test_routes),
		TEST(test_route_lasts_until_eoi),
		TEST(test_route_before_message),
		TEST(test_refused_message),
		TEST(test_route_fails),
		TEST(test_reset),
		TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
