/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * daemon: --daemonize: the guest goes on in a process without a terminal; the one that was started
 * returns when the guest runs, or with the error that kept it from running.
 */
#ifndef TRIVM_VMM_DAEMON_H
#define TRIVM_VMM_DAEMON_H

#include <stdbool.h>

#include "vmm/err.h"

struct daemon {
	int ready_fd;         /* the parent waits at its other end; -1: there is none */
	int log_fd;           /* where stderr goes when it is ready; -1: nowhere else */
	char log_path[256];   /* of a log that is removed at the end if it is empty; "": none is */
	const char *pid_file; /* written when it is ready, removed at the end; NULL: none */
	int pid_fd;           /* of the pid file, which is locked; -1: none was written */
	const char *announce; /* printed on stdout when it is ready; NULL: nothing */
};

/*
 * Continue in a child. The parent does not return: it waits for daemon_ready() and exits with 0, or
 * for the child's end and exits as that did. Before there are threads or anything else to share. 0
 * or a negative errno.
 */
int daemon_fork(struct daemon *d, struct err *err);

/*
 * Open @path for messages, to be added to. @ours: nobody asked for it, and it goes if nothing was
 * said. 0 or a negative errno.
 */
int daemon_open_log(struct daemon *d, const char *path, bool ours, struct err *err);

/*
 * The guest runs: write the pid file, let go of stdin and stdout if there is a parent, have
 * messages go to the log, let the parent return. Only the first call does something. 0 or a
 * negative errno.
 */
int daemon_ready(struct daemon *d, struct err *err);

void daemon_close(struct daemon *d); /* idempotent */

#endif
