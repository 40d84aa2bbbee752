/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vhost-user back-end may send to trivm (devices/vhost/user*.c): the input is a list of
 * things that the NIC does, and of what the back-end answers to each message that this causes.
 *
 * One thread: when the front-end would sleep until an answer comes, it calls poll(), which is ours:
 * the back-end reads what it was asked, and answers by the input. Mostly that is an answer of the
 * right form with any content, sometimes any bytes with any number of descriptors. (Silence is not
 * here; the unit tests have it.)
 */
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/guest_ram.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vhost/user.h"
#include "vmm/fd.h"

#define PAIRS   2
#define FDS_END 256 /* no descriptor is above */

static struct {
	struct fuzz_in in;
	int fd;     /* the back-end's end; -1: closed */
	int req_fd; /* for its own requests */
	struct vu_rx rx;
	int file;
} end;

/* @len bytes with @nr_fds descriptors, as they are. */
static void send_raw(int fd, const void *bytes, size_t len, unsigned nr_fds)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} c = {0};
	struct iovec iov = {(void *)bytes, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (nr_fds) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * nr_fds);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * nr_fds);
		for (unsigned i = 0; i < nr_fds; i++)
			((int *)CMSG_DATA(&c.h))[i] = end.file;
	}
	if (len)
		sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* What an honest one would answer, its content by the input. */
static struct vu_msg honest(const struct vu_msg *to)
{
	struct vu_msg m = {.request = to->request, .flags = VU_VERSION | VU_REPLY, .size = 8};

	switch (to->request) {
	case VU_GET_FEATURES:
		m.p.u64 = fuzz_u64(&end.in) | BIT64(VIRTIO_F_VERSION_1) |
		          BIT64(VU_F_PROTOCOL_FEATURES);
		break;
	case VU_GET_PROTOCOL_FEATURES:
		m.p.u64 = fuzz_u32(&end.in) ^ 0x1ffff;
		break;
	case VU_GET_QUEUE_NUM:
	case VU_GET_MAX_MEM_SLOTS:
	case VU_GET_STATUS:
		m.p.u64 = 15 - min_u64(fuzz_u8(&end.in), 15);
		if (fuzz_u8(&end.in) >= 16)
			m.p.u64 = 15;
		break;
	case VU_GET_VRING_BASE:
		m.p.state = to->p.state;
		m.p.state.num = fuzz_u32(&end.in);
		break;
	case VU_GET_CONFIG:
		m.p.config = to->p.config;
		m.size = to->size;
		m.p.config.data[0] = fuzz_u8(&end.in);
		break;
	case VU_GET_INFLIGHT_FD:
		m.p.inflight = to->p.inflight;
		m.size = to->size;
		m.p.inflight.mmap_size = 4096 - fuzz_u8(&end.in) + (fuzz_u8(&end.in) & 1);
		break;
	default:
		m.p.u64 = fuzz_u8(&end.in) == 0xff; /* mostly yes */
	}
	return m;
}

static void answer(const struct vu_msg *to)
{
	struct vu_msg m = honest(to);
	unsigned fds = to->request == VU_GET_INFLIGHT_FD;
	size_t len = VU_HEADER + m.size;

	switch (fuzz_u8(&end.in)) {
	case 1:
		m.request = fuzz_u8(&end.in);
		break;
	case 2:
		m.flags = fuzz_u32(&end.in);
		break;
	case 3:
		m.size = fuzz_u16(&end.in);
		len = VU_HEADER + min_u64(m.size, sizeof(m.p));
		break;
	case 4:
		m.size = fuzz_u32(&end.in);
		break;
	case 5:
		fds = fuzz_u8(&end.in) % 12;
		break;
	case 6:
		fuzz_bytes(&end.in, &m, sizeof(m));
		len = fuzz_u16(&end.in) % sizeof(m);
		break;
	case 7:
		len = fuzz_u8(&end.in) % len;
		send_raw(end.fd, &m, len, fds);
		fd_close(&end.fd);
		return;
	case 8: /* one more, that nobody waits for */
		send_raw(end.fd, &m, len, fds);
		break;
	}
	send_raw(end.fd, &m, len, fds);
}

int poll(struct pollfd *fds, nfds_t n, int ms)
{
	(void)fds;
	(void)n;
	(void)ms;
	/* Requests without an answer are read, too. */
	while (end.fd >= 0 && vu_rx_step(&end.rx, end.fd) == 1) {
		struct vu_msg m = end.rx.msg;
		unsigned nr_fds = end.rx.nr_fds;

		fuzz_check(vu_request_check(&m, nr_fds) == 0); /* what we say has its form */
		if (m.request == VU_SET_BACKEND_REQ_FD) {
			fd_close(&end.req_fd);
			end.req_fd = vu_rx_take_fd(&end.rx, 0);
		}
		vu_rx_reset(&end.rx);
		if (m.flags & VU_NEED_REPLY || m.request == VU_GET_FEATURES ||
		    m.request == VU_GET_PROTOCOL_FEATURES || m.request == VU_GET_QUEUE_NUM ||
		    m.request == VU_GET_VRING_BASE || m.request == VU_GET_MAX_MEM_SLOTS ||
		    m.request == VU_GET_STATUS || m.request == VU_GET_CONFIG ||
		    m.request == VU_GET_INFLIGHT_FD) {
			answer(&m);
			return 1;
		}
	}
	errno = EIO;
	return -1;
}

