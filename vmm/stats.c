/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/stats.h"

#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define DESCS_MAX 1024
#define NAME_MAX_ 256

/* The descriptors of @fd, each @step bytes long; NULL and *@rc on an error. */
static uint8_t *read_descs(int fd, const struct kvm_stats_header *h, size_t *step, int *rc)
{
	uint8_t *descs;

	*rc = -EPROTO;
	if (h->num_desc > DESCS_MAX || h->name_size < 1 || h->name_size > NAME_MAX_)
		return NULL;
	*step = sizeof(struct kvm_stats_desc) + h->name_size;
	*rc = -ENOMEM;
	descs = malloc(*step * h->num_desc + 1);
	if (!descs)
		return NULL;
	*rc = fd_pread_full(fd, descs, *step * h->num_desc, h->desc_offset);
	if (*rc == 0)
		return descs;
	free(descs);
	return NULL;
}

int stats_kvm(int fd, void (*fn)(void *opaque, const char *name, uint64_t value), void *opaque)
{
	struct kvm_stats_header h;
	uint8_t *descs;
	size_t step;
	int rc = fd_pread_full(fd, &h, sizeof(h), 0);

	if (rc < 0)
		return rc;
	descs = read_descs(fd, &h, &step, &rc);
	if (!descs)
		return rc;
	for (unsigned i = 0; i < h.num_desc && rc == 0; i++) {
		char name[NAME_MAX_ + 1];
		struct kvm_stats_desc d;
		uint64_t value;

		memcpy(&d, descs + i * step, sizeof(d));
		if (d.size != 1)
			continue;
		snprintf(name, sizeof(name), "%.*s", (int)h.name_size,
		         (const char *)descs + i * step + sizeof(d));
		rc = fd_pread_full(fd, &value, sizeof(value), (off_t)h.data_offset + d.offset);
		if (rc == 0)
			fn(opaque, name, value);
	}
	free(descs);
	return rc;
}

/* --- Threads --- */

const char *stats_role_name(enum stats_role role)
{
	static const char *const names[] = {
		[STATS_MAIN] = "main",         [STATS_VCPU] = "vcpu",
		[STATS_DATAPATH] = "datapath", [STATS_VHOST_WORKER] = "vhost-worker",
		[STATS_BACKEND] = "backend",   [STATS_OTHER] = "other",
	};

	return names[role];
}

/* What is in /proc/@pid/task/@tid/@file, as text. False: the thread has ended, or is not ours to
 * see. */
static bool read_file(pid_t pid, pid_t tid, const char *file, char *buf, size_t size)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)tid, file);
	return fd_read_text(path, buf, size) > 0;
}

/* The number behind @key in the lines of @status. */
static uint64_t number(const char *status, const char *key)
{
	const char *at = strstr(status, key);

	return at ? strtoull(at + strlen(key), NULL, 10) : 0;
}

/* utime and stime, the 14th and 15th word (proc(5)); the name may have blanks and brackets. */
static uint64_t ticks_us(const char *stat)
{
	unsigned long long user = 0, sys = 0;
	const char *at = strrchr(stat, ')');

	if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user,
	                  &sys) != 2)
		return 0;
	return (user + sys) * 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
}

static bool read_thread(pid_t pid, pid_t tid, struct stats_thread *t)
{
	char buf[4096];

	*t = (struct stats_thread){.pid = pid, .tid = tid};
	if (!read_file(pid, tid, "comm", t->name, sizeof(t->name)))
		return false;
	t->name[strcspn(t->name, "\n")] = '\0';
	/* Nanoseconds where the kernel counts them, else ticks. */
	if (read_file(pid, tid, "schedstat", buf, sizeof(buf)))
		t->cpu_us = strtoull(buf, NULL, 10) / 1000;
	if (!t->cpu_us && read_file(pid, tid, "stat", buf, sizeof(buf)))
		t->cpu_us = ticks_us(buf);
	if (!read_file(pid, tid, "status", buf, sizeof(buf)))
		return false;
	t->voluntary = number(buf, "\nvoluntary_ctxt_switches:");
	t->involuntary = number(buf, "\nnonvoluntary_ctxt_switches:");
	return true;
}

/* By the names that our threads give themselves, and the kernel its worker. */
static enum stats_role own_role(const struct stats_thread *t)
{
	static const struct {
		const char *prefix;
		enum stats_role role;
	} names[] = {
		{"vcpu", STATS_VCPU},         {"net-pair", STATS_DATAPATH},
		{"net-user", STATS_DATAPATH}, {"net-socket", STATS_DATAPATH},
		{"vhost-user", STATS_OTHER},  {"vhost-", STATS_VHOST_WORKER},
	};

	if (t->tid == t->pid)
		return STATS_MAIN;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strncmp(t->name, names[i].prefix, strlen(names[i].prefix)) == 0)
			return names[i].role;
	return STATS_OTHER;
}

static int each_thread(pid_t pid, bool own, stats_thread_fn *fn, void *opaque, unsigned max)
{
	struct stats_thread t;
	struct dirent *e;
	unsigned n = 0;
	char path[32];
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || n++ >= max)
			continue;
		if (!read_thread(pid, (pid_t)strtol(e->d_name, NULL, 10), &t))
			continue;
		t.role = own ? own_role(&t) : STATS_BACKEND;
		fn(opaque, &t);
	}
	closedir(dir);
	return (int)n;
}

int stats_threads(stats_thread_fn *fn, void *opaque, unsigned max)
{
	return each_thread(getpid(), true, fn, opaque, max);
}

int stats_threads_of(pid_t pid, stats_thread_fn *fn, void *opaque, unsigned max)
{
	return each_thread(pid, false, fn, opaque, max);
}

/* --- The kernel's workers --- */

#define PF_KTHREAD 0x00200000 /* the ninth word of stat (proc(5)): anybody can have the name */

static bool is_worker(pid_t pid)
{
	char name[32], want[32], stat[1024];
	const char *at;
	unsigned flags;

	snprintf(want, sizeof(want), "vhost-%d\n", (int)getpid());
	if (!read_file(pid, pid, "comm", name, sizeof(name)) || strcmp(name, want) != 0 ||
	    !read_file(pid, pid, "stat", stat, sizeof(stat)))
		return false;
	at = strrchr(stat, ')');
	return at && sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       (flags & PF_KTHREAD);
}

static void look_for_workers(struct stats_workers *w)
{
	DIR *dir = opendir("/proc");
	struct dirent *e;

	w->nr = 0;
	while (dir && (e = readdir(dir)) && w->nr < STATS_WORKERS_MAX) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid > 0 && is_worker(pid))
			w->tids[w->nr++] = pid;
	}
	if (dir)
		closedir(dir);
}

void stats_workers(struct stats_workers *w, unsigned expected, stats_thread_fn *fn, void *opaque)
{
	uint64_t now = clock_ms();
	struct stats_thread t;

	if (expected != w->expected || (w->nr < expected && now - w->looked_ms >= STATS_LOOK_MS)) {
		if (expected)
			look_for_workers(w);
		w->expected = expected;
		w->looked_ms = now;
	}
	for (unsigned i = 0; expected && i < w->nr; i++) {
		if (!is_worker(w->tids[i]) || !read_thread(w->tids[i], w->tids[i], &t)) {
			w->tids[i--] = w->tids[--w->nr]; /* it has ended */
			continue;
		}
		t.role = STATS_VHOST_WORKER;
		fn(opaque, &t);
	}
}
