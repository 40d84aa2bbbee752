/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI tables.
 *
 * Theory of operation. The RSDP is at LAYOUT_ACPI, where the boot protocol points and where a guest
 * that searches would find it; behind it the parameter block that the DSDT reads; then the tables,
 * one after the other. The platform is hardware-reduced: instead of the PC's fixed power management
 * hardware there are the few registers named in the FADT, and events come through the GED of the
 * DSDT.
 *
 * ACPI Specification 6.3, chapter 5.2; PCI Firmware Specification 3.2, 4.1.2 (MCFG).
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/acpi_params.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"
#include "vmm/util.h"

/* dsdt_aml.S */
extern const uint8_t dsdt_aml[];
extern const uint32_t dsdt_aml_size;

_Static_assert(LAYOUT_PCI_MMIO32_LAST == LAYOUT_PCI_MMIO32 + LAYOUT_PCI_MMIO32_SIZE - 1,
               "layout.h");
_Static_assert(LAYOUT_PCI_IO_LAST == LAYOUT_PCI_IO + LAYOUT_PCI_IO_SIZE - 1, "layout.h");
_Static_assert(LAYOUT_ACPI_PARAMS + ACPI_PARAMS_SIZE <= LAYOUT_ACPI_TABLES, "layout.h");
_Static_assert(ACPI_PARAMS_GSIS + LAYOUT_VIRTIO_MMIO_MAX <= ACPI_PARAMS_SIZE, "acpi_params.h");

#define OEM_ID       "TRIVM "
#define OEM_TABLE_ID "TRIVM   "
#define CREATOR_ID   "TRVM"

struct acpi_header {
	char signature[4];
	le32 length;
	uint8_t revision;
	uint8_t checksum; /* makes the sum of all bytes 0 */
	char oem_id[6];
	char oem_table_id[8];
	le32 oem_revision;
	char creator_id[4];
	le32 creator_revision;
} __attribute__((packed));

struct acpi_rsdp {
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	le32 rsdt;
	le32 length;
	le64 xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} __attribute__((packed));

/* Generic address structure, 5.2.3.2. */
struct acpi_gas {
	uint8_t space;
	uint8_t bits;
	uint8_t bit_offset;
	uint8_t access; /* 1: bytes */
	le64 address;
} __attribute__((packed));

struct acpi_fadt {
	struct acpi_header header;
	le32 firmware_ctrl;
	le32 dsdt;
	uint8_t reserved0;
	uint8_t preferred_pm_profile;
	uint8_t fixed_hardware[63]; /* SCI to CENTURY: zero when hardware-reduced */
	le16 iapc_boot_arch;
	uint8_t reserved1;
	le32 flags;
	struct acpi_gas reset_reg;
	uint8_t reset_value;
	le16 arm_boot_arch;
	uint8_t minor_revision;
	le64 x_firmware_ctrl;
	le64 x_dsdt;
	struct acpi_gas x_fixed_hardware[8];
	struct acpi_gas sleep_control_reg;
	struct acpi_gas sleep_status_reg;
	char hypervisor_vendor[8];
} __attribute__((packed));

struct acpi_madt {
	struct acpi_header header;
	le32 lapic_address;
	le32 flags; /* bit 0: there are 8259s as well */
} __attribute__((packed));

struct madt_lapic {
	uint8_t type, length;
	uint8_t uid, apic_id;
	le32 flags;
} __attribute__((packed));

struct madt_ioapic {
	uint8_t type, length;
	uint8_t id, reserved;
	le32 address, gsi_base;
} __attribute__((packed));

struct madt_lapic_nmi {
	uint8_t type, length;
	uint8_t uid;
	uint8_t flags[2];
	uint8_t lint;
} __attribute__((packed));

struct madt_x2apic {
	uint8_t type, length;
	uint8_t reserved[2];
	le32 apic_id, flags, uid;
} __attribute__((packed));

struct madt_x2apic_nmi {
	uint8_t type, length;
	uint8_t flags[2];
	le32 uid;
	uint8_t lint;
	uint8_t reserved[3];
} __attribute__((packed));

