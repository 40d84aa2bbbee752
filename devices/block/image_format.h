/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * image_format: recognises disk images that are not raw, by the bytes that they begin or end with.
 */
#ifndef TRIVM_DEVICES_BLOCK_IMAGE_FORMAT_H
#define TRIVM_DEVICES_BLOCK_IMAGE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define IMAGE_FORMAT_HEAD 512 /* bytes from the file's start that decide */
#define IMAGE_FORMAT_TAIL 512 /* bytes from its end */

struct image_format {
	const char *name; /* for people: "qcow2" */
	const char *tool; /* the command that makes it raw, up to the file's name */
	const char *to;   /* what stands in that command behind the name */
};

/*
 * The format of a file that begins with @head and ends with @tail (of @head_len and @tail_len
 * bytes); NULL: taken for raw. A file system, a partition table and LUKS are raw.
 */
const struct image_format *image_format_of(const uint8_t *head, size_t head_len,
                                           const uint8_t *tail, size_t tail_len);

/*
 * The same for the file or block device at @path, which is opened for reading. NULL also if it
 * cannot be read: whoever opens it as a disk reports that.
 */
const struct image_format *image_format_of_file(const char *path);

#endif
