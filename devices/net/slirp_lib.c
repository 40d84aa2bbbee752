/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: libslirp brings GLib, and a VM without a user-mode network shall pay for
 * neither, in start-up time or in memory. So nothing is linked: the first port loads the library
 * with dlopen(), and it stays until the process ends (GLib cannot be unloaded). Only its header is
 * needed to compile. We speak version 1 of its configuration, which every libslirp from 4.1 on
 * takes, and use what is newer only where it is found.
 */
#include "devices/net/slirp_lib.h"

#include <dlfcn.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "vmm/log.h"
#include "vmm/util.h"

struct slirp_lib slirp_lib = {.lock = PTHREAD_MUTEX_INITIALIZER};

#define SYMBOL(field, is_optional)                                                \
	{                                                                         \
		"slirp_" #field, offsetof(struct slirp_lib, field), (is_optional) \
	}

static const struct {
	const char *name;
	size_t offset;
	bool optional;
} symbols[] = {
	SYMBOL(new, false),
	SYMBOL(cleanup, false),
	SYMBOL(pollfds_fill, false),
	SYMBOL(pollfds_poll, false),
	SYMBOL(input, false),
	SYMBOL(add_hostfwd, false),
	SYMBOL(version_string, false),
	SYMBOL(add_hostxfwd, true),
};

/* In place of GLib's, for libslirp's messages: a guest can cause them at will. */
static void on_glib_log(const char *domain, int level, const char *msg, void *data)
{
	static struct log_limit limit;

	(void)domain;
	(void)level;
	(void)data;
	log_limited(&limit, LOG_WARN, "port=user: libslirp: %s", msg);
}

static void quiet_glib(void *handle)
{
	unsigned (*set_handler)(const char *domain, int levels,
	                        void (*fn)(const char *, int, const char *, void *), void *data);
	/* G_LOG_LEVEL_MASK: all but the flags for a recursion and for a fatal one */
	const int all_levels = ~3;
	/* GLib is found through the library that needs it. */
	void *symbol = dlsym(handle, "g_log_set_handler");

	if (!symbol)
		return;
	memcpy(&set_handler, &symbol, sizeof(symbol));
	set_handler("Slirp", all_levels, on_glib_log, NULL);
}

int slirp_lib_load(const char *name, struct err *err)
{
	void *handle;

	if (slirp_lib.handle)
		return 0;
	handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (!handle) {
		const char *why = dlerror();

		return err_set(err, -ENOENT,
		               "port=user: cannot load %s (%s): sudo apt install libslirp0, or use "
		               "port=tap",
		               name, why ? why : "no reason given");
	}
	for (unsigned i = 0; i < ARRAY_SIZE(symbols); i++) {
		void *symbol = dlsym(handle, symbols[i].name);

		if (!symbol && !symbols[i].optional) {
			dlclose(handle);
			return err_set(err, -ENOSYS,
			               "port=user: %s has no %s(), so it is older than 4.1: sudo "
			               "apt install libslirp0, or use port=tap",
			               name, symbols[i].name);
		}
		memcpy((char *)&slirp_lib + symbols[i].offset, &symbol, sizeof(symbol));
	}
	quiet_glib(handle);
	slirp_lib.handle = handle;
	return 0;
}
