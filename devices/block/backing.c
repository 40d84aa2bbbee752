/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: plain system calls on one descriptor.
 *
 * Errors of write-back. The kernel tells an error of writing back cached pages to a descriptor
 * once, and may have dropped the pages: the next fdatasync() returns 0 though data is lost. So
 * fdatasync() is called by one thread at a time (of two at once only one would see the error), and
 * after a failure no flush succeeds any more.
 *
 * O_DIRECT wants offsets and lengths in multiples of the device's block (the guest is told that
 * size and requests that do not fit never come here) and buffers at aligned addresses, which guests
 * do not owe us: those that are not are copied through an aligned buffer, a piece at a time.
 *
 * Locks are of the open file description's kind (F_OFD_SETLK): unlike POSIX's own they are not lost
 * when something else in this process closes the same file, and two disks of one guest conflict
 * like those of two.
 */
#include "devices/block/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "devices/virtio/queue.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define BOUNCE_SIZE  KIB(256)
#define BOUNCE_ALIGN 4096 /* more than any device asks for its buffers */
#define ZEROES_SIZE  KIB(64)

/* --- Opening --- */

static int open_error(int rc, const struct backing_config *c, struct err *err)
{
	const char *path = c->path;
	int fd;

	switch (rc) {
	case -ENOENT:
		return err_set(err, rc,
		               "--disk %s: no such file; an empty disk is made by `truncate -s 4G "
		               "%s`",
		               path, path);
	case -EISDIR:
		return err_set(err, rc,
		               "--disk %s: a directory; expected a raw image or a block "
		               "device",
		               path);
	case -EBUSY:
		return err_set(err, rc,
		               "--disk %s: the host itself uses this device; unmount it, "
		               "or give --disk %s,ro",
		               path, path);
	case -EINVAL:
		if (c->direct)
			return err_set(err, rc,
			               "--disk %s,direct: its file system has no O_DIRECT; leave "
			               "out direct",
			               path);
		break;
	case -EACCES:
	case -EPERM:
	case -EROFS:
	case -ETXTBSY:
		fd = c->ro ? -1 : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0)
			break;
		close(fd);
		return err_errno(err, rc,
		                 "--disk %s: may be read but not written (give --disk %s,ro, or "
		                 "write permission)",
		                 path, path);
	}
	return err_errno(err, rc, "--disk %s", path);
}

