/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a message's length is only known from its header, so it is read in two
 * steps, and never a byte further: descriptors of the next message must not end up with this one.
 * Each step is a recvmsg() with room for descriptors, because a peer may attach them to any byte it
 * likes. Those for which there is no room are closed by the kernel (MSG_CTRUNC), those that nobody
 * takes by vu_rx_reset().
 *
 * Nothing in a message is believed but that it has arrived whole; vu_request_check() then compares
 * it with a table of what each request looks like. Descriptor kinds are the user's to check: a
 * descriptor can be anything.
 */
#include "devices/vhost/user_wire.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

_Static_assert(VU_HEADER == 12, "the header has no padding");
_Static_assert(sizeof(struct vu_addr) == 40, "as on the wire");
_Static_assert(sizeof(struct vu_memory) == 8 + 32 * VU_REGIONS_MAX, "as on the wire");
_Static_assert(sizeof(struct vu_inflight) == 24, "as peers send it");
_Static_assert(sizeof(struct vu_inflight_split_desc) == 16, "as in the protocol");
_Static_assert(sizeof(struct vu_inflight_packed_desc) == 32, "as in the protocol");

/* --- What requests look like --- */

/* A front-end's request: payload of @min to @max bytes, with that many descriptors. */
struct request_form {
	const char *name;
	uint16_t min, max;
	uint8_t fds_min, fds_max;
};

#define NOTHING 0, 0, 0, 0
#define ONLY(member) \
	sizeof(((union vu_payload *)0)->member), sizeof(((union vu_payload *)0)->member)

