/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netbench: what a NIC carries.
 *
 *	netbench [--rounds N] [--window MS] [--only WORD] [--load WORD] [--json FILE] BUILD
 *
 * --only and --load choose candidates and loads whose name contains the word.
 *
 * The same guest (BUILD/baremetal/net.elf, a polled driver) on trivm and QEMU, on PCI and MMIO,
 *with split and packed rings; beside them a plain program that does nothing but read or write the
 *same tap, which is the limit. Frames of 64 and 1500 bytes, and TCP segments of 64 KiB through all
 * offloads; sent (the host drops them behind the tap) and received (from a generator, nettap.h).
 *
 * One round of a load runs each candidate once and starts with another one each time. Ratios are
 * made of the two runs of one round, so that what the host does meanwhile hits both; reported are
 * medians.
 *
 * CPUs: the guest's own thread has CPU 0, which a polled driver takes all of; what moves the frames
 * has CPU 1, also that of the plain program. The generator has a third one if there is one,
 *otherwise it shares CPU 1 with the reader - every candidate's in the same way - and the rates of
 *received frames are lower by what it needs. The CPU time for each frame does not depend on that:
 *it is that of the candidate's threads without its vCPU's.
 *
 * As far as it may, it runs at the highest priority below real time. How far trivm is from its
 *goals is printed and never gates.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "nettap.h"

#define ROUNDS_MAX 99
#define WARM_MS    100
#define MARGIN_MS  40 /* the guest goes on for so long after we looked */
#define LIMIT_S    20

#define QEMU "/usr/bin/qemu-system-x86_64"

enum kind {
	PLAIN,
	TRIVM,
	QEMU_VM,
};

struct candidate {
	const char *name;
	enum kind kind;
	bool mmio, packed;
	const char *skipped;
};

enum {
	C_PLAIN,
	C_TRIVM, /* four of them, in the order of QEMU's four */
	C_QEMU = C_TRIVM + 4,
	CANDIDATES = C_QEMU + 4,
};

static struct candidate candidates[CANDIDATES] = {
	{"plain program", PLAIN, false, false, NULL},
	{"trivm pci split", TRIVM, false, false, NULL},
	{"trivm pci packed", TRIVM, false, true, NULL},
	{"trivm mmio split", TRIVM, true, false, NULL},
	{"trivm mmio packed", TRIVM, true, true, NULL},
	{"QEMU q35 split", QEMU_VM, false, false, NULL},
	{"QEMU q35 packed", QEMU_VM, false, true, NULL},
	{"QEMU microvm split", QEMU_VM, true, false, NULL},
	{"QEMU microvm packed", QEMU_VM, true, true, NULL},
};

struct load {
	const char *name;
	const char *mode; /* the guest's word */
	unsigned size;
	bool tap; /* false: trivm's port "none" */
};

static const struct load loads[] = {
	{"send 64 B", "tx", 64, true},           {"send 1500 B", "tx", 1500, true},
	{"send 64 KiB", "tx", NETTAP_MAX, true}, {"receive 64 B", "rx", 64, true},
	{"receive 1500 B", "rx", 1500, true},    {"receive 64 KiB", "rx", NETTAP_MAX, true},
	{"port=none 64 B", "tx", 64, false},
};
#define LOADS (sizeof(loads) / sizeof(loads[0]))

struct sample {
	bool ok;
	double pps;
	double cpu_ns; /* a frame, without the vCPU */
};

