/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bare_kvm: the least that a program has to do to run the bench guest on /dev/kvm. What the start
 * bench compares with: everything above this is what a VMM adds.
 *
 *	bare_kvm [--irqchip none|split|kernel] [--memory BYTES] IMAGE
 *
 * IMAGE is the guest as firmware (64 KiB, build/baremetal/byte-reset.bin); its code at the reset
 * vector is copied to address 0x1000 and run in real mode. Bytes for COM1 go to stdout; it ends when
 * the guest pulses the reset line by port 0x64. Guest memory is one shared memfd, as trivm's:
 * private memory would be a different thing for the kernel to set up and to take down.
 *
 * Memory slot and interrupt controller are made in the order that costs least on each kind (the
 * in-kernel one first: KVM_CREATE_IRQCHIP waits for readers of the memory slots that are there
 * before it).
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GUEST_ENTRY  0x1000
#define RESET_VECTOR 0xfff0
#define IMAGE_SIZE   0x10000
#define CODE_SIZE    (IMAGE_SIZE - RESET_VECTOR)
#define KVM_TSS      0xfffbd000
#define IOAPIC_PINS  24

enum irqchip {
	IRQCHIP_NONE,
	IRQCHIP_SPLIT,
	IRQCHIP_KERNEL
};

static int must(int ret, const char *what)
{
	if (ret < 0)
		err(120, "%s", what);
	return ret;
}

static uint8_t *make_memory(int vm, size_t size)
{
	int fd = must(memfd_create("guest", MFD_CLOEXEC), "memfd_create");
	struct kvm_userspace_memory_region slot = {.memory_size = size};
	uint8_t *host;

	must(ftruncate(fd, (off_t)size), "ftruncate");
	host = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (host == MAP_FAILED)
		err(120, "mmap of guest memory");
	slot.userspace_addr = (uintptr_t)host;
	must(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot), "KVM_SET_USER_MEMORY_REGION");
	return host;
}

static void load(const char *path, uint8_t *memory)
{
	int fd = must(open(path, O_RDONLY | O_CLOEXEC), path);

	if (pread(fd, memory + GUEST_ENTRY, CODE_SIZE, RESET_VECTOR) != CODE_SIZE)
		errx(2, "%s: not a 64 KiB firmware image", path);
	close(fd);
}

static void set_registers(int vcpu)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rip = GUEST_ENTRY, .rflags = 2};

	must(ioctl(vcpu, KVM_GET_SREGS, &sregs), "KVM_GET_SREGS");
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	must(ioctl(vcpu, KVM_SET_SREGS, &sregs), "KVM_SET_SREGS");
	must(ioctl(vcpu, KVM_SET_REGS, &regs), "KVM_SET_REGS");
}

/* Until the guest resets. */
static int run(int vcpu, struct kvm_run *kvm_run)
{
	for (;;) {
		const uint8_t *data;

		if (ioctl(vcpu, KVM_RUN, 0) < 0 && errno != EINTR)
			err(120, "KVM_RUN");
		if (kvm_run->exit_reason == KVM_EXIT_HLT)
			pause();
		if (kvm_run->exit_reason != KVM_EXIT_IO)
			errx(120, "unexpected exit %u", kvm_run->exit_reason);
		data = (const uint8_t *)kvm_run + kvm_run->io.data_offset;
		if (kvm_run->io.port == 0x3f8 && write(STDOUT_FILENO, data, 1) != 1)
			err(120, "write");
		if (kvm_run->io.port == 0x64 && *data == 0xfe)
			return 121;
	}
}

static void make_irqchip(int vm, enum irqchip kind)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args = {IOAPIC_PINS}};

	if (kind == IRQCHIP_KERNEL)
		must(ioctl(vm, KVM_CREATE_IRQCHIP, 0), "KVM_CREATE_IRQCHIP");
	if (kind == IRQCHIP_SPLIT)
		must(ioctl(vm, KVM_ENABLE_CAP, &split), "KVM_CAP_SPLIT_IRQCHIP");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"irqchip", required_argument, NULL, 'i'},
		{"memory", required_argument, NULL, 'm'},
		{0},
	};
	enum irqchip irqchip = IRQCHIP_SPLIT;
	size_t memory_size = 128u << 20;
	int opt, kvm, vm, vcpu, run_size;
	struct kvm_run *kvm_run;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'i' && !strcmp(optarg, "none"))
			irqchip = IRQCHIP_NONE;
		else if (opt == 'i' && !strcmp(optarg, "kernel"))
			irqchip = IRQCHIP_KERNEL;
		else if (opt == 'm')
			memory_size = strtoull(optarg, NULL, 0);
		else if (opt != 'i' || strcmp(optarg, "split"))
			errx(2, "usage: bare_kvm [--irqchip none|split|kernel] [--memory BYTES] "
			        "IMAGE");
	}
	if (optind != argc - 1)
		errx(2, "usage: bare_kvm [--irqchip none|split|kernel] [--memory BYTES] IMAGE");

	kvm = must(open("/dev/kvm", O_RDWR | O_CLOEXEC), "/dev/kvm");
	vm = must(ioctl(kvm, KVM_CREATE_VM, 0), "KVM_CREATE_VM");
	must(ioctl(vm, KVM_SET_TSS_ADDR, KVM_TSS), "KVM_SET_TSS_ADDR");
	make_irqchip(vm, irqchip);
	load(argv[optind], make_memory(vm, memory_size));
	vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0), "KVM_CREATE_VCPU");
	run_size = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), "KVM_GET_VCPU_MMAP_SIZE");
	kvm_run = mmap(NULL, (size_t)run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (kvm_run == MAP_FAILED)
		err(120, "mmap of kvm_run");
	set_registers(vcpu);
	return run(vcpu, kvm_run);
}
