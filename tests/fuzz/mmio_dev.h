/* SPDX-License-Identifier: BSD-2-Clause */
/* mmio_dev: a device of virtio_dev.h behind virtio-mmio. */
#ifndef TRIVM_TESTS_FUZZ_MMIO_DEV_H
#define TRIVM_TESTS_FUZZ_MMIO_DEV_H

#include <linux/virtio_mmio.h>

#include "devices/virtio/mmio.h"
#include "tests/fuzz/virtio_dev.h"

#define MMIO_BASE 0xfeb00000
#define MMIO_PIN  5

static const struct dev_regs mmio_regs = {
	.features_select = VIRTIO_MMIO_DRIVER_FEATURES_SEL,
	.features = VIRTIO_MMIO_DRIVER_FEATURES,
	.status = VIRTIO_MMIO_STATUS,
	.queue_select = VIRTIO_MMIO_QUEUE_SEL,
	.queue_size = VIRTIO_MMIO_QUEUE_NUM,
	.enable = VIRTIO_MMIO_QUEUE_READY,
	.desc = VIRTIO_MMIO_QUEUE_DESC_LOW,
	.driver = VIRTIO_MMIO_QUEUE_AVAIL_LOW,
	.device = VIRTIO_MMIO_QUEUE_USED_LOW,
	.notify = VIRTIO_MMIO_QUEUE_NOTIFY,
	.status_width = 4,
	.queue_width = 4,
};

/* @bits: what the device is, and how it notifies. */
static inline void mmio_dev_init(struct fuzz_dev *f, struct virtio_mmio *m, uint8_t bits)
{
	struct virtio_mmio_config cfg;

	dev_init(f, bits & 1);
	cfg = (struct virtio_mmio_config){
		.bus = &f->mmio,
		.base = MMIO_BASE,
		.line = fake_irq_line(&f->irq, MMIO_PIN),
		.loop = &f->loop,
		.notify_exit = bits & 2,
		.inject_ioctl = bits & 4,
	};
	fuzz_check(virtio_mmio_init(m, f->dev, &cfg, NULL) == 0);
	bus_freeze(&f->mmio);
	f->regs = &mmio_regs;
	f->base = MMIO_BASE;
}

/* Reset, look, and take all apart. */
static inline void mmio_dev_destroy(struct fuzz_dev *f, struct virtio_mmio *m)
{
	dev_check_reset(f);
	fuzz_check(m->interrupt_status == 0 && !m->live);
	virtio_mmio_destroy(m);
	dev_destroy(f);
}

#endif
