/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switch_rig: a switch without its command line, and front-ends with a driver behind them, at the
 * other end of a socket pair. One thread: the front-end says something, the switch has some turns.
 *
 * The front-end's memory is one memfd, which is mapped here and sent to the switch. The driver is
 * honest, and writes to the rings only as the specification has it; it is not the device's code.
 * Hostile tests change rings and messages themselves.
 *
 * fe_connect() makes a front-end of a switch in another process: there are no turns then, and
 * answers are waited for.
 */
#ifndef TRIVM_TESTS_SWITCH_RIG_H
#define TRIVM_TESTS_SWITCH_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <time.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/vhost/user_wire.h"
#include "switch/sw.h"
#include "switch/watchdog.h"
#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define FE_GPA       UINT64_C(0x40000000)
#define FE_USER      UINT64_C(0x7f0000000000)
#define FE_OFFSET    UINT64_C(0x3000) /* of the region in the file */
#define FE_RAM_SIZE  MIB(8)
#define FE_RINGS     4
#define FE_SIZE      64 /* of a ring */
#define FE_RING_STEP UINT64_C(0x10000)
#define FE_DRIVER    UINT64_C(0x4000)
#define FE_DEVICE    UINT64_C(0x8000)
#define FE_DATA      MIB(1)
#define FE_DATA_RING MIB(1) /* buffers of a ring */
#define FE_SLOT      4096   /* a descriptor's buffer */
#define FE_HDR       12

struct fe_ring {
	unsigned index;
	uint16_t avail, used; /* split: free-running; packed: positions */
	bool avail_wrap, used_wrap;
	unsigned next;              /* descriptor, going round */
	unsigned free;              /* descriptors */
	uint8_t chain_len[FE_SIZE]; /* descriptors of the chain that begins there */
	uint16_t slot_len[FE_SIZE]; /* bytes of the buffer */
	int kick, call;
};

struct fe {
	struct sw *sw; /* this and the next: NULL after fe_connect() */
	struct guest *guest;
	int sock, memfd;
	uint8_t *file, *ram;
	uint64_t features;
	bool packed;
	struct fe_ring rings[FE_RINGS];
};

/* End the test program after so many seconds. SIGALRM is the switch's. */
static inline void rig_limit(unsigned seconds)
{
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGXCPU};
	struct itimerspec its = {.it_value.tv_sec = seconds};
	timer_t timer;

	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	assert_int_equal(timer_settime(timer, 0, &its, NULL), 0);
}

/* --- The switch --- */

/* Without the watchdog, whose signal a fuzzer has other plans for. */
static inline struct sw *rig_bare(void)
{
	struct sw *sw = calloc(1, sizeof(*sw));

	assert_non_null(sw);
	assert_int_equal(sw_init(sw, 300, SW_POLL_NEVER), 0);
	/* Turns are counted here: on a busy host time does not measure what a message costs. */
	sw->talk_burst_ns = INT64_MAX / 4;
	sw->batch_ns = UINT64_MAX;
	assert_int_equal(guest_memory_guard(), 0);
	return sw;
}

static inline struct sw *rig_new(void)
{
	assert_int_equal(watchdog_init(), 0);
	return rig_bare();
}

static inline void rig_free(struct sw *sw)
{
	sw_destroy(sw);
	free(sw);
}

/* Enough for all that is under way; never sleeps. */
#ifndef RIG_TURNS
#define RIG_TURNS 40
#endif
static inline void rig_turns(struct sw *sw)
{
	for (unsigned i = 0; sw && i < RIG_TURNS; i++)
		assert_true(sw_turn(sw, false) >= 0);
}

static inline struct guest *rig_port(struct sw *sw, const char *id, uint16_t vlan, bool isolated)
{
	struct guest_config c = {
		.path = id, .server = true, .id = id, .vlan = vlan, .isolated = isolated};
	struct guest *g;

	assert_int_equal(guest_create(&g, sw, &c, NULL), 0);
	return g;
}

/* --- Messages --- */