struct acpi_mcfg {
	struct acpi_header header;
	uint8_t reserved0[8];
	le64 base;
	le16 segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved1[4];
} __attribute__((packed));

struct acpi_xsdt {
	struct acpi_header header;
	le64 tables[3];
} __attribute__((packed));

_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 5.2.6");
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 5.2.5.3");
_Static_assert(sizeof(struct acpi_gas) == 12, "ACPI 5.2.3.2");
_Static_assert(sizeof(struct acpi_fadt) == 276, "ACPI 5.2.9");
_Static_assert(sizeof(struct acpi_madt) == 44, "ACPI 5.2.12");
_Static_assert(sizeof(struct acpi_mcfg) == 60, "PCI Firmware 4.1.2");

#define FADT_REVISION        6
#define FADT_MINOR_REVISION  3
#define FADT_WBINVD          BIT(0)
#define FADT_PWR_BUTTON      BIT(4) /* none of the fixed kind: PNP0C0C in the DSDT */
#define FADT_SLP_BUTTON      BIT(5) /* none of the fixed kind */
#define FADT_RESET_REG_SUP   BIT(10)
#define FADT_HW_REDUCED_ACPI BIT(20)

/*
 * The flags that would say "8042 there" and "no CMOS RTC" stay clear: the guest need not look for a
 * keyboard behind our reset-only 8042, and it reads the time of day from the RTC early in its boot.
 */
#define BOOT_ARCH_NO_VGA BIT(2)

#define GAS_SPACE_IO 1
#define RESET_VALUE  1 /* any */

/* Offsets in the block at LAYOUT_ACPI_PM: devices/legacy/acpi_pm_regs.h (test_acpi.c compares). */
#define PM_SLEEP_CONTROL 0
#define PM_SLEEP_STATUS  1
#define PM_RESET         2

#define MADT_ENABLED  BIT(0)
#define MADT_ALL_UIDS 0xff
#define XAPIC_ID_MAX  254 /* 255 is the broadcast id */
#define NMI_LINT      1

/* Room for the tables, filled from below. @failed once something did not fit. */
struct acpi_area {
	uint8_t *host;
	uint64_t gpa, size, used;
	bool failed;
};

/* @len zeroed bytes at the next multiple of 16; NULL if they do not fit. */
static void *area_take(struct acpi_area *area, size_t len, uint64_t *addr)
{
	uint64_t at = align_up(area->used, 16);

	if (area->failed || at > area->size || len > area->size - at) {
		area->failed = true;
		return NULL;
	}
	area->used = at + len;
	*addr = area->gpa + at;
	return memset(area->host + at, 0, len);
}

/* Append @len bytes to the table that was taken last. */
static void area_append(struct acpi_area *area, const void *data, size_t len)
{
	if (area->failed || len > area->size - area->used) {
		area->failed = true;
		return;
	}
	memcpy(area->host + area->used, data, len);
	area->used += len;
}

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

/* To be called when the table is complete. */
static void table_finish(void *table, const char *signature, uint8_t revision, size_t len)
{
	struct acpi_header *h = table;

	memcpy(h->signature, signature, sizeof(h->signature));
	h->length = le32_of((uint32_t)len);
	h->revision = revision;
	h->checksum = 0;
	memcpy(h->oem_id, OEM_ID, sizeof(h->oem_id));
	memcpy(h->oem_table_id, OEM_TABLE_ID, sizeof(h->oem_table_id));
	h->oem_revision = le32_of(1);
	memcpy(h->creator_id, CREATOR_ID, sizeof(h->creator_id));
	h->creator_revision = le32_of(1);
	h->checksum = checksum(h, len);
}

static uint64_t build_dsdt(struct acpi_area *area)
{
	uint64_t addr = 0;
	void *dsdt = area_take(area, dsdt_aml_size, &addr);

	if (dsdt)
		memcpy(dsdt, dsdt_aml, dsdt_aml_size); /* iasl has done its checksum */
	return addr;
}

