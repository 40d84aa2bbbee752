/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one RTM_GETLINK request, one answer, whose attributes are walked. The same
 * is to be had from files in /sys/class/net, but these show the namespace in which /sys was
 * mounted, and in a sandbox there may be none.
 */
#include "devices/net/link_info.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* IFLA_LINKINFO is three levels deep, and only a tun has these. */
static void parse_tun(struct link_info *info, const struct rtattr *data)
{
	int len = (int)RTA_PAYLOAD(data);

	info->tun_owner = info->tun_group = LINK_NOBODY;
	for (const struct rtattr *a = RTA_DATA(data); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		uint32_t v32 = 0;
		uint8_t v8 = 0;

		if (RTA_PAYLOAD(a) >= sizeof(v32))
			memcpy(&v32, RTA_DATA(a), sizeof(v32));
		if (RTA_PAYLOAD(a) >= sizeof(v8))
			memcpy(&v8, RTA_DATA(a), sizeof(v8));
		switch (a->rta_type) {
		case IFLA_TUN_OWNER:
			info->tun_owner = v32;
			break;
		case IFLA_TUN_GROUP:
			info->tun_group = v32;
			break;
		case IFLA_TUN_TYPE:
			info->tun_type = v8;
			info->tun_known = true;
			break;
		case IFLA_TUN_MULTI_QUEUE:
			info->tun_multi_queue = v8;
			break;
		case IFLA_TUN_NUM_QUEUES:
		case IFLA_TUN_NUM_DISABLED_QUEUES:
			info->tun_queues += v32;
			break;
		}
	}
}

static void parse_linkinfo(struct link_info *info, const struct rtattr *linkinfo)
{
	int len = (int)RTA_PAYLOAD(linkinfo);
	const struct rtattr *data = NULL;

	for (const struct rtattr *a = RTA_DATA(linkinfo); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		if (a->rta_type == IFLA_INFO_KIND) {
			size_t n = strnlen(RTA_DATA(a), RTA_PAYLOAD(a));

			if (n >= sizeof(info->kind))
				n = sizeof(info->kind) - 1;
			memcpy(info->kind, RTA_DATA(a), n);
		} else if (a->rta_type == IFLA_INFO_DATA) {
			data = a;
		}
	}
	/* A kernel that is too old to tell of single-queue taps sets none of this. */
	if (data && strcmp(info->kind, "tun") == 0)
		parse_tun(info, data);
	else if (strcmp(info->kind, "tun") == 0)
		info->tun_owner = info->tun_group = LINK_NOBODY;
}

static void parse_counts(struct link_info *info, const struct rtattr *a)
{
	struct rtnl_link_stats64 s = {0};

	/* It grows at its end. */
	memcpy(&s, RTA_DATA(a), RTA_PAYLOAD(a) < sizeof(s) ? RTA_PAYLOAD(a) : sizeof(s));
	info->rx_packets = s.rx_packets;
	info->rx_bytes = s.rx_bytes;
	info->rx_dropped = s.rx_dropped;
	info->tx_packets = s.tx_packets;
	info->tx_bytes = s.tx_bytes;
	info->tx_dropped = s.tx_dropped;
	info->counted = true;
}

static int parse(struct link_info *info, struct nlmsghdr *nh, size_t size)
{
	const struct ifinfomsg *link;
	int len;

	if (!NLMSG_OK(nh, size))
		return -EIO;
	if (nh->nlmsg_type == NLMSG_ERROR) {
		const struct nlmsgerr *e = NLMSG_DATA(nh);

		return e->error ? e->error : -EIO;
	}
	if (nh->nlmsg_type != RTM_NEWLINK || nh->nlmsg_len < NLMSG_LENGTH(sizeof(*link)))
		return -EIO;
	link = NLMSG_DATA(nh);
	info->index = (unsigned)link->ifi_index;
	info->flags = link->ifi_flags;
	len = (int)IFLA_PAYLOAD(nh);
	for (const struct rtattr *a = IFLA_RTA(link); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
		/* The kernel marks nested attributes since 5.2. */
		unsigned short type = a->rta_type & NLA_TYPE_MASK;

		if (type == IFLA_MASTER && RTA_PAYLOAD(a) >= sizeof(info->master))
			memcpy(&info->master, RTA_DATA(a), sizeof(info->master));
		else if (type == IFLA_MTU && RTA_PAYLOAD(a) >= sizeof(info->mtu))
			memcpy(&info->mtu, RTA_DATA(a), sizeof(info->mtu));
		else if (type == IFLA_ADDRESS && RTA_PAYLOAD(a) == sizeof(info->address))
			memcpy(info->address, RTA_DATA(a), sizeof(info->address));
		else if (type == IFLA_STATS64)
			parse_counts(info, a);
		else if (type == IFLA_LINKINFO)
			parse_linkinfo(info, a);
	}
	return 0;
}

int link_info_get(const char *name, struct link_info *info)
{
	struct {
		struct nlmsghdr nh;
		struct ifinfomsg link;
		struct rtattr attr;
		char name[IFNAMSIZ];
	} request = {
		.nh = {.nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST},
		.link = {.ifi_family = AF_UNSPEC},
		.attr = {.rta_type = IFLA_IFNAME},
	};
	union {
		struct nlmsghdr nh;
		char bytes[16384];
	} answer;
	size_t n = strlen(name) + 1;
	ssize_t got = -1;
	int fd, rc;

	memset(info, 0, sizeof(*info));
	if (n > IFNAMSIZ)
		return -ENODEV;
	memcpy(request.name, name, n);
	request.attr.rta_len = (unsigned short)RTA_LENGTH(n);
	request.nh.nlmsg_len = (uint32_t)(NLMSG_LENGTH(sizeof(request.link)) + RTA_SPACE(n));
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	/* The kernel answers within the send. */
	if (send(fd, &request, request.nh.nlmsg_len, 0) >= 0)
		got = recv(fd, &answer, sizeof(answer), 0);
	rc = got < 0 ? -errno : parse(info, &answer.nh, (size_t)got);
	close(fd);
	return rc;
}
