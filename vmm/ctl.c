/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: one table turns words into requests. A word of a pattern is typed as it is;
 * one in capitals is anybody's and becomes the parameter of that name. Which VM is meant: the first
 * argument, or, if the words fit a pattern without it, the only one that runs.
 */
#include "vmm/ctl.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/control_path.h"
#include "vmm/ctl_client.h"
#include "vmm/ctl_sample.h"
#include "vmm/exit_status.h"
#include "vmm/json_text.h"
#include "vmm/log.h"
#include "vmm/nearest.h"
#include "vmm/util.h"

#define EXIT_REFUSED   1 /* the VM said no, or could not be asked */
#define ANSWER_SECONDS 30
#define LIST_SECONDS   2

#define STATS_PROMETHEUS "stats --prometheus"
#define NEXT_MAX         24 /* a word of a pattern */

struct pattern {
	const char *words;
	const char *method;
	const char *params; /* JSON that is added; NULL: none */
	const char *help;
};

static const struct pattern patterns[] = {
	{"status", "status", NULL, "state, processors, memory"},
	{"pause", "pause", NULL, "stop the virtual CPUs"},
	{"resume", "resume", NULL, "let them go on"},
	{"powerdown", "powerdown", NULL, "press the power button"},
	{"reset", "reset", NULL, "boot anew, at once"},
	{"quit", "quit", NULL, "end it, at once"},
	{"devices", "device.list", NULL, "virtio devices and what their drivers have done"},
	{"net", "net.list", NULL, "network cards"},
	{"net ID", "net.list", NULL, "one of them"},
	{"net ID link up", "net.link", "{\"up\": true}", "plug the cable in"},
	{"net ID link down", "net.link", "{\"up\": false}", "pull it out"},
	{"net ID reset", "net.reset", NULL, "ask its driver for a reset, and give up rings"},
	{"net ID datapath SPEC", "net.datapath", NULL,
         "move it to vmm, vhost-net or vhost-user,socket=PATH"},
	{"net ID stats", "net.stats", NULL, "counts of its rings"},
	{"net ID rings", "device.rings", NULL, "its rings as they are in guest memory"},
	{"net ID rings --descriptors", "device.rings", "{\"descriptors\": true}",
         "and their descriptors"},
	{"net ID rings RING", "device.rings", NULL, "one ring"},
	{"net ID rings RING --descriptors", "device.rings", "{\"descriptors\": true}",
         "and its descriptors"},
	{"disk", "disk.list", NULL, "disks, their files and sizes"},
	{"disk ID", "disk.list", NULL, "one of them"},
	{"disk ID resize", "disk.resize", NULL, "its file has grown: show the guest its new size"},
	{"devices ID rings", "device.rings", NULL, "the same for any virtio device"},
	{"devices ID rings --descriptors", "device.rings", "{\"descriptors\": true}",
         "and their descriptors"},
	{"devices ID stats", "device.stats", NULL, "how it is notified and interrupts"},
	{"stats", "stats", NULL, "what KVM counts, and the threads of this VM"},
	{STATS_PROMETHEUS, "stats", NULL, "all counts in Prometheus' text format"},
	{"stats VCPU", "stats", NULL, "of one virtual CPU"},
	{"log", "log.level", NULL, "what is logged"},
	{"log LEVEL", "log.level", NULL, "log error, warning, info or debug from now on"},
	{"events", "events.subscribe", NULL, "print what happens, until the VM ends"},
	{"methods", "methods", NULL, "the methods of the control socket"},
	{"call METHOD", NULL, NULL, "call one of them"},
	{"call METHOD PARAMS", NULL, NULL, "with parameters, a JSON object"},
};

static bool is_variable(const char *word, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (!isupper((unsigned char)word[i]))
			return false;
	return true;
}

/* Rings and vCPUs have numbers; everything else that is typed is text. */
static json_t *variable(const char *name, const char *word)
{
	char *end;
	long n = strtol(word, &end, 10);

	bool number = strcmp(name, "ring") == 0 || strcmp(name, "vcpu") == 0;

	return number && *word && !*end ? json_integer(n) : json_text(word);
}

