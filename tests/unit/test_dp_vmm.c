/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The datapath "vmm" with its threads: a driver on one side, a socket pair in place of a tap on the
 * other. Every test runs with split and packed rings.
 */
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include <linux/virtio_config.h>
#include <linux/virtio_net.h>

#include "devices/net/datapath.h"
#include "devices/net/port.h"
#include "tests/unit/virtq_driver.h"
#include "vmm/fd.h"

#define HDR     12
#define WAIT_MS 5000
#define SIZE    64 /* of each ring */
#define MRG     BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define CHAIN   (DRV_PARTS * DRV_PART_SIZE) /* bytes of a receive buffer */

struct fake_port {
	struct port port;
	bool closed;
};

struct fixture {
	struct fake_port *port;
	int wire; /* the other end of the port */
	struct datapath *dp;
	struct drv rx, tx; /* a driver's memory for each ring */
	struct datapath_ring rx_ring, tx_ring;
	unsigned interrupts[2], broken[2];
	uint8_t refuse; /* frames whose first byte is this are not accepted */
	bool is_setup;
};

static void fake_close(struct port *port)
{
	for (unsigned i = 0; i < port->queues; i++)
		fd_close(&port->fds[i]);
	free(container_of(port, struct fake_port, port));
}

static const struct port_ops fake_ops = {.close = fake_close};

static void on_interrupt(void *opaque, unsigned ring)
{
	__atomic_add_fetch(&((struct fixture *)opaque)->interrupts[ring], 1, __ATOMIC_SEQ_CST);
}

static void on_broken(void *opaque, unsigned ring, const char *why)
{
	assert_non_null(why);
	__atomic_add_fetch(&((struct fixture *)opaque)->broken[ring], 1, __ATOMIC_SEQ_CST);
}

static bool on_accept(void *opaque, const uint8_t *head, size_t len)
{
	return len >= 14 && head[0] != ((struct fixture *)opaque)->refuse;
}

static bool packed_now;

static void start(struct fixture *f, uint64_t features, bool vnet_hdr, unsigned poll_us)
{
	struct datapath_vmm_config c = {.pairs = 1, .poll_us = poll_us, .packed = true};
	struct datapath_host host = {
		.interrupt = on_interrupt, .broken = on_broken, .accept = on_accept, .opaque = f};
	int pair[2];

	memset(f, 0, sizeof(*f));
	f->refuse = 0xee;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair),
	                 0);
	f->wire = pair[1];
	f->port = calloc(1, sizeof(*f->port));
	f->port->port = (struct port){.ops = &fake_ops,
	                              .kind = "fake",
	                              .queues = 1,
	                              .fds = {pair[0]},
	                              .vnet_hdr = vnet_hdr};
	c.port = &f->port->port;
	assert_int_equal(datapath_vmm_create(&f->dp, &c, NULL), 0);
	drv_init(&f->rx, packed_now, SIZE, false);
	drv_init(&f->tx, packed_now, SIZE, false);
	features |= BIT64(VIRTIO_F_VERSION_1) | (packed_now ? BIT64(VIRTIO_F_RING_PACKED) : 0);
	/* Two rings in two memories: the datapath takes one, so the rings are set up one by one. */
	assert_int_equal(f->dp->ops->setup(f->dp, features, &f->rx.mem, &host, NULL), 0);
	f->rx_ring = (struct datapath_ring){.config = drv_config(&f->rx),
	                                    .base = virtq_base_new(packed_now),
	                                    .kick_fd = fd_eventfd(),
	                                    .call_fd = fd_eventfd(),
	                                    .peer_call_fd = -1};
	assert_int_equal(f->dp->ops->ring_start(f->dp, 0, &f->rx_ring, NULL), 0);
	assert_int_equal(f->dp->ops->setup(f->dp, features, &f->tx.mem, &host, NULL), 0);
	f->tx_ring = (struct datapath_ring){.config = drv_config(&f->tx),
	                                    .base = virtq_base_new(packed_now),
	                                    .kick_fd = fd_eventfd(),
	                                    .call_fd = -1,
	                                    .peer_call_fd = -1};
	assert_int_equal(f->dp->ops->ring_start(f->dp, 1, &f->tx_ring, NULL), 0);
}

