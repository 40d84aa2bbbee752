/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a vCPU is the host's CPU as far as KVM can show it
 * (KVM_GET_SUPPORTED_CPUID), with four things of our own: the topology (one package, one core for
 * each vCPU, one thread a core), the features that depend on the interrupt controller that we
 * chose, the vCPU's APIC id, and VMX and SVM only if the user wants them: they are a large
 * part of the host's kernel that a guest could attack.
 *
 * MSRs keep KVM's reset values but for two that firmware would have set and that Linux looks at:
 * the MTRRs are on, with write-back as the default type (off would mean that all memory is
 * uncached, and Linux would give up the PAT as well), and fast string operations are on.
 */
#include "arch/x86/cpu.h"

#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/layout.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define CPUID_ENTRIES      256
#define CPUID_TEMPLATE_MAX (CPUID_ENTRIES + 4)

#define MSR_IA32_MISC_ENABLE      0x1a0
#define MSR_IA32_MISC_ENABLE_FAST BIT(0)
#define MSR_IA32_MTRR_DEF_TYPE    0x2ff
#define MTRR_ENABLE               BIT(11)
#define MTRR_WRITE_BACK           6

#define MULTIBOOT_MAGIC 0x2badb002 /* Multiboot 3.2: eax */

#define CR0_PE   BIT64(0)
#define CR0_ET   BIT64(4)
#define CR0_PG   BIT64(31)
#define CR4_PAE  BIT64(5)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)

static int cpu_ioctl(int fd, unsigned long request, void *arg)
{
	int rc;

	do
		rc = ioctl(fd, request, arg);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

static struct kvm_cpuid_entry2 *find(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == leaf &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == sub))
			return e;
	}
	return NULL;
}

/* Take out all subleaves of @leaf. */
static void drop(struct kvm_cpuid2 *cpuid, uint32_t leaf)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != leaf)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

static void append(struct kvm_cpuid2 *cpuid, struct kvm_cpuid_entry2 entry)
{
	if (cpuid->nent < CPUID_TEMPLATE_MAX)
		cpuid->entries[cpuid->nent++] = entry;
}

/* Bits of the APIC id that number @n cores. */
static uint32_t id_bits(unsigned n)
{
	uint32_t bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

/* Leaves 0xb and 0x1f: one thread in a core, all cores in one package. */
static void set_extended_topology(struct kvm_cpuid2 *cpuid, uint32_t leaf, unsigned cpus)
{
	const uint32_t flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;

	if (!find(cpuid, leaf, 0))
		return;
	drop(cpuid, leaf);
	append(cpuid, (struct kvm_cpuid_entry2){.function = leaf,
	                                        .index = 0,
	                                        .flags = flags,
	                                        .eax = 0,
	                                        .ebx = 1,
	                                        .ecx = 1 << 8});
	append(cpuid, (struct kvm_cpuid_entry2){.function = leaf,
	                                        .index = 1,
	                                        .flags = flags,
	                                        .eax = id_bits(cpus),
	                                        .ebx = cpus,
	                                        .ecx = 2 << 8 | 1});
	append(cpuid,
	       (struct kvm_cpuid_entry2){.function = leaf, .index = 2, .flags = flags, .ecx = 2});
}

/* Who shares which cache: levels 1 and 2 belong to a core, the last one to all. Intel 4, AMD
 * 0x8000001d. */
static void set_cache_topology(struct kvm_cpuid2 *cpuid, uint32_t leaf, unsigned cpus)
{
	uint32_t sharing = (1u << id_bits(cpus)) - 1;
	uint32_t cores = sharing > 63 ? 63 : sharing;

	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		uint32_t level = (e->eax >> 5) & 7;

		if (e->function != leaf || !(e->eax & 0x1f))
			continue;
		e->eax &= 0x3fff;
		e->eax |= (level >= 3 ? (sharing & 0xfff) : 0) << 14;
		if (leaf == 4)
			e->eax |= cores << 26;
	}
}

static void set_basic_leaf(const struct cpu_model *model, struct kvm_cpuid_entry2 *e)
{
	uint32_t logical = 1u << id_bits(model->cpus);

	e->ebx &= 0x0000ffff;
	e->ebx |= (logical > 255 ? 255 : logical) << 16;
	e->ecx |= BIT(31);  /* a hypervisor is there */
	e->ecx &= ~BIT(27); /* OSXSAVE follows CR4, KVM's business */
	if (model->tsc_deadline)
		e->ecx |= BIT(24);
	e->edx &= ~BIT(28);
	if (model->cpus > 1)
		e->edx |= BIT(28); /* HTT: ebx[23:16] counts */
}

