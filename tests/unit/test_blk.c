/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-blk through virtio-mmio's registers, both ring formats. The backing is a piece of memory
 * that keeps a record of what it was asked, fails and waits when a test says so.
 */
#include "tests/unit/virtq_driver.h"

#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "devices/block/blk.h"
#include "devices/virtio/mmio.h"
#include "tests/unit/virtio_rig.h"

#define BASE       0x1000
#define GSI        5
#define QUEUE_SIZE 256
#define SECTORS    2048
#define SLOT       KIB(32) /* guest memory of one request */
#define SLOT_DATA  4096    /* where its data is */

/* --- The backing --- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	uint8_t disk[SECTORS * 512];
	char log[4096]; /* "w0 f W0 ": began in small letters, ended in capitals, with the sector */
	int error;      /* what everything fails with */
	uint64_t new_size; /* what backing_resize() finds */
	char gate;         /* operations with this letter wait until it is 0 */
	unsigned waiting, waiting_max;
} host = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void record(char what, uint64_t offset)
{
	size_t n = strlen(host.log);

	snprintf(host.log + n, sizeof(host.log) - n, "%c%u ", what, (unsigned)(offset / 512));
}

static int begin(char what, uint64_t offset)
{
	int error;

	pthread_mutex_lock(&host.lock);
	record(what, offset);
	host.waiting++;
	host.waiting_max = (unsigned)max_u64(host.waiting, host.waiting_max);
	pthread_cond_broadcast(&host.changed);
	while (host.gate == what)
		pthread_cond_wait(&host.changed, &host.lock);
	host.waiting--;
	error = host.error;
	if (error)
		pthread_mutex_unlock(&host.lock);
	return error;
}

static int end(char what, uint64_t offset)
{
	record(what, offset);
	pthread_mutex_unlock(&host.lock);
	return 0;
}

int backing_read(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset)
{
	int rc = begin('r', offset);

	(void)b;
	if (rc < 0)
		return rc;
	for (uint64_t at = offset; n; n--, iov++) {
		memcpy(iov->iov_base, host.disk + at, iov->iov_len);
		at += iov->iov_len;
	}
	return end('R', offset);
}

int backing_write(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset)
{
	int rc = begin('w', offset);

	(void)b;
	if (rc < 0)
		return rc;
	for (uint64_t at = offset; n; n--, iov++) {
		memcpy(host.disk + at, iov->iov_base, iov->iov_len);
		at += iov->iov_len;
	}
	return end('W', offset);
}

int backing_flush(struct backing *b)
{
	int rc = begin('f', 0);

	(void)b;
	return rc < 0 ? rc : end('F', 0);
}

int backing_resize(struct backing *b, const char *path, struct err *err)
{
	if (host.error)
		return err_set(err, host.error, "%s: no", path);
	b->size = host.new_size;
	return 0;
}

int backing_discard(struct backing *b, uint64_t offset, uint64_t len)
{
	int rc = begin('d', offset);

	(void)b;
	if (rc < 0)
		return rc;
	memset(host.disk + offset, 0xdd, len);
	return end('D', offset);
}

int backing_zero(struct backing *b, uint64_t offset, uint64_t len, bool unmap)
{
	int rc = begin(unmap ? 'u' : 'z', offset);

	(void)b;
	if (rc < 0)
		return rc;
	memset(host.disk + offset, 0, len);
	return end(unmap ? 'U' : 'Z', offset);
}

static void set_gate(char what)
{
	pthread_mutex_lock(&host.lock);
	host.gate = what;
	pthread_cond_broadcast(&host.changed);
	pthread_mutex_unlock(&host.lock);
}

/* Until @n operations are under way. */
static void await_waiting(unsigned n)
{
	pthread_mutex_lock(&host.lock);
	while (host.waiting != n)
		pthread_cond_wait(&host.changed, &host.lock);
	pthread_mutex_unlock(&host.lock);
}

static void logged(const char *want)
{
	pthread_mutex_lock(&host.lock);
	assert_string_equal(host.log, want);
	host.log[0] = '\0';
	pthread_mutex_unlock(&host.lock);
}

/* --- The driver --- */

struct fixture {
	struct bus bus;
	struct fake_irq irq;
	struct loop loop;
	struct fake_ioeventfds kernel;
	struct drv d;
	struct backing backing;
	struct blk blk;
	struct virtio_mmio m;
	unsigned queue; /* the one that is used */
};

static const struct blk_config plain = {.name = "disk0",
                                        .serial = "SERIAL",
                                        .queues = 1,
                                        .queue_size = QUEUE_SIZE,
                                        .discard = true};

static void setup(struct fixture *f, bool packed, const struct blk_config *config, bool ro,
                  uint32_t block)
{
	struct blk_config c = *config;
	struct virtio_mmio_config mc;

	memset(f, 0, sizeof(*f));
	memset(host.disk, 0, sizeof(host.disk));
	host.log[0] = '\0';
	host.error = 0;
	host.gate = 0;
	host.waiting_max = 0;
	c.packed = packed;
	f->backing = (struct backing){.fd = -1,
	                              .ro = ro,
	                              .size = sizeof(host.disk),
	                              .block = block,
	                              .physical = 4096,
	                              .optimal = 65536};
	bus_init(&f->bus, BUS_MMIO);
	bus_set_eventfd_backend(&f->bus, fake_ioeventfd, &f->kernel);
	fake_irq_init(&f->irq, 24);
	assert_int_equal(loop_init(&f->loop), 0);
	drv_init(&f->d, packed, QUEUE_SIZE, true);
	assert_int_equal(blk_init(&f->blk, &c, &f->backing, &f->d.mem, NULL), 0);
	mc = (struct virtio_mmio_config){.bus = &f->bus,
	                                 .base = BASE,
	                                 .line = fake_irq_line(&f->irq, GSI),
	                                 .loop = &f->loop};
	assert_int_equal(virtio_mmio_init(&f->m, &f->blk.dev, &mc, NULL), 0);
}

