/* SPDX-License-Identifier: BSD-2-Clause */
#include "compare/workload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "compare/child.h"
#include "compare/guest.h"
#include "compare/iperf.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define IPERF_EXTRA_MS 20000 /* for connecting and for the end */
#define ECHO_BYTES     18    /* with all headers a frame of 60, and its checksum */
#define ECHO_WAIT_MS   1000
#define ECHO_SAMPLES   (1u << 20)
#define LOOK_EVERY     256

static const struct workload workloads[NR_WORKLOADS] = {
	[WORK_TCP_IN] = {.name = "tcp-in",
                         .title = "TCP to the guest",
                         .unit = "Mbit/s",
                         .better = "more",
                         .iperf = true},
	[WORK_TCP_OUT] = {.name = "tcp-out",
                          .title = "TCP from the guest",
                          .unit = "Mbit/s",
                          .better = "more",
                          .iperf = true,
                          .from_guest = true},
	[WORK_UDP_IN] = {.name = "udp-in",
                         .title = "64-byte frames to the guest",
                         .unit = "packet/s",
                         .better = "more",
                         .iperf = true,
                         .udp = true},
	[WORK_UDP_OUT] = {.name = "udp-out",
                          .title = "64-byte frames from the guest",
                          .unit = "packet/s",
                          .better = "more",
                          .iperf = true,
                          .udp = true,
                          .from_guest = true},
	[WORK_LATENCY] = {.name = "latency",
                          .title = "request and response",
                          .unit = "round trip/s",
                          .better = "more"},
	[WORK_IDLE] = {.name = "idle", .title = "nothing to do", .better = "less"},
};

const struct workload *workload_at(enum workload_id id)
{
	return &workloads[id];
}

int workload_find(const char *name)
{
	for (int i = 0; i < NR_WORKLOADS; i++)
		if (strcmp(workloads[i].name, name) == 0)
			return i;
	return -1;
}

static int run_iperf(const struct workload *w, const struct road_guest *g, unsigned seconds,
                     double *values, struct err *err)
{
	char *argv[16] = {"iperf3", "-J", "-c", (char *)g->address, "-t"};
	char log[160], time[16], *text;
	struct iperf_result r = {0};
	struct child child;
	unsigned n = 5;
	int status, rc;

	snprintf(time, sizeof(time), "%u", seconds);
	snprintf(log, sizeof(log), "%.100s/iperf3", g->common->dir);
	argv[n++] = time;
	/* A payload of 22 bytes makes a frame of 64; -b 0: as fast as it can. */
	for (const char *const *word = (const char *const[]){"-u", "-b", "0", "-l", "22", NULL};
	     w->udp && *word; word++)
		argv[n++] = (char *)*word;
	if (w->from_guest)
		argv[n++] = "-R";
	argv[n] = NULL;
	rc = child_start(&child, argv, log, err);
	if (rc < 0)
		return rc;
	rc = child_wait(&child, seconds * 1000 + IPERF_EXTRA_MS, &status);
	child_kill(&child);
	if (rc < 0)
		return err_set(err, rc, "iperf3: had not ended after %u s",
		               seconds + IPERF_EXTRA_MS / 1000);
	text = child_output(log);
	rc = text ? iperf_parse(text, w->udp, &r, err) : err_set(err, -EIO, "iperf3: no output");
	free(text);
	if (rc == 0)
		values[M_THROUGHPUT] = w->udp ? r.packets_per_s : r.mbit_per_s;
	if (rc == 0 && w->udp)
		values[M_LOSS] = r.loss_percent;
	return rc;
}

/* One datagram and its echo, in microseconds; negative: lost. An older one's echo is not it. */
static double round_trip(int fd, uint32_t number)
{
	char buf[64], message[ECHO_BYTES] = "";
	uint64_t start = clock_ns();
	ssize_t n;

	memcpy(message, &number, sizeof(number));
	if (send(fd, message, sizeof(message), 0) < 0)
		return -1;
	do {
		n = recv(fd, buf, sizeof(buf), 0);
		if (n < 0)
			return -1;
	} while (n != sizeof(message) || memcmp(buf, message, sizeof(message)) != 0);
	return (double)(clock_ns() - start) / 1000;
}

static int echo_loop(int fd, unsigned seconds, double *times, size_t *nr)
{
	uint64_t end = clock_us() + seconds * UINT64_C(1000000);
	uint32_t number = 0;

	for (*nr = 0; clock_us() < end && *nr < ECHO_SAMPLES; number++) {
		double us = round_trip(fd, number);

		if (us >= 0)
			times[(*nr)++] = us;
		if ((us < 0 || number % LOOK_EVERY == 0) && child_stop_signal())
			return -EINTR;
	}
	return 0;
}

static int run_latency(const struct road_guest *g, unsigned seconds, double *values,
                       struct err *err)
{
	double *times = malloc(ECHO_SAMPLES * sizeof(*times));
	int fd = guest_socket(g->address, GUEST_ECHO_PORT, ECHO_WAIT_MS);
	uint64_t start = clock_us();
	size_t nr = 0;
	int rc;

	if (!times || fd < 0)
		rc = err_errno(err, times ? fd : -ENOMEM, "latency");
	else
		rc = echo_loop(fd, seconds, times, &nr);
	if (rc == 0 && nr == 0)
		rc = err_set(err, -EIO, "latency: no datagram came back");
	if (rc == 0) {
		values[M_THROUGHPUT] = (double)nr * 1e6 / (double)(clock_us() - start);
		qsort(times, nr, sizeof(*times), metric_compare);
		values[M_P50] = metric_percentile(times, nr, 0.5);
		values[M_P99] = metric_percentile(times, nr, 0.99);
		values[M_P999] = metric_percentile(times, nr, 0.999);
	}
	free(times);
	fd_close(&fd);
	return rc;
}

int workload_run(enum workload_id id, const struct road_guest *g, unsigned seconds, double *values,
                 struct err *err)
{
	const struct workload *w = &workloads[id];

	if (w->iperf)
		return run_iperf(w, g, seconds, values, err);
	if (id == WORK_LATENCY)
		return run_latency(g, seconds, values, err);
	return child_sleep(seconds * 1000);
}
