/* SPDX-License-Identifier: BSD-2-Clause */
/* user_wire: vhost-user's messages on a socket, with a peer that does what it likes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/vhost/user_wire.h"
#include "vmm/fd.h"

struct pair {
	int near, far; /* what is tested, and the peer */
	struct vu_rx rx;
	int fds_before;
};

static int open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static int begin(void **state)
{
	struct pair *p = calloc(1, sizeof(*p));
	int sv[2];

	p->fds_before = open_fds();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	p->near = sv[0];
	p->far = sv[1];
	vu_rx_init(&p->rx);
	*state = p;
	return 0;
}

/* Whatever happened, no descriptor may be left. */
static int end(void **state)
{
	struct pair *p = *state;
	int left;

	vu_rx_reset(&p->rx);
	fd_close(&p->near);
	fd_close(&p->far);
	left = open_fds() - p->fds_before;
	free(p);
	return left;
}

static struct vu_msg msg(uint32_t request, uint32_t size)
{
	return (struct vu_msg){.request = request, .flags = VU_VERSION, .size = size};
}

/* Bytes as they are, with descriptors. */
static void raw(int fd, const void *bytes, size_t len, unsigned nr_fds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int) * 64)];
	} c = {0};
	struct iovec iov = {(void *)bytes, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr_fds) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		for (unsigned i = 0; i < nr_fds; i++)
			((int *)CMSG_DATA(&c.h))[i] = STDERR_FILENO;
	}
	assert_int_equal(sendmsg(fd, &m, 0), len);
}

static void a_message_arrives_whole_with_its_descriptors(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_ADD_MEM_REG, sizeof(struct vu_memory_region));
	int fds[VU_FDS_MAX], taken;

	m.p.region.region = (struct vu_region){1, 2, 3, 4};
	for (int i = 0; i < VU_FDS_MAX; i++)
		fds[i] = STDERR_FILENO;
	assert_int_equal(vu_send(p->far, &m, fds, VU_FDS_MAX, 0), 0);
	assert_int_equal(vu_recv(p->near, &p->rx, vu_deadline(5000)), 0);
	assert_int_equal(p->rx.msg.request, VU_ADD_MEM_REG);
	assert_int_equal(p->rx.msg.size, 40);
	assert_int_equal(p->rx.msg.p.region.region.mmap_offset, 4);
	assert_int_equal(p->rx.nr_fds, VU_FDS_MAX);
	for (unsigned i = 0; i < VU_FDS_MAX; i++)
		assert_true(fcntl(p->rx.fds[i], F_GETFD) & FD_CLOEXEC);
	taken = vu_rx_take_fd(&p->rx, 3);
	assert_true(taken >= 0);
	assert_int_equal(vu_rx_take_fd(&p->rx, 3), -1);
	assert_int_equal(vu_rx_take_fd(&p->rx, VU_FDS_MAX), -1);
	vu_rx_reset(&p->rx);
	assert_int_not_equal(fcntl(taken, F_GETFD), -1); /* ours: reset did not close it */
	close(taken);
}

static void two_messages_do_not_run_into_each_other(void **state)
{
	struct pair *p = *state;
	struct vu_msg a = msg(VU_SET_VRING_KICK, 8), b = msg(VU_SET_VRING_CALL, 8);
	int fds[2] = {STDERR_FILENO, STDERR_FILENO};

	a.p.u64 = 1;
	b.p.u64 = 2;
	assert_int_equal(vu_send(p->far, &a, fds, 1, 0), 0);
	assert_int_equal(vu_send(p->far, &b, fds, 2, 0), 0);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 1);
	assert_int_equal(p->rx.msg.p.u64, 1);
	assert_int_equal(p->rx.nr_fds, 1);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 1); /* still this one until it is reset */
	assert_int_equal(p->rx.msg.p.u64, 1);
	vu_rx_reset(&p->rx);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 1);
	assert_int_equal(p->rx.msg.p.u64, 2);
	assert_int_equal(p->rx.nr_fds, 2);
}

static void bytes_that_dribble_in_are_put_together(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_VRING_BASE, 8);
	const size_t len = VU_HEADER + 8;

	m.p.state = (struct vu_state){3, 77};
	for (size_t i = 0; i < len; i++) {
		raw(p->far, (char *)&m + i, 1, i == 0 || i == 15);
		assert_int_equal(vu_rx_step(&p->rx, p->near), i + 1 == len);
	}
	assert_int_equal(p->rx.msg.p.state.num, 77);
	assert_int_equal(p->rx.nr_fds, 2);
}

