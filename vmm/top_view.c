/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a rate is the difference of one number in two samples. The object that it
 * belongs to - a vCPU, a thread, a ring - is looked for in the older sample by what identifies it;
 * one that was not there has no rates yet. A count that went backwards belongs to a machine that
 * has booted anew, and has none either.
 */
#include "vmm/top_view.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/util.h"

void top_line(struct top_lines *out, enum top_style style, const char *fmt, ...)
{
	struct top_line *l;
	va_list ap;

	if (out->nr == out->size) {
		unsigned size = out->size ? 2 * out->size : 64;

		l = realloc(out->lines, size * sizeof(*l));
		if (!l)
			return;
		out->lines = l;
		out->size = size;
	}
	l = &out->lines[out->nr++];
	l->style = style;
	va_start(ap, fmt);
	vsnprintf(l->text, sizeof(l->text), fmt, ap);
	va_end(ap);
	for (char *c = l->text; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
}

void top_lines_free(struct top_lines *lines)
{
	free(lines->lines);
	*lines = (struct top_lines){0};
}

/* --- Numbers --- */

#define CELL_MAX 16

struct cell {
	char text[CELL_MAX];
};

/* At most seven characters; NAN: not known. */
static struct cell cell(double v)
{
	struct cell c = {"-"};

	if (!isfinite(v))
		return c;
	if (v < 99.95 && v != (double)(int)v)
		snprintf(c.text, sizeof(c.text), "%.1f", v);
	else if (v < 99999.5)
		snprintf(c.text, sizeof(c.text), "%.0f", v);
	else if (v < 9999500)
		snprintf(c.text, sizeof(c.text), "%.1fk", v / 1e3);
	else if (v < 9999500e3)
		snprintf(c.text, sizeof(c.text), "%.1fM", v / 1e6);
	else
		snprintf(c.text, sizeof(c.text), "%.3g", v);
	return c;
}

/* Two objects, of which the older one may be NULL, and the seconds between them. */
struct pair {
	const json_t *before, *now;
	double seconds;
};

static double member(const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	return json_is_number(v) ? json_number_value(v) : NAN;
}

static double grown(const struct pair *p, const char *key)
{
	double d = member(p->now, key) - member(p->before, key);

	return d < 0 ? NAN : d;
}

/* For each second; the sum of several @keys, a blank between two. */
static double rate(const struct pair *p, const char *keys)
{
	double sum = 0;

	while (*keys) {
		size_t len = strcspn(keys, " ");
		char key[32];

		snprintf(key, sizeof(key), "%.*s", (int)len, keys);
		sum += grown(p, key);
		keys += len + (keys[len] == ' ');
	}
	return p->seconds > 0 ? sum / p->seconds : NAN;
}

static struct cell per_second(const struct pair *p, const char *keys)
{
	return cell(rate(p, keys));
}

/* --- Finding an object again --- */

/* The one in @list whose members @a and @b (NULL: none) are those of @o. */
static const json_t *twin(const json_t *list, const json_t *o, const char *a, const char *b)
{
	const json_t *other;
	size_t i;

	json_array_foreach (list, i, other) {
		if (json_equal(json_object_get(other, a), json_object_get(o, a)) &&
		    (!b || json_equal(json_object_get(other, b), json_object_get(o, b))))
			return other;
	}
	return NULL;
}

static const json_t *get(const json_t *o, const char *a, const char *b)
{
	return json_object_get(json_object_get(o, a), b);
}

static const char *word(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

/* --- Tables --- */

/* Percent of a processor. */
static double cpu(const struct pair *thread)
{
	return rate(thread, "cpu_us") / 10000;
}

static double vcpu_cpu(const struct pair *samples, json_int_t vcpu)
{
	const json_t *threads = get(samples->now, "stats", "threads"), *t;
	char name[24];
	size_t i;

	snprintf(name, sizeof(name), "vcpu%" JSON_INTEGER_FORMAT, vcpu);
	json_array_foreach (threads, i, t) {
		if (strcmp(word(t, "role"), "vcpu") == 0 && strcmp(word(t, "name"), name) == 0) {
			struct pair p = {
				twin(get(samples->before, "stats", "threads"), t, "tid", "pid"), t,
				samples->seconds};

			return cpu(&p);
		}
	}
	return NAN;
}

static void vcpus(struct top_lines *out, const struct pair *samples)
{
	const json_t *list = get(samples->now, "stats", "vcpus"), *v;
	size_t i;

	if (json_array_size(list))
		top_line(out, TOP_HEAD, "  %-5s %7s %8s %8s %8s %8s %8s %8s %8s", "VCPU", "CPU%",
		         "EXITS/s", "PIO/s", "MMIO/s", "EOI/s", "SIGNAL/s", "HALT/s", "INJECT/s");
	json_array_foreach (list, i, v) {
		const json_t *id = json_object_get(v, "vcpu");
		struct pair p = {twin(get(samples->before, "stats", "vcpus"), v, "vcpu", NULL), v,
		                 samples->seconds};
		char name[24] = "all";

		if (id)
			snprintf(name, sizeof(name), "%" JSON_INTEGER_FORMAT,
			         json_integer_value(id));
		top_line(out, TOP_PLAIN, "  %-5s %7s %8s %8s %8s %8s %8s %8s %8s", name,
		         cell(id ? vcpu_cpu(samples, json_integer_value(id)) : NAN).text,
		         per_second(&p, "exits").text,
		         per_second(&p, "user_pio_in user_pio_out").text,
		         per_second(&p, "user_mmio_read user_mmio_write").text,
		         per_second(&p, "user_eoi").text, per_second(&p, "user_interrupted").text,
		         per_second(&p, "halt_exits").text, per_second(&p, "irq_injections").text);
	}
}

#define DROPS "drop_link drop_port drop_size drop_filter"

/*
 * Packets, bytes and drops each second of @ring. Where the datapath does not count, the host's
 * interface does, if all that passes it passes this ring.
 */
static void traffic(const struct pair *ring, const struct pair *wire, bool alone, double v[3])
{
	bool tx = strcmp(word(ring->now, "direction"), "tx") == 0;

	v[0] = rate(ring, "packets");
	v[1] = rate(ring, "bytes");
	v[2] = rate(ring, DROPS);
	if (!isnan(member(ring->now, "packets")) || !alone)
		return;
	v[0] = rate(wire, tx ? "from_guest_packets" : "to_guest_packets");
	v[1] = rate(wire, tx ? "from_guest_bytes" : "to_guest_bytes");
	v[2] = rate(wire, tx ? "from_guest_dropped" : "to_guest_dropped");
}

/* The first 80 columns of a line are what most people want to know. */
static void rings(struct top_lines *out, const json_t *card, const json_t *before, double seconds)
{
	const json_t *list = get(card, "stats", "rings"), *r;
	struct pair wire = {get(before, "stats", "interface"), get(card, "stats", "interface"),
	                    seconds};
	bool up = strcmp(word(card, "link"), "up") == 0;
	size_t i;

	json_array_foreach (list, i, r) {
		struct pair p = {twin(get(before, "stats", "rings"), r, "ring", NULL), r, seconds};
		double v[3];

		traffic(&p, &wire, json_array_size(list) == 2, v);
		top_line(out, TOP_PLAIN,
		         "  %-8.8s %-10.10s %-4s %2.0f %-2s %7s %7s %7s %7s %7s %7s %7s %7s %6s",
		         i ? "" : word(card, "id"), i ? "" : word(card, "datapath"),
		         i ? "" : (up ? "up" : "down"), member(r, "ring"), word(r, "direction"),
		         cell(v[0]).text, cell(v[1] * 8 / 1e6).text, cell(v[2]).text,
		         per_second(&p, "kicks_ioeventfd").text, per_second(&p, "kicks_exit").text,
		         per_second(&p, "interrupts_irqfd").text,
		         per_second(&p, "interrupts_ioctl").text,
		         per_second(&p, "interrupts_spared").text,
		         cell(grown(&p, "chains") / grown(&p, "batches")).text);
	}
}

static void cards(struct top_lines *out, const struct pair *samples)
{
	const json_t *list = json_object_get(samples->now, "cards"), *card;
	size_t i;

	if (json_array_size(list))
		top_line(out, TOP_HEAD, "  %-8s %-10s %-4s %5s %7s %7s %7s %7s %7s %7s %7s %7s %6s",
		         "NIC", "DATAPATH", "LINK", "QUEUE", "PKT/s", "Mbit/s", "DROP/s", "KICK/s",
		         "KEXIT/s", "IRQFD/s", "IOCTL/s", "SPARE/s", "BATCH");
	json_array_foreach (list, i, card) {
		rings(out, card, twin(json_object_get(samples->before, "cards"), card, "id", NULL),
		      samples->seconds);
	}
}

/* A vCPU's is above, and those that do nothing are many. */
static void threads(struct top_lines *out, const struct pair *samples)
{
	const json_t *list = get(samples->now, "stats", "threads"), *t;
	size_t i;

	if (json_array_size(list))
		top_line(out, TOP_HEAD, "  %-16s %-12s %8s %7s %8s %8s", "THREAD", "ROLE", "TID",
		         "CPU%", "SLEEP/s", "PREEMPT/s");
	json_array_foreach (list, i, t) {
		struct pair p = {twin(get(samples->before, "stats", "threads"), t, "tid", "pid"), t,
		                 samples->seconds};
		const char *role = word(t, "role");

		if (strcmp(role, "vcpu") == 0 ||
		    (strcmp(role, "other") == 0 && !(rate(&p, "cpu_us") > 0)))
			continue;
		top_line(out, TOP_PLAIN, "  %-16.16s %-12.12s %8.0f %7s %8s %8s", word(t, "name"),
		         role, member(t, "tid"), cell(cpu(&p)).text,
		         per_second(&p, "voluntary").text, per_second(&p, "involuntary").text);
	}
}

void top_view(struct top_lines *out, const struct top_samples *vm)
{
	const json_t *status = json_object_get(vm->now, "status");
	struct pair samples = {vm->before, vm->now, (double)(vm->now_us - vm->before_us) / 1e6};
	double up = member(status, "uptime");
	unsigned long s = up > 0 ? (unsigned long)up : 0;

	if (vm->silent || !vm->now) {
		top_line(out, TOP_VM, "%s  does not answer", vm->name);
		return;
	}
	top_line(out, TOP_VM, "%s  %s  up %lu:%02lu:%02lu  %.0f vCPUs  %.0f MiB  pid %.0f  %s",
	         vm->name, word(status, "state"), s / 3600, s / 60 % 60, s % 60,
	         member(status, "cpus"), member(status, "memory") / MIB(1), member(status, "pid"),
	         word(status, "kernel"));
	vcpus(out, &samples);
	cards(out, &samples);
	threads(out, &samples);
}
