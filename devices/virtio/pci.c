/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the registers are a thin coat over device.h: selectors and vectors are kept
 * here, all else is the device's. How notifications and interrupts travel is in pci_route.c.
 *
 * The bus master bit: MSI-X messages wait for it (msix.c). The queues do not: a kernel datapath
 * could not ask, and the drivers that turn it off have reset the device before.
 *
 * Locks: p->lock guards what is here; it is never held over a call to device.h, whose own lock
 * comes before it. So a register access that needs both takes a copy of the selectors first; two
 * vCPUs that write them at the same time get what they deserve, but nothing worse. What a reset has
 * to undo here is undone under dev->lock (transport_reset() in pci_route.c), so that a driver which
 * reads status 0 finds vectors and ISR status clear.
 */
#include "devices/virtio/pci.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "devices/virtio/pci_route.h"
#include "vmm/endian.h"
#include "vmm/util.h"

#define VENDOR      0x1af4
#define DEVICE_BASE 0x1040
#define REVISION    1
#define SUBSYSTEM   0x40 /* plus the type: above what legacy drivers look for */

#define BAR_SIZE      KIB(16)
#define COMMON_LENGTH 64

/* Newer than some hosts' headers. */
#define COMMON_QUEUE_NOTIFY_DATA 56
#define COMMON_QUEUE_RESET       58

/* The data of the PCI configuration access capability. */
#define CFG_DATA sizeof(struct virtio_pci_cap)

/* --- The common configuration --- */

/* The one width by which the field at @reg is accessed (4.1.3.1); 0: no field begins there. */
static unsigned common_width(uint64_t reg)
{
	switch (reg) {
	case VIRTIO_PCI_COMMON_DFSELECT:
	case VIRTIO_PCI_COMMON_DF:
	case VIRTIO_PCI_COMMON_GFSELECT:
	case VIRTIO_PCI_COMMON_GF:
	case VIRTIO_PCI_COMMON_Q_DESCLO:
	case VIRTIO_PCI_COMMON_Q_DESCHI:
	case VIRTIO_PCI_COMMON_Q_AVAILLO:
	case VIRTIO_PCI_COMMON_Q_AVAILHI:
	case VIRTIO_PCI_COMMON_Q_USEDLO:
	case VIRTIO_PCI_COMMON_Q_USEDHI:
		return 4;
	case VIRTIO_PCI_COMMON_MSIX:
	case VIRTIO_PCI_COMMON_NUMQ:
	case VIRTIO_PCI_COMMON_Q_SELECT:
	case VIRTIO_PCI_COMMON_Q_SIZE:
	case VIRTIO_PCI_COMMON_Q_MSIX:
	case VIRTIO_PCI_COMMON_Q_ENABLE:
	case VIRTIO_PCI_COMMON_Q_NOFF:
	case COMMON_QUEUE_NOTIFY_DATA:
	case COMMON_QUEUE_RESET:
		return 2;
	case VIRTIO_PCI_COMMON_STATUS:
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return 1;
	default:
		return 0;
	}
}

/* Which of the device's queue fields is at @reg. False: none. */
static bool queue_field(uint64_t reg, enum virtio_queue_field *field)
{
	static const uint8_t regs[] = {
		[VIRTIO_QUEUE_SIZE] = VIRTIO_PCI_COMMON_Q_SIZE,
		[VIRTIO_QUEUE_DESC_LOW] = VIRTIO_PCI_COMMON_Q_DESCLO,
		[VIRTIO_QUEUE_DESC_HIGH] = VIRTIO_PCI_COMMON_Q_DESCHI,
		[VIRTIO_QUEUE_DRIVER_LOW] = VIRTIO_PCI_COMMON_Q_AVAILLO,
		[VIRTIO_QUEUE_DRIVER_HIGH] = VIRTIO_PCI_COMMON_Q_AVAILHI,
		[VIRTIO_QUEUE_DEVICE_LOW] = VIRTIO_PCI_COMMON_Q_USEDLO,
		[VIRTIO_QUEUE_DEVICE_HIGH] = VIRTIO_PCI_COMMON_Q_USEDHI,
		[VIRTIO_QUEUE_ENABLE] = VIRTIO_PCI_COMMON_Q_ENABLE,
		[VIRTIO_QUEUE_RESET] = COMMON_QUEUE_RESET,
	};

	for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
		if (regs[i] == reg) {
			*field = (enum virtio_queue_field)i;
			return true;
		}
	}
	return false;
}

