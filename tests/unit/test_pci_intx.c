/* SPDX-License-Identifier: BSD-2-Clause */
/* INTx: the swizzle, sharing, INTx disable, the status bit, MSI-X taking over. */
#include "tests/unit/pci_rig.h"

#include "devices/pci/msix.h"

#define SLOTS 8

struct intx {
	struct pci_rig rig;
	struct pci_device dev[SLOTS + 1];
};

static void intx_init(struct intx *x)
{
	memset(x, 0, sizeof(*x));
	rig_init(&x->rig);
	for (int slot = 1; slot <= SLOTS; slot++) {
		pci_device_init(&x->dev[slot], "dev", &rig_ids, NULL);
		assert_int_equal(pci_host_add(&x->rig.host, slot, &x->dev[slot], NULL), 0);
	}
}

static bool line(struct intx *x, unsigned n)
{
	return x->rig.irq.gsi[LAYOUT_GSI_INTX + n].asserted;
}

static bool status(struct intx *x, unsigned slot)
{
	return rig_read(&x->rig, slot, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT;
}

static void test_swizzle(void **state)
{
	struct intx x;

	(void)state;
	intx_init(&x);
	assert_int_equal(pci_intx_index(0, 1), 0);
	assert_int_equal(pci_intx_index(1, 1), 1);
	assert_int_equal(pci_intx_index(3, 4), 2);
	assert_int_equal(pci_intx_index(31, 2), 0);
	for (unsigned slot = 1; slot <= SLOTS; slot++) {
		pci_set_intx(&x.dev[slot], true);
		for (unsigned n = 0; n < PCI_INTX_LINES; n++)
			assert_int_equal(line(&x, n), n == slot % 4);
		pci_set_intx(&x.dev[slot], false);
	}
	rig_destroy(&x.rig);
}

static void test_shared(void **state)
{
	struct intx x;
	struct fake_gsi *gsi;

	(void)state;
	intx_init(&x);
	gsi = &x.rig.irq.gsi[LAYOUT_GSI_INTX + 1];
	pci_set_intx(&x.dev[1], true);
	pci_set_intx(&x.dev[5], true);
	pci_set_intx(&x.dev[5], true); /* a level, not a count */
	assert_true(line(&x, 1));
	assert_int_equal(gsi->sets, 1);
	pci_set_intx(&x.dev[1], false);
	assert_true(line(&x, 1));
	assert_false(status(&x, 1));
	assert_true(status(&x, 5));
	pci_set_intx(&x.dev[5], false);
	assert_false(line(&x, 1));
	pci_set_intx(&x.dev[5], false);
	assert_int_equal(gsi->sets, 2);
	rig_destroy(&x.rig);
}

static void test_disable(void **state)
{
	struct intx x;

	(void)state;
	intx_init(&x);
	pci_set_intx(&x.dev[1], true);
	rig_bits(&x.rig, 1, PCI_COMMAND, 0, PCI_COMMAND_INTX_DISABLE);
	assert_false(line(&x, 1));
	assert_true(status(&x, 1)); /* tells the cause all the same */
	pci_set_intx(&x.dev[5], true);
	assert_true(line(&x, 1));
	pci_set_intx(&x.dev[5], false);
	assert_false(line(&x, 1));
	rig_bits(&x.rig, 1, PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 0);
	assert_true(line(&x, 1));
	/* The status bit is at its place in every width, and cannot be written. */
	assert_int_equal(rig_read(&x.rig, 1, PCI_STATUS, 1), PCI_STATUS_INTERRUPT);
	assert_int_equal(rig_read(&x.rig, 1, PCI_COMMAND, 4), PCI_STATUS_INTERRUPT << 16);
	assert_int_equal(rig_read(&x.rig, 1, PCI_STATUS + 1, 1), 0);
	assert_int_equal(rig_read(&x.rig, 1, PCI_COMMAND, 2), 0);
	rig_write(&x.rig, 1, PCI_STATUS, 2, 0xffff);
	assert_true(status(&x, 1));
	pci_device_reset(&x.dev[1]);
	assert_false(line(&x, 1));
	assert_false(status(&x, 1));
	rig_destroy(&x.rig);
}

static void test_msix_takes_over(void **state)
{
	struct intx x;
	struct pci_device dev;
	struct msix msix;
	unsigned flags;

	(void)state;
	intx_init(&x);
	pci_device_init(&dev, "msix", &rig_ids, NULL);
	assert_int_equal(msix_init(&msix, &dev, 0, 1, &x.rig.irq.ctl), 0);
	assert_int_equal(pci_host_add(&x.rig.host, 9, &dev, NULL), 0);
	flags = rig_find_cap(&x.rig, 9, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS;
	pci_set_intx(&dev, true);
	assert_true(line(&x, 1));
	rig_bits(&x.rig, 9, flags, 0, PCI_MSIX_FLAGS_ENABLE);
	assert_false(line(&x, 1));
	rig_bits(&x.rig, 9, flags, PCI_MSIX_FLAGS_ENABLE, 0);
	assert_true(line(&x, 1));
	pci_set_intx(&dev, false);
	assert_false(line(&x, 1));
	msix_destroy(&msix);
	rig_destroy(&x.rig);
}

static void test_no_pin(void **state)
{
	struct pci_ids ids = rig_ids;
	struct pci_rig rig;
	struct pci_device dev;

	(void)state;
	ids.pin = 0;
	rig_init(&rig);
	pci_device_init(&dev, "dev", &ids, NULL);
	pci_set_intx(&dev, true); /* not on a bus yet */
	pci_host_add(&rig.host, 1, &dev, NULL);
	pci_set_intx(&dev, true);
	assert_int_equal(rig_read(&rig, 1, PCI_STATUS, 2), 0);
	for (unsigned n = 0; n < PCI_INTX_LINES; n++)
		assert_int_equal(rig.irq.gsi[LAYOUT_GSI_INTX + n].sets, 0);
	rig_destroy(&rig);
}

/* Two threads on one line: at the end it is low, whatever the order was. */
static void *toggle(void *opaque)
{
	for (unsigned i = 0; i < 20000; i++)
		pci_set_intx(opaque, i % 2 == 0);
	return NULL;
}

static void test_threads(void **state)
{
	struct intx x;
	pthread_t a, b;

	(void)state;
	intx_init(&x);
	assert_int_equal(pthread_create(&a, NULL, toggle, &x.dev[1]), 0);
	assert_int_equal(pthread_create(&b, NULL, toggle, &x.dev[5]), 0);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_false(line(&x, 1));
	assert_int_equal(x.rig.host.intx.drivers[1], 0);
	pci_set_intx(&x.dev[1], true);
	assert_true(line(&x, 1));
	rig_destroy(&x.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_swizzle), cmocka_unit_test(test_shared),
		cmocka_unit_test(test_disable), cmocka_unit_test(test_msix_takes_over),
		cmocka_unit_test(test_no_pin),  cmocka_unit_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
