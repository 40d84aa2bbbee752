/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: libslirp answers nothing by itself. It passes the guest's questions for names
 * on to the first IPv4 name server of /etc/resolv.conf (those to fec0::3 to the first IPv6 one), its
 * pings to a socket for ICMP, which net.ipv4.ping_group_range allows or not, and its connections to
 * sockets of the host. What the host lacks is silence in the guest. So this looks at the same things
 * beforehand: the file as libslirp reads it, and, for a name server on this host, the kernel's table
 * of UDP sockets: a stub resolver like 127.0.0.53 is there in the host's network namespace, but not
 * in a container's.
 */
#include "devices/net/user_host.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DNS_PORT 53

/* The first name server of each kind, as libslirp finds it. */
static void read_resolv(struct user_host *h, const char *path)
{
	FILE *in = fopen(path, "re");
	char line[512], word[257];
	struct in6_addr address;

	if (!in) {
		h->resolv_error = errno;
		return;
	}
	while (fgets(line, sizeof(line), in)) {
		if (sscanf(line, "nameserver%*[ \t]%256s", word) != 1)
			continue;
		word[strcspn(word, "%")] = '\0'; /* fe80::1%eth0 */
		if (!h->dns4[0] && inet_pton(AF_INET, word, &address) == 1)
			snprintf(h->dns4, sizeof(h->dns4), "%.15s", word);
		else if (!h->dns6[0] && inet_pton(AF_INET6, word, &address) == 1)
			snprintf(h->dns6, sizeof(h->dns6), "%.45s", word);
	}
	fclose(in);
}

/* Is a UDP socket bound to @address (its own or any), port 53? True if the table cannot be read. */
static bool listens(uint32_t address)
{
	static const char *const tables[] = {"/proc/self/net/udp", "/proc/self/net/udp6"};
	char line[256], local[33];
	unsigned port;

	for (unsigned i = 0; i < 2; i++) {
		FILE *in = fopen(tables[i], "re");

		if (!in)
			return true;
		while (fgets(line, sizeof(line), in)) {
			unsigned long word;

			if (sscanf(line, " %*[0-9]: %32[0-9A-F]:%x", local, &port) != 2 ||
			    port != DNS_PORT)
				continue;
			/* Words of the host's order; the last one is an IPv4 address, or 0: any. */
			sscanf(local + strlen(local) - 8, "%lx", &word);
			if (word == 0 || (i == 0 && word == address)) {
				fclose(in);
				return true;
			}
		}
		fclose(in);
	}
	return false;
}

static bool is_deaf(const char *dns4)
{
	struct in_addr a;

	if (inet_pton(AF_INET, dns4, &a) != 1 || ntohl(a.s_addr) >> 24 != IN_LOOPBACKNET)
		return false;
	return !listens(a.s_addr);
}

/* libslirp tries both. */
static bool may_ping(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_ICMP);

	if (fd < 0)
		fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
	if (fd < 0)
		return false;
	close(fd);
	return true;
}

static bool has_ipv6(void)
{
	struct ifaddrs *all, *a;

	if (getifaddrs(&all) < 0)
		return false;
	for (a = all; a; a = a->ifa_next) {
		const struct sockaddr_in6 *s = (const void *)a->ifa_addr;

		if (s && s->sin6_family == AF_INET6 && !(a->ifa_flags & IFF_LOOPBACK) &&
		    !IN6_IS_ADDR_LINKLOCAL(&s->sin6_addr))
			break;
	}
	freeifaddrs(all);
	return a != NULL;
}

void user_host_look(struct user_host *h, const char *resolv)
{
	*h = (struct user_host){.resolv_error = 0};
	read_resolv(h, resolv);
	h->dns_deaf = is_deaf(h->dns4);
	h->ping = may_ping();
	h->ipv6 = has_ipv6();
}

bool user_host_resolves(const struct user_host *h, const char *resolv, char *buf, size_t size)
{
	buf[0] = '\0';
	if (h->resolv_error)
		snprintf(buf, size,
		         "%s: %s: the guest's name server 10.0.2.3 will not answer: write a line "
		         "\"nameserver ADDRESS\" with an IPv4 address into it",
		         resolv, strerror(h->resolv_error));
	else if (!h->dns4[0] && h->dns6[0])
		snprintf(
			buf, size,
			"%s has IPv6 name servers only (%s): the guest's name server 10.0.2.3 will "
			"not answer, fec0::3 does: add a line \"nameserver ADDRESS\" with an IPv4 "
			"address, or let the guest ask fec0::3",
			resolv, h->dns6);
	else if (!h->dns4[0])
		snprintf(
			buf, size,
			"%s has no name server: the guest's, 10.0.2.3, will not answer: add a line "
			"\"nameserver ADDRESS\" with an IPv4 address",
			resolv);
	else if (h->dns_deaf)
		snprintf(
			buf, size,
			"%s says that %s is the name server, but no program listens there, in this "
			"network namespace: the guest's name server 10.0.2.3 will not answer: put "
			"another IPv4 address in front of it",
			resolv, h->dns4);
	return !buf[0];
}
