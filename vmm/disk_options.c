/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: `--disk` takes a file's name and then words: plain ones and key=value. One
 * table of each; each key has a function that judges its value.
 */
#include "vmm/disk_options.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "devices/block/image_format.h"
#include "vmm/nearest.h"
#include "vmm/option.h"
#include "vmm/util.h"

static int copy(char *to, size_t size, const char *key, const char *value, struct err *err)
{
	if (!value[0] || strlen(value) >= size)
		return err_set(err, -EINVAL, "--disk %s=%s: expected 1 to %zu bytes", key, value,
		               size - 1);
	memcpy(to, value, strlen(value) + 1);
	return 0;
}

static int set_ring(struct disk_options *o, const char *value, struct err *err)
{
	return option_either("--disk", "ring", value, "split", "packed", &o->packed, err);
}

static int set_discard(struct disk_options *o, const char *value, struct err *err)
{
	bool off = !o->discard;
	int rc = option_either("--disk", "discard", value, "on", "off", &off, err);

	o->discard = !off;
	return rc;
}

static int set_queues(struct disk_options *o, const char *value, struct err *err)
{
	return option_number("--disk", "queues", value, 1, BLK_QUEUES_MAX, &o->queues, err);
}

static int set_queue_size(struct disk_options *o, const char *value, struct err *err)
{
	unsigned n = 0;
	int rc = option_power("--disk", "queue-size", value, BLK_QUEUE_SIZE_MIN, BLK_QUEUE_SIZE_MAX,
	                      &n, err);

	o->queue_size = (uint16_t)n;
	return rc;
}

static int set_serial(struct disk_options *o, const char *value, struct err *err)
{
	for (const char *c = value; *c; c++)
		if (*c <= ' ' || *c > '~')
			return option_bad(err, "--disk", "serial", value,
			                  "printable ASCII without spaces");
	return copy(o->serial, sizeof(o->serial), "serial", value, err);
}

static int set_id(struct disk_options *o, const char *value, struct err *err)
{
	return option_id("--disk", value, o->id, sizeof(o->id), err);
}

static int set_format(struct disk_options *o, const char *value, struct err *err)
{
	if (strcmp(value, "raw") != 0)
		return option_bad(err, "--disk", "format", value,
		                  "raw; other images are converted by `qemu-img convert -O raw`");
	o->raw = true;
	return 0;
}

static const struct {
	const char *name;
	int (*set)(struct disk_options *o, const char *value, struct err *err);
} keys[] = {
	{"discard", set_discard}, {"queues", set_queues}, {"queue-size", set_queue_size},
	{"serial", set_serial},   {"id", set_id},         {"ring", set_ring},
	{"format", set_format},
};

static const struct {
	const char *name;
	size_t field;
} plain[] = {
	{"ro", offsetof(struct disk_options, ro)},
	{"direct", offsetof(struct disk_options, direct)},
};

static int unknown_key(const char *key, const char *value, struct err *err)
{
	struct nearest near = nearest_to(key);
	char hint[NEAREST_HINT_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		nearest_try(&near, keys[i].name);
	virtio_options_near(&near);
	return err_set(err, -EINVAL, "--disk %s=%s: unknown key%s; see `man trivm`", key, value,
	               nearest_hint(&near, hint));
}

static int set_word(struct disk_options *o, char *word, struct err *err)
{
	char *value = strchr(word, '='), hint[NEAREST_HINT_MAX];
	struct nearest near = nearest_to(word);
	int rc;

	if (!value) {
		for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
			if (strcmp(plain[i].name, word) == 0) {
				*(bool *)((char *)o + plain[i].field) = true;
				return 0;
			}
		}
		for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
			nearest_try(&near, plain[i].name);
		for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
			nearest_try(&near, keys[i].name);
		return err_set(err, -EINVAL,
		               "--disk ...,%s: expected ro, direct or KEY=VALUE (a comma in a "
		               "file's name is written twice)%s",
		               word, nearest_hint(&near, hint));
	}
	*value++ = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(keys[i].name, word) == 0)
			return keys[i].set(o, value, err);
	rc = virtio_options_word(&o->virtio, "--disk", word, value, err);
	if (rc == 0)
		return unknown_key(word, value, err);
	return rc < 0 ? rc : 0;
}

/* The file's name, up to the first single comma; *@words: what is behind that, NULL without one. */
static int take_path(struct disk_options *o, const char *text, const char **words, struct err *err)
{
	size_t n = 0;

	for (*words = NULL; *text; text++) {
		if (*text == ',' && *++text != ',') {
			*words = text;
			break;
		}
		if (n == sizeof(o->path) - 1)
			return err_set(err, -EINVAL,
			               "--disk %.40s...: a name longer than %zu bytes", o->path,
			               sizeof(o->path) - 1);
		o->path[n++] = *text;
	}
	if (!n)
		return err_set(err, -EINVAL,
		               "--disk: expected the name of a file or block device first");
	return 0;
}

int disk_options_parse(struct disk_options *o, const char *text, struct err *err)
{
	const char *behind;
	char *words, *rest;
	int rc;

	memset(o, 0, sizeof(*o));
	o->queue_size = 256;
	o->discard = true;
	rc = take_path(o, text, &behind, err);
	if (rc < 0 || !behind)
		return rc;
	words = rest = strdup(behind);
	if (!words)
		return err_errno(err, -ENOMEM, "--disk");
	for (char *word; rc == 0 && (word = strsep(&rest, ","));)
		rc = set_word(o, word, err);
	free(words);
	return rc;
}

int disk_options_check_format(const struct disk_options *o, struct err *err)
{
	const struct image_format *f = o->raw ? NULL : image_format_of_file(o->path);

	if (!f)
		return 0;
	return err_set(
		err, -EINVAL,
		"--disk %.200s: is a %s image, not a raw one; convert it by `%s %.200s %s`, or "
		"give format=raw if the guest is to have the file as it is",
		o->path, f->name, f->tool, o->path, f->to);
}
