/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation.
 *
 * Output. A vCPU thread's byte goes straight to the host with one non-blocking write: no delay, no
 * second thread. What the host does not take goes to the ring; from then on, until the ring is
 * empty again, all output goes through the ring, so that bytes stay in order. The main loop watches
 * for writability only in that time. O_NONBLOCK belongs to the open file, which stdout shares with
 * the shell that started us, so terminals and pipes are opened a second time instead of being
 * changed.
 *
 * Input. The main loop reads only while the device says it has room; the rest waits in the host,
 * where it belongs. Only a terminal is read all the time, for its escape keys, and what is typed
 * ahead is kept here, within limits (typed.h). While there is no room the host's end is not in the loop at all, since epoll reports a
 * hang-up whatever is asked for: the loop would spin, or the bytes that the writer left behind
 * would be lost. A regular file cannot be polled: it is read whenever there is room.
 */
#include "vmm/chardev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

/* A second, non-blocking description of a terminal or pipe; -1 where that is not needed or not to
 * be had. The master's end of a pseudo terminal is one that must not be opened again: that makes
 * another terminal. */
static int open_nonblocking(int fd)
{
	char path[32];
	struct stat st;

	if (ptsname_r(fd, path, sizeof(path)) == 0)
		return -1;
	if (fstat(fd, &st) < 0 || !(S_ISFIFO(st.st_mode) || S_ISCHR(st.st_mode)))
		return -1;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
}

/* write() that never blocks: the bytes taken, 0 for "not now", or a negative errno. */
static ssize_t write_now(struct chardev *chr, const uint8_t *buf, size_t len)
{
	struct pollfd p = {.fd = chr->out_fd, .events = POLLOUT};
	ssize_t n;

	if (chr->nonblock_fd >= 0) {
		n = write(chr->nonblock_fd, buf, len);
	} else {
		n = send(chr->out_fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == ENOTSOCK) {
			/* A pipe that says POLLOUT takes at least this much without blocking. */
			if (poll(&p, 1, 0) <= 0)
				return 0;
			n = write(chr->out_fd, buf, len < 512 ? len : 512);
		}
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	return n < 0 ? -errno : n;
}

/* Write to the host as much as it takes; marks the output broken on an error, which the main loop
 * then reports. chr->lock is held. */
static size_t push(struct chardev *chr, const uint8_t *buf, size_t len)
{
	size_t done = 0;

	while (done < len && !chr->out_broken) {
		ssize_t n = write_now(chr, buf + done, len - done);

		if (n == 0)
			break;
		if (n < 0) {
			chr->out_broken = true;
			chr->out_error = (int)-n;
			fd_signal(chr->kick_fd);
		} else {
			done += (size_t)n;
		}
	}
	return chr->out_broken ? len : done;
}

/* Append to the ring as much as fits. chr->lock is held. */
static size_t ring_put(struct chardev *chr, const uint8_t *buf, size_t len)
{
	if (!chr->ring)
		chr->ring = malloc(CHARDEV_BUFFER);
	if (!chr->ring)
		return 0;
	len = min_u64(len, CHARDEV_BUFFER - chr->used);
	for (size_t i = 0; i < len; i++)
		chr->ring[(chr->head + chr->used + i) % CHARDEV_BUFFER] = buf[i];
	chr->used += len;
	return len;
}

/* Ring to host. chr->lock is held. */
static void ring_drain(struct chardev *chr)
{
	while (chr->used) {
		size_t run = min_u64(chr->used, CHARDEV_BUFFER - chr->head);
		size_t n = push(chr, chr->ring + chr->head, run);

		chr->head = (chr->head + n) % CHARDEV_BUFFER;
		chr->used -= n;
		if (n < run)
			break;
	}
}

/* Report broken output, once. Main thread, without the lock. */
static void report_broken(struct chardev *chr)
{
	int error;

	pthread_mutex_lock(&chr->lock);
	error = chr->out_error;
	chr->out_error = 0;
	pthread_mutex_unlock(&chr->lock);
	if (error && chr->on_broken)
		chr->on_broken(chr->on_broken_opaque, error);
	else if (error)
		log_warn("console output: %s; it is dropped from here on", strerror(error));
}

static void keep(struct chardev *chr, const uint8_t *buf, size_t len)
{
	pthread_mutex_lock(&chr->lock);
	for (size_t i = 0; i < len; i++)
		chr->kept[chr->kept_end++ % chr->kept_size] = buf[i];
	pthread_mutex_unlock(&chr->lock);
}

size_t chardev_write(struct chardev *chr, const uint8_t *buf, size_t len)
{
	size_t done = 0;
	bool kick = false;

	if (chr->kept)
		keep(chr, buf, len);
	if (chr->out_fd < 0)
		return len;
	pthread_mutex_lock(&chr->lock);
	if (!chr->used)
		done = push(chr, buf, len);
	if (done < len) {
		kick = !chr->used;
		done += ring_put(chr, buf + done, len - done);
		if (done < len)
			chr->client_waiting = true;
	}
	pthread_mutex_unlock(&chr->lock);
	if (kick)
		fd_signal(chr->kick_fd);
	return done;
}

/* Give the device what it has room for. True while it still has room (nothing is pending then). */
static bool deliver_pending(struct chardev *chr)
{
	const struct chardev_client *dev = &chr->client;
	size_t room = dev->room(dev->opaque), len;
	const uint8_t *bytes;

	while (room && (len = typed_peek(&chr->pending, &bytes)) > 0) {
		len = min_u64(room, len);
		dev->input(dev->opaque, bytes, len);
		typed_taken(&chr->pending, len);
		room = dev->room(dev->opaque);
	}
	return !chr->pending.used && room > 0;
}

/* Whether to read the host now. If not because too much is pending, the timer asks again. */
static bool input_wanted(struct chardev *chr)
{
	uint64_t ms = 0;

	if (deliver_pending(chr))
		return true;
	if (!chr->filter)
		return false;
	if (typed_may_read(&chr->pending, clock_ms(), &ms))
		return true;
	loop_timer_set(chr->stuck_fd, ms);
	return false;
}

/* Read once, filter, deliver. False when there is no more to do now. */
static bool input_step(struct chardev *chr)
{
	uint8_t buf[CHARDEV_READ];
	size_t kept;
	ssize_t n;

	if (!input_wanted(chr))
		return false;
	n = read(chr->in_fd, buf, sizeof(buf));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0) {
		chr->in_open = false;
		loop_remove(&chr->in);
		return false;
	}
	kept = chr->filter ? chr->filter(chr->filter_opaque, buf, (size_t)n) : (size_t)n;
	typed_put(&chr->pending, buf, kept);
	return true;
}

