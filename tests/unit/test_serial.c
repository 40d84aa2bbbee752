/* SPDX-License-Identifier: BSD-2-Clause */
/* The UART between a guest that uses its ports and a real chardev whose host ends are two pipes. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/legacy/serial.h"
#include "tests/unit/fakes.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define PORT 0x3f8
#define GSI  4

enum {
	DATA,
	IER,
	IIR,
	LCR,
	MCR,
	LSR,
	MSR,
	SCR,
	FCR = IIR
};

/* What the driver of an open port has in MCR. */
#define DTR  0x01
#define RTS  0x02
#define OUT1 0x04
#define OUT2 0x08
#define LOOP 0x10
#define OPEN (DTR | RTS | OUT2)

struct fixture {
	struct bus pio;
	struct loop loop;
	struct fake_irq irq;
	struct chardev chr;
	struct serial serial;
	int in[2], out[2]; /* pipes: the host writes in[1] and reads out[0] */
};

static int setup(void **state)
{
	static struct fixture f;

	assert_int_equal(pipe2(f.in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(f.out, O_CLOEXEC), 0);
	assert_true(fcntl(f.out[1], F_SETPIPE_SZ, 4096) > 0);
	assert_int_equal(fcntl(f.out[0], F_SETFL, O_NONBLOCK), 0);
	bus_init(&f.pio, BUS_PIO);
	assert_int_equal(loop_init(&f.loop), 0);
	fake_irq_init(&f.irq, 24);
	assert_int_equal(chardev_init(&f.chr, &f.loop, f.in[0], f.out[1]), 0);
	serial_init(&f.serial, fake_irq_line(&f.irq, GSI), &f.chr);
	assert_int_equal(serial_add(&f.serial, &f.pio, PORT), 0);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	serial_destroy(&f->serial);
	serial_destroy(&f->serial);
	chardev_destroy(&f->chr);
	loop_destroy(&f->loop);
	bus_destroy(&f->pio);
	for (unsigned i = 0; i < 2; i++) {
		fd_close(&f->in[i]);
		fd_close(&f->out[i]);
	}
	return 0;
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	return fake_in8(&f->pio, PORT + reg);
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
	fake_out8(&f->pio, PORT + reg, value);
}

/* The main loop, until it has nothing to do. */
static void run_loop(struct fixture *f)
{
	while (loop_once(&f->loop, 0) > 0)
		;
}

static void host_types(struct fixture *f, const char *text)
{
	assert_int_equal(write(f->in[1], text, strlen(text)), strlen(text));
	run_loop(f);
}

static void host_sends_break(struct fixture *f)
{
	f->chr.client.line_break(f->chr.client.opaque);
}

static void assert_host_sees(struct fixture *f, const char *text)
{
	char buf[256] = "";
	ssize_t n = read(f->out[0], buf, sizeof(buf) - 1);

	assert_int_equal(n < 0 ? 0 : n, strlen(text));
	assert_string_equal(buf, text);
}

static void assert_guest_reads(struct fixture *f, const char *text)
{
	for (; *text; text++) {
		assert_int_equal(in(f, LSR) & 0x01, 0x01);
		assert_int_equal(in(f, DATA), *text);
	}
}

static const struct fake_gsi *gsi(const struct fixture *f)
{
	return &f->irq.gsi[GSI];
}

static void test_reset_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, IER), 0x00);
	assert_int_equal(in(f, IIR), 0x01);
	assert_int_equal(in(f, LCR), 0x00);
	assert_int_equal(in(f, MCR), 0x00);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, MSR), 0xb0);
	assert_int_equal(in(f, SCR), 0x00);
	assert_int_equal(in(f, DATA), 0x00);
	assert_int_equal(gsi(f)->sets, 0);
	assert_string_equal(f->serial.region.name, "serial@3f8");
}

