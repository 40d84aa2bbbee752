/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/option.h"
#include "vmm/nearest.h"
#include "vmm/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int option_bad(struct err *err, const char *option, const char *key, const char *value,
               const char *expected)
{
	return err_set(err, -EINVAL, "%s %s=%s: expected %s", option, key, value, expected);
}

static bool in_range(const char *value, unsigned min, unsigned max, unsigned *out)
{
	unsigned long n;
	char *end;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || n < min || n > max)
		return false;
	*out = (unsigned)n;
	return true;
}

int option_number(const char *option, const char *key, const char *value, unsigned min,
                  unsigned max, unsigned *out, struct err *err)
{
	char expected[64];

	if (in_range(value, min, max, out))
		return 0;
	snprintf(expected, sizeof(expected), "a number from %u to %u", min, max);
	return option_bad(err, option, key, value, expected);
}

int option_power(const char *option, const char *key, const char *value, unsigned min, unsigned max,
                 unsigned *out, struct err *err)
{
	char expected[64];
	unsigned n = 0;
	int rc = option_number(option, key, value, min, max, &n, err);

	if (rc < 0)
		return rc;
	if (n & (n - 1)) {
		snprintf(expected, sizeof(expected), "a power of two from %u to %u", min, max);
		return option_bad(err, option, key, value, expected);
	}
	*out = n;
	return 0;
}

int option_id(const char *option, const char *value, char *out, size_t size, struct err *err)
{
	char expected[80], clean[256];

	text_printable(clean, sizeof(clean), value);
	if (!value[0] || strlen(value) >= size || strcmp(clean, value) != 0) {
		snprintf(expected, sizeof(expected),
		         "1 to %zu bytes of UTF-8 without control characters", size - 1);
		return option_bad(err, option, "id", clean, expected);
	}
	memcpy(out, value, strlen(value) + 1);
	return 0;
}

int option_either(const char *option, const char *key, const char *value, const char *no,
                  const char *yes, bool *out, struct err *err)
{
	char expected[64 + NEAREST_HINT_MAX], hint[NEAREST_HINT_MAX];
	struct nearest near = nearest_to(value);

	if (strcmp(value, no) != 0 && strcmp(value, yes) != 0) {
		nearest_try(&near, no);
		nearest_try(&near, yes);
		snprintf(expected, sizeof(expected), "%s or %s%s", no, yes,
		         nearest_hint(&near, hint));
		return option_bad(err, option, key, value, expected);
	}
	*out = strcmp(value, yes) == 0;
	return 0;
}
