/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user: the vhost-user kind of vhost (vhost.h): rings served by another process, the back-end, over
 * a Unix socket. This is one connection to it; who connects, and again, is not said here.
 *
 *   OFF	 no connection
 *   ON		 vhost_user_attach(): protocol features are agreed upon; vhost.h's calls work
 *   FAILED	 the back-end closed, was late, or broke the protocol: every call returns -EPIPE at
 *		 once. vhost_user_detach() leads to OFF; before that the caller sees to the rings
 *		 that the back-end may still have (vhost_user_ask_back())
 *
 * The back-end is hostile: what it sends is bounded, checked against what was asked for, and waited
 * for with a limit: VHOST_USER_PATIENCE_MS in all, which fills up again while nobody waits. It
 * never learns an address of this process: what the protocol calls user addresses are guest
 * addresses, shifted.
 *
 * Threads: one at a time, the caller's lock. But the descriptors are only closed by
 * vhost_user_detach(): whoever watches them in a loop calls that.
 */
#ifndef TRIVM_DEVICES_VHOST_USER_H
#define TRIVM_DEVICES_VHOST_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vhost/user_peer.h"
#include "devices/vhost/user_wire.h"
#include "devices/vhost/vhost.h"
#include "vmm/err.h"
#include "vmm/log.h"

#define VHOST_USER_PATIENCE_MS 5000

#define VHOST_USER_POSTED_MAX 8

struct vhost_user {
	struct vhost vhost; /* vhost.name, nr_rings: set by vhost_user_init() */
	unsigned pairs_wanted;
	uint16_t queue_size; /* the largest, for the inflight region */

	int fd;     /* the connection; -1: OFF */
	int req_fd; /* the back-end's requests come here; -1: it has none */
	bool failed;
	bool unsound;        /* and what comes on the connection makes no sense any more */
	uint64_t base_asked; /* rings whose VU_GET_VRING_BASE was sent and not answered: mask */
	struct vu_peer peer; /* the process at the other end */
	struct log_limit limit;
	struct vu_rx rx, req_rx;
	int64_t patience, idle_since; /* milliseconds */
	/* Requests that were sent and whose answers have not been waited for, oldest first. */
	uint32_t posted[VHOST_USER_POSTED_MAX];
	unsigned nr_posted;

	uint64_t offered;  /* by the back-end: virtio features, all bits that it sent */
	uint64_t protocol; /* protocol features in use: mask */
	uint64_t slots;    /* memory regions that it takes */
	bool mem_sent;
	uint8_t status;   /* that it was told last */
	bool enable_late; /* rings are enabled by vhost_user_enable_all(), not as they start */
	uint64_t enabled; /* rings that shall move packets when they run: mask */
	int call_fd[VHOST_RINGS_MAX]; /* of rings that run; the caller's */
	bool stopped_one; /* a ring was stopped while others ran, and none was started since */

	/*
	 * Where the back-end notes what it has in flight: a sealed memfd of ours, as long as a
	 * back-end wanted it, which its successor gets, too. So it survives vhost_user_detach();
	 * dropped by vhost_user_reset(). This process never looks into it.
	 */
	int inflight_fd;
	struct vu_inflight inflight;
	bool inflight_old; /* this back-end was given what another one noted */
};

/* OFF. @rings are 2 * @pairs. @name is borrowed. */
void vhost_user_init(struct vhost_user *u, const char *name, unsigned pairs, uint16_t queue_size);

/*
 * Does who is at the other end of @fd answer a first question (VHOST_USER_GET_FEATURES) at all? 0,
 * -ETIMEDOUT after VHOST_USER_PATIENCE_MS, or another negative errno. Nothing is changed by it, so
 * that it can be asked without a lock: a process that hangs accepts connections all the same.
 */
int vhost_user_answers(int fd);

/*
 * Take over the connected socket @fd (also on an error) and agree on protocol features. ON, or
 * OFF and a negative errno with the reason.
 */
int vhost_user_attach(struct vhost_user *u, int fd, struct err *err);

/* Close the connection. Idempotent. */
void vhost_user_detach(struct vhost_user *u);

/* detach, and forget the inflight region. Idempotent. */
void vhost_user_destroy(struct vhost_user *u);

static inline bool vhost_user_on(const struct vhost_user *u)
{
	return u->fd >= 0 && !u->failed;
}

/*
 * u->fd is readable though nothing was asked: the back-end is gone, or says what it must not. 0: it
 * was an answer that has been read since; -EPIPE: FAILED now, logged.
 */
int vhost_user_look(struct vhost_user *u);

/*
 * u->req_fd is readable: serve one request. 1: the configuration space changed
 * (vhost_user_link()); 0: nothing to do; -EPIPE: FAILED now, logged.
 */
int vhost_user_request(struct vhost_user *u);

/*
 * Should the ring move packets? If not, the back-end hands in none and drops the driver's. Holds
 * for a ring that runs and for its next start. 0 or a negative errno.
 */
int vhost_user_enable(struct vhost_user *u, unsigned index, bool on);

/* Enable the rings that run and shall move packets: after starts with @enable_late. 0 or -errno. */
int vhost_user_enable_all(struct vhost_user *u);

/*
 * All rings with which the driver begins have been started. A back-end that knows the device status
 * looks only now how many they are (DPDK: one that looked earlier would not serve the others). 0 or
 * a negative errno.
 */
int vhost_user_driver_ok(struct vhost_user *u);

/* The driver's MTU, if the back-end wants to know it. 0 or a negative errno: it refuses. */
int vhost_user_mtu(struct vhost_user *u, uint16_t mtu);

/* The driver has reset the device; no ring runs. Works also when it is not ON. */
void vhost_user_reset(struct vhost_user *u);

/* What is noted in the inflight region is not true any more: rings have been changed since. */
void vhost_user_forget(struct vhost_user *u);

/* Is the link on the back-end's side up? True if it does not say. 0 or a negative errno. */
int vhost_user_link(struct vhost_user *u, bool *up);

/* No more of this back-end: FAILED, if it was ON, without a line in the log. */
void vhost_user_shut(struct vhost_user *u);

/*
 * FAILED: ask the back-end for the bases of the rings @held, if it can still be asked, without
 * waiting. The answers are for whoever reads the connection then (vu_rx_step() on u->rx). 0 or a
 * negative errno: there will be none.
 */
int vhost_user_ask_back(struct vhost_user *u, uint64_t held);

/* A base as it came, with the upper half that some back-ends leave out of a packed ring's. */
virtq_base_t vhost_user_base(const struct vhost_user *u, uint32_t num);

#endif
