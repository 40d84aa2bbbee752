/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * serial: a 16550A UART (National Semiconductor PC16550D data sheet) as a PC has it: eight ports
 * and an edge-triggered interrupt that reaches the interrupt controller only while MCR's OUT2 is
 * set.
 *
 * What differs from the chip:
 *   - Baud rate, word length, parity and stop bits are stored and mean nothing: a byte is a byte.
 *   - Sending takes no time. THRE is clear only while the host does not take more.
 *   - The host obeys RTS: while the guest holds RTS low (as after reset), and while the receiver is
 *     full, input waits in the host. So nothing is lost that was typed or piped in before the
 * guest's driver opened the port (which clears the FIFOs), and `stty crtscts` in the guest is flow
 *     control. A guest that polls for input has to raise RTS, too.
 *   - The character timeout is over at once: with FIFOs on, less than the trigger level is reported
 *     as a timeout (IIR 0xcc), without waiting for four character times.
 */
#ifndef TRIVM_DEVICES_LEGACY_SERIAL_H
#define TRIVM_DEVICES_LEGACY_SERIAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/bus.h"
#include "vmm/chardev.h"
#include "vmm/irq.h"

#define SERIAL_PORTS     8
#define SERIAL_FIFO_SIZE 16

struct serial_fifo {
	uint16_t entry[SERIAL_FIFO_SIZE]; /* a byte; bit 8: it is a received break */
	unsigned head, count;
};

struct serial {
	char name[16];
	struct bus_region region;
	struct irq_line irq;
	struct chardev *chr; /* NULL: output is dropped, there is no input */

	/* Taken before the chardev's lock and the interrupt controller's. */
	pthread_mutex_t lock; /* the fields below */
	uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
	uint8_t msr;        /* modem lines and their "changed" bits */
	bool overrun;       /* LSR OE */
	bool thre_event;    /* the transmitter became empty and the guest was not told yet */
	bool asserted;      /* what irq was last set to */
	bool input_refused; /* there was no room left: the chardev waits to be told of some */
	struct serial_fifo rx, tx; /* with FIFOs off only one entry each: RBR and THR */
};

/*
 * @chr (NULL: none) stays the caller's, outlives @s, and is attached to it. Main thread, before the
 * guest runs.
 */
void serial_init(struct serial *s, struct irq_line irq, struct chardev *chr);

/* 0 or bus_add()'s negative errno. Main thread, before the guest runs. */
int serial_add(struct serial *s, struct bus *pio, uint16_t port);

/* The master reset pin. Divisor and scratch register keep their values. Any thread. */
void serial_reset(struct serial *s);

/* The main loop does not run @s's chardev any more, the vCPUs are stopped. Main thread. */
void serial_destroy(struct serial *s);

#endif
