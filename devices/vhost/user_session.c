/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a connection from its beginning to its end. First the front-end asks what
 * the back-end can do and says what of it is used; then come the kind's calls (user.c), on the same
 * socket, in any order. Besides, the back-end may make requests on a socket of its own, of which
 * one is known here: that the configuration space changed, in which only the link's state is of
 * interest.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/vhost/user_priv.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/log.h"

/* What is asked of a back-end that has it. */
#define PROTOCOL_WANTED                                                                  \
	(BIT64(VU_PROTOCOL_MQ) | BIT64(VU_PROTOCOL_REPLY_ACK) | BIT64(VU_PROTOCOL_MTU) | \
	 BIT64(VU_PROTOCOL_BACKEND_REQ) | BIT64(VU_PROTOCOL_CONFIG) |                    \
	 BIT64(VU_PROTOCOL_INFLIGHT_SHMFD) | BIT64(VU_PROTOCOL_RESET_DEVICE) |           \
	 BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS) | BIT64(VU_PROTOCOL_STATUS))

/* 64 rings of 32768 descriptors of 32 bytes take half of it: a back-end gets no more memory. */
#define INFLIGHT_MAX MIB(128)

/* --- The inflight region --- */

void vhost_user_forget(struct vhost_user *u)
{
	vu_drop_inflight(u);
}

void vu_drop_inflight(struct vhost_user *u)
{
	fd_close(&u->inflight_fd);
	u->inflight = (struct vu_inflight){0};
}

/*
 * The back-end makes the region and sends its size and a descriptor. Only the size is used: the
 * region that is shared is a memfd of ours of that size, all zeros as a new one has to be. So this
 * process never has a descriptor of the back-end's (vu_rx_init_plain()), and a back-end that cuts
 * the region does not end its successor, for it is sealed.
 */
static int make_inflight(struct vhost_user *u, uint64_t size, bool has_fd)
{
	int fd;

	if (size == 0 && !has_fd) {
		log_debug("%s: the back-end has no inflight region after all", u->vhost.name);
		return 0;
	}
	if (size == 0 || size > INFLIGHT_MAX || !has_fd)
		return vu_fail(u, VU_GET_INFLIGHT_FD, "an inflight region that is not there");
	fd = fd_shared_memory("inflight", size, 0);
	if (fd < 0)
		return fd;
	u->inflight_fd = fd;
	u->inflight = (struct vu_inflight){
		.mmap_size = size,
		.nr_queues = (uint16_t)u->vhost.nr_rings,
		.queue_size = u->queue_size,
	};
	return 0;
}

static int get_inflight(struct vhost_user *u)
{
	struct vu_msg msg = {
		.request = VU_GET_INFLIGHT_FD,
		.size = sizeof(struct vu_inflight),
		.p.inflight = {.nr_queues = (uint16_t)u->vhost.nr_rings,
	                       .queue_size = u->queue_size},
	};
	int rc = vu_exchange(u, &msg, NULL, 0, 20, sizeof(struct vu_inflight));

	if (rc == 0)
		rc = make_inflight(u, u->rx.msg.p.inflight.mmap_size, u->rx.had_fds);
	vu_done(u);
	return rc;
}

/* The format depends on the features, so they are set; no ring is there yet. */
int vu_share_inflight(struct vhost_user *u)
{
	struct vu_msg msg = {.request = VU_SET_INFLIGHT_FD, .size = sizeof(struct vu_inflight)};
	int rc = 0;

	if (!vu_has(u, VU_PROTOCOL_INFLIGHT_SHMFD))
		return 0;
	u->inflight_old = u->inflight_fd >= 0;
	if (!u->inflight_old)
		rc = get_inflight(u);
	if (rc < 0 || u->inflight_fd < 0)
		return rc;
	msg.p.inflight = u->inflight;
	return vu_exchange(u, &msg, &u->inflight_fd, 1, 0, 0);
}

/* --- The configuration space, and the back-end's requests --- */

