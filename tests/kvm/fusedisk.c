/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fusedisk DIRECTORY BYTES - mounts a file system in user space with one file, DIRECTORY/disk, of zeros;
 * what is written to it is forgotten. Prints "mounted" and serves until it is killed.
 *
 * While this process is stopped (SIGSTOP), every read and write of the file waits, as if the host's
 * storage did not answer; after SIGCONT they go on. The kernel keeps requests that were not read from
 * /dev/fuse killable, so a process that waits for them can still be ended.
 *
 * Wants to be root of a mount namespace of its own (unshare -rm), and /dev/fuse.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FILE_NODE 2
#define IO_MAX    (1u << 17)

static int dev;
static uint64_t size;

static void reply(const struct fuse_in_header *in, int error, const void *body, size_t len)
{
	struct fuse_out_header out = {
		.len = (uint32_t)(sizeof(out) + len), .error = error, .unique = in->unique};
	struct iovec iov[] = {{&out, sizeof(out)}, {(void *)body, len}};

	/* ENOENT: the process that asked was killed. */
	if (writev(dev, iov, 2) < 0 && errno != ENOENT)
		perror("fusedisk: reply");
}

static struct fuse_attr attributes(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.size = node == FILE_NODE ? size : 0,
		.mode = node == FILE_NODE ? S_IFREG | 0666 : S_IFDIR | 0755,
		.nlink = 1,
		.blksize = 4096,
	};
}

static void serve(const struct fuse_in_header *in, const void *arg)
{
	static const char zeros[IO_MAX];

	switch (in->opcode) {
	case FUSE_INIT:
		reply(in, 0,
		      &(struct fuse_init_out){.major = 7,
		                              .minor = 31,
		                              .max_background = 16,
		                              .congestion_threshold = 12,
		                              .max_write = 1u << 16,
		                              .time_gran = 1},
		      sizeof(struct fuse_init_out));
		break;
	case FUSE_LOOKUP: {
		struct fuse_entry_out out = {.nodeid = FILE_NODE, .attr = attributes(FILE_NODE)};

		reply(in, strcmp(arg, "disk") == 0 ? 0 : -ENOENT, &out,
		      strcmp(arg, "disk") == 0 ? sizeof(out) : 0);
		break;
	}
	case FUSE_GETATTR:
		reply(in, 0, &(struct fuse_attr_out){.attr = attributes(in->nodeid)},
		      sizeof(struct fuse_attr_out));
		break;
	case FUSE_OPEN: /* without the page cache: each access comes here */
		reply(in, 0, &(struct fuse_open_out){.open_flags = FOPEN_DIRECT_IO},
		      sizeof(struct fuse_open_out));
		break;
	case FUSE_READ:
		reply(in, 0, zeros, ((const struct fuse_read_in *)arg)->size);
		break;
	case FUSE_WRITE:
		reply(in, 0,
		      &(struct fuse_write_out){.size = ((const struct fuse_write_in *)arg)->size},
		      sizeof(struct fuse_write_out));
		break;
	case FUSE_FSYNC:
	case FUSE_RELEASE:
		reply(in, 0, NULL, 0);
		break;
	case FUSE_FORGET:
	case FUSE_INTERRUPT: /* neither has a reply */
		break;
	default: /* FUSE_FLUSH too: from then on a process that ends does not wait for one */
		reply(in, -ENOSYS, NULL, 0);
		break;
	}
}

int main(int argc, char **argv)
{
	static char request[sizeof(struct fuse_in_header) + sizeof(struct fuse_write_in) + IO_MAX];
	char options[80];

	if (argc != 3) {
		fprintf(stderr, "usage: fusedisk DIRECTORY BYTES\n");
		return 2;
	}
	size = strtoull(argv[2], NULL, 0);
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		perror("fusedisk: /dev/fuse");
		return 1;
	}
	snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dev);
	if (mount("fusedisk", argv[1], "fuse", MS_NOSUID | MS_NODEV, options) < 0) {
		perror("fusedisk: mount");
		return 1;
	}
	puts("mounted");
	fflush(stdout);
	for (;;) {
		ssize_t n = read(dev, request, sizeof(request));

		if (n < 0 && (errno == EINTR || errno == ENOENT))
			continue;
		if (n < (ssize_t)sizeof(struct fuse_in_header))
			return n < 0 && errno != ENODEV; /* ENODEV: unmounted */
		serve((struct fuse_in_header *)request, request + sizeof(struct fuse_in_header));
	}
}
