/* SPDX-License-Identifier: BSD-2-Clause */
/* What is advised for a device that may not be opened: what the node's group and mode make helpful. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/device_access.h"

static void by_group_and_mode(void **state)
{
	char path[] = "/tmp/trivm-test-device-XXXXXX", buf[128];
	gid_t group = getgid() ? getgid() : 1;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	/* A group that may not do both is no help, nor is one that nobody joins. */
	assert_int_equal(fchmod(fd, 0600), 0);
	assert_non_null(strstr(device_access_remedy(path, buf, sizeof(buf)),
	                       "sudo setfacl -m u:$USER:rw /tmp/"));
	assert_int_equal(fchmod(fd, 0640), 0);
	assert_non_null(strstr(device_access_remedy(path, buf, sizeof(buf)), "setfacl"));
	assert_non_null(strstr(device_access_remedy("/nonexistent", buf, sizeof(buf)), "setfacl"));
	if (fchown(fd, (uid_t)-1, 0) == 0) {
		assert_int_equal(fchmod(fd, 0660), 0);
		assert_non_null(strstr(device_access_remedy(path, buf, sizeof(buf)), "setfacl"));
	}
	if (fchown(fd, (uid_t)-1, group) == 0) {
		assert_int_equal(fchmod(fd, 0660), 0);
		assert_non_null(
			strstr(device_access_remedy(path, buf, sizeof(buf)), "sudo usermod -aG "));
	}
	close(fd);
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(by_group_and_mode)};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
