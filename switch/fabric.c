/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a batch comes in, each frame is looked up and put on the lists of the ports
 * that it goes to, and then each of these ports is called once for all of its frames. So what
 * delivering costs once (looking at a ring's index, publishing, notifying) is paid once a batch.
 *
 * Most frames of a batch have the same two addresses as the one before. A port remembers its last
 * decision; it holds as long as the table's generation and clock are the same.
 *
 * A full port. If a batch is for that port alone, the sender may keep what does not fit: its ring
 * fills, and its driver waits, as it would for a real wire. This is bounded in time (sw.c). With
 * several receivers in a batch there is no such point at which to stop, and the frames that do not
 * fit are dropped, as by any switch.
 *
 * What a call costs is bounded (SW_COST_MAX), whatever the frames are: a driver could otherwise
 * stop the switch for all others by 32 broadcasts of 64 KiB that have to be cut into segments for
 * each of 63 receivers. The cost is estimated before anything is copied, receiver by receiver, so
 * that one call overruns the bound by one frame for one receiver at most.
 *
 * Learning and forwarding are those of an IEEE 802.1Q bridge: a frame goes to the port where its
 * destination was last heard, and to all ports of its VLAN if that is not known or is a group.
 * Frames for a bridge itself (01:80:c2:00:00:00 to :0f, 8.6.3) go nowhere.
 */
#include "switch/fabric.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "devices/virtio/queue.h"

#define MAC_MASK UINT64_C(0xffffffffffff)

int fabric_init(struct fabric *f, uint32_t age)
{
	uint64_t seed = 0;

	memset(f, 0, sizeof(*f));
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return -errno;
	return mac_table_init(&f->table, age, seed);
}

void fabric_destroy(struct fabric *f)
{
	mac_table_destroy(&f->table);
}

int fabric_add(struct fabric *f, struct sw_port *port)
{
	if (f->nr_ports == SW_PORTS_MAX)
		return -ENOSPC;
	port->index = f->nr_ports;
	port->last_port = MAC_TABLE_NONE;
	port->last_generation = f->table.generation - 1;
	f->ports[f->nr_ports++] = port;
	return 0;
}

void fabric_port_down(struct fabric *f, struct sw_port *port)
{
	port->up = false;
	mac_table_forget(&f->table, port->index);
}

static bool may_reach(const struct sw_port *from, const struct sw_port *to)
{
	return to != from && to->vlan == from->vlan && !(from->isolated && to->isolated);
}

static void enqueue(struct fabric *f, struct sw_port *to, struct sw_frame *frame)
{
	if (to->nr_out == 0)
		f->touched[f->nr_touched++] = to;
	to->out[to->nr_out++] = frame;
}

/* What handing @frame to one receiver may cost: finishing its offloads included. */
static uint32_t cost_of(const struct sw_frame *frame)
{
	uint32_t cost = frame->len + SW_COST_FRAME;

	if (!frame->offload)
		return cost;
	cost += frame->len;
	if (frame->hdr.gso_size)
		cost += frame->len / le16toh(frame->hdr.gso_size) * SW_COST_FRAME;
	return cost;
}

/* To all that may have it, from the @from_port-th on. Returns where it stopped, or 0: all of them. */
static unsigned flood(struct fabric *f, struct sw_port *from, struct sw_frame *frame,
                      unsigned from_port, bool *any)
{
	for (unsigned i = from_port; i < f->nr_ports; i++) {
		if (!f->ports[i]->up || !may_reach(from, f->ports[i]))
			continue;
		if (f->cost >= SW_COST_MAX)
			return i;
		enqueue(f, f->ports[i], frame);
		f->cost += cost_of(frame);
		*any = true;
	}
	return 0;
}

/* The two addresses, each byte read once. */
static void addresses(const struct sw_frame *frame, uint64_t *dst, uint64_t *src)
{
	const uint8_t *at = frame->iov[0].iov_base;
	uint8_t head[SW_FRAME_MIN];

	if (__builtin_expect(frame->iov[0].iov_len < SW_FRAME_MIN, 0)) {
		iov_copy_out(frame->iov, frame->nr, 0, head, sizeof(head));
		at = head;
	}
	memcpy(dst, at, sizeof(*dst));
	memcpy(src, at + 6, sizeof(*src));
	*dst &= MAC_MASK;
	*src &= MAC_MASK;
}

static bool is_reserved(uint64_t dst)
{
	return (dst & UINT64_C(0xf0ffffffffff)) == UINT64_C(0x000000c28001);
}

/* Learn @src and find @dst, unless that is what this port did last. */
static int decide(struct fabric *f, struct sw_port *from, mac_key_t src, mac_key_t dst)
{
	struct mac_table *t = &f->table;
	bool fresh = from->last_generation == t->generation && from->last_now == t->now;

	if (__builtin_expect(fresh && src == from->last_src && dst == from->last_dst, 1))
		return from->last_port;
	if (!fresh || src != from->last_src)
		mac_table_learn(t, src, from->index);
	from->last_src = src;
	from->last_dst = dst;
	from->last_port = mac_key_is_group(dst) ? MAC_TABLE_NONE : mac_table_find(t, dst);
	from->last_generation = t->generation;
	from->last_now = t->now;
	return from->last_port;
}

static enum sw_fate route(struct fabric *f, struct sw_port *from, struct sw_frame *frame,
                          unsigned *resume)
{
	unsigned first = *resume;
	bool any = false;
	uint64_t vlan = (uint64_t)from->vlan << 48;
	uint64_t src, dst;
	int port;

	*resume = 0;
	f->cost += SW_COST_FRAME;
	addresses(frame, &dst, &src);
	if (__builtin_expect(mac_key_is_group(src), 0))
		return SW_MALFORMED;
	port = decide(f, from, src | vlan, dst | vlan);
	if (port == MAC_TABLE_NONE) {
		if (is_reserved(dst))
			return SW_FILTERED;
		*resume = flood(f, from, frame, first, &any);
		return any || first ? SW_FLOODED : SW_FILTERED;
	}
	if (!may_reach(from, f->ports[port]))
		return SW_FILTERED;
	if (f->ports[port]->up) {
		enqueue(f, f->ports[port], frame);
		f->cost += cost_of(frame);
	} else {
		f->ports[port]->counters.tx_down++;
	}
	return SW_FORWARDED;
}

/* What came in, and was dealt with. */
static void count(struct sw_counters *c, const struct sw_frame *frames, unsigned n)
{
	uint64_t of[SW_FATES] = {0}, bytes = 0;

	for (unsigned i = 0; i < n; i++) {
		of[frames[i].fate]++;
		bytes += frames[i].fate == SW_MALFORMED ? 0 : frames[i].len;
	}
	c->rx_malformed += of[SW_MALFORMED];
	c->rx_filtered += of[SW_FILTERED];
	c->rx_flooded += of[SW_FLOODED];
	c->rx_packets += n - of[SW_MALFORMED];
	c->rx_bytes += bytes;
}

unsigned fabric_forward(struct fabric *f, struct sw_port *from, struct sw_frame *frames, unsigned n,
                        unsigned *resume)
{
	bool resumed = *resume != 0, whole = true, may_wait;
	unsigned routed = 0;

	f->full = NULL;
	f->cost = 0;
	while (routed < n && f->cost < SW_COST_MAX && whole) {
		frames[routed].fate = route(f, from, &frames[routed], resume);
		whole = *resume == 0;
		routed += whole;
	}
	may_wait = f->nr_touched == 1 && whole && !resumed;
	for (unsigned i = 0; i < f->nr_touched; i++) {
		struct sw_port *to = f->touched[i];
		unsigned nr = to->nr_out, done;

		to->nr_out = 0;
		done = to->ops->deliver(to, to->out, nr, may_wait && !to->stuck);
		if (done < nr) {
			f->full = to;
			routed = (unsigned)(to->out[done] - frames);
		}
	}
	f->nr_touched = 0;
	count(&from->counters, frames, routed);
	return routed;
}
