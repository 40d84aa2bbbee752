/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A flattened device tree of the machine, for x86 kernels with CONFIG_OF and for --dump-fdt.
 *
 * Theory of operation. x86 has no binding of its own; what Linux understands are the nodes of the
 * one x86 board that was ever described so (compatible strings intel,ce4100-*: see its
 * arch/x86/kernel/devicetree.c): CPUs by their APIC ids, local APIC, I/O APIC with two interrupt
 * cells (pin, sense). Everything else uses the generic bindings. RAM comes from e820 and the
 * command line from boot_params even then; the tree has both for whoever reads it elsewhere.
 *
 * I/O ports are children of an `isa` node, whose ranges maps them to ports: that is how Linux tells
 * them from memory. Poweroff and reset have no binding for ports and are not described: such a
 * guest resets through the 8042.
 *
 * Devicetree Specification 0.3; IEEE 1275 PCI Bus Binding 2.1 for pcie.
 */
#include <errno.h>
#include <libfdt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/util.h"

#define PHANDLE_IOAPIC 1
#define UART_CLOCK     1843200
#define ISA_PORT       1 /* first cell of an ISA address: I/O */
#define MAX_CELLS      128
#define RTC_CONTROL    0x02 /* register B: 24 h */
#define RTC_FREQUENCY  0x26 /* register A: 32 kHz, 1024 Hz */

/* Second interrupt cell of the I/O APIC. */
enum {
	SENSE_LEVEL_LOW = 2,
	SENSE_EDGE_RISING = 3
};

/* Space codes in the first cell of a PCI address. */
#define PCI_SPACE_MEM32          0x02000000
#define PCI_SPACE_MEM64_PREFETCH 0x43000000
#define PCI_ADDR_DEVICE(slot)    ((uint32_t)(slot) << 11)

/* The tree being written; after the first error nothing more is. */
struct writer {
	void *fdt;
	int rc; /* 0 or a -FDT_ERR_... */
};

static void keep(struct writer *w, int rc)
{
	if (!w->rc)
		w->rc = rc;
}

static void begin(struct writer *w, const char *name)
{
	if (!w->rc)
		keep(w, fdt_begin_node(w->fdt, name));
}

static void begin_at(struct writer *w, const char *name, uint64_t addr)
{
	char buf[64];

	snprintf(buf, sizeof(buf), "%s@%llx", name, (unsigned long long)addr);
	begin(w, buf);
}

static void end(struct writer *w)
{
	if (!w->rc)
		keep(w, fdt_end_node(w->fdt));
}

static void prop_data(struct writer *w, const char *name, const void *data, size_t len)
{
	if (!w->rc)
		keep(w, fdt_property(w->fdt, name, data, (int)len));
}

static void prop_string(struct writer *w, const char *name, const char *value)
{
	prop_data(w, name, value, strlen(value) + 1);
}

static void prop_cells(struct writer *w, const char *name, const uint32_t *cells, size_t n)
{
	fdt32_t be[MAX_CELLS];

	for (size_t i = 0; i < n; i++)
		be[i] = cpu_to_fdt32(cells[i]);
	prop_data(w, name, be, n * sizeof(be[0]));
}

/* prop(&w, "reg", 1, 2): the cells of a property, at most MAX_CELLS. */
#define prop(w, name, ...)                                                         \
	do {                                                                       \
		const uint32_t cells_[] = {__VA_ARGS__};                           \
		_Static_assert(ARRAY_SIZE(cells_) <= MAX_CELLS, "too many cells"); \
		prop_cells(w, name, cells_, ARRAY_SIZE(cells_));                   \
	} while (0)

#define HI(v) ((uint32_t)((uint64_t)(v) >> 32))
#define LO(v) ((uint32_t)(v))

static void write_root(struct writer *w)
{
	prop(w, "#address-cells", 2);
	prop(w, "#size-cells", 2);
	prop_string(w, "compatible", "trivm,pc");
	prop_string(w, "model", "trivm");
	prop(w, "interrupt-parent", PHANDLE_IOAPIC);
}

