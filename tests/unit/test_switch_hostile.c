/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * trivm-switch against front-ends that lie and drivers that break their rings. Each case ends the
 * session or stops the ring, or is refused; and after each one two honest ports still reach each
 * other, which is what `survives` checks.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "tests/unit/switch_rig.h"

#define MRG      BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define PACKED   BIT64(VIRTIO_F_RING_PACKED)
#define INDIRECT BIT64(VIRTIO_RING_F_INDIRECT_DESC)

struct bench {
	struct sw *sw;
	struct fe a, b; /* honest */
	struct guest *port;
	struct fe bad;
};

static void begin(struct bench *t, uint64_t features, unsigned rings)
{
	t->sw = rig_new();
	fe_open(&t->a, rig_port(t->sw, "a", 0, false));
	fe_open(&t->b, rig_port(t->sw, "b", 0, false));
	fe_start(&t->a, MRG, 2);
	fe_start(&t->b, MRG, 2);
	fe_post(&t->b, 0, 2048, 32);
	t->port = rig_port(t->sw, "bad", 0, false);
	fe_open(&t->bad, t->port);
	fe_start(&t->bad, features, rings);
}

static void survives(struct bench *t)
{
	uint8_t frame[64], got[64];
	struct virtio_net_hdr_v1 hdr;

	while (fe_receive(&t->b, 0, got, sizeof(got), &hdr) >= 0)
		;
	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	fe_transmit(&t->a, frame, sizeof(frame));
	assert_int_equal(fe_receive(&t->b, 0, got, sizeof(got), &hdr), sizeof(frame));
	assert_memory_equal(got, frame, sizeof(frame));
}

static void end(struct bench *t)
{
	survives(t);
	fe_close(&t->bad);
	assert_int_equal(t->port->fd, -1);
	/* The port is as new. */
	fe_open(&t->bad, t->port);
	fe_start(&t->bad, MRG, 2);
	survives(t);
	fe_close(&t->bad);
	fe_close(&t->a);
	fe_close(&t->b);
	rig_free(t->sw);
}

/* Open descriptors of this process. */
static unsigned open_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* --- Memory --- */

static bool says(const char *file, const char *text)
{
	char buf[4096] = "";
	FILE *in = fopen(file, "re");
	size_t n = fread(buf, 1, sizeof(buf) - 1, in);

	fclose(in);
	buf[n] = '\0';
	return strstr(buf, text);
}

/* As QEMU does without share=on: rings, and no memory. The user reads why nothing passes. */
static void memory_that_is_not_shared_is_said(void **state)
{
	const char *file = "/tmp/test_switch_hostile.log";
	int log = open(file, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600), stderr_fd = dup(2);
	struct bench t;
	struct fe fe;

	(void)state;
	begin(&t, MRG, 2);
	dup2(log, 2);
	fe_open(&fe, rig_port(t.sw, "unshared", 0, false));
	fe.features = MRG | BIT64(VU_F_PROTOCOL_FEATURES);
	fe_send_u64(&fe, VU_SET_FEATURES, fe.features);
	fe_start_ring(&fe, 0, 0);
	fe_start_ring(&fe, 1, 0);
	dup2(stderr_fd, 2);
	assert_true(says(file, "port unshared: the front-end enables a ring"));
	assert_true(says(file, "share=on"));
	assert_true(ftruncate(log, 0) == 0);
	dup2(log, 2);
	fe_send_memory(&fe);
	fe_send_state(&fe, VU_SET_VRING_ENABLE, 1, 1);
	dup2(stderr_fd, 2);
	assert_false(says(file, "unshared"));
	fe_close(&fe);
	close(log);
	close(stderr_fd);
	unlink(file);
	end(&t);
}

static bool table_accepted(struct bench *t, const struct vu_region *regions, unsigned nr,
                           const int *fds, unsigned nr_fds)
{
	struct vu_memory m = {.nr = nr};

	memcpy(m.regions, regions, nr * sizeof(regions[0]));
	return fe_accepted(&t->bad, VU_SET_MEM_TABLE, &m,
	                   (uint32_t)(8 + nr * sizeof(struct vu_region)), fds, nr_fds);
}