static bool may_read(struct chardev *chr)
{
	return !chr->may_read || chr->may_read(chr->may_read_opaque);
}

/*
 * Read what can be had, and watch the host's input exactly while the device has room; with a filter
 * nearly always, since the escape keys have to work most of all when the guest takes nothing.
 */
static void input_update(struct chardev *chr)
{
	bool wanted;

	if (!chr->in_open || !chr->client.room)
		return;
	if (!may_read(chr)) {
		loop_remove(&chr->in);
		return;
	}
	wanted = input_wanted(chr);
	if (!chr->in_polled)
		while (chr->in_open && input_step(chr))
			;
	else if (!wanted)
		loop_remove(&chr->in);
	else if (!chr->in.loop)
		loop_add(chr->loop, &chr->in, chr->in_fd, EPOLLIN, chr->in.fn);
}

static void on_input(struct loop_source *src, uint32_t events)
{
	struct chardev *chr = container_of(src, struct chardev, in);

	(void)events; /* a read() tells the end from a hang-up with bytes before it */
	if (may_read(chr))
		input_step(chr);
	input_update(chr);
}

/* The output could take more: drain, stop watching when empty, and tell a device that waited. */
static void output_update(struct chardev *chr)
{
	bool tell, more;

	pthread_mutex_lock(&chr->lock);
	ring_drain(chr);
	more = chr->used != 0;
	tell = chr->client_waiting && chr->used < CHARDEV_BUFFER;
	if (tell)
		chr->client_waiting = false;
	pthread_mutex_unlock(&chr->lock);

	if (!more)
		loop_remove(&chr->out);
	else if (!chr->out.loop)
		loop_add(chr->loop, &chr->out,
		         chr->nonblock_fd >= 0 ? chr->nonblock_fd : chr->out_fd, EPOLLOUT,
		         chr->out.fn);
	report_broken(chr);
	if (tell && chr->client.writable)
		chr->client.writable(chr->client.opaque);
}

static void on_output(struct loop_source *src, uint32_t events)
{
	(void)events;
	output_update(container_of(src, struct chardev, out));
}

static void on_kick(struct loop_source *src, uint32_t events)
{
	struct chardev *chr = container_of(src, struct chardev, kick);

	(void)events;
	fd_drain(chr->kick_fd);
	output_update(chr);
	input_update(chr);
}

