/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a tap interface (Documentation/networking/tuntap.rst) as a port.
 *
 * A tap is a network interface of the host whose wire is a file: what the host sends through it is
 * read from the file, what is written is what the host receives. That is a port as it stands, so
 * this file only opens one and says well what is wrong when that fails. Three ways in:
 *
 *   by name	an interface that somebody made before and gave to this user (ip tuntap add ...
 *		user). It has to be there and up: its owner configures it, and a name that was
 *		mistyped shall not become a new interface. This is the way without privileges.
 *   made	a new one, named by the kernel, put on a bridge if asked, set up, and gone when
 *		the port is closed. Needs CAP_NET_ADMIN.
 *   handed	an open file, of a tap or of a macvtap (/dev/tapN): whoever opened it has decided
 *   over	everything that we would ask for. The name may be one in another network namespace,
 *		so nothing is looked up by it.
 *
 * Most of the kernel's refusals are EINVAL or EPERM. So by name the interface is looked at first
 * (link_info), and the error is for what was found: its kind, its owner, its queues, its state.
 *
 * Queues. Each is a file of its own, attached to the same interface (IFF_MULTI_QUEUE). The kernel
 * spreads flows over those that are attached, whether anybody reads there or not, so those that the
 * driver does not use are detached (TUNSETQUEUE). A port starts with one, as virtio-net does. A
 * detached queue has nothing to read and polls as idle; what is written to it passes all the same.
 *
 * Offloads. With IFF_VNET_HDR each frame has a virtio-net header of 12 bytes, little endian as
 * virtio 1.2 has it (a persistent tap remembers what its last user asked for, so size and order are
 * always set). What the host may write follows from the kernel's version alone; what the kernel
 * hands us is a promise of the driver's that is passed on by TUNSETOFFLOAD, where it refuses kinds
 * it does not know. Trying them out at the start shows which, and UDP segmentation (USO, Linux 6.2)
 * stands for both directions. All of it belongs to the interface, not to one of its queues.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/net/link_info.h"
#include "devices/net/port.h"
#include "devices/net/port_priv.h"
#include "vmm/fd.h"
#include "vmm/util.h"

/* Headers before Linux 6.2. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

#define TUN_DEVICE "/dev/net/tun"

/* How people make an interface: name, "multi_queue " or "". */
#define MAKE_FMT "sudo ip tuntap add %s mode tap %suser $USER && sudo ip link set %s up"

struct tap {
	struct port port;
	char name[IFNAMSIZ];
	char bridge[IFNAMSIZ]; /* "": none, or not known */
	bool multi_queue;      /* its queues can be detached */
	bool detached[PORT_QUEUES_MAX];
};

static struct tap *tap_of(struct port *port)
{
	return container_of(port, struct tap, port);
}

/* --- While it runs --- */

static unsigned offload_flags(uint64_t guest)
{
	unsigned flags = 0;

	/* Segments are always of unfinished checksum (5.1.3.1 has the same rule). */
	if (!(guest & BIT64(VIRTIO_NET_F_GUEST_CSUM)))
		return 0;
	if (guest & BIT64(VIRTIO_NET_F_GUEST_TSO4))
		flags |= TUN_F_TSO4;
	if (guest & BIT64(VIRTIO_NET_F_GUEST_TSO6))
		flags |= TUN_F_TSO6;
	if (flags && (guest & BIT64(VIRTIO_NET_F_GUEST_ECN)))
		flags |= TUN_F_TSO_ECN;
	if (guest & BIT64(VIRTIO_NET_F_GUEST_UFO))
		flags |= TUN_F_UFO;
	/* The kernel takes both or none. */
	if ((guest & NET_GUEST_USO) == NET_GUEST_USO)
		flags |= TUN_F_USO4 | TUN_F_USO6;
	return flags | TUN_F_CSUM;
}

static int set_offload(const struct tap *t, unsigned flags)
{
	return ioctl(t->port.fds[0], TUNSETOFFLOAD, (unsigned long)flags) < 0 ? -errno : 0;
}

