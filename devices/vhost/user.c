/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: every call is one message, and where the back-end can answer (REPLY_ACK) an
 * answer is asked for, so that what goes wrong is known at the step at which it does. Messages that
 * have an answer anyway serve as barriers for those that have none.
 *
 * An answer is taken if it is the one that is due: the same request, the reply flag, the exact size,
 * as many descriptors as it may have. Everything else, and silence, ends the connection. It is ended
 * by shutdown(): the descriptor itself may be in a loop on another thread, which finds the end of
 * the stream and closes it.
 *
 * Patience. The caller holds the NIC's lock and may be a vCPU. There is an account of
 * VHOST_USER_PATIENCE_MS for the whole connection, from which time spent waiting is taken, and to
 * which time that passes otherwise is added. So a back-end that is slow with every answer does not
 * get the limit anew for each of the hundreds of messages that start a NIC with many queues.
 *
 * Bases. A packed ring's has four parts (queue.h); some back-ends (DPDK) answer with the lower half
 * only, the available position, having nothing in flight when they stop. The upper half is then 0,
 * and taken to be the same. A position 0 with wrap counter 0 is a valid upper half, too, but only
 * together with the same lower half, if nothing is in flight.
 *
 * Memory is passed once for each connection; the back-end keeps it through resets of the driver.
 */
#include "devices/vhost/user.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* What is asked of a back-end that has it. */
#define PROTOCOL_WANTED                                                                \
	(BIT64(VU_PROTOCOL_MQ) | BIT64(VU_PROTOCOL_REPLY_ACK) | BIT64(VU_PROTOCOL_MTU) | \
	 BIT64(VU_PROTOCOL_BACKEND_REQ) | BIT64(VU_PROTOCOL_CONFIG) |                  \
	 BIT64(VU_PROTOCOL_INFLIGHT_SHMFD) | BIT64(VU_PROTOCOL_RESET_DEVICE) |         \
	 BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS) | BIT64(VU_PROTOCOL_STATUS))

/* A guest address as a user address: never 0, which some take for "none". */
#define USER_ADDR(gpa) ((gpa) + (UINT64_C(1) << 46))

#define STATUS_DRIVER      (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define STATUS_FEATURES_OK (STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STATUS_DRIVER_OK   (STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

static struct vhost_user *user_of(struct vhost *v)
{
	return container_of(v, struct vhost_user, vhost);
}

static bool has(const struct vhost_user *u, enum vu_protocol_feature bit)
{
	return u->protocol & BIT64(bit);
}

/* --- One message and its answer --- */

/* The connection is of no use any more: say so and end it. Returns -EPIPE. */
static int fail(struct vhost_user *u, uint32_t request, const char *why)
{
	if (u->failed)
		return -EPIPE;
	log_warn("%s: vhost-user back-end: %s (%s); disconnected", u->vhost.name, why,
	         vu_request_name(request));
	u->failed = true;
	shutdown(u->fd, SHUT_RDWR);
	if (u->req_fd >= 0)
		shutdown(u->req_fd, SHUT_RDWR);
	return -EPIPE;
}

