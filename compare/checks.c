/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: what is in the results is counted once more by somebody else, over all
 * samples of a road together, so that what one reading catches a moment earlier or later than
 * the other does not count.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "compare/results.h"
#include "vmm/util.h"

#define LIMIT_PERCENT 2
#define LIMIT_COUNT   2 /* so many events are always allowed: a count may be small */

/* A sum over the good samples of road @road: what @value says of one. NAN of one: NAN. */
static double sum(const struct results *r, unsigned road, double (*value)(const struct sample *s))
{
	double total = 0;
	bool any = false;

	for (size_t i = 0; i < r->nr_samples; i++) {
		const struct sample *s = &r->samples[i];

		if (s->road != road || s->error[0])
			continue;
		total += value(s);
		any = true;
	}
	return any ? total : (double)NAN;
}

static double d(uint64_t after, uint64_t before)
{
	return (double)after - (double)before;
}

static double tap_packets(const struct sample *s)
{
	return d(s->after.tap.rx_packets, s->before.tap.rx_packets) +
	       d(s->after.tap.tx_packets, s->before.tap.tx_packets);
}

static double guest_packets(const struct sample *s)
{
	return d(s->after.guest.rx_packets, s->before.guest.rx_packets) +
	       d(s->after.guest.tx_packets, s->before.guest.tx_packets) +
	       d(s->after.backend_dropped, s->before.backend_dropped);
}

static double ring_packets(const struct sample *s)
{
	return s->after.rings.packets_known ? d(s->after.rings.packets, s->before.rings.packets)
	                                    : (double)NAN;
}

static double thread_ms(const struct sample *s)
{
	double us = 0;

	for (unsigned i = 0; i < NR_WHO; i++)
		us += d(s->after.cpu_us[i], s->before.cpu_us[i]);
	return us / 1000;
}

static double process_ms(const struct sample *s)
{
	return d(s->after.process_us, s->before.process_us) / 1000;
}

static double own_exits(const struct sample *s)
{
	return s->after.kvm.user_known ? d(s->after.kvm.user_mmio, s->before.kvm.user_mmio) +
	                                         d(s->after.kvm.user_pio, s->before.kvm.user_pio)
	                               : (double)NAN;
}

static double kvm_exits(const struct sample *s)
{
	return s->after.kvm.known ? d(s->after.kvm.io, s->before.kvm.io) +
	                                    d(s->after.kvm.mmio, s->before.kvm.mmio)
	                          : (double)NAN;
}

static double own_kicks(const struct sample *s)
{
	return s->after.rings.kicks_known && s->before.rings.kicks_known
	               ? d(s->after.rings.kicks, s->before.rings.kicks)
	               : (double)NAN;
}

static double guest_kicks(const struct sample *s)
{
	return s->after.guest.has_kicks ? d(s->after.guest.kicks, s->before.guest.kicks)
	                                : (double)NAN;
}

static const struct check {
	const char *what;
	double (*ours)(const struct sample *s);
	const char *ours_source;
	double (*outside)(const struct sample *s);
	const char *outside_source;
	const char *no_ours, *no_outside; /* why there may be no number */
} checks[] = {
	{"packets", guest_packets, "the guest's eth0, dropped by the back-end", tap_packets,
         "the tap's counters", "", ""},
	{"packets", ring_packets, "the datapath's rings", tap_packets, "the tap's counters",
         "only a datapath in trivm counts its rings", ""},
	{"cpu", thread_ms, "time of all threads, ms", process_ms, "/proc/PID/stat, ms", "", ""},
	{"exits", own_exits, "exits to trivm", kvm_exits, "KVM: io_exits + mmio_exits",
         "this VMM does not count its exits", "KVM's counts of this VM cannot be read"},
	{"kicks", own_kicks, "kicks that trivm saw", guest_kicks, "the guest's driver",
         "who takes them from the eventfd does not count them",
         "the guest's driver does not count"},
};

static json_t *real_or_null(double value)
{
	return isnan(value) ? json_null() : json_integer((json_int_t)(value + 0.5));
}

static json_t *check_json(const struct results *r, unsigned road, const struct check *c)
{
	double ours = sum(r, road, c->ours), outside = sum(r, road, c->outside);
	bool known = !isnan(ours) && !isnan(outside);
	bool close = fabs(ours - outside) <= LIMIT_COUNT;
	double percent = known && outside > 0 ? 100 * (ours - outside) / outside : 0;
	json_t *o = json_pack(
		"{s:s, s:s, s:{s:s, s:o}, s:{s:s, s:o}, s:o, s:i, s:o}", "what", c->what, "road",
		r->guests[road].road->name, "ours", "source", c->ours_source, "value",
		real_or_null(ours), "outside", "source", c->outside_source, "value",
		real_or_null(outside), "difference_percent",
		known && outside > 0 ? json_real(percent) : json_null(), "limit_percent",
		LIMIT_PERCENT, "ok",
		known ? json_boolean(close || (outside > 0 && fabs(percent) <= LIMIT_PERCENT))
		      : json_null());

	if (!known)
		json_object_set_new(o, "reason",
		                    json_string(isnan(ours) ? c->no_ours : c->no_outside));
	return o;
}

json_t *results_checks(const struct results *r)
{
	json_t *list = json_array();

	for (unsigned road = 0; road < r->nr_guests; road++)
		for (size_t i = 0; i < ARRAY_SIZE(checks); i++)
			json_array_append_new(list, check_json(r, road, &checks[i]));
	return list;
}
