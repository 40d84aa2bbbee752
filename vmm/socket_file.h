/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * socket_file: the file of a Unix socket: taking the place of one whose process is gone, and
 * removing one's own but not a successor's. Any thread.
 */
#ifndef TRIVM_VMM_SOCKET_FILE_H
#define TRIVM_VMM_SOCKET_FILE_H

#include <sys/stat.h>
#include <sys/un.h>

/*
 * Bind @fd, a socket of @type (SOCK_STREAM: it listens then), to @addr's path. A socket that no
 * process answers on is replaced. 0 with the file in *@bound, or a negative errno: -EADDRINUSE: a
 * process answers; -EEXIST: a file of another kind is there; -ETIMEDOUT: see socket_file_lock().
 */
int socket_file_bind(int fd, int type, const struct sockaddr_un *addr, struct stat *bound);

/* Remove the file at @path if it is still @bound. */
void socket_file_unlink(const char *path, const struct stat *bound);

/*
 * Lock the folder of @path against others that replace a socket in it: a descriptor to close, or a
 * negative errno. -ETIMEDOUT: a process holds the lock for longer than a replacement takes.
 */
int socket_file_lock(const char *path);

#endif
