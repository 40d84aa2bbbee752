/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration space by both mechanisms, BARs that move while they are decoded, MSI-X, INTx and
 * ioeventfds, on the test device (devices/pci/testdev.h; trivm run --test-device).
 */
#include "bm.h"

#define TESTDEV_ID    0x7e571234u
#define REG_ID        0x00
#define REG_SCRATCH   0x04
#define REG_NOTIFY    0x08
#define REG_SIGNAL    0x0c
#define REG_INTX      0x10
#define REG_DOORBELL  0x14
#define REG_DOORBELLS 0x18
#define REG_EXITS     0x1c
#define ID_VALUE      0x546d7674u
#define QUIET_US      20000 /* nothing came in this time: nothing will */
#define VECTORS       4
#define MSIX_VECTOR   0x70 /* .. 0x73 */
#define INTX_VECTOR   0x78
#define COMMAND       0x04
#define STATUS        0x06
#define STATUS_INTX   0x08
#define CMD_IO        0x001
#define CMD_MEM       0x002
#define CMD_MASTER    0x004
#define CMD_INTX_OFF  0x400
#define CAP_MSIX      0x11
#define MSIX_ENABLE   0x8000
#define MSIX_MASKALL  0x4000

/* Free places in the windows of layout.h. */
#define NEW_MEM  0xcff00000ul
#define NEW_IO   0xe000
#define RAM_ADDR 0x02000000ul

static uint8_t dev;
static uint64_t regs, table, pba;
static unsigned msix;

static volatile unsigned hits[VECTORS], intx_hits, intx_spurious;
static volatile bool intx_leave_asserted;

/* ---- configuration space ---- */

static uint64_t ecam(uint8_t devfn, unsigned reg)
{
	return acpi_ecam() + ((uint64_t)devfn << 12) + reg;
}

static void check_config(void)
{
	unsigned found = 0;

	for (unsigned devfn = 0; devfn < 256; devfn++) {
		uint32_t id = pci_read((uint8_t)devfn, 0, 4);

		if (read32(ecam((uint8_t)devfn, 0)) != id)
			check(false, "%02x: ECAM says %x, port 0xcfc %x", devfn,
			      read32(ecam((uint8_t)devfn, 0)), id);
		if (id == UINT32_MAX)
			continue;
		found++;
		print("%02x.%u %04x:%04x class %06x\n", devfn >> 3, devfn & 7, id & 0xffff,
		      id >> 16, pci_read((uint8_t)devfn, 8, 4) >> 8);
		for (unsigned reg = 0; reg < 64; reg += 4)
			check(read32(ecam((uint8_t)devfn, reg)) == pci_read((uint8_t)devfn, reg, 4),
			      "%02x: register %02x differs", devfn, reg);
	}
	check(found >= 2 && pci_read(0, 8, 4) >> 16 == 0x0600, "%u functions, 00.0 is %x", found,
	      pci_read(0, 8, 4));
	check(pci_read(dev, 1, 1) == 0x12 && pci_read(dev, 2, 2) == 0x7e57, "narrow reads");
	check(read8(ecam(dev, 1)) == 0x12 && read16(ecam(dev, 2)) == 0x7e57, "narrow ECAM reads");
	check(read32(ecam(dev, 0xffc)) == 0 || read32(ecam(dev, 0xffc)) == UINT32_MAX,
	      "end of ECAM");
	outl(LAYOUT_PCI_CONF1, (uint32_t)dev << 8);
	check(inl(LAYOUT_PCI_CONF1 + 4) == UINT32_MAX, "0xcfc answers without the enable bit");
	pci_write(dev, 0, 4, 0);
	check(pci_read(dev, 0, 4) == TESTDEV_ID, "the ids are not read-only");
}

/* ---- BARs ---- */