static void attach(struct vhost_user *u)
{
	struct err err = {0};
	int sv[2];

	vhost_user_detach(u);
	vu_rx_reset(&end.rx);
	fd_close(&end.fd);
	fd_close(&end.req_fd);
	fuzz_check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
	end.fd = sv[1];
	if (vhost_user_attach(u, sv[0], &err) < 0)
		fuzz_check(!vhost_user_on(u) && u->fd == -1 && err.msg[0]);
	else
		fuzz_check(vhost_user_on(u));
}

/* The back-end says something of its own accord. */
static void unasked(struct vhost_user *u)
{
	struct vu_msg m = {.request = fuzz_u8(&end.in) % 8, .flags = VU_VERSION};
	unsigned fds = fuzz_u8(&end.in) % 12;
	size_t len = VU_HEADER + fuzz_u8(&end.in) % 32;
	bool other = fuzz_u8(&end.in) & 1;

	m.size = (uint32_t)(len - VU_HEADER);
	if (fds == 11)
		m.size = fuzz_u32(&end.in);
	if (other && end.fd >= 0) {
		send_raw(end.fd, &m, len, fds);
		vhost_user_look(u);
		return;
	}
	if (end.req_fd >= 0)
		send_raw(end.req_fd, &m, len, fds);
	if (vhost_user_request(u) == 1)
		fuzz_check(m.request == VU_BACKEND_CONFIG_CHANGE && vhost_user_on(u));
}

static void start(struct vhost_user *u)
{
	struct vhost_ring vr = {
		.config = {.size_max = 256,
	                   .size = (uint16_t)(1u << fuzz_u8(&end.in) % 8),
	                   .desc = guest_ram_addr(&end.in) & ~UINT64_C(15),
	                   .driver = guest_ram_addr(&end.in) & ~UINT64_C(15),
	                   .device = guest_ram_addr(&end.in) & ~UINT64_C(15)},
		.kick_fd = end.file,
		.call_fd = end.file,
		.err_fd = end.file,
	};
	struct err err = {0};
	unsigned index = fuzz_u8(&end.in) % (2 * PAIRS + 1);

	if (u->vhost.features & BIT64(VIRTIO_F_RING_PACKED))
		vr.base = virtq_base_new(true);
	vhost_ring_start(&u->vhost, index, &vr, &err);
}

static void stop(struct vhost_user *u)
{
	unsigned index = fuzz_u8(&end.in) % (2 * PAIRS);
	bool packed = u->vhost.features & BIT64(VIRTIO_F_RING_PACKED);
	uint16_t size = u->vhost.size[index];
	virtq_base_t base;

	if (vhost_ring_stop(&u->vhost, index, &base) == 0)
		fuzz_check(virtq_base_valid(base, packed, size));
	fuzz_check(!vhost_ring_runs(&u->vhost, index));
}

static void one(struct vhost_user *u, struct guest_ram *ram)
{
	struct err err = {0};
	bool up;

	switch (fuzz_u8(&end.in) % 10) {
	case 0:
		attach(u);
		break;
	case 1:
		vhost_setup(&u->vhost, fuzz_u64(&end.in) & u->offered, &ram->mem, &err);
		break;
	case 2:
	case 3:
		start(u);
		break;
	case 4:
		stop(u);
		break;
	case 5:
		vhost_user_enable(u, fuzz_u8(&end.in) % (2 * PAIRS), fuzz_u8(&end.in) & 1);
		break;
	case 6:
		vhost_user_mtu(u, fuzz_u16(&end.in));
		break;
	case 7:
		if (!u->vhost.running)
			vhost_user_reset(u);
		break;
	case 8:
		vhost_user_link(u, &up);
		vhost_user_driver_ok(u);
		break;
	case 9:
		unasked(u);
		break;
	}
}

static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 3; fd < FDS_END; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* What fd_shared.c opens at its first use and keeps is no leak of an input's. */
int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = fd_eventfd();

	(void)argc, (void)argv;
	fd_signal_shared(fd);
	fd_close(&fd);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	unsigned before = open_fds();
	struct vhost_user u;
	struct guest_ram ram;

	end.in = fuzz_begin(data, len);
	end.fd = end.req_fd = -1;
	end.file = memfd_create("fuzz", MFD_CLOEXEC);
	fuzz_check(end.file >= 0 && ftruncate(end.file, 4096) == 0);
	vu_rx_init(&end.rx);
	guest_ram_init(&ram);
	for (unsigned i = 0; i < ram.mem.nr; i++)
		ram.mem.regions[i].fd = end.file;
	vhost_user_init(&u, "net0", PAIRS, 256);
	attach(&u);
	while (fuzz_left(&end.in))
		one(&u, &ram);
	vhost_user_destroy(&u);
	vu_rx_reset(&end.rx);
	fd_close(&end.fd);
	fd_close(&end.req_fd);
	fd_close(&end.file);
	guest_ram_destroy(&ram);
	fuzz_check(open_fds() == before);
	return 0;
}