static void regions_that_lie_are_refused(void **state)
{
	static const struct vu_region lies[] = {
		{FE_GPA, FE_RAM_SIZE + FE_OFFSET + 1, FE_USER, 0}, /* past the end */
		{FE_GPA, FE_RAM_SIZE, FE_USER, FE_OFFSET + 4096},  /* likewise */
		{FE_GPA, 4096, FE_USER, UINT64_MAX - 100},         /* offset wraps */
		{FE_GPA, UINT64_MAX, FE_USER, 0},                  /* size wraps */
		{UINT64_MAX - 4095, 8192, FE_USER, 0},             /* address wraps */
		{FE_GPA, 8192, UINT64_MAX - 4095, 0},              /* the other one */
		{FE_GPA, 0, FE_USER, 0},                           /* empty */
		{FE_GPA, 4096, FE_USER, FE_OFFSET + FE_RAM_SIZE},  /* at the end */
	};
	struct bench t;

	(void)state;
	begin(&t, MRG, 0);
	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		assert_false(table_accepted(&t, &lies[i], 1, &t.bad.memfd, 1));
		assert_int_equal(t.port->mem.nr, 0);
	}
	end(&t);
}

static void regions_that_overlap_are_refused(void **state)
{
	const struct vu_region guest[] = {{FE_GPA, 8192, FE_USER, 0},
	                                  {FE_GPA + 4096, 8192, FE_USER + MIB(1), 8192}};
	const struct vu_region user[] = {{FE_GPA, 8192, FE_USER, 0},
	                                 {FE_GPA + MIB(1), 8192, FE_USER + 4096, 8192}};
	struct bench t;
	int fds[2];

	(void)state;
	begin(&t, MRG, 0);
	fds[0] = fds[1] = t.bad.memfd;
	assert_false(table_accepted(&t, guest, 2, fds, 2));
	assert_false(table_accepted(&t, user, 2, fds, 2));
	assert_int_equal(t.port->mem.nr, 0);
	end(&t);
}

static void only_memory_is_mapped(void **state)
{
	const struct vu_region r = {FE_GPA, 4096, FE_USER, 0};
	struct bench t;
	int fds[4], pipes[2];

	(void)state;
	begin(&t, MRG, 0);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	fds[0] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	fds[1] = pipes[0];
	fds[2] = t.bad.rings[0].kick;
	fds[3] = t.bad.sock;
	for (unsigned i = 0; i < 4; i++)
		assert_false(table_accepted(&t, &r, 1, &fds[i], 1));
	close(fds[0]);
	close(pipes[0]);
	close(pipes[1]);
	/* Readable only: it cannot be mapped for writing. */
	fds[0] = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fds[0], 4096), 0);
	assert_int_equal(fcntl(fds[0], F_ADD_SEALS, F_SEAL_WRITE), 0);
	assert_false(table_accepted(&t, &r, 1, &fds[0], 1));
	close(fds[0]);
	end(&t);
}

static void more_regions_than_slots_are_refused(void **state)
{
	struct bench t;

	(void)state;
	begin(&t, MRG, 2);
	for (unsigned i = 1; i <= GUEST_REGIONS_MAX; i++) {
		struct vu_memory_region r = {
			.region = {GIB(4) + MIB(i), 4096, FE_USER + GIB(1) + MIB(i), 0}};

		assert_int_equal(
			fe_accepted(&t.bad, VU_ADD_MEM_REG, &r, sizeof(r), &t.bad.memfd, 1),
			i < GUEST_REGIONS_MAX);
	}
	assert_true(fe_alive(&t.bad));
	end(&t);
}

/* 1 TiB unless there are fewer ports: sparse files cost the front-end nothing. */
static void no_port_maps_more_than_its_share(void **state)
{
	struct vu_memory_region r = {.region = {.gpa = TIB(2), .user_addr = FE_USER + TIB(2)}};
	struct bench t;
	int fd = memfd_create("space", MFD_CLOEXEC);

	(void)state;
	begin(&t, MRG, 0);
	assert_int_equal(ftruncate(fd, (off_t)TIB(1)), 0);
	r.region.size = TIB(1);
	assert_false(fe_accepted(&t.bad, VU_ADD_MEM_REG, &r, sizeof(r), &fd, 1));
	r.region.size = GIB(900);
	/* Again and again: what was let go of counts no more. */
	for (unsigned i = 0; i < 4; i++) {
		assert_true(fe_accepted(&t.bad, VU_ADD_MEM_REG, &r, sizeof(r), &fd, 1));
		assert_true(fe_accepted(&t.bad, VU_REM_MEM_REG, &r, sizeof(r), NULL, 0));
	}
	close(fd);
	end(&t);
}

