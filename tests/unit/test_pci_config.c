/* SPDX-License-Identifier: BSD-2-Clause */
/* Config space through both mechanisms: identity, masks, capabilities, slots, the ports' quirks,
 * reset. */
#include "tests/unit/pci_rig.h"

#include <errno.h>

#define CONF1 LAYOUT_PCI_CONF1
#define DATA  (LAYOUT_PCI_CONF1 + 4)

static uint32_t conf1_addr(unsigned bus, unsigned slot, unsigned function, unsigned reg)
{
	return BIT(31) | bus << 16 | slot << 11 | function << 8 | reg;
}

static void test_bridge(void **state)
{
	struct pci_rig rig;

	(void)state;
	rig_init(&rig);
	assert_int_equal(rig_read(&rig, 0, PCI_VENDOR_ID, 4), 0x0d578086);
	assert_int_equal(rig_read(&rig, 0, PCI_CLASS_REVISION, 4), 0x06000000);
	assert_int_equal(rig_read(&rig, 0, PCI_HEADER_TYPE, 1), 0);
	assert_int_equal(rig_read(&rig, 0, PCI_STATUS, 2), 0);
	for (unsigned n = 0; n < PCI_BARS; n++) {
		rig_write(&rig, 0, PCI_BASE_ADDRESS_0 + 4 * n, 4, UINT32_MAX);
		assert_int_equal(rig_read(&rig, 0, PCI_BASE_ADDRESS_0 + 4 * n, 4), 0);
	}
	/* Without a BAR there is nothing to decode. */
	rig_write(&rig, 0, PCI_COMMAND, 2, 0xffff);
	assert_int_equal(rig_read(&rig, 0, PCI_COMMAND, 2),
	                 PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	rig_destroy(&rig);
}

static void test_identity(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	assert_int_equal(pci_host_add(&rig.host, -1, &dev, NULL), 0);
	assert_int_equal(dev.slot, 1);
	for (unsigned round = 0; round < 2; round++) {
		assert_int_equal(rig_read(&rig, 1, PCI_VENDOR_ID, 2), 0x1234);
		assert_int_equal(rig_read(&rig, 1, PCI_DEVICE_ID, 2), 0x5678);
		assert_int_equal(rig_read(&rig, 1, PCI_CLASS_REVISION, 4), 0x02000103);
		assert_int_equal(rig_read(&rig, 1, PCI_SUBSYSTEM_VENDOR_ID, 4), 0xdef09abc);
		assert_int_equal(rig_read(&rig, 1, PCI_INTERRUPT_PIN, 1), 1);
		assert_int_equal(rig_read(&rig, 1, PCI_HEADER_TYPE, 1), 0);
		assert_int_equal(rig_read(&rig, 1, PCI_ROM_ADDRESS, 4), 0);
		/* The second round: after everything was overwritten. */
		for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg += 4)
			rig_write(&rig, 1, reg, 4, round ? 0 : UINT32_MAX);
	}
	/* These take what is written, byte by byte. */
	rig_write(&rig, 1, PCI_CACHE_LINE_SIZE, 2, 0x4010);
	assert_int_equal(rig_read(&rig, 1, PCI_CACHE_LINE_SIZE, 4), 0x4010);
	rig_write(&rig, 1, PCI_INTERRUPT_LINE, 1, 11);
	assert_int_equal(rig_read(&rig, 1, PCI_INTERRUPT_LINE, 2), 0x010b);
	rig_destroy(&rig);
}

static void test_masks(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_config_define(&dev, 0x80, 4, 0x11223344, 0x00ff0ff0);
	pci_config_define(&dev, 0x84, 4, 0xffffffff, 0);
	pci_config_define_w1c(&dev, 0x84, 4, 0xff0000ff);
	pci_host_add(&rig.host, 5, &dev, NULL);

	rig_write(&rig, 5, 0x80, 4, 0xaaaaaaaa);
	assert_int_equal(rig_read(&rig, 5, 0x80, 4), 0x11aa3aa4);
	rig_write(&rig, 5, 0x81, 1, 0xff);
	assert_int_equal(rig_read(&rig, 5, 0x80, 4), 0x11aa3fa4);
	rig_write(&rig, 5, 0x82, 2, 0x5555);
	assert_int_equal(rig_read(&rig, 5, 0x80, 4), 0x11553fa4);

	/* Write-one-to-clear: zeroes keep, ones clear, only where they may. */
	rig_write(&rig, 5, 0x84, 4, 0);
	assert_int_equal(rig_read(&rig, 5, 0x84, 4), 0xffffffff);
	rig_write(&rig, 5, 0x84, 4, 0x0f0000f1);
	assert_int_equal(rig_read(&rig, 5, 0x84, 4), 0xf0ffff0e);
	rig_write(&rig, 5, 0x87, 1, 0xff);
	assert_int_equal(rig_read(&rig, 5, 0x84, 4), 0x00ffff0e);

	pci_device_reset(&dev);
	assert_int_equal(rig_read(&rig, 5, 0x80, 4), 0x11223344);
	assert_int_equal(rig_read(&rig, 5, 0x84, 4), 0xffffffff);
	rig_destroy(&rig);
}

