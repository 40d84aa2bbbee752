/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_path: where the sockets of running VMs are, and how a socket is put there so that two VMs
 * of one name cannot be, and that what a crashed one left is told from what lives.
 *
 *	$XDG_RUNTIME_DIR/trivm/ or, without one of ours, /tmp/trivm-UID/	mode 0700
 *		NAME.sock	the control socket (control.h)
 *		NAME.console	a daemon's console (console.h)
 *		NAME.log	a daemon's log
 */
#ifndef TRIVM_VMM_CONTROL_PATH_H
#define TRIVM_VMM_CONTROL_PATH_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "vmm/err.h"

#define CONTROL_PATH_MAX sizeof(((struct sockaddr_un *)0)->sun_path)
#define CONTROL_NAME_MAX 64

/* Can it be a VM's name? 1 to 64 bytes, no '/', no control characters, no '.' or '-' in front. */
bool control_name_valid(const char *name);

/*
 * The directory, in @buf. @make: create it if it is not there. It has to be ours and closed to
 * others, or -EACCES. -ENOENT: it is not there.
 */
int control_dir(char buf[CONTROL_PATH_MAX], bool make, struct err *err);

/* "DIR/NAME.SUFFIX". -ENAMETOOLONG: a socket's path has no more than 107 bytes. */
int control_path(char path[CONTROL_PATH_MAX], const char *name, const char *suffix, bool make,
                 struct err *err);

/* A listening socket, and the place where it was put. */
struct control_listener {
	int fd;
	char path[CONTROL_PATH_MAX];
	struct stat bound;
};

/*
 * A Unix stream socket at @path, mode 0600, non-blocking, that listens from the first moment in
 * which it can be found. What a process that is gone has left there is replaced; -EADDRINUSE: a
 * living one listens there; -EEXIST: something else than a socket.
 */
int control_listen(struct control_listener *l, const char *path, struct err *err);

/* Close it, and remove it from where it was put if it is still there. Idempotent with fd -1. */
void control_unlisten(struct control_listener *l);

/* Connect to @path; a blocking descriptor, or -errno: -ENOENT, -ECONNREFUSED (nobody listens). */
int control_connect(const char *path);

/* Call @fn for each VM with a living socket, sorted by name; remove what others left. */
int control_each(void (*fn)(void *opaque, const char *name, const char *path), void *opaque,
                 struct err *err);

#endif
