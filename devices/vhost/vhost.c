/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the order of the steps is the one that every kind accepts.
 *
 *   - Size and base before the addresses: the kernel refuses to change the former on a ring that
 *     has a backend, and checks the areas' lengths by the size.
 *   - Call and err before kick: from the kick's eventfd on the other side may begin (vhost-user
 *     does, at the first notification), and shall find a way to interrupt.
 *   - Before all: the driver is asked to notify again, whatever the ring's last server had asked for.
 *   - Start, and then one notification of our own: buffers that the driver made available before
 *     have been notified to nobody, or to the one who had the ring before.
 *
 * A step that fails takes the ring back by the same call that stops it later, so that no eventfd
 * stays behind on the other side.
 */
#include "devices/vhost/vhost.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>

#include "vmm/fd.h"
#include "vmm/util.h"

static int step_error(const struct vhost *v, unsigned index, const char *step, int rc,
                      struct err *err)
{
	return err_errno(err, rc, "%s: %s refuses ring %u (%s)", v->name, v->ops->name, index,
	                 step);
}

int vhost_features(struct vhost *v, uint64_t *features, struct err *err)
{
	int rc = v->ops->get_features(v, features);

	if (rc < 0)
		return err_errno(err, rc, "%s: %s: asking for its features", v->name, v->ops->name);
	return 0;
}

int vhost_setup(struct vhost *v, uint64_t negotiated, const struct memory *mem, struct err *err)
{
	uint64_t offered;
	int rc;

	if (v->running)
		return err_set(err, -EBUSY, "%s: %s: rings still run", v->name, v->ops->name);
	rc = vhost_features(v, &offered, err);
	if (rc < 0)
		return rc;
	if (negotiated & ~offered)
		return err_set(err, -EOPNOTSUPP, "%s: %s cannot do features 0x%llx that are in use",
		               v->name, v->ops->name, (unsigned long long)(negotiated & ~offered));
	rc = v->ops->set_features(v, negotiated);
	if (rc < 0)
		return err_errno(err, rc, "%s: %s refuses features 0x%llx", v->name, v->ops->name,
		                 (unsigned long long)negotiated);
	rc = v->ops->set_mem_table(v, mem);
	if (rc < 0)
		return err_errno(err, rc, "%s: %s refuses guest memory", v->name, v->ops->name);
	v->features = negotiated;
	v->mem = mem;
	return 0;
}

/* The steps of a start. *@step: the one that failed; *@given: the ring was the other side's then. */
static int hand_over(struct vhost *v, unsigned index, const struct vhost_ring *ring,
                     const struct virtq_areas *areas, const char **step, bool *given)
{
	const struct vhost_ops *ops = v->ops;
	int rc;

	*step = "size";
	rc = ops->vring_num(v, index, ring->config.size);
	if (rc < 0)
		return rc;
	*step = "base";
	rc = ops->vring_base(v, index, ring->base);
	if (rc < 0)
		return rc;
	*step = "addresses";
	rc = ops->vring_addr(v, index, areas);
	if (rc < 0)
		return rc;
	*step = "call eventfd";
	rc = ops->vring_call(v, index, ring->call_fd);
	if (rc < 0)
		return rc;
	*step = "error eventfd";
	rc = ops->vring_err && ring->err_fd >= 0 ? ops->vring_err(v, index, ring->err_fd) : 0;
	if (rc < 0)
		return rc;
	*step = "kick eventfd";
	*given = true;
	rc = ops->vring_kick(v, index, ring->kick_fd);
	if (rc < 0)
		return rc;
	*step = "start";
	return ops->vring_start(v, index);
}

int vhost_ring_start(struct vhost *v, unsigned index, const struct vhost_ring *ring,
                     struct err *err)
{
	bool packed = v->features & BIT64(VIRTIO_F_RING_PACKED);
	struct virtq_areas areas;
	virtq_base_t ignored;
	bool given = false;
	const char *step;
	int rc;

	if (index >= v->nr_rings || vhost_ring_runs(v, index) || !v->mem)
		return err_set(err, -EINVAL, "%s: %s has no ring %u to start", v->name,
		               v->ops->name, index);
	rc = virtq_translate(&ring->config, packed, v->mem, &areas, err);
	if (rc < 0)
		return rc;
	if (!virtq_base_valid(ring->base, packed, ring->config.size))
		return err_set(err, -EINVAL, "base 0x%x is outside a queue of %u", ring->base,
		               ring->config.size);
	virtq_notify_again(&areas, ring->config.size, virtq_features(v->features), ring->base);
	rc = hand_over(v, index, ring, &areas, &step, &given);
	if (rc < 0) {
		if (v->ops->vring_stop(v, index, &ignored) < 0 && given)
			v->running |= BIT64(index);
		return step_error(v, index, step, rc, err);
	}
	v->running |= BIT64(index);
	v->size[index] = ring->config.size;
	fd_signal_shared(ring->kick_fd);
	return 0;
}

int vhost_ring_stop(struct vhost *v, unsigned index, virtq_base_t *base)
{
	bool packed = v->features & BIT64(VIRTIO_F_RING_PACKED);
	virtq_base_t at;
	int rc;

	if (!vhost_ring_runs(v, index))
		return -EINVAL;
	v->running &= ~BIT64(index);
	rc = v->ops->vring_stop(v, index, &at);
	if (rc < 0)
		return rc;
	if (!virtq_base_valid(at, packed, v->size[index]))
		return -EPROTO;
	*base = at;
	return 0;
}
