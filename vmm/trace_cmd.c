/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a client of the control socket. It has the VM arm a trace (net.trace), asks
 * for events until it is over, and shows them. If it is killed meanwhile the VM notices that nobody
 * asks any more, and disarms.
 */
#include "vmm/trace_cmd.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/control_path.h"
#include "vmm/ctl.h"
#include "vmm/ctl_client.h"
#include "vmm/exit_status.h"
#include "vmm/json_text.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define EXIT_NOTHING   1 /* no packet passed, or the VM refused */
#define ANSWER_SECONDS 30
#define ASK_US         50000

struct options {
	bool json, no_observer;
	const char *control, *name, *id, *direction; /* NULL: not given */
	long ring, packets, seconds;                 /* -1: not given */
};

void trace_help(void)
{
	printf("Usage: trivm trace [OPTION]... [NAME [ID]]\n"
	       "The journey of the next packets of a network card: what happens to them, when, on "
	       "which\nthread, and in which function. NAME and ID can be left out while there is "
	       "only one.\n\n"
	       "  --tx, --rx      only packets that the guest sends, receives\n"
	       "  --ring N        only of this ring\n"
	       "  --packets N     so many, in each direction (1)\n"
	       "  --timeout S     end after S seconds with what there is (10)\n"
	       "  --no-observer   no thread that watches the ring in guest memory\n"
	       "  --json          the events in one line of JSON\n"
	       "  --control PATH  the VM's control socket\n\n"
	       "Exit status: 0; 1 no packet came, or the VM refused; 2 wrong usage.\n");
}

static int parse_number(const char *option, const char *text, long *value, struct err *err)
{
	char *end;

	errno = 0;
	*value = strtol(text, &end, 10);
	if (!*text || *end || *value < 0 || errno)
		return err_set(err, -EINVAL, "%s %s: not a number", option, text);
	return 0;
}

/* The options that have a value. 1: it is none of these. */
static int parse_value(struct options *o, const char *option, const char *value, struct err *err)
{
	static const char *const names[] = {"--control", "--ring", "--packets", "--timeout"};
	size_t i = 0;

	while (i < ARRAY_SIZE(names) && strcmp(option, names[i]) != 0)
		i++;
	if (i == ARRAY_SIZE(names))
		return 1;
	if (!value)
		return err_set(err, -EINVAL, "%s: a value is missing", option);
	if (i == 0) {
		o->control = value;
		return 0;
	}
	return parse_number(option, value,
	                    i == 1   ? &o->ring
	                    : i == 2 ? &o->packets
	                             : &o->seconds,
	                    err);
}

/* 0, 1 if the help was asked for, or -EINVAL. */
static int parse(struct options *o, int argc, char **argv, struct err *err)
{
	*o = (struct options){.ring = -1, .packets = -1, .seconds = -1};
	for (int i = 0; i < argc; i++) {
		const char *a = argv[i];
		int rc = parse_value(o, a, i + 1 < argc ? argv[i + 1] : NULL, err);

		if (rc < 0)
			return rc;
		if (rc == 0)
			i++;
		else if (strcmp(a, "--help") == 0 || strcmp(a, "-h") == 0)
			return 1;
		else if (strcmp(a, "--tx") == 0 || strcmp(a, "--rx") == 0)
			o->direction = a + 2;
		else if (strcmp(a, "--json") == 0)
			o->json = true;
		else if (strcmp(a, "--no-observer") == 0)
			o->no_observer = true;
		else if (a[0] == '-')
			return err_set(err, -EINVAL, "%s: unknown option; see `trivm trace --help`",
			               a);
		else if (!o->name && !o->control)
			o->name = a;
		else if (!o->id)
			o->id = a;
		else
			return err_set(err, -EINVAL,
			               "%s: one word too many; see `trivm trace --help`", a);
	}
	return 0;
}

/* The card: the one that was named, or the only one. NULL: @err says why not. */
static json_t *find_card(struct ctl_client *c, const struct options *o, struct err *err)
{
	json_t *list = NULL, *id = NULL;

	if (o->id)
		return json_text(o->id);
	if (ctl_call(c, "net.list", NULL, &list, err) < 0)
		return NULL;
	if (json_array_size(list) == 1)
		id = json_incref(json_object_get(json_array_get(list, 0), "id"));
	else
		err_set(err, -ENOENT,
		        "it has %d network cards: say which; `trivm ctl net` has them",
		        (int)json_array_size(list));
	json_decref(list);
	return id;
}

