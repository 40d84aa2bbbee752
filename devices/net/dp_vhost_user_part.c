/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: parting from a back-end that has not given its rings back.
 *
 * A ring has one owner, always. A back-end that is late (a debugger has stopped it, its cgroup is
 * frozen) still has the guest's memory mapped, and when it wakes up it goes on where it was: with
 * another owner in the same ring the guest's memory would be damaged. So the rings that it was
 * given and has not given back (d->part.held) belong to it until one of these is true:
 *
 *	in words	it has answered VHOST_USER_GET_VRING_BASE for the ring. When the connection
 *			is given up in an orderly state that is asked for every ring, and the
 *			answers are waited for without a limit, on the thread of the connection
 *	dead		it has closed the connection and its process has ended. Either alone does
 *			not do: a process can close its socket and go on, and the process that
 *			the kernel names may have handed the socket to a child
 *	in person	it has closed the connection, and the same process connects again: it knows
 *			what it did
 *	by order	the user says so (net_reset())
 *
 * Until then the link is down, no datapath can take the rings (ring_stop() returns -EBUSY), and a
 * reset of the driver's is not over (virtio_reset_held()): a driver that reads status 0 may use the
 * memory for something else.
 *
 * The connection moves from d->user to d->part, so that the next one can be made when it is time.
 * The thread of the connection alone does that, and alone reads d->part's descriptors; others only
 * set d->part.held, under d->lock, and wake it.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "devices/net/dp_vhost_user_priv.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

/* A process that is killed closes its sockets a moment before it has ended. */
#define DYING_MS 500

static void on_part(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, part.conn);

	(void)events;
	dp_user_part_look(d);
}

static void on_ended(struct loop_source *src, uint32_t events)
{
	struct dp_user *d = container_of(src, struct dp_user, part.ended);

	(void)events;
	loop_remove(
		src); /* it stays readable; whether it has ended is asked again where it matters */
	dp_user_part_look(d);
}

static void close_part(struct dp_user *d)
{
	loop_remove(&d->part.conn);
	fd_close(&d->part.fd);
	vu_rx_reset(&d->part.rx);
	d->part.eof = true;
}

/* Ring @index is not the back-end's any more, and stands at @base if that is one. */
static void given_back(struct dp_user *d, unsigned index, virtq_base_t base)
{
	struct dp_user_ring *r = &d->rings[index];
	bool packed = d->negotiated & BIT64(VIRTIO_F_RING_PACKED);

	if (index >= RINGS_MAX || !(d->part.held >> index & 1))
		return;
	d->part.held &= ~BIT64(index);
	if (r->runs && r->lost && virtq_base_valid(base, packed, r->vr.config.size)) {
		r->vr.base = base;
		r->lost = false;
	}
}

/* What has come on the connection. d->lock is held. */
static void read_answers(struct dp_user *d)
{
	const struct vu_msg *m = &d->part.rx.msg;
	char junk[512];
	int rc = 1;

	while (d->part.fd >= 0 && rc > 0) {
		if (d->part.unsound) {
			rc = (int)read(d->part.fd, junk, sizeof(junk));
			if (rc < 0 && (errno == EAGAIN || errno == EINTR))
				return;
		} else {
			rc = vu_rx_step(&d->part.rx, d->part.fd);
			if (rc == 1 && m->request == VU_GET_VRING_BASE && (m->flags & VU_REPLY) &&
			    m->size == sizeof(struct vu_state) && m->p.state.index < RINGS_MAX)
				given_back(d, m->p.state.index,
				           vhost_user_base(&d->user, m->p.state.num));
			if (rc == 1)
				vu_rx_reset(&d->part.rx);
			else if (rc == 0)
				return;
		}
	}
	/* What makes no sense says nothing about the rings: only the end counts from here on. */
	if (rc == -EPROTO || rc == -EMSGSIZE) {
		d->part.unsound = true;
		return;
	}
	close_part(d);
}

bool dp_user_part_over(struct dp_user *d)
{
	return !d->part.held || (d->part.eof && vu_peer_gone(&d->part.peer));
}

