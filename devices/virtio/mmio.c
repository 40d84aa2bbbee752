/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the registers are a thin coat over device.h, as with virtio-pci. What
 * differs is the interrupt: there is one for everything, and the driver asks InterruptStatus what
 * it was.
 *
 * The pin is edge-triggered, so an irqfd can drive it: an event on a queue's call fd makes KVM
 * raise the interrupt without us (all queues' call fds are attached to the one pin). But then
 * nobody sets the "used buffer" bit of InterruptStatus. It need not be known: the driver reads the
 * register in its interrupt handler only, and the bit's one meaning is "look at the queues". So
 * while the kernel carries the interrupts, the bit reads as set, and acknowledging it does nothing.
 * What it costs is a look at the queues, for nothing, after an interrupt that was for the
 * configuration alone; the driver has to expect such looks anyway (2.7.7.1). This is the one place
 * where we are not true to the letter of 4.2.2.1 ("bits which do not represent events which took
 * place MUST be zero"); with inject=ioctl we are.
 *
 * It also takes a race away: a driver that acknowledges after it has looked, as 4.2.3.4.1 says, can
 * with a true bit acknowledge an event that came in between, and does not look for it.
 *
 * The configuration bit is true in both cases: such changes come from the VMM, which sets the bit
 * and pulses the line.
 *
 * A queue whose call fd is not with the kernel - inject=ioctl, or no irqfd to be had - is forwarded
 * by the main loop: status bit, then a pulse. Owners within the VMM, with inject=ioctl, come by
 * transport_queue_interrupt() instead.
 *
 * Notifications all go to one register, with the queue's number as the value: an ioeventfd a queue,
 * which matches 32 bits.
 *
 * Locks: m->lock is never held over a call to device.h, whose own lock comes before it.
 */
#include "devices/virtio/mmio.h"

#include <errno.h>
#include <linux/virtio_mmio.h>
#include <string.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define MAGIC   0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR  0x4d565254 /* "TRVM" */

/* Newer than some hosts' headers. */
#define QUEUE_RESET 0x0c0

/* --- Interrupts. m->lock is held in all of the static functions here. --- */

static void raise_status(struct virtio_mmio *m, uint32_t bit)
{
	m->interrupt_status |= bit;
	irq_line_pulse(&m->cfg.line);
}

/* An interrupt for queue @index, by our own hand. */
static void queue_deliver(struct virtio_mmio *m, unsigned index)
{
	TRACE(irq_deliver, m->dev->name, index,
	      "interrupt: MSI-X %d, InterruptStatus is set, pin %d pulses", (bool)false,
	      (uint16_t)m->cfg.line.gsi);
	trace_enter(m->dev->name, index);
	raise_status(m, VIRTIO_MMIO_INT_VRING);
	trace_leave();
	counter_add(&m->events.pairs[index].calls.by_vmm, 1);
}

/* If the call fd is ours to read: do. One that does not run keeps its events for the next start. */
static void queue_forward(struct virtio_mmio *m, unsigned index)
{
	const struct virtio_mmio_queue *q = &m->queues[index];

	if (q->active && !q->irqfd && virtio_events_take_call(&m->events, index)) {
		TRACE(call_seen, m->dev->name, index, "the call eventfd is read: no irqfd has it");
		queue_deliver(m, index);
	}
}

/*
 * Give the call fd to the kernel. What is in it would be delivered by that, and stay in it: taken
 * out before, and again behind an event that fell in between, it is one pulse.
 */
static void irqfd_attach(struct virtio_mmio *m, unsigned index)
{
	struct virtio_mmio_queue *q = &m->queues[index];
	const struct irq_line *line = &m->cfg.line;
	int fd = m->events.pairs[index].call_fd;
	uint64_t waited;
	int rc;

	if (m->cfg.inject_ioctl || q->irqfd)
		return;
	waited = fd_drain(fd);
	rc = irq_irqfd(line->ctl, line->gsi, fd, true);
	if (rc < 0) {
		if (waited)
			fd_signal_shared(fd);
		log_limited(&m->dev->limit, LOG_WARN, "%s: queue %u: no direct interrupts: %s",
		            m->dev->name, index, strerror(-rc));
		return;
	}
	q->irqfd = true;
	m->direct++;
	if (fd_drain(fd) || waited)
		irq_line_pulse(line);
}

static void irqfd_detach(struct virtio_mmio *m, unsigned index)
{
	struct virtio_mmio_queue *q = &m->queues[index];

	if (!q->irqfd)
		return;
	irq_irqfd(m->cfg.line.ctl, m->cfg.line.gsi, m->events.pairs[index].call_fd, false);
	q->irqfd = false;
	m->direct--;
}

static void on_called(struct virtio_events *events, unsigned index)
{
	struct virtio_mmio *m = container_of(events, struct virtio_mmio, events);

	pthread_mutex_lock(&m->lock);
	queue_forward(m, index);
	pthread_mutex_unlock(&m->lock);
}

/* --- Notifications --- */

static void ioeventfd_attach(struct virtio_mmio *m, unsigned index)
{
	struct virtio_mmio_queue *q = &m->queues[index];
	struct bus_eventfd e = {
		.region = &m->region,
		.offset = VIRTIO_MMIO_QUEUE_NOTIFY,
		.size = 4,
		.match_value = true,
		.match = index,
		.fd = m->events.pairs[index].kick_fd,
	};
	int rc;

	if (m->cfg.notify_exit || q->ioeventfd)
		return;
	rc = bus_eventfd_add(m->cfg.bus, &e);
	q->ioeventfd = rc == 0;
	if (rc < 0 && rc != -EOPNOTSUPP)
		log_limited(&m->dev->limit, LOG_WARN,
		            "%s: queue %u: notifications will be exits: ioeventfd: %s",
		            m->dev->name, index, strerror(-rc));
}

static void ioeventfd_detach(struct virtio_mmio *m, unsigned index)
{
	struct virtio_mmio_queue *q = &m->queues[index];

	if (q->ioeventfd)
		bus_eventfd_remove(m->cfg.bus, &m->region, m->events.pairs[index].kick_fd);
	q->ioeventfd = false;
}

/* --- What device.h calls --- */

static void transport_queue_interrupt(void *transport, unsigned index)
{
	struct virtio_mmio *m = transport;

	pthread_mutex_lock(&m->lock);
	if (m->queues[index].active)
		queue_deliver(m, index);
	pthread_mutex_unlock(&m->lock);
}

static void transport_config_interrupt(void *transport)
{
	struct virtio_mmio *m = transport;

	pthread_mutex_lock(&m->lock);
	if (m->live)
		raise_status(m, VIRTIO_MMIO_INT_CONFIG);
	pthread_mutex_unlock(&m->lock);
}

static void queue_running(struct virtio_mmio *m, unsigned index, bool running)
{
	struct virtio_mmio_queue *q = &m->queues[index];

	if (q->active == running)
		return;
	q->active = running;
	if (running) {
		ioeventfd_attach(m, index);
		irqfd_attach(m, index);
		queue_forward(m, index);
	} else {
		ioeventfd_detach(m, index);
		irqfd_detach(m, index);
		virtio_events_drain(&m->events, index);
	}
}

static void transport_running(void *transport, bool running)
{
	struct virtio_mmio *m = transport;

	pthread_mutex_lock(&m->lock);
	m->live |= running;
	for (unsigned i = 0; i < m->events.nr; i++)
		queue_running(m, i, m->dev->queues[i].running);
	pthread_mutex_unlock(&m->lock);
}

static void transport_reset(void *transport, int index)
{
	struct virtio_mmio *m = transport;

	if (index >= 0)
		return;
	pthread_mutex_lock(&m->lock);
	m->device_features_select = m->driver_features_select = m->queue_select = 0;
	m->interrupt_status = 0;
	m->live = false;
	pthread_mutex_unlock(&m->lock);
}

static int transport_renew(void *transport, unsigned index)
{
	struct virtio_mmio *m = transport;
	int rc;

	pthread_mutex_lock(&m->lock);
	ioeventfd_detach(m, index);
	irqfd_detach(m, index);
	rc = virtio_events_renew(&m->events, index);
	if (m->queues[index].active) {
		ioeventfd_attach(m, index);
		irqfd_attach(m, index);
	}
	pthread_mutex_unlock(&m->lock);
	return rc;
}

static void transport_ways(void *transport, unsigned index, struct virtio_ways *ways)
{
	struct virtio_mmio *m = transport;

	pthread_mutex_lock(&m->lock);
	ways->ioeventfd = m->queues[index].ioeventfd;
	ways->irqfd = m->queues[index].irqfd;
	pthread_mutex_unlock(&m->lock);
}

static const struct virtio_transport_ops transport_ops = {
	.renew = transport_renew,
	.ways = transport_ways,
	.queue_interrupt = transport_queue_interrupt,
	.config_interrupt = transport_config_interrupt,
	.running = transport_running,
	.reset = transport_reset,
};

/* --- Registers --- */

/* Which of the device's queue fields is at @reg. False: none. */
static bool queue_field(uint64_t reg, enum virtio_queue_field *field)
{
	static const uint8_t regs[] = {
		[VIRTIO_QUEUE_SIZE] = VIRTIO_MMIO_QUEUE_NUM,
		[VIRTIO_QUEUE_DESC_LOW] = VIRTIO_MMIO_QUEUE_DESC_LOW,
		[VIRTIO_QUEUE_DESC_HIGH] = VIRTIO_MMIO_QUEUE_DESC_HIGH,
		[VIRTIO_QUEUE_DRIVER_LOW] = VIRTIO_MMIO_QUEUE_AVAIL_LOW,
		[VIRTIO_QUEUE_DRIVER_HIGH] = VIRTIO_MMIO_QUEUE_AVAIL_HIGH,
		[VIRTIO_QUEUE_DEVICE_LOW] = VIRTIO_MMIO_QUEUE_USED_LOW,
		[VIRTIO_QUEUE_DEVICE_HIGH] = VIRTIO_MMIO_QUEUE_USED_HIGH,
		[VIRTIO_QUEUE_ENABLE] = VIRTIO_MMIO_QUEUE_READY,
		[VIRTIO_QUEUE_RESET] = QUEUE_RESET,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		if (regs[i] == reg) {
			*field = (enum virtio_queue_field)i;
			return true;
		}
	}
	return false;
}

struct selection {
	uint32_t device_features, driver_features, queue, interrupt_status;
};

static struct selection selection(struct virtio_mmio *m)
{
	struct selection s;

	pthread_mutex_lock(&m->lock);
	s = (struct selection){
		.device_features = m->device_features_select,
		.driver_features = m->driver_features_select,
		.queue = m->queue_select,
		.interrupt_status = m->interrupt_status | (m->direct ? VIRTIO_MMIO_INT_VRING : 0),
	};
	pthread_mutex_unlock(&m->lock);
	return s;
}

static uint32_t reg_read(struct virtio_mmio *m, uint64_t reg)
{
	struct selection s = selection(m);

	switch (reg) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return m->dev->type;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return virtio_features_window(m->dev, s.device_features);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return virtio_queue_size_max(m->dev, s.queue);
	case VIRTIO_MMIO_QUEUE_READY:
		return virtio_queue_get(m->dev, s.queue, VIRTIO_QUEUE_ENABLE);
	case QUEUE_RESET:
		return virtio_queue_get(m->dev, s.queue, VIRTIO_QUEUE_RESET);
	case VIRTIO_MMIO_INTERRUPT_STATUS:
		return s.interrupt_status;
	case VIRTIO_MMIO_STATUS:
		return virtio_status(m->dev);
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* there is no such region */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return virtio_config_generation(m->dev);
	default: /* write-only, or none */
		return 0;
	}
}

/* What is kept here. */
static void selection_write(struct virtio_mmio *m, uint64_t reg, uint32_t value)
{
	pthread_mutex_lock(&m->lock);
	switch (reg) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		m->device_features_select = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		m->driver_features_select = value;
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		m->queue_select = value;
		break;
	case VIRTIO_MMIO_INTERRUPT_ACK:
		m->interrupt_status &= ~value;
		break;
	default: /* read-only, or none */
		break;
	}
	pthread_mutex_unlock(&m->lock);
}

