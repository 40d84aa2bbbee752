/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/stats.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/fd.h"

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

/* What is in /proc/self/task/@tid/@file, as text. False: the thread has ended. */
static bool slurp(const char *tid, const char *file, char *buf, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%.10s/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, buf, size - 1);
	fd_close(&fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
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

static bool read_thread(const char *tid, struct stats_thread *t)
{
	char buf[4096];

	memset(t, 0, sizeof(*t));
	t->tid = (pid_t)strtol(tid, NULL, 10);
	if (!slurp(tid, "comm", t->name, sizeof(t->name)))
		return false;
	t->name[strcspn(t->name, "\n")] = '\0';
	/* Nanoseconds where the kernel counts them, else ticks. */
	if (slurp(tid, "schedstat", buf, sizeof(buf)))
		t->cpu_us = strtoull(buf, NULL, 10) / 1000;
	if (!t->cpu_us && slurp(tid, "stat", buf, sizeof(buf)))
		t->cpu_us = ticks_us(buf);
	if (!slurp(tid, "status", buf, sizeof(buf)))
		return false;
	t->voluntary = number(buf, "\nvoluntary_ctxt_switches:");
	t->involuntary = number(buf, "\nnonvoluntary_ctxt_switches:");
	return true;
}

int stats_threads(void (*fn)(void *opaque, const struct stats_thread *t), void *opaque,
                  unsigned max)
{
	DIR *dir = opendir("/proc/self/task");
	struct stats_thread t;
	struct dirent *e;
	unsigned n = 0;

	if (!dir)
		return -errno;
	while ((e = readdir(dir))) {
		if (e->d_name[0] == '.' || n++ >= max)
			continue;
		if (read_thread(e->d_name, &t))
			fn(opaque, &t);
	}
	closedir(dir);
	return (int)n;
}