/* The region begins at an odd place of its file: the ring's addresses are aligned only for the guest. */
static void misaligned_rings_are_refused(void **state)
{
	struct vu_region r = {FE_GPA, FE_RAM_SIZE - 16, FE_USER, FE_OFFSET};
	struct bench t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		for (uint64_t odd = 1; odd < 16; odd *= 2) {
			struct vu_addr a = fe_ring_addr(1);

			begin(&t, MRG | (packed ? PACKED : 0), 2);
			r.mmap_offset = FE_OFFSET + odd;
			/* Rings that ran stay stopped. */
			assert_true(table_accepted(&t, &r, 1, &t.bad.memfd, 1));
			assert_false(t.port->rings[1].running);
			assert_false(
				fe_accepted(&t.bad, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
			end(&t);
		}
	}
}

static void buffers_across_regions_break_the_ring(void **state)
{
	/* Next to each other in the guest, but not here. */
	const struct vu_region r[] = {{FE_GPA, MIB(1) + 4096, FE_USER, FE_OFFSET},
	                              {FE_GPA + MIB(1) + 4096, MIB(1), FE_USER + GIB(1), 0}};
	struct bench t;
	int fds[2];

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		uint16_t len = FE_SLOT;

		begin(&t, MRG | (packed ? PACKED : 0), 2);
		fds[0] = fds[1] = t.bad.memfd;
		assert_true(table_accepted(&t, r, 2, fds, 2));
		assert_true(t.port->rings[0].running);
		fe_add(&t.bad, &t.bad.rings[0], &len, 1, true);
		if (packed)
			fe_pdesc(&t.bad, 0)[0].addr = htole64(FE_GPA + MIB(1) + 4000);
		else
			fe_desc(&t.bad, 0)[0].addr = htole64(FE_GPA + MIB(1) + 4000);
		/* Somebody sends to all. */
		{
			uint8_t frame[64];

			fe_frame(frame, sizeof(frame), 0xff, 0xa, 1);
			fe_transmit(&t.a, frame, sizeof(frame));
		}
		assert_true(t.port->rings[0].broken);
		assert_true(fe_alive(&t.bad));
		end(&t);
	}
}

static void a_file_cut_short_ends_the_session(void **state)
{
	struct bench t;
	uint8_t frame[64];

	(void)state;
	for (unsigned what = 0; what < 2; what++) {
		begin(&t, MRG, 2);
		fe_post(&t.bad, 0, 2048, 8);
		fe_frame(frame, sizeof(frame), 0xff, 0xd, 1);
		fe_queue(&t.bad, 0, NULL, frame, sizeof(frame), 0);
		/* The buffers are gone, or the rings as well. */
		assert_int_equal(
			ftruncate(t.bad.memfd, (off_t)(what ? 0 : FE_OFFSET + 2 * FE_RING_STEP)),
			0);
		fe_kick(&t.bad, 1);
		assert_false(fe_alive(&t.bad));
		/* As receiver. */
		survives(&t);
		assert_int_equal(ftruncate(t.bad.memfd, (off_t)(FE_OFFSET + FE_RAM_SIZE)), 0);
		fe_close(&t.bad);
		fe_open(&t.bad, t.port);
		fe_start(&t.bad, MRG, 2);
		fe_post(&t.bad, 0, 2048, 8);
		assert_int_equal(
			ftruncate(t.bad.memfd, (off_t)(what ? 0 : FE_OFFSET + 2 * FE_RING_STEP)),
			0);
		fe_frame(frame, sizeof(frame), 0xff, 0xa, 1);
		fe_transmit(&t.a, frame, sizeof(frame));
		rig_turns(t.sw);
		assert_false(fe_alive(&t.bad));
		assert_int_equal(ftruncate(t.bad.memfd, (off_t)(FE_OFFSET + FE_RAM_SIZE)), 0);
		end(&t);
	}
}

/* --- Rings --- */

static void ring_addresses_outside_the_regions_are_refused(void **state)
{
	static const uint64_t bad[] = {0,
	                               FE_USER - 16,
	                               FE_USER + FE_RAM_SIZE,
	                               FE_USER + FE_RAM_SIZE - 16, /* begins inside */
	                               FE_GPA,                     /* a guest address */
	                               UINT64_MAX - 15};
	struct bench t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&t, MRG | (packed ? PACKED : 0), 2);
		for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
			for (unsigned area = 0; area < 3; area++) {
				struct vu_addr a = fe_ring_addr(1);

				if (packed && area && i == 3)
					continue; /* 4 bytes of event structure fit there */
				*(area == 0 ? &a.desc : area == 1 ? &a.avail : &a.used) = bad[i];
				assert_false(fe_accepted(&t.bad, VU_SET_VRING_ADDR, &a, sizeof(a),
				                         NULL, 0));
				assert_false(t.port->rings[1].running);
			}
		}
		end(&t);
	}
}