static struct sample samples[LOADS][CANDIDATES][ROUNDS_MAX];
static unsigned rounds = 5, window_ms = 250;
static const char *build;
static double tsc_khz;
static char stderr_path[512];

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static void sleep_ms(unsigned ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

static void calibrate(void)
{
	double from = now_ms();
	uint64_t tsc = __rdtsc();

	sleep_ms(100);
	tsc_khz = (double)(__rdtsc() - tsc) / (now_ms() - from);
}

/* ---- commands ---- */

struct command {
	char text[2048]; /* words, a NUL behind each */
	size_t used;
	char *argv[48];
	unsigned n;
};

__attribute__((format(printf, 2, 3))) static void add(struct command *c, const char *fmt, ...)
{
	va_list ap;

	c->argv[c->n++] = c->text + c->used;
	va_start(ap, fmt);
	c->used += (size_t)vsnprintf(c->text + c->used, sizeof(c->text) - c->used, fmt, ap) + 1;
	va_end(ap);
}

static void add_words(struct command *c, const struct candidate *cand, const struct load *l,
                      unsigned ms, const char *more)
{
	add(c, "mode=%s size=%u transport=%s ring=%s warm=%.0f ticks=%.0f%s", l->mode, l->size,
	    cand->mmio ? "mmio" : "pci", cand->packed ? "packed" : "split", WARM_MS * tsc_khz,
	    ms * tsc_khz, more);
}

static void trivm_command(struct command *c, const struct candidate *cand, const struct load *l,
                          unsigned ms)
{
	add(c, "%s/trivm", build);
	add(c, "run");
	add(c, "-m");
	add(c, "256M");
	add(c, "-k");
	add(c, "%s/baremetal/net.elf", build);
	add(c, "--net");
	add(c, "%s,transport=%s,ring=%s", l->tap ? "tap:" NETTAP_NAME : "none",
	    cand->mmio ? "mmio" : "pci", cand->packed ? "packed" : "split");
	add(c, "-p");
	add_words(c, cand, l, ms, "");
}

static void qemu_command(struct command *c, const struct candidate *cand, const struct load *l,
                         unsigned ms)
{
	static const char *const words[] = {
		"-accel",   "kvm",  "-m",      "256",   "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-name",       "netbench,debug-threads=on"};

	add(c, QEMU);
	for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		add(c, "%s", words[i]);
	add(c, "-cpu"); /* with that one, KVM without hardware virtualization refuses QEMU's MSRs */
	add(c, "host,-arch-capabilities");
	add(c, "-M");
	add(c, "%s", cand->mmio ? "microvm" : "q35");
	add(c, "-global");
	add(c, "virtio-mmio.force-legacy=false");
	add(c, "-netdev");
	add(c, "tap,id=n,ifname=" NETTAP_NAME ",script=no,downscript=no,vhost=off");
	add(c, "-device");
	add(c, "%s,netdev=n,packed=%s",
	    cand->mmio ? "virtio-net-device" : "virtio-net-pci,disable-legacy=on",
	    cand->packed ? "on" : "off");
	add(c, "-device");
	add(c, "isa-debug-exit,iobase=0xf4,iosize=1");
	add(c, "-kernel");
	add(c, "%s/baremetal/net.elf", build);
	add(c, "-append");
	add_words(c, cand, l, ms, " exit-port=0xf4");
}

static void make_command(struct command *c, const struct candidate *cand, const struct load *l)
{
	unsigned ms = window_ms + MARGIN_MS;

	memset(c, 0, sizeof(*c));
	if (cand->kind == TRIVM) {
		trivm_command(c, cand, l, ms);
	} else if (cand->kind == QEMU_VM) {
		qemu_command(c, cand, l, ms);
	} else {
		add(c, "%s/bench/netplain", build);
		add(c, "%s", l->mode);
		add(c, "%u", l->size);
		add(c, "%d", WARM_MS);
		add(c, "%u", ms);
	}
}

/* ---- one run ---- */

static volatile pid_t victim;

static void on_alarm(int sig)
{
	(void)sig;
	if (victim > 0)
		kill(victim, SIGKILL);
}

static pid_t spawn(struct command *c, FILE **out)
{
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int fds[2], rc;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, stderr_path,
	                                 O_WRONLY | O_CREAT | O_TRUNC, 0644);
	rc = posix_spawn(&pid, c->argv[0], &actions, NULL, c->argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	*out = fdopen(fds[0], "re");
	if (rc) {
		fclose(*out);
		return -1;
	}
	victim = pid;
	alarm(LIMIT_S);
	return pid;
}

/* Calls @fn with each thread of @pid, and whether it is a vCPU. */
static void each_thread(pid_t pid, void (*fn)(pid_t pid, pid_t tid, bool vcpu, void *arg),
                        void *arg)
{
	char path[300], comm[32];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (e = readdir(dir))) {
		FILE *f;

		if (!isdigit(e->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/comm", (int)pid, e->d_name);
		f = fopen(path, "re");
		if (f && fgets(comm, sizeof(comm), f))
			fn(pid, atoi(e->d_name),
			   !strncmp(comm, "vcpu", 4) || !strncmp(comm, "CPU ", 4), arg);
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
}

static void pin(pid_t pid, pid_t tid, bool vcpu, void *arg)
{
	cpu_set_t set;

	(void)pid;
	(void)arg;
	CPU_ZERO(&set);
	CPU_SET(vcpu ? 0 : 1, &set);
	sched_setaffinity(tid, sizeof(set), &set);
}

static void add_cpu_ns(pid_t pid, pid_t tid, bool vcpu, void *arg)
{
	unsigned long long ns;
	char path[64];
	FILE *f;

	if (vcpu)
		return;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) == 1)
		*(double *)arg += (double)ns;
	if (f)
		fclose(f);
}

static double cpu_ns(pid_t pid)
{
	double ns = 0;

	each_thread(pid, add_cpu_ns, &ns);
	return ns;
}

/* Reads @out to its end; the figures are in the line that begins with @mode. */
static bool read_result(FILE *out, const char *mode, double khz, double *pps)
{
	char line[512], what[8];
	double packets, bytes, ticks;
	bool found = false;

	while (fgets(line, sizeof(line), out)) {
		if (sscanf(line, "%7s packets %lf bytes %lf ticks %lf", what, &packets, &bytes,
		           &ticks) == 4 &&
		    !strcmp(what, mode) && ticks > 0) {
			*pps = packets / (ticks / khz) * 1e3;
			found = true;
		}
		if (!strncmp(line, "FAIL", 4))
			fputs(line, stderr);
	}
	return found;
}

static bool wait_ready(FILE *out)
{
	char line[512];

	while (fgets(line, sizeof(line), out)) {
		if (!strncmp(line, "ready", 5))
			return true;
		if (!strncmp(line, "FAIL", 4))
			fputs(line, stderr);
	}
	return false;
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

static bool run_one(const struct candidate *cand, const struct load *l, struct sample *s)
{
	bool generate = !strcmp(l->mode, "rx");
	double cpu, from;
	struct command c;
	FILE *out;
	pid_t pid;

	make_command(&c, cand, l);
	nettap_queue_length(l->size > NETTAP_LONG ? 64 : 1000);
	pid = spawn(&c, &out);
	if (pid < 0)
		return false;
	if (wait_ready(out)) {
		each_thread(pid, pin, NULL);
		if (generate && nettap_generate(l->size, sysconf(_SC_NPROCESSORS_ONLN) > 2 ? 2 : 1))
			perror("netbench: packet socket");
		sleep_ms(WARM_MS);
		from = now_ms();
		cpu = cpu_ns(pid);
		sleep_ms(window_ms);
		cpu = (cpu_ns(pid) - cpu) / (now_ms() - from);
		s->ok = read_result(out, l->mode, cand->kind == PLAIN ? 1e6 : tsc_khz, &s->pps);
		s->cpu_ns = s->pps ? cpu * 1e3 / s->pps : 0;
		if (generate)
			nettap_generate_stop();
	}
	fclose(out);
	waitpid(pid, NULL, 0);
	alarm(0);
	victim = 0;
	if (!s->ok) {
		fprintf(stderr, "netbench: %s, %s: no result\n", cand->name, l->name);
		show_stderr();
	}
	return s->ok;
}

/* ---- the idle guest ---- */

static void idle(const struct candidate *cand)
{
	static const struct load nothing = {"idle", "idle", 64, true};
	unsigned ms = 2000;
	struct command c;
	double cpu, from;
	FILE *out;
	pid_t pid;

	make_command(&c, cand, &nothing);
	pid = spawn(&c, &out);
	if (pid < 0 || !wait_ready(out))
		return;
	sleep_ms(WARM_MS);
	cpu = 0;
	each_thread(pid, add_cpu_ns, &cpu);
	from = now_ms();
	sleep_ms(ms);
	printf("%-20s %6.2f %% of a CPU, without its vCPU\n", cand->name,
	       (cpu_ns(pid) - cpu) / 1e4 / (now_ms() - from));
	kill(pid, SIGKILL);
	fclose(out);
	waitpid(pid, NULL, 0);
	alarm(0);
}

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
		const struct sample *a = &samples[load][cand][r], *b = &samples[load][to][r];

		if (a->ok && b->ok && b->pps && b->cpu_ns)
			v[n++] = cpu ? a->cpu_ns / b->cpu_ns : a->pps / b->pps;
	}
	return median(v, n);
}

