/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * KVM has one routing table for a VM and replaces it as a whole (KVM_SET_GSI_ROUTING,
 * api.rst 4.52), waiting for every vCPU to have left the old one. A guest changes I/O APIC entries
 * and MSI-X vectors far more often than it matters to KVM, so a route is only installed when
 * something in the kernel reads it:
 *   - an irqfd is attached to its GSI, or
 *   - it is level-triggered: from such routes KVM knows which EOIs it has to tell the I/O APIC in
 *     user space about (KVM_EXIT_IOAPIC_EOI).
 * Everything else goes by KVM_SIGNAL_MSI and never touches the table. A VM whose devices need
 * neither starts without a table at all.
 *
 * Destinations above 255. The guest writes a 32-bit "physical destination" only through x2APIC ICR;
 * an MSI has 8 bits. With KVM_FEATURE_MSI_EXT_DEST_ID, which we announce, it puts bits 8-14 into
 * bits 5-11 of the address. KVM wants them in bits 8-14 of the upper half (KVM_CAP_X2APIC_API,
 * api.rst 7.8).
 */
#include "vmm/kvm_irq.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/log.h"
#include "vmm/trace.h"
#include "vmm/util.h"

#define MSI_DATA_LEVEL BIT(15) /* trigger mode */

static struct kvm_irq *irq_of(struct irq_controller *ctl)
{
	return container_of(ctl, struct kvm_irq, ctl);
}

static uint32_t kvm_address_hi(uint64_t addr)
{
	return (uint32_t)(addr >> 32) | (uint32_t)((addr >> 5) & 0x7f) << 8;
}

static uint32_t kvm_address_lo(uint64_t addr)
{
	return (uint32_t)addr & ~(0x7fu << 5);
}

static bool wanted(const struct kvm_route *r)
{
	return r->valid && (r->irqfds || (r->msg.data & MSI_DATA_LEVEL));
}

static void add_irqchip(struct kvm_irq_routing *table, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	table->entries[table->nr++] = (struct kvm_irq_routing_entry){
		.gsi = gsi,
		.type = KVM_IRQ_ROUTING_IRQCHIP,
		.u.irqchip = {.irqchip = chip, .pin = pin},
	};
}

/* The lines of KVM's own controllers, which KVM_CREATE_IRQCHIP routed and a new table must repeat.
 */
static void add_kernel_lines(struct kvm_irq_routing *table)
{
	for (uint32_t gsi = 0; gsi < 24; gsi++) {
		if (gsi < 16)
			add_irqchip(table, gsi,
			            gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE,
			            gsi % 8);
		add_irqchip(table, gsi, KVM_IRQCHIP_IOAPIC, gsi);
	}
}

/* KVM's table as it should be now. irq->lock is held. */
static void fill_table(const struct kvm_irq *irq, struct kvm_irq_routing *table)
{
	if (irq->kind == IRQCHIP_KERNEL)
		add_kernel_lines(table);
	for (uint32_t gsi = 0; gsi < KVM_IRQ_GSIS; gsi++) {
		const struct kvm_route *r = &irq->routes[gsi];

		if (!wanted(r))
			continue;
		table->entries[table->nr++] = (struct kvm_irq_routing_entry){
			.gsi = gsi,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = kvm_address_lo(r->msg.addr),
		                  .address_hi = kvm_address_hi(r->msg.addr),
		                  .data = r->msg.data},
		};
	}
}

