/* SPDX-License-Identifier: BSD-2-Clause */
/* trivm-switch: frames between front-ends, in all ring formats and buffer layouts. */
#include <time.h>

#include "tests/unit/switch_rig.h"

#define MRG    BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define PACKED BIT64(VIRTIO_F_RING_PACKED)
#define EVENT  BIT64(VIRTIO_RING_F_EVENT_IDX)
#define CSUM   (BIT64(VIRTIO_NET_F_CSUM) | BIT64(VIRTIO_NET_F_GUEST_CSUM))
#define TSO    (CSUM | BIT64(VIRTIO_NET_F_HOST_TSO4) | BIT64(VIRTIO_NET_F_GUEST_TSO4))

struct two {
	struct sw *sw;
	struct fe a, b;
};

static void two_new(struct two *t, uint64_t a, uint64_t b)
{
	t->sw = rig_new();
	fe_open(&t->a, rig_port(t->sw, "a", 0, false));
	fe_open(&t->b, rig_port(t->sw, "b", 0, false));
	fe_start(&t->a, a, 2);
	fe_start(&t->b, b, 2);
}

static void two_free(struct two *t)
{
	fe_close(&t->a);
	fe_close(&t->b);
	rig_free(t->sw);
}

/* @frame arrives at @fe complete, and with @len bytes. */
static void expect(struct fe *fe, unsigned pair, const uint8_t *frame, size_t len)
{
	static uint8_t got[SW_FRAME_MAX];
	struct virtio_net_hdr_v1 hdr;

	assert_int_equal(fe_receive(fe, pair, got, sizeof(got), &hdr), (int)len);
	assert_memory_equal(got, frame, len);
	assert_int_equal(hdr.flags, 0);
	assert_int_equal(hdr.gso_type, 0);
}

static void expect_nothing(struct fe *fe)
{
	struct virtio_net_hdr_v1 hdr;
	uint8_t byte;

	assert_int_equal(fe_receive(fe, 0, &byte, 1, &hdr), -1);
}

/* --- Every format, every layout of buffers, many laps of the rings --- */

static void pass_many(uint64_t a, uint64_t b, unsigned part, uint16_t room)
{
	static uint8_t frame[4000];
	struct two t;

	two_new(&t, a, b);
	fe_post(&t.b, 0, room, FE_SIZE);
	for (unsigned i = 0; i < 300; i++) {
		size_t len = SW_FRAME_MIN + (i * 37) % 1500;

		fe_frame(frame, len, 0xb, 0xa, (uint8_t)i);
		fe_queue(&t.a, 0, NULL, frame, len, part);
		fe_kick(&t.a, 1);
		expect(&t.b, 0, frame, len);
		expect_nothing(&t.b);
	}
	assert_int_equal(t.a.guest->port.counters.rx_packets, 300);
	assert_int_equal(t.b.guest->port.counters.tx_packets, 300);
	assert_int_equal(t.b.guest->port.counters.tx_full, 0);
	assert_int_equal(t.a.guest->port.counters.rx_malformed, 0);
	two_free(&t);
}

static void frames_pass_whole_in_every_layout(void **state)
{
	static const struct {
		unsigned part;
		uint16_t room;
		bool mrg;
	} layouts[] = {
		{0, 2048, true},                     /* one buffer each */
		{0, 2048, false},                    /* the same without merging */
		{26, 2048, true},                    /* the frame in many parts */
		{50, 2048, false}, {100, 128, true}, /* and in other ones at the receiver */
		{0, 300, true},
	};

	(void)state;
	for (size_t l = 0; l < ARRAY_SIZE(layouts); l++)
		for (unsigned f = 0; f < 8; f++)
			pass_many((f & 1 ? PACKED : 0) | (f & 4 ? EVENT : 0),
			          (f & 2 ? PACKED : 0) | (f & 4 ? EVENT : 0) |
			                  (layouts[l].mrg ? MRG : 0),
			          layouts[l].part, layouts[l].room);
}

static void small_parts_everywhere(void **state)
{
	uint8_t frame[200];
	struct two t;

	(void)state;
	for (unsigned f = 0; f < 4; f++) {
		two_new(&t, f & 1 ? PACKED : 0, (f & 2 ? PACKED : 0) | MRG);
		fe_post(&t.b, 0, FE_HDR, FE_SIZE);
		for (unsigned part = 1; part < 40; part++) {
			size_t len = part < 5 ? 40 : 200;

			fe_frame(frame, len, 0xb, 0xa, (uint8_t)part);
			if ((len + FE_HDR + part - 1) / part > FE_SIZE)
				continue;
			fe_queue(&t.a, 0, NULL, frame, len, part);
			fe_kick(&t.a, 1);
			expect(&t.b, 0, frame, len);
		}
		two_free(&t);
	}
}

