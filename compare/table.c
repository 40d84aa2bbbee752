/* SPDX-License-Identifier: BSD-2-Clause */
/* The document as text: what was measured on what, a block for each workload, the checks. */
#include <stdio.h>
#include <string.h>

#include "compare/results.h"
#include "vmm/util.h"

static const char *text(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "-";
}

static long long integer(const json_t *o, const char *name)
{
	return (long long)json_integer_value(json_object_get(o, name));
}

/* Three or four digits that count, in @width columns; "-" if it is not known. */
static void put_number(FILE *out, const json_t *value, int width)
{
	double v = json_number_value(value);

	if (!json_is_number(value))
		fprintf(out, " %*s", width, "-");
	else if (v == 0)
		fprintf(out, " %*d", width, 0);
	else if (v < 0.095)
		fprintf(out, " %*.4f", width, v);
	else
		fprintf(out, " %*.*f", width, v < 9.95 ? 2 : v < 99.5 ? 1 : 0, v);
}

static const json_t *metric(const json_t *result, const char *name, const char *of)
{
	return json_object_get(json_object_get(json_object_get(result, "metrics"), name), of);
}

static void put_median(FILE *out, const json_t *result, const char *name, int width)
{
	put_number(out, metric(result, name, "median"), width);
}

/* --- What was measured --- */

static void put_hosts(FILE *out, const json_t *doc)
{
	const json_t *host = json_object_get(doc, "host"), *guest = json_object_get(doc, "guest");
	const json_t *set = json_object_get(doc, "settings"), *v = json_object_get(doc, "versions");

	fprintf(out, "host   Linux %s, %s, %lld processor%s%s\n", text(host, "kernel"),
	        text(host, "cpu"), integer(host, "cpus"), integer(host, "cpus") == 1 ? "" : "s",
	        json_is_true(json_object_get(host, "hypervisor"))
	                ? ", itself virtual or emulated: its times are not those of hardware"
	                : "");
	fprintf(out, "guest  Linux %s, %lld vCPU%s, %lld MiB\n", text(guest, "kernel"),
	        integer(guest, "cpus"), integer(guest, "cpus") == 1 ? "" : "s",
	        integer(guest, "memory") >> 20);
	fprintf(out, "with   trivm %s, iperf3 %s, QEMU %s; pinning: %s\n", text(v, "trivm"),
	        text(v, "iperf3"), text(v, "qemu"),
	        json_is_null(json_object_get(set, "pinning")) ? "none" : "see JSON");
	fprintf(out, "       %lld round%s of %lld s; medians, (lowest-highest); %s\n\n",
	        integer(set, "rounds"), integer(set, "rounds") == 1 ? "" : "s",
	        integer(set, "seconds"), text(doc, "when"));
}

static void put_roads(FILE *out, const json_t *doc)
{
	const json_t *r, *name;
	size_t i, k;

	fprintf(out, "%-12s %-10s %-15s %-9s %-7s %-5s %-6s %s\n", "road", "datapath",
	        "notifications", "transport", "ring", "queue", "boot s", "negotiated features");
	json_array_foreach (json_object_get(doc, "roads"), i, r) {
		char how[32];

		snprintf(how, sizeof(how), "%s/%s", text(r, "notify"), text(r, "inject"));
		fprintf(out, "%-12s %-10s %-15s %-9s %-7s %-5lld", text(r, "name"),
		        text(r, "datapath"), how, text(r, "transport"), text(r, "ring"),
		        integer(r, "queue_size"));
		put_number(out, json_object_get(r, "boot_s"), 6);
		fprintf(out, " %s\n", text(r, "features"));
	}
	/* All guests have the same driver: mostly the lists are the same, too. */
	json_array_foreach (json_object_get(doc, "roads"), i, r) {
		const json_t *before =
			i ? json_array_get(json_object_get(doc, "roads"), i - 1) : NULL;

		if (before && strcmp(text(before, "features"), text(r, "features")) == 0)
			continue;
		fprintf(out, "%s:", text(r, "features"));
		json_array_foreach (json_object_get(r, "feature_names"), k, name) {
			fprintf(out, " %s", json_is_string(name) ? json_string_value(name) : "-");
		}
		fputc('\n', out);
	}
	json_array_foreach (json_object_get(doc, "skipped"), i, r) {
		fprintf(out, "%-12s skipped: %s", text(r, "road"), text(r, "reason"));
		if (json_is_string(json_object_get(r, "remedy")))
			fprintf(out, " (%s)", text(r, "remedy"));
		fputc('\n', out);
	}
}

/* --- A workload --- */

