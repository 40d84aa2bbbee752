/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * port_user: the tests are the guest. They speak ARP, DHCP, ICMP, UDP, TCP and IPv6 by raw frames
 * to libslirp, with servers and clients of this process as the host's; then to a libslirp of their
 * own making, which can be as unreasonable as is needed to see the timers and the flow control.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/net/port.h"
#include "devices/net/port_priv.h"
#include "devices/net/slirp_lib.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define PATIENCE 5000 /* ms */
#define GATEWAY  0x0a000202
#define GUEST    0x0a00020f

static const uint8_t guest_mac[6] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};
static const uint8_t gateway_mac[6] = {0x52, 0x55, 0x0a, 0x00, 0x02, 0x02};
static const uint8_t everybody[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static bool have_slirp;
static struct port_user_config config;
static struct port *port;
static uint8_t frame[PORT_FRAME_MAX + 100], got[PORT_FRAME_MAX + 100];
static size_t got_len;

static void open_user(void)
{
	struct err err = {0};

	if (port_user_open(&port, &config, &err) < 0)
		fail_msg("%s", err.msg);
}

static int with_port(void **state)
{
	(void)state;
	config = (struct port_user_config){0};
	port = NULL;
	return 0;
}

static int close_user(void **state)
{
	(void)state;
	port_close(port);
	port = NULL;
	return 0;
}

static void need_slirp(void)
{
	if (!have_slirp)
		skip();
}

/* --- Frames --- */

static void put16(uint8_t *p, unsigned v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

static unsigned get16(const uint8_t *p)
{
	return (unsigned)p[0] << 8 | p[1];
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static uint32_t sum16(const uint8_t *p, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? p[i] : (uint32_t)p[i] << 8;
	return sum;
}

static unsigned fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static void ether(const uint8_t *to, unsigned type)
{
	memset(frame, 0, 1600);
	memcpy(frame, to, 6);
	memcpy(frame + 6, guest_mac, 6);
	put16(frame + 12, type);
}

/* IPv4 with @len bytes behind its header; returns the length of the frame. */
static size_t ip4(uint32_t src, uint32_t dst, unsigned proto, size_t len)
{
	uint8_t *ip = frame + 14;

	ip[0] = 0x45;
	put16(ip + 2, (unsigned)(20 + len));
	ip[8] = 64;
	ip[9] = (uint8_t)proto;
	put32(ip + 12, src);
	put32(ip + 16, dst);
	put16(ip + 10, 0);
	put16(ip + 10, fold(sum16(ip, 20, 0)));
	return 34 + len;
}

static void send_frame(size_t len)
{
	assert_int_equal(write(port->fds[0], frame, len), len);
}

static void send_udp(const uint8_t *to, uint32_t src, unsigned sport, uint32_t dst, unsigned dport,
                     const void *data, size_t len)
{
	ether(to, 0x0800);
	put16(frame + 34, sport);
	put16(frame + 36, dport);
	put16(frame + 38, (unsigned)(8 + len));
	memcpy(frame + 42, data, len);
	send_frame(ip4(src, dst, IPPROTO_UDP, 8 + len));
}

static void send_tcp(unsigned sport, unsigned dport, uint32_t seq, uint32_t ack, unsigned flags,
                     const void *data, size_t len)
{
	uint8_t pseudo[12] = {0};
	uint8_t *tcp = frame + 34;

	ether(gateway_mac, 0x0800);
	put16(tcp, sport);
	put16(tcp + 2, dport);
	put32(tcp + 4, seq);
	put32(tcp + 8, ack);
	tcp[12] = 0x50;
	tcp[13] = (uint8_t)flags;
	put16(tcp + 14, 65000);
	memcpy(tcp + 20, data, len);
	put32(pseudo, GUEST);
	put32(pseudo + 4, GATEWAY);
	pseudo[9] = IPPROTO_TCP;
	put16(pseudo + 10, (unsigned)(20 + len));
	put16(tcp + 16, fold(sum16(tcp, 20 + len, sum16(pseudo, 12, 0))));
	send_frame(ip4(GUEST, GATEWAY, IPPROTO_TCP, 20 + len));
}

static void send_arp(unsigned op, uint32_t src, uint32_t dst, const uint8_t *to)
{
	ether(to, 0x0806);
	put16(frame + 14, 1);
	put16(frame + 16, 0x0800);
	frame[18] = 6;
	frame[19] = 4;
	put16(frame + 20, op);
	memcpy(frame + 22, guest_mac, 6);
	put32(frame + 28, src);
	put32(frame + 38, dst);
	send_frame(42);
}

/* The next frame; false: none within @ms. */
static bool next_frame(int ms)
{
	struct pollfd p = {.fd = port->fds[0], .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, ms) != 1)
		return false;
	n = read(port->fds[0], got, sizeof(got));
	assert_true(n >= PORT_FRAME_MIN);
	got_len = (size_t)n;
	return true;
}

/* What the guest's kernel would do by itself: say where it is. True: @got was such a question. */
static bool answer_arp(void)
{
	if (get16(got + 12) != 0x0806 || get16(got + 20) != 1 || get32(got + 38) != GUEST)
		return false;
	send_arp(2, GUEST, GATEWAY, gateway_mac);
	return true;
}

static bool is_ip(unsigned proto)
{
	return got_len >= 34 && get16(got + 12) == 0x0800 && got[14] == 0x45 && got[23] == proto;
}

/* The next frame of that IP protocol; others go by. */
static void expect_ip(unsigned proto)
{
	for (;;) {
		if (!next_frame(PATIENCE))
			fail_msg("no frame of IP protocol %u comes", proto);
		if (is_ip(proto))
			return;
		answer_arp();
	}
}

static void expect_silence(int ms)
{
	while (next_frame(ms))
		if (!answer_arp() && get16(got + 12) != 0x86dd)
			fail_msg("a frame of type %04x comes", get16(got + 12));
}

/* A socket of the host on 127.0.0.1, listening, or bound for UDP. */
static int host_socket(int type, uint16_t *number)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 5), 0);
	*number = ntohs(a.sin_port);
	return fd;
}