static void end(struct fixture *f)
{
	f->dp->ops->teardown(f->dp);
	f->dp->ops->destroy(f->dp);
	port_close(&f->port->port);
	drv_destroy(&f->rx);
	drv_destroy(&f->tx);
	fd_close(&f->wire);
	fd_close(&f->rx_ring.kick_fd);
	fd_close(&f->rx_ring.call_fd);
	fd_close(&f->tx_ring.kick_fd);
}

static struct datapath_stats stats(struct fixture *f, unsigned ring)
{
	struct datapath_stats s;

	f->dp->ops->stats(f->dp, ring, &s);
	return s;
}

static void nap(void)
{
	usleep(500);
	__sync_synchronize();
}

#define wait_for(condition)                                                           \
	do {                                                                          \
		unsigned naps_ = 0;                                                   \
		while (!(condition)) {                                                \
			if (naps_++ > 2 * WAIT_MS)                                    \
				fail_msg("waited %d ms for %s", WAIT_MS, #condition); \
			nap();                                                        \
		}                                                                     \
	} while (0)

/* --- The driver's side. A chain's bytes are drv_pattern()'s (readable), or lie one behind the
 * other. --- */

static int send_frame(struct fixture *f, unsigned parts)
{
	int id = drv_add(&f->tx, parts, 0, false);

	fd_signal(f->tx_ring.kick_fd);
	return id;
}

static void add_buffers(struct fixture *f, unsigned n, unsigned parts)
{
	while (n--)
		assert_int_not_equal(drv_add(&f->rx, 0, parts, false), -1);
	fd_signal(f->rx_ring.kick_fd);
}

/* What the device read from chain @id of the sending driver, from byte @skip on, is @buf. */
static void assert_sent(int id, size_t skip, const uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (buf[i] != drv_pattern((uint16_t)id, (unsigned)((skip + i) / DRV_PART_SIZE),
		                          (unsigned)((skip + i) % DRV_PART_SIZE)))
			fail_msg("byte %zu of %zu differs", i, len);
}

/* The wire's side. */
static ssize_t wire_recv(struct fixture *f, uint8_t *buf, size_t len)
{
	struct pollfd p = {.fd = f->wire, .events = POLLIN};

	if (poll(&p, 1, WAIT_MS) != 1)
		fail_msg("waited %d ms for a frame", WAIT_MS);
	return recv(f->wire, buf, len, 0);
}

static void fill(uint8_t *frame, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		frame[i] = (uint8_t)(seed + i * 3 + i / 256);
	frame[0] = (uint8_t)(seed & 0x7e);
}

static void wire_send(struct fixture *f, size_t len, unsigned seed)
{
	uint8_t *frame = malloc(len);

	fill(frame, len, seed);
	assert_int_equal(send(f->wire, frame, len, 0), len);
	free(frame);
}

/* The next frame in the driver's buffers is wire_send(@len, @seed). Returns the number of buffers.
 */
static unsigned take_frame(struct fixture *f, size_t len, unsigned seed, bool vnet_hdr)
{
	size_t have = 0, want = len + (vnet_hdr ? 0 : HDR);
	uint8_t *got = malloc(want + CHAIN), *expected = malloc(len);
	unsigned chains = 0, num_buffers;

	while (have < want) {
		uint32_t written;
		int id;

		wait_for(drv_has_used(&f->rx));
		id = drv_take(&f->rx, &written);
		assert_true(id >= 0 && written <= CHAIN && have + written <= want);
		memcpy(got + have, drv_at(&f->rx, drv_part((uint16_t)id, 0)), written);
		have += written;
		chains++;
	}
	fill(expected, len, seed);
	num_buffers = got[10] | got[11] << 8;
	if (vnet_hdr) {
		/* The port's header came through, but for num_buffers. */
		assert_memory_equal(got, expected, 10);
		assert_memory_equal(got + HDR, expected + HDR, len - HDR);
	} else {
		assert_memory_equal(got, "\0\0\0\0\0\0\0\0\0\0", 10);
		assert_memory_equal(got + HDR, expected, len);
	}
	assert_int_equal(num_buffers, chains);
	free(got);
	free(expected);
	return chains;
}

/* --- Transmit --- */

static void frames_reach_the_port(void **state)
{
	(void)state;
	for (int vnet = 0; vnet < 2; vnet++) {
		size_t skip = vnet ? 0 : HDR;
		struct fixture f;
		uint8_t buf[1024];
		uint32_t written;

		start(&f, MRG, vnet, 0);
		for (unsigned i = 0; i < 200; i++) {
			unsigned parts = 1 + i % DRV_PARTS;
			int id = send_frame(&f, parts);
			ssize_t len = wire_recv(&f, buf, sizeof(buf));

			assert_int_equal(len, parts * DRV_PART_SIZE - skip);
			assert_sent(id, skip, buf, (size_t)len);
			wait_for(drv_has_used(&f.tx));
			assert_int_equal(drv_take(&f.tx, &written), id);
			assert_int_equal(written, 0);
		}
		wait_for(f.interrupts[1] >= 200); /* call_fd is -1: by the host's callback */
		assert_int_equal(stats(&f, 1).packets, 200);
		assert_true(stats(&f, 1).wakeups > 0);
		/* One by one, and each was waited for. */
		assert_int_equal(stats(&f, 1).batches, 200);
		assert_int_equal(stats(&f, 1).batch_sizes[0], 200);
		end(&f);
	}
}

/* --- Giving way --- */

/* The scheduling policy of the pair's thread. */
static int policy(void)
{
	DIR *dir = opendir("/proc/self/task");
	int found = -1;
	struct dirent *e;

	while (dir && found < 0 && (e = readdir(dir))) {
		char path[64], name[32];

		snprintf(path, sizeof(path), "/proc/self/task/%.10s/comm", e->d_name);
		if (fd_read_text(path, name, sizeof(name)) > 0 && strcmp(name, "net-pair0\n") == 0)
			found = sched_getscheduler((pid_t)strtol(e->d_name, NULL, 10));
	}
	closedir(dir);
	return found;
}

static void kick_one(struct fixture *f)
{
	uint64_t before = stats(f, 1).wakeups;
	uint8_t buf[1024];
	uint32_t written;

	send_frame(f, 1);
	wire_recv(f, buf, sizeof(buf));
	wait_for(drv_has_used(&f->tx));
	drv_take(&f->tx, &written);
	/* Or the thread was still awake. */
	for (int i = 0; i < 4 && stats(f, 1).wakeups == before; i++)
		nap();
}

static void frame_in(struct fixture *f)
{
	wire_send(f, 100, 1);
	take_frame(f, 100, 1, true);
	add_buffers(f, 1, DRV_PARTS);
}

static void a_thread_that_is_only_kicked_gives_way(void **state)
{
	struct fixture f;
	unsigned n;

	(void)state;
	start(&f, MRG, true, 0);
	add_buffers(&f, 4, DRV_PARTS);
	for (n = 0; n < 20000 && policy() != SCHED_BATCH; n++)
		kick_one(&f);
	assert_in_range(n, 50, 19999);
	/* Frames come in, too. */
	for (n = 0; n < 20000 && policy() == SCHED_BATCH; n++)
		frame_in(&f);
	assert_in_range(n, 1, 19999);
	assert_int_equal(policy(), SCHED_OTHER);
	/* A dialogue. */
	for (n = 0; n < 256; n++) {
		kick_one(&f);
		frame_in(&f);
		assert_int_equal(policy(), SCHED_OTHER);
	}
	end(&f);
}

static void a_policy_that_was_chosen_stays(void **state)
{
	struct sched_param param = {.sched_priority = 0};
	struct fixture f;
	pid_t child;
	int status;

	(void)state;
	/* A child, for there is no way back from it. */
	child = fork();
	if (!child) {
		alarm(30);
		if (sched_setscheduler(0, SCHED_IDLE, &param) < 0)
			_exit(2);
		start(&f, MRG, true, 0);
		for (unsigned n = 0; n < 256; n++)
			kick_one(&f);
		_exit(policy() == SCHED_IDLE ? 0 : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void what_is_no_frame_is_dropped(void **state)
{
	struct fixture f;
	uint32_t written;

	(void)state;
	start(&f, MRG, false, 0);
	/* The driver's smallest buffer is a header and 20 bytes: shorten the first one. */
	drv_add(&f.tx, 1, 0, false);
	if (packed_now)
		drv_ring(&f.tx)[0].len = htole32(HDR + 13);
	else
		drv_desc(&f.tx)[f.tx.size - 1].len = drv_desc(&f.tx)[0].len = htole32(HDR + 13);
	fd_signal(f.tx_ring.kick_fd);
	wait_for(drv_has_used(&f.tx));
	drv_take(&f.tx, &written);
	assert_int_equal(stats(&f, 1).drop_size, 1);
	assert_int_equal(stats(&f, 1).packets, 0);
	end(&f);
}

/* A port that takes no more keeps frames in the queue: none is lost, none is out of order. */
static void a_full_port_is_waited_for(void **state)
{
	struct fixture f;
	int ids[SIZE / 4], taken = 0, least = 1;
	uint8_t buf[1024];
	uint32_t written;

	(void)state;
	start(&f, MRG, false, 0);
	setsockopt(f.port->port.fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++)
		ids[i] = send_frame(&f, 4);
	wait_for(stats(&f, 1).packets > 1);
	usleep(20000);
	assert_true(stats(&f, 1).packets < ARRAY_SIZE(ids));
	for (unsigned i = 0; i < ARRAY_SIZE(ids); i++) {
		ssize_t len = wire_recv(&f, buf, sizeof(buf));

		assert_int_equal(len, 4 * DRV_PART_SIZE - HDR);
		assert_sent(ids[i], HDR, buf, (size_t)len);
	}
	wait_for(stats(&f, 1).packets == ARRAY_SIZE(ids));
	wait_for(drv_has_used(&f.tx));
	while (drv_take(&f.tx, &written) >= 0)
		taken++;
	assert_int_equal(taken, ARRAY_SIZE(ids));
	assert_int_equal(stats(&f, 1).drop_port, 0);
	end(&f);
}

/* --- Receive --- */

static void a_frame_takes_one_buffer(void **state)
{
	(void)state;
	for (int vnet = 0; vnet < 2; vnet++) {
		struct fixture f;

		start(&f, 0, vnet, 0);
		for (unsigned i = 0; i < 200; i++) {
			size_t len = 26 + i % (CHAIN - HDR - 26);

			add_buffers(&f, 1, DRV_PARTS);
			wire_send(&f, len, i);
			assert_int_equal(take_frame(&f, len, i, vnet), 1);
		}
		assert_int_equal(stats(&f, 0).packets, 200);
		wait_for(fd_drain(f.rx_ring.call_fd) > 0);
		/* Without merging what is longer is dropped, and only that. */
		add_buffers(&f, 2, DRV_PARTS);
		wire_send(&f, CHAIN + 1, 1);
		wire_send(&f, 60, 2);
		assert_int_equal(take_frame(&f, 60, 2, vnet), 1);
		assert_int_equal(stats(&f, 0).drop_size, 1);
		end(&f);
	}
}

/* Long frames behind short ones and the other way round: whatever was expected, all bytes arrive.
 */
static void a_frame_takes_as_many_buffers_as_it_needs(void **state)
{
	static const unsigned lens[] = {60,   3000, 60,   CHAIN - HDR, CHAIN - HDR + 1,
	                                2048, 2049, 9000, 9000,        26,
	                                2036, 12000};

	(void)state;
	for (int vnet = 0; vnet < 2; vnet++) {
		struct fixture f;
		unsigned seed = 0;

		start(&f, MRG, vnet, 0);
		add_buffers(&f, SIZE / 8, 8);
		for (unsigned round = 0; round < 20; round++) {
			for (unsigned i = 0; i < ARRAY_SIZE(lens); i++) {
				size_t bytes = lens[i] + (vnet ? 0 : HDR);
				unsigned need = (unsigned)((bytes + CHAIN - 1) / CHAIN);

				/* Eight chains of eight: what is longer than these is not for now.
				 */
				if (need > SIZE / 8)
					continue;
				wire_send(&f, lens[i], ++seed);
				assert_int_equal(take_frame(&f, lens[i], seed, vnet), need);
				add_buffers(&f, need, 8);
			}
			/* Enough short ones to be expected again. */
			for (unsigned i = 0; i < 70 && round == 10; i++) {
				wire_send(&f, 100, i);
				take_frame(&f, 100, i, vnet);
				add_buffers(&f, 1, 8);
			}
		}
		assert_int_equal(stats(&f, 0).drop_size, 0);
		end(&f);
	}
}

static void a_frame_without_buffers_is_held_until_there_are(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, 2, 8);
	wire_send(&f, 1000, 7);
	wire_send(&f, 60, 8);
	wait_for(stats(&f, 0).wakeups > 0);
	usleep(10000);
	assert_int_equal(stats(&f, 0).packets, 0);
	add_buffers(&f, 1, 8); /* three of four */
	usleep(5000);
	add_buffers(&f, 2, 8);
	assert_int_equal(take_frame(&f, 1000, 7, false), 4);
	assert_int_equal(take_frame(&f, 60, 8, false), 1);
	assert_int_equal(stats(&f, 0).drop_size, 0);
	end(&f);
}

/* The ring stops while a frame is held, with 2 of the 4 buffers that it needs. */
static virtq_base_t stop_with_a_held_frame(struct fixture *f)
{
	virtq_base_t base;

	add_buffers(f, 2, 8);
	/* On a busy machine the time may be over before we have seen it. */
	for (unsigned i = 0; i < 50; i++) {
		uint64_t before = stats(f, 0).wakeups;

		wire_send(f, 1000, 7);
		wait_for(stats(f, 0).wakeups > before);
		usleep(10000);
		assert_int_equal(f->dp->ops->ring_stop(f->dp, 0, &base), 0);
		if (f->port->port.kept[0])
			return base;
		f->rx_ring.base = base;
		assert_int_equal(f->dp->ops->ring_start(f->dp, 0, &f->rx_ring, NULL), 0);
	}
	fail_msg("no frame is held");
	return base;
}

static void start_again(struct fixture *f, struct datapath *dp, virtq_base_t base)
{
	struct datapath_host host = {
		.interrupt = on_interrupt, .broken = on_broken, .accept = on_accept, .opaque = f};
	uint64_t features =
		MRG | BIT64(VIRTIO_F_VERSION_1) | (packed_now ? BIT64(VIRTIO_F_RING_PACKED) : 0);

	f->rx_ring.base = base;
	assert_int_equal(dp->ops->setup(dp, features, &f->rx.mem, &host, NULL), 0);
	assert_int_equal(dp->ops->ring_start(dp, 0, &f->rx_ring, NULL), 0);
}

/* A ring that is stopped and started again, as by a switch that fails. */
static void a_held_frame_outlives_a_stop(void **state)
{
	struct fixture f;
	virtq_base_t base;
	uint64_t dropped;

	(void)state;
	start(&f, MRG, false, 0);
	base = stop_with_a_held_frame(&f);
	dropped = stats(&f, 0).drop_size;
	wire_send(&f, 60, 8);
	add_buffers(&f, 3, 8);
	start_again(&f, f.dp, base);
	assert_int_equal(take_frame(&f, 1000, 7, false), 4);
	assert_int_equal(take_frame(&f, 60, 8, false), 1);
	assert_int_equal(stats(&f, 0).drop_size, dropped);
	end(&f);
}

/* A switch: the next datapath has the rings before the old one is torn down. */
static void a_held_frame_is_the_next_datapaths(void **state)
{
	struct datapath_vmm_config c = {.pairs = 1, .packed = true};
	struct fixture f;
	struct datapath *old;
	struct datapath_stats s;
	virtq_base_t base;
	uint64_t dropped;

	(void)state;
	start(&f, MRG, false, 0);
	base = stop_with_a_held_frame(&f);
	dropped = stats(&f, 0).drop_size;
	old = f.dp;
	c.port = &f.port->port;
	assert_int_equal(datapath_vmm_create(&f.dp, &c, NULL), 0);
	add_buffers(&f, 2, 8);
	start_again(&f, f.dp, base);
	old->ops->teardown(old);
	old->ops->stats(old, 0, &s);
	assert_int_equal(s.drop_size, dropped);
	old->ops->destroy(old);
	assert_int_equal(take_frame(&f, 1000, 7, false), 4);
	end(&f);
}

/* The next one is of another kind, or the driver has reset the device. */
static void a_held_frame_that_nobody_takes_is_counted(void **state)
{
	struct fixture f;
	uint64_t dropped;

	(void)state;
	start(&f, MRG, false, 0);
	stop_with_a_held_frame(&f);
	dropped = stats(&f, 0).drop_size;
	f.dp->ops->teardown(f.dp);
	assert_int_equal(stats(&f, 0).drop_size, dropped + 1);
	assert_null(f.port->port.kept[0]);
	end(&f);
}

/* The driver has added buffers, and the ring stops before its kick is seen: here there is none. */
static void a_held_frame_is_delivered_by_a_stop(void **state)
{
	struct fixture f;
	virtq_base_t base;
	bool in_time = false;

	(void)state;
	/* On a busy machine the time may be over before there are buffers. */
	for (unsigned i = 0; i < 50 && !in_time; i++) {
		start(&f, MRG, false, 0);
		add_buffers(&f, 2, 8);
		wire_send(&f, 1000, 7);
		wait_for(stats(&f, 0).wakeups > 0);
		usleep(10000);
		for (unsigned k = 0; k < 2; k++)
			assert_int_not_equal(drv_add(&f.rx, 0, 8, false), -1);
		assert_int_equal(f.dp->ops->ring_stop(f.dp, 0, &base), 0);
		assert_null(f.port->port.kept[0]);
		in_time = stats(&f, 0).drop_size == 0;
		if (in_time)
			assert_int_equal(take_frame(&f, 1000, 7, false), 4);
		end(&f);
	}
	assert_true(in_time);
}

/* A driver that never has enough of them gets what does fit, a little later. */
static void a_frame_that_never_fits_is_dropped(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, 2, 8);
	wire_send(&f, 1000, 7);
	wire_send(&f, 60, 8);
	assert_int_equal(take_frame(&f, 60, 8, false), 1);
	assert_int_equal(stats(&f, 0).drop_size, 1);
	end(&f);
}

/* Also while the other direction leaves the thread no pause. */
static void a_frame_that_never_fits_is_dropped_in_time(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, MRG, true, 60 * 1000000);
	add_buffers(&f, 1, 1);
	wire_send(&f, 1000, 7);
	for (unsigned i = 0; i < 60000 && !stats(&f, 0).drop_size; i++) {
		uint8_t buf[1024];
		uint32_t written;

		send_frame(&f, 1);
		wire_recv(&f, buf, sizeof(buf));
		wait_for(drv_has_used(&f.tx));
		drv_take(&f.tx, &written);
	}
	assert_int_equal(stats(&f, 0).drop_size, 1);
	end(&f);
}

static void counts_outlive_a_reset(void **state)
{
	virtq_base_t base;
	struct fixture f;

	(void)state;
	start(&f, MRG, true, 0);
	for (unsigned i = 0; i < 5; i++)
		kick_one(&f);
	assert_int_equal(stats(&f, 1).queue.chains, 5);
	assert_int_equal(f.dp->ops->ring_stop(f.dp, 1, &base), 0);
	f.tx_ring.base = base;
	assert_int_equal(f.dp->ops->ring_start(f.dp, 1, &f.tx_ring, NULL), 0);
	assert_int_equal(stats(&f, 1).queue.chains, 5);
	kick_one(&f);
	assert_int_equal(stats(&f, 1).queue.chains, 6);
	end(&f);
}

static void the_nic_says_what_is_received(void **state)
{
	struct fixture f;

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, 4, 8);
	f.refuse = 0x22;
	wire_send(&f, 60, 0x22);
	wire_send(&f, 60, 0x24);
	take_frame(&f, 60, 0x24, false);
	assert_int_equal(stats(&f, 0).drop_filter, 1);
	end(&f);
}

