/* SPDX-License-Identifier: BSD-2-Clause */
/* The datapath vhost-user: back-ends that come late, go, come back, and are not what they were. */
#include "tests/unit/vu_backend.h"

#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/un.h>

#include "devices/net/dp_features.h"
#include "devices/net/dp_vhost_user.h"
#include "devices/vhost/user_peer.h"
#include "vmm/log.h"

#define SIZE    MIB(2)
#define BASICS  (BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC))
#define OFFLOAD (BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VIRTIO_NET_F_GUEST_TSO4))

/*
 * The process of a back-end, which is a thread here: user_peer.c's calls. As long as it lives, the end
 * of the connection says nothing about the rings.
 */
static atomic_bool peer_lives;
static atomic_int peer_pid;

void vu_peer_find(struct vu_peer *peer, int fd)
{
	(void)fd;
	*peer = (struct vu_peer){.pid = atomic_load(&peer_pid), .pidfd = -1};
}

void vu_peer_forget(struct vu_peer *peer)
{
	*peer = (struct vu_peer){.pidfd = -1};
}

bool vu_peer_gone(const struct vu_peer *peer)
{
	(void)peer;
	return !atomic_load(&peer_lives);
}

bool vu_peer_same(const struct vu_peer *a, const struct vu_peer *b)
{
	return a->pid == b->pid && atomic_load(&peer_lives);
}

struct rig {
	char dir[32], path[64];
	struct vub b;
	int listen_fd; /* the back-end's, where it is the server */
	struct datapath_vhost_user_config config;
	struct datapath *dp;
	struct datapath_host host;
	atomic_int carrier;                /* -1: was not told */
	atomic_int carriers, broken, held; /* held: 1 held, 2 free, 0 was not told */
	struct memory mem;
	uint8_t *ram;
	int ram_fd, kick, call, fds_before;
	struct err err;
};

static void on_carrier(void *opaque, bool up)
{
	struct rig *r = opaque;

	atomic_store(&r->carrier, up);
	atomic_fetch_add(&r->carriers, 1);
}

static void on_held(void *opaque, bool held)
{
	atomic_store(&((struct rig *)opaque)->held, held ? 1 : 2);
}

static void on_broken(void *opaque, unsigned index, const char *why)
{
	struct rig *r = opaque;

	(void)why;
	atomic_store(&r->broken, (int)index + 1);
}

static int begin(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	struct mem_region ram = {.size = SIZE};

	log_set_level(LOG_ERROR);
	atomic_store(&peer_lives, false);
	atomic_store(&peer_pid, 1234);
	r->fds_before = open_fds();
	strcpy(r->dir, "/tmp/vu-test-XXXXXX");
	assert_non_null(mkdtemp(r->dir));
	snprintf(r->path, sizeof(r->path), "%s/sock", r->dir);
	vub_init(&r->b);
	r->listen_fd = -1;
	r->config = (struct datapath_vhost_user_config){
		.name = "net0", .path = r->path, .wait_s = 5, .pairs = 2, .queue_size = 256};
	r->host = (struct datapath_host){
		.carrier = on_carrier, .broken = on_broken, .held = on_held, .opaque = r};
	atomic_store(&r->carrier, -1);
	r->ram_fd = memfd_create("ram", MFD_CLOEXEC);
	assert_int_equal(ftruncate(r->ram_fd, SIZE), 0);
	r->ram = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, r->ram_fd, 0);
	assert_true(r->ram != MAP_FAILED);
	ram.fd = r->ram_fd;
	ram.host = r->ram;
	memory_init(&r->mem);
	assert_int_equal(memory_add(&r->mem, &ram), 0);
	memory_freeze(&r->mem);
	r->kick = fd_eventfd();
	r->call = fd_eventfd();
	*state = r;
	return 0;
}

static void destroy(struct rig *r)
{
	if (!r->dp)
		return;
	r->dp->ops->watch(r->dp, NULL);
	r->dp->ops->destroy(r->dp);
	r->dp = NULL;
}

static int end(void **state)
{
	struct rig *r = *state;
	int left;

	destroy(r);
	vub_stop(&r->b);
	fd_close(&r->listen_fd);
	unlink(r->path);
	assert_int_equal(rmdir(r->dir), 0); /* nothing else was left there */
	munmap(r->ram, SIZE);
	fd_close(&r->ram_fd);
	fd_close(&r->kick);
	fd_close(&r->call);
	left = open_fds() - r->fds_before;
	free(r);
	return left;
}

/* --- The back-end's side of the socket --- */

static struct sockaddr_un address(struct rig *r)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};

	strcpy(a.sun_path, r->path);
	return a;
}

static void back_end_listens(struct rig *r)
{
	struct sockaddr_un a = address(r);

	unlink(r->path);
	r->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(r->listen_fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(r->listen_fd, 4), 0);
}

