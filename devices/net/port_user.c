/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the network of an ordinary program as a port. libslirp ends the guest's
 * connections inside this process and opens sockets of the host in their place; to the guest it is
 * a router that answers ARP, DHCP, DNS and router solicitations. No privileges, no interface.
 *
 *	10.0.2.0/24	.2 the gateway, and the host's 127.0.0.1; .3 DNS; .15 the guest
 *	fec0::/64	::2 and ::3 likewise; the guest by router advertisement
 *
 * These are the numbers that other monitors have, which scripts and people know.
 *
 *	datapath <-> socket pair of datagrams <-> our thread with libslirp <-> sockets
 *
 * The thread. libslirp does nothing by itself: slirp_pollfds_fill() tells which descriptors it
 * waits for and how long, slirp_pollfds_poll() what came of it, slirp_input() hands it the guest's
 * frames, and send_packet() is its answer. It is one thread's; what it keeps in globals (its clock,
 * the DNS server's address) makes it one thread's in the whole process, so `slirp_lib.lock` is held
 * around all calls into it, and not while the thread sleeps.
 *
 * Flow. What the guest sends too fast waits in the socket pair, whose datapath then waits. Towards
 * the guest libslirp cannot be told to wait, and a frame that does not fit in the pair is dropped
 * and counted; TCP in libslirp would take half a second and more to send it again. So while the
 * pair is more than a quarter full (the kernel's idea of "writable"), the thread does not listen to
 * what the host's sockets have to say, and data waits there.
 *
 * Sleeping. libslirp wants to be called every second even if nothing is open, to give up packets
 * whose receiver did not answer ARP. After some such seconds in which nothing happened there are
 * none, and the thread sleeps until something does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/net/port.h"
#include "devices/net/port_priv.h"
#include "devices/net/slirp_guard.h"
#include "devices/net/slirp_lib.h"
#include "devices/net/user_host.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define BATCH         64   /* frames of the guest's before the host's sockets have their turn */
#define QUIET_MAX     3    /* empty wake-ups before sleeping for good */
#define SLIRP_IDLE_MS 1000 /* what libslirp asks for when nothing is open */

enum {
	POLL_STOP,
	POLL_PAIR,
	POLL_HOST
};

struct user_timer {
	struct user_timer *next;
	SlirpTimerCb cb;
	void *cb_opaque;
	int64_t expires; /* ms, or -1: not armed */
};

struct user_port {
	struct port port;
	bool restricted;
	pthread_t thread;
	bool started;
	int stop_fd;
	struct log_limit limit;

	/* The thread's, and before it starts the opener's. */
	Slirp *slirp;
	int pair; /* our end */
	bool sent, congested;
	struct user_timer *timers;
	struct pollfd *polls;
	unsigned nr_polls, max_polls;
	uint8_t frame[PORT_FRAME_MAX];
};

/* --- What libslirp calls: on the thread, with slirp_lib.lock held --- */

static ssize_t on_send_packet(const void *buf, size_t len, void *opaque)
{
	struct user_port *u = opaque;

	u->sent = true;
	/* A failure would be reported, and changes nothing: the frame is lost. */
	if (send(u->pair, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		atomic_fetch_add_explicit(&u->port.lost, 1, memory_order_relaxed);
	return (ssize_t)len;
}

static void on_guest_error(const char *msg, void *opaque)
{
	struct user_port *u = opaque;

	log_limited(&u->limit, LOG_DEBUG, "port=user: the guest: %s", msg);
}

static int64_t on_clock_get_ns(void *opaque)
{
	(void)opaque;
	return (int64_t)clock_ns();
}

static void *on_timer_new(SlirpTimerCb cb, void *cb_opaque, void *opaque)
{
	struct user_timer *t = calloc(1, sizeof(*t));
	struct user_port *u = opaque;

	if (!t)
		return NULL;
	*t = (struct user_timer){
		.next = u->timers, .cb = cb, .cb_opaque = cb_opaque, .expires = -1};
	u->timers = t;
	return t;
}

static void on_timer_free(void *timer, void *opaque)
{
	struct user_port *u = opaque;

	for (struct user_timer **p = &u->timers; *p; p = &(*p)->next) {
		if (*p != timer)
			continue;
		*p = (*p)->next;
		free(timer);
		return;
	}
}

static void on_timer_mod(void *timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *t = timer;

	(void)opaque;
	if (t)
		t->expires = expire_ms;
}

static void on_poll_fd(int fd, void *opaque)
{
	/* We ask for all of them before each poll(). */
	(void)fd;
	(void)opaque;
}

static void on_notify(void *opaque)
{
	/* Only our own thread calls into libslirp: it is awake. */
	(void)opaque;
}

static const SlirpCb callbacks = {
	.send_packet = on_send_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock_get_ns,
	.timer_new = on_timer_new,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_poll_fd,
	.unregister_poll_fd = on_poll_fd,
	.notify = on_notify,
};

/* --- The thread --- */

static const struct {
	int slirp;
	short poll;
} poll_bits[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

/* SlirpAddPollCb */
static int add_poll(int fd, int events, void *opaque)
{
	struct user_port *u = opaque;
	struct pollfd *p;

	if (u->nr_polls == u->max_polls) {
		p = reallocarray(u->polls, 2 * (size_t)u->max_polls, sizeof(*p));
		if (!p)
			return -1;
		u->polls = p;
		u->max_polls *= 2;
	}
	if (u->congested)
		events &= ~(SLIRP_POLL_IN | SLIRP_POLL_PRI);
	p = &u->polls[u->nr_polls];
	*p = (struct pollfd){.fd = fd};
	for (unsigned i = 0; i < ARRAY_SIZE(poll_bits); i++)
		if (events & poll_bits[i].slirp)
			p->events |= poll_bits[i].poll;
	/* A hang-up is reported whether asked for or not: if nothing is wanted, look away. */
	if (!(p->events & (POLLIN | POLLOUT | POLLPRI)))
		p->fd = -1;
	return (int)u->nr_polls++;
}

/* SlirpGetREventsCb */
static int get_revents(int idx, void *opaque)
{
	struct user_port *u = opaque;
	int events = 0;

	if (idx < 0 || (unsigned)idx >= u->nr_polls)
		return 0;
	for (unsigned i = 0; i < ARRAY_SIZE(poll_bits); i++)
		if (u->polls[idx].revents & poll_bits[i].poll)
			events |= poll_bits[i].slirp;
	return events;
}

static int64_t now_ms(void)
{
	return (int64_t)clock_ms();
}

/* How long to sleep: @timeout as libslirp wants it, cut to the first timer. For poll(). */
static int sleep_ms(const struct user_port *u, uint32_t timeout, unsigned quiet)
{
	int64_t ms = timeout > INT32_MAX ? INT32_MAX : timeout;

	if (timeout >= SLIRP_IDLE_MS && quiet >= QUIET_MAX)
		ms = -1;
	for (const struct user_timer *t = u->timers; t; t = t->next) {
		int64_t left = t->expires - now_ms();

		if (t->expires < 0)
			continue;
		left = left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : left;
		if (ms < 0 || left < ms)
			ms = left;
	}
	return (int)ms;
}

/* Each that is due, once; a callback may arm or free any of them. */
static void run_timers(struct user_port *u)
{
	int64_t now = now_ms();
	struct user_timer *t;

	do {
		for (t = u->timers; t; t = t->next)
			if (t->expires >= 0 && t->expires <= now)
				break;
		if (t) {
			t->expires = -1;
			t->cb(t->cb_opaque);
		}
	} while (t);
}

static void refuse(struct user_port *u, const char *what)
{
	atomic_fetch_add_explicit(&u->port.refused, 1, memory_order_relaxed);
	log_limited(&u->limit, LOG_WARN, "port=user: the guest sent %s: dropped", what);
}

static void take_frames(struct user_port *u)
{
	for (unsigned i = 0; i < BATCH; i++) {
		ssize_t len = recv(u->pair, u->frame, sizeof(u->frame), MSG_DONTWAIT | MSG_TRUNC);

		if (len < 0)
			break;
		if (len < PORT_FRAME_MIN || len > PORT_FRAME_MAX)
			refuse(u, "a frame that is too short or too long");
		else if (!slirp_guard_passes(u->frame, (size_t)len))
			refuse(u, "TCP that is urgent or in fragments (CVE-2026-9539)");
		else
			slirp_lib.input(u->slirp, u->frame, (int)len);
	}
	/*
	 * What waited for the guest's answer to ARP goes out only from here. As if poll() had
	 * failed: nothing is known of the descriptors.
	 */
	slirp_lib.pollfds_poll(u->slirp, 1, get_revents, u);
}

/* Is there still room for what the host's sockets would bring? */
static void look_at_pair(struct user_port *u)
{
	struct pollfd p = {.fd = u->pair, .events = POLLOUT};

	if (u->sent || u->congested)
		u->congested = poll(&p, 1, 0) == 0;
	u->sent = false;
}

static void *user_thread(void *arg)
{
	struct user_port *u = arg;
	unsigned quiet = 0;

	for (;;) {
		uint32_t timeout = UINT32_MAX;
		int rc;

		pthread_mutex_lock(&slirp_lib.lock);
		look_at_pair(u);
		u->polls[POLL_STOP] = (struct pollfd){.fd = u->stop_fd, .events = POLLIN};
		u->polls[POLL_PAIR] = (struct pollfd){.fd = u->pair, .events = POLLIN};
		if (u->congested)
			u->polls[POLL_PAIR].events |= POLLOUT;
		u->nr_polls = POLL_HOST;
		slirp_lib.pollfds_fill(u->slirp, &timeout, add_poll, u);
		pthread_mutex_unlock(&slirp_lib.lock);

		rc = poll(u->polls, u->nr_polls, sleep_ms(u, timeout, quiet));
		if (u->polls[POLL_STOP].revents)
			return NULL;
		quiet = rc == 0 ? quiet + 1 : 0;

		pthread_mutex_lock(&slirp_lib.lock);
		/* First, since this also sets libslirp's clock, which everything else goes by. */
		slirp_lib.pollfds_poll(u->slirp, rc < 0, get_revents, u);
		run_timers(u);
		if (rc > 0 && u->polls[POLL_PAIR].revents & POLLIN)
			take_frames(u);
		pthread_mutex_unlock(&slirp_lib.lock);
	}
}

/* --- The port --- */

static void user_describe(const struct port *port, char *buf, size_t len)
{
	const struct user_port *u = container_of(port, const struct user_port, port);

	snprintf(buf, len, "user network 10.0.2.0/24%s", u->restricted ? ", restricted" : "");
}

static void user_close(struct port *port)
{
	struct user_port *u = container_of(port, struct user_port, port);
	uint64_t dropped, refused;

	if (u->started) {
		fd_signal(u->stop_fd);
		pthread_join(u->thread, NULL);
	}
	if (u->slirp) {
		pthread_mutex_lock(&slirp_lib.lock);
		slirp_lib.cleanup(u->slirp);
		pthread_mutex_unlock(&slirp_lib.lock);
	}
	refused = atomic_load_explicit(&u->port.refused, memory_order_relaxed);
	if (refused)
		log_info("port=user: %llu frames of the guest's were not for libslirp and dropped",
		         (unsigned long long)refused);
	dropped = atomic_load_explicit(&u->port.lost, memory_order_relaxed);
	if (dropped)
		log_info("port=user: %llu frames that the guest did not take in time were dropped",
		         (unsigned long long)dropped);
	while (u->timers)
		on_timer_free(u->timers, u);
	fd_close(&u->stop_fd);
	fd_close(&u->pair);
	fd_close(&u->port.fds[0]);
	free(u->polls);
	free(u);
}

static const struct port_ops user_ops = {
	.describe = user_describe,
	.close = user_close,
};

/* With slirp_lib.lock held, as the next two. */
static int start_slirp(struct user_port *u, struct err *err)
{
	SlirpConfig cfg = {
		.version = 1,
		.restricted = u->restricted,
		.in_enabled = true,
		.in6_enabled = true,
		.vprefix_len = 64,
		.if_mtu = u->port.mtu,
		.if_mru = u->port.mtu,
	};

	inet_pton(AF_INET, "10.0.2.0", &cfg.vnetwork);
	inet_pton(AF_INET, "255.255.255.0", &cfg.vnetmask);
	inet_pton(AF_INET, "10.0.2.2", &cfg.vhost);
	inet_pton(AF_INET, "10.0.2.3", &cfg.vnameserver);
	inet_pton(AF_INET, "10.0.2.15", &cfg.vdhcp_start);
	inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
	inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
	u->slirp = slirp_lib.new(&cfg, &callbacks, u);
	if (!u->slirp)
		return err_set(err, -EINVAL, "port=user: libslirp %s does not start",
		               slirp_lib.version_string ? slirp_lib.version_string() : "");
	return 0;
}

static int forward4(struct user_port *u, const struct port_forward *f)
{
	struct in_addr host = {htonl(INADDR_ANY)}, guest = {htonl(INADDR_ANY)};

	if (*f->host_addr && inet_pton(AF_INET, f->host_addr, &host) != 1)
		return -EINVAL;
	if (*f->guest_addr && inet_pton(AF_INET, f->guest_addr, &guest) != 1)
		return -EINVAL;
	errno = 0;
	if (slirp_lib.add_hostfwd(u->slirp, f->udp, host, f->host_port, guest, f->guest_port) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

static int forward6(struct user_port *u, const struct port_forward *f)
{
	struct sockaddr_in6 host = {.sin6_family = AF_INET6, .sin6_port = htons(f->host_port)};
	struct sockaddr_in6 guest = {.sin6_family = AF_INET6, .sin6_port = htons(f->guest_port)};
	int flags = SLIRP_HOSTFWD_V6ONLY | (f->udp ? SLIRP_HOSTFWD_UDP : 0);

	if (!slirp_lib.add_hostxfwd)
		return -ENOSYS;
	if (*f->host_addr && inet_pton(AF_INET6, f->host_addr, &host.sin6_addr) != 1)
		return -EINVAL;
	if (inet_pton(AF_INET6, f->guest_addr, &guest.sin6_addr) != 1)
		return -EDESTADDRREQ;
	errno = 0;
	if (slirp_lib.add_hostxfwd(u->slirp, (struct sockaddr *)&host, sizeof(host),
	                           (struct sockaddr *)&guest, sizeof(guest), flags) < 0)
		return errno ? -errno : -EIO;
	return 0;
}

static int forward_error(const struct port_forward *f, bool v6, int rc, struct err *err)
{
	const char *remedy = "";
	char text[160];

	snprintf(text, sizeof(text), v6 ? "%s:[%s]:%u-[%s]:%u" : "%s:%s:%u-%s:%u",
	         f->udp ? "udp" : "tcp", f->host_addr, f->host_port, f->guest_addr, f->guest_port);
	switch (rc) {
	case -EADDRINUSE:
		remedy = f->udp ? "; another program has this port of the host (ss -lnup): choose "
		                  "another"
		                : "; another program has this port of the host (ss -lntp): choose "
		                  "another";
		break;
	case -EACCES:
		remedy = "; ports below 1024 are for root: choose a higher one";
		break;
	case -EADDRNOTAVAIL:
		remedy = "; the host has no such address: ip address shows those that it has";
		break;
	case -ENOSYS:
		remedy = "; IPv6 needs libslirp 4.5 or later";
		break;
	case -EDESTADDRREQ:
		remedy = "; name the guest's IPv6 address";
		break;
	}
	return err_set(err, rc, "hostfwd=%s: %s%s", text, strerror(-rc), remedy);
}

static int add_forwards(struct user_port *u, const struct port_user_config *config, struct err *err)
{
	for (unsigned i = 0; i < config->nr_forwards && i < PORT_FORWARDS_MAX; i++) {
		const struct port_forward *f = &config->forwards[i];
		bool v6 = strchr(f->host_addr, ':') || strchr(f->guest_addr, ':');
		int rc = v6 ? forward6(u, f) : forward4(u, f);

		if (rc < 0)
			return forward_error(f, v6, rc, err);
	}
	return 0;
}

/* Once in a process: several cards have the same host. */
static void warn_of_names(void)
{
	static atomic_flag said = ATOMIC_FLAG_INIT;
	struct user_host host;
	char why[400];

	if (atomic_flag_test_and_set(&said))
		return;
	user_host_look(&host, USER_HOST_RESOLV);
	if (!user_host_resolves(&host, USER_HOST_RESOLV, why, sizeof(why)))
		log_warn("port=user: %s", why);
}

static int set_up(struct user_port *u, const struct port_user_config *config, struct err *err)
{
	int fds[2], rc;

	u->max_polls = 16;
	u->polls = calloc(u->max_polls, sizeof(u->polls[0]));
	if (!u->polls)
		return err_errno(err, -ENOMEM, "port=user");
	rc = port_pair(fds);
	if (rc < 0)
		return err_errno(err, rc, "port=user: socketpair");
	u->port.fds[0] = fds[0];
	u->pair = fds[1];
	rc = u->stop_fd = fd_eventfd();
	if (rc < 0)
		return err_errno(err, rc, "port=user: eventfd");
	pthread_mutex_lock(&slirp_lib.lock);
	rc = slirp_lib_load(SLIRP_LIB_NAME, err);
	if (rc == 0)
		rc = start_slirp(u, err);
	if (rc == 0)
		rc = add_forwards(u, config, err);
	pthread_mutex_unlock(&slirp_lib.lock);
	if (rc < 0)
		return rc;
	rc = port_thread(&u->thread, "net-user", user_thread, u);
	if (rc < 0)
		return err_errno(err, rc, "port=user: its thread");
	u->started = true;
	return 0;
}

int port_user_open(struct port **port, const struct port_user_config *config, struct err *err)
{
	struct user_port *u = calloc(1, sizeof(*u));
	int rc;

	if (!u)
		return err_errno(err, -ENOMEM, "port=user");
	u->port.ops = &user_ops;
	u->port.kind = "user";
	u->port.queues = 1;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		u->port.fds[i] = -1;
	u->stop_fd = u->pair = -1;
	u->restricted = config->restricted;
	u->port.mtu = config->mtu ? config->mtu : PORT_USER_MTU;
	u->port.own = true;
	rc = set_up(u, config, err);
	if (rc < 0) {
		user_close(&u->port);
		return rc;
	}
	if (!config->restricted)
		warn_of_names();
	*port = &u->port;
	return 0;
}
