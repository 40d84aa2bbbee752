/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * road: the ways that packets can take (a table, one entry each), and a guest on each of them:
 * started, found, described, ended.
 */
#ifndef TRIVM_COMPARE_ROAD_H
#define TRIVM_COMPARE_ROAD_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>

#include "compare/child.h"
#include "compare/guest.h"
#include "compare/options.h"
#include "vmm/ctl_client.h"
#include "vmm/err.h"

enum road_id {
	ROAD_VMM,
	ROAD_VMM_EXIT,
	ROAD_VHOST_NET,
	ROAD_VHOST_USER,
	ROAD_QEMU,
	ROAD_QEMU_VHOST,
	NR_ROADS,
};

#define ROADS_TRIVM 0x0fu
#define ROADS_OTHER 0x30u

struct road {
	const char *name, *title;
	bool trivm; /* or QEMU */
	const char *datapath;
	const char *notify, *inject;
	const char *words; /* behind --net tap:NAME */
	bool backend;      /* needs trivm-switch */
};

const struct road *road_at(enum road_id id);
int road_find(const char *name); /* an enum road_id, or -1 */

/*
 * Can this host take it, with these options? If not, *@reason and *@remedy (NULL: there is none)
 * are texts that stay.
 */
bool road_possible(enum road_id id, const struct compare_options *o, const char **reason,
                   const char **remedy);

/* What all guests have in common. */
struct road_common {
	const struct compare_options *options;
	const char *dir;            /* for the run's files */
	char kernel[PATH_MAX];      /* files */
	char base_initrd[PATH_MAX]; /* what is said of it */
	char initrd[PATH_MAX];      /* what is booted: that one with our files */
	char self[PATH_MAX];        /* trivm */
	char backend[PATH_MAX];     /* trivm-switch */
};

#define ROAD_MEMORY_MIB 192
#define ROAD_PARAMS     "console=ttyS0 panic=-1 quiet ip=off"

/* A guest on a road. Zeroed before it is started. */
struct road_guest {
	const struct road *road;
	const struct road_common *common;
	unsigned index;
	char tap[16], host_address[24], address[20];
	char control[108], socket[108], log[128], backend_log[128], backend_stats[128];
	struct child vmm, backend;
	bool has_ctl;
	struct ctl_client ctl; /* trivm's control socket */
	char debugfs[160];     /* of QEMU's VM; "": there is none */
	pid_t vhost_worker;    /* a process of the kernel's; 0: none, or a thread of the VMM */
	struct guest_info info;
	double boot_s;
	char command[1024];
};

/*
 * Start it and wait until it answers. On an error nothing of it runs any more. -EINTR: compare is
 * to stop.
 */
int road_start(struct road_guest *g, enum road_id id, unsigned index,
               const struct road_common *common, struct err *err);
void road_stop(struct road_guest *g); /* idempotent */

/* docs/compare.md, "roads". */
json_t *road_describe(const struct road_guest *g);

#endif
