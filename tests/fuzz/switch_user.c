/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a vhost-user front-end may do to trivm-switch: messages with descriptors, well-formed and
 * not, in any order; its guest's rings and memory, the file behind them; coming and going. Two
 * honest ports live through all inputs, and after each one they still reach each other.
 *
 * An input is a list of steps; a byte says which, the bytes after it how. Most messages have the
 * form that their request is to have, with numbers from around what makes sense: others are refused
 * at once and lead nowhere.
 */
#define RIG_TURNS 2 /* the session begins anew with each input: fast */

#include "tests/fuzz/fuzz.h"
#include "tests/unit/switch_rig.h"

static struct sw *sw;
static struct fe honest[2], bad;
static struct guest *port;
static int pipes[2];

#define MRG BIT64(VIRTIO_NET_F_MRG_RXBUF)

static void begin_all(void)
{
	sw = rig_bare();
	sw->wait_ms = 0;
	assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
	for (unsigned i = 0; i < 2; i++) {
		fe_open(&honest[i], rig_port(sw, i ? "b" : "a", 0, false));
		fe_start(&honest[i], MRG, 2);
	}
	fe_post(&honest[1], 0, 2048, 32);
	port = rig_port(sw, "bad", 0, false);
}

static void turns(unsigned n)
{
	while (n--)
		fuzz_check(sw_turn(sw, false) >= 0);
}

/* A number that is likely to matter. */
static uint64_t number(struct fuzz_in *in)
{
	static const uint64_t known[] = {0,
	                                 1,
	                                 FE_SIZE,
	                                 FE_SIZE - 1,
	                                 GUEST_RINGS_MAX,
	                                 32768,
	                                 65535,
	                                 FE_GPA,
	                                 FE_USER,
	                                 FE_USER + FE_RING_STEP,
	                                 FE_USER + FE_DRIVER,
	                                 FE_USER + FE_DEVICE,
	                                 FE_GPA + FE_DATA,
	                                 FE_RAM_SIZE,
	                                 FE_OFFSET,
	                                 FE_OFFSET + FE_RAM_SIZE,
	                                 0x80008000,
	                                 UINT32_MAX,
	                                 UINT64_MAX,
	                                 VU_VRING_NO_FD};
	uint8_t how = fuzz_u8(in);

	if (how < 0xe0)
		return known[how % ARRAY_SIZE(known)] + (how >= 0xc0 ? fuzz_u8(in) - 128u : 0);
	return fuzz_value(in, how & 1 ? 8 : 2);
}

static int descriptor(struct fuzz_in *in)
{
	uint8_t how = fuzz_u8(in);

	switch (how % 8) {
	case 0:
		return pipes[how / 8 & 1];
	case 1:
	case 2:
		return bad.rings[how / 8 % FE_RINGS].call;
	case 3:
		return bad.rings[how / 8 % FE_RINGS].kick;
	default:
		return bad.memfd;
	}
}