static void a_batch_of_frames_keeps_its_order(void **state)
{
	uint8_t frame[100];
	struct two t;

	(void)state;
	for (unsigned f = 0; f < 4; f++) {
		two_new(&t, f & 1 ? PACKED : 0, (f & 2 ? PACKED : 0) | MRG);
		fe_post(&t.b, 0, 60, FE_SIZE); /* two buffers a frame, header included */
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < 30; i++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)(round + i));
				fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
			}
			fe_kick(&t.a, 1);
			for (unsigned i = 0; i < 30; i++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)(round + i));
				expect(&t.b, 0, frame, sizeof(frame));
			}
			expect_nothing(&t.b);
		}
		two_free(&t);
	}
}

static void a_driver_without_version_1_has_a_short_header(void **state)
{
	static const struct virtio_net_hdr_v1 none;
	uint8_t frame[64], *slot;
	struct two t;
	uint16_t len = 2048, out = 10 + sizeof(frame);
	uint32_t written;
	int id;

	(void)state;
	two_new(&t, 0, 0);
	fe_send_u64(&t.a, VU_SET_FEATURES, BIT64(VU_F_PROTOCOL_FEATURES));
	fe_add(&t.a, &t.a.rings[0], &len, 1, true);
	fe_post(&t.b, 0, 2048, 4);
	/* From a: 10 bytes of header. */
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	slot = fe_slot(&t.a, 1, 0);
	memcpy(slot, &none, 10);
	memcpy(slot + 10, frame, sizeof(frame));
	fe_add(&t.a, &t.a.rings[1], &out, 1, false);
	fe_kick(&t.a, 1);
	expect(&t.b, 0, frame, sizeof(frame));
	/* And to it. */
	fe_frame(frame, sizeof(frame), 0xa, 0xb, 2);
	fe_transmit(&t.b, frame, sizeof(frame));
	id = fe_take(&t.a, &t.a.rings[0], &written);
	assert_int_equal(id, 0);
	assert_int_equal(written, 10 + sizeof(frame));
	assert_memory_equal(fe_slot(&t.a, 0, 0) + 10, frame, sizeof(frame));
	two_free(&t);
}

/* --- Who gets what --- */

static void the_switch_learns_and_floods(void **state)
{
	struct sw *sw = rig_new();
	uint8_t frame[64];
	struct fe fe[3];

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		char id[2] = {(char)('a' + i), 0};

		fe_open(&fe[i], rig_port(sw, id, 0, false));
		fe_start(&fe[i], MRG, 2);
		fe_post(&fe[i], 0, 2048, 16);
	}
	/* Nobody knows b yet: both get it. */
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	fe_transmit(&fe[0], frame, sizeof(frame));
	expect(&fe[1], 0, frame, sizeof(frame));
	expect(&fe[2], 0, frame, sizeof(frame));
	expect_nothing(&fe[0]);
	/* The answer goes to a alone, and then b is known. */
	fe_frame(frame, sizeof(frame), 0xa, 0xb, 2);
	fe_transmit(&fe[1], frame, sizeof(frame));
	expect(&fe[0], 0, frame, sizeof(frame));
	expect_nothing(&fe[2]);
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 3);
	fe_transmit(&fe[0], frame, sizeof(frame));
	expect(&fe[1], 0, frame, sizeof(frame));
	expect_nothing(&fe[2]);
	/* Broadcast: all others. */
	fe_frame(frame, sizeof(frame), 0xff, 0xa, 4);
	fe_transmit(&fe[0], frame, sizeof(frame));
	expect(&fe[1], 0, frame, sizeof(frame));
	expect(&fe[2], 0, frame, sizeof(frame));
	expect_nothing(&fe[0]);
	/* For a bridge itself: nobody. A group as a source: nobody. */
	memcpy(frame, "\x01\x80\xc2\x00\x00\x0e", 6);
	fe_transmit(&fe[0], frame, sizeof(frame));
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 5);
	frame[6] |= 1;
	fe_transmit(&fe[0], frame, sizeof(frame));
	expect_nothing(&fe[1]);
	expect_nothing(&fe[2]);
	assert_int_equal(fe[0].guest->port.counters.rx_filtered, 1);
	assert_int_equal(fe[0].guest->port.counters.rx_malformed, 1);
	/* b is unplugged: what is for it is flooded again. */
	fe_close(&fe[1]);
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 6);
	fe_transmit(&fe[0], frame, sizeof(frame));
	expect(&fe[2], 0, frame, sizeof(frame));
	fe_close(&fe[0]);
	fe_close(&fe[2]);
	rig_free(sw);
}

