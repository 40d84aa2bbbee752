/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X: table, masks and pending bits over both roads. The interrupt controller is a model of what
 * KVM does with irqfds: it consumes an event and delivers the route's message; on attach it
 * delivers for a count that is there but leaves it there; on detach it delivers what has arrived,
 * and clears it.
 */
#include "tests/unit/pci_rig.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "devices/pci/msix.h"
#include "vmm/fd.h"

#define ROUTES    8
#define IRQFDS    16
#define FIRST_GSI 24
#define DATAS     256
#define SLOT      1
#define BAR       4
#define BASE      UINT64_C(0xc0000000)
#define ADDR      0xfee00000u

struct model {
	struct irq_controller ctl;
	pthread_mutex_t lock;
	struct {
		bool allocated, routed;
		struct msi_message msg;
	} routes[ROUTES];
	struct {
		bool used;
		int fd;
		uint32_t gsi;
	} irqfds[IRQFDS];
	unsigned route_sets;
	_Atomic unsigned count[DATAS]; /* messages, by their data */
	_Atomic unsigned lost;         /* events on a GSI without a route */
	struct msi_message last;
	int route_error, irqfd_error;
	bool event_on_assign; /* somebody signals just before the kernel looks */
};

static void deliver(struct model *m, const struct msi_message *msg)
{
	m->last = *msg;
	m->count[msg->data % DATAS]++;
}

static void deliver_gsi(struct model *m, uint32_t gsi)
{
	if (m->routes[gsi - FIRST_GSI].routed)
		deliver(m, &m->routes[gsi - FIRST_GSI].msg);
	else
		m->lost++;
}

static void set_line(struct irq_controller *ctl, uint32_t gsi, bool asserted)
{
	(void)ctl;
	(void)gsi;
	(void)asserted;
}

static int send_msi(struct irq_controller *ctl, const struct msi_message *msg)
{
	struct model *m = container_of(ctl, struct model, ctl);

	pthread_mutex_lock(&m->lock);
	deliver(m, msg);
	pthread_mutex_unlock(&m->lock);
	return 1;
}

static int route_alloc(struct irq_controller *ctl, uint32_t *gsi)
{
	struct model *m = container_of(ctl, struct model, ctl);

	for (uint32_t i = 0; i < ROUTES; i++) {
		if (m->routes[i].allocated)
			continue;
		m->routes[i].allocated = true;
		*gsi = FIRST_GSI + i;
		return 0;
	}
	return -ENOSPC;
}

static void route_free(struct irq_controller *ctl, uint32_t gsi)
{
	struct model *m = container_of(ctl, struct model, ctl);

	assert_true(m->routes[gsi - FIRST_GSI].allocated);
	m->routes[gsi - FIRST_GSI].allocated = m->routes[gsi - FIRST_GSI].routed = false;
}

