/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/road.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "compare/host.h"
#include "compare/proc.h"
#include "devices/net/feature_names.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/json_text.h"
#include "vmm/util.h"

#define BOOT_MS     150000
#define BACKEND_MS  20000
#define CTL_SECONDS 30
#define STEP_MS     100
#define QEMU        "qemu-system-x86_64"
#define KVM_DEBUGFS "/sys/kernel/debug/kvm"
#define WORDS_MAX   40
#define WORD_MAX    512

static const struct road roads[NR_ROADS] = {
	[ROAD_VMM] = {.name = "vmm",
                      .title = "in the VMM",
                      .trivm = true,
                      .datapath = "vmm",
                      .notify = "ioeventfd",
                      .inject = "irqfd",
                      .words = ""},
	[ROAD_VMM_EXIT] = {.name = "vmm+exit",
                           .title = "in the VMM, by exits",
                           .trivm = true,
                           .datapath = "vmm",
                           .notify = "exit",
                           .inject = "ioctl",
                           .words = ",notify=exit,inject=ioctl"},
	[ROAD_VHOST_NET] = {.name = "vhost-net",
                            .title = "in the host's kernel",
                            .trivm = true,
                            .datapath = "vhost-net",
                            .notify = "ioeventfd",
                            .inject = "irqfd",
                            .words = ",datapath=vhost-net"},
	[ROAD_VHOST_USER] = {.name = "vhost-user",
                             .title = "in another process",
                             .trivm = true,
                             .datapath = "vhost-user",
                             .notify = "ioeventfd",
                             .inject = "irqfd",
                             .backend = true},
	[ROAD_QEMU] = {.name = "qemu",
                       .title = "QEMU, in the VMM",
                       .datapath = "vmm",
                       .notify = "ioeventfd",
                       .inject = "irqfd",
                       .words = ",vhost=off"},
	[ROAD_QEMU_VHOST] = {.name = "qemu-vhost",
                             .title = "QEMU, in the host's kernel",
                             .datapath = "vhost-net",
                             .notify = "ioeventfd",
                             .inject = "irqfd",
                             .words = ",vhost=on"},
};

const struct road *road_at(enum road_id id)
{
	return &roads[id];
}

int road_find(const char *name)
{
	for (int i = 0; i < NR_ROADS; i++)
		if (strcmp(roads[i].name, name) == 0)
			return i;
	return -1;
}

static bool vhost_net_possible(const char **reason, const char **remedy)
{
	static char text[128];
	int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		snprintf(text, sizeof(text), "/dev/vhost-net: %s", strerror(errno));
		*reason = text;
		*remedy = errno == EACCES ? "run it as root, or as a user who may open it"
		                          : "sudo modprobe vhost_net";
		return false;
	}
	fd_close(&fd);
	return true;
}

bool road_possible(enum road_id id, const struct compare_options *o, const char **reason,
                   const char **remedy)
{
	const struct road *r = &roads[id];

	*remedy = NULL;
	if (strcmp(r->datapath, "vhost-net") == 0) {
		if (o->packed) {
			*reason = "the kernel's vhost-net has split rings only";
			return false;
		}
		if (!vhost_net_possible(reason, remedy))
			return false;
	}
	if (r->trivm)
		return true;
	if (o->mmio) {
		*reason = "QEMU's machine q35 has no virtio over MMIO";
		return false;
	}
	if (!host_has_program(QEMU)) {
		*reason = QEMU " is not installed";
		*remedy = "sudo apt-get install qemu-system-x86";
		return false;
	}
	return true;
}

/* --- Command lines --- */

struct words {
	char *argv[WORDS_MAX + 1];
	char text[WORDS_MAX][WORD_MAX];
	unsigned nr;
};

static void add(struct words *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct words *w, const char *fmt, ...)
{
	va_list ap;

	if (w->nr == WORDS_MAX)
		return;
	va_start(ap, fmt);
	vsnprintf(w->text[w->nr], WORD_MAX, fmt, ap);
	va_end(ap);
	w->argv[w->nr] = w->text[w->nr];
	w->nr++;
}

static void add_kernel(struct words *w, const struct road_guest *g, const char *kernel,
                       const char *initrd, const char *params)
{
	add(w, "%s", kernel);
	add(w, "%s", g->common->kernel);
	add(w, "%s", initrd);
	add(w, "%s", g->common->initrd);
	add(w, "%s", params);
	add(w, ROAD_PARAMS " compare=%s", g->address);
}

