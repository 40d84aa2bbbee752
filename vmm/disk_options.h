/* SPDX-License-Identifier: BSD-2-Clause */
/* disk_options: what stands behind `--disk`. Strings are copied. */
#ifndef TRIVM_VMM_DISK_OPTIONS_H
#define TRIVM_VMM_DISK_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/block/blk.h"
#include "vmm/err.h"
#include "vmm/virtio_options.h"

struct disk_options {
	char path[1024];
	bool ro, direct, packed, discard;
	bool raw;        /* format=raw: the user says so, whatever the file begins with */
	unsigned queues; /* 0: one for each vCPU, up to DISK_QUEUES_AUTO */
	uint16_t queue_size;
	char serial[VIRTIO_BLK_ID_BYTES + 1]; /* "": the disk's id */
	char id[32];                          /* "": disk0, disk1 ... */
	struct virtio_options virtio;
};

#define DISK_QUEUES_AUTO 4

/*
 * "FILE[,WORD...]": words are ro, direct and KEY=VALUE; a comma in FILE's name is written twice.
 * -EINVAL with the word, its value and what was expected.
 */
int disk_options_parse(struct disk_options *o, const char *text, struct err *err);

/*
 * Refuse an image of another format than raw, with the command that converts it, unless the user
 * said format=raw. -EINVAL. Once, before the guest runs for the first time: what the guest itself
 * writes to its disk does not keep it from booting again. Main thread.
 */
int disk_options_check_format(const struct disk_options *o, struct err *err);

#endif