/* --- Life --- */

/* Rings stop and go on from their bases while frames pass both ways: each arrives once, in order.
 */
static void stopping_loses_nothing(void **state)
{
	struct fixture f;
	uint32_t written;
	uint8_t buf[1024];

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, SIZE / 8, 8);
	for (unsigned i = 0; i < 300; i++) {
		unsigned which = i % 2;
		virtq_base_t base;
		int id;

		wire_send(&f, 100 + i, i);
		id = send_frame(&f, 3);
		assert_int_equal(f.dp->ops->ring_stop(f.dp, which, &base), 0);
		if (which) {
			f.tx_ring.base = base;
			assert_int_equal(f.dp->ops->ring_start(f.dp, 1, &f.tx_ring, NULL), 0);
		} else {
			/* See start(): each ring has a memory of its own. */
			struct datapath_host host = {.interrupt = on_interrupt,
			                             .broken = on_broken,
			                             .accept = on_accept,
			                             .opaque = &f};
			uint64_t features = MRG | BIT64(VIRTIO_F_VERSION_1) |
			                    (packed_now ? BIT64(VIRTIO_F_RING_PACKED) : 0);

			f.rx_ring.base = base;
			f.dp->ops->setup(f.dp, features, &f.rx.mem, &host, NULL);
			assert_int_equal(f.dp->ops->ring_start(f.dp, 0, &f.rx_ring, NULL), 0);
			f.dp->ops->setup(f.dp, features, &f.tx.mem, &host, NULL);
		}
		add_buffers(&f, take_frame(&f, 100 + i, i, false), 8);
		assert_int_equal(wire_recv(&f, buf, sizeof(buf)), 3 * DRV_PART_SIZE - HDR);
		assert_sent(id, HDR, buf, 3 * DRV_PART_SIZE - HDR);
		wait_for(drv_has_used(&f.tx));
		assert_int_equal(drv_take(&f.tx, &written), id);
	}
	assert_int_equal(recv(f.wire, buf, sizeof(buf), 0), -1);
	end(&f);
}

