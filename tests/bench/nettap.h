/* SPDX-License-Identifier: BSD-2-Clause */
/* nettap: the place where the net bench happens: a network namespace with one tap in it, frames,
 * and a generator that keeps the tap's queue full. */
#ifndef TRIVM_TESTS_BENCH_NETTAP_H
#define TRIVM_TESTS_BENCH_NETTAP_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stdint.h>

#define NETTAP_NAME "tap0"
#define NETTAP_HDR  ((unsigned)sizeof(struct virtio_net_hdr_v1))
#define NETTAP_LONG 1518  /* above it a frame is a TCP segment that someone has to cut */
#define NETTAP_MAX  65214 /* 45 segments of 1448 bytes and their headers */

/*
 * Go into a network namespace of our own (without root: into a user namespace, too), with a
 * persistent tap in it that is up. Before any thread is there. NULL, or why it cannot be.
 */
const char *nettap_enter(void);

/* One more such tap there. NULL, or why it cannot be. */
const char *nettap_add(const char *name);

/* The tap as a program uses it: headers of NETTAP_HDR bytes, all offloads if @segments. -1. */
int nettap_open(bool segments);

/* How many frames wait in the tap before more are dropped. */
int nettap_queue_length(int frames);

/* A frame of @size bytes with its header in front, as one that comes from or goes to the guest. */
void nettap_frame(uint8_t *buf, unsigned size);

/*
 * A thread on CPU @cpu that fills the tap's queue with frames of @size bytes, sleeps a little, and
 * fills it again, above all others in priority: whoever reads the tap always finds frames, on the
 * same CPU or on another.
 */
int nettap_generate(unsigned size, int cpu);
void nettap_generate_stop(void);

#endif
