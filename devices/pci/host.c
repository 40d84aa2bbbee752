/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the bridge is reached in two ways that lead to the same config spaces. ECAM
 * (PCIe 7.2.2): one page of memory space a function, found by a kernel through ACPI's MCFG. And the
 * classic pair of ports (PCI 3.0, 3.2.2.3.2): an address at 0xCF8, by dword only, then data at
 * 0xCFC..0xCFF; an access of another width at 0xCF8 is not the bridge's, which matters because
 * 0xCF9 is the PC's reset control register and because a kernel's probe for the mechanism counts on
 * it.
 *
 * Config accesses are rare and tell a device what to be, so one lock for all of them is enough and
 * makes every device's view consistent. Accesses to BARs never come through here.
 *
 * The devices are conventional ones: no PCI Express capability. Linux takes a function without one
 * as conventional also behind ECAM and uses 256 bytes of it; the host bridge is asked for its
 * extended capabilities and answers "none" with zero. What Express would add - link, power and
 * error registers, extended capabilities - describes hardware that is not there. A device that
 * wants one (one passed through, with its own) adds the capability like any other.
 */
#include "devices/pci/pci.h"

#include <errno.h>
#include <string.h>

#include "devices/pci/pci_priv.h"
#include "vmm/util.h"

/* Intel's id for a host bridge that exists only in virtual machines; no driver binds to it. */
#define BRIDGE_VENDOR 0x8086
#define BRIDGE_DEVICE 0x0d57
#define BRIDGE_CLASS  0x060000

#define ECAM_SIZE        MIB(1) /* 256 functions, 4 KiB each */
#define ECAM_FUNCTION(o) ((unsigned)((o) >> 12))
#define ECAM_REG(o)      ((unsigned)((o)&0xfff))

#define CONF1_PORT 0xcf8
#define CONF1_SIZE 8
#define CONF1_DATA 4 /* offset of 0xCFC */
#define CONF1_CF9  1 /* offset of 0xCF9 */

#define CONF1_ENABLE      BIT(31)
#define CONF1_RESERVED    0x7f000000u
#define CONF1_BUS(a)      ((a) >> 16 & 0xff)
#define CONF1_FUNCTION(a) ((a) >> 8 & 0xff)
#define CONF1_REG(a)      ((a)&0xfc)

#define CF9_RESET_CPU BIT(2) /* its change from 0 to 1 resets; bit 1 says how hard */
#define CF9_WRITABLE  0x0eu

/* The device behind @function (slot and function number) of bus 0. host->lock is held. */
static struct pci_device *find(struct pci_host *host, unsigned function)
{
	return (function & 7) == 0 ? host->slots[function >> 3] : NULL;
}

/* Both mechanisms reach only what lies within one dword. */
static bool access_ok(unsigned reg, unsigned size)
{
	return size <= 4 && (reg & 3) + size <= 4;
}

static uint32_t function_read(struct pci_host *host, unsigned function, unsigned reg, unsigned size)
{
	struct pci_device *dev = find(host, function);

	if (!dev || !access_ok(reg, size))
		return UINT32_MAX;
	return pci_config_read(dev, reg, size);
}

static void function_write(struct pci_host *host, unsigned function, unsigned reg, unsigned size,
                           uint32_t value)
{
	struct pci_device *dev = find(host, function);

	if (dev && access_ok(reg, size))
		pci_config_write(dev, reg, size, value);
}

static uint64_t ecam_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_host *host = opaque;
	uint32_t value;

	/* PCIe has no config access of 8 bytes. */
	if (size > 4)
		return UINT64_MAX;
	pthread_mutex_lock(&host->lock);
	value = function_read(host, ECAM_FUNCTION(offset), ECAM_REG(offset), size);
	pthread_mutex_unlock(&host->lock);
	return value;
}

static void ecam_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = opaque;

	pthread_mutex_lock(&host->lock);
	function_write(host, ECAM_FUNCTION(offset), ECAM_REG(offset), size, (uint32_t)value);
	pthread_mutex_unlock(&host->lock);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

/* Does 0xCF8 name a function of ours now? Not with reserved bits: their meaning is not known. */
static bool conf1_selected(const struct pci_host *host)
{
	uint32_t addr = host->conf1_addr;

	return (addr & CONF1_ENABLE) && !(addr & CONF1_RESERVED) && CONF1_BUS(addr) == 0;
}

static uint64_t conf1_read(void *opaque, uint64_t offset, unsigned size)
{
	struct pci_host *host = opaque;
	uint32_t value = UINT32_MAX;

	pthread_mutex_lock(&host->lock);
	if (offset >= CONF1_DATA && conf1_selected(host))
		value = function_read(host, CONF1_FUNCTION(host->conf1_addr),
		                      CONF1_REG(host->conf1_addr) + (unsigned)(offset - CONF1_DATA),
		                      size);
	else if (offset == 0 && size == 4)
		value = host->conf1_addr;
	else if (offset == CONF1_CF9 && size == 1 && host->cfg.events)
		value = host->reset_control;
	pthread_mutex_unlock(&host->lock);
	return value;
}

