/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * option: judging the words of an option that takes a list of them ("--net port=user,queues=2").
 * @option is its name, @key and @value the word's two sides, all as they are to be in the error.
 * 0, or -EINVAL with the error set; then *@out is as before.
 */
#ifndef TRIVM_VMM_OPTION_H
#define TRIVM_VMM_OPTION_H

#include <stdbool.h>
#include <stddef.h>

#include "vmm/err.h"

/* Always -EINVAL: "OPTION KEY=VALUE: expected EXPECTED". */
int option_bad(struct err *err, const char *option, const char *key, const char *value,
               const char *expected);

/* A decimal number from @min to @max. */
int option_number(const char *option, const char *key, const char *value, unsigned min,
                  unsigned max, unsigned *out, struct err *err);

/* As above, and a power of two. */
int option_power(const char *option, const char *key, const char *value, unsigned min, unsigned max,
                 unsigned *out, struct err *err);

/*
 * The name of a device, which clients of the control socket have to be able to send: 1 to @size - 1
 * bytes of UTF-8 without control characters, copied to @out.
 */
int option_id(const char *option, const char *value, char *out, size_t size, struct err *err);

/* One of two words: is it @yes? */
int option_either(const char *option, const char *key, const char *value, const char *no,
                  const char *yes, bool *out, struct err *err);

#endif
