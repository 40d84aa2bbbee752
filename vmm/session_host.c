/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the host's side of a session.
 *
 * Signals arrive through a signalfd on the main loop. The first SIGTERM, SIGINT or SIGHUP presses
 * the guest's power button; a second one ends the guest at once. All threads are born with them
 * blocked. A signal that was ignored when trivm was started (nohup; a script's background job)
 * stays so. SIGCONT is among them, since a process that was stopped finds the terminal changed.
 *
 * With --exec the command's output (COM2) is stdout and must stay clean, so the end of the console
 * (COM1) is kept in memory, to be shown if the guest dies instead of answering; with -v the console
 * is on stderr.
 */
#include "vmm/session.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/process.h"
#include "vmm/util.h"

static void on_quit(void *opaque)
{
	struct session *s = opaque;

	machine_stop(s->machine, MACHINE_QUIT);
}

static void on_break(void *opaque)
{
	struct session *s = opaque;

	s->com1.client.line_break(s->com1.client.opaque);
}

/* The process was stopped, and goes on: in the foreground, or by `bg` in the background. */
static void on_continued(struct session *s)
{
	if (s->com1.may_read) {
		term_update();
		chardev_accept_input(&s->com1);
	}
	/* The guest was stopped as well; on resuming its clock is told. */
	if (s->machine && s->machine->vm.state == VM_RUNNING) {
		vm_pause(&s->machine->vm);
		vm_resume(&s->machine->vm);
	}
}

int session_waiting_signal(struct session *s)
{
	struct signalfd_siginfo info;

	while (read(s->signal_fd, &info, sizeof(info)) == sizeof(info))
		if (info.ssi_signo != SIGUSR1 && info.ssi_signo != SIGCONT)
			return (int)info.ssi_signo;
	return 0;
}

static void on_signal(struct loop_source *src, uint32_t events)
{
	struct session *s = container_of(src, struct session, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1) {
		machine_dump(s->machine);
		return;
	}
	if (info.ssi_signo == SIGCONT) {
		on_continued(s);
		return;
	}
	if (s->stop_signal) {
		s->kill_signal = (int)info.ssi_signo;
		machine_stop(s->machine, MACHINE_QUIT);
		return;
	}
	s->stop_signal = (int)info.ssi_signo;
	log_info("%s: the guest is asked to power off; once more ends it at once",
	         strsignal(s->stop_signal));
	machine_power_button(s->machine);
}

int session_open_signals(struct session *s, struct err *err)
{
	static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCONT};
	sigset_t set;
	int rc;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	process_add_signals(&set, signals, ARRAY_SIZE(signals));
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	rc = s->signal_fd < 0 ? -errno : 0;
	if (rc == 0)
		rc = loop_add(&s->loop, &s->signals, s->signal_fd, EPOLLIN, on_signal);
	return rc < 0 ? err_errno(err, rc, "signalfd") : 0;
}

/* The serial console on a socket; @in and @out are the guest's end of it. */
static int open_serial_socket(struct session *s, int *in, int *out, struct err *err)
{
	int fds[2];
	int rc = control_path(s->console_path, s->name, "console", true, err);

	if (rc == 0)
		rc = attach_open(&s->serial, &s->loop, s->console_path, fds, err);
	if (rc < 0)
		return err_prefix(err, rc, "--serial socket");
	s->control.console = s->console_path;
	*in = fds[0];
	*out = fds[1];
	return 0;
}

/*
 * Standard output takes no more. A reader that has gone ends the run, as SIGPIPE ends others; what
 * another reason loses (a full disk, `ulimit -f`) is lost, and the guest goes on.
 */
static void on_output_broken(void *opaque, int error)
{
	struct session *s = opaque;

	s->output_error = error == ECONNRESET ? EPIPE : error;
	if (s->output_error != EPIPE) {
		log_warn("standard output: %s; what the guest writes is dropped from here on",
		         strerror(error));
	} else if (s->machine) {
		log_info("standard output is closed: the guest is ended");
		machine_stop(s->machine, MACHINE_QUIT);
	}
}

/* --- The terminal: its foreground may be another's --- */

static void on_look(struct loop_source *src, uint32_t events)
{
	struct session *s = container_of(src, struct session, look);

	(void)events;
	fd_drain(s->look_fd);
	chardev_accept_input(&s->com1); /* asks may_read() */
}

static bool may_read(void *opaque)
{
	struct session *s = opaque;
	bool ours = term_is_ours();

	if (!ours)
		loop_timer_set(s->look_fd, TERM_LOOK_MS);
	return ours;
}

void session_take_terminal(struct session *s)
{
	if (s->look_fd >= 0 && !s->terminal_taken)
		term_raw(STDIN_FILENO);
	s->terminal_taken = true;
}

static int open_terminal(struct session *s, struct err *err)
{
	int rc = s->look_fd = loop_timer_create();

	if (rc >= 0)
		rc = loop_add(&s->loop, &s->look, s->look_fd, EPOLLIN, on_look);
	if (rc < 0)
		return err_errno(err, rc, "the terminal");
	s->keys = (struct term_keys){.quit = on_quit, .send_break = on_break, .opaque = s};
	s->com1.filter = term_filter;
	s->com1.filter_opaque = &s->keys;
	s->com1.may_read = may_read;
	s->com1.may_read_opaque = s;
	return 0;
}

void session_close_terminal(struct session *s)
{
	loop_remove(&s->look);
	fd_close(&s->look_fd);
}

/* --- The consoles --- */

/* The guest's console with --exec: only its end matters, or with -v it is on stderr. */
static int open_exec(struct session *s, int *out, struct err *err)
{
	int rc = chardev_init(&s->com2, &s->loop, -1, STDOUT_FILENO);

	if (rc < 0)
		return err_errno(err, rc, "stdout");
	s->com2.on_broken = on_output_broken;
	s->com2.on_broken_opaque = s;
	*out = s->config.verbose ? STDERR_FILENO : -1;
	return 0;
}

int session_open_consoles(struct session *s, struct err *err)
{
	const struct config *c = &s->config;
	int in = STDIN_FILENO, out = STDOUT_FILENO;
	int rc;

	if (c->exec) {
		in = -1;
		rc = open_exec(s, &out, err);
		if (rc < 0)
			return rc;
	}
	if (c->console.present) {
		rc = console_host_open(&s->console, &c->console, &s->loop, err);
		if (rc < 0)
			return rc;
	}
	if (c->daemonize || c->serial_socket) {
		rc = open_serial_socket(s, &in, &out, err);
		if (rc < 0)
			return rc;
	}
	rc = chardev_init(&s->com1, &s->loop, in, out);
	if (rc == 0 && c->exec && !c->verbose)
		rc = chardev_keep_last(&s->com1, SESSION_CONSOLE_END);
	if (rc < 0)
		return err_errno(err, rc, "console");
	if (out == STDOUT_FILENO) {
		s->com1.on_broken = on_output_broken;
		s->com1.on_broken_opaque = s;
	}
	return in >= 0 && isatty(in) ? open_terminal(s, err) : 0;
}
