/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pty: run a command on a terminal of its own and hold a conversation with it.
 *
 *	pty [-t SECONDS] STEP... -- COMMAND...
 *
 * Steps, one after the other:
 *	expect TEXT	the output goes on with TEXT somewhere (after what the last expect found)
 *	send TEXT	type TEXT
 *	paste FILE	type what is in FILE, however long it is, as fast as the terminal takes it
 *	signal NAME	TERM, INT, HUP, QUIT, ABRT, TSTP, CONT or KILL
 *	raw, cooked	the terminal is in that mode, or gets there
 *	pause MS
 *	size RxC	the terminal has R lines and C columns from now on
 *	answer RxC	asked for its cursor's position (ESC [ 6 n), the terminal answers that from now on
 *	run COMMAND	the shell command COMMAND succeeds
 *	hangup		the terminal goes away
 *	status N	the command ends with exit status N (256 + signal) and has left the terminal
 *			as it was
 *
 * TEXT knows \r \n \\ and \xHH. Each step has SECONDS (10). Exit status 0: all went so. 1:
 * something did not, which is said on stderr together with what the terminal showed. 2: usage.
 *
 * Theory of operation: one loop around poll() on the master side. We keep the slave side open as
 * well: it is how the terminal's modes are read, and it lets them be compared after the command is
 * gone.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define OUTPUT_MAX (1 << 22)

struct session {
	int master, slave;
	pid_t leader, pid; /* of the session; of the command */
	struct termios before;
	double seconds;
	char output[OUTPUT_MAX];
	size_t used, matched; /* bytes seen; up to where expect has looked */
	size_t asked;         /* up to where questions have been answered */
	char answer[32];      /* to ESC [ 6 n; empty: none */
	bool ended;
	int status;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void usage(const char *what)
{
	fprintf(stderr, "pty: %s\nusage: pty [-t SECONDS] STEP... -- COMMAND...\n", what);
	exit(2);
}

static void failed(struct session *s, const char *step, const char *arg)
{
	fprintf(stderr, "pty: not so after %g s: %s%s%s\npty: the terminal showed:\n", s->seconds,
	        step, arg ? " " : "", arg ? arg : "");
	fwrite(s->output, 1, s->used, stderr);
	fprintf(stderr, "\npty: end\n");
	if (!s->ended)
		kill(s->pid, SIGKILL);
	exit(1);
}

/* Answer as a terminal whose cursor is in its last corner does. */
static void answer_questions(struct session *s)
{
	static const char question[] = "\033[6n";
	size_t len = sizeof(question) - 1;
	const char *at;

	while (s->answer[0] &&
	       (at = memmem(s->output + s->asked, s->used - s->asked, question, len))) {
		s->asked = (size_t)(at - s->output) + len;
		if (write(s->master, s->answer, strlen(s->answer)) < 0)
			return;
	}
}

/* Take what comes within @ms. */
static void gather(struct session *s, int ms)
{
	struct pollfd p = {.fd = s->master, .events = POLLIN};
	int wstatus;
	ssize_t n;

	if (s->master < 0)
		usleep((useconds_t)ms * 1000);
	else if (poll(&p, 1, ms) > 0) {
		n = read(s->master, s->output + s->used, OUTPUT_MAX - 1 - s->used);
		if (n > 0)
			s->used += (size_t)n;
		answer_questions(s);
	}
	if (!s->ended && waitpid(s->leader, &wstatus, WNOHANG) == s->leader) {
		s->ended = true;
		s->status = WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : 256 + WTERMSIG(wstatus);
	}
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Resolve escapes in place; the length. */
static size_t unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		if (*in != '\\') {
			*out++ = *in;
			continue;
		}
		in++;
		if (*in == 'r')
			*out++ = '\r';
		else if (*in == 'n')
			*out++ = '\n';
		else if (*in == '\\')
			*out++ = '\\';
		else if (*in == 'x' && hex(in[1]) >= 0 && hex(in[2]) >= 0) {
			*out++ = (char)(hex(in[1]) * 16 + hex(in[2]));
			in += 2;
		} else
			usage("unknown escape");
	}
	*out = '\0';
	return (size_t)(out - text);
}

