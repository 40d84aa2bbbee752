/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sample: one workload measured on one road: everything that counts is read right before and right
 * after it (a reading), and the differences are the sample's metrics.
 */
#ifndef TRIVM_COMPARE_SAMPLE_H
#define TRIVM_COMPARE_SAMPLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "compare/guest.h"
#include "compare/metrics.h"
#include "compare/proc.h"
#include "compare/road.h"
#include "compare/workload.h"
#include "vmm/err.h"

/* KVM's own counts of a VM, and those of the VMM. */
struct sample_kvm {
	bool known;
	uint64_t exits, halts, injections, io, mmio, signal;
	/* Exits to user space as the VMM counts them. */
	bool user_known;
	uint64_t user_mmio, user_pio, user_other;
};

/* What trivm knows of the NIC's rings. */
struct sample_rings {
	bool packets_known; /* its own datapath carries them */
	uint64_t packets, dropped;
	bool kicks_known;
	uint64_t kicks; /* that came as exits, and by ioeventfd */
};

struct reading {
	uint64_t when_us;
	struct guest_counts guest;
	struct proc_net tap;
	uint64_t cpu_us[NR_WHO]; /* WHO_VCPU_HOST: all of the vCPU threads' */
	uint64_t guest_us;       /* of these, in the guest */
	uint64_t switches;
	uint64_t process_us; /* the same processes by /proc/PID/stat */
	uint64_t busy_us;    /* of the whole host */
	struct sample_kvm kvm;
	struct sample_rings rings;
	uint64_t backend_dropped; /* by trivm-switch */
};

struct sample {
	enum workload_id workload;
	unsigned road;  /* index of the guest */
	unsigned round; /* from 1 */
	char error[200];
	double values[NR_METRICS];
	struct reading before, after;
};

/* Measure. 0; -EINTR; others are in sample->error, and 0 is returned. */
int sample_take(struct sample *s, struct road_guest *g, enum workload_id workload, unsigned round,
                unsigned seconds);

/* What the differences between the two readings say; values of the work done are left alone. */
void sample_compute(struct sample *s);

/* Whose time is the thread's? */
enum who sample_role(bool trivm, const struct proc_thread *t);

/* The results of the control socket's "stats" and "net.stats". */
void sample_parse_stats(const json_t *stats, struct sample_kvm *kvm);
void sample_parse_rings(const json_t *net_stats, struct sample_rings *rings);

/* Of trivm-switch's counters: frames that it dropped. False: the text is not complete. */
bool sample_parse_switch(const char *text, uint64_t *dropped);

#endif
