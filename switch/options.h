/* SPDX-License-Identifier: BSD-2-Clause */
/* options: trivm-switch's command line. Strings are borrowed from argv, which is cut up. */
#ifndef TRIVM_SWITCH_OPTIONS_H
#define TRIVM_SWITCH_OPTIONS_H

#include <stdio.h>

#include "devices/net/port.h"
#include "switch/guest.h"
#include "vmm/err.h"

#define OPTIONS_PORTS_MAX   64
#define OPTIONS_UPLINKS_MAX 8

enum uplink_kind {
	UPLINK_TAP,
	UPLINK_USER
};

struct uplink_options {
	enum uplink_kind kind;
	const char *id;
	const char *tap;    /* NULL: make one */
	const char *bridge; /* NULL: none */
	unsigned mtu;       /* 0: what the interface has; user: PORT_USER_MTU */
	struct port_user_config user;
	uint16_t vlan;
	bool isolated;
};

struct options {
	unsigned nr_ports, nr_uplinks;
	struct guest_config ports[OPTIONS_PORTS_MAX];
	struct uplink_options uplinks[OPTIONS_UPLINKS_MAX];
	uint32_t poll_us; /* SW_POLL_NEVER, microseconds, SW_POLL_FOREVER */
	uint32_t age;     /* seconds */
	uint32_t wait_ms;
	const char *stats;
	unsigned no_sandbox, verbose, help, version, words;
};

/* -EINVAL: the sentence in @err names option, value and what was expected. Main thread. */
int options_parse(struct options *o, int argc, char **argv, struct err *err);

void options_print_help(FILE *out);
void options_print_words(FILE *out); /* for shell completion: an option a line, and its value */

#endif