static void write_chosen(struct writer *w, const struct fdt_chosen *chosen)
{
	begin(w, "chosen");
	prop_string(w, "stdout-path", "/soc/isa@0/serial@3f8");
	if (chosen && chosen->cmdline)
		prop_string(w, "bootargs", chosen->cmdline);
	if (chosen && chosen->initrd_start != chosen->initrd_end) {
		prop(w, "linux,initrd-start", HI(chosen->initrd_start), LO(chosen->initrd_start));
		prop(w, "linux,initrd-end", HI(chosen->initrd_end), LO(chosen->initrd_end));
	}
	end(w);
}

static void write_cpus(struct writer *w, const struct platform *p)
{
	begin(w, "cpus");
	prop(w, "#address-cells", 1);
	prop(w, "#size-cells", 0);
	for (uint32_t id = 0; id < p->cpus; id++) {
		begin_at(w, "cpu", id);
		prop_string(w, "device_type", "cpu");
		prop(w, "reg", id);
		end(w);
	}
	end(w);
}

/* The RAM of e820's map, so that what is reserved there is not RAM here. */
static void write_memory(struct writer *w, const struct platform *p)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(p, map);
	uint32_t reg[E820_MAX * 4];
	size_t cells = 0;

	for (unsigned i = 0; i < n; i++) {
		if (map[i].type != E820_RAM)
			continue;
		reg[cells++] = HI(map[i].addr);
		reg[cells++] = LO(map[i].addr);
		reg[cells++] = HI(map[i].size);
		reg[cells++] = LO(map[i].size);
	}
	begin(w, "memory@0");
	prop_string(w, "device_type", "memory");
	prop_cells(w, "reg", reg, cells);
	end(w);
}

static void write_serial(struct writer *w, uint32_t port, uint32_t gsi)
{
	begin_at(w, "serial", port);
	prop_string(w, "compatible", "ns16550a");
	prop(w, "reg", ISA_PORT, port, 8);
	prop(w, "clock-frequency", UART_CLOCK);
	prop(w, "interrupts", gsi, SENSE_EDGE_RISING);
	end(w);
}

static void write_isa(struct writer *w, const struct platform *p)
{
	static const char rtc[] = "intel,ce4100-rtc\0motorola,mc146818";

	begin_at(w, "isa", 0);
	prop_string(w, "compatible", "isa");
	prop(w, "#address-cells", 2);
	prop(w, "#size-cells", 1);
	prop(w, "ranges", ISA_PORT, 0, 0, 0, 0x10000);
	write_serial(w, LAYOUT_COM1, LAYOUT_GSI_COM1);
	if (p->com2)
		write_serial(w, LAYOUT_COM2, LAYOUT_GSI_COM2);
	begin_at(w, "rtc", LAYOUT_RTC);
	prop_data(w, "compatible", rtc, sizeof(rtc));
	prop(w, "reg", ISA_PORT, LAYOUT_RTC, 2);
	prop(w, "interrupts", LAYOUT_GSI_RTC, SENSE_EDGE_RISING);
	prop(w, "ctrl-reg", RTC_CONTROL);
	prop(w, "freq-reg", RTC_FREQUENCY);
	end(w);
	end(w);
}

static void write_soc(struct writer *w, const struct platform *p)
{
	begin(w, "soc");
	prop_string(w, "compatible", "simple-bus");
	prop(w, "#address-cells", 2);
	prop(w, "#size-cells", 2);
	prop_data(w, "ranges", NULL, 0);

	begin_at(w, "interrupt-controller", LAYOUT_IOAPIC);
	prop_string(w, "compatible", "intel,ce4100-ioapic");
	prop(w, "reg", 0, LAYOUT_IOAPIC, 0, LAYOUT_IOAPIC_SIZE);
	prop(w, "#address-cells", 0);
	prop(w, "#interrupt-cells", 2);
	prop_data(w, "interrupt-controller", NULL, 0);
	prop(w, "phandle", PHANDLE_IOAPIC);
	end(w);

	begin_at(w, "lapic", LAYOUT_LAPIC);
	prop_string(w, "compatible", "intel,ce4100-lapic");
	prop(w, "reg", 0, LAYOUT_LAPIC, 0, 0x1000);
	end(w);

	for (unsigned i = 0; i < p->nr_virtio_mmio; i++) {
		const struct platform_slot *slot = &p->virtio_mmio[i];

		begin_at(w, "virtio", slot->addr);
		prop_string(w, "compatible", "virtio,mmio");
		prop(w, "reg", HI(slot->addr), LO(slot->addr), 0, LAYOUT_VIRTIO_MMIO_STEP);
		prop(w, "interrupts", slot->gsi, SENSE_EDGE_RISING);
		prop_data(w, "dma-coherent", NULL, 0);
		end(w);
	}
	write_isa(w, p);
	end(w);
}

