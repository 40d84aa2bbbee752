/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * err: the one sentence that a user gets when something could not be done.
 *
 * Functions that can fail for a reason the user can mend take a `struct err *` and return a
 * negative errno; the innermost one that knows the cause writes the sentence, and the outermost
 * caller (the command line, the control socket) shows it. Nothing in between prints.
 */
#ifndef TRIVM_VMM_ERR_H
#define TRIVM_VMM_ERR_H

#define ERR_MSG_MAX 512

struct err {
	char msg[ERR_MSG_MAX]; /* one line without a newline; "" while nothing failed */
};

/*
 * Store a message: what was asked for (the option and its value), the cause, and the remedy.
 * @err may be NULL where the caller does not care. Returns @code (a negative errno), so that
 * `return err_set(err, -EINVAL, ...)` is the whole error path. Any thread; no allocation.
 */
int err_set(struct err *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set(), with ": <what the negative errno @code means>" appended. */
int err_errno(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "prefix: " in front of what is already there. Returns @code. */
int err_prefix(struct err *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