static void vlans_and_isolation_separate(void **state)
{
	/* a, b: VLAN 5; c: none; d, e: VLAN 5 and isolated */
	static const struct {
		uint16_t vlan;
		bool isolated;
	} ports[] = {{5, false}, {5, false}, {0, false}, {5, true}, {5, true}};
	struct sw *sw = rig_new();
	struct fe fe[ARRAY_SIZE(ports)];
	uint8_t frame[64];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++) {
		char id[2] = {(char)('a' + i), 0};

		fe_open(&fe[i], rig_port(sw, id, ports[i].vlan, ports[i].isolated));
		fe_start(&fe[i], MRG, 2);
		fe_post(&fe[i], 0, 2048, 16);
	}
	for (unsigned from = 0; from < ARRAY_SIZE(ports); from++) {
		fe_frame(frame, sizeof(frame), 0xff, (uint8_t)(0xa + from), (uint8_t)from);
		fe_transmit(&fe[from], frame, sizeof(frame));
		for (unsigned to = 0; to < ARRAY_SIZE(ports); to++) {
			bool reaches = to != from && ports[to].vlan == ports[from].vlan &&
			               !(ports[to].isolated && ports[from].isolated);

			if (reaches)
				expect(&fe[to], 0, frame, sizeof(frame));
			else
				expect_nothing(&fe[to]);
		}
	}
	/* Known stations, too. */
	fe_frame(frame, sizeof(frame), 0xe, 0xd, 9);
	fe_transmit(&fe[3], frame, sizeof(frame));
	expect_nothing(&fe[4]);
	assert_int_equal(fe[3].guest->port.counters.rx_filtered, 1);
	for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
		fe_close(&fe[i]);
	rig_free(sw);
}

/* --- Buffers --- */

/* Until the time that frames wait for a full port is over. */
static void wait_over(struct sw *sw)
{
	struct timespec ms = {.tv_nsec = (SW_WAIT_MS + 1) * 1000000};

	rig_turns(sw);
	/* More than once: on a busy machine the waiting may begin late. */
	for (unsigned i = 0; i < 4; i++) {
		nanosleep(&ms, NULL);
		rig_turns(sw);
	}
}

static void frames_without_room_are_dropped_and_counted(void **state)
{
	uint8_t frame[400];
	struct two t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		two_new(&t, 0, MRG | (packed ? PACKED : 0));
		fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
		fe_transmit(&t.a, frame, sizeof(frame));
		wait_over(t.sw);
		assert_int_equal(t.b.guest->port.counters.tx_full, 1);
		assert_int_equal(t.sw->nr_active, 0);
		/* 3 buffers of 100 do not hold it: they stay, for a smaller one. */
		fe_post(&t.b, 0, 100, 3);
		fe_transmit(&t.a, frame, sizeof(frame));
		wait_over(t.sw);
		assert_int_equal(t.b.guest->port.counters.tx_full, 2);
		fe_transmit(&t.a, frame, 288);
		expect(&t.b, 0, frame, 288);
		/* Without merging a frame larger than the buffer is not cut. */
		two_free(&t);
		two_new(&t, 0, packed ? PACKED : 0);
		fe_post(&t.b, 0, 100, 8);
		fe_transmit(&t.a, frame, 89);
		assert_int_equal(t.b.guest->port.counters.tx_size, 1);
		fe_transmit(&t.a, frame, 88);
		expect(&t.b, 0, frame, 88);
		two_free(&t);
	}
}

/* A receiver that is full for a moment only loses nothing, and its sender sees a slow wire. */
static void a_sender_waits_for_a_full_receiver(void **state)
{
	uint8_t frame[100];
	struct two t;

	(void)state;
	for (unsigned f = 0; f < 8; f++) {
		unsigned sent = 0, got = 0;

		two_new(&t, (f & 1 ? PACKED : 0) | (f & 4 ? EVENT : 0),
		        MRG | (f & 2 ? PACKED : 0) | (f & 4 ? EVENT : 0));
		t.sw->wait_ms = 60000;
		fe_post(&t.b, 0, 60, 9); /* 4 frames of 2 buffers, and one over */
		while (got < 200) {
			uint8_t seen[100];
			struct virtio_net_hdr_v1 hdr;

			for (uint32_t w; fe_take(&t.a, &t.a.rings[1], &w) >= 0;)
				;
			for (; sent < 200 && t.a.rings[1].free > 2; sent++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)sent);
				fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
			}
			fe_kick(&t.a, 1);
			/* It is asleep: only the receiver's kick, or time, wakes it. */
			assert_int_equal(t.sw->nr_active, t.a.guest->rings[1].active >= 0);
			while (fe_receive(&t.b, 0, seen, sizeof(seen), &hdr) >= 0) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)got++);
				assert_memory_equal(seen, frame, sizeof(frame));
			}
			fe_kick(&t.b, 0);
		}
		assert_int_equal(t.b.guest->port.counters.tx_full, 0);
		assert_int_equal(t.a.guest->port.counters.rx_packets, 200);
		assert_int_equal(t.a.guest->port.counters.rx_bytes, 200 * sizeof(frame));
		/* One that stays full is waited for once, and then no more. */
		t.sw->wait_ms = SW_WAIT_MS;
		for (unsigned i = 0; i < 60; i++)
			fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
		fe_kick(&t.a, 1);
		wait_over(t.sw);
		assert_int_equal(t.b.guest->port.counters.tx_full, 56);
		assert_true(t.b.guest->port.stuck);
		fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
		fe_kick(&t.a, 1);
		assert_int_equal(t.b.guest->port.counters.tx_full, 57);
		/* Until it takes frames again. */
		for (unsigned i = 0; i < 4; i++)
			expect(&t.b, 0, frame, sizeof(frame));
		fe_transmit(&t.a, frame, sizeof(frame));
		expect(&t.b, 0, frame, sizeof(frame));
		assert_false(t.b.guest->port.stuck);
		two_free(&t);
	}
}

