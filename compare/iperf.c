/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/iperf.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>

/* A number below @o, or -1. */
static double number(const json_t *o, const char *name)
{
	const json_t *v = json_object_get(o, name);

	return json_is_number(v) ? json_number_value(v) : -1;
}

static int failure(const char *text, struct err *err)
{
	/* "the server is busy running a test" */
	return err_set(err, strstr(text, "busy") ? -EBUSY : -EIO, "iperf3: %s", text);
}

/*
 * "sum_received" is the receiver's own account; its "packets" are those that it should have seen,
 * the highest number that came.
 */
static int parse_udp(const json_t *end, struct iperf_result *r)
{
	const json_t *in = json_object_get(end, "sum_received");
	const json_t *sum = json_object_get(end, "sum");
	double packets = number(in, "packets"), lost = number(in, "lost_packets");
	double seconds = number(in, "seconds"), sent = number(sum, "packets");

	if (packets < 0 || lost < 0 || lost > packets || seconds <= 0 || sent < 0)
		return -EPROTO;
	r->packets_per_s = (packets - lost) / seconds;
	/* Those behind the last one that came were lost, too. */
	if (sent < packets)
		sent = packets;
	r->loss_percent = sent > 0 ? 100 * (sent - (packets - lost)) / sent : 0;
	return 0;
}

static int parse(const json_t *doc, bool udp, struct iperf_result *r, struct err *err)
{
	const json_t *end = json_object_get(doc, "end");
	const char *failed = json_string_value(json_object_get(doc, "error"));
	double bits;

	if (failed)
		return failure(failed, err);
	*r = (struct iperf_result){0};
	if (udp)
		return parse_udp(end, r) < 0
		               ? err_set(err, -EPROTO, "iperf3: no account of the receiver's")
		               : 0;
	bits = number(json_object_get(end, "sum_received"), "bits_per_second");
	if (bits < 0)
		return err_set(err, -EPROTO, "iperf3: no account of the receiver's");
	r->mbit_per_s = bits / 1e6;
	return 0;
}

int iperf_parse(const char *text, bool udp, struct iperf_result *result, struct err *err)
{
	json_error_t e;
	/* What some versions say in front of or behind the object is not part of it. */
	const char *begin = strchr(text, '{');
	json_t *doc = begin ? json_loads(begin, JSON_DISABLE_EOF_CHECK, &e) : NULL;
	int rc;

	if (!doc)
		return err_set(err, -EPROTO, "iperf3: %.*s", (int)strcspn(text, "\n"),
		               *text ? text : "it said nothing");
	rc = parse(doc, udp, result, err);
	json_decref(doc);
	return rc;
}
