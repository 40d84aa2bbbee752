/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bus: where in the I/O port or memory address space which device answers.
 *
 * A bus is a table of regions. Devices add theirs while the machine is built; after bus_freeze()
 * the table itself never changes, but a region can be moved, taken out of decode and put back (PCI
 * BARs): its position is one atomic word. So a vCPU finds the device for an exit without any lock,
 * and accesses to different devices run side by side. Devices lock themselves.
 *
 * Where regions overlap the one added first answers, so a BAR can never shadow a fixed device.
 * A read that no one answers gives all ones, a write is dropped, as on a PC.
 */
#ifndef TRIVM_VMM_BUS_H
#define TRIVM_VMM_BUS_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum bus_space {
	BUS_PIO,
	BUS_MMIO
};

/*
 * A device's answers. @offset is from the start of the region, @size is 1, 2, 4 or 8 and
 * offset + size is within the region. Called on vCPU threads, several at once.
 */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, unsigned size);
	void (*write)(void *opaque, uint64_t offset, unsigned size, uint64_t value);
};

#define BUS_UNMAPPED    UINT64_MAX /* a region's base while it is out of decode */
#define BUS_REGIONS_MAX 256
#define BUS_EVENTFD_MAX 256

/* Embedded in the device that owns it; lives as long as the bus. Fill name..opaque, then bus_add().
 */
struct bus_region {
	const char *name;
	uint64_t size; /* bytes, not 0 */
	const struct bus_ops *ops;
	void *opaque;

	_Atomic uint64_t base; /* BUS_UNMAPPED: out of decode. Written under bus->lock */
};

/*
 * ioeventfd: a write of @size bytes (0: of any size) at @offset in @region, of the value @match if
 * @match_value, adds 1 to @fd instead of coming to ops->write. KVM does it without leaving the
 * kernel.
 */
struct bus_eventfd {
	struct bus_region *region;
	uint64_t offset;
	unsigned size; /* 0, 1, 2, 4, 8 */
	bool match_value;
	uint64_t match;
	int fd;
};

/* Who registers ioeventfds with the kernel: 0 or a negative errno. Called under bus->lock. */
typedef int bus_eventfd_backend(void *opaque, enum bus_space space, uint64_t addr,
                                const struct bus_eventfd *e, bool assign);

struct bus {
	enum bus_space space;
	unsigned nr;
	bool frozen;
	struct bus_region *regions[BUS_REGIONS_MAX];

	pthread_mutex_t lock; /* moving regions and changing eventfds; never taken by an access */
	bus_eventfd_backend *eventfd_backend;
	void *eventfd_opaque;
	unsigned nr_eventfds;
	struct bus_eventfd eventfds[BUS_EVENTFD_MAX];
};

void bus_init(struct bus *bus, enum bus_space space);
void bus_destroy(struct bus *bus);

/* Ioeventfds need one; without it (unit tests) bus_eventfd_add() answers -EOPNOTSUPP. */
void bus_set_eventfd_backend(struct bus *bus, bus_eventfd_backend *backend, void *opaque);

/*
 * Add @region at @base (BUS_UNMAPPED: for now nowhere). Not after bus_freeze().
 * -EINVAL: empty or wraps; -EEXIST: overlaps one that was added at a fixed place; -ENOSPC: too
 * many.
 */
int bus_add(struct bus *bus, struct bus_region *region, uint64_t base);
void bus_freeze(struct bus *bus);

/*
 * Move @region to @base or out of decode (BUS_UNMAPPED), its eventfds with it. Any thread. Accesses
 * that are under way may still reach the old place: the same happens on a real bus.
 */
void bus_move(struct bus *bus, struct bus_region *region, uint64_t base);

static inline uint64_t bus_region_base(const struct bus_region *region)
{
	return atomic_load_explicit(&region->base, memory_order_relaxed);
}

/* Attach or detach an ioeventfd; it follows the region. 0 or a negative errno (-ENOSPC, KVM's). Any
 * thread. */
int bus_eventfd_add(struct bus *bus, const struct bus_eventfd *e);
void bus_eventfd_remove(struct bus *bus, const struct bus_region *region, int fd);

/*
 * A guest's access: @size 1, 2, 4 or 8 bytes at @addr, little endian in @data. An access that
 * leaves its region is no one's. Returns false if no device answered (data is then all ones on a
 * read).
 */
bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned size);
bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned size);

#endif