static void print_ratio(double r)
{
	if (r)
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

		if (!m)
			continue;
		printf("  %-19s %8.3f   (%6.3f-%6.3f)", candidates[i].name, m / unit, low / unit,
		       high / unit);
		print_ratio(ratio(load, i, C_PLAIN, false));
		print_ratio(candidates[i].kind == TRIVM
		                    ? ratio(load, i, i + C_QEMU - C_TRIVM, false)
		                    : 0);
		printf(" %8.0f", median_of(load, i, true, NULL, NULL));
		print_ratio(ratio(load, i, C_PLAIN, true));
		printf("\n");
	}
}

/* The worst of trivm's four at one load. */
static void print_goal(unsigned load, bool qemu, double goal)
{
	double worst = 0;

	for (unsigned i = C_TRIVM; i < C_QEMU; i++) {
		double r = ratio(load, i, qemu ? i + C_QEMU - C_TRIVM : C_PLAIN, false);

		if (r && (!worst || r < worst))
			worst = r;
	}
	if (worst)
		printf("%-15s trivm / %-6s %5.2f  goal %5.2f  %s\n", loads[load].name,
		       qemu ? "QEMU" : "plain", worst, goal,
		       worst >= goal ? "PASS" : "short of the goal");
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
	if (candidates[i].kind == TRIVM)
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
			if (median_of(l, i, false, NULL, NULL)) {
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

/* ---- */

/* Candidates and loads whose name contains these words. */
static void run_all(const char *only, const char *load)
{
	bool failed[CANDIDATES] = {false};

	for (unsigned l = 0; l < LOADS; l++) {
		for (unsigned r = 0; r < rounds; r++) {
			for (unsigned n = 0; n < CANDIDATES; n++) {
				unsigned i = (n + r) % CANDIDATES;
				const struct candidate *c = &candidates[i];

				if (c->skipped || failed[i] ||
				    (!loads[l].tap && c->kind != TRIVM) || !strstr(c->name, only) ||
				    !strstr(loads[l].name, load))
					continue;
				failed[i] = !run_one(c, &loads[l], &samples[l][i][r]);
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
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
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
	build = argv[optind];
	why = access("/dev/kvm", R_OK | W_OK) ? "/dev/kvm is not there or not ours to use"
	                                      : nettap_enter();
	if (why) {
		printf("net bench skipped: %s\n", why);
		return 0;
	}
	snprintf(stderr_path, sizeof(stderr_path), "%s/bench/net.stderr", build);
	sigaction(SIGALRM, &sa, NULL);
	go_first();
	calibrate();
	for (unsigned i = 0; access(QEMU, X_OK) && i < CANDIDATES; i++)
		if (candidates[i].kind == QEMU_VM)
			candidates[i].skipped = "not installed";
	run_all(only, load);
	report(load);
	if (!*load) {
		printf("\nAn idle guest with its NIC up:\n");
		idle(&candidates[C_TRIVM]);
		idle(&candidates[C_TRIVM + 2]);
	}
	return json && write_json(json) ? 1 : 0;
}
