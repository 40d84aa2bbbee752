/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * msix: message-signalled interrupts of one PCI function (PCI 3.0, 6.8.2), over two roads.
 *
 *   - msix_notify(): the VMM delivers the message itself. For interrupts that it causes itself.
 *   - an irqfd: whoever writes the eventfd (a datapath thread, the host kernel, another process)
 *     interrupts the guest without the VMM taking part.
 *
 * Both obey the guest's masks. A vector is *open* while MSI-X is enabled, neither the function nor
 * the vector is masked, and the function is a bus master. What happens while it is not open is
 * *pending*, shows in the pending bit array, and is delivered as one message when the vector opens.
 *
 *	vector	 msix_notify()		attached eventfds
 *	open	 message sent		KVM has them (irqfd); their events become messages in the
 *					kernel
 *	closed	 pending bit set	nobody reads them; a count that is not 0 is the pending bit
 */
#ifndef TRIVM_DEVICES_PCI_MSIX_H
#define TRIVM_DEVICES_PCI_MSIX_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/pci/pci.h"
#include "vmm/irq.h"

#define MSIX_VECTORS_MAX 2048

/*
 * An eventfd that is attached to a vector. Several may share one vector, but KVM takes one eventfd
 * only once. Kept by the caller until msix_irqfd_detach(). Zero is "not attached".
 */
struct msix_irqfd {
	struct msix *msix; /* NULL: not attached */
	int fd;
	unsigned vector;
	bool armed; /* KVM has it */
	struct msix_irqfd *next;
};

struct msix_vector {
	struct msi_message msg; /* as the guest wrote it */
	bool masked;
	bool pending; /* by msix_notify() */

	struct msix_irqfd *irqfds;
	bool has_gsi;   /* from the first attach on */
	bool has_route; /* routed is what KVM delivers for gsi */
	uint32_t gsi;
	struct msi_message routed;
};

/* Embedded in the device. Configure while the machine is built; then any thread. */
struct msix {
	struct pci_device *dev;
	struct irq_controller *ctl;
	uint8_t cap;  /* offset of the capability */
	unsigned nr;  /* vectors; a constant */
	uint64_t pba; /* offset of the pending bit array in the BAR; the table is at 0 */

	pthread_mutex_t lock; /* the fields below, all of the vectors, and the attached irqfds */
	bool enabled, function_masked, bus_master;
	struct msix_vector *vectors;
};

/*
 * Add a capability with @nr vectors to @dev, and BAR @bar (32-bit memory) that holds only table and
 * pending bits. 0, -EINVAL, -ENOSPC, -ENOMEM. Main thread, before pci_host_add().
 */
int msix_init(struct msix *msix, struct pci_device *dev, unsigned bar, unsigned nr,
              struct irq_controller *ctl);

/* Detaches all, gives routes back. Nobody uses it any more. Twice is harmless. */
void msix_destroy(struct msix *msix);

/* Is this what the driver chose? If not, the device uses INTx. Any thread. */
bool msix_enabled(struct msix *msix);

/* An interrupt on @vector (out of range: nothing): sent if it is open, else pending. Any thread. */
void msix_notify(struct msix *msix, unsigned vector);

/*
 * From now on an event on @fd (an eventfd, non-blocking, kept by the caller) is an interrupt on
 * @vector. Events that wait in it already count. 0; -EINVAL: no such vector; -EBUSY: @q is
 * attached; or what the interrupt controller said (-ENOSPC: no route left): then the caller can
 * read @fd itself and use msix_notify(). Any thread.
 */
int msix_irqfd_attach(struct msix *msix, struct msix_irqfd *q, unsigned vector, int fd);

/*
 * After it no event on the fd interrupts any more. Events that wait while the vector is closed stay
 * in the fd, for its next user. Not attached: nothing. Any thread.
 */
void msix_irqfd_detach(struct msix_irqfd *q);

/* The vector's pending bit, as the guest reads it. Any thread. */
bool msix_pending(struct msix *msix, unsigned vector);

/* What waited was taken care of in another way (device reset): forget it, in the fds too. Any
 * thread. */
void msix_clear_pending(struct msix *msix, unsigned vector);

/* For pci: the function's settings changed; power-on state. host->lock is held. */
void msix_configure(struct msix *msix, bool enabled, bool function_masked, bool bus_master);
void msix_reset(struct msix *msix);

#endif