static bool found(struct session *s, const char *text, size_t len)
{
	const char *at = memmem(s->output + s->matched, s->used - s->matched, text, len);

	if (at)
		s->matched = (size_t)(at - s->output) + len;
	return at;
}

static bool is_raw(const struct session *s)
{
	struct termios t;

	return !tcgetattr(s->slave, &t) && !(t.c_lflag & (ICANON | ECHO | ISIG));
}

static bool is_restored(const struct session *s)
{
	struct termios t;

	return !tcgetattr(s->slave, &t) && t.c_iflag == s->before.c_iflag &&
	       t.c_oflag == s->before.c_oflag && t.c_cflag == s->before.c_cflag &&
	       t.c_lflag == s->before.c_lflag && !memcmp(t.c_cc, s->before.c_cc, sizeof(t.c_cc));
}

static void do_expect(struct session *s, const char *arg)
{
	char *text = strdup(arg);
	size_t len = unescape(text);
	double end = now() + s->seconds;

	while (!found(s, text, len)) {
		if (now() > end)
			failed(s, "expect", arg);
		gather(s, 20);
	}
	free(text);
}

static void do_send(struct session *s, const char *arg)
{
	char *text = strdup(arg);
	size_t len = unescape(text);

	if (write(s->master, text, len) != (ssize_t)len)
		failed(s, "send", arg);
	free(text);
}

static void do_paste(struct session *s, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), flags = fcntl(s->master, F_GETFL);
	double end = now() + s->seconds;
	char buf[4096];
	ssize_t len, n;

	if (fd < 0)
		failed(s, "paste", path);
	fcntl(s->master, F_SETFL, flags | O_NONBLOCK);
	while ((len = read(fd, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0; done < len;) {
			n = write(s->master, buf + done, (size_t)(len - done));
			done += n > 0 ? n : 0;
			if (now() > end)
				failed(s, "paste", path);
			gather(s, n > 0 ? 0 : 10);
		}
	fcntl(s->master, F_SETFL, flags);
	close(fd);
}

static void do_mode(struct session *s, const char *name, bool raw)
{
	double end = now() + s->seconds;

	while (raw ? !is_raw(s) : !is_restored(s)) {
		if (now() > end)
			failed(s, name, NULL);
		gather(s, 20);
	}
}

static void do_status(struct session *s, const char *arg)
{
	double end = now() + s->seconds;

	while (!s->ended) {
		if (now() > end)
			failed(s, "status (it still runs)", arg);
		gather(s, 20);
	}
	gather(s, 0);
	if (s->status != atoi(arg)) {
		fprintf(stderr, "pty: it ended with %d\n", s->status);
		failed(s, "status", arg);
	}
	if (s->slave >= 0 && s->status != 256 + SIGKILL && !is_restored(s))
		failed(s, "the terminal is as it was", NULL);
}

static void do_signal(struct session *s, const char *name)
{
	static const struct {
		const char *name;
		int sig;
	} signals[] = {{"TERM", SIGTERM}, {"INT", SIGINT},   {"HUP", SIGHUP},   {"KILL", SIGKILL},
	               {"QUIT", SIGQUIT}, {"ABRT", SIGABRT}, {"TSTP", SIGTSTP}, {"CONT", SIGCONT}};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		if (strcmp(signals[i].name, name))
			continue;
		kill(s->pid, signals[i].sig);
		return;
	}
	usage("unknown signal");
}

static void do_pause(struct session *s, const char *ms)
{
	double end = now() + atof(ms) / 1000;

	while (now() < end)
		gather(s, 10);
}

static void do_size(struct session *s, const char *size)
{
	struct winsize w = {0};

	if (sscanf(size, "%hux%hu", &w.ws_row, &w.ws_col) != 2)
		usage(size);
	ioctl(s->master, TIOCSWINSZ, &w);
}

static void do_answer(struct session *s, const char *size)
{
	unsigned rows, columns;

	if (sscanf(size, "%ux%u", &rows, &columns) != 2)
		usage(size);
	snprintf(s->answer, sizeof(s->answer), "\033[%u;%uR", rows, columns);
	s->asked = s->used; /* questions from now on */
}

static void do_hangup(struct session *s)
{
	close(s->slave);
	close(s->master);
	s->slave = s->master = -1;
}

