/* SPDX-License-Identifier: BSD-2-Clause */
/* compare: its options; what it reads from iperf3, /proc, guests, trivm and trivm-switch. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "compare/child.h"
#include "compare/guest.h"
#include "compare/guest/kicks.h"
#include "compare/iperf.h"
#include "compare/metrics.h"
#include "compare/options.h"
#include "compare/proc.h"
#include "compare/road.h"
#include "compare/sample.h"
#include "compare/workload.h"
#include "vmm/util.h"

static struct compare_options o;
static struct err err;

static int parse_list(char **args)
{
	int argc = 0;

	while (args[argc])
		argc++;
	compare_options_default(&o);
	err.msg[0] = '\0';
	return compare_options_parse(&o, argc, args, &err);
}

#define PARSE(...) parse_list((char *[]){__VA_ARGS__, NULL})
#define FAILS(text, ...)                                                 \
	do {                                                             \
		assert_int_equal(PARSE(__VA_ARGS__), -EINVAL);           \
		if (!strstr(err.msg, text))                              \
			fail_msg("\"%s\" has no \"%s\"", err.msg, text); \
	} while (0)

static void options(void **state)
{
	(void)state;
	assert_int_equal(PARSE(NULL), 0);
	assert_int_equal(o.roads, ROADS_TRIVM);
	assert_int_equal(o.workloads, BIT(NR_WORKLOADS) - 1);
	assert_int_equal(o.rounds, 0);
	assert_int_equal(o.cpus, 1);
	assert_null(o.out);

	assert_int_equal(PARSE("--modes", "vmm,vhost-net", "--with=qemu", "--workload",
	                       "latency,idle", "--rounds", "7", "--seconds=3", "--limit", "99",
	                       "--cpus", "2", "--transport", "mmio", "--ring", "packed", "--kernel",
	                       "k", "--initrd", "i", "--out", "d"),
	                 0);
	assert_int_equal(o.roads, BIT(ROAD_VMM) | BIT(ROAD_VHOST_NET) | BIT(ROAD_QEMU));
	assert_int_equal(o.workloads, BIT(WORK_LATENCY) | BIT(WORK_IDLE));
	assert_int_equal(o.rounds, 7);
	assert_int_equal(o.seconds, 3);
	assert_int_equal(o.limit_s, 99);
	assert_int_equal(o.cpus, 2);
	assert_true(o.mmio && o.packed);
	assert_string_equal(o.kernel, "k");
	assert_string_equal(o.initrd, "i");
	assert_string_equal(o.out, "d");

	/* In either order: --modes says nothing about others. */
	assert_int_equal(PARSE("--with", "qemu,qemu-vhost", "--modes", "vmm"), 0);
	assert_int_equal(o.roads, BIT(ROAD_VMM) | BIT(ROAD_QEMU) | BIT(ROAD_QEMU_VHOST));
	assert_int_equal(PARSE("-h"), 0);
	assert_true(o.help);
}

static void wrong_options(void **state)
{
	(void)state;
	FAILS("--modes vmm,fast: 'fast': expected vmm, vmm+exit", "--modes", "vmm,fast");
	FAILS("'qemu': expected", "--modes", "qemu");
	FAILS("'vmm': expected qemu", "--with", "vmm");
	FAILS("''", "--modes", "vmm,");
	FAILS("''", "--modes", "");
	FAILS("'tcp'", "--workload=tcp");
	FAILS("a number from 1 to 100", "--rounds", "0");
	FAILS("a number from 1 to 100", "--rounds", "101");
	FAILS("a number from 1 to 86400", "--limit", "-1");
	FAILS("a number from 1 to 600", "--seconds", "1s");
	FAILS("pci or mmio", "--transport", "isa");
	FAILS("split or packed", "--ring", "x");
	FAILS("a value (DIR) is missing", "--out");
	FAILS("takes no value", "--help=x");
	FAILS("unknown option", "--mode", "vmm");
	FAILS("unknown option", "vmm");
}

