/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: events come from several threads and belong to one ring or another. They are
 * brought into the order of their times and divided into journeys, ring by ring: one begins with
 * the first event behind the moment at which the used ring moved, and has what follows of
 * interrupts. A datapath that takes several packets at once has them all in one journey.
 *
 * A wake-up that found nothing, as the driver kicked for what was being served already, is none.
 *
 * What a driver does to a receive ring - gives it buffers, kicks - is the end of the journey
 * before, not the beginning of one: there it begins with a frame in the port.
 *
 * The stages' names are those of vmm/trace.h, which this process was built with; of the probes'
 * names only the observer's matter here.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/trace.h"
#include "vmm/trace_cmd.h"
#include "vmm/util.h"

#define RINGS 64
/* What the observer saw that late is too old to begin with. */
#define SEEN_LATE_NS 1000000
#define ALIKE_MAX    3 /* of a row of the same events so many are shown */

struct line {
	json_int_t ns;
	size_t order;
	const json_t *event;
	unsigned ring;
	enum trace_stage stage;
	unsigned journey; /* from 1; 0: none */
};

struct journey {
	unsigned ring, packets;
	size_t first;                /* line */
	bool kicked;                 /* it begins with a kick, or with buffers made available */
	json_int_t at[TRACE_STAGES]; /* the first event of each stage, since its beginning, ns */
	bool has[TRACE_STAGES];
	bool spared;
	bool blurred; /* the observer did not look between available and used */
	bool empty;   /* a wake-up, or news of the observer's, for nothing that was left to do */
	bool asleep;  /* the server is done with it, and has the driver kick again */
};

struct story {
	struct line *lines;
	size_t nr_lines;
	struct journey *journeys;
	unsigned nr_journeys;
	unsigned open[RINGS]; /* the ring's journey; 0: none yet */
	bool vmm;             /* the datapath tells of itself; else there is the observer alone */
};

static const char *text_of(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "";
}

static json_int_t number_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static enum trace_stage stage_of(const json_t *event)
{
	const char *name = text_of(event, "stage");
	unsigned i = 0;

	while (i < TRACE_STAGES && strcmp(trace_stage_name((enum trace_stage)i), name) != 0)
		i++;
	return i < TRACE_STAGES ? (enum trace_stage)i : TRACE_NOTE;
}