static void trivm_words(struct words *w, const struct road_guest *g)
{
	const struct compare_options *o = g->common->options;
	char net[300];

	if (g->road->backend)
		snprintf(net, sizeof(net), "datapath=vhost-user,socket=%s", g->socket);
	else
		snprintf(net, sizeof(net), "tap:%s%s", g->tap, g->road->words);
	add(w, "%s", g->common->self);
	add(w, "run");
	add(w, "-m");
	add(w, "%uM", ROAD_MEMORY_MIB);
	add(w, "-c");
	add(w, "%u", o->cpus);
	add(w, "--net");
	add(w, "%s%s%s", net, o->mmio ? ",transport=mmio" : "", o->packed ? ",ring=packed" : "");
	add(w, "--control");
	add(w, "%s", g->control);
	add_kernel(w, g, "-k", "-i", "-p");
}

static void qemu_words(struct words *w, const struct road_guest *g)
{
	const struct compare_options *o = g->common->options;

	add(w, QEMU);
	add(w, "-M");
	add(w, "q35");
	add(w, "-enable-kvm");
	add(w, "-cpu");
	add(w, "host");
	add(w, "-m");
	add(w, "%uM", ROAD_MEMORY_MIB);
	add(w, "-smp");
	add(w, "%u", o->cpus);
	add(w, "-nographic");
	add(w, "-nodefaults");
	add(w, "-name");
	add(w, "compare,debug-threads=on"); /* vCPU threads have names then */
	add(w, "-serial");
	add(w, "file:%s.console", g->log);
	add(w, "-netdev");
	add(w, "tap,id=n,ifname=%s,script=no,downscript=no%s", g->tap, g->road->words);
	add(w, "-device");
	add(w, "virtio-net-pci,netdev=n,disable-legacy=on,romfile=%s",
	    o->packed ? ",packed=on" : "");
	add_kernel(w, g, "-kernel", "-initrd", "-append");
}

/* --- Starting --- */

static int start_backend(struct road_guest *g, struct err *err)
{
	struct words *w = calloc(1, sizeof(*w));
	uint64_t end = clock_ms() + BACKEND_MS;
	int rc;

	if (!w)
		return err_errno(err, -ENOMEM, "%s", g->road->name);
	add(w, "%s", g->common->backend);
	add(w, "--port");
	add(w, "%s", g->socket);
	add(w, "--uplink");
	add(w, "tap:%s", g->tap);
	add(w, "--stats");
	add(w, "%s", g->backend_stats);
	rc = child_start(&g->backend, w->argv, g->backend_log, err);
	free(w);
	while (rc == 0 && access(g->socket, F_OK) < 0) {
		if (!child_runs(&g->backend))
			return err_set(err, -EIO, "trivm-switch ended at once");
		if (clock_ms() > end)
			return err_set(err, -ETIMEDOUT, "trivm-switch: no socket after %u s",
			               BACKEND_MS / 1000);
		rc = child_sleep(STEP_MS);
	}
	return rc;
}

/* The last line of the process's output, for an error. */
static void last_words(const char *path, char *buf, size_t size)
{
	char *text = child_output(path), *line, *save = NULL;

	buf[0] = '\0';
	for (line = text ? strtok_r(text, "\r\n", &save) : NULL; line;
	     line = strtok_r(NULL, "\r\n", &save))
		snprintf(buf, size, ": %s", line);
	free(text);
}

/* Until the guest answers. */
static int await(struct road_guest *g, struct err *err)
{
	uint64_t end = clock_ms() + BOOT_MS;
	char said[200];
	int rc;

	do {
		rc = guest_ask_info(g->address, 1000, &g->info);
		if (rc == -EINTR)
			return err_set(err, rc, "interrupted");
		if (rc == 0)
			return 0;
		if (!child_runs(&g->vmm)) {
			last_words(g->log, said, sizeof(said));
			return err_set(err, -EIO, "it ended before the guest answered%s", said);
		}
	} while (clock_ms() < end);
	last_words(g->log, said, sizeof(said));
	return err_set(err, -ETIMEDOUT, "the guest did not answer within %u s%s", BOOT_MS / 1000,
	               said);
}

/* KVM's folder for the process's VM: "PID-FD". */
static void find_debugfs(struct road_guest *g)
{
	DIR *dir = opendir(KVM_DEBUGFS);
	char begin[16];
	struct dirent *e;

	snprintf(begin, sizeof(begin), "%d-", (int)g->vmm.pid);
	while (dir && (e = readdir(dir)))
		if (strncmp(e->d_name, begin, strlen(begin)) == 0)
			snprintf(g->debugfs, sizeof(g->debugfs), KVM_DEBUGFS "/%.64s", e->d_name);
	if (dir)
		closedir(dir);
}