static void send_message(const struct vu_msg *m, size_t len, const int *fds, unsigned nr)
{
	struct vu_msg copy = *m;

	copy.size = (uint32_t)len;
	if (bad.sock >= 0)
		vu_send(bad.sock, &copy, fds, nr, 0);
	turns(2);
	/* Answers are read, as somebody would. */
	if (bad.sock >= 0) {
		char buf[4096];

		while (recv(bad.sock, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;
	}
}

/* Where a ring is, or all of it but one area. */
static struct vu_addr one_addr(struct fuzz_in *in, uint8_t how)
{
	struct vu_addr a = fe_ring_addr(how / 2 % 4);
	uint64_t *const areas[] = {&a.desc, &a.avail, &a.used};

	if (how & 0x40)
		*areas[how / 8 % 3] = number(in);
	return a;
}

static void message(struct fuzz_in *in)
{
	static const uint8_t sizes[] = {
		[VU_SET_FEATURES] = 8,          [VU_SET_MEM_TABLE] = 40,   [VU_SET_VRING_NUM] = 8,
		[VU_SET_VRING_ADDR] = 40,       [VU_SET_VRING_BASE] = 8,   [VU_GET_VRING_BASE] = 8,
		[VU_SET_VRING_KICK] = 8,        [VU_SET_VRING_CALL] = 8,   [VU_SET_VRING_ERR] = 8,
		[VU_SET_PROTOCOL_FEATURES] = 8, [VU_SET_VRING_ENABLE] = 8, [VU_NET_SET_MTU] = 8,
		[VU_GET_INFLIGHT_FD] = 24,      [VU_SET_INFLIGHT_FD] = 24, [VU_ADD_MEM_REG] = 40,
		[VU_REM_MEM_REG] = 40,          [VU_SET_STATUS] = 8,
	};
	struct vu_msg m = {.request = fuzz_u8(in) % 44, .flags = VU_VERSION};
	uint8_t how = fuzz_u8(in);
	size_t len = m.request < ARRAY_SIZE(sizes) ? sizes[m.request] : 0;
	unsigned nr = 0;
	int fds[8];

	m.flags |= how & 1 ? VU_NEED_REPLY : 0;
	switch (m.request) {
	case VU_SET_FEATURES:
		m.p.u64 = (number(in) << 32 | number(in)) & guest_features();
		if (how & 2)
			m.p.u64 |= BIT64(VIRTIO_F_VERSION_1) | BIT64(VU_F_PROTOCOL_FEATURES);
		break;
	case VU_SET_MEM_TABLE:
		m.p.memory.nr = 1 + how / 2 % 8;
		len = 8 + m.p.memory.nr * sizeof(struct vu_region);
		for (unsigned i = 0; i < m.p.memory.nr; i++)
			m.p.memory.regions[i] =
				(struct vu_region){number(in), number(in), number(in), number(in)};
		nr = m.p.memory.nr;
		break;
	case VU_SET_VRING_KICK:
	case VU_SET_VRING_CALL:
	case VU_SET_VRING_ERR:
		m.p.u64 = how / 2 % 4 | (how & 0x80 ? VU_VRING_NO_FD : 0);
		nr = !(how & 0x80);
		break;
	case VU_SET_VRING_ADDR:
		m.p.addr = one_addr(in, how);
		break;
	case VU_GET_INFLIGHT_FD:
	case VU_SET_INFLIGHT_FD:
		m.p.inflight = (struct vu_inflight){number(in), number(in), (uint16_t)number(in),
		                                    (uint16_t)number(in), 0};
		nr = m.request == VU_SET_INFLIGHT_FD;
		break;
	case VU_ADD_MEM_REG:
	case VU_REM_MEM_REG:
		m.p.region.region =
			(struct vu_region){number(in), number(in), number(in), number(in)};
		nr = m.request == VU_ADD_MEM_REG;
		break;
	default:
		if (len)
			m.p.state = (struct vu_state){how / 2 % 4, (uint32_t)number(in)};
	}
	if (how == 0xff) { /* not what it is to have */
		nr = fuzz_u8(in) % 9;
		len = fuzz_u8(in);
	}
	for (unsigned i = 0; i < nr; i++)
		fds[i] = descriptor(in);
	send_message(&m, len, fds, nr);
}

static void start(struct fuzz_in *in)
{
	static const uint64_t features[] = {
		MRG,
		MRG | BIT64(VIRTIO_F_RING_PACKED),
		MRG | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX),
		BIT64(VIRTIO_F_RING_PACKED) | BIT64(VIRTIO_RING_F_INDIRECT_DESC),
		MRG | BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_HOST_TSO4) |
			BIT64(VIRTIO_NET_F_HOST_TSO6),
	};

	if (bad.sock >= 0)
		fe_close(&bad);
	fe_open(&bad, port);
	fe_start(&bad, features[fuzz_u8(in) % ARRAY_SIZE(features)], 2);
}

/* The guest writes to its memory: rings (mostly), tables, buffers, and makes something available.
 */
static void guest_writes(struct fuzz_in *in)
{
	unsigned ring = fuzz_u8(in) % 2;
	uint64_t at = ring * FE_RING_STEP + (fuzz_u8(in) & 3) * FE_DRIVER + fuzz_u8(in);
	unsigned n = fuzz_u8(in) % 32;

	for (unsigned i = 0; i < n; i++)
		bad.ram[at + i] = fuzz_u8(in);
}