/* Do @argc words fit @p? Variables go to @params (an object), unless it is NULL. */
static bool fits(const struct pattern *p, int argc, char **argv, json_t *params)
{
	const char *at = p->words;
	int i = 0;

	while (*at) {
		size_t len = strcspn(at, " ");
		char name[16];

		if (i == argc)
			return false;
		if (!is_variable(at, len)) {
			if (strlen(argv[i]) != len || strncmp(argv[i], at, len) != 0)
				return false;
		} else if (params) {
			for (size_t k = 0; k <= len && k < sizeof(name); k++)
				name[k] = k < len ? (char)tolower((unsigned char)at[k]) : '\0';
			json_object_set_new(params, name, variable(name, argv[i]));
		}
		i++;
		at += len + (at[len] == ' ');
	}
	return i == argc;
}

static const struct pattern *find(int argc, char **argv)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		if (fits(&patterns[i], argc, argv, NULL))
			return &patterns[i];
	return NULL;
}

/* --- What is wrong with words that fit no pattern --- */

/* How many of @argc words fit the beginning of @p; *@next gets the word of @p behind them. */
static int fitting(const struct pattern *p, int argc, char **argv, char next[NEXT_MAX])
{
	const char *at = p->words;
	int n = 0;

	next[0] = '\0';
	while (*at) {
		size_t len = strcspn(at, " ");

		if (n == argc || (!is_variable(at, len) &&
		                  (strlen(argv[n]) != len || strncmp(argv[n], at, len) != 0))) {
			snprintf(next, NEXT_MAX, "%.*s", (int)len, at);
			break;
		}
		n++;
		at += len + (at[len] == ' ');
	}
	return n;
}

/* The patterns that fit furthest say what was expected there. */
static int explain(int argc, char **argv, struct err *err)
{
	char next[ARRAY_SIZE(patterns)][NEXT_MAX], said[128] = "", list[256] = "";
	char hint[NEAREST_HINT_MAX];
	int fit[ARRAY_SIZE(patterns)], most = 0;
	struct nearest n;

	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		fit[i] = fitting(&patterns[i], argc, argv, next[i]);
		most = fit[i] > most ? fit[i] : most;
	}
	n = nearest_to(most < argc ? argv[most] : "");
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		char item[NEXT_MAX + 2];

		if (fit[i] != most || !next[i][0])
			continue;
		if (!is_variable(next[i], strlen(next[i])))
			nearest_try(&n, next[i]);
		snprintf(item, sizeof(item), "%s%s", list[0] ? ", " : "", next[i]);
		if (!strstr(list, next[i]))
			strncat(list, item, sizeof(list) - strlen(list) - 1);
	}
	for (int i = 0; i < most; i++)
		snprintf(said + strlen(said), sizeof(said) - strlen(said), "%s ", argv[i]);
	nearest_hint(&n, hint);
	if (most == 0)
		return err_set(err, -EINVAL, "%s: no such word of ctl%s; see `trivm ctl --help`",
		               argv[0], hint);
	if (most == argc)
		return err_set(err, -EINVAL, "%.*s: a word is missing: %s", (int)strlen(said) - 1,
		               said, list);
	if (!list[0])
		return err_set(err, -EINVAL, "%s%s: one word too many", said, argv[most]);
	return err_set(err, -EINVAL, "%s%s: no such word%s; expected: %s", said, argv[most], hint,
	               list);
}

/* --- Which VM --- */

struct only {
	char path[CONTROL_PATH_MAX];
	unsigned nr;
};

static void count_vm(void *opaque, const char *name, const char *path)
{
	struct only *only = opaque;

	(void)name;
	snprintf(only->path, sizeof(only->path), "%s", path);
	only->nr++;
}

int ctl_find_socket(const char *name, char path[CONTROL_PATH_MAX], struct err *err)
{
	struct only only = {.nr = 0};
	int rc;

	if (name) {
		if (!control_name_valid(name))
			return err_set(
				err, -EINVAL,
				"%s: neither a command of ctl nor a VM's name; see `trivm ctl "
				"--help`",
				name);
		rc = control_path(path, name, "sock", false, err);
		return rc == -ENOENT ? err_set(err, rc, "%s: no such VM; none runs", name) : rc;
	}
	rc = control_each(count_vm, &only, err);
	if (rc < 0)
		return rc;
	if (!only.nr)
		return err_set(err, -ENOENT, "no VM runs that has a control socket");
	if (only.nr > 1)
		return err_set(err, -ENOENT, "%u VMs run: say which; `trivm list` has their names",
		               only.nr);
	snprintf(path, CONTROL_PATH_MAX, "%s", only.path);
	return 0;
}

