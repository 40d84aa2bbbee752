/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return code;
}

/* ": @text" behind the first @at bytes, as much as fits. */
static void append(struct err *err, int at, const char *text)
{
	size_t room;

	if (at < 0 || (size_t)at >= sizeof(err->msg))
		return;
	room = sizeof(err->msg) - (size_t)at;
	if ((size_t)snprintf(err->msg + at, room, ": %s", text) >= room)
		err->msg[sizeof(err->msg) - 1] = '\0'; /* a cut message is still a message */
}

int err_errno(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (!err)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	append(err, n, strerror(-code));
	return code;
}

int err_prefix(struct err *err, int code, const char *fmt, ...)
{
	char old[ERR_MSG_MAX];
	va_list ap;
	int n;

	if (!err)
		return code;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->msg)) {
		size_t room = sizeof(err->msg) - (size_t)n;

		snprintf(err->msg + n, room, ": %.*s", (int)room, old);
	}
	return code;
}