int vhost_user_link(struct vhost_user *u, bool *up)
{
	const uint32_t len = sizeof(uint16_t);
	struct vu_msg msg = {.request = VU_GET_CONFIG, .size = 12 + len};
	int rc;

	*up = true;
	if (!vu_has(u, VU_PROTOCOL_CONFIG) || !(u->offered & BIT64(VIRTIO_NET_F_STATUS)))
		return 0;
	msg.p.config.offset = offsetof(struct virtio_net_config, status);
	msg.p.config.size = len;
	/* A size of 0 says that it cannot. */
	rc = vu_exchange(u, &msg, NULL, 0, 12, 12 + len);
	if (rc == 0 && u->rx.msg.p.config.size == len && u->rx.msg.size == 12 + len)
		*up = load_le16(u->rx.msg.p.config.data) & VIRTIO_NET_S_LINK_UP;
	vu_done(u);
	return rc;
}

int vhost_user_look(struct vhost_user *u)
{
	char byte;
	ssize_t n;

	if (u->failed)
		return -EPIPE;
	n = recv(u->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n > 0)
		return vu_fail(u, 0, "it talks without being asked");
	return vu_fail_rc(u, 0, n == 0 ? -ENODATA : -errno);
}

int vhost_user_request(struct vhost_user *u)
{
	struct vu_msg answer = {.flags = VU_VERSION | VU_REPLY, .size = 8};
	const struct vu_msg *m = &u->req_rx.msg;
	int rc;

	if (!vhost_user_on(u) || u->req_fd < 0)
		return -EPIPE;
	rc = vu_rx_step(&u->req_rx, u->req_fd);
	if (rc <= 0)
		return rc == 0 ? 0 : vu_fail_rc(u, 0, rc);
	/* The only one that was agreed upon. It has no payload and no descriptors. */
	if (m->request != VU_BACKEND_CONFIG_CHANGE || !vu_has(u, VU_PROTOCOL_CONFIG) || m->size ||
	    u->req_rx.had_fds || (m->flags & VU_REPLY)) {
		log_debug("%s: back-end request %u of %u bytes", u->vhost.name, m->request,
		          m->size);
		vu_rx_reset(&u->req_rx);
		return vu_fail(u, 0, "a request that was not agreed upon");
	}
	rc = 1;
	if ((m->flags & VU_NEED_REPLY) && vu_has(u, VU_PROTOCOL_REPLY_ACK)) {
		answer.request = m->request;
		if (vu_send(u->req_fd, &answer, NULL, 0, 0) < 0)
			rc = vu_fail(u, 0, "it does not read answers to its requests");
	}
	vu_rx_reset(&u->req_rx);
	return rc;
}

/* --- Coming and going --- */

void vhost_user_init(struct vhost_user *u, const char *name, unsigned pairs, uint16_t queue_size)
{
	memset(u, 0, sizeof(*u));
	u->vhost.ops = &vhost_user_ops;
	u->vhost.name = name;
	u->vhost.nr_rings = 2 * pairs;
	u->pairs_wanted = pairs;
	u->queue_size = queue_size;
	u->fd = u->req_fd = u->inflight_fd = u->peer.pidfd = -1;
	vu_rx_init_plain(&u->rx);
	vu_rx_init_plain(&u->req_rx);
}

/* The other end of this goes to the back-end. */
static int open_requests(struct vhost_user *u)
{
	struct vu_msg msg = {.request = VU_SET_BACKEND_REQ_FD};
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		return -errno;
	u->req_fd = sv[0];
	rc = vu_exchange(u, &msg, &sv[1], 1, 0, 0);
	fd_close(&sv[1]);
	return rc;
}

static int agree(struct vhost_user *u)
{
	uint64_t offered = 0;
	int rc = vu_get_u64(u, VU_GET_FEATURES, &u->offered);

	if (rc < 0 || !(u->offered & BIT64(VU_F_PROTOCOL_FEATURES)))
		return rc;
	rc = vu_get_u64(u, VU_GET_PROTOCOL_FEATURES, &offered);
	if (rc < 0)
		return rc;
	/* Only what it declared may be set; an answer is asked for from then on. */
	rc = vu_ask_u64(u, VU_SET_PROTOCOL_FEATURES, offered & PROTOCOL_WANTED);
	u->protocol = offered & PROTOCOL_WANTED;
	return rc;
}

