/* SPDX-License-Identifier: BSD-2-Clause */
/* --net: every key, and for every wrong value a line that names key, value and what was expected.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vmm/net_options.h"
#include "vmm/util.h"

static struct net_options o;
static struct err err;

static void good(const char *text)
{
	err.msg[0] = '\0';
	if (net_options_parse(&o, text, &err) != 0)
		fail_msg("%s: %s", text, err.msg);
}

/* Refused, and the message has @part in it. */
static void refused(const char *text, const char *part)
{
	err.msg[0] = '\0';
	assert_true(net_options_parse(&o, text, &err) < 0);
	if (!strstr(err.msg, part))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, err.msg, part);
}

static void ports(void **state)
{
	(void)state;
	good("user");
	assert_int_equal(o.port, NET_PORT_USER);
	assert_int_equal(o.queues, 1);
	assert_int_equal(o.queue_size, 256);
	assert_true(o.offloads);
	assert_false(o.virtio.mmio || o.packed || o.virtio.notify_exit || o.virtio.inject_ioctl ||
	             o.has_mac);
	good("tap");
	assert_int_equal(o.port, NET_PORT_TAP);
	assert_string_equal(o.where, "");
	good("tap:tap7");
	assert_string_equal(o.where, "tap7");
	good("port=fd:12");
	assert_int_equal(o.port, NET_PORT_FD);
	assert_int_equal(o.fd, 12);
	good("socket:/run/a.sock,server=on");
	assert_string_equal(o.where, "/run/a.sock");
	assert_true(o.server);
	good("none");
	assert_int_equal(o.port, NET_PORT_NONE);
}

static void keys(void **state)
{
	static const uint8_t mac[] = {0x52, 0x54, 0x00, 0x12, 0x34, 0x56};

	(void)state;
	good("port=tap,datapath=vmm,transport=mmio,ring=packed,queues=4,queue-size=512,"
	     "mac=52:54:00:12:34:56,mtu=9000,offloads=off,notify=exit,inject=ioctl,poll-us=50,"
	     "pcap=/tmp/x.pcap,id=wan,bridge=br0");
	assert_true(o.virtio.mmio && o.packed && o.virtio.notify_exit && o.virtio.inject_ioctl &&
	            o.has_mac);
	assert_false(o.offloads);
	assert_int_equal(o.queues, 4);
	assert_int_equal(o.queue_size, 512);
	assert_int_equal(o.mtu, 9000);
	assert_int_equal(o.poll_us, 50);
	assert_memory_equal(o.mac, mac, sizeof(mac));
	assert_string_equal(o.pcap, "/tmp/x.pcap");
	assert_string_equal(o.id, "wan");
	assert_string_equal(o.bridge, "br0");
}

static void vhost_user(void **state)
{
	(void)state;
	good("datapath=vhost-user,socket=/run/vu.sock");
	assert_int_equal(o.datapath, NET_DATAPATH_VHOST_USER);
	assert_string_equal(o.vhost_socket, "/run/vu.sock");
	assert_false(o.server);
	assert_int_equal(o.wait_s, 10);
	good("datapath=vhost-user,socket=a,server,wait=on,queues=4,ring=packed,mtu=9000");
	assert_true(o.server);
	assert_true(o.wait_s == VHOST_USER_WAIT_FOREVER);
	good("datapath=vhost-user,socket=a,server=off,wait=off");
	assert_false(o.server);
	assert_int_equal(o.wait_s, 0);
	good("datapath=vhost-user,socket=a,wait=60");
	assert_int_equal(o.wait_s, 60);
	refused("datapath=vhost-user", "it takes the back-end's socket=PATH");
	refused("datapath=vhost-user,socket=", "--net socket=");
	refused("datapath=vhost-user,socket=a,wait=0", "wait=0: expected on, off or a number");
	refused("datapath=vhost-user,socket=a,wait=soon", "wait=soon");
	refused("tap,datapath=vhost-user,socket=a", "the back-end is the port");
	refused("datapath=vhost-user,socket=a,pcap=x", "record them in the back-end");
	refused("datapath=vhost-user,socket=a,poll-us=1", "not with datapath=vhost-user");
	refused("user,socket=a", "only with datapath=vhost-user");
	refused("user,wait=on", "only with datapath=vhost-user");
}

