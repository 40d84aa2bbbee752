/* SPDX-License-Identifier: BSD-2-Clause */
/* The control socket's methods, on a machine that is made of parts: results, refusals, effects. */
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

#include <linux/virtio_config.h>

#include "tests/unit/virtq_driver.h"
#include "vmm/control_vm.h"
#include "vmm/fd.h"
#include "vmm/log.h"

/* A datapath that counts what its ring's number says. */
static uint64_t dp_features(const struct datapath *dp)
{
	(void)dp;
	return BIT64(VIRTIO_F_VERSION_1);
}

static bool dp_up;

static void dp_set_link(struct datapath *dp, bool up)
{
	(void)dp;
	dp_up = up;
}

static void dp_stats(const struct datapath *dp, unsigned ring, struct datapath_stats *s)
{
	uint64_t *at = (uint64_t *)s;

	(void)dp;
	for (unsigned i = 0; i < sizeof(*s) / sizeof(*at); i++)
		at[i] = 1000 * ring + i;
}

static void dp_destroy(struct datapath *dp)
{
	(void)dp;
}

static const struct datapath_ops dp_ops = {
	.name = "fake",
	.features = dp_features,
	.set_link = dp_set_link,
	.stats = dp_stats,
	.destroy = dp_destroy,
};

static struct machine machine;
static struct nic nic;
static struct virtio_transport transport;
static struct loop loop;
static struct boot_image kernel = {.path = "guest.elf"};
static struct config config;
static struct control_vm vm;
static struct datapath dp = {&dp_ops};
static struct drv drv;
static struct chardev com1;
static unsigned breaks;

static void on_break(void *opaque)
{
	(void)opaque;
	breaks++;
}

static int setup(void **state)
{
	const struct net_config c = {
		.name = "lan", .mac = {2, 0, 0, 0, 0, 0xab}, .pairs = 2, .queue_size = 256};

	(void)state;
	drv_init(&drv, false, 8, true);
	net_init(&nic.net, &c, &dp, &drv.mem);
	strcpy(nic.name, "lan");
	transport = (struct virtio_transport){.is_mmio = true, .dev = &nic.net.dev};
	config_default(&config);
	assert_int_equal(loop_init(&loop), 0);
	com1.client.line_break = on_break;
	machine.in = (struct machine_inputs){
		.config = &config, .kernel = &kernel, .loop = &loop, .com1 = &com1};
	machine.nics = &nic;
	machine.nr_nics = 1;
	machine.virtio.first = machine.virtio.last = &transport;
	machine.vm.state = VM_RUNNING;
	pthread_mutex_init(&machine.vm.park_lock, NULL);
	pthread_cond_init(&machine.vm.park_cond, NULL);
	vm = (struct control_vm){.config = &config, .name = "test", .machine = &machine};
	control_vm_started(&vm);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	net_destroy(&nic.net);
	drv_destroy(&drv);
	loop_destroy(&loop);
	return 0;
}

/* The result of @method, for json_decref(); an error's code instead is a failure. */
static json_t *reply_of(const char *method, const char *params)
{
	struct jsonrpc rpc = control_vm_methods(&vm);
	char request[512];
	json_t *reply;
	char *text;

	snprintf(request, sizeof(request),
	         "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"%s\",\"params\":%s}", method, params);
	text = jsonrpc_serve(&rpc, NULL, request, strlen(request));
	assert_non_null(text);
	reply = json_loads(text, 0, NULL);
	assert_non_null(reply);
	free(text);
	return reply;
}

static json_t *call(const char *method, const char *params)
{
	json_t *reply = reply_of(method, params);
	json_t *result = json_incref(json_object_get(reply, "result"));

	assert_non_null(result);
	json_decref(reply);
	return result;
}

static void expect_error(const char *method, const char *params, int code)
{
	json_t *reply = reply_of(method, params);

	assert_int_equal(
		json_integer_value(json_object_get(json_object_get(reply, "error"), "code")), code);
	json_decref(reply);
}

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	assert_non_null(s);
	return s;
}