void dp_user_part_end(struct dp_user *d)
{
	d->part.held = 0;
	close_part(d);
	loop_remove(&d->part.ended);
	vu_peer_forget(&d->part.peer);
	d->part.going = false;
}

static void say_held(struct dp_user *d)
{
	log_limited(&d->limit, LOG_ERROR,
	            "%s: the vhost-user back-end (process %d) %s and has not given the NIC's rings "
	            "back: the link is down until it does or ends; end it (kill -KILL %d), or give "
	            "the rings up: trivm ctl net %s reset",
	            d->config.name, (int)d->part.peer.pid,
	            d->part.eof ? "has closed the connection, lives on" : "does not answer",
	            (int)d->part.peer.pid, d->config.name);
}

void dp_user_part_begin(struct dp_user *d)
{
	struct vhost_user *u = &d->user;
	struct pollfd ended = {.fd = u->peer.pidfd, .events = POLLIN};
	struct pollfd conn = {.fd = u->fd, .events = POLLIN | POLLRDHUP};

	d->part.going = true;
	d->part.eof = false;
	d->part.unsound = vhost_user_ask_back(u, d->part.held) < 0;
	d->part.fd = u->fd;
	u->fd = -1;
	d->part.peer = u->peer;
	u->peer = (struct vu_peer){.pidfd = -1};
	d->part.rx = u->rx;
	vu_rx_init_plain(&u->rx);
	read_answers(d);
	/* Who has ended a moment later need not be told from who lives on by an event. */
	if (!d->part.eof && poll(&conn, 1, 20) == 1)
		read_answers(d);
	if (d->part.eof && ended.fd >= 0)
		poll(&ended, 1, DYING_MS);
	if (dp_user_part_over(d)) {
		dp_user_part_end(d);
		return;
	}
	if (d->part.fd >= 0)
		loop_add(&d->loop, &d->part.conn, d->part.fd, EPOLLIN | EPOLLRDHUP, on_part);
	if (d->part.peer.pidfd >= 0)
		loop_add(&d->loop, &d->part.ended, d->part.peer.pidfd, EPOLLIN, on_ended);
	else
		dp_user_wake(d); /* which asks from time to time */
	say_held(d);
}

void dp_user_part_report(struct dp_user *d)
{
	bool held;

	pthread_mutex_lock(&d->report_lock);
	pthread_mutex_lock(&d->lock);
	held = d->part.held;
	pthread_mutex_unlock(&d->lock);
	if (held != d->part.reported && d->watcher.held)
		d->watcher.held(d->watcher.opaque, held);
	d->part.reported = held;
	pthread_mutex_unlock(&d->report_lock);
}

void dp_user_part_look(struct dp_user *d)
{
	bool over, eof;

	pthread_mutex_lock(&d->lock);
	if (!d->part.going) {
		pthread_mutex_unlock(&d->lock);
		return;
	}
	read_answers(d);
	over = dp_user_part_over(d);
	eof = d->part.eof;
	if (over)
		dp_user_part_end(d);
	pthread_mutex_unlock(&d->lock);
	if (over)
		log_info("%s: the vhost-user back-end has let go of the rings", d->config.name);
	dp_user_part_report(d);
	/* The same process may connect again. */
	if (over || eof)
		dp_user_look_for_another(d, over ? 0 : 1000);
}

bool dp_user_part_accepts(struct dp_user *d, int fd)
{
	struct vu_peer peer;
	bool ok;

	vu_peer_find(&peer, fd);
	pthread_mutex_lock(&d->lock);
	ok = !d->part.going || dp_user_part_over(d) ||
	     (d->part.eof && vu_peer_same(&d->part.peer, &peer));
	if (!ok)
		log_limited(&d->limit, LOG_WARN,
		            "%s: a vhost-user back-end (process %d) has come, but another one "
		            "(process %d) has not given the NIC's rings back",
		            d->config.name, (int)peer.pid, (int)d->part.peer.pid);
	pthread_mutex_unlock(&d->lock);
	vu_peer_forget(&peer);
	return ok;
}
