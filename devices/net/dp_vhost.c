/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: nothing moves here. A ring that the NIC starts is handed to the vhost device
 * that serves it, with the transport's eventfds: notifications go from the guest to the other side
 * and interrupts back, by way of the kernel where transport and options allow it (ioeventfd,
 * irqfd), through the main loop where not; neither side can tell.
 *
 * What the other side finds wrong with a ring comes as an event on the ring's err eventfd. The main
 * loop tells the NIC, unless the ring has been stopped since: an event that is older than the
 * ring's last start is taken out before that start.
 *
 * The receive filter is not applied: the other side hands the guest everything that comes. The
 * specification lets it ("best effort", 5.1.6.5.1), and the guest's own stack looks again.
 *
 * Stopping cannot fail for the NIC. If the other side does not answer, a split ring is taken to
 * stand at its used index: what was in flight is then done again, which for packets is a repetition
 * at worst. A packed ring has no such index in memory, and starts anew with its driver.
 */
#include "devices/net/dp_vhost.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/fd.h"
#include "vmm/util.h"

static struct dp_vhost *dp_of(struct datapath *dp)
{
	return container_of(dp, struct dp_vhost, dp);
}

struct vhost *dp_vhost_ring_of(struct dp_vhost *d, unsigned ring, unsigned *index)
{
	unsigned each = d->devices[0]->nr_rings;

	*index = ring % each;
	return d->devices[ring / each];
}

/* Main loop. */
static void on_err(struct loop_source *src, uint32_t events)
{
	struct dp_vhost_ring *r = container_of(src, struct dp_vhost_ring, err);
	struct dp_vhost *d = r->d;
	bool broken;

	(void)events;
	pthread_mutex_lock(&d->lock);
	broken = fd_drain(r->err_fd) && r->runs;
	if (broken)
		d->host.broken(d->host.opaque, (unsigned)(r - d->rings),
		               "vhost found something wrong with a ring");
	pthread_mutex_unlock(&d->lock);
}

static uint64_t dp_features(const struct datapath *dp)
{
	const struct dp_vhost *d = container_of(dp, const struct dp_vhost, dp);

	return d->kind->features(d);
}

static int dp_setup(struct datapath *dp, uint64_t negotiated, const struct memory *mem,
                    const struct datapath_host *host, struct err *err)
{
	struct dp_vhost *d = dp_of(dp);

	for (unsigned i = 0; i < d->nr_devices; i++) {
		int rc = vhost_setup(d->devices[i], negotiated & d->passed_on, mem, err);

		if (rc < 0)
			return rc;
	}
	d->negotiated = negotiated;
	d->mem = mem;
	d->host = *host;
	d->is_setup = true;
	return 0;
}

/* Also forgets what the ring's last user left in the eventfd. */
static void set_runs(struct dp_vhost_ring *r, bool runs)
{
	pthread_mutex_lock(&r->d->lock);
	if (r->err_fd >= 0)
		fd_drain(r->err_fd);
	r->runs = runs;
	pthread_mutex_unlock(&r->d->lock);
}

static int dp_ring_start(struct datapath *dp, unsigned index, const struct datapath_ring *ring,
                         struct err *err)
{
	struct dp_vhost *d = dp_of(dp);
	struct dp_vhost_ring *r;
	struct vhost_ring vr;
	struct vhost *v;
	unsigned at;
	int rc;

	if (!d->is_setup || index >= 2 * d->pairs)
		return err_set(err, -EINVAL, "there is no ring %u", index);
	r = &d->rings[index];
	vr = (struct vhost_ring){
		.config = ring->config,
		.base = ring->base,
		.kick_fd = ring->kick_fd,
		.call_fd = ring->peer_call_fd,
		.err_fd = r->err_fd,
	};
	v = dp_vhost_ring_of(d, index, &at);
	/* First: it may be found broken at once. */
	set_runs(r, true);
	r->config = ring->config;
	rc = vhost_ring_start(v, at, &vr, err);
	if (rc < 0)
		set_runs(r, false);
	return rc;
}