static uint16_t free_port(int type)
{
	uint16_t number;

	close(host_socket(type, &number));
	return number;
}

static int host_connect(int type, uint16_t number)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
	                        .sin_port = htons(number),
	                        .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	return fd;
}

static bool readable(int fd, int ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, ms) == 1;
}

/* --- The library --- */

static bool is_mapped(const char *name)
{
	FILE *f = fopen("/proc/self/maps", "re");
	bool found = false;
	char line[512];

	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		found = found || strstr(line, name);
	fclose(f);
	return found;
}

static void library_is_loaded_late(void **state)
{
	struct err err = {0};

	(void)state;
	/* A VM without this port has neither it nor what it brings. */
	assert_false(is_mapped("libslirp"));
	assert_false(is_mapped("libglib"));
	assert_int_equal(slirp_lib_load("libslirp-none.so.0", &err), -ENOENT);
	assert_non_null(strstr(err.msg, "libslirp-none.so.0"));
	assert_non_null(strstr(err.msg, "apt install libslirp0"));
	assert_int_equal(slirp_lib_load("libm.so.6", &err), -ENOSYS);
	assert_non_null(strstr(err.msg, "slirp_new"));
	assert_null(slirp_lib.handle);
	if (slirp_lib_load(SLIRP_LIB_NAME, &err) < 0)
		skip(); /* with everything that needs it */
	have_slirp = true;
	assert_true(is_mapped("libslirp"));
	assert_int_equal(slirp_lib_load("libslirp-none.so.0", &err), 0); /* is there already */
}

/* --- What a guest does --- */

static void looks_like_a_port(void **state)
{
	char text[64];

	(void)state;
	need_slirp();
	open_user();
	assert_string_equal(port->kind, "user");
	assert_int_equal(port->queues, 1);
	assert_false(port->vnet_hdr);
	assert_true(port->guest_offloads == 0 && port->host_offloads == 0);
	assert_true(fcntl(port->fds[0], F_GETFL) & O_NONBLOCK);
	assert_int_equal(port->fds[1], -1);
	port->ops->describe(port, text, sizeof(text));
	assert_non_null(strstr(text, "10.0.2.0/24"));
}

static void gateway_answers_arp(void **state)
{
	(void)state;
	need_slirp();
	open_user();
	send_arp(1, GUEST, GATEWAY, everybody);
	do
		assert_true(next_frame(PATIENCE));
	while (get16(got + 12) != 0x0806);
	assert_memory_equal(got, guest_mac, 6);
	assert_int_equal(get16(got + 20), 2);
	assert_memory_equal(got + 22, gateway_mac, 6);
	assert_int_equal(get32(got + 28), GATEWAY);
	send_arp(1, GUEST, 0x0a000203, everybody); /* DNS */
	assert_true(next_frame(PATIENCE));
	assert_int_equal(get32(got + 28), 0x0a000203);
	send_arp(1, GUEST, 0x0a000263, everybody); /* nobody */
	expect_silence(100);
}

