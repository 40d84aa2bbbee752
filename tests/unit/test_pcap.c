/* SPDX-License-Identifier: BSD-2-Clause */
/* pcap: the file's bytes, frames in pieces, several threads, and what happens when it is full. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/pcap.h"
#include "vmm/log.h"
#include "vmm/util.h"

static char path[64];
static uint8_t file[8 << 20];
static size_t file_len;

#define PATIENT_MS 30000 /* for what has to be done at some time */

static struct pcap_writer *open_capture(void)
{
	struct pcap_writer *w = NULL;
	struct err err = {0};

	if (pcap_open(&w, path, &err) < 0)
		fail_msg("%s", err.msg);
	return w;
}

static void load_file(void)
{
	int fd = open(path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0);
	n = read(fd, file, sizeof(file));
	assert_true(n >= 0 && (size_t)n < sizeof(file));
	file_len = (size_t)n;
	close(fd);
}

static uint32_t u32(size_t at)
{
	uint32_t v;

	assert_true(at + 4 <= file_len);
	memcpy(&v, file + at, 4);
	return v;
}

/* The record at *@at, whose data begins 16 bytes behind it; *@at goes to the next. */
static size_t record(size_t *at, uint32_t *captured, uint32_t *length)
{
	size_t data = *at + 16;

	assert_true(u32(*at + 4) < 1000000000);
	*captured = u32(*at + 8);
	*length = u32(*at + 12);
	assert_true(data + *captured <= file_len);
	*at = data + *captured;
	return data;
}

static void header_and_frame(void **state)
{
	/* Little endian, as on all machines that trivm runs on (draft-ietf-opsawg-pcap, 4). */
	static const uint8_t header[24] = {0x4d, 0x3c, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0,
	                                   0,    0,    0,    0,    0, 0, 4, 0, 1, 0, 0, 0};
	uint8_t frame[60];
	struct iovec iov = {frame, sizeof(frame)};
	uint32_t captured, length;
	struct timespec before, after;
	struct pcap_writer *w = open_capture();
	size_t at = 24, data;
	int64_t when;

	(void)state;
	for (unsigned i = 0; i < sizeof(frame); i++)
		frame[i] = (uint8_t)i;
	load_file();
	assert_int_equal(file_len, 24); /* readable from the first moment */
	assert_memory_equal(file, header, 24);

	clock_gettime(CLOCK_REALTIME, &before);
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	clock_gettime(CLOCK_REALTIME, &after);
	assert_true(pcap_sync(w, PATIENT_MS));
	load_file(); /* and after each frame */
	data = record(&at, &captured, &length);
	assert_int_equal(captured, 60);
	assert_int_equal(length, 60);
	assert_memory_equal(file + data, frame, 60);
	assert_int_equal(at, file_len);
	when = (int64_t)u32(24) * 1000000000 + u32(28);
	assert_true(when >= (int64_t)before.tv_sec * 1000000000 + before.tv_nsec);
	assert_true(when <= (int64_t)after.tv_sec * 1000000000 + after.tv_nsec);
	pcap_close(w);
	pcap_close(NULL);

	/* An old file is replaced. */
	pcap_close(open_capture());
	load_file();
	assert_int_equal(file_len, 24);
}

static void frames_in_pieces(void **state)
{
	uint8_t bytes[100];
	struct iovec iov[5] = {
		{bytes, 5}, {bytes + 5, 0}, {bytes + 5, 10}, {bytes + 15, 1}, {bytes + 16, 84}};
	struct iovec many[1200];
	uint32_t captured, length;
	struct pcap_writer *w = open_capture();
	size_t at = 24, data;

	(void)state;
	for (unsigned i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i + 1);
	pcap_frame(w, iov, 5, 12, 88);  /* all of it behind a header across three parts */
	pcap_frame(w, iov, 5, 12, 20);  /* the buffers are larger than the frame */
	pcap_frame(w, iov, 5, 12, 200); /* and smaller, which is a bug elsewhere, but not here */
	pcap_frame(w, iov, 5, 15, 1);   /* a header that ends with a part */
	pcap_frame(w, iov, 1, 5, 0);    /* nothing */
	for (unsigned i = 0; i < ARRAY_SIZE(many); i++)
		many[i] = (struct iovec){bytes + i % 100, 1};
	pcap_frame(w, many, ARRAY_SIZE(many), 0, ARRAY_SIZE(many));
	pcap_close(w);

	load_file();
	data = record(&at, &captured, &length);
	assert_true(captured == 88 && length == 88);
	assert_memory_equal(file + data, bytes + 12, 88);
	data = record(&at, &captured, &length);
	assert_true(captured == 20 && length == 20);
	assert_memory_equal(file + data, bytes + 12, 20);
	data = record(&at, &captured, &length);
	assert_true(captured == 88 && length == 200);
	data = record(&at, &captured, &length);
	assert_true(captured == 1 && length == 1);
	assert_int_equal(file[data], bytes[15]);
	record(&at, &captured, &length);
	assert_true(captured == 0 && length == 0);
	data = record(&at, &captured, &length);
	assert_true(captured == ARRAY_SIZE(many) && length == ARRAY_SIZE(many));
	for (unsigned i = 0; i < captured; i++)
		assert_int_equal(file[data + i], bytes[i % 100]);
	assert_int_equal(at, file_len);
}