/* How much of a NIC can it serve? */
static int ask_limits(struct vhost_user *u, struct err *err)
{
	uint64_t pairs = 1;
	int rc = 0;

	if (vu_has(u, VU_PROTOCOL_MQ))
		rc = vu_get_u64(u, VU_GET_QUEUE_NUM, &pairs);
	if (rc == 0 && pairs < u->pairs_wanted)
		return err_set(err, -EOPNOTSUPP,
		               "%s: queues=%u: the vhost-user back-end has %llu queue pair(s): "
		               "give it more, or the NIC fewer",
		               u->vhost.name, u->pairs_wanted, (unsigned long long)pairs);
	if (rc == 0 && vu_has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS))
		rc = vu_get_u64(u, VU_GET_MAX_MEM_SLOTS, &u->slots);
	if (rc == 0 && vu_has(u, VU_PROTOCOL_BACKEND_REQ))
		rc = open_requests(u);
	return rc;
}

static int greet(struct vhost_user *u, struct err *err)
{
	int rc = agree(u);

	if (rc == 0 && !(u->offered & BIT64(VIRTIO_F_VERSION_1)))
		return err_set(err, -EOPNOTSUPP,
		               "%s: the vhost-user back-end knows the interface of before virtio "
		               "1.0 only",
		               u->vhost.name);
	if (rc == 0)
		rc = ask_limits(u, err);
	if (rc == 0)
		rc = vu_ask_plain(u, VU_SET_OWNER);
	if (rc == -EPIPE && err && !err->msg[0])
		return err_set(err, rc,
		               "%s: the vhost-user back-end does not agree, the connection is "
		               "closed; most serve one NIC at a socket: if there is one already, "
		               "use another port of the back-end",
		               u->vhost.name);
	if (rc < 0 && err && !err->msg[0])
		err_errno(err, rc, "%s: the vhost-user back-end does not agree", u->vhost.name);
	return rc;
}

int vhost_user_answers(int fd)
{
	const struct vu_msg ask = {.request = VU_GET_FEATURES, .flags = VU_VERSION};
	int64_t until = vu_deadline(VHOST_USER_PATIENCE_MS);
	struct vu_rx rx;
	int rc;

	vu_rx_init_plain(&rx);
	rc = vu_send(fd, &ask, NULL, 0, until);
	if (rc == 0)
		rc = vu_recv(fd, &rx, until);
	if (rc == 0 && rx.msg.request != VU_GET_FEATURES)
		rc = -EPROTO;
	vu_rx_reset(&rx);
	return rc;
}

int vhost_user_attach(struct vhost_user *u, int fd, struct err *err)
{
	int rc;

	vhost_user_detach(u);
	u->fd = fd;
	vu_peer_find(&u->peer, fd);
	u->idle_since = vu_deadline(0);
	u->patience = VHOST_USER_PATIENCE_MS;
	rc = greet(u, err);
	if (rc < 0) {
		vhost_user_detach(u);
		return rc;
	}
	log_debug("%s: vhost-user: features 0x%llx, protocol features 0x%llx", u->vhost.name,
	          (unsigned long long)u->offered, (unsigned long long)u->protocol);
	return 0;
}

void vhost_user_detach(struct vhost_user *u)
{
	fd_close(&u->fd);
	fd_close(&u->req_fd);
	vu_peer_forget(&u->peer);
	vu_rx_reset(&u->rx);
	vu_rx_reset(&u->req_rx);
	u->failed = u->unsound = u->mem_sent = false;
	u->base_asked = 0;
	u->nr_posted = 0;
	u->offered = u->protocol = u->slots = 0;
	u->status = 0;
	u->inflight_old = u->stopped_one = false;
	u->vhost.running = 0;
}

void vhost_user_destroy(struct vhost_user *u)
{
	vhost_user_detach(u);
	vu_drop_inflight(u);
}
