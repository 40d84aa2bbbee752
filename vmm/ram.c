/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/ram.h"

#include <errno.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/host_memory.h"
#include "vmm/util.h"

#define HUGE_PAGE MIB(2)

static int out_of(const struct ram_config *config, int code, const char *doing, struct err *err)
{
	unsigned long long mib = config->size >> 20;
	struct rlimit limit;

	if (config->hugepages && code != -EFBIG)
		return err_set(err, code,
		               "-m %lluM --hugepages: cannot %s guest memory: %s; %llu free huge "
		               "pages of 2 MiB are needed, try: sudo sysctl vm.nr_hugepages=%llu",
		               mib, doing, strerror(-code), mib / 2, mib / 2);
	if (code == -EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0)
		return err_set(
			err, code,
			"-m %lluM: guest memory is a file, and larger than the limit on file "
			"sizes, %llu KiB (ulimit -f); raise the limit, or ask for less",
			mib, (unsigned long long)limit.rlim_cur >> 10);
	return err_errno(err, code, "-m %lluM: cannot %s guest memory; ask for less", mib, doing);
}

/*
 * Two of our threads may use the same page of guest memory with nothing between them that the
 * thread sanitizer could see: the guest's CPUs order that, or, in a hostile guest, nobody does. Its
 * reports about this memory say nothing; those about the same functions' other memory are
 * wanted, so it is told about the place and not about functions.
 */
static void shared_with_guest(uint8_t *host, uint64_t size)
{
#ifdef __SANITIZE_THREAD__
	extern void AnnotateBenignRaceSized(const char *file, int line, const volatile void *at,
	                                    size_t size, const char *why);

	AnnotateBenignRaceSized(__FILE__, __LINE__, host, size, "guest memory");
#else
	(void)host;
	(void)size;
#endif
}

/* MADV_POPULATE_WRITE is as new as Linux 5.14: without it pages are allocated by touching them. */
static int populate(uint8_t *host, uint64_t size)
{
	if (madvise(host, size, MADV_POPULATE_WRITE) == 0)
		return 0;
	if (errno != EINVAL)
		return -errno;
	for (uint64_t at = 0; at < size; at += KIB(4))
		*(volatile uint8_t *)(host + at) = 0;
	return 0;
}

/* A process that allocates more than there is gets no error: the kernel kills it, or another one. */
static int check_available(const struct ram_config *config, struct err *err)
{
	const char *what;
	uint64_t available;

	if (!config->prealloc || config->hugepages)
		return 0;
	available = host_memory_available("", &what);
	if (config->size <= available)
		return 0;
	return err_set(err, -ENOMEM,
	               "-m %lluM --prealloc: %s %llu MiB, so the kernel would kill trivm while it "
	               "allocates guest memory; ask for less, or leave out --prealloc",
	               (unsigned long long)config->size >> 20, what,
	               (unsigned long long)available >> 20);
}

static int map(struct ram *ram, const struct ram_config *config, struct err *err)
{
	/*
	 * Ordinary memory is not set aside: a guest may be given more than it will ever touch. Huge
	 * pages have to be: one that is missing later is a SIGBUS in the middle of the guest's
	 * life.
	 */
	int flags = MAP_SHARED | (config->hugepages ? 0 : MAP_NORESERVE);
	unsigned huge = config->hugepages ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
	void *host;
	int rc;

	/* Sealed: vhost-user back-ends get the descriptor. */
	ram->fd = fd_shared_memory("guest-ram", config->size, huge);
	if (ram->fd < 0)
		return out_of(config, ram->fd, "create", err);
	host = mmap(NULL, config->size, PROT_READ | PROT_WRITE, flags, ram->fd, 0);
	if (host == MAP_FAILED)
		return out_of(config, -errno, "map", err);
	ram->host = host;
	ram->size = config->size;
	shared_with_guest(host, config->size);
	/*
	 * Where the host lets shared memory have huge pages on advice, fewer faults. Not for the
	 * first 2 MiB: of those a few pages are written before the start and most are never
	 * touched, and clearing all of it would be a good part of the time to a small guest's first
	 * instruction.
	 */
	if (!config->hugepages && config->size > HUGE_PAGE)
		madvise(ram->host + HUGE_PAGE, config->size - HUGE_PAGE, MADV_HUGEPAGE);
	/* Guest memory is of no use in our core dump, and may hold the guest's secrets. */
	madvise(host, config->size, MADV_DONTDUMP);
	/* After the advice, which decides what is allocated. A page missing later would be a
	 * SIGBUS. */
	rc = config->prealloc ? populate(host, config->size) : 0;
	return rc < 0 ? out_of(config, rc, "allocate", err) : 0;
}

int ram_create(struct ram *ram, const struct ram_config *config, struct memory *mem,
               struct err *err)
{
	struct mem_region region;
	int rc;

	*ram = (struct ram){.fd = -1};
	if (config->hugepages && config->size % HUGE_PAGE)
		return err_set(err, -EINVAL, "-m %lluK --hugepages: not a multiple of 2 MiB",
		               (unsigned long long)(config->size >> 10));
	rc = check_available(config, err);
	if (rc == 0)
		rc = map(ram, config, err);
	if (rc < 0) {
		ram_destroy(ram);
		return rc;
	}
	ram->low = min_u64(config->size, config->hole_start);
	ram->high = config->size - ram->low;

	region = (struct mem_region){.gpa = 0, .size = ram->low, .host = ram->host, .fd = ram->fd};
	rc = memory_add(mem, &region);
	if (rc == 0 && ram->high) {
		region = (struct mem_region){
			.gpa = config->hole_end,
			.size = ram->high,
			.host = ram->host + ram->low,
			.fd = ram->fd,
			.fd_offset = ram->low,
		};
		rc = memory_add(mem, &region);
	}
	if (rc < 0) {
		ram_destroy(ram);
		return err_errno(err, rc, "guest memory");
	}
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (ram->host)
		munmap(ram->host, ram->size);
	ram->host = NULL;
	fd_close(&ram->fd);
}