static int route_set(struct irq_controller *ctl, uint32_t gsi, const struct msi_message *msg)
{
	struct model *m = container_of(ctl, struct model, ctl);

	assert_true(m->routes[gsi - FIRST_GSI].allocated);
	pthread_mutex_lock(&m->lock);
	m->route_sets++;
	m->routes[gsi - FIRST_GSI].routed = msg != NULL;
	if (msg)
		m->routes[gsi - FIRST_GSI].msg = *msg;
	pthread_mutex_unlock(&m->lock);
	return msg ? m->route_error : 0;
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* model->lock is held. */
static int find_irqfd(const struct model *m, int fd)
{
	for (int i = 0; i < IRQFDS; i++)
		if (m->irqfds[i].used && m->irqfds[i].fd == fd)
			return i;
	return -1;
}

static int irqfd_assign(struct model *m, uint32_t gsi, int fd)
{
	if (find_irqfd(m, fd) >= 0)
		return -EBUSY;
	for (int i = 0; i < IRQFDS; i++) {
		if (m->irqfds[i].used)
			continue;
		m->irqfds[i].used = true;
		m->irqfds[i].fd = fd;
		m->irqfds[i].gsi = gsi;
		if (m->event_on_assign)
			fd_signal(fd);
		if (readable(fd))
			deliver_gsi(m, gsi);
		return 0;
	}
	fail_msg("model: too many irqfds");
	return -ENOSPC;
}

static int irqfd(struct irq_controller *ctl, uint32_t gsi, int fd, bool assign)
{
	struct model *m = container_of(ctl, struct model, ctl);
	int rc = m->irqfd_error;

	pthread_mutex_lock(&m->lock);
	if (assign && rc == 0)
		rc = irqfd_assign(m, gsi, fd);
	if (!assign) {
		int i = find_irqfd(m, fd);

		assert_true(i >= 0 && m->irqfds[i].gsi == gsi);
		m->irqfds[i].used = false;
		if (fd_drain(fd))
			deliver_gsi(m, gsi);
		rc = 0;
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

/* What the kernel does by itself on every write to an eventfd that it has. */
static void pump(struct model *m)
{
	pthread_mutex_lock(&m->lock);
	for (unsigned i = 0; i < IRQFDS; i++)
		if (m->irqfds[i].used && fd_drain(m->irqfds[i].fd))
			deliver_gsi(m, m->irqfds[i].gsi);
	pthread_mutex_unlock(&m->lock);
}

static bool kernel_has(struct model *m, int fd)
{
	return find_irqfd(m, fd) >= 0;
}

static const struct irq_controller_ops model_ops = {
	.set_line = set_line,
	.send_msi = send_msi,
	.route_alloc = route_alloc,
	.route_free = route_free,
	.route_set = route_set,
	.irqfd = irqfd,
};

/* A device with MSI-X, decoded at BASE, and a bus master; MSI-X is off as after reset. */
struct fixture {
	struct pci_rig rig;
	struct model model;
	struct pci_device dev;
	struct msix msix;
	unsigned cap;
};

static void setup(struct fixture *f, unsigned nr)
{
	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->model.lock, NULL);
	f->model.ctl.ops = &model_ops;
	rig_init(&f->rig);
	pci_device_init(&f->dev, "msix", &rig_ids, NULL);
	assert_int_equal(msix_init(&f->msix, &f->dev, BAR, nr, &f->model.ctl), 0);
	assert_int_equal(pci_host_add(&f->rig.host, SLOT, &f->dev, NULL), 0);
	rig_write(&f->rig, SLOT, PCI_BASE_ADDRESS_0 + 4 * BAR, 4, (uint32_t)BASE);
	rig_write(&f->rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	f->cap = rig_find_cap(&f->rig, SLOT, PCI_CAP_ID_MSIX);
	assert_int_not_equal(f->cap, 0);
}

static void teardown(struct fixture *f)
{
	assert_int_equal(f->model.lost, 0);
	msix_destroy(&f->msix);
	msix_destroy(&f->msix);
	for (unsigned i = 0; i < ROUTES; i++)
		assert_false(f->model.routes[i].allocated);
	for (unsigned i = 0; i < IRQFDS; i++)
		assert_false(f->model.irqfds[i].used);
	rig_destroy(&f->rig);
}

static void control(struct fixture *f, uint16_t clear, uint16_t set)
{
	rig_bits(&f->rig, SLOT, f->cap + PCI_MSIX_FLAGS, clear, set);
}

static void enable(struct fixture *f)
{
	control(f, PCI_MSIX_FLAGS_MASKALL, PCI_MSIX_FLAGS_ENABLE);
}

static uint64_t entry(unsigned vector)
{
	return BASE + vector * PCI_MSIX_ENTRY_SIZE;
}

static void mask(struct fixture *f, unsigned vector, bool masked)
{
	fake_write(&f->rig.mmio, entry(vector) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, masked);
}

/* As a driver does: address, data, then the mask. */
static void program(struct fixture *f, unsigned vector, uint32_t data, bool masked)
{
	fake_write(&f->rig.mmio, entry(vector), 4, ADDR);
	fake_write(&f->rig.mmio, entry(vector) + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
	fake_write(&f->rig.mmio, entry(vector) + PCI_MSIX_ENTRY_DATA, 4, data);
	mask(f, vector, masked);
}

static uint64_t pba(struct fixture *f, unsigned offset, unsigned size)
{
	return fake_read(&f->rig.mmio, BASE + f->msix.pba + offset, size);
}

static int new_fd(void)
{
	int fd = fd_eventfd();

	assert_true(fd >= 0);
	return fd;
}

/* Somebody signals; if the kernel has the fd it acts at once. */
static void signal_fd(struct fixture *f, int fd)
{
	fd_signal(fd);
	pump(&f->model);
}

static void test_capability(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_FLAGS, 2), 3);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_TABLE, 4), BAR);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_PBA, 4), 2048 | BAR);
	for (unsigned reg = 0; reg < PCI_CAP_MSIX_SIZEOF; reg += 2)
		rig_write(&f.rig, SLOT, f.cap + reg, 2, 0xffff);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_FLAGS, 2), 0xc003);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_TABLE, 4), BAR);
	assert_true(msix_enabled(&f.msix));
	rig_write(&f.rig, SLOT, f.cap + PCI_MSIX_FLAGS, 2, 0);
	assert_false(msix_enabled(&f.msix));
	teardown(&f);
}

