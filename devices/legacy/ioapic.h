/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ioapic: the I/O APIC (82093AA data sheet; version 0x20 with the EOI register) in user space, for
 * KVM's split irqchip, where only the local APICs are in the kernel. It turns lines into messages.
 *
 * What differs from the chip: up to 240 pins, so that IOREGSEL has nine bits instead of eight;
 * redirection entries carry bits 8-14 of the destination's APIC id in bits 49-55
 * (KVM_FEATURE_MSI_EXT_DEST_ID), and put them into bits 5-11 of the message's address; there is no
 * 8259 behind a pin, so ExtINT delivers nothing. Polarity is stored only: a line is asserted or
 * not.
 */
#ifndef TRIVM_DEVICES_LEGACY_IOAPIC_H
#define TRIVM_DEVICES_LEGACY_IOAPIC_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/irq.h"

#define IOAPIC_PINS_MAX 240
#define IOAPIC_SIZE     0x1000

struct ioapic_pin {
	uint64_t entry; /* redirection entry */
	bool asserted;  /* the line now */
	bool routed;    /* what irq_route_set() was last told, and its message */
	struct msi_message route;
};

struct ioapic {
	struct bus_region region;
	struct irq_controller *msi;
	unsigned nr_pins;

	/* Held while calling msi, never while calling a device. */
	pthread_mutex_t lock; /* the fields below */
	uint32_t id;          /* bits 24-27 */
	uint32_t select;
	struct ioapic_pin pins[IOAPIC_PINS_MAX];
};

/*
 * @pins (at most IOAPIC_PINS_MAX) are GSIs 0 .. pins - 1, whose routes in @msi belong to the I/O
 * APIC. Main thread.
 */
void ioapic_init(struct ioapic *a, unsigned pins, struct irq_controller *msi);

/* 0 or bus_add()'s negative errno. Main thread, before the guest runs. */
int ioapic_add(struct ioapic *a, struct bus *mmio, uint64_t base);

/* All pins masked. Lines stay as the devices hold them. Any thread. */
void ioapic_reset(struct ioapic *a);
void ioapic_destroy(struct ioapic *a);

/* A device's line changes or is set once more. Unknown pins are ignored. Any thread. */
void ioapic_set_line(struct ioapic *a, uint32_t gsi, bool asserted);

/* A local APIC ended the level-triggered interrupt @vector (KVM_EXIT_IOAPIC_EOI). Any thread. */
void ioapic_eoi(struct ioapic *a, uint8_t vector);

#endif
