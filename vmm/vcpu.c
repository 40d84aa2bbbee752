/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * A thread of its own runs each vCPU: look at vm->request, KVM_RUN, serve the exit, again. Accesses
 * to ports and memory go to the buses, which need no lock to find the device.
 *
 * Kicks. Setting a request is not enough for a thread that sits in KVM_RUN, and a signal is not
 * enough for one that has looked at the request but not entered KVM_RUN yet. So the signal's
 * handler sets kvm_run.immediate_exit of its own thread: KVM_RUN then returns EINTR at once, now or
 * at the next entry, and the loop clears it before it looks at the request again (api.rst 5,
 * immediate_exit).
 *
 * An exit that KVM reports as its own failure ends the guest, with the registers and the bytes of
 * the instruction on stderr: without them nobody could tell what happened.
 */
#include "vmm/vcpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"
#include "vmm/vm.h"

#define KICK_SIGNAL SIGRTMIN

static _Thread_local struct kvm_run *own_run;

static void on_kick(int sig)
{
	(void)sig;
	if (own_run)
		__atomic_store_n(&own_run->immediate_exit, 1, __ATOMIC_RELAXED);
}

void vcpu_kick(struct vcpu *vcpu)
{
	pthread_kill(vcpu->thread, KICK_SIGNAL);
}

/*
 * Note in the guest's kvmclock that it did not run for a while, so that its watchdogs do not report
 * the lost time as a lockup. A guest without kvmclock is left alone (EINVAL).
 */
static void was_paused(struct vcpu *vcpu)
{
	kvm_ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, NULL);
}

static void serve_pio(struct vm *vm, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_IN)
			bus_read(&vm->pio, run->io.port, data, run->io.size);
		else
			bus_write(&vm->pio, run->io.port, data, run->io.size);
	}
}

static bool bus_sized(uint32_t len)
{
	return len == 1 || len == 2 || len == 4 || len == 8;
}

static void serve_mmio(struct vm *vm, struct kvm_run *run)
{
	uint64_t addr = run->mmio.phys_addr;
	/* KVM cuts accesses at page ends: odd lengths reach a device byte by byte. */
	uint32_t step = bus_sized(run->mmio.len) ? run->mmio.len : 1;

	for (uint32_t at = 0; at < run->mmio.len && at < sizeof(run->mmio.data); at += step) {
		if (run->mmio.is_write)
			bus_write(&vm->mmio, addr + at, run->mmio.data + at, step);
		else
			bus_read(&vm->mmio, addr + at, run->mmio.data + at, step);
	}
}

static void crash(struct vcpu *vcpu, const char *why)
{
	struct vm *vm = vcpu->vm;

	log_error("the guest crashed: vCPU %u: %s", vcpu->id, why);
	cpu_dump(vcpu->fd, vcpu->id, vcpu->run, &vm->mem);
	guest_event_raise(&vm->sink, GUEST_CRASH);
}

static void serve_internal_error(struct vcpu *vcpu)
{
	static const char *const causes[] = {
		[KVM_INTERNAL_ERROR_EMULATION] =
			"KVM could not emulate an instruction (suberror 1). On a host without "
			"hardware virtualization: `trivm doctor`",
		[KVM_INTERNAL_ERROR_SIMUL_EX] = "simultaneous exceptions (suberror 2)",
		[KVM_INTERNAL_ERROR_DELIVERY_EV] = "an exit while delivering an event (suberror 3)",
		[KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON] =
			"an exit that KVM does not know (suberror 4)",
	};
	uint32_t suberror = vcpu->run->internal.suberror;
	char other[64];

	/*
	 * The guest sent INIT to its first processor (a kdump kernel does that when it started on
	 * another one). KVM puts that at the reset vector at once, where no firmware is, so that it
	 * cannot fetch an instruction. On a PC the firmware would reboot from there.
	 */
	if (suberror == KVM_INTERNAL_ERROR_EMULATION && cpu_at_reset_vector(vcpu->fd)) {
		guest_event_raise(&vcpu->vm->sink, GUEST_RESET);
		return;
	}
	if (suberror < ARRAY_SIZE(causes) && causes[suberror]) {
		crash(vcpu, causes[suberror]);
		return;
	}
	snprintf(other, sizeof(other), "KVM internal error, suberror %u", suberror);
	crash(vcpu, other);
}

static void serve_system_event(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		guest_event_raise(&vm->sink, GUEST_POWEROFF);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		guest_event_raise(&vm->sink, GUEST_RESET);
		break;
	default:
		crash(vcpu, "the guest reported a crash");
		break;
	}
}

static void serve_unknown(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char why[96];

	switch (run->exit_reason) {
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(why, sizeof(why), "the CPU refuses its state (KVM_EXIT_FAIL_ENTRY 0x%llx)",
		         run->fail_entry.hardware_entry_failure_reason);
		break;
	case KVM_EXIT_UNKNOWN:
		snprintf(why, sizeof(why), "KVM_EXIT_UNKNOWN, hardware reason 0x%llx",
		         run->hw.hardware_exit_reason);
		break;
	default:
		snprintf(why, sizeof(why), "unexpected exit from KVM, reason %u", run->exit_reason);
		break;
	}
	crash(vcpu, why);
}

const char *vcpu_exit_name(enum vcpu_exit kind)
{
	static const char *const names[] = {
		[VCPU_EXIT_PIO_IN] = "pio_in",
		[VCPU_EXIT_PIO_OUT] = "pio_out",
		[VCPU_EXIT_MMIO_READ] = "mmio_read",
		[VCPU_EXIT_MMIO_WRITE] = "mmio_write",
		[VCPU_EXIT_EOI] = "eoi",
		[VCPU_EXIT_INTERRUPTED] = "interrupted",
		[VCPU_EXIT_OTHER] = "other",
	};

	return names[kind];
}

