/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port_tap: real taps, in a network namespace of this process. Without the privilege to make one
 * (root, or user namespaces and a /dev/net/tun for everybody) what needs it is skipped.
 *
 * The host's side of a tap is a packet socket, which with PACKET_VNET_HDR shows and sends segments
 * larger than the wire would take.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/link_info.h"
#include "devices/net/port.h"
#include "devices/net/port_priv.h"
#include "vmm/fd.h"

#define TEST_PROTO 0x88b5 /* IEEE 802: for local experiments */

static bool isolated;  /* own namespace, taps can be made */
static bool many_uids; /* really root: can become somebody else */

static void need_tap(void)
{
	if (!isolated)
		skip();
}

/* --- The host --- */

static int make_file(const char *name, int flags)
{
	struct ifreq ifr = {.ifr_flags = (short)flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

static void if_flags(const char *name, short set, short clear)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags = (short)((ifr.ifr_flags | set) & ~clear);
	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
	close(fd);
}

/* As `ip tuntap add` makes one; it stays until tap_delete(). */
static void tap_add(const char *name, int flags, int owner, bool up)
{
	int fd = make_file(name, flags | IFF_NO_PI);

	assert_int_equal(ioctl(fd, TUNSETPERSIST, 1), 0);
	if (owner >= 0)
		assert_int_equal(ioctl(fd, TUNSETOWNER, owner), 0);
	close(fd);
	if (up)
		if_flags(name, IFF_UP, 0);
}

static void tap_delete(const char *name, int flags)
{
	int fd = make_file(name, flags | IFF_NO_PI);

	assert_int_equal(ioctl(fd, TUNSETPERSIST, 0), 0);
	close(fd);
}

static void bridge_ioctl(unsigned long what, const char *name)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (ioctl(fd, what, name) < 0)
		fail_msg("bridge %s: %s", name, strerror(errno));
	close(fd);
}

/* Everything that arrives from @name at the host, and a way to send through it. */
static int packet_socket(const char *name, bool vnet_hdr, uint16_t proto)
{
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(proto),
		.sll_ifindex = (int)if_nametoindex(name),
	};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(proto));
	int yes = 1;

	assert_true(fd >= 0);
	if (vnet_hdr)
		assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &yes, sizeof(yes)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* --- Frames --- */

static size_t plain_frame(uint8_t *buf, size_t len, uint8_t mark)
{
	memset(buf, mark, len);
	memset(buf, 0xff, 6);
	memcpy(buf + 6, "\x52\x54\x00\x12\x34\x56", 6);
	buf[12] = TEST_PROTO >> 8;
	buf[13] = TEST_PROTO & 0xff;
	return len;
}

/* IPv4 and TCP or UDP with @payload bytes; @flow tells one connection from another. */
static size_t ip_frame(uint8_t *buf, uint8_t proto, size_t payload, uint16_t flow)
{
	size_t head = proto == IPPROTO_TCP ? 20 : 8, ip_len = 20 + head + payload;
	uint32_t sum = 0;

	memset(buf, 0, 14 + ip_len);
	plain_frame(buf, 14, 0);
	memcpy(buf, "\x02\x00\x00\x00\x00\x01", 6);
	buf[12] = 8;
	buf[13] = 0;
	buf[14] = 0x45;
	buf[16] = (uint8_t)(ip_len >> 8);
	buf[17] = (uint8_t)ip_len;
	buf[22] = 64;
	buf[23] = proto;
	memcpy(buf + 26, "\x0a\x01\x00\x01\x0a\x01\x00\x02", 8);
	for (unsigned i = 14; i < 34; i += 2)
		sum += (uint32_t)(buf[i] << 8 | buf[i + 1]);
	sum = ~((sum & 0xffff) + (sum >> 16));
	buf[24] = (uint8_t)(sum >> 8);
	buf[25] = (uint8_t)sum;
	buf[34] = (uint8_t)(flow >> 8);
	buf[35] = (uint8_t)flow;
	buf[37] = 80;
	if (proto == IPPROTO_TCP) {
		buf[46] = 0x50; /* 20 bytes of header */
		buf[47] = 0x10; /* ACK */
	} else {
		buf[38] = (uint8_t)((8 + payload) >> 8);
		buf[39] = (uint8_t)(8 + payload);
	}
	return 14 + ip_len;
}

/* --- Opening what the tests use --- */

static struct port *open_tap(const char *name, unsigned queues, bool vnet_hdr)
{
	struct port_tap_config c = {
		.name = name,
		.fd = -1,
		.queues = queues,
		.vnet_hdr = vnet_hdr,
	};
	struct err err = {0};
	struct port *port = NULL;