static void test_status_w1c(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;
	uint8_t cap;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 8, &cap), 0);
	pci_host_add(&rig.host, 1, &dev, NULL);
	/* As if the device had seen a parity error and a master abort. */
	dev.config[PCI_STATUS + 1] |=
		(PCI_STATUS_DETECTED_PARITY | PCI_STATUS_REC_MASTER_ABORT) >> 8;
	assert_int_equal(rig_read(&rig, 1, PCI_STATUS, 2), 0xa010);
	/* A dword write of the command register with zeroes above must not clear anything. */
	rig_write(&rig, 1, PCI_COMMAND, 4, PCI_COMMAND_MASTER);
	assert_int_equal(rig_read(&rig, 1, PCI_COMMAND, 4), 0xa0100004);
	rig_write(&rig, 1, PCI_STATUS, 2, PCI_STATUS_DETECTED_PARITY | PCI_STATUS_CAP_LIST);
	assert_int_equal(rig_read(&rig, 1, PCI_STATUS, 2), 0x2010);
	rig_write(&rig, 1, PCI_STATUS, 2, 0xffff);
	assert_int_equal(rig_read(&rig, 1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	rig_destroy(&rig);
}

static void test_bus_master(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 1, &dev, NULL);
	assert_false(pci_bus_master(&dev));
	rig_write(&rig, 1, PCI_COMMAND, 1, PCI_COMMAND_MASTER);
	assert_true(pci_bus_master(&dev));
	rig_write(&rig, 1, PCI_COMMAND + 1, 1, 0xff);
	assert_true(pci_bus_master(&dev));
	pci_device_reset(&dev);
	assert_false(pci_bus_master(&dev));
	rig_destroy(&rig);
}

static void test_capabilities(void **state)
{
	struct pci_rig rig;
	struct pci_device dev, full;
	uint8_t a, b, c;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 17, &a), 0);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_PM, 8, &b), 0);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 1, &c), -ENOSPC);
	/* Exactly what is left, and then nothing. */
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_EXP, 256 - b - 8u, &c), 0);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 2, &c), -ENOSPC);
	assert_int_equal(a, 0x40);
	assert_int_equal(b, 0x54);
	pci_host_add(&rig.host, 1, &dev, NULL);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 2, &c), -EBUSY);

	for (unsigned reg = 0; reg < PCI_CONFIG_SIZE; reg += 4)
		rig_write(&rig, 1, reg, 4, 0xa5a5a5a5);
	assert_int_equal(rig_find_cap(&rig, 1, PCI_CAP_ID_VNDR), 0x40);
	assert_int_equal(rig_find_cap(&rig, 1, PCI_CAP_ID_PM), 0x54);
	assert_int_equal(rig_find_cap(&rig, 1, PCI_CAP_ID_EXP), 0x5c);
	assert_int_equal(rig_find_cap(&rig, 1, PCI_CAP_ID_MSIX), 0);
	assert_int_equal(rig_read(&rig, 1, 0x5d, 1), 0);

	pci_device_init(&full, "full", &rig_ids, NULL);
	assert_int_equal(pci_add_capability(&full, PCI_CAP_ID_VNDR, 193, &a), -ENOSPC);
	assert_int_equal(pci_add_capability(&full, PCI_CAP_ID_VNDR, 192, &a), 0);
	assert_int_equal(pci_add_capability(&full, PCI_CAP_ID_VNDR, 2, &a), -ENOSPC);
	rig_destroy(&rig);
}

