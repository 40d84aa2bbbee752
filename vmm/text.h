/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * text: strings that others have chosen (names of files, of interfaces, what a VM answers) made fit
 * for JSON and for a terminal.
 */
#ifndef TRIVM_VMM_TEXT_H
#define TRIVM_VMM_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Is all of @in UTF-8 (RFC 3629)? */
bool text_is_utf8(const char *in);

/*
 * @in with U+FFFD in the place of each byte that is not part of a UTF-8 sequence, as much as fits
 * into @size bytes (1 or more) without cutting a sequence. Its length; three times that of @in are
 * always enough.
 */
size_t text_utf8(char *out, size_t size, const char *in);

/* The same, and '?' in the place of each control character, those above 0x7f included. */
size_t text_printable(char *out, size_t size, const char *in);

#endif
