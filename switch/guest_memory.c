/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: mapping what a front-end sends.
 *
 * Is it memory? A descriptor could be a file of a file system in user space (FUSE), and then every
 * question about it, and every page of it, would wait for a process that need not answer.
 * F_GET_SEALS is answered by the kernel itself and only for shmem and hugetlbfs files, so it is
 * asked first, and only then fstat() and mmap().
 *
 * SIGBUS. A file that cannot shrink any more (F_SEAL_SHRINK) would be safe; hardly any front-end
 * seals its memory, so the handler is needed all the same. The fault is synchronous and in the
 * only thread that touches guest memory. The handler finds the mapping by the address, maps
 * anonymous memory over all of it, notes the fact, and returns: the access is repeated and finds
 * zeroes. A SIGBUS anywhere else is a real one and gets its default action.
 */
#include "switch/guest_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "switch/reaper.h"
#include "vmm/util.h"

#define GUARDED_MAX 256

/* What the handler looks through. A slot is free while its memory is NULL. */
static struct guest_memory *guarded[GUARDED_MAX];

volatile sig_atomic_t guest_memory_faults;

static uint64_t space_max = TIB(1);

void guest_memory_limit(uint64_t bytes)
{
	space_max = bytes;
}

static bool replace(struct guest_memory *m, const struct guest_mapping *g, uintptr_t at)
{
	if (!g->map || at - (uintptr_t)g->map >= g->map_len)
		return false;
	m->faulted = 1;
	guest_memory_faults = 1;
	return mmap(g->map, g->map_len, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

static void on_bus_error(int sig, siginfo_t *info, void *context)
{
	uintptr_t at = (uintptr_t)info->si_addr;

	(void)context;
	for (unsigned i = 0; i < GUARDED_MAX; i++) {
		struct guest_memory *m = guarded[i];

		for (unsigned r = 0; m && r < m->nr; r++)
			if (replace(m, &m->mappings[r], at))
				return;
		if (m && replace(m, &m->inflight, at))
			return;
	}
	signal(sig, SIG_DFL); /* the access is repeated, and ends the process */
}

int guest_memory_guard(void)
{
	struct sigaction action = {.sa_sigaction = on_bus_error, .sa_flags = SA_SIGINFO};

	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) < 0 ? -errno : 0;
}

int guest_memory_init(struct guest_memory *m)
{
	memset(m, 0, sizeof(*m));
	for (unsigned i = 0; i < GUARDED_MAX; i++) {
		if (!guarded[i]) {
			guarded[i] = m;
			return 0;
		}
	}
	return -ENOSPC;
}

void guest_memory_destroy(struct guest_memory *m)
{
	guest_memory_clear(m);
	guest_memory_no_inflight(m);
	for (unsigned i = 0; i < GUARDED_MAX; i++)
		if (guarded[i] == m)
			guarded[i] = NULL;
}

/* --- Mapping --- */

/* Size and page size of the file behind @fd. 0, or -EINVAL: it is not memory. */
static int memory_file(int fd, uint64_t *size, uint64_t *page)
{
	struct stat st;

	if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return -EINVAL;
	*size = (uint64_t)st.st_size;
	/* hugetlbfs maps whole pages of its own size, and tells that as block size. */
	*page = (uint64_t)st.st_blksize;
	if (*page < 4096 || *page > GIB(16) || *page & (*page - 1))
		*page = 4096;
	return 0;
}

/* Map [@offset, @offset + @len) of @fd, shared. */
static int map_file(struct guest_memory *m, struct guest_mapping *g, int fd, uint64_t offset,
                    uint64_t len, struct err *err)
{
	uint64_t size, page, from;
	void *map;

	if (memory_file(fd, &size, &page) < 0)
		return err_set(err, -EINVAL,
		               "the descriptor is not a memfd, tmpfs or hugetlbfs file");
	if (len == 0 || offset > size || len > size - offset)
		return err_set(err, -EINVAL, "0x%llx bytes at 0x%llx of a file of 0x%llx bytes",
		               (unsigned long long)len, (unsigned long long)offset,
		               (unsigned long long)size);
	g->page = page;
	from = align_down(offset, page);
	g->map_len = align_up(offset + len - from, page);
	if (g->map_len > space_max || m->mapped > space_max - g->map_len)
		return err_set(err, -ENOSPC, "more than the 0x%llx bytes that a port may map",
		               (unsigned long long)space_max);
	map = mmap(NULL, g->map_len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
	           (off_t)from);
	if (map == MAP_FAILED)
		return err_errno(err, -errno, "mapping 0x%llx bytes", (unsigned long long)len);
	m->mapped += g->map_len;
	g->map = map;
	g->host = g->map + (offset - from);
	return 0;
}

static void unmap(struct guest_memory *m, struct guest_mapping *g)
{
	if (g->map) {
		reaper_unmap(g->map, g->map_len, g->page);
		m->mapped -= g->map_len;
	}
	memset(g, 0, sizeof(*g));
}

/* Translation starts anew with what is mapped now. 0, or what memory_add() says. */
static int rebuild(struct guest_memory *m)
{
	int rc = 0;

	memory_init(&m->mem);
	for (unsigned i = 0; i < m->nr && rc == 0; i++) {
		const struct guest_mapping *g = &m->mappings[i];
		struct mem_region r = {
			.gpa = g->region.gpa, .size = g->region.size, .host = g->host, .fd = -1};

		rc = memory_add(&m->mem, &r);
	}
	memory_freeze(&m->mem);
	return rc;
}

/* User addresses overlap like guest addresses must not: they name ring areas. */
static bool overlaps_user(const struct guest_memory *m, const struct vu_region *r)
{
	for (unsigned i = 0; i < m->nr; i++) {
		const struct vu_region *o = &m->mappings[i].region;

		if (r->user_addr - o->user_addr < o->size || o->user_addr - r->user_addr < r->size)
			return true;
	}
	return false;
}

int guest_memory_add(struct guest_memory *m, const struct vu_region *region, int fd,
                     struct err *err)
{
	struct guest_mapping *g = &m->mappings[m->nr];
	int rc;

	if (m->nr == GUEST_REGIONS_MAX)
		return err_set(err, -ENOSPC, "more than %u regions", GUEST_REGIONS_MAX);
	if (region->size == 0 || region->gpa + (region->size - 1) < region->gpa ||
	    region->user_addr + (region->size - 1) < region->user_addr)
		return err_set(err, -EINVAL, "a region that is empty or wraps");
	if (overlaps_user(m, region))
		return err_set(err, -EEXIST, "regions overlap");
	rc = map_file(m, g, fd, region->mmap_offset, region->size, err);
	if (rc < 0)
		return rc;
	g->region = *region;
	m->nr++;
	rc = rebuild(m);
	if (rc < 0) {
		m->nr--;
		unmap(m, g);
		rebuild(m);
		return err_errno(err, rc, "a region at 0x%llx", (unsigned long long)region->gpa);
	}
	return 0;
}

int guest_memory_remove(struct guest_memory *m, const struct vu_region *region)
{
	for (unsigned i = 0; i < m->nr; i++) {
		struct guest_mapping *g = &m->mappings[i];

		if (g->region.gpa != region->gpa || g->region.user_addr != region->user_addr ||
		    g->region.size != region->size)
			continue;
		unmap(m, g);
		m->nr--;
		memmove(g, g + 1, (m->nr - i) * sizeof(*g));
		memset(&m->mappings[m->nr], 0, sizeof(*g));
		return rebuild(m);
	}
	return -ENOENT;
}

void guest_memory_clear(struct guest_memory *m)
{
	while (m->nr)
		unmap(m, &m->mappings[--m->nr]);
	rebuild(m);
}

int guest_memory_ring(const struct guest_memory *m, uint64_t user, uint64_t align, uint64_t *addr)
{
	for (unsigned i = 0; i < m->nr; i++) {
		const struct guest_mapping *g = &m->mappings[i];
		uint64_t offset = user - g->region.user_addr;

		if (offset >= g->region.size)
			continue;
		*addr = g->region.gpa + offset;
		return ((uintptr_t)g->host + offset) % align ? -EINVAL : 0;
	}
	return -EFAULT;
}

int guest_memory_inflight(struct guest_memory *m, int fd, uint64_t offset, uint64_t len,
                          struct err *err)
{
	struct guest_mapping g = {0};
	int rc = map_file(m, &g, fd, offset, len, err);

	if (rc < 0)
		return rc;
	guest_memory_no_inflight(m);
	g.region.size = len;
	m->inflight = g;
	return 0;
}

void guest_memory_no_inflight(struct guest_memory *m)
{
	unmap(m, &m->inflight);
}