static void test_init_errors(void **state)
{
	struct model model = {.ctl.ops = &model_ops};
	struct pci_device dev;
	struct msix msix;
	uint8_t cap;

	(void)state;
	pci_device_init(&dev, "dev", &rig_ids, NULL);
	assert_int_equal(msix_init(&msix, &dev, 0, 0, &model.ctl), -EINVAL);
	assert_int_equal(msix_init(&msix, &dev, 0, 2049, &model.ctl), -EINVAL);
	assert_int_equal(msix_init(&msix, &dev, 6, 1, &model.ctl), -EINVAL);
	assert_int_equal(pci_add_capability(&dev, PCI_CAP_ID_VNDR, 184, &cap), 0);
	assert_int_equal(msix_init(&msix, &dev, 0, 1, &model.ctl), -ENOSPC);
	assert_null(dev.msix);
	msix_destroy(&msix);
}

static void test_table_access(void **state)
{
	struct fixture f;
	struct bus *mmio = &f.rig.mmio;

	(void)state;
	setup(&f, 3);
	for (unsigned v = 0; v < 3; v++) {
		assert_int_equal(fake_read(mmio, entry(v), 8), 0);
		assert_true(fake_read(mmio, entry(v) + 8, 8) == UINT64_C(1) << 32);
	}
	fake_write(mmio, entry(1), 8, UINT64_C(0x11223344fee00fff));
	fake_write(mmio, entry(1) + 8, 8, UINT64_C(0xfffffffe00004321));
	assert_int_equal(fake_read(mmio, entry(1), 4), 0xfee00ffc);
	assert_int_equal(fake_read(mmio, entry(1) + 4, 4), 0x11223344);
	assert_int_equal(fake_read(mmio, entry(1) + 8, 4), 0x4321);
	assert_int_equal(fake_read(mmio, entry(1) + 12, 4), 0);
	fake_write(mmio, entry(1) + 12, 4, UINT32_MAX);
	assert_int_equal(fake_read(mmio, entry(1) + 12, 4), 1);
	/* Other widths and places: nothing happens. */
	fake_write(mmio, entry(1), 1, 0);
	fake_write(mmio, entry(1) + 2, 2, 0);
	fake_write(mmio, entry(1) + 2, 4, 0);
	fake_write(mmio, entry(1) + 4, 8, 0);
	assert_true(fake_read(mmio, entry(1), 8) == UINT64_C(0x11223344fee00ffc));
	assert_true(fake_read(mmio, entry(1) + 4, 8) == UINT64_MAX);
	assert_int_equal(fake_read(mmio, entry(1), 2), 0xffff);
	/* Past the vectors; the pending bits are read-only. */
	fake_write(mmio, entry(3), 4, ADDR);
	assert_int_equal(fake_read(mmio, entry(3), 4), 0);
	fake_write(mmio, BASE + 2048, 4, UINT32_MAX);
	fake_write(mmio, BASE + 4088, 8, UINT64_MAX);
	assert_int_equal(pba(&f, 0, 8), 0);
	assert_int_equal(fake_read(mmio, BASE + 4088, 8), 0);
	pci_device_reset(&f.dev);
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0 + 4 * BAR, 4, (uint32_t)BASE);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	assert_int_equal(fake_read(mmio, entry(1), 8), 0);
	assert_true(fake_read(mmio, entry(1) + 8, 8) == UINT64_C(1) << 32);
	teardown(&f);
}

