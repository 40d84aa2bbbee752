/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: each call of vhost.h is an ioctl, and little else. What is worth knowing:
 *
 * Starting and stopping. A vhost-net ring runs while it has a backend, the tap's socket. Attaching
 * it makes the worker look at both rings if there is anything to do on the tap; detaching it
 * returns when the worker has finished with what it had taken, so the base that is asked for
 * afterwards is final. vhost-vsock has one switch for both of its rings.
 *
 * The eventfds are taken away from a stopped ring, since the kernel would otherwise hold on to
 * them and the worker wake up for each notification.
 *
 * Headers. Either the tap or vhost-net has to do with the virtio-net header: with
 * VHOST_NET_F_VIRTIO_NET_HDR vhost-net puts an empty one in front of what comes and drops that of
 * what goes, and the tap must have none; without it, headers pass unseen and the tap must
 * understand them. In both cases it writes num_buffers.
 *
 * Not used: backend features (they are for translation by an IOTLB), VHOST_RESET_OWNER (closing is
 * the one reset that surely is complete), logging.
 */
#include "devices/vhost/kernel.h"

#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <stddef.h>
#include <string.h>

#include "vmm/fd.h"
#include "vmm/util.h"

#define NET_DEVICE   "/dev/vhost-net"
#define VSOCK_DEVICE "/dev/vhost-vsock"

/* Legacy layouts, an IOMMU and logging stay between the kernel and us. */
#define VSOCK_FEATURES                                                    \
	(BIT64(VIRTIO_F_VERSION_1) | BIT64(VIRTIO_RING_F_INDIRECT_DESC) | \
	 BIT64(VIRTIO_RING_F_EVENT_IDX) | BIT64(VIRTIO_F_RING_PACKED) |   \
	 BIT64(1) /* VIRTIO_VSOCK_F_SEQPACKET */)
