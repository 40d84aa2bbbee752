/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what the NIC asks for is noted first and then done, if there is a back-end
 * to do it. If it fails at that, it is disconnected, and the call succeeds all the same: the driver
 * sees the link go down, not a device that is broken. Only settings that are wrong in themselves
 * are the driver's error.
 *
 * When the back-end is gone (dp_user_drop()), each call eventfd is signalled once: what it gave
 * back last may have been made visible and not been announced. The next one is given everything
 * that was noted (dp_user_resume()), in the order in which a driver would have done it. Where a
 * ring stands that was lost with a back-end is read from the ring at that moment; but if the next
 * one gets an inflight region that the last one wrote, it knows better, and the ring is left as it
 * is.
 *
 * A back-end that is disconnected but lives on (it was late, or lies) still has the guest's memory
 * mapped, and the eventfds; there is no way to take them back. Who owns its rings meanwhile is said
 * in dp_vhost_user_part.c.
 *
 * Features. The NIC offers what its first back-end had. A later one needs those that the driver has
 * negotiated since, or is refused, by name: a driver cannot be made to forget them. (It may come
 * when the driver has reset the device and wants less.)
 *
 * Offloads that the driver turns off while it runs (VIRTIO_NET_CTRL_GUEST_OFFLOADS) have no message
 * of their own: the rings are stopped, features set again, and the rings started.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "devices/net/dp_features.h"
#include "devices/net/dp_vhost_user_priv.h"
#include "devices/net/feature_names.h"
#include "devices/net/offloads.h"
#include "vmm/fd.h"
#include "vmm/util.h"

static struct dp_user *dp_of(struct datapath *dp)
{
	return container_of(dp, struct dp_user, dp);
}

/* --- Towards the back-end. d->lock is held. --- */

static unsigned nr_rings(const struct dp_user *d)
{
	return 2 * d->config.pairs;
}

/* Which rings are to move packets. */
static int enable_rings(struct dp_user *d)
{
	int rc = 0;

	for (unsigned i = 0; i < nr_rings(d) && rc == 0; i++)
		rc = vhost_user_enable(&d->user, i, d->plugged && i / 2 < d->pairs);
	return rc;
}

/* Read from the ring where it stands. @complete: see virtq_recover(). */
static void find_base(struct dp_user *d, struct dp_user_ring *r, bool complete)
{
	bool packed = d->negotiated & BIT64(VIRTIO_F_RING_PACKED);

	virtq_recover(&r->vr.config, packed, complete, d->mem, &r->vr.base);
	fd_signal_shared(r->vr.call_fd);
}

static int start_ring(struct dp_user *d, unsigned index, struct err *err)
{
	struct dp_user_ring *r = &d->rings[index];
	int rc;

	/* A back-end that has its predecessor's notes puts the ring right by them. */
	if (r->lost)
		find_base(d, r, !d->user.inflight_old);
	rc = vhost_ring_start(&d->user.vhost, index, &r->vr, err);
	if (rc == 0)
		r->lost = false;
	return rc;
}

/* Features as the driver has them now, and memory. */
static int set_up(struct dp_user *d, struct err *err)
{
	uint64_t features = d->negotiated & ~(NET_GUEST_OFFLOADS & ~d->offloads);
	int rc = vhost_setup(&d->user.vhost, features & d->user.offered, d->mem, err);

	if (rc == 0 && (d->negotiated & BIT64(VIRTIO_NET_F_MTU)) && d->config.mtu) {
		rc = vhost_user_mtu(&d->user, d->config.mtu);
		if (rc < 0)
			err_errno(err, rc, "%s: the vhost-user back-end refuses an MTU of %u",
			          d->config.name, d->config.mtu);
	}
	return rc;
}

/* set_up(), then every ring that runs. */
static int hand_over(struct dp_user *d, struct err *err)
{
	int rc = set_up(d, err);

	if (rc == 0)
		rc = enable_rings(d);
	for (unsigned i = 0; i < nr_rings(d) && rc == 0; i++)
		if (d->rings[i].runs)
			rc = start_ring(d, i, err);
	if (rc == 0 && d->live)
		rc = vhost_user_driver_ok(&d->user);
	return rc;
}

/* It could not do what it was asked: the end for it, not for us. */
static void give_up(struct dp_user *d, const struct err *err)
{
	if (vhost_user_on(&d->user))
		log_limited(&d->limit, LOG_WARN, "%s; the vhost-user back-end is disconnected",
		            err->msg);
	dp_user_drop(d);
}