static int fail_rc(struct vhost_user *u, uint32_t request, int rc)
{
	switch (rc) {
	case -ETIMEDOUT:
		return fail(u, request, "no answer in time");
	case -ENODATA:
	case -EPIPE:
	case -ECONNRESET:
		return fail(u, request, "it has closed the connection");
	case -EPROTO:
	case -EMSGSIZE:
		return fail(u, request, "a malformed message");
	default:
		return fail(u, request, strerror(-rc));
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

/* Is what came the answer to @request, of @size bytes and with at most @max_fds descriptors? */
static int check_answer(struct vhost_user *u, uint32_t request, uint32_t min, uint32_t max,
                        unsigned max_fds)
{
	const struct vu_msg *m = &u->rx.msg;

	if (m->request != request || !(m->flags & VU_REPLY))
		return fail(u, request, "an answer to something else");
	if (m->size < min || m->size > max)
		return fail(u, request, "an answer of a wrong size");
	if (u->rx.nr_fds > max_fds)
		return fail(u, request, "descriptors that nobody asked for");
	return 0;
}

/*
 * Send @msg. With @answer_max it has an answer of its own, which is then in u->rx (the caller
 * resets that); otherwise its success is waited for, if the back-end can tell. 0, -EPIPE (FAILED),
 * or -EREMOTEIO: it refuses.
 */
static int exchange(struct vhost_user *u, struct vu_msg *msg, const int *fds, unsigned nr_fds,
                    uint32_t answer_min, uint32_t answer_max)
{
	bool ack = !answer_max && has(u, VU_PROTOCOL_REPLY_ACK);
	int64_t deadline;
	int rc;

	if (!vhost_user_on(u))
		return -EPIPE;
	msg->flags = VU_VERSION | (ack ? VU_NEED_REPLY : 0);
	deadline = begin_wait(u);
	rc = vu_send(u->fd, msg, fds, nr_fds, deadline);
	if (rc == 0 && (ack || answer_max))
		rc = vu_recv(u->fd, &u->rx, deadline);
	end_wait(u);
	if (rc < 0)
		return fail_rc(u, msg->request, rc);
	if (answer_max)
		return check_answer(u, msg->request, answer_min, answer_max,
		                    msg->request == VU_GET_INFLIGHT_FD);
	if (!ack)
		return 0;
	rc = check_answer(u, msg->request, 8, 8, 0);
	if (rc == 0 && u->rx.msg.p.u64 != 0)
		rc = -EREMOTEIO;
	vu_rx_reset(&u->rx);
	return rc;
}

static int send_plain(struct vhost_user *u, uint32_t request)
{
	struct vu_msg msg = {.request = request};

	return exchange(u, &msg, NULL, 0, 0, 0);
}

static int send_u64(struct vhost_user *u, uint32_t request, uint64_t value)
{
	struct vu_msg msg = {.request = request, .size = sizeof(value), .p.u64 = value};

	return exchange(u, &msg, NULL, 0, 0, 0);
}

static int send_state(struct vhost_user *u, uint32_t request, unsigned index, uint32_t num)
{
	struct vu_msg msg = {
		.request = request,
		.size = sizeof(struct vu_state),
		.p.state = {.index = index, .num = num},
	};

	return exchange(u, &msg, NULL, 0, 0, 0);
}

static int get_u64(struct vhost_user *u, uint32_t request, uint64_t *value)
{
	struct vu_msg msg = {.request = request};
	int rc = exchange(u, &msg, NULL, 0, 8, 8);

	if (rc == 0)
		*value = u->rx.msg.p.u64;
	vu_rx_reset(&u->rx);
	return rc;
}

/* --- Features --- */

static int user_get_features(struct vhost *v, uint64_t *features)
{
	struct vhost_user *u = user_of(v);

	if (!vhost_user_on(u))
		return -EPIPE;
	/* Asked when it was attached. Its own two bits are between it and us. */
	*features = u->offered & ~(BIT64(VU_F_PROTOCOL_FEATURES) | BIT64(26) /* F_LOG_ALL */);
	return 0;
}

static int set_status(struct vhost_user *u, uint8_t status)
{
	return has(u, VU_PROTOCOL_STATUS) ? send_u64(u, VU_SET_STATUS, status) : 0;
}

/* Does it accept the features? Asked where it can say so. */
static int check_features_ok(struct vhost_user *u)
{
	uint64_t status;
	int rc;

	if (!has(u, VU_PROTOCOL_STATUS))
		return 0;
	rc = send_u64(u, VU_SET_STATUS, STATUS_FEATURES_OK);
	if (rc == 0)
		rc = get_u64(u, VU_GET_STATUS, &status);
	if (rc == 0 && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		rc = -EREMOTEIO;
	return rc;
}

/* --- The inflight region --- */

static void drop_inflight(struct vhost_user *u)
{
	fd_close(&u->inflight_fd);
	u->inflight = (struct vu_inflight){0};
}

/* A file that holds the region it says. It is only handed on; nothing here reads it. */
static bool inflight_plausible(const struct vu_inflight *i, int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		return false;
	return i->mmap_size && i->mmap_offset <= (uint64_t)st.st_size &&
	       i->mmap_size <= (uint64_t)st.st_size - i->mmap_offset;
}

static int get_inflight(struct vhost_user *u)
{
	struct vu_msg msg = {
		.request = VU_GET_INFLIGHT_FD,
		.size = sizeof(struct vu_inflight),
		.p.inflight = {.nr_queues = (uint16_t)u->vhost.nr_rings,
	                       .queue_size = u->queue_size},
	};
	struct vu_inflight got;
	int rc = exchange(u, &msg, NULL, 0, 20, sizeof(struct vu_inflight)), fd;

	if (rc == 0) {
		got = u->rx.msg.p.inflight;
		fd = vu_rx_take_fd(&u->rx, 0);
		if (got.mmap_size == 0 && fd < 0) {
			log_debug("%s: the back-end has no inflight region after all", u->vhost.name);
		} else if (inflight_plausible(&got, fd)) {
			u->inflight = got;
			u->inflight.nr_queues = (uint16_t)u->vhost.nr_rings;
			u->inflight.queue_size = u->queue_size;
			u->inflight.padding = 0;
			u->inflight_fd = fd;
		} else {
			fd_close(&fd);
			rc = fail(u, VU_GET_INFLIGHT_FD, "an inflight region that is not there");
		}
	}
	vu_rx_reset(&u->rx);
	return rc;
}

/* The format depends on the features, so they are set; no ring is there yet. */
static int share_inflight(struct vhost_user *u)
{
	struct vu_msg msg = {.request = VU_SET_INFLIGHT_FD, .size = sizeof(struct vu_inflight)};
	int rc = 0;

	if (!has(u, VU_PROTOCOL_INFLIGHT_SHMFD))
		return 0;
	if (u->inflight_fd < 0)
		rc = get_inflight(u);
	if (rc < 0 || u->inflight_fd < 0)
		return rc;
	msg.p.inflight = u->inflight;
	return exchange(u, &msg, &u->inflight_fd, 1, 0, 0);
}

static int user_set_features(struct vhost *v, uint64_t features)
{
	struct vhost_user *u = user_of(v);
	int rc = set_status(u, STATUS_DRIVER);

	if (u->protocol)
		features |= BIT64(VU_F_PROTOCOL_FEATURES);
	if (rc == 0)
		rc = send_u64(u, VU_SET_FEATURES, features);
	if (rc == 0)
		rc = check_features_ok(u);
	return rc == 0 ? share_inflight(u) : rc;
}

/* --- Memory --- */

static struct vu_region region_of(const struct mem_region *r)
{
	return (struct vu_region){
		.gpa = r->gpa,
		.size = r->size,
		.user_addr = USER_ADDR(r->gpa),
		.mmap_offset = r->fd_offset,
	};
}

/* One message for each region. */
static int add_regions(struct vhost_user *u, const struct memory *mem)
{
	int rc = 0;

	if (mem->nr > u->slots)
		return -ENOSPC;
	for (unsigned i = 0; i < mem->nr && rc == 0; i++) {
		struct vu_msg msg = {.request = VU_ADD_MEM_REG,
		                     .size = sizeof(struct vu_memory_region)};

		msg.p.region.region = region_of(&mem->regions[i]);
		rc = exchange(u, &msg, &mem->regions[i].fd, 1, 0, 0);
	}
	return rc;
}

static int set_table(struct vhost_user *u, const struct memory *mem)
{
	struct vu_msg msg = {.request = VU_SET_MEM_TABLE};
	int fds[VU_REGIONS_MAX];

	if (mem->nr > VU_REGIONS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < mem->nr; i++) {
		msg.p.memory.regions[i] = region_of(&mem->regions[i]);
		fds[i] = mem->regions[i].fd;
	}
	msg.p.memory.nr = mem->nr;
	msg.size = (uint32_t)(8 + mem->nr * sizeof(struct vu_region));
	return exchange(u, &msg, fds, mem->nr, 0, 0);
}

static int user_set_mem_table(struct vhost *v, const struct memory *mem)
{
	struct vhost_user *u = user_of(v);
	int rc = 0;

	v->mem = mem;
	if (!u->mem_sent)
		rc = has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS) ? add_regions(u, mem)
		                                             : set_table(u, mem);
	u->mem_sent = rc == 0;
	return rc == 0 ? set_status(u, STATUS_DRIVER_OK) : rc;
}

/* Where @p, which is in guest memory, is for the back-end. */
static uint64_t user_address(const struct memory *mem, const void *p)
{
	for (unsigned i = 0; i < mem->nr; i++) {
		const struct mem_region *r = &mem->regions[i];
		uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)r->host);

		if (offset < r->size)
			return USER_ADDR(r->gpa + offset);
	}
	return 0;
}