static void reg_write(struct virtio_mmio *m, uint64_t reg, uint32_t value)
{
	struct selection s = selection(m);
	enum virtio_queue_field field;

	if (queue_field(reg, &field))
		virtio_queue_set(m->dev, s.queue, field, value);
	else if (reg == VIRTIO_MMIO_DRIVER_FEATURES)
		virtio_set_driver_features(m->dev, s.driver_features, value);
	else if (reg == VIRTIO_MMIO_STATUS && (value == 0 || (uint8_t)value)) /* 0: all of it */
		virtio_set_status(m->dev, (uint8_t)value);
	else if (reg == VIRTIO_MMIO_QUEUE_NOTIFY)
		virtio_events_kick(&m->events, value);
	else
		selection_write(m, reg, value);
}

static uint64_t mmio_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_mmio *m = opaque;
	uint8_t buf[8] = {0};

	if (offset >= VIRTIO_MMIO_CONFIG) {
		virtio_config_read(m->dev, (uint32_t)(offset - VIRTIO_MMIO_CONFIG), buf, size);
		return load_le64(buf);
	}
	return size == 4 && offset % 4 == 0 ? reg_read(m, offset) : UINT64_MAX;
}

static void mmio_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_mmio *m = opaque;
	uint8_t buf[8];

	if (offset >= VIRTIO_MMIO_CONFIG) {
		store_le64(buf, value);
		virtio_config_write(m->dev, (uint32_t)(offset - VIRTIO_MMIO_CONFIG), buf, size);
	} else if (size == 4 && offset % 4 == 0) {
		reg_write(m, offset, (uint32_t)value);
	}
}

