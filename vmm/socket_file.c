/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: from the look at a socket to the moment in which ours listens in its place a
 * lock on the folder is held. Without it two processes that start at once both find the old socket
 * dead, and the second would remove the first one's new socket. Anybody who may open a shared
 * folder may hold that lock, so nobody waits for it for ever.
 */
#include "vmm/socket_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"

#define BACKLOG 4
#define LOCK_MS 3000
#define LOOK_MS 10

int socket_file_lock(const char *path)
{
	const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000};
	char dir[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;
	uint64_t until = clock_ms() + LOCK_MS;
	int fd, rc;

	if (len >= sizeof(dir))
		return -ENAMETOOLONG;
	snprintf(dir, sizeof(dir), "%.*s", (int)len, path);
	fd = open(!slash ? "." : len ? dir : "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		rc = errno == EWOULDBLOCK && clock_ms() >= until ? -ETIMEDOUT : -errno;
		if (rc != -EWOULDBLOCK && rc != -EINTR) {
			fd_close(&fd);
			return rc;
		}
		nanosleep(&pause, NULL);
	}
	return fd;
}

/* Does a socket of that type answer at @addr? 0: no; 1: yes; negative: cannot tell */
static int answered(const struct sockaddr_un *addr, int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = fd < 0 || connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0 ? -errno
	                                                                                 : 0;

	fd_close(&fd);
	if (rc == -ECONNREFUSED || rc == -ENOENT)
		return 0;
	/* A process's, too: a queue that is full, one that is connected to another, another type.
	 */
	return rc == 0 || rc == -EAGAIN || rc == -EPERM || rc == -EPROTOTYPE ? 1 : rc;
}

static int remove_dead(int type, const struct sockaddr_un *addr)
{
	struct stat st;
	int rc;

	if (lstat(addr->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	rc = answered(addr, type);
	if (rc != 0)
		return rc == 1 ? -EADDRINUSE : rc;
	return unlink(addr->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

int socket_file_bind(int fd, int type, const struct sockaddr_un *addr, struct stat *bound)
{
	int lock = socket_file_lock(addr->sun_path), rc;

	/* A folder that may be written but not read: without the lock, then. */
	if (lock < 0 && lock != -EACCES)
		return lock;
	rc = remove_dead(type, addr);
	if (rc == 0 && bind(fd, (const struct sockaddr *)addr, sizeof(*addr)) < 0)
		rc = -errno;
	if (rc == 0 && lstat(addr->sun_path, bound) < 0)
		rc = -errno;
	if (rc == 0 && type == SOCK_STREAM && listen(fd, BACKLOG) < 0)
		rc = -errno;
	fd_close(&lock);
	return rc;
}

void socket_file_unlink(const char *path, const struct stat *bound)
{
	struct stat st;

	if (lstat(path, &st) == 0 && st.st_dev == bound->st_dev && st.st_ino == bound->st_ino)
		unlink(path);
}
