/* SPDX-License-Identifier: BSD-2-Clause */
/* stats: what the ports have counted, as text. */
#ifndef TRIVM_SWITCH_STATS_H
#define TRIVM_SWITCH_STATS_H

#include "switch/sw.h"

/* A line for each port and a number, "port NAME counter value", and some for the switch. */
void stats_print(const struct sw *sw, FILE *out);

#endif
