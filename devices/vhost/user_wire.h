/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * user_wire: vhost-user's messages and how they travel (QEMU's docs/interop/vhost-user.rst, named
 * "the protocol" below). Both ends use it: trivm, which is the front-end, and trivm-switch, which
 * is a back-end. It says nothing about the order of messages; it only sees to it that what comes
 * out of a socket is one whole message of a bounded size, with a bounded number of descriptors.
 *
 * A message is a header of 12 bytes, a payload of header.size bytes, and up to 8 descriptors. All
 * numbers are in the host's byte order, as the protocol says: the two sides share memory, so they
 * are on one host.
 */
#ifndef TRIVM_DEVICES_VHOST_USER_WIRE_H
#define TRIVM_DEVICES_VHOST_USER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VU_FDS_MAX     8
#define VU_REGIONS_MAX 8   /* of one VU_SET_MEM_TABLE */
#define VU_CONFIG_MAX  256 /* bytes of config space in one message */

/* struct vu_msg flags */
#define VU_VERSION      1
#define VU_VERSION_MASK 3
#define VU_REPLY        4 /* it answers a request */
#define VU_NEED_REPLY   8 /* with VU_PROTOCOL_REPLY_ACK: answer when it is done */

/* The virtio feature bit by which a back-end says that it knows protocol features. */
#define VU_F_PROTOCOL_FEATURES 30

/* Protocol features: bit numbers. */
enum vu_protocol_feature {
	VU_PROTOCOL_MQ = 0,
	VU_PROTOCOL_LOG_SHMFD = 1,
	VU_PROTOCOL_RARP = 2,
	VU_PROTOCOL_REPLY_ACK = 3,
	VU_PROTOCOL_MTU = 4,
	VU_PROTOCOL_BACKEND_REQ = 5,
	VU_PROTOCOL_CROSS_ENDIAN = 6,
	VU_PROTOCOL_CRYPTO_SESSION = 7,
	VU_PROTOCOL_PAGEFAULT = 8,
	VU_PROTOCOL_CONFIG = 9,
	VU_PROTOCOL_BACKEND_SEND_FD = 10,
	VU_PROTOCOL_HOST_NOTIFIER = 11,
	VU_PROTOCOL_INFLIGHT_SHMFD = 12,
	VU_PROTOCOL_RESET_DEVICE = 13,
	VU_PROTOCOL_INBAND_NOTIFICATIONS = 14,
	VU_PROTOCOL_CONFIGURE_MEM_SLOTS = 15,
	VU_PROTOCOL_STATUS = 16,
};

/* Requests of the front-end. */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4, /* not used any more; a back-end ignores it or disables the rings */
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_NET_SET_MTU = 20,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_IOTLB_MSG = 22,
	VU_SET_VRING_ENDIAN = 23,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_RESET_DEVICE = 34,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
};

/* Requests of the back-end, on the socket of VU_SET_BACKEND_REQ_FD. */
enum vu_backend_request {
	VU_BACKEND_IOTLB_MSG = 1,
	VU_BACKEND_CONFIG_CHANGE = 2,
	VU_BACKEND_HOST_NOTIFIER = 3,
	VU_BACKEND_VRING_CALL = 4,
	VU_BACKEND_VRING_ERR = 5,
};

/* --- Payloads --- */

struct vu_state {
	uint32_t index, num;
};

struct vu_addr {
	uint32_t index, flags;      /* flags: VHOST_VRING_F_LOG */
	uint64_t desc, used, avail; /* user addresses: of the front-end's, as in the regions */
	uint64_t log;
};

struct vu_region {
	uint64_t gpa, size, user_addr, mmap_offset;
};

struct vu_memory {
	uint32_t nr, padding;
	struct vu_region regions[VU_REGIONS_MAX]; /* only the first nr travel */
};

struct vu_memory_region { /* VU_ADD_MEM_REG, VU_REM_MEM_REG */
	uint64_t padding;
	struct vu_region region;
};

struct vu_log {
	uint64_t size, offset;
};

struct vu_config {
	uint32_t offset, size, flags;
	uint8_t data[VU_CONFIG_MAX]; /* only the first size travel */
};

struct vu_inflight {
	uint64_t mmap_size, mmap_offset;
	uint16_t nr_queues, queue_size;
	uint32_t padding; /* not in the text, but peers send it: what C makes of the struct */
};

/* VU_SET_VRING_KICK, _CALL, _ERR: the ring, or'ed with this when no descriptor comes along. */
#define VU_VRING_INDEX 0xffu
#define VU_VRING_NO_FD 0x100u

