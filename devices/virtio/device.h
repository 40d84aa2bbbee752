/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * device: what every virtio device is to its driver (virtio 1.2, 2.1 "Device Status Field" to 2.6,
 * and 3.1 "Device Initialization"), whichever transport carries it.
 *
 *	transport (pci, mmio)	registers <-> the calls below; interrupts out
 *	struct virtio_device	status, features, queues' settings, config generation: this file
 *	a device (net, blk ...)	struct virtio_device_ops: what it does with running queues
 *
 * Device status, as bits that the driver sets in this order, and can only clear all together:
 *
 *   - ACKNOWLEDGE, DRIVER: say something about the driver, and change nothing here.
 *   - Until FEATURES_OK the driver may select features. FEATURES_OK sticks only if it took none
 *     that was not offered, and VERSION_1 (there is no legacy interface).
 *   - Until DRIVER_OK it sets up queues; nothing is touched in guest memory. DRIVER_OK is not
 *     taken without FEATURES_OK.
 *   - DRIVER_OK: ops->start() is called; queues that are enabled run. Later enabling, and ring
 *     reset (VIRTIO_F_RING_RESET), start and stop one queue.
 *   - NEEDS_RESET is the device's: it found something wrong (virtio_device_broken()), has stopped
 *     looking at the queue in question and waits for a reset.
 *   - Status 0 written at any moment is a reset: ops->stop() returns when nothing touches guest
 *     memory any more, then all is as it was at first, and only then 0 can be read back.
 *
 * Threads: the transport calls in on vCPU threads, and every call takes dev->lock. The owner of a
 * queue (a thread of the device, or the main loop) never takes dev->lock: a reset holds it while it
 * waits for the owner. It talks to the driver by virtio_queue_interrupt(), virtio_config_changed()
 * and virtio_device_broken(), which any thread may call with or without dev->lock. ops are called
 * with dev->lock held, and may wait for the device's threads to leave their queues.
 *
 * Locks, in the order in which they are taken: the PCI host's, dev->lock, a device's own, the
 * transport's, and then those of the services (MSI-X, bus, interrupt controller).
 */
#ifndef TRIVM_DEVICES_VIRTIO_DEVICE_H
#define TRIVM_DEVICES_VIRTIO_DEVICE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "devices/virtio/kicks.h"
#include "devices/virtio/queue.h"
#include "vmm/err.h"
#include "vmm/event.h"
#include "vmm/log.h"
#include "vmm/memory.h"

#define VIRTIO_QUEUES_MAX 65 /* 32 queue pairs and a control queue */

/* A feature is named by its bit number everywhere; this makes the mask. */
#define VIRTIO_FEATURE(bit) (UINT64_C(1) << (bit))

struct virtio_device;

/*
 * How a queue's interrupts and notifications travel. The eventfds belong to the transport, which
 * lends them to whoever moves the queue's data. All are non-blocking; -1 before there is a
 * transport.
 */
struct virtio_queue_events {
	int kick_fd; /* readable: the driver notified the queue */
	/*
	 * Written: interrupt the driver. Goes to KVM directly (irqfd) where transport, options and
	 * masks allow it, through the VMM where not; the writer cannot tell. -1 with inject=ioctl:
	 * then only virtio_queue_interrupt() interrupts.
	 */
	int call_fd;
	/*
	 * The same for those who cannot call virtio_queue_interrupt(), the kernel and other
	 * processes: with inject=ioctl the VMM reads it and injects on their behalf.
	 */
	int peer_call_fd;
};

