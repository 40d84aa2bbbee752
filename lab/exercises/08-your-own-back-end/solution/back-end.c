/* SPDX-License-Identifier: BSD-2-Clause */
/* The six parts of a vhost-user back-end: the model solution. back-end.h says what each one does. */
#include <endian.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../back-end.h"

uint64_t features(void)
{
	return UINT64_C(1) << VIRTIO_F_VERSION_1;
}

void set_mem_table(const struct message *m, const int *fds)
{
	for (unsigned i = 0; i < nr_memory; i++)
		munmap(memory[i].at - memory[i].region.mmap_offset,
		       memory[i].region.size + memory[i].region.mmap_offset);
	nr_memory = 0;
	for (unsigned i = 0; i < m->memory.nr; i++) {
		struct region r = m->memory.regions[i];
		uint8_t *at = MAP_FAILED;

		/* From the beginning of the file: an offset need not be a multiple of a page. */
		if (r.size + r.mmap_offset >= r.size)
			at = mmap(NULL, r.size + r.mmap_offset, PROT_READ | PROT_WRITE, MAP_SHARED,
			          fds[i], 0);
		close(fds[i]);
		if (at == MAP_FAILED)
			bad("guest memory that cannot be mapped");
		memory[nr_memory++] = (struct memory){.region = r, .at = at + r.mmap_offset};
	}
}

void set_vring_num(struct ring *r, uint32_t num)
{
	if (!num || num > 32768)
		bad("a ring of an impossible size");
	r->num = num;
}

void set_vring_base(struct ring *r, uint32_t base)
{
	r->last_avail = (uint16_t)base;
}

void set_vring_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used)
{
	r->desc = user(desc, 16 * (uint64_t)r->num);
	r->avail = user(avail, 6 + 2 * (uint64_t)r->num);
	r->used = user(used, 6 + 8 * (uint64_t)r->num);
	if (!r->desc || !r->avail || !r->used)
		bad("a ring that is not in guest memory");
	/* Whoever had the ring before us may have left it at "no notifications". */
	r->used->flags = 0;
}

uint16_t get_vring_base(struct ring *r)
{
	set_fd(&r->kick, -1);
	return r->last_avail;
}

unsigned take(struct ring *r, struct iovec iov[CHAIN_MAX], uint16_t *head, bool *writable)
{
	uint16_t idx = le16toh(__atomic_load_n(&r->avail->idx, __ATOMIC_ACQUIRE)), i;
	unsigned n = 0;

	if (idx == r->last_avail)
		return 0;
	if ((uint16_t)(idx - r->last_avail) > r->num)
		bad("an available index too far ahead");
	*head = i = le16toh(r->avail->ring[r->last_avail % r->num]);
	for (;;) {
		struct vring_desc d;

		if (i >= r->num || n == CHAIN_MAX)
			bad("a chain that does not end in the table");
		d = r->desc[i]; /* once: the guest may change it meanwhile */
		iov[n].iov_len = le32toh(d.len);
		iov[n].iov_base = guest(le64toh(d.addr), iov[n].iov_len);
		if (!iov[n].iov_base)
			bad("a buffer that is not in guest memory");
		*writable = le16toh(d.flags) & VRING_DESC_F_WRITE;
		n++;
		if (!(le16toh(d.flags) & VRING_DESC_F_NEXT))
			break;
		i = le16toh(d.next);
	}
	r->last_avail++;
	return n;
}

void give_back(struct ring *r, uint16_t head, uint32_t written)
{
	uint16_t idx = le16toh(r->used->idx);
	uint64_t one = 1;

	r->used->ring[idx % r->num].id = htole32(head);
	r->used->ring[idx % r->num].len = htole32(written);
	__atomic_store_n(&r->used->idx, htole16((uint16_t)(idx + 1)), __ATOMIC_RELEASE);
	/* The driver says "no interrupts", then looks at used->idx; we move that, then look at what
	 * it says. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (r->call >= 0 && !(le16toh(r->avail->flags) & VRING_AVAIL_F_NO_INTERRUPT) &&
	    write(r->call, &one, sizeof(one)) < 0)
		bad("the call eventfd");
}