static void long_frames_are_cut_at_the_snap_length(void **state)
{
	static uint8_t big[300000];
	struct iovec iov = {big, sizeof(big)};
	uint32_t captured, length;
	struct pcap_writer *w = open_capture();
	size_t at = 24;

	(void)state;
	pcap_frame(w, &iov, 1, 0, sizeof(big));
	pcap_close(w);
	load_file();
	record(&at, &captured, &length);
	assert_int_equal(captured, 262144);
	assert_int_equal(length, 300000);
	assert_int_equal(at, file_len);
}

#define THREADS 4
#define FRAMES  500

struct writer {
	struct pcap_writer *pcap;
	uint8_t id;
};

static void *write_frames(void *arg)
{
	struct writer *t = arg;
	uint8_t bytes[1514];
	struct iovec iov[2] = {{bytes, 14}, {bytes + 14, sizeof(bytes) - 14}};

	memset(bytes, t->id, sizeof(bytes));
	for (unsigned i = 0; i < FRAMES; i++)
		pcap_frame(t->pcap, iov, 2, 0, 60 + (i * 7 + t->id) % 1400);
	return NULL;
}

static void threads_write_whole_records_in_order(void **state)
{
	struct pcap_writer *w = open_capture();
	unsigned count[THREADS] = {0};
	struct writer arg[THREADS];
	uint32_t captured, length;
	pthread_t t[THREADS];
	int64_t last = 0;
	size_t at = 24;

	(void)state;
	for (unsigned i = 0; i < THREADS; i++) {
		arg[i] = (struct writer){w, (uint8_t)i};
		pthread_create(&t[i], NULL, write_frames, &arg[i]);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	pcap_close(w);
	load_file();
	while (at < file_len) {
		int64_t when = (int64_t)u32(at) * 1000000000 + u32(at + 4);
		size_t data = record(&at, &captured, &length);
		uint8_t id = file[data];

		assert_true(id < THREADS);
		assert_int_equal(length, 60 + (count[id] * 7 + id) % 1400);
		count[id]++;
		assert_int_equal(file[at - 1], id); /* to its end one thread's */
		assert_true(when >= last);
		last = when;
	}
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(count[i], FRAMES);
}

/* stderr goes to a file while @on. */
static int log_fd = -1, saved_stderr = -1;

static void catch_log(bool on)
{
	if (on) {
		saved_stderr = dup(STDERR_FILENO);
		log_fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
		assert_true(log_fd >= 0);
		dup2(log_fd, STDERR_FILENO);
	} else {
		dup2(saved_stderr, STDERR_FILENO);
		close(saved_stderr);
	}
}

static void full_file_ends_the_capture(void **state)
{
	struct rlimit old, limit;
	uint8_t frame[200] = {0};
	struct iovec iov = {frame, sizeof(frame)};
	struct pcap_writer *w = open_capture();
	uint32_t captured, length;
	char text[1024] = "";
	size_t at = 24;

	(void)state;
	/* Room for two records and a part of the third. */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	limit = (struct rlimit){24 + 2 * 216 + 100, old.rlim_max};
	setrlimit(RLIMIT_FSIZE, &limit);
	catch_log(true);
	for (unsigned i = 0; i < 10; i++)
		pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_true(pcap_sync(w, PATIENT_MS));
	catch_log(false);
	setrlimit(RLIMIT_FSIZE, &old);
	signal(SIGXFSZ, SIG_DFL);

	/* There would be room again: what is missing in between shall not be overlooked. */
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	pcap_close(w);
	load_file();
	assert_int_equal(file_len, 24 + 2 * 216);
	record(&at, &captured, &length);
	record(&at, &captured, &length);
	assert_int_equal(at, file_len);

	assert_true(pread(log_fd, text, sizeof(text) - 1, 0) > 0);
	close(log_fd);
	assert_non_null(strstr(text, path));
	assert_non_null(strstr(text, strerror(EFBIG)));
	assert_ptr_equal(strchr(text, '\n'), strrchr(text, '\n')); /* once */
}

static void gone_reader_ends_the_capture(void **state)
{
	uint8_t frame[200] = {0}, buf[24];
	struct iovec iov = {frame, sizeof(frame)};
	struct pcap_writer *w;
	struct err err = {0};
	int fd;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(pcap_open(&w, path, &err), -ENXIO); /* and not a wait for ever */
	assert_non_null(strstr(err.msg, "start its reader first"));
	fd = open(path, O_RDONLY | O_NONBLOCK);
	w = open_capture();
	assert_int_equal(read(fd, buf, sizeof(buf)), 24);
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_true(pcap_sync(w, PATIENT_MS));
	assert_int_equal(read(fd, frame, sizeof(frame)), 200);
	close(fd);
	signal(SIGPIPE, SIG_IGN); /* as trivm does */
	catch_log(true);
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_true(pcap_sync(w, PATIENT_MS));
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_true(pcap_sync(w, PATIENT_MS));
	catch_log(false);
	signal(SIGPIPE, SIG_DFL);
	assert_true(lseek(log_fd, 0, SEEK_END) > 0);
	close(log_fd);
	pcap_close(w);
	unlink(path);
}

/* A FIFO whose reader sleeps: neither the frames' thread nor the end waits for it. */
static void sleeping_reader_holds_up_nobody(void **state)
{
	static uint8_t frame[1 << 16], buf[1 << 16];
	struct iovec iov = {frame, sizeof(frame)};
	char text[1024] = "";
	struct pcap_writer *w;
	size_t at = 24;
	uint32_t captured, length;
	ssize_t n;
	int fd;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK);
	w = open_capture();
	catch_log(true);
	/* More than the two buffers and the FIFO hold; each would wait if it were not for the first. */
	for (unsigned i = 0; i < 3000; i++)
		pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_false(pcap_sync(w, 1));
	pcap_close(w);
	catch_log(false);
	assert_true(pread(log_fd, text, sizeof(text) - 1, 0) > 0);
	close(log_fd);
	assert_non_null(strstr(text, "frames are missing from here on"));
	assert_non_null(strstr(text, "its end is not written"));
	/* The thread goes on with the buffer that it has, to the end of a record. */
	file_len = 0;
	fcntl(fd, F_SETFL, 0);
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		assert_true(file_len + (size_t)n <= sizeof(file));
		memcpy(file + file_len, buf, (size_t)n);
		file_len += (size_t)n;
	}
	close(fd);
	unlink(path);
	while (at < file_len) {
		record(&at, &captured, &length);
		assert_int_equal(captured, sizeof(frame));
	}
	assert_int_equal(at, file_len);
	assert_true(file_len > sizeof(frame));
}

