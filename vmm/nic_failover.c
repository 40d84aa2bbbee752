/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: fallback=. The datapath "vhost-user" notices on a thread of its own that its
 * back-end is gone, or there again, and calls net_cover()'s function; an eventfd brings that to the
 * main loop, where datapaths are switched.
 *
 *	home	the back-end has the packets
 *	away	the fallback has them. The back-end's datapath (nic->home) is kept: it looks for the
 *		back-end by itself, and tells us; with failback=on the packets go back to it
 *
 * Because of the cover the driver never sees the link go down; it sees nothing but the announcement
 * that each switch ends with. If the fallback cannot be had either, the cover is taken away, and
 * the link is as without one.
 */
#include <stdatomic.h>
#include <sys/epoll.h>

#include "vmm/event.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/nic.h"
#include "vmm/util.h"

/* Any thread. */
static void on_far_side(void *opaque, bool up)
{
	struct nic *nic = opaque;

	atomic_store(&nic->home_up, up);
	fd_signal(nic->failover_fd);
}

static void leave(struct nic *nic)
{
	struct net_options next = nic->options;
	struct net_switch_report report;
	struct err err = {0};
	int rc;

	next.datapath = nic->options.fallback;
	nic->home_options = nic->options;
	rc = nic_move(nic, &next, &nic->home, &report, &err);
	if (rc < 0) {
		log_warn("%s: the back-end is gone, and the fallback does not do: %s", nic->name,
		         err.msg);
		net_cover(&nic->net, NULL, NULL);
		return;
	}
	log_info("%s: the back-end is gone: %s", nic->name, nic->wire);
	event_post(nic->net.dev.events, "datapath", nic->name,
	           "the back-end is gone: the fallback");
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
		log_warn("%s: the back-end is there again, but does not do: %s", nic->name,
		         err.msg);
		dp->ops->watch(dp, &nic->home_host);
		return;
	}
	dp->ops->destroy(dp);
	nic->home = NULL;
	nic_became(nic, &nic->home_options);
	log_info("%s: the back-end is there again", nic->name);
	event_post(nic->net.dev.events, "datapath", nic->name, "the back-end is there again");
}

static void on_failover(struct loop_source *src, uint32_t events)
{
	struct nic *nic = container_of(src, struct nic, failover);
	bool up;

	(void)events;
	fd_drain(nic->failover_fd);
	up = atomic_load(&nic->home_up);
	if (!nic->home && !up)
		leave(nic);
	else if (nic->home && up && nic->home_options.failback)
		come_back(nic);
}

int nic_failover_begin(struct nic *nic, struct err *err)
{
	int rc;

	if (!nic->options.has_fallback || nic->options.datapath != NET_DATAPATH_VHOST_USER)
		return 0;
	rc = fd_eventfd();
	if (rc >= 0) {
		nic->failover_fd = rc;
		rc = loop_add(nic->loop, &nic->failover, rc, EPOLLIN, on_failover);
	}
	if (rc < 0) {
		nic_failover_end(nic);
		return err_errno(err, rc, "--net fallback");
	}
	net_cover(&nic->net, on_far_side, nic);
	/* It may have been away from the start, or have gone before we listened. */
	on_far_side(nic, net_has_carrier(&nic->net));
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
	fd_close(&nic->failover_fd);
}
