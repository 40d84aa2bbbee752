/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "switch/guest.h"

int guest_get_inflight(struct guest *g, struct err *err)
{
	(void)g;
	return err_set(err, -EOPNOTSUPP, "not yet");
}
int guest_set_inflight(struct guest *g, struct err *err)
{
	(void)g;
	return err_set(err, -EOPNOTSUPP, "not yet");
}