static void indexes_and_sizes_out_of_range_are_refused(void **state)
{
	static const uint32_t requests[] = {VU_SET_VRING_NUM, VU_SET_VRING_BASE,
	                                    VU_SET_VRING_ENABLE};
	static const uint32_t indexes[] = {GUEST_RINGS_MAX, 0x100, 0x7fffffff, UINT32_MAX};
	static const uint32_t sizes[] = {0, 3, 32769, 65536, 0x10040, UINT32_MAX};
	struct vu_addr a = fe_ring_addr(GUEST_RINGS_MAX);
	struct bench t;

	(void)state;
	begin(&t, MRG, 2);
	for (size_t i = 0; i < ARRAY_SIZE(indexes); i++) {
		struct vu_state s = {indexes[i], 1};

		for (size_t r = 0; r < ARRAY_SIZE(requests); r++)
			assert_false(fe_accepted(&t.bad, requests[r], &s, sizeof(s), NULL, 0));
		a.index = indexes[i];
		assert_false(fe_accepted(&t.bad, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
	}
	for (uint64_t i = GUEST_RINGS_MAX; i < 256; i += 33) {
		assert_false(fe_accepted(&t.bad, VU_SET_VRING_KICK, &i, 8, &t.bad.memfd, 1));
		assert_false(fe_accepted(&t.bad, VU_SET_VRING_CALL, &i, 8, &t.bad.memfd, 1));
	}
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct vu_state s = {1, sizes[i]};

		assert_false(fe_accepted(&t.bad, VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0));
	}
	/* Larger than the area that it was given. */
	{
		struct vu_state s = {1, 32768};
		struct vu_addr end_of = fe_ring_addr(1);

		fe_send_state(&t.bad, VU_SET_VRING_NUM, 1, FE_SIZE);
		end_of.desc = FE_USER + FE_RAM_SIZE - 16 * FE_SIZE;
		fe_send(&t.bad, VU_SET_VRING_ADDR, &end_of, sizeof(end_of));
		assert_false(fe_accepted(&t.bad, VU_SET_VRING_NUM, &s, sizeof(s), NULL, 0));
	}
	assert_true(fe_alive(&t.bad));
	end(&t);
	/* A split ring's base is 16 bits, a packed one's positions are inside. */
	for (unsigned packed = 0; packed < 2; packed++) {
		struct vu_state s = {1, packed ? 0x80008000u | 0x7fff : 0x10000};

		begin(&t, MRG | (packed ? PACKED : 0), 2);
		assert_false(fe_accepted(&t.bad, VU_SET_VRING_BASE, &s, sizeof(s), NULL, 0));
		end(&t);
	}
}

static void cyclic_chains_break_the_ring(void **state)
{
	struct bench t;

	(void)state;
	begin(&t, MRG, 2);
	fe_desc(&t.bad, 1)[0] = (struct vring_desc){htole64(FE_GPA + FE_DATA), htole32(64),
	                                            htole16(VRING_DESC_F_NEXT), htole16(1)};
	fe_desc(&t.bad, 1)[1] = (struct vring_desc){htole64(FE_GPA + FE_DATA), htole32(64),
	                                            htole16(VRING_DESC_F_NEXT), htole16(0)};
	fe_avail(&t.bad, 1)->idx = htole16(1);
	fe_kick(&t.bad, 1);
	assert_true(t.port->rings[1].broken);
	assert_int_equal(t.sw->nr_active, 0);
	/* A kick of a broken ring does nothing. Started anew by its driver it works. */
	fe_kick(&t.bad, 1);
	fe_get_base(&t.bad, 1);
	fe_clear_ring(&t.bad, 1);
	fe_start_ring(&t.bad, 1, 0);
	assert_true(t.port->rings[1].running);
	end(&t);
}

static void rings_broken_in_other_ways(void **state)
{
	struct bench t;

	(void)state;
	for (unsigned i = 0; i < 5; i++) {
		struct vring_desc *d;

		begin(&t, MRG, 2);
		d = fe_desc(&t.bad, 1);
		d[0] = (struct vring_desc){htole64(FE_GPA + FE_DATA), htole32(64), 0, 0};
		switch (i) {
		case 0: /* a head outside the table */
			fe_avail(&t.bad, 1)->ring[0] = htole16(FE_SIZE);
			break;
		case 1: /* an index far ahead */
			fe_avail(&t.bad, 1)->idx = htole16(FE_SIZE + 1);
			break;
		case 2: /* memory that there is not */
			d[0].addr = htole64(FE_GPA + FE_RAM_SIZE - 10);
			break;
		case 3: /* indirect, not negotiated */
			d[0].flags = htole16(VRING_DESC_F_INDIRECT);
			break;
		default: /* a next one outside the table */
			d[0].flags = htole16(VRING_DESC_F_NEXT);
			d[0].next = htole16(FE_SIZE);
		}
		if (i != 1)
			fe_avail(&t.bad, 1)->idx = htole16(1);
		fe_kick(&t.bad, 1);
		assert_true(t.port->rings[1].broken);
		assert_true(fe_alive(&t.bad));
		end(&t);
	}
}

/* A receive ring full of buffers that cannot be written to, or hold nothing. */
static void receive_buffers_of_the_wrong_kind(void **state)
{
	uint8_t frame[64];
	struct bench t;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		for (unsigned write = 0; write < 2; write++) {
			uint16_t len = write ? 4 : 2048;

			begin(&t, MRG | (packed ? PACKED : 0), 2);
			for (unsigned i = 0; i < 40; i++)
				fe_add(&t.bad, &t.bad.rings[0], &len, 1, write);
			fe_frame(frame, sizeof(frame), 0xff, 0xa, 1);
			fe_transmit(&t.a, frame, sizeof(frame));
			assert_true(t.port->rings[0].broken);
			end(&t);
		}
	}
}