static void too_many_descriptors_are_closed(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_MEM_TABLE, 8);

	raw(p->far, &m, VU_HEADER + 8, VU_FDS_MAX + 1);
	assert_int_equal(vu_rx_step(&p->rx, p->near), -EPROTO);
	assert_int_equal(p->rx.nr_fds, 0);

	/* Eight with the header and one more with the payload. */
	raw(p->far, &m, VU_HEADER, VU_FDS_MAX);
	raw(p->far, &m.p, 8, 1);
	while (vu_rx_step(&p->rx, p->near) == 0)
		;
	assert_int_equal(p->rx.nr_fds, 0);
	assert_int_equal(p->rx.got, 0);
}

static void a_wrong_version_is_refused(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_GET_FEATURES, 0);

	m.flags = 2;
	raw(p->far, &m, VU_HEADER, 1);
	assert_int_equal(vu_rx_step(&p->rx, p->near), -EPROTO);
}

static void a_payload_without_bounds_is_refused(void **state)
{
	const uint32_t sizes[] = {sizeof(union vu_payload) + 1, 0x7fffffff, 0x80000000, 0xffffffff};
	struct pair *p = *state;

	for (unsigned i = 0; i < 4; i++) {
		struct vu_msg m = msg(VU_GET_CONFIG, sizes[i]);

		raw(p->far, &m, VU_HEADER, 0);
		assert_int_equal(vu_rx_step(&p->rx, p->near), -EMSGSIZE);
	}
}

static void the_largest_payload_fits(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_GET_CONFIG, sizeof(union vu_payload));

	memset(&m.p, 0x5a, sizeof(m.p));
	assert_int_equal(vu_send(p->far, &m, NULL, 0, 0), 0);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 1);
	assert_memory_equal(&p->rx.msg, &m, sizeof(m));
}

static void the_end_of_the_stream_is_told_from_a_cut(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_FEATURES, 8);

	raw(p->far, &m, VU_HEADER + 3, 2);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 0);
	fd_close(&p->far);
	assert_int_equal(vu_rx_step(&p->rx, p->near), -ECONNRESET);
	assert_int_equal(vu_rx_step(&p->rx, p->near), -ENODATA);
	assert_int_equal(vu_recv(p->near, &p->rx, vu_deadline(5000)), -ENODATA);
	assert_int_equal(vu_send(p->near, &m, NULL, 0, vu_deadline(5000)), -EPIPE);
}

static void a_silent_peer_costs_its_time_limit(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_FEATURES, 8);
	int64_t from = vu_deadline(0);

	assert_int_equal(vu_recv(p->near, &p->rx, 0), -ETIMEDOUT);
	raw(p->far, &m, VU_HEADER + 1, 1);
	assert_int_equal(vu_recv(p->near, &p->rx, vu_deadline(30)), -ETIMEDOUT);
	assert_true(vu_deadline(0) - from >= 30);
	/* The rest comes late: nothing is lost. */
	assert_int_equal(p->rx.got, VU_HEADER + 1);
	raw(p->far, (struct vu_msg *)((char *)&m + VU_HEADER + 1), 7, 0);
	assert_int_equal(vu_rx_step(&p->rx, p->near), 1);
	assert_int_equal(p->rx.nr_fds, 1);
}

static void a_peer_that_does_not_read_costs_its_time_limit(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_FEATURES, 8);
	int rc, n = 0;

	do {
		rc = vu_send(p->near, &m, NULL, 0, vu_deadline(20));
	} while (rc == 0 && n++ < 100000);
	assert_int_equal(rc, -ETIMEDOUT);
	assert_int_equal(vu_send(p->near, &m, NULL, 0, 0), -ETIMEDOUT);
}

static void *drain_slowly(void *arg)
{
	struct pair *p = arg;
	struct vu_rx rx;
	intptr_t n = 0;

	vu_rx_init(&rx);
	usleep(20000);
	while (vu_recv(p->far, &rx, vu_deadline(10000)) == 0) {
		if (rx.msg.p.memory.nr != (uint32_t)n || rx.nr_fds != 1)
			abort();
		n++;
		vu_rx_reset(&rx);
	}
	return (void *)n;
}

static void sending_goes_on_where_the_buffer_was_full(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_MEM_TABLE, sizeof(struct vu_memory));
	int size = 1, fd = STDERR_FILENO;
	pthread_t t;
	void *n;

	setsockopt(p->near, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	pthread_create(&t, NULL, drain_slowly, p);
	for (uint32_t i = 0; i < 300; i++) {
		m.p.memory.nr = i;
		assert_int_equal(vu_send(p->near, &m, &fd, 1, vu_deadline(10000)), 0);
	}
	shutdown(p->near, SHUT_WR);
	pthread_join(t, &n);
	assert_int_equal((intptr_t)n, 300);
}

