/* SPDX-License-Identifier: BSD-2-Clause */
#include "devices/net/mac.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* One or two hexadecimal digits at *@at, which moves on. -1: there are none. */
static int parse_octet(const char **at)
{
	int value = -1;

	for (unsigned digits = 0; digits < 2 && isxdigit((unsigned char)**at); digits++, ++*at) {
		int c = tolower((unsigned char)**at);

		value = (value < 0 ? 0 : value * 16) + (c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return value;
}

int net_parse_mac(const char *text, uint8_t mac[NET_MAC_LEN])
{
	uint8_t b[NET_MAC_LEN], any = 0;

	for (unsigned i = 0; i < NET_MAC_LEN; i++) {
		int value = parse_octet(&text);

		if (value < 0 || *text != (i + 1 < NET_MAC_LEN ? ':' : '\0'))
			return -EINVAL;
		text++;
		b[i] = (uint8_t)value;
		any |= b[i];
	}
	/* A driver takes neither a group's address (broadcast is one) nor zero for its own. */
	if (!any || (b[0] & 1))
		return -EINVAL;
	memcpy(mac, b, sizeof(b));
	return 0;
}
