/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * testdev: the smallest PCI device that uses everything a PCI device here can use. It is what the
 * bare-metal guests exercise (--test-device), and what to read first before writing a device.
 *
 * 1234:7e57, class ff0000, INTA.
 *
 *	BAR 0	memory, 32 bits, 4 KiB	the registers
 *	BAR 1	I/O, 64 ports		the same registers at the same offsets
 *	BAR 2/3	memory, 64 bits, prefetchable, 4 KiB or more: 4 KiB of bytes to read and write, any
 *		width and alignment; a larger one shows them again and again
 *	BAR 4	MSI-X, 4 vectors
 *
 * Registers: 32 bits, little endian, to be accessed by aligned dwords (others read ones, are
 * dropped).
 *
 *	0x00 ID		   r   "tvmT"
 *	0x04 SCRATCH	   rw  holds what was written; 0 after reset
 *	0x08 NOTIFY	   w   MSI-X vector n, sent by the VMM (msix_notify)
 *	0x0c SIGNAL	   w   MSI-X vector n, through the vector's eventfd (irqfd)
 *	0x10 INTX	   rw  bit 0: pull the interrupt pin
 *	0x14 DOORBELL	   w   counted. Any width at this offset. Normally by an ioeventfd
 *	0x18 DOORBELLS	   r   how many were rung without an exit to the VMM (w: both counts to 0)
 *	0x1c DOORBELL_EXITS r  how many came to the VMM as an exit
 */
#ifndef TRIVM_DEVICES_PCI_TESTDEV_H
#define TRIVM_DEVICES_PCI_TESTDEV_H

#include <pthread.h>
#include <stdint.h>

#include "devices/pci/msix.h"
#include "devices/pci/pci.h"
#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/irq.h"

#define TESTDEV_VENDOR  0x1234
#define TESTDEV_DEVICE  0x7e57
#define TESTDEV_CLASS   0xff0000
#define TESTDEV_VECTORS 4
#define TESTDEV_RAM     4096

#define TESTDEV_ID_VALUE 0x546d7674 /* "tvmT" */

enum testdev_reg {
	TESTDEV_ID = 0x00,
	TESTDEV_SCRATCH = 0x04,
	TESTDEV_NOTIFY = 0x08,
	TESTDEV_SIGNAL = 0x0c,
	TESTDEV_INTX = 0x10,
	TESTDEV_DOORBELL = 0x14,
	TESTDEV_DOORBELLS = 0x18,
	TESTDEV_DOORBELL_EXITS = 0x1c,
};

struct testdev_config {
	struct bus *pio, *mmio; /* for the doorbell's ioeventfds */
	struct irq_controller *irq;
	uint64_t prefetch_size; /* of BAR 2: a power of two, at least 4096. 0: 4096 */
};

struct testdev {
	struct pci_device pci; /* to be given to pci_host_add() */
	struct msix msix;
	struct bus *pio, *mmio;
	int doorbell_fd;
	int signal_fd[TESTDEV_VECTORS];
	struct msix_irqfd signal[TESTDEV_VECTORS];

	pthread_mutex_t lock; /* the fields below */
	uint32_t scratch;
	uint32_t intx;
	uint32_t doorbells, doorbell_exits;
	uint8_t ram[TESTDEV_RAM];
};

/*
 * Make it, to be added to a host. 0 or a negative errno, and then nothing is left behind. Without
 * ioeventfds (-EOPNOTSUPP from the bus) every doorbell is an exit. Main thread.
 */
int testdev_init(struct testdev *dev, const struct testdev_config *cfg, struct err *err);

/* vCPUs stopped; before the host and the buses go. Twice is harmless. */
void testdev_destroy(struct testdev *dev);

#endif
