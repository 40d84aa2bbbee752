/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file: files that the user names for trivm to write: captures, logs, process numbers. Any thread.
 * @option is how the user named it, up to the path ("--pid-file ", "pcap="), for errors.
 */
#ifndef TRIVM_VMM_FILE_H
#define TRIVM_VMM_FILE_H

#include <sys/types.h>

#include "vmm/err.h"

/*
 * open(@path, @flags | O_CREAT | O_CLOEXEC | O_NOCTTY, @mode): the descriptor, or a negative errno.
 * In a sticky folder that all may write to (/tmp) a symbolic link is followed only if it belongs to
 * us or to the folder's owner, as the kernel does with fs.protected_symlinks=1: -EACCES.
 */
int file_create(const char *option, const char *path, int flags, mode_t mode, struct err *err);

/*
 * file_create() for a file that one process has at a time: -EADDRINUSE if another has it. The lock
 * is the open file's: it is held until the descriptor and all copies are closed. What is no regular
 * file is not locked.
 */
int file_claim(const char *option, const char *path, int flags, mode_t mode, struct err *err);

/* Remove the claimed file *@fd, unless @path names another one by now, and close it. Idempotent. */
void file_unclaim(int *fd, const char *path);

#endif
