/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: `request` is a single word that vCPU threads read before each KVM_RUN. To
 * make them read it, they are kicked (vcpu.c). A thread that finds anything but RUN goes to
 * vm_park(), which counts it and waits for the next request; vm_pause() waits until all are
 * counted, but not for long: a vCPU thread may be held up by the device whose register it serves,
 * and the main loop must go on meanwhile. The last one that parks reports a pause that was overdue.
 *
 * Order at the start matters for time, not for correctness: the interrupt controller first and
 * memory slots after it, since KVM waits for a grace period when a slot is already there.
 */
#include "vmm/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/layout.h"
#include "vmm/clock.h"
#include "vmm/util.h"

/* Two pages' places that Intel CPUs without "unrestricted guest" need for real mode
 * (api.rst 4.34, 4.47). */
static int set_vmx_pages(struct vm *vm, struct err *err)
{
	uint64_t identity = LAYOUT_KVM_IDENTITY_MAP;
	int rc = kvm_ioctl(vm->kvm.vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity);

	if (rc == 0)
		rc = kvm_ioctl(vm->kvm.vm_fd, KVM_SET_TSS_ADDR, (void *)(long)LAYOUT_KVM_TSS);
	return rc < 0 ? err_errno(err, rc, "KVM_SET_TSS_ADDR") : 0;
}

static int check_cpus(const struct vm *vm, const struct vm_config *config, struct err *err)
{
	unsigned max = vm->kvm.max_vcpus;

	if (config->cpus > max)
		return err_set(err, -EINVAL, "-c %u: this host's KVM has at most %u vCPUs",
		               config->cpus, max);
	/* Without extended destination ids interrupts reach only the first 255 APIC ids. */
	if (config->irqchip == IRQCHIP_KERNEL && config->cpus > 255)
		return err_set(err, -EINVAL,
		               "-c %u: --irqchip kernel reaches at most 255 vCPUs; use "
		               "--irqchip split",
		               config->cpus);
	return 0;
}

static int create(struct vm *vm, const struct vm_config *config, struct err *err)
{
	int rc = kvm_open(&vm->kvm, config->kvm_path, err);

	if (rc == 0)
		rc = check_cpus(vm, config, err);
	if (rc == 0)
		rc = ram_create(&vm->ram, &config->ram, &vm->mem, err);
	if (rc == 0)
		rc = kvm_create_vm(&vm->kvm, err);
	if (rc == 0)
		rc = set_vmx_pages(vm, err);
	if (rc == 0)
		rc = kvm_irq_init(&vm->irq, &vm->kvm, config->irqchip, LAYOUT_IOAPIC_PINS, err);
	if (rc == 0)
		rc = cpu_model_init(&vm->model, vm->kvm.sys_fd, config->cpus, vm->kvm.tsc_deadline,
		                    config->irqchip == IRQCHIP_SPLIT, err);
	if (rc == 0)
		rc = cpu_model_nested(&vm->model, config->nested, err);
	return rc;
}

int vm_create(struct vm *vm, const struct vm_config *config, struct err *err)
{
	int rc;

	vm->kvm.sys_fd = vm->kvm.vm_fd = vm->ram.fd = -1;
	vm->nr_vcpus = config->cpus;
	vm->request = VM_REQUEST_RUN;
	pthread_mutex_init(&vm->park_lock, NULL);
	pthread_cond_init(&vm->park_cond, NULL);
	memory_init(&vm->mem);
	bus_init(&vm->pio, BUS_PIO);
	bus_init(&vm->mmio, BUS_MMIO);
	bus_set_eventfd_backend(&vm->pio, kvm_ioeventfd, &vm->kvm);
	bus_set_eventfd_backend(&vm->mmio, kvm_ioeventfd, &vm->kvm);

	rc = create(vm, config, err);
	if (rc < 0)
		vm_destroy(vm);
	return rc;
}

int vm_freeze(struct vm *vm, const struct boot_entry *entry, struct err *err)
{
	int rc;

	memory_freeze(&vm->mem);
	bus_freeze(&vm->pio);
	bus_freeze(&vm->mmio);
	rc = kvm_set_memory(&vm->kvm, &vm->mem, err);
	if (rc < 0)
		return rc;

	vm->vcpus = aligned_alloc(VCPU_CACHE_LINE, vm->nr_vcpus * sizeof(vm->vcpus[0]));
	if (!vm->vcpus)
		return err_errno(err, -ENOMEM, "-c %u", vm->nr_vcpus);
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		vm->vcpus[i] = (struct vcpu){.fd = -1, .stats_fd = -1};
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		rc = vcpu_create(&vm->vcpus[i], vm, i, err);
		if (rc == 0)
			rc = cpu_setup(&vm->model, vm->vcpus[i].fd, i, err);
		if (rc < 0)
			return rc;
	}
	/* The others wait for the first one's INIT and SIPI, inside KVM. */
	rc = cpu_enter(vm->vcpus[0].fd, entry, err);
	if (rc == 0)
		vm->state = VM_BUILT;
	return rc;
}