/* --- Rings --- */

static int user_vring_num(struct vhost *v, unsigned index, uint16_t num)
{
	return send_state(user_of(v), VU_SET_VRING_NUM, index, num);
}

static int user_vring_base(struct vhost *v, unsigned index, virtq_base_t base)
{
	return send_state(user_of(v), VU_SET_VRING_BASE, index, base);
}

static int user_vring_addr(struct vhost *v, unsigned index, const struct virtq_areas *areas)
{
	struct vu_msg msg = {.request = VU_SET_VRING_ADDR, .size = sizeof(struct vu_addr)};

	msg.p.addr.index = index;
	msg.p.addr.desc = user_address(v->mem, areas->desc);
	msg.p.addr.avail = user_address(v->mem, areas->driver);
	msg.p.addr.used = user_address(v->mem, areas->device);
	return exchange(user_of(v), &msg, NULL, 0, 0, 0);
}

static int send_eventfd(struct vhost *v, uint32_t request, unsigned index, int fd)
{
	struct vu_msg msg = {.request = request, .size = 8};

	msg.p.u64 = index | (fd < 0 ? VU_VRING_NO_FD : 0);
	return exchange(user_of(v), &msg, &fd, fd >= 0, 0, 0);
}

static int user_vring_call(struct vhost *v, unsigned index, int fd)
{
	return send_eventfd(v, VU_SET_VRING_CALL, index, fd);
}

