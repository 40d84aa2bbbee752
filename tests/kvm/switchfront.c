/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switchfront SOCKET WORD...: a vhost-user front-end that does to trivm-switch what no port may be
 * able to do to others, until it is killed; and, as "ping", two honest ones that measure what became
 * of them meanwhile.
 *
 *   ping SOCKET2 MS [MS2]  round trips for MS, then a stream for MS2: one line of figures for each
 *   nothing                a session that is idle
 *   work                   restarts 64 rings of 32768 with a blank inflight region again and again
 *   flood                  broadcasts of segments that others have to get one by one
 *   queues                 small frames on as many queues as there are
 *   block                  its call eventfds are full and blocking, and it comes again and again
 *   garbage                breaks the protocol, and comes again and again
 *   fds                    sends eventfds for all rings, and connects as often as it can
 *   space                  maps as much as it is allowed to
 *   fuse=DIR               sends files of a file system whose server does not answer, mounted at the
 *                          empty DIR, and waits; SIGUSR1: the server answers
 *   churn                  maps and touches 256 MiB, lets go of it, and comes again
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <linux/fuse.h>

#include "tests/unit/switch_rig.h"
#include "vmm/clock.h"

#define MRG    BIT64(VIRTIO_NET_F_MRG_RXBUF)
#define PACKED BIT64(VIRTIO_F_RING_PACKED)
#define CSUM   BIT64(VIRTIO_NET_F_CSUM)
#define TSO4   BIT64(VIRTIO_NET_F_HOST_TSO4)
#define MQ     BIT64(VIRTIO_NET_F_MQ)

static void say(const char *what)
{
	puts(what);
	fflush(stdout);
}

/* The switch may have closed the connection: that is its right here. */
static bool fire(struct fe *fe, uint32_t request, const void *payload, uint32_t size,
                 const int *fds, unsigned nr)
{
	struct vu_msg m = {.request = request, .flags = VU_VERSION, .size = size};

	if (size)
		memcpy((uint8_t *)&m + VU_HEADER, payload, size);
	return vu_send(fe->sock, &m, fds, nr, vu_deadline(10000)) == 0;
}

/* --- Honest --- */

static void wait_for_call(struct fe *fe, unsigned ring, int ms)
{
	struct pollfd p = {.fd = fe->rings[ring].call, .events = POLLIN};

	poll(&p, 1, ms);
	fd_drain(fe->rings[ring].call);
}

/* The next frame of station @src for @fe; others are passed over. False: it did not come. */
static bool receive_from(struct fe *fe, uint8_t src, uint8_t *buf, size_t size, uint64_t until)
{
	struct virtio_net_hdr_v1 hdr;

	while (clock_ns() < until) {
		int len;

		while ((len = fe_receive(fe, 0, buf, size, &hdr)) >= 0)
			if (len > 11 && buf[5] != 0xff && buf[11] == src)
				return true;
		wait_for_call(fe, 0, 1);
	}
	return false;
}