static void vhost_net(void **state)
{
	(void)state;
	good("tap:tap0");
	assert_int_equal(o.datapath, NET_DATAPATH_VMM);
	good("tap:tap0,datapath=vhost-net,queues=4,poll-us=50,notify=exit,inject=ioctl");
	assert_int_equal(o.datapath, NET_DATAPATH_VHOST_NET);
	assert_int_equal(o.poll_us, 50);
	good("datapath=vhost-net,port=fd:5");
	refused("user,datapath=vhost-net", "to a tap only");
	refused("none,datapath=vhost-net", "to a tap only");
	refused("tap:tap0,datapath=vhost-net,pcap=x", "tcpdump -i");
}

static void forwards(void **state)
{
	(void)state;
	good("user,hostfwd=tcp:127.0.0.1:2222-10.0.2.15:22,hostfwd=udp::53-:53");
	assert_int_equal(o.user.nr_forwards, 2);
	assert_int_equal(o.user.forwards[0].host_port, 2222);
	assert_int_equal(o.user.forwards[0].guest_port, 22);
	assert_true(o.user.forwards[1].udp);
	refused("none,hostfwd=tcp::1-:2", "only with port=user");
}

static void refusals(void **state)
{
	static const struct {
		const char *text, *part;
	} cases[] = {
		{"", "port"},
		{"usr", "--net port=usr: expected user, tap"},
		{"user:x", "port=user:x"},
		{"fd", "port=fd"},
		{"fd:2", "a number from 3"},
		{"socket", "port=socket"},
		{"user,queues", "--net queues: expected KEY=VALUE"},
		{"user,color=red", "--net color=red: unknown key"},
		{"user,datapath=fast", "datapath=fast: expected vmm"},
		{"user,transport=isa", "transport=isa: expected pci or mmio"},
		{"user,ring=round", "ring=round: expected split or packed"},
		{"tap,queues=0", "queues=0: expected a number from 1 to 32"},
		{"tap,queues=33", "from 1 to 32"},
		{"tap,queues=-1", "queues=-1"},
		{"user,queues=2", "one queue only"},
		{"user,queue-size=3", "a power of two"},
		{"user,queue-size=2048", "from 2 to 1024"},
		{"user,mac=01:00:00:00:00:00", "mac=01:00:00:00:00:00"},
		{"user,mac=00:00:00:00:00:00", "neither zero nor"},
		{"user,mac=ff:ff:ff:ff:ff:ff", "neither zero nor"},
		{"user,mac=52:54:00:12:34", "mac="},
		{"user,mac=52:54:00:12:34:56:78", "mac="},
		{"user,mtu=67", "from 68"},
		{"user,mtu=65521", "at most 65520"},
		{"mtu=65535,port=user", "use mtu=65520"},
		{"user,offloads=maybe", "expected off or on"},
		{"user,notify=x", "ioeventfd or exit"},
		{"user,inject=x", "irqfd or ioctl"},
		{"user,poll-us=1000001", "poll-us=1000001"},
		{"tap:tap0,bridge=br0", "a new interface"},
		{"user,server=on", "only with port=socket"},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		refused(cases[i].text, cases[i].part);
}

static void switched(const char *spec)
{
	if (net_options_switch(&o, spec, &err) != 0)
		fail_msg("%s: %s", spec, err.msg);
}

static void a_switch_keeps_what_it_does_not_name(void **state)
{
	struct net_options before;

	(void)state;
	assert_int_equal(net_options_parse(&o, "tap:tap0,ring=packed,queues=2", &err), 0);
	before = o;
	switched("vhost-net,poll-us=5");
	assert_int_equal(o.datapath, NET_DATAPATH_VHOST_NET);
	assert_int_equal(o.poll_us, 5);
	assert_true(o.packed && o.queues == 2);
	assert_true(net_options_same_port(&o, &before));
	switched("vhost-user,socket=/tmp/a");
	assert_string_equal(o.vhost_socket, "/tmp/a");
	assert_true(net_options_same_port(&o, &before));
	/* The next back-end says where it is itself. */
	assert_int_equal(net_options_switch(&o, "vhost-user", &err), -EINVAL);
	assert_string_equal(o.vhost_socket, "/tmp/a");
	switched("vmm");
	assert_string_equal(o.where, "tap0");
	switched("port=tap:tap1");
	assert_int_equal(o.datapath, NET_DATAPATH_VMM);
	assert_false(net_options_same_port(&o, &before));
	assert_int_equal(net_options_parse(&o, "tap:tap0,switchable=vmm+vhost-net", &err), 0);
	switched("vhost-net");
	switched("vmm");
	assert_int_equal(net_options_switch(&o, "vhost-user,socket=/tmp/a", &err), -EPERM);
	assert_int_equal(net_options_parse(&o, "tap:tap0,switchable=vmm+", &err), -EINVAL);
	assert_int_equal(net_options_parse(&o, "tap:tap0,switchable=off", &err), 0);
	switched("vmm,port=tap,bridge=br0");
	assert_string_equal(o.where, "");
	assert_string_equal(o.bridge, "br0");
}

static void a_fallback_has_a_port(void **state)
{
	static const char *const bad[] = {
		"tap:tap0,fallback=vmm",
		"datapath=vhost-user,socket=/a,fallback=vhost-user",
		"datapath=vhost-user,socket=/a,fallback=vhost-net,port=user",
		"datapath=vhost-user,socket=/a,failback=on,port=user",
		"datapath=vhost-user,socket=/a,fallback=vmm,port=user,bridge=br0",
	};

	(void)state;
	assert_int_equal(
		net_options_parse(
			&o, "datapath=vhost-user,socket=/a,fallback=vmm,failback=on,port=tap:t",
			&err),
		0);
	assert_true(o.has_fallback && o.failback && o.fallback == NET_DATAPATH_VMM);
	assert_string_equal(o.where, "t");
	switched("vmm");
	switched("vhost-net");
	switched("vhost-user,socket=/b");
	assert_true(o.has_fallback);
	assert_int_equal(net_options_parse(&o, "datapath=vhost-user,socket=/a,fallback=vmm", &err),
	                 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (net_options_parse(&o, bad[i], &err) != -EINVAL)
			fail_msg("%s was taken", bad[i]);
}

static void a_switch_refuses_what_cannot_change(void **state)
{
	static const struct {
		const char *spec, *why;
	} bad[] = {
		{"vmm,ring=split", "while the guest runs"},
		{"mtu=1400", "while the guest runs"},
		{"warp", "vmm, vhost-net or vhost-user"},
		{"", "vmm, vhost-net or vhost-user"},
		{"vhost-net", "a tap only"},
		{"vmm,nonsense=1", "unknown key"},
		{"vmm,transport=mmio", "while the guest runs"},
		{"vmm,notify=exit", "while the guest runs"},
		{"vhost-user,socket=/tmp/a,wait=11", "10 s at most"},
		{"vhost-user,socket=/tmp/a,wait=on", "10 s at most"},
	};
	struct net_options before;

	(void)state;
	assert_int_equal(net_options_parse(&o, "user", &err), 0);
	before = o;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(net_options_switch(&o, bad[i].spec, &err), -EINVAL);
		if (!strstr(err.msg, bad[i].why))
			fail_msg("'%s': %s", bad[i].spec, err.msg);
		assert_memory_equal(&o, &before, sizeof(o));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ports),
		cmocka_unit_test(keys),
		cmocka_unit_test(vhost_user),
		cmocka_unit_test(vhost_net),
		cmocka_unit_test(forwards),
		cmocka_unit_test(refusals),
		cmocka_unit_test(a_switch_keeps_what_it_does_not_name),
		cmocka_unit_test(a_fallback_has_a_port),
		cmocka_unit_test(a_switch_refuses_what_cannot_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