static void what_cannot_be_sent_is_not_tried(void **state)
{
	struct pair *p = *state;
	struct vu_msg m = msg(VU_SET_FEATURES, sizeof(union vu_payload) + 1);
	int fds[VU_FDS_MAX + 1] = {0};

	assert_int_equal(vu_send(p->near, &m, NULL, 0, 0), -EINVAL);
	m.size = 8;
	assert_int_equal(vu_send(p->near, &m, fds, VU_FDS_MAX + 1, 0), -EINVAL);
	assert_int_equal(vu_rx_step(&p->rx, p->far), 0);
}

static void check(uint32_t request, uint32_t size, unsigned fds, int expected)
{
	struct vu_msg m = msg(request, size);

	assert_int_equal(vu_request_check(&m, fds), expected);
}

static void requests_have_their_form(void **state)
{
	struct vu_msg m;

	(void)state;
	check(VU_GET_FEATURES, 0, 0, 0);
	check(VU_GET_FEATURES, 8, 0, -EPROTO);
	check(VU_GET_FEATURES, 0, 1, -EPROTO);
	check(VU_SET_VRING_ADDR, 40, 0, 0);
	check(VU_SET_VRING_ADDR, 39, 0, -EPROTO);
	check(VU_ADD_MEM_REG, 40, 1, 0);
	check(VU_ADD_MEM_REG, 40, 0, -EPROTO);
	check(VU_ADD_MEM_REG, 40, 2, -EPROTO);
	check(VU_SET_INFLIGHT_FD, 20, 1, 0);
	check(VU_SET_INFLIGHT_FD, 24, 1, 0);
	check(VU_SET_INFLIGHT_FD, 24, 0, -EPROTO);
	check(VU_SET_BACKEND_REQ_FD, 0, 1, 0);
	check(0, 0, 0, -EOPNOTSUPP);
	check(33, 0, 0, -EOPNOTSUPP);
	check(VU_GET_STATUS + 1, 0, 0, -EOPNOTSUPP);
	check(0xffffffff, 0, 0, -EOPNOTSUPP);

	m = msg(VU_SET_MEM_TABLE, 8 + 2 * 32);
	m.p.memory.nr = 2;
	assert_int_equal(vu_request_check(&m, 2), 0);
	assert_int_equal(vu_request_check(&m, 1), -EPROTO);
	m.p.memory.nr = 3;
	assert_int_equal(vu_request_check(&m, 3), -EPROTO);
	m.size = sizeof(struct vu_memory);
	m.p.memory.nr = 9;
	assert_int_equal(vu_request_check(&m, 8), -EPROTO);
	m.p.memory.nr = 0x80000000;
	assert_int_equal(vu_request_check(&m, 0), -EPROTO);

	m = msg(VU_SET_CONFIG, 12 + 6);
	m.p.config.size = 6;
	assert_int_equal(vu_request_check(&m, 0), 0);
	m.p.config.size = 7;
	assert_int_equal(vu_request_check(&m, 0), -EPROTO);
	m.p.config.size = 0xfffffffa;
	assert_int_equal(vu_request_check(&m, 0), -EPROTO);

	m = msg(VU_SET_VRING_KICK, 8);
	assert_int_equal(vu_request_check(&m, 1), 0);
	assert_int_equal(vu_request_check(&m, 0), -EPROTO);
	m.p.u64 = 1 | VU_VRING_NO_FD;
	assert_int_equal(vu_request_check(&m, 0), 0);
	assert_int_equal(vu_request_check(&m, 1), -EPROTO);
}

static void requests_have_names(void **state)
{
	(void)state;
	assert_string_equal(vu_request_name(VU_SET_MEM_TABLE), "SET_MEM_TABLE");
	assert_string_equal(vu_request_name(VU_GET_STATUS), "GET_STATUS");
	assert_string_equal(vu_request_name(33), "?");
	assert_string_equal(vu_request_name(0xffffffff), "?");
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_PAIR(a_message_arrives_whole_with_its_descriptors),
		WITH_PAIR(two_messages_do_not_run_into_each_other),
		WITH_PAIR(bytes_that_dribble_in_are_put_together),
		WITH_PAIR(too_many_descriptors_are_closed),
		WITH_PAIR(a_wrong_version_is_refused),
		WITH_PAIR(a_payload_without_bounds_is_refused),
		WITH_PAIR(the_largest_payload_fits),
		WITH_PAIR(the_end_of_the_stream_is_told_from_a_cut),
		WITH_PAIR(a_silent_peer_costs_its_time_limit),
		WITH_PAIR(a_peer_that_does_not_read_costs_its_time_limit),
		WITH_PAIR(sending_goes_on_where_the_buffer_was_full),
		WITH_PAIR(what_cannot_be_sent_is_not_tried),
		cmocka_unit_test(requests_have_their_form),
		cmocka_unit_test(requests_have_names),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
