/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * switchpeer: the other end of a NIC that is switched from one tap to another and back, while its
 * guest echoes and numbers what it sends (guest-images/baremetal/guests/net.c, mode=echo stamp=1).
 *
 *	switchpeer COMMAND...
 *
 * In a network namespace with two taps, tap0 and tap1, runs the command, and passes its output on.
 * When that has a line that begins with "ready" the guest gets frames, without a pause: on the tap
 * where it was heard last, and while it is silent on both, as a bridge would do. At a line "finish"
 * it gets LAST more, the result is printed, and the command's standard input ends.
 *
 * What the guest sent, by its own numbers, has to arrive: all of it, once, whole. What is sent to
 * the guest may be lost on the way by a switch, and is counted.
 *
 * Ends with the command's status, 99 if frames of the guest were lost, came twice or were not
 * right, 77 with the reason where there can be no taps.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/nettap.h"

#define WRONG     99
#define SKIPPED   77
#define ETHERTYPE 0x88b5
#define MIN_LEN   60
#define MAX_LEN   1514
#define NUMBER    14 /* where our number is, 4 bytes, and after it the guest's, 8 bytes */
#define STAMP     18
#define DATA      26
#define WINDOW    16  /* frames under way */
#define LAST      200 /* echoes after the last switch, so that what it lost shows */
#define SILENCE   20  /* ms, after which the frames under way are taken for lost */
#define LIMIT_MS  10000
#define STAMPS    (1u << 24)
#define TAPS      2

static const uint8_t guest_mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 1};

static const char *const tap_names[TAPS] = {"tap0", "tap1"};
static int taps[TAPS];
static int at = -1; /* the tap where the guest was heard last; -1: silent */

static uint8_t seen[STAMPS]; /* by the guest's number */
static uint64_t highest;     /* one more than the highest of these */
static uint64_t echoes, twice, wrong, silences;
static uint32_t sent;
static unsigned under_way;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- frames ---- */

static size_t make_frame(uint8_t *f, uint32_t n, const uint8_t *to, const uint8_t *from)
{
	size_t len = MIN_LEN + n * 2654435761u % (MAX_LEN - MIN_LEN + 1);
	uint16_t type = htons(ETHERTYPE);

	memcpy(f, to, 6);
	memcpy(f + 6, from, 6);
	memcpy(f + 12, &type, 2);
	memcpy(f + NUMBER, &n, 4);
	memset(f + STAMP, 0, DATA - STAMP);
	for (size_t i = DATA; i < len; i++)
		f[i] = (uint8_t)(n + i * 7);
	return len;
}

static void send_one(void)
{
	uint8_t f[MAX_LEN];
	size_t len = make_frame(f, sent++, guest_mac, own_mac);

	for (int i = 0; i < TAPS; i++)
		if ((at < 0 || at == i) && send(taps[i], f, len, 0) < 0 && errno != ENOBUFS &&
		    errno != ENETDOWN && errno != EAGAIN)
			perror("switchpeer: sending");
	under_way++;
}

static void take_one(const uint8_t *got, size_t have)
{
	uint8_t want[MAX_LEN];
	uint64_t stamp;
	uint32_t n;
	size_t len;

	if (have < MIN_LEN) {
		wrong++;
		return;
	}
	memcpy(&n, got + NUMBER, sizeof(n));
	memcpy(&stamp, got + STAMP, sizeof(stamp));
	len = make_frame(want, n, own_mac, guest_mac);
	memcpy(want + STAMP, &stamp, sizeof(stamp));
	if (n >= sent || len != have || memcmp(want, got, len) || stamp >= STAMPS) {
		wrong++;
		return;
	}
	if (seen[stamp]++)
		twice++;
	if (stamp >= highest)
		highest = stamp + 1;
	echoes++;
	if (under_way)
		under_way--;
}

/* All that has come in. True: something has. */
static bool take_all(void)
{
	uint8_t got[65536];
	bool any = false;

	for (int i = 0; i < TAPS; i++) {
		ssize_t have;

		while ((have = recv(taps[i], got, sizeof(got), MSG_DONTWAIT)) >= 0) {
			take_one(got, (size_t)have);
			any = true;
			at = i;
		}
	}
	return any;
}

