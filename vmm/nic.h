/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nic: one `--net`: a port, a datapath, the virtio-net device and its transport, put together and
 * taken apart in reverse.
 */
#ifndef TRIVM_VMM_NIC_H
#define TRIVM_VMM_NIC_H

#include <stdbool.h>

#include "devices/net/net.h"
#include "devices/net/net_switch.h"
#include "devices/net/port.h"
#include "devices/virtio/observe.h"
#include "vmm/err.h"
#include "vmm/log.h"
#include "vmm/memory.h"
#include "vmm/net_options.h"
#include "vmm/virtio_slots.h"

struct nic {
	char name[32];              /* net0, net1 ..., or what the user called it */
	struct net_options options; /* as they are now: a switch changes them */
	struct loop *loop;          /* the main loop */
	struct port *port;          /* NULL: there has been no need for one; idle with vhost-user */
	struct pcap_writer *pcap;
	char wire[128]; /* where it leads, for people */
	/* While the vhost-user back-end is away, if there is a fallback: nic_failover.c. */
	struct datapath *home;           /* the back-end's; NULL: it has the packets */
	struct net_options home_options; /* what the options are when it has them */
	struct datapath_host home_host;  /* whom @home tells of its far side meanwhile */
	_Atomic bool home_up;            /* the back-end is there */
	int failover_fd;                 /* an eventfd: home_up has changed */
	int retry_fd;                    /* a timerfd: after an attempt that failed */
	uint64_t retry_ms;               /* clock_ms(): not before */
	bool failover_said;              /* why it cannot be had, since the back-end was lost */
	struct log_limit failover_limit;
	struct loop_source failover, retry;
	struct observer *observer; /* of the trace that was last asked for (control_trace.c) */
	bool has_net;
	struct net net;
	struct virtio_transport transport;
};

/* Main thread, before the guest runs. On an error nothing is left. Destroying is idempotent. */
int nic_build(struct nic *nic, const struct net_options *options, unsigned index,
              struct virtio_slots *slots, const struct memory *mem, struct err *err);
void nic_destroy(struct nic *nic);

/*
 * Switch the datapath, the port or both while the guest runs: net_options_switch()'s @spec, and
 * what net_switch() says. On an error all is as before. Main thread; a vhost-user back-end is
 * waited for a second (or as wait= says).
 */
int nic_switch(struct nic *nic, const char *spec, struct net_switch_report *report,
               struct err *err);

/* --- For nic_failover.c. --- */

/*
 * nic_switch() to @next. @keep: where the datapath before goes, which is the caller's then; NULL:
 * it is destroyed.
 */
int nic_move(struct nic *nic, const struct net_options *next, struct datapath **keep,
             struct net_switch_report *report, struct err *err);
/* The options have become @next: what is said of the NIC. */
void nic_became(struct nic *nic, const struct net_options *next);

/* --- nic_features.c. Main thread. --- */

/*
 * *@masked: the features that a NIC with @o does not offer though its datapath has them, because
 * another one lacks them that it may be switched to. -EINVAL, with the feature's name and the
 * remedy: the user names a datapath that cannot do what he asks for.
 */
int nic_features_masked(const struct net_options *o, uint64_t *masked, struct err *err);
/* Can the fallback in @o, if there is one, do what @nic's driver has negotiated? -EOPNOTSUPP. */
int nic_features_check_fallback(struct nic *nic, const struct net_options *o, struct err *err);

/* --- nic_mtu.c. Main thread. --- */

/*
 * What the driver is offered as the MTU of a NIC with @o: mtu=, or @port's (NULL: that of the port
 * that a fallback will have, as far as it can be seen). 0: none is known.
 */
uint16_t nic_mtu(const struct net_options *o, const struct port *port);
/* For a port that is opened for @nic and @o: what it is to carry. 0: what such a port usually does. */
unsigned nic_mtu_of_new_port(const struct nic *nic, const struct net_options *o);
/* Give @port's interface what mtu= says, and one that exists for this NIC only @mtu, if we may. */
void nic_mtu_apply(const struct nic *nic, const struct net_options *o, struct port *port,
                   unsigned mtu);
/* Does the port carry what the guest may send, and with mtu= the other way? If not: @warning, which
 * is logged, too; else "". */
void nic_mtu_check(const struct nic *nic, char *warning, size_t size);

/* --- nic_failover.c. Main thread. --- */

/* Watch the back-end, if the options name a fallback for it; and leave that. */
int nic_failover_begin(struct nic *nic, struct err *err);
void nic_failover_end(struct nic *nic); /* idempotent */

#endif
