/* SPDX-License-Identifier: BSD-2-Clause */
/* top: `trivm top`, what running VMs are busy with, by their control sockets. */
#ifndef TRIVM_VMM_TOP_H
#define TRIVM_VMM_TOP_H

#include <stdbool.h>

#include "vmm/err.h"
#include "vmm/top_view.h"

/* `trivm top ARG...`: the exit status. */
int top_main(int argc, char **argv);
void top_help(void);

/* --- top_screen.c: the terminal. Main thread. --- */

/* Take the terminal. 0, or a negative errno: there is none, or it is not known what it can do. */
int top_screen_open(struct err *err);
/* As it was before. Idempotent. */
void top_screen_close(void);

/* Show @lines with @title above; those that do not fit can be reached by the keys. */
void top_screen_show(const char *title, const struct top_lines *lines);

/*
 * Serve the keyboard and changes of the terminal's size for @ms milliseconds. True: q was pressed,
 * or the terminal is gone. It ends early when a signal comes.
 */
bool top_screen_wait(unsigned ms);

#endif