static void test_plain_registers(void **state)
{
	struct fixture *f = *state;

	out(f, SCR, 0xa5);
	assert_int_equal(in(f, SCR), 0xa5);
	out(f, LCR, 0x5b);
	assert_int_equal(in(f, LCR), 0x5b);
	out(f, IER, 0xff);
	assert_int_equal(in(f, IER), 0x0f);
	out(f, MCR, 0xff);
	assert_int_equal(in(f, MCR), 0x1f);
	out(f, LSR, 0x00);
	assert_int_equal(in(f, LSR) & 0x60, 0x60);
	/* No write went further than its register. */
	assert_int_equal(in(f, SCR), 0xa5);
	assert_int_equal(in(f, LCR), 0x5b);
	out(f, FCR, 0x01);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, LCR), 0x03);
	assert_int_equal(in(f, MCR), 0x1f);
	out(f, SCR, 0x5a);
	assert_int_equal(in(f, MCR), 0x1f);
}

static void test_divisor(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x05);
	out(f, LCR, 0x83);
	assert_int_equal(in(f, DATA), 1); /* 115200 */
	assert_int_equal(in(f, IER), 0);
	out(f, DATA, 0x34);
	out(f, IER, 0x12);
	assert_int_equal(in(f, DATA), 0x34);
	assert_int_equal(in(f, IER), 0x12);
	out(f, LCR, 0x03);
	assert_int_equal(in(f, IER), 0x05);
	assert_host_sees(f, "");
	assert_int_equal(fake_read(&f->pio, PORT + IER, 1), 0x05);
}

static void test_output(void **state)
{
	struct fixture *f = *state;

	for (const char *p = "hello"; *p; p++) {
		assert_int_equal(in(f, LSR), 0x60);
		out(f, DATA, (uint8_t)*p);
	}
	assert_host_sees(f, "hello");
	/* A wide OUT to the data port goes on to IER, as byte accesses would. */
	fake_write(&f->pio, PORT, 2, 0x0a21);
	assert_host_sees(f, "!");
	assert_int_equal(in(f, IER), 0x0a);
	assert_int_equal(fake_read(&f->pio, PORT + LCR, 4), 0xb0600000);
}

static void test_no_chardev(void **state)
{
	static struct serial alone;
	struct fixture *f = *state;
	const unsigned port = 0x2f8;

	serial_init(&alone, fake_irq_line(&f->irq, 3), NULL);
	assert_int_equal(serial_add(&alone, &f->pio, port), 0);
	fake_out8(&f->pio, port + FCR, 0x07);
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(fake_in8(&f->pio, port + LSR), 0x60);
		fake_out8(&f->pio, port + DATA, 'x');
	}
	fake_out8(&f->pio, port + MCR, OPEN);
	assert_int_equal(fake_in8(&f->pio, port + DATA), 0);
	serial_destroy(&alone);
	assert_host_sees(f, "");
}

/* The questions that Linux's autoconfig() asks, with the answers that make it say "16550A". */
static void test_identification(void **state)
{
	struct fixture *f = *state;
	unsigned fifo = 0;

	/* There is a UART at all. */
	out(f, IER, 0x00);
	assert_int_equal(in(f, IER) & 0x0f, 0x00);
	out(f, IER, 0x0f);
	assert_int_equal(in(f, IER) & 0x0f, 0x0f);
	out(f, IER, 0x00);
	out(f, MCR, LOOP | OUT2 | RTS);
	assert_int_equal(in(f, MSR) & 0xf0, 0x90);
	out(f, MCR, 0);
	/* Its FIFOs work. */
	out(f, FCR, 0x01);
	assert_int_equal(in(f, IIR) >> 6, 3);
	/* No EFR (16650), whether with DLAB or with 0xbf in LCR. */
	out(f, LCR, 0x80);
	assert_int_not_equal(in(f, IIR), 0);
	out(f, LCR, 0xbf);
	assert_int_not_equal(in(f, IIR), 0);
	/* No bank 2 that shows LOOP (NS16550A in a Super I/O). */
	out(f, LCR, 0);
	out(f, MCR, LOOP);
	out(f, LCR, 0xe0);
	assert_int_equal(in(f, IIR) & LOOP, 0);
	out(f, LCR, 0);
	out(f, MCR, 0);
	/* No 64-byte FIFO (16750), no UART unit enable (XScale). */
	out(f, FCR, 0x21);
	assert_int_equal(in(f, IIR) >> 5, 6);
	out(f, LCR, 0x80);
	out(f, FCR, 0x21);
	assert_int_equal(in(f, IIR) >> 5, 6);
	out(f, LCR, 0);
	out(f, IER, 0x40);
	assert_int_equal(in(f, IER), 0);
	/* The FIFO's depth, by loopback. */
	out(f, FCR, 0x07);
	out(f, MCR, LOOP);
	for (unsigned i = 0; i < 256; i++)
		out(f, DATA, (uint8_t)i);
	while (fifo < 256 && (in(f, LSR) & 0x01)) {
		assert_int_equal(in(f, DATA), fifo);
		fifo++;
	}
	assert_int_equal(fifo, 16);
	/* Nothing of this got out. */
	assert_host_sees(f, "");
	assert_int_equal(gsi(f)->sets, 0);
}

