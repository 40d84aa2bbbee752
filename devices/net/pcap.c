/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a capture in the classic format of libpcap, with nanoseconds
 * (draft-ietf-opsawg-pcap): a file header, then each frame behind a record header, all in the
 * host's byte order, which the magic number tells.
 *
 * Two buffers take turns. pcap_frame() appends whole records to one of them, under the lock, so that
 * records of several threads are whole and in the order of their times. The capture's own thread
 * takes a buffer that has something, gives the empty one in its place, and writes it without the
 * lock: only that thread ever waits for the file.
 *
 * A file that does not keep up (a disk that is slower than the NIC for a while, a reader of a FIFO
 * that sleeps) leaves no room for a frame. The frame's thread then waits a moment, since most files
 * are only slow; after one such wait that was in vain, frames are left out until there is room again.
 * How many are missing is logged when the first is missed and when the capture ends.
 *
 * A file that cannot take more (disk full, file size limit, the reader of a FIFO gone) ends the
 * capture, not the VM: what a regular file took of the last record is cut off again, so that it
 * stays readable, one line is logged, and nothing more is tried.
 *
 * The thread may be stuck in write() when the capture is closed. So it is detached, and the thread or
 * the owner, whichever lets go of the writer last, frees it.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/pcap.h"
#include "vmm/clock.h"
#include "vmm/fd.h"
#include "vmm/file.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define PCAP_MAGIC_NS 0xa1b23c4d
#define PCAP_SNAPLEN  262144
#define PCAP_BUFFER   (2u << 20) /* bytes of each of the two buffers */
#define PCAP_ETHERNET 1

struct pcap_file_header {
	uint32_t magic;
	uint16_t major, minor;
	int32_t thiszone;
	uint32_t sigfigs, snaplen, linktype;
};

struct pcap_record {
	uint32_t seconds, nanoseconds;
	uint32_t captured; /* bytes that follow */
	uint32_t length;   /* bytes that the frame had */
};

struct pcap_buffer {
	uint8_t *bytes; /* PCAP_BUFFER, whole records */
	size_t len;
};

struct pcap_writer {
	int fd;
	char *path;
	off_t end;          /* of the last whole record in the file; the thread's */
	atomic_bool failed; /* set under lock, read without: one frame too many is harmless */

	pthread_mutex_t lock;
	pthread_cond_t filled;          /* there is something to write, or the end */
	pthread_cond_t written;         /* a buffer was written, or the capture has failed */
	struct pcap_buffer fill, spare; /* spare: the thread's while it writes */
	bool writing, closing, lossy;
	uint64_t missed; /* frames that found no room */
	unsigned users;  /* the owner, the thread */
};

/* An empty file that nobody else captures to, or -1 and why in *@rc. */
static int open_file(const char *path, int *rc, struct err *err)
{
	/* Non-blocking: a FIFO that nobody reads is an error and not a wait for ever. */
	int fd = file_create("pcap=", path, O_WRONLY | O_NONBLOCK, 0666, err);
	struct stat st;

	*rc = fd < 0 ? fd : 0;
	if (fd < 0)
		return -1;
	if (fcntl(fd, F_SETFL, 0) < 0 || fstat(fd, &st) < 0) {
		*rc = -errno;
	} else if (S_ISREG(st.st_mode)) {
		/* Before it is emptied: a capture that runs is not ours to spoil. */
		if (flock(fd, LOCK_EX | LOCK_NB) < 0 && errno == EWOULDBLOCK)
			*rc = -EBUSY;
		else if (ftruncate(fd, 0) < 0)
			*rc = -errno;
	}
	return fd;
}

static int open_error(const char *path, int rc, bool opened, struct err *err)
{
	if (rc == -EBUSY)
		return err_set(err, rc,
		               "pcap=%s: another NIC or VM captures to this file: name another",
		               path);
	if (rc == -ENXIO)
		return err_set(err, rc, "pcap=%s: nobody reads this FIFO: start its reader first",
		               path);
	if (!opened && rc != -ENOMEM) /* file_create() said why */
		return rc;
	return err_errno(err, rc, "pcap=%s: cannot write a capture there", path);
}

