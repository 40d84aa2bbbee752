/* SPDX-License-Identifier: BSD-2-Clause */
/* guest_image: the default guest's files, and the command that --exec puts into it. */
#ifndef TRIVM_VMM_GUEST_IMAGE_H
#define TRIVM_VMM_GUEST_IMAGE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/err.h"

struct guest_image {
	char kernel[PATH_MAX];
	char initrd[PATH_MAX];
};

/* Find it: $TRIVM_GUEST, then beside the executable, then in ../lib/trivm. The error says where it
 * looked. */
int guest_image_find(struct guest_image *image, struct err *err);

/* A file of such an archive; borrowed. */
struct guest_file {
	const char *name; /* in /trivm, at most GUEST_FILE_NAME_MAX bytes */
	const void *data;
	size_t len;
};

#define GUEST_FILE_NAME_MAX 32

/*
 * A cpio archive (newc, Documentation/driver-api/early-userspace/buffer-format.rst) with the folder
 * /trivm and @nr files in it, which may be executed. /trivm/exec is what the default guest runs.
 * *@data is the caller's to free(). -ENOMEM; -EINVAL: a name is too long.
 */
int guest_image_archive(const struct guest_file *files, size_t nr, uint8_t **data, size_t *len);

/* The same with /trivm/exec alone: a shell script with @command. */
int guest_image_exec_archive(const char *command, uint8_t **data, size_t *len);

#endif
