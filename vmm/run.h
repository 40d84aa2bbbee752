/* SPDX-License-Identifier: BSD-2-Clause */
/* run: the command `trivm run`. */
#ifndef TRIVM_VMM_RUN_H
#define TRIVM_VMM_RUN_H

/* The options after `run`; returns the exit status (exit_status.h). Main thread, before any other.
 */
int run_main(int argc, char **argv);

/* The text of `trivm run --help`, on stdout. */
void run_help(void);

#endif
