/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a BAR's register holds its type in read-only low bits, zeroes up to its
 * size, and writable bits above. Sizing (write all ones, read back what stuck) thus needs no code:
 * it is what the masks do. The address bits are the only state; the bus region is derived from them
 * and from the command register, and while the guest is half-way through a change (one half of a
 * 64-bit address, all ones) the result is simply some other address.
 *
 * Any address is possible, so the bridge's windows decide: a BAR that is not inside one is not
 * decoded. It then never shadows RAM, the local APIC or another fixed device, and its ioeventfds,
 * which KVM looks at before any device of ours is asked, cannot be laid over another's registers.
 * Two BARs over each other inside a window are the guest's own affair: the one added first answers.
 */
#include "devices/pci/pci.h"

#include <errno.h>

#include "devices/pci/pci_priv.h"
#include "vmm/util.h"

static unsigned bar_reg(unsigned n)
{
	return PCI_BASE_ADDRESS_0 + 4 * n;
}

static bool is_io(const struct pci_bar *bar)
{
	return bar->type == PCI_BAR_IO;
}

static bool is_64(const struct pci_bar *bar)
{
	return !is_io(bar) && (bar->type & PCI_BASE_ADDRESS_MEM_TYPE_64);
}

static uint32_t address_mask(const struct pci_bar *bar)
{
	return is_io(bar) ? (uint32_t)PCI_BASE_ADDRESS_IO_MASK
	                  : (uint32_t)PCI_BASE_ADDRESS_MEM_MASK;
}

static bool size_possible(enum pci_bar_type type, uint64_t size)
{
	if (size == 0 || (size & (size - 1)))
		return false;
	if (type == PCI_BAR_IO)
		return size >= 4 && size <= 256; /* PCI 3.0, 6.2.5.1 */
	if (type & PCI_BASE_ADDRESS_MEM_TYPE_64)
		return size >= 16 && size <= BIT64(62);
	return size >= 16 && size <= BIT64(31);
}

static bool is_free(const struct pci_device *dev, unsigned n)
{
	return n < PCI_BARS && dev->bars[n].region.size == 0 && !dev->bars[n].upper_half;
}

int pci_bar_init(struct pci_device *dev, unsigned n, enum pci_bar_type type, uint64_t size,
                 const struct bus_ops *ops, void *opaque)
{
	bool wide = type == PCI_BAR_MEM64 || type == PCI_BAR_MEM64_PREFETCH;
	uint16_t decode = type == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	struct pci_bar *bar;

	if (dev->host)
		return -EBUSY;
	if (!size_possible(type, size) || !is_free(dev, n) || (wide && !is_free(dev, n + 1)))
		return -EINVAL;
	bar = &dev->bars[n];
	bar->type = type;
	bar->region.name = dev->name;
	bar->region.size = size;
	bar->region.ops = ops;
	bar->region.opaque = opaque;
	bar->region.base = BUS_UNMAPPED;

	pci_config_define(dev, bar_reg(n), 4, type, (uint32_t) ~(size - 1) & address_mask(bar));
	if (wide) {
		dev->bars[n + 1].upper_half = true;
		pci_config_define(dev, bar_reg(n + 1), 4, 0, (uint32_t)(~(size - 1) >> 32));
	}
	dev->writable[PCI_COMMAND] |= (uint8_t)decode;
	return 0;
}

struct bus *pci_bar_bus(const struct pci_device *dev, unsigned n)
{
	return is_io(&dev->bars[n]) ? dev->host->cfg.pio : dev->host->cfg.mmio;
}

static uint64_t bar_address(const struct pci_device *dev, unsigned n)
{
	const struct pci_bar *bar = &dev->bars[n];
	uint64_t addr = pci_config_get(dev, bar_reg(n), 4) & address_mask(bar);

	if (is_64(bar))
		addr |= (uint64_t)pci_config_get(dev, bar_reg(n + 1), 4) << 32;
	return addr;
}

void pci_bar_set_address(struct pci_device *dev, unsigned n, uint64_t addr)
{
	const struct pci_bar *bar = &dev->bars[n];

	pci_config_put(dev, bar_reg(n), 4, (uint32_t)addr | bar->type);
	if (is_64(bar))
		pci_config_put(dev, bar_reg(n + 1), 4, (uint32_t)(addr >> 32));
}

static bool inside(const struct pci_window *w, uint64_t addr, uint64_t size)
{
	uint64_t offset = addr - w->base; /* huge below the window */

	return offset < w->size && size <= w->size - offset;
}

