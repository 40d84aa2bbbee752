/* SPDX-License-Identifier: BSD-2-Clause */
/* The methods that the one table (control_vm.c) has from other files. All: jsonrpc_method's call,
 * opaque is a struct control_vm. */
#ifndef TRIVM_VMM_CONTROL_PRIV_H
#define TRIVM_VMM_CONTROL_PRIV_H

#include "vmm/control_vm.h"

/* control_net.c */
int control_net_list(void *opaque, struct jsonrpc_call *call);
int control_net_link(void *opaque, struct jsonrpc_call *call);
int control_net_reset(void *opaque, struct jsonrpc_call *call);
int control_net_datapath(void *opaque, struct jsonrpc_call *call);
int control_net_stats(void *opaque, struct jsonrpc_call *call);
/* The card that parameter "id" names, or NULL with the sentence in call->err. */
struct nic *control_find_nic(struct control_vm *vm, struct jsonrpc_call *call);

/* control_disk.c */
int control_disk_list(void *opaque, struct jsonrpc_call *call);
int control_disk_resize(void *opaque, struct jsonrpc_call *call);

/* control_trace.c */
int control_net_trace(void *opaque, struct jsonrpc_call *call);
int control_net_trace_read(void *opaque, struct jsonrpc_call *call);
int control_net_trace_stop(void *opaque, struct jsonrpc_call *call);

/* control_queues.c */
int control_device_stats(void *opaque, struct jsonrpc_call *call);
/* The virtio device that parameter "id" names, or NULL with the sentence in call->err. */
struct virtio_transport *control_find_device(struct control_vm *vm, struct jsonrpc_call *call);
/*
 * Add to @out how often @queue of @dev was notified and interrupted, by the ways. @events NULL: it
 * has no transport. *@calls: what was counted of interrupts.
 */
void control_add_ways(json_t *out, struct virtio_device *dev, const struct virtio_events *events,
                      unsigned queue, struct virtio_call_counts *calls);

/* control_rings.c */
int control_device_rings(void *opaque, struct jsonrpc_call *call);

/* control_stats.c */
int control_stats(void *opaque, struct jsonrpc_call *call);

#endif
