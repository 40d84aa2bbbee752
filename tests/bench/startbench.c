/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * startbench: what it costs to start a VM, to get one byte out of it, and to end it.
 *
 *	startbench [--rounds N] [--memory MIB] [--json FILE] BUILD
 *
 * The same 14 bytes of guest code (BUILD/baremetal/byte-reset) on a bare KVM program, on trivm and
 * on QEMU. One round runs each candidate once, and each round starts with another one, so that
 * whatever the host does meanwhile hits all of them alike. Reported are the median and the
 * quartiles. Candidates that are not there are said to be skipped; one that does not do what it
 * should is a failure.
 *
 * How far trivm is from its goals is printed and never gates: figures of one host are no test.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "measure.h"

#define ROUNDS_MAX 1000
#define ARGS_MAX   24

enum column {
	FIRST_BYTE,
	WALL,
	CPU,
	MAX_RSS,
	COLUMNS
};
static const char *const column_name[] = {"first_byte_ms", "wall_ms", "cpu_ms", "max_rss_mib"};

struct quartiles {
	double low, median, high;
};

struct candidate {
	const char *name;
	const char *program;        /* below BUILD, or an absolute path */
	const char *args[ARGS_MAX]; /* RESET, HALT and MEMORY are replaced */
	const char *image;          /* "elf" or "bin" */
	int status;                 /* that it ends with */

	const char *skipped; /* why */
	bool failed;
	unsigned runs;
	double samples[COLUMNS][ROUNDS_MAX];
	struct quartiles q[COLUMNS];
	struct measured_memory memory;
	bool has_memory;
	long syscalls;
};

#define QEMU "/usr/bin/qemu-system-x86_64"
#define QEMU_ARGS                                                                        \
	"-accel", "kvm", "-cpu", "host,-arch-capabilities", "-nodefaults", "-no-reboot", \
		"-display", "none", "-serial", "stdio", "-m", "MEMORY", "-bios", "GUEST"

enum {
	BARE_NONE,
	BARE_SPLIT,
	BARE_KERNEL,
	TRIVM_SPLIT,
	TRIVM_KERNEL,
	MICROVM,
	Q35,
	CANDIDATES
};

#define CANDIDATE(n, p, i, s, ...)                                                                \
	{                                                                                         \
		.name = (n), .program = (p), .image = (i), .status = (s), .args = { __VA_ARGS__ } \
	}
#define BARE(kind)  "--irqchip", kind, "--memory", "BYTES", "GUEST"
#define TRIVM(kind) "run", "--irqchip", kind, "-m", "MEMORYM", "-k", "GUEST"

static struct candidate candidates[CANDIDATES] = {
	[BARE_NONE] = CANDIDATE("bare KVM, no irqchip", "bench/bare_kvm", "bin", 121, BARE("none")),
	[BARE_SPLIT] = CANDIDATE("bare KVM, split", "bench/bare_kvm", "bin", 121, BARE("split")),
	[BARE_KERNEL] =
		CANDIDATE("bare KVM, in-kernel", "bench/bare_kvm", "bin", 121, BARE("kernel")),
	[TRIVM_SPLIT] = CANDIDATE("trivm, split", "trivm", "elf", 121, TRIVM("split")),
	[TRIVM_KERNEL] = CANDIDATE("trivm, in-kernel", "trivm", "elf", 121, TRIVM("kernel")),
	[MICROVM] = CANDIDATE("QEMU microvm", QEMU, "bin", 0, "-M", "microvm", "-device", "i8042",
                              QEMU_ARGS),
	[Q35] = CANDIDATE("QEMU q35", QEMU, "bin", 0, "-M", "q35", QEMU_ARGS),
};

static const char *build;
static unsigned memory_mib = 256;
static char stderr_path[512];

/* ---- one candidate ---- */

struct command {
	char *argv[ARGS_MAX + 2];
	char program[512], guest[512], mib[32], mibm[32], bytes[32];
};

