/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * Interrupts. Four sources are or-ed to one line, as on the chip; IIR names the first of them in
 * order of priority. Received data, line errors and modem changes are conditions: they last until
 * the guest has read what they are about. "Transmitter empty" is an event: it happens when the
 * transmitter runs empty or its interrupt is enabled while it is empty, and is over when the guest
 * has read it from IIR or has written a byte.
 *
 * The I/O APIC sees edges, so an event that comes while the line is still up from an older one must
 * not go unnoticed. The guest has to work until IIR says "none", which is when the line falls; it
 * is the same on the chip. Writing THR ends an event and, since sending takes no time, makes a new
 * one: there the line falls and rises within one access.
 *
 * Output. A byte written to THR goes through the transmit FIFO to the chardev, which as a rule
 * takes it at once. If it takes nothing, bytes stay in the FIFO, THRE stays clear, and the
 * chardev's writable() goes on. Writing to a full FIFO loses the byte, which is what the chip does.
 *
 * Input. The chardev asks room() before it reads the host. Once room() was 0, or what it had has
 * been filled, the chardev has to be told of new room; that is done when the receiver is empty,
 * once for a FIFO full of bytes, not for each.
 */
#include "devices/legacy/serial.h"

#include <stdio.h>
#include <string.h>

#include "devices/legacy/bytes.h"
#include "vmm/util.h"

/* Ports. With LCR's DLAB set the first two are the divisor. */
enum {
	REG_DATA, /* read: RBR, write: THR; DLAB: DLL */
	REG_IER,  /* DLAB: DLM */
	REG_IIR,  /* write: FCR */
	REG_LCR,
	REG_MCR,
	REG_LSR,
	REG_MSR,
	REG_SCR,
};

#define IER_RX    BIT(0)
#define IER_THRE  BIT(1)
#define IER_LINE  BIT(2)
#define IER_MODEM BIT(3)
#define IER_MASK  0x0f

#define IIR_MODEM   0x00
#define IIR_NONE    0x01
#define IIR_THRE    0x02
#define IIR_RX      0x04
#define IIR_LINE    0x06
#define IIR_TIMEOUT 0x0c
#define IIR_FIFO    0xc0

#define FCR_ENABLE   BIT(0)
#define FCR_CLEAR_RX BIT(1)
#define FCR_CLEAR_TX BIT(2)
#define FCR_KEPT     0xc9 /* enable, DMA mode, trigger level; bits 4 and 5 do not exist */

#define LCR_BREAK BIT(6)
#define LCR_DLAB  BIT(7)

#define MCR_DTR  BIT(0)
#define MCR_RTS  BIT(1)
#define MCR_OUT1 BIT(2)
#define MCR_OUT2 BIT(3)
#define MCR_LOOP BIT(4)
#define MCR_MASK 0x1f

#define LSR_DR       BIT(0)
#define LSR_OE       BIT(1)
#define LSR_BI       BIT(4)
#define LSR_THRE     BIT(5)
#define LSR_TEMT     BIT(6)
#define LSR_RX_ERROR BIT(7) /* a byte with an error is somewhere in the FIFO */
#define LSR_ERRORS   (LSR_OE | LSR_BI)

/* The "changed" bits are the lines' bits shifted down by four. */
#define MSR_CTS     BIT(4)
#define MSR_DSR     BIT(5)
#define MSR_RI      BIT(6)
#define MSR_DCD     BIT(7)
#define MSR_LINES   0xf0
#define MSR_CHANGED 0x0f

#define RX_BREAK BIT(8) /* in struct serial_fifo's entries */

static void fifo_put(struct serial_fifo *f, uint16_t v)
{
	f->entry[(f->head + f->count++) % SERIAL_FIFO_SIZE] = v;
}

static uint16_t fifo_get(struct serial_fifo *f)
{
	uint16_t v = f->entry[f->head];

	f->head = (f->head + 1) % SERIAL_FIFO_SIZE;
	f->count--;
	return v;
}

