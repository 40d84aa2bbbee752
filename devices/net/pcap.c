/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: a capture in the classic format of libpcap, with nanoseconds
 * (draft-ietf-opsawg-pcap): a file header, then each frame behind a record header, all in the
 * host's byte order, which the magic number tells.
 *
 * A frame is one writev() of the record header and the frame's own parts, under a lock, so that
 * records of several threads are whole and in the order of their times. The lock is held while the
 * file system takes the bytes: a capture costs what it costs, and nothing when there is none.
 *
 * A file that cannot take more (disk full, file size limit, the reader of a FIFO gone) ends the
 * capture, not the VM: what a regular file took of the last record is cut off again, so that it
 * stays readable, one line is logged, and nothing more is tried.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "devices/net/port.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define PCAP_MAGIC_NS 0xa1b23c4d
#define PCAP_SNAPLEN  262144
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

struct pcap_writer {
	int fd;
	char *path;
	atomic_bool failed; /* set under lock, read without: one frame too many is harmless */
	pthread_mutex_t lock;
	off_t end; /* of the last whole record; lock */
};

/* All of @iov, which is used up on the way. 0 or a negative errno. */
static int write_all(int fd, struct iovec *iov, unsigned n)
{
	while (n) {
		ssize_t done = writev(fd, iov, (int)n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		for (; n && (size_t)done >= iov->iov_len; iov++, n--)
			done -= (ssize_t)iov->iov_len;
		if (n) {
			iov->iov_base = (char *)iov->iov_base + done;
			iov->iov_len -= (size_t)done;
		}
	}
	return 0;
}

/* An empty file that nobody else captures to, or -1 and why in *@rc. */
static int open_file(const char *path, int *rc)
{
	/* Non-blocking: a FIFO that nobody reads is an error and not a wait for ever. */
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
	struct stat st;

	*rc = fd < 0 ? -errno : 0;
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

static int open_error(const char *path, int rc, struct err *err)
{
	if (rc == -EBUSY)
		return err_set(err, rc,
		               "pcap=%s: another NIC or VM captures to this file: name another",
		               path);
	if (rc == -ENXIO)
		return err_set(err, rc, "pcap=%s: nobody reads this FIFO: start its reader first",
		               path);
	return err_errno(err, rc, "pcap=%s: cannot write a capture there", path);
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
	int rc;

	if (w)
		w->path = strdup(path);
	if (!w || !w->path) {
		free(w);
		return err_errno(err, -ENOMEM, "pcap=%s", path);
	}
	w->fd = open_file(path, &rc);
	if (rc == 0)
		rc = fd_write_full(w->fd, &header, sizeof(header));
	if (rc < 0) {
		fd_close(&w->fd);
		free(w->path);
		free(w);
		return open_error(path, rc, err);
	}
	atomic_init(&w->failed, false);
	pthread_mutex_init(&w->lock, NULL);
	w->end = sizeof(header);
	*pcap = w;
	return 0;
}

/* Up to @max parts of @iov into @out, from byte @skip on, @len bytes. Bytes, with *@n parts. */
static size_t gather(const struct iovec *iov, unsigned nr, size_t skip, size_t len,
                     struct iovec *out, unsigned max, unsigned *n)
{
	size_t total = 0;

	*n = 0;
	for (unsigned i = 0; i < nr && *n < max && total < len; i++) {
		size_t off = (size_t)min_u64(skip, iov[i].iov_len);
		size_t part = (size_t)min_u64(iov[i].iov_len - off, len - total);

		skip -= off;
		if (!part)
			continue;
		out[(*n)++] = (struct iovec){(char *)iov[i].iov_base + off, part};
		total += part;
	}
	return total;
}

/* With the lock held. */
static void give_up(struct pcap_writer *w, int rc)
{
	struct stat st;

	atomic_store_explicit(&w->failed, true, memory_order_relaxed);
	log_warn("pcap=%s: %s; the capture ends here, the VM goes on", w->path, strerror(-rc));
	if (fstat(w->fd, &st) == 0 && S_ISREG(st.st_mode) && ftruncate(w->fd, w->end) < 0)
		log_warn("pcap=%s: its last record is cut short", w->path);
}

/*
 * @iov holds @skip bytes that are not captured (the virtio-net header), then a frame of @len bytes.
 * One that does not fit the snap length, or lies in more parts than one writev() takes, is captured
 * as far as it does.
 */
void pcap_frame(struct pcap_writer *pcap, const struct iovec *iov, unsigned n, size_t skip,
                size_t len)
{
	struct pcap_record record = {.length = (uint32_t)min_u64(len, UINT32_MAX)};
	struct iovec out[IOV_MAX];
	struct timespec now;
	unsigned parts;
	size_t size;
	int rc;

	if (atomic_load_explicit(&pcap->failed, memory_order_relaxed))
		return;
	size = gather(iov, n, skip, (size_t)min_u64(len, PCAP_SNAPLEN), out + 1, IOV_MAX - 1,
	              &parts);
	record.captured = (uint32_t)size;
	out[0] = (struct iovec){&record, sizeof(record)};
	pthread_mutex_lock(&pcap->lock);
	/* Here, and not before: times do not go back within the file. */
	clock_gettime(CLOCK_REALTIME, &now);
	record.seconds = (uint32_t)now.tv_sec;
	record.nanoseconds = (uint32_t)now.tv_nsec;
	if (!atomic_load_explicit(&pcap->failed, memory_order_relaxed)) {
		rc = write_all(pcap->fd, out, parts + 1);
		if (rc < 0)
			give_up(pcap, rc);
		else
			pcap->end += (off_t)(sizeof(record) + size);
	}
	pthread_mutex_unlock(&pcap->lock);
}

void pcap_close(struct pcap_writer *pcap)
{
	if (!pcap)
		return;
	fd_close(&pcap->fd);
	pthread_mutex_destroy(&pcap->lock);
	free(pcap->path);
	free(pcap);
}
