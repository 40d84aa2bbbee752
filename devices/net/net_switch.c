/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what a switch has to carry over is little, since nearly everything is the
 * NIC's and stays where it is: features, addresses of the rings, kick and call eventfds with the
 * routes behind them (so that MSI-X vectors, masks and pending bits are not even looked at), the
 * control queue with filters and numbers of queue pairs. A datapath holds one number for each ring:
 * where it stands (its base). So:
 *
 *	judge		can the new one do what was negotiated, is its far side there?
 *	prepare		set the new one up as far as it goes without rings, while the old one moves
 *			packets: features and memory, which take a back-end longest
 *	release		stop each ring of the old one, which has then finished what it took from the
 *			ring, and collect the bases
 *	take		start each ring of the new one from its base
 *	wake		kick and interrupt each ring once: a notification may have come between the
 *			two, when nobody listened
 *	announce	ask the driver for gratuitous ARP (VIRTIO_NET_S_ANNOUNCE), so that switches
 *			learn on which of their ports the guest's address is now
 *
 * and then the old one is torn down. A back-end that does not give its rings back keeps them
 * (datapath_ops.held): the switch fails at `release`, or, if it is the new one's, ends with the link
 * down. The gap, in which nobody moves packets, is `release` and
 * `take`. If `prepare` fails the old one has not even noticed; if `take` fails it takes the rings
 * back, from the bases where the new one left them.
 *
 * Frames. What the guest transmits waits in its ring during the gap: none is lost or sent twice.
 * What arrives meanwhile waits in the port if that stays (a tap's queue), and is lost where it
 * cannot. A frame that "vmm" has read, and for which the driver had no buffers, stays with the port
 * as well (port_keep()), and goes on where the next datapath is one of ours.
 */
#include "devices/net/net_switch.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <stddef.h>

#include "devices/net/dp_features.h"
#include "devices/net/feature_names.h"
#include "devices/net/net_priv.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* Is queue @i one that a datapath serves, and does it run? */
static bool runs(const struct net *net, unsigned i)
{
	bool ctrl = net->ctrl_on && i == net->ctrl_index;

	return i < 2 * net->config.pairs && net->dev.queues[i].running && !ctrl;
}

/*
 * A driver cannot be made to forget a feature, so the remedy is for the next start: which word of
 * --net keeps it from being offered.
 */
static const char *remedy(uint64_t missing)
{
	if (missing & BIT64(VIRTIO_F_RING_PACKED))
		return ": start the guest with ring=split to go there";
	if (missing && !(missing & ~(NET_OFFLOADS & ~NET_OFFLOADS_USUAL)))
		return ": start the guest with switchable=vmm+vhost-net+vhost-user to go there";
	if (missing & NET_OFFLOADS)
		return ": start the guest with offloads=off to go there";
	return "";
}

static int held_error(const struct net *net, pid_t by, struct err *err)
{
	return err_set(err, -EBUSY,
	               "%s: the vhost-user back-end (process %d) does not answer and has not given "
	               "the rings back: end it (kill -KILL %d) and try again, or give the rings up "
	               "(net %s reset)",
	               net->config.name, (int)by, (int)by, net->config.name);
}

static bool is_held(const struct net *net, struct err *err)
{
	pid_t by;
	bool held = net->dp->ops->held && net->dp->ops->held(net->dp, &by);

	if (held)
		held_error(net, by, err);
	return held;
}

bool net_held(struct net *net, struct err *err)
{
	bool held;

	pthread_mutex_lock(&net->lock);
	held = is_held(net, err);
	pthread_mutex_unlock(&net->lock);
	return held;
}

/* net->lock is held. */
static int judge_features(const struct net *net, uint64_t has, const char *who, struct err *err)
{
	const struct virtio_device *dev = &net->dev;
	uint64_t wanted = net->dp_setup ? dev->driver_features : dev->offered;
	uint64_t missing = wanted & ~net_own_features(net) & ~has;
	char names[256];

	if (!missing)
		return 0;
	return err_set(err, -EOPNOTSUPP, "%s: %s lacks what %s: %s%s", net->config.name, who,
	               net->dp_setup ? "the guest's driver uses"
	                             : "the guest's driver, which is not there yet, is offered",
	               net_feature_names(missing, names, sizeof(names)), remedy(missing));
}

int net_lacks(struct net *net, uint64_t features, const char *who, struct err *err)
{
	int rc;

	pthread_mutex_lock(&net->lock);
	rc = judge_features(net, features, who, err);
	pthread_mutex_unlock(&net->lock);
	return rc;
}

static int judge(const struct net *net, struct datapath *dp, struct err *err)
{
	const struct virtio_device *dev = &net->dev;
	const char *name = dp->ops->kind ? dp->ops->kind(dp) : dp->ops->name;
	int rc;

	if (is_held(net, err))
		return -EBUSY;
	if (virtio_is_broken(dev))
		return err_set(err, -EIO,
		               "%s: the device is broken and waits for its driver to reset it",
		               net->config.name);
	rc = judge_features(net, dp->ops->features(dp), name, err);
	if (rc < 0)
		return rc;
	if (dp->ops->ready && !dp->ops->ready(dp))
		return err_set(err, -ENOTCONN, "%s: %s: its other side is not there",
		               net->config.name, name);
	return 0;
}

/*
 * Set @dp up while another has the rings. The two may share a port, which is told again what it
 * knows. On an error it is torn down.
 */
static int prepare(struct net *net, struct datapath *dp, struct err *err)
{
	const struct datapath_ops *ops = dp->ops;
	int rc = ops->setup(dp, net->dev.driver_features, net->dev.mem, &net->host, err);

	if (rc < 0)
		return rc;
	rc = ops->set_offloads(dp, net->offloads);
	if (rc == 0)
		rc = ops->set_pairs(dp, net->pairs_used);
	if (rc < 0)
		err_errno(err, rc, "%s: the port refuses offloads or queues", net->config.name);
	ops->set_link(dp, net->plugged); /* one that was kept may remember another cable */
	if (rc == 0 && ops->ready && !ops->ready(dp))
		rc = err_set(err, -ENOTCONN, "%s: its other side did not take the features",
		             net->config.name);
	if (rc < 0)
		ops->teardown(dp);
	return rc;
}

/* Take the rings away from @dp. -EBUSY: another process may still touch them. */
static int release(struct net *net, struct datapath *dp, struct err *err)
{
	pid_t by = 0;
	int rc = 0;

	for (unsigned i = 0; i < 2 * net->config.pairs; i++)
		if (runs(net, i) && dp->ops->ring_stop(dp, i, &net->dev.queues[i].base) == -EBUSY)
			rc = -EBUSY;
	if (rc == -EBUSY && dp->ops->held)
		dp->ops->held(dp, &by);
	return rc == -EBUSY ? held_error(net, by, err) : 0;
}

/*
 * @dp's back-end has not given all rings back: note them with @dp again, so that they go on when it
 * has, or when its successor comes.
 */
static void note_again(struct net *net, struct datapath *dp)
{
	struct err err = {0};
	int rc = 0;

	for (unsigned i = 0; i < 2 * net->config.pairs && rc == 0; i++)
		if (runs(net, i))
			rc = net_ring_start(net, dp, i, &err);
	if (rc < 0)
		virtio_device_broken(&net->dev, err.msg);
}

/* Frames that the guest wants transmitted and nobody has taken: the next datapath's. */
static unsigned waiting(const struct net *net)
{
	bool packed = virtio_has(&net->dev, VIRTIO_F_RING_PACKED);
	unsigned n = 0;

	for (unsigned i = 1; i < 2 * net->config.pairs; i += 2) {
		const struct virtio_queue *q = &net->dev.queues[i];

		if (runs(net, i))
			n += virtq_waiting(&q->config, packed, q->base, net->dev.mem);
	}
	return n;
}

/*
 * Another process that had the rings has their eventfds for as long as it likes. The next owner gets
 * others: that process cannot read its notifications away.
 */
static int renew_eventfds(struct net *net, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < 2 * net->config.pairs && rc == 0; i++)
		rc = virtio_queue_renew(&net->dev, i);
	return rc < 0 ? err_errno(err, rc, "%s: new eventfds for its rings", net->config.name) : 0;
}