static void check_sizes(void)
{
	struct pci_bar b0 = pci_bar_probe(dev, 0), b1 = pci_bar_probe(dev, 1);
	struct pci_bar b2 = pci_bar_probe(dev, 2), b4 = pci_bar_probe(dev, 4);

	check(!b0.io && !b0.is64 && b0.size == 4096, "BAR 0: size %lx", b0.size);
	check(b1.io && b1.size == 64, "BAR 1: size %lx", b1.size);
	check(b2.is64 && b2.prefetch && b2.size >= 4096, "BAR 2: size %lx", b2.size);
	check(!b4.io && b4.size >= 4096, "BAR 4: size %lx", b4.size);
	check(!pci_bar_probe(dev, 5).present, "BAR 5 is there");
	print("BARs at %lx %lx %lx %lx\n", b0.base, b1.base, b2.base, b4.base);
	check(b0.base && b1.base && b2.base && b4.base, "a BAR has no address at start");
	regs = b0.base;
}

static void check_scratch(uint64_t mem, uint16_t io, uint32_t v)
{
	check(read32(mem + REG_ID) == ID_VALUE, "%lx: id %x", mem, read32(mem + REG_ID));
	check(inl(io + REG_ID) == ID_VALUE, "port %x: id %x", io, inl(io + REG_ID));
	write32(mem + REG_SCRATCH, v);
	check(inl(io + REG_SCRATCH) == v, "scratch by port: %x", inl(io + REG_SCRATCH));
	outl(io + REG_SCRATCH, ~v);
	check(read32(mem + REG_SCRATCH) == ~v, "scratch by memory: %x", read32(mem + REG_SCRATCH));
}

static void check_moves(void)
{
	uint16_t io = (uint16_t)pci_bar_probe(dev, 1).base;
	uint64_t old = regs;

	pci_write(dev, COMMAND, 2, 0);
	check(read32(regs) == UINT32_MAX && inl(io) == UINT32_MAX, "it answers without decode");
	pci_write(dev, COMMAND, 2, CMD_IO | CMD_MEM | CMD_MASTER);
	check_scratch(regs, io, 0x11223344);

	pci_bar_set(dev, 0, NEW_MEM); /* decode stays on */
	pci_bar_set(dev, 1, NEW_IO);
	check_scratch(NEW_MEM, NEW_IO, 0x55667788);
	check(read32(old) == UINT32_MAX && inl(io) == UINT32_MAX, "the old places still answer");

	write32(RAM_ADDR, 0xcafe);
	pci_bar_set(dev, 0, RAM_ADDR);
	check(read32(RAM_ADDR) == 0xcafe, "a BAR over RAM hides it: %x", read32(RAM_ADDR));
	pci_bar_set(dev, 0, LAYOUT_IOAPIC);
	check((ioapic_read(1) & 0xff) != 0xff, "a BAR over the I/O APIC hides it");
	pci_bar_set(dev, 1, LAYOUT_COM1 & ~63u);
	check(inb(LAYOUT_COM1 + 5) & 0x20, "a BAR over COM1 hides it");
	check(pci_read(dev, 0x10, 4) == LAYOUT_IOAPIC, "BAR 0 reads %x", pci_read(dev, 0x10, 4));
	pci_bar_set(dev, 0, old);
	pci_bar_set(dev, 1, io);
	check_scratch(regs, io, 0x99aabbcc);
}

/* Into the window above all RAM. */
static void check_64bit(void)
{
	uint64_t old = pci_bar_probe(dev, 2).base, top = 0x100000000, to;

	for (unsigned i = 0; i < boot.nr_ranges; i++)
		if (boot.ranges[i].addr + boot.ranges[i].size > top)
			top = boot.ranges[i].addr + boot.ranges[i].size;
	to = ((top + 0x3fffffff) & ~0x3ffffffful) + 0x40000000;
	map_page(old);
	map_page(to);
	write64(old + 8, 0x0123456789abcdeful);
	check(read64(old + 8) == 0x0123456789abcdeful, "BAR 2 at %lx: %lx", old, read64(old + 8));
	pci_bar_set(dev, 2, to);
	check(read64(to + 8) == 0x0123456789abcdeful, "BAR 2 at %lx: %lx", to, read64(to + 8));
	check(read8(to + 9) == 0xcd && read16(to + 11) == 0x6789, "narrow, unaligned");
	check(to == old || read64(old + 8) == UINT64_MAX, "BAR 2 is still at %lx", old);
	pci_bar_set(dev, 2, old);
	check(read64(old + 8) == 0x0123456789abcdeful, "BAR 2 back at %lx", old);
}

