/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_rig: a virtio device for tests of transports, and what stands for the kernel: ioeventfds
 * that take the guest's writes, and (fakes.h) irqfds.
 */
#ifndef TRIVM_TESTS_VIRTIO_RIG_H
#define TRIVM_TESTS_VIRTIO_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <unistd.h>

#include <linux/virtio_config.h>

#include "devices/virtio/device.h"
#include "tests/unit/fakes.h"
#include "vmm/fd.h"
#include "vmm/loop.h"
#include "vmm/util.h"

#define ACK    VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER VIRTIO_CONFIG_S_DRIVER
#undef F_OK /* of unistd.h */
#define F_OK   VIRTIO_CONFIG_S_FEATURES_OK
#define D_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define BROKEN VIRTIO_CONFIG_S_NEEDS_RESET
#define LIVE   (ACK | DRIVER | F_OK | D_OK)

#define TDEV_QUEUES 4
#define TDEV_CONFIG 20
#define TDEV_SIZE   64

/* The device: it does nothing, the test is the owner of its queues. */
struct tdev {
	struct virtio_device dev;
	struct virtio_device_ops ops;
	struct memory mem;
	uint8_t config[TDEV_CONFIG];
	unsigned starts, stops, kicked[TDEV_QUEUES];
};

static inline int tdev_start(struct virtio_device *dev, struct err *err)
{
	(void)err;
	container_of(dev, struct tdev, dev)->starts++;
	return 0;
}

static inline void tdev_stop(struct virtio_device *dev)
{
	container_of(dev, struct tdev, dev)->stops++;
}

static inline int tdev_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	(void)dev;
	(void)index;
	(void)err;
	return 0;
}

static inline void tdev_queue_stop(struct virtio_device *dev, unsigned index)
{
	assert_true(dev->queues[index].running);
}

static inline void tdev_config_read(struct virtio_device *dev, uint32_t offset, void *buf,
                                    uint32_t len)
{
	memcpy(buf, container_of(dev, struct tdev, dev)->config + offset, len);
}

static inline void tdev_config_write(struct virtio_device *dev, uint32_t offset, const void *buf,
                                     uint32_t len)
{
	memcpy(container_of(dev, struct tdev, dev)->config + offset, buf, len);
}

static inline void tdev_kicked(struct virtio_device *dev, unsigned index)
{
	container_of(dev, struct tdev, dev)->kicked[index]++;
}

/* @served: by the main loop (ops->kicked). */
static inline void tdev_init(struct tdev *t, uint16_t type, uint32_t config_size, bool served)
{
	static const uint16_t sizes[TDEV_QUEUES] = {TDEV_SIZE, TDEV_SIZE, TDEV_SIZE, TDEV_SIZE};

	memset(t, 0, sizeof(*t));
	memory_init(&t->mem);
	t->ops = (struct virtio_device_ops){
		.start = tdev_start,
		.stop = tdev_stop,
		.queue_start = tdev_queue_start,
		.queue_stop = tdev_queue_stop,
		.config_read = tdev_config_read,
		.config_write = tdev_config_write,
		.kicked = served ? tdev_kicked : NULL,
	};
	for (unsigned i = 0; i < TDEV_CONFIG; i++)
		t->config[i] = (uint8_t)(0xc0 + i);
	virtio_device_init(&t->dev, "tdev", type, &t->ops, virtio_ring_features(true), config_size,
	                   sizes, TDEV_QUEUES, &t->mem);
}

/* The ioeventfds that the kernel has. */
struct fake_ioeventfds {
	unsigned nr;
	int error; /* negative: what the next registration answers */
	struct {
		uint64_t addr;
		struct bus_eventfd e;
	} at[64];
};

static inline int fake_ioeventfd(void *opaque, enum bus_space space, uint64_t addr,
                                 const struct bus_eventfd *e, bool assign)
{
	struct fake_ioeventfds *k = opaque;

	(void)space;
	if (assign) {
		if (k->error)
			return k->error;
		assert_true(k->nr < ARRAY_SIZE(k->at));
		k->at[k->nr].addr = addr;
		k->at[k->nr++].e = *e;
		return 0;
	}
	for (unsigned i = 0; i < k->nr; i++) {
		if (k->at[i].addr == addr && k->at[i].e.fd == e->fd) {
			k->at[i] = k->at[--k->nr];
			return 0;
		}
	}
	fail_msg("an ioeventfd that the kernel does not have");
	return 0;
}

/* A guest's write, as KVM handles it. True: it did not come to the VMM. */
static inline bool guest_write(struct fake_ioeventfds *k, struct bus *bus, uint64_t addr,
                               unsigned size, uint64_t value)
{
	for (unsigned i = 0; i < k->nr; i++) {
		const struct bus_eventfd *e = &k->at[i].e;

		if (k->at[i].addr != addr || (e->size && e->size != size) ||
		    (e->match_value && e->match != value))
			continue;
		fd_signal(e->fd);
		return true;
	}
	fake_write(bus, addr, size, value);
	return false;
}

/* Let the main loop do what there is to do. */
static inline unsigned run_loop(struct loop *loop)
{
	unsigned ran = 0;
	int n;

	while ((n = loop_once(loop, 0)) > 0)
		ran += (unsigned)n;
	assert_int_equal(n, 0);
	return ran;
}

#endif
