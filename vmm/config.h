/* SPDX-License-Identifier: BSD-2-Clause */
/* config: what `trivm run` was asked for. Strings are borrowed from argv. */
#ifndef TRIVM_VMM_CONFIG_H
#define TRIVM_VMM_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "arch/x86/boot.h"
#include "vmm/console_host.h"
#include "vmm/disk_options.h"
#include "vmm/err.h"
#include "vmm/kvm_irq.h"
#include "vmm/net_options.h"
#include "vmm/virtio_options.h"

#define CONFIG_MEMORY_MIN MIB(2)
#define CONFIG_MEMORY_MAX GIB(512)
#define CONFIG_CPUS_MAX   4096
#define CONFIG_NICS_MAX   8
#define CONFIG_DISKS_MAX  16

enum on_reset {
	ON_RESET_EXIT,
	ON_RESET_REBOOT,
};

struct config {
	const char *kernel; /* NULL: the default guest */
	const char *initrd;
	const char *cmdline; /* -p as given, NULL: none */
	const char *exec;    /* one shell command for the default guest */
	const char *name;    /* NULL: trivm-PID */
	const char *control; /* path of the control socket, "none", NULL: by the name */
	const char *dump_fdt;
	const char *pid_file, *log_file; /* NULL: none; a daemon's log has a place of its own */
	bool serial_socket; /* the serial console is on a socket, not on stdin and stdout */
	const char *kvm_path;
	unsigned cpus;
	uint64_t memory; /* bytes */
	enum boot_protocol boot;
	enum irqchip irqchip;
	enum on_reset on_reset;
	/* Switches: how often each was given. */
	unsigned daemonize;
	unsigned nested; /* the guest may use the host's virtualization extensions */
	unsigned hugepages, prealloc, fdt, test_device, verbose, help;
	bool rng; /* an entropy device, and where */
	struct virtio_options rng_options;
	struct console_options console;
	uint32_t vsock_cid; /* 0: no socket device */
	struct virtio_options vsock_options;
	unsigned no_kvm_check; /* run a Linux kernel even where this KVM cannot */

	unsigned nr_nics, nr_disks;
	/* Last, since they are large: what is not counted yet is not initialized. */
	struct net_options nics[CONFIG_NICS_MAX];
	struct disk_options disks[CONFIG_DISKS_MAX];
};

/* What holds without options. */
void config_default(struct config *config);

/*
 * The options of `trivm run` from @argv (without the program and command names). Errors name the
 * option, its value, and what was expected. Main thread.
 */
int config_parse(struct config *config, int argc, char **argv, struct err *err);

/* The list of options, for --help; and, a word a line, for shell completion. */
void config_print_help(FILE *out);
void config_print_words(FILE *out);

/* "512", "512M", "5G", "64K": bytes. A number without a unit is MiB. -EINVAL, -ERANGE (wraps). */
int parse_size(const char *text, uint64_t *bytes);

#endif