void dp_user_drop(struct dp_user *d)
{
	vhost_user_shut(&d->user);
	for (unsigned i = 0; i < nr_rings(d); i++) {
		if (!vhost_ring_runs(&d->user.vhost, i))
			continue;
		d->part.held |= BIT64(i);
		d->rings[i].lost = true;
		fd_signal_shared(d->rings[i].vr.call_fd);
	}
	d->user.vhost.running = 0;
	dp_user_wake(d);
}

/* One of the two conditions for a ring to move packets has changed. d->lock is held. */
static void enable_again(struct dp_user *d)
{
	struct err why = {0};
	int rc = vhost_user_on(&d->user) ? enable_rings(d) : 0;

	if (rc < 0) {
		err_errno(&why, rc, "%s: enabling rings", d->config.name);
		give_up(d, &why);
	}
}

static int judge(const struct dp_user *d, struct err *err)
{
	uint64_t missing = d->negotiated & d->has & ~d->user.offered;
	char names[256];

	if (!d->is_setup || !missing)
		return 0;
	return err_set(err, -EOPNOTSUPP,
	               "%s: the vhost-user back-end lacks what the guest's driver uses: %s",
	               d->config.name, net_feature_names(missing, names, sizeof(names)));
}

int dp_user_resume(struct dp_user *d, struct err *err)
{
	int rc = judge(d, err);

	if (rc == 0)
		rc = vhost_user_link(&d->user, &d->far_link);
	if (rc == 0 && d->is_setup)
		rc = hand_over(d, err);
	if (rc < 0) {
		if (!err->msg[0])
			err_errno(err, rc, "%s: the vhost-user back-end does not go on",
			          d->config.name);
		dp_user_drop(d);
	}
	return rc;
}

/* --- The datapath's calls: the NIC's lock is held --- */

static uint64_t user_features(const struct datapath *dp)
{
	return container_of(dp, const struct dp_user, dp)->has;
}

static int user_setup(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
                      const struct datapath_host *host, struct err *err)
{
	struct dp_user *d = dp_of(dp);
	struct err why = {0};

	(void)err;
	pthread_mutex_lock(&d->lock);
	d->negotiated = negotiated;
	d->offloads = negotiated & NET_GUEST_OFFLOADS;
	d->pairs = 1;
	d->mem = mem;
	d->host = *host;
	d->is_setup = true;
	if (vhost_user_on(&d->user) && (judge(d, &why) < 0 || set_up(d, &why) < 0))
		give_up(d, &why);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int user_ring_start(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
                           struct err *err)
{
	struct dp_user *d = dp_of(dp);
	bool packed = d->negotiated & BIT64(VIRTIO_F_RING_PACKED);
	struct virtq_areas areas;
	struct err why = {0};
	struct dp_user_ring *r;
	int rc;

	if (!d->is_setup || index >= nr_rings(d) || d->rings[index].runs)
		return err_set(err, -EINVAL, "there is no ring %u to start", index);
	rc = virtq_translate(&ring->config, packed, d->mem, &areas, err);
	if (rc < 0)
		return rc;
	if (!virtq_base_valid(ring->base, packed, ring->config.size))
		return err_set(err, -EINVAL, "base 0x%x is outside a queue of %u", ring->base,
		               ring->config.size);
	pthread_mutex_lock(&d->lock);
	r = &d->rings[index];
	fd_drain(r->err_fd); /* what is older than this start */
	r->vr = (struct vhost_ring){
		.config = ring->config,
		.base = ring->base,
		.kick_fd = ring->kick_fd,
		.call_fd = ring->peer_call_fd,
		.err_fd = r->err_fd,
	};
	r->runs = true;
	r->lost = d->part.held >> index & 1; /* a switch away failed, and it is as before */
	enable_again(d);
	d->user.enable_late = !d->live && !ring->moved;
	if (vhost_user_on(&d->user) && start_ring(d, index, &why) < 0)
		give_up(d, &why);
	d->enable_late |= d->user.enable_late;
	d->user.enable_late = false;
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static void user_started(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);
	struct err why = {0};
	int rc;

	pthread_mutex_lock(&d->lock);
	d->live = true;
	rc = vhost_user_on(&d->user) && d->enable_late ? vhost_user_enable_all(&d->user) : 0;
	d->enable_late = false;
	if (rc == 0 && vhost_user_on(&d->user))
		rc = vhost_user_driver_ok(&d->user);
	if (rc < 0) {
		err_errno(&why, rc, "%s: the device status", d->config.name);
		give_up(d, &why);
	}
	pthread_mutex_unlock(&d->lock);
}

/* 0, or -EBUSY: the back-end has not given it back, and is not spoken with any more. d->lock is held. */
static int stop_ring(struct dp_user *d, unsigned index)
{
	struct dp_user_ring *r = &d->rings[index];
	struct err why = {0};

	if (vhost_ring_runs(&d->user.vhost, index)) {
		int rc = vhost_ring_stop(&d->user.vhost, index, &r->vr.base);

		if (rc < 0) {
			err_errno(&why, rc, "%s: ring %u does not come back", d->config.name,
			          index);
			d->user.vhost.running |= BIT64(index);
			give_up(d, &why);
		}
	}
	if (!r->lost)
		return 0;
	if (d->part.held >> index & 1)
		return -EBUSY;
	/* What is noted of it is not true any more. */
	vhost_user_forget(&d->user);
	find_base(d, r, true);
	r->lost = false;
	return 0;
}

static int user_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	struct dp_user *d = dp_of(dp);
	int rc;

	if (index >= nr_rings(d) || !d->rings[index].runs)
		return -EINVAL;
	pthread_mutex_lock(&d->lock);
	rc = stop_ring(d, index);
	d->rings[index].runs = false;
	if (rc == 0)
		*base = d->rings[index].vr.base;
	pthread_mutex_unlock(&d->lock);
	return rc;
}

