/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The size of the terminal behind a serial port. A serial line does not carry it, so the terminal is asked:
 *
 *   ttysize   at login: asks if standard input is a serial port of which no size is known
 *   resize    asks at any time, and prints the size as commands for a shell: eval $(resize)
 *
 * Theory of operation: the cursor is moved farther to the right and down than any terminal is large, which
 * puts it into the last corner, and the terminal is asked for its position (DSR 6). It answers ESC [ LINES ;
 * COLUMNS R, as if that were typed. Meanwhile the line is read byte by byte and does not echo. Bytes that are
 * not part of the answer have been typed by the user; they are put back into the line's input (TIOCSTI, which root
 * may use) in their order, before the line gets its settings back. A terminal that does not answer within
 * ANSWER_MS leaves the size as it was, and the shell reads an answer that comes later. Of more than AHEAD_MAX bytes
 * that were typed meanwhile all arrive, but the first ones may come after the others.
 */
#include <linux/fcntl.h>
#include <linux/poll.h>
#include <linux/time.h>
#include <asm/ioctls.h>
#include <asm/stat.h>
#include <asm/termbits.h>
#include <asm/termios.h>

#include "nolibc.h"

#define ANSWER_MS  2000
#define AHEAD_MAX  4000 /* the kernel holds 4095 bytes of a line's input */
#define SIZE_MAX   9999
#define TTY_MAJOR  4
#define SERIAL_MIN 64 /* the minor number of ttyS0 */

#define ASK     "\0337\033[9999;9999H\033[6n"
#define RESTORE "\0338"

/* An answer as far as it has come: its bytes, which are the user's if it turns out to be something else. */
struct answer {
	char bytes[16];
	unsigned len;
	unsigned value[2]; /* lines, columns */
	unsigned nr;       /* the value that is read */
	int complete;
};

static char ahead[AHEAD_MAX];
static unsigned nr_ahead;

static int is_serial(long fd)
{
	struct stat st;

	if (syscall3(__NR_fstat, fd, (long)&st, 0) < 0 || (st.st_mode & 0170000) != 0020000)
		return 0;
	return ((st.st_rdev >> 8) & 0xfff) == TTY_MAJOR && (st.st_rdev & 0xff) >= SERIAL_MIN;
}

static long now_ms(void)
{
	struct __kernel_timespec ts;

	syscall3(__NR_clock_gettime, CLOCK_MONOTONIC, (long)&ts, 0);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Does @c continue the answer @a? */
static int accept(struct answer *a, char c)
{
	unsigned *value = &a->value[a->nr];

	if (a->len < 2)
		return c == "\033["[a->len];
	if (c >= '0' && c <= '9') {
		*value = *value * 10 + (unsigned)(c - '0');
		return *value <= SIZE_MAX;
	}
	if (!*value)
		return 0;
	if (c == ';' && a->nr == 0) {
		a->nr = 1;
		return 1;
	}
	a->complete = c == 'R' && a->nr == 1;
	return a->complete;
}

static void keep(const char *bytes, unsigned len)
{
	for (unsigned i = 0; i < len && nr_ahead < AHEAD_MAX; i++)
		ahead[nr_ahead++] = bytes[i];
}

static void take(struct answer *a, char c)
{
	if (a->len < sizeof(a->bytes) && accept(a, c)) {
		a->bytes[a->len++] = c;
		return;
	}
	keep(a->bytes, a->len);
	*a = (struct answer){.len = 0};
	if (c == '\033')
		a->bytes[a->len++] = c;
	else
		keep(&c, 1);
}

/* One byte that comes within @ms. */
static int next_byte(long fd, long ms, char *c)
{
	struct pollfd p = {.fd = (int)fd, .events = POLLIN};

	return ms >= 0 && syscall3(__NR_poll, (long)&p, 1, ms) > 0 &&
	       syscall3(__NR_read, fd, (long)c, 1) == 1;
}

/* Read until the answer is complete, the time is over, or more was typed than can be put back. */
static void wait_for_answer(long fd, struct answer *a)
{
	long end = now_ms() + ANSWER_MS;
	char c;

	while (!a->complete && nr_ahead + sizeof(a->bytes) < AHEAD_MAX &&
	       next_byte(fd, end - now_ms(), &c))
		take(a, c);
	if (!a->complete)
		keep(a->bytes, a->len);
	/* Bytes behind the answer stay behind those before it. */
	while (nr_ahead && nr_ahead < AHEAD_MAX && next_byte(fd, 0, &c))
		keep(&c, 1);
}

/* Ask the terminal behind @fd, and set its size. False if it did not answer. */
static int ask(long fd, struct winsize *size)
{
	struct answer a = {.len = 0};
	struct termios before, raw;

	if (syscall3(__NR_ioctl, fd, TCGETS, (long)&before) < 0)
		return 0;
	raw = before;
	raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO | ISIG);
	raw.c_cc[VMIN] = 1;
	raw.c_cc[VTIME] = 0;
	syscall3(__NR_ioctl, fd, TCSETS, (long)&raw);
	syscall3(__NR_write, fd, (long)ASK, sizeof(ASK) - 1);
	wait_for_answer(fd, &a);
	syscall3(__NR_write, fd, (long)RESTORE, sizeof(RESTORE) - 1);
	/* Before the settings: the bytes were echoed when they were typed, or will be by who reads them. */
	for (unsigned i = 0; i < nr_ahead; i++)
		syscall3(__NR_ioctl, fd, TIOCSTI, (long)&ahead[i]);
	syscall3(__NR_ioctl, fd, TCSETS, (long)&before);
	if (!a.complete)
		return 0;
	*size = (struct winsize){.ws_row = (unsigned short)a.value[0],
	                         .ws_col = (unsigned short)a.value[1]};
	return syscall3(__NR_ioctl, fd, TIOCSWINSZ, (long)size) == 0;
}

static char *put_text(char *to, const char *text)
{
	while (*text)
		*to++ = *text++;
	return to;
}

static char *put_number(char *to, unsigned value)
{
	char digits[10];
	unsigned n = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while (value /= 10);
	while (n)
		*to++ = digits[--n];
	return to;
}

static int resize(void)
{
	long fd = syscall3(__NR_open, (long)"/dev/tty", O_RDWR, 0);
	char text[80], *end = text;
	struct winsize size;

	if (fd < 0)
		return complain("resize: there is no terminal (/dev/tty cannot be opened)\n");
	if (!ask(fd, &size))
		return complain("resize: the terminal did not say its size within 2 s\n");
	end = put_number(put_text(end, "COLUMNS="), size.ws_col);
	end = put_number(put_text(end, "; LINES="), size.ws_row);
	end = put_text(end, "; export COLUMNS LINES;\n");
	syscall3(__NR_write, 1, (long)text, end - text);
	return 0;
}

static int run(long argc, char **argv)
{
	const char *name = argv[0];
	struct winsize size;

	for (const char *p = argv[0]; *p; p++)
		if (*p == '/')
			name = p + 1;
	if (argc > 1)
		return complain("usage: resize   (asks the terminal for its size)\n") + 1;
	if (same(name, "resize"))
		return resize();
	if (!is_serial(0) || syscall3(__NR_ioctl, 0, TIOCGWINSZ, (long)&size) < 0 || size.ws_row ||
	    size.ws_col)
		return 0;
	return !ask(0, &size);
}
