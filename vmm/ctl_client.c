/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/ctl_client.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "vmm/control_path.h"
#include "vmm/fd.h"

int ctl_connect(struct ctl_client *c, const char *path, unsigned seconds, struct err *err)
{
	struct timeval t = {.tv_sec = (time_t)seconds};

	memset(c, 0, sizeof(*c));
	c->fd = control_connect(path);
	if (c->fd < 0) {
		int rc = c->fd;

		c->fd = -1;
		if (rc == -ENOENT || rc == -ECONNREFUSED)
			return err_set(err, rc,
			               "%s: no VM listens there; `trivm list` has those that run",
			               path);
		return err_errno(err, rc, "%s", path);
	}
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
	return 0;
}

void ctl_wait_forever(struct ctl_client *c)
{
	struct timeval t = {0};

	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
}

void ctl_close(struct ctl_client *c)
{
	fd_close(&c->fd);
	free(c->buf);
	c->buf = NULL;
	c->at = c->len = c->size = 0;
}

/* Room behind what is there for one more read. */
static int grow(struct ctl_client *c)
{
	if (c->at)
		memmove(c->buf, c->buf + c->at, c->len - c->at);
	c->len -= c->at;
	c->at = 0;
	if (c->len == c->size) {
		size_t size = c->size ? 2 * c->size : 4096;
		char *buf = size > CTL_LINE_MAX ? NULL : realloc(c->buf, size);

		if (!buf)
			return -EMSGSIZE;
		c->buf = buf;
		c->size = size;
	}
	return 0;
}

/* The next line, parsed. */
static int next_line(struct ctl_client *c, json_t **out, struct err *err)
{
	for (;;) {
		char *line = c->len > c->at ? c->buf + c->at : NULL;
		char *end = line ? memchr(line, '\n', c->len - c->at) : NULL;
		json_error_t e;
		ssize_t n;

		if (end) {
			*out = json_loadb(line, (size_t)(end - line), 0, &e);
			c->at += (size_t)(end - line) + 1;
			return *out ? 0 : err_set(err, -EPROTO, "the VM's answer: %s", e.text);
		}
		if (grow(c) < 0)
			return err_set(err, -EPROTO, "the VM's answer is too long");
		n = recv(c->fd, c->buf + c->len, c->size - c->len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return err_set(err, -ETIMEDOUT, "the VM does not answer");
		if (n < 0)
			return err_errno(err, -errno, "the VM's answer");
		if (n == 0)
			return err_set(err, -ENODATA, "the VM has closed the connection");
		c->len += (size_t)n;
	}
}

static int send_request(struct ctl_client *c, const char *method, json_t *params, struct err *err)
{
	json_t *request = json_pack("{s:s, s:s, s:i, s:o*}", "jsonrpc", "2.0", "method", method,
	                            "id", 1, "params", params);
	char *text = request ? json_dumps(request, JSON_COMPACT) : NULL;
	int rc = 0;

	json_decref(request);
	if (!text)
		return err_set(err, -EINVAL, "%s: a parameter that is not UTF-8", method);
	for (size_t at = 0, len = strlen(text); rc == 0 && at <= len;) {
		/* The line end takes the NUL's place, at its very end. */
		ssize_t n = at < len ? send(c->fd, text + at, len - at, MSG_NOSIGNAL)
		                     : send(c->fd, "\n", 1, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			rc = err_errno(err, -errno, "the VM's control socket");
		at += n > 0 ? (size_t)n : 0;
	}
	free(text);
	return rc;
}

int ctl_call(struct ctl_client *c, const char *method, json_t *params, json_t **result,
             struct err *err)
{
	int rc = send_request(c, method, params, err);
	json_t *reply, *error;

	for (;;) {
		/* It may have been refused before it was asked: then the reason waits. */
		if (rc < 0 && rc != -EPIPE)
			return rc;
		rc = next_line(c, &reply, err);
		if (rc < 0)
			return rc;
		if (json_object_get(reply, "id"))
			break;
		json_decref(reply); /* a notification */
	}
	error = json_object_get(reply, "error");
	if (error) {
		const char *text = json_string_value(json_object_get(error, "message"));

		rc = err_set(err, -EREMOTEIO, "%s", text ? text : "the VM refuses");
	} else {
		*result = json_incref(json_object_get(reply, "result"));
	}
	json_decref(reply);
	return rc;
}

int ctl_event(struct ctl_client *c, json_t **params, struct err *err)
{
	json_t *line;
	int rc;

	for (;;) {
		rc = next_line(c, &line, err);
		if (rc < 0)
			return rc;
		*params = json_incref(json_object_get(line, "params"));
		json_decref(line);
		if (*params)
			return 0;
	}
}