/* The value of a DHCP option in @got, or NULL. */
static const uint8_t *dhcp_option(uint8_t code)
{
	const uint8_t *end = got + got_len;

	for (const uint8_t *o = got + 42 + 240; o + 2 <= end && *o != 255; o += 2 + o[1])
		if (*o == code)
			return o + 2;
	return NULL;
}

static void send_dhcp(uint8_t type)
{
	uint8_t msg[300] = {1, 1, 6, 0, 0xde, 0xad, 0xbe, 0xef};
	uint8_t options[] = {0x63, 0x82, 0x53, 0x63, 53, 1,  type, 50, 4, 10,
	                     0,    2,    15,   54,   4,  10, 0,    2,  2, 255};

	memcpy(msg + 28, guest_mac, 6);
	memcpy(msg + 236, options, sizeof(options));
	send_udp(everybody, 0, 68, 0xffffffff, 67, msg, sizeof(msg));
}

static void dhcp_gives_the_address(void **state)
{
	(void)state;
	need_slirp();
	open_user();
	for (uint8_t type = 1; type <= 3; type += 2) { /* DISCOVER, REQUEST */
		send_dhcp(type);
		expect_ip(IPPROTO_UDP);
		assert_int_equal(get16(got + 36), 68);
		assert_int_equal(get32(got + 42 + 4), 0xdeadbeef);
		assert_int_equal(get32(got + 42 + 16), GUEST); /* yiaddr */
		assert_non_null(dhcp_option(53));
		assert_int_equal(*dhcp_option(53), type == 1 ? 2 : 5); /* OFFER, ACK */
		assert_int_equal(get32(dhcp_option(1)), 0xffffff00);
		assert_int_equal(get32(dhcp_option(3)), GATEWAY);
		assert_int_equal(get32(dhcp_option(6)), 0x0a000203);
		assert_int_equal(get32(dhcp_option(54)), GATEWAY);
	}
}

static void gateway_answers_ping(void **state)
{
	(void)state;
	need_slirp();
	open_user();
	ether(gateway_mac, 0x0800);
	frame[34] = 8;
	put16(frame + 38, 0x1234);
	put16(frame + 40, 7);
	memcpy(frame + 42, "are you there?", 14);
	put16(frame + 36, fold(sum16(frame + 34, 22, 0)));
	send_frame(ip4(GUEST, GATEWAY, IPPROTO_ICMP, 22));
	expect_ip(IPPROTO_ICMP);
	assert_int_equal(got[34], 0);
	assert_int_equal(get16(got + 38), 0x1234);
	assert_memory_equal(got + 42, "are you there?", 14);
	assert_int_equal(get32(got + 26), GATEWAY);
	assert_memory_equal(got, guest_mac, 6);
}

/* An echo request in one frame of @mtu bytes; its answer, complete and in one frame, too. */
static void ping_of(unsigned mtu)
{
	unsigned data = mtu - 28;

	ether(gateway_mac, 0x0800);
	memset(frame + 34, 0, mtu);
	frame[34] = 8;
	for (unsigned i = 0; i < data; i++)
		frame[42 + i] = (uint8_t)(i * 7);
	put16(frame + 36, fold(sum16(frame + 34, 8 + data, 0)));
	send_frame(ip4(GUEST, GATEWAY, IPPROTO_ICMP, 8 + data));
	expect_ip(IPPROTO_ICMP);
	assert_int_equal(got[34], 0);
	assert_int_equal(got_len, 14 + mtu);
	for (unsigned i = 0; i < data; i++)
		assert_int_equal(got[42 + i], (uint8_t)(i * 7));
}

static void frames_up_to_the_mtu_pass(void **state)
{
	static const unsigned mtus[] = {0, 1280, 1500, 9000, PORT_USER_MTU_MAX};
	static uint8_t buf[PORT_USER_MTU_MAX];
	struct sockaddr_in from;
	socklen_t len;
	uint16_t number;
	int fd;

	(void)state;
	need_slirp();
	for (size_t i = 0; i < ARRAY_SIZE(mtus); i++) {
		unsigned mtu = mtus[i] ? mtus[i] : PORT_USER_MTU;

		config.mtu = mtus[i];
		open_user();
		assert_int_equal(port->mtu, mtu);
		ping_of(64);
		ping_of(mtu);
		/* Through a socket of the host's, and back. */
		fd = host_socket(SOCK_DGRAM, &number);
		len = sizeof(from);
		memset(buf, (int)i, sizeof(buf));
		send_udp(gateway_mac, GUEST, 4000, GATEWAY, number, buf, mtu - 28);
		assert_true(readable(fd, PATIENCE));
		assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len),
		                 mtu - 28);
		assert_int_equal(sendto(fd, buf, mtu - 28, 0, (struct sockaddr *)&from, len),
		                 mtu - 28);
		expect_ip(IPPROTO_UDP);
		assert_int_equal(got_len, 14 + mtu);
		close(fd);
		port_close(port);
		port = NULL;
	}
}

