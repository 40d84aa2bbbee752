/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * kvm_irq: which routes KVM is given, and when: never one that nothing in the kernel reads.
 *
 * kvm_ioctl() is defined here, so the library's own (vmm/kvm.c) is not linked: KVM's side is a
 * record of the calls and of the table that was set last.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vmm/kvm_irq.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define VM_FD               42
#define PINS                56
#define TABLE               2048
#define FAIL(request, code) fake.fail_request = (request), fake.fail_code = (code)

static struct {
	unsigned created, split, x2apic; /* controllers that were asked for */
	unsigned split_pins;
	unsigned commits; /* KVM_SET_GSI_ROUTING */
	uint32_t nr;
	struct kvm_irq_routing_entry table[TABLE];
	unsigned assigns, deassigns;
	struct kvm_irqfd irqfd; /* the last one */
	bool routed_at_assign;  /* its GSI was in the table then */
	unsigned msis;
	struct kvm_msi msi;
	unsigned lines;
	struct kvm_irq_level line;
	unsigned long fail_request; /* answers fail_code once */
	int fail_code;
	int msi_result;
} fake;

static const struct kvm_irq_routing_entry *route_of(uint32_t gsi)
{
	for (uint32_t i = 0; i < fake.nr; i++)
		if (fake.table[i].gsi == gsi && fake.table[i].type == KVM_IRQ_ROUTING_MSI)
			return &fake.table[i];
	return NULL;
}

static void set_routing(const struct kvm_irq_routing *r)
{
	fake.commits++;
	assert_int_equal(r->flags, 0);
	assert_true(r->nr <= TABLE);
	fake.nr = r->nr;
	memcpy(fake.table, r->entries, r->nr * sizeof(r->entries[0]));
	for (uint32_t i = 0; i < r->nr; i++)
		assert_int_equal(r->entries[i].flags, 0);
}

static void enable_cap(const struct kvm_enable_cap *cap)
{
	if (cap->cap == KVM_CAP_SPLIT_IRQCHIP) {
		fake.split++;
		fake.split_pins = (unsigned)cap->args[0];
	}
	if (cap->cap == KVM_CAP_X2APIC_API) {
		fake.x2apic++;
		assert_true(cap->args[0] & KVM_X2APIC_API_USE_32BIT_IDS);
	}
}

int kvm_ioctl(int fd, unsigned long request, void *arg)
{
	assert_int_equal(fd, VM_FD);
	if (fake.fail_request == request) {
		fake.fail_request = 0;
		return fake.fail_code;
	}
	switch (request) {
	case KVM_ENABLE_CAP:
		enable_cap(arg);
		return 0;
	case KVM_CREATE_IRQCHIP:
		fake.created++;
		return 0;
	case KVM_SET_GSI_ROUTING:
		set_routing(arg);
		return 0;
	case KVM_IRQFD:
		fake.irqfd = *(struct kvm_irqfd *)arg;
		if (fake.irqfd.flags & KVM_IRQFD_FLAG_DEASSIGN)
			fake.deassigns++;
		else
			fake.assigns++;
		fake.routed_at_assign = route_of(fake.irqfd.gsi) != NULL;
		return 0;
	case KVM_SIGNAL_MSI:
		fake.msis++;
		fake.msi = *(struct kvm_msi *)arg;
		return fake.msi_result;
	case KVM_IRQ_LINE:
		fake.lines++;
		fake.line = *(struct kvm_irq_level *)arg;
		return 0;
	default:
		fail_msg("unexpected ioctl 0x%lx", request);
		return -ENOTTY;
	}
}

static struct kvm kvm;
static struct kvm_irq irq;
static struct irq_controller *ctl = &irq.ctl;

static void begin(enum irqchip kind)
{
	struct err err;

	memset(&fake, 0, sizeof(fake));
	kvm = (struct kvm){.sys_fd = -1, .vm_fd = VM_FD, .max_routes = 4096};
	assert_int_equal(kvm_irq_init(&irq, &kvm, kind, PINS, &err), 0);
}

static void end(void)
{
	kvm_irq_destroy(&irq);
	kvm_irq_destroy(&irq);
}

static const struct msi_message edge = {.addr = 0xfee01000, .data = 0x41};
static const struct msi_message other = {.addr = 0xfee02000, .data = 0x42};
static const struct msi_message level = {.addr = 0xfee01000, .data = 0x8051};

