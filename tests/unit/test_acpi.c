/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI and MP tables and the memory map: their bytes, checked here; and what the ACPI CA makes of
 * them: iasl takes the written tables apart, acpiexec runs the DSDT's methods on the written
 * parameter block.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86/acpi_params.h"
#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "devices/legacy/acpi_pm_regs.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define RAM MIB(1)

struct fixture {
	uint8_t *ram;
	struct memory mem;
	struct platform platform;
	struct platform_slot slots[3];
	uint64_t rsdp;
	struct err err;
	char dir[64];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_region region = {.size = RAM, .fd = -1};

	assert_non_null(f);
	f->ram = malloc(RAM);
	assert_non_null(f->ram);
	memset(f->ram, 0xa5, RAM); /* as after a reset */
	region.host = f->ram;
	memory_init(&f->mem);
	assert_int_equal(memory_add(&f->mem, &region), 0);
	f->slots[0] = (struct platform_slot){LAYOUT_VIRTIO_MMIO, 24};
	f->slots[1] = (struct platform_slot){LAYOUT_VIRTIO_MMIO + 31 * 0x1000, 55};
	f->slots[2] = (struct platform_slot){LAYOUT_VIRTIO_MMIO + 2 * 0x1000, 30};
	f->platform = (struct platform){.cpus = 2,
	                                .ram_low = GIB(3),
	                                .ram_high = GIB(2),
	                                .pci64_base = 0x240000000,
	                                .pci64_size = 0x4000000000,
	                                .ioapic_pins = 56,
	                                .com2 = true,
	                                .nr_virtio_mmio = 3,
	                                .virtio_mmio = f->slots};
	strcpy(f->dir, "/tmp/trivm-test-acpi-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", f->dir);
	assert_int_equal(system(cmd), 0);
	free(f->ram);
	free(f);
	return 0;
}

static void build(struct fixture *f)
{
	int rc = acpi_build(&f->platform, &f->mem, &f->rsdp, &f->err);

	if (rc < 0)
		fail_msg("acpi_build: %d, %s", rc, f->err.msg);
}

static uint8_t sum(const uint8_t *p, size_t len)
{
	uint8_t s = 0;

	while (len--)
		s = (uint8_t)(s + *p++);
	return s;
}

/* The table with @signature, found as a guest does; its length is checked against the area. */
static const uint8_t *table(struct fixture *f, const char *signature)
{
	const uint8_t *r = f->ram + f->rsdp, *xsdt;
	uint32_t n;

	assert_memory_equal(r, "RSD PTR ", 8);
	assert_int_equal(sum(r, 20), 0);
	assert_int_equal(sum(r, 36), 0);
	assert_int_equal(r[15], 2);
	assert_int_equal(load_le32(r + 16), 0);
	assert_int_equal(load_le32(r + 20), 36);
	xsdt = f->ram + load_le64(r + 24);
	assert_memory_equal(xsdt, "XSDT", 4);
	assert_int_equal(sum(xsdt, load_le32(xsdt + 4)), 0);
	if (!strcmp(signature, "XSDT"))
		return xsdt;
	if (!strcmp(signature, "DSDT"))
		return f->ram + load_le64(table(f, "FACP") + 140);
	n = (load_le32(xsdt + 4) - 36) / 8;
	for (uint32_t i = 0; i < n; i++) {
		uint64_t at = load_le64(xsdt + 36 + i * 8);

		assert_in_range(at, LAYOUT_ACPI_TABLES, LAYOUT_MPCONFIG - 36);
		if (memcmp(f->ram + at, signature, 4))
			continue;
		assert_in_range(at + load_le32(f->ram + at + 4), at + 36, LAYOUT_MPCONFIG);
		assert_int_equal(sum(f->ram + at, load_le32(f->ram + at + 4)), 0);
		return f->ram + at;
	}
	fail_msg("no table %s", signature);
	return NULL;
}

