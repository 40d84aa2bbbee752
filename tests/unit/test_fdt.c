/* SPDX-License-Identifier: BSD-2-Clause */
/* The device tree: read back with libfdt, and judged by dtc where there is one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <errno.h>
#include <libfdt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/util.h"

#define SIZE LAYOUT_FDT_MAX

struct fixture {
	struct platform platform;
	struct platform_slot slots[2];
	struct fdt_chosen chosen;
	uint8_t *fdt;
	size_t len;
	struct err err;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fdt = malloc(SIZE);
	assert_non_null(f->fdt);
	memset(f->fdt, 0xa5, SIZE);
	f->slots[0] = (struct platform_slot){LAYOUT_VIRTIO_MMIO, 24};
	f->slots[1] = (struct platform_slot){LAYOUT_VIRTIO_MMIO + 0x5000, 29};
	f->platform = (struct platform){.cpus = 3,
	                                .ram_low = GIB(3),
	                                .ram_high = GIB(2),
	                                .pci64_base = 0x240000000,
	                                .pci64_size = 0x4000000000,
	                                .ioapic_pins = 56,
	                                .com2 = true,
	                                .nr_virtio_mmio = 2,
	                                .virtio_mmio = f->slots};
	f->chosen = (struct fdt_chosen){"console=ttyS0", 0x123456000, 0x123789000};
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	free(f->fdt);
	free(f);
	return 0;
}

static void build(struct fixture *f)
{
	int rc = fdt_build(&f->platform, &f->chosen, f->fdt, SIZE, &f->len, &f->err);

	if (rc < 0)
		fail_msg("fdt_build: %d, %s", rc, f->err.msg);
	assert_int_equal(fdt_check_full(f->fdt, f->len), 0);
	assert_int_equal(fdt_totalsize(f->fdt), f->len);
}

static int node(struct fixture *f, const char *path)
{
	int n = fdt_path_offset(f->fdt, path);

	if (n < 0)
		fail_msg("no node %s", path);
	return n;
}

static void check_string(struct fixture *f, const char *path, const char *prop, const char *value)
{
	int len;
	const char *p = fdt_getprop(f->fdt, node(f, path), prop, &len);

	assert_non_null(p);
	assert_int_equal(len, strlen(value) + 1);
	assert_string_equal(p, value);
}

static void check_cells_of(struct fixture *f, const char *path, const char *prop,
                           const uint32_t *cells, size_t n)
{
	int len;
	const fdt32_t *p = fdt_getprop(f->fdt, node(f, path), prop, &len);

	if (!p)
		fail_msg("%s has no %s", path, prop);
	assert_int_equal(len, n * 4);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(fdt32_to_cpu(p[i]), cells[i]);
}

#define check_cells(f, path, prop, ...)                                    \
	do {                                                               \
		const uint32_t cells_[] = {__VA_ARGS__};                   \
		check_cells_of(f, path, prop, cells_, ARRAY_SIZE(cells_)); \
	} while (0)

static void test_chosen(void **state)
{
	struct fixture *f = *state;

	build(f);
	check_string(f, "/chosen", "bootargs", "console=ttyS0");
	check_cells(f, "/chosen", "linux,initrd-start", 1, 0x23456000);
	check_cells(f, "/chosen", "linux,initrd-end", 1, 0x23789000);
	/* The console's path leads to the first port. */
	check_cells(f, fdt_getprop(f->fdt, node(f, "/chosen"), "stdout-path", NULL), "reg", 1,
	            LAYOUT_COM1, 8);

	f->chosen = (struct fdt_chosen){0};
	build(f);
	assert_null(fdt_getprop(f->fdt, node(f, "/chosen"), "bootargs", NULL));
	assert_null(fdt_getprop(f->fdt, node(f, "/chosen"), "linux,initrd-start", NULL));
	assert_int_equal(fdt_build(&f->platform, NULL, f->fdt, SIZE, &f->len, &f->err), 0);
}

static void test_cpus_and_memory(void **state)
{
	struct fixture *f = *state;

	build(f);
	check_cells(f, "/cpus/cpu@0", "reg", 0);
	check_cells(f, "/cpus/cpu@2", "reg", 2);
	check_string(f, "/cpus/cpu@2", "device_type", "cpu");
	assert_true(fdt_path_offset(f->fdt, "/cpus/cpu@3") < 0);
	check_cells(f, "/memory@0", "reg", 0, 0, 0, LAYOUT_LOW_RAM_END, 0, 0x100000, 0,
	            0xc0000000 - 0x100000, 1, 0, 0, 0x80000000);

	f->platform.cpus = 1024;
	f->platform.ram_high = 0;
	f->platform.ram_low = MIB(128);
	build(f);
	check_cells(f, "/cpus/cpu@3ff", "reg", 1023);
	check_cells(f, "/memory@0", "reg", 0, 0, 0, LAYOUT_LOW_RAM_END, 0, 0x100000, 0,
	            MIB(128) - 0x100000);
}