/* Linux's tests for UARTs with a broken transmitter interrupt, at each open. */
static void test_thre_reasserts(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 3; i++) {
		out(f, IER, 0x02);
		assert_int_equal(in(f, IIR), 0x02);
		assert_int_equal(in(f, IIR), 0x01);
		out(f, IER, 0x00);
		assert_int_equal(in(f, IIR), 0x01);
	}
	/* Enabled once more while enabled: nothing new. */
	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0x02);
	out(f, IER, 0x03);
	assert_int_equal(in(f, IIR), 0x01);
}

static void test_thre_interrupt(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, OPEN);
	out(f, IER, 0x02);
	assert_true(gsi(f)->asserted);
	assert_int_equal(gsi(f)->rises, 1);
	assert_int_equal(in(f, IIR), 0x02); /* reading it ends it */
	assert_false(gsi(f)->asserted);
	out(f, DATA, 'a'); /* sent at once: the next one */
	assert_int_equal(gsi(f)->rises, 2);
	/* Not read from IIR, but ended by writing: the new event has to be a new edge. */
	out(f, DATA, 'b');
	assert_int_equal(gsi(f)->rises, 3);
	assert_true(gsi(f)->asserted);
	assert_int_equal(in(f, IIR), 0x02);
	assert_false(gsi(f)->asserted);
	assert_int_equal(in(f, IIR), 0x01);
	assert_host_sees(f, "ab");
}

/* IIR reads that show another source do not end the transmitter's event. */
static void test_thre_behind_others(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	out(f, IER, 0x07);
	host_types(f, "x");
	assert_int_equal(in(f, IIR), 0xc4);
	assert_int_equal(in(f, IIR), 0xc4);
	assert_int_equal(in(f, DATA), 'x');
	assert_int_equal(in(f, IIR), 0xc2);
	assert_int_equal(in(f, IIR), 0xc1);
}

static void test_priorities(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, LOOP);
	in(f, MSR);
	out(f, MCR, LOOP | RTS); /* CTS changes */
	out(f, IER, 0x0f);
	out(f, DATA, 'x');
	out(f, LCR, 0x40); /* a break, behind the byte */
	assert_int_equal(in(f, IIR), 0xc4);
	assert_int_equal(in(f, DATA), 'x');
	assert_int_equal(in(f, IIR), 0xc6); /* line status: the break is next */
	assert_int_equal(in(f, LSR), 0xf1);
	assert_int_equal(in(f, IIR), 0xc4);
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, IIR), 0xc2);
	assert_int_equal(in(f, IIR), 0xc0); /* modem status */
	out(f, LCR, 0x03);                  /* not a break */
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, MSR), 0x11);
	assert_int_equal(in(f, IIR), 0xc1);
}

/* Each source by itself, and only if its bit in IER is set. */
static void test_enables(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, OPEN);
	in(f, MSR);
	host_types(f, "x");
	host_sends_break(f); /* without FIFOs: an overrun as well */
	out(f, DATA, 'y');
	out(f, MCR, LOOP);
	out(f, MCR, OPEN);
	assert_int_equal(in(f, IIR), 0x01);
	assert_false(gsi(f)->asserted);
	out(f, IER, 0x08);
	assert_int_equal(in(f, IIR), 0x00);
	out(f, IER, 0x01);
	assert_int_equal(in(f, IIR), 0x04);
	out(f, IER, 0x04);
	assert_int_equal(in(f, IIR), 0x06);
	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0x02);
	out(f, IER, 0x00);
	assert_int_equal(in(f, IIR), 0x01);
}

