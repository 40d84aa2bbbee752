/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * host_memory: how much memory the host can give to this process before its kernel kills one. Any
 * thread; reads /proc and /sys.
 */
#ifndef TRIVM_VMM_HOST_MEMORY_H
#define TRIVM_VMM_HOST_MEMORY_H

#include <stdint.h>

/*
 * The least of: what /proc/meminfo has as available, with free swap; and the limits of this process's
 * memory cgroup and those above it (cgroup v2 and v1). In bytes; UINT64_MAX if neither is known.
 * *@what names what is the least, for a message. @root goes before each path: "" but in tests.
 */
uint64_t host_memory_available(const char *root, const char **what);

#endif
