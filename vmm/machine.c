/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: this is the one file that knows everything: which devices there are, where
 * they answer and which pins they drive. `parts` below lists them in the order in which they are
 * built; each part takes exactly what it uses. Teardown walks the same table backwards, so nothing
 * is torn down before what uses it.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/x86/layout.h"
#include "arch/x86/tables.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/file.h"
#include "vmm/log.h"
#include "vmm/util.h"

static struct irq_line line(struct machine *m, uint32_t gsi)
{
	return (struct irq_line){.ctl = &m->vm.irq.ctl, .gsi = gsi};
}

static bool split(const struct machine *m)
{
	return m->in.config->irqchip == IRQCHIP_SPLIT;
}

void machine_stop(struct machine *m, enum machine_end why)
{
	int runs = MACHINE_RUNS;

	if (atomic_compare_exchange_strong(&m->end, &runs, (int)why))
		loop_stop(m->in.loop);
}

/* A guest_event_sink: from any thread. */
static void on_guest_event(void *opaque, enum guest_event event)
{
	struct machine *m = opaque;

	switch (event) {
	case GUEST_POWEROFF:
		event_post(&m->in.events, "guest-poweroff", NULL, NULL);
		machine_stop(m, MACHINE_POWEROFF);
		break;
	case GUEST_RESET:
		event_post(&m->in.events, "guest-reset", NULL, NULL);
		machine_stop(m, MACHINE_RESET);
		break;
	case GUEST_PANIC:
		/* Its message is out by now. Nothing that it does from here on can be relied on. */
		log_error("the guest crashed: its kernel panicked");
		event_post(&m->in.events, "guest-panic", NULL, NULL);
		machine_stop(m, MACHINE_CRASH);
		break;
	case GUEST_CRASH:
		event_post(&m->in.events, "guest-crash", NULL, NULL);
		machine_stop(m, MACHINE_CRASH);
		break;
	}
}

static int build_vm(struct machine *m, struct err *err)
{
	const struct config *c = m->in.config;
	struct vm_config vc = {
		.kvm_path = c->kvm_path,
		.cpus = c->cpus,
		.irqchip = c->irqchip,
		.nested = c->nested != 0,
		.ram = {.size = c->memory,
	                .hole_start = LAYOUT_HOLE_START,
	                .hole_end = LAYOUT_HOLE_END,
	                .hugepages = c->hugepages != 0,
	                .prealloc = c->prealloc != 0},
	};
	int rc = vm_create(&m->vm, &vc, err);

	m->vm.sink = m->sink;
	m->vm.events = &m->in.events;
	return rc;
}

static void destroy_vm(struct machine *m)
{
	vm_destroy(&m->vm);
}

static void on_pin(void *opaque, uint32_t gsi, bool asserted)
{
	ioapic_set_line(opaque, gsi, asserted);
}

static void on_eoi(void *opaque, uint8_t vector)
{
	ioapic_eoi(opaque, vector);
}

static int build_ioapic(struct machine *m, struct err *err)
{
	(void)err;
	if (!split(m))
		return 0;
	ioapic_init(&m->ioapic, LAYOUT_IOAPIC_PINS, &m->vm.irq.ctl);
	m->vm.irq.pin = on_pin;
	m->vm.irq.pin_opaque = &m->ioapic;
	m->vm.eoi = on_eoi;
	m->vm.eoi_opaque = &m->ioapic;
	return ioapic_add(&m->ioapic, &m->vm.mmio, LAYOUT_IOAPIC);
}

static void destroy_ioapic(struct machine *m)
{
	if (split(m))
		ioapic_destroy(&m->ioapic);
}

static int build_com1(struct machine *m, struct err *err)
{
	(void)err;
	serial_init(&m->com1, line(m, LAYOUT_GSI_COM1), m->in.com1);
	return serial_add(&m->com1, &m->vm.pio, LAYOUT_COM1);
}

static void destroy_com1(struct machine *m)
{
	serial_destroy(&m->com1);
}

static int build_com2(struct machine *m, struct err *err)
{
	(void)err;
	if (!m->in.com2)
		return 0;
	serial_init(&m->com2, line(m, LAYOUT_GSI_COM2), m->in.com2);
	return serial_add(&m->com2, &m->vm.pio, LAYOUT_COM2);
}

static void destroy_com2(struct machine *m)
{
	if (m->in.com2)
		serial_destroy(&m->com2);
}

