/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netpeer: the other end of a NIC whose guest echoes (guest-images/baremetal/guests/net.c,
 * mode=echo).
 *
 *	netpeer socket:PATH COUNT COMMAND...    listens at PATH; frames have their length in front
 *	netpeer tap COUNT COMMAND...            in a network namespace with a tap called tap0
 *
 * Runs the command, sends it COUNT frames of all usual lengths, and wants each back: in order,
 * whole, once, with its addresses swapped. Then one more, for the guest to end after COUNT + 1. Ends
 * with the command's status, 99 if the frames were not right, 77 with the reason where there can be
 * no tap.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/nettap.h"

#define WRONG     99
#define SKIPPED   77
#define ETHERTYPE 0x88b5
#define MIN_LEN   60 /* the kernel pads what is shorter */
#define MAX_LEN   1514
#define WINDOW    24 /* frames under way: few enough for every buffer between here and the guest */
#define LIMIT_S   30

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1};

static int fd = -1;
static bool stream;

/* Frame @n: its number, then bytes that follow from it. Returns its length. */
static size_t make_frame(uint8_t *f, uint32_t n, const uint8_t *to, const uint8_t *from)
{
	size_t len = MIN_LEN + n * 2654435761u % (MAX_LEN - MIN_LEN + 1);
	uint16_t type = htons(ETHERTYPE);

	memcpy(f, to, 6);
	memcpy(f + 6, from, 6);
	memcpy(f + 12, &type, 2);
	memcpy(f + 14, &n, 4);
	for (size_t i = 18; i < len; i++)
		f[i] = (uint8_t)(n + i * 7);
	return len;
}

/* ---- moving frames ---- */

static bool read_all(void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len) {
		ssize_t n = read(fd, p, len);

		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool send_frame(uint32_t n)
{
	uint8_t buf[4 + MAX_LEN];
	size_t len = make_frame(buf + 4, n, guest_mac, own_mac);
	uint32_t be = htonl((uint32_t)len);

	memcpy(buf, &be, 4);
	if (stream)
		return write(fd, buf, 4 + len) == (ssize_t)(4 + len);
	return write(fd, buf + 4, len) == (ssize_t)len;
}

static bool want_frame(uint32_t n)
{
	uint8_t want[MAX_LEN], got[65536];
	size_t len = make_frame(want, n, own_mac, guest_mac);
	uint32_t be;
	ssize_t have;

	if (stream) {
		if (!read_all(&be, 4) || ntohl(be) > sizeof(got) || !read_all(got, ntohl(be)))
			have = -1;
		else
			have = (ssize_t)ntohl(be);
	} else {
		have = read(fd, got, sizeof(got));
	}
	if (have == (ssize_t)len && !memcmp(want, got, len))
		return true;
	fprintf(stderr, "netpeer: frame %u of %zu bytes: got %zd bytes%s\n", n, len, have,
	        have == (ssize_t)len ? ", which differ" : "");
	return false;
}

/* With NETPEER_PAUSE_US in the environment: one by one, with that pause before each. */
static bool exchange(uint32_t count)
{
	const char *slow = getenv("NETPEER_PAUSE_US");
	useconds_t pause_us = slow ? (useconds_t)strtoul(slow, NULL, 10) : 0;
	uint32_t sent = 0, got = 0, window = slow ? 1 : WINDOW;

	while (got < count) {
		usleep(pause_us);
		while (sent < count && sent - got < window)
			if (!send_frame(sent++)) {
				perror("netpeer: sending");
				return false;
			}
		if (!want_frame(got++))
			return false;
	}
	return send_frame(count);
}

/* ---- the wire ---- */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (s < 0 || bind(s, (struct sockaddr *)&addr, sizeof(addr)) < 0 || listen(s, 1) < 0) {
		perror(path);
		exit(WRONG);
	}
	return s;
}

static void open_packet_socket(void)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
	                           .sll_protocol = htons(ETHERTYPE),
	                           .sll_ifindex = (int)if_nametoindex(NETTAP_NAME)};
	int yes = 1;

	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	/* Past the queueing discipline: for a moment after the tap was opened it drops everything.
	 */
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror("netpeer: packet socket");
		exit(WRONG);
	}
}

/* ---- the command ---- */

static volatile pid_t child;

static void on_alarm(int sig)
{
	static const char text[] = "netpeer: not done in time\n";
	ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);

	(void)sig;
	(void)n;
	kill(child, SIGKILL);
	_exit(WRONG);
}

static FILE *start(char **argv)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) < 0)
		exit(WRONG);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	close(fds[1]);
	signal(SIGALRM, on_alarm);
	alarm(LIMIT_S);
	return fdopen(fds[0], "re");
}

/* Pass on what the command prints, up to the line @last or its end. */
static bool pass_on(FILE *out, const char *last)
{
	char line[512];

	while (fgets(line, sizeof(line), out)) {
		fputs(line, stdout);
		if (last && !strncmp(line, last, strlen(last)))
			return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	int listener = -1, status = 0;
	const char *why;
	bool right;
	FILE *out;

	if (argc < 4)
		return 2;
	stream = !strncmp(argv[1], "socket:", 7);
	if (stream) {
		listener = listen_at(argv[1] + 7);
	} else {
		why = nettap_enter();
		if (why) {
			printf("%s\n", why);
			return SKIPPED;
		}
		open_packet_socket();
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	out = start(argv + 3);
	if (stream)
		fd = accept(listener, NULL, NULL);
	right = pass_on(out, "ready") && exchange((uint32_t)strtoul(argv[2], NULL, 10));
	if (!right)
		kill(child, SIGKILL);
	pass_on(out, NULL);
	waitpid(child, &status, 0);
	if (!right)
		return WRONG;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WRONG;
}