static void back_end_accepts(struct rig *r)
{
	int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	assert_true(fd >= 0);
	vub_start(&r->b, fd);
}

static void back_end_connects(struct rig *r)
{
	struct sockaddr_un a = address(r);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), rc = -1;

	for (unsigned i = 0; rc < 0 && i < 5000; i++) {
		rc = connect(fd, (struct sockaddr *)&a, sizeof(a));
		if (rc < 0)
			usleep(1000);
	}
	assert_int_equal(rc, 0);
	vub_start(&r->b, fd);
}

static void *accept_one(void *arg)
{
	back_end_accepts(arg);
	return NULL;
}

static void *connect_one(void *arg)
{
	back_end_connects(arg);
	return NULL;
}

/* The NIC's datapath, with its first back-end. */
static void create(struct rig *r)
{
	pthread_t t;

	if (!r->config.server)
		back_end_listens(r);
	pthread_create(&t, NULL, r->config.server ? connect_one : accept_one, r);
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), 0);
	pthread_join(t, NULL);
	r->dp->ops->watch(r->dp, &r->host);
}

static void wait_carrier(struct rig *r, int up)
{
	for (unsigned i = 0; i < 10000 && atomic_load(&r->carrier) != up; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&r->carrier), up);
}

static void kill_back_end(struct rig *r)
{
	vub_stop(&r->b);
	wait_carrier(r, 0);
}

static void next_back_end(struct rig *r)
{
	vub_init(&r->b);
	if (r->config.server)
		back_end_connects(r);
	else
		back_end_accepts(r);
	wait_carrier(r, 1);
}

/* --- The NIC's side --- */

#define DESC(i)   (0x10000 + (i)*0x4000u)
#define DRIVER(i) (DESC(i) + 0x2000u)
#define DEVICE(i) (DESC(i) + 0x3000u)

static struct datapath_ring ring(struct rig *r, unsigned i, virtq_base_t base)
{
	return (struct datapath_ring){
		.config = {.size_max = 256,
	                   .size = 256,
	                   .enabled = true,
	                   .desc = DESC(i),
	                   .driver = DRIVER(i),
	                   .device = DEVICE(i)},
		.base = base,
		.kick_fd = r->kick,
		.call_fd = -1,
		.peer_call_fd = r->call,
	};
}

static int start(struct rig *r, unsigned i, virtq_base_t base)
{
	struct datapath_ring dr = ring(r, i, base);

	return r->dp->ops->ring_start(r->dp, i, &dr, &r->err);
}

