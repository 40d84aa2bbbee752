/* SPDX-License-Identifier: BSD-2-Clause */
/* user_priv: what the parts of vhost-user's front-end share: one message and its answer. */
#ifndef TRIVM_DEVICES_VHOST_USER_PRIV_H
#define TRIVM_DEVICES_VHOST_USER_PRIV_H

#include "devices/vhost/user.h"
#include "vmm/util.h"

static inline bool vu_has(const struct vhost_user *u, enum vu_protocol_feature bit)
{
	return u->protocol & BIT64(bit);
}

/* The answer in u->rx was looked at. A part of one that was late stays: see vhost_user_ask_back(). */
static inline void vu_done(struct vhost_user *u)
{
	if (!u->failed)
		vu_rx_reset(&u->rx);
}

/* The connection is of no use any more: log it, once, and end it. @request: during which one; 0:
 * none. Returns -EPIPE. */
int vu_fail(struct vhost_user *u, uint32_t request, const char *why);
/* The same for an error of user_wire.h. */
int vu_fail_rc(struct vhost_user *u, uint32_t request, int rc);

/*
 * Send @msg (its flags are set here). With @answer_max it has an answer of its own, of so many
 * bytes, which is then in u->rx: the caller resets that. Otherwise its success is waited for, if
 * the back-end can tell. 0, -EPIPE (FAILED), or -EREMOTEIO: it refuses this, or what was posted
 * before.
 */
int vu_exchange(struct vhost_user *u, struct vu_msg *msg, const int *fds, unsigned nr_fds,
                uint32_t answer_min, uint32_t answer_max);

/*
 * Send @msg, one without an answer of its own, and do not wait: if it is refused, the next
 * vu_exchange() says so. 0 or -EPIPE (FAILED); with nobody to wait for as vu_exchange().
 */
int vu_post(struct vhost_user *u, struct vu_msg *msg, const int *fds, unsigned nr_fds);

/* Those without an answer of their own ... */
int vu_ask_plain(struct vhost_user *u, uint32_t request);
int vu_ask_u64(struct vhost_user *u, uint32_t request, uint64_t value);
int vu_ask_state(struct vhost_user *u, uint32_t request, unsigned index, uint32_t num);
/* ... and those that are answered with a number. */
int vu_get_u64(struct vhost_user *u, uint32_t request, uint64_t *value);

/* The device status, if the back-end wants to know it. */
int vu_set_status(struct vhost_user *u, uint8_t status);

/* Give the inflight region, after asking for a new one if there is none. Features are set, for the
 * format depends on them; no ring is there yet. */
int vu_share_inflight(struct vhost_user *u);
void vu_drop_inflight(struct vhost_user *u);

extern const struct vhost_ops vhost_user_ops;

#endif
