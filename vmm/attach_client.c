/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: `trivm console` copies between the terminal and the console's socket with
 * one poll(). The keys are those of a terminal that a guest was started on, but Ctrl-A x detaches,
 * and the guest goes on. What is typed waits here while the guest takes nothing, so that these keys
 * work then, too. A break cannot travel as a byte: it goes by the control socket.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "vmm/attach.h"
#include "vmm/clock.h"
#include "vmm/control_path.h"
#include "vmm/ctl_client.h"
#include "vmm/exit_status.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/term.h"
#include "vmm/typed.h"

#define EXIT_GONE 1

/* For poll(), instead of a descriptor: */
#define INPUT_ENDED   (-1)
#define INPUT_NOT_NOW (-2)

struct attached {
	const char *name;
	int fd;
	bool detach;
	struct typed typed;
};

/* Only so that poll() ends: the shell may have changed the terminal. */
static void on_continued(int sig)
{
	(void)sig;
}

static void on_detach(void *opaque)
{
	((struct attached *)opaque)->detach = true;
}

static void on_break(void *opaque)
{
	const struct attached *a = opaque;
	char path[CONTROL_PATH_MAX];
	struct ctl_client c = {.fd = -1};
	json_t *result = NULL;
	struct err err = {.msg = ""};
	int rc = control_path(path, a->name, "sock", false, &err);

	if (rc == 0)
		rc = ctl_connect(&c, path, 5, &err);
	if (rc == 0)
		rc = ctl_call(&c, "console.break", NULL, &result, &err);
	if (rc < 0)
		log_warn("no break was sent: %s", err.msg);
	json_decref(result);
	ctl_close(&c);
}

/* As much of what was typed as the guest's end takes now. False: it has gone. */
static bool pass_on(struct attached *a)
{
	const uint8_t *bytes;
	size_t len;

	while ((len = typed_peek(&a->typed, &bytes)) > 0) {
		ssize_t n = send(a->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN;
		typed_taken(&a->typed, (size_t)n);
	}
	return true;
}

/* From the terminal to the guest. False: no more input. */
static bool copy_in(struct attached *a, struct term_keys *keys, bool tty)
{
	uint8_t buf[TYPED_READ];
	ssize_t n = read(STDIN_FILENO, buf, sizeof(buf));
	size_t len = n > 0 ? (size_t)n : 0;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return true;
	if (tty)
		len = term_filter(keys, buf, len);
	typed_put(&a->typed, buf, len);
	return pass_on(a) && n > 0;
}

/* From the guest. False: it has gone. */
static bool copy_out(const struct attached *a)
{
	char buf[4096];
	ssize_t n = read(a->fd, buf, sizeof(buf));

	if (n < 0 && errno == EINTR)
		return true;
	return n > 0 && fd_write_full(STDOUT_FILENO, buf, (size_t)n) == 0;
}

static void copy(struct attached *a)
{
	struct term_keys keys = {.quit = on_detach,
	                         .send_break = on_break,
	                         .quit_help = "detach: the guest goes on",
	                         .opaque = a};
	struct pollfd p[2] = {{.fd = a->fd, .events = POLLIN},
	                      {.fd = STDIN_FILENO, .events = POLLIN}};
	struct sigaction continued = {.sa_handler = on_continued};
	bool tty = isatty(STDIN_FILENO);

	if (tty) {
		fprintf(stderr, "[trivm: console of %s; Ctrl-A x detaches]\n", a->name);
		sigaction(SIGCONT, &continued, NULL);
		term_raw(STDIN_FILENO);
	}
	while (!a->detach) {
		bool ours = !tty || term_is_ours();
		uint64_t ms = ours ? UINT64_MAX : TERM_LOOK_MS;
		/* Only a terminal has keys that are looked for while the guest takes nothing. */
		bool wanted = tty ? typed_may_read(&a->typed, clock_ms(), &ms) : !a->typed.used;

		/* In the background the terminal is another's to read. */
		if (p[1].fd != INPUT_ENDED)
			p[1].fd = ours && wanted ? STDIN_FILENO : INPUT_NOT_NOW;
		p[0].events = (short)(POLLIN | (a->typed.used ? POLLOUT : 0));
		if (poll(p, 2, ms == UINT64_MAX ? -1 : (int)ms) < 0) {
			if (errno != EINTR)
				break;
			if (tty)
				term_update();
			continue;
		}
		if ((p[0].revents & POLLOUT) && !pass_on(a))
			break;
		if ((p[0].revents & ~POLLOUT) && !copy_out(a))
			break;
		if (p[1].revents && (!tty || term_is_ours()) && !copy_in(a, &keys, tty))
			p[1].fd = INPUT_ENDED; /* what the guest says is still shown */
	}
	term_restore();
	typed_free(&a->typed);
	if (tty)
		fprintf(stderr, "\n[trivm: %s]\n", a->detach ? "detached" : "the guest has ended");
}

static int attach(struct attached *a, struct err *err)
{
	char path[CONTROL_PATH_MAX];
	int rc = control_path(path, a->name, "console", false, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	a->fd = rc < 0 ? rc : control_connect(path);
	if (a->fd >= 0)
		return 0;
	if (a->fd != -ENOENT && a->fd != -ECONNREFUSED)
		return err_errno(err, a->fd, "%s", path);
	return err_set(err, a->fd,
	               "%s: no VM of that name keeps its console on a socket; start it with "
	               "--daemonize, or --serial socket",
	               a->name);
}

void console_help(void)
{
	printf("Usage: trivm console NAME\n"
	       "Attach to the console of a virtual machine that was started with --daemonize or\n"
	       "--serial socket. What it wrote last is shown first. Ctrl-A x detaches, Ctrl-A h\n"
	       "lists the keys.\n");
}

int console_main(int argc, char **argv)
{
	struct attached a = {.fd = -1};
	struct err err;

	if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		console_help();
		return 0;
	}
	if (argc != 1 || !control_name_valid(argv[0])) {
		log_error("%s: expected the name of a VM; see `trivm list`",
		          argc ? argv[0] : "trivm console");
		return EXIT_USAGE;
	}
	a.name = argv[0];
	if (attach(&a, &err) < 0) {
		log_error("%s", err.msg);
		return EXIT_GONE;
	}
	copy(&a);
	fd_close(&a.fd);
	return 0;
}