static char *substitute(struct command *cmd, const char *arg)
{
	if (!strcmp(arg, "GUEST"))
		return cmd->guest;
	if (!strcmp(arg, "MEMORY"))
		return cmd->mib;
	if (!strcmp(arg, "MEMORYM"))
		return cmd->mibm;
	if (!strcmp(arg, "BYTES"))
		return cmd->bytes;
	return (char *)arg;
}

/* @guest: "byte-reset" or "byte-halt" */
static void command_make(struct command *cmd, const struct candidate *c, const char *guest)
{
	unsigned n = 0;

	if (c->program[0] == '/')
		snprintf(cmd->program, sizeof(cmd->program), "%s", c->program);
	else
		snprintf(cmd->program, sizeof(cmd->program), "%s/%s", build, c->program);
	snprintf(cmd->guest, sizeof(cmd->guest), "%s/baremetal/%s.%s", build, guest, c->image);
	snprintf(cmd->mib, sizeof(cmd->mib), "%u", memory_mib);
	snprintf(cmd->mibm, sizeof(cmd->mibm), "%uM", memory_mib);
	snprintf(cmd->bytes, sizeof(cmd->bytes), "%lu", (unsigned long)memory_mib << 20);
	cmd->argv[n++] = cmd->program;
	for (unsigned i = 0; c->args[i]; i++)
		cmd->argv[n++] = substitute(cmd, c->args[i]);
	cmd->argv[n] = NULL;
}

static void show_stderr(void)
{
	char line[512];
	FILE *f = fopen(stderr_path, "re");

	while (f && fgets(line, sizeof(line), f))
		fprintf(stderr, "    %s", line);
	if (f)
		fclose(f);
}

static void one_run(struct candidate *c, bool keep)
{
	struct command cmd;
	struct measured m;

	command_make(&cmd, c, "byte-reset");
	if (measure_run(cmd.argv, stderr_path, &m) || m.status != c->status || m.byte != 'A') {
		fprintf(stderr, "startbench: %s failed: status %d instead of %d\n", c->name,
		        m.status, c->status);
		show_stderr();
		c->failed = true;
		return;
	}
	if (!keep)
		return;
	c->samples[FIRST_BYTE][c->runs] = m.first_byte_us / 1e3;
	c->samples[WALL][c->runs] = m.wall_us / 1e3;
	c->samples[CPU][c->runs] = m.cpu_us / 1e3;
	c->samples[MAX_RSS][c->runs] = (double)m.max_rss_kib / 1024;
	c->runs++;
}

static bool taking_part(const struct candidate *c)
{
	return !c->skipped && !c->failed;
}

static void look_closer(struct candidate *c)
{
	struct command cmd;

	command_make(&cmd, c, "byte-halt");
	c->has_memory =
		!measure_memory(cmd.argv, stderr_path, (uint64_t)memory_mib << 20, &c->memory);
	command_make(&cmd, c, "byte-reset");
	c->syscalls = measure_syscalls(cmd.argv, stderr_path);
}

/* ---- statistics ---- */

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double at(const double *sorted, unsigned n, double quantile)
{
	double position = quantile * (n - 1);
	unsigned i = (unsigned)position;

	if (i + 1 >= n)
		return sorted[n - 1];
	return sorted[i] + (position - i) * (sorted[i + 1] - sorted[i]);
}

static void summarize(struct candidate *c)
{
	for (int col = 0; col < COLUMNS; col++) {
		double *s = c->samples[col];

		qsort(s, c->runs, sizeof(*s), compare);
		c->q[col] = (struct quartiles){at(s, c->runs, 0.25), at(s, c->runs, 0.5),
		                               at(s, c->runs, 0.75)};
	}
}

/* ---- output ---- */

static void print_cell(struct quartiles q)
{
	printf("  %6.2f (%6.2f-%6.2f)", q.median, q.low, q.high);
}

