/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_image: where the default guest is looked for, and the archive that carries --exec's
 * command.
 *
 * What depends on where the executable lies is tested with copies of this program: with the
 * argument
 * --find it says what it found.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/fd.h"
#include "vmm/guest_image.h"
#include "vmm/util.h"

/* ---- a folder for each test ---- */

static char top[64];

static int make_top(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/trivm-test-image.XXXXXX");
	return mkdtemp(top) ? 0 : -1;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st;
	(void)kind;
	(void)ftw;
	return remove(path);
}

static int remove_top(void **state)
{
	(void)state;
	unsetenv("TRIVM_GUEST");
	return nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* @name below the folder; a static buffer, good until the fourth call after this one. */
static const char *in_top(const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, PATH_MAX, "%s/%s", top, name);
	return path;
}

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);

	assert_true(fd >= 0);
	assert_int_equal(fd_write_full(fd, data, len), 0);
	close(fd);
}

static void make_dir(const char *name)
{
	assert_int_equal(mkdir(in_top(name), 0755), 0);
}

static void make_guest(const char *dir)
{
	char name[256];

	make_dir(dir);
	snprintf(name, sizeof(name), "%s/vmlinuz", dir);
	write_file(in_top(name), "k", 1);
	snprintf(name, sizeof(name), "%s/initrd.img", dir);
	write_file(in_top(name), "i", 1);
}

/* What a copy of this program at @name finds. */
static const char *found_by(const char *name)
{
	static char text[2 * PATH_MAX + ERR_MSG_MAX];
	char command[PATH_MAX];
	size_t n;
	FILE *out;

	if (access(in_top(name), F_OK) < 0) {
		snprintf(command, sizeof(command), "cp /proc/%d/exe %s", (int)getpid(),
		         in_top(name));
		assert_int_equal(system(command), 0);
	}
	snprintf(command, sizeof(command), "%s --find", in_top(name));
	out = popen(command, "r");
	assert_non_null(out);
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	assert_int_equal(pclose(out), 0);
	return text;
}

static int find(void)
{
	struct guest_image image;
	struct err err;
	int rc = guest_image_find(&image, &err);

	if (rc == 0)
		printf("%s %s\n", image.kernel, image.initrd);
	else
		printf("%d %s\n", rc, err.msg);
	return 0;
}

static const char *both_in(const char *dir)
{
	static char want[3 * PATH_MAX];

	snprintf(want, sizeof(want), "%s/%s/vmlinuz %s/%s/initrd.img\n", top, dir, top, dir);
	return want;
}

/* ---- finding ---- */

static void the_environment_comes_first(void **state)
{
	struct guest_image image;
	struct err err;

	(void)state;
	make_guest("mine");
	setenv("TRIVM_GUEST", in_top("mine"), 1);
	assert_int_equal(guest_image_find(&image, &err), 0);
	assert_string_equal(image.kernel, in_top("mine/vmlinuz"));
	assert_string_equal(image.initrd, in_top("mine/initrd.img"));

	/* Also before what lies beside the executable. */
	make_dir("bin");
	make_guest("bin/guest");
	assert_string_equal(found_by("bin/t"), both_in("mine"));
	/* Empty is as good as not set. */
	setenv("TRIVM_GUEST", "", 1);
	assert_string_equal(found_by("bin/t"), both_in("bin/guest"));
}

static void the_environment_is_not_second_guessed(void **state)
{
	struct guest_image image;
	struct err err;
	char want[128];

	(void)state;
	make_dir("bin");
	make_guest("bin/guest");
	make_guest("mine");
	setenv("TRIVM_GUEST", in_top("mine"), 1);
	assert_int_equal(unlink(in_top("mine/initrd.img")), 0);
	assert_int_equal(guest_image_find(&image, &err), -ENOENT);
	snprintf(want, sizeof(want), "TRIVM_GUEST=%s: ", in_top("mine"));
	assert_memory_equal(err.msg, want, strlen(want));
	/* Another guest than the one that was asked for would be worse than none. */
	snprintf(want, sizeof(want), "-2 TRIVM_GUEST=%s: ", in_top("mine"));
	assert_memory_equal(found_by("bin/t"), want, strlen(want));

	setenv("TRIVM_GUEST", in_top("nowhere"), 1);
	assert_int_equal(guest_image_find(&image, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "nowhere"));
}

