/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost-user's front-end: what it says, and what it does with answers of every kind. */
#include "tests/unit/vu_backend.h"

#include <sys/stat.h>

#include "devices/vhost/user.h"

#define SIZE MIB(2)

struct rig {
	struct vub b;
	struct vhost_user u;
	struct memory mem;
	uint8_t *ram;
	int ram_fd, kick, call, fds_before;
	struct err err;
};

/* Two regions, as a guest with memory on both sides of the PCI hole has them. */
static void add_memory(struct rig *r)
{
	struct mem_region low = {.gpa = 0, .size = SIZE}, high = {.gpa = GIB(4), .size = SIZE};

	r->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(r->ram_fd, 2 * SIZE), 0);
	r->ram = mmap(NULL, 2 * SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, r->ram_fd, 0);
	assert_true(r->ram != MAP_FAILED);
	low.fd = high.fd = r->ram_fd;
	low.host = r->ram;
	high.host = r->ram + SIZE;
	high.fd_offset = SIZE;
	memory_init(&r->mem);
	assert_int_equal(memory_add(&r->mem, &low), 0);
	assert_int_equal(memory_add(&r->mem, &high), 0);
	memory_freeze(&r->mem);
}

static int begin(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));

	log_set_level(LOG_ERROR);
	r->fds_before = open_fds();
	vub_init(&r->b);
	vhost_user_init(&r->u, "net0", 2, 256);
	add_memory(r);
	r->kick = fd_eventfd();
	r->call = fd_eventfd();
	*state = r;
	return 0;
}

static int end(void **state)
{
	struct rig *r = *state;
	int left;

	vhost_user_destroy(&r->u);
	vub_stop(&r->b);
	munmap(r->ram, 2 * SIZE);
	fd_close(&r->ram_fd);
	fd_close(&r->kick);
	fd_close(&r->call);
	left = open_fds() - r->fds_before;
	free(r);
	return left;
}

static int attach(struct rig *r)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv), 0);
	vub_start(&r->b, sv[1]);
	r->err.msg[0] = '\0';
	return vhost_user_attach(&r->u, sv[0], &r->err);
}

static struct vhost_ring ring(const struct rig *r, virtq_base_t base)
{
	return (struct vhost_ring){
		.config = {.size_max = 256,
	                   .size = 256,
	                   .enabled = true,
	                   .desc = 0x10000,
	                   .driver = GIB(4) + 0x2000,
	                   .device = GIB(4) + 0x3000},
		.base = base,
		.kick_fd = r->kick,
		.call_fd = r->call,
		.err_fd = -1,
	};
}

#define NEGOTIATED (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))
#define PACKED     (NEGOTIATED | BIT64(VIRTIO_F_RING_PACKED))

static int start(struct rig *r, unsigned index, virtq_base_t base)
{
	struct vhost_ring vr = ring(r, base);

	return vhost_ring_start(&r->u.vhost, index, &vr, &r->err);
}

static void expect_requests(struct rig *r, const uint32_t *want, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		assert_true(i < r->b.nr);
		assert_string_equal(vu_request_name(r->b.log[i].request), vu_request_name(want[i]));
		assert_int_equal(vu_request_check(&r->b.log[i], r->b.fds[i]), 0);
	}
	assert_int_equal(r->b.nr, n);
}

static void the_greeting(void **state)
{
	static const uint32_t want[] = {
		VU_GET_FEATURES,  VU_GET_PROTOCOL_FEATURES, VU_SET_PROTOCOL_FEATURES,
		VU_GET_QUEUE_NUM, VU_GET_MAX_MEM_SLOTS,     VU_SET_BACKEND_REQ_FD,
		VU_SET_OWNER,
	};
	struct rig *r = *state;
	uint64_t features;

	r->b.protocol |= BIT64(VU_PROTOCOL_PAGEFAULT) | BIT64(40); /* nothing of ours */
	assert_int_equal(attach(r), 0);
	expect_requests(r, want, ARRAY_SIZE(want));
	assert_true(r->b.set_protocol == VUB_PROTOCOL);
	assert_true(vhost_user_on(&r->u));
	/* The bit that is between the two of us is not the NIC's. */
	assert_int_equal(vhost_features(&r->u.vhost, &features, NULL), 0);
	assert_true(features == (VUB_FEATURES & ~BIT64(VU_F_PROTOCOL_FEATURES)));
}