static void set_up(struct rig *r, uint64_t negotiated)
{
	const struct datapath_ops *ops = r->dp->ops;

	assert_int_equal(ops->setup(r->dp, negotiated, &r->mem, &r->host, &r->err), 0);
	assert_int_equal(ops->set_pairs(r->dp, 1), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(
			start(r, i, virtq_base_new(negotiated & BIT64(VIRTIO_F_RING_PACKED))), 0);
	ops->started(r->dp);
}

static void set_used(struct rig *r, unsigned i, uint16_t idx)
{
	memcpy(r->ram + DEVICE(i) + 2, &idx, 2);
}

/* Packed: the first @used of @added descriptors are used, in the first round. */
static void set_packed(struct rig *r, unsigned i, unsigned added, unsigned used)
{
	struct vring_packed_desc *d = (struct vring_packed_desc *)(r->ram + DESC(i));

	for (unsigned n = 0; n < added; n++) {
		d[n].addr = 0x1000;
		d[n].len = 64;
		d[n].id = (uint16_t)n;
		d[n].flags = n < used ? 0x8080 : 0x80;
	}
}

static virtq_base_t stop(struct rig *r, unsigned i)
{
	virtq_base_t base = 0xffffffff;

	assert_int_equal(r->dp->ops->ring_stop(r->dp, i, &base), 0);
	return base;
}

static void wait_rings(struct rig *r)
{
	vub_wait(&r->b, VU_SET_VRING_ENABLE, 4);
}

/* --- Tests. Most for either side of the socket. --- */

static void from_start_to_stop(struct rig *r)
{
	create(r);
	assert_int_equal(atomic_load(&r->carrier), 1);
	assert_true(r->dp->ops->features(r->dp) & BIT64(VIRTIO_NET_F_MRG_RXBUF));
	assert_false(r->dp->ops->features(r->dp) & BIT64(VIRTIO_F_RING_PACKED)); /* not wanted */
	assert_false(r->dp->ops->features(r->dp) & BIT64(VIRTIO_NET_F_STATUS));  /* the NIC's */
	set_up(r, BASICS | BIT64(VIRTIO_NET_F_MAC));
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(r->b.rings[i].enabled, i < 2);
	assert_int_equal(r->dp->ops->set_pairs(r->dp, 2), 0);
	assert_true(r->b.rings[3].enabled);
	r->dp->ops->set_link(r->dp, false);
	assert_false(r->b.rings[0].enabled || r->b.rings[3].enabled);
	r->dp->ops->set_link(r->dp, true);
	assert_true(r->b.rings[0].enabled && r->b.rings[3].enabled);
	r->b.base_on_stop[1] = 99;
	assert_int_equal(stop(r, 1), 99);
	assert_int_equal(r->dp->ops->ring_stop(r->dp, 1, &(virtq_base_t){0}), -EINVAL);
	assert_int_equal(start(r, 1, 99), 0);
	assert_int_equal(r->b.rings[1].base, 99);
	assert_int_equal(start(r, 1, 99), -EINVAL);
	assert_int_equal(start(r, 4, 0), -EINVAL);
	r->dp->ops->teardown(r->dp);
	assert_int_equal(vub_count(&r->b, VU_RESET_DEVICE), 1);
	destroy(r);
	assert_int_equal(atomic_load(&r->carriers), 1);
}

/* DPDK counts the rings when it is told DRIVER_OK, at the first back-end as at the next. */
static void the_status_comes_last(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	for (unsigned i = 0; i < 3; i++) {
		const struct vu_msg *last;

		vub_wait(&r->b, VU_SET_VRING_KICK, 4);
		wait_carrier(r, 1);
		last = &r->b.log[r->b.nr - 1];
		assert_int_equal(last->request, VU_SET_STATUS);
		assert_int_equal(last->p.u64, 15);
		assert_int_equal(vub_count(&r->b, VU_SET_STATUS), 3);
		if (i == 1) { /* anew, with features that change */
			r->dp->ops->teardown(r->dp);
			vub_forget(&r->b);
			set_up(r, BASICS);
		} else {
			kill_back_end(r);
			next_back_end(r);
		}
	}
}

static void as_client(void **state)
{
	from_start_to_stop(*state);
}

static void as_server(void **state)
{
	struct rig *r = *state;

	r->config.server = true;
	from_start_to_stop(r);
	assert_int_equal(access(r->path, F_OK), -1);
}

static void rings_go_on_with_the_next_one(struct rig *r, bool packed)
{
	r->config.packed = packed;
	create(r);
	set_up(r, BASICS | (packed ? BIT64(VIRTIO_F_RING_PACKED) : 0));
	wait_rings(r);
	for (unsigned i = 0; i < 5; i++) {
		uint32_t used = 10 + 3 * i;

		fd_drain(r->call);
		if (packed)
			set_packed(r, 1, used + 4, used);
		else
			set_used(r, 1, (uint16_t)used);
		kill_back_end(r);
		assert_true(fd_drain(r->call) >= 4); /* one for each ring */
		fd_drain(r->kick);
		next_back_end(r);
		wait_rings(r);
		assert_int_equal(r->b.rings[1].base, packed ? (used | 0x8000) * 0x10001u : used);
		assert_int_equal(r->b.rings[0].base, virtq_base_new(packed));
		assert_true(r->b.rings[0].enabled && !r->b.rings[2].enabled);
		assert_true(fd_drain(r->kick) >= 1); /* what was notified meanwhile */
		assert_int_equal(r->b.nr_regions, 1);
	}
}

static void split_rings_go_on(void **state)
{
	rings_go_on_with_the_next_one(*state, false);
}

static void packed_rings_go_on(void **state)
{
	rings_go_on_with_the_next_one(*state, true);
}

static void split_rings_go_on_at_a_server(void **state)
{
	struct rig *r = *state;

	r->config.server = true;
	rings_go_on_with_the_next_one(r, false);
}

/* A batch that was cut off is completed, unless the next one has the notes of the last. */
static void an_unfinished_batch(void **state)
{
	struct rig *r = *state;
	struct vring_packed_desc *d = (struct vring_packed_desc *)(r->ram + DESC(1));

	r->config.packed = true;
	create(r);
	set_up(r, BASICS | BIT64(VIRTIO_F_RING_PACKED));
	set_packed(r, 1, 8, 4);
	d[0].flags = 0x80; /* would have been the last one to be written */
	kill_back_end(r);
	next_back_end(r);
	wait_rings(r);
	assert_int_equal(vub_count(&r->b, VU_GET_INFLIGHT_FD), 0); /* it has the last one's */
	assert_int_equal(d[0].flags, 0x80);
	kill_back_end(r);
	fd_drain(r->call);
	stop(r, 1); /* now it is nobody's, and the notes are not true any more */
	assert_int_equal(d[0].flags, 0x8080);
	assert_int_equal(fd_drain(r->call), 1);
	assert_int_equal(start(r, 1, 0x80048004), 0);
	d[0].flags = 0x80;
	next_back_end(r);
	wait_rings(r);
	assert_int_equal(vub_count(&r->b, VU_GET_INFLIGHT_FD), 1);
	assert_int_equal(r->b.rings[1].base, 0x80048004);
	/* One without such a region. */
	kill_back_end(r);
	vub_init(&r->b);
	r->b.protocol &= ~BIT64(VU_PROTOCOL_INFLIGHT_SHMFD);
	back_end_accepts(r);
	wait_carrier(r, 1);
	wait_rings(r);
	assert_int_equal(d[0].flags, 0x8080);
	assert_int_equal(r->b.rings[1].base, 0x80048004);
}

static void what_happens_meanwhile_is_noted(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	set_used(r, 0, 5);
	set_used(r, 1, 6);
	kill_back_end(r);
	/* One ring stops and starts, another stops, the link is pulled and plugged. */
	assert_int_equal(stop(r, 0), 5);
	assert_int_equal(start(r, 0, 5), 0);
	assert_int_equal(stop(r, 1), 6);
	r->dp->ops->set_link(r->dp, false);
	assert_int_equal(r->dp->ops->set_pairs(r->dp, 2), 0);
	next_back_end(r);
	assert_int_equal(r->b.rings[0].base, 5);
	assert_false(r->b.rings[1].kick);
	assert_true(r->b.rings[2].kick && r->b.rings[3].kick);
	assert_false(r->b.rings[0].enabled || r->b.rings[2].enabled);
	r->dp->ops->set_link(r->dp, true);
	assert_true(r->b.rings[0].enabled && r->b.rings[2].enabled);

	/* The driver begins anew. */
	kill_back_end(r);
	r->dp->ops->teardown(r->dp);
	next_back_end(r);
	assert_int_equal(vub_count(&r->b, VU_SET_FEATURES), 0);
	set_up(r, BASICS);
	assert_int_equal(r->b.rings[0].base, 0);
}

static void a_wrong_ring_is_the_drivers_error(void **state)
{
	struct rig *r = *state;
	struct datapath_ring dr = ring(r, 0, 0);
	const struct datapath_ops *ops;

	create(r);
	ops = r->dp->ops;
	assert_int_equal(ops->setup(r->dp, BASICS, &r->mem, &r->host, NULL), 0);
	for (unsigned away = 0; away < 2; away++) {
		dr.config.desc = SIZE - 64;
		assert_int_equal(ops->ring_start(r->dp, 0, &dr, &r->err), -EINVAL);
		assert_non_null(strstr(r->err.msg, "not in guest memory"));
		dr.config.desc = DESC(0);
		dr.base = 0x10000;
		assert_int_equal(ops->ring_start(r->dp, 0, &dr, &r->err), -EINVAL);
		dr.base = 0;
		if (!away)
			kill_back_end(r);
	}
}

static int stop_at(struct vub *b, struct vu_rx *rx)
{
	return (int)rx->msg.request == b->hook_arg ? -1 : 0;
}

/* Whatever step it dies at, the driver's call succeeds, and the next back-end has it all. */
static void it_dies_in_the_middle(void **state)
{
	static const uint32_t steps[] = {VU_SET_FEATURES,     VU_ADD_MEM_REG,
	                                 VU_SET_VRING_NUM,    VU_SET_VRING_KICK,
	                                 VU_SET_VRING_ENABLE, VU_GET_INFLIGHT_FD};
	struct rig *r = *state;

	create(r);
	for (unsigned i = 0; i < ARRAY_SIZE(steps); i++) {
		r->b.hook_arg = (int)steps[i];
		r->b.hook = stop_at;
		set_up(r, BASICS);
		kill_back_end(r);
		next_back_end(r);
		wait_rings(r);
		for (unsigned n = 0; n < 4; n++)
			assert_true(r->b.rings[n].kick);
		r->dp->ops->teardown(r->dp);
	}
}

/* It accepts, as any process with a listening socket does, and hangs: nobody else waits for it. */
static void it_hangs_when_it_is_back(void **state)
{
	struct rig *r = *state;
	struct pollfd mute = {.events = POLLIN | POLLRDHUP};
	char first[12];

	create(r);
	set_up(r, BASICS);
	kill_back_end(r);
	mute.fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(mute.fd >= 0);
	assert_int_equal(recv(mute.fd, first, sizeof(first), MSG_WAITALL), sizeof(first));
	stop(r, 0);
	stop(r, 1);
	/* Had we waited for its answer, its time would be over, and the connection closed. */
	assert_int_equal(poll(&mute, 1, 0), 0);
	close(mute.fd);
	next_back_end(r);
}

static int refuse(struct vub *b, struct vu_rx *rx)
{
	if ((int)rx->msg.request != b->hook_arg)
		return 0;
	vub_answer_u64(b, &rx->msg, 1);
	return 1;
}

static void it_refuses_a_ring(void **state)
{
	struct rig *r = *state;

	create(r);
	r->b.hook_arg = VU_SET_VRING_ADDR;
	r->b.hook = refuse;
	set_up(r, BASICS);
	wait_carrier(r, 0);
	set_used(r, 0, 3);
	assert_int_equal(stop(r, 0), 0); /* nobody ever had it */
}

static void fewer_features_are_refused(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS | BIT64(VIRTIO_NET_F_MRG_RXBUF));
	kill_back_end(r);
	vub_init(&r->b);
	r->b.features &= ~BIT64(VIRTIO_NET_F_MRG_RXBUF);
	back_end_accepts(r);
	while (!r->b.ended)
		usleep(1000);
	assert_int_equal(atomic_load(&r->carrier), 0);
	assert_int_equal(vub_count(&r->b, VU_SET_FEATURES), 0);
	vub_stop(&r->b);
	/* A driver that does not want it can do with less. */
	r->dp->ops->teardown(r->dp);
	vub_init(&r->b);
	r->b.features &= ~BIT64(VIRTIO_NET_F_MRG_RXBUF);
	back_end_accepts(r);
	wait_carrier(r, 1);
	set_up(r, BASICS);
	wait_rings(r);
}

