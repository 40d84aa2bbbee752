/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * back-end: what main.c, which is complete, and back-end.c, which is yours, have in common: the
 * messages of the protocol, what we know of the guest, and who provides which function.
 */
#ifndef BACK_END_H
#define BACK_END_H

#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

/* --- The protocol: a message is a header, a payload, and descriptors beside it --- */

enum {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	RESET_OWNER = 4,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
};

#define FLAG_VERSION 1
#define FLAG_REPLY   4
#define REGIONS_MAX  8
#define NO_FD        0x100 /* in the number of SET_VRING_KICK, CALL, ERR: no descriptor comes with it */

struct region {
	uint64_t guest_addr; /* guest-physical: what descriptors hold */
	uint64_t size;
	uint64_t user_addr;   /* the front-end's: what SET_VRING_ADDR holds */
	uint64_t mmap_offset; /* in the descriptor that came with it */
};

struct message {
	uint32_t request, flags, size; /* size: of what follows */
	union {
		uint64_t u64;
		struct {
			uint32_t index, num;
		} state; /* NUM, BASE */
		struct {
			uint32_t index, flags;
			uint64_t desc, used, avail, log;
		} addr;
		struct {
			uint32_t nr, padding;
			struct region regions[REGIONS_MAX];
		} memory;
	};
} __attribute__((packed));

#define HEADER 12 /* bytes before the payload */

/* --- What we know --- */

struct memory {
	struct region region;
	uint8_t *at; /* where region.guest_addr is in this process */
};

struct ring {
	unsigned num; /* its size */
	struct vring_desc *desc;
	struct vring_avail *avail;
	struct vring_used *used;
	uint16_t last_avail; /* the next entry of avail to look at: the base */
	int kick, call;      /* -1: none */
};

extern struct memory memory[REGIONS_MAX];
extern unsigned nr_memory; /* so many of them are mapped */

/* --- In main.c --- */

/* Say what is wrong and end this program. */
void bad(const char *what) __attribute__((noreturn));
void missing(int part, const char *what) __attribute__((noreturn));

/* @len bytes at guest-physical @addr, or NULL if they are not all in one region. */
void *guest(uint64_t addr, uint64_t len);

/* The same for an address of the front-end. */
void *user(uint64_t addr, uint64_t len);

/* Close the descriptor in *@which, if there is one, and put @fd there (-1: none). */
void set_fd(int *which, int fd);

/* --- In back-end.c: the six parts; README.md says what belongs there --- */

/* 1: the mask of features for GET_FEATURES. */
uint64_t features(void);

/* 2, SET_MEM_TABLE: unmap what is mapped, map the regions of m->memory (at most REGIONS_MAX), each
 * from its descriptor, and close that. */
void set_mem_table(const struct message *m, const int *fds);

/* 3, SET_VRING_NUM, SET_VRING_BASE, SET_VRING_ADDR: note these of ring @r. The number is the first
 * to come. */
void set_vring_num(struct ring *r, uint32_t num);
void set_vring_base(struct ring *r, uint32_t base);
void set_vring_addr(struct ring *r, uint64_t desc, uint64_t avail, uint64_t used);

/* 4, GET_VRING_BASE: stop ring @r (no kick any more); the position where the next one goes on. */
uint16_t get_vring_base(struct ring *r);

/*
 * 5: take the next chain out of ring @r. Its buffers become iov[0 .. returned number), *@head is
 * the number by which it is given back, *@writable says for which direction it is. 0: the ring is
 * empty.
 */
#define CHAIN_MAX 64
unsigned take(struct ring *r, struct iovec iov[CHAIN_MAX], uint16_t *head, bool *writable);

/* 6: give chain @head of ring @r back, with @written bytes in it, and interrupt the driver, unless
 * it does not want that (avail->flags) or there is no call eventfd. */
void give_back(struct ring *r, uint16_t head, uint32_t written);

#endif