static void test_fadt(void **state)
{
	struct fixture *f = *state;
	const uint8_t *t;

	build(f);
	assert_int_equal(f->rsdp, LAYOUT_ACPI);
	t = table(f, "FACP");
	assert_int_equal(load_le32(t + 4), 276);
	assert_int_equal(t[8], 6);
	assert_int_equal(load_le16(t + 46), 0); /* no SCI */
	for (unsigned i = 46; i < 109; i++)
		assert_int_equal(t[i], 0);       /* no fixed hardware */
	assert_int_equal(load_le16(t + 109), 4); /* no VGA; nothing is said of the 8042 */
	assert_int_equal(load_le32(t + 112), 1 << 20 | 1 << 10 | 1 << 5 | 1 << 4 | 1);
	for (unsigned i = 148; i < 244; i++)
		assert_int_equal(t[i], 0);

	/* GAS: space (I/O), bits, offset, access (byte), address. */
	assert_memory_equal(t + 116, "\1\10\0\1", 4);
	assert_int_equal(load_le64(t + 120), LAYOUT_ACPI_PM + ACPI_PM_RESET);
	assert_int_equal(t[128], ACPI_PM_RESET_VALUE);
	assert_memory_equal(t + 244, "\1\10\0\1", 4);
	assert_int_equal(load_le64(t + 248), LAYOUT_ACPI_PM + ACPI_PM_SLEEP_CONTROL);
	assert_memory_equal(t + 256, "\1\10\0\1", 4);
	assert_int_equal(load_le64(t + 260), LAYOUT_ACPI_PM + ACPI_PM_SLEEP_STATUS);
	assert_int_equal(load_le32(t + 40), load_le64(t + 140)); /* DSDT and X_DSDT */
	assert_memory_equal(table(f, "DSDT"), "DSDT", 4);
	assert_int_equal(sum(table(f, "DSDT"), load_le32(table(f, "DSDT") + 4)), 0);
}

static void test_mcfg(void **state)
{
	struct fixture *f = *state;
	const uint8_t *t;

	build(f);
	t = table(f, "MCFG");
	assert_int_equal(load_le32(t + 4), 60);
	assert_int_equal(load_le64(t + 44), LAYOUT_ECAM);
	assert_int_equal(load_le16(t + 52), 0);
	assert_int_equal(t[54], 0);
	assert_int_equal((t[55] + 1) << 20, LAYOUT_ECAM_SIZE);
}

static void check_madt(struct fixture *f, unsigned cpus)
{
	const uint8_t *t, *at, *end;
	unsigned seen = 0, ioapics = 0, nmis = 0;

	f->platform.cpus = cpus;
	build(f);
	t = table(f, "APIC");
	assert_int_equal(load_le32(t + 36), LAYOUT_LAPIC);
	assert_int_equal(load_le32(t + 40), 0);
	end = t + load_le32(t + 4);
	for (at = t + 44; at < end; at += at[1]) {
		assert_in_range(at[1], 2, end - at);
		switch (at[0]) {
		case 0: /* local APIC: uid, id, flags */
			assert_int_equal(at[1], 8);
			assert_int_equal(at[2], seen);
			assert_int_equal(at[3], seen);
			assert_int_equal(load_le32(at + 4), 1);
			assert_true(seen++ < 255);
			break;
		case 9: /* x2APIC: id, flags, uid */
			assert_int_equal(at[1], 16);
			assert_int_equal(load_le32(at + 4), seen);
			assert_int_equal(load_le32(at + 8), 1);
			assert_int_equal(load_le32(at + 12), seen);
			assert_true(seen++ >= 255);
			break;
		case 1:
			assert_int_equal(at[1], 12);
			assert_int_equal(load_le32(at + 4), LAYOUT_IOAPIC);
			assert_int_equal(load_le32(at + 8), 0);
			ioapics++;
			break;
		case 4: /* NMI at LINT1 of all */
			assert_memory_equal(at, "\4\6\xff\0\0\1", 6);
			nmis++;
			break;
		case 10:
			assert_memory_equal(at, "\12\14\0\0\xff\xff\xff\xff\1\0\0\0", 12);
			assert_true(cpus > 255);
			break;
		default:
			fail_msg("entry of type %u", at[0]);
		}
	}
	assert_ptr_equal(at, end);
	assert_int_equal(seen, cpus);
	assert_int_equal(ioapics, 1);
	assert_int_equal(nmis, 1);
}

static void test_madt(void **state)
{
	struct fixture *f = *state;

	check_madt(f, 1);
	check_madt(f, 4);
	check_madt(f, 255);
	check_madt(f, 256);
	check_madt(f, 1024);
}

static void test_no_room(void **state)
{
	struct fixture *f = *state;

	f->platform.cpus = 100000;
	assert_int_equal(acpi_build(&f->platform, &f->mem, &f->rsdp, &f->err), -ENOSPC);
	assert_non_null(strstr(f->err.msg, "100000 CPUs"));
	/* Nothing was written behind the area. */
	for (unsigned i = LAYOUT_MPCONFIG; i < LAYOUT_ACPI_END; i++)
		assert_int_equal(f->ram[i], 0xa5);
}

