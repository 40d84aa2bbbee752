/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: who runs is looked up before each picture; each VM keeps one connection, over
 * which a sample is taken (ctl_sample.h), and its two last samples make the rates (top_view.h). A
 * VM that ends is gone from the next picture, one that does not answer is said not to, and is asked
 * on a new connection the next time.
 *
 * Signals: what would end the process sets a flag, the terminal is restored, and then the signal
 * does its work. So whoever sent it sees what he expects.
 */
#include "vmm/top.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/control_path.h"
#include "vmm/ctl_client.h"
#include "vmm/ctl_sample.h"
#include "vmm/exit_status.h"
#include "vmm/log.h"
#include "vmm/process.h"
#include "vmm/util.h"

#define EXIT_FAILED    1
#define ANSWER_SECONDS 1 /* the keyboard waits as long */
#define VMS_MAX        256
#define DELAY_MIN      0.1
#define DELAY_MAX      3600

struct top_options {
	bool batch;
	unsigned count; /* pictures; 0: until q */
	double delay;   /* seconds */
	const char *name;
	bool help;
};

struct top_vm {
	char name[CONTROL_NAME_MAX + 1], path[CONTROL_PATH_MAX];
	struct ctl_client client; /* fd -1: not connected */
	struct top_samples samples;
	bool there; /* among those that run now */
};

struct top {
	struct top_options options;
	struct top_vm *vms[VMS_MAX];
	unsigned nr;
};

static volatile sig_atomic_t stopped_by;

static void on_signal(int sig)
{
	stopped_by = sig;
}

/* --- The VMs --- */

static void disconnect(struct top_vm *vm)
{
	ctl_close(&vm->client);
	json_decref(vm->samples.before);
	json_decref(vm->samples.now);
	vm->samples.before = vm->samples.now = NULL;
}

static void found(void *opaque, const char *name, const char *path)
{
	struct top *top = opaque;
	struct top_vm *vm;

	if (top->options.name && strcmp(name, top->options.name) != 0)
		return;
	for (unsigned i = 0; i < top->nr; i++) {
		if (strcmp(top->vms[i]->name, name) == 0) {
			top->vms[i]->there = true;
			return;
		}
	}
	vm = top->nr < VMS_MAX ? calloc(1, sizeof(*vm)) : NULL;
	if (!vm)
		return;
	snprintf(vm->name, sizeof(vm->name), "%s", name);
	snprintf(vm->path, sizeof(vm->path), "%s", path);
	vm->client.fd = -1;
	vm->samples.name = vm->name;
	vm->there = true;
	top->vms[top->nr++] = vm;
}

static int by_name(const void *a, const void *b)
{
	return strcmp((*(struct top_vm *const *)a)->name, (*(struct top_vm *const *)b)->name);
}

static void sample(struct top_vm *vm)
{
	json_t *now = NULL;
	struct err err;
	int rc = 0;

	if (vm->client.fd < 0)
		rc = ctl_connect(&vm->client, vm->path, ANSWER_SECONDS, &err);
	if (rc == 0)
		rc = ctl_sample(&vm->client, &now, &err);
	vm->samples.silent = rc < 0;
	if (rc < 0) {
		disconnect(vm); /* an answer that comes late would be taken for the next one */
		return;
	}
	json_decref(vm->samples.before);
	vm->samples.before = vm->samples.now;
	vm->samples.before_us = vm->samples.now_us;
	vm->samples.now = now;
	vm->samples.now_us = clock_us();
}

/* Who runs now, and what they have counted. */
static int update(struct top *top, struct err *err)
{
	unsigned kept = 0;
	int rc;

	for (unsigned i = 0; i < top->nr; i++)
		top->vms[i]->there = false;
	rc = control_each(found, top, err);
	for (unsigned i = 0; i < top->nr; i++) {
		struct top_vm *vm = top->vms[i];

		if (vm->there) {
			top->vms[kept++] = vm;
			continue;
		}
		disconnect(vm);
		free(vm);
	}
	top->nr = kept;
	qsort(top->vms, top->nr, sizeof(top->vms[0]), by_name);
	for (unsigned i = 0; i < top->nr && !stopped_by; i++)
		sample(top->vms[i]);
	return rc;
}

static void leave(struct top *top)
{
	for (unsigned i = 0; i < top->nr; i++) {
		disconnect(top->vms[i]);
		free(top->vms[i]);
	}
	top->nr = 0;
}

/* --- Pictures --- */

static void title(const struct top *top, char *buf, size_t size)
{
	time_t now = time(NULL);
	char clock[16] = "";
	struct tm tm;

	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	snprintf(buf, size, "trivm top  %s  %u VM%s, every %.4g s%s", clock, top->nr,
	         top->nr == 1 ? "" : "s", top->options.delay,
	         top->options.batch ? "" : "; q: quit");
}

static void picture(const struct top *top, struct top_lines *lines)
{
	if (!top->nr && top->options.name)
		top_line(lines, TOP_PLAIN, "%s does not run.", top->options.name);
	else if (!top->nr)
		top_line(lines, TOP_PLAIN, "No VM runs that has a control socket.");
	for (unsigned i = 0; i < top->nr; i++) {
		if (i)
			top_line(lines, TOP_PLAIN, "%s", "");
		top_view(lines, &top->vms[i]->samples);
	}
}