static void udp_reaches_the_host_and_comes_back(void **state)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint16_t number;
	char buf[64];
	int fd = host_socket(SOCK_DGRAM, &number);

	(void)state;
	need_slirp();
	open_user();
	send_udp(gateway_mac, GUEST, 4000, GATEWAY, number, "to the host", 11);
	assert_true(readable(fd, PATIENCE));
	assert_int_equal(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len), 11);
	assert_memory_equal(buf, "to the host", 11);
	assert_int_equal(sendto(fd, "to the guest", 12, 0, (struct sockaddr *)&from, len), 12);
	expect_ip(IPPROTO_UDP);
	assert_int_equal(get32(got + 26), GATEWAY);
	assert_int_equal(get32(got + 30), GUEST);
	assert_int_equal(get16(got + 34), number);
	assert_int_equal(get16(got + 36), 4000);
	assert_memory_equal(got + 42, "to the guest", 12);
	close(fd);
}

static void tcp_reaches_the_host_and_comes_back(void **state)
{
	uint32_t theirs, acked = 0;
	uint16_t number;
	char buf[64];
	int listener = host_socket(SOCK_STREAM, &number), fd;

	(void)state;
	need_slirp();
	open_user();
	send_tcp(5000, number, 1000, 0, TH_SYN, "", 0);
	expect_ip(IPPROTO_TCP);
	assert_int_equal(got[47], TH_SYN | TH_ACK);
	assert_int_equal(get16(got + 34), number);
	assert_int_equal(get32(got + 42), 1001);
	theirs = get32(got + 38) + 1;
	send_tcp(5000, number, 1001, theirs, TH_ACK, "", 0);
	assert_true(readable(listener, PATIENCE));
	fd = accept(listener, NULL, NULL);
	send_tcp(5000, number, 1001, theirs, TH_ACK | TH_PUSH, "hello", 5);
	assert_true(readable(fd, PATIENCE));
	assert_int_equal(read(fd, buf, sizeof(buf)), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_int_equal(write(fd, "goodbye", 7), 7);
	/* An acknowledgement of its own, perhaps, and the answer. */
	do {
		expect_ip(IPPROTO_TCP);
		acked = get32(got + 42);
	} while (get16(got + 16) == 40);
	assert_int_equal(acked, 1006);
	assert_int_equal(get32(got + 38), theirs);
	assert_memory_equal(got + 54, "goodbye", 7);
	close(fd);
	close(listener);
}

static void forward_of_tcp_shows_up_as_a_syn(void **state)
{
	uint16_t number = free_port(SOCK_STREAM);
	int fd;

	(void)state;
	need_slirp();
	config.nr_forwards = 1;
	config.forwards[0] = (struct port_forward){
		.host_addr = "127.0.0.1", .host_port = number, .guest_port = 22};
	open_user();
	fd = host_connect(SOCK_STREAM, number);
	expect_ip(IPPROTO_TCP);
	assert_int_equal(got[47], TH_SYN);
	assert_int_equal(get32(got + 30), GUEST); /* the default: who has the first lease */
	assert_int_equal(get16(got + 36), 22);
	close(fd);
}

static void forward_of_udp_arrives(void **state)
{
	uint16_t number = free_port(SOCK_DGRAM);
	int fd;

	(void)state;
	need_slirp();
	config.nr_forwards = 1;
	config.forwards[0] = (struct port_forward){
		.udp = true, .host_port = number, .guest_addr = "10.0.2.15", .guest_port = 99};
	open_user();
	fd = host_connect(SOCK_DGRAM, number);
	assert_int_equal(write(fd, "knock", 5), 5);
	expect_ip(IPPROTO_UDP);
	assert_int_equal(get16(got + 36), 99);
	assert_memory_equal(got + 42, "knock", 5);
	/* And the guest's answer goes back. */
	send_udp(gateway_mac, GUEST, 99, get32(got + 26), get16(got + 34), "who is it", 9);
	assert_true(readable(fd, PATIENCE));
	assert_int_equal(read(fd, got, sizeof(got)), 9);
	close(fd);
}

static void forward_of_ipv6(void **state)
{
	struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(a);
	bool ok = fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a)) == 0 &&
	          getsockname(fd, (struct sockaddr *)&a, &len) == 0;

	(void)state;
	fd_close(&fd);
	need_slirp();
	if (!ok || !slirp_lib.add_hostxfwd)
		skip(); /* a host without IPv6, or an old libslirp */
	config.nr_forwards = 1;
	config.forwards[0] = (struct port_forward){.host_addr = "::1",
	                                           .guest_addr = "fec0::15",
	                                           .host_port = ntohs(a.sin6_port),
	                                           .guest_port = 80};
	open_user();
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	/* It asks for the guest first: a neighbour solicitation. */
	for (;;) {
		if (!next_frame(PATIENCE))
			fail_msg("nobody asks for fec0::15");
		if (get16(got + 12) == 0x86dd && got[20] == IPPROTO_ICMPV6 &&
		    got[54] == ND_NEIGHBOR_SOLICIT)
			break;
	}
	assert_memory_equal(got + 62, "\xfe\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\x15", 16);
	close(fd);
}