static bool user_held(struct datapath *dp, pid_t *by)
{
	struct dp_user *d = dp_of(dp);
	bool held;

	pthread_mutex_lock(&d->lock);
	held = d->part.held;
	*by = d->part.going ? d->part.peer.pid : d->user.peer.pid;
	pthread_mutex_unlock(&d->lock);
	return held;
}

static void user_abandon(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; d->part.held && i < nr_rings(d); i++)
		d->rings[i].runs = d->rings[i].lost = false;
	d->part.held = 0;
	dp_user_wake(d);
	pthread_mutex_unlock(&d->lock);
}

static void user_teardown(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);

	pthread_mutex_lock(&d->lock);
	for (unsigned i = 0; i < nr_rings(d); i++) {
		if (d->rings[i].runs)
			stop_ring(d, i);
		d->rings[i].runs = false;
	}
	if (d->is_setup)
		vhost_user_reset(&d->user);
	if (d->user.failed)
		dp_user_wake(d);
	d->is_setup = d->live = false;
	pthread_mutex_unlock(&d->lock);
}

static int user_set_offloads(struct datapath *dp, uint64_t guest_offloads)
{
	struct dp_user *d = dp_of(dp);
	struct err why = {0};
	int rc;

	pthread_mutex_lock(&d->lock);
	if (d->offloads != guest_offloads) {
		d->offloads = guest_offloads;
		for (unsigned i = 0; i < nr_rings(d); i++)
			if (d->rings[i].runs)
				stop_ring(d, i);
		rc = vhost_user_on(&d->user) ? hand_over(d, &why) : 0;
		if (rc < 0)
			give_up(d, &why);
	}
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static int user_set_pairs(struct datapath *dp, unsigned pairs)
{
	struct dp_user *d = dp_of(dp);

	pthread_mutex_lock(&d->lock);
	d->pairs = pairs;
	enable_again(d);
	pthread_mutex_unlock(&d->lock);
	return 0;
}

static void user_set_link(struct datapath *dp, bool up)
{
	struct dp_user *d = dp_of(dp);

	pthread_mutex_lock(&d->lock);
	if (d->plugged != up) {
		d->plugged = up;
		enable_again(d);
	}
	pthread_mutex_unlock(&d->lock);
}

static bool user_ready(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);
	bool on;

	pthread_mutex_lock(&d->lock);
	on = vhost_user_on(&d->user);
	pthread_mutex_unlock(&d->lock);
	return on;
}