struct virtio_queue {
	struct virtq_config config; /* the driver's settings; dev->lock */
	virtq_base_t base;          /* where the next start goes on; dev->lock */
	bool running;               /* between queue_start and queue_stop; dev->lock */
	bool stopping;  /* queue_stop was called, and let_go said "not yet"; dev->lock */
	bool resetting; /* a stopping one: its settings are forgotten, too; dev->lock */
	/*
	 * The main loop tells ops->kicked of it. By default all queues of a device that has the op;
	 * one whose queues have different owners sets it between virtio_device_init() and the
	 * transport.
	 */
	bool on_loop;
	struct virtio_queue_events events; /* constant once the transport is there */
	struct virtio_kicks kicks;
	_Atomic bool outside; /* its owner is outside of this process: for counting. dev->lock */
	/*
	 * Another process got the eventfds, and may still have them: they are written by
	 * fd_signal_shared() until virtio_queue_renew(). Set by the device; dev->lock.
	 */
	_Atomic bool lent;
};

/* All with dev->lock held, on a vCPU thread or the main thread. Those that say so may be NULL. */
struct virtio_device_ops {
	/*
	 * DRIVER_OK: take up work with the queues that are enabled: validate each
	 * (virtio_queue_take()) and start threads or hand the rings over. An error breaks the
	 * device.
	 */
	int (*start)(struct virtio_device *dev, struct err *err);
	/*
	 * Reset, or the machine's end: when it returns nothing touches guest memory for this device
	 * (but see let_go), and everything negotiated is forgotten. Called only after a start that
	 * succeeded. Idempotent.
	 */
	void (*stop)(struct virtio_device *dev);
	/* One queue comes or goes while the device runs. NULL: no VIRTIO_F_RING_RESET, no late
	 * queues. */
	int (*queue_start)(struct virtio_device *dev, unsigned index, struct err *err);
	void (*queue_stop)(struct virtio_device *dev, unsigned index);
	/*
	 * For devices whose work cannot be interrupted (a disk's request in the host's storage), with
	 * queue_start and queue_stop; NULL: stop and queue_stop return when all is over. After
	 * queue_stop of @index, or stop (@index negative): returns true if nothing touches guest
	 * memory for the queue, or for the device, any more. Until then the device has not let go:
	 * the reset goes on, the driver reads so, and the device calls virtio_device_let_go().
	 */
	bool (*let_go)(struct virtio_device *dev, int index);
	/*
	 * The device-specific configuration, little endian. @offset + @len is within config_size.
	 * config_write may be NULL: read-only. A change that the device makes itself is announced
	 * by virtio_config_changed().
	 */
	void (*config_read)(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len);
	void (*config_write)(struct virtio_device *dev, uint32_t offset, const void *buf,
	                     uint32_t len);
	/*
	 * For devices whose queues the main loop serves; NULL: the owners read their kick_fd
	 * themselves. Queue @index was notified, or has just started. On the main thread, without
	 * dev->lock. The notification may be an old one: the queue may have stopped since. It must
	 * not read kick_fd, which others may be watching too.
	 */
	void (*kicked)(struct virtio_device *dev, unsigned index);
	/*
	 * Where queue @index, which runs, stands, without stopping it: for people (inspect.h).
	 * -ENOTSUP: not known. NULL: never known.
	 */
	int (*position)(struct virtio_device *dev, unsigned index, virtq_base_t *base);
};

/* How a queue's notifications and interrupts travel just now, for people. */
struct virtio_ways {
	bool ioeventfd; /* the kernel takes its notifications; else they are exits */
	bool irqfd;     /* the kernel takes its call fd; else the VMM delivers interrupts */
};

/* The transport's half. The interrupts: any thread, dev->lock not needed, never blocks. */
struct virtio_transport_ops {
	/* A used-buffer interrupt for queue @index, delivered by the VMM itself. */
	void (*queue_interrupt)(void *transport, unsigned index);
	/* A configuration change interrupt. */
	void (*config_interrupt)(void *transport);
	/*
	 * Which queues run (dev->queues[].running) has changed, or will in a moment: a queue's
	 * routes are there before its owner starts and until it has stopped. ioeventfds and irqfds
	 * are attached and detached here. @running: the device as a whole. dev->lock is held.
	 */
	void (*running)(void *transport, bool running);
	/*
	 * The device (@index negative) or a queue is as after power-on: forget vectors and causes
	 * of interrupts. What is to be reset does not run any more. dev->lock is held.
	 */
	void (*reset)(void *transport, int index);
	/*
	 * New eventfds for queue @index behind the same descriptors, with the kernel's short ways
	 * that the old ones had. 0 or a negative errno, and then nothing has changed. Any thread;
	 * dev->lock is held, and the queue is not served.
	 */
	int (*renew)(void *transport, unsigned index);
	/* Queue @index, which exists. Any thread. NULL: not known. */
	void (*ways)(void *transport, unsigned index, struct virtio_ways *ways);
};

