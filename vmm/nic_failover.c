/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: fallback=. The datapath "vhost-user" notices on a thread of its own that its
 * back-end is gone, or there again, and calls net_cover()'s function; an eventfd brings that to the
 * main loop, where datapaths are switched.
 *
 *	home	the back-end has the packets
 *	away	the fallback has them. With failback=on the back-end's datapath (nic->home) is kept:
 *		it looks for the back-end by itself, and tells us; then the packets go back to it.
 *		Without, it is gone, and its socket is for whoever asks for it
 *
 * Because of the cover the driver never sees the link go down; it sees nothing but the announcement
 * that each switch ends with. If the fallback cannot be had either - a tap that is busy, a device
 * that waits for its driver's reset - the link is as without one until it can: every RETRY_MS it is
 * tried again, and so is the way back.
 */
#include <stdatomic.h>
#include <sys/epoll.h>

#include "vmm/clock.h"
#include "vmm/event.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/nic.h"
#include "vmm/util.h"

#define RETRY_MS 1000

/* Any thread, and some lock may be held. */
static void on_far_side(void *opaque, bool up)
{
	struct nic *nic = opaque;

	atomic_store(&nic->home_up, up);
	fd_signal(nic->failover_fd);
}

static void try_later(struct nic *nic)
{
	nic->retry_ms = clock_ms() + RETRY_MS;
	loop_timer_set(nic->retry_fd, RETRY_MS);
}

/* The link is as without a fallback. That is said once each time. */
static void uncover(struct nic *nic, const char *what, const struct err *err)
{
	net_uncover(&nic->net);
	if (!nic->failover_said)
		log_warn("%s: %s: %s", nic->name, what, err->msg);
	nic->failover_said = true;
	try_later(nic);
}

static void leave(struct nic *nic)
{
	struct net_options next = nic->options;
	struct net_switch_report report;
	struct err err = {0};
	int rc;

	/* Nothing is opened in vain while the back-end has not given the rings back. */
	if (net_held(&nic->net, &err)) {
		uncover(nic, "no fallback yet", &err);
		return;
	}
	next.datapath = nic->options.fallback;
	nic->home_options = nic->options;
	rc = nic_move(nic, &next, next.failback ? &nic->home : NULL, &report, &err);
	if (rc < 0) {
		uncover(nic, "the back-end is gone, and the fallback does not do", &err);
		return;
	}
	log_info("%s: the back-end is gone: %s", nic->name, nic->wire);
	event_post(nic->net.dev.events, "datapath", nic->name,
	           "the back-end is gone: the fallback");
	if (!nic->home) {
		nic_failover_end(nic);
		return;
	}
	nic->home_host = (struct datapath_host){.carrier = on_far_side, .opaque = nic};
	nic->home->ops->watch(nic->home, &nic->home_host);
}

static void come_back(struct nic *nic)
{
	struct datapath *dp = nic->home;
	struct net_switch_report report;
	struct err err = {0};

	dp->ops->watch(dp, NULL);
	if (net_switch(&nic->net, &dp, &report, &err) < 0) {
		log_limited(&nic->failover_limit, LOG_WARN,
		            "%s: the back-end is there again, but does not do: %s", nic->name,
		            err.msg);
		dp->ops->watch(dp, &nic->home_host);
		try_later(nic);
		return;
	}
	dp->ops->destroy(dp);
	nic->home = NULL;
	nic_became(nic, &nic->home_options);
	log_info("%s: the back-end is there again", nic->name);
	event_post(nic->net.dev.events, "datapath", nic->name, "the back-end is there again");
}

static void look(struct nic *nic)
{
	bool up;

	up = nic->home ? atomic_load(&nic->home_up) : net_has_carrier(&nic->net);
	nic->failover_said = nic->failover_said && !up;
	if (clock_ms() < nic->retry_ms) {
		/* The timer calls. The driver has to know meanwhile. */
		if (nic->home || up)
			return;
		net_uncover(&nic->net);
		if (!nic->failover_said)
			log_warn("%s: the back-end is gone, and the fallback does not do: it did "
			         "not a "
			         "moment ago, and is tried again",
			         nic->name);
		nic->failover_said = true;
		return;
	}
	if (!nic->home && !up)
		leave(nic);
	else if (nic->home && up)
		come_back(nic);
}

static void on_failover(struct loop_source *src, uint32_t events)
{
	struct nic *nic = container_of(src, struct nic, failover);

	(void)events;
	fd_drain(nic->failover_fd);
	look(nic);
}

static void on_retry(struct loop_source *src, uint32_t events)
{
	struct nic *nic = container_of(src, struct nic, retry);

	(void)events;
	fd_drain(nic->retry_fd);
	nic->retry_ms = 0;
	look(nic);
}

int nic_failover_begin(struct nic *nic, struct err *err)
{
	int rc;

	if (!nic->options.has_fallback || nic->options.datapath != NET_DATAPATH_VHOST_USER)
		return 0;
	nic->retry_ms = 0;
	rc = nic->failover_fd = fd_eventfd();
	if (rc >= 0)
		rc = nic->retry_fd = loop_timer_create();
	if (rc >= 0)
		rc = loop_add(nic->loop, &nic->failover, nic->failover_fd, EPOLLIN, on_failover);
	if (rc >= 0)
		rc = loop_add(nic->loop, &nic->retry, nic->retry_fd, EPOLLIN, on_retry);
	if (rc < 0) {
		nic_failover_end(nic);
		return err_errno(err, rc, "--net fallback");
	}
	net_cover(&nic->net, on_far_side, nic);
	/* It may have been away from the start, or have gone before we listened. */
	fd_signal(nic->failover_fd);
	return 0;
}

void nic_failover_end(struct nic *nic)
{
	if (nic->home) {
		nic->home->ops->watch(nic->home, NULL);
		nic->home->ops->destroy(nic->home);
		nic->home = NULL;
	}
	if (nic->has_net)
		net_cover(&nic->net, NULL, NULL);
	loop_remove(&nic->failover);
	loop_remove(&nic->retry);
	fd_close(&nic->failover_fd);
	fd_close(&nic->retry_fd);
}