static void test_notify(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4);
	enable(&f);
	program(&f, 2, 0x42, false);
	msix_notify(&f.msix, 2);
	assert_int_equal(f.model.count[0x42], 1);
	assert_true(f.model.last.addr == ADDR && f.model.last.data == 0x42);
	msix_notify(&f.msix, 2);
	assert_int_equal(f.model.count[0x42], 2);
	assert_int_equal(pba(&f, 0, 4), 0);
	msix_notify(&f.msix, 4);
	msix_notify(&f.msix, UINT32_MAX);
	/* No irqfd, no route. */
	assert_int_equal(f.model.route_sets, 0);
	teardown(&f);
}

static void test_notify_masked(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 4);
	enable(&f);
	program(&f, 0, 0x40, true);
	program(&f, 3, 0x43, true);
	msix_notify(&f.msix, 3);
	msix_notify(&f.msix, 3);
	assert_int_equal(f.model.count[0x43], 0);
	assert_int_equal(pba(&f, 0, 4), 8);
	assert_true(msix_pending(&f.msix, 3));
	/* The message is the one that is there when the mask goes. */
	fake_write(&f.rig.mmio, entry(3) + PCI_MSIX_ENTRY_DATA, 4, 0x53);
	mask(&f, 3, false);
	assert_int_equal(f.model.count[0x43], 0);
	assert_int_equal(f.model.count[0x53], 1);
	assert_int_equal(pba(&f, 0, 8), 0);
	mask(&f, 3, true);
	mask(&f, 3, false);
	assert_int_equal(f.model.count[0x53], 1);
	assert_int_equal(f.model.count[0x40], 0);
	teardown(&f);
}

/* Everything that closes a vector: function mask, MSI-X off, no bus master. */
static void close_how(struct fixture *f, unsigned how, bool closed)
{
	switch (how) {
	case 0:
		mask(f, 1, closed);
		break;
	case 1:
		control(f, closed ? 0 : PCI_MSIX_FLAGS_MASKALL,
		        closed ? PCI_MSIX_FLAGS_MASKALL : 0);
		break;
	case 2:
		control(f, closed ? PCI_MSIX_FLAGS_ENABLE : 0, closed ? 0 : PCI_MSIX_FLAGS_ENABLE);
		break;
	default:
		rig_bits(&f->rig, SLOT, PCI_COMMAND, closed ? PCI_COMMAND_MASTER : 0,
		         closed ? 0 : PCI_COMMAND_MASTER);
		break;
	}
}

#define CLOSE_HOWS 4

