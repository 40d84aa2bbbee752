/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: taps, addresses and routes are made in a network namespace that compare
 * enters before it starts anything. The kernel takes them away with the namespace, when the last
 * process in it has ended: whatever happens to compare, nothing of the network stays.
 */
#include "compare/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "compare/child.h"
#include "vmm/fd.h"
#include "vmm/log.h"
#include "vmm/util.h"

#define DIR_NAME "trivm-compare."
#define DEBUGFS  "/sys/kernel/debug"

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = fd < 0 ? -errno : fd_write_full(fd, text, strlen(text));

	fd_close(&fd);
	return rc;
}

/* Root of a user namespace, in which an ordinary user may have taps. */
static int become_root(struct err *err)
{
	unsigned uid = geteuid(), gid = getegid();
	char map[40];
	int rc;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
		return err_errno(err, -errno,
		                 "taps need privileges: run it as root, or allow user namespaces "
		                 "(sysctl -w kernel.unprivileged_userns_clone=1)");
	snprintf(map, sizeof(map), "0 %u 1", uid);
	rc = write_file("/proc/self/uid_map", map);
	if (rc == 0)
		rc = write_file("/proc/self/setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1", gid);
	if (rc == 0)
		rc = write_file("/proc/self/gid_map", map);
	return rc < 0 ? err_errno(err, rc, "a user namespace") : 0;
}

/* KVM's counts of other programs' virtual machines are there. That it cannot be had is no error. */
static void mount_debugfs(void)
{
	if (access(DEBUGFS "/kvm", F_OK) == 0 || unshare(CLONE_NEWNS) < 0)
		return;
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("debugfs", DEBUGFS, "debugfs", 0, NULL) < 0)
		log_info("debugfs could not be mounted: %s", strerror(errno));
}

int host_isolate(struct err *err)
{
	int rc;

	if (geteuid() == 0 && unshare(CLONE_NEWNET) == 0) {
		mount_debugfs();
	} else {
		rc = become_root(err);
		if (rc < 0)
			return rc;
	}
	if (access("/dev/net/tun", R_OK | W_OK) < 0)
		return err_errno(err, -errno, "/dev/net/tun (sudo modprobe tun)");
	write_file("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	remove(path);
	return 0;
}

void host_remove_dir(const char *dir)
{
	if (*dir)
		nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

/* What runs that were killed have left in @tmp: folders of ours whose process is gone. */
static void remove_stale(const char *tmp)
{
	DIR *dir = opendir(tmp);
	struct dirent *e;
	char path[128];
	struct stat st;
	int pid;

	while (dir && (e = readdir(dir))) {
		if (sscanf(e->d_name, DIR_NAME "%d.", &pid) != 1 || pid <= 0 || kill(pid, 0) == 0 ||
		    errno != ESRCH)
			continue;
		snprintf(path, sizeof(path), "%.48s/%.64s", tmp, e->d_name);
		if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
			host_remove_dir(path);
	}
	if (dir)
		closedir(dir);
}

int host_make_dir(char *dir, size_t size, struct err *err)
{
	const char *tmp = getenv("TMPDIR");

	/* The sockets in it have short paths only. */
	if (!tmp || !*tmp || strlen(tmp) > 32)
		tmp = "/tmp";
	remove_stale(tmp);
	snprintf(dir, size, "%s/" DIR_NAME "%d.XXXXXX", tmp, (int)getpid());
	if (mkdtemp(dir))
		return 0;
	err_errno(err, -errno, "%s", dir);
	dir[0] = '\0';
	return -EIO;
}

int host_make_tap(const char *name, const char *address, const char *log, struct err *err)
{
	char command[128];
	int rc;

	snprintf(command, sizeof(command), "ip tuntap add dev %s mode tap vnet_hdr", name);
	rc = child_command(command, log, err);
	snprintf(command, sizeof(command), "ip addr add %s dev %s", address, name);
	if (rc == 0)
		rc = child_command(command, log, err);
	snprintf(command, sizeof(command), "ip link set %s up", name);
	return rc < 0 ? rc : child_command(command, log, err);
}

bool host_has_program(const char *program)
{
	const char *at = getenv("PATH");
	char path[PATH_MAX];

	if (strchr(program, '/'))
		return access(program, X_OK) == 0;
	while (at && *at) {
		size_t len = strcspn(at, ":");

		snprintf(path, sizeof(path), "%.*s/%s", (int)len, at, program);
		if (access(path, X_OK) == 0)
			return true;
		at += len + (at[len] == ':');
	}
	return false;
}

/* What stands behind "KEY : " in /proc/cpuinfo, of the first processor. */
static bool cpu_info(const char *key, char *buf, size_t size)
{
	FILE *in = fopen("/proc/cpuinfo", "re");
	char line[4096];
	bool found = false;

	while (in && !found && fgets(line, sizeof(line), in)) {
		char *colon = strchr(line, ':');

		if (!colon || strncmp(line, key, strlen(key)) != 0)
			continue;
		snprintf(buf, size, "%s", colon + 1 + strspn(colon + 1, " "));
		buf[strcspn(buf, "\n")] = '\0';
		found = true;
	}
	if (in)
		fclose(in);
	return found;
}

bool host_is_virtual(void)
{
	char flags[4096];

	return cpu_info("flags", flags, sizeof(flags)) && strstr(flags, " hypervisor");
}

json_t *host_describe(bool kvm_hardware)
{
	char cpu[128] = "unknown";
	struct utsname u;

	uname(&u);
	cpu_info("model name", cpu, sizeof(cpu));
	return json_pack("{s:s, s:s, s:i, s:I, s:s, s:b}", "kernel", u.release, "cpu", cpu, "cpus",
	                 (int)sysconf(_SC_NPROCESSORS_ONLN), "memory",
	                 (json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE),
	                 "kvm", kvm_hardware ? "hardware" : "full", "hypervisor",
	                 host_is_virtual());
}
