/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vupeer SOCKET [WORD...]: a vhost-user back-end for tests. It listens at SOCKET, serves one
 * connection after the other, prints each message, and moves no frames. The words say what it does
 * that an honest back-end does not:
 *
 *	block      clear O_NONBLOCK of every eventfd that it gets
 *	full       the same, and bring the counts of kick eventfds to their maximum
 *	steal      go on reading the kick eventfds that it got, also after the connection's end
 *	truncate   cut the guest's memory when a ring has started
 *	fuse=DIR   its inflight region is a file of a FUSE file system, mounted on DIR, whose server
 *	           does not answer before SIGUSR1
 *	mute=N     do not answer request N, nor anything after it, before SIGUSR1
 *	features=X protocol=X
 *
 * Status 77: this host has no FUSE for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/vhost/user_wire.h"
#include "vmm/util.h"

#define KEPT_MAX 256

static bool block, full, truncate_it, steal;
static const char *fuse_dir;
static unsigned mute_at;
static volatile sig_atomic_t released;
static uint64_t features = BIT64(VIRTIO_F_VERSION_1) | BIT64(VU_F_PROTOCOL_FEATURES) |
                           BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_RING_F_EVENT_IDX) |
                           BIT64(VIRTIO_RING_F_INDIRECT_DESC);
static uint64_t protocol = BIT64(VU_PROTOCOL_REPLY_ACK) | BIT64(VU_PROTOCOL_MQ);
static int kept[KEPT_MAX], nr_kept, fuse_file = -1;
static uint32_t bases[64];

static void die(const char *what, int status)
{
	perror(what);
	exit(status);
}

static void on_release(int sig)
{
	(void)sig;
	released = 1;
}

/* The file has to be closed while its server, a thread of this process, still answers. */
static void on_end(int sig)
{
	(void)sig;
	released = 1;
	if (fuse_file >= 0)
		close(fuse_file);
	_exit(0);
}

/* --- A file of a file system whose server is silent --- */

static int fuse_dev;

static void fuse_answer(uint64_t unique, int error, const void *body, size_t len)
{
	struct fuse_out_header h = {
		.len = (uint32_t)(sizeof(h) + len), .error = error, .unique = unique};
	char buf[512];

	memcpy(buf, &h, sizeof(h));
	if (len)
		memcpy(buf + sizeof(h), body, len);
	if (write(fuse_dev, buf, h.len) < 0)
		return;
}

static struct fuse_attr fuse_attr_of(uint64_t node)
{
	return (struct fuse_attr){
		.ino = node,
		.size = 8192,
		.mode = node == 1 ? S_IFDIR | 0755 : S_IFREG | 0666,
		.nlink = 1,
		.blksize = 4096,
	};
}

static void fuse_serve(const struct fuse_in_header *in)
{
	struct fuse_init_out init = {.major = 7, .minor = 31, .max_write = 65536};
	struct fuse_entry_out entry = {.nodeid = 2, .attr = fuse_attr_of(2)};
	struct fuse_attr_out attr = {.attr = fuse_attr_of(in->nodeid)};
	struct fuse_open_out opened = {.open_flags = 0};

	switch (in->opcode) {
	case FUSE_INIT:
		fuse_answer(in->unique, 0, &init, sizeof(init));
		break;
	case FUSE_LOOKUP:
		fuse_answer(in->unique, 0, &entry, sizeof(entry));
		break;
	case FUSE_GETATTR:
		fuse_answer(in->unique, 0, &attr, sizeof(attr));
		break;
	case FUSE_OPEN:
		fuse_answer(in->unique, 0, &opened, sizeof(opened));
		break;
	default:
		fuse_answer(in->unique, -ENOSYS, NULL, 0);
	}
}

static void *fuse_server(void *opened)
{
	static char buf[1 << 17];
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (;;) {
		ssize_t n = read(fuse_dev, buf, sizeof(buf));
		const struct fuse_in_header *in = (const struct fuse_in_header *)buf;

		if (n < 0)
			return NULL;
		if (__atomic_load_n((int *)opened, __ATOMIC_ACQUIRE) && !released) {
			printf("fuse: operation %u waits\n", in->opcode);
			fflush(stdout);
			while (!released)
				usleep(10000);
		}
		fuse_serve(in);
	}
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path, 77);
	close(fd);
}

static void fuse_open(void)
{
	static int opened;
	char text[128];
	uid_t uid = getuid();
	gid_t gid = getgid();
	pthread_t t;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		die("unshare", 77);
	write_file("/proc/self/setgroups", "deny");
	snprintf(text, sizeof(text), "0 %u 1", uid);
	write_file("/proc/self/uid_map", text);
	snprintf(text, sizeof(text), "0 %u 1", gid);
	write_file("/proc/self/gid_map", text);
	fuse_dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (fuse_dev < 0)
		die("/dev/fuse", 77);
	snprintf(text, sizeof(text), "fd=%d,rootmode=40000,user_id=0,group_id=0", fuse_dev);
	if (mount("silent", fuse_dir, "fuse", MS_NOSUID | MS_NODEV, text) < 0)
		die("mount", 77);
	if (pthread_create(&t, NULL, fuse_server, &opened) != 0)
		die("pthread_create", 77);
	snprintf(text, sizeof(text), "%s/f", fuse_dir);
	fuse_file = open(text, O_RDWR | O_CLOEXEC);
	if (fuse_file < 0)
		die(text, 77);
	__atomic_store_n(&opened, 1, __ATOMIC_RELEASE);
}

/* --- The protocol --- */

static void *read_away(void *arg)
{
	int fd = (int)(intptr_t)arg;
	uint64_t n;

	while (read(fd, &n, sizeof(n)) == sizeof(n))
		;
	return NULL;
}

