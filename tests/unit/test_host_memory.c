/* SPDX-License-Identifier: BSD-2-Clause */
/* host_memory: from files as the kernel writes them, in a folder of the test's own. */
#include <errno.h>
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

#include "vmm/host_memory.h"
#include "vmm/util.h"

static char root[64];

static void put(const char *path, const char *text)
{
	char full[512], command[600];
	FILE *out;

	snprintf(full, sizeof(full), "%s/%s", root, path);
	snprintf(command, sizeof(command), "mkdir -p \"$(dirname %s)\"", full);
	assert_int_equal(system(command), 0);
	out = fopen(full, "w");
	assert_non_null(out);
	fputs(text, out);
	fclose(out);
}

static int setup(void **state)
{
	(void)state;
	strcpy(root, "/tmp/test_host_memory.XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", root);
	return system(command);
}

static void nothing_is_known(void **state)
{
	const char *what;

	(void)state;
	assert_true(host_memory_available(root, &what) == UINT64_MAX);
}

static void available_with_swap(void **state)
{
	const char *what;

	(void)state;
	put("proc/meminfo",
	    "MemTotal:       1000000 kB\nMemFree:  10 kB\nMemAvailable:  500000 kB\n"
	    "SwapTotal: 9 kB\nSwapFree:     7 kB\n");
	assert_true(host_memory_available(root, &what) == KIB(500007));
	assert_non_null(strstr(what, "host"));
}

/* The group's own limit, or one above it, whichever is less. */
static void limits_of_cgroups(void **state)
{
	const char *what;

	(void)state;
	put("proc/meminfo", "MemAvailable:  500000 kB\nSwapFree: 0 kB\n");
	put("proc/self/cgroup", "0::/user.slice/session\n");
	put("sys/fs/cgroup/user.slice/session/memory.max", "max\n");
	put("sys/fs/cgroup/user.slice/memory.max", "268435456\n");
	assert_true(host_memory_available(root, &what) == MIB(256));
	assert_non_null(strstr(what, "cgroup"));
	put("sys/fs/cgroup/user.slice/session/memory.max", "1048576\n");
	assert_true(host_memory_available(root, &what) == MIB(1));
	/* In a container the top group is what one has. */
	put("proc/self/cgroup", "0::/\n");
	put("sys/fs/cgroup/memory.max", "2097152\n");
	assert_true(host_memory_available(root, &what) == MIB(2));
	/* Version 1. */
	put("proc/self/cgroup", "3:cpu,cpuacct:/x\n2:memory:/a/b\n");
	put("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "3145728\n");
	put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	assert_true(host_memory_available(root, &what) == MIB(3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(nothing_is_known, setup, teardown),
		cmocka_unit_test_setup_teardown(available_with_swap, setup, teardown),
		cmocka_unit_test_setup_teardown(limits_of_cgroups, setup, teardown),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
