/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: jansson parses, after a glance over the text has shown that brackets are not
 * nested deeper than JSONRPC_DEPTH_MAX (jansson's own limit is 2048 levels of recursion). The
 * request's form is checked as the specification says, then its parameters against the method's
 * description; a method therefore finds every parameter there that is not optional, in its type,
 * and no others.
 */
#include "vmm/jsonrpc.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/json_text.h"
#include "vmm/util.h"

static bool depth_ok(const char *text, size_t len)
{
	unsigned depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		char c = text[i];

		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > JSONRPC_DEPTH_MAX)
				return false;
		} else if ((c == '}' || c == ']') && depth) {
			depth--;
		}
	}
	return true;
}

static char *dump(json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;

	json_decref(reply);
	return text;
}

/* @id is borrowed; NULL: unknown. */
static char *error_reply(json_t *id, enum jsonrpc_error code, const char *message)
{
	/* It may quote what a stranger sent, cut within a character. */
	return dump(json_pack("{s:s, s:{s:i, s:o}, s:O}", "jsonrpc", "2.0", "error", "code",
	                      (int)code, "message", json_text(message), "id",
	                      id ? id : json_null()));
}

char *jsonrpc_error_line(enum jsonrpc_error code, const char *message)
{
	return error_reply(NULL, code, message);
}

char *jsonrpc_notification(const char *method, json_t *params)
{
	return dump(
		json_pack("{s:s, s:s, s:o}", "jsonrpc", "2.0", "method", method, "params", params));
}

static enum jsonrpc_error code_of(int rc)
{
	switch (-rc) {
	case EINVAL:
		return JSONRPC_PARAMS;
	case ENOENT:
		return JSONRPC_NO_SUCH;
	case EBUSY:
		return JSONRPC_STATE;
	case ENOTSUP:
		return JSONRPC_UNSUPPORTED;
	case E2BIG:
		return JSONRPC_TOO_MANY;
	default:
		return JSONRPC_FAILED;
	}
}

/* --- Parameters --- */

struct param {
	char name[24];
	char type[12];
	bool optional;
};

/* The next one of a method's description. False: no more. */
static bool next_param(const char **at, struct param *p)
{
	const char *s = *at + strspn(*at, " ");
	size_t name, type;

	if (!*s)
		return false;
	p->optional = *s == '[';
	s += p->optional;
	name = strcspn(s, ":");
	snprintf(p->name, sizeof(p->name), "%.*s", (int)name, s);
	s += name + 1;
	type = strcspn(s, " ]");
	snprintf(p->type, sizeof(p->type), "%.*s", (int)type, s);
	s += type;
	*at = s + (*s == ']');
	return true;
}

static bool has_type(const json_t *value, const char *type)
{
	switch (type[0]) {
	case 's':
		return json_is_string(value);
	case 'b':
		return json_is_boolean(value);
	case 'i':
		return json_is_integer(value);
	case 'a':
		return json_is_array(value);
	default:
		return json_is_object(value);
	}
}

static int check_params(const struct jsonrpc_method *m, const json_t *params, struct err *err)
{
	const char *at = m->params;
	size_t known = 0;
	struct param p;

	while (next_param(&at, &p)) {
		const json_t *value = json_object_get(params, p.name);

		if (!value && p.optional)
			continue;
		if (!value || !has_type(value, p.type))
			return err_set(err, -EINVAL, "%s: parameter %s (%s) is %s", m->name, p.name,
			               p.type, value ? "of another type" : "missing");
		known++;
	}
	if (json_object_size(params) != known)
		return err_set(err, -EINVAL, "%s: unknown parameter; it takes: %s", m->name,
		               m->params[0] ? m->params : "none");
	return 0;
}

/* --- Requests --- */

static const struct jsonrpc_method *find_method(const struct jsonrpc *rpc, const char *name)
{
	for (size_t i = 0; i < rpc->nr_methods; i++)
		if (strcmp(rpc->methods[i].name, name) == 0)
			return &rpc->methods[i];
	return NULL;
}

