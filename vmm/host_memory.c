/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a limit of a cgroup counts in full, without what its processes use already:
 * most of that is page cache, which the kernel gives back first. So the answer is never too small, and
 * who asks for more than it is certain to be killed.
 */
#include "vmm/host_memory.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

static uint64_t meminfo(const char *root)
{
	unsigned long long available = 0, swap = 0, kib;
	char path[PATH_MAX], line[128];
	FILE *in;

	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in)) {
		if (sscanf(line, "MemAvailable: %llu", &kib) == 1)
			available = kib;
		if (sscanf(line, "SwapFree: %llu", &kib) == 1)
			swap = kib;
	}
	if (in)
		fclose(in);
	return available ? (available + swap) << 10 : UINT64_MAX;
}

/* The number in @dir's file @name; UINT64_MAX: there is none, or "max". */
static uint64_t limit_in(const char *dir, const char *name)
{
	unsigned long long value = ULLONG_MAX;
	char path[PATH_MAX + 32];
	FILE *in;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	in = fopen(path, "re");
	if (in && fscanf(in, "%llu", &value) != 1)
		value = ULLONG_MAX;
	if (in)
		fclose(in);
	return value;
}

/* The least limit of the group @group below @top, and of all above it. */
static uint64_t least_limit(const char *top, const char *group, const char *name)
{
	uint64_t least = UINT64_MAX;
	char dir[PATH_MAX];
	int n = snprintf(dir, sizeof(dir), "%s%s", top, group);

	if (n < 0 || (size_t)n >= sizeof(dir))
		return least;
	for (;;) {
		char *end;

		least = min_u64(least, limit_in(dir, name));
		end = strrchr(dir, '/');
		if (!end || (size_t)(end - dir) < strlen(top))
			return least;
		*end = '\0';
	}
}

/* A line of /proc/self/cgroup is "ID:CONTROLLERS:/GROUP"; version 2 has no controllers there. */
static uint64_t cgroups(const char *root)
{
	uint64_t least = UINT64_MAX;
	char path[PATH_MAX], line[PATH_MAX], top[PATH_MAX];
	FILE *in;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	in = fopen(path, "re");
	while (in && fgets(line, sizeof(line), in)) {
		char *controllers = strchr(line, ':');
		char *group = controllers ? strchr(controllers + 1, ':') : NULL;
		bool v2;

		if (!group)
			continue;
		group++[0] = '\0';
		group[strcspn(group, "\n")] = '\0';
		controllers++;
		v2 = !controllers[0];
		if (!v2 && strcmp(controllers, "memory") != 0)
			continue;
		snprintf(top, sizeof(top), "%s/sys/fs/cgroup%s", root, v2 ? "" : "/memory");
		least = min_u64(least, least_limit(top, group,
		                                   v2 ? "memory.max" : "memory.limit_in_bytes"));
	}
	if (in)
		fclose(in);
	return least;
}

uint64_t host_memory_available(const char *root, const char **what)
{
	uint64_t host = meminfo(root), group = cgroups(root);

	*what = group < host ? "its memory cgroup allows" : "the host has available";
	return min_u64(host, group);
}