static int by_time(const void *a, const void *b)
{
	const struct line *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

/* --- Dividing --- */

static bool is_point(const struct line *l, const char *name)
{
	return strcmp(text_of(l->event, "point"), name) == 0;
}

/* By how much earlier than told may it have happened? */
static json_int_t uncertainty(const struct line *l)
{
	bool observed = is_point(l, "ring_avail") || is_point(l, "ring_used");
	const json_t *args = json_object_get(l->event, "args");

	return observed ? json_integer_value(json_array_get(args, 1)) : 0;
}

/* Does @l begin a journey, when @j is the ring's last one (NULL: there is none)? */
static bool begins(const struct story *s, const struct line *l, const struct journey *j)
{
	bool buffers = l->stage == TRACE_KICK || is_point(l, "kick_seen");

	if (l->stage == TRACE_NOTE || l->stage >= TRACE_CALL)
		return false;
	if (!(l->ring & 1) && buffers)
		return false;
	if (!j || j->empty)
		return true;
	if (s->vmm && l->stage == TRACE_KICK && uncertainty(l) > SEEN_LATE_NS)
		return false;
	if (l->stage == TRACE_SHOW) /* seen by the observer alone: each is one */
		return j->has[TRACE_SHOW] && is_point(l, "ring_used");
	return j->has[TRACE_SHOW] && l->stage < TRACE_SHOW;
}

static void begin(struct story *s, size_t at)
{
	struct line *l = &s->lines[at];

	s->journeys[s->nr_journeys++] =
		(struct journey){.ring = l->ring, .first = at, .kicked = l->stage == TRACE_KICK};
	s->open[l->ring] = s->nr_journeys;
}

static void join(struct story *s, size_t at)
{
	struct line *l = &s->lines[at];
	struct journey *j = &s->journeys[s->open[l->ring] - 1];

	/* Notes behind that are about other packets, of the other direction perhaps. */
	if (j->asleep && l->stage == TRACE_NOTE)
		return;
	/* The datapath has said already what the observer only now saw. */
	if (s->vmm && (l->ring & 1) && j->has[TRACE_TAKE] && is_point(l, "ring_avail"))
		return;
	if (is_point(l, "kicks_on")) {
		j->asleep = j->has[TRACE_SHOW];
		j->empty = !j->asleep && !j->has[TRACE_TAKE] && !j->has[TRACE_MOVE];
	}
	l->journey = s->open[l->ring];
	if (!j->has[l->stage])
		j->at[l->stage] = l->ns - s->lines[j->first].ns;
	/* What comes behind the end is the driver's answer, not its kick. */
	if (l->stage != TRACE_KICK || !j->has[TRACE_SHOW])
		j->has[l->stage] = true;
	if (l->stage == TRACE_MOVE)
		j->packets++;
	/* The two together say nothing of the time between them. */
	if (l->stage == TRACE_SHOW && uncertainty(l) > l->ns - s->lines[j->first].ns)
		j->blurred = at != j->first;
	if (is_point(l, "ring_used"))
		j->packets += (unsigned)json_integer_value(
			json_array_get(json_object_get(l->event, "args"), 0));
	j->spared |= is_point(l, "irq_spared");
}

static void divide(struct story *s)
{
	for (size_t i = 0; i < s->nr_lines; i++) {
		const struct line *l = &s->lines[i];
		unsigned open = s->open[l->ring];

		if (begins(s, l, open ? &s->journeys[open - 1] : NULL))
			begin(s, i);
		if (s->open[l->ring])
			join(s, i);
	}
}

static int load(struct story *s, bool vmm, const json_t *events)
{
	json_t *event;
	size_t i;

	memset(s, 0, sizeof(*s));
	s->vmm = vmm;
	s->lines = calloc(json_array_size(events) + 1, sizeof(s->lines[0]));
	s->journeys = calloc(json_array_size(events) + 1, sizeof(s->journeys[0]));
	if (!s->lines || !s->journeys)
		return -1;
	json_array_foreach (events, i, event) {
		json_int_t ring = number_of(event, "ring");

		if (ring < 0 || ring >= RINGS)
			continue;
		s->lines[s->nr_lines++] = (struct line){.ns = number_of(event, "ns"),
		                                        .order = i,
		                                        .event = event,
		                                        .ring = (unsigned)ring,
		                                        .stage = stage_of(event)};
	}
	qsort(s->lines, s->nr_lines, sizeof(s->lines[0]), by_time);
	divide(s);
	return 0;
}

/* --- Printing --- */

/* Strings come from the VM: nothing in them is for the terminal. */
static void put(FILE *out, const char *s, int width)
{
	int n = 0;

	for (; *s; s++, n++)
		fputc((unsigned char)*s < ' ' || *s == 127 ? '?' : *s, out);
	for (; n < width; n++)
		fputc(' ', out);
}

static void put_line(FILE *out, const struct line *l, json_int_t since)
{
	fprintf(out, "%10.1f  ", (double)(l->ns - since) / 1000);
	put(out, text_of(l->event, "thread"), 11);
	put(out, " ", 1);
	put(out, text_of(l->event, "point"), 12);
	put(out, text_of(l->event, "text"), 0);
	fprintf(out, "\n%38s", "");
	put(out, text_of(l->event, "func"), 0);
	fputs("() ", out);
	put(out, text_of(l->event, "file"), 0);
	fprintf(out, ":%d\n", (int)number_of(l->event, "line"));
}

static bool alike(const struct line *a, const struct line *b)
{
	return strcmp(text_of(a->event, "point"), text_of(b->event, "point")) == 0 &&
	       strcmp(text_of(a->event, "thread"), text_of(b->event, "thread")) == 0;
}

static void put_journey(FILE *out, const struct story *s, unsigned n)
{
	const struct journey *j = &s->journeys[n - 1];
	json_int_t since = s->lines[j->first].ns;
	const struct line *last = NULL;
	unsigned row = 0, left_out = 0;

	fprintf(out, "\n%s, ring %u, %u packet%s; microseconds since %s\n",
	        j->ring & 1 ? "sent by the guest" : "received by the guest", j->ring, j->packets,
	        j->packets == 1 ? "" : "s",
	        j->kicked ? "the driver's kick" : "the first that is seen of it");
	for (size_t i = j->first; i <= s->nr_lines; i++) {
		const struct line *l = i < s->nr_lines ? &s->lines[i] : NULL;

		if (l && l->journey != n)
			continue;
		row = l && last && alike(l, last) ? row + 1 : 0;
		if (left_out && !row) {
			fprintf(out, "%24s%u more of these\n", "", left_out);
			left_out = 0;
		}
		if (l && row < ALIKE_MAX)
			put_line(out, l, since);
		else if (l)
			left_out++;
		last = l;
	}
}

static int by_value(const void *a, const void *b)
{
	const json_int_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The middle of the times at @stage in complete journeys of that direction. */
static void put_median(FILE *out, const struct story *s, bool tx, enum trace_stage stage,
                       const char *name, bool *any)
{
	json_int_t *v = calloc(s->nr_journeys + 1, sizeof(v[0]));
	size_t n = 0;

	for (unsigned i = 0; v && i < s->nr_journeys; i++) {
		const struct journey *j = &s->journeys[i];

		if ((j->ring & 1) == tx && j->has[TRACE_SHOW] && j->has[stage] && !j->blurred &&
		    stage != s->lines[j->first].stage && !(stage == TRACE_CALL && j->spared))
			v[n++] = j->at[stage];
	}
	if (n) {
		qsort(v, n, sizeof(v[0]), by_value);
		fprintf(out, "%s, %s %.1f", *any ? "" : "; median us", name,
		        (double)v[n / 2] / 1000);
		*any = true;
	}
	free(v);
}

static void put_summary(FILE *out, const struct story *s, bool tx)
{
	unsigned n = 0, spared = 0, packets = 0, blurred = 0;
	bool any = false;

	for (unsigned i = 0; i < s->nr_journeys; i++) {
		const struct journey *j = &s->journeys[i];

		if ((j->ring & 1) != tx || !j->has[TRACE_SHOW])
			continue;
		n++;
		packets += j->packets;
		spared += j->spared;
		blurred += j->blurred;
	}
	if (!n)
		return;
	fprintf(out, "%s: %u packet%s in %u journey%s", tx ? "sent" : "received", packets,
	        packets == 1 ? "" : "s", n, n == 1 ? "" : "s");
	put_median(out, s, tx, TRACE_WAKE, "woken", &any);
	put_median(out, s, tx, TRACE_MOVE, tx ? "written" : "read", &any);
	put_median(out, s, tx, TRACE_SHOW, "used", &any);
	put_median(out, s, tx, TRACE_CALL, "interrupt", &any);
	put_median(out, s, tx, TRACE_CARRY, "delivered", &any);
	if (blurred)
		fprintf(out, "; %u used before the observer's next look: not timed", blurred);
	if (spared)
		fprintf(out, "; %u wanted no interrupt", spared);
	fputc('\n', out);
}

/* What is not in the list, and who does it. */
static void put_blind_spots(FILE *out, const json_t *trace)
{
	const json_t *ring = json_array_get(json_object_get(trace, "rings"), 0);
	const char *datapath = text_of(trace, "datapath");

	if (!json_is_true(json_object_get(trace, "driver")))
		fputs("No driver runs the card yet.\n", out);
	if (strcmp(text_of(ring, "notify"), "ioeventfd") == 0)
		fputs("Kicks: ioeventfd. KVM signals the kick eventfd; trivm does not see the "
		      "instant.\n       Nearest to it is ring_avail, by the observer: the driver "
		      "makes a chain available and then kicks.\n",
		      out);
	else
		fputs("Kicks: exits. KVM_RUN returns, and the vCPU's thread signals the kick "
		      "eventfd.\n",
		      out);
	if (strcmp(text_of(ring, "interrupt"), "irqfd") == 0)
		fputs("Interrupts: irqfd. KVM takes the call eventfd; what it does then is not "
		      "seen here.\n",
		      out);
	else if (strcmp(text_of(ring, "interrupt"), "ioctl") == 0 && strcmp(datapath, "vmm") == 0)
		fputs("Interrupts: by the datapath's thread, with an ioctl.\n", out);
	else
		fputs("Interrupts: the main loop reads the call eventfd and makes an ioctl.\n",
		      out);
	if (strcmp(datapath, "vhost-net") == 0)
		fputs("Packets: the host's kernel. Its worker (a thread vhost-PID) takes the kick, "
		      "reads the chain, writes to\n         the tap, and signals the call eventfd: "
		      "of that only what the ring shows is seen.\n",
		      out);
	else if (strcmp(datapath, "vmm") != 0)
		fputs("Packets: another process, the vhost-user back-end. It takes the kick, reads "
		      "the chain, moves the packet,\n         and signals the call eventfd: of "
		      "that only what the ring shows is seen.\n",
		      out);
}

size_t trace_show(FILE *out, const json_t *trace, const json_t *events)
{
	struct story s;
	size_t n = 0;

	put(out, text_of(trace, "id"), 0);
	fputs(": datapath ", out);
	put(out, text_of(trace, "datapath"), 0);
	fputs(", ", out);
	put(out, text_of(trace, "port"), 0);
	fputc('\n', out);
	put_blind_spots(out, trace);
	if (load(&s, strcmp(text_of(trace, "datapath"), "vmm") == 0, events) == 0) {
		for (unsigned i = 1; i <= s.nr_journeys; i++) {
			const struct journey *j = &s.journeys[i - 1];

			if (!j->has[TRACE_TAKE] && !j->has[TRACE_MOVE] && !j->has[TRACE_SHOW])
				continue;
			put_journey(out, &s, i);
			n++;
		}
		fputc('\n', out);
		put_summary(out, &s, true);
		put_summary(out, &s, false);
	}
	free(s.lines);
	free(s.journeys);
	return n;
}
