/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * i8042: of the PC's keyboard controller only the wire to the processor's reset pin.
 *
 * There is no keyboard, mouse or A20 gate. The status port reads 0 ("ready for a command, nothing
 * to read"), so that code that waits for the controller before it pulses reset does not wait in
 * vain; every other command is taken and never answered. The ACPI tables say that there is no 8042
 * (FADT, IAPC_BOOT_ARCH); a kernel that probes for one all the same (acpi=off) gives up after its
 * own timeout of about a second.
 */
#ifndef TRIVM_DEVICES_LEGACY_I8042_H
#define TRIVM_DEVICES_LEGACY_I8042_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/guest_event.h"

struct i8042 {
	struct bus_region data, command;
	struct guest_event_sink sink;

	pthread_mutex_t lock;
	bool output_port_next; /* the next data byte is for the output port (command 0xD1) */
};

void i8042_init(struct i8042 *k, const struct guest_event_sink *sink);

/*
 * Data port at @base, command and status at @base + 4; what is between belongs to others. 0 or
 * bus_add()'s negative errno. Main thread, before the guest runs.
 */
int i8042_add(struct i8042 *k, struct bus *pio, uint16_t base);

/* The machine's reset. Any thread. */
void i8042_reset(struct i8042 *k);
void i8042_destroy(struct i8042 *k);

#endif