static void show(const struct top *top)
{
	struct top_lines lines = {0};
	char head[TOP_LINE_MAX];

	title(top, head, sizeof(head));
	picture(top, &lines);
	if (top->options.batch) {
		puts(head);
		for (unsigned i = 0; i < lines.nr; i++)
			puts(lines.lines[i].text);
		putchar('\n');
		fflush(stdout);
	} else {
		top_screen_show(head, &lines);
	}
	top_lines_free(&lines);
}

/* Wait for @ms. True: the end. */
static bool wait_ms(const struct top *top, unsigned ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

	if (!stopped_by && !top->options.batch && top_screen_wait(ms))
		return true;
	if (!stopped_by && top->options.batch)
		nanosleep(&t, NULL);
	return stopped_by || (top->options.batch && ferror(stdout));
}

/* Until the end. The first picture of a batch is of rates, and so comes after the first delay. */
static int run(struct top *top, struct err *err)
{
	unsigned delay = (unsigned)(top->options.delay * 1000), shown = 0;
	int rc = update(top, err);

	if (rc < 0)
		return rc;
	if (top->options.name && !top->nr)
		return err_set(err, -ENOENT, "%s: no such VM runs; see `trivm list`",
		               top->options.name);
	if (!top->options.batch) {
		rc = top_screen_open(err);
		if (rc < 0)
			return rc;
		show(top);
	}
	while (!wait_ms(top, delay)) {
		rc = update(top, err);
		if (rc < 0 || stopped_by)
			break;
		show(top);
		if (top->options.count && ++shown == top->options.count)
			break;
	}
	return rc;
}

/* --- The command --- */

void top_help(void)
{
	printf("Usage: trivm top [-b] [-n COUNT] [-d SECONDS] [NAME]\n"
	       "What the running virtual machines are busy with: exits, packets, notifications,\n"
	       "interrupts, processor time; each second.\n\n"
	       "  -b, --batch          print, without a terminal\n"
	       "  -n, --count COUNT    end after so many pictures\n"
	       "  -d, --delay SECONDS  from one picture to the next (1)\n"
	       "      --once           the same as -b -n 1\n\n"
	       "Keys: q quits; arrows, Page Up, Page Down, Home, End. trivm(1) has the columns.\n");
}

static int parse_number(const char *option, const char *text, double min, double max, double *v,
                        struct err *err)
{
	char *end;

	*v = strtod(text, &end);
	if (end == text || *end || !(*v >= min && *v <= max))
		return err_set(err, -EINVAL, "%s %s: expected a number from %g to %g", option, text,
		               min, max);
	return 0;
}

static bool is(const char *arg, const char *brief, const char *full)
{
	return strcmp(arg, brief) == 0 || strcmp(arg, full) == 0;
}

static int parse(struct top_options *o, int argc, char **argv, struct err *err)
{
	*o = (struct top_options){.delay = 1};
	for (int i = 0; i < argc; i++) {
		bool count = is(argv[i], "-n", "--count"), delay = is(argv[i], "-d", "--delay");
		double v;
		int rc;

		if (is(argv[i], "-h", "--help")) {
			o->help = true;
		} else if (is(argv[i], "-b", "--batch")) {
			o->batch = true;
		} else if (strcmp(argv[i], "--once") == 0) {
			o->batch = true;
			o->count = 1;
		} else if (count || delay) {
			if (i + 1 == argc)
				return err_set(err, -EINVAL, "%s: a value is missing", argv[i]);
			rc = parse_number(argv[i], argv[i + 1], count ? 1 : DELAY_MIN,
			                  count ? 1e9 : DELAY_MAX, &v, err);
			if (rc < 0)
				return rc;
			if (count && v != (double)(unsigned)v)
				return err_set(err, -EINVAL, "%s %s: expected a whole number",
				               argv[i], argv[i + 1]);
			if (count)
				o->count = (unsigned)v;
			else
				o->delay = v;
			i++;
		} else if (argv[i][0] == '-' || o->name || !control_name_valid(argv[i])) {
			return err_set(err, -EINVAL,
			               "%s: neither an option of top nor a VM's name; see `trivm "
			               "top --help`",
			               argv[i]);
		} else {
			o->name = argv[i];
		}
	}
	return 0;
}

static void watch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	struct sigaction sa = {.sa_handler = on_signal};

	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		if (!process_ignores(signals[i]))
			sigaction(signals[i], &sa, NULL);
}

int top_main(int argc, char **argv)
{
	struct err err = {.msg = ""};
	struct top top = {.nr = 0};
	int rc = parse(&top.options, argc, argv, &err);

	if (rc == 0 && top.options.help) {
		top_help();
		return 0;
	}
	if (rc == 0) {
		watch_signals();
		rc = run(&top, &err);
		top_screen_close();
		leave(&top);
	}
	if (stopped_by) {
		signal(stopped_by, SIG_DFL);
		raise(stopped_by);
	}
	if (rc < 0)
		log_error("%s", err.msg);
	if (rc == -EINVAL)
		return EXIT_USAGE;
	return rc < 0 || ferror(stdout) ? EXIT_FAILED : 0;
}
