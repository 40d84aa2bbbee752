/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the kind's calls (vhost.h), each a message or a few.
 *
 * Bases. A packed ring's has four parts (queue.h); some back-ends (DPDK) answer with the lower half
 * only, the available position, having nothing in flight when they stop. The upper half is then 0,
 * and taken to be the same. A position 0 with wrap counter 0 is a valid upper half, too, but with
 * another lower half it would mean that chains are still in flight.
 *
 * Memory is passed once for each connection; the back-end keeps it through resets of the driver.
 */
#include <errno.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "devices/vhost/user_priv.h"
#include "vmm/log.h"

/* A guest address as a user address: never 0, which some take for "none". */
#define USER_ADDR(gpa) ((gpa) + (UINT64_C(1) << 46))

#define STATUS_DRIVER      (VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER)
#define STATUS_FEATURES_OK (STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)
#define STATUS_DRIVER_OK   (STATUS_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK)

static struct vhost_user *user_of(struct vhost *v)
{
	return container_of(v, struct vhost_user, vhost);
}

/* --- Features --- */

static int user_get_features(struct vhost *v, uint64_t *features)
{
	struct vhost_user *u = user_of(v);

	if (!vhost_user_on(u))
		return -EPIPE;
	/* Asked when it was attached. Its own two bits are between it and us. */
	*features = u->offered & ~(BIT64(VU_F_PROTOCOL_FEATURES) | BIT64(VHOST_F_LOG_ALL));
	return 0;
}

int vu_set_status(struct vhost_user *u, uint8_t status)
{
	u->status = status;
	return vu_has(u, VU_PROTOCOL_STATUS) ? vu_ask_u64(u, VU_SET_STATUS, status) : 0;
}

/* Does it accept the features? Asked where it can say so. */
static int check_features_ok(struct vhost_user *u)
{
	uint64_t status;
	int rc;

	if (!vu_has(u, VU_PROTOCOL_STATUS))
		return 0;
	rc = vu_set_status(u, STATUS_FEATURES_OK);
	if (rc == 0)
		rc = vu_get_u64(u, VU_GET_STATUS, &status);
	if (rc == 0 && !(status & VIRTIO_CONFIG_S_FEATURES_OK))
		rc = -EREMOTEIO;
	return rc;
}

static int user_set_features(struct vhost *v, uint64_t features)
{
	struct vhost_user *u = user_of(v);
	int rc = u->status ? vu_set_status(u, 0) : 0; /* bits only go all together */

	if (rc == 0)
		rc = vu_set_status(u, STATUS_DRIVER);
	if (u->protocol)
		features |= BIT64(VU_F_PROTOCOL_FEATURES);
	if (rc == 0)
		rc = vu_ask_u64(u, VU_SET_FEATURES, features);
	if (rc == 0)
		rc = check_features_ok(u);
	return rc == 0 ? vu_share_inflight(u) : rc;
}

/* --- Memory --- */

static struct vu_region region_of(const struct mem_region *r)
{
	return (struct vu_region){
		.gpa = r->gpa,
		.size = r->size,
		.user_addr = USER_ADDR(r->gpa),
		.mmap_offset = r->fd_offset,
	};
}

/* One message for each region. */
static int add_regions(struct vhost_user *u, const struct memory *mem)
{
	int rc = 0;

	if (mem->nr > u->slots)
		return -ENOSPC;
	for (unsigned i = 0; i < mem->nr && rc == 0; i++) {
		struct vu_msg msg = {.request = VU_ADD_MEM_REG,
		                     .size = sizeof(struct vu_memory_region)};

		msg.p.region.region = region_of(&mem->regions[i]);
		rc = vu_exchange(u, &msg, &mem->regions[i].fd, 1, 0, 0);
	}
	return rc;
}

static int set_table(struct vhost_user *u, const struct memory *mem)
{
	struct vu_msg msg = {.request = VU_SET_MEM_TABLE};
	int fds[VU_REGIONS_MAX];

	if (mem->nr > VU_REGIONS_MAX)
		return -ENOSPC;
	for (unsigned i = 0; i < mem->nr; i++) {
		msg.p.memory.regions[i] = region_of(&mem->regions[i]);
		fds[i] = mem->regions[i].fd;
	}
	msg.p.memory.nr = mem->nr;
	msg.size = (uint32_t)(8 + mem->nr * sizeof(struct vu_region));
	return vu_exchange(u, &msg, fds, mem->nr, 0, 0);
}

