/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * uplink: a port of the switch that leads to the host: a tap, or the user-mode network. It is one
 * of the ports that a NIC can have (devices/net/port.h), the other way round.
 */
#ifndef TRIVM_SWITCH_UPLINK_H
#define TRIVM_SWITCH_UPLINK_H

#include <stdio.h>

#include "devices/net/port.h"
#include "switch/fabric.h"
#include "vmm/loop.h"

struct sw;
struct uplink;

struct uplink_config {
	struct port *port; /* becomes the uplink's, also on failure; queue 0 is used */
	const char *id;
	uint16_t vlan;
	bool isolated;
};

/* Added to the fabric and the loop. 0 or a negative errno. */
int uplink_create(struct uplink **u, struct sw *sw, const struct uplink_config *config,
                  struct err *err);
void uplink_destroy(struct uplink *u); /* NULL: nothing */

/* Frames from the host wait for a full port, or only for their turn. Bring them again. */
bool uplink_waits(const struct uplink *u);
bool uplink_has_work(const struct uplink *u);
void uplink_retry(struct uplink *u);

/* Frames that the host's side of it dropped: lines like those of the counters. */
void uplink_print(const struct uplink *u, FILE *out);

/* What it is, for people. */
void uplink_describe(const struct uplink *u, char *buf, size_t len);
/* Bytes behind the Ethernet header that pass; 0: not known. */
unsigned uplink_mtu(const struct uplink *u);
const char *uplink_name(const struct uplink *u);
struct sw_port *uplink_port(struct uplink *u);

#endif
