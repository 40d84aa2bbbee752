/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What runs in the guest while compare measures it, on two UDP ports:
 *
 *   7   echo: what comes goes back
 *   8   the guest's own counts. A request is a letter and 8 bytes; the answer is these 9 bytes and
 * text: 'i'  the file /trivm/info 's'  "kicks N", the sum of the driver's counters of that name;
 * the lines of /proc/interrupts that name a virtio device; the line of /proc/net/dev of eth0
 *
 * One datagram each, a few milliseconds even where every instruction is emulated.
 */
#include <linux/ethtool.h>
#include <linux/if.h>
#include <linux/in.h>
#include <linux/poll.h>
#include <linux/sockios.h>

#include "compare/guest/kicks.h"
#include "guest-images/linux/nolibc.h"

#define ECHO_PORT  7
#define STATS_PORT 8
#define TAG_LEN    9
#define NAMES_MAX  512
#define ANSWER_MAX 1400 /* one frame */
#define FILE_MAX   16384

#define AF_INET_    2
#define SOCK_DGRAM_ 2

static char answer[ANSWER_MAX];
static long answer_len;

static long syscall6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10");
	register long r8 __asm__("r8");
	register long r9 __asm__("r9");
	long ret;

	r10 = d;
	r8 = e;
	r9 = f;
	__asm__ volatile("syscall"
	                 : "=a"(ret)
	                 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
	                 : "rcx", "r11", "memory");
	return ret;
}

static void put(const char *text, long len)
{
	for (long i = 0; i < len && answer_len < ANSWER_MAX; i++)
		answer[answer_len++] = text[i];
}

static long length(const char *text)
{
	long n = 0;

	while (text[n])
		n++;
	return n;
}

static void put_number(unsigned long long value)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n)
		put(&digits[--n], 1);
}

/* Does the line of @len bytes have @word in it? */
static int has(const char *line, long len, const char *word)
{
	long n = length(word);

	for (long i = 0; i + n <= len; i++) {
		long k = 0;

		while (k < n && line[i + k] == word[k])
			k++;
		if (k == n)
			return 1;
	}
	return 0;
}

/* The lines of @path that have @word, or all. */
static void put_file(const char *path, const char *word)
{
	static char text[FILE_MAX];
	long fd = syscall3(__NR_open, (long)path, 0, 0), len = 0, n, start = 0;

	if (fd < 0)
		return;
	/* /proc gives a page or less at a time. */
	while (len < FILE_MAX &&
	       (n = syscall3(__NR_read, fd, (long)(text + len), FILE_MAX - len)) > 0)
		len += n;
	syscall3(__NR_close, fd, 0, 0);
	for (long i = 0; i < len; i++) {
		if (text[i] != '\n')
			continue;
		if (!word || has(text + start, i - start, word))
			put(text + start, i + 1 - start);
		start = i + 1;
	}
}

static long ethtool(long sock, void *data)
{
	struct ifreq req = {.ifr_name = "eth0"};

	req.ifr_data = data;
	return syscall3(__NR_ioctl, sock, SIOCETHTOOL, (long)&req);
}

/* The driver's counts of each queue's kicks, as one sum. */
static void put_kicks(long sock)
{
	/* Each is a head, behind which the kernel puts what was asked for. */
	static unsigned long long set_buf[4], names_buf[2 + NAMES_MAX * ETH_GSTRING_LEN / 8],
		stats_buf[2 + NAMES_MAX];
	struct ethtool_sset_info *set = (struct ethtool_sset_info *)set_buf;
	struct ethtool_gstrings *names = (struct ethtool_gstrings *)names_buf;
	struct ethtool_stats *stats = (struct ethtool_stats *)stats_buf;
	unsigned long long sum = 0;
	unsigned count;

	set->cmd = ETHTOOL_GSSET_INFO;
	set->sset_mask = 1ull << ETH_SS_STATS;
	if (ethtool(sock, set) < 0 || set->data[0] > NAMES_MAX)
		return;
	count = set->data[0];
	names->cmd = ETHTOOL_GSTRINGS;
	names->string_set = ETH_SS_STATS;
	names->len = count;
	stats->cmd = ETHTOOL_GSTATS;
	stats->n_stats = count;
	if (ethtool(sock, names) < 0 || ethtool(sock, stats) < 0)
		return;
	for (unsigned i = 0; i < count; i++)
		if (counts_kicks_of_a_queue((const char *)names->data + i * ETH_GSTRING_LEN,
		                            ETH_GSTRING_LEN))
			sum += stats->data[i];
	put("kicks ", 6);
	put_number(sum);
	put("\n", 1);
}

static long open_port(unsigned port)
{
	struct sockaddr_in a = {.sin_family = AF_INET_,
	                        .sin_port = (unsigned short)(port << 8 | port >> 8)};
	long fd = syscall3(__NR_socket, AF_INET_, SOCK_DGRAM_, 0);

	return fd >= 0 && syscall3(__NR_bind, fd, (long)&a, sizeof(a)) >= 0 ? fd : -1;
}

/* One datagram from @sock, answered. */
static void serve(long sock, int stats)
{
	static char buf[2048];
	struct sockaddr_in from;
	int from_len = sizeof(from);
	long len = syscall6(__NR_recvfrom, sock, (long)buf, sizeof(buf), 0, (long)&from,
	                    (long)&from_len);

	if (len < 0)
		return;
	if (!stats) {
		syscall6(__NR_sendto, sock, (long)buf, len, 0, (long)&from, from_len);
		return;
	}
	if (len != TAG_LEN)
		return;
	answer_len = 0;
	put(buf, TAG_LEN);
	if (buf[0] == 'i') {
		put_file("/trivm/info", 0);
	} else {
		put_kicks(sock);
		put_file("/proc/interrupts", "virtio");
		put_file("/proc/net/dev", "eth0:");
	}
	syscall6(__NR_sendto, sock, (long)answer, answer_len, 0, (long)&from, from_len);
}

static int run(long argc, char **argv)
{
	struct pollfd p[2] = {{.events = POLLIN}, {.events = POLLIN}};

	(void)argc;
	(void)argv;
	p[0].fd = (int)open_port(ECHO_PORT);
	p[1].fd = (int)open_port(STATS_PORT);
	if (p[0].fd < 0 || p[1].fd < 0)
		return complain("peer: a port is taken\n");
	for (;;) {
		if (syscall3(__NR_poll, (long)p, 2, -1) < 0)
			return complain("peer: poll failed\n");
		for (int i = 0; i < 2; i++)
			if (p[i].revents)
				serve(p[i].fd, i);
	}
}