/* --- iperf3, as recorded --- */

static int parse_file(const char *name, bool udp, struct iperf_result *r)
{
	char path[80], *text;
	int rc;

	snprintf(path, sizeof(path), "tests/unit/data/%s.json", name);
	text = child_output(path);
	assert_non_null(text);
	rc = iperf_parse(text, udp, r, &err);
	free(text);
	return rc;
}

static void iperf3(void **state)
{
	struct iperf_result r;

	(void)state;
	assert_int_equal(parse_file("iperf3-tcp", false, &r), 0);
	assert_true(r.mbit_per_s > 903.7 && r.mbit_per_s < 903.9); /* the receiver's, not 929.8 */
	assert_int_equal(parse_file("iperf3-udp", true, &r), 0);
	/* 10731 - 3249 of 10740 came in 1.010395 s. */
	assert_true(fabs(r.packets_per_s - 7405.0) < 0.1);
	assert_true(fabs(r.loss_percent - 30.335) < 0.001);
	assert_int_equal(parse_file("iperf3-udp-reverse", true, &r), 0);
	assert_true(fabs(r.packets_per_s - 2149.9) < 0.1);
	assert_true(fabs(r.loss_percent - 0.370) < 0.001);
	assert_int_equal(parse_file("iperf3-error", true, &r), -EIO);
	assert_non_null(strstr(err.msg, "unable to connect to server"));
}

static void iperf3_that_is_odd(void **state)
{
	struct iperf_result r;

	(void)state;
	assert_int_equal(iperf_parse("", false, &r, &err), -EPROTO);
	assert_int_equal(iperf_parse("iperf3: command not found\nx", false, &r, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "command not found"));
	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(iperf_parse("{\"end\": {", false, &r, &err), -EPROTO);
	assert_int_equal(iperf_parse("{}", false, &r, &err), -EPROTO);
	assert_int_equal(iperf_parse("{}", true, &r, &err), -EPROTO);
	assert_int_equal(iperf_parse("{\"end\":{\"sum_received\":{\"packets\":1,\"lost_packets\":2,"
	                             "\"seconds\":1},\"sum\":{\"packets\":1}}}",
	                             true, &r, &err),
	                 -EPROTO);
	assert_int_equal(
		iperf_parse("{\"error\":\"error - the server is busy running a test. try again "
	                    "later\"}",
	                    false, &r, &err),
		-EBUSY);
}

/* --- The guest --- */

static void guest_info(void **state)
{
	struct guest_info info;
	static const char text[] =
		"release 6.1.0-56-cloud-amd64\nfeatures "
		"1110010111011101111101010000110010000000100000000000000000000000\n"
		"queue 256\npairs 1\niperf3 3.12\n";

	(void)state;
	assert_int_equal(guest_parse_info(text, &info), 0);
	assert_string_equal(info.release, "6.1.0-56-cloud-amd64");
	assert_true(info.features == UINT64_C(0x10130afbba7));
	assert_int_equal(info.queue_size, 256);
	assert_int_equal(info.pairs, 1);
	assert_string_equal(info.iperf3, "3.12");
	assert_int_equal(guest_parse_info("release 6.1\nfeatures 101\n", &info), -EPROTO);
	assert_int_equal(guest_parse_info("", &info), -EPROTO);
}