static void a_path_too_long(void **state)
{
	char *dir = malloc(2 * PATH_MAX);
	struct guest_image image;
	struct err err;

	(void)state;
	/* Cut in the wrong place it would be a path that exists. */
	for (size_t len = PATH_MAX - 16; len < PATH_MAX + 8; len++) {
		memset(dir, '/', len);
		dir[len] = '\0';
		setenv("TRIVM_GUEST", dir, 1);
		assert_int_equal(guest_image_find(&image, &err), -ENOENT);
	}
	memset(dir, 'd', 2 * PATH_MAX);
	dir[2 * PATH_MAX - 1] = '\0';
	setenv("TRIVM_GUEST", dir, 1);
	assert_int_equal(guest_image_find(&image, &err), -ENOENT);
	free(dir);
}

static void beside_the_executable_then_in_lib(void **state)
{
	const char *got;

	(void)state;
	make_dir("bin");
	got = found_by("bin/t");
	assert_memory_equal(got, "-2 ", 3);
	assert_non_null(strstr(got, in_top("bin/guest")));
	assert_non_null(strstr(got, "make guest"));
	assert_non_null(strstr(got, "-k"));

	make_dir("lib");
	make_dir("lib/trivm");
	make_guest("lib/trivm/guest");
	assert_string_equal(found_by("bin/t"), both_in("bin/../lib/trivm/guest"));
	make_guest("bin/guest");
	assert_string_equal(found_by("bin/t"), both_in("bin/guest"));
	/* Half a guest does not count. */
	assert_int_equal(unlink(in_top("bin/guest/vmlinuz")), 0);
	assert_string_equal(found_by("bin/t"), both_in("bin/../lib/trivm/guest"));
}

/* ---- the archive ---- */

struct entry {
	char name[64];
	unsigned mode, nlink, uid, gid, ino;
	const uint8_t *content;
	size_t size;
};

static unsigned hex_field(const uint8_t *header, unsigned i)
{
	char digits[9] = "";
	char *end;
	unsigned long v;

	memcpy(digits, header + 6 + 8 * i, 8);
	for (unsigned d = 0; d < 8; d++)
		assert_non_null(strchr("0123456789abcdefABCDEF", digits[d]));
	v = strtoul(digits, &end, 16);
	assert_ptr_equal(end, digits + 8);
	return (unsigned)v;
}

/* The entry at *@at, as the kernel's initramfs code reads it (buffer-format.rst); moves *@at. */
static struct entry next_entry(const uint8_t *data, size_t len, size_t *at)
{
	const uint8_t *h = data + *at;
	struct entry e = {0};
	size_t name_size;

	assert_int_equal(*at % 4, 0);
	assert_true(len - *at >= 110);
	assert_memory_equal(h, "070701", 6);
	e.ino = hex_field(h, 0);
	e.mode = hex_field(h, 1);
	e.uid = hex_field(h, 2);
	e.gid = hex_field(h, 3);
	e.nlink = hex_field(h, 4);
	e.size = hex_field(h, 6);
	assert_int_equal(hex_field(h, 12), 0); /* no checksum with this magic */
	name_size = hex_field(h, 11);
	assert_in_range(name_size, 2, sizeof(e.name));
	assert_true(len - *at >= 110 + name_size);
	memcpy(e.name, h + 110, name_size);
	assert_int_equal(e.name[name_size - 1], '\0');
	assert_int_equal(strlen(e.name), name_size - 1);
	*at = align_up(*at + 110 + name_size, 4);
	assert_true(*at <= len && e.size <= len - *at);
	e.content = data + *at;
	*at = align_up(*at + e.size, 4);
	assert_true(*at <= len);
	return e;
}