static void absent_at_first(void **state)
{
	struct rig *r = *state;

	r->config.wait_s = 0;
	r->config.packed = true;
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), 0);
	r->dp->ops->watch(r->dp, &r->host);
	assert_int_equal(atomic_load(&r->carrier), 0);
	assert_true(r->dp->ops->features(r->dp) == net_features_of_absent_backend);
	set_up(r, net_features_of_absent_backend);
	back_end_listens(r);
	next_back_end(r);
	wait_rings(r);
	assert_true(r->b.set_features ==
	            (net_features_of_absent_backend | BIT64(VU_F_PROTOCOL_FEATURES)));
}

static void nobody_comes(void **state)
{
	struct rig *r = *state;

	r->config.wait_s = 1;
	for (unsigned server = 0; server < 2; server++) {
		r->config.server = server;
		r->err.msg[0] = '\0';
		assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err),
		                 -ETIMEDOUT);
		assert_non_null(strstr(r->err.msg, "no vhost-user back-end within 1 s"));
		assert_null(r->dp);
	}
}

static void a_signal_ends_the_waiting(void **state)
{
	struct rig *r = *state;
	sigset_t set, before;
	int sig;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	kill(getpid(), SIGTERM);
	r->config.wait_s = VHOST_USER_WAIT_FOREVER;
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), -EINTR);
	sigwait(&set, &sig);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void a_socket_that_will_never_do(void **state)
{
	struct rig *r = *state;
	int fd = open(r->path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	close(fd);
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), -ENOTSOCK);
	r->config.server = true;
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), -EEXIST);
	assert_int_equal(access(r->path, F_OK), 0); /* it is not ours to remove */
}

