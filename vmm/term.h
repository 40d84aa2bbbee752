/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * term: the user's terminal in raw mode while a guest has it and we are in the foreground, and back as it was on every way out:
 * return, exit(), and deadly signals (a handler restores it and lets the signal do its work).
 */
#ifndef TRIVM_VMM_TERM_H
#define TRIVM_VMM_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TERM_LOOK_MS 250 /* in the background: from one look at the foreground group to the next */

/*
 * If @fd is a terminal, take it: raw whenever our process group is its foreground, from now on if
 * it is now. Main thread, once.
 */
void term_raw(int fd);

/*
 * Make the terminal raw if we are in its foreground; after SIGCONT, whatever settings the shell
 * left. Returns whether we are; true without a terminal. Main thread.
 */
bool term_update(void);

/* The same, but a terminal that we have made raw already is left alone: before each read. In the
 * background (false) ask again every TERM_LOOK_MS. Main thread. */
bool term_is_ours(void);

/* Whether our process group may read @fd's terminal now; true if @fd is not our controlling one, which has no job
 * control. Async-signal-safe. */
bool term_in_foreground(int fd);

/* As it was before. Idempotent, async-signal-safe. */
void term_restore(void);

/* The escape keys: Ctrl-A, then a letter. Two Ctrl-A send one. */
#define TERM_ESCAPE 0x01

struct term_keys {
	bool escaped; /* the last byte was Ctrl-A */
	void (*quit)(void *opaque);
	void (*send_break)(void *opaque);
	const char *quit_help; /* what quit does; NULL: it ends the guest */
	void *opaque;
};

/* A chardev filter (chardev.h): takes the escape keys out of @buf, returns what is left of @len. */
size_t term_filter(void *keys, uint8_t *buf, size_t len);

#endif