/* On a PC OUT2 switches the interrupt line, and loopback takes OUT2 off its pin. */
static void test_out2(void **state)
{
	struct fixture *f = *state;

	out(f, IER, 0x02);
	assert_int_equal(gsi(f)->sets, 0);
	out(f, MCR, DTR | RTS | OUT1);
	assert_int_equal(gsi(f)->sets, 0);
	out(f, MCR, OPEN);
	assert_true(gsi(f)->asserted);
	out(f, MCR, OPEN | LOOP);
	assert_false(gsi(f)->asserted);
	out(f, MCR, OPEN);
	assert_true(gsi(f)->asserted);
	out(f, MCR, 0);
	assert_false(gsi(f)->asserted);
}

/* What comes before the guest's driver is ready waits in the host, whatever the driver clears. */
static void test_input_waits_for_rts(void **state)
{
	struct fixture *f = *state;

	host_types(f, "ls\n");
	assert_int_equal(in(f, LSR) & 0x01, 0);
	out(f, FCR, 0x07);
	assert_int_equal(in(f, DATA), 0);
	out(f, FCR, 0x87);
	out(f, IER, 0x05);
	run_loop(f);
	assert_int_equal(in(f, LSR) & 0x01, 0);
	out(f, MCR, OPEN);
	assert_false(gsi(f)->asserted);
	run_loop(f);
	assert_true(gsi(f)->asserted);
	assert_guest_reads(f, "ls\n");
	assert_false(gsi(f)->asserted);
	/* RTS low is "stop": stty crtscts. */
	out(f, MCR, DTR | OUT2);
	host_types(f, "more");
	assert_int_equal(in(f, LSR) & 0x01, 0);
	out(f, MCR, OPEN);
	run_loop(f);
	assert_guest_reads(f, "more");
}

/* The shell's pipe is closed before the guest has read all of it. */
static void test_input_from_a_closed_pipe(void **state)
{
	struct fixture *f = *state;

	host_types(f, "a script of more than sixteen bytes\n");
	fd_close(&f->in[1]);
	run_loop(f);
	out(f, FCR, 0x07);
	out(f, MCR, OPEN);
	run_loop(f);
	assert_guest_reads(f, "a script of more");
	run_loop(f);
	assert_guest_reads(f, " than sixteen by");
	run_loop(f);
	assert_guest_reads(f, "tes\n");
	run_loop(f);
	assert_int_equal(in(f, LSR) & 0x01, 0);
}

/* Trigger level 8, as Linux sets it: less is there at once as a timeout. */
static void test_receive_interrupts(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x81);
	out(f, MCR, OPEN);
	out(f, IER, 0x01);
	host_types(f, "1");
	assert_int_equal(gsi(f)->rises, 1);
	assert_int_equal(in(f, IIR), 0xcc);
	host_types(f, "234567");
	assert_int_equal(in(f, IIR), 0xcc);
	host_types(f, "8");
	assert_int_equal(in(f, IIR), 0xc4);
	assert_guest_reads(f, "1");
	assert_int_equal(in(f, IIR), 0xcc);
	assert_guest_reads(f, "2345678");
	assert_int_equal(in(f, IIR), 0xc1);
	assert_false(gsi(f)->asserted);
	assert_int_equal(gsi(f)->rises, 1);
	/* An edge for what comes after the line fell. */
	host_types(f, "9");
	assert_int_equal(gsi(f)->rises, 2);
}

static void test_trigger_levels(void **state)
{
	struct fixture *f = *state;
	static const unsigned levels[] = {1, 4, 8, 14};

	out(f, MCR, LOOP);
	out(f, IER, 0x01);
	for (unsigned i = 0; i < ARRAY_SIZE(levels); i++) {
		out(f, FCR, (uint8_t)(0x03 | i << 6));
		for (unsigned n = 1; n <= 16; n++) {
			out(f, DATA, 'x');
			assert_int_equal(in(f, IIR), n < levels[i] ? 0xcc : 0xc4);
		}
	}
}

static void test_back_pressure(void **state)
{
	struct fixture *f = *state;
	char text[41] = "0123456789012345678901234567890123456789";

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	out(f, IER, 0x05);
	host_types(f, text);
	for (unsigned at = 0; at < 40; at += 16) {
		char part[17] = "";

		memcpy(part, text + at, at + 16 < 40 ? 16 : 40 - at);
		assert_int_equal(gsi(f)->rises, at / 16 + 1);
		assert_guest_reads(f, part);
		assert_int_equal(in(f, LSR), 0x60); /* in particular no overrun */
		run_loop(f);
	}
	assert_int_equal(in(f, LSR), 0x60);
}

