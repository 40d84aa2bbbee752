/* SPDX-License-Identifier: BSD-2-Clause */
/* port_priv: what the ports share among themselves. */
#ifndef TRIVM_DEVICES_NET_PORT_PRIV_H
#define TRIVM_DEVICES_NET_PORT_PRIV_H

#include <pthread.h>

#include "devices/net/offloads.h"
#include "devices/net/port.h"

/* The longest frame on a port without a virtio-net header: 64 KiB behind an Ethernet and VLAN
 * header. */
#define PORT_FRAME_MAX (65536 + 18)
#define PORT_FRAME_MIN 14 /* an Ethernet header */

/*
 * For a port whose wire is not a descriptor of frames: two non-blocking ends of a socket pair of
 * datagrams, fds[0] for the datapath and fds[1] for the port's thread, with as much buffer as we
 * are allowed. 0 or a negative errno (both are -1 then).
 */
int port_pair(int fds[2]);
/* As much send buffer as we may have; on a local socket it is all the buffer that there is. */
void port_big_buffer(int fd);

/* A thread that no signal is delivered to, named @name (15 characters). 0 or a negative errno. */
int port_thread(pthread_t *thread, const char *name, void *(*fn)(void *), void *arg);

#endif
