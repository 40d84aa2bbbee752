/* SPDX-License-Identifier: BSD-2-Clause */
/* probe: can this host's KVM run an ordinary kernel? */
#ifndef TRIVM_ARCH_X86_PROBE_H
#define TRIVM_ARCH_X86_PROBE_H

#include <stdbool.h>

enum probe_result {
	PROBE_HARDWARE, /* VMX or SVM: KVM runs all of the guest's code on the CPU */
	PROBE_FULL,     /* no such flag in CPUID, but KVM gets through what kernels use */
	PROBE_PARTIAL,  /* the guest's kernel code is emulated, and not all of it can be */
	PROBE_FAILED,   /* KVM could not be asked */
};

/* The CPU's own word (CPUID): costs nothing. */
bool probe_cpu_has_virtualization(void);

/*
 * CPUID first; where it says no, a tiny guest executes POPCNT in kernel mode and we see whether KVM
 * gets past it. A few milliseconds then. @kvm_path: /dev/kvm. Any thread.
 */
enum probe_result probe_kvm(const char *kvm_path);

#endif
