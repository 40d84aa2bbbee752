/* SPDX-License-Identifier: BSD-2-Clause */
/* mac: Ethernet addresses as people write them. */
#ifndef TRIVM_DEVICES_NET_MAC_H
#define TRIVM_DEVICES_NET_MAC_H

#include <stdint.h>

#include "devices/net/filter.h"

/*
 * "52:54:00:12:34:56", six numbers of one or two hexadecimal digits. -EINVAL, with @mac as it was:
 * another form, all zero, or a group address (multicast and broadcast), which no driver takes.
 */
int net_parse_mac(const char *text, uint8_t mac[NET_MAC_LEN]);

#endif
