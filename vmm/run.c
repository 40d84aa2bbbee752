/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a session is everything around the guest that outlives its reboots: the
 * kernel and initrd (judged before anything is built), the terminal, the consoles' host ends, and
 * signals (session_host.c). This file has its life from the command line to the exit status.
 */
#include "vmm/run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/probe.h"
#include "vmm/clock.h"
#include "vmm/exit_status.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/session.h"
#include "vmm/term.h"
#include "vmm/util.h"

#define DEFAULT_PARAMS "console=ttyS0 panic=-1"
#define TTY_PARAM      " trivm.tty" /* for the guest; Linux ignores a word with a dot */
#define FLUSH_MS       2000
#define SETTLE_MS      1000
#define CMDLINE_MAX    LAYOUT_CMDLINE_MAX
#define AT_ONCE_MS \
	5000 /* a guest that crashes within this time may never have been entered right */

/* Not to have the default one is no reason not to run. */
static int open_control(struct session *s, struct err *err)
{
	const struct config *c = &s->config;
	char path[CONTROL_PATH_MAX];
	int rc = 0;

	if (c->control && strcmp(c->control, "none") == 0)
		return 0;
	s->methods = control_vm_methods(&s->control);
	if (!c->control)
		rc = control_path(path, s->name, "sock", true, err);
	if (rc == 0)
		rc = control_open(&s->control.control, &s->loop, c->control ? c->control : path,
		                  &s->methods, err);
	if (rc == 0 || c->control || c->name)
		return rc < 0 ? err_prefix(err, rc, "%s", c->control ? "--control" : "--name") : 0;
	log_warn("no control socket: %s (--control none: without this line)", err->msg);
	err->msg[0] = '\0';
	return 0;
}

/* The process that goes on, its name, and where its messages will go. */
static int open_session(struct session *s, struct err *err)
{
	const struct config *c = &s->config;
	char path[CONTROL_PATH_MAX];
	int rc = c->daemonize ? daemon_fork(&s->daemon, err) : 0;

	if (c->name)
		snprintf(s->name, sizeof(s->name), "%s", c->name);
	else
		snprintf(s->name, sizeof(s->name), "trivm-%d", (int)getpid());
	s->control.config = c;
	s->control.name = s->name;
	s->daemon.pid_file = c->pid_file;
	s->daemon.announce = c->name ? NULL : s->name;
	if (rc == 0 && c->log_file)
		return daemon_open_log(&s->daemon, c->log_file, false, err);
	if (rc == 0 && c->daemonize)
		rc = control_path(path, s->name, "log", true, err);
	if (rc == 0 && c->daemonize)
		rc = daemon_open_log(&s->daemon, path, true, err);
	return rc;
}

/*
 * Is the guest's console a terminal that answers questions? One whose foreground is another program's is not: that
 * program would read the answer.
 */
static bool on_terminal(const struct config *c)
{
	const char *type = getenv("TERM");

	return !c->exec && !c->daemonize && !c->serial_socket && isatty(STDIN_FILENO) &&
	       isatty(STDOUT_FILENO) && term_in_foreground(STDIN_FILENO) &&
	       !(type && strcmp(type, "dumb") == 0);
}

/* The kernel command line: the default guest's own, then what the user added; or the user's alone.
 */
static int make_cmdline(struct session *s, struct err *err)
{
	const struct config *c = &s->config;
	const char *base = DEFAULT_PARAMS;
	const char *user = c->cmdline ? c->cmdline : "";
	int n;

	/* What Linux understands; a Multiboot kernel takes each word for its own. */
	if (c->kernel && (c->cmdline || s->kernel.protocol == BOOT_MULTIBOOT))
		base = "";
	n = asprintf(&s->cmdline, "%s%s%s%s%s", base, c->exec ? " quiet" : "",
	             !c->kernel && on_terminal(c) ? TTY_PARAM : "", *base && *user ? " " : "",
	             user);
	if (n < 0) {
		s->cmdline = NULL;
		return err_errno(err, -ENOMEM, "-p");
	}
	return 0;
}

static int find_files(struct session *s, const char **kernel, struct err *err)
{
	const struct config *c = &s->config;
	const char *initrd = c->initrd;

	*kernel = c->kernel;
	if (!c->kernel) {
		int rc = guest_image_find(&s->image, err);

		if (rc < 0)
			return rc;
		*kernel = s->image.kernel;
		initrd = s->image.initrd;
	}
	if (initrd)
		s->initrd[s->nr_initrd++] = (struct boot_initrd_part){.path = initrd};
	if (c->exec) {
		size_t len;
		int rc = guest_image_exec_archive(c->exec, &s->exec_archive, &len);

		if (rc < 0)
			return err_errno(err, rc, "--exec");
		s->initrd[s->nr_initrd++] =
			(struct boot_initrd_part){.data = s->exec_archive, .len = len};
	}
	return 0;
}

