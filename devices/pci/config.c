/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a config space is four parallel arrays of 256 bytes: the values, which bits
 * a write may change, which bits a written one clears, and the values after reset. A write is
 * applied byte by byte through the masks, so its width and place do not matter and a read-only bit
 * stays. What the new values mean (decoding, bus mastering, INTx, MSI-X) is then derived from the
 * arrays as a whole, after every write; each consumer does nothing if nothing changed for it.
 *
 * The one bit that is not in the arrays is "interrupt status": it belongs to the INTx line.
 */
#include "devices/pci/pci.h"

#include <errno.h>
#include <string.h>

#include "devices/pci/msix.h"
#include "devices/pci/pci_priv.h"
#include "vmm/util.h"

#define CAP_START PCI_STD_HEADER_SIZEOF /* 0x40: after the standard header */

/* Error bits that a guest clears by writing ones. Nothing here ever sets them. */
#define STATUS_W1C                                                                       \
	(PCI_STATUS_PARITY | PCI_STATUS_SIG_TARGET_ABORT | PCI_STATUS_REC_TARGET_ABORT | \
	 PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_SIG_SYSTEM_ERROR | PCI_STATUS_DETECTED_PARITY)

static void store(uint8_t *array, unsigned reg, unsigned size, uint32_t value)
{
	for (unsigned i = 0; i < size && reg + i < PCI_CONFIG_SIZE; i++)
		array[reg + i] = (uint8_t)(value >> 8 * i);
}

void pci_config_define(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value,
                       uint32_t writable)
{
	store(dev->config, reg, size, value);
	store(dev->after_reset, reg, size, value);
	store(dev->writable, reg, size, writable);
}

void pci_config_define_w1c(struct pci_device *dev, unsigned reg, unsigned size, uint32_t mask)
{
	store(dev->w1c, reg, size, mask);
}

void pci_device_init(struct pci_device *dev, const char *name, const struct pci_ids *ids,
                     const struct pci_device_ops *ops)
{
	memset(dev, 0, sizeof(*dev));
	dev->name = name;
	dev->ops = ops;
	dev->next_cap = CAP_START;
	for (unsigned n = 0; n < PCI_BARS; n++)
		dev->bars[n].region.base = BUS_UNMAPPED;

	pci_config_define(dev, PCI_VENDOR_ID, 2, ids->vendor, 0);
	pci_config_define(dev, PCI_DEVICE_ID, 2, ids->device, 0);
	/* pci_bar_init() makes the decode bits writable: without such a BAR they mean nothing. */
	pci_config_define(dev, PCI_COMMAND, 2, 0, PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	pci_config_define(dev, PCI_STATUS, 2, 0, 0);
	pci_config_define_w1c(dev, PCI_STATUS, 2, STATUS_W1C);
	pci_config_define(dev, PCI_REVISION_ID, 1, ids->revision, 0);
	pci_config_define(dev, PCI_CLASS_PROG, 1, ids->class_code & 0xff, 0);
	pci_config_define(dev, PCI_CLASS_DEVICE, 2, ids->class_code >> 8, 0);
	/* These two mean nothing here, but systems set them and read them back. */
	pci_config_define(dev, PCI_CACHE_LINE_SIZE, 1, 0, 0xff);
	pci_config_define(dev, PCI_LATENCY_TIMER, 1, 0, 0xff);
	pci_config_define(dev, PCI_SUBSYSTEM_VENDOR_ID, 2, ids->subsystem_vendor, 0);
	pci_config_define(dev, PCI_SUBSYSTEM_ID, 2, ids->subsystem, 0);
	pci_config_define(dev, PCI_INTERRUPT_LINE, 1, 0, 0xff);
	pci_config_define(dev, PCI_INTERRUPT_PIN, 1, ids->pin, 0);
}

int pci_add_capability(struct pci_device *dev, uint8_t id, unsigned len, uint8_t *offset)
{
	unsigned at = dev->next_cap;

	if (dev->host)
		return -EBUSY;
	/* next_cap 0: the last one ended exactly at the end. */
	if (len < PCI_CAP_SIZEOF || at < CAP_START || len > PCI_CONFIG_SIZE - at)
		return -ENOSPC;
	pci_config_define(dev, at + PCI_CAP_LIST_ID, 1, id, 0);
	pci_config_define(dev, at + PCI_CAP_LIST_NEXT, 1, 0, 0);
	if (dev->last_cap)
		pci_config_define(dev, dev->last_cap + PCI_CAP_LIST_NEXT, 1, at, 0);
	else
		pci_config_define(dev, PCI_CAPABILITY_LIST, 1, at, 0);
	pci_config_define(dev, PCI_STATUS, 2, PCI_STATUS_CAP_LIST, 0);
	dev->last_cap = (uint8_t)at;
	dev->next_cap = (uint8_t)align_up(at + len, 4);
	*offset = (uint8_t)at;
	return 0;
}

uint32_t pci_config_get(const struct pci_device *dev, unsigned reg, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size && reg + i < PCI_CONFIG_SIZE; i++)
		value |= (uint32_t)dev->config[reg + i] << 8 * i;
	return value;
}