static void teardown(struct fixture *f)
{
	blk_destroy(&f->blk);
	blk_destroy(&f->blk);
	virtio_mmio_destroy(&f->m);
	loop_destroy(&f->loop);
	bus_destroy(&f->bus);
	drv_destroy(&f->d);
}

static void enable_queue(struct fixture *f)
{
	struct virtio_device *dev = &f->blk.dev;

	virtio_queue_set(dev, f->queue, VIRTIO_QUEUE_SIZE, f->d.size);
	virtio_queue_set(dev, f->queue, VIRTIO_QUEUE_DESC_LOW, DRV_DESC);
	virtio_queue_set(dev, f->queue, VIRTIO_QUEUE_DRIVER_LOW, DRV_DRIVER);
	virtio_queue_set(dev, f->queue, VIRTIO_QUEUE_DEVICE_LOW, DRV_DEVICE);
	virtio_queue_set(dev, f->queue, VIRTIO_QUEUE_ENABLE, 1);
}

/* Bring it up with everything that is offered but @without. */
static void negotiate(struct fixture *f, uint64_t without)
{
	struct virtio_device *dev = &f->blk.dev;
	uint64_t features = dev->offered & ~without;

	virtio_set_status(dev, ACK | DRIVER);
	for (unsigned i = 0; i < 2; i++)
		virtio_set_driver_features(dev, i, (uint32_t)(features >> 32 * i));
	virtio_set_status(dev, ACK | DRIVER | F_OK);
	assert_int_equal(virtio_status(dev), ACK | DRIVER | F_OK);
}

static void go(struct fixture *f, uint64_t without)
{
	negotiate(f, without);
	enable_queue(f);
	virtio_set_status(&f->blk.dev, LIVE);
	assert_int_equal(virtio_status(&f->blk.dev), LIVE);
}

static void drv_again(struct fixture *f)
{
	bool packed = f->d.packed;

	drv_destroy(&f->d);
	drv_init(&f->d, packed, QUEUE_SIZE, true);
}

static uint64_t slot(unsigned id)
{
	return DRV_DATA + id * SLOT;
}

static uint8_t *data(struct fixture *f, unsigned id)
{
	return drv_at(&f->d, slot(id) + SLOT_DATA);
}

static uint8_t *status_of(struct fixture *f, unsigned id)
{
	return drv_at(&f->d, slot(id) + 16);
}

struct part {
	uint64_t addr;
	uint32_t len;
	bool in;
};

/* Make the buffers @parts available as request @id, of 0 to 63. */
static void submit_parts(struct fixture *f, unsigned id, const struct part *parts, unsigned n)
{
	struct drv *d = &f->d;

	d->chains[id] = (struct drv_chain){.out_there = true, .nr_desc = n};
	d->nr_free -= n;
	d->nr_ids--;
	d->nr_out_there++;
	for (unsigned i = 0; i < n; i++) {
		uint16_t flags = (uint16_t)((parts[i].in ? VRING_DESC_F_WRITE : 0) |
		                            (i + 1 < n ? VRING_DESC_F_NEXT : 0));
		uint16_t at = (uint16_t)(id + 64 * i);

		d->chains[id].desc[i] = at;
		if (d->packed)
			drv_pput(d, parts[i].addr, parts[i].len, (uint16_t)id, flags);
		else
			drv_set(&drv_desc(d)[at], parts[i].addr, parts[i].len, flags,
			        (uint16_t)(at + 64));
	}
	if (!d->packed)
		drv_publish(d, (uint16_t)id);
}

static void header(struct fixture *f, unsigned id, uint32_t type, uint64_t sector)
{
	uint8_t *h = drv_at(&f->d, slot(id));

	store_le32(h, type);
	store_le32(h + 4, 0x5a5a5a5a);
	store_le64(h + 8, sector);
	*status_of(f, id) = 0xee;
}

/* The usual layout: header, data, status. */
static void submit(struct fixture *f, unsigned id, uint32_t type, uint64_t sector, uint32_t len,
                   bool in)
{
	struct part parts[3] = {{slot(id), 16, false}};
	unsigned n = 1;

	header(f, id, type, sector);
	if (len)
		parts[n++] = (struct part){slot(id) + SLOT_DATA, len, in};
	parts[n++] = (struct part){slot(id) + 16, 1, true};
	submit_parts(f, id, parts, n);
}

static void kick(struct fixture *f)
{
	atomic_thread_fence(memory_order_seq_cst);
	if (drv_kick_wanted(&f->d))
		assert_true(guest_write(&f->kernel, &f->bus, BASE + 0x50, 4, f->queue));
}

