/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: the main loop moves the bytes: the driver's notifications (ops->kicked), the
 * host's input and "there is room again" all come there. In each direction at most one chain is
 * held.
 *
 * To the guest: the chardev reads only as much as there is room for, so room() has to know: it pops
 * a receive buffer and holds it until input() fills it. Without a buffer the answer is 0, the host
 * is not read, and the driver's next notification asks for input again.
 *
 * From the guest: what the host does not take now stays in its buffer, which is held until the
 * chardev says that there is room. The driver's queue is the flow control. But Linux's driver spins
 * until its buffer comes back (5.3.6 has it in a footnote), so a host that is slow may slow down
 * the guest, and one that does not read at all must not stop it: after CONSOLE_PATIENCE_MS without
 * a byte taken it is deaf, and output is dropped until there is room again. Rounds are bounded, so
 * that a guest which prints for ever stops nobody else on the main loop.
 *
 * A queue that stops gives its held buffer back untouched, but for a transmit buffer of which the
 * host has a part already: its rest is dropped.
 */
#include "devices/console/console.h"

#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/epoll.h>

#include "vmm/endian.h"
#include "vmm/fd.h"
#include "vmm/util.h"

static struct console *console_of(struct virtio_device *dev)
{
	return container_of(dev, struct console, dev);
}

/* con->lock is held in what follows, up to the chardev's calls. */

static void queue_broken(struct console *con, struct console_queue *cq, const char *why)
{
	cq->running = false;
	cq->held = false;
	virtio_device_broken(&con->dev, why);
}

/* Hold the next chain of a queue that runs and holds none. False: there is none. */
static bool take(struct console *con, struct console_queue *cq)
{
	int rc;

	if (!cq->running)
		return false;
	do
		rc = virtq_pop(&cq->q, &cq->chain, cq->iov, VIRTQ_CHAIN_MAX);
	while (rc == 0 && virtq_kick_enable(&cq->q));
	if (rc < 0)
		queue_broken(con, cq, cq->q.broken);
	cq->held = rc == 1;
	cq->done = 0;
	return cq->held;
}

/* Give the held chain back, with @written bytes in it. */
static void give(struct console *con, unsigned index, uint32_t written)
{
	struct console_queue *cq = &con->queues[index];

	virtq_push(&cq->q, &cq->chain, written);
	cq->held = false;
	if (virtq_flush(&cq->q))
		virtio_queue_interrupt(&con->dev, index);
}

/* Bytes that fit into a receive buffer, which is held from then on. */
static size_t receive_room(struct console *con)
{
	struct console_queue *rx = &con->queues[CONSOLE_RX];

	if (!rx->held && take(con, rx) && (rx->chain.nr_out || !rx->chain.in_len))
		queue_broken(con, rx, "a receive buffer that is readable, or of no length");
	return rx->held ? rx->chain.in_len : 0;
}

/* Offer the host what is left of the held chain, at most *@budget. True: it has taken all of it. */
static bool offer_held(struct console *con, size_t *budget)
{
	struct console_queue *tx = &con->queues[CONSOLE_TX];
	size_t skip = tx->done;

	for (unsigned i = 0; i < tx->chain.nr_out; i++) {
		const struct iovec *iov = &tx->chain.iov[i];
		size_t taken;

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		taken = chardev_write(con->chr, (uint8_t *)iov->iov_base + skip,
		                      min_u64(iov->iov_len - skip, *budget));
		*budget -= taken;
		tx->done += taken;
		if (taken < iov->iov_len - skip)
			return false;
		skip = 0;
	}
	return true;
}

static void stop_waiting(struct console *con)
{
	if (con->waiting)
		loop_timer_set(con->timer_fd, 0);
	con->waiting = false;
}

/* Send the held chain, or drop it if nobody listens. False: it waits, for the host or (no *@budget
 * left) for the next turn. */
