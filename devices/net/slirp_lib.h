/* SPDX-License-Identifier: BSD-2-Clause */
/* slirp_lib: libslirp's functions, loaded by the first port that needs them. */
#ifndef TRIVM_DEVICES_NET_SLIRP_LIB_H
#define TRIVM_DEVICES_NET_SLIRP_LIB_H

#include <pthread.h>
#include <slirp/libslirp.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "vmm/err.h"

#define SLIRP_LIB_NAME "libslirp.so.0"

/* As <slirp/libslirp.h> describes each of them, without its prefix. */
struct slirp_lib {
	/*
	 * Held around each of the calls. libslirp belongs to one thread: its clock and the address
	 * of the DNS server are globals.
	 */
	pthread_mutex_t lock;

	void *handle; /* NULL until it is loaded; this and the rest: constant afterwards */
	Slirp *(*new)(const SlirpConfig *cfg, const SlirpCb *callbacks, void *opaque);
	void (*cleanup)(Slirp *slirp);
	void (*pollfds_fill)(Slirp *slirp, uint32_t *timeout, SlirpAddPollCb add_poll,
	                     void *opaque);
	void (*pollfds_poll)(Slirp *slirp, int select_error, SlirpGetREventsCb get_revents,
	                     void *opaque);
	void (*input)(Slirp *slirp, const uint8_t *pkt, int pkt_len);
	int (*add_hostfwd)(Slirp *slirp, int is_udp, struct in_addr host_addr, int host_port,
	                   struct in_addr guest_addr, int guest_port);
	const char *(*version_string)(void);
	/* NULL before version 4.5 */
	int (*add_hostxfwd)(Slirp *slirp, const struct sockaddr *haddr, socklen_t haddrlen,
	                    const struct sockaddr *gaddr, socklen_t gaddrlen, int flags);
};

extern struct slirp_lib slirp_lib;

/* Load it from @name, unless it is there already. With slirp_lib.lock held. 0 or a negative errno.
 */
int slirp_lib_load(const char *name, struct err *err);

#endif
