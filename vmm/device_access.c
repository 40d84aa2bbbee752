/* SPDX-License-Identifier: BSD-2-Clause */
#include "vmm/device_access.h"

#include <grp.h>
#include <stdio.h>
#include <sys/stat.h>

const char *device_access_remedy(const char *path, char *buf, size_t size)
{
	const struct group *group = NULL;
	struct stat st;

	/* Root's own group is not one to join. */
	if (stat(path, &st) == 0 && (st.st_mode & 0060) == 0060 && st.st_gid != 0)
		group = getgrgid(st.st_gid);
	if (group)
		snprintf(buf, size, "sudo usermod -aG %s $USER (then log in again)",
		         group->gr_name);
	else
		snprintf(buf, size, "sudo setfacl -m u:$USER:rw %s", path);
	return buf;
}
