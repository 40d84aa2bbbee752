/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: an eventfd that another process has, too, is never read or written as if it
 * were ours. O_NONBLOCK belongs to the open file, which both processes share: the other one can
 * clear it at any moment, and then a read() of an empty eventfd, or a write() to one whose count is
 * at its maximum, waits for that process.
 *
 * Reading. preadv2() with RWF_NOWAIT asks for a read that does not wait, whatever the file's flags
 * say. Eventfds know it since Linux 5.8. Where the kernel does not know it (and for timerfds)
 * poll() comes first; between the two calls another process could still empty the eventfd.
 *
 * Writing. There is no such flag for writes to an eventfd. But the kernel itself adds to an eventfd
 * without ever waiting, when an asynchronous read that names it (IOCB_FLAG_RESFD) is complete. So
 * one byte of a memfd of ours is read that way, which is complete when io_submit() returns. It
 * costs 2 us instead of 0.3. Without asynchronous I/O in the kernel poll() comes first, as above.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/fd.h"

/* More than threads that signal at once: io_submit() then never lacks room for a result. */
#define AIO_EVENTS 256

static pthread_mutex_t aio_lock = PTHREAD_MUTEX_INITIALIZER;
static aio_context_t aio_context;        /* 0: none */
static pid_t aio_owner;                  /* a child of fork() does not inherit the context */
static int aio_file = -1, aio_null = -1; /* readable; for writing only */

static bool ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, 0) == 1 && (p.revents & events);
}

uint64_t fd_drain(int fd)
{
	uint64_t count;
	struct iovec iov = {&count, sizeof(count)};
	ssize_t n = preadv2(fd, &iov, 1, -1, RWF_NOWAIT);

	if (n < 0 && errno != EAGAIN && errno != EINTR && ready(fd, POLLIN))
		n = read(fd, &count, sizeof(count));
	return n == sizeof(count) ? count : 0;
}

/* The context, made at the first use; 0: the kernel has none for us. */
static aio_context_t context(int *file)
{
	aio_context_t made;

	pthread_mutex_lock(&aio_lock);
	if (aio_owner != getpid()) {
		aio_owner = getpid();
		aio_context = 0;
		if (aio_file < 0)
			aio_file = fd_shared_memory("signal", 1, 0);
		if (aio_null < 0)
			aio_null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (aio_file >= 0 && syscall(SYS_io_setup, AIO_EVENTS, &aio_context) < 0)
			aio_context = 0;
	}
	made = aio_context;
	*file = aio_file;
	pthread_mutex_unlock(&aio_lock);
	return made;
}

/* True: the kernel has added 1 to @eventfd. */
static bool signal_by_aio(int eventfd)
{
	struct timespec now = {0};
	struct io_event done[4];
	uint8_t byte;
	int file;
	aio_context_t ctx = context(&file);
	struct iocb read_one = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)file,
		.aio_buf = (uintptr_t)&byte,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)eventfd,
	};
	struct iocb *list = &read_one;

	if (!ctx || syscall(SYS_io_submit, ctx, 1, &list) != 1)
		return false;
	/* Make room in the context; the results say nothing. */
	syscall(SYS_io_getevents, ctx, 0, 4, done, &now);
	return true;
}

void fd_signal_shared(int eventfd)
{
	if (!signal_by_aio(eventfd) && ready(eventfd, POLLOUT))
		fd_signal(eventfd);
}

/*
 * An asynchronous read that names @fd as the eventfd to signal, of a file that cannot be read. The
 * kernel looks at the eventfd first: EINVAL if it is none, EBADF for the file otherwise.
 */
static int is_eventfd_by_aio(int fd)
{
	int file;
	uint8_t byte;
	aio_context_t ctx = context(&file);
	struct iocb read_one = {
		.aio_lio_opcode = IOCB_CMD_PREAD,
		.aio_fildes = (uint32_t)aio_null,
		.aio_buf = (uintptr_t)&byte,
		.aio_nbytes = 1,
		.aio_flags = IOCB_FLAG_RESFD,
		.aio_resfd = (uint32_t)fd,
	};
	struct iocb *list = &read_one;

	if (!ctx || aio_null < 0 || syscall(SYS_io_submit, ctx, 1, &list) >= 0)
		return -ENOSYS;
	return errno == EBADF ? 1 : errno == EINVAL ? 0 : -ENOSYS;
}

int fd_is_eventfd(int fd)
{
	static const char eventfd_name[] = "anon_inode:[eventfd]";
	char path[32], name[sizeof(eventfd_name) + 1];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, name, sizeof(name));
	if (n < 0)
		return is_eventfd_by_aio(fd);
	return n == sizeof(eventfd_name) - 1 && memcmp(name, eventfd_name, (size_t)n) == 0;
}

void fd_shared_prepare(void)
{
	int file;

	context(&file);
}

int fd_renew(int eventfd)
{
	int fresh = fd_eventfd(), rc = 0;

	if (fresh < 0)
		return fresh;
	if (dup3(fresh, eventfd, O_CLOEXEC) < 0)
		rc = -errno;
	fd_close(&fresh);
	return rc;
}