static void packed_rings_are_asked_for(void **state)
{
	struct rig *r = *state;
	pthread_t t;

	r->config.packed = true;
	r->b.features &= ~BIT64(VIRTIO_F_RING_PACKED);
	back_end_listens(r);
	pthread_create(&t, NULL, accept_one, r);
	assert_int_equal(datapath_vhost_user_create(&r->dp, &r->config, &r->err), -EOPNOTSUPP);
	assert_non_null(strstr(r->err.msg, "has split rings only"));
	pthread_join(t, NULL);
}

static void offloads_change_while_rings_run(void **state)
{
	struct rig *r = *state;

	r->b.features |= OFFLOAD;
	create(r);
	set_up(r, BASICS | OFFLOAD);
	assert_int_equal(r->dp->ops->set_offloads(r->dp, OFFLOAD), 0); /* as they are */
	assert_int_equal(vub_count(&r->b, VU_GET_VRING_BASE), 0);
	r->b.base_on_stop[1] = 42;
	assert_int_equal(r->dp->ops->set_offloads(r->dp, BIT64(VIRTIO_NET_F_GUEST_CSUM)), 0);
	assert_true(r->b.set_features ==
	            (BASICS | BIT64(VIRTIO_NET_F_GUEST_CSUM) | BIT64(VU_F_PROTOCOL_FEATURES)));
	assert_int_equal(vub_count(&r->b, VU_GET_VRING_BASE), 4);
	assert_int_equal(r->b.rings[1].base, 42);
	assert_int_equal(atomic_load(&r->carrier), 1);
}

static void the_far_side_has_a_link_of_its_own(void **state)
{
	struct vu_msg m = {.request = VU_BACKEND_CONFIG_CHANGE, .flags = VU_VERSION};
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	r->b.link = 0;
	assert_int_equal(vu_send(r->b.req_fd, &m, NULL, 0, vu_deadline(5000)), 0);
	wait_carrier(r, 0);
	r->b.link = VIRTIO_NET_S_LINK_UP;
	assert_int_equal(vu_send(r->b.req_fd, &m, NULL, 0, vu_deadline(5000)), 0);
	wait_carrier(r, 1);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_KICK), 4); /* it stayed connected */
}

