/* SPDX-License-Identifier: BSD-2-Clause */
/* pci_rig: what the PCI tests share: a host bridge on two buses, and the guest's config accesses.
 */
#ifndef TRIVM_TESTS_PCI_RIG_H
#define TRIVM_TESTS_PCI_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "arch/x86/layout.h"
#include "devices/pci/pci.h"
#include "tests/unit/fakes.h"
#include "vmm/util.h"

#define RIG_MMIO64      UINT64_C(0x140000000)
#define RIG_MMIO64_SIZE GIB(64)

struct pci_rig {
	struct bus pio, mmio;
	struct fake_irq irq;
	struct fake_events events;
	struct pci_host host;
};

static inline struct pci_host_config rig_config(struct pci_rig *rig)
{
	return (struct pci_host_config){
		.pio = &rig->pio,
		.mmio = &rig->mmio,
		.irq = &rig->irq.ctl,
		.intx_gsi = {LAYOUT_GSI_INTX, LAYOUT_GSI_INTX + 1, LAYOUT_GSI_INTX + 2,
	                     LAYOUT_GSI_INTX + 3},
		.ecam = LAYOUT_ECAM,
		.io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
		.mem32 = {LAYOUT_PCI_MMIO32, LAYOUT_PCI_MMIO32_SIZE},
		.mem64 = {RIG_MMIO64, RIG_MMIO64_SIZE},
		.events = &rig->events.sink,
	};
}

static inline void rig_init_with(struct pci_rig *rig, const struct pci_host_config *cfg)
{
	struct err err = {0};

	bus_init(&rig->pio, BUS_PIO);
	bus_init(&rig->mmio, BUS_MMIO);
	fake_irq_init(&rig->irq, LAYOUT_KVM_IOAPIC_PINS);
	fake_events_init(&rig->events);
	assert_int_equal(pci_host_init(&rig->host, cfg, &err), 0);
}

static inline void rig_init(struct pci_rig *rig)
{
	struct pci_host_config cfg = rig_config(rig);

	rig_init_with(rig, &cfg);
}

static inline void rig_destroy(struct pci_rig *rig)
{
	pci_host_destroy(&rig->host);
	bus_destroy(&rig->mmio);
	bus_destroy(&rig->pio);
}

static inline uint64_t rig_ecam(unsigned slot, unsigned reg)
{
	return LAYOUT_ECAM + ((uint64_t)slot << 15) + reg;
}

static inline uint32_t rig_read(struct pci_rig *rig, unsigned slot, unsigned reg, unsigned size)
{
	return (uint32_t)fake_read(&rig->mmio, rig_ecam(slot, reg), size);
}

static inline void rig_write(struct pci_rig *rig, unsigned slot, unsigned reg, unsigned size,
                             uint32_t value)
{
	fake_write(&rig->mmio, rig_ecam(slot, reg), size, value);
}

/* Set or clear bits of a word register. */
static inline void rig_bits(struct pci_rig *rig, unsigned slot, unsigned reg, uint16_t clear,
                            uint16_t set)
{
	uint32_t value = rig_read(rig, slot, reg, 2);

	rig_write(rig, slot, reg, 2, (value & ~clear) | set);
}

/* The offset of capability @id, or 0; fails on a list that does not end. */
static inline unsigned rig_find_cap(struct pci_rig *rig, unsigned slot, uint8_t id)
{
	unsigned steps = 0;

	if (!(rig_read(rig, slot, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST))
		return 0;
	for (unsigned at = rig_read(rig, slot, PCI_CAPABILITY_LIST, 1); at;
	     at = rig_read(rig, slot, at + PCI_CAP_LIST_NEXT, 1)) {
		assert_true(at >= PCI_STD_HEADER_SIZEOF && at % 4 == 0);
		assert_true(steps++ < 48);
		if (rig_read(rig, slot, at, 1) == id)
			return at;
	}
	return 0;
}

/* A BAR's content that is easy to recognize: the offset, on reads; writes are kept. */
struct rig_bar {
	unsigned reads, writes;
	uint64_t offset, value;
	unsigned size;
};

static inline uint64_t rig_bar_read(void *opaque, uint64_t offset, unsigned size)
{
	struct rig_bar *bar = opaque;

	bar->reads++;
	bar->offset = offset;
	bar->size = size;
	return offset;
}

static inline void rig_bar_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct rig_bar *bar = opaque;

	bar->writes++;
	bar->offset = offset;
	bar->size = size;
	bar->value = value;
}

static const struct bus_ops rig_bar_ops = {.read = rig_bar_read, .write = rig_bar_write};

static const struct pci_ids rig_ids = {
	.vendor = 0x1234,
	.device = 0x5678,
	.subsystem_vendor = 0x9abc,
	.subsystem = 0xdef0,
	.class_code = 0x020001,
	.revision = 3,
	.pin = 1,
};

#endif
