/* SPDX-License-Identifier: BSD-2-Clause */
/* The life of a port and of its sessions; see guest.h. */
#include "switch/guest.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switch/closer.h"
#include "switch/sw.h"
#include "switch/watchdog.h"
#include "vmm/fd.h"

/* What no session has set yet. */
static void session_clear(struct guest *g)
{
	g->features = g->protocol = g->status = g->mtu = 0;
	g->said_unshared = false;
	g->hdr_len = GUEST_HDR_LEGACY; /* some front-ends never send features: there are none */
	g->mrg_rxbuf = false;
	g->offloads = 0;
	g->doomed = NULL;
	g->blocking = false;
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++)
		g->rings[i] = (struct guest_ring){
			.guest = g,
			.index = i,
			.kick_fd = -1,
			.call_fd = -1,
			.err_fd = -1,
			.active = -1,
		};
	guest_rings_enable(g);
}

void guest_session_begin(struct guest *g)
{
	log_info("port %s: connected", g->port.name);
}

void guest_session_end(struct guest *g, const char *why)
{
	guest_rings_stop(g);
	for (unsigned i = 0; i < GUEST_RINGS_MAX; i++) {
		fd_close(&g->rings[i].kick_fd);
		fd_close(&g->rings[i].call_fd);
		fd_close(&g->rings[i].err_fd);
	}
	guest_memory_clear(&g->mem);
	guest_memory_no_inflight(&g->mem);
	g->mem.faulted = 0;
	vu_rx_reset(&g->rx);
	fd_close(&g->reply_fd);
	session_clear(g);
	if (why)
		log_limited(&g->limit, LOG_WARN, "port %s: %s: connection closed", g->port.name,
		            why);
}

void guest_doom(struct guest *g, const char *why)
{
	if (!g->doomed)
		g->doomed = why;
	g->sw->doomed = true;
}

void guest_signal(struct guest *g, int eventfd)
{
	int rc;

	if (eventfd < 0)
		return;
	/* Who did it once may do it again between the look at the flag and the write. */
	if (g->blocking) {
		fd_signal_shared(eventfd);
		return;
	}
	rc = watchdog_signal(eventfd);
	if (rc < 0)
		guest_doom(g, "writing to one of its eventfds blocked");
	else if (rc > 0)
		g->blocking = true;
}

/* vu_rx.close_fd */
static void close_foreign(void *opaque, int *fd)
{
	struct guest *g = opaque;

	closer_close(g->port.index, fd);
	if (closer_pending(g->port.index) > GUEST_FOREIGN_MAX)
		guest_doom(g, "the file system behind its descriptors does not answer");
}

int guest_create(struct guest **out, struct sw *sw, const struct guest_config *config,
                 struct err *err)
{
	struct guest *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return err_errno(err, -ENOMEM, "--port %s", config->path);
	g->sw = sw;
	g->config = *config;
	g->listen_fd = g->fd = g->timer_fd = g->reply_fd = -1;
	g->port.ops = &guest_port_ops;
	g->port.vlan = config->vlan;
	g->port.isolated = config->isolated;
	snprintf(g->port.name, sizeof(g->port.name), "%s", config->id);
	g->tx.place = -1;
	vu_rx_init(&g->rx);
	g->rx.close_fd = close_foreign;
	g->rx.opaque = g;
	session_clear(g);
	rc = guest_memory_init(&g->mem);
	if (rc == 0)
		rc = guest_timer_create(g);
	if (rc == 0)
		rc = fabric_add(&sw->fabric, &g->port);
	if (rc < 0) {
		guest_close(g);
		guest_memory_destroy(&g->mem);
		free(g);
		return err_errno(err, rc, "--port %s", config->path);
	}
	sw->guests[sw->nr_guests++] = g;
	*out = g;
	return 0;
}

void guest_destroy(struct guest *g)
{
	if (!g)
		return;
	guest_close(g);
	guest_memory_destroy(&g->mem);
	free(g);
}
