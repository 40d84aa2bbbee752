/* SPDX-License-Identifier: BSD-2-Clause */
/* json_text: strings that others have chosen as JSON, which knows only UTF-8. */
#ifndef TRIVM_VMM_JSON_TEXT_H
#define TRIVM_VMM_JSON_TEXT_H

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/text.h"

/*
 * @text as a JSON string, with U+FFFD for bytes that are not UTF-8: json_string() and json_pack()'s
 * "s" would fail. For whatever a user, a guest or another program has named, in json_pack() by "o".
 * NULL: no memory, or @text is NULL.
 */
static inline json_t *json_text(const char *text)
{
	json_t *json = text ? json_string(text) : NULL;
	size_t size = text ? 3 * strlen(text) + 1 : 0;
	char *valid = json || !text ? NULL : (char *)malloc(size);

	if (valid) {
		text_utf8(valid, size, text);
		json = json_string(valid);
		free(valid);
	}
	return json;
}

#endif
