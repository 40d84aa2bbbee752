/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: trivm COMMAND [OPTION]... */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "compare/compare.h"
#include "compare/options.h"
#include "vmm/config.h"
#include "vmm/attach.h"
#include "vmm/ctl.h"
#include "vmm/doctor.h"
#include "vmm/exit_status.h"
#include "vmm/log.h"
#include "vmm/nearest.h"
#include "vmm/process.h"
#include "vmm/run.h"
#include "vmm/top.h"
#include "vmm/trace_cmd.h"
#include "vmm/util.h"

#ifndef TRIVM_VERSION
#define TRIVM_VERSION "0.1"
#endif

static int help_main(int argc, char **argv);
static int version_main(int argc, char **argv);
static int words_main(int argc, char **argv);

static const struct command {
	const char *name;
	const char *help; /* NULL: not listed */
	int (*main)(int argc, char **argv);
	void (*more)(void); /* `trivm help NAME`; NULL: there is no more */
} commands[] = {
	{"run", "run a virtual machine", run_main, run_help},
	{"list", "list the virtual machines that run", list_main, list_help},
	{"ctl", "ask a running virtual machine, and tell it what to do", ctl_main, ctl_help},
	{"trace", "the journey of a packet: what happens to it, when, and where in the source",
         trace_main, trace_help},
	{"top", "watch what the running virtual machines are busy with", top_main, top_help},
	{"console", "attach to the console of one in the background", console_main, console_help},
	{"compare", "a guest on each road of its NIC, measured side by side", compare_main,
         compare_help},
	{"doctor", "inspect this host: what works, and how to mend what does not", doctor_main,
         doctor_help},
	{"help", "this list; `trivm help run`: the options of run", help_main, NULL},
	{"version", "the version", version_main, NULL},
	{"completion-words", NULL, words_main, NULL},
};

static int help_main(int argc, char **argv)
{
	for (size_t i = 0; argc > 0 && i < ARRAY_SIZE(commands); i++)
		if (commands[i].more && strcmp(argv[0], commands[i].name) == 0) {
			commands[i].more();
			return 0;
		}
	printf("Usage: trivm COMMAND [OPTION]...\n"
	       "A small virtual machine monitor on KVM.\n\n");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			printf("  %-10s %s\n", commands[i].name, commands[i].help);
	printf("\nFirst steps: `trivm doctor`, then `trivm run`. More: man trivm\n");
	return 0;
}

static int version_main(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("trivm %s\n", TRIVM_VERSION);
	return 0;
}

/* For shell completion: the commands, the options of `run` with what follows each, the words of
 * `ctl`, or the names of running VMs. */
static int words_main(int argc, char **argv)
{
	if (argc > 0 && strcmp(argv[0], "run") == 0) {
		config_print_words(stdout);
		return 0;
	}
	if (argc > 0 && strcmp(argv[0], "compare") == 0) {
		compare_options_words(stdout);
		return 0;
	}
	if (argc > 0 && strcmp(argv[0], "ctl") == 0) {
		ctl_print_words();
		return 0;
	}
	if (argc > 0 && strcmp(argv[0], "names") == 0) {
		ctl_print_names();
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			printf("%s\n", commands[i].name);
	return 0;
}

/* A command that printed what was asked for has failed if nobody could read it (a full disk). */
static int finish(int status)
{
	int rc = fflush(stdout) == 0 ? 0 : errno;

	if (!rc && !ferror(stdout))
		return status;
	if (rc != EPIPE)
		log_error("standard output: %s", rc ? strerror(rc) : "a write to it failed");
	return status == 0 ? EXIT_HOST : status;
}

int main(int argc, char **argv)
{
	char hint[NEAREST_HINT_MAX];
	struct nearest near;

	process_start();
	if (argc < 2) {
		log_error("a command is missing; see `trivm help`");
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0)
		return finish(version_main(0, NULL));
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return finish(help_main(0, NULL));
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return finish(commands[i].main(argc - 2, argv + 2));
	near = nearest_to(argv[1]);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].help)
			nearest_try(&near, commands[i].name);
	log_error("%s: unknown command%s; see `trivm help`", argv[1], nearest_hint(&near, hint));
	return EXIT_USAGE;
}
