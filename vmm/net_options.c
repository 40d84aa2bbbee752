/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: `--net` takes a list of key=value words, of which the first may be a port's
 * name alone. One table of keys; each has a function that judges its value.
 */
#include "vmm/net_options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/net/mac.h"
#include "vmm/nearest.h"
#include "vmm/option.h"
#include "vmm/util.h"

#define NET_WAIT_S        10 /* for a vhost-user back-end, unless the user says */
#define NET_SWITCH_WAIT_S 10 /* at most, while the guest runs: the main loop waits, too */

/* As option.h says, of `--net`. */
static int bad(struct err *err, const char *key, const char *value, const char *expected)
{
	return option_bad(err, "--net", key, value, expected);
}

static int number(const char *key, const char *value, unsigned min, unsigned max, unsigned *out,
                  struct err *err)
{
	return option_number("--net", key, value, min, max, out, err);
}

static int either(const char *key, const char *value, const char *no, const char *yes, bool *out,
                  struct err *err)
{
	return option_either("--net", key, value, no, yes, out, err);
}

static int copy(char *to, size_t size, const char *key, const char *value, struct err *err)
{
	if (strlen(value) >= size)
		return err_set(err, -EINVAL, "--net %s=%s: longer than %zu bytes", key, value,
		               size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static const char *const datapaths[NET_DATAPATHS] = {
	[NET_DATAPATH_VMM] = "vmm",
	[NET_DATAPATH_VHOST_NET] = "vhost-net",
	[NET_DATAPATH_VHOST_USER] = "vhost-user",
};

const char *net_datapath_name(enum net_datapath datapath)
{
	return datapaths[datapath];
}

static int bad_datapath(struct err *err, const char *key, const char *value, const char *words)
{
	struct nearest near = nearest_to(value);
	char hint[NEAREST_HINT_MAX], expected[128];

	for (size_t i = 0; i < ARRAY_SIZE(datapaths); i++)
		nearest_try(&near, datapaths[i]);
	snprintf(expected, sizeof(expected), "%s%s", words, nearest_hint(&near, hint));
	return bad(err, key, value, expected);
}

static int set_port(struct net_options *o, const char *value, struct err *err)
{
	static const struct {
		const char *name;
		enum net_port port;
		bool wants_where, may_where;
	} ports[] = {
		{"user", NET_PORT_USER, false, false}, {"tap", NET_PORT_TAP, false, true},
		{"fd", NET_PORT_FD, true, true},       {"socket", NET_PORT_SOCKET, true, true},
		{"none", NET_PORT_NONE, false, false},
	};
	struct nearest near = nearest_to(value);
	char hint[NEAREST_HINT_MAX], expected[128];
	const char *colon = strchr(value, ':');
	size_t len = colon ? (size_t)(colon - value) : strlen(value);

	for (size_t i = 0; i < ARRAY_SIZE(ports); i++) {
		unsigned fd = 0;

		if (strlen(ports[i].name) != len || strncmp(ports[i].name, value, len) != 0)
			continue;
		if ((ports[i].wants_where && !colon) || (colon && !ports[i].may_where))
			break;
		o->port = ports[i].port;
		o->has_port = true;
		if (o->port == NET_PORT_FD) {
			int rc = number("port", colon + 1, 3, 65535, &fd, err);

			o->fd = (int)fd;
			return rc;
		}
		return colon ? copy(o->where, sizeof(o->where), "port", colon + 1, err) : 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		nearest_try(&near, ports[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(datapaths); i++)
		nearest_try(&near, datapaths[i]);
	snprintf(expected, sizeof(expected), "user, tap, tap:NAME, fd:N, socket:PATH or none%s",
	         nearest_hint(&near, hint));
	return bad(err, "port", value, expected);
}

static int set_datapath(struct net_options *o, const char *value, struct err *err)
{
	for (unsigned i = 0; i < ARRAY_SIZE(datapaths); i++) {
		if (strcmp(datapaths[i], value) == 0) {
			o->datapath = (enum net_datapath)i;
			return 0;
		}
	}
	return bad_datapath(err, "datapath", value, "vmm, vhost-net or vhost-user");
}

static int set_fallback(struct net_options *o, const char *value, struct err *err)
{
	o->has_fallback = true;
	for (o->fallback = 0; o->fallback < NET_DATAPATH_VHOST_USER; o->fallback++)
		if (strcmp(datapaths[o->fallback], value) == 0)
			return 0;
	return bad_datapath(err, "fallback", value, "vmm or vhost-net");
}

static int set_failback(struct net_options *o, const char *value, struct err *err)
{
	return either("failback", value, "off", "on", &o->failback, err);
}

/* "off", or names with '+' between them. */
static int set_switchable(struct net_options *o, const char *value, struct err *err)
{
	const char *at = value;

	o->switchable = 0;
	o->has_switchable = true;
	if (strcmp(value, "off") == 0)
		return 0;
	for (;;) {
		size_t len = strcspn(at, "+");
		unsigned i;

		for (i = 0; i < ARRAY_SIZE(datapaths); i++)
			if (strlen(datapaths[i]) == len && strncmp(datapaths[i], at, len) == 0)
				break;
		if (i == ARRAY_SIZE(datapaths))
			return bad(err, "switchable", value,
			           "off, or some of vmm+vhost-net+vhost-user");
		o->switchable |= BIT(i);
		if (!at[len])
			return 0;
		at += len + 1;
	}
}

static int set_ring(struct net_options *o, const char *value, struct err *err)
{
	return either("ring", value, "split", "packed", &o->packed, err);
}

static int set_queues(struct net_options *o, const char *value, struct err *err)
{
	return number("queues", value, 1, PORT_QUEUES_MAX, &o->queues, err);
}

static int set_queue_size(struct net_options *o, const char *value, struct err *err)
{
	unsigned n = 0;
	int rc = option_power("--net", "queue-size", value, 2, NET_QUEUE_MAX, &n, err);

	o->queue_size = (uint16_t)n;
	return rc;
}

static int set_mac(struct net_options *o, const char *value, struct err *err)
{
	o->has_mac = true;
	return net_parse_mac(value, o->mac) == 0
	               ? 0
	               : bad(err, "mac", value,
	                     "an address like 52:54:00:12:34:56; a driver takes neither zero nor "
	                     "a group's (an odd first number: multicast, broadcast)");
}

static int set_mtu(struct net_options *o, const char *value, struct err *err)
{
	return number("mtu", value, 68, 65535, &o->mtu, err);
}

static int set_offloads(struct net_options *o, const char *value, struct err *err)
{
	return either("offloads", value, "off", "on", &o->offloads, err);
}

static int set_poll(struct net_options *o, const char *value, struct err *err)
{
	return number("poll-us", value, 0, 1000000, &o->poll_us, err);
}

static int set_hostfwd(struct net_options *o, const char *value, struct err *err)
{
	struct port_user_config *u = &o->user;

	if (u->nr_forwards == PORT_FORWARDS_MAX)
		return bad(err, "hostfwd", value, "at most 32 of them");
	return port_parse_forward(value, &u->forwards[u->nr_forwards++], err);
}

static int set_pcap(struct net_options *o, const char *value, struct err *err)
{
	return copy(o->pcap, sizeof(o->pcap), "pcap", value, err);
}

static int set_id(struct net_options *o, const char *value, struct err *err)
{
	return option_id("--net", value, o->id, sizeof(o->id), err);
}

static int set_bridge(struct net_options *o, const char *value, struct err *err)
{
	return copy(o->bridge, sizeof(o->bridge), "bridge", value, err);
}

static int set_server(struct net_options *o, const char *value, struct err *err)
{
	return either("server", value, "off", "on", &o->server, err);
}

static int set_socket(struct net_options *o, const char *value, struct err *err)
{
	if (!value[0])
		return bad(err, "socket", value, "the path of a vhost-user back-end's socket");
	return copy(o->vhost_socket, sizeof(o->vhost_socket), "socket", value, err);
}

static int set_wait(struct net_options *o, const char *value, struct err *err)
{
	unsigned seconds;

	o->has_wait = true;
	if (strcmp(value, "on") == 0 || strcmp(value, "off") == 0) {
		o->wait_s = strcmp(value, "on") == 0 ? VHOST_USER_WAIT_FOREVER : 0;
		return 0;
	}
	if (number("wait", value, 1, 86400, &seconds, NULL) < 0)
		return bad(err, "wait", value, "on, off or a number of seconds from 1 to 86400");
	o->wait_s = seconds;
	return 0;
}

static int set_local(struct net_options *o, const char *value, struct err *err)
{
	o->datagram = true;
	return copy(o->local, sizeof(o->local), "local", value, err);
}

static const struct {
	const char *name;
	int (*set)(struct net_options *o, const char *value, struct err *err);
	bool may_switch; /* while the guest runs */
} keys[] = {
	/* besides those of every virtio device, which may not */
	{"port", set_port, true},
	{"datapath", set_datapath, true},
	{"ring", set_ring, false},
	{"queues", set_queues, false},
	{"queue-size", set_queue_size, false},
	{"mac", set_mac, false},
	{"mtu", set_mtu, false},
	{"offloads", set_offloads, false},
	{"poll-us", set_poll, true},
	{"hostfwd", set_hostfwd, true},
	{"pcap", set_pcap, false},
	{"id", set_id, false},
	{"bridge", set_bridge, true},
	{"server", set_server, true},
	{"local", set_local, true},
	{"socket", set_socket, true},
	{"wait", set_wait, true},
	{"switchable", set_switchable, false},
	{"fallback", set_fallback, true},
	{"failback", set_failback, true},
};

static int unknown_key(const char *key, const char *value, struct err *err)
{
	struct nearest near = nearest_to(key);
	char hint[NEAREST_HINT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		nearest_try(&near, keys[i].name);
	virtio_options_near(&near);
	return err_set(err, -EINVAL, "--net %s=%s: unknown key%s; see `man trivm`", key, value,
	               nearest_hint(&near, hint));
}

static int set_word(struct net_options *o, char *word, bool first, struct err *err)
{
	char *value = strchr(word, '=');
	int rc;

	if (!value && strcmp(word, "server") == 0)
		return set_server(o, "on", err);
	/* The first word may be the port alone: "user", "tap:tap0". */
	if (!value)
		return first ? set_port(o, word, err)
		             : err_set(err, -EINVAL, "--net %s: expected KEY=VALUE", word);
	*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i].name, word) == 0)
			return keys[i].set(o, value, err);
	rc = virtio_options_word(&o->virtio, "--net", word, value, err);
	if (rc == 0)
		return unknown_key(word, value, err);
	return rc < 0 ? rc : 0;
}

/* Words that the kernel's datapath does not go with. */
static int check_vhost_net(const struct net_options *o, struct err *err)
{
	if (o->port != NET_PORT_TAP && o->port != NET_PORT_FD)
		return err_set(err, -EINVAL,
		               "--net datapath=vhost-net: the kernel moves packets to a tap only: "
		               "port=tap, tap:NAME or fd:N");
	if (o->pcap[0])
		return err_set(err, -EINVAL,
		               "--net pcap=%s: with datapath=vhost-net packets do not pass through "
		               "trivm: record them on the tap (tcpdump -i TAP -w %s), or use "
		               "datapath=vmm",
		               o->pcap, o->pcap);
	return 0;
}

static int check(const struct net_options *o, struct err *err);

/* The port is the fallback's: judged as if that were the datapath. */
static int check_fallback(const struct net_options *o, struct err *err)
{
	struct net_options judged = *o;

	judged.datapath = o->fallback;
	judged.has_fallback = judged.failback = judged.has_wait = judged.server = false;
	judged.vhost_socket[0] = '\0';
	return check(&judged, err);
}

static int check_vhost_user(const struct net_options *o, struct err *err)
{
	if (!o->vhost_socket[0])
		return err_set(err, -EINVAL,
		               "--net datapath=vhost-user: it takes the back-end's socket=PATH");
	if (o->pcap[0])
		return err_set(
			err, -EINVAL,
			"--net pcap=%s: with datapath=vhost-user packets do not pass through "
			"trivm: record them in the back-end, or use datapath=vmm",
			o->pcap);
	if (o->has_fallback)
		return check_fallback(o, err);
	if (o->has_port)
		return err_set(
			err, -EINVAL,
			"--net port: with datapath=vhost-user the back-end is the port; give "
			"socket=PATH alone, or the port for a fallback=vmm|vhost-net");
	if (o->poll_us || o->datagram || o->bridge[0] || o->user.nr_forwards)
		return err_set(err, -EINVAL,
		               "--net poll-us, local, bridge, hostfwd: not with "
		               "datapath=vhost-user");
	return 0;
}

/* Words that only some ports know. */
static int check(const struct net_options *o, struct err *err)
{
	if (o->datapath == NET_DATAPATH_VHOST_USER)
		return check_vhost_user(o, err);
	if (o->failback && !o->has_fallback)
		return err_set(err, -EINVAL, "--net failback=on: only with fallback=vmm|vhost-net");
	if (o->vhost_socket[0] || o->has_wait || o->has_fallback)
		return err_set(err, -EINVAL,
		               "--net socket, wait, fallback: only with datapath=vhost-user (a "
		               "port is called "
		               "port=socket:PATH)");
	if (o->mtu > PORT_USER_MTU_MAX && o->port == NET_PORT_USER)
		return err_set(err, -EINVAL,
		               "--net mtu=%u: the user network carries at most %u: use mtu=%u, or "
		               "port=tap",
		               o->mtu, PORT_USER_MTU_MAX, PORT_USER_MTU_MAX);
	if (o->user.nr_forwards && o->port != NET_PORT_USER)
		return err_set(err, -EINVAL, "--net hostfwd: only with port=user");
	if (o->bridge[0] && (o->port != NET_PORT_TAP || o->where[0]))
		return err_set(err, -EINVAL,
		               "--net bridge=%s: only with port=tap and a new interface",
		               o->bridge);
	if ((o->server || o->datagram) && o->port != NET_PORT_SOCKET)
		return err_set(err, -EINVAL, "--net server, local: only with port=socket");
	if (o->queues > 1 && o->port != NET_PORT_TAP && o->port != NET_PORT_NONE)
		return err_set(err, -EINVAL, "--net queues=%u: this port has one queue only",
		               o->queues);
	return o->datapath == NET_DATAPATH_VHOST_NET ? check_vhost_net(o, err) : 0;
}

int net_options_parse(struct net_options *o, const char *text, struct err *err)
{
	char *words = strdup(text), *rest = words;
	bool first = true;
	int rc = 0;

	*o = (struct net_options){.fd = -1,
	                          .queues = 1,
	                          .queue_size = 256,
	                          .offloads = true,
	                          .wait_s = NET_WAIT_S,
	                          .switchable = BIT(NET_DATAPATHS) - 1};
	if (!words)
		return err_errno(err, -ENOMEM, "--net");
	for (char *word; rc == 0 && (word = strsep(&rest, ",")); first = false)
		rc = set_word(o, word, first, err);
	free(words);
	return rc == 0 ? check(o, err) : rc;
}

/* What a port's words have set. */
static void forget_port(struct net_options *o)
{
	o->where[0] = o->bridge[0] = o->local[0] = '\0';
	o->fd = -1;
	o->server = o->datagram = false;
	o->user = (struct port_user_config){.nr_forwards = 0};
}

static int switch_word(struct net_options *o, char *word, struct err *err)
{
	const char *equals = strchr(word, '=');
	size_t len = equals ? (size_t)(equals - word) : 0;
	bool may_switch = !virtio_options_know(word, len);

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		if (!equals || strlen(keys[i].name) != len || memcmp(keys[i].name, word, len) != 0)
			continue;
		may_switch = keys[i].may_switch;
		if (keys[i].set == set_port)
			forget_port(o);
	}
	if (!may_switch)
		return err_set(err, -EINVAL, "%s: this cannot change while the guest runs", word);
	return set_word(o, word, false, err);
}

/* The port's words stay for the day when it is needed again, but do not count for a back-end. */
static int check_switched(const struct net_options *o, struct err *err)
{
	struct net_options judged = *o;

	if (o->datapath != NET_DATAPATH_VHOST_USER) {
		judged.has_fallback = judged.failback = false;
	} else if (!o->has_fallback) {
		forget_port(&judged);
		judged.server = o->server;
		judged.poll_us = 0;
	}
	return check(&judged, err);
}

int net_options_switch(struct net_options *o, const char *spec, struct err *err)
{
	struct net_options next = *o;
	char *words = strdup(spec), *rest = words, *word;
	int rc;

	if (!words)
		return err_errno(err, -ENOMEM, "%s", spec);
	next.has_port = next.has_wait = false;
	next.vhost_socket[0] = '\0';
	next.wait_s = 1;
	word = strsep(&rest, ",");
	rc = strchr(word, '=') ? switch_word(&next, word, err) : set_datapath(&next, word, err);
	/* The other side's words: they do not go over from a port to a back-end, or back. */
	if ((next.datapath == NET_DATAPATH_VHOST_USER) != (o->datapath == NET_DATAPATH_VHOST_USER))
		next.server = false;
	while (rc == 0 && (word = strsep(&rest, ",")))
		rc = switch_word(&next, word, err);
	free(words);
	if (rc == 0 && !(next.switchable & BIT(next.datapath)) && next.datapath != o->datapath)
		rc = err_set(err, -EPERM, "%s: --net switchable= does not allow it",
		             datapaths[next.datapath]);
	if (rc == 0 && next.has_wait && next.wait_s > NET_SWITCH_WAIT_S)
		rc = err_set(err, -EINVAL,
		             "%s: while the guest runs a back-end is waited for %d s at most; "
		             "wait=off goes to it at once, with the link down until it is there",
		             spec, NET_SWITCH_WAIT_S);
	if (rc == 0)
		rc = check_switched(&next, err);
	if (rc == 0)
		*o = next;
	return rc;
}

bool net_options_same_port(const struct net_options *a, const struct net_options *b)
{
	return a->port == b->port && strcmp(a->where, b->where) == 0 && a->fd == b->fd &&
	       strcmp(a->bridge, b->bridge) == 0 && strcmp(a->local, b->local) == 0 &&
	       a->server == b->server && a->datagram == b->datagram &&
	       memcmp(&a->user, &b->user, sizeof(a->user)) == 0;
}
