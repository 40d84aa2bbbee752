/* SPDX-License-Identifier: BSD-2-Clause */
/* control_vm: what the methods of the control socket do to the machine. docs/control.md. */
#ifndef TRIVM_VMM_CONTROL_VM_H
#define TRIVM_VMM_CONTROL_VM_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/config.h"
#include "vmm/control.h"
#include "vmm/jsonrpc.h"
#include "vmm/machine.h"
#include "vmm/stats.h"

/* What the methods see and set. Main thread only; the session's (run.c). */
struct control_vm {
	struct control *control;
	const struct config *config;
	const char *name;
	const char *console;     /* where `trivm console` connects; NULL: nowhere */
	struct machine *machine; /* of this boot; there whenever the loop runs */
	uint64_t since_ms;       /* CLOCK_MONOTONIC when it was first started */
	unsigned boots;
	struct stats_workers workers;
	bool reset; /* somebody asked for a reset here: boot again, whatever --on-reset says */
};

/* The methods, acting on @vm, which outlives them. */
struct jsonrpc control_vm_methods(struct control_vm *vm);

/* The guest runs: since_ms, boots, and the event "started". */
void control_vm_started(struct control_vm *vm);

#endif
