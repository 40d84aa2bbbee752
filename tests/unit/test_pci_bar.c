/* SPDX-License-Identifier: BSD-2-Clause */
/* BARs: sizing, decoding, moving, overlap, windows, placement, ioeventfds that follow. */
#include "tests/unit/pci_rig.h"

#include <errno.h>

#include "vmm/fd.h"

#define DECODE (PCI_COMMAND_IO | PCI_COMMAND_MEMORY)

/* One device with one BAR of each kind. */
struct bars {
	struct pci_rig rig;
	struct pci_device dev;
	struct rig_bar mem32, io, mem64;
};

static struct {
	unsigned calls, bar;
	uint64_t base;
} moved;

static void bar_moved(struct pci_device *dev, unsigned bar, uint64_t base)
{
	(void)dev;
	moved.calls++;
	moved.bar = bar;
	moved.base = base;
}

static const struct pci_device_ops bars_ops = {.bar_moved = bar_moved};

static void bars_init(struct bars *b)
{
	memset(b, 0, sizeof(*b));
	memset(&moved, 0, sizeof(moved));
	rig_init(&b->rig);
	pci_device_init(&b->dev, "bars", &rig_ids, &bars_ops);
	assert_int_equal(pci_bar_init(&b->dev, 0, PCI_BAR_MEM32, KIB(16), &rig_bar_ops, &b->mem32),
	                 0);
	assert_int_equal(pci_bar_init(&b->dev, 1, PCI_BAR_IO, 64, &rig_bar_ops, &b->io), 0);
	assert_int_equal(
		pci_bar_init(&b->dev, 2, PCI_BAR_MEM64_PREFETCH, GIB(8), &rig_bar_ops, &b->mem64),
		0);
	assert_int_equal(pci_host_add(&b->rig.host, 1, &b->dev, NULL), 0);
}

static void set_bar(struct bars *b, unsigned n, uint32_t value)
{
	rig_write(&b->rig, 1, PCI_BASE_ADDRESS_0 + 4 * n, 4, value);
}

static uint32_t get_bar(struct bars *b, unsigned n)
{
	return rig_read(&b->rig, 1, PCI_BASE_ADDRESS_0 + 4 * n, 4);
}

static bool answers(struct bus *bus, uint64_t addr)
{
	uint32_t value;

	return bus_read(bus, addr, &value, 4);
}

static void test_sizing(void **state)
{
	struct bars b;

	(void)state;
	bars_init(&b);
	assert_int_equal(get_bar(&b, 0), 0);
	assert_int_equal(get_bar(&b, 1), 1);
	assert_int_equal(get_bar(&b, 2), 0xc);
	assert_int_equal(get_bar(&b, 3), 0);
	for (unsigned decode = 0; decode < 2; decode++) {
		rig_write(&b.rig, 1, PCI_COMMAND, 2, decode ? DECODE : 0);
		for (unsigned n = 0; n < PCI_BARS; n++)
			set_bar(&b, n, UINT32_MAX);
		assert_int_equal(get_bar(&b, 0), 0xffffc000);
		assert_int_equal(get_bar(&b, 1), 0xffffffc1);
		assert_int_equal(get_bar(&b, 2), 0x0000000c);
		assert_int_equal(get_bar(&b, 3), 0xfffffffe);
		assert_int_equal(get_bar(&b, 4), 0);
		assert_int_equal(get_bar(&b, 5), 0);
	}
	/* All ones with decoding on is no place where anything answers. */
	assert_int_equal(moved.calls, 0);
	assert_false(answers(&b.rig.mmio, 0xffffc000));
	assert_false(answers(&b.rig.mmio, UINT64_C(0xfffffffe00000000)));
	assert_false(answers(&b.rig.pio, 0xffc0));
	/* What is written back after sizing. */
	set_bar(&b, 0, 0xc0000000);
	set_bar(&b, 1, 0x1001);
	assert_int_equal(get_bar(&b, 0), 0xc0000000);
	assert_int_equal(get_bar(&b, 1), 0x1001);
	rig_destroy(&b.rig);
}

