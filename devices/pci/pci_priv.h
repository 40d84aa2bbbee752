/* SPDX-License-Identifier: BSD-2-Clause */
/* pci_priv: what config.c, bar.c and host.c share. host->lock is held in all of these. */
#ifndef TRIVM_DEVICES_PCI_PCI_PRIV_H
#define TRIVM_DEVICES_PCI_PCI_PRIV_H

#include "devices/pci/pci.h"

/* A guest's access; @reg below 4096, @size 1, 2 or 4, within one dword. */
uint32_t pci_config_read(struct pci_device *dev, unsigned reg, unsigned size);
void pci_config_write(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value);

/* Back to the values after reset, with all that follows from it. */
void pci_config_reset(struct pci_device *dev);

/* The config space's own bytes, without hooks. */
uint32_t pci_config_get(const struct pci_device *dev, unsigned reg, unsigned size);
void pci_config_put(struct pci_device *dev, unsigned reg, unsigned size, uint32_t value);

/* The bus that BAR @n is on. */
struct bus *pci_bar_bus(const struct pci_device *dev, unsigned n);

/* Make every BAR's region follow command register and address. */
void pci_bars_update(struct pci_device *dev);

/* Write an address into BAR @n's register(s). */
void pci_bar_set_address(struct pci_device *dev, unsigned n, uint64_t addr);

/* Place the BARs of all devices; the work of pci_host_assign(). */
int pci_bars_assign(struct pci_host *host, struct err *err);

#endif
