/* SPDX-License-Identifier: BSD-2-Clause */
/* kvm: the system and VM file descriptors of /dev/kvm, memory slots and ioeventfds. */
#ifndef TRIVM_VMM_KVM_H
#define TRIVM_VMM_KVM_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/bus.h"
#include "vmm/err.h"
#include "vmm/memory.h"

#define KVM_DEVICE "/dev/kvm"

struct kvm {
	int sys_fd, vm_fd;
	size_t run_size; /* of a vCPU's shared kvm_run area */
	unsigned max_vcpus;
	int max_routes; /* GSIs that the routing table may name */
	bool tsc_deadline;
};

/*
 * Open @path and check what trivm stands on. An error names the missing capability, or why the
 * device cannot be opened and the command that mends it. Main thread; kvm_close() is idempotent.
 */
int kvm_open(struct kvm *kvm, const char *path, struct err *err);
int kvm_create_vm(struct kvm *kvm, struct err *err);
void kvm_close(struct kvm *kvm);

/* ioctl() on one of the fds, over EINTR: its result, or a negative errno. Any thread. */
int kvm_ioctl(int fd, unsigned long request, void *arg);
int kvm_check(const struct kvm *kvm, int capability);

/* Every region of @mem becomes a memory slot. Before the first KVM_RUN, once. */
int kvm_set_memory(struct kvm *kvm, const struct memory *mem, struct err *err);

/* A bus_eventfd_backend; @opaque is the struct kvm. */
int kvm_ioeventfd(void *opaque, enum bus_space space, uint64_t addr, const struct bus_eventfd *e,
                  bool assign);

#endif