static int user_set_mem_table(struct vhost *v, const struct memory *mem)
{
	struct vhost_user *u = user_of(v);
	int rc = 0;

	v->mem = mem;
	if (!u->mem_sent)
		rc = vu_has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS) ? add_regions(u, mem)
		                                                : set_table(u, mem);
	u->mem_sent = rc == 0;
	return rc;
}

int vhost_user_driver_ok(struct vhost_user *u)
{
	return u->status == STATUS_DRIVER_OK ? 0 : vu_set_status(u, STATUS_DRIVER_OK);
}

/* Where @p, which is in guest memory, is for the back-end. */
static uint64_t user_address(const struct memory *mem, const void *p)
{
	for (unsigned i = 0; i < mem->nr; i++) {
		const struct mem_region *r = &mem->regions[i];
		uint64_t offset = (uint64_t)((uintptr_t)p - (uintptr_t)r->host);

		if (offset < r->size)
			return USER_ADDR(r->gpa + offset);
	}
	return 0;
}

/* --- Rings: settings are posted; whoever enables a ring waits, before it starts --- */

static int post_state(struct vhost *v, uint32_t request, unsigned index, uint32_t num)
{
	struct vu_msg msg = {
		.request = request,
		.size = sizeof(struct vu_state),
		.p.state = {.index = index, .num = num},
	};

	return vu_post(user_of(v), &msg, NULL, 0);
}

static int user_vring_num(struct vhost *v, unsigned index, uint16_t num)
{
	return post_state(v, VU_SET_VRING_NUM, index, num);
}

static int user_vring_base(struct vhost *v, unsigned index, virtq_base_t base)
{
	return post_state(v, VU_SET_VRING_BASE, index, base);
}

static int user_vring_addr(struct vhost *v, unsigned index, const struct virtq_areas *areas)
{
	struct vu_msg msg = {.request = VU_SET_VRING_ADDR, .size = sizeof(struct vu_addr)};

	msg.p.addr.index = index;
	msg.p.addr.desc = user_address(v->mem, areas->desc);
	msg.p.addr.avail = user_address(v->mem, areas->driver);
	msg.p.addr.used = user_address(v->mem, areas->device);
	return vu_post(user_of(v), &msg, NULL, 0);
}

static struct vu_msg eventfd_message(uint32_t request, unsigned index, int fd)
{
	return (struct vu_msg){
		.request = request,
		.size = 8,
		.p.u64 = index | (fd < 0 ? VU_VRING_NO_FD : 0),
	};
}

static int post_eventfd(struct vhost *v, uint32_t request, unsigned index, int fd)
{
	struct vu_msg msg = eventfd_message(request, index, fd);

	return vu_post(user_of(v), &msg, &fd, fd >= 0);
}

static int user_vring_call(struct vhost *v, unsigned index, int fd)
{
	user_of(v)->call_fd[index] = fd;
	return post_eventfd(v, VU_SET_VRING_CALL, index, fd);
}

static int user_vring_err(struct vhost *v, unsigned index, int fd)
{
	return post_eventfd(v, VU_SET_VRING_ERR, index, fd);
}

static int send_enable(struct vhost_user *u, unsigned index)
{
	/* Without protocol features a ring is enabled from the start, and stays so. */
	if (!u->protocol)
		return 0;
	return vu_ask_state(u, VU_SET_VRING_ENABLE, index, u->enabled >> index & 1);
}

/*
 * With its kick eventfd the ring starts, and one that is not enabled then is emptied without effect
 * ("Ring states"): frames that wait in it would be lost. So it is enabled before. But when a driver
 * begins, nothing waits, and back-ends are used to front-ends that enable a ring when all are known
 * (enable_late).
 */
static int user_vring_kick(struct vhost *v, unsigned index, int fd)
{
	struct vu_msg msg = eventfd_message(VU_SET_VRING_KICK, index, fd);
	int rc = fd >= 0 && !user_of(v)->enable_late ? send_enable(user_of(v), index) : 0;

	return rc < 0 ? rc : vu_exchange(user_of(v), &msg, &fd, fd >= 0, 0, 0);
}

/*
 * A ring was stopped alone and is started again (VIRTIO_F_RING_RESET): the others are told their
 * call eventfd once more, for DPDK's sake. Its library takes a stopped ring for a stopped device
 * (vhost_user_get_vring_base() calls destroy_device()), on which testpmd's net_vhost and Open
 * vSwitch forget which rings are ready; but when the device comes back, only rings whose own state
 * has changed are announced to them. A ring that gets a call eventfd is announced anew. To others
 * it is the eventfd that they have.
 */