/* Another thread of the "guest" changes an indirect table as fast as it can. */
struct flipper {
	struct vring_desc *table, *head;
	_Atomic bool stop;
};

static void *flip(void *arg)
{
	struct flipper *f = arg;

	for (unsigned i = 0; !f->stop; i++) {
		__atomic_store_n(&f->head->len, htole32(i & 1 ? 32 : 16 * 4096), __ATOMIC_RELAXED);
		__atomic_store_n(&f->table[0].len, htole32(i & 2 ? 100 : 0xfffffff0),
		                 __ATOMIC_RELAXED);
		__atomic_store_n(&f->table[1].next, htole16(i & 4 ? 0 : 60000), __ATOMIC_RELAXED);
	}
	return NULL;
}

static void lengths_that_change_between_reads(void **state)
{
	struct flipper f = {.stop = false};
	pthread_t thread;
	struct bench t;
	unsigned broke = 0;

	(void)state;
	begin(&t, MRG | INDIRECT, 2);
	f.head = fe_desc(&t.bad, 1);
	/* The table is at the end of memory: what is read past its checked length faults. */
	f.table = (struct vring_desc *)(t.bad.ram + FE_RAM_SIZE - 2 * 16);
	f.table[0] = (struct vring_desc){htole64(FE_GPA + FE_DATA), htole32(100),
	                                 htole16(VRING_DESC_F_NEXT), htole16(1)};
	f.table[1] = (struct vring_desc){htole64(FE_GPA + FE_DATA), htole32(100), 0, 0};
	*f.head = (struct vring_desc){htole64(FE_GPA + FE_RAM_SIZE - 2 * 16), htole32(32),
	                              htole16(VRING_DESC_F_INDIRECT), 0};
	assert_int_equal(pthread_create(&thread, NULL, flip, &f), 0);
	/* On a busy host the thread has its turn only now and then. */
	for (unsigned i = 0; i < 2000 || broke < 3; i++) {
		struct guest_ring *r = &t.port->rings[1];

		fe_avail(&t.bad, 1)->idx =
			htole16((uint16_t)(le16toh(fe_avail(&t.bad, 1)->idx) + 1));
		fd_signal(t.bad.rings[1].kick);
		for (unsigned turn = 0; turn < 3; turn++)
			assert_true(sw_turn(t.sw, false) >= 0);
		if (!r->broken)
			continue;
		broke++;
		fe_get_base(&t.bad, 1);
		fe_start_ring(&t.bad, 1, le16toh(fe_avail(&t.bad, 1)->idx));
	}
	f.stop = true;
	pthread_join(thread, NULL);
	assert_true(broke > 0);
	end(&t);
}

