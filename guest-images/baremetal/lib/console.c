/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Printing to COM1, and the checks that print.
 *
 * Lines are gathered and sent 16 bytes at a time (the transmit FIFO's depth) after the line status
 * register said that the FIFO is empty: as a real 16550A wants it, and with few exits.
 */
#include "bm.h"

#define UART_THR      0
#define UART_FCR      2
#define UART_LSR      5
#define UART_LSR_THRE 0x20
#define UART_FIFO     16

static char line[512];
static unsigned used;
static bool fifo_on;

void print_flush(void)
{
	unsigned done = 0;

	if (!fifo_on) {
		outb(LAYOUT_COM1 + UART_FCR, 1);
		fifo_on = true;
	}
	while (done < used) {
		unsigned n = used - done < UART_FIFO ? used - done : UART_FIFO;

		while (!(inb(LAYOUT_COM1 + UART_LSR) & UART_LSR_THRE))
			cpu_relax();
		outsb(LAYOUT_COM1 + UART_THR, line + done, n);
		done += n;
	}
	used = 0;
}

static void put(char c)
{
	line[used++] = c;
	if (c == '\n' || used == sizeof(line))
		print_flush();
}

static void put_number(uint64_t v, unsigned base, bool negative, bool zeros, int width)
{
	char digits[24];
	int n = 0;

	do {
		unsigned d = (unsigned)(v % base);

		digits[n++] = (char)(d < 10 ? '0' + d : 'a' + d - 10);
		v /= base;
	} while (v);
	if (negative)
		digits[n++] = '-';
	for (int i = n; i < width; i++)
		put(zeros ? '0' : ' ');
	while (n)
		put(digits[--n]);
}

static void put_string(const char *s, int width)
{
	for (; *s; s++, width--)
		put(*s);
	for (; width > 0; width--)
		put(' ');
}

/* One conversion, @f behind the '%'; returns what follows it. */
static const char *convert(const char *f, va_list *ap)
{
	bool zeros = *f == '0', is_long = false;
	int width = 0;
	int64_t d;
	uint64_t u;

	for (; *f >= '0' && *f <= '9'; f++)
		width = width * 10 + *f - '0';
	for (; *f == 'l'; f++)
		is_long = true;
	switch (*f) {
	case 's':
		put_string(va_arg(*ap, const char *), width);
		break;
	case 'c':
		put((char)va_arg(*ap, int));
		break;
	case 'd':
		d = is_long ? va_arg(*ap, long) : va_arg(*ap, int);
		put_number(d < 0 ? -(uint64_t)d : (uint64_t)d, 10, d < 0, zeros, width);
		break;
	case 'u':
	case 'x':
		u = is_long ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned);
		put_number(u, *f == 'u' ? 10 : 16, false, zeros, width);
		break;
	default:
		put(*f);
	}
	return f + 1;
}

static void vprint(const char *fmt, va_list *ap)
{
	while (*fmt) {
		if (*fmt == '%')
			fmt = convert(fmt + 1, ap);
		else
			put(*fmt++);
	}
}

void print(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vprint(fmt, &ap);
	va_end(ap);
}

static unsigned checks, failures;

bool check_at(bool ok, const char *file, int at, const char *what, const char *fmt, ...)
{
	va_list ap;

	checks++;
	if (ok)
		return true;
	failures++;
	print("FAIL %s:%d: %s: ", file, at, what);
	va_start(ap, fmt);
	vprint(fmt, &ap);
	va_end(ap);
	print("\n");
	return false;
}

int check_status(void)
{
	print("%u checks, %u failed\n", checks, failures);
	return failures || !checks;
}