/* The host is called once for a FIFO that was full and is empty, and not for what did not fill it.
 */
static void test_host_is_called_once(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	host_types(f, "0123456789");
	assert_guest_reads(f, "0123456789");
	in(f, DATA);
	assert_int_equal(fd_drain(f->chr.kick_fd), 0);
	host_types(f, "0123456789abcdefg");
	assert_guest_reads(f, "0123456789abcde");
	assert_int_equal(fd_drain(f->chr.kick_fd), 0);
	assert_guest_reads(f, "f");
	in(f, DATA);
	in(f, DATA);
	assert_int_equal(fd_drain(f->chr.kick_fd), 1);
}

/* A guest that empties the FIFO by clearing it gets what comes next. */
static void test_input_after_clearing(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	host_types(f, "0123456789abcdefg");
	out(f, FCR, 0x03);
	assert_int_equal(in(f, LSR), 0x60);
	run_loop(f);
	assert_guest_reads(f, "g");
}

static void test_without_fifos(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, OPEN);
	out(f, IER, 0x01);
	host_types(f, "abc");
	assert_int_equal(in(f, IIR), 0x04);
	assert_guest_reads(f, "a");
	assert_int_equal(in(f, LSR), 0x60);
	run_loop(f);
	assert_guest_reads(f, "b");
	run_loop(f);
	assert_guest_reads(f, "c");
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(gsi(f)->rises, 3);
}

/* An overrun without FIFOs: the new byte takes the place of the one that was not read. */
static void test_overrun(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, LOOP);
	out(f, DATA, 'a');
	out(f, DATA, 'b');
	assert_int_equal(in(f, LSR), 0x63);
	assert_int_equal(in(f, LSR), 0x61); /* told once */
	assert_int_equal(in(f, DATA), 'b');
	/* With FIFOs the new byte is lost. */
	out(f, FCR, 0x01);
	for (unsigned i = 0; i < 17; i++)
		out(f, DATA, (uint8_t)('a' + i));
	assert_int_equal(in(f, LSR), 0x63);
	assert_guest_reads(f, "abcdefghijklmnop");
	assert_int_equal(in(f, LSR), 0x60);
}

static void test_break(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	out(f, IER, 0x05);
	host_sends_break(f);
	assert_int_equal(gsi(f)->rises, 1); /* without any access of the guest's */
	assert_int_equal(in(f, LSR), 0xf1);
	assert_int_equal(in(f, DATA), 0);
	host_types(f, "a");
	host_sends_break(f);
	host_types(f, "b");
	/* Bit 7 tells of the error that is in the FIFO, BI of the byte that is next. */
	assert_int_equal(in(f, LSR), 0xe1);
	assert_int_equal(in(f, DATA), 'a');
	assert_int_equal(in(f, IIR), 0xc6);
	assert_int_equal(in(f, LSR), 0xf1);
	assert_int_equal(in(f, IIR), 0xc4);
	assert_int_equal(in(f, LSR), 0x61);
	assert_int_equal(in(f, DATA), 0);
	assert_int_equal(in(f, DATA), 'b');
	assert_int_equal(in(f, LSR), 0x60);
	/* A break gets through without RTS (the console's SysRq), but not into loopback. */
	out(f, MCR, 0);
	host_sends_break(f);
	assert_int_equal(in(f, LSR), 0xf1);
	assert_int_equal(in(f, DATA), 0);
	out(f, MCR, LOOP | RTS);
	host_sends_break(f);
	host_types(f, "c");
	assert_int_equal(in(f, LSR), 0x60);
	/* A break to send does not come back without loopback. */
	out(f, MCR, RTS);
	out(f, LCR, 0x43);
	assert_int_equal(in(f, LSR), 0x60);
	/* Without FIFOs bit 7 does not exist. */
	out(f, FCR, 0);
	out(f, MCR, 0);
	host_sends_break(f);
	assert_int_equal(in(f, LSR), 0x71);
}

