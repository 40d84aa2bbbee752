/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest: what runs in the guests that compare measures (guest/exec, guest/peer.c), and what it
 * tells.
 */
#ifndef TRIVM_COMPARE_GUEST_H
#define TRIVM_COMPARE_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/err.h"

#define GUEST_ECHO_PORT  7
#define GUEST_STATS_PORT 8

/*
 * Write to @path the initrd @base (of the default guest, or one that has its /init and programs)
 * with our files behind it. 0 or a negative errno.
 */
int guest_make_initrd(const char *base, const char *path, struct err *err);

/* Told once. */
struct guest_info {
	char release[80]; /* of its kernel */
	char iperf3[16];
	uint64_t features; /* as its driver negotiated them */
	unsigned queue_size, pairs;
};

/* Its own counts. */
struct guest_counts {
	bool has_kicks; /* the driver counts them */
	uint64_t kicks;
	uint64_t interrupts; /* of the NIC's queues */
	uint64_t rx_packets, tx_packets;
};

/*
 * Ask the guest at @address (an IPv4 one in text), again and again until it answers, for at most
 * @ms. -ETIMEDOUT; -EINTR: compare is to stop; -EPROTO: it talks nonsense.
 */
int guest_ask_info(const char *address, unsigned ms, struct guest_info *info);
int guest_ask_counts(const char *address, unsigned ms, struct guest_counts *counts);

/* What those do with the answers' text. -EPROTO. */
int guest_parse_info(const char *text, struct guest_info *info);
int guest_parse_counts(const char *text, struct guest_counts *counts);

/* A UDP socket connected to @port of @address, whose reads wait for at most @ms; or -errno. */
int guest_socket(const char *address, unsigned port, unsigned ms);

#endif