/* A reader that wakes up in time misses nothing. */
static void *slow_reader(void *arg)
{
	static uint8_t buf[4096];
	size_t *total = arg;
	ssize_t n;
	int fd = open(path, O_RDONLY);

	while ((n = read(fd, buf, sizeof(buf))) > 0)
		*total += (size_t)n;
	close(fd);
	return NULL;
}

static void slow_reader_misses_nothing(void **state)
{
	static uint8_t frame[1 << 16];
	struct iovec iov = {frame, sizeof(frame)};
	size_t total = 0;
	struct pcap_writer *w = NULL;
	struct err err;
	pthread_t thread;

	(void)state;
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(pthread_create(&thread, NULL, slow_reader, &total), 0);
	while (pcap_open(&w, path, &err) == -ENXIO)
		usleep(1000);
	for (unsigned i = 0; i < 20; i++) {
		for (unsigned k = 0; k < 10; k++)
			pcap_frame(w, &iov, 1, 0, sizeof(frame));
		assert_true(pcap_sync(w, PATIENT_MS));
	}
	pcap_close(w);
	pthread_join(thread, NULL);
	assert_int_equal(total, 24 + 200 * (16 + sizeof(frame)));
	unlink(path);
}

static void refused(const char *file_path, int code, const char *cause)
{
	struct pcap_writer *w = NULL;
	struct err err = {0};

	assert_int_equal(pcap_open(&w, file_path, &err), code);
	assert_null(w);
	if (!strstr(err.msg, file_path) || !strstr(err.msg, cause))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, cause);
}

static void files_that_cannot_be(void **state)
{
	uint8_t frame[60] = {0};
	struct iovec iov = {frame, sizeof(frame)};
	struct pcap_writer *w;

	(void)state;
	refused("/nonexistent/x.pcap", -ENOENT, strerror(ENOENT));
	refused("/tmp", -EISDIR, strerror(EISDIR));
	refused("/dev/full", -ENOSPC, strerror(ENOSPC));
	/* Two NICs with one file: the first one's capture is not harmed. */
	w = open_capture();
	pcap_frame(w, &iov, 1, 0, sizeof(frame));
	assert_true(pcap_sync(w, PATIENT_MS));
	refused(path, -EBUSY, "name another");
	load_file();
	assert_int_equal(file_len, 24 + 16 + 60);
	pcap_close(w);
	pcap_close(open_capture());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(header_and_frame),
		cmocka_unit_test(frames_in_pieces),
		cmocka_unit_test(long_frames_are_cut_at_the_snap_length),
		cmocka_unit_test(threads_write_whole_records_in_order),
		cmocka_unit_test(full_file_ends_the_capture),
		cmocka_unit_test(gone_reader_ends_the_capture),
		cmocka_unit_test(sleeping_reader_holds_up_nobody),
		cmocka_unit_test(slow_reader_misses_nothing),
		cmocka_unit_test(files_that_cannot_be),
	};
	int rc;

	alarm(60);
	snprintf(path, sizeof(path), "/tmp/trivm-test-pcap-%d", (int)getpid());
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
