/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jsonrpc: one request of JSON-RPC 2.0 (jsonrpc.org/specification), text in, text out. It knows
 * nothing of sockets: control.h has those. Batches are not taken; one object is one line.
 *
 * The text is a stranger's: its nesting is bounded before it is parsed, parameters are checked
 * against the method's own description before the method sees them.
 */
#ifndef TRIVM_VMM_JSONRPC_H
#define TRIVM_VMM_JSONRPC_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

#define JSONRPC_DEPTH_MAX 32

/* The specification's codes (5.1), and ours from -32000 on. */
enum jsonrpc_error {
	JSONRPC_PARSE = -32700,
	JSONRPC_REQUEST = -32600,
	JSONRPC_METHOD = -32601,
	JSONRPC_PARAMS = -32602,
	JSONRPC_FAILED = -32000,
	JSONRPC_NO_SUCH = -32001,     /* -ENOENT: there is no such device, vCPU ... */
	JSONRPC_STATE = -32002,       /* -EBUSY: not now */
	JSONRPC_UNSUPPORTED = -32003, /* -ENOTSUP: this host or device cannot */
	JSONRPC_TOO_MANY = -32004,    /* connections, or bytes in one line */
};

struct jsonrpc_call {
	const json_t *params; /* an object that fits the method's description */
	void *client;         /* who asks: what jsonrpc_serve() was given */
	json_t *result;       /* the method's to set, and given away; NULL: an empty object */
	struct err err;       /* if the method fails */
};

struct jsonrpc_method {
	const char *name;
	/*
	 * "id:string up:boolean [queue:integer]": names and types, in brackets what can be left
	 * out. Types are string, boolean, integer, object and array. Others are refused. "": none.
	 */
	const char *params;
	/* 0 or a negative errno with the sentence in call->err; see enum jsonrpc_error. */
	int (*call)(void *opaque, struct jsonrpc_call *call);
};

struct jsonrpc {
	const struct jsonrpc_method *methods;
	size_t nr_methods;
	void *opaque;            /* for the methods */
	const char *const *slow; /* names of those that may take milliseconds, then NULL; or NULL */
};

/*
 * Serve the request in @text (@len bytes, no line end): the reply as one line without its end, for
 * free(). NULL: nothing is to be replied (a notification), or there is no memory.
 */
char *jsonrpc_serve(const struct jsonrpc *rpc, void *client, const char *text, size_t len);

/* Whether the request in @text calls a slow method, of which a server makes only a few in a row. */
bool jsonrpc_is_slow(const struct jsonrpc *rpc, const char *text, size_t len);

/* A reply that nobody asked for by an id: for what is wrong with the connection. As above. */
char *jsonrpc_error_line(enum jsonrpc_error code, const char *message);

/* A notification to a client: @params is given away. As above. */
char *jsonrpc_notification(const char *method, json_t *params);

#endif