int vm_start(struct vm *vm, struct err *err)
{
	vm->state = VM_RUNNING;
	for (unsigned i = 0; i < vm->nr_vcpus; i++) {
		int rc = vcpu_start(&vm->vcpus[i], err);

		if (rc < 0) {
			vm_stop(vm);
			return rc;
		}
	}
	return 0;
}

static unsigned threads(const struct vm *vm)
{
	unsigned n = 0;

	for (unsigned i = 0; vm->vcpus && i < vm->nr_vcpus; i++)
		n += vm->vcpus[i].started;
	return n;
}

/* Publish @request and make every vCPU thread look at it. */
static void ask(struct vm *vm, enum vm_request request)
{
	pthread_mutex_lock(&vm->park_lock);
	atomic_store(&vm->request, (int)request);
	vm->pause_overdue = false;
	pthread_cond_broadcast(&vm->park_cond);
	pthread_mutex_unlock(&vm->park_lock);
	for (unsigned i = 0; vm->vcpus && i < vm->nr_vcpus; i++)
		if (vm->vcpus[i].started)
			vcpu_kick(&vm->vcpus[i]);
}

/* PAUSING becomes PAUSED if all vCPU threads are parked, for which this waits @ms. */
static void await_parked(struct vm *vm, unsigned ms)
{
	struct timespec until = clock_deadline(ms);

	pthread_mutex_lock(&vm->park_lock);
	while (vm->parked < threads(vm) &&
	       pthread_cond_clockwait(&vm->park_cond, &vm->park_lock, CLOCK_MONOTONIC, &until) == 0)
		;
	vm->pause_overdue = vm->parked < threads(vm);
	if (!vm->pause_overdue)
		vm->state = VM_PAUSED;
	pthread_mutex_unlock(&vm->park_lock);
}

bool vm_pause(struct vm *vm)
{
	if (vm->state == VM_RUNNING) {
		ask(vm, VM_REQUEST_PAUSE);
		vm->state = VM_PAUSING;
	}
	if (vm->state == VM_PAUSING)
		await_parked(vm, VM_PAUSE_MS);
	return vm->state == VM_PAUSED;
}

bool vm_is_paused(struct vm *vm)
{
	if (vm->state == VM_PAUSING)
		await_parked(vm, 0);
	return vm->state == VM_PAUSED;
}

void vm_resume(struct vm *vm)
{
	if (vm->state != VM_PAUSED && vm->state != VM_PAUSING)
		return;
	ask(vm, VM_REQUEST_RUN);
	vm->state = VM_RUNNING;
}

bool vm_park(struct vm *vm)
{
	bool go_on;

	pthread_mutex_lock(&vm->park_lock);
	vm->parked++;
	pthread_cond_broadcast(&vm->park_cond);
	if (vm->pause_overdue && vm->parked == threads(vm)) {
		vm->pause_overdue = false;
		event_post(vm->events, "paused", NULL, NULL);
	}
	while (atomic_load(&vm->request) == VM_REQUEST_PAUSE)
		pthread_cond_wait(&vm->park_cond, &vm->park_lock);
	go_on = atomic_load(&vm->request) == VM_REQUEST_RUN;
	if (go_on)
		vm->parked--;
	pthread_mutex_unlock(&vm->park_lock);
	return go_on;
}

void vm_wait_request(struct vm *vm)
{
	pthread_mutex_lock(&vm->park_lock);
	while (atomic_load(&vm->request) == VM_REQUEST_RUN)
		pthread_cond_wait(&vm->park_cond, &vm->park_lock);
	pthread_mutex_unlock(&vm->park_lock);
}

void vm_stop(struct vm *vm)
{
	if (vm->state == VM_RUNNING || vm->state == VM_PAUSING || vm->state == VM_PAUSED) {
		ask(vm, VM_REQUEST_STOP);
		for (unsigned i = 0; i < vm->nr_vcpus; i++)
			vcpu_join(&vm->vcpus[i]);
	}
	vm->state = VM_STOPPED;
}

void vm_destroy(struct vm *vm)
{
	if (!vm->nr_vcpus)
		return;
	vm_stop(vm);
	for (unsigned i = 0; vm->vcpus && i < vm->nr_vcpus; i++)
		vcpu_destroy(&vm->vcpus[i]);
	free(vm->vcpus);
	vm->vcpus = NULL;
	cpu_model_destroy(&vm->model);
	kvm_irq_destroy(&vm->irq);
	kvm_close(&vm->kvm);
	ram_destroy(&vm->ram);
	bus_destroy(&vm->mmio);
	bus_destroy(&vm->pio);
	pthread_cond_destroy(&vm->park_cond);
	pthread_mutex_destroy(&vm->park_lock);
	vm->nr_vcpus = 0;
}
