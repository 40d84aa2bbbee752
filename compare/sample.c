/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a reading takes the guest's own counts first or last, since asking for them
 * passes packets; what the host has is read when nothing moves. Order before: guest, host; after:
 * host, guest. So the few packets of asking are in the guest's counts and not in the host's, where
 * thousands are compared. Nor is in between what it costs a VMM to be asked.
 */
#include "compare/sample.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define SWITCH_MS      3000
#define SWITCH_STEP_MS 10
#define ASK_MS         20000 /* a guest that was flooded has work left */
#define SETTLE_MS      100
#define TRIES          4
#define TRY_AGAIN_MS   1000
#define FEW_PACKETS    50 /* costs per packet mean nothing below */

/* --- Who spent it --- */

static bool begins(const char *name, const char *with)
{
	return strncmp(name, with, strlen(with)) == 0;
}

enum who sample_role(bool trivm, const struct proc_thread *t)
{
	/* "vhost-1234": the kernel's worker for process 1234; "vhost-user" is a thread of trivm. */
	if (begins(t->name, "vhost-") && isdigit((unsigned char)t->name[6]))
		return WHO_VHOST;
	if (trivm)
		return begins(t->name, "vcpu")       ? WHO_VCPU_HOST
		       : begins(t->name, "net-pair") ? WHO_DATAPATH
		                                     : WHO_OTHER;
	if (begins(t->name, "CPU ") && strstr(t->name, "/KVM"))
		return WHO_VCPU_HOST;
	return t->pid == t->tid ? WHO_DATAPATH : WHO_OTHER;
}

struct adding {
	struct reading *r;
	bool trivm, backend;
};

static void add_thread(void *opaque, const struct proc_thread *t)
{
	const struct adding *a = opaque;
	enum who who = a->backend ? WHO_BACKEND : sample_role(a->trivm, t);

	a->r->cpu_us[who] += t->cpu_us;
	a->r->switches += t->switches;
	if (who == WHO_VCPU_HOST)
		a->r->guest_us += t->guest_us;
}

static void add_process(struct reading *r, pid_t pid, bool trivm, bool backend)
{
	struct adding a = {r, trivm, backend};

	if (!pid)
		return;
	proc_threads(pid, add_thread, &a);
	r->process_us += proc_cpu_us(pid);
}

/* --- KVM's counts --- */

static uint64_t integer(const json_t *o, const char *name)
{
	return (uint64_t)json_integer_value(json_object_get(o, name));
}

/* Exits to user space by kind, as the VMM counts them. */
static void add_user(const json_t *cpu, struct sample_kvm *kvm)
{
	kvm->user_known |= json_object_get(cpu, "user_mmio_write") != NULL;
	kvm->user_mmio += integer(cpu, "user_mmio_read") + integer(cpu, "user_mmio_write");
	kvm->user_pio += integer(cpu, "user_pio_in") + integer(cpu, "user_pio_out");
	kvm->user_other += integer(cpu, "user_eoi") + integer(cpu, "user_interrupted") +
	                   integer(cpu, "user_other");
}

void sample_parse_stats(const json_t *stats, struct sample_kvm *kvm)
{
	const json_t *cpu;
	size_t i;

	memset(kvm, 0, sizeof(*kvm));
	json_array_foreach (json_object_get(stats, "vcpus"), i, cpu) {
		kvm->known |= json_object_get(cpu, "exits") != NULL;
		kvm->exits += integer(cpu, "exits");
		kvm->halts += integer(cpu, "halt_exits");
		kvm->injections += integer(cpu, "irq_injections");
		kvm->io += integer(cpu, "io_exits");
		kvm->mmio += integer(cpu, "mmio_exits");
		kvm->signal += integer(cpu, "signal_exits");
		add_user(cpu, kvm);
	}
}

