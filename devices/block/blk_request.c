/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one request of the driver's (virtio 1.2, 5.2.6), from its header to its
 * status byte. How the driver cuts it into buffers is its own affair (2.7.4): the header is the
 * first 16 readable bytes, the status the last writable one, and data is what is left of the part
 * in question.
 *
 * The header, and a discard's list of ranges, are copied once, checked and used; data is moved
 * straight between the guest's buffers and the backing. Nothing is done of a request of which any
 * range is wrong.
 *
 * What a device reports as written has to be written from the first byte on (2.7.8.2), and the
 * status is the last one. So where a request did not fill the buffers before it - a failed read -
 * they are filled with zeroes.
 */
#include <errno.h>
#include <string.h>

#include "devices/block/blk.h"
#include "vmm/endian.h"
#include "vmm/util.h"

struct header {
	uint32_t type;
	uint64_t sector;
};

struct range {
	uint64_t offset, len; /* bytes */
	bool unmap;
};

#define HEADER_SIZE  sizeof(struct virtio_blk_outhdr)
#define SEGMENT_SIZE sizeof(struct virtio_blk_discard_write_zeroes)

static struct header read_header(const struct virtq_chain *chain)
{
	uint8_t raw[HEADER_SIZE];

	iov_copy_out(chain->iov, chain->nr_out, 0, raw, sizeof(raw));
	return (struct header){.type = load_le32(raw), .sector = load_le64(raw + 8)};
}

/* The readable data: @to gets what is behind the header. */
static unsigned data_out(const struct virtq_chain *chain, struct iovec *to)
{
	size_t skip = HEADER_SIZE;
	unsigned n = 0;

	for (unsigned i = 0; i < chain->nr_out; i++) {
		size_t here = min_u64(skip, chain->iov[i].iov_len);

		skip -= here;
		if (chain->iov[i].iov_len > here)
			to[n++] = (struct iovec){
				.iov_base = (uint8_t *)chain->iov[i].iov_base + here,
				.iov_len = chain->iov[i].iov_len - here,
			};
	}
	return n;
}

/* The writable data, and the status behind it. */
static unsigned data_in(const struct virtq_chain *chain, struct iovec *to, uint8_t **status)
{
	const struct iovec *in = chain->iov + chain->nr_out;
	unsigned n = chain->nr_in;

	while (in[n - 1].iov_len == 0)
		n--; /* in_len is not 0: one is not empty */
	memcpy(to, in, n * sizeof(*to));
	to[n - 1].iov_len--;
	*status = (uint8_t *)to[n - 1].iov_base + to[n - 1].iov_len;
	return n;
}

static void zero_from(const struct iovec *iov, unsigned n, uint64_t offset)
{
	for (unsigned i = 0; i < n; i++) {
		size_t skip = min_u64(offset, iov[i].iov_len);

		offset -= skip;
		memset((uint8_t *)iov[i].iov_base + skip, 0, iov[i].iov_len - skip);
	}
}

/* Does [@sector, @sector + @sectors) lie on the disk, in whole blocks? */
static bool on_disk(const struct blk *blk, uint64_t sector, uint64_t sectors)
{
	const struct backing *b = blk->backing;
	uint64_t capacity = backing_size(b) / BACKING_SECTOR, mask = b->block / BACKING_SECTOR - 1;

	return sector <= capacity && sectors <= capacity - sector && !((sector | sectors) & mask);
}

static uint8_t failed(struct blk *blk, const char *what, uint64_t offset, uint64_t len, int rc)
{
	log_limited(&blk->limit, LOG_WARN, "%s: %s, %llu bytes at %llu: %s", blk->dev.name, what,
	            (unsigned long long)len, (unsigned long long)offset, strerrordesc_np(-rc));
	return VIRTIO_BLK_S_IOERR;
}

static uint8_t flush(struct blk *blk)
{
	int rc = backing_flush(blk->backing);

	if (rc == 0)
		return VIRTIO_BLK_S_OK;
	log_limited(&blk->limit, LOG_ERROR,
	            "%s: the host could not store what was written (%s): every flush fails from "
	            "here on",
	            blk->dev.name, strerrordesc_np(-rc));
	return VIRTIO_BLK_S_IOERR;
}

/* After something was written: stable at once, unless the driver will flush. */
static uint8_t settled(struct blk *blk)
{
	return blk_writeback(blk) ? VIRTIO_BLK_S_OK : flush(blk);
}

static uint8_t serve_data(struct blk *blk, bool write, uint64_t sector, uint64_t len,
                          struct iovec *iov, unsigned n)
{
	uint64_t offset = sector * BACKING_SECTOR; /* used only if on_disk() */
	int rc;

