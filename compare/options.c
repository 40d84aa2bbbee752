/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/options.h"

#include <errno.h>
#include <string.h>

#include "compare/road.h"
#include "compare/workload.h"
#include "vmm/nearest.h"
#include "vmm/option.h"
#include "vmm/util.h"

struct option {
	const char *name;
	const char *value; /* what follows, for people; NULL: nothing */
	const char *help;
	int (*set)(struct compare_options *o, const char *value, struct err *err);
};

/* @expected are the words that there are, as in a sentence. */
static int unknown_word(const char *option, const char *value, const char *word,
                        const char *expected, struct err *err)
{
	char hint[NEAREST_HINT_MAX], text[128], *rest = text, *known;
	struct nearest near = nearest_to(word);

	snprintf(text, sizeof(text), "%s", expected);
	while ((known = strsep(&rest, ", ")))
		if (strcmp(known, "or") != 0)
			nearest_try(&near, known);
	return err_set(err, -EINVAL, "%s %s: '%s': expected %s, separated by commas%s", option,
	               value, word, expected, nearest_hint(&near, hint));
}

/*
 * The bits that the comma-separated words of @value stand for; @find gives the number of a word, or
 * -1.
 */
static int set_words(const char *option, const char *value, int (*find)(const char *word),
                     const char *expected, unsigned *bits, struct err *err)
{
	unsigned found = 0;

	for (const char *at = value;; at++) {
		size_t len = strcspn(at, ",");
		char word[32];
		int n;

		snprintf(word, sizeof(word), "%.*s", (int)len, at);
		n = len < sizeof(word) ? find(word) : -1;
		if (n < 0)
			return unknown_word(option, value, word, expected, err);
		found |= BIT((unsigned)n);
		at += len;
		if (!*at)
			break;
	}
	*bits = found;
	return 0;
}

static int find_mode(const char *word)
{
	int n = road_find(word);

	return n >= 0 && road_at((enum road_id)n)->trivm ? n : -1;
}

static int find_other(const char *word)
{
	int n = road_find(word);

	return n >= 0 && !road_at((enum road_id)n)->trivm ? n : -1;
}

static int set_modes(struct compare_options *o, const char *value, struct err *err)
{
	unsigned bits = 0;
	int rc = set_words("--modes", value, find_mode, "vmm, vmm+exit, vhost-net or vhost-user",
	                   &bits, err);

	if (rc == 0)
		o->roads = bits | (o->roads & ROADS_OTHER);
	return rc;
}

static int set_with(struct compare_options *o, const char *value, struct err *err)
{
	unsigned bits = 0;
	int rc = set_words("--with", value, find_other, "qemu or qemu-vhost", &bits, err);

	if (rc == 0)
		o->roads |= bits;
	return rc;
}

static int set_workload(struct compare_options *o, const char *value, struct err *err)
{
	return set_words("--workload", value, workload_find,
	                 "tcp-in, tcp-out, udp-in, udp-out, latency or idle", &o->workloads, err);
}

static int set_rounds(struct compare_options *o, const char *value, struct err *err)
{
	return option_number("compare", "--rounds", value, 1, COMPARE_ROUNDS_MAX, &o->rounds, err);
}

static int set_seconds(struct compare_options *o, const char *value, struct err *err)
{
	return option_number("compare", "--seconds", value, 1, COMPARE_SECONDS_MAX, &o->seconds,
	                     err);
}

static int set_limit(struct compare_options *o, const char *value, struct err *err)
{
	return option_number("compare", "--limit", value, 1, COMPARE_LIMIT_MAX, &o->limit_s, err);
}

static int set_cpus(struct compare_options *o, const char *value, struct err *err)
{
	return option_number("compare", "--cpus", value, 1, COMPARE_CPUS_MAX, &o->cpus, err);
}

static int set_transport(struct compare_options *o, const char *value, struct err *err)
{
	return option_either("compare", "--transport", value, "pci", "mmio", &o->mmio, err);
}

static int set_ring(struct compare_options *o, const char *value, struct err *err)
{
	return option_either("compare", "--ring", value, "split", "packed", &o->packed, err);
}