static json_int_t number(const json_t *o, const char *key)
{
	assert_true(json_is_integer(json_object_get(o, key)));
	return json_integer_value(json_object_get(o, key));
}

static void status_and_pausing(void **state)
{
	json_t *r = call("status", "{}");

	(void)state;
	assert_string_equal(word(r, "name"), "test");
	assert_string_equal(word(r, "state"), "running");
	assert_string_equal(word(r, "kernel"), "guest.elf");
	assert_int_equal(number(r, "pid"), getpid());
	assert_int_equal(number(r, "boots"), 1);
	assert_int_equal(number(r, "cpus"), 1);
	assert_int_equal(number(r, "memory"), MIB(256));
	assert_null(json_object_get(r, "console"));
	json_decref(r);
	for (unsigned i = 0; i < 2; i++) { /* twice is harmless */
		r = call("pause", "{}");
		assert_string_equal(word(r, "state"), "paused");
		assert_int_equal(machine.vm.state, VM_PAUSED);
		json_decref(r);
	}
	for (unsigned i = 0; i < 2; i++) {
		r = call("resume", "{}");
		assert_string_equal(word(r, "state"), "running");
		assert_int_equal(machine.vm.state, VM_RUNNING);
		json_decref(r);
	}
	json_decref(call("console.break", "{}"));
	assert_int_equal(breaks, 1);
	vm.console = "/x/y.console";
	r = call("status", "{}");
	assert_string_equal(word(r, "console"), "/x/y.console");
	json_decref(r);
	/* What JSON cannot say is replaced. */
	kernel.path = "\xff.elf";
	vm.console = "/\xe4";
	r = call("status", "{}");
	assert_string_equal(word(r, "kernel"), "\xef\xbf\xbd.elf");
	assert_string_equal(word(r, "console"), "/\xef\xbf\xbd");
	json_decref(r);
	kernel.path = "guest.elf";
}

static void ending(void **state)
{
	json_t *r = call("reset", "{}");

	(void)state;
	assert_string_equal(word(r, "state"), "ending");
	assert_true(vm.reset);
	assert_true(loop.stopping);
	assert_int_equal(machine_end(&machine), MACHINE_RESET);
	json_decref(r);
	json_decref(call("quit", "{}")); /* the first reason counts */
	assert_int_equal(machine_end(&machine), MACHINE_RESET);
	machine.end = MACHINE_RUNS;
	json_decref(call("quit", "{}"));
	assert_int_equal(machine_end(&machine), MACHINE_QUIT);
	machine.end = MACHINE_RUNS;
}

static void network_cards(void **state)
{
	json_t *r = call("net.list", "{}"), *card = json_array_get(r, 0);

	(void)state;
	assert_int_equal(json_array_size(r), 1);
	assert_string_equal(word(card, "id"), "lan");
	assert_string_equal(word(card, "mac"), "02:00:00:00:00:ab");
	assert_string_equal(word(card, "link"), "up");
	assert_string_equal(word(card, "datapath"), "fake");
	assert_true(json_is_false(json_object_get(card, "driver")));
	assert_int_equal(number(card, "pairs"), 2);
	json_decref(r);
	expect_error("net.list", "{\"id\":\"nope\"}", JSONRPC_NO_SUCH);

	dp_up = true;
	r = call("net.link", "{\"id\":\"lan\",\"up\":false}");
	assert_string_equal(word(r, "link"), "down");
	assert_false(dp_up);
	assert_false(net_link(&nic.net));
	json_decref(r);
	/* Nobody at the far side: the link is down either way, and the cable is what is asked for.
	 */
	nic.net.host.carrier(&nic.net, false);
	r = call("net.link", "{\"id\":\"lan\",\"up\":true}");
	assert_string_equal(word(r, "link"), "down");
	assert_true(json_is_true(json_object_get(r, "plugged")));
	assert_true(json_is_false(json_object_get(r, "carrier")));
	assert_true(dp_up);
	json_decref(r);
	json_decref(call("net.link", "{\"id\":\"lan\",\"up\":false}"));
	assert_false(dp_up);
	nic.net.host.carrier(&nic.net, true);
	json_decref(call("net.link", "{\"id\":\"lan\",\"up\":true}"));
	assert_true(net_link(&nic.net));
	expect_error("net.link", "{\"id\":\"lan\"}", JSONRPC_PARAMS);
	expect_error("net.link", "{\"id\":\"\",\"up\":true}", JSONRPC_NO_SUCH);
}