static void guest_counts(void **state)
{
	struct guest_counts c;
	static const char text[] =
		"kicks 17\n"
		" 61:          5          7   PCI-MSI 16384-edge      virtio0-config\n"
		" 62:          2        100   PCI-MSI 16385-edge      virtio0-input.0\n"
		" 63:         40          0   PCI-MSI 16386-edge      virtio0-output.0\n"
		"  eth0:     684      10    0    0    0     0          0         0      42       3 "
		"   0 "
		"   0    0     0       0          0\n";

	(void)state;
	assert_int_equal(guest_parse_counts(text, &c), 0);
	assert_true(c.has_kicks);
	assert_int_equal(c.kicks, 17);
	assert_int_equal(c.interrupts, 142);
	assert_int_equal(c.rx_packets, 10);
	assert_int_equal(c.tx_packets, 3);
	/* Over MMIO there is one interrupt for all. */
	assert_int_equal(
		guest_parse_counts(" 58:  12  IO-APIC  20-edge      virtio0\n  eth0: 1 2 3 4 "
	                           "5 6 7 8 9 10 11\n",
	                           &c),
		0);
	assert_false(c.has_kicks);
	assert_int_equal(c.interrupts, 12);
	assert_int_equal(c.tx_packets, 10);
	assert_int_equal(guest_parse_counts("kicks 1\n", &c), -EPROTO);
	assert_int_equal(guest_parse_counts("", &c), -EPROTO);
}

/* --- /proc --- */

static void proc_files(void **state)
{
	static const char net[] =
		"Inter-|   Receive                       |  Transmit\n"
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes ...\n"
		"  xcmp0: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n"
		"  cmp0: 47460028    4197    0    0    0     0          0         0 115593420   "
		"14527  "
		"  0    7    0     0       0          0\n";
	static const char stat[] =
		"127 (vc) pu 0) S 119 0 0 0 -1 4194368 189 0 0 0 467 98 0 0 20 0 3 "
		"0 409 280596480 31951 18446744073709551615 1 1 1 0 0 0 16899 "
		"4102 0 1 0 0 -1 0 0 0 0 459 0 1 1 1 1 1 1 1 0\n";
	struct proc_net n;
	uint64_t cpu, guest;

	(void)state;
	assert_int_equal(proc_parse_net(net, "cmp0", &n), 0);
	assert_int_equal(n.rx_bytes, 47460028);
	assert_int_equal(n.rx_packets, 4197);
	assert_int_equal(n.tx_bytes, 115593420);
	assert_int_equal(n.tx_packets, 14527);
	assert_int_equal(n.tx_dropped, 7);
	assert_int_equal(proc_parse_net(net, "cmp", &n), -ENODEV);
	assert_true(proc_parse_stat(stat, &cpu, &guest));
	assert_int_equal(cpu, 467 + 98);
	assert_int_equal(guest, 459);
	assert_false(proc_parse_stat("127 (x", &cpu, &guest));
}

static void count_own(void *opaque, const struct proc_thread *t)
{
	assert_int_equal(t->pid, getpid());
	++*(unsigned *)opaque;
}

static void proc_of_this_process(void **state)
{
	volatile uint64_t spin = 0;
	unsigned n = 0;

	(void)state;
	while (spin < 60000000)
		spin++;
	assert_true(proc_threads(getpid(), count_own, &n) >= 1);
	assert_true(n >= 1);
	assert_true(proc_cpu_us(getpid()) >= 10000);
	assert_true(proc_busy_us() > 0);
	assert_int_equal(proc_threads(0x7ffffff0, count_own, &n), -ESRCH);
	assert_int_equal(proc_cpu_us(0x7ffffff0), 0);
}

static void whose_time(void **state)
{
	static const struct {
		const char *name;
		bool trivm, first;
		enum who who;
	} threads[] = {
		{"vcpu0", true, false, WHO_VCPU_HOST},
		{"net-pair0", true, false, WHO_DATAPATH},
		{"trivm", true, true, WHO_OTHER},
		{"vhost-user", true, false, WHO_OTHER},
		{"vhost-123", true, false, WHO_VHOST},
		{"CPU 0/KVM", false, false, WHO_VCPU_HOST},
		{"qemu-system-x86", false, true, WHO_DATAPATH},
		{"worker", false, false, WHO_OTHER},
		{"vhost-123", false, true, WHO_VHOST},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
		struct proc_thread t = {.pid = 5, .tid = threads[i].first ? 5 : 6};

		snprintf(t.name, sizeof(t.name), "%s", threads[i].name);
		if (sample_role(threads[i].trivm, &t) != threads[i].who)
			fail_msg("%s", t.name);
	}
}