static void find_vhost_worker(struct road_guest *g)
{
	char name[16];

	/* A process of the kernel's until Linux 6.4; then it is a thread of the VMM. */
	snprintf(name, sizeof(name), "vhost-%d", (int)g->vmm.pid);
	g->vhost_worker = proc_find(name);
}

static void name_things(struct road_guest *g)
{
	const char *dir = g->common->dir;
	unsigned n =
		(unsigned)(g->road - roads); /* not the index: one that failed has left things */

	snprintf(g->tap, sizeof(g->tap), "cmp%u", n);
	snprintf(g->host_address, sizeof(g->host_address), "10.86.%u.1/24", n);
	snprintf(g->address, sizeof(g->address), "10.86.%u.2", n);
	snprintf(g->control, sizeof(g->control), "%.80s/%u.control", dir, n);
	snprintf(g->socket, sizeof(g->socket), "%.80s/%u.vhost", dir, n);
	snprintf(g->log, sizeof(g->log), "%.80s/%u.log", dir, n);
	snprintf(g->backend_log, sizeof(g->backend_log), "%.80s/%u.switch", dir, n);
	snprintf(g->backend_stats, sizeof(g->backend_stats), "%.80s/%u.counters", dir, n);
}

static int start_vmm(struct road_guest *g, struct err *err)
{
	struct words *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_errno(err, -ENOMEM, "%s", g->road->name);
	if (g->road->trivm)
		trivm_words(w, g);
	else
		qemu_words(w, g);
	child_typed(w->argv, g->command, sizeof(g->command));
	rc = child_start(&g->vmm, w->argv, g->log, err);
	free(w);
	return rc;
}

int road_start(struct road_guest *g, enum road_id id, unsigned index,
               const struct road_common *common, struct err *err)
{
	uint64_t start = clock_us();
	int rc;

	*g = (struct road_guest){.road = &roads[id], .common = common, .index = index};
	name_things(g);
	rc = host_make_tap(g->tap, g->host_address, g->log, err);
	if (rc == 0 && g->road->backend)
		rc = start_backend(g, err);
	if (rc == 0)
		rc = start_vmm(g, err);
	if (rc == 0)
		rc = await(g, err);
	g->boot_s = (double)(clock_us() - start) / 1e6;
	if (rc == 0 && g->road->trivm) {
		rc = ctl_connect(&g->ctl, g->control, CTL_SECONDS, err);
		g->has_ctl = rc == 0;
	}
	if (rc == 0 && !g->road->trivm)
		find_debugfs(g);
	if (rc == 0)
		find_vhost_worker(g);
	if (rc < 0) {
		err_prefix(err, rc, "%s", g->road->name);
		road_stop(g);
	}
	return rc;
}

void road_stop(struct road_guest *g)
{
	if (g->has_ctl)
		ctl_close(&g->ctl);
	g->has_ctl = false;
	child_kill(&g->vmm);
	child_kill(&g->backend);
}

/* --- Describing --- */

static json_t *feature_list(uint64_t features)
{
	json_t *list = json_array();
	char name[40];

	for (unsigned i = 0; i < 64; i++) {
		if (!(features >> i & 1))
			continue;
		net_feature_names(BIT64(i), name, sizeof(name));
		if (!name[0])
			snprintf(name, sizeof(name), "bit %u", i);
		json_array_append_new(list, json_string(name));
	}
	return list;
}

json_t *road_describe(const struct road_guest *g)
{
	const struct road *r = g->road;
	char features[20];

	snprintf(features, sizeof(features), "0x%llx", (unsigned long long)g->info.features);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:o, s:o, s:s, s:o, s:s, s:i, s:i, "
	                 "s:s, s:n, s:f}",
	                 "name", r->name, "title", r->title, "vmm", r->trivm ? "trivm" : "qemu",
	                 "datapath", r->datapath, "notify", r->notify, "inject", r->inject,
	                 "backend", r->backend ? "trivm-switch" : NULL, "tap", json_text(g->tap),
	                 "command", json_text(g->command), "features", features, "feature_names",
	                 feature_list(g->info.features), "ring",
	                 g->info.features & BIT64(VIRTIO_F_RING_PACKED) ? "packed" : "split",
	                 "queue_size", (int)g->info.queue_size, "pairs", (int)g->info.pairs,
	                 "transport", g->common->options->mmio ? "mmio" : "pci", "pinning",
	                 "boot_s", g->boot_s);
}