static void test_slots(void **state)
{
	static struct pci_device dev[PCI_SLOTS + 1];
	struct pci_rig rig;
	struct err err = {0};

	(void)state;
	rig_init(&rig);
	for (unsigned i = 0; i < ARRAY_SIZE(dev); i++)
		pci_device_init(&dev[i], "dev", &rig_ids, NULL);
	assert_int_equal(pci_host_add(&rig.host, 0, &dev[0], &err), -EINVAL);
	assert_int_equal(pci_host_add(&rig.host, 32, &dev[0], &err), -EINVAL);
	assert_int_equal(pci_host_add(&rig.host, -2, &dev[0], &err), -EINVAL);
	assert_non_null(strstr(err.msg, "slot -2"));
	assert_int_equal(pci_host_add(&rig.host, 2, &dev[0], &err), 0);
	assert_int_equal(pci_host_add(&rig.host, 2, &dev[1], &err), -EEXIST);
	assert_int_equal(pci_host_add(&rig.host, 3, &dev[0], &err), -EBUSY);
	for (unsigned i = 1; i < 31; i++)
		assert_int_equal(pci_host_add(&rig.host, -1, &dev[i], &err), 0);
	assert_int_equal(dev[1].slot, 1);
	assert_int_equal(dev[2].slot, 3);
	assert_int_equal(pci_host_add(&rig.host, -1, &dev[31], &err), -ENOSPC);
	assert_int_equal(rig_read(&rig, 31, PCI_VENDOR_ID, 2), 0x1234);
	rig_destroy(&rig);
}

static void test_absent(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 1, &dev, NULL);
	assert_int_equal(rig_read(&rig, 2, PCI_VENDOR_ID, 4), UINT32_MAX);
	assert_int_equal(rig_read(&rig, 2, PCI_VENDOR_ID, 1), 0xff);
	rig_write(&rig, 2, PCI_COMMAND, 2, 7);
	for (unsigned function = 1; function < 8; function++)
		assert_int_equal(fake_read(&rig.mmio, rig_ecam(1, function << 12), 4), UINT32_MAX);
	/* ECAM is bus 0 only. */
	assert_false(bus_read(&rig.mmio, LAYOUT_ECAM + MIB(1), &(uint32_t){0}, 4));
	rig_destroy(&rig);
}

static void test_ecam_widths(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 1, &dev, NULL);
	assert_int_equal(rig_read(&rig, 1, 1, 1), 0x12);
	assert_int_equal(rig_read(&rig, 1, 1, 2), 0x7812);
	assert_int_equal(rig_read(&rig, 1, 2, 2), 0x5678);
	/* Across a dword: answered by nobody. */
	assert_int_equal(rig_read(&rig, 1, 3, 2), 0xffff);
	assert_int_equal(rig_read(&rig, 1, 2, 4), UINT32_MAX);
	assert_true(fake_read(&rig.mmio, rig_ecam(1, 0), 8) == UINT64_MAX);
	rig_write(&rig, 1, PCI_COMMAND - 1, 4, UINT32_MAX);
	fake_write(&rig.mmio, rig_ecam(1, PCI_COMMAND), 8, UINT64_MAX);
	assert_int_equal(rig_read(&rig, 1, PCI_COMMAND, 2), 0);
	/* Extended space: there, and empty. */
	for (unsigned reg = 256; reg < 4096; reg += 4) {
		rig_write(&rig, 1, reg, 4, UINT32_MAX);
		assert_int_equal(rig_read(&rig, 1, reg, 4), 0);
	}
	assert_int_equal(rig_read(&rig, 1, 4095, 1), 0);
	assert_int_equal(rig_read(&rig, 0, 256, 4), 0);
	rig_destroy(&rig);
}

