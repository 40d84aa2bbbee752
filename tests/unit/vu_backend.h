/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vu_backend: a vhost-user back-end for tests: a thread that answers as the protocol says, notes
 * what it was asked, and, where a test wants it, answers otherwise. It moves no packets.
 */
#ifndef TRIVM_TESTS_VU_BACKEND_H
#define TRIVM_TESTS_VU_BACKEND_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "devices/vhost/user_wire.h"
#include "vmm/fd.h"
#include "vmm/util.h"

#define VUB_LOG_MAX 512
#define VUB_RINGS   8

struct vub_ring {
	uint32_t num, base;
	struct vu_addr addr;
	bool enabled, kick, call;
};

struct vub {
	/* Set before it starts. */
	uint64_t features, protocol, pairs, slots;
	uint16_t link; /* VIRTIO_NET_S_* in its config space */
	uint32_t base_on_stop[VUB_RINGS];
	/* Handle the message itself: 1: done; 0: the usual answer; -1: end the connection. */
	int (*hook)(struct vub *b, struct vu_rx *rx);
	int hook_arg;

	int fd;
	pthread_t thread;
	bool runs;

	/* What it saw; stable while the front-end waits for nothing. */
	pthread_mutex_t lock;
	struct vu_msg log[VUB_LOG_MAX];
	unsigned fds[VUB_LOG_MAX];
	unsigned nr;
	uint64_t set_features, set_protocol, status, mtu;
	struct vu_region regions[16];
	unsigned nr_regions;
	struct vub_ring rings[VUB_RINGS];
	int req_fd, inflight_fd;
	struct vu_inflight inflight;
	bool ended;
};

#define VUB_FEATURES                                                           \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VU_F_PROTOCOL_FEATURES) |           \
	 BIT64(VIRTIO_RING_F_INDIRECT_DESC) | BIT64(VIRTIO_RING_F_EVENT_IDX) | \
	 BIT64(VIRTIO_NET_F_MRG_RXBUF) | BIT64(VIRTIO_F_RING_PACKED) |         \
	 BIT64(VIRTIO_NET_F_STATUS) | BIT64(VIRTIO_NET_F_MQ))
#define VUB_PROTOCOL                                                                     \
	(BIT64(VU_PROTOCOL_MQ) | BIT64(VU_PROTOCOL_REPLY_ACK) | BIT64(VU_PROTOCOL_MTU) | \
	 BIT64(VU_PROTOCOL_BACKEND_REQ) | BIT64(VU_PROTOCOL_CONFIG) |                    \
	 BIT64(VU_PROTOCOL_INFLIGHT_SHMFD) | BIT64(VU_PROTOCOL_RESET_DEVICE) |           \
	 BIT64(VU_PROTOCOL_CONFIGURE_MEM_SLOTS) | BIT64(VU_PROTOCOL_STATUS))

static inline void vub_init(struct vub *b)
{
	memset(b, 0, sizeof(*b));
	b->features = VUB_FEATURES;
	b->protocol = VUB_PROTOCOL;
	b->pairs = 4;
	b->slots = 32;
	b->link = VIRTIO_NET_S_LINK_UP;
	b->fd = b->req_fd = b->inflight_fd = -1;
	pthread_mutex_init(&b->lock, NULL);
}

static inline void vub_answer(struct vub *b, const struct vu_msg *to, const void *p, uint32_t size,
                              int fd)
{
	struct vu_msg m = {.request = to->request, .flags = VU_VERSION | VU_REPLY, .size = size};

	memcpy(&m.p, p, size);
	vu_send(b->fd, &m, &fd, fd >= 0, vu_deadline(5000));
}

static inline void vub_answer_u64(struct vub *b, const struct vu_msg *to, uint64_t v)
{
	vub_answer(b, to, &v, 8, -1);
}

static inline void vub_note_ring(struct vub *b, const struct vu_msg *m, unsigned nr_fds)
{
	struct vub_ring *r = &b->rings[m->p.state.index % VUB_RINGS];

	switch (m->request) {
	case VU_SET_VRING_NUM:
		r->num = m->p.state.num;
		break;
	case VU_SET_VRING_BASE:
		r->base = m->p.state.num;
		break;
	case VU_SET_VRING_ENABLE:
		r->enabled = m->p.state.num;
		break;
	case VU_SET_VRING_ADDR:
		r->addr = m->p.addr;
		break;
	case VU_SET_VRING_KICK:
		b->rings[(m->p.u64 & VU_VRING_INDEX) % VUB_RINGS].kick = nr_fds;
		break;
	case VU_SET_VRING_CALL:
		b->rings[(m->p.u64 & VU_VRING_INDEX) % VUB_RINGS].call = nr_fds;
		break;
	}
}

