/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/legacy/pvpanic.h"

#include "vmm/log.h"
#include "vmm/util.h"

/* The specification's bits, both for what is supported (read) and what happened (write). */
#define PVPANIC_PANICKED    BIT(0) /* the host is to act on it */
#define PVPANIC_CRASHLOADED BIT(1) /* the guest acts itself (kdump); the host only reports it */

static uint64_t pvpanic_read(void *opaque, uint64_t offset, unsigned size)
{
	(void)opaque, (void)offset, (void)size;
	return PVPANIC_PANICKED | PVPANIC_CRASHLOADED;
}

static void pvpanic_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	static struct log_limit limit;
	struct pvpanic *p = opaque;

	(void)offset, (void)size;
	if (value & PVPANIC_CRASHLOADED)
		log_limited(&limit, LOG_WARN,
		            "the guest's kernel panicked and runs its crash kernel");
	if (value & PVPANIC_PANICKED)
		guest_event_raise(&p->sink, GUEST_PANIC);
}

static const struct bus_ops pvpanic_ops = {
	.read = pvpanic_read,
	.write = pvpanic_write,
};

void pvpanic_init(struct pvpanic *p, const struct guest_event_sink *sink)
{
	*p = (struct pvpanic){
		.region = {.name = "pvpanic", .size = 1, .ops = &pvpanic_ops, .opaque = p},
		.sink = *sink,
	};
}

int pvpanic_add(struct pvpanic *p, struct bus *pio, uint16_t port)
{
	return bus_add(pio, &p->region, port);
}
