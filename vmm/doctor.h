/* SPDX-License-Identifier: BSD-2-Clause */
/* doctor: the command `trivm doctor`. */
#ifndef TRIVM_VMM_DOCTOR_H
#define TRIVM_VMM_DOCTOR_H

/* Inspect the host, a line for each thing. 0: an ordinary kernel can be run; 1: not. Main thread.
 */
int doctor_main(int argc, char **argv);
void doctor_help(void);

#endif
