/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A polled virtio-blk driver: writes and reads back, asks for what is refused, keeps as many
 * requests under way as the ring has entries. Its disk is scratch. Words:
 *
 *	transport=pci|mmio   where the disk is (anywhere)
 *	ring=split|packed    the format (split)
 *	sectors=N            the capacity that it has to find
 *	serial=TEXT          and the serial number
 *	ro=1                 the disk is read-only: the first and the last 32-bit word of each
 *	                     sector are its number
 *	stuck=1              instead of all that: read until the host does not answer, then reset the
 *	                     disk, read its status until the reset is over, and start it anew
 */
#include "virtio.h"

#define F_RO    5
#define F_FLUSH 9

enum {
	T_IN = 0,
	T_OUT = 1,
	T_FLUSH = 4,
	T_GET_ID = 8,
	T_NONE = 99,
};

enum {
	S_OK = 0,
	S_IOERR = 1,
	S_UNSUPP = 2,
	S_NONE = 0xee,
};

#define SECTOR 512
#define RING   64
#define ROUNDS 2u

/* What a request needs, in a page of its own. */
struct request {
	uint8_t table[4 * 16];
	struct {
		uint32_t type, reserved;
		uint64_t sector;
	} header;
	uint8_t status;
	uint8_t data[2048] __attribute__((aligned(SECTOR)));
};

static struct virtio_dev dev;
static struct virtq q;
static struct request *requests[RING];
static uint64_t capacity;

static void submit(unsigned id, uint32_t type, uint64_t sector, uint32_t len)
{
	struct request *r = requests[id];
	struct virtq_buf bufs[3];
	unsigned n = 0;

	r->header.type = type;
	r->header.sector = sector;
	r->status = S_NONE;
	bufs[n++] = (struct virtq_buf){&r->header, 16, false};
	if (len)
		bufs[n++] = (struct virtq_buf){r->data, len, type != T_OUT};
	bufs[n++] = (struct virtq_buf){&r->status, 1, true};
	virtq_add_chain(&q, (uint16_t)id, r->table, bufs, n);
}

/* The next one that is done; the guest ends if none is, in a few seconds. */
static unsigned reap(void)
{
	uint64_t until = rdtsc() + 20000000000ul;
	uint32_t len;
	int id;

	while ((id = virtq_get(&q, &len)) < 0) {
		if (rdtsc() > until) {
			check(false, "a request was not answered");
			guest_exit(check_status());
		}
		cpu_relax();
	}
	return (unsigned)id;
}

static uint8_t one(uint32_t type, uint64_t sector, uint32_t len)
{
	submit(0, type, sector, len);
	virtq_publish(&q);
	reap();
	return requests[0]->status;
}

/* A sector's number in its first and last word: the rest costs much time where KVM emulates this.
 */
static void fill(uint8_t *data, uint32_t len, uint64_t seed)
{
	for (uint32_t i = 0; i < len; i += SECTOR, seed++)
		*(uint32_t *)(data + i) = *(uint32_t *)(data + i + SECTOR - 4) = (uint32_t)seed;
}

static bool filled(const uint8_t *data, uint32_t len, uint64_t seed)
{
	for (uint32_t i = 0; i < len; i += SECTOR, seed++)
		if (*(const uint32_t *)(data + i) != (uint32_t)seed ||
		    *(const uint32_t *)(data + i + SECTOR - 4) != (uint32_t)seed)
			return false;
	return true;
}

static void check_refusals(void)
{
	struct request *r = requests[0];

	check(one(T_IN, capacity, SECTOR) == S_IOERR, "read behind the end: %x", r->status);
	check(one(T_IN, capacity - 1, 2 * SECTOR) == S_IOERR, "read over the end: %x", r->status);
	check(one(T_IN, ~0ul, SECTOR) == S_IOERR, "read at 2^64: %x", r->status);
	check(one(T_IN, 0, 100) == S_IOERR, "read of 100 bytes: %x", r->status);
	check(one(T_NONE, 0, SECTOR) == S_UNSUPP, "unknown request: %x", r->status);
}

static void check_serial(void)
{
	char want[32] = "";

	arg_str("serial", want, sizeof(want));
	memset(requests[0]->data, 0xaa, 32);
	check(one(T_GET_ID, 0, 20) == S_OK, "GET_ID: %x", requests[0]->status);
	requests[0]->data[20] = 0;
	check(!strcmp((char *)requests[0]->data, want), "serial '%s'", (char *)requests[0]->data);
}

