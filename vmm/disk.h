/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk: one `--disk`: a backing, the virtio-blk device and its transport, put together and taken
 * apart in reverse.
 */
#ifndef TRIVM_VMM_DISK_H
#define TRIVM_VMM_DISK_H

#include "devices/block/backing.h"
#include "devices/block/blk.h"
#include "vmm/disk_options.h"
#include "vmm/err.h"
#include "vmm/memory.h"
#include "vmm/virtio_slots.h"

struct disk {
	char name[32];                      /* disk0, disk1 ..., or what the user called it */
	const struct disk_options *options; /* borrowed */
	struct backing backing;
	struct blk blk;
	struct virtio_transport transport;
};

/*
 * Build @disks[@index]; those before it are built already, and none of them may have the same file,
 * unless both are read-only. @options is kept by the caller. Main thread, before the guest runs. On
 * an error nothing is left. Destroying is idempotent.
 */
int disk_build(struct disk *disks, unsigned index, const struct disk_options *options,
               unsigned cpus, struct virtio_slots *slots, const struct memory *mem,
               struct err *err);
void disk_destroy(struct disk *disk);

#endif