static void fifo_clear(struct serial_fifo *f)
{
	f->head = f->count = 0;
}

static unsigned fifo_depth(const struct serial *s)
{
	return (s->fcr & FCR_ENABLE) ? SERIAL_FIFO_SIZE : 1;
}

static unsigned rx_trigger(const struct serial *s)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return (s->fcr & FCR_ENABLE) ? levels[s->fcr >> 6] : 1;
}

static uint8_t line_status(const struct serial *s)
{
	const struct serial_fifo *rx = &s->rx;
	unsigned lsr = 0;

	if (rx->count)
		lsr |= LSR_DR;
	if (s->overrun)
		lsr |= LSR_OE;
	if (rx->count && (rx->entry[rx->head] & RX_BREAK))
		lsr |= LSR_BI;
	if (!s->tx.count)
		lsr |= LSR_THRE | LSR_TEMT;
	for (unsigned i = 0; i < rx->count && (s->fcr & FCR_ENABLE); i++)
		if (rx->entry[(rx->head + i) % SERIAL_FIFO_SIZE] & RX_BREAK)
			lsr |= LSR_RX_ERROR;
	return (uint8_t)lsr;
}

/* The interrupt that IIR shows, without the FIFO bits. */
static uint8_t interrupt_id(const struct serial *s)
{
	if ((s->ier & IER_LINE) && (line_status(s) & LSR_ERRORS))
		return IIR_LINE;
	if ((s->ier & IER_RX) && s->rx.count)
		return s->rx.count >= rx_trigger(s) ? IIR_RX : IIR_TIMEOUT;
	if ((s->ier & IER_THRE) && s->thre_event)
		return IIR_THRE;
	if ((s->ier & IER_MODEM) && (s->msr & MSR_CHANGED))
		return IIR_MODEM;
	return IIR_NONE;
}

