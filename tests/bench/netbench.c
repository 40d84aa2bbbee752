/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netbench: what a NIC carries.
 *
 *	netbench [--rounds N] [--window MS] [--only WORD] [--load WORD] [--json FILE] BUILD
 *
 * --only and --load choose candidates and loads whose name contains the word.
 *
 * The same guest (BUILD/baremetal/net.elf, a polled driver) on trivm and QEMU, on PCI and MMIO,
 * with split and packed rings; beside them a plain program that does nothing but read or write the
 * same tap, which is the limit. Frames of 64 and 1500 bytes, and TCP segments of 64 KiB through all
 * offloads; sent (the host drops them behind the tap) and received (from a generator, nettap.h).
 *
 * One round of a load runs each candidate once and starts with another one each time. Ratios are
 * made of the two runs of one round, so that what the host does meanwhile hits both; reported are
 * medians.
 *
 * CPUs: the guest's own thread has CPU 0, which a polled driver takes all of; what moves the frames
 * has CPU 1, also that of the plain program. The generator has a third one if there is one,
 * otherwise it shares CPU 1 with the reader - every candidate's in the same way - and the rates of
 * received frames are lower by what it needs. The CPU time for each frame does not depend on that:
 * it is that of the candidate's threads without its vCPU's.
 *
 * As far as it may, it runs at the highest priority below real time. How far trivm is from its
 * goals is printed and never gates.
 */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "netrun.h"
#include "nettap.h"

#define ROUNDS_MAX 99
#define KICKS      2000
#define PINGS      500

enum {
	C_PLAIN,
	C_TRIVM, /* four of them, in the order of QEMU's four */
	C_QEMU = C_TRIVM + 4,
	CANDIDATES = C_QEMU + 4,
};

static const struct netrun_candidate candidates[CANDIDATES] = {
	{"plain program", NETRUN_PLAIN, false, false, NULL},
	{"trivm pci split", NETRUN_TRIVM, false, false, NULL},
	{"trivm pci packed", NETRUN_TRIVM, false, true, NULL},
	{"trivm mmio split", NETRUN_TRIVM, true, false, NULL},
	{"trivm mmio packed", NETRUN_TRIVM, true, true, NULL},
	{"QEMU q35 split", NETRUN_QEMU_VM, false, false, NULL},
	{"QEMU q35 packed", NETRUN_QEMU_VM, false, true, NULL},
	{"QEMU microvm split", NETRUN_QEMU_VM, true, false, NULL},
	{"QEMU microvm packed", NETRUN_QEMU_VM, true, true, NULL},
};

