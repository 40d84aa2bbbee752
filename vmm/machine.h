/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine: the whole guest: the VM, its devices and what is loaded into it. Built from one ordered
 * table, taken apart in reverse order. A reboot is: destroy, build again.
 */
#ifndef TRIVM_VMM_MACHINE_H
#define TRIVM_VMM_MACHINE_H

#include <stdatomic.h>

#include "arch/x86/boot.h"
#include "arch/x86/platform.h"
#include "devices/console/console.h"
#include "devices/legacy/acpi_pm.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/ioapic.h"
#include "devices/legacy/pvpanic.h"
#include "devices/legacy/rtc.h"
#include "devices/legacy/serial.h"
#include "devices/pci/pci.h"
#include "devices/pci/testdev.h"
#include "devices/virtio/rng.h"
#include "devices/vsock/vsock.h"
#include "vmm/chardev.h"
#include "vmm/config.h"
#include "vmm/disk.h"
#include "vmm/err.h"
#include "vmm/event.h"
#include "vmm/loop.h"
#include "vmm/nic.h"
#include "vmm/virtio_slots.h"
#include "vmm/vm.h"

/* Why the guest is over. */
enum machine_end {
	MACHINE_RUNS,
	MACHINE_POWEROFF,
	MACHINE_RESET,
	MACHINE_CRASH,
	MACHINE_QUIT, /* the user or a signal; see session in run.c */
};

/* What outlives the machine when the guest reboots; all borrowed. */
struct machine_inputs {
	const struct config *config;
	const struct boot_image *kernel;
	const char *cmdline;
	const struct boot_initrd_part *initrd;
	unsigned nr_initrd;
	struct loop *loop;
	struct chardev *com1, *com2; /* com2 NULL: the guest has none */
	struct chardev *console;     /* likewise */
	struct event_sink events;    /* who watches; may be zero */
};

struct machine {
	struct machine_inputs in;
	unsigned built;  /* parts of the table that exist */
	_Atomic int end; /* enum machine_end: the first reason that came */

	struct vm vm;
	struct guest_event_sink sink;
	struct ioapic ioapic; /* split irqchip only */
	struct acpi_pm acpi_pm;
	struct pvpanic pvpanic;
	struct i8042 i8042;
	struct rtc rtc;
	struct serial com1, com2;
	struct pci_host pci;
	struct testdev testdev;
	struct virtio_slots virtio;
	unsigned nr_nics;
	struct nic *nics; /* config->nr_nics of them */
	unsigned nr_disks;
	struct disk *disks; /* config->nr_disks of them */
	struct rng rng;
	struct virtio_transport rng_transport;
	struct console console;
	struct virtio_transport console_transport;
	struct vsock vsock;
	struct virtio_transport vsock_transport;

	struct platform platform;
	struct boot_entry entry;
};

/*
 * Build everything up to VM_BUILT in @m, which the caller has zeroed. On an error nothing is left.
 * Main thread, as all here.
 */
int machine_build(struct machine *m, const struct machine_inputs *in, struct err *err);

/* Start the vCPUs; then the caller runs the loop, which stops when the guest is over. */
int machine_start(struct machine *m, struct err *err);

/* End it from outside: the first reason counts. Any thread. */
void machine_stop(struct machine *m, enum machine_end why);
enum machine_end machine_end(const struct machine *m);

/* Ask the guest for an orderly shutdown. Any thread. */
void machine_power_button(struct machine *m);

/* The registers of every vCPU on stderr; the guest is paused for that long. */
void machine_dump(struct machine *m);

/* The status byte the guest left. */
uint8_t machine_guest_status(struct machine *m);

/*
 * Reset every virtio device and wait at most @ms until all have let go of guest memory. Returns false
 * if one has not; then @m must be left as it is until the process ends. vCPUs are stopped.
 */
bool machine_settle(struct machine *m, unsigned ms, struct err *err);

void machine_destroy(struct machine *m); /* idempotent */

#endif
