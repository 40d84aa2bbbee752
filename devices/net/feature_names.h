/* SPDX-License-Identifier: BSD-2-Clause */
/* feature_names: the features of a NIC's datapath by their names, for messages. */
#ifndef TRIVM_DEVICES_NET_FEATURE_NAMES_H
#define TRIVM_DEVICES_NET_FEATURE_NAMES_H

#include <stddef.h>
#include <stdint.h>

/* "MRG_RXBUF, RING_PACKED": those in @mask, as far as they fit. Returns @buf. Any thread. */
const char *net_feature_names(uint64_t mask, char *buf, size_t size);

#endif