/* The file cannot take more: @done bytes of @b were written. The capture's thread. */
static void give_up(struct pcap_writer *w, const struct pcap_buffer *b, size_t done, int rc)
{
	struct pcap_record record;
	struct stat st;

	log_warn("pcap=%s: %s; the capture ends here, the VM goes on", w->path, strerror(-rc));
	for (size_t at = 0; at < done; at += sizeof(record) + record.captured) {
		memcpy(&record, b->bytes + at, sizeof(record));
		if (at + sizeof(record) + record.captured <= done)
			w->end += (off_t)(sizeof(record) + record.captured);
	}
	if (fstat(w->fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(w->fd, w->end) < 0)
		log_warn("pcap=%s: its last record is cut short", w->path);
}

/* All of @b. False: the capture has failed. The capture's thread, without the lock. */
static bool write_buffer(struct pcap_writer *w, const struct pcap_buffer *b)
{
	size_t done = 0;

	while (done < b->len) {
		ssize_t n = write(w->fd, b->bytes + done, b->len - done);

		if (n < 0 && errno != EINTR) {
			give_up(w, b, done, -errno);
			return false;
		}
		done += n > 0 ? (size_t)n : 0;
	}
	w->end += (off_t)b->len;
	return true;
}

/* One of the two users lets go of it; the lock is held, and let go. */
static void release(struct pcap_writer *w)
{
	bool last = --w->users == 0;

	pthread_cond_broadcast(&w->written);
	pthread_mutex_unlock(&w->lock);
	if (!last)
		return;
	fd_close(&w->fd);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->filled);
	pthread_cond_destroy(&w->written);
	free(w->fill.bytes);
	free(w->spare.bytes);
	free(w->path);
	free(w);
}

static void *writer_thread(void *opaque)
{
	struct pcap_writer *w = opaque;

	pthread_setname_np(pthread_self(), "pcap");
	pthread_mutex_lock(&w->lock);
	for (;;) {
		struct pcap_buffer b = w->fill;
		bool ok;

		if (!b.len && w->closing)
			break;
		if (!b.len) {
			pthread_cond_wait(&w->filled, &w->lock);
			continue;
		}
		w->fill = w->spare;
		w->writing = true;
		pthread_mutex_unlock(&w->lock);
		ok = !atomic_load(&w->failed) && write_buffer(w, &b);
		pthread_mutex_lock(&w->lock);
		if (!ok)
			atomic_store(&w->failed, true);
		b.len = 0;
		w->spare = b;
		w->writing = false;
		pthread_cond_broadcast(&w->written);
	}
	release(w);
	return NULL;
}

static int start_thread(struct pcap_writer *w)
{
	sigset_t all, old;
	pthread_t thread;
	int rc;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	rc = -pthread_create(&thread, NULL, writer_thread, w);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc == 0)
		pthread_detach(thread);
	return rc;
}

int pcap_open(struct pcap_writer **pcap, const char *path, struct err *err)
{
	const struct pcap_file_header header = {
		.magic = PCAP_MAGIC_NS,
		.major = 2,
		.minor = 4,
		.snaplen = PCAP_SNAPLEN,
		.linktype = PCAP_ETHERNET,
	};
	struct pcap_writer *w = calloc(1, sizeof(*w));
	int rc = -ENOMEM;

	if (!w)
		return err_errno(err, rc, "pcap=%s", path);
	*w = (struct pcap_writer){.fd = -1, .end = sizeof(header), .users = 1};
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->filled, NULL);
	pthread_cond_init(&w->written, NULL);
	w->path = strdup(path);
	w->fill.bytes = malloc(PCAP_BUFFER);
	w->spare.bytes = malloc(PCAP_BUFFER);
	if (w->path && w->fill.bytes && w->spare.bytes)
		w->fd = open_file(path, &rc, err);
	if (rc == 0)
		rc = fd_write_full(w->fd, &header, sizeof(header));
	if (rc == 0) {
		w->users = 2;
		rc = start_thread(w);
		w->users = rc == 0 ? 2 : 1;
	}
	if (rc < 0) {
		bool opened = w->fd >= 0;

		pthread_mutex_lock(&w->lock);
		release(w);
		return open_error(path, rc, opened, err);
	}
	*pcap = w;
	return 0;
}