/* --- trivm and trivm-switch --- */

static void control_socket(void **state)
{
	json_t *stats = json_loads(
		"{\"vcpus\":[{\"vcpu\":0,\"exits\":100,\"io_exits\":3,\"mmio_exits\":4,\"halt_"
		"exits\":5,"
		"\"irq_injections\":6,\"signal_exits\":1,\"user_pio_in\":1,\"user_pio_out\":2,"
		"\"user_mmio_read\":3,\"user_mmio_write\":1,\"user_eoi\":7,\"user_interrupted\":8,"
		"\"user_other\":9},{\"vcpu\":1,\"exits\":10,\"user_mmio_write\":20}]}",
		0, NULL);
	json_t *rings = json_loads(
		"{\"rings\":[{\"packets\":5,\"drop_size\":1,\"drop_filter\":2,\"kicks_exit\":3,"
		"\"kicks_ioeventfd\":0},{\"packets\":7,\"kicks_exit\":4,\"kicks_ioeventfd\":6}]}",
		0, NULL);
	json_t *other =
		json_loads("{\"rings\":[{\"packets\":null,\"kicks_exit\":3,\"kicks_ioeventfd\":"
	                   "null}]}",
	                   0, NULL);
	struct sample_kvm kvm;
	struct sample_rings r;

	(void)state;
	sample_parse_stats(stats, &kvm);
	assert_true(kvm.known && kvm.user_known);
	assert_int_equal(kvm.exits, 110);
	assert_int_equal(kvm.io + kvm.mmio, 7);
	assert_int_equal(kvm.halts, 5);
	assert_int_equal(kvm.injections, 6);
	assert_int_equal(kvm.user_mmio, 24);
	assert_int_equal(kvm.user_pio, 3);
	assert_int_equal(kvm.user_other, 24);
	sample_parse_rings(rings, &r);
	assert_true(r.packets_known && r.kicks_known);
	assert_int_equal(r.packets, 12);
	assert_int_equal(r.dropped, 3);
	assert_int_equal(r.kicks, 13);
	sample_parse_rings(other, &r);
	assert_false(r.packets_known || r.kicks_known);
	sample_parse_rings(NULL, &r);
	assert_false(r.packets_known || r.kicks_known);
	sample_parse_stats(NULL, &kvm);
	assert_false(kvm.known);
	json_decref(stats);
	json_decref(rings);
	json_decref(other);
}

static void switch_counters(void **state)
{
	static const char text[] = "port a tx_packets 5\nport a tx_full 3\nport a rx_malformed 1\n"
				   "port b tx_full 40\nswitch moves 2\nswitch refused 0\n";
	char part[sizeof(text)];
	uint64_t dropped;

	(void)state;
	assert_true(sample_parse_switch(text, &dropped));
	assert_int_equal(dropped, 44);
	/* It is read while it is written. */
	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		snprintf(part, sizeof(part), "%.*s", (int)len, text);
		assert_false(sample_parse_switch(part, &dropped));
	}
}

/* --- Numbers --- */

static void percentiles_and_medians(void **state)
{
	double thousand[1000], values[] = {5, (double)NAN, 1, 3, 9};
	struct metric_summary s;

	(void)state;
	for (int i = 0; i < 1000; i++)
		thousand[i] = i + 1;
	assert_true(metric_percentile(thousand, 1000, 0.5) == 500);
	assert_true(metric_percentile(thousand, 1000, 0.99) == 990);
	assert_true(metric_percentile(thousand, 1000, 0.999) == 999);
	assert_true(metric_percentile(thousand, 1000, 1) == 1000);
	assert_true(metric_percentile(thousand, 1, 0.999) == 1);
	assert_true(metric_percentile(thousand, 3, 0.5) == 2);
	assert_true(isnan(metric_percentile(thousand, 0, 0.5)));
	s = metric_summarize(values, 5);
	assert_int_equal(s.n, 4);
	assert_true(s.median == 4 && s.min == 1 && s.max == 9);
	s = metric_summarize(values, 3);
	assert_true(s.n == 2 && s.median == 3);
	s = metric_summarize(values + 1, 1);
	assert_int_equal(s.n, 0);
}