static void update_irq(struct serial *s)
{
	/* Loopback takes all modem outputs off their pins, OUT2 included. */
	bool connected = (s->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2;
	bool asserted = connected && interrupt_id(s) != IIR_NONE;

	if (asserted == s->asserted)
		return;
	s->asserted = asserted;
	irq_line_set(&s->irq, asserted);
}

static size_t rx_room(const struct serial *s)
{
	if ((s->mcr & (MCR_RTS | MCR_LOOP)) != MCR_RTS)
		return 0;
	return s->rx.count < fifo_depth(s) ? fifo_depth(s) - s->rx.count : 0;
}

static void rx_put(struct serial *s, uint16_t v)
{
	if (s->rx.count >= fifo_depth(s)) {
		s->overrun = true;
		if (s->fcr & FCR_ENABLE)
			return;
		fifo_get(&s->rx); /* without FIFOs the new byte takes the place of the old one */
	}
	fifo_put(&s->rx, v);
}

/* Ask the host for input again, if it was refused and there is no reason for that any more. */
static void rx_resume(struct serial *s)
{
	if (!s->input_refused || s->rx.count || !rx_room(s))
		return;
	s->input_refused = false;
	if (s->chr)
		chardev_accept_input(s->chr);
}

/* Give the host what is to be sent, as far as it takes it. */
static void tx_flush(struct serial *s)
{
	while (s->tx.count) {
		uint8_t byte = (uint8_t)s->tx.entry[s->tx.head];

		if (s->chr && chardev_write(s->chr, &byte, 1) == 0)
			return;
		fifo_get(&s->tx);
	}
	s->thre_event = true;
}

static void write_thr(struct serial *s, uint8_t byte)
{
	s->thre_event = false;
	update_irq(s); /* falls here and rises again below: a new edge for a new event */
	if (s->mcr & MCR_LOOP) {
		rx_put(s, byte);
		s->thre_event = s->tx.count == 0;
		return;
	}
	if (s->tx.count >= fifo_depth(s)) {
		if (s->fcr & FCR_ENABLE)
			return;
		fifo_get(&s->tx);
	}
	fifo_put(&s->tx, byte);
	tx_flush(s);
}

static uint8_t read_rbr(struct serial *s)
{
	uint8_t byte = 0;

	if (s->rx.count)
		byte = (uint8_t)fifo_get(&s->rx);
	rx_resume(s);
	return byte;
}

static uint8_t read_lsr(struct serial *s)
{
	uint8_t lsr = line_status(s);

	/* Reading reports the errors seen so far, and the one of the byte that is next. */
	s->overrun = false;
	if (s->rx.count)
		s->rx.entry[s->rx.head] &= (uint16_t)~RX_BREAK;
	return lsr;
}

static uint8_t read_iir(struct serial *s)
{
	uint8_t id = interrupt_id(s);

	if (id == IIR_THRE)
		s->thre_event = false;
	return (s->fcr & FCR_ENABLE) ? id | IIR_FIFO : id;
}

static void write_ier(struct serial *s, uint8_t value)
{
	value &= IER_MASK;
	if ((value & ~s->ier & IER_THRE) && !s->tx.count)
		s->thre_event = true;
	s->ier = value;
}

static void write_fcr(struct serial *s, uint8_t value)
{
	if ((value ^ s->fcr) & FCR_ENABLE)
		value |= FCR_CLEAR_RX | FCR_CLEAR_TX;
	if (value & FCR_CLEAR_RX)
		fifo_clear(&s->rx);
	if ((value & FCR_CLEAR_TX) && s->tx.count) {
		fifo_clear(&s->tx);
		s->thre_event = true;
	}
	s->fcr = (value & FCR_ENABLE) ? value & FCR_KEPT : 0;
	rx_resume(s);
}

static void write_lcr(struct serial *s, uint8_t value)
{
	/* A chardev has no break to send; in loopback the receiver sees it. */
	if ((value & ~s->lcr & LCR_BREAK) && (s->mcr & MCR_LOOP))
		rx_put(s, RX_BREAK);
	s->lcr = value;
}

/* The modem lines as they are now: a terminal that is there and ready, or in loopback our own
 * outputs. */
static uint8_t modem_lines(const struct serial *s)
{
	unsigned lines = 0;

	if (!(s->mcr & MCR_LOOP))
		return MSR_CTS | MSR_DSR | MSR_DCD;
	if (s->mcr & MCR_RTS)
		lines |= MSR_CTS;
	if (s->mcr & MCR_DTR)
		lines |= MSR_DSR;
	if (s->mcr & MCR_OUT1)
		lines |= MSR_RI;
	if (s->mcr & MCR_OUT2)
		lines |= MSR_DCD;
	return (uint8_t)lines;
}

static void write_mcr(struct serial *s, uint8_t value)
{
	unsigned lines, changed;

	s->mcr = value & MCR_MASK;
	lines = modem_lines(s);
	changed = (lines ^ s->msr) & MSR_LINES;
	if (lines & MSR_RI)
		changed &= ~MSR_RI; /* the ring indicator counts only when it ends */
	s->msr = (uint8_t)(lines | (s->msr & MSR_CHANGED) | changed >> 4);
	rx_resume(s);
}

static uint8_t read_msr(struct serial *s)
{
	uint8_t msr = s->msr;

	s->msr &= MSR_LINES;
	return msr;
}

static uint8_t read_register(struct serial *s, uint64_t offset)
{
	bool divisor = s->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		return divisor ? s->dll : read_rbr(s);
	case REG_IER:
		return divisor ? s->dlm : s->ier;
	case REG_IIR:
		return read_iir(s);
	case REG_LCR:
		return s->lcr;
	case REG_MCR:
		return s->mcr;
	case REG_LSR:
		return read_lsr(s);
	case REG_MSR:
		return read_msr(s);
	default:
		return s->scr;
	}
}