static enum vcpu_exit exit_kind(const struct kvm_run *run)
{
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		return run->io.direction == KVM_EXIT_IO_IN ? VCPU_EXIT_PIO_IN : VCPU_EXIT_PIO_OUT;
	case KVM_EXIT_MMIO:
		return run->mmio.is_write ? VCPU_EXIT_MMIO_WRITE : VCPU_EXIT_MMIO_READ;
	case KVM_EXIT_IOAPIC_EOI:
		return VCPU_EXIT_EOI;
	case KVM_EXIT_INTR:
		return VCPU_EXIT_INTERRUPTED;
	default:
		return VCPU_EXIT_OTHER;
	}
}

/* Serve the exit in kvm_run. False: this vCPU will not run again (the machine was told why). */
static bool serve_exit(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;
	struct kvm_run *run = vcpu->run;

	counter_add(&vcpu->exits[exit_kind(run)], 1);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		serve_pio(vm, run);
		return true;
	case KVM_EXIT_MMIO:
		serve_mmio(vm, run);
		return true;
	case KVM_EXIT_IOAPIC_EOI:
		if (vm->eoi)
			vm->eoi(vm->eoi_opaque, run->eoi.vector);
		return true;
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
	case KVM_EXIT_SET_TPR:
	case KVM_EXIT_HLT: /* the local APIC is in KVM, so is HLT */
		return true;
	case KVM_EXIT_SHUTDOWN:
		crash(vcpu, "triple fault");
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		serve_internal_error(vcpu);
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		serve_system_event(vcpu);
		return false;
	default:
		serve_unknown(vcpu);
		return false;
	}
}

/* KVM_RUN once. 1: an exit to serve; 0: interrupted; negative: KVM failed. */
static int run_once(struct vcpu *vcpu)
{
	if (ioctl(vcpu->fd, KVM_RUN, 0) == 0)
		return 1;
	if (errno == EINTR || errno == EAGAIN) {
		/*
		 * Not a kick of ours: the process was stopped (SIGSTOP, a debugger) and goes on,
		 * maybe much later. One that did not stop us costs the guest a watchdog's round.
		 */
		if (errno == EINTR &&
		    !__atomic_load_n(&vcpu->run->immediate_exit, __ATOMIC_RELAXED))
			was_paused(vcpu);
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_RELAXED);
		counter_add(&vcpu->exits[VCPU_EXIT_INTERRUPTED], 1);
		return 0;
	}
	return -errno;
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	bool can_run = true;
	char name[16];

	snprintf(name, sizeof(name), "vcpu%u", vcpu->id);
	pthread_setname_np(pthread_self(), name);
	own_run = vcpu->run;

	for (;;) {
		int rc;

		if (atomic_load(&vm->request) != VM_REQUEST_RUN) {
			if (!vm_park(vm))
				break;
			was_paused(vcpu);
		}
		if (!can_run) {
			/* It cannot go on: it waits, as a halted CPU would, for the machine's end.
			 */
			vm_wait_request(vm);
			continue;
		}
		rc = run_once(vcpu);
		if (rc < 0) {
			log_error("KVM_RUN of vCPU %u: %s", vcpu->id, strerror(-rc));
			crash(vcpu, "KVM_RUN failed");
		}
		if (rc != 0)
			can_run = rc > 0 && serve_exit(vcpu);
	}
	own_run = NULL;
	return NULL;
}

int vcpu_create(struct vcpu *vcpu, struct vm *vm, unsigned id, struct err *err)
{
	void *run;

	*vcpu = (struct vcpu){.vm = vm, .id = id, .stats_fd = -1};
	vcpu->fd = kvm_ioctl(vm->kvm.vm_fd, KVM_CREATE_VCPU, (void *)(long)id);
	if (vcpu->fd < 0) {
		int rc = vcpu->fd;

		vcpu->fd = -1;
		return err_errno(err, rc, "KVM_CREATE_VCPU %u", id);
	}
	run = mmap(NULL, vm->kvm.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (run == MAP_FAILED)
		return err_errno(err, -errno, "vCPU %u: mapping kvm_run", id);
	vcpu->run = run;
	return 0;
}

void vcpu_destroy(struct vcpu *vcpu)
{
	if (vcpu->run)
		munmap(vcpu->run, vcpu->vm->kvm.run_size);
	vcpu->run = NULL;
	fd_close(&vcpu->stats_fd);
	fd_close(&vcpu->fd);
}

int vcpu_stats_fd(struct vcpu *vcpu)
{
	if (vcpu->stats_fd < 0) {
		int fd = kvm_ioctl(vcpu->fd, KVM_GET_STATS_FD, NULL);

		if (fd < 0)
			return fd;
		vcpu->stats_fd = fd;
	}
	return vcpu->stats_fd;
}

/* One handler for all vCPU threads; the first one to start installs it. */
static void install_kick(void)
{
	struct sigaction sa = {.sa_handler = on_kick};

	sigaction(KICK_SIGNAL, &sa, NULL);
}

int vcpu_start(struct vcpu *vcpu, struct err *err)
{
	pthread_attr_t attr;
	int rc;

	if (vcpu->id == 0)
		install_kick();
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	rc = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_attr_destroy(&attr);
	if (rc)
		return err_errno(err, -rc, "-c %u: the thread of vCPU %u", vcpu->vm->nr_vcpus,
		                 vcpu->id);
	vcpu->started = true;
	return 0;
}

void vcpu_join(struct vcpu *vcpu)
{
	if (!vcpu->started)
		return;
	pthread_join(vcpu->thread, NULL);
	vcpu->started = false;
}
