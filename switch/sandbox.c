/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Theory of operation: everything that needs the host's permission (taps, bridges, sockets to
 * listen on) is open before a front-end can send its first message. From then on the process needs
 * no capability and only the system calls below, each with the place that needs it. The filter
 * holds for libslirp's thread too, which exists already.
 */
#include "switch/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/util.h"

#define CALL(name) SCMP_SYS(name)

static const int calls[] = {
	/* the main loop: epoll, timers, signals, eventfds, the clock where there is no vdso */
	CALL(epoll_wait),
	CALL(epoll_pwait),
	CALL(epoll_ctl),
	CALL(timerfd_settime),
	CALL(timer_settime),
	CALL(read),
	CALL(preadv2),
	CALL(write),
	CALL(close),
	CALL(clock_gettime),
	CALL(restart_syscall),
	CALL(rt_sigreturn),
	/* guest_conn.c, user_wire.c */
	CALL(accept4),
	CALL(socket),
	CALL(connect),
	CALL(recvfrom),
	CALL(recvmsg),
	CALL(sendmsg),
	CALL(poll),
	CALL(ppoll),
	CALL(unlink),
	CALL(unlinkat),
	CALL(getsockopt),
	/* guest_memory.c, guest_inflight.c: a front-end's memory, and ours for it */
	CALL(mmap),
	CALL(munmap),
	CALL(fcntl),
	CALL(io_submit),
	CALL(io_getevents),
	CALL(shutdown),
	CALL(fstat),
	CALL(newfstatat),
	CALL(memfd_create),
	CALL(ftruncate),
	CALL(rt_sigaction),
	CALL(readlink),
	CALL(readlinkat),
	/* uplink.c */
	CALL(writev),
	CALL(readv),
	/* stats.c */
	CALL(lseek),
	/* the C library: memory, locks, stdio, ending */
	CALL(brk),
	CALL(mremap),
	CALL(madvise),
	CALL(futex),
	CALL(getpid),
	CALL(gettid),
	CALL(tgkill),
	CALL(wait4),
	CALL(rt_sigprocmask),
	CALL(exit),
	CALL(exit_group),
	CALL(rseq),
	CALL(sched_yield),
};

/*
 * libslirp and its thread, which may be about to begin: connections of guests become sockets of the
 * host; it reads resolv.conf.
 */
static const int user_network_calls[] = {
	CALL(set_robust_list),
	CALL(prctl),
	CALL(mprotect),
	CALL(sigaltstack),
	CALL(bind),
	CALL(listen),
	CALL(accept),
	CALL(sendto),
	CALL(ioctl),
	CALL(setsockopt),
	CALL(getsockname),
	CALL(getpeername),
	CALL(openat),
	CALL(stat),
	CALL(lstat),
	CALL(recvmmsg),
	CALL(sendmmsg),
	CALL(getrandom),
	CALL(uname),
	CALL(getuid),
	CALL(access),
	CALL(timerfd_gettime),
	CALL(set_tid_address),
};

/* closer.c */
static const int closer_calls[] = {
	CALL(read), CALL(close), CALL(exit_group), CALL(rt_sigreturn), CALL(restart_syscall),
};

static int drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};

	return syscall(SYS_capset, &header, none) < 0 ? -errno : 0;
}

/* Only without PROT_EXEC: nothing that a front-end sends is ever run. */
static int allow_one(scmp_filter_ctx ctx, int call)
{
	if (call == CALL(prctl))
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
		                        SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0));
	if (call == CALL(mmap) || call == CALL(mprotect))
		return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 1,
		                        SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
	return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, call, 0);
}

static int allow(scmp_filter_ctx ctx, const int *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		/* Negative: a call that this architecture does not have. */
		int rc = list[i] < 0 ? 0 : allow_one(ctx, list[i]);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static int no_new_privileges(void)
{
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : 0;
}

int sandbox_enter_closer(void)
{
	scmp_filter_ctx ctx = NULL;
	int rc = drop_capabilities();

	if (rc == 0)
		rc = no_new_privileges();
	if (rc == 0) {
		ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
		rc = ctx ? 0 : -ENOMEM;
	}
	if (rc == 0)
		rc = allow(ctx, closer_calls, ARRAY_SIZE(closer_calls));
	if (rc == 0)
		rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, CALL(clone), 1,
		                      SCMP_A0(SCMP_CMP_EQ, CLONE_FILES | SIGCHLD, 0));
	if (rc == 0)
		rc = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	return rc;
}

int sandbox_enter(const struct sandbox_config *config, struct err *err)
{
	scmp_filter_ctx ctx;
	int rc = drop_capabilities();

	if (rc < 0)
		return err_errno(err, rc, "giving up capabilities");
	rc = no_new_privileges();
	if (rc < 0)
		return err_errno(err, rc, "PR_SET_NO_NEW_PRIVS");
	ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return err_errno(err, -ENOMEM, "system call filter");
	rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1);
	if (rc == 0)
		rc = seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (rc == 0)
		rc = allow(ctx, calls, ARRAY_SIZE(calls));
	if (rc == 0 && config->user_network)
		rc = allow(ctx, user_network_calls, ARRAY_SIZE(user_network_calls));
	if (rc == 0)
		rc = seccomp_load(ctx);
	seccomp_release(ctx);
	if (rc < 0)
		return err_errno(err, rc,
		                 "system call filter (a kernel without CONFIG_SECCOMP_FILTER? "
		                 "--no-sandbox does without)");
	return 0;
}
