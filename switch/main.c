/* SPDX-License-Identifier: BSD-2-Clause */
/* trivm-switch: from the command line to the main loop and back. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "switch/closer.h"
#include "switch/options.h"
#include "switch/reaper.h"
#include "switch/sandbox.h"
#include "switch/stats.h"
#include "switch/sw.h"
#include "switch/uplink.h"
#include "switch/watchdog.h"
#include "vmm/fd.h"
#include "vmm/file.h"
#include "vmm/log.h"
#include "vmm/process.h"
#include "vmm/util.h"

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2
};

struct session {
	struct sw sw;
	struct loop_source signals;
	int signal_fd;
	FILE *stats;
};

static void print_stats(struct session *s)
{
	/* A file has the newest numbers only; a terminal or pipe gets them one after the other. */
	if (s->stats != stdout) {
		rewind(s->stats);
		if (ftruncate(fileno(s->stats), 0) < 0)
			return;
	}
	stats_print(&s->sw, s->stats);
}

static void on_signal(struct loop_source *src, uint32_t events)
{
	struct session *s = container_of(src, struct session, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(s->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		print_stats(s);
	else
		loop_stop(&s->sw.loop);
}

/* Before any thread: they inherit the mask. */
static int open_signals(struct session *s)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGUSR1};
	sigset_t set;

	sigemptyset(&set);
	process_add_signals(&set, signals, ARRAY_SIZE(signals));
	signal(SIGPIPE, SIG_IGN);
	if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
		return -errno;
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signal_fd < 0)
		return -errno;
	return loop_add(&s->sw.loop, &s->signals, s->signal_fd, EPOLLIN, on_signal);
}

/* mtu= of a tap: the user network was opened with it. */
static int set_uplink_mtu(struct port *port, const struct uplink_options *o, struct err *err)
{
	int rc = o->mtu && port->mtu != o->mtu && port->ops->set_mtu
	                 ? port->ops->set_mtu(port, o->mtu)
	                 : 0;

	if (rc == 0)
		return 0;
	return err_set(
		err, rc,
		"--uplink %s: mtu=%u: the interface has %u, and it cannot be changed: %s: sudo "
		"ip link set %s mtu %u",
		o->id, o->mtu, port->mtu, strerror(-rc), port_interface(port), o->mtu);
}

static int open_uplink(struct session *s, const struct uplink_options *o, struct err *err)
{
	struct uplink_config config = {.id = o->id, .vlan = o->vlan, .isolated = o->isolated};
	const struct port_tap_config tap = {
		.name = o->tap, .bridge = o->bridge, .fd = -1, .queues = 1, .vnet_hdr = true};
	struct uplink *u;
	char what[128];
	int rc = o->kind == UPLINK_TAP ? port_tap_open(&config.port, &tap, err)
	                               : port_user_open(&config.port, &o->user, err);

	if (rc == 0) {
		rc = set_uplink_mtu(config.port, o, err);
		if (rc < 0)
			port_close(config.port);
	}
	if (rc == 0)
		rc = uplink_create(&u, &s->sw, &config, err);
	if (rc < 0)
		return rc;
	uplink_describe(u, what, sizeof(what));
	log_info("uplink %s: %s", o->id, what);
	return 0;
}

static int open_stats(struct session *s, const char *path, struct err *err)
{
	int fd = file_create("--stats ", path, O_WRONLY | O_TRUNC, 0666, err);

	if (fd < 0)
		return fd;
	s->stats = fdopen(fd, "w");
	if (s->stats)
		return 0;
	fd_close(&fd);
	return err_errno(err, -ENOMEM, "--stats %s", path);
}

static int open_all(struct session *s, const struct options *o, struct err *err)
{
	static char stdout_buffer[4096]; /* until exit() */
	struct sandbox_config sandbox = {.user_network = false};
	int rc = open_signals(s);

	fd_shared_prepare();
	/* Before libslirp's thread. */
	if (rc == 0 && (rc = closer_start(!o->no_sandbox, err)) < 0)
		return rc;
	if (rc == 0)
		rc = reaper_start();
	if (rc == 0)
		rc = guest_memory_guard();
	if (rc == 0)
		rc = watchdog_init();
	if (rc < 0)
		return err_errno(err, rc, "signals");
	s->stats = stdout;
	/*
	 * A buffer of our own: on a terminal or /dev/null the C library would ask by an ioctl, at
	 * the first line, how to make one, and the system call filter knows no ioctl.
	 */
	setvbuf(stdout, stdout_buffer, _IOFBF, sizeof(stdout_buffer));
	if (o->stats) {
		rc = open_stats(s, o->stats, err);
		if (rc < 0)
			return rc;
	}
	for (unsigned i = 0; i < o->nr_uplinks && rc == 0; i++) {
		rc = open_uplink(s, &o->uplinks[i], err);
		sandbox.user_network |= o->uplinks[i].kind == UPLINK_USER;
	}
	guest_memory_limit(TIB(32) / (o->nr_ports ? o->nr_ports : 1));
	for (unsigned i = 0; i < o->nr_ports && rc == 0; i++) {
		struct guest *g;

		rc = guest_create(&g, &s->sw, &o->ports[i], err);
		if (rc == 0)
			rc = guest_open(g, err);
	}
	if (rc == 0 && !o->no_sandbox)
		rc = sandbox_enter(&sandbox, err);
	return rc;
}

static int session_run(const struct options *o, struct err *err)
{
	struct session *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return err_errno(err, -ENOMEM, "switch");
	s->signal_fd = -1;
	rc = sw_init(&s->sw, o->age, o->poll_us);
	if (rc < 0) {
		free(s);
		return err_errno(err, rc, "main loop");
	}
	s->sw.wait_ms = o->wait_ms;
	rc = open_all(s, o, err);
	if (rc == 0) {
		rc = sw_run(&s->sw);
		if (rc < 0)
			err_errno(err, rc, "main loop");
		print_stats(s);
	}
	loop_remove(&s->signals);
	fd_close(&s->signal_fd);
	sw_destroy(&s->sw);
	reaper_stop();
	closer_stop();
	if (s->stats && s->stats != stdout)
		fclose(s->stats);
	free(s);
	return rc;
}

int main(int argc, char **argv)
{
	struct options options;
	struct err err = {""};
	int rc;

	process_start();
	log_set_name("trivm-switch");
	fd_raise_limit();
	rc = options_parse(&options, argc, argv, &err);
	if (rc < 0) {
		log_error("%s", err.msg);
		return EXIT_USAGE;
	}
	if (options.help || options.version || options.words) {
		if (options.help)
			options_print_help(stdout);
		else if (options.version)
			puts("trivm-switch " TRIVM_VERSION);
		else
			options_print_words(stdout);
		return fflush(stdout) == 0 ? EXIT_OK : EXIT_FAILED;
	}
	if (options.verbose)
		log_set_level(LOG_INFO);
	rc = session_run(&options, &err);
	if (rc < 0)
		log_error("%s", err.msg);
	return rc < 0 ? EXIT_FAILED : EXIT_OK;
}
