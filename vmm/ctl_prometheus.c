/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: Prometheus wants all lines of a metric together, behind one HELP and one
 * TYPE, so a sample is walked once for each metric. Which number of which object makes a line of
 * which metric is a table; a walk gives each object with the labels that say whose it is.
 *
 * Names and units are Prometheus' customs: trivm_ in front, seconds and bytes, _total behind what
 * only grows.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "vmm/ctl_sample.h"
#include "vmm/text.h"
#include "vmm/util.h"

/* Which objects of a sample a metric is about. */
enum kind {
	OF_VM,        /* the status */
	OF_VCPU,      /* a vCPU's counts */
	OF_THREAD,    /* a thread */
	OF_CARD,      /* a row of net.list */
	OF_RING,      /* a ring of net.stats */
	OF_INTERFACE, /* the interface of net.stats */
};

/* One line for each object: its member @key is the value. */
struct series {
	const char *key;
	const char *labels; /* that are added: "kind=\"io\""; NULL: none */
};

#define SERIES_MAX 8

struct metric {
	const char *name, *type, *help;
	enum kind of;
	bool micro; /* the value is in microseconds, and shown in seconds */
	struct series series[SERIES_MAX];
};

#define COUNTER "counter"
#define GAUGE   "gauge"

static const struct metric metrics[] = {
	{"trivm_vm_uptime_seconds",
         GAUGE,
         "Since the VM was first started.",
         OF_VM,
         false,
         {{"uptime", NULL}}},
	{"trivm_vm_boots",
         GAUGE,
         "How often it has booted; the counters begin anew with each.",
         OF_VM,
         false,
         {{"boots", NULL}}},
	{"trivm_vm_vcpus", GAUGE, "Virtual CPUs.", OF_VM, false, {{"cpus", NULL}}},
	{"trivm_vm_memory_bytes", GAUGE, "Guest memory.", OF_VM, false, {{"memory", NULL}}},
	{"trivm_vcpu_exits_total",
         COUNTER,
         "Times that the vCPU left the guest, for whatever reason (KVM).",
         OF_VCPU,
         false,
         {{"exits", NULL}}},
	{"trivm_vcpu_kvm_exits_total",
         COUNTER,
         "Of these, some kinds, as KVM counts them.",
         OF_VCPU,
         false,
         {{"io_exits", "kind=\"io\""},
          {"mmio_exits", "kind=\"mmio\""},
          {"halt_exits", "kind=\"halt\""},
          {"irq_exits", "kind=\"irq\""},
          {"signal_exits", "kind=\"signal\""}}},
	{"trivm_vcpu_user_exits_total",
         COUNTER,
         "Exits to user space, as the VMM counts them.",
         OF_VCPU,
         false,
         {{"user_pio_in", "kind=\"pio_in\""},
          {"user_pio_out", "kind=\"pio_out\""},
          {"user_mmio_read", "kind=\"mmio_read\""},
          {"user_mmio_write", "kind=\"mmio_write\""},
          {"user_eoi", "kind=\"eoi\""},
          {"user_interrupted", "kind=\"interrupted\""},
          {"user_other", "kind=\"other\""}}},
	{"trivm_vcpu_interrupts_injected_total",
         COUNTER,
         "Interrupts that KVM handed to the vCPU.",
         OF_VCPU,
         false,
         {{"irq_injections", NULL}}},
	{"trivm_thread_cpu_seconds_total",
         COUNTER,
         "Processor time, of the VMM's threads and of those that work for the VM.",
         OF_THREAD,
         true,
         {{"cpu_us", NULL}}},
	{"trivm_thread_context_switches_total",
         COUNTER,
         "Context switches.",
         OF_THREAD,
         false,
         {{"voluntary", "type=\"voluntary\""}, {"involuntary", "type=\"involuntary\""}}},
	{"trivm_nic_link_up",
         GAUGE,
         "The link as the driver sees it.",
         OF_CARD,
         false,
         {{"link", NULL}}},
	{"trivm_queue_packets_total",
         COUNTER,
         "Packets that passed.",
         OF_RING,
         false,
         {{"packets", NULL}}},
	{"trivm_queue_bytes_total",
         COUNTER,
         "Their bytes, without the virtio-net header.",
         OF_RING,
         false,
         {{"bytes", NULL}}},
	{"trivm_queue_drops_total",
         COUNTER,
         "Packets that were dropped.",
         OF_RING,
         false,
         {{"drop_link", "cause=\"link\""},
          {"drop_port", "cause=\"port\""},
          {"drop_size", "cause=\"size\""},
          {"drop_filter", "cause=\"filter\""}}},
	{"trivm_queue_kicks_total",
         COUNTER,
         "Notifications by the driver, by the way they came.",
         OF_RING,
         false,
         {{"kicks_exit", "way=\"exit\""}, {"kicks_ioeventfd", "way=\"ioeventfd\""}}},
	{"trivm_queue_kicks_off_total",
         COUNTER,
         "How often the driver was told that it need not notify.",
         OF_RING,
         false,
         {{"kicks_off", NULL}}},
	{"trivm_queue_interrupts_total",
         COUNTER,
         "Interrupts, by the way they went.",
         OF_RING,
         false,
         {{"interrupts_irqfd", "way=\"irqfd\""}, {"interrupts_ioctl", "way=\"ioctl\""}}},
	{"trivm_queue_interrupts_carried_total",
         COUNTER,
         "Of those by ioctl: carried for another process or the kernel.",
         OF_RING,
         false,
         {{"interrupts_carried", NULL}}},
	{"trivm_queue_interrupts_spared_total",
         COUNTER,
         "That the driver did not want.",
         OF_RING,
         false,
         {{"interrupts_spared", NULL}}},
	{"trivm_queue_wakeups_total",
         COUNTER,
         "Of the datapath's thread, for this queue.",
         OF_RING,
         false,
         {{"wakeups", NULL}}},
	{"trivm_queue_chains_total",
         COUNTER,
         "Chains of buffers taken from the queue.",
         OF_RING,
         false,
         {{"chains", NULL}}},
	{"trivm_nic_interface_packets_total",
         COUNTER,
         "Packets, as the host's kernel counts them on the NIC's interface.",
         OF_INTERFACE,
         false,
         {{"to_guest_packets", "direction=\"to_guest\""},
          {"from_guest_packets", "direction=\"from_guest\""}}},
	{"trivm_nic_interface_bytes_total",
         COUNTER,
         "Their bytes.",
         OF_INTERFACE,
         false,
         {{"to_guest_bytes", "direction=\"to_guest\""},
          {"from_guest_bytes", "direction=\"from_guest\""}}},
	{"trivm_nic_interface_drops_total",
         COUNTER,
         "Packets that it dropped.",
         OF_INTERFACE,
         false,
         {{"to_guest_dropped", "direction=\"to_guest\""},
          {"from_guest_dropped", "direction=\"from_guest\""}}},
};