static const struct column {
	const char *head;
	const char *metric, *idle; /* instead of @metric where nothing passes */
	int width;
} columns[] = {
	{"exits", "exits_per_packet", "exits_per_s", 6},
	{"user", "exits_user_per_packet", "exits_user_per_s", 6},
	{"kicks", "kicks_per_packet", "kicks_per_s", 6},
	{"irqs", "interrupts_per_packet", "interrupts_per_s", 6},
	{"switch", "switches_per_packet", "switches_per_s", 6},
	{"| CPU", "cpu_us_per_packet", "cpu_percent", 7},
	{"guest", "cpu_vcpu_guest_us_per_packet", "cpu_vcpu_guest_percent", 6},
	{"KVM", "cpu_vcpu_host_us_per_packet", "cpu_vcpu_host_percent", 6},
	{"datap", "cpu_datapath_us_per_packet", "cpu_datapath_percent", 6},
	{"vhost", "cpu_vhost_us_per_packet", "cpu_vhost_percent", 6},
	{"backe", "cpu_backend_us_per_packet", "cpu_backend_percent", 6},
	{"other", "cpu_other_us_per_packet", "cpu_other_percent", 6},
};

#define NR_COLUMNS ARRAY_SIZE(columns)

static void put_spread(FILE *out, const json_t *result, const char *name)
{
	char spread[40] = "";

	if (json_is_number(metric(result, name, "min")))
		snprintf(spread, sizeof(spread), "(%.0f-%.0f)",
		         json_number_value(metric(result, name, "min")),
		         json_number_value(metric(result, name, "max")));
	fprintf(out, " %-17s", spread);
}

/* Loss, or percentiles: what the workload has besides. */
static void put_more(FILE *out, const json_t *result)
{
	if (json_is_number(metric(result, "loss_percent", "median"))) {
		fputs("  lost %", out);
		put_median(out, result, "loss_percent", 1);
	}
	if (json_is_number(metric(result, "latency_p50_us", "median"))) {
		fputs("  us p50", out);
		put_median(out, result, "latency_p50_us", 1);
		fputs(" p99", out);
		put_median(out, result, "latency_p99_us", 1);
		fputs(" p99.9", out);
		put_median(out, result, "latency_p999_us", 1);
	}
}

static void put_workload(FILE *out, const json_t *doc, const json_t *w)
{
	bool idle = json_is_null(json_object_get(w, "unit"));
	const json_t *road;
	size_t i;

	fprintf(out, "\n%s (%s): %s\n", text(w, "title"), text(w, "name"),
	        idle ? "counts per second, CPU in percent of a processor"
	             : "counts per packet, CPU in microseconds per packet");
	fprintf(out, "%-12s %12s %-17s", "road", idle ? "" : text(w, "unit"), "");
	for (size_t k = 0; k < NR_COLUMNS; k++)
		fprintf(out, " %*s", columns[k].width, columns[k].head);
	fputc('\n', out);
	json_array_foreach (json_object_get(doc, "roads"), i, road) {
		const json_t *r = results_find(doc, text(w, "name"), text(road, "name"));

		fprintf(out, "%-12s", text(road, "name"));
		put_median(out, r, "throughput", 12);
		put_spread(out, r, "throughput");
		for (size_t k = 0; k < NR_COLUMNS; k++)
			put_median(out, r, idle ? columns[k].idle : columns[k].metric,
			           columns[k].width);
		put_more(out, r);
		fputc('\n', out);
	}
}

/* --- Checks --- */

static void put_check(FILE *out, const json_t *c)
{
	const json_t *ok = json_object_get(c, "ok");
	const json_t *ours = json_object_get(c, "ours"), *outside = json_object_get(c, "outside");

	fprintf(out, "%-9s %-12s %-8s ",
	        json_is_true(ok)    ? "ok"
	        : json_is_false(ok) ? "DIFFERENT"
	                            : "unknown",
	        text(c, "road"), text(c, "what"));
	if (json_is_null(ok))
		fprintf(out, "%s\n", text(c, "reason"));
	else
		fprintf(out, "%s %lld, %s %lld: %+.2f %%\n", text(ours, "source"),
		        integer(ours, "value"), text(outside, "source"), integer(outside, "value"),
		        json_number_value(json_object_get(c, "difference_percent")));
}

void results_table(FILE *out, const json_t *doc)
{
	const json_t *one;
	size_t i;

	put_hosts(out, doc);
	put_roads(out, doc);
	json_array_foreach (json_object_get(doc, "workloads"), i, one) {
		put_workload(out, doc, one);
	}
	fprintf(out, "\nThe figures against others' counts of the same (limit 2 %%):\n");
	json_array_foreach (json_object_get(doc, "checks"), i, one) {
		put_check(out, one);
	}
	if (!json_is_true(json_object_get(doc, "complete")))
		fprintf(out, "\nInterrupted: the results are what there was until then.\n");
}
