/* SPDX-License-Identifier: BSD-2-Clause */
/* Virtio devices over PCI and memory-mapped registers (virtio 1.2, 4.1 and 4.2), modern only. */
#include "virtio.h"

#define PCI_VENDOR_VIRTIO 0x1af4
#define PCI_DEVICE_MODERN 0x1040 /* plus the device's type */
#define PCI_COMMAND       0x04
#define PCI_CAP_PTR       0x34
#define CMD_MEM_MASTER    0x6
#define CAP_VENDOR        0x09
#define CAP_MSIX          0x11
#define MSIX_ENABLE       0x8000

/* struct virtio_pci_cap (4.1.4) */
#define CAP_TYPE   3
#define CAP_BAR    4
#define CAP_OFFSET 8
#define CAP_SCALE  16
enum {
	CAP_COMMON = 1,
	CAP_NOTIFY = 2,
	CAP_DEVICE = 4,
	CAP_PCI = 5,
};

/* struct virtio_pci_common_cfg (4.1.4.3) */
#define C_DEVICE_SELECT 0x00
#define C_DEVICE        0x04
#define C_DRIVER_SELECT 0x08
#define C_DRIVER        0x0c
#define C_STATUS        0x14
#define C_QUEUE_SELECT  0x16
#define C_QUEUE_SIZE    0x18
#define C_QUEUE_MSIX    0x1a
#define C_QUEUE_ENABLE  0x1c
#define C_QUEUE_NOTIFY  0x1e
#define C_QUEUE_DESC    0x20
#define C_QUEUE_DRIVER  0x28
#define C_QUEUE_DEVICE  0x30

/* 4.2.2 */
#define M_MAGIC         0x000
#define M_VERSION       0x004
#define M_DEVICE_ID     0x008
#define M_DEVICE        0x010
#define M_DEVICE_SELECT 0x014
#define M_DRIVER        0x020
#define M_DRIVER_SELECT 0x024
#define M_QUEUE_SELECT  0x030
#define M_QUEUE_MAX     0x034
#define M_QUEUE_SIZE    0x038
#define M_QUEUE_READY   0x044
#define M_QUEUE_NOTIFY  0x050
#define M_STATUS        0x070
#define M_QUEUE_DESC    0x080
#define M_QUEUE_DRIVER  0x090
#define M_QUEUE_DEVICE  0x0a0
#define M_CONFIG        0x100
#define MAGIC           0x74726976

/* trivm has a device each page from here, QEMU's microvm one each 512 bytes from the same place. */
#define MMIO_STEP 0x200

#define ACKNOWLEDGE 1
#define DRIVER      2
#define FEATURES_OK 8
#define RESET_US    1000000

/* ---- finding ---- */

/* Where the structure that the capability at @at describes is in memory. */
static uint64_t cap_address(uint8_t devfn, unsigned at)
{
	struct pci_bar bar = pci_bar_probe(devfn, pci_read(devfn, at + CAP_BAR, 1));
	uint64_t addr = bar.base + pci_read(devfn, at + CAP_OFFSET, 4);

	map_page(addr);
	return addr;
}

static void capabilities(struct virtio_dev *d)
{
	unsigned at = pci_read(d->devfn, PCI_CAP_PTR, 1) & 0xfc, bound = 48;

	for (; at && bound--; at = pci_read(d->devfn, at + 1, 1) & 0xfc) {
		if (pci_read(d->devfn, at, 1) != CAP_VENDOR)
			continue;
		switch (pci_read(d->devfn, at + CAP_TYPE, 1)) {
		case CAP_COMMON:
			d->common = cap_address(d->devfn, at);
			break;
		case CAP_NOTIFY:
			d->notify = cap_address(d->devfn, at);
			d->notify_scale = pci_read(d->devfn, at + CAP_SCALE, 4);
			break;
		case CAP_DEVICE:
			d->config = cap_address(d->devfn, at);
			break;
		case CAP_PCI:
			d->window = at;
			break;
		}
	}
}

bool virtio_probe_pci(struct virtio_dev *d, uint8_t devfn)
{
	unsigned id = pci_read(devfn, 2, 2);

	*d = (struct virtio_dev){.devfn = devfn};
	if (pci_read(devfn, 0, 2) != PCI_VENDOR_VIRTIO || id <= PCI_DEVICE_MODERN)
		return false;
	d->type = (uint16_t)(id - PCI_DEVICE_MODERN);
	capabilities(d);
	pci_write(devfn, PCI_COMMAND, 2, CMD_MEM_MASTER);
	return d->common && d->notify;
}

bool virtio_probe_mmio(struct virtio_dev *d, uint64_t addr)
{
	*d = (struct virtio_dev){.mmio = true, .base = addr, .config = addr + M_CONFIG};
	if (read32(addr + M_MAGIC) != MAGIC || read32(addr + M_VERSION) != 2)
		return false;
	d->type = (uint16_t)read32(addr + M_DEVICE_ID);
	return d->type;
}

static bool find_pci(struct virtio_dev *d, uint16_t type)
{
	int devfn = pci_find(PCI_VENDOR_VIRTIO, (uint16_t)(PCI_DEVICE_MODERN + type));

	return devfn >= 0 && virtio_probe_pci(d, (uint8_t)devfn);
}

static bool find_mmio(struct virtio_dev *d, uint16_t type)
{
	uint64_t end = LAYOUT_VIRTIO_MMIO + LAYOUT_VIRTIO_MMIO_MAX * LAYOUT_VIRTIO_MMIO_STEP;

	for (uint64_t at = LAYOUT_VIRTIO_MMIO; at < end; at += MMIO_STEP)
		if (virtio_probe_mmio(d, at) && d->type == type)
			return true;
	return false;
}

