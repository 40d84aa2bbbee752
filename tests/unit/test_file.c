/* SPDX-License-Identifier: BSD-2-Clause */
/* file: links that are followed and links that are not, and files that one process has at a time. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/fd.h"
#include "vmm/file.h"

static char dir[64], path[128], target[128];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test-file-XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/name", dir);
	snprintf(target, sizeof(target), "%s/target", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(target);
	return rmdir(dir);
}

static int create(struct err *err)
{
	return file_create("--x ", path, O_WRONLY | O_TRUNC, 0600, err);
}

static void creates(void)
{
	struct err err = {.msg = ""};
	int fd = create(&err);

	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
}

static void a_new_file_and_an_old_one(void **state)
{
	struct stat st;

	(void)state;
	creates();
	creates();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void links_outside_of_shared_folders_are_followed(void **state)
{
	(void)state;
	assert_int_equal(symlink(target, path), 0);
	creates();
	assert_int_equal(access(target, F_OK), 0);
	unlink(target);
	unlink(path);
	assert_int_equal(symlink("target", path), 0); /* relative to the link's folder */
	creates();
	assert_int_equal(access(target, F_OK), 0);
}

static void our_own_links_in_a_shared_folder_are_followed(void **state)
{
	(void)state;
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(symlink(target, path), 0);
	creates();
	assert_int_equal(access(target, F_OK), 0);
}

/* What another user laid there for us: its target is not made, nor emptied. */
static void another_users_links_in_a_shared_folder_are_not(void **state)
{
	struct err err = {.msg = ""};

	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(chmod(dir, 01777), 0);
	assert_int_equal(symlink(target, path), 0);
	assert_int_equal(lchown(path, 65534, 65534), 0);
	assert_int_equal(create(&err), -EACCES);
	assert_non_null(strstr(err.msg, "--x "));
	assert_non_null(strstr(err.msg, "symbolic link of another user"));
	assert_int_equal(access(target, F_OK), -1);
	/* The folder's owner may lay links there. */
	assert_int_equal(chown(dir, 65534, 65534), 0);
	creates();
	assert_int_equal(chown(dir, 0, 0), 0);
}

static void links_in_a_circle(void **state)
{
	struct err err = {.msg = ""};

	(void)state;
	assert_int_equal(symlink(path, path), 0);
	assert_int_equal(create(&err), -ELOOP);
}

static void a_link_of_proc_is_the_file_itself(void **state)
{
	struct err err = {.msg = ""};
	int p[2], fd;
	char byte = 0;

	(void)state;
	assert_int_equal(pipe(p), 0);
	snprintf(target, sizeof(target), "/proc/self/fd/%d", p[1]);
	assert_int_equal(symlink(target, path), 0);
	fd = file_create("--x ", path, O_WRONLY, 0600, &err);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "a", 1), 1);
	assert_int_equal(read(p[0], &byte, 1), 1);
	close(fd);
	close(p[0]);
	close(p[1]);
}

static void errors_name_the_option(void **state)
{
	struct err err = {.msg = ""};

	(void)state;
	assert_int_equal(file_create("--x ", "/nonexistent/file", O_WRONLY, 0600, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "--x /nonexistent/file"));
}

static void one_has_a_claimed_file(void **state)
{
	struct err err = {.msg = ""};
	int one = file_claim("--x ", path, O_WRONLY, 0600, &err), two;

	(void)state;
	assert_true(one >= 0);
	assert_int_equal(file_claim("--x ", path, O_WRONLY, 0600, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "another running VM"));
	close(one); /* as by a kill: the file stays, and is free */
	two = file_claim("--x ", path, O_WRONLY, 0600, &err);
	assert_true(two >= 0);
	file_unclaim(&two, path);
	assert_int_equal(two, -1);
	assert_int_equal(access(path, F_OK), -1);
	file_unclaim(&two, path);
}

static void a_successors_file_stays(void **state)
{
	struct err err = {.msg = ""};
	int one = file_claim("--x ", path, O_WRONLY, 0600, &err), two;

	(void)state;
	assert_int_equal(unlink(path), 0);
	two = file_claim("--x ", path, O_WRONLY, 0600, &err);
	assert_true(two >= 0);
	file_unclaim(&one, path);
	assert_int_equal(access(path, F_OK), 0);
	file_unclaim(&two, path);
	assert_int_equal(access(path, F_OK), -1);
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(a_new_file_and_an_old_one),
		T(links_outside_of_shared_folders_are_followed),
		T(our_own_links_in_a_shared_folder_are_followed),
		T(another_users_links_in_a_shared_folder_are_not),
		T(links_in_a_circle),
		T(a_link_of_proc_is_the_file_itself),
		T(errors_name_the_option),
		T(one_has_a_claimed_file),
		T(a_successors_file_stays),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
