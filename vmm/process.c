/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the dispositions of all signals are read once, before the program changes
 * any. Programs without that call (unit tests) count as started with nothing ignored.
 */
#include "vmm/process.h"

#include <fcntl.h>
#include <unistd.h>

static sigset_t ignored; /* zero: none */

/*
 * open() takes the lowest free number, which is the closed descriptor's, as those below are open by
 * then. Without /dev/null (a bare chroot) an O_PATH descriptor holds the number: reading and
 * writing fail with EBADF, as on a closed one.
 */
static void open_standard(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		if (open("/dev/null", fd == STDIN_FILENO ? O_RDONLY : O_WRONLY) < 0)
			open("/", O_PATH);
	}
}

void process_start(void)
{
	struct sigaction now;

	open_standard();
	sigemptyset(&ignored);
	for (int sig = 1; sig < SIGRTMIN; sig++)
		if (sigaction(sig, NULL, &now) == 0 && now.sa_handler == SIG_IGN)
			sigaddset(&ignored, sig);
	signal(SIGXFSZ, SIG_IGN);
}

bool process_ignores(int sig)
{
	return sigismember(&ignored, sig) == 1;
}

void process_add_signals(sigset_t *set, const int *signals, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!process_ignores(signals[i]))
			sigaddset(set, signals[i]);
}

void process_restore_signals(void)
{
	static const int changed[] = {SIGPIPE, SIGXFSZ};

	for (size_t i = 0; i < sizeof(changed) / sizeof(changed[0]); i++)
		signal(changed[i], process_ignores(changed[i]) ? SIG_IGN : SIG_DFL);
}
