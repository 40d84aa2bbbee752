/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * Edge: a line that rises on an unmasked pin sends the entry's message. On a masked pin the edge is
 * lost and not remembered, as the data sheet says and as KVM's own I/O APIC does; drivers unmask
 * before they enable their device.
 *
 * Level: while the line is asserted, the pin unmasked and Remote IRR clear, the message is sent and
 * Remote IRR set. An EOI for the vector clears Remote IRR, and if the line is still asserted it all
 * starts again. Making an entry edge-triggered clears Remote IRR as well: operating systems use
 * that as an EOI for I/O APICs without an EOI register.
 *
 * Routes: an irqfd on a pin does not come through here, so KVM has to know the pin's message. And
 * from the routes of level-triggered pins KVM learns which vectors' EOIs to report: a message is
 * therefore sent only after its route was set, and a pin that is masked while its interrupt is
 * being handled (threaded handlers do that) keeps its route until the EOI.
 */
#include "devices/legacy/ioapic.h"

#include <string.h>

#include "vmm/log.h"
#include "vmm/util.h"

/* Memory-mapped registers, 32 bits each. */
#define IOREGSEL 0x00
#define IOWIN    0x10
#define IOEOI    0x40

/* What IOREGSEL selects. */
#define REG_ID          0x00
#define REG_VERSION     0x01
#define REG_ARBITRATION 0x02
#define REG_ENTRIES     0x10 /* two for each pin, the lower half first */
#define SELECT_MASK     0x1ff

#define ID_MASK       0x0f000000
#define VERSION       0x20
#define VERSION_COUNT 16 /* shift of the last pin's number */

/* Redirection entry. */
#define RTE_VECTOR(e)   ((uint8_t)(e))
#define RTE_DELIVERY(e) ((unsigned)((e) >> 8) & 7)
#define RTE_LOGICAL(e)  ((unsigned)((e) >> 11) & 1)
#define RTE_REMOTE_IRR  BIT64(14)
#define RTE_LEVEL       BIT64(15)
#define RTE_MASKED      BIT64(16)
#define RTE_EXT_DEST(e) ((e) >> 49 & 0x7f)
#define RTE_DEST(e)     ((e) >> 56)
#define RTE_WRITABLE    UINT64_C(0xfffe00000001afff) /* neither delivery status nor Remote IRR */

enum delivery {
	DELIVERY_FIXED,
	DELIVERY_LOWEST,
	DELIVERY_SMI,
	DELIVERY_NMI = 4,
	DELIVERY_INIT,
	DELIVERY_EXTINT = 7,
};

/* MSI address and data (Intel SDM volume 3, 11.11; bits 5-11: KVM_FEATURE_MSI_EXT_DEST_ID). */
#define MSI_ADDR                UINT64_C(0xfee00000)
#define MSI_ADDR_LOGICAL_SHIFT  2
#define MSI_ADDR_EXT_DEST_SHIFT 5
#define MSI_ADDR_DEST_SHIFT     12
#define MSI_DATA_DELIVERY_SHIFT 8
#define MSI_DATA_ASSERT         BIT(14)
#define MSI_DATA_LEVEL          BIT(15)

/* Only ordinary interrupts can be level-triggered; NMI and the like have no EOI to end them. */
static bool is_level(const struct ioapic_pin *pin)
{
	return (pin->entry & RTE_LEVEL) && RTE_DELIVERY(pin->entry) <= DELIVERY_LOWEST;
}

static bool is_masked(const struct ioapic_pin *pin)
{
	return pin->entry & RTE_MASKED;
}

/* The pin's message, whether masked or not. False if its delivery mode has none. */
static bool compose(const struct ioapic_pin *pin, struct msi_message *msg)
{
	uint64_t e = pin->entry;

	switch (RTE_DELIVERY(e)) {
	case DELIVERY_FIXED:
	case DELIVERY_LOWEST:
	case DELIVERY_SMI:
	case DELIVERY_NMI:
	case DELIVERY_INIT:
		break;
	default:
		return false;
	}
	msg->addr = MSI_ADDR | RTE_DEST(e) << MSI_ADDR_DEST_SHIFT |
	            RTE_EXT_DEST(e) << MSI_ADDR_EXT_DEST_SHIFT |
	            RTE_LOGICAL(e) << MSI_ADDR_LOGICAL_SHIFT;
	msg->data = RTE_VECTOR(e) | RTE_DELIVERY(e) << MSI_DATA_DELIVERY_SHIFT;
	if (is_level(pin))
		msg->data |= MSI_DATA_LEVEL | MSI_DATA_ASSERT;
	return true;
}

/* Tell msi the pin's message if it changed. a->lock is held. */
static void update_route(struct ioapic *a, struct ioapic_pin *pin)
{
	static struct log_limit limit;
	struct msi_message msg = {0};
	bool routed = !is_masked(pin) || (pin->entry & RTE_REMOTE_IRR);
	uint32_t gsi = (uint32_t)(pin - a->pins);
	int rc;

	routed = routed && compose(pin, &msg);
	if (routed == pin->routed &&
	    (!routed || (msg.addr == pin->route.addr && msg.data == pin->route.data)))
		return;
	rc = irq_route_set(a->msi, gsi, routed ? &msg : NULL);
	if (rc < 0) {
		/* Tried again at the pin's next change; until then its EOIs may go unnoticed. */
		log_limited(&limit, LOG_WARN, "I/O APIC pin %u: setting its route: %s", gsi,
		            strerror(-rc));
		return;
	}
	pin->routed = routed;
	pin->route = msg;
}

/* Whether a local APIC accepted the pin's message. a->lock is held. */
static bool deliver(struct ioapic *a, const struct ioapic_pin *pin)
{
	struct msi_message msg;

	return compose(pin, &msg) && irq_send_msi(a->msi, &msg) > 0;
}