static void test_byte_writes(void **state)
{
	struct bars b;

	(void)state;
	bars_init(&b);
	rig_write(&b.rig, 1, PCI_BASE_ADDRESS_0, 1, 0xff);
	rig_write(&b.rig, 1, PCI_BASE_ADDRESS_0 + 1, 1, 0xff);
	rig_write(&b.rig, 1, PCI_BASE_ADDRESS_0 + 2, 2, 0xc123);
	assert_int_equal(get_bar(&b, 0), 0xc123c000);
	rig_destroy(&b.rig);
}

static void test_decode(void **state)
{
	struct bars b;

	(void)state;
	bars_init(&b);
	set_bar(&b, 0, 0xc0010000);
	set_bar(&b, 1, 0x2000);
	assert_false(answers(&b.rig.mmio, 0xc0010000));
	assert_false(answers(&b.rig.pio, 0x2000));
	/* Memory and I/O are decoded apart. */
	rig_write(&b.rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0010004, 4), 4);
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0013ffc, 4), 0x3ffc);
	assert_false(answers(&b.rig.mmio, 0xc0014000));
	assert_false(answers(&b.rig.mmio, 0xc000fffc));
	assert_false(answers(&b.rig.pio, 0x2000));
	assert_int_equal(moved.calls, 1);
	assert_true(moved.bar == 0 && moved.base == 0xc0010000);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, PCI_COMMAND_IO);
	assert_false(answers(&b.rig.mmio, 0xc0010000));
	assert_int_equal(fake_read(&b.rig.pio, 0x203c, 4), 0x3c);
	fake_write(&b.rig.pio, 0x2008, 2, 0xabcd);
	assert_int_equal(b.io.writes, 1);
	assert_int_equal(b.io.value, 0xabcd);
	assert_int_equal(b.io.offset, 8);
	/* Off again, and reset. */
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	pci_device_reset(&b.dev);
	assert_false(answers(&b.rig.mmio, 0xc0010000));
	assert_false(answers(&b.rig.pio, 0x2000));
	assert_int_equal(get_bar(&b, 0), 0);
	assert_int_equal(get_bar(&b, 1), 1);
	rig_destroy(&b.rig);
}

static void test_move(void **state)
{
	struct bars b;

	(void)state;
	bars_init(&b);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	for (uint32_t at = 0xc0000000; at < 0xc0100000; at += 0x4000) {
		set_bar(&b, 0, at);
		assert_int_equal(fake_read(&b.rig.mmio, at + 8, 4), 8);
		assert_false(answers(&b.rig.mmio, at - 4));
		assert_false(answers(&b.rig.mmio, at + 0x4000));
	}
	/* The unaligned part of an address does not stick. */
	set_bar(&b, 0, 0xc0203fff);
	assert_int_equal(get_bar(&b, 0), 0xc0200000);
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0200000, 4), 0);
	moved.calls = 0;
	set_bar(&b, 0, 0xc0200000);
	assert_int_equal(moved.calls, 0);
	rig_destroy(&b.rig);
}

static void test_64bit(void **state)
{
	struct bars b;

	(void)state;
	bars_init(&b);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	set_bar(&b, 2, 0); /* 8 GiB: the low half has no address bits */
	set_bar(&b, 3, 6);
	assert_int_equal(fake_read(&b.rig.mmio, UINT64_C(0x600000010), 8), 0x10);
	assert_int_equal(fake_read(&b.rig.mmio, UINT64_C(0x7fffffff8), 4),
	                 0x1fffffff8 & UINT32_MAX);
	assert_int_equal(get_bar(&b, 2), 0xc);
	set_bar(&b, 3, 9); /* 0x9_0000_0000 is not a multiple of the size */
	assert_int_equal(get_bar(&b, 3), 8);
	assert_false(answers(&b.rig.mmio, UINT64_C(0x600000010)));
	assert_int_equal(fake_read(&b.rig.mmio, UINT64_C(0x800000010), 8), 0x10);
	/* The window is 0x1_4000_0000 .. 0x11_4000_0000. RAM's place, below it, the very top. */
	set_bar(&b, 3, 0);
	assert_false(answers(&b.rig.mmio, 0x1000));
	assert_false(answers(&b.rig.mmio, LAYOUT_HIGH_RAM));
	assert_false(answers(&b.rig.mmio, RIG_MMIO64));
	set_bar(&b, 3, UINT32_MAX);
	assert_false(answers(&b.rig.mmio, UINT64_MAX - 7));
	/* The last place inside, then one that sticks out at the end. */
	set_bar(&b, 3, 0xe);
	assert_int_equal(fake_read(&b.rig.mmio, UINT64_C(0xe00000000), 4), 0);
	set_bar(&b, 3, 0x10);
	assert_false(answers(&b.rig.mmio, UINT64_C(0x1000000000)));
	rig_destroy(&b.rig);
}

