/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_dev: a virtio device for targets of transports: an entropy device, or a NIC with a
 * datapath that works when the input says so. The input is the driver: any register, and, so that
 * there is something to break, what a driver does.
 */
#ifndef TRIVM_TESTS_FUZZ_VIRTIO_DEV_H
#define TRIVM_TESTS_FUZZ_VIRTIO_DEV_H

#include <errno.h>
#include <linux/virtio_ring.h>

#include "devices/net/net.h"
#include "devices/virtio/rng.h"
#include "tests/fuzz/guest_ram.h"
#include "tests/unit/virtio_rig.h"
#include "vmm/endian.h"

#define DEV_PAIRS  3
#define DEV_QUEUES (2 * DEV_PAIRS + 1)
#define DEV_SIZE   16 /* of the NIC's rings */

/* A datapath with no thread: dev_pump() is its turn. */
struct dev_datapath {
	struct datapath dp;
	struct datapath_host host;
	const struct memory *mem;
	uint64_t negotiated;
	struct {
		bool on;
		struct virtq q;
	} rings[2 * DEV_PAIRS];
};

/* Where a transport has its registers. */
struct dev_regs {
	uint16_t features_select, features, status, queue_select, queue_size, enable;
	uint16_t desc, driver, device; /* the low half; the high one is behind it */
	uint16_t notify, notify_step;  /* step 0: the queue's number is the value */
	uint8_t status_width, queue_width;
};

struct fuzz_dev {
	struct guest_ram ram;
	struct bus pio, mmio;
	struct loop loop;
	struct fake_irq irq;
	struct fake_ioeventfds ioeventfds;
	bool is_net;
	struct rng rng;
	struct net net;
	struct dev_datapath *dp; /* the NIC's */
	struct virtio_device *dev;
	/* The transport's: where the registers are now, or BUS_UNMAPPED. */
	const struct dev_regs *regs;
	uint64_t base;
	uint16_t avail[DEV_QUEUES];
};

static inline uint64_t dev_dp_features(const struct datapath *dp)
{
	(void)dp;
	return virtio_ring_features(true) | NET_GUEST_OFFLOADS;
}

static inline int dev_dp_setup(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
                               const struct datapath_host *host, struct err *err)
{
	struct dev_datapath *d = container_of(dp, struct dev_datapath, dp);

	(void)err;
	fuzz_check(!d->mem);
	d->mem = mem;
	d->host = *host;
	d->negotiated = negotiated;
	return 0;
}

static inline int dev_dp_ring_start(struct datapath *dp, unsigned index,
                                    const struct datapath_ring *ring, struct err *err)
{
	struct dev_datapath *d = container_of(dp, struct dev_datapath, dp);
	int rc;

	fuzz_check(d->mem);
	if (index >= 2 * DEV_PAIRS)
		return err_set(err, -EINVAL, "no such ring");
	fuzz_check(!d->rings[index].on);
	rc = virtq_start(&d->rings[index].q, &ring->config, virtq_features(d->negotiated),
	                 ring->base, d->mem, err);
	d->rings[index].on = rc == 0;
	return rc;
}

static inline int dev_dp_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	struct dev_datapath *d = container_of(dp, struct dev_datapath, dp);

	if (index >= 2 * DEV_PAIRS || !d->rings[index].on)
		return -EINVAL;
	*base = virtq_base(&d->rings[index].q);
	d->rings[index].on = false;
	return 0;
}

static inline void dev_dp_teardown(struct datapath *dp)
{
	struct dev_datapath *d = container_of(dp, struct dev_datapath, dp);

	for (unsigned i = 0; i < 2 * DEV_PAIRS; i++)
		d->rings[i].on = false;
	d->mem = NULL;
}

static inline int dev_dp_set_offloads(struct datapath *dp, uint64_t guest_offloads)
{
	(void)dp;
	return guest_offloads & ~NET_GUEST_OFFLOADS ? -EINVAL : 0;
}

static inline int dev_dp_set_pairs(struct datapath *dp, unsigned pairs)
{
	(void)dp;
	fuzz_check(pairs >= 1 && pairs <= DEV_PAIRS);
	return 0;
}

static inline void dev_dp_set_link(struct datapath *dp, bool up)
{
	(void)dp;
	(void)up;
}

static inline void dev_dp_destroy(struct datapath *dp)
{
	fuzz_check(!container_of(dp, struct dev_datapath, dp)->mem);
}