/* Where BAR @n is to answer now, or BUS_UNMAPPED. */
static uint64_t bar_target(const struct pci_device *dev, unsigned n, unsigned command)
{
	const struct pci_host_config *cfg = &dev->host->cfg;
	const struct pci_bar *bar = &dev->bars[n];
	uint64_t addr = bar_address(dev, n);
	bool ok;

	if (is_io(bar))
		ok = (command & PCI_COMMAND_IO) && inside(&cfg->io, addr, bar->region.size);
	else
		ok = (command & PCI_COMMAND_MEMORY) &&
		     (inside(&cfg->mem32, addr, bar->region.size) ||
		      inside(&cfg->mem64, addr, bar->region.size));
	return ok ? addr : BUS_UNMAPPED;
}

void pci_bars_update(struct pci_device *dev)
{
	unsigned command = pci_config_get(dev, PCI_COMMAND, 2);

	for (unsigned n = 0; n < PCI_BARS; n++) {
		struct bus_region *region = &dev->bars[n].region;
		uint64_t target;

		if (region->size == 0)
			continue;
		target = bar_target(dev, n, command);
		if (target == bus_region_base(region))
			continue;
		bus_move(pci_bar_bus(dev, n), region, target);
		if (dev->ops && dev->ops->bar_moved)
			dev->ops->bar_moved(dev, n, target);
	}
}

/* The region of BAR @bar if an access of @size at @offset is one that it may see. */
static struct bus_region *bar_access(struct pci_device *dev, unsigned bar, uint64_t offset,
                                     unsigned size)
{
	struct bus_region *region;

	if (bar >= PCI_BARS || (size != 1 && size != 2 && size != 4) || offset % size)
		return NULL;
	region = &dev->bars[bar].region;
	if (offset >= region->size || size > region->size - offset)
		return NULL;
	return region;
}

bool pci_bar_read(struct pci_device *dev, unsigned bar, uint64_t offset, unsigned size,
                  uint32_t *value)
{
	struct bus_region *region = bar_access(dev, bar, offset, size);

	if (!region)
		return false;
	*value = (uint32_t)region->ops->read(region->opaque, offset, size);
	return true;
}

bool pci_bar_write(struct pci_device *dev, unsigned bar, uint64_t offset, unsigned size,
                   uint32_t value)
{
	struct bus_region *region = bar_access(dev, bar, offset, size);

	if (!region)
		return false;
	region->ops->write(region->opaque, offset, size, value);
	return true;
}

/* What is left of a window while BARs are being placed. */
struct cursor {
	uint64_t next, end;
};

static bool take(struct cursor *c, uint64_t size, uint64_t *addr)
{
	uint64_t at;

	if (c->next > UINT64_MAX - size)
		return false;
	at = align_up(c->next, size);
	if (at >= c->end || size > c->end - at)
		return false;
	c->next = at + size;
	*addr = at;
	return true;
}

struct cursors {
	struct cursor io, mem32, mem64;
};

static struct cursor cursor_of(const struct pci_window *w)
{
	return (struct cursor){.next = w->base, .end = w->base + w->size};
}

static int bar_place(struct pci_device *dev, unsigned n, struct cursors *c, struct err *err)
{
	const struct pci_bar *bar = &dev->bars[n];
	uint64_t size = bar->region.size, addr;

	if (!take(is_io(bar) ? &c->io : &c->mem32, size, &addr) &&
	    !(is_64(bar) && take(&c->mem64, size, &addr)))
		return err_set(
			err, -ENOSPC,
			"PCI device %s in slot %u: no room for BAR %u of %llu bytes; use fewer "
			"devices",
			dev->name, dev->slot, n, (unsigned long long)size);
	pci_bar_set_address(dev, n, addr);
	return 0;
}

/* All BARs of exactly @size. */
static int place_size(struct pci_host *host, uint64_t size, bool wide, struct cursors *c,
                      struct err *err)
{
	for (unsigned slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_device *dev = host->slots[slot];

		for (unsigned n = 0; dev && n < PCI_BARS; n++) {
			int rc;

			if (dev->bars[n].region.size != size || is_64(&dev->bars[n]) != wide)
				continue;
			rc = bar_place(dev, n, c, err);
			if (rc < 0)
				return rc;
		}
	}
	return 0;
}

/*
 * From the biggest to the smallest, so that alignment wastes nothing; those that have nowhere else
 * to go before the 64-bit ones.
 */
int pci_bars_assign(struct pci_host *host, struct err *err)
{
	struct cursors c = {
		.io = cursor_of(&host->cfg.io),
		.mem32 = cursor_of(&host->cfg.mem32),
		.mem64 = cursor_of(&host->cfg.mem64),
	};

	for (int wide = 0; wide <= 1; wide++) {
		for (uint64_t size = BIT64(62); size; size >>= 1) {
			int rc = place_size(host, size, wide, &c, err);

			if (rc < 0)
				return rc;
		}
	}
	return 0;
}