static void print_table(unsigned rounds)
{
	double load = 0;

	if (getloadavg(&load, 1) != 1)
		load = -1;
	printf("One byte to the serial port, then a reset; %u MiB, 1 vCPU, %u interleaved rounds.\n"
	       "Load average %.1f on %ld CPUs (above their number others are at work, and times "
	       "are "
	       "too long).\n"
	       "Median (quartiles). Times in ms from just before exec, memory in MiB.\n\n"
	       "%-21s  %-23s %-23s %-23s %8s %8s %8s\n",
	       memory_mib, rounds, load, sysconf(_SC_NPROCESSORS_ONLN), "", "  first byte",
	       "  whole run", "  CPU time", "max RSS", "beyond", "system");
	printf("%-21s  %-23s %-23s %-23s %8s %8s %8s\n", "", "", "", "", "", "guest", "calls");
	for (unsigned i = 0; i < CANDIDATES; i++) {
		const struct candidate *c = &candidates[i];

		printf("%-21s", c->name);
		if (!taking_part(c)) {
			printf("  %s\n", c->failed ? "FAILED, see above" : c->skipped);
			continue;
		}
		for (int col = FIRST_BYTE; col <= CPU; col++)
			print_cell(c->q[col]);
		printf(" %8.2f", c->q[MAX_RSS].median);
		if (c->has_memory)
			printf(" %8.2f", (double)c->memory.beyond_kib / 1024);
		else
			printf(" %8s", "-");
		if (c->syscalls >= 0)
			printf(" %8ld\n", c->syscalls);
		else
			printf(" %8s\n", "-");
	}
	printf("\nmax RSS: ru_maxrss of the same runs, guest pages included. beyond guest: one "
	       "more run whose guest\n"
	       "halts after the byte; peak RSS (VmHWM) less the resident pages of the mappings "
	       "that hold guest\n"
	       "memory (smaps; those at least half its size). system calls: one more run, counted "
	       "by ptrace.\n\n");
}

struct goal {
	const char *text;
	double value, limit;
	bool known;
};

static struct goal ratio(const char *text, int of, int to, double limit)
{
	bool known = taking_part(&candidates[of]) && taking_part(&candidates[to]);

	return (struct goal){
		text, known ? candidates[of].q[WALL].median / candidates[to].q[WALL].median : 0,
		limit, known};
}

#define GOALS 8
static unsigned goals_make(struct goal *g)
{
	unsigned n = 0;

	g[n++] = ratio("whole run, trivm split / bare KVM split", TRIVM_SPLIT, BARE_SPLIT, 1.5);
	g[n++] = ratio("whole run, trivm in-kernel / bare KVM in-kernel", TRIVM_KERNEL, BARE_KERNEL,
	               1.5);
	g[n++] = ratio("whole run, trivm split / QEMU microvm", TRIVM_SPLIT, MICROVM, 0.25);
	for (int i = TRIVM_SPLIT; i <= TRIVM_KERNEL; i++) {
		const struct candidate *c = &candidates[i];

		g[n++] = (struct goal){
			i == TRIVM_SPLIT ? "MiB beyond guest memory, trivm split"
					 : "MiB beyond guest memory, trivm in-kernel",
			(double)c->memory.beyond_kib / 1024, 3, taking_part(c) && c->has_memory};
		g[n++] =
			(struct goal){i == TRIVM_SPLIT ? "system calls, trivm split"
		                                       : "system calls, trivm in-kernel",
		                      (double)c->syscalls, 150, taking_part(c) && c->syscalls >= 0};
	}
	return n;
}

static void print_goals(const struct goal *g, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (g[i].known)
			printf("%-50s %8.2f  goal %6.2f  %s\n", g[i].text, g[i].value, g[i].limit,
			       g[i].value <= g[i].limit ? "PASS" : "short of the goal");
		else
			printf("%-50s %8s  goal %6.2f  not measured\n", g[i].text, "-", g[i].limit);
	}
}

static void json_candidate(FILE *f, const struct candidate *c)
{
	fprintf(f, "    {\"name\": \"%s\"", c->name);
	if (!taking_part(c)) {
		fprintf(f, ", \"%s\": \"%s\"}", c->failed ? "failed" : "skipped",
		        c->failed ? "see log" : c->skipped);
		return;
	}
	for (int col = 0; col < COLUMNS; col++)
		fprintf(f, ", \"%s\": {\"q1\": %.3f, \"median\": %.3f, \"q3\": %.3f}",
		        column_name[col], c->q[col].low, c->q[col].median, c->q[col].high);
	if (c->has_memory)
		fprintf(f,
		        ", \"peak_rss_kib\": %ld, \"guest_rss_kib\": %ld, \"beyond_guest_kib\": "
		        "%ld",
		        c->memory.peak_kib, c->memory.guest_kib, c->memory.beyond_kib);
	if (c->syscalls >= 0)
		fprintf(f, ", \"syscalls\": %ld", c->syscalls);
	fprintf(f, "}");
}