	if (port_tap_open(&port, &c, &err) < 0)
		fail_msg("%s", err.msg);
	return port;
}

/* What it describes itself as begins with its interface's name. */
static const char *name_of(const struct port *port)
{
	static char buf[64];

	port->ops->describe(port, buf, sizeof(buf));
	buf[strcspn(buf, " ")] = '\0';
	return buf;
}

static void refused(const struct port_tap_config *c, int code, const char *cause,
                    const char *remedy)
{
	struct port *port = NULL;
	struct err err = {0};
	int rc = port_tap_open(&port, c, &err);

	if (rc == 0)
		port_close(port);
	if (rc != code)
		fail_msg("%d instead of %d (%s)", rc, code, err.msg);
	if (!strstr(err.msg, cause) || !strstr(err.msg, remedy))
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.msg, cause, remedy);
	assert_null(strchr(err.msg, '\n'));
	assert_true(strlen(err.msg) < ERR_MSG_MAX - 1); /* not cut off */
}

static void refused_name(const char *name, unsigned queues, int code, const char *cause,
                         const char *remedy)
{
	struct port_tap_config c = {.name = name, .fd = -1, .queues = queues, .vnet_hdr = true};

	refused(&c, code, cause, remedy);
}

static void refused_bridge(const char *bridge, int code, const char *cause, const char *remedy)
{
	struct port_tap_config c = {.bridge = bridge, .fd = -1, .queues = 1};

	refused(&c, code, cause, remedy);
}

static void refused_fd(int fd, unsigned queues, int code, const char *cause, const char *remedy)
{
	struct port_tap_config c = {.fd = fd, .queues = queues, .vnet_hdr = true};

	refused(&c, code, cause, remedy);
}

/* --- The tests --- */

static void wrong_before_the_kernel_is_asked(void **state)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC), gone = dup(fd);

	(void)state;
	refused_name("", 1, -EINVAL, "1 to 15", "");
	refused_name("sixteencharacter", 1, -EINVAL, "sixteencharacter", "1 to 15");
	refused_name("tap0", 0, -EINVAL, "queues=0", "1 to 32");
	refused_name("tap0", PORT_QUEUES_MAX + 1, -EINVAL, "queues=33", "1 to 32");
	refused_bridge("sixteencharacter", -EINVAL, "bridge=sixteencharacter", "1 to 15");
	refused_fd(fd, 1, -EINVAL, "not a tap", "TUNSETIFF");
	refused_fd(fd, 2, -EINVAL, "one queue", "queues=1");
	/* It is still the caller's. */
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	close(fd);
	close(gone);
	refused_fd(gone, 1, -EBADF, "not open", "3<>");
}

