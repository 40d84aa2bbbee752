/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a pipe from child to parent. A byte in it means that the guest runs; its end
 * without one means that the child is gone, and its exit status is the parent's, too. What the
 * child had to say about that it said itself: until it is ready its stderr is the parent's.
 */
#include "vmm/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/exit_status.h"
#include "vmm/fd.h"
#include "vmm/file.h"

__attribute__((noreturn)) static void wait_for(pid_t child, int fd)
{
	char byte;
	int status, n;

	do
		n = (int)read(fd, &byte, 1);
	while (n < 0 && errno == EINTR);
	if (n == 1)
		_exit(0);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_HOST);
}

int daemon_fork(struct daemon *d, struct err *err)
{
	int fds[2];
	pid_t child;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "--daemonize: pipe");
	fflush(NULL);
	child = fork();
	if (child < 0) {
		int rc = -errno;

		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return err_errno(err, rc, "--daemonize: fork");
	}
	if (child > 0) {
		fd_close(&fds[1]);
		wait_for(child, fds[0]);
	}
	fd_close(&fds[0]);
	d->ready_fd = fds[1];
	setsid();
	return 0;
}

int daemon_open_log(struct daemon *d, const char *path, bool ours, struct err *err)
{
	const int flags = O_WRONLY | O_APPEND;
	int fd;

	if (ours)
		fd = file_claim("", path, flags, 0600, err);
	else
		fd = file_create("--log-file ", path, flags, 0600, err);
	if (fd < 0)
		return fd;
	d->log_fd = fd;
	if (ours)
		snprintf(d->log_path, sizeof(d->log_path), "%s", path);
	return 0;
}

static int write_pid(struct daemon *d, struct err *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	int fd = file_claim("--pid-file ", d->pid_file, O_WRONLY, 0644, err);
	int rc = 0;

	if (fd < 0)
		return fd;
	/* Only now: what is in it belongs to who has it. A FIFO or terminal has no length. */
	if (ftruncate(fd, 0) < 0 && errno != EINVAL)
		rc = -errno;
	if (rc == 0)
		rc = fd_write_full(fd, text, (size_t)n);
	if (rc < 0) {
		file_unclaim(&fd, d->pid_file);
		return err_errno(err, rc, "--pid-file %s", d->pid_file);
	}
	d->pid_fd = fd; /* the lock is ours until the end */
	return 0;
}

int daemon_ready(struct daemon *d, struct err *err)
{
	int null, rc;

	if (d->pid_file && d->pid_fd < 0) {
		rc = write_pid(d, err);
		if (rc < 0)
			return rc;
	}
	if (d->log_fd >= 0)
		dup2(d->log_fd, STDERR_FILENO);
	if (!d->log_path[0]) /* ours stays open for daemon_close() */
		fd_close(&d->log_fd);
	if (d->ready_fd < 0)
		return 0;
	if (d->announce)
		dprintf(STDOUT_FILENO, "%s\n", d->announce);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0)
		return err_errno(err, -errno, "/dev/null");
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	fd_close(&null);
	rc = fd_write_full(d->ready_fd, "", 1); /* a parent that was killed is no reason to stop */
	fd_close(&d->ready_fd);
	return rc == -EPIPE ? 0 : rc;
}

void daemon_close(struct daemon *d)
{
	struct stat st;

	if (d->pid_fd >= 0)
		file_unclaim(&d->pid_fd, d->pid_file);
	/* An empty log is of no use. Only our own: a start that failed may have found another's. */
	if (d->log_path[0] && d->log_fd >= 0 && fstat(d->log_fd, &st) == 0 && st.st_size == 0)
		file_unclaim(&d->log_fd, d->log_path);
	d->log_path[0] = '\0';
	fd_close(&d->log_fd);
	fd_close(&d->ready_fd);
}