static int build_acpi_pm(struct machine *m, struct err *err)
{
	(void)err;
	acpi_pm_init(&m->acpi_pm, line(m, LAYOUT_GSI_GED), &m->sink);
	return acpi_pm_add(&m->acpi_pm, &m->vm.pio, LAYOUT_ACPI_PM);
}

static void destroy_acpi_pm(struct machine *m)
{
	acpi_pm_destroy(&m->acpi_pm);
}

static int build_pvpanic(struct machine *m, struct err *err)
{
	(void)err;
	pvpanic_init(&m->pvpanic, &m->sink);
	return pvpanic_add(&m->pvpanic, &m->vm.pio, LAYOUT_PVPANIC);
}

static int build_i8042(struct machine *m, struct err *err)
{
	(void)err;
	i8042_init(&m->i8042, &m->sink);
	return i8042_add(&m->i8042, &m->vm.pio, LAYOUT_I8042);
}

static void destroy_i8042(struct machine *m)
{
	i8042_destroy(&m->i8042);
}

static int build_rtc(struct machine *m, struct err *err)
{
	int rc = rtc_init(&m->rtc, line(m, LAYOUT_GSI_RTC), m->in.loop);

	if (rc < 0)
		return err_errno(err, rc, "RTC");
	return rtc_add(&m->rtc, &m->vm.pio, LAYOUT_RTC);
}

static void destroy_rtc(struct machine *m)
{
	rtc_destroy(&m->rtc);
}

/* Behind all RAM, as large as the guest's address width leaves room for. */
static struct pci_window pci64_window(const struct machine *m)
{
	uint64_t base = align_up(LAYOUT_HOLE_END + m->vm.ram.high, GIB(1));
	uint64_t end = UINT64_C(1) << (m->vm.model.phys_bits < 52 ? m->vm.model.phys_bits : 52);
	uint64_t size = end > base ? min_u64(end - base, LAYOUT_PCI_MMIO64_MAX) : 0;

	return (struct pci_window){.base = base, .size = size};
}

static int build_pci(struct machine *m, struct err *err)
{
	struct pci_host_config pc = {
		.pio = &m->vm.pio,
		.mmio = &m->vm.mmio,
		.irq = &m->vm.irq.ctl,
		.intx_gsi = {LAYOUT_GSI_INTX, LAYOUT_GSI_INTX + 1, LAYOUT_GSI_INTX + 2,
	                     LAYOUT_GSI_INTX + 3},
		.ecam = LAYOUT_ECAM,
		.io = {LAYOUT_PCI_IO, LAYOUT_PCI_IO_SIZE},
		.mem32 = {LAYOUT_PCI_MMIO32, LAYOUT_PCI_MMIO32_SIZE},
		.mem64 = pci64_window(m),
		.events = &m->sink,
	};

	return pci_host_init(&m->pci, &pc, err);
}

static void destroy_pci(struct machine *m)
{
	pci_host_destroy(&m->pci);
}

static int build_testdev(struct machine *m, struct err *err)
{
	struct testdev_config tc = {.pio = &m->vm.pio, .mmio = &m->vm.mmio, .irq = &m->vm.irq.ctl};
	int rc;

	if (!m->in.config->test_device)
		return 0;
	rc = testdev_init(&m->testdev, &tc, err);
	return rc < 0 ? rc : pci_host_add(&m->pci, -1, &m->testdev.pci, err);
}

static void destroy_testdev(struct machine *m)
{
	if (m->in.config->test_device)
		testdev_destroy(&m->testdev);
}

static int build_virtio(struct machine *m, struct err *err)
{
	(void)err;
	m->virtio = (struct virtio_slots){
		.pci = &m->pci,
		.mmio = &m->vm.mmio,
		.irq = &m->vm.irq.ctl,
		.loop = m->in.loop,
		.events = &m->in.events,
		.split_irqchip = split(m),
	};
	return 0;
}

static void destroy_nics(struct machine *m)
{
	while (m->nr_nics)
		nic_destroy(&m->nics[--m->nr_nics]);
	free(m->nics);
	m->nics = NULL;
}

static int build_nics(struct machine *m, struct err *err)
{
	const struct config *c = m->in.config;

	if (!c->nr_nics)
		return 0;
	m->nics = calloc(c->nr_nics, sizeof(m->nics[0]));
	if (!m->nics)
		return -ENOMEM;
	for (; m->nr_nics < c->nr_nics; m->nr_nics++) {
		int rc = nic_build(&m->nics[m->nr_nics], &c->nics[m->nr_nics], m->nr_nics,
		                   &m->virtio, &m->vm.mem, err);

		if (rc < 0) {
			destroy_nics(m);
			return rc;
		}
	}
	return 0;
}

