/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration space of bus 0, by configuration mechanism 1 (PCI Local Bus 3.0, 3.2.2.3.2). */
#include "bm.h"

#define CONF1_ENABLE   0x80000000u
#define PCI_COMMAND    0x04
#define PCI_STATUS     0x06
#define PCI_BAR0       0x10
#define PCI_CAP_PTR    0x34
#define STATUS_CAPS    0x10
#define COMMAND_DECODE 0x3
#define BAR_IO         0x1
#define BAR_64         0x4
#define BAR_PREFETCH   0x8

static void conf1_select(uint8_t devfn, unsigned reg)
{
	outl(LAYOUT_PCI_CONF1, CONF1_ENABLE | (uint32_t)devfn << 8 | (reg & 0xfc));
}

uint32_t pci_read(uint8_t devfn, unsigned reg, unsigned size)
{
	uint16_t port = (uint16_t)(LAYOUT_PCI_CONF1 + 4 + (reg & 3));

	conf1_select(devfn, reg);
	return size == 1 ? inb(port) : size == 2 ? inw(port) : inl(port);
}

void pci_write(uint8_t devfn, unsigned reg, unsigned size, uint32_t v)
{
	uint16_t port = (uint16_t)(LAYOUT_PCI_CONF1 + 4 + (reg & 3));

	conf1_select(devfn, reg);
	if (size == 1)
		outb(port, (uint8_t)v);
	else if (size == 2)
		outw(port, (uint16_t)v);
	else
		outl(port, v);
}

int pci_find(uint16_t vendor, uint16_t device)
{
	for (unsigned devfn = 0; devfn < 256; devfn++)
		if (pci_read((uint8_t)devfn, 0, 4) == ((uint32_t)device << 16 | vendor))
			return (int)devfn;
	return -1;
}

unsigned pci_cap(uint8_t devfn, uint8_t id)
{
	unsigned at, bound = 48;

	if (!(pci_read(devfn, PCI_STATUS, 2) & STATUS_CAPS))
		return 0;
	at = pci_read(devfn, PCI_CAP_PTR, 1) & 0xfc;
	while (at && bound--) {
		if (pci_read(devfn, at, 1) == id)
			return at;
		at = pci_read(devfn, at + 1, 1) & 0xfc;
	}
	return 0;
}

void pci_bar_set(uint8_t devfn, unsigned index, uint64_t base)
{
	unsigned reg = PCI_BAR0 + index * 4;
	uint32_t flags = pci_read(devfn, reg, 4);

	pci_write(devfn, reg, 4, (uint32_t)base);
	if (!(flags & BAR_IO) && flags & BAR_64)
		pci_write(devfn, reg + 4, 4, (uint32_t)(base >> 32));
}

struct pci_bar pci_bar_probe(uint8_t devfn, unsigned index)
{
	unsigned reg = PCI_BAR0 + index * 4;
	uint32_t command = pci_read(devfn, PCI_COMMAND, 2);
	uint32_t low = pci_read(devfn, reg, 4), high = 0, mask_low, mask_high = UINT32_MAX;
	struct pci_bar bar = {.io = low & BAR_IO};
	uint64_t mask;

	bar.is64 = !bar.io && low & BAR_64;
	bar.prefetch = !bar.io && low & BAR_PREFETCH;
	pci_write(devfn, PCI_COMMAND, 2, command & ~COMMAND_DECODE);
	pci_write(devfn, reg, 4, UINT32_MAX);
	mask_low = pci_read(devfn, reg, 4);
	pci_write(devfn, reg, 4, low);
	if (bar.is64) {
		high = pci_read(devfn, reg + 4, 4);
		pci_write(devfn, reg + 4, 4, UINT32_MAX);
		mask_high = pci_read(devfn, reg + 4, 4);
		pci_write(devfn, reg + 4, 4, high);
	}
	pci_write(devfn, PCI_COMMAND, 2, command);
	bar.present = mask_low;
	mask_low &= bar.io ? ~0x3u : ~0xfu;
	mask = (uint64_t)mask_high << 32 | mask_low;
	if (bar.io) /* the upper 16 bits of an I/O BAR may be hardwired to 0 */
		mask |= 0xffffffffffff0000ul;
	bar.size = bar.present ? -mask : 0;
	bar.base = ((uint64_t)high << 32 | low) & mask;
	return bar;
}
