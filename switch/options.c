/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one table of options, as trivm's own (vmm/config.c): parsing, --help and
 * completion walk it. The values of --port and --uplink are lists of words; for each kind of list
 * there is one function that takes a word.
 */
#include "switch/options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "switch/sw.h"
#include "vmm/util.h"

struct option {
	const char *name;
	const char *value; /* what follows; NULL: a switch; in brackets: only with '=' */
	const char *help;
	int (*set)(struct options *o, char *value, struct err *err);
	size_t count; /* a switch: offset of the unsigned that counts it */
};

/* A number from @min to @max and nothing else. */
static int parse_number(const char *text, unsigned long min, unsigned long max, unsigned long *out)
{
	char *end;

	errno = 0;
	*out = strtoul(text, &end, 10);
	return text[0] < '0' || text[0] > '9' || *end || errno || *out < min || *out > max ? -EINVAL
	                                                                                   : 0;
}

/* "id=", "vlan=", "isolated": what ports and uplinks have in common. 1: not one of these. */
static int common_word(const char *option, const char *word, const char **id, uint16_t *vlan,
                       bool *isolated, struct err *err)
{
	unsigned long n;

	if (strcmp(word, "isolated") == 0) {
		*isolated = true;
		return 0;
	}
	if (strncmp(word, "id=", 3) == 0) {
		if (!word[3] || strlen(word + 3) > 32)
			return err_set(err, -EINVAL, "%s: %s: expected 1 to 32 characters", option,
			               word);
		*id = word + 3;
		return 0;
	}
	if (strncmp(word, "vlan=", 5) == 0) {
		if (parse_number(word + 5, 1, 4094, &n) < 0)
			return err_set(err, -EINVAL, "%s: %s: expected a VLAN id from 1 to 4094",
			               option, word);
		*vlan = (uint16_t)n;
		return 0;
	}
	return 1;
}

static int set_port(struct options *o, char *value, struct err *err)
{
	struct guest_config *p = &o->ports[o->nr_ports];
	char *rest = value;

	if (o->nr_ports == OPTIONS_PORTS_MAX)
		return err_set(err, -EINVAL, "--port %s: more than %d ports", value,
		               OPTIONS_PORTS_MAX);
	*p = (struct guest_config){.path = strsep(&rest, ","), .server = true};
	if (!*p->path)
		return err_set(err, -EINVAL, "--port: expected the path of a socket");
	p->id = p->path;
	for (char *word; (word = strsep(&rest, ","));) {
		int rc;

		if (strcmp(word, "server") == 0 || strcmp(word, "client") == 0) {
			p->server = word[0] == 's';
			continue;
		}
		rc = common_word("--port", word, &p->id, &p->vlan, &p->isolated, err);
		if (rc == 1)
			return err_set(err, -EINVAL,
			               "--port %s: %s: expected server, client, id=NAME, vlan=N or "
			               "isolated",
			               p->path, word);
		if (rc < 0)
			return rc;
	}
	o->nr_ports++;
	return 0;
}

/* "tap", "tap:NAME", "user" */
static int uplink_kind(struct uplink_options *u, char *word, struct err *err)
{
	u->id = word;
	if (strcmp(word, "user") == 0) {
		u->kind = UPLINK_USER;
	} else if (strcmp(word, "tap") == 0) {
		u->kind = UPLINK_TAP;
	} else if (strncmp(word, "tap:", 4) == 0 && word[4]) {
		u->kind = UPLINK_TAP;
		u->tap = u->id = word + 4;
	} else {
		return err_set(err, -EINVAL, "--uplink %s: expected tap, tap:NAME or user", word);
	}
	return 0;
}

/* "mtu=". For the user network the limit is libslirp's, for a tap the kernel's. */
static int uplink_mtu(struct uplink_options *u, const char *word, struct err *err)
{
	unsigned long max = u->kind == UPLINK_USER ? PORT_USER_MTU_MAX : 65521, n;

	if (parse_number(word + 4, 68, max, &n) < 0)
		return err_set(err, -EINVAL, "--uplink %s: %s: expected bytes from 68 to %lu",
		               u->id, word, max);
	u->mtu = (unsigned)n;
	u->user.mtu = u->mtu;
	return 0;
}

