/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is behind a disk, on real files. Between it and the kernel stand our own preadv(), pwritev()
 * ..., which transfer less than they are asked to, or fail, when a test says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "devices/block/backing.h"
#include "vmm/util.h"

static struct {
	size_t most;      /* bytes that one transfer moves, 0: all */
	bool interrupted; /* every other call is */
	int error;        /* what transfers fail with, once @error_after calls have worked */
	unsigned error_after;
	unsigned calls;
	size_t mem_align; /* every buffer has to be */
	int sync_error;   /* of the next fdatasync() only, as the kernel does it */
	unsigned syncs, in_sync, in_sync_max;
	int allocate_error;
	unsigned allocates;
} host;
static pthread_mutex_t host_lock = PTHREAD_MUTEX_INITIALIZER;

static int stand_in(const struct iovec *iov, int *n, struct iovec *one)
{
	host.calls++;
	if (host.interrupted && host.calls % 2)
		return -EINTR;
	if (host.error && host.calls > host.error_after)
		return -host.error;
	for (int i = 0; i < *n && host.mem_align; i++)
		if ((uintptr_t)iov[i].iov_base % host.mem_align || iov[i].iov_len % 512)
			fail_msg("a buffer at %p, %zu bytes", iov[i].iov_base, iov[i].iov_len);
	if (host.most) {
		*one = iov[0];
		one->iov_len = min_u64(one->iov_len, host.most);
		*n = 1;
	}
	return host.most ? 1 : 0;
}

ssize_t preadv(int fd, const struct iovec *iov, int n, off_t offset)
{
	struct iovec one;
	int rc = stand_in(iov, &n, &one);

	if (rc < 0) {
		errno = -rc;
		return -1;
	}
	return syscall(SYS_preadv, fd, rc ? &one : iov, (long)n, offset, 0L);
}

ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	struct iovec one;
	int rc = stand_in(iov, &n, &one);

	if (rc < 0) {
		errno = -rc;
		return -1;
	}
	return syscall(SYS_pwritev, fd, rc ? &one : iov, (long)n, offset, 0L);
}

int fdatasync(int fd)
{
	int error;

	pthread_mutex_lock(&host_lock);
	host.syncs++;
	host.in_sync++;
	host.in_sync_max = (unsigned)max_u64(host.in_sync_max, host.in_sync);
	error = host.sync_error;
	host.sync_error = 0;
	pthread_mutex_unlock(&host_lock);
	usleep(2000);
	pthread_mutex_lock(&host_lock);
	host.in_sync--;
	pthread_mutex_unlock(&host_lock);
	errno = error;
	return error ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	host.allocates++;
	errno = host.allocate_error;
	return errno ? -1 : (int)syscall(SYS_fallocate, fd, mode, offset, len);
}

static char dir[64], path[96];
static struct backing b;
static struct err err;

static void make_file(const char *name, off_t size)
{
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0644);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static int open_it(bool ro, bool direct)
{
	struct backing_config c = {.path = path, .ro = ro, .direct = direct};

	err.msg[0] = '\0';
	return backing_open(&b, &c, &err);
}

/* It is refused with @rc and a message with @part in it, and nothing is left open. */
static void refused_as(bool ro, bool direct, int rc, const char *part)
{
	int probe = dup(0);

	close(probe);
	assert_int_equal(open_it(ro, direct), rc);
	assert_int_equal(b.fd, -1);
	if (!strstr(err.msg, part) || !strstr(err.msg, path))
		fail_msg("%s: \"%s\" does not say \"%s\"", path, err.msg, part);
	assert_int_equal(dup(0), probe);
	close(probe);
	backing_close(&b);
}

static int setup(void **state)
{
	(void)state;
	memset(&host, 0, sizeof(host));
	strcpy(dir, "/tmp/trivm-backing.XXXXXX");
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	return 0;
}

static int teardown(void **state)
{
	char command[128];

	(void)state;
	memset(&host, 0, sizeof(host));
	backing_close(&b);
	backing_close(&b);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}