/* --- Messages --- */

static void descriptors_that_are_missing_or_too_many(void **state)
{
	const struct vu_region r = {FE_GPA, 4096, FE_USER, 0};
	uint64_t ring = 1, none = 1 | VU_VRING_NO_FD;
	struct vu_memory m = {.nr = 1, .regions = {r}};
	struct vu_memory_region add = {.region = r};
	const struct {
		uint32_t request;
		const void *payload;
		uint32_t size;
		unsigned nr_fds;
	} cases[] = {
		{VU_SET_MEM_TABLE, &m, 40, 0},          {VU_SET_MEM_TABLE, &m, 40, 2},
		{VU_SET_MEM_TABLE, &m, 40, 8},          {VU_ADD_MEM_REG, &add, sizeof(add), 0},
		{VU_ADD_MEM_REG, &add, sizeof(add), 2}, {VU_SET_VRING_KICK, &ring, 8, 0},
		{VU_SET_VRING_KICK, &none, 8, 1},       {VU_SET_VRING_CALL, &ring, 8, 3},
		{VU_SET_FEATURES, &ring, 8, 1},         {VU_GET_FEATURES, NULL, 0, 8},
		{VU_SET_MEM_TABLE, &m, 8, 1},           {VU_SET_FEATURES, &ring, 4, 0},
		{VU_GET_FEATURES, &ring, 8, 0},         {VU_SET_VRING_ADDR, &m, 39, 0},
	};
	int fds[8];
	struct bench t;
	unsigned before;

	(void)state;
	begin(&t, MRG, 2);
	fe_close(&t.bad);
	before = open_fds();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fe_open(&t.bad, t.port);
		fe_start(&t.bad, MRG, 2);
		for (unsigned k = 0; k < 8; k++)
			fds[k] = t.bad.memfd;
		fe_send_fds(&t.bad, cases[i].request, 0, cases[i].payload, cases[i].size, fds,
		            cases[i].nr_fds);
		assert_false(fe_alive(&t.bad));
		fe_close(&t.bad);
		assert_int_equal(open_fds(), before);
		survives(&t);
	}
	fe_open(&t.bad, t.port);
	end(&t);
}

static void notifications_are_eventfds(void **state)
{
	uint64_t ring = 1;
	struct bench t;
	int pipes[2];

	(void)state;
	begin(&t, MRG, 2);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_false(fe_accepted(&t.bad, VU_SET_VRING_CALL, &ring, 8, &pipes[1], 1));
	assert_false(fe_accepted(&t.bad, VU_SET_VRING_KICK, &ring, 8, &t.bad.memfd, 1));
	assert_false(fe_accepted(&t.bad, VU_SET_VRING_ERR, &ring, 8, &t.bad.sock, 1));
	close(pipes[0]);
	close(pipes[1]);
	assert_true(fe_alive(&t.bad));
	end(&t);
}