union vu_payload {
	uint64_t u64;
	struct vu_state state;
	struct vu_addr addr;
	struct vu_memory memory;
	struct vu_memory_region region;
	struct vu_log log;
	struct vu_config config;
	struct vu_inflight inflight;
};

struct vu_msg {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, in bytes */
	union vu_payload p;
} __attribute__((packed, aligned(4)));

#define VU_HEADER offsetof(struct vu_msg, p)

/* --- The inflight region ("Inflight I/O tracking"), for each queue one of these --- */

#define VU_INFLIGHT_VERSION 1

struct vu_inflight_split_desc {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next;
	uint64_t counter;
};

struct vu_inflight_split {
	uint64_t features;
	uint16_t version; /* 0: not initialised by a back-end yet */
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct vu_inflight_split_desc desc[];
};

struct vu_inflight_packed_desc {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next, last, num;
	uint64_t counter;
	uint16_t id, flags;
	uint32_t len;
	uint64_t addr;
};

struct vu_inflight_packed {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head, old_free_head;
	uint16_t used_idx, old_used_idx;
	uint8_t used_wrap, old_used_wrap;
	uint8_t padding[7];
	struct vu_inflight_packed_desc desc[];
};

/* --- What a request has to look like --- */

/* The name of a front-end's request, for logs; "?" for one that is not in the table. Static. */
const char *vu_request_name(uint32_t request);

/*
 * Are payload size and number of descriptors such as this request of a front-end may have? Checks
 * the counts inside VU_SET_MEM_TABLE, VU_GET_CONFIG and VU_SET_CONFIG, too. 0; -EOPNOTSUPP: not a
 * request of the table above; -EPROTO: it is, but malformed. Any thread.
 */
int vu_request_check(const struct vu_msg *msg, unsigned nr_fds);

/* --- Travelling. The socket may be blocking or not; it is used as if it were not. --- */

/* CLOCK_MONOTONIC in milliseconds, @ms from now: what the functions below take as @deadline. */
int64_t vu_deadline(unsigned ms);

/*
 * One whole message, with @nr_fds (at most VU_FDS_MAX) descriptors, which stay the caller's.
 * msg->size bytes of payload are sent. @deadline 0: do not wait at all. 0; -ETIMEDOUT: the peer
 * does not read; -EPIPE and others: it is gone (no signal). After an error the stream is cut
 * somewhere: close it. Any thread, one at a time for a socket.
 */
int vu_send(int fd, const struct vu_msg *msg, const int *fds, unsigned nr_fds, int64_t deadline);

/* A message on its way in. Zero-initialised by vu_rx_init(); owns the descriptors in it. */
struct vu_rx {
	struct vu_msg msg;
	size_t got; /* bytes of msg */
	unsigned nr_fds;
	int fds[VU_FDS_MAX];
	bool takes_no_fds; /* vu_rx_init_plain() */
	bool had_fds;      /* with takes_no_fds: some came, and the kernel dropped them */
	/*
	 * Closes a descriptor that the peer sent and nobody took; NULL: fd_close(). close() can wait
	 * for the peer. Set after vu_rx_init(), which vu_rx_reset() leaves alone.
	 */
	void (*close_fd)(void *opaque, int *fd);
	void *opaque;
};

void vu_rx_init(struct vu_rx *rx);

/*
 * For who has no use for a peer's descriptors: they never become this process'. A descriptor can be
 * a file of a file system in user space whose server does not answer, and then whoever closes it,
 * be it by ending, waits for that server. (Dropped by the kernel before it has a number, it is not
 * flushed.)
 */
void vu_rx_init_plain(struct vu_rx *rx);

/* Close what nobody took and be ready for the next message. Idempotent. */
void vu_rx_reset(struct vu_rx *rx);

/* Take descriptor @i out; it is the caller's then. -1 if it did not come or was taken. */
int vu_rx_take_fd(struct vu_rx *rx, unsigned i);

/*
 * Read what is there without waiting, never past the end of one message. 1: the message is whole
 * (look, then vu_rx_reset()); 0: not yet, call again when the socket is readable; -ENODATA: closed
 * between two messages; -ECONNRESET: closed within one; -EPROTO: wrong version, or more than 8
 * descriptors; -EMSGSIZE: a payload larger than any that the protocol has. After an error @rx is
 * reset and the socket is to be closed. Descriptors are CLOEXEC.
 *
 * For an event loop: a peer that stops in the middle of a message costs nothing but its own rx.
 */
int vu_rx_step(struct vu_rx *rx, int fd);

/*
 * Wait for one whole message. 0, or vu_rx_step()'s errors; or -ETIMEDOUT: what has come of it stays
 * in @rx, and this or vu_rx_step() can go on with it.
 */
int vu_recv(int fd, struct vu_rx *rx, int64_t deadline);

#endif
