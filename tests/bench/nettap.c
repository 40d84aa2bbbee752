/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tap of the net bench, and what is behind it.
 *
 * Sending is measured into nothing: the interface is up and has no address, so that the kernel
 * takes a frame through its whole receive path and drops it there. Receiving is measured from a
 * generator on a packet socket. It writes past the queueing discipline straight into the tap's
 * queue, until that is full (ENOBUFS), and sleeps for PAUSE_US; a reader that shares its CPU runs
 * meanwhile. As the generator never waits for the reader's wake-ups, and the reader never sleeps,
 * all that is left of the two is what a frame costs each.
 */
#include "nettap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAUSE_US   50
#define SEGMENT    1448
#define ETHERTYPE  0x88b5 /* IEEE 802's for experiments: nobody takes it */
#define PACKET_HDR ((unsigned)sizeof(struct virtio_net_hdr)) /* a packet socket's: 10 bytes */

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fprintf(stderr, "netbench: %s: %s\n", path, strerror(errno));
	if (fd >= 0)
		close(fd);
}

static int new_namespace(void)
{
	char map[64];
	uid_t uid = geteuid();
	gid_t gid = getegid();

	if (!uid)
		return unshare(CLONE_NEWNET);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return -1;
	write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	write_file("/proc/self/uid_map", map);
	snprintf(map, sizeof(map), "0 %u 1", gid);
	write_file("/proc/self/gid_map", map);
	return 0;
}

static int interface_ioctl(unsigned long what, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : ioctl(fd, what, ifr);

	if (fd >= 0)
		close(fd);
	return rc;
}

int nettap_queue_length(int frames)
{
	struct ifreq ifr = {.ifr_name = NETTAP_NAME, .ifr_qlen = frames};

	return interface_ioctl(SIOCSIFTXQLEN, &ifr);
}

static int open_named(const char *name, bool segments)
{
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC), size = NETTAP_HDR;
	unsigned long offloads = segments ? TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 : 0;

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd >= 0 && (ioctl(fd, TUNSETIFF, &ifr) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &size) < 0 ||
	                ioctl(fd, TUNSETOFFLOAD, offloads) < 0)) {
		int error = errno;

		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

int nettap_open(bool segments)
{
	return open_named(NETTAP_NAME, segments);
}

const char *nettap_add(const char *name)
{
	static char why[128];
	struct ifreq ifr = {.ifr_flags = IFF_UP};
	int fd = open_named(name, false);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETPERSIST, 1) < 0) {
		snprintf(why, sizeof(why), "cannot make a tap (/dev/net/tun): %s", strerror(errno));
		return why;
	}
	close(fd);
	if (interface_ioctl(SIOCSIFFLAGS, &ifr) < 0) {
		snprintf(why, sizeof(why), "cannot set the tap up: %s", strerror(errno));
		return why;
	}
	return NULL;
}

const char *nettap_enter(void)
{
	static char why[128];

	if (new_namespace() < 0) {
		snprintf(why, sizeof(why), "no network namespace of its own: %s", strerror(errno));
		return why;
	}
	if (!access("/proc/sys/net/ipv6/conf/all/disable_ipv6", W_OK))
		write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	return nettap_add(NETTAP_NAME);
}

/* ---- frames ---- */

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void make_segment(struct virtio_net_hdr_v1 *hdr, uint8_t *frame, unsigned size)
{
	static const uint8_t addresses[8] = {10, 0, 0, 1, 10, 0, 0, 2};

	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	hdr->hdr_len = 54;
	hdr->gso_size = SEGMENT;
	hdr->csum_start = 34;
	hdr->csum_offset = 16;
	put16(frame + 12, ETHERTYPE_IP);
	memset(frame + 14, 0, 40);
	frame[14] = 0x45;
	put16(frame + 16, size - 14);
	frame[22] = 64;
	frame[23] = IPPROTO_TCP;
	memcpy(frame + 26, addresses, sizeof(addresses));
	put16(frame + 34, 5001);
	put16(frame + 36, 5001);
	frame[46] = 5 << 4;
	frame[47] = 0x10; /* ACK */
}

void nettap_frame(uint8_t *buf, unsigned size)
{
	static const uint8_t addresses[12] = {0x52, 0x54, 0, 0x12, 0x34, 0x56, 2, 0, 0, 0, 0, 1};
	struct virtio_net_hdr_v1 *hdr = (void *)buf;
	uint8_t *frame = buf + sizeof(*hdr);

	memset(hdr, 0, sizeof(*hdr));
	for (unsigned i = 0; i < size; i++)
		frame[i] = (uint8_t)i;
	memcpy(frame, addresses, sizeof(addresses));
	put16(frame + 12, ETHERTYPE);
	if (size > NETTAP_LONG)
		make_segment(hdr, frame, size);
}

/* ---- the generator ---- */

static pthread_t thread;
static atomic_bool stopping;
static int packet_fd = -1;
static unsigned frame_size;

#define BURST 32

static void *generate(void *unused)
{
	static uint8_t buf[NETTAP_HDR + NETTAP_MAX];
	struct iovec iov[2] = {{buf, PACKET_HDR}, {buf + NETTAP_HDR, frame_size}};
	struct mmsghdr msgs[BURST];
	struct timespec pause = {.tv_nsec = PAUSE_US * 1000};

	(void)unused;
	nettap_frame(buf, frame_size);
	memset(msgs, 0, sizeof(msgs));
	for (int i = 0; i < BURST; i++) {
		msgs[i].msg_hdr.msg_iov = iov;
		msgs[i].msg_hdr.msg_iovlen = 2;
	}
	while (!stopping) {
		/* Less than all of them: the queue is full. */
		if (sendmmsg(packet_fd, msgs, BURST, 0) != BURST)
			clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return NULL;
}

static int packet_socket(void)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
	                           .sll_protocol = 0, /* nothing is received */
	                           .sll_ifindex = (int)if_nametoindex(NETTAP_NAME)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), yes = 1;

	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof(yes)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

int nettap_generate(unsigned size, int cpu)
{
	struct sched_param fifo = {.sched_priority = 1};
	cpu_set_t set;

	frame_size = size;
	packet_fd = packet_socket();
	if (packet_fd < 0)
		return -errno;
	stopping = false;
	if (pthread_create(&thread, NULL, generate, NULL)) {
		close(packet_fd);
		return -EAGAIN;
	}
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(thread, sizeof(set), &set);
	/* Without the right to: it then shares the CPU evenly. */
	pthread_setschedparam(thread, SCHED_FIFO, &fifo);
	return 0;
}

void nettap_generate_stop(void)
{
	stopping = true;
	pthread_join(thread, NULL);
	close(packet_fd);
	packet_fd = -1;
}