/* The same, where there is no /proc; in a process of its own. */
static void notifications_are_eventfds_without_proc(void **state)
{
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		int pipes[2], event = eventfd(0, EFD_CLOEXEC),
			      memory = memfd_create("m", MFD_CLOEXEC);
		uint64_t count = 7;

		if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
		    mount("none", "/proc", "tmpfs", 0, "") < 0)
			_exit(77);
		if (pipe2(pipes, O_CLOEXEC) < 0 || write(event, &count, sizeof(count)) < 0)
			_exit(1);
		if (fd_is_eventfd(event) != 1)
			_exit(fd_is_eventfd(event) == -ENOSYS ? 77 : 2);
		/* Looking at it is not signalling it. */
		if (read(event, &count, sizeof(count)) < 0 || count != 7)
			_exit(3);
		_exit(fd_is_eventfd(pipes[1]) || fd_is_eventfd(memory) || fd_is_eventfd(pipes[0])
		              ? 4
		              : 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		assert_int_equal(errno, EINTR);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void what_was_not_offered_is_refused(void **state)
{
	uint64_t all = UINT64_MAX, log = 1ull << 26;
	struct vu_log base = {4096, UINT64_MAX - 100};
	struct vu_addr a = fe_ring_addr(1);
	struct bench t;

	(void)state;
	begin(&t, MRG, 2);
	assert_false(fe_accepted(&t.bad, VU_SET_FEATURES, &all, 8, NULL, 0));
	assert_false(fe_accepted(&t.bad, VU_SET_FEATURES, &log, 8, NULL, 0)); /* F_LOG_ALL */
	assert_false(fe_accepted(&t.bad, VU_SET_PROTOCOL_FEATURES, &all, 8, NULL, 0));
	assert_false(fe_accepted(&t.bad, VU_SET_LOG_BASE, &base, sizeof(base), &t.bad.memfd, 1));
	assert_false(fe_accepted(&t.bad, VU_SET_LOG_FD, NULL, 0, &t.bad.rings[0].kick, 1));
	assert_false(fe_accepted(&t.bad, VU_SET_VRING_ENDIAN, &base, 8, NULL, 0));
	a.flags = 1; /* VHOST_VRING_F_LOG */
	a.log = UINT64_MAX;
	assert_false(fe_accepted(&t.bad, VU_SET_VRING_ADDR, &a, sizeof(a), NULL, 0));
	assert_true(fe_alive(&t.bad));
	end(&t);
	/* Who does not want to know loses the session. */
	begin(&t, MRG, 2);
	fe_send_u64(&t.bad, VU_SET_FEATURES, UINT64_MAX);
	assert_false(fe_alive(&t.bad));
	end(&t);
}

static void inflight_regions_that_are_too_small(void **state)
{
	struct vu_inflight i = {.nr_queues = 2, .queue_size = FE_SIZE};
	struct vu_msg m;
	struct bench t;
	int fd = -1;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&t, MRG | (packed ? PACKED : 0), 2);
		fe_send(&t.bad, VU_GET_INFLIGHT_FD, &i, sizeof(i));
		fe_answer_fd(&t.bad, VU_GET_INFLIGHT_FD, &m, &fd);
		/* Says less than it needs; says more than there is; wraps. */
		m.p.inflight.mmap_size--;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		m.p.inflight.mmap_size += 4097;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		m.p.inflight.mmap_size -= 4096;
		m.p.inflight.mmap_offset = UINT64_MAX - 63;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		m.p.inflight.mmap_offset = 0;
		m.p.inflight.nr_queues = 0;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		m.p.inflight.nr_queues = UINT16_MAX;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		/* Right for smaller queues than there are: these do not run. */
		m.p.inflight.nr_queues = 2;
		m.p.inflight.queue_size = FE_SIZE / 2;
		assert_false(fe_accepted(&t.bad, VU_SET_INFLIGHT_FD, &m.p.inflight, 24, &fd, 1));
		assert_false(t.port->rings[1].running);
		fd_close(&fd);
		i.queue_size = 0;
		assert_false(fe_accepted(&t.bad, VU_GET_INFLIGHT_FD, &i, sizeof(i), NULL, 0));
		i.queue_size = FE_SIZE;
		end(&t);
	}
}

/* The region's contents are the front-end's to write to, and cut short. */
static void inflight_regions_that_lie(void **state)
{
	struct vu_inflight i = {.nr_queues = 2, .queue_size = FE_SIZE};
	struct vu_msg m;
	struct bench t;
	uint8_t frame[64];
	int fd = -1;

	(void)state;
	for (unsigned packed = 0; packed < 2; packed++) {
		begin(&t, MRG | (packed ? PACKED : 0), 2);
		fe_send(&t.bad, VU_GET_INFLIGHT_FD, &i, sizeof(i));
		fe_answer_fd(&t.bad, VU_GET_INFLIGHT_FD, &m, &fd);
		fd_close(&fd);
		srand(packed + 1);
		for (unsigned round = 0; round < 200; round++) {
			uint8_t *p = NULL;

			fd = memfd_create("lies", MFD_CLOEXEC);
			assert_int_equal(ftruncate(fd, (off_t)m.p.inflight.mmap_size), 0);
			p = mmap(NULL, m.p.inflight.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			         fd, 0);
			assert_true(p != MAP_FAILED);
			for (size_t k = 0; k < m.p.inflight.mmap_size; k++)
				p[k] = (uint8_t)(rand() % (round & 1 ? 256 : 3));
			/* So that it is believed. */
			p[8] = 1;
			p[9] = 0;
			p[m.p.inflight.mmap_size / 2 + 8] = 1;
			p[m.p.inflight.mmap_size / 2 + 9] = 0;
			fe_send_fds(&t.bad, VU_SET_INFLIGHT_FD, 0, &m.p.inflight, 24, &fd, 1);
			fe_frame(frame, sizeof(frame), 0xff, 0xd, 1);
			fe_kick(&t.bad, 1);
			for (size_t k = 0; k < 64; k++)
				p[rand() % m.p.inflight.mmap_size] = (uint8_t)rand();
			fe_kick(&t.bad, 1);
			munmap(p, m.p.inflight.mmap_size);
			fd_close(&fd);
			if (!fe_alive(&t.bad)) {
				fe_close(&t.bad);
				fe_open(&t.bad, t.port);
				fe_start(&t.bad, MRG | (packed ? PACKED : 0), 2);
			}
		}
		end(&t);
	}
	/* Cut short. */
	begin(&t, MRG, 2);
	fd = memfd_create("short", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)m.p.inflight.mmap_size), 0);
	fe_send_fds(&t.bad, VU_SET_INFLIGHT_FD, 0, &m.p.inflight, 24, &fd, 1);
	assert_int_equal(ftruncate(fd, 0), 0);
	fe_frame(frame, sizeof(frame), 0xff, 0xd, 1);
	fe_transmit(&t.bad, frame, sizeof(frame));
	assert_false(fe_alive(&t.bad));
	fd_close(&fd);
	end(&t);
}