/* The next request that is done: its id. alarm() ends what never comes. */
static int take(struct fixture *f, uint32_t *written)
{
	int id;

	while ((id = drv_take(&f->d, written)) < 0)
		usleep(100);
	return id;
}

/* One request from beginning to end: its status. */
static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	uint32_t written = 0;

	submit(f, 7, type, sector, len, in);
	kick(f);
	assert_int_equal(take(f, &written), 7);
	assert_int_equal(written, in ? len + 1 : 1);
	return *status_of(f, 7);
}

static uint8_t io(struct fixture *f, bool write, uint64_t sector, uint32_t len)
{
	return request(f, write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, sector, len, !write);
}

static void fill(uint8_t *at, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		at[i] = (uint8_t)(i * 3 + i / 256 + seed);
}

static bool is_all(const uint8_t *at, size_t len, uint8_t byte)
{
	for (size_t i = 0; i < len; i++)
		if (at[i] != byte)
			return false;
	return true;
}

static uint64_t config(struct fixture *f, size_t offset, unsigned size)
{
	uint8_t raw[8] = {0};

	virtio_config_read(&f->blk.dev, (uint32_t)offset, raw, size);
	return load_le64(raw);
}
#define CONFIG(f, field)                                     \
	config(f, offsetof(struct virtio_blk_config, field), \
	       sizeof(((struct virtio_blk_config *)NULL)->field))

/* --- Tests --- */

static void what_the_driver_is_told(void **state)
{
	struct blk_config c = plain;
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 512);
	assert_int_equal(fake_read(&f.bus, BASE + 8, 4), VIRTIO_ID_BLOCK);
	assert_int_equal(CONFIG(&f, capacity), SECTORS);
	assert_int_equal(CONFIG(&f, size_max), MIB(4));
	assert_int_equal(CONFIG(&f, seg_max), QUEUE_SIZE - 2);
	assert_int_equal(CONFIG(&f, blk_size), 512);
	assert_int_equal(CONFIG(&f, physical_block_exp), 3);
	assert_int_equal(CONFIG(&f, alignment_offset), 0);
	assert_int_equal(CONFIG(&f, min_io_size), 8);
	assert_int_equal(CONFIG(&f, opt_io_size), 128);
	assert_int_equal(CONFIG(&f, unused), 0);
	assert_int_equal(CONFIG(&f, num_queues), 1);
	assert_int_equal(CONFIG(&f, max_discard_sectors), BLK_DISCARD_SECTORS);
	assert_int_equal(CONFIG(&f, max_discard_seg), BLK_DISCARD_SEGMENTS);
	assert_int_equal(CONFIG(&f, discard_sector_alignment), 8);
	assert_int_equal(CONFIG(&f, max_write_zeroes_sectors), BLK_ZERO_SECTORS);
	assert_int_equal(CONFIG(&f, max_write_zeroes_seg), 1);
	assert_int_equal(CONFIG(&f, write_zeroes_may_unmap), 1);
	for (unsigned bit = 0; bit < 24; bit++) {
		static const uint32_t offered =
			BIT(VIRTIO_BLK_F_SIZE_MAX) | BIT(VIRTIO_BLK_F_SEG_MAX) |
			BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_FLUSH) |
			BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_CONFIG_WCE) |
			BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES);

		assert_int_equal(f.blk.dev.offered >> bit & 1, offered >> bit & 1);
	}
	teardown(&f);

	c.queues = 4;
	c.queue_size = 1024;
	setup(&f, true, &c, true, 4096);
	assert_int_equal(CONFIG(&f, seg_max), 1022);
	assert_int_equal(CONFIG(&f, blk_size), 4096);
	assert_int_equal(CONFIG(&f, physical_block_exp), 0);
	assert_int_equal(CONFIG(&f, min_io_size), 1);
	assert_int_equal(CONFIG(&f, num_queues), 4);
	assert_int_equal(CONFIG(&f, max_discard_sectors), 0);
	assert_true(f.blk.dev.offered & BIT(VIRTIO_BLK_F_RO));
	assert_true(f.blk.dev.offered & BIT(VIRTIO_BLK_F_MQ));
	assert_false(f.blk.dev.offered &
	             (BIT(VIRTIO_BLK_F_DISCARD) | BIT(VIRTIO_BLK_F_WRITE_ZEROES)));
	assert_int_equal(virtio_queue_size_max(&f.blk.dev, 3), 1024);
	assert_int_equal(virtio_queue_size_max(&f.blk.dev, 4), 0);
	teardown(&f);

	c.discard = false;
	setup(&f, true, &c, false, 512);
	assert_false(f.blk.dev.offered & (BIT(VIRTIO_BLK_F_RO) | BIT(VIRTIO_BLK_F_DISCARD) |
	                                  BIT(VIRTIO_BLK_F_WRITE_ZEROES)));
	teardown(&f);
}