static void pattern(uint8_t *buf, size_t len, unsigned seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 7 + i / 251 + seed);
}

static int write_at(const void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = {(void *)buf, len};

	return backing_write(&b, &iov, 1, offset);
}

static int read_at(void *buf, size_t len, uint64_t offset)
{
	struct iovec iov = {buf, len};

	return backing_read(&b, &iov, 1, offset);
}

static void files_that_are_refused(void **state)
{
	(void)state;
	snprintf(path, sizeof(path), "%s/missing", dir);
	refused_as(false, false, -ENOENT, "truncate -s 4G");
	snprintf(path, sizeof(path), "%s", dir);
	refused_as(false, false, -EISDIR, "a directory");
	refused_as(true, false, -EISDIR, "a directory");
	make_file("empty", 0);
	refused_as(false, false, -EINVAL, "empty");
	refused_as(true, true, -EINVAL, "empty");
	make_file("odd", 1000);
	refused_as(false, false, -EINVAL, "1000 bytes are not a multiple of 512");
	make_file("odd", 511);
	refused_as(true, false, -EINVAL, "multiple of 512");
	strcpy(path, "/dev/zero");
	refused_as(true, false, -EINVAL, "neither a file nor a block device");
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	refused_as(true, false, -EINVAL, "neither");
	strcpy(path, "/dev/null/x");
	refused_as(false, false, -ENOTDIR, "Not a directory");
}

/* The remedy is named if it is one. */
static void permissions(void **state)
{
	bool root = geteuid() == 0;

	(void)state;
	make_file("mine", 4096);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	else
		assert_int_equal(chmod(path, 0444), 0);
	refused_as(false, false, -EACCES, "may be read but not written (give --disk");
	assert_int_equal(open_it(true, false), 0);
	backing_close(&b);
	if (root)
		assert_int_equal(seteuid(0), 0);
	assert_int_equal(chmod(path, 0), 0);
	if (root)
		assert_int_equal(seteuid(65534), 0);
	refused_as(false, false, -EACCES, "Permission denied");
	assert_null(strstr(err.msg, ",ro"));
	refused_as(true, false, -EACCES, "Permission denied");
	if (root)
		assert_int_equal(seteuid(0), 0);
}

static void locks(void **state)
{
	struct backing first;

	(void)state;
	make_file("disk", 4096);
	assert_int_equal(open_it(false, false), 0);
	first = b;
	refused_as(false, false, -EBUSY, "in use by another");
	refused_as(true, false, -EBUSY, ",ro");
	backing_close(&first);
	assert_int_equal(open_it(true, false), 0);
	first = b;
	refused_as(false, false, -EBUSY, "in use by another");
	assert_int_equal(open_it(true, false), 0);
	backing_close(&b);
	backing_close(&first);
	assert_int_equal(open_it(false, false), 0);
}

static void what_is_measured(void **state)
{
	struct stat st;

	(void)state;
	make_file("disk", 5 * 512);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(open_it(false, false), 0);
	assert_int_equal(b.size, 5 * 512);
	assert_int_equal(b.block, 512);
	assert_int_equal(b.physical, st.st_blksize);
	assert_false(b.ro || b.direct || b.is_block);
	assert_true(fcntl(b.fd, F_GETFD) & FD_CLOEXEC);
}

static void a_file_that_grows(void **state)
{
	(void)state;
	make_file("disk", 5 * 512);
	assert_int_equal(open_it(false, false), 0);
	assert_int_equal(backing_resize(&b, path, &err), 0);
	assert_int_equal(backing_size(&b), 5 * 512);
	assert_int_equal(truncate(path, 9 * 512), 0);
	assert_int_equal(backing_size(&b), 5 * 512);
	assert_int_equal(backing_resize(&b, path, &err), 0);
	assert_int_equal(backing_size(&b), 9 * 512);
	assert_int_equal(truncate(path, 9 * 512 + 100), 0);
	assert_int_equal(backing_resize(&b, path, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "not a multiple of 512"));
	assert_int_equal(truncate(path, 8 * 512), 0);
	assert_int_equal(backing_resize(&b, path, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "can only grow"));
	assert_int_equal(backing_size(&b), 9 * 512);
}