/*
 * Give the rings to @dp. On an error it has none, but for -EBUSY: then its back-end may touch them,
 * and nobody else can have them.
 */
static int take(struct net *net, struct datapath *dp, struct err *err)
{
	const struct datapath_ops *ops = dp->ops;
	int rc = 0;

	for (unsigned i = 0; i < 2 * net->config.pairs && rc == 0; i++)
		if (runs(net, i))
			rc = net_ring_start(net, dp, i, err);
	if (rc == 0 && ops->started)
		ops->started(dp);
	if (rc == 0 && ops->ready && !ops->ready(dp))
		rc = err_set(err, -ENOTCONN, "%s: its other side did not take the rings",
		             net->config.name);
	if (rc < 0 && release(net, dp, err) < 0)
		rc = -EBUSY;
	return rc;
}

static unsigned wake(struct net *net)
{
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * net->config.pairs; i++) {
		if (!runs(net, i))
			continue;
		virtio_queue_wake(&net->dev, i);
		virtio_queue_interrupt(&net->dev, i);
		net->past[i].queue.interrupts++;
		n++;
	}
	return n;
}

/* Both locks are held. */
static int move(struct net *net, struct datapath *dp, struct net_switch_report *report,
                struct err *err)
{
	struct datapath *old = net->dp;
	struct err again = {0};
	uint64_t start;
	int rc = prepare(net, dp, err);

