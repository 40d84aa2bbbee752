/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: judge what was asked for and what the host has; enter namespaces of our own;
 * start a guest for each road; warm up; measure in rounds; take everything down; write. Whatever
 * happens on the way, compare_main() comes by the taking down, and what it misses - a SIGKILL -
 * the kernel does: the children die with us (child.c), the network goes with its namespace
 * (host.c).
 */
#include "compare/compare.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/x86/probe.h"
#include "compare/child.h"
#include "compare/host.h"
#include "compare/options.h"
#include "compare/page.h"
#include "compare/results.h"
#include "compare/road.h"
#include "compare/sample.h"
#include "compare/workload.h"
#include "vmm/clock.h"
#include "vmm/exit_status.h"
#include "vmm/guest_image.h"
#include "vmm/fd.h"
#include "vmm/file.h"
#include "vmm/json_text.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define KVM_PATH       "/dev/kvm"
#define ROUNDS         5
#define ROUNDS_VIRTUAL 3
#define WARMUP_S       1

struct session {
	struct compare_options options;
	struct road_common common;
	struct results results;
	char dir[80];
	bool usage; /* what failed is the user's to mend */
};

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	char line[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "trivm compare: %s\n", line);
}

void compare_help(void)
{
	printf("Usage: trivm compare [OPTION]...\n"
	       "Boot the same guest on each road of its network card, measure, and compare.\n\n");
	compare_options_print(stdout);
	printf("\nProgress is on standard error, the table on standard output.\n"
	       "Exit status: 0; %d something could not be measured; %d wrong usage; %d the host "
	       "cannot;\n128 + n stopped by signal n, with the results until then.\n",
	       EXIT_MEASURE, EXIT_USAGE, EXIT_HOST);
}

/* --- Before anything is started --- */

static int check_kvm(struct session *s, struct err *err)
{
	enum probe_result p = PROBE_FAILED;

	if (access(KVM_PATH, R_OK | W_OK) == 0)
		p = probe_kvm(KVM_PATH);
	s->results.kvm_hardware = p == PROBE_HARDWARE;
	if (p == PROBE_PARTIAL)
		return err_set(err, -ENOTSUP,
		               "this host's KVM has no hardware virtualization under it and cannot "
		               "run an ordinary kernel; use the lab: `make compare`, or lab/run -- "
		               "trivm compare ... (`trivm doctor` says more)");
	if (p == PROBE_FAILED)
		return err_set(err, -ENOTSUP, KVM_PATH ": cannot be used; `trivm doctor` says why");
	return 0;
}

static int find_programs(struct session *s, struct err *err)
{
	struct road_common *c = &s->common;
	ssize_t n = readlink("/proc/self/exe", c->self, sizeof(c->self) - 1);
	char dir[PATH_MAX];

	if (n <= 0)
		return err_errno(err, -errno, "/proc/self/exe");
	c->self[n] = '\0';
	snprintf(dir, sizeof(dir), "%s", c->self);
	snprintf(c->backend, sizeof(c->backend), "%.4000s/trivm-switch", dirname(dir));
	if (!host_has_program(c->backend))
		snprintf(c->backend, sizeof(c->backend), "trivm-switch");
	if (!host_has_program("ip"))
		return err_set(err, -ENOENT, "ip is not installed: sudo apt-get install iproute2");
	for (unsigned i = 0; i < NR_WORKLOADS; i++)
		if ((s->options.workloads & BIT(i)) && workload_at((enum workload_id)i)->iperf &&
		    !host_has_program("iperf3"))
			return err_set(err, -ENOENT,
			               "iperf3 is not installed: sudo apt-get install iperf3, or "
			               "--workload latency,idle");
	return 0;
}

static int check_file(const char *option, const char *path, struct err *err)
{
	return access(path, R_OK) < 0 ? err_errno(err, -errno, "%s %s", option, path) : 0;
}

static int find_guest(struct session *s, struct err *err)
{
	struct road_common *c = &s->common;
	struct guest_image image = {.kernel = "", .initrd = ""};
	int rc = 0;

	if (!s->options.kernel || !s->options.initrd)
		rc = guest_image_find(&image, err);
	if (rc < 0)
		return rc;
	snprintf(c->kernel, sizeof(c->kernel), "%s",
	         s->options.kernel ? s->options.kernel : image.kernel);
	snprintf(c->base_initrd, sizeof(c->base_initrd), "%s",
	         s->options.initrd ? s->options.initrd : image.initrd);
	rc = check_file("--kernel", c->kernel, err);
	return rc < 0 ? rc : check_file("--initrd", c->base_initrd, err);
}

static void skip(struct session *s, enum road_id id, const char *reason, const char *remedy)
{
	say("%s is skipped: %s%s%s%s", road_at(id)->name, reason, remedy ? " (" : "",
	    remedy ? remedy : "", remedy ? ")" : "");
	json_array_append_new(s->results.skipped,
	                      json_pack("{s:s, s:o, s:o?}", "road", road_at(id)->name, "reason",
	                                json_text(reason), "remedy", json_text(remedy)));
	s->options.roads &= ~BIT((unsigned)id);
}