static void a_link_that_is_down_carries_nothing(void **state)
{
	struct fixture f;
	uint8_t buf[64];
	uint32_t written;

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, 4, 8);
	f.dp->ops->set_link(f.dp, false);
	wire_send(&f, 60, 3);
	send_frame(&f, 3);
	wait_for(drv_has_used(&f.tx));
	drv_take(&f.tx, &written);
	assert_int_equal(stats(&f, 1).drop_link, 1);
	usleep(10000);
	assert_int_equal(stats(&f, 0).packets, 0);
	assert_int_equal(recv(f.wire, buf, sizeof(buf), 0), -1);
	f.dp->ops->set_link(f.dp, true);
	take_frame(&f, 60, 3, false);
	end(&f);
}

/* The driver gets a quarter of its ring back at once, though there is more to do. */
static void a_turn_is_shown_in_parts(void **state)
{
	const unsigned chains = SIZE / 4 + 1, len = chains * DRV_PART_SIZE - HDR;
	struct fixture f;

	(void)state;
	start(&f, MRG, false, 0);
	f.dp->ops->set_link(f.dp, false);
	add_buffers(&f, SIZE, 1);
	for (unsigned i = 1; i <= 3; i++)
		wire_send(&f, len, i);
	f.dp->ops->set_link(f.dp, true);
	for (unsigned i = 1; i <= 3; i++)
		assert_int_equal(take_frame(&f, len, i, false), chains);
	wait_for(stats(&f, 0).batches == 3);
	end(&f);
}

