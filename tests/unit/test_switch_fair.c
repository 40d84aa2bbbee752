/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trivm-switch and ports that want more than their share of it: by many queues, by frames that are
 * costly, by costly messages, by eventfds that block, by breaking the protocol again and again.
 * What is checked is counted, not timed.
 */
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "tests/unit/switch_rig.h"

#define MRG     BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define PACKED  BIT64(VIRTIO_F_RING_PACKED)
#define CSUM    BIT64(VIRTIO_NET_F_CSUM)
#define TSO4    BIT64(VIRTIO_NET_F_HOST_TSO4)
#define MQ      BIT64(VIRTIO_NET_F_MQ)
#define TCP_AT  (14 + 20)
#define PAYLOAD (TCP_AT + 20)

/* --- Turns --- */

/* A port that is a program: it counts the frames of each sender, and the senders add new ones. */
struct sink {
	struct sw_port port;
	struct fe *fe[2];
	unsigned pairs[2];
	unsigned got[2];
};

static void refill(struct sink *s)
{
	uint8_t frame[2000];

	for (unsigned i = 0; i < 2; i++) {
		fe_frame(frame, sizeof(frame), 0x5, (uint8_t)(0xa + i), 1);
		for (unsigned pair = 0; pair < s->pairs[i]; pair++) {
			struct fe_ring *r = &s->fe[i]->rings[2 * pair + 1];
			uint32_t ignored;

			while (fe_take(s->fe[i], r, &ignored) >= 0)
				;
			while (r->free)
				fe_queue(s->fe[i], pair, NULL, frame, sizeof(frame), 0);
		}
	}
}

static unsigned sink_deliver(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
                             bool may_wait)
{
	struct sink *s = container_of(port, struct sink, port);

	(void)may_wait;
	for (unsigned i = 0; i < n; i++)
		s->got[((const uint8_t *)frames[i]->iov->iov_base)[11] - 0xa]++;
	refill(s);
	return n;
}

static const struct sw_port_ops sink_ops = {.deliver = sink_deliver};

static void a_port_has_one_share_however_many_queues(void **state)
{
	static struct sink s = {.port = {.ops = &sink_ops, .name = "sink", .up = true}};
	struct sw *sw = rig_new();
	uint8_t station[6] = {2, 0, 0, 0, 0, 5};
	struct fe many, one;
	unsigned total = 0;

	(void)state;
	fe_open(&many, rig_port(sw, "many", 0, false));
	fe_open(&one, rig_port(sw, "one", 0, false));
	fe_start(&many, MRG | MQ, 4);
	fe_start(&one, MRG, 2);
	assert_int_equal(fabric_add(&sw->fabric, &s.port), 0);
	s.fe[0] = &many;
	s.fe[1] = &one;
	s.pairs[0] = 2;
	s.pairs[1] = 1;
	refill(&s);
	fd_signal(many.rings[1].kick);
	fd_signal(many.rings[3].kick);
	fd_signal(one.rings[1].kick);
	for (; total < 20000; total = s.got[0] + s.got[1]) {
		mac_table_learn(&sw->fabric.table, mac_key(station, 0), s.port.index);
		assert_true(sw_turn(sw, false) >= 0);
	}
	/* Halves, but for the last turns; a share for each queue would be two thirds. */
	assert_in_range(s.got[0], total * 2 / 5, total * 3 / 5);
	s.pairs[0] = s.pairs[1] = 0;
	fe_close(&many);
	fe_close(&one);
	rig_free(sw);
}

/* A TCP segment of @len bytes for @dst, to be cut into pieces of @mss. */
static void segment(uint8_t *frame, size_t len, uint8_t dst, uint16_t mss,
                    struct virtio_net_hdr_v1 *hdr)
{
	fe_frame(frame, len, dst, 0xa, 3);
	frame[12] = 8;
	frame[13] = 0;
	frame[14] = 0x45;
	frame[14 + 9] = 6;
	frame[TCP_AT + 12] = 5 << 4;
	*hdr = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	                                  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
	                                  .gso_size = htole16(mss),
	                                  .hdr_len = htole16(PAYLOAD),
	                                  .csum_start = htole16(TCP_AT),
	                                  .csum_offset = htole16(16)};
}

#define RECEIVERS 5
#define BIG       60000
#define MSS       256
#define SEGMENTS  ((BIG - PAYLOAD + MSS - 1) / MSS)

