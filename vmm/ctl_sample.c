/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/ctl_sample.h"

#include <errno.h>

/* As ctl_call(); what the VM refuses is left out: -EREMOTEIO is no error here. */
static int ask(struct ctl_client *c, const char *method, json_t *params, json_t *into,
               const char *key, struct err *err)
{
	json_t *result = NULL;
	int rc = ctl_call(c, method, params, &result, err);

	if (rc == 0)
		json_object_set_new(into, key, result);
	return rc == -EREMOTEIO ? 0 : rc;
}

int ctl_sample(struct ctl_client *c, json_t **sample, struct err *err)
{
	json_t *s = json_object(), *card;
	int rc = ask(c, "status", NULL, s, "status", err);
	size_t i;

	if (rc == 0)
		rc = ask(c, "stats", NULL, s, "stats", err);
	if (rc == 0)
		rc = ask(c, "net.list", NULL, s, "cards", err);
	json_array_foreach (json_object_get(s, "cards"), i, card) {
		json_t *id = json_object_get(card, "id");

		if (rc == 0)
			rc = ask(c, "net.stats", json_pack("{s:O?}", "id", id), card, "stats", err);
	}
	if (rc < 0) {
		json_decref(s);
		return rc;
	}
	*sample = s;
	return 0;
}