/* Any number of buffers, whatever one system call moves. */
static void transfers(size_t most, bool interrupted)
{
	enum {
		PARTS = 1500
	};
	struct iovec iov[PARTS];
	uint8_t *in, *out;
	size_t len = 0, at = 0;

	for (unsigned i = 0; i < PARTS; i++)
		len += i % 7 * 100;
	len = align_up(len, 512);
	make_file("disk", (off_t)len + 1024);
	assert_int_equal(open_it(false, false), 0);
	in = malloc(len);
	out = malloc(len);
	assert_true(in && out);
	pattern(out, len, 1);
	memset(in, 0, len);
	for (unsigned pass = 0; pass < 2; pass++) {
		uint8_t *buf = pass ? in : out;

		for (unsigned i = 0, done = 0; i < PARTS; i++) {
			size_t part = i == PARTS - 1 ? len - done : i % 7 * 100;

			iov[i] = (struct iovec){buf + done, part};
			done += (unsigned)part;
			at = done;
		}
		assert_int_equal(at, len);
		host.most = most;
		host.interrupted = interrupted;
		if (pass)
			assert_int_equal(backing_read(&b, iov, PARTS, 512), 0);
		else
			assert_int_equal(backing_write(&b, iov, PARTS, 512), 0);
		host.most = 0;
		host.interrupted = false;
	}
	assert_memory_equal(in, out, len);
	/* What is around it was not touched. */
	assert_int_equal(read_at(in, 512, 0), 0);
	for (unsigned i = 0; i < 512; i++)
		assert_int_equal(in[i], 0);
	free(in);
	free(out);
	backing_close(&b);
}

static void short_transfers(void **state)
{
	(void)state;
	transfers(0, false);
	transfers(1, false);
	transfers(777, true);
}

static void no_bytes(void **state)
{
	struct iovec iov[2] = {{NULL, 0}, {NULL, 0}};

	(void)state;
	make_file("disk", 4096);
	assert_int_equal(open_it(false, false), 0);
	assert_int_equal(backing_read(&b, iov, 2, 4096), 0);
	assert_int_equal(backing_write(&b, iov, 0, 0), 0);
	assert_int_equal(backing_zero(&b, 0, 0, true), 0);
	assert_int_equal(backing_discard(&b, 0, 0), 0);
}

static void errors_come_back(void **state)
{
	uint8_t buf[4096];

	(void)state;
	make_file("disk", 8192);
	assert_int_equal(open_it(false, false), 0);
	pattern(buf, sizeof(buf), 3);
	host.most = 1024;
	host.error = ENOSPC;
	host.error_after = 2;
	assert_int_equal(write_at(buf, sizeof(buf), 0), -ENOSPC);
	host.calls = 0;
	host.error = EIO;
	assert_int_equal(read_at(buf, sizeof(buf), 0), -EIO);
	memset(&host, 0, sizeof(host));
	/* A file that got shorter behind our back. */
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(read_at(buf, 512, 4096), -EIO);
	assert_int_equal(read_at(buf, 4096, 512), -EIO);
	assert_int_equal(read_at(buf, 4096, 0), 0);
}

static void read_only(void **state)
{
	uint8_t buf[512] = {1};

	(void)state;
	make_file("disk", 4096);
	assert_int_equal(open_it(true, false), 0);
	assert_int_equal(write_at(buf, sizeof(buf), 0), -EROFS);
	assert_int_equal(backing_zero(&b, 0, 512, true), -EROFS);
	assert_int_equal(backing_discard(&b, 0, 512), -EROFS);
	assert_int_equal(backing_flush(&b), 0);
	assert_int_equal(read_at(buf, sizeof(buf), 0), 0);
	assert_int_equal(buf[0], 0);
}

