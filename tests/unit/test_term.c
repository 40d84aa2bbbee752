/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * term: the escape keys, and a terminal that is as it was on every way out.
 *
 * A child that has a pseudo terminal as its controlling one uses it; the test looks at the settings
 * through the master's end, which outlives the child.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/term.h"
#include "vmm/util.h"

/* ---- escape keys ---- */

struct pressed {
	struct term_keys keys;
	unsigned quits, breaks;
};

static void on_quit(void *opaque)
{
	((struct pressed *)opaque)->quits++;
}

static void on_break(void *opaque)
{
	((struct pressed *)opaque)->breaks++;
}

static void press_init(struct pressed *p)
{
	*p = (struct pressed){.keys = {.quit = on_quit, .send_break = on_break, .opaque = p}};
}

/* Type @len bytes in pieces of @step; what is left of them is @want. */
static void types(struct pressed *p, const char *keys, size_t len, size_t step, const char *want,
                  size_t want_len)
{
	uint8_t out[64], *piece;
	size_t n = 0;

	for (size_t at = 0; at < len; at += step) {
		size_t some = min_u64(step, len - at), left;

		piece = malloc(some); /* its exact size, for the sanitizer */
		memcpy(piece, keys + at, some);
		left = term_filter(&p->keys, piece, some);
		assert_true(left <= some && n + left <= sizeof(out));
		memcpy(out + n, piece, left);
		n += left;
		free(piece);
	}
	assert_int_equal(n, want_len);
	assert_memory_equal(out, want, want_len);
}

/* Every sequence in one piece, and cut everywhere. */
#define TYPES(p, keys, want)                                    \
	for (size_t step = 1; step <= sizeof(keys) - 1; step++) \
	types(p, keys, sizeof(keys) - 1, step, want, sizeof(want) - 1)

static void plain_bytes_pass(void **state)
{
	struct pressed p;

	(void)state;
	press_init(&p);
	TYPES(&p, "hello\r\n\0\xff\x02\x03\x1a", "hello\r\n\0\xff\x02\x03\x1a");
	assert_int_equal(term_filter(&p.keys, (uint8_t[]){0}, 0), 0);
	assert_int_equal(p.quits + p.breaks, 0);
	TYPES(&p, "xbh?", "xbh?"); /* these letters alone are letters */
	assert_int_equal(p.quits + p.breaks, 0);
}

static void escape_keys(void **state)
{
	struct pressed p;

	(void)state;
	press_init(&p);
	TYPES(&p, "ab\1xcd", "abcd");
	assert_int_equal(p.quits, 6);
	TYPES(&p, "\1b\1b", "");
	assert_int_equal(p.breaks, 8);
	assert_int_equal(p.quits, 6);
	assert_false(p.keys.escaped);
}

static void two_escapes_are_one_byte(void **state)
{
	struct pressed p;

	(void)state;
	press_init(&p);
	TYPES(&p, "\1\1", "\1");
	TYPES(&p, "\1\1x", "\1x"); /* the x is not a key */
	TYPES(&p, "\1\1\1x", "\1");
	assert_int_equal(p.quits, 4);
	TYPES(&p, "a\1\1\1\1b", "a\1\1b");
}

static void unknown_keys_are_swallowed(void **state)
{
	struct pressed p;

	(void)state;
	press_init(&p);
	TYPES(&p, "1\1q2\1\r3\1X4\1\0005", "12345");
	assert_int_equal(p.quits + p.breaks, 0);
}

static void an_escape_waits_for_its_key(void **state)
{
	struct pressed p;

	(void)state;
	press_init(&p);
	types(&p, "a\1", 2, 2, "a", 1);
	assert_true(p.keys.escaped);
	assert_int_equal(term_filter(&p.keys, (uint8_t[]){0}, 0), 0);
	assert_true(p.keys.escaped);
	types(&p, "x", 1, 1, "", 0);
	assert_int_equal(p.quits, 1);
}

static void help_lists_every_key(void **state)
{
	static const char *const keys[] = {"Ctrl-A x", "Ctrl-A b", "Ctrl-A h", "Ctrl-A Ctrl-A"};
	int saved = dup(STDERR_FILENO), out[2];
	struct pressed p;
	char text[1024];
	ssize_t n;

	(void)state;
	press_init(&p);
	assert_int_equal(pipe(out), 0);
	dup2(out[1], STDERR_FILENO);
	types(&p, "\1h", 2, 1, "", 0);
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(out[1]);
	n = read(out[0], text, sizeof(text) - 1);
	close(out[0]);
	assert_true(n > 0);
	text[n] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		assert_non_null(strstr(text, keys[i]));
	/* It is seen on a raw terminal: each line end needs its return, before or by OPOST. */
	assert_int_equal(text[n - 1], '\n');
}