static void write_register(struct serial *s, uint64_t offset, uint8_t value)
{
	bool divisor = s->lcr & LCR_DLAB;

	switch (offset) {
	case REG_DATA:
		if (divisor)
			s->dll = value;
		else
			write_thr(s, value);
		break;
	case REG_IER:
		if (divisor)
			s->dlm = value;
		else
			write_ier(s, value);
		break;
	case REG_IIR:
		write_fcr(s, value);
		break;
	case REG_LCR:
		write_lcr(s, value);
		break;
	case REG_MCR:
		write_mcr(s, value);
		break;
	case REG_SCR:
		s->scr = value;
		break;
	default: /* LSR and MSR: factory tests of the chip */
		break;
	}
}

static uint8_t read8(void *opaque, uint64_t offset)
{
	struct serial *s = opaque;
	uint8_t value;

	pthread_mutex_lock(&s->lock);
	value = read_register(s, offset);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
	return value;
}

static void write8(void *opaque, uint64_t offset, uint8_t value)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	write_register(s, offset, value);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static uint64_t serial_read(void *opaque, uint64_t offset, unsigned size)
{
	return bytes_read(read8, opaque, offset, size);
}

static void serial_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	bytes_write(write8, opaque, offset, size, value);
}

static const struct bus_ops serial_ops = {
	.read = serial_read,
	.write = serial_write,
};

/* The chardev's side, on the main loop's thread. */

static size_t chr_room(void *opaque)
{
	struct serial *s = opaque;
	size_t room;

	pthread_mutex_lock(&s->lock);
	room = rx_room(s);
	s->input_refused = room == 0;
	pthread_mutex_unlock(&s->lock);
	return room;
}

static void chr_input(void *opaque, const uint8_t *buf, size_t len)
{
	struct serial *s = opaque;

	/* The guest may have changed its mind since room(): then this is an overrun, or unheard. */
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < len && !(s->mcr & MCR_LOOP); i++)
		rx_put(s, buf[i]);
	s->input_refused = rx_room(s) == 0;
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void chr_break(void *opaque)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	if (!(s->mcr & MCR_LOOP))
		rx_put(s, RX_BREAK);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

static void chr_writable(void *opaque)
{
	struct serial *s = opaque;

	pthread_mutex_lock(&s->lock);
	if (s->tx.count)
		tx_flush(s);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

void serial_init(struct serial *s, struct irq_line irq, struct chardev *chr)
{
	const struct chardev_client client = {
		.room = chr_room,
		.input = chr_input,
		.line_break = chr_break,
		.writable = chr_writable,
		.opaque = s,
	};

	memset(s, 0, sizeof(*s));
	s->irq = irq;
	s->chr = chr;
	s->dll = 1; /* 115200 baud, for a guest that derives delays from it */
	pthread_mutex_init(&s->lock, NULL);
	serial_reset(s);
	if (chr)
		chardev_attach(chr, &client);
}

int serial_add(struct serial *s, struct bus *pio, uint16_t port)
{
	snprintf(s->name, sizeof(s->name), "serial@%x", port);
	s->region.name = s->name;
	s->region.size = SERIAL_PORTS;
	s->region.ops = &serial_ops;
	s->region.opaque = s;
	return bus_add(pio, &s->region, port);
}

void serial_reset(struct serial *s)
{
	pthread_mutex_lock(&s->lock);
	s->ier = s->fcr = s->lcr = s->mcr = 0;
	s->msr = modem_lines(s);
	s->overrun = s->thre_event = false;
	fifo_clear(&s->rx);
	fifo_clear(&s->tx);
	update_irq(s);
	pthread_mutex_unlock(&s->lock);
}

void serial_destroy(struct serial *s)
{
	if (!s->irq.ctl)
		return;
	pthread_mutex_destroy(&s->lock);
	s->irq.ctl = NULL;
}
