/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a NIC offers, for all that its user may allow: wherever a switch or a fallback may lead later,
 * the datapath there has what was offered at the start.
 */
#include "tests/unit/vhost_rig.h"

#include <unistd.h>

#include "vmm/log.h"
#include "vmm/nic.h"

#define PACKED BIT64(VIRTIO_F_RING_PACKED)
#define UDP    (NET_OFFLOADS & ~NET_OFFLOADS_USUAL)

static struct net_options parsed(const char *text)
{
	struct net_options o;
	struct err err = {0};

	if (net_options_parse(&o, text, &err) < 0)
		fail_msg("%s: %s", text, err.msg);
	return o;
}

/* Of a datapath whose port, kernel or back-end has all that the table knows. */
static uint64_t offered(const struct net_options *o)
{
	const struct net_datapath_features *f = &net_datapath_features[o->datapath];
	uint64_t has = (f->rings | f->offloads) & ~(o->packed ? 0 : PACKED), masked;
	struct err err = {0};

	rig.nr = 0;
	if (nic_features_masked(o, &masked, &err) < 0)
		fail_msg("refused: %s", err.msg);
	return has & ~masked;
}

static void refused(const char *text, const char *why)
{
	struct net_options o = parsed(text);
	struct err err = {0};
	uint64_t masked;

	rig.nr = 0;
	assert_int_equal(nic_features_masked(&o, &masked, &err), -EINVAL);
	if (!strstr(err.msg, why))
		fail_msg("%s: %s", text, err.msg);
}

static bool kernel_has_packed(void)
{
	return rig.open_error == 0 && (rig.offered & PACKED);
}

/* What @which has when somebody comes to it: the kernel's is the rig's. */
static uint64_t column(enum net_datapath which)
{
	uint64_t has = net_datapath_features[which].promised;

	if (which != NET_DATAPATH_VHOST_NET || rig.open_error)
		return has;
	return (has & NET_OFFLOADS) | (rig.offered & net_datapath_features[which].rings);
}

/* Packed rings were asked for by name, and so was each datapath in @o that lacks them. */
static bool contradicts(const struct net_options *o)
{
	bool vhost_net = (o->has_switchable && (o->switchable & BIT(NET_DATAPATH_VHOST_NET))) ||
	                 (o->has_fallback && o->fallback == NET_DATAPATH_VHOST_NET);

	return o->packed && vhost_net && !kernel_has_packed();
}

static void check(const struct net_options *o)
{
	uint64_t masked, offer;
	struct err err = {0};

	if (contradicts(o)) {
		rig.nr = 0;
		assert_int_equal(nic_features_masked(o, &masked, &err), -EINVAL);
		assert_non_null(strstr(err.msg, "lacks RING_PACKED"));
		return;
	}
	offer = offered(o);
	assert_true(offer & BIT64(VIRTIO_F_VERSION_1));
	assert_true(o->offloads || !(offer & NET_OFFLOADS));
	for (unsigned i = 0; i < NET_DATAPATHS; i++) {
		enum net_datapath to = (enum net_datapath)i;
		uint64_t wanted = offer;

		if (!(o->switchable & BIT(i)) && !(o->has_fallback && o->fallback == to))
			continue;
		if (!o->has_switchable && to == o->datapath)
			continue; /* it was asked itself */
		if (!o->has_switchable && !(o->has_fallback && o->fallback == to))
			wanted &= ~PACKED; /* the switch is refused then, as the manual says */
		if (wanted & ~column(to))
			fail_msg("%s to %s: 0x%llx", net_datapath_name(o->datapath),
			         net_datapath_name(to), (unsigned long long)(wanted & ~column(to)));
	}
}

/* Every datapath, to every set of others, with every fallback, for split and packed rings. */
static void walk(void)
{
	for (unsigned i = 0; i < NET_DATAPATHS * (BIT(NET_DATAPATHS) + 1) * 4 * 3; i++) {
		unsigned n = i, set, fallback;
		struct net_options o = {.port = NET_PORT_TAP, .queues = 1};

		o.datapath = (enum net_datapath)(n % NET_DATAPATHS);
		n /= NET_DATAPATHS;
		set = n % (BIT(NET_DATAPATHS) + 1);
		n /= BIT(NET_DATAPATHS) + 1;
		o.packed = n & 1;
		o.offloads = n >> 1 & 1;
		fallback = n >> 2;
		o.has_switchable = set < BIT(NET_DATAPATHS);
		o.switchable = o.has_switchable ? set : BIT(NET_DATAPATHS) - 1;
		o.has_fallback = o.datapath == NET_DATAPATH_VHOST_USER && fallback < 2;
		o.fallback = o.has_fallback ? (enum net_datapath)fallback : NET_DATAPATH_VMM;
		check(&o);
	}
}

static void wherever_a_switch_leads_the_offer_holds(void **state)
{
	(void)state;
	rig_reset();
	walk();
	rig.offered |= PACKED;
	walk();
	/* One day's kernel, which has more than the others have. */
	rig.offered |= BIT64(VIRTIO_F_IN_ORDER) | BIT64(38) | BIT64(40);
	walk();
	rig_reset();
	rig.open_error = -ENOENT;
	walk();
}