static void test_fifo_control(void **state)
{
	struct fixture *f = *state;

	out(f, MCR, LOOP);
	out(f, FCR, 0x01);
	out(f, DATA, 'a');
	out(f, FCR, 0x05); /* the transmitter's only */
	assert_int_equal(in(f, LSR), 0x61);
	out(f, FCR, 0x03);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, IIR), 0xc1);
	/* Switching FIFOs on or off empties them. */
	out(f, DATA, 'b');
	out(f, FCR, 0x00);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, IIR), 0x01);
	out(f, DATA, 'c');
	out(f, FCR, 0x01);
	assert_int_equal(in(f, LSR), 0x60);
	/* Without bit 0 the other bits are not taken. */
	out(f, FCR, 0xc0);
	out(f, FCR, 0x01);
	out(f, IER, 0x01);
	out(f, DATA, 'd');
	assert_int_equal(in(f, IIR), 0xc4);
}

static void test_modem_lines(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(in(f, MSR), 0xb0);
	out(f, MCR, LOOP);
	assert_int_equal(in(f, MSR), 0x0b); /* CTS, DSR and DCD fell */
	assert_int_equal(in(f, MSR), 0x00);
	out(f, MCR, LOOP | RTS);
	assert_int_equal(in(f, MSR), 0x11);
	out(f, MCR, LOOP | DTR);
	assert_int_equal(in(f, MSR), 0x23);
	out(f, MCR, LOOP | OUT1); /* the ring indicator tells its end, not its beginning */
	assert_int_equal(in(f, MSR), 0x42);
	out(f, MCR, LOOP | OUT2);
	assert_int_equal(in(f, MSR), 0x8c);
	/* What changed stays until it is read. */
	out(f, MCR, LOOP | OUT2 | RTS);
	out(f, MCR, LOOP | OUT2);
	assert_int_equal(in(f, MSR), 0x81);
	out(f, MCR, 0);
	assert_int_equal(in(f, MSR), 0xb3);
}

/* Write until the chardev takes no more. Returns how many bytes went out of the guest's hands. */
static unsigned fill_output(struct fixture *f)
{
	unsigned n = 0;

	while (in(f, LSR) & 0x20) {
		out(f, DATA, (uint8_t)('a' + n % 26));
		assert_true(++n < 1000000);
	}
	return n;
}

/* Read what the host gets until it gets nothing more; it has to be the alphabet over and over. */
static unsigned drain_output(struct fixture *f)
{
	unsigned total = 0;
	char buf[1024];
	ssize_t n;

	for (;;) {
		n = read(f->out[0], buf, sizeof(buf));
		for (ssize_t i = 0; i < n; i++, total++)
			assert_int_equal(buf[i], 'a' + total % 26);
		run_loop(f);
		if (n <= 0)
			return total;
	}
}

/* The host does not read: THRE stays clear, nothing that fits is lost, and it goes on by itself. */
static void test_slow_host(void **state)
{
	struct fixture *f = *state;
	unsigned n, rises;

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	out(f, IER, 0x02);
	n = fill_output(f);
	assert_true(n > CHARDEV_BUFFER);
	assert_int_equal(in(f, IIR), 0xc1);
	assert_false(gsi(f)->asserted);
	assert_int_equal(in(f, LSR), 0x00);
	/* The FIFO takes 15 more, then a byte is lost, as on the chip. */
	for (unsigned i = 0; i < 15; i++, n++)
		out(f, DATA, (uint8_t)('a' + n % 26));
	out(f, DATA, '!');
	run_loop(f);
	assert_int_equal(in(f, LSR), 0x00);
	rises = gsi(f)->rises;
	assert_int_equal(drain_output(f), n);
	assert_int_equal(gsi(f)->rises, rises + 1); /* without any access of the guest's */
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, IIR), 0xc2);
	out(f, DATA, 'z');
	assert_host_sees(f, "z");
}

static void test_slow_host_without_fifos(void **state)
{
	struct fixture *f = *state;
	unsigned n = fill_output(f);

	/* THR holds one byte: the next one takes its place. */
	out(f, DATA, '!');
	out(f, DATA, (uint8_t)('a' + (n - 1) % 26));
	assert_int_equal(in(f, LSR), 0x00);
	assert_int_equal(drain_output(f), n);
	assert_int_equal(in(f, LSR), 0x60);
}