static void test_bad_slots(void **state)
{
	struct fixture *f = *state;
	static const struct platform_slot bad[] = {
		{LAYOUT_VIRTIO_MMIO + 0x800, 24},
		{LAYOUT_VIRTIO_MMIO - 0x1000, 24},
		{LAYOUT_VIRTIO_MMIO + LAYOUT_VIRTIO_MMIO_MAX * 0x1000, 24},
		{LAYOUT_VIRTIO_MMIO, 256},
	};

	f->platform.nr_virtio_mmio = 1;
	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		f->platform.virtio_mmio = &bad[i];
		assert_int_equal(acpi_build(&f->platform, &f->mem, &f->rsdp, &f->err), -EINVAL);
	}
}

/* --- with the tools of the ACPI CA --------------------------------------------------------- */

/* What @cmd printed, to be freed; it has to succeed. */
static char *run(const char *cmd)
{
	size_t size = MIB(1), len = 0, n;
	char *out = malloc(size);
	FILE *p = popen(cmd, "r");
	int status;

	assert_non_null(out);
	assert_non_null(p);
	while ((n = fread(out + len, 1, size - 1 - len, p)) > 0)
		len += n;
	out[len] = '\0';
	status = pclose(p);
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		fail_msg("%s: status %d (package acpica-tools?)\n%s", cmd, status, out);
	return out;
}