void pci_config_put(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value)
{
	store(dev->config, reg, size, value);
}

/* Everything that depends on config bits. host->lock is held. */
static void settings_changed(struct pci_device *dev)
{
	unsigned command = pci_config_get(dev, PCI_COMMAND, 2);
	bool master = command & PCI_COMMAND_MASTER;
	bool msix_on = false;

	/* Pairs with pci_bus_master(): who sees the bit also sees what the driver set up before. */
	atomic_store_explicit(&dev->bus_master, master, memory_order_release);
	pci_bars_update(dev);
	if (dev->msix) {
		unsigned flags = pci_config_get(dev, dev->msix->cap + PCI_MSIX_FLAGS, 2);

		msix_on = flags & PCI_MSIX_FLAGS_ENABLE;
		msix_configure(dev->msix, msix_on, flags & PCI_MSIX_FLAGS_MASKALL, master);
	}
	/* With MSI-X enabled a function must not use its pin (PCI 3.0, 6.8.2.3). */
	pci_intx_block(&dev->intx, (command & PCI_COMMAND_INTX_DISABLE) || msix_on);
}

uint32_t pci_config_read(struct pci_device *dev, unsigned reg, unsigned size)
{
	uint32_t value;

	/* No extended capability: the list's first header, and all else, is 0 (PCIe 7.9.2). */
	if (reg >= PCI_CONFIG_SIZE)
		return 0;
	if (dev->ops && dev->ops->config_read && dev->ops->config_read(dev, reg, size, &value))
		return value;
	value = pci_config_get(dev, reg, size);
	if (reg <= PCI_STATUS && reg + size > PCI_STATUS && pci_intx_level(&dev->intx))
		value |= (uint32_t)PCI_STATUS_INTERRUPT << 8 * (PCI_STATUS - reg);
	return value;
}

void pci_config_write(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value)
{
	if (reg >= PCI_CONFIG_SIZE)
		return;
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = (uint8_t)(value >> 8 * i);
		uint8_t writable = dev->writable[reg + i];
		uint8_t *config = &dev->config[reg + i];

		*config = (uint8_t)((*config & ~writable) | (byte & writable));
		*config &= (uint8_t) ~(byte & dev->w1c[reg + i]);
	}
	settings_changed(dev);
	if (dev->ops && dev->ops->config_write)
		dev->ops->config_write(dev, reg, size, value);
}

void pci_config_reset(struct pci_device *dev)
{
	if (dev->ops && dev->ops->reset)
		dev->ops->reset(dev);
	memcpy(dev->config, dev->after_reset, sizeof(dev->config));
	settings_changed(dev);
	if (dev->msix)
		msix_reset(dev->msix);
	pci_intx_set(&dev->intx, false);
}