static void test_closed_both_roads(void **state)
{
	(void)state;
	for (unsigned how = 0; how < CLOSE_HOWS; how++) {
		struct msix_irqfd q = {0};
		struct fixture f;
		int fd = new_fd();

		setup(&f, 2);
		enable(&f);
		program(&f, 1, 0x41, false);
		assert_int_equal(msix_irqfd_attach(&f.msix, &q, 1, fd), 0);
		assert_true(kernel_has(&f.model, fd));

		close_how(&f, how, true);
		assert_false(kernel_has(&f.model, fd));
		msix_notify(&f.msix, 1);
		assert_int_equal(pba(&f, 0, 4), 2);
		close_how(&f, how, false);
		assert_int_equal(f.model.count[0x41], 1);
		assert_true(kernel_has(&f.model, fd));

		close_how(&f, how, true);
		signal_fd(&f, fd);
		signal_fd(&f, fd);
		assert_int_equal(f.model.count[0x41], 1);
		assert_int_equal(pba(&f, 0, 4), 2);
		assert_int_equal(pba(&f, 0, 4), 2); /* looking does not consume */
		close_how(&f, how, false);
		assert_int_equal(f.model.count[0x41], 2);
		assert_int_equal(pba(&f, 0, 4), 0);

		/* Both at once are one message. */
		close_how(&f, how, true);
		signal_fd(&f, fd);
		msix_notify(&f.msix, 1);
		close_how(&f, how, false);
		assert_int_equal(f.model.count[0x41], 3);

		/* Nothing stayed behind. */
		close_how(&f, how, true);
		assert_int_equal(pba(&f, 0, 4), 0);
		close_how(&f, how, false);
		assert_int_equal(f.model.count[0x41], 3);
		msix_irqfd_detach(&q);
		fd_close(&fd);
		teardown(&f);
	}
}

static void test_irqfd_open(void **state)
{
	struct msix_irqfd q = {0};
	struct fixture f;
	int fd = new_fd();

	(void)state;
	setup(&f, 4);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 1, fd), 0);
	assert_false(kernel_has(&f.model, fd));
	assert_int_equal(f.model.route_sets, 0);
	enable(&f);
	program(&f, 1, 0x41, false);
	assert_true(kernel_has(&f.model, fd));
	assert_int_equal(f.model.route_sets, 1);
	signal_fd(&f, fd);
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x41], 2);
	/* A second mask and unmask needs no new route. */
	mask(&f, 1, true);
	mask(&f, 1, false);
	assert_int_equal(f.model.route_sets, 1);
	/* The message changes under the open vector: the route goes along, the fd stays. */
	fake_write(&f.rig.mmio, entry(1) + PCI_MSIX_ENTRY_DATA, 4, 0x51);
	assert_int_equal(f.model.route_sets, 2);
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x51], 1);
	/* And while masked only with the unmasking. */
	mask(&f, 1, true);
	program(&f, 1, 0x61, true);
	assert_int_equal(f.model.route_sets, 2);
	mask(&f, 1, false);
	assert_int_equal(f.model.route_sets, 3);
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x61], 1);
	/* The other road works beside it. */
	msix_notify(&f.msix, 1);
	assert_int_equal(f.model.count[0x61], 2);

	msix_irqfd_detach(&q);
	assert_false(kernel_has(&f.model, fd));
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x61], 2);
	msix_irqfd_detach(&q);
	fd_close(&fd);
	teardown(&f);
}

/* An event that waits in the fd when it is attached counts. */
static void test_attach_with_event(void **state)
{
	struct msix_irqfd q = {0};
	struct fixture f;
	int fd = new_fd();

	(void)state;
	setup(&f, 2);
	enable(&f);
	program(&f, 0, 0x40, false);
	program(&f, 1, 0x41, true);
	fd_signal(fd);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 0, fd), 0);
	assert_int_equal(f.model.count[0x40], 1);
	msix_irqfd_detach(&q);

	/* To another vector while closed, back, and on: it goes with the fd. */
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 1, fd), 0);
	assert_int_equal(pba(&f, 0, 4), 0);
	signal_fd(&f, fd);
	assert_int_equal(pba(&f, 0, 4), 2);
	msix_irqfd_detach(&q);
	assert_int_equal(pba(&f, 0, 4), 0);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 0, fd), 0);
	assert_int_equal(f.model.count[0x40], 2);
	assert_int_equal(f.model.count[0x41], 0);
	msix_irqfd_detach(&q);
	fd_close(&fd);
	teardown(&f);
}