static void malformed_frames_are_counted(void **state)
{
	uint8_t frame[64];
	uint16_t len = FE_HDR + SW_FRAME_MIN - 1;
	struct virtio_net_hdr_v1 hdr;
	struct two t;

	(void)state;
	two_new(&t, 0, MRG);
	fe_post(&t.b, 0, 2048, 16);
	fe_add(&t.a, &t.a.rings[1], &len, 1, false); /* a byte too short */
	fe_kick(&t.a, 1);
	len = 5; /* not even a header */
	fe_add(&t.a, &t.a.rings[1], &len, 1, false);
	fe_kick(&t.a, 1);
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	/* Offloads that were not negotiated. */
	hdr = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	                                 .csum_start = htole16(34),
	                                 .csum_offset = htole16(16)};
	fe_queue(&t.a, 0, &hdr, frame, sizeof(frame), 0);
	fe_kick(&t.a, 1);
	hdr = (struct virtio_net_hdr_v1){.gso_type = VIRTIO_NET_HDR_GSO_TCPV4};
	fe_queue(&t.a, 0, &hdr, frame, sizeof(frame), 0);
	fe_kick(&t.a, 1);
	expect_nothing(&t.b);
	assert_int_equal(t.a.guest->port.counters.rx_malformed, 4);
	/* All of it came back, and the ring goes on. */
	fe_transmit(&t.a, frame, sizeof(frame));
	expect(&t.b, 0, frame, sizeof(frame));
	two_free(&t);
}

/* --- Offloads --- */

/* A TCP/IPv4 frame of @len bytes from a to b: 14 + 20 + 20 and data. */
static void tcp_frame(uint8_t *frame, size_t len)
{
	fe_frame(frame, len, 0xb, 0xa, 3);
	frame[12] = 0x08;
	frame[13] = 0x00;
	memset(frame + 14, 0, 40);
	frame[14] = 0x45;
	frame[16] = (uint8_t)((len - 14) >> 8);
	frame[17] = (uint8_t)(len - 14);
	frame[22] = 64;
	frame[23] = 6;
	memcpy(frame + 26, "\x0a\x00\x00\x01\x0a\x00\x00\x02", 8);
	frame[46] = 0x50;
	frame[47] = 0x18;
}

static const struct virtio_net_hdr_v1 tso = {
	.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
	.hdr_len = 54,
	.gso_size = 1448,
	.csum_start = 34,
	.csum_offset = 16,
};

static void offloads_pass_to_who_takes_them(void **state)
{
	static uint8_t frame[60054], got[60054];
	struct virtio_net_hdr_v1 hdr;
	struct two t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		two_new(&t, TSO | (packed ? PACKED : 0), TSO | MRG | (packed ? PACKED : 0));
		fe_post(&t.b, 0, 1500, FE_SIZE);
		tcp_frame(frame, sizeof(frame));
		for (unsigned i = 0; i < 5; i++) {
			fe_queue(&t.a, 0, &tso, frame, sizeof(frame), 0);
			fe_kick(&t.a, 1);
			assert_int_equal(fe_receive(&t.b, 0, got, sizeof(got), &hdr),
			                 (int)sizeof(frame));
			assert_memory_equal(got, frame, sizeof(frame));
			assert_int_equal(hdr.gso_size, 1448);
			assert_int_equal(hdr.csum_start, 34);
			assert_int_equal(hdr.num_buffers, 41);
		}
		two_free(&t);
	}
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t s)
{
	for (size_t i = 0; i < len; i++)
		s += i & 1 ? p[i] : (uint32_t)p[i] << 8;
	while (s >> 16)
		s = (s & 0xffff) + (s >> 16);
	return s;
}

