/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the last component of a path is always opened with O_NOFOLLOW. If it is a
 * symbolic link (ELOOP) whose owner may be trusted, its text is the next path to try. So a link
 * that is put there between a look and the open is never followed unseen. Links of /proc
 * (/dev/stdout leads to one) have no text that could be opened: they are the process's own.
 *
 * A claim is a lock on the file itself (flock), which the kernel drops with the process, so a file
 * left by a process that was killed is free. The file may have been removed by its last owner
 * between our open and our lock: then the name leads to another file or none, and we try again.
 */
#include "vmm/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "vmm/fd.h"

#define LINKS_MAX  40 /* the kernel's limit */
#define CLAIMS_MAX 16

/* @path's folder in @dir; returns where the last component begins. */
static const char *split_path(const char *path, char dir[PATH_MAX])
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		snprintf(dir, PATH_MAX, ".");
	else
		snprintf(dir, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return slash ? slash + 1 : path;
}

/* May we follow the link? The rule of may_follow_link() in the kernel's fs/namei.c. */
static int may_follow(const struct stat *folder, const struct stat *link)
{
	const mode_t shared = S_ISVTX | S_IWOTH;

	if ((folder->st_mode & shared) != shared)
		return 0;
	return link->st_uid == geteuid() || link->st_uid == folder->st_uid ? 0 : -EACCES;
}

/* Replace @path, a symbolic link, by what it says. 1: it is one of /proc, to be opened as it is. */
static int follow(char path[PATH_MAX])
{
	char dir[PATH_MAX], text[PATH_MAX], next[PATH_MAX];
	const char *name = split_path(path, dir);
	struct stat folder, link;
	struct statfs fs;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), rc, len;
	ssize_t n;

	if (fd < 0)
		return -errno;
	if (fstatfs(fd, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC) {
		fd_close(&fd);
		return 1;
	}
	rc = fstat(fd, &folder) < 0 || fstatat(fd, name, &link, AT_SYMLINK_NOFOLLOW) < 0
	             ? -errno
	             : may_follow(&folder, &link);
	n = rc == 0 ? readlinkat(fd, name, text, sizeof(text) - 1) : 0;
	if (n < 0)
		rc = -errno;
	fd_close(&fd);
	if (rc < 0)
		return rc;
	text[n] = '\0';
	len = snprintf(next, sizeof(next), "%s%s%s", text[0] == '/' ? "" : dir,
	               text[0] == '/' ? "" : "/", text);
	if (len < 0 || (size_t)len >= sizeof(next))
		return -ENAMETOOLONG;
	memcpy(path, next, (size_t)len + 1);
	return 0;
}

static int open_safely(const char *name, int flags, mode_t mode)
{
	char path[PATH_MAX];

	if (strlen(name) >= sizeof(path))
		return -ENAMETOOLONG;
	strcpy(path, name);
	for (unsigned links = 0; links < LINKS_MAX; links++) {
		int fd = open(path, flags | O_NOFOLLOW, mode);
		int rc;

		if (fd >= 0)
			return fd;
		if (errno != ELOOP)
			return -errno;
		rc = follow(path);
		if (rc == 1) {
			fd = open(path, flags, mode);
			return fd < 0 ? -errno : fd;
		}
		if (rc < 0)
			return rc == -EINVAL ? -ELOOP : rc;
	}
	return -ELOOP;
}

int file_create(const char *option, const char *path, int flags, mode_t mode, struct err *err)
{
	struct stat st;
	int fd = open_safely(path, flags | O_CREAT | O_CLOEXEC | O_NOCTTY, mode);

	if (fd == -EACCES && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return err_set(
			err, fd,
			"%s%s: a symbolic link of another user in a folder that all users may "
			"write to is not followed; name the file that you mean",
			option, path);
	return fd < 0 ? err_errno(err, fd, "%s%s", option, path) : fd;
}

/* 0: locked, and the name is still its; 1: try again. */
static int lock(int fd, const char *path)
{
	struct stat ours, there;

	if (fstat(fd, &ours) < 0)
		return -errno;
	if (!S_ISREG(ours.st_mode))
		return 0;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EADDRINUSE : -errno;
	if (stat(path, &there) < 0)
		return errno == ENOENT ? 1 : -errno;
	return ours.st_dev != there.st_dev || ours.st_ino != there.st_ino;
}

int file_claim(const char *option, const char *path, int flags, mode_t mode, struct err *err)
{
	for (unsigned tries = 0; tries < CLAIMS_MAX; tries++) {
		int fd = file_create(option, path, flags, mode, err);
		int rc = fd < 0 ? 0 : lock(fd, path);

		if (fd < 0 || rc == 0)
			return fd;
		fd_close(&fd);
		if (rc == -EADDRINUSE)
			break;
		if (rc < 0)
			return err_errno(err, rc, "%s%s", option, path);
	}
	return err_set(err, -EADDRINUSE,
	               "%s%s: another running VM has this file; choose another name", option, path);
}

void file_unclaim(int *fd, const char *path)
{
	struct stat ours, there;

	if (*fd >= 0 && fstat(*fd, &ours) == 0 && S_ISREG(ours.st_mode) &&
	    stat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino)
		unlink(path);
	fd_close(fd);
}