static void a_back_end_of_the_first_days(void **state)
{
	static const uint32_t want[] = {
		VU_GET_FEATURES,   VU_SET_OWNER,      VU_SET_FEATURES,   VU_SET_MEM_TABLE,
		VU_SET_VRING_NUM,  VU_SET_VRING_BASE, VU_SET_VRING_ADDR, VU_SET_VRING_CALL,
		VU_SET_VRING_KICK, VU_GET_VRING_BASE,
	};
	struct rig *r = *state;
	virtq_base_t base;

	r->u.pairs_wanted = 1; /* it has no way to say that it has more */
	r->b.features &= ~BIT64(VU_F_PROTOCOL_FEATURES);
	r->b.base_on_stop[1] = 33;
	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	assert_int_equal(start(r, 1, 5), 0);
	assert_int_equal(vhost_ring_stop(&r->u.vhost, 1, &base), 0);
	assert_int_equal(base, 33);
	expect_requests(r, want, ARRAY_SIZE(want));
	assert_true(r->b.set_features == NEGOTIATED);
	for (unsigned i = 0; i < r->b.nr; i++)
		assert_false(r->b.log[i].flags & VU_NEED_REPLY);
}

static void a_ring_is_handed_over(void **state)
{
	static const uint32_t want[] = {
		VU_SET_STATUS,       VU_SET_FEATURES,    VU_SET_STATUS,     VU_GET_STATUS,
		VU_GET_INFLIGHT_FD,  VU_SET_INFLIGHT_FD, VU_ADD_MEM_REG,    VU_ADD_MEM_REG,
		VU_SET_VRING_NUM,    VU_SET_VRING_BASE,  VU_SET_VRING_ADDR, VU_SET_VRING_CALL,
		VU_SET_VRING_ENABLE, VU_SET_VRING_KICK,  VU_SET_STATUS,
	};
	struct rig *r = *state;
	const struct vub_ring *got = &r->b.rings[2];
	const struct vu_region *low = &r->b.regions[0], *high = &r->b.regions[1];

	assert_int_equal(attach(r), 0);
	vub_forget(&r->b);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	assert_int_equal(vhost_user_enable(&r->u, 2, true), 0);
	assert_int_equal(start(r, 2, 77), 0);
	assert_int_equal(r->b.status, 11);
	assert_int_equal(vhost_user_driver_ok(&r->u), 0);
	assert_int_equal(vhost_user_driver_ok(&r->u), 0);
	expect_requests(r, want, ARRAY_SIZE(want));
	assert_true(r->b.set_features == (NEGOTIATED | BIT64(VU_F_PROTOCOL_FEATURES)));
	assert_int_equal(r->b.status, 15);
	assert_int_equal(got->num, 256);
	assert_int_equal(got->base, 77);
	assert_true(got->enabled && got->kick && got->call);
	assert_int_equal(fd_drain(r->kick), 1);

	/* Addresses lead to the same bytes, and are none of this process. */
	assert_int_equal(low->gpa, 0);
	assert_int_equal(high->gpa, GIB(4));
	assert_int_equal(high->mmap_offset, SIZE);
	assert_int_equal(got->addr.desc - low->user_addr, 0x10000);
	assert_int_equal(got->addr.avail - high->user_addr, 0x2000);
	assert_int_equal(got->addr.used - high->user_addr, 0x3000);
	assert_true(low->user_addr != 0 && low->user_addr != (uintptr_t)r->ram);
	assert_true(high->user_addr >= low->user_addr + low->size);
}

