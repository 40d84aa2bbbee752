/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * net_switch: give a NIC another datapath while its driver goes on using it.
 */
#ifndef TRIVM_DEVICES_NET_NET_SWITCH_H
#define TRIVM_DEVICES_NET_NET_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/net/datapath.h"
#include "devices/net/net.h"
#include "vmm/err.h"

struct net_switch_report {
	bool running;      /* a driver was there; if not, the rest is 0 */
	unsigned rings;    /* handed over */
	unsigned frames;   /* of the guest that waited in them at that moment, to be transmitted */
	uint64_t gap_us;   /* from the first ring's stop to the last one's start */
	char warning[320]; /* the caller's: what the user has to know about the new port; "" */
};

/*
 * Move @net from the datapath that it has to *@dp, which has not been set up. In either case the
 * caller destroys what is in *@dp afterwards: on success the old one, on an error, after which the
 * old one goes on, the new one. Errors, with the reason in @err:
 *
 *   -EOPNOTSUPP	it lacks a feature that the driver negotiated, or, without a driver, one
 *			that the next driver is offered
 *   -ENOTCONN		it has no far side (a vhost-user back-end that is not there)
 *   -EBUSY		the old one's back-end does not give the rings back: the link is down
 *   -EIO		the device is broken, and waits for its driver to reset it
 *   others		it could not start
 *
 * Main thread. It waits for the datapaths' threads, and for the locks of the device.
 */
int net_switch(struct net *net, struct datapath **dp, struct net_switch_report *report,
               struct err *err);

/*
 * -EOPNOTSUPP, with the names in @err: a datapath that has @features, which @who names for people,
 * lacks one that the driver has negotiated, or, without a driver, that the next one is offered. Any
 * thread.
 */
int net_lacks(struct net *net, uint64_t features, const char *who, struct err *err);

#endif