static int tap_set_offloads(struct port *port, uint64_t guest_offloads)
{
	if (guest_offloads & ~port->guest_offloads)
		return -EINVAL;
	return port->guest_offloads ? set_offload(tap_of(port), offload_flags(guest_offloads)) : 0;
}

static int tap_set_queues(struct port *port, unsigned n)
{
	struct tap *t = tap_of(port);

	if (n == 0 || n > port->queues)
		return -EINVAL;
	/* Those to attach first: there is always one that the host can send to. */
	for (unsigned i = 0; t->multi_queue && i < port->queues; i++) {
		struct ifreq ifr = {.ifr_flags = i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if (t->detached[i] == (i >= n))
			continue;
		if (ioctl(port->fds[i], TUNSETQUEUE, &ifr) < 0)
			return -errno;
		t->detached[i] = i >= n;
	}
	return 0;
}

static void tap_describe(const struct port *port, char *buf, size_t len)
{
	const struct tap *t = container_of(port, const struct tap, port);

	snprintf(buf, len, "%s%s%s", t->name, *t->bridge ? " on " : "", t->bridge);
}

/*
 * The interface may have been moved to another namespace, or come from there: one of the same name
 * in ours is taken for it only if it has the address that the file says.
 */
static int own_interface(const struct tap *t, struct link_info *info)
{
	struct ifreq ifr = {0};
	int rc = link_info_get(t->name, info);

	if (rc < 0)
		return rc;
	if (ioctl(t->port.fds[0], SIOCGIFHWADDR, &ifr) < 0 ||
	    memcmp(ifr.ifr_hwaddr.sa_data, info->address, sizeof(info->address)) != 0)
		return -ENODEV;
	return 0;
}

static int tap_counts(const struct port *port, struct port_counts *c)
{
	const struct tap *t = container_of(port, const struct tap, port);
	struct link_info i;
	bool tun;
	int rc = own_interface(t, &i);

	if (rc < 0)
		return rc;
	if (!i.counted)
		return -ENODEV;
	/* The host receives from a tap what the guest sends. A macvtap sends it, as a NIC would. */
	tun = strcmp(i.kind, "tun") == 0;
	memcpy(c->interface, t->name, sizeof(c->interface));
	c->to_guest_packets = tun ? i.tx_packets : i.rx_packets;
	c->to_guest_bytes = tun ? i.tx_bytes : i.rx_bytes;
	c->to_guest_dropped = tun ? i.tx_dropped : i.rx_dropped;
	c->from_guest_packets = tun ? i.rx_packets : i.tx_packets;
	c->from_guest_bytes = tun ? i.rx_bytes : i.tx_bytes;
	c->from_guest_dropped = tun ? i.rx_dropped : i.tx_dropped;
	return 0;
}

static int interface_ioctl(unsigned long what, struct ifreq *ifr)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc = 0;

	if (fd < 0 || ioctl(fd, what, ifr) < 0)
		rc = -errno;
	fd_close(&fd);
	return rc;
}

static const char *tap_interface(const struct port *port)
{
	return container_of(port, const struct tap, port)->name;
}

static int tap_set_mtu(struct port *port, unsigned mtu)
{
	struct tap *t = tap_of(port);
	struct ifreq ifr = {.ifr_mtu = (int)mtu};
	struct link_info info;
	int rc = own_interface(t, &info);

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	if (rc == 0 && info.mtu != mtu)
		rc = interface_ioctl(SIOCSIFMTU, &ifr);
	if (rc == 0)
		port->mtu = mtu;
	return rc;
}

static void tap_close(struct port *port)
{
	/* An interface of ours goes with its last file. */
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		fd_close(&port->fds[i]);
	free(tap_of(port));
}

static const struct port_ops tap_ops = {
	.set_offloads = tap_set_offloads,
	.set_queues = tap_set_queues,
	.describe = tap_describe,
	.counts = tap_counts,
	.set_mtu = tap_set_mtu,
	.interface = tap_interface,
	.close = tap_close,
};

/* --- Errors that people meet --- */

