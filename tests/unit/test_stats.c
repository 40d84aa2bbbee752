/* SPDX-License-Identifier: BSD-2-Clause */
/* stats: KVM's binary format, from a file that has it; the threads of this process. */
#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/stats.h"
#include "vmm/util.h"

#define NAME_SIZE 16

static char seen[256];

static void note(void *opaque, const char *name, uint64_t value)
{
	size_t len = strlen(seen);

	assert_ptr_equal(opaque, seen);
	snprintf(seen + len, sizeof(seen) - len, "%s=%llu ", name, (unsigned long long)value);
}

static void put(int fd, const void *data, size_t len, off_t at)
{
	assert_int_equal(pwrite(fd, data, len, at), len);
}

/* Two counts with a histogram between them; names fill their fields or not. */
static int make_file(void)
{
	const struct kvm_stats_header h = {.name_size = NAME_SIZE,
	                                   .num_desc = 3,
	                                   .id_offset = 24,
	                                   .desc_offset = 100,
	                                   .data_offset = 300};
	const struct {
		const char *name;
		uint16_t size;
		uint32_t offset;
	} descs[] = {{"exits", 1, 0}, {"histogram", 4, 8}, {"sixteen_letters_", 1, 40}};
	const uint64_t data[] = {17, 1, 2, 3, 4, UINT64_C(1) << 40};
	int fd = memfd_create("stats", MFD_CLOEXEC);

	put(fd, &h, sizeof(h), 0);
	for (unsigned i = 0; i < 3; i++) {
		struct kvm_stats_desc d = {.size = descs[i].size, .offset = descs[i].offset};
		off_t at = 100 + (off_t)i * (off_t)(sizeof(d) + NAME_SIZE);
		char name[NAME_SIZE] = "";

		memcpy(name, descs[i].name, strlen(descs[i].name));
		put(fd, &d, sizeof(d), at);
		put(fd, name, NAME_SIZE, at + (off_t)sizeof(d));
	}
	put(fd, data, sizeof(data), 300);
	return fd;
}

static void counts_by_their_names(void **state)
{
	int fd = make_file();

	(void)state;
	seen[0] = '\0';
	assert_int_equal(stats_kvm(fd, note, seen), 0);
	assert_string_equal(seen, "exits=17 sixteen_letters_=1099511627776 ");
	close(fd);
}

static void a_file_that_is_cut_or_wrong(void **state)
{
	int fd = make_file();
	uint32_t large = 1u << 30;

	(void)state;
	assert_int_equal(ftruncate(fd, 310), 0);
	assert_int_equal(stats_kvm(fd, note, seen), -ENODATA);
	put(fd, &large, 4, offsetof(struct kvm_stats_header, num_desc));
	assert_int_equal(stats_kvm(fd, note, seen), -EPROTO);
	assert_int_equal(ftruncate(fd, 10), 0);
	assert_int_equal(stats_kvm(fd, note, seen), -ENODATA);
	close(fd);
	assert_int_equal(stats_kvm(-1, note, seen), -EBADF);
}

struct found {
	unsigned nr;
	struct stats_thread last, worker;
};

static void look(void *opaque, const struct stats_thread *t)
{
	struct found *f = opaque;

	f->nr++;
	f->last = *t;
	if (strcmp(t->name, "wor) k (er") == 0)
		f->worker = *t;
}

static void *work(void *opaque)
{
	volatile uint64_t n = 0;
	char byte;

	pthread_setname_np(pthread_self(), "wor) k (er");
	while (n < 30000000)
		n++;
	assert_int_equal(write(((int *)opaque)[1], "x", 1), 1);
	assert_int_equal(read(((int *)opaque)[2], &byte, 1), 1);
	return NULL;
}