	if (len % BACKING_SECTOR || !on_disk(blk, sector, len / BACKING_SECTOR))
		return VIRTIO_BLK_S_IOERR;
	if (write && blk->backing->ro)
		return VIRTIO_BLK_S_IOERR;
	rc = write ? backing_write(blk->backing, iov, n, offset)
	           : backing_read(blk->backing, iov, n, offset);
	if (rc < 0)
		return failed(blk, write ? "write" : "read", offset, len, rc);
	return write ? settled(blk) : VIRTIO_BLK_S_OK;
}

/* One segment of a discard or write zeroes. A status. */
static uint8_t judge_range(const struct blk *blk, bool zero, const uint8_t *raw, struct range *r)
{
	uint64_t sector = load_le64(raw);
	uint32_t sectors = load_le32(raw + 8), flags = load_le32(raw + 12);

	if (flags & ~(zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
		return VIRTIO_BLK_S_UNSUPP;
	if (sectors > (zero ? BLK_ZERO_SECTORS : BLK_DISCARD_SECTORS) ||
	    !on_disk(blk, sector, sectors))
		return VIRTIO_BLK_S_IOERR;
	*r = (struct range){.offset = sector * BACKING_SECTOR,
	                    .len = (uint64_t)sectors * BACKING_SECTOR,
	                    .unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP};
	return VIRTIO_BLK_S_OK;
}

static uint8_t serve_ranges(struct blk *blk, bool zero, uint64_t len, const struct iovec *iov,
                            unsigned n)
{
	uint8_t raw[BLK_DISCARD_SEGMENTS * SEGMENT_SIZE], status;
	struct range ranges[BLK_DISCARD_SEGMENTS];
	unsigned nr = (unsigned)(len / SEGMENT_SIZE);

	if (!virtio_has(&blk->dev, zero ? VIRTIO_BLK_F_WRITE_ZEROES : VIRTIO_BLK_F_DISCARD))
		return VIRTIO_BLK_S_UNSUPP;
	if (len == 0 || len % SEGMENT_SIZE ||
	    nr > (zero ? BLK_ZERO_SEGMENTS : BLK_DISCARD_SEGMENTS))
		return VIRTIO_BLK_S_IOERR;
	iov_copy_out(iov, n, 0, raw, len);
	for (unsigned i = 0; i < nr; i++) {
		status = judge_range(blk, zero, raw + i * SEGMENT_SIZE, &ranges[i]);
		if (status != VIRTIO_BLK_S_OK)
			return status;
	}
	for (unsigned i = 0; i < nr; i++) {
		const struct range *r = &ranges[i];
		int rc = zero ? backing_zero(blk->backing, r->offset, r->len, r->unmap)
		              : backing_discard(blk->backing, r->offset, r->len);

		if (rc < 0)
			return failed(blk, zero ? "write zeroes" : "discard", r->offset, r->len,
			              rc);
	}
	return settled(blk);
}

int64_t blk_serve(struct blk *blk, const struct virtq_chain *chain, struct iovec *scratch)
{
	uint64_t out_len, in_len, filled = 0;
	struct header h;
	uint8_t status, *at;
	unsigned n;

	if (chain->out_len < HEADER_SIZE || chain->in_len < 1)
		return -EPROTO;
	h = read_header(chain);
	out_len = chain->out_len - HEADER_SIZE;
	in_len = chain->in_len - 1;
	switch (h.type) {
	case VIRTIO_BLK_T_IN:
		n = data_in(chain, scratch, &at);
		status = serve_data(blk, false, h.sector, in_len, scratch, n);
		filled = status == VIRTIO_BLK_S_OK ? in_len : 0;
		break;
	case VIRTIO_BLK_T_OUT:
		n = data_out(chain, scratch);
		status = serve_data(blk, true, h.sector, out_len, scratch, n);
		break;
	case VIRTIO_BLK_T_FLUSH:
		status = flush(blk);
		break;
	case VIRTIO_BLK_T_GET_ID:
		n = data_in(chain, scratch, &at);
		filled = iov_copy_in(scratch, n, 0, blk->serial, sizeof(blk->serial));
		status = VIRTIO_BLK_S_OK;
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		n = data_out(chain, scratch);
		status =
			serve_ranges(blk, h.type == VIRTIO_BLK_T_WRITE_ZEROES, out_len, scratch, n);
		break;
	default:
		status = VIRTIO_BLK_S_UNSUPP;
	}
	n = data_in(chain, scratch, &at);
	zero_from(scratch, n, filled);
	*at = status;
	return chain->in_len;
}