static void controllers(void **state)
{
	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(fake.split, 1);
	assert_int_equal(fake.split_pins, PINS);
	assert_int_equal(fake.x2apic, 1);
	assert_int_equal(fake.created, 0);
	assert_int_equal(fake.commits, 0);
	end();
	begin(IRQCHIP_KERNEL);
	assert_int_equal(fake.created, 1);
	assert_int_equal(fake.split + fake.x2apic, 0);
	assert_int_equal(irq.pins, 24);
	end();
}

static void controllers_that_kvm_refuses(void **state)
{
	struct err err;

	(void)state;
	memset(&fake, 0, sizeof(fake));
	kvm = (struct kvm){.vm_fd = VM_FD, .max_routes = 4096};
	FAIL(KVM_ENABLE_CAP, -EINVAL);
	assert_int_equal(kvm_irq_init(&irq, &kvm, IRQCHIP_SPLIT, PINS, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "SPLIT_IRQCHIP"));
	end();
	FAIL(KVM_CREATE_IRQCHIP, -EEXIST);
	assert_int_equal(kvm_irq_init(&irq, &kvm, IRQCHIP_KERNEL, PINS, &err), -EEXIST);
	assert_non_null(strstr(err.msg, "KVM_CREATE_IRQCHIP"));
	end();
}

/* A message that nothing in the kernel reads is no route. */
static void messages_alone_set_no_table(void **state)
{
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(gsi, PINS); /* above the pins */
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &other), 0);
	assert_int_equal(irq_route_set(ctl, gsi, NULL), 0);
	assert_int_equal(irq_route_set(ctl, 4, &edge), 0); /* an edge-triggered pin */
	assert_int_equal(irq_send_msi(ctl, &edge), 0);
	irq_route_free(ctl, gsi);
	assert_int_equal(fake.commits, 0);
	assert_int_equal(fake.msis, 1);
	end();
}

static void an_irqfd_brings_its_route_along(void **state)
{
	const struct kvm_irq_routing_entry *e;
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(fake.commits, 1);
	assert_int_equal(fake.nr, 1); /* and no one else's */
	assert_true(fake.routed_at_assign);
	assert_int_equal(fake.irqfd.fd, 7);
	assert_int_equal(fake.irqfd.gsi, gsi);
	e = route_of(gsi);
	assert_non_null(e);
	assert_int_equal(e->u.msi.address_lo, 0xfee01000);
	assert_int_equal(e->u.msi.address_hi, 0);
	assert_int_equal(e->u.msi.data, 0x41);

	/* The same again costs nothing, another message one table. */
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(fake.commits, 1);
	assert_int_equal(irq_route_set(ctl, gsi, &other), 0);
	assert_int_equal(fake.commits, 2);
	assert_int_equal(route_of(gsi)->u.msi.data, 0x42);

	/* Masked: gone from the table; unmasked: back. */
	assert_int_equal(irq_route_set(ctl, gsi, NULL), 0);
	assert_int_equal(fake.commits, 3);
	assert_null(route_of(gsi));
	assert_int_equal(irq_route_set(ctl, gsi, NULL), 0);
	assert_int_equal(fake.commits, 3);
	assert_int_equal(irq_route_set(ctl, gsi, &other), 0);
	assert_non_null(route_of(gsi));

	/* Freed: gone. */
	assert_int_equal(irq_irqfd(ctl, gsi, 7, false), 0);
	assert_int_equal(fake.deassigns, 1);
	irq_route_free(ctl, gsi);
	assert_null(route_of(gsi));
	end();
}

/* The irqfd first, masked, as a driver does it; the route when it is unmasked. */
static void an_irqfd_without_a_message(void **state)
{
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(fake.commits, 0);
	assert_int_equal(fake.assigns, 1);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(fake.commits, 1);
	assert_non_null(route_of(gsi));
	end();
}

static void two_irqfds_on_one_route(void **state)
{
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 8, true), 0);
	assert_int_equal(fake.commits, 1);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, false), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &other), 0); /* the second one reads it */
	assert_int_equal(route_of(gsi)->u.msi.data, 0x42);
	assert_int_equal(irq_irqfd(ctl, gsi, 8, false), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0); /* nobody does */
	assert_null(route_of(gsi));
	end();
}