static void test_conf1(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 3, &dev, NULL);
	/* A kernel's probe: a byte to 0xCFB is not for us, a dword to 0xCF8 is and reads back. */
	fake_write(&rig.pio, CONF1 + 3, 1, 1);
	assert_int_equal(fake_read(&rig.pio, CONF1, 4), 0);
	fake_write(&rig.pio, CONF1, 4, BIT(31));
	assert_int_equal(fake_read(&rig.pio, CONF1, 4), BIT(31));
	assert_int_equal(fake_read(&rig.pio, DATA, 4), 0x0d578086);
	/* Narrow accesses to the address register change and tell nothing. */
	fake_write(&rig.pio, CONF1, 2, 0xffff);
	fake_write(&rig.pio, CONF1 + 2, 2, 0);
	fake_write(&rig.pio, CONF1 + 2, 1, 0xff);
	assert_int_equal(fake_read(&rig.pio, CONF1, 2), 0xffff);
	assert_int_equal(fake_read(&rig.pio, CONF1 + 3, 1), 0xff);
	assert_int_equal(fake_read(&rig.pio, CONF1, 4), BIT(31));
	/* The low bits do not exist: bytes are chosen by the data port. */
	fake_write(&rig.pio, CONF1, 4, conf1_addr(0, 3, 0, 3));
	assert_int_equal(fake_read(&rig.pio, CONF1, 4), conf1_addr(0, 3, 0, 0));
	assert_int_equal(fake_read(&rig.pio, DATA, 4), 0x56781234);
	assert_int_equal(fake_read(&rig.pio, DATA, 2), 0x1234);
	assert_int_equal(fake_read(&rig.pio, DATA + 1, 2), 0x7812);
	assert_int_equal(fake_read(&rig.pio, DATA + 2, 2), 0x5678);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(fake_read(&rig.pio, DATA + i, 1), 0x56781234 >> 8 * i & 0xff);
	/* Out of the ports. */
	assert_false(bus_read(&rig.pio, DATA + 1, &(uint32_t){0}, 4));
	assert_false(bus_read(&rig.pio, DATA + 3, &(uint16_t){0}, 2));
	/* Across address and data: not data. */
	assert_int_equal(fake_read(&rig.pio, CONF1 + 2, 4), UINT32_MAX);
	rig_destroy(&rig);
}

static void test_conf1_write(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_config_define(&dev, 0x80, 4, 0, UINT32_MAX);
	pci_host_add(&rig.host, 3, &dev, NULL);
	fake_write(&rig.pio, CONF1, 4, conf1_addr(0, 3, 0, 0x80));
	fake_write(&rig.pio, DATA, 4, 0x11223344);
	fake_write(&rig.pio, DATA + 3, 1, 0xaa);
	fake_write(&rig.pio, DATA + 1, 2, 0xbbcc);
	assert_int_equal(fake_read(&rig.pio, DATA, 4), 0xaabbcc44);
	assert_int_equal(rig_read(&rig, 3, 0x80, 4), 0xaabbcc44);
	rig_destroy(&rig);
}

static void test_conf1_nobody(void **state)
{
	const uint32_t nobody[] = {
		conf1_addr(0, 3, 0, 0) & ~BIT(31), /* not enabled */
		conf1_addr(1, 3, 0, 0),            /* another bus */
		conf1_addr(255, 3, 0, 0),
		conf1_addr(0, 3, 1, 0), /* no such function */
		conf1_addr(0, 4, 0, 0), /* no such device */
		conf1_addr(0, 3, 0, 0) | BIT(24),
		conf1_addr(0, 3, 0, 0) | BIT(30),
	};
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 3, &dev, NULL);
	for (unsigned i = 0; i < ARRAY_SIZE(nobody); i++) {
		fake_write(&rig.pio, CONF1, 4, nobody[i]);
		assert_int_equal(fake_read(&rig.pio, DATA, 4), UINT32_MAX);
		assert_int_equal(fake_read(&rig.pio, DATA + 3, 1), 0xff);
		fake_write(&rig.pio, CONF1, 4, nobody[i] | PCI_CACHE_LINE_SIZE);
		fake_write(&rig.pio, DATA, 4, UINT32_MAX);
	}
	assert_int_equal(rig_read(&rig, 3, PCI_CACHE_LINE_SIZE, 1), 0);
	rig_destroy(&rig);
}

static void test_cf9(void **state)
{
	struct pci_rig rig;
	struct pci_host_config cfg;

	(void)state;
	rig_init(&rig);
	fake_write(&rig.pio, 0xcf9, 1, 2); /* what kind; no reset yet */
	assert_int_equal(fake_events_total(&rig.events), 0);
	assert_int_equal(fake_read(&rig.pio, 0xcf9, 1), 2);
	fake_write(&rig.pio, 0xcf9, 1, 6);
	assert_int_equal(rig.events.raised[GUEST_RESET], 1);
	fake_write(&rig.pio, 0xcf9, 1, 6); /* no change of the bit */
	assert_int_equal(rig.events.raised[GUEST_RESET], 1);
	/* A dword there is the address register. */
	fake_write(&rig.pio, 0xcf8, 4, 0);
	fake_write(&rig.pio, 0xcf8, 4, 0x0600);
	fake_write(&rig.pio, 0xcf8, 2, 0x0600);
	assert_int_equal(fake_events_total(&rig.events), 1);
	rig_destroy(&rig);

	cfg = rig_config(&rig);
	cfg.events = NULL;
	rig_init_with(&rig, &cfg);
	fake_write(&rig.pio, 0xcf9, 1, 6);
	assert_int_equal(fake_read(&rig.pio, 0xcf9, 1), 0xff);
	rig_destroy(&rig);
}