/* AMD's own ways to say the same. Harmless on Intel, where the leaves are reserved or absent. */
static void set_amd_leaves(const struct cpu_model *model)
{
	struct kvm_cpuid_entry2 *vendor = find(model->cpuid, 0, 0);
	struct kvm_cpuid_entry2 *e;
	bool amd = vendor &&
	           (vendor->ebx == 0x68747541 /* Auth */ || vendor->ebx == 0x6f677948 /* Hygo */);

	if (!amd)
		return;
	e = find(model->cpuid, 0x80000001, 0);
	if (e) {
		e->ecx &= ~BIT(1);
		e->ecx |= model->cpus > 1 ? BIT(1) : 0; /* CmpLegacy */
	}
	e = find(model->cpuid, 0x80000008, 0);
	if (e)
		e->ecx = (e->ecx & ~0xf0ffu) | id_bits(model->cpus) << 12 |
		         (model->cpus > 256 ? 255 : model->cpus - 1);
	set_cache_topology(model->cpuid, 0x8000001d, model->cpus);
}

static int get_supported(struct cpu_model *model, int sys_fd, struct err *err)
{
	int rc;

	model->cpuid = calloc(1, sizeof(struct kvm_cpuid2) +
	                                 CPUID_TEMPLATE_MAX * sizeof(struct kvm_cpuid_entry2));
	if (!model->cpuid)
		return err_errno(err, -ENOMEM, "CPUID");
	model->cpuid->nent = CPUID_ENTRIES;
	rc = cpu_ioctl(sys_fd, KVM_GET_SUPPORTED_CPUID, model->cpuid);
	return rc < 0 ? err_errno(err, rc, "KVM_GET_SUPPORTED_CPUID") : 0;
}

int cpu_model_init(struct cpu_model *model, int sys_fd, unsigned cpus, bool tsc_deadline,
                   bool msi_ext_dest_id, struct err *err)
{
	struct kvm_cpuid_entry2 *e;
	int rc;

	*model = (struct cpu_model){
		.cpus = cpus,
		.tsc_deadline = tsc_deadline,
		.msi_ext_dest_id = msi_ext_dest_id,
		.phys_bits = 36,
	};
	rc = get_supported(model, sys_fd, err);
	if (rc < 0) {
		cpu_model_destroy(model);
		return rc;
	}
	e = find(model->cpuid, 1, 0);
	if (e)
		set_basic_leaf(model, e);
	set_cache_topology(model->cpuid, 4, cpus);
	set_extended_topology(model->cpuid, 0xb, cpus);
	set_extended_topology(model->cpuid, 0x1f, cpus);
	set_amd_leaves(model);
	e = find(model->cpuid, KVM_CPUID_FEATURES, 0);
	if (e && msi_ext_dest_id)
		e->eax |= BIT(KVM_FEATURE_MSI_EXT_DEST_ID);
	e = find(model->cpuid, 0x80000008, 0);
	if (e)
		model->phys_bits = e->eax & 0xff;
	return 0;
}

int cpu_model_nested(struct cpu_model *model, bool wanted, struct err *err)
{
	struct kvm_cpuid_entry2 *intel = find(model->cpuid, 1, 0);
	struct kvm_cpuid_entry2 *amd = find(model->cpuid, 0x80000001, 0);
	bool offered = (intel && (intel->ecx & BIT(5))) || (amd && (amd->ecx & BIT(2)));

	if (wanted && !offered)
		return err_set(err, -ENODEV,
		               "--nested: this host's KVM offers guests neither VMX nor SVM; "
		               "kvm_intel and kvm_amd do with the module parameter nested=1");
	if (wanted)
		return 0;
	if (intel)
		intel->ecx &= ~BIT(5); /* VMX */
	if (amd)
		amd->ecx &= ~BIT(2);    /* SVM */
	drop(model->cpuid, 0x8000000a); /* SVM's features */
	return 0;
}

void cpu_model_destroy(struct cpu_model *model)
{
	free(model->cpuid);
	model->cpuid = NULL;
}