static struct acpi_gas pm_register(unsigned offset)
{
	return (struct acpi_gas){GAS_SPACE_IO, 8, 0, 1, le64_of(LAYOUT_ACPI_PM + offset)};
}

static uint64_t build_fadt(struct acpi_area *area, uint64_t dsdt)
{
	uint64_t addr = 0;
	struct acpi_fadt *f = area_take(area, sizeof(*f), &addr);

	if (!f)
		return 0;
	f->dsdt = le32_of((uint32_t)dsdt);
	f->x_dsdt = le64_of(dsdt);
	f->iapc_boot_arch = le16_of(BOOT_ARCH_NO_VGA);
	f->flags = le32_of(FADT_WBINVD | FADT_PWR_BUTTON | FADT_SLP_BUTTON | FADT_RESET_REG_SUP |
	                   FADT_HW_REDUCED_ACPI);
	f->reset_reg = pm_register(PM_RESET);
	f->reset_value = RESET_VALUE;
	f->minor_revision = FADT_MINOR_REVISION;
	f->sleep_control_reg = pm_register(PM_SLEEP_CONTROL);
	f->sleep_status_reg = pm_register(PM_SLEEP_STATUS);
	memcpy(f->hypervisor_vendor, OEM_TABLE_ID, sizeof(f->hypervisor_vendor));
	table_finish(f, "FACP", FADT_REVISION, sizeof(*f));
	return addr;
}

static void madt_add_cpu(struct acpi_area *area, uint32_t id)
{
	if (id <= XAPIC_ID_MAX)
		area_append(area,
		            &(struct madt_lapic){.type = 0,
		                                 .length = sizeof(struct madt_lapic),
		                                 .uid = (uint8_t)id,
		                                 .apic_id = (uint8_t)id,
		                                 .flags = le32_of(MADT_ENABLED)},
		            sizeof(struct madt_lapic));
	else
		area_append(area,
		            &(struct madt_x2apic){.type = 9,
		                                  .length = sizeof(struct madt_x2apic),
		                                  .apic_id = le32_of(id),
		                                  .flags = le32_of(MADT_ENABLED),
		                                  .uid = le32_of(id)},
		            sizeof(struct madt_x2apic));
}

static uint64_t build_madt(struct acpi_area *area, const struct platform *p)
{
	struct madt_ioapic ioapic = {.type = 1,
	                             .length = sizeof(ioapic),
	                             .address = le32_of(LAYOUT_IOAPIC),
	                             .gsi_base = le32_of(0)};
	struct madt_lapic_nmi nmi = {
		.type = 4, .length = sizeof(nmi), .uid = MADT_ALL_UIDS, .lint = NMI_LINT};
	struct madt_x2apic_nmi x2nmi = {
		.type = 10, .length = sizeof(x2nmi), .uid = le32_of(UINT32_MAX), .lint = NMI_LINT};
	uint64_t addr = 0;
	struct acpi_madt *m = area_take(area, sizeof(*m), &addr);

	if (!m)
		return 0;
	m->lapic_address = le32_of(LAYOUT_LAPIC);
	for (uint32_t id = 0; id < p->cpus; id++)
		madt_add_cpu(area, id);
	area_append(area, &ioapic, sizeof(ioapic));
	area_append(area, &nmi, sizeof(nmi));
	if (p->cpus > XAPIC_ID_MAX + 1)
		area_append(area, &x2nmi, sizeof(x2nmi));
	if (!area->failed)
		table_finish(m, "APIC", 5, area->gpa + area->used - addr);
	return addr;
}

static uint64_t build_mcfg(struct acpi_area *area)
{
	uint64_t addr = 0;
	struct acpi_mcfg *m = area_take(area, sizeof(*m), &addr);

	if (!m)
		return 0;
	m->base = le64_of(LAYOUT_ECAM);
	m->last_bus = (LAYOUT_ECAM_SIZE >> 20) - 1; /* a MiB a bus */
	table_finish(m, "MCFG", 1, sizeof(*m));
	return addr;
}