bool virtio_find(struct virtio_dev *d, uint16_t type, enum virtio_where where)
{
	return (where != VIRTIO_MMIO && find_pci(d, type)) ||
	       (where != VIRTIO_PCI && find_mmio(d, type));
}

/* ---- status and features ---- */

uint8_t virtio_status(const struct virtio_dev *d)
{
	return d->mmio ? (uint8_t)read32(d->base + M_STATUS) : read8(d->common + C_STATUS);
}

static void set_status(const struct virtio_dev *d, uint8_t status)
{
	if (d->mmio)
		write32(d->base + M_STATUS, status);
	else
		write8(d->common + C_STATUS, status);
}

void virtio_reset(const struct virtio_dev *d)
{
	set_status(d, 0);
}

static uint32_t offered(const struct virtio_dev *d, uint32_t half)
{
	if (d->mmio) {
		write32(d->base + M_DEVICE_SELECT, half);
		return read32(d->base + M_DEVICE);
	}
	write32(d->common + C_DEVICE_SELECT, half);
	return read32(d->common + C_DEVICE);
}

static void accept(const struct virtio_dev *d, uint32_t half, uint32_t bits)
{
	if (d->mmio) {
		write32(d->base + M_DRIVER_SELECT, half);
		write32(d->base + M_DRIVER, bits);
	} else {
		write32(d->common + C_DRIVER_SELECT, half);
		write32(d->common + C_DRIVER, bits);
	}
}

bool virtio_negotiate(struct virtio_dev *d, uint64_t wanted)
{
	uint64_t start = 0;

	virtio_reset(d);
	while (virtio_status(d))
		if (timed_out(&start, RESET_US))
			return false;
	set_status(d, ACKNOWLEDGE);
	set_status(d, ACKNOWLEDGE | DRIVER);
	wanted |= VIRTIO_BIT(VIRTIO_F_VERSION_1);
	d->features = wanted & (offered(d, 0) | (uint64_t)offered(d, 1) << 32);
	accept(d, 0, (uint32_t)d->features);
	accept(d, 1, (uint32_t)(d->features >> 32));
	set_status(d, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	return d->features & VIRTIO_BIT(VIRTIO_F_VERSION_1) && virtio_status(d) & FEATURES_OK;
}

void virtio_driver_ok(struct virtio_dev *d)
{
	set_status(d, ACKNOWLEDGE | DRIVER | FEATURES_OK | VIRTIO_STATUS_DRIVER_OK);
}

/* Entry 0 of the table (PCI Local Bus 3.0, 6.8.2), for everything. */
bool virtio_interrupts(struct virtio_dev *d, uint8_t vector)
{
	unsigned cap = d->mmio ? 0 : pci_cap(d->devfn, CAP_MSIX);
	uint64_t table;
	uint32_t where;

	if (!cap)
		return false;
	where = pci_read(d->devfn, cap + 4, 4);
	table = pci_bar_probe(d->devfn, where & 7).base + (where & ~7u);
	map_page(table);
	write32(table, LAYOUT_LAPIC | apic_id() << 12);
	write32(table + 4, 0);
	write32(table + 8, vector);
	write32(table + 12, 0);
	pci_write(d->devfn, cap + 2, 2, MSIX_ENABLE);
	d->msix = true;
	return true;
}

/* ---- queues ---- */

/* A 64-bit register as two of 32: both transports want it so. */
static void write_address(uint64_t reg, const void *p)
{
	write32(reg, (uint32_t)(uint64_t)p);
	write32(reg + 4, (uint32_t)((uint64_t)p >> 32));
}

static uint16_t smaller(uint32_t a, uint32_t b)
{
	return (uint16_t)(a < b ? a : b);
}

static bool queue_mmio(struct virtio_dev *d, struct virtq *q, uint16_t index, uint16_t size)
{
	uint32_t max;

	write32(d->base + M_QUEUE_SELECT, index);
	max = read32(d->base + M_QUEUE_MAX);
	if (!max)
		return false;
	virtq_init(q, smaller(max, size), d->features);
	q->kick_at = d->base + M_QUEUE_NOTIFY;
	q->kick_wide = true;
	write32(d->base + M_QUEUE_SIZE, q->size);
	write_address(d->base + M_QUEUE_DESC, q->desc);
	write_address(d->base + M_QUEUE_DRIVER, q->driver);
	write_address(d->base + M_QUEUE_DEVICE, q->device);
	write32(d->base + M_QUEUE_READY, 1);
	return true;
}

static bool queue_pci(struct virtio_dev *d, struct virtq *q, uint16_t index, uint16_t size)
{
	uint16_t max;

	write16(d->common + C_QUEUE_SELECT, index);
	max = read16(d->common + C_QUEUE_SIZE);
	if (!max)
		return false;
	virtq_init(q, smaller(max, size), d->features);
	q->kick_at = d->notify + (uint64_t)read16(d->common + C_QUEUE_NOTIFY) * d->notify_scale;
	write16(d->common + C_QUEUE_SIZE, q->size);
	write_address(d->common + C_QUEUE_DESC, q->desc);
	write_address(d->common + C_QUEUE_DRIVER, q->driver);
	write_address(d->common + C_QUEUE_DEVICE, q->device);
	if (d->msix)
		write16(d->common + C_QUEUE_MSIX, 0);
	write16(d->common + C_QUEUE_ENABLE, 1);
	return true;
}

bool virtio_queue(struct virtio_dev *d, struct virtq *q, uint16_t index, uint16_t size)
{
	bool there = d->mmio ? queue_mmio(d, q, index, size) : queue_pci(d, q, index, size);

	q->index = index;
	return there;
}
