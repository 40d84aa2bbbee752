/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: see the registers in testdev.h. Every access takes the device's lock; the
 * kernel's short ways (doorbell ioeventfd, signal irqfds) do not come here at all. The doorbell's
 * eventfd is read only when the guest asks for the count: it needs no thread to count.
 */
#include "devices/pci/testdev.h"

#include <errno.h>
#include <string.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define REGS_SIZE KIB(4)
#define IO_SIZE   64

/* BAR numbers. */
enum {
	BAR_REGS = 0,
	BAR_IO = 1,
	BAR_RAM = 2,
	BAR_MSIX = 4
};

static uint32_t reg_read(struct testdev *dev, uint64_t reg)
{
	switch (reg) {
	case TESTDEV_ID:
		return TESTDEV_ID_VALUE;
	case TESTDEV_SCRATCH:
		return dev->scratch;
	case TESTDEV_INTX:
		return dev->intx;
	case TESTDEV_DOORBELLS:
		dev->doorbells += (uint32_t)fd_drain(dev->doorbell_fd);
		return dev->doorbells;
	case TESTDEV_DOORBELL_EXITS:
		return dev->doorbell_exits;
	default:
		return 0;
	}
}

static void reg_write(struct testdev *dev, uint64_t reg, uint32_t value)
{
	switch (reg) {
	case TESTDEV_SCRATCH:
		dev->scratch = value;
		break;
	case TESTDEV_NOTIFY:
		msix_notify(&dev->msix, value);
		break;
	case TESTDEV_SIGNAL:
		if (value < TESTDEV_VECTORS)
			fd_signal(dev->signal_fd[value]);
		break;
	case TESTDEV_INTX:
		dev->intx = value & 1;
		pci_set_intx(&dev->pci, dev->intx);
		break;
	case TESTDEV_DOORBELLS:
		fd_drain(dev->doorbell_fd);
		dev->doorbells = dev->doorbell_exits = 0;
		break;
	default:
		break;
	}
}

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned size)
{
	struct testdev *dev = opaque;
	uint32_t value;

	if (size != 4 || offset % 4)
		return UINT64_MAX;
	pthread_mutex_lock(&dev->lock);
	value = reg_read(dev, offset);
	pthread_mutex_unlock(&dev->lock);
	return value;
}

static void regs_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct testdev *dev = opaque;

	pthread_mutex_lock(&dev->lock);
	if (offset == TESTDEV_DOORBELL)
		dev->doorbell_exits++;
	else if (size == 4 && offset % 4 == 0)
		reg_write(dev, offset, (uint32_t)value);
	pthread_mutex_unlock(&dev->lock);
}

static const struct bus_ops regs_ops = {.read = regs_read, .write = regs_write};

static uint64_t ram_read(void *opaque, uint64_t offset, unsigned size)
{
	struct testdev *dev = opaque;
	uint64_t value = 0;

	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)dev->ram[(offset + i) % TESTDEV_RAM] << 8 * i;
	pthread_mutex_unlock(&dev->lock);
	return value;
}

static void ram_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct testdev *dev = opaque;

	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < size; i++)
		dev->ram[(offset + i) % TESTDEV_RAM] = (uint8_t)(value >> 8 * i);
	pthread_mutex_unlock(&dev->lock);
}

static const struct bus_ops ram_ops = {.read = ram_read, .write = ram_write};

static void reset(struct pci_device *pci)
{
	struct testdev *dev = container_of(pci, struct testdev, pci);

	pthread_mutex_lock(&dev->lock);
	fd_drain(dev->doorbell_fd);
	dev->scratch = dev->intx = dev->doorbells = dev->doorbell_exits = 0;
	memset(dev->ram, 0, sizeof(dev->ram));
	pthread_mutex_unlock(&dev->lock);
}

static const struct pci_device_ops testdev_ops = {.reset = reset};

