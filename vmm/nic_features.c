/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what a NIC offers is fixed at its start, and a driver cannot be made to
 * forget what it has negotiated. So a NIC offers what its own datapath has (which asks the port, the
 * kernel or the back-end) less what one of the others lacks that it may be switched to:
 *
 *	fallback=	is judged with its port. The kernel's vhost-net is asked
 *	switchable=	said by the user: each datapath in it, with any port. The kernel is asked
 *	else		the other datapaths by what they promise (dp_features.h); the NIC's own is
 *			what was asked. A vhost-user back-end that is there says itself what it has
 *
 * Offloads are left out like that. Packed rings are not, for the user asks for them by name: a
 * datapath that he names beside them and that has none is an error at the start.
 *
 * A fallback that is named later (`trivm ctl NAME net ID datapath`) is refused if it lacks what the
 * driver has negotiated by then.
 */
#include <errno.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "devices/net/dp_vhost.h"
#include "devices/net/feature_names.h"
#include "devices/net/net_switch.h"
#include "vmm/nic.h"
#include "vmm/util.h"

/* Without these there is no NIC; the rest can be left out of the offer. */
static uint64_t needed(const struct net_options *o)
{
	return BIT64(VIRTIO_F_VERSION_1) | (o->packed ? BIT64(VIRTIO_F_RING_PACKED) : 0);
}

/* A tap that was handed over without virtio-net headers carries whole frames only. */
static bool has_header(int fd)
{
	struct ifreq ifr = {.ifr_flags = 0};

	return ioctl(fd, TUNGETIFF, &ifr) == 0 && (ifr.ifr_flags & IFF_VNET_HDR);
}

/* The offloads of the port that @o describes, before it is opened. @surely: of any such port. */
static uint64_t of_port(const struct net_options *o, bool surely)
{
	uint64_t tap = surely ? NET_OFFLOADS_USUAL : NET_OFFLOADS;

	switch (o->port) {
	case NET_PORT_NONE:
		return NET_OFFLOADS;
	case NET_PORT_TAP:
		return o->offloads ? tap : 0;
	case NET_PORT_FD:
		return o->offloads && has_header(o->fd) ? tap : 0;
	case NET_PORT_USER:
	case NET_PORT_SOCKET:
		return 0;
	}
	return 0;
}

/* What datapath @which has: as it answers, if the user has @named it, else as it promises. */
static uint64_t features_of(enum net_datapath which, bool named)
{
	const struct net_datapath_features *f = &net_datapath_features[which];
	uint64_t answer;

	if (named && which == NET_DATAPATH_VHOST_NET && datapath_vhost_net_ask(&answer) == 0)
		return answer | (f->promised & f->offloads);
	return f->promised;
}

static int refuse(enum net_datapath which, bool fallback, uint64_t lacks, struct err *err)
{
	const char *name = net_datapath_name(which);
	const char *key = fallback ? "fallback" : "switchable";
	bool packed = lacks & BIT64(VIRTIO_F_RING_PACKED);
	char names[256];

	return err_set(
		err, -EINVAL,
		"--net %s%s=%s: on this host %s lacks %s, which a driver that uses it cannot be "
		"made to forget; use %sanother %s",
		packed ? "ring=packed," : "", key, name, name,
		net_feature_names(lacks, names, sizeof(names)), packed ? "ring=split or " : "",
		key);
}

int nic_features_masked(const struct net_options *o, uint64_t *masked, struct err *err)
{
	*masked = o->offloads ? 0 : NET_OFFLOADS;
	for (unsigned i = 0; i < NET_DATAPATHS; i++) {
		enum net_datapath which = (enum net_datapath)i;
		bool fallback = o->has_fallback && o->fallback == which;
		bool named = fallback || (o->has_switchable && (o->switchable & BIT(i)));
		uint64_t has;

		if (!named && (which == o->datapath || !(o->switchable & BIT(i))))
			continue;
		has = features_of(which, named);
		if (named && (needed(o) & ~has))
			return refuse(which, fallback, needed(o) & ~has, err);
		if (fallback)
			has &= ~NET_OFFLOADS | of_port(o, true);
		*masked |= ~has & (net_datapath_features[i].rings | NET_OFFLOADS) &
		           ~BIT64(VIRTIO_F_VERSION_1) & ~BIT64(VIRTIO_F_RING_PACKED);
	}
	return 0;
}

int nic_features_check_fallback(struct nic *nic, const struct net_options *o, struct err *err)
{
	const struct net_datapath_features *f;
	uint64_t answer, has;
	char who[64];

	if (!o->has_fallback || o->datapath != NET_DATAPATH_VHOST_USER)
		return 0;
	f = &net_datapath_features[o->fallback];
	has = f->rings;
	if (o->fallback == NET_DATAPATH_VHOST_NET && datapath_vhost_net_ask(&answer) == 0)
		has = answer;
	has |= f->offloads & of_port(o, false);
	snprintf(who, sizeof(who), "fallback=%s", net_datapath_name(o->fallback));
	return net_lacks(&nic->net, has, who, err);
}