static const struct netrun_load loads[] = {
	{"send 64 B", "tx", 64, true},           {"send 1500 B", "tx", 1500, true},
	{"send 64 KiB", "tx", NETTAP_MAX, true}, {"receive 64 B", "rx", 64, true},
	{"receive 1500 B", "rx", 1500, true},    {"receive 64 KiB", "rx", NETTAP_MAX, true},
	{"port=none 64 B", "tx", 64, false},
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

static struct netrun_sample samples[LOADS][CANDIDATES][ROUNDS_MAX];
static unsigned rounds = 5, window_ms = 250;

/* ---- figures ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *v, unsigned n)
{
	if (!n)
		return 0;
	qsort(v, n, sizeof(*v), compare);
	return n & 1 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

static double median_of(unsigned load, unsigned cand, bool cpu, double *low, double *high)
{
	double v[ROUNDS_MAX], m;
	unsigned n = 0;

	for (unsigned r = 0; r < rounds; r++)
		if (samples[load][cand][r].ok)
			v[n++] = cpu ? samples[load][cand][r].cpu_ns : samples[load][cand][r].pps;
	m = median(v, n);
	if (low && n) {
		*low = v[0];
		*high = v[n - 1];
	}
	return m;
}

/* The median of the ratios of one round; 0: nothing to compare with. */
static double ratio(unsigned load, unsigned cand, unsigned to, bool cpu)
{
	double v[ROUNDS_MAX];
	unsigned n = 0;

	for (unsigned r = 0; r < rounds; r++) {
		const struct netrun_sample *a = &samples[load][cand][r], *b = &samples[load][to][r];

		if (a->ok && b->ok && b->pps > 0 && b->cpu_ns > 0)
			v[n++] = cpu ? a->cpu_ns / b->cpu_ns : a->pps / b->pps;
	}
	return median(v, n);
}

static void print_ratio(double r)
{
	if (r > 0)
		printf(" %7.2f", r);
	else
		printf(" %7s", "-");
}

static void print_load(unsigned load)
{
	bool gigabytes = loads[load].size > NETTAP_LONG;
	double unit = gigabytes ? 1e9 / loads[load].size : 1e6;

	printf("%-21s %8s %17s %7s %7s %8s %7s\n", loads[load].name, gigabytes ? "GB/s" : "Mpps",
	       "(lowest-highest)", "/plain", "/QEMU", "CPU ns", "/plain");
	for (unsigned i = 0; i < CANDIDATES; i++) {
		double low = 0, high = 0, m = median_of(load, i, false, &low, &high);

		if (m <= 0)
			continue;
		printf("  %-19s %8.3f   (%6.3f-%6.3f)", candidates[i].name, m / unit, low / unit,
		       high / unit);
		print_ratio(ratio(load, i, C_PLAIN, false));
		print_ratio(candidates[i].kind == NETRUN_TRIVM
		                    ? ratio(load, i, i + C_QEMU - C_TRIVM, false)
		                    : 0);
		printf(" %8.0f", median_of(load, i, true, NULL, NULL));
		print_ratio(ratio(load, i, C_PLAIN, true));
		printf("\n");
	}
}

/* The worst of trivm's four at one load: of the rates, and of the CPU time for each frame. */
static double worst(unsigned load, bool qemu, bool cpu)
{
	double w = 0;

	for (unsigned i = C_TRIVM; i < C_QEMU; i++) {
		double r = ratio(load, i, qemu ? i + C_QEMU - C_TRIVM : C_PLAIN, cpu);

		if (cpu && r > 0)
			r = 1 / r;
		if (r > 0 && (w <= 0 || r < w))
			w = r;
	}
	return w;
}

static void print_goal(unsigned load, bool qemu, double goal)
{
	double rate = worst(load, qemu, false);

	if (rate > 0)
		printf("%-15s trivm / %-6s %5.2f (by CPU time %5.2f)  goal %5.2f  %s\n",
		       loads[load].name, qemu ? "QEMU" : "plain", rate, worst(load, qemu, true),
		       goal, rate >= goal ? "PASS" : "short of the goal");
}

static void json_sample(FILE *f, unsigned load, unsigned i, const char *before)
{
	double low = 0, high = 0, m = median_of(load, i, false, &low, &high);

	fprintf(f,
	        "%s\n    {\"load\": \"%s\", \"name\": \"%s\", \"pps\": %.0f, \"lowest\": %.0f, "
	        "\"highest\": %.0f, \"gb_s\": %.3f, \"cpu_ns\": %.0f, \"to_plain\": %.3f",
	        before, loads[load].name, candidates[i].name, m, low, high,
	        m * loads[load].size / 1e9, median_of(load, i, true, NULL, NULL),
	        ratio(load, i, C_PLAIN, false));
	if (candidates[i].kind == NETRUN_TRIVM)
		fprintf(f, ", \"to_qemu\": %.3f", ratio(load, i, i + C_QEMU - C_TRIVM, false));
	fprintf(f, "}");
}

static int write_json(const char *path)
{
	const char *before = "";
	FILE *f = fopen(path, "we");

	if (!f) {
		perror(path);
		return -1;
	}
	fprintf(f, "{\n  \"bench\": \"net\", \"rounds\": %u, \"results\": [", rounds);
	for (unsigned l = 0; l < LOADS; l++)
		for (unsigned i = 0; i < CANDIDATES; i++)
			if (median_of(l, i, false, NULL, NULL) > 0) {
				json_sample(f, l, i, before);
				before = ",";
			}
	fprintf(f, "\n  ]\n}\n");
	return fclose(f);
}

static void report(const char *load_word)
{
	double load = 0;

	if (getloadavg(&load, 1) != 1)
		load = -1;
	printf("Frames through a NIC; %u interleaved rounds of %u ms, medians, ratios from runs of "
	       "the same round.\nCPU: what moves a frame costs, without the vCPU. Load average "
	       "%.1f "
	       "on %ld CPUs.\n\n",
	       rounds, window_ms, load, sysconf(_SC_NPROCESSORS_ONLN));
	for (unsigned l = 0; l < LOADS; l++)
		if (strstr(loads[l].name, load_word))
			print_load(l);
	printf("\n");
	for (unsigned l = 0; l < LOADS; l++) {
		if (!loads[l].tap)
			continue;
		if (loads[l].size >= 1500)
			print_goal(l, false, 0.85);
		print_goal(l, true, 1.3);
	}
}

static void report_idle(const struct netrun_candidate *cand)
{
	printf("%-20s %6.2f %% of a CPU\n", cand->name, netrun_idle(cand));
}

/* What else is of interest: costs of the four ways of notification, and of doing nothing. */
static void report_rest(void)
{
	static const struct netrun_candidate ways[] = {
		{"ioeventfd, irqfd", NETRUN_TRIVM, false, false, ",notify=ioeventfd,inject=irqfd"},
		{"ioeventfd, ioctl", NETRUN_TRIVM, false, false, ",notify=ioeventfd,inject=ioctl"},
		{"exit, irqfd", NETRUN_TRIVM, false, false, ",notify=exit,inject=irqfd"},
		{"exit, ioctl", NETRUN_TRIVM, false, false, ",notify=exit,inject=ioctl"},
	};
	double us[2][4][ROUNDS_MAX];

	for (unsigned r = 0; r < rounds; r++)
		for (unsigned i = 0; i < 4; i++) {
			us[0][i][r] = netrun_each_us(&ways[i], "kick", KICKS);
			us[1][i][r] = netrun_each_us(&ways[i], "ping", PINGS);
		}
	printf("\nNotifications, us (trivm, PCI, port=none): a kick from CPL3; a frame sent from "
	       "CPL0 "
	       "until its\ninterrupt was handled, instructions that KVM emulates included:\n");
	for (unsigned i = 0; i < 4; i++)
		printf("%-20s kick %7.1f   round trip %7.1f\n", ways[i].name,
		       median(us[0][i], rounds), median(us[1][i], rounds));
	printf("\nAn idle guest with its NIC up:\n");
	report_idle(&candidates[C_TRIVM]);
	report_idle(&candidates[C_TRIVM + 2]);
}

/* ---- */

/* Candidates and loads whose name contains these words. */
static void run_all(const char *only, const char *load)
{
	bool failed[CANDIDATES] = {false};

	for (unsigned i = 0; access(NETRUN_QEMU, X_OK) && i < CANDIDATES; i++)
		failed[i] = candidates[i].kind == NETRUN_QEMU_VM; /* not installed */
	for (unsigned l = 0; l < LOADS; l++) {
		for (unsigned r = 0; r < rounds; r++) {
			for (unsigned n = 0; n < CANDIDATES; n++) {
				unsigned i = (n + r) % CANDIDATES;
				const struct netrun_candidate *c = &candidates[i];

				if (failed[i] || (!loads[l].tap && c->kind != NETRUN_TRIVM) ||
				    !strstr(c->name, only) || !strstr(loads[l].name, load))
					continue;
				failed[i] = !netrun(c, &loads[l], window_ms, &samples[l][i][r]);
			}
		}
	}
}

/*
 * Whoever else is at work on the host disturbs less; candidates inherit it. Where the kernel groups
 * tasks by session (sched_autogroup), a priority counts in the group only, and the group has one.
 */
static void go_first(void)
{
	int fd;

	prctl(PR_SET_PDEATHSIG, SIGTERM); /* the new session does not hear Ctrl-C */
	setpriority(PRIO_PROCESS, 0, -20);
	if (setsid() < 0)
		return;
	fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
	if (fd >= 0) {
		if (write(fd, "-20", 3) < 0)
			perror("netbench: autogroup");
		close(fd);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: netbench [--rounds N] [--window MS] [--only WORD] [--load WORD] "
	                "[--json FILE] BUILD\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'r'}, {"window", required_argument, NULL, 'w'},
		{"only", required_argument, NULL, 'o'},   {"load", required_argument, NULL, 'l'},
		{"json", required_argument, NULL, 'j'},   {0},
	};
	const char *json = NULL, *only = "", *load = "", *why;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'r')
			rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'w')
			window_ms = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'o')
			only = optarg;
		else if (opt == 'l')
			load = optarg;
		else if (opt == 'j')
			json = optarg;
		else
			usage();
	}
	if (optind != argc - 1 || !rounds || rounds > ROUNDS_MAX || !window_ms)
		usage();
	why = access("/dev/kvm", R_OK | W_OK) ? "/dev/kvm is not there or not ours to use"
	                                      : nettap_enter();
	if (why) {
		printf("net bench skipped: %s\n", why);
		return 0;
	}
	go_first();
	netrun_init(argv[optind]);
	run_all(only, load);
	report(load);
	if (!*load)
		report_rest();
	return json && write_json(json) ? 1 : 0;
}