/* From level-triggered routes KVM knows which EOIs the I/O APIC in user space wants to hear of. */
static void level_triggered_pins_are_routed(void **state)
{
	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_set(ctl, 16, &level), 0);
	assert_int_equal(fake.commits, 1);
	assert_non_null(route_of(16));
	assert_int_equal(irq_route_set(ctl, 16, &level), 0);
	assert_int_equal(fake.commits, 1);
	assert_int_equal(irq_route_set(ctl, 16, &edge), 0); /* reprogrammed: KVM forgets it */
	assert_null(route_of(16));
	assert_int_equal(irq_route_set(ctl, 16, &level), 0);
	assert_int_equal(irq_route_set(ctl, 16, NULL), 0);
	assert_null(route_of(16));
	end();
}

static void kvms_own_lines_stay_in_the_table(void **state)
{
	unsigned pic = 0, ioapic = 0;
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_KERNEL);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(gsi, 24);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(fake.commits, 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(fake.commits, 1);
	assert_int_equal(fake.nr, 24 + 16 + 1);
	for (uint32_t i = 0; i < fake.nr; i++) {
		const struct kvm_irq_routing_entry *e = &fake.table[i];

		if (e->type != KVM_IRQ_ROUTING_IRQCHIP)
			continue;
		if (e->u.irqchip.irqchip == KVM_IRQCHIP_IOAPIC) {
			ioapic++;
			assert_int_equal(e->u.irqchip.pin, e->gsi);
		} else {
			pic++;
			assert_int_equal(e->u.irqchip.irqchip, e->gsi < 8 ? KVM_IRQCHIP_PIC_MASTER
			                                                  : KVM_IRQCHIP_PIC_SLAVE);
			assert_int_equal(e->u.irqchip.pin, e->gsi % 8);
		}
	}
	assert_int_equal(pic, 16);
	assert_int_equal(ioapic, 24);
	assert_int_equal(irq_route_set(ctl, 4, &edge), -EINVAL); /* a pin is KVM's */
	assert_int_equal(irq_irqfd(ctl, 4, 9, true), 0);         /* but may have an irqfd */
	assert_int_equal(fake.commits, 1);
	end();
}

struct pin {
	uint32_t gsi;
	bool asserted;
	unsigned calls;
};

static void on_pin(void *opaque, uint32_t gsi, bool asserted)
{
	struct pin *p = opaque;

	*p = (struct pin){.gsi = gsi, .asserted = asserted, .calls = p->calls + 1};
}

static void lines(void **state)
{
	struct irq_line line = {.ctl = ctl, .gsi = 4};
	struct pin pin = {0};

	(void)state;
	begin(IRQCHIP_KERNEL);
	irq_line_set(&line, true);
	assert_int_equal(fake.lines, 1);
	assert_int_equal(fake.line.irq, 4);
	assert_int_equal(fake.line.level, 1);
	irq_line_pulse(&line);
	assert_int_equal(fake.lines, 3);
	assert_int_equal(fake.line.level, 0);
	end();

	begin(IRQCHIP_SPLIT);
	irq_line_set(&line, true); /* before there is an I/O APIC: nothing */
	irq.pin = on_pin;
	irq.pin_opaque = &pin;
	irq_line_set(&line, true);
	assert_int_equal(pin.calls, 1);
	assert_int_equal(pin.gsi, 4);
	assert_true(pin.asserted);
	assert_int_equal(fake.lines, 0);
	end();
}

static void messages_are_sent(void **state)
{
	(void)state;
	begin(IRQCHIP_SPLIT);
	fake.msi_result = 2; /* two local APICs accepted it */
	assert_int_equal(irq_send_msi(ctl, &edge), 1);
	assert_int_equal(fake.msi.address_lo, 0xfee01000);
	assert_int_equal(fake.msi.data, 0x41);
	assert_int_equal(fake.msi.flags, 0);
	fake.msi_result = 0; /* the local APIC refused it: the guest's choice */
	assert_int_equal(irq_send_msi(ctl, &edge), 0);
	fake.msi_result = -EINVAL;
	assert_int_equal(irq_send_msi(ctl, &edge), -EINVAL);
	end();
}