/* Right checksums of IPv4 and TCP. */
static void check_sums(const uint8_t *f, size_t len)
{
	uint32_t pseudo = sum16(f + 26, 8, 6 + (uint32_t)(len - 34));

	assert_int_equal(sum16(f + 14, 20, 0), 0xffff);
	assert_int_equal(sum16(f + 34, len - 34, pseudo), 0xffff);
}

static void offloads_are_finished_for_who_does_not(void **state)
{
	static uint8_t frame[6054], got[2048];
	struct virtio_net_hdr_v1 hdr;
	size_t data = 0;
	struct two t;
	int len;

	(void)state;
	two_new(&t, TSO, 0);
	fe_post(&t.b, 0, 2048, 32);
	tcp_frame(frame, sizeof(frame));
	fe_queue(&t.a, 0, &tso, frame, sizeof(frame), 0);
	fe_kick(&t.a, 1);
	while ((len = fe_receive(&t.b, 0, got, sizeof(got), &hdr)) >= 0) {
		assert_true(len <= 54 + 1448);
		assert_int_equal(hdr.gso_type, 0);
		assert_int_equal(hdr.flags, 0);
		check_sums(got, (size_t)len);
		assert_int_equal(got[16] << 8 | got[17], len - 14);
		assert_int_equal(got[38] << 24 | got[39] << 16 | got[40] << 8 | got[41], data);
		assert_memory_equal(got + 54, frame + 54 + data, (size_t)len - 54);
		data += (size_t)len - 54;
		/* PSH only at the end. */
		assert_int_equal(got[47], data == 6000 ? 0x18 : 0x10);
	}
	assert_int_equal(data, 6000);
	two_free(&t);
}

/* --- Queues, and their states --- */

/* A UDP frame of a flow: @port of station @src, the other port is 53. */
static void flow_frame(uint8_t *frame, size_t len, uint8_t dst, uint8_t src, uint16_t port)
{
	fe_frame(frame, len, dst, src, 1);
	memcpy(frame + 12, "\x08\x00\x45", 3);
	memset(frame + 15, 0, 19);
	frame[23] = 17;
	frame[26] = 10;
	frame[29] = src;
	frame[30] = 10;
	frame[33] = dst;
	frame[34] = (uint8_t)(port >> 8);
	frame[35] = (uint8_t)port;
	frame[36] = 0;
	frame[37] = 53;
}

static int queue_of(struct two *t)
{
	struct virtio_net_hdr_v1 hdr;
	uint8_t got[64];

	for (unsigned pair = 0; pair < 2; pair++)
		if (fe_receive(&t->b, pair, got, sizeof(got), &hdr) >= 0)
			return (int)pair;
	return -1;
}

static void a_flow_has_a_queue_whatever_its_sender_takes(void **state)
{
	unsigned frames[2] = {0};
	uint8_t frame[64];
	struct two t;

	(void)state;
	t.sw = rig_new();
	fe_open(&t.a, rig_port(t.sw, "a", 0, false));
	fe_open(&t.b, rig_port(t.sw, "b", 0, false));
	fe_start(&t.a, MRG | BIT64(VIRTIO_NET_F_MQ), 4);
	fe_start(&t.b, MRG | BIT64(VIRTIO_NET_F_MQ), 4);
	assert_int_equal(t.a.guest->nr_receive, 2);
	fe_post(&t.b, 0, 2048, 8);
	fe_post(&t.b, 1, 2048, 8);
	for (uint16_t port = 1000; port < 1032; port++) {
		int first = -1;

		flow_frame(frame, sizeof(frame), 0xb, 0xa, port);
		for (unsigned pair = 0; pair < 2; pair++) {
			int queue;

			fe_queue(&t.a, pair, NULL, frame, sizeof(frame), 0);
			fe_kick(&t.a, 2 * pair + 1);
			queue = queue_of(&t);
			assert_true(queue >= 0 && (first < 0 || queue == first));
			first = queue;
			frames[queue]++;
		}
	}
	/* Flows of one queue of the sender's are spread. */
	assert_true(frames[0] >= 16 && frames[1] >= 16);
	/* Several flows in one batch. */
	for (uint16_t port = 1000; port < 1008; port++) {
		flow_frame(frame, sizeof(frame), 0xb, 0xa, port);
		fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
	}
	fe_kick(&t.a, 1);
	for (unsigned i = 0; i < 8; i++)
		assert_true(queue_of(&t) >= 0);
	assert_int_equal(queue_of(&t), -1);
	/* b uses one pair only: everything comes there. */
	fe_send_state(&t.b, VU_SET_VRING_ENABLE, 2, 0);
	for (uint16_t port = 1000; port < 1008; port++) {
		flow_frame(frame, sizeof(frame), 0xb, 0xa, port);
		fe_queue(&t.a, 1, NULL, frame, sizeof(frame), 0);
		fe_kick(&t.a, 3);
		assert_int_equal(queue_of(&t), 0);
	}
	two_free(&t);
}