static void a_flush_that_failed_stays_failed(void **state)
{
	(void)state;
	make_file("disk", 4096);
	assert_int_equal(open_it(false, false), 0);
	assert_int_equal(backing_flush(&b), 0);
	assert_int_equal(host.syncs, 1);
	host.sync_error = EINTR;
	assert_int_equal(backing_flush(&b), 0);
	assert_int_equal(host.syncs, 3);
	host.sync_error = ENOSPC;
	assert_int_equal(backing_flush(&b), -ENOSPC);
	assert_int_equal(backing_flush(&b), -EIO);
	assert_int_equal(backing_flush(&b), -EIO);
}

static void *flush_thread(void *opaque)
{
	(void)opaque;
	return (void *)(intptr_t)backing_flush(&b);
}

/* The kernel tells an error once. Of flushes at the same time, none may miss it. */
static void flushes_do_not_overlap(void **state)
{
	pthread_t threads[4];
	unsigned good = 0;

	(void)state;
	make_file("disk", 4096);
	assert_int_equal(open_it(false, false), 0);
	host.sync_error = EIO;
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_create(&threads[i], NULL, flush_thread, NULL), 0);
	for (unsigned i = 0; i < ARRAY_SIZE(threads); i++) {
		void *rc;

		pthread_join(threads[i], &rc);
		good += rc == NULL;
	}
	assert_int_equal(good, 0);
	assert_int_equal(host.in_sync_max, 1);
}

