/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/disk.h"

#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

int disk_build(struct disk *disk, const struct disk_options *o, unsigned index, unsigned cpus,
               struct virtio_slots *slots, const struct memory *mem, struct err *err)
{
	const struct backing_config b = {.path = o->path, .ro = o->ro, .direct = o->direct};
	const struct blk_config c = {
		.name = disk->name,
		.serial = o->serial[0] ? o->serial : disk->name,
		.queues = o->queues ? o->queues : (unsigned)min_u64(cpus, DISK_QUEUES_AUTO),
		.queue_size = o->queue_size,
		.packed = o->packed,
		.discard = o->discard,
	};
	int rc;

	memset(disk, 0, sizeof(*disk));
	if (o->id[0])
		snprintf(disk->name, sizeof(disk->name), "%s", o->id);
	else
		snprintf(disk->name, sizeof(disk->name), "disk%u", index);
	rc = backing_open(&disk->backing, &b, err);
	if (rc == 0)
		rc = blk_init(&disk->blk, &c, &disk->backing, mem, err);
	if (rc == 0)
		rc = virtio_transport_add(&disk->transport, &disk->blk.dev, &o->virtio, slots, err);
	if (rc < 0)
		disk_destroy(disk);
	return rc;
}

/* The device first: it lets go of the transport's eventfds, and of the backing. */
void disk_destroy(struct disk *disk)
{
	blk_destroy(&disk->blk);
	virtio_transport_remove(&disk->transport);
	backing_close(&disk->backing);
}