static void memory_is_passed_once(void **state)
{
	struct rig *r = *state;
	virtq_base_t base;

	r->b.protocol &=
		~(BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS) | BIT64(VU_PROTOCOL_RESET_DEVICE));
	assert_int_equal(attach(r), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
		assert_int_equal(start(r, 0, 0), 0);
		assert_int_equal(vhost_ring_stop(&r->u.vhost, 0, &base), 0);
		vhost_user_reset(&r->u);
		assert_int_equal(r->b.status, 0);
	}
	assert_int_equal(vub_count(&r->b, VU_SET_MEM_TABLE), 1);
	assert_int_equal(r->b.nr_regions, 2);
}

static void slots_that_do_not_suffice(void **state)
{
	struct rig *r = *state;

	r->b.slots = 1;
	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), -ENOSPC);
	assert_non_null(strstr(r->err.msg, "refuses guest memory"));
}

static void bases_of_packed_rings(void **state)
{
	/* As told, and what it means: with halves of their own, or one half for both. */
	static const uint32_t cases[][2] = {
		{0x80058003, 0x80058003}, {0x00008010, 0x80108010}, {0x00000010, 0x00100010},
		{0x00000000, 0x00000000}, {0x00050006, 0x00050006},
	};
	struct rig *r = *state;
	virtq_base_t base;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, PACKED, &r->mem, &r->err), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		r->b.base_on_stop[0] = cases[i][0];
		assert_int_equal(start(r, 0, virtq_base_new(true)), 0);
		assert_int_equal(vhost_ring_stop(&r->u.vhost, 0, &base), 0);
		assert_int_equal(base, cases[i][1]);
	}
	r->b.base_on_stop[0] = 0x80008100; /* position 256 of 256 */
	assert_int_equal(start(r, 0, virtq_base_new(true)), 0);
	assert_int_equal(vhost_ring_stop(&r->u.vhost, 0, &base), -EPROTO);
}

static int refuse(struct vub *b, struct vu_rx *rx)
{
	if ((int)rx->msg.request != b->hook_arg)
		return 0;
	vub_answer_u64(b, &rx->msg, 1);
	return 1;
}

static void a_refusal_is_an_error_of_that_step(void **state)
{
	static const uint32_t steps[] = {VU_SET_VRING_NUM, VU_SET_VRING_ADDR, VU_SET_VRING_KICK,
	                                 VU_SET_VRING_ENABLE};
	struct rig *r = *state;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	r->b.hook = refuse;
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		r->b.hook_arg = (int)steps[i];
		assert_int_equal(start(r, 0, 0), -EREMOTEIO);
		assert_non_null(strstr(r->err.msg, "refuses ring 0"));
		assert_true(vhost_user_on(&r->u)); /* it keeps to the protocol */
		/* A setting is not waited for by itself, but before the ring starts. */
		assert_int_equal(vub_count(&r->b, VU_SET_VRING_KICK), i < 2 ? 0 : 1);
	}
	r->b.hook = NULL;
	assert_int_equal(start(r, 0, 0), 0);
	assert_int_equal(vhost_user_mtu(&r->u, 1500), 0);
	assert_int_equal(r->b.mtu, 1500);
	r->b.hook = refuse;
	r->b.hook_arg = VU_NET_SET_MTU;
	assert_int_equal(vhost_user_mtu(&r->u, 9000), -EREMOTEIO);
}

/* --- Hostile answers --- */

enum lie {
	OTHER_REQUEST,
	NO_REPLY_FLAG,
	TOO_SHORT,
	TOO_LONG,
	HUGE_SIZE,
	WRONG_VERSION,
	WITH_FD,
	WITH_NINE_FDS,
	CUT,
	CLOSED,
	SILENCE,
	LIES,
};

