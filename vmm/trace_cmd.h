/* SPDX-License-Identifier: BSD-2-Clause */
/* trace_cmd: the command `trivm trace`: the journey of a packet, for people. */
#ifndef TRIVM_VMM_TRACE_CMD_H
#define TRIVM_VMM_TRACE_CMD_H

#include <jansson.h>
#include <stdio.h>

/* The arguments after the command's name; returns the exit status. Main thread. */
int trace_main(int argc, char **argv);
void trace_help(void); /* `trivm trace --help`, on stdout */

/* --- trace_show.c --- */

/*
 * Print the journeys that are in @events, a list of events as net.trace.read gives them, for the
 * trace that net.trace described as @trace; then the times in the middle. How many there were.
 */
size_t trace_show(FILE *out, const json_t *trace, const json_t *events);

#endif
