/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost_rig: the kernel's vhost devices, as far as their ioctls go: vhost_dev_open() and
 * vhost_ioctl() are defined here, so the library's own (devices/vhost/kernel_ioctl.c) are not
 * linked. It keeps the rules of drivers/vhost that a caller can break: who owns it, what may change
 * while a ring has a backend, alignment, features that were not offered.
 */
#ifndef TRIVM_TESTS_VHOST_RIG_H
#define TRIVM_TESTS_VHOST_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>

#include "devices/vhost/kernel.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define RIG_DEVICES 8

/* What Linux 6.1's vhost-net offers. */
#define RIG_NET_FEATURES                                                                        \
	(BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) |                 \
	 BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VHOST_F_LOG_ALL) | BIT64(VIRTIO_F_ANY_LAYOUT) | \
	 BIT64(VIRTIO_F_VERSION_1) | BIT64(VHOST_NET_F_VIRTIO_NET_HDR) |                        \
	 BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_F_ACCESS_PLATFORM))
#ifndef VIRTIO_F_NOTIFY_ON_EMPTY
#define VIRTIO_F_NOTIFY_ON_EMPTY 24
#endif

struct rig_ring {
	unsigned num;
	uint32_t base;
	struct vhost_vring_addr addr;
	bool has_addr;
	int kick, call, err; /* -1: none */
	int backend;         /* -1: none */
	unsigned poll_us;
};

struct rig_dev {
	bool open;
	int fd;
	char path[32];
	bool owned, running;
	uint64_t features, cid;
	bool has_features;
	unsigned nregions; /* 0: no memory table */
	struct vhost_memory_region regions[8];
	struct rig_ring rings[VHOST_KERNEL_RINGS];
};

static struct {
	uint64_t offered;
	int open_error;             /* negative: what vhost_dev_open() answers */
	unsigned long fail_request; /* answers fail_code, once */
	int fail_code;
	unsigned calls;    /* ioctls in all */
	uint64_t cid_used; /* another guest's */
	unsigned nr;
	struct rig_dev devs[RIG_DEVICES];
} rig;

static inline void rig_reset(void)
{
	memset(&rig, 0, sizeof(rig));
	rig.offered = RIG_NET_FEATURES;
}

int vhost_dev_open(const char *path)
{
	struct rig_dev *d;

	if (rig.open_error)
		return rig.open_error;
	assert_true(rig.nr < RIG_DEVICES);
	d = &rig.devs[rig.nr++];
	*d = (struct rig_dev){.open = true, .fd = fd_eventfd()};
	snprintf(d->path, sizeof(d->path), "%s", path);
	for (unsigned i = 0; i < VHOST_KERNEL_RINGS; i++)
		d->rings[i] = (struct rig_ring){.kick = -1, .call = -1, .err = -1, .backend = -1};
	return d->fd;
}

static int rig_vring(struct rig_dev *d, unsigned long request, void *arg)
{
	unsigned index = *(unsigned *)arg; /* all of these structures begin with it */
	struct vhost_vring_state *state = arg;
	struct vhost_vring_file *file = arg;
	struct vhost_vring_addr *addr = arg;
	struct rig_ring *r;

	if (index >= VHOST_KERNEL_RINGS)
		return -ENOBUFS;
	r = &d->rings[index];
	switch (request) {
	case VHOST_SET_VRING_NUM:
		if (r->backend >= 0 || d->running)
			return -EBUSY;
		if (!state->num || state->num > 0xffff || (state->num & (state->num - 1)))
			return -EINVAL;
		r->num = state->num;
		return 0;
	case VHOST_SET_VRING_BASE:
		if (r->backend >= 0 || d->running)
			return -EBUSY;
		if (state->num > 0xffff)
			return -EINVAL;
		r->base = state->num;
		return 0;
	case VHOST_GET_VRING_BASE:
		state->num = r->base;
		return 0;
	case VHOST_SET_VRING_ADDR:
		if (addr->flags)
			return -EOPNOTSUPP;
		if (addr->desc_user_addr % 16 || addr->avail_user_addr % 2 ||
		    addr->used_user_addr % 4)
			return -EINVAL;
		r->addr = *addr;
		r->has_addr = true;
		return 0;
	case VHOST_SET_VRING_KICK:
		r->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		r->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		r->err = file->fd;
		return 0;
	case VHOST_SET_VRING_BUSYLOOP_TIMEOUT:
		r->poll_us = state->num;
		return 0;
	case VHOST_NET_SET_BACKEND:
		if (file->fd >= 0 && (!r->has_addr || !r->num || !d->nregions || r->kick < 0))
			return -EFAULT;
		r->backend = file->fd;
		return 0;
	default:
		fail_msg("unexpected ioctl 0x%lx", request);
		return -ENOTTY;
	}
}