	if (rc < 0)
		return rc;
	start = clock_us();
	rc = release(net, old, err);
	if (rc < 0) {
		note_again(net, old);
		dp->ops->teardown(dp);
		return rc;
	}
	report->frames = waiting(net);
	rc = renew_eventfds(net, err);
	if (rc == 0)
		rc = take(net, dp, err);
	if (rc == -EBUSY) {
		/* Not to be undone: the NIC is the new one's, with its link down. */
		note_again(net, dp);
		log_warn("%s", err->msg);
		rc = 0;
	}
	if (rc < 0 && (renew_eventfds(net, &again) < 0 || take(net, old, &again) < 0)) {
		net->dp_setup = false;
		old->ops->teardown(old);
		virtio_device_broken(&net->dev, again.msg);
	}
	report->gap_us = clock_us() - start;
	report->running = true;
	report->rings = wake(net);
	if (rc < 0)
		dp->ops->teardown(dp);
	else
		old->ops->teardown(old);
	return rc;
}

/* The counters of @dp go on in those of its successors. */
static void keep_counts(struct net *net, struct datapath *dp)
{
	struct datapath_stats s;

	for (unsigned i = 0; dp->ops->stats && i < 2 * net->config.pairs; i++) {
		dp->ops->stats(dp, i, &s);
		for (size_t k = 0; k < sizeof(s) / sizeof(uint64_t); k++)
			((uint64_t *)&net->past[i])[k] += ((const uint64_t *)&s)[k];
	}
}

/* net->lock is held. True: the driver is to be told. */
static bool announce(struct net *net)
{
	if (!net->dp_setup || !net->ctrl_on || !virtio_has(&net->dev, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	net->status |= VIRTIO_NET_S_ANNOUNCE;
	return true;
}

int net_switch(struct net *net, struct datapath **dp, struct net_switch_report *report,
               struct err *err)
{
	struct datapath *old = net->dp, *new = *dp;
	bool tell = false;
	int rc;

	*report = (struct net_switch_report){.running = false};
	/* In the order in which a driver's reset takes them. */
	pthread_mutex_lock(&net->dev.lock);
	pthread_mutex_lock(&net->lock);
	rc = judge(net, new, err);
	net->moving = true;
	if (rc == 0)
		rc = net->dp_setup ? move(net, new, report, err) : renew_eventfds(net, err);
	net->moving = false;
	if (rc == 0) {
		keep_counts(net, old);
		net->dp = new;
		tell = announce(net);
	}
	pthread_mutex_unlock(&net->lock);
	pthread_mutex_unlock(&net->dev.lock);
	if (rc < 0)
		return rc;
	*dp = old;
	net_watch(net, old);
	if (tell)
		virtio_config_changed(&net->dev);
	return 0;
}
