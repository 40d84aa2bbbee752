/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "vmm/device_access.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define KVM_WANTED_API 12 /* the only stable one, api.rst 4.1 */

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	int rc;

	do
		rc = ioctl(fd, request, arg);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

int kvm_check(const struct kvm *kvm, int capability)
{
	return kvm_ioctl(kvm->sys_fd, KVM_CHECK_EXTENSION, (void *)(long)capability);
}

static int open_device(const char *path, struct err *err)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char remedy[128];

	if (fd >= 0)
		return fd;
	switch (errno) {
	case ENOENT:
		return err_set(err, -ENOENT,
		               "%s is not there: the kvm module is not loaded, or virtualization "
		               "is off in the firmware; remedy: sudo modprobe -a kvm_intel kvm_amd",
		               path);
	case EACCES:
	case EPERM:
		return err_set(err, -EACCES, "%s may not be opened by this user; remedy: %s", path,
		               device_access_remedy(path, remedy, sizeof(remedy)));
	case ENXIO:
	case ENODEV:
		return err_set(err, -errno,
		               "%s is there, but no KVM is behind it; remedy: sudo modprobe -a "
		               "kvm_intel kvm_amd",
		               path);
	default:
		return err_errno(err, -errno, "%s cannot be opened", path);
	}
}

/* What every road of trivm stands on; each is in all kernels since 4.12. */
static int check_capabilities(const struct kvm *kvm, const char *path, struct err *err)
{
	static const struct {
		int capability;
		const char *name;
	} wanted[] = {
		{KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
		{KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
		{KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
		{KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
		{KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
		{KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
		{KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
		{KVM_CAP_SPLIT_IRQCHIP, "KVM_CAP_SPLIT_IRQCHIP"},
		{KVM_CAP_X2APIC_API, "KVM_CAP_X2APIC_API"},
		{KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
		if (kvm_check(kvm, wanted[i].capability) <= 0)
			return err_set(err, -ENOTSUP,
			               "%s: this kernel's KVM lacks %s; trivm needs Linux 4.12 or "
			               "newer",
			               path, wanted[i].name);
	return 0;
}

int kvm_open(struct kvm *kvm, const char *path, struct err *err)
{
	int rc;

	*kvm = (struct kvm){.sys_fd = -1, .vm_fd = -1};
	kvm->sys_fd = open_device(path, err);
	if (kvm->sys_fd < 0)
		return kvm->sys_fd;

	rc = kvm_ioctl(kvm->sys_fd, KVM_GET_API_VERSION, NULL);
	if (rc != KVM_WANTED_API) {
		if (rc < 0)
			rc = err_set(err, rc, "%s is not a KVM device", path);
		else
			rc = err_set(err, -ENOTSUP, "%s speaks KVM API version %d, not %d", path,
			             rc, KVM_WANTED_API);
		kvm_close(kvm);
		return rc;
	}
	rc = check_capabilities(kvm, path, err);
	if (rc == 0) {
		rc = kvm_ioctl(kvm->sys_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
		if (rc < 0)
			err_errno(err, rc, "%s: KVM_GET_VCPU_MMAP_SIZE", path);
	}
	if (rc < 0) {
		kvm_close(kvm);
		return rc;
	}
	kvm->run_size = (size_t)rc;
	rc = kvm_check(kvm, KVM_CAP_MAX_VCPUS);
	kvm->max_vcpus = rc > 0 ? (unsigned)rc : 4; /* api.rst 4.7: 4 if it does not say */
	kvm->max_routes = kvm_check(kvm, KVM_CAP_IRQ_ROUTING);
	kvm->tsc_deadline = kvm_check(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	return 0;
}

int kvm_create_vm(struct kvm *kvm, struct err *err)
{
	kvm->vm_fd = kvm_ioctl(kvm->sys_fd, KVM_CREATE_VM, NULL);
	if (kvm->vm_fd < 0) {
		int rc = kvm->vm_fd;

		kvm->vm_fd = -1;
		return err_errno(err, rc, "KVM_CREATE_VM");
	}
	return 0;
}

void kvm_close(struct kvm *kvm)
{
	fd_close(&kvm->vm_fd);
	fd_close(&kvm->sys_fd);
}

int kvm_set_memory(struct kvm *kvm, const struct memory *mem, struct err *err)
{
	for (unsigned i = 0; i < mem->nr; i++) {
		const struct mem_region *r = &mem->regions[i];
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = r->gpa,
			.memory_size = r->size,
			.userspace_addr = (uintptr_t)r->host,
		};
		int rc = kvm_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot);

		if (rc < 0)
			return err_errno(err, rc, "KVM refuses %llu MiB of guest memory at 0x%llx",
			                 (unsigned long long)(r->size >> 20),
			                 (unsigned long long)r->gpa);
	}
	return 0;
}

int kvm_ioeventfd(void *opaque, enum bus_space space, uint64_t addr, const struct bus_eventfd *e,
                  bool assign)
{
	const struct kvm *kvm = opaque;
	struct kvm_ioeventfd ioe = {
		.addr = addr,
		.len = e->size,
		.datamatch = e->match,
		.fd = e->fd,
	};

	if (space == BUS_PIO)
		ioe.flags |= KVM_IOEVENTFD_FLAG_PIO;
	if (e->match_value)
		ioe.flags |= KVM_IOEVENTFD_FLAG_DATAMATCH;
	if (!assign)
		ioe.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
	return kvm_ioctl(kvm->vm_fd, KVM_IOEVENTFD, &ioe);
}