static void add_ring(const json_t *ring, struct sample_rings *rings)
{
	static const char *const drops[] = {"drop_link", "drop_port", "drop_size", "drop_filter"};

	rings->packets_known &= json_is_integer(json_object_get(ring, "packets"));
	rings->packets += integer(ring, "packets");
	for (size_t i = 0; i < ARRAY_SIZE(drops); i++)
		rings->dropped += integer(ring, drops[i]);
	rings->kicks_known &= json_is_integer(json_object_get(ring, "kicks_exit")) &&
	                      json_is_integer(json_object_get(ring, "kicks_ioeventfd"));
	rings->kicks += integer(ring, "kicks_exit") + integer(ring, "kicks_ioeventfd");
}

void sample_parse_rings(const json_t *net_stats, struct sample_rings *rings)
{
	const json_t *list = json_object_get(net_stats, "rings"), *ring;
	bool any = json_array_size(list) > 0;
	size_t i;

	*rings = (struct sample_rings){.packets_known = any, .kicks_known = any};
	json_array_foreach (list, i, ring) {
		add_ring(ring, rings);
	}
}

/* Lines "port NAME COUNTER VALUE"; the last one of all is "switch refused N". */
bool sample_parse_switch(const char *text, uint64_t *dropped)
{
	static const char *const drops[] = {" tx_full ", " tx_size ", " tx_offload ",
	                                    " rx_malformed ", " rx_filtered "};
	const char *end = strstr(text, "\nswitch refused ");

	*dropped = 0;
	for (size_t i = 0; i < ARRAY_SIZE(drops); i++)
		for (const char *at = strstr(text, drops[i]); at; at = strstr(at + 1, drops[i]))
			*dropped += strtoull(at + strlen(drops[i]), NULL, 10);
	return end && strchr(end + 1, '\n');
}

/* A number in a file of QEMU's VM in debugfs. */
static bool debugfs(const struct road_guest *g, const char *name, uint64_t *value)
{
	char path[224], text[32];

	snprintf(path, sizeof(path), "%s/%s", g->debugfs, name);
	if (fd_read_text(path, text, sizeof(text)) < 0)
		return false;
	*value = strtoull(text, NULL, 10);
	return true;
}

static void read_debugfs(const struct road_guest *g, struct sample_kvm *kvm)
{
	memset(kvm, 0, sizeof(*kvm));
	kvm->known = g->debugfs[0] && debugfs(g, "exits", &kvm->exits) &&
	             debugfs(g, "halt_exits", &kvm->halts) &&
	             debugfs(g, "irq_injections", &kvm->injections) &&
	             debugfs(g, "io_exits", &kvm->io) && debugfs(g, "mmio_exits", &kvm->mmio) &&
	             debugfs(g, "signal_exits", &kvm->signal);
}

static int read_control(struct road_guest *g, struct reading *r, struct err *err)
{
	json_t *stats = NULL, *rings = NULL;
	int rc = ctl_call(&g->ctl, "stats", NULL, &stats, err);

	if (rc == 0)
		sample_parse_stats(stats, &r->kvm);
	if (rc == 0)
		rc = ctl_call(&g->ctl, "net.stats", json_pack("{s:s}", "id", "net0"), &rings, err);
	if (rc == 0)
		sample_parse_rings(rings, &r->rings);
	json_decref(stats);
	json_decref(rings);
	return rc;
}

/* What trivm-switch has dropped: it writes its counters when it is asked. */
static int read_switch(const struct road_guest *g, struct reading *r, struct err *err)
{
	uint64_t end = clock_ms() + SWITCH_MS;
	bool got = false;

	if (truncate(g->backend_stats, 0) < 0 && errno != ENOENT)
		return err_errno(err, -errno, "%s", g->backend_stats);
	kill(g->backend.pid, SIGUSR1);
	while (!got && clock_ms() < end) {
		char *text;

		if (child_sleep(SWITCH_STEP_MS) < 0)
			return -EINTR;
		text = child_output(g->backend_stats);
		got = text && sample_parse_switch(text, &r->backend_dropped);
		free(text);
	}
	return got ? 0 : err_set(err, -ETIMEDOUT, "trivm-switch does not write its counters");
}