static void test_interrupts(void **state)
{
	struct fixture *f = *state;
	const char *ioapic = "/soc/interrupt-controller@fec00000";
	uint32_t phandle;

	build(f);
	phandle = fdt_get_phandle(f->fdt, node(f, ioapic));
	assert_int_not_equal(phandle, 0);
	check_cells(f, "/", "interrupt-parent", phandle);
	check_cells(f, ioapic, "#interrupt-cells", 2);
	check_cells(f, ioapic, "reg", 0, LAYOUT_IOAPIC, 0, 0x1000);
	check_string(f, ioapic, "compatible", "intel,ce4100-ioapic");
	check_cells(f, "/soc/lapic@fee00000", "reg", 0, LAYOUT_LAPIC, 0, 0x1000);
	/* Edge, rising: 3. */
	check_cells(f, "/soc/isa@0/serial@3f8", "interrupts", LAYOUT_GSI_COM1, 3);
	check_cells(f, "/soc/isa@0/serial@2f8", "interrupts", LAYOUT_GSI_COM2, 3);
	check_cells(f, "/soc/isa@0/rtc@70", "interrupts", LAYOUT_GSI_RTC, 3);

	f->platform.com2 = false;
	build(f);
	assert_true(fdt_path_offset(f->fdt, "/soc/isa@0/serial@2f8") < 0);
}

static void test_virtio_mmio(void **state)
{
	struct fixture *f = *state;

	build(f);
	check_string(f, "/soc/virtio@feb00000", "compatible", "virtio,mmio");
	check_cells(f, "/soc/virtio@feb00000", "reg", 0, 0xfeb00000, 0, 0x1000);
	check_cells(f, "/soc/virtio@feb00000", "interrupts", 24, 3);
	check_cells(f, "/soc/virtio@feb05000", "reg", 0, 0xfeb05000, 0, 0x1000);
	check_cells(f, "/soc/virtio@feb05000", "interrupts", 29, 3);
}

static void test_pcie(void **state)
{
	struct fixture *f = *state;
	const char *pcie = "/pcie@e0000000";
	const fdt32_t *map;
	int len;

	build(f);
	check_cells(f, pcie, "reg", 0, LAYOUT_ECAM, 0, LAYOUT_ECAM_SIZE);
	check_cells(f, pcie, "ranges", 0x02000000, 0, 0xc0000000, 0, 0xc0000000, 0, 0x20000000,
	            0x43000000, 2, 0x40000000, 2, 0x40000000, 0x40, 0);
	check_cells(f, pcie, "interrupt-map-mask", 0x1800, 0, 0, 7);

	/* Device, 0, 0, pin (1: INTA), controller, GSI, level and low. */
	map = fdt_getprop(f->fdt, node(f, pcie), "interrupt-map", &len);
	assert_int_equal(len, 16 * 7 * 4);
	for (unsigned i = 0; i < 16; i++, map += 7) {
		unsigned dev = fdt32_to_cpu(map[0]) >> 11, pin = fdt32_to_cpu(map[3]) - 1;

		assert_int_equal(dev, i / 4);
		assert_int_equal(pin, i % 4);
		assert_int_equal(fdt32_to_cpu(map[5]), LAYOUT_GSI_INTX + (dev + pin) % 4);
		assert_int_equal(fdt32_to_cpu(map[6]), 2);
	}

	f->platform.pci64_size = 0;
	build(f);
	check_cells(f, pcie, "ranges", 0x02000000, 0, 0xc0000000, 0, 0xc0000000, 0, 0x20000000);
}

static void test_no_room(void **state)
{
	struct fixture *f = *state;

	build(f);
	for (size_t size = 0; size < f->len; size += 61) {
		uint8_t *small = malloc(size + 1); /* of its own, for the sanitizer to watch */
		size_t len;

		assert_non_null(small);
		small[size] = 0x77;
		assert_int_equal(fdt_build(&f->platform, &f->chosen, small, size, &len, &f->err),
		                 -ENOSPC);
		assert_int_equal(small[size], 0x77);
		free(small);
	}
	f->platform.cpus = 100000;
	assert_int_equal(fdt_build(&f->platform, &f->chosen, f->fdt, SIZE, &f->len, &f->err),
	                 -ENOSPC);
}

/* dtc checks what it knows of each binding, and is silent if it likes everything. */
static void test_dtc(void **state)
{
	struct fixture *f = *state;
	char path[] = "/tmp/trivm-test-fdt-XXXXXX", cmd[128], out[4096];
	size_t n;
	int fd, status;
	FILE *p;

	if (system("command -v dtc >/dev/null 2>&1") != 0)
		skip(); /* package device-tree-compiler */
	build(f);
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, f->fdt, f->len), f->len);
	close(fd);
	snprintf(cmd, sizeof(cmd), "dtc -I dtb -O dtb -o /dev/null %s 2>&1", path);
	p = popen(cmd, "r");
	assert_non_null(p);
	n = fread(out, 1, sizeof(out) - 1, p);
	out[n] = '\0';
	status = pclose(p);
	unlink(path);
	assert_string_equal(out, "");
	assert_int_equal(status, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_chosen),     TEST(test_cpus_and_memory),
		TEST(test_interrupts), TEST(test_virtio_mmio),
		TEST(test_pcie),       TEST(test_no_room),
		TEST(test_dtc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