static void play_with(int fd, bool kick)
{
	const uint64_t brim = UINT64_MAX - 1;
	pthread_t t;

	if (full && kick && write(fd, &brim, sizeof(brim)) < 0)
		printf("the count was not 0\n");
	if (block || full || steal)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	if (steal && kick && pthread_create(&t, NULL, read_away, (void *)(intptr_t)fd) == 0)
		pthread_detach(t);
}

static void keep(struct vu_rx *rx)
{
	for (unsigned i = 0; i < rx->nr_fds && nr_kept < KEPT_MAX; i++)
		kept[nr_kept++] = vu_rx_take_fd(rx, i);
}

static void say(const struct vu_msg *m)
{
	printf("%s", vu_request_name(m->request));
	if (m->size == 8 && (m->request == VU_SET_VRING_KICK || m->request == VU_SET_VRING_CALL ||
	                     m->request == VU_SET_VRING_ERR))
		printf(" ring %u", (unsigned)(m->p.u64 & VU_VRING_INDEX));
	else if (m->request == VU_SET_VRING_ENABLE || m->request == VU_SET_VRING_BASE ||
	         m->request == VU_GET_VRING_BASE)
		printf(" ring %u: %u", m->p.state.index, m->p.state.num);
	printf("\n");
	fflush(stdout);
}

static void answer(int fd, const struct vu_msg *to, const void *p, uint32_t size, int with)
{
	struct vu_msg m = {.request = to->request, .flags = VU_VERSION | VU_REPLY, .size = size};

	memcpy(&m.p, p, size);
	vu_send(fd, &m, &with, with >= 0, vu_deadline(10000));
}

static void answer_u64(int fd, const struct vu_msg *to, uint64_t v)
{
	answer(fd, to, &v, sizeof(v), -1);
}

static void reply(int fd, struct vu_msg *m)
{
	switch (m->request) {
	case VU_GET_FEATURES:
		answer_u64(fd, m, features);
		break;
	case VU_GET_PROTOCOL_FEATURES:
		answer_u64(fd, m, protocol | (fuse_dir ? BIT64(VU_PROTOCOL_INFLIGHT_SHMFD) : 0));
		break;
	case VU_GET_QUEUE_NUM:
		answer_u64(fd, m, 8);
		break;
	case VU_GET_VRING_BASE:
		m->p.state.num = bases[m->p.state.index % ARRAY_SIZE(bases)];
		answer(fd, m, &m->p.state, sizeof(m->p.state), -1);
		break;
	case VU_GET_INFLIGHT_FD:
		m->p.inflight.mmap_size = 4096;
		m->p.inflight.mmap_offset = 0;
		answer(fd, m, &m->p.inflight, sizeof(m->p.inflight), fuse_file);
		break;
	default:
		if (m->flags & VU_NEED_REPLY)
			answer_u64(fd, m, 0);
	}
}

static void handle(int fd, struct vu_rx *rx)
{
	struct vu_msg *m = &rx->msg;
	int first = nr_kept;

	say(m);
	keep(rx);
	if (m->request == mute_at)
		while (!released)
			usleep(10000);
	if (m->request == VU_SET_VRING_BASE)
		bases[m->p.state.index % ARRAY_SIZE(bases)] = m->p.state.num;
	if (nr_kept > first && (m->request == VU_SET_VRING_KICK ||
	                        m->request == VU_SET_VRING_CALL || m->request == VU_SET_VRING_ERR))
		play_with(kept[first], m->request == VU_SET_VRING_KICK);
	if (truncate_it && m->request == VU_SET_VRING_KICK)
		for (int i = 0; i < nr_kept; i++)
			if (ftruncate(kept[i], 0) == 0)
				printf("cut\n");
	reply(fd, m);
}

static void serve(int fd)
{
	struct vu_rx rx;

	printf("connected\n");
	fflush(stdout);
	vu_rx_init(&rx);
	while (vu_recv(fd, &rx, vu_deadline(1000000)) == 0) {
		handle(fd, &rx);
		vu_rx_reset(&rx);
	}
	vu_rx_reset(&rx);
	close(fd);
	printf("end of the connection\n");
	fflush(stdout);
}

static void word(const char *w)
{
	block |= strcmp(w, "block") == 0;
	full |= strcmp(w, "full") == 0;
	steal |= strcmp(w, "steal") == 0;
	truncate_it |= strcmp(w, "truncate") == 0;
	if (strncmp(w, "fuse=", 5) == 0)
		fuse_dir = w + 5;
	if (strncmp(w, "mute=", 5) == 0)
		mute_at = (unsigned)atoi(w + 5);
	if (strncmp(w, "features=", 9) == 0)
		features = strtoull(w + 9, NULL, 16);
	if (strncmp(w, "protocol=", 9) == 0)
		protocol = strtoull(w + 9, NULL, 16);
}

int main(int argc, char **argv)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct sigaction release = {.sa_handler = on_release}, end = {.sa_handler = on_end};
	int listener;

	if (argc < 2 || strlen(argv[1]) >= sizeof(a.sun_path))
		return 2;
	for (int i = 2; i < argc; i++)
		word(argv[i]);
	sigaction(SIGUSR1, &release, NULL);
	sigaction(SIGTERM, &end, NULL);
	if (fuse_dir)
		fuse_open();
	strcpy(a.sun_path, argv[1]);
	unlink(a.sun_path);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(listener, 8) < 0)
		die(argv[1], 1);
	printf("listening\n");
	fflush(stdout);
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0 && errno != EINTR)
			die("accept", 1);
		if (fd >= 0)
			serve(fd);
	}
}
