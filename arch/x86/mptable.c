/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MP tables: CPUs, I/O APIC and interrupt lines for a kernel that was told acpi=off.
 *
 * Intel MultiProcessor Specification 1.4, chapter 4. The floating pointer is in the last KiB of
 * conventional memory, one of the places where a guest searches; the configuration table is too
 * long for that and lies in the ACPI area. ISA lines are edge-triggered on the pins of their own
 * number (bus's defaults); PCI's are level-triggered and low, turned as in the DSDT's _PRT.
 */
#include <errno.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define SPEC_1_4      4
#define APIC_VERSION  0x14
#define IOAPIC_ID     0
#define IOAPIC_VER    0x11
#define CPU_SIGNATURE 0x600
#define CPU_FEATURES  0x201 /* FPU and APIC; nobody trusts it before CPUID */
#define ID_MAX        254   /* 255 addresses all */
#define BUS_PCI       0
#define BUS_ISA       1
#define ISA_LINES     16
#define PCI_DEVICES   32

enum {
	ENTRY_CPU,
	ENTRY_BUS,
	ENTRY_IOAPIC,
	ENTRY_INT,
	ENTRY_LOCAL_INT
};
enum {
	INT_INT,
	INT_NMI,
	INT_SMI,
	INT_EXTINT
};
#define INT_DEFAULT   0 /* as the bus has it */
#define INT_LEVEL_LOW 0x0f

struct mp_pointer {
	char signature[4];
	le32 table;
	uint8_t length; /* in 16 bytes */
	uint8_t spec;
	uint8_t checksum;
	uint8_t features[5];
};

struct mp_config {
	char signature[4];
	le16 length;
	uint8_t spec;
	uint8_t checksum;
	char oem_id[8];
	char product_id[12];
	le32 oem_table;
	le16 oem_table_size;
	le16 entries;
	le32 lapic;
	le16 ext_length;
	uint8_t ext_checksum;
	uint8_t reserved;
};

struct mp_cpu {
	uint8_t type, apic_id, apic_version, flags; /* bit 0: usable, bit 1: the boot CPU */
	le32 signature, features, reserved[2];
};

struct mp_bus {
	uint8_t type, id;
	char name[6];
};

struct mp_ioapic {
	uint8_t type, id, version, flags; /* bit 0: usable */
	le32 address;
};

struct mp_int {
	uint8_t type, int_type;
	le16 flags;
	uint8_t bus, line, apic_id, pin;
};

_Static_assert(sizeof(struct mp_pointer) == 16, "MP 4.1");
_Static_assert(sizeof(struct mp_config) == 44, "MP 4.2");
_Static_assert(sizeof(struct mp_cpu) == 20, "MP 4.3.1");
_Static_assert(sizeof(struct mp_int) == 8, "MP 4.3.4");
/* The longest table that there can be fits. */
_Static_assert(sizeof(struct mp_config) + (ID_MAX + 1) * sizeof(struct mp_cpu) +
                               (3 + ISA_LINES + PCI_DEVICES * 4 + 2) * sizeof(struct mp_int) <=
                       LAYOUT_RESET_VECTOR - LAYOUT_MPCONFIG,
               "layout.h");

static uint8_t checksum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint8_t sum = 0;

	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + p[i]);
	return (uint8_t)-sum;
}

struct mp_table {
	uint8_t *host;
	size_t len;
	uint16_t entries;
};

static void add(struct mp_table *t, const void *entry, size_t len)
{
	memcpy(t->host + t->len, entry, len);
	t->len += len;
	t->entries++;
}

static void add_int(struct mp_table *t, uint8_t entry, uint8_t int_type, uint16_t flags,
                    uint8_t bus, uint8_t line, uint8_t apic_id, uint8_t pin)
{
	struct mp_int e = {entry, int_type, le16_of(flags), bus, line, apic_id, pin};

	add(t, &e, sizeof(e));
}

static void add_cpus(struct mp_table *t, const struct platform *p)
{
	for (unsigned id = 0; id < p->cpus && id <= ID_MAX; id++) {
		struct mp_cpu cpu = {
			.type = ENTRY_CPU,
			.apic_id = (uint8_t)id,
			.apic_version = APIC_VERSION,
			.flags = id ? 1 : 3,
			.signature = le32_of(CPU_SIGNATURE),
			.features = le32_of(CPU_FEATURES),
		};

		add(t, &cpu, sizeof(cpu));
	}
}

static void add_ints(struct mp_table *t)
{
	for (uint8_t line = 0; line < ISA_LINES; line++)
		add_int(t, ENTRY_INT, INT_INT, INT_DEFAULT, BUS_ISA, line, IOAPIC_ID, line);
	for (unsigned dev = 0; dev < PCI_DEVICES; dev++)
		for (unsigned pin = 0; pin < 4; pin++)
			add_int(t, ENTRY_INT, INT_INT, INT_LEVEL_LOW, BUS_PCI,
			        (uint8_t)(dev << 2 | pin), IOAPIC_ID,
			        (uint8_t)(LAYOUT_GSI_INTX + (dev + pin) % 4));
	add_int(t, ENTRY_LOCAL_INT, INT_EXTINT, INT_DEFAULT, BUS_ISA, 0, 0xff, 0);
	add_int(t, ENTRY_LOCAL_INT, INT_NMI, INT_DEFAULT, BUS_ISA, 0, 0xff, 1);
}

int mptable_build(const struct platform *p, const struct memory *mem, struct err *err)
{
	struct mp_bus pci = {ENTRY_BUS, BUS_PCI, {'P', 'C', 'I', ' ', ' ', ' '}};
	struct mp_bus isa = {ENTRY_BUS, BUS_ISA, {'I', 'S', 'A', ' ', ' ', ' '}};
	struct mp_ioapic ioapic = {ENTRY_IOAPIC, IOAPIC_ID, IOAPIC_VER, 1, le32_of(LAYOUT_IOAPIC)};
	struct mp_pointer pointer = {
		.table = le32_of(LAYOUT_MPCONFIG), .length = 1, .spec = SPEC_1_4};
	struct mp_config config = {.spec = SPEC_1_4, .lapic = le32_of(LAYOUT_LAPIC)};
	struct mp_table t = {
		.host = memory_at(mem, gpa(LAYOUT_MPCONFIG), LAYOUT_RESET_VECTOR - LAYOUT_MPCONFIG),
		.len = sizeof(config),
	};

	if (!t.host)
		return err_set(err, -ENOMEM, "no guest memory for the MP table: use a larger -m");
	add_cpus(&t, p);
	add(&t, &pci, sizeof(pci));
	add(&t, &isa, sizeof(isa));
	add(&t, &ioapic, sizeof(ioapic));
	add_ints(&t);

	memcpy(config.signature, "PCMP", sizeof(config.signature));
	memcpy(config.oem_id, "TRIVM   ", sizeof(config.oem_id));
	memcpy(config.product_id, "trivm       ", sizeof(config.product_id));
	config.length = le16_of((uint16_t)t.len);
	config.entries = le16_of(t.entries);
	memcpy(t.host, &config, sizeof(config));
	config.checksum = checksum(t.host, t.len);
	memcpy(t.host, &config, sizeof(config));

	memcpy(pointer.signature, "_MP_", sizeof(pointer.signature));
	pointer.checksum = checksum(&pointer, sizeof(pointer));
	if (memory_write(mem, gpa(LAYOUT_MPTABLE), &pointer, sizeof(pointer)) < 0)
		return err_set(err, -ENOMEM, "no guest memory for the MP table: use a larger -m");
	return 0;
}