static void destroy_disks(struct machine *m)
{
	while (m->nr_disks)
		disk_destroy(&m->disks[--m->nr_disks]);
	free(m->disks);
	m->disks = NULL;
}

static int build_disks(struct machine *m, struct err *err)
{
	const struct config *c = m->in.config;

	if (!c->nr_disks)
		return 0;
	m->disks = calloc(c->nr_disks, sizeof(m->disks[0]));
	if (!m->disks)
		return -ENOMEM;
	for (; m->nr_disks < c->nr_disks; m->nr_disks++) {
		int rc = disk_build(m->disks, m->nr_disks, &c->disks[m->nr_disks], c->cpus,
		                    &m->virtio, &m->vm.mem, err);

		if (rc < 0) {
			destroy_disks(m);
			return rc;
		}
	}
	return 0;
}

static int build_rng(struct machine *m, struct err *err)
{
	const struct config *c = m->in.config;
	int rc;

	if (!c->rng)
		return 0;
	rng_init(&m->rng, "rng", &m->vm.mem);
	rc = virtio_transport_add(&m->rng_transport, &m->rng.dev, &c->rng_options, &m->virtio, err);
	if (rc < 0)
		rng_destroy(&m->rng);
	return rc;
}

static void destroy_rng(struct machine *m)
{
	rng_destroy(&m->rng);
	virtio_transport_remove(&m->rng_transport);
}

static int build_console(struct machine *m, struct err *err)
{
	int rc;

	if (!m->in.console)
		return 0;
	rc = console_init(&m->console, "console", m->in.console, &m->vm.mem, m->in.loop);
	if (rc < 0)
		return rc;
	rc = virtio_transport_add(&m->console_transport, &m->console.dev,
	                          &m->in.config->console.virtio, &m->virtio, err);
	if (rc < 0)
		console_destroy(&m->console);
	return rc;
}

static void destroy_console(struct machine *m)
{
	console_destroy(&m->console);
	virtio_transport_remove(&m->console_transport);
}

static int build_vsock(struct machine *m, struct err *err)
{
	const struct config *c = m->in.config;
	int rc;

	if (!c->vsock_cid)
		return 0;
	rc = vsock_init(&m->vsock, "vsock", c->vsock_cid, &m->vm.mem, m->in.loop, err);
	if (rc < 0)
		return rc;
	rc = virtio_transport_add(&m->vsock_transport, &m->vsock.dev, &c->vsock_options, &m->virtio,
	                          err);
	if (rc < 0)
		vsock_destroy(&m->vsock);
	return rc;
}

static void destroy_vsock(struct machine *m)
{
	vsock_destroy(&m->vsock);
	virtio_transport_remove(&m->vsock_transport);
}

static int assign_pci(struct machine *m, struct err *err)
{
	return pci_host_assign(&m->pci, err);
}

static int build_platform(struct machine *m, struct err *err)
{
	struct pci_window w = pci64_window(m);

	(void)err;
	m->platform = (struct platform){
		.cpus = m->in.config->cpus,
		.ram_low = m->vm.ram.low,
		.ram_high = m->vm.ram.high,
		.pci64_base = w.base,
		.pci64_size = w.size,
		.ioapic_pins = split(m) ? LAYOUT_IOAPIC_PINS : LAYOUT_KVM_IOAPIC_PINS,
		.com2 = m->in.com2 != NULL,
		.nr_virtio_mmio = m->virtio.nr_mmio,
		.virtio_mmio = m->virtio.mmio_slots,
	};
	return 0;
}

/* --dump-fdt: what a kernel would be given, for people and for dtc. */
static int dump_fdt(struct machine *m, struct err *err)
{
	const char *path = m->in.config->dump_fdt;
	struct fdt_chosen chosen = {.cmdline = m->in.cmdline};
	uint8_t *buf = malloc(LAYOUT_FDT_MAX);
	size_t len = 0;
	int fd, rc;

	if (!buf)
		return err_errno(err, -ENOMEM, "--dump-fdt %s", path);
	rc = fdt_build(&m->platform, &chosen, buf, LAYOUT_FDT_MAX, &len, err);
	if (rc == 0) {
		fd = file_create("--dump-fdt ", path, O_WRONLY | O_TRUNC, 0666, err);
		rc = fd < 0 ? fd : fd_write_full(fd, buf, len);
		if (fd >= 0 && rc < 0)
			err_errno(err, rc, "--dump-fdt %s", path);
		fd_close(&fd);
	}
	free(buf);
	return rc;
}