static int user_vring_start(struct vhost *v, unsigned index)
{
	struct vhost_user *u = user_of(v);
	int rc = 0;

	if (!u->stopped_one)
		return 0;
	u->stopped_one = false;
	for (unsigned i = 0; i < v->nr_rings && rc == 0; i++) {
		struct vu_msg msg = eventfd_message(VU_SET_VRING_CALL, i, u->call_fd[i]);

		if (i != index && vhost_ring_runs(v, i))
			rc = vu_exchange(u, &msg, &u->call_fd[i], u->call_fd[i] >= 0, 0, 0);
	}
	return rc;
}

virtq_base_t vhost_user_base(const struct vhost_user *u, uint32_t num)
{
	bool packed = u->vhost.features & BIT64(VIRTIO_F_RING_PACKED);

	return packed && !(num >> 16) ? num | num << 16 : num;
}

int vhost_user_ask_back(struct vhost_user *u, uint64_t held)
{
	int rc = u->fd < 0 || u->unsound ? -EPIPE : 0;

	for (unsigned i = 0; i < u->vhost.nr_rings && rc == 0; i++) {
		struct vu_msg msg = {
			.request = VU_GET_VRING_BASE,
			.flags = VU_VERSION,
			.size = sizeof(struct vu_state),
			.p.state = {.index = i},
		};

		if ((held & ~u->base_asked) >> i & 1)
			rc = vu_send(u->fd, &msg, NULL, 0, 0);
	}
	return rc;
}

static int user_vring_stop(struct vhost *v, unsigned index, virtq_base_t *base)
{
	struct vhost_user *u = user_of(v);
	struct vu_msg msg = {
		.request = VU_GET_VRING_BASE,
		.size = sizeof(struct vu_state),
		.p.state = {.index = index},
	};
	int rc;

	u->base_asked |= BIT64(index);
	rc = vu_exchange(u, &msg, NULL, 0, sizeof(struct vu_state), sizeof(struct vu_state));
	if (rc == 0)
		u->base_asked &= ~BIT64(index);
	u->stopped_one = v->running != 0;
	if (rc == 0 && u->rx.msg.p.state.index != index)
		rc = vu_fail(u, VU_GET_VRING_BASE, "the base of another ring");
	if (rc == 0) {
		*base = vhost_user_base(u, u->rx.msg.p.state.num);
	}
	vu_done(u);
	return rc;
}

int vhost_user_enable(struct vhost_user *u, unsigned index, bool on)
{
	uint64_t before = u->enabled;

	u->enabled = on ? before | BIT64(index) : before & ~BIT64(index);
	if (u->enabled == before || !vhost_ring_runs(&u->vhost, index))
		return 0;
	return send_enable(u, index);
}

int vhost_user_enable_all(struct vhost_user *u)
{
	int rc = 0;

	for (unsigned i = 0; i < u->vhost.nr_rings && rc == 0; i++)
		if (vhost_ring_runs(&u->vhost, i))
			rc = send_enable(u, i);
	return rc;
}

int vhost_user_mtu(struct vhost_user *u, uint16_t mtu)
{
	return vu_has(u, VU_PROTOCOL_MTU) ? vu_ask_u64(u, VU_NET_SET_MTU, mtu) : 0;
}

void vhost_user_reset(struct vhost_user *u)
{
	int rc = 0;

	vu_drop_inflight(u);
	if (!vhost_user_on(u) || !u->vhost.mem)
		return;
	if (vu_has(u, VU_PROTOCOL_RESET_DEVICE)) {
		rc = vu_ask_plain(u, VU_RESET_DEVICE);
		/* "All internal state": a table is sent again, slots would be taken twice. */
		if (!vu_has(u, VU_PROTOCOL_CONFIGURE_MEM_SLOTS))
			u->mem_sent = false;
	}
	if (rc == 0)
		rc = vu_set_status(u, 0);
	if (rc == -EREMOTEIO)
		vu_fail(u, VU_RESET_DEVICE, "it refuses a reset");
}

const struct vhost_ops vhost_user_ops = {
	.name = "vhost-user",
	.get_features = user_get_features,
	.set_features = user_set_features,
	.set_mem_table = user_set_mem_table,
	.vring_num = user_vring_num,
	.vring_base = user_vring_base,
	.vring_addr = user_vring_addr,
	.vring_call = user_vring_call,
	.vring_err = user_vring_err,
	.vring_kick = user_vring_kick,
	.vring_start = user_vring_start,
	.vring_stop = user_vring_stop,
};