/* Give it to KVM. On an error KVM keeps the old one. irq->lock is held. */
static int commit(struct kvm_irq *irq)
{
	static struct log_limit limit;
	const size_t max = KVM_IRQ_GSIS + 16 + 24;
	struct kvm_irq_routing *table;
	int rc;

	table = calloc(1, sizeof(*table) + max * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	fill_table(irq, table);
	rc = kvm_ioctl(irq->kvm->vm_fd, KVM_SET_GSI_ROUTING, table);
	free(table);
	if (rc < 0) {
		log_limited(&limit, LOG_ERROR, "KVM_SET_GSI_ROUTING: %s", strerror(-rc));
		return rc;
	}
	for (uint32_t gsi = 0; gsi < KVM_IRQ_GSIS; gsi++)
		irq->routes[gsi].installed = wanted(&irq->routes[gsi]);
	return 0;
}

static void set_line(struct irq_controller *ctl, uint32_t gsi, bool asserted)
{
	struct kvm_irq *irq = irq_of(ctl);
	struct kvm_irq_level level = {.irq = gsi, .level = asserted};

	if (asserted)
		TRACE(line_raise, NULL, 0, "pin %d is raised", gsi);
	if (irq->kind == IRQCHIP_KERNEL)
		kvm_ioctl(irq->kvm->vm_fd, KVM_IRQ_LINE, &level);
	else if (irq->pin)
		irq->pin(irq->pin_opaque, gsi, asserted);
}

static int send_msi(struct irq_controller *ctl, const struct msi_message *msg)
{
	struct kvm_irq *irq = irq_of(ctl);
	struct kvm_msi msi = {
		.address_lo = kvm_address_lo(msg->addr),
		.address_hi = kvm_address_hi(msg->addr),
		.data = msg->data,
	};
	int rc = kvm_ioctl(irq->kvm->vm_fd, KVM_SIGNAL_MSI, &msi);

	TRACE(msi_send, NULL, 0, "KVM_SIGNAL_MSI: address %x, data %x: %d", msg->addr, msg->data,
	      rc);
	/* The ioctl returns 0 if a local APIC refused the message (api.rst 4.70). */
	return rc > 0 ? 1 : rc;
}

static int route_alloc(struct irq_controller *ctl, uint32_t *gsi)
{
	struct kvm_irq *irq = irq_of(ctl);
	uint32_t end = (uint32_t)min_u64(KVM_IRQ_GSIS, (uint64_t)irq->kvm->max_routes);
	int rc = -ENOSPC;

	pthread_mutex_lock(&irq->lock);
	for (uint32_t i = irq->pins; i < end; i++) {
		if (irq->routes[i].used)
			continue;
		irq->routes[i] = (struct kvm_route){.used = true};
		*gsi = i;
		rc = 0;
		break;
	}
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static void route_free(struct irq_controller *ctl, uint32_t gsi)
{
	struct kvm_irq *irq = irq_of(ctl);
	bool installed;

	pthread_mutex_lock(&irq->lock);
	installed = irq->routes[gsi].installed;
	irq->routes[gsi] = (struct kvm_route){.used = false};
	if (installed)
		commit(irq);
	pthread_mutex_unlock(&irq->lock);
}

/*
 * One guest-written message must not keep the others from being routed: what KVM would refuse (an
 * upper half whose low byte is not 0) is refused here, and a route that KVM did refuse is taken
 * back.
 */
static int route_set(struct irq_controller *ctl, uint32_t gsi, const struct msi_message *msg)
{
	struct kvm_irq *irq = irq_of(ctl);
	struct kvm_route *r = &irq->routes[gsi];
	struct kvm_route old;
	int rc = 0;

	/* KVM's own I/O APIC routes its pins itself. */
	if (irq->kind == IRQCHIP_KERNEL && gsi < irq->pins)
		return -EINVAL;
	if (msg && (msg->addr >> 32 & 0xff))
		return -EINVAL;
	pthread_mutex_lock(&irq->lock);
	old = *r;
	r->valid = msg != NULL;
	if (msg)
		r->msg = *msg;
	if (wanted(r) != r->installed ||
	    (r->installed && (old.msg.addr != r->msg.addr || old.msg.data != r->msg.data)))
		rc = commit(irq);
	if (rc < 0)
		*r = old;
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static int irqfd(struct irq_controller *ctl, uint32_t gsi, int fd, bool assign)
{
	struct kvm_irq *irq = irq_of(ctl);
	struct kvm_route *r = &irq->routes[gsi];
	struct kvm_irqfd k = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = assign ? 0 : KVM_IRQFD_FLAG_DEASSIGN,
	};
	int rc;

	pthread_mutex_lock(&irq->lock);
	if (assign)
		r->irqfds++;
	/* The route comes first: an event that is already waiting is delivered by KVM_IRQFD itself.
	 */
	rc = wanted(r) && (irq->stale || !r->installed) ? commit(irq) : 0;
	if (rc == 0)
		rc = kvm_ioctl(irq->kvm->vm_fd, KVM_IRQFD, &k);
	if ((assign && rc < 0) || (!assign && rc == 0 && r->irqfds))
		r->irqfds--;
	pthread_mutex_unlock(&irq->lock);
	return rc;
}

static const struct irq_controller_ops kvm_irq_ops = {
	.set_line = set_line,
	.send_msi = send_msi,
	.route_alloc = route_alloc,
	.route_free = route_free,
	.route_set = route_set,
	.irqfd = irqfd,
};

static int create_split(struct kvm_irq *irq, struct err *err)
{
	struct kvm_enable_cap split = {.cap = KVM_CAP_SPLIT_IRQCHIP, .args[0] = irq->pins};
	struct kvm_enable_cap x2apic = {
		.cap = KVM_CAP_X2APIC_API,
		.args[0] = KVM_X2APIC_API_USE_32BIT_IDS | KVM_X2APIC_API_DISABLE_BROADCAST_QUIRK,
	};
	int rc = kvm_ioctl(irq->kvm->vm_fd, KVM_ENABLE_CAP, &split);

	if (rc == 0)
		rc = kvm_ioctl(irq->kvm->vm_fd, KVM_ENABLE_CAP, &x2apic);
	return rc < 0 ? err_errno(err, rc, "KVM_CAP_SPLIT_IRQCHIP") : 0;
}

int kvm_irq_init(struct kvm_irq *irq, struct kvm *kvm, enum irqchip kind, unsigned pins,
                 struct err *err)
{
	int rc;

	memset(irq, 0, sizeof(*irq));
	irq->ctl.ops = &kvm_irq_ops;
	irq->kvm = kvm;
	irq->kind = kind;
	irq->pins = kind == IRQCHIP_KERNEL ? 24 : pins;
	irq->routes = calloc(KVM_IRQ_GSIS, sizeof(irq->routes[0]));
	if (!irq->routes)
		return err_errno(err, -ENOMEM, "interrupt routes");
	for (unsigned i = 0; i < irq->pins; i++)
		irq->routes[i].used = true;
	pthread_mutex_init(&irq->lock, NULL);
	if (kind == IRQCHIP_SPLIT)
		return create_split(irq, err);
	rc = kvm_ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, NULL);
	return rc < 0 ? err_errno(err, rc, "KVM_CREATE_IRQCHIP") : 0;
}

void kvm_irq_destroy(struct kvm_irq *irq)
{
	if (!irq->kvm)
		return;
	pthread_mutex_destroy(&irq->lock);
	free(irq->routes);
	irq->routes = NULL;
	irq->kvm = NULL;
}