/* Leave the roads out that cannot be taken here. */
static int choose_roads(struct session *s, struct err *err)
{
	const char *reason = NULL, *remedy;

	for (unsigned i = 0; i < NR_ROADS; i++) {
		enum road_id id = (enum road_id)i;

		if (!(s->options.roads & BIT(i)))
			continue;
		if (road_at(id)->backend && !host_has_program(s->common.backend))
			skip(s, id, "trivm-switch is not there", "make");
		else if (!road_possible(id, &s->options, &reason, &remedy))
			skip(s, id, reason, remedy);
	}
	if (s->options.roads)
		return 0;
	return err_set(err, -ENOTSUP, "no road is left that this host can take");
}

static int prepare(struct session *s, struct err *err)
{
	int rc = check_kvm(s, err);

	if (rc == 0)
		rc = find_programs(s, err);
	if (rc == 0) {
		rc = find_guest(s, err);
		if (rc == 0 && s->options.out && mkdir(s->options.out, 0777) < 0 && errno != EEXIST)
			rc = err_errno(err, -errno, "--out %s", s->options.out);
		s->usage = rc < 0;
	}
	if (rc == 0)
		rc = choose_roads(s, err);
	if (rc == 0)
		rc = host_isolate(err);
	if (rc == 0)
		rc = host_make_dir(s->dir, sizeof(s->dir), err);
	if (rc < 0)
		return rc;
	s->common.dir = s->dir;
	s->common.options = &s->options;
	snprintf(s->common.initrd, sizeof(s->common.initrd), "%s/initrd", s->dir);
	if (!s->options.rounds)
		s->options.rounds = host_is_virtual() ? ROUNDS_VIRTUAL : ROUNDS;
	return guest_make_initrd(s->common.base_initrd, s->common.initrd, err);
}

/* --- Measuring --- */

static int start_guests(struct session *s, struct err *err)
{
	struct results *r = &s->results;

	for (unsigned i = 0; i < NR_ROADS; i++) {
		struct road_guest *g = &r->guests[r->nr_guests];
		int rc;

		if (!(s->options.roads & BIT(i)))
			continue;
		say("starting a guest: %s", road_at((enum road_id)i)->name);
		rc = road_start(g, (enum road_id)i, r->nr_guests, &s->common, err);
		if (rc == -EINTR)
			return rc;
		if (rc < 0)
			skip(s, (enum road_id)i, err->msg, NULL);
		else
			r->nr_guests++;
		err->msg[0] = '\0';
	}
	return r->nr_guests ? 0 : err_set(err, -ENOTSUP, "no guest could be started");
}

/* Caches, iperf3's first connection, the host's idea of the guests' addresses. */
static int warm_up(struct session *s)
{
	struct sample *scratch = calloc(1, sizeof(*scratch));
	int rc = scratch ? 0 : -ENOMEM;

	say("warming up");
	for (unsigned g = 0; rc == 0 && g < s->results.nr_guests; g++)
		for (unsigned w = 0; rc == 0 && w < NR_WORKLOADS; w++)
			if ((s->options.workloads & BIT(w)) && w != WORK_IDLE)
				rc = sample_take(scratch, &s->results.guests[g],
				                 (enum workload_id)w, 0, WARMUP_S);
	free(scratch);
	return rc;
}

static void say_sample(const struct session *s, const struct sample *m)
{
	const struct workload *w = workload_at(m->workload);
	char what[64];

	snprintf(what, sizeof(what), "round %u of %u: %s, %s", m->round, s->options.rounds, w->name,
	         s->results.guests[m->road].road->name);
	if (m->error[0])
		say("%s: %s", what, m->error);
	else if (w->unit)
		say("%s: %.0f %s", what, m->values[M_THROUGHPUT], w->unit);
	else
		say("%s: %.2f %% of a processor", what, m->values[M_CPU_PERCENT]);
}

static int measure_round(struct session *s, unsigned round)
{
	struct results *r = &s->results;

	for (unsigned w = 0; w < NR_WORKLOADS; w++)
		for (unsigned g = 0; (s->options.workloads & BIT(w)) && g < r->nr_guests; g++) {
			struct sample *m = results_add(r);
			int rc = m ? sample_take(m, &r->guests[g], (enum workload_id)w, round,
			                         s->options.seconds)
			           : -ENOMEM;

			if (m && rc < 0)
				r->nr_samples--;
			if (rc < 0)
				return rc;
			say_sample(s, m);
		}
	return 0;
}

static int measure(struct session *s)
{
	uint64_t end = s->results.start_us + s->options.limit_s * UINT64_C(1000000);

	for (unsigned round = 1; round <= s->options.rounds; round++) {
		uint64_t start = clock_us();
		int rc = measure_round(s, round);

		if (rc < 0)
			return rc;
		if (!s->options.limit_s || round == s->options.rounds)
			continue;
		/* The next one will take as long. */
		if (2 * clock_us() - start > end) {
			say("no time for round %u: it would not end within %u s", round + 1,
			    s->options.limit_s);
			s->options.rounds = round;
		}
	}
	return 0;
}

