/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dp_vhost_user: the datapath "vhost-user": another process, the back-end, moves the packets.
 *
 * The back-end may come late, go, and come back; the NIC and its driver stay. While it is away the
 * link is down (datapath_host's carrier). What the driver does meanwhile - start and stop rings,
 * reset, negotiate anew - is noted, and the next back-end finds the rings where the last one left
 * them (virtq_recover(), and the inflight region where both have it).
 */
#ifndef TRIVM_DEVICES_NET_DP_VHOST_USER_H
#define TRIVM_DEVICES_NET_DP_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/net/datapath.h"
#include "vmm/err.h"

#define VHOST_USER_PAIRS_MAX 32

#define VHOST_USER_WAIT_FOREVER UINT32_MAX

struct datapath_vhost_user_config {
	const char *name; /* the NIC's; borrowed */
	const char *path; /* of the socket; copied */
	bool server;      /* we make the socket and the back-end connects */
	/*
	 * How long the first back-end is waited for, in seconds. 0: not at all. The NIC begins
	 * without one, and offers net_features_of_absent_backend (dp_features.h).
	 */
	uint32_t wait_s;
	unsigned pairs;
	uint16_t queue_size;
	uint16_t mtu; /* what the driver is offered; 0: none */
	bool packed;  /* the user wants packed rings: an error if the back-end has none */
};

/*
 * 0 or a negative errno with cause and remedy. -EINTR: a signal came that asks us to end. Main
 * thread, which waits for the back-end here.
 */
int datapath_vhost_user_create(struct datapath **dp,
                               const struct datapath_vhost_user_config *config, struct err *err);

#endif