static void router_advertises_ipv6(void **state)
{
	static const uint8_t all_routers[16] = {0xff, 2, [15] = 2};
	static const uint8_t prefix[8] = {0xfe, 0xc0};
	uint8_t pseudo[40] = {0};
	bool found = false;

	(void)state;
	need_slirp();
	open_user();
	ether((const uint8_t[]){0x33, 0x33, 0, 0, 0, 2}, 0x86dd);
	frame[14] = 0x60;
	put16(frame + 18, 8);
	frame[20] = IPPROTO_ICMPV6;
	frame[21] = 255;
	memcpy(frame + 22, "\xfe\x80\0\0\0\0\0\0\x50\x54\0\xff\xfe\x12\x34\x56", 16);
	memcpy(frame + 38, all_routers, 16);
	frame[54] = ND_ROUTER_SOLICIT;
	memcpy(pseudo, frame + 22, 32);
	pseudo[35] = 8;
	pseudo[39] = IPPROTO_ICMPV6;
	put16(frame + 56, fold(sum16(frame + 54, 8, sum16(pseudo, 40, 0))));
	send_frame(62);
	do {
		if (!next_frame(PATIENCE))
			fail_msg("no router advertisement");
	} while (get16(got + 12) != 0x86dd || got[54] != ND_ROUTER_ADVERT);
	for (size_t at = 70; at + 8 <= got_len && got[at + 1]; at += 8u * got[at + 1])
		if (got[at] == ND_OPT_PREFIX_INFORMATION && at + 32 <= got_len)
			found = memcmp(got + at + 16, prefix, 8) == 0 && got[at + 2] == 64;
	assert_true(found);
}

static void restricted_guest_reaches_nobody(void **state)
{
	uint16_t number, forwarded = free_port(SOCK_STREAM);
	int fd = host_socket(SOCK_DGRAM, &number), client;
	char text[64];

	(void)state;
	need_slirp();
	config.restricted = true;
	config.nr_forwards = 1;
	config.forwards[0] = (struct port_forward){
		.host_addr = "127.0.0.1", .host_port = forwarded, .guest_port = 22};
	open_user();
	port->ops->describe(port, text, sizeof(text));
	assert_non_null(strstr(text, "restricted"));
	send_udp(gateway_mac, GUEST, 4000, GATEWAY, number, "let me out", 10);
	assert_false(readable(fd, 200));
	send_dhcp(1); /* it has an address all the same */
	expect_ip(IPPROTO_UDP);
	assert_int_equal(get32(got + 42 + 16), GUEST);
	client = host_connect(SOCK_STREAM, forwarded);
	expect_ip(IPPROTO_TCP);
	close(client);
	close(fd);
}

static void refused(int code, const char *what, const char *remedy)
{
	struct err err = {0};
	int rc = port_user_open(&port, &config, &err);

	if (rc != code)
		fail_msg("%d instead of %d (%s)", rc, code, err.msg);
	if (!strstr(err.msg, what) || !strstr(err.msg, remedy))
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.msg, what, remedy);
}

static void forwards_that_cannot_be(void **state)
{
	uint16_t tcp, udp;
	int a = host_socket(SOCK_STREAM, &tcp), b = host_socket(SOCK_DGRAM, &udp);
	char text[64];

	(void)state;
	need_slirp();
	config.nr_forwards = 1;
	config.forwards[0] =
		(struct port_forward){.host_addr = "127.0.0.1", .host_port = tcp, .guest_port = 22};
	snprintf(text, sizeof(text), "hostfwd=tcp:127.0.0.1:%u-:22", tcp);
	refused(-EADDRINUSE, text, "ss -lntp");
	config.forwards[0].udp = true;
	config.forwards[0].host_port = udp;
	snprintf(text, sizeof(text), "hostfwd=udp:127.0.0.1:%u-:22", udp);
	refused(-EADDRINUSE, text, "ss -lnup");
	snprintf(config.forwards[0].host_addr, 46, "203.0.113.1");
	refused(-EADDRNOTAVAIL, "203.0.113.1", "ip address");
	snprintf(config.forwards[0].host_addr, 46, "::1");
	refused(-EDESTADDRREQ, "hostfwd=udp:[::1]:", "the guest's IPv6 address");
	close(a);
	close(b);
}