static int keep_err(struct vub *b, struct vu_rx *rx)
{
	if (rx->msg.request == VU_SET_VRING_ERR && (rx->msg.p.u64 & VU_VRING_INDEX) == 3)
		b->hook_arg = vu_rx_take_fd(rx, 0);
	return 0;
}

static void a_broken_ring_is_reported(void **state)
{
	struct rig *r = *state;

	r->b.hook = keep_err;
	create(r);
	set_up(r, BASICS);
	fd_signal(r->b.hook_arg);
	for (unsigned i = 0; i < 5000 && !atomic_load(&r->broken); i++)
		usleep(1000);
	assert_int_equal(atomic_load(&r->broken), 3 + 1);
	fd_close(&r->b.hook_arg);
}

static void it_talks_without_being_asked(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	assert_int_equal(write(r->b.fd, "hello", 5), 5);
	wait_carrier(r, 0);
}

/* --- What a fresh back-end expects --- */

/* The place of request number @n of that kind in the log; -1: there was none. */
static int place(struct rig *r, uint32_t request, unsigned n)
{
	for (unsigned i = 0; i < r->b.nr; i++)
		if (r->b.log[i].request == request && n-- == 0)
			return (int)i;
	return -1;
}

/*
 * When a driver begins, no ring is enabled before all have their eventfds. When rings move with
 * frames in them each is enabled before it starts: a ring that starts disabled is emptied.
 */
static void when_rings_are_enabled(void **state)
{
	struct rig *r = *state;
	const struct datapath_ops *ops;

	create(r);
	ops = r->dp->ops;
	set_up(r, BASICS);
	wait_rings(r);
	assert_true(place(r, VU_SET_VRING_ENABLE, 0) > place(r, VU_SET_VRING_KICK, 3));
	assert_true(place(r, VU_SET_VRING_ENABLE, 0) > place(r, VU_SET_VRING_CALL, 3));
	assert_true(r->b.rings[0].enabled && r->b.rings[1].enabled && !r->b.rings[2].enabled);
	ops->teardown(r->dp);
	vub_forget(&r->b);
	assert_int_equal(ops->setup(r->dp, BASICS, &r->mem, &r->host, &r->err), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct datapath_ring dr = ring(r, i, 7);

		dr.moved = true;
		assert_int_equal(ops->ring_start(r->dp, i, &dr, &r->err), 0);
		assert_true(place(r, VU_SET_VRING_ENABLE, i) >= 0);
		assert_true(place(r, VU_SET_VRING_ENABLE, i) < place(r, VU_SET_VRING_KICK, i));
	}
	ops->started(r->dp);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_ENABLE), 2);
	/* A back-end that comes to rings that wait. */
	kill_back_end(r);
	next_back_end(r);
	vub_wait(&r->b, VU_SET_VRING_KICK, 2);
	assert_true(place(r, VU_SET_VRING_ENABLE, 0) < place(r, VU_SET_VRING_KICK, 0));
}

/* The last server of ring @i has suppressed notifications, in every way that there is. */
static void suppress(struct rig *r, unsigned i, bool packed)
{
	const uint16_t no_notify = 1, far = 0x5555;

	if (packed) {
		memcpy(r->ram + DEVICE(i), &far, 2);
		memcpy(r->ram + DEVICE(i) + 2, &no_notify, 2); /* DISABLE */
	} else {
		memcpy(r->ram + DEVICE(i), &no_notify, 2);
		memcpy(r->ram + DEVICE(i) + 4 + 256 * 8, &far, 2); /* avail_event */
	}
}

static void assert_notifies(struct rig *r, unsigned i, bool packed, bool event_idx, uint16_t base)
{
	uint16_t flags, event;

	memcpy(&flags, r->ram + DEVICE(i) + (packed ? 2 : 0), 2);
	memcpy(&event, r->ram + DEVICE(i) + 4 + 256 * 8, 2);
	assert_int_equal(flags, 0);
	if (!packed)
		assert_int_equal(event, event_idx ? base : 0x5555);
}

