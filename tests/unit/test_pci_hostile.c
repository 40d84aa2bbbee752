/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random accesses to everything a guest reaches of PCI: config space by both mechanisms, BARs
 * wherever they are, eventfds. After each of them: what the guest may not change has not changed,
 * and what follows from its settings (decoding, INTx, MSI-X) is so.
 */
#include "tests/unit/pci_rig.h"

#include "devices/pci/testdev.h"
#include "vmm/fd.h"

#define STEPS   100000 /* of each seed */
#define DEVICES 3

struct fixture {
	struct pci_rig rig;
	struct testdev dev[DEVICES];
	uint8_t before[DEVICES + 1][PCI_CONFIG_SIZE];
	uint64_t seed;
};

/* A word register as it is stored. */
static unsigned stored(const struct pci_device *dev, unsigned reg)
{
	return dev->config[reg] | (unsigned)dev->config[reg + 1] << 8;
}

/* xorshift64: the same on every host. */
static uint64_t rnd(struct fixture *f)
{
	f->seed ^= f->seed << 13;
	f->seed ^= f->seed >> 7;
	f->seed ^= f->seed << 17;
	return f->seed;
}

static void setup(struct fixture *f, uint64_t seed)
{
	struct testdev_config cfg = {
		.pio = &f->rig.pio, .mmio = &f->rig.mmio, .irq = &f->rig.irq.ctl};

	memset(f, 0, sizeof(*f));
	f->seed = seed;
	rig_init(&f->rig);
	for (unsigned i = 0; i < DEVICES; i++) {
		cfg.prefetch_size = i ? KIB(4) << 10 * i : 0;
		assert_int_equal(testdev_init(&f->dev[i], &cfg, NULL), 0);
		assert_int_equal(pci_host_add(&f->rig.host, -1, &f->dev[i].pci, NULL), 0);
	}
	assert_int_equal(pci_host_assign(&f->rig.host, NULL), 0);
	for (unsigned slot = 0; slot <= DEVICES; slot++)
		memcpy(f->before[slot], f->rig.host.slots[slot]->config, PCI_CONFIG_SIZE);
}

static void teardown(struct fixture *f)
{
	for (unsigned i = 0; i < DEVICES; i++)
		testdev_destroy(&f->dev[i]);
	rig_destroy(&f->rig);
}

/* Values that mean something, as often as ones that do not. */
static uint64_t value(struct fixture *f)
{
	const uint64_t some[] = {
		0,
		UINT64_MAX,
		LAYOUT_PCI_MMIO32,
		LAYOUT_ECAM,
		LAYOUT_LAPIC,
		LAYOUT_PCI_IO,
		RIG_MMIO64 >> 32,
		0xffff,
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY,
		7,
		PCI_MSIX_FLAGS_ENABLE,
		PCI_MSIX_FLAGS_MASKALL << 16,
		1,
		LAYOUT_PCI_MMIO32 + (rnd(f) & 0x1fffffff),
	};

	return rnd(f) % 2 ? some[rnd(f) % ARRAY_SIZE(some)] : rnd(f);
}

static unsigned width(struct fixture *f)
{
	return 1u << rnd(f) % 4;
}

static void poke(struct fixture *f, struct bus *bus, uint64_t addr, unsigned size)
{
	uint64_t data = value(f);

	if (rnd(f) % 3)
		bus_write(bus, addr, &data, size);
	else
		bus_read(bus, addr, &data, size);
}

static void step_config(struct fixture *f)
{
	/* Mostly where something is: headers of devices that exist. */
	uint64_t slot = rnd(f) % 8 ? rnd(f) % (DEVICES + 1) : rnd(f) % 32;
	uint64_t function = rnd(f) % 16 ? 0 : rnd(f) % 8;
	uint64_t reg = rnd(f) % 8 ? rnd(f) % 96 : rnd(f) % 4096;

	if (rnd(f) % 2) {
		poke(f, &f->rig.mmio, LAYOUT_ECAM + (slot << 15 | function << 12 | reg), width(f));
	} else {
		uint32_t addr = BIT(31) | (uint32_t)(slot << 11 | function << 8 | (reg & 0xff));

		if (rnd(f) % 16 == 0)
			addr = (uint32_t)rnd(f);
		bus_write(&f->rig.pio, LAYOUT_PCI_CONF1, &addr, 4);
		poke(f, &f->rig.pio, LAYOUT_PCI_CONF1 + rnd(f) % 8, 1u << rnd(f) % 3);
	}
}

static void step_bar(struct fixture *f)
{
	const struct pci_device *dev = &f->dev[rnd(f) % DEVICES].pci;
	unsigned n = (unsigned)(rnd(f) % PCI_BARS);
	const struct bus_region *region = &dev->bars[n].region;
	uint64_t base = bus_region_base(region);
	bool io = dev->bars[n].type == PCI_BAR_IO;

	if (region->size == 0 || base == BUS_UNMAPPED)
		return;
	poke(f, io ? &f->rig.pio : &f->rig.mmio, base + rnd(f) % region->size % 0x1000,
	     io ? 1u << rnd(f) % 3 : width(f));
}