/* xorshift: the same bytes each time */
static uint32_t noise(void)
{
	static uint32_t x = 2463534242u;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

static void strange_frames_do_no_harm(void **state)
{
	static const uint16_t types[] = {0x0800, 0x0806, 0x86dd, 0x88f8, 0x1234};
	uint16_t number;
	int fd = host_socket(SOCK_DGRAM, &number);

	(void)state;
	need_slirp();
	open_user();
	for (unsigned i = 0; i < 3000; i++) {
		size_t len = i % 10 == 0 ? noise() % sizeof(frame) : noise() % 200;

		for (size_t at = 0; at < len; at++)
			frame[at] = (uint8_t)noise();
		put16(frame + 12, types[i % 5]);
		if (i % 5 == 0)
			frame[14] = 0x45;
		while (write(port->fds[0], frame, len) < 0 && errno == EAGAIN)
			usleep(1000);
	}
	while (next_frame(50))
		;
	send_udp(gateway_mac, GUEST, 4000, GATEWAY, number, "still here", 10);
	assert_true(readable(fd, PATIENCE));
	close(fd);
}

static void two_networks_at_once(void **state)
{
	struct port *first;

	(void)state;
	need_slirp();
	open_user();
	first = port;
	open_user();
	for (unsigned i = 0; i < 20; i++) {
		struct port *other = port;

		send_dhcp(1);
		expect_ip(IPPROTO_UDP);
		assert_int_equal(get32(got + 42 + 16), GUEST);
		port = first;
		first = other;
	}
	port_close(first);
	send_arp(1, GUEST, GATEWAY, everybody);
	assert_true(next_frame(PATIENCE));
}

/* --- A libslirp of our own --- */

#define TICKS 4

static struct {
	const SlirpCb *cb;
	void *opaque;
	void *timer, *spare;
	int64_t armed_at, fired_at[TICKS];
	int pipe[2];    /* [0]: a socket of the host's, for the guest */
	unsigned extra; /* add this many more descriptors */
	_Atomic unsigned fills, ticks, sent, inputs;
	_Atomic int events; /* what came of pipe[0], all in all */
	uint32_t timeout;
	bool floods; /* each time there is something from the host, send a frame */
	int idx;
} fake;

static int64_t fake_ms(void)
{
	return fake.cb->clock_get_ns(fake.opaque) / 1000000;
}

static void fake_tick(void *opaque)
{
	unsigned n = atomic_load(&fake.ticks);

	assert_ptr_equal(opaque, &fake);
	if (n < TICKS)
		fake.fired_at[n] = fake_ms();
	if (n == 0)
		fake.cb->timer_free(fake.spare, fake.opaque);
	if (n + 1 < TICKS) {
		/* Armed twice: the later call counts. */
		fake.cb->timer_mod(fake.timer, fake_ms() + 100000, fake.opaque);
		fake.cb->timer_mod(fake.timer, fake_ms() + 30, fake.opaque);
	}
	atomic_store(&fake.ticks, n + 1);
}

static Slirp *fake_new(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque)
{
	assert_int_equal(cfg->version, 1);
	fake.cb = callbacks;
	fake.opaque = opaque;
	/* Some that are never armed, and one that is. */
	for (unsigned i = 0; i < 3; i++)
		fake.spare = callbacks->timer_new(fake_tick, NULL, opaque);
	fake.timer = callbacks->timer_new(fake_tick, &fake, opaque);
	fake.armed_at = fake_ms();
	callbacks->timer_mod(fake.timer, fake.armed_at + 30, opaque);
	return (Slirp *)&fake;
}

static void fake_cleanup(Slirp *slirp)
{
	assert_ptr_equal(slirp, &fake);
}

static void fake_fill(Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add_poll, void *opaque)
{
	(void)slirp;
	atomic_fetch_add(&fake.fills, 1);
	*timeout = fake.timeout;
	for (unsigned i = 0; i < fake.extra; i++)
		assert_int_not_equal(add_poll(fake.pipe[1], SLIRP_POLL_IN, opaque), -1);
	fake.idx = add_poll(fake.pipe[0], SLIRP_POLL_IN | SLIRP_POLL_HUP | SLIRP_POLL_ERR, opaque);
}

static void fake_poll(Slirp *slirp, int select_error, SlirpGetREventsCb get_revents, void *opaque)
{
	int events = get_revents(fake.idx, opaque);
	uint8_t buf[1514] = {0};
	unsigned n;

	(void)slirp;
	if (select_error)
		return;
	assert_int_equal(get_revents(-1, opaque), 0);
	assert_int_equal(get_revents(100000, opaque), 0);
	atomic_fetch_or(&fake.events, events);
	if (!(events & SLIRP_POLL_IN) || !fake.floods)
		return;
	for (unsigned i = 0; i < 8; i++) {
		n = atomic_fetch_add(&fake.sent, 1);
		memcpy(buf, &n, sizeof(n));
		assert_int_equal(fake.cb->send_packet(buf, sizeof(buf), fake.opaque), sizeof(buf));
	}
}

static void fake_input(Slirp *slirp, const uint8_t *pkt, int pkt_len)
{
	(void)slirp;
	(void)pkt;
	assert_true(pkt_len >= PORT_FRAME_MIN && pkt_len <= PORT_FRAME_MAX);
	atomic_fetch_add(&fake.inputs, 1);
}

static struct slirp_lib real;

static int with_fake(void **state)
{
	real = slirp_lib;
	memset(&fake, 0, sizeof(fake));
	fake.timeout = 100000;
	if (pipe(fake.pipe) < 0)
		return -1;
	slirp_lib.handle = &fake;
	slirp_lib.new = fake_new;
	slirp_lib.cleanup = fake_cleanup;
	slirp_lib.pollfds_fill = fake_fill;
	slirp_lib.pollfds_poll = fake_poll;
	slirp_lib.input = fake_input;
	return with_port(state);
}

static int without_fake(void **state)
{
	close_user(state);
	fd_close(&fake.pipe[0]);
	fd_close(&fake.pipe[1]);
	slirp_lib = real;
	return 0;
}

static void timers_fire_once_and_in_time(void **state)
{
	int64_t before;

	(void)state;
	open_user();
	for (unsigned i = 0; atomic_load(&fake.ticks) < TICKS && i < PATIENCE; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&fake.ticks), TICKS);
	usleep(50000);
	assert_int_equal(atomic_load(&fake.ticks), TICKS); /* once is once */
	before = fake.armed_at;
	for (unsigned i = 0; i < TICKS; i++) {
		if (fake.fired_at[i] - before < 30)
			fail_msg("tick %u after %d ms", i, (int)(fake.fired_at[i] - before));
		before = fake.fired_at[i];
	}
	/* It slept in between: nothing else was due. */
	assert_true(atomic_load(&fake.fills) <= TICKS + 5);
}

