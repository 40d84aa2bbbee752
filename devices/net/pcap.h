/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcap: a capture of the frames that pass a datapath's thread, in libpcap's classic format with
 * nanoseconds (Ethernet). A thread of the capture's own writes the file, so that a reader or a disk
 * that stands still holds up neither the datapath nor whoever stops it.
 */
#ifndef TRIVM_DEVICES_NET_PCAP_H
#define TRIVM_DEVICES_NET_PCAP_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

struct iovec;
struct pcap_writer;

/*
 * Begin a capture to @path, which is emptied. 0 with *@pcap, or a negative errno: -EBUSY if another
 * capture writes to the file, -ENXIO if it is a FIFO without a reader. Main thread.
 */
int pcap_open(struct pcap_writer **pcap, const char *path, struct err *err);

/*
 * Record one frame of @len bytes, which lies in @iov behind @skip bytes that are not recorded (the
 * virtio-net header). Any thread. If the file does not keep up, the caller waits PCAP_PATIENCE_MS
 * once; from then on frames that find no room are left out and counted, until there is room.
 */
#define PCAP_PATIENCE_MS 200
void pcap_frame(struct pcap_writer *pcap, const struct iovec *iov, unsigned n, size_t skip,
                size_t len);

/* Wait at most @ms until every frame so far is in the file. Returns false if not. Any thread. */
bool pcap_sync(struct pcap_writer *pcap, unsigned ms);

/* End the capture: what has not been written after PCAP_CLOSE_MS is lost, which is logged. NULL is
 * ignored. Main thread; no pcap_frame() is running. */
#define PCAP_CLOSE_MS 500
void pcap_close(struct pcap_writer *pcap);

#endif
