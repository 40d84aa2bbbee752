/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: close() asks a file system to flush, and one in user space (FUSE) may never
 * answer. Then not only the caller hangs: its process cannot end before, not even by SIGKILL. A
 * thread is therefore not enough, and handing the descriptor to another process by a socket does
 * not help, as our own copy has to be closed as well.
 *
 * So the closer is a process that shares nothing but the table of descriptors (CLONE_FILES). It
 * gets numbers through a pipe, and for each of them makes a child, which shares the table too,
 * closes that one and ends. A child that hangs hurts nobody: the number is free as soon as close()
 * has begun, the closer takes the next one, and this process can end at any time. What hangs is
 * counted for each owner in a page that all share.
 *
 * The closer is made while the process has one thread and little memory, so that making children is
 * cheap and no lock is held in the copy. It dies with its parent.
 */
#include "switch/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "switch/sandbox.h"
#include "vmm/fd.h"

#define END_MS 200

struct request {
	int32_t fd;
	uint32_t owner;
};

static struct {
	pid_t pid; /* 0: there is none */
	int read_fd, write_fd;
	_Atomic uint32_t *pending; /* for each owner; shared with the closer and its children */
} closer = {.read_fd = -1, .write_fd = -1};

/* As fork(), but the table of descriptors is shared. Only async-signal-safe calls in the child. */
static pid_t fork_with_files(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
}

static void close_one(const struct request *r)
{
	pid_t pid = fork_with_files();

	if (pid > 0)
		return;
	/* Without a child it is closed here: late, perhaps, but nobody waits for this one either. */
	syscall(SYS_close, r->fd);
	atomic_fetch_sub(&closer.pending[r->owner], 1);
	if (pid == 0)
		syscall(SYS_exit_group, 0);
}

static void __attribute__((noreturn)) run(int read_fd, pid_t parent, bool confined)
{
	struct request r;
	ssize_t n;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		syscall(SYS_exit_group, 0);
	signal(SIGCHLD, SIG_IGN); /* children leave nothing behind */
	if (confined && sandbox_enter_closer() < 0)
		syscall(SYS_exit_group, 1);
	for (;;) {
		n = read(read_fd, &r, sizeof(r));
		if (n == sizeof(r) && r.owner < CLOSER_OWNERS)
			close_one(&r);
		else if (n >= 0 || errno != EINTR)
			syscall(SYS_exit_group, 0);
	}
}

int closer_start(bool confined, struct err *err)
{
	sigset_t all, before;
	pid_t parent = getpid();
	int fds[2], rc = 0;

	if (closer.pid)
		return 0;
	closer.pending = mmap(NULL, CLOSER_OWNERS * sizeof(closer.pending[0]),
	                      PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (closer.pending == MAP_FAILED || pipe2(fds, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "the process that closes descriptors");
	/* A Ctrl-C in the terminal is for the switch, which ends its closer itself. */
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before);
	closer.pid = fork_with_files();
	if (closer.pid == 0)
		run(fds[0], parent, confined);
	if (closer.pid < 0)
		rc = -errno;
	sigprocmask(SIG_SETMASK, &before, NULL);
	if (rc < 0) {
		closer.pid = 0;
		fd_close(&fds[0]);
		fd_close(&fds[1]);
		return err_errno(err, rc, "the process that closes descriptors");
	}
	/* The table is shared: the closer's end of the pipe is open here, too, and has to stay. */
	closer.read_fd = fds[0];
	closer.write_fd = fds[1];
	if (fcntl(closer.write_fd, F_SETFL, O_NONBLOCK) < 0)
		return err_errno(err, -errno, "the process that closes descriptors");
	return 0;
}

void closer_stop(void)
{
	pid_t pid = closer.pid;

	if (!pid)
		return;
	closer.pid = 0;
	/* With the writing end, which is in the shared table, it sees the end of the pipe. */
	fd_close(&closer.write_fd);
	fd_close(&closer.read_fd);
	/* It ends at once, unless it had to close something itself: then it is left to init. */
	for (unsigned i = 0; i < END_MS && waitpid(pid, NULL, WNOHANG) == 0; i++)
		poll(NULL, 0, 1);
}

void closer_close(unsigned owner, int *fd)
{
	struct request r = {.fd = *fd, .owner = owner};

	if (*fd < 0)
		return;
	if (!closer.pid) {
		fd_close(fd);
		return;
	}
	*fd = -1;
	atomic_fetch_add(&closer.pending[owner], 1);
	/*
	 * The pipe has room for thousands, and the closer never waits. Should it be gone, the
	 * descriptor stays open: that is counted, and its owner is not accepted any more.
	 */
	while (write(closer.write_fd, &r, sizeof(r)) < 0 && errno == EINTR)
		;
}

unsigned closer_pending(unsigned owner)
{
	return closer.pid ? atomic_load(&closer.pending[owner]) : 0;
}
