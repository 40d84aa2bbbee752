/* SPDX-License-Identifier: BSD-2-Clause */
/* fd: descriptors, eventfds, whole transfers. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/fd.h"

static void close_is_idempotent(void **state)
{
	int fd = dup(STDERR_FILENO);
	int copy = fd, failed = -EMFILE;

	(void)state;
	fd_close(&fd);
	assert_int_equal(fd, -1);
	assert_int_equal(fcntl(copy, F_GETFD), -1);
	fd_close(&fd);
	assert_int_equal(fd, -1);

	/* The second close must not hit whoever got the number since. */
	fd = copy;
	assert_int_equal(dup2(STDERR_FILENO, copy), copy);
	fd = -1;
	fd_close(&fd);
	assert_int_not_equal(fcntl(copy, F_GETFD), -1);
	close(copy);

	fd_close(&failed); /* an error code that was kept in place of an fd */
	assert_int_equal(failed, -1);
}

/* The alarm of main() ends a test that blocks. */
static void an_eventfd_that_another_process_made_blocking(void **state)
{
	uint64_t brim = UINT64_MAX - 1;
	int fd = fd_eventfd(), theirs = dup(fd);

	(void)state;
	assert_int_equal(fcntl(theirs, F_SETFL, fcntl(theirs, F_GETFL) & ~O_NONBLOCK), 0);
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(fd_drain(fd), 0);
	fd_signal_shared(fd);
	fd_signal_shared(fd);
	assert_int_equal(fd_drain(fd), 2);
	assert_int_equal(write(theirs, &brim, sizeof(brim)), sizeof(brim));
	for (unsigned i = 0; i < 1000; i++)
		fd_signal_shared(fd);
	assert_true(fd_drain(fd) >= brim);
	/* A child has no part in the parent's asynchronous I/O. */
	if (fork() == 0) {
		fd_signal_shared(fd);
		_exit(0);
	}
	wait(NULL);
	assert_int_equal(fd_drain(fd), 1);

	assert_int_equal(fd_renew(fd), 0);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	fd_signal(fd);
	assert_int_equal(fd_drain(theirs), 0);
	assert_int_equal(fd_drain(fd), 1);
	fd_close(&theirs);
	fd_close(&fd);
}

static void *signal_many(void *arg)
{
	for (unsigned i = 0; i < 2000; i++)
		fd_signal_shared(*(int *)arg);
	return NULL;
}

static void signals_of_many_threads_are_all_counted(void **state)
{
	int fd = fd_eventfd();
	pthread_t t[8];

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, signal_many, &fd);
	for (unsigned i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	assert_int_equal(fd_drain(fd), 16000);
	fd_close(&fd);
}

static void eventfd_counts_and_never_blocks(void **state)
{
	uint64_t brim = UINT64_MAX - 1;
	int fd = fd_eventfd();

	(void)state;
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(fd_drain(fd), 0);
	fd_signal(fd);
	fd_signal(fd);
	fd_signal(fd);
	assert_int_equal(fd_drain(fd), 3);
	assert_int_equal(fd_drain(fd), 0);

	assert_int_equal(write(fd, &brim, sizeof(brim)), sizeof(brim));
	fd_signal(fd); /* does not fit: would block */
	assert_true(fd_drain(fd) == brim);
	fd_close(&fd);
}

struct feed {
	int fd;
	const char *data;
	size_t len, step;
};

/* Write it in small pieces, with pauses, then close. */
static void *feed(void *arg)
{
	struct feed *f = arg;

	for (size_t at = 0; at < f->len; at += f->step) {
		size_t n = f->len - at < f->step ? f->len - at : f->step;

		usleep(500);
		if (write(f->fd, f->data + at, n) != (ssize_t)n)
			abort();
	}
	close(f->fd);
	return NULL;
}

static void read_full_puts_pieces_together(void **state)
{
	struct feed f = {.data = "0123456789abcdefghij", .len = 20, .step = 3};
	char buf[21] = "";
	pthread_t t;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	f.fd = p[1];
	pthread_create(&t, NULL, feed, &f);
	assert_int_equal(fd_read_full(p[0], buf, 0), 0);
	assert_int_equal(fd_read_full(p[0], buf, 17), 0);
	assert_memory_equal(buf, "0123456789abcdefg\0", 18);
	/* Three are left and then the end. */
	assert_int_equal(fd_read_full(p[0], buf, 4), -ENODATA);
	pthread_join(t, NULL);
	close(p[0]);
	assert_int_equal(fd_read_full(-1, buf, 1), -EBADF);
}

