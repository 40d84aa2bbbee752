/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk's requests: any header, any list of ranges, in any number of buffers of any length, which
 * may be each other. The backing is a small file in memory, written and read for real.
 */
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/block/blk.h"
#include "tests/fuzz/guest_ram.h"
#include "vmm/endian.h"

#define DISK    KIB(64)
#define IOV_OUT 5
#define IOV_IN  5

struct fixture {
	struct guest_ram ram;
	struct backing backing;
	struct blk blk;
	int fd;
};

static void fixture_init(struct fixture *f, uint8_t bits)
{
	const struct blk_config config = {.name = "disk0",
	                                  .serial = "fuzz",
	                                  .queues = 1,
	                                  .queue_size = 16,
	                                  .discard = bits & 1};
	struct backing_config b = {.ro = bits & 2};
	char path[32];

	guest_ram_init(&f->ram);
	f->fd = memfd_create("disk", MFD_CLOEXEC);
	fuzz_check(f->fd >= 0 && ftruncate(f->fd, DISK) == 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	b.path = path;
	fuzz_check(backing_open(&f->backing, &b, NULL) == 0);
	fuzz_check(blk_init(&f->blk, &config, &f->backing, &f->ram.mem, NULL) == 0);
	/* As if the driver took all but what the input leaves out. */
	f->blk.dev.driver_features = f->blk.dev.offered;
	if (bits & 4)
		f->blk.dev.driver_features &= ~VIRTIO_FEATURE(VIRTIO_BLK_F_FLUSH);
	atomic_store(&f->blk.writeback, bits & 8);
}

/* A part of the chain: at most @max buffers; the bytes in them. */
static unsigned part(struct fixture *f, struct fuzz_in *in, struct iovec *iov, unsigned max,
                     uint32_t *bytes)
{
	unsigned n = fuzz_u8(in) % (max + 1);

	for (unsigned i = 0; i < n; i++) {
		uint64_t at = RAM_BASE + fuzz_u16(in);
		uint8_t bits = fuzz_u8(in);
		size_t len = bits & 0x80 ? (bits & 0x3fu) * 512 : bits;
		void *host = memory_at(&f->ram.mem, gpa(at), len);

		iov[i] = (struct iovec){.iov_base = host ? host : f->ram.pieces[0],
		                        .iov_len = host ? len : 0};
		*bytes += (uint32_t)iov[i].iov_len;
	}
	return n;
}

/* Put a header, and ranges behind it, where the first buffers are. */
static void header(const struct virtq_chain *c, struct fuzz_in *in)
{
	uint8_t raw[16 + 3 * 16] = {0};
	static const uint32_t types[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
	                                 VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
	                                 VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
	uint8_t type = fuzz_u8(in);

	fuzz_bytes(in, raw + 8, fuzz_u8(in) % (sizeof(raw) - 8));
	store_le32(raw, type & 0x80 ? fuzz_u32(in) : types[type % ARRAY_SIZE(types)]);
	iov_copy_in(c->iov, c->nr_out, 0, raw, sizeof(raw));
}

static void request(struct fixture *f, struct fuzz_in *in)
{
	struct iovec iov[IOV_OUT + IOV_IN], *scratch = calloc(VIRTQ_CHAIN_MAX, sizeof(*scratch));
	struct virtq_chain c = {.iov = iov};
	int64_t written;
	struct stat st;

	fuzz_check(scratch);
	c.nr_out = part(f, in, iov, IOV_OUT, &c.out_len);
	c.nr_in = part(f, in, iov + c.nr_out, IOV_IN, &c.in_len);
	header(&c, in);
	written = blk_serve(&f->blk, &c, scratch);
	fuzz_check(written == c.in_len || written == -EPROTO);
	fuzz_check((written < 0) == (c.out_len < 16 || c.in_len < 1));
	fuzz_check(fstat(f->fd, &st) == 0 && st.st_size == DISK);
	free(scratch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fixture *f = calloc(1, sizeof(*f));

	fuzz_check(f);
	fixture_init(f, fuzz_u8(&in));
	while (fuzz_left(&in))
		request(f, &in);
	blk_destroy(&f->blk);
	backing_close(&f->backing);
	close(f->fd);
	guest_ram_destroy(&f->ram);
	free(f);
	return 0;
}