static void hosts_descriptors_are_watched(void **state)
{
	(void)state;
	fake.extra = 100; /* more than there is room for at first */
	open_user();
	usleep(20000);
	assert_int_equal(atomic_load(&fake.events), 0);
	assert_int_equal(write(fake.pipe[1], "x", 1), 1);
	for (unsigned i = 0; !atomic_load(&fake.events) && i < PATIENCE; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&fake.events), SLIRP_POLL_IN);
}

static void sizes_of_frames_are_checked(void **state)
{
	(void)state;
	open_user();
	memset(frame, 0, sizeof(frame));
	for (size_t len = 1; len < PORT_FRAME_MIN; len++)
		send_frame(len);
	send_frame(PORT_FRAME_MAX + 1);
	send_frame(sizeof(frame));
	send_frame(PORT_FRAME_MAX);
	send_frame(PORT_FRAME_MIN);
	for (unsigned i = 0; atomic_load(&fake.inputs) < 2 && i < PATIENCE; i++)
		usleep(1000);
	usleep(20000);
	assert_int_equal(atomic_load(&fake.inputs), 2);
}

/* One TCP segment of @flags, as IPv4 with @options words of them and this fragment field, or as IPv6. */
static size_t tcp_frame(bool v6, unsigned options, unsigned fragment, uint8_t flags)
{
	size_t at = v6 ? 54 : 34 + 4 * options;

	memset(frame, 0, 200);
	put16(frame + 12, v6 ? 0x86dd : 0x0800);
	if (v6) {
		frame[14] = 0x60;
		frame[20] = IPPROTO_TCP;
	} else {
		frame[14] = (uint8_t)(0x45 + options);
		put16(frame + 20, fragment);
		frame[23] = IPPROTO_TCP;
	}
	frame[at + 12] = 0x50;
	frame[at + 13] = flags;
	return at + 40;
}

