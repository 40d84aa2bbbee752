/* SPDX-License-Identifier: BSD-2-Clause */
/* top_view: what two samples say, for each second; and what they do not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/top_view.h"

static struct top_samples vm;
static struct top_lines lines;

/* Two seconds are between the samples. */
static void see(const char *before, const char *now)
{
	vm = (struct top_samples){.name = "web", .before_us = 5000000, .now_us = 7000000};
	vm.before = before ? json_loads(before, 0, NULL) : NULL;
	vm.now = now ? json_loads(now, 0, NULL) : NULL;
	assert_true((!before || vm.before) && (!now || vm.now));
	top_lines_free(&lines);
	top_view(&lines, &vm);
	json_decref(vm.before);
	json_decref(vm.now);
}

/* The words of the line that begins with @word, one blank between two. */
static const char *line_of(const char *word)
{
	static char out[TOP_LINE_MAX];

	for (unsigned i = 0; i < lines.nr; i++) {
		char copy[TOP_LINE_MAX], *save, *w;

		strcpy(copy, lines.lines[i].text);
		w = strtok_r(copy, " ", &save);
		if (!w || strcmp(w, word) != 0)
			continue;
		for (*out = '\0'; w; w = strtok_r(NULL, " ", &save))
			sprintf(out + strlen(out), "%s%s", *out ? " " : "", w);
		return out;
	}
	return "";
}

#define STATUS                                                                                 \
	"\"status\":{\"state\":\"running\",\"uptime\":3725.5,\"cpus\":1,\"memory\":268435456," \
	"\"pid\":9,\"kernel\":\"k\"}"

static void exits_and_threads(void **state)
{
	(void)state;
	see("{" STATUS ",\"stats\":{\"vcpus\":[{\"vcpu\":0,\"exits\":100,\"user_pio_in\":5,"
	    "\"user_pio_out\":6,\"halt_exits\":1}],\"threads\":["
	    "{\"tid\":11,\"pid\":9,\"name\":\"vcpu0\",\"role\":\"vcpu\",\"cpu_us\":1000000},"
	    "{\"tid\":12,\"pid\":9,\"name\":\"pair\",\"role\":\"datapath\",\"cpu_us\":0,"
	    "\"voluntary\":10,\"involuntary\":1},"
	    "{\"tid\":13,\"pid\":9,\"name\":\"idle\",\"role\":\"other\",\"cpu_us\":5}]}}",
	    "{" STATUS ",\"stats\":{\"vcpus\":[{\"vcpu\":0,\"exits\":300100,\"user_pio_in\":7,"
	    "\"user_pio_out\":9,\"halt_exits\":1}],\"threads\":["
	    "{\"tid\":13,\"pid\":9,\"name\":\"idle\",\"role\":\"other\",\"cpu_us\":5},"
	    "{\"tid\":12,\"pid\":9,\"name\":\"pair\",\"role\":\"datapath\",\"cpu_us\":500000,"
	    "\"voluntary\":30,\"involuntary\":1},"
	    "{\"tid\":14,\"pid\":9,\"name\":\"new\",\"role\":\"backend\",\"cpu_us\":9},"
	    "{\"tid\":11,\"pid\":9,\"name\":\"vcpu0\",\"role\":\"vcpu\",\"cpu_us\":2500000}]}}");
	assert_string_equal(line_of("web"), "web running up 1:02:05 1 vCPUs 256 MiB pid 9 k");
	assert_int_equal(lines.lines[0].style, TOP_VM);
	/* CPU%, exits, ports; what this KVM does not count is a dash, and nothing is 0. */
	assert_string_equal(line_of("0"), "0 75 150.0k 2.5 - - - 0 -");
	assert_string_equal(line_of("pair"), "pair datapath 12 25 10 0");
	assert_string_equal(line_of("new"), "new backend 14 - - -");
	assert_string_equal(line_of("idle"), ""); /* others that do nothing are left out */
	assert_string_equal(line_of("vcpu0"), "");
}