static int dp_ring_stop(struct datapath *dp, unsigned index, virtq_base_t *base)
{
	struct dp_vhost *d = dp_of(dp);
	struct dp_vhost_ring *r;
	struct vhost *v;
	unsigned at;
	int rc;

	if (index >= 2 * d->pairs || !d->rings[index].runs)
		return -EINVAL;
	r = &d->rings[index];
	v = dp_vhost_ring_of(d, index, &at);
	rc = vhost_ring_stop(v, at, base);
	set_runs(r, false);
	if (rc == 0)
		return 0;
	log_limited(&d->limit, LOG_WARN, "%s: %s did not give ring %u back: %s", d->name,
	            d->kind->name, index, strerror(-rc));
	if (d->negotiated & BIT64(VIRTIO_F_RING_PACKED))
		return rc;
	return virtq_used_base(&r->config, d->mem, base);
}

static void dp_teardown(struct datapath *dp)
{
	struct dp_vhost *d = dp_of(dp);
	virtq_base_t base;

	for (unsigned i = 0; i < 2 * d->pairs; i++)
		if (d->rings[i].runs)
			dp_ring_stop(dp, i, &base);
	d->is_setup = false;
}

static int dp_set_offloads(struct datapath *dp, uint64_t guest_offloads)
{
	struct dp_vhost *d = dp_of(dp);

	if (d->kind->set_offloads)
		return d->kind->set_offloads(d, guest_offloads);
	/* What was negotiated cannot be taken back. */
	return (d->negotiated & guest_offloads) == guest_offloads ? 0 : -EOPNOTSUPP;
}

static int dp_set_pairs(struct datapath *dp, unsigned pairs)
{
	struct dp_vhost *d = dp_of(dp);

	return d->kind->set_pairs ? d->kind->set_pairs(d, pairs) : 0;
}

static void dp_set_link(struct datapath *dp, bool up)
{
	struct dp_vhost *d = dp_of(dp);

	d->kind->set_link(d, up);
}

static const char *dp_kind(const struct datapath *dp)
{
	return container_of(dp, const struct dp_vhost, dp)->kind->name;
}

static int dp_position(const struct datapath *dp, unsigned ring, virtq_base_t *base)
{
	struct dp_vhost *d = container_of(dp, struct dp_vhost, dp);
	unsigned at;
	struct vhost *v;

	if (ring >= 2 * d->pairs || !d->rings[ring].runs)
		return -EINVAL;
	v = dp_vhost_ring_of(d, ring, &at);
	return v->ops->vring_peek ? v->ops->vring_peek(v, at, base) : -ENOTSUP;
}

static void dp_destroy(struct datapath *dp)
{
	struct dp_vhost *d = dp_of(dp);

	dp_teardown(dp);
	dp_vhost_exit(d);
	d->kind->destroy(d);
}

static const struct datapath_ops vhost_ops = {
	.name = "vhost",
	.outside = true,
	.kicks_at_start = true,
	.kind = dp_kind,
	.features = dp_features,
	.setup = dp_setup,
	.teardown = dp_teardown,
	.ring_start = dp_ring_start,
	.ring_stop = dp_ring_stop,
	.set_offloads = dp_set_offloads,
	.set_pairs = dp_set_pairs,
	.set_link = dp_set_link,
	.position = dp_position,
	.destroy = dp_destroy,
};

static int watch_ring(struct dp_vhost_ring *r, struct loop *watch)
{
	int fd = fd_eventfd();

	if (fd < 0)
		return fd;
	r->err_fd = fd;
	return loop_add(watch, &r->err, fd, EPOLLIN, on_err);
}

int dp_vhost_init(struct dp_vhost *d, struct loop *watch, struct err *err)
{
	int rc = 0;

	d->dp.ops = &vhost_ops;
	pthread_mutex_init(&d->lock, NULL);
	for (unsigned i = 0; i < DP_VHOST_RINGS_MAX; i++)
		d->rings[i] = (struct dp_vhost_ring){.d = d, .err_fd = -1};
	for (unsigned i = 0; watch && i < 2 * d->pairs && rc == 0; i++)
		rc = watch_ring(&d->rings[i], watch);
	return rc < 0 ? err_errno(err, rc, "%s: watching for errors of vhost", d->name) : 0;
}

void dp_vhost_exit(struct dp_vhost *d)
{
	if (!d->dp.ops)
		return;
	for (unsigned i = 0; i < DP_VHOST_RINGS_MAX; i++) {
		loop_remove(&d->rings[i].err);
		fd_close(&d->rings[i].err_fd);
	}
	pthread_mutex_destroy(&d->lock);
	d->dp.ops = NULL;
}
