/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measuring one run of a command.
 *
 * Time is CLOCK_MONOTONIC, taken right before posix_spawn() (which is vfork and exec: no copy of
 * this process is made) and right after the read() that got the first byte, and wait4(). A command
 * that does not end is killed by SIGALRM's handler, so that the waits need no timeouts of their
 * own.
 *
 * Memory is looked at from outside (/proc/PID) while the command waits with everything built.
 * ru_maxrss would be simpler, but it counts guest pages as well, and nothing tells how many those
 * were.
 *
 * System calls are counted by ptrace, stopping at each: in a run of its own, as it slows
 * everything.
 */
#include "measure.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static volatile pid_t victim;

static void on_alarm(int sig)
{
	(void)sig;
	if (victim > 0)
		kill(victim, SIGKILL);
}

static void arm(pid_t pid)
{
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};

	victim = pid;
	sigaction(SIGALRM, &sa, NULL);
	alarm(pid > 0 ? MEASURE_TIMEOUT_S : 0);
}

static double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

/* Start @argv with a pipe as its stdout; *@out is our end. */
static pid_t spawn(char *const argv[], const char *stderr_path, int *out)
{
	posix_spawn_file_actions_t actions;
	int fds[2], ret;
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0) {
		perror("startbench: pipe");
		return -1;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, stderr_path,
	                                 O_WRONLY | O_CREAT | O_TRUNC, 0644);
	ret = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	*out = fds[0];
	if (ret) {
		fprintf(stderr, "startbench: %s: %s\n", argv[0], strerror(ret));
		close(fds[0]);
		return -1;
	}
	return pid;
}

static int exit_status(int wstatus)
{
	return WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 256 + WTERMSIG(wstatus);
}

static double timeval_us(struct timeval tv)
{
	return (double)tv.tv_sec * 1e6 + (double)tv.tv_usec;
}

int measure_run(char *const argv[], const char *stderr_path, struct measured *m)
{
	double start = now_us();
	struct rusage usage;
	int out, wstatus;
	ssize_t got;
	pid_t pid = spawn(argv, stderr_path, &out);

	if (pid < 0)
		return -1;
	arm(pid);
	got = read(out, &m->byte, 1);
	m->first_byte_us = now_us() - start;
	while (wait4(pid, &wstatus, 0, &usage) < 0 && errno == EINTR)
		continue;
	m->wall_us = now_us() - start;
	arm(0);
	close(out);
	m->status = exit_status(wstatus);
	m->cpu_us = timeval_us(usage.ru_utime) + timeval_us(usage.ru_stime);
	m->max_rss_kib = usage.ru_maxrss;
	if (got != 1) {
		fprintf(stderr, "startbench: %s: no byte from the guest, status %d; see %s\n",
		        argv[0], m->status, stderr_path);
		return -1;
	}
	return 0;
}

static long status_field(pid_t pid, const char *name)
{
	char path[64], line[256];
	size_t n = strlen(name);
	long kib = -1;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, n) && line[n] == ':')
			kib = strtol(line + n + 1, NULL, 10);
	if (f)
		fclose(f);
	return kib;
}

/* Sum Rss over all mappings (@total) and over those of at least @big bytes (@guest). */
static int sum_smaps(pid_t pid, uint64_t big, long *total, long *guest)
{
	char path[64], line[1024];
	uint64_t from, to, size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return -1;
	*total = *guest = 0;
	while (fgets(line, sizeof(line), f)) {
		long rss;

		if (sscanf(line, "%" SCNx64 "-%" SCNx64 " ", &from, &to) == 2) {
			size = to - from;
		} else if (sscanf(line, "Rss: %ld kB", &rss) == 1) {
			*total += rss;
			if (size >= big)
				*guest += rss;
		}
	}
	fclose(f);
	return 0;
}

int measure_memory(char *const argv[], const char *stderr_path, uint64_t guest_bytes,
                   struct measured_memory *m)
{
	long total;
	int out, ret = -1;
	uint8_t byte;
	pid_t pid = spawn(argv, stderr_path, &out);

	if (pid < 0)
		return -1;
	arm(pid);
	if (read(out, &byte, 1) == 1 && !sum_smaps(pid, guest_bytes / 2, &total, &m->guest_kib)) {
		m->peak_kib = status_field(pid, "VmHWM");
		if (m->peak_kib < total)
			m->peak_kib = total;
		m->beyond_kib = m->peak_kib - m->guest_kib;
		ret = 0;
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	arm(0);
	close(out);
	return ret;
}

/* ---- system calls ---- */

static void traced_child(char *const argv[], const char *stderr_path)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = open(stderr_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		_exit(127);
	raise(SIGSTOP);
	execve(argv[0], argv, environ);
	_exit(127);
}

static bool is_syscall_entry(pid_t tid)
{
	struct __ptrace_syscall_info info = {0};

	ptrace(PTRACE_GET_SYSCALL_INFO, tid, (void *)sizeof(info), &info);
	return info.op == PTRACE_SYSCALL_INFO_ENTRY;
}

/* Until @pid is gone: counts from its exec on. */
static long count_stops(pid_t pid)
{
	bool counting = false;
	long calls = 1; /* execve itself */
	int wstatus;
	pid_t tid;

	while ((tid = waitpid(-1, &wstatus, __WALL)) > 0) {
		int sig = 0;

		if (!WIFSTOPPED(wstatus)) {
			if (tid == pid)
				return counting ? calls : -1;
			continue;
		}
		if (WSTOPSIG(wstatus) == (SIGTRAP | 0x80))
			calls += counting && is_syscall_entry(tid);
		else if (wstatus >> 8 == (SIGTRAP | PTRACE_EVENT_EXEC << 8))
			counting = true;
		else if (WSTOPSIG(wstatus) != SIGTRAP && WSTOPSIG(wstatus) != SIGSTOP)
			sig = WSTOPSIG(wstatus);
		ptrace(PTRACE_SYSCALL, tid, NULL, (void *)(intptr_t)sig);
	}
	return -1;
}

long measure_syscalls(char *const argv[], const char *stderr_path)
{
	pid_t pid = fork();
	int wstatus;
	long calls;

	if (pid == 0)
		traced_child(argv, stderr_path);
	if (pid < 0)
		return -1;
	arm(pid);
	if (waitpid(pid, &wstatus, 0) != pid || !WIFSTOPPED(wstatus) ||
	    ptrace(PTRACE_SETOPTIONS, pid, NULL,
	           (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
	                    PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL)) < 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		arm(0);
		return -1;
	}
	ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
	calls = count_stops(pid);
	arm(0);
	return calls;
}