static void send_fds(int fd, const void *bytes, size_t len, unsigned n)
{
	union {
		struct cmsghdr h;
		char buf[CMSG_SPACE(sizeof(int) * 16)];
	} c = {0};
	struct iovec iov = {(void *)bytes, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (n) {
		m.msg_control = c.buf;
		m.msg_controllen = CMSG_SPACE(sizeof(int) * n);
		c.h.cmsg_level = SOL_SOCKET;
		c.h.cmsg_type = SCM_RIGHTS;
		c.h.cmsg_len = CMSG_LEN(sizeof(int) * n);
		for (unsigned i = 0; i < n; i++)
			((int *)CMSG_DATA(&c.h))[i] = STDERR_FILENO;
	}
	assert_int_equal(sendmsg(fd, &m, MSG_NOSIGNAL), len);
}

/* Lie about the answer to request hook_arg / LIES, in the way of hook_arg % LIES. */
static int tell_lies(struct vub *b, struct vu_rx *rx)
{
	struct vu_msg m = {.request = rx->msg.request, .flags = VU_VERSION | VU_REPLY, .size = 8};
	size_t len = VU_HEADER;
	unsigned fds = 0;

	if ((int)rx->msg.request != b->hook_arg / LIES)
		return 0;
	if (m.request == VU_GET_FEATURES)
		m.p.u64 = VUB_FEATURES;
	switch (b->hook_arg % LIES) {
	case OTHER_REQUEST:
		m.request++;
		break;
	case NO_REPLY_FLAG:
		m.flags = VU_VERSION;
		break;
	case TOO_SHORT:
		m.size = 4;
		break;
	case TOO_LONG:
		m.size = 48;
		break;
	case HUGE_SIZE:
		m.size = 0xffffffff;
		send_fds(b->fd, &m, sizeof(m), 0);
		return 1;
	case WRONG_VERSION:
		m.flags = VU_REPLY | 2;
		break;
	case WITH_FD:
		fds = 2;
		break;
	case WITH_NINE_FDS:
		fds = 9;
		break;
	case CUT:
		send_fds(b->fd, &m, VU_HEADER + 3, 1);
		return -1;
	case CLOSED:
		return -1;
	case SILENCE:
		return 1;
	}
	len += m.size;
	send_fds(b->fd, &m, len, fds);
	return 1;
}

static void attach_patience(struct rig *r, int ms)
{
	r->u.patience = ms;
	r->u.idle_since = vu_deadline(0);
}

static void lies_end_the_connection(void **state)
{
	static const uint32_t requests[] = {VU_SET_VRING_NUM, VU_GET_VRING_BASE, VU_GET_STATUS,
	                                    VU_GET_INFLIGHT_FD, VU_GET_CONFIG};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		for (int lie = 0; lie < LIES; lie++) {
			virtq_base_t base = 4711;
			bool up;
			int rc;

			vub_init(&r->b);
			assert_int_equal(attach(r), 0);
			r->b.hook_arg = (int)requests[i] * LIES + lie;
			r->b.hook = tell_lies;
			if (lie == SILENCE)
				attach_patience(r, 30);
			rc = vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err);
			if (rc == 0)
				rc = start(r, 0, 0);
			if (rc == 0)
				rc = vhost_ring_stop(&r->u.vhost, 0, &base);
			if (rc == 0)
				rc = vhost_user_link(&r->u, &up);
			if (rc != -EPIPE)
				fail_msg("%s, lie %d: %d", vu_request_name(requests[i]), lie, rc);
			assert_false(vhost_user_on(&r->u));
			if (requests[i] == VU_GET_VRING_BASE)
				assert_int_equal(base, 4711);
			/* From here on nothing is waited for. */
			assert_int_equal(vhost_user_mtu(&r->u, 1500), -EPIPE);
			assert_int_equal(vhost_user_look(&r->u), -EPIPE);
			vhost_user_destroy(&r->u);
			vub_stop(&r->b);
		}
	}
}

static void lies_at_the_greeting(void **state)
{
	static const uint32_t requests[] = {VU_GET_FEATURES, VU_GET_PROTOCOL_FEATURES,
	                                    VU_GET_QUEUE_NUM, VU_GET_MAX_MEM_SLOTS, VU_SET_OWNER};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
		for (int lie = 0; lie < SILENCE; lie++) {
			vub_init(&r->b);
			r->b.hook_arg = (int)requests[i] * LIES + lie;
			r->b.hook = tell_lies;
			assert_true(attach(r) < 0);
			assert_non_null(strstr(r->err.msg, "does not agree"));
			assert_int_equal(r->u.fd, -1);
			vub_stop(&r->b);
		}
	}
}

