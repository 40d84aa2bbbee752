/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_options: the words that every virtio device's option takes:
 *
 *	transport=pci|mmio  notify=ioeventfd|exit  inject=irqfd|ioctl
 */
#ifndef TRIVM_VMM_VIRTIO_OPTIONS_H
#define TRIVM_VMM_VIRTIO_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"
#include "vmm/nearest.h"

/* Zero is what is taken without a word. */
struct virtio_options {
	bool mmio;
	bool notify_exit, inject_ioctl;
};

/*
 * One word of @option ("--rng", for the error). 1: it was one of these; 0: it is none of them, and
 * the caller's to know; -EINVAL: what follows '=' is wrong.
 */
int virtio_options_word(struct virtio_options *o, const char *option, const char *key,
                        const char *value, struct err *err);

/* Is what begins with these @len characters one of these words' keys? */
/* Which of the keys that every device has @near was meant to be. */
void virtio_options_near(struct nearest *near);

bool virtio_options_know(const char *key, size_t len);

/* A list of such words and nothing else, with commas in between; NULL is the empty one. 0, -EINVAL.
 */
int virtio_options_parse(struct virtio_options *o, const char *option, const char *text,
                         struct err *err);

#endif