static const struct bus_ops mmio_ops = {.read = mmio_read, .write = mmio_write};

/* --- Life --- */

int virtio_mmio_init(struct virtio_mmio *m, struct virtio_device *dev,
                     const struct virtio_mmio_config *cfg, struct err *err)
{
	int rc;

	memset(m, 0, sizeof(*m));
	m->dev = dev;
	m->cfg = *cfg;
	m->region = (struct bus_region){
		.name = dev->name, .size = VIRTIO_MMIO_SIZE, .ops = &mmio_ops, .opaque = m};
	pthread_mutex_init(&m->lock, NULL);
	rc = virtio_events_init(&m->events, dev, cfg->loop, cfg->inject_ioctl, on_called);
	if (rc == 0)
		rc = bus_add(cfg->bus, &m->region, cfg->base);
	if (rc < 0) {
		virtio_mmio_destroy(m);
		return err_errno(err, rc, "%s: virtio-mmio at 0x%llx", dev->name,
		                 (unsigned long long)cfg->base);
	}
	dev->transport_ops = &transport_ops;
	dev->transport = m;
	return 0;
}

void virtio_mmio_destroy(struct virtio_mmio *m)
{
	if (!m->dev)
		return;
	if (m->dev->transport == m) {
		virtio_set_status(m->dev, 0);
		m->dev->transport = NULL;
		m->dev->transport_ops = NULL;
	}
	virtio_events_destroy(&m->events);
	pthread_mutex_destroy(&m->lock);
	m->dev = NULL;
}
