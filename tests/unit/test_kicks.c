/* SPDX-License-Identifier: BSD-2-Clause */
/* kicks: notifications by exit and by ioeventfd are told apart, whoever has the queue. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/virtio/kicks.h"
#include "vmm/fd.h"

static struct virtio_kicks k;
static int fd;

static int setup(void **state)
{
	(void)state;
	k = (struct virtio_kicks){0};
	fd = fd_eventfd();
	assert_true(fd >= 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fd_close(&fd);
	return 0;
}

/* What KVM does for an ioeventfd. */
static void guest_kicks(unsigned n)
{
	while (n--)
		fd_signal(fd);
}

static void expect(uint64_t exits, uint64_t direct, bool known)
{
	struct virtio_kick_counts c;

	virtio_kicks_read(&k, fd, &c);
	assert_int_equal(c.exits, exits);
	assert_int_equal(c.direct, direct);
	assert_int_equal(c.direct_known, known);
}

static void a_count_stays_where_it_is(void **state)
{
	uint64_t count = 1;
	int gone = dup(0);

	(void)state;
	assert_int_equal(fd_peek(fd, &count), 0);
	assert_int_equal(count, 0);
	guest_kicks(300);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(fd_peek(fd, &count), 0);
		assert_int_equal(count, 300);
	}
	assert_int_equal(fd_drain(fd), 300);
	close(gone);
	assert_true(fd_peek(gone, &count) < 0);
	assert_true(fd_peek(0, &count) < 0); /* open, and no eventfd */
}

static void ways_are_told_apart(void **state)
{
	(void)state;
	expect(0, 0, true);
	guest_kicks(5);
	virtio_kicks_signal(&k, fd, true);
	virtio_kicks_signal(&k, fd, true);
	virtio_kicks_signal(&k, fd, false);
	expect(2, 5, true);
}

static void counts_go_on_when_the_queue_is_started_again(void **state)
{
	(void)state;
	virtio_kicks_owner(&k, fd, false, 1); /* the kernel's vhost: its start is one write */
	fd_signal(fd);
	guest_kicks(7);
	virtio_kicks_signal(&k, fd, true);
	virtio_kicks_drain(&k, fd);
	expect(1, 7, true);
	guest_kicks(3);
	virtio_kicks_owner(&k, fd, false, 0);
	virtio_kicks_signal(&k, fd, false);
	guest_kicks(1);
	expect(1, 11, true);
}

static void what_a_back_end_reads_is_not_guessed(void **state)
{
	(void)state;
	guest_kicks(4);
	virtio_kicks_owner(&k, fd, true, 1);
	fd_signal(fd);
	guest_kicks(100);
	assert_int_equal(fd_drain(fd), 105); /* the back-end */
	guest_kicks(2);
	virtio_kicks_signal(&k, fd, true);
	expect(1, 4, false);
	virtio_kicks_owner(&k, fd, false, 0); /* ours again, with 3 that it had not read */
	expect(1, 4, true);
	guest_kicks(6);
	expect(1, 10, true);
	/* It has kept the fd, and goes on reading: wrong, but no number of 20 digits. */
	fd_drain(fd);
	expect(1, 4, true);
	/* A stop in its time. */
	virtio_kicks_owner(&k, fd, true, 0);
	guest_kicks(50);
	virtio_kicks_drain(&k, fd);
	virtio_kicks_owner(&k, fd, false, 0);
	guest_kicks(2);
	expect(1, 6, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_count_stays_where_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(ways_are_told_apart, setup, teardown),
		cmocka_unit_test_setup_teardown(counts_go_on_when_the_queue_is_started_again, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(what_a_back_end_reads_is_not_guessed, setup,
	                                        teardown),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
