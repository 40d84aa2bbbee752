/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of `trivm run`: each line of the input is an argument. */
#include "vmm/config.h"

#include "tests/fuzz/fuzz.h"

#define ARGS_MAX 24

static bool ends(const char *text, size_t size)
{
	return memchr(text, 0, size) != NULL;
}

static void check_nic(const struct net_options *o)
{
	fuzz_check(ends(o->where, sizeof(o->where)) && ends(o->bridge, sizeof(o->bridge)));
	fuzz_check(ends(o->local, sizeof(o->local)) && ends(o->id, sizeof(o->id)));
	fuzz_check(ends(o->pcap, sizeof(o->pcap)));
	fuzz_check(o->queues >= 1 && o->queues <= PORT_QUEUES_MAX);
	fuzz_check(o->queue_size >= 1 && o->queue_size <= NET_QUEUE_MAX);
	fuzz_check(!o->has_mac || !(o->mac[0] & 1));
	fuzz_check(o->user.nr_forwards <= PORT_FORWARDS_MAX);
}

static void check_config(const struct config *c)
{
	fuzz_check(c->cpus >= 1 && c->cpus <= CONFIG_CPUS_MAX);
	fuzz_check(c->memory >= CONFIG_MEMORY_MIN && c->memory <= CONFIG_MEMORY_MAX);
	fuzz_check(c->nr_nics <= CONFIG_NICS_MAX);
	for (unsigned i = 0; i < c->nr_nics; i++)
		check_nic(&c->nics[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz_in in = fuzz_begin(data, len);
	char *text = fuzz_text(&in), *argv[ARGS_MAX + 1] = {NULL};
	struct config config;
	struct err err = {0};
	char *save = NULL;
	int argc = 0;

	/* Each in memory of its own, as an overrun would only meet the next one otherwise. */
	for (char *arg = strtok_r(text, "\n", &save); arg && argc < ARGS_MAX;
	     arg = strtok_r(NULL, "\n", &save))
		argv[argc++] = strdup(arg);
	config_default(&config);
	if (config_parse(&config, argc, argv, &err) == 0) {
		check_config(&config);
	} else {
		fuzz_check(err.msg[0] && ends(err.msg, sizeof(err.msg)));
		fuzz_check(!strchr(err.msg, '\n'));
	}
	for (int i = 0; i < argc; i++)
		free(argv[i]);
	free(text);
	return 0;
}
