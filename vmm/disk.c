/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/disk.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vmm/util.h"

/* The same file twice: backing_open() would take this very VM for another that has it locked. */
static int check_other_disks(const struct disk *disks, unsigned index, const struct disk_options *o,
                             struct err *err)
{
	for (unsigned i = 0; i < index; i++) {
		const struct disk *other = &disks[i];

		if ((o->ro && other->backing.ro) || !backing_is(&other->backing, o->path))
			continue;
		return err_set(err, -EBUSY,
		               "--disk %.200s: this virtual machine has it already, as %s (--disk "
		               "%.200s); give it once, or ,ro with both",
		               o->path, other->name, other->options->path);
	}
	return 0;
}

int disk_build(struct disk *disks, unsigned index, const struct disk_options *o, unsigned cpus,
               struct virtio_slots *slots, const struct memory *mem, struct err *err)
{
	struct disk *disk = &disks[index];
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
	disk->backing.fd = -1;
	disk->options = o;
	if (o->id[0])
		snprintf(disk->name, sizeof(disk->name), "%s", o->id);
	else
		snprintf(disk->name, sizeof(disk->name), "disk%u", index);
	rc = check_other_disks(disks, index, o, err);
	if (rc == 0)
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