static int dawdle(struct vub *b, struct vu_rx *rx)
{
	(void)rx;
	usleep((unsigned)b->hook_arg * 1000);
	return 0;
}

static void patience_is_for_all_answers_together(void **state)
{
	struct rig *r = *state;
	int64_t from;
	int rc = 0;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	r->b.hook_arg = 30; /* each in good time */
	r->b.hook = dawdle;
	attach_patience(r, 200);
	from = vu_deadline(0);
	for (unsigned i = 0; i < 100 && rc == 0; i++)
		rc = vhost_user_mtu(&r->u, 1500);
	assert_int_equal(rc, -EPIPE);
	assert_true(vu_deadline(0) - from >= 180);
	assert_true(vu_deadline(0) - from < 3000);
}

static void patience_comes_back(void **state)
{
	struct rig *r = *state;

	assert_int_equal(attach(r), 0);
	r->b.hook_arg = 120;
	r->b.hook = dawdle;
	/* Less than all answers take, and much more than one does, also on a busy machine. */
	attach_patience(r, 600);
	for (unsigned i = 0; i < 6; i++) {
		assert_int_equal(vhost_user_mtu(&r->u, 1500), 0);
		usleep(600000);
	}
}

/* --- What comes without being asked for --- */

static void unasked_messages(void **state)
{
	struct rig *r = *state;
	struct vu_msg m = {.request = VU_GET_FEATURES, .flags = VU_VERSION | VU_REPLY, .size = 8};

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_user_look(&r->u), 0); /* an answer that was read meanwhile */
	send_fds(r->b.fd, &m, VU_HEADER + 8, 3);
	assert_int_equal(vhost_user_look(&r->u), -EPIPE);
	assert_false(vhost_user_on(&r->u));
	vub_stop(&r->b);

	vub_init(&r->b);
	assert_int_equal(attach(r), 0);
	vub_stop(&r->b);
	assert_int_equal(vhost_user_look(&r->u), -EPIPE);
}

static void the_configuration_changes(void **state)
{
	struct vu_msg m = {.request = VU_BACKEND_CONFIG_CHANGE,
	                   .flags = VU_VERSION | VU_NEED_REPLY};
	struct rig *r = *state;
	struct vu_rx rx;
	bool up;

	vu_rx_init(&rx);
	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_user_link(&r->u, &up), 0);
	assert_true(up);
	assert_int_equal(vhost_user_request(&r->u), 0);
	r->b.link = 0;
	assert_int_equal(vu_send(r->b.req_fd, &m, NULL, 0, vu_deadline(5000)), 0);
	assert_int_equal(vhost_user_request(&r->u), 1);
	assert_int_equal(vu_recv(r->b.req_fd, &rx, vu_deadline(5000)), 0);
	assert_int_equal(rx.msg.flags, VU_VERSION | VU_REPLY);
	assert_int_equal(rx.msg.p.u64, 0);
	assert_int_equal(vhost_user_link(&r->u, &up), 0);
	assert_false(up);
	assert_true(vhost_user_on(&r->u));
}

