/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * nic: one `--net`: a port, a datapath, the virtio-net device and its transport, put together and
 * taken apart in reverse.
 */
#ifndef TRIVM_VMM_NIC_H
#define TRIVM_VMM_NIC_H

#include <stdbool.h>

#include "devices/net/net.h"
#include "vmm/err.h"
#include "vmm/memory.h"
#include "vmm/net_options.h"
#include "vmm/virtio_slots.h"

struct nic {
	char name[32]; /* net0, net1 ..., or what the user called it */
	char port[128]; /* the wire, for people */
	bool has_net;
	struct net net;
	struct virtio_transport transport;
};

/* Main thread, before the guest runs. On an error nothing is left. Destroying is idempotent. */
int nic_build(struct nic *nic, const struct net_options *options, unsigned index,
              struct virtio_slots *slots, const struct memory *mem, struct err *err);
void nic_destroy(struct nic *nic);

#endif
