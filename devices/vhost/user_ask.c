/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: every call is one message, and where the back-end can answer (REPLY_ACK) an
 * answer is asked for, so that what goes wrong is known at the step at which it does. Messages that
 * have an answer anyway serve as barriers for those that have none.
 *
 * Posting. An answer costs two wake-ups, and a ring has half a dozen settings, while nobody serves
 * it. These are posted: sent without waiting. Their answers come, in the same order, before that of
 * the next message which is waited for, and are looked at then.
 *
 * An answer is taken if it is the one that is due: the same request, the reply flag, a size that it
 * may have, and not more descriptors. Everything else, and silence, ends the connection. It is
 * ended by shutdown(): the descriptor itself may be in a loop on another thread, which finds the
 * end of the stream and closes it.
 *
 * Patience. The caller holds the NIC's lock and may be a vCPU. There is an account of
 * VHOST_USER_PATIENCE_MS for the whole connection, from which time spent waiting is taken, and to
 * which time that passes otherwise is added. So a back-end that is slow with every answer does not
 * get the limit anew for each of the hundreds of messages that start a NIC with many queues.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/vhost/user_priv.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* The connection is of no use any more: say so and end it. Returns -EPIPE. */
void vhost_user_shut(struct vhost_user *u)
{
	if (!vhost_user_on(u))
		return;
	u->failed = true;
	if (u->req_fd >= 0)
		shutdown(u->req_fd, SHUT_RDWR);
}

static int fail(struct vhost_user *u, uint32_t request, const char *why)
{
	if (u->failed)
		return -EPIPE;
	log_limited(&u->limit, LOG_WARN, "%s: vhost-user back-end: %s%s%s; disconnected",
	            u->vhost.name, why, request ? ", request " : "",
	            request ? vu_request_name(request) : "");
	vhost_user_shut(u);
	return -EPIPE;
}

/*
 * The back-end is told by the end of the stream. Our own side stays open: only so the kernel says
 * when the back-end has closed its side, and its answers can still come.
 */
int vu_fail(struct vhost_user *u, uint32_t request, const char *why)
{
	int rc = fail(u, request, why);

	u->unsound = true;
	shutdown(u->fd, SHUT_WR);
	return rc;
}

int vu_fail_rc(struct vhost_user *u, uint32_t request, int rc)
{
	switch (rc) {
	case -ETIMEDOUT:
		return fail(u, request, "no answer in time");
	case -ENODATA:
	case -EPIPE:
	case -ECONNRESET:
		return vu_fail(u, request, "it has closed the connection");
	case -EPROTO:
	case -EMSGSIZE:
		return vu_fail(u, request, "a malformed message");
	default:
		return vu_fail(u, request, strerror(-rc));
	}
}

/* The time until which may be waited now. */
static int64_t begin_wait(struct vhost_user *u)
{
	int64_t now = vu_deadline(0);

	u->patience += now - u->idle_since;
	if (u->patience > VHOST_USER_PATIENCE_MS)
		u->patience = VHOST_USER_PATIENCE_MS;
	u->idle_since = now;
	return now + u->patience;
}

static void end_wait(struct vhost_user *u)
{
	int64_t now = vu_deadline(0);

	u->patience -= now - u->idle_since;
	u->idle_since = now;
}

/* Is what came the answer to @request, of @min to @max bytes, and without descriptors unless @fds? */
static int check_answer(struct vhost_user *u, uint32_t request, uint32_t min, uint32_t max,
                        bool fds)
{
	const struct vu_msg *m = &u->rx.msg;

	if (m->request != request || !(m->flags & VU_REPLY))
		return vu_fail(u, request, "an answer to something else");
	if (m->size < min || m->size > max)
		return vu_fail(u, request, "an answer of a wrong size");
	if (u->rx.had_fds && !fds)
		return vu_fail(u, request, "descriptors that nobody asked for");
	return 0;
}

/* The answer to @request, one of success or failure, is in u->rx. */
static int take_ack(struct vhost_user *u, uint32_t request)
{
	int rc = check_answer(u, request, 8, 8, false);

	if (rc == 0 && u->rx.msg.p.u64 != 0) {
		log_debug("%s: the vhost-user back-end refuses %s", u->vhost.name,
		          vu_request_name(request));
		rc = -EREMOTEIO;
	}
	vu_done(u);
	return rc;
}