static bool send_held(struct console *con, size_t *budget)
{
	struct console_queue *tx = &con->queues[CONSOLE_TX];
	size_t before = tx->done;
	bool all = offer_held(con, budget);

	if (!all && !*budget) /* the host would take more */
		return false;
	if (!all && !con->deaf) {
		/* From the last byte taken on. */
		if (!con->waiting || tx->done != before)
			loop_timer_set(con->timer_fd, CONSOLE_PATIENCE_MS);
		con->waiting = true;
		return false;
	}
	stop_waiting(con);
	give(con, CONSOLE_TX, 0);
	return true;
}

/* A round of transmit buffers. */
static void transmit(struct console *con)
{
	struct console_queue *tx = &con->queues[CONSOLE_TX];
	size_t budget = CONSOLE_BYTES_MAX;

	for (unsigned n = 0; n < CONSOLE_ROUND_MAX && budget; n++) {
		if (!tx->held && !take(con, tx))
			return;
		if (tx->chain.nr_in) {
			queue_broken(con, tx, "a transmit buffer that is writable");
			return;
		}
		if (!send_held(con, &budget) && budget)
			return; /* writable() goes on */
	}
	virtio_queue_wake(&con->dev, CONSOLE_TX);
}

/* --- The chardev's calls: main loop --- */

static size_t console_room(void *opaque)
{
	struct console *con = opaque;
	size_t room;

	pthread_mutex_lock(&con->lock);
	room = receive_room(con);
	pthread_mutex_unlock(&con->lock);
	return room;
}

/* The queue may have stopped since room() was asked: the bytes then go where a cable that was
 * pulled out lets them go. */
static void console_input(void *opaque, const uint8_t *buf, size_t len)
{
	struct console *con = opaque;
	struct console_queue *rx = &con->queues[CONSOLE_RX];
	size_t n;

	pthread_mutex_lock(&con->lock);
	if (receive_room(con)) {
		n = iov_copy_in(rx->chain.iov, rx->chain.nr_in, 0, buf, len);
		give(con, CONSOLE_RX, (uint32_t)n);
	}
	pthread_mutex_unlock(&con->lock);
}

static void console_writable(void *opaque)
{
	struct console *con = opaque;

	pthread_mutex_lock(&con->lock);
	con->deaf = false;
	transmit(con);
	pthread_mutex_unlock(&con->lock);
}

static void on_timer(struct loop_source *src, uint32_t events)
{
	struct console *con = container_of(src, struct console, timer);

	(void)events;
	pthread_mutex_lock(&con->lock);
	/* It may have been set anew since: then there is nothing to read. */
	if (fd_drain(con->timer_fd) && con->waiting) {
		log_limited(&con->dev.limit, LOG_WARN,
		            "%s: nobody reads its output; it is dropped until somebody does",
		            con->dev.name);
		con->deaf = true;
		transmit(con);
	}
	pthread_mutex_unlock(&con->lock);
}

/* Under the lock that the driver's reads hold: it sees both or neither (5.3.4, 2.5.1). */
static void console_resized(void *opaque)
{
	struct console *con = opaque;

	pthread_mutex_lock(&con->dev.lock);
	con->cols = con->chr->cols;
	con->rows = con->chr->rows;
	virtio_config_changed(&con->dev);
	pthread_mutex_unlock(&con->dev.lock);
}

/* Breaks mean nothing to this device. */
static void console_line_break(void *opaque)
{
	(void)opaque;
}

/* --- virtio's calls --- */

/* Main loop. */
static void console_kicked(struct virtio_device *dev, unsigned index)
{
	struct console *con = console_of(dev);

	if (index == CONSOLE_RX) {
		chardev_accept_input(con->chr);
		return;
	}
	pthread_mutex_lock(&con->lock);
	transmit(con);
	pthread_mutex_unlock(&con->lock);
}