static void counters_by_name(void **state)
{
	json_t *r = call("net.stats", "{\"id\":\"lan\"}");
	json_t *rings = json_object_get(r, "rings"), *tx = json_array_get(rings, 3);

	(void)state;
	assert_int_equal(json_array_size(rings), 4);
	assert_int_equal(number(tx, "ring"), 3);
	assert_string_equal(word(tx, "direction"), "tx");
	assert_int_equal(number(tx, "packets"), 3000);
	assert_int_equal(number(tx, "bytes"), 3001);
	assert_int_equal(json_array_size(json_object_get(tx, "batch_sizes")), DATAPATH_BATCH_SIZES);
	assert_int_equal(json_integer_value(json_array_get(json_object_get(tx, "batch_sizes"), 1)),
	                 3009);
	assert_int_equal(number(tx, "wakeups"), 3003);
	assert_int_equal(number(tx, "drop_filter"), 3007);
	assert_int_equal(number(tx, "kicks_off"), 3011 + DATAPATH_BATCH_SIZES);
	/* There is no transport here, and so nothing to be known of its ways. */
	assert_true(json_is_null(json_object_get(tx, "kicks_ioeventfd")));
	assert_true(json_is_null(json_object_get(tx, "interrupts_irqfd")));
	assert_null(json_object_get(r, "interface"));
	assert_string_equal(word(json_array_get(rings, 0), "direction"), "rx");
	json_decref(r);
	expect_error("net.stats", "{\"id\":\"nope\"}", JSONRPC_NO_SUCH);
	/* Any virtio device's ways. Ring 1 has eventfds here, and was kicked on both. */
	nic.net.dev.queues[1].events.kick_fd = fd_eventfd();
	virtio_kicks_signal(&nic.net.dev.queues[1].kicks, nic.net.dev.queues[1].events.kick_fd,
	                    true);
	fd_signal(nic.net.dev.queues[1].events.kick_fd);
	fd_signal(nic.net.dev.queues[1].events.kick_fd);
	r = call("device.stats", "{\"id\":\"lan\"}");
	tx = json_array_get(json_object_get(r, "queues"), 1);
	assert_int_equal(json_array_size(json_object_get(r, "queues")), 5);
	assert_int_equal(number(tx, "queue"), 1);
	assert_int_equal(number(tx, "kicks_exit"), 1);
	assert_int_equal(number(tx, "kicks_ioeventfd"), 2);
	assert_int_equal(number(tx, "interrupts_ioctl"), 0);
	json_decref(r);
	fd_close(&nic.net.dev.queues[1].events.kick_fd);
	expect_error("device.stats", "{\"id\":\"nope\"}", JSONRPC_NO_SUCH);
}