static void save(const char *dir, const char *name, const void *data, size_t len)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(data, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void save_table(struct fixture *f, const char *signature)
{
	const uint8_t *t = table(f, signature);
	char name[16];

	snprintf(name, sizeof(name), "%s.aml", signature);
	save(f->dir, name, t, load_le32(t + 4));
}

static void expect(const char *out, const char *what)
{
	if (!strstr(out, what))
		fail_msg("no '%s' in:\n%s", what, out);
}

static void expect_not(const char *out, const char *what)
{
	if (strstr(out, what))
		fail_msg("'%s' in:\n%s", what, out);
}

static void test_iasl_reads_the_tables(void **state)
{
	struct fixture *f = *state;
	char cmd[256], *out;

	f->platform.cpus = 300;
	build(f);
	save_table(f, "FACP");
	save_table(f, "APIC");
	save_table(f, "MCFG");
	save_table(f, "XSDT");
	snprintf(cmd, sizeof(cmd),
	         "cd %s && for t in FACP APIC MCFG XSDT; do iasl -d $t.aml; done 2>&1 && cat *.dsl",
	         f->dir);
	out = run(cmd);
	expect_not(out, "Error");
	expect_not(out, "rror:");
	expect_not(out, "arning");
	expect_not(out, "nvalid");
	expect_not(out, "nknown");
	expect(out, "Hardware Reduced (V5) : 1");
	expect(out, "Reset Register Supported (V2) : 1");
	expect(out, "Control Method Power Button (V1) : 1");
	expect(out, "VGA Not Present (V4) : 1");
	expect(out, "CMOS RTC Not Present (V5) : 0");
	expect(out, "Processor x2Apic ID : 0000012B");
	expect(out, "Interrupt Input LINT : 01");
	expect(out, "Base Address : 00000000E0000000");
	free(out);
}

/*
 * A table that, run before the others, fills acpiexec's simulated memory with what acpi_build()
 * wrote. Same address and length as the DSDT's region: acpiexec then gives both the same memory.
 */
static void save_params(struct fixture *f)
{
	char text[2048];
	size_t len;

	len = (size_t)snprintf(
		text, sizeof(text),
		"DefinitionBlock (\"\", \"SSDT\", 2, \"TRIVM \", \"TEST    \", 1) {\n"
		"OperationRegion (PRMS, SystemMemory, 0x%x, 0x%x)\n"
		"Field (PRMS, DWordAcc, NoLock, Preserve) { BYTS, %u }\n"
		"Method (TSET, 0, NotSerialized) { BYTS = Buffer () {\n",
		LAYOUT_ACPI_PARAMS, ACPI_PARAMS_SIZE, ACPI_PARAMS_SIZE * 8);
	for (unsigned i = 0; i < ACPI_PARAMS_SIZE; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s0x%02x", i ? "," : "",
		                        f->ram[LAYOUT_ACPI_PARAMS + i]);
	len += (size_t)snprintf(text + len, sizeof(text) - len, "} }\n}\n");
	save(f->dir, "ssdt.asl", text, len);
}

/*
 * Lines that say nothing about the DSDT: traces of the resource walk; that acpiexec, when it is to execute
 * all there is, calls _OSC with numbers for buffers; and memory that acpiexec 20250404 (Debian 13) itself has
 * not freed when it ends after going to sleep.
 */
#define NOISE "rscalc-\\|rslist-\\|_OSC: Argument #\\| aeinstall-\\|Outstanding cache allocations"

/* Run @commands of acpiexec's debugger on the DSDT. */
static char *acpiexec(struct fixture *f, const char *commands)
{
	char cmd[1024];

	build(f);
	save_table(f, "DSDT");
	save_params(f);
	snprintf(cmd, sizeof(cmd),
	         "cd %s && iasl -vs ssdt.asl >/dev/null 2>&1 && "
	         "acpiexec -r -b '%s' DSDT.aml ssdt.aml 2>&1 | grep -v '%s'",
	         f->dir, commands, NOISE);
	return run(cmd);
}

static void test_dsdt_loads(void **state)
{
	struct fixture *f = *state;
	char *out = acpiexec(f, "Evaluate \\TSET;Execute predefined;Sleep 5");

	expect(out, "tables successfully acquired and loaded");
	expect_not(out, "Error");
	expect_not(out, "rror:");
	expect_not(out, "Warning");
	expect_not(out, "Failure");
	expect(out, "_SB_.PCI0._CRS                  returned AE_OK");
	expect(out, "_SB_.VR31._CRS                  returned AE_OK");
	expect(out, "Sleep-A: 05"); /* ACPI_PM_SLP_TYP_S5 */
	assert_int_equal(ACPI_PM_SLP_TYP_S5, 5);
	free(out);
}

/* What _STA of @device returns. */
static unsigned sta(const char *out, const char *device)
{
	char what[64];
	const char *at;

	snprintf(what, sizeof(what), "Evaluation of \\_SB.%s._STA returned", device);
	at = strstr(out, what);
	assert_non_null(at);
	at = strstr(at, "[Integer] = ");
	assert_non_null(at);
	return (unsigned)strtoul(at + strlen("[Integer] = "), NULL, 16);
}

static void test_dsdt_devices(void **state)
{
	struct fixture *f = *state;
	static const char commands[] = "Evaluate \\TSET;"
				       "Evaluate \\_SB.VR00._STA;Evaluate \\_SB.VR01._STA;"
				       "Evaluate \\_SB.VR02._STA;Evaluate \\_SB.VR30._STA;"
				       "Evaluate \\_SB.VR31._STA;Evaluate \\_SB.UAR2._STA";
	char *out = acpiexec(f, commands);

	assert_int_equal(sta(out, "VR00"), 0xf);
	assert_int_equal(sta(out, "VR01"), 0);
	assert_int_equal(sta(out, "VR02"), 0xf);
	assert_int_equal(sta(out, "VR30"), 0);
	assert_int_equal(sta(out, "VR31"), 0xf);
	assert_int_equal(sta(out, "UAR2"), 0xf);
	free(out);

	f->platform.nr_virtio_mmio = 0;
	f->platform.com2 = false;
	out = acpiexec(f, commands);
	assert_int_equal(sta(out, "VR00"), 0);
	assert_int_equal(sta(out, "VR31"), 0);
	assert_int_equal(sta(out, "UAR2"), 0);
	free(out);
}

static void test_dsdt_virtio_resources(void **state)
{
	struct fixture *f = *state;
	char *out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.VR31");

	expect(out, "Address : FEB1F000");
	expect(out, "Address Length : 00001000");
	expect(out, "Triggering : Edge");
	expect(out, "Polarity : ActiveHigh");
	expect(out, "Dword00 : 00000037"); /* 55 */
	free(out);
	out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.VR02");
	expect(out, "Address : FEB02000");
	expect(out, "Dword00 : 0000001E");
	free(out);
}

static void test_dsdt_pci_windows(void **state)
{
	struct fixture *f = *state;
	char *out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.PCI0");

	expect(out, "Address Minimum : 0CF8");
	expect(out, "Address Minimum : 1000");
	expect(out, "Address Maximum : FFFF");
	expect(out, "Address Minimum : C0000000");
	expect(out, "Address Maximum : DFFFFFFF");
	expect(out, "64-Bit QWORD Address Space Resource");
	expect(out, "Address Minimum : 0000000240000000");
	expect(out, "Address Maximum : 000000423FFFFFFF");
	expect(out, "Address Length : 0000004000000000");
	free(out);

	f->platform.pci64_size = 0;
	out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.PCI0");
	expect(out, "Address Minimum : C0000000");
	expect_not(out, "64-Bit QWORD");
	free(out);
}

/* Pin p (0: INTA) of device d is on LAYOUT_GSI_INTX + (d + p) % 4, for all 32 devices. */
static void test_dsdt_prt(void **state)
{
	struct fixture *f = *state;
	char *out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.PCI0");
	const char *at = out;

	for (unsigned n = 0; n < 128; n++) {
		unsigned dev = n / 4, pin = n % 4;
		unsigned long long values[3];
		static const char *const names[] = {"Address : ", "Pin : ", "Source Index : "};

		at = strstr(at, "PCI IRQ Routing Table Package");
		assert_non_null(at);
		for (unsigned i = 0; i < 3; i++) {
			at = strstr(at, names[i]);
			assert_non_null(at);
			values[i] = strtoull(at + strlen(names[i]), NULL, 16);
		}
		assert_int_equal(values[0], dev << 16 | 0xffff);
		assert_int_equal(values[1], pin);
		assert_int_equal(values[2], LAYOUT_GSI_INTX + (dev + pin) % 4);
	}
	assert_null(strstr(at, "PCI IRQ Routing Table Package"));
	free(out);
}

/* The guest gets what it asks for, and is told when it asks in a language that we do not know. */
static void test_dsdt_osc(void **state)
{
	struct fixture *f = *state;
	static const char known[] = "5B 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66";
	static const char unknown[] = "5C 4D DB 33 F7 1F 1C 40 96 57 74 41 C0 3D D7 66";
	static const char args[] = "(00 00 00 00 1F 00 00 00 1D 00 00 00)";
	char commands[512], *out;

	snprintf(commands, sizeof(commands), "Evaluate \\_SB.PCI0._OSC (%s) 1 3 %s", known, args);
	out = acpiexec(f, commands);
	expect(out, "0000: 00 00 00 00 1F 00 00 00 1D 00 00 00");
	free(out);
	snprintf(commands, sizeof(commands), "Evaluate \\_SB.PCI0._OSC (%s) 2 3 %s", known, args);
	out = acpiexec(f, commands);
	expect(out, "0000: 08 00 00 00 1F 00 00 00 1D 00 00 00");
	free(out);
	snprintf(commands, sizeof(commands), "Evaluate \\_SB.PCI0._OSC (%s) 1 3 %s", unknown, args);
	out = acpiexec(f, commands);
	expect(out, "0000: 04 00 00 00 1F 00 00 00 1D 00 00 00");
	free(out);
}

/* The GED's method reads the status at the right port and pushes the button, or does not. */
static void test_dsdt_power_button(void **state)
{
	struct fixture *f = *state;
	char text[512], *out;

	assert_int_equal(ACPI_PM_EVENT_STATUS, 4);
	assert_int_equal(ACPI_PM_EVENT_POWER_BUTTON, 1);
	out = acpiexec(f, "Evaluate \\TSET;Resources \\_SB.GED");
	expect(out, "Triggering : Edge");
	expect(out, "Dword00 : 00000009");
	free(out);

	/* In place of the parameters: set the simulated port, then have the method run. */
	snprintf(text, sizeof(text),
	         "DefinitionBlock (\"\", \"SSDT\", 2, \"TRIVM \", \"TEST    \", 1) {\n"
	         "External (\\_SB.GED._EVT, MethodObj)\n"
	         "OperationRegion (PORT, SystemIO, 0x%x, 1)\n"
	         "Field (PORT, ByteAcc, NoLock, Preserve) { STAT, 8 }\n"
	         "Method (PUSH, 1, NotSerialized) { STAT = Arg0 \\_SB.GED._EVT (9) } }\n",
	         LAYOUT_ACPI_PM + ACPI_PM_EVENT_STATUS);
	save(f->dir, "ged.asl", text, strlen(text));
	snprintf(text, sizeof(text),
	         "cd %s && iasl -vs ged.asl >/dev/null 2>&1 && for v in 0 2 1; do echo value $v; "
	         "acpiexec -r -b \"Evaluate \\\\PUSH $v\" DSDT.aml ged.aml 2>&1; done",
	         f->dir);
	out = run(text);
	{
		char *one = strstr(out, "value 1");

		assert_non_null(one);
		expect(one, "Received a Device Notify");
		expect(one, "PWRB");
		*one = '\0';
		expect_not(out, "Notify");
	}
	free(out);
}

/* --- memory map ---------------------------------------------------------------------------- */

/* Sorted, without overlap; RAM is exactly what the machine has, less the holes below 1 MiB. */
static uint64_t check_e820(const struct platform *p)
{
	struct e820_range map[E820_MAX];
	unsigned n = e820_build(p, map);
	uint64_t end = 0, ram = 0;

	assert_in_range(n, 1, E820_MAX);
	for (unsigned i = 0; i < n; i++) {
		assert_true(map[i].addr >= end);
		assert_true(map[i].size > 0);
		end = map[i].addr + map[i].size;
		if (map[i].type != E820_RAM)
			continue;
		ram += map[i].size;
		assert_true(end <= p->ram_low ||
		            (map[i].addr >= GIB(4) && end <= GIB(4) + p->ram_high));
	}
	return ram;
}

static void test_e820(void **state)
{
	const uint64_t hidden = MIB(1) - LAYOUT_LOW_RAM_END;
	struct platform p = {.ram_low = MIB(2)};

	(void)state;
	assert_int_equal(check_e820(&p), MIB(2) - hidden);
	p.ram_low = MIB(1);
	assert_int_equal(check_e820(&p), LAYOUT_LOW_RAM_END);
	p.ram_low = MIB(128);
	assert_int_equal(check_e820(&p), MIB(128) - hidden);
	p.ram_low = LAYOUT_HOLE_START;
	assert_int_equal(check_e820(&p), LAYOUT_HOLE_START - hidden);
	p.ram_high = GIB(61);
	assert_int_equal(check_e820(&p), GIB(64) - hidden);
}

/* --- MP tables ----------------------------------------------------------------------------- */

static void check_mptable(struct fixture *f, unsigned cpus, unsigned described)
{
	const uint8_t *ptr = f->ram + LAYOUT_MPTABLE, *t, *at;
	static const uint8_t sizes[] = {20, 8, 8, 8, 8};
	unsigned count[5] = {0}, entries;

	f->platform.cpus = cpus;
	assert_int_equal(mptable_build(&f->platform, &f->mem, &f->err), 0);
	assert_memory_equal(ptr, "_MP_", 4);
	assert_int_equal(ptr[8], 1);
	assert_int_equal(sum(ptr, 16), 0);
	assert_int_equal(load_le32(ptr + 4), LAYOUT_MPCONFIG);
	t = f->ram + LAYOUT_MPCONFIG;
	assert_memory_equal(t, "PCMP", 4);
	assert_int_equal(sum(t, load_le16(t + 4)), 0);
	assert_int_equal(load_le32(t + 36), LAYOUT_LAPIC);
	entries = load_le16(t + 34);
	at = t + 44;
	for (unsigned i = 0; i < entries; i++, at += sizes[at[0]]) {
		assert_in_range(at[0], 0, 4);
		if (at[0] == 0) {
			assert_int_equal(at[1], count[0]);
			assert_int_equal(at[3], count[0] ? 1 : 3);
		}
		if (at[0] == 2)
			assert_int_equal(load_le32(at + 4), LAYOUT_IOAPIC);
		if (at[0] == 3 && at[4] == 0) { /* PCI: device << 2 | pin */
			assert_int_equal(load_le16(at + 2), 0x0f);
			assert_int_equal(at[7], LAYOUT_GSI_INTX + ((at[5] >> 2) + (at[5] & 3)) % 4);
		}
		count[at[0]]++;
	}
	assert_ptr_equal(at, t + load_le16(t + 4));
	assert_int_equal(count[0], described);
	assert_int_equal(count[1], 2);
	assert_int_equal(count[2], 1);
	assert_int_equal(count[3], 16 + 128);
	assert_int_equal(count[4], 2);
}

static void test_mptable(void **state)
{
	struct fixture *f = *state;

	check_mptable(f, 1, 1);
	check_mptable(f, 4, 4);
	check_mptable(f, 1000, 255);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_fadt),
		TEST(test_mcfg),
		TEST(test_madt),
		TEST(test_no_room),
		TEST(test_bad_slots),
		TEST(test_iasl_reads_the_tables),
		TEST(test_dsdt_loads),
		TEST(test_dsdt_devices),
		TEST(test_dsdt_virtio_resources),
		TEST(test_dsdt_pci_windows),
		TEST(test_dsdt_prt),
		TEST(test_dsdt_osc),
		TEST(test_dsdt_power_button),
		TEST(test_e820),
		TEST(test_mptable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
