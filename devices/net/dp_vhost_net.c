/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the datapath "vhost-net": one vhost-net device for each queue pair and each
 * queue of the tap. The tap is opened by port_tap.c as for the datapath "vmm"; what is different is
 * who reads it. The kernel takes the tap's file by its number and from then on moves packets by
 * itself; here remain what only the tap's owner can do: which queues are attached (set_pairs) and
 * which offloads the host's stack may leave to the guest (set_offloads).
 *
 * A link that is down is a tap that is detached from the rings: the host's packets are dropped once
 * the tap's queue is full, the guest's stay in their ring and go out when the link is up again.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#include "devices/net/dp_features.h"
#include "devices/net/dp_vhost.h"
#include "devices/vhost/kernel.h"
#include "vmm/util.h"

struct dp_vhost_net {
	struct dp_vhost common;
	struct port *port;
	uint64_t offered; /* by the kernel, as far as the table has it */
	struct vhost_kernel kernels[PORT_QUEUES_MAX];
};

static struct dp_vhost_net *net_of(struct dp_vhost *d)
{
	return container_of(d, struct dp_vhost_net, common);
}

static uint64_t net_features(const struct dp_vhost *d)
{
	const struct dp_vhost_net *n = container_of(d, const struct dp_vhost_net, common);
	uint64_t of_port = n->port->host_offloads | n->port->guest_offloads;

	return n->offered | (of_port & net_datapath_features[NET_DATAPATH_VHOST_NET].offloads);
}

static int net_set_offloads(struct dp_vhost *d, uint64_t guest_offloads)
{
	struct port *port = net_of(d)->port;

	return port->ops->set_offloads ? port->ops->set_offloads(port, guest_offloads) : 0;
}

static int net_set_pairs(struct dp_vhost *d, unsigned pairs)
{
	struct port *port = net_of(d)->port;

	return port->ops->set_queues ? port->ops->set_queues(port, pairs) : 0;
}

static void net_set_link(struct dp_vhost *d, bool up)
{
	struct dp_vhost_net *n = net_of(d);

	for (unsigned i = 0; i < d->nr_devices; i++) {
		int rc = vhost_net_plug(&n->kernels[i], up);

		if (rc < 0)
			log_limited(&d->limit, LOG_WARN, "%s: vhost-net: link %s: %s", d->name,
			            up ? "up" : "down", strerror(-rc));
	}
}

static void net_destroy_kind(struct dp_vhost *d)
{
	struct dp_vhost_net *n = net_of(d);

	/* The kernel first: it reads the tap. */
	for (unsigned i = 0; i < d->nr_devices; i++)
		vhost_kernel_close(&n->kernels[i]);
	free(n);
}

static const struct dp_vhost_kind net_kind = {
	.name = "vhost-net",
	.features = net_features,
	.set_offloads = net_set_offloads,
	.set_pairs = net_set_pairs,
	.set_link = net_set_link,
	.destroy = net_destroy_kind,
};

/* One vhost device for each pair. What an old kernel cannot do is not offered. */
static int open_kernels(struct dp_vhost_net *n, const struct datapath_vhost_net_config *config,
                        struct err *err)
{
	struct dp_vhost *d = &n->common;
	int rc;

	if (strcmp(n->port->kind, "tap") != 0)
		return err_set(err, -EINVAL,
		               "datapath=vhost-net: the port is a %s: the kernel serves a tap only "
		               "(port=tap:NAME)",
		               n->port->kind);
	for (unsigned i = 0; i < config->pairs; i++) {
		struct vhost_kernel *k = &n->kernels[i];

		rc = vhost_net_open(k, config->name, n->port->fds[i], n->port->vnet_hdr,
		                    config->poll_us, err);
		if (rc < 0)
			return rc;
		d->devices[d->nr_devices++] = &k->vhost;
	}
	rc = vhost_features(d->devices[0], &n->offered, err);
	n->offered &= d->passed_on;
	return rc;
}

static int check_features(const struct dp_vhost_net *n,
                          const struct datapath_vhost_net_config *config, struct err *err)
{
	if (!(n->offered & BIT64(VIRTIO_F_VERSION_1)))
		return err_set(
			err, -EOPNOTSUPP,
			"datapath=vhost-net: this host's kernel knows the interface of before "
			"virtio 1.0 only (it is older than 4.0); use datapath=vmm");
	if (config->packed && !(n->offered & BIT64(VIRTIO_F_RING_PACKED)))
		return err_set(err, -EOPNOTSUPP,
		               "ring=packed: this host's vhost-net has split rings only; use "
		               "ring=split or datapath=vmm");
	return 0;
}

int datapath_vhost_net_ask(uint64_t *features)
{
	struct vhost_kernel k;
	struct err err;
	int rc = vhost_net_open(&k, "", -1, true, 0, &err);

	if (rc < 0)
		return rc;
	rc = vhost_features(&k.vhost, features, &err);
	*features &= net_datapath_features[NET_DATAPATH_VHOST_NET].rings;
	vhost_kernel_close(&k);
	return rc;
}

int datapath_vhost_net_create(struct datapath **dp, const struct datapath_vhost_net_config *config,
                              struct err *err)
{
	struct dp_vhost_net *n = calloc(1, sizeof(*n));
	int rc;

	if (!n)
		return err_errno(err, -ENOMEM, "datapath=vhost-net");
	n->port = config->port;
	n->common.kind = &net_kind;
	n->common.name = config->name;
	n->common.pairs = config->pairs;
	n->common.passed_on = net_datapath_features[NET_DATAPATH_VHOST_NET].rings;
	rc = open_kernels(n, config, err);
	if (rc == 0)
		rc = check_features(n, config, err);
	if (rc == 0)
		rc = dp_vhost_init(&n->common, config->loop, err);
	if (rc < 0) {
		dp_vhost_exit(&n->common);
		net_destroy_kind(&n->common);
		return rc;
	}
	if (!config->packed)
		n->offered &= ~BIT64(VIRTIO_F_RING_PACKED);
	*dp = &n->common.dp;
	return 0;
}
