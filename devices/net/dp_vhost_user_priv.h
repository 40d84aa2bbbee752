/* SPDX-License-Identifier: BSD-2-Clause */
/* dp_vhost_user_priv: what its two halves share: the datapath's calls, and its thread. */
#ifndef TRIVM_DEVICES_NET_DP_VHOST_USER_PRIV_H
#define TRIVM_DEVICES_NET_DP_VHOST_USER_PRIV_H

#include <pthread.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "devices/net/dp_vhost_user.h"
#include "devices/vhost/user.h"
#include "vmm/log.h"
#include "vmm/loop.h"

#define RINGS_MAX (2 * VHOST_USER_PAIRS_MAX)

struct dp_user;

struct dp_user_ring {
	struct dp_user *d;
	/* d->lock: */
	bool runs;            /* for the NIC, whether there is a back-end or not */
	bool lost;            /* the back-end went away with it: vr.base is not true */
	struct vhost_ring vr; /* of the ring that runs */
	struct loop_source err;
	int err_fd;
};

/* A back-end that was given rings, has not given them back, and is not spoken with any more. */
struct dp_user_part {
	uint64_t held; /* d->lock: the rings: mask; not 0: d->user is FAILED or OFF */
	/* d->lock for writing: the thread's. */
	bool going; /* the connection has moved here */
	bool eof;   /* the back-end has closed it */
	bool unsound;
	bool reported; /* report_lock: what the NIC was told last */
	int fd;        /* -1: closed */
	struct vu_peer peer;
	struct vu_rx rx;
	struct loop_source conn, ended;
};

struct dp_user {
	struct datapath dp;
	/* Constant after creation. */
	struct datapath_vhost_user_config config;
	struct sockaddr_un addr;
	struct stat bound; /* server: the file that stands for the name */
	uint64_t has;      /* features that the NIC offers because the back-end has them */
	bool thread_started;
	pthread_t thread;

	/*
	 * Held while the NIC is told of the carrier: only ever taken without the others, and before
	 * the NIC's. Then the NIC's lock, then d->lock.
	 */
	pthread_mutex_t report_lock;
	struct datapath_host watcher; /* report_lock; carrier NULL: none */
	bool reported;                /* report_lock: what it was told last */

	pthread_mutex_t lock; /* the rest, but for the thread's own */
	int asking;           /* see set_asking(); -1: none */
	struct vhost_user user;
	struct dp_user_part part;
	bool is_setup;
	bool live;        /* the rings with which the driver begins were all started */
	bool enable_late; /* before that: some of them have still to be enabled */
	uint64_t negotiated;
	uint64_t offloads; /* NET_GUEST_OFFLOADS that the driver accepts now */
	unsigned pairs;    /* that the driver uses */
	bool plugged;      /* the NIC's end of the link */
	bool far_link;     /* the back-end's */
	const struct memory *mem;
	struct datapath_host host;
	struct dp_user_ring rings[RINGS_MAX];
	struct log_limit limit;

	/* The thread's; before it starts, and after its end, the main thread's. */
	struct loop loop;
	struct loop_source conn, req, listen, retry;
	int listen_fd, retry_fd;
	unsigned retry_ms;
};

/* --- dp_vhost_user.c --- */

/*
 * A back-end is there (vhost_user_attach() succeeded): judge its features, and let it go on with
 * the rings that run. On an error it is FAILED or has to be detached. d->lock is held.
 */
int dp_user_resume(struct dp_user *d, struct err *err);

/*
 * The back-end is not to be used any more: find out where its rings stand and tell the driver of
 * what it may have missed. Idempotent. d->lock is held.
 */
void dp_user_drop(struct dp_user *d);

/* --- dp_vhost_user_part.c: on the thread of the connection --- */

/* FAILED, and d->part.held: the connection moves to d->part, unless that is over at once. d->lock
 * is held; waits for a process that is ending, half a second at most. */
void dp_user_part_begin(struct dp_user *d);
/* Is it over? Go on if so. No lock is held. Harmless if there is none. */
void dp_user_part_look(struct dp_user *d);
void dp_user_part_report(struct dp_user *d); /* tell the NIC what has changed. No lock is held. */
bool dp_user_part_over(struct dp_user *d);   /* nobody else has the rings. d->lock is held. */
void dp_user_part_end(struct dp_user *d);    /* it is over. d->lock is held; idempotent */
/* May who is at the other end of @fd have the rings? No lock is held. */
bool dp_user_part_accepts(struct dp_user *d, int fd);

/* --- dp_vhost_user_link.c --- */

/* Wait for the next back-end. On the thread of the connection. */
void dp_user_look_for_another(struct dp_user *d, unsigned at_least_ms);
/* d->user has FAILED: have the thread of the connection see to it. Any thread. */
void dp_user_wake(struct dp_user *d);

/* Listen or connect, wait for the first back-end as the user wants it, and attach it. */
int dp_user_open(struct dp_user *d, struct err *err);
/* Start the thread that looks after the connection. */
int dp_user_run(struct dp_user *d, struct err *err);
void dp_user_close(struct dp_user *d); /* idempotent; the thread has ended when it returns */

#endif