static const struct request_form forms[] = {
	[VU_GET_FEATURES] = {"GET_FEATURES", NOTHING},
	[VU_SET_FEATURES] = {"SET_FEATURES", ONLY(u64), 0, 0},
	[VU_SET_OWNER] = {"SET_OWNER", NOTHING},
	[VU_RESET_OWNER] = {"RESET_OWNER", NOTHING},
	[VU_SET_MEM_TABLE] = {"SET_MEM_TABLE", 8, sizeof(struct vu_memory), 0, VU_REGIONS_MAX},
	[VU_SET_LOG_BASE] = {"SET_LOG_BASE", 8, sizeof(struct vu_log), 0, 1},
	[VU_SET_LOG_FD] = {"SET_LOG_FD", 0, 8, 0, 1},
	[VU_SET_VRING_NUM] = {"SET_VRING_NUM", ONLY(state), 0, 0},
	[VU_SET_VRING_ADDR] = {"SET_VRING_ADDR", ONLY(addr), 0, 0},
	[VU_SET_VRING_BASE] = {"SET_VRING_BASE", ONLY(state), 0, 0},
	[VU_GET_VRING_BASE] = {"GET_VRING_BASE", ONLY(state), 0, 0},
	[VU_SET_VRING_KICK] = {"SET_VRING_KICK", ONLY(u64), 0, 1},
	[VU_SET_VRING_CALL] = {"SET_VRING_CALL", ONLY(u64), 0, 1},
	[VU_SET_VRING_ERR] = {"SET_VRING_ERR", ONLY(u64), 0, 1},
	[VU_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", NOTHING},
	[VU_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", ONLY(u64), 0, 0},
	[VU_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", NOTHING},
	[VU_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", ONLY(state), 0, 0},
	[VU_SEND_RARP] = {"SEND_RARP", ONLY(u64), 0, 0},
	[VU_NET_SET_MTU] = {"NET_SET_MTU", ONLY(u64), 0, 0},
	[VU_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", 0, 8, 1, 1},
	[VU_IOTLB_MSG] = {"IOTLB_MSG", 26, 32, 0, 0},
	[VU_SET_VRING_ENDIAN] = {"SET_VRING_ENDIAN", ONLY(state), 0, 0},
	[VU_GET_CONFIG] = {"GET_CONFIG", 12, sizeof(struct vu_config), 0, 0},
	[VU_SET_CONFIG] = {"SET_CONFIG", 12, sizeof(struct vu_config), 0, 0},
	[VU_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", 20, sizeof(struct vu_inflight), 0, 0},
	[VU_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", 20, sizeof(struct vu_inflight), 1, 1},
	[VU_RESET_DEVICE] = {"RESET_DEVICE", NOTHING},
	[VU_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", NOTHING},
	[VU_ADD_MEM_REG] = {"ADD_MEM_REG", ONLY(region), 1, 1},
	/* The protocol lets a back-end accept one descriptor, which it closes. */
	[VU_REM_MEM_REG] = {"REM_MEM_REG", ONLY(region), 0, 1},
	[VU_SET_STATUS] = {"SET_STATUS", ONLY(u64), 0, 0},
	[VU_GET_STATUS] = {"GET_STATUS", NOTHING},
};

const char *vu_request_name(uint32_t request)
{
	return request < ARRAY_SIZE(forms) && forms[request].name ? forms[request].name : "?";
}

int vu_request_check(const struct vu_msg *msg, unsigned nr_fds)
{
	const struct request_form *f;

	if (msg->request >= ARRAY_SIZE(forms) || !forms[msg->request].name)
		return -EOPNOTSUPP;
	f = &forms[msg->request];
	if (msg->size < f->min || msg->size > f->max || nr_fds < f->fds_min || nr_fds > f->fds_max)
		return -EPROTO;
	switch (msg->request) {
	case VU_SET_MEM_TABLE:
		if (msg->p.memory.nr > VU_REGIONS_MAX || nr_fds != msg->p.memory.nr ||
		    msg->size < 8 + msg->p.memory.nr * sizeof(struct vu_region))
			return -EPROTO;
		break;
	case VU_GET_CONFIG:
	case VU_SET_CONFIG:
		if (msg->p.config.size > VU_CONFIG_MAX || msg->size != 12 + msg->p.config.size)
			return -EPROTO;
		break;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		if (nr_fds != !(msg->p.u64 & VU_VRING_NO_FD))
			return -EPROTO;
		break;
	}
	return 0;
}

/* --- Time --- */

int64_t vu_deadline(unsigned ms)
{
	return (int64_t)(clock_ms() + ms);
}

/* Until @fd is ready for @events (or has an error, which the next call finds). */
static int wait_for(int fd, short events, int64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int64_t left = deadline ? deadline - vu_deadline(0) : 0;
		int n;

		if (left <= 0)
			return -ETIMEDOUT;
		n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* --- Out --- */

/*
 * Room for all descriptors that one message of a Unix socket can have (SCM_MAX_FD): more than
 * VU_FDS_MAX are an error, but the kernel would close those that have no room on this thread.
 */
#define CONTROL_FDS 253

union control {
	struct cmsghdr align;
	char buf[CMSG_SPACE(sizeof(int) * CONTROL_FDS)];
};

static void attach(struct msghdr *m, union control *c, const int *fds, unsigned nr)
{
	struct cmsghdr *h;

	memset(c, 0, sizeof(*c));
	m->msg_control = c->buf;
	m->msg_controllen = CMSG_SPACE(sizeof(int) * nr);
	h = CMSG_FIRSTHDR(m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int) * nr);
	memcpy(CMSG_DATA(h), fds, sizeof(int) * nr);
}

int vu_send(int fd, const struct vu_msg *msg, const int *fds, unsigned nr_fds, int64_t deadline)
{
	size_t len = VU_HEADER + msg->size, sent = 0;
	union control control;

	if (msg->size > sizeof(msg->p) || nr_fds > VU_FDS_MAX)
		return -EINVAL;
	while (sent < len) {
		struct iovec iov = {(char *)msg + sent, len - sent};
		struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
		ssize_t n;
		int rc;

		/* They go with the first byte. */
		if (fds && nr_fds && !sent)
			attach(&m, &control, fds, nr_fds);
		n = sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0) {
			sent += (size_t)n;
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		rc = wait_for(fd, POLLOUT, deadline);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- In --- */

void vu_rx_init(struct vu_rx *rx)
{
	rx->nr_fds = 0;
	rx->takes_no_fds = false;
	rx->close_fd = NULL;
	vu_rx_reset(rx);
}

void vu_rx_init_plain(struct vu_rx *rx)
{
	vu_rx_init(rx);
	rx->takes_no_fds = true;
}

static void drop_fd(const struct vu_rx *rx, int *fd)
{
	if (rx->close_fd)
		rx->close_fd(rx->opaque, fd);
	else
		fd_close(fd);
}

void vu_rx_reset(struct vu_rx *rx)
{
	for (unsigned i = 0; i < rx->nr_fds; i++)
		drop_fd(rx, &rx->fds[i]);
	memset(&rx->msg, 0, sizeof(rx->msg));
	rx->got = 0;
	rx->nr_fds = 0;
	rx->had_fds = false;
	for (unsigned i = 0; i < VU_FDS_MAX; i++)
		rx->fds[i] = -1;
}

int vu_rx_take_fd(struct vu_rx *rx, unsigned i)
{
	int fd = i < rx->nr_fds ? rx->fds[i] : -1;

	if (i < rx->nr_fds)
		rx->fds[i] = -1;
	return fd;
}

/* Descriptors that came with @m: keep up to VU_FDS_MAX in all, close the others. */
static int keep_fds(struct vu_rx *rx, struct msghdr *m)
{
	int rc = m->msg_flags & MSG_CTRUNC ? -EPROTO : 0;

	for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h)) {
		size_t n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(h) + i * sizeof(fd), sizeof(fd));
			if (rx->nr_fds < VU_FDS_MAX) {
				rx->fds[rx->nr_fds++] = fd;
			} else {
				drop_fd(rx, &fd);
				rc = -EPROTO;
			}
		}
	}
	return rc;
}

/* One read towards a total of @len bytes. Bytes, 0 at the end of the stream, or a negative errno.
 */
static ssize_t read_some(struct vu_rx *rx, int fd, size_t len)
{
	struct iovec iov = {(char *)&rx->msg + rx->got, len - rx->got};
	union control control;
	struct msghdr m = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = rx->takes_no_fds ? NULL : control.buf,
		.msg_controllen = rx->takes_no_fds ? 0 : sizeof(control.buf),
	};
	ssize_t n;
	int rc;

	do {
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (rx->takes_no_fds) {
		rx->had_fds |= !!(m.msg_flags & MSG_CTRUNC);
		return n;
	}
	rc = keep_fds(rx, &m);
	return rc < 0 ? rc : n;
}

static int check_header(const struct vu_msg *msg)
{
	if ((msg->flags & VU_VERSION_MASK) != VU_VERSION)
		return -EPROTO;
	return msg->size > sizeof(msg->p) ? -EMSGSIZE : 0;
}

int vu_rx_step(struct vu_rx *rx, int fd)
{
	size_t len = VU_HEADER;
	int rc = 0;

	for (;;) {
		ssize_t n;

		if (rx->got >= VU_HEADER) {
			len = VU_HEADER + rx->msg.size;
			if (rx->got == len)
				return 1;
		}
		n = read_some(rx, fd, len);
		if (n == -EAGAIN)
			return 0;
		if (n > 0)
			rx->got += (size_t)n;
		if (n == 0)
			rc = rx->got ? -ECONNRESET : -ENODATA;
		else if (n < 0)
			rc = (int)n;
		else if (rx->got == VU_HEADER)
			rc = check_header(&rx->msg);
		if (rc < 0) {
			vu_rx_reset(rx);
			return rc;
		}
	}
}

int vu_recv(int fd, struct vu_rx *rx, int64_t deadline)
{
	for (;;) {
		int rc = vu_rx_step(rx, fd);

		if (rc == 0)
			rc = wait_for(fd, POLLIN, deadline);
		else
			return rc < 0 ? rc : 0;
		if (rc < 0)
			return rc;
	}
}