/* An event between the two looks at the counter: it interrupts, and is not found again later. */
static void test_event_while_arming(void **state)
{
	struct msix_irqfd q = {0};
	struct fixture f;
	int fd = new_fd();
	unsigned seen;

	(void)state;
	setup(&f, 1);
	enable(&f);
	program(&f, 0, 0x40, true);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 0, fd), 0);
	f.model.event_on_assign = true;
	mask(&f, 0, false);
	f.model.event_on_assign = false;
	seen = f.model.count[0x40];
	assert_true(seen >= 1);
	assert_false(readable(fd));
	mask(&f, 0, true);
	assert_int_equal(pba(&f, 0, 4), 0);
	mask(&f, 0, false);
	assert_int_equal(f.model.count[0x40], seen);
	/* What the kernel has, but has not come to yet, is not pending. */
	fd_signal(fd);
	assert_int_equal(pba(&f, 0, 4), 0);
	msix_clear_pending(&f.msix, 0);
	pump(&f.model);
	assert_int_equal(f.model.count[0x40], seen + 1);
	msix_irqfd_detach(&q);
	fd_close(&fd);
	teardown(&f);
}

static void test_shared_vector(void **state)
{
	struct msix_irqfd q[3] = {{0}};
	struct fixture f;
	int fd[3];

	(void)state;
	setup(&f, 2);
	enable(&f);
	program(&f, 1, 0x41, false);
	for (unsigned i = 0; i < 3; i++) {
		fd[i] = new_fd();
		assert_int_equal(msix_irqfd_attach(&f.msix, &q[i], 1, fd[i]), 0);
	}
	/* One route for all. */
	assert_int_equal(f.model.route_sets, 1);
	for (unsigned i = 0; i < 3; i++)
		signal_fd(&f, fd[i]);
	assert_int_equal(f.model.count[0x41], 3);
	mask(&f, 1, true);
	signal_fd(&f, fd[0]);
	signal_fd(&f, fd[2]);
	assert_int_equal(pba(&f, 0, 4), 2);
	mask(&f, 1, false);
	assert_int_equal(f.model.count[0x41], 4);
	msix_irqfd_detach(&q[1]);
	assert_true(kernel_has(&f.model, fd[0]) && kernel_has(&f.model, fd[2]));
	assert_false(kernel_has(&f.model, fd[1]));
	signal_fd(&f, fd[2]);
	assert_int_equal(f.model.count[0x41], 5);
	/* The rest is detached by msix_destroy(). */
	teardown(&f);
	for (unsigned i = 0; i < 3; i++) {
		assert_null(q[i].msix);
		fd_close(&fd[i]);
	}
}

static void test_clear_and_reset(void **state)
{
	struct msix_irqfd q = {0};
	struct fixture f;
	int fd = new_fd();

	(void)state;
	setup(&f, 2);
	enable(&f);
	program(&f, 1, 0x41, true);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 1, fd), 0);
	fd_signal(fd);
	msix_notify(&f.msix, 1);
	msix_notify(&f.msix, 0);
	msix_clear_pending(&f.msix, 1);
	msix_clear_pending(&f.msix, 2);
	assert_int_equal(pba(&f, 0, 4), 1);
	mask(&f, 1, false);
	assert_int_equal(f.model.count[0x41], 0);

	/* Reset with the vector open, then with it closed and events in the fd. */
	for (unsigned round = 0; round < 2; round++) {
		if (round) {
			fd_signal(fd);
			msix_notify(&f.msix, 1);
		}
		pci_device_reset(&f.dev);
		assert_false(kernel_has(&f.model, fd));
		assert_false(msix_enabled(&f.msix));
		assert_false(msix_pending(&f.msix, 0));
		assert_false(msix_pending(&f.msix, 1));
	}
	/* Still attached: the next driver gets it. */
	rig_write(&f.rig, SLOT, PCI_BASE_ADDRESS_0 + 4 * BAR, 4, (uint32_t)BASE);
	rig_write(&f.rig, SLOT, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	enable(&f);
	program(&f, 1, 0x71, false);
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x71], 1);
	assert_int_equal(f.model.count[0], 0);
	msix_irqfd_detach(&q);
	fd_close(&fd);
	teardown(&f);
}