static void new_interface_comes_up_and_goes(void **state)
{
	uint8_t buf[2048], got[2048];
	struct link_info info;
	struct port *port;
	char name[64];
	int host;

	(void)state;
	need_tap();
	port = open_tap(NULL, 1, true);
	snprintf(name, sizeof(name), "%s", name_of(port));
	assert_int_equal(link_info_get(name, &info), 0);
	assert_string_equal(info.kind, "tun");
	assert_int_equal(info.index, if_nametoindex(name));
	assert_true(info.flags & IFF_UP);
	assert_int_equal(info.tun_type, IFF_TAP);
	assert_false(info.tun_multi_queue);
	assert_string_equal(port->kind, "tap");
	assert_int_equal(port->queues, 1);
	assert_true(port->vnet_hdr);
	assert_true(fcntl(port->fds[0], F_GETFD) & FD_CLOEXEC);
	assert_true(fcntl(port->fds[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(port->fds[1], -1);

	host = packet_socket(name, false, TEST_PROTO);
	/* Out: the header is ours, the frame is the host's. */
	memset(buf, 0, PORT_VNET_HDR);
	plain_frame(buf + PORT_VNET_HDR, 200, 0x5a);
	assert_int_equal(write(port->fds[0], buf, PORT_VNET_HDR + 200), PORT_VNET_HDR + 200);
	assert_true(readable(host, 2000));
	assert_int_equal(read(host, got, sizeof(got)), 200);
	assert_memory_equal(got, buf + PORT_VNET_HDR, 200);
	/* In. */
	plain_frame(buf, 300, 0xa5);
	assert_int_equal(write(host, buf, 300), 300);
	assert_true(readable(port->fds[0], 2000));
	assert_int_equal(read(port->fds[0], got, sizeof(got)), PORT_VNET_HDR + 300);
	assert_memory_equal(got + PORT_VNET_HDR, buf, 300);
	assert_int_equal(got[1], VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(read(port->fds[0], got, sizeof(got)), -1);
	assert_int_equal(errno, EAGAIN);
	close(host);

	port_close(port);
	assert_int_equal(link_info_get(name, &info), -ENODEV);
}

static void frames_are_bare_without_offloads(void **state)
{
	uint8_t buf[2048], got[2048];
	struct port *port;
	int host;

	(void)state;
	need_tap();
	port = open_tap(NULL, 1, false);
	assert_false(port->vnet_hdr);
	assert_true(port->host_offloads == 0 && port->guest_offloads == 0);
	assert_int_equal(port->ops->set_offloads(port, 0), 0);
	assert_int_equal(port->ops->set_offloads(port, BIT64(VIRTIO_NET_F_GUEST_CSUM)), -EINVAL);
	host = packet_socket(name_of(port), false, TEST_PROTO);
	plain_frame(buf, 100, 1);
	assert_int_equal(write(port->fds[0], buf, 100), 100);
	assert_true(readable(host, 2000));
	assert_int_equal(read(host, got, sizeof(got)), 100);
	assert_int_equal(write(host, buf, 77), 77);
	assert_true(readable(port->fds[0], 2000));
	assert_int_equal(read(port->fds[0], got, sizeof(got)), 77);
	assert_memory_equal(got, buf, 77);
	close(host);
	port_close(port);
}

/* In the guest's directions, whatever the interface calls them; and of this interface only. */
static void counts_of_the_interface(void **state)
{
	struct port_counts c = {.to_guest_packets = 0};
	struct ifreq ifr = {0};
	uint8_t buf[256];
	struct port *port;
	int host;

	(void)state;
	need_tap();
	tap_add("counted", IFF_TAP, 0, true);
	port = open_tap("counted", 1, false);
	host = packet_socket("counted", false, TEST_PROTO);
	plain_frame(buf, 100, 1);
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(write(port->fds[0], buf, 100), 100);
	assert_int_equal(port->ops->counts(port, &c), 0);
	assert_string_equal(c.interface, "counted");
	assert_int_equal(c.from_guest_packets, 3);
	assert_int_equal(c.from_guest_bytes, 300);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(write(host, buf, 77), 77);
	while (readable(port->fds[0], 0) && read(port->fds[0], buf, sizeof(buf)) > 0)
		continue;
	assert_int_equal(port->ops->counts(port, &c), 0);
	/* The host's own stack may have had something to say besides. */
	assert_in_range(c.to_guest_packets, 50, 80);
	assert_true(c.to_guest_bytes >= 50 * 77);
	assert_int_equal(c.from_guest_packets, 3);
	close(host);
	/* Another one takes its name. */
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "counted");
	snprintf(ifr.ifr_newname, sizeof(ifr.ifr_newname), "moved");
	host = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(ioctl(host, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags &= (short)~IFF_UP;
	assert_int_equal(ioctl(host, SIOCSIFFLAGS, &ifr), 0);
	snprintf(ifr.ifr_newname, sizeof(ifr.ifr_newname), "moved");
	assert_int_equal(ioctl(host, SIOCSIFNAME, &ifr), 0);
	close(host);
	assert_int_equal(port->ops->counts(port, &c), -ENODEV);
	tap_add("counted", IFF_TAP, 0, true);
	assert_int_equal(port->ops->counts(port, &c), -ENODEV);
	tap_delete("counted", IFF_TAP);
	port_close(port);
	tap_delete("moved", IFF_TAP);
}

static void set_mtu(const char *name, int mtu)
{
	struct ifreq ifr = {.ifr_mtu = mtu};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
	close(fd);
}

static void mtu_is_the_interfaces(void **state)
{
	struct port_tap_config c = {.queues = 1};
	struct link_info info;
	struct port *port;

	(void)state;
	need_tap();
	tap_add("small", IFF_TAP, 0, true);
	set_mtu("small", 1450);
	port = open_tap("small", 1, true);
	assert_int_equal(port->mtu, 1450);
	assert_false(port->own);
	assert_string_equal(port_interface(port), "small");
	assert_int_equal(port->ops->set_mtu(port, 9000), 0);
	assert_int_equal(port->mtu, 9000);
	assert_int_equal(link_info_get("small", &info), 0);
	assert_int_equal(info.mtu, 9000);
	/* The kernel has the last word; then everything is as it was. */
	assert_true(port->ops->set_mtu(port, 70000) < 0);
	assert_int_equal(port->mtu, 9000);
	port_close(port);
	tap_delete("small", IFF_TAP);

	/* A file that was handed over. */
	c.fd = make_file("file", IFF_TAP | IFF_NO_PI);
	set_mtu("file", 1300);
	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_int_equal(port->mtu, 1300);
	port_close(port);

	/* Its name is another interface's now: that one is left alone. */
	tap_add("other", IFF_TAP, 0, true);
	port = open_tap(NULL, 1, true);
	assert_int_equal(port->mtu, 1500);
	assert_true(port->own);
	snprintf((char *)port_interface(port), 6, "other");
	assert_int_equal(port->ops->set_mtu(port, 1400), -ENODEV);
	assert_int_equal(link_info_get("other", &info), 0);
	assert_int_equal(info.mtu, 1500);
	port_close(port);
	tap_delete("other", IFF_TAP);
}

static void existing_interface_stays(void **state)
{
	struct link_info info;
	struct port *port;

	(void)state;
	need_tap();
	tap_add("given", IFF_TAP, 0, true);
	port = open_tap("given", 1, true);
	assert_string_equal(name_of(port), "given");
	port_close(port);
	assert_int_equal(link_info_get("given", &info), 0);
	assert_int_equal(info.tun_owner, 0);
	assert_int_equal(info.tun_group, LINK_NOBODY);
	/* And once more: nothing of it is in use. */
	port_close(open_tap("given", 1, true));
	tap_delete("given", IFF_TAP);
}

static void interfaces_that_cannot_be(void **state)
{
	struct port_tap_config both = {
		.name = "single", .bridge = "wrong-br", .fd = -1, .queues = 1};
	int fd;

	(void)state;
	need_tap();
	refused_name("nosuch", 1, -ENODEV, "no such interface",
	             "ip tuntap add nosuch mode tap user $USER");
	refused_name("nosuch", 4, -ENODEV, "no such interface", "mode tap multi_queue user $USER");
	refused_name("lo", 1, -EINVAL, "loopback", "ip tuntap add");
	bridge_ioctl(SIOCBRADDBR, "wrong-br");
	refused_name("wrong-br", 1, -EINVAL, "a bridge, not a tap", "ip tuntap add");

	tap_add("layer3", IFF_TUN, -1, true);
	refused_name("layer3", 1, -EINVAL, "a tun (IP packets)", "ip link del layer3");
	tap_delete("layer3", IFF_TUN);

	tap_add("single", IFF_TAP, -1, false);
	refused_name("single", 1, -ENETDOWN, "is down", "ip link set single up");
	if_flags("single", IFF_UP, 0);
	refused_name("single", 2, -EINVAL, "single queue", "queues=1");
	refused_name("single", 2, -EINVAL, "single queue", "multi_queue");
	refused(&both, -EINVAL, "only an interface that trivm makes",
	        "ip link set single master wrong-br");
	fd = make_file("single", IFF_TAP | IFF_NO_PI);
	refused_name("single", 1, -EBUSY, "another program", "fdinfo");
	close(fd);
	tap_delete("single", IFF_TAP);

	/* The kernel would let us in, and share the frames out. */
	tap_add("multi", IFF_TAP | IFF_MULTI_QUEUE, -1, true);
	fd = make_file("multi", IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE);
	refused_name("multi", 1, -EBUSY, "another program", "fdinfo");
	close(fd);
	port_close(open_tap("multi", 1, true)); /* the reverse of too many queues */
	tap_delete("multi", IFF_TAP | IFF_MULTI_QUEUE);
	bridge_ioctl(SIOCBRDELBR, "wrong-br");
}

/* The device file of a macvtap of this namespace, of which only a sysfs of this namespace knows. */
static int open_macvtap(const char *name)
{
	char path[96], dir[] = "/tmp/test_port_tap.XXXXXX";
	unsigned index = if_nametoindex(name), major, minor;
	int fd = -1, n = 0;
	FILE *in;

	assert_non_null(mkdtemp(dir));
	if (mount("sysfs", dir, "sysfs", 0, NULL) == 0) {
		snprintf(path, sizeof(path), "%s/class/net/%s/tap%u/dev", dir, name, index);
		in = fopen(path, "re");
		if (in) {
			n = fscanf(in, "%u:%u", &major, &minor);
			fclose(in);
		}
		umount(dir);
	}
	rmdir(dir);
	snprintf(path, sizeof(path), "/dev/net/tap%u", index);
	if (n == 2 && mknod(path, S_IFCHR | 0600, makedev(major, minor)) == 0)
		fd = open(path, O_RDWR | O_CLOEXEC);
	return fd;
}

static void macvtap_has_its_mtu(const char *name)
{
	struct port_tap_config c = {.queues = 1, .vnet_hdr = true};
	struct link_info info;
	struct port *port;

	if (!many_uids)
		return;
	c.fd = open_macvtap(name);
	if (c.fd < 0)
		return; /* no sysfs may be mounted here */
	set_mtu(name, 1400);
	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_int_equal(port->mtu, 1400);
	assert_string_equal(port_interface(port), name);
	assert_int_equal(port->ops->set_mtu(port, 1300), 0);
	assert_int_equal(link_info_get(name, &info), 0);
	assert_int_equal(info.mtu, 1300);
	/* Not above the interface below it. */
	assert_true(port->ops->set_mtu(port, 9000) < 0);
	assert_int_equal(port->mtu, 1300);
	port_close(port);
}

static void macvtap_is_told_from_tap(void **state)
{
	char device[32];

	(void)state;
	need_tap();
	tap_add("lower", IFF_TAP, -1, true);
	if (system("ip link add link lower name mvt type macvtap 2>/dev/null") != 0) {
		tap_delete("lower", IFF_TAP);
		skip(); /* no ip, or no macvtap in this kernel */
	}
	snprintf(device, sizeof(device), "3<>/dev/tap%u", if_nametoindex("mvt"));
	refused_name("mvt", 1, -EINVAL, "it is a macvtap", device);
	macvtap_has_its_mtu("mvt");
	tap_delete("lower", IFF_TAP);
}

static unsigned first_of_address(const char *name)
{
	struct ifreq ifr = {0};
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
	assert_int_equal(ioctl(fd, SIOCGIFHWADDR, &ifr), 0);
	close(fd);
	return (uint8_t)ifr.ifr_hwaddr.sa_data[0];
}

static void bridges(void **state)
{
	struct port_tap_config c = {.bridge = "br-test", .fd = -1, .queues = 2, .vnet_hdr = true};
	struct link_info info;
	struct port *port;
	char text[64];

	(void)state;
	need_tap();
	refused_bridge("br-none", -ENODEV, "no such interface", "ip link add br-none type bridge");
	refused_bridge("lo", -EINVAL, "no bridge", "ip link show type bridge");
	bridge_ioctl(SIOCBRADDBR, "br-test");
	refused_bridge("br-test", -ENETDOWN, "is down", "ip link set br-test up");
	if_flags("br-test", IFF_UP, 0);

	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_int_equal(link_info_get(name_of(port), &info), 0);
	assert_int_equal(info.master, if_nametoindex("br-test"));
	assert_true(info.flags & IFF_UP);
	port->ops->describe(port, text, sizeof(text));
	assert_non_null(strstr(text, " on br-test"));
	/* A bridge takes the lowest address of its ports: it is not to be that of a tap of ours. */
	assert_int_equal(first_of_address(name_of(port)), 0xfe);
	port_close(port);
	if_flags("br-test", 0, IFF_UP);
	bridge_ioctl(SIOCBRDELBR, "br-test");
}

/* /dev/net is our own: with what mode, or not at all. */
static void tun_device(int mode)
{
	unlink("/dev/net/tun");
	if (mode < 0)
		return;
	assert_int_equal(mknod("/dev/net/tun", S_IFCHR, makedev(10, 200)), 0);
	assert_int_equal(chmod("/dev/net/tun", (mode_t)mode), 0);
}

static void permissions(void **state)
{
	struct port_tap_config c = {.name = "theirs", .fd = -1, .queues = 1, .vnet_hdr = true};
	struct port_tap_config new = {.fd = -1, .queues = 1};
	struct port *port = NULL;
	int rc;

	(void)state;
	if (!many_uids)
		skip();
	tap_add("theirs", IFF_TAP, 4242, true);
	tap_add("nobodys", IFF_TAP | IFF_MULTI_QUEUE, 4243, true);
	tun_device(0666);

	assert_int_equal(seteuid(65534), 0);
	refused(&c, -EPERM, "belongs to uid 4242, and you are uid 65534", "ip link del theirs");
	refused_name("nobodys", 2, -EPERM, "uid 4243", "mode tap multi_queue user $USER");
	refused(&new, -EPERM, "CAP_NET_ADMIN", "setcap cap_net_admin");
	assert_int_equal(seteuid(0), 0);

	assert_int_equal(seteuid(4242), 0);
	rc = port_tap_open(&port, &c, NULL);
	if (rc == 0) /* whoever may open it may do the rest */
		rc = port->ops->set_offloads(port, BIT64(VIRTIO_NET_F_GUEST_CSUM));
	port_close(rc == 0 ? port : NULL);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, 0);

	tun_device(0600);
	assert_int_equal(seteuid(4242), 0);
	refused(&c, -EACCES, "no permission to open /dev/net/tun", "chmod 666 /dev/net/tun");
	assert_int_equal(seteuid(0), 0);
	tun_device(-1);
	refused(&c, -ENOENT, "there is no /dev/net/tun", "modprobe tun");
	tun_device(0666);
	tap_delete("theirs", IFF_TAP);
	tap_delete("nobodys", IFF_TAP | IFF_MULTI_QUEUE);
}

/* Send @flows connections' frames through the interface; how many came out of each queue? */
static void spread(struct port *port, unsigned flows, unsigned got[PORT_QUEUES_MAX])
{
	int host = packet_socket(name_of(port), false, ETH_P_IP);
	uint8_t buf[2048];
	size_t len;

	memset(got, 0, PORT_QUEUES_MAX * sizeof(got[0]));
	for (unsigned i = 0; i < flows; i++) {
		len = ip_frame(buf, IPPROTO_UDP, 50, (uint16_t)(1000 + i));
		assert_int_equal(write(host, buf, len), len);
	}
	close(host);
	usleep(20000);
	for (unsigned q = 0; q < port->queues; q++)
		while (read(port->fds[q], buf, sizeof(buf)) > 0)
			got[q]++;
}

static void queues_come_and_go(void **state)
{
	unsigned got[PORT_QUEUES_MAX], total = 0, used = 0;
	struct port *port;
	struct pollfd p;
	uint8_t buf[128];

	(void)state;
	need_tap();
	port = open_tap(NULL, 4, true);
	assert_int_equal(port->queues, 4);
	for (unsigned q = 0; q < 4; q++)
		assert_true(port->fds[q] >= 0 && fcntl(port->fds[q], F_GETFL) & O_NONBLOCK);

	/* From the start, and whatever happened since: the first one gets everything. */
	spread(port, 64, got);
	assert_int_equal(got[0], 64);
	assert_int_equal(port->ops->set_queues(port, 4), 0);
	spread(port, 256, got);
	for (unsigned q = 0; q < 4; q++) {
		total += got[q];
		used += got[q] != 0;
	}
	assert_int_equal(total, 256);
	assert_int_equal(used, 4);
	assert_int_equal(port->ops->set_queues(port, 2), 0);
	spread(port, 256, got);
	assert_int_equal(got[0] + got[1], 256);
	assert_true(got[0] && got[1]);

	/* One that is detached is quiet: nothing for an event loop to spin on. */
	p = (struct pollfd){.fd = port->fds[3], .events = POLLIN};
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(read(port->fds[3], buf, sizeof(buf)), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(port->ops->set_queues(port, 2), 0); /* again: nothing to do */

	assert_int_equal(port->ops->set_queues(port, 0), -EINVAL);
	assert_int_equal(port->ops->set_queues(port, 5), -EINVAL);
	port_close(port);

	port = open_tap(NULL, 1, true);
	assert_int_equal(port->ops->set_queues(port, 1), 0);
	assert_int_equal(port->ops->set_queues(port, 2), -EINVAL);
	port_close(port);
}

#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

static const struct virtio_net_hdr gso_header = {
	.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
	.hdr_len = 54,
	.gso_size = 1000,
	.csum_start = 34,
	.csum_offset = 16,
};

static const struct virtio_net_hdr uso_header = {
	.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
	.gso_type = VIRTIO_NET_HDR_GSO_UDP_L4,
	.hdr_len = 42,
	.gso_size = 1000,
	.csum_start = 34,
	.csum_offset = 6,
};

/* 4000 bytes in one go to the guest. Frames that came, *@last: the length of the last. */
static unsigned send_large(struct port *port, uint8_t proto, ssize_t *last,
                           struct virtio_net_hdr *hdr)
{
	int host = packet_socket(name_of(port), true, ETH_P_IP);
	uint8_t buf[8192];
	unsigned frames = 0;
	size_t len;
	ssize_t n;

	memcpy(buf, proto == IPPROTO_TCP ? &gso_header : &uso_header, sizeof(*hdr));
	len = sizeof(*hdr) + ip_frame(buf + sizeof(*hdr), proto, 4000, 999);
	assert_int_equal(write(host, buf, len), len);
	close(host);
	if (!readable(port->fds[0], 2000))
		return 0;
	usleep(20000);
	while ((n = read(port->fds[0], buf, sizeof(buf))) > 0) {
		memcpy(hdr, buf, sizeof(*hdr));
		*last = n;
		frames++;
	}
	return frames;
}

static unsigned send_segment(struct port *port, ssize_t *last, struct virtio_net_hdr *hdr)
{
	return send_large(port, IPPROTO_TCP, last, hdr);
}

static void segments_go_through_whole(void **state)
{
	const uint64_t tso = BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4);
	struct virtio_net_hdr hdr;
	uint8_t buf[8192];
	struct port *port;
	ssize_t last = 0;
	size_t len;
	int host;

	(void)state;
	need_tap();
	port = open_tap(NULL, 1, true);
	assert_true((port->guest_offloads & (tso | NET_GUEST_TSO)) == (tso | NET_GUEST_TSO));
	assert_true((port->host_offloads & NET_HOST_TSO) == NET_HOST_TSO);
	assert_true(port->host_offloads & BIT64(VIRTIO_NET_F_CSUM));
	/* Both directions of UDP segmentation, or neither. */
	assert_true(!(port->host_offloads & BIT64(VIRTIO_NET_F_HOST_USO)) ==
	            !(port->guest_offloads & NET_GUEST_USO));

	/* To the guest: cut up, until its driver says that it need not be. */
	assert_int_equal(send_segment(port, &last, &hdr), 4);
	assert_int_equal(last, PORT_VNET_HDR + 54 + 1000);
	assert_int_equal(port->ops->set_offloads(port, tso), 0);
	assert_int_equal(send_segment(port, &last, &hdr), 1);
	assert_int_equal(last, PORT_VNET_HDR + 54 + 4000);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(hdr.gso_size, 1000);
	assert_int_equal(hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	/* Segmentation is nothing without checksums. */
	assert_int_equal(port->ops->set_offloads(port, BIT64(VIRTIO_NET_F_GUEST_TSO4)), 0);
	assert_int_equal(send_segment(port, &last, &hdr), 4);

	/* From the guest: always. */
	host = packet_socket(name_of(port), true, ETH_P_IP);
	memset(buf, 0, PORT_VNET_HDR);
	memcpy(buf, &gso_header, sizeof(gso_header));
	len = PORT_VNET_HDR + ip_frame(buf + PORT_VNET_HDR, IPPROTO_TCP, 4000, 998);
	assert_int_equal(write(port->fds[0], buf, len), len);
	assert_true(readable(host, 2000));
	last = read(host, buf, sizeof(buf));
	assert_int_equal(last, sizeof(hdr) + 54 + 4000);
	memcpy(&hdr, buf, sizeof(hdr));
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(hdr.gso_size, 1000);
	close(host);

	/* All that is offered can be asked for; nothing else. */
	assert_int_equal(port->ops->set_offloads(port, port->guest_offloads), 0);
	for (unsigned bit = 0; bit < 64; bit++)
		if (BIT64(bit) & port->guest_offloads)
			assert_int_equal(port->ops->set_offloads(
						 port, BIT64(bit) | BIT64(VIRTIO_NET_F_GUEST_CSUM)),
			                 0);
	assert_int_equal(port->ops->set_offloads(port, BIT64(VIRTIO_NET_F_CSUM)), -EINVAL);
	port_close(port);
}

static void datagrams_go_through_whole(void **state)
{
	const uint64_t csum = BIT64(VIRTIO_NET_F_GUEST_CSUM);
	struct virtio_net_hdr hdr;
	struct port *port;
	ssize_t last = 0;

	(void)state;
	need_tap();
	port = open_tap(NULL, 1, true);
	if (!(port->guest_offloads & NET_GUEST_USO)) {
		port_close(port);
		skip(); /* before Linux 6.2 */
	}
	assert_int_equal(send_large(port, IPPROTO_UDP, &last, &hdr), 4);
	assert_int_equal(port->ops->set_offloads(port, csum | NET_GUEST_USO), 0);
	assert_int_equal(send_large(port, IPPROTO_UDP, &last, &hdr), 1);
	assert_int_equal(last, PORT_VNET_HDR + 42 + 4000);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_UDP_L4);
	/* A driver of only one kind must not be sent the other, and the kernel knows no half. */
	assert_int_equal(port->ops->set_offloads(port, csum | BIT64(VIRTIO_NET_F_GUEST_USO6)), 0);
	assert_int_equal(send_large(port, IPPROTO_UDP, &last, &hdr), 4);
	port_close(port);
}

static void what_its_last_user_asked_for_is_forgotten(void **state)
{
	struct virtio_net_hdr hdr;
	struct port *port;
	ssize_t last = 0;
	int fd, size = 20;

	(void)state;
	need_tap();
	tap_add("used", IFF_TAP, -1, true);
	fd = make_file("used", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(ioctl(fd, TUNSETVNETHDRSZ, &size), 0);
	assert_int_equal(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4), 0);
	close(fd);

	port = open_tap("used", 1, true);
	assert_int_equal(send_segment(port, &last, &hdr), 4);
	assert_int_equal(last, PORT_VNET_HDR + 54 + 1000);
	port_close(port);

	fd = make_file("used", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	assert_int_equal(ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4), 0);
	close(fd);
	port = open_tap("used", 1, false);
	assert_int_equal(send_segment(port, &last, &hdr), 4);
	assert_int_equal(last, 54 + 1000);
	port_close(port);
	tap_delete("used", IFF_TAP);
}

static void handed_over(void **state)
{
	struct port_tap_config c = {.queues = 1, .vnet_hdr = true};
	struct virtio_net_hdr hdr;
	struct port *port;
	ssize_t last = 0;
	int fd;

	(void)state;
	need_tap();
	/* Whoever opened it decided on the header. */
	c.fd = fd = make_file("handed", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	if_flags("handed", IFF_UP, 0);
	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_int_equal(port->fds[0], fd);
	assert_string_equal(name_of(port), "handed");
	assert_true(port->vnet_hdr && port->host_offloads && port->guest_offloads);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_int_equal(send_segment(port, &last, &hdr), 4);
	assert_int_equal(last, PORT_VNET_HDR + 54 + 1000);
	port_close(port);
	assert_int_equal(fcntl(fd, F_GETFD), -1);

	/* offloads=off: the header stays, empty. */
	c.fd = make_file("handed", IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	c.vnet_hdr = false;
	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_true(port->vnet_hdr && !port->host_offloads && !port->guest_offloads);
	port_close(port);

	c.fd = make_file("handed", IFF_TAP | IFF_NO_PI);
	c.vnet_hdr = true;
	assert_int_equal(port_tap_open(&port, &c, NULL), 0);
	assert_true(!port->vnet_hdr && !port->host_offloads && !port->guest_offloads);
	port_close(port);

	fd = make_file("handed", IFF_TUN | IFF_NO_PI);
	refused_fd(fd, 1, -EINVAL, "a tun (IP packets)", "IFF_TAP");
	close(fd);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	refused_fd(fd, 1, -EINVAL, "attached to an interface", "TUNSETIFF");
	assert_int_not_equal(fcntl(fd, F_GETFD), -1);
	close(fd);
}

/* --- A network of our own --- */

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	fd_close(&fd);
	return ok;
}

/* As root, or as the root of a user namespace in which only we exist. */
static void isolate(void)
{
	char map[32];
	int fd;

	snprintf(map, sizeof(map), "0 %u 1", (unsigned)getuid());
	many_uids = geteuid() == 0;
	if (!many_uids && (unshare(CLONE_NEWUSER) < 0 || !write_file("/proc/self/uid_map", map)))
		return;
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		many_uids = false;
		return;
	}
	/* The kernel's own packets (neighbour discovery) would be in the way. */
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	many_uids = many_uids && mount("tmpfs", "/dev/net", "tmpfs", 0, "mode=755") == 0;
	if (many_uids)
		tun_device(0666);
	fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	isolated = fd >= 0;
	fd_close(&fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(wrong_before_the_kernel_is_asked),
		cmocka_unit_test(new_interface_comes_up_and_goes),
		cmocka_unit_test(frames_are_bare_without_offloads),
		cmocka_unit_test(counts_of_the_interface),
		cmocka_unit_test(mtu_is_the_interfaces),
		cmocka_unit_test(existing_interface_stays),
		cmocka_unit_test(interfaces_that_cannot_be),
		cmocka_unit_test(macvtap_is_told_from_tap),
		cmocka_unit_test(bridges),
		cmocka_unit_test(permissions),
		cmocka_unit_test(queues_come_and_go),
		cmocka_unit_test(segments_go_through_whole),
		cmocka_unit_test(datagrams_go_through_whole),
		cmocka_unit_test(what_its_last_user_asked_for_is_forgotten),
		cmocka_unit_test(handed_over),
	};

	alarm(60);
	isolate();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
