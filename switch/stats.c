/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "switch/stats.h"
#include "switch/uplink.h"
#include "vmm/util.h"

static const struct {
	const char *name;
	size_t offset;
} counters[] = {
#define C(name)                                           \
	{                                                 \
#name, offsetof(struct sw_counters, name) \
	}
	C(rx_packets), C(rx_bytes),   C(rx_malformed), C(rx_disabled), C(rx_filtered),
	C(rx_flooded), C(tx_packets), C(tx_bytes),     C(tx_full),     C(tx_size),
	C(tx_offload), C(tx_down),    C(wakeups),      C(calls),
#undef C
};

void stats_print(const struct sw *sw, FILE *out)
{
	const struct fabric *f = &sw->fabric;

	for (unsigned i = 0; i < f->nr_ports; i++) {
		const struct sw_port *p = f->ports[i];

		fprintf(out, "port %s state %s\n", p->name, p->up ? "up" : "down");
		for (size_t c = 0; c < ARRAY_SIZE(counters); c++)
			fprintf(out, "port %s %s %" PRIu64 "\n", p->name, counters[c].name,
			        *(const uint64_t *)((const char *)&p->counters +
			                            counters[c].offset));
		for (unsigned k = 0; k < sw->nr_uplinks; k++)
			if (uplink_port(sw->uplinks[k]) == p)
				uplink_print(sw->uplinks[k], out);
		fprintf(out, "port %s stations %u\n", p->name, f->table.count[p->index]);
	}
	fprintf(out, "switch moves %" PRIu64 "\n", f->table.moves);
	fprintf(out, "switch refused %" PRIu64 "\n", f->table.refused);
	fflush(out);
}