/* So do these of vhost-net's; which of the others a NIC can have its datapath knows. */
#define NET_OURS                                                        \
	(BIT64(VHOST_F_LOG_ALL) | BIT64(VHOST_NET_F_VIRTIO_NET_HDR) |   \
	 BIT64(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT64(VIRTIO_F_ANY_LAYOUT) | \
	 BIT64(VIRTIO_F_ACCESS_PLATFORM))

static struct vhost_kernel *kernel_of(struct vhost *v)
{
	return container_of(v, struct vhost_kernel, vhost);
}

/* --- What both devices have --- */

static int get_features(struct vhost *v, uint64_t *features, uint64_t known)
{
	uint64_t all = 0;
	int rc = vhost_ioctl(kernel_of(v)->fd, VHOST_GET_FEATURES, &all);

	*features = all & known;
	return rc < 0 ? rc : 0;
}

static int set_mem_table(struct vhost *v, const struct memory *mem)
{
	/* struct vhost_memory with room for its flexible array. */
	uint64_t space[(sizeof(struct vhost_memory) +
	                MEMORY_REGIONS_MAX * sizeof(struct vhost_memory_region)) /
	               sizeof(uint64_t)] = {0};
	struct vhost_memory *table = (struct vhost_memory *)space;

	table->nregions = mem->nr;
	for (unsigned i = 0; i < mem->nr; i++)
		table->regions[i] = (struct vhost_memory_region){
			.guest_phys_addr = mem->regions[i].gpa,
			.memory_size = mem->regions[i].size,
			.userspace_addr = (uintptr_t)mem->regions[i].host,
		};
	return vhost_ioctl(kernel_of(v)->fd, VHOST_SET_MEM_TABLE, table);
}

static int set_state(struct vhost *v, unsigned long request, unsigned index, unsigned num)
{
	struct vhost_vring_state state = {.index = index, .num = num};

	return vhost_ioctl(kernel_of(v)->fd, request, &state);
}

static int set_file(struct vhost *v, unsigned long request, unsigned index, int fd)
{
	struct vhost_vring_file file = {.index = index, .fd = fd};

	return vhost_ioctl(kernel_of(v)->fd, request, &file);
}

static int vring_num(struct vhost *v, unsigned index, uint16_t num)
{
	return set_state(v, VHOST_SET_VRING_NUM, index, num);
}

static int vring_base(struct vhost *v, unsigned index, virtq_base_t base)
{
	return set_state(v, VHOST_SET_VRING_BASE, index, base);
}

static int vring_addr(struct vhost *v, unsigned index, const struct virtq_areas *areas)
{
	struct vhost_vring_addr addr = {
		.index = index,
		.desc_user_addr = (uintptr_t)areas->desc,
		.avail_user_addr = (uintptr_t)areas->driver,
		.used_user_addr = (uintptr_t)areas->device,
	};

	return vhost_ioctl(kernel_of(v)->fd, VHOST_SET_VRING_ADDR, &addr);
}

static int vring_call(struct vhost *v, unsigned index, int fd)
{
	return set_file(v, VHOST_SET_VRING_CALL, index, fd);
}

static int vring_err(struct vhost *v, unsigned index, int fd)
{
	return set_file(v, VHOST_SET_VRING_ERR, index, fd);
}

static int vring_kick(struct vhost *v, unsigned index, int fd)
{
	return set_file(v, VHOST_SET_VRING_KICK, index, fd);
}

/* Asking does not stop a ring, other than with vhost-user. */
static int vring_peek(struct vhost *v, unsigned index, virtq_base_t *base)
{
	struct vhost_vring_state state = {.index = index};
	int rc = vhost_ioctl(kernel_of(v)->fd, VHOST_GET_VRING_BASE, &state);

	*base = state.num;
	return rc;
}

/* The worker does not look at the ring any more: take the eventfds back, and ask where it stands.
 */
static int let_go(struct vhost *v, unsigned index, virtq_base_t *base)
{
	int rc = vring_kick(v, index, -1);
	int next = vring_call(v, index, -1);

	rc = rc < 0 ? rc : next;
	next = vring_err(v, index, -1);
	rc = rc < 0 ? rc : next;
	next = vring_peek(v, index, base);
	return rc < 0 ? rc : next < 0 ? next : 0;
}

/* --- vhost-net --- */

static int net_get_features(struct vhost *v, uint64_t *features)
{
	return get_features(v, features, ~NET_OURS);
}

static int net_set_features(struct vhost *v, uint64_t features)
{
	if (kernel_of(v)->adds_header)
		features |= BIT64(VHOST_NET_F_VIRTIO_NET_HDR);
	return vhost_ioctl(kernel_of(v)->fd, VHOST_SET_FEATURES, &features);
}

static int net_vring_start(struct vhost *v, unsigned index)
{
	struct vhost_kernel *k = kernel_of(v);
	int rc = 0;

	if (k->poll_us)
		rc = set_state(v, VHOST_SET_VRING_BUSYLOOP_TIMEOUT, index, k->poll_us);
	if (rc == 0 && k->attached)
		rc = set_file(v, VHOST_NET_SET_BACKEND, index, k->wire);
	return rc;
}

static int net_vring_stop(struct vhost *v, unsigned index, virtq_base_t *base)
{
	int rc = set_file(v, VHOST_NET_SET_BACKEND, index, -1);
	int next = let_go(v, index, base);

	return rc < 0 ? rc : next;
}

static const struct vhost_ops net_ops = {
	.name = "vhost-net",
	.get_features = net_get_features,
	.set_features = net_set_features,
	.set_mem_table = set_mem_table,
	.vring_num = vring_num,
	.vring_base = vring_base,
	.vring_addr = vring_addr,
	.vring_call = vring_call,
	.vring_err = vring_err,
	.vring_kick = vring_kick,
	.vring_start = net_vring_start,
	.vring_stop = net_vring_stop,
	.vring_peek = vring_peek,
};

int vhost_net_plug(struct vhost_kernel *k, bool plugged)
{
	int rc = 0;

	k->attached = plugged;
	for (unsigned i = 0; i < k->vhost.nr_rings; i++) {
		int one = 0;

		if (vhost_ring_runs(&k->vhost, i))
			one = set_file(&k->vhost, VHOST_NET_SET_BACKEND, i, plugged ? k->wire : -1);
		rc = rc < 0 ? rc : one;
	}
	return rc;
}

/* --- vhost-vsock --- */

static int vsock_get_features(struct vhost *v, uint64_t *features)
{
	return get_features(v, features, VSOCK_FEATURES);
}

static int vsock_set_features(struct vhost *v, uint64_t features)
{
	return vhost_ioctl(kernel_of(v)->fd, VHOST_SET_FEATURES, &features);
}

/* vhost_vsock_run() does it, for both. */
static int vsock_vring_start(struct vhost *v, unsigned index)
{
	(void)v;
	(void)index;
	return 0;
}

static const struct vhost_ops vsock_ops = {
	.name = "vhost-vsock",
	.get_features = vsock_get_features,
	.set_features = vsock_set_features,
	.set_mem_table = set_mem_table,
	.vring_num = vring_num,
	.vring_base = vring_base,
	.vring_addr = vring_addr,
	.vring_call = vring_call,
	.vring_err = vring_err,
	.vring_kick = vring_kick,
	.vring_start = vsock_vring_start,
	.vring_stop = let_go,
};

int vhost_vsock_run(struct vhost_kernel *k, bool run)
{
	int on = run;

	return vhost_ioctl(k->fd, VHOST_VSOCK_SET_RUNNING, &on);
}

/* --- Opening --- */

/* @k->fd says what went wrong. */
static int open_error(struct vhost_kernel *k, const char *option, const char *path,
                      const char *module, const char *instead, struct err *err)
{
	int rc = k->fd;

	k->fd = -1;
	switch (rc) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		return err_set(err, rc,
		               "%s: there is no %s: load the driver (sudo modprobe %s), or give "
		               "the container the device%s",
		               option, path, module, instead);
	case -EACCES:
	case -EPERM:
		return err_set(err, rc,
		               "%s: no permission to open %s: sudo setfacl -m u:$USER:rw %s%s",
		               option, path, path, instead);
	}
	return err_errno(err, rc, "%s: cannot open %s", option, path);
}