/* CVE-2026-9539: libslirp sends its own memory when a guest says that it is urgent. */
static void urgent_tcp_does_not_reach_libslirp(void **state)
{
	unsigned refused = 0, passed = 0;
	size_t len;

	(void)state;
	open_user();
	for (unsigned v6 = 0; v6 < 2; v6++) {
		for (unsigned options = 0; options <= 10; options += 5) {
			send_frame(tcp_frame(v6, options, 0, 0x18));
			passed++;
			send_frame(tcp_frame(v6, options, 0x4000, 0x18)); /* "do not fragment" */
			passed++;
			send_frame(tcp_frame(v6, options, 0, 0x38));
			refused++;
			/* Cut before the flags. */
			len = tcp_frame(v6, options, 0, 0x18);
			send_frame(len - 40 + 12);
			refused++;
		}
	}
	/* Fragments: the first, one with an offset of 8 bytes, the last. */
	send_frame(tcp_frame(false, 0, 0x2000, 0x18));
	send_frame(tcp_frame(false, 0, 0x2001, 0x18));
	send_frame(tcp_frame(false, 0, 0x0001, 0x18));
	refused += 3;
	len = tcp_frame(true, 0, 0, 0x18);
	frame[20] = IPPROTO_FRAGMENT;
	frame[54] = IPPROTO_TCP;
	send_frame(len);
	refused++;
	/* Of others they pass. */
	len = tcp_frame(false, 0, 0x2000, 0x38);
	frame[23] = IPPROTO_UDP;
	send_frame(len);
	passed++;
	for (unsigned i = 0; i < PATIENCE && atomic_load(&fake.inputs) < passed; i++)
		usleep(1000);
	/* In order: those before the last are dealt with. */
	assert_int_equal(atomic_load(&fake.inputs), passed);
	assert_int_equal(atomic_load(&port->refused), refused);
}

static void slow_guest_makes_the_host_wait(void **state)
{
	unsigned sent, fills, n, expected = 0;

	(void)state;
	fake.floods = true;
	assert_int_equal(write(fake.pipe[1], "x", 1), 1); /* always something to read */
	open_user();
	/* Until it stops by itself. */
	for (unsigned i = 0, last = 0; i < 100; i++, last = sent) {
		usleep(20000);
		sent = atomic_load(&fake.sent);
		if (sent && sent == last)
			break;
	}
	/* Timers and the guest's frames have their turn all the same. */
	for (unsigned i = 0; atomic_load(&fake.ticks) < TICKS && i < PATIENCE; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&fake.ticks), TICKS);
	send_frame(60);
	for (unsigned i = 0; !atomic_load(&fake.inputs) && i < PATIENCE; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&fake.inputs), 1);
	fd_close(&fake.pipe[1]); /* a hang-up, on which a poll() that is not asked returns, too */
	usleep(20000);
	fills = atomic_load(&fake.fills);
	assert_true(sent > 20 && sent < 100000);
	usleep(50000);
	assert_int_equal(atomic_load(&fake.sent), sent);
	assert_true(atomic_load(&fake.fills) - fills <= 1); /* and does not spin meanwhile */
	/* Nothing was lost, and it goes on. */
	while (expected < sent + 1000) {
		if (!next_frame(PATIENCE))
			fail_msg("it does not go on after %u frames", expected);
		memcpy(&n, got, sizeof(n));
		assert_int_equal(n, expected++);
	}
}

int main(void)
{
#define USER(test) cmocka_unit_test_setup_teardown(test, with_port, close_user)
#define FAKE(test) cmocka_unit_test_setup_teardown(test, with_fake, without_fake)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(library_is_loaded_late), /* first */
		USER(looks_like_a_port),
		USER(gateway_answers_arp),
		USER(dhcp_gives_the_address),
		USER(gateway_answers_ping),
		USER(frames_up_to_the_mtu_pass),
		USER(udp_reaches_the_host_and_comes_back),
		USER(tcp_reaches_the_host_and_comes_back),
		USER(forward_of_tcp_shows_up_as_a_syn),
		USER(forward_of_udp_arrives),
		USER(forward_of_ipv6),
		USER(router_advertises_ipv6),
		USER(restricted_guest_reaches_nobody),
		USER(forwards_that_cannot_be),
		USER(strange_frames_do_no_harm),
		USER(two_networks_at_once),
		FAKE(timers_fire_once_and_in_time),
		FAKE(hosts_descriptors_are_watched),
		FAKE(sizes_of_frames_are_checked),
		FAKE(urgent_tcp_does_not_reach_libslirp),
		FAKE(slow_guest_makes_the_host_wait),
	};

	alarm(100);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
