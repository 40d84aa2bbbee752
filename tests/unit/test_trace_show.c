/* SPDX-License-Identifier: BSD-2-Clause */
/* trace_show: events become journeys, whatever order they come in; and text that is fit to print. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "vmm/trace.h"
#include "vmm/trace_cmd.h"
#include "vmm/util.h"

static json_t *events;
static char *out;

/* An event as the control socket gives it. */
static void add(json_int_t us, unsigned ring, enum trace_point point, json_int_t a, json_int_t b)
{
	json_array_append_new(events,
	                      json_pack("{s:I, s:i, s:s, s:s, s:s, s:s, s:[IIII], s:s, s:s, s:i}",
	                                "ns", 1000 * us, "ring", (int)ring, "thread", "net-pair0",
	                                "point", trace_point_name(point), "stage",
	                                trace_stage_name(trace_point_stage(point)), "text", "what",
	                                "args", a, b, (json_int_t)0, (json_int_t)0, "func", "f",
	                                "file", "f.c", "line", 7));
}

/* Prints what was added, and forgets it. The number of journeys. */
static size_t show(const char *datapath)
{
	json_t *trace = json_pack("{s:s, s:s, s:s, s:b, s:[{s:s, s:s}]}", "id", "net0", "datapath",
	                          datapath, "port", "tap0", "driver", 1, "rings", "notify",
	                          "ioeventfd", "interrupt", "irqfd");
	size_t size, n;
	FILE *f;

	free(out);
	f = open_memstream(&out, &size);
	n = trace_show(f, trace, events);
	fclose(f);
	json_decref(trace);
	json_array_clear(events);
	return n;
}

static void says(const char *what)
{
	if (!strstr(out, what))
		fail_msg("no '%s' in:\n%s", what, out);
}

static void says_not(const char *what)
{
	if (strstr(out, what))
		fail_msg("'%s' in:\n%s", what, out);
}

static void sent(json_int_t us, bool kick)
{
	if (kick)
		add(us, 1, TRACE_POINT_kick_exit, 0, 0);
	add(us + 10, 1, TRACE_POINT_kick_seen, 0, 0);
	add(us + 11, 1, TRACE_POINT_chain_pop, 1, 64);
	add(us + 15, 1, TRACE_POINT_port_write, 64, 1);
	add(us + 16, 1, TRACE_POINT_chain_push, 1, 0);
	add(us + 17, 1, TRACE_POINT_used_show, 0, 1);
	add(us + 18, 1, TRACE_POINT_irq_spared, 1, 0);
	add(us + 19, 1, TRACE_POINT_kicks_on, 0, 0);
}

static void two_packets_are_two_journeys(void **state)
{
	(void)state;
	sent(5000, true);
	sent(1000, true); /* threads' events come as they come */
	assert_int_equal(show("vmm"), 2);
	says("       0.0  net-pair0   kick_exit   what");
	says("f() f.c:7");
	says("microseconds since the driver's kick");
	says("sent: 2 packets in 2 journeys; median us, woken 10.0, written 15.0, used 17.0; 2 "
	     "wanted no interrupt");
	says("ioeventfd");
	says("irqfd");
}

static void one_wake_up_for_several_packets_is_one_journey(void **state)
{
	(void)state;
	add(0, 1, TRACE_POINT_kick_seen, 0, 0);
	for (int i = 0; i < 10; i++)
		add(10 + i, 1, TRACE_POINT_chain_pop, i, 64);
	for (int i = 0; i < 10; i++) {
		add(30 + 2 * i, 1, TRACE_POINT_port_write, 64, 1);
		add(31 + 2 * i, 1, TRACE_POINT_chain_push, i, 0);
	}
	add(60, 1, TRACE_POINT_used_show, 0, 10);
	add(61, 1, TRACE_POINT_irq_call, 0, 0);
	assert_int_equal(show("vmm"), 1);
	says("10 packets");
	says("7 more of these");
	says("since the first that is seen of it");
	says("interrupt 61.0");
	says_not("wanted no interrupt");
}