static void differences(void **state)
{
	struct sample s = {.before = {.when_us = 1000000}, .after = {.when_us = 3000000}};
	double *v = s.values;

	(void)state;
	for (unsigned i = 0; i < NR_METRICS; i++)
		v[i] = (double)NAN;
	s.before.tap = (struct proc_net){10, 1, 100, 2, 0};
	s.after.tap = (struct proc_net){1010, 301, 2100, 702, 5};
	s.after.backend_dropped = 2;
	s.after.cpu_us[WHO_VCPU_HOST] = 1000000;
	s.after.guest_us = 400000;
	s.after.cpu_us[WHO_DATAPATH] = 500000;
	s.after.switches = 2000;
	s.after.guest = (struct guest_counts){true, 500, 250, 0, 0};
	s.after.kvm = (struct sample_kvm){.known = true, .exits = 3000, .io = 1, .mmio = 499};
	sample_compute(&s);
	assert_true(v[M_SECONDS] == 2);
	assert_true(v[M_PACKETS] == 1000 && v[M_TO_GUEST] == 700 && v[M_FROM_GUEST] == 300);
	assert_true(v[M_BYTES] == 3000);
	assert_true(v[M_DROPPED] == 7);
	assert_true(v[M_CPU_PER_PACKET] == 1500 && v[M_CPU_PERCENT] == 75);
	assert_true(v[M_WHO_PER_PACKET(WHO_VCPU_GUEST)] == 400);
	assert_true(v[M_WHO_PER_PACKET(WHO_VCPU_HOST)] == 600);
	assert_true(v[M_WHO_PERCENT(WHO_DATAPATH)] == 25);
	assert_true(v[M_WHO_PERCENT(WHO_VHOST)] == 0);
	assert_true(v[M_COUNT(C_KICKS)] == 500 && v[M_COUNT_PER_PACKET(C_KICKS)] == 0.5 &&
	            v[M_COUNT_PER_S(C_KICKS)] == 250);
	assert_true(v[M_COUNT_PER_PACKET(C_EXITS)] == 3);
	assert_true(v[M_COUNT_PER_PACKET(C_EXITS_USER)] == 0.5);
	assert_true(v[M_COUNT_PER_S(C_SWITCHES)] == 1000);

	/* The VMM's own counts of exits are the better ones; ticks cannot make more than all. */
	s.after.kvm.user_known = true;
	s.after.kvm.user_mmio = 700;
	s.after.guest_us = 1010000;
	sample_compute(&s);
	assert_true(v[M_COUNT_PER_PACKET(C_EXITS_USER)] == 0.7);
	assert_true(v[M_WHO_PER_PACKET(WHO_VCPU_GUEST)] == 1000);
	assert_true(v[M_WHO_PER_PACKET(WHO_VCPU_HOST)] == 0);
}

static void what_is_not_known_is_not_zero(void **state)
{
	struct sample s = {.before = {.when_us = 1}, .after = {.when_us = 1000001}};
	double *v = s.values;

	(void)state;
	for (unsigned i = 0; i < NR_METRICS; i++)
		v[i] = (double)NAN;
	s.after.cpu_us[WHO_OTHER] = 1000;
	sample_compute(&s);
	/* No packets, no KVM, a driver that does not count its kicks. */
	assert_true(isnan(v[M_CPU_PER_PACKET]) && isnan(v[M_COUNT_PER_PACKET(C_SWITCHES)]));
	assert_true(isnan(v[M_COUNT(C_EXITS)]) && isnan(v[M_COUNT_PER_S(C_EXITS_USER)]));
	assert_true(isnan(v[M_COUNT(C_KICKS)]) && isnan(v[M_P50]) && isnan(v[M_THROUGHPUT]));
	assert_true(v[M_CPU_PERCENT] == 0.1 && v[M_COUNT(C_SWITCHES)] == 0);
}

