/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user_host: files that a host may have as /etc/resolv.conf, and name servers of its own, in a network
 * namespace of this process. Without one (root, or user namespaces) what needs it is skipped.
 */
#include <errno.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/user_host.h"

static char path[64], text[400];
static bool isolated;

static void with(const char *content, struct user_host *h)
{
	FILE *out = fopen(path, "we");

	assert_non_null(out);
	fputs(content, out);
	fclose(out);
	user_host_look(h, path);
}

static bool resolves(const char *content)
{
	struct user_host h;

	with(content, &h);
	return user_host_resolves(&h, path, text, sizeof(text));
}

static void first_of_each_kind(void **state)
{
	struct user_host h;

	(void)state;
	with("# nameserver 9.9.9.9\nsearch example.org\n nameserver 8.8.8.8\n"
	     "nameserver fe80::1%eth0\nnameserver\t192.0.2.1\nnameserver 192.0.2.2\n"
	     "nameserver 2001:db8::1\nnameserver nonsense\n",
	     &h);
	assert_int_equal(h.resolv_error, 0);
	assert_string_equal(h.dns4, "192.0.2.1");
	assert_string_equal(h.dns6, "fe80::1");
	assert_true(user_host_resolves(&h, path, text, sizeof(text)));
	assert_string_equal(text, "");
}

static void what_is_missing_is_said(void **state)
{
	struct user_host h;

	(void)state;
	assert_false(resolves("nameserver 2001:db8::1\n"));
	assert_non_null(strstr(text, path));
	assert_non_null(strstr(text, "IPv6 name servers only (2001:db8::1)"));
	assert_non_null(strstr(text, "fec0::3"));
	assert_false(resolves(""));
	assert_non_null(strstr(text, "no name server"));
	assert_false(resolves("nameserver localhost\n"));
	assert_non_null(strstr(text, "no name server"));
	unlink(path);
	user_host_look(&h, path);
	assert_false(user_host_resolves(&h, path, text, sizeof(text)));
	assert_non_null(strstr(text, strerror(ENOENT)));
	assert_non_null(strstr(text, path));
}

static int listen_at(const char *address)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(53)};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	inet_pton(AF_INET, address, &a.sin_addr);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void stub_has_to_be_there(void **state)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_port = htons(53)};
	int fd;

	(void)state;
	if (!isolated)
		skip();
	assert_false(resolves("nameserver 127.0.0.53\n"));
	assert_non_null(strstr(text, "127.0.0.53"));
	assert_non_null(strstr(text, "no program listens"));
	fd = listen_at("127.0.0.1");
	assert_false(resolves("nameserver 127.0.0.53\n"));
	assert_true(resolves("nameserver 127.0.0.1\n"));
	close(fd);
	fd = listen_at("127.0.0.53");
	assert_true(resolves("nameserver 127.0.0.53\n"));
	close(fd);
	fd = listen_at("0.0.0.0");
	assert_true(resolves("nameserver 127.0.0.53\n"));
	close(fd);
	fd = socket(AF_INET6, SOCK_DGRAM, 0);
	if (fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0)
		assert_true(resolves("nameserver 127.0.0.53\n"));
	close(fd);
}

static void range(const char *groups)
{
	FILE *out = fopen("/proc/sys/net/ipv4/ping_group_range", "we");

	assert_non_null(out);
	fputs(groups, out);
	assert_int_equal(fclose(out), 0);
}

static void ping_and_ipv6(void **state)
{
	struct user_host h;

	(void)state;
	if (!isolated || geteuid() != 0)
		skip();
	range("0 0"); /* there is no /etc in a namespace: addresses are its own */
	with("nameserver 192.0.2.1\n", &h);
	assert_true(h.ping);
	assert_false(h.ipv6);
	range("1 0");
	assert_int_equal(seteuid(65534), 0);
	user_host_look(&h, path);
	assert_int_equal(seteuid(0), 0);
	assert_false(h.ping);
}

static void isolate(void)
{
	struct ifreq lo = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd;

	isolated = unshare(CLONE_NEWNET) == 0;
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	isolated = isolated && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_of_each_kind),
		cmocka_unit_test(what_is_missing_is_said),
		cmocka_unit_test(stub_has_to_be_there),
		cmocka_unit_test(ping_and_ipv6),
	};
	int rc;

	alarm(60);
	isolate();
	snprintf(path, sizeof(path), "/tmp/test_user_host.%d", (int)getpid());
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
