/* SPDX-License-Identifier: BSD-2-Clause */
/* host: what compare needs of the machine that it runs on, and what kind of machine that is. */
#ifndef TRIVM_COMPARE_HOST_H
#define TRIVM_COMPARE_HOST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

/*
 * Move this process into a network namespace of its own, in which IPv6 is off and nothing is but
 * what compare makes, and, with privileges, into a mount namespace where debugfs is at its place.
 * Without privileges that takes a user namespace. From here on children are in there, too. The
 * error has the remedy.
 */
int host_isolate(struct err *err);

/* A folder for this run's files, in @dir of @size bytes, 80 or more. Those of runs that were killed
 * are removed. */
int host_make_dir(char *dir, size_t size, struct err *err);
void host_remove_dir(const char *dir); /* with the files in it; "": nothing */

/* A tap in this namespace with @address ("10.1.2.1/24"), up. @log: a file for ip's output. */
int host_make_tap(const char *name, const char *address, const char *log, struct err *err);

/* Is the program in PATH, or, with a '/', there? */
bool host_has_program(const char *program);

/* docs/compare.md, "host". */
json_t *host_describe(bool kvm_hardware);
bool host_is_virtual(void); /* a virtual machine itself, or emulated */

#endif