/* A fixed device, RAM, the ECAM: a BAR that is moved there does not answer there. */
static void test_outside_windows(void **state)
{
	static const uint32_t places[] = {
		0,
		0x8000,
		LAYOUT_HIGH_RAM,
		0xbfffc000,
		LAYOUT_ECAM,
		LAYOUT_VIRTIO_MMIO,
		LAYOUT_IOAPIC,
		LAYOUT_LAPIC,
		0xffffc000,
	};
	struct bars b;

	(void)state;
	bars_init(&b);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	for (unsigned i = 0; i < ARRAY_SIZE(places); i++) {
		set_bar(&b, 0, places[i]);
		assert_int_equal(get_bar(&b, 0), places[i] & ~0x3fffu);
		answers(&b.rig.mmio, places[i]);
	}
	for (uint32_t port = 0; port < 0x1000; port += 64)
		set_bar(&b, 1, port);
	set_bar(&b, 1, 0x10000);
	set_bar(&b, 1, 0xfffff000);
	assert_int_equal(moved.calls, 0);
	assert_int_equal(b.mem32.reads, 0);
	/* The ECAM is where it was, so this still arrives. */
	set_bar(&b, 0, 0xdfffc000);
	assert_int_equal(fake_read(&b.rig.mmio, 0xdffffffc, 4), 0x3ffc);
	set_bar(&b, 1, 0xffc0);
	assert_int_equal(fake_read(&b.rig.pio, 0xfffc, 4), 0x3c);
	rig_destroy(&b.rig);
}

static void test_overlap(void **state)
{
	struct bars b;
	struct pci_device second;
	struct rig_bar bar = {0};

	(void)state;
	bars_init(&b);
	pci_device_init(&second, "second", &rig_ids, NULL);
	pci_bar_init(&second, 0, PCI_BAR_MEM32, KIB(64), &rig_bar_ops, &bar);
	assert_int_equal(pci_host_add(&b.rig.host, 2, &second, NULL), 0);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	rig_write(&b.rig, 2, PCI_COMMAND, 2, DECODE);
	rig_write(&b.rig, 2, PCI_BASE_ADDRESS_0, 4, 0xc0000000);
	set_bar(&b, 0, 0xc0004000);
	/* The one that was added first answers where both are. */
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0004010, 4), 0x10);
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0008010, 4), 0x8010);
	assert_int_equal(b.mem32.reads, 1);
	assert_int_equal(bar.reads, 1);
	/* And when it goes, the other is whole. */
	set_bar(&b, 0, 0xd0000000);
	assert_int_equal(fake_read(&b.rig.mmio, 0xc0004010, 4), 0x4010);
	rig_destroy(&b.rig);
}

static void test_bad_bars(void **state)
{
	struct pci_device dev;

	(void)state;
	pci_device_init(&dev, "dev", &rig_ids, NULL);
#define BAD(n, type, size) \
	assert_int_equal(pci_bar_init(&dev, n, type, size, &rig_bar_ops, NULL), -EINVAL)
	BAD(6, PCI_BAR_MEM32, 4096);
	BAD(0, PCI_BAR_MEM32, 0);
	BAD(0, PCI_BAR_MEM32, 8);
	BAD(0, PCI_BAR_MEM32, 4097);
	BAD(0, PCI_BAR_MEM32, GIB(4));
	BAD(0, PCI_BAR_IO, 2);
	BAD(0, PCI_BAR_IO, 512);
	BAD(5, PCI_BAR_MEM64, 4096);
	BAD(0, PCI_BAR_MEM64, BIT64(63));
	assert_int_equal(pci_bar_init(&dev, 2, PCI_BAR_MEM64, 4096, &rig_bar_ops, NULL), 0);
	BAD(1, PCI_BAR_MEM64, 4096); /* its upper half is taken */
	BAD(2, PCI_BAR_IO, 16);
	BAD(3, PCI_BAR_IO, 16);
	assert_int_equal(pci_bar_init(&dev, 1, PCI_BAR_IO, 16, &rig_bar_ops, NULL), 0);
#undef BAD
}

