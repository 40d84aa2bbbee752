/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * child: the processes that compare starts: iproute2, virtual machines, back-ends, iperf3.
 *
 * Each has a process group of its own (Ctrl-C on the terminal is for compare, which ends them),
 * dies with compare however that ends, reads nothing, and writes to a file. Nobody waits for one
 * without a limit. One thread, which is the only one of the process.
 */
#ifndef TRIVM_COMPARE_CHILD_H
#define TRIVM_COMPARE_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "vmm/err.h"

struct child {
	pid_t pid; /* 0: not started, or gone and collected */
};

/* Once, before all others here: SIGCHLD and the signals that stop compare come only when it looks.
 */
void child_begin(void);

/* The signal that asked compare to stop (SIGINT, SIGTERM, SIGHUP), or 0. Does not wait. */
int child_stop_signal(void);

/*
 * Start @argv (found in PATH). Its standard output and error go to the file @out, made anew; NULL:
 * nowhere. 0 or a negative errno; -ENOENT: there is no such program.
 */
int child_start(struct child *child, char *const argv[], const char *out, struct err *err);

/*
 * Wait until it has ended: 0, and *@status as waitpid(2) has it. -ETIMEDOUT: it has not after @ms;
 * -EINTR: compare is to stop. It goes on then.
 */
int child_wait(struct child *child, unsigned ms, int *status);

bool child_runs(struct child *child); /* collects it if it has ended */

/* End it at once, with its process group, and collect it. Idempotent. */
void child_kill(struct child *child);

/* Wait @ms. 0, or -EINTR: compare is to stop. */
int child_sleep(unsigned ms);

/*
 * Run @argv to its end with its output in @out, as child_start() has it, but for at most @ms.
 * -EIO: it failed; the error has the command and its output's first line.
 */
int child_run(char *const argv[], const char *out, unsigned ms, struct err *err);

/* The same for a command in one string, words apart by single blanks. */
int child_command(const char *command, const char *out, struct err *err);

/* The words of @argv as one would type them, as far as they fit. Returns @buf. */
const char *child_typed(char *const argv[], char *buf, size_t size);

/* All of the file @path as clean text, to be freed, or NULL. At most 1 MiB. */
char *child_output(const char *path);

/* Make what a stranger wrote fit for a terminal and for JSON: other bytes than ASCII's become '?'. */
void child_clean(char *text);

#endif