/* --- Readings --- */

/* Asking the VMM and the back-end, which costs them time. */
static int ask_processes(struct road_guest *g, struct reading *r, struct err *err)
{
	int rc = g->has_ctl ? read_control(g, r, err) : 0;

	if (rc == 0 && g->road->backend)
		rc = read_switch(g, r, err);
	if (!g->has_ctl)
		read_debugfs(g, &r->kvm);
	return rc;
}

/* What the kernel tells without them. */
static int read_kernel(const struct road_guest *g, struct reading *r, struct err *err)
{
	if (proc_net(g->tap, &r->tap) < 0)
		return err_set(err, -ENODEV, "%s: the tap has gone", g->tap);
	r->when_us = clock_us();
	r->busy_us = proc_busy_us();
	add_process(r, g->vmm.pid, g->road->trivm, false);
	add_process(r, g->backend.pid, false, true);
	add_process(r, g->vhost_worker, false, false);
	return 0;
}

/* @before the work or after it: what asking costs is not between the two. */
static int read_host(struct road_guest *g, struct reading *r, bool before, struct err *err)
{
	int rc;

	if (!child_runs(&g->vmm))
		return err_set(err, -ESRCH, "the virtual machine has ended");
	if (g->road->backend && !child_runs(&g->backend))
		return err_set(err, -ESRCH, "trivm-switch has ended");
	rc = before ? ask_processes(g, r, err) : read_kernel(g, r, err);
	if (rc == 0)
		rc = before ? read_kernel(g, r, err) : ask_processes(g, r, err);
	return rc;
}

static int read_guest(struct road_guest *g, struct reading *r, struct err *err)
{
	int rc = guest_ask_counts(g->address, ASK_MS, &r->guest);

	return rc < 0 && rc != -EINTR ? err_set(err, rc, "the guest does not answer") : rc;
}

static int measure(struct sample *s, struct road_guest *g, unsigned seconds, struct err *err)
{
	int rc;

	memset(&s->before, 0, sizeof(s->before));
	memset(&s->after, 0, sizeof(s->after));
	for (unsigned i = 0; i < NR_METRICS; i++)
		s->values[i] = (double)NAN;
	rc = read_guest(g, &s->before, err);
	if (rc == 0)
		rc = child_sleep(SETTLE_MS);
	if (rc == 0)
		rc = read_host(g, &s->before, true, err);
	if (rc == 0)
		rc = workload_run(s->workload, g, seconds, s->values, err);
	if (rc == 0)
		rc = child_sleep(SETTLE_MS);
	if (rc == 0)
		rc = read_host(g, &s->after, false, err);
	return rc < 0 ? rc : read_guest(g, &s->after, err);
}

int sample_take(struct sample *s, struct road_guest *g, enum workload_id workload, unsigned round,
                unsigned seconds)
{
	struct err err = {.msg = ""};
	int rc;

	memset(s, 0, sizeof(*s));
	s->workload = workload;
	s->road = g->index;
	s->round = round;
	for (unsigned tries = 0;; tries++) {
		rc = measure(s, g, seconds, &err);
		/* iperf3's server may still be busy with the end of the last test. */
		if (rc != -EBUSY || tries == TRIES)
			break;
		if (child_sleep(TRY_AGAIN_MS) < 0)
			return -EINTR;
	}
	if (rc == -EINTR)
		return rc;
	if (rc < 0)
		snprintf(s->error, sizeof(s->error), "%.199s",
		         err.msg[0] ? err.msg : strerror(-rc));
	else
		sample_compute(s);
	return 0;
}

/* --- Metrics --- */

static double difference(uint64_t after, uint64_t before)
{
	return after > before ? (double)(after - before) : 0;
}

#define DIFFERENCE(s, field) difference((s)->after.field, (s)->before.field)