/* Whatever way a ring comes to a back-end, the driver notifies it, and it is notified once. */
static void the_driver_notifies_a_fresh_back_end(void **state)
{
	struct rig *r = *state;

	for (unsigned kind = 0; kind < 4; kind++) {
		bool packed = kind & 1, event_idx = kind & 2;
		uint64_t f = BASICS | (packed ? BIT64(VIRTIO_F_RING_PACKED) : 0) |
		             (event_idx ? BIT64(VIRTIO_RING_F_EVENT_IDX) : 0);
		virtq_base_t base = packed ? 0x80098009 : 9;

		vub_init(&r->b);
		r->b.features |= OFFLOAD;
		r->config.packed = packed;
		create(r);
		suppress(r, 1, packed);
		set_up(r, f | OFFLOAD); /* the driver begins */
		assert_notifies(r, 1, packed, event_idx, 0);
		r->b.base_on_stop[1] = base;
		assert_int_equal(stop(r, 1), base);
		suppress(r, 1, packed);
		fd_drain(r->kick);
		assert_int_equal(start(r, 1, base),
		                 0); /* a ring is reset, or comes from elsewhere */
		assert_notifies(r, 1, packed, event_idx, 9);
		assert_int_equal(fd_drain(r->kick), 1);
		suppress(r, 1, packed);
		fd_drain(r->kick);
		assert_int_equal(r->dp->ops->set_offloads(r->dp, 0), 0);
		assert_notifies(r, 1, packed, event_idx, 9);
		assert_true(fd_drain(r->kick) > 0);
		/* The next back-end, with where the ring stands read from it. */
		memset(r->ram + DESC(1), 0, 0x2000);
		if (packed)
			set_packed(r, 1, 12, 9);
		else
			set_used(r, 1, 9);
		kill_back_end(r);
		suppress(r, 1, packed);
		fd_drain(r->kick);
		vub_init(&r->b);
		r->b.features |= OFFLOAD;
		back_end_accepts(r);
		wait_carrier(r, 1);
		vub_wait(&r->b, VU_SET_VRING_KICK, 4);
		assert_notifies(r, 1, packed, event_idx, 9);
		assert_true(fd_drain(r->kick) > 0);
		destroy(r);
		vub_stop(&r->b);
		fd_close(&r->listen_fd);
	}
}

/* --- A back-end that has not given its rings back --- */

static void wait_held(struct rig *r, int told)
{
	for (unsigned i = 0; i < 10000 && atomic_load(&r->held) != told; i++)
		usleep(1000);
	assert_int_equal(atomic_load(&r->held), told);
}

static bool is_held(struct rig *r)
{
	pid_t by = 0;
	bool held = r->dp->ops->held(r->dp, &by);

	if (held)
		assert_int_equal(by, 1234);
	return held;
}

static int stop_rc(struct rig *r, unsigned i)
{
	virtq_base_t base = 0xffffffff;
	int rc = r->dp->ops->ring_stop(r->dp, i, &base);

	assert_true(rc == 0 || base == 0xffffffff);
	return rc;
}

static atomic_bool awake;

/* As if stopped by a debugger before it answers. */
static int sleep_at(struct vub *b, struct vu_rx *rx)
{
	while ((int)rx->msg.request == b->hook_arg && !atomic_load(&awake))
		usleep(1000);
	return 0;
}

/* It is late at giving its rings back; when it wakes up it does, and they go on from there. */
static void it_sleeps_and_gives_the_rings_back(void **state)
{
	struct rig *r = *state;

	atomic_store(&awake, false);
	atomic_store(&peer_lives, true);
	r->b.hook_arg = VU_GET_VRING_BASE;
	r->b.hook = sleep_at;
	for (uint32_t i = 0; i < 4; i++)
		r->b.base_on_stop[i] = 70 + i;
	create(r);
	set_up(r, BASICS);
	wait_rings(r);
	set_used(r, 0, 33); /* not where it stands: only the back-end can say */
	assert_int_equal(stop_rc(r, 0), -EBUSY);
	wait_carrier(r, 0);
	wait_held(r, 1);
	assert_int_equal(stop_rc(r, 1), -EBUSY);
	assert_true(is_held(r));
	/* The switch away from it has failed: they are noted again. */
	assert_int_equal(start(r, 0, 0), 0);
	assert_int_equal(start(r, 1, 0), 0);
	assert_true(is_held(r));
	atomic_store(&awake, true);
	wait_held(r, 2);
	assert_false(is_held(r));
	vub_stop(&r->b);
	next_back_end(r);
	vub_wait(&r->b, VU_SET_VRING_KICK, 4);
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(r->b.rings[i].base, 70 + i);
}

/* The driver resets the device meanwhile: what it had is held all the same. */
static void it_sleeps_through_a_reset(void **state)
{
	struct rig *r = *state;

	atomic_store(&awake, false);
	atomic_store(&peer_lives, true);
	r->b.hook_arg = VU_GET_VRING_BASE;
	r->b.hook = sleep_at;
	create(r);
	set_up(r, BASICS);
	wait_rings(r);
	r->dp->ops->teardown(r->dp);
	assert_true(is_held(r));
	wait_held(r, 1);
	/* It is killed. The end of the connection comes first, and is not enough. */
	atomic_store(&awake, true);
	shutdown(r->b.fd, SHUT_RDWR);
	vub_stop(&r->b);
	usleep(20000);
	if (atomic_load(&r->held) == 1) { /* its answers may have come before */
		assert_true(is_held(r));
		atomic_store(&peer_lives, false);
		wait_held(r, 2);
	}
	assert_false(is_held(r));
	next_back_end(r);
	set_up(r, BASICS);
	wait_rings(r);
}

