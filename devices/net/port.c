/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what belongs to no kind of port in particular. The port "none", which has no
 * descriptor at all: the datapath drops and counts what it is to send there, and nothing ever
 * comes. The parser of hostfwd=. The socket pair and the thread of the ports that have one.
 *
 * The socket pair is of datagrams: one write() is one frame, and a frame that does not fit gives
 * EAGAIN. The two sockets are each other's peers, so that only the sender's buffer limits what is
 * under way, and not the length of the queue that unconnected senders would see
 * (net.unix.max_dgram_qlen, 10).
 */
#include "devices/net/port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/net/port_priv.h"
#include "vmm/fd.h"

#define BUFFER MIB(4) /* at 1500 bytes a frame: about 1800 of them */

#define PORT_DRAIN_MAX 10000 /* frames of one queue: more than any keeps */

struct port_kept {
	size_t len;
	uint8_t frame[];
};

bool port_keep(struct port *port, unsigned queue, const void *frame, size_t len)
{
	struct port_kept *k = malloc(sizeof(*k) + len);

	if (!k)
		return false;
	k->len = len;
	memcpy(k->frame, frame, len);
	free(port->kept[queue]);
	port->kept[queue] = k;
	return true;
}

size_t port_take_kept(struct port *port, unsigned queue, void *frame)
{
	struct port_kept *k = port->kept[queue];
	size_t len = k ? k->len : 0;

	if (k && frame)
		memcpy(frame, k->frame, len);
	free(k);
	port->kept[queue] = NULL;
	return len;
}

void port_close(struct port *port)
{
	if (!port)
		return;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		port_take_kept(port, i, NULL);
	port->ops->close(port);
}

const char *port_interface(const struct port *port)
{
	return port->ops->interface ? port->ops->interface(port) : "";
}

/* --- none --- */

static int none_set_offloads(struct port *port, uint64_t guest_offloads)
{
	return guest_offloads & ~port->guest_offloads ? -EINVAL : 0;
}

static int none_set_queues(struct port *port, unsigned n)
{
	return n == 0 || n > port->queues ? -EINVAL : 0;
}

static void none_describe(const struct port *port, char *buf, size_t len)
{
	(void)port;
	snprintf(buf, len, "nowhere (what is sent is dropped)");
}

static void none_close(struct port *port)
{
	free(port);
}

static const struct port_ops none_ops = {
	.set_offloads = none_set_offloads,
	.set_queues = none_set_queues,
	.describe = none_describe,
	.close = none_close,
};

int port_none_open(struct port **port, unsigned queues, struct err *err)
{
	struct port *p;

	if (queues == 0 || queues > PORT_QUEUES_MAX)
		return err_set(err, -EINVAL, "port=none: queues=%u: expected 1 to %d", queues,
		               PORT_QUEUES_MAX);
	p = calloc(1, sizeof(*p));
	if (!p)
		return err_errno(err, -ENOMEM, "port=none");
	p->ops = &none_ops;
	p->kind = "none";
	p->queues = queues;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		p->fds[i] = -1;
	/* Dropping is as easy in any size, and the driver shall behave as it does with a tap. */
	p->vnet_hdr = true;
	p->host_offloads = NET_HOST_OFFLOADS;
	p->guest_offloads = NET_GUEST_OFFLOADS;
	*port = p;
	return 0;
}

/* --- hostfwd= --- */

/* 4, 6, 0: none given, -1: not an address */
static int address_family(const char *addr)
{
	struct in6_addr any;

	if (!*addr)
		return 0;
	if (inet_pton(AF_INET, addr, &any) == 1)
		return 4;
	return inet_pton(AF_INET6, addr, &any) == 1 ? 6 : -1;
}

/* "ADDR:PORT" with an IPv6 address in brackets, up to @end. NULL, or what is wrong with it. */
static const char *parse_endpoint(const char *text, const char *end, char addr[46], uint16_t *port)
{
	const char *from = text, *to, *digits;
	unsigned long value = 0;

	if (*text == '[') {
		from = text + 1;
		to = memchr(from, ']', (size_t)(end - from));
		if (!to || to + 1 >= end || to[1] != ':')
			return "an address in brackets ends with ]:PORT";
		digits = to + 2;
	} else {
		to = memchr(text, ':', (size_t)(end - text));
		if (!to)
			return "a port number is missing";
		digits = to + 1;
	}
	if (to - from >= 46)
		return "an address is too long";
	memcpy(addr, from, (size_t)(to - from));
	addr[to - from] = '\0';
	if (address_family(addr) < 0 || (address_family(addr) == 6) != (*text == '['))
		return "an address is neither IPv4 nor IPv6 in brackets";
	if (digits == end)
		return "a port number is missing";
	for (; digits < end; digits++) {
		if (*digits < '0' || *digits > '9')
			return "a port is not a number";
		value = value * 10 + (unsigned long)(*digits - '0');
		if (value > 65535)
			return "a port is above 65535";
	}
	if (value == 0)
		return "port 0 is none";
	*port = (uint16_t)value;
	return NULL;
}

static const char *parse_forward(const char *text, struct port_forward *f)
{
	const char *end = text + strlen(text), *dash;
	const char *why;
	int host, guest;

	f->udp = strncmp(text, "udp:", 4) == 0;
	if (!f->udp && strncmp(text, "tcp:", 4) != 0)
		return "it is neither tcp nor udp";
	text += 4;
	dash = strchr(text, '-');
	if (!dash)
		return "there is no guest's side";
	why = parse_endpoint(text, dash, f->host_addr, &f->host_port);
	if (!why)
		why = parse_endpoint(dash + 1, end, f->guest_addr, &f->guest_port);
	if (why)
		return why;
	host = address_family(f->host_addr);
	guest = address_family(f->guest_addr);
	if (host && guest && host != guest)
		return "one address is IPv4, the other IPv6";
	return NULL;
}

int port_parse_forward(const char *text, struct port_forward *forward, struct err *err)
{
	struct port_forward f = {0};
	const char *why = parse_forward(text, &f);

	if (why)
		return err_set(err, -EINVAL,
		               "hostfwd=%s: %s; expected tcp|udp:[HOSTADDR]:PORT-[GUESTADDR]:PORT, "
		               "such as tcp:127.0.0.1:2222-:22",
		               text, why);
	*forward = f;
	return 0;
}

/* --- What ports with a thread need --- */

void port_big_buffer(int fd)
{
	int bytes = (int)BUFFER;

	/* Over the administrator's limit with CAP_NET_ADMIN, up to it without. */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

int port_pair(int fds[2])
{
	fds[0] = fds[1] = -1;
	if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
		return -errno;
	port_big_buffer(fds[0]);
	port_big_buffer(fds[1]);
	return 0;
}

int port_thread(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg)
{
	sigset_t all, old;
	int rc;

	/* Signals are the main thread's business, and SIGPIPE is nobody's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = pthread_create(thread, NULL, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		pthread_setname_np(*thread, name);
	return -rc;
}

void port_drain(const struct port *port)
{
	uint8_t head[64]; /* of a frame that is longer the rest is thrown away, too */

	for (unsigned i = 0; i < port->queues; i++)
		for (unsigned n = 0; port->fds[i] >= 0 && n < PORT_DRAIN_MAX; n++)
			if (read(port->fds[i], head, sizeof(head)) <= 0 && errno != EINTR)
				break;
}