/* --- Labels --- */

#define VALUE_MAX 256

struct labels {
	char text[4096];
	size_t len;
};

static void put(struct labels *l, const char *s)
{
	for (; *s && l->len + 1 < sizeof(l->text); s++)
		l->text[l->len++] = *s;
	l->text[l->len] = '\0';
}

/* A value in quotes: backslash, quote and line end are escaped. What a VM says has an end. */
static void put_label(struct labels *l, const char *name, const char *value)
{
	char text[VALUE_MAX];

	/* A character that is cut would make the whole text unreadable for Prometheus. */
	text_utf8(text, sizeof(text), value);
	put(l, l->len ? "," : "");
	put(l, name);
	put(l, "=\"");
	for (const char *c = text; *c; c++) {
		const char one[] = {*c, '\0'};

		put(l, *c == '\\' ? "\\\\" : *c == '"' ? "\\\"" : *c == '\n' ? "\\n" : one);
	}
	put(l, "\"");
}

/* The member @key of @o, text or number, as the label @name. */
static void put_member(struct labels *l, const char *name, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);
	char number[24];

	snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	if (json_is_string(v))
		put_label(l, name, json_string_value(v));
	else
		put_label(l, name, json_is_integer(v) ? number : "all");
}

/* --- Lines --- */

static bool number(const json_t *v, double *real)
{
	if (json_is_string(v)) /* the one state that is not a number */
		*real = strcmp(json_string_value(v), "up") == 0;
	else if (json_is_boolean(v))
		*real = json_is_true(v);
	else
		*real = json_number_value(v);
	return v && !json_is_null(v);
}

static void line(FILE *out, const struct metric *m, const struct series *s, const json_t *o,
                 const struct labels *l)
{
	const json_t *v = json_object_get(o, s->key);
	double real;

	if (!number(v, &real))
		return;
	fprintf(out, "%s{%s%s%s} ", m->name, l->text, s->labels ? "," : "",
	        s->labels ? s->labels : "");
	if (m->micro)
		fprintf(out, "%.6f\n", real / 1000000);
	else if (json_is_integer(v))
		fprintf(out, "%" JSON_INTEGER_FORMAT "\n", json_integer_value(v));
	else
		fprintf(out, "%.15g\n", real);
}