static void put_count(struct sample *s, enum count c, double value)
{
	double packets = s->values[M_PACKETS];

	s->values[M_COUNT(c)] = value;
	if (packets >= FEW_PACKETS)
		s->values[M_COUNT_PER_PACKET(c)] = value / packets;
	s->values[M_COUNT_PER_S(c)] = value / s->values[M_SECONDS];
}

static void put_work(struct sample *s)
{
	double *v = s->values;

	v[M_SECONDS] = DIFFERENCE(s, when_us) / 1e6;
	v[M_TO_GUEST] = DIFFERENCE(s, tap.tx_packets);
	v[M_FROM_GUEST] = DIFFERENCE(s, tap.rx_packets);
	v[M_PACKETS] = v[M_TO_GUEST] + v[M_FROM_GUEST];
	v[M_BYTES] = DIFFERENCE(s, tap.tx_bytes) + DIFFERENCE(s, tap.rx_bytes);
	v[M_DROPPED] = DIFFERENCE(s, tap.tx_dropped) + DIFFERENCE(s, backend_dropped) +
	               DIFFERENCE(s, rings.dropped);
}

static void put_exits(struct sample *s)
{
	const struct sample_kvm *after = &s->after.kvm;
	double mmio = DIFFERENCE(s, kvm.mmio), io = DIFFERENCE(s, kvm.io);
	double other = DIFFERENCE(s, kvm.signal);

	if (!after->known)
		return;
	if (after->user_known) {
		mmio = DIFFERENCE(s, kvm.user_mmio);
		io = DIFFERENCE(s, kvm.user_pio);
		other = DIFFERENCE(s, kvm.user_other);
	}
	put_count(s, C_EXITS, DIFFERENCE(s, kvm.exits));
	put_count(s, C_EXITS_USER, mmio + io + other);
	put_count(s, C_EXITS_MMIO, mmio);
	put_count(s, C_EXITS_PIO, io);
	put_count(s, C_EXITS_OTHER, other);
	put_count(s, C_HALTS, DIFFERENCE(s, kvm.halts));
	put_count(s, C_INJECTIONS, DIFFERENCE(s, kvm.injections));
}

static void put_who(struct sample *s, enum who who, double us)
{
	double packets = s->values[M_PACKETS];

	if (packets >= FEW_PACKETS)
		s->values[M_WHO_PER_PACKET(who)] = us / packets;
	s->values[M_WHO_PERCENT(who)] = us / s->values[M_SECONDS] / 1e4;
}

static void put_cpu(struct sample *s)
{
	double guest = DIFFERENCE(s, guest_us), sum = 0;

	for (unsigned i = 0; i < NR_WHO; i++) {
		double us = DIFFERENCE(s, cpu_us[i]);

		sum += us;
		if (i == WHO_VCPU_HOST) {
			/* Sampled with the ticks: it cannot be more than all of it. */
			guest = guest < us ? guest : us;
			put_who(s, WHO_VCPU_GUEST, guest);
			us -= guest;
		}
		if (i != WHO_VCPU_GUEST)
			put_who(s, (enum who)i, us);
	}
	if (s->values[M_PACKETS] >= FEW_PACKETS)
		s->values[M_CPU_PER_PACKET] = sum / s->values[M_PACKETS];
	s->values[M_CPU_PERCENT] = sum / s->values[M_SECONDS] / 1e4;
	s->values[M_HOST_PERCENT] = DIFFERENCE(s, busy_us) / s->values[M_SECONDS] / 1e4;
}

void sample_compute(struct sample *s)
{
	if (s->after.when_us <= s->before.when_us)
		return;
	put_work(s);
	put_exits(s);
	if (s->after.guest.has_kicks)
		put_count(s, C_KICKS, DIFFERENCE(s, guest.kicks));
	put_count(s, C_INTERRUPTS, DIFFERENCE(s, guest.interrupts));
	put_count(s, C_SWITCHES, DIFFERENCE(s, switches));
	put_cpu(s);
}