static void round_trip(bool packed)
{
	struct fixture f;

	setup(&f, packed, &plain, false, 512);
	go(&f, 0);
	/* Laps of the ring, one by one. */
	for (unsigned i = 0; i < 2 * QUEUE_SIZE; i++) {
		fill(data(&f, 7), 1024, i);
		assert_int_equal(io(&f, true, i, 1024), VIRTIO_BLK_S_OK);
		memset(data(&f, 7), 0, 2048);
		assert_int_equal(io(&f, false, i, 1024), VIRTIO_BLK_S_OK);
		for (unsigned k = 0; k < 1024; k++)
			assert_int_equal(data(&f, 7)[k], (uint8_t)(k * 3 + k / 256 + i));
		assert_true(is_all(data(&f, 7) + 1024, 1024, 0));
	}
	/* The last sector. */
	assert_int_equal(io(&f, false, SECTORS - 1, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	memset(data(&f, 7), 0xaa, 64);
	assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(&f, 7), "SERIAL\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xaa", 21);
	assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 40, true), VIRTIO_BLK_S_OK);
	assert_true(is_all(data(&f, 7) + 6, 34, 0));
	memset(data(&f, 7), 0xaa, 64);
	assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 3, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(&f, 7), "SER\xaa", 4);
	/* Work that comes one by one takes no crowd. */
	assert_true(f.blk.queues[0].nr_workers <= 2);
	assert_int_equal(virtio_status(&f.blk.dev), LIVE);
	teardown(&f);
}

static void round_trip_split(void **state)
{
	(void)state;
	round_trip(false);
}

static void round_trip_packed(void **state)
{
	(void)state;
	round_trip(true);
}

static void a_serial_of_twenty_bytes(void **state)
{
	struct blk_config c = plain;
	struct fixture f;

	(void)state;
	c.serial = "01234567890123456789";
	setup(&f, false, &c, false, 512);
	go(&f, 0);
	assert_int_equal(request(&f, VIRTIO_BLK_T_GET_ID, 0, 20, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(data(&f, 7), c.serial, 20);
	teardown(&f);
}

/* 2.7.4: nothing may depend on how the driver cuts a request into buffers. */
static void any_layout(void **state)
{
	struct fixture f;
	uint64_t at = slot(3);
	uint32_t written;

	(void)state;
	setup(&f, false, &plain, false, 512);
	go(&f, 0);
	/* A write whose header is in two pieces, the second of which has data behind it. */
	header(&f, 3, VIRTIO_BLK_T_OUT, 5);
	fill(drv_at(&f.d, at + 200), 512, 1);
	memmove(drv_at(&f.d, at + 193), drv_at(&f.d, at + 9), 7);
	submit_parts(&f, 3,
	             (struct part[]){{at, 9, false},
	                             {at + 193, 7 + 100, false},
	                             {at + 300, 412, false},
	                             {at + 16, 1, true}},
	             4);
	kick(&f);
	assert_int_equal(take(&f, &written), 3);
	assert_int_equal(written, 1);
	assert_int_equal(*status_of(&f, 3), VIRTIO_BLK_S_OK);
	assert_memory_equal(host.disk + 5 * 512, drv_at(&f.d, at + 200), 512);
	/* A read with the status in the buffer of the data's end, an empty one behind it. */
	header(&f, 3, VIRTIO_BLK_T_IN, 5);
	memset(drv_at(&f.d, at + 4096), 0xee, 1024);
	submit_parts(&f, 3,
	             (struct part[]){{at, 16, false},
	                             {at + 4096, 500, true},
	                             {at + 4096 + 500, 13, true},
	                             {at + 8192, 0, true}},
	             4);
	kick(&f);
	assert_int_equal(take(&f, &written), 3);
	assert_int_equal(written, 513);
	assert_memory_equal(drv_at(&f.d, at + 4096), host.disk + 5 * 512, 512);
	assert_int_equal(*(uint8_t *)drv_at(&f.d, at + 4096 + 512), VIRTIO_BLK_S_OK);
	assert_int_equal(*(uint8_t *)drv_at(&f.d, at + 4096 + 513), 0xee);
	teardown(&f);
}

/* Refused with @status, before the backing is asked; what was to be read is zeroes. */
static void refuse(struct fixture *f, uint32_t type, uint64_t sector, uint32_t len, bool in,
                   uint8_t status)
{
	memset(data(f, 7), 0xaa, 16384);
	assert_int_equal(request(f, type, sector, len, in), status);
	if (in)
		assert_true(is_all(data(f, 7), len, 0));
	assert_true(is_all(data(f, 7) + (in ? len : 0), 512, 0xaa));
	logged("");
}

static void requests_that_are_refused(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} wrong[] = {
		{SECTORS, 512},
		{SECTORS - 1, 1024},
		{UINT64_MAX, 512},
		{UINT64_MAX / 512, 512},
		{UINT64_MAX - 1, 1024},
		{UINT64_C(1) << 55, 512},
		{0, 511},
		{0, 513},
		{4, 100},
	};
	static const uint32_t unknown[] = {2, 3, 5, 10, 14, 15, 16, 0x80000000, UINT32_MAX};
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 512);
	go(&f, 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		refuse(&f, VIRTIO_BLK_T_IN, wrong[i].sector, wrong[i].len, true,
		       VIRTIO_BLK_S_IOERR);
		refuse(&f, VIRTIO_BLK_T_OUT, wrong[i].sector, wrong[i].len, false,
		       VIRTIO_BLK_S_IOERR);
	}
	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		refuse(&f, unknown[i], 0, 512, i & 1, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(virtio_status(&f.blk.dev), LIVE);
	teardown(&f);
}

static void a_read_only_disk(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, true, &plain, true, 512);
	go(&f, 0);
	refuse(&f, VIRTIO_BLK_T_OUT, 0, 512, false, VIRTIO_BLK_S_IOERR);
	refuse(&f, VIRTIO_BLK_T_DISCARD, 0, 16, false, VIRTIO_BLK_S_UNSUPP);
	refuse(&f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 16, false, VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&f);
}