static uint64_t build_xsdt(struct acpi_area *area, uint64_t fadt, uint64_t madt, uint64_t mcfg)
{
	uint64_t addr = 0;
	struct acpi_xsdt *x = area_take(area, sizeof(*x), &addr);

	if (!x)
		return 0;
	x->tables[0] = le64_of(fadt);
	x->tables[1] = le64_of(madt);
	x->tables[2] = le64_of(mcfg);
	table_finish(x, "XSDT", 1, sizeof(*x));
	return addr;
}

/* The slots in the DSDT are at fixed addresses: which ones are taken is all that it can learn. */
static int write_params(const struct platform *p, uint8_t *params, struct err *err)
{
	uint32_t slots = 0;

	memset(params, 0, ACPI_PARAMS_SIZE);
	store_le64(params + ACPI_PARAMS_PCI64_BASE, p->pci64_base);
	store_le64(params + ACPI_PARAMS_PCI64_SIZE, p->pci64_size);
	params[ACPI_PARAMS_COM2] = p->com2;
	for (unsigned i = 0; i < p->nr_virtio_mmio; i++) {
		uint64_t offset = p->virtio_mmio[i].addr - LAYOUT_VIRTIO_MMIO;
		uint64_t slot = offset / LAYOUT_VIRTIO_MMIO_STEP;

		if (offset % LAYOUT_VIRTIO_MMIO_STEP || slot >= LAYOUT_VIRTIO_MMIO_MAX ||
		    p->virtio_mmio[i].gsi > UINT8_MAX)
			return err_set(err, -EINVAL,
			               "ACPI: no slot for a virtio-mmio device at %#llx, GSI %u",
			               (unsigned long long)p->virtio_mmio[i].addr,
			               p->virtio_mmio[i].gsi);
		slots |= BIT(slot);
		params[ACPI_PARAMS_GSIS + slot] = (uint8_t)p->virtio_mmio[i].gsi;
	}
	store_le32(params + ACPI_PARAMS_SLOTS, slots);
	return 0;
}

static void write_rsdp(struct acpi_rsdp *r, uint64_t xsdt)
{
	memset(r, 0, sizeof(*r));
	memcpy(r->signature, "RSD PTR ", sizeof(r->signature));
	memcpy(r->oem_id, OEM_ID, sizeof(r->oem_id));
	r->revision = 2;
	r->length = le32_of(sizeof(*r));
	r->xsdt = le64_of(xsdt);
	r->checksum = checksum(r, 20);
	r->extended_checksum = checksum(r, sizeof(*r));
}

int acpi_build(const struct platform *p, const struct memory *mem, uint64_t *rsdp, struct err *err)
{
	uint8_t *base = memory_at(mem, gpa(LAYOUT_ACPI), LAYOUT_ACPI_END - LAYOUT_ACPI);
	uint64_t dsdt, fadt, madt, mcfg, xsdt;
	struct acpi_area area;
	int rc;

	if (!base)
		return err_set(err, -ENOMEM,
		               "no guest memory for the ACPI tables: use a larger -m");
	rc = write_params(p, base + (LAYOUT_ACPI_PARAMS - LAYOUT_ACPI), err);
	if (rc < 0)
		return rc;
	area = (struct acpi_area){
		.host = base + (LAYOUT_ACPI_TABLES - LAYOUT_ACPI),
		.gpa = LAYOUT_ACPI_TABLES,
		.size = LAYOUT_MPCONFIG - LAYOUT_ACPI_TABLES,
	};
	dsdt = build_dsdt(&area);
	fadt = build_fadt(&area, dsdt);
	madt = build_madt(&area, p);
	mcfg = build_mcfg(&area);
	xsdt = build_xsdt(&area, fadt, madt, mcfg);
	if (area.failed)
		return err_set(err, -ENOSPC,
		               "ACPI: the tables for %u CPUs (-c) do not fit into %u KiB", p->cpus,
		               (LAYOUT_MPCONFIG - LAYOUT_ACPI_TABLES) >> 10);
	write_rsdp((struct acpi_rsdp *)base, xsdt);
	*rsdp = LAYOUT_ACPI;
	return 0;
}