static void conf1_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct pci_host *host = opaque;
	bool reset = false;

	pthread_mutex_lock(&host->lock);
	if (offset >= CONF1_DATA && conf1_selected(host)) {
		function_write(host, CONF1_FUNCTION(host->conf1_addr),
		               CONF1_REG(host->conf1_addr) + (unsigned)(offset - CONF1_DATA), size,
		               (uint32_t)value);
	} else if (offset == 0 && size == 4) {
		host->conf1_addr = (uint32_t)value & ~3u;
	} else if (offset == CONF1_CF9 && size == 1 && host->cfg.events) {
		reset = (value & CF9_RESET_CPU) && !(host->reset_control & CF9_RESET_CPU);
		host->reset_control = (uint8_t)(value & CF9_WRITABLE);
	}
	pthread_mutex_unlock(&host->lock);
	/* Outside of the lock: what the machine does about it may come back to reset the bus. */
	if (reset)
		guest_event_raise(host->cfg.events, GUEST_RESET);
}

static const struct bus_ops conf1_ops = {.read = conf1_read, .write = conf1_write};

static void attach(struct pci_host *host, unsigned slot, struct pci_device *dev)
{
	unsigned pin = dev->config[PCI_INTERRUPT_PIN];

	dev->host = host;
	dev->slot = slot;
	if (pin)
		pci_intx_connect(&dev->intx, &host->intx, pci_intx_index(slot, pin));
	host->slots[slot] = dev;
}

int pci_host_init(struct pci_host *host, const struct pci_host_config *cfg, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = BRIDGE_VENDOR, .device = BRIDGE_DEVICE, .class_code = BRIDGE_CLASS};
	int rc;

	memset(host, 0, sizeof(*host));
	host->cfg = *cfg;
	pthread_mutex_init(&host->lock, NULL);
	pci_intx_init(&host->intx, cfg->irq, cfg->intx_gsi);
	host->ecam = (struct bus_region){
		.name = "PCI ECAM", .size = ECAM_SIZE, .ops = &ecam_ops, .opaque = host};
	host->conf1 = (struct bus_region){
		.name = "PCI config ports", .size = CONF1_SIZE, .ops = &conf1_ops, .opaque = host};
	rc = bus_add(cfg->mmio, &host->ecam, cfg->ecam);
	if (rc == 0)
		rc = bus_add(cfg->pio, &host->conf1, CONF1_PORT);
	if (rc < 0) {
		pci_host_destroy(host);
		return err_errno(err, rc, "PCI host bridge: registers at 0x%llx and port 0x%x",
		                 (unsigned long long)cfg->ecam, CONF1_PORT);
	}
	pci_device_init(&host->bridge, "PCI host bridge", &ids, NULL);
	attach(host, 0, &host->bridge);
	return 0;
}

void pci_host_destroy(struct pci_host *host)
{
	pci_intx_destroy(&host->intx);
	pthread_mutex_destroy(&host->lock);
}

static int choose_slot(const struct pci_host *host, int slot, const char *name, struct err *err)
{
	if (slot == -1) {
		for (slot = 1; slot < PCI_SLOTS; slot++)
			if (!host->slots[slot])
				return slot;
		return err_set(err, -ENOSPC, "PCI device %s: all %d slots are taken", name,
		               PCI_SLOTS - 1);
	}
	if (slot < 1 || slot >= PCI_SLOTS)
		return err_set(err, -EINVAL, "PCI device %s: slot %d is not one of 1 to %d", name,
		               slot, PCI_SLOTS - 1);
	if (host->slots[slot])
		return err_set(err, -EEXIST, "PCI device %s: slot %d is taken by %s", name, slot,
		               host->slots[slot]->name);
	return slot;
}

int pci_host_add(struct pci_host *host, int slot, struct pci_device *dev, struct err *err)
{
	if (dev->host)
		return err_set(err, -EBUSY, "PCI device %s is on the bus already", dev->name);
	slot = choose_slot(host, slot, dev->name, err);
	if (slot < 0)
		return slot;
	pthread_mutex_lock(&host->lock);
	attach(host, (unsigned)slot, dev);
	pthread_mutex_unlock(&host->lock);
	for (unsigned n = 0; n < PCI_BARS; n++) {
		int rc;

		if (dev->bars[n].region.size == 0)
			continue;
		rc = bus_add(pci_bar_bus(dev, n), &dev->bars[n].region, BUS_UNMAPPED);
		if (rc < 0)
			return err_errno(err, rc, "PCI device %s: BAR %u", dev->name, n);
	}
	return 0;
}

int pci_host_assign(struct pci_host *host, struct err *err)
{
	int rc;

	pthread_mutex_lock(&host->lock);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *dev = host->slots[slot];

		/* For systems that route by this register (acpi=off); the others do not look. */
		if (dev && dev->intx.intx)
			pci_config_put(dev, PCI_INTERRUPT_LINE, 1, host->intx.gsi[dev->intx.line]);
	}
	rc = pci_bars_assign(host, err);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (host->slots[slot])
			pci_bars_update(host->slots[slot]);
	pthread_mutex_unlock(&host->lock);
	return rc;
}

void pci_device_reset(struct pci_device *dev)
{
	pthread_mutex_lock(&dev->host->lock);
	pci_config_reset(dev);
	pthread_mutex_unlock(&dev->host->lock);
}

void pci_host_reset(struct pci_host *host)
{
	pthread_mutex_lock(&host->lock);
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++)
		if (host->slots[slot])
			pci_config_reset(host->slots[slot]);
	host->conf1_addr = 0;
	host->reset_control = 0;
	pthread_mutex_unlock(&host->lock);
}
