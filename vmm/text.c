/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/text.h"

#include <stdint.h>
#include <string.h>

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* The length of the sequence that @s begins with, and its code point; 0: there is none. */
static size_t sequence(const uint8_t *s, uint32_t *code)
{
	static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = s[0] < 0x80   ? 1
	             : s[0] < 0xc2 ? 0
	             : s[0] < 0xe0 ? 2
	             : s[0] < 0xf0 ? 3
	             : s[0] < 0xf5 ? 4
	                           : 0;

	*code = len == 1 ? s[0] : s[0] & (0x7fu >> len);
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80) /* also the NUL at the end */
			return 0;
		*code = *code << 6 | (s[i] & 0x3f);
	}
	if (*code < smallest[len] || (*code >= 0xd800 && *code < 0xe000) || *code > 0x10ffff)
		return 0;
	return len;
}

static bool is_control(uint32_t code)
{
	return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

static size_t convert(char *out, size_t size, const char *in, bool printable)
{
	size_t at = 0;

	while (*in) {
		uint32_t code;
		size_t len = sequence((const uint8_t *)in, &code);
		const char *put = len ? in : REPLACEMENT;
		size_t put_len = len ? len : strlen(REPLACEMENT);

		if (len && printable && is_control(code)) {
			put = "?";
			put_len = 1;
		}
		if (at + put_len >= size)
			break;
		memcpy(out + at, put, put_len);
		at += put_len;
		in += len ? len : 1;
	}
	out[at] = '\0';
	return at;
}

bool text_is_utf8(const char *in)
{
	uint32_t code;

	while (*in) {
		size_t len = sequence((const uint8_t *)in, &code);

		if (!len)
			return false;
		in += len;
	}
	return true;
}

size_t text_utf8(char *out, size_t size, const char *in)
{
	return convert(out, size, in, false);
}

size_t text_printable(char *out, size_t size, const char *in)
{
	return convert(out, size, in, true);
}