/* The leaves in which a CPU finds its own APIC id. */
static void set_apic_id(struct kvm_cpuid2 *cpuid, unsigned id)
{
	for (unsigned i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0x00ffffff) | (uint32_t)id << 24;
			break;
		case 0xb:
		case 0x1f:
			e->edx = id;
			break;
		case 0x8000001e: /* AMD: core id, one thread a core, node 0 of 1 */
			e->eax = id;
			e->ebx = id & 0xff;
			e->ecx = 0;
			break;
		default:
			break;
		}
	}
}

int cpu_setup(const struct cpu_model *model, int vcpu_fd, unsigned id, struct err *err)
{
	static const struct kvm_msr_entry entries[] = {
		{.index = MSR_IA32_MTRR_DEF_TYPE, .data = MTRR_ENABLE | MTRR_WRITE_BACK},
		{.index = MSR_IA32_MISC_ENABLE, .data = MSR_IA32_MISC_ENABLE_FAST},
	};
	union {
		struct kvm_msrs head; /* ends in an array without a length */
		uint8_t room[sizeof(struct kvm_msrs) + sizeof(entries)];
	} msrs = {.head.nmsrs = ARRAY_SIZE(entries)};
	int rc;

	memcpy(msrs.room + sizeof(struct kvm_msrs), entries, sizeof(entries));
	/* The template is ours alone while the machine is built: patched in place, vCPU after vCPU.
	 */
	set_apic_id(model->cpuid, id);
	rc = cpu_ioctl(vcpu_fd, KVM_SET_CPUID2, model->cpuid);
	if (rc < 0)
		return err_errno(err, rc, "KVM_SET_CPUID2 for vCPU %u", id);
	rc = cpu_ioctl(vcpu_fd, KVM_SET_MSRS, &msrs);
	if (rc < 0)
		return err_errno(err, rc, "KVM_SET_MSRS for vCPU %u", id);
	if (rc < (int)ARRAY_SIZE(entries))
		log_debug("vCPU %u: KVM does not know MSR 0x%x", id, entries[rc].index);
	return 0;
}

static struct kvm_segment flat_segment(uint16_t selector, uint8_t type, bool long_mode)
{
	return (struct kvm_segment){
		.base = 0,
		.limit = 0xffffffff,
		.selector = selector,
		.type = type,
		.present = 1,
		.s = 1,
		.g = 1,
		.db = !long_mode,
		.l = long_mode,
	};
}

/* boot.rst, "64-bit Boot Protocol": paging on, identity mapped, __BOOT_CS 0x10, __BOOT_DS 0x18. */
static void enter_linux64(struct kvm_sregs *s)
{
	s->cs = flat_segment(BOOT_CS, 0xb, true);
	s->ds = s->es = s->ss = flat_segment(BOOT_DS, 0x3, false);
	s->gdt.base = LAYOUT_GDT;
	s->gdt.limit = BOOT_GDT_SIZE - 1;
	s->cr3 = LAYOUT_PAGE_TABLES;
	s->cr4 = CR4_PAE;
	s->cr0 = CR0_PE | CR0_ET | CR0_PG;
	s->efer = EFER_LME | EFER_LMA;
}

/*
 * hvm/start_info.h: 32-bit protected mode, paging off, flat segments, a TSS of limit 0x67.
 * Multiboot 3.2 wants the same, but for the TSS.
 */
static void enter_flat32(struct kvm_sregs *s)
{
	s->cs = flat_segment(BOOT_CS, 0xb, false);
	s->ds = s->es = s->ss = flat_segment(BOOT_DS, 0x3, false);
	s->gdt.base = LAYOUT_GDT;
	s->gdt.limit = BOOT_GDT_SIZE - 1;
	s->cr4 = 0;
	s->cr0 = CR0_PE | CR0_ET;
	s->efer = 0;
}

