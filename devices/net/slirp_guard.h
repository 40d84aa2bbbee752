/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * slirp_guard: frames that libslirp must not be given. CVE-2026-9539: it believes the urgent
 * pointer of a TCP segment, and sends the host's program that many bytes, of which the guest sent
 * only some: the others are memory of this process. Any thread.
 */
#ifndef TRIVM_DEVICES_NET_SLIRP_GUARD_H
#define TRIVM_DEVICES_NET_SLIRP_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * May libslirp have this frame, Ethernet header first? Not if it is TCP with URG, or a fragment of
 * TCP, which libslirp would put together, or TCP of which not the whole fixed header is there.
 */
bool slirp_guard_passes(const uint8_t *frame, size_t len);

#endif