/* Send a level-triggered pin's message if it is time. a->lock is held. */
static void service_level(struct ioapic *a, struct ioapic_pin *pin)
{
	if (!is_level(pin) || !pin->asserted || is_masked(pin) || (pin->entry & RTE_REMOTE_IRR))
		return;
	/* No EOI ends a message that each local APIC refused: Remote IRR stays clear, so that the
	 * next event of the pin (its line is set, its entry is written) sends the message again. */
	if (deliver(a, pin))
		pin->entry |= RTE_REMOTE_IRR;
}

void ioapic_set_line(struct ioapic *a, uint32_t gsi, bool asserted)
{
	struct ioapic_pin *pin;
	bool rises;

	if (gsi >= a->nr_pins)
		return;
	pin = &a->pins[gsi];
	pthread_mutex_lock(&a->lock);
	rises = asserted && !pin->asserted;
	pin->asserted = asserted;
	if (is_level(pin))
		service_level(a, pin);
	else if (rises && !is_masked(pin))
		deliver(a, pin);
	pthread_mutex_unlock(&a->lock);
}

/* a->lock is held. */
static void eoi(struct ioapic *a, uint8_t vector)
{
	for (unsigned i = 0; i < a->nr_pins; i++) {
		struct ioapic_pin *pin = &a->pins[i];

		if (RTE_VECTOR(pin->entry) != vector || !(pin->entry & RTE_REMOTE_IRR))
			continue;
		pin->entry &= ~RTE_REMOTE_IRR;
		update_route(a, pin);
		service_level(a, pin);
	}
}

void ioapic_eoi(struct ioapic *a, uint8_t vector)
{
	pthread_mutex_lock(&a->lock);
	eoi(a, vector);
	pthread_mutex_unlock(&a->lock);
}

static void write_entry(struct ioapic *a, struct ioapic_pin *pin, bool upper, uint32_t value)
{
	uint64_t half = upper ? UINT64_C(0xffffffff) << 32 : UINT64_C(0xffffffff);
	uint64_t bits = upper ? (uint64_t)value << 32 : value;
	uint64_t changes = half & RTE_WRITABLE;

	pin->entry = (pin->entry & ~changes) | (bits & changes);
	if (!is_level(pin))
		pin->entry &= ~RTE_REMOTE_IRR;
	update_route(a, pin);
	service_level(a, pin);
}

/* The pin whose entry IOREGSEL selects, or NULL. */
static struct ioapic_pin *selected_pin(struct ioapic *a)
{
	unsigned nr = (a->select - REG_ENTRIES) / 2;

	return a->select >= REG_ENTRIES && nr < a->nr_pins ? &a->pins[nr] : NULL;
}

static uint32_t read_window(struct ioapic *a)
{
	const struct ioapic_pin *pin = selected_pin(a);

	if (pin)
		return (uint32_t)(a->select & 1 ? pin->entry >> 32 : pin->entry);
	switch (a->select) {
	case REG_ID:
	case REG_ARBITRATION:
		return a->id;
	case REG_VERSION:
		return VERSION | (a->nr_pins - 1) << VERSION_COUNT;
	default:
		return 0;
	}
}

static void write_window(struct ioapic *a, uint32_t value)
{
	struct ioapic_pin *pin = selected_pin(a);

	if (pin)
		write_entry(a, pin, a->select & 1, value);
	else if (a->select == REG_ID)
		a->id = value & ID_MASK;
}

static uint64_t ioapic_read(void *opaque, uint64_t offset, unsigned size)
{
	struct ioapic *a = opaque;
	uint32_t value = 0;

	(void)size; /* a narrow access gets the low bytes */
	pthread_mutex_lock(&a->lock);
	if (offset == IOREGSEL)
		value = a->select;
	else if (offset == IOWIN)
		value = read_window(a);
	pthread_mutex_unlock(&a->lock);
	return value;
}

static void ioapic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	struct ioapic *a = opaque;

	(void)size; /* the bytes that a narrow access does not have are 0 */
	pthread_mutex_lock(&a->lock);
	if (offset == IOREGSEL)
		a->select = value & SELECT_MASK;
	else if (offset == IOWIN)
		write_window(a, (uint32_t)value);
	else if (offset == IOEOI)
		eoi(a, (uint8_t)value);
	pthread_mutex_unlock(&a->lock);
}

static const struct bus_ops ioapic_ops = {
	.read = ioapic_read,
	.write = ioapic_write,
};

void ioapic_init(struct ioapic *a, unsigned pins, struct irq_controller *msi)
{
	memset(a, 0, sizeof(*a));
	a->region.name = "ioapic";
	a->region.size = IOAPIC_SIZE;
	a->region.ops = &ioapic_ops;
	a->region.opaque = a;
	a->msi = msi;
	a->nr_pins = pins < IOAPIC_PINS_MAX ? pins : IOAPIC_PINS_MAX;
	pthread_mutex_init(&a->lock, NULL);
	ioapic_reset(a);
}

int ioapic_add(struct ioapic *a, struct bus *mmio, uint64_t base)
{
	return bus_add(mmio, &a->region, base);
}

void ioapic_reset(struct ioapic *a)
{
	pthread_mutex_lock(&a->lock);
	a->id = 0;
	a->select = 0;
	for (unsigned i = 0; i < a->nr_pins; i++) {
		a->pins[i].entry = RTE_MASKED;
		update_route(a, &a->pins[i]);
	}
	pthread_mutex_unlock(&a->lock);
}

void ioapic_destroy(struct ioapic *a)
{
	if (!a->msi)
		return;
	pthread_mutex_destroy(&a->lock);
	a->msi = NULL;
}