/* Whether @len bytes more fit, after a wait if that has a chance. The lock is held, and let go
 * meanwhile. */
static bool make_room(struct pcap_writer *w, size_t len)
{
	struct timespec until;

	if (w->fill.len + len <= PCAP_BUFFER) {
		w->lossy = false;
		return true;
	}
	until = clock_deadline(PCAP_PATIENCE_MS);
	while (!w->lossy && w->fill.len + len > PCAP_BUFFER)
		if (pthread_cond_clockwait(&w->written, &w->lock, CLOCK_MONOTONIC, &until) != 0)
			w->lossy = true;
	if (w->fill.len + len <= PCAP_BUFFER)
		return true;
	if (!w->missed++)
		log_warn("pcap=%s: the file does not keep up (a reader that sleeps, a slow disk): "
		         "frames are "
		         "missing from here on, the VM goes on",
		         w->path);
	return false;
}

/* The record of a frame of @len bytes. The lock is held. */
static void append(struct pcap_writer *w, struct pcap_record *record, const struct iovec *iov,
                   unsigned n, size_t skip)
{
	uint8_t *at = w->fill.bytes + w->fill.len;
	size_t done = 0;
	struct timespec now;

	/* Here, and not before: times do not go back within the file. */
	clock_gettime(CLOCK_REALTIME, &now);
	record->seconds = (uint32_t)now.tv_sec;
	record->nanoseconds = (uint32_t)now.tv_nsec;
	for (unsigned i = 0; i < n && done < record->captured; i++) {
		size_t off = (size_t)min_u64(skip, iov[i].iov_len);
		size_t part = (size_t)min_u64(iov[i].iov_len - off, record->captured - done);

		memcpy(at + sizeof(*record) + done, (const uint8_t *)iov[i].iov_base + off, part);
		skip -= off;
		done += part;
	}
	record->captured = (uint32_t)done;
	memcpy(at, record, sizeof(*record));
	w->fill.len += sizeof(*record) + done;
}

void pcap_frame(struct pcap_writer *pcap, const struct iovec *iov, unsigned n, size_t skip,
                size_t len)
{
	struct pcap_record record = {.length = (uint32_t)min_u64(len, UINT32_MAX),
	                             .captured = (uint32_t)min_u64(len, PCAP_SNAPLEN)};

	if (atomic_load_explicit(&pcap->failed, memory_order_relaxed))
		return;
	pthread_mutex_lock(&pcap->lock);
	if (make_room(pcap, sizeof(record) + record.captured)) {
		append(pcap, &record, iov, n, skip);
		pthread_cond_signal(&pcap->filled);
	}
	pthread_mutex_unlock(&pcap->lock);
}

bool pcap_sync(struct pcap_writer *pcap, unsigned ms)
{
	struct timespec until = clock_deadline(ms);
	bool done;

	pthread_mutex_lock(&pcap->lock);
	while ((pcap->fill.len || pcap->writing) &&
	       pthread_cond_clockwait(&pcap->written, &pcap->lock, CLOCK_MONOTONIC, &until) == 0)
		;
	done = !pcap->fill.len && !pcap->writing;
	pthread_mutex_unlock(&pcap->lock);
	return done;
}

void pcap_close(struct pcap_writer *pcap)
{
	bool whole;

	if (!pcap)
		return;
	whole = pcap_sync(pcap, PCAP_CLOSE_MS);
	pthread_mutex_lock(&pcap->lock);
	if (!whole)
		log_warn("pcap=%s: its end is not written, since the file takes nothing",
		         pcap->path);
	if (pcap->missed)
		log_warn("pcap=%s: %llu frames are missing in it", pcap->path,
		         (unsigned long long)pcap->missed);
	if (!whole) /* what the thread writes when the file goes on would be cut anywhere */
		pcap->fill.len = 0;
	pcap->closing = true;
	pthread_cond_signal(&pcap->filled);
	/* A thread that is not stuck ends now: then the file can be captured to again. */
	while (whole && pcap->users > 1)
		pthread_cond_wait(&pcap->written, &pcap->lock);
	release(pcap);
}
