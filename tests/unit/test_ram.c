/* SPDX-License-Identifier: BSD-2-Clause */
/* ram: the memfd, its two parts around the hole, sparse and preallocated. */
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/ram.h"
#include "vmm/util.h"

#define HOLE_START UINT64_C(0xc0000000)
#define HOLE_END   UINT64_C(0x100000000)

static struct ram_config config(uint64_t size)
{
	return (struct ram_config){.size = size, .hole_start = HOLE_START, .hole_end = HOLE_END};
}

static void assert_matches(const char *text, const char *pattern)
{
	regex_t re;

	assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
	if (regexec(&re, text, 0, NULL, 0) != 0)
		fail_msg("\"%s\" does not match \"%s\"", text, pattern);
	regfree(&re);
}

/* Bytes of the host's memory that the file has. */
static uint64_t allocated(const struct ram *ram)
{
	struct stat st;

	assert_int_equal(fstat(ram->fd, &st), 0);
	assert_int_equal(st.st_size, ram->size);
	return (uint64_t)st.st_blocks * 512;
}

static void below_the_hole_it_is_one_region(void **state)
{
	static const uint64_t sizes[] = {MIB(2), MIB(128), HOLE_START - KIB(4), HOLE_START};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct ram_config c = config(sizes[i]);
		struct memory mem;
		struct ram ram;
		struct err err;

		memory_init(&mem);
		assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
		assert_int_equal(mem.nr, 1);
		assert_true(ram.low == sizes[i] && ram.high == 0);
		assert_ptr_equal(memory_at(&mem, gpa(0), sizes[i]), ram.host);
		assert_null(memory_at(&mem, gpa(sizes[i]), 1));
		assert_null(memory_at(&mem, gpa(HOLE_END), 1));
		ram_destroy(&ram);
		ram_destroy(&ram);
	}
}

static void around_the_hole_it_is_two(void **state)
{
	struct ram_config c = config(GIB(5));
	struct memory mem;
	struct ram ram;
	struct err err;
	char buf[8] = "";

	(void)state;
	memory_init(&mem);
	assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
	assert_int_equal(mem.nr, 2);
	assert_true(ram.low == HOLE_START);
	assert_true(ram.low + ram.high == GIB(5));
	assert_true(mem.regions[0].fd_offset == 0 && mem.regions[0].fd == ram.fd);
	assert_true(mem.regions[1].fd_offset == HOLE_START && mem.regions[1].fd == ram.fd);

	assert_non_null(memory_at(&mem, gpa(HOLE_START - 1), 1));
	assert_null(memory_at(&mem, gpa(HOLE_START), 1));
	assert_null(memory_at(&mem, gpa(HOLE_START - 1), 2));
	assert_null(memory_at(&mem, gpa(HOLE_END - 1), 1));
	assert_non_null(memory_at(&mem, gpa(HOLE_END), ram.high));
	assert_null(memory_at(&mem, gpa(HOLE_END), ram.high + 1));
	assert_null(memory_at(&mem, gpa(HOLE_END + ram.high), 1));

	/* What a vhost-user peer maps is what the guest sees: the same bytes at fd_offset. */
	assert_int_equal(memory_write(&mem, gpa(HOLE_END + GIB(1)), "above", 5), 0);
	assert_int_equal(pread(ram.fd, buf, 5, (off_t)(HOLE_START + GIB(1))), 5);
	assert_string_equal(buf, "above");
	assert_int_equal(pwrite(ram.fd, "below", 5, 0x1234), 5);
	assert_memory_equal(memory_at(&mem, gpa(0x1234), 5), "below", 5);

	/* 5 GiB of promises: three pages or so have been made true. */
	assert_true(allocated(&ram) <= MIB(8));
	assert_true(fcntl(ram.fd, F_GETFD) & FD_CLOEXEC);
	ram_destroy(&ram);
	assert_int_equal(ram.fd, -1);
}

/* One page more than fits below. */
static void a_single_page_above_the_hole(void **state)
{
	struct ram_config c = config(HOLE_START + KIB(4));
	struct memory mem;
	struct ram ram;
	struct err err;

	(void)state;
	memory_init(&mem);
	assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
	assert_true(ram.high == KIB(4));
	assert_ptr_equal(memory_at(&mem, gpa(HOLE_END), KIB(4)), ram.host + HOLE_START);
	ram_destroy(&ram);
}