/* INTx as in the DSDT's _PRT. Four devices say it for all: the mask leaves two bits of the number.
 */
static void write_interrupt_map(struct writer *w)
{
	uint32_t map[4 * 4 * 7];
	size_t n = 0;

	for (uint32_t slot = 0; slot < 4; slot++)
		for (uint32_t pin = 0; pin < 4; pin++) {
			map[n++] = PCI_ADDR_DEVICE(slot);
			map[n++] = 0;
			map[n++] = 0;
			map[n++] = pin + 1;
			map[n++] = PHANDLE_IOAPIC;
			map[n++] = LAYOUT_GSI_INTX + (slot + pin) % 4;
			map[n++] = SENSE_LEVEL_LOW;
		}
	prop_cells(w, "interrupt-map", map, n);
	prop(w, "interrupt-map-mask", PCI_ADDR_DEVICE(3), 0, 0, 7);
}

static void write_pcie(struct writer *w, const struct platform *p)
{
	const uint64_t base32 = LAYOUT_PCI_MMIO32, size32 = LAYOUT_PCI_MMIO32_SIZE;
	const uint64_t base64 = p->pci64_base, size64 = p->pci64_size;

	begin_at(w, "pcie", LAYOUT_ECAM);
	prop_string(w, "compatible", "pci-host-ecam-generic");
	prop_string(w, "device_type", "pci");
	prop(w, "reg", 0, LAYOUT_ECAM, 0, LAYOUT_ECAM_SIZE);
	prop(w, "bus-range", 0, (LAYOUT_ECAM_SIZE >> 20) - 1);
	prop(w, "#address-cells", 3);
	prop(w, "#size-cells", 2);
	prop(w, "#interrupt-cells", 1);
	if (size64)
		prop(w, "ranges", PCI_SPACE_MEM32, HI(base32), LO(base32), HI(base32), LO(base32),
		     HI(size32), LO(size32), PCI_SPACE_MEM64_PREFETCH, HI(base64), LO(base64),
		     HI(base64), LO(base64), HI(size64), LO(size64));
	else
		prop(w, "ranges", PCI_SPACE_MEM32, HI(base32), LO(base32), HI(base32), LO(base32),
		     HI(size32), LO(size32));
	prop_data(w, "dma-coherent", NULL, 0);
	write_interrupt_map(w);
	end(w);
}

int fdt_build(const struct platform *p, const struct fdt_chosen *chosen, void *buf, size_t size,
              size_t *len, struct err *err)
{
	struct writer w = {.fdt = buf};

	keep(&w, size > INT_MAX ? -FDT_ERR_BADVALUE : fdt_create(buf, (int)size));
	if (!w.rc)
		keep(&w, fdt_finish_reservemap(buf));
	begin(&w, "");
	write_root(&w);
	write_chosen(&w, chosen);
	write_cpus(&w, p);
	write_memory(&w, p);
	write_soc(&w, p);
	write_pcie(&w, p);
	end(&w);
	if (!w.rc)
		keep(&w, fdt_finish(buf));
	if (w.rc == -FDT_ERR_NOSPACE)
		return err_set(err, -ENOSPC, "device tree: does not fit into %zu bytes", size);
	if (w.rc)
		return err_set(err, -EINVAL, "device tree: %s", fdt_strerror(w.rc));
	*len = fdt_totalsize(buf);
	return 0;
}