static int uplink_word(struct uplink_options *u, char *word, struct err *err)
{
	int rc = common_word("--uplink", word, &u->id, &u->vlan, &u->isolated, err);

	if (rc <= 0)
		return rc;
	if (strncmp(word, "mtu=", 4) == 0)
		return uplink_mtu(u, word, err);
	if (u->kind == UPLINK_TAP && strncmp(word, "bridge=", 7) == 0 && word[7]) {
		u->bridge = word + 7;
		return 0;
	}
	if (u->kind == UPLINK_USER && strcmp(word, "restricted") == 0) {
		u->user.restricted = true;
		return 0;
	}
	if (u->kind == UPLINK_USER && strncmp(word, "hostfwd=", 8) == 0) {
		if (u->user.nr_forwards == PORT_FORWARDS_MAX)
			return err_set(err, -EINVAL,
			               "--uplink user: more than %d hostfwd=", PORT_FORWARDS_MAX);
		return port_parse_forward(word + 8, &u->user.forwards[u->user.nr_forwards++], err);
	}
	return err_set(err, -EINVAL, "--uplink %s: %s: expected id=NAME, vlan=N, mtu=N, isolated%s",
	               u->id, word,
	               u->kind == UPLINK_TAP ? " or bridge=NAME"
	                                     : ", restricted or hostfwd=FORWARD");
}

static int set_uplink(struct options *o, char *value, struct err *err)
{
	struct uplink_options *u = &o->uplinks[o->nr_uplinks];
	char *rest = value;
	int rc;

	if (o->nr_uplinks == OPTIONS_UPLINKS_MAX)
		return err_set(err, -EINVAL, "--uplink %s: more than %d uplinks", value,
		               OPTIONS_UPLINKS_MAX);
	*u = (struct uplink_options){0};
	rc = uplink_kind(u, strsep(&rest, ","), err);
	for (char *word; rc == 0 && (word = strsep(&rest, ","));)
		rc = uplink_word(u, word, err);
	if (rc == 0)
		o->nr_uplinks++;
	return rc;
}

static int set_poll(struct options *o, char *value, struct err *err)
{
	unsigned long us;

	o->poll_us = SW_POLL_FOREVER;
	if (!value)
		return 0;
	if (parse_number(value, 1, 10000000, &us) < 0)
		return err_set(err, -EINVAL,
		               "--poll=%s: expected microseconds from 1 to 10000000, or nothing "
		               "for ever",
		               value);
	o->poll_us = (uint32_t)us;
	return 0;
}

static int set_age(struct options *o, char *value, struct err *err)
{
	unsigned long s;

	if (parse_number(value, 1, 1000000, &s) < 0)
		return err_set(err, -EINVAL, "--age %s: expected seconds from 1 to 1000000", value);
	o->age = (uint32_t)s;
	return 0;
}

static int set_wait(struct options *o, char *value, struct err *err)
{
	unsigned long ms;

	if (parse_number(value, 0, 10000, &ms) < 0)
		return err_set(err, -EINVAL, "--wait %s: expected milliseconds from 0 to 10000",
		               value);
	o->wait_ms = (uint32_t)ms;
	return 0;
}

static int set_stats(struct options *o, char *value, struct err *err)
{
	(void)err;
	o->stats = value;
	return 0;
}

#define COUNT(field) .count = offsetof(struct options, field)

static const struct option options[] = {
	{"port", "PATH[,OPTION...]",
         "a port for one guest: its vhost-user socket; repeatable. OPTIONs:\n"
         "server (default: listen at PATH) or client (connect, again and again),\n"
         "id=NAME, vlan=N (only ports of the same VLAN reach each other),\n"
         "isolated (reaches only ports that are not isolated)",
         .set = set_port},
	{"uplink", "KIND[,OPTION...]",
         "a port to the host: tap, tap:NAME or user (no privileges needed);\n"
         "repeatable. OPTIONs: id=NAME, vlan=N, mtu=N, isolated; tap: bridge=NAME;\n"
         "user: hostfwd=tcp:[ADDR]:PORT-[ADDR]:PORT, restricted",
         .set = set_uplink},
	{"poll", "[US]",
         "look for work without sleeping: for ever, or with =US for so many\n"
         "microseconds after the last",
         .set = set_poll},
	{"age", "SECONDS", "forget stations that are silent for so long (300)", .set = set_age},
	{"wait", "MS",
         "so long a sender waits for a receiver without buffers, before its\n"
         "frames are dropped (10); 0: no guest can slow down another",
         .set = set_wait},
	{"stats", "FILE", "write the counters there, on SIGUSR1 and at the end (standard output)",
         .set = set_stats},
	{"no-sandbox", NULL, "do without the system call filter", COUNT(no_sandbox)},
	{"verbose", NULL, "say who comes and goes", COUNT(verbose)},
	{"help", NULL, "this text", COUNT(help)},
	{"version", NULL, "the version", COUNT(version)},
};

