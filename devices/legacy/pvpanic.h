/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pvpanic: one port through which the guest's kernel says that it panicked (QEMU's
 * docs/specs/pvpanic, ISA interface; ACPI HID QEMU0001, Linux's driver pvpanic).
 *
 * It has no state of its own: there is nothing to lock, reset or destroy.
 */
#ifndef TRIVM_DEVICES_LEGACY_PVPANIC_H
#define TRIVM_DEVICES_LEGACY_PVPANIC_H

#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/guest_event.h"

struct pvpanic {
	struct bus_region region;
	struct guest_event_sink sink;
};

void pvpanic_init(struct pvpanic *p, const struct guest_event_sink *sink);

/* 0 or bus_add()'s negative errno. Main thread, before the guest runs. */
int pvpanic_add(struct pvpanic *p, struct bus *pio, uint16_t port);

#endif