static const struct datapath_ops dev_dp_ops = {
	.name = "fuzz",
	.features = dev_dp_features,
	.setup = dev_dp_setup,
	.teardown = dev_dp_teardown,
	.ring_start = dev_dp_ring_start,
	.ring_stop = dev_dp_ring_stop,
	.set_offloads = dev_dp_set_offloads,
	.set_pairs = dev_dp_set_pairs,
	.set_link = dev_dp_set_link,
	.destroy = dev_dp_destroy,
};

/* One packet of each ring. */
static inline void dev_pump(struct fuzz_dev *f)
{
	for (unsigned i = 0; i < 2 * DEV_PAIRS && f->dp->mem; i++) {
		struct virtq *q = &f->dp->rings[i].q;
		struct iovec iov[16];
		struct virtq_chain c;
		int rc;

		if (!f->dp->rings[i].on || q->broken)
			continue;
		rc = virtq_pop(q, &c, iov, ARRAY_SIZE(iov));
		if (rc < 0)
			f->dp->host.broken(f->dp->host.opaque, i, q->broken);
		if (rc == 1)
			virtq_push(q, &c, c.in_len);
		if (virtq_flush(q))
			f->dp->host.interrupt(f->dp->host.opaque, i);
	}
}

static inline void dev_init(struct fuzz_dev *f, bool is_net)
{
	static const struct net_config config = {.name = "net0",
	                                         .mac = {0x52, 0x54, 0, 0, 0, 1},
	                                         .mtu = 1500,
	                                         .pairs = DEV_PAIRS,
	                                         .queue_size = DEV_SIZE};

	guest_ram_init(&f->ram);
	bus_init(&f->pio, BUS_PIO);
	bus_init(&f->mmio, BUS_MMIO);
	bus_set_eventfd_backend(&f->mmio, fake_ioeventfd, &f->ioeventfds);
	fuzz_check(loop_init(&f->loop) == 0);
	fake_irq_init(&f->irq, 24);
	f->is_net = is_net;
	f->dp = calloc(1, sizeof(*f->dp));
	fuzz_check(f->dp);
	f->dp->dp.ops = &dev_dp_ops;
	if (is_net)
		net_init(&f->net, &config, &f->dp->dp, &f->ram.mem);
	else
		rng_init(&f->rng, "rng0", &f->ram.mem);
	f->dev = is_net ? &f->net.dev : &f->rng.dev;
	f->base = BUS_UNMAPPED;
}

/* A reset has to leave nothing behind, whatever was before it. */
static inline void dev_check_reset(struct fuzz_dev *f)
{
	virtio_set_status(f->dev, 0);
	fuzz_check(virtio_status(f->dev) == 0 && !f->dev->running);
	fuzz_check(f->ioeventfds.nr == 0 && f->irq.nr_irqfds == 0);
	for (unsigned i = 0; i < f->dev->nr_queues; i++) {
		fuzz_check(!f->dev->queues[i].running && !f->dev->queues[i].config.enabled);
		fuzz_check(f->dev->queues[i].config.desc == 0);
	}
	for (unsigned i = 0; i < 2 * DEV_PAIRS; i++)
		fuzz_check(!f->dp->rings[i].on);
}

/* The transport is gone. */
static inline void dev_destroy(struct fuzz_dev *f)
{
	net_destroy(&f->net);
	rng_destroy(&f->rng);
	free(f->dp);
	loop_destroy(&f->loop);
	bus_destroy(&f->mmio);
	bus_destroy(&f->pio);
	guest_ram_destroy(&f->ram);
}

/* A guest's store, as KVM has it: an ioeventfd takes it, or the bus. */
static inline void dev_write(struct fuzz_dev *f, uint64_t addr, unsigned size, uint64_t value)
{
	le64 data = le64_of(value);

	for (unsigned i = 0; i < f->ioeventfds.nr; i++) {
		const struct bus_eventfd *e = &f->ioeventfds.at[i].e;

		if (f->ioeventfds.at[i].addr == addr && (!e->size || e->size == size) &&
		    (!e->match_value || e->match == value)) {
			fd_signal(e->fd);
			return;
		}
	}
	bus_write(&f->mmio, addr, &data, size);
}

static inline void dev_reg(struct fuzz_dev *f, unsigned reg, unsigned size, uint64_t value)
{
	if (f->base != BUS_UNMAPPED)
		dev_write(f, f->base + reg, size, value);
}

