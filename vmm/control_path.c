/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * A socket is bound and listens under a name of its own (".PID-N"), and is then renamed to its
 * place without replacing anything. So whoever finds a socket in its place that refuses a
 * connection knows that its process is gone: there is no moment between bind() and listen() to be
 * mistaken for that.
 *
 * Whoever removes such a one holds a lock on the directory (flock) while it looks and removes.
 * Nobody but a remover frees a place that a dead one holds, and nobody takes a place that is not
 * free, so what was seen dead is still the same when it is removed.
 *
 * A full backlog is -EAGAIN, not a refusal: a VM that is stopped or besieged counts as living.
 */
#include "vmm/control_path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/socket_file.h"

#define SOCK_SUFFIX ".sock"
#define BACKLOG     64

bool control_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (len < 1 || len > CONTROL_NAME_MAX || name[0] == '.' || name[0] == '-')
		return false;
	for (; *name; name++)
		if (*name == '/' || (unsigned char)*name < ' ' || *name == 127)
			return false;
	return true;
}

/* Not others' to write or look into, or a name in it could lead anywhere. */
static int check_dir(const char *dir, struct err *err)
{
	struct stat st;

	if (lstat(dir, &st) < 0)
		return err_errno(err, -errno, "%s", dir);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
		return err_set(err, -EACCES,
		               "%s: not a directory of ours with mode 0700; remove it, or set "
		               "XDG_RUNTIME_DIR",
		               dir);
	return 0;
}

int control_dir(char buf[CONTROL_PATH_MAX], bool make, struct err *err)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	struct stat st;
	int n, rc;

	/* sudo may leave us another user's, in which a directory of ours would be in that one's
	 * way.
	 */
	if (runtime && runtime[0] == '/' && stat(runtime, &st) == 0 && st.st_uid == geteuid())
		n = snprintf(buf, CONTROL_PATH_MAX, "%s/trivm", runtime);
	else
		n = snprintf(buf, CONTROL_PATH_MAX, "/tmp/trivm-%u", (unsigned)geteuid());
	if (n < 0 || (size_t)n >= CONTROL_PATH_MAX)
		return err_set(err, -ENAMETOOLONG,
		               "XDG_RUNTIME_DIR: too long for the path of a socket");
	rc = check_dir(buf, err);
	if (rc != -ENOENT || !make)
		return rc;
	if (mkdir(buf, 0700) < 0 && errno != EEXIST)
		return err_errno(err, -errno, "%s", buf);
	return check_dir(buf, err);
}

int control_path(char path[CONTROL_PATH_MAX], const char *name, const char *suffix, bool make,
                 struct err *err)
{
	char dir[CONTROL_PATH_MAX];
	int rc = control_dir(dir, make, err);
	int n;

	if (rc < 0)
		return rc;
	n = snprintf(path, CONTROL_PATH_MAX, "%s/%s.%s", dir, name, suffix);
	if (n < 0 || (size_t)n >= CONTROL_PATH_MAX)
		return err_set(err, -ENAMETOOLONG,
		               "%s/%s.%s: longer than a socket's path can be (107 bytes)", dir,
		               name, suffix);
	return 0;
}

static int address(struct sockaddr_un *a, const char *path)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(a->sun_path))
		return -ENAMETOOLONG;
	strcpy(a->sun_path, path);
	return 0;
}

int control_connect(const char *path)
{
	struct sockaddr_un a;
	int rc = address(&a, path);
	int fd;

	if (rc < 0)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	/* A Unix socket connects at once or not at all; not blocking, for a full backlog. */
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || fcntl(fd, F_SETFL, 0) < 0) {
		rc = -errno;
		fd_close(&fd);
		return rc;
	}
	return fd;
}

static int probe(const char *path)
{
	int fd = control_connect(path);
	int rc = fd < 0 ? fd : 0;

	fd_close(&fd);
	return rc;
}

/* Remove the socket at @path if its process is gone. 0: the place is free. */
static int remove_dead(const char *path)
{
	struct stat st;
	int lock, rc = 0;

	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	lock = socket_file_lock(path);
	if (lock < 0)
		return lock;
	switch (probe(path)) {
	case -ECONNREFUSED:
		if (unlink(path) < 0 && errno != ENOENT)
			rc = -errno;
		break;
	case -ENOENT:
		break;
	default:
		rc = -EADDRINUSE;
		break;
	}
	fd_close(&lock);
	return rc;
}

