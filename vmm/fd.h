/* SPDX-License-Identifier: BSD-2-Clause */
/* fd: file descriptors. One that is not open is -1; every one is CLOEXEC; closing twice is
 * harmless. */
#ifndef TRIVM_VMM_FD_H
#define TRIVM_VMM_FD_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Close *@fd if it is open and make it -1. */
void fd_close(int *fd);

/*
 * A memfd of @size bytes that another process is going to map: sealed, so that none of those who
 * have its descriptor can shrink it (every user of the lost pages would die by SIGBUS), let it grow,
 * or add a seal (one against writing would lock out the next process). @flags: MFD_HUGETLB and the
 * like. A descriptor or a negative errno. Linux before 4.16 has no seals for huge pages: there the
 * memfd is not sealed. Any thread.
 */
int fd_shared_memory(const char *name, uint64_t size, unsigned flags);

/*
 * As many descriptors as the hard limit allows, from here on. What stays the soft limit is for
 * programs that use select(), which this one does not.
 */
void fd_raise_limit(void);

/* eventfd: a non-blocking one at 0, or a negative errno. */
int fd_eventfd(void);
void fd_signal(int eventfd); /* add 1; never blocks if no other process has the eventfd */

/*
 * The same for an eventfd that another process has, which may have cleared O_NONBLOCK: never
 * blocks. Ten times as slow. fd_shared.c. Any thread.
 */
void fd_signal_shared(int eventfd);

/*
 * Read and zero the count of an eventfd or timerfd; 0 if it was not signalled. Never blocks, not
 * even if another process has cleared O_NONBLOCK. Any thread.
 */
uint64_t fd_drain(int fd);

/*
 * Put a new eventfd behind the descriptor @eventfd: those who had got the old one have no part in
 * it. The number stays, so that threads that use it meanwhile reach the one or the other. Whoever
 * watches the old one (epoll, KVM) has to leave it before. 0 or a negative errno, and then nothing
 * has changed.
 */
int fd_renew(int eventfd);

/*
 * Is @fd an eventfd? Asks the kernel only, never the file system of a file that @fd may be: such a
 * one may not answer. 1, 0, or -ENOSYS: this host can tell in none of the ways that there are.
 * Asynchronous I/O is one, which fd_shared_prepare() gets ready. fd_shared.c. Any thread.
 */
int fd_is_eventfd(int fd);

/* What fd_signal_shared() and fd_is_eventfd() need: now, because a sandbox forbids it later. */
void fd_shared_prepare(void);

/*
 * The count of an eventfd, which stays there (proc(5), fdinfo). 0 or a negative errno: there is no
 * /proc, or it is no eventfd. Some microseconds; any thread.
 */
int fd_peek(int eventfd, uint64_t *count);

/* All @len bytes, over EINTR and short transfers. 0 or a negative errno (-ENODATA: end of file). */
int fd_read_full(int fd, void *buf, size_t len);
int fd_write_full(int fd, const void *buf, size_t len);
int fd_pread_full(int fd, void *buf, size_t len, off_t offset);

/*
 * The text of the file @path, of which the first @size - 1 bytes are enough; always terminated. Its
 * length, or a negative errno (-ENODATA: it is empty). For files of /proc and /sys: they have no
 * size, and some come in pieces. Any thread.
 */
int fd_read_text(const char *path, char *buf, size_t size);

#endif