/* --- Afterwards --- */

static int write_one(const struct session *s, const char *name,
                     void (*write)(FILE *out, const json_t *doc), const json_t *doc,
                     struct err *err)
{
	char path[PATH_MAX];
	FILE *out;
	int rc = 0, fd;

	snprintf(path, sizeof(path), "%.4000s/%s", s->options.out, name);
	fd = file_create("--out: ", path, O_WRONLY | O_TRUNC, 0666, err);
	if (fd < 0)
		return fd;
	out = fdopen(fd, "w");
	if (!out) {
		fd_close(&fd);
		return err_errno(err, -ENOMEM, "--out %s: %s", s->options.out, name);
	}
	write(out, doc);
	if (ferror(out) | fclose(out))
		rc = err_errno(err, -EIO, "--out %s: %s", s->options.out, name);
	if (rc == 0)
		say("written: %s", path);
	return rc;
}

static void write_json(FILE *out, const json_t *doc)
{
	json_dumpf(doc, out, JSON_INDENT(1) | JSON_REAL_PRECISION(6));
	fputc('\n', out);
}

/* What can go wrong with results of ours is that the file does not take them: write_one() sees that. */
static void write_page(FILE *out, const json_t *doc)
{
	compare_page(out, doc);
}

static int report(struct session *s, struct err *err)
{
	json_t *doc = results_document(&s->results);
	int rc = 0;

	if (!doc)
		return err_errno(err, -ENOMEM, "the results");
	if (s->options.out)
		rc = write_one(s, "compare.json", write_json, doc, err);
	if (s->options.out && rc == 0)
		rc = write_one(s, "compare.csv", results_csv, doc, err);
	if (s->options.out && rc == 0)
		rc = write_one(s, "compare.html", write_page, doc, err);
	results_table(stdout, doc);
	if ((fflush(stdout) != 0 || ferror(stdout)) && rc == 0)
		rc = err_errno(err, -errno, "standard output");
	json_decref(doc);
	return rc;
}

/* Is there a sample of each workload on each road that worked? */
static bool all_measured(const struct session *s)
{
	const struct results *r = &s->results;

	for (unsigned w = 0; w < NR_WORKLOADS; w++)
		for (unsigned g = 0; (s->options.workloads & BIT(w)) && g < r->nr_guests; g++) {
			bool any = false;

			for (size_t i = 0; i < r->nr_samples; i++)
				any |= r->samples[i].workload == w && r->samples[i].road == g &&
				       !r->samples[i].error[0];
			if (!any)
				return false;
		}
	return true;
}

static int run(struct session *s, struct err *err)
{
	int rc = prepare(s, err), reported = 0;

	if (rc == 0)
		rc = start_guests(s, err);
	if (rc == 0)
		rc = warm_up(s);
	if (rc == 0)
		rc = measure(s);
	s->results.complete = rc == 0;
	/* While the guests run: the report asks nothing of them, but what there is is told even if
	 * a second signal comes. */
	if (s->results.nr_samples)
		reported = report(s, err);
	return rc < 0 ? rc : reported;
}

static void take_down(struct session *s)
{
	for (unsigned i = 0; i < s->results.nr_guests; i++)
		road_stop(&s->results.guests[i]);
	host_remove_dir(s->dir);
	results_free(&s->results);
}

static int exit_status(const struct session *s, int rc, const struct err *err)
{
	if (child_stop_signal())
		return EXIT_SIGNAL(child_stop_signal());
	if (rc == 0)
		return all_measured(s) ? 0 : EXIT_MEASURE;
	log_error("compare: %s", err->msg[0] ? err->msg : strerror(-rc));
	return s->usage ? EXIT_USAGE : EXIT_HOST;
}

int compare_main(int argc, char **argv)
{
	static struct session session; /* it is large, and there is one */
	struct session *s = &session;
	struct err err = {.msg = ""};
	int rc, status;

	compare_options_default(&s->options);
	if (compare_options_parse(&s->options, argc, argv, &err) < 0) {
		log_error("%s", err.msg);
		return EXIT_USAGE;
	}
	if (s->options.help) {
		compare_help();
		return 0;
	}
	s->results = (struct results){.options = &s->options,
	                              .common = &s->common,
	                              .skipped = json_array(),
	                              .command = json_pack("[s, s]", "trivm", "compare"),
	                              .when = time(NULL),
	                              .start_us = clock_us(),
	                              .warmup_s = WARMUP_S};
	for (int i = 0; i < argc; i++)
		json_array_append_new(s->results.command, json_text(argv[i]));
	child_begin();
	rc = run(s, &err);
	status = exit_status(s, rc, &err);
	take_down(s);
	return status;
}
