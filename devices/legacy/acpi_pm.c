/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/legacy/acpi_pm.h"

#include <string.h>

#include "devices/legacy/bytes.h"
#include "vmm/log.h"

static uint8_t read8(void *opaque, uint64_t offset)
{
	struct acpi_pm *pm = opaque;
	uint8_t value = 0;

	pthread_mutex_lock(&pm->lock);
	switch (offset) {
	case ACPI_PM_SLEEP_CONTROL:
		value = pm->sleep_type;
		break;
	case ACPI_PM_SLEEP_STATUS:
		value = pm->sleep_status;
		break;
	case ACPI_PM_EXIT_STATUS:
		value = pm->exit_status;
		break;
	case ACPI_PM_EVENT_STATUS:
		value = pm->events;
		pm->events = 0;
		break;
	}
	pthread_mutex_unlock(&pm->lock);
	return value;
}

/* True if the guest wants to be powered off. pm->lock is held. */
static bool write_sleep_control(struct acpi_pm *pm, uint8_t value)
{
	static struct log_limit limit;

	pm->sleep_type = value & ACPI_PM_SLP_TYP_MASK;
	if (!(value & ACPI_PM_SLP_EN))
		return false;
	if (pm->sleep_type >> ACPI_PM_SLP_TYP_SHIFT == ACPI_PM_SLP_TYP_S5)
		return true;
	/* The guest waits for WAK_STS after it went to sleep: wake it at once from what is not
	 * there. */
	pm->sleep_status |= ACPI_PM_WAK_STS;
	log_limited(&limit, LOG_WARN, "the guest asked for sleep type %u, which does not exist",
	            pm->sleep_type >> ACPI_PM_SLP_TYP_SHIFT);
	return false;
}

static void write8(void *opaque, uint64_t offset, uint8_t value)
{
	struct acpi_pm *pm = opaque;
	bool off = false;

	pthread_mutex_lock(&pm->lock);
	switch (offset) {
	case ACPI_PM_SLEEP_CONTROL:
		off = write_sleep_control(pm, value);
		break;
	case ACPI_PM_SLEEP_STATUS:
		pm->sleep_status &= (uint8_t)~value;
		break;
	case ACPI_PM_EXIT_STATUS:
		pm->exit_status = value;
		break;
	}
	pthread_mutex_unlock(&pm->lock);

	if (off)
		guest_event_raise(&pm->sink, GUEST_POWEROFF);
	if (offset == ACPI_PM_RESET)
		guest_event_raise(&pm->sink, GUEST_RESET);
}

static uint64_t acpi_pm_read(void *opaque, uint64_t offset, unsigned size)
{
	return bytes_read(read8, opaque, offset, size);
}

static void acpi_pm_write(void *opaque, uint64_t offset, unsigned size, uint64_t value)
{
	bytes_write(write8, opaque, offset, size, value);
}

static const struct bus_ops acpi_pm_ops = {
	.read = acpi_pm_read,
	.write = acpi_pm_write,
};

void acpi_pm_init(struct acpi_pm *pm, struct irq_line irq, const struct guest_event_sink *sink)
{
	memset(pm, 0, sizeof(*pm));
	pm->region.name = "acpi_pm";
	pm->region.size = ACPI_PM_SIZE;
	pm->region.ops = &acpi_pm_ops;
	pm->region.opaque = pm;
	pm->irq = irq;
	pm->sink = *sink;
	pthread_mutex_init(&pm->lock, NULL);
}

int acpi_pm_add(struct acpi_pm *pm, struct bus *pio, uint16_t base)
{
	return bus_add(pio, &pm->region, base);
}

void acpi_pm_reset(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->sleep_type = 0;
	pm->sleep_status = 0;
	pm->exit_status = 0;
	pm->events = 0;
	pthread_mutex_unlock(&pm->lock);
}

void acpi_pm_destroy(struct acpi_pm *pm)
{
	if (!pm->sink.raise)
		return;
	pthread_mutex_destroy(&pm->lock);
	pm->sink.raise = NULL;
}

void acpi_pm_press_power_button(struct acpi_pm *pm)
{
	pthread_mutex_lock(&pm->lock);
	pm->events |= ACPI_PM_EVENT_POWER_BUTTON;
	irq_line_pulse(&pm->irq);
	pthread_mutex_unlock(&pm->lock);
}

uint8_t acpi_pm_exit_status(struct acpi_pm *pm)
{
	uint8_t status;

	pthread_mutex_lock(&pm->lock);
	status = pm->exit_status;
	pthread_mutex_unlock(&pm->lock);
	return status;
}