static int open_file(const struct backing_config *c, struct err *err)
{
	/* Not blocking: a FIFO is refused later, not waited for. */
	int flags = (c->ro ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK;
	struct stat st;
	int fd;

	if (stat(c->path, &st) < 0)
		return open_error(-errno, c, err);
	if (S_ISDIR(st.st_mode))
		return open_error(-EISDIR, c, err);
	if (c->direct)
		flags |= O_DIRECT;
	/* On a block device: nobody has it mounted, and nobody mounts it later. */
	if (S_ISBLK(st.st_mode) && !c->ro)
		flags |= O_EXCL;
	fd = open(c->path, flags);
	return fd < 0 ? open_error(-errno, c, err) : fd;
}

static int lock_file(int fd, const struct backing_config *c, struct err *err)
{
	struct flock lock = {.l_type = c->ro ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, -EBUSY,
		               "--disk %s: in use by another virtual machine; stop that one, or "
		               "give ,ro to all who share it",
		               c->path);
	log_warn("--disk %s: its file system has no locks (%s): see that nobody else writes to it",
	         c->path, strerrordesc_np(errno));
	return 0;
}

/* The size of what is open. */
static int measure_size(const struct backing *b, const char *path, uint64_t *size, struct err *err)
{
	struct stat st;

	if (b->is_block) {
		if (ioctl(b->fd, BLKGETSIZE64, size) == 0)
			return 0;
	} else if (fstat(b->fd, &st) == 0) {
		*size = (uint64_t)st.st_size;
		return 0;
	}
	return err_errno(err, -errno, "--disk %s: its size", path);
}

/* Size and blocks of what is open. */
static int measure(struct backing *b, const char *path, struct err *err)
{
	unsigned physical = 0, optimal = 0;
	uint64_t size = 0;
	int block = 0, rc;
	struct stat st;

	if (fstat(b->fd, &st) < 0)
		return err_errno(err, -errno, "--disk %s", path);
	b->is_block = S_ISBLK(st.st_mode);
	if (!b->is_block && !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "--disk %s: neither a file nor a block device", path);
	rc = measure_size(b, path, &size, err);
	if (rc < 0)
		return rc;
	b->size = size;
	b->block = BACKING_SECTOR;
	if (!b->is_block) {
		b->physical = (uint32_t)st.st_blksize;
		return 0;
	}
	if (ioctl(b->fd, BLKSSZGET, &block) < 0)
		return err_errno(err, -errno, "--disk %s: its blocks", path);
	b->block = (uint32_t)block;
	if (ioctl(b->fd, BLKPBSZGET, &physical) == 0)
		b->physical = physical;
	if (ioctl(b->fd, BLKIOOPT, &optimal) == 0)
		b->optimal = optimal;
	return 0;
}

/* What O_DIRECT demands: asked for, or (Linux before 6.1) found out by reading. */
static int measure_direct(struct backing *b, const char *path, struct err *err)
{
	void *buf;
	ssize_t n;
#ifdef STATX_DIOALIGN
	struct statx sx;

	if (statx(b->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) == 0 &&
	    (sx.stx_mask & STATX_DIOALIGN)) {
		if (!sx.stx_dio_offset_align)
			return err_set(err, -EINVAL,
			               "--disk %s,direct: O_DIRECT does not work on this file; "
			               "leave out direct",
			               path);
		b->block = (uint32_t)max_u64(b->block, sx.stx_dio_offset_align);
		b->mem_align = (uint32_t)max_u64(sx.stx_dio_mem_align, 1);
		return 0;
	}
#endif
	if (posix_memalign(&buf, BOUNCE_ALIGN, BOUNCE_ALIGN) != 0)
		return err_errno(err, -ENOMEM, "--disk %s", path);
	n = pread(b->fd, buf, b->block, 0);
	if (n < 0 && errno == EINVAL)
		b->block = BOUNCE_ALIGN;
	free(buf);
	b->mem_align = b->block;
	return 0;
}

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

static int judge(struct backing *b, const char *path, struct err *err)
{
	if (b->size == 0)
		return err_set(err, -EINVAL,
		               "--disk %s: empty; give it a size by `truncate -s 4G %s`", path,
		               path);
	if (b->size % b->block)
		return err_set(err, -EINVAL,
		               "--disk %s: %llu bytes are not a multiple of %u; is it a raw image? "
		               "`truncate -s %%%u %s` fills it up",
		               path, (unsigned long long)backing_size(b), b->block, b->block, path);
	if (!power_of_two(b->block) || !power_of_two(b->mem_align))
		return err_set(err, -EINVAL, "--disk %s: blocks of %u bytes, buffers at %u", path,
		               b->block, b->mem_align);
	/* A hint: what makes no sense is left out. */
	if (!power_of_two(b->physical) || b->physical < b->block || b->physical > MIB(1))
		b->physical = b->block;
	if (b->optimal % b->physical)
		b->optimal = 0;
	return 0;
}

int backing_open(struct backing *b, const struct backing_config *config, struct err *err)
{
	int rc = open_file(config, err);

	memset(b, 0, sizeof(*b));
	b->fd = -1;
	if (rc < 0)
		return rc;
	b->fd = rc;
	b->ro = config->ro;
	b->direct = config->direct;
	b->mem_align = 1;
	pthread_mutex_init(&b->sync_lock, NULL);
	rc = measure(b, config->path, err);
	if (rc == 0 && fcntl(b->fd, F_SETFL, b->direct ? O_DIRECT : 0) < 0)
		rc = err_errno(err, -errno, "--disk %s", config->path);
	if (rc == 0)
		rc = lock_file(b->fd, config, err);
	if (rc == 0 && b->direct && b->size)
		rc = measure_direct(b, config->path, err);
	if (rc == 0)
		rc = judge(b, config->path, err);
	if (rc < 0)
		backing_close(b);
	return rc;
}

int backing_resize(struct backing *b, const char *path, struct err *err)
{
	uint64_t size = 0;
	int rc = measure_size(b, path, &size, err);

	if (rc < 0)
		return rc;
	if (size < backing_size(b))
		return err_set(
			err, -EINVAL,
			"--disk %s: has %llu bytes, less than the %llu that the guest uses: a "
			"disk can only grow; `truncate -s %llu %s` makes it as it was",
			path, (unsigned long long)size, (unsigned long long)backing_size(b),
			(unsigned long long)backing_size(b), path);
	if (size % b->block)
		return err_set(err, -EINVAL,
		               "--disk %s: %llu bytes are not a multiple of %u; `truncate -s %%%u "
		               "%s` fills it up",
		               path, (unsigned long long)size, b->block, b->block, path);
	atomic_store_explicit(&b->size, size, memory_order_relaxed);
	return 0;
}

bool backing_is(const struct backing *b, const char *path)
{
	struct stat mine, other;

	if (fstat(b->fd, &mine) < 0 || stat(path, &other) < 0)
		return false;
	/* A block device may have several nodes. */
	if (S_ISBLK(mine.st_mode) && S_ISBLK(other.st_mode))
		return mine.st_rdev == other.st_rdev;
	return mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

void backing_close(struct backing *b)
{
	if (b->fd < 0)
		return;
	fd_close(&b->fd);
	pthread_mutex_destroy(&b->sync_lock);
}

/* --- Reading and writing --- */

static uint64_t iov_total(const struct iovec *iov, unsigned n)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

/* Leave out the first @done bytes of *@iov. */
static void iov_advance(struct iovec **iov, unsigned *n, size_t done)
{
	while (*n && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		++*iov;
		--*n;
	}
	if (*n) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

/* The buffers as they are. */
static int transfer(struct backing *b, bool write, struct iovec *iov, unsigned n, uint64_t offset)
{
	iov_advance(&iov, &n, 0);
	while (n) {
		int count = (int)min_u64(n, IOV_MAX);
		ssize_t done = write ? pwritev(b->fd, iov, count, (off_t)offset)
		                     : preadv(b->fd, iov, count, (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		if (done == 0)
			return -EIO; /* the end, before all was read */
		offset += (uint64_t)done;
		iov_advance(&iov, &n, (size_t)done);
	}
	return 0;
}

static bool aligned(const struct backing *b, const struct iovec *iov, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (((uintptr_t)iov[i].iov_base & (b->mem_align - 1)) ||
		    (iov[i].iov_len & (b->block - 1)))
			return false;
	return true;
}

/* The same through an aligned buffer. */
static int bounce(struct backing *b, bool write, const struct iovec *iov, unsigned n,
                  uint64_t offset)
{
	uint64_t len = iov_total(iov, n), size = min_u64(len, BOUNCE_SIZE);
	void *buf;
	int rc = 0;

	if (posix_memalign(&buf, BOUNCE_ALIGN, size) != 0)
		return -ENOMEM;
	for (uint64_t done = 0; done < len && rc == 0; done += size) {
		size_t part = min_u64(size, len - done);
		struct iovec one = {.iov_base = buf, .iov_len = part};

		if (write)
			iov_copy_out(iov, n, done, buf, part);
		rc = transfer(b, write, &one, 1, offset + done);
		if (rc == 0 && !write)
			iov_copy_in(iov, n, done, buf, part);
	}
	free(buf);
	return rc;
}

static int read_or_write(struct backing *b, bool write, struct iovec *iov, unsigned n,
                         uint64_t offset)
{
	if (iov_total(iov, n) == 0)
		return 0;
	if (b->direct && !aligned(b, iov, n))
		return bounce(b, write, iov, n, offset);
	return transfer(b, write, iov, n, offset);
}

int backing_read(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset)
{
	return read_or_write(b, false, iov, n, offset);
}

int backing_write(struct backing *b, struct iovec *iov, unsigned n, uint64_t offset)
{
	return b->ro ? -EROFS : read_or_write(b, true, iov, n, offset);
}

int backing_flush(struct backing *b)
{
	int rc = 0;

	if (b->ro)
		return 0;
	pthread_mutex_lock(&b->sync_lock);
	if (b->sync_failed) {
		rc = -EIO;
	} else {
		do
			rc = fdatasync(b->fd) < 0 ? -errno : 0;
		while (rc == -EINTR);
		b->sync_failed = rc < 0;
	}
	pthread_mutex_unlock(&b->sync_lock);
	return rc;
}

/* --- Discarding and zeroing --- */

/* fallocate(), unless it is known not to work. -EOPNOTSUPP: it does not. */
static int allocate(struct backing *b, int mode, _Atomic bool *cannot, uint64_t offset,
                    uint64_t len)
{
	int rc;

	if (atomic_load(cannot))
		return -EOPNOTSUPP;
	do
		rc = fallocate(b->fd, mode, (off_t)offset, (off_t)len) < 0 ? -errno : 0;
	while (rc == -EINTR);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS) {
		atomic_store(cannot, true);
		return -EOPNOTSUPP;
	}
	return rc;
}

int backing_discard(struct backing *b, uint64_t offset, uint64_t len)
{
	uint64_t range[2] = {offset, len};
	int rc;

	if (b->ro)
		return -EROFS;
	if (len == 0 || atomic_load(&b->no_discard))
		return 0;
	if (!b->is_block) {
		rc = allocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, &b->no_punch, offset,
		              len);
		return rc == -EOPNOTSUPP ? 0 : rc;
	}
	rc = ioctl(b->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	if (rc == -EOPNOTSUPP) {
		atomic_store(&b->no_discard, true);
		return 0;
	}
	return rc;
}

/* Writing them, where the host has no shorter way. */
static int write_zeroes(struct backing *b, uint64_t offset, uint64_t len)
{
	static uint8_t zeroes[ZEROES_SIZE] __attribute__((aligned(BOUNCE_ALIGN)));
	struct iovec iov[16];
	int rc = 0;

	while (len && rc == 0) {
		uint64_t done = 0;
		unsigned n = 0;

		for (; n < ARRAY_SIZE(iov) && done < len; n++) {
			iov[n] = (struct iovec){.iov_base = zeroes,
			                        .iov_len = min_u64(len - done, ZEROES_SIZE)};
			done += iov[n].iov_len;
		}
		rc = transfer(b, true, iov, n, offset);
		offset += done;
		len -= done;
	}
	return rc;
}

int backing_zero(struct backing *b, uint64_t offset, uint64_t len, bool unmap)
{
	int rc = -EOPNOTSUPP;

	if (b->ro)
		return -EROFS;
	if (len == 0)
		return 0;
	if (unmap)
		rc = allocate(b, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, &b->no_punch, offset,
		              len);
	if (rc == -EOPNOTSUPP)
		rc = allocate(b, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, &b->no_zero_range,
		              offset, len);
	if (rc == -EOPNOTSUPP)
		rc = write_zeroes(b, offset, len);
	return rc;
}