/* The front-end's whole start, with what it sends of features, and when it says "enable". */
enum when {
	NEVER,
	BEFORE,
	AFTER
};

static void start_otherwise(struct fe *fe, bool features, enum when enable)
{
	fe_send(fe, VU_SET_OWNER, NULL, 0);
	for (unsigned i = 0; enable == BEFORE && i < 2; i++)
		fe_send_state(fe, VU_SET_VRING_ENABLE, i, 1);
	if (features)
		fe_send_u64(fe, VU_SET_FEATURES, BIT64(VU_F_PROTOCOL_FEATURES));
	fe_send_memory(fe);
	for (unsigned i = 0; i < 2; i++) {
		fe_clear_ring(fe, i);
		fe_start_ring(fe, i, 0);
		assert_true(fe->guest->rings[i].running);
	}
	for (unsigned i = 0; enable == AFTER && i < 2; i++)
		fe_send_state(fe, VU_SET_VRING_ENABLE, i, 1);
}

/* A frame behind a header of 10 bytes, from @fe to t->b. */
static void transmit_legacy(struct fe *fe, const uint8_t *frame, uint16_t len)
{
	uint16_t out = 10 + len;
	uint8_t *slot = fe_slot(fe, 1, fe->rings[1].next);

	memset(slot, 0, 10);
	memcpy(slot + 10, frame, len);
	fe_add(fe, &fe->rings[1], &out, 1, false);
	fe_kick(fe, 1);
}

static void rings_are_enabled_by_word_or_by_default(void **state)
{
	static const struct {
		bool features;
		enum when enable;
		bool passes;
	} cases[] = {
		{false, NEVER, true}, /* vhost-user before there were protocol features */
		{false, BEFORE, true}, {false, AFTER, true}, {true, NEVER, false},
		{true, BEFORE, true},  {true, AFTER, true},
	};
	uint8_t frame[64];

	(void)state;
	fe_frame(frame, sizeof(frame), 0xb, 0xc, 1);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sw_counters *c;
		struct fe fe;
		struct two t;

		two_new(&t, 0, MRG);
		fe_post(&t.b, 0, 2048, 8);
		fe_frame(frame, sizeof(frame), 0xa, 0xb, 1);
		fe_transmit(&t.b, frame, sizeof(frame)); /* b is known: this is no flood */
		fe_frame(frame, sizeof(frame), 0xb, 0xc, 1);
		fe_open(&fe, rig_port(t.sw, "old", 0, false));
		c = &fe.guest->port.counters;
		start_otherwise(&fe, cases[i].features, cases[i].enable);
		transmit_legacy(&fe, frame, sizeof(frame));
		if (cases[i].passes) {
			expect(&t.b, 0, frame, sizeof(frame));
		} else {
			expect_nothing(&t.b);
			assert_int_equal(c->rx_disabled, 1);
		}
		/* Each frame is in one of the counters. */
		assert_int_equal(c->rx_packets + c->rx_malformed + c->rx_disabled, 1);
		fe_close(&fe);
		two_free(&t);
	}
}

static void a_frame_that_reaches_nobody_is_counted(void **state)
{
	struct sw *sw = rig_new();
	uint8_t frame[64];
	struct fe fe;

	(void)state;
	fe_open(&fe, rig_port(sw, "alone", 0, false));
	fe_start(&fe, MRG, 2);
	fe_frame(frame, sizeof(frame), 0xff, 0xa, 1);
	fe_transmit(&fe, frame, sizeof(frame));
	assert_int_equal(fe.guest->port.counters.rx_filtered, 1);
	fe_close(&fe);
	rig_free(sw);
}

static void a_disabled_ring_has_no_effect(void **state)
{
	uint8_t frame[64];
	uint32_t written;
	struct two t;

	(void)state;
	two_new(&t, 0, MRG);
	fe_post(&t.b, 0, 2048, 8);
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	fe_send_state(&t.a, VU_SET_VRING_ENABLE, 1, 0);
	fe_transmit(&t.a, frame, sizeof(frame));
	assert_int_equal(fe_take(&t.a, &t.a.rings[1], &written), 0); /* emptied */
	expect_nothing(&t.b);
	fe_send_state(&t.a, VU_SET_VRING_ENABLE, 1, 1);
	fe_send_state(&t.b, VU_SET_VRING_ENABLE, 0, 0);
	fe_transmit(&t.a, frame, sizeof(frame));
	expect_nothing(&t.b);
	fe_send_state(&t.b, VU_SET_VRING_ENABLE, 0, 1);
	fe_transmit(&t.a, frame, sizeof(frame));
	expect(&t.b, 0, frame, sizeof(frame));
	two_free(&t);
}