/* ---- MSI-X ---- */

static void on_msix(struct trap *t)
{
	hits[t->vector - MSIX_VECTOR]++;
	apic_eoi();
}

/* Give interrupts time to come; returns how many vector @n got. */
static unsigned arrived(unsigned n)
{
	unsigned before = hits[n];

	if (irq_wait_change(&hits[n], before, QUIET_US))
		irq_wait_change(&hits[n], before + 1, QUIET_US / 4);
	return hits[n] - before;
}

static void entry_mask(unsigned n, bool masked)
{
	write32(table + n * 16ul + 12, masked);
}

static void msix_set(uint16_t control)
{
	pci_write(dev, msix + 2, 2, control);
}

static void msix_setup(void)
{
	uint32_t where = 0;

	msix = pci_cap(dev, CAP_MSIX);
	if (!check(msix, "no MSI-X capability"))
		guest_exit(check_status());
	check((pci_read(dev, msix + 2, 2) & 0x7ff) == VECTORS - 1, "table size");
	where = pci_read(dev, msix + 4, 4);
	table = pci_bar_probe(dev, where & 7).base + (where & ~7u);
	where = pci_read(dev, msix + 8, 4);
	pba = pci_bar_probe(dev, where & 7).base + (where & ~7u);
	for (unsigned n = 0; n < VECTORS; n++) {
		trap_set(MSIX_VECTOR + n, on_msix);
		check(read32(table + n * 16ul + 12) & 1, "entry %u is not masked at start", n);
		write32(table + n * 16ul, LAYOUT_LAPIC | apic_id() << 12);
		write32(table + n * 16ul + 4, 0);
		write32(table + n * 16ul + 8, MSIX_VECTOR + n);
		entry_mask(n, false);
	}
}

static void check_msix_by(unsigned reg, const char *road)
{
	for (unsigned n = 0; n < VECTORS; n++) {
		write32(regs + reg, n);
		check(arrived(n) == 1, "%s, vector %u", road, n);
	}
	entry_mask(1, true);
	write32(regs + reg, 1);
	check(!arrived(1), "%s: a masked vector arrived", road);
	check(read32(pba) & 2, "%s: pending bits %x", road, read32(pba));
	entry_mask(1, false);
	check(arrived(1) == 1, "%s: nothing came after unmasking", road);
	check(!(read32(pba) & 2), "%s: still pending", road);

	msix_set(MSIX_ENABLE | MSIX_MASKALL);
	write32(regs + reg, 2);
	check(!arrived(2), "%s: arrived though the function is masked", road);
	msix_set(MSIX_ENABLE);
	check(arrived(2) == 1, "%s: nothing came after unmasking the function", road);

	/* A new message for an entry that was in use. */
	entry_mask(3, true);
	write32(table + 3 * 16 + 8, MSIX_VECTOR);
	entry_mask(3, false);
	write32(regs + reg, 3);
	check(arrived(0) == 1, "%s: the new message of vector 3", road);
	entry_mask(3, true);
	write32(table + 3 * 16 + 8, MSIX_VECTOR + 3);
	entry_mask(3, false);
}

static void check_msix(void)
{
	msix_setup();
	write32(regs + REG_NOTIFY, 0);
	check(!arrived(0), "a message before MSI-X was enabled");
	msix_set(MSIX_ENABLE);
	arrived(0);
	check_msix_by(REG_NOTIFY, "notify");
	check_msix_by(REG_SIGNAL, "irqfd");
	write32(regs + REG_NOTIFY, VECTORS);
	write32(regs + REG_SIGNAL, 0xffffffff);
	pci_write(dev, COMMAND, 2, CMD_IO | CMD_MEM);
	write32(regs + REG_NOTIFY, 0);
	check(!arrived(0), "a message without bus mastering");
	pci_write(dev, COMMAND, 2, CMD_IO | CMD_MEM | CMD_MASTER);
	arrived(0);
	msix_set(0);
}