/* As many requests at once as there is room for; they may come back in any order. */
static void check_many(bool write, uint64_t seed)
{
	const uint32_t len = 4 * SECTOR;
	unsigned done[RING] = {0}, bad = 0;

	for (unsigned round = 0; round < ROUNDS; round++) {
		uint64_t first = (uint64_t)round * q.size * 4;

		for (unsigned i = 0; i < q.size; i++) {
			if (write)
				fill(requests[i]->data, len, seed + first + i * 4);
			else
				fill(requests[i]->data, len, ~0ul);
			submit(i, write ? T_OUT : T_IN, first + i * 4, len);
		}
		virtq_publish(&q);
		for (unsigned i = 0; i < q.size; i++) {
			unsigned id = reap();

			if (id >= q.size || ++done[id] != round + 1) {
				check(false, "request %u is done twice", id);
				return;
			}
			bad += requests[id]->status != S_OK;
			if (!write)
				bad += !filled(requests[id]->data, len, seed + first + id * 4);
		}
	}
	check(!bad, "%u of %u %s went wrong", bad, ROUNDS * q.size, write ? "writes" : "reads");
}

static void check_read_only(void)
{
	struct request *r = requests[0];

	check(dev.features & VIRTIO_BIT(F_RO), "F_RO is not offered");
	fill(r->data, SECTOR, 0x55aa);
	check(one(T_OUT, 3, SECTOR) == S_IOERR, "write to a read-only disk: %x", r->status);
	check(one(T_IN, 3, SECTOR) == S_OK && filled(r->data, SECTOR, 3), "sector 3 has %x",
	      *(uint32_t *)r->data);
}

/* Whether request 0 is done within some tenths of a second. */
static bool answered(void)
{
	uint64_t until = rdtsc() + 1000000000ul;
	uint32_t len;

	while (virtq_get(&q, &len) < 0)
		if (rdtsc() > until)
			return false;
	return true;
}

static void bring_up(void);

static void check_stuck(void)
{
	print("reading\n");
	print_flush();
	do {
		submit(0, T_IN, 0, SECTOR);
		virtq_publish(&q);
	} while (answered());
	virtio_reset(&dev);
	print("reset, status %x\n", virtio_status(&dev));
	print_flush();
	while (virtio_status(&dev))
		cpu_relax();
	print("the reset is over\n");
	bring_up();
	check(one(T_IN, 0, SECTOR) == S_OK, "read after the reset: %x", requests[0]->status);
}

static void bring_up(void)
{
	uint64_t wanted = VIRTIO_BIT(F_RO) | VIRTIO_BIT(F_FLUSH) | VIRTIO_BIT(VIRTIO_F_INDIRECT) |
	                  VIRTIO_BIT(VIRTIO_F_EVENT_IDX);
	enum virtio_where where = VIRTIO_ANYWHERE;
	char word[16];

	if (arg_str("ring", word, sizeof(word)) && !strcmp(word, "packed"))
		wanted |= VIRTIO_BIT(VIRTIO_F_RING_PACKED);
	if (arg_str("transport", word, sizeof(word)))
		where = strcmp(word, "pci") ? VIRTIO_MMIO : VIRTIO_PCI;
	if (!check(virtio_find(&dev, VIRTIO_ID_BLOCK, where), "no disk (transport '%s')", word) ||
	    !check(virtio_negotiate(&dev, wanted), "features %lx are refused", dev.features) ||
	    !check(!(wanted & ~dev.features & ~VIRTIO_BIT(F_RO)), "features %lx are not offered",
	           wanted & ~dev.features) ||
	    !check(virtio_queue(&dev, &q, 0, RING) && q.size <= RING, "no queue"))
		guest_exit(check_status());
	capacity = read32(dev.config) | (uint64_t)read32(dev.config + 4) << 32;
	for (unsigned i = 0; i < q.size; i++)
		requests[i] = page_alloc();
	virtio_driver_ok(&dev);
	print("disk on %s, %s ring of %u, %lu sectors, features %lx\n", dev.mmio ? "mmio" : "pci",
	      q.packed ? "packed" : "split", q.size, capacity, dev.features);
}

int guest_main(void)
{
	_Static_assert(sizeof(struct request) <= 4096, "a request is a page");
	bring_up();
	if (arg_num("stuck", 0)) {
		check_stuck();
		return check_status();
	}
	check(capacity == arg_num("sectors", 0), "%lu sectors", capacity);
	check_serial();
	check_refusals();
	if (arg_num("ro", 0)) {
		check_read_only();
	} else {
		check(!(dev.features & VIRTIO_BIT(F_RO)), "F_RO is offered");
		check_many(true, 1000000);
		check_many(false, 1000000);
		/* The last thing written: the host finds every sector's number in the sector. */
		check_many(true, 0);
		check(one(T_FLUSH, 0, 0) == S_OK, "flush: %x", requests[0]->status);
	}
	check(!(virtio_status(&dev) & VIRTIO_STATUS_NEEDS_RESET), "the device needs a reset");
	return check_status();
}