/* What this file keeps of a driver's settings, read together. */
struct selection {
	uint32_t device_features, driver_features;
	uint16_t queue, queue_vector, config_vector;
};

static struct selection selection(struct virtio_pci *p)
{
	struct selection s;

	pthread_mutex_lock(&p->lock);
	s = (struct selection){
		.device_features = p->device_features_select,
		.driver_features = p->driver_features_select,
		.queue = p->queue_select,
		.queue_vector = p->queue_select < p->events.nr ? p->queues[p->queue_select].vector
	                                                       : VIRTIO_MSI_NO_VECTOR,
		.config_vector = p->config_vector,
	};
	pthread_mutex_unlock(&p->lock);
	return s;
}

static uint32_t common_read(struct virtio_pci *p, uint64_t reg)
{
	struct selection s = selection(p);
	enum virtio_queue_field field;

	if (queue_field(reg, &field))
		return virtio_queue_get(p->dev, s.queue, field);
	switch (reg) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		return s.device_features;
	case VIRTIO_PCI_COMMON_DF:
		return virtio_features_window(p->dev, s.device_features);
	case VIRTIO_PCI_COMMON_GFSELECT:
		return s.driver_features;
	case VIRTIO_PCI_COMMON_GF:
		return virtio_driver_features_window(p->dev, s.driver_features);
	case VIRTIO_PCI_COMMON_MSIX:
		return s.config_vector;
	case VIRTIO_PCI_COMMON_NUMQ:
		return p->events.nr;
	case VIRTIO_PCI_COMMON_STATUS:
		return virtio_status(p->dev);
	case VIRTIO_PCI_COMMON_CFGGENERATION:
		return (uint8_t)virtio_config_generation(p->dev);
	case VIRTIO_PCI_COMMON_Q_SELECT:
		return s.queue;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		return s.queue_vector;
	case VIRTIO_PCI_COMMON_Q_NOFF:
		return s.queue < p->events.nr ? s.queue : 0;
	default: /* queue_notify_data: not a feature here */
		return 0;
	}
}

/* Selectors and vectors: what is kept here. */
static void selection_write(struct virtio_pci *p, uint64_t reg, uint32_t value)
{
	/* A mapping that is impossible reads back as NO_VECTOR (4.1.5.1.2.1). */
	uint16_t vector = value < p->msix.nr ? (uint16_t)value : VIRTIO_MSI_NO_VECTOR;

	pthread_mutex_lock(&p->lock);
	switch (reg) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		p->device_features_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		p->driver_features_select = value;
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		p->config_vector = vector;
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		p->queue_select = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		if (p->queue_select >= p->events.nr)
			break;
		p->queues[p->queue_select].vector = vector;
		virtio_pci_route(p, p->queue_select);
		break;
	default: /* read-only */
		break;
	}
	pthread_mutex_unlock(&p->lock);
}

static void common_write(struct virtio_pci *p, uint64_t reg, uint32_t value)
{
	struct selection s = selection(p);
	enum virtio_queue_field field;

	if (queue_field(reg, &field)) {
		/* A driver must not write 0 here (4.1.4.3.2); in device.h it means to stop. */
		if (field != VIRTIO_QUEUE_ENABLE || value)
			virtio_queue_set(p->dev, s.queue, field, value);
	} else if (reg == VIRTIO_PCI_COMMON_GF) {
		virtio_set_driver_features(p->dev, s.driver_features, value);
	} else if (reg == VIRTIO_PCI_COMMON_STATUS) {
		virtio_set_status(p->dev, (uint8_t)value);
	} else {
		selection_write(p, reg, value);
	}
}

/* --- BAR 0 --- */

static uint64_t regs_read(void *opaque, uint64_t offset, unsigned size)
{
	struct virtio_pci *p = opaque;
	uint64_t reg = offset % VIRTIO_PCI_REGION_SIZE;
	uint8_t buf[8] = {0};

	switch (offset - reg) {
	case VIRTIO_PCI_COMMON:
		return common_width(reg) == size ? common_read(p, reg) : UINT64_MAX;
	case VIRTIO_PCI_ISR_STATUS:
		return reg == 0 ? virtio_pci_isr_read(p) : 0;
	case VIRTIO_PCI_DEVICE:
		virtio_config_read(p->dev, (uint32_t)reg, buf, size);
		return load_le64(buf);
	default:
		return 0;
	}
}