static int open_error(int rc, struct err *err)
{
	switch (rc) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return err_set(err, rc,
		               "port=tap: there is no " TUN_DEVICE
		               ": load the driver (sudo modprobe tun), or give the container the "
		               "device; port=user needs neither");
	case -EACCES:
	case -EPERM:
		return err_set(err, rc,
		               "port=tap: no permission to open " TUN_DEVICE
		               ": sudo chmod 666 " TUN_DEVICE
		               " (it gives no interface away, each has its owner), or use "
		               "port=user");
	}
	return err_errno(err, rc, "port=tap: cannot open " TUN_DEVICE);
}

static int create_error(int rc, struct err *err)
{
	if (rc != -EPERM)
		return err_errno(err, rc, "port=tap: cannot make an interface");
	return err_set(err, rc,
	               "port=tap: to make an interface takes CAP_NET_ADMIN: make one for good ("
	               "" MAKE_FMT
	               ") and use port=tap:%s, or sudo setcap cap_net_admin+ep $(command -v "
	               "trivm), or use port=user",
	               "tap0", "", "tap0", "tap0");
}

static void owner_text(const struct link_info *info, char *buf, size_t len)
{
	if (info->tun_owner != LINK_NOBODY && info->tun_group != LINK_NOBODY)
		snprintf(buf, len, "it belongs to uid %u and gid %u", info->tun_owner,
		         info->tun_group);
	else if (info->tun_owner != LINK_NOBODY)
		snprintf(buf, len, "it belongs to uid %u", info->tun_owner);
	else if (info->tun_group != LINK_NOBODY)
		snprintf(buf, len, "it belongs to gid %u", info->tun_group);
	else
		snprintf(buf, len, "it was given to nobody");
}

static int busy_error(const char *name, struct err *err)
{
	return err_set(err, -EBUSY,
	               "port=tap:%s: another program has it open: end it (grep -l %s "
	               "/proc/[0-9]*/fdinfo/* shows which), or use another interface",
	               name, name);
}

static int attach_error(const char *name, const struct link_info *info, bool multi, int rc,
                        struct err *err)
{
	char owner[64];

	switch (rc) {
	case -EPERM:
		owner_text(info, owner, sizeof(owner));
		return err_set(err, rc,
		               "port=tap:%s: no permission: %s, and you are uid %u; make it again "
		               "as yours: sudo ip link del %s && " MAKE_FMT,
		               name, owner, (unsigned)geteuid(), name, name,
		               multi ? "multi_queue " : "", name);
	case -EBUSY:
		return busy_error(name, err);
	case -E2BIG:
		return err_set(err, rc, "port=tap:%s: the kernel allows no more queues on it",
		               name);
	case -EINVAL:
		return err_set(err, rc,
		               "port=tap:%s: the kernel refuses it: it is no tap, or was made "
		               "%s multi_queue (ip -d link show %s)",
		               name, multi ? "without" : "with", name);
	}
	return err_errno(err, rc, "port=tap:%s: cannot open it", name);
}

static int kind_error(const char *name, const struct link_info *info, struct err *err)
{
	if (strcmp(info->kind, "macvtap") == 0 || strcmp(info->kind, "ipvtap") == 0)
		return err_set(err, -EINVAL,
		               "port=tap:%s: it is a %s, which has a device file of its own: "
		               "port=fd:3 with 3<>/dev/tap%u",
		               name, info->kind, info->index);
	return err_set(err, -EINVAL,
	               "port=tap:%s: it is %s%s, not a tap: make one with another name: " MAKE_FMT,
	               name, *info->kind ? "a " : "an interface of hardware or the loopback",
	               info->kind, "tap0", "", "tap0");
}

/* --- Opening --- */

/* What is wrong with the interface that is there? */
static int check_existing(const char *name, const struct link_info *info, unsigned queues,
                          struct err *err)
{
	if (strcmp(info->kind, "tun") != 0)
		return kind_error(name, info, err);
	if (info->tun_known && info->tun_type != IFF_TAP)
		return err_set(
			err, -EINVAL,
			"port=tap:%s: it is a tun (IP packets), not a tap (Ethernet frames): "
			"sudo ip link del %s && " MAKE_FMT,
			name, name, name, "", name);
	if (info->tun_known && queues > 1 && !info->tun_multi_queue)
		return err_set(err, -EINVAL,
		               "port=tap:%s,queues=%u: it was made with a single queue: use "
		               "queues=1, or make it again: sudo ip link del %s && " MAKE_FMT,
		               name, queues, name, name, "multi_queue ", name);
	/* The kernel would let us share it, and hand either of us a part of the frames. */
	if (info->tun_queues)
		return busy_error(name, err);
	if (!(info->flags & IFF_UP))
		return err_set(err, -ENETDOWN,
		               "port=tap:%s: the interface is down: sudo ip link set %s up", name,
		               name);
	return 0;
}

