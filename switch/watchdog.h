/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * watchdog: a write to a front-end's eventfd must not block. It is non-blocking when we get it, but
 * the front-end has it too: it can make it blocking again and its count full, and then one write
 * would stop the switch for all. A signal every WATCHDOG_MS, while there is work, ends such a
 * write.
 */
#ifndef TRIVM_SWITCH_WATCHDOG_H
#define TRIVM_SWITCH_WATCHDOG_H

#include <signal.h>

#define WATCHDOG_MS 250

/* Once in a process, on the main thread, which gets the signals (SIGALRM). 0 or a negative errno.
 */
int watchdog_init(void);

/* Add 1 to @eventfd. 0; -EINTR: it blocked. Main thread. */
int watchdog_signal(int eventfd);

#endif