static void regs_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct virtio_pci *p = opaque;
	uint64_t reg = offset % VIRTIO_PCI_REGION_SIZE;
	uint8_t buf[8];

	switch (offset - reg) {
	case VIRTIO_PCI_COMMON:
		if (common_width(reg) == size)
			common_write(p, reg, (uint32_t)value);
		break;
	case VIRTIO_PCI_DEVICE:
		store_le64(buf, value);
		virtio_config_write(p->dev, (uint32_t)reg, buf, size);
		break;
	case VIRTIO_PCI_NOTIFY:
		if (reg % VIRTIO_PCI_NOTIFY_STEP == 0)
			virtio_events_kick(&p->events, (unsigned)reg / VIRTIO_PCI_NOTIFY_STEP);
		break;
	default:
		break;
	}
}

static const struct bus_ops regs_ops = {.read = regs_read, .write = regs_write};

/* --- The config space. host->lock is held. --- */

/* Where the window of the configuration access capability leads (4.1.4.9). */
static void window(const struct virtio_pci *p, unsigned *bar, uint32_t *offset, uint32_t *length)
{
	const uint8_t *cap = &p->pci.config[p->cfg_cap];

	*bar = cap[VIRTIO_PCI_CAP_BAR];
	*offset = load_le32(&cap[VIRTIO_PCI_CAP_OFFSET]);
	*length = load_le32(&cap[VIRTIO_PCI_CAP_LENGTH]);
}

static bool in_window(const struct virtio_pci *p, unsigned reg)
{
	return reg >= p->cfg_cap + CFG_DATA && reg < p->cfg_cap + CFG_DATA + 4;
}

static bool config_read(struct pci_device *pci, unsigned reg, unsigned size, uint32_t *value)
{
	struct virtio_pci *p = container_of(pci, struct virtio_pci, pci);
	uint32_t offset, length, data;
	unsigned bar;

	(void)size;
	(void)value;
	if (in_window(p, reg)) {
		window(p, &bar, &offset, &length);
		if (pci_bar_read(pci, bar, offset, length, &data))
			for (unsigned i = 0; i < length; i++)
				pci->config[p->cfg_cap + CFG_DATA + i] = (uint8_t)(data >> 8 * i);
	}
	return false; /* the config space answers, with what is now in it */
}

static void config_write(struct pci_device *pci, unsigned reg, unsigned size, uint32_t value)
{
	struct virtio_pci *p = container_of(pci, struct virtio_pci, pci);
	uint32_t offset, length;
	unsigned bar;

	(void)size;
	(void)value;
	if (in_window(p, reg)) {
		uint32_t data = load_le32(&pci->config[p->cfg_cap + CFG_DATA]);

		window(p, &bar, &offset, &length);
		pci_bar_write(pci, bar, offset, length, data);
		return;
	}
	/* Perhaps MSI-X came or went; it costs little to look. */
	virtio_pci_routes_update(p);
}

static void power_on(struct pci_device *pci)
{
	virtio_set_status(container_of(pci, struct virtio_pci, pci)->dev, 0);
}

static const struct pci_device_ops pci_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.reset = power_on,
};

/* --- Life --- */

static uint32_t class_code(uint16_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* mass storage, other */
	case VIRTIO_ID_CONSOLE:
	case VIRTIO_ID_VSOCK:
		return 0x078000; /* simple communication, other */
	default:
		return 0xff0000; /* fits no class */
	}
}

/* A capability that says where in BAR 0 a structure is; @extra bytes behind it. */
static int add_capability(struct virtio_pci *p, uint8_t type, unsigned extra, uint32_t offset,
                          uint32_t length, uint8_t *at)
{
	unsigned len = sizeof(struct virtio_pci_cap) + extra;
	int rc = pci_add_capability(&p->pci, PCI_CAP_ID_VNDR, len, at);

	if (rc < 0)
		return rc;
	pci_config_define(&p->pci, *at + VIRTIO_PCI_CAP_LEN, 1, len, 0);
	pci_config_define(&p->pci, *at + VIRTIO_PCI_CAP_CFG_TYPE, 1, type, 0);
	pci_config_define(&p->pci, *at + VIRTIO_PCI_CAP_BAR, 1, VIRTIO_PCI_BAR_REGS, 0);
	pci_config_define(&p->pci, *at + VIRTIO_PCI_CAP_OFFSET, 4, offset, 0);
	pci_config_define(&p->pci, *at + VIRTIO_PCI_CAP_LENGTH, 4, length, 0);
	return 0;
}

