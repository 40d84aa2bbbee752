/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the terminal's old settings are kept in one static place, since a terminal
 * is one per process and signal handlers need it. Signals that end the process and that nobody else
 * handles (the main loop takes SIGTERM and SIGINT through a signalfd) get a handler that restores
 * the terminal and then dies of the same signal. SIGTSTP cannot come from the raw terminal itself;
 * if another process sends it, the terminal is restored while we are stopped.
 *
 * Job control: the terminal is raw exactly while our process group is its foreground. A shell's
 * `fg` of a stopped job sends SIGCONT, that of a running background job sends nothing, so
 * term_update() is called on SIGCONT and, in the background, from time to time. In the background
 * we change no settings and read nothing: the kernel would stop us by SIGTTOU or SIGTTIN. A shell
 * that takes the terminal back from us while we are stopped by SIGSTOP sets it as it likes; the
 * settings to restore are those found each time we come to the foreground, unless these are our own
 * raw ones.
 */
#include "vmm/term.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/process.h"
#include "vmm/util.h"

static struct termios saved;
static int term_fd = -1;
static atomic_bool is_raw;

/* On a terminal that is not our controlling one there is no job control (-ENOTTY). */
bool term_in_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	return group < 0 ? errno == ENOTTY : group == getpgrp();
}

static bool looks_raw(const struct termios *t)
{
	return !(t->c_lflag & (ICANON | ECHO | ISIG));
}

static void make_raw(void)
{
	struct termios raw, now;

	if (tcgetattr(term_fd, &now) < 0)
		return;
	if (!looks_raw(&now) || !atomic_load(&is_raw))
		saved = now;
	raw = saved;
	cfmakeraw(&raw);
	/* What we and others print still gets its carriage returns: the guest's own are harmless.
	 */
	raw.c_oflag = saved.c_oflag;
	if (tcsetattr(term_fd, TCSANOW, &raw) == 0)
		atomic_store(&is_raw, true);
}

bool term_update(void)
{
	if (term_fd < 0)
		return true;
	if (!term_in_foreground(term_fd))
		return false;
	make_raw();
	return true;
}

bool term_is_ours(void)
{
	if (term_fd < 0 || (atomic_load(&is_raw) && term_in_foreground(term_fd)))
		return true;
	return term_update();
}

void term_restore(void)
{
	if (atomic_exchange(&is_raw, false) && term_in_foreground(term_fd))
		tcsetattr(term_fd, TCSANOW, &saved);
}

static void deadly(int sig)
{
	term_restore();
	raise(sig); /* SA_RESETHAND: now the default action */
}

static void stopped(int sig)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL}, old;
	int e = errno;
	sigset_t unblock;

	term_restore();
	sigaction(sig, &dfl, &old);
	sigemptyset(&unblock);
	sigaddset(&unblock, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &unblock, NULL); /* stops here, until SIGCONT */
	sigaction(sig, &old, NULL);
	/* By `bg` another process group has the terminal. */
	if (term_in_foreground(term_fd))
		make_raw();
	errno = e;
}

void term_raw(int fd)
{
	/* All whose default is to end us, but for those that the main loop takes. */
	static const int signals[] = {SIGQUIT, SIGABRT, SIGSEGV, SIGBUS,    SIGILL,  SIGFPE,
	                              SIGSYS,  SIGTRAP, SIGALRM, SIGVTALRM, SIGPROF, SIGUSR1,
	                              SIGUSR2, SIGXCPU, SIGXFSZ, SIGIO,     SIGPWR};
	struct sigaction sa = {.sa_handler = deadly, .sa_flags = (int)SA_RESETHAND | SA_NODEFER};
	struct sigaction tstp = {.sa_handler = stopped}, old;

	if (!isatty(fd))
		return;
	term_fd = fd;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
	if (!process_ignores(SIGTSTP))
		sigaction(SIGTSTP, &tstp, NULL);
	atexit(term_restore);
	term_update();
}

static void help(const struct term_keys *keys)
{
	char text[256];
	int n = snprintf(text, sizeof(text),
	                 "\r\nCtrl-A x   %s\r\n"
	                 "Ctrl-A b   send a break\r\n"
	                 "Ctrl-A h   this list\r\n"
	                 "Ctrl-A Ctrl-A   send one Ctrl-A\r\n",
	                 keys->quit_help ? keys->quit_help : "quit: the guest stops at once");

	if (n > 0 && write(STDERR_FILENO, text, (size_t)n) < 0)
		return;
}

size_t term_filter(void *opaque, uint8_t *buf, size_t len)
{
	struct term_keys *keys = opaque;
	size_t out = 0;

	for (size_t i = 0; i < len; i++) {
		uint8_t c = buf[i];

		if (!keys->escaped) {
			keys->escaped = c == TERM_ESCAPE;
			if (!keys->escaped)
				buf[out++] = c;
			continue;
		}
		keys->escaped = false;
		switch (c) {
		case TERM_ESCAPE:
			buf[out++] = c;
			break;
		case 'x':
			keys->quit(keys->opaque);
			break;
		case 'b':
			keys->send_break(keys->opaque);
			break;
		case 'h':
		case '?':
			help(keys);
			break;
		default: /* not a key of ours: nothing, as the other monitors do */
			break;
		}
	}
	return out;
}