/* The answers to what was posted. 0, -EREMOTEIO: one was refused, or an error of the connection,
 * which has FAILED then. */
static int settle(struct vhost_user *u, int64_t deadline)
{
	unsigned n = u->nr_posted;
	int rc = 0;

	u->nr_posted = 0;
	for (unsigned i = 0; i < n; i++) {
		int one = vu_recv(u->fd, &u->rx, deadline);

		one = one < 0 ? vu_fail_rc(u, u->posted[i], one) : take_ack(u, u->posted[i]);
		if (one < 0)
			rc = one;
		if (one < 0 && one != -EREMOTEIO)
			break;
	}
	return rc;
}

int vu_exchange(struct vhost_user *u, struct vu_msg *msg, const int *fds, unsigned nr_fds,
                uint32_t answer_min, uint32_t answer_max)
{
	bool ack = !answer_max && vu_has(u, VU_PROTOCOL_REPLY_ACK);
	int rc, before = 0;
	int64_t deadline;

	if (!vhost_user_on(u))
		return -EPIPE;
	msg->flags = VU_VERSION | (ack ? VU_NEED_REPLY : 0);
	deadline = begin_wait(u);
	rc = vu_send(u->fd, msg, fds, nr_fds, deadline);
	u->unsound |= rc < 0; /* a part of it may have been sent */
	if (rc == 0)
		before = settle(u, deadline);
	if (rc == 0 && vhost_user_on(u) && (ack || answer_max))
		rc = vu_recv(u->fd, &u->rx, deadline);
	end_wait(u);
	if (rc < 0)
		return vu_fail_rc(u, msg->request, rc);
	if (!vhost_user_on(u))
		return -EPIPE;
	if (answer_max)
		return check_answer(u, msg->request, answer_min, answer_max,
		                    msg->request == VU_GET_INFLIGHT_FD);
	if (ack)
		rc = take_ack(u, msg->request);
	return before < 0 ? before : rc;
}

int vu_post(struct vhost_user *u, struct vu_msg *msg, const int *fds, unsigned nr_fds)
{
	int rc;

	/* Without such answers there is nothing to wait for. */
	if (!vu_has(u, VU_PROTOCOL_REPLY_ACK) || u->nr_posted == VHOST_USER_POSTED_MAX)
		return vu_exchange(u, msg, fds, nr_fds, 0, 0);
	if (!vhost_user_on(u))
		return -EPIPE;
	msg->flags = VU_VERSION | VU_NEED_REPLY;
	rc = vu_send(u->fd, msg, fds, nr_fds, begin_wait(u));
	end_wait(u);
	u->unsound |= rc < 0;
	if (rc < 0)
		return vu_fail_rc(u, msg->request, rc);
	u->posted[u->nr_posted++] = msg->request;
	return 0;
}

int vu_ask_plain(struct vhost_user *u, uint32_t request)
{
	struct vu_msg msg = {.request = request};

	return vu_exchange(u, &msg, NULL, 0, 0, 0);
}

int vu_ask_u64(struct vhost_user *u, uint32_t request, uint64_t value)
{
	struct vu_msg msg = {.request = request, .size = sizeof(value), .p.u64 = value};

	return vu_exchange(u, &msg, NULL, 0, 0, 0);
}

int vu_ask_state(struct vhost_user *u, uint32_t request, unsigned index, uint32_t num)
{
	struct vu_msg msg = {
		.request = request,
		.size = sizeof(struct vu_state),
		.p.state = {.index = index, .num = num},
	};

	return vu_exchange(u, &msg, NULL, 0, 0, 0);
}

int vu_get_u64(struct vhost_user *u, uint32_t request, uint64_t *value)
{
	struct vu_msg msg = {.request = request};
	int rc = vu_exchange(u, &msg, NULL, 0, 8, 8);

	if (rc == 0)
		*value = u->rx.msg.p.u64;
	vu_done(u);
	return rc;
}
