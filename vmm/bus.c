/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: an access walks the table from its beginning and takes the first region that
 * holds the address. There are a few dozen regions, the walk is a few dozen loads of words that
 * nobody writes, and an exit to user space costs a thousand times that: a sorted table would buy
 * nothing and would need a lock or a retry for moving BARs. Here a move is one store.
 */
#include "vmm/bus.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/endian.h"
#include "vmm/log.h"

static struct log_limit nobody_limit;

void bus_init(struct bus *bus, enum bus_space space)
{
	/* The eventfds behind it count from 0 on: most machines never touch that memory. */
	memset(bus, 0, offsetof(struct bus, eventfds));
	bus->space = space;
	pthread_mutex_init(&bus->lock, NULL);
}

void bus_destroy(struct bus *bus)
{
	pthread_mutex_destroy(&bus->lock);
}

void bus_set_eventfd_backend(struct bus *bus, bus_eventfd_backend *backend, void *opaque)
{
	bus->eventfd_backend = backend;
	bus->eventfd_opaque = opaque;
}

static bool overlaps(const struct bus_region *r, uint64_t base, uint64_t size)
{
	uint64_t other = bus_region_base(r);

	if (other == BUS_UNMAPPED)
		return false;
	return base - other < r->size || other - base < size;
}

int bus_add(struct bus *bus, struct bus_region *region, uint64_t base)
{
	if (bus->frozen)
		return -EBUSY;
	if (region->size == 0)
		return -EINVAL;
	if (bus->nr == BUS_REGIONS_MAX)
		return -ENOSPC;
	if (base != BUS_UNMAPPED) {
		if (base + (region->size - 1) < base)
			return -EINVAL;
		for (unsigned i = 0; i < bus->nr; i++)
			if (overlaps(bus->regions[i], base, region->size))
				return -EEXIST;
	}
	atomic_store_explicit(&region->base, base, memory_order_relaxed);
	bus->regions[bus->nr++] = region;
	return 0;
}

void bus_freeze(struct bus *bus)
{
	bus->frozen = true;
}

/* Register or unregister @e where its region is now. bus->lock is held. */
static int eventfd_apply(struct bus *bus, const struct bus_eventfd *e, bool assign)
{
	uint64_t base = bus_region_base(e->region);

	if (base == BUS_UNMAPPED)
		return 0;
	return bus->eventfd_backend(bus->eventfd_opaque, bus->space, base + e->offset, e, assign);
}

/* All eventfds of @region. bus->lock is held. */
static void eventfds_apply(struct bus *bus, const struct bus_region *region, bool assign)
{
	static struct log_limit limit;

	for (unsigned i = 0; i < bus->nr_eventfds; i++) {
		struct bus_eventfd *e = &bus->eventfds[i];
		int rc;

		if (e->region != region)
			continue;
		rc = eventfd_apply(bus, e, assign);
		/* Not fatal: without the ioeventfd the write reaches the device's ops. */
		if (rc < 0 && assign)
			log_limited(&limit, LOG_WARN, "%s: ioeventfd at 0x%llx: %s", region->name,
			            (unsigned long long)(bus_region_base(region) + e->offset),
			            strerror(-rc));
	}
}

void bus_move(struct bus *bus, struct bus_region *region, uint64_t base)
{
	if (base != BUS_UNMAPPED && base + (region->size - 1) < base)
		base = BUS_UNMAPPED;
	pthread_mutex_lock(&bus->lock);
	if (bus_region_base(region) != base) {
		eventfds_apply(bus, region, false);
		atomic_store_explicit(&region->base, base, memory_order_relaxed);
		eventfds_apply(bus, region, true);
	}
	pthread_mutex_unlock(&bus->lock);
}

int bus_eventfd_add(struct bus *bus, const struct bus_eventfd *e)
{
	int rc;

	if (!bus->eventfd_backend)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&bus->lock);
	rc = bus->nr_eventfds < BUS_EVENTFD_MAX ? eventfd_apply(bus, e, true) : -ENOSPC;
	if (rc == 0)
		bus->eventfds[bus->nr_eventfds++] = *e;
	pthread_mutex_unlock(&bus->lock);
	return rc;
}

void bus_eventfd_remove(struct bus *bus, const struct bus_region *region, int fd)
{
	pthread_mutex_lock(&bus->lock);
	for (unsigned i = 0; i < bus->nr_eventfds; i++) {
		struct bus_eventfd *e = &bus->eventfds[i];

		if (e->region != region || e->fd != fd)
			continue;
		eventfd_apply(bus, e, false);
		*e = bus->eventfds[--bus->nr_eventfds];
		break;
	}
	pthread_mutex_unlock(&bus->lock);
}

/* The region that answers for all @size bytes at @addr, and the offset in it. */
static struct bus_region *lookup(struct bus *bus, uint64_t addr, unsigned size, uint64_t *offset)
{
	for (unsigned i = 0; i < bus->nr; i++) {
		struct bus_region *r = bus->regions[i];
		uint64_t base = bus_region_base(r);

		*offset = addr - base;
		/* An unmapped region's base is UINT64_MAX: only that very address could match. */
		if (*offset < r->size && base != BUS_UNMAPPED)
			return size <= r->size - *offset ? r : NULL;
	}
	return NULL;
}

static void nobody(const struct bus *bus, const char *what, uint64_t addr, unsigned size)
{
	log_limited(&nobody_limit, LOG_DEBUG, "%s of %u bytes at %s 0x%llx: nobody there", what,
	            size, bus->space == BUS_PIO ? "port" : "address", (unsigned long long)addr);
}

bool bus_read(struct bus *bus, uint64_t addr, void *data, unsigned size)
{
	uint64_t offset, value;
	struct bus_region *r = lookup(bus, addr, size, &offset);

	if (!r) {
		nobody(bus, "read", addr, size);
		memset(data, 0xff, size);
		return false;
	}
	value = htole64(r->ops->read(r->opaque, offset, size));
	memcpy(data, &value, size);
	return true;
}

bool bus_write(struct bus *bus, uint64_t addr, const void *data, unsigned size)
{
	uint64_t offset, value = 0;
	struct bus_region *r = lookup(bus, addr, size, &offset);

	if (!r) {
		nobody(bus, "write", addr, size);
		return false;
	}
	memcpy(&value, data, size);
	r->ops->write(r->opaque, offset, size, le64toh(value));
	return true;
}