static void on_stuck(struct loop_source *src, uint32_t events)
{
	struct chardev *chr = container_of(src, struct chardev, stuck);

	(void)events;
	fd_drain(chr->stuck_fd);
	input_update(chr);
}

int chardev_init(struct chardev *chr, struct loop *loop, int in_fd, int out_fd)
{
	int rc;

	memset(chr, 0, sizeof(*chr));
	chr->loop = loop;
	chr->in_fd = in_fd;
	chr->out_fd = out_fd;
	chr->in.fn = on_input;
	chr->out.fn = on_output;
	chr->nonblock_fd = out_fd < 0 ? -1 : open_nonblocking(out_fd);
	pthread_mutex_init(&chr->lock, NULL);
	chr->kick_fd = fd_eventfd();
	chr->stuck_fd = chr->kick_fd < 0 ? -1 : loop_timer_create();
	if (chr->kick_fd < 0 || chr->stuck_fd < 0) {
		rc = chr->kick_fd < 0 ? chr->kick_fd : chr->stuck_fd;
		chardev_destroy(chr);
		return rc;
	}
	rc = loop_add(loop, &chr->kick, chr->kick_fd, EPOLLIN, on_kick);
	if (rc == 0)
		rc = loop_add(loop, &chr->stuck, chr->stuck_fd, EPOLLIN, on_stuck);
	if (rc == 0 && in_fd >= 0) {
		/* Only to learn whether it can be watched: EPERM is a file that has no poll. */
		rc = loop_add(loop, &chr->in, in_fd, 0, on_input);
		loop_remove(&chr->in);
		chr->in_polled = rc == 0;
		chr->in_open = rc == 0 || rc == -EPERM;
		if (rc == -EPERM)
			rc = 0;
	}
	if (rc < 0)
		chardev_destroy(chr);
	return rc;
}

void chardev_destroy(struct chardev *chr)
{
	if (!chr->loop)
		return;
	loop_remove(&chr->in);
	loop_remove(&chr->out);
	loop_remove(&chr->kick);
	loop_remove(&chr->stuck);
	fd_close(&chr->kick_fd);
	fd_close(&chr->stuck_fd);
	typed_free(&chr->pending);
	fd_close(&chr->nonblock_fd);
	free(chr->ring);
	chr->ring = NULL;
	free(chr->kept);
	chr->kept = NULL;
	pthread_mutex_destroy(&chr->lock);
	chr->loop = NULL;
}

void chardev_attach(struct chardev *chr, const struct chardev_client *client)
{
	chr->client = *client;
	if (chr->in_fd >= 0)
		chardev_accept_input(chr);
}

void chardev_set_size(struct chardev *chr, uint16_t cols, uint16_t rows)
{
	if (chr->has_size && chr->cols == cols && chr->rows == rows)
		return;
	chr->has_size = true;
	chr->cols = cols;
	chr->rows = rows;
	if (chr->client.resized)
		chr->client.resized(chr->client.opaque);
}

void chardev_accept_input(struct chardev *chr)
{
	fd_signal(chr->kick_fd);
}

void chardev_flush(struct chardev *chr, int ms)
{
	uint64_t until = clock_ms() + (unsigned)ms, now;

	for (;;) {
		struct pollfd p = {.fd = chr->out_fd, .events = POLLOUT};
		bool more;

		pthread_mutex_lock(&chr->lock);
		ring_drain(chr);
		more = chr->used != 0;
		pthread_mutex_unlock(&chr->lock);
		now = clock_ms();
		if (!more || now >= until)
			break;
		if (poll(&p, 1, (int)(until - now)) < 0 && errno != EINTR)
			break;
	}
	report_broken(chr);
}

int chardev_keep_last(struct chardev *chr, size_t size)
{
	chr->kept = malloc(size);
	chr->kept_size = size;
	chr->kept_end = 0;
	return chr->kept ? 0 : -ENOMEM;
}

size_t chardev_last(struct chardev *chr, uint8_t *buf)
{
	size_t n, start;

	pthread_mutex_lock(&chr->lock);
	n = min_u64(chr->kept_end, chr->kept_size);
	start = (size_t)(chr->kept_end - n);
	for (size_t i = 0; i < n; i++)
		buf[i] = chr->kept[(start + i) % chr->kept_size];
	pthread_mutex_unlock(&chr->lock);
	/* The oldest line may have lost its beginning. */
	if (start) {
		const uint8_t *newline = memchr(buf, '\n', n);
		size_t cut = newline ? (size_t)(newline + 1 - buf) : 0;

		n -= cut;
		memmove(buf, buf + cut, n);
	}
	return n;
}
