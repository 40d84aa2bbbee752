/* SPDX-License-Identifier: BSD-2-Clause */
/* cpu: what a vCPU is (CPUID, MSRs), where it starts, and how its state is shown when it fails. */
#ifndef TRIVM_ARCH_X86_CPU_H
#define TRIVM_ARCH_X86_CPU_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "arch/x86/boot.h"
#include "vmm/err.h"
#include "vmm/memory.h"

struct kvm_cpuid2;
struct kvm_run;

/* The same for all vCPUs but for the APIC id. */
struct cpu_model {
	unsigned cpus;
	bool tsc_deadline;        /* the local APIC has the TSC deadline mode */
	bool msi_ext_dest_id;     /* the guest may address APIC ids above 255 in MSIs */
	struct kvm_cpuid2 *cpuid; /* the host's supported set with our topology; owned */
	unsigned phys_bits;       /* guest-physical address width */
};

/* Ask KVM what it supports. @sys_fd: /dev/kvm. Main thread; cpu_model_destroy() is idempotent. */
int cpu_model_init(struct cpu_model *model, int sys_fd, unsigned cpus, bool tsc_deadline,
                   bool msi_ext_dest_id, struct err *err);

/*
 * Whether the guest may use the host's virtualization extensions. The host's KVM offers them
 * (kvm_amd's and kvm_intel's parameter "nested"); -ENODEV if they are wanted and it does not.
 */
int cpu_model_nested(struct cpu_model *model, bool wanted, struct err *err);

void cpu_model_destroy(struct cpu_model *model);

/* Give vCPU @id (= its APIC id) its CPUID and MSRs. Before its first KVM_RUN. */
int cpu_setup(const struct cpu_model *model, int vcpu_fd, unsigned id, struct err *err);

/* Put the boot CPU at @entry, in the state that its protocol asks for. */
int cpu_enter(int vcpu_fd, const struct boot_entry *entry, struct err *err);

/*
 * Is the vCPU where a processor starts after INIT or reset, f000:fff0 with its base at 0xffff0000?
 * On the vCPU's own thread or while it is stopped.
 */
bool cpu_at_reset_vector(int vcpu_fd);

/*
 * Registers, and the bytes at the instruction pointer, as log lines (LOG_ERROR). On the vCPU's own
 * thread or while it is stopped. @run may hold the bytes that KVM failed on.
 */
void cpu_dump(int vcpu_fd, unsigned id, const struct kvm_run *run, const struct memory *mem);

#endif