/* A window in the config space, as virtio's PCI cfg access capability is one. */
static uint32_t hook_value;
static unsigned hook_writes, hook_resets;

static bool hook_read(struct pci_device *dev, unsigned reg, unsigned size, uint32_t *value)
{
	(void)dev;
	if (reg != 0x90)
		return false;
	*value = hook_value + size;
	return true;
}

static void hook_write(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value)
{
	hook_writes++;
	if (reg == 0x90)
		hook_value = value;
	/* The values are already there when it is called. */
	if (reg == 0x94 && size == 4)
		assert_int_equal(dev->config[0x94], value & 0xff);
}

static void hook_reset(struct pci_device *dev)
{
	(void)dev;
	hook_resets++;
}

static void test_hooks(void **state)
{
	static const struct pci_device_ops ops = {
		.config_read = hook_read, .config_write = hook_write, .reset = hook_reset};
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	hook_writes = hook_resets = 0;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, &ops);
	pci_config_define(&dev, 0x94, 4, 0, UINT32_MAX);
	pci_host_add(&rig.host, 1, &dev, NULL);
	rig_write(&rig, 1, 0x90, 4, 0x1000);
	assert_int_equal(rig_read(&rig, 1, 0x90, 4), 0x1004);
	assert_int_equal(rig_read(&rig, 1, 0x90, 2), 0x1002);
	rig_write(&rig, 1, 0x94, 4, 0x77);
	assert_int_equal(rig_read(&rig, 1, 0x94, 4), 0x77);
	assert_int_equal(hook_writes, 2);
	rig_write(&rig, 1, 0x100, 4, 0); /* the extended space has no hooks */
	assert_int_equal(hook_writes, 2);
	pci_device_reset(&dev);
	assert_int_equal(hook_resets, 1);
	rig_destroy(&rig);
}

static void test_host_reset(void **state)
{
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	pci_host_add(&rig.host, 1, &dev, NULL);
	assert_int_equal(pci_host_assign(&rig.host, NULL), 0);
	/* Slot 1, INTA: the second line. */
	assert_int_equal(rig_read(&rig, 1, PCI_INTERRUPT_LINE, 1), LAYOUT_GSI_INTX + 1);
	rig_write(&rig, 1, PCI_COMMAND, 2, PCI_COMMAND_MASTER);
	fake_write(&rig.pio, CONF1, 4, conf1_addr(0, 1, 0, 0));
	fake_write(&rig.pio, 0xcf9, 1, 6);
	pci_host_reset(&rig.host);
	assert_int_equal(rig_read(&rig, 1, PCI_COMMAND, 2), 0);
	assert_int_equal(rig_read(&rig, 1, PCI_INTERRUPT_LINE, 1), 0);
	assert_int_equal(fake_read(&rig.pio, CONF1, 4), 0);
	assert_int_equal(fake_read(&rig.pio, 0xcf9, 1), 0);
	rig_destroy(&rig);
}

static void test_init_conflict(void **state)
{
	struct bus_region other = {.name = "other", .size = 4, .ops = &rig_bar_ops};
	struct pci_rig rig;
	struct pci_host_config cfg = rig_config(&rig);
	struct err err = {0};

	(void)state;
	bus_init(&rig.pio, BUS_PIO);
	bus_init(&rig.mmio, BUS_MMIO);
	fake_irq_init(&rig.irq, LAYOUT_KVM_IOAPIC_PINS);
	assert_int_equal(bus_add(&rig.pio, &other, CONF1 + 4), 0);
	assert_int_equal(pci_host_init(&rig.host, &cfg, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "host bridge"));
	bus_destroy(&rig.pio);
	bus_destroy(&rig.mmio);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bridge),      cmocka_unit_test(test_identity),
		cmocka_unit_test(test_masks),       cmocka_unit_test(test_status_w1c),
		cmocka_unit_test(test_bus_master),  cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_slots),       cmocka_unit_test(test_absent),
		cmocka_unit_test(test_ecam_widths), cmocka_unit_test(test_conf1),
		cmocka_unit_test(test_conf1_write), cmocka_unit_test(test_conf1_nobody),
		cmocka_unit_test(test_cf9),         cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_host_reset),  cmocka_unit_test(test_init_conflict),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