static void a_broken_ring_leaves_the_other_alone(void **state)
{
	struct fixture f;
	uint8_t buf[1024];

	(void)state;
	start(&f, MRG, false, 0);
	drv_add(&f.rx, 1, 1, false); /* nothing of a receive buffer is readable */
	fd_signal(f.rx_ring.kick_fd);
	wire_send(&f, 60, 1);
	wait_for(__atomic_load_n(&f.broken[0], __ATOMIC_SEQ_CST) == 1);
	send_frame(&f, 3);
	wire_recv(&f, buf, sizeof(buf));
	usleep(5000);
	assert_int_equal(f.broken[0], 1); /* said once */
	assert_int_equal(f.broken[1], 0);
	end(&f);
}

/* The thread neither spins nor ends. */
static void a_port_whose_other_end_closes_is_left(void **state)
{
	struct fixture f;
	struct timespec before, after;
	uint32_t written;

	(void)state;
	start(&f, MRG, false, 0);
	add_buffers(&f, 4, 8);
	fd_close(&f.wire);
	usleep(50000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	usleep(100000);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	assert_true((after.tv_sec - before.tv_sec) * 1000000000L + after.tv_nsec - before.tv_nsec <
	            50000000L);
	send_frame(&f, 3);
	wait_for(drv_has_used(&f.tx));
	drv_take(&f.tx, &written);
	assert_int_equal(stats(&f, 1).drop_port, 1);
	end(&f);
}

static void polling_moves_the_same_frames(void **state)
{
	struct fixture f;
	uint8_t buf[1024];
	uint32_t written;

	(void)state;
	start(&f, MRG, false, 2000);
	add_buffers(&f, 4, 8);
	for (unsigned i = 0; i < 50; i++) {
		send_frame(&f, 3);
		wire_recv(&f, buf, sizeof(buf));
		wait_for(drv_has_used(&f.tx));
		drv_take(&f.tx, &written);
		wire_send(&f, 60, i);
		take_frame(&f, 60, i, false);
		add_buffers(&f, 1, 8);
	}
	end(&f);
}

/* Polling that never ends by itself in the time of this test: the events have to be seen in it. */
static void polling_sees_kicks_and_a_port_with_room_again(void **state)
{
	const unsigned n = SIZE / 4 - 1;
	struct fixture f;
	int least = 1;
	uint8_t buf[1024];

	(void)state;
	start(&f, MRG, false, 10 * WAIT_MS * 1000);
	send_frame(&f, 4);
	wire_recv(&f, buf, sizeof(buf));
	wire_send(&f, 60, 1);
	usleep(20000); /* it polls, and has no buffers */
	add_buffers(&f, 4, 8);
	take_frame(&f, 60, 1, false);

	setsockopt(f.port->port.fds[0], SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
	for (unsigned i = 0; i < n; i++)
		assert_int_not_equal(send_frame(&f, 4), -1);
	usleep(20000); /* it polls, and the port is full */
	assert_true(stats(&f, 1).packets < 1 + n);
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(wire_recv(&f, buf, sizeof(buf)), 4 * DRV_PART_SIZE - HDR);
	end(&f);
}

static void wrong_rings_are_refused(void **state)
{
	struct fixture f;
	struct err err = {0};
	virtq_base_t base;

	(void)state;
	start(&f, MRG, false, 0);
	assert_int_equal(f.dp->ops->ring_start(f.dp, 2, &f.rx_ring, &err), -EINVAL);
	assert_int_equal(f.dp->ops->ring_stop(f.dp, 2, &base), -EINVAL);
	assert_int_equal(f.dp->ops->ring_stop(f.dp, 1, &base), 0);
	assert_int_equal(f.dp->ops->ring_stop(f.dp, 1, &base), -EINVAL);
	f.tx_ring.config.desc = 1;
	assert_int_equal(f.dp->ops->ring_start(f.dp, 1, &f.tx_ring, &err), -EINVAL);
	assert_true(err.msg[0]);
	end(&f);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(frames_reach_the_port),
		TEST(a_thread_that_is_only_kicked_gives_way),
		TEST(a_policy_that_was_chosen_stays),
		TEST(what_is_no_frame_is_dropped),
		TEST(a_full_port_is_waited_for),
		TEST(a_frame_takes_one_buffer),
		TEST(a_frame_takes_as_many_buffers_as_it_needs),
		TEST(a_frame_without_buffers_is_held_until_there_are),
		TEST(a_held_frame_outlives_a_stop),
		TEST(a_held_frame_is_the_next_datapaths),
		TEST(a_held_frame_that_nobody_takes_is_counted),
		TEST(a_held_frame_is_delivered_by_a_stop),
		TEST(a_frame_that_never_fits_is_dropped),
		TEST(a_frame_that_never_fits_is_dropped_in_time),
		TEST(counts_outlive_a_reset),
		TEST(the_nic_says_what_is_received),
		TEST(stopping_loses_nothing),
		TEST(a_link_that_is_down_carries_nothing),
		TEST(a_turn_is_shown_in_parts),
		TEST(a_broken_ring_leaves_the_other_alone),
		TEST(a_port_whose_other_end_closes_is_left),
		TEST(polling_moves_the_same_frames),
		TEST(polling_sees_kicks_and_a_port_with_room_again),
		TEST(wrong_rings_are_refused),
	};
	int failed;

	alarm(60);
	failed = cmocka_run_group_tests_name("split", tests, NULL, NULL);
	packed_now = true;
	return cmocka_run_group_tests_name("packed", tests, NULL, NULL) + failed;
}
