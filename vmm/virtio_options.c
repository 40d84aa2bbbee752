/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/virtio_options.h"

#include <errno.h>
#include <string.h>

#include "vmm/option.h"
#include "vmm/util.h"

static const struct {
	const char *key, *no, *yes; /* @no is the default */
	size_t field;
} words[] = {
	{"transport", "pci", "mmio", offsetof(struct virtio_options, mmio)},
	{"notify", "ioeventfd", "exit", offsetof(struct virtio_options, notify_exit)},
	{"inject", "irqfd", "ioctl", offsetof(struct virtio_options, inject_ioctl)},
};

int virtio_options_word(struct virtio_options *o, const char *option, const char *key,
                        const char *value, struct err *err)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		bool *field = (bool *)((char *)o + words[i].field);
		int rc;

		if (strcmp(key, words[i].key) != 0)
			continue;
		rc = option_either(option, key, value, words[i].no, words[i].yes, field, err);
		return rc < 0 ? rc : 1;
	}
	return 0;
}

void virtio_options_near(struct nearest *near)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		nearest_try(near, words[i].key);
}

bool virtio_options_know(const char *key, size_t len)
{
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strlen(words[i].key) == len && memcmp(words[i].key, key, len) == 0)
			return true;
	return false;
}

/* "key=value" in @word, which is taken apart. */
static int take_word(struct virtio_options *o, const char *option, char *word, struct err *err)
{
	char *equals = strchr(word, '=');
	int rc = 0;

	if (equals) {
		*equals = '\0';
		rc = virtio_options_word(o, option, word, equals + 1, err);
	}
	if (rc == 0)
		return err_set(err, -EINVAL,
		               "%s %s: expected transport=pci|mmio, notify=ioeventfd|exit or "
		               "inject=irqfd|ioctl",
		               option, word);
	return rc < 0 ? rc : 0;
}

int virtio_options_parse(struct virtio_options *o, const char *option, const char *text,
                         struct err *err)
{
	char buf[128], *rest = buf, *word;

	*o = (struct virtio_options){.mmio = false};
	if (!text)
		return 0;
	if (strlen(text) >= sizeof(buf))
		return err_set(err, -EINVAL, "%s %s: too long", option, text);
	strcpy(buf, text);
	while ((word = strsep(&rest, ","))) {
		int rc = take_word(o, option, word, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}
