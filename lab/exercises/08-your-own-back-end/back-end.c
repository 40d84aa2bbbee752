/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The six parts of a vhost-user back-end: yours. back-end.h says what each one is to do, README.md
 * how. What the guest or the front-end says is not to be trusted: end by bad("why") on what is
 * wrong.
 */
#include <endian.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <sys/mman.h>
#include <unistd.h>

#include "back-end.h"

uint64_t features(void)
{
	missing(1, "GET_FEATURES");
}

void set_mem_table(const struct message *m, const int *fds)
{
	missing(2, "SET_MEM_TABLE");
}

void set_vring_num(struct ring *r, uint32_t num)
{
	missing(3, "SET_VRING_NUM");
}

void set_vring_base(struct ring *r, uint32_t base)
{
	missing(3, "SET_VRING_BASE");
}

void set_vring_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used)
{
	missing(3, "SET_VRING_ADDR");
}

uint16_t get_vring_base(struct ring *r)
{
	missing(4, "GET_VRING_BASE");
}

/* Read avail->idx with __atomic_load_n(..., __ATOMIC_ACQUIRE): the driver wrote the entry before
 * it. */
unsigned take(struct ring *r, struct iovec iov[CHAIN_MAX], uint16_t *head, bool *writable)
{
	missing(5, "take a chain out of a ring");
}

/* Write used->idx with __atomic_store_n(..., __ATOMIC_RELEASE): the driver reads the element after
 * it. */
void give_back(struct ring *r, uint16_t head, uint32_t written)
{
	missing(6, "give a chain back");
}