static void a_ring_that_is_counted(void **state)
{
	(void)state;
	see("{" STATUS
	    ",\"cards\":[{\"id\":\"lan\",\"link\":\"up\",\"datapath\":\"vmm\",\"stats\":{"
	    "\"rings\":[{\"ring\":0,\"direction\":\"rx\",\"packets\":0,\"bytes\":0,\"drop_link\":0,"
	    "\"drop_port\":0,\"drop_size\":0,\"drop_filter\":0,\"kicks_ioeventfd\":0,"
	    "\"kicks_exit\":0,\"interrupts_irqfd\":0,\"interrupts_ioctl\":0,"
	    "\"interrupts_spared\":0,\"chains\":0,\"batches\":0}]}}]}",
	    "{" STATUS
	    ",\"cards\":[{\"id\":\"lan\",\"link\":\"up\",\"datapath\":\"vmm\",\"stats\":{"
	    "\"rings\":[{\"ring\":0,\"direction\":\"rx\",\"packets\":2000,\"bytes\":2000000,"
	    "\"drop_link\":1,\"drop_port\":2,\"drop_size\":3,\"drop_filter\":4,"
	    "\"kicks_ioeventfd\":20,\"kicks_exit\":30,\"interrupts_irqfd\":40,"
	    "\"interrupts_ioctl\":50,\"interrupts_spared\":60,\"chains\":2000,\"batches\":100}]}}]"
	    "}");
	assert_string_equal(line_of("lan"), "lan vmm up 0 rx 1000 8 5 10 15 20 25 30 20");
}

/* vhost-net with one pair: the interface has the numbers, in the direction of the ring. */
static void the_interface_stands_in(void **state)
{
	static const char fmt[] = "{" STATUS ",\"cards\":[{\"id\":\"lan\",\"link\":\"down\","
				  "\"datapath\":\"vhost-net\",\"stats\":{\"rings\":["
				  "{\"ring\":0,\"direction\":\"rx\",\"packets\":null,"
				  "\"kicks_ioeventfd\":%d},"
				  "{\"ring\":1,\"direction\":\"tx\",\"packets\":null}%s],"
				  "\"interface\":{\"name\":\"tap0\",\"to_guest_packets\":%d,"
				  "\"from_guest_packets\":%d}}}]}";
	char before[1024], now[1024];

	(void)state;
	snprintf(before, sizeof(before), fmt, 1, "", 100, 1000);
	snprintf(now, sizeof(now), fmt, 5, "", 300, 1010);
	see(before, now);
	assert_string_equal(line_of("lan"), "lan vhost-net down 0 rx 100 - - 2 - - - - -");
	assert_string_equal(line_of("1"), "1 tx 5 - - - - - - - -");
	/* With more pairs nobody knows which ring they were in. */
	snprintf(now, sizeof(now), fmt, 5, ",{\"ring\":2,\"direction\":\"rx\"}", 300, 1010);
	see(before, now);
	assert_string_equal(line_of("lan"), "lan vhost-net down 0 rx - - - 2 - - - - -");
}

static void no_rates(void **state)
{
	static const char one[] = "{" STATUS ",\"stats\":{\"vcpus\":[{\"vcpu\":0,\"exits\":50}]}}";

	(void)state;
	see(NULL, one); /* the first sample */
	assert_string_equal(line_of("0"), "0 - - - - - - - -");
	see("{" STATUS ",\"stats\":{\"vcpus\":[{\"vcpu\":0,\"exits\":90}]}}",
	    one); /* booted anew */
	assert_string_equal(line_of("0"), "0 - - - - - - - -");
	see(one, NULL);
	assert_int_equal(lines.nr, 1);
	assert_non_null(strstr(lines.lines[0].text, "does not answer"));
	see("{}", "{\"status\":[],\"stats\":{\"vcpus\":{},\"threads\":7},\"cards\":[1,{\"stats\":{"
	          "\"rings\":[2]}}]}");
	see("{}", "{\"status\":{\"state\":\"\\u001b[31m\"}}"); /* not to the terminal */
	assert_null(strchr(lines.lines[0].text, 27));
}

static int teardown(void **state)
{
	(void)state;
	top_lines_free(&lines);
	top_lines_free(&lines);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(exits_and_threads, teardown),
		cmocka_unit_test_teardown(a_ring_that_is_counted, teardown),
		cmocka_unit_test_teardown(the_interface_stands_in, teardown),
		cmocka_unit_test_teardown(no_rates, teardown),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