static int user_vring_err(struct vhost *v, unsigned index, int fd)
{
	return send_eventfd(v, VU_SET_VRING_ERR, index, fd);
}

static int user_vring_kick(struct vhost *v, unsigned index, int fd)
{
	return send_eventfd(v, VU_SET_VRING_KICK, index, fd);
}

static int send_enable(struct vhost_user *u, unsigned index)
{
	/* Without protocol features a ring is enabled from the start, and stays so. */
	if (!u->protocol)
		return 0;
	return send_state(u, VU_SET_VRING_ENABLE, index, u->enabled >> index & 1);
}

static int user_vring_start(struct vhost *v, unsigned index)
{
	return send_enable(user_of(v), index);
}

static int user_vring_stop(struct vhost *v, unsigned index, virtq_base_t *base)
{
	struct vhost_user *u = user_of(v);
	struct vu_msg msg = {
		.request = VU_GET_VRING_BASE,
		.size = sizeof(struct vu_state),
		.p.state = {.index = index},
	};
	int rc = exchange(u, &msg, NULL, 0, sizeof(struct vu_state), sizeof(struct vu_state));

	if (rc == 0 && u->rx.msg.p.state.index != index)
		rc = fail(u, VU_GET_VRING_BASE, "the base of another ring");
	if (rc == 0) {
		*base = u->rx.msg.p.state.num;
		if ((v->features & BIT64(VIRTIO_F_RING_PACKED)) && !(*base >> 16))
			*base |= *base << 16;
	}
	vu_rx_reset(&u->rx);
	return rc;
}

int vhost_user_enable(struct vhost_user *u, unsigned index, bool on)
{
	uint64_t before = u->enabled;

	u->enabled = on ? before | BIT64(index) : before & ~BIT64(index);
	if (u->enabled == before || !vhost_ring_runs(&u->vhost, index))
		return 0;
	return send_enable(u, index);
}

int vhost_user_mtu(struct vhost_user *u, uint16_t mtu)
{
	return has(u, VU_PROTOCOL_MTU) ? send_u64(u, VU_NET_SET_MTU, mtu) : 0;
}

void vhost_user_reset(struct vhost_user *u)
{
	int rc = 0;

	drop_inflight(u);
	if (!vhost_user_on(u) || !u->vhost.mem)
		return;
	if (has(u, VU_PROTOCOL_RESET_DEVICE)) {
		rc = send_plain(u, VU_RESET_DEVICE);
		/* "All internal state": a table is sent again, slots would be taken twice. */
		if (!has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS))
			u->mem_sent = false;
	}
	if (rc == 0)
		rc = set_status(u, 0);
	if (rc == -EREMOTEIO)
		fail(u, VU_RESET_DEVICE, "it refuses a reset");
}

/* --- The configuration space, and the back-end's requests --- */

int vhost_user_link(struct vhost_user *u, bool *up)
{
	const uint32_t len = sizeof(uint16_t);
	struct vu_msg msg = {.request = VU_GET_CONFIG, .size = 12 + len};
	int rc;

	*up = true;
	if (!has(u, VU_PROTOCOL_CONFIG) || !(u->offered & BIT64(VIRTIO_NET_F_STATUS)))
		return 0;
	msg.p.config.offset = offsetof(struct virtio_net_config, status);
	msg.p.config.size = len;
	/* A size of 0 says that it cannot. */
	rc = exchange(u, &msg, NULL, 0, 12, 12 + len);
	if (rc == 0 && u->rx.msg.p.config.size == len && u->rx.msg.size == 12 + len)
		*up = load_le16(u->rx.msg.p.config.data) & VIRTIO_NET_S_LINK_UP;
	vu_rx_reset(&u->rx);
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
		return fail(u, 0, "it talks without being asked");
	return fail_rc(u, 0, n == 0 ? -ENODATA : -errno);
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
		return rc == 0 ? 0 : fail_rc(u, 0, rc);
	/* The only one that was agreed upon. It has no payload and no descriptors. */
	if (m->request != VU_BACKEND_CONFIG_CHANGE || !has(u, VU_PROTOCOL_CONFIG) || m->size ||
	    u->req_rx.nr_fds || (m->flags & VU_REPLY)) {
		log_debug("%s: back-end request %u of %u bytes", u->vhost.name, m->request,
		          m->size);
		vu_rx_reset(&u->req_rx);
		return fail(u, 0, "a request that was not agreed upon");
	}
	rc = 1;
	if ((m->flags & VU_NEED_REPLY) && has(u, VU_PROTOCOL_REPLY_ACK)) {
		answer.request = m->request;
		if (vu_send(u->req_fd, &answer, NULL, 0, 0) < 0)
			rc = fail(u, 0, "it does not read answers to its requests");
	}
	vu_rx_reset(&u->req_rx);
	return rc;
}

