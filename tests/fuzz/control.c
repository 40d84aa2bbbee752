/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of the control socket: whatever it sends, in whatever pieces, every answer is a line of
 * JSON-RPC. The methods are the real ones, on a machine made of parts, but for net.datapath, which
 * would open what the input names. A byte 0 in the input is no byte on the wire: something happens
 * in the machine, and the loop gets a turn. A byte 1 is a turn.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"
#include "vmm/control_vm.h"

#define METHODS_MAX 64

static char dir[] = "/tmp/fuzz_control.XXXXXX";
static char path[sizeof(dir) + 8];

static uint64_t dp_features(const struct datapath *dp)
{
	(void)dp;
	return 0;
}

static void dp_set_link(struct datapath *dp, bool up)
{
	(void)dp;
	(void)up;
}

static void dp_destroy(struct datapath *dp)
{
	(void)dp;
}

static const struct datapath_ops dp_ops = {
	.name = "fake", .features = dp_features, .set_link = dp_set_link, .destroy = dp_destroy};

struct rig {
	struct memory mem;
	struct machine machine;
	struct nic nic;
	struct virtio_transport transport;
	struct vcpu vcpu;
	struct loop loop;
	struct boot_image kernel;
	struct config config;
	struct chardev com1;
	struct datapath dp;
	struct control_vm vm;
	struct jsonrpc_method methods[METHODS_MAX];
	struct jsonrpc rpc;
	struct event_sink sink;
};

static void on_break(void *opaque)
{
	(void)opaque;
}

static void take_methods(struct rig *r)
{
	struct jsonrpc all = control_vm_methods(&r->vm);

	r->rpc = (struct jsonrpc){.methods = r->methods, .opaque = &r->vm};
	for (size_t i = 0; i < all.nr_methods; i++) {
		fuzz_check(r->rpc.nr_methods < METHODS_MAX);
		if (strcmp(all.methods[i].name, "net.datapath") != 0 &&
		    strcmp(all.methods[i].name, "powerdown") != 0)
			r->methods[r->rpc.nr_methods++] = all.methods[i];
	}
}

static struct rig *make_rig(void)
{
	const struct net_config c = {.name = "net0", .pairs = 1, .queue_size = 256};
	struct rig *r = calloc(1, sizeof(*r));
	struct err err;

	memory_init(&r->mem);
	r->dp.ops = &dp_ops;
	net_init(&r->nic.net, &c, &r->dp, &r->mem);
	strcpy(r->nic.name, "net0");
	r->transport = (struct virtio_transport){.is_mmio = true, .dev = &r->nic.net.dev};
	r->kernel.path = "kernel";
	config_default(&r->config);
	fuzz_check(loop_init(&r->loop) == 0);
	r->com1.client.line_break = on_break;
	r->vcpu.fd = r->vcpu.stats_fd = -1;
	r->machine.in = (struct machine_inputs){
		.config = &r->config, .kernel = &r->kernel, .loop = &r->loop, .com1 = &r->com1};
	r->machine.nics = &r->nic;
	r->machine.nr_nics = 1;
	r->machine.virtio.first = r->machine.virtio.last = &r->transport;
	r->machine.vm.state = VM_RUNNING;
	r->machine.vm.vcpus = &r->vcpu;
	r->machine.vm.nr_vcpus = 1;
	pthread_mutex_init(&r->machine.vm.park_lock, NULL);
	pthread_cond_init(&r->machine.vm.park_cond, NULL);
	r->vm = (struct control_vm){.config = &r->config, .name = "fuzz", .machine = &r->machine};
	take_methods(r);
	fuzz_check(control_open(&r->vm.control, &r->loop, path, &r->rpc, &err) == 0);
	r->sink = control_sink(r->vm.control);
	return r;
}

static void free_rig(struct rig *r)
{
	control_close(r->vm.control);
	net_destroy(&r->nic.net);
	loop_destroy(&r->loop);
	free(r);
}

static void turns(struct rig *r)
{
	/* It comes to an end, whatever there is: one line a turn, and at most 64 KiB of them. */
	for (unsigned i = 0; loop_once(&r->loop, 0) > 0; i++)
		fuzz_check(i < 70000);
}

/* Everything that came is whole lines of JSON-RPC. */
static void check_answers(int fd)
{
	size_t len = 0, size = 1 << 16;
	char *text = malloc(size);
	ssize_t n;

	while ((n = recv(fd, text + len, size - len, 0)) > 0) {
		len += (size_t)n;
		if (len == size)
			text = realloc(text, size *= 2);
	}
	for (size_t at = 0; at < len;) {
		char *end = memchr(text + at, '\n', len - at);
		json_t *line;

		fuzz_check(end);
		line = json_loadb(text + at, (size_t)(end - text) - at, 0, NULL);
		fuzz_check(line && json_object_get(line, "jsonrpc"));
		fuzz_check(!!json_object_get(line, "result") + !!json_object_get(line, "error") +
		                   !!json_object_get(line, "method") ==
		           1);
		fuzz_check(json_object_get(line, "method") || json_object_get(line, "id"));
		json_decref(line);
		at = (size_t)(end - text) + 1;
	}
	free(text);
}

static void happen(struct rig *r)
{
	event_post(&r->sink, "device-broken", "net0", "as the input has it");
	control_notify(r->vm.control, "tick", NULL);
	r->machine.end = MACHINE_RUNS;
	r->loop.stopping = false;
}

static void remove_dir(void)
{
	unlink(path);
	rmdir(dir);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	struct rig *r;
	int fd;

	if (!path[0]) {
		fuzz_check(mkdtemp(dir));
		snprintf(path, sizeof(path), "%s/sock", dir);
		atexit(remove_dir);
	}
	r = make_rig();
	fd = control_connect(path);
	fuzz_check(fd >= 0 && fcntl(fd, F_SETFL, O_NONBLOCK) == 0);
	while (in.at < in.end) {
		const uint8_t *end = in.at;

		while (end<in.end && * end> 1)
			end++;
		/* Who was closed for what it sent cannot send more. */
		if (end > in.at && send(fd, in.at, (size_t)(end - in.at), MSG_NOSIGNAL) < 0)
			break;
		if (end < in.end && *end == 0)
			happen(r);
		if (end < in.end)
			turns(r);
		in.at = end < in.end ? end + 1 : end;
	}
	turns(r);
	if (data && len && data[len - 1] & 1)
		shutdown(fd, SHUT_WR);
	turns(r);
	check_answers(fd);
	close(fd);
	turns(r);
	free_rig(r);
	return 0;
}