static void requests_that_were_not_agreed_upon(void **state)
{
	static const struct {
		uint32_t request, flags, size;
		unsigned fds;
	} cases[] = {
		{VU_BACKEND_HOST_NOTIFIER, VU_VERSION, 24, 1},
		{VU_BACKEND_IOTLB_MSG, VU_VERSION, 32, 0},
		{VU_BACKEND_VRING_CALL, VU_VERSION, 8, 0},
		{VU_BACKEND_CONFIG_CHANGE, VU_VERSION, 8, 0},
		{VU_BACKEND_CONFIG_CHANGE, VU_VERSION, 0, 1},
		{VU_BACKEND_CONFIG_CHANGE, VU_VERSION | VU_REPLY, 0, 0},
		{0, VU_VERSION, 0, 0},
		{6, VU_VERSION, 0, 8},
		{VU_BACKEND_CONFIG_CHANGE, 2, 0, 0},
		{VU_BACKEND_CONFIG_CHANGE, VU_VERSION, 0x80000000, 0},
	};
	struct rig *r = *state;

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vu_msg m = {.request = cases[i].request,
		                   .flags = cases[i].flags,
		                   .size = cases[i].size};

		vub_init(&r->b);
		assert_int_equal(attach(r), 0);
		send_fds(r->b.req_fd, &m, VU_HEADER + min_u64(m.size, 64), cases[i].fds);
		assert_int_equal(vhost_user_request(&r->u), -EPIPE);
		assert_false(vhost_user_on(&r->u));
		vhost_user_detach(&r->u);
		vub_stop(&r->b);
	}
}

/* --- The inflight region --- */

static void the_inflight_region_goes_to_the_next_one(void **state)
{
	struct rig *r = *state;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	assert_int_equal(r->b.inflight.nr_queues, 4);
	assert_int_equal(r->b.inflight.queue_size, 256);
	assert_int_equal(pwrite(r->b.inflight_fd, "note", 4, 100), 4);
	vub_stop(&r->b);
	vhost_user_detach(&r->u);

	for (unsigned driver = 0; driver < 2; driver++) {
		char note[5] = {0};

		vub_init(&r->b);
		assert_int_equal(attach(r), 0);
		assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
		assert_int_equal(vub_count(&r->b, VU_GET_INFLIGHT_FD), driver);
		assert_int_equal(pread(r->b.inflight_fd, note, 4, 100), 4);
		assert_string_equal(note, driver ? "" : "note");
		/* For a new driver a new one. */
		vhost_user_reset(&r->u);
		vub_stop(&r->b);
		vhost_user_detach(&r->u);
	}
}

static int odd_inflight(struct vub *b, struct vu_rx *rx)
{
	struct vu_inflight i = {.mmap_size = 4097, .mmap_offset = UINT64_MAX};
	int sv[2];

	if (rx->msg.request != VU_GET_INFLIGHT_FD)
		return 0;
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sv))
		abort();
	if (b->hook_arg == 1)
		i.mmap_size = 0;
	else if (b->hook_arg == 2)
		i.mmap_size = UINT64_MAX;
	else if (b->hook_arg == 3)
		fd_close(&sv[0]);
	vub_answer(b, &rx->msg, &i, sizeof(i), sv[0]);
	fd_close(&sv[0]);
	fd_close(&sv[1]);
	return 1;
}

static void an_inflight_region_that_is_none(void **state)
{
	struct rig *r = *state;

	for (int i = 1; i < 4; i++) {
		vub_init(&r->b);
		r->b.hook = odd_inflight;
		r->b.hook_arg = i;
		assert_int_equal(attach(r), 0);
		assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), -EPIPE);
		assert_int_equal(r->u.inflight_fd, -1);
		vhost_user_detach(&r->u);
		vub_stop(&r->b);
	}
}

/* Only the size is the back-end's: its descriptor, here a socket, never becomes ours. */
static void the_inflight_region_is_our_own_memory(void **state)
{
	struct rig *r = *state;
	struct stat st;
	int fd;

	r->b.hook = odd_inflight;
	r->b.hook_arg = 0;
	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	fd = r->b.inflight_fd;
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(S_ISREG(st.st_mode) && st.st_size == 4097);
	assert_true(r->b.inflight.mmap_size == 4097 && r->b.inflight.mmap_offset == 0);
	assert_int_equal(ftruncate(fd, 0), -1);
	assert_int_equal(errno, EPERM);
}

/* --- Those that will not do --- */