struct virtio_device {
	/* Constant after virtio_device_init() and the transport's init. */
	const char *name; /* for logs: "net0" */
	uint16_t type;    /* 5.: VIRTIO_ID_NET ... */
	const struct virtio_device_ops *ops;
	const struct memory *mem;
	uint64_t offered;
	uint32_t config_size;
	unsigned nr_queues;
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	const struct event_sink *_Atomic events; /* NULL: nobody is told that it is broken */

	_Atomic uint8_t status;     /* written under lock, NEEDS_RESET also by queue owners */
	_Atomic bool config_newer;  /* than what was last read: the next read is a new generation */
	uint32_t config_generation; /* 2.5.2; lock */

	pthread_mutex_t lock; /* the fields below */
	/* As written, under the lock; negotiated once FEATURES_OK is set. Atomic for virtio_accepted(). */
	_Atomic uint64_t driver_features;
	bool running;           /* between ops->start and ops->stop */
	bool stopping;          /* ops->stop was called, and let_go said "not yet" */
	bool resetting;         /* the driver reset a stopping one */
	pthread_cond_t settled; /* resetting is over */
	struct virtio_queue queues[VIRTIO_QUEUES_MAX];

	struct log_limit limit;
};

/* --- For devices. --- */

/*
 * Everything is copied but @ops and @mem, and @name. RING_RESET is not offered without
 * ops->queue_start and queue_stop.
 * @offered: the device's own features; VERSION_1, RING_PACKED, EVENT_IDX, INDIRECT_DESC, RING_RESET
 * ... are the device's to add by virtio_ring_features(). @queue_sizes: the largest size of each
 * queue.
 */
void virtio_device_init(struct virtio_device *dev, const char *name, uint16_t type,
                        const struct virtio_device_ops *ops, uint64_t offered, uint32_t config_size,
                        const uint16_t *queue_sizes, unsigned nr_queues, const struct memory *mem);

/*
 * The device lets go of something that it had kept (ops->let_go): end the resets that waited for
 * that. Any thread of the device, without its locks and without dev->lock.
 */
void virtio_device_let_go(struct virtio_device *dev);

/*
 * Reset the device and wait at most @ms until it has let go. Returns false if it has not: then its
 * memory and the guest's must stay where they are. Main thread, vCPUs stopped.
 */
bool virtio_device_settle(struct virtio_device *dev, unsigned ms);

/*
 * A reset, and then nothing more: the transport does not call any more (vCPUs are stopped). It and
 * its eventfds may still be there, or be gone already; in both cases the device's memory outlives
 * the transport. It waits for a device that has not let go: virtio_device_settle() tells beforehand.
 * Main thread. Idempotent.
 */
void virtio_device_destroy(struct virtio_device *dev);

/* The features of our queues: VERSION_1, EVENT_IDX, INDIRECT_DESC, RING_RESET; @packed:
 * RING_PACKED. */
uint64_t virtio_ring_features(bool packed);

/*
 * Have queue @index looked at as if the driver had notified it: a write to its kick fd, if there is
 * one. Any thread.
 */
void virtio_queue_wake(struct virtio_device *dev, unsigned index);

/*
 * If another process has the eventfds of queue @index: give the queue new ones, so that this process
 * can neither read the next owner's notifications away nor write to it. Notifications and interrupts
 * that were on their way may be lost: the caller sees to one of each. dev->lock is held, and the
 * queue is not served. 0 or a negative errno, and then it is as before. Any thread.
 */