static int set_kernel(struct compare_options *o, const char *value, struct err *err)
{
	(void)err;
	o->kernel = value;
	return 0;
}

static int set_initrd(struct compare_options *o, const char *value, struct err *err)
{
	(void)err;
	o->initrd = value;
	return 0;
}

static int set_out(struct compare_options *o, const char *value, struct err *err)
{
	(void)err;
	o->out = value;
	return 0;
}

static int set_help(struct compare_options *o, const char *value, struct err *err)
{
	(void)value;
	(void)err;
	o->help = true;
	return 0;
}

static const struct option options[] = {
	{"modes", "LIST", "the roads: vmm,vmm+exit,vhost-net,vhost-user (all of these)", set_modes},
	{"with", "LIST", "and others to compare with: qemu, qemu-vhost", set_with},
	{"workload", "LIST", "tcp-in,tcp-out,udp-in,udp-out,latency,idle (all of these)",
         set_workload},
	{"rounds", "N", "rounds (5; 3 in a virtual or emulated host)", set_rounds},
	{"seconds", "N", "how long each measurement lasts (2)", set_seconds},
	{"limit", "S", "begin no round, but the first, that would not end S seconds from the start",
         set_limit},
	{"cpus", "N", "virtual CPUs of the guest (1)", set_cpus},
	{"transport", "pci|mmio", "where the guest finds the NIC (pci)", set_transport},
	{"ring", "split|packed", "format of the virtqueues (split)", set_ring},
	{"kernel", "FILE", "another kernel than the default guest's", set_kernel},
	{"initrd", "FILE",
         "another initrd than the default guest's; docs/compare.md says what has to be in it",
         set_initrd},
	{"out", "DIR", "write compare.json, compare.csv and the page compare.html there", set_out},
	{"help", NULL, "this list", set_help},
};

void compare_options_default(struct compare_options *o)
{
	*o = (struct compare_options){
		.roads = ROADS_TRIVM, .workloads = BIT(NR_WORKLOADS) - 1, .seconds = 2, .cpus = 1};
}

/* The option that @arg names; *@value is what stands behind '=', or NULL. */
static const struct option *find(const char *arg, const char **value)
{
	*value = NULL;
	if (strcmp(arg, "-h") == 0)
		arg = "--help";
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		size_t len = strlen(options[i].name);

		if (strncmp(arg, "--", 2) != 0 || strncmp(arg + 2, options[i].name, len) != 0)
			continue;
		if (arg[2 + len] == '=')
			*value = arg + 2 + len + 1;
		if (*value || !arg[2 + len])
			return &options[i];
	}
	return NULL;
}

static int unknown_option(const char *arg, struct err *err)
{
	char hint[NEAREST_HINT_MAX], known[ARRAY_SIZE(options)][24];
	struct nearest near = nearest_to(arg);

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		snprintf(known[i], sizeof(known[i]), "--%s", options[i].name);
		nearest_try(&near, known[i]);
	}
	return err_set(err, -EINVAL, "compare %s: unknown option%s; see `trivm compare --help`",
	               arg, nearest_hint(&near, hint));
}

int compare_options_parse(struct compare_options *o, int argc, char **argv, struct err *err)
{
	for (int i = 0; i < argc; i++) {
		const char *value;
		const struct option *option = find(argv[i], &value);
		int rc;

		if (!option)
			return unknown_option(argv[i], err);
		if (!option->value && value)
			return err_set(err, -EINVAL, "%s: takes no value", argv[i]);
		if (option->value && !value) {
			if (i + 1 == argc)
				return err_set(err, -EINVAL, "%s: a value (%s) is missing", argv[i],
				               option->value);
			value = argv[++i];
		}
		rc = option->set(o, value, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void compare_options_print(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char left[40];

		snprintf(left, sizeof(left), "--%s %s", options[i].name,
		         options[i].value ? options[i].value : "");
		fprintf(out, "  %-24s %s\n", left, options[i].help);
	}
}

void compare_options_words(FILE *out)
{
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		fprintf(out, "--%s %s\n", options[i].name,
		        options[i].value ? options[i].value : "");
}