/* Clearing the transmit FIFO makes the transmitter empty. */
static void test_clear_stuck_output(void **state)
{
	struct fixture *f = *state;
	unsigned n;

	out(f, FCR, 0x01);
	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0xc2);
	out(f, FCR, 0x05); /* it was empty before: no event */
	assert_int_equal(in(f, IIR), 0xc1);
	n = fill_output(f);
	assert_int_equal(in(f, IIR), 0xc1);
	out(f, FCR, 0x05);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, IIR), 0xc2);
	assert_int_equal(drain_output(f), n - 1);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;

	out(f, FCR, 0xc1);
	out(f, MCR, OPEN);
	out(f, IER, 0x0f);
	fill_output(f);
	for (unsigned i = 0; i < 17; i++)
		host_sends_break(f); /* one too many: an overrun */
	out(f, LCR, 0x80);
	out(f, DATA, 0x0c);
	out(f, SCR, 0x77);
	assert_true(gsi(f)->asserted);
	serial_reset(&f->serial);
	assert_false(gsi(f)->asserted);
	assert_int_equal(in(f, SCR), 0x77);
	out(f, SCR, 0);
	assert_int_equal(in(f, IER), 0x00);
	assert_int_equal(in(f, IIR), 0x01);
	assert_int_equal(in(f, LCR), 0x00);
	assert_int_equal(in(f, MCR), 0x00);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(in(f, MSR), 0xb0);
	out(f, IER, 0x02);
	assert_int_equal(in(f, IIR), 0x02); /* from enabling it, not from before */
	assert_int_equal(in(f, IIR), 0x01);
	out(f, LCR, 0x80);
	assert_int_equal(in(f, DATA), 0x0c);
}

#define THREAD_BYTES 20000

static void *writer(void *opaque)
{
	struct fixture *f = opaque;

	for (unsigned i = 0; i < THREAD_BYTES; i++) {
		out(f, DATA, 'x');
		in(f, IIR);
		in(f, MSR);
	}
	return NULL;
}

/* Two vCPUs write while a third reads what the host types: no byte is lost, none comes twice. */
static void test_threads(void **state)
{
	struct fixture *f = *state;
	unsigned typed = 0, received = 0, sent = 0;
	time_t deadline = time(NULL) + 60;
	pthread_t threads[2];
	char buf[4096];

	out(f, FCR, 0x01);
	out(f, MCR, OPEN);
	out(f, IER, 0x0f);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, writer, f), 0);
	while (sent < 2 * THREAD_BYTES || typed < THREAD_BYTES / 4 || received < typed) {
		ssize_t n = read(f->out[0], buf, sizeof(buf));

		assert_true(time(NULL) < deadline);
		sent += n > 0 ? (unsigned)n : 0;
		if (typed < THREAD_BYTES / 4)
			typed += (unsigned)write(f->in[1], "y", 1);
		loop_once(&f->loop, 1);
		while (in(f, LSR) & 0x01) {
			assert_int_equal(in(f, DATA), 'y');
			received++;
		}
	}
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(sent, 2 * THREAD_BYTES);
	assert_int_equal(received, typed);
	assert_int_equal(in(f, LSR), 0x60);
	assert_int_equal(read(f->out[0], buf, sizeof(buf)), -1);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_reset_values),
		TEST(test_plain_registers),
		TEST(test_divisor),
		TEST(test_output),
		TEST(test_no_chardev),
		TEST(test_identification),
		TEST(test_thre_reasserts),
		TEST(test_thre_interrupt),
		TEST(test_thre_behind_others),
		TEST(test_priorities),
		TEST(test_enables),
		TEST(test_out2),
		TEST(test_input_waits_for_rts),
		TEST(test_input_from_a_closed_pipe),
		TEST(test_receive_interrupts),
		TEST(test_trigger_levels),
		TEST(test_back_pressure),
		TEST(test_host_is_called_once),
		TEST(test_input_after_clearing),
		TEST(test_without_fifos),
		TEST(test_overrun),
		TEST(test_break),
		TEST(test_fifo_control),
		TEST(test_modem_lines),
		TEST(test_slow_host),
		TEST(test_slow_host_without_fifos),
		TEST(test_clear_stuck_output),
		TEST(test_reset),
		TEST(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