/* In no row: what only some have would tie a driver to them. */
static void no_datapath_has_what_the_others_cannot(void **state)
{
	uint64_t all = ~UINT64_C(0);

	(void)state;
	for (unsigned i = 0; i < NET_DATAPATHS; i++) {
		const struct net_datapath_features *f = &net_datapath_features[i];

		all &= f->rings | f->offloads;
		assert_false(f->promised & ~(f->rings | f->offloads));
		assert_false(f->rings & f->offloads);
	}
	for (unsigned i = 0; i < NET_DATAPATHS; i++)
		assert_false((net_datapath_features[i].rings | net_datapath_features[i].offloads) &
		             ~all);
}

static void udp_is_segmented_where_all_that_is_allowed_can(void **state)
{
	struct net_options o;

	(void)state;
	rig_reset();
	o = parsed("tap:t");
	assert_int_equal(offered(&o) & UDP, 0);
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS_USUAL);
	o = parsed("tap:t,switchable=vmm+vhost-net");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS);
	o = parsed("tap:t,switchable=off");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS);
	/* The back-end was asked; another one is only allowed for if the user names it. */
	o = parsed("datapath=vhost-user,socket=s");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS);
	o = parsed("datapath=vhost-user,socket=s,switchable=vmm+vhost-user");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS_USUAL);
	o = parsed("tap:t,offloads=off,switchable=vmm");
	assert_int_equal(offered(&o) & NET_OFFLOADS, 0);
}

static void a_fallback_can_take_over(void **state)
{
	struct net_options o;

	(void)state;
	rig_reset();
	o = parsed("port=user,datapath=vhost-user,socket=s,fallback=vmm");
	assert_int_equal(offered(&o) & NET_OFFLOADS, 0);
	o = parsed("port=socket:p,datapath=vhost-user,socket=s,fallback=vmm,switchable=off");
	assert_int_equal(offered(&o) & NET_OFFLOADS, 0);
	o = parsed("port=none,datapath=vhost-user,socket=s,fallback=vmm");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS);
	/* Any kernel's tap has these; that of the day may not have more. */
	o = parsed("port=tap:t,datapath=vhost-user,socket=s,fallback=vhost-net");
	assert_int_equal(offered(&o) & NET_OFFLOADS, NET_OFFLOADS_USUAL);
	/* Not a tap: it is judged by what can be seen, and refused when it is opened. */
	o = parsed("port=fd:99,datapath=vhost-user,socket=s,fallback=vmm");
	assert_int_equal(offered(&o) & NET_OFFLOADS, 0);
}

static void what_cannot_be_is_refused_by_name(void **state)
{
	struct net_options o;

	(void)state;
	rig_reset();
	refused("port=tap:t,datapath=vhost-user,socket=s,ring=packed,fallback=vhost-net",
	        "ring=packed,fallback=vhost-net: on this host vhost-net lacks RING_PACKED");
	refused("tap:t,ring=packed,switchable=vmm+vhost-net", "use ring=split or another switch");
	rig.open_error = -ENOENT;
	refused("tap:t,ring=packed,switchable=vmm+vhost-net", "lacks RING_PACKED");
	rig_reset();
	rig.offered |= PACKED;
	o = parsed("tap:t,ring=packed,switchable=vmm+vhost-net");
	assert_true(offered(&o) & PACKED);
	/* A kernel of before virtio 1.0. */
	rig.offered = RIG_NET_FEATURES & ~BIT64(VIRTIO_F_VERSION_1);
	refused("tap:t,switchable=vmm+vhost-net", "lacks VERSION_1");
	/* Named only by the default: that switch is refused when it is asked for. */
	rig_reset();
	o = parsed("tap:t,ring=packed");
	assert_true(offered(&o) & PACKED);
}

/* Later: judged by what the driver was offered or has negotiated. */
static void a_later_fallback_is_judged(void **state)
{
	struct net_options o = parsed("port=socket:p,datapath=vhost-user,socket=s,fallback=vmm");
	struct nic nic = {.net.config = {.name = "net0"}};
	struct err err = {0};

	(void)state;
	rig_reset();
	pthread_mutex_init(&nic.net.lock, NULL);
	nic.net.dev.offered = BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_NET_F_MAC) |
	                      BIT64(VIRTIO_NET_F_HOST_TSO4) | PACKED;
	assert_int_equal(nic_features_check_fallback(&nic, &o, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "fallback=vmm lacks"));
	assert_non_null(strstr(err.msg, "HOST_TSO4"));
	nic.net.dp_setup = true; /* and the driver did without */
	nic.net.dev.driver_features = BIT64(VIRTIO_F_VERSION_1) | PACKED;
	assert_int_equal(nic_features_check_fallback(&nic, &o, &err), 0);
	o = parsed("port=tap:t,datapath=vhost-user,socket=s,fallback=vhost-net");
	assert_int_equal(nic_features_check_fallback(&nic, &o, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "RING_PACKED"));
	nic.net.dev.driver_features = BIT64(VIRTIO_F_VERSION_1) | NET_OFFLOADS;
	assert_int_equal(nic_features_check_fallback(&nic, &o, &err), 0);
	o = parsed("datapath=vhost-user,socket=s");
	assert_int_equal(nic_features_check_fallback(&nic, &o, &err), 0);
	pthread_mutex_destroy(&nic.net.lock);
}

#define TEST(name) cmocka_unit_test(name)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(wherever_a_switch_leads_the_offer_holds),
		TEST(no_datapath_has_what_the_others_cannot),
		TEST(udp_is_segmented_where_all_that_is_allowed_can),
		TEST(a_fallback_can_take_over),
		TEST(what_cannot_be_is_refused_by_name),
		TEST(a_later_fallback_is_judged),
	};

	alarm(60);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