static int load(struct machine *m, struct err *err)
{
	struct boot_request req = {
		.platform = &m->platform,
		.cmdline = m->in.cmdline,
		.initrd = m->in.initrd,
		.nr_initrd = m->in.nr_initrd,
		.fdt = m->in.config->fdt != 0,
	};

	if (m->in.config->dump_fdt) {
		int rc = dump_fdt(m, err);

		if (rc < 0)
			return rc;
	}
	return boot_load(m->in.kernel, &req, &m->vm.mem, &m->entry, err);
}

static int freeze(struct machine *m, struct err *err)
{
	return vm_freeze(&m->vm, &m->entry, err);
}

static void stop_vcpus(struct machine *m)
{
	vm_stop(&m->vm);
}

static const struct part {
	const char *name;
	int (*build)(struct machine *m, struct err *err);
	void (*destroy)(struct machine *m); /* NULL: nothing to take apart */
} parts[] = {
	{"virtual machine", build_vm, destroy_vm},
	{"I/O APIC", build_ioapic, destroy_ioapic},
	{"COM1", build_com1, destroy_com1},
	{"COM2", build_com2, destroy_com2},
	{"ACPI power management", build_acpi_pm, destroy_acpi_pm},
	{"pvpanic", build_pvpanic, NULL},
	{"i8042", build_i8042, destroy_i8042},
	{"RTC", build_rtc, destroy_rtc},
	{"PCI host bridge", build_pci, destroy_pci},
	{"test device", build_testdev, destroy_testdev},
	{"virtio", build_virtio, NULL},
	{"network cards", build_nics, destroy_nics},
	{"disks", build_disks, destroy_disks},
	{"virtio-rng", build_rng, destroy_rng},
	{"virtio-console", build_console, destroy_console},
	{"virtio-vsock", build_vsock, destroy_vsock},
	{"PCI addresses", assign_pci, NULL},
	{"platform", build_platform, NULL},
	{"kernel", load, NULL},
	{"vCPUs", freeze, stop_vcpus},
};

int machine_build(struct machine *m, const struct machine_inputs *in, struct err *err)
{
	m->in = *in;
	m->sink = (struct guest_event_sink){.raise = on_guest_event, .opaque = m};
	for (m->built = 0; m->built < ARRAY_SIZE(parts); m->built++) {
		const struct part *part = &parts[m->built];
		int rc;

		err_set(err, 0, "%s", "");
		rc = part->build(m, err);
		if (rc < 0) {
			if (!err->msg[0])
				err_errno(err, rc, "%s", part->name);
			machine_destroy(m);
			return rc;
		}
	}
	return 0;
}

int machine_start(struct machine *m, struct err *err)
{
	return vm_start(&m->vm, err);
}

enum machine_end machine_end(const struct machine *m)
{
	return (enum machine_end)m->end;
}

void machine_power_button(struct machine *m)
{
	acpi_pm_press_power_button(&m->acpi_pm);
}

void machine_dump(struct machine *m)
{
	struct vm *vm = &m->vm;
	bool runs = vm->state == VM_RUNNING;

	vm_pause(
		vm); /* a vCPU thread that is not parked in time serves an exit: KVM answers, too */
	for (unsigned i = 0; i < vm->nr_vcpus; i++)
		cpu_dump(vm->vcpus[i].fd, i, vm->vcpus[i].run, &vm->mem);
	if (runs)
		vm_resume(vm);
}

uint8_t machine_guest_status(struct machine *m)
{
	return acpi_pm_exit_status(&m->acpi_pm);
}

bool machine_settle(struct machine *m, unsigned ms, struct err *err)
{
	uint64_t until = clock_ms() + ms;

	for (const struct virtio_transport *t = m->virtio.first; t; t = t->next) {
		uint64_t now = clock_ms();

		if (!virtio_device_settle(t->dev, now < until ? (unsigned)(until - now) : 0)) {
			err_set(err, -EBUSY,
			        "%s: what it has begun has not ended after %u ms, since the host "
			        "(is its storage reachable?) or a vhost-user back-end does not "
			        "finish it; trivm ends without waiting",
			        t->dev->name, ms);
			return false;
		}
	}
	return true;
}

void machine_destroy(struct machine *m)
{
	while (m->built) {
		const struct part *part = &parts[--m->built];

		if (part->destroy)
			part->destroy(m);
	}
}
