/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/guest_image.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/util.h"

/* Both files in @dir? */
static bool in_dir(struct guest_image *image, const char *dir)
{
	int k = snprintf(image->kernel, sizeof(image->kernel), "%s/vmlinuz", dir);
	int i = snprintf(image->initrd, sizeof(image->initrd), "%s/initrd.img", dir);

	return k > 0 && (size_t)k < sizeof(image->kernel) && i > 0 &&
	       (size_t)i < sizeof(image->initrd) && access(image->kernel, R_OK) == 0 &&
	       access(image->initrd, R_OK) == 0;
}

int guest_image_find(struct guest_image *image, struct err *err)
{
	static const char *const places[] = {"guest", "../lib/trivm/guest"};
	const char *env = getenv("TRIVM_GUEST");
	char exe[PATH_MAX], dir[PATH_MAX + 32];
	ssize_t n;

	if (env && *env) {
		if (in_dir(image, env))
			return 0;
		return err_set(err, -ENOENT,
		               "TRIVM_GUEST=%s: no readable vmlinuz and initrd.img in there", env);
	}
	n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	exe[n > 0 ? n : 0] = '\0';
	dirname(exe);
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		snprintf(dir, sizeof(dir), "%s/%s", exe, places[i]);
		if (in_dir(image, dir))
			return 0;
	}
	return err_set(err, -ENOENT,
	               "the default guest is not there (looked for vmlinuz and initrd.img in "
	               "%.200s/guest); build it with `make guest`, or give a kernel with -k",
	               exe);
}

struct cpio {
	uint8_t *data;
	size_t len, size;
};

static void put(struct cpio *c, const void *bytes, size_t len)
{
	memcpy(c->data + c->len, bytes, len);
	c->len += len;
	while (c->len % 4) /* names and contents are both padded to 4 bytes */
		c->data[c->len++] = 0;
}

#define HEAD_LEN  110
#define ENTRY_MAX (HEAD_LEN + 64 + 8) /* header, name, padding */

static void put_entry(struct cpio *c, unsigned ino, unsigned mode, const char *name,
                      const void *content, size_t len)
{
	char head[HEAD_LEN + 64];
	int n = snprintf(head, sizeof(head),
	                 "070701%08x%08x%08x%08x%08x%08x%08zx%08x%08x%08x%08x%08zx%08x%s", ino,
	                 mode, 0, 0, 1, 0, len, 0, 0, 0, 0, strlen(name) + 1, 0, name);

	put(c, head, (size_t)n + 1);
	put(c, content, len);
}

int guest_image_archive(const struct guest_file *files, size_t nr, uint8_t **data, size_t *len)
{
	char name[sizeof("trivm/") + GUEST_FILE_NAME_MAX];
	struct cpio c = {.size = 2 * ENTRY_MAX};

	for (size_t i = 0; i < nr; i++) {
		if (strlen(files[i].name) > GUEST_FILE_NAME_MAX)
			return -EINVAL;
		c.size += files[i].len + ENTRY_MAX;
	}
	c.data = malloc(c.size);
	if (!c.data)
		return -ENOMEM;
	put_entry(&c, 1, S_IFDIR | 0755, "trivm", "", 0);
	for (size_t i = 0; i < nr; i++) {
		snprintf(name, sizeof(name), "trivm/%s", files[i].name);
		put_entry(&c, (unsigned)i + 2, S_IFREG | 0755, name, files[i].data, files[i].len);
	}
	put_entry(&c, 0, 0, "TRAILER!!!", "", 0);
	*data = c.data;
	*len = c.len;
	return 0;
}

int guest_image_exec_archive(const char *command, uint8_t **data, size_t *len)
{
	static const char start[] = "#!/bin/sh\n";
	size_t script_len = sizeof(start) - 1 + strlen(command) + 1;
	char *script = malloc(script_len + 1);
	struct guest_file file = {.name = "exec", .data = script, .len = script_len};
	int rc;

	if (!script)
		return -ENOMEM;
	snprintf(script, script_len + 1, "%s%s\n", start, command);
	rc = guest_image_archive(&file, 1, data, len);
	free(script);
	return rc;
}
