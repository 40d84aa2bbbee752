/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * log: lines on stderr for the person who runs the VM. Any thread; a line is one write().
 */
#ifndef TRIVM_VMM_LOG_H
#define TRIVM_VMM_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum log_level {
	LOG_ERROR,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG
};

/* What is shown from now on; LOG_WARN at start. Any thread. */
void log_set_level(enum log_level level);
enum log_level log_level(void);
bool log_enabled(enum log_level level);

/* What lines begin with, "trivm" at start. A string that stays. Before there are threads. */
void log_set_name(const char *name);

/* "trivm: warning: ..." */
void log_line(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)                                    \
	do {                                              \
		if (log_enabled(LOG_DEBUG))               \
			log_line(LOG_DEBUG, __VA_ARGS__); \
	} while (0)

/*
 * For lines that a guest or a peer can cause at will: at most LOG_LIMIT_BURST in any
 * LOG_LIMIT_SECONDS; the first line after a silence says how many were left out.
 * One static or per-device object for each place that complains. Any thread.
 */
#define LOG_LIMIT_BURST   5
#define LOG_LIMIT_SECONDS 10

struct log_limit {
	_Atomic int64_t window;     /* start of the running window, monotonic seconds */
	_Atomic unsigned in_window; /* lines asked for in it */
	_Atomic unsigned dropped;   /* lines not shown since the last one shown */
};

void log_limited(struct log_limit *limit, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