/* A Linux kernel where KVM cannot run one would die in its first milliseconds: say so instead. */
static int check_kvm(const struct session *s, struct err *err)
{
	const struct config *c = &s->config;

	if (c->no_kvm_check || !s->kernel.is_linux || probe_kvm(c->kvm_path) != PROBE_PARTIAL)
		return 0;
	return err_set(
		err, -ENOTSUP,
		"%s: this host's KVM has no hardware virtualization under it and cannot run an "
		"ordinary kernel; use the lab: lab/run -- trivm run ... (`trivm doctor` says more)",
		s->kernel.path);
}

/* Boot once. 0 with the reason in machine_end(), or a negative errno. */
static int boot_once(struct session *s, struct err *err)
{
	struct machine_inputs in = {
		.config = &s->config,
		.kernel = &s->kernel,
		.cmdline = s->cmdline,
		.initrd = s->initrd,
		.nr_initrd = s->nr_initrd,
		.loop = &s->loop,
		.com1 = &s->com1,
		.com2 = s->config.exec ? &s->com2 : NULL,
		.console = s->config.console.present ? &s->console.chr : NULL,
		.events = control_sink(s->control.control),
	};
	int rc;

	s->machine = calloc(1, sizeof(*s->machine));
	if (!s->machine)
		return err_errno(err, -ENOMEM, "the machine");
	s->control.machine = s->machine;
	rc = machine_build(s->machine, &in, err);
	if (rc == 0)
		session_take_terminal(s);
	if (rc == 0)
		rc = machine_start(s->machine, err);
	if (rc == 0) {
		s->booted_ms = clock_ms();
		control_vm_started(&s->control);
		rc = daemon_ready(&s->daemon, err);
	}
	if (rc == 0) {
		rc = loop_run(&s->loop);
		if (rc < 0)
			err_errno(err, rc, "the main loop");
	}
	return rc;
}

/* --exec: what the guest said last, if it died instead of answering. */
static void show_console_end(struct session *s)
{
	uint8_t buf[SESSION_CONSOLE_END];
	size_t n = s->com1.kept ? chardev_last(&s->com1, buf) : 0;

	if (!n)
		return;
	log_error("the end of its console:");
	fd_write_full(STDERR_FILENO, buf, n);
}

/* A kernel that was taken for Linux without a sign of it, and that died at once, may be no Linux. */
static void explain_crash(const struct session *s)
{
	if (s->kernel.guessed && clock_ms() - s->booted_ms < AT_ONCE_MS)
		log_error("kernel '%s': nothing in the file says how it is started: that it is "
		          "a Linux vmlinux was a guess, and may be wrong; --boot says it, and "
		          "-k takes a bzImage, or ELF with a PVH note or a Multiboot header",
		          s->kernel.path);
}

/* The status that the guest's end stands for. */
static int guest_status(struct session *s)
{
	switch (machine_end(s->machine)) {
	case MACHINE_POWEROFF:
		return machine_guest_status(s->machine);
	case MACHINE_RESET:
		if (s->config.exec)
			log_error("--exec: the guest was reset before the command ended");
		return EXIT_GUEST_RESET;
	case MACHINE_CRASH:
		explain_crash(s);
		return EXIT_GUEST_CRASH;
	case MACHINE_QUIT:
		return s->kill_signal ? EXIT_SIGNAL(s->kill_signal) : EXIT_QUIT;
	default:
		return EXIT_HOST;
	}
}

/*
 * The status after all output was flushed. What reads standard output may go away while the guest
 * writes, or only during the flush: both count as the death by SIGPIPE that others would have had.
 * A command of --exec did not succeed if its output was lost, on a full disk, say.
 */
static int exit_status(struct session *s, int status)
{
	if (s->output_error == EPIPE)
		return EXIT_SIGNAL(SIGPIPE);
	if (s->output_error && s->config.exec && status == 0)
		return EXIT_HOST;
	return status;
}

/* What is wrong with an option, a file or /dev/kvm is the user's to mend: wrong usage. */
static bool is_usage(int rc)
{
	switch (-rc) {
	case EINVAL:
	case ERANGE:
	case ENOENT:
	case ENOTDIR:
	case EISDIR:
	case EACCES:
	case EPERM:
	case EBUSY:
	case EROFS:
	case ETXTBSY:
	case EEXIST:
	case EADDRINUSE:
	case ENAMETOOLONG:
	case E2BIG:
	case EFBIG:
	case ENOEXEC:
	case ENOSPC:
	case ENOMEM: /* more than the guest or the host has: -m */
	case ENOTTY: /* --kvm names something else */
	case ENXIO:
	case ENODEV:
		return true;
	default:
		return false;
	}
}

/* The exit status if the guest could not be started, for which @rc is the reason. */
static int failure_status(struct session *s, int rc)
{
	int signal = rc == -EINTR ? session_waiting_signal(s) : 0;

	return signal ? EXIT_SIGNAL(signal) : is_usage(rc) ? EXIT_USAGE : EXIT_HOST;
}

static void take_down(struct session *s)
{
	if (!s->machine)
		return;
	machine_destroy(s->machine);
	free(s->machine);
	s->machine = NULL;
}

