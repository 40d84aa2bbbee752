/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * offload: finish a frame whose sender left the checksum or the segmentation to someone else
 * (virtio 1.2, 5.1.6.2), for a receiver that does not take it as it is. TCP over IPv4 and IPv6,
 * and any checksum.
 */
#ifndef TRIVM_SWITCH_OFFLOAD_H
#define TRIVM_SWITCH_OFFLOAD_H

#include "switch/fabric.h"

/* More segments than this of one frame are refused: nobody's MSS is that small. */
#define OFFLOAD_SEGMENTS_MAX 256
#define OFFLOAD_HEADERS_MAX  512

/* Where it works; one frame at a time. */
struct offload {
	uint8_t frame[SW_FRAME_MAX];
	uint8_t headers[OFFLOAD_HEADERS_MAX];
};

/* A complete frame, valid during the call. False: there is no room for it, nor for others. */
typedef bool offload_fn(void *opaque, const struct sw_frame *frame);

/*
 * Call @emit for each of the complete frames that @f, which has f->offload, consists of, until it
 * returns false. How many frames it did not take (0: it has all), or -EINVAL: the contents are not
 * what the header says, and nothing was emitted. What is behind f->iov may change meanwhile: it is
 * copied first.
 */
int offload_finish(struct offload *o, const struct sw_frame *f, offload_fn *emit, void *opaque);

#endif
