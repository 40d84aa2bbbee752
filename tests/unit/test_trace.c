/* SPDX-License-Identifier: BSD-2-Clause */
/* trace: what is recorded, whose, until when; and that threads do not get into each other's way. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/trace.h"
#include "vmm/util.h"

static const char nic[] = "net0", other[] = "net1";

static void arm(uint64_t rings, unsigned packets, uint64_t limit_ms)
{
	const struct trace_request r = {
		.dev = nic, .rings = rings, .packets = packets, .limit_ms = limit_ms};

	trace_disarm();
	assert_int_equal(trace_arm(&r), 0);
}

static struct trace_event events[TRACE_EVENTS_MAX];

static size_t read_all(void)
{
	return trace_read(0, events, TRACE_EVENTS_MAX);
}

static void nap(unsigned ms)
{
	usleep(1000 * ms);
}

static void sent(const char *dev, unsigned ring, int id)
{
	TRACE(chain_pop, dev, ring, "pop %d", id);
	TRACE(port_write, dev, ring, "write %d", id);
	TRACE(chain_push, dev, ring, "push %d", id);
	TRACE(used_show, dev, ring, "show");
	TRACE(irq_call, dev, ring, "call");
}

static void nothing_is_recorded_before_it_is_armed(void **state)
{
	(void)state;
	sent(nic, 1, 0);
	assert_int_equal(read_all(), 0);
	assert_int_equal(trace_state(), TRACE_IDLE);
}

static void what_is_recorded_says_where_and_when(void **state)
{
	char text[64];

	(void)state;
	arm(BIT64(1), 1, 1000);
	TRACE(chain_pop, nic, 1, "chain %d of %x, %d", 7, 0x1f, -3);
	assert_int_equal(read_all(), 1);
	assert_string_equal(events[0].site->func, __func__);
	assert_non_null(strstr(events[0].site->file, "test_trace.c"));
	assert_int_equal(events[0].tid, gettid());
	assert_int_equal(events[0].ring, 1);
	assert_string_equal(trace_point_name(events[0].site->point), "chain_pop");
	trace_text(&events[0], text, sizeof(text));
	assert_string_equal(text, "chain 7 of 0x1f, -3");
	for (size_t size = 1; size < sizeof(text); size++) {
		char *exact = malloc(size);

		trace_text(&events[0], exact, size);
		assert_int_equal(strlen(exact), min_u64(size - 1, strlen(text)));
		free(exact);
	}
}

static void others_are_not_recorded(void **state)
{
	(void)state;
	arm(BIT64(1), 1, 1000);
	sent(other, 1, 0);
	sent(nic, 0, 0);
	sent(nic, 65, 0);
	sent(NULL, 1, 0);
	assert_int_equal(read_all(), 0);
	trace_enter(nic, 1);
	TRACE(chain_pop, NULL, 0, "mine");
	trace_enter(other, 1);
	TRACE(msi_send, NULL, 0, "not mine");
	trace_leave();
	TRACE(msi_send, NULL, 0, "nobody's");
	assert_int_equal(read_all(), 1);
	assert_int_equal(events[0].ring, 1);
}

static void it_ends_with_the_last_packets_interrupt(void **state)
{
	static const enum trace_point want[] = {
		TRACE_POINT_chain_pop,  TRACE_POINT_port_write, TRACE_POINT_chain_push,
		TRACE_POINT_used_show,  TRACE_POINT_irq_call,   TRACE_POINT_chain_pop,
		TRACE_POINT_port_write, TRACE_POINT_chain_push, TRACE_POINT_used_show,
		TRACE_POINT_irq_call,   TRACE_POINT_call_seen,  TRACE_POINT_msi_send,
	};
	size_t n;

	(void)state;
	arm(BIT64(1), 2, 1000);
	for (int i = 0; i < 5; i++)
		sent(nic, 1, i);
	TRACE(call_seen, nic, 1, "seen");
	TRACE(msi_send, nic, 1, "sent");
	assert_true(trace_running());
	nap(2 * TRACE_GRACE_MS);
	assert_int_equal(trace_state(), TRACE_DONE);
	sent(nic, 1, 9);
	n = read_all();
	assert_int_equal(n, ARRAY_SIZE(want));
	for (size_t i = 0; i < n; i++)
		assert_int_equal(events[i].site->point, want[i]);
	assert_int_equal(events[6].args[0], 1);
	/* In pieces, as a client asks. */
	assert_int_equal(trace_read(n - 1, events, 5), 1);
	assert_int_equal(trace_read(n, events, 5), 0);
}

static void it_begins_with_a_beginning(void **state)
{
	(void)state;
	arm(BIT64(0) | BIT64(1), 1, 1000);
	TRACE(kicks_off, nic, 1, "note");
	TRACE(port_write, nic, 1, "the end of a frame");
	TRACE(chain_push, nic, 1, "the end of a frame");
	TRACE(chain_push, nic, 0, "the end of a frame");
	assert_int_equal(read_all(), 0);
	TRACE(chain_pop, nic, 1, "a beginning");
	TRACE(port_read, nic, 0, "a beginning, when received");
	TRACE(kicks_off, nic, 1, "note");
	assert_int_equal(read_all(), 3);
}

