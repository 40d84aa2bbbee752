/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-pci against any driver: config space by both mechanisms, the registers and the MSI-X table
 * wherever their BARs are, and both devices behind them.
 */
#include <linux/virtio_pci.h>

#include "arch/x86/layout.h"
#include "devices/virtio/pci.h"
#include "tests/fuzz/virtio_dev.h"
#include "tests/unit/pci_rig.h"
#include "vmm/endian.h"

#define SLOT 3

static const struct dev_regs regs = {
	.features_select = VIRTIO_PCI_COMMON_GFSELECT,
	.features = VIRTIO_PCI_COMMON_GF,
	.status = VIRTIO_PCI_COMMON_STATUS,
	.queue_select = VIRTIO_PCI_COMMON_Q_SELECT,
	.queue_size = VIRTIO_PCI_COMMON_Q_SIZE,
	.enable = VIRTIO_PCI_COMMON_Q_ENABLE,
	.desc = VIRTIO_PCI_COMMON_Q_DESCLO,
	.driver = VIRTIO_PCI_COMMON_Q_AVAILLO,
	.device = VIRTIO_PCI_COMMON_Q_USEDLO,
	.notify = VIRTIO_PCI_NOTIFY,
	.notify_step = 4,
	.status_width = 1,
	.queue_width = 2,
};

struct fixture {
	struct fuzz_dev f;
	struct pci_host host;
	struct virtio_pci pci;
	uint8_t before[PCI_CONFIG_SIZE];
};

static void config_access(struct fixture *x, struct fuzz_in *in)
{
	uint8_t bits = fuzz_u8(in), reg = fuzz_u8(in);
	unsigned size = 1u << (bits & 3);
	uint64_t at = LAYOUT_ECAM + (SLOT << 15) + reg;
	uint64_t data;

	if (bits & 4) {
		le32 addr = le32_of(BIT(31) | SLOT << 11 | (reg & 0xfc));

		bus_write(&x->f.pio, LAYOUT_PCI_CONF1, &addr, 4);
		at = LAYOUT_PCI_CONF1 + 4 + (reg & 3);
	}
	if (bits & 8) {
		bus_read(bits & 4 ? &x->f.pio : &x->f.mmio, at, &data, size);
	} else {
		le64 value = le64_of(fuzz_value(in, size));

		bus_write(bits & 4 ? &x->f.pio : &x->f.mmio, at, &value, size);
	}
}

/* MSI-X: the table is there to be written, or, in one go, an entry, its vector, and MSI-X on. */
static void msix_access(struct fixture *x, struct fuzz_in *in)
{
	struct fuzz_dev *f = &x->f;
	uint64_t base = bus_region_base(&x->pci.pci.bars[VIRTIO_PCI_BAR_MSIX].region);
	unsigned entry = fuzz_u8(in);

	if (base == BUS_UNMAPPED)
		return;
	if (entry & 0x80) {
		dev_write(f, base + fuzz_u16(in), 1u << (entry & 3), fuzz_u64(in));
		return;
	}
	entry %= DEV_QUEUES + 1;
	dev_write(f, base + 16 * entry, 8, LAYOUT_LAPIC);
	dev_write(f, base + 16 * entry + 8, 8, fuzz_u16(in));
	dev_reg(f, VIRTIO_PCI_COMMON_Q_MSIX, 2, entry);
	dev_write(f, LAYOUT_ECAM + (SLOT << 15) + x->pci.msix.cap + PCI_MSIX_FLAGS, 2,
	          PCI_MSIX_FLAGS_ENABLE | (fuzz_u8(in) & 1 ? PCI_MSIX_FLAGS_MASKALL : 0));
}

static void fixture_init(struct fixture *x, uint8_t bits)
{
	struct fuzz_dev *f = &x->f;
	struct virtio_pci_config cfg = {
		.slot = SLOT,
		.loop = &f->loop,
		.notify_exit = bits & 2,
		.inject_ioctl = bits & 4,
	};
	struct pci_host_config host = {
		.pio = &f->pio,
		.mmio = &f->mmio,
		.irq = &f->irq.ctl,
		.intx_gsi = {16, 17, 18, 19},
		.ecam = LAYOUT_ECAM,
		.io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
		.mem32 = {LAYOUT_PCI_MMIO32, LAYOUT_PCI_MMIO32_SIZE},
	};

	dev_init(f, bits & 1);
	f->regs = &regs;
	fuzz_check(pci_host_init(&x->host, &host, NULL) == 0);
	fuzz_check(virtio_pci_init(&x->pci, f->dev, &x->host, &cfg, NULL) == 0);
	fuzz_check(pci_host_assign(&x->host, NULL) == 0);
	bus_freeze(&f->mmio);
	bus_freeze(&f->pio);
	memcpy(x->before, x->pci.pci.config, sizeof(x->before));
	dev_write(f, LAYOUT_ECAM + (SLOT << 15) + PCI_COMMAND, 2,
	          PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

/* What the driver may not change has not changed. */
static void check_read_only(const struct fixture *x)
{
	const struct pci_device *pci = &x->pci.pci;

	for (unsigned i = PCI_CAPABILITY_LIST; i < PCI_CONFIG_SIZE; i++) {
		uint8_t fixed = (uint8_t) ~(pci->writable[i] | pci->w1c[i]);

		fuzz_check((pci->config[i] & fixed) == (x->before[i] & fixed));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fixture *x = calloc(1, sizeof(*x));

	fuzz_check(x);
	fixture_init(x, fuzz_u8(&in));
	while (fuzz_left(&in)) {
		unsigned op = fuzz_u8(&in) % (DEV_STEPS + 3);

		x->f.base = bus_region_base(&x->pci.pci.bars[VIRTIO_PCI_BAR_REGS].region);
		if (op < DEV_STEPS)
			dev_step(&x->f, &in, op);
		else if (op == DEV_STEPS)
			msix_access(x, &in);
		else
			config_access(x, &in);
	}
	check_read_only(x);
	dev_check_reset(&x->f);
	fuzz_check(x->pci.isr == 0 && !x->pci.live);
	for (unsigned i = 0; i < 4; i++)
		fuzz_check(!x->f.irq.gsi[16 + i].asserted);
	virtio_pci_destroy(&x->pci);
	pci_host_destroy(&x->host);
	dev_destroy(&x->f);
	free(x);
	return 0;
}