void options_print_help(FILE *out)
{
	fputs("usage: trivm-switch --port PATH [--port PATH ...] [--uplink KIND] [OPTION ...]\n\n"
	      "A learning Ethernet switch for virtual machines, over vhost-user.\n\n",
	      out);
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *p = &options[i];
		const char *line = p->help;
		bool optional = p->value && p->value[0] == '[';
		int n = optional ? fprintf(out, "  --%s[=%.*s]", p->name, (int)strlen(p->value) - 2,
		                           p->value + 1)
		                 : fprintf(out, "  --%s%s%s", p->name, p->value ? " " : "",
		                           p->value ? p->value : "");

		if (n > 21)
			fprintf(out, "\n%24s", "");
		else
			fprintf(out, "%*s", 24 - n, "");
		for (const char *end; (end = strchr(line, '\n')); line = end + 1)
			fprintf(out, "%.*s\n%24s", (int)(end - line), line, "");
		fprintf(out, "%s\n", line);
	}
	fputs("\nSIGUSR1 prints the counters, SIGTERM and SIGINT end the switch. trivm-switch(1) "
	      "has "
	      "more.\n",
	      out);
}

void options_print_words(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		fprintf(out, "--%s%s%s\n", options[i].name, options[i].value ? " " : "",
		        options[i].value ? options[i].value : "");
}

/* The option that @arg names, and its value behind '=', or NULL. */
static const struct option *find(char *arg, char **value)
{
	size_t len;

	if (strncmp(arg, "--", 2) != 0)
		return NULL;
	len = strcspn(arg + 2, "=");
	*value = arg[2 + len] ? arg + 3 + len : NULL;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		if (strlen(options[i].name) == len && memcmp(options[i].name, arg + 2, len) == 0)
			return &options[i];
	return NULL;
}

static int one(struct options *o, int argc, char **argv, int *i, struct err *err)
{
	char *value = NULL;
	const struct option *p = find(argv[*i], &value);

	if (!p)
		return err_set(err, -EINVAL, "%s: no such option; see trivm-switch --help",
		               argv[*i]);
	if (!p->value) {
		if (value)
			return err_set(err, -EINVAL, "--%s takes no value", p->name);
		++*(unsigned *)((char *)o + p->count);
		return 0;
	}
	if (!value && p->value[0] != '[') {
		if (*i + 1 >= argc)
			return err_set(err, -EINVAL, "--%s: %s is missing", p->name, p->value);
		value = argv[++*i];
	}
	return p->set(o, value, err);
}

/* Ids tell ports apart in messages and counters. */
static int check_ids(const struct options *o, struct err *err)
{
	for (unsigned i = 0; i < o->nr_ports + o->nr_uplinks; i++) {
		const char *a = i < o->nr_ports ? o->ports[i].id : o->uplinks[i - o->nr_ports].id;

		for (unsigned j = 0; j < i; j++) {
			const char *b =
				j < o->nr_ports ? o->ports[j].id : o->uplinks[j - o->nr_ports].id;

			if (strcmp(a, b) == 0)
				return err_set(err, -EINVAL,
				               "two ports are called %s; give one of them id=NAME",
				               a);
		}
	}
	return 0;
}

int options_parse(struct options *o, int argc, char **argv, struct err *err)
{
	*o = (struct options){.age = 300, .poll_us = SW_POLL_NEVER, .wait_ms = SW_WAIT_MS};
	if (argc == 2 && strcmp(argv[1], "completion-words") == 0) {
		o->words = 1;
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		int rc = one(o, argc, argv, &i, err);

		if (rc < 0)
			return rc;
	}
	if (o->help || o->version)
		return 0;
	if (!o->nr_ports)
		return err_set(err, -EINVAL,
		               "a switch needs a port: --port PATH; see trivm-switch --help");
	return check_ids(o, err);
}