static void blocks_larger_than_a_sector(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 4096);
	go(&f, 0);
	assert_int_equal(io(&f, true, 8, 8192), VIRTIO_BLK_S_OK);
	logged("w8 W8 ");
	refuse(&f, VIRTIO_BLK_T_OUT, 8, 512, false, VIRTIO_BLK_S_IOERR);
	refuse(&f, VIRTIO_BLK_T_OUT, 1, 4096, false, VIRTIO_BLK_S_IOERR);
	refuse(&f, VIRTIO_BLK_T_IN, 7, 4096, true, VIRTIO_BLK_S_IOERR);
	teardown(&f);
}

static void errors_of_the_host(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, true, &plain, false, 512);
	go(&f, 0);
	host.error = -ENOSPC;
	memset(data(&f, 7), 0xaa, 16384);
	assert_int_equal(io(&f, false, 1, 8192), VIRTIO_BLK_S_IOERR);
	assert_true(is_all(data(&f, 7), 8192, 0));
	assert_int_equal(io(&f, true, 2, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&f, VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_IOERR);
	logged("r1 w2 f0 ");
	host.error = 0;
	assert_int_equal(io(&f, false, 1, 8192), VIRTIO_BLK_S_OK);
	assert_int_equal(virtio_status(&f.blk.dev), LIVE);
	teardown(&f);
}

struct segment {
	uint64_t sector;
	uint32_t sectors, flags;
};

static uint8_t ranges(struct fixture *f, bool zero, const struct segment *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint8_t *at = data(f, 7) + 16 * i;

		store_le64(at, s[i].sector);
		store_le32(at + 8, s[i].sectors);
		store_le32(at + 12, s[i].flags);
	}
	return request(f, zero ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD, 0, 16 * n,
	               false);
}

