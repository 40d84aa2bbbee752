/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * chardev: the host's end of a guest's character device (serial port, later virtio-console).
 *
 * The guest side writes from vCPU threads and must never wait for a slow reader: what the host
 * cannot take at once is kept in a bounded ring that the main loop drains, and a full ring is flow
 * control (chardev_write() takes less, on_writable says when to go on). Input comes from the main
 * loop.
 */
#ifndef TRIVM_VMM_CHARDEV_H
#define TRIVM_VMM_CHARDEV_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/loop.h"
#include "vmm/typed.h"

/* The device's half. All are called on the main loop's thread, without the chardev's lock. */
struct chardev_client {
	size_t (*room)(
		void *opaque); /* input bytes that it can take now; 0 stops reading the host */
	void (*input)(void *opaque, const uint8_t *buf, size_t len); /* len <= what room() said */
	void (*line_break)(void *opaque);                            /* Ctrl-A b */
	void (*resized)(void *opaque);  /* chardev_set_size(); may be NULL */
	void (*writable)(void *opaque); /* there is room again after chardev_write() took less */
	void *opaque;
};

#define CHARDEV_BUFFER 65536
#define CHARDEV_READ   TYPED_READ /* taken from the host at a time */

struct chardev {
	struct loop *loop;
	int in_fd, out_fd; /* -1: none. Not owned */
	struct chardev_client client;
	/* What the user typed, before the device sees it (escape keys): the bytes left. May be
	 * NULL. */
	size_t (*filter)(void *opaque, uint8_t *buf, size_t len);
	void *filter_opaque;
	/* Asked before the host's input is read or watched: false while a terminal belongs to
	 * another process group. Who answers false calls chardev_accept_input() later. May be
	 * NULL. */
	bool (*may_read)(void *opaque);
	void *may_read_opaque;
	/* The host's end took no more output, for the reason @error (an errno); called once on the
	 * main thread. From then on output is dropped. NULL: a warning is logged. */
	void (*on_broken)(void *opaque, int error);
	void *on_broken_opaque;

	/* Main thread only. */
	bool has_size; /* the host's end is a terminal, of so many columns and rows */
	uint16_t cols, rows;
	struct loop_source in, out, kick, stuck;
	bool in_open;   /* not at its end yet */
	bool in_polled; /* epoll takes it; else (regular file) it can always be read */
	/* Read and filtered, but the device had no room: without a filter at most CHARDEV_READ. */
	struct typed pending;
	int stuck_fd; /* timer: when to look whether a full @pending moves */

	int nonblock_fd; /* out_fd opened once more without blocking; -1: out_fd itself is used */
	int kick_fd;     /* eventfd: a vCPU thread wants the main loop to look at input or output */

	pthread_mutex_t lock; /* the fields below */
	bool out_broken;      /* the reader is gone: output is dropped */
	int out_error;        /* why, until the main thread has reported it */
	bool client_waiting;  /* a chardev_write() took less than all */
	size_t head, used;    /* ring: oldest byte, bytes in it */
	uint8_t *ring;        /* CHARDEV_BUFFER bytes, made when first needed */
	uint8_t *kept;        /* chardev_keep_last(): the last kept_size bytes, or NULL */
	size_t kept_size;
	uint64_t kept_end; /* bytes that ever came */
};

/*
 * @in_fd / @out_fd (-1: none) stay the caller's. Both are used without blocking whatever their
 * flags are (the caller ignores SIGPIPE). 0 or a negative errno. Main thread. chardev_destroy()
 * drops what is buffered, see chardev_flush(); it is idempotent.
 */
int chardev_init(struct chardev *chr, struct loop *loop, int in_fd, int out_fd);
void chardev_destroy(struct chardev *chr);

/* The device that takes part; before the guest runs. */
void chardev_attach(struct chardev *chr, const struct chardev_client *client);

/* Take up to @len bytes; returns how many were taken. Any thread; never blocks. */
size_t chardev_write(struct chardev *chr, const uint8_t *buf, size_t len);

/* The host's terminal has that size now. Main thread. */
void chardev_set_size(struct chardev *chr, uint16_t cols, uint16_t rows);

/* The device has room for input again. Any thread. */
void chardev_accept_input(struct chardev *chr);

/*
 * Keep the last @size bytes of output in memory, whatever becomes of them on the host. 0 or
 * -ENOMEM. Main thread, before the guest runs. chardev_last() copies them to @buf, which has @size
 * bytes, from the beginning of a line on if older ones are lost; returns their number.
 */
int chardev_keep_last(struct chardev *chr, size_t size);
size_t chardev_last(struct chardev *chr, uint8_t *buf);

/* Wait until the host has taken all output, at most @ms. Main thread, vCPUs stopped. */
void chardev_flush(struct chardev *chr, int ms);

#endif