static inline void vub_note(struct vub *b, struct vu_rx *rx)
{
	const struct vu_msg *m = &rx->msg;

	pthread_mutex_lock(&b->lock);
	if (b->nr < VUB_LOG_MAX) {
		b->log[b->nr] = *m;
		b->fds[b->nr++] = rx->nr_fds;
	}
	switch (m->request) {
	case VU_SET_FEATURES:
		b->set_features = m->p.u64;
		break;
	case VU_SET_PROTOCOL_FEATURES:
		b->set_protocol = m->p.u64;
		break;
	case VU_SET_STATUS:
		b->status = m->p.u64;
		break;
	case VU_NET_SET_MTU:
		b->mtu = m->p.u64;
		break;
	case VU_SET_MEM_TABLE:
		b->nr_regions = m->p.memory.nr;
		memcpy(b->regions, m->p.memory.regions, b->nr_regions * sizeof(b->regions[0]));
		break;
	case VU_ADD_MEM_REG:
		b->regions[b->nr_regions++ % 16] = m->p.region.region;
		break;
	case VU_SET_BACKEND_REQ_FD:
		b->req_fd = vu_rx_take_fd(rx, 0);
		break;
	case VU_SET_INFLIGHT_FD:
		fd_close(&b->inflight_fd);
		b->inflight_fd = vu_rx_take_fd(rx, 0);
		b->inflight = m->p.inflight;
		break;
	default:
		vub_note_ring(b, m, rx->nr_fds);
	}
	pthread_mutex_unlock(&b->lock);
}

/* What a request has for an answer of its own. False: none. */
static inline bool vub_own_answer(struct vub *b, const struct vu_msg *m)
{
	struct vu_state state = m->p.state;
	struct vu_config config = m->p.config;
	struct vu_inflight inflight = m->p.inflight;
	int fd;

	switch (m->request) {
	case VU_GET_FEATURES:
		vub_answer_u64(b, m, b->features);
		return true;
	case VU_GET_PROTOCOL_FEATURES:
		vub_answer_u64(b, m, b->protocol);
		return true;
	case VU_GET_QUEUE_NUM:
		vub_answer_u64(b, m, b->pairs);
		return true;
	case VU_GET_MAX_MEM_SLOTS:
		vub_answer_u64(b, m, b->slots);
		return true;
	case VU_GET_STATUS:
		vub_answer_u64(b, m, b->status);
		return true;
	case VU_GET_VRING_BASE:
		state.num = b->base_on_stop[state.index % VUB_RINGS];
		vub_answer(b, m, &state, sizeof(state), -1);
		return true;
	case VU_GET_CONFIG:
		memcpy(config.data, &b->link, 2);
		vub_answer(b, m, &config, 14, -1);
		return true;
	case VU_GET_INFLIGHT_FD:
		fd = memfd_create("inflight", MFD_CLOEXEC);
		if (ftruncate(fd, 8192) < 0)
			abort();
		inflight.mmap_size = 8192;
		vub_answer(b, m, &inflight, sizeof(inflight), fd);
		fd_close(&fd);
		return true;
	}
	return false;
}

static inline void *vub_thread(void *arg)
{
	struct vub *b = arg;
	struct vu_rx rx;

	vu_rx_init(&rx);
	while (vu_recv(b->fd, &rx, vu_deadline(30000)) == 0) {
		int rc;

		vub_note(b, &rx);
		rc = b->hook ? b->hook(b, &rx) : 0;
		if (rc < 0)
			break;
		if (rc == 0 && !vub_own_answer(b, &rx.msg) && (rx.msg.flags & VU_NEED_REPLY))
			vub_answer_u64(b, &rx.msg, 0);
		vu_rx_reset(&rx);
	}
	vu_rx_reset(&rx);
	shutdown(b->fd, SHUT_RDWR);
	pthread_mutex_lock(&b->lock);
	b->ended = true;
	pthread_mutex_unlock(&b->lock);
	return NULL;
}

/* Serve @fd, which becomes its own. */
static inline void vub_start(struct vub *b, int fd)
{
	b->fd = fd;
	b->runs = pthread_create(&b->thread, NULL, vub_thread, b) == 0;
	assert_true(b->runs);
}

/* As if killed. What it saw stays. */
static inline void vub_stop(struct vub *b)
{
	if (b->runs) {
		shutdown(b->fd, SHUT_RDWR);
		pthread_join(b->thread, NULL);
	}
	b->runs = false;
	fd_close(&b->fd);
	fd_close(&b->req_fd);
	fd_close(&b->inflight_fd);
}

/* How often it was asked that. */
static inline unsigned vub_count(struct vub *b, uint32_t request)
{
	unsigned n = 0;

	pthread_mutex_lock(&b->lock);
	for (unsigned i = 0; i < b->nr; i++)
		n += b->log[i].request == request;
	pthread_mutex_unlock(&b->lock);
	return n;
}

/* Wait until it was asked that @n times. */
static inline void vub_wait(struct vub *b, uint32_t request, unsigned n)
{
	for (unsigned i = 0; i < 5000; i++) {
		if (vub_count(b, request) >= n)
			return;
		usleep(1000);
	}
	fail_msg("%s did not come %u times, but %u", vu_request_name(request), n,
	         vub_count(b, request));
}

static inline void vub_forget(struct vub *b)
{
	pthread_mutex_lock(&b->lock);
	b->nr = 0;
	pthread_mutex_unlock(&b->lock);
}

static inline int open_fds(void)
{
	int warm = fd_eventfd(), n = 0;
	DIR *d;

	fd_signal_shared(warm); /* which opens what it needs at its first use */
	fd_close(&warm);
	d = opendir("/proc/self/fd");

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

#endif
