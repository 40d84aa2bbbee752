/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/results.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare/host.h"
#include "compare/workload.h"
#include "vmm/clock.h"
#include "vmm/json_text.h"
#include "vmm/util.h"

struct sample *results_add(struct results *r)
{
	if (r->nr_samples == r->room) {
		size_t room = r->room ? 2 * r->room : 64;
		struct sample *more = realloc(r->samples, room * sizeof(*more));

		if (!more)
			return NULL;
		r->samples = more;
		r->room = room;
	}
	return &r->samples[r->nr_samples++];
}

void results_free(struct results *r)
{
	free(r->samples);
	r->samples = NULL;
	r->nr_samples = r->room = 0;
	json_decref(r->skipped);
	json_decref(r->command);
	r->skipped = r->command = NULL;
}

/* Six digits: more is noise. */
static json_t *number(double value)
{
	char text[32];

	if (isnan(value) || isinf(value))
		return json_null();
	if (fabs(value) < 1e15 && value == (double)(json_int_t)value)
		return json_integer((json_int_t)value);
	snprintf(text, sizeof(text), "%.6g", value);
	return json_real(strtod(text, NULL));
}

static json_t *sample_json(const struct sample *s)
{
	json_t *o = json_pack("{s:i, s:o?}", "round", (int)s->round, "error",
	                      s->error[0] ? json_text(s->error) : NULL);
	char name[METRIC_NAME_MAX];

	for (unsigned m = 0; !s->error[0] && m < NR_METRICS; m++)
		json_object_set_new(o, metric_name(m, name), number(s->values[m]));
	return o;
}

/* The metric over the samples of @workload on @road. */
static json_t *summary_json(const struct results *r, unsigned workload, unsigned road, unsigned m)
{
	double *values = calloc(r->nr_samples + 1, sizeof(*values));
	struct metric_summary sum;
	size_t n = 0;

	if (!values)
		return json_null();
	for (size_t i = 0; i < r->nr_samples; i++) {
		const struct sample *s = &r->samples[i];

		if (s->workload == workload && s->road == road && !s->error[0])
			values[n++] = s->values[m];
	}
	sum = metric_summarize(values, n);
	free(values);
	if (!sum.n)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:i}", "median", number(sum.median), "min",
	                 number(sum.min), "max", number(sum.max), "n", (int)sum.n);
}

static json_t *result_json(const struct results *r, unsigned workload, unsigned road)
{
	json_t *samples = json_array(), *metrics = json_object();
	char name[METRIC_NAME_MAX];

	for (size_t i = 0; i < r->nr_samples; i++)
		if (r->samples[i].workload == workload && r->samples[i].road == road)
			json_array_append_new(samples, sample_json(&r->samples[i]));
	for (unsigned m = 0; m < NR_METRICS; m++)
		json_object_set_new(metrics, metric_name(m, name),
		                    summary_json(r, workload, road, m));
	return json_pack("{s:s, s:s, s:o, s:o}", "workload",
	                 workload_at((enum workload_id)workload)->name, "road",
	                 r->guests[road].road->name, "samples", samples, "metrics", metrics);
}

static json_t *results_json(const struct results *r)
{
	json_t *list = json_array();

	for (unsigned w = 0; w < NR_WORKLOADS; w++)
		for (unsigned g = 0; (r->options->workloads & BIT(w)) && g < r->nr_guests; g++)
			json_array_append_new(list, result_json(r, w, g));
	return list;
}

static json_t *workloads_json(const struct results *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < NR_WORKLOADS; i++) {
		const struct workload *w = workload_at((enum workload_id)i);

		if (r->options->workloads & BIT(i))
			json_array_append_new(list, json_pack("{s:s, s:s, s:s?, s:s}", "name",
			                                      w->name, "title", w->title, "unit",
			                                      w->unit, "better", w->better));
	}
	return list;
}

static json_t *guest_json(const struct results *r)
{
	return json_pack("{s:o, s:o, s:o, s:i, s:I, s:s}", "kernel",
	                 json_text(r->nr_guests ? r->guests[0].info.release : ""), "image",
	                 json_text(r->common->kernel), "initrd", json_text(r->common->base_initrd),
	                 "cpus", (int)r->options->cpus, "memory", (json_int_t)MIB(ROAD_MEMORY_MIB),
	                 "params", ROAD_PARAMS);
}

/* "QEMU emulator version 7.2.22 (Debian ...)": the number. */
static json_t *qemu_version(const struct results *r)
{
	char log[160], version[32] = "", *text;
	json_t *v = json_null();
	bool used = false;

	for (unsigned i = 0; i < r->nr_guests; i++)
		used |= !r->guests[i].road->trivm;
	snprintf(log, sizeof(log), "%.100s/version", r->common->dir);
	if (!used || child_command("qemu-system-x86_64 --version", log, NULL) < 0)
		return v;
	text = child_output(log);
	if (text && sscanf(text, "QEMU emulator version %31[^ \n(]", version) == 1)
		v = json_string(version);
	free(text);
	return v;
}

static json_t *versions_json(const struct results *r)
{
	const char *iperf3 = r->nr_guests ? r->guests[0].info.iperf3 : "";
	bool backend = false;

	for (unsigned i = 0; i < r->nr_guests; i++)
		backend |= r->guests[i].road->backend;
	/* trivm-switch is built and installed with trivm, and has its version. */
	return json_pack("{s:s, s:s?, s:s?, s:o}", "trivm", TRIVM_VERSION, "trivm_switch",
	                 backend ? TRIVM_VERSION : NULL, "iperf3", *iperf3 ? iperf3 : NULL, "qemu",
	                 qemu_version(r));
}

static json_t *settings_json(const struct results *r)
{
	const struct compare_options *o = r->options;

	return json_pack("{s:i, s:i, s:i, s:s, s:s, s:n}", "rounds", (int)o->rounds, "seconds",
	                 (int)o->seconds, "warmup_s", (int)r->warmup_s, "transport",
	                 o->mmio ? "mmio" : "pci", "ring", o->packed ? "packed" : "split",
	                 "pinning");
}

json_t *results_document(const struct results *r)
{
	json_t *roads = json_array();
	char when[32] = "";
	struct tm tm;

	if (gmtime_r(&r->when, &tm))
		strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
	for (unsigned i = 0; i < r->nr_guests; i++)
		json_array_append_new(roads, road_describe(&r->guests[i]));
	return json_pack(
		"{s:s, s:i, s:s, s:o, s:O, s:b, s:o, s:o, s:o, s:o, s:o, s:O, s:o, s:o, s:o}",
		"format", RESULTS_FORMAT, "version", RESULTS_VERSION, "when", when, "duration_s",
		number((double)((clock_us() - r->start_us) / 100000) / 10), "command", r->command,
		"complete", r->complete, "host", host_describe(r->kvm_hardware), "guest",
		guest_json(r), "versions", versions_json(r), "settings", settings_json(r), "roads",
		roads, "skipped", r->skipped, "workloads", workloads_json(r), "results",
		results_json(r), "checks", results_checks(r));
}

const json_t *results_find(const json_t *doc, const char *workload, const char *road)
{
	const json_t *one;
	size_t i;

	json_array_foreach (json_object_get(doc, "results"), i, one) {
		const char *w = json_string_value(json_object_get(one, "workload"));
		const char *r = json_string_value(json_object_get(one, "road"));

		if (w && r && strcmp(w, workload) == 0 && strcmp(r, road) == 0)
			return one;
	}
	return NULL;
}