/* Bind and listen under a name that nobody looks at. */
static int bind_aside(int fd, const char *path, char aside[CONTROL_PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	static unsigned count;
	struct sockaddr_un a;
	int n = snprintf(aside, CONTROL_PATH_MAX, "%.*s.%d-%u", slash ? (int)(slash + 1 - path) : 0,
	                 path, (int)getpid(), count++);
	int rc = n < 0 || (size_t)n >= CONTROL_PATH_MAX ? -ENAMETOOLONG : address(&a, aside);

	if (rc < 0)
		return rc;
	/* The inode's mode is the socket's at the time of bind(), see unix(7): no moment in which
	 * others may connect. */
	if (fchmod(fd, 0600) < 0)
		return -errno;
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		/* What a process of our number left behind. */
		if (errno != EADDRINUSE || unlink(aside) < 0 ||
		    bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
			return -errno;
	}
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

/* To its place, unless something is there: -EEXIST. */
static int move_into_place(const char *aside, const char *path)
{
	if (renameat2(AT_FDCWD, aside, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
		return 0;
	if (errno != EINVAL) /* a file system that does not know the flag */
		return -errno;
	if (link(aside, path) < 0)
		return -errno;
	unlink(aside);
	return 0;
}

static int listen_at(struct control_listener *l, const char *path)
{
	char aside[CONTROL_PATH_MAX];
	int rc = bind_aside(l->fd, path, aside);

	if (rc < 0)
		return rc;
	/* Again if it was taken by a dead one; others who replace it may be faster, a few times. */
	for (unsigned tries = 0; tries < 4; tries++) {
		rc = move_into_place(aside, path);
		if (rc != -EEXIST)
			break;
		rc = remove_dead(path);
		if (rc < 0)
			break;
		rc = -EADDRINUSE;
	}
	if (rc == 0 && lstat(path, &l->bound) < 0)
		rc = -errno;
	if (rc < 0) {
		unlink(aside);
		return rc;
	}
	snprintf(l->path, sizeof(l->path), "%s", path);
	return 0;
}

int control_listen(struct control_listener *l, const char *path, struct err *err)
{
	int rc;

	memset(l, 0, sizeof(*l));
	l->fd = -1;
	if (strlen(path) >= sizeof(l->path))
		return err_set(err, -ENAMETOOLONG,
		               "%s: longer than a socket's path can be (107 bytes)", path);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = l->fd < 0 ? -errno : listen_at(l, path);
	if (rc == 0)
		return 0;
	fd_close(&l->fd);
	if (rc == -EADDRINUSE)
		return err_set(err, rc, "%s: another running VM has it; choose another name", path);
	return err_errno(err, rc, "%s", path);
}

void control_unlisten(struct control_listener *l)
{
	if (l->fd < 0)
		return;
	/* Not another's, if somebody removed ours and a VM of the same name has started since. */
	socket_file_unlink(l->path, &l->bound);
	fd_close(&l->fd);
}

/* --- Finding them --- */

/* A socket that its process was about to rename when it died. */
static void remove_aside(const char *dir, const char *name)
{
	char path[CONTROL_PATH_MAX];
	int pid, n;
	unsigned count;

	n = snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (n > 0 && (size_t)n < sizeof(path) && sscanf(name, ".%d-%u", &pid, &count) == 2 &&
	    pid > 0 && kill(pid, 0) < 0 && errno == ESRCH)
		remove_dead(path);
}

static void visit(const char *dir, const char *entry,
                  void (*fn)(void *opaque, const char *name, const char *path), void *opaque)
{
	char path[CONTROL_PATH_MAX], name[CONTROL_NAME_MAX + 1];
	size_t len = strlen(entry), suffix = strlen(SOCK_SUFFIX);
	int n, rc;

	if (entry[0] == '.') {
		remove_aside(dir, entry);
		return;
	}
	if (len <= suffix || len - suffix > CONTROL_NAME_MAX ||
	    strcmp(entry + len - suffix, SOCK_SUFFIX) != 0)
		return;
	n = snprintf(path, sizeof(path), "%s/%s", dir, entry);
	if (n < 0 || (size_t)n >= sizeof(path))
		return;
	rc = probe(path);
	if (rc == -ECONNREFUSED) {
		remove_dead(path);
		return;
	}
	if (rc < 0 && rc != -EAGAIN)
		return;
	snprintf(name, sizeof(name), "%.*s", (int)(len - suffix), entry);
	fn(opaque, name, path);
}

int control_each(void (*fn)(void *opaque, const char *name, const char *path), void *opaque,
                 struct err *err)
{
	char dir[CONTROL_PATH_MAX];
	struct dirent **entries;
	int rc = control_dir(dir, false, err);
	int n;

	if (rc == -ENOENT)
		return 0;
	if (rc < 0)
		return rc;
	n = scandir(dir, &entries, NULL, alphasort);
	if (n < 0)
		return err_errno(err, -errno, "%s", dir);
	for (int i = 0; i < n; i++) {
		visit(dir, entries[i]->d_name, fn, opaque);
		free(entries[i]);
	}
	free(entries);
	return 0;
}