static void each_direction_has_its_packets(void **state)
{
	(void)state;
	arm(BIT64(0) | BIT64(1), 1, 1000);
	sent(nic, 1, 0);
	nap(2 * TRACE_GRACE_MS);
	assert_true(trace_running());
	TRACE(port_read, nic, 0, "read");
	nap(2 * TRACE_GRACE_MS);
	assert_int_equal(trace_state(), TRACE_DONE);
}

static void chains_are_packets_where_only_the_ring_is_seen(void **state)
{
	(void)state;
	arm(BIT64(1), 3, 1000);
	TRACE(ring_used, nic, 1, "%d used", 2);
	nap(2 * TRACE_GRACE_MS);
	assert_true(trace_running());
	TRACE(ring_used, nic, 1, "%d used", 1);
	nap(2 * TRACE_GRACE_MS);
	assert_int_equal(trace_state(), TRACE_DONE);
}

static void it_ends_when_its_time_is_over(void **state)
{
	(void)state;
	arm(BIT64(1), 1000, 20);
	sent(nic, 1, 0);
	nap(40);
	/* Whoever comes by disarms it; nobody has to ask for the state. */
	sent(nic, 1, 1);
	assert_false(trace_armed());
	assert_int_equal(trace_state(), TRACE_LATE);
	assert_int_equal(read_all(), 5);
}

static void it_ends_when_nobody_asks_any_more(void **state)
{
	(void)state;
	arm(BIT64(1), 1000, 10000);
	nap(TRACE_LEASE_MS - 500);
	read_all();
	nap(1000);
	assert_true(trace_running()); /* thanks to that */
	nap(TRACE_LEASE_MS);
	sent(nic, 1, 0);
	assert_false(trace_armed());
	assert_int_equal(read_all(), 0);
}

static void it_ends_when_it_is_full(void **state)
{
	(void)state;
	arm(BIT64(1), 1, 1000);
	for (unsigned i = 0; i < TRACE_EVENTS_MAX + 10; i++)
		TRACE(kick_exit, nic, 1, "again %d", i);
	assert_int_equal(trace_state(), TRACE_FULL);
	assert_false(trace_armed());
	assert_int_equal(read_all(), TRACE_EVENTS_MAX);
	assert_int_equal(events[TRACE_EVENTS_MAX - 1].args[0], TRACE_EVENTS_MAX - 1);
	assert_int_equal(trace_read(TRACE_EVENTS_MAX, events, 1), 0);
	assert_int_equal(trace_read(SIZE_MAX, events, 1), 0);
}

static void one_at_a_time_and_no_nonsense(void **state)
{
	struct trace_request r = {.dev = nic, .rings = 2, .packets = 1, .limit_ms = 1000};

	(void)state;
	arm(2, 1, 1000);
	assert_int_equal(trace_arm(&r), -EBUSY);
	trace_disarm();
	r.packets = 0;
	assert_int_equal(trace_arm(&r), -EINVAL);
	r.packets = TRACE_PACKETS_MAX + 1;
	assert_int_equal(trace_arm(&r), -EINVAL);
	r.packets = 1;
	r.limit_ms = TRACE_LIMIT_MS + 1;
	assert_int_equal(trace_arm(&r), -EINVAL);
	r.limit_ms = 1000;
	r.rings = 0;
	assert_int_equal(trace_arm(&r), -EINVAL);
	assert_false(trace_armed());
}

static _Atomic bool stop;

/* Its events tell whose they are, and that they are of one piece. */
static void *recorder(void *arg)
{
	unsigned ring = (unsigned)(uintptr_t)arg;

	for (int64_t i = 0; !stop; i++)
		TRACE(kick_exit, nic, ring, "%d", i, i + 1, i + 2, i + ring);
	return NULL;
}

static void threads_record_side_by_side_while_traces_come_and_go(void **state)
{
	const struct trace_request r = {.dev = nic, .rings = 15, .packets = 1, .limit_ms = 1000};
	pthread_t threads[4];
	unsigned full = 0;

	(void)state;
	trace_disarm();
	for (uintptr_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, recorder, (void *)i), 0);
	for (unsigned round = 0; round < 200; round++) {
		size_t n;
		int rc;

		while ((rc = trace_arm(&r)) == -EBUSY)
			;
		assert_int_equal(rc, 0);
		for (unsigned k = 0; k < 1000 && trace_armed(); k++)
			sched_yield();
		n = read_all();
		full += trace_state() == TRACE_FULL;
		for (size_t i = 0; i < n; i++) {
			assert_int_equal(events[i].args[1], events[i].args[0] + 1);
			assert_int_equal(events[i].args[2], events[i].args[0] + 2);
			assert_int_equal(events[i].args[3], events[i].args[0] + events[i].ring);
		}
		trace_disarm();
	}
	stop = true;
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_true(full > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_recorded_before_it_is_armed),
		cmocka_unit_test(what_is_recorded_says_where_and_when),
		cmocka_unit_test(others_are_not_recorded),
		cmocka_unit_test(it_ends_with_the_last_packets_interrupt),
		cmocka_unit_test(it_begins_with_a_beginning),
		cmocka_unit_test(each_direction_has_its_packets),
		cmocka_unit_test(chains_are_packets_where_only_the_ring_is_seen),
		cmocka_unit_test(it_ends_when_its_time_is_over),
		cmocka_unit_test(it_ends_when_nobody_asks_any_more),
		cmocka_unit_test(it_ends_when_it_is_full),
		cmocka_unit_test(one_at_a_time_and_no_nonsense),
		cmocka_unit_test(threads_record_side_by_side_while_traces_come_and_go),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