static void assert_archive_of(const char *command)
{
	static const char first[] = "#!/bin/sh\n";
	size_t len = 0, at = 0, n = strlen(command);
	uint8_t *data = NULL;
	struct entry e;

	assert_int_equal(guest_image_exec_archive(command, &data, &len), 0);
	e = next_entry(data, len, &at);
	assert_string_equal(e.name, "trivm"); /* a folder comes before what lies in it */
	assert_int_equal(e.mode, S_IFDIR | 0755);
	assert_int_equal(e.size, 0);

	e = next_entry(data, len, &at);
	assert_string_equal(e.name, "trivm/exec");
	assert_int_equal(e.mode, S_IFREG | 0755);
	assert_int_equal(e.nlink, 1); /* more would be looked up as a hard link */
	assert_int_equal(e.uid + e.gid, 0);
	assert_int_equal(e.size, strlen(first) + n + 1);
	assert_memory_equal(e.content, first, strlen(first));
	assert_memory_equal(e.content + strlen(first), command, n);
	assert_int_equal(e.content[e.size - 1], '\n');

	e = next_entry(data, len, &at);
	assert_string_equal(e.name, "TRAILER!!!");
	assert_int_equal(e.size, 0);
	assert_int_equal(at, len);
	free(data);
}

static void archives_of_every_length(void **state)
{
	char command[64] = "";

	(void)state;
	for (size_t n = 0; n < sizeof(command) - 1; n++) { /* every padding */
		assert_archive_of(command);
		command[n] = 'x';
	}
	assert_archive_of("printf '%s\\n' \"$HOME\"; exit 7\n\nsecond line\n");
	assert_archive_of("\xc3\xa4\xff\x01\t'\"\\");
}

static void an_archive_of_a_long_command(void **state)
{
	char *command = malloc(300001);

	(void)state;
	memset(command, 'y', 300000);
	command[300000] = '\0';
	assert_archive_of(command);
	free(command);
}

/* The second opinion of another reader; and a shell runs what comes out. */
static void cpio_unpacks_it(void **state)
{
	char shell[256];
	uint8_t *data;
	struct stat st;
	size_t len;
	int status;

	(void)state;
	if (system("command -v cpio >/dev/null 2>&1") != 0) {
		print_message("cpio is not installed\n");
		skip();
	}
	assert_int_equal(guest_image_exec_archive("echo from the guest; exit 7", &data, &len), 0);
	write_file(in_top("a.cpio"), data, len);
	free(data);
	snprintf(shell, sizeof(shell), "cd %s && cpio --quiet -i -d <a.cpio", top);
	assert_int_equal(system(shell), 0);
	assert_int_equal(stat(in_top("trivm/exec"), &st), 0);
	assert_int_equal(st.st_mode, S_IFREG | 0755);
	snprintf(shell, sizeof(shell), "%s/trivm/exec >%s/out", top, top);
	status = system(shell);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 7);
	snprintf(shell, sizeof(shell), "grep -qx 'from the guest' %s/out", top);
	assert_int_equal(system(shell), 0);
}

#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_top, remove_top)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		IN_A_FOLDER(the_environment_comes_first),
		IN_A_FOLDER(the_environment_is_not_second_guessed),
		IN_A_FOLDER(a_path_too_long),
		IN_A_FOLDER(beside_the_executable_then_in_lib),
		cmocka_unit_test(archives_of_every_length),
		cmocka_unit_test(an_archive_of_a_long_command),
		IN_A_FOLDER(cpio_unpacks_it),
	};

	if (argc > 1 && strcmp(argv[1], "--find") == 0)
		return find();
	unsetenv("TRIVM_GUEST");
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
