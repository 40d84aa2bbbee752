/* SPDX-License-Identifier: BSD-2-Clause */
/* sandbox: what the process may still do once all is open. */
#ifndef TRIVM_SWITCH_SANDBOX_H
#define TRIVM_SWITCH_SANDBOX_H

#include <stdbool.h>

#include "vmm/err.h"

struct sandbox_config {
	bool user_network; /* libslirp's thread opens sockets */
};

/*
 * Give up all capabilities and install the system call filter, for all threads, for good. A call
 * that is not on the list ends the process. 0 or a negative errno.
 */
int sandbox_enter(const struct sandbox_config *config, struct err *err);

/* The same for the closer, with a much shorter list. */
int sandbox_enter_closer(void);

#endif
