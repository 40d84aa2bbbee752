// SPDX-License-Identifier: BSD-2-Clause
/* write FILE: the page of the results in FILE, on standard output. For tests/page/run. */
#include <stdio.h>
#include <string.h>

#include "compare/page.h"

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *results = argc == 2 ? json_load_file(argv[1], 0, &error) : NULL;
	int rc;

	if (!results) {
		fprintf(stderr, "write: %s\n", argc == 2 ? error.text : "usage: write FILE");
		return 1;
	}
	rc = compare_page(stdout, results);
	json_decref(results);
	if (rc)
		fprintf(stderr, "write: %s\n", strerror(-rc));
	return rc ? 1 : 0;
}
