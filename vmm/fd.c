/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <unistd.h>

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

int fd_shared_memory(const char *name, uint64_t size, unsigned flags)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | flags), rc = 0;
	bool sealed = fd >= 0;

	if (fd < 0 && errno == EINVAL && (flags & MFD_HUGETLB))
		fd = memfd_create(name, MFD_CLOEXEC | flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0 ||
	    (sealed && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)) {
		rc = -errno;
		fd_close(&fd);
	}
	return rc < 0 ? rc : fd;
}

void fd_raise_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

int fd_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

void fd_signal(int eventfd)
{
	uint64_t one = 1;

	/* EAGAIN means that the count is at its end: the reader is woken all the same. */
	if (write(eventfd, &one, sizeof(one)) < 0)
		return;
}

int fd_peek(int eventfd, uint64_t *count)
{
	static const char key[] = "\neventfd-count:";
	char path[40], text[512];
	const char *at;
	int n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", eventfd);
	n = fd_read_text(path, text, sizeof(text));
	if (n < 0)
		return n;
	at = strstr(text, key);
	if (!at)
		return -EINVAL;
	*count = strtoull(at + strlen(key), NULL, 16);
	return 0;
}

int fd_read_full(int fd, void *buf, size_t len)
{
	char *at = buf;

	while (len) {
		ssize_t n = read(fd, at, len);

		if (n == 0)
			return -ENODATA;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_write_full(int fd, const void *buf, size_t len)
{
	const char *at = buf;

	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_pread_full(int fd, void *buf, size_t len, off_t offset)
{
	char *at = buf;

	while (len) {
		ssize_t n = pread(fd, at, len, offset);

		if (n == 0)
			return -ENODATA;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		offset += n;
		len -= (size_t)n;
	}
	return 0;
}

int fd_read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), error = ENODATA;
	size_t len = 0;
	ssize_t n = 0;

	if (fd < 0)
		error = errno;
	while (fd >= 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += (size_t)n;
	if (n < 0)
		error = errno;
	fd_close(&fd);
	buf[len] = '\0';
	return len > 0 ? (int)len : -error;
}
