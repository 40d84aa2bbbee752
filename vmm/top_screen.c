/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: ncurses keeps the terminal; here is what of the lines is on it. The last
 * lines that were shown are kept, so that scrolling and a new size need nothing from the VMs. There
 * is one screen for a process, as with ncurses.
 */
#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <errno.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "vmm/clock.h"
#include "vmm/top.h"
#include "vmm/util.h"

static struct {
	SCREEN *screen;
	char title[TOP_LINE_MAX];
	struct top_lines lines;
	int first; /* of the lines, that is on the screen */
} top;

int top_screen_open(struct err *err)
{
	const char *term = getenv("TERM");

	if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return err_set(err, -ENOTTY,
		               "this is not a terminal; -b prints to a file or a pipe");
	setlocale(LC_CTYPE, "");
	top.screen = newterm(NULL, stdout, stdin);
	if (!top.screen)
		return err_set(err, -ENOTSUP,
		               "TERM=%s: no such terminal is known here; -b needs none",
		               term ? term : "");
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	curs_set(0);
	return 0;
}

void top_screen_close(void)
{
	if (!top.screen)
		return;
	endwin();
	delscreen(top.screen);
	top.screen = NULL;
	top_lines_free(&top.lines);
}

/* One line of the screen, which ends where the screen does. */
static void draw_line(int y, const char *text, attr_t attr)
{
	wchar_t wide[TOP_LINE_MAX];
	int columns = 0, n = 0;

	/* What this locale cannot show is not shown at all, rather than as something else. */
	if (mbstowcs(wide, text, ARRAY_SIZE(wide)) == (size_t)-1)
		swprintf(wide, ARRAY_SIZE(wide), L"?");
	wide[ARRAY_SIZE(wide) - 1] = L'\0';
	for (; wide[n]; n++) {
		int width = wcwidth(wide[n]);

		if (width < 0) {
			wide[n] = L'?';
			width = 1;
		}
		if (columns + width > COLS)
			break;
		columns += width;
	}
	attrset(attr);
	mvaddnwstr(y, 0, wide, n);
	attrset(A_NORMAL);
}

static void draw(void)
{
	static const attr_t attrs[] = {
		[TOP_PLAIN] = A_NORMAL, [TOP_VM] = A_BOLD, [TOP_HEAD] = A_REVERSE};
	int last = (int)top.lines.nr - (LINES - 1);

	if (top.first > last)
		top.first = last;
	if (top.first < 0)
		top.first = 0;
	erase();
	draw_line(0, top.title, A_BOLD);
	for (int y = 1; y < LINES && top.first + y - 1 < (int)top.lines.nr; y++) {
		const struct top_line *l = &top.lines.lines[top.first + y - 1];

		draw_line(y, l->text, attrs[l->style]);
	}
	refresh();
}

void top_screen_show(const char *title, const struct top_lines *lines)
{
	top_lines_free(&top.lines);
	snprintf(top.title, sizeof(top.title), "%s", title);
	for (unsigned i = 0; i < lines->nr; i++)
		top_line(&top.lines, lines->lines[i].style, "%s", lines->lines[i].text);
	draw();
}

/* True: the end. */
static bool key(int c)
{
	switch (c) {
	case 'q':
	case 'Q':
		return true;
	case KEY_UP:
	case 'k':
		top.first--;
		break;
	case KEY_DOWN:
	case 'j':
		top.first++;
		break;
	case KEY_PPAGE:
		top.first -= LINES - 1;
		break;
	case KEY_NPAGE:
	case ' ':
		top.first += LINES - 1;
		break;
	case KEY_HOME:
		top.first = 0;
		break;
	case KEY_END:
		top.first = (int)top.lines.nr;
		break;
	case KEY_RESIZE: /* ncurses has seen SIGWINCH, and LINES and COLS are new */
		break;
	default:
		return false;
	}
	draw();
	return false;
}

bool top_screen_wait(unsigned ms)
{
	uint64_t end = clock_ms() + ms, now;

	while ((now = clock_ms()) < end) {
		int c;

		timeout((int)(end - now));
		errno = 0;
		c = getch();
		if (c == ERR && errno == EINTR)
			return false;
		/* At once and without a time-out: the terminal is at its end. */
		if (c == ERR && clock_ms() < end)
			return !isatty(STDIN_FILENO) || feof(stdin);
		if (c != ERR && key(c))
			return true;
	}
	return false;
}