/* What a driver does, so that the rest has something to hit. */
static void step_sensible(struct fixture *f)
{
	unsigned i = (unsigned)(rnd(f) % DEVICES), slot = i + 1;
	uint64_t table = LAYOUT_PCI_MMIO32 + MIB(1) * slot;

	switch (rnd(f) % 4) {
	case 0:
		rig_write(&f->rig, slot, PCI_COMMAND, 2, 7);
		break;
	case 1:
		rig_write(&f->rig, slot, f->dev[i].msix.cap + PCI_MSIX_FLAGS, 2,
		          PCI_MSIX_FLAGS_ENABLE);
		break;
	case 2:
		rig_write(&f->rig, slot, PCI_COMMAND, 2, 7);
		rig_write(&f->rig, slot, PCI_BASE_ADDRESS_4, 4, (uint32_t)table);
		fake_write(&f->rig.mmio, table + 16 * (rnd(f) % TESTDEV_VECTORS) + 8, 8,
		           rnd(f) % 256);
		break;
	default:
		rig_write(&f->rig, slot, PCI_BASE_ADDRESS_0, 4, LAYOUT_PCI_MMIO32);
		rig_write(&f->rig, slot, PCI_BASE_ADDRESS_1, 4, LAYOUT_PCI_IO);
		break;
	}
}

static void step(struct fixture *f)
{
	uint64_t what = rnd(f) % 16;

	if (what < 8)
		step_config(f);
	else if (what < 13)
		step_bar(f);
	else if (what < 15)
		step_sensible(f);
	else if (rnd(f) % 64 == 0)
		pci_device_reset(&f->dev[rnd(f) % DEVICES].pci);
	else
		fd_signal(f->dev[rnd(f) % DEVICES].signal_fd[rnd(f) % TESTDEV_VECTORS]);
}

static bool inside(uint64_t addr, uint64_t size, uint64_t base, uint64_t length)
{
	return addr >= base && size <= length && addr - base <= length - size;
}

static void check_bars(const struct pci_device *dev, unsigned command)
{
	for (unsigned n = 0; n < PCI_BARS; n++) {
		const struct pci_bar *bar = &dev->bars[n];
		uint64_t base = bus_region_base(&bar->region), size = bar->region.size;

		if (size == 0 || base == BUS_UNMAPPED)
			continue;
		assert_true(base % size == 0);
		if (bar->type == PCI_BAR_IO) {
			assert_true(command & PCI_COMMAND_IO);
			assert_true(inside(base, size, LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE));
		} else {
			assert_true(command & PCI_COMMAND_MEMORY);
			assert_true(inside(base, size, LAYOUT_PCI_MMIO32, LAYOUT_PCI_MMIO32_SIZE) ||
			            inside(base, size, RIG_MMIO64, RIG_MMIO64_SIZE));
		}
	}
}

static void check_msix(struct fixture *f, struct testdev *dev, unsigned command)
{
	struct msix *m = &dev->msix;
	unsigned flags = stored(&dev->pci, m->cap + PCI_MSIX_FLAGS);
	bool on = (flags & PCI_MSIX_FLAGS_ENABLE) && !(flags & PCI_MSIX_FLAGS_MASKALL) &&
	          (command & PCI_COMMAND_MASTER);

	assert_int_equal(flags & PCI_MSIX_FLAGS_QSIZE, TESTDEV_VECTORS - 1);
	for (unsigned i = 0; i < TESTDEV_VECTORS; i++) {
		const struct msix_vector *v = &m->vectors[i];
		const struct fake_gsi *gsi = &f->rig.irq.gsi[v->gsi];
		bool open = on && !v->masked;

		assert_int_equal(dev->signal[i].armed, open);
		assert_int_equal(gsi->irqfd, open ? dev->signal_fd[i] : -1);
		if (open) {
			assert_false(v->pending);
			assert_true(gsi->route.addr == v->msg.addr);
			assert_true(gsi->route.data == v->msg.data);
		}
	}
}

static void check(struct fixture *f)
{
	bool lines[PCI_INTX_LINES] = {false};

	for (unsigned slot = 0; slot <= DEVICES; slot++) {
		const struct pci_device *dev = f->rig.host.slots[slot];
		unsigned command = stored(dev, PCI_COMMAND), changed = 0;

		for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
			changed |= (dev->config[i] ^ f->before[slot][i]) & ~dev->writable[i];
		assert_int_equal(changed, 0);
		assert_int_equal(pci_bus_master(dev), !!(command & PCI_COMMAND_MASTER));
		check_bars(dev, command);
		if (slot == 0)
			continue;
		check_msix(f, &f->dev[slot - 1], command);
		if (f->dev[slot - 1].intx && !(command & PCI_COMMAND_INTX_DISABLE) &&
		    !f->dev[slot - 1].msix.enabled)
			lines[slot % 4] = true;
	}
	for (unsigned n = 0; n < PCI_INTX_LINES; n++)
		assert_int_equal(f->rig.irq.gsi[LAYOUT_GSI_INTX + n].asserted, lines[n]);
}

static void run(uint64_t seed)
{
	static struct fixture f;
	unsigned mapped = 0, open = 0;

	setup(&f, seed);
	for (unsigned i = 0; i < STEPS; i++) {
		step(&f);
		check(&f);
		mapped += bus_region_base(&f.dev[0].pci.bars[0].region) != BUS_UNMAPPED;
		open += f.dev[0].signal[0].armed;
	}
	/* It was not all idle: otherwise the checks above say nothing. */
	assert_true(mapped > STEPS / 100);
	assert_true(open > STEPS / 1000);
	assert_true(f.rig.irq.nr_msi > 0);
	/* And after all of it a driver can still use the devices. */
	pci_host_reset(&f.rig.host);
	assert_int_equal(pci_host_assign(&f.rig.host, NULL), 0);
	rig_write(&f.rig, 2, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(fake_read(&f.rig.mmio, bus_region_base(&f.dev[1].pci.bars[0].region), 4),
	                 TESTDEV_ID_VALUE);
	teardown(&f);
}

static void test_seed_1(void **state)
{
	(void)state;
	run(1);
}

static void test_seed_2(void **state)
{
	(void)state;
	run(UINT64_C(0x9e3779b97f4a7c15));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seed_1),
		cmocka_unit_test(test_seed_2),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
