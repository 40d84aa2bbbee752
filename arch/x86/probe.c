/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: there are KVMs without VMX or SVM under them. They run the guest's user code
 * natively and its kernel code through KVM's instruction emulator, which does not know a number of
 * instructions that every distribution's kernel uses early (POPCNT, XSAVE, CMPXCHG16B, ...). A
 * kernel would die there with an "emulation failure"; it is kinder to say so before it starts. So
 * the question is put to KVM itself: one page of guest, in 32-bit protected mode, ring 0:
 *
 *	popcnt %eax, %eax
 *	out    %al, $0x80
 *
 * If the OUT arrives, POPCNT worked. Only asked where CPUID has neither flag, so a real host never
 * pays.
 */
#include "arch/x86/probe.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/fd.h"

#define GUEST_CODE 0x1000
#define GUEST_SIZE 0x2000

bool probe_cpu_has_virtualization(void)
{
	unsigned a, b, c, d;

	if (__get_cpuid(1, &a, &b, &c, &d) && (c & (1u << 5))) /* VMX */
		return true;
	return __get_cpuid(0x80000001, &a, &b, &c, &d) && (c & (1u << 2)); /* SVM */
}

static const unsigned char code[] = {
	0xf3, 0x0f, 0xb8, 0xc0, /* popcnt %eax, %eax */
	0xe6, 0x80,             /* out %al, $0x80 */
};

/* Flat 32-bit ring 0 at GUEST_CODE. */
static int set_state(int vcpu)
{
	struct kvm_segment seg = {
		.limit = 0xffffffff, .type = 3, .present = 1, .s = 1, .g = 1, .db = 1};
	struct kvm_regs regs = {.rflags = 2, .rip = GUEST_CODE};
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -errno;
	seg.selector = 0x18;
	sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = seg;
	seg.selector = 0x10;
	seg.type = 0xb;
	sregs.cs = seg;
	sregs.cr0 |= 1;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		return -errno;
	return 0;
}

static enum probe_result run(int vcpu, const struct kvm_run *run)
{
	int tries = 16;

	if (set_state(vcpu) < 0)
		return PROBE_FAILED;
	while (ioctl(vcpu, KVM_RUN, 0) < 0)
		if (errno != EINTR || --tries == 0)
			return PROBE_FAILED;
	if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x80)
		return PROBE_FULL;
	return PROBE_PARTIAL;
}

static enum probe_result ask_kvm(int kvm, int vm, int *vcpu, void *mem)
{
	struct kvm_userspace_memory_region slot = {
		.memory_size = GUEST_SIZE,
		.userspace_addr = (unsigned long)mem,
	};
	int size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	enum probe_result result;
	struct kvm_run *area;

	memcpy((char *)mem + GUEST_CODE, code, sizeof(code));
	if (size <= 0 || ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return PROBE_FAILED;
	*vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (*vcpu < 0)
		return PROBE_FAILED;
	area = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, *vcpu, 0);
	if (area == MAP_FAILED)
		return PROBE_FAILED;
	result = run(*vcpu, area);
	munmap(area, (size_t)size);
	return result;
}

enum probe_result probe_kvm(const char *kvm_path)
{
	enum probe_result result = PROBE_FAILED;
	int kvm, vm = -1, vcpu = -1;
	void *mem;

	if (probe_cpu_has_virtualization())
		return PROBE_HARDWARE;
	kvm = open(kvm_path, O_RDWR | O_CLOEXEC);
	mem = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (kvm >= 0)
		vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm >= 0 && mem != MAP_FAILED)
		result = ask_kvm(kvm, vm, &vcpu, mem);
	fd_close(&vcpu);
	fd_close(&vm);
	fd_close(&kvm);
	if (mem != MAP_FAILED)
		munmap(mem, GUEST_SIZE);
	return result;
}
