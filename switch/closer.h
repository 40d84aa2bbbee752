/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * closer: closes descriptors that a front-end sent, and everything that may hold some. close() can
 * take as long as the front-end likes (a file of a file system in user space whose server does not
 * answer), or long (the last reference to its memory), so it happens in a process that nobody waits
 * for. One for the whole program; main thread.
 */
#ifndef TRIVM_SWITCH_CLOSER_H
#define TRIVM_SWITCH_CLOSER_H

#include <stdbool.h>

#include "vmm/err.h"

#define CLOSER_OWNERS 256

/*
 * Start the process, while there is no other thread. @confined: it gives up its capabilities and
 * all system calls but those that it needs. 0 or a negative errno.
 */
int closer_start(bool confined, struct err *err);
void closer_stop(void); /* idempotent; descriptors that are not closed yet stay with its children */

/*
 * Close *@fd, which @owner (below CLOSER_OWNERS) sent, without waiting for it; *@fd becomes -1.
 * Before closer_start() and after closer_stop() it is closed here.
 */
void closer_close(unsigned owner, int *fd);

/* Descriptors of @owner's whose close() has not come back. */
unsigned closer_pending(unsigned owner);

#endif