/* --- The walk --- */

typedef void visit_fn(FILE *out, const void *arg, const json_t *object, const struct labels *l);

static void visit_cards(const json_t *cards, struct labels base, enum kind of, FILE *out,
                        visit_fn *fn, const void *arg)
{
	const json_t *card, *ring;
	size_t i, k;

	json_array_foreach (cards, i, card) {
		const json_t *stats = json_object_get(card, "stats");
		const json_t *interface = json_object_get(stats, "interface");
		struct labels l = base;

		put_member(&l, "nic", card, "id");
		if (of == OF_CARD) {
			put_member(&l, "datapath", card, "datapath");
			fn(out, arg, card, &l);
		} else if (of == OF_INTERFACE && interface) {
			put_member(&l, "interface", interface, "name");
			fn(out, arg, interface, &l);
		}
		json_array_foreach (json_object_get(stats, "rings"), k, ring) {
			struct labels r = l;

			put_member(&r, "queue", ring, "ring");
			put_member(&r, "direction", ring, "direction");
			if (of == OF_RING)
				fn(out, arg, ring, &r);
		}
	}
}

/* Call @fn for each object of @sample that is @of that kind. */
static void visit(const json_t *sample, enum kind of, FILE *out, visit_fn *fn, const void *arg)
{
	const json_t *stats = json_object_get(sample, "stats"), *o;
	struct labels base = {.len = 0};
	size_t i;

	put_member(&base, "vm", json_object_get(sample, "status"), "name");
	if (of == OF_VM)
		fn(out, arg, json_object_get(sample, "status"), &base);
	json_array_foreach (json_object_get(stats, "vcpus"), i, o) {
		struct labels l = base;

		put_member(&l, "vcpu", o, "vcpu");
		if (of == OF_VCPU)
			fn(out, arg, o, &l);
	}
	json_array_foreach (json_object_get(stats, "threads"), i, o) {
		static const char *const keys[] = {"role", "name", "pid", "tid"};
		struct labels l = base;

		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			put_member(&l, keys[k], o, keys[k]);
		if (of == OF_THREAD)
			fn(out, arg, o, &l);
	}
	if (of >= OF_CARD)
		visit_cards(json_object_get(sample, "cards"), base, of, out, fn, arg);
}

static void head(FILE *out, const char *name, const char *type, const char *help)
{
	fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void write_series(FILE *out, const void *arg, const json_t *object, const struct labels *l)
{
	const struct metric *m = arg;

	for (unsigned i = 0; i < SERIES_MAX && m->series[i].key; i++)
		line(out, m, &m->series[i], object, l);
}

/* A histogram: each bucket has those below, too. */
static void write_batches(FILE *out, const void *arg, const json_t *ring, const struct labels *l)
{
	const char *name = arg;
	const json_t *sizes = json_object_get(ring, "batch_sizes"), *v;
	json_int_t sum = 0;
	size_t i;

	if (!json_is_array(sizes))
		return;
	json_array_foreach (sizes, i, v) {
		char le[24] = "+Inf";

		sum += json_integer_value(v);
		if (i + 1 < json_array_size(sizes))
			snprintf(le, sizeof(le), "%u", (2u << i) - 1);
		fprintf(out, "%s_bucket{%s,le=\"%s\"} %" JSON_INTEGER_FORMAT "\n", name, l->text,
		        le, sum);
	}
	fprintf(out, "%s_sum{%s} %" JSON_INTEGER_FORMAT "\n", name, l->text,
	        json_integer_value(json_object_get(ring, "chains")));
	fprintf(out, "%s_count{%s} %" JSON_INTEGER_FORMAT "\n", name, l->text, sum);
}

void ctl_prometheus(FILE *out, const json_t *sample)
{
	static const char batches[] = "trivm_queue_batch_size";

	for (size_t i = 0; i < ARRAY_SIZE(metrics); i++) {
		const struct metric *m = &metrics[i];

		head(out, m->name, m->type, m->help);
		visit(sample, m->of, out, write_series, m);
	}
	head(out, batches, "histogram",
	     "Chains that were given back to the driver at a time; the sum: chains taken.");
	visit(sample, OF_RING, out, write_batches, batches);
}