/* Which process' memory the kernel works on. */
static int own(struct vhost_kernel *k, const char *option, struct err *err)
{
	int rc = vhost_ioctl(k->fd, VHOST_SET_OWNER, NULL);

	return rc < 0 ? err_errno(err, rc, "%s: becoming the owner of a vhost device", option) : 0;
}

int vhost_net_open(struct vhost_kernel *k, const char *name, int wire, bool wire_has_header,
                   unsigned poll_us, struct err *err)
{
	static const char *const option = "datapath=vhost-net";
	int rc;

	*k = (struct vhost_kernel){
		.vhost = {.ops = &net_ops, .name = name, .nr_rings = VHOST_KERNEL_RINGS},
		.wire = wire,
		.adds_header = !wire_has_header,
		.attached = true,
		.poll_us = poll_us,
	};
	k->fd = vhost_dev_open(NET_DEVICE);
	if (k->fd < 0)
		return open_error(k, option, NET_DEVICE, "vhost_net",
		                  "; datapath=vmm needs neither", err);
	rc = own(k, option, err);
	if (rc < 0)
		vhost_kernel_close(k);
	return rc;
}

static int set_cid(struct vhost_kernel *k, uint32_t cid, struct err *err)
{
	uint64_t wide = cid;
	int rc = vhost_ioctl(k->fd, VHOST_VSOCK_SET_GUEST_CID, &wide);

	if (rc == -EADDRINUSE)
		return err_set(err, rc,
		               "--vsock %u: another guest has this context id: choose another one",
		               cid);
	return rc < 0 ? err_errno(err, rc, "--vsock %u: the kernel refuses it", cid) : 0;
}

int vhost_vsock_open(struct vhost_kernel *k, const char *name, uint32_t cid, struct err *err)
{
	static const char *const option = "--vsock";
	int rc;

	*k = (struct vhost_kernel){
		.vhost = {.ops = &vsock_ops, .name = name, .nr_rings = VHOST_KERNEL_RINGS},
		.wire = -1,
	};
	k->fd = vhost_dev_open(VSOCK_DEVICE);
	if (k->fd < 0)
		return open_error(k, option, VSOCK_DEVICE, "vhost_vsock", "", err);
	rc = own(k, option, err);
	if (rc == 0)
		rc = set_cid(k, cid, err);
	if (rc < 0)
		vhost_kernel_close(k);
	return rc;
}

void vhost_kernel_close(struct vhost_kernel *k)
{
	if (!k->vhost.ops) /* never opened */
		return;
	fd_close(&k->fd);
	k->vhost.running = 0;
}