static void devices_and_rings(void **state)
{
	json_t *r = call("device.list", "{}"), *d = json_array_get(r, 0);

	(void)state;
	assert_string_equal(word(d, "id"), "lan");
	assert_string_equal(word(d, "type"), "net");
	assert_string_equal(word(d, "where"), "mmio");
	assert_int_equal(json_array_size(json_object_get(d, "status")), 0);
	json_decref(r);
	virtio_set_status(&nic.net.dev, 3);
	r = call("device.list", "{}");
	assert_int_equal(json_array_size(json_object_get(json_array_get(r, 0), "status")), 2);
	json_decref(r);

	/* Two rings are set up, one of them nowhere. */
	for (unsigned i = 0; i < 2; i++) {
		virtio_queue_set(&nic.net.dev, i, VIRTIO_QUEUE_SIZE, 8);
		virtio_queue_set(&nic.net.dev, i, VIRTIO_QUEUE_DESC_LOW,
		                 i ? 0x10 : (uint32_t)DRV_DESC);
		virtio_queue_set(&nic.net.dev, i, VIRTIO_QUEUE_DRIVER_LOW, (uint32_t)DRV_DRIVER);
		virtio_queue_set(&nic.net.dev, i, VIRTIO_QUEUE_DEVICE_LOW, (uint32_t)DRV_DEVICE);
		virtio_queue_set(&nic.net.dev, i, VIRTIO_QUEUE_ENABLE, 1);
	}
	assert_true(drv_add(&drv, 1, 1, false) >= 0);
	r = call("device.rings", "{\"id\":\"lan\",\"descriptors\":true}");
	assert_int_equal(json_array_size(r), 5);
	d = json_array_get(r, 0);
	assert_string_equal(word(d, "state"), "enabled");
	assert_string_equal(word(d, "format"), "split");
	assert_string_equal(word(d, "desc"), "0x100000");
	assert_int_equal(number(d, "size"), 8);
	assert_int_equal(number(d, "avail_idx"), 1);
	assert_int_equal(json_array_size(json_object_get(d, "descriptors")), 2);
	assert_non_null(strstr(word(json_array_get(r, 1), "invalid"), "misaligned or not in"));
	assert_string_equal(word(json_array_get(r, 4), "state"), "off");
	json_decref(r);
	r = call("device.rings", "{\"id\":\"lan\",\"ring\":1}");
	assert_int_equal(json_array_size(r), 1);
	assert_int_equal(number(json_array_get(r, 0), "ring"), 1);
	json_decref(r);
	expect_error("device.rings", "{\"id\":\"lan\",\"ring\":5}", JSONRPC_NO_SUCH);
	expect_error("device.rings", "{\"id\":\"lan\",\"ring\":-1}", JSONRPC_NO_SUCH);
	expect_error("device.rings", "{\"id\":\"lan\",\"ring\":4294967296}", JSONRPC_NO_SUCH);
	expect_error("device.rings", "{\"id\":\"nope\"}", JSONRPC_NO_SUCH);
	pthread_mutex_lock(&nic.net.dev.lock); /* a driver that takes its time */
	expect_error("device.rings", "{\"id\":\"lan\"}", JSONRPC_STATE);
	json_decref(call("device.list", "{}"));
	pthread_mutex_unlock(&nic.net.dev.lock);
}

static void what_is_logged(void **state)
{
	json_t *r = call("log.level", "{}");

	(void)state;
	assert_string_equal(word(r, "level"), "warning");
	json_decref(r);
	r = call("log.level", "{\"level\":\"debug\"}");
	assert_string_equal(word(r, "level"), "debug");
	assert_true(log_enabled(LOG_DEBUG));
	json_decref(r);
	expect_error("log.level", "{\"level\":\"loud\"}", JSONRPC_PARAMS);
	json_decref(call("log.level", "{\"level\":\"error\"}"));
	assert_false(log_enabled(LOG_WARN));
}

/* Each method is in docs/control.md, and nothing is there that is not. */
static void the_documented_methods(void **state)
{
	json_t *list = call("methods", "{}"), *m;
	static char doc[32768];
	FILE *f = fopen("docs/control.md", "r");
	size_t i, n = f ? fread(doc, 1, sizeof(doc) - 1, f) : 0;

	(void)state;
	assert_true(n > 0);
	fclose(f);
	assert_true(json_array_size(list) > 10);
	json_array_foreach (list, i, m) {
		char entry[128];

		snprintf(entry, sizeof(entry), "`%s`", word(m, "name"));
		if (!strstr(doc, entry))
			fail_msg("docs/control.md lacks %s", word(m, "name"));
		snprintf(entry, sizeof(entry), "| `%s` |", word(m, "params"));
		if (word(m, "params")[0] && !strstr(doc, entry))
			fail_msg("docs/control.md has other parameters of %s", word(m, "name"));
	}
	json_decref(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(status_and_pausing),     cmocka_unit_test(ending),
		cmocka_unit_test(network_cards),          cmocka_unit_test(counters_by_name),
		cmocka_unit_test(devices_and_rings),      cmocka_unit_test(what_is_logged),
		cmocka_unit_test(the_documented_methods),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, setup, teardown);
}
