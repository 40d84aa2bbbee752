/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mac_table: which port a station was last heard on (IEEE 802.1Q, 8.8 "The Filtering Database": the
 * dynamic entries). One thread.
 *
 * The table has a fixed size, and guests write to it by sending frames, so what one port can do to
 * the others is bounded: a port holds at most its limit, and when there is no room for an address
 * it displaces an expired entry or one of the same port, never another port's. What is not learned
 * is flooded: slower, and never wrong.
 */
#ifndef TRIVM_SWITCH_MAC_TABLE_H
#define TRIVM_SWITCH_MAC_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#define MAC_TABLE_ENTRIES 16384
#define MAC_TABLE_PORTS   256
#define MAC_TABLE_NONE    (-1)

/* A station in a VLAN: bits 0-47 the address as it is on the wire (first byte lowest), 48-59 the
 * VLAN id. */
typedef uint64_t mac_key_t;

static inline mac_key_t mac_key(const uint8_t mac[6], unsigned vlan)
{
	uint64_t v = 0;

	__builtin_memcpy(&v, mac, 6);
	return v | (uint64_t)vlan << 48;
}

/* A group address, broadcast among them: the first bit on the wire. */
static inline bool mac_key_is_group(mac_key_t key)
{
	return key & 1;
}

struct mac_entry {
	mac_key_t key;
	uint32_t seen; /* seconds */
	uint16_t port;
	bool used;
};

struct mac_table {
	struct mac_entry *entries; /* sets of 4, each in one cache line */
	uint64_t seed;             /* so that guests cannot choose addresses that share a set */
	uint32_t age;              /* seconds without a frame after which an entry is void */
	uint32_t now;              /* seconds; the owner sets it */
	uint32_t generation;       /* changes whenever an answer of mac_table_find() may */
	unsigned limit[MAC_TABLE_PORTS]; /* entries that a port may have */
	unsigned count[MAC_TABLE_PORTS]; /* and has, expired ones too */
	uint64_t moves;                  /* a station was heard on another port than before */
	uint64_t refused;                /* addresses that there was no room for */
};

/* 0 or -ENOMEM; every port's limit is a quarter of the table. @seed: a random number. */
int mac_table_init(struct mac_table *t, uint32_t age, uint64_t seed);
void mac_table_destroy(struct mac_table *t); /* idempotent */

/* @key, not a group address, was just heard on @port. */
void mac_table_learn(struct mac_table *t, mac_key_t key, unsigned port);

/* The port that @key was last heard on, or MAC_TABLE_NONE. */
int mac_table_find(struct mac_table *t, mac_key_t key);

/* Forget what was learned from @port. */
void mac_table_forget(struct mac_table *t, unsigned port);

#endif