static void threads(void **state)
{
	struct found f = {.nr = 0};
	int fds[4], order[3];
	pthread_t thread;
	char byte;

	(void)state;
	assert_int_equal(pipe(fds) | pipe(fds + 2), 0);
	order[1] = fds[1];
	order[2] = fds[2];
	pthread_create(&thread, NULL, work, order);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_true(stats_threads(look, &f, 100) >= 2);
	assert_true(f.nr >= 2);
	assert_true(f.worker.tid > 0);
	assert_true(f.worker.cpu_us > 1000);
	f.nr = 0;
	assert_true(stats_threads(look, &f, 1) >= 2);
	assert_int_equal(f.nr, 1);
	assert_int_equal(write(fds[3], "x", 1), 1);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
}

struct roles {
	unsigned nr[STATS_OTHER + 1];
	pid_t pid;
	char name[16];
};

static void count_role(void *opaque, const struct stats_thread *t)
{
	struct roles *r = opaque;

	r->nr[t->role]++;
	r->pid = t->pid;
	memcpy(r->name, t->name, sizeof(r->name));
}

struct named {
	const char *name;
	enum stats_role role;
	int fds[4];
	pthread_t thread;
};

static void *wait_as(void *opaque)
{
	struct named *n = opaque;
	char byte;

	pthread_setname_np(pthread_self(), n->name);
	assert_int_equal(write(n->fds[1], "x", 1), 1);
	assert_int_equal(read(n->fds[2], &byte, 1), 1);
	return NULL;
}

static void own_threads_have_roles(void **state)
{
	/* The names that our threads give themselves. */
	struct named names[] = {
		{.name = "vcpu7", .role = STATS_VCPU},
		{.name = "net-pair0", .role = STATS_DATAPATH},
		{.name = "net-user", .role = STATS_DATAPATH},
		{.name = "net-socket", .role = STATS_DATAPATH},
		{.name = "vhost-user", .role = STATS_OTHER},
		{.name = "vhost-1234", .role = STATS_VHOST_WORKER},
		{.name = "vda-q0", .role = STATS_OTHER},
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
		struct roles r = {.pid = 0};
		struct named *n = &names[i];
		char byte;

		assert_int_equal(pipe(n->fds) | pipe(n->fds + 2), 0);
		pthread_create(&n->thread, NULL, wait_as, n);
		assert_int_equal(read(n->fds[0], &byte, 1), 1);
		assert_true(stats_threads(count_role, &r, 100) >= 2);
		assert_int_equal(r.nr[STATS_MAIN], 1);
		/* Under a sanitizer there may be others, of its own. */
		assert_true(r.nr[n->role] >= 1);
		assert_true(n->role == STATS_OTHER || r.nr[n->role] == 1);
		assert_int_equal(r.nr[STATS_BACKEND], 0);
		assert_int_equal(r.pid, getpid());
		assert_int_equal(write(n->fds[3], "x", 1), 1);
		pthread_join(n->thread, NULL);
		for (unsigned k = 0; k < 4; k++)
			close(n->fds[k]);
	}
}

/* A back-end, which calls itself what the kernel's worker for us would be called. */
static void another_process_and_no_worker(void **state)
{
	struct roles r = {.pid = 0};
	struct stats_workers w = {.nr = 0};
	char want[16];
	int fds[2];
	pid_t child;
	char byte;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	snprintf(want, sizeof(want), "vhost-%d", (int)getpid());
	child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, want);
		_exit(write(fds[1], "x", 1) == 1 && pause());
	}
	assert_int_equal(read(fds[0], &byte, 1), 1);
	assert_int_equal(stats_threads_of(child, count_role, &r, 10), 1);
	assert_int_equal(r.nr[STATS_BACKEND], 1);
	assert_int_equal(r.pid, child);
	assert_string_equal(r.name, want);
	r = (struct roles){.pid = 0};
	stats_workers(&w, 1, count_role, &r);
	assert_int_equal(r.nr[STATS_VHOST_WORKER], 0);
	assert_int_equal(w.expected, 1);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	assert_true(stats_threads_of(child, count_role, &r, 10) < 0);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts_by_their_names),
		cmocka_unit_test(a_file_that_is_cut_or_wrong),
		cmocka_unit_test(threads),
		cmocka_unit_test(own_threads_have_roles),
		cmocka_unit_test(another_process_and_no_worker),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
