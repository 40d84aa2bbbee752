// SPDX-License-Identifier: BSD-2-Clause
/*
 * Theory of operation
 *
 * The template compare/page.html lies in the program (page_html.S). It has one mark, where the results
 * go; what is before and behind the mark is written as it is.
 *
 * Results hold text that is not ours: names of hosts and interfaces, messages of programs. In
 * an HTML script element only "<" can begin something that HTML reads ("</script", "<!--"), whatever
 * the script's type (HTML 4.12.1.3), and in JSON "<" occurs in strings only, where an escape
 * means the same. So each "<" becomes one; so do ">" and "&", for readers that take the page for XML.
 * That the script puts text into the page only as text is its own rule (page.html).
 */
#include "compare/page.h"

#include <errno.h>
#include <string.h>

extern const char compare_page_html[];
extern const unsigned compare_page_html_size;

static const char mark[] = "@RESULTS@";

static int put(const char *data, size_t len, FILE *out)
{
	return fwrite(data, 1, len, out) == len ? 0 : -1;
}

/* For json_dump_callback(): @data in pieces of any size, none of them ends within a character. */
static int put_escaped(const char *data, size_t len, void *opaque)
{
	FILE *out = opaque;

	while (len) {
		size_t plain = 0;

		while (plain < len && !memchr("<>&", data[plain], 3))
			plain++;
		if (put(data, plain, out))
			return -1;
		data += plain;
		len -= plain;
		if (!len)
			break;
		if (fprintf(out, "\\u%04x", (unsigned)(unsigned char)*data) < 0)
			return -1;
		data++;
		len--;
	}
	return 0;
}

int compare_page(FILE *out, const json_t *results)
{
	const char *at = memmem(compare_page_html, compare_page_html_size, mark, strlen(mark));
	const char *end = compare_page_html + compare_page_html_size;

	if (!at || (!json_is_object(results) && !json_is_array(results)))
		return -EINVAL;
	errno = 0;
	if (put(compare_page_html, at - compare_page_html, out) ||
	    json_dump_callback(results, put_escaped, out, JSON_COMPACT) ||
	    put(at + strlen(mark), end - at - strlen(mark), out) || fflush(out))
		return errno == ENOMEM ? -ENOMEM : -EIO;
	return 0;
}