/* It closes the connection and lives on: nobody else can have the rings; it can come again. */
static void it_hangs_up_and_lives_on(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	wait_rings(r);
	set_used(r, 1, 5);
	atomic_store(&peer_lives, true);
	kill_back_end(r);
	wait_held(r, 1);
	assert_int_equal(stop_rc(r, 1), -EBUSY);
	assert_int_equal(start(r, 1, 0), 0);
	/* Another process. */
	atomic_store(&peer_pid, 99);
	vub_init(&r->b);
	back_end_accepts(r);
	while (!r->b.ended)
		usleep(1000);
	assert_int_equal(r->b.nr, 0);
	vub_stop(&r->b);
	assert_true(is_held(r));
	/* The same one. */
	atomic_store(&peer_pid, 1234);
	next_back_end(r);
	wait_held(r, 2);
	wait_rings(r);
	assert_int_equal(r->b.rings[1].base, 5);
	/* Again, and this time it dies. */
	kill_back_end(r);
	wait_held(r, 1);
	atomic_store(&peer_lives, false);
	atomic_store(&peer_pid, 99);
	next_back_end(r);
	wait_held(r, 2);
	wait_rings(r);
}

/* The user gives the rings up: they run no more, and the next driver's are the next back-end's. */
static void the_user_gives_the_rings_up(void **state)
{
	struct rig *r = *state;

	create(r);
	set_up(r, BASICS);
	wait_rings(r);
	atomic_store(&peer_lives, true);
	kill_back_end(r);
	wait_held(r, 1);
	r->dp->ops->abandon(r->dp);
	assert_false(is_held(r));
	wait_held(r, 2);
	assert_int_equal(stop_rc(r, 1), -EINVAL);
	atomic_store(&peer_pid, 99);
	next_back_end(r);
	assert_int_equal(vub_count(&r->b, VU_SET_VRING_KICK), 0);
	r->dp->ops->teardown(r->dp);
	set_up(r, BASICS);
	wait_rings(r);
}

/* Many times, in the middle of everything: no descriptor and no memory is left behind. */
static void killed_many_times(void **state)
{
	struct rig *r = *state;
	uint16_t used = 0;
	int fds = 0;

	create(r);
	set_up(r, BASICS);
	for (unsigned i = 0; i < 60; i++) {
		/* Only who was handed the ring uses anything. */
		if (i % 3 != 2)
			used = (uint16_t)(i * 1000);
		set_used(r, 1, used);
		vub_stop(&r->b);
		vub_init(&r->b);
		back_end_accepts(r);
		if (i % 3 == 0) {
			stop(r, 2);
			start(r, 2, 0);
		}
		if (i % 3 != 1) {
			/* Either the old one's end was seen already, or it is on its way. */
			wait_rings(r);
			wait_carrier(r, 1);
			assert_int_equal(r->b.rings[1].base, used);
		}
		if (i == 3)
			fds = open_fds();
	}
	wait_rings(r);
	usleep(50000);
	assert_true(open_fds() <= fds + 2);
}

#define RIG(test) cmocka_unit_test_setup_teardown(test, begin, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG(as_client),
		RIG(as_server),
		RIG(the_status_comes_last),
		RIG(split_rings_go_on),
		RIG(packed_rings_go_on),
		RIG(split_rings_go_on_at_a_server),
		RIG(an_unfinished_batch),
		RIG(what_happens_meanwhile_is_noted),
		RIG(a_wrong_ring_is_the_drivers_error),
		RIG(it_dies_in_the_middle),
		RIG(it_hangs_when_it_is_back),
		RIG(it_refuses_a_ring),
		RIG(fewer_features_are_refused),
		RIG(absent_at_first),
		RIG(nobody_comes),
		RIG(a_signal_ends_the_waiting),
		RIG(a_socket_that_will_never_do),
		RIG(packed_rings_are_asked_for),
		RIG(offloads_change_while_rings_run),
		RIG(the_far_side_has_a_link_of_its_own),
		RIG(a_broken_ring_is_reported),
		RIG(it_talks_without_being_asked),
		RIG(when_rings_are_enabled),
		RIG(the_driver_notifies_a_fresh_back_end),
		RIG(it_sleeps_and_gives_the_rings_back),
		RIG(it_sleeps_through_a_reset),
		RIG(it_hangs_up_and_lives_on),
		RIG(the_user_gives_the_rings_up),
		RIG(killed_many_times),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