/* --- The command --- */

struct request {
	bool json;
	const char *name, *path; /* NULL: not given */
	int argc;                /* the words */
	char **argv;
};

static void show(const struct request *r, const json_t *value)
{
	if (r->json) {
		json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
		putchar('\n');
	} else {
		ctl_show(stdout, value);
	}
}

static int print_events(const struct request *r, struct ctl_client *c, struct err *err)
{
	json_t *params;
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	ctl_wait_forever(c);
	for (;;) {
		rc = ctl_event(c, &params, err);
		if (rc < 0)
			return rc == -ENODATA ? 0 : rc;
		if (r->json)
			show(r, params);
		else
			ctl_show_event(stdout, params);
		json_decref(params);
	}
}

/* The parameters of @p for the words; NULL: @err says why not. */
static json_t *make_params(const struct pattern *p, const struct request *r, struct err *err)
{
	const char *fixed = p->params;
	json_t *params = json_object(), *more;
	json_error_t e;

	for (int i = 0; i < r->argc; i++)
		if (!text_is_utf8(r->argv[i])) {
			json_decref(params);
			err_set(err, -EINVAL, "%s: is not UTF-8, as the control socket wants it",
			        r->argv[i]);
			return NULL;
		}
	if (!p->method) /* call METHOD [PARAMS] */
		fixed = r->argc > 2 ? r->argv[2] : NULL;
	else
		fits(p, r->argc, r->argv, params);
	if (!fixed)
		return params;
	more = json_loads(fixed, JSON_REJECT_DUPLICATES, &e);
	if (!more || !json_is_object(more)) {
		err_set(err, -EINVAL, "%s: not a JSON object%s%s", fixed, more ? "" : ": ",
		        more ? "" : e.text);
		json_decref(params);
		params = NULL;
	} else {
		json_object_update(params, more);
	}
	json_decref(more);
	return params;
}

static int converse(const struct request *r, const struct pattern *p, const char *path,
                    struct err *err)
{
	json_t *params = make_params(p, r, err);
	json_t *result = NULL;
	struct ctl_client c;
	int rc;

	if (!params)
		return -EINVAL;
	rc = ctl_connect(&c, path, ANSWER_SECONDS, err);
	if (rc < 0) {
		json_decref(params);
		return rc;
	}
	if (strcmp(p->words, STATS_PROMETHEUS) == 0) {
		json_decref(params);
		rc = ctl_sample(&c, &result, err);
		if (rc == 0)
			ctl_prometheus(stdout, result);
		json_decref(result);
		ctl_close(&c);
		return rc;
	}
	rc = ctl_call(&c, p->method ? p->method : r->argv[1], params, &result, err);
	if (rc == 0 && p->method && strcmp(p->method, "events.subscribe") == 0)
		rc = print_events(r, &c, err);
	else if (rc == 0)
		show(r, result);
	json_decref(result);
	ctl_close(&c);
	return rc;
}

void ctl_help(void)
{
	printf("Usage: trivm ctl [--json] [NAME] WORD...\n"
	       "       trivm ctl [--json] --name NAME | --control PATH WORD...\n"
	       "Ask a running virtual machine. NAME can be left out while only one runs.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		printf("  %-20s %s\n", patterns[i].words, patterns[i].help);
	printf("\n--json shows the result as it came, in one line (docs/control.md).\n"
	       "Exit status: 0; 1 the VM refused or does not answer; 2 wrong usage.\n");
}

void ctl_print_words(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++)
		printf("%s\n", patterns[i].words);
}

/* The options before the words. 0, or 1 if the help was asked for. */
static int parse(struct request *r, int argc, char **argv, struct err *err)
{
	int i;

	*r = (struct request){0};
	for (i = 0; i < argc && argv[i][0] == '-'; i++) {
		const char **value = NULL;

		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return 1;
		if (strcmp(argv[i], "--json") == 0) {
			r->json = true;
			continue;
		}
		if (strcmp(argv[i], "--name") == 0)
			value = &r->name;
		else if (strcmp(argv[i], "--control") == 0)
			value = &r->path;
		else
			return err_set(err, -EINVAL, "%s: unknown option; see `trivm ctl --help`",
			               argv[i]);
		if (i + 1 == argc)
			return err_set(err, -EINVAL, "%s: a value is missing", argv[i]);
		*value = argv[++i];
	}
	r->argc = argc - i;
	r->argv = argv + i;
	return 0;
}

