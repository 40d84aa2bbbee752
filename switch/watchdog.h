/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watchdog: a write to a front-end's eventfd must not block. The switch makes it non-blocking, but
 * the front-end has it too: it can make it blocking again and its count full. So the flag is looked
 * at before each write and set again. There remains the moment between the look and the write: a
 * signal every WATCHDOG_MS, while there is work, ends a write that blocks all the same, and the
 * front-end pays for it by its session (guest_conn.c: penalty()).
 */
#ifndef TRIVM_SWITCH_WATCHDOG_H
#define TRIVM_SWITCH_WATCHDOG_H

#include <signal.h>

#define WATCHDOG_MS 10

/* Once in a process, on the main thread, which gets the signals (SIGALRM). 0 or a negative errno.
 */
int watchdog_init(void);

/* Add 1 to @eventfd. 0; 1: done, but it had been made blocking; -EINTR: it blocked. Main thread. */
int watchdog_signal(int eventfd);

#endif
