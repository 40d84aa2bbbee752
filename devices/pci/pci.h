/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pci: a PCI bus with a host bridge, and what a device needs to be on it.
 *
 * A device embeds a struct pci_device and describes itself once, before the guest runs:
 *
 *	pci_device_init(&d->pci, "name", &ids, &ops);
 *	pci_bar_init(&d->pci, 0, PCI_BAR_MEM32, 4096, &regs_ops, d);
 *	msix_init(&d->msix, &d->pci, 4, nr_vectors, irq);	(optional)
 *	pci_add_capability(...); pci_config_define(...);	(optional)
 *	pci_host_add(host, slot, &d->pci, err);
 *
 * From then on the config space answers the guest by itself. Every bit of it is one of: read-only
 * (the default), writable, or cleared by writing a one; nothing else can be changed from outside. A
 * BAR is a struct bus_region: it answers where the guest has put it, while it is decoded.
 *
 * Locks, in the order in which they are taken: host->lock (config accesses, reset), a device's
 * own lock, msix->lock, then pci_intx's, the bus's and the interrupt controller's. So a BAR's
 * bus_ops, which run without host->lock and side by side, may use MSI-X and INTx, and must not touch
 * the config space. The ops below run with host->lock held; they may take the device's lock.
 */
#ifndef TRIVM_DEVICES_PCI_PCI_H
#define TRIVM_DEVICES_PCI_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/pci/intx.h"
#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/guest_event.h"
#include "vmm/irq.h"

#define PCI_SLOTS       32  /* devices on a bus; each has one function here */
#define PCI_CONFIG_SIZE 256 /* the extended space (256..4095) has no capability and reads 0 */
#define PCI_BARS        6

struct msix;
struct pci_host;
struct pci_device;

struct pci_ids {
	uint16_t vendor, device;
	uint16_t subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: base class, subclass, programming interface */
	uint8_t revision;
	uint8_t pin; /* 0: no INTx, 1: INTA .. 4: INTD */
};

/* Each may be NULL. host->lock is held in all of them. */
struct pci_device_ops {
	/*
	 * For a register that is a window to something else (virtio's PCI cfg access capability).
	 * True: *@value is the answer; false: the config space answers. @size is 1, 2 or 4, within
	 * one dword.
	 */
	bool (*config_read)(struct pci_device *dev, unsigned reg, unsigned size, uint32_t *value);
	/* After the config space has taken what it takes of @value. */
	void (*config_write)(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value);
	/* BAR @bar now answers at @base (BUS_UNMAPPED: nowhere). Its ioeventfds moved already. */
	void (*bar_moved)(struct pci_device *dev, unsigned bar, uint64_t base);
	/* Back to the state after power-on; the config space, MSI-X and INTx follow by themselves.
	 */
	void (*reset)(struct pci_device *dev);
};

/* The values are the low bits of the register (PCI 3.0, 6.2.5.1). */
enum pci_bar_type {
	PCI_BAR_IO = PCI_BASE_ADDRESS_SPACE_IO,
	PCI_BAR_MEM32 = PCI_BASE_ADDRESS_MEM_TYPE_32,
	PCI_BAR_MEM32_PREFETCH = PCI_BAR_MEM32 | PCI_BASE_ADDRESS_MEM_PREFETCH,
	PCI_BAR_MEM64 = PCI_BASE_ADDRESS_MEM_TYPE_64, /* takes this BAR and the next */
	PCI_BAR_MEM64_PREFETCH = PCI_BAR_MEM64 | PCI_BASE_ADDRESS_MEM_PREFETCH,
};

struct pci_bar {
	enum pci_bar_type type;
	bool upper_half;          /* bits 32..63 of the BAR before it */
	struct bus_region region; /* size 0: no such BAR */
};

struct pci_device {
	const char *name;
	const struct pci_device_ops *ops; /* may be NULL */
	struct pci_host *host;            /* NULL until pci_host_add() */
	unsigned slot;
	uint8_t last_cap, next_cap; /* where the capability list ends; where there is room */

	struct pci_bar bars[PCI_BARS];
	struct msix *msix; /* NULL: none */
	struct pci_intx_source intx;
	_Atomic bool bus_master;

	/* Under host->lock once the guest runs. */
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t after_reset[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE]; /* bits that take what the guest writes */
	uint8_t w1c[PCI_CONFIG_SIZE];      /* bits that the guest clears by writing a one */
};

/* --- Describing a device: before pci_host_add(); -EBUSY after it where there is a result. --- */

/* @name (for logs), @ids and @ops: name and ops stay the caller's. The rest of *@dev is set here.
 */
void pci_device_init(struct pci_device *dev, const char *name, const struct pci_ids *ids,
                     const struct pci_device_ops *ops);

/*
 * A register of @size 1, 2 or 4 bytes: its value after reset, and which of its bits the guest may
 * write. pci_config_define_w1c(): which bits the guest clears by writing a one.
 */
