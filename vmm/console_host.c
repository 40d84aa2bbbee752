/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: whatever it is becomes one descriptor to read and another one to write (the
 * event loop takes each only once), both for a chardev.
 *
 * A pseudo terminal is raw from the start: what trivm writes is its input, and a line discipline
 * that echoes would send the guest's own output back to it. Our copy of the slave's end stays open:
 * without one, reading would fail from the moment a terminal program leaves until the next one
 * comes.
 */
#include "vmm/console_host.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/file.h"
#include "vmm/util.h"

static int parse_where(struct console_options *o, const char *where, struct err *err)
{
	static const struct {
		const char *prefix;
		enum console_kind kind;
	} paths[] = {{"file:", CONSOLE_FILE}, {"socket:", CONSOLE_SOCKET}};
	char *end;
	long fd;

	if (strcmp(where, "pty") == 0)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(paths); i++) {
		size_t n = strlen(paths[i].prefix);

		if (strncmp(where, paths[i].prefix, n) != 0)
			continue;
		if (!where[n] || strlen(where + n) >= sizeof(o->path))
			return err_set(err, -EINVAL, "--console %s: a path has 1 to %zu bytes",
			               where, sizeof(o->path) - 1);
		o->kind = paths[i].kind;
		strcpy(o->path, where + n);
		return 0;
	}
	errno = 0;
	fd = strncmp(where, "fd:", 3) == 0 && where[3] >= '0' && where[3] <= '9'
	             ? strtol(where + 3, &end, 10)
	             : -1;
	if (fd < 0 || fd > 65535 || *end || errno)
		return err_set(err, -EINVAL,
		               "--console %s: expected pty, file:PATH, socket:PATH or fd:N", where);
	o->kind = CONSOLE_FD;
	o->fd = (int)fd;
	return 0;
}

int console_options_parse(struct console_options *o, const char *text, struct err *err)
{
	char *words, *rest = NULL;
	int rc = 0;

	*o = (struct console_options){.present = true, .kind = CONSOLE_PTY, .fd = -1};
	if (!text)
		return 0;
	words = strdup(text);
	if (!words)
		return err_errno(err, -ENOMEM, "--console");
	rest = words;
	/* The place may be left out: then the first word is a key already. */
	if (strncmp(text, "file:", 5) == 0 || strncmp(text, "socket:", 7) == 0 ||
	    !memchr(text, '=', strcspn(text, ",")))
		rc = parse_where(o, strsep(&rest, ","), err);
	if (rc == 0 && rest)
		rc = virtio_options_parse(&o->virtio, "--console", rest, err);
	free(words);
	return rc;
}

static int open_pty(struct console_host *h, struct err *err)
{
	struct termios tio;
	char name[64];

	h->in = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (h->in < 0 || grantpt(h->in) < 0 || unlockpt(h->in) < 0 ||
	    ptsname_r(h->in, name, sizeof(name)) != 0)
		return err_errno(err, -errno, "--console pty: no pseudo terminal");
	h->slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (h->slave < 0 || tcgetattr(h->slave, &tio) < 0)
		return err_errno(err, -errno, "--console pty: %s", name);
	cfmakeraw(&tio);
	if (tcsetattr(h->slave, TCSANOW, &tio) < 0)
		return err_errno(err, -errno, "--console pty: %s", name);
	if (fcntl(h->in, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
		return err_errno(err, -errno, "--console pty");
	fprintf(stderr, "trivm: the guest's hvc0 is at %s\n", name);
	return 0;
}

static int open_socket(struct console_host *h, const char *path, struct err *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memcpy(addr.sun_path, path, strlen(path) + 1);
	h->in = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (h->in < 0)
		return err_errno(err, -errno, "--console socket:%s", path);
	if (connect(h->in, (struct sockaddr *)&addr, sizeof(addr)) == 0)
		return 0;
	if (errno == ENOENT || errno == ECONNREFUSED)
		return err_set(err, -errno,
		               "--console socket:%s: nobody listens there: start the other side "
		               "first (socat UNIX-LISTEN:%s -)",
		               path, path);
	return err_errno(err, -errno, "--console socket:%s", path);
}

static int open_any(struct console_host *h, const struct console_options *o, struct err *err)
{
	int rc = 0;

	switch (o->kind) {
	case CONSOLE_PTY:
		rc = open_pty(h, err);
		break;
	case CONSOLE_FILE:
		rc = file_create("--console file:", o->path, O_WRONLY | O_TRUNC, 0666, err);
		h->out = rc < 0 ? -1 : rc;
		return rc < 0 ? rc : 0;
	case CONSOLE_SOCKET:
		rc = open_socket(h, o->path, err);
		break;
	case CONSOLE_FD:
		if (fcntl(o->fd, F_SETFD, FD_CLOEXEC) < 0)
			return err_set(err, -EINVAL,
			               "--console fd:%d: this file is not open (3<>FILE opens 3)",
			               o->fd);
		h->in = o->fd;
		break;
	}
	if (rc < 0)
		return rc;
	h->out = fcntl(h->in, F_DUPFD_CLOEXEC, 0);
	return h->out < 0 ? err_errno(err, -errno, "--console") : 0;
}

/*
 * The size of the terminal: of a pseudo terminal as whoever uses it has set it, else of the one that
 * we were given. The kernel tells only the processes in the terminal's foreground of a change
 * (SIGWINCH), which we are not, so we look.
 */
static void look_at_size(struct console_host *h)
{
	struct winsize w;

	if (ioctl(h->in, TIOCGWINSZ, &w) == 0)
		chardev_set_size(&h->chr, w.ws_col, w.ws_row);
}

static void on_look(struct loop_source *src, uint32_t events)
{
	struct console_host *h = container_of(src, struct console_host, look);

	(void)events;
	fd_drain(h->look_fd);
	look_at_size(h);
	loop_timer_set(h->look_fd, CONSOLE_SIZE_MS);
}

static int watch_size(struct console_host *h, struct loop *loop)
{
	int rc;

	if (h->in < 0 || !isatty(h->in))
		return 0;
	look_at_size(h);
	rc = h->look_fd = loop_timer_create();
	if (rc >= 0)
		rc = loop_add(loop, &h->look, h->look_fd, EPOLLIN, on_look);
	if (rc == 0)
		loop_timer_set(h->look_fd, CONSOLE_SIZE_MS);
	return rc;
}

int console_host_open(struct console_host *h, const struct console_options *o, struct loop *loop,
                      struct err *err)
{
	int rc;

	*h = (struct console_host){.in = -1, .out = -1, .slave = -1, .look_fd = -1};
	rc = open_any(h, o, err);
	if (rc == 0) {
		rc = chardev_init(&h->chr, loop, h->in, h->out);
		if (rc == 0)
			rc = watch_size(h, loop);
		if (rc < 0)
			err_errno(err, rc, "--console");
	}
	if (rc < 0)
		console_host_close(h);
	return rc;
}

void console_host_close(struct console_host *h)
{
	if (!h->in && !h->out) /* zero */
		return;
	loop_remove(&h->look);
	fd_close(&h->look_fd);
	chardev_destroy(&h->chr);
	fd_close(&h->in);
	fd_close(&h->out);
	fd_close(&h->slave);
}