static int rig_device(struct rig_dev *d, unsigned long request, void *arg)
{
	const struct vhost_memory *table = arg;

	switch (request) {
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = rig.offered;
		return 0;
	case VHOST_SET_OWNER:
		if (d->owned)
			return -EBUSY;
		d->owned = true;
		return 0;
	case VHOST_SET_FEATURES:
		if (*(uint64_t *)arg & ~rig.offered)
			return -EOPNOTSUPP;
		d->features = *(uint64_t *)arg;
		d->has_features = true;
		return 0;
	case VHOST_SET_MEM_TABLE:
		if (table->padding || table->nregions > ARRAY_SIZE(d->regions))
			return -EOPNOTSUPP;
		d->nregions = table->nregions;
		memcpy(d->regions, table->regions, d->nregions * sizeof(d->regions[0]));
		return 0;
	case VHOST_VSOCK_SET_GUEST_CID:
		if (*(uint64_t *)arg <= 2 || *(uint64_t *)arg >= UINT32_MAX)
			return -EINVAL;
		if (*(uint64_t *)arg == rig.cid_used)
			return -EADDRINUSE;
		d->cid = *(uint64_t *)arg;
		return 0;
	case VHOST_VSOCK_SET_RUNNING:
		for (unsigned i = 0; *(int *)arg && i < VHOST_KERNEL_RINGS; i++)
			if (!d->rings[i].has_addr || d->rings[i].kick < 0)
				return -EFAULT;
		d->running = *(int *)arg;
		return 0;
	default:
		return rig_vring(d, request, arg);
	}
}

int vhost_ioctl(int fd, unsigned long request, void *arg)
{
	struct rig_dev *d = NULL;

	for (unsigned i = 0; i < rig.nr; i++)
		if (rig.devs[i].fd == fd)
			d = &rig.devs[i];
	assert_non_null(d);
	rig.calls++;
	if (rig.fail_request == request) {
		rig.fail_request = 0;
		return rig.fail_code;
	}
	if (!d->owned && request != VHOST_SET_OWNER && request != VHOST_GET_FEATURES)
		return -EPERM;
	return rig_device(d, request, arg);
}

/* Guest memory of 64 KiB from RIG_RAM on, and a split ring's settings in it. */
#define RIG_RAM  0x10000
#define RIG_SIZE 0x10000

struct rig_memory {
	struct memory mem;
	uint8_t *host;
};

static inline void rig_memory_init(struct rig_memory *m)
{
	m->host = aligned_alloc(4096, RIG_SIZE);
	assert_non_null(m->host);
	memset(m->host, 0, RIG_SIZE);
	memory_init(&m->mem);
	assert_int_equal(memory_add(&m->mem, &(struct mem_region){.gpa = RIG_RAM,
	                                                          .size = RIG_SIZE,
	                                                          .host = m->host,
	                                                          .fd = -1}),
	                 0);
	memory_freeze(&m->mem);
}

static inline struct virtq_config rig_config(unsigned ring)
{
	return (struct virtq_config){
		.size_max = 256,
		.size = 64,
		.enabled = true,
		.desc = RIG_RAM + ring * 0x2000,
		.driver = RIG_RAM + ring * 0x2000 + 0x800,
		.device = RIG_RAM + ring * 0x2000 + 0x1000,
	};
}

#endif
