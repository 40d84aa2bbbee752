/* SPDX-License-Identifier: BSD-2-Clause */
/* Where virtio devices are put: every place once, until there are none left. */
#include "tests/unit/pci_rig.h"

#include <errno.h>
#include <linux/virtio_ids.h>

#include "tests/unit/virtio_rig.h"
#include "vmm/virtio_slots.h"

struct fixture {
	struct pci_rig rig;
	struct loop loop;
	struct virtio_slots slots;
	struct tdev t;
	struct virtio_transport transport;
	struct err err;
};

static void setup(struct fixture *f, bool split)
{
	memset(f, 0, sizeof(*f));
	rig_init(&f->rig);
	assert_int_equal(loop_init(&f->loop), 0);
	f->slots = (struct virtio_slots){.pci = &f->rig.host,
	                                 .mmio = &f->rig.mmio,
	                                 .irq = &f->rig.irq.ctl,
	                                 .loop = &f->loop,
	                                 .split_irqchip = split};
	tdev_init(&f->t, VIRTIO_ID_RNG, 0, false);
}

static void teardown(struct fixture *f)
{
	virtio_transport_remove(&f->transport);
	virtio_transport_remove(&f->transport);
	virtio_device_destroy(&f->t.dev);
	loop_destroy(&f->loop);
	rig_destroy(&f->rig);
}

static void test_mmio_slots(void **state)
{
	static const uint8_t kernel_pins[] = {5, 6, 7, 10, 11, 12, 14, 15, 20, 21, 22, 23};
	struct platform_slot slot;
	struct fixture f;

	(void)state;
	for (unsigned split = 0; split < 2; split++) {
		unsigned n = split ? 32 : 12;

		setup(&f, split);
		for (unsigned i = 0; i < n; i++) {
			assert_int_equal(virtio_slots_take_mmio(&f.slots, &slot, &f.err), 0);
			assert_int_equal(slot.addr, 0xfeb00000u + 0x1000 * i);
			assert_int_equal(slot.gsi, split ? 24 + i : kernel_pins[i]);
			assert_int_equal(f.slots.nr_mmio, i + 1);
			assert_memory_equal(&f.slots.mmio_slots[i], &slot, sizeof(slot));
		}
		assert_int_equal(virtio_slots_take_mmio(&f.slots, &slot, &f.err), -ENOSPC);
		assert_non_null(strstr(f.err.msg, "transport=pci"));
		assert_int_equal(strstr(f.err.msg, "--irqchip split") != NULL, !split);
		assert_int_equal(f.slots.nr_mmio, n);
		teardown(&f);
	}
}

static void test_mmio_transport(void **state)
{
	struct virtio_options o = {.mmio = true, .inject_ioctl = true, .notify_exit = true};
	struct fixture f;

	(void)state;
	setup(&f, true);
	assert_int_equal(virtio_transport_add(&f.transport, &f.t.dev, &o, &f.slots, &f.err), 0);
	assert_int_equal(fake_read(&f.rig.mmio, 0xfeb00008, 4), VIRTIO_ID_RNG);
	assert_int_equal(f.transport.mmio.cfg.line.gsi, 24);
	assert_true(f.transport.mmio.cfg.notify_exit);
	assert_int_equal(f.t.dev.queues[0].events.call_fd, -1);
	teardown(&f);
	/* None left: the error says whose. */
	setup(&f, false);
	f.slots.nr_mmio = 12;
	assert_int_equal(virtio_transport_add(&f.transport, &f.t.dev, &o, &f.slots, &f.err),
	                 -ENOSPC);
	assert_int_equal(strncmp(f.err.msg, "tdev: transport=mmio: ", 22), 0);
	teardown(&f);
}

static void test_pci_transport(void **state)
{
	struct virtio_options o = {.notify_exit = true};
	struct fixture f;

	(void)state;
	setup(&f, true);
	assert_int_equal(virtio_transport_add(&f.transport, &f.t.dev, &o, &f.slots, &f.err), 0);
	assert_int_equal(rig_read(&f.rig, 1, 0, 4), 0x10441af4);
	assert_int_equal(f.slots.nr_mmio, 0);
	assert_true(f.transport.pci.cfg.notify_exit && !f.transport.pci.cfg.inject_ioctl);
	assert_true(f.t.dev.queues[0].events.call_fd >= 0);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mmio_slots),
		cmocka_unit_test(test_mmio_transport),
		cmocka_unit_test(test_pci_transport),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
