/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control: the control socket of a VM: connections, lines of JSON-RPC (jsonrpc.h) and
 * notifications. What the methods do is control_vm.h's. docs/control.md is the protocol.
 *
 * It lives on the main loop, never blocks it, and its memory is bounded whatever clients do:
 *
 *   - a request line has at most CONTROL_LINE_MAX bytes; one that is longer ends its connection
 *   - one request of one client is served in each round of the loop, and none while the client has
 *     not read the replies before it
 *   - a notification that a client has no room for (CONTROL_NOTIFY_MAX) is left out and counted;
 * the next one that fits says how many; after CONTROL_LOST_MAX the connection ends
 *   - at most CONTROL_CLIENTS_MAX connections: who has been silent for longest makes room, if that
 *     was longer than CONTROL_IDLE_MS; else the new one is told so and closed
 */
#ifndef TRIVM_VMM_CONTROL_H
#define TRIVM_VMM_CONTROL_H

#include <jansson.h>
#include <stdbool.h>

#include "vmm/control_path.h"
#include "vmm/err.h"
#include "vmm/event.h"
#include "vmm/jsonrpc.h"
#include "vmm/loop.h"

#define CONTROL_LINE_MAX        65536
#define CONTROL_REPLY_MAX       (1u << 20)
#define CONTROL_NOTIFY_MAX      65536 /* bytes not sent yet above which notifications are left out */
#define CONTROL_LOST_MAX        1000
#define CONTROL_CLIENTS_MAX     32
#define CONTROL_SUBSCRIBERS_MAX 16 /* these are never pushed out as silent */
#define CONTROL_IDLE_MS         1000

struct control;

/*
 * Listen at @path (control_listen()). @rpc's table and opaque outlive it. 0 or a negative errno.
 * Main thread, as all here but control_sink()'s post().
 */
int control_open(struct control **control, struct loop *loop, const char *path,
                 const struct jsonrpc *rpc, struct err *err);

/* Events of other threads and replies that wait are sent as far as that goes without waiting.
 * NULL: nothing. */
void control_close(struct control *control);

/* Has anybody subscribed? NULL: no. */
bool control_heard(const struct control *control);

/* Tell those who subscribed: {"event": @event, "time": ..., fields}. @fields is given away; NULL:
 * none. @control NULL: nothing. */
void control_notify(struct control *control, const char *event, json_t *fields);

/* The same for any thread: it comes to control_notify() on the main loop, as "device" and "detail".
 */
struct event_sink control_sink(struct control *control);

/* For methods: call->client begins or ends to be notified. -EBUSY: too many are. */
int control_subscribe(struct control *control, void *client, bool on, struct err *err);

#endif
