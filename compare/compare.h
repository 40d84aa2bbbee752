/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compare: the command `trivm compare`: a guest on each road, measured side by side
 * (docs/compare.md).
 */
#ifndef TRIVM_COMPARE_COMPARE_H
#define TRIVM_COMPARE_COMPARE_H

#define EXIT_MEASURE 1 /* a workload could not be measured on some road */

/* The arguments after the command's name; returns the exit status. Main thread, the only one. */
int compare_main(int argc, char **argv);

void compare_help(void); /* `trivm compare --help`, on stdout */

#endif