static int add_bars(struct testdev *dev, const struct testdev_config *cfg)
{
	uint64_t ram_size = cfg->prefetch_size ? cfg->prefetch_size : TESTDEV_RAM;
	int rc;

	if (ram_size < TESTDEV_RAM)
		return -EINVAL;
	rc = pci_bar_init(&dev->pci, BAR_REGS, PCI_BAR_MEM32, REGS_SIZE, &regs_ops, dev);
	if (rc == 0)
		rc = pci_bar_init(&dev->pci, BAR_IO, PCI_BAR_IO, IO_SIZE, &regs_ops, dev);
	if (rc == 0)
		rc = pci_bar_init(&dev->pci, BAR_RAM, PCI_BAR_MEM64_PREFETCH, ram_size, &ram_ops,
		                  dev);
	if (rc == 0)
		rc = msix_init(&dev->msix, &dev->pci, BAR_MSIX, TESTDEV_VECTORS, cfg->irq);
	return rc;
}

/* The eventfds behind SIGNAL. */
static int add_signals(struct testdev *dev)
{
	for (unsigned i = 0; i < TESTDEV_VECTORS; i++) {
		int rc = fd_eventfd();

		if (rc < 0)
			return rc;
		dev->signal_fd[i] = rc;
		rc = msix_irqfd_attach(&dev->msix, &dev->signal[i], i, dev->signal_fd[i]);
		if (rc < 0)
			return rc;
	}
	return 0;
}

static int add_doorbell(struct testdev *dev, struct bus *bus, unsigned bar)
{
	struct bus_eventfd e = {
		.region = &dev->pci.bars[bar].region,
		.offset = TESTDEV_DOORBELL,
		.size = 4,
		.fd = dev->doorbell_fd,
	};
	int rc = bus_eventfd_add(bus, &e);

	return rc == -EOPNOTSUPP ? 0 : rc;
}

static int add_doorbells(struct testdev *dev)
{
	int rc = fd_eventfd();

	if (rc < 0)
		return rc;
	dev->doorbell_fd = rc;
	rc = add_doorbell(dev, dev->mmio, BAR_REGS);
	return rc < 0 ? rc : add_doorbell(dev, dev->pio, BAR_IO);
}

int testdev_init(struct testdev *dev, const struct testdev_config *cfg, struct err *err)
{
	static const struct pci_ids ids = {
		.vendor = TESTDEV_VENDOR,
		.device = TESTDEV_DEVICE,
		.subsystem_vendor = TESTDEV_VENDOR,
		.subsystem = TESTDEV_DEVICE,
		.class_code = TESTDEV_CLASS,
		.pin = 1,
	};
	int rc;

	memset(dev, 0, sizeof(*dev));
	dev->pio = cfg->pio;
	dev->mmio = cfg->mmio;
	dev->doorbell_fd = -1;
	for (unsigned i = 0; i < TESTDEV_VECTORS; i++)
		dev->signal_fd[i] = -1;
	pthread_mutex_init(&dev->lock, NULL);
	pci_device_init(&dev->pci, "test-device", &ids, &testdev_ops);
	rc = add_bars(dev, cfg);
	if (rc == 0)
		rc = add_signals(dev);
	if (rc == 0)
		rc = add_doorbells(dev);
	if (rc < 0) {
		testdev_destroy(dev);
		return err_errno(err, rc, "test device");
	}
	return 0;
}

void testdev_destroy(struct testdev *dev)
{
	if (dev->doorbell_fd >= 0) {
		bus_eventfd_remove(dev->mmio, &dev->pci.bars[BAR_REGS].region, dev->doorbell_fd);
		bus_eventfd_remove(dev->pio, &dev->pci.bars[BAR_IO].region, dev->doorbell_fd);
	}
	msix_destroy(&dev->msix);
	for (unsigned i = 0; i < TESTDEV_VECTORS; i++)
		fd_close(&dev->signal_fd[i]);
	fd_close(&dev->doorbell_fd);
}