static void what_the_driver_does_to_a_receive_ring_begins_nothing(void **state)
{
	(void)state;
	add(0, 0, TRACE_POINT_kick_exit, 0, 0);
	add(5, 0, TRACE_POINT_kick_seen, 0, 0);
	add(100, 0, TRACE_POINT_port_seen, 1, 0);
	add(102, 0, TRACE_POINT_port_read, 64, 1);
	add(103, 0, TRACE_POINT_chain_push, 1, 76);
	add(104, 0, TRACE_POINT_used_show, 0, 1);
	add(105, 0, TRACE_POINT_irq_call, 0, 0);
	add(200, 0, TRACE_POINT_ring_avail, 1, 500);
	assert_int_equal(show("vmm"), 1);
	says("received: 1 packet in 1 journey; median us, read 2.0, used 4.0, interrupt "
	     "5.0");
	says("     100.0  net-pair0   ring_avail");
}

static void a_wake_up_for_nothing_is_none(void **state)
{
	(void)state;
	add(0, 1, TRACE_POINT_kick_seen, 0, 0);
	add(3, 1, TRACE_POINT_kicks_on, 0, 0);
	sent(1000, false);
	assert_int_equal(show("vmm"), 1);
	says("written 5.0");
}

static void old_news_of_the_observer_begin_nothing(void **state)
{
	(void)state;
	sent(1000, false);
	add(1500, 1, TRACE_POINT_ring_avail, 1, 2000000);
	sent(9000, false);
	add(20000, 1, TRACE_POINT_ring_avail, 1, 300);
	sent(20000, false);
	assert_int_equal(show("vmm"), 3);
	says("written 5.0");
	says("since the driver's kick");
}

static void of_others_only_the_ring_is_seen(void **state)
{
	(void)state;
	add(0, 1, TRACE_POINT_ring_avail, 1, 300);
	add(50, 1, TRACE_POINT_ring_used, 1, 300);
	add(60, 0, TRACE_POINT_ring_used, 1, 300);
	add(90, 0, TRACE_POINT_ring_avail, 1, 300);
	add(160, 0, TRACE_POINT_ring_used, 2, 300);
	assert_int_equal(show("vhost-net"), 3);
	says("worker");
	says("sent: 1 packet in 1 journey; median us, used 50.0");
	says("received: 3 packets in 2 journeys\n");
	/* Both since the last look: nobody knows how long it took. */
	add(0, 1, TRACE_POINT_ring_avail, 1, 9000000);
	add(200, 1, TRACE_POINT_ring_used, 1, 9000000);
	assert_int_equal(show("vhost-net"), 1);
	says("1 used before the observer's next look: not timed");
	says_not("used 200");
	/* However late, it is all that there is of a packet. */
	add(0, 1, TRACE_POINT_ring_avail, 1, 300);
	add(50, 1, TRACE_POINT_ring_used, 1, 300);
	add(9000, 1, TRACE_POINT_ring_avail, 1, 2000000);
	add(9500, 1, TRACE_POINT_ring_used, 1, 300);
	assert_int_equal(show("vhost-net"), 2);
	assert_int_equal(show("vhost-user"), 0);
	says("back-end");
}

static void nonsense_is_survived_and_not_sent_to_the_terminal(void **state)
{
	static const char *const odd[] = {
		"{}",
		"{\"ring\": 64, \"ns\": 1, \"stage\": \"wake\"}",
		"{\"ring\": -1, \"ns\": 1, \"stage\": \"wake\"}",
		"{\"ring\": 1, \"ns\": \"x\", \"stage\": 7, \"args\": 3}",
		("{\"ring\": 1, \"ns\": 5, \"stage\": \"take\", \"point\": \"ring_avail\", "
	         "\"args\": []}"),
		"{\"ring\": 1, \"ns\": 6, \"stage\": \"take\", \"text\": \"\\u001b[2J\\u0007\"}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
		json_array_append_new(events, json_loads(odd[i], 0, NULL));
	json_array_append_new(events, json_integer(3));
	show("x\033y");
	says_not("\033");
	says_not("\007");
	says("datapath x?y");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_packets_are_two_journeys),
		cmocka_unit_test(one_wake_up_for_several_packets_is_one_journey),
		cmocka_unit_test(what_the_driver_does_to_a_receive_ring_begins_nothing),
		cmocka_unit_test(a_wake_up_for_nothing_is_none),
		cmocka_unit_test(old_news_of_the_observer_begin_nothing),
		cmocka_unit_test(of_others_only_the_ring_is_seen),
		cmocka_unit_test(nonsense_is_survived_and_not_sent_to_the_terminal),
	};
	int rc;

	alarm(60);
	events = json_array();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	json_decref(events);
	free(out);
	return rc;
}
