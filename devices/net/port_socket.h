/* SPDX-License-Identifier: BSD-2-Clause */
/* port_socket: what the two kinds of socket port share. */
#ifndef TRIVM_DEVICES_NET_PORT_SOCKET_H
#define TRIVM_DEVICES_NET_PORT_SOCKET_H

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "devices/net/port.h"

/* -ENAMETOOLONG, and @err says so, if @path is empty or too long. */
int socket_address(const char *path, struct sockaddr_un *addr, struct err *err);

/* 0 or a negative errno. */
int socket_connect(int fd, const struct sockaddr_un *addr);

/*
 * Bind @fd, a SOCK_... of @type, to @path. A socket that nobody answers on is replaced; anything
 * else that is there is an error. *@bound is the file that was made, for socket_unlink(), which
 * removes it unless the name is another's by now.
 */
int socket_bind(int fd, int type, const char *path, struct stat *bound, struct err *err);
void socket_unlink(const char *path, const struct stat *bound);

/*
 * connect() to @path gave @rc. 0: nobody is there yet, who may come; otherwise it is of no use to
 * wait: the negative errno, and @err says why.
 */
int socket_peer_error(const char *path, int rc, struct err *err);

/* port_stream.c */
int port_stream_open(struct port **port, const struct port_socket_config *config, struct err *err);

#endif