static json_t *begin(struct ctl_client *c, const struct options *o, struct err *err)
{
	json_t *id = find_card(c, o, err), *params, *trace = NULL;

	if (!id)
		return NULL;
	params = json_pack("{s:o, s:s*}", "id", id, "direction", o->direction);
	if (o->ring >= 0)
		json_object_set_new(params, "ring", json_integer(o->ring));
	if (o->packets >= 0)
		json_object_set_new(params, "packets", json_integer(o->packets));
	if (o->seconds >= 0)
		json_object_set_new(params, "seconds", json_integer(o->seconds));
	if (o->no_observer)
		json_object_set_new(params, "observe", json_false());
	ctl_call(c, "net.trace", params, &trace, err);
	return trace;
}

/* All events until it is over; *@state says how it ended and is the caller's. NULL: error. */
static json_t *collect(struct ctl_client *c, const json_t *trace, json_t **state, struct err *err)
{
	json_t *events = json_array(), *reply = NULL;
	json_int_t next = 0;
	bool running = true;

	while (running) {
		const char *s;

		if (ctl_call(c, "net.trace.read",
		             json_pack("{s:O, s:I}", "trace", json_object_get(trace, "trace"),
		                       "from", next),
		             &reply, err) < 0) {
			json_decref(events);
			return NULL;
		}
		json_array_extend(events, json_object_get(reply, "events"));
		s = json_string_value(json_object_get(reply, "state"));
		running = s && strcmp(s, "running") == 0;
		if (running && next == json_integer_value(json_object_get(reply, "next")))
			usleep(ASK_US);
		next = json_integer_value(json_object_get(reply, "next"));
		if (!running)
			*state = json_incref(json_object_get(reply, "state"));
		json_decref(reply);
	}
	return events;
}

/* Whether there was anything to show. */
static bool show(const struct options *o, const json_t *trace, const json_t *events,
                 const json_t *state)
{
	const char *how = json_string_value(state);

	if (o->json) {
		json_t *all = json_pack("{s:O, s:O, s:O}", "trace", trace, "state", state, "events",
		                        events);

		json_dumpf(all, stdout, JSON_COMPACT);
		putchar('\n');
		json_decref(all);
		return json_array_size(events) != 0;
	}
	if (!trace_show(stdout, trace, events)) {
		printf("No packet came.\n");
		return false;
	}
	if (how && strcmp(how, "timeout") == 0)
		printf("The time was over before all of the packets had come.\n");
	if (how && strcmp(how, "full") == 0)
		printf("There were more events than a trace holds: fewer packets, or --tx or "
		       "--rx.\n");
	return true;
}

static int run(const struct options *o, struct err *err)
{
	json_t *trace, *events = NULL, *state = NULL;
	char path[CONTROL_PATH_MAX];
	struct ctl_client c;
	bool shown = false;
	int rc;

	if (o->control)
		snprintf(path, sizeof(path), "%s", o->control);
	rc = o->control ? 0 : ctl_find_socket(o->name, path, err);
	if (rc == 0)
		rc = ctl_connect(&c, path, ANSWER_SECONDS, err);
	if (rc < 0)
		return rc;
	trace = begin(&c, o, err);
	if (trace)
		events = collect(&c, trace, &state, err);
	if (events)
		shown = show(o, trace, events, state);
	rc = events ? 0 : -EREMOTEIO;
	json_decref(state);
	json_decref(events);
	json_decref(trace);
	ctl_close(&c);
	return rc < 0 ? rc : !shown;
}

int trace_main(int argc, char **argv)
{
	struct err err = {.msg = ""};
	struct options o;
	int rc = parse(&o, argc, argv, &err);

	if (rc == 1) {
		trace_help();
		return 0;
	}
	if (rc == 0)
		rc = run(&o, &err);
	if (rc < 0)
		log_error("%s", err.msg);
	if (rc == 0 && fflush(stdout) == 0)
		return 0;
	return rc == -EINVAL ? EXIT_USAGE : EXIT_NOTHING;
}