/* --- Coming and going --- */

static const struct vhost_ops user_ops = {
	.name = "vhost-user",
	.get_features = user_get_features,
	.set_features = user_set_features,
	.set_mem_table = user_set_mem_table,
	.vring_num = user_vring_num,
	.vring_base = user_vring_base,
	.vring_addr = user_vring_addr,
	.vring_call = user_vring_call,
	.vring_err = user_vring_err,
	.vring_kick = user_vring_kick,
	.vring_start = user_vring_start,
	.vring_stop = user_vring_stop,
};

void vhost_user_init(struct vhost_user *u, const char *name, unsigned pairs, uint16_t queue_size)
{
	memset(u, 0, sizeof(*u));
	u->vhost.ops = &user_ops;
	u->vhost.name = name;
	u->vhost.nr_rings = 2 * pairs;
	u->pairs_wanted = pairs;
	u->queue_size = queue_size;
	u->fd = u->req_fd = u->inflight_fd = -1;
	vu_rx_init(&u->rx);
	vu_rx_init(&u->req_rx);
}

/* The other end of this goes to the back-end. */
static int open_requests(struct vhost_user *u)
{
	struct vu_msg msg = {.request = VU_SET_BACKEND_REQ_FD};
	int sv[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sv) < 0)
		return -errno;
	u->req_fd = sv[0];
	rc = exchange(u, &msg, &sv[1], 1, 0, 0);
	fd_close(&sv[1]);
	return rc;
}

static int agree(struct vhost_user *u)
{
	uint64_t offered = 0;
	int rc = get_u64(u, VU_GET_FEATURES, &u->offered);

	if (rc < 0 || !(u->offered & BIT64(VU_F_PROTOCOL_FEATURES)))
		return rc;
	rc = get_u64(u, VU_GET_PROTOCOL_FEATURES, &offered);
	if (rc < 0)
		return rc;
	/* Only what it declared may be set; an answer is asked for from then on. */
	rc = send_u64(u, VU_SET_PROTOCOL_FEATURES, offered & PROTOCOL_WANTED);
	u->protocol = offered & PROTOCOL_WANTED;
	return rc;
}

/* How much of a NIC can it serve? */
static int ask_limits(struct vhost_user *u, struct err *err)
{
	uint64_t pairs = 1;
	int rc = 0;

	if (has(u, VU_PROTOCOL_MQ))
		rc = get_u64(u, VU_GET_QUEUE_NUM, &pairs);
	if (rc == 0 && pairs < u->pairs_wanted)
		return err_set(err, -EOPNOTSUPP,
		               "%s: queues=%u: the vhost-user back-end has %llu queue pair(s): "
		               "give it more, or the NIC fewer",
		               u->vhost.name, u->pairs_wanted, (unsigned long long)pairs);
	if (rc == 0 && has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS))
		rc = get_u64(u, VU_GET_MAX_MEM_SLOTS, &u->slots);
	if (rc == 0 && has(u, VU_PROTOCOL_BACKEND_REQ))
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
		rc = send_plain(u, VU_SET_OWNER);
	if (rc < 0 && err && !err->msg[0])
		err_errno(err, rc, "%s: the vhost-user back-end does not agree", u->vhost.name);
	return rc;
}

int vhost_user_attach(struct vhost_user *u, int fd, struct err *err)
{
	int rc;

	vhost_user_detach(u);
	u->fd = fd;
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
	vu_rx_reset(&u->rx);
	vu_rx_reset(&u->req_rx);
	u->failed = u->mem_sent = false;
	u->offered = u->protocol = u->slots = 0;
	u->vhost.running = 0;
}

void vhost_user_destroy(struct vhost_user *u)
{
	vhost_user_detach(u);
	drop_inflight(u);
}