/* A driver's start: features (all that are offered, but for what the input leaves out). */
static inline void dev_negotiate(struct fuzz_dev *f, struct fuzz_in *in)
{
	uint64_t features = f->dev->offered & ~fuzz_u64(in);

	dev_reg(f, f->regs->status, f->regs->status_width, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++) {
		dev_reg(f, f->regs->features_select, 4, i);
		dev_reg(f, f->regs->features, 4,
		        (uint32_t)((features | VIRTIO_FEATURE(VIRTIO_F_VERSION_1)) >> 32 * i));
	}
	dev_reg(f, f->regs->status, f->regs->status_width, ACK | DRIVER | F_OK);
}

static inline uint64_t dev_ring(unsigned index)
{
	return RAM_BASE + 0x1000 * index;
}

static inline void dev_queue(struct fuzz_dev *f, struct fuzz_in *in)
{
	unsigned index = fuzz_u8(in) % DEV_QUEUES;
	const struct dev_regs *r = f->regs;

	dev_reg(f, r->queue_select, r->queue_width, index);
	dev_reg(f, r->queue_size, r->queue_width, DEV_SIZE);
	dev_reg(f, r->desc, 4, dev_ring(index));
	dev_reg(f, r->driver, 4, dev_ring(index) + 0x400);
	dev_reg(f, r->device, 4, dev_ring(index) + 0x800);
	dev_reg(f, r->enable, r->queue_width, 1);
	f->avail[index] = 0;
}

/* A buffer in a ring, packed or split by what was negotiated, and a kick. */
static inline void dev_buffer(struct fuzz_dev *f, struct fuzz_in *in)
{
	unsigned index = fuzz_u8(in) % DEV_QUEUES;
	bool packed = virtio_has(f->dev, VIRTIO_F_RING_PACKED);
	uint16_t at = f->avail[index]++, flags = fuzz_u8(in) & 7;
	uint8_t *ring = memory_at(&f->ram.mem, gpa(dev_ring(index)), 0x1000);
	uint8_t *e = ring + 16 * (at % DEV_SIZE);

	if (packed)
		flags |= at / DEV_SIZE % 2 ? BIT(VRING_PACKED_DESC_F_USED)
		                           : BIT(VRING_PACKED_DESC_F_AVAIL);
	store_le64(e, guest_ram_addr(in));
	store_le32(e + 8, fuzz_u16(in));
	store_le16(e + (packed ? 14 : 12), flags);
	store_le16(e + (packed ? 12 : 14), fuzz_u8(in));
	if (!packed) {
		store_le16(ring + 0x404 + 2 * (at % DEV_SIZE), at % DEV_SIZE);
		store_le16(ring + 0x402, f->avail[index]);
	}
	if (f->regs->notify_step)
		dev_reg(f, f->regs->notify + f->regs->notify_step * index, 2, index);
	else
		dev_reg(f, f->regs->notify, 4, index);
}

/* What both transports' targets do; @op below DEV_STEPS. */
#define DEV_STEPS 12
static inline void dev_step(struct fuzz_dev *f, struct fuzz_in *in, unsigned op)
{
	unsigned size = 1u << (fuzz_u8(in) & 3);

	switch (op) {
	case 0:
	case 1: {
		unsigned reg = fuzz_u16(in);

		dev_reg(f, reg, size, fuzz_value(in, size));
		break;
	}
	case 2: {
		uint64_t data;

		if (f->base != BUS_UNMAPPED)
			bus_read(&f->mmio, f->base + fuzz_u16(in), &data, size);
		break;
	}
	case 3:
		dev_negotiate(f, in);
		break;
	case 4:
		dev_queue(f, in);
		break;
	case 5:
		dev_reg(f, f->regs->status, f->regs->status_width, fuzz_u8(in) & 1 ? LIVE : 0);
		break;
	case 6:
		dev_buffer(f, in);
		break;
	case 7: {
		uint64_t addr = guest_ram_addr(in);

		guest_ram_poke(&f->ram, in, addr, size);
		break;
	}
	case 8:
		fuzz_check(loop_once(&f->loop, 0) >= 0);
		break;
	case 9:
		dev_pump(f);
		break;
	case 10:
		fake_irq_kernel(&f->irq);
		break;
	case 11:
		if (f->is_net)
			net_set_link(&f->net, size & 1);
		break;
	default:
		break;
	}
}

#endif
