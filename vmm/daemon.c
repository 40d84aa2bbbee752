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
	if (ours)
		snprintf(d->log_path, sizeof(d->log_path), "%s", path);
	d->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
	return d->log_fd < 0 ? err_errno(err, -errno, "--log-file %s", path) : 0;
}

static int write_pid(struct daemon *d, struct err *err)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	int fd = open(d->pid_file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	int rc = fd < 0 ? -errno : fd_write_full(fd, text, (size_t)n);

	fd_close(&fd);
	d->pid_written = rc == 0;
	return rc < 0 ? err_errno(err, rc, "--pid-file %s", d->pid_file) : 0;
}

int daemon_ready(struct daemon *d, struct err *err)
{
	int null, rc;

	if (d->pid_file && !d->pid_written) {
		rc = write_pid(d, err);
		if (rc < 0)
			return rc;
	}
	if (d->log_fd >= 0)
		dup2(d->log_fd, STDERR_FILENO);
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

	if (d->pid_written)
		unlink(d->pid_file);
	d->pid_written = false;
	if (d->log_path[0] && stat(d->log_path, &st) == 0 && st.st_size == 0)
		unlink(d->log_path);
	d->log_path[0] = '\0';
	fd_close(&d->log_fd);
	fd_close(&d->ready_fd);
}
