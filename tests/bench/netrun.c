/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One run: a command is made for the candidate, started, its threads are put on their CPUs once its
 * guest says that it is ready, and it is looked at from outside for a time; the rate is what the
 * guest (or the plain program) counted in about the same time and printed at its end.
 *
 * The guest measures its time in ticks of the TSC, which is the host's.
 */
#include "netrun.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "nettap.h"

#define WARM_MS   100
#define MARGIN_MS 40 /* the guest goes on for so long after we looked */
#define IDLE_MS   2000
#define LIMIT_S   20

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

static void add_words(struct command *c, const struct netrun_candidate *cand,
                      const struct netrun_load *l, unsigned ms, const char *more)
{
	add(c, "mode=%s size=%u transport=%s ring=%s warm=%.0f ticks=%.0f%s", l->mode, l->size,
	    cand->mmio ? "mmio" : "pci", cand->packed ? "packed" : "split", WARM_MS * tsc_khz,
	    ms * tsc_khz, more);
}

static void trivm_command(struct command *c, const struct netrun_candidate *cand,
                          const struct netrun_load *l, unsigned ms)
{
	add(c, "%s/trivm", build);
	add(c, "run");
	add(c, "-m");
	add(c, "256M");
	add(c, "-k");
	add(c, "%s/baremetal/net.elf", build);
	add(c, "--net");
	add(c, "%s,transport=%s,ring=%s%s", l->tap ? "tap:" NETTAP_NAME : "none",
	    cand->mmio ? "mmio" : "pci", cand->packed ? "packed" : "split",
	    cand->options ? cand->options : "");
	add(c, "-p");
	add_words(c, cand, l, ms, "");
}

static void qemu_command(struct command *c, const struct netrun_candidate *cand,
                         const struct netrun_load *l, unsigned ms)
{
	static const char *const words[] = {
		"-accel",   "kvm",  "-m",      "256",   "-nodefaults", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-name",       "netbench,debug-threads=on"};

	add(c, NETRUN_QEMU);
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

static void make_command(struct command *c, const struct netrun_candidate *cand,
                         const struct netrun_load *l, unsigned ms)
{
	memset(c, 0, sizeof(*c));
	if (cand->kind == NETRUN_TRIVM) {
		trivm_command(c, cand, l, ms);
	} else if (cand->kind == NETRUN_QEMU_VM) {
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

static void reap(pid_t pid, FILE *out)
{
	fclose(out);
	waitpid(pid, NULL, 0);
	alarm(0);
	victim = 0;
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

struct cpu_sum {
	bool vcpus; /* these, too */
	double ns;
};

static void add_cpu_ns(pid_t pid, pid_t tid, bool vcpu, void *arg)
{
	struct cpu_sum *sum = arg;
	unsigned long long ns;
	char path[64];
	FILE *f;

	if (vcpu && !sum->vcpus)
		return;
	snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &ns) == 1)
		sum->ns += (double)ns;
	if (f)
		fclose(f);
}

static double cpu_ns(pid_t pid, bool vcpus)
{
	struct cpu_sum sum = {.vcpus = vcpus};

	each_thread(pid, add_cpu_ns, &sum);
	return sum.ns;
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

bool netrun(const struct netrun_candidate *cand, const struct netrun_load *l, unsigned window_ms,
            struct netrun_sample *s)
{
	bool generate = !strcmp(l->mode, "rx");
	double cpu, from;
	struct command c;
	FILE *out;
	pid_t pid;

	make_command(&c, cand, l, window_ms + MARGIN_MS);
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
		cpu = cpu_ns(pid, false);
		sleep_ms(window_ms);
		cpu = (cpu_ns(pid, false) - cpu) / (now_ms() - from);
		s->ok = read_result(out, l->mode, cand->kind == NETRUN_PLAIN ? 1e6 : tsc_khz,
		                    &s->pps);
		s->cpu_ns = s->pps > 0 ? cpu * 1e3 / s->pps : 0;
		if (generate)
			nettap_generate_stop();
	}
	reap(pid, out);
	if (!s->ok) {
		fprintf(stderr, "netbench: %s, %s: no result\n", cand->name, l->name);
		show_stderr();
	}
	return s->ok;
}

double netrun_each_us(const struct netrun_candidate *cand, const char *mode, unsigned count)
{
	const struct netrun_load load = {mode, mode, 64, false};
	struct command c;
	double pps = 0;
	FILE *out;
	pid_t pid;

	make_command(&c, cand, &load, 0);
	c.used--; /* one more word behind the guest's others */
	c.used +=
		(size_t)snprintf(c.text + c.used, sizeof(c.text) - c.used, " count=%u", count) + 1;
	pid = spawn(&c, &out);
	if (pid < 0)
		return -1;
	if (wait_ready(out)) {
		each_thread(pid, pin, NULL);
		read_result(out, mode, tsc_khz, &pps);
	}
	reap(pid, out);
	return pps > 0 ? 1e6 / pps : -1;
}

double netrun_idle(const struct netrun_candidate *cand)
{
	static const struct netrun_load idle = {"idle", "idle", 64, true};
	double percent = -1, cpu, from;
	struct command c;
	FILE *out;
	pid_t pid;

	make_command(&c, cand, &idle, 0);
	pid = spawn(&c, &out);
	if (pid < 0)
		return -1;
	if (wait_ready(out)) {
		sleep_ms(WARM_MS);
		cpu = cpu_ns(pid, true);
		from = now_ms();
		sleep_ms(IDLE_MS);
		percent = (cpu_ns(pid, true) - cpu) / 1e4 / (now_ms() - from);
	}
	kill(pid, SIGKILL);
	reap(pid, out);
	return percent;
}

void netrun_init(const char *dir)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

	build = dir;
	snprintf(stderr_path, sizeof(stderr_path), "%s/bench/net.stderr", dir);
	sigaction(SIGALRM, &sa, NULL);
	calibrate();
}