static void test_attach_errors(void **state)
{
	static struct msix_irqfd q[ROUTES + 1];
	struct msix_irqfd again = {0};
	struct fixture f;
	int fd[ROUTES + 1];

	(void)state;
	setup(&f, ROUTES + 1);
	enable(&f);
	for (unsigned i = 0; i <= ROUTES; i++) {
		fd[i] = new_fd();
		program(&f, i, i, false);
		assert_int_equal(msix_irqfd_attach(&f.msix, &q[i], i, fd[i]),
		                 i < ROUTES ? 0 : -ENOSPC);
	}
	assert_null(q[ROUTES].msix);
	msix_irqfd_detach(&q[ROUTES]);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q[0], 1, fd[ROUTES]), -EBUSY);
	assert_int_equal(msix_irqfd_attach(&f.msix, &again, ROUTES + 1, fd[ROUTES]), -EINVAL);
	/* The kernel takes an eventfd once; the first stays as it was. */
	assert_int_equal(msix_irqfd_attach(&f.msix, &again, 0, fd[0]), -EBUSY);
	assert_null(again.msix);
	signal_fd(&f, fd[0]);
	assert_int_equal(f.model.count[0], 1);
	/* Events are not lost by an attach that failed. */
	f.model.irqfd_error = -ENOMEM;
	fd_signal(fd[ROUTES]);
	assert_int_equal(msix_irqfd_attach(&f.msix, &again, 0, fd[ROUTES]), -ENOMEM);
	assert_true(fd_drain(fd[ROUTES]) > 0);
	teardown(&f);
	for (unsigned i = 0; i <= ROUTES; i++)
		fd_close(&fd[i]);
}

/* A message that KVM refuses: nothing of the old one any more; it waits for a good one. */
static void test_bad_message(void **state)
{
	struct msix_irqfd q = {0};
	struct fixture f;
	int fd = new_fd();

	(void)state;
	setup(&f, 1);
	enable(&f);
	program(&f, 0, 0x40, false);
	assert_int_equal(msix_irqfd_attach(&f.msix, &q, 0, fd), 0);
	f.model.route_error = -EINVAL;
	fake_write(&f.rig.mmio, entry(0) + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0xff);
	assert_false(kernel_has(&f.model, fd));
	assert_false(f.model.routes[0].routed);
	signal_fd(&f, fd);
	assert_int_equal(f.model.count[0x40], 0);
	assert_int_equal(pba(&f, 0, 4), 1);
	f.model.route_error = 0;
	fake_write(&f.rig.mmio, entry(0) + PCI_MSIX_ENTRY_UPPER_ADDR, 4, 0);
	assert_int_equal(f.model.count[0x40], 1);
	assert_int_equal(pba(&f, 0, 4), 0);
	msix_irqfd_detach(&q);
	fd_close(&fd);
	teardown(&f);
}

static void test_many_vectors(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, 2048);
	assert_int_equal(f.msix.pba, 32768);
	assert_int_equal(rig_read(&f.rig, SLOT, f.cap + PCI_MSIX_FLAGS, 2), 2047);
	enable(&f);
	msix_notify(&f.msix, 63);
	msix_notify(&f.msix, 64);
	msix_notify(&f.msix, 97);
	msix_notify(&f.msix, 2047);
	assert_true(pba(&f, 0, 8) == BIT64(63));
	assert_int_equal(pba(&f, 4, 4), BIT(31));
	assert_true(pba(&f, 8, 8) == (BIT64(33) | 1));
	assert_int_equal(pba(&f, 12, 4), 2);
	assert_true(pba(&f, 248, 8) == BIT64(63));
	assert_int_equal(pba(&f, 256, 8), 0);
	program(&f, 2047, 0x47, false);
	assert_int_equal(f.model.count[0x47], 1);
	teardown(&f);
}