int virtio_queue_renew(struct virtio_device *dev, unsigned index);

/* What driver and device agreed on: constant while the device runs. */
static inline bool virtio_has(const struct virtio_device *dev, unsigned bit)
{
	return dev->driver_features & VIRTIO_FEATURE(bit);
}

/*
 * From ops->start or queue_start: make a running queue of queue @index. -EINVAL and the reason: the
 * driver's settings are wrong.
 */
int virtio_queue_take(struct virtio_device *dev, unsigned index, struct virtq *q, struct err *err);

/* How queue @index's notifications and interrupts travel; all false without a transport. Main
 * thread. */
struct virtio_ways virtio_queue_ways(struct virtio_device *dev, unsigned index);

/* Interrupt the driver for queue @index: by call_fd where there is one, else by the transport. Any
 * thread. */
void virtio_queue_interrupt(struct virtio_device *dev, unsigned index);

/*
 * The device-specific configuration changed: new generation, and an interrupt if the driver is
 * there. Fields that belong together are changed, and this called, within one hold of dev->lock;
 * for a single field that is not needed. Any thread.
 */
void virtio_config_changed(struct virtio_device *dev);

/*
 * The driver broke the rules (or the datapath failed): set NEEDS_RESET, tell the driver if it runs,
 * log a rate-limited line. The caller stops using the queue until it is started again. Any thread.
 */
void virtio_device_broken(struct virtio_device *dev, const char *why);

/* What the driver has accepted, or is about to; without dev->lock. */
static inline uint64_t virtio_accepted(const struct virtio_device *dev)
{
	return atomic_load_explicit(&dev->driver_features, memory_order_relaxed);
}

static inline bool virtio_is_broken(const struct virtio_device *dev)
{
	return atomic_load(&dev->status) & 0x40; /* VIRTIO_CONFIG_S_NEEDS_RESET */
}

/* --- For transports: what the driver's register accesses mean. Each takes dev->lock. Any thread.
 * --- */

uint8_t virtio_status(const struct virtio_device *dev);
void virtio_set_status(struct virtio_device *dev, uint8_t status);
uint32_t virtio_features_window(const struct virtio_device *dev,
                                uint32_t select); /* offered, 32 bits */
uint32_t virtio_driver_features_window(struct virtio_device *dev, uint32_t select);
void virtio_set_driver_features(struct virtio_device *dev, uint32_t select, uint32_t value);

/*
 * Queue settings. @index out of range: reads give 0, writes do nothing. Nothing but ENABLE and
 * RESET can be written while a queue is enabled; a size that it cannot have is not taken. ENABLE 0
 * stops the queue (virtio-mmio; virtio-pci has no such write).
 */
enum virtio_queue_field {
	VIRTIO_QUEUE_SIZE,
	VIRTIO_QUEUE_DESC_LOW,
	VIRTIO_QUEUE_DESC_HIGH,
	VIRTIO_QUEUE_DRIVER_LOW,
	VIRTIO_QUEUE_DRIVER_HIGH,
	VIRTIO_QUEUE_DEVICE_LOW,
	VIRTIO_QUEUE_DEVICE_HIGH,
	VIRTIO_QUEUE_ENABLE,
	VIRTIO_QUEUE_RESET, /* VIRTIO_F_RING_RESET */
};
uint32_t virtio_queue_get(struct virtio_device *dev, uint32_t index, enum virtio_queue_field field);
void virtio_queue_set(struct virtio_device *dev, uint32_t index, enum virtio_queue_field field,
                      uint32_t value);
uint16_t virtio_queue_size_max(const struct virtio_device *dev, uint32_t index);

/* Out of config_size: reads give 0, writes do nothing. */
uint32_t virtio_config_generation(struct virtio_device *dev);
void virtio_config_read(struct virtio_device *dev, uint32_t offset, void *buf, uint32_t len);
void virtio_config_write(struct virtio_device *dev, uint32_t offset, const void *buf, uint32_t len);

#endif
