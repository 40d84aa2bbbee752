/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/proc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/fd.h"

/* What is in the file, as text. False: it is not there, or the thread has ended. */
static bool slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	/* Some files come in pieces. */
	while (fd >= 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	fd_close(&fd);
	buf[len] = '\0';
	return len > 0;
}

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

static uint64_t number(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

static bool read_thread(pid_t pid, const char *tid, struct proc_thread *t)
{
	char path[80], buf[4096];
	uint64_t cpu, guest;
	int n = snprintf(path, sizeof(path), "/proc/%d/task/%.10s/", (int)pid, tid);
	char *file = path + n;
	size_t room = sizeof(path) - (size_t)n;

	*t = (struct proc_thread){.pid = pid, .tid = (pid_t)strtol(tid, NULL, 10)};
	snprintf(file, room, "comm");
	if (!slurp(path, t->name, sizeof(t->name)))
		return false;
	t->name[strcspn(t->name, "\n")] = '\0';
	snprintf(file, room, "stat");
	if (!slurp(path, buf, sizeof(buf)) || !proc_parse_stat(buf, &cpu, &guest))
		return false;
	t->cpu_us = ticks_to_us(cpu);
	t->guest_us = ticks_to_us(guest);
	snprintf(file, room, "schedstat");
	if (slurp(path, buf, sizeof(buf)) && strtoull(buf, NULL, 10))
		t->cpu_us = strtoull(buf, NULL, 10) / 1000;
	snprintf(file, room, "status");
	if (!slurp(path, buf, sizeof(buf)))
		return false;
	t->switches = number(buf, "\nvoluntary_ctxt_switches:") +
	              number(buf, "\nnonvoluntary_ctxt_switches:");
	return true;
}

int proc_threads(pid_t pid, void (*fn)(void *opaque, const struct proc_thread *t), void *opaque)
{
	struct proc_thread t;
	struct dirent *e;
	char path[40];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -ESRCH;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || !read_thread(pid, e->d_name, &t))
			continue;
		fn(opaque, &t);
		n++;
	}
	closedir(dir);
	return n;
}

uint64_t proc_cpu_us(pid_t pid)
{
	char path[40], buf[1024];
	uint64_t cpu, guest;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	if (!slurp(path, buf, sizeof(buf)) || !proc_parse_stat(buf, &cpu, &guest))
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
		if (!slurp(path, comm, sizeof(comm)))
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (strcmp(comm, name) == 0)
			pid = (pid_t)strtol(e->d_name, NULL, 10);
	}
	if (dir)
		closedir(dir);
	return pid;
}

uint64_t proc_busy_us(void)
{
	unsigned long long user, nice, sys, irq, soft, steal;
	char buf[512];

	/* "cpu user nice system idle iowait irq softirq steal guest ..."; guest is part of user. */
	if (!slurp("/proc/stat", buf, sizeof(buf)) ||
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
	if (!slurp("/proc/thread-self/net/dev", buf, sizeof(buf)))
		return -ENODEV;
	return proc_parse_net(buf, name, net);
}