/* A ring is stopped with chains in it, and goes on from its base; also packed, beyond the wrap. */
static void a_stopped_ring_goes_on_from_its_base(void **state)
{
	uint8_t frame[64];
	struct two t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		uint64_t f = MRG | (packed ? PACKED : 0);
		unsigned seed = 0;

		two_new(&t, f, f);
		fe_post(&t.b, 0, 2048, 40);
		for (unsigned round = 0; round < 20; round++) {
			uint32_t tx, rx;

			for (unsigned i = 0; i < 7; i++, seed++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)seed);
				fe_transmit(&t.a, frame, sizeof(frame));
				expect(&t.b, 0, frame, sizeof(frame));
			}
			tx = fe_get_base(&t.a, 1);
			rx = fe_get_base(&t.b, 0);
			assert_false(t.a.guest->rings[1].running);
			assert_false(t.b.guest->port.up);
			/* While it is stopped nothing happens to it. */
			fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)seed);
			fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
			fe_kick(&t.a, 1);
			expect_nothing(&t.b);
			fe_start_ring(&t.b, 0, rx);
			/* DPDK's front-end knows the lower half only. */
			fe_start_ring(&t.a, 1, packed && round & 1 ? tx & 0xffff : tx);
			expect(&t.b, 0, frame, sizeof(frame));
			seed++;
		}
		two_free(&t);
	}
}

static void memory_is_replaced_under_running_rings(void **state)
{
	uint8_t frame[64];
	struct two t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		uint64_t f = MRG | (packed ? PACKED : 0);
		struct vu_memory_region extra = {
			.region = {.gpa = GIB(4), .size = MIB(1), .user_addr = GIB(900)}};

		two_new(&t, f, f);
		fe_post(&t.b, 0, 2048, 8);
		for (unsigned i = 0; i < 10; i++) {
			fe_send_memory(&t.a);
			assert_true(t.a.guest->rings[1].running);
			fe_send_fds(&t.b, VU_ADD_MEM_REG, 0, &extra, sizeof(extra), &t.b.memfd, 1);
			assert_int_equal(t.b.guest->mem.nr, 2);
			fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)i);
			fe_transmit(&t.a, frame, sizeof(frame));
			expect(&t.b, 0, frame, sizeof(frame));
			fe_send(&t.b, VU_REM_MEM_REG, &extra, sizeof(extra));
			assert_int_equal(t.b.guest->mem.nr, 1);
		}
		/* The ring's own region goes away, and comes back elsewhere in the host. */
		extra.region = (struct vu_region){.gpa = FE_GPA,
		                                  .size = FE_RAM_SIZE,
		                                  .user_addr = FE_USER,
		                                  .mmap_offset = FE_OFFSET};
		fe_send(&t.b, VU_REM_MEM_REG, &extra, sizeof(extra));
		assert_false(t.b.guest->port.up);
		fe_transmit(&t.a, frame, sizeof(frame));
		fe_send_fds(&t.b, VU_ADD_MEM_REG, 0, &extra, sizeof(extra), &t.b.memfd, 1);
		assert_true(t.b.guest->port.up);
		fe_transmit(&t.a, frame, sizeof(frame));
		expect(&t.b, 0, frame, sizeof(frame));
		expect_nothing(&t.b);
		two_free(&t);
	}
}

static void notifications_are_those_that_were_asked_for(void **state)
{
	uint8_t frame[64];
	struct two t;

	(void)state;
	two_new(&t, 0, MRG);
	fe_post(&t.b, 0, 2048, 8);
	fd_drain(t.b.rings[0].call);
	fd_drain(t.a.rings[1].call);
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
	rig_turns(t.sw);
	expect_nothing(&t.b); /* no kick, and it sleeps */
	fe_kick(&t.a, 1);
	expect(&t.b, 0, frame, sizeof(frame));
	assert_int_equal(fd_drain(t.b.rings[0].call), 1);
	assert_int_equal(fd_drain(t.a.rings[1].call), 1);
	/* The driver polls. */
	fe_avail(&t.b, 0)->flags = htole16(VRING_AVAIL_F_NO_INTERRUPT);
	fe_transmit(&t.a, frame, sizeof(frame));
	expect(&t.b, 0, frame, sizeof(frame));
	assert_int_equal(fd_drain(t.b.rings[0].call), 0);
	two_free(&t);
}

static void a_front_end_comes_back(void **state)
{
	struct sw *sw = rig_new();
	struct guest *ga = rig_port(sw, "a", 0, false), *gb = rig_port(sw, "b", 0, false);
	uint8_t frame[64];
	struct fe a, b;

	(void)state;
	fe_open(&b, gb);
	fe_start(&b, MRG, 2);
	fe_post(&b, 0, 2048, 8);
	for (unsigned i = 0; i < 20; i++) {
		fe_open(&a, ga);
		fe_start(&a, i & 1 ? PACKED : 0, 2);
		fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)i);
		fe_transmit(&a, frame, sizeof(frame));
		expect(&b, 0, frame, sizeof(frame));
		fe_close(&a);
		assert_int_equal(ga->fd, -1);
		assert_int_equal(ga->mem.nr, 0);
		assert_int_equal(sw->nr_active, 0);
	}
	fe_close(&b);
	rig_free(sw);
}