static int packet_socket(const char *tap)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
	                           .sll_protocol = htons(ETHERTYPE),
	                           .sll_ifindex = (int)if_nametoindex(tap)};
	int yes = 1, room = 4 << 20, fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	/* Past the queueing discipline: for a moment after a tap was opened it drops everything. */
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &yes, sizeof(yes)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &yes, sizeof(yes)) < 0 ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror("switchpeer: packet socket");
		exit(WRONG);
	}
	/* As much as is allowed: what does not fit here was not lost by the NIC. */
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
	return fd;
}

/* ---- the command ---- */

static pid_t child;
static int out_fd, in_fd; /* its standard output and input */
static bool ready, finishing, ended;

static void start(char **argv)
{
	int out[2], in[2];

	if (pipe2(out, O_CLOEXEC) < 0 || pipe2(in, O_CLOEXEC) < 0)
		exit(WRONG);
	child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		dup2(out[1], STDOUT_FILENO);
		dup2(in[0], STDIN_FILENO);
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	close(out[1]);
	close(in[0]);
	out_fd = out[0];
	in_fd = in[1];
}

static void on_line(const char *line)
{
	puts(line);
	if (!strncmp(line, "ready", 5))
		ready = true;
	if (!strcmp(line, "finish"))
		finishing = true;
}

/* What the command prints, line by line. */
static void take_output(void)
{
	static char line[4096];
	static size_t len;
	ssize_t n = read(out_fd, line + len, sizeof(line) - 1 - len);
	char *end;

	if (n <= 0) {
		ended = true;
		return;
	}
	len += (size_t)n;
	line[len] = '\0';
	while ((end = strchr(line, '\n'))) {
		*end = '\0';
		end[-(end > line && end[-1] == '\r')] = '\0';
		on_line(line);
		len -= (size_t)(end + 1 - line);
		memmove(line, end + 1, len + 1);
	}
	if (len == sizeof(line) - 1)
		len = 0;
}

/* ---- the exchange ---- */

/* Wait for frames or words, at most @ms. */
static void wait_for(int ms)
{
	struct pollfd p[TAPS + 1] = {{.fd = out_fd, .events = POLLIN}};

	for (int i = 0; i < TAPS; i++)
		p[i + 1] = (struct pollfd){.fd = taps[i], .events = POLLIN};
	if (poll(p, TAPS + 1, ms) > 0 && p[0].revents)
		take_output();
}

/* Until the command wants the end, and LAST echoes more. False: the guest does not answer. */
static bool exchange(void)
{
	uint64_t heard = now_ms(), asked = heard, stop_at = UINT64_MAX;

	while (!ended && echoes < stop_at) {
		while (ready && under_way < WINDOW)
			send_one();
		wait_for(SILENCE / 4);
		if (take_all() || !ready) {
			heard = asked = now_ms();
		} else if (now_ms() - asked >= SILENCE) {
			under_way = 0;
			at = -1;
			silences++;
			asked = now_ms();
		}
		if (now_ms() - heard >= LIMIT_MS) {
			fprintf(stderr, "switchpeer: no echo in %d ms\n", LIMIT_MS);
			return false;
		}
		if (finishing && stop_at == UINT64_MAX)
			stop_at = echoes + LAST;
	}
	/* What is still under way. */
	for (heard = now_ms(); now_ms() - heard < 200;) {
		wait_for(SILENCE / 4);
		take_all();
	}
	return finishing;
}

static bool judge(void)
{
	uint64_t missing = 0;

	for (uint64_t i = 0; i < highest; i++)
		missing += !seen[i];
	printf("guest sent %lu: %lu missing, %lu twice, %lu wrong\n", highest, missing, twice,
	       wrong);
	printf("guest got %lu of %u, silences %lu\n", echoes, sent, silences);
	return !missing && !twice && !wrong && echoes >= LAST;
}

int main(int argc, char **argv)
{
	const char *why = argc < 2 ? NULL : nettap_enter();
	int status = 0;
	bool right;

	if (argc < 2)
		return 2;
	if (!why)
		why = nettap_add(tap_names[1]);
	if (why) {
		printf("%s\n", why);
		return SKIPPED;
	}
	for (int i = 0; i < TAPS; i++)
		taps[i] = packet_socket(tap_names[i]);
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	start(argv + 1);
	right = exchange();
	right = judge() && right;
	close(in_fd);
	while (!ended)
		take_output();
	waitpid(child, &status, 0);
	if (!right)
		return WRONG;
	return WIFEXITED(status) ? WEXITSTATUS(status) : WRONG;
}
