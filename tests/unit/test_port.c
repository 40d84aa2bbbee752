/* SPDX-License-Identifier: BSD-2-Clause */
/* port: the port that leads nowhere, hostfwd=, the socket pair and the thread of other ports. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/port.h"
#include "devices/net/port_priv.h"

static void none_leads_nowhere(void **state)
{
	struct port *port = NULL;
	struct err err = {0};
	char text[64];

	(void)state;
	assert_int_equal(port_none_open(&port, 4, &err), 0);
	assert_string_equal(port->kind, "none");
	assert_int_equal(port->queues, 4);
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		assert_int_equal(port->fds[i], -1);
	/* As capable as any, so that drivers do what they do with a tap. */
	assert_true(port->vnet_hdr);
	assert_true(port->host_offloads & BIT64(VIRTIO_NET_F_HOST_TSO4));
	assert_int_equal(port->ops->set_offloads(port, port->guest_offloads), 0);
	assert_int_equal(port->ops->set_offloads(port, port->host_offloads), -EINVAL);
	assert_int_equal(port->ops->set_queues(port, 4), 0);
	assert_int_equal(port->ops->set_queues(port, 5), -EINVAL);
	assert_int_equal(port->ops->set_queues(port, 0), -EINVAL);
	port->ops->describe(port, text, sizeof(text));
	assert_non_null(strstr(text, "dropped"));
	port_close(port);
	port_close(NULL);

	port = NULL;
	assert_int_equal(port_none_open(&port, 0, &err), -EINVAL);
	assert_int_equal(port_none_open(&port, PORT_QUEUES_MAX + 1, &err), -EINVAL);
	assert_null(port);
	assert_non_null(strstr(err.msg, "queues=33"));
}

static void good_forward(const char *text, bool udp, const char *host, unsigned host_port,
                         const char *guest, unsigned guest_port)
{
	struct port_forward f;
	struct err err = {0};

	if (port_parse_forward(text, &f, &err) != 0)
		fail_msg("%s", err.msg);
	assert_int_equal(f.udp, udp);
	assert_string_equal(f.host_addr, host);
	assert_int_equal(f.host_port, host_port);
	assert_string_equal(f.guest_addr, guest);
	assert_int_equal(f.guest_port, guest_port);
}

static void bad_forward(const char *text, const char *why)
{
	struct port_forward f = {.host_port = 12345};
	struct err err = {0};

	if (port_parse_forward(text, &f, &err) != -EINVAL)
		fail_msg("%s is taken", text);
	assert_int_equal(f.host_port, 12345); /* nothing half done */
	if (!strstr(err.msg, text) || !strstr(err.msg, why) || !strstr(err.msg, "expected"))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
}

static void forwards(void **state)
{
	(void)state;
	good_forward("tcp:127.0.0.1:2222-10.0.2.15:22", false, "127.0.0.1", 2222, "10.0.2.15", 22);
	good_forward("tcp::2222-:22", false, "", 2222, "", 22);
	good_forward("udp:127.0.0.1:53-:5353", true, "127.0.0.1", 53, "", 5353);
	good_forward("udp:[::1]:65535-[fec0::5054:ff:fe12:3456]:1", true, "::1", 65535,
	             "fec0::5054:ff:fe12:3456", 1);
	good_forward("tcp:[1111:2222:3333:4444:5555:6666:123.123.123.123]:1-:2", false,
	             "1111:2222:3333:4444:5555:6666:123.123.123.123", 1, "", 2);

	bad_forward("", "neither tcp nor udp");
	bad_forward("sctp::1-:2", "neither tcp nor udp");
	bad_forward("tcp", "neither tcp nor udp");
	bad_forward("tcp:", "no guest's side");
	bad_forward("tcp::2222", "no guest's side");
	bad_forward("tcp:2222-22", "port number is missing");
	bad_forward("tcp::-:22", "port number is missing");
	bad_forward("tcp::2222-:", "port number is missing");
	bad_forward("tcp::2222-", "port number is missing");
	bad_forward("tcp::0-:22", "port 0");
	bad_forward("tcp::65536-:22", "above 65535");
	bad_forward("tcp::99999999999999999999-:22", "above 65535");
	bad_forward("tcp::22a-:22", "not a number");
	bad_forward("tcp::22-:-22", "not a number");
	bad_forward("tcp::22-:+22", "not a number");
	bad_forward("tcp:localhost:1-:2", "neither IPv4 nor IPv6");
	bad_forward("tcp:1.2.3:1-:2", "neither IPv4 nor IPv6");
	bad_forward("tcp:[127.0.0.1]:1-:2", "neither IPv4 nor IPv6");
	bad_forward("tcp:[::1:1-:2", "brackets");
	bad_forward("tcp:[::1]-:2", "brackets");
	bad_forward("tcp:[::1]1-:2", "brackets");
	bad_forward("tcp:::1:22-:2", "not a number");
	bad_forward("tcp:[::1]:22-10.0.2.15:22", "one address is IPv4");
	bad_forward("tcp:11111111111111111111111111111111111111111111111111:1-:2", "too long");
}

static void pair_carries_frames(void **state)
{
	uint8_t buf[PORT_FRAME_MAX] = {1}, got[PORT_FRAME_MAX];
	struct pollfd p;
	unsigned n = 0;
	int fds[2];

	(void)state;
	assert_int_equal(port_pair(fds), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	}
	/* Frames stay apart, and the longest passes. */
	assert_int_equal(write(fds[0], buf, 60), 60);
	assert_int_equal(write(fds[0], buf, sizeof(buf)), sizeof(buf));
	assert_int_equal(read(fds[1], got, sizeof(got)), 60);
	assert_int_equal(read(fds[1], got, sizeof(got)), sizeof(buf));
	assert_int_equal(read(fds[1], got, sizeof(got)), -1);
	assert_int_equal(errno, EAGAIN);

	/* Full is EAGAIN, and many more than the ten of net.unix.max_dgram_qlen. */
	while (write(fds[0], buf, 1514) == 1514)
		n++;
	assert_int_equal(errno, EAGAIN);
	assert_true(n > 60);
	p = (struct pollfd){.fd = fds[0], .events = POLLOUT};
	assert_int_equal(poll(&p, 1, 0), 0);
	for (; n; n--)
		assert_int_equal(read(fds[1], got, sizeof(got)), 1514);
	assert_int_equal(poll(&p, 1, 0), 1);
	close(fds[0]);
	close(fds[1]);
}

static void *look(void *arg)
{
	sigset_t *set = arg;

	pthread_sigmask(SIG_SETMASK, NULL, set);
	return NULL;
}

static void threads_take_no_signals(void **state)
{
	sigset_t inside, before, after;
	pthread_t t;

	(void)state;
	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_int_equal(port_thread(&t, "test", look, &inside), 0);
	pthread_join(t, NULL);
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	assert_true(sigismember(&inside, SIGTERM) && sigismember(&inside, SIGPIPE) &&
	            sigismember(&inside, SIGUSR1));
	for (int i = 1; i < 32; i++)
		assert_int_equal(sigismember(&after, i), sigismember(&before, i));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_leads_nowhere),
		cmocka_unit_test(forwards),
		cmocka_unit_test(pair_carries_frames),
		cmocka_unit_test(threads_take_no_signals),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
