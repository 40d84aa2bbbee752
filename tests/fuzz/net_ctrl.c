/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The NIC's control queue: any command, in any number of buffers, and then frames for the filters
 * that came of it.
 */
#include "tests/fuzz/mmio_dev.h"

#define CTRL     (2 * DEV_PAIRS) /* the queue, with MQ */
#define CTRL_OUT RAM_END0        /* the command ends here, and is read no further */
#define CTRL_ACK (RAM_END1 - 16)

/* The command's @len bytes, in parts of @part, are a chain; one more buffer is for the answer. */
static void add_chain(struct fuzz_dev *f, unsigned len, unsigned part, uint16_t ack_flags)
{
	uint8_t *ring = memory_at(&f->ram.mem, gpa(dev_ring(CTRL)), 0x1000);
	unsigned at = 0;

	for (unsigned done = 0; done < len && at < DEV_SIZE - 1; at++) {
		unsigned n = at < DEV_SIZE - 2 ? (unsigned)min_u64(part, len - done) : len - done;

		store_le64(ring + 16 * at, CTRL_OUT - len + done);
		store_le32(ring + 16 * at + 8, n);
		store_le16(ring + 16 * at + 12, VRING_DESC_F_NEXT);
		store_le16(ring + 16 * at + 14, (uint16_t)(at + 1));
		done += n;
	}
	store_le64(ring + 16 * at, CTRL_ACK);
	store_le32(ring + 16 * at + 8, ack_flags & 0x10 ? 0 : 1);
	store_le16(ring + 16 * at + 12, ack_flags & VRING_DESC_F_WRITE);
	store_le16(ring + 0x404 + 2 * (f->avail[CTRL] % DEV_SIZE), 0);
	store_le16(ring + 0x402, ++f->avail[CTRL]);
}

static void command(struct fuzz_dev *f, struct fuzz_in *in)
{
	uint8_t bits = fuzz_u8(in);
	unsigned len = bits & 0x20 ? fuzz_u16(in) % 5000 : fuzz_u8(in) % 64;
	unsigned part = 1 + fuzz_u8(in);
	uint8_t *ack = memory_at(&f->ram.mem, gpa(CTRL_ACK), 1);

	guest_ram_poke(&f->ram, in, CTRL_OUT - len, len);
	*ack = 0x77;
	add_chain(f, len, part, (uint16_t)(bits & 0x10) | (bits & 3 ? VRING_DESC_F_WRITE : 0));
	dev_reg(f, f->regs->notify, 4, CTRL);
	fuzz_check(loop_once(&f->loop, 0) >= 0);
	fuzz_check(*ack == 0x77 || *ack == 0 || *ack == 1);
}

/* A frame's beginning, in exactly as many bytes as there are. */
static void frame(struct fuzz_dev *f, struct fuzz_in *in)
{
	size_t len = fuzz_u8(in) % 20;
	uint8_t *head = malloc(len);

	fuzz_check(head || !len);
	memset(head, 0, len);
	fuzz_bytes(in, head, len);
	net_filter_passes(&f->net.filter, head, len);
	free(head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct fuzz_dev *f = calloc(1, sizeof(*f));
	struct virtio_mmio *m = calloc(1, sizeof(*m));
	struct fuzz_in features = {.at = data, .end = data};
	struct fuzz_in queue;
	uint8_t ctrl = CTRL;

	fuzz_check(f && m);
	mmio_dev_init(f, m, 1);
	f->dev->offered &= ~VIRTIO_FEATURE(VIRTIO_F_RING_PACKED);
	dev_negotiate(f, &features);
	queue = (struct fuzz_in){.at = &ctrl, .end = &ctrl + 1};
	dev_queue(f, &queue);
	dev_reg(f, f->regs->status, f->regs->status_width, LIVE);
	fuzz_check(f->net.ctrl_on);
	while (fuzz_left(&in)) {
		if (fuzz_u8(&in) % 4 == 3)
			frame(f, &in);
		else
			command(f, &in);
		fuzz_check(f->net.pairs_used >= 1 && f->net.pairs_used <= DEV_PAIRS);
		fuzz_check(f->net.filter.unicast + f->net.filter.multicast <= NET_FILTER_MACS);
	}
	mmio_dev_destroy(f, m);
	free(m);
	free(f);
	return 0;
}
