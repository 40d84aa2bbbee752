/* SPDX-License-Identifier: BSD-2-Clause */
/* nic_mtu: which MTU a driver is offered, what ports are given, and when the user is warned. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/log.h"
#include "vmm/nic.h"

static struct port port;
static int answer; /* to set_mtu() */
static unsigned given;

static int on_set_mtu(struct port *p, unsigned mtu)
{
	given = mtu;
	if (answer == 0)
		p->mtu = mtu;
	return answer;
}

static const char *on_interface(const struct port *p)
{
	(void)p;
	return "tap7";
}

static const struct port_ops tap_ops = {.set_mtu = on_set_mtu, .interface = on_interface};
static const struct port_ops bare_ops = {.set_mtu = NULL};

static void has_port(const struct port_ops *ops, unsigned mtu, bool own)
{
	port = (struct port){.ops = ops, .kind = "tap", .mtu = mtu, .own = own};
	answer = 0;
	given = 0;
}

static struct net_options parsed(const char *text)
{
	struct net_options o;
	struct err err = {0};

	if (net_options_parse(&o, text, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return o;
}

static void driver_is_offered_what_the_port_has(void **state)
{
	struct net_options o = parsed("tap:tap7"), said = parsed("tap:tap7,mtu=9000");

	(void)state;
	has_port(&tap_ops, 1450, false);
	assert_int_equal(nic_mtu(&o, &port), 1450);
	assert_int_equal(nic_mtu(&said, &port), 9000);
	port.mtu = 0; /* a socket, nothing */
	assert_int_equal(nic_mtu(&o, &port), 0);
	port.mtu = 67; /* less than the specification allows */
	assert_int_equal(nic_mtu(&o, &port), 0);
	port.mtu = 70000;
	assert_int_equal(nic_mtu(&o, &port), 65535);
	o = parsed("datapath=vhost-user,socket=s");
	assert_int_equal(nic_mtu(&o, NULL), 0);
	o = parsed("port=user,datapath=vhost-user,socket=s,fallback=vmm");
	assert_int_equal(nic_mtu(&o, NULL), 1500);
	/* An interface of the host's: the loopback has 65536, which is more than can be said. */
	o = parsed("port=tap:lo,datapath=vhost-user,socket=s,fallback=vmm");
	assert_int_equal(nic_mtu(&o, NULL), 65535);
}

static void interface_is_given_what_the_user_says(void **state)
{
	struct net_options o = parsed("tap:tap7"), said = parsed("tap:tap7,mtu=9000");
	struct nic nic = {.name = "net0"};

	(void)state;
	has_port(&tap_ops, 1450, false);
	nic_mtu_apply(&nic, &o, &port, 1500);
	assert_int_equal(given, 0); /* it is somebody's, who has set it up */
	nic_mtu_apply(&nic, &said, &port, 9000);
	assert_int_equal(port.mtu, 9000);
	has_port(&tap_ops, 1500, true);
	nic_mtu_apply(&nic, &o, &port, 1400); /* one for this NIC only, whose driver has 1400 */
	assert_int_equal(port.mtu, 1400);
	has_port(&bare_ops, 1500, true);
	nic_mtu_apply(&nic, &said, &port, 9000);
	assert_int_equal(port.mtu, 1500);
	has_port(&tap_ops, 1500, false);
	answer = -EPERM;
	nic_mtu_apply(&nic, &said, &port, 9000);
	assert_int_equal(given, 9000);
	assert_int_equal(port.mtu, 1500);
}

static void new_ports_are_for_the_driver_that_runs(void **state)
{
	struct nic nic = {.name = "net0", .net.config.mtu = 9000};
	struct net_options o = parsed("user");

	(void)state;
	assert_int_equal(nic_mtu_of_new_port(&nic, &o), 0);
	nic.has_net = true;
	assert_int_equal(nic_mtu_of_new_port(&nic, &o), 9000);
	nic.net.config.mtu = 65535;
	assert_int_equal(nic_mtu_of_new_port(&nic, &o), PORT_USER_MTU_MAX);
	o = parsed("user,mtu=1300");
	assert_int_equal(nic_mtu_of_new_port(&nic, &o), 1300);
}

static const char *warned(const char *options, unsigned driver)
{
	static char warning[320];
	struct nic nic = {.name = "net0", .port = &port, .wire = "tap7", .has_net = true};

	nic.options = parsed(options);
	nic.net.config.mtu = (uint16_t)driver;
	nic_mtu_check(&nic, warning, sizeof(warning));
	return warning;
}

static void difference_is_said(void **state)
{
	(void)state;
	has_port(&tap_ops, 1450, false);
	assert_string_equal(warned("tap:tap7", 1450), "");
	assert_non_null(strstr(warned("tap:tap7", 1500), "sudo ip link set tap7 mtu 1500"));
	assert_non_null(strstr(warned("tap:tap7", 1500), "is 1450"));
	assert_non_null(strstr(warned("tap:tap7", 1500), "from the guest"));
	assert_non_null(strstr(warned("tap:tap7", 0), "guest's MTU is 1500")); /* the usual one */
	assert_string_equal(warned("tap:tap7", 1400), ""); /* a larger one is no loss */
	assert_non_null(strstr(warned("tap:tap7,mtu=1400", 1400), "from the host"));
	assert_string_equal(warned("datapath=vhost-user,socket=s", 1500), "");
	port.mtu = 0;
	assert_string_equal(warned("tap:tap7", 9000), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(driver_is_offered_what_the_port_has),
		cmocka_unit_test(interface_is_given_what_the_user_says),
		cmocka_unit_test(new_ports_are_for_the_driver_that_runs),
		cmocka_unit_test(difference_is_said),
	};

	alarm(60);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
