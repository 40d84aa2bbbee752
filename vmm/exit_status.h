/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * exit_status: what `trivm run` exits with. A guest that powers off gives its own status byte,
 * which is 0 unless it stored one (with --exec: the command's). The others are away from what
 * commands usually return and from what shells add (126, 127, 128 + signal).
 */
#ifndef TRIVM_VMM_EXIT_STATUS_H
#define TRIVM_VMM_EXIT_STATUS_H

#define EXIT_USAGE       2   /* wrong options, files that cannot be used, /dev/kvm not usable */
#define EXIT_HOST        120 /* the host failed: KVM, memory, a system call */
#define EXIT_GUEST_RESET 121 /* the guest asked for a reset, and --on-reset is exit */
#define EXIT_GUEST_CRASH 122 /* triple fault, panic, or KVM could not go on with it */
#define EXIT_QUIT        123 /* Ctrl-A x, or the method quit */
#define EXIT_SIGNAL(n)   (128 + (n)) /* a second SIGTERM, SIGINT or SIGHUP */

#endif