static void test_inner_access(void **state)
{
	struct bars b;
	uint32_t value = 0;

	(void)state;
	bars_init(&b);
	/* Not decoded, and it works; the bounds hold. */
	assert_true(pci_bar_read(&b.dev, 0, 0x3ffc, 4, &value));
	assert_int_equal(value, 0x3ffc);
	assert_true(pci_bar_write(&b.dev, 1, 63, 1, 0xab));
	assert_int_equal(b.io.value, 0xab);
	assert_false(pci_bar_read(&b.dev, 0, 0x4000, 4, &value));
	assert_false(pci_bar_read(&b.dev, 0, 0x3ffe, 4, &value));
	assert_false(pci_bar_read(&b.dev, 0, UINT64_MAX - 3, 4, &value));
	assert_false(pci_bar_read(&b.dev, 0, 2, 4, &value));
	assert_false(pci_bar_read(&b.dev, 0, 0, 8, &value));
	assert_false(pci_bar_read(&b.dev, 0, 0, 0, &value));
	assert_false(pci_bar_read(&b.dev, 0, 0, 3, &value));
	assert_false(pci_bar_read(&b.dev, 3, 0, 4, &value)); /* an upper half */
	assert_false(pci_bar_read(&b.dev, 4, 0, 4, &value));
	assert_false(pci_bar_write(&b.dev, 0xff, 0, 4, 0));
	assert_int_equal(b.mem32.reads, 1);
	rig_destroy(&b.rig);
}

static void test_assign(void **state)
{
	struct bars b;
	struct pci_device second;
	struct rig_bar big = {0}, small = {0}, wide = {0};

	(void)state;
	bars_init(&b);
	pci_device_init(&second, "second", &rig_ids, NULL);
	pci_bar_init(&second, 0, PCI_BAR_MEM32, 16, &rig_bar_ops, &small);
	pci_bar_init(&second, 1, PCI_BAR_MEM32, MIB(256), &rig_bar_ops, &big);
	pci_bar_init(&second, 2, PCI_BAR_MEM64, MIB(1), &rig_bar_ops, &wide);
	pci_bar_init(&second, 4, PCI_BAR_IO, 256, &rig_bar_ops, NULL);
	assert_int_equal(pci_host_add(&b.rig.host, -1, &second, NULL), 0);
	assert_int_equal(pci_host_assign(&b.rig.host, NULL), 0);
	/* Decoding is off. */
	assert_int_equal(rig_read(&b.rig, 1, PCI_COMMAND, 2), 0);
	assert_int_equal(moved.calls, 0);
	/* The biggest first, without holes, 64-bit ones behind or, if they must, above 4 GiB. */
	assert_int_equal(rig_read(&b.rig, 2, PCI_BASE_ADDRESS_1, 4), 0xc0000000);
	assert_int_equal(get_bar(&b, 0), 0xd0000000);
	assert_int_equal(rig_read(&b.rig, 2, PCI_BASE_ADDRESS_0, 4), 0xd0004000);
	assert_int_equal(rig_read(&b.rig, 2, PCI_BASE_ADDRESS_2, 4), 0xd0100004);
	assert_int_equal(rig_read(&b.rig, 2, PCI_BASE_ADDRESS_3, 4), 0);
	assert_int_equal(get_bar(&b, 2), 0xc);
	assert_int_equal(get_bar(&b, 3), 2); /* 0x1_4000_0000 up to a multiple of 8 GiB */
	assert_int_equal(rig_read(&b.rig, 2, PCI_BASE_ADDRESS_4, 4), 0x1001);
	assert_int_equal(get_bar(&b, 1), 0x1101);
	/* All of them answer once decoded. */
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	rig_write(&b.rig, 2, PCI_COMMAND, 2, DECODE);
	assert_int_equal(fake_read(&b.rig.mmio, 0xd000400c, 4), 12);
	assert_int_equal(fake_read(&b.rig.mmio, UINT64_C(0x200000000), 4), 0);
	assert_int_equal(fake_read(&b.rig.pio, 0x1104, 4), 4);
	rig_destroy(&b.rig);
}