static void text_of_a_file_is_terminated_and_bounded(void **state)
{
	char path[] = "/tmp/trivm-fd-XXXXXX", buf[8];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(fd_read_text(path, buf, sizeof(buf)), -ENODATA);
	assert_string_equal(buf, "");
	assert_int_equal(fd_write_full(fd, "seven77", 7), 0);
	assert_int_equal(fd_read_text(path, buf, sizeof(buf)), 7);
	assert_string_equal(buf, "seven77");
	assert_int_equal(fd_write_full(fd, " and more", 9), 0);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(fd_read_text(path, buf, sizeof(buf)), 7);
	assert_string_equal(buf, "seven77");
	close(fd);
	unlink(path);
	assert_int_equal(fd_read_text(path, buf, sizeof(buf)), -ENOENT);
	assert_string_equal(buf, "");
	assert_int_equal(fd_read_text("/tmp", buf, sizeof(buf)), -EISDIR);
}

static void on_signal(int sig)
{
	(void)sig;
}

static void *disturb(void *arg)
{
	pthread_t victim = *(pthread_t *)arg;

	for (int i = 0; i < 20; i++) {
		usleep(1000);
		pthread_kill(victim, SIGUSR1);
	}
	return NULL;
}

struct sink {
	int fd;
	size_t got;
	unsigned char sum;
};

static void *drain_slowly(void *arg)
{
	struct sink *s = arg;
	unsigned char buf[1000];
	ssize_t n;

	usleep(10000); /* let the writer fill the pipe and be interrupted in it */
	while ((n = read(s->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			s->sum = (unsigned char)(s->sum + buf[i]);
		s->got += (size_t)n;
	}
	return NULL;
}

static void transfers_survive_signals(void **state)
{
	struct sigaction sa = {.sa_handler = on_signal}, old; /* no SA_RESTART */
	struct feed f = {.data = "slowly but surely", .len = 17, .step = 1};
	static unsigned char big[300000];
	struct sink s = {0};
	pthread_t self = pthread_self(), t, d;
	unsigned char sum = 0;
	char buf[18] = "";
	int p[2];

	(void)state;
	sigaction(SIGUSR1, &sa, &old);

	assert_int_equal(pipe(p), 0);
	f.fd = p[1];
	pthread_create(&d, NULL, disturb, &self);
	pthread_create(&t, NULL, feed, &f);
	assert_int_equal(fd_read_full(p[0], buf, f.len), 0);
	assert_string_equal(buf, f.data);
	pthread_join(t, NULL);
	pthread_join(d, NULL);
	close(p[0]);

	/* Much more than a pipe holds. */
	assert_int_equal(pipe(p), 0);
	for (size_t i = 0; i < sizeof(big); i++) {
		big[i] = (unsigned char)(i * 7 + i / 256);
		sum = (unsigned char)(sum + big[i]);
	}
	s.fd = p[0];
	pthread_create(&d, NULL, disturb, &self);
	pthread_create(&t, NULL, drain_slowly, &s);
	assert_int_equal(fd_write_full(p[1], big, sizeof(big)), 0);
	close(p[1]);
	pthread_join(t, NULL);
	pthread_join(d, NULL);
	assert_int_equal(s.got, sizeof(big));
	assert_int_equal(s.sum, sum);
	close(p[0]);
	sigaction(SIGUSR1, &old, NULL);
}

static void write_full_reports_a_gone_reader(void **state)
{
	int p[2];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(p), 0);
	close(p[0]);
	assert_int_equal(fd_write_full(p[1], "x", 0), 0);
	assert_int_equal(fd_write_full(p[1], "x", 1), -EPIPE);
	close(p[1]);
	signal(SIGPIPE, SIG_DFL);
}

static void pread_full_takes_from_an_offset(void **state)
{
	int fd = memfd_create("pread", MFD_CLOEXEC), p[2];
	char buf[8] = "";

	(void)state;
	assert_int_equal(write(fd, "0123456789", 10), 10);
	assert_int_equal(fd_pread_full(fd, buf, 4, 6), 0);
	assert_string_equal(buf, "6789");
	assert_int_equal(lseek(fd, 0, SEEK_CUR), 10); /* the file's own place stays */
	assert_int_equal(fd_pread_full(fd, buf, 4, 7), -ENODATA);
	assert_int_equal(fd_pread_full(fd, buf, 1, 10), -ENODATA);
	assert_int_equal(fd_pread_full(fd, buf, 0, 1000), 0);
	assert_int_equal(fd_pread_full(fd, buf, 1, -1), -EINVAL);
	close(fd);

	assert_int_equal(pipe(p), 0);
	assert_int_equal(fd_pread_full(p[0], buf, 1, 0), -ESPIPE);
	close(p[0]);
	close(p[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(close_is_idempotent),
		cmocka_unit_test(eventfd_counts_and_never_blocks),
		cmocka_unit_test(an_eventfd_that_another_process_made_blocking),
		cmocka_unit_test(signals_of_many_threads_are_all_counted),
		cmocka_unit_test(read_full_puts_pieces_together),
		cmocka_unit_test(transfers_survive_signals),
		cmocka_unit_test(write_full_reports_a_gone_reader),
		cmocka_unit_test(pread_full_takes_from_an_offset),
		cmocka_unit_test(text_of_a_file_is_terminated_and_bounded),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
