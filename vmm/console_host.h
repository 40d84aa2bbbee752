/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * console_host: what stands behind `--console`, and the host's end that it names:
 *
 *	pty		a new pseudo terminal, whose name is said on stderr (screen, minicom)
 *	file:PATH	output only, to a file that is made or emptied
 *	socket:PATH	a Unix stream socket on which somebody listens
 *	fd:N		an open file, read and written
 */
#ifndef TRIVM_VMM_CONSOLE_HOST_H
#define TRIVM_VMM_CONSOLE_HOST_H

#include <stdbool.h>

#include "vmm/chardev.h"
#include "vmm/err.h"
#include "vmm/loop.h"
#include "vmm/virtio_options.h"

#define CONSOLE_SIZE_MS 1000 /* from one look at the terminal's size to the next */

enum console_kind {
	CONSOLE_PTY,
	CONSOLE_FILE,
	CONSOLE_SOCKET,
	CONSOLE_FD,
};

struct console_options {
	bool present;
	enum console_kind kind;
	char path[108]; /* file, socket */
	int fd;
	struct virtio_options virtio;
};

/* "pty", "file:PATH,transport=mmio" ...; NULL is "pty". -EINVAL with what was expected. */
int console_options_parse(struct console_options *o, const char *text, struct err *err);

struct console_host {
	struct chardev chr;
	int in, out;
	int look_fd; /* a timer: has the terminal's size changed? */
	struct loop_source look;
	int slave; /* pty: held open, so that a terminal program may come and go */
};

/* Open it, as CONSOLE_FD takes it over. 0 or a negative errno with cause and remedy. Main thread.
 */
int console_host_open(struct console_host *host, const struct console_options *o, struct loop *loop,
                      struct err *err);
void console_host_close(struct console_host *host); /* idempotent; zero is valid */

#endif