/* A back-end has the descriptor: it cannot take pages away, nor lock out the next back-end. */
static void its_size_is_sealed(void **state)
{
	struct ram_config c = config(MIB(4));
	struct memory mem;
	struct ram ram;
	struct err err;

	(void)state;
	for (c.hugepages = false;; c.hugepages = true) {
		memory_init(&mem);
		if (ram_create(&ram, &c, &mem, &err) < 0) {
			assert_true(c.hugepages); /* the host has none */
			break;
		}
		assert_int_equal(ftruncate(ram.fd, 0), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(ftruncate(ram.fd, MIB(8)), -1);
		assert_int_equal(errno, EPERM);
		assert_int_equal(fcntl(ram.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
		assert_int_equal(errno, EPERM);
		memset(ram.host, 1, MIB(4));
		ram_destroy(&ram);
		if (c.hugepages)
			break;
	}
}

static void memory_starts_as_zeros(void **state)
{
	struct ram_config c = config(MIB(4));
	static uint8_t zeros[MIB(4)];
	struct memory mem;
	struct ram ram;
	struct err err;

	(void)state;
	memory_init(&mem);
	assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
	assert_memory_equal(ram.host, zeros, MIB(4));
	ram_destroy(&ram);
}

static void prealloc_takes_all_of_it_now(void **state)
{
	struct ram_config c = config(MIB(16));
	struct memory mem;
	struct ram ram;
	struct err err;

	(void)state;
	memory_init(&mem);
	assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
	assert_true(allocated(&ram) < MIB(16));
	ram_destroy(&ram);

	c.prealloc = true;
	memory_init(&mem);
	assert_int_equal(ram_create(&ram, &c, &mem, &err), 0);
	assert_true(allocated(&ram) >= MIB(16));
	ram_destroy(&ram);
}

static void errors_name_the_option(void **state)
{
	struct ram_config c = config(UINT64_C(1) << 62);
	struct memory mem;
	struct ram ram;
	struct err err;

	(void)state;
	memory_init(&mem);
	assert_true(ram_create(&ram, &c, &mem, &err) < 0);
	assert_matches(err.msg, "^-m 4398046511104M: .*memory.*");
	assert_int_equal(ram.fd, -1);
	assert_int_equal(mem.nr, 0);
	ram_destroy(&ram); /* harmless on what a failure left */

	c = config(MIB(3));
	c.hugepages = true;
	assert_int_equal(ram_create(&ram, &c, &mem, &err), -EINVAL);
	assert_matches(err.msg, "^-m 3072K --hugepages: .*2 MiB");
	assert_int_equal(ram.fd, -1);
}

static unsigned long long meminfo(const char *format)
{
	FILE *in = fopen("/proc/meminfo", "re");
	unsigned long long value = 0;
	char line[128];

	while (in && fgets(line, sizeof(line), in))
		if (sscanf(line, format, &value) == 1)
			break;
	if (in)
		fclose(in);
	return value;
}

/*
 * More huge pages than the host has are refused now, with the command that mends it: taking them on
 * credit would be a SIGBUS in the middle of the guest's life.
 */
static void huge_pages_are_reserved(void **state)
{
	unsigned long long pages = meminfo("HugePages_Free: %llu") + 1;
	struct ram_config c = config(pages * MIB(2));
	struct memory mem;
	struct ram ram;
	struct err err;
	char want[160];

	(void)state;
	c.hugepages = true;
	memory_init(&mem);
	assert_true(ram_create(&ram, &c, &mem, &err) < 0);
	snprintf(want, sizeof(want),
	         "^-m %lluM --hugepages: .*%llu free huge pages.*sysctl vm.nr_hugepages=%llu",
	         pages * 2, pages, pages);
	assert_matches(err.msg, want);
	assert_int_equal(ram.fd, -1);
	assert_int_equal(mem.nr, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(below_the_hole_it_is_one_region),
		cmocka_unit_test(around_the_hole_it_is_two),
		cmocka_unit_test(a_single_page_above_the_hole),
		cmocka_unit_test(its_size_is_sealed),
		cmocka_unit_test(memory_starts_as_zeros),
		cmocka_unit_test(prealloc_takes_all_of_it_now),
		cmocka_unit_test(errors_name_the_option),
		cmocka_unit_test(huge_pages_are_reserved),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