static void test_assign_full(void **state)
{
	static struct pci_device dev[4];
	struct pci_rig rig;
	struct pci_host_config cfg = rig_config(&rig);
	struct err err = {0};

	(void)state;
	cfg.mem64.size = 0;
	rig_init_with(&rig, &cfg);
	for (unsigned i = 0; i < ARRAY_SIZE(dev); i++) {
		pci_device_init(&dev[i], "big", &rig_ids, NULL);
		pci_bar_init(&dev[i], 0, PCI_BAR_MEM64, MIB(256), &rig_bar_ops, NULL);
		pci_host_add(&rig.host, -1, &dev[i], NULL);
	}
	/* Two fit into 512 MiB. */
	assert_int_equal(pci_host_assign(&rig.host, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "slot 3"));
	rig_destroy(&rig);
}

/* 32-bit BARs get their room although bigger 64-bit ones could take it. */
static void test_assign_32_first(void **state)
{
	struct pci_rig rig;
	struct pci_device wide, narrow;

	(void)state;
	rig_init(&rig);
	pci_device_init(&wide, "wide", &rig_ids, NULL);
	pci_bar_init(&wide, 0, PCI_BAR_MEM64, MIB(512), &rig_bar_ops, NULL);
	pci_host_add(&rig.host, 1, &wide, NULL);
	pci_device_init(&narrow, "narrow", &rig_ids, NULL);
	pci_bar_init(&narrow, 0, PCI_BAR_MEM32, KIB(4), &rig_bar_ops, NULL);
	pci_host_add(&rig.host, 2, &narrow, NULL);
	assert_int_equal(pci_host_assign(&rig.host, NULL), 0);
	assert_int_equal(rig_read(&rig, 2, PCI_BASE_ADDRESS_0, 4), 0xc0000000);
	assert_int_equal(rig_read(&rig, 1, PCI_BASE_ADDRESS_0, 4), 0x40000004);
	assert_int_equal(rig_read(&rig, 1, PCI_BASE_ADDRESS_1, 4), 1);
	rig_destroy(&rig);
}

/* KVM's table of ioeventfds: where the one of this test is. */
static struct {
	bool there;
	uint64_t addr;
} ioeventfd;

static int ioeventfd_backend(void *opaque, enum bus_space space, uint64_t addr,
                             const struct bus_eventfd *e, bool assign)
{
	(void)opaque;
	(void)space;
	(void)e;
	assert_true(ioeventfd.there != assign);
	if (!assign)
		assert_true(ioeventfd.addr == addr);
	ioeventfd.there = assign;
	ioeventfd.addr = addr;
	return 0;
}

static void test_ioeventfd_follows(void **state)
{
	struct bars b;
	struct bus_eventfd e = {.offset = 0x100, .size = 4};

	(void)state;
	bars_init(&b);
	bus_set_eventfd_backend(&b.rig.mmio, ioeventfd_backend, NULL);
	e.region = &b.dev.bars[0].region;
	e.fd = fd_eventfd();
	assert_true(e.fd >= 0);
	assert_int_equal(bus_eventfd_add(&b.rig.mmio, &e), 0);
	assert_false(ioeventfd.there);
	set_bar(&b, 0, 0xc0000000);
	rig_write(&b.rig, 1, PCI_COMMAND, 2, DECODE);
	assert_true(ioeventfd.there && ioeventfd.addr == 0xc0000100);
	set_bar(&b, 0, 0xc0800000);
	assert_true(ioeventfd.there && ioeventfd.addr == 0xc0800100);
	/* Over RAM or another's registers: it does not go along. */
	set_bar(&b, 0, LAYOUT_HIGH_RAM);
	assert_false(ioeventfd.there);
	set_bar(&b, 0, LAYOUT_ECAM);
	assert_false(ioeventfd.there);
	set_bar(&b, 0, 0xc0000000);
	assert_true(ioeventfd.there);
	pci_device_reset(&b.dev);
	assert_false(ioeventfd.there);
	bus_eventfd_remove(&b.rig.mmio, e.region, e.fd);
	fd_close(&e.fd);
	rig_destroy(&b.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sizing),
		cmocka_unit_test(test_byte_writes),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_64bit),
		cmocka_unit_test(test_outside_windows),
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_bad_bars),
		cmocka_unit_test(test_inner_access),
		cmocka_unit_test(test_assign),
		cmocka_unit_test(test_assign_full),
		cmocka_unit_test(test_assign_32_first),
		cmocka_unit_test(test_ioeventfd_follows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