/* ---- doorbells ---- */

static void check_doorbells(uint64_t mem, const char *where)
{
	write32(mem + REG_DOORBELLS, 0);
	for (unsigned i = 0; i < 10; i++)
		write32(mem + REG_DOORBELL, i);
	check(read32(mem + REG_DOORBELLS) == 10 && read32(mem + REG_EXITS) == 0,
	      "%s: %u without an exit, %u with one", where, read32(mem + REG_DOORBELLS),
	      read32(mem + REG_EXITS));
}

static void check_doorbell_moves(void)
{
	check_doorbells(regs, "doorbells");
	pci_bar_set(dev, 0, NEW_MEM);
	check_doorbells(NEW_MEM, "doorbells after a move");
	write32(regs + REG_DOORBELL, 0);
	check(read32(NEW_MEM + REG_DOORBELLS) == 10, "the old place still rings");
	pci_bar_set(dev, 0, regs);
	check_doorbells(regs, "doorbells at the old place");
}

/* ---- INTx ---- */

/*
 * Counts what the device asked for. A KVM that emulates CPL0 may end an interrupt when it delivers
 * it, not at our EOI: a level that is still there then comes a second time, when the device has
 * nothing to say any more.
 */
static void on_intx(struct trap *t)
{
	bool in_service = apic_in_service((unsigned)t->vector);

	if (read32(regs + REG_INTX) & 1)
		intx_hits++;
	else if (in_service)
		intx_spurious++;
	if (intx_leave_asserted)
		intx_leave_asserted = false;
	else
		write32(regs + REG_INTX, 0);
	apic_eoi();
}

static unsigned intx_arrived(void)
{
	unsigned before = intx_hits, n;

	do
		n = intx_hits;
	while (irq_wait_change(&intx_hits, n, QUIET_US));
	return intx_hits - before;
}

static void check_intx(void)
{
	unsigned pin = LAYOUT_GSI_INTX + ((dev >> 3) + pci_read(dev, 0x3d, 1) - 1) % 4;

	trap_set(INTX_VECTOR, on_intx);
	ioapic_route(pin, INTX_VECTOR, IOAPIC_LEVEL | IOAPIC_ACTIVELOW);
	check(!intx_arrived(), "INTx at rest");
	write32(regs + REG_INTX, 1);
	check(intx_arrived() == 1, "INTx on pin %u", pin);
	intx_leave_asserted = true;
	write32(regs + REG_INTX, 1);
	check(intx_arrived() == 2, "INTx that is still asserted at the EOI");
	pci_write(dev, COMMAND, 2, CMD_IO | CMD_MEM | CMD_MASTER | CMD_INTX_OFF);
	write32(regs + REG_INTX, 1);
	check(!intx_arrived(), "INTx while it is disabled");
	check(pci_read(dev, STATUS, 2) & STATUS_INTX, "status %x", pci_read(dev, STATUS, 2));
	pci_write(dev, COMMAND, 2, CMD_IO | CMD_MEM | CMD_MASTER);
	check(intx_arrived() == 1, "INTx after it was enabled");
	/* Masked at the I/O APIC while the line goes up. */
	ioapic_mask(pin);
	write32(regs + REG_INTX, 1);
	check(!intx_arrived(), "INTx through a masked pin");
	ioapic_route(pin, INTX_VECTOR, IOAPIC_LEVEL | IOAPIC_ACTIVELOW);
	check(intx_arrived() == 1, "INTx after the pin was unmasked");
	check(!(ioapic_read(0x10 + pin * 2) & IOAPIC_REMOTEIRR), "remote IRR is left set");
	check(!intx_spurious, "%u interrupts that no one asked for", intx_spurious);
}

int guest_main(void)
{
	int found = pci_find(0x1234, 0x7e57);

	if (!check(found >= 0, "no test device: run with --test-device"))
		return check_status();
	dev = (uint8_t)found;
	apic_init();
	check_config();
	check_sizes();
	check_moves();
	check_64bit();
	check_msix();
	check_doorbell_moves();
	check_intx();
	return check_status();
}