/* Runs the step at @argv[0]; how many words it took. */
static int step(struct session *s, char **argv)
{
	const char *name = argv[0], *arg = argv[1];

	if (!strcmp(name, "raw") || !strcmp(name, "cooked")) {
		do_mode(s, name, !strcmp(name, "raw"));
		return 1;
	}
	if (!strcmp(name, "hangup")) {
		do_hangup(s);
		return 1;
	}
	if (!strcmp(name, "expect"))
		do_expect(s, arg);
	else if (!strcmp(name, "send"))
		do_send(s, arg);
	else if (!strcmp(name, "paste"))
		do_paste(s, arg);
	else if (!strcmp(name, "signal"))
		do_signal(s, arg);
	else if (!strcmp(name, "pause"))
		do_pause(s, arg);
	else if (!strcmp(name, "size"))
		do_size(s, arg);
	else if (!strcmp(name, "answer"))
		do_answer(s, arg);
	else if (!strcmp(name, "run")) {
		if (system(arg) != 0)
			failed(s, name, arg);
	} else if (!strcmp(name, "status"))
		do_status(s, arg);
	else
		usage(name);
	return 2;
}

static volatile pid_t command_pid;

static void forward(int sig)
{
	kill(command_pid, sig);
}

/*
 * The command's session leader, as a shell would be: without one in its session but outside of its
 * process group the command could not be stopped (SIGTSTP does nothing to orphans). Ends as the
 * command does.
 */
static void lead(struct session *s, char **command, int report)
{
	int wstatus;

	setsid();
	ioctl(s->slave, TIOCSCTTY, 0);
	signal(SIGTTOU, SIG_IGN);
	command_pid = fork();
	if (command_pid == 0) {
		setpgid(0, 0);
		tcsetpgrp(s->slave, getpid());
		signal(SIGTTOU, SIG_DFL);
		dup2(s->slave, STDIN_FILENO);
		dup2(s->slave, STDOUT_FILENO);
		dup2(s->slave, STDERR_FILENO);
		execvp(command[0], command);
		perror(command[0]);
		_exit(127);
	}
	signal(SIGHUP, forward);
	if (write(report, (const void *)&command_pid, sizeof(pid_t)) < 0)
		_exit(126);
	close(s->slave);
	close(s->master);
	while (waitpid(command_pid, &wstatus, 0) < 0 && errno == EINTR)
		continue;
	if (WIFEXITED(wstatus))
		_exit(WEXITSTATUS(wstatus));
	signal(WTERMSIG(wstatus), SIG_DFL);
	raise(WTERMSIG(wstatus));
	_exit(126);
}

static void start(struct session *s, char **command)
{
	int report[2];

	s->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->master < 0 || grantpt(s->master) || unlockpt(s->master)) {
		perror("pty: no pseudo-terminal");
		exit(1);
	}
	s->slave = open(ptsname(s->master), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (s->slave < 0 || tcgetattr(s->slave, &s->before) || pipe2(report, O_CLOEXEC)) {
		perror("pty: slave");
		exit(1);
	}
	s->leader = fork();
	if (s->leader == 0)
		lead(s, command, report[1]);
	if (s->leader < 0 || read(report[0], &s->pid, sizeof(s->pid)) != sizeof(s->pid)) {
		fprintf(stderr, "pty: cannot start %s\n", command[0]);
		exit(1);
	}
	close(report[0]);
	close(report[1]);
}

int main(int argc, char **argv)
{
	static struct session s = {.seconds = 10};
	int first = 1, sep;

	if (argc > 3 && !strcmp(argv[1], "-t")) {
		s.seconds = atof(argv[2]);
		first = 3;
	}
	for (sep = first; sep < argc && strcmp(argv[sep], "--"); sep++)
		continue;
	if (sep >= argc - 1)
		usage("no command");
	start(&s, argv + sep + 1);
	argv[sep] = NULL;
	for (int i = first; i < sep;) {
		if (!argv[i + 1] && strcmp(argv[i], "raw") && strcmp(argv[i], "cooked") &&
		    strcmp(argv[i], "hangup"))
			usage("the last step lacks its word");
		i += step(&s, argv + i);
	}
	if (!s.ended)
		kill(s.pid, SIGKILL);
	return 0;
}
