/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one table of signatures. A raw disk may begin with any bytes, so the table
 * has only formats whose container would be useless, and in danger, as a raw disk: the guest finds
 * no partition in a container, and what it writes destroys the container. A user who wants just
 * that says format=raw. The data are the user's, but a guest may have written them before: they are
 * compared here, never interpreted.
 */
#include "devices/block/image_format.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/util.h"

#define QEMU_IMG  "qemu-img convert -O raw"
#define RAW_NAME  "disk.raw"
#define TO_STDOUT "> " RAW_NAME

static const struct signature {
	struct image_format format;
	bool at_end; /* @offset counts from IMAGE_FORMAT_TAIL bytes before the end */
	uint16_t offset;
	uint8_t len;
	const char *bytes;
} signatures[] = {
	{{"qcow", QEMU_IMG, RAW_NAME}, false, 0, 8, "QFI\xfb\0\0\0\1"},
	{{"qcow2", QEMU_IMG, RAW_NAME}, false, 0, 4, "QFI\xfb"},
	{{"QED", QEMU_IMG, RAW_NAME}, false, 0, 4, "QED\0"},
	{{"VMDK", QEMU_IMG, RAW_NAME}, false, 0, 4, "KDMV"},
	{{"VMDK", QEMU_IMG, RAW_NAME}, false, 0, 4, "COWD"},
	{{"VMDK", QEMU_IMG, RAW_NAME}, false, 0, 21, "# Disk DescriptorFile"},
	{{"VDI", QEMU_IMG, RAW_NAME}, false, 64, 4, "\x7f\x10\xda\xbe"},
	{{"VHDX", QEMU_IMG, RAW_NAME}, false, 0, 8, "vhdxfile"},
	{{"VHD", QEMU_IMG, RAW_NAME}, false, 0, 8, "conectix"},
	{{"VHD", QEMU_IMG " -f vpc", RAW_NAME}, true, 0, 8, "conectix"},
	{{"Parallels", QEMU_IMG, RAW_NAME}, false, 0, 16, "WithoutFreeSpace"},
	{{"Parallels", QEMU_IMG, RAW_NAME}, false, 0, 16, "WithouFreSpacExt"},
	{{"Apple disk (DMG)", QEMU_IMG " -f dmg", RAW_NAME}, true, 0, 4, "koly"},
	{{"gzip-compressed", "gzip -dc", TO_STDOUT}, false, 0, 3, "\x1f\x8b\x08"},
	{{"xz-compressed", "xz -dc", TO_STDOUT},
         false,
         0,
         6,
         "\xfd"
         "7zXZ\0"},
	{{"zstd-compressed", "zstd -dc", TO_STDOUT}, false, 0, 4, "\x28\xb5\x2f\xfd"},
	{{"bzip2-compressed", "bzip2 -dc", TO_STDOUT}, false, 4, 6, "1AY&SY"},
};

static bool matches(const struct signature *s, const uint8_t *data, size_t len)
{
	return len >= (size_t)s->offset + s->len && !memcmp(data + s->offset, s->bytes, s->len);
}

const struct image_format *image_format_of(const uint8_t *head, size_t head_len,
                                           const uint8_t *tail, size_t tail_len)
{
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		const struct signature *s = &signatures[i];

		if (s->at_end ? matches(s, tail, tail_len) : matches(s, head, head_len))
			return &s->format;
	}
	return NULL;
}

/* The size of a file or block device; 0: unknown. */
static uint64_t size_of(int fd)
{
	uint64_t size = 0;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return 0;
	if (S_ISREG(st.st_mode))
		return (uint64_t)st.st_size;
	return S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &size) == 0 ? size : 0;
}

const struct image_format *image_format_of_file(const char *path)
{
	uint8_t head[IMAGE_FORMAT_HEAD], tail[IMAGE_FORMAT_TAIL];
	const struct image_format *format = NULL;
	/* Not blocking: a FIFO is refused by whoever opens it as a disk, not waited for here. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint64_t size = fd < 0 ? 0 : size_of(fd);
	size_t len = min_u64(size, sizeof(head));

	if (len && fd_pread_full(fd, head, len, 0) == 0 &&
	    fd_pread_full(fd, tail, len, (off_t)(size - len)) == 0)
		format = image_format_of(head, len, tail, len);
	fd_close(&fd);
	return format;
}
