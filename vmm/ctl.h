/* SPDX-License-Identifier: BSD-2-Clause */
/* ctl: the commands `trivm ctl` and `trivm list`: clients of the control socket. */
#ifndef TRIVM_VMM_CTL_H
#define TRIVM_VMM_CTL_H

#include "vmm/control_path.h"
#include "vmm/err.h"

/* The arguments after the command's name; returns the exit status. Main thread. */
int ctl_main(int argc, char **argv);
int list_main(int argc, char **argv);

/*
 * The control socket of the VM @name; NULL: of the only one that runs. 0 or a negative errno and
 * the sentence.
 */
int ctl_find_socket(const char *name, char path[CONTROL_PATH_MAX], struct err *err);

void ctl_help(void);  /* `trivm ctl --help`, on stdout */
void list_help(void); /* `trivm list --help` */

/* For completion: the names of running VMs, and the words of ctl, one pattern a line. */
void ctl_print_names(void);
void ctl_print_words(void);

#endif
