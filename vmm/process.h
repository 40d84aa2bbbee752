/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * process: the state in which a program is started, which is its parent's to choose: standard
 * descriptors that may be closed, and signals that may be ignored.
 */
#ifndef TRIVM_VMM_PROCESS_H
#define TRIVM_VMM_PROCESS_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * The first call of main(). Each of the descriptors 0 to 2 that is closed becomes /dev/null, so
 * that no file opened later gets its number. SIGXFSZ is ignored: a write beyond `ulimit -f` fails
 * with EFBIG, as it does on a full disk with ENOSPC.
 */
void process_start(void);

/* Was @sig ignored when the program was started (nohup; a script's background job)? */
bool process_ignores(int sig);

/*
 * Add to @set those of the @n @signals that were not ignored at the start. A signalfd, a blocked
 * set or a handler is for these only: a blocked signal is delivered to a signalfd even if it is
 * ignored.
 */
void process_add_signals(sigset_t *set, const int *signals, size_t n);

/* In a forked child before exec(): SIGPIPE and SIGXFSZ as this program's parent had them. */
void process_restore_signals(void);

#endif