/* A descriptor, and it is made available. */
static void guest_adds(struct fuzz_in *in)
{
	struct fe_ring *r = &bad.rings[fuzz_u8(in) % 2];
	uint8_t how = fuzz_u8(in);
	uint64_t addr = how & 1 ? number(in) : fe_slot_gpa(r->index, how / 2 % FE_SIZE);
	uint32_t len = how & 2 ? (uint32_t)number(in) : 64u + how;
	uint16_t flags = fuzz_u8(in) & 7;

	if (!bad.packed) {
		fe_desc(&bad, r->index)[r->avail % FE_SIZE] =
			(struct vring_desc){addr, len, flags, (uint16_t)(how % (FE_SIZE + 1))};
		fe_avail(&bad, r->index)->ring[r->avail % FE_SIZE] = r->avail % FE_SIZE;
		fe_avail(&bad, r->index)->idx = ++r->avail;
		return;
	}
	flags |= r->avail_wrap ? BIT(VRING_PACKED_DESC_F_AVAIL) : BIT(VRING_PACKED_DESC_F_USED);
	fe_pdesc(&bad, r->index)[r->avail] = (struct vring_packed_desc){addr, len, how, flags};
	if (++r->avail == FE_SIZE) {
		r->avail = 0;
		r->avail_wrap = !r->avail_wrap;
	}
}

static void broadcast(struct fuzz_in *in)
{
	static uint8_t frame[2000];
	size_t len = 64 + (size_t)fuzz_u8(in) * 7;

	fe_frame(frame, len, 0xff, 0xa, 1);
	fe_queue(&honest[0], 0, NULL, frame, len, 0);
	fd_signal(honest[0].rings[1].kick);
	turns(3);
}

static void step(struct fuzz_in *in)
{
	switch (fuzz_u8(in) % 16) {
	case 0:
		start(in);
		break;
	case 1: {
		uint8_t raw[300];
		size_t n = fuzz_u8(in);

		for (size_t i = 0; i < n; i++)
			raw[i] = fuzz_u8(in);
		if (bad.sock >= 0 && send(bad.sock, raw, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			break;
		turns(2);
		break;
	}
	case 2:
	case 3:
		guest_writes(in);
		break;
	case 4:
	case 5:
	case 6:
		guest_adds(in);
		break;
	case 7:
		fd_signal(bad.rings[fuzz_u8(in) % FE_RINGS].kick);
		turns(3);
		break;
	case 8:
		broadcast(in);
		break;
	case 9: {
		off_t len = (off_t)(number(in) % (FE_OFFSET + FE_RAM_SIZE + 1));

		/* The front-end's own mapping: it does not touch it while the file is short. */
		fuzz_check(ftruncate(bad.memfd, len) == 0);
		broadcast(in);
		fuzz_check(ftruncate(bad.memfd, (off_t)(FE_OFFSET + FE_RAM_SIZE)) == 0);
		break;
	}
	default:
		message(in);
	}
}

static void check_honest(void)
{
	static uint8_t frame[64], got[2048];
	struct virtio_net_hdr_v1 hdr;

	while (fe_receive(&honest[1], 0, got, sizeof(got), &hdr) >= 0)
		;
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 7);
	fe_queue(&honest[0], 0, NULL, frame, sizeof(frame), 0);
	fd_signal(honest[0].rings[1].kick);
	turns(4);
	fuzz_check(fe_receive(&honest[1], 0, got, sizeof(got), &hdr) == sizeof(frame));
	fuzz_check(memcmp(got, frame, sizeof(frame)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);

	if (!sw)
		begin_all();
	bad.sock = -1;
	start(&in);
	while (fuzz_left(&in))
		step(&in);
	fe_close(&bad);
	fuzz_check(port->fd == -1 && port->mem.nr == 0 && !port->mem.inflight.map);
	fuzz_check(!port->port.up);
	check_honest();
	return 0;
}
