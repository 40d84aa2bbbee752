/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switchgen PATH: the switch with one vhost-user port and a second port that is a program: it sends
 * frames of 64 bytes as fast as the switch takes them. For measuring what goes out to a guest, as
 * testpmd does with --forward-mode=txonly behind its own back-end. Ends by a signal.
 */
#include <stdio.h>
#include <string.h>

#include "switch/sw.h"

#define ROUNDS 1024 /* batches between two turns of the loop, which then looks at an empty ring */

static unsigned nobody(struct sw_port *port, struct sw_frame *const *frames, unsigned n,
                       bool may_wait)
{
	(void)frames;
	(void)may_wait;
	port->counters.tx_down += n;
	return n;
}

static const struct sw_port_ops ops = {.deliver = nobody};

int main(int argc, char **argv)
{
	static uint8_t data[SW_BATCH][64];
	static struct sw sw;
	static struct sw_port port = {.ops = &ops, .name = "generator"};
	struct guest_config config = {.path = argv[1], .server = true, .id = "guest"};
	struct iovec iov[SW_BATCH];
	struct sw_frame frames[SW_BATCH];
	unsigned resume = 0;
	struct guest *g;
	struct err err = {""};

	if (argc != 2 || sw_init(&sw, 300, SW_POLL_FOREVER) < 0 ||
	    guest_create(&g, &sw, &config, &err) < 0 || guest_open(g, &err) < 0 ||
	    fabric_add(&sw.fabric, &port) < 0) {
		fprintf(stderr, "switchgen: %s\n", err.msg);
		return 1;
	}
	sw.wait_ms = 0;
	for (unsigned i = 0; i < SW_BATCH; i++) {
		memcpy(data[i], "\x02\0\0\0\0\x0a\x02\0\0\0\0\x0b\x88\xb5", 14);
		iov[i] = (struct iovec){data[i], sizeof(data[i])};
	}
	for (;;) {
		/* A station that is known, so that it is not a flood. */
		if (g->port.up)
			mac_table_learn(&sw.fabric.table, mac_key(data[0], 0), g->port.index);
		for (unsigned round = 0; round < ROUNDS && g->port.up; round++) {
			for (unsigned i = 0; i < SW_BATCH; i++)
				frames[i] = (struct sw_frame){.iov = &iov[i], .nr = 1, .len = 64};
			fabric_forward(&sw.fabric, &port, frames, SW_BATCH, &resume);
		}
		if (sw_turn(&sw, !g->port.up) < 0)
			return 1;
	}
}
