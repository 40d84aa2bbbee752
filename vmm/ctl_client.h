/* SPDX-License-Identifier: BSD-2-Clause */
/* ctl_client: the client's end of the control socket, and how results are shown to people. */
#ifndef TRIVM_VMM_CTL_CLIENT_H
#define TRIVM_VMM_CTL_CLIENT_H

#include <jansson.h>
#include <stdio.h>

#include "vmm/err.h"

#define CTL_LINE_MAX (4u << 20) /* a longer line is not of a trivm */

struct ctl_client {
	int fd;
	char *buf;
	size_t at, len, size;
};

/* Connect to the socket at @path; wait for each line at most @seconds. 0 or -errno. */
int ctl_connect(struct ctl_client *c, const char *path, unsigned seconds, struct err *err);
void ctl_close(struct ctl_client *c); /* idempotent */

/* Wait as long as it takes from here on. */
void ctl_wait_forever(struct ctl_client *c);

/*
 * Call @method with @params (given away; NULL: none). 0 with *@result, the caller's to release;
 * -EREMOTEIO with what the VM said in @err; another errno if it could not be asked.
 */
int ctl_call(struct ctl_client *c, const char *method, json_t *params, json_t **result,
             struct err *err);

/* The next notification's parameters; -ENODATA: the VM has closed the connection. */
int ctl_event(struct ctl_client *c, json_t **params, struct err *err);

/* A result for people: objects as lines, lists of objects as tables. */
void ctl_show(FILE *out, const json_t *value);

/* One notification as a line. */
void ctl_show_event(FILE *out, const json_t *params);

#endif