static int by_size(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void send_frame(struct fe *fe, uint8_t dst, uint8_t src, size_t len)
{
	uint8_t frame[1514];

	fe_frame(frame, len, dst, src, 1);
	fe_queue(fe, 0, NULL, frame, len, 0);
	fd_signal(fe->rings[1].kick);
}

#define TRIP_LIMIT UINT64_C(10000000000) /* that is "never" */

static int ping(struct fe *a, struct fe *b, uint64_t ms)
{
	uint64_t end = clock_ns() + ms * 1000000, *trips = calloc(1000000, sizeof(*trips));
	uint8_t buf[2048];
	unsigned n = 0;

	while (clock_ns() < end && n < 1000000) {
		uint64_t begin = clock_ns();

		send_frame(a, 0xb, 0xa, 64);
		if (!receive_from(b, 0xa, buf, sizeof(buf), begin + TRIP_LIMIT))
			break;
		send_frame(b, 0xa, 0xb, 64);
		if (!receive_from(a, 0xb, buf, sizeof(buf), begin + TRIP_LIMIT))
			break;
		trips[n++] = clock_ns() - begin;
	}
	if (!n || clock_ns() < end) {
		printf("ping: no answer within 10 s after %u round trips\n", n);
		return 1;
	}
	qsort(trips, n, sizeof(*trips), by_size);
	printf("ping: %u round trips, us: median %.1f p99 %.1f max %.1f\n", n,
	       (double)trips[n / 2] / 1000, (double)trips[n * 99 / 100] / 1000,
	       (double)trips[n - 1] / 1000);
	free(trips);
	return 0;
}

static int stream(struct fe *a, struct fe *b, uint64_t ms)
{
	uint64_t begin = clock_ns(), end = begin + ms * 1000000, got = 0;
	struct virtio_net_hdr_v1 hdr;
	uint8_t frame[1514], buf[2048];

	fe_frame(frame, sizeof(frame), 0xb, 0xa, 1);
	while (clock_ns() < end) {
		struct fe_ring *r = &a->rings[1];
		uint32_t ignored;
		bool idle = true;

		while (fe_take(a, r, &ignored) >= 0)
			;
		while (r->free) {
			fe_queue(a, 0, NULL, frame, sizeof(frame), 0);
			idle = false;
		}
		if (!idle)
			fd_signal(r->kick);
		while (fe_receive(b, 0, buf, sizeof(buf), &hdr) >= 0) {
			got += buf[11] == 0xa;
			idle = false;
		}
		if (idle) {
			fd_signal(b->rings[0].kick);
			sched_yield();
		}
	}
	printf("stream: %.0f frames of 1514 bytes a second\n",
	       (double)got * 1e9 / (double)(clock_ns() - begin));
	return got == 0;
}

static int honest(const char *first, const char *second, const char *ms, const char *ms2)
{
	struct fe a, b;
	int rc;

	fe_connect(&a, first);
	fe_connect(&b, second);
	fe_start(&a, MRG, 2);
	fe_start(&b, MRG, 2);
	fe_post(&a, 0, 2048, FE_SIZE);
	fe_post(&b, 0, 2048, FE_SIZE);
	fe_get_u64(&a, VU_GET_FEATURES); /* all before is done */
	fe_get_u64(&b, VU_GET_FEATURES);
	rc = ping(&a, &b, strtoul(ms, NULL, 10));
	if (rc == 0 && ms2)
		rc = stream(&a, &b, strtoul(ms2, NULL, 10));
	return rc;
}

/* --- Hostile --- */

static void __attribute__((noreturn)) stay(void)
{
	for (;;)
		pause();
}

static void work(struct fe *fe)
{
	const uint32_t size = 32768, queues = 64;
	struct vu_inflight i = {.nr_queues = (uint16_t)queues, .queue_size = (uint16_t)size};
	int fd = memfd_create("inflight", MFD_CLOEXEC);

	fe_start(fe, PACKED | MQ, 0);
	for (uint32_t ring = 0; ring < queues; ring++) {
		struct vu_addr a = fe_ring_addr(0);
		uint64_t index = ring;

		a.index = ring;
		a.avail = a.desc + 16 * size;
		a.used = a.avail + 16;
		fe_send_state(fe, VU_SET_VRING_NUM, ring, size);
		fe_send_state(fe, VU_SET_VRING_BASE, ring, virtq_base_new(true));
		fe_send(fe, VU_SET_VRING_ADDR, &a, sizeof(a));
		fe_send_fds(fe, VU_SET_VRING_KICK, 0, &index, 8, &fe->rings[0].kick, 1);
	}
	i.mmap_size = MIB(80);
	assert_int_equal(ftruncate(fd, (off_t)i.mmap_size), 0);
	say("at work");
	for (;;) {
		/* Blank: each ring is begun anew. */
		if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		              (off_t)i.mmap_size) < 0)
			exit(1);
		for (unsigned k = 0; k < 16; k++)
			if (!fire(fe, VU_SET_INFLIGHT_FD, &i, sizeof(i), &fd, 1))
				exit(1);
		fe_get_u64(fe, VU_GET_FEATURES);
	}
}

/* Frames of @len as fast as they go, on @pairs queues. */
static void blast(struct fe *fe, unsigned pairs, const struct virtio_net_hdr_v1 *hdr,
                  const uint8_t *frame, size_t len)
{
	say("at work");
	for (;;) {
		for (unsigned pair = 0; pair < pairs; pair++) {
			struct fe_ring *r = &fe->rings[2 * pair + 1];
			unsigned slots = (unsigned)((FE_HDR + len + FE_SLOT - 1) / FE_SLOT);
			bool any = false;
			uint32_t ignored;

			while (fe_take(fe, r, &ignored) >= 0)
				;
			for (; r->free >= slots; any = true)
				fe_queue(fe, pair, hdr, frame, len, 0);
			if (any)
				fd_signal(r->kick);
		}
		sched_yield();
	}
}

static void flood(struct fe *fe)
{
	static uint8_t frame[60000];
	struct virtio_net_hdr_v1 hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	                                .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
	                                .gso_size = htole16(256),
	                                .hdr_len = htole16(54),
	                                .csum_start = htole16(34),
	                                .csum_offset = htole16(16)};

	fe_frame(frame, sizeof(frame), 0xff, 0xc, 3);
	memcpy(frame + 12, "\x08\x00\x45", 3);
	frame[23] = 6;
	frame[46] = 5 << 4;
	fe_start(fe, MRG | CSUM | TSO4, 2);
	fe_post(fe, 0, 2048, 1);
	blast(fe, 1, &hdr, frame, sizeof(frame));
}