/* Receivers that take no segments, and a sender of a large one for all of them. */
static void a_flood_of_segments_is_done_in_parts(void **state)
{
	struct fe sender, to[RECEIVERS];
	struct virtio_net_hdr_v1 hdr;
	struct guest_ring *r;
	struct sw *sw = rig_new();
	uint8_t *frame = malloc(BIG);
	unsigned parts = 0, had = 0;
	uint32_t cost;

	(void)state;
	fe_open(&sender, rig_port(sw, "sender", 0, false));
	fe_start(&sender, MRG | CSUM | TSO4, 2);
	for (unsigned i = 0; i < RECEIVERS; i++) {
		fe_open(&to[i], rig_port(sw, "to", 0, false));
		fe_start(&to[i], MRG, 2);
		fe_post(&to[i], 0, 2048, FE_SIZE);
	}
	segment(frame, BIG, 0xff, MSS, &hdr);
	fe_queue(&sender, 0, &hdr, frame, BIG, 0);
	r = &sender.guest->rings[1];
	sw_activate(sw, r);
	do {
		unsigned have = 0;

		assert_int_equal(guest_ring_poll(r, &cost), 1);
		parts++;
		for (unsigned i = 0; i < RECEIVERS; i++) {
			struct sw_counters *c = &to[i].guest->port.counters;

			/* All of it, once, or nothing yet. */
			have += c->tx_packets != 0;
			assert_int_equal(c->tx_packets, c->tx_packets ? FE_SIZE : 0);
			assert_int_equal(c->tx_full, c->tx_packets ? SEGMENTS - FE_SIZE : 0);
		}
		assert_in_range(have - had, 1, 2); /* of what costs more than half of the bound */
		had = have;
	} while (r->resume);
	assert_int_equal(had, RECEIVERS);
	assert_in_range(parts, 3, 5);
	assert_int_equal(sender.guest->port.counters.rx_packets, 1);
	assert_int_equal(sender.guest->port.counters.rx_flooded, 1);
	assert_int_equal(guest_ring_poll(r, &cost), 0);
	fe_close(&sender);
	for (unsigned i = 0; i < RECEIVERS; i++)
		fe_close(&to[i]);
	free(frame);
	rig_free(sw);
}

static bool take_three(void *opaque, const struct sw_frame *f)
{
	unsigned *calls = opaque;

	(void)f;
	return ++*calls <= 3;
}

static void no_segment_is_made_for_a_full_ring(void **state)
{
	struct offload *o = malloc(sizeof(*o));
	uint8_t *frame = malloc(BIG);
	struct iovec iov = {frame, BIG};
	struct sw_frame f = {.iov = &iov, .nr = 1, .len = BIG, .offload = true};
	unsigned calls = 0;

	(void)state;
	segment(frame, BIG, 0xb, MSS, &f.hdr);
	assert_int_equal(offload_finish(o, &f, take_three, &calls), SEGMENTS - 3);
	assert_int_equal(calls, 4);
	free(frame);
	free(o);
}

/* --- Messages --- */