/* Killed before a batch was shown to the driver: the next switch undoes it and does it again. */
static void a_killed_switch_is_taken_over(void **state)
{
	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		struct vu_inflight want = {.nr_queues = 2, .queue_size = FE_SIZE};
		uint64_t f = MRG | (packed ? PACKED : 0);
		struct vu_msg m;
		uint8_t frame[64];
		struct two t;
		int fd = -1;

		two_new(&t, f, f);
		fe_send(&t.a, VU_GET_INFLIGHT_FD, &want, sizeof(want));
		fe_answer_fd(&t.a, VU_GET_INFLIGHT_FD, &m, &fd);
		want = m.p.inflight;
		assert_true(want.mmap_size >= 2 * FE_SIZE * 16);
		/* A front-end can neither cut it nor lock out the next switch. */
		assert_int_equal(ftruncate(fd, 0), -1);
		assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
		fe_send_fds(&t.a, VU_SET_INFLIGHT_FD, 0, &want, sizeof(want), &fd, 1);
		fe_post(&t.b, 0, 2048, 60);
		for (unsigned round = 0; round < 30; round++) {
			struct guest_ring *r = &t.a.guest->rings[1];
			struct virtq_chain c[3];
			struct iovec iov[3][4];

			assert_non_null(r->inflight);
			for (unsigned i = 0; i < 5; i++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)(round + i));
				fe_queue(&t.a, 0, NULL, frame, sizeof(frame), 0);
			}
			/* What guest_ring_poll() does, up to some point. */
			for (unsigned i = 0; i < 3; i++)
				assert_int_equal(virtq_pop(&r->q, &c[i], iov[i], 4), 1);
			for (unsigned i = 0; i < 3; i++) {
				guest_inflight_note(r);
				virtq_push(&r->q, &c[i], 0);
			}
			guest_inflight_before_flush(r);
			if (round & 1)
				virtq_flush(&r->q);
			if (round % 3 == 2 && round & 1)
				guest_inflight_after_flush(r);
			/* The kill: this switch never touches the ring again; another one comes. */
			r->running = false;
			loop_remove(&r->kick);
			sw_deactivate(t.sw, r);
			r->base = 0; /* whatever the front-end supposes */
			fe_send_fds(&t.a, VU_SET_INFLIGHT_FD, 0, &want, sizeof(want), &fd, 1);
			fe_kick(&t.a, 1);
			for (unsigned i = round & 1 ? 3 : 0; i < 5; i++) {
				fe_frame(frame, sizeof(frame), 0xb, 0xa, (uint8_t)(round + i));
				expect(&t.b, 0, frame, sizeof(frame));
			}
			expect_nothing(&t.b);
			/* All chains came back, each once (fe_take() checks that). */
			for (uint32_t written; fe_take(&t.a, &t.a.rings[1], &written) >= 0;)
				;
			assert_int_equal(t.a.rings[1].free, FE_SIZE);
		}
		fd_close(&fd);
		two_free(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_pass_whole_in_every_layout),
		cmocka_unit_test(small_parts_everywhere),
		cmocka_unit_test(a_batch_of_frames_keeps_its_order),
		cmocka_unit_test(a_driver_without_version_1_has_a_short_header),
		cmocka_unit_test(the_switch_learns_and_floods),
		cmocka_unit_test(vlans_and_isolation_separate),
		cmocka_unit_test(frames_without_room_are_dropped_and_counted),
		cmocka_unit_test(a_sender_waits_for_a_full_receiver),
		cmocka_unit_test(malformed_frames_are_counted),
		cmocka_unit_test(offloads_pass_to_who_takes_them),
		cmocka_unit_test(offloads_are_finished_for_who_does_not),
		cmocka_unit_test(a_flow_has_a_queue_whatever_its_sender_takes),
		cmocka_unit_test(rings_are_enabled_by_word_or_by_default),
		cmocka_unit_test(a_frame_that_reaches_nobody_is_counted),
		cmocka_unit_test(a_disabled_ring_has_no_effect),
		cmocka_unit_test(a_stopped_ring_goes_on_from_its_base),
		cmocka_unit_test(memory_is_replaced_under_running_rings),
		cmocka_unit_test(notifications_are_those_that_were_asked_for),
		cmocka_unit_test(a_front_end_comes_back),
		cmocka_unit_test(a_killed_switch_is_taken_over),
	};

	rig_limit(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
