/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/virtio_slots.h"

#include <errno.h>
#include <string.h>

#include "vmm/util.h"

/*
 * With KVM's own interrupt controllers: the pins below 24 that nothing else has. Not 0 (timer), 1
 * and 12 would be the i8042's, which has no interrupts here, 2 (cascade), the UARTs', the RTC's,
 * the GED's, 13 (FPU), and the four of PCI from 16 on.
 */
static const uint8_t free_pins[] = {5, 6, 7, 10, 11, 12, 14, 15, 20, 21, 22, 23};

int virtio_slots_take_mmio(struct virtio_slots *slots, struct platform_slot *slot, struct err *err)
{
	unsigned i = slots->nr_mmio;
	unsigned max = slots->split_irqchip ? LAYOUT_VIRTIO_MMIO_MAX : ARRAY_SIZE(free_pins);

	if (i == max)
		return err_set(err, -ENOSPC,
		               "transport=mmio: there are %u of them already; use transport=pci%s",
		               max, slots->split_irqchip ? "" : ", or --irqchip split");
	*slot = slots->mmio_slots[i] = (struct platform_slot){
		.addr = LAYOUT_VIRTIO_MMIO + (uint64_t)i * LAYOUT_VIRTIO_MMIO_STEP,
		.gsi = slots->split_irqchip ? LAYOUT_GSI_VIRTIO_MMIO + i : free_pins[i],
	};
	slots->nr_mmio++;
	return 0;
}

static int add_mmio(struct virtio_transport *t, struct virtio_device *dev,
                    const struct virtio_options *options, struct virtio_slots *slots,
                    struct err *err)
{
	struct platform_slot slot;
	struct virtio_mmio_config c = {
		.bus = slots->mmio,
		.line = {.ctl = slots->irq},
		.loop = slots->loop,
		.notify_exit = options->notify_exit,
		.inject_ioctl = options->inject_ioctl,
	};
	int rc = virtio_slots_take_mmio(slots, &slot, err);

	if (rc < 0)
		return err_prefix(err, rc, "%s", dev->name);
	c.base = slot.addr;
	c.line.gsi = slot.gsi;
	rc = virtio_mmio_init(&t->mmio, dev, &c, err);
	t->is_mmio = rc == 0;
	return rc;
}

static int add_pci(struct virtio_transport *t, struct virtio_device *dev,
                   const struct virtio_options *options, struct virtio_slots *slots,
                   struct err *err)
{
	struct virtio_pci_config c = {
		.slot = -1,
		.loop = slots->loop,
		.notify_exit = options->notify_exit,
		.inject_ioctl = options->inject_ioctl,
	};
	int rc = virtio_pci_init(&t->pci, dev, slots->pci, &c, err);

	t->is_pci = rc == 0;
	return rc;
}

int virtio_transport_add(struct virtio_transport *t, struct virtio_device *dev,
                         const struct virtio_options *options, struct virtio_slots *slots,
                         struct err *err)
{
	int rc;

	memset(t, 0, sizeof(*t));
	rc = options->mmio ? add_mmio(t, dev, options, slots, err)
	                   : add_pci(t, dev, options, slots, err);
	if (rc < 0)
		return rc;
	dev->events = slots->events;
	t->dev = dev;
	t->slots = slots;
	if (slots->last)
		slots->last->next = t;
	else
		slots->first = t;
	slots->last = t;
	return 0;
}

static void forget(struct virtio_transport *t)
{
	struct virtio_slots *slots = t->slots;
	struct virtio_transport **at, *before = NULL;

	if (!slots)
		return;
	for (at = &slots->first; *at != t; at = &(*at)->next)
		before = *at;
	*at = t->next;
	if (slots->last == t)
		slots->last = before;
	t->slots = NULL;
}

void virtio_transport_remove(struct virtio_transport *t)
{
	forget(t);
	if (t->is_mmio)
		virtio_mmio_destroy(&t->mmio);
	if (t->is_pci)
		virtio_pci_destroy(&t->pci);
	t->is_mmio = t->is_pci = false;
}

struct virtio_events *virtio_transport_events(struct virtio_transport *t)
{
	if (t->is_mmio)
		return &t->mmio.events;
	return t->is_pci ? &t->pci.events : NULL;
}