static void discard_and_write_zeroes(void **state)
{
	struct segment many[BLK_DISCARD_SEGMENTS + 1];
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 512);
	go(&f, 0);
	memset(host.disk, 0xaa, sizeof(host.disk));
	assert_int_equal(ranges(&f, false, (struct segment[]){{8, 8, 0}, {100, 1, 0}}, 2),
	                 VIRTIO_BLK_S_OK);
	logged("d8 D8 d100 D100 ");
	assert_true(is_all(host.disk + 8 * 512, 8 * 512, 0xdd));
	assert_int_equal(host.disk[16 * 512], 0xaa);
	assert_int_equal(ranges(&f, true, (struct segment[]){{20, 2, 0}}, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(ranges(&f, true, (struct segment[]){{SECTORS - 2, 2, 1}}, 1),
	                 VIRTIO_BLK_S_OK);
	logged("z20 Z20 u2046 U2046 ");
	assert_true(is_all(host.disk + 20 * 512, 1024, 0));
	assert_int_equal(host.disk[22 * 512], 0xaa);
	assert_int_equal(ranges(&f, false, (struct segment[]){{SECTORS, 0, 0}}, 1),
	                 VIRTIO_BLK_S_OK);
	logged("d2048 D2048 ");

	/* Flags that are not known, and unmap with a discard. */
	assert_int_equal(ranges(&f, true, (struct segment[]){{0, 1, 2}}, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ranges(&f, false, (struct segment[]){{0, 1, 1}}, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ranges(&f, false, (struct segment[]){{0, 1, 0}, {0, 1, 1u << 31}}, 2),
	                 VIRTIO_BLK_S_UNSUPP);
	/* Off the disk, in whichever segment; too much; too many; no whole segment. */
	assert_int_equal(ranges(&f, false, (struct segment[]){{0, 1, 0}, {SECTORS, 1, 0}}, 2),
	                 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(&f, true, (struct segment[]){{UINT64_MAX, 2, 0}}, 1),
	                 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(&f, true, (struct segment[]){{0, UINT32_MAX, 0}}, 1),
	                 VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(&f, true, (struct segment[]){{0, 1, 0}, {1, 1, 0}}, 2),
	                 VIRTIO_BLK_S_IOERR);
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct segment){i, 1, 0};
	assert_int_equal(ranges(&f, false, many, ARRAY_SIZE(many)), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&f, VIRTIO_BLK_T_DISCARD, 0, 17, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&f, VIRTIO_BLK_T_DISCARD, 0, 0, false), VIRTIO_BLK_S_IOERR);
	logged("");
	host.error = -EIO;
	assert_int_equal(ranges(&f, false, many, 2), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(&f, true, many, 1), VIRTIO_BLK_S_IOERR);
	teardown(&f);

	setup(&f, false, &plain, false, 512);
	/* As many sectors as there are is fewer than the limit: the limit itself. */
	f.backing.size = UINT64_C(1) << 40;
	go(&f, BIT(VIRTIO_BLK_F_DISCARD));
	assert_int_equal(ranges(&f, false, many, 1), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(ranges(&f, true, (struct segment[]){{0, BLK_ZERO_SECTORS + 1, 0}}, 1),
	                 VIRTIO_BLK_S_IOERR);
	logged("");
	teardown(&f);
}

/* The interrupt status register (4.2.2). */
static uint32_t interrupt_status(struct fixture *f)
{
	uint8_t bytes[4] = {0};

	bus_read(&f->bus, BASE + 0x60, bytes, 4);
	return load_le32(bytes);
}

/* 5.2.4: the driver learns of a new capacity by a configuration change, and can use it at once. */
static void growing(void **state)
{
	const uint32_t more = SECTORS / 2;
	struct fixture f;
	struct err err = {.msg = ""};
	uint32_t generation;

	(void)state;
	setup(&f, false, &plain, false, 512);
	f.backing.size = more * 512;
	go(&f, 0);
	assert_int_equal(CONFIG(&f, capacity), more);
	generation = virtio_config_generation(&f.blk.dev);
	assert_int_equal(io(&f, true, more, 512), VIRTIO_BLK_S_IOERR);
	host.new_size = more * 512;
	assert_int_equal(blk_resize(&f.blk, "x", &err), 0);
	assert_false(interrupt_status(&f) & 2u);
	host.error = -EINVAL;
	assert_int_equal(blk_resize(&f.blk, "x", &err), -EINVAL);
	assert_false(interrupt_status(&f) & 2u);
	host.error = 0;
	host.new_size = SECTORS * 512;
	assert_int_equal(blk_resize(&f.blk, "x", &err), 0);
	assert_true(interrupt_status(&f) & 2u);
	assert_int_equal(CONFIG(&f, capacity), SECTORS);
	assert_int_not_equal(virtio_config_generation(&f.blk.dev), generation);
	assert_int_equal(io(&f, true, more, 512), VIRTIO_BLK_S_OK);
	teardown(&f);
}

/* 5.2.6.2: when a write is stable. */
static void caches(void **state)
{
	static const uint8_t through = 0, back = 1;
	const uint32_t wce = offsetof(struct virtio_blk_config, wce);
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 512);
	/* Both features: write-back, until the driver says otherwise. */
	go(&f, 0);
	assert_int_equal(CONFIG(&f, wce), 1);
	io(&f, true, 1, 512);
	logged("w1 W1 ");
	virtio_config_write(&f.blk.dev, wce, &through, 1);
	assert_int_equal(CONFIG(&f, wce), 0);
	io(&f, true, 2, 512);
	logged("w2 W2 f0 F0 ");
	ranges(&f, true, (struct segment[]){{5, 1, 0}}, 1);
	logged("z5 Z5 f0 F0 ");
	io(&f, false, 2, 512);
	logged("r2 R2 ");
	virtio_config_write(&f.blk.dev, wce, &back, 1);
	assert_int_equal(CONFIG(&f, wce), 1);
	virtio_config_write(&f.blk.dev, wce, &through, 1);
	/* Nothing else can be written. */
	virtio_config_write(&f.blk.dev, 0, &through, 1);
	assert_int_equal(CONFIG(&f, capacity), SECTORS);
	/* A reset forgets it. */
	virtio_set_status(&f.blk.dev, 0);
	drv_again(&f);
	go(&f, BIT(VIRTIO_BLK_F_CONFIG_WCE));
	assert_int_equal(CONFIG(&f, wce), 1);
	virtio_config_write(&f.blk.dev, wce, &through, 1);
	io(&f, true, 3, 512);
	logged("w3 W3 ");
	/* Without FLUSH nothing could be flushed: always through, with CONFIG_WCE or not. */
	virtio_set_status(&f.blk.dev, 0);
	drv_again(&f);
	go(&f, BIT(VIRTIO_BLK_F_FLUSH));
	assert_int_equal(CONFIG(&f, wce), 0);
	io(&f, true, 4, 512);
	logged("w4 W4 f0 F0 ");
	virtio_set_status(&f.blk.dev, 0);
	drv_again(&f);
	go(&f, BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE));
	io(&f, true, 5, 512);
	logged("w5 W5 f0 F0 ");
	teardown(&f);
}