static void queues(struct fe *fe)
{
	uint8_t frame[64];

	fe_frame(frame, sizeof(frame), 0xc, 0xc, 3); /* for itself: it costs nobody else anything */
	fe_start(fe, MRG | MQ, FE_RINGS);
	fe_post(fe, 0, 2048, 1);
	blast(fe, FE_RINGS / 2, NULL, frame, sizeof(frame));
}

static void block(const char *path)
{
	uint64_t full = UINT64_MAX - 1;
	uint8_t frame[64];

	fe_frame(frame, sizeof(frame), 0xc, 0xc, 3);
	say("at work");
	for (;;) {
		struct fe fe;

		fe_connect(&fe, path);
		fe_start(&fe, MRG, 2);
		fd_drain(fe.rings[1].call);
		if (write(fe.rings[1].call, &full, sizeof(full)) < 0)
			exit(1);
		for (unsigned i = 0; i < 1000 && fe_alive(&fe); i++) {
			if (fcntl(fe.rings[1].call, F_SETFL, O_RDWR) < 0)
				exit(1);
			fe_queue(&fe, 0, NULL, frame, sizeof(frame), 0);
			fd_signal(fe.rings[1].kick);
			poll(NULL, 0, 1);
		}
		fe_close(&fe);
	}
}

static void garbage(const char *path)
{
	struct vu_msg m = {.request = VU_SET_FEATURES, .flags = 2 /* a version */};

	say("at work");
	for (;;) {
		struct fe fe;
		struct pollfd p;

		fe_connect(&fe, path);
		send(fe.sock, &m, VU_HEADER, MSG_NOSIGNAL);
		p = (struct pollfd){.fd = fe.sock, .events = POLLIN};
		poll(&p, 1, 20000);
		fe_close(&fe);
	}
}

static void eventfds(struct fe *fe, const char *path)
{
	static const uint32_t requests[] = {VU_SET_VRING_CALL, VU_SET_VRING_ERR, VU_SET_VRING_KICK};
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	for (uint64_t ring = 0; ring < GUEST_RINGS_MAX; ring++)
		for (unsigned i = 0; i < ARRAY_SIZE(requests); i++) {
			int fd = fd_eventfd();

			fire(fe, requests[i], &ring, 8, &fd, 1);
			fd_close(&fd);
		}
	say("at work");
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	for (;;) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		connect(fd, (struct sockaddr *)&a, sizeof(a));
		fd_close(&fd);
		poll(NULL, 0, 1);
	}
}

static void space(struct fe *fe)
{
	uint64_t at = 0;

	fe_features(fe, MRG);
	for (uint64_t size = UINT64_C(1) << 46; size >= MIB(1);) {
		struct vu_memory_region r = {
			.region = {.gpa = at, .size = size, .user_addr = FE_USER + at}};
		int fd = memfd_create("space", MFD_CLOEXEC);

		if (ftruncate(fd, (off_t)size) == 0 &&
		    fe_accepted(fe, VU_ADD_MEM_REG, &r, sizeof(r), &fd, 1))
			at += size;
		else
			size /= 2;
		fd_close(&fd);
	}
	printf("mapped %llu MiB\n", (unsigned long long)(at >> 20));
	say("at work");
	stay();
}

static void churn(const char *path)
{
	const uint64_t size = MIB(256);

	say("at work");
	for (;;) {
		struct vu_memory_region r = {
			.region = {.gpa = 0, .size = size, .user_addr = FE_USER}};
		int fd = memfd_create("churn", MFD_CLOEXEC);
		struct fe fe;

		fe_connect(&fe, path);
		fe_features(&fe, MRG);
		if (fallocate(fd, 0, 0, (off_t)size) < 0)
			exit(1);
		fe_accepted(&fe, VU_ADD_MEM_REG, &r, sizeof(r), &fd, 1);
		fd_close(&fd);
		fe_close(&fe);
	}
}

/* --- A file system that does not answer --- */

static _Atomic bool silent;
static int fuse_dev = -1;
static uint64_t unanswered[256];
static _Atomic unsigned nr_unanswered;

static void answer(uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + len), .error = error, .unique = unique};
	struct iovec iov[2] = {{&h, sizeof(h)}, {(void *)body, len}};

	if (writev(fuse_dev, iov, len ? 2 : 1) < 0)
		return; /* who asked is gone */
}

static struct fuse_attr attr_of(uint64_t node)
{
	return (struct fuse_attr){.ino = node,
	                          .size = 4096,
	                          .mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0666,
	                          .nlink = 1,
	                          .blksize = 4096};
}