/* ---- the terminal ---- */

/* One character at a time, no echo, no signals from keys, nothing translated. */
static bool raw(const struct termios *t)
{
	return !(t->c_lflag & (ICANON | ECHO | ISIG | IEXTEN)) && !(t->c_iflag & (ICRNL | IXON));
}

struct pty {
	int master;
	pid_t child;
	int to_child, from_child;
	struct termios before;
};

static struct pty pty;
static int child_in, child_out; /* in the child: its ends */

/* In the child: say @c. tell_and_wait: and wait for the word to go on. */
static void tell(char c)
{
	if (write(child_out, &c, 1) != 1)
		_exit(97);
}

static void tell_and_wait(char c)
{
	tell(c);
	if (read(child_in, &c, 1) != 1)
		_exit(96);
}

/* Start @fn in a child with a terminal; with settings that nobody has by chance. */
static void pty_start(void (*fn)(void))
{
	int to[2], from[2];

	assert_int_equal(pipe(to) | pipe(from), 0);
	fflush(stdout);
	fflush(stderr);
	pty.child = forkpty(&pty.master, NULL, NULL, NULL);
	assert_true(pty.child >= 0);
	if (pty.child == 0) {
		struct rlimit none = {0, 0};
		struct termios t;

		setrlimit(RLIMIT_CORE, &none);
		alarm(30);
		child_in = to[0];
		child_out = from[1];
		close(to[1]);
		close(from[0]);
		tcgetattr(0, &t);
		t.c_cc[VERASE] = 'e';
		t.c_iflag |= IUTF8 | ICRNL;
		t.c_lflag |= ECHO | ECHOE | ICANON;
		tcsetattr(0, TCSANOW, &t);
		tell_and_wait('0');
		fn();
		_exit(98);
	}
	close(to[0]);
	close(from[1]);
	pty.to_child = to[1];
	pty.from_child = from[0];
}

/* What the child says next, within ten seconds; 0: nothing. */
static char child_says(void)
{
	struct pollfd p = {.fd = pty.from_child, .events = POLLIN};
	char c = 0;

	if (poll(&p, 1, 10000) <= 0 || read(pty.from_child, &c, 1) != 1)
		return 0;
	return c;
}

static void go_on(void)
{
	assert_int_equal(write(pty.to_child, "g", 1), 1);
}

static void wait_for(char c)
{
	char said = child_says();

	if (said != c)
		fail_msg("the child said '%c', not '%c'", said ? said : '-', c);
}

static struct termios settings(void)
{
	struct termios t;

	memset(&t, 0, sizeof(t));
	assert_int_equal(tcgetattr(pty.master, &t), 0);
	return t;
}

static void assert_as_before(void)
{
	struct termios t = settings();

	assert_int_equal(t.c_iflag, pty.before.c_iflag);
	assert_int_equal(t.c_oflag, pty.before.c_oflag);
	assert_int_equal(t.c_cflag, pty.before.c_cflag);
	assert_int_equal(t.c_lflag, pty.before.c_lflag);
	assert_memory_equal(t.c_cc, pty.before.c_cc, sizeof(t.c_cc));
}

static void assert_raw(void)
{
	struct termios t = settings();

	assert_true(raw(&t));
	assert_int_equal(t.c_oflag, pty.before.c_oflag); /* others still print lines */
}

static void begin(void (*fn)(void))
{
	pty_start(fn);
	wait_for('0');
	pty.before = settings();
	assert_false(raw(&pty.before));
	go_on();
}

/* The child's end; its status as waitpid() has it. */
static int pty_end(void)
{
	int status = -1;

	close(pty.to_child);
	assert_int_equal(waitpid(pty.child, &status, 0), pty.child);
	close(pty.from_child);
	close(pty.master);
	return status;
}

static void child_restores(void)
{
	tell_and_wait('a');
	term_raw(0);
	tell_and_wait('b');
	term_restore();
	tell_and_wait('c');
	term_restore(); /* twice: not with old settings over what came since */
	tell_and_wait('d');
	_exit(0);
}