/* Bits 5-11 of a message's address are bits 8-14 of the destination. */
static void destinations_above_255(void **state)
{
	struct msi_message far = {.addr = 0xfee00000 | 0x2a << 12 | 0x03 << 5 | 0x4, .data = 0x41};
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_send_msi(ctl, &far), 0);
	assert_int_equal(fake.msi.address_lo, 0xfee2a004);
	assert_int_equal(fake.msi.address_hi, 0x300);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &far), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(route_of(gsi)->u.msi.address_lo, 0xfee2a004);
	assert_int_equal(route_of(gsi)->u.msi.address_hi, 0x300);
	/* All seven bits, and nothing else of the address. */
	far.addr = 0xfee00fe0;
	assert_int_equal(irq_send_msi(ctl, &far), 0);
	assert_int_equal(fake.msi.address_lo, 0xfee00000);
	assert_int_equal(fake.msi.address_hi, 0x7f00);
	end();
}

static void allocation(void **state)
{
	uint32_t gsi, n = 0, last = 0;

	(void)state;
	begin(IRQCHIP_SPLIT);
	while (irq_route_alloc(ctl, &gsi) == 0) {
		assert_true(n == 0 || gsi > last);
		last = gsi;
		n++;
	}
	assert_int_equal(n, KVM_IRQ_GSIS - PINS);
	assert_int_equal(irq_route_alloc(ctl, &gsi), -ENOSPC);
	irq_route_free(ctl, 100);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(gsi, 100);
	end();

	/* A KVM with a small table. */
	begin(IRQCHIP_SPLIT);
	kvm.max_routes = PINS + 2;
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_alloc(ctl, &gsi), -ENOSPC);
	end();
}

/* A freed route leaves nothing behind for the next owner. */
static void a_second_owner(void **state)
{
	uint32_t gsi, again;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, false), 0);
	irq_route_free(ctl, gsi);
	assert_int_equal(irq_route_alloc(ctl, &again), 0);
	assert_int_equal(again, gsi);
	fake.commits = 0;
	assert_int_equal(irq_irqfd(ctl, gsi, 8, true), 0);
	assert_int_equal(fake.commits, 0);
	assert_null(route_of(gsi));
	end();
}

/* What KVM refused is not taken for done. */
static void failures_leave_no_false_memory(void **state)
{
	uint32_t gsi;

	(void)state;
	begin(IRQCHIP_SPLIT);
	assert_int_equal(irq_route_alloc(ctl, &gsi), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	FAIL(KVM_SET_GSI_ROUTING, -ENOMEM);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), -ENOMEM);
	assert_int_equal(fake.assigns, 0);
	FAIL(KVM_SET_GSI_ROUTING, -ENOMEM); /* asked for again, also the second time */
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), -ENOMEM);
	assert_int_equal(fake.assigns, 0);
	/* Nobody reads it now, so it is not installed by others' changes... */
	assert_int_equal(irq_route_set(ctl, 16, &level), 0);
	assert_null(route_of(gsi));
	/* ... and the next try does all of it. */
	assert_int_equal(irq_irqfd(ctl, gsi, 7, true), 0);
	assert_non_null(route_of(gsi));
	assert_true(fake.routed_at_assign);

	FAIL(KVM_SET_GSI_ROUTING, -ENOMEM);
	assert_int_equal(irq_route_set(ctl, gsi, &other), -ENOMEM);
	assert_int_equal(irq_route_set(ctl, gsi, &other), 0); /* tried again, not skipped */
	assert_int_equal(route_of(gsi)->u.msi.data, 0x42);

	FAIL(KVM_IRQFD, -EBUSY);
	assert_int_equal(irq_irqfd(ctl, gsi, 9, true), -EBUSY);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, false), 0);
	assert_int_equal(irq_route_set(ctl, gsi, &edge), 0);
	assert_null(route_of(gsi)); /* the failed one is not counted */

	FAIL(KVM_IRQFD, -ENOENT);
	assert_int_equal(irq_irqfd(ctl, gsi, 7, false), -ENOENT);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(controllers),
		cmocka_unit_test(controllers_that_kvm_refuses),
		cmocka_unit_test(messages_alone_set_no_table),
		cmocka_unit_test(an_irqfd_brings_its_route_along),
		cmocka_unit_test(an_irqfd_without_a_message),
		cmocka_unit_test(two_irqfds_on_one_route),
		cmocka_unit_test(level_triggered_pins_are_routed),
		cmocka_unit_test(kvms_own_lines_stay_in_the_table),
		cmocka_unit_test(lines),
		cmocka_unit_test(messages_are_sent),
		cmocka_unit_test(destinations_above_255),
		cmocka_unit_test(allocation),
		cmocka_unit_test(a_second_owner),
		cmocka_unit_test(failures_leave_no_false_memory),
	};

	alarm(60);
	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