static void starting_rings_with_an_inflight_region_touches_little(void **state)
{
	const uint32_t size = 32768, queues = 64;
	struct vu_inflight i = {.nr_queues = (uint16_t)queues, .queue_size = (uint16_t)size};
	struct sw *sw = rig_new();
	struct stat st;
	struct vu_msg m;
	struct fe fe;
	int fd = -1;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		fe_open(&fe, rig_port(sw, "port", 0, false));
		fe_start(&fe, packed ? PACKED : 0, 0);
		for (uint32_t ring = 0; ring < queues; ring++) {
			/* They lie upon each other. */
			struct vu_addr a = fe_ring_addr(0);
			uint64_t index = ring;

			a.index = ring;
			a.avail = a.desc + 16 * size;
			a.used = a.avail + 4 * size;
			fe_send_state(&fe, VU_SET_VRING_NUM, ring, size);
			fe_send_state(&fe, VU_SET_VRING_BASE, ring, virtq_base_new(packed));
			fe_send(&fe, VU_SET_VRING_ADDR, &a, sizeof(a));
			fe_send_fds(&fe, VU_SET_VRING_KICK, 0, &index, 8, &fe.rings[0].kick, 1);
		}
		fe_send(&fe, VU_GET_INFLIGHT_FD, &i, sizeof(i));
		fe_answer_fd(&fe, VU_GET_INFLIGHT_FD, &m, &fd);
		for (unsigned again = 0; again < 3; again++) {
			assert_true(
				fe_accepted(&fe, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
			assert_true(fe.guest->rings[63].running);
			assert_non_null(fe.guest->rings[63].inflight);
		}
		assert_int_equal(fstat(fd, &st), 0);
		/* A page or two of each queue's half a megabyte or more. */
		assert_in_range(st.st_blocks * 512, 1, queues * 2 * 4096);
		fd_close(&fd);
		fe_close(&fe);
	}
	rig_free(sw);
}

static void who_talks_too_much_is_not_listened_to_for_a_while(void **state)
{
	struct vu_msg m = {.request = VU_GET_FEATURES, .flags = VU_VERSION};
	struct sw *sw = rig_new();
	struct fe fe, other;
	struct pollfd p;

	(void)state;
	fe_open(&fe, rig_port(sw, "loud", 0, false));
	fe_open(&other, rig_port(sw, "other", 0, false));
	fe_features(&fe, MRG);
	sw->talk_burst_ns = SW_TALK_BURST_NS;
	fe.guest->talk.credit = -20000000; /* as if its messages had taken 20 ms too long */
	fe_send(&fe, VU_GET_FEATURES, NULL, 0);
	fe_answer_fd(&fe, VU_GET_FEATURES, &m, NULL);
	assert_int_equal(fe.guest->socket.events, 0);
	m = (struct vu_msg){.request = VU_GET_FEATURES, .flags = VU_VERSION};
	assert_int_equal(vu_send(fe.sock, &m, NULL, 0, 0), 0);
	rig_turns(sw);
	assert_true(fe_alive(&fe)); /* nothing to read */
	fe_features(&other, MRG);
	p = (struct pollfd){.fd = fe.sock, .events = POLLIN};
	while (poll(&p, 1, 0) == 0)
		assert_true(sw_turn(sw, true) >= 0);
	fe_answer_fd(&fe, VU_GET_FEATURES, &m, NULL);
	assert_true(fe.guest->socket.events != 0);
	fe_close(&fe);
	fe_close(&other);
	rig_free(sw);
}

/* --- Descriptors, connections --- */

/* Without the watchdog: a write that blocks is the end of the test. */
static void eventfds_are_made_non_blocking_again(void **state)
{
	uint64_t full = UINT64_MAX - 1;
	struct sw *sw = rig_bare();
	struct fe a, bad;
	uint8_t frame[64];
	int fd;

	(void)state;
	fe_open(&a, rig_port(sw, "a", 0, false));
	fe_open(&bad, rig_port(sw, "bad", 0, false));
	fe_start(&a, MRG, 2);
	fe_start(&bad, MRG, 2);
	fe_post(&bad, 0, 2048, FE_SIZE);
	fd = bad.rings[0].call;
	fd_drain(fd);
	assert_int_equal(write(fd, &full, sizeof(full)), sizeof(full));
	fe_frame(frame, sizeof(frame), 0xff, 0xa, 1);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(fcntl(fd, F_SETFL, O_RDWR), 0);
		fe_transmit(&a, frame, sizeof(frame)); /* or here for ever */
	}
	assert_true(fe_alive(&bad)); /* it may not know better */
	/* And it is signalled. */
	assert_int_equal(read(fd, &full, sizeof(full)), sizeof(full));
	fe_transmit(&a, frame, sizeof(frame));
	assert_int_equal(fd_drain(fd), 1);
	fe_close(&bad);
	fe_close(&a);
	rig_free(sw);
}

static int connect_to(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static void who_breaks_the_protocol_waits_longer_each_time(void **state)
{
	struct vu_msg m = {.request = VU_SET_FEATURES, .flags = 2 /* a version */};
	char dir[] = "/tmp/trivm-fair-XXXXXX", path[64];
	struct sw *sw = rig_new();
	struct guest *g;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	g = rig_port(sw, path, 0, false);
	assert_int_equal(guest_open(g, NULL), 0);
	for (unsigned i = 0; i < 3; i++) {
		fd = connect_to(path);
		/* The first at once, the others when the penalty is over. */
		while (g->fd < 0)
			assert_true(sw_turn(sw, true) >= 0);
		assert_int_equal(send(fd, &m, VU_HEADER, MSG_NOSIGNAL), VU_HEADER);
		while (g->fd >= 0)
			assert_true(sw_turn(sw, true) >= 0);
		close(fd);
		assert_int_equal(g->penalty_ms, 100 << i);
		assert_false(listener_listens(&g->listen));
	}
	/* Who ends in order is not kept waiting. */
	fd = connect_to(path);
	while (g->fd < 0)
		assert_true(sw_turn(sw, true) >= 0);
	close(fd);
	while (g->fd >= 0)
		assert_true(sw_turn(sw, true) >= 0);
	assert_true(listener_listens(&g->listen));
	rig_free(sw);
	assert_int_equal(rmdir(dir), 0); /* with the port its socket is gone */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_port_has_one_share_however_many_queues),
		cmocka_unit_test(a_flood_of_segments_is_done_in_parts),
		cmocka_unit_test(no_segment_is_made_for_a_full_ring),
		cmocka_unit_test(starting_rings_with_an_inflight_region_touches_little),
		cmocka_unit_test(who_talks_too_much_is_not_listened_to_for_a_while),
		cmocka_unit_test(eventfds_are_made_non_blocking_again),
		cmocka_unit_test(who_breaks_the_protocol_waits_longer_each_time),
	};

	rig_limit(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