static void half_a_message_delays_nobody(void **state)
{
	struct vu_msg m = {.request = VU_SET_FEATURES, .flags = VU_VERSION, .size = 8};
	struct bench t;

	(void)state;
	begin(&t, MRG, 2);
	assert_int_equal(send(t.bad.sock, &m, VU_HEADER + 3, 0), VU_HEADER + 3);
	rig_turns(t.sw);
	survives(&t);
	assert_true(fe_alive(&t.bad));
	end(&t);
	/* Too long, or of another version. */
	for (unsigned i = 0; i < 2; i++) {
		begin(&t, MRG, 2);
		m.size = i ? 8 : 1 << 20;
		m.flags = i ? 2 : VU_VERSION;
		assert_int_equal(send(t.bad.sock, &m, VU_HEADER, 0), VU_HEADER);
		rig_turns(t.sw);
		assert_false(fe_alive(&t.bad));
		end(&t);
	}
}

static void a_front_end_that_does_not_read_is_dropped(void **state)
{
	struct vu_msg m = {.request = VU_GET_FEATURES, .flags = VU_VERSION};
	struct bench t;
	int size = 4096;

	(void)state;
	begin(&t, MRG, 2);
	assert_int_equal(setsockopt(t.port->fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	for (unsigned i = 0; i < 100000 && t.port->fd >= 0; i++) {
		if (send(t.bad.sock, &m, VU_HEADER, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			assert_true(errno == EAGAIN || errno == EPIPE);
		assert_true(sw_turn(t.sw, false) >= 0);
	}
	assert_int_equal(t.port->fd, -1);
	end(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(memory_that_is_not_shared_is_said),
		cmocka_unit_test(regions_that_lie_are_refused),
		cmocka_unit_test(regions_that_overlap_are_refused),
		cmocka_unit_test(only_memory_is_mapped),
		cmocka_unit_test(more_regions_than_slots_are_refused),
		cmocka_unit_test(buffers_across_regions_break_the_ring),
		cmocka_unit_test(a_file_cut_short_ends_the_session),
		cmocka_unit_test(ring_addresses_outside_the_regions_are_refused),
		cmocka_unit_test(indexes_and_sizes_out_of_range_are_refused),
		cmocka_unit_test(cyclic_chains_break_the_ring),
		cmocka_unit_test(rings_broken_in_other_ways),
		cmocka_unit_test(receive_buffers_of_the_wrong_kind),
		cmocka_unit_test(lengths_that_change_between_reads),
		cmocka_unit_test(descriptors_that_are_missing_or_too_many),
		cmocka_unit_test(notifications_are_eventfds),
		cmocka_unit_test(notifications_are_eventfds_without_proc),
		cmocka_unit_test(no_port_maps_more_than_its_share),
		cmocka_unit_test(misaligned_rings_are_refused),
		cmocka_unit_test(what_was_not_offered_is_refused),
		cmocka_unit_test(inflight_regions_that_are_too_small),
		cmocka_unit_test(inflight_regions_that_lie),
		cmocka_unit_test(half_a_message_delays_nobody),
		cmocka_unit_test(a_front_end_that_does_not_read_is_dropped),
	};

	rig_limit(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