/* --- Children --- */

static void children(void **state)
{
	char dir[] = "/tmp/compare-test.XXXXXX", out[64], text[64];
	struct child c;
	char *said;
	int status;

	(void)state;
	child_begin();
	assert_non_null(mkdtemp(dir));
	snprintf(out, sizeof(out), "%s/out", dir);
	assert_int_equal(child_command("echo two words", out, &err), 0);
	said = child_output(out);
	assert_string_equal(said, "two words\n");
	free(said);
	assert_int_equal(child_command("ls /nonexistent/x", out, &err), -EIO);
	assert_non_null(strstr(err.msg, "ls /nonexistent/x: failed: "));
	assert_int_equal(child_command("no-such-program-at-all", out, &err), -ENOENT);
	assert_int_equal(child_start(&c, (char *[]){"sleep", "100", NULL}, NULL, &err), 0);
	assert_true(child_runs(&c));
	assert_int_equal(child_wait(&c, 30, &status), -ETIMEDOUT);
	child_kill(&c);
	child_kill(&c);
	assert_int_equal(c.pid, 0);
	assert_string_equal(child_typed((char *[]){"a", "b c", "", NULL}, text, sizeof(text)),
	                    "a 'b c' ''");
	/* A stop is seen by whoever waits, and by all who wait after that. */
	assert_int_equal(child_start(&c, (char *[]){"sleep", "100", NULL}, NULL, &err), 0);
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(child_wait(&c, 10000, &status), -EINTR);
	assert_int_equal(child_stop_signal(), SIGTERM);
	assert_int_equal(child_sleep(10000), -EINTR);
	child_kill(&c);
	snprintf(text, sizeof(text), "a\tb\nc\033[1m\xc3\xa4");
	child_clean(text);
	assert_string_equal(text, "a\tb\nc?[1m??");
	unlink(out);
	rmdir(dir);
}

/* What `ethtool -S` prints in Debian 12's kernel (6.1) and in 13's (6.12). */
static void kicks_are_counted_once(void **state)
{
	static const char *const counted[] = {"rx_queue_0_kicks", "tx_queue_12_kicks", "rx0_kicks",
	                                      "tx15_kicks"};
	static const char *const others[] = {"rx_kicks",          "tx_kicks",    "_kicks",
	                                     "rx_queue_0_xdp_tx", "rx0_kickss",  "kicks",
	                                     "rx0kicks",          "rx0_packets", ""};
	char full[32] = "a_name_that_fills_all_of0_kicksX";

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(counted); i++)
		assert_true(counts_kicks_of_a_queue(counted[i], 32));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(counts_kicks_of_a_queue(others[i], 32));
	assert_false(counts_kicks_of_a_queue(full, 32));
	assert_true(counts_kicks_of_a_queue(full, 31));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),         cmocka_unit_test(wrong_options),
		cmocka_unit_test(iperf3),          cmocka_unit_test(iperf3_that_is_odd),
		cmocka_unit_test(guest_info),      cmocka_unit_test(guest_counts),
		cmocka_unit_test(proc_files),      cmocka_unit_test(proc_of_this_process),
		cmocka_unit_test(whose_time),      cmocka_unit_test(control_socket),
		cmocka_unit_test(switch_counters), cmocka_unit_test(percentiles_and_medians),
		cmocka_unit_test(differences),     cmocka_unit_test(what_is_not_known_is_not_zero),
		cmocka_unit_test(children),        cmocka_unit_test(kicks_are_counted_once),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