static void raw_and_back(void **state)
{
	struct termios t;
	int status;

	(void)state;
	begin(child_restores);
	wait_for('a');
	assert_as_before();
	go_on();
	wait_for('b');
	assert_raw();
	go_on();
	wait_for('c');
	assert_as_before();
	t = settings();
	t.c_cc[VERASE] = 'f';
	tcsetattr(pty.master, TCSANOW, &t);
	go_on();
	wait_for('d');
	assert_int_equal(settings().c_cc[VERASE], 'f');
	go_on();
	status = pty_end();
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static int exit_code, deadly_signal;

static void child_exits(void)
{
	term_raw(0);
	tell_and_wait('r');
	exit(exit_code);
}

static void child_dies(void)
{
	term_raw(0);
	tell_and_wait('r');
	raise(deadly_signal);
	_exit(95);
}

static void child_faults(void)
{
	term_raw(0);
	tell_and_wait('r');
	__builtin_trap();
}

/* Run @fn, see it raw, and see the terminal as it was after its end. */
static int raw_until_the_end(void (*fn)(void))
{
	int status, master;

	begin(fn);
	wait_for('r');
	assert_raw();
	/* The settings have to be looked at when the child is gone. */
	master = dup(pty.master);
	go_on();
	status = pty_end();
	pty.master = master;
	assert_as_before();
	close(master);
	return status;
}

static void back_on_exit(void **state)
{
	(void)state;
	for (exit_code = 0; exit_code < 123; exit_code += 61) {
		int status = raw_until_the_end(child_exits);

		assert_true(WIFEXITED(status));
		assert_int_equal(WEXITSTATUS(status), exit_code);
	}
}

/* Whatever signal ends the process and can be caught; it is still the one that ended it. */
static void back_on_deadly_signals(void **state)
{
	static const int signals[] = {SIGQUIT, SIGILL,  SIGTRAP, SIGABRT, SIGBUS,    SIGFPE,
	                              SIGUSR1, SIGSEGV, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF,
	                              SIGXCPU, SIGXFSZ, SIGSYS,  SIGIO,   SIGPWR};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		int status;

		deadly_signal = signals[i];
		status = raw_until_the_end(child_dies);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(WTERMSIG(status), signals[i]);
	}
	assert_int_equal(WTERMSIG(raw_until_the_end(child_faults)), SIGILL);
}

/*
 * Job control: SIGTSTP only stops a process whose group has a parent in the session, as under a
 * shell. So the child is the "shell" here, and its own child uses the terminal.
 */
static void child_is_a_shell(void)
{
	int status;
	pid_t job;

	signal(SIGTTOU, SIG_IGN);
	job = fork();
	if (job == 0) {
		setpgid(0, 0);
		tcsetpgrp(0, getpid());
		signal(SIGTTOU, SIG_DFL);
		alarm(30);
		term_raw(0);
		tell_and_wait('r');
		raise(SIGTSTP);
		tell_and_wait('c'); /* after SIGCONT */
		exit(0);
	}
	waitpid(job, &status, WUNTRACED);
	tell_and_wait(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTSTP ? 's' : '!');
	kill(job, SIGCONT);
	waitpid(job, &status, 0);
	tell(WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 'e' : '!');
	_exit(0);
}

static void stopped_and_continued(void **state)
{
	(void)state;
	begin(child_is_a_shell);
	wait_for('r');
	assert_raw();
	go_on();
	wait_for('s');
	assert_as_before();
	go_on();
	wait_for('c');
	assert_raw();
	go_on();
	wait_for('e');
	assert_as_before();
	assert_int_equal(pty_end(), 0);
}

static void child_in_background(void)
{
	int status;
	pid_t job = fork();

	if (job == 0) {
		setpgid(0, 0); /* and not in the foreground */
		alarm(30);
		term_raw(0);
		_exit(0);
	}
	/* WUNTRACED: tcsetattr() from the background would have stopped it. */
	waitpid(job, &status, WUNTRACED);
	if (WIFSTOPPED(status))
		kill(job, SIGKILL);
	tell_and_wait(WIFEXITED(status) ? 'e' : '!');
	_exit(0);
}

static void not_ours_in_the_background(void **state)
{
	(void)state;
	begin(child_in_background);
	wait_for('e');
	assert_as_before();
	go_on();
	assert_int_equal(pty_end(), 0);
}

static void not_a_terminal(void **state)
{
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	term_raw(p[0]);
	term_raw(-1);
	term_restore();
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_bytes_pass),
		cmocka_unit_test(escape_keys),
		cmocka_unit_test(two_escapes_are_one_byte),
		cmocka_unit_test(unknown_keys_are_swallowed),
		cmocka_unit_test(an_escape_waits_for_its_key),
		cmocka_unit_test(help_lists_every_key),
		cmocka_unit_test(not_a_terminal),
		cmocka_unit_test(raw_and_back),
		cmocka_unit_test(back_on_exit),
		cmocka_unit_test(back_on_deadly_signals),
		cmocka_unit_test(stopped_and_continued),
		cmocka_unit_test(not_ours_in_the_background),
	};

	alarm(90);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
