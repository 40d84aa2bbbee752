/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * attach: the guest's console kept on a socket, for `trivm console` to come and go. What the guest
 * writes is always taken, and the last of it kept: a reader who is slow, or not there, misses
 * something (and is told so), and never makes the guest wait.
 */
#ifndef TRIVM_VMM_ATTACH_H
#define TRIVM_VMM_ATTACH_H

#include "vmm/err.h"
#include "vmm/loop.h"

#define ATTACH_KEPT        65536 /* bytes of output */
#define ATTACH_SHOWN       4096  /* of these to who comes new */
#define ATTACH_CLIENTS_MAX 4

struct attach;

/*
 * Listen at @path (control_listen()). 0 or a negative errno. Main thread, as all here. @fds: the
 * guest's end to read and to write, for a chardev; they stay ours.
 */
int attach_open(struct attach **console, struct loop *loop, const char *path, int fds[2],
                struct err *err);

/* Take what the guest has written, without the loop. NULL: nothing. */
void attach_pump(struct attach *console);

/* Readers get what they take without waiting. The chardev is gone by then. NULL: nothing. */
void attach_close(struct attach *console);

/* The command `trivm console`: the arguments after its name; the exit status. */
int console_main(int argc, char **argv);
void console_help(void);

#endif