static bool begins_pattern(const char *word)
{
	for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
		size_t len = strcspn(patterns[i].words, " ");

		if (strlen(word) == len && strncmp(word, patterns[i].words, len) == 0)
			return true;
	}
	return false;
}

/* One word that is no command: a VM's name alone, or a command with a slip. */
static int lone_word(char *word, struct err *err)
{
	char path[CONTROL_PATH_MAX];

	if (control_name_valid(word) && control_path(path, word, "sock", false, NULL) == 0 &&
	    access(path, F_OK) == 0)
		return err_set(err, -EINVAL,
		               "%s: is a virtual machine; what is it to do? As `trivm ctl %s "
		               "status`; see `trivm ctl --help`",
		               word, word);
	return explain(1, &word, err);
}

static int run(struct request *r, struct err *err)
{
	const struct pattern *p = find(r->argc, r->argv);
	char path[CONTROL_PATH_MAX];
	int rc;

	/* A first word that begins no pattern is a name. */
	if (!p && r->argc > 1 && !r->name && !r->path && !begins_pattern(r->argv[0])) {
		r->name = r->argv[0];
		r->argv++;
		r->argc--;
		p = find(r->argc, r->argv);
	}
	if (!p && !r->argc)
		return err_set(err, -EINVAL, "ctl: a word is missing; see `trivm ctl --help`");
	if (!p && r->argc == 1 && !r->name && !r->path && !begins_pattern(r->argv[0]))
		return lone_word(r->argv[0], err);
	if (!p)
		return explain(r->argc, r->argv, err);
	if (r->path)
		return converse(r, p, r->path, err);
	rc = ctl_find_socket(r->name, path, err);
	return rc < 0 ? rc : converse(r, p, path, err);
}

int ctl_main(int argc, char **argv)
{
	struct err err = {.msg = ""};
	struct request r;
	int rc = parse(&r, argc, argv, &err);

	if (rc == 1) {
		ctl_help();
		return 0;
	}
	if (rc == 0)
		rc = run(&r, &err);
	if (rc == 0 && fflush(stdout) == 0)
		return 0;
	if (rc < 0)
		log_error("%s", err.msg);
	return rc == -EINVAL ? EXIT_USAGE : EXIT_REFUSED;
}

/* --- list --- */

static void list_one(void *opaque, const char *name, const char *path)
{
	json_t *status = NULL, *row;
	struct ctl_client c;
	struct err err;

	if (ctl_connect(&c, path, LIST_SECONDS, &err) < 0)
		return; /* gone just now */
	if (ctl_call(&c, "status", NULL, &status, &err) < 0)
		status = json_pack("{s:s}", "state", "does not answer");
	ctl_close(&c);
	row = json_pack("{s:o, s:O?, s:O?, s:O?, s:O?, s:O?, s:O?}", "name", json_text(name), "pid",
	                json_object_get(status, "pid"), "state", json_object_get(status, "state"),
	                "uptime", json_object_get(status, "uptime"), "cpus",
	                json_object_get(status, "cpus"), "memory",
	                json_object_get(status, "memory"), "kernel",
	                json_object_get(status, "kernel"));
	json_array_append_new(opaque, row);
	json_decref(status);
}

void list_help(void)
{
	printf("Usage: trivm list [--json]\n"
	       "The running virtual machines of this user, by the names of their control "
	       "sockets.\n");
}

int list_main(int argc, char **argv)
{
	struct request r = {.json = argc == 1 && strcmp(argv[0], "--json") == 0};
	struct err err;
	json_t *rows;
	int rc;

	if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)) {
		list_help();
		return 0;
	}
	if (argc && !r.json) {
		log_error("%s: `trivm list` takes nothing but --json", argv[0]);
		return EXIT_USAGE;
	}
	rows = json_array();
	rc = control_each(list_one, rows, &err);
	if (rc == 0)
		show(&r, rows);
	else
		log_error("%s", err.msg);
	json_decref(rows);
	return rc == 0 && fflush(stdout) == 0 ? 0 : EXIT_REFUSED;
}

static void print_name(void *opaque, const char *name, const char *path)
{
	(void)opaque;
	(void)path;
	printf("%s\n", name);
}

void ctl_print_names(void)
{
	control_each(print_name, NULL, NULL);
}