/* Call @m; the reply, or NULL if @id is (a notification). */
static char *call_method(const struct jsonrpc *rpc, const struct jsonrpc_method *m, void *client,
                         const json_t *params, json_t *id)
{
	struct jsonrpc_call call = {.params = params, .client = client};
	int rc = check_params(m, params, &call.err);
	char *reply;

	if (rc == 0)
		rc = m->call(rpc->opaque, &call);
	if (rc == 0 && !call.result)
		call.result = json_object();
	if (rc == 0 && !call.result)
		rc = err_errno(&call.err, -ENOMEM, "%s", m->name);
	if (rc < 0) {
		json_decref(call.result);
		if (!call.err.msg[0])
			err_errno(&call.err, rc, "%s", m->name);
		return id ? error_reply(id, code_of(rc), call.err.msg) : NULL;
	}
	if (!id) {
		json_decref(call.result);
		return NULL;
	}
	reply = dump(
		json_pack("{s:s, s:o, s:O}", "jsonrpc", "2.0", "result", call.result, "id", id));
	return reply ? reply : error_reply(id, JSONRPC_FAILED, "a reply that cannot be written");
}

static bool is_id(const json_t *id)
{
	return json_is_string(id) || json_is_number(id) || json_is_null(id);
}

static char *serve(const struct jsonrpc *rpc, void *client, const json_t *request)
{
	const char *version = json_string_value(json_object_get(request, "jsonrpc"));
	const char *name = json_string_value(json_object_get(request, "method"));
	json_t *id = json_object_get(request, "id");
	json_t *params = json_object_get(request, "params");
	const struct jsonrpc_method *m;
	json_t *none;
	char *reply;

	if (json_is_array(request))
		return error_reply(NULL, JSONRPC_REQUEST,
		                   "batches are not supported: one request a line");
	if (id && !is_id(id))
		return error_reply(NULL, JSONRPC_REQUEST, "id: neither string, number nor null");
	if (!version || strcmp(version, "2.0") != 0)
		return error_reply(id, JSONRPC_REQUEST, "jsonrpc: not \"2.0\"");
	if (!name)
		return error_reply(id, JSONRPC_REQUEST, "method: missing, or no string");
	if (params && !json_is_object(params))
		return error_reply(id, JSONRPC_PARAMS,
		                   "params: not an object; parameters have names");
	m = find_method(rpc, name);
	if (!m)
		return id ? error_reply(id, JSONRPC_METHOD, "no such method; `methods` lists them")
		          : NULL;
	none = params ? NULL : json_object();
	reply = call_method(rpc, m, client, params ? params : none, id);
	json_decref(none);
	return reply;
}

char *jsonrpc_serve(const struct jsonrpc *rpc, void *client, const char *text, size_t len)
{
	json_error_t e;
	char message[JSON_ERROR_TEXT_LENGTH + 40];
	json_t *request;
	char *reply;

	if (!depth_ok(text, len))
		return jsonrpc_error_line(JSONRPC_PARSE, "nested too deeply");
	request = json_loadb(text, len, JSON_REJECT_DUPLICATES, &e);
	if (!request) {
		snprintf(message, sizeof(message), "not JSON: %s (column %d)", e.text, e.column);
		return jsonrpc_error_line(JSONRPC_PARSE, message);
	}
	reply = serve(rpc, client, request);
	json_decref(request);
	return reply;
}

bool jsonrpc_is_slow(const struct jsonrpc *rpc, const char *text, size_t len)
{
	json_t *request = depth_ok(text, len) ? json_loadb(text, len, 0, NULL) : NULL;
	const char *name = json_string_value(json_object_get(request, "method"));
	bool slow = false;

	for (size_t i = 0; name && rpc->slow && rpc->slow[i]; i++)
		slow = slow || strcmp(rpc->slow[i], name) == 0;
	json_decref(request);
	return slow;
}