/*
 * No event may be lost while the guest masks and unmasks, whatever the order: a writer signals, and
 * goes on only when an interrupt came after that. One writer by eventfd, one by msix_notify().
 */
#define STRESS_EVENTS 3000

struct stress {
	struct fixture f;
	int fd;
	_Atomic bool done;
	_Atomic unsigned stuck;
};

static bool wait_for_interrupt(struct stress *s, unsigned data, unsigned seen)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (s->f.model.count[data] == seen) {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > 20) {
			s->stuck++;
			return false;
		}
	}
	return true;
}

static void *fd_writer(void *opaque)
{
	struct stress *s = opaque;

	for (unsigned i = 0; i < STRESS_EVENTS; i++) {
		unsigned seen = s->f.model.count[0x40];

		fd_signal(s->fd);
		if (!wait_for_interrupt(s, 0x40, seen))
			break;
	}
	return NULL;
}

static void *notifier(void *opaque)
{
	struct stress *s = opaque;

	for (unsigned i = 0; i < STRESS_EVENTS; i++) {
		unsigned seen = s->f.model.count[0x41];

		msix_notify(&s->f.msix, 1);
		if (!wait_for_interrupt(s, 0x41, seen))
			break;
	}
	return NULL;
}

static void *kernel(void *opaque)
{
	struct stress *s = opaque;

	while (!s->done) {
		pump(&s->f.model);
		sched_yield();
	}
	return NULL;
}

/* A vCPU: closes and opens the vectors in all ways, always ending with open. */
static void *vcpu(void *opaque)
{
	struct stress *s = opaque;
	unsigned seed = 1;

	while (!s->done) {
		unsigned how = (unsigned)rand_r(&seed) % 4;
		bool ours = how == 0;

		if (ours) {
			mask(&s->f, 0, true);
			mask(&s->f, 1, true);
			mask(&s->f, 0, false);
			mask(&s->f, 1, false);
		} else {
			close_how(&s->f, how, true);
			close_how(&s->f, how, false);
		}
		if (pba(&s->f, 0, 4) > 3)
			s->stuck++;
		sched_yield();
	}
	return NULL;
}

static void test_nothing_lost(void **state)
{
	static struct stress s;
	struct msix_irqfd q = {0};
	pthread_t writers[2], others[2];

	(void)state;
	memset(&s, 0, sizeof(s));
	setup(&s.f, 2);
	s.fd = new_fd();
	enable(&s.f);
	program(&s.f, 0, 0x40, false);
	program(&s.f, 1, 0x41, false);
	assert_int_equal(msix_irqfd_attach(&s.f.msix, &q, 0, s.fd), 0);
	pthread_create(&others[0], NULL, kernel, &s);
	pthread_create(&others[1], NULL, vcpu, &s);
	pthread_create(&writers[0], NULL, fd_writer, &s);
	pthread_create(&writers[1], NULL, notifier, &s);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(writers[i], NULL);
	s.done = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(others[i], NULL);
	assert_int_equal(s.stuck, 0);
	assert_true(s.f.model.count[0x40] >= STRESS_EVENTS);
	assert_true(s.f.model.count[0x41] >= STRESS_EVENTS);
	msix_irqfd_detach(&q);
	fd_close(&s.fd);
	teardown(&s.f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_capability),         cmocka_unit_test(test_init_errors),
		cmocka_unit_test(test_table_access),       cmocka_unit_test(test_notify),
		cmocka_unit_test(test_notify_masked),      cmocka_unit_test(test_closed_both_roads),
		cmocka_unit_test(test_irqfd_open),         cmocka_unit_test(test_attach_with_event),
		cmocka_unit_test(test_event_while_arming), cmocka_unit_test(test_shared_vector),
		cmocka_unit_test(test_clear_and_reset),    cmocka_unit_test(test_attach_errors),
		cmocka_unit_test(test_bad_message),        cmocka_unit_test(test_many_vectors),
		cmocka_unit_test(test_nothing_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
