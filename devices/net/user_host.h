/* SPDX-License-Identifier: BSD-2-Clause */
/* user_host: what the user network (port=user, libslirp) will not be able to do on this host. */
#ifndef TRIVM_DEVICES_NET_USER_HOST_H
#define TRIVM_DEVICES_NET_USER_HOST_H

#include <arpa/inet.h>
#include <stdbool.h>
#include <stddef.h>

#define USER_HOST_RESOLV "/etc/resolv.conf"

struct user_host {
	int resolv_error; /* 0 or an errno: the file cannot be read */
	char dns4[INET_ADDRSTRLEN];
	char dns6[INET6_ADDRSTRLEN]; /* the first of each kind; "" : none */
	bool dns_deaf;               /* dns4 is this host, and no socket listens there */
	bool ping;                   /* the guest's echo requests may leave the host */
	bool ipv6;                   /* the host has an IPv6 address besides its loopback's */
};

/* Sends nothing. @resolv: USER_HOST_RESOLV, or a test's file. Any thread. */
void user_host_look(struct user_host *h, const char *resolv);

/*
 * Will 10.0.2.3 answer the guest's questions for names? True: @buf is empty. False: @buf says why
 * not and what mends it.
 */
bool user_host_resolves(const struct user_host *h, const char *resolv, char *buf, size_t size);

#endif
