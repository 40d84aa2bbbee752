/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a line is formatted on the stack and leaves in one write(), so lines of
 * several threads never mix and no lock is held while a terminal is slow. The rate limit is a fixed
 * window counted with relaxed atomics: two threads that race at the window's edge may show a line
 * more than the burst, which harms nobody.
 */
#include "vmm/log.h"
#include "vmm/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int shown_level = LOG_WARN;
static const char *shown_name = "trivm";

void log_set_name(const char *name)
{
	shown_name = name;
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&shown_level, (int)level, memory_order_relaxed);
}

enum log_level log_level(void)
{
	return (enum log_level)atomic_load_explicit(&shown_level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&shown_level, memory_order_relaxed);
}

static void log_vline(enum log_level level, const char *fmt, va_list ap)
{
	static const char *const names[] = {"error: ", "warning: ", "", "debug: "};
	char text[1024], line[1024];
	/* Room is kept for the line end. */
	const size_t max = sizeof(line) - 2;
	size_t len;
	int n;

	n = snprintf(line, max, "%s: %s", shown_name, names[level]);
	len = n > 0 ? (size_t)n : 0;
	/* File names, and what a guest or a peer sent: nothing in them may steer a terminal. */
	if (vsnprintf(text, sizeof(text), fmt, ap) > 0)
		len += text_printable(line + len, max - len, text);
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody is left to tell */
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (!log_enabled(level))
		return;
	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}

/* Whether this line may be shown; counts it either way. */
static bool limit_pass(struct log_limit *limit)
{
	struct timespec now;
	int64_t start;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	start = atomic_load_explicit(&limit->window, memory_order_relaxed);
	if (start == 0 || now.tv_sec - start >= LOG_LIMIT_SECONDS) {
		/* 0 means "never used", also on a machine that has just started. */
		atomic_store_explicit(&limit->window, now.tv_sec ? now.tv_sec : 1,
		                      memory_order_relaxed);
		atomic_store_explicit(&limit->in_window, 0, memory_order_relaxed);
	}
	if (atomic_fetch_add_explicit(&limit->in_window, 1, memory_order_relaxed) < LOG_LIMIT_BURST)
		return true;
	atomic_fetch_add_explicit(&limit->dropped, 1, memory_order_relaxed);
	return false;
}

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
{
	unsigned dropped;
	va_list ap;

	if (!log_enabled(level) || !limit_pass(limit))
		return;
	dropped = atomic_exchange_explicit(&limit->dropped, 0, memory_order_relaxed);
	if (dropped)
		log_line(level, "(%u lines like the next one were left out)", dropped);
	va_start(ap, fmt);
	log_vline(level, fmt, ap);
	va_end(ap);
}
