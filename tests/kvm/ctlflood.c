/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ctlflood PATH CONNECTIONS SECONDS: that many clients of the control socket at PATH at once, most
 * of them ill-behaved, each in one way: silent, half a line for ever, garbage, nesting, a line
 * without an end, requests whose replies are not read, a subscription that is not read, hanging up
 * in the middle. One in eight asks `status` and reads the reply. Whoever is disconnected comes
 * again. At the end, a line with what happened; the status is 0 if honest ones were answered, and
 * nobody got an answer that is no line of JSON-RPC.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX 4096

enum kind {
	SILENT,
	HALF,
	GARBAGE,
	NESTED,
	ENDLESS,
	NO_READ,
	EVENTS,
	HONEST,
	KINDS
};

struct client {
	int fd; /* -1: not connected */
	enum kind kind;
	unsigned sent;
	char last[16]; /* how the answer began */
	unsigned got;
};

static struct sockaddr_un address = {.sun_family = AF_UNIX};
static struct client clients[MAX];
static char block[65536], garbage[4096], many[8192];
static unsigned long connects, refused, answers, wrong, closed;

static void join(struct client *c)
{
	c->sent = c->got = 0;
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		connects++;
		return;
	}
	refused++;
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
}

static void leave(struct client *c)
{
	close(c->fd);
	c->fd = -1;
	closed++;
}

static void say(struct client *c, const char *text, size_t len)
{
	ssize_t n = send(c->fd, text, len, MSG_NOSIGNAL);

	if (n > 0)
		c->sent += (unsigned)n;
	else if (n < 0 && errno != EAGAIN)
		leave(c);
}

/* Read what came; the first bytes of a connection have to be those of a reply. */
static void hear(struct client *c)
{
	static const char begin[] = "{\"jsonrpc\":\"2.0";
	char buf[4096];
	ssize_t n = recv(c->fd, buf, sizeof(buf), 0);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			leave(c);
		return;
	}
	if (c->got < sizeof(begin) - 1) {
		size_t more = sizeof(begin) - 1 - c->got;

		more = more < (size_t)n ? more : (size_t)n;
		wrong += memcmp(begin + c->got, buf, more) != 0;
	}
	c->got += (unsigned)n;
	if (c->kind == HONEST && memmem(buf, (size_t)n, "\"state\"", 7)) {
		answers++;
		leave(c);
	}
}

#define REQUEST(method) "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"" method "\"}\n"

static void act(struct client *c)
{
	switch (c->kind) {
	case SILENT:
		break;
	case HALF:
		if (c->sent < 30000)
			say(c, "{\"jsonrpc\":", 11);
		else
			leave(c);
		break;
	case GARBAGE:
		say(c, garbage, sizeof(garbage));
		hear(c);
		break;
	case NESTED:
		say(c, block, 20000);
		if (c->fd >= 0)
			say(c, "\n", 1);
		if (c->fd >= 0)
			hear(c);
		break;
	case ENDLESS:
		say(c, block, sizeof(block));
		break;
	case NO_READ:
		say(c, many, strlen(many));
		break;
	case EVENTS:
		if (!c->sent)
			say(c, REQUEST("events.subscribe"), strlen(REQUEST("events.subscribe")));
		else
			say(c, REQUEST("log.level"), strlen(REQUEST("log.level")));
		break;
	default:
		if (!c->sent)
			say(c, REQUEST("status"), strlen(REQUEST("status")));
		else
			hear(c);
		break;
	}
}

/* The server has let go of those that do not look. */
static void notice_the_end(struct client *c)
{
	struct pollfd p = {.fd = c->fd};

	if (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)))
		leave(c);
}

int main(int argc, char **argv)
{
	unsigned n = argc == 4 ? (unsigned)atoi(argv[2]) : 0;
	time_t end = time(NULL) + (argc == 4 ? atoi(argv[3]) : 0);
	struct rlimit files = {MAX + 64, MAX + 64};

	if (!n || n > MAX || strlen(argv[1]) >= sizeof(address.sun_path)) {
		fprintf(stderr, "usage: ctlflood PATH CONNECTIONS SECONDS\n");
		return 2;
	}
	strcpy(address.sun_path, argv[1]);
	setrlimit(RLIMIT_NOFILE, &files);
	memset(block, '[', sizeof(block));
	srand(1);
	for (size_t i = 0; i < sizeof(garbage); i++)
		garbage[i] = (char)(rand() % 20 ? rand() : '\n');
	for (unsigned i = 0; i < n; i++)
		clients[i] = (struct client){.fd = -1, .kind = (enum kind)(i % KINDS)};
	while (strlen(many) < sizeof(many) - 64)
		strcat(many, REQUEST("methods"));
	while (time(NULL) < end) {
		for (unsigned i = 0; i < n; i++) {
			struct client *c = &clients[i];

			if (c->fd < 0)
				join(c);
			if (c->fd >= 0)
				act(c);
			if (c->fd >= 0)
				notice_the_end(c);
		}
		usleep(1000);
	}
	printf("%lu connections, %lu found no room in the queue, %lu ended, %lu honest answers, "
	       "%lu "
	       "wrong\n",
	       connects, refused, closed, answers, wrong);
	return answers && !wrong ? 0 : 1;
}
