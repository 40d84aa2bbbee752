/* SPDX-License-Identifier: BSD-2-Clause */
/* Which files are not raw disk images, and that those which only look a little like it are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/image_format.h"
#include "vmm/disk_options.h"
#include "vmm/util.h"

static char path[] = "/tmp/trivm-test-image-XXXXXX";
static uint8_t file[4096];

static void put(size_t offset, const char *bytes, size_t len)
{
	memset(file, 0, sizeof(file));
	memcpy(file + offset, bytes, len);
}

/* The format of a file of @len bytes, or "raw". */
static const char *format(size_t len)
{
	const struct image_format *f;
	int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, file, len), len);
	close(fd);
	f = image_format_of_file(path);
	return f ? f->name : "raw";
}

static void containers_are_recognised(void **state)
{
	static const struct {
		const char *name;
		size_t offset;
		const char *bytes;
		size_t len;
	} all[] = {
		{"qcow", 0, "QFI\xfb\0\0\0\1", 8},
		{"qcow2", 0, "QFI\xfb\0\0\0\2", 8},
		{"qcow2", 0, "QFI\xfb\0\0\0\3", 8},
		{"QED", 0, "QED\0", 4},
		{"VMDK", 0, "KDMV\1\0\0\0", 8},
		{"VMDK", 0, "# Disk DescriptorFile\nversion=1\n", 32},
		{"VDI", 0x40, "\x7f\x10\xda\xbe", 4},
		{"VHD", 0, "conectix", 8},
		{"VHD", sizeof(file) - 512, "conectix", 8},
		{"VHDX", 0, "vhdxfile", 8},
		{"Parallels", 0, "WithoutFreeSpace", 16},
		{"Apple disk (DMG)", sizeof(file) - 512, "koly\0\0\0\4", 8},
		{"gzip-compressed", 0, "\x1f\x8b\x08\0", 4},
		{"xz-compressed", 0,
	         "\xfd"
	         "7zXZ\0\0",
	         7},
		{"zstd-compressed", 0, "\x28\xb5\x2f\xfd", 4},
		{"bzip2-compressed", 0, "BZh91AY&SY", 10},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		put(all[i].offset, all[i].bytes, all[i].len);
		assert_string_equal(format(sizeof(file)), all[i].name);
	}
}

static void what_a_guest_keeps_on_a_disk_is_raw(void **state)
{
	(void)state;
	put(510, "\x55\xaa", 2); /* a boot sector */
	assert_string_equal(format(sizeof(file)), "raw");
	put(512, "EFI PART", 8);
	assert_string_equal(format(sizeof(file)), "raw");
	put(0, "LUKS\xba\xbe\0\2", 8);
	assert_string_equal(format(sizeof(file)), "raw");
	put(1024 + 56, "\x53\xef", 2); /* ext4 */
	assert_string_equal(format(sizeof(file)), "raw");
	put(0, "QED", 4 - 1);
	file[3] = 'x';
	assert_string_equal(format(sizeof(file)), "raw");
	put(8, "QFI\xfb\0\0\0\3", 8);
	assert_string_equal(format(sizeof(file)), "raw");
	put(sizeof(file) - 511, "conectix", 8);
	assert_string_equal(format(sizeof(file)), "raw");
}

static void short_files_and_none_are_raw(void **state)
{
	(void)state;
	put(0, "QFI\xfb\0\0\0\3", 8);
	assert_string_equal(format(0), "raw");
	assert_string_equal(format(3), "raw");
	assert_string_equal(format(4), "qcow2");
	assert_null(image_format_of_file("/nonexistent"));
	assert_null(image_format_of_file("/dev/null"));
	assert_null(image_format_of_file("/"));
}

static void the_user_may_say_raw(void **state)
{
	struct disk_options o;
	struct err err = {.msg = ""};
	char text[128];

	(void)state;
	put(0, "QFI\xfb\0\0\0\3", 8);
	format(sizeof(file));
	assert_int_equal(disk_options_parse(&o, path, &err), 0);
	assert_int_equal(disk_options_check_format(&o, &err), -22);
	assert_non_null(strstr(err.msg, path));
	assert_non_null(strstr(err.msg, "qcow2"));
	assert_non_null(strstr(err.msg, "`qemu-img convert -O raw /tmp/"));
	snprintf(text, sizeof(text), "%s,format=raw", path);
	assert_int_equal(disk_options_parse(&o, text, &err), 0);
	assert_int_equal(disk_options_check_format(&o, &err), 0);
	snprintf(text, sizeof(text), "%s,format=qcow2", path);
	assert_int_equal(disk_options_parse(&o, text, &err), -22);
	assert_non_null(strstr(err.msg, "expected raw"));
}

static int make(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	close(fd);
	return fd < 0;
}

static int unmake(void **state)
{
	(void)state;
	return unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(containers_are_recognised),
		cmocka_unit_test(what_a_guest_keeps_on_a_disk_is_raw),
		cmocka_unit_test(short_files_and_none_are_raw),
		cmocka_unit_test(the_user_may_say_raw),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, make, unmake);
}