/* Boot, and boot again while the guest asks for it and the user allows it. The exit status. */
static int run_guest(struct session *s, struct err *err)
{
	bool again;
	int status;

	do {
		int rc = boot_once(s, err);
		enum machine_end end;

		if (rc < 0) {
			take_down(s);
			return failure_status(s, rc);
		}
		vm_stop(&s->machine->vm);
		end = machine_end(s->machine);
		again = end == MACHINE_RESET &&
		        (s->control.reset || s->config.on_reset == ON_RESET_REBOOT);
		s->control.reset = false;
		status = guest_status(s);
		attach_pump(s->serial);
		chardev_flush(&s->com1, FLUSH_MS);
		attach_pump(s->serial);
		if (s->config.exec)
			chardev_flush(&s->com2, FLUSH_MS);
		if (s->config.console.present)
			chardev_flush(&s->console.chr, FLUSH_MS);
		status = exit_status(s, status);
		if (s->output_error == EPIPE)
			again = false;
		else if (end != MACHINE_POWEROFF)
			show_console_end(s);
		if (!machine_settle(s->machine, SETTLE_MS, err))
			return again ? EXIT_HOST : status;
		take_down(s);
		s->loop.stopping = false;
	} while (again);
	return status;
}

static int prepare(struct session *s, struct err *err)
{
	const char *kernel;
	int rc = find_files(s, &kernel, err);

	if (rc == 0)
		rc = boot_open(&s->kernel, kernel, s->config.boot, err);
	if (rc == 0)
		rc = make_cmdline(s, err);
	for (unsigned i = 0; rc == 0 && i < s->config.nr_disks; i++)
		rc = disk_options_check_format(&s->config.disks[i], err);
	if (rc == 0 && access(s->config.kvm_path, F_OK) == 0) /* else kvm_open() says why */
		rc = check_kvm(s, err);
	if (rc == -ENOTSUP)
		return rc;
	return rc < 0 ? -EINVAL : 0;
}

static void session_close(struct session *s)
{
	term_restore();
	control_close(s->control.control);
	chardev_destroy(&s->com1);
	chardev_destroy(&s->com2);
	console_host_close(&s->console);
	attach_close(s->serial);
	session_close_terminal(s);
	loop_remove(&s->signals);
	fd_close(&s->signal_fd);
	loop_destroy(&s->loop);
	boot_close(&s->kernel);
	free(s->exec_archive);
	free(s->cmdline);
	daemon_close(&s->daemon);
}

static int session_run(struct session *s)
{
	struct err err = {.msg = ""};
	int rc = open_session(s, &err);
	int status;

	if (rc == 0)
		rc = prepare(s, &err);
	if (rc == 0) {
		rc = loop_init(&s->loop);
		if (rc < 0)
			err_errno(&err, rc, "epoll");
	}
	if (rc < 0) {
		log_error("%s", err.msg);
		return is_usage(rc) ? EXIT_USAGE : EXIT_HOST;
	}
	rc = session_open_signals(s, &err);
	if (rc == 0)
		rc = session_open_consoles(s, &err);
	if (rc == 0)
		rc = open_control(s, &err);
	status = rc == 0 ? run_guest(s, &err) : is_usage(rc) ? EXIT_USAGE : EXIT_HOST;
	if (err.msg[0]) {
		term_restore();
		log_error("%s", err.msg);
	}
	return status;
}

void run_help(void)
{
	printf("Usage: trivm run [OPTION]...\n"
	       "Run a virtual machine; without -k the default Linux guest.\n\n");
	config_print_help(stdout);
	printf("\nOn the terminal: Ctrl-A x quits, Ctrl-A h lists the keys.\n"
	       "SIGTERM presses the power button; a second one ends the guest at once.\n"
	       "SIGUSR1 shows the registers of all vCPUs, for a guest that hangs.\n"
	       "Exit status: the guest's own when it powers off (0), %d wrong usage, %d host "
	       "error,\n"
	       "%d guest reset, %d guest crashed, %d quit by Ctrl-A x, 128 + n ended by signal "
	       "n.\n",
	       EXIT_USAGE, EXIT_HOST, EXIT_GUEST_RESET, EXIT_GUEST_CRASH, EXIT_QUIT);
}

int run_main(int argc, char **argv)
{
	/* Static: it is large, and there is one. */
	static struct session session = {.signal_fd = -1,
	                                 .look_fd = -1,
	                                 .daemon = {.ready_fd = -1, .log_fd = -1, .pid_fd = -1},
	                                 .kernel = {.fd = -1},
	                                 .loop = {.epfd = -1, .wakefd = -1}};
	struct session *s = &session;
	struct err err;
	int status;

	config_default(&s->config);
	if (config_parse(&s->config, argc, argv, &err) < 0) {
		log_error("%s", err.msg);
		return EXIT_USAGE;
	}
	if (s->config.help) {
		run_help();
		return 0;
	}
	if (s->config.verbose)
		log_set_level(s->config.verbose > 1 ? LOG_DEBUG : LOG_INFO);
	fd_raise_limit();
	status = session_run(s);
	session_close(s);
	return status;
}
