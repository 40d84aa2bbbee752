/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: each line counts the sources that pull it and follows the count's way from
 * and to zero. The lock is held over the change of the line itself; otherwise two threads could
 * compute "on, then off" and deliver "off, then on", and the line would be stuck.
 */
#include "devices/pci/intx.h"

#include <string.h>

void pci_intx_init(struct pci_intx *intx, struct irq_controller *ctl, const uint32_t *gsi)
{
	memset(intx, 0, sizeof(*intx));
	intx->ctl = ctl;
	memcpy(intx->gsi, gsi, sizeof(intx->gsi));
	pthread_mutex_init(&intx->lock, NULL);
}

void pci_intx_destroy(struct pci_intx *intx)
{
	pthread_mutex_destroy(&intx->lock);
}

void pci_intx_connect(struct pci_intx_source *src, struct pci_intx *intx, unsigned line)
{
	*src = (struct pci_intx_source){.intx = intx, .line = line % PCI_INTX_LINES};
}

/* Make the line follow what @src wants now. intx->lock is held. */
static void source_update(struct pci_intx_source *src)
{
	struct pci_intx *intx = src->intx;
	struct irq_line line = {.ctl = intx->ctl, .gsi = intx->gsi[src->line]};
	unsigned *drivers = &intx->drivers[src->line];
	bool drive = src->level && !src->blocked;

	if (drive == src->driving)
		return;
	src->driving = drive;
	if (drive && (*drivers)++ == 0)
		irq_line_set(&line, true);
	else if (!drive && --*drivers == 0)
		irq_line_set(&line, false);
}

void pci_intx_set(struct pci_intx_source *src, bool level)
{
	if (!src->intx)
		return;
	pthread_mutex_lock(&src->intx->lock);
	src->level = level;
	source_update(src);
	pthread_mutex_unlock(&src->intx->lock);
}

void pci_intx_block(struct pci_intx_source *src, bool blocked)
{
	if (!src->intx)
		return;
	pthread_mutex_lock(&src->intx->lock);
	src->blocked = blocked;
	source_update(src);
	pthread_mutex_unlock(&src->intx->lock);
}

bool pci_intx_level(struct pci_intx_source *src)
{
	bool level;

	if (!src->intx)
		return false;
	pthread_mutex_lock(&src->intx->lock);
	level = src->level;
	pthread_mutex_unlock(&src->intx->lock);
	return level;
}