int cpu_enter(int vcpu_fd, const struct boot_entry *entry, struct err *err)
{
	/* No protocol promises a stack, but kernels start that rely on other loaders' accidents. */
	struct kvm_regs regs = {.rflags = 0x2, .rip = entry->rip, .rsp = LAYOUT_BOOT_STACK};
	struct kvm_sregs sregs;
	int rc = cpu_ioctl(vcpu_fd, KVM_GET_SREGS, &sregs);

	if (rc < 0)
		return err_errno(err, rc, "KVM_GET_SREGS");
	sregs.tr = (struct kvm_segment){.limit = 0x67, .type = 0xb, .present = 1};
	sregs.ldt = (struct kvm_segment){.unusable = 1};
	sregs.fs = sregs.gs = flat_segment(0, 0x3, false);
	if (entry->protocol != BOOT_LINUX64) {
		enter_flat32(&sregs);
		regs.rbx = entry->param;
		if (entry->protocol == BOOT_MULTIBOOT)
			regs.rax = MULTIBOOT_MAGIC;
	} else {
		enter_linux64(&sregs);
		regs.rsi = entry->param;
	}
	rc = cpu_ioctl(vcpu_fd, KVM_SET_SREGS, &sregs);
	if (rc < 0)
		return err_errno(err, rc, "KVM_SET_SREGS");
	rc = cpu_ioctl(vcpu_fd, KVM_SET_REGS, &regs);
	return rc < 0 ? err_errno(err, rc, "KVM_SET_REGS") : 0;
}

bool cpu_at_reset_vector(int vcpu_fd)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (cpu_ioctl(vcpu_fd, KVM_GET_REGS, &r) < 0 || cpu_ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0)
		return false;
	return !(s.cr0 & CR0_PE) && s.cs.base == 0xffff0000 && r.rip == 0xfff0;
}

/* The bytes that the CPU was about to execute: from KVM if it said, else from guest memory. */
static unsigned instruction_bytes(int vcpu_fd, const struct kvm_run *run, const struct memory *mem,
                                  uint64_t linear, uint8_t bytes[15])
{
	unsigned n = 0;

	if (run->exit_reason == KVM_EXIT_INTERNAL_ERROR &&
	    run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION &&
	    run->emulation_failure.ndata >= 4 &&
	    (run->emulation_failure.flags & KVM_INTERNAL_ERROR_EMULATION_FLAG_INSTRUCTION_BYTES)) {
		n = run->emulation_failure.insn_size;
		n = n > 15 ? 15 : n;
		memcpy(bytes, run->emulation_failure.insn_bytes, n);
		return n;
	}
	for (; n < 15; n++) {
		struct kvm_translation tr = {.linear_address = linear + n};

		if (cpu_ioctl(vcpu_fd, KVM_TRANSLATE, &tr) < 0 || !tr.valid ||
		    memory_read(mem, gpa(tr.physical_address), &bytes[n], 1) < 0)
			break;
	}
	return n;
}

void cpu_dump(int vcpu_fd, unsigned id, const struct kvm_run *run, const struct memory *mem)
{
	struct kvm_regs r;
	struct kvm_sregs s;
	uint8_t bytes[15];
	char hex[15 * 3 + 1] = "";
	unsigned n;

	if (cpu_ioctl(vcpu_fd, KVM_GET_REGS, &r) < 0 || cpu_ioctl(vcpu_fd, KVM_GET_SREGS, &s) < 0) {
		log_error("vCPU %u: its registers cannot be read", id);
		return;
	}
	n = instruction_bytes(vcpu_fd, run, mem, s.cs.base + r.rip, bytes);
	for (unsigned i = 0; i < n; i++)
		snprintf(hex + 3 * i, sizeof(hex) - 3 * i, " %02x", bytes[i]);

	log_error("vCPU %u rip %016llx rflags %08llx cs %04x (%s) ring %u", id, r.rip, r.rflags,
	          s.cs.selector,
	          s.cs.l    ? "64-bit"
	          : s.cs.db ? "32-bit"
	                    : "16-bit",
	          s.ss.dpl);
	log_error("  rax %016llx rbx %016llx rcx %016llx rdx %016llx", r.rax, r.rbx, r.rcx, r.rdx);
	log_error("  rsi %016llx rdi %016llx rbp %016llx rsp %016llx", r.rsi, r.rdi, r.rbp, r.rsp);
	log_error("  r8  %016llx r9  %016llx r10 %016llx r11 %016llx", r.r8, r.r9, r.r10, r.r11);
	log_error("  r12 %016llx r13 %016llx r14 %016llx r15 %016llx", r.r12, r.r13, r.r14, r.r15);
	log_error("  cr0 %08llx cr2 %016llx cr3 %012llx cr4 %08llx efer %04llx", s.cr0, s.cr2,
	          s.cr3, s.cr4, s.efer);
	log_error("  gdt %016llx/%04x idt %016llx/%04x", s.gdt.base, s.gdt.limit, s.idt.base,
	          s.idt.limit);
	log_error("  instruction bytes:%s", n ? hex : " (not mapped)");
}