/* A flush that takes long stops nobody, and comes after what was completed before it. */
static void requests_do_not_wait_for_others(bool packed)
{
	struct fixture f;
	uint32_t written;

	setup(&f, packed, &plain, false, 512);
	go(&f, 0);
	io(&f, true, 9, 512);
	host.log[0] = '\0';
	set_gate('f');
	submit(&f, 1, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	kick(&f);
	await_waiting(1);
	for (unsigned i = 10; i < 20; i++)
		assert_int_equal(io(&f, i & 1, i, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(*status_of(&f, 1), 0xee);
	set_gate(0);
	assert_int_equal(take(&f, &written), 1);
	assert_int_equal(*status_of(&f, 1), VIRTIO_BLK_S_OK);
	teardown(&f);
}

static void slow_ones_stop_nobody(void **state)
{
	(void)state;
	requests_do_not_wait_for_others(false);
	requests_do_not_wait_for_others(true);
}

/* So many at once and no more; the rest are served when their turn comes, without a kick. */
static void many_at_once(bool packed)
{
	struct fixture f;
	uint32_t written;
	bool seen[64] = {false};

	setup(&f, packed, &plain, false, 512);
	go(&f, 0);
	for (unsigned round = 0; round < 20; round++) {
		memset(seen, 0, sizeof(seen));
		host.log[0] = '\0';
		set_gate(round ? 0 : 'r');
		for (unsigned i = 0; i < 64; i++)
			submit(&f, i, VIRTIO_BLK_T_IN, i, 512, true);
		kick(&f);
		if (!round) {
			await_waiting(BLK_WORKERS_MAX);
			assert_false(drv_has_used(&f.d));
			set_gate(0);
		}
		for (unsigned i = 0; i < 64; i++) {
			int id = take(&f, &written);

			assert_true(id >= 0 && id < 64 && !seen[id]);
			seen[id] = true;
			assert_int_equal(*status_of(&f, (unsigned)id), VIRTIO_BLK_S_OK);
			assert_int_equal(written, 513);
		}
	}
	assert_int_equal(host.waiting_max, BLK_WORKERS_MAX);
	teardown(&f);
}

static void many_at_once_split(void **state)
{
	(void)state;
	many_at_once(false);
}

static void many_at_once_packed(void **state)
{
	(void)state;
	many_at_once(true);
}

/* An interrupt for what is given back, and none when the driver wants none yet. */
static void interrupts(void **state)
{
	struct fixture f;
	unsigned rises;

	(void)state;
	setup(&f, false, &plain, false, 512);
	drv_interrupt_at(&f.d, 0);
	go(&f, 0);
	io(&f, false, 0, 512);
	while (fake_irq_kernel(&f.irq) == 0)
		usleep(100);
	drv_interrupt_at(&f.d, 1);
	rises = f.irq.gsi[GSI].rises;
	assert_true(rises >= 1);
	io(&f, false, 0, 512);
	io(&f, false, 0, 512);
	while (fake_irq_kernel(&f.irq) == 0)
		usleep(100);
	assert_int_equal(f.irq.gsi[GSI].rises, rises + 1);
	teardown(&f);
}

/* At rest it waits for a kick, with one worker at the eventfd and the others idle. */
static void an_idle_queue_rests(void **state)
{
	struct fixture f;
	struct blk_queue *q;
	bool resting = false;

	(void)state;
	setup(&f, true, &plain, false, 512);
	q = &f.blk.queues[0];
	go(&f, 0);
	io(&f, false, 0, 512);
	while (!resting) {
		usleep(100);
		pthread_mutex_lock(&q->lock);
		resting = q->watched && q->nr_idle == q->nr_workers - 1 && !q->called;
		pthread_mutex_unlock(&q->lock);
	}
	submit(&f, 1, VIRTIO_BLK_T_FLUSH, 0, 0, false);
	assert_true(drv_kick_wanted(&f.d));
	teardown(&f);
}

/* A vCPU does not wait for the host's storage: the reset stays pending, and the driver reads so. */
static void a_reset_waits_for_what_is_being_served(void **state)
{
	struct fixture f;
	struct virtio_device *dev = &f.blk.dev;
	uint32_t written;

	(void)state;
	setup(&f, false, &plain, false, 512);
	go(&f, 0);
	set_gate('w');
	for (unsigned i = 0; i < 40; i++)
		submit(&f, i, VIRTIO_BLK_T_OUT, i, 512, false);
	kick(&f);
	await_waiting(BLK_WORKERS_MAX);
	virtio_set_status(dev, 0);
	assert_int_equal(virtio_status(dev), VIRTIO_CONFIG_S_NEEDS_RESET);
	/* What a driver writes that does not wait for 0 has no effect, least of all on the queue. */
	virtio_set_status(dev, 0);
	virtio_set_status(dev, LIVE);
	virtio_set_driver_features(dev, 0, 0xffffffff);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_ENABLE, 0);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	assert_int_equal(virtio_status(dev), VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_false(virtio_device_settle(dev, 1));
	set_gate(0);
	assert_true(virtio_device_settle(dev, 60000));
	assert_int_equal(virtio_status(dev), 0);
	/* Those were finished, and no other was begun. */
	for (unsigned i = 0; i < BLK_WORKERS_MAX; i++)
		assert_true(drv_take(&f.d, &written) >= 0);
	assert_false(drv_has_used(&f.d));
	assert_int_equal(host.waiting, 0);
	/* And it starts again. */
	drv_again(&f);
	go(&f, 0);
	assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&f);
}

static void await_broken(struct fixture *f)
{
	while (!virtio_is_broken(&f->blk.dev))
		usleep(100);
}

static void requests_that_are_none(void **state)
{
	struct fixture f;
	uint64_t at = slot(1);

	(void)state;
	for (unsigned what = 0; what < 4; what++) {
		setup(&f, what & 1, &plain, false, 512);
		go(&f, 0);
		header(&f, 1, VIRTIO_BLK_T_IN, 0);
		switch (what) {
		case 0: /* No room for a status. */
			submit_parts(&f, 1, (struct part[]){{at, 16, false}}, 1);
			break;
		case 1:
			submit_parts(&f, 1, (struct part[]){{at, 16, false}, {at + 64, 0, true}},
			             2);
			break;
		case 2: /* No header. */
			submit_parts(&f, 1, (struct part[]){{at, 15, false}, {at + 64, 9, true}},
			             2);
			break;
		case 3:
			submit_parts(&f, 1, (struct part[]){{at + 64, 513, true}}, 1);
			break;
		}
		kick(&f);
		await_broken(&f);
		logged("");
		assert_false(drv_has_used(&f.d));
		/* It stays so, kicked or not, and a reset mends it. */
		virtio_events_kick(&f.m.events, 0);
		virtio_set_status(&f.blk.dev, 0);
		drv_again(&f);
		go(&f, 0);
		assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
		teardown(&f);
	}
}

static void a_broken_ring(void **state)
{
	struct fixture f;
	uint32_t written;

	(void)state;
	setup(&f, false, &plain, false, 512);
	go(&f, 0);
	set_gate('r');
	submit(&f, 1, VIRTIO_BLK_T_IN, 0, 512, true);
	kick(&f);
	await_waiting(1);
	drv_publish(&f.d, QUEUE_SIZE);
	kick(&f);
	await_broken(&f);
	/* What was under way is not given back to a ring that cannot be trusted. */
	set_gate(0);
	virtio_set_status(&f.blk.dev, 0);
	assert_int_equal(drv_take(&f.d, &written), -1);
	teardown(&f);
}

static void ring_reset(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, true, &plain, false, 512);
	go(&f, 0);
	io(&f, false, 0, 512);
	virtio_queue_set(&f.blk.dev, 0, VIRTIO_QUEUE_RESET, 1);
	assert_int_equal(f.blk.queues[0].nr_workers, 0);
	drv_again(&f);
	enable_queue(&f);
	assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(virtio_status(&f.blk.dev), LIVE);
	teardown(&f);
}

static void a_ring_reset_waits_too(void **state)
{
	struct fixture f;
	struct virtio_device *dev = &f.blk.dev;

	(void)state;
	setup(&f, true, &plain, false, 512);
	go(&f, 0);
	set_gate('w');
	submit(&f, 0, VIRTIO_BLK_T_OUT, 0, 512, false);
	kick(&f);
	await_waiting(1);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	assert_int_equal(virtio_queue_get(dev, 0, VIRTIO_QUEUE_RESET), 1);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_SIZE, 8);
	assert_int_equal(virtio_queue_get(dev, 0, VIRTIO_QUEUE_SIZE), QUEUE_SIZE);
	set_gate(0);
	while (virtio_queue_get(dev, 0, VIRTIO_QUEUE_RESET))
		usleep(100);
	assert_int_equal(virtio_queue_get(dev, 0, VIRTIO_QUEUE_ENABLE), 0);
	assert_int_equal(virtio_status(dev), LIVE);
	drv_again(&f);
	enable_queue(&f);
	assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
	/* A reset of the device in the middle of a queue's reset ends both. */
	set_gate('w');
	submit(&f, 0, VIRTIO_BLK_T_OUT, 0, 512, false);
	kick(&f);
	await_waiting(1);
	virtio_queue_set(dev, 0, VIRTIO_QUEUE_RESET, 1);
	virtio_set_status(dev, 0);
	assert_int_equal(virtio_status(dev), VIRTIO_CONFIG_S_NEEDS_RESET);
	set_gate(0);
	assert_true(virtio_device_settle(dev, 60000));
	assert_int_equal(virtio_queue_get(dev, 0, VIRTIO_QUEUE_RESET), 0);
	teardown(&f);
}