static void *fuse_server(void *arg)
{
	static uint8_t buf[1 << 17];
	const struct fuse_in_header *in = (const void *)buf;

	(void)arg;
	while (read(fuse_dev, buf, sizeof(buf)) > 0) {
		struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 1 << 16};
		struct fuse_entry_out entry = {.nodeid = 2, .attr = attr_of(2)};
		struct fuse_attr_out attr = {.attr = attr_of(in->nodeid)};
		struct fuse_open_out opened = {.fh = 0};

		/* Nothing of ours waits: this process could not even be killed. */
		if (silent && in->pid != (uint32_t)getpid()) {
			printf("fuse: operation %u is not answered\n", in->opcode);
			fflush(stdout);
			if (in->opcode != FUSE_INTERRUPT && nr_unanswered < ARRAY_SIZE(unanswered))
				unanswered[nr_unanswered++] = in->unique;
			continue;
		}
		if (in->opcode == FUSE_INIT)
			answer(in->unique, 0, &init, sizeof(init));
		else if (in->opcode == FUSE_LOOKUP)
			answer(in->unique, 0, &entry, sizeof(entry));
		else if (in->opcode == FUSE_GETATTR)
			answer(in->unique, 0, &attr, sizeof(attr));
		else if (in->opcode == FUSE_OPEN)
			answer(in->unique, 0, &opened, sizeof(opened));
		else if (in->opcode == FUSE_FLUSH)
			answer(in->unique, 0, NULL, 0);
		else
			answer(in->unique, -ENOSYS, NULL, 0);
	}
	return NULL;
}

static void write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0) {
		printf("skip: %s: %s\n", path, strerror(errno));
		exit(3);
	}
	fd_close(&fd);
}

static int fuse_file(const char *dir)
{
	unsigned uid = getuid(), gid = getgid();
	char text[128];
	pthread_t thread;
	int fd;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0) {
		printf("skip: unshare: %s\n", strerror(errno));
		exit(3);
	}
	write_text("/proc/self/setgroups", "deny");
	snprintf(text, sizeof(text), "0 %u 1", uid);
	write_text("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "0 %u 1", gid);
	write_text("/proc/self/gid_map", text);
	fuse_dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	snprintf(text, sizeof(text), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_dev);
	if (fuse_dev < 0 || mount("hostile", dir, "fuse", MS_NOSUID | MS_NODEV, text) < 0) {
		printf("skip: mount: %s\n", strerror(errno));
		exit(3);
	}
	assert_int_equal(pthread_create(&thread, NULL, fuse_server, NULL), 0);
	snprintf(text, sizeof(text), "%s/f", dir);
	fd = open(text, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	silent = true;
	return fd;
}

static void fuse(const char *path, const char *dir)
{
	struct vu_memory table = {.nr = 1,
	                          .regions = {{.gpa = 0, .size = 4096, .user_addr = FE_USER}}};
	uint64_t ring = 0;
	sigset_t set;
	struct fe fe;
	int fd, sig;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = fuse_file(dir);
	/* Memory, an eventfd, and with a message that has no use for it. */
	fe_connect(&fe, path);
	fe_features(&fe, MRG);
	assert_false(
		fe_accepted(&fe, VU_SET_MEM_TABLE, &table, 8 + sizeof(struct vu_region), &fd, 1));
	assert_false(fe_accepted(&fe, VU_SET_VRING_CALL, &ring, 8, &fd, 1));
	fire(&fe, VU_GET_FEATURES, NULL, 0, &fd, 1);
	fd_close(&fd);
	say("at work");
	sigwait(&set, &sig);
	silent = false;
	for (unsigned i = 0; i < nr_unanswered; i++)
		answer(unanswered[i], 0, NULL, 0);
	say("answered");
	stay();
}

int main(int argc, char **argv)
{
	const char *path = argc > 2 ? argv[1] : "", *what = argc > 2 ? argv[2] : "";
	struct fe fe;

	if (argc >= 5 && strcmp(what, "ping") == 0)
		return honest(path, argv[3], argv[4], argc > 5 ? argv[5] : NULL);
	if (strncmp(what, "fuse=", 5) == 0)
		fuse(path, what + 5);
	if (strcmp(what, "block") == 0)
		block(path);
	if (strcmp(what, "garbage") == 0)
		garbage(path);
	if (strcmp(what, "churn") == 0)
		churn(path);
	fe_connect(&fe, path);
	if (strcmp(what, "work") == 0)
		work(&fe);
	if (strcmp(what, "flood") == 0)
		flood(&fe);
	if (strcmp(what, "queues") == 0)
		queues(&fe);
	if (strcmp(what, "fds") == 0)
		eventfds(&fe, path);
	if (strcmp(what, "space") == 0)
		space(&fe);
	if (strcmp(what, "nothing") == 0) {
		fe_start(&fe, MRG, 2);
		say("at work");
		stay();
	}
	fprintf(stderr, "usage: switchfront SOCKET WORD...\n");
	return 2;
}