/* Its memory and eventfds; fe->sock is connected. */
static inline void fe_prepare(struct fe *fe)
{
	fe->memfd = memfd_create("front-end", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_true(fe->memfd >= 0);
	assert_int_equal(ftruncate(fe->memfd, (off_t)(FE_OFFSET + FE_RAM_SIZE)), 0);
	fe->file = mmap(NULL, FE_OFFSET + FE_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED,
	                fe->memfd, 0);
	assert_true(fe->file != MAP_FAILED);
	fe->ram = fe->file + FE_OFFSET;
	for (unsigned i = 0; i < FE_RINGS; i++) {
		fe->rings[i].index = i;
		fe->rings[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		fe->rings[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		assert_true(fe->rings[i].kick >= 0 && fe->rings[i].call >= 0);
	}
}

static inline void fe_open(struct fe *fe, struct guest *g)
{
	int pair[2];

	memset(fe, 0, sizeof(*fe));
	fe->sw = g->sw;
	fe->guest = g;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(guest_attach(g, pair[0]), 0);
	fe->sock = pair[1];
	fe_prepare(fe);
}

static inline void fe_connect(struct fe *fe, const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	memset(fe, 0, sizeof(*fe));
	fe->sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_true(fe->sock >= 0);
	assert_int_equal(connect(fe->sock, (struct sockaddr *)&a, sizeof(a)), 0);
	fe_prepare(fe);
}

static inline void fe_close(struct fe *fe)
{
	fd_close(&fe->sock);
	rig_turns(fe->sw);
	munmap(fe->file, FE_OFFSET + FE_RAM_SIZE);
	fd_close(&fe->memfd);
	for (unsigned i = 0; i < FE_RINGS; i++) {
		fd_close(&fe->rings[i].kick);
		fd_close(&fe->rings[i].call);
	}
}

/* Is the session still there? */
static inline bool fe_alive(const struct fe *fe)
{
	char byte;

	return recv(fe->sock, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN;
}

static inline void fe_send_fds(struct fe *fe, uint32_t request, uint32_t flags, const void *payload,
                               uint32_t size, const int *fds, unsigned nr)
{
	struct vu_msg m = {.request = request, .flags = VU_VERSION | flags, .size = size};

	if (size)
		memcpy((uint8_t *)&m + VU_HEADER, payload, size);
	assert_int_equal(vu_send(fe->sock, &m, fds, nr, vu_deadline(1000)), 0);
	rig_turns(fe->sw);
}

static inline void fe_send(struct fe *fe, uint32_t request, const void *payload, uint32_t size)
{
	fe_send_fds(fe, request, 0, payload, size, NULL, 0);
}

static inline void fe_send_u64(struct fe *fe, uint32_t request, uint64_t v)
{
	fe_send(fe, request, &v, sizeof(v));
}

static inline void fe_send_state(struct fe *fe, uint32_t request, uint32_t index, uint32_t num)
{
	struct vu_state s = {.index = index, .num = num};

	fe_send(fe, request, &s, sizeof(s));
}

/* The answer to @request, which has to be there; a descriptor with it goes to *@fd. */
static inline void fe_answer_fd(struct fe *fe, uint32_t request, struct vu_msg *m, int *fd)
{
	struct vu_rx rx;

	vu_rx_init(&rx);
	if (fe->sw)
		assert_int_equal(vu_rx_step(&rx, fe->sock), 1);
	else
		assert_int_equal(vu_recv(fe->sock, &rx, vu_deadline(10000)), 0);
	*m = rx.msg;
	assert_int_equal(m->request, request);
	assert_int_equal(m->flags & VU_REPLY, VU_REPLY);
	assert_int_equal(rx.nr_fds, fd ? 1 : 0);
	if (fd)
		*fd = vu_rx_take_fd(&rx, 0);
	vu_rx_reset(&rx);
}

static inline uint64_t fe_get_u64(struct fe *fe, uint32_t request)
{
	struct vu_msg m;

	fe_send(fe, request, NULL, 0);
	fe_answer_fd(fe, request, &m, NULL);
	assert_int_equal(m.size, sizeof(uint64_t));
	return m.p.u64;
}

/* With REPLY_ACK: is the request accepted? */
static inline bool fe_accepted(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
                               const int *fds, unsigned nr)
{
	struct vu_msg m;

	fe_send_fds(fe, request, VU_NEED_REPLY, payload, size, fds, nr);
	fe_answer_fd(fe, request, &m, NULL);
	assert_int_equal(m.size, sizeof(uint64_t));
	return m.p.u64 == 0;
}

static inline uint32_t fe_get_base(struct fe *fe, unsigned ring)
{
	struct vu_msg m;

	fe_send_state(fe, VU_GET_VRING_BASE, ring, 0);
	fe_answer_fd(fe, VU_GET_VRING_BASE, &m, NULL);
	assert_int_equal(m.p.state.index, ring);
	return m.p.state.num;
}

static inline void fe_send_memory(struct fe *fe)
{
	struct vu_memory m = {.nr = 1,
	                      .regions = {{.gpa = FE_GPA,
	                                   .size = FE_RAM_SIZE,
	                                   .user_addr = FE_USER,
	                                   .mmap_offset = FE_OFFSET}}};

	fe_send_fds(fe, VU_SET_MEM_TABLE, 0, &m, 8 + sizeof(struct vu_region), &fe->memfd, 1);
}

static inline struct vu_addr fe_ring_addr(unsigned ring)
{
	uint64_t at = FE_USER + ring * FE_RING_STEP;

	return (struct vu_addr){
		.index = ring, .desc = at, .avail = at + FE_DRIVER, .used = at + FE_DEVICE};
}

static inline void fe_start_ring(struct fe *fe, unsigned ring, uint32_t base)
{
	struct vu_addr a = fe_ring_addr(ring);
	uint64_t index = ring;

	fe_send_state(fe, VU_SET_VRING_NUM, ring, FE_SIZE);
	fe_send_state(fe, VU_SET_VRING_BASE, ring, base);
	fe_send(fe, VU_SET_VRING_ADDR, &a, sizeof(a));
	fe_send_fds(fe, VU_SET_VRING_KICK, 0, &index, 8, &fe->rings[ring].kick, 1);
	fe_send_fds(fe, VU_SET_VRING_CALL, 0, &index, 8, &fe->rings[ring].call, 1);
	if (fe->features & BIT64(VU_F_PROTOCOL_FEATURES))
		fe_send_state(fe, VU_SET_VRING_ENABLE, ring, 1);
}

/* A new ring: nothing in it. */
static inline void fe_clear_ring(struct fe *fe, unsigned ring)
{
	struct fe_ring *r = &fe->rings[ring];

	memset(fe->ram + ring * FE_RING_STEP, 0, FE_RING_STEP);
	r->avail = r->used = 0;
	r->avail_wrap = r->used_wrap = true;
	r->next = 0;
	r->free = FE_SIZE;
}

static inline uint32_t fe_base_new(const struct fe *fe)
{
	return virtq_base_new(fe->packed);
}

static inline void fe_features(struct fe *fe, uint64_t features)
{
	uint64_t offered = fe_get_u64(fe, VU_GET_FEATURES);

	fe->features = features | BIT64(VIRTIO_F_VERSION_1) | BIT64(VU_F_PROTOCOL_FEATURES);
	fe->packed = features & BIT64(VIRTIO_F_RING_PACKED);
	assert_int_equal(fe->features & ~offered, 0);
	fe_send_u64(fe, VU_SET_PROTOCOL_FEATURES, fe_get_u64(fe, VU_GET_PROTOCOL_FEATURES));
	fe_send(fe, VU_SET_OWNER, NULL, 0);
	fe_send_u64(fe, VU_SET_FEATURES, fe->features);
}

/* Everything up to @rings running rings. */
static inline void fe_start(struct fe *fe, uint64_t features, unsigned rings)
{
	fe_features(fe, features);
	fe_send_memory(fe);
	for (unsigned i = 0; i < rings; i++) {
		fe_clear_ring(fe, i);
		fe_start_ring(fe, i, fe_base_new(fe));
		assert_true(!fe->guest || fe->guest->rings[i].running);
	}
}

/* --- The driver --- */

static inline uint8_t *fe_slot(struct fe *fe, unsigned ring, unsigned i)
{
	return fe->ram + FE_DATA + ring * FE_DATA_RING + i * FE_SLOT;
}
static inline uint64_t fe_slot_gpa(unsigned ring, unsigned i)
{
	return FE_GPA + FE_DATA + ring * FE_DATA_RING + i * FE_SLOT;
}
static inline struct vring_desc *fe_desc(struct fe *fe, unsigned ring)
{
	return (struct vring_desc *)(fe->ram + ring * FE_RING_STEP);
}
static inline struct vring_packed_desc *fe_pdesc(struct fe *fe, unsigned ring)
{
	return (struct vring_packed_desc *)(fe->ram + ring * FE_RING_STEP);
}
static inline struct vring_avail *fe_avail(struct fe *fe, unsigned ring)
{
	return (struct vring_avail *)(fe->ram + ring * FE_RING_STEP + FE_DRIVER);
}
static inline struct vring_used *fe_used(struct fe *fe, unsigned ring)
{
	return (struct vring_used *)(fe->ram + ring * FE_RING_STEP + FE_DEVICE);
}

/* Make @n buffers of these lengths available as one chain, in the slots from r->next on. */
static inline void fe_add(struct fe *fe, struct fe_ring *r, const uint16_t *len, unsigned n,
                          bool write)
{
	unsigned head = r->next;
	uint16_t base = write ? VRING_DESC_F_WRITE : 0;

	assert_true(n >= 1 && n <= r->free);
	for (unsigned k = 0; k < n; k++) {
		unsigned i = (head + k) % FE_SIZE;
		uint64_t at = fe_slot_gpa(r->index, i);
		uint16_t flags = base | (k + 1 < n ? VRING_DESC_F_NEXT : 0);

		assert_true(len[k] <= FE_SLOT);
		r->slot_len[i] = len[k];
		if (!fe->packed) {
			fe_desc(fe, r->index)[i] =
				(struct vring_desc){htole64(at), htole32(len[k]), htole16(flags),
			                            htole16((uint16_t)((i + 1) % FE_SIZE))};
			continue;
		}
		flags |= r->avail_wrap ? BIT(VRING_PACKED_DESC_F_AVAIL)
		                       : BIT(VRING_PACKED_DESC_F_USED);
		fe_pdesc(fe, r->index)[r->avail] = (struct vring_packed_desc){
			htole64(at), htole32(len[k]), htole16((uint16_t)head), htole16(flags)};
		if (++r->avail == FE_SIZE) {
			r->avail = 0;
			r->avail_wrap = !r->avail_wrap;
		}
	}
	if (!fe->packed) {
		fe_avail(fe, r->index)->ring[r->avail % FE_SIZE] = htole16((uint16_t)head);
		fe_avail(fe, r->index)->idx = htole16(++r->avail);
	}
	r->chain_len[head] = (uint8_t)n;
	r->free -= n;
	r->next = (head + n) % FE_SIZE;
}

/* Take a used chain: its first slot, or -1. */
static inline int fe_take(struct fe *fe, struct fe_ring *r, uint32_t *written)
{
	unsigned id;

	if (fe->packed) {
		struct vring_packed_desc *d = &fe_pdesc(fe, r->index)[r->used];
		uint16_t flags = le16toh(d->flags);

		if (!!(flags & BIT(VRING_PACKED_DESC_F_AVAIL)) != r->used_wrap ||
		    !!(flags & BIT(VRING_PACKED_DESC_F_USED)) != r->used_wrap)
			return -1;
		id = le16toh(d->id);
		*written = le32toh(d->len);
		assert_true(id < FE_SIZE && r->chain_len[id]);
		r->used += r->chain_len[id];
		if (r->used >= FE_SIZE) {
			r->used -= FE_SIZE;
			r->used_wrap = !r->used_wrap;
		}
	} else {
		struct vring_used *u = fe_used(fe, r->index);

		if (le16toh(u->idx) == r->used)
			return -1;
		id = le32toh(u->ring[r->used % FE_SIZE].id);
		*written = le32toh(u->ring[r->used % FE_SIZE].len);
		assert_true(id < FE_SIZE && r->chain_len[id]);
		r->used++;
	}
	id %= FE_SIZE; /* as it is; so that the compiler knows */
	r->free += r->chain_len[id];
	r->chain_len[id] = 0;
	return (int)id;
}

/* Offer receive buffers of @len bytes, @n of them, each of one descriptor. */
static inline void fe_post(struct fe *fe, unsigned pair, uint16_t len, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		fe_add(fe, &fe->rings[2 * pair], &len, 1, true);
}

/* Transmit @hdr and @frame in parts of @part bytes (0: one of each slot's size). No kick. */
static inline void fe_queue(struct fe *fe, unsigned pair, const struct virtio_net_hdr_v1 *hdr,
                            const uint8_t *frame, size_t len, unsigned part)
{
	static const struct virtio_net_hdr_v1 plain;
	struct fe_ring *r = &fe->rings[2 * pair + 1];
	uint8_t *all = malloc(FE_HDR + len);
	uint16_t lens[FE_SIZE];
	unsigned n = 0;
	size_t at = 0;
	uint32_t ignored;

	while (fe_take(fe, r, &ignored) >= 0)
		;
	assert_non_null(all);
	memcpy(all, hdr ? hdr : &plain, FE_HDR);
	memcpy(all + FE_HDR, frame, len);
	if (!part)
		part = FE_SLOT;
	while (at < FE_HDR + len) {
		size_t now = min_u64(part, FE_HDR + len - at);

		assert_true(n < FE_SIZE);
		memcpy(fe_slot(fe, r->index, (r->next + n) % FE_SIZE), all + at, now);
		lens[n++] = (uint16_t)now;
		at += now;
	}
	fe_add(fe, r, lens, n, false);
	free(all);
}

static inline void fe_kick(struct fe *fe, unsigned ring)
{
	fd_signal(fe->rings[ring].kick);
	rig_turns(fe->sw);
}

static inline void fe_transmit(struct fe *fe, const uint8_t *frame, size_t len)
{
	fe_queue(fe, 0, NULL, frame, len, 0);
	fe_kick(fe, 1);
}

/*
 * The next frame received: its bytes behind the header in @buf, its length, the header in *@hdr.
 * -1: none. Buffers go back to the device.
 */
static inline int fe_receive(struct fe *fe, unsigned pair, uint8_t *buf, size_t size,
                             struct virtio_net_hdr_v1 *hdr)
{
	struct fe_ring *r = &fe->rings[2 * pair];
	uint8_t head[FE_HDR];
	unsigned left = 1;
	size_t total = 0;

	for (bool first = true; left; first = false, left--) {
		uint32_t written;
		int id = fe_take(fe, r, &written);
		uint16_t len;

		if (id < 0) {
			assert_true(first); /* all of a frame's buffers come together */
			return -1;
		}
		len = r->slot_len[id];
		assert_true(written <= len);
		for (uint32_t i = 0; i < written; i++, total++) {
			uint8_t byte = fe_slot(fe, r->index, (unsigned)id)[i];

			if (total < FE_HDR)
				head[total] = byte;
			else if (total - FE_HDR < size)
				buf[total - FE_HDR] = byte;
		}
		if (first) {
			assert_true(total >= FE_HDR);
			memcpy(hdr, head, FE_HDR);
			left = le16toh(hdr->num_buffers);
			assert_true(left >= 1);
		}
		fe_add(fe, r, &len, 1, true);
	}
	return (int)(total - FE_HDR);
}

/* A frame of @len bytes with a pattern that @seed chooses. Stations are 02:00:00:00:00:NN. */
static inline void fe_frame(uint8_t *frame, size_t len, uint8_t dst, uint8_t src, uint8_t seed)
{
	memset(frame, 0, SW_FRAME_MIN);
	frame[0] = frame[6] = 2;
	frame[5] = dst;
	frame[11] = src;
	if (dst == 0xff)
		memset(frame, 0xff, 6);
	frame[12] = 0x88; /* local experimental */
	frame[13] = 0xb5;
	for (size_t i = SW_FRAME_MIN; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + seed);
}

#endif
