/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/proc.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/stats.h"

static uint64_t ticks_to_us(uint64_t ticks)
{
	return ticks * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

/* Words 14, 15 and 43 of the line, counted behind the name, which may have blanks and brackets. */
bool proc_parse_stat(const char *text, uint64_t *cpu_ticks, uint64_t *guest_ticks)
{
	const char *at = strrchr(text, ')');
	unsigned long long value[3] = {0};
	unsigned got = 0;

	if (!at)
		return false;
	for (unsigned word = 3; got < 3 && (at = strchr(at, ' ')); word++) {
		at++;
		if (word == 14 || word == 15 || word == 43)
			value[got++] = strtoull(at, NULL, 10);
	}
	*cpu_ticks = value[0] + value[1];
	*guest_ticks = value[2];
	return got >= 2;
}

/* --- Threads --- */

/* Of one call of proc_threads(). */
struct walk {
	proc_thread_fn *fn;
	void *opaque;
	int nr;
};

static void on_thread(void *opaque, const struct stats_thread *s)
{
	struct proc_thread t = {.pid = s->pid, .tid = s->tid, .cpu_us = s->cpu_us};
	struct walk *w = opaque;
	uint64_t cpu, guest;
	char path[64], buf[1024];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)s->pid, (int)s->tid);
	if (fd_read_text(path, buf, sizeof(buf)) < 0 || !proc_parse_stat(buf, &cpu, &guest))
		return;
	t.guest_us = ticks_to_us(guest);
	t.switches = s->voluntary + s->involuntary;
	memcpy(t.name, s->name, sizeof(t.name));
	w->fn(w->opaque, &t);
	w->nr++;
}

int proc_threads(pid_t pid, proc_thread_fn *fn, void *opaque)
{
	struct walk w = {.fn = fn, .opaque = opaque};

	if (stats_threads_of(pid, on_thread, &w, UINT_MAX) < 0)
		return -ESRCH;
	return w.nr;
}

/* --- Processes --- */

uint64_t proc_cpu_us(pid_t pid)
{
	char path[40], buf[1024];
	uint64_t cpu, guest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (fd_read_text(path, buf, sizeof(buf)) < 0 || !proc_parse_stat(buf, &cpu, &guest))
		return 0;
	return ticks_to_us(cpu);
}

pid_t proc_find(const char *name)
{
	DIR *dir = opendir("/proc");
	char path[40], comm[32];
	struct dirent *e;
	pid_t pid = 0;

	while (dir && !pid && (e = readdir(dir))) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9')
			continue;
		snprintf(path, sizeof(path), "/proc/%.10s/comm", e->d_name);
		if (fd_read_text(path, comm, sizeof(comm)) < 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (strcmp(comm, name) == 0)
			pid = (pid_t)strtol(e->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return pid;
}

/* --- The host --- */

uint64_t proc_busy_us(void)
{
	unsigned long long user, nice, sys, irq, soft, steal;
	char buf[512];

	/* "cpu user nice system idle iowait irq softirq steal guest ..."; guest is part of user. */
	if (fd_read_text("/proc/stat", buf, sizeof(buf)) < 0 ||
	    sscanf(buf, "cpu %llu %llu %llu %*u %*u %llu %llu %llu", &user, &nice, &sys, &irq,
	           &soft, &steal) != 6)
		return 0;
	return ticks_to_us(user + nice + sys + irq + soft);
}

int proc_parse_net(const char *text, const char *name, struct proc_net *net)
{
	size_t len = strlen(name);
	unsigned long long v[5];

	for (const char *line = text; line && *line;) {
		const char *at = line + strspn(line, " ");

		if (strncmp(at, name, len) == 0 && at[len] == ':' &&
		    sscanf(at + len + 1, "%llu %llu %*u %*u %*u %*u %*u %*u %llu %llu %*u %llu",
		           &v[0], &v[1], &v[2], &v[3], &v[4]) == 5) {
			*net = (struct proc_net){v[0], v[1], v[2], v[3], v[4]};
			return 0;
		}
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return -ENODEV;
}

int proc_net(const char *name, struct proc_net *net)
{
	char buf[16384];

	/* Not /proc/net, which is the one of the main thread's start in some sandboxes. */
	if (fd_read_text("/proc/thread-self/net/dev", buf, sizeof(buf)) < 0)
		return -ENODEV;
	return proc_parse_net(buf, name, net);
}
