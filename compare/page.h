/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * page: the results of `trivm compare` as one HTML file for people.
 *
 * The file needs nothing else: no network, no other file, no library. It is compare/page.html, which
 * is part of the program, with the results put in as JSON (docs/compare.md); a script in it draws them.
 */
#ifndef TRIVM_COMPARE_PAGE_H
#define TRIVM_COMPARE_PAGE_H

#include <jansson.h>
#include <stdio.h>

/*
 * Write the page of @results to @out, which stays open and the caller's, as @results does. Any JSON
 * is taken: what is missing in it is shown as not known. Nothing in it can end the script element
 * that holds it. 0, -EINVAL (not an array or object), -ENOMEM, or -EIO: @out did not take all; what was
 * written until then is no page. Any thread.
 */
int compare_page(FILE *out, const json_t *results);

#endif