static int console_queue_start(struct virtio_device *dev, unsigned index, struct err *err)
{
	struct console *con = console_of(dev);
	struct console_queue *cq = &con->queues[index];
	int rc;

	pthread_mutex_lock(&con->lock);
	rc = virtio_queue_take(dev, index, &cq->q, err);
	cq->running = rc == 0;
	cq->held = false;
	pthread_mutex_unlock(&con->lock);
	return rc;
}

static void console_queue_stop(struct virtio_device *dev, unsigned index)
{
	struct console *con = console_of(dev);
	struct console_queue *cq = &con->queues[index];

	pthread_mutex_lock(&con->lock);
	if (cq->running) {
		if (cq->held && cq->done)
			give(con, index, 0);
		else if (cq->held)
			virtq_unpop(&cq->q, &cq->chain);
		dev->queues[index].base = virtq_base(&cq->q);
	}
	cq->running = cq->held = false;
	if (index == CONSOLE_TX) {
		stop_waiting(con);
		con->deaf = false;
	}
	pthread_mutex_unlock(&con->lock);
}

static void console_stop(struct virtio_device *dev)
{
	for (unsigned i = 0; i < CONSOLE_QUEUES; i++)
		console_queue_stop(dev, i);
}

static int console_start(struct virtio_device *dev, struct err *err)
{
	int rc = 0;

	for (unsigned i = 0; i < CONSOLE_QUEUES && rc == 0; i++)
		if (dev->queues[i].config.enabled)
			rc = console_queue_start(dev, i, err);
	if (rc < 0)
		console_stop(dev);
	return rc;
}

/* 5.3.4: cols, rows; what follows belongs to features that are not offered. */
static void console_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len)
{
	const struct console *con = console_of(dev);
	uint8_t size[CONSOLE_CONFIG_SIZE];

	store_le16(size, con->cols);
	store_le16(size + 2, con->rows);
	memcpy(buf, size + offset, len);
}

static const struct virtio_device_ops console_ops = {
	.config_read = console_config_read,
	.start = console_start,
	.stop = console_stop,
	.queue_start = console_queue_start,
	.queue_stop = console_queue_stop,
	.kicked = console_kicked,
};

int console_init(struct console *con, const char *name, struct chardev *chr,
                 const struct memory *mem, struct loop *loop)
{
	static const uint16_t sizes[] = {CONSOLE_QUEUE_SIZE, CONSOLE_QUEUE_SIZE};
	const struct chardev_client client = {
		.room = console_room,
		.input = console_input,
		.line_break = console_line_break,
		.writable = console_writable,
		.resized = console_resized,
		.opaque = con,
	};
	uint64_t features;
	int rc;

	memset(con, 0, sizeof(*con));
	con->chr = chr;
	rc = con->timer_fd = loop_timer_create();
	if (rc >= 0)
		rc = loop_add(loop, &con->timer, con->timer_fd, EPOLLIN, on_timer);
	if (rc < 0) {
		fd_close(&con->timer_fd);
		return rc;
	}
	pthread_mutex_init(&con->lock, NULL);
	con->cols = chr->cols;
	con->rows = chr->rows;
	features = virtio_ring_features(true);
	if (chr->has_size)
		features |= VIRTIO_FEATURE(VIRTIO_CONSOLE_F_SIZE);
	virtio_device_init(&con->dev, name, VIRTIO_ID_CONSOLE, &console_ops, features,
	                   CONSOLE_CONFIG_SIZE, sizes, ARRAY_SIZE(sizes), mem);
	chardev_attach(chr, &client);
	return 0;
}

void console_destroy(struct console *con)
{
	if (!con->dev.ops)
		return;
	/* What the host says from here on is nobody's. */
	chardev_attach(con->chr, &(struct chardev_client){.room = NULL});
	virtio_device_destroy(&con->dev);
	loop_remove(&con->timer);
	fd_close(&con->timer_fd);
	pthread_mutex_destroy(&con->lock);
}
