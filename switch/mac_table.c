/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a set-associative table, as in hardware switches. A key's hash chooses one
 * set of four entries, which is one cache line; nothing is ever moved between sets, so a search is
 * four comparisons and takes the same time whatever guests do. Expired entries stay until their
 * place is needed or they are heard of again.
 */
#include "switch/mac_table.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4
#define SETS (MAC_TABLE_ENTRIES / WAYS)

_Static_assert(sizeof(struct mac_entry) * WAYS == 64, "a set is a cache line");

int mac_table_init(struct mac_table *t, uint32_t age, uint64_t seed)
{
	memset(t, 0, sizeof(*t));
	t->entries = aligned_alloc(64, sizeof(struct mac_entry) * MAC_TABLE_ENTRIES);
	if (!t->entries)
		return -ENOMEM;
	memset(t->entries, 0, sizeof(struct mac_entry) * MAC_TABLE_ENTRIES);
	t->age = age;
	t->seed = seed | 1;
	for (unsigned i = 0; i < MAC_TABLE_PORTS; i++)
		t->limit[i] = MAC_TABLE_ENTRIES / 4;
	return 0;
}

void mac_table_destroy(struct mac_table *t)
{
	free(t->entries);
	t->entries = NULL;
}

static struct mac_entry *set_of(const struct mac_table *t, mac_key_t key)
{
	/* Multiplication by a secret odd number; the high bits depend on all bits of the key. */
	uint64_t h = (key ^ key >> 29 ^ t->seed >> 7) * t->seed;

	return &t->entries[(h >> 40) % SETS * WAYS];
}

static bool expired(const struct mac_table *t, const struct mac_entry *e)
{
	return t->now - e->seen > t->age;
}

static void drop(struct mac_table *t, struct mac_entry *e)
{
	t->count[e->port]--;
	e->used = false;
	t->generation++;
}

/* The place of a new entry of @port in @set, empty now; NULL: it may have none. */
static struct mac_entry *make_room(struct mac_table *t, struct mac_entry *set, unsigned port)
{
	struct mac_entry *own = NULL, *place = NULL;

	for (unsigned i = 0; i < WAYS; i++) {
		struct mac_entry *e = &set[i];

		if (e->used && expired(t, e))
			drop(t, e);
		if (!e->used)
			place = e;
		else if (e->port == port && (!own || own->seen - e->seen < UINT32_MAX / 2))
			own = e;
	}
	if (t->count[port] < t->limit[port] && place)
		return place;
	if (own)
		drop(t, own);
	return own;
}

void mac_table_learn(struct mac_table *t, mac_key_t key, unsigned port)
{
	struct mac_entry *set = set_of(t, key), *e;

	for (unsigned i = 0; i < WAYS; i++) {
		e = &set[i];
		if (e->key != key || !e->used)
			continue;
		if (e->port == port) {
			if (e->seen != t->now) {
				if (expired(t, e))
					t->generation++;
				e->seen = t->now;
			}
			return;
		}
		if (!expired(t, e))
			t->moves++;
		drop(t, e);
		break;
	}
	e = make_room(t, set, port);
	if (!e) {
		t->refused++;
		return;
	}
	*e = (struct mac_entry){.key = key, .seen = t->now, .port = (uint16_t)port, .used = true};
	t->count[port]++;
	t->generation++;
}

int mac_table_find(struct mac_table *t, mac_key_t key)
{
	const struct mac_entry *set = set_of(t, key);

	for (unsigned i = 0; i < WAYS; i++)
		if (set[i].key == key && set[i].used)
			return expired(t, &set[i]) ? MAC_TABLE_NONE : set[i].port;
	return MAC_TABLE_NONE;
}

void mac_table_forget(struct mac_table *t, unsigned port)
{
	for (unsigned i = 0; i < MAC_TABLE_ENTRIES; i++)
		if (t->entries[i].used && t->entries[i].port == port)
			drop(t, &t->entries[i]);
}
