/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a NIC's MTU is the guest's, its port has one of the host's, and a frame that
 * is longer than the receiver's MTU is dropped where nobody looks. So the driver is offered the
 * port's MTU (VIRTIO_NET_F_MTU, virtio 1.2, 5.1.3 and 5.1.4): it uses that value, and does not let
 * the guest's user go above it. What the device has offered must never change (5.1.4.1), so the
 * value is taken once, when the NIC is built, and holds through every switch.
 *
 *	mtu=N	counts: the driver is offered N, and the port's interface is given N, as libvirt
 *		does it, too. Without the privilege to do that: a warning with the command
 *	else	the driver is offered what the port has. A port that exists only for this NIC
 *		(user, a new tap) gets the driver's MTU when it is opened for a NIC that runs
 *
 * A switch, or a failover, may lead to an interface of somebody's whose MTU is smaller: the packets
 * flow, but long frames are lost. That is a warning in the log and in the reply of `trivm ctl`.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/net/link_info.h"
#include "vmm/log.h"
#include "vmm/nic.h"

#define MTU_USUAL   1500  /* of Ethernet, and so of a driver that is offered none */
#define MTU_OFFERED 65535 /* at most: 16 bits in the configuration space */
#define MTU_LEAST   68    /* virtio 1.2, 5.1.4.1 */

/* The port that a fallback will open, when the time comes. */
static unsigned mtu_of_fallback(const struct net_options *o)
{
	struct link_info info;

	if (!o->has_fallback)
		return 0;
	if (o->port == NET_PORT_USER)
		return PORT_USER_MTU;
	if (o->port == NET_PORT_TAP && o->where[0] && link_info_get(o->where, &info) == 0)
		return info.mtu;
	return 0;
}

uint16_t nic_mtu(const struct net_options *o, const struct port *port)
{
	unsigned mtu = o->mtu;

	if (!mtu)
		mtu = port ? port->mtu : mtu_of_fallback(o);
	if (mtu && mtu < MTU_LEAST)
		return 0;
	return (uint16_t)(mtu > MTU_OFFERED ? MTU_OFFERED : mtu);
}

unsigned nic_mtu_of_new_port(const struct nic *nic, const struct net_options *o)
{
	unsigned mtu = o->mtu ? o->mtu : nic->has_net ? nic->net.config.mtu : 0;

	if (o->port == NET_PORT_USER && mtu > PORT_USER_MTU_MAX)
		return PORT_USER_MTU_MAX; /* nic_mtu_check() says so */
	return mtu;
}

void nic_mtu_apply(const struct nic *nic, const struct net_options *o, struct port *port,
                   unsigned mtu)
{
	unsigned want = port->own ? mtu : o->mtu;
	int rc = 0;

	if (want && port->mtu && want != port->mtu && port->ops->set_mtu)
		rc = port->ops->set_mtu(port, want);
	if (rc < 0) /* nic_mtu_check() says what follows from that */
		log_debug("%s: cannot set the MTU of %s to %u: %s", nic->name, port_interface(port),
		          want, strerror(-rc));
}

void nic_mtu_check(const struct nic *nic, char *warning, size_t size)
{
	unsigned driver = nic->net.config.mtu ? nic->net.config.mtu : MTU_USUAL;
	const struct port *port = nic->port;
	const char *interface;
	char remedy[64] = "";

	warning[0] = '\0';
	if (nic->options.datapath == NET_DATAPATH_VHOST_USER || !port || !port->mtu)
		return;
	/* A larger one is no loss by itself: the host's owner may have set it for others. */
	if (port->mtu == driver || (port->mtu > driver && !nic->options.mtu))
		return;
	interface = port_interface(port);
	if (interface[0])
		snprintf(remedy, sizeof(remedy), "sudo ip link set %s mtu %u, or ", interface,
		         driver);
	snprintf(warning, size,
	         "%s: the guest's MTU is %u, the MTU of %s is %u, and longer frames from the %s "
	         "may be "
	         "lost: %s%s",
	         nic->name, driver, nic->wire, port->mtu, port->mtu < driver ? "guest" : "host",
	         remedy,
	         port->mtu < driver ? "lower it in the guest (ip link set DEVICE mtu ...)"
	                            : "use another mtu=");
	log_warn("%s", warning);
}