static int add_capabilities(struct virtio_pci *p)
{
	uint8_t at;
	int rc = add_capability(p, VIRTIO_PCI_CAP_COMMON_CFG, 0, VIRTIO_PCI_COMMON, COMMON_LENGTH,
	                        &at);

	if (rc == 0)
		rc = add_capability(p, VIRTIO_PCI_CAP_ISR_CFG, 0, VIRTIO_PCI_ISR_STATUS, 1, &at);
	if (rc == 0 && p->dev->config_size)
		rc = add_capability(p, VIRTIO_PCI_CAP_DEVICE_CFG, 0, VIRTIO_PCI_DEVICE,
		                    p->dev->config_size, &at);
	if (rc == 0)
		rc = add_capability(p, VIRTIO_PCI_CAP_NOTIFY_CFG, 4, VIRTIO_PCI_NOTIFY,
		                    p->dev->nr_queues * VIRTIO_PCI_NOTIFY_STEP, &at);
	if (rc < 0)
		return rc;
	pci_config_define(&p->pci, at + (unsigned)sizeof(struct virtio_pci_cap), 4,
	                  VIRTIO_PCI_NOTIFY_STEP, 0);
	rc = add_capability(p, VIRTIO_PCI_CAP_PCI_CFG, 4, 0, 0, &p->cfg_cap);
	if (rc < 0)
		return rc;
	pci_config_define(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_BAR, 1, 0, UINT32_MAX);
	pci_config_define(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_OFFSET, 4, 0, UINT32_MAX);
	pci_config_define(&p->pci, p->cfg_cap + VIRTIO_PCI_CAP_LENGTH, 4, 0, UINT32_MAX);
	pci_config_define(&p->pci, p->cfg_cap + (unsigned)CFG_DATA, 4, 0, UINT32_MAX);
	return 0;
}

static int describe(struct virtio_pci *p)
{
	const struct pci_ids ids = {
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + p->dev->type),
		.subsystem_vendor = VENDOR,
		.subsystem = (uint16_t)(SUBSYSTEM + p->dev->type),
		.class_code = class_code(p->dev->type),
		.revision = REVISION,
		.pin = 1,
	};
	int rc;

	pci_device_init(&p->pci, p->dev->name, &ids, &pci_ops);
	rc = pci_bar_init(&p->pci, VIRTIO_PCI_BAR_REGS, PCI_BAR_MEM32, BAR_SIZE, &regs_ops, p);
	if (rc == 0)
		rc = add_capabilities(p);
	if (rc == 0)
		rc = msix_init(&p->msix, &p->pci, VIRTIO_PCI_BAR_MSIX, p->dev->nr_queues + 1,
		               p->host->cfg.irq);
	return rc;
}

int virtio_pci_init(struct virtio_pci *p, struct virtio_device *dev, struct pci_host *host,
                    const struct virtio_pci_config *cfg, struct err *err)
{
	int rc;

	memset(p, 0, sizeof(*p));
	p->dev = dev;
	p->host = host;
	p->cfg = *cfg;
	p->config_vector = VIRTIO_MSI_NO_VECTOR;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		p->queues[i].vector = VIRTIO_MSI_NO_VECTOR;
	pthread_mutex_init(&p->lock, NULL);
	rc = describe(p);
	if (rc == 0)
		rc = virtio_events_init(&p->events, dev, cfg->loop, cfg->inject_ioctl,
		                        virtio_pci_called);
	if (rc < 0)
		err_errno(err, rc, "%s: virtio-pci", dev->name);
	else
		rc = pci_host_add(host, cfg->slot, &p->pci, err);
	if (rc < 0) {
		virtio_pci_destroy(p);
		return rc;
	}
	dev->transport_ops = &virtio_pci_transport_ops;
	dev->transport = p;
	return 0;
}

void virtio_pci_destroy(struct virtio_pci *p)
{
	if (!p->dev)
		return;
	if (p->dev->transport == p) {
		virtio_set_status(p->dev, 0);
		p->dev->transport = NULL;
		p->dev->transport_ops = NULL;
	}
	virtio_events_destroy(&p->events);
	msix_destroy(&p->msix);
	pthread_mutex_destroy(&p->lock);
	p->dev = NULL;
}
