/* SPDX-License-Identifier: BSD-2-Clause */
/* device_access: what lets this user open a device node that he may not open. */
#ifndef TRIVM_VMM_DEVICE_ACCESS_H
#define TRIVM_VMM_DEVICE_ACCESS_H

#include <stddef.h>

/*
 * The command that helps, by the node's group and mode: to join a group that may read and write,
 * else an entry for the user. @buf is returned. Main thread.
 */
const char *device_access_remedy(const char *path, char *buf, size_t size);

#endif
