/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: SIGCHLD and the signals that stop compare are blocked all the time and taken
 * by sigtimedwait(): waiting for a child is waiting for a signal, with a time limit, and nothing
 * ever runs inside of a handler. A stop is remembered, so that all waits on the way out see it.
 *
 * PR_SET_PDEATHSIG ends a child with compare even if that is killed; a parent that was gone before
 * it was set is noticed by getppid().
 */
#include "compare/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/process.h"
#include "vmm/util.h"

#define OUTPUT_MAX      MIB(1)
#define COMMAND_MS      20000
#define COMMAND_WORDS   32
#define EXIT_NOT_FOUND  127
#define WORDS_TO_ESCAPE " \"'$&;|<>()*?\\"

static sigset_t stops, both, before;
static int stopped_by;

void child_begin(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	sigemptyset(&stops);
	process_add_signals(&stops, signals, ARRAY_SIZE(signals));
	both = stops;
	sigaddset(&both, SIGCHLD);
	sigprocmask(SIG_BLOCK, &both, &before);
	signal(SIGPIPE, SIG_IGN);
	stopped_by = 0;
}

int child_stop_signal(void)
{
	const struct timespec none = {0};
	int sig;

	if (!stopped_by) {
		sig = sigtimedwait(&stops, NULL, &none);
		stopped_by = sig > 0 ? sig : 0;
	}
	return stopped_by;
}

/* In the new process: become the program, or tell why not through @report. */
static void become(char *const argv[], const char *out, pid_t parent, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int fd = out ? open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : null;
	int rc;

	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_NOT_FOUND);
	if (null < 0 || fd < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(fd, STDOUT_FILENO) < 0 ||
	    dup2(fd, STDERR_FILENO) < 0) {
		rc = errno;
	} else {
		process_restore_signals();
		sigprocmask(SIG_SETMASK, &before, NULL);
		execvp(argv[0], argv);
		rc = errno;
	}
	fd_write_full(report, &rc, sizeof(rc));
	_exit(EXIT_NOT_FOUND);
}

int child_start(struct child *child, char *const argv[], const char *out, struct err *err)
{
	pid_t parent = getpid();
	int report[2], rc = 0;

	child->pid = 0;
	if (pipe2(report, O_CLOEXEC) < 0)
		return err_errno(err, -errno, "pipe");
	child->pid = fork();
	if (child->pid == 0)
		become(argv, out, parent, report[1]);
	fd_close(&report[1]);
	if (child->pid < 0) {
		child->pid = 0;
		rc = err_errno(err, -errno, "fork");
	} else if (fd_read_full(report[0], &rc, sizeof(rc)) == 0) {
		child_kill(child);
		rc = err_errno(err, -rc, "%s", argv[0]);
	} else {
		rc = 0;
	}
	fd_close(&report[0]);
	return rc;
}

/* Has it ended? It is collected then. */
static bool collect(struct child *child, int *status)
{
	int s = 0;

	if (child->pid && waitpid(child->pid, &s, WNOHANG) == 0)
		return false;
	child->pid = 0;
	*status = s;
	return true;
}

int child_wait(struct child *child, unsigned ms, int *status)
{
	uint64_t end = clock_ms() + ms;

	while (!collect(child, status)) {
		uint64_t now = clock_ms();
		struct timespec t;
		int sig;

		if (child_stop_signal())
			return -EINTR;
		if (now >= end)
			return -ETIMEDOUT;
		t.tv_sec = (time_t)((end - now) / 1000);
		t.tv_nsec = (long)((end - now) % 1000) * 1000000;
		sig = sigtimedwait(&both, NULL, &t);
		if (sig > 0 && sig != SIGCHLD)
			stopped_by = sig;
	}
	return 0;
}

bool child_runs(struct child *child)
{
	int status;

	return child->pid && !collect(child, &status);
}

void child_kill(struct child *child)
{
	if (child->pid <= 0)
		return;
	kill(-child->pid, SIGKILL);
	kill(child->pid, SIGKILL); /* its group may not be there yet */
	while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR)
		;
	child->pid = 0;
}

int child_sleep(unsigned ms)
{
	uint64_t end = clock_ms() + ms;

	for (uint64_t now = clock_ms(); now < end; now = clock_ms()) {
		struct timespec t = {.tv_sec = (time_t)((end - now) / 1000),
		                     .tv_nsec = (long)((end - now) % 1000) * 1000000};
		int sig;

		if (child_stop_signal())
			return -EINTR;
		sig = sigtimedwait(&stops, NULL, &t);
		if (sig > 0)
			stopped_by = sig;
	}
	return child_stop_signal() ? -EINTR : 0;
}

const char *child_typed(char *const argv[], char *buf, size_t size)
{
	size_t at = 0;

	buf[0] = '\0';
	for (; *argv && at < size; argv++) {
		const char *q = !**argv || strpbrk(*argv, WORDS_TO_ESCAPE) ? "'" : "";

		at += (size_t)snprintf(buf + at, size - at, "%s%s%s%s", at ? " " : "", q, *argv, q);
	}
	return buf;
}

int child_run(char *const argv[], const char *out, unsigned ms, struct err *err)
{
	struct child child;
	char typed[256], *said;
	int status = 0;
	int rc = child_start(&child, argv, out, err);

	if (rc < 0)
		return rc;
	rc = child_wait(&child, ms, &status);
	child_kill(&child);
	if (rc == 0 && status == 0)
		return 0;
	child_typed(argv, typed, sizeof(typed));
	if (rc == -EINTR)
		return err_set(err, rc, "%s: interrupted", typed);
	if (rc < 0)
		return err_set(err, rc, "%s: had not ended after %u s", typed, ms / 1000);
	said = out ? child_output(out) : NULL;
	err_set(err, -EIO, "%s: failed%s%.*s", typed, said && *said ? ": " : "",
	        said ? (int)strcspn(said, "\n") : 0, said ? said : "");
	free(said);
	return -EIO;
}

int child_command(const char *command, const char *out, struct err *err)
{
	char words[512], *argv[COMMAND_WORDS + 1], *save = NULL;
	size_t n = 0;

	snprintf(words, sizeof(words), "%s", command);
	for (char *w = strtok_r(words, " ", &save); w && n < COMMAND_WORDS;
	     w = strtok_r(NULL, " ", &save))
		argv[n++] = w;
	argv[n] = NULL;
	return child_run(argv, out, COMMAND_MS, err);
}

void child_clean(char *text)
{
	for (; *text; text++)
		if ((*text < ' ' && *text != '\n' && *text != '\t') || *text > '~')
			*text = '?';
}

char *child_output(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *text = NULL;
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0) {
		size_t len = (size_t)min_u64((uint64_t)st.st_size, OUTPUT_MAX);

		text = malloc(len + 1);
		if (text && fd_read_full(fd, text, len) == 0) {
			text[len] = '\0';
			child_clean(text);
		} else {
			free(text);
			text = NULL;
		}
	}
	fd_close(&fd);
	return text;
}