void pci_config_define(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value,
                       uint32_t writable);
void pci_config_define_w1c(struct pci_device *dev, unsigned reg, unsigned size, uint32_t mask);

/*
 * Append a capability of @len bytes (header included) to the list; *@offset gets its place, at a
 * multiple of 4. Its bytes after the header are 0 and read-only until defined. -ENOSPC: no room.
 */
int pci_add_capability(struct pci_device *dev, uint8_t id, unsigned len, uint8_t *offset);

/*
 * BAR @n: @size is a power of two, at least 16 for memory, 4..256 for I/O; @ops and @opaque as in
 * struct bus_region. -EINVAL: not a possible BAR, or taken.
 */
int pci_bar_init(struct pci_device *dev, unsigned n, enum pci_bar_type type, uint64_t size,
                 const struct bus_ops *ops, void *opaque);

/* --- While the guest runs. --- */

/*
 * May the device read and write guest memory, and send messages? A device that does so on its own
 * account has to ask; MSI-X asks by itself. Any thread.
 */
static inline bool pci_bus_master(const struct pci_device *dev)
{
	return atomic_load_explicit(&dev->bus_master, memory_order_acquire);
}

/*
 * Raise or lower the device's INTx. What the guest sees of it depends on INTx disable and MSI-X.
 * Any thread.
 */
static inline void pci_set_intx(struct pci_device *dev, bool level)
{
	pci_intx_set(&dev->intx, level);
}

/*
 * Access BAR @bar from inside, wherever it is and whether it is decoded or not (virtio's PCI cfg
 * access capability). False and nothing done: no such BAR, or not @size 1, 2 or 4 at a multiple of
 * it inside. Any thread; takes what the BAR's bus_ops take.
 */
bool pci_bar_read(struct pci_device *dev, unsigned bar, uint64_t offset, unsigned size,
                  uint32_t *value);
bool pci_bar_write(struct pci_device *dev, unsigned bar, uint64_t offset, unsigned size,
                   uint32_t value);

/*
 * Power-on state: ops->reset, config space (BARs 0, nothing decoded), MSI-X (all masked, nothing
 * pending), INTx low. Any thread without host->lock.
 */
void pci_device_reset(struct pci_device *dev);

/* --- The host bridge. --- */

struct pci_window {
	uint64_t base, size; /* size 0: none */
};

struct pci_host_config {
	struct bus *pio, *mmio;
	struct irq_controller *irq;
	uint32_t intx_gsi[PCI_INTX_LINES];
	uint64_t ecam; /* 1 MiB of memory space (bus 0), or BUS_UNMAPPED */
	/*
	 * What the bridge passes on to the bus: the _CRS of the ACPI tables. A BAR answers only
	 * while all of it is inside one of them, so that no setting of it reaches RAM or another
	 * device.
	 */
	struct pci_window io, mem32, mem64;
	const struct guest_event_sink
		*events; /* port 0xCF9 raises GUEST_RESET; NULL: it does not */
};

struct pci_host {
	struct pci_host_config cfg;
	struct pci_intx intx;
	struct pci_device bridge; /* 00:00.0 */
	struct bus_region ecam, conf1;

	pthread_mutex_t
		lock; /* every config access, the fields below, and each device's config space */
	struct pci_device *slots[PCI_SLOTS];
	uint32_t conf1_addr;   /* port 0xCF8 */
	uint8_t reset_control; /* port 0xCF9 */
};

/* Add the bridge and its registers to the buses. 0 or a negative errno. Main thread. */
int pci_host_init(struct pci_host *host, const struct pci_host_config *cfg, struct err *err);

/* The devices go first; the buses and @host are not used any more. Main thread, vCPUs stopped. */
void pci_host_destroy(struct pci_host *host);

/*
 * Put @dev (kept by the caller, for as long as the host) in @slot 1..31, or in the next free one
 * for -1. -EEXIST, -ENOSPC, -EINVAL. Main thread, before bus_freeze().
 */
int pci_host_add(struct pci_host *host, int slot, struct pci_device *dev, struct err *err);

/*
 * Do a firmware's work: give every BAR an address in the windows and write the interrupt line
 * registers. 64-bit BARs go below 4 GiB while there is room: a small guest may have mapped nothing
 * above. Decoding stays off, as after reset, until a driver wants its device: a kernel that finds
 * addresses keeps them whether they are decoded or not (Linux: pcibios_resource_survey()), one that
 * prefers its own can move them, and a device without a driver answers nowhere.
 * -ENOSPC: they do not fit. Main thread, before the guest runs, and after pci_host_reset().
 */
int pci_host_assign(struct pci_host *host, struct err *err);

/* pci_device_reset() for all, and the bridge's own registers. vCPUs stopped. */
void pci_host_reset(struct pci_host *host);

#endif