static void user_watch(struct datapath *dp, const struct datapath_host *host)
{
	struct dp_user *d = dp_of(dp);
	bool up;

	pthread_mutex_lock(&d->report_lock);
	d->watcher = host ? *host : (struct datapath_host){0};
	pthread_mutex_lock(&d->lock);
	up = vhost_user_on(&d->user) && d->far_link;
	pthread_mutex_unlock(&d->lock);
	d->reported = up;
	if (host)
		host->carrier(host->opaque, up);
	pthread_mutex_unlock(&d->report_lock);
}

/* Who had the other end of the connection when it was made (unix(7), SO_PEERCRED). */
static pid_t user_backend(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);
	struct ucred peer = {.pid = 0};
	socklen_t len = sizeof(peer);

	/* Not if somebody is waiting for the back-end: who asks here must not. */
	if (pthread_mutex_trylock(&d->lock) != 0)
		return 0;
	if (vhost_user_on(&d->user) &&
	    getsockopt(d->user.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		peer.pid = 0;
	pthread_mutex_unlock(&d->lock);
	return peer.pid;
}

static void user_destroy(struct datapath *dp)
{
	struct dp_user *d = dp_of(dp);

	user_teardown(dp);
	dp_user_close(d);
	vhost_user_destroy(&d->user);
	for (unsigned i = 0; i < RINGS_MAX; i++)
		fd_close(&d->rings[i].err_fd);
	pthread_mutex_destroy(&d->lock);
	pthread_mutex_destroy(&d->report_lock);
	free(d);
}

static const struct datapath_ops user_ops = {
	.name = "vhost-user",
	.outside = true,
	.reads_kicks = true,
	.kicks_at_start = true,
	.features = user_features,
	.setup = user_setup,
	.teardown = user_teardown,
	.ring_start = user_ring_start,
	.started = user_started,
	.ring_stop = user_ring_stop,
	.set_offloads = user_set_offloads,
	.set_pairs = user_set_pairs,
	.watch = user_watch,
	.ready = user_ready,
	.set_link = user_set_link,
	.backend = user_backend,
	.held = user_held,
	.abandon = user_abandon,
	.destroy = user_destroy,
};

/* What the NIC can offer, by what its first back-end has, if that is there. */
static int choose_features(struct dp_user *d, struct err *err)
{
	const struct net_datapath_features *can = &net_datapath_features[NET_DATAPATH_VHOST_USER];
	bool packed = d->config.packed;

	d->has = vhost_user_on(&d->user) ? d->user.offered & (can->rings | can->offloads)
	                                 : net_features_of_absent_backend;
	if (!packed)
		d->has &= ~BIT64(VIRTIO_F_RING_PACKED);
	else if (!(d->has & BIT64(VIRTIO_F_RING_PACKED)))
		return err_set(err, -EOPNOTSUPP,
		               "ring=packed: the vhost-user back-end at %s has split rings only; "
		               "use ring=split",
		               d->config.path);
	return 0;
}

int datapath_vhost_user_create(struct datapath **dp,
                               const struct datapath_vhost_user_config *config, struct err *err)
{
	struct dp_user *d = calloc(1, sizeof(*d));
	int rc = 0;

	if (!d)
		return err_errno(err, -ENOMEM, "datapath=vhost-user");
	d->dp.ops = &user_ops;
	d->config = *config;
	d->plugged = d->far_link = true;
	d->asking = d->part.fd = d->part.peer.pidfd = -1;
	vu_rx_init_plain(&d->part.rx);
	d->listen_fd = d->retry_fd = d->loop.epfd = d->loop.wakefd = -1;
	pthread_mutex_init(&d->lock, NULL);
	pthread_mutex_init(&d->report_lock, NULL);
	vhost_user_init(&d->user, config->name, config->pairs, config->queue_size);
	for (unsigned i = 0; i < RINGS_MAX; i++) {
		struct dp_user_ring *r = &d->rings[i];

		*r = (struct dp_user_ring){.d = d, .err_fd = -1};
		if (rc == 0 && i < nr_rings(d)) {
			r->err_fd = fd_eventfd();
			rc = r->err_fd < 0 ? r->err_fd : 0;
		}
	}
	if (rc < 0)
		err_errno(err, rc, "%s: eventfd", config->name);
	else
		rc = dp_user_open(d, err);
	d->config.path = d->addr.sun_path;
	if (rc == 0)
		rc = choose_features(d, err);
	if (rc == 0)
		rc = dp_user_run(d, err);
	if (rc < 0) {
		user_destroy(&d->dp);
		return rc;
	}
	*dp = &d->dp;
	return 0;
}