static uint64_t stored_bytes(void)
{
	struct stat st;

	assert_int_equal(fstat(b.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void check_zeroed(uint64_t from, uint64_t len)
{
	size_t size = MIB(4);
	uint8_t *was = malloc(size), *is = malloc(size);

	assert_true(was && is);
	pattern(was, size, 9);
	memset(was + from, 0, len);
	assert_int_equal(read_at(is, size, 0), 0);
	assert_memory_equal(was, is, size);
	free(was);
	free(is);
}

static void fill(void)
{
	uint8_t *buf = malloc(MIB(4));

	assert_non_null(buf);
	pattern(buf, MIB(4), 9);
	assert_int_equal(write_at(buf, MIB(4), 0), 0);
	assert_int_equal(backing_flush(&b), 0);
	free(buf);
}

static void zeroing(void **state)
{
	uint64_t before;

	(void)state;
	make_file("disk", MIB(4));
	assert_int_equal(open_it(false, false), 0);
	fill();
	before = stored_bytes();
	assert_int_equal(backing_zero(&b, 512, MIB(2) + 512, false), 0);
	check_zeroed(512, MIB(2) + 512);
	assert_true(stored_bytes() + KIB(64) >= before);
	fill();
	assert_int_equal(backing_zero(&b, MIB(1), MIB(2), true), 0);
	check_zeroed(MIB(1), MIB(2));
	assert_true(stored_bytes() + MIB(1) < before);
	/* Neither changes the size. */
	assert_int_equal(backing_zero(&b, MIB(3), MIB(1), true), 0);
	assert_int_equal(lseek(b.fd, 0, SEEK_END), MIB(4));
}

static void zeroing_where_the_host_has_no_means(void **state)
{
	(void)state;
	make_file("disk", MIB(4));
	assert_int_equal(open_it(false, false), 0);
	fill();
	host.allocate_error = EOPNOTSUPP;
	host.most = 100000;
	assert_int_equal(backing_zero(&b, 1024, MIB(3), true), 0);
	host.most = 0;
	check_zeroed(1024, MIB(3));
	assert_int_equal(host.allocates, 2);
	/* Not asked again. */
	assert_int_equal(backing_zero(&b, 0, 512, true), 0);
	assert_int_equal(backing_zero(&b, 512, 512, false), 0);
	assert_int_equal(backing_discard(&b, 0, 512), 0);
	assert_int_equal(host.allocates, 2);
	check_zeroed(0, MIB(3) + 1024);
	host.error = EIO;
	assert_int_equal(backing_zero(&b, 0, 512, false), -EIO);
}

static void zeroing_that_fails(void **state)
{
	(void)state;
	make_file("disk", MIB(4));
	assert_int_equal(open_it(false, false), 0);
	host.allocate_error = ENOSPC;
	assert_int_equal(backing_zero(&b, 0, 512, false), -ENOSPC);
	assert_int_equal(backing_zero(&b, 0, 512, true), -ENOSPC);
	assert_int_equal(backing_discard(&b, 0, 512), -ENOSPC);
}

static void discarding(void **state)
{
	uint64_t before;

	(void)state;
	make_file("disk", MIB(4));
	assert_int_equal(open_it(false, false), 0);
	fill();
	before = stored_bytes();
	assert_int_equal(backing_discard(&b, 0, MIB(3)), 0);
	assert_true(stored_bytes() + MIB(2) < before);
	check_zeroed(0, MIB(3));
}

/* Buffers at any address; what reaches the kernel is aligned. */
static void direct(void **state)
{
	uint8_t *in, *out, *odd_in, *odd_out;
	size_t len = MIB(1) + 8192;
	struct iovec iov[3];

	(void)state;
	make_file("disk", MIB(2));
	if (open_it(false, true) < 0) {
		assert_non_null(strstr(err.msg, "leave out direct"));
		skip();
	}
	assert_true(fcntl(b.fd, F_GETFL) & O_DIRECT);
	assert_true(b.block >= 512 && b.block <= 4096);
	in = malloc(len + 64);
	out = malloc(len + 64);
	assert_true(in && out);
	odd_out = (uint8_t *)(align_up((uintptr_t)out, 16)) + 1;
	odd_in = (uint8_t *)(align_up((uintptr_t)in, 16)) + 3;
	pattern(odd_out, len, 5);
	host.mem_align = b.mem_align;
	host.interrupted = true;
	assert_int_equal(write_at(odd_out, len, 4096), 0);
	memset(odd_in, 0, len);
	/* Cut where no block ends, over the pieces in which it is copied. */
	iov[0] = (struct iovec){odd_in, 100};
	iov[1] = (struct iovec){odd_in + 100, 300000};
	iov[2] = (struct iovec){odd_in + 300100, len - 300100};
	assert_int_equal(backing_read(&b, iov, 3, 4096), 0);
	assert_memory_equal(odd_in, odd_out, len);
	free(in);
	free(out);
	/* Aligned ones go as they are: in one call. */
	host.interrupted = false;
	assert_int_equal(posix_memalign((void **)&in, 4096, MIB(1)), 0);
	host.calls = 0;
	assert_int_equal(read_at(in, MIB(1), 0), 0);
	assert_int_equal(host.calls, 1);
	free(in);
	host.error = EIO;
	out = malloc(513);
	assert_int_equal(write_at(out + 1, 512 * (b.block / 512 > 1 ? 0 : 1), 0),
	                 b.block == 512 ? -EIO : 0);
	free(out);
	/* Zeroes written by hand are aligned as well. */
	host.error = 0;
	host.allocate_error = EOPNOTSUPP;
	assert_int_equal(backing_zero(&b, 4096, KIB(300), false), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_that_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(permissions, setup, teardown),
		cmocka_unit_test_setup_teardown(locks, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_measured, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_that_grows, setup, teardown),
		cmocka_unit_test_setup_teardown(short_transfers, setup, teardown),
		cmocka_unit_test_setup_teardown(no_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(errors_come_back, setup, teardown),
		cmocka_unit_test_setup_teardown(read_only, setup, teardown),
		cmocka_unit_test_setup_teardown(a_flush_that_failed_stays_failed, setup, teardown),
		cmocka_unit_test_setup_teardown(flushes_do_not_overlap, setup, teardown),
		cmocka_unit_test_setup_teardown(zeroing, setup, teardown),
		cmocka_unit_test_setup_teardown(zeroing_where_the_host_has_no_means, setup,
	                                        teardown),
		cmocka_unit_test_setup_teardown(zeroing_that_fails, setup, teardown),
		cmocka_unit_test_setup_teardown(discarding, setup, teardown),
		cmocka_unit_test_setup_teardown(direct, setup, teardown),
	};

	alarm(60);
	b.fd = -1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