static void another_queue(void **state)
{
	struct blk_config c = plain;
	struct fixture f;

	(void)state;
	c.queues = 3;
	setup(&f, false, &c, false, 512);
	f.queue = 2;
	go(&f, 0);
	fill(data(&f, 7), 512, 3);
	assert_int_equal(io(&f, true, 4, 512), VIRTIO_BLK_S_OK);
	assert_memory_equal(host.disk + 4 * 512, data(&f, 7), 512);
	assert_false(f.blk.queues[0].running || f.blk.queues[1].running);
	teardown(&f);
}

static void bad_settings(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, false, &plain, false, 512);
	negotiate(&f, 0);
	virtio_queue_set(&f.blk.dev, 0, VIRTIO_QUEUE_DESC_LOW, 0x10);
	virtio_queue_set(&f.blk.dev, 0, VIRTIO_QUEUE_ENABLE, 1);
	virtio_set_status(&f.blk.dev, LIVE);
	assert_int_equal(virtio_status(&f.blk.dev), LIVE | BROKEN);
	assert_false(f.blk.queues[0].running);
	virtio_set_status(&f.blk.dev, 0);
	go(&f, 0);
	assert_int_equal(io(&f, false, 0, 512), VIRTIO_BLK_S_OK);
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_the_driver_is_told),
		cmocka_unit_test(round_trip_split),
		cmocka_unit_test(round_trip_packed),
		cmocka_unit_test(a_serial_of_twenty_bytes),
		cmocka_unit_test(any_layout),
		cmocka_unit_test(requests_that_are_refused),
		cmocka_unit_test(a_read_only_disk),
		cmocka_unit_test(blocks_larger_than_a_sector),
		cmocka_unit_test(errors_of_the_host),
		cmocka_unit_test(discard_and_write_zeroes),
		cmocka_unit_test(growing),
		cmocka_unit_test(caches),
		cmocka_unit_test(slow_ones_stop_nobody),
		cmocka_unit_test(many_at_once_split),
		cmocka_unit_test(many_at_once_packed),
		cmocka_unit_test(interrupts),
		cmocka_unit_test(an_idle_queue_rests),
		cmocka_unit_test(a_reset_waits_for_what_is_being_served),
		cmocka_unit_test(requests_that_are_none),
		cmocka_unit_test(a_broken_ring),
		cmocka_unit_test(ring_reset),
		cmocka_unit_test(a_ring_reset_waits_too),
		cmocka_unit_test(another_queue),
		cmocka_unit_test(bad_settings),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