static int check_name(const char *option, const char *name, struct err *err)
{
	size_t len = strlen(name);

	if (len == 0 || len >= IFNAMSIZ)
		return err_set(err, -EINVAL, "%s%s: a name of an interface has 1 to %d characters",
		               option, name, IFNAMSIZ - 1);
	return 0;
}

static int check_bridge(const char *bridge, struct err *err)
{
	struct link_info info;
	int rc = check_name("bridge=", bridge, err);

	if (rc < 0)
		return rc;
	rc = link_info_get(bridge, &info);
	if (rc == -ENODEV)
		return err_set(err, rc,
		               "bridge=%s: there is no such interface: sudo ip link add %s type "
		               "bridge && sudo ip link set %s up",
		               bridge, bridge, bridge);
	if (rc < 0)
		return err_errno(err, rc, "bridge=%s", bridge);
	if (strcmp(info.kind, "bridge") != 0)
		return err_set(
			err, -EINVAL,
			"bridge=%s: the interface is no bridge; those that are: ip link show "
			"type bridge",
			bridge);
	if (!(info.flags & IFF_UP))
		return err_set(err, -ENETDOWN,
		               "bridge=%s: the bridge is down: sudo ip link set %s up", bridge,
		               bridge);
	return 0;
}

static int open_device(struct tap *t, struct err *err)
{
	for (unsigned i = 0; i < t->port.queues; i++) {
		t->port.fds[i] = open(TUN_DEVICE, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (t->port.fds[i] < 0)
			return open_error(-errno, err);
	}
	return 0;
}

/* All queues to the interface t->name, which the kernel completes if there is %d in it. */
static int attach_queues(struct tap *t)
{
	struct ifreq ifr = {0};
	int flags = IFF_TAP | IFF_NO_PI;

	if (t->port.vnet_hdr)
		flags |= IFF_VNET_HDR;
	if (t->multi_queue)
		flags |= IFF_MULTI_QUEUE;
	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	for (unsigned i = 0; i < t->port.queues; i++) {
		ifr.ifr_flags = (short)flags;
		if (ioctl(t->port.fds[i], TUNSETIFF, &ifr) < 0)
			return -errno;
	}
	memcpy(t->name, ifr.ifr_name, IFNAMSIZ);
	return 0;
}

static int open_existing(struct tap *t, const struct port_tap_config *config, struct err *err)
{
	struct link_info info;
	int rc = check_name("port=tap:", config->name, err);

	if (rc < 0)
		return rc;
	if (config->bridge)
		return err_set(
			err, -EINVAL,
			"port=tap:%s,bridge=%s: only an interface that trivm makes is put on "
			"a bridge (port=tap); for this one: sudo ip link set %s master %s",
			config->name, config->bridge, config->name, config->bridge);
	rc = link_info_get(config->name, &info);
	if (rc == -ENODEV)
		return err_set(err, rc,
		               "port=tap:%s: there is no such interface: " MAKE_FMT
		               "; or port=tap, which makes one",
		               config->name, config->name, config->queues > 1 ? "multi_queue " : "",
		               config->name);
	if (rc < 0)
		return err_errno(err, rc, "port=tap:%s", config->name);
	rc = check_existing(config->name, &info, config->queues, err);
	if (rc < 0)
		return rc;
	/* A single queue of one that could have more is no problem, if it is opened as that. */
	t->multi_queue = info.tun_known ? info.tun_multi_queue : config->queues > 1;
	snprintf(t->name, sizeof(t->name), "%s", config->name);
	rc = open_device(t, err);
	if (rc < 0)
		return rc;
	rc = attach_queues(t);
	return rc < 0 ? attach_error(config->name, &info, t->multi_queue, rc, err) : 0;
}

/*
 * A bridge whose address nobody has set has the lowest one of its ports', and a tap is made with a
 * random one: coming and going, it would change the bridge's address, and with it the host's, for
 * every neighbour that has it in its ARP cache. So ours is high: locally administered, as it was,
 * and above what a network card has.
 */
static int raise_address(const struct tap *t)
{
	struct ifreq ifr = {0};
	int rc;

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	rc = interface_ioctl(SIOCGIFHWADDR, &ifr);
	if (rc < 0)
		return rc;
	ifr.ifr_hwaddr.sa_data[0] = (char)0xfe;
	return interface_ioctl(SIOCSIFHWADDR, &ifr);
}

static int put_on_bridge(struct tap *t, const char *bridge, struct err *err)
{
	struct ifreq ifr = {.ifr_ifindex = (int)if_nametoindex(t->name)};
	int rc = raise_address(t);

	if (rc < 0)
		return err_errno(err, rc, "bridge=%s: the address of %s", bridge, t->name);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", bridge);
	rc = interface_ioctl(SIOCBRADDIF, &ifr);
	if (rc < 0)
		return err_errno(err, rc, "bridge=%s: cannot put %s on it", bridge, t->name);
	snprintf(t->bridge, sizeof(t->bridge), "%s", bridge);
	return 0;
}

static int bring_up(struct tap *t, struct err *err)
{
	struct ifreq ifr = {0};
	int rc;

	memcpy(ifr.ifr_name, t->name, IFNAMSIZ);
	rc = interface_ioctl(SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags |= IFF_UP;
	if (rc == 0)
		rc = interface_ioctl(SIOCSIFFLAGS, &ifr);
	return rc < 0 ? err_errno(err, rc, "port=tap: cannot set %s up", t->name) : 0;
}

static int make_new(struct tap *t, const struct port_tap_config *config, struct err *err)
{
	int rc = config->bridge ? check_bridge(config->bridge, err) : 0;

	if (rc < 0)
		return rc;
	t->multi_queue = config->queues > 1;
	snprintf(t->name, sizeof(t->name), "tap%%d");
	rc = open_device(t, err);
	if (rc < 0)
		return rc;
	rc = attach_queues(t);
	if (rc < 0)
		return create_error(rc, err);
	return config->bridge ? put_on_bridge(t, config->bridge, err) : 0;
}

/* @t->port.fds[0] is one that somebody else opened. */
static int adopt(struct tap *t, const struct port_tap_config *config, struct err *err)
{
	int fd = config->fd, flags;
	struct ifreq ifr = {0};

	if (config->name || config->bridge)
		return err_set(err, -EINVAL, "port=fd:%d: takes neither a name nor bridge=", fd);
	if (config->queues != 1)
		return err_set(err, -EINVAL,
		               "port=fd:%d,queues=%u: a file is one queue; use queues=1 or "
		               "port=tap:NAME",
		               fd, config->queues);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return err_set(err, -EBADF, "port=fd:%d: this file is not open (3<>FILE opens 3)",
		               fd);
	if (ioctl(fd, TUNGETIFF, &ifr) < 0)
		return err_set(err, -EINVAL,
		               "port=fd:%d: this file is not a tap that is attached to an "
		               "interface: open " TUN_DEVICE " and TUNSETIFF, or a macvtap's "
		               "/dev/tapN",
		               fd);
	/* IFF_NO_PI cannot be seen: IFF_NOFILTER has the same bit here. Nobody leaves it out. */
	if (!(ifr.ifr_flags & IFF_TAP))
		return err_set(err, -EINVAL,
		               "port=fd:%d: %.15s is a tun (IP packets), not a tap (Ethernet "
		               "frames): TUNSETIFF with IFF_TAP",
		               fd, ifr.ifr_name);
	if (fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0)
		return err_errno(err, -errno, "port=fd:%d", fd);
	memcpy(t->name, ifr.ifr_name, IFNAMSIZ);
	t->name[IFNAMSIZ - 1] = '\0';
	t->port.vnet_hdr = ifr.ifr_flags & IFF_VNET_HDR;
	t->port.fds[0] = fd;
	return 0;
}

/* Which kinds of offload does the kernel know? */
static void probe_offloads(struct tap *t)
{
	static const struct {
		uint64_t guest, host;
	} kinds[] = {
		{NET_GUEST_TSO, NET_HOST_TSO},
		{BIT64(VIRTIO_NET_F_GUEST_UFO), BIT64(VIRTIO_NET_F_HOST_UFO)},
		{NET_GUEST_USO, BIT64(VIRTIO_NET_F_HOST_USO)},
	};
	const uint64_t csum = BIT64(VIRTIO_NET_F_GUEST_CSUM);

	if (set_offload(t, TUN_F_CSUM) < 0)
		return;
	t->port.guest_offloads = csum;
	t->port.host_offloads = BIT64(VIRTIO_NET_F_CSUM);
	for (unsigned i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (set_offload(t, offload_flags(csum | kinds[i].guest)) < 0)
			continue;
		t->port.guest_offloads |= kinds[i].guest;
		t->port.host_offloads |= kinds[i].host;
	}
}

/* The header's form, and no offloads until the driver asks for some. */
static int set_up_header(struct tap *t, bool offloads, struct err *err)
{
	int size = PORT_VNET_HDR, yes = 1, rc;

	if (t->port.vnet_hdr && ioctl(t->port.fds[0], TUNSETVNETHDRSZ, &size) < 0)
		return err_errno(err, -errno, "port=tap: %s: a virtio-net header of %d bytes",
		                 t->name, size);
	/* A kernel without it (before 4.0) has the host's order: little endian on x86. */
	if (t->port.vnet_hdr && ioctl(t->port.fds[0], TUNSETVNETLE, &yes) < 0 && errno != EINVAL &&
	    errno != ENOTTY)
		return err_errno(err, -errno, "port=tap: %s: a little-endian header", t->name);
	if (t->port.vnet_hdr && offloads)
		probe_offloads(t);
	rc = set_offload(t, 0);
	return rc < 0 ? err_errno(err, rc, "port=tap: %s: offloads off", t->name) : 0;
}

static int open_any(struct tap *t, const struct port_tap_config *config, struct err *err)
{
	bool made = config->fd < 0 && !config->name;
	struct link_info info;
	int rc;

	t->port.vnet_hdr = config->vnet_hdr;
	if (config->fd >= 0)
		rc = adopt(t, config, err);
	else if (config->name)
		rc = open_existing(t, config, err);
	else
		rc = make_new(t, config, err);
	if (rc == 0)
		rc = set_up_header(t, config->vnet_hdr, err);
	if (rc < 0)
		return rc;
	rc = tap_set_queues(&t->port, 1);
	if (rc < 0)
		return err_errno(err, rc, "port=tap: %s: cannot detach queues", t->name);
	if (own_interface(t, &info) == 0)
		t->port.mtu = info.mtu;
	t->port.own = made;
	return made ? bring_up(t, err) : 0;
}

/*
 * A file that is handed over becomes the port's when this succeeds, and stays the caller's when it
 * fails.
 */
int port_tap_open(struct port **port, const struct port_tap_config *config, struct err *err)
{
	struct tap *t;
	int rc;

	if (config->queues == 0 || config->queues > PORT_QUEUES_MAX)
		return err_set(err, -EINVAL, "port=tap: queues=%u: expected 1 to %d",
		               config->queues, PORT_QUEUES_MAX);
	t = calloc(1, sizeof(*t));
	if (!t)
		return err_errno(err, -ENOMEM, "port=tap");
	t->port.ops = &tap_ops;
	t->port.kind = "tap";
	t->port.queues = config->queues;
	for (unsigned i = 0; i < PORT_QUEUES_MAX; i++)
		t->port.fds[i] = -1;
	rc = open_any(t, config, err);
	if (rc < 0) {
		if (config->fd >= 0)
			t->port.fds[0] = -1;
		tap_close(&t->port);
		return rc;
	}
	*port = &t->port;
	return 0;
}
