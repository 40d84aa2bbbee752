/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a sequence counter. It is odd while the rules are being changed; who reads
 * them looks at it before and after, and reads again if it was odd or has moved. The rules
 * themselves are atomics that are read and written relaxed, so that a reader in the middle of a
 * change sees old and new values mixed, but no torn ones, and then throws its answer away.
 *
 * Pairs of barriers: changed()'s release store with the first load of net_filter_passes() (what was
 * written before is seen); begin_change()'s fence with the fence there (who saw a new value sees
 * the odd count, too).
 */
#include "devices/net/filter.h"

#include <errno.h>
#include <linux/virtio_net.h>

#include "vmm/endian.h"
#include "vmm/util.h"

/* The first ones by the numbers of their commands. */
enum net_filter_mode {
	PROMISC = VIRTIO_NET_CTRL_RX_PROMISC,
	ALLMULTI = VIRTIO_NET_CTRL_RX_ALLMULTI,
	ALLUNI = VIRTIO_NET_CTRL_RX_ALLUNI,
	NOMULTI = VIRTIO_NET_CTRL_RX_NOMULTI,
	NOUNI = VIRTIO_NET_CTRL_RX_NOUNI,
	NOBCAST = VIRTIO_NET_CTRL_RX_NOBCAST,
	MODES,
	OVERFLOW_UNICAST = MODES, /* a table had more than fits: all are let in */
	OVERFLOW_MULTICAST,
	VLANS,
};

#define BROADCAST UINT64_C(0xffffffffffff)

static uint64_t mac_number(const uint8_t *mac)
{
	return load_le32(mac) | (uint64_t)load_le16(mac + 4) << 32;
}

#define get(field)        atomic_load_explicit(&(field), memory_order_relaxed)
#define set(field, value) atomic_store_explicit(&(field), value, memory_order_relaxed)

static void begin_change(struct net_filter *f)
{
	set(f->sequence, get(f->sequence) + 1);
	atomic_thread_fence(memory_order_release);
}

static void changed(struct net_filter *f)
{
	atomic_store_explicit(&f->sequence, get(f->sequence) + 1, memory_order_release);
}

static void set_mode(struct net_filter *f, unsigned mode, bool on)
{
	unsigned modes = get(f->modes);

	set(f->modes, on ? modes | BIT(mode) : modes & ~BIT(mode));
}

void net_filter_reset(struct net_filter *f, const uint8_t mac[NET_MAC_LEN], bool vlans)
{
	begin_change(f);
	set(f->modes, BIT(PROMISC) | (vlans ? BIT(VLANS) : 0));
	set(f->mac, mac_number(mac));
	set(f->unicast, 0);
	set(f->multicast, 0);
	for (unsigned i = 0; i < ARRAY_SIZE(f->vlans); i++)
		set(f->vlans[i], 0);
	changed(f);
}

int net_filter_rx(struct net_filter *f, uint8_t cmd, const uint8_t *data, size_t len)
{
	if (cmd >= MODES || len < 1)
		return -EINVAL;
	begin_change(f);
	set_mode(f, cmd, data[0] != 0);
	changed(f);
	return 0;
}

/* Store a whole list from place @at on. Returns its number of addresses, 0 if they do not fit. */
static unsigned take_list(struct net_filter *f, const struct net_mac_list *list, unsigned at,
                          unsigned mode)
{
	bool overflow = list->count > NET_FILTER_MACS - at;

	set_mode(f, mode, overflow);
	if (overflow)
		return 0;
	for (unsigned i = 0; i < list->count; i++)
		set(f->macs[at + i], mac_number(list->macs + (size_t)i * NET_MAC_LEN));
	return list->count;
}

void net_filter_table(struct net_filter *f, const struct net_mac_list *unicast,
                      const struct net_mac_list *multicast)
{
	unsigned taken;

	begin_change(f);
	taken = take_list(f, unicast, 0, OVERFLOW_UNICAST);
	set(f->unicast, taken);
	set(f->multicast, take_list(f, multicast, taken, OVERFLOW_MULTICAST));
	changed(f);
}

int net_filter_address(struct net_filter *f, const uint8_t *data, size_t len)
{
	if (len < NET_MAC_LEN)
		return -EINVAL;
	begin_change(f);
	set(f->mac, mac_number(data));
	changed(f);
	return 0;
}

int net_filter_vlan(struct net_filter *f, uint8_t cmd, const uint8_t *data, size_t len)
{
	unsigned id, ids;

	if (len < 2 || cmd > VIRTIO_NET_CTRL_VLAN_DEL)
		return -EINVAL;
	id = load_le16(data);
	if (id >= NET_VLANS)
		return -EINVAL;
	begin_change(f);
	ids = get(f->vlans[id / 32]);
	set(f->vlans[id / 32],
	    cmd == VIRTIO_NET_CTRL_VLAN_ADD ? ids | BIT(id % 32) : ids & ~BIT(id % 32));
	changed(f);
	return 0;
}

void net_filter_own(struct net_filter *f, uint8_t mac[NET_MAC_LEN])
{
	uint64_t number = get(f->mac);

	for (unsigned i = 0; i < NET_MAC_LEN; i++)
		mac[i] = (uint8_t)(number >> 8 * i);
}

static bool in_table(struct net_filter *f, unsigned from, unsigned n, uint64_t mac)
{
	for (unsigned i = from; i < from + n && i < NET_FILTER_MACS; i++)
		if (get(f->macs[i]) == mac)
			return true;
	return false;
}

static bool vlan_passes(struct net_filter *f, const uint8_t *head, size_t len)
{
	unsigned id;

	if (len < 18 || head[12] != 0x81 || head[13] != 0x00)
		return true;
	id = (unsigned)(head[14] & 0x0f) << 8 | head[15];
	return get(f->vlans[id / 32]) & BIT(id % 32);
}

static bool passes(struct net_filter *f, const uint8_t *head, size_t len)
{
	unsigned modes = get(f->modes);
	uint64_t mac;

	if (modes & BIT(PROMISC))
		return true;
	if (len < 14 || ((modes & BIT(VLANS)) && !vlan_passes(f, head, len)))
		return false;
	mac = mac_number(head);
	if (mac == BROADCAST)
		return !(modes & BIT(NOBCAST));
	if (head[0] & 1)
		return !(modes & BIT(NOMULTI)) &&
		       ((modes & (BIT(ALLMULTI) | BIT(OVERFLOW_MULTICAST))) ||
		        in_table(f, get(f->unicast), get(f->multicast), mac));
	return !(modes & BIT(NOUNI)) &&
	       ((modes & (BIT(ALLUNI) | BIT(OVERFLOW_UNICAST))) || mac == get(f->mac) ||
	        in_table(f, 0, get(f->unicast), mac));
}

bool net_filter_passes(struct net_filter *f, const uint8_t *head, size_t len)
{
	unsigned before;
	bool answer;

	do {
		before = atomic_load_explicit(&f->sequence, memory_order_acquire);
		answer = passes(f, head, len);
		atomic_thread_fence(memory_order_acquire);
	} while ((before & 1) || before != get(f->sequence));
	return answer;
}