static int write_json(const char *path, unsigned rounds, const struct goal *g, unsigned nr_goals)
{
	FILE *f = fopen(path, "we");

	if (!f) {
		perror(path);
		return -1;
	}
	fprintf(f,
	        "{\n  \"bench\": \"start\", \"rounds\": %u, \"memory_mib\": %u,\n  \"results\": "
	        "[\n",
	        rounds, memory_mib);
	for (unsigned i = 0; i < CANDIDATES; i++) {
		json_candidate(f, &candidates[i]);
		fprintf(f, i + 1 < CANDIDATES ? ",\n" : "\n");
	}
	fprintf(f, "  ],\n  \"goals\": [\n");
	for (unsigned i = 0; i < nr_goals; i++) {
		fprintf(f, "    {\"what\": \"%s\", \"limit\": %.2f, ", g[i].text, g[i].limit);
		if (g[i].known)
			fprintf(f, "\"value\": %.3f, \"reached\": %s}", g[i].value,
			        g[i].value <= g[i].limit ? "true" : "false");
		else
			fprintf(f, "\"value\": null, \"reached\": null}");
		fprintf(f, i + 1 < nr_goals ? ",\n" : "\n");
	}
	fprintf(f, "  ]\n}\n");
	return fclose(f);
}

/* ---- */

static void find_candidates(void)
{
	struct command cmd;

	for (unsigned i = 0; i < CANDIDATES; i++) {
		struct candidate *c = &candidates[i];

		command_make(&cmd, c, "byte-reset");
		if (access(cmd.program, X_OK))
			c->skipped = c->program[0] == '/' ? "skipped: not installed"
			                                  : "skipped: not built";
		else if (access(cmd.guest, R_OK))
			c->skipped = "skipped: its guest is not built";
	}
}

static void run_all(unsigned rounds)
{
	for (unsigned i = 0; i < CANDIDATES; i++)
		if (taking_part(&candidates[i]))
			one_run(&candidates[i], false); /* files into the page cache */
	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < CANDIDATES; i++) {
			struct candidate *c = &candidates[(i + round) % CANDIDATES];

			if (taking_part(c))
				one_run(c, true);
		}
	}
	for (unsigned i = 0; i < CANDIDATES; i++) {
		if (!taking_part(&candidates[i]))
			continue;
		summarize(&candidates[i]);
		look_closer(&candidates[i]);
	}
}

static void usage(void)
{
	fprintf(stderr, "usage: startbench [--rounds N] [--memory MIB] [--json FILE] BUILD\n");
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"memory", required_argument, NULL, 'm'},
		{"json", required_argument, NULL, 'j'},
		{0},
	};
	unsigned rounds = 15, nr_goals;
	const char *json = NULL;
	struct goal goals[GOALS];
	bool failed = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'r')
			rounds = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'm')
			memory_mib = (unsigned)strtoul(optarg, NULL, 10);
		else if (opt == 'j')
			json = optarg;
		else
			usage();
	}
	if (optind != argc - 1 || !rounds || rounds > ROUNDS_MAX || memory_mib < 128)
		usage();
	build = argv[optind];
	if (access("/dev/kvm", R_OK | W_OK)) {
		printf("start bench skipped: /dev/kvm is not there or not ours to use\n");
		return 0;
	}
	snprintf(stderr_path, sizeof(stderr_path), "%s/bench/start.stderr", build);
	find_candidates();
	run_all(rounds);
	print_table(rounds);
	nr_goals = goals_make(goals);
	print_goals(goals, nr_goals);
	if (json && write_json(json, rounds, goals, nr_goals))
		return 1;
	for (unsigned i = 0; i < CANDIDATES; i++)
		failed |= candidates[i].failed;
	return failed;
}
