/* SPDX-License-Identifier: BSD-2-Clause */
/* net_priv: what net.c, net_ctrl.c and net_switch.c have for each other. */
#ifndef TRIVM_DEVICES_NET_NET_PRIV_H
#define TRIVM_DEVICES_NET_NET_PRIV_H

#include "devices/net/net.h"

/* The features that are the NIC's own, whatever its datapath can do. */
uint64_t net_own_features(const struct net *net);

/* Start queue @index at @dp, from the base where it stands. Both locks are held. */
int net_ring_start(struct net *net, struct datapath *dp, unsigned index, struct err *err);

/* The driver has kicked queue @index, which may be the control queue. Main loop, no lock held. */
void net_ctrl_kicked(struct virtio_device *dev, unsigned index);

/* From now on net->dp says whether there is a carrier, no longer @before (NULL: there was none).
 * Main thread; the locks are not held. */
void net_watch(struct net *net, struct datapath *before);

#endif