static void too_few_queues(void **state)
{
	struct rig *r = *state;

	r->b.pairs = 1;
	assert_int_equal(attach(r), -EOPNOTSUPP);
	assert_non_null(strstr(r->err.msg, "queues=2: the vhost-user back-end has 1"));
	vub_stop(&r->b);
	vub_init(&r->b);
	r->b.protocol &= ~BIT64(VU_PROTOCOL_MQ);
	assert_int_equal(attach(r), -EOPNOTSUPP);
}

static void a_legacy_interface(void **state)
{
	struct rig *r = *state;

	r->b.features &= ~BIT64(VIRTIO_F_VERSION_1);
	assert_int_equal(attach(r), -EOPNOTSUPP);
	assert_non_null(strstr(r->err.msg, "before virtio 1.0"));
}

static int no_features_ok(struct vub *b, struct vu_rx *rx)
{
	if (rx->msg.request != VU_GET_STATUS)
		return 0;
	vub_answer_u64(b, &rx->msg, 3);
	return 1;
}

static void features_that_it_does_not_accept(void **state)
{
	struct rig *r = *state;

	r->b.hook = no_features_ok;
	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), -EREMOTEIO);
	assert_non_null(strstr(r->err.msg, "refuses features"));
}

static void rings_are_enabled_while_they_run(void **state)
{
	struct rig *r = *state;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	assert_int_equal(vhost_user_enable(&r->u, 3, true), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_ENABLE), 0); /* it does not run yet */
	assert_int_equal(start(r, 3, 0), 0);
	assert_true(r->b.rings[3].enabled);
	assert_int_equal(vhost_user_enable(&r->u, 3, true), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_ENABLE), 1);
	assert_int_equal(vhost_user_enable(&r->u, 3, false), 0);
	assert_false(r->b.rings[3].enabled);
}

/* One ring stopped and started: the others are told their call eventfd again; all of them: not. */
static void a_ring_that_is_reset_alone(void **state)
{
	struct rig *r = *state;
	virtq_base_t base;
	unsigned before;

	assert_int_equal(attach(r), 0);
	assert_int_equal(vhost_setup(&r->u.vhost, NEGOTIATED, &r->mem, &r->err), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(start(r, i, 0), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_CALL), 3);
	assert_int_equal(vhost_ring_stop(&r->u.vhost, 1, &base), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_CALL), 3);
	before = r->b.nr;
	assert_int_equal(start(r, 1, 0), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_CALL), 6);
	/* Behind its own start, those of rings 0 and 2. */
	assert_int_equal(r->b.log[r->b.nr - 3].request, VU_SET_VRING_KICK);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(r->b.nr - 2 + i > before);
		assert_int_equal(r->b.log[r->b.nr - 2 + i].request, VU_SET_VRING_CALL);
		assert_int_equal(r->b.log[r->b.nr - 2 + i].p.u64, 2 * i);
		assert_int_equal(r->b.fds[r->b.nr - 2 + i], 1);
	}
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(vhost_ring_stop(&r->u.vhost, i, &base), 0);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(start(r, i, 0), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_CALL), 9);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG(the_greeting),
		RIG(a_back_end_of_the_first_days),
		RIG(a_ring_is_handed_over),
		RIG(memory_is_passed_once),
		RIG(slots_that_do_not_suffice),
		RIG(bases_of_packed_rings),
		RIG(a_refusal_is_an_error_of_that_step),
		RIG(lies_end_the_connection),
		RIG(lies_at_the_greeting),
		RIG(patience_is_for_all_answers_together),
		RIG(patience_comes_back),
		RIG(unasked_messages),
		RIG(the_configuration_changes),
		RIG(requests_that_were_not_agreed_upon),
		RIG(the_inflight_region_goes_to_the_next_one),
		RIG(an_inflight_region_that_is_none),
		RIG(the_inflight_region_is_our_own_memory),
		RIG(too_few_queues),
		RIG(a_legacy_interface),
		RIG(features_that_it_does_not_accept),
		RIG(rings_are_enabled_while_they_run),
		RIG(a_ring_that_is_reset_alone),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
